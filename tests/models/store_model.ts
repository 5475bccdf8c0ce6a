/**
 * Random events for a store of jobs, against a plain model of a few jobs: each is in the state that it must be in, runs
 * as often as it may, is given when it may be and not before, and is there again when the store is opened again.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import fc from "fast-check";
import type { JobState, JobStatus, StoredRun } from "../../store/messages.ts";
import { DrivenClock } from "../rig/driven_clock.ts";
import { Folder } from "../rig/folder.ts";
import { SqliteRig } from "../rig/sqlite_rig.ts";
import { OPERATOR, Refused, StoreWorld, type Words } from "../rig/store_world.ts";

/** How often each event comes, of all weights. */
const EVENTS = {
  submit: 30,
  room: 20,
  end: 20,
  giveBack: 4,
  pass: 15,
  cancel: 5,
  forget: 3,
  retry: 4,
  pause: 2,
  resume: 4,
  reopen: 3,
};

/** An event and its two numbers. */
export type StoreStep = readonly [event: keyof typeof EVENTS, first: number, second: number];

/** Sequences of up to `maxLength` events. */
export function storeSteps(maxLength: number): fc.Arbitrary<StoreStep[]> {
  const events = Object.entries(EVENTS).map(([event, weight]) => ({
    arbitrary: fc.constant(event),
    weight,
  }));
  const step = fc.tuple(fc.oneof(...events), fc.nat(1000), fc.nat(1000)) as fc.Arbitrary<StoreStep>;
  // By default they would be ten steps long.
  return fc.array(step, { maxLength, size: "max" });
}

/** Does the steps, and checks after each what must hold. */
export async function checkStore(steps: readonly StoreStep[]): Promise<void> {
  const rig = new SqliteRig(new Folder(), new DrivenClock());
  const model = new Model(await StoreWorld.open(rig, { services: { work: RULES } }));
  try {
    for (const [event, first, second] of steps) {
      await model[event](first, second);
      await model.check();
    }
    await model.finish();
  } finally {
    await model.world.close();
    await rig.dispose();
  }
}

const GROUP_LIMIT = 2;
const RULES = { maxRunningPerGroup: GROUP_LIMIT, rate: { perSecond: 0, burst: 0 } };
const BACKOFF = { firstMs: 100, maxMs: 400 };
const CODES = [200, 200, 500, 502, 400] as const;
/** A run that lasts so long counts if the store is opened again meanwhile, ms. */
const COUNTED = 1000;
/** A service whose workers gave a job back may be left alone for so long, ms. */
const HOLD = 150;

/** A job as it should be. */
interface Expected {
  readonly id: string;
  readonly words: Words & { retries: number };
  state: JobState;
  /** Tries that have ended. */
  tries: number;
  /** It may run from then on, and does by then. */
  from: number;
  by: number;
  /** Whether it has started since it was submitted, or retried. */
  hasStarted: boolean;
  /** The same before the run that it has now, or had last. */
  hadStarted: boolean;
  startedAt: number;
  /** As the store has it; 0: it has not ended. */
  endedAt: number;
  /** How often it was cut off by the store's end. */
  cuts: number;
}

const ENDS: readonly JobState[] = ["done", "failed", "cancelled", "expired"];

class Model {
  readonly world: StoreWorld;
  readonly #jobs: Expected[] = [];
  readonly #runs = new Map<Expected, StoredRun>();
  #room = 0;
  #heldUntil = 0;
  #isPaused = false;

  constructor(world: StoreWorld) {
    this.world = world;
  }

  get #now(): number {
    return this.world.rig.now();
  }

  #pick(number: number): Expected | undefined {
    return this.#jobs[number % Math.max(1, this.#jobs.length)];
  }

  #lives(job: Expected): boolean {
    return !ENDS.includes(job.state);
  }

  // ---- events ----

  async submit(first: number, second: number): Promise<void> {
    const other = second % 3 === 0 ? this.#pick(first) : undefined;
    const now = this.#now;
    const delay = [0, 0, 50, 500][first % 4] ?? 0;
    const words = {
      retries: first % 3,
      backoff: BACKOFF,
      key: first % 5 === 0 ? "k" : "",
      group: second % 2 === 0 ? "g" : "",
      priority: second % 10,
      runAt: delay === 0 ? 0 : now + delay,
      expiresAt: second % 7 === 0 ? now + (second % 2 === 0 ? 300 : 1500) : 0,
      after: other === undefined ? [] : [other.id],
    };
    const holder = words.key === ""
      ? undefined
      : this.#jobs.find((job) => job.words.key === words.key && this.#lives(job));
    const { id, isNew } = await this.world.submit(words);
    assert.deepEqual(
      { isNew },
      { isNew: holder === undefined },
      "a key is taken while its job lives",
    );
    if (holder !== undefined) return assert.equal(id, holder.id);
    const from = Math.max(now, words.runAt);
    const of = {
      tries: 0,
      hasStarted: false,
      hadStarted: false,
      startedAt: 0,
      endedAt: 0,
      cuts: 0,
    };
    this.#jobs.push({ id, words, state: "scheduled", from, by: from, ...of });
  }

  room(first: number): void {
    this.#takeGiven();
    this.#room = first % 7;
    this.world.room(this.#room);
  }

  end(first: number, second: number): void {
    const job = [...this.#runs.keys()][first % Math.max(1, this.#runs.size)];
    const run = job && this.#runs.get(job);
    if (job === undefined || run === undefined) return;
    const code = CODES[second % CODES.length] ?? 200;
    this.#runs.delete(job);
    this.world.end(run, code, `${job.id} ${job.tries}`);
    job.tries++;
    if (code === 200) job.state = "done";
    else if (code === 400 || job.tries > job.words.retries) job.state = "failed";
    else {
      job.state = "scheduled";
      const pause = Math.min(BACKOFF.maxMs, BACKOFF.firstMs * 2 ** (job.tries - 1));
      job.from = this.#now + 0.8 * pause - 1;
      job.by = this.#now + 1.2 * pause + 1;
    }
  }

  giveBack(first: number): void {
    const job = [...this.#runs.keys()][first % Math.max(1, this.#runs.size)];
    const run = job && this.#runs.get(job);
    if (job === undefined || run === undefined) return;
    this.#runs.delete(job);
    this.world.giveBack(run);
    this.#waits(job);
    this.#heldUntil = this.#now + HOLD;
  }

  async pass(first: number): Promise<void> {
    await this.world.rig.pass(first);
  }

  async cancel(first: number): Promise<void> {
    const job = this.#pick(first);
    if (job === undefined) return;
    if (!this.#lives(job) && job.state !== "cancelled") {
      return await this.#refuses(() => this.world.cancel(job.id));
    }
    assert.equal((await this.world.cancel(job.id)).state, "cancelled");
    job.state = "cancelled";
    if (this.#runs.delete(job)) job.tries++;
  }

  async forget(first: number): Promise<void> {
    const job = this.#pick(first);
    if (job === undefined || this.#isNeeded(job)) return;
    await this.world.forget(job.id);
    this.#jobs.splice(this.#jobs.indexOf(job), 1);
    this.#runs.delete(job);
    await assert.rejects(this.world.status(job.id), { code: 404 });
  }

  /** Whether another one that lives waits for it: what becomes of that is another matter. */
  #isNeeded({ id }: Expected): boolean {
    return this.#jobs.some((job) => this.#lives(job) && job.words.after?.includes(id));
  }

  async retry(first: number): Promise<void> {
    const job = this.#pick(first);
    // Whom a failed one has failed with, or whose time is over, would fail again.
    if (job === undefined || job.words.after?.length !== 0 || job.words.expiresAt !== 0) return;
    if (job.state !== "failed" && job.state !== "cancelled") {
      return await this.#refuses(() => this.world.count({ type: "retry", id: job.id }));
    }
    const isTaken = job.words.key !== "" &&
      this.#jobs.some((other) => other.words.key === job.words.key && this.#lives(other));
    if (isTaken) return await this.#refuses(() => this.world.count({ type: "retry", id: job.id }));
    await this.world.count({ type: "retry", id: job.id });
    const now = this.#now;
    Object.assign(job, {
      state: "scheduled",
      tries: 0,
      from: now,
      by: now,
      hasStarted: false,
      cuts: 0,
    });
  }

  async #refuses(act: () => Promise<unknown>): Promise<void> {
    const error = await act().then(() => undefined, (error) => error);
    assert.ok(error instanceof Refused && error.code === 409, `409 was to come: ${error}`);
  }

  async pause(): Promise<void> {
    await this.world.operate({ type: "pause", service: "work" });
    this.#isPaused = true;
  }

  async resume(): Promise<void> {
    await this.world.operate({ type: "resume", service: "work" });
    this.#isPaused = false;
  }

  /** A run has come to nothing: its job waits as before. */
  #waits(job: Expected, hasStarted = job.hadStarted): void {
    Object.assign(job, { state: "waiting", from: this.#now, by: this.#now, hasStarted });
  }

  /** The store ends, and is opened again; who ran jobs is gone. */
  async reopen(): Promise<void> {
    await this.world.reopen();
    for (const job of this.#runs.keys()) {
      const isCounted = this.#now - job.startedAt >= COUNTED;
      // One that ran when its time was over was started before.
      const { expiresAt = 0 } = job.words;
      this.#waits(job, job.hadStarted || isCounted || expiresAt <= this.#now);
      if (isCounted) job.cuts++;
    }
    this.#runs.clear();
    this.#room = 0;
  }

  // ---- what must hold ----

  async check(): Promise<void> {
    // Timers may need another turn.
    await this.world.rig.pass(2);
    this.#takeGiven();
    for (const job of this.#jobs) await this.#checkJob(job);
    this.#checkIdle();
    assert.equal((await this.world.list()).length, this.#jobs.length, "each job is there once");
  }

  #takeGiven(): void {
    for (const run of this.world.given.splice(0)) this.#given(run);
  }

  #given(run: StoredRun): void {
    const job = this.#jobs.find(({ id }) => id === run.id) ??
      assert.fail("an unknown job is given");
    assert.ok(this.#room > 0, "there is room");
    assert.ok(!this.#isPaused, "the service is not paused");
    assert.ok(job.state === "scheduled" || job.state === "waiting", `${job.state} jobs don't run`);
    assert.ok(this.#now >= job.from, "it is due");
    assert.deepEqual([run.attempt, run.tries], [job.tries + 1, job.words.retries + 1]);
    for (const id of job.words.after ?? []) {
      const other = this.#jobs.find((each) => each.id === id);
      assert.ok(other === undefined || other.state === "done", "those before it are done");
    }
    this.#room--;
    const hadStarted = job.hasStarted;
    Object.assign(job, { state: "running", hadStarted, hasStarted: true, startedAt: this.#now });
    this.#runs.set(job, run);
    assert.ok(job.words.group === "" || this.#running("g") <= GROUP_LIMIT, "its group has room");
  }

  #running(group: string): number {
    return [...this.#runs.keys()].filter(({ words }) => words.group === group).length;
  }

  async #checkJob(job: Expected): Promise<void> {
    const status = await this.world.status(job.id, OPERATOR);
    this.#goOn(job, status);
    assert.equal(status.state, job.state, `${job.id} is ${status.state}: ${status.message}`);
    assert.equal(status.attempt, job.tries + (job.state === "running" ? 1 : 0));
    job.endedAt = status.endedAt ?? 0;
    assert.equal(status.endedAt !== undefined, ENDS.includes(job.state));
    if (job.state !== "done") return;
    const { result } = await this.world.result(job.id);
    const text = new TextDecoder().decode(result?.bytes);
    assert.equal(text, `${job.id} ${job.tries - 1}`, "its result is that of its last try");
  }

  /** What time, and the ends of others, have made of a job. */
  #goOn(job: Expected, status: JobStatus): void {
    if (job.state !== "scheduled" && job.state !== "waiting") return;
    const others = (job.words.after ?? []).map((id) => this.#jobs.find((each) => each.id === id));
    const failures = others.filter((other) =>
      other !== undefined && ENDS.includes(other.state) && other.state !== "done"
    );
    const failedAt = Math.min(...failures.map((other) => other?.endedAt ?? 0));
    const { expiresAt = 0 } = job.words;
    const isOver = expiresAt !== 0 && !job.hasStarted && expiresAt <= this.#now;
    // Of two ends, the first one counts.
    if (isOver && expiresAt === failedAt && status.state === "failed") job.state = "failed";
    else if (isOver && expiresAt <= failedAt) job.state = "expired";
    else if (failedAt <= this.#now) job.state = "failed";
    else if (job.cuts >= 3 * (job.words.retries + 1) && status.code === 502) job.state = "failed";
    else if (others.some((other) => other !== undefined && other.state !== "done")) {
      job.state = "scheduled";
    } else if (this.#now > job.by) job.state = "waiting";
    else if (this.#now < job.from) job.state = "scheduled";
    else if (status.state === "scheduled" || status.state === "waiting") job.state = status.state;
  }

  /** What may run, runs. */
  #checkIdle(): void {
    if (this.#room === 0 || this.#isPaused) return;
    for (const job of this.#jobs) {
      if (job.state !== "waiting") continue;
      // Where one came back, the service is left alone for a moment.
      const isHeld = this.#now < this.#heldUntil;
      const isFull = job.words.group === "g" && this.#running("g") >= GROUP_LIMIT;
      assert.ok(isHeld || isFull, `${job.id} waits though there is room`);
    }
  }

  /** All jobs end if they are let. */
  async finish(): Promise<void> {
    await this.resume();
    for (let i = 0; i < 200 && this.#jobs.some((job) => this.#lives(job)); i++) {
      this.room(3);
      await this.check();
      for (const run of [...this.#runs.keys()]) {
        const at = [...this.#runs.keys()].indexOf(run);
        this.end(at, 0);
      }
      await this.pass(100);
      await this.check();
    }
    for (const job of this.#jobs) assert.ok(!this.#lives(job), `${job.id} is still ${job.state}`);
  }
}
