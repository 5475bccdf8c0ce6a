/**
 * Two lanes as one: that to the server's own worker processes, and that to workers that speak Majordomo. What has to do
 * with processes and their socket is the first one's.
 *
 * @module
 */

import type { Job, Worker } from "../broker/job.ts";
import type { Pollable } from "../system/poller.ts";
import type { StreamCredit } from "../wire/credit.ts";
import type { Body } from "./body.ts";
import type { Content } from "./content.ts";
import type { Lane } from "./lane.ts";
import type { MdpWorkers } from "./mdp_workers.ts";

/** The lane to all workers, where some speak Majordomo. These are read and waited for with their source. */
export class JointLane implements Lane {
  readonly #own: Lane;
  readonly #mdp: MdpWorkers;

  constructor(own: Lane, mdp: MdpWorkers) {
    this.#own = own;
    this.#mdp = mdp;
  }

  get port(): Pollable {
    return this.#own.port;
  }

  get intruders(): number {
    return this.#own.intruders;
  }

  bind(endpoint: string): string {
    return this.#own.bind(endpoint);
  }

  read(now: number): number {
    return this.#own.read(now);
  }

  isReadable(): boolean {
    return this.#own.isReadable();
  }

  send(worker: Worker<Body>, jobs: readonly Job<Body>[], now: number): number {
    return this.#mdp.has(worker)
      ? this.#mdp.send(worker, jobs, now)
      : this.#own.send(worker, jobs, now);
  }

  flush(): void {
    this.#own.flush();
  }

  ask(worker: Worker<Body>): "asked" | "gone" {
    return this.#mdp.has(worker) ? this.#mdp.ask(worker) : this.#own.ask(worker);
  }

  /** Majordomo has no word for it: such a worker answers, and nobody hears it. */
  cancel(worker: Worker<Body>, job: number, code: number): void {
    if (!this.#mdp.has(worker)) this.#own.cancel(worker, job, code);
  }

  /** Nor has it one for this: what such a worker has sent beyond what its client took waits here. */
  grant(worker: Worker<Body>, job: number, credit: StreamCredit): void {
    if (this.#mdp.has(worker)) this.#mdp.grant(worker, job, performance.now());
    else this.#own.grant(worker, job, credit);
  }

  /** Only handlers of the server's own workers ask. */
  answer(worker: Worker<Body>, question: number, code: number, content: Content): void {
    this.#own.answer(worker, question, code, content);
  }

  stop(worker: Worker<Body>): void {
    this.#own.stop(worker);
  }

  end(worker: Worker<Body>): boolean {
    if (!this.#mdp.has(worker)) return false;
    this.#mdp.end(worker, performance.now());
    return true;
  }

  forget(worker: Worker<Body>): void {
    this.#own.forget(worker);
  }

  giveBackMemory(): void {
    this.#own.giveBackMemory();
  }

  close(): void {
    this.#own.close();
  }
}
