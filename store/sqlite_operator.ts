/**
 * What operators ask of the store: lists, looks, figures, and a copy. Changes that no client may make are
 * sqlite_operator_changes.ts's.
 *
 * @module
 */

import type { JobState, OperatorAnswer, OperatorQuestion, StoreFigures } from "./messages.ts";
import { numberIn } from "./sqlite_columns.ts";
import type { Ground } from "./sqlite_ground.ts";
import { troubleOf } from "./sqlite_ledger.ts";
import { type SqliteQuestions, unknownJob } from "./sqlite_questions.ts";
import { copyAside } from "./sqlite_copy_thread.ts";
import { pathOf } from "./sqlite_place.ts";
import { Stage } from "./sqlite_schema.ts";
import type { StoredService } from "./sqlite_services.ts";
import type { JobRow } from "./sqlite_row.ts";

type Question<Type extends OperatorQuestion["type"]> = Extract<OperatorQuestion, { type: Type }>;

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

/** Rows that one step goes over, and jobs of a list. */
const STEP_ROWS = 10_000;
const MOST_LISTED = 1000;

/** Answers operators. */
export class SqliteOperator {
  readonly #ground: Ground;
  readonly #questions: SqliteQuestions;
  readonly #store: string;
  readonly #schedules: () => NonNullable<StoreFigures["schedules"]>;
  readonly #fullness: () => string | undefined;
  readonly #flush: () => void;
  #isCopying = false;
  /** What is not done yet. */
  readonly #chores: Chore[] = [];

  constructor(
    ground: Ground,
    parts: {
      questions: SqliteQuestions;
      store: string;
      schedules: () => NonNullable<StoreFigures["schedules"]>;
      /** Why the store takes no jobs though its disk would. */
      fullness: () => string | undefined;
      /** Says what was said outside of a pass. */
      flush: () => void;
    },
  ) {
    this.#ground = ground;
    this.#questions = parts.questions;
    this.#store = parts.store;
    this.#schedules = parts.schedules;
    this.#fullness = parts.fullness;
    this.#flush = parts.flush;
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
    for (const [number, states] of this.states()) {
      if (service !== undefined && service.number !== number) continue;
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
    const states = this.states();
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

  /** How many jobs each service has in each state, by the service's number; those that never had one are left out. */
  states(): Map<number, Record<JobState, number>> {
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

  /** Does a step of what is not done yet. */
  step(): void {
    const chore = this.#chores.shift();
    if (chore?.()) this.#chores.push(chore);
  }

  /** Whether something is not done yet. */
  get isBusy(): boolean {
    return this.#chores.length > 0;
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
