/**
 * The lives of workers of pools on other machines, told as events like those of the server's own: each is started, may
 * become ready, and has ended, once and in this order, whatever its pool says and whenever its words come.
 *
 * @module
 */

import type { Events, OneWorker, WorkerExit } from "../ops/events.ts";
import { isPlanned } from "../wire/exit_reasons.ts";
import type { JoinedExit } from "../wire/join.ts";

/** A pool says so soon how a worker has ended of which nothing more comes, ms; it may be held up. */
const EXPLAINED_WITHIN = 30_000;

/** started ─→ ready ─→ ended: told, and all that is awaited is that it departs */
interface Life {
  readonly joiner: number;
  readonly worker: OneWorker;
  state: "started" | "ready" | "ended";
  /** Since when nothing more comes of its process, ms; undefined: something may. */
  departedAt: number | undefined;
}

const UNKNOWN_END = { code: -1, signal: null };

/** The workers whose start was told, until their end was told and they have departed. */
export class JoinedLives {
  readonly #events: Pick<Events, "emit">;
  readonly #lives = new Map<number, Life>();
  /** Workers that were ready before their pool has said that they were started. */
  readonly #early = new Set<number>();

  constructor(events: Pick<Events, "emit">) {
    this.#events = events;
  }

  /** A pool has started a worker's process. */
  started(joiner: number, service: string, worker: Omit<OneWorker, "service">): void {
    const { worker: number } = worker;
    if (this.#lives.has(number)) return;
    const one = service === "" ? worker : { ...worker, service };
    this.#lives.set(number, { joiner, worker: one, state: "started", departedAt: undefined });
    this.#events.emit("workerSpawned", { ...one, purpose: "serve" });
    if (this.#early.delete(number)) this.ready(number);
  }

  /** A worker takes jobs. */
  ready(worker: number): void {
    const life = this.#lives.get(worker);
    if (life === undefined) return void this.#early.add(worker);
    if (life.state !== "started") return;
    life.state = "ready";
    this.#events.emit("workerReady", life.worker);
  }

  /** A pool has said how a worker has ended. */
  ended(joiner: number, { worker, code, signal, reason }: JoinedExit): void {
    const life = this.#lives.get(worker);
    if (life?.joiner !== joiner || life.state === "ended") return;
    this.#end(life, { code, signal, reason, expected: isPlanned(reason) });
  }

  /** Nothing more comes of a worker's process; its pool says how it has ended, or has said so. */
  departed(worker: number, now: number): void {
    this.#early.delete(worker);
    const life = this.#lives.get(worker);
    if (life === undefined) return;
    life.departedAt = now;
    if (life.state === "ended") this.#lives.delete(worker);
  }

  /** Nobody will say anything more of a pool's workers. */
  lost(joiner: number): void {
    for (const life of this.#lives.values()) if (life.joiner === joiner) this.#lose(life);
  }

  /** The server has ended, and given up all that are left. */
  close(): void {
    for (const life of this.#lives.values()) {
      if (life.state !== "ended") {
        this.#end(life, { ...UNKNOWN_END, reason: "stopped", expected: true });
      }
    }
  }

  /** Gives up those of which their pool does not say how they have ended; returns ms until it must run again. */
  tick(now: number): number {
    let wait = Infinity;
    for (const life of this.#lives.values()) {
      const due = (life.departedAt ?? Infinity) + EXPLAINED_WITHIN - now;
      if (due <= 0) this.#lose(life);
      else wait = Math.min(wait, due);
    }
    return wait;
  }

  #lose(life: Life): void {
    if (life.state === "ended") return;
    this.#end(life, { ...UNKNOWN_END, reason: "lost", expected: false });
  }

  #end(life: Life, end: Pick<WorkerExit, "code" | "signal" | "reason" | "expected">): void {
    life.state = "ended";
    if (life.departedAt !== undefined) this.#lives.delete(life.worker.worker);
    this.#events.emit("workerExited", { ...life.worker, ...end });
  }
}
