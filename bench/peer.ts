/**
 * What is measured: something that is started, is asked, and ends.
 *
 * @module
 */

import type { Figures } from "./load.ts";

/** How something is asked. */
export interface Shape {
  /** What a table calls it. */
  name: string;
  /** What asks: REQ sockets with one request each, or one DEALER. */
  socket: "req" | "dealer";
  /** REQ sockets, or requests that the DEALER has under way. */
  width: number;
  /** Bytes of a body. */
  size: number;
}

/** How long something is asked. */
export interface Span {
  /** For so long, ms; or: */
  duration?: number;
  /** So many requests. */
  requests?: number;
  /** What is sent within this from the start does not count, ms. */
  warmUp?: number;
  /** What is not answered so long after the last request is lost, ms. */
  grace?: number;
  /** Maximum of requests a second, of a DEALER. @default {as many as there are replies} */
  rate?: number;
  /** Latencies of requests whose number is divisible by this are kept apart. @default {none are} */
  mark?: number;
}

/** A peer that has been started. */
export interface Running extends AsyncDisposable {
  /** The processes that do the work, without those that ask. */
  readonly pids: readonly number[];
  /** Asks, in a process of its own. */
  load(shape: Shape, span: Span): Promise<Figures>;
}

/** Something to measure. */
export interface Peer {
  /** What tables call it. */
  readonly name: string;
  /** What it is, in a line. */
  readonly description: string;
  /** Why it can't be measured here; undefined: it can. */
  missing(): Promise<string | undefined>;
  /** Whether it can be asked so. @default {it can} */
  takes?(shape: Shape): boolean;
  /** Starts it, with an echo in so many workers. */
  start(workers: number): Promise<Running>;
}

/** How many ask at a time. */
export function clientsOf({ socket, width }: Shape): number {
  return socket === "req" ? width : 1;
}

/** What was lost, wrong or refused, in a line; undefined: nothing. */
export function fault(figures: Figures): string | undefined {
  const { requests, replies, wrong, duplicates, missing, errors } = figures;
  const counts = Object.entries({ wrong, duplicates, missing, ...errors });
  const faults = counts.filter(([, count]) => count > 0).map(([name, count]) => `${count} ${name}`);
  if (faults.length === 0 && replies === requests && requests > 0) return undefined;
  return `${requests} requests, ${replies} right replies, ${faults.join(", ")}`;
}
