/**
 * The commands of `ctl`, as one table: what each is called, what it says of itself in the help, what it
 * asks the server, and how that is shown.
 *
 * @module
 */

import type { ConfigEntry, Status } from "../ops/status.ts";
import type { Stats } from "../ops/stats.ts";
import { type Change, type ControlLink, type Query, queryText } from "./control_link.ts";
import { type Grammar, type Order, readSeconds, readWhole } from "./ctl_flags.ts";
import { printLines } from "./ctl_screen.ts";
import { followLog, showLog } from "./log_command.ts";
import { configView, statsView } from "./record_views.ts";
import { printText } from "./reply_output.ts";
import { servicesView, statusView, workersView } from "./status_views.ts";
import type { Sheet } from "./table.ts";
import { top } from "./top.ts";
import { count } from "./units.ts";
import { type Clients, clientsView, type Jobs, jobsView } from "./work_views.ts";

/** What a command works with. */
export interface Desk {
  link: ControlLink;
  sheet: Sheet;
  /** Says something on stderr. */
  remark(text: string): void;
}

/** A command. */
export interface Command extends Grammar {
  /** The title under which the help lists it. */
  readonly group: "Look" | "Change" | "Follow";
  /** What it does, for the help. */
  readonly help: string;
  /** Checks the arguments before any server is asked. @throws {TypeError | RangeError} */
  plan(order: Order<Command>): Task;
}

/** What is left to do once a server is found. */
export type Task = (desk: Desk) => Promise<void>;

/** Asks, and shows the answer: as it is, or as lines. */
function look<Answer>(
  path: string,
  view: (answer: Answer, sheet: Sheet, order: Order<Command>) => string[],
  query: (order: Order<Command>) => Query = () => ({}),
): Command["plan"] {
  return (order) => {
    const target = path + queryText(query(order));
    return async ({ link, sheet }) => {
      const json = await link.get(target);
      if (order.json) printText(`${json.trimEnd()}\n`);
      else printLines(view(parse(json), sheet, order));
    };
  };
}

/** Has the server change something, and says what it has done. */
function change<Answer>(
  changeOf: (order: Order<Command>) => Change,
  said: (order: Order<Command>, answer: Answer) => string,
  patience: "usual" | "endless" = "usual",
): Command["plan"] {
  return (order) => {
    const asked = changeOf(order);
    return async ({ link }) => {
      const json = await link.post(asked, patience);
      printText(order.json ? `${json.trimEnd()}\n` : `${said(order, parse(json))}\n`);
    };
  };
}

/** The answer's type is what the server's version of this package says. */
function parse<Answer>(json: string): Answer {
  return JSON.parse(json);
}

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

/** An order about one worker or one job. */
function single(path: string, word: "WORKER" | "JOB"): (order: Order<Command>) => Change {
  return (order) => ({ path, body: { [word.toLowerCase()]: wholeWord(order, word, 1) } });
}

function resizeOrder(order: Order<Command>): Change {
  const [min, max] = [wholeWord(order, "MIN", 1), wholeWord(order, "MAX", 1)];
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
    plan: look<Stats>(
      "/api/stats",
      (stats, sheet, { words }) => statsView(stats, words.get("SERVICE"), sheet),
    ),
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
      single("/api/worker/stop", "WORKER"),
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
      single("/api/worker/kill", "WORKER"),
      ({ words }) => `killed worker ${words.get("WORKER")}`,
    ),
  },
  {
    name: "job cancel",
    words: ["JOB"],
    options: [],
    group: "Change",
    help: "ends a request, which is answered 499",
    plan: change(
      single("/api/job/cancel", "JOB"),
      ({ words }) => `cancelled job ${words.get("JOB")}`,
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
];
