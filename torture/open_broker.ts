/**
 * A broker in this process whose tokens, workers and log are the scenario's, so that one of its workers
 * can say what it must not.
 *
 * @module
 */

import { servicesOf } from "../ops/loop_options.ts";
import { resolveOptions } from "../options/resolve.ts";
import { BrokerLoop } from "../ports/loop.ts";
import type { LoopEvent } from "../ports/messages.ts";
import { Peer } from "../tests/rig/peer.ts";
import { bytes } from "../tests/rig/text.ts";
import { until } from "../tests/rig/wait.ts";
import { FromBroker, FromWorker, JobReader, REPLY_BYTES, writeReply } from "../wire/job.ts";
import { Code } from "../wire/request.ts";
import { locateLibrary } from "../zmq/locate.ts";

type Frame = Uint8Array<ArrayBuffer>;
type Random = (below: number) => number;

/** A line of the broker's log. */
export interface Report {
  /** When it was written, ms. */
  at: number;
  message: string;
  /** What happened so often. */
  count: number;
}

/** A frame of a worker: its type, and what follows. */
export function typed(type: number, rest: Uint8Array): Frame {
  return new Uint8Array([type, ...rest]);
}

/** The header of a reply. */
export function reply(job: number, code: number, frames: number): Frame {
  const frame = new Uint8Array(REPLY_BYTES);
  writeReply(new DataView(frame.buffer), { job, code, micros: 1, frames });
  return frame;
}

/** A worker that the scenario plays. */
export interface PlayedWorker extends AsyncDisposable {
  /** Does its jobs; called now and then. */
  turn(): void;
  /** One of its jobs, old or new; or one that no worker has. */
  someJob(random: Random): number;
}

/** How workers are played: what they speak, and one that has shown its token. */
export interface Play<W extends PlayedWorker> {
  readonly lane: "records" | "zmq";
  start(backend: string, token: string): W;
}

/** A worker that echoes whatever job it is given. */
export class Echo implements PlayedWorker {
  readonly peer: Peer;
  /** Jobs that it has answered, or will in the next turn. */
  readonly #seen: number[] = [];
  readonly #reader = new JobReader();
  #taken: { job: number; body: Frame[] }[] = [];

  constructor(backend: string, token: string) {
    this.peer = new Peer(backend);
    this.peer.send(typed(FromWorker.READY, bytes(token)));
  }

  /** Answers what came before the last turn: so there is always something to answer in its stead. */
  turn(): void {
    for (const { job, body } of this.#taken) {
      this.peer.send(reply(job, Code.ok, body.length), ...body);
    }
    this.#taken = [];
    for (let message = this.peer.take(); message !== undefined; message = this.peer.take()) {
      while (message[0]?.[0] === FromBroker.JOB) {
        const [header, ...rest] = message;
        this.#reader.bytes.set(header);
        const { job, frames } = this.#reader.read(header.length);
        this.#taken.push({ job, body: rest.slice(0, frames) });
        this.#seen.push(job);
        message = rest.slice(frames);
      }
    }
  }

  /** One of its jobs, old or new; or one that no worker has. */
  someJob(random: Random): number {
    return someOf(this.#seen, random);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.peer[Symbol.asyncDispose]();
  }
}

/** Workers that speak ZeroMQ. */
export const ECHO: Play<Echo> = {
  lane: "zmq",
  start: (backend, token) => new Echo(backend, token),
};

/** One of these jobs, or one that no worker has. */
export function someOf(jobs: readonly number[], random: Random): number {
  const some = random(3);
  if (some === 0) return 2 ** 40 + random(1000);
  const [last = 0] = jobs.slice(-1);
  return some === 1 ? last : jobs[random(Math.max(1, jobs.length))] ?? 0;
}

/** A broker whose tokens, workers and log are the scenario's. */
export class OpenBroker<W extends PlayedWorker> {
  readonly loop: BrokerLoop;
  readonly reports: Report[] = [];
  /** Workers that were taken for gone. */
  lost = 0;
  /** Workers that are not ready yet. */
  readonly #expected = new Set<number>();
  readonly #play: Play<W>;
  readonly #echoes: W[] = [];
  readonly #ended: Promise<void>;
  #workers = 0;
  #timer: ReturnType<typeof setInterval>;

  constructor(backend: string, play: Play<W>) {
    this.#play = play;
    const settings = resolveOptions({ backend, frontend: "tcp://127.0.0.1:0" }, {
      cpus: 1,
      cwd: Deno.cwd,
    });
    const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
    const listener = (event: LoopEvent) => this.#hear(event);
    this.loop = new BrokerLoop(library, {
      ...settings,
      services: servicesOf(settings),
      backend,
      lane: play.lane,
    }, listener);
    this.#ended = this.loop.run();
    this.#timer = setInterval(() => this.#echoes.forEach((echo) => echo.turn()), 1);
  }

  get endpoint(): string {
    return this.loop.frontend[0] ?? "";
  }

  /** Messages that were counted as no worker's, or as replies to no job of the sender. */
  get wrongs(): number {
    const { intruders, strayReplies } = this.loop.look().counters;
    return intruders + strayReplies;
  }

  /** Brings a worker that is ready. */
  async worker(token: string): Promise<W> {
    const worker = ++this.#workers;
    this.#expected.add(worker);
    this.loop.send({ type: "expect", service: "", worker, token, publicKey: undefined });
    const echo = this.#play.start(this.loop.backend, token);
    this.#echoes.push(echo);
    await until("the worker is admitted", () => !this.#expected.has(worker));
    return echo;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.loop.send({ type: "stop" });
    await this.#ended;
    await this.loop.close(0);
    for (const echo of this.#echoes) await echo[Symbol.asyncDispose]();
  }

  #killed(worker: number): void {
    this.loop.send({ type: "processEnded", worker, end: "outside", owesReason: false });
  }

  #hear(event: LoopEvent): void {
    if (event.type === "ready") this.#expected.delete(event.worker);
    if (event.type === "log") {
      const { message, fields } = event;
      this.reports.push({ at: performance.now(), message, count: Number(fields?.count ?? 0) });
    }
    if (TAKEN_FOR_GONE.has(event.type)) this.lost++;
    // A server would kill its process now.
    if (event.type === "lost") queueMicrotask(() => this.#killed(event.worker));
  }
}

const TAKEN_FOR_GONE: ReadonlySet<LoopEvent["type"]> = new Set([
  "leaving",
  "lost",
  "overran",
  "isolated",
]);
