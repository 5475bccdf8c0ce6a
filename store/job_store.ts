/**
 * What every store of background jobs is to the thread that runs it: what is said goes in, what it says comes out.
 * Types only.
 *
 * @module
 */

import type { FromStore, NatsOrders, StoreConfig, ToStore } from "./messages.ts";

/** Who speaks with a store. */
export type StoreUser = "plane" | "server";

/** The time, and a way to be called later: tests drive both. */
export interface StoreClock {
  /** ms since 1970, by the clock on the wall, which may be set back and forth. */
  now(): number;
  /** ms since any one moment, by a clock that is never set. */
  steady(): number;
  /** Calls once after `ms`; what it returns takes that back. */
  after(ms: number, call: () => void): () => void;
}

/** What a store is made of. */
export interface StoreParts {
  /** "sqlite:/absolute/path" or "nats://host:port,…". */
  store: string;
  config: StoreConfig;
  nats: NatsOrders | undefined;
  clock: StoreClock;
  /** Hears all that the store says, in order; the array is the hearer's, and so is all that is in it. */
  emit(to: StoreUser, messages: FromStore[]): void;
}

/** Keeps jobs. It answers by `emit`, in a later turn or before `take` returns. */
export interface JobStore {
  /** Takes all that has come from one user: the more at once, the less each costs. */
  take(messages: readonly ToStore[], from: StoreUser): void;
  /** Commits all that it has, answers, and lets go of files and connections. It is never used again. */
  close(): Promise<void>;
}

/**
 * Opens a store, which says by itself that it is open, or why not: "opened" or "failed" to the server. A store that
 * can't be opened now takes everything, refuses it with 507 and the reason, and tries again.
 */
export type OpenJobStore = (parts: StoreParts) => Promise<JobStore> | JobStore;
