/**
 * What an operator reads about the options: --help and --print-config, both made from the one table. Not
 * here: printing them, and the table (table.ts).
 *
 * @module
 */
import { IN_TEXT } from "./entries.ts";
import { scheduleLines } from "./schedule_sections.ts";
import { type Listed, listService, listValues } from "./listing.ts";
import type { Settings } from "./settings.ts";
import { defaultOf, GROUPS, OPTIONS, type OptionSpec } from "./table.ts";

/** Columns of --help: what a terminal has at least. */
const WIDTH = 80;

/** Where the second column starts; a flag that reaches it has a line of its own. */
const INDENT = 27;

const USAGE = `Usage: COMMAND [options] [handler]

Serves ZeroMQ requests with a pool of worker processes. The handler is a module
whose default export answers requests; without one, requests are echoed.`;

const COMMANDS: readonly (readonly [string, string])[] = [
  ["--check", "load the handler once in a worker, and exit with 0 or 1"],
  ["--print-config", "print each option with its source, as a conf file"],
  ["-h, --help", "print this help"],
  ["-V, --version", "print the version"],
];

const NOTES = `Values:
  TIME      500ms, 10s, 5m, 1h or 30d; only 0 needs no unit
  SIZE      bytes, or 512k, 64MiB, 1G (powers of 1024)
  PERCENT   10% or 0.1
  RANGE     an IP address or a CIDR range, or several separated by commas
  LIST      items separated by commas; a flag without a list allows everything
  ENDPOINT  tcp://host:port (port 0 or *: any free one) or ipc://path

Sources:
  Flags beat environment variables, these beat the conf file. --min-workers is
  PREFORK_MIN_WORKERS in the environment, minWorkers or min_workers in the conf
  file, which has lines of "key value" and # comments; a repeated key makes a
  list. Net::Server's keys work too (min_servers, check_for_spawn ...); with
  these, a number without a unit is seconds. Lines that follow [service NAME]
  are options of that service, which has those above it for all else; those
  that follow [schedule NAME] are cron, timeZone, service, body and catchUp.

Signals:
  TERM, INT   stop: finish running jobs, refuse queued requests; a second signal
              kills the workers
  QUIT        stop once the queued requests are answered
  HUP         read the conf file, load the handler and open the log file again
  TTIN, TTOU  one worker more, one worker less; with services alone, of each
  USR2        write the server's state to the log

Exit codes:
  0  stopped, or --check found no fault
  1  could not start, or workers had to be killed
  2  wrong usage

Examples:
  COMMAND ./handler.ts
  COMMAND --workers 4 --port 6660 --host '*' ./handler.ts
  COMMAND --handler-allow-net=db:5432 ./handler.ts
  COMMAND --frontend ipc:///run/jobs.ipc ./handler.ts
  COMMAND --service mail=./mail.ts --service sms=./sms.ts
  COMMAND --config prefork.conf --print-config
`;

/**
 * The text of --help.
 *
 * @param command What has started the server, such as `deno run -A mod.ts`.
 * @returns Lines of at most 80 columns, unless the command is long.
 */
export function helpText(command: string): string {
  const groups = GROUPS.map((group) => {
    const rows = IN_TEXT.filter((spec) => spec.group === group && spec.flag !== "");
    return section(
      group,
      rows.map((spec) => [usageOf(spec), `${helpOf(spec)}${inBrackets(spec)}`]),
    );
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
  const top = listValues(settings);
  const lines = top.map((each): Line => [
    confLine(each),
    sources.get(each.spec.name) ?? "default",
  ]);
  const sections = Object.entries(settings.services).map(([name, own]): [string, Line[]] => [
    `\n[service ${name}]\n`,
    listService(name, own, top, sources).map((each) => [confLine(each), each.source ?? "default"]),
  ]);
  for (const [name, each] of Object.entries(settings.schedules)) {
    const rows = scheduleLines(each).map(([option, text]): Line => [
      pairLine(option, text),
      sources.get(`schedules.${name}.${option}`) ?? "default",
    ]);
    sections.push([`\n[schedule ${name}]\n`, rows]);
  }
  const all = [...lines, ...sections.flatMap(([, lines]) => lines)];
  const width = Math.min(44, Math.max(...all.map(([line]) => line.length)));
  const text = (lines: readonly Line[]) =>
    lines.map(([line, source]) => `${line.padEnd(width)}  # ${source}\n`).join("");
  return text(lines) + sections.map(([title, lines]) => title + text(lines)).join("");
}

/** A line of a conf file, and its source. */
type Line = readonly [line: string, source: string];

/** A title, and rows of two columns under it; the second is wrapped where 80 columns end. */
export function section(title: string, rows: readonly (readonly [string, string])[]): string {
  return `${title}:\n${rows.flatMap(([flag, help]) => row(`  ${flag}`, help)).join("\n")}`;
}

/** A row's lines: the second column is wrapped, and starts below a flag that is too long for its own. */
function row(flag: string, help: string): string[] {
  const [first = "", ...others] = wrap(help, WIDTH - INDENT);
  const below = others.map((line) => " ".repeat(INDENT) + line);
  return flag.length + 2 > INDENT
    ? [flag, " ".repeat(INDENT) + first, ...below]
    : [flag.padEnd(INDENT) + first, ...below];
}

/** A space where a line may be wrapped: not in "0: never", nor in the brackets of a default. */
const SPACE = /(?<!:) (?![^[]*\])/;

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(SPACE)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else {
      lines.push(word);
    }
  }
  return lines;
}

function usageOf({ flag, kind: { placeholder }, permission }: OptionSpec): string {
  if (placeholder === "") return flag;
  return permission === undefined ? `${flag} ${placeholder}` : `${flag}[=${placeholder}]`;
}

/** What an option is, with the flags of the options that it names. */
function helpOf({ help }: OptionSpec): string {
  return help.replaceAll(/<(\w+)>/g, (_, name) => flagOf(name));
}

function flagOf(name: string): string {
  return OPTIONS.find((spec) => spec.name === name)?.flag ?? name;
}

/** The default, where it says more than that nothing happens. */
function inBrackets(spec: OptionSpec): string {
  const text = defaultOf(spec);
  return ["", "none", "nothing", "off", "false", "0", "no limit"].includes(text)
    ? ""
    : ` [${text}]`;
}

function confLine({ spec, text }: Listed): string {
  const line = pairLine(spec.name, text);
  // The conf file can't name itself.
  return spec.name === "config" && text !== "" ? `# ${line}` : line;
}

/** A key needs a value. */
function pairLine(key: string, text: string): string {
  return `${text === "" ? "# " : ""}${key} ${text.replaceAll("#", "\\#")}`.trimEnd();
}
