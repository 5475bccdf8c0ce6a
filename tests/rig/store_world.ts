/**
 * A store and a fake user of it, for the cases that each store has to pass: it submits, runs what it is given, and asks.
 * The clock is driven by the test, or is the machine's: cases don't know which.
 */

import { strict as assert } from "node:assert";
import type { JobStore, StoreUser } from "../../store/job_store.ts";
import type {
  Frames,
  FromStore,
  JobAnswer,
  JobQuestion,
  JobStatus,
  OperatorAnswer,
  OperatorQuestion,
  StoreConfig,
  StoredRun,
  Submission,
  ToStore,
} from "../../store/messages.ts";
import { newJobId } from "../../wire/submission.ts";
import { LIMIT, until, within } from "./wait.ts";

/** What one kind of store is tested with. One rig is one place: what is opened there again has the same jobs. */
export interface StoreRig {
  /** ms since 1970. */
  now(): number;
  /** Lets time pass, ms. */
  pass(ms: number): Promise<void>;
  /** Whether time passes only when it is told to, so that much of it may. */
  readonly isDriven: boolean;
  /** Timers may be late by so much, ms. */
  readonly slackMs: number;
  /** Whether it refuses at random what it has done, and gives jobs twice: see faulty_store.ts. */
  readonly isFaulty?: boolean;
  open(
    config: StoreConfig,
    emit: (to: StoreUser, messages: FromStore[]) => void,
  ): Promise<JobStore>;
  /** Removes all. */
  dispose(): Promise<void>;
}

/** What a store answers in place of what was wanted. */
export class Refused extends Error {
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

/** What is submitted, where a test says nothing else: for the service "work". */
export type Words = Partial<Omit<Submission, "body">> & { body?: string | Uint8Array };

/** In place of a user: an operator asks. */
export const OPERATOR = Symbol("operator");
/** Who asks. */
export type Asker = string | typeof OPERATOR;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Bytes of a text. */
export function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** The text of bytes. */
export function textOf(bytes: Uint8Array | undefined): string {
  return decoder.decode(bytes);
}

/** The usual bounds, and services "work" and "other" without any. */
export function configOf(changes: Partial<StoreConfig> = {}): StoreConfig {
  const free = { maxRunningPerGroup: 0, rate: { perSecond: 0, burst: 0 } };
  return {
    storeBytes: 1024 ** 3,
    storeJobs: 100_000,
    resultTtl: 86_400_000,
    deadTtl: 86_400_000,
    submitTimeout: 5000,
    services: { work: free, other: free },
    schedules: {},
    ...changes,
  };
}

/** A submission, whole. */
export function submissionOf({ body = "", ...words }: Words): Submission {
  return {
    ...{ id: newJobId(), service: "work", user: "", key: "", runAt: 0, priority: 4, retries: 4 },
    backoff: { firstMs: 100, maxMs: 3_600_000 },
    ...{ requestTimeout: 0, expiresAt: 0, group: "", after: [], trace: "" },
    ...words,
    body: { bytes: typeof body === "string" ? bytesOf(body) : new Uint8Array(body) },
  };
}

/** What the second of two runs of one job answers. */
const OF_TWIN: Frames = { bytes: bytesOf("the result of a second run") };

type Answer = Exclude<FromStore, { type: "log" | "opened" | "failed" | "closed" | "job" }>;

/** A store, opened, and its two users in one. */
export class StoreWorld {
  readonly rig: StoreRig;
  /** Jobs that were given, in order, and are not taken yet. */
  readonly given: StoredRun[] = [];
  /** All jobs that were ever given. */
  readonly runs: StoredRun[] = [];
  /** Runs that the store wants to be cancelled. */
  readonly cancelled: number[] = [];
  readonly over: Extract<FromStore, { type: "over" }>[] = [];
  readonly logged: Extract<FromStore, { type: "log" }>[] = [];
  #store: JobStore | undefined;
  #config: StoreConfig;
  #numbers = 0;
  #waiting = new Map<number, (answer: Answer) => void>();
  #isOpen = false;
  #rooms = new Map<string, number>();
  #heard = new Map<string, number>();
  /** The try of each job that runs, or has ended, as far as this user knows. */
  readonly #tries = new Map<
    string,
    { attempt: number; run: StoredRun; twin?: StoredRun; isOver: boolean }
  >();

  constructor(rig: StoreRig, config: StoreConfig) {
    this.rig = rig;
    this.#config = config;
  }

  /** Opens a store at the place of a rig. */
  static async open(rig: StoreRig, changes: Partial<StoreConfig> = {}): Promise<StoreWorld> {
    const world = new StoreWorld(rig, configOf(changes));
    await world.#open();
    return world;
  }

  async #open(): Promise<void> {
    this.#isOpen = false;
    this.#store = await this.rig.open(this.#config, (to, messages) => {
      for (const message of messages) this.#hear(to, message);
    });
    await this.until("it is open", () => this.#isOpen);
  }

  /** Closes it. */
  async close(): Promise<void> {
    await this.#store?.close();
    this.#store = undefined;
  }

  /** Closes it, and opens it again; what was given and not answered is gone. */
  async reopen(changes: Partial<StoreConfig> = {}): Promise<void> {
    await this.close();
    this.#config = { ...this.#config, ...changes };
    this.given.length = 0;
    this.#tries.clear();
    this.#rooms.clear();
    this.#heard.clear();
    await this.#open();
  }

  #hear(to: StoreUser, message: FromStore): void {
    switch (message.type) {
      case "opened":
        this.#isOpen = true;
        return;
      case "log":
        return void this.logged.push(message);
      case "failed":
        throw new Error(message.message);
      case "closed":
      case "pulse":
        return;
      case "job":
        assert.equal(to, "plane");
        return this.#take(message.run);
      case "cancelRun":
        return void this.cancelled.push(message.run);
      case "over":
        return void this.over.push(message);
    }
    this.#waiting.get(message.number)?.(message);
    this.#waiting.delete(message.number);
  }

  #take(run: StoredRun): void {
    const { service } = run;
    this.#heard.set(service, (this.#heard.get(service) ?? 0) + 1);
    this.#rooms.set(service, (this.#rooms.get(service) ?? 0) - 1);
    assert.ok((this.#rooms.get(service) ?? 0) >= 0, "no more than there is room for");
    // A plane has room again for each run that ends.
    if (this.#isTwin(run)) return this.room((this.#rooms.get(service) ?? 0) + 1, service);
    this.#tries.set(run.id, { attempt: run.attempt, run, isOver: false });
    this.given.push(run);
    this.runs.push(run);
  }

  /** A job that is given twice is run twice; how the second run ends must not matter. */
  #isTwin(run: StoredRun): boolean {
    const known = this.#tries.get(run.id);
    if (!this.rig.isFaulty || known?.attempt !== run.attempt) return false;
    if (known.isOver) this.#endRun(run, 200, OF_TWIN);
    else known.twin = run;
    return true;
  }

  /** Says something to the store. */
  say(from: StoreUser, ...messages: ToStore[]): void {
    this.#store?.take(messages, from);
  }

  /** Lets time pass until a condition holds. */
  async until<T>(what: string, look: () => T | false | undefined): Promise<T> {
    if (!this.rig.isDriven) return await until(what, look);
    for (let i = 0; i < 2000; i++) {
      const seen = look();
      if (seen !== false && seen !== undefined) return seen;
      // Almost all is done at once; a store may wait for a commit, or for its next look.
      await this.rig.pass(i < 20 ? 0 : 1);
    }
    throw new Error(`Waited in vain until ${what}`);
  }

  /** Lets the store do what it would do now, to see that it does nothing. */
  async quiet(): Promise<void> {
    await this.rig.pass(this.rig.isDriven ? 50 : 300);
  }

  async #ask(from: StoreUser, message: (number: number) => ToStore): Promise<Answer> {
    const number = ++this.#numbers;
    let answer: Answer | undefined;
    this.#waiting.set(number, (heard) => answer = heard);
    const asked = message(number);
    this.say(from, asked);
    const heard = await this.until(`"${asked.type}" is answered`, () => answer);
    if (heard.type !== "refused") return heard;
    // As clients do: it may have been done, or not.
    if (this.isToBeRepeated(heard)) return await this.#ask(from, message);
    throw new Refused(heard.code, heard.message);
  }

  isToBeRepeated(answer: Answer): boolean {
    return this.rig.isFaulty === true && answer.type === "refused" && answer.code === 503;
  }

  /** Submits a job. */
  async submit(words: Words = {}): Promise<{ id: string; isNew: boolean }> {
    return await this.store(submissionOf(words));
  }

  /** Submits a job that is whole. */
  async store(job: Submission): Promise<{ id: string; isNew: boolean }> {
    const answer = await this.#ask("plane", (number) => ({ type: "submit", number, job }));
    assert.ok(answer.type === "stored");
    return { id: answer.id, isNew: answer.isNew };
  }

  /** Submits several at once. */
  async submitAll(all: readonly Words[]): Promise<string[]> {
    return (await Promise.all(all.map((words) => this.submit(words)))).map(({ id }) => id);
  }

  /** Asks of a job. */
  async ask(question: JobQuestion, asker: Asker = ""): Promise<JobAnswer> {
    const user = asker === OPERATOR ? undefined : asker;
    const answer = await this.#ask("plane", (number) => ({ type: "ask", number, user, question }));
    assert.ok(answer.type === "answer");
    return answer.answer;
  }

  /** A question that may wait: what has been answered so far. */
  begin(question: JobQuestion, user = ""): Pending {
    return new Pending(this, question, user);
  }

  async status(id: string, user: Asker = ""): Promise<JobStatus> {
    return (await this.ask({ type: "status", id, waitMs: 0 }, user)).status;
  }

  async result(id: string, user: Asker = ""): Promise<JobAnswer> {
    return await this.ask({ type: "result", id, waitMs: 0 }, user);
  }

  async cancel(id: string, user: Asker = ""): Promise<JobStatus> {
    return (await this.ask({ type: "cancel", id }, user)).status;
  }

  async forget(id: string, user: Asker = ""): Promise<JobStatus> {
    return (await this.ask({ type: "forget", id }, user)).status;
  }

  /** Asks as an operator. */
  async operate<T extends OperatorQuestion>(question: T): Promise<OperatorAnswer> {
    // What is retried starts with its first try again.
    if (question.type === "retry" || question.type === "retryDead") this.#tries.clear();
    const answer = await this.#ask("server", (number) => ({ type: "operate", number, question }));
    assert.ok(answer.type === "told");
    return answer.answer;
  }

  /** How many jobs were changed by an operator. */
  async count(question: OperatorQuestion): Promise<number> {
    const answer = await this.operate(question);
    assert.ok(answer.type === "done");
    return answer.count;
  }

  /** Ids of jobs, as an operator lists them, all pages. */
  async list(filter: { state?: JobStatus["state"]; service?: string } = {}): Promise<JobStatus[]> {
    const all: JobStatus[] = [];
    for (;;) {
      const after = all.at(-1)?.id;
      const answer = await this.operate({ type: "list", ...filter, limit: 100, after });
      assert.ok(answer.type === "list");
      all.push(...answer.jobs);
      if (answer.jobs.length < 100) return all;
    }
  }

  /** Applies another configuration, as a reload does. */
  configure(changes: Partial<StoreConfig>): void {
    this.#config = { ...this.#config, ...changes };
    this.say("server", { type: "configure", config: this.#config });
  }

  // ---- running ----

  /** How many more jobs it takes now. */
  room(jobs: number, service = "work"): void {
    this.#rooms.set(service, jobs);
    this.say("plane", { type: "room", service, jobs, heard: this.#heard.get(service) ?? 0 });
  }

  /** The next job, for which it makes room. */
  async next(service = "work"): Promise<StoredRun> {
    if (this.given.length === 0) this.room(1, service);
    await this.until("a job is given", () => this.given.length > 0);
    return this.given.shift() ?? assert.fail();
  }

  /** The next `count` jobs, all running at a time. */
  async nextAll(count: number, service = "work"): Promise<StoredRun[]> {
    this.room(count, service);
    await this.until(`${count} jobs are given`, () => this.given.length >= count);
    return this.given.splice(0);
  }

  /** Nothing was given that is not taken. */
  isIdle(): void {
    assert.equal(this.given.length, 0, "a job is given that should not be");
  }

  /** Ends a run. */
  end(run: StoredRun, code = 200, text = `result of ${textOf(run.body.bytes)}`): void {
    this.endWith(run, { bytes: bytesOf(text) }, code);
  }

  /** Ends a run with frames. */
  endWith(run: StoredRun, result: Frames, code = 200): void {
    const known = this.#tries.get(run.id);
    this.#endRun(run, code, result);
    if (known?.run !== run) return;
    known.isOver = true;
    if (known.twin !== undefined) this.#endRun(known.twin, 200, OF_TWIN);
  }

  #endRun({ run }: StoredRun, code: number, result: Frames): void {
    const outcome = { code, unstarted: false, result, ms: 1 };
    this.say("plane", { type: "ended", run, outcome });
  }

  /** Ends a run that was not started, by an answer of the broker. */
  endUnstarted(run: StoredRun, code: number): void {
    const known = this.#tries.get(run.id);
    this.#tries.delete(run.id);
    for (const each of [run, known?.twin]) {
      if (each === undefined) continue;
      const outcome = { code, unstarted: true, result: { bytes: bytesOf("") }, ms: 0 };
      this.say("plane", { type: "ended", run: each.run, outcome });
    }
  }

  /** Gives a run back: it was not started. */
  giveBack(run: StoredRun): void {
    const known = this.#tries.get(run.id);
    this.#tries.delete(run.id);
    for (const each of [run, known?.twin]) {
      if (each !== undefined) this.say("plane", { type: "returned", run: each.run });
    }
  }

  /** Runs the next job. */
  async run(code = 200, text?: string, service?: string): Promise<StoredRun> {
    const run = await this.next(service);
    this.end(run, code, text);
    return run;
  }

  /** Waits until a job is in a state. */
  async reaches(id: string, state: JobStatus["state"]): Promise<JobStatus> {
    const limit = performance.now() + LIMIT;
    let status = await this.status(id, OPERATOR);
    while (status.state !== state) {
      if (performance.now() > limit) assert.fail(`${id} is ${status.state}, not ${state}`);
      await this.rig.pass(this.rig.isDriven ? 1 : 5);
      status = await this.status(id, OPERATOR);
    }
    return status;
  }

  /** Keeps a checkpoint. */
  async checkpoint({ run }: StoredRun, text: string): Promise<void> {
    const value = { bytes: bytesOf(text) };
    const answer = await this.#ask(
      "plane",
      (number) => ({ type: "checkpoint", run, number, value }),
    );
    assert.equal(answer.type, "kept");
  }

  /** Says a question and hears what is answered, for `Pending`. */
  listen(message: (number: number) => ToStore, hear: (answer: Answer) => void): number {
    const number = ++this.#numbers;
    this.#waiting.set(number, hear);
    this.say("plane", message(number));
    return number;
  }
}

/** A question that waits for news. */
export class Pending {
  readonly #world: StoreWorld;
  #number = 0;
  /** Undefined: it still waits. */
  answer: JobAnswer | undefined;
  refusal: Refused | undefined;

  constructor(world: StoreWorld, question: JobQuestion, user: string) {
    this.#world = world;
    this.#ask(question, user);
  }

  #ask(question: JobQuestion, user: string): void {
    this.#number = this.#world.listen(
      (number) => ({ type: "ask", number, user, question }),
      (heard) => {
        if (heard.type === "answer") this.answer = heard.answer;
        else if (this.#world.isToBeRepeated(heard)) this.#ask(question, user);
        else if (heard.type === "refused") this.refusal = new Refused(heard.code, heard.message);
      },
    );
  }

  get isOpen(): boolean {
    return this.answer === undefined && this.refusal === undefined;
  }

  /** What is answered. */
  async answered(): Promise<JobAnswer> {
    await this.#world.until("a question that waits is answered", () => !this.isOpen);
    if (this.refusal !== undefined) throw this.refusal;
    return this.answer ?? assert.fail();
  }

  /** It is not needed any more. */
  withdraw(): void {
    this.#world.say("plane", { type: "withdraw", number: this.#number });
  }
}

/** Says that something is refused with a code. */
export async function refused(code: number, promise: Promise<unknown>): Promise<void> {
  const error = await within("it is refused", promise.then(() => undefined, (error) => error));
  assert.ok(error instanceof Refused, `it was not refused: ${error}`);
  assert.equal(error.code, code, error.message);
}
