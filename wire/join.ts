/**
 * What a server and a pool of workers on another machine say to each other, beside what each of the workers says
 * itself (job.ts). Two frames over the connection of the joining process to `joinEndpoint`, which is a DEALER's to a
 * ROUTER. Parses and builds; no I/O.
 *
 * ```text
 * joiner → server   [u8 40] [JSON of FromJoiner]     at most 65,536 bytes
 * server → joiner   [u8 41] [JSON of ToJoiner]
 * ```
 *
 * HELLO comes first and is answered WELCOME or REFUSED. Numbers of workers are the server's: each comes as a ticket
 * with its token and its keys, and is used for one process. The server expects that worker from then on: what the worker
 * says may come sooner than what is said here. Times are ms: "…Ms" is how long ago.
 *
 * @module
 */

import { type ExitReason, isExitReason } from "./exit_reasons.ts";
import { isRecord } from "./json_object.ts";
import { isServiceName } from "./service_name.ts";

/** The first byte of what a joiner says, and of what it is told. */
export const JOINER_SAYS = 40;
export const TO_JOINER = 41;

/** The version of this protocol; one that differs is refused. */
export const JOIN_PROTOCOL = 1;

/** Maximum bytes of the JSON that a joiner may send. */
export const MOST_JOIN_BYTES = 65_536;
/** Maximum workers of one joiner, those that start and end and unused tickets included. */
export const MOST_JOINED_WORKERS = 256;
/** Maximum tickets for a service that are asked for at once. */
export const MOST_TICKETS = 64;
/** Maximum services that one joiner serves. */
export const MOST_JOINED_SERVICES = 64;

/** Silence after which a connection ends, as libzmq's threads see it: the machine or the network is gone, ms. */
export const JOIN_TIMEOUT = 5000;
/** Time between two signs of life, ms. */
export const JOIN_HEARTBEAT = 1000;
/** Time after which a side is given up that lives and says nothing: its program may be held up for a while, ms. */
export const JOIN_SILENCE = 30_000;

/** What one worker process is started with: its number, its token, and its CURVE keys. */
export interface Ticket {
  readonly worker: number;
  readonly service: string;
  readonly token: string;
  readonly publicKey: string;
  readonly secretKey: string;
}

/** What workers of a service are bound by: the server's options. */
export interface ServiceTerms {
  readonly concurrency: number;
  readonly maxMessageSize: number;
  readonly maxFrames: number;
}

/** How a process is, as its own machine sees it. */
export interface JoinedFigures {
  readonly worker: number;
  readonly state: JoinedState;
  readonly ageMs: number;
  readonly residentBytes: number | undefined;
  readonly cpuMs: number | undefined;
  readonly generation: number;
  readonly restarts: number;
}

/** What a worker process does. */
export type JoinedState = "starting" | "idle" | "busy" | "stopping" | "dequeue";

/** How a worker's process has ended. */
export interface JoinedExit {
  readonly worker: number;
  readonly code: number;
  readonly signal: string | null;
  readonly reason: ExitReason;
}

/** What a joiner says. */
export type FromJoiner =
  /** First of all. `workers`: the version of what workers say; `version`: of this package; `tickets`: for each service. */
  | {
    readonly type: "hello";
    readonly protocol: number;
    readonly workers: string;
    readonly version: string;
    readonly services: readonly string[];
    readonly tickets: number;
  }
  /** So many more tickets are wanted. */
  | { readonly type: "tickets"; readonly service: string; readonly count: number }
  /** A process was started with the ticket of this number. */
  | { readonly type: "started"; readonly worker: number; readonly pid: number }
  /** As the loop's commands of these names. */
  | { readonly type: "retire" | "evict"; readonly worker: number }
  /** A process has ended, or the ticket is not used after all. */
  | {
    readonly type: "ended";
    readonly worker: number;
    readonly end: "itself" | "outside";
    readonly owesReason: boolean;
  }
  /** After it was told that a worker has departed: how that has ended, and why. Said to servers that hear it. */
  | JoinedExit & { readonly type: "exited" }
  /** Each `JOIN_HEARTBEAT`: it lives, and its processes are these. */
  | { readonly type: "figures"; readonly workers: readonly JoinedFigures[] }
  /** It leaves: all of its processes have ended. */
  | { readonly type: "bye" };

/** What the server knows of a worker in service: `WorkerLook`, with times that have passed. */
export interface JoinedLook {
  readonly worker: number;
  readonly jobs: number;
  readonly answered: number;
  readonly firstJob: number | undefined;
  readonly firstJobMs: number | undefined;
  readonly spareMs: number | undefined;
}

/** What the server's loop says of a joiner's worker. */
export type JoinedNews =
  | { readonly type: SimpleNews; readonly worker: number }
  | { readonly type: "failed"; readonly worker: number; readonly message: string }
  | { readonly type: "memory"; readonly worker: number; readonly bytes: number };

/** News that have nothing but the worker's number. */
export type SimpleNews =
  | "loaded"
  | "ready"
  | "leaving"
  | "left"
  | "lost"
  | "diedBusy"
  | "departed"
  | "overran"
  | "isolated";

/** What a joiner is told. */
export type ToJoiner =
  | {
    readonly type: "welcome";
    /** What the server calls this machine. */
    readonly host: string;
    readonly version: string;
    /** By its clock, ms since 1970: deadlines of requests are. */
    readonly now: number;
    readonly terms: Readonly<Record<string, ServiceTerms>>;
    readonly tickets: readonly Ticket[];
    /** Whether it hears `exited`: 0.8.0 and older do not. */
    readonly hearsExits?: boolean;
  }
  /** It can't join, and why; `isLasting`: not before somebody has changed something. */
  | { readonly type: "refused"; readonly reason: string; readonly isLasting: boolean }
  | { readonly type: "tickets"; readonly tickets: readonly Ticket[] }
  | { readonly type: "news"; readonly news: JoinedNews }
  /** At least each `JOIN_HEARTBEAT`: how busy its workers are, and when jobs were given last. */
  | {
    readonly type: "look";
    readonly workers: readonly JoinedLook[];
    readonly services: Readonly<Record<string, number>>;
  }
  /** Services are bound otherwise from now on. */
  | { readonly type: "terms"; readonly terms: Readonly<Record<string, ServiceTerms>> }
  /** An operator wants a worker to leave, or killed. */
  | { readonly type: "dismiss"; readonly worker: number; readonly how: "stop" | "kill" }
  /** The server stops: start nothing more. */
  | { readonly type: "stopping" }
  /** The server knows nothing of this joiner, or not any more: say hello. */
  | { readonly type: "unknown" };

/** A message of either side as text. */
export function writeJoin(message: FromJoiner | ToJoiner): string {
  return JSON.stringify(message);
}

/** What a joiner has said; undefined: none says that. The joiner may be hostile. */
export function readFromJoiner(text: string): FromJoiner | undefined {
  const said = parseRecord(text);
  if (said === undefined) return undefined;
  const { type, worker } = said;
  switch (type) {
    case "hello":
      return readHello(said);
    case "tickets":
      return isText(said.service) && isCount(said.count, MOST_TICKETS)
        ? { type, service: said.service, count: said.count }
        : undefined;
    case "started":
      return isNumber(worker) && isNumber(said.pid) ? { type, worker, pid: said.pid } : undefined;
    case "retire":
    case "evict":
      return isNumber(worker) ? { type, worker } : undefined;
    case "ended": {
      const { end, owesReason } = said;
      const isRight = isNumber(worker) && (end === "itself" || end === "outside");
      return isRight ? { type, worker, end, owesReason: owesReason === true } : undefined;
    }
    case "exited":
      return readExit(said);
    case "figures":
      return readFigures(said.workers);
    case "bye":
      return { type };
  }
  return undefined;
}

function readExit({ worker, code, signal, reason }: Fields): FromJoiner | undefined {
  const isRight = isNumber(worker) && isNumber(code) && (signal === null || isShort(signal));
  if (!isRight || !isExitReason(reason)) return undefined;
  return { type: "exited", worker, code, signal, reason };
}

function readHello({ protocol, workers, version, services, tickets }: Fields) {
  const isRight = isNumber(protocol) && isShort(workers) && isShort(version) &&
    isCount(tickets, MOST_TICKETS);
  if (!isRight || !Array.isArray(services) || services.length > MOST_JOINED_SERVICES) return;
  if (!services.every((name) => name === "" || isText(name) && isServiceName(name))) return;
  const names = services.filter(isText);
  return { type: "hello", protocol, workers, version, services: names, tickets } as const;
}

function readFigures(workers: unknown): FromJoiner | undefined {
  if (!Array.isArray(workers) || workers.length > MOST_JOINED_WORKERS) return undefined;
  const figures = workers.flatMap((each) => figuresOf(each) ?? []);
  return figures.length === workers.length ? { type: "figures", workers: figures } : undefined;
}

function figuresOf(given: unknown): JoinedFigures | undefined {
  if (!isRecord(given)) return undefined;
  const { worker, state, ageMs, residentBytes, cpuMs, generation, restarts } = given;
  const isRight = isNumber(worker) && isState(state) && isNumber(ageMs) &&
    isOptional(residentBytes) && isOptional(cpuMs) && isNumber(generation) && isNumber(restarts);
  return isRight ? { worker, state, ageMs, residentBytes, cpuMs, generation, restarts } : undefined;
}

const STATES = ["starting", "idle", "busy", "stopping", "dequeue"];

function isState(value: unknown): value is JoinedState {
  return isText(value) && STATES.includes(value);
}

/** What the server has said; undefined: this version knows no such word. */
export function readToJoiner(text: string): ToJoiner | undefined {
  const said = parseRecord(text);
  if (said === undefined) return undefined;
  return isToJoiner(said) ? said : undefined;
}

function isToJoiner(said: Fields): said is Fields & ToJoiner {
  switch (said.type) {
    case "welcome":
      return isText(said.host) && isText(said.version) && isNumber(said.now) &&
        areTerms(said.terms) && areTickets(said.tickets) &&
        (said.hearsExits === undefined || typeof said.hearsExits === "boolean");
    case "refused":
      return isText(said.reason) && typeof said.isLasting === "boolean";
    case "tickets":
      return areTickets(said.tickets);
    case "news":
      return isRecord(said.news) && isNews(said.news);
    case "look":
      return Array.isArray(said.workers) && said.workers.every(isLook) && isRecord(said.services) &&
        Object.values(said.services).every(isNumber);
    case "terms":
      return areTerms(said.terms);
    case "dismiss":
      return isNumber(said.worker) && (said.how === "stop" || said.how === "kill");
    case "stopping":
    case "unknown":
      return true;
  }
  return false;
}

function areTerms(value: unknown): boolean {
  return isRecord(value) &&
    Object.values(value).every((each) =>
      isRecord(each) && isNumber(each.concurrency) && isNumber(each.maxMessageSize) &&
      isNumber(each.maxFrames)
    );
}

function areTickets(value: unknown): boolean {
  return Array.isArray(value) &&
    value.every((each) =>
      isRecord(each) && isNumber(each.worker) && isText(each.service) && isText(each.token) &&
      isText(each.publicKey) && isText(each.secretKey)
    );
}

const SIMPLE_NEWS: ReadonlySet<unknown> = new Set<SimpleNews>([
  "loaded",
  "ready",
  "leaving",
  "left",
  "lost",
  "diedBusy",
  "departed",
  "overran",
  "isolated",
]);

function isNews({ type, worker, message, bytes }: Fields): boolean {
  if (!isNumber(worker)) return false;
  if (type === "failed") return isText(message);
  return type === "memory" ? isNumber(bytes) : SIMPLE_NEWS.has(type);
}

function isLook(value: unknown): boolean {
  return isRecord(value) && isNumber(value.worker) && isNumber(value.jobs) &&
    isNumber(value.answered) && isOptional(value.firstJob) && isOptional(value.firstJobMs) &&
    isOptional(value.spareMs);
}

type Fields = Record<string, unknown>;

function parseRecord(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}

/** A text for a log line. */
function isShort(value: unknown): value is string {
  return isText(value) && value.length <= 64;
}

/** A number that counts or measures something. */
function isNumber(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

function isCount(value: unknown, most: number): value is number {
  return isNumber(value) && Number.isInteger(value) && value <= most;
}

function isOptional(value: unknown): value is number | undefined {
  return value === undefined || isNumber(value);
}
