/**
 * The last lines of the log, for whoever asks for them while the server runs, and those that come from then on.
 * Both are bounded: nobody who reads slowly makes the server keep more.
 *
 * @module
 */

import type { Level } from "../options/settings.ts";
import type { Log } from "./log.ts";
import type { LogLine, LogOptions } from "./status.ts";

/** A line and its number. */
export interface NumberedLine {
  /** Counts the lines, from 1. */
  readonly id: number;
  readonly line: LogLine;
}

/** What those who follow the log are told. */
export type FollowLines = (line: NumberedLine) => void;

/** Lines that are kept, and characters in all of them. */
const MAX_LINES = 1000;
const MAX_CHARACTERS = 1024 ** 2;
/** Lines that wait for one reader. */
const MAX_BEHIND = 1000;

const LEVELS: readonly Level[] = ["debug", "info", "warn", "error", "critical"];

/** Whether a line is at least as urgent as `level`. */
export function isUrgent(line: LogLine, level: Level): boolean {
  return LEVELS.indexOf(line.level) >= LEVELS.indexOf(level);
}

/** The last lines of one log. */
export class LogRing {
  readonly #lines: (NumberedLine & { readonly size: number })[] = [];
  readonly #followers = new Set<FollowLines>();
  readonly #stop: () => void;
  #characters = 0;
  #count = 0;

  /** Keeps the lines that are logged from now on. */
  constructor(log: Pick<Log, "listen">) {
    this.#stop = log.listen((line) => this.#add(line));
  }

  #add(line: LogLine): void {
    const size = JSON.stringify(line).length;
    const numbered = { id: ++this.#count, line, size };
    this.#lines.push(numbered);
    this.#characters += size;
    while (this.#lines.length > MAX_LINES || this.#characters > MAX_CHARACTERS) {
      this.#characters -= this.#lines.shift()?.size ?? 0;
    }
    for (const follower of this.#followers) follower(numbered);
  }

  /** The last `count` lines of a level or of a more urgent one, the oldest first. */
  last(count: number, level: Level): NumberedLine[] {
    const found = this.#lines.filter(({ line }) => isUrgent(line, level));
    return count > 0 ? found.slice(-count) : [];
  }

  /** The lines after the one of a number, as far as they are still here. */
  after(id: number, level: Level): NumberedLine[] {
    return this.#lines.filter((each) => each.id > id && isUrgent(each.line, level));
  }

  /** Tells of each line from now on, until the function that it returns is called. */
  follow(follower: FollowLines): () => void {
    this.#followers.add(follower);
    return () => void this.#followers.delete(follower);
  }

  /** The last lines and those that come, until `signal` aborts; a reader that is too slow is told what it missed. */
  async *lines(options: LogOptions = {}): AsyncGenerator<LogLine, void, void> {
    const { lines = 0, level = "debug", signal } = options;
    const waiting = this.last(lines, level).map(({ line }) => line);
    const bell = new Bell();
    let lost = 0;
    const stop = this.follow(({ line }) => {
      if (!isUrgent(line, level)) return;
      if (waiting.length < MAX_BEHIND) waiting.push(line);
      else lost++;
      bell.ring();
    });
    const abort = () => bell.ring();
    signal?.addEventListener("abort", abort);
    try {
      while (!signal?.aborted) {
        const [batch, missed] = [waiting.splice(0), lost];
        lost = 0;
        yield* batch;
        if (missed > 0) yield lossOf(missed);
        if (waiting.length === 0 && !signal?.aborted) await bell.rung();
      }
    } finally {
      stop();
      signal?.removeEventListener("abort", abort);
    }
  }

  /** Keeps no more. */
  close(): void {
    this.#stop();
  }
}

function lossOf(lost: number): LogLine {
  const time = new Date().toISOString();
  return { time, level: "warn", message: "log lines were lost", lost };
}

/** Wakes one who waits, also if it was rung before. */
class Bell {
  #next = Promise.withResolvers<void>();

  ring(): void {
    this.#next.resolve();
  }

  async rung(): Promise<void> {
    await this.#next.promise;
    this.#next = Promise.withResolvers();
  }
}
