/**
 * What the system reports of processes, mostly through /proc: CPU time, memory, whether one is running,
 * and how many files this one has open and may have.
 *
 * @module
 */

import { readText } from "./files.ts";

/** Clock ticks a second in /proc, on every Linux that Deno runs on. */
const TICKS = 100;

/** CPU time that a process has used since its start, ms; undefined where there is no /proc. */
export function cpuTime(pid: number): number | undefined {
  const stat = readText(`/proc/${pid}/stat`);
  // proc(5): the name is in parentheses and may hold anything; utime and stime are fields 14 and 15.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields && (Number(fields[11]) + Number(fields[12])) * 1000 / TICKS;
}

/** Bytes of a process that are in memory; undefined where there is no /proc, or it may not be read. */
export function residentMemory(pid: number): number | undefined {
  const [, size] = /^VmRSS:\s+(\d+) kB$/m.exec(readText(`/proc/${pid}/status`) ?? "") ?? [];
  return size === undefined ? undefined : Number(size) * 1024;
}

/**
 * Whether a process of this number is running; true where the system does not say.
 *
 * @throws {Deno.errors.NotCapable} when this process may not ask.
 */
export function isAlive(pid: number): boolean {
  if (readText(`/proc/${pid}/stat`) !== undefined) return true;
  try {
    // SIGCONT does nothing to a process that runs.
    Deno.kill(pid, "SIGCONT");
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return !(error instanceof Deno.errors.NotFound);
  }
}

/**
 * File descriptors that this process may have at a time: its soft limit, which Deno raises to the hard
 * one. Undefined where there is no /proc, or it may not be read.
 */
export function fileLimit(): number | undefined {
  const [, limit] = /^Max open files +(\d+) /m.exec(readText("/proc/self/limits") ?? "") ?? [];
  return limit === undefined ? undefined : Number(limit);
}

/** File descriptors that this process has open; undefined where that can't be read, as for `fileLimit`. */
export function openFiles(): number | undefined {
  try {
    // The descriptor that lists the others is one of them.
    return [...Deno.readDirSync("/proc/self/fd")].length - 1;
  } catch {
    return undefined;
  }
}
