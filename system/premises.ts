/**
 * What a server keeps on the disk while it runs: its pid file, the workplace of its workers, and the folder
 * that they start in. Makes all of it, makes again what somebody has removed, and removes it at the end.
 * Not here: the sockets, which lie in the workplace but are bound elsewhere.
 *
 * @module
 */

import type { Library } from "../zmq/library.ts";
import { messageOf } from "./errors.ts";
import { IpcPaths } from "./ipc_path.ts";
import { claimPidFile, type PidFile } from "./pid_file.ts";
import { isAlive } from "./proc.ts";
import { StartFolder } from "./start_folder.ts";
import { Workplace, type WorkplaceOptions } from "./workplace.ts";

/** What premises are made for. */
export interface PremisesOptions extends WorkplaceOptions {
  /** The path of the pid file; undefined: none. */
  pidFile: string | undefined;
}

/** Files for workers. */
export interface PlacedFiles {
  /**
   * Writes a text that workers can read and nobody can change, and gives its path; the same text stays
   * where it is.
   *
   * @throws {Error} when the private folder can't be made.
   */
  place(text: string): string;
  /**
   * Writes a file that only workers can read.
   *
   * @throws {Error} when the private folder can't be made.
   */
  write(name: string, text: string): void;
}

/** Where remarks go. */
export interface Remarks {
  warn(message: string, fields?: Readonly<Record<string, string>>): void;
  error(message: string, fields?: Readonly<Record<string, string>>): void;
}

/** What others do when something was removed. */
export interface Mending {
  /** There is a new private folder: what lay in the old one is to be put there, and the socket bound. */
  moved(): void;
  /** Socket files may be gone: those that are, are to be bound again. */
  sockets(): void;
}

/** Time between two checks that all is still there, and after a failure, ms. */
const CHECK_INTERVAL = 1000;
const RETRY_INTERVAL = 3000;

/** The places of a server. */
export class Premises {
  readonly #remarks: Remarks;
  readonly #workplace: Workplace;
  readonly #pidFile: PidFile | undefined;
  /** The folder that the server was started in. */
  readonly start: StartFolder;
  /** The first check, ms: the workplace counts its age from then. */
  #openedAt: number | undefined;
  #dueAt = -Infinity;
  /** It was said that the start folder is gone. */
  #isHomeless = false;

  /**
   * Claims the pid file and makes the workplace.
   *
   * @throws {Error} when one of them can't be had; nothing is left then.
   */
  constructor(library: Library, options: PremisesOptions, remarks: Remarks) {
    this.#remarks = remarks;
    const { pidFile, ...workplace } = options;
    if (pidFile !== undefined) {
      this.#pidFile = claimPidFile(pidFile, isAlive, (message) => remarks.warn(message));
    }
    try {
      const paths = new IpcPaths(library);
      this.start = new StartFolder(() => paths.absolute("")?.replace(/(?<=.)\/$/, ""));
      this.#workplace = openWorkplace(workplace, paths);
    } catch (error) {
      this.#pidFile?.release();
      throw error;
    }
    const { doubt } = this.#workplace;
    if (doubt !== undefined) remarks.warn(doubt);
  }

  /** The endpoint for workers, to be bound. */
  get backend(): string {
    return this.#workplace.backend;
  }

  /** The file that workers open, where they can read it. */
  get library(): string {
    return this.#workplace.library;
  }

  /**
   * Where files for some of the workers are put: those of one service, which must not find another's.
   *
   * @param subfolder `service-1` and so on: a folder of their own in the private folder; "": none.
   */
  filesIn(subfolder: string): PlacedFiles {
    return {
      place: (text) => this.#workplace.place(text, subfolder),
      write: (name, text) => this.#workplace.write(name, text, subfolder),
    };
  }

  /**
   * Gives the socket that was bound to the workers' user, and lets that into the folder.
   *
   * @throws {Error} when the socket lies where others may have put something else in its place.
   */
  handOver(bound: string): void {
    this.#workplace.handOver(bound);
  }

  /** The same for a socket that was bound again; false: it could not be done, and is tried later. */
  handOverAgain(bound: string, now: number): boolean {
    try {
      this.#workplace.handOver(bound);
      return true;
    } catch (error) {
      this.failed(messageOf(error), now);
      return false;
    }
  }

  /** Checks that all is still there, and has others mend what is theirs; returns ms until it must run again. */
  tick(now: number, mending: Mending): number {
    if (now < this.#dueAt) return this.#dueAt - now;
    this.#openedAt ??= now;
    this.#dueAt = now + CHECK_INTERVAL;
    try {
      this.#workplace.touch(now - this.#openedAt);
      this.#checkStart();
      if (this.#workplace.isGone) {
        this.#workplace.renew();
        mending.moved();
      }
      mending.sockets();
    } catch (error) {
      this.failed(messageOf(error), now);
    }
    return this.#dueAt - now;
  }

  /** What is gone can't be made again now: it is tried later. */
  failed(error: string, now: number): void {
    this.#remarks.error("what was removed cannot be made again", { error });
    this.#dueAt = now + RETRY_INTERVAL;
  }

  /** Checks nothing more: the server stops. */
  leave(): void {
    this.#dueAt = Infinity;
  }

  /** Removes all that was made. */
  remove(): void {
    this.#pidFile?.release();
    this.#workplace.remove();
  }

  #checkStart(): void {
    if (this.#isHomeless || !this.start.isGone) return;
    this.#isHomeless = true;
    const message = "the folder that the server was started in was removed, new workers start in /";
    const { path } = this.start;
    this.#remarks.warn(message, path === undefined ? {} : { folder: path });
  }
}

function openWorkplace(options: WorkplaceOptions, paths: IpcPaths): Workplace {
  return new Workplace(options, {
    look: (path) => orNothing(() => paths.look(path)),
    identify: (path) => orNothing(() => paths.find(path)?.id),
    canExecute: (path) => paths.canExecute(path),
  });
}

/** Outside Linux it takes a permission to read what lies at a path. */
function orNothing<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
}
