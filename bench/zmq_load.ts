/**
 * Asks what speaks ZeroMQ's REQ envelope: by the load generator in C, where it can be compiled and does what is asked,
 * else by the one in TypeScript.
 *
 * @module
 */

import { output } from "./daemon.ts";
import { type Figures, readFigures, runLoad } from "./load.ts";
import { clientsOf, type Shape, type Span } from "./peer.ts";
import { programFile, whyMissing } from "./programs.ts";

/** How long the generators in C wait for the last replies, ms. */
const GRACE = 10_000;
/** Longer than any load, ms. */
const WITHOUT_END = 1e9;

/** Asks, in a process of its own. */
export async function askZmq(endpoint: string, shape: Shape, span: Span): Promise<Figures> {
  const isPlain = span.rate === undefined && span.mark === undefined;
  if (isPlain && await whyMissing("load") === undefined) {
    const args = [endpoint, ...argumentsOf(shape, span)];
    return readFigures(await output(await programFile("load"), args));
  }
  const { socket, size, width } = shape;
  const clients = clientsOf(shape);
  return await runLoad({ endpoint, socket, size, clients, window: width, ...span });
}

/**
 * The same of a service by 7/MDP.
 *
 * @throws {Error} where the generator in C can't be compiled.
 */
export async function askMdp(
  endpoint: string,
  service: string,
  shape: Shape,
  span: Span,
): Promise<Figures> {
  const args = [endpoint, ...argumentsOf(shape, span), service];
  return readFigures(await output(await programFile("load"), args));
}

/** What a generator in C is told behind where to ask. */
export function argumentsOf({ socket, width, size }: Shape, span: Span): string[] {
  const { warmUp = 0, duration = WITHOUT_END, requests = 0, grace = GRACE } = span;
  return [socket, ...[width, size, warmUp, duration, requests, grace].map(String)];
}
