/**
 * libzmq's C functions, bound through FFI, and its constants. Finds no file: see locate.ts.
 *
 * Nothing here is cached in the module: a worker gives FFI up before it imports the handler, and the
 * handler must not be able to pick an opened library up from a module that it imports too.
 *
 * @module
 */

const SYMBOLS = {
  zmq_errno: { parameters: [], result: "i32" },
  zmq_version: { parameters: ["buffer", "buffer", "buffer"], result: "void" },
  zmq_strerror: { parameters: ["i32"], result: "pointer" },
  zmq_ctx_new: { parameters: [], result: "pointer" },
  zmq_ctx_set: { parameters: ["pointer", "i32", "i32"], result: "i32" },
  zmq_ctx_term: { parameters: ["pointer"], result: "i32" },
  zmq_ctx_term_async: {
    name: "zmq_ctx_term",
    parameters: ["pointer"],
    result: "i32",
    nonblocking: true,
  },
  zmq_socket: { parameters: ["pointer", "i32"], result: "pointer" },
  zmq_close: { parameters: ["pointer"], result: "i32" },
  zmq_setsockopt: { parameters: ["pointer", "i32", "buffer", "u32"], result: "i32" },
  zmq_getsockopt: { parameters: ["pointer", "i32", "buffer", "buffer"], result: "i32" },
  zmq_bind: { parameters: ["pointer", "buffer"], result: "i32" },
  zmq_connect: { parameters: ["pointer", "buffer"], result: "i32" },
  zmq_socket_monitor: { parameters: ["pointer", "buffer", "i32"], result: "i32" },
  zmq_send: { parameters: ["pointer", "buffer", "u32", "i32"], result: "i32" },
  zmq_recv: { parameters: ["pointer", "buffer", "u32", "i32"], result: "i32" },
  zmq_msg_init: { parameters: ["buffer"], result: "i32" },
  zmq_msg_init_size: { parameters: ["buffer", "u32"], result: "i32" },
  zmq_msg_recv: { parameters: ["buffer", "pointer", "i32"], result: "i32" },
  zmq_msg_send: { parameters: ["buffer", "pointer", "i32"], result: "i32" },
  zmq_msg_close: { parameters: ["buffer"], result: "i32" },
  zmq_msg_copy: { parameters: ["buffer", "buffer"], result: "i32" },
  zmq_msg_data: { parameters: ["buffer"], result: "pointer" },
  zmq_msg_size: { parameters: ["buffer"], result: "usize" },
  zmq_msg_more: { parameters: ["buffer"], result: "i32" },
  zmq_msg_gets: { parameters: ["buffer", "buffer"], result: "pointer" },
  zmq_curve_keypair: { parameters: ["buffer", "buffer"], result: "i32" },
  zmq_curve_public: { parameters: ["buffer", "buffer"], result: "i32" },
  /** Draft. */
  zmq_socket_get_peer_state: {
    parameters: ["pointer", "buffer", "u32"],
    result: "i32",
    optional: true,
  },
  // Found through what the library itself links to.
  poll: { parameters: ["buffer", "u32", "i32"], result: "i32" },
  poll_async: {
    name: "poll",
    parameters: ["buffer", "u32", "i32"],
    result: "i32",
    nonblocking: true,
  },
  memcpy: { parameters: ["buffer", "pointer", "u32"], result: "pointer" },
  memcpy_out: { name: "memcpy", parameters: ["pointer", "buffer", "u32"], result: "pointer" },
  strlen: { parameters: ["pointer"], result: "u32" },
  srand: { parameters: ["u32"], result: "void" },
  sched_yield: { parameters: [], result: "i32" },
  /** Linux's own: macOS has no such function. */
  sched_setscheduler: { parameters: ["i32", "i32", "buffer"], result: "i32", optional: true },
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
} as const;

/** The C functions that `openLibrary` binds. */
export type Symbols = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/**
 * `Uint8Array` as it was when this module was loaded. A handler shares the worker's globals and may
 * replace them, and C must never be told of a buffer that is another size.
 */
export const Bytes = Uint8Array;

/** The real length of a buffer, whatever its properties pretend to be. */
export const lengthOf: (bytes: Uint8Array) => number = Function.prototype.call.bind(lengthGetter());

function lengthGetter(): () => number {
  const typedArray = Object.getPrototypeOf(Uint8Array.prototype);
  const getter = Object.getOwnPropertyDescriptor(typedArray, "length")?.get;
  if (getter === undefined) throw new TypeError("Cannot use FFI: Uint8Array has no length");
  return getter;
}

/** The same bytes in memory that no other thread changes: C reads from it. */
export function inPlainMemory(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return isPlain(bytes) ? bytes : new Bytes(bytes);
}

function isPlain(bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer;
}

/** Freezes classes, so that a handler can't replace their methods: those reach all of the memory. */
export function harden(...classes: { prototype: object }[]): void {
  for (const each of classes) {
    Object.freeze(each);
    Object.freeze(each.prototype);
  }
}

/** An opened libzmq. */
export interface Library {
  /** The file that it was opened from. */
  readonly path: string;
  /** Its C functions. */
  readonly symbols: Symbols;
}

/**
 * Opens libzmq from a file.
 *
 * @throws {Error} when the file can't be opened or lacks a function, with the loader's own message.
 */
export function openLibrary(path: string): Library {
  return { path, symbols: Deno.dlopen(path, SYMBOLS).symbols };
}

/**
 * The same of a file that is known to open, once a function is used: binding them takes some 13 ms, and a loop whose
 * sockets are all its own uses none.
 */
export function openWhenUsed(path: string): Library {
  let opened: Library | undefined;
  return {
    path,
    get symbols() {
      return (opened ??= openLibrary(path)).symbols;
    },
  };
}

/** Socket types, zmq.h. */
export const SocketType = { PAIR: 0, SUB: 2, DEALER: 5, ROUTER: 6, XPUB: 9 } as const;

/** Socket options, zmq.h. */
export const Option = {
  ROUTING_ID: 5,
  SUBSCRIBE: 6,
  UNSUBSCRIBE: 7,
  RCVMORE: 13,
  FD: 14,
  EVENTS: 15,
  LINGER: 17,
  RECONNECT_IVL: 18,
  BACKLOG: 19,
  RECONNECT_IVL_MAX: 21,
  MAXMSGSIZE: 22,
  SNDHWM: 23,
  RCVHWM: 24,
  LAST_ENDPOINT: 32,
  IMMEDIATE: 39,
  ROUTER_MANDATORY: 33,
  TCP_KEEPALIVE: 34,
  /** Probes that may go unanswered. */
  TCP_KEEPALIVE_CNT: 35,
  /** Seconds of silence before the first probe. */
  TCP_KEEPALIVE_IDLE: 36,
  /** Seconds between two probes. */
  TCP_KEEPALIVE_INTVL: 37,
  IPV6: 42,
  CURVE_SERVER: 47,
  CURVE_PUBLICKEY: 48,
  CURVE_SECRETKEY: 49,
  CURVE_SERVERKEY: 50,
  ZAP_DOMAIN: 55,
  ROUTER_HANDOVER: 56,
  HANDSHAKE_IVL: 66,
  /** Time between two PINGs, ms; time that the peer has for an answer; time after which it gives up without a word. */
  HEARTBEAT_IVL: 75,
  HEARTBEAT_TTL: 76,
  HEARTBEAT_TIMEOUT: 77,
  /** Each subscription of each peer is told, and each that ends. */
  XPUB_VERBOSER: 78,
  /** How long a try to connect may take, ms. */
  CONNECT_TIMEOUT: 79,
  /** How long what was sent may go unacknowledged, ms. */
  TCP_MAXRT: 80,
  /** The next bind listens with a socket that is bound already; -1: it makes one. */
  USE_FD: 89,
  ZAP_ENFORCE_DOMAIN: 93,
  /** Draft: a ROUTER hears of peers that connect (1) and disconnect (2). */
  ROUTER_NOTIFY: 97,
} as const;

/** For `Option.ROUTER_NOTIFY`: of both. */
export const CONNECT_AND_DISCONNECT = 3;

/** Flags of send and receive, zmq.h. */
export const Flag = { DONTWAIT: 1, SNDMORE: 2 } as const;

/** The readable bit of ZMQ_EVENTS, and of poll(2). */
export const POLLIN = 1;

const darwin = Deno.build.os === "darwin";

/** The errno values that callers tell apart; they differ between systems. */
export const Errno = {
  ENOENT: 2,
  EINTR: 4,
  EBADF: 9,
  EAGAIN: darwin ? 35 : 11,
  ENOMEM: 12,
  EACCES: 13,
  ENODEV: 19,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  EPIPE: 32,
  EPROTO: darwin ? 100 : 71,
  EAFNOSUPPORT: darwin ? 47 : 97,
  EADDRINUSE: darwin ? 48 : 98,
  EADDRNOTAVAIL: darwin ? 49 : 99,
  ECONNABORTED: darwin ? 53 : 103,
  ECONNRESET: darwin ? 54 : 104,
  ENOBUFS: darwin ? 55 : 105,
  ETIMEDOUT: darwin ? 60 : 110,
  ECONNREFUSED: darwin ? 61 : 111,
  ENAMETOOLONG: darwin ? 63 : 36,
  EHOSTUNREACH: darwin ? 65 : 113,
  EINPROGRESS: darwin ? 36 : 115,
} as const;

const WAYS_OUT: Record<"ipc" | "tcp", ReadonlyMap<number, string>> = {
  ipc: new Map([
    [Errno.ENOENT, "its folder must exist"],
    [Errno.EACCES, "its folder must be one that this user may write"],
    [Errno.ENAMETOOLONG, "shorten the path, or TMPDIR if the folder is private"],
  ]),
  tcp: new Map([
    [Errno.EACCES, "ports below 1024 need root or CAP_NET_BIND_SERVICE"],
    [Errno.ENODEV, "its host must be an address or an interface of this machine, or *"],
    [Errno.EADDRNOTAVAIL, "its host must be an address of this machine, or *"],
  ]),
};

/** What is to be done about an endpoint that can't be bound, to be put behind the reason; "": nothing is known. */
export function wayOut(endpoint: string, errno: number): string {
  const way = WAYS_OUT[endpoint.startsWith("ipc:") ? "ipc" : "tcp"].get(errno);
  return way === undefined ? "" : `, ${way}`;
}

/** A libzmq call that failed. */
export class ZmqError extends Error {
  override readonly name = "ZmqError";
  /** The C errno. */
  readonly errno: number;

  /** Describes the failure of `what` by libzmq's own text for `errno`. */
  constructor(what: string, errno: number, text: string) {
    super(`Cannot ${what}: ${text}`);
    this.errno = errno;
  }
}

/** The error of the last call that failed on this thread. */
export function lastError(library: Library, what: string): ZmqError {
  return errorOf(library, what, library.symbols.zmq_errno());
}

/** The error of a C errno. */
export function errorOf({ symbols }: Library, what: string, errno: number): ZmqError {
  const text = readCString(symbols, symbols.zmq_strerror(errno)) ?? `errno ${errno}`;
  return new ZmqError(what, errno, text);
}

/** Copies a C string out, or undefined for NULL. Works after FFI was given up. */
export function readCString(symbols: Symbols, pointer: Deno.PointerValue): string | undefined {
  if (pointer === null) return undefined;
  const size = symbols.strlen(pointer);
  const bytes = new Bytes(size);
  if (size > 0) symbols.memcpy(bytes, pointer, size);
  return new TextDecoder().decode(bytes);
}

/** A NUL-terminated copy, as C wants it. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text + "\0");
}
