/**
 * What a Broker is made of, up to where a job goes to a worker, and the limits of its time there: each part by
 * itself. Together they are tested in broker_test.ts.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { Admission, type AdmissionLimits } from "../../broker/admission.ts";
import { type Client, type Job, newJob, newPeer, newWorker } from "../../broker/job.ts";
import { SharedRequests } from "../../broker/shared_requests.ts";
import { TimeLimits } from "../../broker/time_limits.ts";
import { Waiting } from "../../broker/waiting.ts";

interface Asked {
  client?: Client<string>;
  key?: string;
  deadline?: number;
  requestTimeout?: number;
}

function clientOf(number: number): Client<string> {
  return newPeer<string>(number, new Uint8Array(18)).home;
}

function requestOf(asked: Asked) {
  const { client = clientOf(1), key = "", deadline = Infinity, requestTimeout = Infinity } = asked;
  return { client, envelope: [], requestId: 7, body: "", bytes: 10, deadline, requestTimeout, key };
}

let jobs = 0;
function jobOf(asked: Asked = {}): Job<string> {
  return newJob(++jobs, requestOf(asked));
}

// Waiting

Deno.test("Waiting gives jobs out in turn, those that came back first, and suspects apart", () => {
  const waiting = new Waiting<string>();
  const [one, two, suspect] = [jobOf(), jobOf(), jobOf()];
  for (const job of [one, two, suspect]) waiting.add(job);
  assert.equal(waiting.shift(), one);
  waiting.remove(suspect);
  suspect.deaths++;
  for (const job of [one, suspect]) waiting.putBack(job);
  assert.deepEqual([waiting.size, waiting.bytes, waiting.queued], [3, 30, 2]);
  assert.equal(waiting.nextSuspect(), suspect);
  assert.deepEqual([waiting.shift(), waiting.shift(), waiting.shift()], [one, two, undefined]);
  waiting.remove(suspect);
  assert.deepEqual([waiting.size, waiting.nextSuspect()], [0, undefined]);
});

Deno.test("Waiting gives out what has expired wherever it waits, and checks every 100 ms", () => {
  const waiting = new Waiting<string>();
  assert.equal(waiting.wait(0), Infinity);
  const [late, held, later] = [{ deadline: 50 }, { deadline: 60 }, { deadline: 500 }].map(jobOf);
  assert(late && held && later);
  waiting.add(late);
  waiting.hold(held);
  waiting.add(later);
  assert.deepEqual(waiting.takeExpired(10), []);
  assert.deepEqual([waiting.wait(60), waiting.takeExpired(109)], [50, []]);
  assert.deepEqual(waiting.takeExpired(110), [held, late]);
  waiting.postpone(later, Infinity);
  assert.equal(waiting.wait(110), Infinity);
});

Deno.test("Waiting moves a job to the line of another client when it is handed over", () => {
  const waiting = new Waiting<string>();
  const [one, other] = [clientOf(1), clientOf(2)];
  const job = jobOf({ client: one });
  waiting.add(job);
  waiting.handOver(job, requestOf({ client: other }));
  assert.deepEqual([one.line.size, other.line.size], [0, 1]);
  assert.deepEqual([[...waiting.of(one)], [...waiting.inLineOf(other)]], [[], [job]]);
});

// Requests of one key

Deno.test("SharedRequests hands a job on when those who asked for it leave, and drops it at its end", () => {
  const waiting = new Waiting<string>();
  const shared = new SharedRequests<string>({ queueLimit: 2 }, waiting);
  const [first, second, third] = [clientOf(1), clientOf(2), clientOf(3)];
  const job = jobOf({ client: first, key: "k" });
  first.live = 1;
  waiting.add(job);
  shared.offer(job);
  assert.equal(shared.find("k"), job);
  assert.equal(shared.find(""), undefined);
  for (const client of [second, third]) shared.join(job, requestOf({ client, key: "k" }));
  assert.equal(shared.hasRoom(job), false);
  assert.equal(shared.leaveAll(first), 1);
  assert.deepEqual([job.asker.client, job.request.client], [second, first]);
  assert.equal(shared.hasRoom(job), true);
  assert.deepEqual([first, second, third].map(({ live }) => live), [0, 1, 1]);
  const [other] = job.others;
  assert(other);
  shared.leave(job, other);
  // The last of them stays: the job itself ends then.
  assert.equal(shared.leaveAll(second), 0);
  assert.equal(job.asker.client, second);
  shared.end(job);
  assert.equal(shared.find("k"), undefined);
});

// Admission

const BOUNDS: AdmissionLimits = {
  queueLimit: 2,
  queueBytes: 100,
  overflow: "reject",
  maxQueuePerClient: 0,
};

Deno.test("Admission is full by jobs, or by bytes that wait or that workers have", () => {
  for (
    const [size, bytes, held, isFull] of [
      [1, 50, 49, false],
      [1, 50, 50, true],
      [2, 0, 0, true],
    ] as const
  ) {
    const admission = new Admission<string>(BOUNDS, { size, bytes, stored: 0, storedBytes: 0 }, {
      bytes: held,
    }, {
      areThere: false,
    });
    assert.equal(admission.isFull, isFull);
    assert.equal(admission.refusal(clientOf(1)), isFull ? "The queue is full" : undefined);
    admission.configure({ ...BOUNDS, overflow: "block" });
    assert.equal(admission.isBlocked, isFull);
    assert.equal(admission.refusal(clientOf(1)), undefined);
    admission.drain("serve");
    assert.equal(admission.isBlocked, false, "what comes is refused, so it is read");
  }
});

Deno.test("Admission bounds what one client has waiting", () => {
  const limits = { ...BOUNDS, maxQueuePerClient: 1 };
  const admission = new Admission<string>(
    limits,
    { size: 1, bytes: 0, stored: 0, storedBytes: 0 },
    { bytes: 0 },
    {
      areThere: false,
    },
  );
  const client = clientOf(1);
  assert.equal(admission.refusal(client), undefined);
  new Waiting<string>().add(jobOf({ client }));
  assert.match(admission.refusal(client) ?? "", /has 1 requests waiting/);
});

// Time limits

const TIMES = { concurrency: 1, requestTimeout: 100, stopTimeout: 5000, abortGrace: 20 };

/** A worker that was given jobs at 0 ms, the first of which it runs. */
function busy(times: TimeLimits<string>, ...jobs: Job<string>[]) {
  const worker = newWorker<string>(1, 0);
  for (const [index, job] of jobs.entries()) {
    worker.jobs.set(job.id, job);
    Object.assign(job, { state: "assigned", running: index === 0, startedAt: 0 });
    times.assigned(job, 0);
  }
  return worker;
}

Deno.test("TimeLimits finds the job that is past its limit and grace, not the one that waits behind it", () => {
  const times = new TimeLimits<string>(TIMES);
  assert.equal(times.wait(0), Infinity);
  const [running, waiting] = [jobOf({ requestTimeout: 100 }), jobOf({ requestTimeout: 10 })];
  const worker = busy(times, running, waiting);
  assert.equal(times.wait(10), 40);
  assert.equal(times.overrun(worker, 0, 119), undefined);
  assert.equal(times.overrun(worker, 0, 120), running);
  for (const job of [running, waiting]) times.unassigned(job);
  assert.equal(times.wait(120), Infinity);
});

Deno.test("TimeLimits gives up a job that was taken back, running or not, once its grace is over", () => {
  const times = new TimeLimits<string>(TIMES);
  const [running, waiting] = [jobOf(), jobOf()];
  const worker = busy(times, running, waiting);
  assert.equal(times.wait(0), Infinity, "neither has a limit");
  times.aborted(waiting, 10);
  assert.equal(times.overrun(worker, 0, 29), undefined);
  assert.equal(times.overrun(worker, 0, 30), waiting);
  times.aborted(running, 30);
  assert.equal(times.overrun(worker, 0, 50), running);
});

Deno.test("TimeLimits forgives what the whole machine slept, and looks at once after a change", () => {
  const times = new TimeLimits<string>(TIMES);
  busy(times, jobOf({ requestTimeout: 100 }));
  assert.equal(times.startCheck(60), 0, "10 ms late is no sleep");
  assert.equal(times.wait(60), 50);
  assert.equal(times.startCheck(60_000), 60_000 - 110);
  times.configure(TIMES);
  assert.equal(times.wait(60_001), 0);
  assert.equal(times.startCheck(90_000), 0, "nothing was planned, so nothing is late");
});

Deno.test("TimeLimits gives an isolated worker its whole time once it has shown that it lives", () => {
  const times = new TimeLimits<string>(TIMES);
  const worker = busy(times, jobOf());
  times.isolate(worker, 5);
  assert.deepEqual([24, 25].map((now) => times.isOver(worker, now)), [false, true]);
  times.proven(worker);
  assert.deepEqual([5004, 5005].map((now) => times.isOver(worker, now)), [false, true]);
  worker.jobs.clear();
  assert.equal(times.isOver(worker, 6), true, "nobody waits for anything there");
  times.forget(worker);
  assert.equal(times.isOver(worker, 6), false);
  assert.equal(times.wait(1), Infinity);
});

Deno.test("TimeLimits takes the shorter of what the server and the client want", () => {
  const times = new TimeLimits<string>(TIMES);
  assert.deepEqual([0, 50, 500].map((asked) => times.limitOf(asked)), [100, 50, 100]);
  times.configure({ ...TIMES, requestTimeout: 0 });
  assert.deepEqual([0, 50].map((asked) => times.limitOf(asked)), [Infinity, 50]);
});
