/** Pools that join a server from other processes, over the network. */

import { strict as assert } from "node:assert";
import { AbandonedError, Client, ReplyError } from "../../client.ts";
import type { Server, WorkerExitEvent } from "../../mod.ts";
import { endpointOf, moduleOf } from "../rig/in_process.ts";
import { joinAs, joinHere, JoinRing, serveJoinable } from "../rig/joined.ts";
import { lineIn } from "../rig/log_lines.ts";
import { Peer } from "../rig/peer.ts";
import { isAlive } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import type { KeyPair } from "../../zmq/curve.ts";

/** "here" is slow, so that others get their share of what is asked at once. */
const HERE = moduleOf(`export default async () => {
  await new Promise((resolve) => setTimeout(resolve, 300));
  return "here";
};`);
/** "hold" never ends; "die" dies at its first attempt; all else is answered with the process. */
const THERE = `export default async (body, { attempt }) => {
  const word = new TextDecoder().decode(body);
  if (word === "die" && attempt === 1) Deno.exit(9);
  if (word === "hold") await new Promise((resolve) => setTimeout(resolve, 60_000));
  if (word === "wait") await new Promise((resolve) => setTimeout(resolve, 300));
  return "there " + Deno.pid;
};`;

async function joinedWorkers(server: Server) {
  const { workers } = await server.status();
  return workers.filter(({ host }) => host !== undefined);
}

/** Asks until a worker of the joined pool answers; its pid. */
async function askThere(client: Client, word = "who"): Promise<number> {
  for (;;) {
    const replies = await Promise.all([word, word].map((each) => client.request(each)));
    const found = replies.map((reply) => reply.text().split(" ")).find(([where]) =>
      where === "there"
    );
    if (found !== undefined) return Number(found[1]);
  }
}

/** Hooks that note what is told of workers on other machines, a line each: "spawn 5", "exit 5 recycled". */
function noting() {
  const told: string[] = [];
  const note = (what: string) => ({ worker, host, reason }: Partial<WorkerExitEvent>) => {
    if (host === undefined) return;
    assert.equal(host, "east");
    told.push([what, worker, reason].filter((each) => each !== undefined).join(" "));
  };
  const [onWorkerSpawn, onWorkerReady] = [note("spawn"), note("ready")];
  return { told, hooks: { onWorkerSpawn, onWorkerReady, onWorkerExit: note("exit") } };
}

Deno.test("a pool that joins serves a server's requests, and is cared for as the server's own", async (t) => {
  using ring = new JoinRing("east");
  const { told, hooks } = noting();
  await using server = serveJoinable(ring, { handler: HERE, ...hooks });
  await using client = new Client({ endpoint: endpointOf(server) });
  await using pool = await joinAs("east", server, { ring, handler: THERE });

  await t.step("its workers answer, and are shown with their machine", async () => {
    const pid = await askThere(client);
    assert.deepEqual(pool.workers, [pid]);
    const [worker] = await until("it is seen", async () => {
      const found = await joinedWorkers(server);
      return found[0]?.state === "idle" ? found : undefined;
    });
    assert.equal(worker?.host, "east");
    assert.deepEqual([worker?.pid, worker?.service], [pid, ""]);
    assert((worker?.answered ?? 0) > 0);
    const { processes, workers } = server.stats();
    const there = processes.filter(({ host }) => host === "east");
    assert.deepEqual(there.map((each) => [each.worker, each.pid]), [[worker?.worker, pid]]);
    assert.equal(workers.idle + workers.busy, 2);
  });

  await t.step("a worker that dies loses nothing, and is replaced", async () => {
    const before = pool.workers[0];
    const replies = await Promise.all(["die", "die"].map((word) => client.request(word)));
    for (const reply of replies) assert.match(reply.text(), /^(here|there \d+)$/);
    await until("another one is ready", () => pool.workers[0] !== before && pool.workers[0]);
  });

  await t.step("a reload replaces its workers", async () => {
    const before = pool.workers[0];
    pool.signal("SIGHUP");
    await pool.line("reloaded");
    await until("the old one is gone", () => pool.workers[0] !== before);
    assert.equal(await askThere(client), pool.workers[0]);
  });

  await t.step("an operator of the server has one of its workers leave, or kills it", async () => {
    const [first] = await joinedWorkers(server);
    server.stopWorker(first?.worker ?? 0);
    const [second] = await until("another one is there", async () => {
      const found = await joinedWorkers(server);
      return found.length === 1 && found[0]?.worker !== first?.worker && found;
    });
    server.killWorker(second?.worker ?? 0);
    await until("another one is there", async () => {
      const [third] = await joinedWorkers(server);
      return third !== undefined && third.worker !== second?.worker && third.state === "idle";
    });
  });

  await t.step("TERM lets its workers end what they have", async () => {
    const asked = askThere(client, "wait");
    await until("it is at work", async () => {
      const found = await joinedWorkers(server);
      return found.some(({ state }) => state === "busy");
    });
    const [worker] = pool.workers;
    pool.signal("SIGTERM");
    assert.equal((await pool.ended()).code, 0);
    assert.equal(await asked, worker);
    await until("it has left", async () => (await joinedWorkers(server)).length === 0);
  });

  await t.step("the server's hooks are told of each life, with its machine", async () => {
    const ends = () => told.filter((line) => line.startsWith("exit"));
    await until("the last one has ended", () => ends().some((line) => / stopped$/.test(line)));
    const numbers = new Set(told.map((line) => line.split(" ")[1]));
    for (const number of numbers) {
      const life = told.filter((line) => line.split(" ")[1] === number)
        .map((line) => line.split(" ")[0]);
      // One was killed while it started.
      assert.match(life.join(" "), /^spawn( ready)? exit$/, `worker ${number}`);
    }
    const reasons = ends().map((line) => line.split(" ")[2]);
    assert.deepEqual(reasons, ["crashed", "reload", "asked", "asked", "stopped"]);
  });
});

Deno.test("a pool that is killed loses nothing of what it had", async () => {
  using ring = new JoinRing("east", "west");
  const { told, hooks } = noting();
  await using server = serveJoinable(ring, { handler: HERE, maxAttempts: 2, ...hooks });
  await using client = new Client({ endpoint: endpointOf(server) });
  await using east = await joinAs("east", server, { ring, handler: THERE, workers: 2 });
  const workers = east.workers;
  const asked = ["hold", "hold", "hold"].map((word) => client.request(word));
  await until("it has two of them", async () => {
    const found = await joinedWorkers(server);
    return found.filter(({ state }) => state === "busy").length === 2;
  });
  east.signal("SIGKILL");
  const replies = await Promise.all(asked);
  assert.deepEqual(replies.map((reply) => reply.text()), ["here", "here", "here"]);
  for (const pid of workers) await until(`worker ${pid} is gone`, () => !isAlive(pid));
  const { counters } = server.stats();
  assert.deepEqual([counters.lost, counters.answered], [0, 3]);
  const isLost = (line: string) => /^exit \d+ lost$/.test(line);
  await until("the hooks are told", () => told.filter(isLost).length === 2);
  await using _west = await joinHere("west", server, { ring, handler: THERE });
  const found = await joinedWorkers(server);
  assert.deepEqual(found.map(({ host }) => host), ["west"]);
});

Deno.test("a server without workers has requests wait until a pool has joined, and again when that is gone", async () => {
  using ring = new JoinRing("east", "west");
  const options = { handler: HERE, workers: 0, queueLimit: 2, overflow: "reject" } as const;
  await using server = serveJoinable(ring, options);
  await server.ready;
  const { ready, reasons, workers, phase } = await server.status();
  assert.deepEqual([ready, reasons, workers.length, phase], [
    ...[false, ["no worker is ready"], 0],
    "serving",
  ]);
  await using client = new Client({ endpoint: endpointOf(server) });
  const late = client.request("late", { timeout: 300, retries: 0 });
  await assert.rejects(late, AbandonedError);
  const asked = ["who", "hold"].map((word) => client.request(word));
  for (const each of asked) each.catch(() => {});
  await until("both wait", () => server.stats().queue.jobs === 2);
  await assert.rejects(client.request("x", { retries: 0 }), { code: 503 });
  await server.reload();
  await using east = await joinAs("east", server, { ring, handler: THERE });
  assert.equal((await asked[0])?.text(), `there ${east.workers[0]}`);
  assert.equal((await server.status()).ready, true);
  await until("it has the other one", () => server.stats().running === 1);
  east.signal("SIGKILL");
  await until("that waits again", () => server.stats().queue.jobs === 1);
  const handler = 'export default () => "west"';
  await using _west = await joinHere("west", server, { ring, handler });
  assert.equal((await asked[1])?.text(), "west");
  server.resize({ min: 1, max: 1 });
  await until("it has one of its own", async () => {
    const { workers } = await server.status();
    return workers.some(({ host, state }) => host === undefined && state === "idle");
  });
  server.resize({ min: 0, max: 0 });
  await until("it has left", async () => (await server.status()).workers.length === 1);
  const { counters } = server.stats();
  assert.deepEqual([counters.lost, counters.answered], [0, 2]);
});

Deno.test("stored jobs run at a pool, and what its machine had when it was killed at another one, with one result each", async () => {
  using ring = new JoinRing("east", "west");
  await using server = serveJoinable(ring, {
    ...{ workers: 0, concurrency: 4, jobShare: 1 },
    store: `sqlite:${ring.folder.path}/jobs.db`,
  });
  await using client = new Client({ endpoint: endpointOf(server) });
  const words = ["who", "hold", "hold", "hold"];
  const jobs = await Promise.all(words.map((word) => client.submit(word)));
  const resultOf = (id = "") => client.job(id).result({ wait: 30_000 });
  const results = jobs.map(({ id }) => resultOf(id));
  for (const each of results) each.catch(() => {});
  await using east = await joinAs("east", server, { ring, handler: THERE });
  const first = `there ${east.workers[0]}`;
  assert.equal((await results[0])?.text(), first);
  await until("it has the others", () => server.stats().running === 3);
  east.signal("SIGKILL");
  await until("they wait again", () => server.stats().running === 0);
  const handler = `let runs = 0;
    export default (_body, { attempt }) => "west " + attempt + " " + ++runs;`;
  await using _west = await joinHere("west", server, { ring, handler });
  const rest = (await Promise.all(results.slice(1))).map((reply) => reply.text());
  // The machine is to blame, and no job's try: and each is run there once.
  assert.deepEqual(rest.toSorted(), ["west 1 1", "west 1 2", "west 1 3"]);
  assert.equal((await resultOf(jobs[0]?.id)).text(), first);
  const { stored } = await server.status();
  assert.equal(stored?.services[0]?.states.done, 4);
});

Deno.test("a server that stops has the workers of joined pools end what they have, and the pool waits for another", async () => {
  using ring = new JoinRing("east");
  const first = serveJoinable(ring, { handler: HERE });
  const { joinEndpoint = "" } = first;
  await using pool = await joinAs("east", first, { ring, handler: THERE });
  await using client = new Client({ endpoint: endpointOf(first) });
  const asked = askThere(client, "wait");
  await until("it is at work", async () => {
    return (await joinedWorkers(first)).some(({ state }) => state === "busy");
  });
  const [before] = pool.workers;
  await first.shutdown();
  assert.equal(await asked, before);
  await pool.line("the server is lost, and the workers with it");
  await using second = serveJoinable(ring, { handler: HERE, joinEndpoint });
  await pool.line("joined", 2);
  await pool.line("worker ready", 2);
  await using other = new Client({ endpoint: endpointOf(second) });
  assert.equal(await askThere(other), pool.workers[0]);
});

Deno.test("a pool serves the service that it names, with what the server says of it, and logs there", async () => {
  using ring = new JoinRing("east");
  const logFile = `${ring.folder.path}/log`;
  const services = { mail: { handler: HERE, concurrency: 3 } };
  await using server = serveJoinable(ring, {
    ...{ handler: HERE, services },
    ...{ logFile, logLevel: "error", logFormat: "json" },
  });
  const handler = `let running = 0;
    let most = 0;
    export default async (_body, ctx) => {
      most = Math.max(most, ++running);
      ctx.log.error("asked");
      await new Promise((resolve) => setTimeout(resolve, 200));
      running--;
      return "there " + most;
    };`;
  await using _pool = await joinHere("east", server, { ring, handler, joinService: "mail" });
  const [worker] = await joinedWorkers(server);
  assert.equal(worker?.service, "mail");
  await using client = new Client({ endpoint: endpointOf(server) });
  const ask = () => client.request("x", { service: "mail" });
  const most = await until("three run at a time", async () => {
    const replies = await Promise.all(Array.from({ length: 12 }, ask));
    return replies.map((reply) => reply.text()).find((text) => text === "there 3");
  });
  assert.equal(most, "there 3");
  const { host, service } = await lineIn(logFile, "asked", 1);
  assert.deepEqual([host, service], ["east", "mail"]);
});

Deno.test("a pool whose server is not there waits for it, and stops when it is told to", async () => {
  using ring = new JoinRing("east");
  const nowhere = await ServerProcess.start({
    ...{ handler: THERE, raw: true },
    args: ["--workers", "1", ...ring.argsOf("east", "tcp://127.0.0.1:9")],
  });
  await using _ = nowhere;
  await nowhere.line("joining");
  nowhere.signal("SIGTERM");
  assert.equal((await nowhere.ended()).code, 0);
  const said = nowhere.lines.map(({ message }) => message);
  assert(!said.includes("worker spawned") && !said.includes("worker not spawned"), said.join());
});

Deno.test("a pool is told why it can't join, and so is the server's operator", async () => {
  using ring = new JoinRing("east");
  const name = "mail";
  await using server = await ServerProcess.start({
    args: [
      ...["--join-endpoint", "tcp://127.0.0.1:0", "--join-clients", ring.list],
      ...["--join-secret-key", ring.secretKeyFile, "--workers", "1"],
    ],
  });
  const { join } = await server.line("other machines can join");
  const start = (args: string[]) =>
    ServerProcess.start({ handler: THERE, raw: true, args: ["--workers", "1", ...args] });
  const known = ring.argsOf("east", String(join));
  await using misled = await start([...known, "--join-service", name]);
  assert.equal((await misled.ended()).code, 1);
  assert.match(misled.noise.join(), /Cannot join the server .* has no service "mail"/);
  const { reason } = await server.line("a pool may not join");
  assert.match(String(reason), /no service "mail"/);
  await using stranger = await start(ring.argsOf("stranger", String(join)));
  const remark = await stranger.line("the server cannot be joined yet");
  assert.match(String(remark.reason), /does not let this machine's key in/);
  assert.match(String((await server.line("a machine may not join")).reason), /not on the list/);
});

/** A joiner that says what the test says. */
class RawJoiner extends Peer {
  say(message: object | string): void {
    const said = typeof message === "string" ? message : JSON.stringify(message);
    this.send(Uint8Array.of(40), said);
  }

  /** The next message of a type. */
  // deno-lint-ignore no-explicit-any
  async told(type: string): Promise<any> {
    for (;;) {
      const [head, frame] = await this.receive();
      assert.equal(head?.[0], 41);
      const said = JSON.parse(text(frame ?? bytes("")));
      if (said.type === type) return said;
    }
  }
}

const HELLO = {
  ...{ type: "hello", protocol: 1, workers: "1", version: "0", services: [""], tickets: 2 },
};

Deno.test("a joiner of another protocol is refused, and one that is hostile reaches its own workers alone", async (t) => {
  using ring = new JoinRing("east", "evil", "west");
  const logFile = `${ring.folder.path}/log`;
  const logged = { logFile, logLevel: "warn", logFormat: "json" } as const;
  await using server = serveJoinable(ring, { handler: HERE, ...logged });
  await using client = new Client({ endpoint: endpointOf(server) });
  await using pool = await joinAs("east", server, { ring, handler: THERE });
  const keys = { own: ring.pair("evil"), server: ring.server.publicKey };
  await using evil = new RawJoiner(server.joinEndpoint ?? "", { keys });
  const workerOf = (own: KeyPair) =>
    new Peer(server.joinEndpoint ?? "", { keys: { own, server: ring.server.publicKey } });

  await t.step("another version of either protocol is refused", async () => {
    for (const other of [{ protocol: 2 }, { workers: "2" }]) {
      evil.say({ ...HELLO, ...other });
      assert.match((await evil.told("refused")).reason, /run the same release on both machines/);
    }
  });

  await t.step("before hello nothing is obeyed", async () => {
    evil.say({ type: "figures", workers: [] });
    await evil.told("unknown");
  });

  await t.step("it can't touch others, nor use what it was not given", async () => {
    const [worker] = await joinedWorkers(server);
    evil.say(HELLO);
    const { tickets } = await evil.told("welcome");
    assert.equal(tickets.length, 2);
    const number = worker?.worker ?? 0;
    for (
      const said of [
        { type: "retire", worker: number },
        { type: "evict", worker: number },
        { type: "ended", worker: number, end: "itself" },
        { type: "started", worker: number, pid: 1 },
        { type: "started", worker: 1, pid: 1 },
        { type: "tickets", service: "", count: 1e9 },
        { type: "tickets", service: "", count: -1 },
        { type: "tickets", service: "other", count: 1 },
        { type: "figures", workers: [{ worker: number, state: "dead" }] },
        { type: "hello", services: [null] },
        { type: "__proto__" },
      ]
    ) evil.say(said);
    for (const said of ["", "{", "[]", "null", "x".repeat(70_000)]) evil.say(said);
    evil.send(Uint8Array.of(40));
    evil.send("");
    evil.send(Uint8Array.of(40), "{}", "more", "frames");
    evil.say({ type: "tickets", service: "", count: 2 });
    assert.equal((await evil.told("tickets")).tickets.length, 0);
    assert.equal((await evil.told("tickets")).tickets.length, 2);
    for (let round = 0; round < 5; round++) evil.say({ type: "tickets", service: "", count: 64 });
    let given = 0;
    for (let round = 0; round < 5; round++) given += (await evil.told("tickets")).tickets.length;
    assert.equal(given, 256 - 4);
    const after = await joinedWorkers(server);
    assert.deepEqual(after.map((each) => [each.worker, each.host, each.pid]), [
      [number, "east", worker?.pid],
    ]);
    assert.equal(await askThere(client), worker?.pid);
  });

  await t.step("its worker of another version is told to leave, and loses no request", async () => {
    evil.say(HELLO);
    const { tickets: [ticket] } = await evil.told("welcome");
    await using old = workerOf(ticket);
    old.send(bytes(`\u0001${ticket.token}`), "99");
    assert.deepEqual([...(await old.receive())[0] ?? []], [18]);
    const { news } = await evil.told("news");
    assert.equal(news.type, "failed");
    assert.match(news.message, /speaks version "99" of the protocol of workers/);
  });

  await t.step("a worker whose connection was given up is not believed any more", async () => {
    evil.say(HELLO);
    const { tickets: [ticket] } = await evil.told("welcome");
    await using late = workerOf(ticket);
    late.send(bytes(`\u0001${ticket.token}`), "1");
    assert.equal((await evil.told("news")).news.type, "ready");
    const asked = ["a", "b", "c"].map((word) => client.request(word));
    const [head] = await late.receive();
    assert.equal(head?.[0], 16);
    evil.say({ type: "bye" });
    const replies = await Promise.all(asked);
    // The answer comes when others have answered: nobody gets it.
    const forged = new Uint8Array(20);
    forged[0] = 2;
    forged.set(head?.subarray(4, 12) ?? [], 4);
    new DataView(forged.buffer).setUint16(2, 200, true);
    new DataView(forged.buffer).setUint32(16, 1, true);
    late.send(forged, "forged");
    for (const reply of replies) assert.match(reply.text(), /^(here|there \d+)$/);
    await until("it is counted as what no worker says", () => {
      return server.stats().counters.intruders > 0;
    });
    const { counters } = server.stats();
    assert.deepEqual([counters.lost, counters.strayReplies], [0, 0]);
  });
  await assert.rejects(client.request("x", { service: "none" }), ReplyError);

  await t.step("it can't take the places of others, nor name its connections", async () => {
    const endpoint = server.joinEndpoint ?? "";
    // A machine has 16 places.
    const crowd = Array.from({ length: 24 }, () => new RawJoiner(endpoint, { keys }));
    for (const each of crowd) each.say(HELLO);
    await using west = await joinHere("west", server, { ring, handler: THERE });
    assert.equal(west.stats().workers.idle, 1);
    for (const each of crowd) await each[Symbol.asyncDispose]();
    await using _squatter = new RawJoiner(endpoint, {
      keys,
      identity: "mine",
    });
    await lineIn(logFile, "a machine names its connections itself, and is not let in any more", 1);
    await using again = new RawJoiner(endpoint, { keys });
    again.say(HELLO);
    await lineIn(logFile, "a machine may not join", 1);
    assert.equal(await askThere(client) > 0, true);
  });
  assert.equal(pool.workers.length, 1);
});
