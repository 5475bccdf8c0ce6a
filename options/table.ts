/**
 * The options of `serve()` as operators see them: names, defaults, and what is allowed. One table,
 * `OPTIONS`, from which the flags, the environment variables, the conf file, --help and docs/options.md
 * follow. The rows of connections, pools and stored jobs have files of their own. Not here: what each means
 * to a programmer (settings.ts), how options are checked together (resolve.ts), and where an operator's
 * texts come from (command.ts).
 *
 * @module
 */
import { CONNECTION_ROWS } from "./connection_table.ts";
import { httpAddress } from "./endpoints.ts";
import { grant, permissions } from "./grants.ts";
import {
  account,
  choice,
  duration,
  integer,
  level,
  path,
  size,
  specifier,
  toggle,
  word,
} from "./kinds.ts";
import { signals } from "./lists.ts";
import { POOL_ROWS } from "./pool_table.ts";
import { type OptionSpec, type Row, row, separate } from "./row.ts";
import { serviceHandlers, services } from "./services.ts";
import type { Hooks, LogFormat, Permissions, Settings } from "./settings.ts";
import { MiB } from "./sizes.ts";
import { STORED_ROWS } from "./stored_table.ts";

export { GROUPS, type OptionSpec, separate } from "./row.ts";

const ROWS = {
  handler: row({
    group: "Endpoints",
    kind: specifier,
    flag: "",
    netServer: ["app"],
    fallbackText: "an echo",
    help: "module that answers requests: a path, a URL or a specifier",
  }),
  services: row({
    group: "Endpoints",
    kind: services,
    scope: "code",
    fallback: {},
    fallbackText: "none",
    help: "services by name: the handler of each, or its options",
  }),
  service: row({
    group: "Endpoints",
    kind: serviceHandlers,
    scope: "text",
    fallbackText: "none",
    help: "a service by name, and its handler; may be repeated",
  }),
  ...CONNECTION_ROWS,
  ...POOL_ROWS,
  concurrency: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 1,
    netServer: ["connections"],
    help: "jobs that one worker runs at a time",
  }),
  prefetch: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 100,
    help: "maximum jobs a worker holds; 1: none waits in a worker",
  }),
  prefetchBudget: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 1,
    help: "a busy worker gets another job while those it holds should take less than this",
  }),
  dispatch: row({
    group: "Jobs",
    kind: choice<"mru" | "lru">(["mru", "lru"]),
    fallback: "mru",
    help: "idle worker that gets a job: most (mru) or least (lru) recently used",
  }),
  maxAttempts: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 2,
    help: "workers that may die of one job before its client gets an error",
  }),
  queueLimit: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 10_000,
    help: "maximum number of queued jobs",
  }),
  queueBytes: row({
    group: "Jobs",
    kind: size(1),
    fallback: 256 * MiB,
    help: "maximum total size of requests that wait or run, and of unread replies",
  }),
  overflow: row({
    group: "Jobs",
    kind: choice<"block" | "reject">(["block", "reject"]),
    fallback: "block",
    help: "when the queue is full: stop reading requests (block), or answer 503 (reject)",
  }),
  maxQueuePerClient: row({
    group: "Jobs",
    kind: integer(0),
    fallback: 0,
    fallbackText: "no limit",
    help: "maximum queued jobs of one client; 0: no limit",
  }),
  requestTimeout: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 0,
    fallbackText: "no limit",
    help: "time a handler may take for a request; 0: no limit",
  }),
  abortGrace: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 1000,
    help:
      "time a handler has to stop after its limit or a cancellation before its worker is killed; 0: no limit",
  }),
  replyCacheTtl: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    help: "how long answers to requests with a key are kept; 0: not at all",
  }),
  replyCacheBytes: row({
    group: "Jobs",
    kind: size(0),
    fallback: 64 * MiB,
    help: "maximum total size of the answers that are kept",
  }),
  maxMessageSize: row({
    group: "Jobs",
    kind: size(1),
    fallback: 64 * MiB,
    help: "maximum size of one request or reply",
  }),
  maxFrames: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 1000,
    help: "maximum frames in one request or reply",
  }),
  exposeErrors: row({
    group: "Jobs",
    kind: toggle,
    fallbackText: "over ipc, loopback",
    help: "send clients the messages of handlers' errors",
  }),
  dequeueInterval: row({
    group: "Jobs",
    kind: duration(0),
    fallback: 0,
    fallbackText: "off",
    netServer: ["check_for_dequeue"],
    help: "how often to run the handler's dequeue(); 0: never",
  }),
  maxDequeueWorkers: row({
    group: "Jobs",
    kind: integer(1),
    fallback: 1,
    netServer: ["max_dequeue"],
    help: "maximum processes that run dequeue() at a time",
  }),
  ...STORED_ROWS,
  permissions: row({
    group: "Permissions",
    kind: permissions,
    scope: "code",
    fallback: {},
    fallbackText: "none",
    help: "what the handler may do: none, inherit (no sandbox), or an object of grants",
  }),
  handlerAllowRead: grantRow("read", "files and folders the handler may read"),
  handlerAllowWrite: grantRow("write", "files and folders the handler may write"),
  handlerAllowNet: grantRow("net", "hosts the handler may reach"),
  handlerAllowEnv: grantRow("env", "environment variables the handler may use"),
  handlerAllowRun: grantRow("run", "programs the handler may run"),
  handlerAllowSys: grantRow("sys", "facts of the system the handler may ask for"),
  handlerAllowImport: grantRow("import", "hosts the handler may import modules from"),
  handlerAllowAll: row({
    group: "Permissions",
    kind: toggle,
    scope: "text",
    permission: "all",
    fallbackText: "false",
    help: "the handler may do everything: no sandbox",
  }),
  handlerLock: row({
    group: "Permissions",
    kind: choice<"frozen" | "off">(["frozen", "off"]),
    fallback: "frozen",
    help: "frozen: modules must match the handler's deno.lock",
  }),
  signalPassthrough: row({
    group: "Process",
    kind: signals,
    fallback: [],
    fallbackText: "none",
    netServer: ["sig_passthrough"],
    help: "signals that are forwarded to the workers first",
  }),
  pidFile: row({
    group: "Process",
    kind: path,
    netServer: ["pid_file"],
    help: "file that holds the process id while the server runs",
  }),
  user: row({
    group: "Process",
    kind: account,
    netServer: ["user"],
    fallbackText: "the server's",
    help: "user that the workers run as",
  }),
  group: row({
    group: "Process",
    kind: account,
    netServer: ["group"],
    fallbackText: "the server's",
    help: "group that the workers run as",
  }),
  background: row({
    group: "Process",
    kind: toggle,
    fallback: false,
    netServer: ["background"],
    help: "detach from the terminal; needs <pidFile> and <logFile>",
  }),
  watch: row({
    group: "Process",
    kind: toggle,
    fallback: false,
    help: "reload when the handler or a local module that it imports changes",
  }),
  handleSignals: row({
    group: "Process",
    kind: toggle,
    scope: "code",
    fallback: false,
    help: "act on the process's signals; the command always does",
  }),
  config: row({
    group: "Process",
    kind: path,
    netServer: ["conf_file"],
    help: "conf file; read again on HUP",
  }),
  control: row({
    group: "Control",
    kind: word("auto|off|FILE", '"auto", "off" or the path of a socket file'),
    fallback: "off",
    fallbackText: "auto; off for serve()",
    help: "socket that ctl asks; auto: in a private folder, named after <frontend>",
  }),
  http: row({
    group: "Control",
    kind: httpAddress,
    fallback: "off",
    help: "address of metrics, probes, the page and the control API over HTTP",
  }),
  httpToken: row({
    group: "Control",
    kind: path,
    help: "file with the token that HTTP asks for; without it <http> shows figures alone",
  }),
  logLevel: row({
    group: "Log",
    kind: level,
    fallback: "info",
    netServer: ["log_level"],
    help: "least urgent level that is logged: debug, info, warn, error, critical, or 0 to 4",
  }),
  logFile: row({
    group: "Log",
    kind: path,
    netServer: ["log_file"],
    fallbackText: "stderr",
    help: "file to append the log to; log rotation is followed",
  }),
  logFormat: row({
    group: "Log",
    kind: choice<LogFormat>(["text", "json"]),
    fallback: "text",
    help: "format of log lines: text or json",
  }),
  accessLog: row({
    group: "Log",
    kind: word("off|FILE", '"off" or a path that is not empty'),
    fallback: "off",
    help: "file to append one line per request to; off: none",
  }),
};

/** Has the compiler check that each setting has a row, of its own type. */
const _settingsHaveRows: {
  readonly [K in Exclude<keyof Settings, keyof Hooks | "signal" | "services" | "schedules">]-?: Row<
    NonNullable<Settings[K]>
  >;
} = ROWS;

/** Every option, by heading. */
export const OPTIONS: readonly OptionSpec[] = Object.entries(ROWS).map(([name, row]) =>
  specOf(name, row)
);

function grantRow(permission: keyof Permissions, help: string): Row<boolean | string[]> {
  const kind = grant(permission);
  return { group: "Permissions", kind, scope: "text", permission, help, fallbackText: "nothing" };
}

function specOf(name: string, given: Row<unknown>): OptionSpec {
  const { scope = "everywhere", flag = `--${separate(name, "-")}` } = given;
  const isText = scope !== "code";
  return {
    netServer: [],
    ...given,
    name,
    scope,
    flag: isText ? flag : "",
    environment: isText ? `PREFORK_${separate(name, "_").toUpperCase()}` : "",
  };
}

/** The default of an option in words; empty if it has none. */
export function defaultOf({ fallback, fallbackText, kind, perCpu }: OptionSpec): string {
  if (fallbackText !== undefined) return fallbackText;
  if (perCpu !== undefined) return perCpu === 1 ? "CPUs" : `${perCpu} × CPUs`;
  return fallback === undefined ? "" : kind.show(fallback);
}
