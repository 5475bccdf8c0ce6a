/** What goes over a ZMTP connection: greetings, frames and commands, whole, cut anywhere, and damaged anywhere. */

import { strict as assert } from "node:assert";
import {
  buildError,
  buildPing,
  buildPong,
  buildReady,
  FrameFlag,
  FrameHead,
  headBytes,
  OPENING,
  readCommand,
  readGreeting,
  refuseIdentity,
  refuseSocketType,
  refuseType2,
  restOfGreeting,
  writeHead,
} from "../../wire/zmtp.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";
import { greeting, nullReady } from "../rig/zmtp.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A greeting with other bytes at some places. */
function changed(frame: Bytes, at: number, ...values: number[]): Bytes {
  const copy = frame.slice();
  copy.set(values, at);
  return copy;
}

function read(frame: Bytes, size = frame.length) {
  return readGreeting(frame, 0, size);
}

/** The content of a frame. */
function contentOf(frame: Bytes): Bytes {
  const head = new FrameHead();
  const start = head.read(frame, 0, frame.length);
  assert.equal(start + head.size, frame.length);
  return frame.slice(start);
}

Deno.test("readGreeting knows a peer's version when its greeting is whole", () => {
  const versions = [
    [changed(greeting("NULL"), 10, 3, 0), "3.0", 64],
    [changed(greeting("NULL"), 10, 3, 1), "3.1", 64],
    [changed(greeting("NULL"), 10, 3, 7), "3.1", 64],
    [changed(greeting("NULL"), 10, 2, 0), "3.1", 64],
    [changed(greeting("NULL"), 10, 255, 0), "3.1", 64],
    [changed(greeting("NULL"), 10, 1, 5), "2.0", 12],
  ] as const;
  for (const [frame, version, size] of versions) {
    assert.deepEqual(read(frame), { state: "whole", version, bytes: size });
  }
});

Deno.test("readGreeting tells of each version as soon as its byte is there, and wants the rest", () => {
  const third = changed(greeting("NULL"), 10, 3, 1);
  const second = changed(greeting("NULL"), 10, 1, 5);
  for (let size = 0; size < 64; size++) {
    const state = size < 11 ? { state: "short" } : { state: "begun", version: "3" };
    assert.deepEqual(read(third, size), state, `${size} bytes`);
  }
  assert.deepEqual(read(second, 10), { state: "short" });
  assert.deepEqual(read(second, 11), { state: "begun", version: "2.0" });
});

Deno.test("readGreeting refuses a peer of ZMTP 1.0, or of another protocol, at the first byte that shows it", () => {
  const http = bytes("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  const old = Uint8Array.of(1, 0);
  const long = changed(greeting("NULL"), 9, 0x7e);
  const zero = changed(greeting("NULL"), 10, 0);
  for (const [frame, size] of [[http, 1], [old, 1], [long, 10], [zero, 11]] as const) {
    if (size > 1) assert.equal(read(frame, size - 1).state, "short");
    const found = read(frame, size);
    assert(found.state === "refused" && found.version === "none");
    assert.equal(found.reason, "it does not speak ZMTP 2.0 or later");
  }
});

Deno.test("readGreeting refuses a peer when it asks for another mechanism, and prints no control characters", () => {
  for (const mechanism of ["PLAIN", "CURVE", "NULLL"]) {
    const found = read(greeting(mechanism));
    assert(found.state === "refused" && found.version === "3");
    assert.equal(found.reason, `the mechanism must be NULL: it is "${mechanism}"`);
  }
  for (const mechanism of ["", "NU\0L", "\x1b[31m", "null"]) {
    const found = read(greeting(mechanism));
    assert(found.state === "refused", JSON.stringify(mechanism));
    assert.equal(found.reason, "the mechanism must be NULL: it is none");
  }
});

Deno.test("the greeting of ours is what a peer of each version reads", () => {
  const third = Uint8Array.from([...OPENING, ...restOfGreeting("3", "ROUTER")]);
  assert.deepEqual(read(third), { state: "whole", version: "3.1", bytes: 64 });
  assert.equal(third.length, 64);
  assert.deepEqual([...restOfGreeting("2.0", "ROUTER")], [6, 0, 0]);
  assert.deepEqual([...restOfGreeting("2.0", "XPUB")], [9, 0, 0]);
});

Deno.test("socket types are let in when they may talk to ours", () => {
  for (const type of ["REQ", "DEALER", "ROUTER", ""]) {
    assert.equal(refuseSocketType(type, "ROUTER"), undefined, type);
  }
  assert.equal(
    refuseSocketType("SUB", "ROUTER"),
    "its socket must be one of REQ, DEALER, ROUTER: it is SUB",
  );
  assert.match(refuseSocketType("\x1b[2J", "ROUTER") ?? "", /it is none$/);
  assert.equal(refuseSocketType("SUB", "XPUB"), undefined);
  assert.match(refuseSocketType("REQ", "XPUB") ?? "", /SUB, XSUB: it is REQ/);
  for (let number = 0; number < 256; number++) {
    const refusal = refuseType2(number, "ROUTER");
    assert.equal(refusal === undefined, [3, 5, 6].includes(number), `${number}: ${refusal}`);
  }
});

Deno.test("identities are refused when they are too long or begin as those that routers give", () => {
  assert.equal(refuseIdentity(bytes("")), undefined);
  assert.equal(refuseIdentity(bytes("bob")), undefined);
  assert.equal(refuseIdentity(new Uint8Array(255).fill(1)), undefined);
  assert.equal(refuseIdentity(new Uint8Array(256).fill(1)), "long");
  assert.equal(refuseIdentity(Uint8Array.of(0)), "reserved");
  assert.equal(refuseIdentity(Uint8Array.of(0, 1, 2, 3, 4)), "reserved");
});

Deno.test("FrameHead reads what writeHead writes, whatever the size, and nothing of a part of it", () => {
  const sizes = [0, 1, 254, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32, 2 ** 40 + 7, 2 ** 53 - 1];
  const head = new FrameHead();
  const frame = new Uint8Array(16);
  for (const size of sizes) {
    for (const flags of [0, FrameFlag.MORE, FrameFlag.COMMAND]) {
      const end = writeHead(frame, 3, size, flags);
      assert.equal(end - 3, headBytes(size));
      for (let cut = 3; cut < end; cut++) assert.equal(head.read(frame, 3, cut), 0);
      assert.equal(head.read(frame, 3, end), end - 3);
      assert.equal(head.size, size);
      assert.equal(head.more, flags === FrameFlag.MORE);
      assert.equal(head.isCommand, flags === FrameFlag.COMMAND);
    }
  }
});

Deno.test("FrameHead takes a small size for what it is when it is written as a large one, and 2^64 for too much", () => {
  const head = new FrameHead();
  assert.equal(head.read(Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 5), 0, 9), 9);
  assert.equal(head.size, 5);
  assert.equal(head.read(Uint8Array.of(2, ...Array(8).fill(255)), 0, 9), 9);
  assert.equal(head.size, 2 ** 64);
});

Deno.test("FrameHead says that no frame begins so, at the first byte, for all flags but those of a frame", () => {
  const head = new FrameHead();
  const known = [0, 1, 2, 3, 4, 6];
  for (let flags = 0; flags < 256; flags++) {
    const frame = Uint8Array.of(flags, ...Array(8).fill(0));
    const expected = known.includes(flags) ? 0 : -1;
    assert.equal(head.read(frame, 0, 1), expected, `${flags}`);
    assert.equal(head.read(frame, 0, 9) > 0, expected === 0, `${flags}`);
  }
});

Deno.test("readCommand reads READY whatever the case of its properties, and skips those that it does not know", () => {
  const ready = (properties: Record<string, string | Bytes>) =>
    readCommand(contentOf(nullReady(properties)));
  assert.deepEqual(ready({}), { name: "READY", identity: bytes(""), socketType: "DEALER" });
  assert.deepEqual(ready({ "User-Id": "root", Identity: "bob" }), {
    name: "READY",
    identity: bytes("bob"),
    socketType: "DEALER",
  });
  assert.deepEqual(ready({ "SOCKET-TYPE": "REQ", identitY: bytes("x") }), {
    name: "READY",
    identity: bytes("x"),
    socketType: "REQ",
  });
  assert.deepEqual(readCommand(bytes("\x05READY")), {
    name: "READY",
    identity: bytes(""),
    socketType: "",
  });
});

Deno.test("readCommand reads the READY of ours", () => {
  assert.deepEqual(readCommand(contentOf(buildReady("ROUTER"))), {
    name: "READY",
    identity: bytes(""),
    socketType: "ROUTER",
  });
  assert.equal(text(contentOf(buildReady("XPUB"))).includes("Identity"), false);
});

Deno.test("readCommand refuses a READY when it is cut anywhere but between two properties", () => {
  const content = contentOf(nullReady({ Identity: "bob", Other: "x" }));
  const whole: number[] = [];
  for (let size = 0; size < content.length; size++) {
    if (readCommand(content.slice(0, size)) !== undefined) whole.push(size);
  }
  const first = 6 + 1 + "Socket-Type".length + 4 + "DEALER".length;
  assert.deepEqual(whole, [6, first, first + 1 + "Identity".length + 4 + "bob".length]);
});

Deno.test("readCommand reads PING with its time to live, and sends no more than 16 bytes of its context back", () => {
  const ping = (...rest: number[]) => readCommand(Uint8Array.of(4, ...bytes("PING"), ...rest));
  assert.equal(ping(), undefined);
  assert.equal(ping(0), undefined);
  assert.deepEqual(ping(1, 4), { name: "PING", timeToLive: 26_000, context: bytes("") });
  const context = Uint8Array.from({ length: 16 }, (_, index) => index);
  assert.deepEqual(ping(0, 0, ...context, 99), { name: "PING", timeToLive: 0, context });
  assert.deepEqual([...buildPong(context)], [4, 21, 4, ...bytes("PONG"), ...context]);
  assert.deepEqual(readCommand(contentOf(buildPong(context))), { name: "PONG" });
  assert.deepEqual(readCommand(contentOf(buildPing())), {
    name: "PING",
    timeToLive: 0,
    context: bytes(""),
  });
});

Deno.test("readCommand reads subscriptions, errors, and names that it does not know", () => {
  const topic = bytes("news");
  assert.deepEqual(readCommand(bytes("\x09SUBSCRIBEnews")), { name: "SUBSCRIBE", topic });
  assert.deepEqual(readCommand(bytes("\x06CANCELnews")), { name: "CANCEL", topic });
  assert.deepEqual(readCommand(contentOf(buildError("no"))), { name: "ERROR", reason: "no" });
  assert.deepEqual(readCommand(bytes("\x05HELLO")), { name: "" });
  assert.deepEqual(readCommand(bytes("\x04ping\0\0")), { name: "" });
  for (const malformed of ["", "\0", "\x05", "\x05PING", "\xffA"]) {
    assert.equal(readCommand(bytes(malformed)), undefined, JSON.stringify(malformed));
  }
});

Deno.test("buildError keeps to one byte for the size of its reason, however long that is", () => {
  const frame = buildError("x".repeat(1000));
  const content = contentOf(frame);
  assert.equal(content[6], 255);
  assert.equal(content.length, 1 + 5 + 1 + 255);
});

Deno.test("what is read of a conversation stays within it when any of its bytes is another", () => {
  const random = randomNumbers(1 + Math.floor(Math.random() * 2 ** 31));
  const commands = [
    nullReady({ Identity: "bob" }),
    buildPing(),
    buildPong(bytes("context")),
    buildError("reason"),
    greeting("NULL"),
  ];
  for (let round = 0; round < 20_000; round++) {
    const frame = commands[random(commands.length)]?.slice() ?? bytes("");
    for (let change = 1 + random(3); change > 0; change--) {
      frame[random(frame.length)] = random(256);
    }
    const end = random(frame.length + 1);
    const greeted = readGreeting(frame, 0, end);
    if (greeted.state === "whole") assert(greeted.bytes <= end);
    if (greeted.state === "refused") assert.doesNotMatch(greeted.reason, /[^ -~]/);
    const head = new FrameHead();
    const start = head.read(frame, 0, end);
    assert([-1, 0, 2, 9].includes(start) && start <= end);
    if (start <= 0) continue;
    const command = readCommand(frame.slice(start, Math.min(end, start + head.size)));
    if (command?.name === "READY") assert(command.identity.length < end);
    if (command?.name === "PING") assert(command.context.length <= 16);
  }
});
