/**
 * Stored jobs as whoever starts a server, and its operators, see them: plain data, and what can be done. Types only.
 *
 * @module
 */

import type { RequestBody } from "../client/bodies.ts";
import type { SubmitOptions } from "../client/job_options.ts";
import type { StoredJob as AskedJob } from "../client/stored_job.ts";
import type { Submitted } from "../client/submitting.ts";
import type { EndState, JobState, JobStatus } from "../store/messages.ts";

export type { AskedJob, EndState, JobState, JobStatus, RequestBody, SubmitOptions, Submitted };

/** What the program that runs a server submits a job with: as a client does, and for whom it likes. */
export interface OwnSubmitOptions extends SubmitOptions {
  /**
   * Whose job it is: with keys, clients of this user may ask about it. The handler finds it in `ctx.client.user`.
   *
   * @default {"": nobody's; only the program and operators may ask about it where there are keys}
   */
  user?: string;
}

/** Which stored jobs are wanted. */
export interface StoredFilter {
  /** Those in this state. @default {each} */
  state?: JobState;
  /** Those of this service; "": of the one without a name. @default {each} */
  service?: string;
  /** How many are listed, at most 1,000. @default {100} */
  limit?: number;
  /** The id of the last one of the page before. @default {from the oldest on} */
  after?: string;
}

/** Stored jobs, without their bodies. */
export interface StoredList {
  /** How many there are that were asked for, listed or not. */
  total: number;
  /** The oldest first. */
  jobs: JobStatus[];
}

/** One stored job. */
export interface StoredJob {
  /** What is known of it. */
  status: JobStatus;
  /** The frames that were submitted; undefined: they were not asked for. */
  body: Uint8Array<ArrayBuffer>[] | undefined;
  /** The frames of its result, or of its error; undefined: there are none yet, or they were not asked for. */
  result: Uint8Array<ArrayBuffer>[] | undefined;
}

/** A look at the store of a server. Sizes are bytes. */
export interface StoreStatus {
  /** What it is, or would be: "sqlite:PATH", "nats://…" without credentials, or "off". */
  store: string;
  /** Why it takes no jobs now; undefined: it does. */
  trouble: string | undefined;
  /** What it takes on disk. */
  bytes: number;
  /** Each service that has stored jobs, or had. */
  services: StoredServiceStatus[];
  /** What is submitted again and again. */
  schedules: ScheduleStatus[];
}

/** A look at the stored jobs of one service. Times are milliseconds. */
export interface StoredServiceStatus {
  /** "": the service without a name. */
  name: string;
  /** Whether somebody has paused its stored jobs. */
  paused: boolean;
  /** How many are in each state. */
  states: Record<JobState, number>;
  /** How long the oldest has waited that may run; undefined: none waits. */
  oldestMs: number | undefined;
  /** Jobs submitted since the start of this server. */
  submitted: number;
  /** Tries since then that have failed and were to be repeated. */
  retried: number;
  /** Jobs that have ended since then, by how. */
  ended: Record<EndState, number>;
  /** How many were submitted, and have ended, in a second, over the last one or two; 0 before they were counted twice. */
  rates: { submitted: number; ended: number };
}

/** A look at something that is submitted again and again. Times are ms since 1970. */
export interface ScheduleStatus {
  /** Its name. */
  name: string;
  /** The service that its jobs are for. */
  service: string;
  /** When, as cron has it. */
  cron: string;
  /** IANA's name of the zone that this is meant in; "": the server's. */
  timeZone: string;
  /** When it is due next; undefined: not again. */
  nextAt: number | undefined;
  /** When it was due last; undefined: not yet, or it is not known. */
  lastAt: number | undefined;
  /** The job that it made last; "": none is known. */
  lastId: string;
}

/**
 * The stored jobs of a server. What is refused rejects with an error that has a `code`: 400 wrong in itself, 404 no such
 * job, 409 not in this state, 503 no store, or not now, 507 the store has no room or is broken.
 */
export interface StoredJobs {
  /**
   * Submits a job, as `Client.submit` does, without a client: it is stored when this is fulfilled.
   *
   * @param body one frame, or a list of at least one; text is sent as UTF-8.
   * @returns the job's id; `isNew` is false where a job of the same `key` has not ended, whose id it is then.
   * @throws {ReplyError} when it is refused: 404 there is no such service, 409 the id is another user's job, 413 it is
   * too large, 503 the store can't be reached for now, 507 it is full, or its disk fails.
   * @throws {AbandonedError} when the store has not answered within `timeout`, 10 s by default; the job may be stored all
   * the same.
   * @throws {TypeError | RangeError} when an argument is not what it must be.
   *
   * @example
   * ```ts
   * const { id } = await server.stored.submit("hello", { service: "mail", delay: 60_000 });
   * const reply = await server.stored.job(id).result({ wait: 120_000 });
   * ```
   */
  submit(body: RequestBody, options?: OwnSubmitOptions): Promise<Submitted>;
  /**
   * A job, by its id, to be asked about as `Client.job` is, whoever has submitted it: its state, progress and result.
   *
   * @throws {TypeError | RangeError} when `id` can't be a job's.
   */
  job(id: string): AskedJob;
  /** Lists them, the oldest first. */
  list(filter?: StoredFilter): Promise<StoredList>;
  /** Looks at one; `body`: with what was submitted and what came of it. */
  look(id: string, options?: { body?: boolean }): Promise<StoredJob>;
  /** Gives one that has failed, expired or was cancelled all its tries again. */
  retry(id: string): Promise<void>;
  /** The same for each of a service that has failed; gives how many these are. */
  retryDead(service?: string): Promise<number>;
  /** Ends one that has not ended. */
  cancel(id: string): Promise<JobStatus>;
  /** Forgets one that is not running, and its result. */
  delete(id: string): Promise<void>;
  /** Starts no more stored jobs of a service, over restarts too; its requests are served. */
  pause(service?: string): Promise<void>;
  /** Starts them again. */
  resume(service?: string): Promise<void>;
  /** How the store is. */
  status(): Promise<StoreStatus>;
  /** Writes all that was acknowledged before to a new file, which must not be there yet. SQLite only. */
  backup(file: string): Promise<void>;
}
