/**
 * The options of `serve()`: their types and what they mean, with units and defaults; and the settings that they become.
 * The options of connections, pools and stored jobs, and the hooks, have files of their own. Not here: how options are
 * checked (resolve.ts), and how operators write them (table.ts).
 *
 * @module
 */

import type { ConnectionOptions } from "./connection_settings.ts";
import type { Hooks } from "./hooks.ts";
import type { PoolOptions } from "./pool_settings.ts";
import type { OpenStoredOption, ScheduleOptions, StoredJobOptions } from "./stored_settings.ts";

export type { ConnectionOptions, Hooks, PoolOptions, ScheduleOptions, StoredJobOptions };
export type {
  ListenEvent,
  ReloadEvent,
  RequestErrorEvent,
  ResizeEvent,
  StopEvent,
  WorkerEvent,
  WorkerExitEvent,
} from "./hooks.ts";

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
export interface ServeOptions extends ConnectionOptions, PoolOptions, StoredJobOptions, Hooks {
  /**
   * The module whose default export answers requests: a URL, a path (from the current directory)
   * or a file:, http:, https:, npm:, jsr: or data: specifier.
   *
   * @default {a handler that answers with the frames of the request}
   */
  handler?: string | URL;
  /**
   * Services by their names: the handler of each, or its options. Each has a queue and a pool of workers of its
   * own. What a service does not set it takes from the options around this one. Where there are services, there
   * is a service without a name only if `handler` is set, too; else clients that name no service are answered 404.
   *
   * @default {{}}
   */
  services?: Readonly<Record<string, string | URL | ServiceOptions>>;
  /** How often to run the handler's `dequeue`, in ms; 0: never. @default {0} */
  dequeueInterval?: number;
  /** Maximum number of processes that run `dequeue` at a time. @default {1} */
  maxDequeueWorkers?: number;
  /** Jobs that one worker runs at a time. @default {1} */
  concurrency?: number;
  /**
   * Maximum number of jobs that one worker holds, running or next; 1: no job waits in a worker.
   *
   * @default {100}
   */
  prefetch?: number;
  /**
   * A busy worker gets another job while those it holds are expected to take less than this, in ms.
   *
   * @default {1}
   */
  prefetchBudget?: number;
  /** Which idle worker gets a job: the most or the least recently used. @default {"mru"} */
  dispatch?: "mru" | "lru";
  /**
   * Workers that may die of one job before its client gets an error. With 1, no request is started
   * again after a worker dies, so requests are sent to idle workers only.
   *
   * @default {2}
   */
  maxAttempts?: number;
  /** Maximum number of queued jobs. @default {10_000} */
  queueLimit?: number;
  /**
   * Maximum total size of the requests that wait or run, in bytes; each frame of a request after its
   * first counts 256 bytes more. Replies that clients have not read yet have the same limit, or 16 MiB
   * if that is more.
   *
   * @default {268_435_456}
   */
  queueBytes?: number;
  /**
   * What happens when the queue is full: the server stops reading requests, or answers 503.
   *
   * @default {"block"}
   */
  overflow?: "block" | "reject";
  /**
   * Maximum number of queued jobs of one client; further requests are answered 503. 0: no limit.
   *
   * @default {0}
   */
  maxQueuePerClient?: number;
  /**
   * Time a handler may take for one request, in ms; then `ctx.signal` aborts. 0: no limit. A request of
   * our own client may ask for less.
   *
   * @default {0}
   */
  requestTimeout?: number;
  /**
   * Time a handler has to stop once `ctx.signal` has aborted, because of `requestTimeout` or because
   * its client is gone, in ms. A handler that runs on has its worker stopped: TERM, then KILL after
   * another `abortGrace`. 0: no limit.
   *
   * @default {1_000}
   */
  abortGrace?: number;
  /**
   * How long an answer is kept for requests that repeat its key, in ms; 0: answers are not kept.
   *
   * @default {0}
   */
  replyCacheTtl?: number;
  /** Maximum total size of the kept answers, in bytes. @default {67_108_864} */
  replyCacheBytes?: number;
  /** Maximum size of one request or reply, in bytes. @default {67_108_864} */
  maxMessageSize?: number;
  /** Maximum number of frames in one request or reply. @default {1000} */
  maxFrames?: number;
  /**
   * Whether clients get the message of an error that a handler throws. If not, they get "The handler
   * failed" and the job's number, and the log has the rest. The text of a `RequestError` is always sent.
   *
   * @default {true over ipc and loopback endpoints, else false}
   */
  exposeErrors?: boolean;
  /**
   * What the handler may do. "inherit": everything that this process may do (-A), without a sandbox.
   *
   * @default {"none"}
   */
  permissions?: "none" | "inherit" | Permissions;
  /**
   * Whether the handler's modules must be those of the lock file that its deno.json has, if it has one.
   * With "frozen", a module that is missing there or differs ends the start.
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
  /**
   * The control socket, through which `ctl` asks the server and changes it: the path of its file, "off", or "auto"
   * for a file in a private folder (`$XDG_RUNTIME_DIR/prefork`, else `prefork-UID` in the folder for temporary
   * files) that is named after the first frontend. The command line's default is "auto".
   *
   * @default {"off"}
   */
  control?: string;
  /**
   * Where HTTP is served, such as `127.0.0.1:9660`: metrics, probes, the page and the control API. Port 0: any free
   * one. "off": none.
   *
   * @default {"off"}
   */
  http?: string;
  /**
   * File with the token that HTTP asks for, which nobody but its owner may read. Without one, HTTP shows figures and
   * states, and to this machine alone.
   *
   * @default {none}
   */
  httpToken?: string;
  /** The least urgent level that is logged. @default {"info"} */
  logLevel?: Level;
  /** File to append the log to. After a log rotation, the new file is used. @default {stderr} */
  logFile?: string;
  /** Format of log lines. @default {"text"} */
  logFormat?: LogFormat;
  /** File to append one line per request to, in the format of the log; "off": none. @default {"off"} */
  accessLog?: string;
  /** Reload when the handler or a local module that it imports changes. @default {false} */
  watch?: boolean;
  /**
   * Act on the process's signals (TERM, HUP, TTIN …). The command line always does. Even without it,
   * `serve()` makes this process ignore SIGUSR1, at which Deno would open its debugger to all local
   * users.
   *
   * @default {false}
   */
  handleSignals?: boolean;
  /**
   * The conf file. Only the command line reads it, at start and on HUP; `serve()` does not.
   *
   * @default {none}
   */
  config?: string;
  /** Shuts the server down when aborted. @default {none} */
  signal?: AbortSignal;
}

/** Options that a service may have; the others concern the whole server. */
export type ServiceOption =
  | "handler"
  | "frontend"
  | "users"
  | "mdpWorkers"
  | "minWorkers"
  | "maxWorkers"
  | "workers"
  | "minSpareWorkers"
  | "maxSpareWorkers"
  | "maxRequests"
  | "maxRequestsJitter"
  | "maxMemory"
  | "maxMemoryJitter"
  | "maxAge"
  | "maxAgeJitter"
  | "memoryLimit"
  | "checkForSpawnInterval"
  | "checkForWaitingInterval"
  | "minChildTtl"
  | "startDelay"
  | "startTimeout"
  | "stopTimeout"
  | "dequeueInterval"
  | "maxDequeueWorkers"
  | "babysitInterval"
  | "rogueCpuTime"
  | "concurrency"
  | "prefetch"
  | "prefetchBudget"
  | "dispatch"
  | "maxAttempts"
  | "queueLimit"
  | "queueBytes"
  | "overflow"
  | "maxQueuePerClient"
  | "requestTimeout"
  | "abortGrace"
  | "replyCacheTtl"
  | "replyCacheBytes"
  | "exposeErrors"
  | "permissions"
  | "handlerLock"
  | "jobShare"
  | "maxRunningPerGroup"
  | "rate"
  | "durable";

/**
 * Options of one of the `services`. What is left out is taken from the options of `serve()` around them, all but
 * `handler` and `frontend`.
 *
 * @example
 * ```ts
 * const resize: ServiceOptions = {
 *   handler: new URL("./resize.ts", import.meta.url),
 *   frontend: "tcp://127.0.0.1:6661",
 *   maxWorkers: 8,
 *   requestTimeout: 5000,
 * };
 * ```
 */
export interface ServiceOptions
  extends Omit<Pick<ServeOptions, ServiceOption>, "handler" | "frontend"> {
  /** The module whose default export answers requests, in the same forms as that of `serve()`. */
  handler: string | URL;
  /**
   * Endpoints of this service alone: a client that connects there reaches it without naming it. The endpoints
   * of `serve()` serve it too.
   *
   * @default {[]}
   */
  frontend?: string | string[];
}

/** Options that have no value unless one is given. */
export type OpenOption =
  | "backend"
  | "curveSecretKey"
  | "curveClients"
  | "joinEndpoint"
  | "joinClients"
  | "joinSecretKey"
  | "join"
  | "joinKey"
  | "joinServerKey"
  | "joinService"
  | "exposeErrors"
  | "pidFile"
  | "user"
  | "group"
  | "logFile"
  | "config"
  | "httpToken"
  | "signal"
  | OpenStoredOption;

/** Options whose value takes another form when it is resolved. */
export type ReshapedOption =
  | "handler"
  | "services"
  | "frontend"
  | "mdp"
  | "jobs"
  | "events"
  | "users"
  | "allow"
  | "deny"
  | "workers"
  | "permissions"
  | "schedules";

/** All options, checked and with their defaults. Durations are milliseconds, sizes are bytes. */
export interface Settings
  extends
    Hooks,
    Pick<ServeOptions, OpenOption>,
    Required<Omit<ServeOptions, keyof Hooks | OpenOption | ReshapedOption>> {
  /** The handler's specifier, a path made a file: URL; `undefined` for the echo. */
  handler?: string;
  /** The settings of each service, by its name. Those have no services, and `frontend` may be empty there. */
  services: Readonly<Record<string, Settings>>;
  /** Where clients connect: one endpoint or more. */
  frontend: string[];
  /** Where clients that speak Majordomo connect. */
  mdp: string[];
  /** Where plain clients submit background jobs. */
  jobs: string[];
  /** Where SUB sockets connect. */
  events: string[];
  /** The users that may ask; `undefined`: all. */
  users?: string[];
  /** Addresses that may connect; empty: all. */
  allow: string[];
  /** Addresses that may not connect. */
  deny: string[];
  /** What the handler may do; everything else is denied. */
  permissions: Permissions;
  /** Jobs that are submitted again and again, by the names of their schedules. */
  schedules: Readonly<Record<string, Required<ScheduleOptions>>>;
}

/** What a handler may do, named as Deno's permissions: `true` for all of it, or a list. */
export interface Permissions {
  /** Read these files and folders. @default {false} */
  read?: boolean | string[];
  /** Write these files and folders. @default {false} */
  write?: boolean | string[];
  /** Reach these hosts (`host`, `host:port`). @default {false} */
  net?: boolean | string[];
  /** Read and set these environment variables. @default {false} */
  env?: boolean | string[];
  /** Run these programs; the handler can then do whatever they can. @default {false} */
  run?: boolean | string[];
  /** Ask for these facts of the system (`hostname`, `cpus` …). @default {false} */
  sys?: boolean | string[];
  /** Import modules from these hosts. @default {false} */
  import?: boolean | string[];
  /** Everything: no sandbox at all. @default {false} */
  all?: boolean;
}

/** How urgent an event must be to be logged. `critical` silences the server's own events. */
export type Level = "debug" | "info" | "warn" | "error" | "critical";

/** How a line is written: `key=value` pairs, or a JSON object. */
export type LogFormat = "text" | "json";
