/**
 * The lane on libzmq: a ROUTER socket for workers that are reached over tcp, with keys where there are some. Reads
 * and writes frames; decides nothing about jobs.
 *
 * @module
 */

import { attemptOf, type Job, type Worker } from "../broker/job.ts";
import {
  buildGrant,
  buildJobSignal,
  buildSignal,
  FromBroker,
  FromWorker,
  type JobOrder,
  withExtras,
  WORKER_PROTOCOL,
  writeJob,
} from "../wire/job.ts";
import { JOIN_HEARTBEAT, JOIN_TIMEOUT, JOINER_SAYS, TO_JOINER } from "../wire/join.ts";
import type { StreamCredit } from "../wire/credit.ts";
import { openTracing, preciseNow } from "../system/tracing.ts";
import { useZap, type ZapSettings } from "../zmq/curve.ts";
import { CONNECT_AND_DISCONNECT, cString, Option, SocketType } from "../zmq/library.ts";
import type { Message, MessagePool } from "../zmq/message.ts";
import { Monitor } from "../zmq/monitor.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import type { Body } from "./body.ts";
import { readSome } from "./budget.ts";
import { routingKey } from "./clients.ts";
import type { Content } from "./content.ts";
import { queuedAt } from "./job_records.ts";
import { type JoinerEvents, JoinerPeers } from "./joiner_peers.ts";
import type { Lane, LaneEvents } from "./lane.ts";
import { learnCount } from "./learn_count.ts";
import { TEXT_BYTES, type WorkerBounds } from "./worker_bounds.ts";
import { ZmqHearing } from "./zmq_hearing.ts";

/** Maximum messages of one peer that libzmq reads ahead. */
const PEER_HWM = 1000;
/** Maximum bytes of jobs in one message to a worker, which starts when all of the message is there. */
const GROUP_BYTES = 32_768;
const ONE_FRAME = [0];
/** Properties of a message. */
const USER_ID = cString("User-Id");
const PEER_ADDRESS = cString("Peer-Address");

/** What a `ZmqLane` is made of. */
export interface ZmqLaneOptions extends WorkerBounds {
  readonly ipv6: boolean;
  readonly zap?: ZapSettings | undefined;
  /** Hears the joining processes of other machines, whose workers come there too; undefined: none may. */
  readonly joiners?: JoinerEvents;
  /** Is told of the socket of the system that it listens at; undefined: nobody is. */
  readonly listening?: (fd: number) => void;
}

/** The socket that workers talk to. */
export class ZmqLane implements Lane {
  readonly #socket: Socket;
  readonly #scratch: Message;
  readonly #events: LaneEvents;
  readonly #workers = new Map<string | number, Worker<Body>>();
  /** How the ROUTER knows them, by their numbers. */
  readonly #routingIds = new Map<number, Uint8Array<ArrayBuffer>>();
  readonly #hearing: ZmqHearing;
  readonly #id = new Uint8Array(256);
  /** The header of the job that is sent: one record for all, as it is written at once. */
  readonly #order: JobOrder = { job: 0, attempt: 0, deadline: 0, requestTimeout: 0, frames: 0 };
  /** Whether workers are told when requests came. */
  readonly #isTracing = openTracing() !== undefined;
  /** Undefined: all workers are this machine's. */
  readonly #joiners: JoinerPeers | undefined;
  readonly #context: Context;
  readonly #listening: ((fd: number) => void) | undefined;
  /** Whether libzmq reports connections. */
  readonly notified: boolean;
  /** Opens the socket; `bind` comes next. */
  constructor(
    context: Context,
    messages: MessagePool,
    options: ZmqLaneOptions,
    events: LaneEvents,
  ) {
    this.#context = context;
    this.#listening = options.listening;
    this.#socket = context.socket(SocketType.ROUTER);
    this.#scratch = messages.take();
    this.#hearing = new ZmqHearing(this.#socket, this.#scratch, options, events);
    this.#events = events;
    this.#socket.set(Option.ROUTER_MANDATORY, 1);
    this.#socket.set(Option.SNDHWM, 0);
    // Workers keep what is not read yet, so nothing is lost, and a stranger can't fill the memory.
    this.#socket.set(Option.RCVHWM, PEER_HWM);
    // A stranger's frame must not fill the memory. Replies and texts of workers are smaller.
    this.#socket.setLong(Option.MAXMSGSIZE, options.maxMessageSize + TEXT_BYTES);
    if (options.ipv6) this.#socket.set(Option.IPV6, 1);
    if (options.zap !== undefined) useZap(this.#socket, options.zap);
    this.#joiners = options.joiners && new JoinerPeers(options.joiners);
    if (options.joiners !== undefined) this.#socket.beat(JOIN_HEARTBEAT, JOIN_TIMEOUT);
    this.notified = this.#socket.trySet(Option.ROUTER_NOTIFY, CONNECT_AND_DISCONNECT);
    this.#joiners?.anchor(learnCount(this.#socket, context, messages));
  }

  get port(): Socket {
    return this.#socket;
  }

  /** Messages from peers that are not workers, and those that no worker sends. */
  get intruders(): number {
    return this.#hearing.intruders;
  }

  /** Whether `worker` is reached this way. */
  has(worker: Worker<Body>): boolean {
    return this.#routingIds.has(worker.id);
  }

  /** Tells a joiner something, if it is still there. */
  tellJoiner(joiner: number, text: string): void {
    const routingId = this.#joiners?.routeTo(joiner);
    // The server may say its last words when all is closed.
    if (routingId === undefined || !this.#socket.isOpen) return;
    const bytes = new TextEncoder().encode(text);
    this.#socket.sendAll([routingId, buildSignal(TO_JOINER), bytes]);
  }

  /**
   * Listens, and returns the endpoint really bound.
   *
   * @throws {ZmqError} when it can't be bound.
   */
  bind(endpoint: string): string {
    if (this.#listening === undefined) return this.#socket.bind(endpoint);
    const monitor = new Monitor(this.#context, this.#socket);
    try {
      const bound = this.#socket.bind(endpoint);
      const fd = monitor.listener();
      if (fd !== undefined) this.#listening(fd);
      return bound;
    } finally {
      monitor.close();
    }
  }

  /** Closes. */
  close(): void {
    this.#socket.close(0);
  }

  read(now: number): number {
    return readSome(() => this.#readOne(now));
  }

  isReadable(): boolean {
    return this.#socket.readable();
  }

  /** What is sent is libzmq's at once. */
  flush(): void {}

  giveBackMemory(): void {
    this.#hearing.giveBackMemory();
  }

  /** Reads one message; false when there is none, or when the rest of a long one is for later. */
  #readOne(now: number): boolean {
    const { surplus } = this.#hearing;
    if (surplus.pending) {
      surplus.resume();
      return !surplus.pending;
    }
    const idSize = this.#socket.receiveInto(this.#id);
    if (idSize < 0) return false;
    const key = routingKey(this.#id, idSize);
    const size = this.#socket.receive(this.#scratch);
    const { more } = this.#scratch;
    const worker = this.#workers.get(key);
    if (size === 0 && !more && !this.#scratch.fromPeer) {
      // libzmq reports a peer that came, which says nothing yet, or one that left.
      if (worker !== undefined) this.#events.gone(worker, "died");
      this.#joiners?.noticed(key);
      return true;
    }
    this.#hearing.take(size);
    if (worker === undefined) this.#readStranger(size, more, key, idSize, now);
    else this.#hearing.hear(worker, size, more);
    return !surplus.pending;
  }

  /** Sends jobs that were assigned to `worker`; returns how many, fewer if the worker is gone. */
  send(worker: Worker<Body>, jobs: readonly Job<Body>[], now: number): number {
    let sent = 0;
    let room = 0;
    const queueEpoch = this.#isTracing ? preciseNow() - now : undefined;
    for (const job of jobs) {
      if (room <= 0) {
        const routingId = this.#routingIds.get(worker.id);
        if (routingId === undefined || this.#socket.sendMore(routingId) !== "sent") return sent;
        room = GROUP_BYTES;
      }
      room -= job.bytes;
      sent++;
      const { client } = job.asker;
      const { header, view } = client.peer;
      writeJob(view, this.#orderOf(job, now));
      this.#socket.sendMore(headerOf(job, header, queueEpoch));
      this.#sendBody(job.request.body, room <= 0 || sent === jobs.length ? "last" : "more");
    }
    return sent;
  }

  /** What a worker is told of a job. The deadline is a time of the calendar, which both sides can read. */
  #orderOf(job: Job<Body>, now: number): JobOrder {
    const { deadline, request: { requestTimeout, body } } = job;
    const order = this.#order;
    order.job = job.id;
    order.attempt = attemptOf(job);
    order.deadline = deadline === Infinity ? 0 : Date.now() + deadline - now;
    order.requestTimeout = requestTimeout === Infinity ? 0 : requestTimeout;
    order.frames = body.frames;
    return order;
  }

  #sendBody(
    { bytes, size, sizes }: Pick<Body, "bytes" | "size" | "sizes">,
    then: "more" | "last",
  ): void {
    let start = 0;
    const frames = sizes ?? ONE_FRAME;
    const last = frames.length - 1;
    for (let index = 0; index <= last; index++) {
      const end = index === last ? size : start + (frames[index] ?? 0);
      this.#scratch.fill(bytes.subarray(start, end));
      if (index < last || then === "more") this.#socket.moveMore(this.#scratch);
      else this.#socket.moveLast(this.#scratch);
      start = end;
    }
  }

  /** Asks a worker to show that it lives. */
  ask(worker: Worker<Body>): "asked" | "gone" {
    return this.#tell(worker, buildSignal(FromBroker.ASK)) ? "asked" : "gone";
  }

  /** Tells a worker that nobody waits for a job any more. */
  cancel(worker: Worker<Body>, job: number, code: number): void {
    this.#tell(worker, buildJobSignal(FromBroker.CANCEL, job, code));
  }

  /** Tells a worker that more of its answer to a job may be sent. */
  grant(worker: Worker<Body>, job: number, credit: StreamCredit): void {
    this.#tell(worker, buildGrant(job, credit));
  }

  /** Sends a worker the answer to a question. */
  answer(worker: Worker<Body>, question: number, code: number, content: Content): void {
    const routingId = this.#routingIds.get(worker.id);
    if (routingId === undefined || this.#socket.sendMore(routingId) !== "sent") return;
    this.#socket.sendMore(buildJobSignal(FromBroker.ANSWER, question, code));
    const bytes = new Uint8Array(content.size);
    content.copyTo(bytes, 0, 0, content.size);
    this.#sendBody({ bytes, size: content.size, sizes: content.sizes }, "last");
  }

  /** Tells a worker to finish what it has, and leave. */
  stop(worker: Worker<Body>): void {
    this.#tell(worker, buildSignal(FromBroker.STOP));
  }

  /** A worker is gone: nothing that its routing id says is its any more. */
  forget(worker: Worker<Body>): void {
    const routingId = this.#routingIds.get(worker.id);
    if (routingId === undefined) return;
    this.#routingIds.delete(worker.id);
    this.#workers.delete(routingKey(routingId, routingId.length));
  }

  /** Whether `worker` is there to be told. */
  #tell(worker: Worker<Body>, frame: Uint8Array<ArrayBuffer>): boolean {
    const routingId = this.#routingIds.get(worker.id);
    return routingId !== undefined && this.#socket.sendAll([routingId, frame]) === "sent";
  }

  #readStranger(
    size: number,
    more: boolean,
    key: string | number,
    idSize: number,
    now: number,
  ): void {
    const { type } = this.#hearing;
    if (type === JOINER_SAYS && size === 1 && more) return this.#readJoiner(key, idSize, now);
    const token = this.#hearing.words(size);
    const rest = more ? this.#hearing.readText() : "";
    if (type === FromWorker.FAILED && this.#events.failed(token, rest)) return;
    if (type === FromWorker.LOADED && this.#events.loaded(token)) return;
    if (type === FromWorker.READY && !this.#isUnderstood(token, rest, idSize)) return;
    const worker = type === FromWorker.READY ? this.#events.admit(token) : undefined;
    if (worker === undefined) {
      this.#hearing.intruders++;
    } else {
      this.#workers.set(key, worker);
      this.#routingIds.set(worker.id, this.#id.slice(0, idSize));
    }
  }

  /** A worker of another machine may be of another release; one of another protocol is told to leave. */
  #isUnderstood(token: string, version: string, idSize: number): boolean {
    if (this.#joiners === undefined || version === WORKER_PROTOCOL) return true;
    const said = JSON.stringify(version.slice(0, 64));
    const reason = `Cannot serve: this worker speaks version ${said} of the protocol of workers, ` +
      `and the server version "${WORKER_PROTOCOL}": run the same release on both machines`;
    if (!this.#events.failed(token, reason)) return true;
    this.#socket.sendAll([this.#id.slice(0, idSize), buildSignal(FromBroker.STOP)]);
    return false;
  }

  /** What a joining process says, whose first frame was read. */
  #readJoiner(key: string | number, idSize: number, now: number): void {
    const size = this.#socket.receive(this.#scratch);
    const frame = this.#scratch;
    const isHeard = this.#joiners?.hear(key, () => this.#id.slice(0, idSize), {
      name: frame.property(USER_ID) ?? "",
      address: frame.property(PEER_ADDRESS) ?? "",
      size,
      text: () => new TextDecoder().decode(frame.bytes(size)),
    }, now);
    if (isHeard !== true) this.#hearing.intruders++;
    if (frame.more) this.#hearing.surplus.skip();
    else frame.clear();
  }
}

/** The header of a job whose client has this one, whose fixed part was written. */
function headerOf(
  job: Job<Body>,
  header: Uint8Array<ArrayBuffer>,
  queueEpoch: number | undefined,
): Uint8Array<ArrayBuffer> {
  const { stream, request: { trace, stored } } = job;
  // Progress is wanted of each try of a stored job: one of these is there, too.
  if (stream === undefined && trace === undefined && queueEpoch === undefined) return header;
  return withExtras(header, {
    stream: stream?.credit.left,
    partsSent: stream?.sent ?? 0,
    trace,
    queuedAt: queueEpoch === undefined ? 0 : queuedAt(job, queueEpoch),
    stored,
  });
}
