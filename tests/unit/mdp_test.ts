/** What begins as Majordomo has it, and what does not. */

import { strict as assert } from "node:assert";
import {
  jobFrame,
  type MdpOpening,
  readJobFrame,
  readOpening,
  requestOpening,
  signalOf,
} from "../../wire/mdp.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** Frames, in which a number stands for a frame of that one byte. */
function framesOf(...all: (string | number)[]): Frame[] {
  return all.map((each) => typeof each === "string" ? bytes(each) : Uint8Array.of(each));
}

/** An opening with its frames as text. */
function shown(opening: MdpOpening | "more" | "wrong"): unknown {
  if (typeof opening === "string") return opening;
  return Object.fromEntries(
    Object.entries(opening).map(([name, value]) => [
      name,
      typeof value === "string" ? value : Array.isArray(value) ? value.map(text) : text(value),
    ]),
  );
}

/** What messages begin with, and how that is read. */
const OPENINGS: [(string | number)[], Record<string, unknown>][] = [
  [["", "MDPC01", "mail"], {
    ...{ kind: "request", version: "0.1", service: "mail", way: ["", "MDPC01", "mail"] },
  }],
  [["ab", "c", "", "MDPC01", "mail"], {
    ...{ kind: "request", version: "0.1", service: "mail" },
    way: ["ab", "c", "", "MDPC01", "mail"],
  }],
  [["MDPC02", 1, "mail"], {
    ...{ kind: "request", version: "0.2", service: "mail", way: ["MDPC02", "\x03", "mail"] },
  }],
  [["MDPC02", 1, ""], {
    ...{ kind: "request", version: "0.2", service: "", way: ["MDPC02", "\x03", ""] },
  }],
  [["", "MDPW01", 1, "mail"], { kind: "ready", version: "0.1", service: "mail" }],
  [["MDPW02", 1, "mail"], { kind: "ready", version: "0.2", service: "mail" }],
  [["", "MDPW01", 3, "who", ""], { kind: "final", version: "0.1", client: "who" }],
  [["MDPW02", 3, "who", ""], { kind: "partial", version: "0.2", client: "who" }],
  [["MDPW02", 4, "who", ""], { kind: "final", version: "0.2", client: "who" }],
  [["", "MDPW01", 4], { kind: "heartbeat", version: "0.1" }],
  [["MDPW02", 5], { kind: "heartbeat", version: "0.2" }],
  [["", "MDPW01", 5], { kind: "disconnect", version: "0.1" }],
  [["MDPW02", 6], { kind: "disconnect", version: "0.2" }],
];

for (const [all, expected] of OPENINGS) {
  Deno.test(`readOpening knows ${JSON.stringify(all)}, and waits for all of it`, () => {
    const frames = framesOf(...all);
    assert.deepEqual(shown(readOpening(frames, true)), expected);
    assert.deepEqual(shown(readOpening(frames, false)), expected);
    for (let count = 0; count < frames.length; count++) {
      assert.equal(readOpening(frames.slice(0, count), true), "more", `${count} frames`);
      assert.equal(readOpening(frames.slice(0, count), false), count === 0 ? "more" : "wrong");
    }
  });
}

Deno.test("readOpening refuses what only looks like Majordomo", () => {
  const wrong: (string | number)[][] = [
    ["", "hello"],
    ["", ""],
    ["", "MDPC02"],
    ["", "MDPC011", "mail"],
    ["ab", "", "MDPW01", 1, "mail"],
    ["MDPC02", 2],
    ["MDPC02", ""],
    ["MDPC02", "\x01\x01"],
    ["MDPW02", 0],
    ["MDPW02", 2],
    ["MDPW02", 7],
    ["MDPW02", 255],
    ["MDPW02", ""],
    ["", "MDPW01", 2],
    ["", "MDPW01", 6],
    ["MDPW02", 4, "who", "no delimiter"],
  ];
  for (const all of wrong) assert.equal(readOpening(framesOf(...all), true), "wrong", String(all));
});

Deno.test("readOpening reads any frames one after the other, and says nothing else of the same ones later", () => {
  const random = randomNumbers(20261126);
  const words = framesOf("", "MDPC01", "MDPC02", "MDPW01", "MDPW02", 1, 2, 3, 4, 5, 6, "x", "yz");
  const seen = new Set<string>();
  for (let round = 0; round < 20_000; round++) {
    const frames = Array.from({ length: 8 }, () => words[random(words.length)] ?? bytes(""));
    let count = 1;
    while (count < 8 && readOpening(frames.slice(0, count), true) === "more") count++;
    const found = readOpening(frames.slice(0, count), true);
    if (count < 8) assert.notEqual(found, "more");
    seen.add(typeof found === "string" ? found : `${found.kind} ${found.version}`);
  }
  // Every kind has come up.
  assert.equal(seen.size, 12);
});

Deno.test("what workers are told has the frames of the table in wire/mdp.ts", () => {
  const job = jobFrame(7);
  const told = [requestOpening("0.1", job), requestOpening("0.2", job)];
  assert.deepEqual(told, [
    framesOf("", "MDPW01", 2).concat(job, framesOf("")),
    framesOf("MDPW02", 2).concat(job, framesOf("")),
  ]);
  assert.deepEqual(signalOf("heartbeat", "0.1"), framesOf("", "MDPW01", 4));
  assert.deepEqual(signalOf("disconnect", "0.1"), framesOf("", "MDPW01", 5));
  assert.deepEqual(signalOf("heartbeat", "0.2"), framesOf("MDPW02", 5));
  assert.deepEqual(signalOf("disconnect", "0.2"), framesOf("MDPW02", 6));
});

Deno.test("readJobFrame reads what jobFrame makes, and nothing of another length", () => {
  for (const job of [1, 2 ** 31, 2 ** 53 - 1]) assert.equal(readJobFrame(jobFrame(job)), job);
  for (const size of [0, 7, 9]) assert.equal(readJobFrame(new Uint8Array(size)), undefined);
});
