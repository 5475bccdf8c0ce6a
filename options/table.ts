/**
 * The options of `serve()` as operators see them: names, defaults, and what is allowed. One table,
 * `OPTIONS`, from which the flags, the environment variables, the conf file, --help and docs/options.md
 * follow. Not here: what each means to a programmer (settings.ts), how options are checked together
 * (resolve.ts), and where an operator's texts come from (command.ts).
 *
 * @module
 */
import {
  endpoint,
  endpoints,
  hosts,
  httpAddress,
  ports,
  someEndpoints,
  tcpToBind,
  tcpToReach,
} from "./endpoints.ts";
import { grant, permissions } from "./grants.ts";
import {
  account,
  choice,
  duration,
  fraction,
  integer,
  level,
  path,
  size,
  specifier,
  toggle,
  word,
} from "./kinds.ts";
import { mdpWorkers, names, ranges, signals } from "./lists.ts";
import { serviceHandlers, services } from "./services.ts";
import { type OptionSpec, type Row, row, separate } from "./row.ts";
import type { Hooks, LogFormat, Permissions, Settings } from "./settings.ts";
import { STORED_ROWS } from "./stored_table.ts";

export { GROUPS, type OptionSpec, separate } from "./row.ts";

const MiB = 1024 ** 2;

const ROWS = {
  handler: row({
    group: "Endpoints",
    kind: specifier,
    flag: "",
    netServer: ["app"],
    fallbackText: "an echo",
    help: "module that answers requests: a path, a URL or a specifier",
  }),
  services: row({
    group: "Endpoints",
    kind: services,
    scope: "code",
    fallback: {},
    fallbackText: "none",
    help: "services by name: the handler of each, or its options",
  }),
  service: row({
    group: "Endpoints",
    kind: serviceHandlers,
    scope: "text",
    fallbackText: "none",
    help: "a service by name, and its handler; may be repeated",
  }),
  frontend: row({
    group: "Endpoints",
    kind: endpoints,
    fallback: ["tcp://127.0.0.1:6660"],
    help: "endpoint that clients connect to, or NAME=ENDPOINT of one service; may be repeated",
  }),
  mdp: row({
    group: "Endpoints",
    kind: someEndpoints,
    fallback: [],
    help: "endpoint that Majordomo's clients connect to; may be repeated",
  }),
  jobs: row({
    group: "Endpoints",
    kind: someEndpoints,
    fallback: [],
    help: "endpoint that plain clients submit background jobs to; may be repeated",
  }),
  mdpWorkers: row({
    group: "Endpoints",
    kind: mdpWorkers,
    fallback: "none",
    help:
      "Majordomo's workers that may come to <mdp>: any, for names without a handler, or clients by name",
  }),
  mdpHeartbeat: row({
    group: "Endpoints",
    kind: duration(10),
    fallback: 2500,
    help: "time between signs of life to and from Majordomo's workers; they may miss two",
  }),
  mdpExpiry: row({
    group: "Endpoints",
    kind: duration(0),
    fallback: 60_000,
    help: "time that requests wait for the first, or another, of Majordomo's workers",
  }),
  events: row({
    group: "Endpoints",
    kind: someEndpoints,
    fallback: [],
    help: "endpoint that SUB sockets connect to, to hear what happens; may be repeated",
  }),
  backend: row({
    group: "Endpoints",
    kind: endpoint,
    fallbackText: "ipc, private",
    help: "endpoint that workers connect to",
  }),
  port: row({
    group: "Endpoints",
    kind: ports,
    scope: "text",
    netServer: ["port"],
    help: "tcp port of the frontend, or of both endpoints",
  }),
  host: row({
    group: "Endpoints",
    kind: hosts,
    scope: "text",
    netServer: ["host"],
    fallbackText: "127.0.0.1",
    help: "host that <port> binds to; * is every address",
  }),
  curveSecretKey: row({
    group: "Access",
    kind: path,
    help: "file with the server's secret key; clients then need keys, see <curveClients>",
  }),
  curveClients: row({
    group: "Access",
    kind: word("FILE|any", "the path of a client list, or any"),
    help: "list of clients that may connect; any: all with a key",
  }),
  joinEndpoint: row({
    group: "Access",
    kind: tcpToBind,
    help: "tcp endpoint where pools on other machines join; see <joinClients>",
  }),
  joinClients: row({
    group: "Access",
    kind: path,
    help: "list of the machines that may join at <joinEndpoint>, as that of <curveClients>",
  }),
  joinSecretKey: row({
    group: "Access",
    kind: path,
    fallbackText: "<curveSecretKey>",
    help: "file with the secret key of <joinEndpoint>",
  }),
  join: row({
    group: "Workers",
    kind: tcpToReach,
    help: "run workers for the server at this <joinEndpoint>, and no server here",
  }),
  joinKey: row({
    group: "Workers",
    kind: path,
    help: "file with this machine's secret key, for <join>",
  }),
  joinServerKey: row({
    group: "Workers",
    kind: word("KEY|FILE", "a public key or the path of its file"),
    help: "public key of the server of <join>, or its file",
  }),
  joinService: row({
    group: "Workers",
    kind: word("NAME", "the name of a service"),
    fallbackText: "the one without a name",
    help: "service of the server of <join> that the handler serves",
  }),
  users: row({
    group: "Access",
    kind: names,
    fallbackText: "all",
    help: "clients of <curveClients> that may ask, by name; others are answered 403",
  }),
  allow: row({
    group: "Access",
    kind: ranges,
    fallback: [],
    netServer: ["cidr_allow"],
    fallbackText: "all",
    help: "addresses that may connect; may be repeated",
  }),
  deny: row({
    group: "Access",
    kind: ranges,
    fallback: [],
    netServer: ["cidr_deny"],
    fallbackText: "none",
    help: "addresses that may not connect; wins over <allow>",
  }),
  maxConnections: row({
    group: "Access",
    kind: integer(0),
    fallbackText: "1024 on plain tcp",
    help: "maximum client connections; 0: no limit",
  }),
  maxConnectionsPerAddress: row({
    group: "Access",
    kind: integer(0),
    fallback: 256,
    help: "maximum client connections from one address, listed keys not counted; 0: no limit",
  }),
  keepAlive: row({
    group: "Access",
    kind: duration(0),
    fallback: 30_000,
    help: "silence after which a tcp client's host is probed; 0: never",
  }),
  transport: row({
    group: "Access",
    kind: choice<"native" | "libzmq">(["native", "libzmq"]),
    fallback: "native",
    help: "sockets for clients: the server's own, or libzmq's; with keys always libzmq's",
  }),
  connectionBytes: row({
    group: "Access",
    kind: size(1),
    fallback: 64 * MiB,
    help: "maximum size of the replies that one client leaves unread",
  }),
  handshakeTimeout: row({
    group: "Access",
    kind: duration(0),
    fallback: 10_000,
    help: "time a new connection has for its handshake; 0: any time",
  }),
  heartbeatInterval: row({
    group: "Access",
    kind: duration(0),
    fallback: 30_000,
    help: "silence after which a client is asked whether it lives; 0: never",
  }),
  maxConnectionRate: row({
    group: "Access",
    kind: integer(0),
    fallback: 1000,
    help: "maximum connections that one address may open in a second; 0: no limit",
  }),
  minWorkers: row({
    group: "Workers",
    kind: integer(1),
    perCpu: 1,
    netServer: ["min_servers"],
    help: "minimum number of workers",
  }),
  maxWorkers: row({
    group: "Workers",
    kind: integer(1),
    perCpu: 4,
    netServer: ["max_servers"],
    help: "maximum number of workers",
  }),
  workers: row({
    group: "Workers",
    kind: integer(1),
    help: "sets <minWorkers> and <maxWorkers> if not given",
  }),
  minSpareWorkers: row({
    group: "Workers",
    kind: integer(0),
    fallback: 1,
    netServer: ["min_spare_servers"],
    help: "minimum number of idle workers, as far as <maxWorkers> allows",
  }),
  maxSpareWorkers: row({
    group: "Workers",
    kind: integer(0),
    fallback: 10,
    netServer: ["max_spare_servers"],
    help: "maximum number of idle workers; lowered to <maxWorkers> - 1",
  }),
  maxRequests: row({
    group: "Workers",
    kind: integer(0),
    fallback: 0,
    fallbackText: "off",
    netServer: ["max_requests"],
    help: "requests after which a worker is replaced; 0: never",
  }),
  maxRequestsJitter: row({
    group: "Workers",
    kind: fraction,
    fallback: 0.1,
    help: "random spread of <maxRequests> among the workers",
  }),
  maxMemory: row({
    group: "Workers",
    kind: size(0),
    fallback: 0,
    fallbackText: "off",
    help: "memory (RSS) at which a worker is replaced; 0: never",
  }),
  maxMemoryJitter: row({
    group: "Workers",
    kind: fraction,
    fallback: 0.1,
    help: "random spread of <maxMemory> among the workers",
  }),
  maxAge: row({
    group: "Workers",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    help: "age at which a worker is replaced; 0: never",
  }),
  maxAgeJitter: row({
    group: "Workers",
    kind: fraction,
    fallback: 0.1,
    help: "random spread of <maxAge> among the workers",
  }),
  memoryLimit: row({
    group: "Workers",
    kind: size(0),
    fallback: 0,
    fallbackText: "V8's",
    help: "maximum JavaScript heap of a worker; a worker that needs more dies",
  }),
  checkForSpawnInterval: row({
    group: "Workers",
    kind: duration(1),
    fallback: 30_000,
    netServer: ["check_for_spawn"],
    help: "how often to check whether more workers are needed",
  }),
  checkForWaitingInterval: row({
    group: "Workers",
    kind: duration(1),
    fallback: 10_000,
    netServer: ["check_for_waiting"],
    help: "how often to check whether fewer workers are enough",
  }),
  minChildTtl: row({
    group: "Workers",
    kind: duration(0),
    fallback: 10_000,
    netServer: ["min_child_ttl"],
    help: "time after a start in which no worker is culled",
  }),
  startDelay: row({
    group: "Workers",
    kind: duration(0),
    fallback: 0,
    fallbackText: "none",
    netServer: ["start_delay"],
    help: "delay before each worker start",
  }),
  startTimeout: row({
    group: "Workers",
    kind: duration(1),
    fallback: 30_000,
    help: "time a worker has to become ready",
  }),
  stopTimeout: row({
    group: "Workers",
    kind: duration(0),
    fallback: 30_000,
    netServer: ["die_timeout"],
    help: "time running jobs have to finish at a stop before workers are killed",
  }),
  babysitInterval: row({
    group: "Workers",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    netServer: ["babysit"],
    help: "how often to check for rogue workers; 0: never",
  }),
  rogueCpuTime: row({
    group: "Workers",
    kind: duration(1),
    fallback: 600_000,
    help: "CPU time on one job that makes a worker a rogue",
  }),
  concurrency: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 1,
    netServer: ["connections"],
    help: "jobs that one worker runs at a time",
  }),
  prefetch: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 100,
    help: "maximum jobs a worker holds; 1: none waits in a worker",
  }),
  prefetchBudget: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 1,
    help: "a busy worker gets another job while those it holds should take less than this",
  }),
  dispatch: row({
    group: "Jobs",
    kind: choice<"mru" | "lru">(["mru", "lru"]),
    fallback: "mru",
    help: "idle worker that gets a job: most (mru) or least (lru) recently used",
  }),
  maxAttempts: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 2,
    help: "workers that may die of one job before its client gets an error",
  }),
  queueLimit: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 10_000,
    help: "maximum number of queued jobs",
  }),
  queueBytes: row({
    group: "Jobs",
    kind: size(1),
    fallback: 256 * MiB,
    help: "maximum total size of requests that wait or run, and of unread replies",
  }),
  overflow: row({
    group: "Jobs",
    kind: choice<"block" | "reject">(["block", "reject"]),
    fallback: "block",
    help: "when the queue is full: stop reading requests (block), or answer 503 (reject)",
  }),
  maxQueuePerClient: row({
    group: "Jobs",
    kind: integer(0),
    fallback: 0,
    fallbackText: "no limit",
    help: "maximum queued jobs of one client; 0: no limit",
  }),
  requestTimeout: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 0,
    fallbackText: "no limit",
    help: "time a handler may take for a request; 0: no limit",
  }),
  abortGrace: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 1000,
    help:
      "time a handler has to stop after its limit or a cancellation before its worker is killed; 0: no limit",
  }),
  replyCacheTtl: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    help: "how long answers to requests with a key are kept; 0: not at all",
  }),
  replyCacheBytes: row({
    group: "Jobs",
    kind: size(0),
    fallback: 64 * MiB,
    help: "maximum total size of the answers that are kept",
  }),
  maxMessageSize: row({
    group: "Jobs",
    kind: size(1),
    fallback: 64 * MiB,
    help: "maximum size of one request or reply",
  }),
  maxFrames: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 1000,
    help: "maximum frames in one request or reply",
  }),
  exposeErrors: row({
    group: "Jobs",
    kind: toggle,
    fallbackText: "over ipc, loopback",
    help: "send clients the messages of handlers' errors",
  }),
  dequeueInterval: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    netServer: ["check_for_dequeue"],
    help: "how often to run the handler's dequeue(); 0: never",
  }),
  maxDequeueWorkers: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 1,
    netServer: ["max_dequeue"],
    help: "maximum processes that run dequeue() at a time",
  }),
  ...STORED_ROWS,
  permissions: row({
    group: "Permissions",
    kind: permissions,
    scope: "code",
    fallback: {},
    fallbackText: "none",
    help: "what the handler may do: none, inherit (no sandbox), or an object of grants",
  }),
  handlerAllowRead: grantRow("read", "files and folders the handler may read"),
  handlerAllowWrite: grantRow("write", "files and folders the handler may write"),
  handlerAllowNet: grantRow("net", "hosts the handler may reach"),
  handlerAllowEnv: grantRow("env", "environment variables the handler may use"),
  handlerAllowRun: grantRow("run", "programs the handler may run"),
  handlerAllowSys: grantRow("sys", "facts of the system the handler may ask for"),
  handlerAllowImport: grantRow("import", "hosts the handler may import modules from"),
  handlerAllowAll: row({
    group: "Permissions",
    kind: toggle,
    scope: "text",
    permission: "all",
    fallbackText: "false",
    help: "the handler may do everything: no sandbox",
  }),
  handlerLock: row({
    group: "Permissions",
    kind: choice<"frozen" | "off">(["frozen", "off"]),
    fallback: "frozen",
    help: "frozen: modules must match the handler's deno.lock",
  }),
  signalPassthrough: row({
    group: "Process",
    kind: signals,
    fallback: [],
    fallbackText: "none",
    netServer: ["sig_passthrough"],
    help: "signals that are forwarded to the workers first",
  }),
  pidFile: row({
    group: "Process",
    kind: path,
    netServer: ["pid_file"],
    help: "file that holds the process id while the server runs",
  }),
  user: row({
    group: "Process",
    kind: account,
    netServer: ["user"],
    fallbackText: "the server's",
    help: "user that the workers run as",
  }),
  group: row({
    group: "Process",
    kind: account,
    netServer: ["group"],
    fallbackText: "the server's",
    help: "group that the workers run as",
  }),
  background: row({
    group: "Process",
    kind: toggle,
    fallback: false,
    netServer: ["background"],
    help: "detach from the terminal; needs <pidFile> and <logFile>",
  }),
  watch: row({
    group: "Process",
    kind: toggle,
    fallback: false,
    help: "reload when the handler or a local module that it imports changes",
  }),
  handleSignals: row({
    group: "Process",
    kind: toggle,
    scope: "code",
    fallback: false,
    help: "act on the process's signals; the command always does",
  }),
  config: row({
    group: "Process",
    kind: path,
    netServer: ["conf_file"],
    help: "conf file; read again on HUP",
  }),
  control: row({
    group: "Control",
    kind: word("auto|off|FILE", '"auto", "off" or the path of a socket file'),
    fallback: "off",
    fallbackText: "auto; off for serve()",
    help: "socket that ctl asks; auto: in a private folder, named after <frontend>",
  }),
  http: row({
    group: "Control",
    kind: httpAddress,
    fallback: "off",
    help: "address of metrics, probes, the page and the control API over HTTP",
  }),
  httpToken: row({
    group: "Control",
    kind: path,
    help: "file with the token that HTTP asks for; without it <http> shows figures alone",
  }),
  logLevel: row({
    group: "Log",
    kind: level,
    fallback: "info",
    netServer: ["log_level"],
    help: "least urgent level that is logged: debug, info, warn, error, critical, or 0 to 4",
  }),
  logFile: row({
    group: "Log",
    kind: path,
    netServer: ["log_file"],
    fallbackText: "stderr",
    help: "file to append the log to; log rotation is followed",
  }),
  logFormat: row({
    group: "Log",
    kind: choice<LogFormat>(["text", "json"]),
    fallback: "text",
    help: "format of log lines: text or json",
  }),
  accessLog: row({
    group: "Log",
    kind: word("off|FILE", '"off" or a path that is not empty'),
    fallback: "off",
    help: "file to append one line per request to; off: none",
  }),
};

/** Has the compiler check that each setting has a row, of its own type. */
const _settingsHaveRows: {
  readonly [K in Exclude<keyof Settings, keyof Hooks | "signal" | "services" | "schedules">]-?: Row<
    NonNullable<Settings[K]>
  >;
} = ROWS;

/** Every option, by heading. */
export const OPTIONS: readonly OptionSpec[] = Object.entries(ROWS).map(([name, row]) =>
  specOf(name, row)
);

function grantRow(permission: keyof Permissions, help: string): Row<boolean | string[]> {
  const kind = grant(permission);
  return { group: "Permissions", kind, scope: "text", permission, help, fallbackText: "nothing" };
}

function specOf(name: string, given: Row<unknown>): OptionSpec {
  const { scope = "everywhere", flag = `--${separate(name, "-")}` } = given;
  const isText = scope !== "code";
  return {
    netServer: [],
    ...given,
    name,
    scope,
    flag: isText ? flag : "",
    environment: isText ? `PREFORK_${separate(name, "_").toUpperCase()}` : "",
  };
}

/** The default of an option in words; empty if it has none. */
export function defaultOf({ fallback, fallbackText, kind, perCpu }: OptionSpec): string {
  if (fallbackText !== undefined) return fallbackText;
  if (perCpu !== undefined) return perCpu === 1 ? "CPUs" : `${perCpu} × CPUs`;
  return fallback === undefined ? "" : kind.show(fallback);
}
