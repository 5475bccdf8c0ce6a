/**
 * The commands of `ctl` for stored jobs and their store.
 *
 * @module
 */

import type { StoreStatus } from "../ops/stored.ts";
import { JOB_STATES } from "../wire/job_status.ts";
import { isJobId } from "../wire/submission.ts";
import type { Change, Query } from "./control_link.ts";
import { type Order, readWhole } from "./ctl_flags.ts";
import { change, type Command, look } from "./ctl_plans.ts";
import { restoreStore } from "./store_restore.ts";
import {
  type JobRecord,
  jobRecordView,
  schedulesView,
  type StoredPage,
  storedView,
  storeView,
} from "./stored_views.ts";
import { count } from "./units.ts";

/** What tables have for the service without a name. */
const UNNAMED = "-";

const STATES: readonly string[] = JOB_STATES;

function listQuery({ values }: Order<Command>): Query {
  const [limit, state, service] = [values.get("limit"), values.get("state"), values.get("service")];
  if (state !== undefined && !STATES.includes(state)) {
    throw new RangeError(
      `Cannot ask: "--state" must be one of ${STATES.join(", ")}: current value is "${state}"`,
    );
  }
  const after = values.get("after");
  if (after !== undefined && !isJobId(after)) throw wrongId('"--after"', after);
  return {
    ...{ state, after, service: service === UNNAMED ? "" : service },
    limit: limit === undefined ? undefined : readWhole('"--limit"', limit, 1),
  };
}

function wrongId(subject: string, text: string): RangeError {
  return new RangeError(
    `Cannot ask: ${subject} must be the id of a stored job, j- and 32 hex digits: ` +
      `current value is "${text}"`,
  );
}

/** The job that is meant. */
function idIn({ words }: Order<Command>): string {
  const id = words.get("ID") ?? "";
  if (isJobId(id)) return id;
  throw wrongId("ID", id);
}

function showQuery(order: Order<Command>): Query {
  return { id: idIn(order), body: order.switches.has("body") ? 1 : undefined };
}

/** Requests have numbers, and stored jobs ids. */
function cancelOrder(order: Order<Command>): Change {
  const word = order.words.get("JOB") ?? "";
  if (word.startsWith("j-")) {
    if (!isJobId(word)) throw wrongId("JOB", word);
    return { path: "/api/stored/cancel", body: { job: word } };
  }
  return { path: "/api/job/cancel", body: { job: readWhole("JOB", word, 1) } };
}

const forJob = (path: string) => (order: Order<Command>): Change => (
  { path, body: { job: idIn(order) } }
);

/** The service that is meant: "" is the one without a name. */
function serviceIn({ words }: Order<Command>): string {
  const service = words.get("SERVICE") ?? UNNAMED;
  return service === UNNAMED ? "" : service;
}

const forService = (path: string) => (order: Order<Command>): Change => (
  { path, body: { service: serviceIn(order) } }
);

function called(order: Order<Command>): string {
  const service = serviceIn(order);
  return service === "" ? "the service without a name" : `the service "${service}"`;
}

/** `job …`. */
export const JOB_COMMANDS: readonly Command[] = [
  {
    name: "job list",
    words: [],
    options: ["state", "service", "limit", "after"],
    group: "Stored",
    help: "stored jobs, the oldest first",
    plan: look<StoredPage>("/api/stored", storedView, listQuery),
  },
  {
    name: "job show",
    words: ["ID"],
    options: ["body"],
    group: "Stored",
    help: "what is known of a stored job",
    plan: look<JobRecord>("/api/stored/job", jobRecordView, showQuery),
  },
  {
    name: "job cancel",
    words: ["JOB"],
    options: [],
    group: "Stored",
    help: "ends a request, which is answered 499, by its number; a stored job by its id",
    plan: change<{ state?: string }>(
      cancelOrder,
      ({ words }, { state = "cancelled" }) =>
        state === "cancelled"
          ? `cancelled job ${words.get("JOB")}`
          : `job ${words.get("JOB")} is ${state}, and is being cancelled`,
    ),
  },
  {
    name: "job retry",
    words: ["ID"],
    options: [],
    group: "Stored",
    help: "gives a job that failed, expired or was cancelled all its tries again",
    plan: change(
      forJob("/api/stored/retry"),
      ({ words }) => `job ${words.get("ID")} is to run again`,
    ),
  },
  {
    name: "job retry-dead",
    words: ["SERVICE"],
    options: [],
    group: "Stored",
    help: "the same for each failed job of a service",
    plan: change<{ count: number }>(
      forService("/api/stored/retry-dead"),
      (order, { count: jobs }) =>
        `${count(jobs, "job")} of ${called(order)} ${jobs === 1 ? "is" : "are"} to run again`,
    ),
  },
  {
    name: "job delete",
    words: ["ID"],
    options: [],
    group: "Stored",
    help: "forgets a stored job and its result",
    plan: change(forJob("/api/stored/delete"), ({ words }) => `deleted job ${words.get("ID")}`),
  },
  {
    name: "job pause",
    words: ["SERVICE"],
    options: [],
    group: "Stored",
    help: "starts no stored jobs of a service; its requests are served",
    plan: change(
      forService("/api/stored/pause"),
      (order) => `paused the stored jobs of ${called(order)}`,
    ),
  },
  {
    name: "job resume",
    words: ["SERVICE"],
    options: [],
    group: "Stored",
    help: "starts them again",
    plan: change(
      forService("/api/stored/resume"),
      (order) => `resumed the stored jobs of ${called(order)}`,
    ),
  },
];

/** Where `store backup` writes. */
function backupOrder({ words }: Order<Command>): Change {
  const file = words.get("FILE") ?? "";
  return { path: "/api/store/backup", body: { file: absolute(file) } };
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}

/** The store as a whole. */
export const STORE_COMMANDS: readonly Command[] = [
  {
    name: "store",
    words: [],
    options: [],
    group: "Stored",
    help: "the store of jobs: how many there are of each service",
    plan: look<StoreStatus>("/api/store", storeView),
  },
  {
    name: "schedules",
    words: [],
    options: [],
    group: "Stored",
    help: "what is submitted again and again, and when next",
    plan: look<StoreStatus>("/api/store", schedulesView),
  },
  {
    name: "store backup",
    words: ["FILE"],
    options: [],
    group: "Stored",
    help: "writes all that is stored to a new file, while the server runs",
    plan: change(backupOrder, ({ words }) => `wrote ${words.get("FILE")}`, "endless"),
  },
  {
    name: "store restore",
    words: ["FILE"],
    options: ["store"],
    group: "Stored",
    help: "puts a copy in place of the store of a server that does not run",
    isOffline: true,
    plan: restoreStore,
  },
];
