/**
 * Decides how many workers live: starts, scales, recycles, reloads, watches and stops them. A pure
 * state machine: it is told what happened and answers with actions; it owns no process, clock or job.
 *
 * @module
 */

/** What bounds a pool. Intervals, timeouts, ages and CPU times are milliseconds. */
export interface Limits {
  /** Workers kept alive always. */
  minWorkers: number;
  /** Workers never exceeded, but for those that replace another: processes are at most twice as many. */
  maxWorkers: number;
  /** With fewer idle workers than this, more are started. */
  minSpareWorkers: number;
  /** With more idle workers than this, some are culled. */
  maxSpareWorkers: number;
  /** Jobs after which a worker is recycled; 0: never. */
  maxRequests: number;
  /** Fraction (0 to 1) by which each worker's own `maxRequests` may differ, so they don't end together. */
  maxRequestsJitter: number;
  /** Bytes of memory at which a worker that has got a job is recycled; 0: never. */
  maxMemory: number;
  /** The same fraction for each worker's own `maxMemory`. */
  maxMemoryJitter: number;
  /** Time after it became ready at which a worker is recycled; 0: never. */
  maxAge: number;
  /** The same fraction for each worker's own `maxAge`. */
  maxAgeJitter: number;
  /** Time without any job after which the pool shrinks to its minimum. */
  checkForSpawnInterval: number;
  /** Time between two looks for workers to cull. */
  checkForWaitingInterval: number;
  /** Time after a start in which nobody is culled. */
  minChildTtl: number;
  /** Time before the first start, and between two; 0: as many at a time as there are CPUs. */
  startDelay: number;
  /** Time a worker has to become ready. */
  startTimeout: number;
  /** Time a worker has to leave once it was asked to. */
  stopTimeout: number;
  /** Time a worker has to leave if its handler did not stop when it should; 0: `stopTimeout`. */
  abortGrace: number;
  /** Time between two dequeue workers; 0: none. */
  dequeueInterval: number;
  /** Dequeue workers at a time. */
  maxDequeueWorkers: number;
  /** Time between two looks at the CPU time of jobs; 0: none. */
  babysitInterval: number;
  /** CPU time one job may use. */
  rogueCpuTime: number;
}

/** Why a worker ended. */
export type ExitReason =
  | "stopped"
  | "culled"
  | "recycled"
  | "reload"
  | "crashed"
  | "rogue"
  | "overran"
  | "failed"
  | "timeout"
  | "left"
  | "dequeued";

/**
 * How a process ended: with code 0, as one that broke, or by what was no fault of its start: a signal from
 * outside, or a job that it had.
 */
export type Ending = "ok" | "broken" | "harmed";

/** What a worker was recycled for: it has answered, grown or lived enough. */
export type Wear = "requests" | "memory" | "age";

/** What a worker is for: clients' jobs, or one round of the handler's own backlog. */
export type Purpose = "serve" | "dequeue";

/** What a worker can be sent, the gentlest first. */
export type KillSignal = "SIGINT" | "SIGTERM" | "SIGKILL";

/** What is to be done now; "retire" asks a worker to finish its jobs and leave, "evict" ends an isolated one. */
export type Action =
  | { type: "spawn"; worker: number; purpose: Purpose }
  | { type: "retire"; worker: number }
  | { type: "evict"; worker: number }
  | { type: "kill"; worker: number; signal: KillSignal }
  | { type: "reloaded" }
  | { type: "reloadFailed"; message: string };

/** What the broker knows of the workers; read at each tick, so tell the broker of a worker first. */
export interface Load {
  /** When the last job was given to a worker. */
  lastJobAt: number;
  /** Since when `worker` has had no job; undefined while it has one. */
  idleSince(worker: number): number | undefined;
  /** Jobs that `worker` has answered. */
  answered(worker: number): number;
  /** Whether `worker` has a job. */
  busy(worker: number): boolean;
}

/** How much memory a worker has. */
export interface MemoryReading {
  /** Whose reading this is. */
  worker: number;
  /** Bytes of its process that are in memory. */
  bytes: number;
}

/** What a worker has used. */
export interface CpuReading {
  /** Whose reading this is. */
  worker: number;
  /** The job it runs; undefined: none. */
  job: number | undefined;
  /** CPU time (ms) of its process since that was started. */
  cpuTime: number;
}

/**
 * A worker's life. A dequeue worker is "ready" from its spawn, as it waits for nobody.
 *
 *     spawn → starting ─ready→ ready ─retire→ stopping → (exit)
 *                 └──── TERM, too slow, failed ───┘
 */
export type WorkerState = "starting" | "ready" | "stopping";

/** A worker as others see it: live, so copy what is to be kept. */
export interface WorkerView {
  /** Its id; ids count from 1 and are never used again. */
  readonly worker: number;
  /** What it is for. */
  readonly purpose: Purpose;
  /** The generation it was started in. */
  readonly generation: number;
  /** Where it is in its life. */
  readonly state: WorkerState;
  /** When its process was made; until then, when that was decided. */
  readonly spawnedAt: number;
  /** Why it is stopping; "rogue" also while it is ready and was interrupted. */
  readonly reason: ExitReason | undefined;
  /** What it was recycled for; undefined until that was decided. */
  readonly wear: Wear | undefined;
}

interface Worker extends WorkerView {
  /** When it was asked to leave, or gave reason to be, and when it said its last word; Infinity: not yet. */
  dismissedAt: number;
  leftAt: number;
  /** It has jobs beside one that does not stop, and is ended when these have ended. */
  isolated: boolean;
  /** The ready worker whose place it is to take, or `NOBODY`. */
  readonly replaces: number;
  state: WorkerState;
  /** When it came into its state, moved on by what was overslept. */
  since: number;
  spawnedAt: number;
  reason: ExitReason | undefined;
  /** The last one sent. */
  signal: KillSignal | undefined;
  /** It answered a job or lived for `SETTLE_TIME`: its death is no failed start. */
  settled: boolean;
  wear: Wear | undefined;
  /** Answered jobs, bytes and time at which it is recycled. */
  bounds: Record<Wear, number>;
  /** Bytes of its last reading. */
  memory: number;
  /** Its job when the babysitter first saw it. */
  watched: CpuReading | undefined;
}

/** No worker's id. */
const NOBODY = 0;
/** Processes that serve, those that leave included, are at most so many times `maxWorkers`. */
const PROCESSES_EACH = 2;
/** A process has so long to end once it has said its last word; without a job, also where it is in the way, ms. */
const LEFT_GRACE = 1_000;
const SETTLE_TIME = 1_000;
const START_BACK_OFF = 100;
const SPAWN_BACK_OFF = 1_000;
const MAX_BACK_OFF = 30_000;
/** Starts rest this long after workers were harmed again and again; the first time they don't, ms. */
const HARM_BACK_OFF = 50;
const MAX_HARM_BACK_OFF = 500;
/** Workers that are harmed within this time are harmed by the same, ms. */
const HARM_WAVE = 100;
/** The load changes without a word to us, so look at it this often. */
const HEARTBEAT = 1_000;
const MEMORY_INTERVAL = 1_000;
const UNBOUNDED: Record<Wear, number> = { requests: Infinity, memory: Infinity, age: Infinity };
const OVERSLEPT = 5_000;

/**
 * The pool's mind. Tell it what happened, call `tick`, then do what `takeActions` gives, in order.
 *
 * @example
 * ```ts
 * const pool = new Supervisor(limits, { cpus: navigator.hardwareConcurrency });
 * const wait = pool.tick(performance.now(), load);
 * for (const action of pool.takeActions()) perform(action);
 * ```
 */
export class Supervisor {
  readonly #cpus: number;
  readonly #random: () => number;
  readonly #workers = new Map<number, Worker>();
  #actions: Action[] = [];
  #limits: Limits;
  #lastWorker = 0;
  #generation = 1;
  /** A reload is under way to replace the generations below this; 0: none is. */
  #oldBelow = 0;
  #halted = false;
  #forced = false;
  #everReady = false;
  /** Unjittered delay after the failed starts in a row; 0: the last start was good. */
  #backOff = 0;
  /** Time from `#failedAt` to the next start. */
  #retryDelay = 0;
  #failedAt = -Infinity;
  /** When workers were last harmed before they had proved themselves, and the rest of starts after it. */
  #harmedAt = -Infinity;
  #harmDelay = 0;
  /** The last generation of which a worker was ready. */
  #provenGeneration = 0;
  #startedAt = -Infinity;
  /** When `startDelay` counts from: the first tick, then the last start. */
  #delayedFrom: number | undefined;
  #checkedAt = -Infinity;
  #readAt = -Infinity;
  #memoryReadAt = -Infinity;
  #awakeAt = -Infinity;
  /** The first tick makes it a time. */
  #dequeuedAt = Infinity;
  /** When the last tick asked to be called. */
  #wakeAt = Infinity;

  /**
   * Makes an empty pool; the first tick starts workers, at most `cpus` at a time.
   *
   * @throws {RangeError} when `minWorkers` or `maxWorkers` is no integer >= 1, or min is above max.
   */
  constructor(limits: Limits, options: { cpus: number; random?: () => number }) {
    checkSize(limits);
    this.#limits = { ...limits };
    this.#cpus = Math.max(1, options.cpus);
    this.#random = options.random ?? Math.random;
  }

  /** The number of the code that new workers run: 1, and one more with each reload. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether it was told to stop and nobody is left. */
  get stopped(): boolean {
    return this.#halted && this.#workers.size === 0;
  }

  /** Whether somebody had to be killed (SIGKILL) in order to stop. */
  get forced(): boolean {
    return this.#forced;
  }

  /** Whether any worker ever became ready. */
  get everReady(): boolean {
    return this.#everReady;
  }

  /** Whether older workers are being replaced. */
  get reloading(): boolean {
    return this.#oldBelow > 0;
  }

  /** A worker that has not exited. */
  worker(id: number): WorkerView | undefined {
    return this.#workers.get(id);
  }

  /** All workers that have not exited. */
  workers(): IterableIterator<WorkerView> {
    return this.#workers.values();
  }

  /** Serving workers by state, and dequeue workers of any state. */
  counts(): Record<WorkerState | "dequeue", number> {
    const counts = { starting: 0, ready: 0, stopping: 0, dequeue: 0 };
    for (const { purpose, state } of this.#workers.values()) {
      counts[purpose === "dequeue" ? "dequeue" : state]++;
    }
    return counts;
  }

  /** Takes the actions decided so far. */
  takeActions(): Action[] {
    const actions = this.#actions;
    this.#actions = [];
    return actions;
  }

  /** The process of `id` exists; its `startTimeout` begins. */
  spawned(id: number, now: number): void {
    const worker = this.#workers.get(id);
    if (worker === undefined) return;
    worker.spawnedAt = now;
    if (worker.state === "starting") worker.since = now;
  }

  /** The process of `id` could not be made: the system lacks something, so try again in 1 s or more. */
  spawnFailed(id: number, now: number): void {
    const worker = this.#workers.get(id);
    if (worker === undefined) return;
    this.#workers.delete(id);
    if (worker.purpose === "dequeue") return;
    this.#delayStarts(SPAWN_BACK_OFF, 1, now);
    this.#failReload(worker, "its process could not be made", now);
  }

  /** What kept processes from being made is over: the next start need not wait. */
  forgiveStarts(): void {
    this.#backOff = 0;
  }

  /** `id` is ready to serve; false if it is not expected to: unknown, ready already, or stopping. */
  ready(id: number, now: number): boolean {
    const worker = this.#workers.get(id);
    if (worker?.state !== "starting") return false;
    worker.state = "ready";
    worker.since = now;
    worker.bounds = this.#drawBounds();
    this.#everReady = true;
    this.#provenGeneration = Math.max(this.#provenGeneration, worker.generation);
    const old = this.#workers.get(worker.replaces);
    if (old !== undefined) this.#dismiss(old, this.#isOld(old) ? "reload" : "recycled", now);
    return true;
  }

  /** `id` says that it leaves, unasked. */
  leaving(id: number, now: number): void {
    const worker = this.#workers.get(id);
    if (worker === undefined || worker.state === "stopping") return;
    const early = isEarly(worker, now);
    toStopping(worker, "left", now);
    if (early) this.#startFailed(worker, "it left at once", now);
  }

  /** `id` has said its last word: nothing is left for its process but to end, and soon. */
  left(id: number, now: number): void {
    const worker = this.#workers.get(id);
    if (worker === undefined) return;
    this.leaving(id, now);
    worker.leftAt = Math.min(worker.leftAt, now);
  }

  /** The handler of `id` does not stop, but other jobs run beside it: `overran` comes when they have ended. */
  isolated(id: number, now: number): void {
    const worker = this.#workers.get(id);
    if (worker?.state !== "ready") return;
    toStopping(worker, "overran", now);
    worker.isolated = true;
  }

  /** The handler of `id` does not stop: TERM, and KILL after `abortGrace`. */
  overran(id: number, now: number): void {
    const worker = this.#workers.get(id);
    if (worker === undefined || worker.signal === "SIGKILL") return;
    const { abortGrace, stopTimeout } = this.#limits;
    const deadline = now + (abortGrace > 0 ? abortGrace : stopTimeout);
    if (worker.isolated || deadline < this.#deadline(worker)) {
      worker.state = "stopping";
      worker.reason = "overran";
      worker.isolated = false;
      worker.since = now;
      worker.dismissedAt = Math.min(worker.dismissedAt, now);
    }
    this.#kill(worker, "SIGTERM");
  }

  /** `id` could not load its handler, as `message` says, and will exit by itself. */
  loadFailed(id: number, message: string, now: number): void {
    const worker = this.#workers.get(id);
    if (worker === undefined || worker.state === "stopping") return;
    toStopping(worker, "failed", now);
    this.#startFailed(worker, message, now);
  }

  /** The process of `id` ended. Returns why; undefined if there was no such worker. */
  exited(id: number, now: number, ending: Ending = "ok"): ExitReason | undefined {
    const worker = this.#workers.get(id);
    if (worker === undefined) return undefined;
    this.#workers.delete(id);
    if (this.#halted) return "stopped";
    if (worker.purpose === "dequeue") {
      return worker.reason ?? (ending === "ok" ? "dequeued" : "crashed");
    }
    if (isEarly(worker, now)) this.#endedEarly(worker, ending, now);
    return worker.reason ?? (worker.state === "starting" ? "failed" : "crashed");
  }

  /** Whether `rogueReadings` wants to be told again. */
  babysitDue(now: number): boolean {
    const { babysitInterval } = this.#limits;
    return babysitInterval > 0 && now >= this.#readAt + babysitInterval;
  }

  /** Judges what the workers' jobs have used: INT for a rogue, TERM the next time, then KILL. */
  rogueReadings(readings: readonly CpuReading[], now: number): void {
    this.#readAt = now;
    for (const reading of readings) {
      const worker = this.#workers.get(reading.worker);
      // One that is recycled has all the time it wants, unless it is a rogue.
      const judged = worker?.reason === "rogue" || worker?.reason === "recycled";
      if (worker?.state === "ready" || judged) this.#judge(worker, reading, now);
    }
  }

  /** Whether `memoryReadings` wants to be told again. */
  memoryDue(now: number): boolean {
    return this.#limits.maxMemory > 0 && now >= this.#memoryReadAt + MEMORY_INTERVAL;
  }

  /** Takes note of the memory that workers have. */
  memoryReadings(readings: readonly MemoryReading[], now: number): void {
    this.#memoryReadAt = now;
    for (const reading of readings) {
      const worker = this.#workers.get(reading.worker);
      if (worker !== undefined) worker.memory = reading.bytes;
    }
  }

  /**
   * Changes how many workers there may be; those above `max` are retired, idle ones first.
   *
   * @throws {RangeError} when `min` or `max` is no integer >= 1, or min is above max.
   */
  resize(min: number, max: number, now: number): void {
    this.configure({ ...this.#limits, minWorkers: min, maxWorkers: max }, now);
  }

  /**
   * Changes all limits. A new `maxRequests`, `maxMemory` or `maxAge` is for workers that become ready later.
   *
   * @throws {RangeError} when `minWorkers` or `maxWorkers` is no integer >= 1, or min is above max.
   */
  configure(limits: Limits, now: number): void {
    checkSize(limits);
    if (limits.dequeueInterval !== this.#limits.dequeueInterval) this.#dequeuedAt = now;
    this.#limits = { ...limits };
  }

  /** Replaces all workers by new ones, without being short of any; ends in "reloaded" or "reloadFailed". */
  reload(now: number): void {
    if (this.#halted) return;
    this.#oldBelow = ++this.#generation;
    this.#backOff = 0; // the new code may be the cure
    this.#dismissStarting(now);
  }

  /** Lets workers finish and leave; whoever takes longer than `stopTimeout` is killed. */
  stop(now: number): void {
    this.#halted = true;
    this.#oldBelow = 0;
    for (const worker of this.#workers.values()) this.#dismiss(worker, "stopped", now);
  }

  /** Kills everybody at once. */
  killAll(now: number): void {
    this.#halted = true;
    this.#oldBelow = 0;
    for (const worker of this.#workers.values()) {
      toStopping(worker, "stopped", now);
      if (worker.signal !== "SIGKILL") this.#kill(worker, "SIGKILL");
    }
  }

  /** Does what is due at `now`; returns ms until it must run again, Infinity when all is over. */
  tick(now: number, load: Load): number {
    this.#forgiveOversleep(now);
    this.#killOverdue(now, load);
    if (!this.#halted) this.#steer(now, load);
    const wait = this.stopped ? Infinity : this.#nextDue(now) - now;
    this.#wakeAt = now + wait;
    return wait;
  }

  #steer(now: number, load: Load): void {
    this.#settle(now, load);
    this.#fitMax(now, load);
    const members = this.#members();
    const missing = this.#missing(members, load);
    if (missing <= 0) this.#cull(members, now, load);
    this.#start(missing, this.#outgoing(load, now), load, now);
    this.#endReload();
    this.#dequeue(now);
  }

  /** If we slept too long (a suspended machine, a debugger), so did the others: nobody is to blame. */
  #forgiveOversleep(now: number): void {
    const late = now - this.#wakeAt;
    if (late <= OVERSLEPT) return;
    // what happened after we woke, but before this tick, is not to end up in the future
    const later = (time: number) => Math.min(now, time + late);
    for (const worker of this.#workers.values()) {
      worker.since = later(worker.since);
      // Infinity is not to become now.
      if (worker.leftAt < Infinity) worker.leftAt = later(worker.leftAt);
      if (worker.dismissedAt < Infinity) worker.dismissedAt = later(worker.dismissedAt);
    }
    this.#failedAt = later(this.#failedAt);
    this.#harmedAt = later(this.#harmedAt);
    this.#startedAt = later(this.#startedAt);
    this.#checkedAt = later(this.#checkedAt);
    this.#readAt = later(this.#readAt);
    this.#dequeuedAt = later(this.#dequeuedAt);
    this.#awakeAt = now;
  }

  #killOverdue(now: number, load: Load): void {
    for (const worker of this.#workers.values()) {
      if (this.#isFinishing(worker, load)) worker.since = now;
      if (now < this.#deadline(worker)) continue;
      this.#kill(worker, "SIGKILL");
      if (worker.state !== "starting") continue;
      toStopping(worker, "timeout", now);
      const { startTimeout } = this.#limits;
      this.#startFailed(worker, `it was not ready within ${startTimeout} ms`, now);
    }
  }

  /** Whether it is recycled and has jobs yet: to be worn is no reason to cut them short. */
  #isFinishing({ worker, state, reason }: Worker, load: Load): boolean {
    return !this.#halted && state === "stopping" && reason === "recycled" && load.busy(worker);
  }

  /** When `worker` must have left its state. */
  #deadline({ state, since, leftAt, signal, reason, isolated }: Worker): number {
    const { startTimeout, stopTimeout, abortGrace } = this.#limits;
    if (state === "ready" || signal === "SIGKILL") return Infinity;
    if (state === "starting") return since + startTimeout;
    const grace = reason === "overran" && abortGrace > 0 ? abortGrace : stopTimeout;
    const time = isolated ? stopTimeout + LEFT_GRACE + grace : grace;
    return Math.min(since + time, leftAt + LEFT_GRACE);
  }

  #nextDue(now: number): number {
    const { babysitInterval, dequeueInterval, startDelay } = this.#limits;
    const times = [now + HEARTBEAT, this.#failedAt + this.#retryDelay, this.#cullAt()];
    times.push(this.#harmedAt + this.#harmDelay);
    if (startDelay > 0) times.push((this.#delayedFrom ?? now) + startDelay);
    if (babysitInterval > 0) times.push(this.#readAt + babysitInterval);
    if (dequeueInterval > 0) times.push(this.#dequeuedAt + dequeueInterval);
    for (const worker of this.#workers.values()) times.push(this.#deadline(worker));
    // what is past was done, or waits for an event
    return Math.min(...times.filter((time) => time > now));
  }

  /** A worker that was started after the last failure, and has proved itself, ends the back-off. */
  #settle(now: number, load: Load): void {
    for (const worker of this.#workers.values()) {
      if (worker.settled || worker.state !== "ready" || worker.purpose !== "serve") continue;
      worker.settled = now >= worker.since + SETTLE_TIME || load.answered(worker.worker) > 0;
      if (worker.settled && worker.spawnedAt >= this.#failedAt) this.#backOff = 0;
      if (worker.settled && worker.spawnedAt >= this.#harmedAt) this.#harmedAt = -Infinity;
    }
  }

  /** Retires what a new `maxWorkers` has no place for: starting ones, then idle, then busy ones. */
  #fitMax(now: number, load: Load): void {
    const members = this.#members();
    const excess = members.length - this.#limits.maxWorkers;
    if (excess <= 0) return;
    members.sort(byUse(load));
    for (const worker of members.slice(0, excess)) this.#dismiss(worker, "culled", now);
    this.#fitMax(now, load); // who was to replace one of them is a member now
  }

  /** Workers that serve or will; a replacement is none until it takes the place of a ready one. */
  #members(): Worker[] {
    return this.#serving().filter((worker) => !this.#isExtra(worker));
  }

  #serving(): Worker[] {
    return [...this.#workers.values()].filter(({ purpose, state }) =>
      purpose === "serve" && state !== "stopping"
    );
  }

  #isExtra({ state, replaces }: Worker): boolean {
    return state === "starting" && this.#workers.get(replaces)?.state === "ready";
  }

  #isOld({ generation }: Worker): boolean {
    return generation < this.#oldBelow;
  }

  #missing(members: Worker[], load: Load): number {
    const { minWorkers, maxWorkers, minSpareWorkers } = this.#limits;
    const total = members.length;
    // those that are starting will be idle
    const spares = members.filter((it) => isStarting(it) || isIdle(it, load)).length;
    return Math.max(minWorkers - total, Math.min(minSpareWorkers - spares, maxWorkers - total));
  }

  /** Starts workers that are missing, and then some for those that are `outgoing`, as far as it may now. */
  #start(missing: number, outgoing: readonly number[], load: Load, now: number): void {
    const starting = this.#serving().filter(isStarting).length;
    const wanted = Math.min(this.#freeStarts(now), Math.max(0, missing));
    const room = this.#room;
    if (wanted > room) this.#makeRoom(wanted - room, load, now);
    const free = Math.min(this.#freeStarts(now), room);
    const newcomers = Math.min(free, wanted);
    for (let count = 0; count < newcomers; count++) this.#spawn("serve", NOBODY, now);
    // Who is replaced serves on meanwhile: there is no hurry, and requests need the CPUs too.
    const calm = Math.ceil(this.#cpus / 2) - starting - newcomers;
    const replacements = Math.max(0, Math.min(free - newcomers, calm));
    for (const replaces of outgoing.slice(0, replacements)) this.#spawn("serve", replaces, now);
  }

  /** Processes that may yet be started: each counts until it has ended. */
  get #room(): number {
    const serving = [...this.#workers.values()].filter(({ purpose }) => purpose === "serve").length;
    return Math.max(0, PROCESSES_EACH * this.#limits.maxWorkers - serving);
  }

  /** Ends what should have left, as workers are missing and there is no room for them. */
  #makeRoom(count: number, load: Load, now: number): void {
    const leaving = [...this.#workers.values()].filter(({ purpose, state }) =>
      purpose === "serve" && state === "stopping"
    );
    const dying = leaving.filter(({ signal }) => signal === "SIGKILL").length;
    const alone = this.#serving().length === 0;
    const inTheWay = leaving
      .filter((worker) =>
        worker.signal !== "SIGKILL" && (alone || this.#isOverdue(worker, load, now))
      )
      .sort((a, b) => a.leftAt - b.leftAt || a.dismissedAt - b.dismissedAt);
    for (const worker of inTheWay.slice(0, Math.max(0, count - dying))) {
      if (worker.isolated) this.#actions.push({ type: "evict", worker: worker.worker });
      else this.#kill(worker, "SIGKILL");
    }
  }

  /** Whether it takes longer to leave than it may while others wait for its place. */
  #isOverdue(worker: Worker, load: Load, now: number): boolean {
    if (worker.leftAt <= now) return true;
    const patience = load.busy(worker.worker) && !worker.isolated
      ? this.#limits.stopTimeout
      : LEFT_GRACE;
    return now >= worker.dismissedAt + patience;
  }

  /** Starts that may begin now: one a CPU; after a failed one, one until it has proved itself. */
  #freeStarts(now: number): number {
    const { startDelay } = this.#limits;
    this.#delayedFrom ??= now;
    if (now < Math.max(this.#delayedFrom + startDelay, this.#harmedAt + this.#harmDelay)) return 0;
    const serving = this.#serving();
    if (startDelay > 0 && this.#backOff === 0) return 1;
    if (this.#backOff === 0) return Math.max(0, this.#cpus - serving.filter(isStarting).length);
    const resting = now < this.#failedAt + this.#retryDelay;
    return resting || serving.some(({ settled }) => !settled) ? 0 : 1;
  }

  #cullAt(): number {
    const { checkForWaitingInterval, minChildTtl } = this.#limits;
    return Math.max(this.#checkedAt + checkForWaitingInterval, this.#startedAt + minChildTtl);
  }

  /** Retires idle workers above `maxSpareWorkers`, or after a time without jobs all above the floor. */
  #cull(members: Worker[], now: number, load: Load): void {
    if (this.reloading || now < this.#cullAt()) return;
    this.#checkedAt = now;
    const { minWorkers, minSpareWorkers, maxSpareWorkers, checkForSpawnInterval } = this.#limits;
    const ready = members.filter(isReady);
    const idle = ready.filter((it) => isIdle(it, load));
    // below this floor, we would start them again
    const floor = Math.max(minWorkers, ready.length - idle.length + minSpareWorkers);
    const quiet = now >= Math.max(load.lastJobAt, this.#awakeAt) + checkForSpawnInterval;
    const excess = quiet ? idle.length : idle.length - maxSpareWorkers;
    const count = Math.max(0, Math.min(excess, ready.length - floor));
    idle.sort(byUse(load));
    for (const worker of idle.slice(0, count)) this.#dismiss(worker, "culled", now);
  }

  /** Whom to start replacements for: all that are old, else one that is worn. `ready` retires them. */
  #outgoing(load: Load, now: number): number[] {
    const serving = this.#serving();
    const replaced = new Set(serving.filter(isStarting).map(({ replaces }) => replaces));
    const ready = serving.filter((it) => isReady(it) && !replaced.has(it.worker));
    if (this.reloading) return ready.filter((it) => this.#isOld(it)).map(({ worker }) => worker);
    if (serving.some((it) => this.#isExtra(it))) return []; // one at a time
    for (const worker of ready) {
      worker.wear = wearOf(worker, load, now);
      if (worker.wear !== undefined) return [worker.worker];
    }
    return [];
  }

  #drawBounds(): Record<Wear, number> {
    const { maxRequests, maxRequestsJitter, maxMemory, maxMemoryJitter } = this.#limits;
    const { maxAge, maxAgeJitter } = this.#limits;
    return {
      requests: this.#draw(maxRequests, maxRequestsJitter),
      memory: this.#draw(maxMemory, maxMemoryJitter),
      age: this.#draw(maxAge, maxAgeJitter),
    };
  }

  /** A worker's own limit, so that not all reach theirs together. */
  #draw(limit: number, jitter: number): number {
    if (limit === 0) return Infinity;
    const spread = jitter * (2 * this.#random() - 1);
    return Math.max(1, Math.round(limit * (1 + spread)));
  }

  #endReload(): void {
    if (!this.reloading) return;
    const ready = this.#serving().filter(isReady);
    if (ready.length === 0 || ready.some((worker) => this.#isOld(worker))) return;
    this.#oldBelow = 0;
    this.#actions.push({ type: "reloaded" });
  }

  /** Stays with the workers there are, of whatever generation. */
  #failReload(worker: Worker, why: string, now: number): void {
    if (!this.reloading || worker.generation < this.#generation) return;
    this.#oldBelow = 0;
    this.#dismissStarting(now);
    const message = `Cannot reload as worker ${worker.worker} failed to start: ${why}`;
    this.#actions.push({ type: "reloadFailed", message });
  }

  #startFailed(worker: Worker, why: string, now: number): void {
    if (worker.purpose === "dequeue") return; // its interval is its back-off
    this.#delayStarts(START_BACK_OFF, 0.5 + this.#random() / 2, now);
    this.#failReload(worker, why, now);
  }

  /** A start that was harmed says nothing of the handler, if that is known to start. */
  #endedEarly(worker: Worker, ending: Ending, now: number): void {
    const proven = worker.generation <= this.#provenGeneration;
    if (ending !== "harmed" || !proven) return this.#startFailed(worker, "it ended at once", now);
    if (now < this.#harmedAt + HARM_WAVE) return;
    const harmedBefore = this.#harmedAt > -Infinity;
    const next = Math.max(HARM_BACK_OFF, 2 * this.#harmDelay);
    this.#harmDelay = harmedBefore ? Math.min(MAX_HARM_BACK_OFF, next) : 0;
    this.#harmedAt = now;
  }

  #delayStarts(first: number, jitter: number, now: number): void {
    const waiting = now < this.#failedAt + this.#retryDelay;
    if (waiting && this.#backOff >= first) return; // they fail in waves; a wave counts once
    this.#backOff = Math.min(MAX_BACK_OFF, Math.max(first, this.#backOff * 2));
    this.#retryDelay = this.#backOff * jitter;
    this.#failedAt = now;
  }

  #dequeue(now: number): void {
    const { dequeueInterval, maxDequeueWorkers } = this.#limits;
    this.#dequeuedAt = Math.min(this.#dequeuedAt, now);
    if (dequeueInterval === 0 || now < this.#dequeuedAt + dequeueInterval) return;
    this.#dequeuedAt = now;
    if (this.counts().dequeue < maxDequeueWorkers) this.#spawn("dequeue", NOBODY, now);
  }

  #judge(worker: Worker, reading: CpuReading, now: number): void {
    const { watched } = worker;
    if (reading.job === undefined || watched?.job !== reading.job) {
      worker.watched = reading;
      if (worker.state === "ready") worker.reason = worker.signal = undefined;
      return;
    }
    const used = reading.cpuTime - watched.cpuTime;
    if (used <= this.#limits.rogueCpuTime || worker.signal === "SIGKILL") return;
    if (worker.signal === undefined) worker.reason = "rogue"; // it may still recover
    else toStopping(worker, "rogue", now);
    this.#kill(worker, harsher(worker.signal));
  }

  #spawn(purpose: Purpose, replaces: number, now: number): void {
    const worker = ++this.#lastWorker;
    if (purpose === "serve") this.#startedAt = this.#delayedFrom = now;
    this.#workers.set(worker, {
      worker,
      purpose,
      generation: this.#generation,
      replaces,
      state: purpose === "serve" ? "starting" : "ready",
      dismissedAt: Infinity,
      isolated: false,
      leftAt: Infinity,
      since: now,
      spawnedAt: now,
      reason: undefined,
      signal: undefined,
      settled: false,
      wear: undefined,
      bounds: UNBOUNDED,
      memory: 0,
      watched: undefined,
    });
    this.#actions.push({ type: "spawn", worker, purpose });
  }

  /** Has `worker` leave: politely if clients' jobs may be in its hands. */
  #dismiss(worker: Worker, reason: ExitReason, now: number): void {
    if (worker.state === "stopping") return;
    const serves = worker.state === "ready" && worker.purpose === "serve";
    toStopping(worker, reason, now);
    if (serves) this.#actions.push({ type: "retire", worker: worker.worker });
    else this.#kill(worker, "SIGTERM");
  }

  #dismissStarting(now: number): void {
    for (const worker of this.#serving().filter(isStarting)) this.#dismiss(worker, "reload", now);
  }

  #kill(worker: Worker, signal: KillSignal): void {
    worker.signal = signal;
    if (this.#halted && signal === "SIGKILL") this.#forced = true;
    this.#actions.push({ type: "kill", worker: worker.worker, signal });
  }
}

/** Starting or ready → stopping; what made it stop first stays. */
function toStopping(worker: Worker, reason: ExitReason, now: number): void {
  if (worker.state === "stopping") return;
  worker.state = "stopping";
  worker.reason = reason;
  worker.since = worker.dismissedAt = now;
}

/** Whether to end now is to have failed to start. */
function isEarly({ state, since, settled }: Worker, now: number): boolean {
  if (state === "ready") return !settled && now < since + SETTLE_TIME;
  return state === "starting";
}

function isStarting({ state }: Worker): boolean {
  return state === "starting";
}

function isReady({ state }: Worker): boolean {
  return state === "ready";
}

function isIdle({ state, worker }: Worker, load: Load): boolean {
  return state === "ready" && load.idleSince(worker) !== undefined;
}

/** What `worker` is worn by; undefined if it is as good as new. */
function wearOf(
  { worker, since, bounds, memory }: Worker,
  load: Load,
  now: number,
): Wear | undefined {
  const answered = load.answered(worker);
  if (answered >= bounds.requests) return "requests";
  // One that nobody has asked anything is what a new one would be.
  const used = answered > 0 || load.busy(worker);
  if (used && memory >= bounds.memory) return "memory";
  return now - since >= bounds.age ? "age" : undefined;
}

/** The least useful first: starting, idle for long, busy; of two alike the newest. */
function byUse(load: Load): (a: Worker, b: Worker) => number {
  const rank = ({ state, worker }: Worker) =>
    state === "starting" ? -1 : load.idleSince(worker) ?? Number.MAX_VALUE;
  return (a, b) => rank(a) - rank(b) || b.worker - a.worker;
}

function harsher(signal: KillSignal | undefined): KillSignal {
  if (signal === undefined) return "SIGINT";
  return signal === "SIGINT" ? "SIGTERM" : "SIGKILL";
}

function checkSize({ minWorkers, maxWorkers }: Limits): void {
  for (const [name, value] of Object.entries({ minWorkers, maxWorkers })) {
    if (Number.isInteger(value) && value >= 1) continue;
    throw new RangeError(
      `Cannot size the pool as "${name}" must be an integer >= 1: current value is ${value}`,
    );
  }
  if (minWorkers <= maxWorkers) return;
  throw new RangeError(
    `Cannot size the pool as "maxWorkers" must be >= "minWorkers" (${minWorkers}): ` +
      `current value is ${maxWorkers}`,
  );
}
