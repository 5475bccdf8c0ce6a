/**
 * The rest of a message that is not wanted. libzmq has all its frames, and gives nothing else of the
 * socket before they are read: so they are read some at a time, while others have their turn.
 *
 * @module
 */

import type { Message } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";

/** Frames read in a turn, which takes 1 to 2 ms. */
const SLICE = 2000;

/** What was skipped of a message. */
export interface Skipped {
  frames: number;
  bytes: number;
}

/** Skips frames of one socket. */
export class Surplus {
  readonly #socket: Socket;
  readonly #scratch: Message;
  #skipped: Skipped = { frames: 0, bytes: 0 };
  #done: ((skipped: Skipped) => void) | undefined;

  /** Reads into `scratch`. */
  constructor(socket: Socket, scratch: Message) {
    this.#socket = socket;
    this.#scratch = scratch;
  }

  /** Whether the last message has frames yet: nothing else can be read. */
  get pending(): boolean {
    return this.#done !== undefined;
  }

  /** Skips the frames behind the one just received, and calls `done` when that was the last. */
  skip(done: (skipped: Skipped) => void = () => {}): void {
    this.#skipped = { frames: 0, bytes: 0 };
    this.#done = done;
    this.resume();
  }

  /** Skips another turn's share of what is pending. */
  resume(): void {
    for (let turn = 0; turn < SLICE; turn++) {
      this.#skipped.bytes += Math.max(0, this.#socket.receive(this.#scratch));
      this.#skipped.frames++;
      if (this.#scratch.more) continue;
      this.#scratch.clear();
      const done = this.#done;
      this.#done = undefined;
      return done?.(this.#skipped);
    }
  }
}
