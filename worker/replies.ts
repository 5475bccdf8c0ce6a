/**
 * Replies on their way to the broker over a ZeroMQ socket: those that go out together share one message, so that
 * libzmq's thread is woken once for all of them.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { FromWorker, REPLY_BYTES, type ReplyHeader, writeReply } from "../wire/job.ts";
import { harden } from "../zmq/library.ts";
import type { Socket } from "../zmq/socket.ts";
import { Hold } from "./hold.ts";

/** The sending half of a worker's socket. */
export type ReplySocket = Pick<Socket, "sendMore" | "sendLast">;

/** Writes replies, several to a message. */
export class Replies {
  readonly #socket: ReplySocket;
  readonly #header = new Uint8Array(REPLY_BYTES);
  readonly #view = new DataView(this.#header.buffer);
  /** Those of the unfinished message wait; if none does, no message is unfinished. */
  readonly #hold = new Hold();

  /** Writes to `socket`, which must get nothing else while a message is unfinished: see `flush`. */
  constructor(socket: ReplySocket) {
    this.#socket = socket;
  }

  /**
   * Writes a reply. With `mayWait`, it may stay unsent until the next reply or `flush`.
   *
   * @param size bytes of all `frames`.
   * @param now ms.
   * @param type REPLY, PART or PROGRESS.
   */
  add(
    header: ReplyHeader,
    frames: readonly Uint8Array<ArrayBuffer>[],
    size: number,
    mayWait: boolean,
    now: number,
    type: number = FromWorker.REPLY,
  ): void {
    const isLast = this.#hold.add(size, mayWait, now);
    writeReply(this.#view, header, type);
    this.#socket.sendMore(this.#header);
    const last = frames.length - 1;
    for (let index = 0; index < last; index++) this.#socket.sendMore(frames[index] ?? EMPTY_FRAME);
    if (isLast) this.#socket.sendLast(frames[last] ?? EMPTY_FRAME);
    else this.#socket.sendMore(frames[last] ?? EMPTY_FRAME);
  }

  /** Sends what waits. Call it before anything else is sent, and before the next job can take its time. */
  flush(): void {
    if (this.#hold.end()) this.#socket.sendLast(EMPTY_FRAME);
  }
}

harden(Replies);
