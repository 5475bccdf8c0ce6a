/**
 * Which due times of a schedule are to be submitted, and when there is nothing to do: pure decisions over its mark.
 * Not here: timers, and storing (schedules.ts).
 *
 * A due time that was submitted is never submitted again, also where the clock is set back and comes to it once more:
 * the mark has the times that were, as spans. One that was passed over, because it was too old, is submitted if it
 * comes again.
 *
 * @module
 */

/** What a store keeps of a schedule. Times are ms since 1970. */
export interface ScheduleMark {
  /** Up to here everything is done: what was due was submitted, or was too old. */
  readonly seen: number;
  /** The due times that were submitted: each that lies in a span, ends included. Ascending. */
  readonly spans: readonly (readonly [from: number, to: number])[];
  /** Time zone and pattern that this was for; "": the schedule was taken away. */
  readonly pattern: string;
  /** The job that was stored last; "": none. */
  readonly id: string;
}

/** When a pattern is due. */
export interface Timetable {
  /** The first due time after a time; undefined: there is none. */
  next(after: number): number | undefined;
  /** The last due time before a time; undefined: there is none. */
  previous(before: number): number | undefined;
}

/** What is to be done now. */
export type Step =
  /** Nothing before `until`; Infinity: never. */
  | { type: "wait"; until: number }
  | { type: "submit"; due: number }
  /** What was due up to `due` is too old. */
  | { type: "pass"; due: number };

/** A due time that is late by no more is on time while the process runs: it may be busy for a while. */
const ON_TIME_MS = 10_000;
/** Spans that a mark has at most: there is another one only after due times were passed over. */
const MAX_SPANS = 16;

/**
 * What is to be done now.
 *
 * @param next the first due time that is yet to be submitted: see {@linkcode nextFree}.
 * @param isRunning whether all that was due before has been seen by this process.
 */
export function stepOf(
  mark: ScheduleMark,
  table: Timetable,
  next: number,
  now: number,
  catchUpMs: number,
  isRunning: boolean,
): Step {
  if (next > now) return { type: "wait", until: next };
  if (isRunning && now - next <= ON_TIME_MS) return { type: "submit", due: next };
  const due = Math.max(next, previousFree(mark, table, now + 1) ?? 0);
  const limit = isRunning ? Math.max(catchUpMs, ON_TIME_MS) : catchUpMs;
  return { type: now - due <= limit ? "submit" : "pass", due };
}

/** The first due time after a time that was not submitted; Infinity: there is none. */
export function nextFree(
  { spans }: Pick<ScheduleMark, "spans">,
  table: Timetable,
  after: number,
): number {
  let due = table.next(after);
  for (const [from, to] of spans) {
    if (due !== undefined && from <= due && due <= to) due = table.next(to);
  }
  return due ?? Infinity;
}

/** The last due time before a time that was not submitted. */
function previousFree(mark: ScheduleMark, table: Timetable, before: number): number | undefined {
  let due = table.previous(before);
  for (const [from, to] of mark.spans.toReversed()) {
    if (due !== undefined && from <= due && due <= to) due = table.previous(from);
  }
  return due;
}

/** The mark after a due time was submitted; `id`: of the job. */
export function afterSubmit(
  mark: ScheduleMark,
  table: Timetable,
  due: number,
  id: string,
): ScheduleMark {
  const before = mark.spans.filter(([, to]) => to < due);
  const behind = mark.spans.slice(before.length);
  const last = before.at(-1);
  const [next] = behind;
  // Without a due time in between, two spans are one.
  const joins = last !== undefined && table.next(last[1]) === due;
  const meets = next !== undefined && table.next(due) === next[0];
  const span = [joins ? last[0] : due, meets ? next[1] : due] as const;
  const spans = [
    ...(joins ? before.slice(0, -1) : before),
    span,
    ...(meets ? behind.slice(1) : behind),
  ];
  return { ...mark, seen: due, spans: spans.slice(-MAX_SPANS), id };
}
