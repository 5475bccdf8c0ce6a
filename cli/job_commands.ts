/**
 * `submit`, `job`, `result` and `cancel`: the client's commands for background jobs.
 *
 * @module
 */

import { ReplyError } from "../client/reply.ts";
import type { Retry } from "../client/options.ts";
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
  return `Usage: ${name} submit|job|result|cancel [options] [file…|ID]\n${JOB_HELP}`;
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
  if (command === "result") return await printResult(job, flags);
  const status = command === "job" ? await job.status() : await job.cancel();
  if (flags.json) printText(`${JSON.stringify(status)}\n`);
  else printText(command === "job" ? viewOf(status) : `${status.state}\n`);
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
    progress: progress && `${progress.done} of ${progress.total ?? "?"} ${progress.note}`.trim(),
    code: code === undefined ? undefined : String(code),
    message,
    node,
  };
  return Object.entries(rows).flatMap(([name, value]) =>
    value === undefined || value === "" ? [] : [`${name.padEnd(9)} ${printable(value)}\n`]
  ).join("");
}

function timeOf(ms: number | undefined): string | undefined {
  return ms === undefined || ms === 0 ? undefined : new Date(ms).toISOString();
}
