/**
 * What clients have asked the store and was not answered: found by number, by client, and by when nobody waits any more.
 * Sends nothing.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import type { Body } from "../ports/body.ts";
import { traceIn } from "../ports/error_replies.ts";
import type { Address, ClientRequest } from "../ports/source.ts";
import type { Frames } from "../store/messages.ts";
import type { JobCommand } from "../wire/submission.ts";

/** The service behind `ctx.job.checkpoint`: only a handler that runs a stored job may ask it. */
export const CHECKPOINT = "checkpoint";

/** How the answer to one who asks is made. */
export type Kind = JobCommand | typeof CHECKPOINT | "durable";

/** A question that was not answered. */
export interface Open {
  readonly number: number;
  /** What the access log calls it. */
  readonly service: string;
  readonly kind: Kind;
  readonly to: Address;
  readonly user: string;
  readonly arrivedAt: number;
  /** Bytes of what it has brought, and those of them that wait to be stored. */
  readonly bytes: number;
  held: number;
  /** Nobody waits any more after that, ms. */
  readonly deadline: number;
  readonly trace: string | undefined;
  /** The job that it waits for; "": that is not known, or it waits for none. */
  job: string;
  /** What is to be kept, and of which run; undefined: nothing is. */
  readonly kept: Kept | undefined;
}

/** What a run has to be kept. */
export interface Kept {
  readonly run: number;
  readonly value: Frames;
}

/** The questions that are open. */
export class OpenQuestions {
  readonly #all = new Map<number, Open>();
  readonly #ofPeer = new Map<Peer<Body>, Set<Open>>();
  #last = 0;
  #held = 0;

  /** How many there are. */
  get size(): number {
    return this.#all.size;
  }

  /** Bytes of jobs that are to be stored. */
  get held(): number {
    return this.#held;
  }

  /** How many a client has. */
  countOf(peer: Peer<Body>): number {
    return this.#ofPeer.get(peer)?.size ?? 0;
  }

  /** The one of a number. */
  get(number: number): Open | undefined {
    return this.#all.get(number);
  }

  /** All of them, as they are now. */
  all(): Open[] {
    return [...this.#all.values()];
  }

  /** Those of a client, as they are now. */
  of(peer: Peer<Body>): Open[] {
    return [...this.#ofPeer.get(peer) ?? []];
  }

  /** Those for which nobody waits any more. */
  overdue(now: number): Open[] {
    const found: Open[] = [];
    for (const open of this.#all.values()) if (open.deadline <= now) found.push(open);
    return found;
  }

  /** A client asks; `held`: bytes that are to be stored. */
  add(
    peer: Peer<Body>,
    { client, envelope, requestId, service, bytes, deadline, trace }: ClientRequest,
    kind: Kind,
    held: number,
    now: number,
    kept?: Kept,
  ): Open {
    const open: Open = {
      ...{ number: ++this.#last, kind, service, bytes, held, deadline, job: "", kept },
      to: { client, envelope, requestId },
      user: peer.user,
      arrivedAt: now,
      trace: traceIn({ trace }),
    };
    this.#all.set(open.number, open);
    const others = this.#ofPeer.get(peer) ?? new Set();
    if (others.size === 0) this.#ofPeer.set(peer, others);
    others.add(open);
    client.live++;
    this.#held += held;
    return open;
  }

  /** What a question has brought waits no more to be stored. */
  release(open: Open): void {
    this.#held -= open.held;
    open.held = 0;
  }

  /** It is answered, or nobody waits for that. */
  end(open: Open): void {
    const { peer } = open.to.client;
    this.#all.delete(open.number);
    const others = this.#ofPeer.get(peer);
    others?.delete(open);
    if (others?.size === 0) this.#ofPeer.delete(peer);
    open.to.client.live--;
    this.release(open);
  }

  /** The same question by another number: an answer to the former one may be under way. */
  renew(open: Open): Open {
    const { peer } = open.to.client;
    const renewed = { ...open, number: ++this.#last };
    this.#all.delete(open.number);
    this.#all.set(renewed.number, renewed);
    this.#ofPeer.get(peer)?.delete(open);
    this.#ofPeer.get(peer)?.add(renewed);
    return renewed;
  }
}
