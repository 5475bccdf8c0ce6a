/**
 * What an operator sets: flags, environment variables and the conf file become options, each with a
 * note of where it came from. Not here: reading a file or the environment (the caller brings both),
 * the options themselves (table.ts), and the texts that an operator reads (help.ts).
 *
 * @module
 */
import { readConf } from "./conf_file.ts";
import { Entries, IN_TEXT, readAs, UsageError } from "./entries.ts";
import { type Environment, readEnvironment, unknownVariables } from "./environment.ts";
import { readFlags } from "./flags.ts";
import type { ServeOptions } from "./settings.ts";

export { UsageError };

/** What the command line asks for. */
export type Command =
  | {
    /** Serve, load the handler once and say whether that works, or print the options. */
    mode: "serve" | "check" | "print-config";
    /** The options that were set. */
    options: ServeOptions;
    /**
     * Where each option came from, by its name: `flag --min-workers`, `argument`,
     * `environment PREFORK_MIN_WORKERS`, `file prefork.conf:3` or `default`. Those that a service has of its
     * own are `services.mail.minWorkers`.
     */
    sources: ReadonlyMap<string, string>;
    /** Sentences about what was set but has no effect. */
    doubts: readonly string[];
  }
  | { mode: "help" }
  | { mode: "version" };

/** How the world outside is read. */
export interface Sources extends Environment {
  /** Returns the text of a file; throws if it can't be read. */
  readFile: (path: string) => string;
}

/**
 * Reads a command line, and with it the environment and the conf file: flags beat environment
 * beats conf file.
 *
 * @param args The arguments, as `Deno.args` has them.
 * @param sources How to read the environment and files.
 * @returns What to do, with the options that were set; they pass `resolveOptions`.
 * @throws {UsageError} If anything that was set can't be used; the message names where it was set.
 *
 * @example
 * ```ts
 * const command = parseCommand(Deno.args, { env: Deno.env.get, readFile: Deno.readTextFileSync });
 * ```
 */
export function parseCommand(args: readonly string[], sources: Sources): Command {
  const { modes, entries: flags, faults } = readFlags(args);
  if (modes.includes("help")) return { mode: "help" };
  if (modes.includes("version")) return { mode: "version" };
  if (faults[0] !== undefined) throw new UsageError(faults[0]);

  const entries = new Entries();
  entries.addMissing([...flags, ...readEnvironment(sources)]);
  const config = entries.get("config");
  if (config !== undefined) {
    const conf = readConf(String(readAs(config, config.spec.kind)), sources.readFile);
    for (const [name, subject] of conf.services) entries.addService(name, subject);
    for (const section of conf.schedules) entries.addSchedule(section);
    entries.addMissing(conf.entries);
  }
  const options = entries.options();
  return {
    mode: modes.includes("check")
      ? "check"
      : modes.includes("print-config")
      ? "print-config"
      : "serve",
    options,
    sources: sourcesOf(entries),
    doubts: unknownVariables(sources),
  };
}

function sourcesOf(entries: Entries): Map<string, string> {
  const found = new Map(IN_TEXT.map(({ name }) => [name, "default"]));
  for (const [name, source] of entries.sources()) found.set(name, source);
  return found;
}

/**
 * Reads the same command line again, for a reload.
 *
 * @param args The arguments.
 * @param sources How to read the environment and files.
 * @param before What was set so far.
 * @returns What is set now.
 * @throws {UsageError} If anything can't be used, or if what was set before is gone: the conf file may be half
 * written.
 */
export function rereadCommand(
  args: readonly string[],
  sources: Sources,
  before: Command,
): Command {
  const now = parseForReload(args, sources);
  const loss = lossOf(before, now);
  if (loss !== undefined) throw new UsageError(`Cannot reload: ${loss}`);
  return now;
}

function parseForReload(args: readonly string[], sources: Sources): Command {
  try {
    return parseCommand(args, sources);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    const message = error.message.replace(/^Cannot start/, "Cannot reload");
    throw new UsageError(message, { cause: error });
  }
}

/** What a reload would lose, as a sentence; `undefined`: nothing that matters. */
function lossOf(before: Command, now: Command): string | undefined {
  if (!("sources" in before) || !("sources" in now)) return undefined;
  const inFile = ({ sources }: typeof now) =>
    [...sources.values()].filter((source) => source.startsWith("file ")).length;
  if (inFile(before) > 0 && inFile(now) === 0) {
    return `the conf file "${now.options.config ?? before.options.config}" sets nothing any more`;
  }
  const isLost = before.options.handler !== undefined && now.options.handler === undefined;
  return isLost ? `the handler "${before.options.handler}" is not named any more` : undefined;
}
