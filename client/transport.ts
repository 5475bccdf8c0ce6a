/**
 * The seam between what a client decides and what carries it: connections that requests are given to and answers are
 * read from. native_transport.ts and zmq_transport.ts are the two kinds.
 *
 * @module
 */

import type { Connector, Transfer } from "../system/libc.ts";
import type { Pollable } from "../system/poller.ts";
import type { Answer } from "./answer.ts";
import type { StreamCredit } from "../wire/request_header.ts";
import type { AbandonedError } from "./reply.ts";
import type { Fields } from "./steps.ts";

/**
 * What is known of a connection.
 *
 * - `unconnected`: nothing was reached, or the connection has ended.
 * - `reached`: something listens there, and has not answered as a ZeroMQ socket does.
 * - `denied`: the server does not let this client in.
 * - `mismatch`: one side asks for keys and the other one has none.
 * - `failed`: the other side ended the handshake without a word, as a server with another key does.
 * - `connected`: the handshake has succeeded.
 */
export type ConnectionState =
  | "unconnected"
  | "reached"
  | "denied"
  | "mismatch"
  | "failed"
  | "connected";

/** How soon a lost server is connected to again, ms; the time doubles. */
export const RECONNECT_INTERVAL = 100;
/** The longest such time, ms. */
export const RECONNECT_INTERVAL_MAX = 1000;

/** What a request's header says; each sending has a number of its own. */
export interface RequestWords {
  readonly id: number;
  /** How long the client waits, ms. */
  readonly timeout: number;
  /** How long the handler may run, ms; 0: as long as the server allows. */
  readonly requestTimeout: number;
  readonly key: string;
  /** Undefined: any server understands it. */
  readonly fields: Fields | undefined;
}

/** A request that is sent: what its header says, and its body. */
export interface Sending extends RequestWords {
  readonly item: { readonly frames: readonly Uint8Array<ArrayBuffer>[] };
}

/** Whether requests are under way. */
export type Pace = "busy" | "idle";

/** What a wait ends for. */
export interface Watched extends Pollable {
  /** `PollEvent` bits; by default what can be read. */
  readonly events?: number;
}

/** One connection to a server, which is made again by itself when it is lost. */
export interface Connection {
  /** Where it leads. */
  readonly endpoint: string;
  /** What is known of it. */
  readonly state: ConnectionState;
  /** What the server has said when it denied the connection; "": nothing. */
  readonly said: string;
  /** What news and answers come from. */
  readonly watched: readonly Watched[];
  /** Has the next read ask the system itself, whether a wake-up has come or not. */
  recheck(): void;
  /** Whether something is here that was not read yet, so that there is nothing to wait for. */
  isReadable(): boolean;
  /** The answer that was read last. */
  readonly answer: Answer;
  /** Reads one message, if there is one; "noise" is a message that is not an answer. */
  read(): "answer" | "noise" | "nothing";
  /** Whether requests wait here until the server has said that it knows what their headers say. */
  readonly isAsking: boolean;
  /** Reads the news that make a difference to requests. */
  news(): Iterable<"connected" | "disconnected">;
  /** Takes a request, to be sent at the next `tick` or before. Its body must stay as it is. */
  send(request: Sending): void;
  /** Takes a request back. */
  cancel(id: number): void;
  /** Lets the server send more of an answer in parts. */
  grant(id: number, credit: StreamCredit): void;
  /** Sends what was given, and does what is due at `now`; returns ms until something is. */
  tick(now: number, pace: Pace): number;
  /** Closes it; what the system has not taken by now is not sent. */
  close(): void;
}

/** What connections need of whom they belong to. */
export interface Ground {
  /** The C library. */
  readonly libc: { readonly connector: Connector; readonly transfer: Transfer };
  /** Something is to be waited for otherwise than before: it has another descriptor, or other events. */
  changed(watched: Watched): void;
  /** Something is due now that was not: ends the wait that is under way, if one is. */
  wake(): void;
}

/** What makes connections. */
export interface Transport {
  /** How often connections are looked after while the client is idle, ms. */
  readonly idleInterval: number;
  /**
   * Starts to connect, and goes on until it succeeds.
   *
   * @throws {Error} when the system has no file descriptor left, or nobody could connect to the endpoint.
   */
  open(endpoint: string, ground: Ground): Connection;
  /** Lets everything go, once all connections were closed; new ones may be opened. */
  end(): Promise<void>;
}

/** Something that happens to a connection. */
export type ConnectionEvent =
  | "reached"
  | "connected"
  | "disconnected"
  | "denied"
  | "mismatch"
  | "failed";

/** A failed handshake is remembered while the client connects again, until one succeeds. */
export function stateAfter(state: ConnectionState, event: ConnectionEvent): ConnectionState {
  if (event === "disconnected") return state === "connected" ? "unconnected" : state;
  if (event === "reached") return state === "unconnected" ? "reached" : state;
  return event;
}

/** What a change of a connection's state means to requests; undefined: nothing. */
export function newsOf(
  before: ConnectionState,
  after: ConnectionState,
): "connected" | "disconnected" | undefined {
  if (before === after) return undefined;
  if (after === "connected") return "connected";
  return before === "connected" ? "disconnected" : undefined;
}

/** What a connection's state means for a request that waits on it. */
export function reasonOf(state: ConnectionState): AbandonedError["reason"] {
  if (state === "unconnected") return "unconnected";
  return state === "connected" ? "unanswered" : "handshake";
}

/** What is said of a server that was connected, and from which an answer to the question of its version is waited for. */
const NOT_SAID =
  "it is connected, and has not said that it knows services or answers in parts: it may be older";

/**
 * A connection's state as half a sentence, for messages. `hasKeys`: the client has; `said`: what the server has said
 * when it denied the connection.
 */
function describeState(state: ConnectionState, hasKeys: boolean, said = ""): string {
  switch (state) {
    case "unconnected":
      return "there is no connection to it";
    case "reached":
      return "what listens there does not answer as a ZeroMQ server";
    case "denied":
      return `the server denied the connection: ${
        said || "this client's key or address is not one that it lets in"
      }`;
    case "mismatch":
      return hasKeys
        ? "the handshake failed: the server takes no keys, and this client has some"
        : "the handshake failed: the server asks for keys, and this client has none";
    case "failed":
      return hasKeys
        ? "the handshake failed: the server key is probably not the public key of this server"
        : "the handshake failed: what listens there is not a ZeroMQ server";
    case "connected":
      return "it is connected and has sent no answer";
  }
}

/** What is known of the connection that a request waits on, `state` being its last one. `asks`: it may wait for fields. */
export function describeWait(
  state: ConnectionState,
  hasKeys: boolean,
  connection: Pick<Connection, "isAsking" | "said"> | undefined,
  asks = true,
): string {
  if (asks && state === "connected" && connection?.isAsking === true) return NOT_SAID;
  return describeState(state, hasKeys, connection?.said);
}
