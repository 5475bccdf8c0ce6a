/**
 * What handlers ask other services of their server: comes in as clients' requests do, by the rights of the client
 * whose job asks, and its answer goes back to the worker. A worker's end takes with it what it has asked.
 *
 * @module
 */

import { clientsOf, isLive, type Job, newPeer, type Peer, type Worker } from "../broker/job.ts";
import type { Settings } from "../options/settings.ts";
import { Code } from "../wire/request.ts";
import { MAX_QUESTION_BYTES, type QuestionHead, readQuestion } from "../wire/question.ts";
import { type Body, type BodyPool, excessOf } from "./body.ts";
import { type Content, MemoryContent } from "./content.ts";
import type { Lane } from "./lane.ts";
import type { Reception } from "./reception.ts";
import type { Address } from "./source.ts";

/** What `Questions` work with. */
export interface QuestionGround {
  lane: Pick<Lane, "answer">;
  bodies: BodyPool;
  limits: Pick<Settings, "maxMessageSize" | "maxFrames">;
  /** Where questions come in. */
  reception(): Pick<Reception, "request" | "cancel" | "gone">;
}

/** Services that a request may go through, one after the other: more are a loop. */
export const MAX_HOPS = 16;
/** Questions that a worker may have open. */
const MOST_OPEN = 1000;
const NO_FRAMES: readonly Uint8Array<ArrayBuffer>[] = [];
const encoder = new TextEncoder();

/** What a worker has asked. */
interface Asking {
  readonly worker: Worker<Body>;
  /** Who asks: the client of the job by whose number it is kept, as far as the server is concerned. */
  readonly peers: Map<number, Peer<Body>>;
  /** Who has asked each open question. */
  readonly open: Map<number, Peer<Body>>;
}

/** The questions of all workers. */
export class Questions {
  readonly #ground: QuestionGround;
  /** By the workers' numbers. */
  readonly #asking = new Map<number, Asking>();
  readonly #jobs = new WeakMap<Peer<Body>, { asking: Asking; job: number }>();
  readonly #message = new MemoryContent();

  /** Has none yet. */
  constructor(ground: QuestionGround) {
    this.#ground = ground;
  }

  /** A worker asks on behalf of a job of its own. A head that no worker of ours sends is not answered. */
  ask(worker: Worker<Body>, id: number, content: Content, now: number): void {
    const head = headOf(content);
    const asking = this.#of(worker);
    if (head === undefined || asking.open.has(head.number)) return;
    const job = worker.jobs.get(id);
    if (job?.state !== "assigned") {
      return this.#refuse(worker, head.number, Code.cancelled, "The job that asks has ended");
    }
    this.#take(asking, job, head, content, now);
  }

  #take(asking: Asking, job: Job<Body>, head: QuestionHead, content: Content, now: number): void {
    const { worker } = asking;
    const { number } = head;
    if (asking.open.size >= MOST_OPEN) {
      const most = `The worker has ${MOST_OPEN} questions open, which is the limit`;
      return this.#refuse(worker, number, Code.unavailable, most);
    }
    const hops = hopsOf(job) + 1;
    if (hops > MAX_HOPS) {
      return this.#refuse(
        worker,
        number,
        Code.loop,
        `The request went through ${MAX_HOPS} services`,
      );
    }
    const peer = this.#peerOf(asking, job);
    asking.open.set(number, peer);
    const { limits, bodies } = this.#ground;
    const [headBytes = 0, ...sizes] = content.sizes ?? [];
    const bytes = content.size - headBytes;
    const excess = excessOf(bytes, sizes.length, limits);
    const body = bodies.take(excess === undefined ? bytes : 0);
    content.copyTo(body.bytes, 0, headBytes, body.size);
    if (sizes.length > 1 && excess === undefined) body.sizes = sizes;
    const deadline = head.deadline === 0 ? Infinity : head.deadline - Date.now() + now;
    this.#ground.reception().request(peer, {
      client: peer.home,
      envelope: NO_FRAMES,
      requestId: number,
      body,
      bytes,
      deadline: Math.min(deadline, job.deadline),
      requestTimeout: head.requestTimeout,
      key: head.key,
      service: head.service,
      hops,
      trace: head.trace ?? job.request.trace,
      excess,
      fault: "",
    }, now);
  }

  /** A worker does not wait for an answer any more. */
  withdraw(worker: Worker<Body>, number: number, now: number): void {
    const peer = this.#asking.get(worker.id)?.open.get(number);
    if (peer !== undefined) this.#ground.reception().cancel(peer, number, NO_FRAMES, now);
  }

  /** A worker is gone. */
  gone(worker: Worker<Body>, now: number): void {
    const asking = this.#asking.get(worker.id);
    if (asking === undefined) return;
    this.#asking.delete(worker.id);
    for (const peer of asking.peers.values()) this.#ground.reception().gone(peer, now);
  }

  /** The job on behalf of which a worker asks, if that runs. */
  jobOf(peer: Peer<Body>): Job<Body> | undefined {
    const { asking, job: id = 0 } = this.#jobs.get(peer) ?? {};
    const job = asking?.worker.jobs.get(id);
    return job?.state === "assigned" ? job : undefined;
  }

  /** Brings an answer to the worker that has asked. */
  reply(to: Address, code: number, content: Content): void {
    const { peer } = to.client;
    const { asking, job } = this.#jobs.get(peer) ?? {};
    const number = to.requestId;
    if (asking === undefined || job === undefined || number === undefined) return;
    if (!asking.open.delete(number)) return;
    if (!clientsOf(peer).some(isLive)) asking.peers.delete(job);
    this.#ground.lane.answer(asking.worker, number, code, content);
  }

  /** The same of an error that the broker made. */
  replyError(to: Address, code: number, message: string): void {
    this.reply(to, code, this.#contentOf(message));
  }

  #refuse(worker: Worker<Body>, number: number, code: number, message: string): void {
    this.#ground.lane.answer(worker, number, code, this.#contentOf(message));
  }

  #contentOf(message: string): Content {
    const bytes = encoder.encode(message);
    return this.#message.set(bytes, 0, bytes.length);
  }

  #of(worker: Worker<Body>): Asking {
    const known = this.#asking.get(worker.id);
    if (known !== undefined) return known;
    const asking = { worker, peers: new Map(), open: new Map() };
    this.#asking.set(worker.id, asking);
    return asking;
  }

  /** Who asks on behalf of a job: its client, with the same rights, whose questions have a line of their own. */
  #peerOf(asking: Asking, { id, asker }: Job<Body>): Peer<Body> {
    const known = asking.peers.get(id);
    if (known !== undefined) return known;
    const { header, user } = asker.client.peer;
    const peer = newPeer<Body>(-asking.worker.id, header, user);
    asking.peers.set(id, peer);
    this.#jobs.set(peer, { asking, job: id });
    return peer;
  }
}

/** Whether a peer is no client's connection, but a worker that asks. */
export function isQuestioner({ place }: Peer<Body>): boolean {
  return place < 0;
}

/** The head of a question; undefined: it has none, or no body. */
function headOf(content: Content): QuestionHead | undefined {
  const [size = 0, ...others] = content.sizes ?? [];
  if (others.length === 0 || size > MAX_QUESTION_BYTES) return undefined;
  const bytes = new Uint8Array(size);
  content.copyTo(bytes, 0, 0, size);
  return readQuestion(bytes, 0, size);
}

/** Services that a job has gone through before its own. */
function hopsOf({ request }: Job<Body>): number {
  return request.hops ?? 0;
}
