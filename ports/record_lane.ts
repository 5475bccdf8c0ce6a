/**
 * The lane to workers of this machine: records over unix sockets, one connection each, and large bodies through
 * memory that both sides share. Reads and writes; decides nothing about jobs.
 *
 * A worker is not trusted: what it says is checked before it is used, and at most its own jobs are lost.
 *
 * @module
 */

import { attemptOf, type Job, type Worker } from "../broker/job.ts";
import { passDescriptor } from "../system/descriptor_passing.ts";
import { Epoll } from "../system/epoll.ts";
import type { Libc } from "../system/libc.ts";
import { LocalPeer } from "../system/local_peer.ts";
import { PollEvent } from "../system/numbers.ts";
import type { Pollable } from "../system/poller.ts";
import { makeSharedMemory } from "../system/shared_memory.ts";
import { listenAt, type Listener } from "../system/stream_socket.ts";
import {
  emptyReply,
  FromBroker,
  FromWorker,
  LOG_LEVELS,
  parseFields,
  type ReplyHeader,
} from "../wire/job.ts";
import { Outgoing } from "../wire/outgoing.ts";
import {
  HEAD_BYTES,
  MAX_FIELD_BYTES,
  Only,
  RecordReader,
  recordSize,
  RecordWriter,
  Tag,
} from "../wire/records.ts";
import { Code } from "../wire/request.ts";
import type { Body, BodyPool } from "./body.ts";
import { MemoryContent } from "./content.ts";
import type { Lane, LaneEvents } from "./lane.ts";
import { LocalWorker, RingContent, Rings } from "./local_worker.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Read from one connection at once, bytes. */
const IN_BYTES = 65_536;
/** Time that is spent on reading before others have their turn, ms. */
const READ_TIME_MS = 0.3;
/** Bodies from this size on go through the ring; below it, a copy more costs less than the call. */
const RING_MIN = 8192;
/** Bodies from this size on, without a ring, are sent from where they lie. */
const LARGE_BYTES = 32_768;
/** A ring of this size is shared with each worker in each direction, bytes. */
const RING_BYTES = 4 * 1024 ** 2;
/** Maximum bytes of a message or an error's text; the rest is cut. */
const MAX_LOG_BYTES = 8192;
/** Maximum bytes of a log line's fields; the rest is cut. */
const MAX_FIELDS_BYTES = 49_152;
/** Room for texts, whatever the limit of bodies is. */
const TEXT_BYTES = 65_536;
/** Maximum connections that have shown no worker's token; the oldest one goes. */
const MAX_STRANGERS = 256;
/** Connections that are accepted before others have their turn. */
const ACCEPTED = 16;
/** The listener's token; connections have others. */
const LISTENER = 0;

/** What bounds the lane. */
export interface RecordLaneOptions {
  maxMessageSize: number;
  maxFrames: number;
}

/** Unix sockets that workers talk to. */
export class RecordLane implements Lane, Pollable {
  /** What is to be waited for. */
  readonly port: Pollable = this;
  readonly #libc: Libc;
  readonly #bodies: BodyPool;
  readonly #events: LaneEvents;
  readonly #epoll: Epoll;
  readonly #maxMessageSize: number;
  readonly #maxFrames: number;
  readonly #maxRecord: number;
  readonly #in = new Uint8Array(IN_BYTES);
  readonly #view = new DataView(this.#in.buffer);
  readonly #reader = new RecordReader();
  readonly #reply = emptyReply();
  readonly #content = new MemoryContent();
  readonly #ringContent = new RingContent();
  readonly #decoder = new TextDecoder();
  #listener: Listener | undefined;
  /** The system had no file descriptor for a connection that waits. */
  #isFull = false;
  readonly #connections = new Map<number, LocalWorker>();
  /** Those of workers, by the workers' numbers. */
  readonly #workers = new Map<number, LocalWorker>();
  /** Those that have shown no worker's token, the oldest first. */
  readonly #strangers = new Set<LocalWorker>();
  readonly #dirty: LocalWorker[] = [];
  /** Rings of closed connections: somebody may still read a reply in them. */
  readonly #released: Rings[] = [];
  #lastIndex = LISTENER;
  /** Something may be read: a wait has said so, or not all was read. */
  #isActive = true;
  #turn = 0;
  /** Messages from peers that are not workers, and those that no worker sends. */
  intruders = 0;

  /**
   * Listens nowhere yet.
   *
   * @throws {SystemError} when the system has no file descriptor left.
   */
  constructor(libc: Libc, bodies: BodyPool, options: RecordLaneOptions, events: LaneEvents) {
    this.#libc = libc;
    this.#bodies = bodies;
    this.#events = events;
    this.#epoll = new Epoll(libc);
    this.#maxMessageSize = options.maxMessageSize;
    // An error may bring its stack along.
    this.#maxFrames = Math.max(options.maxFrames, 2);
    const heads = HEAD_BYTES + MAX_FIELD_BYTES + 4 * this.#maxFrames;
    this.#maxRecord = options.maxMessageSize + TEXT_BYTES + heads;
  }

  /** For the poller. */
  get fd(): number {
    return this.#epoll.fd;
  }

  /** For the poller. */
  get pollSet(): Epoll["pollSet"] {
    return this.#epoll.pollSet;
  }

  /** For the poller: something may be read, or sent. */
  noteActivity(): void {
    this.#isActive = true;
  }

  /**
   * Listens at an `ipc://` endpoint.
   *
   * @throws {SystemError} when it can't.
   */
  bind(endpoint: string): string {
    const listener = listenAt(this.#libc, endpoint, { ipv6: false });
    this.#stopListening();
    this.#listener = listener;
    this.#epoll.add(listener.fd, LISTENER, PollEvent.IN);
    return listener.endpoint;
  }

  #stopListening(): void {
    if (this.#listener === undefined) return;
    this.#epoll.remove(this.#listener.fd);
    this.#listener.close();
    this.#isFull = false;
  }

  /** Whether not all was read that was here. */
  isReadable(): boolean {
    return this.#isActive;
  }

  // ---- reading ----

  /** Reads what workers have said, for a while; returns how many records that was. */
  read(now: number): number {
    this.#releaseRings();
    if (this.#isFull) this.#accept(now);
    if (!this.#isActive) return 0;
    const end = performance.now() + READ_TIME_MS;
    const found = this.#epoll.wait();
    let more = found >= MANY;
    let records = 0;
    for (let count = 0; count < found; count++) {
      if (count > 0 && performance.now() >= end) {
        more = true;
        break;
      }
      // Who is first in one turn is not first in the next.
      const index = (this.#turn + count) % found;
      const token = this.#epoll.token(index);
      const connection = this.#connections.get(token);
      // Who has just come has mostly something to say.
      if (token === LISTENER) more = this.#accept(now) || more;
      if (connection === undefined) continue;
      if ((this.#epoll.events(index) & PollEvent.OUT) !== 0) this.#send(connection);
      records += this.#pump(connection);
      more ||= this.#wasFull;
    }
    this.#turn++;
    this.#isActive = more;
    return records;
  }

  /** Whether the last read has filled all the room that there was. */
  #wasFull = false;

  /** Accepts connections; false: there is none, or the system has no file descriptor left. */
  #accept(now: number): boolean {
    for (let count = 0; count < ACCEPTED; count++) {
      const accepted = this.#listener?.accept() ?? "none";
      if (typeof accepted === "string") {
        this.#listen(accepted === "none" ? "again" : "later");
        return count > 0;
      }
      const peer = new LocalPeer(this.#libc, accepted.fd);
      const connection = new LocalWorker(peer, ++this.#lastIndex, now);
      this.#connections.set(connection.index, connection);
      this.#strangers.add(connection);
      this.#epoll.add(peer.fd, connection.index, PollEvent.IN);
      const [oldest] = this.#strangers;
      if (this.#strangers.size > MAX_STRANGERS && oldest !== undefined) this.#close(oldest);
    }
    return true;
  }

  /** A listener whose connections can't be accepted would end each wait at once. */
  #listen(when: "again" | "later"): void {
    const listener = this.#listener;
    if (listener === undefined || this.#isFull === (when === "later")) return;
    this.#isFull = when === "later";
    if (this.#isFull) this.#epoll.remove(listener.fd);
    else this.#epoll.add(listener.fd, LISTENER, PollEvent.IN);
  }

  /** Reads from one connection, once; returns how many records that brought. */
  #pump(connection: LocalWorker): number {
    if (connection.large !== undefined) return this.#fillLarge(connection, connection.large);
    const { rest } = connection;
    let start = 0;
    if (rest !== undefined) {
      this.#in.set(rest);
      start = rest.length;
    }
    const size = connection.peer.receive(this.#in, start);
    if (size <= 0) return this.#foundNothing(connection, size);
    connection.rest = undefined;
    this.#wasFull = start + size === this.#in.length;
    return this.#takeAll(connection, start + size);
  }

  #foundNothing(connection: LocalWorker, size: number): number {
    this.#wasFull = false;
    if (size === 0) this.#lose(connection);
    return 0;
  }

  /** Its end has come, or it is not to be listened to any more. */
  #lose(connection: LocalWorker): void {
    const { worker } = connection;
    this.#close(connection);
    if (worker !== undefined) this.#events.gone(worker, "died");
  }

  /** Takes the records that were read; returns how many. */
  #takeAll(connection: LocalWorker, end: number): number {
    let records = 0;
    let start = this.#skipSome(connection, end);
    while (end - start >= HEAD_BYTES && connection.isOpen) {
      const size = recordSize(this.#view, start);
      if (size < HEAD_BYTES || size > this.#limitOf(connection)) {
        if (!this.#refuseLarge(connection, start, size)) return records;
        connection.skip = size;
        const from = start;
        start = from + Math.min(size, end - from);
        connection.skip -= start - from;
        continue;
      }
      if (size > end - start) break;
      this.#take(connection, this.#in, this.#view, start, size);
      records++;
      start += size;
    }
    if (connection.isOpen && start < end) this.#keepRest(connection, start, end);
    return records;
  }

  /** Passes over what is left of a record that is not wanted; returns where the next one starts. */
  #skipSome(connection: LocalWorker, end: number): number {
    const skipped = Math.min(connection.skip, end);
    connection.skip -= skipped;
    return skipped;
  }

  /** The largest record that it may send. */
  #limitOf({ worker }: LocalWorker): number {
    return worker === undefined ? TEXT_BYTES : this.#maxRecord;
  }

  #keepRest(connection: LocalWorker, start: number, end: number): void {
    const count = end - start;
    const size = count < HEAD_BYTES ? 0 : recordSize(this.#view, start);
    if (size <= this.#in.length) {
      connection.rest = this.#in.slice(start, end);
      return;
    }
    const large = connection.large = this.#bodies.take(size);
    large.bytes.set(this.#in.subarray(start, end));
    connection.filled = count;
  }

  /** Reads more of a large record. */
  #fillLarge(connection: LocalWorker, large: Body): number {
    const size = connection.peer.receive(large.bytes.subarray(0, large.size), connection.filled);
    if (size <= 0) return this.#foundNothing(connection, size);
    connection.filled += size;
    this.#wasFull = true;
    if (connection.filled < large.size) return 0;
    connection.large = undefined;
    const view = new DataView(large.bytes.buffer, large.bytes.byteOffset, large.size);
    this.#take(connection, large.bytes, view, 0, large.size);
    this.#bodies.release(large);
    return 1;
  }

  /** Takes a record. */
  #take(connection: LocalWorker, bytes: Bytes, view: DataView, start: number, size: number): void {
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
      this.#lose(connection);
    }
  }

  /** Whether what a record says of the rings can be true. */
  #isHonest({ rings, usesRings }: LocalWorker): boolean {
    const { credit, inRing, type } = this.#reader;
    const speaksOfRings = credit !== undefined || inRing;
    if (!speaksOfRings) return true;
    if (rings === undefined || !usesRings) return false;
    if (credit !== undefined && !rings.writer.credit(credit)) return false;
    return !inRing || type === FromWorker.REPLY;
  }

  #takeWorker(
    connection: LocalWorker,
    worker: Worker<Body>,
    bytes: Bytes,
    view: DataView,
  ): void {
    const { type, job, memory, frames } = this.#reader;
    const events = this.#events;
    if (type === FromWorker.REPLY) return this.#takeReply(connection, worker, bytes, view);
    if (type === FromWorker.LOG && frames === 2) return this.#takeLog(worker, bytes, view);
    if (frames > 0) this.intruders++;
    else if (type === FromWorker.RETURN) events.returned(worker, job);
    else if (type === FromWorker.MEMORY) events.memory(worker, memory * 1024);
    else if (type === FromWorker.ALIVE) events.alive(worker);
    else if (type === FromWorker.RETIRE) events.retiring(worker);
    else if (type === FromWorker.LEAVING) events.gone(worker, "left");
    else if (type !== Only.CREDIT) this.intruders++;
  }

  /** Passes on a reply, unless it is too large: a worker bounds its replies itself, but may be compromised. */
  #takeReply(connection: LocalWorker, worker: Worker<Body>, bytes: Bytes, view: DataView): void {
    const reader = this.#reader;
    const { frames, inRing, start, bytes: size } = reader;
    const rings = inRing ? connection.rings : undefined;
    if (rings !== undefined && !rings.reader.take(start, size)) {
      this.intruders++;
      return this.#lose(connection);
    }
    if (rings !== undefined) rings.isUsed = true;
    if (frames === 0) {
      this.intruders++;
    } else if (frames > this.#maxFrames) {
      this.#refuse(worker, `${this.#maxFrames} frames: it has ${frames}`);
    } else if (size > this.#maxMessageSize + TEXT_BYTES) {
      this.#refuse(worker, `${this.#maxMessageSize} bytes: it has ${size}`);
    } else {
      const sizes = reader.sizes(view);
      const content = rings !== undefined
        ? this.#ringContent.set(rings.incoming, start, size, sizes)
        : this.#content.set(bytes, start, size, sizes);
      this.#events.reply(worker, this.#readReply(), content);
    }
    if (rings !== undefined) this.#owe(connection, rings);
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
  #refuse(worker: Worker<Body>, excess: string): void {
    this.intruders++;
    const text = new TextEncoder().encode(`The reply must have at most ${excess}`);
    const reply = { ...this.#readReply(), code: Code.handlerFailed, flags: 0, frames: 1 };
    this.#events.reply(worker, reply, this.#content.set(text, 0, text.length));
  }

  /**
   * A record is too large, or has no head. If it is a reply, its job is answered with an error, and the record
   * passed over; else nothing is believed any more. False: the connection has ended.
   */
  #refuseLarge(connection: LocalWorker, start: number, size: number): boolean {
    const { worker } = connection;
    const reader = this.#reader;
    reader.readStart(this.#view, start);
    if (worker !== undefined && size >= HEAD_BYTES && reader.type === FromWorker.REPLY) {
      this.#refuse(worker, `${this.#maxMessageSize} bytes: it has about ${size}`);
      return connection.isOpen;
    }
    this.intruders++;
    this.#lose(connection);
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
    if (!isSound || !this.#hear(connection, type, token, bytes)) {
      this.intruders++;
      this.#close(connection);
    }
  }

  /** Hears what only somebody with a worker's token may say; false: it is not such. */
  #hear(
    connection: LocalWorker,
    type: number,
    token: string,
    bytes: Bytes,
  ): boolean {
    const { pid } = connection.peer;
    if (type === Only.HELLO) {
      return !connection.isKnown && this.#events.expects(token, pid) && this.#welcome(connection);
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
    connection.worker = worker;
    this.#strangers.delete(connection);
    this.#workers.set(worker.id, connection);
    return true;
  }

  /** Shares memory with a worker that starts, where the system has such memory. */
  #welcome(connection: LocalWorker): boolean {
    connection.isKnown = true;
    this.#strangers.delete(connection);
    const own = makeSharedMemory(this.#libc, 2 * RING_BYTES);
    const record = welcome(own === undefined ? 0 : RING_BYTES);
    if (own === undefined) return connection.peer.send(record, 0, record.length) === record.length;
    connection.rings = new Rings(own, RING_BYTES);
    const isPassed = passDescriptor(this.#libc, connection.peer.fd, record, own.fd);
    own.passed();
    return isPassed;
  }

  #text(bytes: Bytes, start: number, size: number): string {
    return this.#decoder.decode(bytes.subarray(start, start + size));
  }

  // ---- sending ----

  /** Writes jobs; `flush` sends them. */
  send(worker: Worker<Body>, jobs: readonly Job<Body>[], now: number): number {
    const connection = this.#workers.get(worker.id);
    if (connection === undefined) return 0;
    const epoch = Date.now() - now;
    for (const job of jobs) this.#writeJob(connection, job, epoch);
    this.#soil(connection);
    return jobs.length;
  }

  /** Writes a job; `epoch`: what makes a time of the calendar of one of the loop's, ms. */
  #writeJob(connection: LocalWorker, job: Job<Body>, epoch: number): void {
    const { writer } = connection;
    const { deadline, asker: { client }, request: { requestTimeout, body } } = job;
    const { size, sizes } = body;
    const place = size >= RING_MIN ? placeInRing(connection, body) : -1;
    const isApart = place < 0 && size >= LARGE_BYTES;
    const room = (place < 0 && !isApart ? roomOf(body) : 0) + 4 * (sizes?.length ?? 0);
    writer.openJob(client.header, Math.min(attemptOf(job), 255), job.id, room);
    if (deadline !== Infinity) writer.wide(Tag.DEADLINE, Math.ceil(epoch + deadline));
    if (requestTimeout !== Infinity && requestTimeout > 0) {
      writer.number(Tag.TIME_LIMIT, Math.min(Math.ceil(requestTimeout), 0xffffffff));
    }
    const { rings } = connection;
    if (rings !== undefined && rings.reader.untold > 0) {
      writer.number(Tag.CREDIT, rings.reader.tell());
    }
    if (place >= 0) writer.place(place, size);
    writer.frames(body.frames);
    if (sizes !== undefined && sizes.length > 1) { for (const one of sizes) writer.size(one); }
    if (place < 0 && !isApart) writer.copy(smallOf(body), size);
    writer.close(isApart ? size : 0);
    if (isApart) this.#pushBody(connection, body);
  }

  /** Sends a body from where it lies: it is held until then. */
  #pushBody({ out }: LocalWorker, body: Body): void {
    body.holders++;
    out.push(body.bytes, body.size, () => this.#bodies.release(body));
  }

  /** Jobs say how far the ring was read; if there are none for long, a record does. */
  #owe(connection: LocalWorker, { reader, size }: Rings): void {
    if (reader.untold < size / 2 || !connection.isOpen) return;
    connection.writer.open(Only.CREDIT, 0, 0, 0, 0);
    connection.writer.number(Tag.CREDIT, reader.tell());
    connection.writer.frames(0);
    connection.writer.close();
    this.#soil(connection);
  }

  /** Sends what was written since the last call. */
  flush(): void {
    for (const connection of this.#dirty) {
      connection.isDirty = false;
      if (connection.isOpen) this.#send(connection);
    }
    this.#dirty.length = 0;
  }

  #soil(connection: LocalWorker): void {
    if (connection.isDirty) return;
    connection.isDirty = true;
    this.#dirty.push(connection);
  }

  /** Sends what the other side takes; the rest when it takes more. */
  #send(connection: LocalWorker): void {
    const isBlocked = !connection.out.send(connection.peer);
    if (isBlocked === connection.isBlocked) return;
    connection.isBlocked = isBlocked;
    const events = isBlocked ? PollEvent.IN | PollEvent.OUT : PollEvent.IN;
    this.#epoll.change(connection.peer.fd, connection.index, events);
  }

  /** Asks a worker to show that it lives. */
  ask(worker: Worker<Body>): "asked" | "gone" {
    return this.#tell(worker, FromBroker.ASK, 0, 0) ? "asked" : "gone";
  }

  /** Tells a worker that nobody waits for a job any more. */
  cancel(worker: Worker<Body>, job: number, code: number): void {
    this.#tell(worker, FromBroker.CANCEL, code, job);
  }

  /** Tells a worker to finish what it has, and leave. */
  stop(worker: Worker<Body>): void {
    this.#tell(worker, FromBroker.STOP, 0, 0);
  }

  /** Whether `worker` is there to be told. */
  #tell(worker: Worker<Body>, type: number, code: number, job: number): boolean {
    const connection = this.#workers.get(worker.id);
    if (connection === undefined) return false;
    const { writer } = connection;
    writer.open(type, 0, code, job, 0);
    writer.frames(0);
    writer.close();
    this.#send(connection);
    return true;
  }

  // ---- the end ----

  /** Ends the connection of a worker that is gone. */
  forget(worker: Worker<Body>): void {
    const connection = this.#workers.get(worker.id);
    if (connection !== undefined) this.#close(connection);
  }

  #close(connection: LocalWorker): void {
    if (!connection.isOpen) return;
    connection.isOpen = false;
    this.#connections.delete(connection.index);
    this.#strangers.delete(connection);
    if (connection.worker !== undefined) this.#workers.delete(connection.worker.id);
    this.#epoll.remove(connection.peer.fd);
    connection.peer.close();
    connection.out.drop();
    if (connection.large !== undefined) this.#bodies.release(connection.large);
    connection.large = undefined;
    if (connection.rings !== undefined) this.#released.push(connection.rings);
    connection.rings = undefined;
  }

  #releaseRings(): void {
    if (this.#released.length === 0) return;
    for (const rings of this.#released.splice(0)) rings.release();
  }

  /** Empties the rings of workers that have nothing to do. */
  giveBackMemory(): void {
    for (const { worker, rings, out } of this.#workers.values()) {
      if (worker?.jobs.size === 0 && out.size === 0 && rings?.writer.isEmpty) rings.empty();
    }
  }

  /** Closes all. */
  close(): void {
    this.#stopListening();
    this.#listener = undefined;
    for (const connection of [...this.#connections.values()]) this.#close(connection);
    this.#releaseRings();
    this.#epoll.close();
  }
}

/** As many as one wait tells of. */
const MANY = 256;

/** Copies a body into the worker's ring; where, -1: there is no ring, or no room. */
function placeInRing({ rings, usesRings }: LocalWorker, body: Body): number {
  if (rings === undefined || !usesRings) return -1;
  const place = rings.writer.place(body.size);
  if (place < 0) return -1;
  rings.outgoing.write(place, body.bytes, body.size);
  rings.isUsed = true;
  return place;
}

/** Memory of bodies up to this size is copied as a whole: a view of its first bytes would cost more. */
const WHOLE_BYTES = 1024;

/** The bytes that are copied of a body: more than it has are written over. */
function smallOf({ bytes, size }: Body): Uint8Array {
  return bytes.length <= WHOLE_BYTES ? bytes : bytes.subarray(0, size);
}

function roomOf({ bytes, size }: Body): number {
  return bytes.length <= WHOLE_BYTES ? bytes.length : size;
}

/** A record that says which rings come along with it. */
function welcome(ringBytes: number): Bytes {
  const out = new Outgoing();
  const writer = new RecordWriter(out);
  writer.open(Only.WELCOME, 0, 0, 0, 0);
  if (ringBytes > 0) writer.number(Tag.RINGS, ringBytes);
  writer.frames(0);
  writer.close();
  return out.bytes.slice(0, out.size);
}
