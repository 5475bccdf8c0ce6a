/**
 * Random event sequences for a `Supervisor`, a world of processes that exist as numbers only, and the
 * rules that must hold after each event whatever came before.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import fc from "fast-check";
import {
  type Action,
  type Ending,
  type Limits,
  Supervisor,
  type WorkerView,
} from "../../pool/supervisor.ts";

/** An event and its two numbers, which each event reads in its own way. */
export type PoolStep = readonly [event: keyof typeof EVENTS, first: number, second: number];

/** How often each event comes, of all weights. */
const EVENTS = {
  ready: 20,
  pass: 20,
  obey: 10,
  exit: 5,
  refuseProcesses: 2,
  loadFailed: 3,
  leaving: 1,
  work: 10,
  answer: 10,
  overrun: 2,
  isolate: 2,
  judge: 5,
  grow: 5,
  resize: 2,
  reload: 2,
  oversleep: 1,
  stop: 1,
  killAll: 1,
};

/** Sequences of up to `maxLength` events. */
export function poolSteps(maxLength: number): fc.Arbitrary<PoolStep[]> {
  const events = Object.entries(EVENTS).map(([event, weight]) => ({
    arbitrary: fc.constant(event),
    weight,
  }));
  const step = fc.tuple(fc.oneof(...events), fc.nat(15), fc.nat(30)) as fc.Arbitrary<PoolStep>;
  return fc.array(step, { maxLength, size: "max" });
}

/** Limits of all kinds, small enough to be met. */
export const poolLimits: fc.Arbitrary<Limits> = fc.record({
  minWorkers: fc.integer({ min: 1, max: 3 }),
  maxWorkers: fc.integer({ min: 3, max: 6 }),
  minSpareWorkers: fc.integer({ min: 0, max: 5 }),
  maxSpareWorkers: fc.integer({ min: 5, max: 8 }),
  maxRequests: fc.constantFrom(0, 0, 1, 5),
  maxRequestsJitter: fc.constantFrom(0, 0.5),
  maxMemory: fc.constantFrom(0, 0, 10),
  maxMemoryJitter: fc.constantFrom(0, 0.5),
  maxAge: fc.constantFrom(0, 0, 20_000),
  maxAgeJitter: fc.constantFrom(0, 0.5),
  checkForSpawnInterval: fc.constantFrom(1_000, 10_000),
  checkForWaitingInterval: fc.constantFrom(500, 5_000),
  minChildTtl: fc.constantFrom(0, 5_000),
  startDelay: fc.constantFrom(0, 0, 300),
  startTimeout: fc.constantFrom(1_000, 10_000),
  stopTimeout: fc.constantFrom(500, 5_000),
  abortGrace: fc.constantFrom(0, 300),
  dequeueInterval: fc.constantFrom(0, 0, 700),
  maxDequeueWorkers: fc.constantFrom(1, 2),
  babysitInterval: fc.constantFrom(0, 1_000),
  rogueCpuTime: fc.constant(1_000),
});

/** All workers that a supervisor knows, in the order of their ids, which count from 1. */
export function workersOf(supervisor: Supervisor): WorkerView[] {
  const { starting, ready, stopping, dequeue } = supervisor.counts();
  const count = starting + ready + stopping + dequeue;
  const found: WorkerView[] = [];
  for (let id = 1; found.length < count; id++) {
    const view = supervisor.worker(id);
    if (view !== undefined) found.push(view);
  }
  return found;
}

/** Whether a worker was asked to leave, leaves by itself, or is being ended. */
export function isLeaving({ state }: WorkerView): boolean {
  return state !== "starting" && state !== "ready";
}

/** Goes through a sequence and throws at the first rule that is broken. */
export function checkSupervisor(limits: Limits, cpus: number, steps: readonly PoolStep[]): void {
  const world = new World(limits, cpus);
  for (const step of steps) world.take(step);
  world.finish();
}

/** A process, as the system sees it. */
interface Process {
  readonly worker: number;
  readonly serves: boolean;
  said: "nothing" | "ready" | "leaving";
  retired: boolean;
  signals: string[];
  /** Since when it is without a job, ms; undefined: it has one. */
  idleSince: number | undefined;
  answered: number;
  cpuTime: number;
  stopping: boolean;
  overran: boolean;
  isolated: boolean;
  /** When it must have been killed unless it is ready, or has left, ms. */
  overdueAt: number;
}

const ENDINGS: readonly Ending[] = ["ok", "broken", "harmed"];
/** The longest time in which a pool that nothing bad happens to comes to rest, ms. */
const REST = 300_000;
const OVERSLEPT = 6_000;

class World {
  readonly #supervisor: Supervisor;
  readonly #limits: Limits;
  readonly #cpus: number;
  readonly #processes = new Map<number, Process>();
  /** Workers whose process could not be made. */
  readonly #unborn = new Set<number>();
  #now = 1000;
  #wait = 0;
  #last = 0;
  #halted = false;
  #refusing = false;
  /** Reloads asked for whose end was not told of. */
  #reloads = 0;
  lastJobAt = 0;

  constructor(limits: Limits, cpus: number) {
    this.#limits = { ...limits };
    this.#cpus = cpus;
    this.#supervisor = new Supervisor(limits, { cpus, random: () => 0.5 });
    this.#tick();
  }

  idleSince(worker: number): number | undefined {
    return this.#processes.get(worker)?.idleSince;
  }

  answered(worker: number): number {
    return this.#processes.get(worker)?.answered ?? 0;
  }

  busy(worker: number): boolean {
    const { said = "nothing", idleSince } = this.#processes.get(worker) ?? {};
    return said !== "nothing" && idleSince === undefined;
  }

  /** Lets an event happen, and checks the rules. */
  take([event, first, second]: PoolStep): void {
    this[event](first, second);
    this.#tick();
  }

  /** Nothing bad happens any more: the pool comes to the size that it must have, or to its end. */
  finish(): void {
    this.#refusing = false;
    const end = this.#now + REST;
    while (!this.#resting && this.#now < end) {
      for (const process of [...this.#processes.values()]) this.#behave(process);
      this.#now += Math.min(this.#wait, 1_000);
      this.#tick();
    }
    assert(this.#resting, `The pool comes to rest: ${this.#told}`);
    if (!this.#halted) assert.equal(this.#reloads, 0, "a reload ends");
  }

  ready(first: number): void {
    const process = this.#pick(first, ({ said, serves }) => said === "nothing" && serves);
    if (process === undefined) return;
    const starting = this.#view(process)?.state === "starting";
    assert.equal(this.#supervisor.ready(process.worker, this.#now), starting);
    assert(!this.#supervisor.ready(process.worker, this.#now), "nobody is ready twice");
    process.said = "ready";
    process.idleSince = this.#now;
  }

  /** Time passes, and the supervisor is called when it wants to be. */
  pass(first: number, second: number): void {
    const end = this.#now + first * second * 10;
    while (this.#now + this.#wait < end) {
      this.#now += this.#wait;
      this.#tick();
    }
    this.#now = end;
  }

  /** Somebody does what it was asked to do. */
  obey(first: number): void {
    const process = this.#pick(first, ({ retired, signals }) => retired || signals.length > 0);
    if (process !== undefined) this.#exit(process, "ok");
  }

  exit(first: number, second: number): void {
    const process = this.#pick(first);
    if (process !== undefined) this.#exit(process, ENDINGS[second % 3] ?? "ok");
  }

  refuseProcesses(first: number): void {
    this.#refusing = first % 2 === 0;
  }

  loadFailed(first: number): void {
    const process = this.#pick(first, ({ said, serves }) => said === "nothing" && serves);
    if (process !== undefined) this.#supervisor.loadFailed(process.worker, "no", this.#now);
  }

  leaving(first: number, second: number): void {
    const process = this.#pick(first, ({ said }) => said === "ready");
    if (process === undefined) return;
    if (second % 2 === 0) this.#supervisor.left(process.worker, this.#now);
    else this.#supervisor.leaving(process.worker, this.#now);
    process.said = "leaving";
  }

  work(first: number): void {
    const process = this.#pick(first, ({ said, retired }) => said === "ready" && !retired);
    if (process === undefined) return;
    process.idleSince = undefined;
    this.lastJobAt = this.#now;
  }

  answer(first: number): void {
    const process = this.#pick(first, ({ said }) => said !== "nothing");
    if (process === undefined) return;
    process.idleSince = this.#now;
    process.answered++;
    // It has heeded the first warning; the next job may bring it another one.
    process.signals = process.signals.filter((signal) => signal !== "SIGINT");
  }

  /** A handler does not stop; the broker says so once. */
  overrun(first: number): void {
    if (this.#limits.abortGrace === 0) return;
    const process = this.#pick(
      first,
      ({ said, signals, overran }) => said !== "nothing" && signals.length === 0 && !overran,
    );
    if (process === undefined) return;
    process.overran = true;
    this.#supervisor.overran(process.worker, this.#now);
  }

  /** A handler does not stop, and others run beside it. */
  isolate(first: number): void {
    const process = this.#pick(first, ({ said, overran }) => said === "ready" && !overran);
    if (process === undefined || this.#view(process)?.state !== "ready") return;
    process.overran = process.isolated = true;
    process.idleSince = undefined;
    this.#supervisor.isolated(process.worker, this.#now);
  }

  /** The babysitter reads what busy workers have used; some burn all the time. */
  judge(first: number): void {
    if (!this.#supervisor.babysitDue(this.#now)) return;
    const readings = [...this.#processes.values()].filter(({ said }) => said !== "nothing")
      .map(({ worker, idleSince, answered, cpuTime }) => {
        return { worker, job: idleSince === undefined ? answered : undefined, cpuTime };
      });
    for (const process of this.#processes.values()) process.cpuTime += first * 100;
    this.#supervisor.rogueReadings(readings, this.#now);
  }

  /** Somebody's memory grows, or shrinks. */
  grow(first: number, second: number): void {
    const process = this.#pick(first);
    if (process === undefined) return;
    this.#supervisor.memoryReadings([{ worker: process.worker, bytes: second }], this.#now);
  }

  resize(first: number, second: number): void {
    this.#limits.minWorkers = 1 + first % 4;
    this.#limits.maxWorkers = this.#limits.minWorkers + second % 4;
    const { minWorkers, maxWorkers } = this.#limits;
    this.#supervisor.resize(minWorkers, maxWorkers, this.#now);
  }

  reload(): void {
    if (this.#halted) return;
    if (!this.#supervisor.reloading) this.#reloads++; // during another it makes one of both
    this.#supervisor.reload(this.#now);
  }

  /** The machine was suspended: nobody is blamed for what did not happen meanwhile. */
  oversleep(): void {
    this.#now += this.#wait + OVERSLEPT;
    for (const process of this.#processes.values()) process.overdueAt += OVERSLEPT;
  }

  /** Rare, as little happens afterwards. */
  stop(first: number): void {
    if (first > 2) return;
    this.#supervisor.stop(this.#now);
    this.#halt();
  }

  /** As rare. */
  killAll(first: number): void {
    if (first > 1) return;
    this.#supervisor.killAll(this.#now);
    this.#halt();
  }

  #halt(): void {
    this.#halted = true;
    this.#reloads = 0;
  }

  #pick(index: number, fits: (process: Process) => boolean = () => true): Process | undefined {
    const processes = [...this.#processes.values()].filter(fits);
    return processes[index % Math.max(1, processes.length)];
  }

  #view({ worker }: Process): WorkerView | undefined {
    return this.#supervisor.worker(worker);
  }

  #exit(process: Process, ending: Ending): void {
    this.#processes.delete(process.worker);
    assert(this.#supervisor.exited(process.worker, this.#now, ending), "an exit has a reason");
    assert.equal(this.#supervisor.exited(process.worker, this.#now, ending), undefined);
  }

  #behave(process: Process): void {
    if (process.retired || process.signals.length > 0 || process.said === "leaving") {
      return this.#exit(process, "ok");
    }
    if (!process.serves) return this.#exit(process, "ok");
    const view = this.#view(process);
    if (view === undefined || isLeaving(view)) return this.#exit(process, "broken");
    if (view.state === "starting") this.#supervisor.ready(process.worker, this.#now);
    process.said = "ready";
    process.idleSince ??= this.#now;
  }

  #tick(): void {
    for (;;) {
      this.#wait = this.#supervisor.tick(this.#now, this);
      const actions = this.#supervisor.takeActions();
      if (actions.length === 0) break;
      for (const action of actions) this.#perform(action);
    }
    assert(this.#wait > 0, "a supervisor that has done what is due wants to sleep");
    assert(this.#supervisor.stopped ? this.#wait === Infinity : this.#wait <= 1_000);
    this.#checkSizes();
    this.#checkDeadlines();
  }

  #perform(action: Action): void {
    if (action.type === "spawn") return this.#spawn(action);
    if (action.type === "reloaded" || action.type === "reloadFailed") {
      this.#reloads--;
      assert(this.#reloads >= 0 || this.#halted, "a reload ends once");
      return;
    }
    if (this.#unborn.has(action.worker)) return; // decided before it was known
    const process = this.#processes.get(action.worker);
    assert(process, `Worker ${action.worker} of "${action.type}" is there`);
    if (action.type === "evict") {
      assert(process.isolated, "only who is isolated is evicted");
      this.#supervisor.overran(process.worker, this.#now);
    } else if (action.type === "retire") {
      assert(!process.retired, "nobody is asked to leave twice");
      process.retired = true;
    } else {
      assert(!process.signals.includes("SIGKILL"), "nobody is killed twice");
      assert(!process.signals.includes(action.signal), "each signal is harsher than the last");
      process.signals.push(action.signal);
    }
  }

  #spawn({ worker, purpose }: { worker: number; purpose: string }): void {
    assert(!this.#halted, "a pool that stops starts nobody");
    assert(worker > this.#last, "ids are never used twice");
    this.#last = worker;
    if (this.#refusing) {
      this.#unborn.add(worker);
      return this.#supervisor.spawnFailed(worker, this.#now);
    }
    const serves = purpose === "serve";
    const serving = [...this.#processes.values()].filter((process) => process.serves).length;
    const most = 2 * this.#limits.maxWorkers;
    assert(!serves || serving < most, `${serving} processes, and one more of at most ${most}`);
    this.#supervisor.spawned(worker, this.#now);
    this.#processes.set(worker, {
      worker,
      serves,
      said: "nothing",
      retired: false,
      signals: [],
      idleSince: undefined,
      answered: 0,
      cpuTime: 0,
      stopping: false,
      overran: false,
      isolated: false,
      overdueAt: this.#now + this.#limits.startTimeout,
    });
  }

  #checkSizes(): void {
    const { starting, ready, dequeue } = this.#supervisor.counts();
    const { maxWorkers, maxDequeueWorkers, startDelay } = this.#limits;
    const { maxRequests, maxMemory, maxAge } = this.#limits;
    const known = workersOf(this.#supervisor).map(({ worker }) => worker);
    assert.deepEqual(known.sort(), [...this.#processes.keys()].sort(), "every process is known");
    if (this.#halted) return assert.equal(starting + ready, 0, "everybody is asked to leave");
    assert(ready <= maxWorkers, `${ready} workers are ready, at most ${maxWorkers}`);
    assert(starting <= this.#cpus || startDelay > 0, `${starting} workers start at a time`);
    assert(dequeue <= maxDequeueWorkers, `${dequeue} workers dequeue`);
    const replacing = this.#supervisor.reloading || maxRequests + maxMemory + maxAge > 0;
    if (!replacing) assert(starting + ready <= maxWorkers, "no more than maxWorkers are started");
  }

  /** Whoever is late to be ready or to leave is killed. */
  #checkDeadlines(): void {
    for (const process of this.#processes.values()) {
      const view = this.#view(process);
      if (view?.state === "ready") continue;
      const finishing = view?.reason === "recycled" && this.busy(process.worker) && !this.#halted;
      if (view !== undefined && isLeaving(view) && (!process.stopping || finishing)) {
        process.stopping = true;
        const { stopTimeout, abortGrace } = this.#limits;
        const more = process.isolated ? 1000 + Math.max(stopTimeout, abortGrace) : 0;
        process.overdueAt = this.#now + stopTimeout + more;
      }
      const killed = process.signals.includes("SIGKILL");
      const inTime = this.#now + this.#wait <= process.overdueAt;
      assert(killed || inTime, `Worker ${process.worker} is killed in time`);
    }
  }

  get #resting(): boolean {
    if (this.#halted) return this.#supervisor.stopped;
    const { minWorkers, maxWorkers, minSpareWorkers } = this.#limits;
    const { starting, ready, stopping } = this.#supervisor.counts();
    const size = Math.min(maxWorkers, Math.max(minWorkers, minSpareWorkers));
    return ready === size && starting + stopping === 0 && !this.#supervisor.reloading;
  }

  get #told(): string {
    return JSON.stringify({ counts: this.#supervisor.counts(), limits: this.#limits });
  }
}
