/**
 * Random event sequences for a `Broker`, and a plain model that says what must come of each event. The
 * model is slow and obvious: arrays where the broker has lists, and no choice of workers, which it only
 * judges.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import fc from "fast-check";
import { Broker } from "../../broker.ts";
import { oldestOf } from "../../broker/by_age.ts";
import type { Assignment } from "../../broker/dispatch.ts";
import {
  askersOf,
  type Client,
  type JobRequest,
  newPeer as newConnection,
  type Worker,
} from "../../broker/job.ts";
import type { BrokerLimits } from "../../broker/limits.ts";
import { Code } from "../../wire/request.ts";

/** How long a sleeping worker takes to wake up, ms. */
interface BrokerTimes {
  wakeTime: number;
}

/** An event and its two numbers, which each event reads in its own way. */
export type Step = readonly [event: keyof typeof EVENTS, first: number, second: number];

/** How often each event comes, of all weights. */
const EVENTS = {
  submit: 30,
  cancel: 5,
  end: 3,
  pause: 3,
  reject: 1,
  dispatch: 20,
  prove: 10,
  reply: 20,
  part: 10,
  grant: 5,
  stray: 2,
  giveBack: 3,
  addWorker: 5,
  retire: 1,
  leave: 1,
  die: 2,
  kill: 2,
  storm: 2,
  disconnect: 2,
  stall: 2,
  advance: 10,
  configure: 1,
  close: 1,
};

/** Sequences of up to `maxLength` events. */
export function brokerSteps(maxLength: number): fc.Arbitrary<Step[]> {
  const events = Object.entries(EVENTS).map(([event, weight]) => ({
    arbitrary: fc.constant(event),
    weight,
  }));
  const step = fc.tuple(fc.oneof(...events), fc.nat(15), fc.nat(400)) as fc.Arbitrary<Step>;
  return fc.array(step, { maxLength, size: "max" });
}

/** Limits of all kinds, small enough to be met. */
export const brokerLimits: fc.Arbitrary<BrokerLimits & BrokerTimes> = fc.record({
  wakeTime: fc.constantFrom(0, 0.1),
  concurrency: fc.constantFrom(1, 1, 1, 2, 5),
  prefetch: fc.constantFrom(1, 3, 20),
  prefetchBudget: fc.constantFrom(1, 10),
  dispatch: fc.constantFrom("mru", "lru"),
  maxAttempts: fc.constantFrom(1, 2, 3),
  queueLimit: fc.constantFrom(3, 10, 1000),
  queueBytes: fc.constantFrom(500, 100_000),
  overflow: fc.constantFrom("block", "reject"),
  maxQueuePerClient: fc.constantFrom(0, 0, 2),
  requestTimeout: fc.constantFrom(0, 100),
  stopTimeout: fc.constantFrom(100, 1000),
  abortGrace: fc.constantFrom(0, 70),
});

/** Goes through a sequence and throws at the first thing that the broker does otherwise. */
export function checkBroker(limits: BrokerLimits & BrokerTimes, steps: readonly Step[]): void {
  const model = new BrokerModel(limits);
  for (const step of steps) model.take(step);
  model.finish();
}

/** A job as the model sees it. */
interface Asked {
  readonly id: number;
  readonly key: string;
  readonly bytes: number;
  readonly timeLimit: number;
  readonly arrivedAt: number;
  deadline: number;
  /** Who waits for its answer; it takes the turns of the first. */
  askers: Asker[];
  /** Since when it waits, ms. */
  since: number;
  /** Since when it has been running, ms; undefined: it is not. */
  runningSince: number | undefined;
  /** Since when nobody wants it, though a worker has it, ms; undefined: somebody does. */
  abortedAt: number | undefined;
  deaths: number;
  /** Deaths that were excused, as others died in that moment. */
  excused: number;
  /** Whether it has ended its worker, or one of several jobs has that may have been this one. */
  suspect: boolean;
  /** Whether the next death of its worker counts twice. */
  doubt: boolean;
  /** Whether its worker has got it: a suspect is sent only once that has shown that it lives. */
  sent: boolean;
  /** What its client takes of an answer in parts; undefined: none. */
  readonly stream: Parts | undefined;
  /** How often it has ended, which is to become 1. */
  ends: number;
}

/** An answer in parts as the model sees it. */
interface Parts {
  bytes: number;
  parts: number;
  sent: number;
  readonly resumable: boolean;
}

/** One who waits for the answer to a job. */
interface Asker {
  readonly peer: Peer;
  readonly requestId: number | undefined;
}

/** A client as the model sees it. */
interface Peer {
  readonly client: Client<string>;
  gone: boolean;
  readonly waiting: Asked[];
  /** Turns that all clients had had when it got its last. */
  servedAt: number;
  /** The same when it began to wait. */
  waitingFrom: number;
}

/** A worker as the model sees it. */
interface Hand {
  readonly worker: Worker<string>;
  jobs: Asked[];
  /** Whether one of its jobs did not stop, and since when it is isolated for that, ms. */
  overran?: boolean;
  /** Whether one only waited there, so that the whole worker must be stuck. */
  stuck?: boolean;
  /** Whether it has shown since that it is not. */
  showed?: boolean;
  isolatedAt?: number;
}

/** A worker that died, and what it had. */
interface Death {
  readonly worker: number;
  readonly at: number;
  /** What the system tells of the process, perhaps later. */
  end: "itself" | "outside" | undefined;
  readonly jobs: readonly Asked[];
}

/** Deaths from outside that are closer to each other than this are excused, ms. */
const TOGETHER = 200;
/** A client has gone; a job's ending has no words. */
const NOTHING = 0;
const EXPIRY_INTERVAL = 100;
/** A handler that does not stop is given up at most so long after its time, ms. */
const WATCH_MARGIN = 110;
const WATCH_INTERVAL = 50;
/** The last envelope frame of a request that can be cancelled. */
const ENVELOPE = [new Uint8Array([1])];
const CLIENTS = 5;
const MAX_WORKERS = 6;

class BrokerModel {
  readonly #broker: Broker<string>;
  #limits: BrokerLimits;
  readonly #wakeTime: number;
  #now = 1000;
  #phase: "open" | "serving" | "refusing" = "open";
  #isHeld = false;
  #peers = Array.from({ length: CLIENTS }, (_, number) => newPeer(number));
  readonly #hands: Hand[] = [];
  readonly #asked = new Map<number, Asked>();
  /** What workers gave back, the first to go in front. */
  readonly #returned: Asked[] = [];
  /** Suspects that wait for a worker, the first to go in front. */
  #ready: Asked[] = [];
  /** Excused ones that wait for their turn, and whose turn it is. */
  readonly #line: Asked[] = [];
  #solo: Asked | undefined;
  /** Deaths that are not judged, in order. */
  readonly #deaths: Death[] = [];
  /** Jobs of such workers that still wait for that. */
  readonly #held: Asked[] = [];
  /** Ends of processes that the system is slow to tell. */
  readonly #untold: { death: Death; end: "itself" | "outside" }[] = [];
  /** When processes were killed from outside. */
  readonly #kills: { worker: number; at: number }[] = [];
  /** Clients that have something waiting, in turn. */
  readonly #round: Peer[] = [];
  /** What the last event must have ended: the code by job. */
  readonly #ending = new Map<number, number>();
  /** What the broker says that it has ended. */
  readonly #told = new Map<number, number>();
  /** Live jobs that several wait for, in the order in which they came to be shared. */
  readonly #shared = new Set<Asked>();
  /** Requests that have a number of their client's, which is never used twice. */
  readonly #requests: { asked: Asked; asker: Asker }[] = [];
  /** Jobs whose answer one of several took back, as the last event must have told. */
  #leaving: number[] = [];
  /** The same, as the broker tells it. */
  #left: number[] = [];
  /** Requests that joined a job. */
  #joined = 0;
  /** Those who left a job to others. */
  #departed = 0;
  #workers = 0;
  #turns = 0;
  #lastRequest = 0;
  #configuredAt = 0;

  constructor(limits: BrokerLimits & BrokerTimes) {
    this.#limits = limits;
    this.#wakeTime = limits.wakeTime;
    this.#broker = new Broker(limits, limits);
  }

  /** Lets an event happen, and compares. */
  take([event, first, second]: Step): void {
    this[event](first, second);
    this.#compare();
  }

  /** Serves all that is left: then every job has ended, once. */
  finish(): void {
    this.#endPause();
    while (this.#hands.length > 0) this.#removeWorker(0, "left");
    this.#tell();
    this.advance(0, 3 * TOGETHER);
    this.#compare();
    this.addWorker();
    while (!this.#broker.idle) {
      this.dispatch();
      for (const hand of this.#hands) if (hand.worker.unsent !== undefined) this.#prove(hand);
      for (const hand of this.#hands) while (hand.jobs.length > 0) this.#reply(hand, 0, 1000, 200);
      this.#compare();
    }
    for (const { id, ends } of this.#asked.values()) assert.equal(ends, 1, `Job ${id} ended once`);
    assert(this.#peers.every(({ client }) => client.live === 0), "no client has a job");
  }

  submit(client: number, second: number): void {
    const peer = this.#peer(client);
    const request = this.#request(second);
    const alike = [...this.#asked.values()].find((it) => it.key === request.key && isOpen(it));
    const reason = this.#refusal(peer);
    const others = this.#others;
    const job = this.#broker.submit({ ...request, client: peer.client }, this.#now);
    const asker = { peer, requestId: request.requestId };
    if (alike !== undefined && request.key !== "") {
      if (others >= this.#limits.queueLimit) {
        return this.#end(this.#note(job, asker), Code.unavailable);
      }
      assert.equal(job.id, alike.id);
      return this.#join(alike, asker, request.deadline);
    }
    const asked = this.#note(job, asker);
    if (reason) this.#end(asked, Code.unavailable);
    else this.#wait(asked);
  }

  reject(client: number): void {
    const peer = this.#peer(client);
    const id = Math.max(0, ...this.#asked.keys()) + 1;
    const request = { ...this.#request(0), bytes: 0, key: "", requestId: undefined };
    this.#broker.reject({ ...request, client: peer.client }, Code.tooLarge, "Too large");
    this.#end(this.#note({ id, request }, { peer, requestId: undefined }), Code.tooLarge);
  }

  /** A client takes back what it asked, which may have been answered long ago. */
  cancel(first: number, second: number): void {
    const request = pick(this.#requests, first * 31 + second);
    if (request === undefined || request.asker.peer.gone) return;
    const { asked, asker } = request;
    const { client } = asker.peer;
    const { requestId = 0 } = asker;
    const known = isOpen(asked) && asked.askers.includes(asker);
    const { cancelled } = this.#broker.counters;
    const told = this.#broker.cancellations.cancel(client, requestId, ENVELOPE, this.#now);
    assert.equal(this.#broker.counters.cancelled, cancelled + (known ? 1 : 0));
    assert.equal(told?.id, known && this.#isSole(asked) ? asked.id : undefined);
    if (!known) return;
    if (asked.askers.length > 1) {
      this.#leaving.push(asked.id);
      this.#depart(asked, asker);
    } else if (this.#isSole(asked)) asked.abortedAt = this.#now;
    else {
      this.#unwait(asked);
      this.#end(asked, Code.cancelled);
    }
  }

  /** Somebody else ends a job for all who wait for it; it may have ended long ago. */
  end(first: number, second: number): void {
    const asked = pick([...this.#asked.values()], first * 31 + second);
    if (asked === undefined) return;
    const job = this.#broker.overview.find(asked.id);
    assert.equal(job?.id, asked.ends === 0 ? asked.id : undefined);
    if (job === undefined) return;
    const { cancelled } = this.#broker.counters;
    const askers = isOpen(asked) ? asked.askers.length : 0;
    const told = this.#broker.cancellations.cancelForAll(job, this.#now);
    assert.equal(this.#broker.counters.cancelled, cancelled + askers);
    const runs = this.#hands.some(({ jobs }) => jobs.includes(asked));
    assert.equal(told?.id, runs && isOpen(asked) ? asked.id : undefined);
    if (!isOpen(asked)) return;
    this.#departed += askers - 1;
    this.#shared.delete(asked);
    if (runs) {
      this.#leaving.push(asked.id);
      asked.abortedAt = this.#now;
      asked.askers = [];
    } else {
      this.#unwait(asked);
      this.#end(asked, Code.cancelled);
    }
  }

  /** Nothing is started for a while. */
  pause(first: number): void {
    this.#isHeld = first % 3 === 0;
    if (this.#isHeld) this.#broker.pause();
    else this.#broker.resume();
  }

  get #isPaused(): boolean {
    return this.#isHeld && this.#phase === "open";
  }

  /** Ends a pause, in either way. */
  #endPause(): void {
    if (!this.#isPaused) return;
    if (this.#asked.size % 2 === 0) return this.pause(1);
    this.#phase = "serving";
    this.#broker.drain("serve");
  }

  dispatch(): void {
    if (this.#isPaused) {
      return assert.equal(this.#broker.next(this.#now), undefined, "nothing is started in a pause");
    }
    for (;;) {
      const before = this.#hands.map(({ jobs }) => jobs.length);
      const next = this.#broker.next(this.#now);
      if (next === undefined) break;
      this.#assign(next, before);
    }
    this.#hear();
    while (this.#waiting().length > this.#broker.queued) this.#expireNext();
    if (this.#phase === "refusing") return;
    const hasRoom = (room: number) => ({ jobs }: Hand) =>
      jobs.length < room && !jobs.some(({ suspect }) => suspect);
    const ready = this.#hands.filter(({ worker }) => worker.state === "ready");
    const suspect = this.#firstSuspect();
    assert(!suspect || !ready.some(hasRoom(1)), "a suspect gets an idle worker");
    const idle = this.#first() && this.#open.some(hasRoom(this.#limits.concurrency));
    assert(!idle, "an idle worker is given what waits");
  }

  /** A worker that was asked whether it lives says so. */
  prove(first: number): void {
    for (const hand of this.#hands.filter(({ isolatedAt }) => isolatedAt !== undefined)) {
      assert.equal(this.#broker.workforce.proven(hand.worker, this.#now), undefined);
      hand.showed = true;
    }
    const asked = this.#hands.filter(({ jobs }) => jobs.some(({ sent }) => !sent));
    const hand = pick(asked, first);
    if (hand !== undefined) this.#prove(hand);
  }

  #prove(hand: Hand): void {
    const [asked] = hand.jobs;
    assert(asked && hand.jobs.length === 1, "a suspect is alone");
    const job = this.#broker.workforce.proven(hand.worker, this.#now);
    assert.equal(job?.id, isOpen(asked) ? asked.id : undefined);
    asked.sent = true;
    if (isOpen(asked)) {
      asked.runningSince = this.#now; // it is sent now, and has its whole time
      return;
    }
    hand.jobs = [];
    this.#end(asked, Code.cancelled);
  }

  reply(worker: number, second: number): void {
    const hand = pick(this.#hands, worker);
    if (hand === undefined || hand.jobs.length === 0) return;
    const position = second % Math.min(hand.jobs.length, this.#limits.concurrency);
    this.#reply(hand, position, second * 5, second % 7 === 0 ? Code.handlerFailed : Code.ok);
  }

  /** A worker sends a part of what it runs, whether it may or not. */
  part(worker: number, second: number): void {
    const hand = pick(this.#hands, worker);
    const asked = hand && pick(hand.jobs.slice(0, this.#limits.concurrency), second);
    if (hand === undefined || asked === undefined) return;
    const bytes = second % 50;
    const { strayReplies, answered, failed } = this.#broker.counters;
    const job = this.#broker.parts.take(hand.worker, asked.id, bytes, this.#now);
    if (!isOpen(asked)) return assert.equal(job, undefined);
    const { stream } = asked;
    if (stream !== undefined && asked.sent && stream.bytes > 0 && stream.parts > 0) {
      stream.bytes -= bytes;
      stream.parts--;
      stream.sent++;
      assert.deepEqual([job?.id, job?.stream?.sent], [asked.id, stream.sent]);
      return;
    }
    assert.equal(job, undefined);
    const counted = { ...this.#broker.counters };
    assert.equal(counted.strayReplies, strayReplies + 1);
    assert.deepEqual([counted.answered, counted.failed], [answered + 1, failed + 1]);
    remove(hand.jobs, asked);
    asked.sent = true;
    this.#end(asked, Code.handlerFailed);
  }

  /** A client takes more of an answer, which may have ended long ago. */
  grant(first: number, second: number): void {
    const request = pick(this.#requests, first * 31 + second);
    if (request === undefined || request.asker.peer.gone) return;
    const { asked, asker: { peer, requestId = 0 } } = request;
    const credit = { bytes: second, parts: second % 3 };
    const told = this.#broker.parts.grant(peer.client, requestId, ENVELOPE, credit);
    const hand = this.#hands.find(({ jobs }) => jobs.includes(asked));
    const { stream } = asked;
    if (stream === undefined || asked.ends > 0) return assert.equal(told, undefined);
    stream.bytes += credit.bytes;
    stream.parts += credit.parts;
    const isTold = hand !== undefined && asked.sent && isOpen(asked) && second > 0;
    assert.deepEqual(told?.credit, isTold ? credit : undefined);
    assert.equal(told?.job.id, isTold ? asked.id : undefined);
  }

  /** A worker names a job that it does not have: unknown, or another worker's. */
  stray(worker: number, second: number): void {
    const hand = pick(this.#hands, worker);
    const id = second % (this.#asked.size + 3);
    if (hand === undefined || hand.jobs.some((asked) => asked.id === id)) return;
    const { strayReplies } = this.#broker.counters;
    if (second % 2 === 1 && hand.worker.isolation !== undefined) return;
    if (second % 2 === 0) this.#broker.workforce.giveBack(hand.worker, id, this.#now);
    else assert.equal(this.#broker.takeReply(hand.worker, id, 200, 1, this.#now), undefined);
    assert.equal(this.#broker.counters.strayReplies, strayReplies + 1);
  }

  giveBack(worker: number, second: number): void {
    const hand = pick(this.#hands, worker);
    const asked = hand && pick(hand.jobs, second);
    if (hand === undefined || asked === undefined) return;
    this.#broker.workforce.giveBack(hand.worker, asked.id, this.#now);
    remove(hand.jobs, asked);
    this.#return(asked);
  }

  addWorker(): void {
    if (this.#hands.length >= MAX_WORKERS) return;
    const id = ++this.#workers;
    const worker = this.#broker.workforce.add(id, this.#now);
    this.#hands.push({ worker, jobs: [] });
  }

  retire(worker: number): void {
    const hand = pick(this.#hands, worker);
    if (hand !== undefined) this.#broker.workforce.retire(hand.worker);
  }

  leave(worker: number): void {
    this.#removeWorker(worker, "left");
  }

  /** A worker's process ends by itself. */
  die(worker: number, second: number): void {
    this.#die(worker, "itself", second % 3);
  }

  /** A signal from outside ends a worker. */
  kill(worker: number, second: number): void {
    this.#die(worker, "outside", second % 3);
  }

  /** All workers are killed, one after the other within a moment. */
  storm(first: number, second: number): void {
    while (this.#hands.length > 0) {
      this.#die(0, "outside", (first + this.#hands.length) % 3);
      this.advance(0, second % 30);
    }
  }

  /** Which of the two is seen first: the end of the connection, or of the process; 2: that comes late. */
  #die(worker: number, end: "itself" | "outside", order: number): void {
    const hand = pick(this.#hands, worker);
    if (hand === undefined) return;
    const { id } = hand.worker;
    if (order === 0) this.#broker.workforce.processEnded(id, hand.worker, end, this.#now);
    const death = this.#removeWorker(worker, "died");
    if (order === 1) this.#broker.workforce.processEnded(id, undefined, end, this.#now);
    const late = order === 2 && death !== undefined;
    if (late) this.#untold.push({ death, end });
    else if (order === 2) this.#broker.workforce.processEnded(id, undefined, end, this.#now);
    if (end === "outside" && !late) this.#kills.push({ worker: id, at: this.#now });
    if (death !== undefined && !late) death.end = end;
    this.#judgeDeaths();
  }

  /** The system tells of a process at last. */
  #tell(): void {
    for (const { death, end } of this.#untold.splice(0)) {
      death.end = end;
      const at = this.#deaths.includes(death) ? death.at : this.#now;
      if (end === "outside") this.#kills.push({ worker: death.worker, at });
      this.#broker.workforce.processEnded(death.worker, undefined, end, this.#now);
      // What one of them says may settle some deaths and not others.
      this.#judgeDeaths();
    }
  }

  /** What is to be known of deaths now, by the rules of broker/inquest.ts. */
  #judgeDeaths(): void {
    for (const death of [...this.#deaths]) {
      const near = (at: number) => Math.abs(at - death.at) <= TOGETHER;
      const killed = this.#kills.some(({ worker, at }) => worker !== death.worker && near(at));
      const open = this.#deaths.some((other) => other.end === undefined && near(other.at));
      if (death.end === undefined) continue;
      const early = this.#now < death.at + TOGETHER;
      if (death.end === "outside" && (early || (!killed && open))) continue;
      remove(this.#deaths, death);
      this.#sentence(death.jobs, death.end === "outside" && killed ? "excused" : "guilty");
    }
  }

  #sentence(jobs: readonly Asked[], verdict: "guilty" | "excused"): void {
    const { concurrency, maxAttempts } = this.#limits;
    const known = jobs.length <= concurrency;
    for (const asked of jobs.toReversed()) {
      if (!remove(this.#held, asked)) continue;
      if (verdict === "excused") asked.excused++;
      else if (known) asked.deaths += asked.doubt ? 2 : 1;
      asked.doubt = verdict === "guilty" ? !known : asked.doubt;
      asked.suspect = true;
      if (this.#solo === asked) this.#solo = undefined;
      const any = asked.deaths + asked.excused + (asked.doubt ? 1 : 0);
      if (asked.deaths >= maxAttempts || any >= 3 * maxAttempts) this.#end(asked, Code.workerDied);
      else if (asked.excused > 0) this.#line.push(asked);
      else this.#ready.unshift(asked);
    }
  }

  disconnect(client: number): void {
    const peer = this.#peer(client);
    const told = this.#broker.cancellations.disconnect(peer.client, this.#now);
    peer.gone = true;
    for (const asked of this.#shared) {
      for (const asker of [...asked.askers]) {
        if (asker.peer === peer && asked.askers.length > 1) this.#depart(asked, asker);
      }
    }
    for (const asked of this.#waiting()) {
      if (ownerOf(asked) !== peer) continue;
      this.#unwait(asked);
      this.#end(asked, Code.cancelled);
    }
    const running = this.#hands.flatMap(({ jobs, worker }) =>
      jobs.filter((asked) => isOpen(asked) && ownerOf(asked) === peer)
        .map((asked) => ({ asked, worker }))
    );
    assert.deepEqual(
      told.map(({ id, worker }) => [id, worker?.id]).sort(),
      running.map(({ asked, worker }) => [asked.id, worker.id]).sort(),
    );
    for (const { asked } of running) asked.abortedAt = this.#now;
    this.#peers[client % CLIENTS] = newPeer(client % CLIENTS);
  }

  /** A client reads nothing. */
  stall(client: number): void {
    const peer = this.#peer(client);
    this.#broker.cancellations.refuseWaiting(peer.client, "no reader");
    for (const asked of [...this.#returned, ...peer.waiting]) {
      if (ownerOf(asked) !== peer || asked.askers.length > 1) continue;
      this.#unwait(asked);
      this.#end(asked, Code.unavailable);
    }
  }

  /** Time passes, and the broker is called when it wants to be. */
  advance(_: number, time: number): void {
    const end = this.#now + time;
    if (time % 4 > 0) this.#tell();
    for (;;) {
      const wait = this.#broker.tick(this.#now);
      assert(wait > 0, "a broker that has done what is due wants to sleep");
      this.#judgeDeaths();
      this.#expireOverdue();
      this.#takeOverruns();
      if (this.#now >= end) break;
      this.#now = Math.min(end, this.#now + wait);
    }
    this.#compareTimes();
  }

  configure(first: number, second: number): void {
    this.#limits = {
      ...this.#limits,
      queueLimit: 1 + second,
      maxAttempts: 1 + first % 3,
      overflow: first % 2 === 0 ? "block" : "reject",
      abortGrace: first % 4 === 0 ? 0 : 70,
    };
    this.#broker.configure(this.#limits);
    this.#configuredAt = this.#now;
  }

  /** Rare, as little happens afterwards. */
  close(first: number): void {
    if (first > 2 || this.#phase === "refusing") return;
    this.#phase = first === 0 ? "serving" : "refusing";
    this.#broker.drain(first === 0 ? "serve" : "refuse");
    if (first === 0) return;
    for (const asked of this.#waiting()) {
      this.#unwait(asked);
      this.#end(asked, Code.unavailable);
    }
  }

  /** Workers that may get a job: one at most is kept for a suspect that waits. */
  get #open(): Hand[] {
    const open = this.#hands.filter(({ worker }) => worker.state === "ready");
    const kept = open.filter(({ worker, jobs }) =>
      worker.alone && !jobs.some(({ suspect }) => suspect)
    );
    assert(kept.length <= 1, "one worker at most is kept");
    if (this.#firstSuspect() === undefined) return open;
    return open.filter((hand) => !kept.includes(hand));
  }

  #peer(client: number): Peer {
    const peer = pick(this.#peers, client);
    assert(peer);
    return peer;
  }

  #request(second: number) {
    const named = second % 2 === 0;
    return {
      envelope: named ? ENVELOPE : [],
      requestId: named ? ++this.#lastRequest : undefined,
      requestTimeout: this.#broker.timeLimit(second % 5 === 0 ? 50 : 0),
      key: second % 4 === 0 ? `key ${second % 3}` : "",
      ...(second % 4 === 2 ? { stream: { bytes: 60, parts: 1 + second % 3 } } : {}),
      resumable: second % 8 === 2,
      body: "",
      bytes: second % 200,
      deadline: second % 3 === 0 ? this.#now + second + 1 : Infinity,
    };
  }

  #note(job: NoteOfJob, asker: Asker): Asked {
    const { id, request: { key, bytes, deadline, requestTimeout: timeLimit } } = job;
    const { stream, resumable = false } = job.request;
    assert(!this.#asked.has(id), "job ids are never used twice");
    const since = { since: this.#now, arrivedAt: this.#now };
    const state = { ...since, runningSince: undefined, abortedAt: undefined };
    const counts = { deaths: 0, excused: 0, suspect: false, doubt: false, sent: true, ends: 0 };
    const asked: Asked = {
      id,
      key,
      bytes,
      timeLimit,
      deadline,
      askers: [asker],
      stream: stream && { ...stream, sent: 0, resumable },
      ...state,
      ...counts,
    };
    this.#asked.set(id, asked);
    if (asker.requestId !== undefined) this.#requests.push({ asked, asker });
    return asked;
  }

  /** Requests that wait for the answers to others' jobs. */
  get #others(): number {
    return [...this.#shared].reduce((sum, { askers }) => sum + askers.length - 1, 0);
  }

  /** Whether a request of `peer` that joins no other is refused now. */
  #refusal(peer: Peer): boolean {
    const { overflow, maxQueuePerClient } = this.#limits;
    if (this.#phase !== "open") return true;
    if (overflow === "reject" && this.#isFull()) return true;
    if (this.#starves() && this.#isFull(2)) return true;
    return maxQueuePerClient > 0 && peer.waiting.length >= maxQueuePerClient;
  }

  #join(asked: Asked, asker: Asker, deadline: number): void {
    asked.askers.push(asker);
    asked.deadline = Math.max(asked.deadline, deadline);
    this.#shared.add(asked);
    this.#joined++;
    if (asker.requestId !== undefined) this.#requests.push({ asked, asker });
  }

  /** One of several leaves a job to the others; if it took the first one's turns, it takes the next's. */
  #depart(asked: Asked, asker: Asker): void {
    this.#departed++;
    const apart = [...this.#held, ...this.#line, ...this.#ready].includes(asked);
    const waits = !apart && this.#waiting().includes(asked);
    const moves = waits && asked.askers[0] === asker;
    if (moves) this.#unwait(asked);
    remove(asked.askers, asker);
    if (moves) this.#wait(asked);
    if (asked.askers.length === 1) this.#shared.delete(asked);
  }

  /** Whether a worker has it, and only one waits for it. */
  #isSole(asked: Asked): boolean {
    return asked.askers.length === 1 && this.#hands.some(({ jobs }) => jobs.includes(asked));
  }

  #wait(asked: Asked): void {
    const peer = ownerOf(asked);
    if (peer.waiting.length === 0) this.#round.push(peer);
    if (peer.waiting.length === 0) peer.waitingFrom = this.#turns;
    peer.waiting.push(asked);
  }

  #unwait(asked: Asked): void {
    for (const list of [this.#returned, this.#ready, this.#line, this.#held]) {
      if (remove(list, asked)) return;
    }
    const peer = ownerOf(asked);
    assert(remove(peer.waiting, asked), `Job ${asked.id} waits`);
    if (peer.waiting.length === 0) remove(this.#round, peer);
  }

  #waiting(): Asked[] {
    const suspects = [...this.#held, ...this.#line, ...this.#ready];
    return [...suspects, ...this.#returned, ...this.#round.flatMap(({ waiting }) => waiting)];
  }

  /** The suspect that goes next; the first in line has its turn once nobody has. */
  #firstSuspect(): Asked | undefined {
    if (this.#solo === undefined) {
      this.#solo = this.#line.shift();
      if (this.#solo !== undefined) this.#ready.push(this.#solo);
    }
    return this.#ready[0];
  }

  #first(): Asked | undefined {
    return this.#returned[0] ?? this.#round[0]?.waiting[0];
  }

  /** Takes the first out; its client goes to the end of the round. */
  #shift(): Asked {
    const asked = this.#first();
    assert(asked, "something waits");
    const returned = this.#returned.includes(asked);
    this.#unwait(asked);
    if (!returned) this.#turn(ownerOf(asked));
    return asked;
  }

  #turn(peer: Peer): void {
    for (const other of this.#round) {
      const overtaken = other !== peer && other.waitingFrom < peer.servedAt &&
        other.servedAt < peer.servedAt;
      assert(!overtaken, "nobody has two turns while another waits for one");
    }
    peer.servedAt = ++this.#turns;
    if (peer.waiting.length === 0) return;
    remove(this.#round, peer);
    this.#round.push(peer);
  }

  /** A suspect that has expired is dropped when a worker is free for it, so the broker has to say so. */
  #expireNext(): void {
    const suspect = this.#firstSuspect();
    if (suspect === undefined || !this.#told.has(suspect.id)) return this.#expireFirst();
    assert(suspect.deadline <= this.#now, `Job ${suspect.id} was dropped before its deadline`);
    this.#ready.shift();
    this.#end(suspect, Code.expired);
  }

  #expireFirst(): void {
    const asked = this.#shift();
    assert(asked.deadline <= this.#now, `Job ${asked.id} was dropped before its deadline`);
    this.#end(asked, Code.expired);
  }

  /** The broker looks only now and then: takes its word, unless it is wrong or too late. */
  #expireOverdue(): void {
    this.#hear();
    for (const asked of this.#waiting()) {
      const due = Math.max(asked.deadline, asked.since);
      if (this.#told.has(asked.id)) {
        assert(due <= this.#now, `Job ${asked.id} has not expired yet`);
        this.#unwait(asked);
        this.#end(asked, Code.expired);
      } else assert(due > this.#now - EXPIRY_INTERVAL, `Job ${asked.id} expires in time`);
    }
  }

  /** Takes what the broker says that it has ended. */
  #hear(): void {
    for (const { job, to, code, last } of this.#broker.takeEnded()) {
      assert(!this.#told.has(job.id), `Job ${job.id} ends once`);
      if (last) {
        this.#told.set(job.id, to.length > 0 ? code : NOTHING);
        this.#broker.recycle(job);
      } else {
        assert.equal(code, Code.cancelled);
        this.#left.push(job.id);
      }
    }
  }

  /** Handlers that did not stop: takes the broker's word, unless it is too early. */
  #takeOverruns(): void {
    this.#hear();
    for (const hand of this.#hands) {
      // One that is late has its worker ended, and with it others before their time.
      const inTurn = hand.jobs.toSorted((a, b) => this.#overrunAt(a) - this.#overrunAt(b));
      for (const asked of inTurn) {
        // What goes back while nothing new is started is refused, as any other is.
        const code = this.#told.get(asked.id);
        const isBroken = code === Code.workerDied && isTied(asked);
        if (code !== undefined && code !== Code.unavailable && !isBroken) {
          this.#overrun(hand, asked);
        }
      }
    }
    for (const { worker, jobs, step } of this.#broker.takeOverruns()) {
      const hand = this.#hands.find((hand) => hand.worker === worker);
      assert(hand, `Worker ${worker.id} is there`);
      const ids = jobs.map(({ id }) => id);
      const taken = hand.jobs.filter(({ id }) => ids.includes(id));
      if (step === "isolate") this.#isolate(hand, taken);
      else this.#give(hand, taken);
    }
  }

  /** A job that does not stop is answered, or nobody waits for it. */
  #overrun(hand: Hand, asked: Asked): void {
    const gone = asked.abortedAt !== undefined;
    const ran = hand.jobs.indexOf(asked) < this.#limits.concurrency;
    assert(ran || gone, `Job ${asked.id} was running, or taken back`);
    const early = this.#now < this.#overrunAt(asked);
    if (this.#told.get(asked.id) === Code.workerDied) {
      assert.equal(this.#limits.maxAttempts, 1, "only what must not run twice ends beside another");
      remove(hand.jobs, asked);
      return this.#end(asked, Code.workerDied);
    }
    assert(!early || (gone && hand.overran), `Job ${asked.id} still has time`);
    hand.overran = true;
    hand.stuck ||= asked.runningSince === undefined;
    remove(hand.jobs, asked);
    this.#end(asked, gone ? Code.cancelled : Code.handlerTimeout);
  }

  /** Others run beside it: what waits goes elsewhere. */
  #isolate(hand: Hand, waiting: Asked[]): void {
    assert(
      hand.overran && hand.isolatedAt === undefined,
      "a worker is isolated once, and for a reason",
    );
    hand.isolatedAt = this.#now;
    assert(hand.jobs.some((asked) => isOpen(asked)), "somebody else's job runs there");
    for (const asked of waiting.toReversed()) {
      remove(hand.jobs, asked);
      this.#return(asked);
    }
  }

  /** It is to be ended; what it still ran gets another try, alone. */
  #give(hand: Hand, taken: Asked[]): void {
    assert(hand.overran, "a worker is ended for a reason");
    assert.deepEqual(taken, hand.jobs, "nothing is left there");
    const since = hand.isolatedAt ?? this.#now;
    const { stopTimeout, abortGrace } = this.#limits;
    const time = hand.showed ? stopTimeout : Math.min(stopTimeout, abortGrace);
    const inTime = this.#now >= since + time || hand.stuck;
    const isRunning = (asked: Asked) => isOpen(asked) && asked.runningSince !== undefined;
    assert(inTime || !taken.some(isRunning), "what runs beside it has its time");
    hand.jobs = [];
    for (const asked of taken.toReversed()) {
      if (isRunning(asked)) asked.suspect = true;
      this.#return(asked);
    }
  }

  /** When a running job's worker is given up at the earliest, ms. */
  #overrunAt({ runningSince = Infinity, timeLimit, abortedAt = Infinity }: Asked): number {
    const { abortGrace } = this.#limits;
    if (abortGrace === 0) return Infinity;
    if (runningSince === Infinity) return abortedAt + abortGrace;
    return Math.min(runningSince + timeLimit, Math.max(runningSince, abortedAt)) + abortGrace;
  }

  /** After a time in which the broker was called when it wanted to be: nothing is late. */
  #compareTimes(): void {
    for (const { jobs } of this.#hands) {
      for (const asked of jobs.slice(0, this.#limits.concurrency)) {
        // Without a grace nobody looks, so it may have been running unseen.
        const runningSince = Math.max(asked.runningSince ?? Infinity, this.#configuredAt);
        const overrunAt = this.#overrunAt({ ...asked, runningSince });
        // Of one worker's jobs that overrun together, one is ended at each look.
        const margin = WATCH_MARGIN + WATCH_INTERVAL * (this.#limits.concurrency - 1);
        assert(this.#now <= overrunAt + margin, `Job ${asked.id} is ended in time`);
      }
    }
  }

  #assign({ job, worker }: Assignment<string>, before: number[]): void {
    const asked = this.#taken(job.id);
    assert(asked.deadline > this.#now, `Job ${job.id} has not expired`);
    const index = this.#hands.findIndex((hand) => hand.worker === worker);
    const hand = this.#hands[index];
    assert(hand, `Worker ${worker.id} is there`);
    assert.equal(worker.state, "ready");
    assert(!hand.jobs.some(({ suspect }) => suspect), "a suspect has its worker for itself");
    if (asked.suspect) {
      assert.equal(hand.jobs.length, 0);
      asked.sent = false;
    } else this.#judge(worker, before[index] ?? 0, before);
    hand.jobs.push(asked);
  }

  /** Takes the job out that the broker has taken; what was ahead of it has expired. */
  #taken(id: number): Asked {
    if (!this.#asked.get(id)?.suspect) {
      while (this.#first()?.id !== id) this.#expireFirst();
      return this.#shift();
    }
    for (let first = this.#firstSuspect(); first; first = this.#firstSuspect()) {
      this.#ready.shift();
      if (first.id === id) return first;
      assert(first.deadline <= this.#now, `Job ${first.id} is ahead of job ${id}`);
      this.#end(first, Code.expired);
    }
    throw new Error(`Job ${id} waits for no worker`);
  }

  /** Whether a worker that had `level` jobs might be given one more. */
  #judge({ progressAt }: Worker<string>, level: number, levels: number[]): void {
    const { concurrency, prefetchBudget, maxAttempts } = this.#limits;
    const prefetch = maxAttempts === 1 ? concurrency : this.#limits.prefetch;
    if (level < concurrency) return;
    assert(level < prefetch, "nobody holds more than the prefetch limit");
    const idle = this.#hands.some(({ worker, jobs }, index) =>
      worker.state === "ready" && !worker.alone && (levels[index] ?? 0) < concurrency &&
      !jobs.some(({ suspect }) => suspect)
    );
    const { mean = Infinity, tail } = this.#broker.times;
    const awake = level * (mean + 0.005) < this.#wakeTime;
    assert(awake || !idle, "an idle worker comes first, if it is there sooner");
    const ahead = (level + 1 - concurrency) / concurrency;
    const soon = mean * ahead < prefetchBudget && tail * ahead < prefetchBudget * 10;
    const ending = concurrency === 1 && level === 1 &&
      mean > 3 * prefetchBudget && tail < 2.5 * mean &&
      progressAt + mean - this.#now < 3 * prefetchBudget;
    assert(soon || ending, "a job waits at a worker only for a moment");
  }

  #reply(hand: Hand, position: number, micros: number, code: number): void {
    const asked = hand.jobs[position];
    assert(asked);
    const { answered, failed } = this.#broker.counters;
    const job = this.#broker.takeReply(hand.worker, asked.id, code, micros, this.#now);
    hand.jobs.splice(position, 1);
    const counts = isOpen(asked) ? 1 : 0;
    assert.equal(this.#broker.counters.answered, answered + counts);
    assert.equal(this.#broker.counters.failed, failed + (code === Code.ok ? 0 : counts));
    if (!isOpen(asked)) {
      assert.equal(job, undefined);
      return this.#end(asked, Code.cancelled);
    }
    assert.equal(job?.id, asked.id);
    const askers = askersOf(job);
    assert.deepEqual(
      askers.map(({ client }) => client),
      asked.askers.map(({ peer }) => peer.client),
    );
    assert.deepEqual(
      askers.map(({ requestId }) => requestId),
      asked.askers.map(({ requestId }) => requestId),
    );
    this.#shared.delete(asked);
    if (this.#solo === asked) this.#solo = undefined;
    asked.sent = true;
    asked.ends++;
    this.#broker.recycle(job);
  }

  #removeWorker(worker: number, end: "left" | "died"): Death | undefined {
    const hand = pick(this.#hands, worker);
    if (hand === undefined) return undefined;
    this.#broker.workforce.remove(hand.worker, end, this.#now);
    remove(this.#hands, hand);
    if (end === "died" && hand.jobs.every(({ sent }) => sent)) return this.#hold(hand);
    for (const asked of hand.jobs.toReversed()) this.#return(asked);
    return undefined;
  }

  #hold({ worker: { id: worker }, jobs }: Hand): Death | undefined {
    if (jobs.length === 0) return undefined;
    const death: Death = { worker, at: this.#now, end: undefined, jobs };
    for (const asked of jobs) {
      if (this.#comesBack(asked)) this.#held.push(asked);
    }
    if (this.#limits.maxAttempts > 1) this.#deaths.push(death);
    else this.#sentence(jobs, "guilty");
    return death;
  }

  /** A worker has it no more: it waits in front of all others, if it is still to be done. */
  #return(asked: Asked): void {
    asked.sent = true;
    if (!this.#comesBack(asked)) return;
    if (!asked.suspect) this.#returned.unshift(asked);
    else if (asked.excused > 0 && this.#solo !== asked) this.#line.push(asked);
    else this.#ready.unshift(asked);
  }

  #comesBack(asked: Asked): boolean {
    asked.runningSince = undefined;
    asked.since = this.#now;
    if (!isOpen(asked)) this.#end(asked, Code.cancelled);
    else if (isTied(asked)) this.#end(asked, Code.workerDied);
    else if (this.#phase === "refusing") this.#end(asked, Code.unavailable);
    else return true;
    return false;
  }

  #end(asked: Asked, code: number): void {
    asked.ends++;
    if (this.#solo === asked) this.#solo = undefined;
    this.#shared.delete(asked);
    const heard = asked.askers.some(({ peer }) => !peer.gone);
    this.#ending.set(asked.id, heard ? code : NOTHING);
  }

  /** Whether a worker waits until a client takes more. */
  #starves(): boolean {
    const isStarving = (asked: Asked) =>
      isOpen(asked) && asked.stream !== undefined &&
      (asked.stream.bytes <= 0 || asked.stream.parts <= 0);
    return this.#hands.some(({ jobs }) => jobs.some(isStarving));
  }

  #isFull(times = 1): boolean {
    const waiting = this.#waiting();
    const held = [...waiting, ...this.#hands.flatMap(({ jobs }) => jobs)];
    const sum = held.reduce((sum, asked) => sum + asked.bytes, 0);
    const { queueLimit, queueBytes } = this.#limits;
    return waiting.length >= times * queueLimit || sum >= times * queueBytes;
  }

  #compare(): void {
    this.#hear();
    assert.deepEqual([...this.#told].sort(byId), [...this.#ending].sort(byId));
    this.#told.clear();
    this.#ending.clear();
    assert.deepEqual(this.#left.splice(0), this.#leaving.splice(0));
    for (const { worker, jobs } of this.#hands) {
      for (const asked of jobs.slice(0, this.#limits.concurrency)) asked.runningSince ??= this.#now;
      const ids = [...worker.jobs.values()].map(({ id }) => id);
      assert.deepEqual(ids, jobs.map(({ id }) => id), "in order at a worker");
    }
    this.#compareSizes();
    this.#compareLists();
    this.#compareCounters();
  }

  /** Whoever looks sees the oldest first, wherever they are. */
  #compareLists(): void {
    const broker = this.#broker;
    assert.equal(broker.isPaused, this.#isPaused);
    const waiting = this.#waiting().sort((one, other) => one.id - other.id);
    const running = this.#hands.flatMap(({ jobs }) => jobs.map(({ id }) => id));
    const listOf = (state: "waiting" | "running") =>
      oldestOf(broker.overview.rows(state), Infinity).map(({ id }) => id);
    assert.deepEqual(listOf("waiting"), waiting.map(({ id }) => id));
    assert.deepEqual(listOf("running"), running.sort((one, other) => one - other));
    const arrivals = waiting.map(({ arrivedAt }) => arrivedAt);
    assert.equal(broker.oldestArrival, waiting.length === 0 ? undefined : Math.min(...arrivals));
  }

  #compareSizes(): void {
    const broker = this.#broker;
    const waiting = this.#waiting();
    const assigned = this.#hands.reduce((sum, { jobs }) => sum + jobs.length, 0);
    const blocks = this.#phase === "open" && this.#limits.overflow === "block";
    assert.equal(broker.queued, waiting.length);
    assert.equal(broker.queuedBytes, waiting.reduce((sum, { bytes }) => sum + bytes, 0));
    assert.equal(broker.assigned, assigned);
    assert.equal(broker.idle, waiting.length + assigned === 0);
    assert.equal(broker.admission.isFull, this.#isFull());
    assert.equal(broker.admission.isBlocked, blocks && this.#isFull() && !this.#starves());
  }

  /** Every request is counted once as what became of it, or is still under way. */
  #compareCounters(): void {
    const { requests, joined, answered, refused, rejected, expired, lost, overran, ...given } =
      this.#broker.counters;
    const live = [...this.#asked.values()].filter(isOpen).length;
    const left = given.abandoned + given.cancelled - this.#departed;
    const ended = answered + refused + rejected + expired + lost + overran + left;
    assert.equal(joined, this.#joined);
    assert.equal(requests, this.#asked.size + joined);
    assert.equal(ended + live, this.#asked.size);
  }
}

/** What a job brings along. */
interface NoteOfJob {
  id: number;
  request: Readonly<
    Pick<
      JobRequest<string>,
      "key" | "bytes" | "deadline" | "requestTimeout" | "stream" | "resumable"
    >
  >;
}

function ownerOf({ askers: [first] }: Asked): Peer {
  assert(first);
  return first.peer;
}

/** Whether somebody still waits for its answer. */
function isOpen({ ends, abortedAt }: Asked): boolean {
  return ends === 0 && abortedAt === undefined;
}

/** Whether its client has parts that another worker would give again. */
function isTied({ stream }: Asked): boolean {
  return stream !== undefined && stream.sent > 0 && !stream.resumable;
}

function newPeer(number: number): Peer {
  const client = newConnection<string>(number, new Uint8Array(18)).home;
  return { client, gone: false, waiting: [], servedAt: 0, waitingFrom: 0 };
}

function pick<T>(items: readonly T[], index: number): T | undefined {
  return items[index % Math.max(1, items.length)];
}

function remove<T>(items: T[], item: T): boolean {
  const index = items.indexOf(item);
  if (index >= 0) items.splice(index, 1);
  return index >= 0;
}

function byId([one = 0]: readonly number[], [other = 0]: readonly number[]): number {
  return one - other;
}
