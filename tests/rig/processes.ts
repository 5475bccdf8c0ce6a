/** What /proc says of processes. */

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

/** CPU time that a process has used since its start, ms. */
export function cpuMillis(pid: number): number {
  const fields = statOf(pid);
  const TICK = 10;
  return (Number(fields[11]) + Number(fields[12])) * TICK;
}
