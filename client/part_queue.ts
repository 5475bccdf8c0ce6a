/**
 * An answer that comes in parts, between the server and the loop that reads it: each part once, in order, and no more
 * of them than were granted. Sends nothing itself.
 *
 * @module
 */

import type { StreamCredit } from "../wire/request_header.ts";
import { Reply } from "./reply.ts";

/** What a server may send before the reader has taken some of it. One part may exceed it. */
export const CREDIT: StreamCredit = { bytes: 262_144, parts: 16 };

/** Parts that have come and were not read. */
export class PartQueue {
  #unread: { part: Reply; bytes: number; sending: number }[] = [];
  /** The number of the next part. */
  #next = 0;
  /** Counts the sendings of the request: each starts with a credit of its own. */
  #sending = 0;
  /** What the server may still send. */
  #left: StreamCredit = { ...CREDIT };
  /** What was read, and not granted again. */
  #read: StreamCredit = { bytes: 0, parts: 0 };
  /** How it has ended; undefined: it has not. */
  #end: { error?: unknown } | undefined;
  /** Who waits for the next part. */
  #waiting: PromiseWithResolvers<Reply | undefined> | undefined;

  /** Whether it is the reader who keeps the answer from going on. */
  get isHeldUp(): boolean {
    return this.#unread.length > 0 || !this.#isOpen;
  }

  /** Whether the server may send a part, whatever its size. */
  get #isOpen(): boolean {
    return this.#left.bytes > 0 && this.#left.parts > 0;
  }

  /** Whether no more will come. */
  get hasEnded(): boolean {
    return this.#end !== undefined;
  }

  /** The request is sent again: the server starts with the first credit. */
  startAnew(): void {
    this.#sending++;
    this.#left = { ...CREDIT };
    this.#read = { bytes: 0, parts: 0 };
  }

  /**
   * Takes a part. One that was here before is dropped, as when a try has started over.
   *
   * @throws {Error} when parts are missing ahead of it, or it exceeds what was granted.
   */
  take(number: number, frames: Uint8Array<ArrayBuffer>[]): void {
    const bytes = frames.reduce((sum, { length }) => sum + length, 0);
    if (!this.#isOpen) {
      throw new Error("Cannot go on with the answer: the server has sent more than it may");
    }
    this.#left.bytes -= bytes;
    this.#left.parts--;
    if (number < this.#next) return this.#count(bytes);
    if (number > this.#next) throw gap(number, this.#next);
    this.#next++;
    this.#give(new Reply(frames), bytes);
  }

  #give(part: Reply, bytes: number): void {
    const waiting = this.#waiting;
    if (waiting === undefined) {
      this.#unread.push({ part, bytes, sending: this.#sending });
      return;
    }
    this.#waiting = undefined;
    this.#count(bytes);
    waiting.resolve(part);
  }

  /**
   * All parts have come: so many.
   *
   * @throws {Error} when some are missing.
   */
  end(count: number): void {
    if (count !== this.#next) throw gap(count, this.#next);
    this.#close();
  }

  /** The answer has come whole: it is the last part, and the first one, unless that was here before. */
  takeWhole(part: Reply): void {
    if (this.#next++ === 0) this.#give(part, 0);
    this.#close();
  }

  #close(): void {
    this.#end ??= {};
    this.#waiting?.resolve(undefined);
    this.#waiting = undefined;
  }

  /** No more will come; what is here is read first. */
  fail(error: unknown): void {
    this.#end ??= { error };
    if (this.#waiting === undefined) return;
    this.#waiting.reject(error);
    this.#waiting = undefined;
  }

  /** No more is wanted. */
  abort(reason: unknown): void {
    this.#unread = [];
    this.fail(reason);
  }

  /** The next part; undefined after the last one. @throws what the answer has failed with. */
  next(): Promise<Reply | undefined> | Reply | undefined {
    const first = this.#unread.shift();
    if (first !== undefined) {
      if (first.sending === this.#sending) this.#count(first.bytes);
      return first.part;
    }
    if (this.#end !== undefined) {
      if ("error" in this.#end) throw this.#end.error;
      return undefined;
    }
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  #count(bytes: number): void {
    this.#read.bytes += bytes;
    this.#read.parts++;
  }

  /** What is to be granted now: as much as was read, once that is half of all; undefined: nothing. */
  grant(): StreamCredit | undefined {
    const read = this.#read;
    if (read.bytes < CREDIT.bytes / 2 && read.parts < CREDIT.parts / 2) return undefined;
    this.#read = { bytes: 0, parts: 0 };
    this.#left.bytes += read.bytes;
    this.#left.parts += read.parts;
    return read;
  }
}

function gap(number: number, next: number): Error {
  return new Error(
    `Cannot go on with the answer: part ${next} is missing, ahead of number ${number}`,
  );
}
