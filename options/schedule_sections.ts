/**
 * Sections `[schedule NAME]` of a conf file: what may stand there, and the schedules that they make. Not here: what
 * these may be (stored_checks.ts), and reading the file (conf_file.ts).
 *
 * @module
 */
import { complaint, unknownOption } from "./errors.ts";
import { duration, LONGEST_KEPT_MS } from "./kinds.ts";
import { separate } from "./row.ts";
import { SCHEDULE_OPTIONS } from "./stored_checks.ts";
import type { ScheduleOptions } from "./settings.ts";

/** A line of a section. */
export interface ScheduleLine {
  readonly option: keyof ScheduleOptions;
  readonly text: string;
  /** Where it was set: `file prefork.conf:3`. */
  readonly source: string;
  /** What an error names. */
  readonly subject: string;
}

/** A section, or what several of one name would be. */
export interface ScheduleSection {
  readonly name: string;
  /** What an error names. */
  readonly subject: string;
  readonly lines: ScheduleLine[];
}

const KEYS: ReadonlyMap<string, keyof ScheduleOptions> = new Map(
  SCHEDULE_OPTIONS.flatMap((option) =>
    [option, separate(option, "-"), separate(option, "_")].map((key) => [key, option] as const)
  ),
);

const catchUp = duration(0, LONGEST_KEPT_MS);

/** The option that a key stands for, or what is wrong with the key. */
export function scheduleOption(key: string, place: string): keyof ScheduleOptions | Error {
  return KEYS.get(key) ??
    new Error(unknownOption(key, SCHEDULE_OPTIONS, "", ` of a schedule in ${place}`));
}

/**
 * The schedules that sections make; whether they can be is checked along with all else.
 *
 * @throws {Error} if a duration can't be read.
 */
export function schedulesOf(
  sections: Iterable<ScheduleSection>,
): Record<string, Record<string, unknown>> {
  return Object.fromEntries(
    [...sections].map(({ name, lines }) => [
      name,
      Object.fromEntries(lines.map((line) => [line.option, valueOf(line)])),
    ]),
  );
}

function valueOf({ option, text, subject }: ScheduleLine): unknown {
  if (option !== "catchUp") return text;
  const value = catchUp.parse(text);
  if (value !== undefined) return value;
  const lack = catchUp.lack?.(text);
  throw new Error(
    `Cannot start: ${
      lack === undefined ? complaint(subject, catchUp.textRule, text) : `${subject} ${lack}`
    }`,
  );
}

/** A schedule as lines of a section, without a source. */
export function scheduleLines(
  schedule: Required<ScheduleOptions>,
): [option: string, text: string][] {
  const { cron, timeZone, service, body } = schedule;
  const texts = { cron, timeZone, service, body, catchUp: catchUp.show(schedule.catchUp) };
  return Object.entries(texts);
}
