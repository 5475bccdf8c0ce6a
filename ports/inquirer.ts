/**
 * Inquiries that wait for their turn: the loop answers them between two of its own turns, some tenths of a millisecond
 * at a time, so that they hold up no request for long. What fails in one is told to whoever has asked, and to nobody
 * else.
 *
 * @module
 */

import type { Findings, Inquiries, InquiryKind } from "./inquiry.ts";

/** What an inquiry finds, at once or step by step. Between two steps anything may happen. */
export type Search<Finding> = Finding | Generator<void, Finding>;

/** How each kind of inquiry is answered. */
export type Answerers = {
  readonly [Kind in InquiryKind]: (
    question: Inquiries[Kind],
    now: number,
  ) => Search<Findings[Kind]>;
};

/** Who hears what an inquiry has found, or why it has found nothing; neither may throw. */
export interface Hearer<Finding> {
  found(finding: Finding): void;
  failed(error: unknown): void;
}

/** An inquiry that waits, or is under way. */
interface Waiting {
  /** Takes a step, the first one at `now`; true: it was the last one. */
  step(now: number): boolean;
  fail(error: unknown): void;
}

/** Inquiries that wait at a time: more are refused. */
const MOST_WAITING = 100;
/** Time after which no further step is taken in one turn, ms. */
const TURN_TIME = 0.3;

/** The error of an inquiry that comes when nothing is there any more to be asked. */
export function hasEnded(): Error {
  return new Error("Cannot ask: the server has ended");
}

/** The inquiries that wait. */
export class Inquirer {
  readonly #answerers: Answerers;
  readonly #clock: () => number;
  readonly #waiting: Waiting[] = [];
  #isOpen = true;

  /** None waits yet; `clock` gives ms. */
  constructor(answerers: Answerers, clock: () => number = () => performance.now()) {
    this.#answerers = answerers;
    this.#clock = clock;
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
    const answer = (now: number) => this.#answerers[kind](question, now);
    this.#waiting.push(inSteps(answer, hearer));
  }

  /** Goes on with the inquiry that has waited longest; false: none waits. */
  goOn(now: number): boolean {
    const [first] = this.#waiting;
    if (first === undefined) return false;
    const end = this.#clock() + TURN_TIME;
    try {
      while (!first.step(now)) if (this.#clock() >= end) return true;
    } catch (error) {
      first.fail(error);
    }
    this.#waiting.shift();
    return true;
  }

  /** Answers no more: those that wait have failed. */
  close(): void {
    this.#isOpen = false;
    for (const { fail } of this.#waiting.splice(0)) fail(hasEnded());
  }
}

function inSteps<Finding extends object>(
  answer: (now: number) => Search<Finding>,
  hearer: Hearer<Finding>,
): Waiting {
  let search: Search<Finding> | undefined;
  return {
    step(now) {
      search ??= answer(now);
      const finding = isUnderWay(search) ? take(search) : search;
      if (finding !== undefined) hearer.found(finding);
      return finding !== undefined;
    },
    fail: (error) => hearer.failed(error),
  };
}

function take<Finding>(search: Generator<void, Finding>): Finding | undefined {
  const { done, value } = search.next();
  return done ? value : undefined;
}

function isUnderWay<Finding extends object>(
  search: Search<Finding>,
): search is Generator<void, Finding> {
  return Symbol.iterator in search;
}
