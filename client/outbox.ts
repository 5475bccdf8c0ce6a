/**
 * What a client is to send over a connection of our own: requests wait here until there is a connection, and what the
 * server has not been given whole when one ends is sent over the next. Sends nothing itself.
 *
 * @module
 */

import { Outgoing, type Sink } from "../wire/outgoing.ts";
import { MAX_HEADER_BYTES, type StreamCredit } from "../wire/request_header.ts";
import { FrameFlag, headBytes, MAX_HEAD_BYTES, SHORT_HEAD_BYTES, writeHead } from "../wire/zmtp.ts";
import type { Answer } from "./answer.ts";
import {
  bodyOfWord,
  FieldGate,
  headerOfWord,
  isForAll,
  isForSome,
  type Message,
  type Word,
} from "./field_gate.ts";
import { buildHeader, RequestHeaders } from "./request_headers.ts";
import type { Sending } from "./transport.ts";

/** So many bytes of the connection itself were written. */
interface Remark {
  readonly bytes: number;
}

/** So much is written at a time, bytes: the system takes about as much at once. */
const BATCH_BYTES = 49_152;
/** A frame of at least so many bytes is sent from where it lies. */
const LARGE = 8192;
/** Heads of a header and of the empty frame, and the longest header. */
const START_BYTES = 2 * MAX_HEAD_BYTES + MAX_HEADER_BYTES;

/** Messages on their way to one server. */
export class Outbox {
  readonly #plain: boolean;
  readonly #outgoing = new Outgoing();
  /** Messages that were not written; the first `#next` of them were. */
  #waiting: Message[] = [];
  #next = 0;
  /** Those that were written, and that the system may not have taken. */
  #written: (Message | Remark)[] = [];
  readonly #headers = new RequestHeaders();
  readonly #gate = new FieldGate();

  /** `plain`: requests go without a header, as a REQ socket's. */
  constructor({ plain }: { plain: boolean }) {
    this.#plain = plain;
  }

  /** Whether there is nothing to be sent. */
  get isEmpty(): boolean {
    return this.#next === this.#waiting.length && this.#outgoing.size === 0;
  }

  /** Takes a request: `[header] [""] [body…]`; plain, `[""] [body…]`. */
  add(request: Sending): void {
    if (request.fields === undefined || this.#gate.isOpen) this.#waiting.push(request);
    else this.#ask(this.#gate.hold(request));
  }

  /** Takes a request back: `[header] [""] [""]`. */
  cancel(id: number): void {
    if (!this.#gate.withdraw(id)) this.#waiting.push({ cancels: id });
  }

  /** Grants more of an answer, of which something has come by this connection: `[header] [""] [""]`. */
  grant(id: number, credit: StreamCredit): void {
    // A connection that was made again has nothing to go on with.
    if (this.#gate.isOpen) this.#waiting.push({ grants: id, credit });
  }

  /** Whether requests wait until the server has said that it knows their headers' fields. */
  get isAsking(): boolean {
    return this.#gate.holds;
  }

  /** Takes in what the server says of itself; false: the answer is to a request. */
  learn(answer: Answer): boolean {
    const ready = this.#gate.learn(answer);
    if (ready !== undefined) { for (const request of ready) this.#waiting.push(request); }
    return ready !== undefined;
  }

  /** Asks: `[header] [""] ["version?"]`. */
  #ask(question: number | undefined): void {
    if (question !== undefined) this.#waiting.push({ asks: question });
  }

  /** Writes bytes of the connection itself ahead of what waits. */
  say(bytes: Uint8Array<ArrayBuffer>): void {
    const at = this.#outgoing.room(bytes.length);
    this.#outgoing.bytes.set(bytes, at);
    this.#outgoing.wrote(bytes.length);
    this.#written.push({ bytes: bytes.length });
  }

  /** Sends what was said of the connection itself. */
  sendSaid(sink: Sink): void {
    if (this.#outgoing.send(sink)) this.#written.length = 0;
  }

  /** Sends all that it can; false: the other side must take some first. */
  send(sink: Sink): boolean {
    for (;;) {
      if (!this.#outgoing.send(sink)) return false;
      this.#written.length = 0;
      if (this.#next === this.#waiting.length) break;
      this.#writeSome();
    }
    this.#waiting.length = this.#next = 0;
    return true;
  }

  /**
   * The connection has ended: what was not taken whole is sent over the next one, with fields only once that server
   * has said that it knows them, too.
   */
  startAnew(): void {
    const unsent = [...this.#untaken(), ...this.#waiting.slice(this.#next)];
    this.#waiting = unsent.filter((message) => "cancels" in message || isForAll(message));
    this.#written = [];
    this.#next = 0;
    this.#outgoing.drop();
    this.#ask(this.#gate.startAnew(unsent.filter(isForSome)));
  }

  /** What was written, and not taken whole. */
  #untaken(): Message[] {
    let rest = this.#outgoing.size;
    let kept = this.#written.length;
    while (kept > 0 && rest > 0) rest -= this.#sizeOf(this.#written[--kept]);
    return this.#written.slice(kept).filter((message): message is Message => !("bytes" in message));
  }

  #writeSome(): void {
    while (this.#next < this.#waiting.length && this.#outgoing.size < BATCH_BYTES) {
      const message = this.#waiting[this.#next++];
      if (message === undefined) continue;
      this.#written.push(message);
      if ("item" in message) this.#writeRequest(message);
      else this.#writeWord(message);
    }
  }

  /** Writes what is said of a request, or asked of the server. */
  #writeWord(word: Word): void {
    this.#writeStart(headerOfWord(word));
    this.#writeFrame(bodyOfWord(word), 0);
  }

  #writeRequest(request: Sending): void {
    this.#writeStart(this.#plain ? undefined : this.#headers.of(request));
    const { frames } = request.item;
    const last = frames.length - 1;
    for (let index = 0; index < last; index++) this.#writeFrame(frames[index], FrameFlag.MORE);
    this.#writeFrame(frames[last], 0);
  }

  /** Writes `[header] [""]`, of which more follows. */
  #writeStart(header: Uint8Array | undefined): void {
    const outgoing = this.#outgoing;
    const start = outgoing.room(START_BYTES);
    const { bytes } = outgoing;
    let at = start;
    if (header !== undefined) {
      at = writeHead(bytes, at, header.length, FrameFlag.MORE);
      bytes.set(header, at);
      at += header.length;
    }
    outgoing.wrote(writeHead(bytes, at, 0, FrameFlag.MORE) - start);
  }

  #writeFrame(frame: Uint8Array<ArrayBuffer> | undefined, flags: number): void {
    const size = frame?.length ?? 0;
    const outgoing = this.#outgoing;
    const isLarge = size >= LARGE;
    const start = outgoing.room(MAX_HEAD_BYTES + (isLarge ? 0 : size));
    const at = writeHead(outgoing.bytes, start, size, flags);
    if (frame !== undefined && !isLarge) outgoing.bytes.set(frame, at);
    outgoing.wrote(at - start + (isLarge ? 0 : size));
    if (frame !== undefined && isLarge) outgoing.push(frame, size, undefined);
  }

  /** Bytes of a message as it is written. */
  #sizeOf(message: Message | Remark | undefined): number {
    if (message === undefined) return 0;
    if ("bytes" in message) return message.bytes;
    const header = this.#plain ? 0 : headerOf(message).length;
    const start = (header > 0 ? headBytes(header) + header : 0) + SHORT_HEAD_BYTES;
    const frames = "item" in message ? message.item.frames : [bodyOfWord(message)];
    return frames.reduce((sum, { length }) => sum + headBytes(length) + length, start);
  }
}

function headerOf(message: Message): Uint8Array<ArrayBuffer> {
  return "item" in message ? buildHeader(message) : headerOfWord(message);
}
