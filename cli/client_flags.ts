/**
 * The commands of the client, and values of flags that they have in common.
 *
 * @module
 */

import type { ClientOptions, CurveOptions } from "../client/options.ts";
import { missingUnit, parseDuration } from "../options/durations.ts";
import { complaint } from "../options/errors.ts";

/** The commands for background jobs. */
export const JOB_COMMANDS = ["submit", "job", "progress", "result", "cancel", "forget"] as const;
/** One of them. */
export type JobCommandName = typeof JOB_COMMANDS[number];

/** The command that an argument is; undefined: it is none. */
export function jobCommandOf(arg: string | undefined): JobCommandName | undefined {
  return JOB_COMMANDS.find((name) => name === arg);
}

/** All endpoints that were named: a list's commas stand ahead of the next one's scheme, for paths may have some. */
export function readEndpoints(values: unknown): string[] | undefined {
  if (!Array.isArray(values) || values.length === 0) return undefined;
  return values.flatMap((value) => String(value).split(/,(?=(?:tcp|ipc):)/));
}

/** @throws {TypeError} when there is no server's key. */
export function readCurve(
  serverKey: string | undefined,
  keyFile: string | undefined,
): CurveOptions | undefined {
  if (serverKey !== undefined) return { serverKey, keyFile };
  if (keyFile === undefined) return undefined;
  throw new TypeError(`Cannot ask with "--curve-key" alone: it needs "--curve-server-key"`);
}

/** @throws {RangeError} when it is none. */
export function readTransport(text: string | undefined): ClientOptions["transport"] {
  if (text === undefined || text === "native" || text === "libzmq") return text;
  throw new RangeError(`Cannot ask: ${complaint('"--transport"', "native or libzmq", text)}`);
}

/** A duration in ms. @throws {TypeError} when it is none. */
export function readDuration(flag: string, text: string | undefined): number | undefined {
  const ms = text === undefined ? undefined : parseDuration(text);
  if (text === undefined || ms !== undefined) return ms;
  const lack = missingUnit(text);
  const rule = "a duration, such as 500ms, 10s or 5m";
  const fault = lack === undefined ? complaint(`"${flag}"`, rule, text) : `"${flag}" ${lack}`;
  throw new TypeError(`Cannot ask: ${fault}`);
}

/** An integer from `min` on. @throws {RangeError} when it is none. */
export function readInteger(
  flag: string,
  text: string | undefined,
  min: number,
): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= min) return number;
  throw new RangeError(`Cannot ask: ${complaint(`"${flag}"`, `an integer >= ${min}`, text)}`);
}
