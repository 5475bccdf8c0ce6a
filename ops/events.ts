/**
 * What happens in a server, said once: each event becomes a line of the log, a call of a hook of `serve()`
 * and news for whoever has subscribed. Not here: lines that are no event, such as remarks at the start.
 *
 * @module
 */

import type { Hooks, Level } from "../options/settings.ts";
import { messageOf } from "../system/errors.ts";
import type { ExitReason } from "../wire/exit_reasons.ts";
import { LogQuota } from "../wire/log_quota.ts";
import type { Fields, Log } from "./log.ts";

/** What an event of one service says of it. */
export interface OfService {
  /** The service; left out where it has no name. */
  readonly service?: string;
}

/** Says which service an event or a line of the log is about. */
export function ofService(name: string): OfService {
  return name === "" ? {} : { service: name };
}

/** A request that ended in an error of the server or of its handler. */
export interface FailedRequest {
  /** "": the service without a name. */
  readonly service: string;
  readonly job: number;
  /** The id of the stored job whose try it was; undefined: it was none. */
  readonly id: string | undefined;
  /** The worker that answered; undefined: the broker did. */
  readonly worker: number | undefined;
  readonly attempt: number;
  readonly code: number;
  readonly message: string;
  /** The error's stack and causes; "" if they are not known. */
  readonly stack: string;
  readonly client: { readonly address: string; readonly identity: string; readonly user: string };
  /** The trace that the request belongs to, 32 hex digits; undefined: none. */
  readonly trace: string | undefined;
}

/** A worker: a process of the server's own, or of a pool on another machine. */
export interface OneWorker extends OfService {
  readonly worker: number;
  readonly pid: number;
  /** The other machine that it runs on, as the server's list calls it; left out: it is this one. */
  readonly host?: string;
}

/** A worker's process has ended. */
export interface WorkerExit extends OneWorker {
  /** -1 where that is not known. */
  readonly code: number;
  readonly signal: string | null;
  /** Why it ended, in a word. */
  readonly reason: ExitReason | "lost";
  /** Whether that is part of a worker's life, or worth a warning. */
  readonly expected: boolean;
  /** What a recycled worker had reached. */
  readonly cause?: string | undefined;
  /** What has probably ended it. */
  readonly likely?: string | undefined;
}

/** A pool on another machine. */
interface JoinedPoolEvent {
  readonly host: string;
  readonly address: string;
}

/** What happens, by name, with what there is to say about it. */
export interface ServerEvents {
  listening: {
    frontend: readonly string[];
    mdp: readonly string[];
    jobs: readonly string[];
    events: readonly string[];
    backend: string;
    /** That of the service without a name; undefined: there is no such service. */
    handler: string | undefined;
    /** The services that have names. */
    services: readonly { service: string; handler: string; frontend: readonly string[] }[];
  };
  workerSpawned: OneWorker & { readonly purpose: string };
  workerReady: OneWorker;
  workerExited: WorkerExit;
  poolJoined: JoinedPoolEvent & { version: string; services: string | undefined };
  /** `lost`: it has not said that it leaves. `workers`: those that are given up with it. */
  poolLeft: JoinedPoolEvent & { workers: number; reason: string; lost: boolean };
  resized: { min: number; max: number } & OfService;
  reloading: OfService;
  reloaded: { generation: number } & OfService;
  reloadFailed: { message: string } & OfService;
  requestFailed: FailedRequest;
  idle: undefined;
  stopping: { reason: string; queued: "serve" | "refuse" };
  stopped: { forced: boolean };
}

/** The name of an event. */
export type EventName = keyof ServerEvents;

/** Gets each event as it happens; must not throw. */
export type Listener = <Name extends EventName>(name: Name, event: ServerEvents[Name]) => void;

/** The same for single events, by their names. */
export type Listeners = { readonly [Name in EventName]?: (event: ServerEvents[Name]) => void };

type Urgency = Exclude<Level, "critical">;

/** Lines that share a quota, and characters of one of them. */
interface Bound {
  by: "failures" | "machines";
  size: number;
}

/** How an event is told. */
interface Row<Event> {
  /** The level of its line; undefined: the log has none. */
  level?: Urgency | ((event: Event) => Urgency);
  message?: string;
  fields?(event: Event): Fields;
  /** What bounds the lines of this kind, and the characters of this one; undefined: it is always logged. */
  bound?(event: Event): Bound | undefined;
  /** The hook that is called, for the log. */
  hook?: keyof Hooks;
  call?(hooks: Hooks, event: Event): void | Promise<void>;
}

type Table = { readonly [Name in EventName]: Row<ServerEvents[Name]> };

const TABLE: Table = {
  listening: {
    level: "info",
    message: "listening",
    fields: ({ frontend, mdp, jobs, events, backend, handler }) => ({
      frontend: frontend.join(","),
      mdp: mdp.length === 0 ? undefined : mdp.join(","),
      jobs: jobs.length === 0 ? undefined : jobs.join(","),
      events: events.length === 0 ? undefined : events.join(","),
      backend,
      handler,
    }),
    hook: "onListen",
    call: (hooks, { frontend, mdp, jobs, events, backend, services }) => {
      const own = services.filter((each) => each.frontend.length > 0)
        .map((each): [string, string[]] => [each.service, [...each.frontend]]);
      return hooks.onListen?.({
        ...{ frontend: [...frontend], mdp: [...mdp], events: [...events], backend },
        ...(jobs.length === 0 ? {} : { jobs: [...jobs] }),
        ...(own.length === 0 ? {} : { services: Object.fromEntries(own) }),
      });
    },
  },
  workerSpawned: {
    level: "debug",
    message: "worker spawned",
    fields: (event) => ({ ...event }),
    hook: "onWorkerSpawn",
    call: (hooks, { purpose: _, ...event }) => hooks.onWorkerSpawn?.(event),
  },
  workerReady: {
    level: "info",
    message: "worker ready",
    fields: (event) => ({ ...event }),
    bound: boundOfHost,
    hook: "onWorkerReady",
    call: (hooks, event) => hooks.onWorkerReady?.(event),
  },
  workerExited: {
    // What is lost with its machine has a line together: that of the pool.
    level: ({ expected, reason }) => reason === "lost" ? "debug" : expected ? "info" : "warn",
    message: "worker exited",
    fields: ({ expected: _, signal, ...rest }) => ({ ...rest, signal: signal ?? undefined }),
    bound: (event) => event.reason === "lost" ? undefined : boundOfHost(event),
    hook: "onWorkerExit",
    call: (hooks, { expected: _, cause: __, likely: ___, ...event }) => hooks.onWorkerExit?.(event),
  },
  poolJoined: {
    level: "info",
    message: "a pool has joined",
    fields: (event) => ({ ...event }),
  },
  poolLeft: {
    level: ({ workers, lost }) => lost && workers > 0 ? "warn" : "info",
    message: "a pool has left",
    fields: ({ lost: _, ...event }) => ({ ...event }),
  },
  resized: {
    level: "info",
    message: "resized",
    fields: (event) => ({ ...event }),
    hook: "onResize",
    call: (hooks, event) => hooks.onResize?.(event),
  },
  reloading: { level: "info", message: "reloading", fields: (event) => ({ ...event }) },
  reloaded: {
    level: "info",
    message: "reloaded",
    fields: (event) => ({ ...event }),
    hook: "onReload",
    call: (hooks, { generation: _, ...event }) => hooks.onReload?.({ ok: true, ...event }),
  },
  reloadFailed: {
    level: "error",
    message: "reload failed, the old workers stay",
    fields: ({ message, ...rest }) => ({ error: message, ...rest }),
    hook: "onReload",
    call: (hooks, event) => hooks.onReload?.({ ok: false, ...event }),
  },
  requestFailed: {
    level: "error",
    message: "request failed",
    fields: fieldsOfFailure,
    bound: ({ message, stack }) => ({ by: "failures", size: message.length + stack.length }),
    hook: "onError",
    call: callOnError,
  },
  idle: { hook: "onIdle", call: (hooks) => hooks.onIdle?.() },
  stopping: {
    level: "info",
    message: "stopping",
    fields: (event) => ({ ...event }),
    hook: "onStop",
    call: (hooks, { reason }) => hooks.onStop?.({ reason }),
  },
  stopped: { level: "info", message: "stopped", fields: (event) => ({ ...event }) },
};

function fieldsOfFailure({ service, message, stack, client, ...numbers }: FailedRequest): Fields {
  const { job, id, worker, attempt, code, trace } = numbers;
  const named = (text: string) => text === "" ? undefined : text;
  return {
    service: named(service),
    ...{ job, id, worker, attempt, code, trace },
    client: named(client.address),
    identity: named(client.identity),
    user: named(client.user),
    error: message,
    stack: named(stack),
  };
}

/** Machines say when their workers come and go, as often as they like. */
function boundOfHost({ host }: OneWorker): Bound | undefined {
  return host === undefined ? undefined : { by: "machines", size: host.length };
}

function callOnError({ onError }: Hooks, failure: FailedRequest): void | Promise<void> {
  if (onError === undefined) return;
  const { service, id, worker, stack, trace, ...rest } = failure;
  return onError({
    ...rest,
    ...ofService(service),
    ...(id === undefined ? {} : { id }),
    ...(worker === undefined ? {} : { worker }),
    ...(stack === "" ? {} : { stack }),
    ...(trace === undefined ? {} : { trace }),
  });
}

/** Lines of a kind that are logged in a second; more are counted. */
const QUOTA = { lines: 100, bytes: 1024 ** 2 };
/** The subjects of the quota, and what is logged of their lines that were too many. */
const BOUNDS = {
  failures: { subject: 0, level: "error", more: "more requests failed" },
  machines: { subject: 1, level: "warn", more: "more workers on other machines came or went" },
} as const satisfies Record<Bound["by"], { subject: number; level: Urgency; more: string }>;

/** Passes events on to the log, the hooks and the listeners. */
export class Events {
  readonly #log: Log;
  #hooks: Hooks;
  readonly #listeners: Listener[] = [];
  readonly #quota = new LogQuota(QUOTA);

  /** Logs to `log`, and calls those of the hooks that are set. */
  constructor(log: Log, hooks: Hooks) {
    this.#log = log;
    this.#hooks = hooks;
  }

  /** Calls other hooks from now on. */
  configure(hooks: Hooks): void {
    this.#hooks = hooks;
  }

  /** Passes each later event on to a listener too. */
  subscribe(listener: Listener): void {
    this.#listeners.push(listener);
  }

  /** Passes each later event of some kinds on too. */
  listen(listeners: Listeners): void {
    this.subscribe((name, event) => {
      const listener: ((event: ServerEvents[typeof name]) => void) | undefined = listeners[name];
      listener?.(event);
    });
  }

  /** Passes an event on; fulfilled once its hook has run, even if the hook failed. */
  async emit<Name extends EventName>(name: Name, event: ServerEvents[Name]): Promise<void> {
    const row: Row<ServerEvents[Name]> = TABLE[name];
    this.#write(row, event);
    for (const listener of this.#listeners) listener(name, event);
    try {
      await row.call?.(this.#hooks, event);
    } catch (error) {
      this.#log.error(`the hook "${row.hook}" failed`, { error: messageOf(error) });
    }
  }

  /** Logs of how many events there was no line of their own; returns ms until it must run again. */
  tick(now: number): number {
    for (const { subject, dropped } of this.#quota.report(now)) {
      const bound = Object.values(BOUNDS).find((each) => each.subject === subject);
      if (bound !== undefined) this.#log[bound.level](bound.more, { count: dropped });
    }
    return this.#quota.wait(now);
  }

  #write<Event>({ level, message = "", fields, bound }: Row<Event>, event: Event): void {
    if (level === undefined) return;
    const bounded = bound?.(event);
    const fits = bounded === undefined ||
      this.#quota.admits(BOUNDS[bounded.by].subject, bounded.size, performance.now());
    if (!fits) return;
    const urgency = typeof level === "string" ? level : level(event);
    this.#log[urgency](message, fields?.(event));
  }
}
