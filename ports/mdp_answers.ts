/**
 * Answers of workers that speak Majordomo, which may come in parts: passed on as far as their clients take them, and
 * gathered where they do not. What else these workers say is mdp_workers.ts's.
 *
 * @module
 */

import type { Worker } from "../broker/job.ts";
import { ReplyFlag, type ReplyHeader } from "../wire/job.ts";
import { type MdpOpening, readJobFrame } from "../wire/mdp.ts";
import { Code } from "../wire/request.ts";
import { type Body, type BodyPool, excessOf } from "./body.ts";
import { type Content, MemoryContent } from "./content.ts";
import type { MdpWorker } from "./mdp_router.ts";
import type { PartFate } from "./part_replies.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What came behind an opening; the body is the taker's. */
export interface MdpAnswer {
  readonly body: Body;
  /** Bytes and frames as they came. */
  readonly bytes: number;
  readonly frames: number;
}

/** What bounds an answer. */
export interface MdpAnswerBounds {
  readonly maxMessageSize: number;
  readonly maxFrames: number;
}

/** What is reported of answers. */
export interface MdpAnswerEvents {
  /** An answer. The header record and the content are valid during the call only. */
  reply(worker: Worker<Body>, reply: ReplyHeader, content: Content): void;
  /** A part of an answer. The content is valid during the call only. */
  part(worker: Worker<Body>, job: number, content: Content): PartFate;
  /** A client leaves more of an answer unread than can be kept for it. */
  giveUp(worker: Worker<Body>, job: number, message: string): void;
}

/** What is asked about the workers that answer. */
export interface MdpAnswerGround {
  /** Whether it is still one of them. */
  isThere(peer: MdpWorker): boolean;
  /** It has said what it must not. */
  refuse(peer: MdpWorker, reason: string, now: number): void;
}

const OK = { code: Code.ok, flags: 0 };
const NOT_TAKEN = "The client leaves more of the answer unread than is kept for it";

/** Hears answers. */
export class MdpAnswers {
  readonly #bodies: BodyPool;
  readonly #bounds: MdpAnswerBounds;
  readonly #events: MdpAnswerEvents;
  readonly #ground: MdpAnswerGround;

  /** Has heard none yet. */
  constructor(
    bodies: BodyPool,
    bounds: MdpAnswerBounds,
    events: MdpAnswerEvents,
    ground: MdpAnswerGround,
  ) {
    this.#bodies = bodies;
    this.#bounds = bounds;
    this.#events = events;
    this.#ground = ground;
  }

  /** Takes an answer, or a part of one, whose body is its own from now on. */
  take(
    peer: MdpWorker,
    { kind, client }: Extract<MdpOpening, { client: Bytes }>,
    { body, bytes, frames }: MdpAnswer,
    now: number,
  ): void {
    const { worker } = peer;
    const job = readJobFrame(client);
    const excess = excessOf(bytes, frames, this.#bounds);
    if (job === undefined || worker.jobs.get(job) === undefined || worker.unsent !== undefined) {
      this.#ground.refuse(peer, "it answered what it was not asked", now);
    } else if (excess !== undefined) {
      if (kind === "final") this.#answer(peer, job, excess, now);
      else this.#ground.refuse(peer, excess, now);
    } else {
      peer.parts.push(body);
      peer.isFinal = kind === "final";
      return this.passOn(peer, job, now);
    }
    this.#bodies.release(body);
  }

  /**
   * Passes on what came of an answer: parts to clients that take them, as far as they take more; whatever is gathered is
   * kept until the end.
   */
  passOn(peer: MdpWorker, job: number, now: number): void {
    // What is sent may bring news of this worker along.
    if (peer.isPassing) return;
    peer.isPassing = true;
    const fate = this.#passParts(peer, job);
    peer.isPassing = false;
    if (!this.#ground.isThere(peer)) return;
    if (peer.isFinal && (fate === "gathered" || peer.parts.length === 0)) {
      return peer.passed > 0 ? this.#endParts(peer, job, now) : this.#finish(peer, job, now);
    }
    const sum = this.#sumOf(peer.parts);
    const excess = excessOf(sum.bytes, sum.frames, this.#bounds);
    if (excess === undefined) return;
    if (fate === "gathered") return this.#ground.refuse(peer, excess, now);
    this.drop(peer);
    this.#events.giveUp(peer.worker, job, NOT_TAKEN);
  }

  /** Passes on all that its client takes; what became of the last one, "sent" if all were. */
  #passParts(peer: MdpWorker, job: number): PartFate {
    const { parts, worker } = peer;
    for (let part = parts.shift(); part !== undefined; part = parts.shift()) {
      const isLast = peer.isFinal && parts.length === 0;
      // An answer that comes at once is no stream.
      if (isLast && peer.passed === 0) return this.#keepFirst(peer, part, "gathered");
      if (peer.skips > 0) peer.skips--;
      else if (!isLast || !isEmpty(part)) {
        const fate = this.#events.part(worker, job, new MemoryContent().setBody(part));
        if (fate === "gathered" || fate === "later") return this.#keepFirst(peer, part, fate);
        if (fate === "sent") peer.passed++;
      }
      this.#bodies.release(part);
    }
    return "sent";
  }

  #keepFirst(peer: MdpWorker, part: Body, fate: PartFate): PartFate {
    peer.parts.unshift(part);
    return fate;
  }

  /** All parts of an answer have gone to its client. */
  #endParts(peer: MdpWorker, job: number, now: number): void {
    const nothing = new MemoryContent();
    this.#reply(peer, job, { code: Code.ok, flags: ReplyFlag.ENDS_PARTS }, nothing, now);
  }

  #sumOf(parts: readonly Body[]): { bytes: number; frames: number } {
    let [bytes, frames] = [0, 0];
    for (const part of parts) {
      bytes += part.size;
      frames += part.frames;
    }
    return { bytes, frames };
  }

  /** All parts of an answer are here: a job ends with all their frames. */
  #finish(peer: MdpWorker, job: number, now: number): void {
    const sum = this.#sumOf(peer.parts);
    const excess = excessOf(sum.bytes, sum.frames, this.#bounds);
    if (excess !== undefined) return this.#answer(peer, job, excess, now);
    const parts = peer.parts.splice(0);
    const [first] = parts;
    if (parts.length === 1 && first !== undefined) {
      this.#reply(peer, job, OK, new MemoryContent().setBody(first), now);
    } else {
      const sizes = parts.flatMap((part) => part.sizes ?? [part.size]);
      const whole = new Uint8Array(sum.bytes);
      let at = 0;
      for (const part of parts) {
        whole.set(part.bytes.subarray(0, part.size), at);
        at += part.size;
      }
      this.#reply(peer, job, OK, new MemoryContent().set(whole, 0, at, sizes), now);
    }
    for (const part of parts) this.#bodies.release(part);
  }

  /** A job ends with an error, as its answer is too large. */
  #answer(peer: MdpWorker, job: number, excess: string, now: number): void {
    this.drop(peer);
    const text = new TextEncoder().encode(excess.replace("The body", "The reply"));
    const failed = { code: Code.handlerFailed, flags: 0 };
    this.#reply(peer, job, failed, new MemoryContent().set(text, 0, text.length), now);
  }

  /** The content is for this answer alone: while it is sent to one client, another answer may come. */
  #reply(
    peer: MdpWorker,
    job: number,
    { code, flags }: Pick<ReplyHeader, "code" | "flags">,
    content: MemoryContent,
    now: number,
  ): void {
    const micros = Math.max(0, Math.round((now - peer.sentAt) * 1000));
    const frames = content.sizes?.length ?? 1;
    this.#events.reply(peer.worker, { job, code, flags, micros, frames }, content);
  }

  /** What is gathered of an answer is for nobody. */
  drop(peer: MdpWorker): void {
    for (const part of peer.parts.splice(0)) this.#bodies.release(part);
  }
}

/** Whether a body is one empty frame: it ends parts, and is none. */
function isEmpty({ size, frames }: Body): boolean {
  return size === 0 && frames === 1;
}
