/** Lines of a server's log, and what they say of its workers. */

import type { ServerProcess } from "./server_process.ts";
import { until } from "./wait.ts";

/** A line of a server's JSON log. */
export interface LogLine {
  time: string;
  level: string;
  message: string;
  [field: string]: unknown;
}

/** Log lines with this message. */
export function linesOf(server: ServerProcess, message: string): LogLine[] {
  return server.lines.filter((line) => line.message === message);
}

/** ms from one line of a log to another. */
export function between(from: LogLine | undefined, to: LogLine | undefined): number {
  return Date.parse(String(to?.time)) - Date.parse(String(from?.time));
}

/** The least number of workers that were ready at a time, from the `from`th on. */
export function leastReady(lines: readonly LogLine[], from: number): number {
  const ready = new Set<unknown>();
  let most = 0;
  let least = Infinity;
  for (const { message, worker } of lines) {
    if (message === "worker ready") ready.add(worker);
    if (message === "worker exited") ready.delete(worker);
    most = Math.max(most, ready.size);
    if (most >= from) least = Math.min(least, ready.size);
  }
  return least;
}

/** The most workers that were starting at a time. */
export function mostStarting(lines: readonly LogLine[]): number {
  const starting = new Set<unknown>();
  let most = 0;
  for (const { message, worker } of lines) {
    if (message === "worker spawned") starting.add(worker);
    else if (message === "worker ready" || message === "worker exited") starting.delete(worker);
    most = Math.max(most, starting.size);
  }
  return most;
}

/** Lines of a log file in JSON; throws if one is none. */
export function readLog(file: string): LogLine[] {
  return Deno.readTextFileSync(file).split("\n").slice(0, -1).map((line) => JSON.parse(line));
}

/** Waits for the `count`th line with this message in a log file. */
export function lineIn(file: string, message: string, count = 1): Promise<LogLine> {
  return until(`"${file}" says "${message}" ${count} times`, () => {
    try {
      return readLog(file).filter((line) => line.message === message)[count - 1];
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
      throw error;
    }
  });
}
