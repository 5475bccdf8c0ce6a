/**
 * Inquiries that wait for their turn: the loop answers one between two passes, so that many of them hold up no request
 * for long. What fails in one is told to whoever has asked, and to nobody else.
 *
 * @module
 */

import type { Findings, Inquiries, InquiryKind } from "./inquiry.ts";

/** How each kind of inquiry is answered. */
export type Answerers = {
  readonly [Kind in InquiryKind]: (question: Inquiries[Kind], now: number) => Findings[Kind];
};

/** Who hears what an inquiry has found, or why it has found nothing; neither may throw. */
export interface Hearer<Finding> {
  found(finding: Finding): void;
  failed(error: unknown): void;
}

/** An inquiry that waits. */
interface Waiting {
  answer(now: number): void;
  fail(error: unknown): void;
}

/** Inquiries that wait at a time: more are refused. */
const MOST_WAITING = 100;

/** The error of an inquiry that comes when nothing is there any more to be asked. */
export function hasEnded(): Error {
  return new Error("Cannot ask: the server has ended");
}

/** The inquiries that wait. */
export class Inquirer {
  readonly #answerers: Answerers;
  readonly #waiting: Waiting[] = [];
  #isOpen = true;

  /** None waits yet. */
  constructor(answerers: Answerers) {
    this.#answerers = answerers;
  }

  /** Takes an inquiry in, to be answered in its turn. */
  add<Kind extends InquiryKind>(
    kind: Kind,
    question: Inquiries[Kind],
    hearer: Hearer<Findings[Kind]>,
  ): void {
    if (!this.#isOpen) return hearer.failed(hasEnded());
    if (this.#waiting.length >= MOST_WAITING) {
      const most = `Cannot ask: ${MOST_WAITING} inquiries wait already, which is the limit`;
      return hearer.failed(new Error(most));
    }
    const answer = (now: number) => hearer.found(this.#answerers[kind](question, now));
    this.#waiting.push({ answer, fail: (error) => hearer.failed(error) });
  }

  /** Answers the inquiry that has waited longest; false: none waits. */
  answerOne(now: number): boolean {
    const first = this.#waiting.shift();
    try {
      first?.answer(now);
    } catch (error) {
      first?.fail(error);
    }
    return first !== undefined;
  }

  /** Answers no more: those that wait have failed. */
  close(): void {
    this.#isOpen = false;
    for (const { fail } of this.#waiting.splice(0)) fail(hasEnded());
  }
}
