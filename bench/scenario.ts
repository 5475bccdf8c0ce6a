/**
 * What scenarios share: how much they measure, what they report meanwhile, what they return.
 *
 * @module
 */

import type { Peer, Shape, Span } from "./peer.ts";
import type { Ledger, Section } from "./report.ts";

/** How much is measured. */
export interface Effort {
  /** Length of a slice, ms. */
  slice: number;
  /** Pairs, or other repetitions. */
  pairs: number;
  /** "check" only checks that replies are right: a few requests each, and no time is shown or judged. */
  depth: "full" | "quick" | "check";
}

/** What a scenario is given. */
export interface Bench {
  effort: Effort;
  /** What can be measured here, the server first. */
  peers: readonly Peer[];
  /** Keeps what was lost or wrong. */
  ledger: Ledger;
  /** Reports what is going on, in a few words. */
  say(what: string): void;
}

/** Something to measure. */
export interface Scenario {
  /** What `--only` calls it. */
  name: string;
  run(bench: Bench): Promise<Section>;
}

/** Bytes that a check sends for one shape, about. */
const CHECK_BYTES = 16 * 1024 * 1024;
const CHECK_REQUESTS = 500;
/** What is not answered so long after the last request is lost, ms. */
const GRACE = 20_000;
/** Longer than any number of requests takes, ms. */
const LIMIT = 120_000;

/** How long one slice of a shape is; `slices` times as long as usual. */
export function spanOf({ depth, slice }: Effort, { size }: Pick<Shape, "size">, slices = 1): Span {
  if (depth === "check") {
    return numberOf(Math.min(CHECK_REQUESTS, Math.ceil(CHECK_BYTES / size)));
  }
  const warmUp = Math.min(300, slice / 3);
  return { warmUp, duration: warmUp + slice * slices };
}

/** A number of requests, however long they take. */
export function numberOf(requests: number): Span {
  return { requests, duration: LIMIT, grace: GRACE };
}

/** REQ sockets with one request each. */
export function req(width: number, size = 16): Shape {
  return { name: `REQ ${width}${sizeText(size)}`, socket: "req", width, size };
}

/** One DEALER with so many requests under way. */
export function dealer(width: number, size = 16): Shape {
  return {
    name: `window ${width.toLocaleString("en-US")}${sizeText(size)}`,
    socket: "dealer",
    width,
    size,
  };
}

function sizeText(size: number): string {
  const [KiB, MiB] = [1024, 1024 * 1024];
  return size < KiB ? "" : size < MiB ? `, ${size / KiB} KiB` : `, ${size / MiB} MiB`;
}
