/**
 * A pool on another machine, as the server knows it: its tickets, its workers, and how they are. Decides nothing.
 *
 * @module
 */

import type { WorkerStatus } from "../ops/status.ts";
import type { Look, WorkerLook } from "../ports/messages.ts";
import type { JoinedFigures, JoinedLook, ToJoiner } from "../wire/join.ts";

/** A worker process of such a pool. */
interface JoinedWorker {
  readonly worker: number;
  readonly service: string;
  /** When its process was started, as far as is known, ms; undefined: its ticket was not used yet. */
  startedAt: number | undefined;
  /** 0: that is not known yet. */
  pid: number;
  isReady: boolean;
  /** The loop was told that its process has ended. */
  hasEnded: boolean;
  /** What its own machine said of it last. */
  figures: JoinedFigures | undefined;
}

const NOTHING: Partial<WorkerLook> = {};

/** A pool that has joined. */
export class JoinedPool {
  /** The number of its connection. */
  readonly joiner: number;
  /** What its machine is called on the list. */
  readonly name: string;
  readonly address: string;
  readonly services: ReadonlySet<string>;
  /** Those whose end the loop has not told, and tickets that were not used. */
  readonly workers = new Map<number, JoinedWorker>();
  /** When something was last heard of it, and when it was last told how its workers are, ms. */
  heardAt: number;
  lookedAt = -Infinity;
  /** How often it was told that since something was heard of it. */
  unheard = 0;
  /** Whether its workers have been at work since. */
  isChanged = false;

  /** Has no workers yet. */
  constructor(
    joiner: number,
    name: string,
    address: string,
    services: ReadonlySet<string>,
    now: number,
  ) {
    this.joiner = joiner;
    this.name = name;
    this.address = address;
    this.services = services;
    this.heardAt = now;
  }

  /** A ticket was given. */
  enter(worker: number, service: string): void {
    const life = { startedAt: undefined, isReady: false, hasEnded: false, figures: undefined };
    this.workers.set(worker, { worker, service, pid: 0, ...life });
  }

  /** A process was started with a ticket; undefined: not with one of its own. */
  started(worker: number, pid: number, now: number): JoinedWorker | undefined {
    const known = this.workers.get(worker);
    if (known === undefined || known.hasEnded) return undefined;
    known.pid = pid;
    known.startedAt ??= now;
    return known;
  }

  /** A worker is in service. */
  becameReady(worker: number, now: number): void {
    const known = this.workers.get(worker);
    if (known === undefined) return;
    known.startedAt ??= now;
    known.isReady = true;
    this.isChanged = true;
  }

  /** How many processes there are. */
  get used(): number {
    return [...this.workers.values()].filter(({ startedAt }) => startedAt !== undefined).length;
  }

  /** Takes note of what its machine says of its processes. */
  note(figures: readonly JoinedFigures[]): void {
    for (const each of figures) {
      const known = this.workers.get(each.worker);
      if (known !== undefined) known.figures = each;
    }
  }

  /** Each worker, as operators see it. */
  describe(look: Look, now: number): WorkerStatus[] {
    return [...this.workers.values()].flatMap((known) => {
      if (known.startedAt === undefined) return [];
      const { worker, service, pid, figures } = known;
      const { jobs = 0, answered = 0, firstJob, firstJobAt } = look.workers.get(worker) ?? NOTHING;
      const { residentBytes, cpuMs, generation = 1, restarts = 0 } = figures ?? {};
      const ageMs = figures?.ageMs ?? Math.round(now - known.startedAt);
      const jobMs = firstJobAt === undefined
        ? undefined
        : Math.max(0, Math.round(now - firstJobAt));
      return [{
        ...{ worker, pid, service, state: stateOf(known, jobs), jobs, answered, ageMs },
        ...{ residentBytes, cpuMs, job: firstJob, jobMs, generation, restarts },
        host: this.name,
      }];
    });
  }

  /** What it is told of its workers. */
  lookAt(look: Look, now: number): ToJoiner {
    const workers = [...this.workers.keys()].flatMap((worker) => {
      const seen = look.workers.get(worker);
      return seen === undefined ? [] : [lookOf(worker, seen, now)];
    });
    const services = [...this.services].flatMap((name) => {
      const { lastJobAt = 0 } = look.services.get(name) ?? {};
      return lastJobAt === 0 ? [] : [[name, Math.max(0, now - lastJobAt)] as const];
    });
    return { type: "look", workers, services: Object.fromEntries(services) };
  }
}

function stateOf(
  { isReady, hasEnded, figures }: JoinedWorker,
  jobs: number,
): WorkerStatus["state"] {
  if (hasEnded || figures?.state === "stopping") return "stopping";
  if (!isReady) return "starting";
  return jobs > 0 ? "busy" : "idle";
}

function lookOf(
  worker: number,
  { jobs, answered, firstJob, firstJobAt, spareSince }: WorkerLook,
  now: number,
): JoinedLook {
  const passed = (at: number | undefined) => at === undefined ? undefined : Math.max(0, now - at);
  const [firstJobMs, spareMs] = [passed(firstJobAt), passed(spareSince)];
  return { worker, jobs, answered, firstJob, firstJobMs, spareMs };
}
