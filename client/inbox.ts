/**
 * What has come over a connection of our own: bytes in, answers and commands out. Each body frame is given away in
 * memory of its own. Receives nothing itself.
 *
 * ```text
 * message    [envelope frame…] [""] [status] [body frame…]     plain: without a status
 * ```
 *
 * @module
 */

import { type Command, FrameHead, MAX_COMMAND_BYTES, readCommand } from "../wire/zmtp.ts";
import { HEADER_BYTES } from "../wire/request_header.ts";
import { Answer } from "./answer.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Room for what is received, bytes: as much as the second once so much comes. */
const SMALLEST = 4096;
const LARGEST = 65_536;
/** A frame with more bytes is received into memory of its own; one with fewer waits until it is here. */
const LARGE = 2048;
/** So much of a large frame gets memory on the peer's word; more only as bytes come. */
const PROMISED = 16 * 1024 ** 2;

/**
 * What was read.
 *
 * - `answer`, `noise`: a message, which is an answer or none.
 * - `command`: see `command`.
 * - `short`: nothing; more must come first.
 * - `broken`: what no peer may send.
 */
export type Read = "answer" | "noise" | "command" | "short" | "broken";

/** Takes what comes over one connection apart. */
export class Inbox {
  readonly #plain: boolean;
  /** Whether messages have no envelope: all frames are their body's. */
  readonly #isBare: boolean;
  readonly #head = new FrameHead();
  #bytes: Bytes = new Uint8Array(SMALLEST);
  /** What was not read yet lies here. */
  #from = 0;
  #end = 0;
  /** A large frame that comes, how much of it is here, its size, and whether another one follows. */
  #large: Bytes | undefined;
  #filled = 0;
  #size = 0;
  #more = false;
  /** What the next frame of the message is. */
  #next: "first" | "envelope" | "status" | "body" = "first";
  readonly #control = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#control.buffer);
  /** The command that was read last. */
  command: Command | undefined;
  /** The answer that was read last, or that is being read. */
  readonly answer = new Answer();

  /** `plain`: the answers have no status, as those to a REQ socket. `isBare`: they have no envelope, as events. */
  constructor({ plain, isBare = false }: { plain: boolean; isBare?: boolean }) {
    this.#plain = plain;
    this.#isBare = isBare;
  }

  /** Whether nothing is here that was not read. */
  get isEmpty(): boolean {
    return this.#from === this.#end;
  }

  /** Another connection begins. */
  reset(): void {
    this.#from = this.#end = 0;
    this.#large = undefined;
    this.#next = "first";
  }

  /**
   * Receives by `receive`, which puts up to so many bytes at a place and returns how many these were; returns "full"
   * if there may be more, "partial" if that was all, or what `receive` has returned if it was less than 1.
   */
  fill(receive: (bytes: Bytes, at: number, most: number) => number): "full" | "partial" | number {
    if (this.#large !== undefined) return this.#fillLarge(this.#large, receive);
    if (this.#end === this.#bytes.length) this.#makeRoom();
    const most = this.#bytes.length - this.#end;
    const size = receive(this.#bytes, this.#end, most);
    if (size < 1) return size;
    this.#end += size;
    return size === most ? "full" : "partial";
  }

  #fillLarge(
    large: Bytes,
    receive: (bytes: Bytes, at: number, most: number) => number,
  ): "full" | "partial" | number {
    const most = large.length - this.#filled;
    const size = receive(large, this.#filled, most);
    if (size < 1) return size;
    this.#filled += size;
    if (this.#filled === large.length && large.length < this.#size) {
      const length = Math.min(this.#size, 2 * large.length);
      this.#large = new Uint8Array(large.buffer.transfer(length));
    }
    return size === most ? "full" : "partial";
  }

  /** What is left goes to the front; what fills all of the memory gets more. */
  #makeRoom(): void {
    const grows = this.#from === 0 || this.#end - this.#from > this.#bytes.length / 2 ||
      this.#bytes.length < LARGEST;
    const bytes = grows ? new Uint8Array(Math.min(2 * this.#bytes.length, LARGEST)) : this.#bytes;
    bytes.set(this.#bytes.subarray(this.#from, this.#end));
    this.#bytes = bytes;
    this.#end -= this.#from;
    this.#from = 0;
  }

  /** Has a handshake read, which returns how far it could. */
  readWith(read: (bytes: Bytes, from: number, end: number) => number): void {
    this.#from = read(this.#bytes, this.#from, this.#end);
    this.#rewind();
  }

  #rewind(): void {
    if (this.#from === this.#end) this.#from = this.#end = 0;
  }

  /** Reads one message or command, if it is all here. */
  read(): Read {
    for (;;) {
      const read = this.#large === undefined ? this.#readFrame() : this.#endLarge();
      if (read !== undefined) return read;
    }
  }

  /** Reads a frame; returns what ends with it, undefined: nothing, another one follows. */
  #readFrame(): Read | undefined {
    const head = this.#head;
    const size = head.read(this.#bytes, this.#from, this.#end);
    if (size === 0) return this.#rewind(), "short";
    if (size < 0) return "broken";
    const start = this.#from + size;
    const stop = start + head.size;
    if (head.isCommand && head.size > MAX_COMMAND_BYTES) return "broken";
    if (stop > this.#end) return this.#await(start);
    this.#from = stop;
    if (head.isCommand) return this.#readCommand(start, stop);
    return this.#take(this.#bytes, start, stop);
  }

  #readCommand(start: number, stop: number): Read {
    this.command = readCommand(this.#bytes.subarray(start, stop));
    return this.command === undefined ? "broken" : "command";
  }

  /** A frame is not all here: a large one goes on in memory of its own. */
  #await(start: number): "short" | "broken" {
    const { size, isCommand, more } = this.#head;
    if (size <= LARGE || isCommand) return "short";
    const here = this.#end - start;
    const large = new Uint8Array(Math.min(size, Math.max(PROMISED, here)));
    large.set(this.#bytes.subarray(start, this.#end));
    this.#large = large;
    this.#filled = here;
    this.#size = size;
    this.#more = more;
    this.#from = this.#end = 0;
    return "short";
  }

  #endLarge(): Read | undefined {
    const large = this.#large;
    if (large === undefined || this.#filled < this.#size) return "short";
    this.#large = undefined;
    this.#head.flags = this.#more ? 1 : 0;
    return this.#take(large, 0, large.length);
  }

  /** Takes a frame that lies in `bytes`; one of a body that fills them is given away with them. */
  #take(bytes: Bytes, start: number, stop: number): Read | undefined {
    const { answer } = this;
    const size = stop - start;
    if (this.#next === "first") {
      answer.begin();
      if (this.#isBare) this.#next = "body";
    }
    switch (this.#next) {
      case "body":
        answer.frames.push(bytes === this.#bytes ? bytes.slice(start, stop) : bytes);
        break;
      case "status":
        answer.takeStatus(this.#look(bytes, start, size), size);
        this.#next = "body";
        break;
      default:
        if (size === 0) this.#next = this.#plain ? "body" : "status";
        else {
          answer.takeEnvelope(this.#look(bytes, start, size), size);
          this.#next = "envelope";
        }
    }
    return this.#head.more ? undefined : this.#finish();
  }

  #look(bytes: Bytes, start: number, size: number): DataView {
    const count = Math.min(size, HEADER_BYTES);
    for (let index = 0; index < count; index++) this.#control[index] = bytes[start + index] ?? 0;
    return this.#view;
  }

  /** A message has ended. One without an empty frame is no answer. */
  #finish(): "answer" | "noise" {
    const isAnswer = this.#next === "body" || this.#next === "status";
    this.#next = "first";
    if (!isAnswer) return "noise";
    if (this.#isBare) return "answer";
    return this.#plain ? this.answer.endPlain() : this.answer.end();
  }
}
