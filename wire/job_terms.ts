/**
 * What a background job is submitted with, whoever submits it: a client or a handler. Types only. Not here: how it is
 * said and checked (submission.ts).
 *
 * @module
 */

/** What is asked of a background job. Times are ms. */
export interface JobTerms {
  /**
   * The service whose handler runs it.
   *
   * @default {the one without a name; for a client at an endpoint of one service, that one}
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
   * The job's id, `j-` and 32 hex digits, as the client's `newJobId` makes it. Submitting the same id again stores
   * nothing: so what was not answered may be submitted again.
   *
   * @default {a new one: all tries of this submission have the same}
   */
  id?: string;
}
