/**
 * What an operator sets: flags, environment variables and the conf file become options, each with a
 * note of where it came from. Not here: reading a file or the environment (the caller brings both),
 * the options themselves (table.ts), and the texts that an operator reads (help.ts).
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { messageOf } from "../system/errors.ts";
import { isBareNumber } from "./durations.ts";
import { complaint, suggest, unknownOption } from "./errors.ts";
import { hosts, type Kind, ports } from "./kinds.ts";
import { isServeOptions, resolveOptions } from "./resolve.ts";
import type { ServeOptions } from "./settings.ts";
import { OPTIONS, type OptionSpec, separate } from "./table.ts";

export { helpText, optionsTable, printConfig } from "./help.ts";

/** What the command line asks for. */
export type Command =
  | {
    /** Serve, load the handler once and say whether that works, or print the options. */
    mode: "serve" | "check" | "print-config";
    /** The options that were set. */
    options: ServeOptions;
    /**
     * Where each option came from, by its name: `flag --min-workers`, `argument`,
     * `environment PREFORK_MIN_WORKERS`, `file prefork.conf:3` or `default`.
     */
    sources: ReadonlyMap<string, string>;
    /** Sentences about what was set but does nothing. */
    doubts: readonly string[];
  }
  | { mode: "help" }
  | { mode: "version" };

/** How the world outside is read. */
export interface Sources {
  /** Returns the value of an environment variable. */
  env: (name: string) => string | undefined;
  /** Returns the names of all environment variables; none where they may not be listed. */
  envNames?: () => readonly string[];
  /** Returns the text of a file; throws if it can't be read. */
  readFile: (path: string) => string;
}

/** A command line, an environment variable or a conf file that can't be used: exit code 2. */
export class UsageError extends Error {
  /** Always `UsageError`. */
  override readonly name = "UsageError";
}

/** One option that somebody has set. */
interface Entry {
  readonly spec: OptionSpec;
  /** The value's text; several if the option is a list and was repeated. */
  readonly texts: string[];
  /** For `Command.sources`. */
  readonly source: string;
  /** What an error names. */
  readonly subject: string;
  /** Which of the sources: the lower beats the higher. */
  readonly rank: number;
  /** Whether a number without a unit is seconds: under Net::Server's names. */
  readonly inSeconds: boolean;
}

/** A key of the conf file. */
interface ConfKey {
  readonly spec: OptionSpec;
  readonly isNetServer: boolean;
}

const FLAG_RANK = 0;
const ENVIRONMENT_RANK = 1;
const FILE_RANK = 2;

const IN_TEXT: readonly OptionSpec[] = OPTIONS.filter(({ scope }) => scope !== "code");
const BY_NAME: ReadonlyMap<string, OptionSpec> = new Map(OPTIONS.map((spec) => [spec.name, spec]));

const CONF_KEYS: ReadonlyMap<string, ConfKey> = new Map(IN_TEXT.flatMap(confKeys));

const MODES = ["help", "version", "check", "print-config"];
const WITH_FLAG = IN_TEXT.filter(({ flag }) => flag !== "");
const SWITCHES = WITH_FLAG.filter(isSwitch).map(nameOfFlag);
/** Flags that mean `true` without a value, and never take the next argument as one. */
const GRANTS = WITH_FLAG.filter((spec) => spec.permission && !isSwitch(spec)).map(({ flag }) =>
  flag
);

/** `key value`, `key = value` or `key: value`; in `host ::1` the colons belong to the value. */
const CONF_LINE = /^(?:--)?([\w-]+)(?:\s*=\s*|:\s*|\s+:\s+|\s+|$)(.*)$/;

/** Keys of Net::Server's conf files that mean nothing here, and why. */
const REFUSED: readonly (readonly [RegExp, string])[] = [
  [/^(serialize|lock_file)$/, "ZeroMQ gives each job to one worker, so there is nothing to lock"],
  [/^(double_)?reverse_lookups$/, "no client's name is ever looked up"],
  [/^chroot$/, "the handler is confined by its permissions instead: see handler_allow_read"],
  [/^listen$/, "ZeroMQ has no such backlog: see queue_limit"],
  [
    /^(proto|ipv|ipv6_package)$/,
    "an endpoint says it all: use frontend, as in ipc:///run/jobs.ipc",
  ],
  [/^udp_/, "requests come over tcp or ipc: use frontend"],
  [/^setsid$/, "use background, which detaches too"],
  [
    /^(no_client|tie_client)_stdout$|^tied_std/,
    "a handler returns its reply, stdout is not the client",
  ],
  [/^leave_children_open_on_hup$/, "at HUP each new worker is ready before an old one leaves"],
  [/^commandline$/, "HUP replaces the workers, and this process never runs itself anew"],
  [/^(syslog_|log4perl_)/, "the log goes to stderr or to log_file"],
  [/^log_function$/, "the log goes to stderr or to log_file; hooks are options of serve()"],
  [/^check_for_dead$/, "the end of a worker is seen at once"],
  [/^no_close_by_child$/, "a worker can't stop the server"],
  [/^multi_port$/, "give frontend more than once instead"],
  [/^child_communication$/, "workers and server always talk, and handlers can't join in"],
  [/^server_type$/, "there is one type of server"],
  [/^SSL_/, "ZeroMQ does not speak TLS"],
];

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

  const entries = new Map<string, Entry>();
  addMissing(entries, [...flags, ...readEnvironment(sources.env)]);
  const config = entries.get("config");
  if (config !== undefined) addMissing(entries, readConf(read(config), sources.readFile));
  replaceWorkers(entries);
  replacePorts(entries);
  return {
    mode: modes.includes("check")
      ? "check"
      : modes.includes("print-config")
      ? "print-config"
      : "serve",
    options: optionsOf(entries),
    sources: new Map(IN_TEXT.map(({ name }) => [name, entries.get(name)?.source ?? "default"])),
    doubts: unknownVariables(sources),
  };
}

/**
 * Compares what a command line, the environment and the conf file set with what they set before.
 *
 * @returns What a reload would lose, as a sentence; `undefined` if it would lose nothing that matters.
 */
export function lossOf(before: Command, now: Command): string | undefined {
  if (!("sources" in before) || !("sources" in now)) return undefined;
  const inFile = ({ sources }: typeof now) =>
    [...sources.values()].filter((source) => source.startsWith("file ")).length;
  if (inFile(before) > 0 && inFile(now) === 0) {
    return `the conf file "${now.options.config ?? before.options.config}" sets nothing any more`;
  }
  const isLost = before.options.handler !== undefined && now.options.handler === undefined;
  return isLost ? `the handler "${before.options.handler}" is not named any more` : undefined;
}

/** What Kubernetes sets for a Service whose name begins with "prefork". */
const OF_KUBERNETES =
  /^PREFORK_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)$/;
/** The same, where only the value tells: `PREFORK_PORT=tcp://10.0.0.1:6660`. */
const KUBERNETES_PORT = /^(tcp|udp|sctp):\/\/[^,]*:\d+$/;
/** Variables of ours that are not options. */
const INNER = ["PREFORK_STARTER"];

function isOfKubernetes(name: string, value: string): boolean {
  return OF_KUBERNETES.test(name) || (name.endsWith("PORT") && KUBERNETES_PORT.test(value));
}

function unknownVariables({ env, envNames = () => [] }: Sources): string[] {
  const known = IN_TEXT.map(({ environment }) => environment);
  return envNames().filter((name) =>
    name.startsWith("PREFORK_") && ![...known, ...INNER].includes(name) &&
    !isOfKubernetes(name, env(name) ?? "")
  ).sort().map((name) =>
    `the environment variable "${name}" is not an option${suggest(name, known)}`
  );
}

/** Reads the flags; faults are for the caller to throw, because --help forgives them. */
function readFlags(args: readonly string[]) {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const faults = args.slice(0, end).flatMap((arg) => faultOf(arg) ?? []);
  const found: Readonly<Record<string, unknown>> = parseArgs(
    args.map((arg, i) => i < end && GRANTS.includes(arg) ? `${arg}=true` : arg),
    {
      alias: { h: "help", V: "version" },
      boolean: [...MODES, ...SWITCHES],
      collect: WITH_FLAG.filter(({ kind }) => kind.isList).map(nameOfFlag),
      // null is "not given": a switch that is off beats the environment, a missing one does not
      default: Object.fromEntries(SWITCHES.map((name) => [name, null])),
      negatable: SWITCHES,
      string: ["_", ...WITH_FLAG.map(nameOfFlag).filter((name) => !SWITCHES.includes(name))],
      unknown(arg, key) {
        if (key !== undefined) faults.push(unknownFlag(arg));
        return key === undefined;
      },
    },
  );
  const entries = [...WITH_FLAG.flatMap((spec) => flagEntry(spec, found)), ...argumentEntry(found)];
  const missing = entries.find(({ spec, texts }) => spec.flag !== "" && texts.includes(""));
  // before the others: in "--min-workers -1" the flag is at fault, not the -1
  if (missing !== undefined) faults.unshift(needsValue(missing));
  const modes = MODES.filter((mode) => found[mode] === true);
  if (modes.length > 1) {
    faults.push(`Cannot start: "--${modes.join('" and "--')}" exclude each other`);
  }
  const positional = textsOf(found._);
  if (positional.length > 1) {
    faults.push(`Cannot start with two handlers: give one of "${positional.join('", "')}"`);
  }
  return { modes, entries, faults };
}

function needsValue({ subject, spec }: Entry): string {
  return `Cannot start: ${subject} needs a value, as in ${spec.flag}=${spec.kind.placeholder}`;
}

/** `--no-name=value` and `--switch=value`: parseArgs reads neither as an operator would. */
function faultOf(arg: string): string | undefined {
  const [, no, name = "", value = ""] = /^--(no-)?([^=]+)=(.*)$/s.exec(arg) ?? [];
  if (no !== undefined) return unknownFlag(arg);
  const isSwitch = MODES.includes(name) || SWITCHES.includes(name);
  if (!isSwitch || value === "true" || value === "false") return undefined;
  return `Cannot start: "--${name}" takes no value: current value is "${value}"`;
}

function unknownFlag(arg: string): string {
  const [name = arg] = arg.split("=");
  const flags = [...MODES.map((mode) => `--${mode}`), ...WITH_FLAG.map(({ flag }) => flag)];
  return unknownOption(name, flags, "--help lists all options");
}

function flagEntry(spec: OptionSpec, found: Readonly<Record<string, unknown>>): Entry[] {
  const texts = textsOf(found[nameOfFlag(spec)]);
  if (texts.length === 0) return [];
  return [entry(spec, texts, `flag ${spec.flag}`, `"${spec.flag}"`, FLAG_RANK)];
}

function argumentEntry(found: Readonly<Record<string, unknown>>): Entry[] {
  const [text] = textsOf(found._);
  const spec = BY_NAME.get("handler");
  if (text === undefined || spec === undefined) return [];
  return [entry(spec, [text], "argument", "the handler", FLAG_RANK)];
}

function textsOf(value: unknown): string[] {
  if (value === undefined || value === null) return [];
  return Array.isArray(value) ? value.map(String) : [String(value)];
}

function entry(
  spec: OptionSpec,
  texts: string[],
  source: string,
  subject: string,
  rank: number,
  inSeconds = false,
): Entry {
  return { spec, texts, source, subject, rank, inSeconds };
}

/** An empty variable counts as not set, as a shell's `NAME= command` means it. */
function readEnvironment(env: Sources["env"]): Entry[] {
  return IN_TEXT.flatMap((spec) => {
    const name = spec.environment;
    const text = env(name) ?? "";
    if (text === "" || isOfKubernetes(name, text)) return [];
    return [entry(spec, [text], `environment ${name}`, `"${name}"`, ENVIRONMENT_RANK)];
  });
}

function readConf(path: string, readFile: Sources["readFile"]): Entry[] {
  const entries = new Map<string, Entry>();
  const lines = readText(path, readFile).split(/\r?\n/);
  for (const [i, line] of lines.entries()) readLine(line, `${path}:${i + 1}`, entries);
  return [...entries.values()];
}

function readText(path: string, readFile: Sources["readFile"]): string {
  try {
    return readFile(path);
  } catch (error) {
    throw new UsageError(`Cannot read the conf file "${path}": ${messageOf(error)}`);
  }
}

/** Reads one line; a `#` that is part of a value is written `\#`. */
function readLine(line: string, place: string, entries: Map<string, Entry>): void {
  const text = line.replace(/(?<!\\)#.*$/, "").replaceAll("\\#", "#").trim();
  if (text === "") return;
  const [, key, value = ""] = CONF_LINE.exec(text) ?? [];
  if (key === undefined) {
    throw new UsageError(
      `Cannot read ${place}: a line must be "key value": current line is "${text}"`,
    );
  }
  const { spec, isNetServer } = findKey(key, place);
  const subject = `"${key}" in ${place}`;
  if (value === "") throw new UsageError(`Cannot start: ${subject} needs a value`);
  const first = entries.get(spec.name);
  if (first === undefined) {
    entries.set(spec.name, entry(spec, [value], `file ${place}`, subject, FILE_RANK, isNetServer));
  } else if (spec.kind.isList) {
    first.texts.push(value);
  } else {
    throw new UsageError(`Cannot start: ${subject} is given twice: first is ${first.subject}`);
  }
}

function findKey(key: string, place: string): ConfKey {
  const subject = `"${key}" in ${place}`;
  const [, reason] = REFUSED.find(([pattern]) => pattern.test(key)) ?? [];
  if (reason !== undefined) {
    throw new UsageError(`Cannot start: ${subject} has no meaning here: ${reason}`);
  }
  const found = CONF_KEYS.get(key);
  if (found === undefined) {
    throw new UsageError(unknownOption(key, CONF_KEYS.keys(), "", ` in ${place}`));
  }
  if (found.spec.name !== "config") return found;
  throw new UsageError(
    `Cannot start: ${subject} has no meaning here: a conf file can't name another`,
  );
}

/** Our name in three spellings, then Net::Server's, which wins where the two are the same. */
function confKeys(spec: OptionSpec): [string, ConfKey][] {
  const ours = [spec.name, separate(spec.name, "-"), separate(spec.name, "_")];
  return [
    ...ours.map((key): [string, ConfKey] => [key, { spec, isNetServer: false }]),
    ...spec.netServer.map((key): [string, ConfKey] => [key, { spec, isNetServer: true }]),
  ];
}

function addMissing(entries: Map<string, Entry>, more: readonly Entry[]): void {
  for (const each of more) if (!entries.has(each.spec.name)) entries.set(each.spec.name, each);
}

/** `workers` stands for both limits, where these are not set in a source that beats its own. */
function replaceWorkers(entries: Map<string, Entry>): void {
  const workers = entries.get("workers");
  if (workers === undefined) return;
  entries.delete("workers");
  for (const name of ["minWorkers", "maxWorkers"]) {
    const rank = entries.get(name)?.rank ?? Infinity;
    if (rank > workers.rank) replace(entries, name, workers, workers.texts);
  }
}

/** `port` and `host` stand for a frontend, and for a backend if there are two ports. */
function replacePorts(entries: Map<string, Entry>): void {
  const port = entries.get("port");
  const host = entries.get("host");
  const by = port ?? host;
  if (by === undefined) return;
  entries.delete("port");
  entries.delete("host");
  const at = host === undefined ? ["127.0.0.1"] : readAs(host, hosts);
  const numbers = port === undefined ? ["6660"] : readAs(port, ports);
  for (const [i, name] of ["frontend", "backend"].entries()) {
    const number = numbers[i];
    if (number === undefined) continue;
    const rank = entries.get(name)?.rank ?? Infinity;
    if (rank === by.rank) throw conflict(by, entries.get(name));
    const address = number.includes(":") ? number : `${at[i] ?? at.at(-1)}:${number}`;
    if (rank > by.rank) replace(entries, name, by, [`tcp://${address}`]);
  }
}

function conflict(one: Entry, other: Entry | undefined): UsageError {
  return new UsageError(`Cannot start: ${one.subject} and ${other?.subject} exclude each other`);
}

function replace(entries: Map<string, Entry>, name: string, by: Entry, texts: string[]): void {
  const spec = BY_NAME.get(name);
  if (spec !== undefined) entries.set(name, { ...by, spec, texts });
}

function optionsOf(entries: ReadonlyMap<string, Entry>): ServeOptions {
  const values: Record<string, unknown> = {};
  const permissions: Record<string, unknown> = {};
  for (const [name, each] of entries) {
    const value = readAs(each, each.spec.kind);
    if (each.spec.permission === undefined) values[name] = value;
    else permissions[each.spec.permission] = value;
  }
  if (Object.keys(permissions).length > 0) values.permissions = permissions;
  if (!isServeOptions(values)) {
    throw new UsageError("Cannot start: the options do not fit together");
  }
  checkTogether(values);
  return values;
}

/** Finds what no single value shows, such as a minimum above its maximum. */
function checkTogether(options: ServeOptions): void {
  try {
    resolveOptions(options, { cpus: 1, cwd: () => "/" });
  } catch (error) {
    throw error instanceof Error ? new UsageError(error.message, { cause: error }) : error;
  }
}

function read(each: Entry): string {
  return String(readAs(each, each.spec.kind));
}

function readAs<T>(each: Entry, kind: Kind<T>): T {
  const text = each.texts.join(",");
  const isBare = each.inSeconds && kind.placeholder === "TIME" && isBareNumber(text);
  const value = kind.parse(isBare ? `${text}s` : text);
  if (value !== undefined) return value;
  const lack = kind.lack?.(text);
  const what = lack === undefined
    ? complaint(each.subject, kind.textRule, text)
    : `${each.subject} ${lack}`;
  throw new UsageError(`Cannot start: ${what}`);
}

function isSwitch({ kind }: OptionSpec): boolean {
  return kind.placeholder === "";
}

function nameOfFlag({ flag }: OptionSpec): string {
  return flag.slice(2);
}
