/**
 * What a torture scenario is: something bad that happens to real servers, and the figure that they
 * must reach all the same. torture.ts runs them.
 *
 * @module
 */

/** How large a scenario is run. */
export interface Scale {
  /** Whether this is the full size; if not, it is a tenth. */
  readonly full: boolean;
  /** `count` at full size, else a tenth of it, at least 1. */
  of(count: number): number;
  /**
   * A time limit of a figure, or a ratio of times, is to be multiplied by this: 1 at full size, 10 at
   * the small one, which runs on machines that do other things too.
   */
  readonly slack: number;
}

/** What came of a scenario. */
export interface Outcome {
  /**
   * Whether the figure was reached: to the letter, whatever the size, in what was lost, wrong or left
   * over; with `Scale.slack` in times.
   */
  reached: boolean;
  /** Why it can't be gone through here: then nothing is claimed; undefined: it was. */
  skipped?: string;
  /** The figures measured, in one line. */
  measured: string;
}

/** The outcome of a scenario that can't be run here. */
export function skipped(why: string): Outcome {
  return { reached: false, skipped: why, measured: `nothing was measured: ${why}` };
}

/** Something to go through. */
export interface Scenario {
  /** How it is called: R1, R2 … */
  id: string;
  /** What happens, in a few words. */
  title: string;
  /** What must be reached, in one line. */
  figure: string;
  /** Goes through it; cleans up all processes and files, also when it throws. */
  run(scale: Scale): Promise<Outcome>;
}
