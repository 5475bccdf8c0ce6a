/** What a handler logs, throws or returns never puts the worker's protocol out of step. */

import { strict as assert } from "node:assert";
import type { LogLine } from "../rig/log_lines.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { LIMIT, until } from "../rig/wait.ts";

/** Values that don't let themselves be looked at, by what they are. */
const NASTY: Record<string, string> = {
  "an Error": `new Error("It broke")`,
  "a number": "42",
  "undefined": "undefined",
  "null": "null",
  "a symbol": "Symbol('s')",
  "a bigint": "10n",
  "an object without a prototype": "Object.create(null)",
  "an object whose toString throws": "{ toString() { throw new Error('no'); } }",
  "an error whose message throws":
    "Object.defineProperty(new Error(), 'message', { get() { throw 1; } })",
  "an error whose name throws":
    "Object.defineProperty(new Error(), 'name', { get() { throw 1; } })",
  "an error whose stack is a number": "Object.assign(new Error('It broke'), { stack: 1 })",
  "an error whose message is an object":
    "Object.defineProperty(new Error(), 'message', { value: {} })",
  "a RequestError whose code throws":
    "Object.defineProperty(Object.assign(new Error('x'), { name: 'RequestError' }), 'code', { get() { throw 1; } })",
  "a proxy that throws": `new Proxy({}, new Proxy({}, { get() { throw new Error("trap"); } }))`,
  "a revoked proxy": "(() => { const p = Proxy.revocable({}, {}); p.revoke(); return p.proxy; })()",
  "an object that Deno.inspect can't show":
    "{ [Symbol.for('Deno.customInspect')]() { throw new Error('no'); } }",
  "a text of 1,000,000 characters": `"x".repeat(1_000_000)`,
  "a function": "() => {}",
};

/** One server; its first worker serves the whole of a test. */
async function serveNasty(use: string): Promise<{ server: ServerProcess; peer: Peer }> {
  const handler = `
    const nasty = [${Object.values(NASTY).map((value) => `() => (${value})`).join(",\n")}];
    export default (body, ctx) => {
      const [kind, number] = new TextDecoder().decode(body).split(" ");
      if (kind === "echo") return body;
      const value = nasty[Number(number)]();
      ${use}
      return body;
    };`;
  const server = await ServerProcess.start({ handler, args: ["--workers", "1"] });
  return { server, peer: new Peer(server.endpoint) };
}

/** Asks for each nasty value, among others that all are to be answered. */
async function askAll(server: ServerProcess, peer: Peer): Promise<Map<string, string[]>> {
  const replies = new Map<string, string[]>();
  const count = Object.keys(NASTY).length;
  for (let index = 0; index < count; index++) {
    peer.send(`a${index}`, "", `echo ${index}`);
    peer.send(`b${index}`, "", `nasty ${index}`);
    peer.send(`c${index}`, "", `echo ${index}`);
  }
  for (let left = 3 * count; left > 0; left--) {
    const [id = "", , ...body] = await peer.receiveText(LIMIT);
    replies.set(id, body);
  }
  for (let index = 0; index < count; index++) {
    for (const id of ["a", "c"]) assert.deepEqual(replies.get(id + index), [`echo ${index}`]);
  }
  const state = await server.state();
  assert.deepEqual({ intruders: state.intruders, strayReplies: state.strayReplies }, {
    intruders: 0,
    strayReplies: 0,
  });
  assert.equal(server.lines.filter(({ message }) => message === "worker ready").length, 1);
  return replies;
}

const USES: Record<string, string> = {
  "is logged": `ctx.log.info(value); ctx.log.error(value, { a: 1 });`,
  "is a field of a log line": `ctx.log.info("x", { value }); ctx.log.info("x", value);`,
  "is logged with fields that throw": `
    ctx.log.info("x", { get a() { throw value; } });
    ctx.log.info("x", new Proxy({}, { ownKeys() { throw value; } }));`,
};

for (const [use, code] of Object.entries(USES)) {
  Deno.test(`a worker answers everybody when any value ${use}`, async () => {
    const { server, peer } = await serveNasty(code);
    await using _server = server;
    await using _peer = peer;
    const replies = await askAll(server, peer);
    Object.keys(NASTY).forEach((_, index) => {
      assert.deepEqual(replies.get(`b${index}`), [`nasty ${index}`]);
    });
  });
}

const ENDS: Record<string, string> = {
  "is thrown": "throw value;",
  "is what a promise rejects with": "return Promise.reject(value);",
  "is returned in an array": "return ['x', value];",
  "is returned by an array that throws":
    "return new Proxy([1], { get(target, name) { if (name === '0') throw value; return target[name]; } });",
  "is thrown while the context was written over": `
    for (const name of ["startedAt", "end", "abort", "stopped", "frames2"]) ctx[name] = value;
    throw value;`,
};

for (const [use, code] of Object.entries(ENDS)) {
  Deno.test(`a worker answers everybody when any value ${use}`, async () => {
    const { server, peer } = await serveNasty(code);
    await using _server = server;
    await using _peer = peer;
    const replies = await askAll(server, peer);
    Object.keys(NASTY).forEach((name, index) => {
      const [empty, error = ""] = replies.get(`b${index}`) ?? [];
      // Text is a frame like any other, where it is returned.
      if (use.startsWith("is returned in") && name.startsWith("a text")) return;
      assert.equal(empty, "", name);
      assert.match(error, /^500 /, name);
      assert.ok(error.length < 9000, name);
    });
  });
}

/** The first line of a message. */
function lineOf(server: ServerProcess, message: string): Promise<LogLine> {
  return server.line(message);
}

Deno.test("ctx.log writes the job, the worker, fields and an error's stack", async () => {
  const handler = `export default (body, ctx) => {
    ctx.log.info("with fields", { n: 1, t: "a b", yes: true, none: undefined, big: 10n, worker: 99, job: 99 });
    ctx.log.warn(new TypeError("It broke"));
    ctx.log.debug({ a: [1, { b: 2 }] });
    return String(ctx.id);
  };`;
  await using server = await ServerProcess.start({ handler, args: ["--workers", "1"] });
  await using peer = new Peer(server.endpoint);
  const [id] = await peer.ask("x");
  const { n, t, yes, big, worker, job, ...rest } = await lineOf(server, "with fields");
  assert.deepEqual({ n, t, yes, big, worker, job }, {
    n: 1,
    t: "a b",
    yes: true,
    big: "10n",
    worker: 1,
    job: Number(id),
  });
  assert.ok(!("none" in rest));
  const error = await lineOf(server, "TypeError: It broke");
  assert.equal(error.level, "warn");
  assert.match(String(error.stack), /TypeError: It broke\n +at .*handler\.ts:3:/);
  assert.equal((await lineOf(server, "{ a: [ 1, { b: 2 } ] }")).job, Number(id));
});

Deno.test("what a worker logs too much is counted, and others are answered meanwhile", async () => {
  const handler = `export default (body, ctx) => {
    const text = new TextDecoder().decode(body);
    if (text === "flood") for (let i = 0; i < 20_000; i++) ctx.log.info("\\0".repeat(8192));
    return text;
  };`;
  await using server = await ServerProcess.start({ handler, args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  await using flood = new Peer(server.endpoint);
  await using other = new Peer(server.endpoint);
  flood.send("", "flood");
  for (let round = 0; round < 50; round++) assert.deepEqual(await other.ask("x"), ["x"]);
  assert.deepEqual(await flood.receiveText(), ["", "flood"]);
  const floods = () => server.lines.filter(({ message }) => message.startsWith("\0")).length;
  const sum = (start: string, field: string) =>
    server.lines.filter(({ message }) => message.startsWith(start))
      .reduce((sum, line) => sum + Number(line[field]), 0);
  const dropped = () => sum("a worker logs too much", "dropped");
  await until("all lines are told of", () => {
    return floods() + dropped() + sum("log lines were lost", "lost") === 20_000;
  });
  assert.ok(floods() > 100 && dropped() > 1000, `${floods()} ${dropped()}`);
});
