/**
 * On what it was measured.
 *
 * @module
 */

import { isThere, output } from "./daemon.ts";

async function version(program: string, ...args: string[]): Promise<string> {
  const text = await isThere(program, ...args) ? await output(program, args) : "";
  return /\d+(\.\d+)+/.exec(text)?.[0] ?? "none";
}

/** The machine and the versions of what was measured. */
export async function machine(): Promise<Record<string, string>> {
  const cpus = Deno.readTextFileSync("/proc/cpuinfo").match(/^model name\s*:.*$/gm) ?? [];
  const model = cpus[0]?.split(":")[1]?.trim() ?? Deno.build.arch;
  return {
    [`${cpus.length} ×`]: model,
    Linux: Deno.osRelease(),
    Deno: Deno.version.deno,
    Node: await version("node", "--version"),
    "nats-server": await version("nats-server", "--version"),
    on: new Date().toISOString().slice(0, 10),
  };
}
