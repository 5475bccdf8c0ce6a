/**
 * A worker's connection to its broker as a ZeroMQ socket: for a broker that may be on another machine. Its messages
 * are in wire/job.ts.
 *
 * @module
 */

import { openBell } from "../system/bell.ts";
import { openConnector, openTransfer } from "../system/libc.ts";
import { Poller } from "../system/poller.ts";
import { Resending } from "../system/resending.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import {
  buildJobSignal,
  buildLog,
  buildMemory,
  buildSignal,
  FromBroker,
  FromWorker,
  JobReader,
  type LogLevel,
  readCode,
  readGrant,
  readJobId,
  type ReplyHeader,
  WORKER_PROTOCOL,
} from "../wire/job.ts";
import type { WorkerConfig } from "../wire/worker_config.ts";
import { prove } from "../zmq/curve.ts";
import { harden, inPlainMemory, openLibrary, Option, SocketType } from "../zmq/library.ts";
import { type Message, MessagePool } from "../zmq/message.ts";
import { Monitor } from "../zmq/monitor.ts";
import { Context, type Socket } from "../zmq/socket.ts";
import type { Introduction, Orders, Remark, WorkerLane } from "./lane.ts";
import { Replies } from "./replies.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** Messages that are read before the first of their jobs is started. */
const BATCH_MESSAGES = 256;
/** A batch of messages is full with this many bytes in their bodies, however few they are. */
const BATCH_BYTES = 262_144;
/** Signs of life in the time after which a silent connection ends. */
const BEATS = 5;
/** How long a worker that leaves waits for its last replies to be sent. */
const LINGER_MS = 5000;

/** A ZeroMQ socket to the broker. */
export class ZmqLane implements WorkerLane {
  readonly #context: Context;
  readonly #socket: Socket;
  readonly #poller: Poller;
  readonly #frame: Message;
  readonly #reader: JobReader;
  readonly #replies: Replies;
  readonly #encoder = new TextEncoder();
  readonly #resending: Resending;
  /** Tells when the broker is reached, where that is on another machine; undefined: it has, or is not. */
  #monitor: Monitor | undefined;
  /** libzmq does not tell what waits: here parts are bounded by their clients' credit alone. */
  readonly isFull = false;

  /** Opens libzmq and connects; needs FFI until it returns. */
  constructor({ library, backend, curve, heartbeatTimeout, clockAhead }: WorkerConfig) {
    this.#reader = new JobReader(clockAhead);
    const opened = openLibrary(library);
    this.#context = new Context(opened);
    this.#socket = this.#context.socket(SocketType.DEALER);
    this.#socket.set(Option.SNDHWM, 0);
    this.#socket.set(Option.RCVHWM, 0);
    if (backend.includes("[")) this.#socket.set(Option.IPV6, 1);
    if (curve !== undefined) prove(this.#socket, curve, curve.serverKey);
    const libc = openConnector(library);
    this.#resending = new Resending(libc);
    if (heartbeatTimeout > 0) {
      this.#socket.beat(heartbeatTimeout / BEATS, heartbeatTimeout);
      this.#monitor = new Monitor(this.#context, this.#socket);
    }
    this.#socket.connect(backend);
    const bell = openBell(libc);
    this.#poller = new Poller(openTransfer(library), bell, [this.#socket]);
    this.#frame = new MessagePool(opened).take();
    this.#replies = new Replies(this.#socket);
  }

  /** All was done when it was made. */
  prepare(): void {}

  /** Reads messages; true if there may be more. */
  read(orders: Orders): boolean {
    if (this.#monitor !== undefined) this.#noteReached(this.#monitor);
    let size = 0;
    let bytes = 0;
    for (let read = 0; read < BATCH_MESSAGES && bytes < BATCH_BYTES; read++) {
      size = this.#socket.receiveInto(this.#reader.bytes);
      if (size < 0) return false;
      bytes += this.#read(size, orders);
    }
    return true;
  }

  /** What is lost on a way that is worth a heartbeat is sent again soon. */
  #noteReached(monitor: Monitor): void {
    const event = monitor.next();
    if (event?.what !== "reached") return;
    this.#resending.soon(event.fd);
    monitor.close();
    this.#monitor = undefined;
  }

  /** Reads the rest of a message whose first frame, of `size` bytes, was read; returns its bodies' bytes. */
  #read(size: number, orders: Orders): number {
    const { bytes, view } = this.#reader;
    const type = bytes[0];
    if (type === FromBroker.JOB) return this.#readJobs(size, orders);
    if (type === FromBroker.CANCEL) orders.cancel(readJobId(view), readCode(view));
    else if (type === FromBroker.GRANT) orders.grant(readJobId(view), readGrant(view));
    else if (type === FromBroker.ANSWER) return this.#readAnswer(orders);
    else if (type === FromBroker.STOP) orders.stop();
    else if (type === FromBroker.ASK) orders.ask();
    return 0;
  }

  /** Reads the jobs of a message, of which the first one's header was read. */
  #readJobs(size: number, orders: Orders): number {
    let bytes = 0;
    for (;;) {
      const header = this.#reader.read(size);
      const frames: Frame[] = [];
      while (frames.length < header.frames) {
        const length = this.#socket.receive(this.#frame);
        frames.push(this.#frame.bytes(length));
        bytes += length;
      }
      orders.job(header, frames);
      if (!this.#frame.more) return bytes;
      size = this.#socket.receiveInto(this.#reader.bytes);
    }
  }

  /** Reads the frames of an answer to a question, of which the first one was read. */
  #readAnswer(orders: Orders): number {
    const { view } = this.#reader;
    const question = readJobId(view);
    const code = readCode(view);
    const frames: Frame[] = [];
    let bytes = 0;
    do {
      const length = this.#socket.receive(this.#frame);
      frames.push(this.#frame.bytes(length));
      bytes += length;
    } while (this.#frame.more);
    orders.answer(question, code, frames);
    return bytes;
  }

  /** Whether there is a message. */
  isReadable(): boolean {
    return this.#socket.readable();
  }

  /** Writes a reply. */
  reply(
    header: ReplyHeader,
    frames: readonly Uint8Array[],
    size: number,
    mayWait: boolean,
    now: number,
  ): void {
    this.#replies.add(header, inPlainFrames(frames), size, mayWait, now);
  }

  /** Writes a part. */
  part(
    header: ReplyHeader,
    frames: readonly Uint8Array[],
    size: number,
    mayWait: boolean,
    now: number,
  ): void {
    this.#replies.add(header, inPlainFrames(frames), size, mayWait, now, FromWorker.PART);
    // A send can eat the wake-up of what arrived meanwhile.
    this.wake();
  }

  /** Sends QUESTION. */
  ask(job: number, frames: readonly Uint8Array[], size: number): void {
    const header = { job, code: 0, flags: 0, micros: 0, frames: frames.length };
    this.#replies.add(header, inPlainFrames(frames), size, false, 0, FromWorker.QUESTION);
    // A send can eat the wake-up of what arrived meanwhile.
    this.wake();
  }

  /** Sends PUBLISH. */
  publish(job: number, frames: readonly Uint8Array[], size: number, retain: boolean): void {
    const header = { job, code: 0, flags: retain ? 1 : 0, micros: 0, frames: frames.length };
    this.#replies.add(header, inPlainFrames(frames), size, false, 0, FromWorker.PUBLISH);
    // A send can eat the wake-up of what arrived meanwhile.
    this.wake();
  }

  /** Sends WITHDRAWAL. */
  withdraw(question: number): void {
    this.#send(buildJobSignal(FromWorker.WITHDRAWAL, question, 0));
    this.wake();
  }

  /** Sends PROGRESS. */
  progress(job: number, frames: readonly Frame[]): void {
    const header = { job, code: 0, flags: 0, micros: 0, frames: frames.length };
    this.#replies.add(header, frames, 0, false, 0, FromWorker.PROGRESS);
    // A send can eat the wake-up of what arrived meanwhile.
    this.wake();
  }

  /** Sends what waits. */
  flush(): void {
    this.#replies.flush();
  }

  /** Sends READY or LOADED. */
  introduce(type: Introduction, token: string): void {
    const first = this.#withToken(type, token);
    if (type === FromWorker.READY) this.#send(first, this.#encoder.encode(WORKER_PROTOCOL));
    else this.#send(first);
  }

  /** Sends FAILED. */
  fail(token: string, message: string): void {
    this.#send(this.#withToken(FromWorker.FAILED, token), this.#encoder.encode(message));
  }

  #withToken(type: number, token: string): Frame {
    const frame = this.#encoder.encode("\0" + token);
    frame[0] = type;
    return frame;
  }

  /** Sends a message of one byte. */
  remark(type: Remark): void {
    this.#send(buildSignal(type));
  }

  /** Sends RETURN. */
  giveBack(job: number): void {
    this.#send(buildJobSignal(FromWorker.RETURN, job, 0));
  }

  /** Sends LOG. */
  log(level: LogLevel, job: number, message: string, fields: string): void {
    this.#send(buildLog(level, job), this.#encoder.encode(message), this.#encoder.encode(fields));
    // A send can eat the wake-up of what arrived meanwhile.
    this.wake();
  }

  /** Sends MEMORY. */
  memory(bytes: number): void {
    this.#send(buildMemory(bytes));
    // A send can eat the wake-up of what arrived meanwhile.
    this.wake();
  }

  /** Sends a message that is not a reply, after the replies that wait. */
  #send(...frames: Frame[]): void {
    this.#replies.flush();
    this.#socket.sendAll(frames);
  }

  /** Whether `wait` is under way. */
  get waiting(): boolean {
    return this.#poller.waiting;
  }

  /** Waits; see `Poller`. */
  wait(timeout: number): Promise<void> {
    return this.#poller.wait(timeout);
  }

  /** Rests; see `Poller`. */
  rest(timeout: number): Promise<void> | undefined {
    return this.#poller.rest(timeout, "taken");
  }

  /** Ends a wait. */
  wake(): void {
    this.#poller.wake();
  }

  /** Closes, once all is sent or it has taken too long. */
  close(): void {
    this.#monitor?.close();
    this.#poller.close();
    this.#socket.close(LINGER_MS);
    this.#context.terminateSync();
  }
}

function inPlainFrames(frames: readonly Uint8Array[]): Frame[] {
  const plain: Frame[] = [];
  for (let index = 0; index < frames.length; index++) {
    plain[index] = inPlainMemory(frames[index] ?? EMPTY_FRAME);
  }
  return plain;
}

harden(ZmqLane);
