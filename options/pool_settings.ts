/**
 * The options of pools of workers: their types and what they mean, with units and defaults. The one place where they
 * are documented. Not here: the options of all else (settings.ts), how they are checked (resolve.ts, join.ts), and how
 * operators write them (pool_table.ts).
 *
 * @module
 */

/** How many workers there are, when one is started, replaced and stopped, and which server has them. */
export interface PoolOptions {
  /**
   * The `joinEndpoint` of a server on another machine. This process then has a pool of workers for that server, and no
   * sockets of its own for clients. Needs `joinKey` and `joinServerKey`.
   *
   * @default {none}
   */
  join?: string;
  /** File with the secret key of this machine, whose public one is in the server's `joinClients`. @default {none} */
  joinKey?: string;
  /** The public key of the server that is joined, or a file that has it. @default {none} */
  joinServerKey?: string;
  /** The service of that server that `handler` serves. @default {the one without a name} */
  joinService?: string;
  /**
   * Minimum number of workers. A value above the default of `maxWorkers` raises that.
   *
   * @default {number of CPUs}
   */
  minWorkers?: number;
  /**
   * Maximum number of workers. A value below the default of `minWorkers` lowers that.
   *
   * @default {4 × number of CPUs}
   */
  maxWorkers?: number;
  /**
   * Sets `minWorkers` and `maxWorkers`, unless they are given. 0, which needs `joinEndpoint`: the server starts no
   * worker, and requests wait until pools on other machines have some.
   */
  workers?: number;
  /**
   * Minimum number of idle workers, as far as `maxWorkers` allows; never above `maxSpareWorkers`.
   *
   * @default {1}
   */
  minSpareWorkers?: number;
  /**
   * Maximum number of idle workers: more are stopped, down to `minWorkers`. Lowered to
   * `maxWorkers` − 1.
   *
   * @default {10}
   */
  maxSpareWorkers?: number;
  /** Requests after which a worker is replaced; 0: never. @default {0} */
  maxRequests?: number;
  /** Random spread of `maxRequests` among the workers, 0 to 1. @default {0.1} */
  maxRequestsJitter?: number;
  /**
   * Memory (resident set size) at which a worker is replaced, in bytes; 0: never. The worker first
   * finishes its jobs, however long they take.
   *
   * @default {0}
   */
  maxMemory?: number;
  /** Random spread of `maxMemory` among the workers, 0 to 1. @default {0.1} */
  maxMemoryJitter?: number;
  /** Age at which a worker is replaced, in ms; 0: never. @default {0} */
  maxAge?: number;
  /** Random spread of `maxAge` among the workers, 0 to 1. @default {0.1} */
  maxAgeJitter?: number;
  /**
   * Maximum heap of JavaScript objects of a worker, in bytes, 16 MiB or more; 0: V8's own limit. A
   * worker that needs more dies at once. Buffers of bytes do not count.
   *
   * @default {0}
   */
  memoryLimit?: number;
  /** How often to check whether more workers are needed, in ms. @default {30_000} */
  checkForSpawnInterval?: number;
  /** How often to check whether fewer workers are enough, in ms. @default {10_000} */
  checkForWaitingInterval?: number;
  /** Time after the last start of a worker in which none is culled, in ms. @default {10_000} */
  minChildTtl?: number;
  /** Delay before each worker start, in ms. @default {0} */
  startDelay?: number;
  /** Time a worker has to become ready, in ms. @default {30_000} */
  startTimeout?: number;
  /**
   * Time running jobs have to finish when the server stops, in ms; then workers are killed.
   *
   * @default {30_000}
   */
  stopTimeout?: number;
  /** How often to check for rogue workers, in ms; 0: never. Linux only. @default {0} */
  babysitInterval?: number;
  /** CPU time on one job that makes a worker a rogue, in ms. @default {600_000} */
  rogueCpuTime?: number;
}
