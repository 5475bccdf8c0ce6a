/**
 * What the retry logic of a client speaks of: requests, the links that they wait on, and the steps that
 * it decides. Types only.
 *
 * @module
 */

import type { RequestHeader, StreamCredit } from "../wire/request_header.ts";

/**
 * A socket's life, as the retry logic sees it.
 *
 * ```text
 * connecting ⇄ up, when the handshake succeeds and when the connection ends
 * ```
 */
export interface Link<T> {
  /** The requests that wait on it. */
  readonly requests: Set<Pending<T>>;
  /** Which endpoint it leads to: an index. */
  readonly endpoint: number;
  /** Whether there is a connection. */
  state: "connecting" | "up";
  /** Since when it is in that state, ms. */
  since: number;
  /**
   * A request sent after this time was started by no server, ms; Infinity: any may have been.
   * Without a connection nothing is delivered, and a server that shuts down starts no more.
   */
  unstartedFrom: number;
  /** When it was opened, or (under an identity) last heard from, ms. */
  freshAt: number;
}

/** What only a server can be asked that knows version 2 of the header. */
export type Fields = Partial<Pick<RequestHeader, "service" | "stream" | "resumable" | "trace">>;

/** What the caller has said about a request. */
export interface Terms {
  /** How long a try waits, ms. */
  timeout: number;
  /** How many tries follow the first. */
  retries: number;
  /** How long the handler may run, ms; 0: as long as the server allows. */
  requestTimeout: number;
  /** Tries of the same key join each other at the server; "": each is on its own. */
  key: string;
  /** What an older server would not understand; undefined: nothing. */
  fields: Fields | undefined;
  /** Whether the server may run it twice: it is sent again once its connection is lost. @default {false} */
  isRepeatable?: boolean;
}

/**
 * A request under way.
 *
 * ```text
 * add → trying ─answer→ (end)
 *       trying ─timeout→ trying, under a new id and on another link … → (given up)
 *       trying ─refused→ resting → trying, which is still the same try
 * ```
 */
export interface Pending<T> extends Terms {
  /** What the caller keeps of it. */
  readonly item: T;
  /** Its id on the wire: each sending has its own, so a late reply to an earlier one fits nothing. */
  id: number;
  /** Tries that were started. */
  tries: number;
  /** When this try was started, ms. */
  startedAt: number;
  /** How often it was sent. */
  sendings: number;
  /** When it was sent last, ms. */
  sentAt: number;
  /** When the request is sent again after a server has refused it, ms; Infinity: it waits for an answer. */
  resendAt: number;
  /** How often servers have refused this try. */
  refusals: number;
  /** Whether a part of its answer has come: it is repeated only if it is resumable. */
  begun: boolean;
  /** The socket that this try waits on. */
  link: Link<T>;
  /** Links of earlier tries, kept open so that the server does not take these for given up, if any. */
  former: Set<Link<T>> | undefined;
}

/** What is to be done; a list of steps is done in order. */
export type Step<T> =
  | { do: "open"; link: Link<T> }
  | { do: "close"; link: Link<T> }
  | { do: "cancel"; link: Link<T>; id: number }
  | { do: "grant"; link: Link<T>; id: number; credit: StreamCredit }
  | {
    do: "send";
    link: Link<T>;
    id: number;
    timeout: number;
    requestTimeout: number;
    key: string;
    fields: Fields | undefined;
    item: T;
  }
  | Repetition<T>
  | {
    do: "giveUp";
    item: T;
    tries: number;
    timeout: number;
    /** The link of the last try, which may be closed by now. */
    link: Link<T>;
    /** Whether a server's refusal was the last that was heard. */
    refused: boolean;
    /** Whether only a server that knows fields could be asked. */
    needsFields: boolean;
  };

/** A request is sent once more, now or in a moment. */
export interface Repetition<T> {
  /** The kind of step. */
  do: "retry";
  /** The request. */
  request: Pending<T>;
  /** Which sending has failed, from 1. */
  attempt: number;
  /** The link of that sending. */
  link: Link<T>;
  /** Why that sending has failed. */
  reason: "unanswered" | "unconnected" | "refused";
}
