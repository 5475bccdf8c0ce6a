/**
 * Runs that the plane has been given and that have not ended.
 *
 * @module
 */

import type { Chosen } from "./job_choice.ts";
import type { JobStatus } from "./messages.ts";
import type { JobRow } from "./sqlite_row.ts";
import type { StoredService } from "./sqlite_services.ts";

/** A run. */
export interface OpenRun {
  readonly number: number;
  readonly service: StoredService;
  readonly chosen: Chosen;
  /** The job as it was when the run began. */
  readonly row: JobRow;
  /** When it began: by the clock on the wall, and by the steady one. */
  readonly startedAt: number;
  readonly steadyAt: number;
  /** Of the job as it is told. */
  version: number;
  progress: JobStatus["progress"];
  /** Whether the file knows that it has begun. */
  isMarked: boolean;
  /** Whether it has kept something, so that `row` is not how the job is now. */
  hasKept: boolean;
  /** The job has ended without it: what comes of it counts for nothing. */
  isOver: boolean;
}

/** A run that lasts so long is marked in the file, so that it counts if the server dies, ms. */
const MARK_AFTER = 1000;

/** All runs. */
export class StoredRuns {
  readonly #byNumber = new Map<number, OpenRun>();
  readonly #bySeq = new Map<number, OpenRun>();
  /** Oldest first, those that are not marked and may have to be. One that has ended is nobody's: there are many. */
  readonly #unmarked = new Set<OpenRun>();
  #last = 0;

  /** How many there are. */
  get size(): number {
    return this.#byNumber.size;
  }

  /** A new one. */
  begin(run: Omit<OpenRun, "number" | "isMarked" | "hasKept" | "isOver" | "progress">): OpenRun {
    const number = ++this.#last;
    const open: OpenRun = {
      ...run,
      number,
      isMarked: false,
      hasKept: false,
      isOver: false,
      progress: undefined,
    };
    this.#byNumber.set(number, open);
    this.#bySeq.set(run.row.seq, open);
    this.#unmarked.add(open);
    return open;
  }

  /** The run of a number. */
  get(number: number): OpenRun | undefined {
    return this.#byNumber.get(number);
  }

  /** The run of a job that counts. */
  ofJob(seq: number): OpenRun | undefined {
    return this.#bySeq.get(seq);
  }

  /** All of them, oldest first. */
  all(): Iterable<OpenRun> {
    return this.#byNumber.values();
  }

  /** Its job has ended, or waits again: it does not count any more. */
  disown(run: OpenRun): void {
    run.isOver = true;
    this.#unmarked.delete(run);
    if (this.#bySeq.get(run.row.seq) === run) this.#bySeq.delete(run.row.seq);
  }

  /** The plane is done with it. */
  end(run: OpenRun): void {
    this.disown(run);
    this.#byNumber.delete(run.number);
  }

  /** Runs that have lasted long enough to be marked. */
  unmarked(steady: number): OpenRun[] {
    const old: OpenRun[] = [];
    for (const run of this.#unmarked) {
      if (run.steadyAt > steady - MARK_AFTER) break;
      this.#unmarked.delete(run);
      old.push(run);
    }
    return old;
  }

  /** How long until a run is to be marked, ms; Infinity: there is none. */
  waitMs(steady: number): number {
    for (const { steadyAt } of this.#unmarked) return Math.max(0, steadyAt + MARK_AFTER - steady);
    return Infinity;
  }
}
