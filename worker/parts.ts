/**
 * Answers in parts: how a handler's iterator or stream is asked for one value after the other, and when it is
 * stopped. Runs the handler's own code; sends nothing.
 *
 * @module
 */

import type { Credit } from "../wire/credit.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { Code } from "../wire/request.ts";
import { harden, lengthOf } from "../zmq/library.ts";
import { type HandlerParts, type HandlerResult, RequestError } from "./handler.ts";
import { type Job, stopError } from "./job_context.ts";
import type { WorkerLane } from "./lane.ts";
import { framesOf, type ReplyBounds } from "./result.ts";

/** As it was before the handler could replace it. */
const Bytes = Uint8Array;
const Stream = ReadableStream;
const Later = Promise;

/** Where the parts of an answer go. */
export interface Taker {
  /** A promise that resolves once the next part may be asked for; undefined: it may be now. */
  ready(): Promise<void> | undefined;
  /**
   * Takes a part, and what it has of the handler's memory only until this returns.
   *
   * @throws when it can't be taken: nothing else is asked for then.
   */
  take(part: HandlerResult | undefined): void;
}

/** What a handler's values come from. */
interface Outflow {
  next(): Promise<{ done?: boolean; value?: HandlerResult }>;
  /** The job should stop, whatever `next` waits for. */
  interrupt(reason: unknown): void;
  /** No more values are wanted; nothing else is called then. */
  stop(reason: unknown): Promise<unknown> | undefined;
}

/** Whether a handler's result is an answer in parts. */
export function isInParts(result: HandlerResult | HandlerParts): result is HandlerParts {
  if (typeof result !== "object" || result instanceof Bytes) return false;
  return !Array.isArray(result) && result !== null && Symbol.asyncIterator in result;
}

/**
 * Gives all parts of an answer to `taker`. A job that should stop gets no more of them, even if its handler has just
 * come to its end: nobody can tell whether that was all.
 *
 * @throws what the handler or the taker throws, or the reason why the job should stop.
 */
export async function drain(parts: HandlerParts, job: Job, taker: Taker): Promise<void> {
  const outflow = parts instanceof Stream ? streamOutflow(parts) : iteratorOutflow(parts);
  job.onStop(() => outflow.interrupt(job.signal.reason));
  let isOver = false;
  try {
    for (;;) {
      for (let wait = taker.ready(); wait !== undefined; wait = taker.ready()) await wait;
      throwIfStopped(job);
      isOver = true;
      const { done, value } = await outflow.next();
      isOver = done === true;
      throwIfStopped(job);
      if (!isOver || value !== undefined) taker.take(value);
      if (isOver) return;
    }
  } catch (error) {
    if (!isOver) await stop(outflow, error);
    throw error;
  }
}

function throwIfStopped({ stopped }: Job): void {
  if (stopped !== undefined) throw stopError(stopped);
}

/** What a handler throws as it is stopped says nothing about why it is. */
async function stop(outflow: Outflow, reason: unknown): Promise<void> {
  try {
    await outflow.stop(reason);
  } catch {
    // The reason comes first, as with any loop that is left by an error.
  }
}

/** A stream is cancelled at once, even while it is waited for. */
function streamOutflow(stream: ReadableStream<HandlerResult>): Outflow {
  const reader = stream.getReader();
  return {
    next: () => reader.read(),
    interrupt: (reason) => void reader.cancel(reason).catch(() => {}),
    stop: (reason) => reader.cancel(reason),
  };
}

/** A generator that waits hears of it by `ctx.signal` alone, and is ended at its next value. */
function iteratorOutflow(parts: HandlerParts): Outflow {
  const iterator = parts[Symbol.asyncIterator]();
  return {
    next: () => iterator.next(),
    interrupt: () => {},
    stop: () => iterator.return?.(),
  };
}

/** The parts of an answer as the frames of one reply. */
export class GatheredParts implements Taker {
  readonly #bounds: ReplyBounds;
  readonly frames: Uint8Array[] = [];
  /** Bytes of all frames. */
  size = 0;

  /** All together are bounded as a reply is. */
  constructor(bounds: ReplyBounds) {
    this.#bounds = bounds;
  }

  ready(): undefined {}

  /** @throws {RequestError} when the reply becomes too large. */
  take(part: HandlerResult | undefined): void {
    const { frames, size } = framesOf(part, UNBOUNDED);
    const { maxFrames, maxMessageSize } = this.#bounds;
    this.size += size;
    if (this.frames.length + frames.length > maxFrames) throw excess(`${maxFrames} frames`);
    if (this.size > maxMessageSize) throw excess(`${maxMessageSize} bytes`);
    for (let index = 0; index < frames.length; index++) {
      this.frames[this.frames.length] = copyOf(frames[index] ?? EMPTY_FRAME);
    }
  }
}

const UNBOUNDED: ReplyBounds = { maxMessageSize: Infinity, maxFrames: Infinity };

function excess(most: string): RequestError {
  return new RequestError(
    Code.tooLarge,
    `The parts of the reply must have at most ${most} together, as the client takes them as one`,
  );
}

/** A handler may use its memory for the next part. */
function copyOf(frame: Uint8Array): Uint8Array {
  const copy = new Bytes(lengthOf(frame));
  copy.set(frame);
  return copy;
}

/** Parts that are sent as they come, as long as the client's credit lasts. */
export class SentParts implements Taker {
  readonly #job: Job;
  readonly #credit: Credit;
  readonly #bounds: ReplyBounds;
  readonly #turns: Turns;
  readonly #send: (frames: Uint8Array[], size: number) => void;

  /** Each part is bounded as a reply is; `send` copies what it gets. */
  constructor(
    job: Job,
    credit: Credit,
    bounds: ReplyBounds,
    turns: Turns,
    send: (frames: Uint8Array[], size: number) => void,
  ) {
    this.#job = job;
    this.#credit = credit;
    this.#bounds = bounds;
    this.#turns = turns;
    this.#send = send;
  }

  ready(): Promise<void> | undefined {
    if (this.#job.stopped !== undefined) return undefined;
    return this.#credit.isOpen ? this.#turns.wait() : this.#job.waitForCredit();
  }

  take(part: HandlerResult | undefined): void {
    const { frames, size } = framesOf(part, this.#bounds);
    this.#send(frames, size);
    this.#credit.take(size);
    this.#turns.took(size);
  }
}

/** Parts and bytes that are sent before the worker reads what the broker has said. */
const TURN_PARTS = 32;
const TURN_BYTES = 262_144;

/** Sees to it that an answer without an end leaves other things their turn. */
export class Turns {
  readonly #lane: Pick<WorkerLane, "isFull" | "wake">;
  #parts = 0;
  #bytes = 0;
  #waiting: (() => void)[] = [];

  /** The next turn comes when `lane` is read next. */
  constructor(lane: Pick<WorkerLane, "isFull" | "wake">) {
    this.#lane = lane;
  }

  /** Whether something waits for the next turn, and nothing else that would end a wait. */
  get isAwaited(): boolean {
    return this.#waiting.length > 0 && !this.#lane.isFull;
  }

  /** A part was sent. */
  took(bytes: number): void {
    this.#parts++;
    this.#bytes += bytes;
  }

  /** Waits for the next turn if this one has had its share, or the broker must read first; undefined: neither. */
  wait(): Promise<void> | undefined {
    const { isFull } = this.#lane;
    if (!isFull && this.#parts < TURN_PARTS && this.#bytes < TURN_BYTES) return undefined;
    return new Later((resolve) => {
      this.#waiting[this.#waiting.length] = resolve;
      if (!isFull) this.#lane.wake();
    });
  }

  /** The next turn has come. */
  next(): void {
    this.#parts = this.#bytes = 0;
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (let index = 0; index < waiting.length; index++) waiting[index]?.();
  }
}

harden(SentParts, Turns);
