/**
 * A handler that notes each run of a stored job, and servers with it.
 *
 * @module
 */

import { ServerProcess } from "../tests/rig/server_process.ts";
import { MARK } from "./job_book.ts";

/**
 * Source of a handler that takes `time` ms, notes the job of each run in a file of its worker's own in `folder`, and
 * answers with the body and a mark that no other run has. Requests come back as they are, after `requestTime` ms.
 */
export function recording(folder: string, time: number, requestTime = 0): string {
  return `const decoder = new TextDecoder();
let notes;
export default async (body, ctx) => {
  if (ctx.job === undefined) {
    await new Promise((resolve) => setTimeout(resolve, ${requestTime}));
    return body;
  }
  const text = decoder.decode(body);
  notes ??= Deno.openSync(${
    JSON.stringify(folder)
  } + "/" + crypto.randomUUID(), { write: true, create: true });
  notes.writeSync(new TextEncoder().encode(text.slice(0, text.lastIndexOf("/")) + "\\n"));
  await new Promise((resolve) => setTimeout(resolve, ${time}));
  return text + ${JSON.stringify(MARK)} + crypto.randomUUID();
};`;
}

/** The jobs of all runs that were noted in `folder`, one id for each run. */
export function runsNoted(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name }) =>
    Deno.readTextFileSync(`${folder}/${name}`).split("\n").filter((line) => line !== "")
  );
}

/** How a server with stored jobs is started. */
export interface JobServerOptions {
  store: string;
  /** A folder for the notes of runs. */
  notes: string;
  /** Where clients reach it. @default {"tcp://127.0.0.1:0"} */
  frontend?: string;
  /** How long a job takes, ms. */
  time: number;
  args?: readonly string[];
  env?: Record<string, string>;
  raw?: boolean;
}

/** Starts a server with a store. */
export function startJobServer(options: JobServerOptions): Promise<ServerProcess> {
  const { store, notes, time, frontend = "tcp://127.0.0.1:0", args = [], env = {}, raw } = options;
  return ServerProcess.start({
    handler: recording(notes, time),
    args: [
      ...["--workers", "2", "--job-share", "1", "--store", store, "--frontend", frontend],
      ...[`--handler-allow-write=${notes}`, "--log-level", "info"],
      ...args,
    ],
    permissions: ["-A"],
    env,
    raw,
  });
}
