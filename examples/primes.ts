/**
 * Counts the primes up to a number: work that keeps a CPU busy. Each worker is a process, so several
 * such requests run at the same time.
 *
 *     deno run -A mod.ts --workers 4 examples/primes.ts
 *     seq 1000000 1000000 8000000 | deno task client --lines -j 8
 *
 * @module
 */

import { RequestError, text } from "@zmq/prefork/worker";

const LARGEST = 100_000_000;

export default text((value) => {
  const limit = Number(value);
  if (/^\d+$/.test(value) && limit <= LARGEST) return String(countPrimes(limit));
  throw new RequestError(400, `The body must be an integer from 0 to ${LARGEST}: it is "${value}"`);
});

/** The sieve of Eratosthenes. */
function countPrimes(limit: number): number {
  const composite = new Uint8Array(limit + 1);
  let count = 0;
  for (let number = 2; number <= limit; number++) {
    if (composite[number]) continue;
    count++;
    for (let multiple = number * number; multiple <= limit; multiple += number) {
      composite[multiple] = 1;
    }
  }
  return count;
}
