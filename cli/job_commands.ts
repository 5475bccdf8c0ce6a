/**
 * The client's commands for background jobs: `submit`, `job`, `progress`, `result`, `cancel` and `forget`.
 *
 * @module
 */

import { NotEndedError, ReplyError } from "../client/reply.ts";
import type { Progress, Retry } from "../client/options.ts";
import type { JobStatus, StoredJob } from "../client/stored_job.ts";
import type { Program } from "./client.ts";
import { openInputs, readBody } from "./input.ts";
import type { JobCommandName } from "./client_flags.ts";
import { JOB_HELP, type JobFlags, readJobFlags } from "./job_flags.ts";
import { Exit } from "./outcome.ts";
import { printable } from "./paint.ts";
import { commandName, VERSION } from "./program.ts";
import { printText, ReplyOutput } from "./reply_output.ts";
import type { Stderr } from "./stderr.ts";
import { Waiting } from "./waiting.ts";

/** The longest time that a timer takes, ms. */
const MAX_TIMEOUT = 0x7fffffff;

/** Runs a command to its end; returns its exit status. @throws what the command fails with. */
export async function runJobCommand(
  command: JobCommandName,
  args: readonly string[],
  { url, makeClient }: Program,
  stderr: Stderr,
): Promise<number> {
  const flags = readJobFlags(command, args);
  if (flags.help) printText(helpText(url));
  else if (flags.version) printText(`${VERSION}\n`);
  else await ask(command, flags, makeClient, stderr);
  return Exit.answered;
}

function helpText(url: string): string {
  const name = commandName(url, "deno task client", "client");
  return `Usage: ${name} COMMAND [options] [file…|ID]\n${JOB_HELP}`;
}

async function ask(
  command: JobCommandName,
  flags: JobFlags,
  makeClient: Program["makeClient"],
  stderr: Stderr,
): Promise<void> {
  // First, so that a missing file is found before anything is sent.
  const body = command === "submit" ? await bodyOf(flags) : "";
  const speaks = !flags.quiet && Deno.stderr.isTerminal();
  const onRetry = (retry: Retry) => waiting?.retry(retry);
  await using client = makeClient(speaks ? { ...flags.client, onRetry } : flags.client);
  using waiting = speaks ? new Waiting(stderr, () => client.waitingFor) : undefined;
  if (command === "submit") return await submit(client, body, flags, stderr);
  const job = client.job(flags.words[0] ?? "");
  switch (command) {
    case "job":
      return printStatus(await job.status(), flags, viewOf);
    case "progress":
      return await printProgress(job, flags);
    case "result":
      return await printResult(job, flags);
    case "cancel":
      return printStatus(await job.cancel(), flags, ({ state }) => `${state}\n`);
    case "forget":
      await job.forget();
      return printText(flags.json ? `${JSON.stringify({ id: job.id })}\n` : "forgotten\n");
  }
}

function printStatus(
  status: JobStatus,
  { json }: JobFlags,
  view: (status: JobStatus) => string,
): void {
  printText(json ? `${JSON.stringify(status)}\n` : view(status));
}

/** Prints how far a job is, a line for each change, and fails as its result does. */
async function printProgress(job: StoredJob, { json, wait }: JobFlags): Promise<void> {
  // A timer takes no longer time.
  const signal = wait === undefined ? undefined : AbortSignal.timeout(Math.min(wait, MAX_TIMEOUT));
  let last = 1;
  try {
    for await (const progress of job.progress({ signal })) {
      const { attempt, ...at } = progress;
      if (json) printText(`${JSON.stringify(progress)}\n`);
      else printText(attempt === last ? `${textOf(at)}\n` : `try ${attempt}\n${textOf(at)}\n`);
      last = attempt;
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
  }
  await job.result({ wait: 0 }).catch((error) => {
    throw error instanceof NotEndedError ? new NotEndedError(error.status, wait ?? 0) : error;
  });
}

async function bodyOf({ text, words }: JobFlags): Promise<Uint8Array | string> {
  return text ?? await readBody(openInputs(words));
}

async function submit(
  client: ReturnType<Program["makeClient"]>,
  body: Uint8Array | string,
  flags: JobFlags,
  stderr: Stderr,
): Promise<void> {
  const submitted = await client.submit(body, flags.submit);
  if (!submitted.isNew) stderr.say("nothing was stored: a job of this key has not ended");
  if (flags.wait !== undefined) return await printResult(client.job(submitted.id), flags);
  printText(flags.json ? `${JSON.stringify(submitted)}\n` : `${submitted.id}\n`);
}

async function printResult(job: StoredJob, flags: JobFlags): Promise<void> {
  const { json, wait } = flags;
  if (json) return await printJson(job, wait);
  const output = new ReplyOutput(flags);
  output.add(await job.result({ wait }));
  output.flush();
}

/** Prints a job that has ended, with its result, as a line. */
async function printJson(job: StoredJob, wait: number | undefined): Promise<void> {
  try {
    const { frames } = await job.result({ wait });
    printText(`${JSON.stringify({ ...await job.status(), result: frames.map(jsonOf) })}\n`);
  } catch (error) {
    // What has become of a job that is there is said, whatever it is.
    const status = error instanceof ReplyError
      ? await job.status().catch(() => undefined)
      : undefined;
    if (status !== undefined) printText(`${JSON.stringify(status)}\n`);
    throw error;
  }
}

/** A frame as text; as base64 if it is none. */
function jsonOf(frame: Uint8Array): unknown {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(frame);
  } catch {
    return { base64: frame.toBase64() };
  }
}

/** What is known of a job, a line each. */
function viewOf(status: JobStatus): string {
  const { id, service, state, attempt, retries, progress, code, message } = status;
  const { key, group, after, priority, bytes, node } = status;
  const rows: Record<string, string | undefined> = {
    id,
    service,
    state,
    try: attempt === 0 ? undefined : `${attempt} of ${retries + 1}`,
    priority: String(priority),
    key,
    group,
    after: after.join(" "),
    bytes: String(bytes),
    created: timeOf(status.createdAt),
    due: timeOf(status.runAt),
    started: timeOf(status.startedAt),
    ended: timeOf(status.endedAt),
    progress: progress && textOf(progress),
    code: code === undefined ? undefined : String(code),
    message,
    node,
  };
  return Object.entries(rows).flatMap(([name, value]) =>
    value === undefined || value === "" ? [] : [`${name.padEnd(9)} ${printable(value)}\n`]
  ).join("");
}

/** How far a job is, in a line. */
function textOf({ done, total, note }: Progress): string {
  return printable(`${done} of ${total ?? "?"} ${note}`.trim());
}

function timeOf(ms: number | undefined): string | undefined {
  return ms === undefined || ms === 0 ? undefined : new Date(ms).toISOString();
}
