/** What a newcomer does wrong is said clearly: in code, in a handler module, in the environment, at a HUP. */

import { strict as assert } from "node:assert";
import { serve } from "../../mod.ts";
import { parseCommand, rereadCommand } from "../../options/command.ts";
import { exportsOf, faultOfHandler } from "../../worker/handler_module.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { run, runServer } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { moduleOf, serveQuietly } from "../rig/in_process.ts";
import { askOnce } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { within } from "../rig/wait.ts";

// ---- serve() ----

/** Calls serve() as JavaScript does, which checks no types. */
function serveAnything(options: unknown): void {
  Reflect.apply(serve, undefined, [options]);
}

Deno.test("serve throws TypeError and says what to pass when it gets no options but something else", () => {
  const handler = (body: Uint8Array) => body;
  const cases: [unknown, RegExp][] = [
    [handler, /^Cannot serve a function: each worker is a process of its own.*\{ handler: new URL/],
    [
      { handler },
      /^Cannot start: "handler" must be a module, not a function: each worker is a p/,
    ],
    ["x.ts", /^Cannot serve "x\.ts" itself: use serve\(\{ handler: "x\.ts" \}\)$/],
    [new URL("file:///x.ts"), /^Cannot serve "file:\/\/\/x\.ts" itself: use serve\(\{ handler: /],
    [[handler], /^Cannot start: the options must be an object: current value is \[/],
    [null, /^Cannot start: the options must be an object: current value is null$/],
  ];
  for (const [options, message] of cases) {
    assert.throws(() => serveAnything(options), { name: "TypeError", message });
  }
});

const DISPOSED = `import { serve } from ${JSON.stringify(new URL("mod.ts", ROOT).href)};
const handler = "data:application/javascript,throw new Error('It is broken')";
{
  await using s = serve({ handler, frontend: "tcp://127.0.0.1:0", logLevel: "critical" });
  await s.PROMISE;
}`;

for (const name of ["ready", "finished"]) {
  Deno.test(`serve shows the handler's own error when a block awaits ${name} and disposes of the server`, async () => {
    using folder = new Folder();
    const main = folder.write("main.ts", DISPOSED.replace("PROMISE", name));
    const args = ["run", "-A", "--config", path("deno.json"), main];
    const { code, stderr } = await run(Deno.execPath(), args, { env: { NO_COLOR: "1" } });
    assert.equal(code, 1);
    assert.match(
      stderr,
      /Uncaught \(in promise\) Error: Cannot load the handler ".*": It is broken/,
    );
    assert.ok(!stderr.includes("SuppressedError"), stderr);
  });
}

Deno.test("serve rejects the disposal when it has failed and nobody has asked for ready or finished", async () => {
  const handler = moduleOf("throw new Error('It is broken');");
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const server = serveQuietly({ handler, onWorkerExit: resolve });
  await within("a worker has failed", promise);
  await assert.rejects(within("it ends", server[Symbol.asyncDispose]()), /It is broken$/);
});

// ---- the handler module ----

const RULE = "The module must export a function as default";
const handler = () => "";

Deno.test("faultOfHandler says what the default export is when it can't answer", () => {
  class Answer {}
  const cases: [Record<string, unknown>, string][] = [
    [{}, "it exports nothing"],
    [{ init: handler }, 'it exports only "init"'],
    [{ handle: handler }, 'it exports only "handle"; is "handle" meant to be the default?'],
    [{ default: 42 }, "it exports a number"],
    [{ default: null }, "it exports null"],
    [{ default: [handler] }, "it exports an array"],
    [{ default: Promise.resolve(handler) }, "it exports a promise, which must be awaited"],
    [{ default: { fetch: handler } }, 'it exports an object with "fetch"'],
    [
      { default: Answer },
      "it exports a class, which can't be called; export a function that uses it",
    ],
    ...[
      function* () {},
      { *make() {} }.make,
    ].map((made): [Record<string, unknown>, string] => [
      { default: made },
      "it exports a generator; make it an async function*, or return all frames as an array",
    ]),
  ];
  for (const [exports, fault] of cases) {
    assert.equal(faultOfHandler(exports), `${RULE}: ${fault}`);
  }
});

Deno.test("faultOfHandler finds nothing when the default export can answer", () => {
  const functions = [handler, async () => {}, function () {}, handler.bind(null), { f() {} }.f];
  const generators = [async function* () {}, { async *make() {} }.make];
  for (const each of [...functions, ...generators, new Proxy(handler, {})]) {
    assert.equal(faultOfHandler({ default: each }), undefined);
  }
});

Deno.test("exportsOf gives a module's own exports when it is no CommonJS, and follows them", () => {
  const module = { default: { default: handler }, init: handler };
  assert.equal(exportsOf(module), module);
});

const COMMON: Record<string, string> = {
  "as TypeScript's compiler writes it": `"use strict";
    Object.defineProperty(exports, "__esModule", { value: true });
    exports.init = () => { exports.word = "fine"; };
    exports.default = () => exports.word;`,
  "with a function as module.exports": `module.exports = () => "fine";`,
  "with an object as module.exports": `let word;
    module.exports = { default: () => word, init() { word = "fine"; } };`,
};
for (const [what, source] of Object.entries(COMMON)) {
  Deno.test(`serve takes a handler of CommonJS ${what}`, async () => {
    using folder = new Folder();
    const handler = folder.write("handler.cjs", source);
    await using server = await ServerProcess.start({ args: ["--workers", "1", handler] });
    assert.deepEqual(await askOnce(server.endpoint, "x"), ["fine"]);
  });
}

// ---- the environment ----

/** What Kubernetes sets for Services called prefork and prefork-admin. */
const KUBERNETES = {
  PREFORK_SERVICE_HOST: "10.0.0.1",
  PREFORK_SERVICE_PORT: "6660",
  PREFORK_SERVICE_PORT_JOBS: "6660",
  PREFORK_PORT: "tcp://10.0.0.1:6660",
  PREFORK_PORT_6660_TCP: "tcp://10.0.0.1:6660",
  PREFORK_PORT_6660_TCP_PROTO: "tcp",
  PREFORK_PORT_6660_TCP_PORT: "6660",
  PREFORK_PORT_6660_TCP_ADDR: "10.0.0.1",
  PREFORK_ADMIN_SERVICE_HOST: "10.0.0.2",
  PREFORK_ADMIN_PORT: "udp://10.0.0.2:53",
  PREFORK_ADMIN_PORT_53_UDP_ADDR: "10.0.0.2",
};

/** Environment variables, and the text of each file. */
function worldOf(variables: Record<string, string>, conf: string) {
  return {
    env: (name: string) => variables[name],
    envNames: () => Object.keys(variables),
    readFile: () => conf,
  };
}

/** A command line in an environment. */
function parseIn(variables: Record<string, string>, args: string[] = [], conf = "") {
  const command = parseCommand(args, worldOf(variables, conf));
  assert.ok("options" in command);
  return command;
}

Deno.test("parseCommand ignores what Kubernetes sets for a Service called prefork", () => {
  const { options, doubts } = parseIn(KUBERNETES);
  assert.deepEqual({ options, doubts }, { options: {}, doubts: [] });
});

Deno.test("parseCommand takes PREFORK_PORT for an option when it is a port", () => {
  assert.equal(parseIn({ PREFORK_PORT: "7000" }).options.frontend?.[0], "tcp://127.0.0.1:7000");
  assert.throws(() => parseIn({ PREFORK_PORT: "tcp://x" }), /"PREFORK_PORT" must be/);
});

Deno.test("parseCommand doubts a PREFORK_ variable when it is no option", () => {
  const { options, doubts } = parseIn({ PREFORK_WORKER: "3", PREFORK_XYZZY: "1", WORKERS: "3" });
  assert.deepEqual(options, {});
  assert.deepEqual(doubts, [
    'the environment variable "PREFORK_WORKER" is not an option: did you mean "PREFORK_WORKERS"?',
    'the environment variable "PREFORK_XYZZY" is not an option',
  ]);
});

Deno.test("serve starts and warns when a PREFORK_ variable is no option, and --check says so too", async () => {
  const env = { ...KUBERNETES, PREFORK_MAX_WORKER: "3" };
  const doubt = 'the environment variable "PREFORK_MAX_WORKER" is not an option: ' +
    'did you mean "PREFORK_MAX_WORKERS"?';
  await using server = await ServerProcess.start({
    args: ["--workers", "1"],
    env,
    permissions: ["-A"],
  });
  assert.equal((await server.line(doubt)).level, "warn");
  const { code, stderr } = await runServer(["--check"], { env, permissions: ["-A"] });
  assert.deepEqual({ code, stderr }, { code: 0, stderr: `prefork: ${doubt}\n` });
});

// ---- HUP ----

Deno.test("rereadCommand throws when a reload would lose the conf file's options or the handler", () => {
  const args = ["--config", "x.conf"];
  const first = "handler ./h.ts\nqueue_limit 7\n";
  const reread = (before: string, now: string) =>
    rereadCommand(args, worldOf({}, now), parseIn({}, args, before));
  assert.equal(reread(first, first).mode, "serve");
  reread(first, "handler ./other.ts\n");
  reread("", "queue_limit 7\n");
  const refuses = (now: string, message: string) =>
    assert.throws(() => reread(first, now), { name: "UsageError", message });
  refuses("# being written\n", 'Cannot reload: the conf file "x.conf" sets nothing any more');
  refuses("queue_limit 7\n", 'Cannot reload: the handler "./h.ts" is not named any more');
  refuses(
    "queue_limit x\n",
    'Cannot reload: "queue_limit" in x.conf:1 must be an integer >= 1: current value is "x"',
  );
  refuses("queue_limt 7\n", 'Unknown option "queue_limt" in x.conf:1: did you mean "queue_limit"?');
});

Deno.test("serve keeps its handler and its rules when the conf file is empty and SIGHUP comes", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", 'export default () => "fine";');
  const text =
    `handler ${handler}\nmax_queue_per_client 5\nfrontend tcp://127.0.0.1:0\nworkers 1\n`;
  const conf = folder.write("live.conf", text);
  await using server = await ServerProcess.start({ args: ["--config", conf] });
  Deno.writeTextFileSync(conf, "");
  server.signal("SIGHUP");
  const { level, error } = await server.line("not reloaded");
  assert.equal(level, "error");
  assert.equal(error, `Cannot reload: the conf file "${conf}" sets nothing any more`);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["fine"]);
  Deno.writeTextFileSync(conf, text.replace("client 5", "client 6"));
  server.signal("SIGHUP");
  await server.line("reloaded");
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["fine"]);
});
