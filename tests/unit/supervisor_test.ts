/**
 * The Supervisor with a clock, a broker and processes that only exist as numbers.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import {
  type Action,
  type CpuReading,
  type Ending,
  type Limits,
  Supervisor,
} from "../../pool/supervisor.ts";
import { isLeaving, workersOf } from "../models/supervisor_model.ts";
import { randomFractions } from "../rig/random.ts";

const LIMITS: Limits = {
  minWorkers: 2,
  maxWorkers: 6,
  minSpareWorkers: 1,
  maxSpareWorkers: 6,
  maxRequests: 0,
  maxRequestsJitter: 0,
  maxMemory: 0,
  maxMemoryJitter: 0,
  maxAge: 0,
  maxAgeJitter: 0,
  checkForSpawnInterval: 30_000,
  checkForWaitingInterval: 10_000,
  minChildTtl: 10_000,
  startDelay: 0,
  startTimeout: 10_000,
  abortGrace: 1000,
  stopTimeout: 5_000,
  dequeueInterval: 0,
  maxDequeueWorkers: 1,
  babysitInterval: 0,
  rogueCpuTime: 10_000,
};

const ENDINGS: readonly Ending[] = ["ok", "broken", "harmed"];
const NOBODY = { minWorkers: 0, maxWorkers: 0 };
/** For a timeout that is not to play a part. */
const NEVER = 1e9;

interface Options {
  cpus?: number;
  random?: () => number;
}

/** A supervisor, its clock, and the broker's view of its workers. Actions are told as words. */
class Pool {
  readonly supervisor: Supervisor;
  now = 0;
  wait = 0;
  lastJobAt = 0;
  readonly limits: Limits;
  readonly #idle = new Map<number, number>();
  readonly #answered = new Map<number, number>();
  readonly #taken = new Set<number>();

  constructor(limits: Partial<Limits> = {}, { cpus = 2, random = () => 0.5 }: Options = {}) {
    this.limits = { ...LIMITS, ...limits };
    this.supervisor = new Supervisor(this.limits, { cpus, random });
  }

  idleSince(worker: number): number | undefined {
    return this.#idle.get(worker);
  }

  answered(worker: number): number {
    return this.#answered.get(worker) ?? 0;
  }

  busy(worker: number): boolean {
    return this.#taken.has(worker);
  }

  actions(): string[] {
    return this.supervisor.takeActions().map(words);
  }

  /** Ticks once, `ms` later, however long that is. */
  tick(ms = 0): string[] {
    this.now += ms;
    this.wait = this.supervisor.tick(this.now, this);
    assert.ok(this.wait > 0, `a wait of ${this.wait} would spin`);
    assert.ok(this.wait <= 1_000 || this.supervisor.stopped, `a wait of ${this.wait}`);
    return this.actions();
  }

  /** Lets `ms` pass, ticking whenever that was asked for. */
  pass(ms: number): string[] {
    const end = this.now + ms;
    const told = this.tick();
    while (this.now + this.wait < end) told.push(...this.tick(this.wait));
    return told.concat(this.tick(end - this.now));
  }

  ready(...workers: number[]): void {
    for (const worker of workers) {
      assert.ok(this.supervisor.ready(worker, this.now), `${worker} is not expected`);
      this.#idle.set(worker, this.now);
    }
  }

  /** Brings `count` workers up and lets them prove themselves. */
  boot(count = this.limits.minWorkers): this {
    this.tick();
    while (this.state("ready").length < count) {
      const starting = this.state("starting");
      assert.ok(starting.length > 0, "nobody starts");
      this.ready(...starting);
      this.tick();
    }
    this.pass(1_000);
    return this;
  }

  take(...workers: number[]): void {
    this.lastJobAt = this.now;
    for (const worker of workers) {
      this.#idle.delete(worker);
      this.#taken.add(worker);
    }
  }

  answer(worker: number, jobs = 1): void {
    this.#taken.delete(worker);
    this.#idle.set(worker, this.now);
    this.#answered.set(worker, this.answered(worker) + jobs);
  }

  exit(worker: number, ending: Ending = "ok"): string | undefined {
    this.#idle.delete(worker);
    this.#taken.delete(worker);
    return this.supervisor.exited(worker, this.now, ending);
  }

  read(worker: number, job: number | undefined, cpuTime: number): string[] {
    const readings: CpuReading[] = [{ worker, job, cpuTime }];
    this.supervisor.rogueReadings(readings, this.now);
    return this.actions();
  }

  grow(worker: number, bytes: number): void {
    this.supervisor.memoryReadings([{ worker, bytes }], this.now);
  }

  state(state: "starting" | "ready" | "stopping"): number[] {
    const views = workersOf(this.supervisor).filter((it) =>
      state === "stopping" ? isLeaving(it) : it.state === state
    );
    return views.map(({ worker }) => worker);
  }

  reason(worker: number): string | undefined {
    return this.supervisor.worker(worker)?.reason;
  }
}

function words(action: Action): string {
  if (action.type === "spawn" && action.purpose === "dequeue") return `dequeue ${action.worker}`;
  if (action.type === "kill") return `${action.signal.slice(3)} ${action.worker}`;
  if (action.type === "reloaded") return action.type;
  if (action.type === "reloadFailed") return `${action.type}: ${action.message}`;
  return `${action.type} ${action.worker}`;
}

function countSpawns(told: string[]): number {
  return told.filter((it) => it.startsWith("spawn")).length;
}

// ---- starting

Deno.test("Supervisor starts minWorkers when it is new, at most cpus at a time", () => {
  const pool = new Pool({ minWorkers: 5 });
  assert.deepEqual(pool.tick(), ["spawn 1", "spawn 2"]);
  assert.deepEqual(pool.tick(10), []);
  pool.ready(2);
  assert.deepEqual(pool.tick(), ["spawn 3"]);
  pool.ready(1, 3);
  assert.deepEqual(pool.tick(), ["spawn 4", "spawn 5"]);
  pool.ready(4, 5);
  assert.deepEqual(pool.pass(5_000), []);
  assert.deepEqual(pool.state("ready"), [1, 2, 3, 4, 5]);
});

Deno.test("Supervisor ready is false when the worker is unknown, ready already, or stopping", () => {
  const pool = new Pool();
  pool.tick();
  assert.equal(pool.supervisor.everReady, false);
  assert.equal(pool.supervisor.ready(99, 0), false);
  assert.equal(pool.supervisor.ready(1, 0), true);
  assert.equal(pool.supervisor.everReady, true);
  assert.equal(pool.supervisor.ready(1, 0), false);
  pool.supervisor.stop(0);
  assert.equal(pool.supervisor.ready(1, 0), false);
  assert.equal(pool.supervisor.ready(2, 0), false);
});

Deno.test("Supervisor replaces a worker at once when it dies after it was good", () => {
  const pool = new Pool().boot();
  assert.equal(pool.exit(1), "crashed");
  assert.deepEqual(pool.tick(), ["spawn 3"]);
  assert.equal(pool.exit(1), undefined);
});

Deno.test("Supervisor kills a worker when it is starting for longer than startTimeout", () => {
  const pool = new Pool({ minWorkers: 1 });
  pool.tick();
  pool.now = 400;
  pool.supervisor.spawned(1, 400);
  assert.deepEqual(pool.pass(9_999), []);
  assert.deepEqual(pool.tick(1), ["KILL 1"]);
  assert.deepEqual(pool.pass(74), [], "it backs off");
  assert.deepEqual(pool.tick(1), ["spawn 2"]);
  assert.deepEqual(pool.pass(9_000), [], "one KILL is enough");
  assert.equal(pool.exit(1), "timeout");
});

// ---- back-off

Deno.test("Supervisor backs off from 100 ms to 30 s when starts fail, and starts one at a time", () => {
  const pool = new Pool({ minWorkers: 4 }, { random: () => 1 });
  pool.tick();
  assert.equal(pool.exit(1), "failed");
  assert.equal(pool.exit(2), "failed");
  let worker = 2;
  for (const delay of [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]) {
    assert.deepEqual(pool.pass(delay - 1), [], `${delay} ms have not passed`);
    assert.deepEqual(pool.tick(1), [`spawn ${++worker}`]);
    assert.equal(pool.exit(worker), "failed");
  }
});

Deno.test("Supervisor shortens a back-off by up to half when random says so", () => {
  for (const [random, delay] of [[0, 50], [0.5, 75], [1, 100]] as const) {
    const pool = new Pool({}, { random: () => random });
    pool.tick();
    pool.exit(1);
    pool.exit(2);
    assert.deepEqual(pool.pass(delay - 1), []);
    assert.deepEqual(pool.tick(1), ["spawn 3"]);
  }
});

const DEATHS: Record<string, (pool: Pool, worker: number) => void> = {
  "die at once": (pool, worker) => pool.exit(worker),
  "can't load": (pool, worker) => pool.supervisor.loadFailed(worker, "no", pool.now),
  "die when ready": (pool, worker) => {
    pool.ready(worker);
    pool.exit(worker);
  },
  "leave when ready": (pool, worker) => {
    pool.ready(worker);
    pool.supervisor.leaving(worker, pool.now);
  },
};

for (const [how, die] of Object.entries(DEATHS)) {
  Deno.test(`Supervisor spawns at most 20 a minute when all workers ${how}`, () => {
    const pool = new Pool({ minWorkers: 4, maxWorkers: 100 }, { random: () => 0 });
    const spawns: number[] = [];
    while (pool.now < 300_000) {
      for (let told = pool.tick(); countSpawns(told) > 0; told = pool.tick()) {
        assert.ok(spawns.length < 1_000, "it does not back off");
        for (const worker of pool.state("starting")) {
          spawns.push(pool.now);
          die(pool, worker);
        }
      }
      pool.now += pool.wait;
    }
    assert.ok(spawns.length > 15, `it tried on: ${spawns.length}`);
    for (const start of spawns) {
      const minute = spawns.filter((at) => at >= start && at < start + 60_000).length;
      assert.ok(minute <= 20, `${minute} in the minute after ${start}`);
    }
  });
}

Deno.test("Supervisor spawns at most 20 a minute when workers live for 0.9 s", () => {
  const pool = new Pool({ minWorkers: 4 }, { random: () => 0 });
  let spawns = 0;
  for (; pool.now < 60_000; pool.now += 10) {
    spawns += countSpawns(pool.tick());
    pool.ready(...pool.state("starting"));
    const old = pool.state("ready").filter((it) => pool.idleSince(it)! <= pool.now - 900);
    for (const worker of old) pool.exit(worker);
  }
  assert.ok(spawns > 8 && spawns <= 20, `${spawns}`);
});

Deno.test("Supervisor counts a death as a failed start when the worker was ready for less than 1 s", () => {
  const pool = new Pool({ minWorkers: 1 });
  pool.pass(3_000);
  pool.ready(1);
  pool.pass(999);
  assert.equal(pool.exit(1), "crashed");
  assert.deepEqual(pool.pass(74), []);
  assert.deepEqual(pool.tick(1), ["spawn 2"]);
});

Deno.test("Supervisor replaces a young worker at once when it has answered a job", () => {
  const pool = new Pool();
  pool.tick();
  pool.ready(1, 2);
  pool.answer(1);
  pool.tick(10);
  assert.equal(pool.exit(1), "crashed");
  assert.deepEqual(pool.tick(), ["spawn 3"]);
});

for (const how of ["lives for 1 s", "answers a job"]) {
  Deno.test(`Supervisor forgets failed starts when a worker ${how}`, () => {
    const pool = new Pool({ minWorkers: 3, maxWorkers: 3 });
    pool.tick();
    pool.exit(1);
    pool.exit(2);
    assert.deepEqual(pool.pass(75), ["spawn 3"]);
    pool.ready(3);
    assert.deepEqual(pool.pass(999), [], "it is on trial");
    if (how === "answers a job") pool.answer(3);
    assert.deepEqual(pool.tick(how === "answers a job" ? 0 : 1), ["spawn 4", "spawn 5"]);
    pool.exit(4);
    pool.exit(5);
    assert.deepEqual(pool.pass(75), ["spawn 6"], "from the first delay");
  });
}

// ---- every process counts

/** All processes that serve, or have served. */
function living(pool: Pool): number {
  return workersOf(pool.supervisor).length;
}

Deno.test("Supervisor has at most twice maxWorkers processes when none of those that it recycles ends", () => {
  const limits = { minWorkers: 2, maxWorkers: 2, minSpareWorkers: 0, maxRequests: 5 };
  const pool = new Pool({ ...limits, stopTimeout: NEVER }, { cpus: 8 }).boot(2);
  let most = 0;
  for (; pool.now < 60_000; pool.tick(10)) {
    pool.ready(...pool.state("starting"));
    for (const worker of pool.state("ready")) pool.answer(worker);
    most = Math.max(most, living(pool));
    assert.equal(pool.state("ready").length, 2, "the pool is never short");
  }
  assert.equal(most, 4);
});

Deno.test("Supervisor has at most twice maxWorkers processes when jobs never end and workers are recycled", () => {
  const limits = { minWorkers: 2, maxWorkers: 2, minSpareWorkers: 0, maxAge: 1_000 };
  const pool = new Pool(limits, { cpus: 8 }).boot(2);
  let most = 0;
  for (; pool.now < 60_000; pool.tick(10)) {
    pool.ready(...pool.state("starting"));
    pool.take(...pool.state("ready"));
    most = Math.max(most, living(pool));
  }
  assert.equal(most, 4);
  assert.equal(pool.state("ready").length, 2);
});

Deno.test("Supervisor kills what leaves for too long when workers are missing and there is no room", () => {
  const limits = { minWorkers: 2, maxWorkers: 2, minSpareWorkers: 0, maxAge: 10_000 };
  const pool = new Pool({ ...limits, stopTimeout: 5_000 }, { cpus: 8 }).boot(2);
  pool.take(1, 2);
  pool.pass(10_000);
  pool.ready(3);
  pool.tick();
  pool.ready(4);
  assert.deepEqual(pool.pass(8_000), ["retire 2"], "a recycled worker ends its job");
  pool.supervisor.resize(1, 1, pool.now);
  assert.deepEqual(pool.tick(), ["retire 4"]);
  pool.exit(4);
  pool.exit(3);
  assert.deepEqual(pool.tick(), ["KILL 1"], "until others wait for its place");
  assert.deepEqual(pool.tick(100), []);
  pool.exit(1);
  assert.deepEqual(pool.tick(), ["spawn 5"]);
});

Deno.test("Supervisor evicts an isolated worker when it is in the way of a missing one", () => {
  const pool = new Pool({ minWorkers: 1, maxWorkers: 1, minSpareWorkers: 0 }).boot();
  for (const worker of [1, 2]) {
    pool.take(worker);
    pool.supervisor.isolated(worker, pool.now);
    const told = pool.tick();
    if (worker === 1) assert.deepEqual(told, ["spawn 2"]);
    pool.ready(...pool.state("starting"));
  }
  assert.deepEqual(pool.actions(), []);
  assert.deepEqual(pool.tick(), ["evict 1"], "nobody serves, and no process may be added");
});

Deno.test("Supervisor kills an isolated worker in time, however late it is asked to stop its jobs", () => {
  const pool = new Pool({ minWorkers: 1, minSpareWorkers: 0, abortGrace: 1000, stopTimeout: 5000 });
  pool.boot();
  pool.take(1);
  pool.supervisor.isolated(1, pool.now);
  assert.deepEqual(pool.pass(6500), ["spawn 2"]);
  pool.supervisor.overran(1, pool.now);
  assert.deepEqual(pool.tick(), ["TERM 1"]);
  pool.ready(2);
  assert.deepEqual(pool.tick(499), []);
  assert.deepEqual(pool.tick(1), ["KILL 1"]);
});

Deno.test("Supervisor waits for what is due as long as before when it overslept", () => {
  const pool = new Pool({ minWorkers: 1, babysitInterval: 3_000, dequeueInterval: 30_000 }).boot();
  pool.read(1, undefined, 0);
  pool.tick(60_000);
  assert.equal(pool.supervisor.babysitDue(pool.now), false);
  pool.tick(3_000);
  assert.equal(pool.supervisor.babysitDue(pool.now), true);
});

Deno.test("Supervisor replaces a worker that says its last word and lives on, and kills it after 1 s", () => {
  const pool = new Pool({ minWorkers: 2, maxWorkers: 2, minSpareWorkers: 0 }).boot(2);
  pool.supervisor.left(1, pool.now);
  assert.deepEqual(pool.pass(999), ["spawn 3"]);
  pool.ready(3);
  assert.deepEqual(pool.tick(1), ["KILL 1"]);
  assert.deepEqual(pool.pass(10_000), []);
  assert.equal(pool.exit(1), "left");
});

Deno.test("Supervisor kills a worker 1 s after its last word when it was asked to leave", () => {
  const pool = new Pool({ minWorkers: 1, stopTimeout: NEVER }).boot(1);
  pool.supervisor.stop(pool.now);
  pool.pass(3_000);
  pool.supervisor.left(1, pool.now);
  pool.supervisor.left(1, pool.now + 500);
  const told = pool.pass(999);
  assert.deepEqual(told.filter((it) => it.startsWith("KILL 1")), []);
  assert.deepEqual(pool.tick(1), ["KILL 1"]);
});

Deno.test("Supervisor gives a worker `leftGrace` after its last word where there is one", () => {
  const pool = new Pool({ minWorkers: 1, stopTimeout: NEVER, leftGrace: 5_000 }).boot(1);
  pool.supervisor.stop(pool.now);
  pool.supervisor.left(1, pool.now);
  const told = pool.pass(4_999);
  assert.deepEqual(told.filter((it) => it.startsWith("KILL 1")), []);
  assert.deepEqual(pool.tick(1), ["KILL 1"]);
});

Deno.test("Supervisor makes room at once when all that say their last word live on", () => {
  const pool = new Pool({ minWorkers: 2, maxWorkers: 2, minSpareWorkers: 0 }).boot(2);
  pool.supervisor.left(1, pool.now);
  pool.supervisor.left(2, pool.now);
  assert.deepEqual(pool.tick(), ["spawn 3", "spawn 4"]);
  pool.ready(3, 4);
  pool.answer(3);
  pool.answer(4);
  pool.tick();
  pool.supervisor.left(3, pool.now);
  assert.deepEqual(pool.tick(), ["KILL 1"]);
  pool.exit(1);
  assert.deepEqual(pool.tick(), ["spawn 5"]);
});

Deno.test("Supervisor is full again within 1 s when its workers are killed whenever they come up", () => {
  const pool = new Pool({ minWorkers: 4, maxWorkers: 4, minSpareWorkers: 0 }).boot(4);
  for (let wave = 0; wave < 12; wave++) {
    const living = [...pool.state("starting"), ...pool.state("ready")];
    if (wave % 3 === 2) pool.ready(...pool.state("starting"));
    for (const worker of living) pool.exit(worker, "harmed");
    pool.pass(110);
  }
  const killedAt = pool.now;
  while (pool.state("ready").length < 4 && pool.now < killedAt + 5_000) {
    pool.pass(100);
    pool.ready(...pool.state("starting"));
  }
  assert.ok(pool.now <= killedAt + 1_000, `full again after ${pool.now - killedAt} ms`);
});

Deno.test("Supervisor starts a worker at once when the only one was killed as soon as it was ready", () => {
  const pool = new Pool({ minWorkers: 1, minSpareWorkers: 0 }).boot();
  pool.exit(1, "harmed");
  assert.deepEqual(pool.tick(), ["spawn 2"]);
  pool.ready(2);
  pool.exit(2, "harmed");
  assert.deepEqual(pool.tick(), ["spawn 3"]);
  pool.pass(150);
  pool.exit(3, "harmed");
  assert.deepEqual(pool.pass(49), [], "it rests when that goes on");
  assert.deepEqual(pool.tick(1), ["spawn 4"]);
});

Deno.test("Supervisor spawns at most two a second when each worker is harmed at once for long", () => {
  const pool = new Pool({ minWorkers: 1, minSpareWorkers: 0 }).boot();
  pool.exit(1, "harmed");
  let spawns = 0;
  for (; pool.now < 61_000; pool.now += 10) {
    spawns += countSpawns(pool.tick());
    for (const worker of pool.state("starting")) pool.exit(worker, "harmed");
  }
  assert.ok(spawns > 60 && spawns < 140, `${spawns}`);
});

Deno.test("Supervisor backs off as ever when what it starts is killed and none was ever ready", () => {
  const pool = new Pool();
  pool.tick();
  pool.exit(1, "harmed");
  pool.exit(2, "harmed");
  assert.deepEqual(pool.pass(74), []);
  assert.deepEqual(pool.tick(1), ["spawn 3"]);
});

Deno.test("Supervisor tries again after 1 s, then ever later, when a process can't be made", () => {
  const pool = new Pool();
  pool.tick();
  pool.supervisor.spawnFailed(1, 0);
  pool.supervisor.spawnFailed(2, 0);
  assert.deepEqual(pool.supervisor.counts(), { starting: 0, ready: 0, stopping: 0, dequeue: 0 });
  let worker = 2;
  for (const delay of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
    assert.deepEqual(pool.pass(delay - 1), []);
    assert.deepEqual(pool.tick(1), [`spawn ${++worker}`]);
    pool.supervisor.spawnFailed(worker, pool.now);
  }
});

Deno.test("Supervisor starts at once when what kept processes from being made is over", () => {
  const pool = new Pool();
  pool.tick();
  pool.supervisor.spawnFailed(1, 0);
  pool.supervisor.spawnFailed(2, 0);
  assert.deepEqual(pool.pass(10), []);
  pool.supervisor.forgiveStarts();
  assert.deepEqual(pool.tick(), ["spawn 3", "spawn 4"]);
});

Deno.test("Supervisor waits for 1 s when a process can't be made during a shorter back-off", () => {
  const pool = new Pool();
  pool.tick();
  pool.exit(1);
  pool.supervisor.spawnFailed(2, 0);
  assert.deepEqual(pool.pass(999), []);
  assert.deepEqual(pool.tick(1), ["spawn 3"]);
});

// ---- scaling

Deno.test("Supervisor starts spares when fewer than minSpareWorkers are idle, up to maxWorkers", () => {
  const pool = new Pool({ minSpareWorkers: 2, maxWorkers: 5 }, { cpus: 4 }).boot();
  pool.take(1);
  assert.deepEqual(pool.tick(), ["spawn 3"]);
  assert.deepEqual(pool.tick(), [], "who is starting will be idle");
  pool.take(2);
  assert.deepEqual(pool.tick(), ["spawn 4"]);
  pool.ready(3, 4);
  pool.take(3, 4);
  assert.deepEqual(pool.tick(), ["spawn 5"], "no more than maxWorkers");
  pool.ready(5);
  pool.take(5);
  assert.deepEqual(pool.pass(5_000), []);
});

Deno.test("Supervisor starts spares cpus at a time when many are missing", () => {
  const pool = new Pool({ minSpareWorkers: 5, maxWorkers: 9, minWorkers: 1 });
  assert.deepEqual(pool.tick(), ["spawn 1", "spawn 2"]);
  pool.ready(1, 2);
  assert.deepEqual(pool.tick(), ["spawn 3", "spawn 4"]);
});

/** Six idle workers, the higher ones idle for longer, past `minChildTtl`. */
function idlePool(limits: Partial<Limits>): Pool {
  const pool = new Pool({ stopTimeout: NEVER, ...limits, minWorkers: 6 }).boot();
  pool.pass(20_000);
  for (const worker of [6, 5, 4, 3, 2, 1]) {
    pool.answer(worker);
    pool.lastJobAt = pool.now += 1;
  }
  pool.supervisor.configure({ ...pool.limits, minWorkers: 2, ...limits }, pool.now);
  return pool;
}

Deno.test("Supervisor culls the longest idle when more than maxSpareWorkers are idle", () => {
  const pool = idlePool({ maxSpareWorkers: 3 });
  assert.deepEqual(pool.pass(10_000), ["retire 6", "retire 5", "retire 4"]);
  assert.equal(pool.reason(6), "culled");
  assert.equal(pool.exit(6), "culled");
  assert.deepEqual(pool.pass(4_000), [], "the others are not surplus");
});

Deno.test("Supervisor culls no busy worker when more than maxSpareWorkers are idle", () => {
  const pool = idlePool({ maxSpareWorkers: 1 });
  pool.take(6, 5, 4);
  assert.deepEqual(pool.pass(10_000), ["retire 3", "retire 2"]);
});

Deno.test("Supervisor culls nobody below minWorkers when all are idle", () => {
  const pool = idlePool({ maxSpareWorkers: 1, minWorkers: 4 });
  assert.deepEqual(pool.pass(10_000), ["retire 6", "retire 5"]);
});

Deno.test("Supervisor culls once a checkForWaitingInterval when workers become idle", () => {
  const pool = idlePool({ maxSpareWorkers: 2 });
  pool.take(3, 4, 5, 6);
  pool.answer(3);
  const told = pool.tick();
  while (told.length === 0) told.push(...pool.tick(pool.wait));
  assert.deepEqual(told, ["retire 2"]);
  pool.answer(4);
  assert.deepEqual(pool.pass(9_999), []);
  assert.deepEqual(pool.tick(1), ["retire 1"]);
});

Deno.test("Supervisor culls nobody when a worker was started within minChildTtl", () => {
  const pool = idlePool({ maxSpareWorkers: 2, checkForWaitingInterval: 0 });
  pool.take(1, 2, 3, 4, 5, 6);
  pool.exit(6);
  assert.deepEqual(pool.tick(), ["spawn 7"]);
  pool.ready(7);
  for (const worker of [1, 2, 3, 4, 5]) pool.answer(worker);
  assert.deepEqual(pool.pass(9_999), []);
  assert.equal(pool.tick(1).length, 4);
});

Deno.test("Supervisor culls nobody when it reloads", () => {
  const pool = idlePool({ maxSpareWorkers: 1, checkForWaitingInterval: 0, minChildTtl: 0 });
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.pass(5_000), ["spawn 7"]);
});

Deno.test("Supervisor culls as usual when dequeue workers come and go", () => {
  const pool = idlePool({ maxSpareWorkers: 4, dequeueInterval: 6_000, maxDequeueWorkers: 9 });
  const told = pool.pass(12_000).filter((it) => it.startsWith("retire"));
  assert.deepEqual(told, ["retire 6", "retire 5"]);
});

Deno.test("Supervisor shrinks to minWorkers when there was no job for checkForSpawnInterval", () => {
  const pool = new Pool({ minSpareWorkers: 2, stopTimeout: NEVER }).boot();
  pool.take(1, 2);
  pool.tick();
  pool.ready(3, 4);
  pool.pass(20_000);
  for (const worker of [2, 3, 4, 1]) {
    pool.lastJobAt = pool.now += 1;
    pool.answer(worker);
  }
  assert.deepEqual(pool.pass(29_999), []);
  assert.deepEqual(pool.pass(10_000), ["retire 2", "retire 3"]);
  for (const worker of [2, 3]) assert.equal(pool.exit(worker), "culled");
  assert.deepEqual(pool.pass(600_000), [], "and nobody comes back");
});

Deno.test("Supervisor keeps a busy worker when it shrinks", () => {
  const pool = idlePool({});
  pool.take(6);
  assert.deepEqual(pool.pass(45_000), ["retire 5", "retire 4", "retire 3", "retire 2"]);
});

Deno.test("Supervisor keeps minSpareWorkers when it shrinks and they are more than minWorkers", () => {
  const pool = new Pool({ minWorkers: 1, minSpareWorkers: 4, stopTimeout: NEVER });
  pool.boot(4);
  assert.deepEqual(pool.pass(600_000), []);
  pool.take(1);
  assert.deepEqual(pool.tick(), ["spawn 5"]);
  pool.ready(5);
  assert.deepEqual(pool.pass(600_000), [], "one is busy, four are spare");
  pool.answer(1);
  assert.deepEqual(pool.pass(20_000), ["retire 4"]);
});

// ---- resize and configure

Deno.test("Supervisor retires starting, idle, then the newest busy workers when resized", () => {
  const pool = idlePool({ maxWorkers: 8 });
  pool.take(1, 2, 3, 6);
  pool.supervisor.configure({ ...pool.limits, minWorkers: 8 }, pool.now);
  assert.deepEqual(pool.tick(), ["spawn 7", "spawn 8"]);
  pool.supervisor.resize(1, 2, pool.now);
  assert.deepEqual(
    pool.tick(),
    ["TERM 8", "TERM 7", "retire 5", "retire 4", "retire 6", "retire 3"],
  );
  assert.deepEqual(pool.state("ready"), [1, 2]);
  for (const worker of [3, 7]) assert.equal(pool.exit(worker), "culled");
  assert.deepEqual(pool.tick(), []);
});

Deno.test("Supervisor starts workers when resized up", () => {
  const pool = new Pool().boot();
  pool.supervisor.resize(4, 8, pool.now);
  assert.deepEqual(pool.tick(), ["spawn 3", "spawn 4"]);
});

Deno.test("Supervisor retires replaced and replacement when resized during a reload", () => {
  const pool = new Pool({ minWorkers: 3, maxWorkers: 3 }, { cpus: 4 }).boot();
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.tick(), ["spawn 4", "spawn 5"]);
  pool.supervisor.resize(1, 1, pool.now);
  assert.deepEqual(pool.tick(), ["retire 3", "retire 2", "TERM 5"]);
  assert.deepEqual(pool.state("starting"), [4]);
  pool.ready(4);
  assert.deepEqual(pool.tick(), ["retire 1", "reloaded"]);
});

Deno.test("Supervisor throws RangeError when sizes are no integers >= 1 or min is above max", () => {
  const pool = new Pool();
  const sizes = [[0, 4], [1.5, 4], [NaN, 4], [1, 0], [1, Infinity], [5, 4]] as const;
  for (const [min, max] of sizes) {
    assert.throws(() => pool.supervisor.resize(min, max, 0), RangeError);
    assert.throws(() => new Pool({ minWorkers: min, maxWorkers: max }), RangeError);
  }
  assert.throws(() => pool.supervisor.resize(0, 4, 0), {
    message: 'Cannot size the pool: "minWorkers" must be an integer >= 1: current value is 0',
  });
  assert.throws(() => pool.supervisor.resize(5, 4, 0), {
    message: 'Cannot size the pool: "maxWorkers" must be >= "minWorkers" (5): current value is 4',
  });
  assert.equal(countSpawns(pool.tick()), 2, "it goes on as before");
});

// ---- recycling

Deno.test("Supervisor recycles a worker when it has answered maxRequests, replacement first", () => {
  const pool = new Pool({ maxWorkers: 2, maxRequests: 100, stopTimeout: NEVER }).boot();
  pool.answer(1, 99);
  assert.deepEqual(pool.tick(), []);
  pool.answer(1);
  pool.answer(2, 100);
  assert.deepEqual(pool.tick(), ["spawn 3"], "above maxWorkers, one at a time");
  assert.deepEqual(pool.pass(500), []);
  pool.ready(3);
  assert.deepEqual(pool.actions(), ["retire 1"]);
  assert.equal(pool.exit(1), "recycled");
  assert.deepEqual(pool.tick(), ["spawn 4"], "the next one");
  pool.ready(4);
  assert.deepEqual(pool.tick(), ["retire 2"]);
  assert.deepEqual(pool.pass(5_000), []);
});

Deno.test("Supervisor keeps a worn worker when its replacement dies", () => {
  const pool = new Pool({ maxRequests: 10 }).boot();
  pool.answer(1, 10);
  assert.deepEqual(pool.tick(), ["spawn 3"]);
  pool.exit(3);
  assert.deepEqual(pool.pass(74), []);
  assert.deepEqual(pool.state("ready"), [1, 2]);
  assert.deepEqual(pool.tick(1), ["spawn 4"]);
  pool.ready(4);
  assert.deepEqual(pool.tick(), ["retire 1"]);
});

Deno.test("Supervisor spawns nobody else when a worn worker dies before its replacement is ready", () => {
  const pool = new Pool({ maxRequests: 10 }).boot();
  pool.answer(1, 10);
  assert.deepEqual(pool.tick(), ["spawn 3"]);
  pool.exit(1);
  assert.deepEqual(pool.tick(), []);
  pool.ready(3);
  assert.deepEqual(pool.pass(5_000), []);
  assert.deepEqual(pool.state("ready"), [2, 3]);
});

Deno.test("Supervisor gives each worker its own maxRequests when there is jitter", () => {
  const draws = [0, 1, 0.5];
  const limits = { minWorkers: 3, maxRequests: 100, maxRequestsJitter: 0.1 };
  const pool = new Pool(limits, { random: () => draws.shift() ?? 0.5 }).boot();
  for (const worker of [1, 2, 3]) pool.answer(worker, 89);
  assert.deepEqual(pool.tick(), []);
  pool.answer(1, 1);
  assert.deepEqual(pool.tick(), ["spawn 4"], "1 has 90");
  pool.ready(4);
  pool.exit(1);
  pool.answer(3, 11);
  pool.answer(2, 20);
  assert.deepEqual(pool.tick(), ["retire 1", "spawn 5"], "2 has 110, 3 has 100");
  pool.ready(5);
  assert.deepEqual(pool.actions(), ["retire 3"]);
  pool.answer(2);
  assert.deepEqual(pool.tick(), ["spawn 6"]);
});

Deno.test("Supervisor lets a worker answer one job when jitter would give it none", () => {
  const pool = new Pool({ maxRequests: 1, maxRequestsJitter: 1 }, { random: () => 0 }).boot();
  assert.deepEqual(pool.pass(5_000), []);
  pool.answer(1);
  assert.deepEqual(pool.tick(), ["spawn 3"]);
});

Deno.test("Supervisor recycles a worker when it has reached maxMemory, replacement first, one at a time", () => {
  const pool = new Pool({ maxWorkers: 2, maxMemory: 1000 }).boot();
  pool.answer(1);
  pool.answer(2);
  pool.grow(1, 999);
  pool.grow(2, 999);
  assert.deepEqual(pool.pass(5_000), []);
  pool.grow(1, 1000);
  pool.grow(2, 5000);
  assert.deepEqual(pool.pass(500), ["spawn 3"]);
  pool.ready(3);
  assert.deepEqual(pool.actions(), ["retire 1"]);
  assert.equal(pool.supervisor.worker(1)?.wear, "memory");
  assert.equal(pool.exit(1), "recycled");
  assert.deepEqual(pool.pass(500), ["spawn 4"], "the next one");
  pool.ready(4);
  assert.deepEqual(pool.actions(), ["retire 2"]);
  pool.exit(2);
  assert.deepEqual(pool.pass(5_000), []);
});

Deno.test("Supervisor keeps a worker above maxMemory when it was never asked anything", () => {
  const pool = new Pool({ maxMemory: 1000 }).boot();
  pool.grow(1, 2000);
  assert.deepEqual(pool.pass(5_000), [], "a new one would be as large");
  pool.take(1);
  assert.deepEqual(pool.tick(), ["spawn 3"], "its first job has made it so");
});

Deno.test("Supervisor memoryDue is true each second when there is a maxMemory, else never", () => {
  const pool = new Pool({ maxMemory: 1000 }).boot();
  assert.equal(pool.supervisor.memoryDue(pool.now), true);
  pool.grow(1, 1);
  assert.equal(pool.supervisor.memoryDue(pool.now + 999), false);
  assert.equal(pool.supervisor.memoryDue(pool.now + 1_000), true);
  assert.equal(new Pool().boot().supervisor.memoryDue(NEVER), false);
});

Deno.test("Supervisor recycles a worker when it has been ready for maxAge, one at a time", () => {
  const pool = new Pool({ maxWorkers: 2, maxAge: 60_000 }).boot();
  assert.deepEqual(pool.pass(58_999), []);
  assert.deepEqual(pool.tick(1), ["spawn 3"]);
  assert.deepEqual(pool.pass(500), []);
  pool.ready(3);
  assert.deepEqual(pool.actions(), ["retire 1"]);
  assert.equal(pool.supervisor.worker(1)?.wear, "age");
  assert.equal(pool.exit(1), "recycled");
  assert.deepEqual(pool.tick(), ["spawn 4"]);
  pool.ready(4);
  pool.exit(2);
  assert.deepEqual(pool.actions(), ["retire 2"]);
  assert.deepEqual(pool.pass(50_000), []);
});

Deno.test("Supervisor gives each worker its own maxMemory and maxAge when there is jitter", () => {
  const draws = [0, 1, 1, 0];
  const jitter = { maxMemory: 1000, maxMemoryJitter: 0.1, maxAge: 100_000, maxAgeJitter: 0.5 };
  const pool = new Pool(jitter, { random: () => draws.shift() ?? 0.5 }).boot();
  for (const worker of [1, 2]) pool.answer(worker);
  pool.grow(1, 899);
  pool.grow(2, 1099);
  assert.deepEqual(pool.pass(48_999), [], "1 may have 900 bytes and 150 s, 2 has 1100 and 50 s");
  assert.deepEqual(pool.tick(1), ["spawn 3"]);
  pool.ready(3);
  assert.deepEqual(pool.actions(), ["retire 2"]);
  pool.exit(2);
  pool.grow(1, 900);
  assert.deepEqual(pool.tick(), ["spawn 4"]);
});

Deno.test("Supervisor lets a recycled worker finish its job, and then kills it after stopTimeout", () => {
  const pool = new Pool({ maxMemory: 1000, minSpareWorkers: 0 }).boot();
  pool.take(1);
  pool.grow(1, 1000);
  assert.deepEqual(pool.tick(), ["spawn 3"]);
  pool.ready(3);
  assert.deepEqual(pool.pass(600_000), ["retire 1"], "its job takes ten minutes");
  pool.answer(1);
  assert.deepEqual(pool.pass(4_000), []);
  assert.deepEqual(pool.pass(1_000), ["KILL 1"], "it hangs in finish()");
  assert.equal(pool.exit(1, "broken"), "recycled");
});

Deno.test("Supervisor kills a recycled worker when it stops and its job takes longer than stopTimeout", () => {
  const pool = new Pool({ maxRequests: 1, minSpareWorkers: 0 }).boot();
  pool.answer(1);
  pool.take(1);
  pool.tick();
  pool.ready(3);
  assert.deepEqual(pool.pass(60_000), ["retire 1"]);
  pool.supervisor.stop(pool.now);
  assert.deepEqual(pool.actions(), ["retire 2", "retire 3"]);
  assert.equal(pool.exit(2), "stopped");
  assert.equal(pool.exit(3), "stopped");
  assert.deepEqual(pool.pass(4_999), []);
  assert.deepEqual(pool.tick(1), ["KILL 1"]);
});

Deno.test("Supervisor ends a rogue when it was recycled before", () => {
  const pool = new Pool({ maxRequests: 1, minSpareWorkers: 0, babysitInterval: 1_000 }).boot();
  pool.answer(1);
  pool.take(1);
  pool.tick();
  pool.ready(3);
  pool.tick();
  assert.deepEqual(pool.read(1, 7, 0), []);
  assert.deepEqual(pool.read(1, 7, 10_001), ["INT 1"]);
  assert.deepEqual(pool.pass(6_000), ["KILL 1"], "and has stopTimeout from then on");
  assert.equal(pool.exit(1, "broken"), "rogue");
});

// ---- reload

Deno.test("Supervisor replaces all workers when reloaded, and is never short of any", () => {
  const pool = new Pool({ minWorkers: 3, maxWorkers: 3 }, { cpus: 4 }).boot();
  assert.equal(pool.supervisor.generation, 1);
  pool.supervisor.reload(pool.now);
  assert.equal(pool.supervisor.generation, 2);
  assert.equal(pool.supervisor.reloading, true);
  assert.deepEqual(
    pool.tick(),
    ["spawn 4", "spawn 5"],
    "above maxWorkers, on half of the CPUs at a time",
  );
  assert.deepEqual(pool.tick(), []);
  pool.ready(5);
  assert.deepEqual(pool.tick(), ["retire 2", "spawn 6"]);
  assert.equal(pool.exit(2), "reload");
  pool.ready(4, 6);
  assert.deepEqual(pool.actions(), ["retire 1", "retire 3"]);
  assert.equal(pool.supervisor.reloading, true);
  assert.deepEqual(pool.tick(), ["reloaded"]);
  assert.equal(pool.supervisor.reloading, false);
  const generations = workersOf(pool.supervisor).filter((it) => it.state === "ready")
    .map((it) => it.generation);
  assert.deepEqual(generations, [2, 2, 2]);
  assert.deepEqual(pool.pass(4_000), []);
});

Deno.test("Supervisor kills old workers when they are still starting at a reload", () => {
  const pool = new Pool({}, { cpus: 4 });
  pool.tick();
  pool.ready(1);
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.actions(), ["TERM 2"]);
  assert.deepEqual(pool.tick(), ["spawn 3", "spawn 4"], "one for each");
  pool.ready(3, 4);
  assert.deepEqual(pool.tick(), ["retire 1", "reloaded"]);
  assert.equal(pool.exit(1), "reload");
  assert.deepEqual(pool.pass(4_999), []);
  assert.deepEqual(pool.tick(1), ["KILL 2"]);
  assert.equal(pool.exit(2), "reload");
  assert.deepEqual(pool.pass(5_000), []);
});

Deno.test("Supervisor says reloaded only when somebody is ready", () => {
  const pool = new Pool();
  pool.tick();
  pool.supervisor.reload(0);
  assert.deepEqual(pool.tick(), ["TERM 1", "TERM 2", "spawn 3", "spawn 4"]);
  pool.ready(3);
  assert.deepEqual(pool.tick(), ["reloaded"]);
});

const FAILURES: Record<string, [string, (pool: Pool, worker: number) => string[]]> = {
  "can't load": ["no such file", (pool, worker) => {
    pool.supervisor.loadFailed(worker, "no such file", pool.now);
    return [];
  }],
  "ends at once": ["it ended at once", (pool, worker) => {
    pool.exit(worker);
    return [];
  }],
  "ends right after it was ready": ["it ended at once", (pool, worker) => {
    pool.ready(worker);
    pool.exit(worker);
    return ["retire 2"];
  }],
  "can't be made": ["its process could not be made", (pool, worker) => {
    pool.supervisor.spawnFailed(worker, pool.now);
    return [];
  }],
};

for (const [how, [why, fail]] of Object.entries(FAILURES)) {
  Deno.test(`Supervisor ends a reload when a new worker ${how}`, () => {
    const pool = new Pool({ minWorkers: 4 }, { cpus: 4 }).boot();
    pool.supervisor.reload(pool.now);
    assert.deepEqual(pool.tick(), ["spawn 5", "spawn 6"]);
    pool.ready(5);
    assert.deepEqual(pool.tick(), ["retire 1", "spawn 7"]);
    const before = fail(pool, 6);
    const failed = `reloadFailed: Cannot reload: worker 6 failed to start: ${why}`;
    assert.deepEqual(pool.actions(), [...before, "TERM 7", failed]);
    assert.equal(pool.supervisor.reloading, false);
    assert.equal(pool.supervisor.generation, 2);
    const kept = before.length === 0 ? [2, 3, 4, 5] : [3, 4, 5];
    assert.deepEqual(pool.state("ready"), kept, "old and new serve on");
    assert.equal(countSpawns(pool.pass(1_000)), 4 - kept.length);
    assert.equal(pool.exit(7), "reload");
  });
}

Deno.test("Supervisor ends a reload when a new worker starts for too long", () => {
  const pool = new Pool({}, { cpus: 4 }).boot();
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.pass(10_000), [
    "spawn 3",
    "spawn 4",
    "KILL 3",
    "TERM 4",
    "reloadFailed: Cannot reload: worker 3 failed to start: it was not ready within 10000 ms",
  ]);
  assert.equal(pool.exit(3), "timeout");
  assert.deepEqual(pool.state("ready"), [1, 2]);
});

Deno.test("Supervisor replaces adopted workers when it is reloaded again", () => {
  const pool = new Pool({}, { cpus: 4 }).boot();
  pool.supervisor.reload(pool.now);
  pool.tick();
  pool.exit(3);
  assert.equal(pool.actions().length, 2);
  pool.exit(4);
  assert.deepEqual(pool.pass(2_000), [], "1 and 2 are adopted");
  pool.supervisor.reload(pool.now);
  assert.equal(pool.supervisor.generation, 3);
  assert.deepEqual(pool.tick(), ["spawn 5", "spawn 6"], "two at once: new code, no back-off");
  pool.ready(5, 6);
  assert.deepEqual(pool.tick(), ["retire 1", "retire 2", "reloaded"]);
});

Deno.test("Supervisor starts over when reloaded during a reload", () => {
  const pool = new Pool({ minWorkers: 3 }, { cpus: 4 }).boot();
  pool.supervisor.reload(pool.now);
  pool.tick();
  pool.ready(4);
  assert.deepEqual(pool.tick(), ["retire 1", "spawn 6"]);
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.tick(), ["TERM 5", "TERM 6", "spawn 7", "spawn 8"]);
  pool.exit(5);
  pool.exit(6);
  pool.ready(7, 8);
  assert.deepEqual(pool.tick(), ["retire 2", "retire 3", "spawn 9"], "4 is old by now");
  pool.ready(9);
  assert.deepEqual(pool.tick(), ["retire 4", "reloaded"]);
  assert.deepEqual(pool.state("ready"), [7, 8, 9]);
});

Deno.test("Supervisor replaces an old worker once when it dies during a reload", () => {
  const pool = new Pool({}, { cpus: 4 }).boot();
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.tick(), ["spawn 3", "spawn 4"]);
  pool.exit(1);
  assert.deepEqual(pool.tick(), []);
  pool.ready(3);
  assert.deepEqual(pool.actions(), [], "2 is replaced by 4");
  pool.ready(4);
  assert.deepEqual(pool.tick(), ["retire 2", "reloaded"]);
});

Deno.test("Supervisor goes on with a reload when an old worker dies young", () => {
  const pool = new Pool({}, { cpus: 4 });
  pool.tick();
  pool.ready(1, 2);
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.tick(), ["spawn 3", "spawn 4"]);
  pool.exit(1);
  assert.deepEqual(pool.actions(), []);
  assert.equal(pool.supervisor.reloading, true);
});

Deno.test("Supervisor counts old workers as spares when they are idle during a reload", () => {
  const pool = new Pool({ minWorkers: 3, minSpareWorkers: 3, maxWorkers: 9 }, { cpus: 4 }).boot();
  pool.supervisor.reload(pool.now);
  pool.take(1);
  assert.deepEqual(pool.tick(), ["spawn 4", "spawn 5"], "a spare first, then a replacement");
  pool.ready(4);
  assert.deepEqual(pool.actions(), []);
  pool.ready(5);
  assert.deepEqual(pool.actions(), ["retire 1"]);
});

// ---- stop

Deno.test("Supervisor retires the ready, ends the starting and spawns nobody when it stops", () => {
  const pool = new Pool({ minWorkers: 4, dequeueInterval: 500 });
  pool.tick();
  pool.ready(1, 2);
  assert.deepEqual(pool.pass(500), ["spawn 3", "spawn 4", "dequeue 5"]);
  pool.supervisor.stop(pool.now);
  assert.deepEqual(pool.actions(), ["retire 1", "retire 2", "TERM 3", "TERM 4", "TERM 5"]);
  pool.supervisor.stop(pool.now);
  pool.supervisor.reload(pool.now);
  assert.equal(pool.supervisor.generation, 1);
  assert.deepEqual(pool.tick(), [], "once is enough");
  assert.equal(pool.supervisor.stopped, false);
  for (const worker of [1, 2, 3, 4, 5]) assert.equal(pool.exit(worker), "stopped");
  assert.equal(pool.supervisor.stopped, true);
  assert.equal(pool.supervisor.forced, false);
  assert.deepEqual(pool.tick(1_000), []);
  assert.equal(pool.wait, Infinity);
});

Deno.test("Supervisor kills who takes longer than stopTimeout, each by its own deadline", () => {
  const pool = new Pool().boot();
  pool.supervisor.resize(1, 1, pool.now);
  assert.deepEqual(pool.pass(2_000), ["retire 2"]);
  pool.supervisor.stop(pool.now);
  assert.deepEqual(pool.actions(), ["retire 1"]);
  assert.deepEqual(pool.pass(2_999), []);
  assert.equal(pool.supervisor.forced, false);
  assert.deepEqual(pool.tick(1), ["KILL 2"]);
  assert.equal(pool.supervisor.forced, true);
  assert.deepEqual(pool.pass(1_999), []);
  assert.deepEqual(pool.tick(1), ["KILL 1"]);
  assert.deepEqual(pool.pass(60_000), [], "once");
  assert.equal(pool.exit(1), "stopped");
  assert.equal(pool.exit(2), "stopped");
  assert.equal(pool.supervisor.stopped, true);
});

Deno.test("Supervisor kills a retired worker when it takes longer than stopTimeout", () => {
  const pool = new Pool().boot();
  pool.supervisor.resize(1, 1, pool.now);
  assert.deepEqual(pool.pass(5_000), ["retire 2", "KILL 2"]);
  assert.equal(pool.supervisor.forced, false, "that was no stop");
  assert.equal(pool.exit(2), "culled");
});

Deno.test("Supervisor kills everybody at once when told to", () => {
  const pool = new Pool({ minWorkers: 3 });
  pool.tick();
  pool.ready(1);
  pool.tick();
  pool.supervisor.stop(pool.now);
  assert.deepEqual(pool.actions(), ["retire 1", "TERM 2", "TERM 3"]);
  pool.supervisor.killAll(pool.now);
  assert.deepEqual(pool.actions(), ["KILL 1", "KILL 2", "KILL 3"]);
  pool.supervisor.killAll(pool.now);
  assert.deepEqual(pool.pass(10_000), []);
  assert.equal(pool.supervisor.forced, true);
  for (const worker of [1, 2, 3]) assert.equal(pool.exit(worker, "broken"), "stopped");
  assert.equal(pool.supervisor.stopped, true);
});

Deno.test("Supervisor gives up a reload when it stops", () => {
  const pool = new Pool({}, { cpus: 4 }).boot();
  pool.supervisor.reload(pool.now);
  pool.tick();
  pool.supervisor.stop(pool.now);
  assert.equal(pool.supervisor.reloading, false);
  pool.exit(3);
  assert.deepEqual(pool.actions(), ["retire 1", "retire 2", "TERM 3", "TERM 4"]);
});

Deno.test("Supervisor forgets a worker when its process can't be made while it stops", () => {
  const pool = new Pool({ minWorkers: 1 });
  pool.tick();
  pool.supervisor.stop(0);
  pool.supervisor.spawnFailed(1, 0);
  assert.equal(pool.supervisor.stopped, true);
});

// ---- leaving

Deno.test("Supervisor replaces a worker at once when it says that it leaves", () => {
  const pool = new Pool().boot();
  pool.supervisor.leaving(1, pool.now);
  assert.deepEqual(pool.supervisor.counts(), { starting: 0, ready: 1, stopping: 1, dequeue: 0 });
  assert.deepEqual(pool.tick(), ["spawn 3"]);
  pool.ready(3);
  pool.supervisor.leaving(1, pool.now + 1_000);
  assert.deepEqual(pool.pass(4_999), []);
  assert.deepEqual(pool.tick(1), ["KILL 1"], "it said it long ago");
  assert.equal(pool.exit(1), "left");
});

Deno.test("Supervisor keeps its reason when a worker that is stopping says that it leaves", () => {
  const pool = new Pool().boot();
  pool.supervisor.resize(1, 1, pool.now);
  pool.tick();
  pool.supervisor.leaving(2, pool.now);
  assert.equal(pool.exit(2), "culled");
});

Deno.test("Supervisor counts a failed start when a worker can't load its handler", () => {
  const pool = new Pool({ minWorkers: 1 });
  pool.tick();
  pool.supervisor.loadFailed(1, "syntax error", 0);
  assert.deepEqual(pool.pass(74), []);
  assert.deepEqual(pool.tick(1), ["spawn 2"]);
  pool.ready(2);
  assert.deepEqual(pool.pass(4_925), ["KILL 1"], "it did not leave by itself");
  assert.equal(pool.exit(1), "failed");
  assert.deepEqual(pool.pass(5_000), []);
});

// ---- oversleeping

Deno.test("Supervisor kills nobody when it overslept", () => {
  const pool = new Pool();
  pool.tick();
  pool.ready(1);
  pool.pass(1_000);
  pool.supervisor.leaving(1, pool.now);
  assert.deepEqual(pool.pass(2_000), ["spawn 3"]);
  assert.equal(pool.wait, 1_000);
  assert.deepEqual(pool.tick(3_600_000), []);
  assert.deepEqual(pool.pass(1_999), [], "1 has left what it had when we slept too long");
  assert.deepEqual(pool.tick(1), ["KILL 1"]);
  assert.deepEqual(pool.pass(3_999), []);
  assert.deepEqual(pool.tick(1), ["KILL 2"]);
});

Deno.test("Supervisor is strict when it is late by less than 5 s", () => {
  const pool = new Pool({ minWorkers: 1 });
  pool.tick();
  pool.pass(5_000);
  pool.tick(pool.wait);
  assert.deepEqual(pool.tick(pool.wait + 5_000), ["KILL 1"]);
});

Deno.test("Supervisor keeps times in the past when something happened before it noticed", () => {
  const pool = new Pool().boot();
  pool.now += 3_600_000;
  pool.supervisor.stop(pool.now);
  assert.deepEqual(pool.tick(), ["retire 1", "retire 2"]);
  assert.deepEqual(pool.pass(4_999), []);
  assert.deepEqual(pool.tick(1), ["KILL 1", "KILL 2"]);
});

Deno.test("Supervisor culls nobody at once when it overslept", () => {
  const pool = idlePool({});
  pool.pass(5_000);
  assert.deepEqual(pool.tick(3_600_000), []);
  assert.deepEqual(pool.pass(29_999), []);
  assert.equal(pool.pass(10_000).length, 4);
});

// ---- handlers that do not stop

Deno.test("Supervisor sends TERM, and KILL after abortGrace, when a handler does not stop", () => {
  const pool = new Pool({ minWorkers: 1, maxWorkers: 1, abortGrace: 300 }).boot();
  pool.take(1);
  pool.supervisor.overran(1, pool.now);
  assert.deepEqual(pool.tick(), ["TERM 1", "spawn 2"]);
  assert.deepEqual(pool.tick(299), []);
  assert.deepEqual(pool.tick(1), ["KILL 1"]);
  pool.supervisor.overran(1, pool.now);
  assert.deepEqual(pool.pass(1_000), []);
  assert.equal(pool.exit(1, "broken"), "overran");
  assert.equal(pool.supervisor.forced, false);
});

Deno.test("Supervisor ends a handler that does not stop when its worker was to leave anyway", () => {
  const pool = new Pool({ minWorkers: 1, maxWorkers: 1, abortGrace: 300 }).boot();
  pool.take(1);
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.tick(), ["spawn 2"]);
  pool.ready(2);
  assert.deepEqual(pool.tick(), ["retire 1", "reloaded"]);
  pool.supervisor.overran(1, pool.now);
  assert.deepEqual(pool.pass(300), ["TERM 1", "KILL 1"]);
  pool.supervisor.overran(99, pool.now);
});

// ---- babysitter

/** A worker with job 7 that has used 100 ms when first seen, and 11 s more. */
function roguePool(): Pool {
  const pool = new Pool({ minWorkers: 1, maxWorkers: 1, babysitInterval: 5_000 }).boot();
  pool.take(1);
  assert.deepEqual(pool.read(1, 7, 100), []);
  assert.deepEqual(pool.read(1, 7, 10_100), [], "no more than rogueCpuTime");
  assert.deepEqual(pool.read(1, 7, 10_101), ["INT 1"]);
  return pool;
}

Deno.test("Supervisor sends INT, TERM and KILL when a job uses more than rogueCpuTime", () => {
  const pool = roguePool();
  assert.deepEqual(pool.state("ready"), [1], "it may recover");
  assert.deepEqual(pool.tick(), []);
  assert.deepEqual(pool.read(1, 7, 11_000), ["TERM 1"]);
  assert.deepEqual(pool.state("stopping"), [1]);
  assert.deepEqual(pool.tick(), ["spawn 2"]);
  assert.deepEqual(pool.read(1, 7, 12_000), ["KILL 1"]);
  assert.deepEqual(pool.read(1, 7, 13_000), []);
  assert.deepEqual(pool.pass(9_000), []);
  assert.equal(pool.exit(1, "broken"), "rogue");
});

Deno.test("Supervisor kills a rogue after stopTimeout when no reading comes", () => {
  const pool = roguePool();
  pool.read(1, 7, 11_000);
  assert.deepEqual(pool.pass(5_000), ["spawn 2", "KILL 1"]);
});

Deno.test("Supervisor calls a worker rogue when it dies of INT", () => {
  const pool = roguePool();
  assert.equal(pool.exit(1, "broken"), "rogue");
  assert.deepEqual(pool.tick(), ["spawn 2"]);
});

for (const job of [8, undefined]) {
  Deno.test(`Supervisor forgives a rogue when its job is ${job} next`, () => {
    const pool = roguePool();
    assert.deepEqual(pool.read(1, job, 20_000), []);
    assert.deepEqual(pool.read(1, 8, 20_001), []);
    assert.deepEqual(pool.read(1, 8, 30_000), []);
    assert.deepEqual(pool.read(1, 8, 30_002), ["INT 1"], "from the start");
    pool.read(1, undefined, 30_003);
    assert.equal(pool.exit(1), "crashed");
  });
}

Deno.test("Supervisor ignores readings when a worker is unknown, starting or leaving", () => {
  const pool = new Pool();
  pool.tick();
  pool.ready(1);
  pool.supervisor.stop(pool.now);
  pool.actions();
  for (const worker of [1, 2, 3]) {
    assert.deepEqual(pool.read(worker, 7, 0), []);
    assert.deepEqual(pool.read(worker, 7, 99_999), []);
  }
});

Deno.test("Supervisor babysitDue is true when babysitInterval has passed since the last readings", () => {
  const pool = new Pool({ babysitInterval: 300 }).boot();
  pool.read(1, undefined, 0);
  pool.tick();
  assert.equal(pool.wait, 300);
  assert.equal(pool.supervisor.babysitDue(pool.now + 299), false);
  assert.equal(pool.supervisor.babysitDue(pool.now + 300), true);
  pool.supervisor.configure({ ...LIMITS, babysitInterval: 0 }, pool.now);
  assert.equal(pool.supervisor.babysitDue(pool.now + 300), false);
});

// ---- dequeue

Deno.test("Supervisor spawns a dequeue worker each dequeueInterval, up to maxDequeueWorkers", () => {
  const pool = new Pool({ minWorkers: 1, dequeueInterval: 10_000, maxDequeueWorkers: 2 });
  pool.boot();
  assert.deepEqual(pool.pass(8_999), []);
  assert.deepEqual(pool.tick(1), ["dequeue 2"], "after one interval");
  assert.deepEqual(pool.pass(9_999), []);
  assert.deepEqual(pool.tick(1), ["dequeue 3"]);
  assert.deepEqual(pool.pass(25_000), [], "never timed out, culled or exceeded");
  assert.deepEqual(pool.supervisor.counts(), { starting: 0, ready: 1, stopping: 0, dequeue: 2 });
  assert.equal(pool.exit(2), "dequeued");
  assert.equal(pool.exit(3, "broken"), "crashed");
  assert.deepEqual(pool.pass(5_000), ["dequeue 4"]);
});

Deno.test("Supervisor does not back off when a dequeue worker fails", () => {
  const pool = new Pool({
    minWorkers: 1,
    maxWorkers: 2,
    dequeueInterval: 500,
    maxDequeueWorkers: 9,
  });
  pool.boot();
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.pass(1_500), ["spawn 4", "dequeue 5", "dequeue 6", "dequeue 7"]);
  pool.supervisor.spawnFailed(5, pool.now);
  pool.supervisor.loadFailed(6, "no", pool.now);
  pool.supervisor.leaving(7, pool.now);
  assert.equal(pool.exit(6), "failed");
  assert.equal(pool.exit(7), "left");
  assert.equal(pool.supervisor.reloading, true);
  pool.exit(1);
  pool.supervisor.resize(2, 2, pool.now);
  assert.deepEqual(pool.tick(), ["spawn 8"]);
});

Deno.test("Supervisor refuses a dequeue worker that says it is ready", () => {
  const pool = new Pool({ dequeueInterval: 500 }).boot();
  assert.deepEqual(pool.state("ready"), [1, 2, 3]);
  assert.equal(pool.supervisor.ready(3, pool.now), false);
  assert.equal(pool.supervisor.counts().ready, 2);
});

Deno.test("Supervisor counts dequeueInterval from the change when it is configured", () => {
  const pool = new Pool().boot();
  pool.pass(60_000);
  pool.supervisor.configure({ ...LIMITS, dequeueInterval: 2_000 }, pool.now);
  assert.deepEqual(pool.pass(1_999), []);
  assert.deepEqual(pool.tick(1), ["dequeue 3"]);
  pool.supervisor.stop(pool.now);
  assert.deepEqual(pool.pass(5_000), [
    "retire 1",
    "retire 2",
    "TERM 3",
    "KILL 1",
    "KILL 2",
    "KILL 3",
  ]);
});

// ---- waits and views

Deno.test("Supervisor tick returns the time to what is due next, at most 1 s", () => {
  const pool = new Pool({ startTimeout: 700, stopTimeout: 400, minWorkers: 1 });
  pool.tick();
  assert.equal(pool.wait, 700, "startTimeout");
  pool.ready(1);
  pool.tick();
  assert.equal(pool.wait, 1_000);
  pool.exit(1);
  pool.tick();
  assert.equal(pool.wait, 75, "back-off");
  pool.tick(75);
  pool.ready(2);
  pool.supervisor.stop(pool.now);
  pool.tick();
  assert.equal(pool.wait, 400, "stopTimeout");
});

Deno.test("Supervisor worker reports what a worker is and why it leaves", () => {
  const pool = new Pool({ minWorkers: 1, dequeueInterval: 60_000 });
  pool.tick();
  pool.supervisor.spawned(1, 5);
  const view = pool.supervisor.worker(1);
  const { worker, purpose, state, spawnedAt, generation, reason } = view!;
  assert.deepEqual(
    { worker, purpose, state, spawnedAt, generation, reason },
    {
      worker: 1,
      purpose: "serve",
      state: "starting",
      spawnedAt: 5,
      generation: 1,
      reason: undefined,
    },
  );
  pool.supervisor.stop(6);
  assert.equal(pool.reason(1), "stopped");
});

Deno.test("Supervisor ignores news when the worker is unknown", () => {
  const pool = new Pool().boot();
  pool.supervisor.spawned(9, pool.now);
  pool.supervisor.spawnFailed(9, pool.now);
  pool.supervisor.leaving(9, pool.now);
  pool.supervisor.loadFailed(9, "no", pool.now);
  assert.deepEqual(pool.pass(1_000), []);
});

// ---- any order

/** Plays at random with a pool and checks, after each move, what must always hold. */
class Chaos {
  readonly #random: () => number;
  readonly #cpus: number;
  readonly #pool: Pool;
  readonly #alive = new Set<number>();
  readonly #asked = new Set<string>();
  #min: number;
  #max: number;
  #resized = false;

  constructor(seed: number) {
    this.#random = randomFractions(seed + 1);
    this.#cpus = this.#upTo(3) + 1;
    this.#min = this.#upTo(4) + 1;
    this.#max = this.#min + this.#upTo(5);
    this.#pool = new Pool({
      minWorkers: this.#min,
      maxWorkers: this.#max,
      minSpareWorkers: this.#upTo(3),
      maxSpareWorkers: 3 + this.#upTo(3),
      maxRequests: this.#upTo(2) * 20,
      maxRequestsJitter: 0.1,
      maxMemory: this.#upTo(2) * 1_000,
      maxMemoryJitter: 0.1,
      maxAge: this.#upTo(2) * 50_000,
      maxAgeJitter: 0.1,
      checkForSpawnInterval: 5_000,
      checkForWaitingInterval: 1_000,
      minChildTtl: 1_000,
      dequeueInterval: this.#upTo(2) * 7_000,
    }, { cpus: this.#cpus, random: this.#random });
  }

  play(moves: number): void {
    for (let i = 0; i < moves; i++) {
      const ready = this.#ready();
      this.#move();
      this.#check(this.#pool.supervisor.takeActions(), ready);
      if (this.#random() < 0.7) this.#tick(0);
    }
    this.#recover();
    this.#stop();
  }

  #upTo(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #pick(workers: number[]): number {
    return workers[this.#upTo(workers.length)] ?? 0;
  }

  #ready(): number[] {
    return workersOf(this.#pool.supervisor)
      .filter((it) => it.state === "ready" && it.purpose === "serve")
      .map((it) => it.worker);
  }

  #move(): void {
    const { supervisor, now } = this.#pool;
    const starting = this.#pick(this.#pool.state("starting"));
    const ready = this.#pick(this.#ready());
    const anybody = this.#pick([...this.#alive]);
    const moves = [
      () => starting > 0 && this.#pool.ready(starting),
      () => starting > 0 && this.#pool.ready(starting),
      () => ready > 0 && this.#pool.take(ready),
      () => ready > 0 && this.#pool.take(ready),
      () => ready > 0 && this.#pool.answer(ready, this.#upTo(5) + 1),
      () => this.#exit(anybody),
      () => this.#exit(this.#pick(this.#pool.state("stopping"))),
      () => this.#tick(this.#upTo(2_000)),
      () => this.#tick(this.#upTo(2_000)),
      () => this.#random() < 0.1 && this.#tick(60_000),
      () => this.#random() < 0.2 && supervisor.reload(now),
      () => this.#random() < 0.2 && this.#resize(),
      () => this.#random() < 0.3 && supervisor.leaving(anybody, now),
      () => this.#random() < 0.3 && supervisor.loadFailed(starting, "no", now),
      () => this.#random() < 0.3 && this.#neverBorn(starting),
      () => this.#pool.grow(anybody, this.#upTo(1_200)),
      () => ready > 0 && supervisor.rogueReadings([this.#reading(ready)], now),
    ];
    moves[this.#upTo(moves.length)]!();
  }

  #exit(worker: number): void {
    const known = this.#alive.delete(worker);
    assert.equal(this.#pool.exit(worker, ENDINGS[this.#random() * 3 | 0]) !== undefined, known);
  }

  #neverBorn(worker: number): void {
    this.#alive.delete(worker);
    this.#pool.supervisor.spawnFailed(worker, this.#pool.now);
  }

  #reading(worker: number): CpuReading {
    return { worker, job: this.#upTo(2), cpuTime: this.#upTo(40_000) };
  }

  #resize(): void {
    this.#min = this.#upTo(4) + 1;
    this.#max = this.#min + this.#upTo(5);
    this.#pool.supervisor.resize(this.#min, this.#max, this.#pool.now);
    this.#resized = true;
  }

  #tick(ms: number): void {
    const ready = this.#ready();
    this.#pool.now += ms;
    this.#pool.wait = this.#pool.supervisor.tick(this.#pool.now, this.#pool);
    assert.ok(this.#pool.wait > 0 && this.#pool.wait <= 1_000, `wait ${this.#pool.wait}`);
    this.#check(this.#pool.supervisor.takeActions(), ready);
    this.#checkSize();
    this.#resized = false;
  }

  #check(actions: Action[], readyBefore: number[]): void {
    for (const action of actions) {
      if (action.type === "reloaded" || action.type === "reloadFailed") continue;
      if (action.type === "spawn") {
        assert.ok(!this.#alive.has(action.worker));
        this.#alive.add(action.worker);
        continue;
      }
      assert.ok(this.#alive.has(action.worker), `${words(action)}: unknown`);
      if (action.type === "retire") this.#checkRetired(action.worker, readyBefore);
      if (words(action).startsWith("INT")) continue;
      assert.ok(!this.#asked.has(words(action)), `${words(action)}: again`);
      this.#asked.add(words(action));
    }
  }

  #checkRetired(worker: number, readyBefore: number[]): void {
    const reason = this.#pool.reason(worker);
    if (reason === "culled" && !this.#resized) {
      assert.notEqual(this.#pool.idleSince(worker), undefined, `${worker} is busy`);
    }
    if (reason === "reload" || reason === "recycled") {
      assert.ok(this.#ready().length >= readyBefore.length, `short by ${worker}`);
    }
  }

  #checkSize(): void {
    const { starting, ready } = this.#pool.supervisor.counts();
    const extra = this.#pool.supervisor.reloading ? this.#cpus : 1;
    assert.ok(starting <= this.#cpus, `${starting} start at a time`);
    assert.ok(starting + ready <= this.#max + extra, `${starting + ready} workers`);
  }

  /** When all goes well again, the pool gets to rest within its limits. */
  #recover(): void {
    const calm = () => {
      for (const worker of this.#pool.state("starting")) this.#pool.ready(worker);
      this.#check(this.#pool.supervisor.takeActions(), []);
      for (const worker of this.#pool.state("stopping")) this.#exit(worker);
      for (const worker of this.#ready()) this.#pool.answer(worker, 0);
      this.#tick(500);
    };
    for (let i = 0; i < 1_000; i++) calm();
    // Some come of age now and then.
    for (let i = 0; i < 20 && this.#pool.state("starting").length > 0; i++) calm();
    const { starting, ready, stopping } = this.#pool.supervisor.counts();
    assert.deepEqual({ starting, stopping }, { starting: 0, stopping: 0 });
    const spares = Math.min(this.#max, this.#pool.limits.minSpareWorkers);
    assert.equal(ready, Math.max(this.#min, spares));
    assert.equal(this.#pool.supervisor.reloading, false);
  }

  #stop(): void {
    this.#pool.supervisor.stop(this.#pool.now);
    const killed = this.#pool.pass(60_000).filter((it) => it.startsWith("KILL")).length;
    assert.equal(killed, this.#alive.size);
    for (const worker of this.#alive) assert.equal(this.#pool.exit(worker), "stopped");
    assert.equal(this.#pool.supervisor.stopped, true);
  }
}

Deno.test("Supervisor keeps its promises when anything happens in any order", () => {
  const first = Math.floor(Math.random() * 2 ** 31);
  for (let seed = first; seed < first + 60; seed++) {
    try {
      new Chaos(seed).play(300);
    } catch (error) {
      console.error(`seed ${seed}`);
      throw error;
    }
  }
});

Deno.test("Supervisor waits before each start, the first one too, when there is a startDelay", () => {
  const pool = new Pool({ minWorkers: 3, startDelay: 300 });
  assert.deepEqual(pool.tick(), []);
  assert.ok(pool.wait <= 300);
  assert.deepEqual(pool.tick(299), []);
  assert.equal(pool.tick(1).length, 1);
  assert.deepEqual(pool.tick(299), []);
  assert.equal(pool.tick(1).length, 1);
});

Deno.test("Supervisor starts nothing when all workers are elsewhere, ends a reload at once, and starts some when it may", () => {
  const pool = new Pool({ ...NOBODY, minSpareWorkers: 0, maxSpareWorkers: 0 });
  assert.deepEqual(pool.pass(5000), []);
  assert.equal(pool.supervisor.everReady, true, "to have none is no failure");
  pool.supervisor.reload(pool.now);
  assert.deepEqual(pool.pass(1000), ["reloaded"]);
  pool.supervisor.configure({ ...pool.limits, minWorkers: 1, maxWorkers: 1 }, pool.now);
  assert.deepEqual(pool.pass(1000), ["spawn 1"]);
  pool.ready(1);
  pool.supervisor.configure({ ...pool.limits, ...NOBODY }, pool.now);
  assert.deepEqual(pool.pass(1000), ["retire 1"]);
  assert.throws(() => pool.supervisor.resize(0, 1, pool.now), RangeError);
});
