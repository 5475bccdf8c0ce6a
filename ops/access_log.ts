/**
 * The access log: one line a request, in the form of the log's lines. Not here: what is known of a
 * request (the broker reports it), and how lines are written (log.ts).
 *
 * @module
 */

import type { LogFormat } from "../options/settings.ts";
import { type Log, openLog } from "./log.ts";
import { LogFollower } from "./log_follower.ts";

/** What is written of a request. Times are ms; an undefined field is left out. */
export interface Visited {
  readonly job: number | undefined;
  /** Of a stored job. */
  readonly id: string | undefined;
  /** "": the service without a name. */
  readonly service: string;
  readonly client: { readonly address: string; readonly identity: string; readonly user: string };
  readonly code: number;
  readonly attempt: number | undefined;
  readonly queued: number;
  readonly handler: number | undefined;
  readonly total: number;
  readonly in: number;
  readonly out: number;
  readonly shared: string | undefined;
  readonly trace: string | undefined;
}

/** A file that has a line for each request. */
export class AccessLog {
  readonly #log: Log;
  readonly #follower: LogFollower;

  /**
   * Opens the file.
   *
   * @throws {Error} when it can't be opened.
   */
  constructor({ accessLog: file, logFormat: format }: { accessLog: string; logFormat: LogFormat }) {
    this.#log = openLog({ level: "info", file, format });
    this.#follower = new LogFollower(this.#log, () => this.reopen());
  }

  /** Writes a line. */
  write({ service, client, queued, handler, total, ...rest }: Visited): void {
    const named = (name: string) => name === "" ? undefined : name;
    this.#log.info("request", {
      service: named(service),
      ...rest,
      queued: rounded(queued),
      handler: handler === undefined ? undefined : rounded(handler),
      total: rounded(total),
      client: named(client.address),
      identity: named(client.identity),
      user: named(client.user),
    });
  }

  /** Opens the file again after a rotation; false: it could not. */
  reopen(): boolean {
    return this.#log.reopen();
  }

  /** Follows a rotation; returns ms until it must run again. */
  tick(now: number): number {
    return this.#follower.tick(now);
  }

  /** Closes the file once the last lines are written. */
  close(): Promise<void> {
    return this.#log.close();
  }
}

/** To the microsecond. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
