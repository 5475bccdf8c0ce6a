/** Heads of HTTP requests as hostile clients send them. */

import { strict as assert } from "node:assert";
import fc from "fast-check";
import { Refusal } from "../../admin/answers.ts";
import {
  findHeadEnd,
  MAX_BODY,
  MAX_HEAD,
  parseHead,
  type RequestHead,
} from "../../admin/http_message.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { Folder } from "../rig/folder.ts";
import { text } from "../rig/text.ts";
import { LIMIT } from "../rig/wait.ts";

function bytesOf(head: string): Uint8Array {
  return Uint8Array.from(head, (character) => character.charCodeAt(0));
}

function parse(head: string): RequestHead {
  return parseHead(bytesOf(head));
}

Deno.test("parseHead takes the blanks around a value away, and no other characters", () => {
  const { headers } = parse("GET / HTTP/1.1\r\nHost: \t a b\xa0 \t\r\nX:\r\nY: \t \r\n\r\n");
  assert.deepEqual([...headers], [["host", "a b\xa0"], ["x", ""], ["y", ""]]);
});

Deno.test("parseHead reads what a connection is to be, in any list", () => {
  const keeps = (value: string) =>
    parse(`GET / HTTP/1.1\r\nConnection: ${value}\r\n\r\n`).keepsAlive;
  assert.deepEqual(["close", "x ,\tClose , y", "closed", ""].map(keeps), [
    false,
    false,
    true,
    true,
  ]);
});

/** The longest heads that are read, of characters that a pattern might try to divide in all ways. */
const LONG = [" ", "\t", ",", " ,", ";", ":", "a", "/", "?", "\xa0", "\r"].flatMap((unit) => {
  const filling = unit.repeat(Math.floor((MAX_HEAD - 100) / unit.length));
  return [
    `GET / HTTP/1.1\r\nA:${filling}\x01\r\n\r\n`,
    `GET / HTTP/1.1\r\nConnection:${filling}x\r\n\r\n`,
    `GET / HTTP/1.1\r\nA:${filling}\r\n\r\n`,
    `GET / HTTP/1.1\r\n${filling}\r\n\r\n`,
    `GET /${filling} HTTP/1.1\r\n\r\n`,
    `GET http://${filling}/ HTTP/1.1\r\n\r\n`,
    `${filling}\r\n\r\n`,
  ];
});

// In a process of its own, which can be ended: a head that takes hours would take this one along.
Deno.test("parseHead comes to an end with the longest heads, whatever they repeat", async () => {
  using folder = new Folder();
  const heads = folder.write("heads.json", JSON.stringify(LONG));
  const main = folder.write(
    "main.ts",
    `import { parseHead } from ${JSON.stringify(new URL("admin/http_message.ts", ROOT).href)};
    for (const head of JSON.parse(Deno.readTextFileSync(${JSON.stringify(heads)}))) {
      try {
        parseHead(Uint8Array.from(head, (character) => character.charCodeAt(0)));
      } catch (error) {
        if (error.name !== "Refusal") throw error;
      }
    }
    console.log("done");`,
  );
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--config", path("deno.json"), main],
    signal: AbortSignal.timeout(LIMIT),
  }).output();
  assert.equal(text(stdout), "done\n", text(stderr));
});

const character = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code));
const piece = fc.oneof(
  fc.constantFrom("\r\n", " ", ":", "HTTP/1.1", "GET", "/", "Host: x", "Content-Length: ", "12"),
  fc.string({ unit: character, maxLength: 8 }),
);
const noise = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(""));
const nearly = fc.tuple(noise, noise).map(([one, other]) =>
  `GET /${one.replaceAll(/[\s]/g, "")} HTTP/1.1\r\nA: ${other}`
);

Deno.test("parseHead reads or refuses whatever comes, and believes no length", () => {
  fc.assert(
    fc.property(fc.oneof(noise, nearly), (start) => {
      try {
        const { method, path, headers, bodyBytes } = parse(`${start}\r\n\r\n`);
        assert.match(method, /^[A-Z]{1,16}$/);
        assert.match(path, /^\/[\x21-\x7e]*$/);
        assert(bodyBytes >= 0 && bodyBytes <= MAX_BODY);
        // deno-lint-ignore no-control-regex
        for (const value of headers.values()) assert.doesNotMatch(value, /[\0-\x08\x0a-\x1f\x7f]/);
      } catch (error) {
        assert(error instanceof Refusal, String(error));
        assert([400, 411, 413, 431].includes(error.status));
      }
    }),
    { numRuns: 2000 },
  );
});

Deno.test("findHeadEnd finds the same end however the bytes came", () => {
  fc.assert(
    fc.property(noise, fc.nat(), (start, cut) => {
      const bytes = bytesOf(`${start}\r\n\r\nbody`);
      const end = findHeadEnd(bytes, 0);
      assert.equal(String.fromCharCode(...bytes.subarray(end - 4, end)), "\r\n\r\n");
      const first = bytes.subarray(0, cut % (bytes.length + 1));
      const early = findHeadEnd(first, 0);
      assert.equal(early >= 0 ? early : findHeadEnd(bytes, first.length - 3), end);
    }),
    { numRuns: 2000 },
  );
});
