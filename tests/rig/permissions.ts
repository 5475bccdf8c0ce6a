/**
 * The least permissions of the main process and of the client: those that the table in docs/permissions.md names for
 * the features that a test uses. So no test runs with more, and the table can't be short of any.
 */

import { locateLibrary } from "../../zmq/locate.ts";

const ROOT = decodeURIComponent(new URL("../..", import.meta.url).pathname).slice(0, -1);
const PERMISSIONS = Deno.readTextFileSync(new URL("../../docs/permissions.md", import.meta.url));

/** What stands in capitals in the table's flags, and what it stands for here. */
export type Values = Record<string, string>;

/** A feature that a process uses: the first word of its row, and the values that this needs. */
export type Feature = readonly [name: string, values?: Values];

/** A row of the table in docs/permissions.md. */
export interface Row {
  /** Whether nothing works without these flags. */
  required: boolean;
  /** Flags, with words in capitals for what depends. */
  flags: string[];
}

/** The table, by the first word of each row. */
export const TABLE: ReadonlyMap<string, Row> = readTable();

function readTable(): Map<string, Row> {
  const [, table = ""] = /<!-- permissions -->\n+([^]*?)<!-- \/permissions -->/.exec(PERMISSIONS) ??
    [];
  const rows = table.split("\n").slice(2).map((line) => line.split("|").slice(1, -1));
  return new Map(rows.flatMap(([name = "", flags = "", without = ""]) => {
    const [key = ""] = name.match(/[\w…]+/) ?? [];
    const words = flags.match(/-[^\s`]+/g) ?? [];
    return key === "" ? [] : [[key, { required: /does not start/.test(without), flags: words }]];
  }));
}

/** The flags for some features, each kind once. */
export function flagsFor(features: readonly Feature[]): string[] {
  const flags = features.flatMap(([name, values = {}]) => {
    const row = TABLE.get(name);
    if (row === undefined) throw new Error(`docs/permissions.md has no row for "${name}"`);
    return row.flags.map((flag) => flag.replaceAll(/\b[A-Z]{3,}\b/g, (word) => fill(word, values)));
  });
  return mergeFlags(flags);
}

function fill(word: string, values: Values): string {
  const value = values[word];
  if (value === undefined) {
    throw new Error(`The permissions in docs/permissions.md need a value for "${word}"`);
  }
  return value;
}

/** Flags with those of a kind in one, as Deno wants them. */
export function mergeFlags(flags: readonly string[]): string[] {
  if (flags.includes("-A")) return ["-A"];
  const kinds = new Map<string, Set<string>>();
  for (const flag of flags) {
    const [kind = "", list = ""] = flag.split("=");
    const values = kinds.get(kind) ?? new Set();
    for (const value of list.split(",")) values.add(value);
    kinds.set(kind, values);
  }
  // An empty list grants all of the kind.
  const merged = [...kinds].map(([kind, values]) =>
    values.has("") ? kind : `${kind}=${[...values].join(",")}`
  );
  return ["--no-prompt", ...merged];
}

/** How a server is started, as far as it matters for what it must be allowed to do. */
export interface Start {
  args?: readonly string[];
  /** Its environment, in addition to this process's. */
  env?: Record<string, string>;
  /** The deno that runs it. */
  program?: string;
  /** Features that neither arguments nor environment show. */
  features?: readonly Feature[];
}

/** The least flags of mod.ts for its arguments and its environment. */
export function serverFlags(start: Start): string[] {
  return flagsFor(serverFeatures(start));
}

/** The features that a server uses, by its arguments and its environment. */
export function serverFeatures({ args = [], env = {}, program, features = [] }: Start): Feature[] {
  const library = env.ZMQ_LIBRARY ?? Deno.env.get("ZMQ_LIBRARY");
  const LIBRARY = locateLibrary(library).path;
  const TEMP = env.TMPDIR ?? Deno.env.get("TMPDIR") ?? "/tmp";
  const used: Feature[] = [
    ["libzmq", { LIBRARY }],
    ["workers", { DENO: program ?? Deno.execPath() }],
    ["backend", { TEMP }],
    ["thread", { PRODUCT: ROOT }],
  ];
  if (library !== undefined) used.push(["ZMQ_LIBRARY"]);
  if (Object.keys(env).some(isOption)) used.push(["PREFORK_…"]);
  if ("OTEL_DENO" in env) used.push(["OTEL_…"]);
  const own = args.filter((arg) => isModule(arg) && arg.startsWith(ROOT));
  if (own.length > 0) used.push(["handler", { FOLDERS: ROOT }]);
  const byFlags = readArguments(args).map(([name, value]) => byFlag(name, value, LIBRARY, args));
  return [...used, ...byFlags.filter((feature) => feature !== undefined), ...features];
}

function isOption(variable: string): boolean {
  return variable.startsWith("PREFORK_") && !variable.startsWith("PREFORK_TEST_");
}

/** Each flag with its value: what follows "=", or the next argument. */
function readArguments(args: readonly string[]): [name: string, value: string][] {
  return args.flatMap((arg, index) => {
    const [, name, value] = /^--([^=]+)(?:=([^]*))?$/.exec(arg) ?? [];
    return name === undefined ? [] : [[name, value ?? args[index + 1] ?? ""]];
  });
}

/** The feature that a flag asks for, if it needs any permission. */
function byFlag(
  name: string,
  value: string,
  LIBRARY: string,
  args: readonly string[],
): Feature | undefined {
  switch (name) {
    case "config":
      return ["config", { FILE: value }];
    case "curve-secret-key":
    case "curve-clients":
      return value === "any" ? undefined : ["curveSecretKey", { FILE: value }];
    case "join-clients":
    case "join-secret-key":
    case "join-key":
    case "join-server-key":
      return value.startsWith("/") ? ["curveSecretKey", { FILE: value }] : undefined;
    case "pid-file":
      return ["pidFile", { FILE: value }];
    case "access-log":
      return value === "off" ? undefined : ["logFile", { FILE: value }];
    case "log-file":
      return ["logFile", { FILE: value }];
    case "control":
      return value === "off" ? undefined : ["control", { FILE: value, FOLDER: folderOf(value) }];
    case "http":
      return ["http", { ADDRESS: value }];
    case "http-token":
      return ["httpToken", { FILE: value }];
    case "store":
      return storeFeature(value);
    case "nats-credentials":
    case "nats-nkey":
    case "nats-ca":
    case "nats-cert":
    case "nats-key":
      return ["natsCredentials", { FILES: value }];
    case "user":
    case "group":
      return ["user", { LIBRARY }];
    case "watch":
      return ["watch", { FOLDERS: args.filter(isModule).map(folderOf).join(",") }];
    case "background":
      return ["background"];
    case "babysit-interval":
      return ["babysitInterval"];
    case "max-memory":
      return ["maxMemory"];
    case "handler-allow-env":
      return ["handlerAllowEnv", { NAMES: args.includes("--handler-allow-env") ? "" : value }];
    case "handler-allow-all":
      return ["handlerAllowAll"];
    case "frontend":
    case "backend":
      return value.startsWith("ipc:///")
        ? ["ipc", { FILE: value.slice("ipc://".length) }]
        : undefined;
  }
}

/** Where jobs are kept. */
function storeFeature(store: string): Feature | undefined {
  if (store === "off" || store === "auto") return undefined;
  const [, hosts] = /^(?:nats|tls):\/\/(.*)$/.exec(store) ?? [];
  if (hosts !== undefined) return ["nats", { HOSTS: hosts }];
  return ["store", { FOLDER: folderOf(store.replace(/^sqlite:/, "")) }];
}

function isModule(arg: string): boolean {
  return /^\/.*\.[jt]s$/.test(arg);
}

function folderOf(file: string): string {
  return file.slice(0, file.lastIndexOf("/"));
}

/** The least flags of client.ts, which sends some files. */
export function clientFlags(files: readonly string[] = []): string[] {
  const LIBRARY = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;
  const used: Feature[] = [["libzmq", { LIBRARY }]];
  if (Deno.env.has("ZMQ_LIBRARY")) used.push(["ZMQ_LIBRARY"]);
  if (files.length > 0) used.push(["files", { FILE: files.join(",") }]);
  return flagsFor(used);
}
