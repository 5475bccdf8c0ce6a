/**
 * Submits a job, follows it to its end, and prints its result. Wants a server with examples/report.ts.
 *
 *     deno run -A mod.ts examples/report.ts
 *     deno run -A examples/jobs.ts 5000000
 *
 * @module
 */

import { Client, ReplyError } from "@zmq/prefork/client";

const [limit = "1000000", endpoint = "tcp://127.0.0.1:6660"] = Deno.args;
await using client = new Client({ endpoint });

// While a job of this key has not ended, its id comes back: so only one is under way at a time.
const { id, isNew } = await client.submit(limit, { key: `primes below ${limit}`, retries: 9 });
console.log(`${isNew ? "submitted" : "is under way"}: ${id}`);

const job = client.job(id);
for await (const { done, total, note } of job.progress()) {
  console.log(`${done} of ${total}: ${note}`);
}
try {
  console.log((await job.result()).text());
} catch (error) {
  if (!(error instanceof ReplyError)) throw error;
  console.error(`failed: ${error.code} ${error.message}`);
}
