/**
 * Workers that speak Majordomo: a lane to whoever has said READY, judged by what is heard of it instead of by a
 * process. Each runs one job at a time. What their frames are is in wire/mdp.ts; which service they join is decided
 * elsewhere.
 *
 * @module
 */

import type { Job, Worker } from "../broker/job.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import {
  jobFrame,
  type MdpOpening,
  type MdpVersion,
  requestOpening,
  signalOf,
} from "../wire/mdp.ts";
import type { Body, BodyPool } from "./body.ts";
import { type Content, MemoryContent } from "./content.ts";
import {
  type MdpAnswer,
  type MdpAnswerBounds,
  type MdpAnswerEvents,
  MdpAnswers,
} from "./mdp_answers.ts";
import { isWorker, type MdpLink, type MdpWorker } from "./mdp_router.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What is reported of these workers. */
export interface MdpWorkerEvents extends MdpAnswerEvents {
  /** One is ready for a service: the worker that it is now, or why it may not be one. */
  join(service: string, address: string, user: string): Worker<Body> | string;
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
export interface MdpWorkerOptions extends MdpAnswerBounds {
  /** Silence after which a worker is told that the server lives, ms; and it must not be silent for thrice as long. */
  readonly heartbeat: number;
}

/** Heartbeats that may be missed. */
const LIVENESS = 3;
/** Looks at all workers in one heartbeat. */
const LOOKS = 5;

/** The workers of one endpoint. */
export class MdpWorkers {
  readonly #send: SendFrames;
  readonly #bodies: BodyPool;
  readonly #options: MdpWorkerOptions;
  readonly #events: MdpWorkerEvents;
  readonly #answers: MdpAnswers;
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
    this.#answers = new MdpAnswers(bodies, options, events, {
      isThere: (peer) => this.#all.get(peer.worker) === peer,
      refuse: (peer, reason, now) => this.refuse(peer, reason, now),
    });
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
        return this.#answers.take(peer, opening, answer, now);
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

  /** A client takes more of the answer to a job. */
  grant(worker: Worker<Body>, job: number, now: number): void {
    const peer = this.#all.get(worker);
    if (peer !== undefined && peer.parts.length > 0) this.#answers.passOn(peer, job, now);
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
    this.#answers.drop(peer);
    this.#asked.delete(peer);
    if (peer.link.peer === peer) peer.link.peer = undefined;
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

/** Whether a worker was sent a job that it has not answered. */
function isBusy({ jobs, unsent }: Worker<Body>): boolean {
  return jobs.size > 0 && unsent === undefined;
}
