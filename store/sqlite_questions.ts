/**
 * What is asked of one job, at once or once there is news.
 *
 * @module
 */

import type { StoreUser } from "./job_store.ts";
import type { JobQuestion, JobStatus, ToStore } from "./messages.ts";
import type { SqliteEnds } from "./sqlite_ends.ts";
import { type Ground, serviceOf } from "./sqlite_ground.ts";
import type { Batch, Change } from "./sqlite_ledger.ts";
import { Stage } from "./sqlite_schema.ts";
import { type JobRow, statusOf } from "./sqlite_row.ts";
import type { Wait } from "./waits.ts";

/** A question as it comes. */
export type AskMessage = Extract<ToStore, { type: "ask" }>;
type Waiting = Extract<JobQuestion, { type: "status" | "result" }>;
type Changing = Extract<JobQuestion, { type: "cancel" | "forget" }>;

/** A question waits so long at most, ms. */
const MAX_WAIT = 3_600_000;

/** Answers. */
export class SqliteQuestions {
  readonly #ground: Ground;
  readonly #ends: SqliteEnds;
  readonly #forget: (batch: Batch, row: JobRow) => void;

  constructor(ground: Ground, ends: SqliteEnds, forget: (batch: Batch, row: JobRow) => void) {
    this.#ground = ground;
    this.#ends = ends;
    this.#forget = forget;
  }

  // ---- those that change something ----

  /** The change that a question makes; undefined: it only wants to know. */
  change(message: AskMessage, from: StoreUser): Change | undefined {
    const { question } = message;
    if (question.type !== "cancel" && question.type !== "forget") return undefined;
    const refuse = (code: number, text: string) => this.#refuse(from, message.number, code, text);
    return {
      apply: (batch) => this.#apply(batch, message, question, from),
      refuse,
    };
  }

  #apply(batch: Batch, message: AskMessage, question: Changing, from: StoreUser): void {
    const refuse = (code: number, text: string) =>
      batch.then(() => this.#refuse(from, message.number, code, text));
    const row = this.#find(message);
    if (row === undefined) return refuse(404, unknownJob(question.id));
    if (question.type === "forget") return this.#applyForget(batch, row, message.number, from);
    if (row.stage < Stage.done) this.#ends.cancel(batch, row);
    else if (row.stage !== Stage.cancelled) {
      return refuse(409, `Cannot cancel "${row.id}": it is ${this.status(row).state}`);
    }
    batch.then(() => {
      const after = this.#ground.table.bySeq(row.seq);
      if (after !== undefined) this.#answer(from, message.number, after, false);
    });
  }

  #applyForget(batch: Batch, row: JobRow, number: number, from: StoreUser): void {
    if (row.stage < Stage.done) this.#ends.cancel(batch, row);
    const after = this.#ground.table.bySeq(row.seq) ?? row;
    const status = statusOf(after, serviceOf(this.#ground, row).name);
    this.#forget(batch, after);
    batch.then(() =>
      this.#ground.say(from, { type: "answer", number, answer: { status, result: undefined } })
    );
  }

  // ---- those that want to know ----

  /** Answers, or lets it wait. */
  ask(message: AskMessage, from: StoreUser): void {
    const { question, number } = message;
    if (question.type === "cancel" || question.type === "forget") return;
    const row = this.#find(message);
    if (row === undefined) return this.#refuse(from, number, 404, unknownJob(question.id));
    const wait = this.#waitOf(question, row, number, from);
    if (this.#isNews(wait, row)) return this.#answer(from, number, row, wait.wantsResult);
    if (this.#ground.waits.isFull) {
      return this.#refuse(from, number, 503, "Too many questions wait for news of jobs");
    }
    this.#ground.waits.add(wait);
  }

  #waitOf(question: Waiting, row: JobRow, number: number, from: StoreUser): Wait {
    const waitMs = Math.min(Math.max(0, question.waitMs), MAX_WAIT);
    return {
      from,
      number,
      job: row.seq,
      since: question.type === "status" ? question.since : undefined,
      wantsResult: question.type === "result",
      deadline: this.#ground.clock.steady() + waitMs,
    };
  }

  #isNews(wait: Wait, row: JobRow): boolean {
    if (row.stage >= Stage.done || wait.deadline <= this.#ground.clock.steady()) return true;
    if (wait.wantsResult) return false;
    return wait.since === undefined || wait.since !== this.status(row).version;
  }

  /** Jobs have changed: those who wait for that are answered. */
  tellChanged(seqs: Iterable<number>): void {
    const { waits, table } = this.#ground;
    if (waits.isEmpty) return;
    for (const seq of seqs) {
      const of = waits.of(seq);
      if (of.length === 0) continue;
      const row = table.bySeq(seq);
      for (const wait of of) {
        if (row === undefined || this.#isNews(wait, row)) this.#end(wait, row);
      }
    }
  }

  /** Answers those whose time is over. */
  tellDue(): void {
    const { waits, table, clock } = this.#ground;
    for (const wait of waits.due(clock.steady())) {
      this.#end(wait, typeof wait.job === "number" ? table.bySeq(wait.job) : undefined);
    }
  }

  /** Refuses all that wait. */
  refuseAll(code: number, message: string): void {
    for (const wait of this.#ground.waits.all()) {
      this.#ground.waits.remove(wait);
      this.#refuse(wait.from, wait.number, code, message);
    }
  }

  #end(wait: Wait, row: JobRow | undefined): void {
    this.#ground.waits.remove(wait);
    if (row !== undefined) this.#answer(wait.from, wait.number, row, wait.wantsResult);
    else this.#refuse(wait.from, wait.number, 404, "The job was forgotten meanwhile");
  }

  // ---- answers ----

  /** What is known of a job now. */
  status(row: JobRow): JobStatus {
    const status = statusOf(row, serviceOf(this.#ground, row).name);
    const run = this.#ground.runs.ofJob(row.seq);
    if (run === undefined) return status;
    return {
      ...status,
      state: "running",
      attempt: row.tries + 1,
      version: Math.max(run.version, row.version),
      startedAt: run.startedAt,
      progress: run.progress,
    };
  }

  /** The job that is asked for, if the asker may know of it. */
  #find({ question, user }: AskMessage): JobRow | undefined {
    const row = this.#ground.table.byId(question.id);
    return row !== undefined && (user === undefined || user === row.user) ? row : undefined;
  }

  #answer(to: StoreUser, number: number, row: JobRow, wantsResult: boolean): void {
    const status = this.status(row);
    const isEnd = row.stage === Stage.done || row.stage === Stage.failed;
    const result = wantsResult && isEnd ? this.#ground.table.result(row) : undefined;
    this.#ground.say(to, { type: "answer", number, answer: { status, result } });
  }

  #refuse(to: StoreUser, number: number, code: number, message: string): void {
    this.#ground.say(to, { type: "refused", number, code, message });
  }
}

/** What one is told who asks for a job that is not there, or is another one's. */
export function unknownJob(id: string): string {
  return `Unknown job "${id}"`;
}
