/** Answers in parts in the broker: credit, parts that nobody has asked for, and workers that die in the middle. */

import { strict as assert } from "node:assert";
import { Broker } from "../../broker.ts";
import { type Client, type Job, newPeer, type Worker } from "../../broker/job.ts";
import type { BrokerLimits } from "../../broker/limits.ts";
import { Credit, type StreamCredit } from "../../wire/credit.ts";

const LIMITS: BrokerLimits = {
  concurrency: 1,
  prefetch: 1,
  prefetchBudget: 1,
  dispatch: "mru",
  maxAttempts: 3,
  queueLimit: 2,
  queueBytes: 1_000_000,
  overflow: "block",
  maxQueuePerClient: 0,
  requestTimeout: 0,
  stopTimeout: 5000,
  abortGrace: 0,
};

const BROKEN = "502 The worker died in the middle of the answer";
const FORGED = "500 The worker has sent a part that nobody has asked for";
const MUCH = { bytes: 1000, parts: 10 };

/** A broker, its clock, and what it has answered. */
class Desk {
  readonly broker = new Broker<string>(LIMITS, { wakeTime: 0 });
  readonly client: Client<string> = newPeer<string>(1, new Uint8Array(18)).home;
  now = 1000;
  #lastId = 0;

  submit(stream: StreamCredit | "none" = MUCH, resumable = false): Job<string> {
    return this.broker.submit({
      client: this.client,
      envelope: [new Uint8Array(24)],
      requestId: ++this.#lastId,
      body: "",
      bytes: 1,
      deadline: Infinity,
      requestTimeout: Infinity,
      key: "",
      stream: stream === "none" ? undefined : stream,
      resumable,
    });
  }

  worker(id: number): Worker<string> {
    return this.broker.workforce.add(id, this.now);
  }

  /** The jobs that are sent now. */
  dispatch(): number[] {
    const sent: number[] = [];
    for (let next = this.broker.next(this.now); next; next = this.broker.next(this.now)) {
      this.broker.workforce.proven(next.worker, this.now);
      sent.push(next.job.id);
    }
    return sent;
  }

  /** The number of a part that counts; undefined: it does not. */
  part(worker: Worker<string>, { id }: Job<string>, bytes = 1): number | undefined {
    const job = this.broker.parts.take(worker, id, bytes, this.now);
    return job?.stream && job.stream.sent - 1;
  }

  grant(job: Job<string>, credit: StreamCredit): StreamCredit | undefined {
    const { requestId = 0, envelope } = job.request;
    return this.broker.parts.grant(this.client, requestId, envelope, credit)?.credit;
  }

  die(worker: Worker<string>): void {
    this.broker.workforce.remove(worker, "died", this.now);
    this.broker.workforce.processEnded(worker.id, worker, "itself", this.now);
    this.broker.tick(this.now);
  }

  ended(): string[] {
    return this.broker.takeEnded().map(({ code, message }) => `${code} ${message}`);
  }
}

Deno.test("Credit is open as long as bytes and parts are left, whatever the size of the last part", () => {
  const credit = new Credit({ bytes: 10, parts: 2 });
  assert.equal(credit.take(1000), true);
  assert.deepEqual(credit.left, { bytes: -990, parts: 1 });
  assert.equal(credit.take(0), false);
  assert.deepEqual(credit.grant({ bytes: 990, parts: 0 }), { bytes: 990, parts: 0 });
  assert.equal(credit.isOpen, false);
  credit.grant({ bytes: 1, parts: 0 });
  assert.equal(credit.take(0), true);
  credit.grant({ bytes: 1, parts: 0 });
  assert.equal(credit.take(0), false, "no part is left");
});

Deno.test("Credit forgets what is granted beyond its bound, and says how much counts", () => {
  const credit = new Credit({ bytes: 2 ** 32 - 1, parts: 2 ** 16 - 1 });
  assert.deepEqual(credit.left, { bytes: 2 ** 31 - 1, parts: 2 ** 16 - 1 });
  assert.deepEqual(credit.grant({ bytes: 2 ** 32 - 1, parts: 5 }), { bytes: 0, parts: 5 });
  credit.take(7);
  assert.deepEqual(credit.grant({ bytes: 100, parts: 0 }), { bytes: 7, parts: 0 });
});

Deno.test("Broker numbers the parts of an answer, and tells a worker what more its client takes", () => {
  const desk = new Desk();
  const worker = desk.worker(1);
  const job = desk.submit({ bytes: 100, parts: 2 });
  assert.deepEqual(desk.grant(job, { bytes: 0, parts: 1 }), undefined, "no worker has it");
  desk.dispatch();
  assert.deepEqual([desk.part(worker, job), desk.part(worker, job)], [0, 1]);
  assert.deepEqual(desk.grant(job, { bytes: 5, parts: 1 }), { bytes: 5, parts: 1 });
  assert.deepEqual(desk.grant(job, { bytes: 0, parts: 0 }), undefined, "that changes nothing");
  assert.deepEqual([desk.part(worker, job), desk.part(worker, job)], [2, 3]);
  assert.equal(job.stream?.sent, 4);
  assert.equal(desk.broker.takeReply(worker, job.id, 200, 1, desk.now), job);
  assert.deepEqual(desk.grant(job, MUCH), undefined, "it has ended");
  assert.equal(desk.broker.counters.strayReplies, 0);
});

Deno.test("Broker ends a job whose worker sends a part without credit, or one that nobody takes", () => {
  const cases: (StreamCredit | "none")[] = [
    { bytes: 1, parts: 9 },
    { bytes: 9, parts: 1 },
    { bytes: 0, parts: 0 },
    "none",
  ];
  for (const stream of cases) {
    const desk = new Desk();
    const worker = desk.worker(1);
    const job = desk.submit(stream);
    desk.dispatch();
    const isFirstGood = stream !== "none" && stream.parts > 0;
    assert.equal(desk.part(worker, job), isFirstGood ? 0 : undefined);
    if (isFirstGood) assert.equal(desk.part(worker, job), undefined);
    assert.deepEqual(desk.ended(), [FORGED]);
    assert.equal(desk.broker.counters.strayReplies, 1);
    assert.equal(desk.part(worker, job), undefined, "it has ended");
    assert.equal(desk.broker.takeReply(worker, job.id, 200, 1, desk.now), undefined);
    assert.deepEqual([desk.ended(), desk.broker.counters.strayReplies], [[], 3]);
    assert.equal(desk.broker.idle, true);
  }
});

Deno.test("Broker believes no part and no progress of a job that another worker has", () => {
  const desk = new Desk();
  const [one, other] = [desk.worker(1), desk.worker(2)];
  const job = desk.submit();
  desk.dispatch();
  const [holder, forger] = job.worker === one ? [one, other] : [other, one];
  assert.equal(desk.part(forger, job), undefined);
  assert.equal(desk.broker.parts.takeProgress(forger, job.id), undefined);
  assert.equal(desk.broker.counters.strayReplies, 2);
  assert.equal(desk.part(holder, job), 0);
  assert.equal(desk.broker.parts.takeProgress(holder, job.id), job);
});

Deno.test("Broker runs a job again whose worker died before it had sent a part", () => {
  const desk = new Desk();
  const job = desk.submit();
  const worker = desk.worker(1);
  desk.dispatch();
  desk.die(worker);
  desk.worker(2);
  assert.deepEqual([desk.ended(), desk.dispatch()], [[], [job.id]]);
});

Deno.test("Broker ends an answer whose worker is gone in the middle of it, however it went", () => {
  const ways: ((desk: Desk, worker: Worker<string>, job: Job<string>) => void)[] = [
    (desk, worker) => desk.die(worker),
    (desk, worker) => desk.broker.workforce.remove(worker, "left", desk.now),
    (desk, worker, job) => desk.broker.workforce.giveBack(worker, job.id, desk.now),
  ];
  for (const way of ways) {
    const desk = new Desk();
    const worker = desk.worker(1);
    const job = desk.submit();
    desk.dispatch();
    desk.part(worker, job);
    way(desk, worker, job);
    desk.worker(2);
    assert.deepEqual([desk.ended(), desk.dispatch()], [[BROKEN], []]);
    assert.equal(desk.broker.idle, true);
  }
});

Deno.test("Broker has another worker go on where one has died, if the client has asked for that", () => {
  const desk = new Desk();
  const job = desk.submit({ bytes: 100, parts: 3 }, true);
  const first = desk.worker(1);
  desk.dispatch();
  assert.deepEqual([desk.part(first, job, 150), desk.part(first, job)], [0, undefined]);
  // The second part was without credit, so this answer has ended; the next one keeps to it.
  assert.deepEqual(desk.ended(), [FORGED]);
  const again = desk.submit({ bytes: 100, parts: 3 }, true);
  const second = desk.worker(2);
  desk.dispatch();
  const holder = again.worker ?? first;
  assert.equal(desk.part(holder, again, 150), 0);
  desk.die(holder);
  desk.worker(3);
  desk.grant(again, { bytes: 60, parts: 1 });
  assert.deepEqual([desk.ended(), desk.dispatch()], [[], [again.id]]);
  const { sent, credit } = again.stream ?? {};
  assert.deepEqual([sent, credit?.left], [1, { bytes: 10, parts: 3 }]);
  assert.equal(desk.part(again.worker ?? second, again), 1);
});

Deno.test("Broker cancels an answer whose client does not get a part", () => {
  const desk = new Desk();
  const worker = desk.worker(1);
  const job = desk.submit();
  desk.dispatch();
  desk.part(worker, job);
  assert.equal(desk.broker.cancellations.loseAsker(job, desk.now), job);
  assert.equal(desk.part(worker, job), undefined);
  assert.equal(desk.broker.takeReply(worker, job.id, 200, 1, desk.now), undefined);
  assert.deepEqual(desk.ended(), ["499 The request was cancelled"]);
  assert.equal(desk.broker.counters.strayReplies, 0);
});

Deno.test("Broker reads on with a full queue while an answer waits for its client, up to twice the bound", () => {
  const desk = new Desk();
  const worker = desk.worker(1);
  const job = desk.submit({ bytes: 1, parts: 1 });
  desk.dispatch();
  for (let count = 0; count < 2; count++) desk.submit("none");
  assert.equal(desk.broker.admission.isBlocked, true);
  desk.part(worker, job);
  assert.equal(desk.broker.admission.isBlocked, false, "what the client takes more is to be read");
  for (let count = 0; count < 3; count++) desk.submit("none");
  assert.deepEqual(desk.ended(), ["503 The queue is full"]);
  desk.grant(job, MUCH);
  assert.equal(desk.broker.admission.isBlocked, true);
  desk.part(worker, job, 5000);
  assert.equal(desk.broker.admission.isBlocked, false);
  desk.broker.takeReply(worker, job.id, 200, 1, desk.now);
  assert.equal(desk.broker.admission.isBlocked, true, "it has ended");
});
