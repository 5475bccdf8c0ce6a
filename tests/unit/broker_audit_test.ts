/** The Broker beside naive books of what it should do, when all happens in random order. */

import { strict as assert } from "node:assert";
import { Broker } from "../../broker.ts";
import { type Client, type Job, newPeer, type Worker } from "../../broker/job.ts";
import type { BrokerLimits } from "../../broker/limits.ts";
import { Code } from "../../wire/request.ts";
import type { Body } from "../rig/broker_desk.ts";
import { randomNumbers } from "../rig/random.ts";

const SEEDS = 1000;
const STEPS = 300;
const GONE = 1000;

/** What became of a job, by the test's own books. */
interface Entry {
  job: Job<Body>;
  body: Body;
  owner: Client<Body>;
  /** The owner's place among the clients; from `GONE` on: it has left. */
  client: number;
  /** Undefined: it waits, or has ended. */
  worker: Worker<Body> | undefined;
  abandoned: boolean;
  deaths: number;
  suspect: boolean;
  /** Whether its worker has got it: a suspect is sent only once that has shown that it lives. */
  sent: boolean;
  ends: number;
}

/** A broker and naive books of what it should do. Throws where the two differ. */
class Audit {
  readonly #random: (below: number) => number;
  readonly #limits: BrokerLimits;
  readonly #broker: Broker<Body>;
  readonly #clients: Client<Body>[] = [];
  readonly #entries = new Map<Job<Body>, Entry>();
  readonly #workers: Worker<Body>[] = [];
  readonly #past: Worker<Body>[] = [];
  /** Returned jobs, the next one first. */
  #returned: Entry[] = [];
  /** Those of them that may end their worker, the same. */
  #suspects: Entry[] = [];
  /** What waits of each client, and whose turn it is. */
  #lines: Entry[][] = [];
  #turns: number[] = [];
  #now = 0;
  #closed: "no" | "serve" | "refuse" = "no";
  /** How often each thing happened, to know that the test tests. */
  static readonly seen: Record<string, number> = {};

  constructor(seed: number) {
    this.#random = randomNumbers(seed * 2_654_435 + 1);
    this.#limits = {
      concurrency: 1 + this.#random(3),
      prefetch: [1, 2, 5, 50][this.#random(4)] ?? 1,
      prefetchBudget: this.#random(3),
      dispatch: this.#random(2) === 0 ? "mru" : "lru",
      maxAttempts: 1 + this.#random(3),
      queueLimit: 5 + this.#random(100),
      queueBytes: 100 + this.#random(2000),
      overflow: this.#random(2) === 0 ? "block" : "reject",
      maxQueuePerClient: 0,
      requestTimeout: 0,
      stopTimeout: 5000,
      abortGrace: 0,
    };
    this.#broker = new Broker(this.#limits, { wakeTime: 0 });
    for (let index = 0; index < 4; index++) this.#addClient();
  }

  run(): void {
    for (let step = 0; step < STEPS; step++) {
      this.#step(step);
      this.#takeEnded();
      this.#check();
    }
    this.#finish();
  }

  #step(step: number): void {
    const dice = this.#random(100);
    if (dice < 30) this.#submit();
    else if (dice < 50) this.#dispatch(1 + this.#random(20));
    else if (dice < 72) this.#reply();
    else if (dice < 76) this.#stray();
    else if (dice < 80) this.#giveBack();
    else if (dice < 84) this.#addWorker();
    else if (dice < 86) this.#retire();
    else if (dice < 90) this.#removeWorker();
    else if (dice < 93) this.#disconnect();
    else if (dice < 98) this.#pass();
    else if (step > STEPS * 0.9) this.#close();
  }

  #submit(): void {
    const client = this.#random(this.#clients.length);
    const known = this.#clients[client];
    if (known === undefined) return;
    const refused = this.#closed !== "no" ||
      (this.#limits.overflow === "reject" && this.#broker.admission.isFull);
    const body = { name: `${client}`, releases: 0 };
    const job = this.#broker.submit({
      client: known,
      envelope: [],
      requestId: undefined,
      requestTimeout: Infinity,
      key: "",
      body,
      bytes: this.#random(100),
      deadline: this.#random(3) === 0 ? this.#now + this.#random(300) : Infinity,
    });
    const entry = {
      job,
      body,
      owner: known,
      client,
      worker: undefined,
      abandoned: false,
      deaths: 0,
      suspect: false,
      sent: true,
      ends: 0,
    };
    this.#entries.set(job, entry);
    if (!refused) this.#wait(entry);
    note(refused ? "refused" : "submitted");
  }

  #wait(entry: Entry): void {
    const line = this.#lines[entry.client] ?? [];
    if (line.length === 0) this.#turns.push(entry.client);
    line.push(entry);
    this.#lines[entry.client] = line;
  }

  /** Which job must come next, by the books. */
  #shift(): Entry | undefined {
    const returned = this.#returned.shift();
    if (returned !== undefined) return returned;
    const turn = this.#turns.shift();
    if (turn === undefined) return undefined;
    const line = this.#lines[turn] ?? [];
    const entry = line.shift();
    if (line.length > 0) this.#turns.push(turn);
    return entry;
  }

  #dispatch(count: number): void {
    for (let index = 0; index < count; index++) {
      const open = this.#openWorkers();
      const idle = this.#idleWorkers();
      const next = this.#broker.next(this.#now);
      if (next === undefined) return this.#stand(open, idle);
      this.#assign(next.job, next.worker, open, idle);
    }
  }

  /** Nothing is sent: nobody may have what waits. */
  #stand(open: Worker<Body>[], idle: Worker<Body>[]): void {
    if (this.#closed === "refuse") return;
    const isLive = ({ job }: Entry) => job.deadline > this.#now;
    assert(idle.length === 0 || !this.#suspects.some(isLive), "A suspect waits for no idle worker");
    if (this.#openWorkers().length === 0) return;
    const others = this.#waiting().filter((entry) => !entry.suspect);
    assert(open.length === 0 || !others.some(isLive), "A job waits that a worker may have");
    for (const entry of others) if (!isLive(entry)) this.#unwait(entry);
  }

  #assign(
    job: Job<Body>,
    worker: Worker<Body>,
    open: Worker<Body>[],
    idle: Worker<Body>[],
  ): void {
    const known = this.#entry(job);
    known.worker = worker;
    if (known.suspect) return this.#assignSuspect(known, worker, idle);
    let entry = this.#shift();
    while (entry !== undefined && entry.job.deadline <= this.#now) entry = this.#shift();
    assert(entry, "A job is sent, but none should wait");
    assert.equal(job.id, entry.job.id, "The job that is sent is the one whose turn it is");
    assert(open.includes(worker), "A worker gets a job only if it may");
    const before = worker.jobs.size - 1;
    const least = Math.min(
      ...open.filter((one) => one === worker || !one.alone)
        .map((one) => one === worker ? before : one.jobs.size),
    );
    assert.equal(before, least, "The least loaded worker of those that may gets the job");
    note(before >= this.#limits.concurrency ? "prefetched" : "to an idle one");
  }

  #assignSuspect(entry: Entry, worker: Worker<Body>, idle: Worker<Body>[]): void {
    while (this.#suspects[0] !== entry) {
      const first = this.#suspects.shift();
      assert(first && first.job.deadline <= this.#now, "Suspects go in order");
    }
    this.#suspects.shift();
    assert(idle.includes(worker), "A suspect has its worker for itself");
    entry.sent = this.#random(3) > 0;
    if (entry.sent) assert.equal(this.#broker.workforce.proven(worker, this.#now), entry.job);
    note(entry.sent ? "suspect sent" : "suspect not sent yet");
  }

  #idleWorkers(): Worker<Body>[] {
    return this.#workers.filter(({ state, jobs }) => state === "ready" && jobs.size === 0);
  }

  /** Workers that may have one more job now; one of them at most is kept for a suspect. */
  #openWorkers(): Worker<Body>[] {
    const { concurrency, prefetchBudget, maxAttempts } = this.#limits;
    const prefetch = maxAttempts === 1 ? concurrency : this.#limits.prefetch;
    const { mean = Infinity, tail } = this.#broker.times;
    const estimate = Math.max(mean, tail / 10);
    return this.#workers.filter(({ state, jobs, progressAt, alone }) => {
      if (state !== "ready" || (alone && this.#suspects.length > 0)) return false;
      if ([...jobs.values()].some((job) => this.#entry(job).suspect)) return false;
      if (jobs.size < concurrency) return true;
      const left = progressAt + mean - this.#now;
      const ending = left < 3 * prefetchBudget && left > -5 * prefetchBudget;
      const steady = mean > 3 * prefetchBudget && tail < 2.5 * mean &&
        tail - mean < 10 * prefetchBudget;
      if (concurrency === 1 && jobs.size === 1 && prefetch > 1 && steady && ending) return true;
      const ahead = estimate * (jobs.size + 1 - concurrency) / concurrency;
      const stuck = this.#now - progressAt > 5 * prefetchBudget;
      return jobs.size < prefetch && ahead < prefetchBudget && !stuck;
    });
  }

  #reply(): void {
    const worker = this.#pick(this.#workers.filter(({ jobs }) => jobs.size > 0));
    if (worker === undefined) return;
    const running = [...worker.jobs.values()].slice(0, this.#limits.concurrency);
    const job = this.#pick(running);
    if (job === undefined) return;
    const micros = this.#random(3) === 0 ? this.#random(2000) : this.#random(100);
    const answered = this.#broker.takeReply(worker, job.id, Code.ok, micros, this.#now);
    const entry = this.#entry(job);
    assert.equal(answered, entry.abandoned ? undefined : job);
    assert.equal(entry.worker, worker);
    assert.equal(job.state, "ended");
    entry.worker = undefined;
    if (answered !== undefined) this.#end(entry);
    note(entry.abandoned ? "answered abandoned" : "answered");
  }

  /** A worker of now or then answers, or gives back, what it does not have. */
  #stray(): void {
    const worker = this.#pick([...this.#workers, ...this.#past]);
    const entry = this.#pick([...this.#entries.values()]);
    if (worker === undefined || entry === undefined || entry.worker === worker) return;
    const before = this.#broker.counters.strayReplies;
    const { id } = entry.job;
    if (this.#random(2) === 0) this.#broker.workforce.giveBack(worker, id, this.#now);
    else assert.equal(this.#broker.takeReply(worker, id, Code.ok, 5, this.#now), undefined);
    assert.equal(this.#broker.counters.strayReplies, before + 1);
    note("stray");
  }

  #giveBack(): void {
    const worker = this.#pick(this.#workers.filter(({ jobs }) => jobs.size > 0));
    const job = worker && this.#pick([...worker.jobs.values()]);
    if (worker === undefined || job === undefined) return;
    this.#broker.workforce.giveBack(worker, job.id, this.#now);
    this.#return(this.#entry(job));
    note("given back");
  }

  /** A job comes back from its worker: it waits in front, unless it ends. */
  #return(entry: Entry): void {
    entry.worker = undefined;
    const lost = entry.deaths >= this.#limits.maxAttempts;
    entry.sent = true;
    if (entry.abandoned || lost || this.#closed === "refuse") return;
    (entry.suspect ? this.#suspects : this.#returned).unshift(entry);
  }

  #addWorker(): void {
    if (this.#workers.length > 5) return;
    const id = this.#workers.length + this.#past.length + 1;
    this.#workers.push(this.#broker.workforce.add(id, this.#now));
  }

  #retire(): void {
    const worker = this.#pick(this.#workers);
    if (worker !== undefined) this.#broker.workforce.retire(worker);
  }

  #removeWorker(worker = this.#pick(this.#workers)): void {
    if (worker === undefined) return;
    const end = this.#random(2) === 0 ? "died" : "left";
    const jobs = [...worker.jobs.values()].map((job) => this.#entry(job));
    if (end === "died" && jobs.every(({ sent }) => sent)) this.#blame(jobs);
    if (end === "died") this.#broker.workforce.processEnded(worker.id, worker, "itself", this.#now);
    this.#broker.workforce.remove(worker, end, this.#now);
    for (const entry of jobs.toReversed()) this.#return(entry);
    this.#workers.splice(this.#workers.indexOf(worker), 1);
    this.#past.push(worker);
    if (jobs.length > 0) note(`removed: ${end}`);
  }

  #blame(jobs: Entry[]): void {
    const known = jobs.length <= this.#limits.concurrency;
    for (const entry of jobs) {
      if (known) entry.deaths += entry.suspect && entry.deaths === 0 ? 2 : 1;
      entry.suspect = true;
    }
  }

  #disconnect(): void {
    const index = this.#random(this.#clients.length);
    const client = this.#clients[index];
    if (client === undefined) return;
    const running = this.#broker.cancellations.disconnect(client, this.#now);
    const mine = [...this.#entries.values()].filter((entry) =>
      entry.client === index && entry.ends === 0
    );
    const cancelled = new Set(running);
    for (const entry of mine) {
      assert.equal(cancelled.delete(entry.job), entry.worker !== undefined);
      if (entry.worker !== undefined) entry.abandoned = true;
      else this.#unwait(entry);
      note(entry.worker !== undefined ? "abandoned" : "dropped");
    }
    assert.equal(cancelled.size, 0, "Only this client's jobs are cancelled");
    // It is known no more; a new one has its place in the test's list.
    this.#clients.splice(index, 1, newPeer<Body>(index, new Uint8Array(18)).home);
    for (const entry of mine) entry.client = GONE;
  }

  #pass(): void {
    this.#now += this.#random(40);
    const wait = this.#broker.tick(this.#now);
    assert(wait > 0, `tick returned ${wait}`);
    const withDeadline = this.#waiting().some((entry) =>
      entry.job.deadline !== Infinity && entry.job.state === "queued"
    );
    if (withDeadline) assert(wait <= 100, `tick returned ${wait}`);
    else if (wait < 100) {
      assert(this.#waiting().length > 0, "a job waits for a worker that is ending");
    }
  }

  #close(): void {
    this.#closed = this.#closed === "no" && this.#random(2) === 0 ? "serve" : "refuse";
    this.#broker.drain(this.#closed);
    if (this.#closed === "refuse") { for (const entry of this.#waiting()) this.#unwait(entry); }
    note(`closed: ${this.#closed}`);
  }

  /** Does what the loop does with jobs that the broker ended. */
  #takeEnded(): void {
    for (const { job, to, code, last } of this.#broker.takeEnded()) {
      assert(last, "Nobody shares a job");
      const answered = to.length > 0;
      const entry = this.#entry(job);
      assert.equal(entry.worker, undefined, "A job that a worker has is not ended by the broker");
      assert.equal(job.state, "ended");
      if (answered) assert(!entry.abandoned, "A client that has left gets no answer");
      else assert(entry.abandoned || entry.client === GONE);
      if (code === Code.expired) assert(job.deadline <= this.#now);
      if (code === Code.workerDied) assert(entry.deaths >= this.#limits.maxAttempts);
      if (code === Code.unavailable) {
        assert(this.#closed !== "no" || this.#limits.overflow === "reject");
      }
      if (this.#isWaiting(entry)) this.#unwait(entry);
      this.#end(entry);
      note(`ended: ${answered ? code : undefined}`);
    }
  }

  #end(entry: Entry): void {
    entry.worker = undefined;
    entry.ends++;
    assert.equal(entry.job.request.body, entry.body);
    assert.equal(entry.job.asker.client, entry.owner);
    entry.body.releases++;
    assert.equal(entry.ends, 1, "A job ends once");
  }

  #check(): void {
    const broker = this.#broker;
    const waiting = this.#waiting();
    assert.equal(broker.queued, waiting.length);
    assert.equal(broker.queuedBytes, waiting.reduce((sum, { job }) => sum + job.bytes, 0));
    const live = [...this.#entries.values()].filter(({ ends }) => ends === 0);
    const assigned = live.filter(({ worker }) => worker !== undefined);
    assert.equal(broker.assigned, assigned.length);
    assert.equal(live.length, waiting.length + assigned.length);
    assert.equal(broker.idle, live.length === 0);
    assert.equal(broker.counters.requests, this.#entries.size);
    const { concurrency, prefetch } = this.#limits;
    for (const worker of this.#workers) {
      assert(worker.jobs.size <= Math.max(concurrency, prefetch), "A worker has too many jobs");
    }
    for (const entry of live) {
      assert.equal(entry.job.asker.client, entry.owner);
      assert.equal(entry.worker?.jobs.get(entry.job.id), entry.worker && entry.job);
      assert.equal(entry.job.deaths, entry.deaths);
    }
    this.#clients.forEach((client, index) => {
      assert.equal(client.live, live.filter((entry) => entry.client === index).length);
    });
  }

  /** All workers die, until nothing is left: with no worker, what waits is refused. */
  #finish(): void {
    while (this.#workers.length > 0) this.#removeWorker(this.#workers[0]);
    this.#closed = "refuse";
    this.#broker.drain("refuse");
    this.#takeEnded();
    assert.equal(this.#broker.idle, true);
    assert.equal(this.#broker.queuedBytes, 0);
    assert.equal(this.#broker.tick(this.#now), Infinity);
    for (const { ends, body, owner } of this.#entries.values()) {
      assert.equal(ends, 1, "Each job has ended");
      assert.equal(body.releases, 1, "Each body was given up once");
      assert.equal(owner.live, 0);
    }
  }

  #waiting(): Entry[] {
    return [...this.#suspects, ...this.#returned, ...this.#lines.flat()];
  }

  #isWaiting(entry: Entry): boolean {
    return [...this.#suspects, ...this.#returned].includes(entry) ||
      this.#lines.some((line) => line?.includes(entry));
  }

  #unwait(entry: Entry): void {
    this.#suspects = this.#suspects.filter((one) => one !== entry);
    this.#returned = this.#returned.filter((one) => one !== entry);
    this.#lines = this.#lines.map((line) => line.filter((one) => one !== entry));
    this.#turns = this.#turns.filter((turn) => (this.#lines[turn]?.length ?? 0) > 0);
  }

  #entry(job: Job<Body>): Entry {
    const entry = this.#entries.get(job);
    assert(entry, "The job was submitted");
    return entry;
  }

  #addClient(): void {
    this.#lines.push([]);
    this.#clients.push(newPeer<Body>(this.#clients.length, new Uint8Array(18)).home);
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[this.#random(items.length)];
  }
}

function note(what: string): void {
  Audit.seen[what] = (Audit.seen[what] ?? 0) + 1;
}

Deno.test("Broker ends each job once and mixes no clients when all happens in random order", () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    try {
      new Audit(seed).run();
    } catch (error) {
      throw new Error(`Seed ${seed}: ${error}`, { cause: error });
    }
  }
  const all = ["submitted", "refused", "to an idle one", "prefetched", "answered", "stray"];
  all.push("answered abandoned", "given back", "removed: died", "removed: left", "abandoned");
  all.push("dropped", "closed: serve", "closed: refuse", "ended: undefined", "ended: 408");
  all.push("ended: 502", "ended: 503", "suspect sent", "suspect not sent yet");
  for (const what of all) assert((Audit.seen[what] ?? 0) > 50, `Hardly tested: ${what}`);
});
