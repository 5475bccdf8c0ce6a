/**
 * What can be known to go wrong before anything is bound or started: values that are allowed but make
 * little sense together, and limits of the system that the options do not fit in. Looks at numbers that
 * others have read; not here: whether one value is right (options/kinds.ts), and what is found out by trying.
 *
 * @module
 */

import { allEndpoints, hostedServices } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";

/** File descriptors of this process. */
export interface Files {
  /** Those that are open, before any socket is. */
  open: number;
  /** Those that may be. */
  limit: number;
}

/** What a worker takes: three pipes, a handle of its process, and its connection. */
const FILES_PER_WORKER = 5;
/** What must be free before one is started: it takes these to start it and let it connect, and some to spare. */
export const FILES_FOR_START = 12;
/** What both sockets of the broker take, with libzmq's threads. */
const FILES_OF_BROKER = 16;
/** Clients to have room for where nobody says how many there may be. */
const CLIENTS = 100;

/**
 * Judges whether there are file descriptors enough.
 *
 * @param settings What is to be served.
 * @param files What this process has.
 * @param cpus Workers that may be starting at a time.
 * @returns A warning if the largest pool and some clients need more; `undefined` if all is well.
 * @throws {Error} If not even the smallest pool and one client can be had.
 */
export function judgeFiles(settings: Settings, files: Files, cpus: number): string | undefined {
  const { maxConnections } = settings;
  const pools = hostedServices(settings).map(([, own]) => own);
  const sum = (of: (own: Settings) => number) => pools.reduce((all, own) => all + of(own), 0);
  const minWorkers = sum((own) => own.minWorkers);
  const maxWorkers = sum((own) => own.maxWorkers);
  const maxDequeueWorkers = sum((own) => own.maxDequeueWorkers);
  const endpoints = [...allEndpoints(settings), ...settings.mdp, ...settings.events];
  const base = files.open + FILES_OF_BROKER + endpoints.length;
  const starts = FILES_FOR_START * Math.min(cpus, minWorkers);
  const least = base + FILES_PER_WORKER * minWorkers + starts + 1;
  const way = "raise it (ulimit -n, LimitNOFILE=)";
  if (files.limit < least) {
    throw new Error(
      `Cannot start: ${minWorkers} workers need at least ${least} open files, and the limit is ` +
        `${files.limit}: ${way} or lower "minWorkers"`,
    );
  }
  const workers = maxWorkers + cpus + maxDequeueWorkers;
  const clients = maxConnections || CLIENTS;
  const most = base + FILES_PER_WORKER * workers + clients;
  if (files.limit >= most) return undefined;
  return `the limit of open files is ${files.limit}, but ${maxWorkers} workers and ${clients} ` +
    `clients need ${most}: ${way} or lower "maxWorkers"`;
}

/**
 * Warns of what is likely to go wrong.
 *
 * @param files What this process has; undefined where it can't be counted.
 * @throws {Error} when something is certain to go wrong.
 */
export function checkStart(
  settings: Settings,
  files: Files | undefined,
  warn: (doubt: string) => void,
): void {
  const warning = files && judgeFiles(settings, files, navigator.hardwareConcurrency);
  if (warning !== undefined) warn(warning);
  doubts(settings).forEach(warn);
}

/**
 * Finds values that are allowed, but make little sense together.
 *
 * @returns A sentence for each, for the log.
 */
export function doubts(settings: Settings): string[] {
  return hostedServices(settings).flatMap(([name, { queueBytes, maxMessageSize }]) => {
    if (queueBytes >= maxMessageSize) return [];
    const option = name === "" ? '"queueBytes"' : `"services.${name}.queueBytes"`;
    return [
      `${option} (${queueBytes}) is less than "maxMessageSize" (${maxMessageSize}): ` +
      "a single request may fill the queue",
    ];
  });
}
