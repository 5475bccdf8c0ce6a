/**
 * What an operator reads about the options: --help, --print-config and the README's table, all made
 * from the one table. Not here: printing them, and the table (table.ts).
 *
 * @module
 */
import type { Settings } from "./settings.ts";
import { type OptionGroup, OPTIONS, type OptionSpec } from "./table.ts";

const GROUPS: readonly OptionGroup[] = [
  "Endpoints",
  "Access",
  "Workers",
  "Jobs",
  "Permissions",
  "Process",
  "Log",
];

const IN_TEXT: readonly OptionSpec[] = OPTIONS.filter(({ scope }) => scope !== "code");

/** Width of the column of flags: that of the longest one, and two spaces on both sides. */
const FLAG_WIDTH = 37;

const USAGE = `Usage: COMMAND [options] [handler]

Serves ZeroMQ requests with a pool of worker processes. The handler is a module whose default
export answers requests; without one, requests are echoed.`;

const COMMANDS: readonly (readonly [string, string])[] = [
  ["--check", "load the handler once in a worker, and exit with 0 or 1"],
  ["--print-config", "print each option with its source, as a conf file"],
  ["-h, --help", "print this"],
  ["-V, --version", "print the version"],
];

const NOTES = `Values:
  TIME      500ms, 10s, 5m or 1h; a number needs its unit, 0 aside
  SIZE      bytes, or 512k, 64MiB, 1G (powers of 1024)
  PERCENT   10% or 0.1
  LIST      items separated by commas; without one, everything is allowed
  ENDPOINT  tcp://host:port (port 0 or *: any free one) or ipc://path

Sources:
  Flags beat environment variables beat the conf file beat defaults. --min-workers is
  PREFORK_MIN_WORKERS in the environment, and minWorkers or min_workers in the conf file, which
  has lines of "key value" and # comments; a repeated key makes a list. Net::Server's keys work
  too (min_servers, check_for_spawn ...); under these a number without a unit is seconds.

Signals:
  TERM, INT   stop: queued requests are refused, running jobs end; the second one kills
  QUIT        stop after the queued requests are served
  HUP         read the conf file and load the handler anew, open the log file anew
  TTIN, TTOU  one worker more, one less
  USR2        write the state to the log

Exit codes:
  0  stopped, or --check found no fault
  1  could not start, or workers had to be killed
  2  bad usage

Examples:
  COMMAND ./handler.ts
  COMMAND --workers 4 --port 6660 --host '*' ./handler.ts
  COMMAND --handler-allow-net=db:5432 --frontend ipc:///run/jobs.ipc ./handler.ts
  COMMAND --config prefork.conf --print-config
`;

/**
 * The text of --help.
 *
 * @param command What has started the server, such as `deno run -A mod.ts`.
 * @returns Lines of at most 100 columns, unless the command is long.
 */
export function helpText(command: string): string {
  const groups = GROUPS.map((group) => {
    const rows = IN_TEXT.filter((spec) => spec.group === group && spec.flag !== "");
    return section(group, rows.map((spec) => [usageOf(spec), `${spec.help}${inBrackets(spec)}`]));
  });
  const text = [USAGE, ...groups, section("Commands", COMMANDS), NOTES].join("\n\n");
  return text.replaceAll("COMMAND", command);
}

/**
 * The options in force, as a conf file: a line `name value  # source` each; an option without a
 * value is a comment.
 *
 * @param settings The options.
 * @param sources Where each came from, by its name.
 * @returns The text.
 */
export function printConfig(settings: Settings, sources: ReadonlyMap<string, string>): string {
  const values = new Map<string, unknown>(Object.entries(settings));
  const granted = new Map<string, unknown>(Object.entries(settings.permissions));
  const lines = IN_TEXT.flatMap((spec): [string, string][] => {
    const { name, permission } = spec;
    if (permission === undefined && !values.has(name)) return [];
    const value = permission === undefined ? values.get(name) : granted.get(permission) ?? false;
    return [[confLine(spec, value), sources.get(name) ?? "default"]];
  });
  const width = Math.min(44, Math.max(...lines.map(([line]) => line.length)));
  return lines.map(([line, source]) => `${line.padEnd(width)}  # ${source}\n`).join("");
}

/**
 * The README's table of options.
 *
 * @returns Markdown.
 */
export function optionsTable(): string {
  const head = ["option", "flag", "environment", "conf file", "default", "what it is"];
  const rows = OPTIONS.map((spec) => [
    code(spec.name),
    spec.flag === "" ? (spec.name === "handler" ? "positional" : "—") : code(usageOf(spec)),
    spec.environment === "" ? "—" : code(spec.environment),
    confKeysOf(spec),
    defaultOf(spec),
    spec.help,
  ]);
  return table([head, ...rows.map((cells) => cells.map((cell) => cell.replaceAll("|", "\\|")))]);
}

function section(title: string, rows: readonly (readonly [string, string])[]): string {
  const lines = rows.map(([flag, help]) => `  ${flag}`.padEnd(FLAG_WIDTH) + help);
  return `${title}:\n${lines.join("\n")}`;
}

function usageOf({ flag, kind: { placeholder }, permission }: OptionSpec): string {
  if (placeholder === "") return flag;
  return permission === undefined ? `${flag} ${placeholder}` : `${flag}[=${placeholder}]`;
}

/** The default, where it says more than that nothing happens. */
function inBrackets(spec: OptionSpec): string {
  const text = defaultOf(spec);
  return ["—", "none", "nothing", "off", "false"].includes(text) ? "" : ` [${text}]`;
}

function defaultOf(spec: OptionSpec): string {
  if (spec.fallbackText !== undefined) return spec.fallbackText;
  if (spec.perCpu !== undefined) return spec.perCpu === 1 ? "CPUs" : `${spec.perCpu} × CPUs`;
  return spec.fallback === undefined ? "—" : spec.kind.show(spec.fallback);
}

function confLine(spec: OptionSpec, value: unknown): string {
  const text = value === undefined ? "" : spec.kind.show(value).replaceAll("#", "\\#");
  // the conf file can't name itself, and a key needs a value
  const isComment = text === "" || spec.name === "config";
  return `${isComment ? "# " : ""}${spec.name} ${text}`.trimEnd();
}

function confKeysOf(spec: OptionSpec): string {
  if (spec.scope === "code" || spec.name === "config") return "—";
  const unit = spec.kind.placeholder === "TIME" ? " (seconds)" : "";
  const others = spec.netServer.filter((key) => key !== spec.name);
  return [code(spec.name), ...others.map((key) => code(key) + unit)].join(", ");
}

function code(text: string): string {
  return `\`${text}\``;
}

/** Pads the cells, as `deno fmt` would. */
function table(rows: readonly (readonly string[])[]): string {
  const width = (column: number) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(width(i))).join(" | ")} |\n`;
  const [head = [], ...body] = rows;
  const rule = head.map((_, i) => "-".repeat(width(i)));
  return [head, rule, ...body].map(line).join("");
}
