/**
 * Several lanes as one: that to the server's own worker processes, that to workers that speak Majordomo, and that to
 * workers of pools on other machines. What has to do with the server's own processes and their socket is the first one's.
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
import type { ZmqLane } from "./zmq_lane.ts";

/** The lane to all workers. Those that speak Majordomo are read and waited for with their source. */
export class JointLane implements Lane {
  readonly #own: Lane;
  readonly #mdp: MdpWorkers | undefined;
  readonly #joined: ZmqLane | undefined;

  /** @param mdp undefined: none speaks Majordomo; `joined`: undefined: no other machine has any. */
  constructor(own: Lane, mdp: MdpWorkers | undefined, joined: ZmqLane | undefined) {
    this.#own = own;
    this.#mdp = mdp;
    this.#joined = joined;
  }

  get port(): Pollable {
    return this.#own.port;
  }

  get intruders(): number {
    return this.#own.intruders + (this.#joined?.intruders ?? 0);
  }

  bind(endpoint: string): string {
    return this.#own.bind(endpoint);
  }

  read(now: number): number {
    return this.#own.read(now) + (this.#joined?.read(now) ?? 0);
  }

  isReadable(): boolean {
    // Both are asked: to ask is what has libzmq tell of what comes next.
    const isReadable = this.#joined?.isReadable() ?? false;
    return this.#own.isReadable() || isReadable;
  }

  /** The lane of a worker that does not speak Majordomo. */
  #of(worker: Worker<Body>): Lane {
    return this.#joined?.has(worker) ? this.#joined : this.#own;
  }

  /** Whether a worker speaks Majordomo. */
  #isForeign(worker: Worker<Body>): boolean {
    return this.#mdp?.has(worker) ?? false;
  }

  send(worker: Worker<Body>, jobs: readonly Job<Body>[], now: number): number {
    return this.#mdp?.has(worker)
      ? this.#mdp.send(worker, jobs, now)
      : this.#of(worker).send(worker, jobs, now);
  }

  flush(): void {
    this.#own.flush();
  }

  ask(worker: Worker<Body>): "asked" | "gone" {
    return this.#mdp?.has(worker) ? this.#mdp.ask(worker) : this.#of(worker).ask(worker);
  }

  /** Majordomo has no word for it: such a worker answers, and nobody hears it. */
  cancel(worker: Worker<Body>, job: number, code: number): void {
    if (!this.#isForeign(worker)) this.#of(worker).cancel(worker, job, code);
  }

  /** Nor has it one for this: what such a worker has sent beyond what its client took waits here. */
  grant(worker: Worker<Body>, job: number, credit: StreamCredit): void {
    if (this.#mdp?.has(worker)) this.#mdp.grant(worker, job, performance.now());
    else this.#of(worker).grant(worker, job, credit);
  }

  /** Only handlers of this package's workers ask. */
  answer(worker: Worker<Body>, question: number, code: number, content: Content): void {
    this.#of(worker).answer(worker, question, code, content);
  }

  stop(worker: Worker<Body>): void {
    this.#of(worker).stop(worker);
  }

  tellJoiner(joiner: number, text: string): void {
    this.#joined?.tellJoiner(joiner, text);
  }

  end(worker: Worker<Body>): boolean {
    if (this.#mdp === undefined || !this.#mdp.has(worker)) return false;
    this.#mdp.end(worker, performance.now());
    return true;
  }

  forget(worker: Worker<Body>): void {
    this.#of(worker).forget(worker);
  }

  giveBackMemory(): void {
    this.#own.giveBackMemory();
    this.#joined?.giveBackMemory();
  }

  close(): void {
    this.#own.close();
    this.#joined?.close();
  }
}
