/**
 * The pools on other machines that have joined a server, as its own thread sees them: checks what they say, passes on
 * what concerns their workers to the loop and back, and gives up those of whom nothing is heard. A joiner may be
 * hostile: it can do what it likes to its own workers, and to nobody else's. Reads and sends nothing itself.
 *
 * @module
 */

import type { ClientList } from "../auth/client_list.ts";
import type { Events } from "../ops/events.ts";
import type { Log } from "../ops/log.ts";
import type { WorkerStats } from "../ops/stats.ts";
import type { WorkerStatus } from "../ops/status.ts";
import type { Look, LoopCommand } from "../ports/messages.ts";
import { VERSION } from "../system/version.ts";
import { WORKER_PROTOCOL } from "../wire/job.ts";
import {
  type FromJoiner,
  JOIN_HEARTBEAT,
  JOIN_PROTOCOL,
  JOIN_SILENCE,
  type JoinedExit,
  type JoinedNews,
  MOST_JOINED_WORKERS,
  readFromJoiner,
  type ServiceTerms,
  type Ticket,
  type ToJoiner,
  writeJoin,
} from "../wire/join.ts";
import type { KeyPair } from "../zmq/curve.ts";
import { JoinedLives } from "./joined_lives.ts";
import { JoinedPool } from "./joined_pool.ts";

/** What `Joiners` work with. */
export interface JoinersParts {
  readonly log: Pick<Log, "warn">;
  readonly events: Pick<Events, "emit">;
  send(command: LoopCommand): void;
  /** A number that no worker of the server has had. */
  nextWorker(): number;
  /** Keys for one worker. */
  makeKeys(): KeyPair;
  /** What workers of each service are bound by, by the services' names. */
  terms(): ReadonlyMap<string, ServiceTerms>;
  /** How things are in the loop. */
  look(now: number): Look;
}

/** What a machine says, as the loop brings it. */
export interface JoinerWord {
  readonly joiner: number;
  /** What it has proved to be called. */
  readonly name: string;
  readonly address: string;
  readonly text: string;
}

/** Pools of one name at a time. */
const MOST_OF_NAME = 4;
/** Time between two looks at workers that are at work, ms. */
const LOOK_INTERVAL = 100;
/** The same for each of the workers, ms: a look tells of all of them. */
const LOOK_INTERVAL_EACH = 2;
/** Looks that are told before something is heard of the pool. */
const MOST_UNHEARD = 30;
/** This thread was held up for so long that nobody could be heard, ms. */
const HELD_UP = 2 * JOIN_HEARTBEAT;
/** Time between two remarks about a joiner that breaks rules, ms. */
const REMARK_INTERVAL = 10_000;

/** The pools that have joined. */
export class Joiners {
  readonly #parts: JoinersParts;
  readonly #pools = new Map<number, JoinedPool>();
  /** The pool of each worker whose end the loop has not told, by its number; one that is gone included. */
  readonly #byWorker = new Map<number, JoinedPool>();
  readonly #lives: JoinedLives;
  #tickedAt: number | undefined;
  #remarkedAt = -Infinity;
  /** When those that are left are given up, as the server stops; undefined: it does not. */
  #endAt: number | undefined;

  /** None has joined yet. */
  constructor(parts: JoinersParts) {
    this.#parts = parts;
    this.#lives = new JoinedLives(parts.events);
  }

  // ---- what they say ----

  /** Hears a machine. */
  said({ joiner, name, address, text }: JoinerWord, now: number): void {
    const said = readFromJoiner(text);
    const pool = this.#pools.get(joiner);
    if (said === undefined) return this.#wrong(name, address, "it says what no joiner says", now);
    if (said.type === "hello") return this.#greet(said, { joiner, name, address }, now);
    if (pool === undefined) return said.type === "bye" ? undefined : this.#tell(joiner, UNKNOWN);
    pool.heardAt = now;
    pool.unheard = 0;
    this.#obey(pool, said, now);
  }

  #greet(
    hello: Extract<FromJoiner, { type: "hello" }>,
    peer: { joiner: number; name: string; address: string },
    now: number,
  ): void {
    const { joiner, name, address } = peer;
    this.#release(joiner, "it starts anew");
    // It tries again where it has no answer when the connection ends.
    if (this.#endAt !== undefined) return;
    const { version } = hello;
    const lasting = this.#lastingRefusal(hello);
    const reason = lasting ?? this.#refusal(name);
    if (reason !== undefined) {
      this.#parts.log.warn("a pool may not join", { host: name, address, version, reason });
      return this.#tell(joiner, { type: "refused", reason, isLasting: lasting !== undefined });
    }
    const pool = new JoinedPool(joiner, name, address, new Set(hello.services), now);
    this.#pools.set(joiner, pool);
    const tickets = hello.services.flatMap((service) =>
      this.#giveTickets(pool, service, hello.tickets)
    );
    const terms = this.#termsFor(pool);
    const said = { host: name, version: VERSION, now: Date.now(), terms, tickets };
    this.#tell(joiner, { type: "welcome", ...said, hearsExits: true });
    const services = hello.services.filter((each) => each !== "").join(",") || undefined;
    this.#parts.events.emit("poolJoined", { host: name, address, version, services });
  }

  /** Why a pool can't join before somebody has changed something; undefined: it can. */
  #lastingRefusal(
    { protocol, workers, version, services }: Extract<FromJoiner, { type: "hello" }>,
  ): string | undefined {
    if (protocol !== JOIN_PROTOCOL || workers !== WORKER_PROTOCOL) {
      return `it is of release ${version}, which speaks version ${protocol}.${workers} of the ` +
        `protocol; this server is of release ${VERSION}, which speaks ` +
        `${JOIN_PROTOCOL}.${WORKER_PROTOCOL}: run the same release on both machines`;
    }
    const known = this.#parts.terms();
    const unknown = services.find((each) => !known.has(each));
    return unknown === undefined
      ? undefined
      : `the server has no ${called(unknown)}${listed(known)}`;
  }

  /** Why a pool can't join now; undefined: it can. */
  #refusal(name: string): string | undefined {
    const others = [...this.#pools.values()].filter((pool) => pool.name === name);
    if (others.length < MOST_OF_NAME) return undefined;
    return `${others.length} pools of the name "${name}" have joined already`;
  }

  #obey(pool: JoinedPool, said: FromJoiner, now: number): void {
    switch (said.type) {
      case "tickets": {
        const { service } = said;
        const tickets = this.#giveTickets(pool, service, said.count);
        return this.#tell(pool.joiner, { type: "tickets", tickets });
      }
      case "started":
        return this.#started(pool, said, now);
      case "retire":
      case "evict":
        if (pool.workers.has(said.worker)) this.#parts.send(said);
        return;
      case "ended":
        return this.#ended(pool, said);
      case "exited":
        return this.#exited(pool, said);
      case "figures":
        return pool.note(said.workers);
      case "bye":
        return this.#release(pool.joiner, "it has left", "left");
    }
  }

  /** Numbers, tokens and keys for workers, which the loop expects before the pool hears of them. */
  #giveTickets(pool: JoinedPool, service: string, wanted: number): Ticket[] {
    const room = MOST_JOINED_WORKERS - pool.workers.size;
    const isWanted = pool.services.has(service) && this.#endAt === undefined;
    const count = isWanted ? Math.max(0, Math.min(wanted, room)) : 0;
    return Array.from({ length: count }, () => {
      const worker = this.#parts.nextWorker();
      const ticket = { worker, service, token: crypto.randomUUID(), ...this.#parts.makeKeys() };
      const { token, publicKey } = ticket;
      pool.enter(worker, service);
      this.#byWorker.set(worker, pool);
      this.#parts.send({ type: "expect", worker, service, token, publicKey, host: pool.name });
      return ticket;
    });
  }

  #started(pool: JoinedPool, { worker, pid }: { worker: number; pid: number }, now: number): void {
    const known = pool.started(worker, pid, now);
    if (known === undefined) return;
    this.#lives.started(pool.joiner, known.service, { worker, pid, host: pool.name });
  }

  /** Workers leave by their own accord where the server has told them to. */
  #exited({ joiner }: JoinedPool, exit: JoinedExit): void {
    const isStopped = exit.reason === "left" && this.#endAt !== undefined;
    this.#lives.ended(joiner, isStopped ? { ...exit, reason: "stopped" } : exit);
  }

  /** A process has ended, and was that of a worker, or a ticket is given back. */
  #ended(
    pool: JoinedPool,
    { worker, end, owesReason }: Extract<FromJoiner, { type: "ended" }>,
  ): void {
    const known = pool.workers.get(worker);
    if (known === undefined) {
      return this.#tell(pool.joiner, { type: "news", news: { type: "departed", worker } });
    }
    if (known.hasEnded) return;
    known.hasEnded = true;
    this.#parts.send({ type: "processEnded", worker, end, owesReason });
  }

  /** A joiner breaks rules; a line for each would fill the log. */
  #wrong(host: string, address: string, reason: string, now: number): void {
    if (now - this.#remarkedAt < REMARK_INTERVAL) return;
    this.#remarkedAt = now;
    this.#parts.log.warn("a pool that has joined is not believed", { host, address, reason });
  }

  #tell(joiner: number, message: ToJoiner): void {
    this.#parts.send({ type: "tellJoiner", joiner, text: writeJoin(message) });
  }

  #termsFor({ services }: JoinedPool): Record<string, ServiceTerms> {
    const known = this.#parts.terms();
    return Object.fromEntries([...services].flatMap((name) => {
      const terms = known.get(name);
      return terms === undefined ? [] : [[name, terms] as const];
    }));
  }

  // ---- what the loop says ----

  /** The connection of a joiner is gone. */
  gone(joiner: number): void {
    this.#release(joiner, "its connection is gone");
  }

  /** All that a pool has, it has lost: no job is to blame for that. */
  #release(joiner: number, reason: string, how: "lost" | "left" = "lost"): void {
    const pool = this.#pools.get(joiner);
    if (pool === undefined) return;
    this.#pools.delete(joiner);
    for (const worker of pool.workers.values()) {
      if (worker.hasEnded) continue;
      worker.hasEnded = true;
      const { worker: number } = worker;
      const end = "vanished";
      this.#parts.send({ type: "processEnded", worker: number, end, owesReason: false });
    }
    const { name: host, address, used: workers } = pool;
    const lost = how === "lost" && this.#endAt === undefined;
    this.#parts.events.emit("poolLeft", { host, address, workers, reason, lost });
    this.#lives.lost(joiner);
  }

  /** Passes on what the loop says of a worker; false: it is none of a joined pool's. */
  hear(news: JoinedNews): boolean {
    const { worker } = news;
    const pool = this.#byWorker.get(worker);
    if (pool === undefined) return false;
    const now = performance.now();
    if (news.type === "ready") {
      pool.becameReady(worker, now);
      this.#lives.ready(worker);
    }
    if (news.type === "departed") {
      this.#lives.departed(worker, now);
      pool.workers.delete(worker);
      this.#byWorker.delete(worker);
    }
    if (this.#pools.get(pool.joiner) === pool) this.#tell(pool.joiner, { type: "news", news });
    return true;
  }

  // ---- what operators ask and say ----

  /** The service and the machine of a worker; undefined: it is none of a joined pool's. */
  placeOf(worker: number): { service: string; host: string } | undefined {
    const pool = this.#byWorker.get(worker);
    const service = pool?.workers.get(worker)?.service;
    return pool === undefined || service === undefined ? undefined : { service, host: pool.name };
  }

  /** Whether there is a worker of a joined pool. */
  get hasWorkers(): boolean {
    return this.#byWorker.size > 0;
  }

  /** Each worker process, with all that is known of it here. */
  describe(look: Look, now: number): WorkerStatus[] {
    const pools = new Set(this.#byWorker.values());
    return [...pools].flatMap((pool) => pool.describe(look, now));
  }

  /** Each worker process of a service, of all if none is named, as `server.stats()` has it. */
  stats(look: Look, now: number, service?: string): WorkerStats[] {
    return this.describe(look, now)
      .filter((each) => service === undefined || each.service === service)
      .map(({ worker, pid, state, jobs, answered, host = "", service }) => ({
        ...{ worker, pid, state, jobs, answered, host },
        ...service === "" ? {} : { service },
      }));
  }

  /** Has a worker leave, or killed; false: it is none of a joined pool's. */
  dismiss(worker: number, how: "stop" | "kill"): boolean {
    const pool = this.#byWorker.get(worker);
    if (pool === undefined) return false;
    this.#tell(pool.joiner, { type: "dismiss", worker, how });
    return true;
  }

  /** Lets these machines join from now on, by other terms; pools of others have left. */
  configure(names: ClientList): void {
    this.#parts.send({ type: "joinable", names });
    const known = new Set(names.values());
    for (const [joiner, pool] of [...this.#pools]) {
      if (known.has(pool.name)) {
        this.#tell(joiner, { type: "terms", terms: this.#termsFor(pool) });
        continue;
      }
      const reason = `"${pool.name}" is not on the list of machines any more`;
      this.#release(joiner, reason);
      this.#tell(joiner, { type: "refused", reason, isLasting: true });
    }
  }

  /** Has all workers finish and leave, within `timeout` ms, as the server stops. */
  stop(timeout: number, now: number): void {
    this.#endAt ??= now + timeout;
    for (const { joiner, workers } of this.#pools.values()) {
      this.#tell(joiner, { type: "stopping" });
      for (const worker of workers.keys()) this.#parts.send({ type: "retire", worker });
    }
  }

  /** The server has ended: all workers are given up. */
  close(): void {
    this.#lives.close();
  }

  // ---- what is due ----

  /** Tells how things are, and gives up those of whom nothing is heard; returns ms until it must run again. */
  tick(now: number): number {
    const explained = this.#lives.tick(now);
    if (this.#pools.size === 0) {
      this.#tickedAt = undefined;
      return explained;
    }
    const held = Math.max(0, now - (this.#tickedAt ?? now) - HELD_UP);
    this.#tickedAt = now;
    let wait = Math.min(JOIN_HEARTBEAT, explained);
    for (const pool of [...this.#pools.values()]) {
      if (held > 0) pool.heardAt = now;
      wait = Math.min(wait, this.#tickPool(pool, now));
    }
    return wait;
  }

  #tickPool(pool: JoinedPool, now: number): number {
    const { joiner, workers } = pool;
    if (now - pool.heardAt > JOIN_SILENCE || now >= (this.#endAt ?? Infinity)) {
      const silent = `nothing was heard of it for ${Math.round(now - pool.heardAt)} ms`;
      this.#release(joiner, this.#endAt === undefined ? silent : "the server ends");
      this.#tell(joiner, UNKNOWN);
      return Infinity;
    }
    const look = this.#parts.look(now);
    const isAtWork = [...workers.keys()].some((each) => (look.workers.get(each)?.jobs ?? 0) > 0);
    const busy = Math.max(LOOK_INTERVAL, LOOK_INTERVAL_EACH * workers.size);
    const interval = isAtWork || pool.isChanged ? busy : JOIN_HEARTBEAT;
    const wait = pool.lookedAt + interval - now;
    const silentAt = pool.heardAt + JOIN_SILENCE + 1 - now;
    if (wait > 0) return Math.min(wait, silentAt);
    pool.lookedAt = now;
    // A slow way must not have ever more under way.
    if (pool.unheard++ >= MOST_UNHEARD) return Math.min(interval, silentAt);
    // The last one of a busy time shows that it is over.
    pool.isChanged = isAtWork;
    this.#tell(joiner, pool.lookAt(look, now));
    return Math.min(interval, silentAt);
  }
}

const UNKNOWN: ToJoiner = { type: "unknown" };

function called(service: string): string {
  return service === "" ? "service without a name" : `service "${service}"`;
}

function listed(known: ReadonlyMap<string, unknown>): string {
  const names = [...known.keys()].filter((name) => name !== "");
  return names.length === 0 ? "" : `: it has ${names.join(", ")}, see --join-service`;
}
