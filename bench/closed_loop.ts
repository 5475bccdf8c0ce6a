/**
 * Load for what is asked through a library of its own: so many askers, each of which asks again when it
 * has its answer. Also runs under Node: names nothing of Deno.
 *
 * @module
 */

import { Bodies } from "./bodies.ts";
import { Histogram } from "./histogram.ts";
import type { Figures } from "./load.ts";

/** How much to ask; it ends after `duration` or `requests`, whatever comes first. */
export interface Loop {
  /** Who ask at the same time. */
  askers: number;
  /** Bytes of a body. */
  size: number;
  /** How long to ask, ms. @default {without end} */
  duration?: number;
  /** Requests in all. @default {without end} */
  requests?: number;
  /** What is answered within this from the start does not count, ms. @default {0} */
  warmUp?: number;
}

/** Asks for one answer; `asker` counts from 0. */
export type Ask = (
  body: Uint8Array<ArrayBuffer>,
  asker: number,
) => Promise<Uint8Array<ArrayBufferLike>>;

/** Asks until it is over. */
export async function closedLoop(loop: Loop, ask: Ask): Promise<Figures> {
  const { askers, size, duration = Infinity, requests = Infinity, warmUp = 0 } = loop;
  const bodies = new Bodies(size);
  const latencies = new Histogram();
  const errors: Record<string, number> = {};
  const startedAt = performance.now();
  const [warmAt, endAt] = [startedAt + warmUp, startedAt + duration];
  let [sent, replies, wrong, counted, countedAt] = [0, 0, 0, 0, startedAt];

  const judge = (number: number, reply: Uint8Array<ArrayBufferLike>, sentAt: number) => {
    const now = performance.now();
    if (!bodies.isRight(number, plain(reply))) return wrong++;
    replies++;
    if (now >= warmAt && now < endAt) {
      counted++;
      countedAt = now;
    }
    if (sentAt >= warmAt) latencies.add((now - sentAt) * 1000);
  };
  const askOn = async (asker: number) => {
    while (sent < requests && performance.now() < endAt) {
      const number = sent++;
      const sentAt = performance.now();
      try {
        judge(number, await ask(bodies.make(number), asker), sentAt);
      } catch (error) {
        const name = error instanceof Error ? error.message : String(error);
        errors[name] = (errors[name] ?? 0) + 1;
      }
    }
  };
  await Promise.all(Array.from({ length: askers }, (_, asker) => askOn(asker)));

  const end = requests === Infinity ? endAt : Math.min(endAt, countedAt);
  return {
    requests: sent,
    replies,
    wrong,
    duplicates: 0,
    missing: 0,
    errors,
    rate: end > warmAt ? counted * 1000 / (end - warmAt) : 0,
    percentiles: latencies.percentiles,
    slowest: latencies.slowest,
    marked: { replies: 0, percentiles: [NaN, NaN, NaN] },
  };
}

/** The same bytes as a plain array: libraries have subclasses of it, over buffers that others share. */
function plain(bytes: Uint8Array<ArrayBufferLike>): Uint8Array<ArrayBuffer> {
  const { buffer, byteOffset, byteLength } = bytes;
  if (isPlain(bytes)) return bytes;
  return buffer instanceof ArrayBuffer
    ? new Uint8Array(buffer, byteOffset, byteLength)
    : new Uint8Array(bytes);
}

function isPlain(bytes: Uint8Array<ArrayBufferLike>): bytes is Uint8Array<ArrayBuffer> {
  return bytes.constructor === Uint8Array && bytes.buffer instanceof ArrayBuffer;
}
