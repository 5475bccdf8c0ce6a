/**
 * The store of background jobs as those see it who ask on behalf of operators and of the program that runs the server:
 * each question has an answer, or is refused. Not here: the thread behind it.
 *
 * @module
 */

import type {
  JobAnswer,
  JobQuestion,
  OperatorAnswer,
  OperatorQuestion,
  Submission,
} from "../store/messages.ts";

/** The store has refused what it was asked, or can't be had. */
export class StoreRefusedError extends Error {
  override readonly name = "StoreRefusedError";
  /** 400, 404, 409, 503 or 507. */
  readonly code: number;

  /** What the store says about it. */
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Asks the store. */
export interface StoreLink {
  /** What it is, or would be: "sqlite:PATH", "nats://…" without credentials, or "off". */
  readonly store: string;
  /** Whether it was opened, or has begun to be: before that nothing is stored, and to look opens nothing. */
  readonly isUsed: boolean;
  /** Why it can't be had, as far as that is known without asking it; undefined: nothing is known against it. */
  readonly trouble: string | undefined;
  /**
   * Asks what an operator may ask; opens the store if it has not been.
   *
   * @throws {StoreRefusedError}
   */
  operate(question: OperatorQuestion): Promise<OperatorAnswer>;
  /**
   * Asks about one job as an operator, who may ask about each.
   *
   * @throws {StoreRefusedError}
   */
  ask(question: JobQuestion): Promise<JobAnswer>;
  /**
   * Stores a job; opens the store if it has not been.
   *
   * @returns its id; `isNew` is false where a job of its key has not ended, whose id it is then.
   * @throws {StoreRefusedError}
   */
  submit(job: Submission): Promise<{ id: string; isNew: boolean }>;
}

/** The store of a server that has none. */
export const NO_STORE: StoreLink = {
  store: "off",
  isUsed: false,
  trouble: "this server has no store",
  operate: () => Promise.reject(new StoreRefusedError(503, "This server has no store")),
  ask: () => Promise.reject(new StoreRefusedError(503, "This server has no store")),
  submit: () => Promise.reject(new StoreRefusedError(503, "This server has no store")),
};
