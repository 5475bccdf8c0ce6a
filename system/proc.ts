/**
 * What the pool reads from the system: users and groups by name or number, the CPU time and the memory
 * of a process, whether one lives, and how many files this one may open and has open.
 *
 * @module
 */

/** Numbers to run a process as. */
export interface Account {
  uid: number | undefined;
  gid: number | undefined;
}

/**
 * The numbers of a user and a group. A user without a group brings its own primary one.
 *
 * @throws {RangeError} when there is no such user or group.
 */
export function lookupAccount(user: string | undefined, group: string | undefined): Account {
  const entry = user === undefined ? undefined : findEntry("/etc/passwd", "user", user);
  const groupEntry = group === undefined ? undefined : findEntry("/etc/group", "group", group);
  return { uid: entry?.id, gid: groupEntry?.id ?? entry?.primaryGroup };
}

/** Lines of passwd(5) and group(5): name:password:id:primary group or members:… */
function findEntry(
  file: string,
  option: string,
  name: string,
): { id: number; primaryGroup?: number } {
  const lines = Deno.readTextFileSync(file).split("\n").map((line) => line.split(":"));
  const byNumber = /^\d+$/.test(name);
  const line = lines.find((fields) => fields[byNumber ? 2 : 0] === name);
  if (line === undefined && byNumber) return { id: Number(name) };
  const id = Number(line?.[2]);
  if (line === undefined || Number.isNaN(id)) {
    throw new RangeError(
      `Cannot start: "${option}" must be a name in ${file}: current value is "${name}"`,
    );
  }
  return option === "user" ? { id, primaryGroup: Number(line[3]) } : { id };
}

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
 * Whether a process of this number lives; true where that can't be told.
 *
 * @throws {Deno.errors.NotCapable} when this process may not ask.
 */
export function isAlive(pid: number): boolean {
  if (readText(`/proc/${pid}/stat`) !== undefined) return true;
  try {
    // It does nothing to a process that runs.
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
    // One of them is what lists them.
    return [...Deno.readDirSync("/proc/self/fd")].length - 1;
  } catch {
    return undefined;
  }
}

function readText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}
