/**
 * Cron patterns by croner, which is loaded when there is a schedule and not before. Where summer time begins or ends, a
 * pattern with one hour and one minute is due once that day; others follow the clock.
 *
 * @module
 */

import type { Timetable } from "./due_times.ts";

/** What croner gives, as far as it is used. */
interface Croner {
  Cron: new (pattern: string, options: { paused: boolean; timezone: string | undefined }) => {
    nextRun(after: Date): Date | null;
    previousRuns(count: number, before: Date): Date[];
  };
}

/** The library that knows the calendar; deno.json pins it too. */
export const CRONER = "npm:croner@11.0.1";

/** Makes the timetable of a pattern; throws if it is none. */
export type MakeTimetable = (pattern: string, timeZone: string) => Timetable;

/**
 * Loads croner. A literal import would download it for everybody who serves.
 *
 * @throws {Error} when it can't be loaded.
 */
export async function loadTimetables(): Promise<MakeTimetable> {
  const { Cron }: Croner = await import(CRONER);
  return (pattern, timeZone) => {
    const cron = new Cron(pattern, { paused: true, timezone: timeZone || undefined });
    return {
      next: (after) => cron.nextRun(new Date(after))?.getTime(),
      previous: (before) => cron.previousRuns(1, new Date(before))[0]?.getTime(),
    };
  };
}
