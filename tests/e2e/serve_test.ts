/** serve() as a library, in the test's own process. What handlers and requests do is tested elsewhere. */

import { strict as assert } from "node:assert";
import { pathToFileURL } from "node:url";
import { serve, type ServeOptions, type Server } from "../../mod.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { errorReply } from "../rig/messages.ts";
import { askOnce, Peer, receiveAll } from "../rig/peer.ts";
import { endNow, isAlive } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until, within } from "../rig/wait.ts";
import { serverFlags } from "../rig/permissions.ts";

/** No operation may be left; libzmq's file stays loaded, which the other sanitizer takes for a leak. */
const STRICT = { sanitizeOps: true, sanitizeExit: true };

const BUSY = moduleOf("export default () => { for (;;); };");
const BROKEN = moduleOf('throw new Error("The module is broken");');

/** A handler that waits for the gate, and the permission to look at it. */
function gated(gate: Gate): ServeOptions {
  return { handler: moduleOf(gate.handler), permissions: { read: [gate.file] } };
}

function pidsOf(server: Server): number[] {
  return server.stats().processes.map(({ pid }) => pid);
}

function idle(server: Server, count: number): Promise<boolean> {
  return until(`${count} workers are idle`, () => server.stats().workers.idle === count);
}

// ---- the example ----

Deno.test("serve does what its example says when it is followed line by line", STRICT, async () => {
  using folder = new Folder();
  const file = folder.write("handler.ts", "export default (body: Uint8Array) => `${body.length}`;");
  const handler = new URL("./handler.ts", pathToFileURL(file));
  const server = serveQuietly({ handler, minWorkers: 2, maxWorkers: 8 });
  assert.match(server.frontend.join(), /^tcp:\/\/127\.0\.0\.1:[1-9]\d*$/);
  await server.ready;
  assert.ok(server.stats().workers.idle >= 2);
  assert.deepEqual(await askOnce(endpointOf(server), "four"), ["4"]);
  server.resize({ min: 3, max: 3 });
  await idle(server, 3);
  const before = pidsOf(server);
  await server.reload();
  await until("the old ones are gone", () => !before.some(isAlive));
  assert.deepEqual(await askOnce(endpointOf(server), "seven.."), ["7"]);
  const after = pidsOf(server);
  await server.shutdown();
  assert.deepEqual(await server.finished, { forced: false });
  assert.equal(after.some(isAlive), false);
  let last = "";
  {
    await using s = serveQuietly({ handler, workers: 1 });
    last = endpointOf(s);
    assert.deepEqual(await askOnce(last, "."), ["1"]);
  }
  assert.equal(await accepts(last), false);
});

/** Whether anybody listens at a tcp endpoint. */
async function accepts(endpoint: string): Promise<boolean> {
  const { hostname, port } = new URL(endpoint.replace("tcp:", "http:"));
  try {
    (await Deno.connect({ hostname, port: Number(port) })).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}

// ---- endpoints ----

Deno.test("serve fills the real ports in when endpoints leave them open", STRICT, async () => {
  using folder = new Folder();
  const ipc = `ipc://${folder.path}/front`;
  const server = serveQuietly({
    frontend: ["tcp://127.0.0.1:0", "tcp://127.0.0.1:*", ipc],
    backend: "tcp://127.0.0.1:*",
    workers: 1,
  });
  const [first = "", second = "", third] = server.frontend;
  assert.equal(third, ipc);
  const ports = [first, second, server.backend].map((endpoint) => {
    assert.match(endpoint, /^tcp:\/\/127\.0\.0\.1:\d+$/);
    return Number(endpoint.split(":").at(-1));
  });
  assert.ok(ports.every((port) => port > 0));
  assert.equal(new Set(ports).size, 3);
  await server.ready;
  for (const endpoint of server.frontend) assert.deepEqual(await askOnce(endpoint, "x"), ["x"]);
  await server.shutdown();
  assert.deepEqual([...Deno.readDirSync(folder.path)], []);
});

Deno.test(
  "serve keeps its backend in a folder that only its user can enter, and removes that, when none is named",
  STRICT,
  async () => {
    const server = serveQuietly({ workers: 1 });
    const socket = server.backend.slice("ipc://".length);
    const folder = socket.slice(0, socket.lastIndexOf("/"));
    assert.equal((Deno.statSync(folder).mode ?? 0) & 0o7777, 0o700);
    assert.equal(Deno.statSync(folder).uid, Deno.uid());
    await server.ready;
    await server.shutdown();
    assert.throws(() => Deno.statSync(folder), Deno.errors.NotFound);
  },
);

Deno.test(
  "serve throws one clear error and changes nothing when a tcp port is taken",
  STRICT,
  async () => {
    using folder = new Folder();
    await using server = serveQuietly({ workers: 1 });
    const frontend = endpointOf(server);
    const pidFile = `${folder.path}/pid`;
    const logFile = `${folder.path}/log`;
    const message = `Cannot bind to "${frontend}": Address already in use`;
    assert.throws(() => serve({ frontend, pidFile, logFile }), { message });
    assert.throws(() => serve({ frontend: ["tcp://127.0.0.1:0", frontend], pidFile, logFile }), {
      message,
    });
    assert.throws(() => serve({ frontend: "tcp://127.0.0.1:0", backend: frontend, logFile }), {
      message,
    });
    assert.throws(() => Deno.statSync(pidFile), Deno.errors.NotFound);
    assert.deepEqual(await askOnce(frontend, "x"), ["x"]);
  },
);

Deno.test(
  "serve throws one clear error and leaves the first in peace when an ipc path is taken",
  STRICT,
  async () => {
    using folder = new Folder();
    const frontend = `ipc://${folder.path}/front`;
    await using _first = serveQuietly({ frontend, workers: 1 });
    const logFile = `${folder.path}/log`;
    const message = `Cannot bind to "${frontend}": Address already in use`;
    assert.throws(() => serve({ frontend, logFile }), { message });
    assert.throws(() => serve({ frontend: "tcp://127.0.0.1:0", backend: frontend, logFile }), {
      message,
    });
    assert.deepEqual(await askOnce(frontend, "x"), ["x"]);
  },
);

Deno.test("serve takes an ipc path over when whoever had it is gone", STRICT, async () => {
  using folder = new Folder();
  const file = `${folder.path}/front`;
  {
    // It is killed, so its socket file stays.
    await using _before = await ServerProcess.start({ args: ["--frontend", `ipc://${file}`] });
  }
  assert.ok(Deno.statSync(file).isSocket);
  await using server = serveQuietly({ frontend: `ipc://${file}`, workers: 1 });
  assert.deepEqual(await askOnce(endpointOf(server), "x"), ["x"]);
});

// ---- ready, stats ----

Deno.test("serve is ready when minWorkers are ready and not before", STRICT, async () => {
  const ready: number[] = [];
  await using server = serveQuietly({
    minWorkers: 3,
    maxWorkers: 3,
    onWorkerReady: ({ worker }) => void ready.push(worker),
  });
  assert.equal(server.stats().workers.idle, 0);
  await server.ready;
  assert.ok(ready.length >= 3, `${ready}`);
  assert.equal(server.stats().workers.idle, 3);
});

Deno.test(
  "serve tells workers by state, queue and counters when stats is called",
  STRICT,
  async () => {
    using gate = new Gate();
    await using server = serveQuietly({ ...gated(gate), workers: 2 });
    const { min, max } = server.stats().workers;
    assert.deepEqual({ min, max }, { min: 2, max: 2 });
    await server.ready;
    await using peer = new Peer(endpointOf(server));
    for (const body of ["12", "345", "6789", "0"]) peer.send("", body);
    await until("two run and two wait", () => {
      const { workers, queue } = server.stats();
      return workers.busy === 2 && queue.jobs === 2;
    });
    const busy = server.stats();
    assert.deepEqual(busy.workers, {
      starting: 0,
      idle: 0,
      busy: 2,
      stopping: 0,
      dequeue: 0,
      foreign: 0,
      min: 2,
      max: 2,
    });
    assert.deepEqual(busy.queue, { jobs: 2, bytes: 5 });
    assert.equal(busy.running, 2);
    assert.equal(busy.clients, 1);
    assert.equal(busy.serviceTime, undefined);
    assert.equal(busy.generation, 1);
    assert.deepEqual(busy.processes.map(({ state, jobs }) => `${state} ${jobs}`), [
      "busy 1",
      "busy 1",
    ]);
    assert.ok(busy.processes.every(({ pid }) => isAlive(pid)));
    gate.open();
    await receiveAll(peer, 4);
    const after = server.stats();
    assert.ok(after.uptime > busy.uptime);
    assert.equal(after.workers.idle, 2);
    assert.deepEqual(after.queue, { jobs: 0, bytes: 0 });
    assert.equal(after.running, 0);
    assert.ok((after.serviceTime ?? 0) > 0);
    assert.equal(after.processes.reduce((sum, { answered }) => sum + answered, 0), 4);
    const { requests, answered, failed, spawned, exited } = after.counters;
    assert.deepEqual({ requests, answered, failed, spawned, exited }, {
      requests: 4,
      answered: 4,
      failed: 0,
      spawned: 2,
      exited: {},
    });
  },
);

Deno.test("serve rejects ready and finished when the handler can't be loaded", STRICT, async () => {
  const cases: Record<string, [string, RegExp]> = {
    throws: [BROKEN, /The module is broken/],
    "lacks a handler": [moduleOf("export const a = 1;"), /must export a function as default/],
    "init() throws": [
      moduleOf('export default () => ""; export function init() { throw new Error("No init"); }'),
      /No init/,
    ],
  };
  for (const [name, [handler, why]] of Object.entries(cases)) {
    const server = serveQuietly({ handler, workers: 2 });
    await assert.rejects(server.ready, why, name);
    await assert.rejects(server.finished, why, name);
    assert.equal(server.stats().processes.length, 0, name);
    await assert.rejects(server.shutdown(), why, name);
  }
});

function exists(path: string): boolean {
  try {
    return Deno.statSync(path) !== undefined;
  } catch {
    return false;
  }
}

/** Rejections that nobody handles while `body` runs. */
async function unhandled(body: () => Promise<void>): Promise<unknown[]> {
  const reasons: unknown[] = [];
  const note = (event: PromiseRejectionEvent) => {
    event.preventDefault();
    reasons.push(event.reason);
  };
  addEventListener("unhandledrejection", note);
  try {
    await body();
    // They come with a later turn of the event loop.
    await new Promise((resolve) => setTimeout(resolve, 10));
  } finally {
    removeEventListener("unhandledrejection", note);
  }
  return reasons;
}

Deno.test(
  "serve leaves no rejection unhandled when nobody looks at a server that can't start",
  STRICT,
  async () => {
    const reasons = await unhandled(async () => {
      const exits: string[] = [];
      const server = serveQuietly({
        handler: BROKEN,
        workers: 1,
        onWorkerExit: ({ reason }) => void exits.push(reason),
      });
      await until("its worker has ended", () => exits.length > 0);
      // Its folder goes last.
      const folder = server.backend.slice("ipc://".length, server.backend.lastIndexOf("/"));
      await until("the server has ended", () => !exists(folder));
    });
    assert.deepEqual(reasons, []);
  },
);

Deno.test(
  "serve leaves no rejection unhandled when it has failed and its signal is aborted then",
  STRICT,
  async () => {
    const reasons = await unhandled(async () => {
      const controller = new AbortController();
      const server = serveQuietly({ handler: BROKEN, workers: 1, signal: controller.signal });
      await assert.rejects(server.finished, /The module is broken/);
      controller.abort();
    });
    assert.deepEqual(reasons, []);
  },
);

Deno.test("serve leaves no rejection unhandled when it watches and fails", STRICT, async () => {
  using folder = new Folder();
  using gate = new Gate();
  const source = `${gate.source} export default () => "";
    export async function init() {
      await passed();
      throw new Error("No init");
    }`;
  const handler = folder.write("handler.js", source);
  const reasons = await unhandled(async () => {
    const permissions = { read: [gate.file] };
    const server = serveQuietly({ handler, permissions, workers: 1, watch: true });
    await until("it watches", () => countOf("fd", "anon_inode:inotify") > 0);
    gate.open();
    await assert.rejects(server.finished, /No init/);
  });
  assert.deepEqual(reasons, []);
});

/** How many open files or threads this process has; of files, those of a kind only if one is named. */
function countOf(what: "fd" | "task", kind?: string): number {
  const names = [...Deno.readDirSync(`/proc/self/${what}`)].map(({ name }) => name);
  if (kind === undefined) return names.length;
  return names.filter((name) => targetOf(`/proc/self/fd/${name}`) === kind).length;
}

function targetOf(link: string): string | undefined {
  try {
    return Deno.readLinkSync(link);
  } catch {
    return undefined;
  }
}

// ---- resize, reload ----

Deno.test("serve has as many workers as it is told when it is resized", STRICT, async () => {
  await using server = serveQuietly({ workers: 2 });
  await server.ready;
  server.resize({ min: 4, max: 4 });
  await idle(server, 4);
  server.resize({ max: 1 });
  assert.deepEqual(boundsOf(server), { min: 1, max: 1 });
  await until("one is left", () => server.stats().processes.length === 1);
  assert.deepEqual(server.stats().counters.exited, { culled: 3 });
  server.resize({ min: 2 });
  assert.deepEqual(boundsOf(server), { min: 2, max: 2 });
  await idle(server, 2);
});

Deno.test("serve starts a spare worker when maxWorkers was 1 and is raised", STRICT, async () => {
  using gate = new Gate();
  await using server = serveQuietly({ ...gated(gate), workers: 1 });
  await server.ready;
  server.resize({ max: 3 });
  await using peer = new Peer(endpointOf(server));
  for (const body of ["1", "2"]) peer.send("", body);
  try {
    await until("both run", () => server.stats().workers.busy === 2);
  } finally {
    gate.open();
  }
});

function boundsOf(server: Server): { min: number; max: number } {
  const { min, max } = server.stats().workers;
  return { min, max };
}

Deno.test(
  "serve throws a RangeError and stays as it is when it is resized to nonsense",
  STRICT,
  async () => {
    await using server = serveQuietly({ workers: 2 });
    for (const bounds of [{ min: 0 }, { max: 0 }, { min: 1.5 }, { max: NaN }, { min: 3, max: 2 }]) {
      assert.throws(() => server.resize(bounds), RangeError, JSON.stringify(bounds));
      assert.deepEqual(boundsOf(server), { min: 2, max: 2 });
    }
  },
);

Deno.test(
  "serve replaces all workers by fresh ones with the new code when it is reloaded",
  STRICT,
  async () => {
    using folder = new Folder();
    const handler = folder.write("handler.ts", 'export default () => "one";');
    await using server = serveQuietly({ handler, workers: 2 });
    await server.ready;
    const before = pidsOf(server);
    assert.deepEqual(await askOnce(endpointOf(server), "x"), ["one"]);
    folder.write("handler.ts", 'export default () => "two";');
    await server.reload();
    assert.equal(server.stats().generation, 2);
    assert.deepEqual(await askOnce(endpointOf(server), "x"), ["two"]);
    await until("the old ones are gone", () => !before.some(isAlive));
    await until("two are left", () => server.stats().processes.length === 2);
    assert.deepEqual(server.stats().counters.exited, { reload: 2 });
  },
);

Deno.test(
  "serve rejects the reload and keeps the workers when the new code is broken",
  STRICT,
  async () => {
    using folder = new Folder();
    const handler = folder.write("handler.ts", 'export default () => "one";');
    await using server = serveQuietly({ handler, workers: 2 });
    await server.ready;
    const before = pidsOf(server);
    folder.write("handler.ts", 'throw new Error("The new code is broken");');
    await assert.rejects(server.reload(), /The new code is broken/);
    assert.deepEqual(await askOnce(endpointOf(server), "x"), ["one"]);
    assert.ok(before.every(isAlive));
    folder.write("handler.ts", 'export default () => "three";');
    await server.reload();
    assert.deepEqual(await askOnce(endpointOf(server), "x"), ["three"]);
  },
);

Deno.test("serve takes other options up when it is reloaded with them", STRICT, async () => {
  await using server = serveQuietly({
    handler: moduleOf('export default () => "one";'),
    workers: 1,
  });
  await server.ready;
  await server.reload({ handler: moduleOf('export default () => "two";'), workers: 2 });
  assert.deepEqual(boundsOf(server), { min: 2, max: 2 });
  await idle(server, 2);
  assert.deepEqual(await askOnce(endpointOf(server), "x"), ["two"]);
  assert.throws(() => server.reload({ minWorkers: 0 }), RangeError);
});

Deno.test(
  "serve keeps the options that are not named when it is reloaded with some",
  STRICT,
  async () => {
    const stops: string[] = [];
    await using server = serveQuietly({
      handler: moduleOf('export default () => "mine";'),
      workers: 1,
      onStop: ({ reason }) => void stops.push(reason),
    });
    await server.ready;
    await server.reload({ maxRequests: 1000 });
    assert.deepEqual(await askOnce(endpointOf(server), "x"), ["mine"]);
    assert.deepEqual(boundsOf(server), { min: 1, max: 1 });
    await server.shutdown();
    assert.deepEqual(stops, ["shutdown"]);
  },
);

Deno.test("serve ends all reloads well when they are asked for at once", STRICT, async () => {
  await using server = serveQuietly({ workers: 2 });
  await server.ready;
  await Promise.all([server.reload(), server.reload(), server.reload()]);
  assert.equal(server.stats().generation, 4);
  await until("two are left", () => server.stats().processes.length === 2);
  assert.deepEqual(await askOnce(endpointOf(server), "x"), ["x"]);
});

Deno.test(
  "serve rejects a reload when it is stopping, and one that the end cuts short",
  STRICT,
  async () => {
    const server = serveQuietly({ workers: 1 });
    await server.ready;
    const cut = server.reload();
    const end = server.shutdown();
    await assert.rejects(server.reload(), /is stopping/);
    await assert.rejects(cut);
    await end;
  },
);

// ---- the end ----

Deno.test(
  "serve lets the running job end and refuses what waits when it is shut down",
  STRICT,
  async () => {
    using gate = new Gate();
    const server = serveQuietly({ ...gated(gate), workers: 1 });
    await using peer = new Peer(endpointOf(server));
    for (const body of ["running", "waiting", "waiting"]) peer.send("", body);
    await until("one runs and two wait", () => server.stats().queue.jobs === 2);
    const end = server.shutdown();
    for (const [, ...refusal] of [await peer.receiveText(), await peer.receiveText()]) {
      assert.deepEqual(refusal, errorReply(503, "The server is shutting down"));
    }
    gate.open();
    assert.deepEqual(await peer.receiveText(), ["", "running"]);
    await end;
    assert.deepEqual(await server.finished, { forced: false });
  },
);

Deno.test(
  'serve serves what waits first when it is shut down with queued: "serve"',
  STRICT,
  async () => {
    using gate = new Gate();
    const server = serveQuietly({ ...gated(gate), workers: 1 });
    await using peer = new Peer(endpointOf(server));
    for (const body of ["1", "2", "3"]) peer.send("", body);
    await until("one runs and two wait", () => server.stats().queue.jobs === 2);
    const end = server.shutdown({ queued: "serve" });
    // Who asks now is too late.
    peer.send("late", "", "x");
    const [envelope, ...refusal] = await peer.receiveText();
    assert.deepEqual([envelope, ...refusal], [
      "late",
      "",
      ...errorReply(503, "The server is shutting down"),
    ]);
    gate.open();
    for (const body of ["1", "2", "3"]) assert.deepEqual(await peer.receiveText(), ["", body]);
    await end;
  },
);

Deno.test(
  "serve kills a worker and says so when its job does not end within stopTimeout",
  STRICT,
  async () => {
    const server = serveQuietly({ handler: BUSY, workers: 1, stopTimeout: 300 });
    await using peer = new Peer(endpointOf(server));
    peer.send("", "x");
    await until("it runs", () => server.stats().workers.busy === 1);
    const [pid = 0] = pidsOf(server);
    await server.shutdown();
    assert.deepEqual(await server.finished, { forced: true });
    assert.equal(isAlive(pid), false);
  },
);

Deno.test("serve ends once when it is shut down several times", STRICT, async () => {
  const reasons: string[] = [];
  const server = serveQuietly({ workers: 2, onStop: ({ reason }) => void reasons.push(reason) });
  await Promise.all([server.shutdown(), server.shutdown({ queued: "serve" }), server.shutdown()]);
  await server.shutdown();
  await server[Symbol.asyncDispose]();
  assert.deepEqual(reasons, ["shutdown"]);
});

Deno.test(
  "serve rejects ready when it is shut down before its workers are ready",
  STRICT,
  async () => {
    const server = serveQuietly({ workers: 2 });
    const ready = assert.rejects(server.ready, /has ended/);
    await server.shutdown();
    await ready;
    assert.deepEqual(await server.finished, { forced: false });
  },
);

Deno.test("serve shuts down when its signal is aborted", STRICT, async () => {
  const controller = new AbortController();
  const server = serveQuietly({ workers: 2, signal: controller.signal });
  await server.ready;
  const pids = pidsOf(server);
  controller.abort();
  assert.deepEqual(await server.finished, { forced: false });
  assert.equal(pids.some(isAlive), false);
});

Deno.test("serve lets go of its signal at its end", STRICT, async () => {
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  Object.assign(signal, {
    addEventListener(...args: Parameters<typeof addEventListener>) {
      listeners.add(args[1]);
      addEventListener.apply(signal, args);
    },
    removeEventListener(...args: Parameters<typeof removeEventListener>) {
      listeners.delete(args[1]);
      removeEventListener.apply(signal, args);
    },
  });
  const server = serveQuietly({ workers: 1, signal });
  assert.equal(listeners.size, 1);
  await server.shutdown();
  await until("it has let go", () => listeners.size === 0);
});

Deno.test(
  "serve ends at once and leaves nothing when its signal was aborted before",
  STRICT,
  async () => {
    const pids: number[] = [];
    const server = serveQuietly({
      workers: 2,
      signal: AbortSignal.abort(),
      onWorkerSpawn: ({ pid }) => void pids.push(pid),
    });
    await assert.rejects(server.ready);
    assert.deepEqual(await server.finished, { forced: false });
    assert.equal(pids.some(isAlive), false);
    assert.equal(await accepts(endpointOf(server)), false);
  },
);

Deno.test(
  "serve leaves no file descriptor and no thread behind when it has started and stopped ten times",
  STRICT,
  async () => {
    const cycle = async () => {
      await using server = serveQuietly({ workers: 1 });
      await server.ready;
      assert.deepEqual(await askOnce(endpointOf(server), "x"), ["x"]);
    };
    // Deno's own threads and descriptors come with use.
    for (let round = 0; round < 6; round++) await cycle();
    const before = { fd: countOf("fd"), task: countOf("task") };
    for (let round = 0; round < 10; round++) await cycle();
    // One cycle has at least 10 of each; a thread of Deno's own pool may come or go.
    await until(
      "none is left",
      () => countOf("fd") <= before.fd + 2 && countOf("task") <= before.task + 2,
    );
  },
);

Deno.test(
  "serve leaves no file descriptor behind when it fails to start ten times",
  STRICT,
  async () => {
    using folder = new Folder();
    await using server = serveQuietly({ workers: 1 });
    const options = {
      frontend: endpointOf(server),
      pidFile: `${folder.path}/pid`,
      logFile: `${folder.path}/log`,
    };
    const attempt = () => assert.throws(() => serve(options));
    for (let round = 0; round < 3; round++) attempt();
    const before = countOf("fd");
    for (let round = 0; round < 10; round++) attempt();
    // A thread that could not bind ends after it has said so.
    await until("none is left", () => countOf("fd") <= before + 2);
  },
);

// ---- options ----

Deno.test(
  "serve throws at once and names option, rule and value when an option is bad",
  STRICT,
  () => {
    const cases: [Record<string, unknown>, typeof TypeError | typeof RangeError, RegExp][] = [
      [{ minWorkers: 0 }, RangeError, /"minWorkers" must be an integer >= 1: current value is 0$/],
      [
        { minWorkers: "2" },
        TypeError,
        /"minWorkers" must be an integer >= 0: current value is "2"/,
      ],
      [
        { maxWorkers: 1.5 },
        RangeError,
        /"maxWorkers" must be an integer >= 0: current value is 1.5/,
      ],
      [
        { minWorkers: 3, maxWorkers: 2 },
        RangeError,
        /"minWorkers" must be at most "maxWorkers" \(2\): current value is 3/,
      ],
      [{ stopTimeout: -1 }, RangeError, /"stopTimeout" must be .* from 0 .*: current value is -1/],
      [
        { frontend: "6660" },
        RangeError,
        /"frontend" must be .*tcp:\/\/.*: current value is "6660"/,
      ],
      [{ frontend: [] }, RangeError, /"frontend" must be one or more/],
      [{ frontend: 6660 }, TypeError, /"frontend" must be .*: current value is 6660/],
      [{ handler: 5 }, TypeError, /"handler" must be a path.*: current value is 5/],
      [{ overflow: "drop" }, RangeError, /"overflow" must be one of block, reject: .*"drop"/],
      [{ permissions: { reed: true } }, RangeError, /"permissions" must be .*reed: true/],
      [{ signalPassthrough: ["SIGKILL"] }, RangeError, /"signalPassthrough" must be .*"SIGKILL"/],
      [{ onListen: 1 }, TypeError, /"onListen" must be a function: current value is 1/],
      [{ signal: {} }, TypeError, /"signal" must be an AbortSignal: current value is \{\}/],
      [{ minWorker: 1 }, TypeError, /Unknown option "minWorker": did you mean "minWorkers"\?/],
      [{ user: "no-such-user" }, RangeError, /"user" must be .*: current value is "no-such-user"/],
      [{ background: true }, TypeError, /"background" needs "pidFile" and "logFile"/],
    ];
    for (const [options, type, message] of cases) {
      const name = JSON.stringify(options);
      assert.throws(() => serve({ frontend: "tcp://127.0.0.1:0", ...options }), (error) => {
        assert.ok(error instanceof type, `${name}: ${error}`);
        assert.match(error.message, message);
        return true;
      });
    }
  },
);

Deno.test(
  "serve takes a handler in each form when it is a URL, a path or a specifier",
  STRICT,
  async () => {
    using folder = new Folder();
    const file = folder.write("handler.ts", 'export default () => "here";');
    for (const handler of [file, pathToFileURL(file).href, pathToFileURL(file)]) {
      await using server = serveQuietly({ handler, workers: 1 });
      assert.deepEqual(await askOnce(endpointOf(server), "x"), ["here"]);
    }
  },
);

Deno.test("serve writes its pid file and removes it when it has one", STRICT, async () => {
  using folder = new Folder();
  const pidFile = `${folder.path}/pid`;
  const server = serveQuietly({ pidFile, workers: 1 });
  assert.equal(Deno.readTextFileSync(pidFile), `${Deno.pid}\n`);
  await server.shutdown();
  assert.throws(() => Deno.statSync(pidFile), Deno.errors.NotFound);
});

Deno.test("serve reloads when watch is on and the handler changes", STRICT, async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", 'export default () => "one";');
  await using server = serveQuietly({ handler, workers: 1, watch: true });
  await server.ready;
  await until("it has reloaded", () => {
    folder.write("handler.ts", 'export default () => "two";');
    return new Promise<boolean>((resolve) =>
      setTimeout(() => resolve(server.stats().generation > 1), 300)
    );
  });
  await until("the new code answers", async () => {
    const [answer] = await askOnce(endpointOf(server), "x");
    return answer === "two";
  });
});

// ---- several, signals ----

Deno.test(
  "serve runs several servers side by side when it is called several times",
  STRICT,
  async () => {
    const answer = (word: string) => moduleOf(`export default () => ${JSON.stringify(word)};`);
    await using one = serveQuietly({ handler: answer("one"), workers: 1 });
    const two = serveQuietly({ handler: answer("two"), workers: 1 });
    await using three = serveQuietly({ handler: answer("three"), workers: 1 });
    await Promise.all([one.ready, two.ready, three.ready]);
    const [from, to] = [one, two].map(endpointOf);
    assert.notEqual(from, to);
    assert.deepEqual(await askOnce(endpointOf(one), "x"), ["one"]);
    assert.deepEqual(await askOnce(endpointOf(two), "x"), ["two"]);
    await two.shutdown();
    assert.deepEqual(await askOnce(endpointOf(one), "x"), ["one"]);
    assert.deepEqual(await askOnce(endpointOf(three), "x"), ["three"]);
  },
);

/** Every signal listener that is added while `body` runs, and what is left of them after it. */
async function listeners(body: () => Promise<void>): Promise<{ added: string[]; left: string[] }> {
  const { addSignalListener, removeSignalListener } = Deno;
  const added: string[] = [];
  const left: [string, () => void][] = [];
  Deno.addSignalListener = (signal, listener) => {
    added.push(signal);
    left.push([signal, listener]);
    addSignalListener(signal, listener);
  };
  Deno.removeSignalListener = (signal, listener) => {
    const index = left.findIndex(([name, each]) => name === signal && each === listener);
    if (index >= 0) left.splice(index, 1);
    removeSignalListener(signal, listener);
  };
  try {
    await body();
  } finally {
    Object.assign(Deno, { addSignalListener, removeSignalListener });
  }
  return { added: added.sort(), left: left.map(([signal]) => signal) };
}

Deno.test("serve keeps no signal handler when it is not asked to", STRICT, async () => {
  const { added, left } = await listeners(async () => {
    await using server = serveQuietly({ workers: 1 });
    await server.ready;
  });
  // Only for a moment: Deno makes ready for signals then, as long as it has files for that.
  assert.deepEqual(added, ["SIGCONT", "SIGUSR1"]);
  assert.deepEqual(left, []);
});

Deno.test(
  "serve installs signal handlers and removes them at its end when handleSignals is on",
  STRICT,
  async () => {
    const { added, left } = await listeners(async () => {
      await using server = serveQuietly({ workers: 1, handleSignals: true });
      await server.ready;
      Deno.kill(Deno.pid, "SIGTTIN");
      await until("it has one more", () => server.stats().workers.idle === 2);
    });
    assert.deepEqual(added, [
      "SIGCONT",
      "SIGHUP",
      "SIGINT",
      "SIGQUIT",
      "SIGTERM",
      "SIGTTIN",
      "SIGTTOU",
      "SIGUSR1",
      "SIGUSR2",
    ]);
    assert.deepEqual(left, []);
  },
);

Deno.test("serve removes its signal handlers when it could not start", STRICT, async () => {
  const { added, left } = await listeners(async () => {
    const server = serveQuietly({ handler: BROKEN, workers: 1, handleSignals: true });
    await assert.rejects(server.finished);
  });
  assert.ok(added.length > 0);
  assert.deepEqual(left, []);
});

/** Source of a program that serves, tells so, and lives on for ever. */
function program(options: string): string {
  return `import { serve } from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
    const options = { frontend: "tcp://127.0.0.1:0", logLevel: "critical", workers: 1, ${options} };
    const server = serve(options);
    await server.ready;
    setInterval(() => {}, 60_000);
    console.log("ready");
    const { forced } = await server.finished;
    console.log("finished " + forced);`;
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

/** Starts a program that uses the library; dispose of it. */
function startProgram(source: string) {
  const folder = new Folder();
  const env = { TMPDIR: folder.path };
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      ...serverFlags({ env }),
      "--config",
      path("deno.json"),
      folder.write("main.ts", source),
    ],
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines = linesOf(child.stdout);
  return {
    kill: (signal: Deno.Signal) => child.kill(signal),
    /** What it prints next. */
    said: async () => (await within("the program says something", lines.next())).value,
    ended: () => within("the program has ended", child.status),
    async [Symbol.asyncDispose]() {
      await endNow(child);
      await within("nothing holds its output open", Array.fromAsync(lines));
      folder[Symbol.dispose]();
    },
  };
}

Deno.test("serve leaves TERM to the program when handleSignals is off", STRICT, async () => {
  await using own = startProgram(program(""));
  assert.equal(await own.said(), "ready");
  own.kill("SIGTERM");
  assert.equal((await own.ended()).signal, "SIGTERM");
});

Deno.test(
  "serve takes TERM and gives it back to the program at its end when handleSignals is on",
  STRICT,
  async () => {
    await using own = startProgram(program("handleSignals: true"));
    assert.equal(await own.said(), "ready");
    own.kill("SIGTERM");
    assert.equal(await own.said(), "finished false");
    own.kill("SIGTERM");
    assert.equal((await own.ended()).signal, "SIGTERM");
  },
);

Deno.test("serve does nothing when its module is only imported", STRICT, async () => {
  using folder = new Folder();
  const source = `import { serve } from ${
    JSON.stringify(new URL("../../mod.ts", import.meta.url).href)
  };
    import { Client } from ${JSON.stringify(new URL("../../client.ts", import.meta.url).href)};
    const caught = Deno.addSignalListener;
    console.log(typeof serve, typeof Client, typeof caught);`;
  const main = folder.write("main.ts", source);
  // Nothing is allowed and nothing may be asked for: whatever it did would end it.
  const args = ["run", "--no-prompt", "--config", path("deno.json"), main];
  const { code, stdout, stderr } = await run(Deno.execPath(), args);
  assert.deepEqual({ code, stdout, stderr }, {
    code: 0,
    stdout: "function function function\n",
    stderr: "",
  });
});
