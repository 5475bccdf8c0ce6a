/**
 * What a handler sees of a stored job that it runs, and how it has jobs stored itself. What is said for that goes the
 * way of questions to other services.
 *
 * @module
 */

import type { JobTerms } from "../wire/job_terms.ts";
import type { TryWords } from "../wire/stored_try.ts";
import type { Answer } from "./answer.ts";
import type { HandlerResult, QuestionOptions } from "./handler.ts";

/**
 * A stored job that is run, as `ctx.job` has it.
 *
 * @example
 * ```ts
 * const handler: Handler = async (_body, { job }) => {
 *   let row = Number(new TextDecoder().decode(job?.kept));
 *   for (; row < 1_000_000; row += 1000) {
 *     await job?.checkpoint(String(row));
 *     await importRows(row, row + 1000);
 *   }
 *   return "imported";
 * };
 * ```
 */
export interface JobTry {
  /** Names the job, as whoever has submitted it knows it: `j-` and 32 hex digits. */
  readonly id: string;
  /** Which try this is: 1 for the first one. */
  readonly attempt: number;
  /** Tries in all. If the last one fails, the job does. */
  readonly tries: number;
  /** What a try before has kept last, by `checkpoint`; undefined: nothing. */
  readonly kept: Uint8Array | undefined;
  /**
   * Keeps a value for the tries that may follow, in place of the one before. When the promise is fulfilled, the value
   * outlives this process, the server, and a power cut.
   *
   * @param value one frame; text is sent as UTF-8.
   * @throws {RequestError} (the promise is rejected) with code 507 where there is no room, 403 where the store does not
   * wait for this try any more.
   */
  checkpoint(value: Uint8Array | string): Promise<void>;
}

/** What `submit` says of a job: see docs/jobs.md. Times are ms. */
export interface SubmissionOptions extends JobTerms, Pick<QuestionOptions, "timeout" | "signal"> {}

/** A job that was stored. */
export interface SubmittedJob {
  /** Its id. */
  readonly id: string;
  /** False where a job of the same key has not ended, whose id this is. */
  readonly isNew: boolean;
}

/** Asks a service of the server on behalf of the job. */
export type AskService = (
  service: string,
  body: HandlerResult,
  options: QuestionOptions,
) => Promise<Answer>;

const SUBMIT = "job.submit";
const CHECKPOINT = "job.checkpoint";

/** As they were before a handler could replace them. */
const stringify = JSON.stringify;
const isList = Array.isArray;
const Bytes = Uint8Array;

/** A stored job in the hands of its handler. */
export class StoredTry implements JobTry {
  readonly id: string;
  readonly attempt: number;
  readonly tries: number;
  readonly kept: Uint8Array | undefined;
  readonly #ask: AskService;

  /** `kept`: what the last try has kept. */
  constructor({ id, attempt, tries }: TryWords, kept: Uint8Array | undefined, ask: AskService) {
    this.id = id;
    this.attempt = attempt;
    this.tries = tries;
    this.kept = kept;
    this.#ask = ask;
  }

  // A function of its own, as a handler may take it out of the job.
  get checkpoint(): JobTry["checkpoint"] {
    return async (value) => {
      if (!isFrame(value)) {
        throw new TypeError("Cannot keep a checkpoint: it must be one frame, Uint8Array or string");
      }
      await this.#ask(CHECKPOINT, value, {});
    };
  }
}

/**
 * Has a job stored.
 *
 * @throws {TypeError} when the body is none, or an option can't be said in JSON.
 */
export async function submitBy(
  ask: AskService,
  body: HandlerResult,
  { timeout, signal, ...words }: SubmissionOptions,
): Promise<SubmittedJob> {
  const frames: readonly (Uint8Array | string)[] = isFrames(body) ? body : [body];
  if (!frames.every(isFrame)) {
    const rule = "Uint8Array, string or an array of them";
    throw new TypeError(`Cannot submit a job: the body must be ${rule}`);
  }
  const options = {
    ...(timeout === undefined ? {} : { timeout }),
    ...(signal === undefined ? {} : { signal }),
  };
  const answer = await ask(SUBMIT, [stringify(words), ...frames], options);
  const { id, isNew } = answer.json<SubmittedJob>();
  return { id, isNew };
}

function isFrame(value: unknown): value is Uint8Array | string {
  return typeof value === "string" || value instanceof Bytes;
}

function isFrames(body: HandlerResult): body is readonly (Uint8Array | string)[] {
  return isList(body);
}
