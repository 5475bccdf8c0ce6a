/**
 * The loop between the sockets and the broker (../broker.ts): owns the sockets, reads and sends what can
 * be, and waits. Decides nothing about jobs, and knows no processes.
 *
 * @module
 */

import { type Assignment, Broker, type BrokerLimits } from "../broker.ts";
import type { End } from "../broker/inquest.ts";
import {
  type Asker,
  attemptOf,
  type Client,
  type Job,
  type NewJob,
  type Worker,
} from "../broker/job.ts";
import { OrderWatch } from "../broker/order.ts";
import { ReplyCache } from "../broker/reply_cache.ts";
import { isReplyCode, type LogFields, type LogLevel, ReplyFlag } from "../wire/job.ts";
import { Code, isFinal } from "../wire/request.ts";
import type { Verdict, ZapRequest } from "../wire/zap.ts";
import type { Demand } from "../zmq/curve.ts";
import type { Library } from "../zmq/library.ts";
import { MessagePool } from "../zmq/message.ts";
import { Poller } from "../zmq/poller.ts";
import { Context } from "../zmq/socket.ts";
import { AccessBook, type Outcome, type Visit } from "./access_book.ts";
import { Backend, type BackendEvents, type WorkerLine } from "./backend.ts";
import { Door } from "./door.ts";
import { clientOf, ErrorReplies, type Failure, textOf } from "./error_replies.ts";
import { type Frames, Frontend, type Request } from "./frontend.ts";
import { IpcFiles } from "./ipc_files.ts";
import { FRAME_WEIGHT } from "./outbox.ts";

/** The worker that a token was made for, and whether it is to leave at once. */
export interface Admission {
  worker: number;
  leave: boolean;
}

/** What a `BrokerLoop` tells of; called from its loop, must not throw. */
export interface LoopEvents {
  /** A peer shows a token: the worker that it was made for; undefined: nobody's. */
  admit(token: string): Admission | undefined;
  /** The worker will leave of its own accord. */
  leaving(worker: number): void;
  /** The worker has said its last word. */
  left(worker: number): void;
  /** The worker that this token was made for has loaded the module and calls its `init()`; false: nobody's. */
  loaded(token: string): boolean;
  /** The worker that this token was made for can't load the handler; false: it is nobody's. */
  failed(token: string, message: string): boolean;
  /** The worker has died while it had jobs. */
  diedBusy(worker: number): void;
  /** The worker's connection is gone though nobody asked it to leave. */
  lost(worker: number): void;
  /** A worker says how many bytes it has in memory, which it was told to. */
  memory(worker: number, bytes: number): void;
  /** The worker's handler does not stop: it is to be ended. */
  overran(worker: number): void;
  /** The same, but others run beside it: it is given no more jobs until they have ended. */
  isolated(worker: number): void;
  /** A line of the broker's own for the log. */
  log(level: LogLevel, message: string, fields?: LogFields): void;
  /** Whether the log takes a worker's next line, of so many bytes. */
  wantsLine(worker: number, bytes: number): boolean;
  /** A line for the log from a worker. */
  line(worker: number, line: WorkerLine): void;
  /** A request ended in a 5xx that is not the broker's refusal (503). */
  requestFailed(failure: Failure): void;
  /** A request has ended; left out, nobody keeps an account of them. */
  visit?(visit: Visit): void;
  /** Runs in every pass: does what is due; returns ms until it must run again. */
  tick(now: number): number;
}

/** What a `BrokerLoop` is made of, beside the broker's limits. */
export interface LoopOptions extends BrokerLimits {
  /** Endpoints to bind for clients. */
  frontend: readonly string[];
  /** Endpoint to bind for workers. */
  backend: string;
  /** Bytes of all body frames of one request at most. */
  maxMessageSize: number;
  /** Body frames of one request at most. */
  maxFrames: number;
  /** How long a tcp client may be silent before its host is probed, ms; 0: for ever. */
  keepAlive?: number;
  /** How long answers to requests with a key are kept, ms; 0: not at all. */
  replyCacheTtl: number;
  /** Bytes of the answers kept at most. */
  replyCacheBytes: number;
  /** Whether clients get errors as handlers threw them; undefined: those of this machine do. */
  exposeErrors?: boolean;
  /** Who may come in; undefined: all who reach the sockets. */
  guard?: Guard;
}

/** What a reload may change beside the broker's limits. */
type Reloadable = "replyCacheTtl" | "replyCacheBytes" | "exposeErrors";

/** Decides who may come in to which of the sockets. */
export interface Guard {
  /** What clients must bring; undefined: all may come in. */
  frontend: Demand | undefined;
  /** What workers must bring beside their token. */
  backend: Demand | undefined;
  /** Decides about one that asks, as things are. */
  judge(request: ZapRequest, scene: Scene): Verdict;
}

/** How a moment looks to who decides: as auth/crowd.ts has it. */
export interface Scene {
  /** ms. */
  now: number;
  /** Connections of all that were let in; 0 also where that is not known. */
  connections: number;
  /** The addresses of those of them that have sent something, and how many of each. */
  speakers: Iterable<readonly [address: string, count: number]>;
  /** Whether a peer is there that has named itself as only libzmq names peers. */
  isAttacked: boolean;
  /** The addresses of all tcp peers, also those who are not let in. */
  peers(): Iterable<Uint8Array>;
}

/** As measured on a virtual machine of two cores, ms. */
const WAKE_TIME = 0.1;
/** Messages read from one socket before the other has its turn, at most. */
const BATCH = 500;
/** How long one socket is read before the other has its turn, ms: some messages take much longer than others. */
const BATCH_TIME = 0.3;
/** Messages after which the clock is looked at. */
const LOOK_EVERY = 16;
/** The error of a client that does not read. */
const STALLED = "The client does not take its replies";
/** Questions whether a peer may come in that are answered before jobs have their turn. */
const QUESTIONS = 50;
/** Turns before signals and timers have theirs. */
const ROUNDS = 4;
const SLOW_CLIENT_RETRY = 5;
/** While workers have no more jobs, there are cores to spare: each job keeps about two busy. */
const QUIET_JOBS = navigator.hardwareConcurrency > 1 ? navigator.hardwareConcurrency / 2 : -1;
const REPORT_INTERVAL = 1000;
const MIN_UNREAD = 16 * 1024 ** 2;
/** A queue of so many jobs, or bytes, has taken memory that is worth being given back. */
const LONG_QUEUE = 1000;
const LARGE_QUEUE = 1024 ** 2;
/** When it has been shorter for so long, ms. */
const TIDY_DELAY = 5000;
/** How often clients' connections are checked while a full queue keeps their messages from being read, ms. */
const GONE_INTERVAL = 500;
/** What peers do wrong, and how the log tells of it behind the number. */
const WRONGS = [
  ["denied", "connections denied"],
  ["takeovers", "identities taken over by another connection"],
  ["squatters", "peers named themselves as only libzmq names peers: an attack to end the server"],
  ["malformed", "malformed requests dropped"],
  ["intruders", "messages of no worker dropped"],
  ["strayReplies", "replies of workers to no job of theirs dropped"],
  ["invalidReplies", "replies of workers without a valid code, answered 500"],
  ["undelivered", "replies not delivered: the client left or took none"],
] as const;

type Wrongs = Record<typeof WRONGS[number][0], number>;

/** Replies that clients have not taken, bytes: however small the queue, a burst of them must fit. */
function unreadBytes({ queueBytes }: BrokerLimits): number {
  return Math.max(queueBytes, MIN_UNREAD);
}

/** A worker's answer that is yet to be sent. */
interface Answer {
  job: Job<Frames>;
  code: number;
  /** `ReplyFlag`s. */
  flags: number;
  /** How long the handler took, µs. */
  micros: number;
  frames: Frames;
  worker: number;
  /** Bytes of the frames. */
  bytes: number;
}

function bytesOf(frames: Frames): number {
  return frames.reduce((sum, frame) => sum + frame.size, 0);
}

/** The loop between the sockets and a `Broker`. */
export class BrokerLoop {
  readonly #events: LoopEvents;
  readonly #context: Context;
  readonly #messages: MessagePool;
  readonly #front: Frontend;
  readonly #back: Backend;
  readonly #door: Door | undefined;
  readonly #files: IpcFiles;
  readonly #poller: Poller;
  readonly #workers = new Map<number, Worker<Frames>>();
  readonly #cache: ReplyCache<Frames>;
  /** What workers have answered and is yet to be sent: in a row it costs fewer changes of threads. */
  readonly #answers: Answer[] = [];
  readonly #errors: ErrorReplies;
  /** Undefined where there is no access log. */
  readonly #book: AccessBook | undefined;
  readonly #order = new OrderWatch<Frames>();
  /** Workers that were given up as they had lost a job. */
  #losers = 0;
  /** Jobs that are about to be sent, by their workers. */
  readonly #groups = new Map<Worker<Frames>, Job<Frames>[]>();
  #now = performance.now();
  #open = true;
  /** The sockets are closed. */
  #closed = false;
  /** The program has ended, or starts anew. */
  #abandoned = false;
  /** Something was done to the broker since the pass began. */
  #again = false;
  #reported: Wrongs = {
    denied: 0,
    takeovers: 0,
    squatters: 0,
    malformed: 0,
    intruders: 0,
    undelivered: 0,
    strayReplies: 0,
    invalidReplies: 0,
  };
  #reportAt = 0;
  /** When memory is to be given back, ms; Infinity: there is none. */
  #tidyAt = Infinity;
  /** When something was last read from clients, ms. */
  #readAt = -Infinity;
  /** When connections are to be checked, if nothing is read until then. */
  #goneAt = 0;
  /** The state machine, to be read. */
  readonly broker: Broker<Frames>;
  readonly #endpoints: string[] = [];
  #backend: string;

  /**
   * Binds both sockets.
   *
   * @throws {ZmqError} when an endpoint can't be bound.
   */
  constructor(library: Library, options: LoopOptions, events: LoopEvents) {
    this.#events = events;
    this.broker = new Broker(options, { wakeTime: WAKE_TIME });
    this.#context = new Context(library);
    this.#messages = new MessagePool(library);
    this.#cache = new ReplyCache((frames) => this.#release(frames));
    this.#book = events.visit && new AccessBook((visit) => events.visit?.(visit));
    this.#errors = new ErrorReplies(this.#messages, () => this.frontend);
    this.#files = new IpcFiles(library);
    const ipv6 = [...options.frontend, options.backend].some((endpoint) => endpoint.includes("["));
    const { guard } = options;
    const bounds = { ...options, ipv6 };
    const front = { ...bounds, unreadBytes: unreadBytes(options), demand: guard?.frontend };
    this.#front = new Frontend(this.#context, this.#messages, front, {
      request: (client, request) => this.#request(client, request),
      cancel: (client, requestId, envelope) => {
        this.#cancel(this.broker.cancel(client, requestId, envelope, this.#now));
      },
      gone: (client) => {
        for (const running of this.broker.disconnect(client, this.#now)) this.#cancel(running);
      },
      stalled: (client) => this.broker.refuseWaiting(client, STALLED),
      catchUp: () => {
        const hasRead = this.#readFrontend() > 0;
        this.#again ||= hasRead;
        return hasRead;
      },
    });
    this.configure(options);
    const opened: { close(linger: number): void }[] = [this.#front];
    try {
      const back = { ...bounds, demand: guard?.backend };
      this.#back = new Backend(this.#context, this.#messages, back, this.#backendEvents());
      opened.push(this.#back);
      this.#door = guard &&
        new Door(this.#context, this.#messages, (request) => this.#judge(guard, request));
      if (this.#door !== undefined) opened.push(this.#door);
      for (const endpoint of options.frontend) {
        this.#endpoints.push(this.#files.bind(endpoint, () => this.#front.bind(endpoint)));
      }
      const { backend } = options;
      this.#backend = this.#files.bind(backend, () => this.#back.bind(backend));
      const sockets = [this.#front, this.#back, ...(this.#door === undefined ? [] : [this.#door])];
      this.#poller = new Poller(this.#context, sockets.map(({ socket }) => socket));
    } catch (error) {
      this.#files.remove();
      // Open sockets would keep the context from ever terminating.
      for (const socket of opened) socket.close(0);
      this.#context.terminateSync();
      throw error;
    }
  }

  /** The endpoints really bound for clients. */
  get frontend(): readonly string[] {
    return this.#endpoints;
  }

  /** The endpoint really bound for workers. */
  get backend(): string {
    return this.#backend;
  }

  /**
   * Listens to workers at another endpoint from now on; connections stay. Returns the one really bound.
   *
   * @throws {ZmqError} when it can't be bound.
   */
  moveBackend(endpoint: string): string {
    const bound = this.#files.bind(endpoint, () => this.#back.bind(endpoint));
    this.#files.forget(this.#backend);
    return this.#backend = bound;
  }

  /**
   * Binds ipc endpoints anew whose files somebody has removed, and returns them; connections stay.
   *
   * @throws {Error} when one can't be bound.
   */
  mendEndpoints(): string[] {
    return this.#files.mend();
  }

  /** What the sockets have seen. */
  get counters(): SocketCounters {
    const { malformed, undelivered, clients } = this.#front;
    const denied = this.#door?.denied ?? 0;
    const takeovers = this.#front.takeovers.count;
    const squatters = this.#front.squatters.count;
    const { intruders } = this.#back;
    return {
      malformed,
      undelivered,
      clients,
      intruders,
      denied,
      takeovers,
      squatters,
      invalidReplies: this.#errors.replaced,
      lostJobs: this.#losers,
    };
  }

  /** Connections of clients; undefined where libzmq does not tell of them. */
  get connections(): number | undefined {
    return this.#front.notified ? this.#front.connections(performance.now()) : undefined;
  }

  /** Whether replies wait for slow clients. */
  get hasUnsent(): boolean {
    return this.#front.blocked;
  }

  /** When something was last read from clients, ms. */
  get readAt(): number {
    return this.#readAt;
  }

  /** The worker of this number, if it is in service. */
  worker(number: number): Worker<Frames> | undefined {
    return this.#workers.get(number);
  }

  /** Serves until `stop`. */
  async run(): Promise<void> {
    while (this.#open) {
      this.#again = false;
      this.#now = performance.now();
      const busy = this.#pass();
      const sleep = this.#tick(this.#now);
      const report = this.#report();
      if (!this.#open) break;
      // Asked last, after all that was sent: a send can eat a socket's wake-up.
      const ready = busy || this.#again || this.#back.socket.readable() || this.#frontReadable() ||
        this.#door?.socket.readable();
      const retry = this.#front.blocked ? SLOW_CLIENT_RETRY : Infinity;
      const cores = this.broker.assigned <= QUIET_JOBS ? "spare" : "taken";
      const turn = this.#poller.rest(ready ? 0 : Math.min(sleep, retry, report), cores);
      if (turn !== undefined) await turn;
    }
    // Whoever waits for this would use sockets that are closed.
    if (this.#abandoned) await new Promise(() => {});
  }

  /** Does what is due; returns ms until it must run again. */
  #tick(now: number): number {
    const sleep = Math.min(this.broker.tick(now), this.#cache.tick(now), this.#findGone(now));
    this.#answerEnded();
    this.#endOverruns();
    this.#endLosers(now);
    return Math.min(sleep, this.#events.tick(now), this.#tidy(now), this.#order.wait(now));
  }

  /** Finds clients that have left while nothing is read from any; returns ms until it must run again. */
  #findGone(now: number): number {
    if (!this.broker.blocked) {
      this.#goneAt = now + GONE_INTERVAL;
      return Infinity;
    }
    if (now >= this.#goneAt) {
      this.#front.findGone();
      this.#goneAt = now + GONE_INTERVAL;
    }
    return this.#goneAt - now;
  }

  /** Gives memory back some time after much was waiting; returns ms until it must run again. */
  #tidy(now: number): number {
    const { queued, queuedBytes } = this.broker;
    if (queued >= LONG_QUEUE || queuedBytes >= LARGE_QUEUE || this.#front.blocked) {
      this.#tidyAt = now + TIDY_DELAY;
      return Infinity; // there will be a pass when it is shorter
    }
    if (now < this.#tidyAt) return this.#tidyAt - now; // Infinity, mostly
    this.#tidyAt = Infinity;
    this.#messages.shrink();
    this.broker.dropSpares();
    this.#context.trim();
    return Infinity;
  }

  /** Works by other bounds from now on. */
  configure(options: BrokerLimits & Pick<LoopOptions, Reloadable>): void {
    this.broker.configure(options);
    this.#errors.configure(options);
    // Replies have as much room as requests, but not the same: who takes none must not stop the others.
    this.#front.unreadBytes = unreadBytes(options);
    this.#cache.configure({ ttl: options.replyCacheTtl, bytes: options.replyCacheBytes });
  }

  /** Makes the loop run a pass now. */
  wake(): void {
    this.#again = true;
    this.#poller.wake();
  }

  /** Lets a worker finish what it has, and leave. */
  retire(number: number): void {
    const worker = this.#workers.get(number);
    if (worker === undefined) return;
    this.broker.retire(worker);
    this.#back.stop(worker);
    this.wake();
  }

  /** The place of an isolated worker is needed: it is ended now. */
  evict(number: number): void {
    const worker = this.#workers.get(number);
    if (worker !== undefined) this.broker.endIsolated(worker);
    this.wake();
  }

  /** A worker's process has ended, in service or not; what it said before may still be to be read. */
  processEnded(number: number, end: End): void {
    this.broker.processEnded(number, this.#workers.get(number), end, performance.now());
    this.wake();
  }

  /** A worker's process has ended: what it said before was read, and what it had goes back. */
  remove(number: number): void {
    const worker = this.#workers.get(number);
    if (worker !== undefined) this.#forget(worker, "died");
    this.wake();
  }

  /** Takes no more requests; those that wait are still served, or answered 503. */
  drain(waiting: "serve" | "refuse"): void {
    this.broker.close(waiting);
    this.wake();
  }

  /** Ends `run`. */
  stop(): void {
    this.#open = false;
    this.wake();
  }

  /**
   * Closes all at once, on this thread, for a program that ends or starts anew: `run` never returns then,
   * and replies that are on their way are lost.
   */
  abandon(): void {
    if (this.#closed) return;
    this.#open = false;
    this.#abandoned = this.#closed = true;
    this.#closeSockets(0);
    this.#context.terminateSync();
  }

  /** Closes the sockets after `run` has ended; replies are delivered for up to `linger` ms. */
  async close(linger: number): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#front.flush(performance.now());
    this.#closeSockets(linger);
    await this.#context.terminate();
  }

  #closeSockets(linger: number): void {
    // While the socket is open, no other file can get the number that this one is known by.
    this.#files.remove();
    this.#poller.close();
    this.#back.close();
    this.#front.close(linger);
    this.#door?.close();
  }

  /** Reads and sends all that can be now, up to a bound; true if there is more. */
  #pass(): boolean {
    for (let round = 0; round < ROUNDS; round++) {
      const read = this.#readBackend() + this.#readFrontend() + this.#readDoor();
      this.#answerEnded();
      this.#dispatch();
      if (this.#front.blocked) this.#front.flush(this.#now);
      if (read === 0) return false;
    }
    return true;
  }

  #readBackend(): number {
    const read = readSome(() => this.#back.read());
    for (const answer of this.#answers.splice(0)) this.#deliver(answer);
    return read;
  }

  #readFrontend(): number {
    const read = readSome(() => !this.broker.blocked && this.#front.read(this.#now));
    if (read > 0) this.#readAt = this.#now;
    return read;
  }

  #readDoor(): number {
    let read = 0;
    while (read < QUESTIONS && this.#door?.read()) read++;
    return read;
  }

  #judge(guard: Guard, request: ZapRequest): Verdict {
    const front = this.#front;
    const verdict = guard.judge(request, {
      now: this.#now,
      connections: front.connections(this.#now),
      speakers: front.speakers,
      isAttacked: front.squatters.isPresent,
      peers: () => front.peers(),
    });
    const isClient = request.domain === guard.frontend?.domain;
    if (isClient && verdict.outcome === "allowed") this.#front.expect(this.#now);
    return verdict;
  }

  #frontReadable(): boolean {
    // Asked in any case: news that nobody takes in would end each wait at once.
    return this.#front.socket.readable() && !this.broker.blocked;
  }

  #dispatch(): void {
    for (let next = this.broker.next(this.#now); next; next = this.broker.next(this.#now)) {
      this.#book?.sent(next.job, this.#now);
      const group = this.#groups.get(next.worker);
      if (next.worker.asked !== undefined) this.#ask(next);
      else if (group === undefined) this.#groups.set(next.worker, [next.job]);
      else group.push(next.job);
    }
    if (this.#groups.size > 0) this.#sendGroups();
    this.#answerEnded();
  }

  /** A suspect is sent once its worker has shown that it lives. */
  #ask({ worker, job }: Assignment<Frames>): void {
    if (this.#back.ask(worker) === "gone") this.#unsendable(worker, [job]);
  }

  #sendGroups(): void {
    for (const [worker, jobs] of this.#groups) {
      const sent = this.#back.send(worker, jobs, this.#now);
      if (sent < jobs.length) this.#unsendable(worker, jobs.slice(sent));
    }
    this.#groups.clear();
  }

  /** The worker has just gone; what it said before that is still to be read. */
  #unsendable(worker: Worker<Frames>, jobs: readonly Job<Frames>[]): void {
    for (const job of jobs.toReversed()) this.broker.giveBack(worker, job.id, this.#now);
    this.broker.retire(worker);
  }

  #answerEnded(): void {
    for (const { job, to, code, message, flags, last } of this.broker.takeEnded()) {
      for (const asker of to) this.#front.replyError(asker, code, message, this.#now, flags);
      if (code === Code.workerDied || code === Code.handlerTimeout) {
        this.#tellFailure(job, code, message, undefined, "");
      }
      if (this.#book !== undefined) {
        // Nobody may be left to answer, but somebody has asked.
        const out = message.length;
        this.#account(job, to.length > 0 ? to : [job], { code, out, micros: undefined });
      }
      if (!last) continue;
      this.#release(job.body);
      this.broker.recycle(job);
    }
  }

  /** Sends a worker's answer to all who wait for it. The frames are given away. */
  #deliver(answer: Answer): void {
    const { job, code, micros, frames, bytes } = answer;
    if (code !== Code.ok) return this.#deliverError(answer);
    if (this.#book !== undefined) {
      this.#account(job, [job, ...job.others], { code, out: bytes, micros });
    }
    if (job.key !== "") this.#keep(job.key, code, frames, bytes);
    for (const other of job.others) {
      this.#front.reply(other, code, this.#copy(frames), bytes, this.#now);
    }
    job.line.charge(job.bytes + bytes + FRAME_WEIGHT * frames.length);
    this.#front.reply(job, code, frames, bytes, this.#now);
    this.#release(job.body);
    this.broker.recycle(job);
  }

  /** The same of an error: the log gets all of it, each client what it may see. */
  #deliverError({ job, code, flags, micros, frames, worker }: Answer): void {
    const stack = this.#errors.takeStack(flags, frames);
    this.#release(frames.splice(1)); // a message is one frame, whatever a worker sends
    this.#account(job, [job, ...job.others], { code, out: bytesOf(frames), micros });
    if (code >= Code.handlerFailed) this.#tellFailure(job, code, textOf(frames), worker, stack);
    if (job.key !== "" && (flags & ReplyFlag.PRIVATE) === 0) {
      this.#keep(job.key, code, frames, bytesOf(frames));
    }
    for (const asker of [job, ...job.others]) {
      const shown = this.#errors.shows(flags, asker.client);
      const said = shown ? this.#copy(frames) : this.#errors.veil(job);
      this.#front.reply(asker, code, said, bytesOf(said), this.#now);
    }
    this.#release(frames);
    this.#release(job.body);
    this.broker.recycle(job);
  }

  #account(job: Job<Frames>, to: readonly Asker<Frames>[], outcome: Outcome): void {
    this.#book?.ended(job, to, outcome, this.#now);
  }

  #tellFailure(
    job: Job<Frames>,
    code: number,
    message: string,
    worker: number | undefined,
    stack: string,
  ): void {
    const attempt = attemptOf(job);
    const client = clientOf(job);
    this.#events.requestFailed({ job: job.id, worker, attempt, code, message, stack, client });
  }

  #keep(key: string, code: number, frames: Frames, bytes: number): void {
    if (!this.#cache.enabled || !isFinal(code)) return;
    const weight = bytes + FRAME_WEIGHT * frames.length;
    this.#cache.put(key, { code, body: this.#copy(frames), bytes, weight }, this.#now);
  }

  /** Frames that share their content with `frames`. */
  #copy(frames: Frames): Frames {
    return frames.map((frame) => {
      const copy = this.#messages.take();
      copy.copyFrom(frame);
      return copy;
    });
  }

  #request(client: Client<Frames>, request: Request): void {
    const { body, bytes, excess } = request;
    // Nobody gets another user's answer, whatever he calls his own request.
    if (request.key !== "") request.key = `${client.user}\0${request.key}`;
    request.requestTimeout = this.broker.timeLimit(request.requestTimeout);
    request.bytes += FRAME_WEIGHT * Math.max(0, body.length - 1);
    if (excess !== undefined) {
      this.broker.reject(client, { ...request, bytes: 0 }, Code.tooLarge, excess);
    } else if (this.#front.isStalled(client, this.#now)) {
      // What it has asked for before would be run for nothing, too.
      this.broker.refuseWaiting(client, STALLED);
      this.broker.refuse(client, { ...request, key: "" }, STALLED);
    } else if (request.key === "" || !this.#answerFromCache(client, request)) {
      // A job of the same key stands for this one too: its own body is not needed.
      const taken = this.broker.submit(client, request);
      if (taken.body !== body) this.#release(body);
      else this.#book?.arrived(taken, bytes, this.#now);
    }
  }

  #answerFromCache(client: Client<Frames>, request: NewJob<Frames>): boolean {
    const { key, envelope, requestId, body } = request;
    const kept = this.#cache.get(key, this.#now);
    if (kept === undefined) return false;
    this.broker.counters.requests++;
    this.broker.counters.cached++;
    const { code, bytes } = kept;
    const to = { client, envelope, requestId };
    this.#book?.cached(client, code, { in: bytesOf(body), out: bytes });
    this.#front.reply(to, code, this.#copy(kept.body), bytes, this.#now);
    this.#release(body);
    return true;
  }

  #cancel(running: Assignment<Frames> | undefined): void {
    if (running !== undefined) this.#back.cancel(running.worker, running.job.id, Code.cancelled);
  }

  /** Gives up workers whose handlers don't stop; what they have not begun, they must not begin. */
  #endOverruns(): void {
    for (const { worker, jobs, step } of this.broker.takeOverruns()) {
      for (const job of jobs) this.#cancel({ worker, job });
      if (step === "end") this.#events.overran(worker.id);
      else this.#isolated(worker);
    }
  }

  /** It shows that it is not stuck as a whole, or it is not there any more. */
  #isolated(worker: Worker<Frames>): void {
    this.#back.ask(worker);
    this.#events.isolated(worker.id);
  }

  /** Ends workers that answer later jobs and keep an earlier one: that one is never answered there. */
  #endLosers(now: number): void {
    if (!this.broker.inOrder) return;
    for (const worker of this.#order.look(this.broker.workers, now)) {
      const [job] = worker.jobs.keys();
      this.#losers++;
      this.#events.log("error", "a worker has lost a job and is replaced", {
        worker: worker.id,
        job: job ?? 0,
      });
      this.broker.retire(worker);
      this.#events.lost(worker.id);
    }
  }

  #backendEvents(): BackendEvents {
    return {
      admit: (token, routingId) => this.#admit(token, routingId),
      reply: (worker, reply, frames, bytes) => {
        const code = isReplyCode(reply.code) ? reply.code : this.#errors.replace(frames);
        const job = this.broker.settle(worker, reply.job, code, reply.micros, this.#now);
        if (job === undefined) this.#release(frames);
        else {
          const { micros } = reply;
          const flags = code === reply.code ? reply.flags : 0;
          this.#answers.push({ job, code, flags, micros, frames, bytes, worker: worker.id });
        }
      },
      alive: (worker) => {
        const job = this.broker.proven(worker, this.#now);
        if (job === undefined) return;
        if (this.#back.send(worker, [job], this.#now) === 0) this.#unsendable(worker, [job]);
      },
      returned: (worker, job) => this.broker.giveBack(worker, job, this.#now),
      retiring: (worker) => {
        this.broker.retire(worker);
        this.#events.leaving(worker.id);
      },
      gone: (worker, end) => {
        const asked = worker.state === "retiring";
        this.#forget(worker, end);
        if (end === "left") this.#events.left(worker.id);
        if (end === "died" && !asked) this.#events.lost(worker.id);
      },
      loaded: (token) => this.#events.loaded(token),
      failed: (token, message) => this.#events.failed(token, message),
      memory: (worker, bytes) => this.#events.memory(worker.id, bytes),
      wantsLog: (worker, bytes) => this.#events.wantsLine(worker.id, bytes),
      log: (worker, line) => this.#events.line(worker.id, line),
    };
  }

  #admit(token: string, routingId: Uint8Array<ArrayBuffer>): Worker<Frames> | undefined {
    const admission = this.#events.admit(token);
    if (admission === undefined) return undefined;
    const worker = this.broker.addWorker(admission.worker, routingId, this.#now);
    this.#workers.set(worker.id, worker);
    if (admission.leave) this.retire(worker.id);
    return worker;
  }

  #forget(worker: Worker<Frames>, end: "left" | "died"): void {
    if (end === "died" && worker.jobs.size > 0) this.#events.diedBusy(worker.id);
    this.broker.removeWorker(worker, end, this.#now);
    this.#back.forget(worker);
    this.#workers.delete(worker.id);
  }

  #release(frames: Frames): void {
    for (const frame of frames) this.#messages.release(frame);
  }

  /** Logs what peers did wrong, at most once a second; returns ms until it wants to again. */
  #report(): number {
    const counts = this.#wrongs;
    const news = WRONGS.filter(([name]) => counts[name] > this.#reported[name]);
    if (news.length === 0) return Infinity;
    if (this.#now < this.#reportAt) return this.#reportAt - this.#now;
    for (const [name, what] of news) {
      this.#events.log(
        "warn",
        `${counts[name] - this.#reported[name]} ${what}${this.#detail(name)}`,
      );
    }
    this.#reported = counts;
    this.#reportAt = this.#now + REPORT_INTERVAL;
    return Infinity;
  }

  get #wrongs(): Wrongs {
    const { malformed, undelivered } = this.#front;
    const { intruders } = this.#back;
    const { strayReplies } = this.broker.counters;
    const { denied, takeovers, squatters, invalidReplies } = this.counters;
    return {
      denied,
      takeovers,
      squatters,
      malformed,
      undelivered,
      intruders,
      strayReplies,
      invalidReplies,
    };
  }

  /** What else is to be said of a wrong: nobody else could tell why a client is denied. */
  #detail(wrong: keyof Wrongs): string {
    if (wrong === "takeovers") {
      const { identity, address } = this.#front.takeovers.last;
      return `: the last one was ${JSON.stringify(identity)}${address && `, from "${address}"`}`;
    }
    if (wrong !== "denied" || this.#door === undefined) return "";
    const { address, reason } = this.#door.lastRefusal;
    return `: the last one, from "${address}", as ${reason}`;
  }
}

/** Reads messages as long as there are some, up to a bound; how many. */
function readSome(read: () => boolean): number {
  const end = performance.now() + BATCH_TIME;
  let count = 0;
  while (count < BATCH && read()) {
    count++;
    if (count % LOOK_EVERY === 0 && performance.now() >= end) break;
  }
  return count;
}

/** What the two sockets have seen since the start. */
export interface SocketCounters {
  /** Clients known now. */
  clients: number;
  /** Messages that were no requests. */
  malformed: number;
  /** Replies for clients that had left or took none. */
  undelivered: number;
  /** Messages to the backend from no worker. */
  intruders: number;
  /** Connections that asked to be let in and were not. */
  denied: number;
  /** Identities that another connection has taken over while their holder was there, as far as known. */
  takeovers: number;
  /** Peers that named themselves as only libzmq names peers, which can end the server. */
  squatters: number;
  /** Replies of workers that had no valid code, and were answered 500. */
  invalidReplies: number;
  /** Workers that were replaced as they had lost a job. */
  lostJobs: number;
}
