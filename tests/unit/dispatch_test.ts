/**
 * Which worker gets the next job: the Roster and the Dispatch by themselves. In a Broker's hands both are
 * tested in broker_test.ts.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { Dispatch, type DispatchLimits } from "../../broker/dispatch.ts";
import { type Job, newJob, newPeer, newWorker, type Worker } from "../../broker/job.ts";
import { Roster } from "../../broker/roster.ts";

const LIMITS: DispatchLimits = {
  concurrency: 1,
  prefetch: 20,
  prefetchBudget: 1,
  dispatch: "mru",
  maxAttempts: 2,
};
const NOW = 1000;
const CLIENT = newPeer<string>(1, new Uint8Array(18)).home;
/** Nobody counts what is watched. */
const UNWATCHED = { assigned() {}, unassigned() {} };

/** Workers by letter, and a handler whose times are known. */
class Floor {
  readonly roster = new Roster<string>(UNWATCHED);
  readonly dispatch: Dispatch<string>;
  readonly #workers = new Map<string, Worker<string>>();
  #jobs = 0;

  constructor(limits: Partial<DispatchLimits> = {}, wakeTime = 0.1) {
    this.dispatch = new Dispatch({ ...LIMITS, ...limits }, this.roster, wakeTime);
  }

  /** The handler has taken so many ms for each of 2000 jobs, or `slow` for one in `every`. */
  learn(time: number, every = Infinity, slow = time): this {
    const teacher = newWorker<string>(0, NOW);
    for (let job = 1; job <= 2000; job++) {
      this.dispatch.learn(teacher, (job % every === 1 ? slow : time) * 1000);
    }
    return this;
  }

  /** A worker that has so many jobs, and started or answered one `since` ms ago. */
  worker(letter: string, jobs: number, since = 0): this {
    const worker = newWorker<string>(letter.charCodeAt(0), NOW);
    this.#workers.set(letter, worker);
    this.roster.add(worker);
    for (let job = 0; job < jobs; job++) this.assign(worker);
    worker.progressAt = NOW - since;
    return this;
  }

  assign(worker: Worker<string>, company: "alone" | "any" = "any"): Job<string> {
    const job = newJob(++this.#jobs, {
      client: CLIENT,
      envelope: [],
      requestId: undefined,
      body: "",
      bytes: 10,
      deadline: Infinity,
      requestTimeout: Infinity,
      key: "",
    });
    this.roster.assign(job, worker, company, NOW);
    return job;
  }

  at(letter: string): Worker<string> {
    const worker = this.#workers.get(letter);
    assert(worker, `There is a worker ${letter}`);
    return worker;
  }

  /** Who gets the next job, and why, as "A awake"; "nobody". */
  get choice(): string {
    const worker = this.dispatch.choose(NOW);
    if (worker === undefined) return "nobody";
    return `${String.fromCharCode(worker.id)} ${this.dispatch.reason}`;
  }
}

// The example above `choose`

Deno.test("Dispatch has a quick job wait at a worker that is awake when another would take longer to wake up", () => {
  assert.equal(new Floor().learn(0.01).worker("A", 3).worker("B", 0, 500).choice, "A awake");
  assert.equal(new Floor().learn(0.01).worker("A", 6).worker("B", 0, 500).choice, "A awake");
  assert.equal(new Floor().learn(0.01).worker("A", 7).worker("B", 0, 500).choice, "B free");
  // Without news for 1 ms, it has gone to sleep too.
  assert.equal(new Floor().learn(0.01).worker("A", 3, 1).worker("B", 0, 500).choice, "B free");
});

Deno.test("Dispatch lets a job wait at the least loaded worker when its work ahead fits into the budget", () => {
  assert.equal(new Floor().learn(0.01).worker("A", 8).worker("B", 9).choice, "A soon");
  assert.equal(new Floor().learn(0.01).worker("A", 20).worker("B", 20).choice, "nobody");
  assert.equal(new Floor().learn(0.01).worker("A", 8, 5.1).worker("B", 9).choice, "B soon");
});

Deno.test("Dispatch lets no job wait at a worker when one in 100 takes 50 ms", () => {
  const floor = new Floor().learn(0.01, 100, 50).worker("A", 1).worker("B", 1);
  assert((floor.dispatch.times.mean ?? 1) < 0.1, "the mean alone would let it");
  assert.equal(floor.choice, "nobody");
});

Deno.test("Dispatch gives a worker its next job when the one that it has is about to end", () => {
  assert.equal(new Floor().learn(10).worker("B", 1, 8).worker("A", 1, 3).choice, "B ending");
  const late = new Floor().learn(10).worker("B", 1, 15).worker("A", 1, 3);
  assert.equal(late.choice, "nobody");
  const early = new Floor().learn(10).worker("B", 1, 5).worker("A", 1, 3);
  assert.equal(early.choice, "nobody");
  assert.equal(early.dispatch.endingIn(1, NOW), 2);
  assert.equal(early.dispatch.endingIn(0, NOW), Infinity);
});

// Who is chosen without knowledge, and by other limits

Deno.test("Dispatch takes the newest or the oldest of free workers, as it is told", () => {
  for (const [dispatch, expected] of [["mru", "B free"], ["lru", "A free"]] as const) {
    const floor = new Floor({ dispatch }).worker("A", 0).worker("B", 0);
    assert.equal(floor.choice, expected);
  }
});

Deno.test("Dispatch lets no job wait at a busy worker when times are unknown, or each job has one try", () => {
  assert.equal(new Floor().worker("A", 1).choice, "nobody");
  assert.equal(new Floor({ maxAttempts: 1 }).learn(0.01).worker("A", 1).choice, "nobody");
});

Deno.test("Dispatch takes a worker for spare by its work and its share of the queue", () => {
  const floor = new Floor().learn(1).worker("A", 1).worker("B", 0, 30);
  const { dispatch } = floor;
  const at = (letter: string) => floor.at(letter);
  assert.equal(dispatch.spareSince(at("B"), 0, NOW), NOW);
  assert.equal(dispatch.spareSince(at("A"), 0, NOW), NOW);
  assert.equal(dispatch.spareSince(at("A"), 20, NOW), undefined);
  at("A").progressAt = NOW - 51;
  assert.equal(dispatch.spareSince(at("A"), 0, NOW), undefined);
});

// Roster

Deno.test("Roster counts jobs and bytes, and says which worker has a job", () => {
  const floor = new Floor().worker("A", 2);
  const [job] = floor.at("A").jobs.values();
  assert(job);
  assert.deepEqual([floor.roster.jobs, floor.roster.bytes], [2, 20]);
  assert.deepEqual([job.worker, job.state], [floor.at("A"), "assigned"]);
  floor.roster.unassign(job, floor.at("A"), NOW + 7);
  assert.equal(job.worker, undefined);
  assert.equal(floor.roster.jobsOf(CLIENT).length, 1);
  const left = floor.roster.remove(floor.at("A"));
  assert.deepEqual(left.map(({ worker }) => worker), [undefined]);
  assert.deepEqual([floor.roster.jobs, floor.roster.bytes, floor.roster.workers.size], [0, 0, 0]);
});

Deno.test("Roster keeps one worker from getting more until it has no job, or it is let go", () => {
  const floor = new Floor().worker("A", 1).worker("B", 2);
  const [job] = floor.at("A").jobs.values();
  floor.roster.keepOne();
  floor.roster.keepOne();
  assert.deepEqual([floor.roster.newest(1), floor.roster.newest(2)], [undefined, floor.at("B")]);
  assert(job);
  floor.roster.unassign(job, floor.at("A"), NOW);
  assert.equal(floor.roster.newest(0), floor.at("A"));
  floor.roster.keepOne();
  assert.equal(floor.roster.newest(0), undefined);
  floor.roster.keepNone();
  assert.equal(floor.roster.newest(0), floor.at("A"));
});

Deno.test("Roster offers no worker that retires, or has a job for itself", () => {
  const floor = new Floor().worker("A", 0).worker("B", 0);
  floor.assign(floor.at("A"), "alone");
  floor.roster.retire(floor.at("B"));
  assert.equal(floor.choice, "nobody");
  assert.equal(floor.at("B").state, "retiring");
});
