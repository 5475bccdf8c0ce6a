/**
 * What workers say by records, and what is believed of it: a worker may be hostile, so each record is checked before
 * it means anything. Reads no socket.
 *
 * @module
 */

import type { Worker } from "../broker/job.ts";
import { emptyReply, FromWorker, LOG_LEVELS, parseFields, type ReplyHeader } from "../wire/job.ts";
import { HEAD_BYTES, MAX_FIELD_BYTES, Only, RecordReader } from "../wire/records.ts";
import { Code } from "../wire/request.ts";
import type { Body } from "./body.ts";
import { MemoryContent } from "./content.ts";
import type { LaneEvents } from "./lane.ts";
import { type LocalWorker, RingContent, type Rings } from "./local_worker.ts";
import { MAX_FIELDS_BYTES, MAX_LOG_BYTES, TEXT_BYTES, type WorkerBounds } from "./worker_bounds.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What follows for a connection from what was heard. */
export interface HearingGround {
  /** It is not to be listened to any more: its worker, if it has one, is gone. */
  lose(connection: LocalWorker): void;
  /** The same where no worker can be there. */
  close(connection: LocalWorker): void;
  /** A worker starts there; false: it can't be answered. */
  welcome(connection: LocalWorker): boolean;
  /** A worker is in service there. */
  admitted(connection: LocalWorker, worker: Worker<Body>): void;
  /** More of a ring was read. */
  owe(connection: LocalWorker, rings: Rings): void;
}

/** Hears records. */
export class RecordHearing {
  readonly #events: LaneEvents;
  readonly #ground: HearingGround;
  readonly #maxMessageSize: number;
  readonly #maxFrames: number;
  readonly #maxRecord: number;
  readonly #reader = new RecordReader();
  /** The header of the reply that is read: one record for all. */
  readonly #reply = emptyReply();
  readonly #content = new MemoryContent();
  readonly #ringContent = new RingContent();
  readonly #decoder = new TextDecoder();
  /** Records from peers that are not workers, and those that no worker sends. */
  intruders = 0;

  /** Tells `events` what workers say. */
  constructor(bounds: WorkerBounds, events: LaneEvents, ground: HearingGround) {
    this.#events = events;
    this.#ground = ground;
    this.#maxMessageSize = bounds.maxMessageSize;
    // An error may bring its stack along.
    this.#maxFrames = Math.max(bounds.maxFrames, 2);
    const heads = HEAD_BYTES + MAX_FIELD_BYTES + 4 * this.#maxFrames;
    this.#maxRecord = bounds.maxMessageSize + TEXT_BYTES + heads;
  }

  /** The largest record that a connection may send, bytes. */
  limitOf({ worker }: LocalWorker): number {
    return worker === undefined ? TEXT_BYTES : this.#maxRecord;
  }

  /** Hears the record of `size` bytes at `start`, which are all in `view`. */
  hear(connection: LocalWorker, bytes: Bytes, view: DataView, start: number, size: number): void {
    const reader = this.#reader;
    if (!reader.read(view, start, size)) {
      this.intruders++;
      return;
    }
    const { worker } = connection;
    if (worker === undefined) this.#takeStranger(connection, bytes);
    else if (this.#isHonest(connection)) this.#takeWorker(connection, worker, bytes, view);
    else {
      this.intruders++;
      this.#ground.lose(connection);
    }
  }

  /** Whether what a record says of the rings can be true. */
  #isHonest({ rings, usesRings }: LocalWorker): boolean {
    const { credit, inRing, type } = this.#reader;
    const speaksOfRings = credit !== undefined || inRing;
    if (!speaksOfRings) return true;
    if (rings === undefined || !usesRings) return false;
    if (credit !== undefined && !rings.writer.credit(credit)) return false;
    return !inRing || isAnswer(type);
  }

  #takeWorker(
    connection: LocalWorker,
    worker: Worker<Body>,
    bytes: Bytes,
    view: DataView,
  ): void {
    const { type, job, memory, frames } = this.#reader;
    const events = this.#events;
    if (isAnswer(type)) {
      return this.#takeReply(connection, worker, bytes, view);
    }
    if (type === FromWorker.PROGRESS) return this.#takeProgress(worker, bytes, view);
    if (type === FromWorker.LOG && frames === 2) return this.#takeLog(worker, bytes, view);
    if (frames > 0) this.intruders++;
    else if (type === FromWorker.RETURN) events.returned(worker, job);
    else if (type === FromWorker.WITHDRAWAL) events.withdrawn(worker, job);
    else if (type === FromWorker.MEMORY) events.memory(worker, memory * 1024);
    else if (type === FromWorker.ALIVE) events.alive(worker);
    else if (type === FromWorker.RETIRE) events.retiring(worker);
    else if (type === FromWorker.LEAVING) events.gone(worker, "left");
    else if (type !== Only.CREDIT) this.intruders++;
  }

  /** Passes on a reply or a part, unless it is too large: a worker bounds its replies itself, but may be compromised. */
  #takeReply(connection: LocalWorker, worker: Worker<Body>, bytes: Bytes, view: DataView): void {
    const reader = this.#reader;
    const { frames, inRing, start, bytes: size } = reader;
    const rings = inRing ? connection.rings : undefined;
    if (rings !== undefined && !rings.reader.take(start, size)) {
      this.intruders++;
      return this.#ground.lose(connection);
    }
    if (rings !== undefined) rings.isUsed = true;
    if (frames === 0) {
      this.intruders++;
    } else if (frames > this.#maxFrames) {
      this.#answerFor(worker, `${this.#maxFrames} frames: it has ${frames}`);
    } else if (size > this.#maxMessageSize + TEXT_BYTES) {
      this.#answerFor(worker, `${this.#maxMessageSize} bytes: it has ${size}`);
    } else {
      const sizes = reader.sizes(view);
      const content = rings !== undefined
        ? this.#ringContent.set(rings.incoming, start, size, sizes)
        : this.#content.set(bytes, start, size, sizes);
      if (reader.type === FromWorker.REPLY) this.#events.reply(worker, this.#readReply(), content);
      else if (reader.type === FromWorker.PART) this.#events.part(worker, reader.job, content);
      else if (reader.type === FromWorker.QUESTION) {
        this.#events.question(worker, reader.job, content);
      } else this.#events.publish(worker, content, (reader.detail & 1) !== 0);
    }
    if (rings !== undefined) this.#ground.owe(connection, rings);
  }

  #takeProgress(worker: Worker<Body>, bytes: Bytes, view: DataView): void {
    const { frames, start, bytes: size, job } = this.#reader;
    // More of them is nothing that could be right.
    if (frames !== 2) {
      this.intruders++;
      return;
    }
    this.#events.progress(
      worker,
      job,
      this.#content.set(bytes, start, size, this.#reader.sizes(view)),
    );
  }

  #readReply(): ReplyHeader {
    const { job, code, detail, micros, frames } = this.#reader;
    const reply = this.#reply;
    reply.job = job;
    reply.code = code;
    reply.flags = detail;
    reply.micros = micros;
    reply.frames = frames;
    return reply;
  }

  /** Answers a job with an error in place of a reply that is too large. */
  #answerFor(worker: Worker<Body>, excess: string): void {
    this.intruders++;
    const text = new TextEncoder().encode(`The reply must have at most ${excess}`);
    const reply = { ...this.#readReply(), code: Code.handlerFailed, flags: 0, frames: 1 };
    this.#events.reply(worker, reply, this.#content.set(text, 0, text.length));
  }

  /**
   * A record is too large, or has no head. If it is a reply or a part, its job is answered with an error, and the record
   * passed over; else nothing is believed any more. False: the connection has ended.
   */
  refuse(connection: LocalWorker, view: DataView, start: number, size: number): boolean {
    const { worker } = connection;
    const reader = this.#reader;
    reader.readStart(view, start);
    if (worker !== undefined && size >= HEAD_BYTES && isAnswer(reader.type)) {
      this.#answerFor(worker, `${this.#maxMessageSize} bytes: it has about ${size}`);
      return connection.isOpen;
    }
    this.intruders++;
    this.#ground.lose(connection);
    return false;
  }

  #takeLog(worker: Worker<Body>, bytes: Bytes, view: DataView): void {
    const reader = this.#reader;
    if (!this.#events.mayLog(worker, reader.bytes)) return;
    const size = reader.sizeOf(view, 0);
    const { start, detail, job } = reader;
    const message = this.#text(bytes, start, Math.min(size, MAX_LOG_BYTES));
    const fields = this.#text(bytes, start + size, Math.min(reader.bytes - size, MAX_FIELDS_BYTES));
    const level = LOG_LEVELS[detail] ?? "info";
    this.#events.log(worker, { level, message, fields: parseFields(fields), job });
  }

  #takeStranger(connection: LocalWorker, bytes: Bytes): void {
    const { type, tokenStart, tokenEnd, inRing, credit } = this.#reader;
    const token = this.#text(bytes, tokenStart, tokenEnd - tokenStart);
    const isSound = !inRing && credit === undefined;
    if (!isSound || !this.#introduce(connection, type, token, bytes)) {
      this.intruders++;
      this.#ground.close(connection);
    }
  }

  /** Hears what only somebody with a worker's token may say; false: it is not such. */
  #introduce(connection: LocalWorker, type: number, token: string, bytes: Bytes): boolean {
    const { pid } = connection.peer;
    if (type === Only.HELLO) {
      return !connection.isKnown && this.#events.expects(token, pid) &&
        this.#ground.welcome(connection);
    }
    if (type === FromWorker.LOADED) return this.#events.loaded(token, pid);
    if (type === FromWorker.FAILED) {
      const { start, bytes: size } = this.#reader;
      const message = this.#text(bytes, start, Math.min(size, MAX_LOG_BYTES));
      return this.#events.failed(token, message, pid);
    }
    return type === FromWorker.READY && this.#admit(connection, token, pid);
  }

  /** Puts a worker into service. */
  #admit(connection: LocalWorker, token: string, pid: number | undefined): boolean {
    // Before it is in service: it may be given a job at once.
    const { rings } = connection;
    connection.usesRings = rings !== undefined && this.#reader.rings === rings.size;
    const worker = this.#events.admit(token, pid);
    if (worker === undefined) return false;
    this.#ground.admitted(connection, worker);
    return true;
  }

  #text(bytes: Bytes, start: number, size: number): string {
    return this.#decoder.decode(bytes.subarray(start, start + size));
  }
}

/** Whether a record has a body that may be large. */
function isAnswer(type: number): boolean {
  return type === FromWorker.REPLY || type === FromWorker.PART || type === FromWorker.QUESTION ||
    type === FromWorker.PUBLISH;
}
