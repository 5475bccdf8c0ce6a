/**
 * The workers in service, what each of them has, and how many jobs that are. It decides nothing: who gets
 * the next job is dispatch.ts's business, and what a job's end means is the broker's.
 *
 * @module
 */

import type { Client, Job, Worker } from "./job.ts";
import { List } from "./list.ts";
import { Starving } from "./stream.ts";
import type { TimeLimits } from "./time_limits.ts";

/** Workers, and the jobs that they have. */
export class Roster<B> {
  readonly #workers = new Set<Worker<B>>();
  /** Workers that may get a job, by how many they have; the one that came to that number last is in front. */
  readonly #levels: List<Worker<B>>[] = [];
  /** Workers that have tries of stored jobs. */
  readonly #withStored = new Set<Worker<B>>();
  /** No level below this has a worker. */
  #lowest = 0;
  /** A worker that gets no more jobs until it has none: then it is free for a suspect. */
  #kept: Worker<B> | undefined;
  #jobs = 0;
  #bytes = 0;
  readonly #timeLimits: Pick<TimeLimits<B>, "assigned" | "unassigned">;
  readonly #starving: Starving;

  /** Starts without a worker; `timeLimits` and `starving` learn which jobs workers have. */
  constructor(
    timeLimits: Pick<TimeLimits<B>, "assigned" | "unassigned">,
    starving: Starving = new Starving(),
  ) {
    this.#timeLimits = timeLimits;
    this.#starving = starving;
  }

  /** Every worker that is not gone. */
  get workers(): ReadonlySet<Worker<B>> {
    return this.#workers;
  }

  /** Jobs that workers have. */
  get jobs(): number {
    return this.#jobs;
  }

  /** Their bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Workers that have tries of stored jobs. */
  get withStored(): ReadonlySet<Worker<B>> {
    return this.#withStored;
  }

  /** No worker that may get a job has as many jobs as this, or more. */
  get height(): number {
    return this.#levels.length;
  }

  /** The least number of jobs that a worker has that may get one. */
  get lowest(): number {
    while (this.#lowest < this.#levels.length && this.#level(this.#lowest).first === undefined) {
      this.#lowest++;
    }
    return this.#lowest;
  }

  /** Of the workers with `level` jobs that may get one, the one that came to that number last. */
  newest(level: number): Worker<B> | undefined {
    return this.#levels[level]?.first;
  }

  /** The same, the one that has been there for longest. */
  oldest(level: number): Worker<B> | undefined {
    return this.#levels[level]?.last;
  }

  /** A worker comes into service. */
  add(worker: Worker<B>): void {
    this.#workers.add(worker);
    this.#place(worker);
  }

  /** A worker gets no more jobs; it keeps those that it has. */
  retire(worker: Worker<B>): void {
    if (worker.state !== "ready") return;
    this.#unplace(worker);
    worker.state = "retiring";
    if (worker === this.#kept) this.#kept = undefined;
  }

  /** A worker is gone; returns the jobs that it had. */
  remove(worker: Worker<B>): Job<B>[] {
    this.retire(worker);
    worker.state = "gone";
    this.#workers.delete(worker);
    return this.empty(worker);
  }

  /** Gives a job to a worker; as the only one that it has and gets, if that is said. */
  assign(job: Job<B>, worker: Worker<B>, company: "alone" | "any", now: number): void {
    this.#unplace(worker);
    if (worker.jobs.size === 0) worker.progressAt = now;
    worker.jobs.set(job.id, job);
    worker.alone = company === "alone";
    this.#jobs++;
    this.#bytes += job.bytes;
    this.#place(worker);
    job.worker = worker;
    job.state = "assigned";
    if (job.request.stored !== undefined && worker.stored++ === 0) this.#withStored.add(worker);
    this.#timeLimits.assigned(job, now);
    if (job.stream !== undefined) this.#starving.look(job);
  }

  /** Takes a job from the worker that has it. */
  unassign(job: Job<B>, worker: Worker<B>, now: number): void {
    this.#unplace(worker);
    worker.jobs.delete(job.id);
    if (worker.jobs.size === 0) {
      worker.idleSince = now;
      if (worker === this.#kept) this.#kept = undefined;
    }
    worker.alone = worker === this.#kept;
    worker.unsent = undefined;
    this.#leave(job);
    this.#place(worker);
  }

  /** Takes all jobs from a worker that gets no more. */
  empty(worker: Worker<B>): Job<B>[] {
    const jobs = [...worker.jobs.values()];
    worker.jobs.clear();
    worker.unsent = undefined;
    for (const job of jobs) this.#leave(job);
    return jobs;
  }

  /** The jobs of a client that workers have. */
  jobsOf(client: Client<B>): Job<B>[] {
    const jobs: Job<B>[] = [];
    for (const worker of this.#workers) {
      for (const job of worker.jobs.values()) if (job.asker.client === client) jobs.push(job);
    }
    return jobs;
  }

  /** Keeps the least loaded worker from getting more jobs, so that it has none some time. */
  keepOne(): void {
    if (this.#kept !== undefined) return;
    const worker = this.oldest(this.lowest);
    if (worker === undefined) return;
    this.#unplace(worker);
    worker.alone = true;
    this.#kept = worker;
  }

  /** Lets the worker that was kept have jobs again. */
  keepNone(): void {
    const worker = this.#kept;
    if (worker === undefined) return;
    this.#kept = undefined;
    worker.alone = false;
    this.#place(worker);
  }

  #leave(job: Job<B>): void {
    const { worker } = job;
    if (job.request.stored !== undefined && worker !== undefined && --worker.stored === 0) {
      this.#withStored.delete(worker);
    }
    job.worker = undefined;
    this.#timeLimits.unassigned(job);
    if (job.stream !== undefined) this.#starving.forget(job);
    this.#jobs--;
    this.#bytes -= job.bytes;
  }

  #place(worker: Worker<B>): void {
    if (!mayGetMore(worker)) return;
    const level = worker.jobs.size;
    this.#level(level).unshift(worker);
    if (level < this.#lowest) this.#lowest = level;
  }

  #unplace(worker: Worker<B>): void {
    if (mayGetMore(worker)) this.#level(worker.jobs.size).remove(worker);
  }

  #level(level: number): List<Worker<B>> {
    return this.#levels[level] ??= new List<Worker<B>>();
  }
}

/** Whether a worker may get one job more than it has. */
export function mayGetMore<B>({ state, alone, most, jobs }: Worker<B>): boolean {
  return state === "ready" && !alone && (most === "many" || jobs.size === 0);
}
