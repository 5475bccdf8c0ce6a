/**
 * Load of answers in parts, for what is asked through a library of its own: so many readers, each of which asks for
 * the next answer when it has all parts of the last. Also runs under Node: names nothing of Deno.
 *
 * @module
 */

import { Bodies } from "./bodies.ts";
import type { Figures } from "./load.ts";

/** How much to ask. */
export interface PartLoop {
  /** Who read at the same time. */
  readers: number;
  /** Parts of an answer. */
  count: number;
  /** Bytes of a part. */
  size: number;
  /** How long to ask, ms. @default {without end} */
  duration?: number;
  /** Parts in all, about. @default {without end} */
  requests?: number;
  /** What comes within this from the start does not count, ms. @default {0} */
  warmUp?: number;
}

/** Asks for an answer in parts; `request` says how many and how large. */
export type Read = (request: string, reader: number) => AsyncIterable<Uint8Array<ArrayBuffer>>;

/** Reads until it is over. The figures count parts as replies. */
export async function partLoop(loop: PartLoop, read: Read): Promise<Figures> {
  const { readers, count, size, duration = Infinity, requests = Infinity, warmUp = 0 } = loop;
  const bodies = new Bodies(size);
  const startedAt = performance.now();
  const [warmAt, endAt] = [startedAt + warmUp, startedAt + duration];
  let [asked, parts, wrong, counted, countedAt] = [0, 0, 0, 0, startedAt];

  const readOn = async (reader: number) => {
    while (asked < requests && performance.now() < endAt) {
      asked += count;
      let next = 0;
      for await (const part of read(JSON.stringify({ count, size }), reader)) {
        if (bodies.isRight(next++, part)) parts++;
        else wrong++;
        const now = performance.now();
        if (now < warmAt || now >= endAt) continue;
        counted++;
        countedAt = now;
      }
    }
  };
  await Promise.all(Array.from({ length: readers }, (_, reader) => readOn(reader)));

  const end = requests === Infinity ? endAt : Math.min(endAt, countedAt);
  return {
    requests: asked,
    replies: parts,
    wrong,
    duplicates: 0,
    missing: asked - parts - wrong,
    errors: {},
    rate: end > warmAt ? counted * 1000 / (end - warmAt) : 0,
    percentiles: [NaN, NaN, NaN],
    slowest: NaN,
    marked: { replies: 0, percentiles: [NaN, NaN, NaN] },
  };
}
