/**
 * How far a handler says that it is, and how often that is passed on. No I/O.
 *
 * @module
 */

import { buildProgress, MAX_NOTE_BYTES } from "../wire/request.ts";
import { harden, lengthOf } from "../zmq/library.ts";

/** How far a handler is, as it has said. */
export interface Progress {
  done: number;
  /** Undefined: it is not known. */
  total: number | undefined;
  /** What it does; "": it does not say. */
  note: string;
}

/** Time between two reports of one job, ms. */
const INTERVAL_MS = 50;
/** As it was before the handler could replace it. */
const Bytes = Uint8Array;
const utf8 = new TextEncoder();

/**
 * What a handler says, checked.
 *
 * @throws {TypeError} when a part of it is of another type.
 */
export function checkProgress(done: unknown, total: unknown, note: unknown): Progress {
  if (typeof done !== "number" || Number.isNaN(done)) throw wrong("done", "a number", done);
  if (total !== undefined && typeof total !== "number") throw wrong("total", "a number", total);
  if (note !== undefined && typeof note !== "string") throw wrong("note", "a string", note);
  return { done, total, note: note ?? "" };
}

function wrong(name: string, rule: string, value: unknown): TypeError {
  return new TypeError(
    `Cannot report progress: "${name}" must be ${rule}: it is ${
      Number.isNaN(value) ? "NaN" : `a ${typeof value}`
    }`,
  );
}

/** The frames that report progress; of a long note, what fits. */
export function progressFrames({ done, total, note }: Progress): Uint8Array<ArrayBuffer>[] {
  const room = new Bytes(MAX_NOTE_BYTES);
  const { written } = utf8.encodeInto(note, room);
  const text = new Bytes(written);
  for (let at = 0; at < lengthOf(text); at++) text[at] = room[at] ?? 0;
  return [buildProgress(done, total ?? NaN), text];
}

/** When a job's progress is passed on: not too often, and the last one always. */
export class ProgressPace {
  /** When something was last passed on, ms. */
  #sentAt = -Infinity;
  #waiting: Progress | undefined;

  /** The handler has said something; returns whether that is to be passed on at once. */
  add(progress: Progress, now: number): boolean {
    const isDue = this.waitMs(now) === 0;
    if (isDue) this.#sentAt = now;
    this.#waiting = isDue ? undefined : progress;
    return isDue;
  }

  /** When the next one may be passed on, ms from now. */
  waitMs(now: number): number {
    return Math.max(0, this.#sentAt + INTERVAL_MS - now);
  }

  /** Takes what waits; undefined: nothing does. */
  take(now: number): Progress | undefined {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting !== undefined) this.#sentAt = now;
    return waiting;
  }
}

/** What a job is waiting for that was not passed on yet. */
interface Report {
  readonly pace: ProgressPace;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** The progress of a worker's jobs, on its way to the broker. */
export class ProgressReports {
  readonly #send: (job: number, frames: Uint8Array<ArrayBuffer>[]) => void;
  readonly #reports = new Map<number, Report>();

  /** `send` passes progress on. */
  constructor(send: (job: number, frames: Uint8Array<ArrayBuffer>[]) => void) {
    this.#send = send;
  }

  /** A job says how far it is. */
  add(job: number, progress: Progress): void {
    const report = this.#reports.get(job) ?? { pace: new ProgressPace(), timer: undefined };
    this.#reports.set(job, report);
    const now = performance.now();
    if (report.pace.add(progress, now)) this.#send(job, progressFrames(progress));
    else report.timer ??= setTimeout(() => this.#pass(job, report), report.pace.waitMs(now));
  }

  /** A job has ended, and is about to be answered: passes on what it has said last. */
  end(job: number): void {
    const report = this.#reports.get(job);
    if (report === undefined) return;
    this.#reports.delete(job);
    if (report.timer !== undefined) clearTimeout(report.timer);
    this.#pass(job, report);
  }

  #pass(job: number, report: Report): void {
    report.timer = undefined;
    const progress = report.pace.take(performance.now());
    if (progress !== undefined) this.#send(job, progressFrames(progress));
  }
}

harden(ProgressReports);
