/**
 * The hooks of `serve()`: functions that are called when something happens, and what each is told. Types only.
 *
 * @module
 */

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
  /** Its process id, on its own machine. */
  pid: number;
  /** The other machine that it runs on, as the server's list calls it; left out: it is this one. */
  host?: string;
}

/** A worker's process has ended. */
export interface WorkerExitEvent extends WorkerEvent {
  /** Exit code; -1 if that is not known, which is so of workers on another machine that is gone. */
  code: number;
  /** The signal that ended it; `null`: none did, or that is not known. */
  signal: string | null;
  /** Why it ended: `recycled`, `culled`, `crashed`, `rogue`, `reload`, or `lost` with its machine … */
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
  /** The id of the background job whose try it was; left out of requests. */
  id?: string;
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
  /** Called when a worker's process was started, here or by a pool on another machine. */
  onWorkerSpawn?: (event: WorkerEvent) => void | Promise<void>;
  /** Called when a worker has loaded the handler and asked for work. */
  onWorkerReady?: (event: WorkerEvent) => void | Promise<void>;
  /** Called when a worker's process has ended, or its machine or the way there is gone. */
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
