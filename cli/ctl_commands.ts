/**
 * The commands of `ctl`, as one table: what each is called, what it says of itself in the help, what it
 * asks the server, and how that is shown.
 *
 * @module
 */

import type { ConfigEntry, Status } from "../ops/status.ts";
import type { ServiceStats, Stats } from "../ops/stats.ts";
import type { Change, Query } from "./control_link.ts";
import { type Order, readSeconds, readWhole } from "./ctl_flags.ts";
import { change, type Command, look } from "./ctl_plans.ts";
import { followLog, showLog } from "./log_command.ts";
import { configView, statsView } from "./record_views.ts";
import { servicesView, statusView, workersView } from "./status_views.ts";
import { JOB_COMMANDS, STORE_COMMANDS } from "./stored_commands.ts";
import { top } from "./top.ts";
import { count } from "./units.ts";
import { type Clients, clientsView, type Jobs, jobsView } from "./work_views.ts";

export type { Command, Desk, Task } from "./ctl_plans.ts";

function serviceOf({ words }: Order<Command>): { service?: string } {
  const service = words.get("SERVICE");
  return service === undefined ? {} : { service };
}

/** `the service "mail"`, or the server as a whole. */
function named({ words }: Order<Command>): string {
  const service = words.get("SERVICE");
  return service === undefined ? "the server" : `the service "${service}"`;
}

/** The bounds that a service has now. */
interface Resized {
  name: string;
  min: number;
  max: number;
}

/** Without a name, the service that has none was meant, or all where each has one. */
function resizedBy(isNamed: boolean, services: readonly Resized[]): string {
  const unnamed = services.filter(({ name }) => name === "");
  return (isNamed || unnamed.length === 0 ? services : unnamed).map(resizedText).join("\n");
}

function resizedText({ name, min, max }: Resized): string {
  const service = name === "" ? "" : ` the service "${name}"`;
  return `resized${service} to ${min === max ? count(max, "worker") : `${min} to ${max} workers`}`;
}

function wholeWord(order: Order<Command>, word: string, least: number): number {
  return readWhole(word, order.words.get(word) ?? "", least);
}

function wholeOption({ values }: Order<Command>, name: string): number | undefined {
  const text = values.get(name);
  return text === undefined ? undefined : readWhole(`"--${name}"`, text, 1);
}

function jobsQuery(order: Order<Command>): Query {
  const slow = order.values.get("slow");
  const [running, waiting] = ["running", "waiting"].map((name) => order.switches.has(name));
  if (running && waiting) {
    throw new TypeError(`Cannot ask with "--running" and "--waiting": give one or neither`);
  }
  return {
    state: running ? "running" : waiting ? "waiting" : undefined,
    slow: slow === undefined ? undefined : `${readSeconds("--slow", slow)}ms`,
    limit: wholeOption(order, "limit"),
  };
}

const clientsQuery = (order: Order<Command>): Query => ({ limit: wholeOption(order, "limit") });

/** An order about one worker. */
function single(path: string): (order: Order<Command>) => Change {
  return (order) => ({ path, body: { worker: wholeWord(order, "WORKER", 1) } });
}

function resizeOrder(order: Order<Command>): Change {
  const [min, max] = [wholeWord(order, "MIN", 0), wholeWord(order, "MAX", 0)];
  return { path: "/api/resize", body: { ...serviceOf(order), min, max } };
}

const forService = (path: string) => (order: Order<Command>): Change => ({
  path,
  body: serviceOf(order),
});

/** A command without words and options. */
const bare = { words: [], options: [] } as const;

/** All commands, in the order of the help. */
export const COMMANDS: readonly Command[] = [
  {
    ...bare,
    name: "status",
    group: "Look",
    help: "the server at a glance, and its services",
    plan: look<Status>("/api/status", statusView),
  },
  {
    ...bare,
    name: "services",
    group: "Look",
    help: "each service: its workers, queue, rates and times",
    plan: look<Pick<Status, "services">>(
      "/api/services",
      ({ services }, sheet) => servicesView(services, sheet),
    ),
  },
  {
    ...bare,
    name: "workers",
    group: "Look",
    help: "each worker: what it does, its memory and CPU time",
    plan: look<Pick<Status, "workers">>(
      "/api/workers",
      ({ workers }, sheet) => workersView(workers, sheet),
    ),
  },
  {
    name: "jobs",
    words: [],
    options: ["running", "waiting", "slow", "limit"],
    group: "Look",
    help: "requests in memory, the oldest first",
    plan: look<Jobs>("/api/jobs", jobsView, jobsQuery),
  },
  {
    name: "clients",
    words: [],
    options: ["limit"],
    group: "Look",
    help: "clients that are connected and have asked something",
    plan: look<Clients>("/api/clients", clientsView, clientsQuery),
  },
  {
    ...bare,
    name: "config",
    group: "Look",
    help: "each option in force, and where it comes from",
    plan: look<{ options: ConfigEntry[] }>("/api/config", configView),
  },
  {
    name: "stats",
    words: ["[SERVICE]"],
    options: [],
    group: "Look",
    help: "what was counted since the start, in all or of a service",
    plan: look<Stats | ServiceStats>("/api/stats", statsView, serviceOf),
  },
  {
    name: "log",
    words: [],
    options: ["follow", "lines", "level"],
    group: "Follow",
    help: "the last lines of the log; with -f, those that come, too",
    plan: (order) => order.switches.has("follow") ? followLog(order) : showLog(order),
  },
  {
    ...bare,
    name: "top",
    group: "Follow",
    help: "a live view of load, latency, queue and workers; q leaves it",
    plan: top,
  },
  {
    name: "reload",
    words: ["[SERVICE]"],
    options: [],
    group: "Change",
    help: "reads options again and replaces the workers; waits until it has",
    plan: change<{ generation: number }>(
      forService("/api/reload"),
      (order, { generation }) => `reloaded ${named(order)}: generation ${generation}`,
      "endless",
    ),
  },
  {
    name: "resize",
    words: ["[SERVICE]", "MIN", "MAX"],
    options: [],
    group: "Change",
    help: "sets the least and the greatest number of workers",
    plan: change<{ services: Resized[] }>(
      resizeOrder,
      ({ words }, { services }) => resizedBy(words.has("SERVICE"), services),
    ),
  },
  {
    name: "worker stop",
    words: ["WORKER"],
    options: [],
    group: "Change",
    help: "stops a worker once its jobs have ended; a new one takes its place",
    plan: change(
      single("/api/worker/stop"),
      ({ words }) => `worker ${words.get("WORKER")} stops once its jobs have ended`,
    ),
  },
  {
    name: "worker kill",
    words: ["WORKER"],
    options: [],
    group: "Change",
    help: "kills a worker at once; its jobs are given to others",
    plan: change(
      single("/api/worker/kill"),
      ({ words }) => `killed worker ${words.get("WORKER")}`,
    ),
  },
  {
    name: "pause",
    words: ["[SERVICE]"],
    options: [],
    group: "Change",
    help: "gives no more requests to workers: they wait",
    plan: change(forService("/api/pause"), (order) => `paused ${named(order)}`),
  },
  {
    name: "resume",
    words: ["[SERVICE]"],
    options: [],
    group: "Change",
    help: "ends a pause",
    plan: change(forService("/api/resume"), (order) => `resumed ${named(order)}`),
  },
  {
    ...bare,
    name: "drain",
    group: "Change",
    help: "takes no more requests, answers those that wait, and stops the server",
    plan: change(
      () => ({ path: "/api/drain", body: {} }),
      () => "draining: the server stops once the requests that it has are answered",
    ),
  },
  {
    name: "log-level",
    words: ["LEVEL"],
    options: [],
    group: "Change",
    help: "logs lines of this level and above: debug, info, warn, error, critical",
    plan: change(
      ({ words }) => ({ path: "/api/log-level", body: { level: words.get("LEVEL") } }),
      ({ words }) => `the log level is ${words.get("LEVEL")}`,
    ),
  },
  {
    ...bare,
    name: "reopen-log",
    group: "Change",
    help: "opens the log files again under their names, after a rotation",
    plan: change(
      () => ({ path: "/api/reopen-log", body: {} }),
      () => "opened the log files again",
    ),
  },
  ...JOB_COMMANDS,
  ...STORE_COMMANDS,
];
