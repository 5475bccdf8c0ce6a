/**
 * The server's part in a test of a handler: notes what the handler says, and answers what it asks.
 *
 * @module
 */

import { Code } from "../wire/request.ts";
import { Answer } from "./answer.ts";
import type { HandlerLog, HandlerResult } from "./handler.ts";
import { type JobLog, stopError } from "./job_context.ts";
import { checkPublication } from "./publication.ts";
import { RequestError } from "./request_error.ts";
import { framesOf, sentFramesOf } from "./result.ts";
import { show, showFields } from "./show.ts";
import type { TestEvent, TestLogLine, TestProgress, TestSubmission } from "./test_reply.ts";

/** Another service, as a test has it: gets the body's frames, and answers, or throws what answers for it. */
export type TestService = (
  body: Uint8Array,
  frames: readonly Uint8Array[],
) => HandlerResult | Promise<HandlerResult>;

/** The limits of the server that a test stands in for. */
export interface TestLimits {
  /** Maximum size of a reply, bytes. @default {67_108_864, 64 MiB, as for a server} */
  maxMessageSize?: number;
  /** Maximum number of frames of a reply. @default {1000, as for a server} */
  maxFrames?: number;
}

/** What is noted while a handler runs. */
export interface Seen {
  log: TestLogLine[];
  parts: (readonly Uint8Array[])[];
  progress: TestProgress[];
  published: TestEvent[];
  checkpoints: Uint8Array[];
  submitted: TestSubmission[];
}

/** Nothing yet. */
export function newSeen(): Seen {
  return { log: [], parts: [], progress: [], published: [], checkpoints: [], submitted: [] };
}

/** What a handler says is noted; what it asks is answered by the services of its test. */
export function contextLog(
  { log, progress, published, checkpoints, submitted }: Seen,
  services: Readonly<Record<string, TestService>>,
  bounds: Required<TestLimits>,
): JobLog {
  return {
    askFor: async (job, name, body) => {
      const service = services[name] ?? storeOf(name, checkpoints, submitted);
      if (service === undefined) throw new RequestError(Code.notFound, noService(name));
      const { frames } = framesOf(sentFramesOf(body, "Cannot ask"), bounds);
      const answer = await service(frames[0] ?? new Uint8Array(0), frames);
      if (job.stopped !== undefined) throw stopError(job.stopped);
      return new Answer(framesOf(answer, bounds).frames);
    },
    logOf: (_job, level, message, fields) => log.push(lineOf(level, message, fields)),
    progressOf: (_job, said) => progress.push({ ...said }),
    publishFor: (_job, topic, args) => {
      const { frames: [name, ...frames], retain } = checkPublication(topic, args, bounds);
      // The handler may change its memory afterwards.
      const copies = frames.map((frame) => new Uint8Array(frame));
      published.push({ topic: new TextDecoder().decode(name), frames: copies, retain });
    },
  };
}

/** What the server answers by itself, and notes. */
function storeOf(
  name: string,
  checkpoints: Uint8Array[],
  submitted: TestSubmission[],
): TestService | undefined {
  if (name === "job.checkpoint") {
    return (value) => {
      checkpoints.push(new Uint8Array(value));
      return "";
    };
  }
  if (name !== "job.submit") return undefined;
  return (words, [, ...frames]) => {
    const id = `j-${String(submitted.length + 1).padStart(32, "0")}`;
    const options = JSON.parse(new TextDecoder().decode(words));
    submitted.push({ id, options, frames: frames.map((frame) => new Uint8Array(frame)) });
    return JSON.stringify({ id, isNew: true });
  };
}

function noService(name: string): string {
  return `The server has no service ${JSON.stringify(name)}`;
}

function lineOf(level: keyof HandlerLog, message: unknown, fields: unknown): TestLogLine {
  const shown = showFields(fields, message);
  return { level, message: show(message), fields: shown === "" ? {} : JSON.parse(shown) };
}
