/**
 * Typed calls as background jobs: functions of a handler made with `rpc`, submitted instead of asked.
 *
 * @module
 */

import { buildCall, type CallAnswer, readAnswer } from "../wire/call.ts";
import type { ResultOptions, SubmitOptions } from "./job_options.ts";
import type { Reply } from "./reply.ts";
import type { StoredJob } from "./stored_job.ts";
import type { Submitted } from "./submitting.ts";
import { callsOf, type Received, type RpcModule, type SentArguments } from "./typed.ts";

/** What `Client.typedJobs` returns: the calls of a module, each of which submits a job. */
export type TypedJobs<Module extends RpcModule> =
  & TypedJobCalls<Module["default"]["calls"]>
  & {
    /** The same calls with other options, which are added to those that they had. */
    with(options: SubmitOptions): TypedJobs<Module>;
  };

/** Functions and groups of a handler, as jobs. */
export type TypedJobCalls<Calls> = {
  readonly [Name in keyof Calls]: Calls[Name] extends
    (this: never, ...args: infer Args) => infer Result
    ? (...args: SentArguments<Args>) => Promise<TypedJob<JobResult<Awaited<Result>>>>
    : TypedJobCalls<Calls[Name]>;
};

/** What comes of a call that is a job: its result, or the list of all values that it sends. */
export type JobResult<Result> = [Result] extends [AsyncIterable<infer Part>] ? Received<Part>[]
  : Received<Result>;

/** A call that was submitted. */
export interface TypedJob<Result> extends Submitted {
  /** The call's result: see `StoredJob.result`. */
  result(options?: ResultOptions): Promise<Result>;
}

/** What submits. */
export interface JobCalls {
  submit(body: Uint8Array[], options: SubmitOptions): Promise<Submitted>;
  job(id: string): Pick<StoredJob, "result">;
}

/** The calls of a module, whatever it is. */
export function typedJobs(client: JobCalls, options: SubmitOptions): object {
  const call = (name: string, args: readonly unknown[]) => submitCall(client, name, args, options);
  const others = { with: (more: SubmitOptions) => typedJobs(client, { ...options, ...more }) };
  return callsOf("", call, others);
}

async function submitCall(
  client: JobCalls,
  name: string,
  args: readonly unknown[],
  options: SubmitOptions,
): Promise<TypedJob<unknown>> {
  const submitted = await client.submit(buildCall(name, args), options);
  const job = client.job(submitted.id);
  return { ...submitted, result: async (options) => valueOf(await job.result(options)) };
}

function valueOf({ frames }: Reply): unknown {
  const answer: CallAnswer = readAnswer(frames);
  return answer.is === "parts" ? answer.values : answer.value;
}
