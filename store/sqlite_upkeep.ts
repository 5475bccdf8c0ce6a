/**
 * What time brings: jobs that are due, that were not started in time, that are forgotten; a little at a time.
 *
 * @module
 */

import { numberIn } from "./sqlite_columns.ts";
import type { SqliteEnds, Upcoming } from "./sqlite_ends.ts";
import { type Ground, log } from "./sqlite_ground.ts";
import type { Batch, Change } from "./sqlite_ledger.ts";
import { Stage } from "./sqlite_schema.ts";
import type { JobRow } from "./sqlite_row.ts";

/** Jobs that are moved, ended or forgotten in one transaction. */
const MOST_DUE = 500;
const MOST_FORGOTTEN = 250;
const MOST_MOVED = 2000;
/** Free pages that are left in the file for new jobs: the larger of a number and a part; and those given back at once. */
const FREE_PAGES = 4096;
const FREE_PART = 0.25;
const VACUUM_PAGES = 512;
/** Time between two looks at free pages, ms. */
const VACUUM_INTERVAL = 10_000;
/** A clock that goes otherwise than the steady one by so much was set, ms. */
const STEP = 500;
/** The longest sleep while something is to come: the clock may be set meanwhile, ms. */
const LONGEST_SLEEP = 5000;

/** How far delays are to be moved, of which jobs: behind one and up to another one. */
interface Shift {
  by: number;
  after: number;
  last: number;
}

/** Looks after times. */
export class SqliteUpkeep implements Upcoming {
  readonly #ground: Ground;
  readonly #ends: SqliteEnds;
  readonly #forgotten: (row: JobRow) => void;
  /** No job is due, expires, or is forgotten before; of -Infinity that is not known. */
  #dueAt = -Infinity;
  #expiryAt = -Infinity;
  #forgetAt = -Infinity;
  /** When free pages are looked at next, by the steady clock; only after something was forgotten. */
  #vacuumAt = Infinity;
  /** How far the clock is ahead of the steady one. */
  #ahead: number;
  /** Delays that are still to be moved. */
  #shift: Shift | undefined;

  /** `forgotten` hears of each job that is no more. */
  constructor(
    ground: Ground,
    ends: (upcoming: Upcoming) => SqliteEnds,
    forgotten: (row: JobRow) => void,
  ) {
    this.#ground = ground;
    this.#forgotten = forgotten;
    this.#ends = ends(this);
    this.#ahead = ground.clock.now() - ground.clock.steady();
  }

  /** What ends jobs. */
  get ends(): SqliteEnds {
    return this.#ends;
  }

  due(at: number): void {
    this.#dueAt = Math.min(this.#dueAt, at);
  }

  forget(at: number): void {
    this.#forgetAt = Math.min(this.#forgetAt, at);
  }

  /** A job is not to be started behind that. */
  expiry(at: number): void {
    this.#expiryAt = Math.min(this.#expiryAt, at);
  }

  /** How long until something is to be done, ms; Infinity: nothing is to come. */
  get waitMs(): number {
    const { clock, runs, table } = this.#ground;
    if (this.#ends.hasSettled || this.#shift !== undefined || table.ids.hasWork) return 0;
    const next = Math.min(this.#dueAt, this.#expiryAt, this.#forgetAt) - clock.now();
    const steady = clock.steady();
    const wait = Math.min(next, runs.waitMs(steady), this.#vacuumAt - steady);
    return wait === Infinity ? Infinity : Math.min(Math.max(0, wait), LONGEST_SLEEP);
  }

  /** The change that is due; undefined: nothing is. */
  change(): Change | undefined {
    this.#noteStep();
    return this.waitMs > 0
      ? undefined
      : { apply: (batch) => this.#apply(batch), refuse: () => this.#lookAgain() };
  }

  /** Nothing was written: all is to be looked for again. */
  #lookAgain(): void {
    this.#dueAt = this.#expiryAt = this.#forgetAt = -Infinity;
  }

  #apply(batch: Batch): void {
    const now = this.#ground.clock.now();
    if (this.#shift !== undefined) this.#applyShift(batch, this.#shift);
    if (this.#dueAt <= now) this.#promote(batch, now);
    if (this.#expiryAt <= now) this.#expire(batch, now);
    if (this.#forgetAt <= now) this.#forgetSome(batch, now);
    this.#ends.settle(batch);
    this.#mark(batch);
    this.#ground.table.ids.work(batch);
    if (this.#vacuumAt <= this.#ground.clock.steady()) this.#vacuum(batch);
  }

  /** Gives pages back to the disk that many jobs less have left behind, a few at a time. */
  #vacuum(batch: Batch): void {
    const { table, clock } = this.#ground;
    const free = this.#pragma("freelist_count");
    const most = Math.max(FREE_PAGES, FREE_PART * this.#pragma("page_count"));
    if (free > most) table.sql(`PRAGMA incremental_vacuum(${VACUUM_PAGES})`).all();
    const later = free > most + VACUUM_PAGES ? 0 : free > most ? VACUUM_INTERVAL : Infinity;
    batch.then(() => this.#vacuumAt = clock.steady() + later);
  }

  #pragma(name: string): number {
    return numberIn(this.#ground.table.sql(`PRAGMA ${name}`).get() ?? {}, name);
  }

  #promote(batch: Batch, now: number): void {
    const { table } = this.#ground;
    const sql = "SELECT * FROM job WHERE stage = 0 AND due <= ? ORDER BY due LIMIT ?";
    const rows = table.rows(sql, now, MOST_DUE);
    for (const row of rows) this.#ends.promote(batch, row);
    batch.then(() => this.#dueAt = this.#next("SELECT min(due) AS at FROM job WHERE stage = 0"));
  }

  #expire(batch: Batch, now: number): void {
    const { table, runs } = this.#ground;
    const sql =
      "SELECT * FROM job WHERE expires <= ? AND expires IS NOT NULL AND stage < 3 ORDER BY expires LIMIT ?";
    for (const row of table.rows(sql, now, MOST_DUE)) {
      if (runs.ofJob(row.seq) === undefined) {
        this.#ends.end(batch, row, Stage.expired, { message: "It was not started in time" });
      } else {
        table.sql("UPDATE job SET expires = NULL WHERE seq = ?").run(row.seq);
      }
    }
    batch.then(() =>
      this.#expiryAt = this.#next(
        "SELECT min(expires) AS at FROM job WHERE expires IS NOT NULL AND stage < 3",
      )
    );
  }

  #forgetSome(batch: Batch, now: number): void {
    const sql = "SELECT * FROM job WHERE stage >= 3 AND forget <= ? ORDER BY forget LIMIT ?";
    let isSettling = false;
    for (const row of this.#ground.table.rows(sql, now, MOST_FORGOTTEN)) {
      if (this.#ends.isSettling(row.seq)) isSettling = true;
      else this.drop(batch, row);
    }
    const next = "SELECT min(forget) AS at FROM job WHERE stage >= 3";
    batch.then(() => this.#forgetAt = isSettling ? now + LONGEST_SLEEP : this.#next(next));
  }

  /** Forgets a job. */
  drop(batch: Batch, row: JobRow): void {
    const { table, changed } = this.#ground;
    table.drop(row);
    const { service, stage, priority } = row;
    batch.count({ service, stage, priority }, -1, -row.weight);
    batch.then(() => {
      this.#vacuumAt = Math.min(this.#vacuumAt, this.#ground.clock.steady() + VACUUM_INTERVAL);
      changed.add(row.seq);
      table.ids.remove(row.id, row.seq);
      this.#forgotten(row);
    });
  }

  /** Runs that last are marked, so that it is known of them if the server dies. */
  #mark(batch: Batch): void {
    const { table, runs, clock } = this.#ground;
    for (const run of runs.unmarked(clock.steady())) {
      table.sql("INSERT OR IGNORE INTO begun (seq) VALUES (?)").run(run.row.seq);
      batch.then(() => run.isMarked = true);
    }
  }

  #next(sql: string): number {
    const row = this.#ground.table.sql(sql).get() ?? {};
    return row.at === null || row.at === undefined ? Infinity : numberIn(row, "at");
  }

  // ---- a clock that is set ----

  /** Where the clock is set back, delays and back-offs move along: they are spans, not times of the day. */
  #noteStep(): void {
    const { clock } = this.#ground;
    const ahead = clock.now() - clock.steady();
    const by = ahead - this.#ahead;
    if (Math.abs(by) < STEP) return;
    this.#ahead = ahead;
    log(this.#ground, "warn", "the clock of the system was set", { ms: Math.round(by) });
    if (by < 0) this.#shift = { by: Math.round(by), after: -1, last: this.#ground.table.lastSeq };
    this.#lookAgain();
  }

  #applyShift(batch: Batch, { by, after, last: end }: Shift): void {
    const { table } = this.#ground;
    const sql = "SELECT seq FROM job WHERE stage = 0 AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?";
    const seqs = table.sql(sql).all(after, end, MOST_MOVED);
    const last = numberIn(seqs.at(-1) ?? {}, "seq");
    if (seqs.length > 0) {
      table.sql(
        "UPDATE job SET due = due + ? WHERE stage = 0 AND seq > ? AND seq <= ? AND (tries > 0 OR rest ->> 'isDelay')",
      ).run(by, after, last);
    }
    batch.then(() => {
      this.#shift = seqs.length < MOST_MOVED ? undefined : { by, after: last, last: end };
      this.#lookAgain();
    });
  }
}
