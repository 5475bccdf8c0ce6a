/** The order of a worker's jobs that were not started. */

import { strict as assert } from "node:assert";
import { Job } from "../../worker/job_context.ts";
import { PendingJobs } from "../../worker/pending_jobs.ts";

const client = { identity: "", address: "", user: "" };

function newJob(job: number): Job {
  return new Job({
    job,
    attempt: 1,
    deadline: 0,
    requestTimeout: 0,
    frames: 1,
    stream: undefined,
    partsSent: 0,
    trace: undefined,
    queuedAt: 0,
    client,
  }, []);
}

function filled(...ids: number[]): PendingJobs {
  const pending = new PendingJobs();
  for (const id of ids) pending.add(newJob(id));
  return pending;
}

/** Takes all, after a look at each. */
function rest(pending: PendingJobs): number[] {
  const ids: number[] = [];
  for (let next = pending.next; next !== undefined; next = pending.next) {
    assert.equal(pending.take(), next);
    ids.push(next.id);
  }
  assert.equal(pending.take(), undefined);
  return ids;
}

Deno.test("PendingJobs gives jobs in their order when some come between", () => {
  const pending = filled(1, 2, 3);
  assert.equal(pending.take()?.id, 1);
  pending.add(newJob(4));
  assert.deepEqual(rest(pending), [2, 3, 4]);
  pending.add(newJob(5));
  assert.deepEqual(rest(pending), [5]);
});

for (const id of [2, 3, 4]) {
  Deno.test(`PendingJobs keeps the order of the others when job ${id} of 1 to 4 is removed after 1 was taken`, () => {
    const pending = filled(1, 2, 3, 4);
    pending.take();
    assert.equal(pending.remove(1), false, "it was taken");
    assert.equal(pending.remove(id), true);
    assert.equal(pending.remove(id), false, "it was removed");
    assert.deepEqual(rest(pending), [2, 3, 4].filter((each) => each !== id));
  });
}

Deno.test("PendingJobs is empty when its only job is removed", () => {
  const pending = filled(1);
  assert.equal(pending.remove(1), true);
  assert.deepEqual(rest(pending), []);
});
