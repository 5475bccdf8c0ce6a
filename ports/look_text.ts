/**
 * How the loop's own thread says how things are: as a text, which goes by messages as well as over the desk.
 *
 * @module
 */

import type { Look } from "./messages.ts";

/** How things were at a moment. */
export interface View {
  /** When, ms. */
  at: number;
  /** The endpoint really bound for workers. */
  backend: string;
  look: Look;
}

/** Writes a view; its times become those of a clock that is `aheadMs` ahead. */
export function writeView({ at, backend, look }: View, aheadMs: number): string {
  const shift = (time: number) => time + aheadMs;
  const shiftKnown = (time: number | undefined) => time === undefined ? undefined : shift(time);
  const { lastJobAt, readAt, services, workers } = look;
  const shiftJob = (lastJobAt: number) => lastJobAt === 0 ? 0 : shift(lastJobAt);
  return JSON.stringify({
    at: shift(at),
    backend,
    look: {
      ...look,
      lastJobAt: shiftJob(lastJobAt),
      readAt: Number.isFinite(readAt) ? shift(readAt) : undefined,
      services: [...services].map(([name, { lastJobAt, oldestAt, ...rest }]) => [
        name,
        {
          ...rest,
          lastJobAt: shiftJob(lastJobAt),
          oldestAt: shiftKnown(oldestAt),
        },
      ]),
      workers: [...workers].map(([worker, { spareSince, firstJobAt, ...rest }]) => [
        worker,
        { ...rest, spareSince: shiftKnown(spareSince), firstJobAt: shiftKnown(firstJobAt) },
      ]),
    },
  });
}

/** Reads a view. What is undefined is left out of the text. */
export function readView(text: string): View {
  const { at, backend, look } = JSON.parse(text);
  return {
    at,
    backend,
    look: {
      ...look,
      readAt: look.readAt ?? -Infinity,
      services: new Map(look.services),
      workers: new Map(look.workers),
    },
  };
}
