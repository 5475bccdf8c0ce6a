/**
 * Where answers go: to the clients of a source, to workers whose handlers have asked, or to the store.
 *
 * @module
 */

import type { Job, Peer } from "../broker/job.ts";
import type { Body } from "./body.ts";
import type { Content } from "./content.ts";
import { isQuestioner, type Questions } from "./questions.ts";
import type { Address, AnswerWay } from "./source.ts";

/** The place of the peers that tries of stored jobs run for: no connection has it, and no worker that asks. */
export const STORED_PLACE = -Infinity;

/** The way of answers to the store. */
export interface StoredWay {
  /** A worker has answered a try of a stored job; of an error, the content has what its submitter may read. */
  ended(job: Job<Body>, code: number, content: Content, micros: number): void;
  /** The broker has answered one by itself. */
  unanswered(to: Address, code: number, message: string): void;
  /** How far one is: the frames of wire/request.ts, checked. */
  progress(to: Address, content: Content): void;
}

/** The way of all answers. */
export class Answers implements AnswerWay {
  readonly #source: AnswerWay;
  readonly #questions: Pick<Questions, "reply" | "replyError">;
  readonly #stored: StoredWay;

  /** Clients are reached by `source`. */
  constructor(
    source: AnswerWay,
    questions: Pick<Questions, "reply" | "replyError">,
    stored: StoredWay,
  ) {
    this.#source = source;
    this.#questions = questions;
    this.#stored = stored;
  }

  get endpoints(): readonly string[] {
    return this.#source.endpoints;
  }

  reply(to: Address, code: number, flags: number, content: Content, now: number): void {
    if (isQuestioner(to.client.peer)) this.#questions.reply(to, code, content);
    else this.#source.reply(to, code, flags, content, now);
  }

  replyError(to: Address, code: number, flags: number, message: string, now: number): void {
    if (isStored(to.client.peer)) this.#stored.unanswered(to, code, message);
    else if (isQuestioner(to.client.peer)) this.#questions.replyError(to, code, message);
    else this.#source.replyError(to, code, flags, message, now);
  }

  /** Handlers get answers as a whole, and the store too, but it is told of progress. */
  part(to: Address, flags: number, number: number, content: Content, now: number): boolean {
    if (isStored(to.client.peer)) {
      this.#stored.progress(to, content);
      return true;
    }
    return !isQuestioner(to.client.peer) && this.#source.part(to, flags, number, content, now);
  }

  /** What a worker takes is the lane's business. */
  isStalled(peer: Peer<Body>, now: number): boolean {
    return !isQuestioner(peer) && this.#source.isStalled(peer, now);
  }

  /** A worker is read on, as its replies come the same way. */
  pause(peer: Peer<Body>, service: number): boolean {
    return !isQuestioner(peer) && this.#source.pause(peer, service);
  }
}

function isStored({ place }: Peer<Body>): boolean {
  return place === STORED_PLACE;
}
