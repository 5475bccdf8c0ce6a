/**
 * The data plane of a pool that works for a server on another machine: it has no sockets for clients, and its loop is
 * there. What the pool tells its loop goes over the network, and so does what the loop tells. When the connection is
 * lost, the workers are lost, too: the server has given them up, and takes nothing of them any more.
 *
 * @module
 */

import type { WorkerExit } from "../ops/events.ts";
import type { Log } from "../ops/log.ts";
import { Inquirer } from "../ports/inquirer.ts";
import type { Findings, Inquiries, InquiryKind } from "../ports/inquiry.ts";
import type { Look, LoopCommand, LoopEvent } from "../ports/messages.ts";
import type { DataPlane } from "../ports/plane.ts";
import { VERSION } from "../system/version.ts";
import { WORKER_PROTOCOL } from "../wire/job.ts";
import {
  type FromJoiner,
  JOIN_HEARTBEAT,
  JOIN_PROTOCOL,
  JOIN_SILENCE,
  JOIN_TIMEOUT,
  type JoinedFigures,
  readToJoiner,
  type ServiceTerms,
  type ToJoiner,
  writeJoin,
} from "../wire/join.ts";
import type { WorkerKeys } from "../wire/worker_config.ts";
import type { Library } from "../zmq/library.ts";
import type { ConnectionEvent } from "../zmq/monitor.ts";
import { JoinedLooks, NOTHING_TO_ASK } from "./joined_look.ts";
import { Link, type LinkOptions } from "./link.ts";
import { Tickets } from "./tickets.ts";

/** What a `JoinedPlane` is made of. */
export interface JoinedPlaneOptions extends LinkOptions {
  /** The services of the server, by what they are called here. */
  readonly services: ReadonlyMap<string, string>;
  readonly log: Pick<Log, "info" | "warn" | "error">;
  /** Workers that may be starting at a time. */
  readonly cpus: number;
}

/** What a worker shows the server, and proves itself by. */
export interface Credentials {
  readonly token: string;
  readonly keys: WorkerKeys;
}

/** What is told of it beside the events of a loop. */
export interface JoinedPlaneListener {
  hear(event: LoopEvent): void;
  /** How each process is. */
  describe(): readonly JoinedFigures[];
  /** An operator of the server wants a worker to leave, or killed. */
  dismiss(worker: number, how: "stop" | "kill"): void;
  /** Workers that are started from now on are bound otherwise. */
  termsChanged(): void;
  /** It can never join. */
  refused(error: Error): void;
}

/** Time until a link that was lost is made again, ms. */
const PAUSE = 500;
/** The same where the server does not want it, ms. */
const REFUSED_PAUSE = 10_000;
/** The same where it does not know this machine's key, ms. */
const DENIED_PAUSE = 2000;
/** Time between two remarks that the server can't be reached, ms. */
const REMARK_INTERVAL = 30_000;
/** As long as this after the start nothing is remarked, ms. */
const QUIET_TIME = 3000;
/** What is still to be said at the end may take this long, ms. */
const LINGER = 200;
/** Clocks that differ by more than this are worth a remark, ms. */
const CLOCKS_DIFFER = 2000;

/**
 * connecting ─(connected: hello)→ greeting ─welcome→ joined → lost: pause, then connecting
 *     stopped: nothing more is done
 */
type State = "connecting" | "greeting" | "joined" | "pausing" | "stopped";

/** What gives jobs to workers, on another machine. */
export class JoinedPlane implements DataPlane {
  readonly frontend: readonly string[] = [];
  readonly mdp: readonly string[] = [];
  readonly events: readonly string[] = [];
  readonly serviceFrontends: Readonly<Record<string, readonly string[]>> = {};
  readonly join = undefined;
  readonly backend: string;
  readonly #library: Library;
  readonly #options: JoinedPlaneOptions;
  readonly #listener: JoinedPlaneListener;
  readonly #inquirer = new Inquirer(NOTHING_TO_ASK);
  #link: Link | undefined;
  #state: State = "connecting";
  readonly #tickets: Tickets;
  /** Processes of this connection whose ends the server has not told, and whether they have ended. */
  readonly #processes = new Map<number, { hasEnded: boolean }>();
  /** Workers of this connection that were started, and of which the server was not told how they have ended. */
  readonly #unexplained = new Set<number>();
  /** Whether the server wants to be told. */
  #isToldExits = false;
  readonly #looks: JoinedLooks;
  #terms: Readonly<Record<string, ServiceTerms>> = {};
  /** How far the server's clock is ahead of this machine's, as far as can be told, ms. */
  clockAhead = 0;
  /** A worker's connection to the server ends when it is silent for so long, ms. */
  readonly heartbeatTimeout = JOIN_TIMEOUT;
  #greetedAt = 0;
  #heardAt = 0;
  #saidAt = 0;
  #pauseUntil = 0;
  #remarkedAt: number;
  /** The last reason why there is no connection. */
  #trouble = "it does not answer";
  #wasJoined = false;
  /** The server stops, or this pool does. */
  #isServerStopping = false;
  #isDraining = false;

  /** Connects with `run`. */
  constructor(library: Library, options: JoinedPlaneOptions, listener: JoinedPlaneListener) {
    this.#library = library;
    this.#options = options;
    this.#listener = listener;
    this.backend = options.endpoint;
    this.#looks = new JoinedLooks(options.services);
    this.#tickets = new Tickets({
      ...{ services: options.services.size, cpus: options.cpus },
      ask: (service, count) => {
        const isThere = this.#state === "joined";
        if (isThere) this.#say({ type: "tickets", service, count });
        return isThere;
      },
    });
    this.#remarkedAt = performance.now() - REMARK_INTERVAL + QUIET_TIME;
  }

  // ---- what the pool asks ----

  /** Whether workers may be started: they can reach the server. */
  get mayStart(): boolean {
    return this.#state === "joined" && !this.#isServerStopping;
  }

  /** The number of a worker of a service that is about to be started. */
  nextWorker(service: string): number {
    return this.#tickets.draw(this.#options.services.get(service) ?? "");
  }

  /**
   * What a worker is started with now; it is given back if the start fails.
   *
   * @throws {Error} when the server has given nothing.
   */
  credentialsOf(worker: number): Credentials {
    const ticket = this.#tickets.use(worker);
    if (ticket === undefined) throw new Error("the server has given no token for another worker");
    // A process that is started is told at once.
    queueMicrotask(() => {
      if (!this.#processes.has(worker)) this.#giveBack(worker);
    });
    const { token, publicKey, secretKey } = ticket;
    return { token, keys: { serverKey: this.#options.serverKey, publicKey, secretKey } };
  }

  #giveBack(worker: number): void {
    this.#say({ type: "ended", worker, end: "itself", owesReason: false });
  }

  /** What workers of a service, as it is called here, are bound by. */
  termsOf(service: string): ServiceTerms | undefined {
    const name = this.#options.services.get(service);
    return name === undefined ? undefined : this.#terms[name];
  }

  /** How things are here, as far as is known. */
  look(): Look {
    // Who stops waits for the workers to leave, which end what they have.
    return this.#looks.look(this.#isDraining ? "left out" : "counted");
  }

  ask<Kind extends InquiryKind>(kind: Kind, question: Inquiries[Kind]): Promise<Findings[Kind]> {
    const found = new Promise<Findings[Kind]>((found, failed) =>
      this.#inquirer.add(kind, question, { found, failed })
    );
    while (this.#inquirer.goOn(performance.now()));
    return found;
  }

  // ---- what the pool says ----

  /** Jobs are stored by the server that was joined. */
  joinStore(port: MessagePort): undefined {
    port.close();
  }

  send(command: LoopCommand): void {
    switch (command.type) {
      case "expect":
        return this.#started(command);
      case "retire":
      case "evict":
        if (this.#isHere(command.worker)) this.#say(command);
        return;
      case "processEnded":
        return this.#ended(command);
      case "drain":
        this.#isDraining = true;
        return;
      case "stop":
        if (this.#state === "joined") this.#say({ type: "bye" });
        this.#state = "stopped";
        return this.#link?.wake();
    }
  }

  /** The server expects it already. */
  #started({ worker, pid = 0 }: Extract<LoopCommand, { type: "expect" }>): void {
    this.#processes.set(worker, { hasEnded: false });
    this.#unexplained.add(worker);
    this.#say({ type: "started", worker, pid });
  }

  #ended({ worker, end, owesReason }: Extract<LoopCommand, { type: "processEnded" }>): void {
    const process = this.#processes.get(worker);
    if (process === undefined || this.#state !== "joined") return this.#departed(worker);
    process.hasEnded = true;
    this.#say({ type: "ended", worker, end: end === "vanished" ? "outside" : end, owesReason });
  }

  /** Tells the server how a worker has ended. */
  explain({ worker, code, signal, reason }: WorkerExit): void {
    if (!this.#unexplained.delete(worker) || this.#state !== "joined" || !this.#isToldExits) return;
    if (reason === "lost") return;
    this.#say({ type: "exited", worker, code, signal, reason });
  }

  #isHere(worker: number): boolean {
    return this.#state === "joined" && this.#processes.has(worker);
  }

  /** Nothing more is to come of a process; told later, as all events are. */
  #departed(worker: number): void {
    this.#processes.delete(worker);
    this.#looks.leave(worker);
    queueMicrotask(() => this.#listener.hear({ type: "departed", worker }));
  }

  // ---- the connection ----

  /** Joins, and joins again, until it is told to stop. */
  async run(): Promise<void> {
    while (this.#state !== "stopped") {
      const wait = this.#turn(performance.now());
      if (this.#isStopped) break;
      if (this.#link === undefined) await pause(Math.min(wait, PAUSE));
      else await this.#link.wait(wait);
    }
  }

  /** Asked anew: what a turn brings may stop it. */
  get #isStopped(): boolean {
    return this.#state === "stopped";
  }

  /** Does what is due; returns ms until something is. */
  #turn(now: number): number {
    if (this.#state === "pausing") {
      this.#remarkTrouble(now);
      if (now < this.#pauseUntil) return this.#pauseUntil - now;
      this.#state = "connecting";
    }
    const link = this.#link ??= new Link(this.#library, this.#options);
    this.#readAll(link, now);
    if (this.#state === "joined") return this.#beat(now);
    if (this.#link !== link || this.#isStopped) return 0;
    return this.#remarkTrouble(now);
  }

  #readAll(link: Link, now: number): void {
    for (let word = link.nextWord(); word !== undefined; word = link.nextWord()) {
      this.#hear(word, now);
      if (this.#link !== link) return;
    }
    for (let event = link.nextEvent(); event !== undefined; event = link.nextEvent()) {
      this.#became(event);
      if (this.#link !== link) return;
    }
  }

  /** Says each second that it lives, and how its processes are; gives up a server that says nothing. */
  #beat(now: number): number {
    const silent = now - this.#heardAt;
    if (silent > JOIN_SILENCE) {
      this.#lose(`nothing was heard of it for ${Math.round(silent)} ms`, PAUSE);
      return PAUSE;
    }
    if (now - this.#saidAt >= JOIN_HEARTBEAT) {
      this.#saidAt = now;
      this.#say({ type: "figures", workers: this.#figures() });
    }
    return Math.min(this.#saidAt + JOIN_HEARTBEAT, this.#heardAt + JOIN_SILENCE) - now;
  }

  #figures(): readonly JoinedFigures[] {
    return this.#listener.describe().filter(({ worker }) => this.#processes.has(worker));
  }

  #remarkTrouble(now: number): number {
    const due = this.#remarkedAt + REMARK_INTERVAL - now;
    if (due > 0) return due;
    this.#remarkedAt = now;
    const { endpoint: server, log } = this.#options;
    log.warn("the server cannot be joined yet", { server, reason: this.#trouble });
    return REMARK_INTERVAL;
  }

  #became(event: ConnectionEvent): void {
    switch (event.what) {
      case "reached":
        return;
      case "connected":
        return this.#greet();
      case "denied":
        // libzmq tries no more; the list may change.
        this.#suspect("it does not let this machine's key in: is it in its joinClients");
        return this.#lose(this.#trouble, DENIED_PAUSE);
      case "mismatch":
      case "failed":
        return this.#suspect(
          "it does not speak with these keys: is --join-server-key its public key, and this its " +
            "joinEndpoint",
        );
      case "disconnected":
        if (this.#state === "joined") this.#lose("its connection is gone", PAUSE);
        else this.#state = "connecting";
    }
  }

  /** What is certain is told at once, and then as seldom as the rest. */
  #suspect(trouble: string): void {
    if (this.#trouble !== trouble) this.#remarkedAt = -Infinity;
    this.#trouble = trouble;
  }

  #greet(): void {
    this.#state = "greeting";
    this.#greetedAt = performance.now();
    this.#trouble = "it does not say anything";
    const services = [...this.#options.services.values()];
    this.#say({
      ...{ type: "hello", protocol: JOIN_PROTOCOL, workers: WORKER_PROTOCOL, version: VERSION },
      ...{ services, tickets: this.#tickets.wanted },
    });
  }

  #say(message: FromJoiner): void {
    this.#link?.say(writeJoin(message));
  }

  // ---- what the server says ----

  #hear(text: string, now: number): void {
    const said = readToJoiner(text);
    if (said === undefined || this.#isStopped) return;
    this.#heardAt = now;
    if (said.type === "welcome") return this.#welcomed(said, now);
    if (said.type === "refused") return this.#refused(said);
    if (this.#state === "joined") this.#hearServer(said, now);
  }

  #welcomed(said: Extract<ToJoiner, { type: "welcome" }>, now: number): void {
    if (this.#state !== "greeting") return;
    const { log, endpoint: server } = this.#options;
    this.#state = "joined";
    this.#wasJoined = true;
    this.#isServerStopping = false;
    this.#isToldExits = said.hearsExits === true;
    this.#terms = said.terms;
    this.#tickets.take(said.tickets);
    // The answer has taken about half of the time.
    this.clockAhead = Math.round(said.now + (now - this.#greetedAt) / 2 - Date.now());
    this.#saidAt = now;
    log.info("joined", { server, host: said.host, version: said.version });
    if (Math.abs(this.clockAhead) > CLOCKS_DIFFER) {
      log.info("the server's clock differs: deadlines are counted by it", { ms: this.clockAhead });
    }
    this.#listener.hear({ type: "worked" });
  }

  #refused({ reason, isLasting }: Extract<ToJoiner, { type: "refused" }>): void {
    const { endpoint: server, log } = this.#options;
    if (this.#wasJoined || !isLasting) {
      log.error("the server refuses this pool", { server, reason });
      return this.#lose(reason, REFUSED_PAUSE);
    }
    this.#lose(reason, REFUSED_PAUSE);
    this.#listener.refused(new Error(`Cannot join the server at "${server}": ${reason}`));
  }

  #hearServer(said: ToJoiner, now: number): void {
    switch (said.type) {
      case "tickets":
        return this.#tickets.take(said.tickets);
      case "news":
        return this.#hearNews(said.news, now);
      case "look":
        this.#looks.learn(said, now);
        return this.#listener.hear({ type: "worked" });
      case "terms":
        if (JSON.stringify(this.#terms) === JSON.stringify(said.terms)) return;
        this.#terms = said.terms;
        return this.#listener.termsChanged();
      case "dismiss":
        return this.#listener.dismiss(said.worker, said.how);
      case "stopping":
        this.#isServerStopping = true;
        return this.#options.log.info("the server stops", { server: this.backend });
      case "unknown":
        return this.#lose("it has given this pool up", PAUSE);
    }
  }

  #hearNews(news: Extract<ToJoiner, { type: "news" }>["news"], now: number): void {
    const { worker } = news;
    if (news.type === "departed") {
      this.#processes.delete(worker);
      this.#looks.leave(worker);
    } else if (!this.#processes.has(worker)) return;
    if (news.type === "ready") this.#looks.enter(worker, now);
    if (news.type === "left" || news.type === "lost") this.#looks.leave(worker);
    this.#listener.hear(news);
  }

  // ---- the end of a connection, and of all ----

  /** The server has given up all that is here: the processes are of no use any more. */
  #lose(reason: string, pauseMs: number): void {
    const wasJoined = this.#state === "joined";
    this.#state = "pausing";
    this.#pauseUntil = performance.now() + pauseMs;
    this.#trouble = reason;
    this.#close(0);
    this.#tickets.clear();
    this.#looks.clear();
    this.#unexplained.clear();
    const lost = [...this.#processes];
    this.#processes.clear();
    if (wasJoined) {
      this.#remarkedAt = performance.now();
      const fields = { server: this.backend, reason, workers: lost.length };
      this.#options.log.warn("the server is lost, and the workers with it", fields);
    }
    for (const [worker, { hasEnded }] of lost) {
      if (hasEnded) this.#departed(worker);
      else this.#listener.hear({ type: "lost", worker });
    }
  }

  #close(linger: number): void {
    const link = this.#link;
    this.#link = undefined;
    link?.close(linger);
  }

  /** Closes all at once. */
  abandon(): void {
    this.#state = "stopped";
    this.#inquirer.close();
    this.#close(0);
  }

  /** Closes, once what was said is sent or that has taken too long. */
  close(_lingerMs: number): Promise<void> {
    this.#state = "stopped";
    this.#inquirer.close();
    this.#close(LINGER);
    return Promise.resolve();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
