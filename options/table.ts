/**
 * The options of `serve()`: what they are called, their defaults, and what is allowed. One table,
 * `OPTIONS`, from which the flags, the environment variables, the conf file, --help and the README
 * follow. Not here: where an operator's texts come from (command.ts), and what an option does.
 *
 * @module
 */
import { endpoint, endpoints, hosts, ports } from "./endpoints.ts";
import { grant, permissions } from "./grants.ts";
import {
  account,
  choice,
  duration,
  fraction,
  integer,
  type Kind,
  level,
  path,
  size,
  specifier,
  toggle,
  word,
} from "./kinds.ts";
import { ranges, signals } from "./lists.ts";
import type { Hooks, LogFormat, Permissions, Settings } from "./settings.ts";

/** Heading under which --help lists an option. */
export type OptionGroup =
  | "Endpoints"
  | "Access"
  | "Workers"
  | "Jobs"
  | "Permissions"
  | "Process"
  | "Log";

/** One row of the table. */
export interface OptionSpec<T = unknown> {
  /** The option's name in code and in the conf file. */
  readonly name: string;
  /** Its heading. */
  readonly group: OptionGroup;
  /** How its value is accepted, read and shown. */
  readonly kind: Kind<T>;
  /** What it is, in a few words. */
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

/** What a row needs to say; the rest follows from it. */
type Row<T> =
  & Pick<OptionSpec<T>, "name" | "group" | "kind" | "help">
  & Partial<Omit<OptionSpec<T>, "environment">>;

const MiB = 1024 ** 2;

const TABLE = {
  handler: row({
    name: "handler",
    group: "Endpoints",
    kind: specifier,
    flag: "",
    netServer: ["app"],
    fallbackText: "an echo",
    help: "module that answers requests: a path or a URL",
  }),
  frontend: row({
    name: "frontend",
    group: "Endpoints",
    kind: endpoints,
    fallback: ["tcp://127.0.0.1:6660"],
    help: "where clients connect; may be repeated",
  }),
  backend: row({
    name: "backend",
    group: "Endpoints",
    kind: endpoint,
    fallbackText: "ipc, private",
    help: "where workers connect",
  }),
  port: row({
    name: "port",
    group: "Endpoints",
    kind: ports,
    scope: "text",
    netServer: ["port"],
    help: "ports of the frontend and the backend, tcp for both",
  }),
  host: row({
    name: "host",
    group: "Endpoints",
    kind: hosts,
    scope: "text",
    netServer: ["host"],
    fallbackText: "127.0.0.1",
    help: "address that --port binds; * is every address",
  }),
  curveSecretKey: row({
    name: "curveSecretKey",
    group: "Access",
    kind: path,
    help: "file of the server's secret key: clients must have keys",
  }),
  curveClients: row({
    name: "curveClients",
    group: "Access",
    kind: word("FILE|any", "the path of a client list, or any"),
    help: "clients that may ask; any: all that have a key",
  }),
  allow: row({
    name: "allow",
    group: "Access",
    kind: ranges,
    fallback: [],
    netServer: ["cidr_allow"],
    fallbackText: "all",
    help: "addresses that clients may ask from; may be repeated",
  }),
  deny: row({
    name: "deny",
    group: "Access",
    kind: ranges,
    fallback: [],
    netServer: ["cidr_deny"],
    fallbackText: "none",
    help: "addresses that they may not, though allowed",
  }),
  maxConnections: row({
    name: "maxConnections",
    group: "Access",
    kind: integer(0),
    fallbackText: "1024 on plain tcp",
    help: "maximum connections of clients; 0: any",
  }),
  maxConnectionsPerAddress: row({
    name: "maxConnectionsPerAddress",
    group: "Access",
    kind: integer(0),
    fallback: 256,
    help: "maximum from one address, without keys; 0: any",
  }),
  keepAlive: row({
    name: "keepAlive",
    group: "Access",
    kind: duration(0),
    fallback: 30_000,
    help: "silence after which a client's host is probed; 0: never",
  }),
  minWorkers: row({
    name: "minWorkers",
    group: "Workers",
    kind: integer(1),
    perCpu: 1,
    netServer: ["min_servers"],
    help: "workers kept alive at least",
  }),
  maxWorkers: row({
    name: "maxWorkers",
    group: "Workers",
    kind: integer(1),
    perCpu: 4,
    netServer: ["max_servers"],
    help: "workers alive at most",
  }),
  workers: row({
    name: "workers",
    group: "Workers",
    kind: integer(1),
    help: "sets both, where they are not set themselves",
  }),
  minSpareWorkers: row({
    name: "minSpareWorkers",
    group: "Workers",
    kind: integer(0),
    fallback: 1,
    netServer: ["min_spare_servers"],
    help: "idle workers kept ready at least",
  }),
  maxSpareWorkers: row({
    name: "maxSpareWorkers",
    group: "Workers",
    kind: integer(0),
    fallback: 10,
    netServer: ["max_spare_servers"],
    help: "idle workers kept at most; lowered to maxWorkers - 1",
  }),
  maxRequests: row({
    name: "maxRequests",
    group: "Workers",
    kind: integer(0),
    fallback: 0,
    netServer: ["max_requests"],
    help: "requests after which a worker is replaced; 0: never",
  }),
  maxRequestsJitter: row({
    name: "maxRequestsJitter",
    group: "Workers",
    kind: fraction,
    fallback: 0.1,
    help: "how much that varies from worker to worker",
  }),
  maxMemory: row({
    name: "maxMemory",
    group: "Workers",
    kind: size(0),
    fallback: 0,
    fallbackText: "off",
    help: "memory (RSS) at which a worker is replaced; 0: never",
  }),
  maxMemoryJitter: row({
    name: "maxMemoryJitter",
    group: "Workers",
    kind: fraction,
    fallback: 0.1,
    help: "how much that varies from worker to worker",
  }),
  maxAge: row({
    name: "maxAge",
    group: "Workers",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    help: "age at which a worker is replaced; 0: never",
  }),
  maxAgeJitter: row({
    name: "maxAgeJitter",
    group: "Workers",
    kind: fraction,
    fallback: 0.1,
    help: "how much that varies from worker to worker",
  }),
  memoryLimit: row({
    name: "memoryLimit",
    group: "Workers",
    kind: size(0),
    fallback: 0,
    fallbackText: "V8's",
    help: "heap of a worker at most: one that needs more dies",
  }),
  checkForSpawnInterval: row({
    name: "checkForSpawnInterval",
    group: "Workers",
    kind: duration(1),
    fallback: 30_000,
    netServer: ["check_for_spawn"],
    help: "how often to look whether more workers are needed",
  }),
  checkForWaitingInterval: row({
    name: "checkForWaitingInterval",
    group: "Workers",
    kind: duration(1),
    fallback: 10_000,
    netServer: ["check_for_waiting"],
    help: "how often to look whether fewer will do",
  }),
  minChildTtl: row({
    name: "minChildTtl",
    group: "Workers",
    kind: duration(0),
    fallback: 10_000,
    netServer: ["min_child_ttl"],
    help: "time after a start in which no worker is culled",
  }),
  startDelay: row({
    name: "startDelay",
    group: "Workers",
    kind: duration(0),
    fallback: 0,
    netServer: ["start_delay"],
    help: "time before the first start, and between two",
  }),
  startTimeout: row({
    name: "startTimeout",
    group: "Workers",
    kind: duration(1),
    fallback: 30_000,
    help: "time that a worker has to become ready",
  }),
  stopTimeout: row({
    name: "stopTimeout",
    group: "Workers",
    kind: duration(0),
    fallback: 30_000,
    netServer: ["die_timeout"],
    help: "time that running jobs have to end at a stop",
  }),
  babysitInterval: row({
    name: "babysitInterval",
    group: "Workers",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    netServer: ["babysit"],
    help: "how often to look for rogue workers; 0: never",
  }),
  rogueCpuTime: row({
    name: "rogueCpuTime",
    group: "Workers",
    kind: duration(1),
    fallback: 600_000,
    help: "CPU time on one job that makes a worker a rogue",
  }),
  concurrency: row({
    name: "concurrency",
    group: "Jobs",
    kind: integer(1),
    fallback: 1,
    netServer: ["connections"],
    help: "jobs that one worker runs at a time",
  }),
  prefetch: row({
    name: "prefetch",
    group: "Jobs",
    kind: integer(1),
    fallback: 100,
    help: "jobs that one worker holds at most; 1: none waits in it",
  }),
  prefetchBudget: row({
    name: "prefetchBudget",
    group: "Jobs",
    kind: duration(0),
    fallback: 1,
    help: "expected time of the jobs that a busy worker may hold",
  }),
  dispatch: row({
    name: "dispatch",
    group: "Jobs",
    kind: choice<"mru" | "lru">(["mru", "lru"]),
    fallback: "mru",
    help: "idle worker that gets a job: most or least recently used",
  }),
  maxAttempts: row({
    name: "maxAttempts",
    group: "Jobs",
    kind: integer(1),
    fallback: 2,
    help: "workers that may die of one job",
  }),
  queueLimit: row({
    name: "queueLimit",
    group: "Jobs",
    kind: integer(1),
    fallback: 10_000,
    help: "jobs that wait at most",
  }),
  queueBytes: row({
    name: "queueBytes",
    group: "Jobs",
    kind: size(1),
    fallback: 256 * MiB,
    help: "maximum size of requests held, and of replies unread",
  }),
  overflow: row({
    name: "overflow",
    group: "Jobs",
    kind: choice<"block" | "reject">(["block", "reject"]),
    fallback: "block",
    help: "full queue: stop reading requests, or answer 503",
  }),
  maxQueuePerClient: row({
    name: "maxQueuePerClient",
    group: "Jobs",
    kind: integer(0),
    fallback: 0,
    fallbackText: "no limit",
    help: "jobs of one client that wait at most; 0: any number",
  }),
  requestTimeout: row({
    name: "requestTimeout",
    group: "Jobs",
    kind: duration(0),
    fallback: 0,
    fallbackText: "no limit",
    help: "time that a handler may take for one request; 0: any",
  }),
  abortGrace: row({
    name: "abortGrace",
    group: "Jobs",
    kind: duration(0),
    fallback: 1000,
    help: "how long it may go on before its worker ends; 0: any time",
  }),
  replyCacheTtl: row({
    name: "replyCacheTtl",
    group: "Jobs",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    help: "how long answers to requests with a key are kept; 0: not",
  }),
  replyCacheBytes: row({
    name: "replyCacheBytes",
    group: "Jobs",
    kind: size(0),
    fallback: 64 * MiB,
    help: "size of the answers that are kept, at most",
  }),
  maxMessageSize: row({
    name: "maxMessageSize",
    group: "Jobs",
    kind: size(1),
    fallback: 64 * MiB,
    help: "size of one request or reply, at most",
  }),
  maxFrames: row({
    name: "maxFrames",
    group: "Jobs",
    kind: integer(1),
    fallback: 1000,
    help: "maximum number of frames of one request or reply",
  }),
  exposeErrors: row({
    name: "exposeErrors",
    group: "Jobs",
    kind: toggle,
    fallbackText: "over ipc, loopback",
    help: "clients get what handlers throw",
  }),
  dequeueInterval: row({
    name: "dequeueInterval",
    group: "Jobs",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    netServer: ["check_for_dequeue"],
    help: "how often to run the handler's dequeue(); 0: never",
  }),
  maxDequeueWorkers: row({
    name: "maxDequeueWorkers",
    group: "Jobs",
    kind: integer(1),
    fallback: 1,
    netServer: ["max_dequeue"],
    help: "processes that do so at a time, at most",
  }),
  permissions: row({
    name: "permissions",
    group: "Permissions",
    kind: permissions,
    scope: "code",
    fallback: {},
    fallbackText: "none",
    help: "what the handler may do, as an object of the ones below",
  }),
  handlerAllowRead: grantRow("read", "files and folders that the handler may read"),
  handlerAllowWrite: grantRow("write", "files and folders that it may write"),
  handlerAllowNet: grantRow("net", "hosts that it may reach"),
  handlerAllowEnv: grantRow("env", "environment variables that it may use"),
  handlerAllowRun: grantRow("run", "programs that it may run"),
  handlerAllowSys: grantRow("sys", "facts of the system that it may ask for"),
  handlerAllowImport: grantRow("import", "hosts that it may import modules from"),
  handlerAllowAll: row({
    name: "handlerAllowAll",
    group: "Permissions",
    kind: toggle,
    scope: "text",
    permission: "all",
    fallbackText: "false",
    help: "everything: no sandbox",
  }),
  handlerLock: row({
    name: "handlerLock",
    group: "Permissions",
    kind: choice<"frozen" | "off">(["frozen", "off"]),
    fallback: "frozen",
    help: "whether modules must match the handler's deno.lock",
  }),
  signalPassthrough: row({
    name: "signalPassthrough",
    group: "Process",
    kind: signals,
    fallback: [],
    fallbackText: "none",
    netServer: ["sig_passthrough"],
    help: "signals that are forwarded to the workers first",
  }),
  pidFile: row({
    name: "pidFile",
    group: "Process",
    kind: path,
    netServer: ["pid_file"],
    help: "file that holds the process id",
  }),
  user: row({
    name: "user",
    group: "Process",
    kind: account,
    netServer: ["user"],
    fallbackText: "the server's",
    help: "user that the workers run as",
  }),
  group: row({
    name: "group",
    group: "Process",
    kind: account,
    netServer: ["group"],
    fallbackText: "the server's",
    help: "group that the workers run as",
  }),
  background: row({
    name: "background",
    group: "Process",
    kind: toggle,
    fallback: false,
    netServer: ["background"],
    help: "detach; needs --pid-file and --log-file",
  }),
  watch: row({
    name: "watch",
    group: "Process",
    kind: toggle,
    fallback: false,
    help: "reload when the handler or what it imports changes",
  }),
  handleSignals: row({
    name: "handleSignals",
    group: "Process",
    kind: toggle,
    scope: "code",
    fallback: false,
    help: "act on the process's signals; the command line does",
  }),
  config: row({
    name: "config",
    group: "Process",
    kind: path,
    netServer: ["conf_file"],
    help: "conf file, read again on HUP",
  }),
  logLevel: row({
    name: "logLevel",
    group: "Log",
    kind: level,
    fallback: "info",
    netServer: ["log_level"],
    help: "debug, info, warn, error or critical; also 0 to 4",
  }),
  logFile: row({
    name: "logFile",
    group: "Log",
    kind: path,
    netServer: ["log_file"],
    fallbackText: "stderr",
    help: "file to append the log to; a rotation is followed",
  }),
  logFormat: row({
    name: "logFormat",
    group: "Log",
    kind: choice<LogFormat>(["text", "json"]),
    fallback: "text",
    help: "form of a log line",
  }),
  accessLog: row({
    name: "accessLog",
    group: "Log",
    kind: word("off|FILE", '"off" or a path that is not empty'),
    fallback: "off",
    help: "file to append a line for each request to",
  }),
};

/** Has the compiler check that each setting has a row, of its own type. */
const _settingsHaveRows: {
  readonly [K in Exclude<keyof Settings, keyof Hooks | "signal">]-?: OptionSpec<
    NonNullable<Settings[K]>
  >;
} = TABLE;

/** Every option, by heading. */
export const OPTIONS: readonly OptionSpec[] = Object.values(TABLE);

function row<T>(given: Row<T>): OptionSpec<T> {
  const { name, scope = "everywhere", flag = `--${separate(name, "-")}` } = given;
  const isText = scope !== "code";
  return {
    netServer: [],
    ...given,
    scope,
    flag: isText ? flag : "",
    environment: isText ? `PREFORK_${separate(name, "_").toUpperCase()}` : "",
  };
}

function grantRow(permission: keyof Permissions, help: string): OptionSpec<boolean | string[]> {
  const name = `handlerAllow${permission.replace(/^./, (letter) => letter.toUpperCase())}`;
  const fallbackText = "nothing";
  return row({
    name,
    group: "Permissions",
    kind: grant(permission),
    scope: "text",
    permission,
    help,
    fallbackText,
  });
}

/** `minWorkers` to `min-workers` or `min_workers`. */
export function separate(name: string, by: "-" | "_"): string {
  return name.replace(/[A-Z]/g, (letter) => by + letter.toLowerCase());
}
