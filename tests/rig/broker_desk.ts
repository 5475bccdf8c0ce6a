/**
 * A Broker with a clock, clients and workers that exist as names only. A body is an object that counts how often it was
 * given up.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { Broker } from "../../broker.ts";
import type { End } from "../../broker/inquest.ts";
import { type Client, type Job, type JobRequest, newPeer, type Worker } from "../../broker/job.ts";
import type { BrokerLimits } from "../../broker/limits.ts";
import { Code } from "../../wire/request.ts";

export const LIMITS: BrokerLimits = {
  concurrency: 1,
  prefetch: 20,
  prefetchBudget: 1,
  dispatch: "mru",
  maxAttempts: 2,
  queueLimit: 10_000,
  queueBytes: 1_000_000,
  overflow: "block",
  maxQueuePerClient: 0,
  requestTimeout: 0,
  stopTimeout: 5000,
  abortGrace: 0,
};

/** Service times, µs. */
export const QUICK = 10;
export const SLOW = 10_000;

export interface Body {
  readonly name: string;
  releases: number;
}

export interface Asked {
  bytes?: number;
  /** From now, ms. */
  timeout?: number;
  /** How long its handler may run, ms. */
  requestTimeout?: number;
  key?: string;
  requestId?: number | undefined;
  envelope?: Uint8Array<ArrayBuffer>[];
}

/** A broker, its clock, and names for all it deals with. */
export class Desk {
  readonly broker: Broker<Body>;
  now = 1000;
  readonly bodies: Body[] = [];
  readonly #limits: BrokerLimits;
  readonly #clients = new Map<string, Client<Body>>();
  readonly #workers = new Map<number, Worker<Body>>();
  readonly #jobs = new Map<string, Job<Body>>();

  constructor(limits: Partial<BrokerLimits> = {}, times = { wakeTime: 0 }) {
    this.#limits = { ...LIMITS, ...limits };
    this.broker = new Broker(this.#limits, times);
  }

  configure(limits: Partial<BrokerLimits>): void {
    this.broker.configure({ ...this.#limits, ...limits });
  }

  client(name: string): Client<Body> {
    const known = this.#clients.get(name);
    if (known !== undefined) return known;
    const client = newPeer<Body>(name.length, new Uint8Array(18)).home;
    this.#clients.set(name, client);
    return client;
  }

  /** Submits jobs, each named by its client's letters and a number: "a1 a2 b1". */
  submit(names: string, asked: Asked = {}): void {
    for (const name of names.split(" ")) {
      this.#jobs.set(name, this.broker.submit(this.#request(name, asked)));
    }
  }

  reject(name: string): void {
    const request = this.#request(name, { bytes: 0 });
    this.broker.reject(request, Code.tooLarge, "Too large");
  }

  refuse(name: string): void {
    this.broker.refuse(this.#request(name, {}), "No");
  }

  /** Brings workers that are ready. */
  workers(...numbers: number[]): void {
    for (const number of numbers) {
      this.#workers.set(number, this.broker.workforce.add(number, this.now));
    }
  }

  worker(number: number): Worker<Body> {
    const worker = this.#workers.get(number);
    assert(worker, `There is a worker ${number}`);
    return worker;
  }

  job(name: string): Job<Body> {
    const job = this.#jobs.get(name);
    assert(job, `There is a job ${name}`);
    return job;
  }

  /** All that can be sent now, as "job>worker". */
  dispatch(): string {
    const sent: string[] = [];
    for (;;) {
      const next = this.broker.next(this.now);
      if (next === undefined) return sent.join(" ");
      this.broker.workforce.proven(next.worker, this.now);
      sent.push(`${next.job.request.body.name}>${next.worker.id}`);
    }
  }

  /** A worker answers a job; whether the answer counted. */
  reply(number: number, name: string, micros = SLOW, code: number = Code.ok): boolean {
    const worker = this.worker(number);
    const job = this.broker.takeReply(worker, this.job(name).id, code, micros, this.now);
    if (job === undefined) return false;
    assert.equal(job, this.job(name));
    job.request.body.releases++;
    return true;
  }

  /** A worker ends itself, or is killed from outside. */
  die(number: number, end: End = "itself"): void {
    this.broker.workforce.processEnded(number, this.worker(number), end, this.now);
    this.broker.workforce.remove(this.worker(number), "died", this.now);
  }

  leave(number: number): void {
    this.broker.workforce.remove(this.worker(number), "left", this.now);
  }

  /** Time passes, in steps that the broker asks for. */
  pass(time: number): void {
    for (const end = this.now + time; this.now < end;) {
      this.now = Math.min(end, this.now + this.broker.tick(this.now));
    }
    this.broker.tick(this.now);
  }

  giveBack(number: number, name: string): void {
    this.broker.workforce.giveBack(this.worker(number), this.job(name).id, this.now);
  }

  /** What the broker itself has ended, as "job: code message" or "job: nothing". */
  ended(): string[] {
    return this.broker.takeEnded().map(({ job, to, code, message, last }) => {
      if (last) job.request.body.releases++;
      return `${job.request.body.name}: ${to.length > 0 ? `${code} ${message}` : "nothing"}`;
    });
  }

  /** Teaches the broker how long the handler takes, by a job that was answered. */
  observe(number: number, micros: number): void {
    this.submit("z0");
    assert.equal(this.dispatch(), `z0>${number}`);
    this.reply(number, "z0", micros);
  }

  #request(name: string, asked: Asked): JobRequest<Body> {
    const { bytes = 1, timeout = Infinity, envelope = [], requestId, key = "" } = asked;
    const client = this.client(name.replace(/\d+$/, ""));
    const body = { name, releases: 0 };
    this.bodies.push(body);
    const deadline = this.now + timeout;
    const requestTimeout = this.broker.timeLimit(asked.requestTimeout ?? 0);
    return { client, envelope, requestId, requestTimeout, key, body, bytes, deadline };
  }
}

/** "a1 a2 … a<count>" */
export function series(letter: string, count: number): string {
  return Array.from({ length: count }, (_, index) => `${letter}${index + 1}`).join(" ");
}

/** Jobs in the order that one worker gets and answers them, one at a time. */
export function serveAll(desk: Desk, number: number): string {
  const order: string[] = [];
  for (;;) {
    const next = desk.broker.next(desk.now);
    if (next === undefined) return order.join(" ");
    desk.broker.workforce.proven(next.worker, desk.now);
    order.push(next.job.request.body.name);
    assert(desk.reply(number, next.job.request.body.name));
  }
}

/** Three jobs at worker 1, of which the first runs, and one that waits. */
export function loaded(limits: Partial<BrokerLimits> = {}): Desk {
  const desk = new Desk({ prefetch: 3, ...limits });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 a2 a3 a4");
  assert.equal(desk.dispatch(), "a1>1 a2>1 a3>1");
  return desk;
}

export function deaths(desk: Desk, names: string): number[] {
  return names.split(" ").map((name) => desk.job(name).deaths);
}

/** Ticks as the loop does, for so long. */
export function pass(desk: Desk, duration: number): void {
  for (const end = desk.now + duration; desk.now < end;) {
    desk.now += Math.min(10, end - desk.now);
    desk.broker.tick(desk.now);
  }
}

/** Workers that are to be ended, with what was taken from them. */
export function overruns(desk: Desk): string[] {
  return desk.broker.takeOverruns().map(({ worker, jobs, step }) =>
    `${step === "end" ? "" : "isolate "}${worker.id}: ${
      jobs.map(({ request }) => request.body.name).join(" ")
    }`
  );
}

/** How a request ends that is taken back. */
export const TAKEN_BACK = "499 The request was cancelled";
