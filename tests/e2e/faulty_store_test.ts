/** Server and client over a store that fails, delays and repeats: nothing acknowledged is lost, each job has one result. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { plantFaults } from "../rig/faulty_thread.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { until } from "../rig/wait.ts";

const JOBS = 24;

/** Answers with its body and its try; the odd ones fail once, after they have kept something. */
const HANDLER = moduleOf(`
  const decoder = new TextDecoder();
  export default async (body, { job, progress }) => {
    const text = decoder.decode(body);
    progress(1, 2, text);
    if (Number(text) % 2 === 1) {
      if (job.kept === undefined) {
        await job.checkpoint("kept " + text).catch(() => {});
        throw new Error("again");
      }
      return text + " " + decoder.decode(job.kept);
    }
    return text + " done";
  };
`);

/** How often something was refused with 503. */
let refusals = 0;

/** Asks again while it is refused with 503, as whoever wants an answer does. */
async function insist<T>(ask: () => Promise<T>): Promise<T> {
  return await until("it is answered", async () => {
    try {
      return { answer: await ask() };
    } catch (error) {
      // The client's error, or the operators'.
      if (!(error instanceof Error && "code" in error) || error.code !== 503) throw error;
      refusals++;
      return undefined;
    }
  }).then(({ answer }) => answer);
}

Deno.test("jobs are stored once and end once when the store fails, delays and repeats", async () => {
  using folder = new Folder();
  using _ = plantFaults(42);
  await using server = serveQuietly({
    handler: HANDLER,
    workers: 2,
    store: `sqlite:${folder.path}/jobs.db`,
  });
  await using client = new Client({ endpoint: endpointOf(server) });
  const texts = Array.from({ length: JOBS }, (_, i) => String(i));
  const options = { retries: 8, backoff: { min: 1, max: 20 } };
  const ids = await Promise.all(
    texts.map(async (key) => (await insist(() => client.submit(key, { ...options, key }))).id),
  );
  assert.equal(new Set(ids).size, JOBS);
  const results = await Promise.all(
    ids.map((id) => insist(() => client.job(id).result({ wait: 20_000 }))),
  );
  for (const [i, reply] of results.entries()) {
    const text = reply.text();
    assert.ok(text === `${i} done` || text === `${i} kept ${i}`, text);
  }
  const { total, jobs } = await insist(() => server.stored.list({ limit: 1000 }));
  assert.equal(total, JOBS, "none was stored twice");
  for (const { state } of jobs) assert.equal(state, "done");
  assert.ok(refusals > 0, "the store has failed");
  // Each is asked for again, and has the same result.
  const again = await Promise.all(ids.map((id) => insist(() => client.job(id).result())));
  assert.deepEqual(again.map((reply) => reply.text()), results.map((reply) => reply.text()));
});
