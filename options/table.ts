/**
 * The options of `serve()`: what they are called, their defaults, and what is allowed. One table,
 * `OPTIONS`, from which the flags, the environment variables, the conf file, --help and the README
 * follow. Not here: where an operator's texts come from (command.ts), and what an option does.
 *
 * @module
 */
import { resolve as resolvePath } from "node:path";
import { pathToFileURL } from "node:url";
import { isOpenToNetwork } from "./endpoints.ts";
import {
  account,
  choice,
  duration,
  endpoint,
  endpoints,
  fraction,
  grant,
  hosts,
  integer,
  type Kind,
  level,
  path,
  type Permissions,
  permissions,
  ports,
  ranges,
  signals,
  size,
  specifier,
  toggle,
  word,
} from "./kinds.ts";
import type { Level, LogFormat } from "../ops/log.ts";

export type { Kind, Level, LogFormat, Permissions };

/** The server listens. */
export interface ListenEvent {
  /** The endpoints that clients connect to, with their real ports. */
  frontend: string[];
  /** The endpoint that workers connect to. */
  backend: string;
}

/** A worker was started, or is ready. */
export interface WorkerEvent {
  /** Number of the worker; never used twice. */
  worker: number;
  /** Its process id. */
  pid: number;
}

/** A worker's process has ended. */
export interface WorkerExitEvent extends WorkerEvent {
  /** Exit code. */
  code: number;
  /** The signal that ended it, or `null`. */
  signal: string | null;
  /** Why it ended: `recycled`, `culled`, `crashed`, `rogue`, `reload` … */
  reason: string;
}

/** The pool has new limits. */
export interface ResizeEvent {
  /** Workers kept alive at least. */
  min: number;
  /** Workers alive at most. */
  max: number;
}

/** A reload has ended. */
export interface ReloadEvent {
  /** Whether fresh workers took over; if not, the old ones go on. */
  ok: boolean;
  /** Why it failed. */
  message?: string;
}

/** The server stops. */
export interface StopEvent {
  /** Why: a signal's name, `abort`, `shutdown` … */
  reason: string;
}

/** A request has ended in an error of the handler (500 to 599) or of the server (502, 504). */
export interface RequestErrorEvent {
  /** The server's number for the job, as in the log and in `ctx.id`. */
  job: number;
  /** The worker whose handler threw; left out where no worker answered. */
  worker?: number;
  /** 1 for the first try. */
  attempt: number;
  /** The code of the client's error reply. */
  code: number;
  /** What the handler threw, or what went wrong. */
  message: string;
  /** The error's stack and causes, where they are known: of 100 errors a second and worker. */
  stack?: string;
  /** Who asked: the network address ("" over ipc), the identity and the user, "" for none. */
  client: { readonly address: string; readonly identity: string; readonly user: string };
}

/** Functions that are told what the server does; one that throws is logged and changes nothing. */
export interface Hooks {
  /** Called when the frontend and the backend are bound. */
  onListen?: (event: ListenEvent) => void | Promise<void>;
  /** Called when a worker's process was started. */
  onWorkerSpawn?: (event: WorkerEvent) => void | Promise<void>;
  /** Called when a worker has loaded the handler and asked for work. */
  onWorkerReady?: (event: WorkerEvent) => void | Promise<void>;
  /** Called when a worker's process has ended. */
  onWorkerExit?: (event: WorkerExitEvent) => void | Promise<void>;
  /** Called when the limits of the pool have changed. */
  onResize?: (event: ResizeEvent) => void | Promise<void>;
  /** Called when a reload has succeeded or failed. */
  onReload?: (event: ReloadEvent) => void | Promise<void>;
  /** Called when a request has failed: its handler threw, or its workers died or did not stop. */
  onError?: (event: RequestErrorEvent) => void | Promise<void>;
  /** Called when the last job is done and none waits. */
  onIdle?: () => void | Promise<void>;
  /** Called when the server begins to stop. */
  onStop?: (event: StopEvent) => void | Promise<void>;
}

/**
 * Options of `serve()`. All durations are milliseconds and all sizes are bytes.
 *
 * @example
 * ```ts
 * const options: ServeOptions = {
 *   handler: new URL("./handler.ts", import.meta.url),
 *   frontend: ["tcp://127.0.0.1:6660", "ipc:///run/jobs.ipc"],
 *   minWorkers: 2,
 *   maxWorkers: 8,
 *   permissions: { net: ["db.example:5432"] },
 * };
 * ```
 */
export interface ServeOptions extends Hooks {
  /**
   * The module whose default export answers requests: a URL, a path (from the current directory)
   * or a file:, http:, https:, npm:, jsr: or data: specifier.
   *
   * @default {a handler that answers with the frames of the request}
   */
  handler?: string | URL;
  /**
   * Where clients connect: `tcp://host:port` (port 0 or `*`: any free one) or `ipc://path`.
   *
   * @default {"tcp://127.0.0.1:6660"}
   */
  frontend?: string | string[];
  /** Where workers connect, in the same forms. @default {an ipc socket in a private folder} */
  backend?: string;
  /**
   * File of the server's secret CURVE key, as `deno task keygen` makes it: clients must know its
   * public key and prove keys of their own. Needs `curveClients`.
   *
   * @default {none: no encryption, and anybody may ask}
   */
  curveSecretKey?: string;
  /**
   * File that lists the clients that may ask, a line `NAME KEY` each; "any": all that have a key.
   *
   * @default {none}
   */
  curveClients?: string;
  /** Addresses and CIDR ranges; if any are given, only clients from these may ask. @default {[]} */
  allow?: string | string[];
  /** Addresses and CIDR ranges from which no client may ask, `allow` or not. @default {[]} */
  deny?: string | string[];
  /**
   * Connections of clients at a time, at most; 0: any number. On tcp without keys a hostile peer with
   * very many can end the process.
   *
   * @default {1024 if an endpoint is tcp, unless clients must have keys that are listed; else 0}
   */
  maxConnections?: number;
  /**
   * Those of them that come from one address, of IPv6 from one /64 network; 0: any number. Loopback,
   * ipc and clients whose keys are listed are not bounded by it.
   *
   * @default {256}
   */
  maxConnectionsPerAddress?: number;
  /**
   * How long a tcp client may be silent before the system asks its host whether that is still there;
   * one whose host has vanished is disconnected after twice as long. Whole seconds count; 0: never.
   *
   * @default {30_000}
   */
  keepAlive?: number;
  /**
   * Workers kept alive at least. Above `maxWorkers`' default it raises that.
   *
   * @default {number of CPUs}
   */
  minWorkers?: number;
  /**
   * Workers alive at most. Below `minWorkers`' default it lowers that.
   *
   * @default {4 × number of CPUs}
   */
  maxWorkers?: number;
  /** Sets `minWorkers` and `maxWorkers`, where these are not given themselves. */
  workers?: number;
  /**
   * Idle workers kept ready at least, while `maxWorkers` allows; never above `maxSpareWorkers`.
   *
   * @default {1}
   */
  minSpareWorkers?: number;
  /** Idle workers kept at most, above `minWorkers`; lowered to `maxWorkers` − 1. @default {10} */
  maxSpareWorkers?: number;
  /** Requests after which a worker is replaced; 0: never. @default {0} */
  maxRequests?: number;
  /** Part of `maxRequests`, 0 to 1, by which it varies from worker to worker. @default {0.1} */
  maxRequestsJitter?: number;
  /**
   * Memory (resident set size) at which a worker is replaced, in bytes; 0: never. It finishes its jobs,
   * however long they take.
   *
   * @default {0}
   */
  maxMemory?: number;
  /** Part of `maxMemory`, 0 to 1, by which it varies from worker to worker. @default {0.1} */
  maxMemoryJitter?: number;
  /** Time after which a worker is replaced, in ms; 0: never. @default {0} */
  maxAge?: number;
  /** Part of `maxAge`, 0 to 1, by which it varies from worker to worker. @default {0.1} */
  maxAgeJitter?: number;
  /**
   * Heap of JavaScript's objects that a worker may have, in bytes, at least 16 MiB; 0: what V8 allows
   * by itself. A worker that needs more dies at once; buffers of bytes do not count.
   *
   * @default {0}
   */
  memoryLimit?: number;
  /** How often to look whether more workers are needed, in ms. @default {30_000} */
  checkForSpawnInterval?: number;
  /** How often to look whether fewer workers will do, in ms. @default {10_000} */
  checkForWaitingInterval?: number;
  /** Time after the last start of a worker in which none is culled, in ms. @default {10_000} */
  minChildTtl?: number;
  /** Time before the first start of a worker and between two, in ms. @default {0} */
  startDelay?: number;
  /** Time that a worker has to become ready, in ms. @default {30_000} */
  startTimeout?: number;
  /** Time that running jobs have to end before workers are killed, in ms. @default {30_000} */
  stopTimeout?: number;
  /** How often to run the handler's `dequeue`, in ms; 0: never. @default {0} */
  dequeueInterval?: number;
  /** Processes that run `dequeue` at a time, at most. @default {1} */
  maxDequeueWorkers?: number;
  /** How often to look for rogue workers, in ms; 0: never. Linux only. @default {0} */
  babysitInterval?: number;
  /** CPU time on one job that makes a worker a rogue, in ms. @default {600_000} */
  rogueCpuTime?: number;
  /** Jobs that one worker runs at a time. @default {1} */
  concurrency?: number;
  /**
   * Jobs that one worker holds at a time, running or next; 1: no job waits in a worker.
   *
   * @default {100}
   */
  prefetch?: number;
  /**
   * A worker gets more jobs while those that it holds are expected to take less, in ms.
   *
   * @default {1}
   */
  prefetchBudget?: number;
  /** Which idle worker gets a job: the most or the least recently used. @default {"mru"} */
  dispatch?: "mru" | "lru";
  /**
   * Workers that may die of a job before its client gets an error. 1: no job is begun twice for that, and
   * so none waits in a worker behind others.
   *
   * @default {2}
   */
  maxAttempts?: number;
  /** Jobs that wait at most. @default {10_000} */
  queueLimit?: number;
  /**
   * Maximum size of all requests that wait or run, bytes; each frame after a request's first counts 256
   * more. The replies that clients have not read may have as many, but at least 16 MiB.
   *
   * @default {268_435_456}
   */
  queueBytes?: number;
  /**
   * What happens when the queue is full: stop reading requests, or answer 503.
   *
   * @default {"block"}
   */
  overflow?: "block" | "reject";
  /** Jobs of one client that wait, at most; more are answered 503. 0: any number. @default {0} */
  maxQueuePerClient?: number;
  /**
   * How long a handler may take for one request, in ms; then `ctx.signal` fires. 0: any time. A request
   * of our own client may ask for less.
   *
   * @default {0}
   */
  requestTimeout?: number;
  /**
   * How long a handler may go on after `ctx.signal` fired because of `requestTimeout` or because its
   * client is gone, in ms. Then its worker is ended: TERM, and KILL after as long again. 0: for ever.
   *
   * @default {1_000}
   */
  abortGrace?: number;
  /**
   * How long an answer is kept for requests that come again under the same key, in ms; 0: not at all.
   *
   * @default {0}
   */
  replyCacheTtl?: number;
  /** Bytes of the answers that are kept, at most. @default {67_108_864} */
  replyCacheBytes?: number;
  /** Bytes of one request or reply, at most. @default {67_108_864} */
  maxMessageSize?: number;
  /** Maximum number of frames of one request or reply. @default {1000} */
  maxFrames?: number;
  /**
   * Whether a client gets the message of an error that a handler throws; if not, it gets "The handler
   * failed" and the job's number, and the log has the rest. The text of a `RequestError` is always sent.
   *
   * @default {true over ipc and loopback endpoints, else false}
   */
  exposeErrors?: boolean;
  /**
   * What the handler may do; "inherit" is all that this process may do (-A), no sandbox.
   *
   * @default {"none"}
   */
  permissions?: "none" | "inherit" | Permissions;
  /**
   * Whether the handler's modules must be those of the deno.json's lock file, if there is one: then a
   * module that is missing there, or another one, ends the start.
   *
   * @default {"frozen"}
   */
  handlerLock?: "frozen" | "off";
  /** Signals that are forwarded to the workers first; SIGUSR1 is refused. @default {[]} */
  signalPassthrough?: Deno.Signal[];
  /** File that holds the process id while the server runs. @default {none} */
  pidFile?: string;
  /** User, by name or number, that the workers run as. @default {the user that runs the server} */
  user?: string;
  /**
   * Group, by name or number, that the workers run as.
   *
   * @default {the group that runs the server}
   */
  group?: string;
  /** Detach from the terminal; needs `pidFile` and `logFile`. @default {false} */
  background?: boolean;
  /** The least urgent level that is logged. @default {"info"} */
  logLevel?: Level;
  /** File to append the log to; the new one of its name after a rotation. @default {stderr} */
  logFile?: string;
  /** Form of a log line. @default {"text"} */
  logFormat?: LogFormat;
  /** File to append a line for each request to, in the form of a log line; "off": none. @default {"off"} */
  accessLog?: string;
  /** Reload when the handler or a local module that it imports changes. @default {false} */
  watch?: boolean;
  /**
   * Act on the process's signals (TERM, HUP, TTIN …). The command line does. With or without it, `serve()`
   * makes this process ignore SIGUSR1, at which Deno would open its debugger to all local users.
   *
   * @default {false}
   */
  handleSignals?: boolean;
  /**
   * The conf file. `serve()` does not read it: the command line does, at start and on HUP.
   *
   * @default {none}
   */
  config?: string;
  /** Shuts the server down when aborted. @default {none} */
  signal?: AbortSignal;
}

/** Options that have a value only if somebody gives one. */
export type OpenOption =
  | "backend"
  | "curveSecretKey"
  | "curveClients"
  | "exposeErrors"
  | "pidFile"
  | "user"
  | "group"
  | "logFile"
  | "config"
  | "signal";

/** Options whose value takes another form when it is resolved. */
export type ReshapedOption =
  | "handler"
  | "frontend"
  | "allow"
  | "deny"
  | "workers"
  | "permissions";

/** All options, checked and with their defaults. Durations are milliseconds, sizes are bytes. */
export interface Settings
  extends
    Hooks,
    Pick<ServeOptions, OpenOption>,
    Required<Omit<ServeOptions, keyof Hooks | OpenOption | ReshapedOption>> {
  /** The handler's specifier, a path made a file: URL; `undefined` for the echo. */
  handler?: string;
  /** Where clients connect: one endpoint or more. */
  frontend: string[];
  /** Where clients may ask from; empty: anywhere. */
  allow: string[];
  /** Where they may not. */
  deny: string[];
  /** What the handler may do; nothing that is not named. */
  permissions: Permissions;
}

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

/** The machine that the server runs on. */
export interface Machine {
  /** Number of CPUs. */
  cpus: number;
  /** Returns the current directory; called only for a handler that is a relative path. */
  cwd: () => string;
}

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

const HOOKS: readonly string[] = [
  "onListen",
  "onWorkerSpawn",
  "onWorkerReady",
  "onWorkerExit",
  "onResize",
  "onReload",
  "onError",
  "onIdle",
  "onStop",
];

const IN_CODE: readonly OptionSpec[] = OPTIONS.filter(({ scope }) => scope !== "text");

/**
 * Checks options and fills in the defaults.
 *
 * Where two options limit each other, the one that is given moves the default of the other:
 * `maxWorkers: 1` makes `minWorkers` 1. Spare workers are always lowered to `maxWorkers` − 1.
 *
 * @param options What the caller wants.
 * @param machine Where the server runs.
 * @returns All options, with their values.
 * @throws {TypeError} If an option is unknown, has the wrong type, or lacks one that it needs.
 * @throws {RangeError} If a value is not allowed, alone or beside another.
 */
export function resolveOptions(options: ServeOptions, machine: Machine): Settings {
  requireRecord(options);
  const given = new Map<string, unknown>(Object.entries(options));
  for (const name of given.keys()) refuseUnknown(name);
  const values: Record<string, unknown> = {};
  for (const name of HOOKS) values[name] = hookOf(name, given.get(name));
  for (const spec of IN_CODE) values[spec.name] = settle(spec, given.get(spec.name), machine.cpus);
  values.signal = abortSignalOf(given.get("signal"));
  delete values.workers;
  if (!isSettings(values)) throw new TypeError("Cannot serve as an option has no value");
  const { minWorkers, maxWorkers } = workerLimits(options, values);
  const spares = spareLimits(options, values, maxWorkers);
  checkBackground(values);
  checkMemoryLimit(values);
  checkCurve(values);
  checkBackend(values);
  return { ...values, minWorkers, maxWorkers, ...spares, handler: locate(values.handler, machine) };
}

/** Types don't keep JavaScript from passing the handler itself, or its path. */
function requireRecord(options: unknown): void {
  if (typeof options === "function") throw new TypeError(`Cannot serve a function: ${MODULE_RULE}`);
  if (typeof options === "string" || options instanceof URL) {
    const path = JSON.stringify(String(options));
    throw new TypeError(`Cannot serve ${path} itself: use serve({ handler: ${path} })`);
  }
  if (typeof options === "object" && options !== null && !Array.isArray(options)) return;
  throw new TypeError(complaint("the options", "an object", options));
}

const MODULE_RULE = "each worker is a process of its own, which loads the handler as a module; " +
  'make it the default export of a file, and use serve({ handler: new URL("./handler.ts", ' +
  "import.meta.url) })";

/**
 * Tells whether values can be given to `serve()`.
 *
 * @param values Values by the names of their options.
 * @returns Whether each is an option's, and allowed.
 */
export function isServeOptions(
  values: Record<string, unknown>,
): values is ServeOptions & typeof values {
  return Object.entries(values).every(([name, value]) =>
    IN_CODE.some(({ name: known, kind }) => known === name && kind.accept(value) !== undefined)
  );
}

/**
 * Finds the name that was probably meant.
 *
 * @param name What was written.
 * @param names What could have been.
 * @returns `: did you mean "minWorkers"?`, or an empty string if nothing is near.
 */
export function suggest(name: string, names: Iterable<string>): string {
  const plain = (text: string) => text.replaceAll(/[-_]/g, "").toLowerCase();
  let nearest = "";
  let least = Math.max(2, Math.floor(name.length / 4)) + 1;
  for (const each of names) {
    const distance = editDistance(plain(name), plain(each));
    if (distance < least) [nearest, least] = [each, distance];
  }
  return nearest === "" ? "" : `: did you mean "${nearest}"?`;
}

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

function refuseUnknown(name: string): void {
  const names = [...IN_CODE.map((spec) => spec.name), ...HOOKS, "signal"];
  if (names.includes(name)) return;
  throw new TypeError(`Cannot serve as "${name}" is no option${suggest(name, names)}`);
}

function settle(spec: OptionSpec, value: unknown, cpus: number): unknown {
  if (value === undefined && spec.perCpu !== undefined) return spec.perCpu * cpus;
  const chosen = value === undefined ? spec.fallback : value;
  const accepted = spec.kind.accept(chosen);
  if (accepted !== undefined || chosen === undefined) return accepted;
  if (spec.name === "handler" && typeof value === "function") {
    throw new TypeError(
      `Cannot serve as "handler" must be a module, not a function: ${MODULE_RULE}`,
    );
  }
  const message = complaint(`"${spec.name}"`, spec.kind.rule, value);
  throw spec.kind.isType(value) ? new RangeError(message) : new TypeError(message);
}

function hookOf(name: string, value: unknown): unknown {
  if (value === undefined || typeof value === "function") return value;
  throw new TypeError(complaint(`"${name}"`, "a function", value));
}

function abortSignalOf(value: unknown): unknown {
  if (value === undefined || value instanceof AbortSignal) return value;
  throw new TypeError(complaint('"signal"', "an AbortSignal", value));
}

/**
 * Says what is wrong with a value.
 *
 * @param subject What has the value, in quotes where it is a name.
 * @param rule What the value must be.
 * @param value The value.
 * @returns The message.
 */
export function complaint(subject: string, rule: string, value: unknown): string {
  const shown = Deno.inspect(value, { breakLength: Infinity, strAbbreviateSize: 200 });
  return `Cannot serve as ${subject} must be ${rule}: current value is ${shown}`;
}

/** Every setting without a default is one that may be open. */
function isSettings(values: Record<string, unknown>): values is Settings & typeof values {
  return IN_CODE.every(({ name, fallback, perCpu }) =>
    values[name] !== undefined || (fallback === undefined && perCpu === undefined)
  );
}

function workerLimits(options: ServeOptions, defaults: Settings) {
  const min = options.minWorkers ?? options.workers;
  const max = options.maxWorkers ?? options.workers;
  const minWorkers = min ?? Math.min(defaults.minWorkers, max ?? Infinity);
  const maxWorkers = max ?? Math.max(defaults.maxWorkers, minWorkers);
  if (minWorkers <= maxWorkers) return { minWorkers, maxWorkers };
  const rule = `at most "maxWorkers" (${maxWorkers})`;
  throw new RangeError(complaint('"minWorkers"', rule, minWorkers));
}

function spareLimits(options: ServeOptions, defaults: Settings, maxWorkers: number) {
  const { minSpareWorkers: min, maxSpareWorkers: max } = options;
  if (min !== undefined && max !== undefined && min > max) {
    throw new RangeError(complaint('"minSpareWorkers"', `at most "maxSpareWorkers" (${max})`, min));
  }
  const most = max ?? Math.max(defaults.maxSpareWorkers, min ?? 0);
  const maxSpareWorkers = Math.min(most, maxWorkers - 1);
  const minSpareWorkers = Math.min(min ?? defaults.minSpareWorkers, maxSpareWorkers);
  return { minSpareWorkers, maxSpareWorkers };
}

function checkBackground({ background, pidFile, logFile }: Settings): void {
  if (!background || (pidFile !== undefined && logFile !== undefined)) return;
  const missing = pidFile === undefined ? "pidFile" : "logFile";
  throw new TypeError(
    `Cannot serve as "background" needs "pidFile" and "logFile": "${missing}" is not set`,
  );
}

/** V8 itself needs some of it: with less, no worker would come up. */
const LEAST_MEMORY_LIMIT = 16 * MiB;

function checkMemoryLimit({ memoryLimit }: Settings): void {
  if (memoryLimit === 0 || memoryLimit >= LEAST_MEMORY_LIMIT) return;
  throw new RangeError(
    complaint('"memoryLimit"', `0 or >= ${LEAST_MEMORY_LIMIT} (16 MiB)`, memoryLimit),
  );
}

/** CURVE without a list lets anybody in who makes a key: so somebody must have said so. */
function checkCurve({ curveSecretKey, curveClients }: Settings): void {
  if (curveSecretKey !== undefined && curveClients === undefined) {
    throw new TypeError(
      'Cannot serve as "curveSecretKey" needs "curveClients", a file that lists clients, or "any": ' +
        '"curveClients" is not set',
    );
  }
  if (curveSecretKey === undefined && curveClients !== undefined) {
    throw new TypeError(
      'Cannot serve as "curveClients" needs "curveSecretKey": "curveSecretKey" is not set',
    );
  }
}

/** A hostile peer can end the process over plain tcp, and only workers of this machine need it. */
function checkBackend({ backend, curveSecretKey }: Settings): void {
  if (backend === undefined || curveSecretKey !== undefined || !isOpenToNetwork(backend)) return;
  const rule = 'ipc, or tcp on loopback, as long as "curveSecretKey" is not set';
  throw new RangeError(complaint('"backend"', rule, backend));
}

function locate(handler: string | undefined, machine: Machine): string | undefined {
  if (handler === undefined || /^[a-z][a-z0-9+.-]*:/i.test(handler)) return handler;
  const from = handler.startsWith("/") ? "/" : machine.cwd();
  return pathToFileURL(resolvePath(from, handler)).href;
}

/** Number of letters to insert, delete or replace to make one word of the other. */
function editDistance(from: string, to: string): number {
  let last = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let j = 1; j <= to.length; j++) {
      const replaced = (last[j - 1] ?? 0) + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, (last[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    last = next;
  }
  return last[to.length] ?? 0;
}
