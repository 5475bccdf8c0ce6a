/** Services by name: one server, several handlers, each with a pool of its own. */

import { strict as assert } from "node:assert";
import { run, runServer } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { KeyRing } from "../rig/key_ring.ts";
import type { LogLine } from "../rig/log_lines.ts";
import { header } from "../rig/messages.ts";
import { canServeAsNobody, shareProgram } from "../rig/other_user.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { parseStatus } from "../rig/status.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { text } from "../rig/text.ts";
import { Traffic } from "../rig/traffic.ts";
import { until } from "../rig/wait.ts";

/** A handler that says its name ahead of what it is asked. */
const named = (name: string) =>
  moduleOf(`export default (body) => "${name} " + new TextDecoder().decode(body);`);
const PID = moduleOf("export default () => String(Deno.pid);");
/** Ends its process at once, whatever it is asked. */
const DEADLY = moduleOf("export default () => Deno.exit(3);");

const NO_NAME = "404 The server has no service without a name, and the request names none";

let lastId = 0;

/** Asks a service by its name, as our own client does; gives the last frame of the reply. */
async function ask(peer: Peer, service: string, body = "x"): Promise<string> {
  peer.send(header(++lastId, 0, { service }), "", body);
  return text((await peer.receive()).at(-1));
}

/** The code of a reply to our own client. */
async function codeOf(endpoint: string, service: string): Promise<number | undefined> {
  await using peer = new Peer(endpoint);
  peer.send(header(++lastId, 0, { service }), "", "x");
  const [, , status] = await peer.receive();
  return parseStatus(status ?? new Uint8Array());
}

async function askFor(endpoint: string, service: string, body = "x"): Promise<string> {
  await using peer = new Peer(endpoint);
  return await ask(peer, service, body);
}

function linesOf({ lines }: ServerProcess, message: string, service?: string): LogLine[] {
  return lines.filter((line) => line.message === message && line.service === service);
}

/** Waits for the `count`th line of a service. */
function lineOf(
  server: ServerProcess,
  message: string,
  service: string | undefined,
  count = 1,
): Promise<LogLine> {
  return until(
    `the log says "${message}" of ${service} ${count} times`,
    () => linesOf(server, message, service)[count - 1],
  );
}

/** The endpoint of a service's own. */
async function ownEndpoint(server: ServerProcess, service: string): Promise<string> {
  return String((await lineOf(server, "serving", service)).frontend);
}

/** The states that USR2 writes: of the whole server, and of each service. */
async function states(server: ServerProcess, services: number): Promise<LogLine[]> {
  const before = server.lines.filter(({ message }) => message === "state").length;
  server.signal("SIGUSR2");
  await server.line("state", before + 1 + services);
  return server.lines.filter(({ message }) => message === "state").slice(before);
}

// ---- who is asked ----

Deno.test("serve answers by the service that a request names, and plain clients by the one without a name", async () => {
  const services = { a: named("a"), "b.2": { handler: named("b") } };
  await using server = serveQuietly({ handler: named("plain"), services, workers: 1 });
  await server.ready;
  const endpoint = endpointOf(server);
  assert.equal(await askFor(endpoint, "a"), "a x");
  assert.equal(await askFor(endpoint, "b.2"), "b x");
  assert.equal(await askFor(endpoint, ""), "plain x");
  assert.deepEqual(await askOnce(endpoint, "x"), ["plain x"]);
  assert.match(await askFor(endpoint, "c"), /no service "c"/);
  assert.equal(await codeOf(endpoint, "c"), 404);
  assert.deepEqual(Object.keys(server.services), ["a", "b.2"]);
});

Deno.test("serve has no echo where all services have names: plain clients get 404", async () => {
  await using server = serveQuietly({ services: { a: named("a") }, workers: 1 });
  await server.ready;
  assert.deepEqual(await askOnce(endpointOf(server), "x"), ["", NO_NAME]);
  assert.equal(await askFor(endpointOf(server), "a"), "a x");
});

for (const transport of ["native", "libzmq"] as const) {
  Deno.test(`an endpoint of one service serves its plain clients alone, over ${transport}`, async () => {
    const frontend = "tcp://127.0.0.1:0";
    const services = { a: { handler: named("a"), frontend: [frontend, frontend] }, b: named("b") };
    await using server = serveQuietly({ services, workers: 1, transport });
    await server.ready;
    const { a, b } = server.services;
    assert.equal(a?.frontend.length, 2);
    assert.deepEqual(b?.frontend, []);
    for (const endpoint of a.frontend) {
      assert.doesNotMatch(endpoint, /:0$/);
      assert.deepEqual(await askOnce(endpoint, "x"), ["a x"]);
      assert.equal(await askFor(endpoint, "a"), "a x");
      assert.equal(await codeOf(endpoint, "b"), 404);
    }
  });
}

Deno.test("a service says which CURVE users may ask it: others are answered 403", async () => {
  using keys = new KeyRing("ann", "bob");
  await using server = serveQuietly({
    ...{ curveSecretKey: keys.secretKeyFile, curveClients: keys.list, workers: 1 },
    services: {
      a: { handler: named("a"), users: "ann", frontend: "tcp://127.0.0.1:0" },
      b: named("b"),
    },
  });
  await server.ready;
  {
    await using ann = keys.peer(server.services.a?.frontend[0] ?? "", "ann");
    assert.deepEqual(await ann.ask("plain"), ["a plain"]);
  }
  /** The code and the body of a reply to our own client. */
  const said = async (user: string, service: string) => {
    await using peer = keys.peer(endpointOf(server), user);
    peer.send(header(++lastId, 0, { service }), "", "x");
    const [, , status, body] = await peer.receive();
    return [parseStatus(status ?? new Uint8Array()), text(body)];
  };
  assert.deepEqual(await said("ann", "a"), [200, "a x"]);
  assert.deepEqual(await said("bob", "b"), [200, "b x"]);
  assert.equal((await said("bob", "a"))[0], 403);
  await server.services.a?.reload({ users: ["bob"] });
  assert.deepEqual(await said("bob", "a"), [200, "a x"]);
  assert.equal((await said("ann", "a"))[0], 403);
});

const PYTHON = "/usr/bin/python3";

function hasPyzmq(): boolean {
  try {
    return new Deno.Command(PYTHON, { args: ["-c", "import zmq"] }).outputSync().success;
  } catch {
    return false;
  }
}

/** A plain REQ client, which asks each endpoint once. */
const ASK_EACH = `
import sys, zmq
for endpoint in sys.argv[1:]:
    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.rcvtimeo = 10000
    socket.connect(endpoint)
    socket.send(b"x")
    print(socket.recv_multipart()[-1].decode())
    socket.close(0)
`;

Deno.test(
  "a plain REQ client of another language reaches a service by its endpoint, tcp or ipc",
  { ignore: !hasPyzmq() },
  async () => {
    using folder = new Folder();
    const services = {
      a: { handler: named("a"), frontend: "tcp://127.0.0.1:0" },
      b: { handler: named("b"), frontend: `ipc://${folder.path}/b.ipc` },
    };
    await using server = serveQuietly({ handler: named("plain"), services, workers: 1 });
    await server.ready;
    const { a, b } = server.services;
    const endpoints = [...server.frontend, ...a?.frontend ?? [], ...b?.frontend ?? []];
    const { code, stdout, stderr } = await run(PYTHON, ["-c", ASK_EACH, ...endpoints]);
    assert.equal(code, 0, stderr);
    assert.equal(stdout, "plain x\na x\nb x\n");
  },
);

// ---- each by itself ----

Deno.test("each service has its own limits, grants and environment", async () => {
  const slow = moduleOf(
    "export default (_, ctx) => new Promise((_, no) => " +
      "ctx.signal.addEventListener('abort', () => no(new Error('late'))));",
  );
  const reads = moduleOf("export default () => Deno.permissions.querySync({ name: 'net' }).state;");
  await using server = serveQuietly({
    ...{ workers: 1, permissions: { net: true } },
    services: {
      slow: { handler: slow, requestTimeout: 50 },
      free: reads,
      bound: { handler: reads, permissions: "none" },
    },
  });
  await server.ready;
  const endpoint = endpointOf(server);
  assert.equal(await askFor(endpoint, "free"), "granted");
  assert.equal(await askFor(endpoint, "bound"), "prompt");
  assert.equal(await codeOf(endpoint, "slow"), 504);
});

Deno.test("handlers with import maps and .npmrc files of their own do not find each other's", async () => {
  using folder = new Folder();
  const files = (name: string) => {
    Deno.mkdirSync(`${folder.path}/${name}`);
    folder.write(`${name}/deno.json`, '{ "imports": { "name": "./name.ts" } }');
    folder.write(`${name}/.npmrc`, `registry=http://127.0.0.1:1/${name}\n`);
    folder.write(`${name}/name.ts`, `export default "I am ${name}";`);
    return folder.write(`${name}/main.ts`, 'import name from "name"; export default () => name;');
  };
  await using server = serveQuietly({
    ...{ handler: files("plain"), workers: 1 },
    services: { a: files("a"), b: files("b") },
  });
  await server.ready;
  const home = new URL(server.backend.replace("ipc:", "file:"));
  const npmrc = (path: string) => Deno.readTextFileSync(new URL(path, home));
  assert.match(npmrc(".npmrc"), /plain/);
  assert.match(npmrc("service-2/.npmrc"), /\/a\n/);
  assert.match(npmrc("service-3/.npmrc"), /\/b\n/);
  for (const name of ["plain", "a", "b"]) {
    const service = name === "plain" ? "" : name;
    assert.equal(await askFor(endpointOf(server), service), `I am ${name}`);
  }
});

Deno.test(
  "workers of another user read their service's configuration, and a new private folder has it again",
  { ignore: !canServeAsNobody() },
  async () => {
    using programs = new Folder();
    using folder = new Folder();
    using temporary = new Folder();
    Deno.chmodSync(folder.path, 0o755);
    Deno.chmodSync(temporary.path, 0o1777);
    folder.write("deno.json", '{ "imports": { "name": "./name.ts" } }');
    folder.write("name.ts", 'export default "I am it";');
    const handler = folder.write(
      "main.ts",
      'import name from "name"; export default () => name + Deno.uid();',
    );
    const args = ["--workers", "1", "--user", "nobody", "--handler-allow-sys=uid"];
    await using server = await ServerProcess.start({
      args: [...args, "--service", `a=${handler}`],
      program: shareProgram(programs),
      env: { TMPDIR: temporary.path },
      permissions: ["-A"],
    });
    assert.equal(await askFor(server.endpoint, "a"), "I am it65534");
    const home = server.backend.slice("ipc://".length).replace(/\/backend$/, "");
    Deno.removeSync(home, { recursive: true });
    await server.line("the private folder was removed, there is a new one");
    Deno.kill(server.workers[0] ?? 0, "SIGKILL");
    await lineOf(server, "worker ready", "a", 2);
    assert.equal(await askFor(server.endpoint, "a"), "I am it65534");
  },
);

Deno.test("stats and processes say which service is meant, and the totals are of all", async () => {
  await using server = serveQuietly({
    services: { a: { handler: named("a"), workers: 1 }, b: { handler: named("b"), workers: 2 } },
  });
  await server.ready;
  await askFor(endpointOf(server), "b");
  const { services, workers, processes, counters, generation } = server.stats();
  assert.deepEqual(Object.keys(services), ["a", "b"]);
  assert.deepEqual([workers.min, workers.max, workers.idle, generation], [3, 3, 3, 1]);
  assert.deepEqual(processes.map(({ service }) => service).sort(), ["a", "b", "b"]);
  assert.equal(new Set(processes.map(({ worker }) => worker)).size, 3);
  assert.deepEqual([counters.answered, counters.spawned], [1, 3]);
  const answered = Object.values(services).map(({ counters }) => counters.answered);
  assert.deepEqual(answered, [0, 1]);
  assert.deepEqual(server.services.b?.stats().workers.idle, 2);
});

Deno.test("a reload of one service replaces its workers and no others", async () => {
  const events: unknown[] = [];
  await using server = serveQuietly({
    ...{ services: { a: PID, b: PID }, workers: 1 },
    onReload: (event) => void events.push(event),
  });
  await server.ready;
  const endpoint = endpointOf(server);
  const before = [await askFor(endpoint, "a"), await askFor(endpoint, "b")];
  await server.services.a?.reload();
  const after = [await askFor(endpoint, "a"), await askFor(endpoint, "b")];
  assert.notEqual(after[0], before[0]);
  assert.equal(after[1], before[1]);
  assert.deepEqual(events, [{ ok: true, service: "a" }]);
  const { a, b } = server.stats().services;
  assert.deepEqual([a?.generation, b?.generation], [2, 1]);
  await server.services.b?.reload({ handler: named("new b"), maxWorkers: 2 });
  assert.equal(await askFor(endpoint, "b"), "new b x");
  assert.equal(await askFor(endpoint, "a"), after[0]);
  assert.deepEqual(server.services.b?.stats().workers.max, 2);
  await server.reload();
  assert.equal(server.stats().services.a?.generation, 3);
  assert.equal(await askFor(endpoint, "b"), "new b x", "a later reload keeps what one has set");
});

Deno.test("a reload that one service can't finish leaves it as it is, and the others are reloaded", async () => {
  using folder = new Folder();
  const good = folder.write("good.ts", "export default () => String(Deno.pid);");
  const bad = folder.write("bad.ts", "export default () => 'old';");
  await using server = serveQuietly({ services: { good, bad }, workers: 1 });
  await server.ready;
  const endpoint = endpointOf(server);
  const before = await askFor(endpoint, "good");
  folder.write("bad.ts", "throw new Error('broken');");
  await assert.rejects(server.reload(), /broken/);
  assert.equal(await askFor(endpoint, "bad"), "old");
  assert.notEqual(await askFor(endpoint, "good"), before);
});

Deno.test("resize moves the bounds of one service, and without a name those of the one that has none", async () => {
  const services = { a: named("a"), b: { handler: named("b"), workers: 1 } };
  await using server = serveQuietly({ handler: named("plain"), services, workers: 1 });
  await server.ready;
  const bounds = () => Object.values(server.stats().services).map(({ workers }) => workers.max);
  server.resize({ max: 2 });
  assert.deepEqual(bounds(), [2, 1, 1]);
  server.resize({ max: 3 }, "a");
  server.services.b?.resize({ min: 2, max: 4 });
  assert.deepEqual(bounds(), [2, 3, 4]);
  await server.reload({ maxRequests: 5 });
  assert.deepEqual(bounds(), [2, 3, 4], "a reload keeps them");
  assert.throws(() => server.resize({ max: 3 }, "c"), /no|none/);
  assert.throws(() => server.services.a?.resize({ max: 0 }), RangeError);
});

Deno.test("a service whose workers die with each job does not hold up another", async () => {
  const server = serveQuietly({
    ...{ maxAttempts: 1, queueLimit: 5 },
    services: { good: { handler: PID, workers: 2 }, bad: { handler: DEADLY, workers: 2 } },
  });
  await using _ = server;
  await server.ready;
  const pids = server.stats().services.good?.processes.map(({ pid }) => pid);
  await using bad = new Peer(endpointOf(server));
  await using good = new Peer(endpointOf(server));
  for (let round = 0; round < 20; round++) {
    for (let each = 0; each < 10; each++) {
      bad.send(header(++lastId, 0, { service: "bad" }), "", "x");
    }
    for (let each = 0; each < 5; each++) assert.match(await ask(good, "good"), /^\d+$/);
  }
  await until("workers of the bad service have died", () => {
    const { exited } = server.stats().services.bad?.counters ?? {};
    return (exited?.crashed ?? 0) >= 4;
  });
  assert.deepEqual(server.stats().services.good?.processes.map(({ pid }) => pid), pids);
  assert.deepEqual(server.stats().services.good?.counters.exited, {});
});

for (const overflow of ["block", "reject"] as const) {
  Deno.test(`a service whose queue is full does not hold up another (${overflow})`, async () => {
    using gate = new Gate();
    await using server = serveQuietly({
      services: {
        full: {
          handler: moduleOf(gate.handler),
          permissions: { read: true },
          workers: 1,
          ...{ queueLimit: 2, prefetch: 1, overflow },
        },
        good: { handler: named("good"), workers: 1 },
      },
    });
    await server.ready;
    await using full = new Peer(endpointOf(server));
    await using good = new Peer(endpointOf(server));
    const asked = 50;
    const askFull = () => full.send(header(++lastId, 0, { service: "full" }), "", "x");
    askFull();
    // Where all came at once, the first would leave the queue only after others were refused.
    await until("one runs", () => server.stats().services.full?.workers.busy === 1);
    for (let each = 1; each < asked; each++) askFull();
    const queued = () => server.stats().services.full?.queue.jobs ?? 0;
    await until("the queue is full", () => queued() >= 2);
    for (let each = 0; each < 200; each++) assert.equal(await ask(good, "good"), "good x");
    assert.ok(queued() >= 2, "it is full all the time");
    gate.open();
    const codes = new Map<number | undefined, number>();
    for (let each = 0; each < asked; each++) {
      const [, , status] = await full.receive();
      const code = parseStatus(status ?? new Uint8Array());
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    assert.equal((codes.get(200) ?? 0) + (codes.get(503) ?? 0), asked);
    if (overflow === "block") assert.equal(codes.get(200), asked, "who waits is served in the end");
    else assert.ok((codes.get(503) ?? 0) > 0);
  });
}

Deno.test("serve is ready when all services are, and fails naming the one whose handler can't be loaded", async () => {
  using gate = new Gate();
  const init = moduleOf(`${gate.source}
    export const init = () => passed();
    export default () => "slow";`);
  await using server = serveQuietly({
    services: { quick: named("a"), slow: { handler: init, permissions: { read: true } } },
    workers: 1,
  });
  let isReady = false;
  server.ready.then(() => isReady = true);
  assert.equal(await askFor(endpointOf(server), "quick"), "a x");
  assert.equal(isReady, false);
  gate.open();
  await server.ready;
  const broken = serveQuietly({
    ...{ workers: 1 },
    services: { good: named("a"), bad: moduleOf("throw new Error('broken')") },
  });
  await assert.rejects(broken.ready, /^Error: Cannot start the service "bad": .*broken/s);
  await assert.rejects(broken.finished, /"bad"/);
});

Deno.test("serve checks that the handler of each service is there before it starts anything", () => {
  assert.throws(() => serveQuietly({ services: { a: "/no/such/file.ts" } }), {
    name: "RangeError",
    message: 'Cannot start: "services.a.handler" must be a file that can be read: ' +
      '"/no/such/file.ts" is not there',
  });
});

Deno.test("hooks say which service an event is about", async () => {
  const seen: Record<string, unknown[]> = {};
  const note = (hook: string) => (event: { service?: string }) => {
    (seen[hook] ??= []).push(event.service);
  };
  const listened: unknown[] = [];
  const server = serveQuietly({
    services: {
      a: { handler: DEADLY, workers: 1, maxAttempts: 1, frontend: "tcp://127.0.0.1:0" },
    },
    onListen: ({ services }) => void listened.push(services),
    onWorkerSpawn: note("spawn"),
    onWorkerReady: note("ready"),
    onWorkerExit: note("exit"),
    onError: note("error"),
    onResize: note("resize"),
  });
  await using _ = server;
  await server.ready;
  assert.match((await askOnce(server.services.a?.frontend[0] ?? "", "x")).join(), /502/);
  server.resize({ max: 3 });
  await until("a worker has ended", () => seen.exit?.length);
  assert.deepEqual(listened, [{ a: server.services.a?.frontend }]);
  for (const hook of ["spawn", "ready", "exit", "error", "resize"]) {
    assert.ok((seen[hook] ?? []).every((service) => service === "a"), hook);
    assert.ok((seen[hook] ?? []).length > 0, hook);
  }
});

// ---- as an operator runs it ----

/** The arguments of a server with services whose handlers are these. */
function serviceArgs(services: Record<string, string>): string[] {
  return Object.entries(services).flatMap(([name, handler]) => ["--service", `${name}=${handler}`]);
}

Deno.test("the command serves the services that flags and a conf file name", async () => {
  using folder = new Folder();
  const conf = folder.write(
    "x.conf",
    `frontend tcp://127.0.0.1:0
workers 1
[service a]
handler ${named("a").replaceAll("#", "\\#")}
frontend tcp://127.0.0.1:0
max_requests 7
`,
  );
  const args = ["--config", conf, ...serviceArgs({ b: named("b") })];
  await using server = await ServerProcess.start({ args });
  await lineOf(server, "worker ready", "a");
  await lineOf(server, "worker ready", "b");
  assert.deepEqual(await askOnce(await ownEndpoint(server, "a"), "x"), ["a x"]);
  assert.equal(await askFor(server.endpoint, "b"), "b x");
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["", NO_NAME]);
  const listening = await server.line("listening");
  assert.equal(listening.handler, undefined);
});

Deno.test("signals act on all services, TTIN and TTOU on the one without a name", async () => {
  const args = ["--workers", "1", ...serviceArgs({ a: PID, b: PID })];
  const handler = "export default () => String(Deno.pid);";
  await using server = await ServerProcess.start({ args, handler });
  for (const service of [undefined, "a", "b"]) await lineOf(server, "worker ready", service);
  server.signal("SIGTTIN");
  await lineOf(server, "resized", undefined);
  await lineOf(server, "worker ready", undefined, 2);
  const [all, plain, a, b, ...more] = await states(server, 3);
  assert.equal(more.length, 0);
  assert.deepEqual([all, plain, a, b].map((line) => line?.service), [undefined, "", "a", "b"]);
  assert.deepEqual([all, plain, a, b].map((line) => line?.max), [4, 2, 1, 1]);
  const before = [await askFor(server.endpoint, "a"), await askFor(server.endpoint, "b")];
  server.signal("SIGHUP");
  for (const service of [undefined, "a", "b"]) await lineOf(server, "reloaded", service);
  const after = [await askFor(server.endpoint, "a"), await askFor(server.endpoint, "b")];
  assert.ok(after.every((pid) => !before.includes(pid)));
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  const exits = server.lines.filter(({ message }) => message === "worker exited");
  assert.deepEqual(
    new Set(exits.filter(({ reason }) => reason === "stopped").map(({ service }) => service)),
    new Set([undefined, "a", "b"]),
  );
});

Deno.test("TTIN and TTOU act on each service where all have names", async () => {
  const args = ["--workers", "1", ...serviceArgs({ a: PID, b: PID })];
  await using server = await ServerProcess.start({ args });
  for (const service of ["a", "b"]) await lineOf(server, "worker ready", service);
  server.signal("SIGTTIN");
  for (const service of ["a", "b"]) {
    assert.equal((await lineOf(server, "resized", service)).max, 2);
    await lineOf(server, "worker ready", service, 2);
  }
  server.signal("SIGTTOU");
  for (const service of ["a", "b"]) await lineOf(server, "resized", service, 2);
});

Deno.test("HUP applies a section that has changed, and says what of it needs a restart", async () => {
  using folder = new Folder();
  const write = (section: string) =>
    folder.write("x.conf", `frontend tcp://127.0.0.1:0\nworkers 1\n${section}`);
  const module = PID.replaceAll("#", "\\#");
  const conf = write(`[service a]\nhandler ${module}\n[service b]\nhandler ${module}\n`);
  await using server = await ServerProcess.start({ args: ["--config", conf] });
  for (const service of ["a", "b"]) await lineOf(server, "worker ready", service);
  write(`[service a]\nhandler ${module}\nworkers 2\n[service c]\nhandler ${module}\n`);
  server.signal("SIGHUP");
  await server.line('the service "c" is added after a restart only');
  await server.line('the service "b" is removed after a restart only');
  for (const service of ["a", "b"]) await lineOf(server, "reloaded", service);
  await until("a has two workers", async () => {
    const [, a, b] = await states(server, 2);
    return a?.idle === 2 && b?.idle === 1;
  });
  assert.match(await askFor(server.endpoint, "b"), /^\d+$/);
  assert.match(await askFor(server.endpoint, "c"), /no service "c"/);
  write("[service a]\nworkers 2\n");
  server.signal("SIGHUP");
  const { error } = await server.line("not reloaded");
  assert.match(String(error), /Cannot reload: .*names the service "a", which has no handler/);
});

Deno.test("--watch reloads the service whose files have changed, and no other", async () => {
  using folder = new Folder();
  const [a, b] = ["a", "b"].map((name) =>
    folder.write(`${name}.ts`, `export default () => "${name}1";`)
  );
  const args = ["--workers", "1", "--watch", ...serviceArgs({ a: a ?? "", b: b ?? "" })];
  await using server = await ServerProcess.start({ args, permissions: ["-A"] });
  for (const service of ["a", "b"]) await lineOf(server, "worker ready", service);
  folder.write("b.ts", 'export default () => "b2";');
  await lineOf(server, "reloaded", "b");
  assert.equal(await askFor(server.endpoint, "b"), "b2");
  assert.equal(await askFor(server.endpoint, "a"), "a1");
  assert.equal(linesOf(server, "reloaded", "a").length, 0);
  assert.equal(linesOf(server, "reloaded").length, 0);
});

Deno.test("--check loads the handlers of all services, and names the one that can't be loaded", async () => {
  const good = await runServer(["--check", ...serviceArgs({ a: named("a"), b: named("b") })]);
  assert.equal(good.code, 0, good.stderr);
  assert.match(good.stdout, /^The handlers ".*", ".*" and the options are fine\n$/);
  const bad = moduleOf("throw new Error('broken')");
  const failed = await runServer(["--check", ...serviceArgs({ a: named("a"), b: bad })]);
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /broken/);
  const refused = await runServer(["--check", ...serviceArgs({ a: "./none.ts" })]);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /"services.a.handler" must be a file that can be read/);
});

Deno.test("the log says which service a line is about, what handlers print and log included", async () => {
  const chatty = moduleOf(`export default (_, ctx) => {
    console.log("printed");
    ctx.log.info("logged");
    throw new Error("thrown");
  };`);
  using folder = new Folder();
  const visits = `${folder.path}/access.log`;
  const args = ["--workers", "1", "--access-log", visits, ...serviceArgs({ a: chatty })];
  await using server = await ServerProcess.start({ args });
  await askFor(server.endpoint, "a");
  for (const message of ["printed", "logged", "request failed", "worker spawned"]) {
    assert.equal((await server.line(message)).service, "a", message);
  }
  server.signal("SIGTERM");
  await server.ended();
  assert.equal(JSON.parse(Deno.readTextFileSync(visits)).service, "a");
});

Deno.test("a service that is reloaded again and again does not keep another's clients waiting for an answer", async () => {
  const services = {
    busy: { handler: named("busy"), frontend: "tcp://127.0.0.1:0" },
    moody: named("moody"),
  };
  await using server = serveQuietly({ services, workers: 1 });
  await server.ready;
  await using traffic = new Traffic(server.services.busy?.frontend[0] ?? "");
  for (let round = 0; round < 3; round++) {
    await traffic.more(50);
    await server.services.moody?.reload();
  }
  await traffic.more(50);
  const replies = await traffic.end();
  assert.ok(replies.every(([body]) => body === "busy x"));
  assert.deepEqual(server.stats().services.busy?.counters.exited, {});
});
