/** Jobs on a real nats-server, with a user of the store in place of plane and server. */

import { strict as assert } from "node:assert";
import { StoreRefusedError } from "../../ops/store_link.ts";
import type { NatsOrders } from "../../store/messages.ts";
import { NATS_TRANSPORT } from "../../store/nats_library.ts";
import { openStore } from "../../store/nats_store.ts";
import { HAS_NATS, NatsServers } from "../rig/nats_servers.ts";
import { SlowProxy } from "../rig/slow_proxy.ts";
import {
  answerOf,
  errorOf,
  freeConfig,
  StoreUserRig,
  submission,
  textIn,
} from "../rig/store_user.ts";
import { pause, until } from "../rig/wait.ts";

if (!HAS_NATS) console.log("nats_store_test: skipped, there is no nats-server");

let servers: NatsServers | undefined;
let installations = 0;

Deno.test.beforeAll(async () => {
  if (HAS_NATS) servers = await NatsServers.start();
});
Deno.test.afterAll(() => servers?.[Symbol.asyncDispose]());

/** Orders for an installation that no other test shares. */
function newOrders(more: Partial<NatsOrders> = {}): NatsOrders {
  return {
    credentials: undefined,
    nkey: undefined,
    tls: undefined,
    prefix: `test${++installations}`,
    ackWait: 2000,
    ...more,
  };
}

function start(
  nats: NatsOrders,
  config = freeConfig(),
  options: { waits?: boolean } = {},
): Promise<StoreUserRig> {
  return StoreUserRig.start(openStore, servers?.url ?? "", { config, nats, ...options });
}

function test(name: string, run: () => Promise<void>, ignore = !HAS_NATS): void {
  // The client of NATS keeps timers of its own for a moment.
  Deno.test({ name, ignore, fn: run, sanitizeOps: false, sanitizeResources: false });
}

/** One that takes seconds: TEST_FOREIGN=all. */
function slowTest(name: string, run: () => Promise<void>): void {
  test(name, run, !HAS_NATS || Deno.env.get("TEST_FOREIGN") !== "all");
}

test("a job is stored, run, and its result is kept, for every node", async () => {
  const nats = newOrders();
  await using one = await start(nats);
  await using other = await start(nats);
  const { id, isNew } = await one.submit(submission("hello", { user: "ann" }));
  assert.equal(isNew, true);
  assert.match(id, /^j-[0-9a-f]{32}$/);
  assert.equal((await other.ask({ type: "status", id, waitMs: 0 }, "ann")).status.state, "waiting");
  await assert.rejects(other.ask({ type: "status", id, waitMs: 0 }, "bob"), { code: 404 });
  const waiting = one.ask({ type: "result", id, waitMs: 20_000 }, "ann");
  other.room(1);
  const run = await other.nextRun();
  assert.deepEqual(
    { id: run.id, attempt: run.attempt, tries: run.tries, body: textIn(run.body), user: run.user },
    { id, attempt: 1, tries: 5, body: "hello", user: "ann" },
  );
  await until("it runs for other nodes", async () => {
    const { status } = await one.ask({ type: "status", id, waitMs: 0 }, "ann");
    return status.state === "running" && status.node !== "";
  });
  other.ended(run, answerOf("done"));
  const { status, result } = await waiting;
  assert.equal(status.state, "done");
  assert.equal(status.code, 200);
  assert.equal(result && textIn(result), "done");
  assert.deepEqual(one.runs, []);
});

test("a job that fails is tried again, and then is dead until an operator retries it", async () => {
  await using node = await start(newOrders());
  const backoff = { firstMs: 50, maxMs: 50 };
  const { id } = await node.submit(submission("x", { retries: 1, backoff }));
  node.room(10);
  node.ended(await node.nextRun(), errorOf(500, "no"));
  const second = await node.nextRun();
  assert.equal(second.attempt, 2);
  node.ended(second, errorOf(500, "no again"));
  const { status, result } = await node.ask({ type: "result", id, waitMs: 10_000 });
  assert.deepEqual([status.state, status.code, status.message], ["failed", 500, "no again"]);
  assert.equal(result && textIn(result), "no again");
  await node.operate({ type: "retry", id });
  const third = await node.nextRun();
  assert.deepEqual([third.attempt, textIn(third.body)], [1, "x"]);
  node.ended(third, answerOf("yes"));
  const done = await node.ask({ type: "result", id, waitMs: 10_000 });
  assert.equal(done.status.state, "done");
});

test("a 4xx is final", async () => {
  await using node = await start(newOrders());
  const { id } = await node.submit(submission("x"));
  node.room(1);
  node.ended(await node.nextRun(), errorOf(422, "wrong"));
  assert.equal((await node.ask({ type: "result", id, waitMs: 10_000 })).status.state, "failed");
});

test("a key makes one job while that lives, over all nodes", async () => {
  const nats = newOrders();
  await using one = await start(nats);
  await using other = await start(nats);
  const jobs = await Promise.all(
    [one, other, one, other].map((node) => node.submit(submission("x", { key: "k" }))),
  );
  assert.equal(new Set(jobs.map(({ id }) => id)).size, 1);
  assert.equal(jobs.filter(({ isNew }) => isNew).length, 1);
  one.room(1);
  one.ended(await one.nextRun(), answerOf("y"));
  await other.ask({ type: "result", id: jobs[0]?.id ?? "", waitMs: 10_000 });
  const next = await other.submit(submission("x", { key: "k" }));
  assert.equal(next.isNew, true);
});

test("a submission that is repeated with its id is stored once", async () => {
  const nats = newOrders();
  await using one = await start(nats);
  await using other = await start(nats);
  const id = `j-${"0".repeat(31)}1`;
  assert.deepEqual(await one.submit(submission("x", { id, user: "ann" })), { id, isNew: true });
  assert.deepEqual(await other.submit(submission("x", { id, user: "ann" })), { id, isNew: true });
  await assert.rejects(one.submit(submission("x", { id, user: "bob" })), { code: 409 });
  one.room(5);
  one.ended(await one.nextRun(), answerOf("y"));
  await one.ask({ type: "result", id, waitMs: 10_000 }, "ann");
  await pause(300);
  assert.deepEqual(one.runs, []);
});

test("another user's submission of an id does not change the job that has it", async () => {
  await using node = await start(newOrders());
  const runAt = Date.now() + 600;
  const { id } = await node.submit(submission("mine", { user: "ann", runAt }));
  const theft = submission("not mine", { id, user: "eve", runAt: runAt + 60_000 });
  await assert.rejects(node.submit(theft), { code: 409 });
  node.room(1);
  const run = await node.nextRun();
  assert.deepEqual([textIn(run.body), run.user], ["mine", "ann"]);
  node.ended(run, answerOf("y"));
});

test("a job with a delay runs when it is due", async () => {
  await using node = await start(newOrders());
  node.room(5);
  const due = Date.now() + 700;
  const { id } = await node.submit(submission("x", { runAt: due, isDelay: true }));
  assert.equal((await node.ask({ type: "status", id, waitMs: 0 })).status.state, "scheduled");
  const run = await node.nextRun();
  const late = Date.now() - due;
  assert(late >= 0 && late < 1000, `${late} ms late`);
  node.ended(run, answerOf("y"));
  assert.equal((await node.ask({ type: "result", id, waitMs: 10_000 })).status.state, "done");
});

test("jobs wait for others, and fail with them", async () => {
  const nats = newOrders();
  await using one = await start(nats);
  await using other = await start(nats);
  const first = await one.submit(submission("first", { retries: 0 }));
  const second = await other.submit(submission("second", { after: [first.id] }));
  const third = await one.submit(submission("third", { after: [second.id] }));
  await assert.rejects(
    one.submit(submission("x", { after: [`j-${"1".repeat(32)}`] })),
    { code: 404 },
  );
  one.room(5);
  const run = await one.nextRun();
  assert.equal(textIn(run.body), "first");
  one.ended(run, answerOf("y"));
  const next = await one.nextRun();
  assert.equal(textIn(next.body), "second");
  one.ended(next, errorOf(400, "no"));
  const { status } = await other.ask({ type: "result", id: third.id, waitMs: 20_000 });
  assert.deepEqual([status.state, status.code], ["failed", 424]);
});

test("a cancelled job does not start, and a running one is told", async () => {
  const nats = newOrders();
  await using one = await start(nats);
  await using other = await start(nats);
  const waiting = await one.submit(submission("waiting"));
  assert.equal((await other.ask({ type: "cancel", id: waiting.id })).status.state, "cancelled");
  assert.equal((await other.ask({ type: "cancel", id: waiting.id })).status.state, "cancelled");
  one.room(5);
  const running = await one.submit(submission("running"));
  const run = await one.nextRun();
  assert.equal(textIn(run.body), "running");
  assert.equal((await other.ask({ type: "cancel", id: running.id })).status.state, "cancelled");
  await until("the run is cancelled", () => one.cancelled.includes(run.run));
  one.ended(run, answerOf("too late"));
  const { status, result } = await one.ask({ type: "result", id: running.id, waitMs: 0 });
  assert.deepEqual([status.state, result], ["cancelled", undefined]);
  await assert.rejects(
    one.ask({ type: "status", id: `j-${"2".repeat(32)}`, waitMs: 0 }),
    (error: unknown) => error instanceof StoreRefusedError && error.code === 404,
  );
});

test("a job that is forgotten is not known any more, and its id is not stored again", async () => {
  await using node = await start(newOrders());
  const { id } = await node.submit(submission("x"));
  node.room(1);
  node.ended(await node.nextRun(), answerOf("y"));
  await node.ask({ type: "result", id, waitMs: 10_000 });
  await node.ask({ type: "forget", id });
  await assert.rejects(node.ask({ type: "status", id, waitMs: 0 }), { code: 404 });
  assert.deepEqual(await node.submit(submission("x", { id })), { id, isNew: true });
});

test("what a try has kept comes to the next, and progress to those who wait", async () => {
  await using node = await start(newOrders());
  node.room(5);
  const { id } = await node.submit(submission("x", { backoff: { firstMs: 20, maxMs: 20 } }));
  const run = await node.nextRun();
  node.say({ type: "progress", run: run.run, done: 1, total: 2, note: "half" });
  await until("progress is known", async () => {
    const { status } = await node.ask({ type: "status", id, waitMs: 0 });
    return status.progress?.note === "half";
  });
  await node.checkpoint(run.run, "so far");
  node.ended(run, errorOf(503, "again"));
  const next = await node.nextRun();
  assert.equal(next.checkpoint && textIn(next.checkpoint), "so far");
  node.ended(next, answerOf("y"));
  assert.equal((await node.ask({ type: "result", id, waitMs: 10_000 })).status.state, "done");
});

test("jobs of high priority come first, and low ones come too", async () => {
  await using node = await start(newOrders());
  for (let index = 0; index < 4; index++) {
    await node.submit(submission(`low ${index}`, { priority: 0 }));
    await node.submit(submission(`high ${index}`, { priority: 9 }));
  }
  await pause(100);
  const bodies: string[] = [];
  for (let index = 0; index < 8; index++) {
    node.room(1);
    const run = await node.nextRun();
    bodies.push(textIn(run.body));
    node.ended(run, answerOf("y"));
  }
  assert(bodies.slice(0, 4).every((body) => body.startsWith("high")), bodies.join(", "));
  assert.equal(bodies.filter((body) => body.startsWith("low")).length, 4);
});

test("a paused service runs nothing on any node until it is resumed", async () => {
  const nats = newOrders();
  await using one = await start(nats);
  await using other = await start(nats);
  await one.operate({ type: "pause", service: "" });
  await pause(200);
  other.room(5);
  const { id } = await one.submit(submission("x"));
  await pause(400);
  assert.deepEqual(other.runs, []);
  const { figures } = await other.operate({ type: "figures" }) as {
    figures: { services: Record<string, { paused: boolean; states: Record<string, number> }> };
  };
  assert.equal(figures.services[""]?.paused, true);
  assert.equal(figures.services[""]?.states.waiting, 1);
  await one.operate({ type: "resume", service: "" });
  other.ended(await other.nextRun(), answerOf("y"));
  await one.ask({ type: "result", id, waitMs: 10_000 });
});

test("operators list, look at and delete jobs, and retry the dead", async () => {
  await using node = await start(newOrders());
  node.room(10);
  const ids: string[] = [];
  for (let index = 0; index < 3; index++) {
    const { id } = await node.submit(submission(`x${index}`, { retries: 0 }));
    ids.push(id);
    node.ended(await node.nextRun(), errorOf(500, "no"));
    await node.ask({ type: "result", id, waitMs: 10_000 });
  }
  const list = await node.operate({ type: "list", state: "failed", limit: 2 });
  assert(list.type === "list");
  assert.deepEqual([list.total, list.jobs.map(({ id }) => id)], [3, ids.slice(0, 2)]);
  const more = await node.operate({ type: "list", limit: 2, after: ids[1] ?? "" });
  assert(more.type === "list");
  assert.deepEqual(more.jobs.map(({ id }) => id), ids.slice(2));
  const look = await node.operate({ type: "look", id: ids[0] ?? "", body: true });
  assert(look.type === "look");
  assert.equal(look.body && textIn(look.body), "x0");
  assert.equal(look.result && textIn(look.result), "no");
  await node.operate({ type: "delete", id: ids[2] ?? "" });
  assert.deepEqual(await node.operate({ type: "retryDead", service: "" }), {
    type: "done",
    count: 2,
  });
  node.ended(await node.nextRun(), answerOf("y"));
  node.ended(await node.nextRun(), answerOf("y"));
  await assert.rejects(node.operate({ type: "backup", file: "/x" }), /nats account backup/);
});

test("a job goes to another node when its node says nothing any more", async () => {
  const nats = newOrders({ ackWait: 1000 });
  const one = await start(nats);
  await using other = await start(nats);
  const { id } = await other.submit(submission("x"));
  one.room(1);
  const run = await one.nextRun();
  await one.close();
  other.room(1);
  const again = await other.nextRun();
  assert.deepEqual([again.id, again.attempt], [run.id, 1]);
  other.ended(again, answerOf("y"));
  assert.equal((await other.ask({ type: "result", id, waitMs: 10_000 })).status.state, "done");
});

/** Has a node run many quick jobs, and then a slow one with three more at hand; the ids of these four. */
async function makeReady(one: StoreUserRig): Promise<string[]> {
  const end = performance.now() + 1500;
  let isFull = false;
  let ran = 0;
  one.onRun = (run) => {
    ran++;
    if (isFull) return;
    one.ended(run, answerOf("quick"));
    one.room(1);
  };
  one.room(1);
  while (performance.now() < end) await one.submit(submission("quick"));
  await until("all are done", async () => {
    const answer = await one.operate({ type: "list", state: "waiting", limit: 1 });
    return answer.type === "list" && answer.total === 0;
  });
  isFull = true;
  one.room(1);
  const before = ran;
  const all = await Promise.all(Array.from({ length: 4 }, () => one.submit(submission("slow"))));
  await until("one runs", () => ran > before);
  return all.map(({ id }) => id);
}

test("what a node has ready goes to others when it stops", async () => {
  const nats = newOrders({ ackWait: 30_000 });
  const one = await start(nats);
  const ids = await makeReady(one);
  await using other = await start(nats);
  await one.close();
  other.room(4);
  const runs = [await other.nextRun(), await other.nextRun(), await other.nextRun()];
  const given = [...runs, await other.nextRun()].map(({ id }) => id);
  assert.deepEqual(given.sort(), ids.sort());
});

test("what a node has ready goes to others when it has had no room for a while", async () => {
  const nats = newOrders({ ackWait: 30_000 });
  await using one = await start(nats);
  const ids = await makeReady(one);
  await using other = await start(nats);
  other.room(4);
  const runs = [await other.nextRun(), await other.nextRun(), await other.nextRun()];
  assert(runs.every(({ id, attempt }) => ids.includes(id) && attempt === 1));
  assert.equal(new Set(runs.map(({ id }) => id)).size, 3);
});

test("a full store refuses with 507 and the reason", async () => {
  const config = { ...freeConfig(), storeJobs: 3 };
  await using node = await start(newOrders(), config);
  for (let index = 0; index < 3; index++) await node.submit(submission("x"));
  await assert.rejects(node.submit(submission("x")), { code: 507, message: /storeJobs/ });
});

test("jobs of a group, and a rate, are bounded on a node", async () => {
  const config = freeConfig();
  config.services = {
    "": { maxRunningPerGroup: 1, rate: { perSecond: 0, burst: 0 } },
    slow: { maxRunningPerGroup: 0, rate: { perSecond: 5, burst: 1 } },
  };
  await using node = await start(newOrders(), config);
  node.room(10);
  for (let index = 0; index < 3; index++) await node.submit(submission("x", { group: "g" }));
  const first = await node.nextRun();
  await pause(600);
  assert.deepEqual(node.runs, []);
  node.ended(first, answerOf("y"));
  node.ended(await node.nextRun(), answerOf("y"));
  node.ended(await node.nextRun(), answerOf("y"));
  for (let index = 0; index < 4; index++) {
    await node.submit(submission("x", { service: "slow" }));
  }
  const since = performance.now();
  node.room(10, "slow");
  for (let index = 0; index < 4; index++) node.ended(await node.nextRun(), answerOf("y"));
  const took = performance.now() - since;
  assert(took >= 550, `4 starts took ${took} ms at 5 a second`);
});

test("a job that has not started in time is expired", async () => {
  await using node = await start(newOrders());
  const { id } = await node.submit(submission("x", { expiresAt: Date.now() + 200 }));
  await pause(250);
  node.room(1);
  const { status } = await node.ask({ type: "result", id, waitMs: 10_000 });
  assert.equal(status.state, "expired");
  await pause(200);
  assert.deepEqual(node.runs, []);
});

test("a job that started in its last moment does not expire when another node looks at it", async () => {
  const nats = newOrders();
  await using one = await start(nats);
  await using other = await start(nats);
  one.room(100);
  await pause(300);
  /** Undefined: the machine was too slow, and it did not start in time. */
  const startInTime = async () => {
    const expiresAt = Date.now() + 60;
    const { id } = await one.submit(submission("x", { expiresAt }));
    const isOver = async () => {
      const { status } = await one.ask({ type: "status", id, waitMs: 0 });
      return status.state === "expired";
    };
    const run = await until("it starts", async () => one.runs.shift() ?? (await isOver() && "no"));
    return run === "no" ? undefined : { run, expiresAt };
  };
  const { run, expiresAt } = await until("one starts in time", startInTime);
  while (Date.now() <= expiresAt) await pause(1);
  await other.ask({ type: "status", id: run.id, waitMs: 0 });
  one.ended(run, answerOf("y"));
  const { status } = await other.ask({ type: "result", id: run.id, waitMs: 10_000 });
  assert.equal(status.state, "done");
});

slowTest("results are removed after their time", async () => {
  const config = { ...freeConfig(), resultTtl: 500, deadTtl: 500 };
  await using node = await start(newOrders(), config);
  node.room(5);
  const { id } = await node.submit(submission("x"));
  node.ended(await node.nextRun(), answerOf("y"));
  const dead = await node.submit(submission("x"));
  node.ended(await node.nextRun(), errorOf(400, "no"));
  await node.ask({ type: "result", id: dead.id, waitMs: 10_000 });
  for (const gone of [id, dead.id]) {
    await until(
      "it is gone",
      () => node.ask({ type: "status", id: gone, waitMs: 0 }).then(() => false, () => true),
    );
  }
});

test("who watches hears of jobs that have ended", async () => {
  await using node = await start(newOrders());
  node.say({ type: "watch", isOn: true });
  node.room(5);
  const { id } = await node.submit(submission("x"));
  node.ended(await node.nextRun(), answerOf("y"));
  await until("it is told", () => node.overs.length > 0);
  assert.deepEqual(node.overs, [
    { type: "over", id, service: "", state: "done", attempt: 1, code: 200 },
  ]);
});

slowTest("a schedule's due times are submitted once by several nodes", async () => {
  const config = freeConfig();
  const rule = { cron: "* * * * * *", timeZone: "", service: "", body: "tick", catchUpMs: 0 };
  config.schedules = { often: rule };
  const nats = newOrders();
  await using one = await start(nats, config);
  await using other = await start(nats, config);
  one.room(100);
  other.room(100);
  await until("three were due", () => one.runs.length + other.runs.length >= 3);
  await pause(100);
  const runs = [...one.runs, ...other.runs];
  const keys: string[] = [];
  for (const { id } of runs) {
    keys.push((await one.ask({ type: "status", id, waitMs: 0 })).status.key);
  }
  assert.equal(new Set(keys).size, keys.length, keys.join(", "));
  const times = keys.map((key) => Date.parse(key.slice("schedule:often:".length))).sort();
  const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  assert(gaps.every((gap) => gap === 1000), `${gaps}`);
});

test("while NATS is gone submissions are refused, and what has ended is kept until it is back", async () => {
  await using own = await NatsServers.start();
  const [server] = own.servers;
  const config = { ...freeConfig(), submitTimeout: 500 };
  const nats = newOrders({ ackWait: 20_000 });
  await using node = await StoreUserRig.start(openStore, own.url, { config, nats });
  node.room(5);
  const { id } = await node.submit(submission("x"));
  const run = await node.nextRun();
  await server?.kill();
  await until("that is told", () => node.failure !== "");
  await assert.rejects(node.submit(submission("x")), { code: 503, message: /can't be reached/ });
  node.ended(run, answerOf("kept"));
  server?.start();
  await until("it is open again", () => node.isOpen);
  const { result } = await node.ask({ type: "result", id, waitMs: 20_000 });
  assert.equal(result && textIn(result), "kept");
  const other = await node.submit(submission("y"));
  node.ended(await node.nextRun(), answerOf("z"));
  await node.ask({ type: "result", id: other.id, waitMs: 20_000 });
});

/** How long a node takes to stop, ms. */
async function timeToStop(node: StoreUserRig): Promise<number> {
  const before = performance.now();
  await node.close();
  return performance.now() - before;
}

test("a node stops soon when NATS is gone and nothing is to be stored", async () => {
  await using own = await NatsServers.start();
  const [server] = own.servers;
  const nodes = { silent: await open(), gone: await open() };
  async function open() {
    const node = await StoreUserRig.start(openStore, own.url, { nats: newOrders() });
    node.room(5);
    await node.submit(submission("x"));
    const { run } = await node.nextRun();
    await until("it is the keeper", () => isKeeper(own, `test${installations}`));
    return { node, run };
  }
  server?.signal("SIGSTOP");
  // How far a job is that runs needs not be stored.
  const { node, run } = nodes.silent;
  node.say({ type: "progress", run, done: 1, total: 2, note: "half" });
  await pause(600);
  const silent = await timeToStop(node);
  server?.signal("SIGCONT");
  await server?.kill();
  const gone = await timeToStop(nodes.gone.node);
  assert(silent < 5000 && gone < 5000, `${silent} ms and ${gone} ms`);
});

/** Whether a node of an installation is its keeper, which has something to say when it stops. */
async function isKeeper({ servers: [server] }: NatsServers, prefix: string): Promise<boolean> {
  const url = `http://127.0.0.1:${server?.monitor}/jsz?streams=1`;
  const text = await (await fetch(url)).text();
  const { stream_detail: streams } = JSON.parse(text).account_details[0];
  const keys = streams.find(({ name }: { name: string }) => name === `KV_${prefix}_keys`);
  return keys?.state.messages > 0;
}

slowTest(
  "results that can't be stored are waited for when a node stops, and then told of",
  async () => {
    await using own = await NatsServers.start();
    const nats = newOrders();
    const node = await StoreUserRig.start(openStore, own.url, { nats });
    node.room(5);
    await node.submit(submission("x"));
    const run = await node.nextRun();
    await own.servers[0]?.kill();
    await until("that is told", () => node.failure !== "");
    node.ended(run, answerOf("y"));
    const took = await timeToStop(node);
    assert(took > 7500 && took < 10_000, `${took} ms`);
    assert.equal(
      node.logs.at(-1)?.message,
      "results could not be stored: their jobs will run again",
    );
    own.servers[0]?.start();
    await using other = await StoreUserRig.start(openStore, own.url, { nats });
    other.room(1);
    other.ended(await other.nextRun(), answerOf("z"));
  },
);

slowTest("a server that is not there is waited for, and one that refuses is told of", async () => {
  await using own = await NatsServers.start({
    more: 'authorization { user: ann, password: "s p" }',
  });
  const [server] = own.servers;
  const stranger = await StoreUserRig.start(openStore, own.url, {
    nats: newOrders(),
    waits: false,
  });
  await until("it is refused", () => /uthoriz/.test(stranger.failure));
  await assert.rejects(stranger.submit(submission("x")), { code: 503 });
  await stranger.close();
  const url = own.url.replace("nats://", "nats://ann:s%20p@");
  await server?.kill();
  await using node = await StoreUserRig.start(openStore, url, { nats: newOrders(), waits: false });
  await until("it is told", () => node.failure !== "");
  assert(!node.failure.includes("s p") && !node.failure.includes("s%20p"), node.failure);
  server?.start();
  await until("it is open", () => node.isOpen);
  await node.submit(submission("x"));
});

test("what is larger than NATS takes is refused, and never sent", async () => {
  await using node = await start(newOrders());
  node.room(5);
  const large = "x".repeat(1_000_000);
  await assert.rejects(node.submit(submission(large)), { code: 413, message: /max_payload/ });
  const { id } = await node.submit(submission("x"));
  const run = await node.nextRun();
  await assert.rejects(node.checkpoint(run.run, large), { code: 413 });
  node.ended(run, answerOf(large));
  const { status } = await node.ask({ type: "result", id, waitMs: 10_000 });
  assert.deepEqual([status.state, status.code], ["failed", 500]);
  assert.match(status.message ?? "", /1000000 bytes/);
  assert.equal(node.failure, "", "the connection was not ended");
});

slowTest("services that workers make have at most 1,000 names, on every node", async () => {
  const nats = newOrders();
  const config = { ...freeConfig(), anyService: true };
  await using one = await start(nats, config);
  const named = (number: number) => submission("x", { service: `made${number}` });
  for (let number = 1; number < 1000; number++) await one.submit(named(number));
  await assert.rejects(one.submit(named(1000)), { code: 404 });
  await one.submit(named(999));
  await one.submit(submission("x"));
  await using other = await start(nats, config);
  await until("it knows them", async () => {
    const resumed = other.operate({ type: "resume", service: "made999" });
    return await resumed.then(() => true, () => false);
  });
  await assert.rejects(other.submit(named(1000)), { code: 404 });
  // What has a name runs.
  one.room(1, "made999");
  const run = await one.nextRun();
  assert.equal(run.service, "made999");
  one.ended(run, answerOf("y"));
});

slowTest("a delayed job whose node is gone runs on another one", async () => {
  const nats = newOrders();
  const one = await start(nats);
  const { id } = await one.submit(submission("x", { runAt: Date.now() + 800 }));
  await one.close();
  await using other = await start(nats);
  other.room(1);
  const run = await other.nextRun();
  assert.equal(run.id, id);
  other.ended(run, answerOf("y"));
});

slowTest("a result that comes after another node's is thrown away", async () => {
  const [server] = servers?.servers ?? [];
  let isCut = false;
  // Longer than it takes to see that nothing comes.
  const delay = () => isCut ? 20_000 : 0;
  using proxy = new SlowProxy("127.0.0.1", { port: server?.port ?? 0 }, delay);
  const url = proxy.endpoint.replace("tcp://", "nats://");
  const nats = newOrders({ ackWait: 1000 });
  await using one = await StoreUserRig.start(openStore, url, { nats });
  await using other = await start(nats);
  one.room(1);
  const { id } = await other.submit(submission("x"));
  const first = await one.nextRun();
  isCut = true;
  other.room(1);
  const second = await other.nextRun();
  assert.deepEqual([second.id, second.attempt], [id, 1], "that its node is gone is no try");
  other.ended(second, answerOf("second"));
  const { result } = await other.ask({ type: "result", id, waitMs: 10_000 });
  assert.equal(result && textIn(result), "second");
  one.ended(first, answerOf("first"));
  await until("it has lost NATS", () => one.failure !== "");
  isCut = false;
  await until("it is back", () => one.isOpen);
  await pause(300);
  const again = await one.ask({ type: "result", id, waitMs: 0 });
  assert.equal(again.result && textIn(again.result), "second");
});

slowTest("a job whose body NATS has lost is found, and fails", async () => {
  const nats = newOrders();
  await using node = await start(nats);
  const { id } = await node.submit(submission("x"));
  const { connect } = await import(NATS_TRANSPORT);
  const connection = await connect({ servers: servers?.url.replace("nats://", "") });
  await connection.request(`$JS.API.STREAM.PURGE.${nats.prefix}_work`, "{}");
  await connection.close();
  node.room(1);
  const failed = async () => {
    const { status } = await node.ask({ type: "status", id, waitMs: 0 });
    return status.state === "failed" && status;
  };
  const status = await until("it has failed", failed, 150_000);
  assert.deepEqual([status.code, status.attempt], [500, 0]);
  assert.match(status.message ?? "", /does not have its body/);
  assert(node.logs.some(({ level, message }) => level === "error" && /body/.test(message)));
});
