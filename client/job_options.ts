/**
 * The options of background jobs, as their users see them.
 *
 * @module
 */

/** What a job is submitted with. Times are ms. */
export interface SubmitOptions {
  /**
   * The service whose handler runs it.
   *
   * @default {the one without a name, or the one that the endpoint belongs to}
   */
  service?: string;
  /**
   * A name for the job, maximum 128 bytes of UTF-8 without control characters. While a job of this service, user and
   * key has not ended, submitting another one stores nothing and returns the first one's id.
   *
   * @default {none: each job is on its own}
   */
  key?: string;
  /** How long the job is not started, ms; not together with `runAt`. @default {0} */
  delay?: number;
  /**
   * When the job may start: ms since 1970, a `Date`, or a text of ISO 8601 with its zone.
   *
   * @default {at once}
   */
  runAt?: number | Date | string;
  /** 0 to 9: 9 is started first; jobs that have waited long are preferred, too. @default {4} */
  priority?: number;
  /** How many tries may follow one that has failed: 0 to 1000. @default {4} */
  retries?: number;
  /**
   * How long the second try waits, ms, and each at most: the time doubles with each try, and varies by ± 20 %.
   *
   * @default {from 1_000, 1 s, to 3_600_000, 1 h}
   */
  backoff?: { min?: number; max?: number };
  /** How long one try may run, ms; the server may allow less. @default {0: as long as the server allows} */
  requestTimeout?: number;
  /** How long `submit` waits until the job is stored, all tries together, ms. @default {the client's timeout} */
  timeout?: number;
  /**
   * How long after it is due the job may be started, ms; then it expires.
   *
   * @default {0: at any time}
   */
  ttl?: number;
  /**
   * Jobs of a service and of one group have a limit of their own, the service's `maxRunningPerGroup`; maximum 128
   * bytes of UTF-8.
   *
   * @default {none}
   */
  jobGroup?: string;
  /** Jobs that must be done before this one starts, by their ids, maximum 100; it fails when one of them fails. */
  after?: readonly string[];
  /**
   * The job's id, made by `newJobId`. Submitting the same id again stores nothing: so what was not answered may be
   * submitted again.
   *
   * @default {a new one: all tries of this submission have the same}
   */
  id?: string;
  /** The trace that the job belongs to, as W3C's `traceparent`. @default {that of the active span, with OpenTelemetry} */
  trace?: string;
  /** Gives the submission up when this signal aborts; the job may be stored all the same. @default {none} */
  signal?: AbortSignal;
}

/** Options of a question after a job. */
export interface JobOptions {
  /** Gives the question up when this signal aborts. @default {none} */
  signal?: AbortSignal;
}

/** Options of the question after a job's result. */
export interface ResultOptions extends JobOptions {
  /** How long to wait for the job's end, ms; 0: not at all; Infinity: until it ends. @default {the client's timeout} */
  wait?: number;
}
