/**
 * The options of stored jobs: their types and what they mean, with units and defaults. The one place where they are
 * documented. Not here: the options of all else (settings.ts), how they are checked (stored_checks.ts), and how
 * operators write them (stored_table.ts).
 *
 * @module
 */

/**
 * Options of jobs that outlive the process. Nothing is opened or loaded for them before a job is
 * stored, unless there is a store from before, `schedules`, or a `durable` service.
 */
export interface StoredJobOptions {
  /**
   * Where jobs are kept: "sqlite:PATH" or a path, a file of this machine that one server uses at a time;
   * "nats://host:4222,host2:4222" (or "tls://…"), NATS JetStream, which many servers use together; "off": no job can be stored; or
   * "auto" for `$XDG_STATE_HOME/prefork/NAME.db`, else `~/.local/state/prefork/NAME.db`, where NAME is that of the
   * first frontend as in the control socket's name.
   *
   * @default {"auto"}
   */
  store?: string;
  /**
   * Maximum size of the bodies, results and checkpoints that are kept, in bytes; further jobs are refused with 507.
   *
   * @default {1_073_741_824}
   */
  storeBytes?: number;
  /**
   * Maximum number of jobs that are kept, those that have ended included; further ones are refused with 507.
   *
   * @default {1_000_000}
   */
  storeJobs?: number;
  /**
   * How long a job that is done is kept, and its result, in ms; 0: not at all.
   *
   * @default {86_400_000}
   */
  resultTtl?: number;
  /**
   * How long a job that has failed (the dead set), was cancelled or has expired is kept, in ms; 0: not at all.
   *
   * @default {2_592_000_000}
   */
  deadTtl?: number;
  /**
   * How long a submission waits while NATS can't be reached, in ms; then it is refused with 503. 0: it does not wait. A
   * client hears the reason only if it waits for longer: ours tries again after 3.3 s, unless it is told otherwise.
   *
   * @default {3_000}
   */
  submitTimeout?: number;
  /**
   * The part of a service's workers that its stored jobs may have at a time, 0 to 1, but always one of them. Requests
   * may have all.
   *
   * @default {0.5}
   */
  jobShare?: number;
  /**
   * Maximum number of jobs of a service and a `jobGroup` that run at a time; 0: any number. On NATS each server counts
   * its own.
   *
   * @default {0}
   */
  maxRunningPerGroup?: number;
  /**
   * How many stored jobs of a service may start in a time: "100/s", "10/m", "100/s burst 20", where the burst is how
   * many may start at once after a pause; without one, what is due in 10 ms, and at least one. "off": any number. On
   * NATS each server counts its own.
   *
   * @default {"off"}
   */
  rate?: string;
  /**
   * Whether each request to a service is stored first, and answered when it is done: it outlives this process, though
   * not its client's connection.
   *
   * @default {false}
   */
  durable?: boolean;
  /**
   * Jobs that are submitted again and again, by the names of their schedules. Each due time is submitted once, also
   * over restarts, and by one of the servers that share a store.
   *
   * @default {{}}
   */
  schedules?: Readonly<Record<string, ScheduleOptions>>;
  /** File with the credentials for NATS, as `nsc` makes it (`.creds`). @default {none} */
  natsCredentials?: string;
  /** File with the seed of an nkey for NATS. @default {none} */
  natsNkey?: string;
  /** File with the certificates (PEM) that NATS's own is checked by; makes TLS required. @default {none} */
  natsCa?: string;
  /** File with the certificate (PEM) that is shown to NATS. Needs `natsKey`. @default {none} */
  natsCert?: string;
  /** File with the key (PEM) of `natsCert`. @default {none} */
  natsKey?: string;
  /**
   * What names in NATS start with, so that several installations can share one: 1 to 32 of A-Z, a-z, 0-9, _ and -.
   *
   * @default {"prefork"}
   */
  natsPrefix?: string;
  /**
   * Time after which NATS gives the jobs of a server that says nothing to another one, in ms.
   *
   * @default {30_000}
   */
  natsAckWait?: number;
}

/**
 * A job that is submitted again and again.
 *
 * @example
 * ```ts
 * const nightly: ScheduleOptions = {
 *   cron: "0 3 * * *",
 *   timeZone: "Europe/Berlin",
 *   service: "reports",
 *   body: '{"kind":"daily"}',
 * };
 * ```
 */
export interface ScheduleOptions {
  /**
   * When it is due: minute, hour, day, month and weekday, with seconds before them if there are six; or `@hourly`,
   * `@daily`, `@weekly`, `@monthly` or `@yearly`.
   */
  cron: string;
  /** The time zone of `cron`, such as "Europe/Berlin". @default {the server's} */
  timeZone?: string;
  /** The service that it is for. @default {the one without a name} */
  service?: string;
  /** The body of each job, as UTF-8. @default {""} */
  body?: string;
  /**
   * A due time that was missed is submitted late if it is not older than this, in ms; of several only the latest one.
   * 0: none is.
   *
   * @default {3_600_000}
   */
  catchUp?: number;
}

/** Options of stored jobs that have no value unless one is given. */
export type OpenStoredOption =
  | "natsCredentials"
  | "natsNkey"
  | "natsCa"
  | "natsCert"
  | "natsKey";
