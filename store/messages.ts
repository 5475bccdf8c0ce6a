/**
 * What the thread of the store and its two users say to each other: the data plane, whose workers run the jobs, and the
 * server. Plain data that can be cloned. Types only. Messages go in arrays: all of a pass in one.
 *
 * A job's life:
 *
 *     scheduled ─→ waiting ─→ running ─→ done
 *         ↑           ↑          ├─→ failed: kept in the dead set
 *         └───────────┴──────────┘
 *     each but done and failed ─→ cancelled, expired
 *
 * A job that waits for others (`after`) or for its next try is scheduled.
 *
 * @module
 */

import type { Spread } from "../broker/histogram.ts";
import type { EndState, JobState, JobStatus as SubmittedStatus } from "../wire/job_status.ts";
import type { JobQuestion } from "../wire/submission.ts";

export type { EndState, JobQuestion, JobState };

/** A body of several frames as one array; `sizes` says how long each is, and is left out where there is one. */
export interface Frames {
  bytes: Uint8Array<ArrayBuffer>;
  sizes?: readonly number[] | undefined;
}

/** What is to be stored. Times are ms since 1970. */
export interface Submission {
  /**
   * Chosen by the submitter, so that it can submit again what was not answered: a submission of the same user whose id
   * is known already is not stored, and answered "stored" with that id and `isNew` true. Known for as long as the job
   * is, and 2 minutes after it was stored at least. An id of another user's job is refused with 409. "": the store
   * makes one.
   */
  id: string;
  service: string;
  /** The CURVE user who submits it; "": no keys are asked for. */
  user: string;
  /** While a job of this service, user and key is not ended, another one is not stored. "": none. */
  key: string;
  /** Not run before; 0: at once. */
  runAt: number;
  /** `runAt` came of a delay: where the clock is set back, it moves along. */
  isDelay?: boolean;
  /** 0 to 9, 9 first. */
  priority: number;
  /** Tries after the first one. */
  retries: number;
  /** How long it waits before the second try, and at most, ms: doubled with each. */
  backoff: { firstMs: number; maxMs: number };
  /** How long one try may run, ms; 0: as long as the service lets it. */
  requestTimeout: number;
  /** Not started after that; 0: at any time. */
  expiresAt: number;
  /** Jobs of a service and a group have a limit of their own, `maxRunningPerGroup`; "": of none. */
  group: string;
  /** Jobs that must be done before it starts. */
  after: readonly string[];
  /** The trace that it belongs to, as W3C's `traceparent`; "": none. */
  trace: string;
  body: Frames;
}

/** How a run of a job has ended. */
export interface RunOutcome {
  /** 200, or the code of the error. */
  code: number;
  /** Whether the broker has made the answer and the handler has not been asked, so that it is no try. */
  unstarted: boolean;
  /** The answer; of an error its message and then its details, if it has any. */
  result: Frames;
  /** How long its handler ran, ms; 0: not known. */
  ms: number;
}

/** What is known of a job, as operators see it: all that its submitter is told, and who that is. */
export interface JobStatus extends SubmittedStatus {
  /** The CURVE user who has submitted it; "": no keys are asked for. */
  user: string;
}

/** The answer to a question: the job as it is then; `result` only where it was asked for and the job has ended by one. */
export interface JobAnswer {
  status: JobStatus;
  result: Frames | undefined;
}

/** What an operator asks. */
export type OperatorQuestion =
  /** Oldest first; `after`: the id of the last one of the page before. */
  | { type: "list"; state?: JobState; service?: string; limit: number; after?: string }
  /** `body`: with the body and the result. */
  | { type: "look"; id: string; body: boolean }
  /** Gives a dead, cancelled or expired job all its tries again. */
  | { type: "retry"; id: string }
  | { type: "retryDead"; service: string }
  | { type: "delete"; id: string }
  /** Jobs of a service are not started until it is resumed, over restarts too; requests are. */
  | { type: "pause" | "resume"; service: string }
  | { type: "figures" }
  /** Writes all that was acknowledged before to a new file, under load. */
  | { type: "backup"; file: string };

/** What an operator is answered. */
export type OperatorAnswer =
  | { type: "list"; total: number; jobs: JobStatus[] }
  | { type: "look"; status: JobStatus; body: Frames | undefined; result: Frames | undefined }
  /** How many jobs that was. */
  | { type: "done"; count: number }
  | { type: "figures"; figures: StoreFigures };

/** What metrics and the page have of the store. */
export interface StoreFigures {
  /** What it is: "sqlite:PATH" or "nats://…" without credentials. */
  store: string;
  /** Why it takes no jobs now; undefined: it does. */
  trouble: string | undefined;
  bytes: number;
  services: Record<string, {
    paused: boolean;
    states: Record<JobState, number>;
    /** Since the start of this server. */
    submitted: number;
    retried: number;
    /** Jobs that have ended since the start of this server, by how; `failed` once for each, not for each try. */
    ended: Record<EndState, number>;
    /** How long the oldest has waited that may run, ms. */
    oldestMs: number | undefined;
    /** Time from due to start, and from submission to end, since the start of this server. */
    waitTime: Spread;
    totalTime: Spread;
  }>;
  /** By name; left out where there are none. */
  schedules?: Record<string, {
    service: string;
    cron: string;
    /** "": the server's. */
    timeZone: string;
    /** ms since 1970; undefined: there is none. */
    nextAt: number | undefined;
    lastAt: number | undefined;
    /** The job that was made last; "": none is known. */
    lastId: string;
  }>;
}

/** What is said to the store. `number`s are the asker's own, one for each question that is open. */
export type ToStore =
  /** Answered "stored", once it would survive a power cut, or "refused". */
  | { type: "submit"; number: number; job: Submission }
  /**
   * How many more jobs of a service this plane would take now: in place of what was said before. `heard`: how many jobs
   * of that service it has been given so far, since those under way take room, too.
   */
  | { type: "room"; service: string; jobs: number; heard?: number }
  /** A run has ended. */
  | { type: "ended"; run: number; outcome: RunOutcome }
  /** A run was not started, and will not be: no try. */
  | { type: "returned"; run: number }
  | { type: "progress"; run: number; done: number; total: number | undefined; note: string }
  /** Kept for the next try. Answered "kept" or "refused". */
  | { type: "checkpoint"; run: number; number: number; value: Frames }
  /** Answered "answer", or "refused" with 404 also where the job is another user's. `user` undefined: an operator. */
  | { type: "ask"; number: number; user: string | undefined; question: JobQuestion }
  /** The answer is not needed any more, and not sent. */
  | { type: "withdraw"; number: number }
  /** Of the server alone. Answered "told" or "refused". */
  | { type: "operate"; number: number; question: OperatorQuestion }
  /** Of the plane alone: whether somebody has subscribed to `stored.`: then the store says "over" of each job. */
  | { type: "watch"; isOn: boolean }
  /** Of the server alone: whether the thread lives. It answers by the same word once it has taken what came before. */
  | { type: "pulse" }
  /** Of the server alone: what a reload has changed. */
  | { type: "configure"; config: StoreConfig }
  /** The last message of this user; when both have said so, the store commits all, and closes. */
  | { type: "bye" };

/** What the store says. */
export type FromStore =
  /** `isNew`: false where a job of the same key is alive, whose id this is. */
  | { type: "stored"; number: number; id: string; isNew: boolean }
  /** 404: there is no such job; 409: not in this state; 400: wrong in itself; 503: try again; 507: no room, or the disk fails. */
  | { type: "refused"; number: number; code: number; message: string }
  | { type: "answer"; number: number; answer: JobAnswer }
  | { type: "told"; number: number; answer: OperatorAnswer }
  | { type: "kept"; number: number }
  /** A job is to be run, within the room that was given. */
  | { type: "job"; run: StoredRun }
  /** A run is not needed any more: it is to be cancelled, and ends by "ended" with whatever code. */
  | { type: "cancelRun"; run: number }
  /** To the server alone. */
  | {
    type: "log";
    level: "debug" | "info" | "warn" | "error";
    message: string;
    fields?: Record<string, string | number>;
  }
  /** To the plane alone, while it watches: a job has ended. `code` undefined: by no run. */
  | {
    type: "over";
    id: string;
    service: string;
    state: EndState;
    attempt: number;
    code: number | undefined;
  }
  /**
   * To the server alone: it is open; or it can't be opened now: all that is asked is refused with 507 and the reason,
   * until it can be. Each is said once for each time that this changes.
   */
  | { type: "opened" }
  | { type: "failed"; message: string }
  /** To the server alone: the thread lives. */
  | { type: "pulse" }
  /** To the server alone: everything is committed and closed. */
  | { type: "closed" };

/** A job as a worker gets it. */
export interface StoredRun {
  /** The store's number for this run. */
  run: number;
  id: string;
  service: string;
  user: string;
  /** 1 for the first try. */
  attempt: number;
  /** Tries in all. */
  tries: number;
  requestTimeout: number;
  /** ms since 1970; 0: none. */
  expiresAt: number;
  trace: string;
  /** What the last try has kept. */
  checkpoint: Frames | undefined;
  body: Frames;
}

/** What a reload may change. */
export interface StoreConfig {
  /** Most bytes of bodies and results, and most jobs, those that have ended included. */
  storeBytes: number;
  storeJobs: number;
  /** How long results of jobs that are done, and jobs of the dead set, are kept, ms. */
  resultTtl: number;
  deadTtl: number;
  /** Of NATS alone: how long a submission waits while NATS is gone, ms. */
  submitTimeout: number;
  /** By name; a job of a service that is not here is refused with 404, and one that was stored before waits. */
  services: Record<string, ServiceRules>;
  /**
   * Whether jobs of other services are taken all the same, as Majordomo's workers may come for them, of at most 1,000
   * names. @default {false}
   */
  anyService?: boolean;
  schedules: Record<string, ScheduleRule>;
}

/** What bounds the jobs of a service. */
export interface ServiceRules {
  /** 0: any number. */
  maxRunningPerGroup: number;
  /** Starts per second on average, and at once at most; 0: any number. */
  rate: { perSecond: number; burst: number };
}

/** A job that is submitted again and again. */
export interface ScheduleRule {
  cron: string;
  /** IANA name; "": the server's. */
  timeZone: string;
  service: string;
  body: string;
  /** A due time that was missed is run once if it is not older, ms; 0: not at all. */
  catchUpMs: number;
}

/** The first message to the thread. */
export interface StoreOrders {
  /** "sqlite:/absolute/path" or "nats://host:port,…". */
  store: string;
  config: StoreConfig;
  /** Options of NATS: credentials, TLS, prefix, replicas; paths are absolute. */
  nats: NatsOrders | undefined;
  server: MessagePort;
  plane: MessagePort;
  /**
   * What wakes the plane's thread: `bell` of the plane (system/bell.ts), libzmq's file; undefined: it needs no bell.
   * The first int32 of `counter` counts what was posted to the plane, each array once, just before the bell rings.
   */
  waking: { library: string; bell: number; counter: SharedArrayBuffer } | undefined;
}

/** How NATS is reached. */
export interface NatsOrders {
  /** A `.creds` file; undefined: none. */
  credentials: string | undefined;
  /** A file with the seed of an nkey; undefined: none. */
  nkey: string | undefined;
  /** TLS: files of the CA, of the client's certificate and its key; undefined: none. */
  tls: { ca: string | undefined; cert: string | undefined; key: string | undefined } | undefined;
  /** Several installations share a NATS by different ones. */
  prefix: string;
  /** A job of a node that says nothing for so long is given to another, ms. */
  ackWait: number;
}
