/**
 * What can be asked of the loop while it serves, and what it finds: requests in memory, who has sent them. Plain data,
 * which JSON can carry: the loop may have a thread of its own. Types only.
 *
 * @module
 */

import type { Measures } from "./measures.ts";

/** What each kind of inquiry asks. */
export interface Inquiries {
  /** Which requests are in memory. */
  jobs: {
    /** Those that workers have, or those that wait for one. @default {both} */
    state?: "running" | "waiting";
    /** Those that came longer ago than this, ms. @default {0} */
    slowerThanMs?: number;
    /** Maximum number of them that are listed; 1,000 at most are. */
    limit: number;
  };
  /** Who has asked something and is connected. */
  clients: {
    /** Maximum number of them that are listed; 1,000 at most are. */
    limit: number;
  };
  /** What was measured since the start. */
  measures: Record<never, never>;
  /** Whether the loop is alive: it answers once it has had a turn. */
  pulse: Record<never, never>;
  /** Has a request ended as if all who wait for it had given up: they are answered 499. */
  cancelJob: {
    /** Its number. */
    job: number;
  };
}

/** What each kind of inquiry finds. */
export interface Findings {
  jobs: {
    /**
     * How many requests there are that were asked for, listed or not. With `slowerThanMs` they are counted up to 2,000,
     * and there may be more.
     */
    total: number;
    /** The oldest first. */
    jobs: JobView[];
  };
  clients: {
    /** How many clients there are, listed or not. */
    total: number;
    /** Those that wait for most answers first. */
    clients: ClientView[];
  };
  measures: Measures;
  pulse: Record<never, never>;
  cancelJob: {
    /** unknown: there is no such request, or it was answered before. */
    outcome: "cancelled" | "unknown";
  };
}

/** A kind of inquiry. */
export type InquiryKind = keyof Inquiries & keyof Findings;

/** A request in memory, without its body and its key. Times are ms. */
export interface JobView {
  /** Its number; never used twice. */
  job: number;
  /** The service that it asks; "": the one without a name. */
  service: string;
  /** running: a worker has it, though others may be ahead of it there. */
  state: "waiting" | "running";
  /** The worker that has it; below 0: one that speaks Majordomo; undefined: none. */
  worker: number | undefined;
  /** The network address of who has asked, "" where there is none. */
  address: string;
  /** The identity that the asker chose, "" if none. */
  identity: string;
  /** Who the asker has proved to be, "" where nobody has to. */
  user: string;
  /** Time since it came. */
  ageMs: number;
  /** Time since its worker started it; undefined: it is not known to have started. */
  runningMs: number | undefined;
  /** Which try at it this is: 1, and one more for each worker that may have died of it. */
  attempt: number;
  /** What its body takes in memory, bytes. */
  bytes: number;
  /** Whether it has a key, so that others may wait for the same answer. */
  key: boolean;
  /** How many wait for its answer; 0: nobody does any more, and its worker was told to stop. */
  askers: number;
  /**
   * Time until it is given up: until its deadline while it waits, until its handler's limit while it runs; below 0: it
   * is being given up. Undefined: it has any time.
   */
  timeLeftMs: number | undefined;
  /** The trace that it belongs to, 32 hex digits; undefined: none. */
  trace: string | undefined;
}

/** A client that has asked something and is connected. */
export interface ClientView {
  /** Its network address, "" where there is none. */
  address: string;
  /** The identity that it chose, "" if none. */
  identity: string;
  /** Who it has proved to be, "" where nobody has to. */
  user: string;
  /** Requests of it that have not been answered. */
  live: number;
  /** The services that it waits for; "": the one without a name. */
  services: string[];
  /** Bytes of answers that it is known not to have taken; undefined: that is not known. */
  unreadBytes: number | undefined;
}
