/** Commands that run to their end. */

import { path } from "./checkout.ts";
import { serverFlags } from "./permissions.ts";
import { ENVIRONMENT, type ServerOptions } from "./server_process.ts";
import { bytes, text } from "./text.ts";
import { LIMIT, within } from "./wait.ts";

/** How a command has ended, and what it printed. */
export interface Ending {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs mod.ts to its end; it is killed if that takes too long. */
export async function runServer(
  args: string[],
  options: Pick<ServerOptions, "env" | "features" | "permissions"> & {
    uid?: number;
    limit?: number;
  } = {},
): Promise<Ending> {
  const env = { ...ENVIRONMENT, ...options.env };
  const { permissions = serverFlags({ ...options, args, env }), uid, limit = 30_000 } = options;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", ...permissions, path("mod.ts"), ...args],
    env,
    ...(uid === undefined ? {} : { uid }),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(limit),
  });
  const ended = within("the command has ended", command.output(), limit + LIMIT);
  const { code, stdout, stderr } = await ended;
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Runs a command to its end; it is ended by TERM if that takes longer than anything here should. */
export async function run(
  command: string,
  args: string[],
  options: { stdin?: string; env?: Record<string, string>; cwd?: string } = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = new Deno.Command(command, {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    env: options.env,
    cwd: options.cwd,
    signal: AbortSignal.timeout(3 * LIMIT),
  }).spawn();
  // Read from the start: a command that nobody listens to need not listen either.
  const output = within(`${command} has ended`, child.output(), 4 * LIMIT);
  const writer = child.stdin.getWriter();
  if (options.stdin !== undefined) await writer.write(bytes(options.stdin)).catch(() => {});
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await output;
  return { code, stdout: text(stdout), stderr: text(stderr) };
}
