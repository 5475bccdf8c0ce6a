/**
 * A background job, as its submitter asks about it.
 *
 * @module
 */

import { complaint, wrongValue } from "../options/errors.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { Code } from "../wire/request.ts";
import { hasEnded, type JobStatus, parseStatus } from "../wire/job_status.ts";
import { buildJobWords, isJobId, type JobCommand } from "../wire/submission.ts";
import type { JobOptions, ResultOptions } from "./job_options.ts";
import type { Progress, RequestOptions } from "./options.ts";
import { AbandonedError, NotEndedError, parseDetails, Reply, ReplyError } from "./reply.ts";
import { askAbout, type JobAsker } from "./submitting.ts";

export type { JobStatus } from "../wire/job_status.ts";

/** The longest time that one question waits at the server, ms: a longer wait asks again. */
const POLL_MS = 20_000;
/** How long a server that refuses questions is left alone, ms. */
const REST_MS = 250;

/** What is said of a job that has ended without a result, where the server says no more. */
const ENDS: Readonly<Record<string, { code: number; message: string }>> & {
  readonly failed: { code: number; message: string };
} = {
  failed: { code: Code.handlerFailed, message: "has failed" },
  cancelled: { code: Code.cancelled, message: "was cancelled" },
  expired: { code: Code.expired, message: "was not started in time" },
};
const decoder = new TextDecoder();

/** How far a job is. */
export interface JobProgress extends Progress {
  /** The try that says so: another one may start over. */
  attempt: number;
}

/** What has become of a question. */
interface Answered {
  status: JobStatus;
  /** The frames of the result, if it was asked for and the job has one. */
  frames: Uint8Array[];
}

/** One background job; made by `Client.job`. */
export class StoredJob {
  /** Its id. */
  readonly id: string;
  readonly #asker: JobAsker;

  /**
   * Asks nothing.
   *
   * @throws {TypeError | RangeError} when `id` can't be a job's.
   */
  constructor(asker: JobAsker, id: string) {
    if (!isJobId(id)) {
      const rule = 'a job\'s id, "j-" and 32 hex digits';
      throw wrongValue(`Cannot ask: ${complaint('"id"', rule, id)}`, typeof id === "string");
    }
    this.#asker = asker;
    this.id = id;
  }

  /**
   * What is known of the job.
   *
   * @throws {ReplyError} with code 404 when there is no such job, or it is another user's.
   * @throws {AbandonedError} when no try is answered.
   */
  async status({ signal }: JobOptions = {}): Promise<JobStatus> {
    return (await this.#ask("status", {}, { signal })).status;
  }

  /**
   * The job's result, once it is done.
   *
   * @throws {ReplyError} the job's own error when it has failed, 499 when it was cancelled, 408 when it has expired, 404
   * when there is no such job, or it is another user's, or its result is not kept any more.
   * @throws {NotEndedError} when the job has not ended within `wait`.
   * @throws {AbandonedError} when the server can't be reached.
   *
   * @example
   * ```ts
   * const reply = await client.job(id).result({ wait: 60_000 });
   * ```
   */
  async result({ wait = this.#asker.timeout, signal }: ResultOptions = {}): Promise<Reply> {
    checkWait(wait);
    const deadline = performance.now() + wait;
    for (;;) {
      const answered = await this.#poll("result", {}, deadline - performance.now(), signal);
      if (answered === undefined) continue;
      if (hasEnded(answered.status.state)) return outcomeOf(answered);
      if (performance.now() >= deadline) throw new NotEndedError(answered.status, wait);
    }
  }

  /**
   * How far the job is, whenever its handler says so; ends with the job, however that has ended.
   *
   * @throws {ReplyError} with code 404 when there is no such job, or it is another user's.
   * @throws {AbandonedError} when the server can't be reached.
   *
   * @example
   * ```ts
   * for await (const { done, total, note } of client.job(id).progress()) console.log(done, total, note);
   * ```
   */
  async *progress({ signal }: JobOptions = {}): AsyncGenerator<JobProgress, void, undefined> {
    let since: number | undefined;
    let last = "";
    for (;;) {
      const answered = await this.#poll("status", { since }, Infinity, signal);
      if (answered === undefined) continue;
      const { version, progress, attempt, state } = answered.status;
      const news = JSON.stringify([attempt, progress]);
      if (progress !== undefined && news !== last) yield { ...progress, attempt };
      if (hasEnded(state)) return;
      since = version;
      last = news;
    }
  }

  /**
   * Cancels the job: one that waits is never started, one that runs is stopped.
   *
   * @returns what is known of it then.
   * @throws {ReplyError} with code 404 when there is no such job, or it is another user's; 409 when it has ended.
   */
  async cancel({ signal }: JobOptions = {}): Promise<JobStatus> {
    return (await this.#ask("cancel", {}, { signal })).status;
  }

  /**
   * Has the server forget the job and its result before it does so by itself; one that has not ended is cancelled
   * first.
   *
   * @throws {ReplyError} with code 404 when there is no such job, or it is another user's.
   */
  async forget({ signal }: JobOptions = {}): Promise<void> {
    await this.#ask("forget", {}, { signal });
  }

  /**
   * Asks once, and has the server wait for news, for `left` ms at most; undefined: there was no answer, and there is
   * time left to ask again.
   */
  async #poll(
    command: "status" | "result",
    members: Readonly<Record<string, unknown>>,
    left: number,
    signal: AbortSignal | undefined,
  ): Promise<Answered | undefined> {
    const wait = Math.max(0, Math.ceil(Math.min(left, POLL_MS)));
    if (wait === 0) return await this.#ask(command, members, { signal });
    const until = performance.now() + left;
    // Within a limited time this loop itself tries again.
    const retries = left === Infinity ? undefined : 0;
    const timeout = wait + this.#asker.timeout;
    try {
      return await this.#ask(command, { ...members, wait }, { signal, timeout, retries });
    } catch (error) {
      const isOver = left === Infinity
        ? error instanceof AbandonedError
        : performance.now() >= until;
      if (isOver || !isPassing(error)) throw error;
      await rest(signal);
      return undefined;
    }
  }

  async #ask(
    command: JobCommand,
    members: Readonly<Record<string, unknown>>,
    options: RequestOptions,
  ): Promise<Answered> {
    const words = buildJobWords({ id: this.id, ...members });
    const { frames } = await askAbout(this.#asker, command, [words], options);
    const [first = EMPTY_FRAME, ...result] = frames;
    const status = parseStatus(first);
    if (status !== undefined) return { status, frames: result };
    throw new Error("Cannot ask about a job: what has answered is not a server of jobs");
  }
}

/** Whether it may be otherwise in a moment: the server is full or shutting down, or can't be reached. */
function isPassing(error: unknown): boolean {
  if (error instanceof ReplyError) return error.code === Code.unavailable;
  return error instanceof AbandonedError;
}

function rest(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => (clearTimeout(timer), reject(signal?.reason));
    const end = () => (signal?.removeEventListener("abort", abort), resolve());
    const timer = setTimeout(end, REST_MS);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** What a job that has ended is answered with. */
function outcomeOf({ status, frames }: Answered): Reply {
  const { id, state, code, message } = status;
  if (state === "done") return new Reply(frames);
  const { code: usual, message: words } = ENDS[state] ?? ENDS.failed;
  const text = frames.length > 0 ? decoder.decode(frames[0]) : message;
  throw new ReplyError(code ?? usual, text ?? `Job "${id}" ${words}`, parseDetails(frames[1]));
}

function checkWait(wait: unknown): void {
  if (typeof wait === "number" && wait >= 0) return;
  const fault = complaint('"wait"', "a number of ms >= 0", wait);
  throw wrongValue(`Cannot get the result of a job: ${fault}`, typeof wait === "number");
}
