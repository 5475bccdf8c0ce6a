/**
 * Notices when a server has nothing more to do.
 *
 * @module
 */

/** What a server does at a moment. */
export interface Activity {
  /** Whether no job waits and none runs. */
  isIdle: boolean;
  /** When a job was last given to a worker, ms; 0: never. */
  lastJobAt: number;
}

/** A server that has had no job for this time is called idle, ms. */
const IDLE_AFTER = 1000;

/** Reports each time of rest once. */
export class IdleWatch {
  readonly #report: () => void;
  /** This time of rest was reported, or follows no job at all. */
  #isReported = true;

  /** `report` is called some time after the last job. */
  constructor(report: () => void) {
    this.#report = report;
  }

  /** Reports what is to be reported; returns ms until it must run again. */
  tick(now: number, { isIdle, lastJobAt }: Activity): number {
    const idleAt = lastJobAt + IDLE_AFTER;
    if (!isIdle || now < idleAt) {
      this.#isReported = lastJobAt === 0;
      return isIdle && !this.#isReported ? idleAt - now : Infinity;
    }
    if (!this.#isReported) this.#report();
    this.#isReported = true;
    return Infinity;
  }
}

/** What a look at the data plane says of that. */
export function activityOf(
  { queued, running, lastJobAt }: { queued: number; running: number; lastJobAt: number },
): Activity {
  return { isIdle: queued === 0 && running === 0, lastJobAt };
}
