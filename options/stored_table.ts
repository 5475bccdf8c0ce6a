/**
 * The rows of the table of options that concern stored jobs. Not here: the rows of all else (table.ts), and what each
 * means to a programmer (stored_settings.ts).
 *
 * @module
 */
import { duration, fraction, integer, LONGEST_KEPT_MS, path, size, toggle } from "./kinds.ts";
import { rate } from "./rates.ts";
import { row } from "./row.ts";
import { GiB } from "./sizes.ts";
import { natsPrefix, schedules, storePlace } from "./stored_kinds.ts";

const DAY = 86_400_000;

/** The options of stored jobs by their names. */
export const STORED_ROWS = {
  store: row({
    group: "Stored jobs",
    kind: storePlace,
    fallback: "auto",
    help: "where jobs are kept: a file of SQLite, or NATS; auto: a file named after <frontend>",
  }),
  storeBytes: row({
    group: "Stored jobs",
    kind: size(1),
    fallback: GiB,
    help: "maximum size of stored bodies, results and checkpoints; then submissions are refused",
  }),
  storeJobs: row({
    group: "Stored jobs",
    kind: integer(1),
    fallback: 1_000_000,
    help: "maximum number of stored jobs, ended ones included; then submissions are refused",
  }),
  resultTtl: row({
    group: "Stored jobs",
    kind: duration(0, LONGEST_KEPT_MS),
    fallback: DAY,
    help: "how long a job that is done is kept, with its result",
  }),
  deadTtl: row({
    group: "Stored jobs",
    kind: duration(0, LONGEST_KEPT_MS),
    fallback: 30 * DAY,
    help: "how long a job that has failed (the dead set), was cancelled or has expired is kept",
  }),
  submitTimeout: row({
    group: "Stored jobs",
    kind: duration(0),
    fallback: 3000,
    help: "how long a submission waits while NATS can't be reached",
  }),
  jobShare: row({
    group: "Stored jobs",
    kind: fraction,
    fallback: 0.5,
    help: "part of a service's workers that stored jobs may have at a time, at least one of them",
  }),
  maxRunningPerGroup: row({
    group: "Stored jobs",
    kind: integer(0),
    fallback: 0,
    fallbackText: "no limit",
    help: "maximum stored jobs of a service and group that run at a time; 0: no limit",
  }),
  rate: row({
    group: "Stored jobs",
    kind: rate,
    fallback: "off",
    help: "how many stored jobs of a service may start: 100/s, 10/m or 100/s burst 20",
  }),
  durable: row({
    group: "Stored jobs",
    kind: toggle,
    fallback: false,
    help: "store each request first, and answer it when it is done",
  }),
  schedules: row({
    group: "Stored jobs",
    kind: schedules,
    scope: "code",
    fallback: {},
    fallbackText: "none",
    help:
      "jobs that are submitted again and again: cron, timeZone, service, body and catchUp of each",
  }),
  natsCredentials: row({
    group: "Stored jobs",
    kind: path,
    help: "file with the credentials for NATS (.creds)",
  }),
  natsNkey: row({
    group: "Stored jobs",
    kind: path,
    help: "file with the seed of an nkey for NATS",
  }),
  natsCa: row({
    group: "Stored jobs",
    kind: path,
    help: "file with the certificates that NATS's own is checked by; makes TLS required",
  }),
  natsCert: row({
    group: "Stored jobs",
    kind: path,
    help: "file with the certificate that is shown to NATS; needs <natsKey>",
  }),
  natsKey: row({
    group: "Stored jobs",
    kind: path,
    help: "file with the key of <natsCert>",
  }),
  natsPrefix: row({
    group: "Stored jobs",
    kind: natsPrefix,
    fallback: "prefork",
    help: "what names in NATS start with, so that several installations can share one",
  }),
  natsAckWait: row({
    group: "Stored jobs",
    kind: duration(1000),
    fallback: 30_000,
    help: "silence of a server after which NATS gives its jobs to another one",
  }),
};
