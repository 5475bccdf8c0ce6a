/**
 * The options of `serve()`: their types and what they mean, with units and defaults. The one place where
 * they are documented, but those of stored jobs (stored_settings.ts). Not here: how they are checked (resolve.ts), and how operators write them
 * (table.ts).
 *
 * @module
 */

import type { OpenStoredOption, ScheduleOptions, StoredJobOptions } from "./stored_settings.ts";

export type { ScheduleOptions, StoredJobOptions };

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
export interface ServeOptions extends StoredJobOptions, Hooks {
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
  /**
   * Where clients connect: `tcp://host:port` (port 0 or `*`: any free one) or `ipc://path`.
   *
   * @default {"tcp://127.0.0.1:6660"}
   */
  frontend?: string | string[];
  /**
   * Where clients that speak Majordomo connect (7/MDP and 18/MDP, in one port), in the same forms. They name the
   * service that they ask; the empty name is the handler's.
   *
   * @default {[]}
   */
  mdp?: string | string[];
  /**
   * Where plain clients submit background jobs and ask about them, in the same forms: the first frame is "submit",
   * "status", "result" or "cancel", the second one JSON. See docs/jobs.md.
   *
   * @default {[]}
   */
  jobs?: string | string[];
  /**
   * Which workers that speak Majordomo may come to `mdp`: "any" lets everybody who reaches it serve a name that has no
   * handler. Names of clients, as `curveClients` has them, let those serve such a name, or along with a handler's own
   * workers.
   *
   * @default {"none"}
   */
  mdpWorkers?: "none" | "any" | string[];
  /**
   * Silence after which such a worker is told that the server lives, and that it may keep three times. @default {2500}
   */
  mdpHeartbeat?: number;
  /**
   * How long a service of such workers lives without any, and clients of Majordomo wait for its first one.
   *
   * @default {60_000}
   */
  mdpExpiry?: number;
  /**
   * Where SUB sockets connect that are to hear what happens here, in the same forms: see docs/events.md. Whoever may
   * connect as a client may do so there.
   *
   * @default {[]}
   */
  events?: string | string[];
  /** Where workers connect, in the same forms. @default {an ipc socket in a private folder} */
  backend?: string;
  /**
   * File with the server's secret CURVE key, as `deno task keygen` makes it. Clients then need the
   * server's public key and a key pair of their own. Needs `curveClients`.
   *
   * @default {none: no encryption, and every client may connect}
   */
  curveSecretKey?: string;
  /**
   * File that lists the clients that may connect, one line `NAME KEY` each. "any" lets in every client
   * that has a key.
   *
   * @default {none}
   */
  curveClients?: string;
  /**
   * Where pools on other machines join this server: see docs/join.md. tcp, and always with keys. Needs `joinClients`,
   * and `joinSecretKey` or `curveSecretKey`.
   *
   * @default {none: no other machine can}
   */
  joinEndpoint?: string;
  /** File that lists the machines that may join, one line `NAME KEY` each, as that of `curveClients`. @default {none} */
  joinClients?: string;
  /** File with the secret key of `joinEndpoint`. @default {that of `curveSecretKey`} */
  joinSecretKey?: string;
  /**
   * The `joinEndpoint` of a server on another machine. This process then has a pool of workers for that server, and no
   * sockets of its own for clients. Needs `joinKey` and `joinServerKey`.
   *
   * @default {none}
   */
  join?: string;
  /** File with the secret key of this machine, whose public one is in the server's `joinClients`. @default {none} */
  joinKey?: string;
  /** The public key of the server that is joined, or a file that has it. @default {none} */
  joinServerKey?: string;
  /** The service of that server that `handler` serves. @default {the one without a name} */
  joinService?: string;
  /**
   * Names of the clients, as `curveClients` has them, that may ask; others are answered 403.
   *
   * @default {all that may connect}
   */
  users?: string | string[];
  /**
   * Addresses and CIDR ranges. If there is one, clients from all other addresses are refused.
   *
   * @default {[]}
   */
  allow?: string | string[];
  /** Addresses and CIDR ranges that may not connect; wins over `allow`. @default {[]} */
  deny?: string | string[];
  /**
   * Maximum number of client connections at a time; 0: no limit. Each takes a file descriptor.
   *
   * @default {1024 if an endpoint is tcp, unless clients must have listed keys; else 0}
   */
  maxConnections?: number;
  /**
   * Maximum number of client connections from one address, or from one /64 network of IPv6; 0: no limit.
   * Loopback, ipc and clients with listed keys are not counted.
   *
   * @default {256}
   */
  maxConnectionsPerAddress?: number;
  /**
   * How long a tcp client may be silent before the system probes its host, in ms; 0: never. A client
   * whose host has vanished is disconnected after twice that time. Rounded to whole seconds.
   *
   * @default {30_000}
   */
  keepAlive?: number;
  /**
   * What clients are talked to with: sockets of the server's own, or libzmq's. With `curveSecretKey` it is
   * always libzmq's.
   *
   * @default {"native"}
   */
  transport?: "native" | "libzmq";
  /**
   * Maximum size of the replies that one client leaves unread, in bytes; further ones are dropped. One reply
   * is kept for each client, whatever its size. Not with libzmq.
   *
   * @default {67_108_864}
   */
  connectionBytes?: number;
  /**
   * Time a new connection has to say which protocol it speaks and who it is, in ms; 0: any time. With libzmq
   * it is always 10 s.
   *
   * @default {10_000}
   */
  handshakeTimeout?: number;
  /**
   * Silence after which a client is asked whether it lives, in ms; 0: never. A client that does not answer
   * within the same time is disconnected. Clients that don't know the question (ZMTP 3.0 and older) have
   * `keepAlive` alone. Not with libzmq.
   *
   * @default {30_000}
   */
  heartbeatInterval?: number;
  /**
   * Maximum number of connections that one address, or one /64 network of IPv6, may open in a second; 0: no
   * limit. Loopback and ipc are not counted. Not with libzmq.
   *
   * @default {1_000}
   */
  maxConnectionRate?: number;
  /**
   * Minimum number of workers. A value above the default of `maxWorkers` raises that.
   *
   * @default {number of CPUs}
   */
  minWorkers?: number;
  /**
   * Maximum number of workers. A value below the default of `minWorkers` lowers that.
   *
   * @default {4 × number of CPUs}
   */
  maxWorkers?: number;
  /** Sets `minWorkers` and `maxWorkers`, unless they are given. */
  workers?: number;
  /**
   * Minimum number of idle workers, as far as `maxWorkers` allows; never above `maxSpareWorkers`.
   *
   * @default {1}
   */
  minSpareWorkers?: number;
  /**
   * Maximum number of idle workers: more are stopped, down to `minWorkers`. Lowered to
   * `maxWorkers` − 1.
   *
   * @default {10}
   */
  maxSpareWorkers?: number;
  /** Requests after which a worker is replaced; 0: never. @default {0} */
  maxRequests?: number;
  /** Random spread of `maxRequests` among the workers, 0 to 1. @default {0.1} */
  maxRequestsJitter?: number;
  /**
   * Memory (resident set size) at which a worker is replaced, in bytes; 0: never. The worker first
   * finishes its jobs, however long they take.
   *
   * @default {0}
   */
  maxMemory?: number;
  /** Random spread of `maxMemory` among the workers, 0 to 1. @default {0.1} */
  maxMemoryJitter?: number;
  /** Age at which a worker is replaced, in ms; 0: never. @default {0} */
  maxAge?: number;
  /** Random spread of `maxAge` among the workers, 0 to 1. @default {0.1} */
  maxAgeJitter?: number;
  /**
   * Maximum heap of JavaScript objects of a worker, in bytes, 16 MiB or more; 0: V8's own limit. A
   * worker that needs more dies at once. Buffers of bytes do not count.
   *
   * @default {0}
   */
  memoryLimit?: number;
  /** How often to check whether more workers are needed, in ms. @default {30_000} */
  checkForSpawnInterval?: number;
  /** How often to check whether fewer workers are enough, in ms. @default {10_000} */
  checkForWaitingInterval?: number;
  /** Time after the last start of a worker in which none is culled, in ms. @default {10_000} */
  minChildTtl?: number;
  /** Delay before each worker start, in ms. @default {0} */
  startDelay?: number;
  /** Time a worker has to become ready, in ms. @default {30_000} */
  startTimeout?: number;
  /**
   * Time running jobs have to finish when the server stops, in ms; then workers are killed.
   *
   * @default {30_000}
   */
  stopTimeout?: number;
  /** How often to run the handler's `dequeue`, in ms; 0: never. @default {0} */
  dequeueInterval?: number;
  /** Maximum number of processes that run `dequeue` at a time. @default {1} */
  maxDequeueWorkers?: number;
  /** How often to check for rogue workers, in ms; 0: never. Linux only. @default {0} */
  babysitInterval?: number;
  /** CPU time on one job that makes a worker a rogue, in ms. @default {600_000} */
  rogueCpuTime?: number;
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

/** The server has started to listen. */
export interface ListenEvent {
  /** The endpoints that clients connect to, with their real ports. */
  frontend: string[];
  /** The same of those for clients that speak Majordomo. */
  mdp: string[];
  /** The same of those for plain clients that submit background jobs; left out where there are none. */
  jobs?: string[];
  /** The same of those for SUB sockets. */
  events: string[];
  /** The endpoint that workers connect to. */
  backend: string;
  /** The endpoints of single services, by their names; left out where no service has any. */
  services?: Record<string, string[]>;
}

/** A worker was started, or is ready. */
export interface WorkerEvent {
  /** The service that it works for; left out where that has no name. */
  service?: string;
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

/** A pool has new limits. */
export interface ResizeEvent {
  /** The service whose pool it is; left out where that has no name. */
  service?: string;
  /** Minimum number of workers. */
  min: number;
  /** Maximum number of workers. */
  max: number;
}

/** A reload has ended. */
export interface ReloadEvent {
  /** The service that was reloaded; left out where that has no name. */
  service?: string;
  /** Whether fresh workers took over; if not, the old ones stay. */
  ok: boolean;
  /** Why it failed. */
  message?: string;
}

/** The server is stopping. */
export interface StopEvent {
  /** Why it stops: a signal's name, `abort`, `shutdown` … */
  reason: string;
}

/** A request was answered with an error of the handler (500 to 599) or of the server (502, 504). */
export interface RequestErrorEvent {
  /** The service that was asked; left out where that has no name. */
  service?: string;
  /** The server's number for the job, as in the log and in `ctx.id`. */
  job: number;
  /** The worker whose handler threw; left out if no worker answered. */
  worker?: number;
  /** 1 for the first try. */
  attempt: number;
  /** The code of the client's error reply. */
  code: number;
  /** What the handler threw, or what went wrong. */
  message: string;
  /** The error's stack and causes, if known; kept for 100 errors a second of each worker. */
  stack?: string;
  /** The client: its network address ("" over ipc), its identity and its user, "" for none. */
  client: { readonly address: string; readonly identity: string; readonly user: string };
  /** The trace that the request belongs to, 32 hex digits as in the log; left out if there is none. */
  trace?: string;
}

/** Functions that are called when something happens. An error that one throws is only logged. */
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
  /** Called when the last job has ended and the queue is empty. */
  onIdle?: () => void | Promise<void>;
  /** Called when the server starts to stop. */
  onStop?: (event: StopEvent) => void | Promise<void>;
}
