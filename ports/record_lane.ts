/**
 * The lane to workers of this machine: records over unix sockets, one connection each, and large bodies through
 * memory that both sides share. Reads and writes; decides nothing about jobs.
 *
 * A worker is not trusted: what it says is checked before it is used, and at most its own jobs are lost.
 *
 * @module
 */

import type { Job, Worker } from "../broker/job.ts";
import { passDescriptor } from "../system/descriptor_passing.ts";
import { Epoll } from "../system/epoll.ts";
import type { Libc } from "../system/libc.ts";
import { LocalPeer } from "../system/local_peer.ts";
import { PollEvent } from "../system/numbers.ts";
import type { Pollable } from "../system/poller.ts";
import { makeSharedMemory } from "../system/shared_memory.ts";
import { listenAt, type Listener } from "../system/stream_socket.ts";
import { openTracing, preciseNow } from "../system/tracing.ts";
import { FromBroker } from "../wire/job.ts";
import { Code } from "../wire/request.ts";
import { HEAD_BYTES, Only, recordSize, Tag } from "../wire/records.ts";
import type { StreamCredit } from "../wire/credit.ts";
import type { Body, BodyPool } from "./body.ts";
import { type Content, keep } from "./content.ts";
import { buildWelcome, writeAnswer, writeJob } from "./job_records.ts";
import type { Lane, LaneEvents } from "./lane.ts";
import { LocalWorker, Rings } from "./local_worker.ts";
import { RecordHearing } from "./record_hearing.ts";
import type { WorkerBounds } from "./worker_bounds.ts";

/** Read from one connection at once, bytes. */
const IN_BYTES = 65_536;
/** Time that is spent on reading before others have their turn, ms. */
const READ_TIME_MS = 0.3;
/** A ring of this size is shared with each worker in each direction, bytes. */
const RING_BYTES = 4 * 1024 ** 2;
/** Maximum connections that have shown no worker's token; the oldest one goes. */
const MAX_STRANGERS = 256;
/** Connections that are accepted before others have their turn. */
const ACCEPTED = 16;
/** What a worker may leave unread before it gets no more answers to its questions, bytes. */
const MOST_UNREAD = 64 * 1024 ** 2;
const UNREAD = new TextEncoder().encode("The worker does not take the answers to its questions");
/** The listener's token; connections have others. */
const LISTENER = 0;

/** Unix sockets that workers talk to. */
export class RecordLane implements Lane, Pollable {
  /** What is to be waited for. */
  readonly port: Pollable = this;
  readonly #libc: Libc;
  readonly #bodies: BodyPool;
  readonly #events: LaneEvents;
  readonly #epoll: Epoll;
  readonly #hearing: RecordHearing;
  readonly #in = new Uint8Array(IN_BYTES);
  readonly #view = new DataView(this.#in.buffer);
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
  /** Whether workers are told when requests came. */
  readonly #isTracing = openTracing() !== undefined;
  /**
   * Listens nowhere yet.
   *
   * @throws {SystemError} when the system has no file descriptor left.
   */
  constructor(libc: Libc, bodies: BodyPool, bounds: WorkerBounds, events: LaneEvents) {
    this.#libc = libc;
    this.#bodies = bodies;
    this.#events = events;
    this.#epoll = new Epoll(libc);
    this.#hearing = new RecordHearing(bounds, events, {
      lose: (connection) => this.#lose(connection),
      close: (connection) => this.#close(connection),
      welcome: (connection) => this.#welcome(connection),
      admitted: (connection, worker) => this.#admitted(connection, worker),
      owe: (connection, rings) => this.#owe(connection, rings),
    });
  }

  get intruders(): number {
    return this.#hearing.intruders;
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
      if (this.#strangers.size > MAX_STRANGERS && oldest !== undefined) this.#makeWay(oldest);
    }
    return true;
  }

  /** A stranger goes, unless what it has said already shows that it is none. */
  #makeWay(stranger: LocalWorker): void {
    this.#pump(stranger);
    if (this.#strangers.has(stranger)) this.#close(stranger);
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
      if (size < HEAD_BYTES || size > this.#hearing.limitOf(connection)) {
        if (!this.#hearing.refuse(connection, this.#view, start, size)) return records;
        connection.skip = size;
        const from = start;
        start = from + Math.min(size, end - from);
        connection.skip -= start - from;
        continue;
      }
      if (size > end - start) break;
      this.#hearing.hear(connection, this.#in, this.#view, start, size);
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
    this.#hearing.hear(connection, large.bytes, view, 0, large.size);
    this.#bodies.release(large);
    return 1;
  }

  #admitted(connection: LocalWorker, worker: Worker<Body>): void {
    connection.worker = worker;
    this.#strangers.delete(connection);
    this.#workers.set(worker.id, connection);
  }

  /** Shares memory with a worker that starts, where the system has such memory. */
  #welcome(connection: LocalWorker): boolean {
    connection.isKnown = true;
    this.#strangers.delete(connection);
    const own = makeSharedMemory(this.#libc, 2 * RING_BYTES);
    const record = buildWelcome(own === undefined ? 0 : RING_BYTES);
    if (own === undefined) return connection.peer.send(record, 0, record.length) === record.length;
    connection.rings = new Rings(own, RING_BYTES);
    const isPassed = passDescriptor(this.#libc, connection.peer.fd, record, own.fd);
    own.passed();
    return isPassed;
  }

  // ---- sending ----

  /** Writes jobs; `flush` sends them. */
  send(worker: Worker<Body>, jobs: readonly Job<Body>[], now: number): number {
    const connection = this.#workers.get(worker.id);
    if (connection === undefined) return 0;
    const epoch = Date.now() - now;
    const queueEpoch = this.#isTracing ? preciseNow() - now : undefined;
    for (const job of jobs) writeJob(connection, job, epoch, this.#bodies, queueEpoch);
    this.#soil(connection);
    return jobs.length;
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

  /** Writes how much more of an answer may be sent; `flush` sends it. */
  grant(worker: Worker<Body>, job: number, credit: StreamCredit): void {
    const connection = this.#workers.get(worker.id);
    if (connection === undefined) return;
    const { writer } = connection;
    writer.open(FromBroker.GRANT, 0, 0, job, 0);
    writer.stream(credit);
    writer.frames(0);
    writer.close();
    this.#soil(connection);
  }

  /** Writes the answer to a question; `flush` sends it. Who takes none is told so. */
  answer(worker: Worker<Body>, question: number, code: number, content: Content): void {
    const connection = this.#workers.get(worker.id);
    if (connection === undefined) return;
    const isUnread = connection.out.size > MOST_UNREAD;
    const body = isUnread ? this.#bodies.take(UNREAD.length) : keep(content, this.#bodies);
    if (isUnread) body.bytes.set(UNREAD);
    writeAnswer(connection, question, isUnread ? Code.unavailable : code, body, this.#bodies);
    this.#bodies.release(body);
    this.#soil(connection);
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
