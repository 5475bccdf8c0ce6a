/** What /proc says of processes, and signals to them. */

import { within } from "./wait.ts";

/** Fields of proc(5)'s stat from the third (state) on. */
export function statOf(pid: number): string[] {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The second field is the name, in parentheses, and may have blanks and parentheses of its own.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** Whether a process lives; one that has ended but was not waited for does not. */
export function isAlive(pid: number): boolean {
  try {
    return statOf(pid)[0] !== "Z";
  } catch {
    return false;
  }
}

/** Clock ticks of /proc, ms; the same on every Linux that Deno runs on. */
const TICK = 10;

/** CPU time that processes have used since their start, all together, ms. */
export function cpuMillis(...pids: readonly number[]): number {
  return sumOf(pids.map((pid) => cpuTicks(pid, 2))) * TICK;
}

/** CPU time of a process and of its children that have ended, ms. */
export function cpuMillisWithChildren(pid: number): number {
  return cpuTicks(pid, 4) * TICK;
}

/** The sum of the first `count` of utime, stime, cutime and cstime: fields 14 to 17. */
function cpuTicks(pid: number, count: number): number {
  return sumOf(statOf(pid).slice(11, 11 + count).map(Number));
}

/** CPU time of the living threads of processes, to the microsecond, ms: for those that do next to nothing. */
export function exactCpuMillis(...pids: readonly number[]): number {
  const nanos = pids.flatMap((pid) =>
    [...Deno.readDirSync(`/proc/${pid}/task`)].map(({ name }) => {
      const [running] = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ");
      return Number(running);
    })
  );
  return sumOf(nanos) / 1e6;
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

/** Pids of the processes that a process has started and that have not ended, sorted. */
export function childrenOf(pid: number): number[] {
  const isChild = (each: number) => {
    try {
      const [state, parent] = statOf(each);
      return state !== "Z" && Number(parent) === pid;
    } catch {
      return false; // it has just ended
    }
  };
  const pids = [...Deno.readDirSync("/proc")].map(({ name }) => Number(name));
  return pids.filter((each) => each > 0 && isChild(each)).sort((a, b) => a - b);
}

/** How many file descriptors a process has open. */
export function openFiles(pid: number): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}

/** How many connections over TCP of this machine have been made to an endpoint, accepted or not. */
export function connectionsTo(endpoint: string): number {
  const ESTABLISHED = "01";
  const port = Number(endpoint.split(":").at(-1)).toString(16).toUpperCase().padStart(4, "0");
  return Deno.readTextFileSync("/proc/net/tcp").split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote, state]) => remote?.endsWith(`:${port}`) && state === ESTABLISHED).length;
}

/** Ends a process that a test has started, whatever it does, if it has not ended yet. */
export async function endNow(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended.
  }
  await within("a killed process has ended", child.status);
}

/** Sends a signal to a process; false if it has ended. */
export function trySignal(pid: number, signal: Deno.Signal): boolean {
  try {
    Deno.kill(pid, signal);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
