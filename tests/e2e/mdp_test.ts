/** Majordomo's clients, in both versions of the protocol: small ones in Python, and frames by hand. */

import { strict as assert } from "node:assert";
import type { ServeOptions, Server } from "../../mod.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { hasPyzmq, PYTHON } from "../rig/mdp_workers.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import { DeafPeer, message } from "../rig/zmtp.ts";

const noPyzmq = !hasPyzmq;

const UPPER = moduleOf(`
import { Buffer } from "node:buffer";
export default (body, { frames }) => {
  const all = (frames ?? [body]).map((frame) => Buffer.from(frame).toString());
  if (all[0] === "fail") throw new Error("as it was told to");
  return all.map((each) => each.toUpperCase());
};`);

/** A server whose handler answers in upper case. */
async function upper(options: ServeOptions = {}): Promise<Server> {
  const server = serveQuietly({
    ...{ mdp: "tcp://127.0.0.1:0", handler: UPPER, minWorkers: 1, maxWorkers: 1 },
    ...options,
  });
  await server.ready;
  return server;
}

function mdpOf({ mdp: [endpoint = ""] }: Server): string {
  return endpoint;
}

/** What the Python client prints for these requests. */
async function ask(server: Server, version: string, ...requests: string[]): Promise<string[][]> {
  const args = [path("tests/foreign/mdp_client.py"), mdpOf(server), version, ...requests];
  const { code, stdout, stderr } = await run(PYTHON, args);
  assert.equal(code, 0, stderr);
  return stdout.trim().split("\n").map((line) => JSON.parse(line));
}

/** How each version asks, as the frames of a DEALER. */
const REQUESTS = {
  "0.1": (service: string, ...body: string[]) => ["", "MDPC01", service, ...body],
  "0.2": (service: string, ...body: string[]) => ["MDPC02", "\x01", service, ...body],
};
/** How each version is answered. */
const ANSWERS = {
  "0.1": REQUESTS["0.1"],
  "0.2": (service: string, ...body: string[]) => ["MDPC02", "\x03", service, ...body],
};
const VERSIONS = ["0.1", "0.2"] as const;

for (const version of VERSIONS) {
  Deno.test({
    name: `a client in Python that speaks ${version} asks the handler, and after services`,
    ignore: noPyzmq,
    async fn() {
      await using server = await upper();
      const end = version === "0.1" ? [] : ["final"];
      const all = [" hello", " two frames", " fail", "mail x", "mmi.service ", "mmi.service mail"];
      const answers = await ask(server, version, ...all, "mmi.workers ", "mmi.none x");
      assert.deepEqual(answers, [
        [...end, "HELLO"],
        [...end, "TWO", "FRAMES"],
        [...end, "", "500 as it was told to"],
        [...end, "", '404 The server has no service "mail"'],
        [...end, "200"],
        [...end, "404"],
        [...end, "1"],
        [...end, "501"],
      ]);
    },
  });

  Deno.test(`a client of ${version} gets the answer to each of many requests, in order`, async () => {
    await using server = await upper();
    await using peer = new Peer(mdpOf(server));
    const names = Array.from({ length: 500 }, (_, index) => `request ${index}`);
    for (const name of names) peer.send(...REQUESTS[version]("", name));
    for (const name of names) {
      assert.deepEqual(await peer.receiveText(), ANSWERS[version]("", name.toUpperCase()));
    }
  });

  Deno.test(`a client of ${version} sends and gets large bodies, and is told what is too large`, async () => {
    await using server = await upper({ maxMessageSize: 2 ** 20, maxFrames: 4 });
    await using peer = new Peer(mdpOf(server));
    const large = "a".repeat(2 ** 20);
    peer.send(...REQUESTS[version]("", large));
    assert.deepEqual(await peer.receiveText(), ANSWERS[version]("", large.toUpperCase()));
    peer.send(...REQUESTS[version]("", large, "b"));
    const tooLarge = "413 The body must have at most 1048576 bytes: it has 1048577";
    assert.deepEqual(await peer.receiveText(), ANSWERS[version]("", "", tooLarge));
    peer.send(...REQUESTS[version]("", "1", "2", "3", "4", "5"));
    const tooMany = "413 The body must have at most 4 frames: it has 5";
    assert.deepEqual(await peer.receiveText(), ANSWERS[version]("", "", tooMany));
    peer.send(...REQUESTS[version]("", "1", "", "3"));
    assert.deepEqual(await peer.receiveText(), ANSWERS[version]("", "1", "", "3"));
  });

  Deno.test(`a client of ${version} is told that a service's name is too long`, async () => {
    await using server = await upper();
    await using peer = new Peer(mdpOf(server));
    const name = "n".repeat(65);
    peer.send(...REQUESTS[version](name, "x"));
    const rule = "400 The service's name must have at most 64 bytes";
    assert.deepEqual(await peer.receiveText(), ANSWERS[version](name, "", rule));
  });
}

Deno.test({
  name: "docs/majordomo.md has a client in Python that gets its answer",
  ignore: noPyzmq,
  async fn() {
    await using server = await upper();
    const page = Deno.readTextFileSync(path("docs/majordomo.md"));
    const [, program = ""] = /^```python\n(.*?)^```$/ms.exec(page) ?? [];
    const text = program.replace("tcp://127.0.0.1:5555", mdpOf(server));
    const { code, stdout, stderr } = await run(PYTHON, ["-c", text]);
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "HELLO\n", stderr: "" });
  },
});

Deno.test("an answer of 0.1 goes back by the devices that its request came by", async () => {
  await using server = await upper();
  await using peer = new Peer(mdpOf(server));
  peer.send("one", "two", "", "MDPC01", "", "x");
  assert.deepEqual(await peer.receiveText(), ["one", "two", "", "MDPC01", "", "X"]);
});

Deno.test("what is not Majordomo is counted and dropped, and the connection serves on", async () => {
  await using server = await upper();
  await using peer = new Peer(mdpOf(server));
  const wrong = [
    ["", "hello"],
    ["", "MDPC01", ""],
    ["MDPC02", "\x02", "", "x"],
    ["MDPC02", "\x01", ""],
    ["", "MDPW01", "\x01", "mail"],
    ["MDPW02", "\x01", "mail"],
    ["hello"],
  ];
  for (const frames of wrong) peer.send(...frames);
  peer.send("MDPC02", "\x01", "", "x");
  // Nobody may be a worker here, which is told to those who want to be one.
  assert.deepEqual(await peer.receiveText(), ["", "MDPW01", "\x05"]);
  assert.deepEqual(await peer.receiveText(), ["MDPW02", "\x06"]);
  assert.deepEqual(await peer.receiveText(), ["MDPC02", "\x03", "", "X"]);
  await until("counters.malformed", () => server.stats().counters.malformed === wrong.length);
  await until("clients", () => server.stats().clients === 1);
});

Deno.test("connections at both endpoints count together, and those that are denied are", async () => {
  await using server = await upper({ maxConnections: 1 });
  {
    await using first = new Peer(mdpOf(server));
    first.send("", "MDPC01", "", "x");
    await first.receive();
    await using second = new Peer(endpointOf(server));
    second.send("", "x");
    await until("it is denied", () => server.stats().counters.denied > 0);
    await until("connections", () => server.stats().connections === 1);
  }
  assert.deepEqual(await askOnce(endpointOf(server), "x"), ["X"]);
});

Deno.test("an address that is denied can't speak Majordomo either", async () => {
  await using server = await upper({ deny: "127.0.0.1" });
  await using peer = new Peer(mdpOf(server));
  await until("it is denied", () => server.stats().counters.denied > 0);
  assert.equal(peer.take(), undefined);
});

Deno.test("both sources serve when clients without keys talk to libzmq", async () => {
  await using server = await upper({ transport: "libzmq" });
  assert.deepEqual(await askOnce(endpointOf(server), "plain"), ["PLAIN"]);
  await using peer = new Peer(mdpOf(server));
  peer.send("", "MDPC01", "", "other");
  assert.deepEqual(await peer.receiveText(), ["", "MDPC01", "", "OTHER"]);
});

Deno.test("what a client of Majordomo asked is dropped when it has left", async () => {
  const handler = moduleOf(
    "export default (_, ctx) => new Promise((_, no) => ctx.signal.onabort = no);",
  );
  await using server = await upper({ handler });
  {
    await using peer = new Peer(mdpOf(server));
    peer.send("MDPC02", "\x01", "", "x");
    await until("it runs", () => server.stats().running === 1);
  }
  await until("nobody waits for it", () => server.stats().counters.abandoned === 1);
});

const PARTS = moduleOf(`
let count = 0;
const say = (text) => new TextEncoder().encode(text);
export default async function* (body, ctx) {
  const what = new TextDecoder().decode(body);
  if (what === "count") return yield String(count);
  if (what === "fail") { yield "one"; throw new Error("as it was told to"); }
  if (what !== "endless") { ctx.progress?.(1, 2); yield "one"; yield ["two", "frames"]; return; }
  for (const part = new Uint8Array(65536); !ctx.signal.aborted; count++) yield part;
}`);

Deno.test("a client of 0.2 gets an answer in parts as it comes, one of 0.1 all at once", async () => {
  await using server = await upper({ handler: PARTS });
  await using peer = new Peer(mdpOf(server));
  peer.send(...REQUESTS["0.2"]("", "x"));
  assert.deepEqual(await peer.receiveText(), ["MDPC02", "\x02", "", "one"]);
  assert.deepEqual(await peer.receiveText(), ["MDPC02", "\x02", "", "two", "frames"]);
  assert.deepEqual(await peer.receiveText(), ["MDPC02", "\x03", "", ""]);
  peer.send(...REQUESTS["0.2"]("", "fail"));
  assert.deepEqual(await peer.receiveText(), ["MDPC02", "\x02", "", "one"]);
  const error = "500 as it was told to";
  assert.deepEqual(await peer.receiveText(), ["MDPC02", "\x03", "", "", error]);
  peer.send(...REQUESTS["0.1"]("", "x"));
  assert.deepEqual(await peer.receiveText(), ANSWERS["0.1"]("", "one", "two", "frames"));
});

Deno.test("a client of 0.2 that reads gets more parts than it may have unread", async () => {
  await using server = await upper({ handler: PARTS });
  await using peer = new Peer(mdpOf(server));
  peer.send(...REQUESTS["0.2"]("", "endless"));
  for (let count = 0; count < 200; count++) {
    const [, command, , part] = await peer.receive();
    assert.deepEqual([text(command), part?.length], ["\x02", 65536]);
  }
});

Deno.test("a client of 0.2 that takes nothing holds a handler up, and nobody else", async () => {
  await using server = await upper({ handler: PARTS, concurrency: 2 });
  using deaf = await DeafPeer.connect(mdpOf(server));
  await deaf.send(message(REQUESTS["0.2"]("", "endless").map(bytes)));
  await using peer = new Peer(mdpOf(server));
  let last = -1;
  await until("no more parts are made", async () => {
    const before = last;
    peer.send(...REQUESTS["0.1"]("", "count"));
    last = Number((await peer.receiveText()).at(-1));
    await new Promise((resolve) => setTimeout(resolve, 200));
    return last > 0 && last === before;
  });
  // What the system's buffers take, and the credit: 32 MiB would be more than these.
  assert(last < 512, `${last} parts`);
});

Deno.test("random frames end neither the server nor another client's connection", async () => {
  await using server = await upper();
  await using innocent = new Peer(mdpOf(server));
  const random = randomNumbers(26);
  const words = [
    "",
    "MDPC01",
    "MDPC02",
    "MDPW01",
    "MDPW02",
    "mmi.service",
    "mail",
    "x".repeat(9000),
  ]
    .map(bytes).concat([0, 1, 2, 3, 4, 5, 6, 255].map((byte) => Uint8Array.of(byte)));
  for (let round = 0; round < 20; round++) {
    await using peer = new Peer(mdpOf(server));
    for (let count = 0; count < 200; count++) {
      const size = 1 + random(random(20) === 0 ? 40 : 7);
      peer.send(...Array.from({ length: size }, () => words[random(words.length)] ?? bytes("")));
    }
    peer.send("MDPC02", "\x01", "", "last");
    // What it has sent by chance may have been answered before.
    for (let last = ""; last !== "LAST";) last = text((await peer.receive()).at(-1));
    innocent.send("", "MDPC01", "", `${round}`);
    assert.deepEqual(await innocent.receiveText(), ["", "MDPC01", "", `${round}`]);
  }
  await until("they are counted", () => server.stats().counters.malformed > 1000);
  assert.deepEqual(await askOnce(endpointOf(server), "x"), ["X"]);
});
