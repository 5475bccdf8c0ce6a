/**
 * The orders that the parent gives a worker before anything else: one line of JSON on its stdin, which then stays
 * open as the worker's lifeline. Secrets travel here, never in arguments or the environment.
 *
 * @module
 */

/** The first line of a worker's stdin. */
export interface WorkerConfig {
  /** Answer requests; run the handler's `dequeue()` once; or only load the handler. */
  purpose: "serve" | "dequeue" | "check";
  /** The service that it serves; "": the one without a name. */
  service: string;
  /** Proves to the broker that this process was spawned by the parent. */
  token: string;
  /** The broker's endpoint for workers. */
  backend: string;
  /** How they speak there: by records over a unix socket, or by messages of ZeroMQ. */
  lane: "records" | "zmq";
  /** What the worker proves itself by over a network; undefined: nothing. */
  curve: WorkerKeys | undefined;
  /** A connection to a broker on another machine ends when nothing was heard there for so long, ms; 0: never. */
  heartbeatTimeout: number;
  /** How far the clock of that machine is ahead of this one's, ms. */
  clockAhead: number;
  /** The file that is opened through FFI: for records the C library, or one that is linked to it; else libzmq. */
  library: string;
  /** The parent's process id. */
  parent: number;
  /** What the handler was called by the operator; undefined: there is none, and requests are echoed. */
  handler: string | undefined;
  /** Jobs at a time. */
  concurrency: number;
  /** Maximum bytes of one reply. */
  maxMessageSize: number;
  /** Maximum frames of one reply. */
  maxFrames: number;
  /** Whether the handler may use FFI too. */
  keepFfi: boolean;
  /** What the kernel lets the worker ask of it; undefined: all. */
  callGrants: CallGrants | undefined;
  /** Whether the worker may write to files. */
  mayWriteFiles: boolean;
  /** Links that may be read until the handler is loaded. */
  links: string[];
  /** Kinds of permission that the worker is to give up itself: reading once the handler is loaded, others before. */
  giveUp: GivenUp[];
  /** Whether the handler must export `dequeue()`. */
  needsDequeue: boolean;
  /** Time between two MEMORY messages, ms; 0: none. */
  memoryInterval: number;
  /** Signals that the parent forwards: they must not end the process. */
  signals: Deno.Signal[];
  /** What `ps` shows. */
  title: string;
}

/** A kind of permission that a worker can give up, as a whole. */
export type GivenUp = "read" | "write" | "net" | "env" | "run" | "sys";

/** Grants that let more system calls through. */
export interface CallGrants {
  /** The handler may use the network. */
  net: boolean;
  /** The handler may ask for information on the system. */
  sys: boolean;
}

/** CURVE keys, Z85 text; the worker's are made for this one spawn. */
export interface WorkerKeys {
  serverKey: string;
  publicKey: string;
  secretKey: string;
}

/** The argument that makes a worker of a compiled program. */
export const WORKER_ARGUMENT = "--worker";

/** The exit code of a worker that can't load its handler, after it has said why. */
export const LOAD_FAILED = 3;

/** The line, its end included. */
export function buildWorkerConfig(config: WorkerConfig): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(config) + "\n");
}
