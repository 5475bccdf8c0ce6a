/**
 * Sends the jobs that the broker has assigned: those of one worker together, and a suspect only once its
 * worker has shown that it lives. Chooses nothing.
 *
 * @module
 */

import type { Broker } from "../broker.ts";
import type { Assignment } from "../broker/dispatch.ts";
import type { Job, Worker } from "../broker/job.ts";
import { Code } from "../wire/request.ts";
import type { AccessBook } from "./access_book.ts";
import type { Lane } from "./lane.ts";
import { type EventQueue, serviceField } from "./event_queue.ts";
import type { Body } from "./body.ts";
import type { JobTopics } from "./job_topics.ts";

/** Of so many jobs, the log says of one why it went to its worker, at level debug. */
const TRACE_EVERY = 1000;

/** The way of a service's jobs to their workers. */
export class Dispatcher {
  readonly #service: string;
  readonly #broker: Broker<Body>;
  readonly #lane: Lane;
  readonly #book: AccessBook | undefined;
  readonly #topics: JobTopics;
  readonly #events: EventQueue;
  readonly #traces: boolean;
  /** Jobs that workers have got since the start. */
  #jobs = 0;
  /** Workers that have jobs which are about to be sent; none between two calls. */
  readonly #addressed: Worker<Body>[] = [];

  /** `book`: undefined where there is no access log. `traces`: whether the log takes lines of level debug. */
  constructor(
    service: string,
    broker: Broker<Body>,
    lane: Lane,
    events: EventQueue,
    { book, traces, topics }: {
      book: AccessBook | undefined;
      traces: boolean;
      topics: JobTopics;
    },
  ) {
    this.#service = service;
    this.#broker = broker;
    this.#lane = lane;
    this.#events = events;
    this.#book = book;
    this.#topics = topics;
    this.#traces = traces;
  }

  /** Sends all jobs for which there is a worker; returns how many. */
  sendAll(now: number): number {
    let jobs = 0;
    for (let next = this.#broker.next(now); next; next = this.#broker.next(now)) {
      jobs++;
      if (this.#traces && this.#jobs++ % TRACE_EVERY === 0) this.#trace(next);
      this.#book?.sent(next.job, now);
      if (this.#topics.wanted !== 0) this.#topics.started(next.job, next.worker.id);
      if (next.worker.unsent !== undefined) this.#ask(next, now);
      else this.#group(next);
    }
    if (this.#addressed.length > 0) this.#sendGroups(now);
    return jobs;
  }

  #group({ worker, job }: Assignment<Body>): void {
    if (worker.outgoing.length === 0) this.#addressed.push(worker);
    worker.outgoing.push(job);
  }

  /** A worker has shown that it lives: it gets the job that waited for that. */
  sendProven(worker: Worker<Body>, now: number): void {
    const job = this.#broker.workforce.proven(worker, now);
    if (job !== undefined && this.#lane.send(worker, [job], now) === 0) {
      this.#unsendable(worker, [job], now);
    }
  }

  /** Nobody waits any more for the answer to a job: its worker, if it has one, is told. */
  cancel({ id, worker }: Job<Body>): void {
    if (worker !== undefined) this.#lane.cancel(worker, id, Code.cancelled);
  }

  #trace(assignment: Assignment<Body>): void {
    const fields = { ...serviceField(this.#service), ...this.#broker.explain(assignment) };
    this.#events.add({ type: "log", level: "debug", message: "job assigned", fields });
  }

  #ask({ worker, job }: Assignment<Body>, now: number): void {
    if (this.#lane.ask(worker) === "gone") this.#unsendable(worker, [job], now);
  }

  #sendGroups(now: number): void {
    for (const worker of this.#addressed) {
      const jobs = worker.outgoing;
      const sent = this.#lane.send(worker, jobs, now);
      if (sent < jobs.length) this.#unsendable(worker, jobs.slice(sent), now);
      jobs.length = 0;
    }
    this.#addressed.length = 0;
  }

  /** The worker has just gone; what it said before that is still to be read. */
  #unsendable(worker: Worker<Body>, jobs: readonly Job<Body>[], now: number): void {
    // One that was given up while it was sent something has nothing any more.
    if (worker.state === "gone") return;
    for (const job of jobs.toReversed()) this.#broker.workforce.giveBack(worker, job.id, now);
    this.#broker.workforce.retire(worker);
  }
}
