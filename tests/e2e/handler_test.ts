/** Handlers from outside: what they may return, throw, see and be, and what becomes of their workers. */

import { parseStatus } from "../rig/status.ts";
import { strict as assert } from "node:assert";
import { relative } from "node:path";
import { pathToFileURL } from "node:url";
import { WORKER_MODULE } from "../rig/checkout.ts";
import { forgetSites } from "../rig/deno_cache.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { linesOf, type LogLine } from "../rig/log_lines.ts";
import { errorReply, header, numbers } from "../rig/messages.ts";
import { Peer, receiveAll, receiveBodies } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import type { Feature } from "../rig/permissions.ts";

const ONE_WORKER = ["--workers", "1"];

/** A handler that answers by what the body says: the name of an expression of `body` and `ctx`. */
function handlerOf(answers: Record<string, string>): string {
  const cases = Object.entries(answers).map(([name, answer]) =>
    `${JSON.stringify(name)}: (body, ctx) => (${answer})`
  );
  return `const answers = { ${cases.join(",\n")} };
    export default (body, ctx) => answers[new TextDecoder().decode(body)](body, ctx);`;
}

/** Pid of the worker with this number. */
function pidOf(server: ServerProcess, worker: unknown): number {
  const line = linesOf(server, "worker ready").find((line) => line.worker === worker);
  assert.ok(line, `worker ${worker} was never ready`);
  return Number(line.pid);
}

function lineThat(
  server: ServerProcess,
  what: string,
  look: (line: LogLine) => boolean,
): Promise<LogLine> {
  return until(`the log says ${what}`, () => server.lines.find(look));
}

/** All that a server printed. */
function printed(server: ServerProcess): string {
  return [...server.lines.map(({ message }) => message), ...server.noise].join("\n");
}

// ---- results ----

Deno.test("the server sends what the handler returns when that is bytes, text or a list of them", async () => {
  const cases: Record<string, [string, string[]]> = {
    string: ['"héllo"', ["héllo"]],
    "empty string": ['""', [""]],
    bytes: ["new Uint8Array([97, 98])", ["ab"]],
    "empty bytes": ["new Uint8Array(0)", [""]],
    "part of bytes": ["new Uint8Array([97, 98, 99, 100]).subarray(1, 3)", ["bc"]],
    "shared bytes": ["new Uint8Array(new SharedArrayBuffer(2)).fill(97)", ["aa"]],
    "the body itself": ["body", ["the body itself"]],
    list: ['["a", new Uint8Array([98]), "", "d"]', ["a", "b", "", "d"]],
    "list of one": ['["a"]', ["a"]],
    frozen: ['Object.freeze(["a", "b"])', ["a", "b"]],
    promise: ['Promise.resolve("later")', ["later"]],
    "late list": ['new Promise((go) => setTimeout(() => go(["a", "b"]), 5))', ["a", "b"]],
    thenable: ['({ then: (go) => go("then") })', ["then"]],
    "many frames": [
      "Array.from({ length: 1000 }, (_, i) => String(i))",
      [...Array(1000).keys()].map(String),
    ],
  };
  const answers = Object.entries(cases).map(([name, [answer]]) => [name, answer]);
  const handler = handlerOf(Object.fromEntries(answers));
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  for (const [name, [, frames]] of Object.entries(cases)) {
    assert.deepEqual(await peer.ask(name), frames, name);
  }
});

Deno.test("the server sends one empty frame when the handler returns an empty list", async () => {
  const handler = "export default () => []";
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("x"), [""]);
  peer.send(header(1), "", "x");
  const [, , status, ...body] = await peer.receive();
  assert.equal(parseStatus(status ?? bytes("")), 200);
  assert.deepEqual(body.map(text), [""]);
});

Deno.test("the server answers 500 and says what came when the handler returns something else", async () => {
  const cases: Record<string, [string, RegExp]> = {
    nothing: ["undefined", /it returned undefined$/],
    null: ["null", /it returned null$/],
    number: ["42", /it returned 42$/],
    boolean: ["true", /it returned true$/],
    object: ["({ a: 1 })", /it returned Object$/],
    bare: ["Object.create(null)", /it returned an object$/],
    map: ["new Map()", /it returned Map$/],
    buffer: ["new ArrayBuffer(3)", /it returned ArrayBuffer$/],
    "other bytes": ["new Uint16Array(3)", /it returned Uint16Array$/],
    "list with a number": ['["a", 1]', /it returned an array with 1$/],
    "list in a list": ['[["a"]]', /it returned an array with an array with/],
    "list with nothing": ["[undefined]", /it returned an array with undefined$/],
    promise: ["Promise.resolve(42)", /it returned 42$/],
    symbol: ['Symbol("s")', /it returned Symbol\(s\)$/],
  };
  const answers = Object.entries(cases).map(([name, [answer]]) => [name, answer]);
  const handler = handlerOf({ ...Object.fromEntries(answers), fine: '"fine"' });
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  for (const [name, [, end]] of Object.entries(cases)) {
    const [empty, error, ...rest] = await peer.ask(name);
    assert.deepEqual([empty, ...rest], [""], name);
    assert.match(
      error ?? "",
      /^500 The handler must return Uint8Array, string or an array of them: /,
      name,
    );
    assert.match(error ?? "", end, name);
  }
  assert.deepEqual(await peer.ask("fine"), ["fine"]);
  assert.equal(server.workers.length, 1);
  assert.equal(linesOf(server, "worker exited").length, 0);
});

Deno.test("the server answers 500 when the handler returns a list with holes", async () => {
  const handler = handlerOf({ holes: 'Object.assign([], { 2: "c" })', fine: '"fine"' });
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  const [empty, error, ...rest] = await peer.ask("holes");
  assert.deepEqual([empty, ...rest], [""]);
  assert.match(error ?? "", /^500 /);
  assert.deepEqual(await peer.ask("fine"), ["fine"]);
});

Deno.test("the server goes on when the handler returns bytes that it has given away", async () => {
  const handler = `
    function given() { const bytes = new Uint8Array(8); structuredClone(bytes, { transfer: [bytes.buffer] }); return bytes; }
    ${handlerOf({ given: "given()", list: '["a", given(), "c"]', fine: '"fine"' })}`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  for (const name of ["given", "list"]) {
    const frames = await peer.ask(name);
    // Empty, as its length says, or an error; nothing between.
    const isEmpty = frames.join() === (name === "given" ? "" : "a,,c");
    assert.ok(isEmpty || /^,500 [^,]*$/.test(frames.join()), frames.join());
  }
  assert.deepEqual(await peer.ask("fine"), ["fine"]);
});

Deno.test("the server answers an error when the handler returns more than maxMessageSize", async () => {
  const handler = handlerOf({ exactly: '"x".repeat(1000)', more: '"x".repeat(1001)' });
  const args = [...ONE_WORKER, "--max-message-size", "1000"];
  await using server = await ServerProcess.start({ handler, args });
  await using peer = new Peer(server.endpoint);
  assert.equal((await peer.ask("exactly"))[0]?.length, 1000);
  assert.match((await peer.ask("more"))[1] ?? "", /^500 .*1000/);
});

Deno.test("the server answers an error when the handler returns more than maxFrames, and the next request at once", async () => {
  const many = (count: number) => `Array(${count}).fill(new Uint8Array(0))`;
  const handler = handlerOf({ exactly: many(10), more: many(11), most: many(1_000_000) });
  await using server = await ServerProcess.start({
    handler,
    args: [...ONE_WORKER, "--max-frames", "10"],
  });
  await using peer = new Peer(server.endpoint);
  assert.equal((await peer.ask("exactly")).length, 10);
  assert.deepEqual(await peer.ask("more"), [
    "",
    "500 The reply must have at most 10 frames: it has 11",
  ]);
  assert.match((await peer.ask("most"))[1] ?? "", /^500 .* 1000000$/);
  assert.equal((await peer.ask("exactly")).length, 10);
});

// ---- errors ----

Deno.test("the server answers 500 with the message and not the stack when the handler throws, and keeps the worker", async () => {
  const handler = `
    function fail(error) { throw error; }
    ${
    handlerOf({
      error: 'fail(new TypeError("It broke"))',
      rejects: 'Promise.reject(new Error("It broke later"))',
      async: '(async () => { await 0; fail(new Error("It broke last")); })()',
      text: 'fail("just text")',
      empty: "fail(new Error())",
      null: "fail(null)",
      unshowable: "fail(Object.create(null))",
      lines: 'fail(new Error("one\\ntwo"))',
      pid: "ctx.frames",
    })
  }`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  const workers = server.workers;
  assert.deepEqual(await peer.ask("error"), errorReply(500, "It broke"));
  assert.deepEqual(await peer.ask("rejects"), errorReply(500, "It broke later"));
  assert.deepEqual(await peer.ask("async"), errorReply(500, "It broke last"));
  assert.deepEqual(await peer.ask("text"), errorReply(500, "just text"));
  assert.deepEqual(await peer.ask("empty"), errorReply(500, ""));
  assert.deepEqual(await peer.ask("null"), errorReply(500, "null"));
  assert.match((await peer.ask("unshowable"))[1] ?? "", /^500 ./);
  assert.deepEqual(await peer.ask("lines"), errorReply(500, "one\ntwo"));
  assert.deepEqual(await peer.ask("pid"), ["pid"]);
  peer.send(header(5), "", "error");
  const [, , status, message, ...rest] = await peer.receive();
  assert.equal(parseStatus(status ?? bytes("")), 500);
  assert.deepEqual([text(message), ...rest], ["It broke"]);
  assert.deepEqual(server.workers, workers);
  assert.equal(linesOf(server, "worker exited").length, 0);
  assert.equal((await server.state()).failed, 9);
});

Deno.test("the server answers 500 and keeps the worker when an error's message is no text", async () => {
  const handler = `
    function fail(message) { throw Object.defineProperty(new Error(), "message", { value: message }); }
    ${
    handlerOf({
      undefined: "fail(undefined)",
      number: "fail(42)",
      object: "fail({ code: 1 })",
      later: "(async () => fail(undefined))()",
      fine: '"fine"',
    })
  }`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  assert.match((await peer.ask("number")).join(), /^,500 42$/);
  assert.match((await peer.ask("object")).join(), /^,500 /);
  peer.send("", "undefined");
  peer.send("", "later");
  peer.send("", "fine");
  const answers = (await receiveAll(peer, 3)).map((frames) => frames.map(text).join());
  assert.match(answers[0] ?? "", /^,,500 /);
  assert.match(answers[1] ?? "", /^,,500 /);
  assert.equal(answers[2], ",fine");
  assert.equal(linesOf(server, "worker exited").length, 0);
});

Deno.test("the server cuts an error message and a line for the log when they are longer than 8192 characters", async () => {
  const handler = `export default (_body, ctx) => {
    ctx.log.warn("y".repeat(3_000_000));
    throw new Error("x".repeat(3_000_000));
  };`;
  const args = [...ONE_WORKER, "--max-message-size", "1000"];
  await using server = await ServerProcess.start({ handler, args });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("a"), errorReply(500, "x".repeat(8192)));
  assert.equal((await server.line("y".repeat(8192))).level, "warn");
});

Deno.test("the server answers with the code of a RequestError when the handler throws one", async () => {
  const handler = `import { RequestError } from ${JSON.stringify(WORKER_MODULE)};
    class Foreign extends Error { name = "RequestError"; code = 418; }
    class Wrong extends Error { name = "RequestError"; code = 200; }
    function fail(error) { throw error; }
    ${
    handlerOf({
      own: 'fail(new RequestError(404, "No such customer"))',
      late: 'Promise.reject(new RequestError(599, "Last"))',
      foreign: 'fail(new Foreign("Of a copy"))',
      wrong: 'fail(new Wrong("No error code"))',
      other: 'fail(Object.assign(new Error("System"), { code: 404 }))',
      "out of range": 'fail(new RequestError(200, "x"))',
    })
  }`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("own"), errorReply(404, "No such customer"));
  assert.deepEqual(await peer.ask("late"), errorReply(599, "Last"));
  assert.deepEqual(await peer.ask("foreign"), errorReply(418, "Of a copy"));
  assert.deepEqual(await peer.ask("wrong"), errorReply(500, "No error code"));
  assert.deepEqual(await peer.ask("other"), errorReply(500, "System"));
  assert.match((await peer.ask("out of range"))[1] ?? "", /^500 .*400 to 599.*200/);
  peer.send(header(5), "", "own");
  assert.equal(parseStatus((await peer.receive())[2] ?? bytes("")), 404);
});

Deno.test("the server keeps the worker when the handler leaves a rejection or an error behind", async () => {
  const handler = handlerOf({
    rejection: '(Promise.reject(new Error("left behind")), "one")',
    timer: '(setTimeout(() => { throw new Error("thrown late"); }, 0), "two")',
    fine: '"fine"',
  });
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("rejection"), ["one"]);
  await lineThat(server, "what was left", ({ message }) => message.endsWith("left behind"));
  assert.deepEqual(await peer.ask("timer"), ["two"]);
  const line = await lineThat(
    server,
    "what came",
    ({ message }) => message.endsWith("thrown late"),
  );
  assert.equal(line.level, "error");
  assert.equal(line.worker, 1);
  assert.deepEqual(await peer.ask("fine"), ["fine"]);
  assert.equal(linesOf(server, "worker exited").length, 0);
});

Deno.test("the server answers as ever when the handler writes to its console", async () => {
  const handler = `console.log("at load");
    export default (body) => {
      console.log("to stdout", "x".repeat(5000));
      console.error("to stderr");
      return body;
    };`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  for (let round = 0; round < 50; round++) assert.deepEqual(await peer.ask("x"), ["x"]);
  const count = (start: string, source: string) =>
    server.lines.filter(({ message, from, worker }) =>
      message.startsWith(start) && from === source && worker === 1
    ).length;
  await until("it was printed", () => {
    return count("to stdout", "stdout") === 50 && count("to stderr", "stderr") === 50;
  });
  assert.equal(count("at load", "stdout"), 1);
  assert.deepEqual(server.noise, []);
});

// ---- the context ----

Deno.test("the handler sees the job's id, its attempt and all frames when it looks at its context", async () => {
  const handler = `const decoder = new TextDecoder();
    export default (body, { id, attempt, frames, deadline }) => JSON.stringify({
      id, attempt, deadline: deadline ?? "none", same: body === frames[0],
      frames: frames.map((frame) => frame instanceof Uint8Array && decoder.decode(frame)),
    });`;
  await using server = await ServerProcess.start({ handler });
  await using peer = new Peer(server.endpoint);
  const ids = new Set<number>();
  for (let round = 1; round <= 20; round++) {
    const { id, ...rest } = JSON.parse((await peer.ask("a", "", "c"))[0] ?? "");
    const expected = { attempt: 1, deadline: "none", same: true, frames: ["a", "", "c"] };
    assert.deepEqual(rest, expected);
    assert.ok(Number.isSafeInteger(id) && id > 0);
    ids.add(id);
  }
  assert.equal(ids.size, 20);
});

Deno.test("the handler sees the client's address and identity when the client has them", async () => {
  using folder = new Folder();
  const ipc = `ipc://${folder.path}/front`;
  const handler = `export default (_body, { client }) => [client.address, client.identity]`;
  await using server = await ServerProcess.start({
    handler,
    args: ["--frontend", "tcp://127.0.0.1:0", "--frontend", ipc],
  });
  await using anonymous = new Peer(server.endpoint);
  assert.deepEqual(await anonymous.ask("x"), ["127.0.0.1", ""]);
  await using named = new Peer(server.endpoint, { identity: "nämed" });
  assert.deepEqual(await named.ask("x"), ["127.0.0.1", "nämed"]);
  await using long = new Peer(server.endpoint, { identity: "x".repeat(255) });
  assert.deepEqual(await long.ask("x"), ["127.0.0.1", "x".repeat(255)]);
  await using local = new Peer(ipc, { identity: "local" });
  assert.deepEqual(await local.ask("x"), ["", "local"]);
});

Deno.test("the handler sees attempt 2 when a worker died on the job before", async () => {
  const handler = `export default (_body, { id, attempt }) => {
    if (attempt === 1) Deno.exit(3);
    return [String(id), String(attempt)];
  }`;
  await using server = await ServerProcess.start({ handler, args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("x"), ["1", "2"]);
});

Deno.test("the handler sees a deadline when the client says how long it waits", async () => {
  const handler = "export default (_body, { deadline }) => String(deadline)";
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  const before = Date.now();
  peer.send(header(1, 5000), "", "x");
  const deadline = Number(text((await peer.receive()).at(-1)));
  assert.ok(deadline >= before + 4000 && deadline <= Date.now() + 5001, `${deadline - before}`);
  peer.send(header(2, 0), "", "x");
  assert.equal(text((await peer.receive()).at(-1)), "undefined");
});

Deno.test("the handler's signal fires when the deadline passes", async () => {
  const handler = `export default async (_body, { signal }) => {
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    return [signal.reason.name, signal.reason.message];
  }`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  const start = performance.now();
  peer.send(header(1, 2000), "", "x");
  const [, , , ...body] = await peer.receiveText();
  assert.deepEqual(body, ["AbortError", "The deadline has passed"]);
  assert.ok(performance.now() - start >= 1900);
});

Deno.test("the handler's signal has fired when it is first looked at after the deadline", async () => {
  const handler = `export default async (_body, ctx) => {
    const { deadline } = ctx;
    while (Date.now() < deadline + 5) await new Promise((resolve) => setTimeout(resolve, 5));
    return String(ctx.signal.aborted);
  }`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  peer.send(header(1, 2000), "", "x");
  assert.equal(text((await peer.receive()).at(-1)), "true");
});

Deno.test("the handler's signal fires when the client leaves", async () => {
  const handler = `export default async (body, { signal, log }) => {
    if (body.length === 0) return "free";
    log.info("started");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    log.info("aborted: " + signal.reason.message);
    return "unheard";
  }`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using stays = new Peer(server.endpoint);
  {
    await using leaves = new Peer(server.endpoint);
    leaves.send("", "x");
    await server.line("started");
    stays.send("", "");
  }
  await server.line("aborted: Nobody waits for the answer any more");
  assert.deepEqual(await stays.receiveText(), ["", "free"]);
  const { abandoned, clients } = await server.state();
  assert.deepEqual({ abandoned, clients }, { abandoned: 1, clients: 1 });
});

Deno.test("the handler is not run when the client has left while the request waited", async () => {
  using gate = new Gate();
  const handler = `${gate.source}
    export default async (body, ctx) => {
      ctx.log.info("runs " + new TextDecoder().decode(body));
      await passed();
      return body;
    }`;
  await using server = await ServerProcess.start({ handler, args: [...ONE_WORKER, gate.grant] });
  await using stays = new Peer(server.endpoint);
  stays.send("", "first");
  await server.line("runs first");
  {
    await using leaves = new Peer(server.endpoint);
    for (let sent = 0; sent < 10; sent++) leaves.send("", "unwanted");
    await until("they wait", async () => (await server.state()).queued === 10);
  }
  await until("they are gone", async () => (await server.state()).queued === 0);
  stays.send("", "last");
  gate.open();
  assert.deepEqual(await receiveBodies(stays, 2), ["first", "last"]);
  assert.equal(linesOf(server, "runs unwanted").length, 0);
  assert.equal((await server.state()).abandoned, 10);
});

Deno.test("the handler's signal fires when its worker is interrupted, and the worker lives on", async () => {
  const handler = `export default async (body, { signal, log }) => {
    if (body.length === 0) return "free";
    log.info("started");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
    return signal.reason.message;
  }`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  peer.send("", "x");
  const { worker } = await server.line("started");
  Deno.kill(pidOf(server, worker), "SIGINT");
  assert.deepEqual(await peer.receiveText(), ["", "The worker was interrupted"]);
  assert.deepEqual(await peer.ask(""), ["free"]);
  assert.equal(linesOf(server, "worker exited").length, 0);
});

Deno.test("the log has a line with the worker's number when a handler writes one", async () => {
  const handler = `export default (_body, { log }) => {
    for (const level of ["debug", "info", "warn", "error"]) log[level](level + " says\\nsomething");
    log.info("long " + "x".repeat(100_000));
    return "ok";
  }`;
  await using server = await ServerProcess.start({ handler, args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("x"), ["ok"]);
  for (const level of ["debug", "info", "warn", "error"]) {
    const line = await server.line(`${level} says\nsomething`);
    assert.equal(line.level.toLowerCase(), level);
    assert.ok(pidOf(server, line.worker) > 0);
  }
  await lineThat(server, "a long line", ({ message }) => message.startsWith("long xxx"));
});

// ---- init, finish, allow, dequeue ----

Deno.test("the server waits for init() before it calls a worker ready", async () => {
  using gate = new Gate();
  const handler = `${gate.source}
    let state = "fresh";
    export async function init() { await passed(); state = "initialised"; }
    export default () => state;`;
  const args = [...ONE_WORKER, gate.grant];
  await using server = await ServerProcess.start({ handler, args, raw: true });
  await server.line("worker spawned");
  await using peer = new Peer(server.endpoint);
  peer.send("", "x");
  await until("it waits", async () => (await server.state()).queued === 1);
  assert.equal((await server.state()).starting, 1);
  assert.equal(linesOf(server, "worker ready").length, 0);
  gate.open();
  assert.deepEqual(await peer.receiveText(), ["", "initialised"]);
});

Deno.test("the server runs each worker's finish() to its end when it stops", async () => {
  using folder = new Folder();
  const handler = `export default () => "x";
    export async function finish() {
      await new Promise((resolve) => setTimeout(resolve, 50));
      await Deno.writeTextFile(${
    JSON.stringify(folder.path)
  } + "/" + crypto.randomUUID(), "finished");
    }`;
  const args = ["--workers", "3", `--handler-allow-write=${folder.path}`];
  await using server = await ServerProcess.start({ handler, args });
  await server.line("worker ready", 3);
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  assert.equal([...Deno.readDirSync(folder.path)].length, 3);
});

Deno.test("the server stops in order when finish() throws", async () => {
  const handler = `export default () => "x";
    export function finish() { throw new Error("cannot finish"); }`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  assert.match(printed(server), /cannot finish/);
});

Deno.test("the server answers 403 and does not run the handler when allow() says no", async () => {
  const handler = `import { RequestError } from ${JSON.stringify(WORKER_MODULE)};
    const decide = {
      yes: true, no: false, "late yes": Promise.resolve(true), "late no": Promise.resolve(false),
      nothing: undefined,
    };
    export function allow({ frames, client }) {
      const word = new TextDecoder().decode(frames[0]);
      if (word === "throws") throw new Error("no idea");
      if (word === "own code") throw new RequestError(401, "Who are you?");
      if (word === "by identity") return client.identity === "friend";
      return decide[word];
    }
    export default (body, { log }) => (log.info("ran"), body);`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  await using friend = new Peer(server.endpoint, { identity: "friend" });
  const refused = errorReply(403, "The request is not allowed");
  for (const word of ["no", "late no", "nothing", "by identity"]) {
    assert.deepEqual(await peer.ask(word), refused, word);
  }
  for (const word of ["yes", "late yes"]) {
    assert.deepEqual(await peer.ask(word), [word]);
  }
  assert.deepEqual(await friend.ask("by identity"), ["by identity"]);
  assert.deepEqual(await peer.ask("throws"), errorReply(500, "no idea"));
  assert.deepEqual(await peer.ask("own code"), errorReply(401, "Who are you?"));
  await server.line("ran", 3);
  assert.equal(linesOf(server, "ran").length, 3);
});

Deno.test("the server waits for what allow() says when that is a thenable of its own kind", async () => {
  const handler = `export default (body) => body;
    export const allow = ({ frames }) => ({ then: (go) => go(frames[0].length > 0) });`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("x"), ["x"]);
  assert.deepEqual(await peer.ask(""), errorReply(403, "The request is not allowed"));
});

Deno.test("the server runs dequeue() in a process of its own when dequeueInterval is set", async () => {
  const handler = `export default () => "served";
    let initialised = false;
    export function init() { initialised = true; }
    export async function dequeue() { await 0; console.log("dequeued", initialised); }
    export function finish() { console.log("finished"); }`;
  const args = [...ONE_WORKER, "--dequeue-interval", "100ms"];
  await using server = await ServerProcess.start({ handler, args });
  const count = (what: string) => linesOf(server, what).length;
  await until("it ran twice", () => count("dequeued true") >= 2);
  await until("it left twice", () => {
    return linesOf(server, "worker exited").filter(({ reason }) => reason === "dequeued").length >=
      2;
  });
  await until("it finished twice", () => count("finished") >= 2);
  assert.equal(server.workers.length, 1);
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("x"), ["served"]);
});

// ---- json() and text() ----

Deno.test("the server decodes and encodes when a handler is made by json() or text()", async () => {
  const json = `import { json, RequestError } from ${JSON.stringify(WORKER_MODULE)};
    export default json(async (value, ctx) => {
      if (value === "nothing") return undefined;
      if (value === "fails") throw new RequestError(409, "In conflict");
      if (value === "circular") { const it = {}; it.it = it; return it; }
      return { value, attempt: ctx.attempt };
    });`;
  {
    await using server = await ServerProcess.start({ handler: json, args: ONE_WORKER });
    await using peer = new Peer(server.endpoint);
    for (const value of [{ a: [1, "é", null] }, 0, null, "", [], false]) {
      const [answer] = await peer.ask(JSON.stringify(value));
      assert.deepEqual(JSON.parse(answer ?? ""), { value, attempt: 1 });
    }
    assert.deepEqual(await peer.ask('"nothing"'), ["null"]);
    assert.deepEqual(await peer.ask('"fails"'), errorReply(409, "In conflict"));
    assert.match((await peer.ask('"circular"'))[1] ?? "", /^500 .*circular/i);
    for (const wrong of ["", "{", "undefined", "\xff", "1 2"]) {
      const [empty, error] = await peer.ask(wrong);
      assert.equal(empty, "");
      assert.match(error ?? "", /^400 The body must be JSON: ./, wrong);
    }
  }
  const words = `import { text } from ${JSON.stringify(WORKER_MODULE)};
    export default text((word, ctx) => word === "" ? "empty" : word.toUpperCase() + ctx.attempt);`;
  await using server = await ServerProcess.start({ handler: words, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("grüße"), ["GRÜSSE1"]);
  assert.deepEqual(await peer.ask(""), ["empty"]);
  assert.deepEqual(await peer.ask(new Uint8Array([255, 97])), ["\ufffdA1"]);
});

// ---- where a handler comes from ----

async function assertAnswers(
  args: string[],
  body: string,
  answer: string,
  features: readonly Feature[] = [],
): Promise<void> {
  await using server = await ServerProcess.start({ args: [...ONE_WORKER, ...args], features });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask(body), [answer]);
}

const UPPER = "export default (body) => new TextDecoder().decode(body).toUpperCase();";

Deno.test("the server loads the handler when it is named by a path", async () => {
  using folder = new Folder();
  const file = folder.write("upper.ts", UPPER);
  await assertAnswers([file], "a", "A");
  await assertAnswers([relative(Deno.cwd(), file)], "a", "A");
});

Deno.test("the server loads the handler when its path has signs that mean something in a URL", async () => {
  using folder = new Folder();
  const file = folder.write("a b#c?d%20e,f'g\"hé.ts", UPPER);
  folder.write("deno.json", "{}");
  await assertAnswers([file], "a", "A");
  await assertAnswers([pathToFileURL(file).href], "a", "A");
});

Deno.test("the server loads the handler when it is a data: URL", async () => {
  await assertAnswers([`data:application/javascript,${encodeURIComponent(UPPER)}`], "a", "A");
});

Deno.test("the server loads the handler when it is JavaScript with modules and data of its own", async () => {
  using folder = new Folder();
  folder.write("words.mjs", 'export const greeting = "Hello, ";');
  folder.write("names.json", '{ "x": "you" }');
  const file = folder.write(
    "handler.js",
    `import { greeting } from "./words.mjs";
     import names from "./names.json" with { type: "json" };
     const { end } = await import("./end.js");
     export default (body) => greeting + names[new TextDecoder().decode(body)] + end;`,
  );
  folder.write("end.js", 'export const end = "!";');
  await assertAnswers([file], "x", "Hello, you!");
});

Deno.test("the server loads the handler when it is an npm: package", async () => {
  await using server = await ServerProcess.start({ args: [...ONE_WORKER, "npm:minimist@1.2.8"] });
  await using peer = new Peer(server.endpoint);
  // Its default export takes arguments apart, and an object is no reply.
  assert.match((await peer.ask("x"))[1] ?? "", /^500 The handler must return .* returned Object$/);
});

Deno.test("the server loads the handler when it is an http: URL", async () => {
  const files: Record<string, string> = {
    "/app/handler.ts": `import { upper } from "../lib/upper.ts"; export default upper;`,
    "/lib/upper.ts":
      "export const upper = (body: Uint8Array) => new TextDecoder().decode(body).toUpperCase();",
  };
  const answer = ({ url }: Request) => {
    const source = files[new URL(url).pathname];
    const headers = { "content-type": "application/typescript" };
    return source === undefined
      ? new Response("", { status: 404 })
      : new Response(source, { headers });
  };
  await using site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, answer);
  const { port } = site.addr;
  try {
    await assertAnswers([`http://127.0.0.1:${port}/app/handler.ts`], "a", "A");
    await using server = await ServerProcess.start({
      args: [`http://127.0.0.1:${port}/missing.ts`],
      raw: true,
    });
    assert.equal((await server.ended()).code, 1);
    assert.match(printed(server), /missing\.ts/);
  } finally {
    await forgetSites(port);
  }
});

Deno.test("the server keeps the handler's own import map when a deno.json lies above it", async () => {
  using folder = new Folder();
  Deno.mkdirSync(`${folder.path}/src/deep`, { recursive: true });
  folder.write(
    "deno.json",
    '{ "imports": { "greet": "./src/greet.ts", "args": "npm:minimist@1.2.8" } }',
  );
  folder.write("src/greet.ts", 'export const greet = (name: string) => "Hello, " + name;');
  const file = folder.write(
    "src/deep/handler.ts",
    `import { greet } from "greet";
     import minimist from "args";
     export default (body: Uint8Array) =>
       greet(minimist(["--name", new TextDecoder().decode(body)]).name);`,
  );
  const features: Feature[] = [["handler", { FOLDERS: folder.path }]];
  await assertAnswers([file], "you", "Hello, you", features);
  assert.deepEqual([...Deno.readDirSync(folder.path)].map(({ name }) => name).sort(), [
    "deno.json",
    "src",
  ]);
});

// ---- what can't be loaded ----

for (
  const [what, source, message] of [
    ["has a syntax error", "export default (body => body;", /Expected|Unexpected|expression/],
    ["throws at load", 'throw new Error("no database");', /no database/],
    ["imports what is not there", 'import "./nowhere.ts"; export default () => "";', /nowhere\.ts/],
    [
      "has no default export",
      "export const handler = () => 1;",
      /must export a function as default/,
    ],
    ["exports no function", "export default 42;", /must export a function as default/],
    [
      "has an init that throws",
      'export default () => ""; export function init() { throw new Error("init broke"); }',
      /init broke/,
    ],
    [
      "has an allow that is no function",
      'export default () => ""; export const allow = true;',
      /"allow" must be a function/,
    ],
  ] as const
) {
  Deno.test(`the server says why and exits 1 when the handler ${what}`, async () => {
    await using server = await ServerProcess.start({ handler: source, raw: true });
    assert.equal((await server.ended()).code, 1);
    assert.match(printed(server), message);
    assert.match(printed(server), /handler\.ts/);
    assert.equal(linesOf(server, "worker ready").length, 0);
  });
}

Deno.test("the server says why and exits 1 when the handler's module is missing", async () => {
  for (const missing of ["/nowhere/handler.ts", "npm:@nobody/no-such-package-here@1.0.0"]) {
    await using server = await ServerProcess.start({ args: [missing], raw: true });
    assert.equal((await server.ended()).code, 1);
    assert.ok(printed(server).includes(missing.replace("npm:", "")), printed(server));
  }
});

Deno.test("the server says why and exits 1 when dequeueInterval is set and the handler has no dequeue", async () => {
  await using server = await ServerProcess.start({
    handler: 'export default () => ""',
    args: ["--dequeue-interval", "10s"],
    raw: true,
  });
  assert.equal((await server.ended()).code, 1);
  assert.match(printed(server), /must export a function "dequeue"/);
});

// ---- concurrency ----

/** Answers how many ran at once, at most, by then; `atOnce` of them must be there before any ends. */
function countingHandler(atOnce: number): string {
  return `let running = 0, most = 0, go = [];
    export default async () => {
      most = Math.max(most, ++running);
      if (running < ${atOnce}) await new Promise((resolve) => go.push(resolve));
      for (const resolve of go.splice(0)) resolve();
      await new Promise((resolve) => setTimeout(resolve, 1));
      await Promise.resolve();
      running--;
      return String(most);
    };`;
}

Deno.test("the server runs one job at a time in a worker when the handler awaits and concurrency is 1", async () => {
  await using server = await ServerProcess.start({
    handler: countingHandler(1),
    args: [...ONE_WORKER, "--prefetch-budget", "1s"],
  });
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 100; sent++) peer.send("", "x");
  assert.deepEqual(new Set(await receiveBodies(peer, 100)), new Set(["1"]));
});

Deno.test("the server runs 4 jobs at a time in a worker when concurrency is 4", async () => {
  await using server = await ServerProcess.start({
    handler: countingHandler(4),
    args: [...ONE_WORKER, "--concurrency", "4", "--prefetch-budget", "1s"],
  });
  await using peer = new Peer(server.endpoint);
  for (let sent = 0; sent < 100; sent++) peer.send("", "x");
  assert.deepEqual(new Set(await receiveBodies(peer, 100)), new Set(["4"]));
});

// ---- workers that die ----

Deno.test("the server gives the job to another worker when one is killed in the middle of it", async () => {
  const handler = `export default async (body, { attempt, log }) => {
    log.info("started");
    if (attempt === 1) await new Promise(() => {});
    return [body, String(attempt)];
  }`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  peer.send("", "precious");
  const { worker } = await server.line("started");
  Deno.kill(pidOf(server, worker), "SIGKILL");
  assert.deepEqual(await peer.receiveText(), ["", "precious", "2"]);
  const exit = await server.line("worker exited");
  assert.equal(exit.signal, "SIGKILL");
  assert.equal(exit.reason, "crashed");
  const again = await server.line("started", 2);
  assert.notEqual(again.worker, worker);
});

Deno.test("the server answers 502 when as many workers as maxAttempts have died of a job, and serves on", async () => {
  const handler = `export default (body, { attempt }) => {
    const word = new TextDecoder().decode(body);
    if (word === "exit") Deno.exit(0);
    if (word === "fail") Deno.exit(7);
    return [word, String(attempt)];
  }`;
  await using server = await ServerProcess.start({ handler, args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("fine"), ["fine", "1"]);
  assert.match((await peer.ask("exit"))[1] ?? "", /^502 .*2 times/);
  assert.deepEqual(await peer.ask("fine"), ["fine", "1"]);
  peer.send(header(9), "", "fail");
  const [, , status, message] = await peer.receive();
  assert.equal(parseStatus(status ?? bytes("")), 502);
  assert.match(text(message), /2 times/);
  assert.deepEqual(await peer.ask("fine"), ["fine", "1"]);
  assert.equal((await server.state()).lost, 2);
});

Deno.test("the server answers 502 after the first death when maxAttempts is 1", async () => {
  const handler = "export default () => Deno.exit(1)";
  const args = [...ONE_WORKER, "--max-attempts", "1"];
  await using server = await ServerProcess.start({ handler, args });
  await using peer = new Peer(server.endpoint);
  assert.match((await peer.ask("x"))[1] ?? "", /^502 .*1 time/);
  assert.equal(linesOf(server, "worker ready").length, 1);
});

Deno.test("the server blames only the running job when a worker dies with others waiting in it", async () => {
  // Fast at first, so that many jobs are sent ahead; then one kills its worker.
  const handler = `export default (body) => {
    const word = new TextDecoder().decode(body);
    if (word === "poison") Deno.exit(1);
    return word;
  }`;
  const args = [...ONE_WORKER, "--max-attempts", "1", "--prefetch-budget", "100ms"];
  await using server = await ServerProcess.start({ handler, args });
  await using peer = new Peer(server.endpoint);
  for (let round = 0; round < 20; round++) assert.deepEqual(await peer.ask("warm"), ["warm"]);
  peer.send("", "poison");
  for (let sent = 0; sent < 300; sent++) peer.send("", String(sent));
  const answers = await receiveBodies(peer, 301);
  assert.deepEqual(answers.filter((answer) => !answer.startsWith("502")), numbers(300));
  assert.equal(answers.filter((answer) => answer.startsWith("502")).length, 1);
  assert.equal((await server.state()).lost, 1);
});
