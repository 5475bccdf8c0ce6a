/**
 * Answers after as many milliseconds as the request says: an async handler that gives up as soon as
 * nobody waits for its answer. While it sleeps, a worker with a higher `concurrency` runs other jobs.
 *
 *     deno run -A mod.ts --concurrency 100 examples/sleep.ts
 *     deno task client --data 1500
 *
 * @module
 */

import { setTimeout as sleep } from "node:timers/promises";
import { RequestError, text } from "@zmq/prefork/worker";

const LONGEST = 3_600_000;

export default text(async (value, { signal }) => {
  const time = Number(value);
  if (!/^\d+$/.test(value) || time > LONGEST) {
    throw new RequestError(
      400,
      `The body must be an integer from 0 to ${LONGEST}: it is "${value}"`,
    );
  }
  // Rejects when the client leaves, its deadline passes, or the server interrupts the worker.
  await sleep(time, undefined, { signal });
  return `slept ${time} ms`;
});
