/**
 * Writes changes: all that have come in one transaction, which is on the disk before anybody hears of it. Where the
 * disk fails, changes that can be refused are; the others are owed, and written once that works. Counts the jobs.
 *
 * @module
 */

import type { DatabaseSync } from "node:sqlite";
import { messageOf } from "../system/errors.ts";
import { numberIn } from "./sqlite_columns.ts";
import { type FilePresence, MovedFileError } from "./sqlite_presence.ts";
import type { JobTable } from "./sqlite_table.ts";

/** Something that is to be written. */
export interface Change {
  /** Writes it; what follows from it waits for the commit. May be called again after a transaction that failed. */
  apply(batch: Batch): void;
  /** It can't be written; undefined: it is owed, and must be. */
  refuse: ((code: number, message: string) => void) | undefined;
  /** It is owed, and nothing but itself keeps it from being written: it never will be. */
  abandon?: (message: string) => void;
}

/** Where jobs are counted: a service, a stage and a priority. */
export interface TallyPlace {
  service: number;
  stage: number;
  priority: number;
}

interface Sum {
  jobs: number;
  weight: number;
}

/** One transaction, until it is committed. */
export class Batch {
  /** What follows from the commit, in order. */
  readonly effects: (() => void)[] = [];
  /** How counts have changed, by place. */
  readonly sums = new Map<number, Sum>();
  /** Jobs, and bytes, that it adds. */
  jobs = 0;
  weight = 0;

  /** Does it once all is committed. */
  then(effect: () => void): void {
    this.effects.push(effect);
  }

  /** So many jobs more are there, with so much weight. */
  count({ service, stage, priority }: TallyPlace, jobs: number, weight: number): void {
    const place = 100 * service + 10 * stage + priority;
    const sum = this.sums.get(place);
    if (sum === undefined) this.sums.set(place, { jobs, weight });
    else {
      sum.jobs += jobs;
      sum.weight += weight;
    }
    this.jobs += jobs;
    this.weight += weight;
  }
}

/** After a failure nothing is tried for so long, ms. */
const RETRY_INTERVAL = 500;
/** What is written to see whether the disk takes something again, bytes. */
const PROBE_BYTES = 65_536;

/** SQLite's errors that come of the disk, or of the file: their codes, and what they say where they have none. */
const DISK_ERRORS = new Set([5, 6, 7, 8, 10, 11, 13, 14, 15, 26]);
const DISK_MESSAGES =
  /is locked|is full|disk I\/O|readonly database|malformed|unable to open|not a database|out of memory/;

/** Writes, and counts. */
export class Ledger {
  readonly #db: DatabaseSync;
  readonly #table: JobTable;
  readonly #presence: Pick<FilePresence, "require">;
  readonly #steady: () => number;
  readonly #onTrouble: (trouble: string | undefined) => void;
  readonly #sums = new Map<number, Sum>();
  #owed: Change[] = [];
  #trouble: string | undefined;
  #retryAt = 0;
  #jobs = 0;
  #weight = 0;

  /** `onTrouble` hears when the disk begins to fail, and when it works again: undefined. */
  constructor(
    db: DatabaseSync,
    table: JobTable,
    presence: Pick<FilePresence, "require">,
    steady: () => number,
    onTrouble: (trouble: string | undefined) => void,
  ) {
    this.#db = db;
    this.#table = table;
    this.#presence = presence;
    this.#steady = steady;
    this.#onTrouble = onTrouble;
    for (const row of table.sql("SELECT place, jobs, weight FROM tally").all()) {
      this.#add(numberIn(row, "place"), numberIn(row, "jobs"), numberIn(row, "weight"));
    }
  }

  /** Why nothing can be written; undefined: it can. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Jobs in the file, and bytes of theirs. */
  get jobs(): number {
    return this.#jobs;
  }
  get weight(): number {
    return this.#weight;
  }

  /** How long until what failed is tried again, ms; Infinity: nothing has failed. */
  get waitMs(): number {
    if (this.#trouble === undefined) return Infinity;
    return Math.max(1, this.#retryAt - this.#steady());
  }

  /** Counts by service, stage and priority. */
  *tallies(): Generator<TallyPlace & Sum> {
    for (const [place, { jobs, weight }] of this.#sums) {
      const service = Math.floor(place / 100);
      yield { service, stage: Math.floor(place / 10) % 10, priority: place % 10, jobs, weight };
    }
  }

  /** Writes all, with what is owed from before. */
  commit(changes: readonly Change[]): void {
    if (this.#trouble !== undefined && this.#steady() < this.#retryAt) {
      this.#refuse(changes, this.#trouble);
      return;
    }
    const all = this.#owed.length === 0 ? changes : [...this.#owed, ...changes];
    const isProbe = this.#trouble !== undefined;
    if (all.length === 0 && !isProbe) return;
    this.#owed = [];
    const error = this.#tryAll(all, isProbe);
    if (error === undefined) return this.#noteTrouble(undefined);
    if (!isDiskError(error)) return this.#oneByOne(all);
    const trouble = troubleOf(error);
    this.#refuse(all, trouble);
    const owed = this.#owed;
    this.#owed = [];
    // What was refused may have been too large, and there is room for the rest.
    if (owed.length > 0 && owed.length < all.length && this.#tryAll(owed, false) === undefined) {
      this.#retryAt = 0;
    } else {
      this.#owed = owed;
      this.#retryAt = this.#steady() + RETRY_INTERVAL;
    }
    this.#noteTrouble(trouble);
  }

  /** The file can't be read, or something else went wrong. */
  readFailed(error: unknown): void {
    this.#retryAt = this.#steady() + RETRY_INTERVAL;
    this.#noteTrouble(troubleOf(error));
  }

  #noteTrouble(trouble: string | undefined): void {
    if (trouble === this.#trouble) return;
    const isNews = (trouble === undefined) !== (this.#trouble === undefined);
    this.#trouble = trouble;
    if (isNews) this.#onTrouble(trouble);
  }

  #refuse(changes: readonly Change[], message: string): void {
    for (const change of changes) {
      if (change.refuse === undefined) this.#owed.push(change);
      else change.refuse(507, message);
    }
  }

  /** Something is wrong with one change: each of the others is written. */
  #oneByOne(changes: readonly Change[]): void {
    for (const change of changes) {
      const error = this.#tryAll([change], false);
      if (error === undefined) continue;
      if (isDiskError(error)) this.#refuse([change], troubleOf(error));
      else if (change.refuse !== undefined) change.refuse(500, messageOf(error));
      else change.abandon?.(messageOf(error));
    }
  }

  /** One transaction; what it gives is why it was rolled back. */
  #tryAll(changes: readonly Change[], isProbe: boolean): unknown {
    const batch = new Batch();
    try {
      this.#presence.require();
      this.#table.sql("BEGIN IMMEDIATE").run();
      for (const change of changes) change.apply(batch);
      if (isProbe) this.#probe();
      this.#writeSums(batch);
      this.#table.sql("COMMIT").run();
    } catch (error) {
      this.#rollBack();
      this.#table.ids.rollBack();
      return error ?? new Error("unknown error");
    }
    this.#table.ids.commit();
    for (const [place, { jobs, weight }] of batch.sums) this.#add(place, jobs, weight);
    for (const effect of batch.effects) effect();
    return undefined;
  }

  #rollBack(): void {
    try {
      // Some errors have ended the transaction already.
      if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
    } catch {
      // The next BEGIN tells.
    }
  }

  #probe(): void {
    const write = this.#table.sql("INSERT OR REPLACE INTO note (name, value) VALUES ('probe', ?)");
    write.run("-".repeat(PROBE_BYTES));
    this.#table.sql("DELETE FROM note WHERE name = 'probe'").run();
  }

  #writeSums({ sums }: Batch): void {
    const write = this.#table.sql(
      "INSERT INTO tally (place, jobs, weight) VALUES (?, ?, ?) " +
        "ON CONFLICT DO UPDATE SET jobs = jobs + excluded.jobs, weight = weight + excluded.weight",
    );
    for (const [place, { jobs, weight }] of sums) {
      if (jobs !== 0 || weight !== 0) write.run(place, jobs, weight);
    }
  }

  #add(place: number, jobs: number, weight: number): void {
    const sum = this.#sums.get(place);
    if (sum === undefined) this.#sums.set(place, { jobs, weight });
    else {
      sum.jobs += jobs;
      sum.weight += weight;
    }
    this.#jobs += jobs;
    this.#weight += weight;
  }
}

/** Whether it is the disk that fails, or the file, and not what was to be written. */
export function isDiskError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if (error instanceof MovedFileError || DISK_MESSAGES.test(error.message)) return true;
  return "errcode" in error && typeof error.errcode === "number" &&
    DISK_ERRORS.has(error.errcode & 0xff);
}

/** Why jobs are refused. */
export function troubleOf(error: unknown): string {
  return `Cannot store jobs: ${messageOf(error)}`;
}
