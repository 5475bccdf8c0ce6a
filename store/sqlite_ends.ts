/**
 * How jobs end, and what follows for those that wait for them; and how they are tried again.
 *
 * @module
 */

import type { Frames, RunOutcome, ToStore } from "./messages.ts";
import {
  addWaiting,
  countMove,
  type Ground,
  log,
  noteEnd,
  removeWaiting,
  serviceOf,
} from "./sqlite_ground.ts";
import type { Batch, Change } from "./sqlite_ledger.ts";
import { Stage } from "./sqlite_schema.ts";
import { numberIn } from "./sqlite_columns.ts";
import { backoffOf, type JobRow, retriesOf } from "./sqlite_row.ts";
import type { Ending } from "./sqlite_table.ts";
import type { OpenRun } from "./stored_runs.ts";
import { backoffMs, messageOfRun, verdictOf } from "./verdict.ts";

/** A job that has ended, and that others may wait for. */
interface Settled {
  seq: number;
  id: string;
  isDone: boolean;
}

/** Jobs that wait for one which has ended, handled in one transaction. */
const MOST_SETTLED = 200;
/** A service whose workers were not there is left alone for so long, ms. */
const HOLD = 100;
/** The code of a job that fails since one that it waits for has failed: 424, Failed Dependency. */
const DEPENDENCY_FAILED = 424;

/** Told of times that come. */
export interface Upcoming {
  /** A job is due then. */
  due(at: number): void;
  /** A job is forgotten then. */
  forget(at: number): void;
  /** A job is not to be started behind that. */
  expiry(at: number): void;
}

/** The way out. */
export class SqliteEnds {
  readonly #ground: Ground;
  readonly #upcoming: Upcoming;
  readonly #settled: Settled[] = [];

  constructor(ground: Ground, upcoming: Upcoming) {
    this.#ground = ground;
    this.#upcoming = upcoming;
    this.#readSettled();
  }

  /** Whether jobs wait for some that have ended. */
  get hasSettled(): boolean {
    return this.#settled.length > 0;
  }

  // ---- runs ----

  /** The change that the end of a run makes. It is owed: nobody else knows how the run has ended. */
  ended({ run: number, outcome }: Extract<ToStore, { type: "ended" }>): Change | undefined {
    const { runs } = this.#ground;
    const run = runs.get(number);
    if (run === undefined) return undefined;
    if (run.isOver) {
      runs.end(run);
      return undefined;
    }
    const tried = { attempt: run.row.tries + 1, retries: retriesOf(run.row) };
    const verdict = verdictOf(outcome, tried);
    if (verdict === "returned") {
      run.service.choice.hold(this.#ground.clock.steady() + HOLD);
      return this.returned(run);
    }
    return {
      apply: (batch) => this.#apply(batch, run, verdict, outcome),
      refuse: undefined,
      abandon: (message) => this.#abandon(run, message),
    };
  }

  /** The change that a run makes which was not started: the job waits as before. */
  returned(run: OpenRun): Change {
    const { table, runs, changed } = this.#ground;
    const { seq, expires } = run.row;
    const wasOver = run.isOver;
    runs.end(run);
    if (!wasOver) run.service.choice.giveBack(run.chosen);
    changed.add(seq);
    return {
      apply: (batch) => {
        this.#unmark(run);
        const sql = "UPDATE job SET version = ? WHERE seq = ? AND version < ?";
        table.sql(sql).run(run.version + 1, seq, run.version + 1);
        if (expires === undefined) return;
        // It may have been taken for started in time.
        table.sql("UPDATE job SET expires = ? WHERE seq = ? AND stage < 3").run(expires, seq);
        batch.then(() => this.#upcoming.expiry(expires));
      },
      refuse: () => {},
    };
  }

  #apply(
    batch: Batch,
    run: OpenRun,
    verdict: "done" | "again" | "failed" | "cancelled",
    outcome: RunOutcome,
  ): void {
    const { runs, table } = this.#ground;
    const row = run.hasKept ? table.bySeq(run.row.seq) : run.row;
    if (row !== undefined) {
      this.#unmark(run);
      if (verdict === "again") this.#again(batch, run, row, outcome);
      else this.#endRun(batch, run, row, verdict, outcome);
    }
    // Last: what follows from the rest is that of a job which runs.
    batch.then(() => runs.end(run));
  }

  #endRun(
    batch: Batch,
    run: OpenRun,
    row: JobRow,
    verdict: "done" | "failed" | "cancelled",
    { code, result }: RunOutcome,
  ): void {
    const message = verdict === "done" ? undefined : messageOfRun(result);
    const tries = row.tries + 1;
    const told = { version: run.version + 1, started: run.startedAt, tries, code, message };
    this.end(batch, row, Stage[verdict], told, result);
    this.#keepProgress(run, row);
  }

  /** How far its last try came is known until the next one begins. */
  #keepProgress({ progress }: OpenRun, row: JobRow): void {
    if (progress === undefined && row.rest.progress === undefined) return;
    this.#ground.table.keepProgress(row, progress);
  }

  /** How a run has ended can't be written, for no reason of the disk: its job is run again. */
  #abandon(run: OpenRun, message: string): void {
    log(this.#ground, "error", "how a job has ended can't be stored: it is run again", {
      job: run.row.id,
      error: message,
    });
    run.service.choice.hold(this.#ground.clock.steady() + HOLD);
    this.returned(run);
  }

  #again(batch: Batch, run: OpenRun, row: JobRow, { code, result }: RunOutcome): void {
    const { table, clock, changed } = this.#ground;
    const now = clock.now();
    const due = now + backoffMs(backoffOf(row), row.tries + 1, Math.random());
    const isAlive = table.again(row.seq, {
      due,
      tries: row.tries + 1,
      version: run.version + 1,
      started: run.startedAt,
      code,
      message: messageOfRun(result),
    });
    // It was cancelled in this very transaction.
    if (!isAlive) return;
    this.#keepProgress(run, row);
    countMove(batch, row, Stage.scheduled, 0);
    batch.then(() => {
      removeWaiting(this.#ground, row);
      serviceOf(this.#ground, row).retried++;
      changed.add(row.seq);
      this.#upcoming.due(due);
    });
  }

  #unmark({ isMarked, row }: OpenRun): void {
    if (isMarked) this.#ground.table.sql("DELETE FROM begun WHERE seq = ?").run(row.seq);
  }

  // ---- ends ----

  /** Ends a job that has not ended. */
  end(
    batch: Batch,
    row: JobRow,
    stage: number,
    told: Partial<Pick<Ending, "version" | "started" | "tries" | "code" | "message">>,
    result?: Frames,
  ): void {
    const { table, clock, config } = this.#ground;
    const now = clock.now();
    const ttl = stage === Stage.done ? config.resultTtl : config.deadTtl;
    const ending: Ending = {
      seq: row.seq,
      stage,
      tries: told.tries ?? row.tries,
      version: Math.max(told.version ?? 0, row.version + 1),
      started: told.started ?? row.started,
      ended: now,
      forget: now + ttl,
      code: told.code ?? row.code,
      message: told.message ?? (stage === Stage.done ? undefined : row.message),
    };
    const weight = table.end(row, ending, result);
    if (weight === undefined) return;
    countMove(batch, row, stage, weight);
    if (this.#ground.hasNeeds) table.sql("DELETE FROM need WHERE seq = ?").run(row.seq);
    batch.then(() => {
      if (row.stage === Stage.waiting) removeWaiting(this.#ground, row);
      noteEnd(this.#ground, row, ending);
      this.#upcoming.forget(ending.forget);
      const settled = { seq: row.seq, id: row.id, isDone: stage === Stage.done };
      if (this.#ground.hasNeeds) this.#settled.push(settled);
    });
  }

  /** Fails a job since one that it waits for has failed. */
  failDependent(batch: Batch, row: JobRow, cause: string): void {
    const message = `The job ${cause}, which it waits for, has not been done`;
    this.end(batch, row, Stage.failed, { code: DEPENDENCY_FAILED, message });
  }

  /** Cancels a job that has not ended. */
  cancel(batch: Batch, row: JobRow): void {
    const run = this.#ground.runs.ofJob(row.seq);
    if (run === undefined) return this.end(batch, row, Stage.cancelled, {});
    this.#unmark(run);
    // Its try has begun.
    const { version, startedAt: started } = run;
    this.end(batch, row, Stage.cancelled, { version: version + 1, started, tries: row.tries + 1 });
    this.#keepProgress(run, row);
    batch.then(() => this.#ground.say("plane", { type: "cancelRun", run: run.number }));
  }

  // ---- those that wait for others ----

  /** What is left of before: jobs that wait for some which have ended. */
  #readSettled(): void {
    const { table } = this.#ground;
    const sql =
      "SELECT DISTINCT other FROM need LEFT JOIN job ON job.seq = other WHERE stage IS NULL OR stage >= 3";
    for (const row of table.sql(sql).all()) {
      const seq = numberIn(row, "other");
      const job = table.bySeq(seq);
      this.#settled.push({ seq, id: job?.id ?? "", isDone: job?.stage === Stage.done });
    }
  }

  /** Whether jobs that wait for this one are not told yet. */
  isSettling(seq: number): boolean {
    return this.#settled.some((one) => one.seq === seq);
  }

  /** Tells some of those that wait. */
  settle(batch: Batch): void {
    const [settled] = this.#settled;
    if (settled === undefined) return;
    const { table } = this.#ground;
    const waiting = table.sql("SELECT seq FROM need WHERE other = ? LIMIT ?")
      .all(settled.seq, MOST_SETTLED);
    for (const row of waiting) this.#tell(batch, settled, numberIn(row, "seq"));
    if (waiting.length < MOST_SETTLED) batch.then(() => this.#settled.shift());
  }

  #tell(batch: Batch, settled: Settled, seq: number): void {
    const { table } = this.#ground;
    table.sql("DELETE FROM need WHERE other = ? AND seq = ?").run(settled.seq, seq);
    const row = table.bySeq(seq);
    if (row === undefined || row.stage !== Stage.blocked) return;
    if (!settled.isDone) return this.failDependent(batch, row, settled.id);
    if (table.sql("SELECT 1 FROM need WHERE seq = ? LIMIT 1").get(seq) !== undefined) return;
    this.release(batch, row);
  }

  /** A job waits for no other one any more. */
  release(batch: Batch, row: JobRow): void {
    const { clock } = this.#ground;
    const now = clock.now();
    if (row.due > now) this.#move(batch, row, Stage.scheduled, row.due);
    else this.#move(batch, row, Stage.waiting, now);
  }

  /** A job is due. */
  promote(batch: Batch, row: JobRow): void {
    this.#move(batch, row, Stage.waiting, row.due);
  }

  #move(batch: Batch, row: JobRow, stage: number, due: number): void {
    this.#ground.table.move(row.seq, { stage, due, version: row.version + 1 });
    countMove(batch, row, stage, 0);
    batch.then(() => {
      this.#ground.changed.add(row.seq);
      if (stage === Stage.waiting) addWaiting(this.#ground, row, due);
      else this.#upcoming.due(due);
    });
  }

  // ---- the server's own end ----

  /** Runs that were cut off when the server ended: no try, but three times as many of them as tries end a job. */
  recover(batch: Batch): void {
    const { table } = this.#ground;
    const rows = table.rows("SELECT * FROM job WHERE seq IN (SELECT seq FROM begun) AND stage = 1");
    for (const row of rows) {
      const deaths = row.deaths + 1;
      // It was started in time, so it does not expire any more.
      table.sql("UPDATE job SET deaths = ?, expires = NULL WHERE seq = ?").run(deaths, row.seq);
      batch.then(() => void this.#ground.fresh.take(row.seq));
      if (deaths < 3 * (retriesOf(row) + 1)) continue;
      const message = `The server has ended ${deaths} times while it ran`;
      this.end(batch, row, Stage.failed, { code: 502, message });
    }
    table.sql("DELETE FROM begun").run();
    if (rows.length === 0) return;
    batch.then(() =>
      log(this.#ground, "warn", "some jobs were running when the server ended, and are run again", {
        jobs: rows.length,
      })
    );
  }
}
