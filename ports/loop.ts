/**
 * The loop between the sockets and the broker (../broker.ts): owns the sockets, reads and sends what can
 * be, and waits. Decides nothing about jobs, and knows no processes.
 *
 * @module
 */

import { type AccessRules, Domain, Gate } from "../auth/gate.ts";
import { type Assignment, Broker } from "../broker.ts";
import type { End } from "../broker/inquest.ts";
import {
  type Asker,
  askersOf,
  attemptOf,
  type Client,
  type Job,
  type JobRequest,
  type Worker,
} from "../broker/job.ts";
import type { BrokerLimits } from "../broker/limits.ts";
import { OrderWatch } from "../broker/order.ts";
import { ReplyCache } from "../broker/reply_cache.ts";
import type { Settings } from "../options/settings.ts";
import { Ticks } from "../system/ticks.ts";
import { isIpv6 } from "../wire/endpoint.ts";
import { isReplyCode, ReplyFlag } from "../wire/job.ts";
import { LogQuota } from "../wire/log_quota.ts";
import { Code, isFinal } from "../wire/request.ts";
import type { Verdict, ZapRequest } from "../wire/zap.ts";
import type { Library } from "../zmq/library.ts";
import { MessagePool } from "../zmq/message.ts";
import { Poller } from "../zmq/poller.ts";
import { Context } from "../zmq/socket.ts";
import { messageOf } from "../system/errors.ts";
import { AccessBook, type Outcome, type Visit } from "./access_book.ts";
import { Backend, type BackendEvents } from "./backend.ts";
import { Door } from "./door.ts";
import { clientOf, ErrorReplies, textOf } from "./error_replies.ts";
import { type Frames, Frontend, type Request } from "./frontend.ts";
import { IpcFiles } from "./ipc_files.ts";
import type {
  Look,
  LoopCommand,
  LoopEvent,
  LoopLimits,
  NewProcess,
  SocketCounters,
  WorkerLook,
} from "./messages.ts";
import { FRAME_WEIGHT } from "./outbox.ts";
import { Processes } from "./processes.ts";

/** What a `BrokerLoop` is made of, beside what a reload may change. */
export interface LoopOptions
  extends
    LoopLimits,
    Pick<Settings, "maxMessageSize" | "maxFrames">,
    Partial<Pick<Settings, "keepAlive">> {
  /** Endpoints to bind for clients. */
  frontend: readonly string[];
  /** Endpoint to bind for workers. */
  backend: string;
  /** Who may come in; undefined: all who reach the sockets. */
  access?: AccessOptions;
  /** Whether requests that have ended are told of: somebody keeps an account of them. */
  visits?: boolean;
}

/** How the sockets decide who may come in. */
export interface AccessOptions {
  rules: AccessRules;
  /** The key that clients must know the public one of; undefined: none is asked for. */
  secretKey: string | undefined;
  /** The same of the socket for workers, whose own keys come with their processes. */
  backendKey: string | undefined;
}

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
/** How often the server is told that jobs came or went: nothing that it does then is more urgent, ms. */
const WORKED_INTERVAL = 2;
const MiB = 1024 ** 2;
const MIN_UNREAD = 16 * MiB;
/** A queue of so many jobs, or bytes, has taken memory that is worth being given back. */
const LONG_QUEUE = 1000;
const LARGE_QUEUE = MiB;
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
  readonly #listener: (event: LoopEvent) => void;
  /** What has happened and was not told yet: between the steps of a pass it is, so nobody changes the broker in one. */
  #events: LoopEvent[] = [];
  readonly #context: Context;
  readonly #messages: MessagePool;
  readonly #front: Frontend;
  readonly #back: Backend;
  readonly #door: Door | undefined;
  readonly #files: IpcFiles;
  readonly #poller: Poller;
  readonly #processes = new Processes();
  readonly #workers = new Map<number, Worker<Frames>>();
  /** Who may come in; undefined: all who reach the sockets. */
  readonly #gate: Gate | undefined;
  /** What each worker may log. */
  readonly #lines = new LogQuota({ lines: 5000, bytes: 4 * MiB });
  readonly #cache: ReplyCache<Frames>;
  /** What workers have answered and is yet to be sent: in a row it costs fewer changes of threads. */
  readonly #answers: Answer[] = [];
  readonly #errors: ErrorReplies;
  /** Undefined where there is no access log. */
  readonly #book: AccessBook | undefined;
  /** Requests that have ended and were not told yet. */
  #visits: Visit[] = [];
  readonly #order = new OrderWatch<Frames>();
  readonly #ticks: Ticks;
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
  /** When the server may be told that jobs came or went, ms, and whether it is to be. */
  #workedAt = 0;
  #hasWorked = false;
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
  readonly #broker: Broker<Frames>;
  readonly #endpoints: string[] = [];
  #backend: string;

  /**
   * Binds both sockets.
   *
   * @param listener is told what happens, in order and never within `send`; must not throw.
   * @throws {ZmqError} when an endpoint can't be bound.
   */
  constructor(library: Library, options: LoopOptions, listener: (event: LoopEvent) => void) {
    this.#listener = listener;
    this.#broker = new Broker(options);
    this.#context = new Context(library);
    this.#messages = new MessagePool(library);
    this.#cache = new ReplyCache((frames) => this.#release(frames));
    if (options.visits) this.#book = new AccessBook((visit) => this.#visits.push(visit));
    this.#errors = new ErrorReplies(this.#messages, () => this.frontend);
    this.#files = new IpcFiles(library);
    const ipv6 = [...options.frontend, options.backend].some(isIpv6);
    const { access } = options;
    this.#gate = access && new Gate(access.rules);
    const bounds = { ...options, ipv6 };
    const demand = access && { domain: Domain.clients, secretKey: access.secretKey };
    const front = { ...bounds, unreadBytes: unreadBytes(options), demand };
    this.#front = new Frontend(this.#context, this.#messages, front, {
      request: (client, request) => this.#request(client, request),
      cancel: (client, requestId, envelope) => {
        const job = this.#broker.cancel(client, requestId, envelope, this.#now);
        if (job?.worker !== undefined) this.#cancel(job.worker, job);
      },
      gone: (client) => {
        for (const job of this.#broker.disconnect(client, this.#now)) {
          if (job.worker !== undefined) this.#cancel(job.worker, job);
        }
      },
      stalled: (client) => this.#broker.refuseWaiting(client, STALLED),
      catchUp: () => {
        const hasRead = this.#readFrontend() > 0;
        this.#again ||= hasRead;
        return hasRead;
      },
    });
    this.#configure(options);
    this.#ticks = new Ticks([
      { tick: (now) => this.#tickBroker(now) },
      this.#cache,
      { tick: (now) => this.#findGone(now) },
      { tick: (now) => this.#endLosers(now) },
      { tick: (now) => this.#takeLeave(now) },
      { tick: (now) => this.#tidy(now) },
      { tick: (now) => this.#tellDropped(now) },
      { tick: (now) => this.#report(now) },
      { tick: (now) => this.#tellWorked(now) },
    ]);
    const opened: { close(linger: number): void }[] = [this.#front];
    try {
      const key = access?.backendKey;
      const domain = Domain.workers;
      const demand = key === undefined ? undefined : { domain, secretKey: key };
      const back = { ...bounds, demand };
      this.#back = new Backend(this.#context, this.#messages, back, this.#backendEvents());
      opened.push(this.#back);
      const gate = this.#gate;
      this.#door = gate &&
        new Door(this.#context, this.#messages, (request) => this.#judge(gate, request));
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

  /** How things are now. */
  look(): Look {
    const broker = this.#broker;
    const now = performance.now();
    const front = this.#front;
    return {
      queued: broker.queued,
      queuedBytes: broker.queuedBytes,
      running: broker.assigned,
      lastJobAt: broker.lastJobAt,
      serviceTime: broker.times.mean,
      clients: front.clients,
      connections: front.notified ? front.connections(now) : undefined,
      hasUnsent: front.blocked,
      readAt: this.#readAt,
      workers: new Map([...broker.workers].map((worker) => [worker.id, this.#lookAt(worker, now)])),
      counters: { ...broker.counters, ...this.#counters },
    };
  }

  #lookAt(worker: Worker<Frames>, now: number): WorkerLook {
    const { jobs, answered } = worker;
    const [firstJob] = jobs.keys();
    const spareSince = this.#broker.spareSince(worker, now);
    return { jobs: jobs.size, firstJob, answered, spareSince };
  }

  get #counters(): SocketCounters {
    const { malformed, undelivered } = this.#front;
    return {
      malformed,
      undelivered,
      intruders: this.#back.intruders,
      denied: this.#door?.denied ?? 0,
      takeovers: this.#front.takeovers.count,
      squatters: this.#front.squatters.count,
      invalidReplies: this.#errors.replaced,
      lostJobs: this.#losers,
    };
  }

  /** Does what the server says, before this returns; what comes of it is told later. */
  send(command: LoopCommand): void {
    this.#obey(command);
    this.#again = true;
    this.#worked();
    this.#poller.wake();
  }

  #obey(command: LoopCommand): void {
    switch (command.type) {
      case "expect":
        return this.#expect(command);
      case "retire":
        return this.#retire(command.worker);
      case "evict":
        return this.#evict(command.worker);
      case "processEnded":
        return this.#processEnded(command.worker, command.end, command.owesReason);
      case "configure":
        return this.#configure(command.limits);
      case "rules":
        return this.#gate?.configure(command.rules);
      case "drain":
        return this.#broker.drain(command.waiting);
      case "moveBackend":
        return this.#bind(() => this.#moveBackend(command.endpoint));
      case "mend":
        return this.#bind(() => this.#mend());
      case "stop":
        this.#open = false;
    }
  }

  #expect({ worker, token, publicKey }: NewProcess): void {
    this.#processes.expect({ worker, token, publicKey });
    if (publicKey !== undefined) this.#gate?.addWorker(publicKey);
  }

  /** Lets a worker finish what it has, and leave. */
  #retire(number: number): void {
    const worker = this.#workers.get(number);
    if (worker === undefined) return;
    this.#broker.retire(worker);
    this.#back.stop(worker);
  }

  /** The place of an isolated worker is needed: it is ended now. */
  #evict(number: number): void {
    const worker = this.#workers.get(number);
    if (worker !== undefined) this.#broker.endIsolated(worker);
  }

  /** What the process said before may still be to be read. */
  #processEnded(number: number, end: End, owesReason: boolean): void {
    const now = performance.now();
    this.#broker.processEnded(number, this.#workers.get(number), end, now);
    this.#processes.ended(number, owesReason, now);
  }

  /** Works by other bounds from now on. */
  #configure(limits: LoopLimits): void {
    this.#broker.configure(limits);
    this.#errors.configure(limits);
    // Replies have as much room as requests, but not the same: who takes none must not stop the others.
    this.#front.unreadBytes = unreadBytes(limits);
    this.#cache.configure({ ttl: limits.replyCacheTtl, bytes: limits.replyCacheBytes });
  }

  #bind(bind: () => void): void {
    try {
      bind();
    } catch (error) {
      this.#tell({ type: "notBound", message: messageOf(error) });
    }
  }

  /** Listens to workers at another endpoint from now on; connections stay. */
  #moveBackend(endpoint: string): void {
    const bound = this.#files.bind(endpoint, () => this.#back.bind(endpoint));
    const before = this.#backend;
    this.#files.forget(before);
    this.#backend = bound;
    this.#tell({ type: "backendMoved", before, endpoint: bound });
  }

  /** Binds ipc endpoints again whose files somebody has removed; connections stay. */
  #mend(): void {
    for (const endpoint of this.#files.mend()) this.#tell({ type: "mended", endpoint });
  }

  #tell(event: LoopEvent): void {
    this.#events.push(event);
  }

  /** Tells the server what has happened; what it says in return is done before the next step. */
  #handOver(): void {
    if (this.#visits.length > 0) this.#tellVisits();
    while (this.#events.length > 0) {
      const events = this.#events;
      this.#events = [];
      for (const event of events) this.#listener(event);
    }
  }

  #tellVisits(): void {
    this.#tell({ type: "visits", visits: this.#visits });
    this.#visits = [];
  }

  /** Serves until it is told to stop. */
  async run(): Promise<void> {
    while (this.#open) {
      this.#again = false;
      this.#now = performance.now();
      const busy = this.#pass();
      const sleep = this.#ticks.tick(this.#now);
      // Jobs of workers that have died may be free to be sent only now.
      if (this.#dispatch() > 0) this.#again = true;
      this.#handOver();
      if (!this.#open) break;
      // Asked last, after all that was sent: a send can eat a socket's wake-up.
      const ready = busy || this.#again || this.#back.socket.readable() || this.#frontReadable() ||
        this.#door?.socket.readable();
      const retry = this.#front.blocked ? SLOW_CLIENT_RETRY : Infinity;
      const cores = this.#broker.assigned <= QUIET_JOBS ? "spare" : "taken";
      const turn = this.#poller.rest(ready ? 0 : Math.min(sleep, retry), cores);
      if (turn !== undefined) await turn;
    }
    // Whoever waits for this would use sockets that are closed.
    if (this.#abandoned) await new Promise(() => {});
  }

  #tickBroker(now: number): number {
    const sleep = this.#broker.tick(now);
    this.#answerEnded();
    this.#endOverruns();
    return sleep;
  }

  /** Something has changed: what is due, and what `look` gives. */
  #worked(): void {
    this.#hasWorked = true;
    this.#ticks.touch();
  }

  /** Tells the server that jobs came or went, if they did, and if it was not told just now. */
  #tellWorked(now: number): number {
    if (!this.#hasWorked) return Infinity;
    if (now < this.#workedAt) return this.#workedAt - now;
    this.#workedAt = now + WORKED_INTERVAL;
    this.#hasWorked = false;
    this.#tell({ type: "worked" });
    return Infinity;
  }

  /** Takes leave of processes that have ended and were heard out; returns ms until the next one's time is over. */
  #takeLeave(now: number): number {
    const departed = this.#processes.takeDeparted(now, (number) => this.#workers.has(number));
    for (const number of departed) {
      const worker = this.#workers.get(number);
      if (worker !== undefined) this.#forget(worker, "died");
      const key = this.#processes.forget(number);
      if (key !== undefined) this.#gate?.removeWorker(key);
      this.#tell({ type: "departed", worker: number });
      this.#worked();
    }
    return this.#processes.wait(now);
  }

  /** Tells how many lines of the log were dropped; returns ms until it wants to again. */
  #tellDropped(now: number): number {
    for (const { subject: worker, dropped: lines } of this.#lines.report(now)) {
      this.#tell({ type: "dropped", worker, lines });
    }
    return this.#lines.wait(now);
  }

  /** Finds clients that have left while nothing is read from any; returns ms until it must run again. */
  #findGone(now: number): number {
    if (!this.#broker.blocked) {
      this.#goneAt = now + GONE_INTERVAL;
      return Infinity;
    }
    if (now >= this.#goneAt) {
      this.#front.findGone();
      this.#worked();
      this.#goneAt = now + GONE_INTERVAL;
    }
    return this.#goneAt - now;
  }

  /** Gives memory back some time after much was waiting; returns ms until it must run again. */
  #tidy(now: number): number {
    const { queued, queuedBytes } = this.#broker;
    if (queued >= LONG_QUEUE || queuedBytes >= LARGE_QUEUE || this.#front.blocked) {
      this.#tidyAt = now + TIDY_DELAY;
      return Infinity; // there will be a pass when it is shorter
    }
    if (now < this.#tidyAt) return this.#tidyAt - now; // Infinity, mostly
    this.#tidyAt = Infinity;
    this.#messages.shrink();
    this.#broker.dropSpares();
    this.#context.trim();
    return Infinity;
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
      if (read > 0 || this.#front.blocked) this.#worked();
      // Now, as a worker that is late is to leave before it gets a job.
      this.#handOver();
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
    const read = readSome(() => !this.#broker.blocked && this.#front.read(this.#now));
    if (read > 0) this.#readAt = this.#now;
    return read;
  }

  #readDoor(): number {
    let read = 0;
    while (read < QUESTIONS && this.#door?.read()) read++;
    return read;
  }

  #judge(gate: Gate, request: ZapRequest): Verdict {
    const front = this.#front;
    const verdict = gate.judge(request, {
      now: this.#now,
      connections: front.connections(this.#now),
      speakers: front.speakers,
      isAttacked: front.squatters.isPresent,
      peers: () => front.peers(),
    });
    const isClient = request.domain === Domain.clients;
    if (isClient && verdict.outcome === "allowed") this.#front.expect(this.#now);
    return verdict;
  }

  #frontReadable(): boolean {
    // Asked in any case: news that nobody takes in would end each wait at once.
    return this.#front.socket.readable() && !this.#broker.blocked;
  }

  /** Sends what can be sent, and returns how many jobs that was. */
  #dispatch(): number {
    let jobs = 0;
    for (let next = this.#broker.next(this.#now); next; next = this.#broker.next(this.#now)) {
      jobs++;
      this.#book?.sent(next.job, this.#now);
      const group = this.#groups.get(next.worker);
      if (next.worker.unsent !== undefined) this.#ask(next);
      else if (group === undefined) this.#groups.set(next.worker, [next.job]);
      else group.push(next.job);
    }
    if (this.#groups.size > 0) this.#sendGroups();
    if (jobs > 0) this.#worked();
    this.#answerEnded();
    return jobs;
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
    for (const job of jobs.toReversed()) this.#broker.giveBack(worker, job.id, this.#now);
    this.#broker.retire(worker);
  }

  #answerEnded(): void {
    for (const { job, to, code, message, flags, last } of this.#broker.takeEnded()) {
      this.#worked();
      for (const asker of to) this.#front.replyError(asker, code, message, this.#now, flags);
      if (code === Code.workerDied || code === Code.handlerTimeout) {
        this.#tellFailure(job, code, message, undefined, "");
      }
      if (this.#book !== undefined) {
        // Nobody may be left to answer, but somebody has asked.
        const out = message.length;
        this.#account(job, to.length > 0 ? to : [job.asker], { code, out, micros: undefined });
      }
      if (!last) continue;
      this.#release(job.request.body);
      this.#broker.recycle(job);
    }
  }

  /** Sends a worker's answer to all who wait for it. The frames are given away. */
  #deliver(answer: Answer): void {
    const { job, code, micros, frames, bytes } = answer;
    if (code !== Code.ok) return this.#deliverError(answer);
    if (this.#book !== undefined) {
      this.#account(job, askersOf(job), { code, out: bytes, micros });
    }
    if (job.request.key !== "") this.#keep(job.request.key, code, frames, bytes);
    for (const other of job.others) {
      this.#front.reply(other, code, this.#copy(frames), bytes, this.#now);
    }
    job.line.charge(job.bytes + bytes + FRAME_WEIGHT * frames.length);
    this.#front.reply(job.asker, code, frames, bytes, this.#now);
    this.#release(job.request.body);
    this.#broker.recycle(job);
  }

  /** The same of an error: the log gets all of it, each client what it may see. */
  #deliverError({ job, code, flags, micros, frames, worker }: Answer): void {
    const stack = this.#errors.takeStack(flags, frames);
    this.#release(frames.splice(1)); // a message is one frame, whatever a worker sends
    this.#account(job, askersOf(job), { code, out: bytesOf(frames), micros });
    if (code >= Code.handlerFailed) this.#tellFailure(job, code, textOf(frames), worker, stack);
    if (job.request.key !== "" && (flags & ReplyFlag.PRIVATE) === 0) {
      this.#keep(job.request.key, code, frames, bytesOf(frames));
    }
    for (const asker of askersOf(job)) {
      const shown = this.#errors.shows(flags, asker.client);
      const said = shown ? this.#copy(frames) : this.#errors.veil(job);
      this.#front.reply(asker, code, said, bytesOf(said), this.#now);
    }
    this.#release(frames);
    this.#release(job.request.body);
    this.#broker.recycle(job);
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
    const failure = { job: job.id, worker, attempt, code, message, stack, client };
    this.#tell({ type: "requestFailed", failure });
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
    request.requestTimeout = this.#broker.timeLimit(request.requestTimeout);
    request.bytes += FRAME_WEIGHT * Math.max(0, body.length - 1);
    if (excess !== undefined) {
      this.#broker.reject({ ...request, bytes: 0 }, Code.tooLarge, excess);
    } else if (this.#front.isStalled(client, this.#now)) {
      // What it has asked for before would be run for nothing, too.
      this.#broker.refuseWaiting(client, STALLED);
      this.#broker.refuse({ ...request, key: "" }, STALLED);
    } else if (request.key === "" || !this.#answerFromCache(client, request)) {
      // A job of the same key stands for this one too: its own body is not needed.
      const taken = this.#broker.submit(request);
      if (taken.request.body !== body) this.#release(body);
      else this.#book?.arrived(taken, bytes, this.#now);
    }
  }

  #answerFromCache(client: Client<Frames>, request: JobRequest<Frames>): boolean {
    const { key, envelope, requestId, body } = request;
    const kept = this.#cache.get(key, this.#now);
    if (kept === undefined) return false;
    this.#broker.counters.requests++;
    this.#broker.counters.cached++;
    const { code, bytes } = kept;
    const to = { client, envelope, requestId };
    this.#book?.cached(client, code, { in: bytesOf(body), out: bytes });
    this.#front.reply(to, code, this.#copy(kept.body), bytes, this.#now);
    this.#release(body);
    return true;
  }

  #cancel(worker: Worker<Frames>, job: Job<Frames>): void {
    this.#back.cancel(worker, job.id, Code.cancelled);
  }

  /** Gives up workers whose handlers don't stop; what they have not begun, they must not begin. */
  #endOverruns(): void {
    for (const { worker, jobs, step } of this.#broker.takeOverruns()) {
      for (const job of jobs) this.#cancel(worker, job);
      if (step === "end") this.#tell({ type: "overran", worker: worker.id });
      else this.#isolated(worker);
    }
  }

  /** It shows that it is not stuck as a whole, or it is not there any more. */
  #isolated(worker: Worker<Frames>): void {
    this.#back.ask(worker);
    this.#tell({ type: "isolated", worker: worker.id });
  }

  /** Ends workers that answer later jobs and keep an earlier one: that one is never answered there. */
  #endLosers(now: number): number {
    if (!this.#broker.inOrder) return Infinity;
    for (const worker of this.#order.look(this.#broker.workers, now)) {
      const [job] = worker.jobs.keys();
      this.#losers++;
      const fields = { worker: worker.id, job: job ?? 0 };
      const message = "a worker has lost a job and is replaced";
      this.#tell({ type: "log", level: "error", message, fields });
      this.#broker.retire(worker);
      this.#tell({ type: "lost", worker: worker.id });
      this.#worked();
    }
    return this.#order.wait(now);
  }

  #backendEvents(): BackendEvents {
    return {
      admit: (token, routingId) => this.#admit(token, routingId),
      reply: (worker, reply, frames, bytes) => {
        const code = isReplyCode(reply.code) ? reply.code : this.#errors.replace(frames);
        const job = this.#broker.takeReply(worker, reply.job, code, reply.micros, this.#now);
        if (job === undefined) this.#release(frames);
        else {
          const { micros } = reply;
          const flags = code === reply.code ? reply.flags : 0;
          this.#answers.push({ job, code, flags, micros, frames, bytes, worker: worker.id });
        }
      },
      alive: (worker) => {
        const job = this.#broker.proven(worker, this.#now);
        if (job === undefined) return;
        if (this.#back.send(worker, [job], this.#now) === 0) this.#unsendable(worker, [job]);
      },
      returned: (worker, job) => this.#broker.giveBack(worker, job, this.#now),
      retiring: (worker) => {
        this.#broker.retire(worker);
        this.#tell({ type: "leaving", worker: worker.id });
      },
      gone: (worker, end) => {
        const asked = worker.state === "retiring";
        this.#forget(worker, end);
        if (end === "left") this.#tell({ type: "left", worker: worker.id });
        if (end === "died" && !asked) this.#tell({ type: "lost", worker: worker.id });
      },
      loaded: (token) => this.#loaded(token),
      failed: (token, message) => this.#failed(token, message),
      memory: (worker, bytes) => this.#tell({ type: "memory", worker: worker.id, bytes }),
      wantsLog: (worker, bytes) => this.#lines.admits(worker.id, bytes, this.#now),
      log: (worker, line) => this.#tell({ type: "line", worker: worker.id, line }),
    };
  }

  #loaded(token: string): boolean {
    const worker = this.#processes.workerOf(token);
    if (worker !== undefined) this.#tell({ type: "loaded", worker });
    return worker !== undefined;
  }

  #failed(token: string, message: string): boolean {
    const worker = this.#processes.take(token);
    if (worker !== undefined) this.#tell({ type: "failed", worker, message });
    return worker !== undefined;
  }

  #admit(token: string, routingId: Uint8Array<ArrayBuffer>): Worker<Frames> | undefined {
    const number = this.#processes.take(token);
    if (number === undefined) return undefined;
    const worker = this.#broker.addWorker(number, routingId, this.#now);
    this.#workers.set(number, worker);
    this.#tell({ type: "ready", worker: number });
    return worker;
  }

  #forget(worker: Worker<Frames>, end: "left" | "died"): void {
    if (end === "died" && worker.jobs.size > 0) {
      this.#tell({ type: "diedBusy", worker: worker.id });
    }
    this.#broker.removeWorker(worker, end, this.#now);
    this.#back.forget(worker);
    this.#workers.delete(worker.id);
  }

  #release(frames: Frames): void {
    for (const frame of frames) this.#messages.release(frame);
  }

  /** Logs what peers did wrong, at most once a second; returns ms until it wants to again. */
  #report(now: number): number {
    const counts = this.#wrongs;
    const news = WRONGS.filter(([name]) => counts[name] > this.#reported[name]);
    if (news.length === 0) return Infinity;
    if (now < this.#reportAt) return this.#reportAt - now;
    for (const [name, what] of news) {
      const message = `${counts[name] - this.#reported[name]} ${what}${this.#detail(name)}`;
      this.#tell({ type: "log", level: "warn", message });
    }
    this.#reported = counts;
    this.#reportAt = now + REPORT_INTERVAL;
    return Infinity;
  }

  get #wrongs(): Wrongs {
    return { ...this.#counters, strayReplies: this.#broker.counters.strayReplies };
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
