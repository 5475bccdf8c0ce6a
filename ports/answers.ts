/**
 * Where answers go: to the clients of a source, or to workers whose handlers have asked.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import type { Body } from "./body.ts";
import type { Content } from "./content.ts";
import { isQuestioner, type Questions } from "./questions.ts";
import type { Address, AnswerWay } from "./source.ts";

/** The way of all answers. */
export class Answers implements AnswerWay {
  readonly #source: AnswerWay;
  readonly #questions: Pick<Questions, "reply" | "replyError">;

  /** Clients are reached by `source`. */
  constructor(source: AnswerWay, questions: Pick<Questions, "reply" | "replyError">) {
    this.#source = source;
    this.#questions = questions;
  }

  get endpoints(): readonly string[] {
    return this.#source.endpoints;
  }

  reply(to: Address, code: number, flags: number, content: Content, now: number): void {
    if (isQuestioner(to.client.peer)) this.#questions.reply(to, code, content);
    else this.#source.reply(to, code, flags, content, now);
  }

  replyError(to: Address, code: number, flags: number, message: string, now: number): void {
    if (isQuestioner(to.client.peer)) this.#questions.replyError(to, code, message);
    else this.#source.replyError(to, code, flags, message, now);
  }

  /** Handlers get answers as a whole. */
  part(to: Address, flags: number, number: number, content: Content, now: number): boolean {
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
