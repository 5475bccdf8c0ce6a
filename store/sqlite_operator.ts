/**
 * What operators ask of the store: lists, looks, figures, and changes that no client may make.
 *
 * @module
 */

import type { JobState, OperatorAnswer, OperatorQuestion, StoreFigures } from "./messages.ts";
import { numberIn } from "./sqlite_columns.ts";
import type { SqliteEnds } from "./sqlite_ends.ts";
import { addWaiting, countMove, type Ground } from "./sqlite_ground.ts";
import { type Batch, type Change, troubleOf } from "./sqlite_ledger.ts";
import { type SqliteQuestions, unknownJob } from "./sqlite_questions.ts";
import { copyAside } from "./sqlite_copy_thread.ts";
import { pathOf } from "./sqlite_place.ts";
import { Stage } from "./sqlite_schema.ts";
import type { StoredService } from "./sqlite_services.ts";
import type { JobRow } from "./sqlite_row.ts";
import { takesJobs } from "./taken_names.ts";
import { notAgain } from "./verdict.ts";

type Question<Type extends OperatorQuestion["type"]> = Extract<OperatorQuestion, { type: Type }>;
type Changing = Question<"retry" | "retryDead" | "delete" | "pause" | "resume">;

/** Work that is done a step at a time, between passes; a step returns whether there is more. */
type Chore = () => boolean;

/** Stages by state; one that runs is waiting in the file. */
const STAGES: Record<JobState, readonly number[]> = {
  scheduled: [Stage.scheduled, Stage.blocked],
  waiting: [Stage.waiting],
  running: [Stage.waiting],
  done: [Stage.done],
  failed: [Stage.failed],
  cancelled: [Stage.cancelled],
  expired: [Stage.expired],
};

/** Rows that one step goes over, jobs that one transaction gives their tries again, and jobs of a list. */
const STEP_ROWS = 10_000;
const STEP_RETRIED = 500;
const MOST_LISTED = 1000;

/** Answers operators. */
export class SqliteOperator {
  readonly #ground: Ground;
  readonly #ends: SqliteEnds;
  readonly #questions: SqliteQuestions;
  readonly #drop: (batch: Batch, row: JobRow) => void;
  readonly #store: string;
  readonly #schedules: () => NonNullable<StoreFigures["schedules"]>;
  readonly #fullness: () => string | undefined;
  readonly #flush: () => void;
  #isCopying = false;
  /** What is not done yet. */
  readonly #chores: Chore[] = [];
  /** Changes that chores want to be made in the next pass. */
  readonly #wanted: Change[] = [];

  constructor(
    ground: Ground,
    parts: {
      ends: SqliteEnds;
      questions: SqliteQuestions;
      store: string;
      schedules: () => NonNullable<StoreFigures["schedules"]>;
      /** Why the store takes no jobs though its disk would. */
      fullness: () => string | undefined;
      /** Says what was said outside of a pass. */
      flush: () => void;
    },
    drop: (batch: Batch, row: JobRow) => void,
  ) {
    this.#ground = ground;
    this.#ends = parts.ends;
    this.#questions = parts.questions;
    this.#store = parts.store;
    this.#schedules = parts.schedules;
    this.#fullness = parts.fullness;
    this.#flush = parts.flush;
    this.#drop = drop;
  }

  // ---- changes ----

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

  // ---- answers ----

  /** Answers what only wants to know. */
  ask(number: number, question: OperatorQuestion): void {
    if (question.type === "list") return this.#list(number, question);
    if (question.type === "look") return this.#look(number, question);
    if (question.type === "backup") {
      // The copy is made of what lies there.
      this.#ground.presence.require();
      return void this.#backup(number, question.file);
    }
    if (question.type === "figures") {
      this.#tell(number, { type: "figures", figures: this.figures() });
    }
  }

  /** What was acknowledged before is committed: another connection sees it. */
  async #backup(number: number, copy: string): Promise<void> {
    if (!copy.startsWith("/")) {
      return this.#refuse(number, 400, `Cannot write "${copy}": the path must be absolute`);
    }
    if (this.#isCopying) return this.#refuse(number, 409, "Another copy is being made");
    this.#isCopying = true;
    const { fault } = await copyAside({ path: pathOf(this.#store), copy });
    this.#isCopying = false;
    if (fault === undefined) this.#tell(number, { type: "done", count: this.#ground.ledger.jobs });
    else this.#refuse(number, 507, `Cannot write the copy: ${fault}`);
    this.#flush();
  }

  #look(number: number, { id, body: wantsBody }: Question<"look">): void {
    const { table } = this.#ground;
    const row = table.byId(id);
    if (row === undefined) return this.#refuse(number, 404, unknownJob(id));
    this.#tell(number, {
      type: "look",
      status: this.#questions.status(row),
      body: wantsBody ? table.body(row) : undefined,
      result: wantsBody ? table.result(row) : undefined,
    });
  }

  #list(number: number, question: Question<"list">): void {
    const { table, services } = this.#ground;
    const { state, service: name, after } = question;
    const last = after === undefined ? undefined : table.byId(after);
    if (after !== undefined && last === undefined) {
      return this.#refuse(number, 404, unknownJob(after));
    }
    const service = name === undefined ? undefined : services.named(name);
    if (name !== undefined && service === undefined) {
      return this.#tell(number, { type: "list", total: 0, jobs: [] });
    }
    const limit = Math.min(MOST_LISTED, Math.max(0, Math.floor(question.limit)));
    const walk: Walk = { after: last?.seq ?? 0, state, service, limit, found: [] };
    this.#begin(number, () => {
      if (this.#walk(walk)) return true;
      const jobs = walk.found.map((row) => this.#questions.status(row));
      this.#tell(number, { type: "list", total: this.#total(state, service), jobs });
      return false;
    });
  }

  /** Goes on with a list; false: it is complete. */
  #walk(walk: Walk): boolean {
    const { table, runs } = this.#ground;
    const { state, service, found, limit } = walk;
    if (state === "running") {
      const seqs = [...runs.all()].filter(({ isOver }) => !isOver).map(({ row }) => row.seq)
        .filter((seq) => seq > walk.after).sort((a, b) => a - b);
      for (const seq of seqs) {
        const row = found.length < limit ? table.bySeq(seq) : undefined;
        if (row !== undefined && (service === undefined || row.service === service.number)) {
          found.push(row);
        }
      }
      return false;
    }
    const first = table.sql("SELECT min(seq) AS seq FROM job WHERE seq > ?").get(walk.after);
    const start = numberIn(first ?? {}, "seq");
    if (start === 0 || found.length >= limit) return false;
    const end = start + STEP_ROWS;
    const stages = state === undefined ? "" : `AND stage IN (${STAGES[state].join(", ")})`;
    const of = service === undefined ? "" : `AND service = ${service.number}`;
    const sql = `SELECT * FROM job WHERE seq >= ? AND seq < ? ${stages} ${of} ORDER BY seq LIMIT ?`;
    const isRunning = (seq: number) => runs.ofJob(seq) !== undefined;
    // Those that run are waiting in the file.
    const most = limit - found.length + (state === "waiting" ? runs.size : 0);
    for (const row of table.rows(sql, start, end, most)) {
      if (found.length >= limit) break;
      if (state !== "waiting" || !isRunning(row.seq)) found.push(row);
    }
    walk.after = end - 1;
    return found.length < limit;
  }

  #total(state: JobState | undefined, service: StoredService | undefined): number {
    let total = 0;
    for (const [name, { states }] of Object.entries(this.figures().services)) {
      if (service !== undefined && service.name !== name) continue;
      for (const [of, jobs] of Object.entries(states)) {
        if (state === undefined || state === of) total += jobs;
      }
    }
    return total;
  }

  /** What metrics and the page have. */
  figures(): StoreFigures {
    const { ledger, services, clock, table } = this.#ground;
    const pages = numberIn(table.sql("PRAGMA page_count").get() ?? {}, "page_count");
    const size = numberIn(table.sql("PRAGMA page_size").get() ?? {}, "page_size");
    const now = clock.now();
    const states = this.#states();
    const figures: StoreFigures = {
      store: this.#store,
      trouble: ledger.trouble ?? this.#fullness(),
      bytes: pages * size,
      services: {},
    };
    const schedules = this.#schedules();
    if (Object.keys(schedules).length > 0) figures.schedules = schedules;
    for (const service of services.all()) {
      const { submitted, retried, ended, choice, waitTime, totalTime } = service;
      const oldest = choice.oldestDue();
      figures.services[service.name] = {
        paused: choice.isPaused,
        states: states.get(service.number) ?? noStates(),
        submitted,
        retried,
        ended: { ...ended },
        oldestMs: oldest === undefined ? undefined : Math.max(0, now - oldest),
        waitTime: waitTime.read(),
        totalTime: totalTime.read(),
      };
    }
    return figures;
  }

  #states(): Map<number, Record<JobState, number>> {
    const { ledger, runs } = this.#ground;
    const all = new Map<number, Record<JobState, number>>();
    const of = (service: number) => {
      const states = all.get(service) ?? noStates();
      all.set(service, states);
      return states;
    };
    for (const { service, stage, jobs } of ledger.tallies()) {
      const states = of(service);
      states[STATE_OF[stage] ?? "scheduled"] += jobs;
    }
    for (const { isOver, service } of runs.all()) {
      if (isOver) continue;
      const states = of(service.number);
      states.running++;
      states.waiting--;
    }
    return all;
  }

  // ---- a step at a time ----

  /** Adds a chore; what it throws refuses its question. */
  #begin(number: number, chore: Chore): void {
    this.#chores.push(() => {
      try {
        return chore();
      } catch (error) {
        this.#refuse(number, 507, troubleOf(error));
        throw error;
      }
    });
  }

  /** Changes that chores want. */
  takeWanted(): Change[] {
    return this.#wanted.splice(0);
  }

  /** Does a step of what is not done yet. */
  step(): void {
    const chore = this.#chores.shift();
    if (chore?.()) this.#chores.push(chore);
  }

  /** Whether something is not done yet. */
  get isBusy(): boolean {
    return this.#chores.length > 0 || this.#wanted.length > 0;
  }

  #tell(number: number, answer: OperatorAnswer): void {
    this.#ground.say("server", { type: "told", number, answer });
  }

  #refuse(number: number, code: number, message: string): void {
    this.#ground.say("server", { type: "refused", number, code, message });
  }
}

/** Where a list is. */
interface Walk {
  after: number;
  state: JobState | undefined;
  service: StoredService | undefined;
  limit: number;
  found: JobRow[];
}

const STATE_OF: Record<number, JobState> = {
  [Stage.scheduled]: "scheduled",
  [Stage.blocked]: "scheduled",
  [Stage.waiting]: "waiting",
  [Stage.done]: "done",
  [Stage.failed]: "failed",
  [Stage.cancelled]: "cancelled",
  [Stage.expired]: "expired",
};

function noStates(): Record<JobState, number> {
  return { scheduled: 0, waiting: 0, running: 0, done: 0, failed: 0, cancelled: 0, expired: 0 };
}
