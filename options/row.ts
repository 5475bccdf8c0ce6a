/**
 * What a row of the table of options has, and the headings of the table. Not here: the rows (table.ts,
 * and the tables that it is made of).
 *
 * @module
 */
import type { Kind } from "./kinds.ts";
import type { Permissions } from "./settings.ts";

/** Headings under which --help lists the options. */
export const GROUPS = [
  "Endpoints",
  "Access",
  "Workers",
  "Jobs",
  "Stored jobs",
  "Permissions",
  "Process",
  "Control",
  "Log",
] as const;

/** One row of the table. */
export interface OptionSpec<T = unknown> {
  /** The option's name in code and in the conf file. */
  readonly name: string;
  /** Its heading. */
  readonly group: typeof GROUPS[number];
  /** How its value is accepted, read and shown. */
  readonly kind: Kind<T>;
  /** What it is, in a few words that stand alone; `<maxWorkers>` is another option. */
  readonly help: string;
  /** The default; `undefined` if there is none, or if it depends on the machine. */
  readonly fallback?: NoInfer<T>;
  /** The default is this many times the number of CPUs. */
  readonly perCpu?: number;
  /** The default in words, where its value does not say it. */
  readonly fallbackText?: string;
  /** Where it can be set: `code` is serve() alone, `text` is flags, environment and conf file. */
  readonly scope: "everywhere" | "code" | "text";
  /** Net::Server's names for it in the conf file; a duration under these is in seconds. */
  readonly netServer: readonly string[];
  /** Its flag, `--min-workers`; empty if it has none. */
  readonly flag: string;
  /** Its environment variable, `PREFORK_MIN_WORKERS`; empty if it has none. */
  readonly environment: string;
  /** The permission that it grants. */
  readonly permission?: keyof Permissions;
}

/** What the table says of an option; the rest follows from its name. */
export type Row<T> =
  & Pick<OptionSpec<T>, "group" | "kind" | "help">
  & Partial<Omit<OptionSpec<T>, "name" | "environment">>;

/** Has the compiler find the type of an option's values. */
export function row<T>(given: Row<T>): Row<T> {
  return given;
}

/** `minWorkers` to `min-workers` or `min_workers`. */
export function separate(name: string, by: "-" | "_"): string {
  return name.replace(/[A-Z]/g, (letter) => by + letter.toLowerCase());
}
