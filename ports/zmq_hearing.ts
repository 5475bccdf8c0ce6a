/**
 * What workers say in frames of libzmq, and what is believed of it: a worker may be hostile, so each message is checked
 * before it means anything. Who a peer is, and what is said to it, is zmq_lane.ts's.
 *
 * @module
 */

import type { Worker } from "../broker/job.ts";
import {
  emptyReply,
  FromWorker,
  JOB_SIGNAL_BYTES,
  LOG_BYTES,
  LOG_LEVELS,
  MEMORY_BYTES,
  parseFields,
  readJobId,
  readMemory,
  readReply,
  REPLY_BYTES,
  type ReplyHeader,
} from "../wire/job.ts";
import { Code } from "../wire/request.ts";
import type { Message } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";
import type { Body } from "./body.ts";
import { MemoryContent } from "./content.ts";
import type { LaneEvents } from "./lane.ts";
import { Surplus } from "./surplus.ts";
import { MAX_FIELDS_BYTES, MAX_LOG_BYTES, TEXT_BYTES, type WorkerBounds } from "./worker_bounds.ts";

const CONTROL_BYTES = 256;
/** The memory that replies are joined in; that of larger ones is not kept. */
const JOIN_BYTES = 65_536;

/** Hears workers at a socket. */
export class ZmqHearing {
  readonly #socket: Socket;
  readonly #scratch: Message;
  /** What is left of a message that is too long. */
  readonly surplus: Surplus;
  readonly #events: LaneEvents;
  readonly #maxMessageSize: number;
  readonly #maxFrames: number;
  /** The start of the frame that was taken. */
  readonly #control = new Uint8Array(CONTROL_BYTES);
  readonly #view = new DataView(this.#control.buffer);
  /** The header of the reply that is read: one record for all. */
  readonly #reply = emptyReply();
  /** The frames of the reply that is read, one behind the other. */
  #joined = new Uint8Array(JOIN_BYTES);
  readonly #content = new MemoryContent();
  /** Messages from peers that are not workers, and those that no worker sends. */
  intruders = 0;

  /** Receives into `scratch`, which has nothing between two messages. */
  constructor(socket: Socket, scratch: Message, bounds: WorkerBounds, events: LaneEvents) {
    this.#socket = socket;
    this.#scratch = scratch;
    this.surplus = new Surplus(socket, scratch);
    this.#maxMessageSize = bounds.maxMessageSize;
    // An error may bring its stack along.
    this.#maxFrames = Math.max(bounds.maxFrames, 2);
    this.#events = events;
  }

  /** What the frame that was taken begins with; 0: it is empty. */
  get type(): number | undefined {
    return this.#control[0];
  }

  /** The messages are given back with the sockets' own. */
  giveBackMemory(): void {
    this.#joined = new Uint8Array(JOIN_BYTES);
  }

  /** Takes what there is room for of the frame just received, the first one of a message. */
  take(size: number): void {
    // An empty frame has no type byte: that of the frame before must not stand in for it.
    if (size === 0) this.#control[0] = 0;
    this.#scratch.copyTo(this.#control, Math.min(size, CONTROL_BYTES));
    if (size > CONTROL_BYTES) this.#scratch.clear();
  }

  /** Hears the rest of a worker's message, whose first frame was taken and has so many bytes. */
  hear(worker: Worker<Body>, size: number, more: boolean): void {
    const type = this.#control[0];
    if (isAnswer(type) && more) return this.#readReplies(worker, size);
    if (type === FromWorker.LOG && size === LOG_BYTES && more) return this.#readLog(worker);
    if (more) this.surplus.skip();
    if (type === FromWorker.RETURN && size === JOB_SIGNAL_BYTES) {
      this.#events.returned(worker, readJobId(this.#view));
    } else if (type === FromWorker.WITHDRAWAL && size === JOB_SIGNAL_BYTES) {
      this.#events.withdrawn(worker, readJobId(this.#view));
    } else if (type === FromWorker.MEMORY && size === MEMORY_BYTES) {
      this.#events.memory(worker, readMemory(this.#view));
    } else if (type === FromWorker.ALIVE && size === 1) this.#events.alive(worker);
    else if (type === FromWorker.RETIRE && size === 1) this.#events.retiring(worker);
    else if (type === FromWorker.LEAVING && size === 1) this.#events.gone(worker, "left");
    else this.intruders++;
  }

  /** A line of the log, of which the header was read. */
  #readLog(worker: Worker<Body>): void {
    const level = LOG_LEVELS[this.#control[1] ?? 0] ?? "info";
    const job = readJobId(this.#view);
    const size = this.#socket.receive(this.#scratch);
    if (!this.#events.mayLog(worker, size)) {
      if (this.#scratch.more) this.surplus.skip();
      return this.#scratch.clear();
    }
    const message = this.#textOf(size, MAX_LOG_BYTES);
    const fields = this.#scratch.more
      ? this.#textOf(this.#socket.receive(this.#scratch), MAX_FIELDS_BYTES)
      : "";
    if (this.#scratch.more) this.surplus.skip();
    this.#scratch.clear();
    this.#events.log(worker, { level, message, fields: parseFields(fields), job });
  }

  /** Reads one reply after the other; the first one's header was read, and others of its frames follow. */
  #readReplies(worker: Worker<Body>, size: number): void {
    let more = true;
    while (more && size === REPLY_BYTES && isAnswer(this.#control[0])) {
      const type = this.#control[0];
      const reply = readReply(this.#view, this.#reply);
      if (reply.frames > this.#maxFrames) {
        this.#refuse(worker, reply, `${this.#maxFrames} frames: it has ${reply.frames}`);
        break;
      }
      const content = this.#readContent(reply.frames);
      more = this.#scratch.more;
      if (content === undefined) break;
      this.#take(worker, type, reply, content);
      if (!more) return;
      size = this.#socket.receive(this.#scratch);
      more = this.#scratch.more;
      if (size === 0 && !more) return;
      this.take(size);
    }
    this.intruders++;
    if (more) this.surplus.skip();
  }

  /** Passes on a reply, a part or progress, unless it is too large: a worker bounds its replies itself, but may be compromised. */
  #take(
    worker: Worker<Body>,
    type: number | undefined,
    reply: ReplyHeader,
    content: MemoryContent,
  ): void {
    const { size } = content;
    if (size > this.#maxMessageSize + TEXT_BYTES) {
      this.#refuse(worker, reply, `${this.#maxMessageSize} bytes: it has ${size}`);
    } else if (type === FromWorker.REPLY) this.#events.reply(worker, reply, content);
    else if (type === FromWorker.PART) this.#events.part(worker, reply.job, content);
    else if (type === FromWorker.QUESTION) this.#events.question(worker, reply.job, content);
    else if (type === FromWorker.PUBLISH) {
      this.#events.publish(worker, content, (reply.flags & 1) !== 0);
    } else this.#events.progress(worker, reply.job, content);
  }

  /** Answers a job with an error in place of a reply that is too large. */
  #refuse(worker: Worker<Body>, reply: ReplyHeader, excess: string): void {
    const text = new TextEncoder().encode(`The reply must have at most ${excess}`);
    this.#content.set(text, 0, text.length);
    this.#events.reply(worker, { ...reply, code: Code.handlerFailed }, this.#content);
  }

  /** Reads `count` frames into one content; undefined if the message has no more, or they are none. */
  #readContent(count: number): MemoryContent | undefined {
    const sizes: number[] = [];
    let end = 0;
    while (sizes.length < count && (sizes.length === 0 || this.#scratch.more)) {
      const size = this.#socket.receive(this.#scratch);
      this.#join(end, size);
      end += size;
      sizes.push(size);
    }
    if (sizes.length === 0 || sizes.length < count) return undefined;
    return this.#content.set(this.#joined, 0, end, count === 1 ? undefined : sizes);
  }

  /** Copies the frame just received behind the others. What is too much anyway is not copied. */
  #join(start: number, size: number): void {
    const room = Math.min(start + size, this.#maxMessageSize + TEXT_BYTES);
    if (this.#joined.length < room) {
      const grown = new Uint8Array(Math.max(room, 2 * this.#joined.length));
      grown.set(this.#joined);
      this.#joined = grown;
    }
    if (start < this.#joined.length) this.#scratch.copyTo(this.#joined.subarray(start), size);
  }

  /** The next frame as text, cut to `MAX_LOG_BYTES`; frames behind it are skipped. */
  readText(): string {
    const text = this.#textOf(this.#socket.receive(this.#scratch), MAX_LOG_BYTES);
    if (this.#scratch.more) this.surplus.skip();
    else this.#scratch.clear();
    return text;
  }

  /** The frame just received as text, or its start. */
  #textOf(size: number, most: number): string {
    return new TextDecoder().decode(this.#scratch.bytes(Math.min(size, most)));
  }

  /** What stands behind the first byte of the frame that was taken, as text. */
  words(size: number): string {
    return new TextDecoder().decode(this.#control.subarray(1, Math.min(size, CONTROL_BYTES)));
  }
}

/** Whether a message begins with what a worker says of a job that it has. */
function isAnswer(type: number | undefined): boolean {
  return type === FromWorker.REPLY || type === FromWorker.PART || type === FromWorker.PROGRESS ||
    type === FromWorker.QUESTION || type === FromWorker.PUBLISH;
}
