/**
 * Judges the deaths of workers: whether their jobs can have caused them. It knows no process and no queue,
 * only what was seen and when.
 *
 *     noticed ─ the process ended by itself (exit, crash, out of memory) ──────────────→ guilty
 *        ├──── its machine is gone, or the network to it ──────────────────────────────→ stranded
 *        └──── a signal from outside ended it: wait `TOGETHER` for other such deaths
 *                  ├─ at least one more: somebody kills workers, no job does ──────────→ excused
 *                  └─ none: the job may have done it, or the system because of it ─────→ guilty
 *
 * "From outside" is what the signal looks like, and nothing proves it: a job may kill its own process, and
 * several such jobs may do so at once. So a job that is excused is not trusted yet: see suspects.ts.
 *
 * Time is counted by the turns in which this is called: while the whole server is held up, no turn comes,
 * and deaths that were seen before and after belong together all the same.
 *
 * @module
 */

/**
 * How a process ended: its own doing, or a signal that somebody else may have sent; vanished: its machine is gone, or
 * the network to it, and all others with it.
 */
export type End = "itself" | "outside" | "vanished";

/** What a death means for the jobs that the worker had. */
export type Verdict = "guilty" | "excused" | "stranded";

/** A death that was judged, with what was put down for it. */
export interface Judgement<T> {
  about: T;
  verdict: Verdict;
}

/** Deaths that are closer to each other than this have one cause, ms. */
export const TOGETHER = 200;
/** How often `judge` is to be called while a death is open, ms; a longer pause counts as one of this length. */
const TURN = 20;
/** A process whose end is not reported within this time is taken to have ended by itself, ms. */
const END_WAIT = 3000;

const NONE: readonly never[] = [];

interface Death<T> {
  about: T;
  /** By this module's own time, ms. */
  at: number;
  end: End | undefined;
}

/** The deaths of workers that are not judged yet. */
export class Inquest<T> {
  readonly #open = new Map<number, Death<T>>();
  /** When processes were killed from outside, by worker. */
  readonly #kills = new Map<number, number>();
  /** Time as this module counts it, ms. */
  #time = 0;
  #calledAt = 0;

  /** Whether a death is open. */
  get busy(): boolean {
    return this.#open.size > 0;
  }

  /** The connection of `worker` is gone; `end` if it is known how its process ended. */
  notice(worker: number, about: T, end: End | undefined, now: number): void {
    this.#advance(now);
    const at = this.#kills.get(worker) ?? this.#time;
    this.#open.set(worker, { about, at, end });
  }

  /** The process of `worker` has ended, whatever it was doing: one that starts dies with the others, too. */
  end(worker: number, end: End, now: number): void {
    this.#advance(now);
    const death = this.#open.get(worker);
    if (death !== undefined) death.end = end;
    if (end === "outside") this.#kills.set(worker, death?.at ?? this.#time);
  }

  /** The deaths that can be judged now. */
  judge(now: number): readonly Judgement<T>[] {
    if (!this.#active) return NONE;
    this.#advance(now);
    const judged: Judgement<T>[] = [];
    for (const [worker, death] of this.#open) {
      const verdict = this.#verdict(worker, death);
      if (verdict === undefined) continue;
      judged.push({ about: death.about, verdict });
      this.#open.delete(worker);
    }
    this.#forget();
    return judged;
  }

  /** When `judge` is to be called again, ms from now; Infinity: there is nothing to judge. */
  get wait(): number {
    return this.#active ? TURN : Infinity;
  }

  get #active(): boolean {
    return this.#open.size + this.#kills.size > 0;
  }

  #verdict(worker: number, { at, end }: Death<T>): Verdict | undefined {
    if (end === undefined) return this.#time >= at + END_WAIT ? "guilty" : undefined;
    if (end === "itself") return "guilty";
    if (end === "vanished") return "stranded";
    if (this.#time < at + TOGETHER) return undefined;
    const isNear = (other: number) => Math.abs(other - at) <= TOGETHER;
    for (const [other, killedAt] of this.#kills) {
      if (other !== worker && isNear(killedAt)) return "excused";
    }
    const untold = [...this.#open.values()].some((other) =>
      other.end === undefined && isNear(other.at)
    );
    return untold ? undefined : "guilty";
  }

  /** Nothing that is still open is compared with a kill of so long ago. */
  #forget(): void {
    const oldest = Math.min(this.#time, ...[...this.#open.values()].map(({ at }) => at));
    for (const [worker, at] of this.#kills) {
      if (at + TOGETHER < oldest) this.#kills.delete(worker);
    }
  }

  #advance(now: number): void {
    const passed = now - this.#calledAt;
    this.#time += this.#active ? Math.min(passed, TURN) : passed;
    this.#calledAt = now;
  }
}
