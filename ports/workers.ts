/**
 * The life of workers as the loop sees it: from the token that a new one shows until its process has ended
 * and all that it said was read. Reads and sends nothing itself.
 *
 * @module
 */

import type { AccessControl } from "../auth/access_control.ts";
import type { JoinAccess } from "../auth/join_access.ts";
import type { End } from "../broker/inquest.ts";
import type { Worker } from "../broker/job.ts";
import { LogQuota } from "../wire/log_quota.ts";
import { Code } from "../wire/request.ts";
import { traceIdOf } from "../wire/trace.ts";
import type { Lane, WorkerLine } from "./lane.ts";
import { type EventQueue, serviceField } from "./event_queue.ts";
import type { Body } from "./body.ts";
import type { NewProcess, WorkerLook } from "./messages.ts";
import { Processes } from "./processes.ts";
import type { Questions } from "./questions.ts";
import type { Services } from "./services.ts";
import type { Unit } from "./unit.ts";

/** Of a worker that has nothing. */
const NO_JOB = { id: undefined, sentAt: undefined };
/** What each worker may log in a second. */
const LOG_LIMITS = { lines: 5000, bytes: 4 * 1024 ** 2 };

/** What `Workers` works with. */
export interface WorkerGround {
  services: Services;
  lane: Lane;
  events: EventQueue;
  /** What they have asked. */
  questions: Pick<Questions, "gone">;
  /** Learns the keys of workers; undefined: they need none. */
  access: AccessControl | undefined;
  /** The same of workers on other machines; undefined: there are none. */
  joinAccess: JoinAccess | undefined;
}

/** Workers, from the start of their processes to the end. */
export class Workers {
  readonly #services: Services;
  readonly #lane: Lane;
  readonly #events: EventQueue;
  readonly #questions: WorkerGround["questions"];
  readonly #access: AccessControl | undefined;
  readonly #joinAccess: JoinAccess | undefined;
  readonly #processes = new Processes();
  /** Workers in service, by the pool's numbers. */
  readonly #workers = new Map<number, Worker<Body>>();
  readonly #lines = new LogQuota(LOG_LIMITS);
  /** Workers that were given up because they had lost a job. */
  lostJobs = 0;

  /** Knows no worker yet. */
  constructor({ services, lane, events, questions, access, joinAccess }: WorkerGround) {
    this.#services = services;
    this.#lane = lane;
    this.#events = events;
    this.#questions = questions;
    this.#access = access;
    this.#joinAccess = joinAccess;
  }

  /** The state of each worker in service. */
  look(now: number): Map<number, WorkerLook> {
    const looks = new Map<number, WorkerLook>();
    for (const { broker } of this.#services.all) {
      for (const worker of broker.workers) {
        // Those of Majordomo are no processes of the server's.
        if (worker.id < 0) continue;
        const { id, jobs, answered } = worker;
        const { id: firstJob, sentAt: firstJobAt } = jobs.first ?? NO_JOB;
        const spareSince = broker.spareSince(worker, now);
        looks.set(id, { jobs: jobs.size, firstJob, firstJobAt, answered, spareSince });
      }
    }
    return looks;
  }

  // ---- what the server says ----

  /**
   * A process was started.
   *
   * @throws {RangeError} when there is no such service.
   */
  expect(process: NewProcess & { service: string; host?: string }): void {
    const { worker, service, token, publicKey, pid, host } = process;
    if (this.#services.named(service) === undefined) {
      throw new RangeError(
        `Cannot expect a worker: no service is named ${JSON.stringify(service)}`,
      );
    }
    this.#processes.expect({ worker, service, token, publicKey, pid });
    if (publicKey === undefined) return;
    if (host === undefined) this.#access?.addWorker(publicKey);
    else this.#joinAccess?.addWorker(publicKey, host);
  }

  /** Lets a worker finish what it has, and leave; one that is not ready yet will get nothing. */
  retire(number: number): void {
    const worker = this.#workers.get(number);
    if (worker === undefined) return this.#processes.refuse(number);
    this.#retire(worker);
    this.#lane.stop(worker);
  }

  /** The place of an isolated worker is needed: it is to be ended now. */
  evict(number: number): void {
    const worker = this.#workers.get(number);
    if (worker !== undefined) this.#services.of(worker).broker.workforce.endIsolated(worker);
  }

  /** A process has ended; what it said before may still be to be read. */
  processEnded(number: number, end: End, owesReason: boolean, now: number): void {
    const worker = this.#workers.get(number);
    this.#unitOf(number)?.broker.workforce.processEnded(number, worker, end, now);
    this.#processes.ended(number, owesReason, now);
  }

  // ---- what workers say ----

  /** Whether a token is that of a worker that starts. */
  expects(token: string, pid?: number): boolean {
    return this.#processes.workerOf(token, pid) !== undefined;
  }

  /** Puts the worker into service whose token a peer shows; undefined: the token is not a worker's. */
  admit(token: string, now: number, pid?: number): Worker<Body> | undefined {
    const number = this.#processes.take(token, pid);
    if (number === undefined) return undefined;
    const worker = this.#unitOf(number)?.broker.workforce.add(number, now);
    if (worker === undefined) return undefined;
    this.#workers.set(number, worker);
    if (this.#processes.isUnwanted(number)) this.#retire(worker);
    this.#events.add({ type: "ready", worker: number });
    return worker;
  }

  /** A worker has loaded the module; false: the token is not a worker's. */
  loaded(token: string, pid?: number): boolean {
    const worker = this.#processes.workerOf(token, pid);
    if (worker !== undefined) this.#events.add({ type: "loaded", worker });
    return worker !== undefined;
  }

  /** A worker can't load the handler; false: the token is not a worker's. */
  failed(token: string, message: string, pid?: number): boolean {
    const worker = this.#processes.take(token, pid);
    if (worker !== undefined) this.#events.add({ type: "failed", worker, message });
    return worker !== undefined;
  }

  /** A worker will leave of its own accord. */
  leaving(worker: Worker<Body>): void {
    this.#retire(worker);
    this.#events.add({ type: "leaving", worker: worker.id });
  }

  /** A worker's last word, or its connection is gone. */
  gone(worker: Worker<Body>, end: "left" | "died", now: number): void {
    const wasAsked = worker.state === "retiring";
    this.#forget(worker, end, now);
    if (end === "left") this.#events.add({ type: "left", worker: worker.id });
    if (end === "died" && !wasAsked) this.#events.add({ type: "lost", worker: worker.id });
  }

  /** A worker reports its memory. */
  memory(worker: Worker<Body>, bytes: number): void {
    this.#events.add({ type: "memory", worker: worker.id, bytes });
  }

  /** Whether a worker may log another line, of so many bytes. */
  mayLog(worker: Worker<Body>, bytes: number, now: number): boolean {
    return this.#lines.admits(worker.id, bytes, now);
  }

  /** A worker logs a line. */
  log(worker: Worker<Body>, line: WorkerLine): void {
    const trace = worker.jobs.get(line.job)?.request.trace;
    const fields = trace === undefined ? line.fields : { ...line.fields, trace: traceIdOf(trace) };
    this.#events.add({ type: "line", worker: worker.id, line: { ...line, fields } });
  }

  // ---- what is due ----

  /** Looks for workers that have lost a job and for processes that have ended; returns ms until that is due. */
  tick(now: number): number {
    return Math.min(this.#endLosers(now), this.#takeLeave(now), this.#reportDropped(now));
  }

  /** Gives up workers whose handlers don't stop; what they have not started, they must not start. */
  endOverruns(): void {
    for (const unit of this.#services.all) this.#endOverrunsOf(unit);
  }

  #endOverrunsOf({ broker }: Unit): void {
    for (const { worker, jobs, step } of broker.takeOverruns()) {
      for (const job of jobs) this.#lane.cancel(worker, job.id, Code.cancelled);
      if (step === "end" && this.#lane.end?.(worker)) continue;
      if (step === "end") this.#events.add({ type: "overran", worker: worker.id });
      else this.#isolated(worker);
    }
  }

  /** An isolated worker must show that it is not stuck as a whole. */
  #isolated(worker: Worker<Body>): void {
    this.#lane.ask(worker);
    this.#events.add({ type: "isolated", worker: worker.id });
  }

  /**
   * Reports workers that have lost a job: they answer later ones and keep an earlier one open. Returns ms
   * until the next check is due.
   */
  #endLosers(now: number): number {
    let wait = Infinity;
    for (const unit of this.#services.all) wait = Math.min(wait, this.#endLosersOf(unit, now));
    return wait;
  }

  #endLosersOf({ name, broker, order }: Unit, now: number): number {
    if (!broker.inOrder) return Infinity;
    for (const worker of order.look(broker.workers, now)) {
      const job = worker.jobs.first?.id ?? 0;
      this.lostJobs++;
      const message = "a worker has lost a job and is replaced";
      const fields = { ...serviceField(name), worker: worker.id, job };
      this.#events.add({ type: "log", level: "error", message, fields });
      this.#retire(worker);
      this.#events.add({ type: "lost", worker: worker.id });
    }
    return order.wait(now);
  }

  /**
   * Reports processes that have ended and whose messages were all read, or are overdue. Returns ms until
   * the next one is overdue.
   */
  #takeLeave(now: number): number {
    if (!this.#processes.hasDeparted) return Infinity;
    for (const number of this.#processes.takeDeparted(now, (number) => this.#workers.has(number))) {
      const worker = this.#workers.get(number);
      if (worker !== undefined) this.#forget(worker, "died", now);
      const key = this.#processes.forget(number);
      if (key !== undefined) {
        this.#access?.removeWorker(key);
        this.#joinAccess?.removeWorker(key);
      }
      this.#events.add({ type: "departed", worker: number });
    }
    return this.#processes.wait(now);
  }

  /** Reports how many lines of the log were dropped; returns ms until the next report is due. */
  #reportDropped(now: number): number {
    const wait = this.#lines.wait(now);
    if (wait > 0) return wait;
    for (const { subject: worker, dropped: lines } of this.#lines.report(now)) {
      this.#events.add({ type: "dropped", worker, lines });
    }
    return this.#lines.wait(now);
  }

  #retire(worker: Worker<Body>): void {
    this.#services.of(worker).broker.workforce.retire(worker);
  }

  /** The service that a process was started for. */
  #unitOf(number: number): Unit | undefined {
    const service = this.#processes.serviceOf(number);
    return service === undefined ? undefined : this.#services.named(service);
  }

  #forget(worker: Worker<Body>, end: "left" | "died", now: number): void {
    if (end === "died" && worker.jobs.size > 0) {
      this.#events.add({ type: "diedBusy", worker: worker.id });
    }
    this.#services.of(worker).broker.workforce.remove(worker, end, now);
    this.#questions.gone(worker, now);
    this.#lane.forget(worker);
    this.#workers.delete(worker.id);
  }
}
