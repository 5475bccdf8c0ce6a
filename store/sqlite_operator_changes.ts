/**
 * What operators change in the store, and no client may: jobs get their tries again, are deleted, and services are
 * paused. What operators only want to know is sqlite_operator.ts's.
 *
 * @module
 */

import type { OperatorAnswer, OperatorQuestion } from "./messages.ts";
import type { SqliteEnds } from "./sqlite_ends.ts";
import { addWaiting, countMove, type Ground } from "./sqlite_ground.ts";
import type { Batch, Change } from "./sqlite_ledger.ts";
import { type SqliteQuestions, unknownJob } from "./sqlite_questions.ts";
import type { JobRow } from "./sqlite_row.ts";
import { Stage } from "./sqlite_schema.ts";
import { takesJobs } from "./taken_names.ts";
import { notAgain } from "./verdict.ts";

type Question<Type extends OperatorQuestion["type"]> = Extract<OperatorQuestion, { type: Type }>;
type Changing = Question<"retry" | "retryDead" | "delete" | "pause" | "resume">;

/** What changes are made with. */
export interface OperatorChangesGround {
  readonly ground: Ground;
  readonly ends: SqliteEnds;
  readonly questions: SqliteQuestions;
  /** Forgets a job. */
  drop(batch: Batch, row: JobRow): void;
}

/** Jobs that one transaction gives their tries again. */
const STEP_RETRIED = 500;

/** Makes changes for operators. */
export class OperatorChanges {
  readonly #ground: Ground;
  readonly #ends: SqliteEnds;
  readonly #questions: SqliteQuestions;
  readonly #drop: OperatorChangesGround["drop"];
  /** What is to be made in the next pass, of changes that are made a part at a time. */
  readonly #wanted: Change[] = [];

  /** Has none to make yet. */
  constructor({ ground, ends, questions, drop }: OperatorChangesGround) {
    this.#ground = ground;
    this.#ends = ends;
    this.#questions = questions;
    this.#drop = drop;
  }

  /** The change that a question makes; undefined: it only wants to know. */
  change(number: number, question: OperatorQuestion): Change | undefined {
    switch (question.type) {
      case "retry":
      case "retryDead":
      case "delete":
      case "pause":
      case "resume":
        return {
          apply: (batch) => this.#apply(batch, number, question),
          refuse: (code, message) => this.#refuse(number, code, message),
        };
      default:
        return undefined;
    }
  }

  #apply(batch: Batch, number: number, question: Changing): void {
    switch (question.type) {
      case "retry":
        return this.#retry(batch, number, question.id);
      case "retryDead":
        return this.#retryDead(batch, number, question.service, 0);
      case "delete":
        return this.#delete(batch, number, question.id);
      case "pause":
      case "resume":
        return this.#pause(batch, number, question);
    }
  }

  #pause(
    batch: Batch,
    number: number,
    { type, service: name }: Question<"pause" | "resume">,
  ): void {
    const { services, table, clock } = this.#ground;
    const isPaused = type === "pause";
    if (!services.isKnown(name) && services.named(name) === undefined) {
      return batch.then(() => this.#refuse(number, 404, `Unknown service "${name}"`));
    }
    const service = services.of(name, clock.steady());
    services.write(service, batch);
    table.sql("UPDATE service SET isPaused = ? WHERE number = ?").run(
      isPaused ? 1 : 0,
      service.number,
    );
    batch.then(() => {
      const isChange = service.choice.isPaused !== isPaused;
      service.choice.isPaused = isPaused;
      this.#tell(number, { type: "done", count: isChange ? 1 : 0 });
    });
  }

  #delete(batch: Batch, number: number, id: string): void {
    const { table, runs } = this.#ground;
    const row = table.byId(id);
    if (row === undefined) return batch.then(() => this.#refuse(number, 404, unknownJob(id)));
    if (runs.ofJob(row.seq) !== undefined) {
      const message = `Cannot delete "${id}" while it runs: cancel it first`;
      return batch.then(() => this.#refuse(number, 409, message));
    }
    if (row.stage < Stage.done) this.#ends.cancel(batch, row);
    const after = table.bySeq(row.seq);
    if (after !== undefined) this.#drop(batch, after);
    batch.then(() => this.#tell(number, { type: "done", count: 1 }));
  }

  #retry(batch: Batch, number: number, id: string): void {
    const { table } = this.#ground;
    const row = table.byId(id);
    const fault = row === undefined ? { code: 404, message: unknownJob(id) } : this.#faultOf(row);
    if (row === undefined || fault !== undefined) {
      const { code, message } = fault ?? { code: 404, message: unknownJob(id) };
      return batch.then(() => this.#refuse(number, code, message));
    }
    this.#revive(batch, row);
    batch.then(() => this.#tell(number, { type: "done", count: 1 }));
  }

  /** Why a job can't be tried again; undefined: it can. */
  #faultOf(row: JobRow): { code: number; message: string } | undefined {
    const { table, services, config } = this.#ground;
    const { state } = this.#questions.status(row);
    if (row.stage <= Stage.done) {
      return { code: 409, message: `Cannot retry "${row.id}": ${notAgain(state)}` };
    }
    const name = services.numbered(row.service).name;
    if (!takesJobs(config, name, services)) {
      return { code: 409, message: `There is no service "${name}" now` };
    }
    const other = row.key === "" ? undefined : table.byKey(row.service, row.user, row.key);
    if (other !== undefined) {
      return { code: 409, message: `Cannot retry "${row.id}": "${other.id}" has its key` };
    }
    const cause = this.#needsOf(row).failed;
    if (cause === undefined) return undefined;
    return {
      code: 409,
      message: `Cannot retry "${row.id}": it waits for "${cause}", which has not been done`,
    };
  }

  /** Jobs that it waits for: those that have not ended, and one that can't be done any more. */
  #needsOf(row: JobRow): { open: number[]; failed: string | undefined } {
    const open: number[] = [];
    let failed: string | undefined;
    for (const id of row.rest.after ?? []) {
      const other = this.#ground.table.byId(id);
      if (other === undefined || other.stage === Stage.done) continue;
      if (other.stage < Stage.done) open.push(other.seq);
      else failed ??= id;
    }
    return { open, failed };
  }

  #revive(batch: Batch, row: JobRow): void {
    const { table, clock, changed } = this.#ground;
    const { open } = this.#needsOf(row);
    const due = clock.now();
    const stage = open.length > 0 ? Stage.blocked : Stage.waiting;
    for (const other of open) {
      table.sql("INSERT OR IGNORE INTO need (other, seq) VALUES (?, ?)").run(other, row.seq);
    }
    const weight = table.revive(row, { stage, due });
    countMove(batch, row, stage, weight);
    batch.then(() => {
      changed.add(row.seq);
      if (open.length > 0) this.#ground.hasNeeds = true;
      if (stage === Stage.waiting) addWaiting(this.#ground, row, due);
    });
  }

  /** Some of them in each transaction; `count`: how many that were before. */
  #retryDead(batch: Batch, number: number, name: string, count: number, after = 0): void {
    const { table, services } = this.#ground;
    const service = services.named(name);
    const rows = service === undefined ? [] : table.rows(
      "SELECT * FROM job INDEXED BY jobDead WHERE stage >= 4 AND service = ? AND seq > ? ORDER BY seq LIMIT ?",
      service.number,
      after,
      STEP_RETRIED,
    );
    let revived = 0;
    for (const row of rows) {
      if (row.stage !== Stage.failed || this.#faultOf(row) !== undefined) continue;
      this.#revive(batch, row);
      revived++;
    }
    const last = rows.at(-1)?.seq ?? 0;
    batch.then(() => {
      if (rows.length < STEP_RETRIED) {
        return this.#tell(number, { type: "done", count: count + revived });
      }
      this.#wanted.push({
        apply: (next) => this.#retryDead(next, number, name, count + revived, last),
        refuse: (code, message) => this.#refuse(number, code, message),
      });
    });
  }

  /** Whether a change is not made in full yet. */
  get isBusy(): boolean {
    return this.#wanted.length > 0;
  }

  /** What is to be made in the next pass. */
  takeWanted(): Change[] {
    return this.#wanted.splice(0);
  }

  #tell(number: number, answer: OperatorAnswer): void {
    this.#ground.say("server", { type: "told", number, answer });
  }

  #refuse(number: number, code: number, message: string): void {
    this.#ground.say("server", { type: "refused", number, code, message });
  }
}
