/**
 * The options of `serve()`: their types and what they mean, with units and defaults. The one place where
 * they are documented. Not here: how they are checked (resolve.ts), and how operators write them
 * (table.ts).
 *
 * @module
 */

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
  /** Run these programs; with it a handler can do whatever they can. @default {false} */
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
