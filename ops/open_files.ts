/**
 * The file descriptors of this process while it serves: counts them, and says when they run short. Each
 * client and each worker takes some, and libzmq ends the process where it finds none for a worker.
 *
 * @module
 */

import { fileLimit, openFiles } from "../system/proc.ts";
import type { Log } from "./log.ts";
import { type Files, FILES_FOR_START } from "./start_checks.ts";

/**
 * File descriptors that are left: enough, few, or too few to accept a client or to start a worker.
 *
 *     enough ─→ few ─→ none ─→ few, enough
 */
type Supply = "enough" | "few" | "none";

/** The least time between two counts, and the most, ms: nothing reports a peer that is silent. */
const COUNT_INTERVAL = 1000;
const REST_INTERVAL = 5000;
/** The share of the limit from which on a warning is due. */
const FEW_SHARE = 0.9;
const CURE = "raise LimitNOFILE= or ulimit -n, or set maxConnections";

/** What is asked of the system. */
export interface FileTable {
  /** Open files and their limit; undefined where that can't be read. */
  count(): Files | undefined;
  /** Whether so many more can be opened. */
  canOpen(count: number): boolean;
}

/** Counts this process's open files. */
export function countFiles(): Files | undefined {
  const [open, limit] = [openFiles(), fileLimit()];
  return open === undefined || limit === undefined ? undefined : { open, limit };
}

/** Watches the supply of file descriptors. */
export class OpenFiles {
  readonly #table: FileTable;
  readonly #log: Log;
  /** Called when workers can be started again. */
  readonly #freed: () => void;
  /** The last count; undefined where files can't be counted. */
  #files: Files | undefined;
  #supply: Supply = "enough";
  #countedAt = -Infinity;

  /** `freed` is called when there are file descriptors again after there were none. */
  constructor(table: FileTable, log: Log, freed: () => void) {
    this.#table = table;
    this.#log = log;
    this.#freed = freed;
  }

  /**
   * Warns when few are left, and with each count while there are none; returns ms until it must run again.
   */
  tick(now: number): number {
    if (now - this.#countedAt >= COUNT_INTERVAL) {
      this.#countedAt = now;
      this.#files = this.#count();
      this.#judge();
    }
    const interval = this.#supply === "none" ? COUNT_INTERVAL : REST_INTERVAL;
    return this.#countedAt + interval - now;
  }

  /**
   * Makes sure that workers can connect, of which so many are starting.
   *
   * @throws {Error} when too few file descriptors are left.
   */
  require(starting: number): void {
    if (this.#table.canOpen(FILES_FOR_START * Math.max(1, starting))) return;
    throw new Error("Too few file descriptors are left");
  }

  #count(): Files | undefined {
    const last = this.#files;
    // Where it could be counted before, there is no descriptor left to count with.
    return this.#table.count() ?? (last && { open: last.limit, limit: last.limit });
  }

  #judge(): void {
    const before = this.#supply;
    const { open, limit } = this.#files ?? { open: 0, limit: Infinity };
    const few = open >= limit * FEW_SHARE ? "few" : "enough";
    this.#supply = this.#table.canOpen(FILES_FOR_START) ? few : "none";
    if (this.#supply === "none") {
      const message = "file descriptors ran out, new clients and workers must wait";
      this.#log.warn(`${message}: ${CURE}`, { ...this.#files });
    } else if (before === "none") {
      this.#log.info("file descriptors are free again");
      this.#freed();
    } else if (this.#supply === "few" && before === "enough") {
      this.#log.warn("file descriptors are running out", { open, limit });
    }
  }
}
