/** The hooks of serve(): when each is called, with what, and that none can stop the server. */

import { strict as assert } from "node:assert";
import type { ServeOptions, Server } from "../../mod.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { readLog } from "../rig/log_lines.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { isAlive } from "../rig/processes.ts";
import { until } from "../rig/wait.ts";
import { serverFlags } from "../rig/permissions.ts";

const STRICT = { sanitizeOps: true, sanitizeExit: true };

/** Does what the body says. */
const HANDLER = moduleOf(`export default async (body) => {
  const word = new TextDecoder().decode(body);
  if (word === "die") Deno.exit(7);
  if (word === "spin") for (;;);
  return word;
};
export function dequeue() {}`);

const HOOKS = [
  "onListen",
  "onWorkerSpawn",
  "onWorkerReady",
  "onWorkerExit",
  "onResize",
  "onReload",
  "onIdle",
  "onStop",
] as const;

type Call = { hook: string; event: Record<string, unknown> };

/** All hooks, each of which only notes that it was called. */
function recorder(): { calls: Call[]; hooks: ServeOptions } {
  const calls: Call[] = [];
  const hooks = Object.fromEntries(
    HOOKS.map((hook) => [hook, (event: object) => void calls.push({ hook, event: { ...event } })]),
  );
  return { calls, hooks };
}

function eventsOf(calls: readonly Call[], hook: string): Record<string, unknown>[] {
  return calls.filter((call) => call.hook === hook).map(({ event }) => event);
}

Deno.test("serve calls onListen with the real endpoints before it returns", STRICT, async () => {
  const { calls, hooks } = recorder();
  await using server = serveQuietly({ ...hooks, workers: 1 });
  const { frontend, backend } = server;
  assert.deepEqual(calls[0], {
    hook: "onListen",
    event: { frontend: [...frontend], mdp: [], events: [], backend },
  });
  assert.match(endpointOf(server), /:[1-9]\d*$/);
  await server.ready;
  assert.equal(eventsOf(calls, "onListen").length, 1);
});

Deno.test(
  "serve calls onWorkerSpawn, onWorkerReady and onWorkerExit in the life of each worker",
  STRICT,
  async () => {
    const { calls, hooks } = recorder();
    const server = serveQuietly({ ...hooks, workers: 2 });
    await server.ready;
    const workers = server.stats().processes.map(({ worker, pid }) => ({ worker, pid }));
    await server.shutdown();
    for (const who of workers) {
      const life = calls.filter(({ event }) => event.worker === who.worker);
      assert.deepEqual(life, [
        { hook: "onWorkerSpawn", event: who },
        { hook: "onWorkerReady", event: who },
        {
          hook: "onWorkerExit",
          event: { ...who, code: 0, signal: null, reason: "stopped" },
        },
      ]);
    }
  },
);

/** How the first worker to leave has left: code, signal and reason. */
async function firstExit(
  options: ServeOptions,
  act: (server: Server, peer: Peer) => unknown,
): Promise<string> {
  const { calls, hooks } = recorder();
  await using server = serveQuietly({ handler: HANDLER, workers: 1, ...options, ...hooks });
  await using peer = new Peer(endpointOf(server));
  await act(server, peer);
  const [exit] = await until("a worker has left", () => {
    const exits = eventsOf(calls, "onWorkerExit");
    return exits.length > 0 && exits;
  });
  return `${exit?.code} ${exit?.signal} ${exit?.reason}`;
}

function workerOf(server: Server): number {
  const pid = server.stats().processes[0]?.pid;
  assert.ok(pid !== undefined && isAlive(pid));
  return pid;
}

Deno.test(
  "serve tells onWorkerExit code, signal and reason when a worker leaves",
  STRICT,
  async () => {
    const ready = async (server: Server) => {
      await server.ready;
      return server;
    };
    const ways: Record<string, [ServeOptions, (server: Server, peer: Peer) => unknown]> = {
      "7 null crashed": [{}, (_, peer) => peer.send("", "die")],
      "137 SIGKILL crashed": [
        {},
        async (server) => Deno.kill(workerOf(await ready(server)), "SIGKILL"),
      ],
      "0 null recycled": [{ maxRequests: 1 }, (_, peer) => peer.ask("x")],
      "0 null reload": [{}, async (server) => (await ready(server)).reload()],
      "0 null culled": [
        { minWorkers: 1, maxWorkers: 2, minSpareWorkers: 0 },
        async (server) => {
          await server.ready;
          server.resize({ min: 2, max: 2 });
          await until("there are two", () => server.stats().workers.idle === 2);
          server.resize({ min: 1, max: 1 });
        },
      ],
      "0 null left": [{}, async (server) => Deno.kill(workerOf(await ready(server)), "SIGTERM")],
      "0 null dequeued": [{ dequeueInterval: 100 }, ready],
      "137 SIGKILL rogue": [
        { babysitInterval: 50, rogueCpuTime: 50, maxAttempts: 1 },
        (_, peer) => peer.send("", "spin"),
      ],
      "3 null failed": [{ handler: moduleOf("Deno.exit(3);") }, () => {}],
      "137 SIGKILL timeout": [
        { handler: moduleOf("await new Promise(() => {});"), startTimeout: 100 },
        () => {},
      ],
    };
    for (const [expected, [options, act]] of Object.entries(ways)) {
      assert.equal(await firstExit(options, act), expected);
    }
  },
);

Deno.test(
  "serve tells onWorkerExit that workers have left when others than the server told them to, each time",
  STRICT,
  async () => {
    const { calls, hooks } = recorder();
    const handler = moduleOf("export default () => new Promise((go) => setTimeout(go, 20, ''));");
    await using server = serveQuietly({ ...hooks, handler, workers: 3 });
    await using peer = new Peer(endpointOf(server));
    for (let round = 1; round <= 5; round++) {
      await until("three are idle", () => server.stats().workers.idle === 3);
      // Who has answered something has not failed to start, and is replaced at once.
      for (let sent = 0; sent < 3; sent++) peer.send("", "x");
      for (let sent = 0; sent < 3; sent++) await peer.receive();
      for (const { pid } of server.stats().processes) Deno.kill(pid, "SIGTERM");
      await until("they have left", () => eventsOf(calls, "onWorkerExit").length === 3 * round);
    }
    const reasons = eventsOf(calls, "onWorkerExit").map(({ code, reason }) => `${code} ${reason}`);
    assert.deepEqual(reasons, Array(15).fill("0 left"));
  },
);

Deno.test(
  "serve tells onWorkerExit of a worker whose handler can't be loaded",
  STRICT,
  async () => {
    const { calls, hooks } = recorder();
    const server = serveQuietly({ ...hooks, handler: moduleOf("throw 1;"), workers: 1 });
    await assert.rejects(server.finished);
    assert.deepEqual(eventsOf(calls, "onWorkerExit").map(({ worker }) => worker), [1]);
    assert.deepEqual(eventsOf(calls, "onWorkerReady"), []);
  },
);

Deno.test(
  "serve calls onResize with both limits when they change, and not when they are refused",
  STRICT,
  async () => {
    const { calls, hooks } = recorder();
    await using server = serveQuietly({ ...hooks, minWorkers: 1, maxWorkers: 2 });
    server.resize({ min: 2, max: 3 });
    server.resize({ max: 1 });
    assert.throws(() => server.resize({ min: 0 }));
    assert.deepEqual(eventsOf(calls, "onResize"), [{ min: 2, max: 3 }, { min: 1, max: 1 }]);
    await server.ready;
  },
);

Deno.test(
  "serve calls onReload when a reload has succeeded, and says why when it has failed",
  STRICT,
  async () => {
    using folder = new Folder();
    const { calls, hooks } = recorder();
    const handler = folder.write("handler.ts", 'export default () => "";');
    await using server = serveQuietly({ ...hooks, handler, workers: 1 });
    await server.ready;
    await server.reload();
    folder.write("handler.ts", 'throw new Error("It is broken");');
    await assert.rejects(server.reload());
    const [good, bad, ...more] = eventsOf(calls, "onReload");
    assert.deepEqual(good, { ok: true });
    assert.equal(bad?.ok, false);
    assert.match(String(bad?.message), /It is broken/);
    assert.deepEqual(more, []);
  },
);

Deno.test(
  "serve calls onIdle once when the last job is done, and not before any came",
  STRICT,
  async () => {
    const { calls, hooks } = recorder();
    await using server = serveQuietly({ ...hooks, handler: HANDLER, workers: 1 });
    await server.ready;
    await using peer = new Peer(endpointOf(server));
    for (let round = 1; round <= 2; round++) {
      for (let sent = 0; sent < 5; sent++) await peer.ask("x");
      assert.equal(eventsOf(calls, "onIdle").length, round - 1);
      await until("it is idle", () => eventsOf(calls, "onIdle").length >= round);
      // Whatever happens next, it has been said.
      await server.reload();
      assert.equal(eventsOf(calls, "onIdle").length, round);
    }
  },
);

Deno.test("serve calls no onIdle when nobody has asked anything since its process was started", async () => {
  using folder = new Folder();
  const source = `import { serve } from ${JSON.stringify(new URL("mod.ts", ROOT).href)};
    const server = serve({
      frontend: "tcp://127.0.0.1:0",
      logLevel: "critical",
      workers: 1,
      onIdle: () => console.log("idle"),
    });
    await server.ready;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await server.reload();
    await server.shutdown();
    console.log("done");`;
  const main = folder.write("main.ts", source);
  const args = ["run", ...serverFlags({}), "--config", path("deno.json"), main];
  const { code, stdout, stderr } = await run(Deno.execPath(), args);
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "done\n", stderr: "" });
});

Deno.test("serve calls onStop once with the reason when it begins to stop", STRICT, async () => {
  const stopped = async (options: ServeOptions, stop: (server: Server) => unknown) => {
    const { calls, hooks } = recorder();
    const server = serveQuietly({ ...hooks, ...options, workers: 1 });
    await server.ready;
    await stop(server);
    await server.shutdown();
    return eventsOf(calls, "onStop");
  };
  assert.deepEqual(await stopped({}, () => {}), [{ reason: "shutdown" }]);
  const term = () => Deno.kill(Deno.pid, "SIGTERM");
  assert.deepEqual(
    await stopped({ handleSignals: true }, async (server) => {
      term();
      await server.finished;
    }),
    [{ reason: "SIGTERM" }],
  );
});

Deno.test(
  'serve calls onStop with the reason "abort" when its signal is aborted',
  STRICT,
  async () => {
    const { calls, hooks } = recorder();
    const controller = new AbortController();
    const server = serveQuietly({ ...hooks, workers: 1, signal: controller.signal });
    await server.ready;
    controller.abort();
    await server.finished;
    assert.deepEqual(eventsOf(calls, "onStop"), [{ reason: "abort" }]);
  },
);

Deno.test("serve waits for onStop before it has finished", STRICT, async () => {
  const order: string[] = [];
  const gate = Promise.withResolvers<void>();
  const server = serveQuietly({
    workers: 1,
    onWorkerExit: () => gate.resolve(),
    async onStop() {
      await gate.promise;
      // Long after the last worker has left.
      await new Promise((resolve) => setTimeout(resolve, 300));
      order.push("onStop");
    },
  });
  await server.ready;
  await server.shutdown().then(() => order.push("shutdown"));
  assert.deepEqual(order, ["onStop", "shutdown"]);
});

Deno.test("serve goes on while a hook takes its time", STRICT, async () => {
  const never = Promise.withResolvers<void>();
  const wait = () => never.promise;
  const hooks = Object.fromEntries(
    HOOKS.filter((hook) => hook !== "onStop").map((hook) => [hook, wait]),
  );
  await using server = serveQuietly({ ...hooks, handler: HANDLER, workers: 1 });
  assert.deepEqual(await askOnce(endpointOf(server), "x"), ["x"]);
  server.resize({ min: 2, max: 2 });
  await server.reload();
  assert.deepEqual(await askOnce(endpointOf(server), "y"), ["y"]);
});

Deno.test("serve lets a hook call the server", STRICT, async () => {
  const resized = Promise.withResolvers<void>();
  const holder: { server?: Server } = {};
  const server = serveQuietly({
    workers: 1,
    onWorkerReady: ({ worker }) =>
      worker === 1 ? holder.server?.resize({ min: 2, max: 2 }) : undefined,
    onResize: () => resized.resolve(),
    onReload: () => void holder.server?.shutdown(),
  });
  holder.server = server;
  await server.ready;
  await resized.promise;
  await until("there are two", () => server.stats().workers.idle === 2);
  await server.reload();
  assert.deepEqual(await server.finished, { forced: false });
});

for (const kind of ["throw", "reject"] as const) {
  Deno.test(
    `serve logs a hook that fails and goes on when all of them ${kind}`,
    STRICT,
    async () => {
      using folder = new Folder();
      const logFile = `${folder.path}/log`;
      const called = new Set<string>();
      const hooks = Object.fromEntries(HOOKS.map((hook) => [hook, () => {
        called.add(hook);
        const error = new Error(`${hook} is broken`);
        if (kind === "throw") throw error;
        return Promise.reject(error);
      }]));
      const server = serveQuietly({
        ...hooks,
        handler: HANDLER,
        workers: 1,
        logLevel: "info",
        logFormat: "json",
        logFile,
      });
      await server.ready;
      assert.deepEqual(await askOnce(endpointOf(server), "x"), ["x"]);
      await until("it is idle", () => called.has("onIdle"));
      server.resize({ min: 2, max: 2 });
      await server.reload();
      assert.deepEqual(await askOnce(endpointOf(server), "y"), ["y"]);
      await server.shutdown();
      assert.deepEqual([...called].sort(), [...HOOKS].sort());
      const said = new Map(
        readLog(logFile).filter(({ level }) => level === "error")
          .map(({ message, error }) => [message, error]),
      );
      for (const hook of HOOKS) {
        assert.equal(said.get(`the hook "${hook}" failed`), `${hook} is broken`);
      }
    },
  );
}
