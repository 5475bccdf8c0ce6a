/**
 * Submits background jobs: each is stored once, however often its submission had to be sent.
 *
 * @module
 */

import { wrongValue } from "../options/errors.ts";
import { parseStored } from "../wire/job_status.ts";
import {
  buildJobWords,
  JOB_PREFIX,
  type JobCommand,
  MAX_WORDS_BYTES,
  newJobId,
  readSubmission,
} from "../wire/submission.ts";
import { framesOf, type RequestBody } from "./bodies.ts";
import type { SubmitOptions } from "./job_options.ts";
import type { RequestOptions } from "./options.ts";
import type { Reply } from "./reply.ts";

export type { JobState, JobStatus } from "../wire/job_status.ts";
export { newJobId } from "../wire/submission.ts";

/** What a job was submitted as. */
export interface Submitted {
  /** The job's id, by which `Client.job` asks about it. */
  id: string;
  /** False where a job of the same `key` has not ended, whose id it is then: nothing was stored. */
  isNew: boolean;
}

/** How a client asks about jobs. */
export interface JobAsker {
  /** Whether it talks to an endpoint of plain clients, where the service is a frame of the body. */
  readonly plain: boolean;
  /** How long a try waits, ms, and how many follow the first. */
  readonly timeout: number;
  readonly retries: number;
  /** Sends a request that may be run twice, and so is sent again as soon as its connection is lost. */
  request(body: RequestBody, options: RequestOptions): Promise<Reply>;
}

/** Asks a command about jobs: as a service, or as the first frame of a plain request. */
export function askAbout(
  asker: JobAsker,
  command: JobCommand,
  frames: readonly (Uint8Array | string)[],
  options: RequestOptions,
): Promise<Reply> {
  if (asker.plain) return asker.request([command, ...frames], options);
  return asker.request(frames, { ...options, service: `${JOB_PREFIX}${command}` });
}

/**
 * Submits a job.
 *
 * @throws {TypeError | RangeError} when an option is unknown or not what it must be.
 */
export async function submitJob(
  asker: JobAsker,
  body: RequestBody,
  { timeout = asker.timeout, trace, signal, ...job }: SubmitOptions,
): Promise<Submitted> {
  const words = wordsOf(job);
  // All tries are of one submission.
  const tries = asker.retries + 1;
  checkTimeout(timeout);
  const terms = { timeout: Math.max(1, Math.ceil(timeout / tries)), trace, signal };
  const reply = await askAbout(asker, "submit", [words, ...framesOf(body)], terms);
  const stored = parseStored(reply.bytes);
  if (stored !== undefined) return stored;
  throw new Error("Cannot submit a job: what has answered is not a server of jobs");
}

/** The first frame: what the options say, and an id by which the job is stored once. */
function wordsOf({ id = newJobId(), runAt, ...others }: SubmitOptions): Uint8Array<ArrayBuffer> {
  const members = { ...others, id, runAt: runAt instanceof Date ? runAt.getTime() : runAt };
  const read = readSubmission(members, Date.now());
  if (read.fault !== undefined) {
    throw wrongValue(`Cannot submit a job: ${read.fault}`, read.hasType);
  }
  const frame = buildJobWords(members);
  if (frame.length <= MAX_WORDS_BYTES) return frame;
  throw new RangeError(
    `Cannot submit a job: its options must have at most ${MAX_WORDS_BYTES} bytes as JSON`,
  );
}

function checkTimeout(timeout: unknown): void {
  if (typeof timeout === "number" && timeout >= 1 && timeout <= 0xffffffff) return;
  const rule = "a number of ms from 1 to 4294967295";
  const fault = `"timeout" must be ${rule}: current value is ${Deno.inspect(timeout)}`;
  throw wrongValue(`Cannot submit a job: ${fault}`, typeof timeout === "number");
}
