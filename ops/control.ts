/**
 * The control commands: all that a running server can be told to do, as one table, and the signals that
 * stand for them. Not here: how a signal arrives (signals.ts) or a request (admin/), and what a command does to the
 * server.
 *
 * @module
 */

import type { Level } from "../options/settings.ts";

/** What a server does when it is told to. */
export interface Controls {
  /** Stops: running jobs end, waiting requests are answered 503 or served first. */
  stop(queued: "refuse" | "serve", reason: string): void;
  /** Kills all workers at once. */
  kill(): void;
  /**
   * Replaces all workers by new ones, with options that are read again; or those of one service, with the same
   * options. Rejected with the reason if new ones can't start.
   */
  reloadAgain(service?: string): Promise<void>;
  /** Changes the bounds of the pool. */
  resize(bounds: { min?: number; max?: number }, service?: string): void;
  /** Changes the bounds of the pool by a number of workers. */
  growBy(workers: number): void;
  /** Opens the log files again under their names. */
  reopenLog(): boolean;
  /** Writes the state to the log. */
  logState(): void;
  /** Sends a signal to all workers that are ready. */
  forward(signal: Deno.Signal): void;
  /** Has a worker finish its requests and leave. */
  stopWorker(worker: number): void;
  /** Kills a worker. */
  killWorker(worker: number): void;
  /** Ends a request as if its client had given up. */
  cancelJob(job: number): Promise<void>;
  /** Gives workers no more requests. */
  pause(service?: string): void;
  /** Gives workers requests again. */
  resume(service?: string): void;
  /** Logs from another level on. */
  setLogLevel(level: Level): void;
}

/** The commands by name, with their arguments. */
export interface ControlArguments {
  stop: { queued: "refuse" | "serve"; reason: string };
  kill: Record<never, never>;
  reload: { service?: string };
  resize: { min?: number; max?: number; service?: string };
  grow: { by: number };
  reopenLog: Record<never, never>;
  logState: Record<never, never>;
  forward: { signal: Deno.Signal };
  stopWorker: { worker: number };
  killWorker: { worker: number };
  cancelJob: { job: number };
  pause: { service?: string };
  resume: { service?: string };
  logLevel: { level: Level };
}

/** The name of a command. */
export type ControlName = keyof ControlArguments;

/** One command. */
export interface ControlCommand<Arguments> {
  /** What it does, as a sentence without its full stop. */
  readonly doc: string;
  /** What each argument means. */
  readonly arguments: { readonly [Name in keyof Arguments]: string };
  /** Does it; a command that takes its time gives a promise. */
  run(server: Controls, given: Arguments): void | Promise<void>;
}

/** All commands. */
export const CONTROLS: { readonly [Name in ControlName]: ControlCommand<ControlArguments[Name]> } =
  {
    stop: {
      doc: "Take no more requests, let running jobs end, and stop",
      arguments: {
        queued: 'whether waiting requests are answered 503 ("refuse") or served first ("serve")',
        reason: "why, for the log",
      },
      run: (server, { queued, reason }) => server.stop(queued, reason),
    },
    kill: {
      doc: "Kill all workers, and stop",
      arguments: {},
      run: (server) => server.kill(),
    },
    reload: {
      doc: "Read the options again, and replace all workers by new ones",
      arguments: { service: "replace those of this service alone, with the options that it has" },
      run: (server, { service }) => server.reloadAgain(service),
    },
    resize: {
      doc: "Set the least and the greatest number of workers",
      arguments: {
        min: "minimum number of workers; left out: as it is",
        max: "maximum number of workers; left out: as it is",
        service: "the service; left out: the one without a name, or each where all have names",
      },
      run: (server, { service, ...bounds }) => server.resize(bounds, service),
    },
    grow: {
      doc: "Change the least and the greatest number of workers",
      arguments: { by: "how many more; less than 0: fewer" },
      run: (server, { by }) => server.growBy(by),
    },
    reopenLog: {
      doc: "Open the log files again under their names",
      arguments: {},
      run: (server) => void server.reopenLog(),
    },
    logState: {
      doc: "Write the state to the log",
      arguments: {},
      run: (server) => server.logState(),
    },
    forward: {
      doc: "Send a signal to all workers that are ready",
      arguments: { signal: "its name, such as SIGALRM" },
      run: (server, { signal }) => server.forward(signal),
    },
    stopWorker: {
      doc: "Let a worker finish its requests and leave; another one takes its place",
      arguments: { worker: "its number" },
      run: (server, { worker }) => server.stopWorker(worker),
    },
    killWorker: {
      doc: "Kill a worker; its requests are run again elsewhere",
      arguments: { worker: "its number" },
      run: (server, { worker }) => server.killWorker(worker),
    },
    cancelJob: {
      doc: "End a request: its client is answered 499",
      arguments: { job: "its number" },
      run: (server, { job }) => server.cancelJob(job),
    },
    pause: {
      doc: "Give workers no more requests: they wait as in a full pool",
      arguments: { service: "the service; left out: each" },
      run: (server, { service }) => server.pause(service),
    },
    resume: {
      doc: "Give workers requests again",
      arguments: { service: "the service; left out: each" },
      run: (server, { service }) => server.resume(service),
    },
    logLevel: {
      doc: "Log from another level on, until the server ends",
      arguments: { level: "debug, info, warn, error or critical" },
      run: (server, { level }) => server.setLogLevel(level),
    },
  };

/** Has a server do what a command says. */
export function control<Name extends ControlName>(
  server: Controls,
  name: Name,
  given: ControlArguments[Name],
): void | Promise<void> {
  return CONTROLS[name].run(server, given);
}

/** A command with its arguments. */
export type Order = {
  [Name in ControlName]: readonly [name: Name, given: ControlArguments[Name]];
}[ControlName];

/** What a signal means. */
export interface SignalRow {
  readonly signal: Deno.Signal;
  /** The commands that it stands for, in order. */
  readonly orders: readonly Order[];
}

/** The signals of the main process, as --help and docs/operations.md have them. */
export const SIGNALS: readonly SignalRow[] = [
  { signal: "SIGTERM", orders: [["stop", { queued: "refuse", reason: "SIGTERM" }]] },
  { signal: "SIGINT", orders: [["stop", { queued: "refuse", reason: "SIGINT" }]] },
  { signal: "SIGQUIT", orders: [["stop", { queued: "serve", reason: "SIGQUIT" }]] },
  { signal: "SIGHUP", orders: [["reopenLog", {}], ["reload", {}]] },
  { signal: "SIGTTIN", orders: [["grow", { by: 1 }]] },
  { signal: "SIGTTOU", orders: [["grow", { by: -1 }]] },
  { signal: "SIGUSR2", orders: [["logState", {}]] },
];
