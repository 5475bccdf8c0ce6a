/**
 * The options of a client and of its requests, as their users see them.
 *
 * @module
 */

/** Options of a `Client`. */
export interface ClientOptions {
  /**
   * Where the server is: `tcp://host:port` (a name means its IPv4 address, `[…]` is an IPv6 one) or
   * `ipc://path`. A list names servers that can stand in for each other: the client stays with the one
   * that works, and takes the next in turn when there is no connection for 0.5 s, when a try goes
   * unanswered, or when the server is shutting down.
   *
   * @default {"tcp://localhost:6660"}
   */
  endpoint?: string | readonly string[];
  /**
   * How long one try waits for its answer: ms, from 1 to 4,294,967,295.
   *
   * @default {10_000, 10 s}
   */
  timeout?: number;
  /**
   * How many tries may follow an unanswered first one. With at least 1, a request is also sent again
   * when a server that is shutting down refuses to start it (503): to the next endpoint, or to the same
   * one after 0.1 s to 1 s, as often as the time of the try allows. Such a refusal does not count as a
   * try, and can't make the request run twice.
   *
   * @default {2}
   */
  retries?: number;
  /**
   * Called before a request is sent again. If it throws, the request is rejected with that.
   *
   * @default {none}
   */
  onRetry?: (retry: Retry) => void;
  /**
   * The name that the server knows the client by: 1 to 255 bytes of UTF-8, the first of them not 0. No
   * two connected clients may have the same name.
   *
   * @default {none: ZeroMQ makes one for each connection}
   */
  identity?: string;
  /**
   * Sends requests as a REQ socket does, which any ZeroMQ server understands. The server then doesn't
   * learn how long the client waits. Each request under way takes a socket of its own, so a plain client
   * with an identity can have one at a time.
   *
   * @default {false}
   */
  plain?: boolean;
  /**
   * Keys for a server that requires them. The server sends no answer to a client that it doesn't let in.
   *
   * @default {none: a server that requires keys gives no answer}
   */
  curve?: CurveOptions;
  /**
   * Where the server publishes events, for `subscribe`: its option `events`.
   *
   * @default {"tcp://localhost:6662"}
   */
  events?: string;
  /**
   * What the server is talked to with: sockets of the client's own, or libzmq's. With `curve` it is always
   * libzmq's.
   *
   * @default {"native"}
   */
  transport?: "native" | "libzmq";
}

/** Options of one subscription. */
export interface SubscribeOptions {
  /** Where the server publishes events. @default {the client's `events`} */
  endpoint?: string;
  /** Ends the loop when it aborts: the loop throws its reason. @default {none} */
  signal?: AbortSignal;
}

/**
 * Why a request is sent again: there was no connection, the server ended the handshake, it did not
 * answer in time, or it is shutting down.
 */
export type RetryReason = "unconnected" | "handshake" | "unanswered" | "unavailable";

/** A request that is sent again. */
export interface Retry {
  /** Which sending of the request has failed: 1 is the first. */
  attempt: number;
  /** The server that the failed one was sent to. */
  endpoint: string;
  /** Why that sending has failed. */
  reason: RetryReason;
}

/** The keys of a client, as `deno task keygen` makes them. */
export interface CurveOptions {
  /** The server's public key: its 40 characters, or the path of a file that holds it. */
  serverKey: string;
  /**
   * The path of the file with the client's own secret key.
   *
   * @default {none: the client makes a key, which is accepted only by servers that accept any key}
   */
  keyFile?: string;
}

/** Options of one request. */
export interface RequestOptions {
  /** Gives the request up when this signal aborts. @default {none} */
  signal?: AbortSignal;
  /** How long one try waits for its answer, ms. @default {the client's timeout} */
  timeout?: number;
  /** How many tries may follow an unanswered first one. @default {the client's retries} */
  retries?: number;
  /**
   * How long the handler may run, ms; the server may allow less. A handler that takes longer is stopped,
   * and the request is rejected with a `ReplyError` of code 504.
   *
   * @default {0: as long as the server allows}
   */
  requestTimeout?: number;
  /**
   * A name for what is asked, maximum 128 bytes of UTF-8. While a request with the same key is queued or
   * running, this one waits for the same answer, which the server may also keep for a while: so a retry
   * is not run twice. Choose a key that nobody else can guess, such as `crypto.randomUUID()`.
   *
   * @default {none: each request is run by itself}
   */
  key?: string;
  /**
   * The service that is asked, by its name: 1 to 64 characters of A–Z, a–z, 0–9, `.`, `_` and `-`. The
   * server must know services: one of version 0.4 or older never gets the request.
   *
   * @default {none: the service without a name, or the one that the endpoint belongs to}
   */
  service?: string;
  /**
   * The trace that the request belongs to, as W3C's `traceparent`: the handler finds it in `ctx.trace`. With
   * OpenTelemetry on, it comes before the active span as the parent of the request's own span. The server must know
   * traces: one of version 0.4 or older never gets the request.
   *
   * @default {none: that of the active span, where OpenTelemetry is on}
   */
  trace?: string;
  /**
   * Called whenever the handler says how far it is. If it throws, the request is rejected with that. The
   * server must know progress: one of version 0.4 or older never gets the request.
   *
   * @default {none}
   */
  onProgress?: (progress: Progress) => void;
}

/** Options of one request whose answer comes in parts. */
export interface StreamOptions extends Omit<RequestOptions, "key"> {
  /**
   * How long the client waits for the next part or word of progress, ms; the first one included. The time
   * that the loop itself takes does not count.
   *
   * @default {the client's timeout}
   */
  timeout?: number;
  /**
   * Whether the request may be run again after parts have come, when its worker dies or a try goes
   * unanswered. The handler then learns how many parts were sent (`ctx.partsSent`), or starts over, and
   * parts that have come are dropped. Without it, only a try that has brought no part is repeated.
   *
   * @default {false}
   */
  resumable?: boolean;
}

/** How far a handler is. */
export interface Progress {
  /** How much is done, in units that the handler chooses. */
  done: number;
  /** How much there is in all; undefined: that is not known. */
  total: number | undefined;
  /** What the handler says about it; "": nothing. */
  note: string;
}
