/**
 * The logs of a server: its own, and the one of its requests. Both follow a rotation, and are opened again
 * together.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { WorkerLine } from "../ports/messages.ts";
import { AccessLog, type Visited } from "./access_log.ts";
import type { OfService } from "./events.ts";
import { type Log, openLog } from "./log.ts";
import { LogFollower } from "./log_follower.ts";

/** Both logs. */
export class Logs {
  /** Where the server logs. */
  readonly log: Log;
  readonly #hasFile: boolean;
  readonly #follower: LogFollower;
  /** Undefined where nobody wants to know of requests. */
  readonly #visits: AccessLog | undefined;

  /**
   * Opens them.
   *
   * @throws {Error} when a file can't be opened.
   */
  constructor(settings: Pick<Settings, "logLevel" | "logFile" | "logFormat" | "accessLog">) {
    const { logLevel: level, logFile: file, logFormat: format, accessLog } = settings;
    this.log = openLog({ level, file, format });
    this.#hasFile = file !== undefined;
    this.#follower = new LogFollower(this.log, () => this.reopen());
    try {
      if (accessLog !== "off") this.#visits = new AccessLog(settings);
    } catch (error) {
      this.log.close();
      throw error;
    }
  }

  /** Whether requests are logged. */
  get hasVisits(): boolean {
    return this.#visits !== undefined;
  }

  /** Logs requests that have ended. */
  visits(visits: readonly Visited[]): void {
    for (const visit of visits) this.#visits?.write(visit);
  }

  /** Logs a line of a worker's own. */
  line(worker: number, { level, message, fields, job }: WorkerLine, tag: OfService): void {
    this.log[level](message, { ...fields, worker, job: job === 0 ? undefined : job, ...tag });
  }

  /** Logs that lines of a worker are missing. */
  dropped(worker: number, lines: number, tag: OfService): void {
    const message = "a worker logs too much: lines were dropped";
    this.log.warn(message, { worker, dropped: lines, ...tag });
  }

  /** Opens the files again under their names; false: not all could be, and the old ones are still used. */
  reopen(): boolean {
    const visits = this.#visits?.reopen() ?? true;
    if (!this.#hasFile) return visits;
    const reopened = this.log.reopen();
    if (reopened) this.log.info("log reopened");
    return reopened && visits;
  }

  /** Follows a rotation; returns ms until it must run again. */
  tick(now: number): number {
    return Math.min(this.#follower.tick(now), this.#visits?.tick(now) ?? Infinity);
  }

  /** Resolves when the last lines are written, or can't be in time. */
  async close(): Promise<void> {
    await Promise.all([this.log.close(), this.#visits?.close()]);
  }
}
