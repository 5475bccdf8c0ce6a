/**
 * A long job: counts the prime numbers below a limit, block by block. It says how far it is, and keeps
 * that, so that a try that follows goes on where the one before has stopped.
 *
 *     deno run -A mod.ts examples/report.ts
 *     deno task client submit --data 5000000 --wait 60s
 *
 * @module
 */

import { type Handler, RequestError } from "@zmq/prefork/worker";

/** Numbers that are looked at between two checkpoints. */
const BLOCK = 100_000;
const decoder = new TextDecoder();

/** How far it is. */
interface Count {
  /** Numbers below this were looked at. */
  below: number;
  /** Primes among them. */
  primes: number;
}

const report: Handler = async (body, ctx) => {
  const limit = Number(decoder.decode(body));
  if (!Number.isInteger(limit) || limit < 0) {
    // Another try would end in the same way: an error of 4xx is the last word.
    throw new RequestError(400, "The body must be an integer from 0 on");
  }
  const count = startOf(ctx.job?.kept);
  while (count.below < limit) {
    ctx.signal.throwIfAborted();
    const end = Math.min(count.below + BLOCK, limit);
    for (; count.below < end; count.below++) if (isPrime(count.below)) count.primes++;
    ctx.progress(count.below, limit, `${count.primes} primes`);
    await ctx.job?.checkpoint(JSON.stringify(count));
  }
  return `${count.primes} primes below ${limit}, in try ${ctx.attempt}`;
};

export default report;

/** Where to start: where the last try has stopped. */
function startOf(kept: Uint8Array | undefined): Count {
  return kept === undefined ? { below: 0, primes: 0 } : JSON.parse(decoder.decode(kept));
}

function isPrime(number: number): boolean {
  if (number < 2) return false;
  for (let divisor = 2; divisor * divisor <= number; divisor++) {
    if (number % divisor === 0) return false;
  }
  return true;
}
