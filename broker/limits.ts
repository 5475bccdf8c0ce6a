/**
 * What bounds a broker, as operators set it: types only.
 *
 * @module
 */

/** What bounds a `Broker`. */
export interface BrokerLimits {
  /** Jobs that one worker runs at a time. */
  concurrency: number;
  /** Maximum number of jobs assigned to one worker, the running ones included. */
  prefetch: number;
  /** A job may wait at a busy worker only if the work ahead of it takes less than this, ms. */
  prefetchBudget: number;
  /** Which of several idle workers is taken: the most or the least recently used. */
  dispatch: "mru" | "lru";
  /** A job whose workers died this often is given up. */
  maxAttempts: number;
  /** Maximum number of jobs that wait. */
  queueLimit: number;
  /** Maximum bytes of the jobs that wait or that workers have. */
  queueBytes: number;
  /** What a full queue does: the frontend is not read, or requests are answered 503. */
  overflow: "block" | "reject";
  /** Maximum number of jobs of one client that wait; 0: any number. */
  maxQueuePerClient: number;
  /** How long a handler may run, ms; 0: any time. */
  requestTimeout: number;
  /** How long other jobs may go on in the worker of a handler that does not stop, ms. */
  stopTimeout: number;
  /** How long a handler may go on after it was told to stop, before its worker is ended, ms; 0: any time. */
  abortGrace: number;
}
