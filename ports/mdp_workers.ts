/**
 * Workers that speak Majordomo: a lane to whoever has said READY, judged by what is heard of it instead of by a
 * process. Each runs one job at a time. What their frames are is in wire/mdp.ts; which service they join is decided
 * elsewhere.
 *
 * @module
 */

import type { Job, Worker } from "../broker/job.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { ReplyFlag, type ReplyHeader } from "../wire/job.ts";
import {
  jobFrame,
  type MdpOpening,
  type MdpVersion,
  readJobFrame,
  requestOpening,
  signalOf,
} from "../wire/mdp.ts";
import { Code } from "../wire/request.ts";
import { type Body, type BodyPool, excessOf } from "./body.ts";
import { type Content, MemoryContent } from "./content.ts";
import { isWorker, type MdpLink, type MdpWorker } from "./mdp_router.ts";
import type { PartFate } from "./part_replies.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What came behind an opening; the body is the taker's. */
export interface MdpAnswer {
  readonly body: Body;
  /** Bytes and frames as they came. */
  readonly bytes: number;
  readonly frames: number;
}

/** What is reported of these workers. */
export interface MdpWorkerEvents {
  /** One is ready for a service: the worker that it is now, or why it may not be one. */
  join(service: string, address: string, user: string): Worker<Body> | string;
  /** An answer. The header record and the content are valid during the call only. */
  reply(worker: Worker<Body>, reply: ReplyHeader, content: Content): void;
  /** A part of an answer. The content is valid during the call only. */
  part(worker: Worker<Body>, job: number, content: Content): PartFate;
  /** A client leaves more of an answer unread than can be kept for it. */
  giveUp(worker: Worker<Body>, job: number, message: string): void;
  /** One shows that it lives, as it was asked to. */
  alive(worker: Worker<Body>): void;
  /** One is gone, and why. */
  gone(worker: Worker<Body>, end: "left" | "died", reason: string): void;
  /** A peer has said what none says here. */
  wrong(link: MdpLink, reason: string): void;
}

/** How a message is sent; false: there is no room for it. */
export type SendFrames = (
  link: MdpLink,
  way: readonly Bytes[],
  content: Content,
  now: number,
) => boolean;

/** What bounds these workers. */
export interface MdpWorkerOptions {
  /** Silence after which a worker is told that the server lives, ms; and it must not be silent for thrice as long. */
  readonly heartbeat: number;
  readonly maxMessageSize: number;
  readonly maxFrames: number;
}

/** Heartbeats that may be missed. */
const LIVENESS = 3;
const OK = { code: Code.ok, flags: 0 };
const NOT_TAKEN = "The client leaves more of the answer unread than is kept for it";
/** Looks at all workers in one heartbeat. */
const LOOKS = 5;

/** The workers of one endpoint. */
export class MdpWorkers {
  readonly #send: SendFrames;
  readonly #bodies: BodyPool;
  readonly #options: MdpWorkerOptions;
  readonly #events: MdpWorkerEvents;
  readonly #all = new Map<Worker<Body>, MdpWorker>();
  readonly #asked = new Set<MdpWorker>();
  readonly #content = new MemoryContent();
  /** When all are looked at next, and were last, ms. */
  #lookAt = 0;
  #lookedAt = 0;

  /** Has none yet. */
  constructor(
    send: SendFrames,
    bodies: BodyPool,
    options: MdpWorkerOptions,
    events: MdpWorkerEvents,
  ) {
    this.#send = send;
    this.#bodies = bodies;
    this.#options = options;
    this.#events = events;
  }

  // ---- what workers say ----

  /** Hears a message of a peer that is a worker, or says so. */
  hear(
    link: MdpLink,
    opening: Exclude<MdpOpening, { kind: "request" }>,
    answer: MdpAnswer,
    now: number,
  ): void {
    const { peer } = link;
    if (peer !== undefined && !isWorker(peer)) {
      this.#events.wrong(link, "a client can't be a worker, too");
    } else if (peer === undefined) this.#hearStranger(link, opening, now);
    else if (peer.version !== opening.version) this.refuse(peer, "it changed its protocol", now);
    else return this.#hearWorker(peer, opening, answer, now);
    this.#bodies.release(answer.body);
  }

  #hearStranger(
    link: MdpLink,
    opening: Exclude<MdpOpening, { kind: "request" }>,
    now: number,
  ): void {
    if (opening.kind === "disconnect") return;
    const joined = opening.kind === "ready"
      ? this.#events.join(new TextDecoder().decode(opening.service), link.address, link.user ?? "")
      : undefined;
    if (typeof joined === "object") return this.#enter(link, opening.version, joined, now);
    // One that was given up, or that another server knew, starts anew when it hears this.
    if (joined !== undefined) this.#events.wrong(link, joined);
    this.#tell(link, "disconnect", opening.version, now);
  }

  #enter(
    link: MdpLink,
    version: MdpVersion,
    worker: Worker<Body>,
    now: number,
  ): void {
    const peer: MdpWorker = {
      ...{ kind: "worker", worker, version, link },
      ...{ heardAt: now, saidAt: now, sentAt: now },
      ...{ beatsAtWork: false, parts: [], isFinal: false },
      ...{ passed: 0, skips: 0, isPassing: false },
    };
    link.peer = peer;
    this.#all.set(worker, peer);
  }

  #hearWorker(
    peer: MdpWorker,
    opening: Exclude<MdpOpening, { kind: "request" }>,
    answer: MdpAnswer,
    now: number,
  ): void {
    peer.heardAt = now;
    switch (opening.kind) {
      case "partial":
      case "final":
        return this.#hearAnswer(peer, opening, answer, now);
      case "heartbeat":
        peer.beatsAtWork ||= peer.worker.jobs.size > 0;
        break;
      case "disconnect":
        this.#leave(peer, "it has left");
        break;
      case "ready":
        this.refuse(peer, "it said READY twice", now);
    }
    this.#bodies.release(answer.body);
  }

  #hearAnswer(
    peer: MdpWorker,
    { kind, client }: Extract<MdpOpening, { client: Bytes }>,
    { body, bytes, frames }: MdpAnswer,
    now: number,
  ): void {
    const { worker } = peer;
    const job = readJobFrame(client);
    const excess = excessOf(bytes, frames, this.#options);
    if (job === undefined || worker.jobs.get(job) === undefined || worker.unsent !== undefined) {
      this.refuse(peer, "it answered what it was not asked", now);
    } else if (excess !== undefined) {
      if (kind === "final") this.#answer(peer, job, excess, now);
      else this.refuse(peer, excess, now);
    } else {
      peer.parts.push(body);
      peer.isFinal = kind === "final";
      return this.#passOn(peer, job, now);
    }
    this.#bodies.release(body);
  }

  /**
   * Passes on what came of an answer: parts to clients that take them, as far as they take more; whatever is gathered is
   * kept until the end.
   */
  #passOn(peer: MdpWorker, job: number, now: number): void {
    // What is sent may bring news of this worker along.
    if (peer.isPassing) return;
    peer.isPassing = true;
    const fate = this.#passParts(peer, job);
    peer.isPassing = false;
    if (this.#all.get(peer.worker) !== peer) return;
    if (peer.isFinal && (fate === "gathered" || peer.parts.length === 0)) {
      return peer.passed > 0 ? this.#endParts(peer, job, now) : this.#finish(peer, job, now);
    }
    const sum = this.#sumOf(peer.parts);
    const excess = excessOf(sum.bytes, sum.frames, this.#options);
    if (excess === undefined) return;
    if (fate === "gathered") return this.refuse(peer, excess, now);
    this.#dropParts(peer);
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

  /** A client takes more of the answer to a job. */
  grant(worker: Worker<Body>, job: number, now: number): void {
    const peer = this.#all.get(worker);
    if (peer !== undefined && peer.parts.length > 0) this.#passOn(peer, job, now);
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
    const excess = excessOf(sum.bytes, sum.frames, this.#options);
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
    this.#dropParts(peer);
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

  /** A worker has said what it must not: it is told to start anew. */
  refuse(peer: MdpWorker, reason: string, now: number): void {
    this.#events.wrong(peer.link, reason);
    this.#dismiss(peer, reason, now);
  }

  #dismiss(peer: MdpWorker, reason: string, now: number): void {
    this.#leave(peer, reason);
    this.#tell(peer.link, "disconnect", peer.version, now);
  }

  /** The connection of a worker is gone. */
  lost(peer: MdpWorker): void {
    this.#leave(peer, "its connection has ended");
  }

  /** `end`: whether a job that it had may have ended it. */
  #leave(peer: MdpWorker, reason: string, end: "left" | "died" = endOf(peer)): void {
    const { worker } = peer;
    if (!this.#all.delete(worker)) return;
    this.#forget(peer);
    this.#events.gone(worker, end, reason);
  }

  #forget(peer: MdpWorker): void {
    this.#dropParts(peer);
    this.#asked.delete(peer);
    if (peer.link.peer === peer) peer.link.peer = undefined;
  }

  #dropParts(peer: MdpWorker): void {
    for (const part of peer.parts.splice(0)) this.#bodies.release(part);
  }

  // ---- what they are told ----

  #tell(
    link: MdpLink,
    kind: "heartbeat" | "disconnect",
    version: MdpVersion,
    now: number,
  ): void {
    const frames = signalOf(kind, version);
    const last = frames.at(-1) ?? EMPTY_FRAME;
    // Where there is no room, the peer does not listen anyway.
    this.#send(link, frames.slice(0, -1), this.#content.set(last, 0, last.length), now);
  }

  /** Whether a worker is one of these. */
  has(worker: Worker<Body>): boolean {
    return this.#all.has(worker);
  }

  /** Sends jobs that were assigned to `worker`; returns how many, fewer if there is no room. */
  send(worker: Worker<Body>, jobs: readonly Job<Body>[], now: number): number {
    const peer = this.#all.get(worker);
    let sent = 0;
    for (const { id, request, stream } of peer === undefined ? [] : jobs) {
      if (peer === undefined) break;
      const opening = requestOpening(peer.version, jobFrame(id));
      peer.sentAt = peer.saidAt = now;
      peer.beatsAtWork = peer.isFinal = false;
      peer.passed = peer.skips = stream?.sent ?? 0;
      if (!this.#send(peer.link, opening, this.#bodyOf(request), now)) {
        this.#leave(peer, "it takes nothing", "left");
        break;
      }
      sent++;
    }
    return sent;
  }

  /** What a try of a stored job has kept is nothing that the protocol has a word for. */
  #bodyOf({ body, stored }: Job<Body>["request"]): Content {
    const { bytes, size, sizes } = body;
    if (stored === undefined || !stored.hasKept || sizes === undefined) {
      return this.#content.setBody(body);
    }
    const own = size - (sizes.at(-1) ?? 0);
    const others = sizes.length > 2 ? sizes.slice(0, -1) : undefined;
    return this.#content.set(bytes, 0, own, others);
  }

  /** A worker is to show that it lives: the protocol has no such question, so `tick` sees what it has said. */
  ask(worker: Worker<Body>): "asked" | "gone" {
    const peer = this.#all.get(worker);
    if (peer === undefined) return "gone";
    this.#asked.add(peer);
    return "asked";
  }

  /** Ends a worker whose handler does not stop. */
  end(worker: Worker<Body>, now: number): void {
    const peer = this.#all.get(worker);
    if (peer !== undefined) this.#dismiss(peer, "it did not answer in time", now);
  }

  /** The server ends. */
  dismissAll(now: number): void {
    for (const { link, version } of this.#all.values()) {
      this.#tell(link, "disconnect", version, now);
    }
  }

  // ---- what is due ----

  /** Says that the server lives, and gives up those of whom nothing was heard; returns ms until it must run again. */
  tick(now: number): number {
    if (this.#all.size === 0) return Infinity;
    this.#hearAsked(now);
    if (now >= this.#lookAt) this.#look(now);
    return this.#lookAt - now;
  }

  /** One that was heard of within a heartbeat lives. */
  #hearAsked(now: number): void {
    for (const peer of this.#asked) {
      if (now - peer.heardAt > this.#options.heartbeat) continue;
      this.#asked.delete(peer);
      this.#events.alive(peer.worker);
    }
  }

  #look(now: number): void {
    const { heartbeat } = this.#options;
    const interval = heartbeat / LOOKS;
    // While this process was held up, nobody could be heard.
    const held = Math.max(0, now - this.#lookedAt - 2 * interval);
    const isFirst = this.#lookedAt === 0;
    this.#lookedAt = now;
    this.#lookAt = now + interval;
    for (const peer of [...this.#all.values()]) {
      if (!isFirst) peer.heardAt = Math.min(now, peer.heardAt + held);
      if (now - peer.saidAt >= heartbeat - interval) {
        peer.saidAt = now;
        this.#tell(peer.link, "heartbeat", peer.version, now);
      }
      // What it is to get once it shows that it lives, it can't be busy with.
      const isHeld = isBusy(peer.worker) && !peer.beatsAtWork;
      const silent = now - peer.heardAt;
      if (isHeld || silent <= LIVENESS * heartbeat) continue;
      this.#dismiss(peer, `nothing was heard of it for ${Math.round(silent)} ms`, now);
    }
  }
}

function endOf({ worker }: MdpWorker): "left" | "died" {
  return worker.jobs.size > 0 ? "died" : "left";
}

/** Whether a body is one empty frame: it ends parts, and is none. */
function isEmpty({ size, frames }: Body): boolean {
  return size === 0 && frames === 1;
}

/** Whether a worker was sent a job that it has not answered. */
function isBusy({ jobs, unsent }: Worker<Body>): boolean {
  return jobs.size > 0 && unsent === undefined;
}
