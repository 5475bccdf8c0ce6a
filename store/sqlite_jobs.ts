/**
 * The jobs of an open file. What comes is taken in passes: all changes of one in a single transaction, then questions
 * are answered, then jobs are given to the plane.
 *
 * @module
 */

import type { DatabaseSync } from "node:sqlite";
import type { JobStore, StoreParts, StoreUser } from "./job_store.ts";
import type { FromStore, ToStore } from "./messages.ts";
import { newJobId } from "../wire/submission.ts";
import { Schedules } from "./schedules.ts";
import { SqliteMarks } from "./sqlite_marks.ts";
import { FreshJobs } from "./fresh_jobs.ts";
import { SqliteEnds } from "./sqlite_ends.ts";
import { type Ground, log } from "./sqlite_ground.ts";
import { type Change, Ledger, troubleOf } from "./sqlite_ledger.ts";
import { type AskMessage, SqliteQuestions } from "./sqlite_questions.ts";
import { SqliteOperator } from "./sqlite_operator.ts";
import { OperatorChanges } from "./sqlite_operator_changes.ts";
import { pathOf } from "./sqlite_place.ts";
import { FilePresence } from "./sqlite_presence.ts";
import { StoredServices } from "./sqlite_services.ts";
import { SqliteStarts } from "./sqlite_starts.ts";
import { Refusal, SqliteSubmit } from "./sqlite_submit.ts";
import { JobTable } from "./sqlite_table.ts";
import { SqliteUpkeep } from "./sqlite_upkeep.ts";
import { StoredRuns } from "./stored_runs.ts";
import { Waits } from "./waits.ts";

/** Messages that only ask. */
interface Asked {
  message: AskMessage | Extract<ToStore, { type: "operate" }>;
  from: StoreUser;
}

/** Bytes of bodies and results that one transaction writes, about. */
const MOST_BYTES = 4 * 1024 ** 2;

function bytesOf(message: ToStore): number {
  switch (message.type) {
    case "submit":
      return message.job.body.bytes.length;
    case "ended":
      return message.outcome.result.bytes.length;
    case "checkpoint":
      return message.value.bytes.length;
    default:
      return 0;
  }
}

/** An open file of jobs. */
export class SqliteJobs implements JobStore {
  readonly #db: DatabaseSync;
  readonly #emit: StoreParts["emit"];
  readonly #ground: Ground;
  readonly #upkeep: SqliteUpkeep;
  readonly #ends: SqliteEnds;
  readonly #submit: SqliteSubmit;
  readonly #questions: SqliteQuestions;
  readonly #starts: SqliteStarts;
  readonly #operator: SqliteOperator;
  readonly #operatorChanges: OperatorChanges;
  readonly #schedules: Schedules;
  #said: Record<StoreUser, FromStore[]> = { plane: [], server: [] };
  #cancelTimer: (() => void) | undefined;
  #isClosed = false;

  /**
   * Takes over a file that is ready.
   *
   * @throws {Error} what SQLite throws.
   */
  constructor(db: DatabaseSync, parts: StoreParts) {
    const { clock, config, emit } = parts;
    this.#db = db;
    this.#emit = emit;
    const table = new JobTable(db);
    const fresh = new FreshJobs();
    const steady = () => clock.steady();
    const presence = new FilePresence(pathOf(parts.store), steady);
    const ledger = new Ledger(db, table, presence, steady, (trouble) => this.#tell(trouble));
    const services = new StoredServices(table, fresh, ledger, config.services, clock.steady());
    const ground: Ground = this.#ground = {
      clock,
      table,
      ledger,
      services,
      runs: new StoredRuns(),
      waits: new Waits(),
      presence,
      fresh,
      changed: new Set(),
      config,
      isWatched: false,
      hasNeeds: table.sql("SELECT 1 FROM need LIMIT 1").get() !== undefined,
      say: (to, message) => void this.#said[to].push(message),
    };
    const forgotten = (row: Parameters<SqliteSubmit["noteForgotten"]>[0]) =>
      this.#submit.noteForgotten(row);
    this.#upkeep = new SqliteUpkeep(ground, (coming) => new SqliteEnds(ground, coming), forgotten);
    this.#ends = this.#upkeep.ends;
    this.#submit = new SqliteSubmit(
      ground,
      (batch, row, cause) => this.#ends.failDependent(batch, row, cause),
      (due, expires) => {
        this.#upkeep.due(due);
        this.#upkeep.expiry(expires);
      },
    );
    this.#questions = new SqliteQuestions(
      ground,
      this.#ends,
      (batch, row) => this.#upkeep.drop(batch, row),
    );
    this.#starts = new SqliteStarts(ground);
    this.#operatorChanges = new OperatorChanges({
      ...{ ground, ends: this.#ends, questions: this.#questions },
      drop: (batch, row) => this.#upkeep.drop(batch, row),
    });
    this.#operator = new SqliteOperator(ground, {
      questions: this.#questions,
      store: parts.store,
      schedules: () => this.#schedules.figures(),
      fullness: () => this.#submit.fullness,
      flush: () => this.#flush(),
    });
    this.#schedules = new Schedules({
      clock,
      marks: this.#makeMarks(),
      say: (line) => emit("server", [line]),
      newId: newJobId,
    });
    this.#tellUnserved();
    this.#pass([{ apply: (batch) => this.#ends.recover(batch), refuse: () => {} }], []);
    this.#schedules.configure(config.schedules);
  }

  /** Services come and go with servers: jobs of one that has gone wait, maybe for ever. */
  #tellUnserved(): void {
    const { services, config } = this.#ground;
    if (config.anyService === true) return;
    for (const [number, { scheduled, waiting }] of this.#operator.states()) {
      const service = services.numbered(number).name;
      const jobs = scheduled + waiting;
      if (jobs === 0 || services.isKnown(service)) continue;
      const text = "stored jobs wait for a service that this server does not have";
      log(this.#ground, "warn", text, { service, jobs });
    }
  }

  #makeMarks(): SqliteMarks {
    return new SqliteMarks({
      table: this.#ground.table,
      trouble: () => this.#ground.ledger.trouble,
      change: (change) => this.#pass([change], []),
      store: (batch, job) => {
        const stored = this.#submit.store(batch, job);
        return stored instanceof Refusal ? stored.message : undefined;
      },
    });
  }

  // ---- a pass ----

  take(messages: readonly ToStore[], from: StoreUser): void {
    let changes: Change[] = [];
    const asked: Asked[] = [];
    let bytes = 0;
    for (const message of messages) {
      bytes += bytesOf(message);
      // Others are not to wait until very much is written.
      if (bytes > MOST_BYTES) {
        this.#pass(changes, []);
        changes = [];
        bytes = 0;
      }
      const change = this.#changeOf(message, from);
      if (change !== undefined) changes.push(change);
      else if (message.type === "ask" || message.type === "operate") asked.push({ message, from });
      else this.#note(message, from);
    }
    this.#pass(changes, asked);
  }

  #pass(changes: readonly Change[], asked: readonly Asked[]): void {
    if (this.#isClosed) return changes.forEach(({ refuse }) => refuse?.(503, "The server stops"));
    const { ledger } = this.#ground;
    let isDone = true;
    try {
      const upkeep = this.#upkeep.change();
      const wanted = this.#operatorChanges.takeWanted();
      ledger.commit(
        upkeep === undefined ? [...changes, ...wanted] : [upkeep, ...changes, ...wanted],
      );
      for (const { message, from } of asked) this.#ask(message, from);
      isDone = this.#starts.start();
      this.#operator.step();
      this.#tellNews();
    } catch (error) {
      // Whatever it is, requests go on, and jobs are refused with what it says until a pass works.
      ledger.readFailed(error);
    } finally {
      this.#flush();
      this.#setTimer(isDone);
    }
  }

  #tellNews(): void {
    const { changed } = this.#ground;
    if (changed.size > 0) {
      this.#questions.tellChanged(changed);
      changed.clear();
    }
    this.#questions.tellDue();
  }

  #ask(message: Asked["message"], from: StoreUser): void {
    try {
      if (message.type === "ask") this.#questions.ask(message, from);
      else this.#operator.ask(message.number, message.question);
    } catch (error) {
      const refused = { number: message.number, code: 507, message: troubleOf(error) };
      this.#ground.say(from, { type: "refused", ...refused });
      throw error;
    }
  }

  /** Says all that was said in this pass. */
  #flush(): void {
    const said = this.#said;
    if (said.plane.length === 0 && said.server.length === 0) return;
    this.#said = { plane: [], server: [] };
    for (const to of ["plane", "server"] as const) {
      if (said[to].length > 0) this.#emit(to, said[to]);
    }
  }

  #setTimer(isDone: boolean): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const { clock, ledger, waits } = this.#ground;
    const isStuck = ledger.trouble !== undefined;
    const wait = Math.min(
      isStuck ? ledger.waitMs : Math.min(isDone ? Infinity : 0, this.#upkeep.waitMs),
      this.#operator.isBusy || this.#operatorChanges.isBusy ? 0 : Infinity,
      waits.waitMs(clock.steady()),
      this.#starts.waitMs,
    );
    if (wait === Infinity) return;
    this.#cancelTimer = clock.after(Math.ceil(Math.max(0, wait)), () => this.#pass([], []));
  }

  // ---- what is said ----

  #changeOf(message: ToStore, from: StoreUser): Change | undefined {
    switch (message.type) {
      case "submit":
        return this.#submit.change(message, from);
      case "ended":
        return this.#ends.ended(message);
      case "returned": {
        const run = this.#ground.runs.get(message.run);
        return run && this.#ends.returned(run);
      }
      case "checkpoint":
        return this.#keep(message);
      case "ask":
        return this.#questions.change(message, from);
      case "operate":
        return this.#operatorChanges.change(message.number, message.question);
      default:
        return undefined;
    }
  }

  #note(message: ToStore, from: StoreUser): void {
    const { services, clock, waits } = this.#ground;
    switch (message.type) {
      case "room": {
        const { choice, given } = services.of(message.service, clock.steady());
        // Those under way take room that the plane does not know of.
        const underWay = message.heard === undefined ? 0 : Math.max(0, given - message.heard);
        choice.room = message.jobs - underWay;
        return;
      }
      case "progress":
        return this.#noteProgress(message);
      case "withdraw":
        return waits.withdraw(from, message.number);
      case "watch":
        this.#ground.isWatched = message.isOn;
        return;
      case "configure":
        this.#ground.config = message.config;
        services.configure(message.config.services, clock.steady());
        return this.#schedules.configure(message.config.schedules);
    }
  }

  #noteProgress({ run: number, done, total, note }: Extract<ToStore, { type: "progress" }>): void {
    const run = this.#ground.runs.get(number);
    if (run === undefined || run.isOver) return;
    run.progress = { done, total, note };
    run.version++;
    this.#ground.changed.add(run.row.seq);
  }

  #keep(
    { run: number, number: question, value }: Extract<ToStore, { type: "checkpoint" }>,
  ): Change {
    const { runs, table, config, ledger } = this.#ground;
    const refuse = (code: number, message: string) =>
      this.#ground.say("plane", { type: "refused", number: question, code, message });
    return {
      refuse,
      apply: (batch) => {
        const run = runs.get(number);
        const row = run === undefined || run.isOver ? undefined : table.bySeq(run.row.seq);
        if (run === undefined || row === undefined) {
          return batch.then(() => refuse(409, "The job has ended already"));
        }
        if (ledger.weight + batch.weight + value.bytes.length > config.storeBytes) {
          return batch.then(() => refuse(507, "The store is full"));
        }
        run.hasKept = true;
        const { service, stage, priority } = row;
        batch.count({ service, stage, priority }, 0, table.keep(row, value.bytes));
        batch.then(() => this.#ground.say("plane", { type: "kept", number: question }));
      },
    };
  }

  #tell(trouble: string | undefined): void {
    if (trouble === undefined) log(this.#ground, "info", "jobs are stored again");
    else log(this.#ground, "error", "jobs are not stored: they are refused with 507", { trouble });
  }

  // ---- the end ----

  close(): Promise<void> {
    this.#schedules.close();
    this.#pass([], []);
    this.#isClosed = true;
    this.#cancelTimer?.();
    this.#questions.refuseAll(503, "The server stops");
    this.#flush();
    try {
      this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // What is in the log of the file is read from there.
    }
    this.#db.close();
    return Promise.resolve();
  }
}
