/** Marks of schedules in memory, for several servers that share them, and that fail when they are told to. */

import type { Submission } from "../../store/messages.ts";
import type { ScheduleMark } from "../../store/due_times.ts";
import type { ScheduleMarks } from "../../store/schedules.ts";

/** What a call does: `lost`: it is stored, and the answer is not heard. */
export type Fate = "done" | "refused" | "lost";

/** A store as schedules see it. */
export class SharedMarks implements ScheduleMarks {
  readonly #marks = new Map<string, string>();
  /** All jobs that were stored. */
  readonly jobs: Submission[] = [];
  /** What the next calls do; "done" where there is none. */
  readonly fates: Fate[] = [];
  /** How many calls have failed. */
  failures = 0;

  /** When jobs of a schedule were due, as their keys say. */
  dues(name?: string): string[] {
    return this.jobs.map(({ key }) => key.split(":"))
      .filter(([, of]) => name === undefined || of === name)
      .map(([, , ...due]) => due.join(":"));
  }

  async read(name: string): Promise<ScheduleMark | undefined> {
    await Promise.resolve();
    if (this.#fate() !== "done") throw this.#failure();
    const text = this.#marks.get(name);
    return text === undefined ? undefined : JSON.parse(text);
  }

  async put(
    name: string,
    expected: ScheduleMark | undefined,
    mark: ScheduleMark,
    job: Submission | undefined,
  ): Promise<boolean> {
    await Promise.resolve();
    const fate = this.#fate();
    if (fate === "refused") throw this.#failure();
    if (this.#marks.get(name) !== (expected && JSON.stringify(expected))) return false;
    this.#marks.set(name, JSON.stringify(mark));
    if (job !== undefined) this.jobs.push(job);
    if (fate === "lost") throw this.#failure();
    return true;
  }

  #fate(): Fate {
    return this.fates.shift() ?? "done";
  }

  #failure(): Error {
    this.failures++;
    return new Error("the disk is full");
  }
}
