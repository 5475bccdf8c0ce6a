/**
 * What workers need of the server's files: the socket that they connect to and libzmq's own file, both
 * where workers of another user can reach them but nobody else can change them. It is made again when
 * somebody has removed it. Not here: who listens on the socket.
 *
 * @module
 */

import { type Account, isForeign } from "./account.ts";
import { canRead, type Look, replaceableBy } from "./file_rights.ts";
import { folderOf } from "./files.ts";
import { makePrivateFolder, type PrivateFolder } from "./private_folder.ts";

/** What is asked of the system. */
export interface System {
  /** What lies at a path, links followed. */
  readonly look: Look;
  /** Which file lies at a path: no two that exist have the same. */
  identify(path: string): string | undefined;
  /** Whether code can be loaded from a file. */
  canExecute(path: string): boolean;
}

/** What a workplace is for. */
export interface WorkplaceOptions {
  /** The endpoint for workers; undefined: a socket in a private folder. */
  backend: string | undefined;
  /** Whom workers run as. */
  workers: Account;
  /** The file that workers open: libzmq, or the C library. */
  library: string;
}

/** Time between two touches of the files, ms: programs that tidy up remove what is old. */
const TOUCH_INTERVAL = 3_600_000;

/** A server's workplace. */
export class Workplace {
  readonly #options: WorkplaceOptions;
  readonly #system: System;
  #folder: PrivateFolder | undefined;
  #identity: string | undefined;
  /** Something of it is still to be made or bound. */
  #isUnfinished = false;
  /** The file that workers open, where they can read it. */
  #library: string;
  #touchAt = TOUCH_INTERVAL;
  /** What configures workers: their folders and the texts, and the files that have them. */
  readonly #placed = new Map<string, string>();
  /** The folders of some of the workers, by their names. */
  readonly #subfolders = new Set<string>();
  #isOpen = false;

  /**
   * Makes the private folder, if one is needed, and puts into it what workers need.
   *
   * @throws {Error} when it can't be made, or workers could not load libzmq.
   */
  constructor(options: WorkplaceOptions, system: System) {
    this.#options = options;
    this.#system = system;
    this.#library = options.library;
    this.renew();
  }

  /** The endpoint for workers, to be bound. */
  get backend(): string {
    return this.#options.backend ?? `ipc://${this.#folder?.path}/backend`;
  }

  /** The file that workers open, where they can read it. */
  get library(): string {
    return this.#library;
  }

  /** Why others could take the private folder's place; undefined: they can't, as far as can be seen. */
  get doubt(): string | undefined {
    if (this.#folder === undefined) return undefined;
    const { path } = this.#folder;
    const open = replaceableBy(folderOf(path), this.#options.workers, this.#system.look);
    return open &&
      `others can replace what is in "${open}", and so the private folder "${path}": ` +
        "set its sticky bit, or TMPDIR to another folder";
  }

  /** Whether somebody has removed or replaced the private folder. */
  get isGone(): boolean {
    if (this.#isUnfinished) return true;
    return this.#folder !== undefined && !this.#isOurs(this.#folder);
  }

  #isOurs({ path }: PrivateFolder): boolean {
    return this.#system.identify(path) === this.#identity;
  }

  /**
   * Makes a private folder in place of one that is gone; its socket is to be bound again. The one that is
   * gone counts as such until `handOver`.
   *
   * @throws {Error} when it can't be made, or workers could not load libzmq.
   */
  renew(): void {
    const { backend, workers } = this.#options;
    const copies = isForeign(workers) && !this.#isReadable;
    const before = this.#folder;
    if (before !== undefined && this.#isOurs(before)) before.remove();
    else before?.forget();
    const isNeeded = backend === undefined || copies || before !== undefined || this.#isUnfinished;
    this.#folder = undefined;
    this.#isUnfinished = isNeeded;
    this.#placed.clear();
    this.#subfolders.clear();
    if (!isNeeded) return;
    const folder = this.#makeFolder();
    if (copies) this.#library = this.#copyLibrary(folder.path);
  }

  #makeFolder(): PrivateFolder {
    const { workers } = this.#options;
    const folder = this.#folder = makePrivateFolder(workers);
    this.#identity = this.#system.identify(folder.path);
    if (isForeign(workers)) this.#requireSafety();
    if (this.#isOpen) folder.open();
    return folder;
  }

  /**
   * Writes a text that workers can read and nobody can change, and gives its path; the same text stays
   * where it is.
   *
   * @param subfolder `service-1` and so on: a folder of its own for some of the workers; "": none.
   * @throws {Error} when the private folder can't be made.
   */
  place(text: string, subfolder = ""): string {
    const id = `${subfolder}/${text}`;
    const placed = this.#placed.get(id);
    if (placed !== undefined) return placed;
    const EVERYBODY_READS = 0o644;
    const name = `config-${this.#placed.size + 1}.json`;
    const path = this.#write(name, text, subfolder);
    if (isForeign(this.#options.workers)) Deno.chmodSync(path, EVERYBODY_READS);
    this.#placed.set(id, path);
    return path;
  }

  /**
   * Writes a file that only workers can read.
   *
   * @param subfolder as for `place`.
   * @throws {Error} when the private folder can't be made.
   */
  write(name: string, text: string, subfolder = ""): void {
    const { uid, gid } = this.#options.workers;
    const path = this.#write(name, text, subfolder);
    if (isForeign(this.#options.workers)) Deno.chownSync(path, uid ?? null, gid ?? null);
  }

  #write(name: string, text: string, subfolder: string): string {
    const { path: folder } = this.#folder ?? this.#makeFolder();
    const path = `${this.#enter(folder, subfolder)}/${name}`;
    Deno.writeTextFileSync(path, text, { mode: 0o600 });
    return path;
  }

  /** Makes a subfolder that is not there yet. */
  #enter(folder: string, subfolder: string): string {
    if (subfolder === "") return folder;
    const path = `${folder}/${subfolder}`;
    if (this.#subfolders.has(subfolder)) return path;
    const ENTER_ONLY = 0o711;
    Deno.mkdirSync(path);
    // Made so at once, the process's umask would count.
    Deno.chmodSync(path, isForeign(this.#options.workers) ? ENTER_ONLY : 0o700);
    this.#subfolders.add(subfolder);
    return path;
  }

  /**
   * Gives the socket that was bound to the workers' user, and lets that into the folder.
   *
   * @throws {Error} when the socket lies where others may have put something else in its place.
   */
  handOver(bound: string): void {
    const { workers } = this.#options;
    if (isForeign(workers) && bound.startsWith("ipc:///")) {
      const path = bound.slice("ipc://".length);
      this.#requireOwnGround(path);
      Deno.chownSync(path, workers.uid ?? null, workers.gid ?? null);
      const SAME_USER_AND_GROUP = 0o660;
      Deno.chmodSync(path, SAME_USER_AND_GROUP);
    }
    this.#isOpen = true;
    this.#folder?.open();
    this.#isUnfinished = false;
  }

  /** Keeps the files from being tidied up as old; `now` counts from the start, ms. */
  touch(now: number): void {
    if (now < this.#touchAt) return;
    this.#touchAt = now + TOUCH_INTERVAL;
    const { path = "" } = this.#folder ?? {};
    const npmrcs = [...this.#subfolders].map((subfolder) => `${subfolder}/.npmrc`);
    const placed = [...this.#placed.values()].map((file) => file.slice(path.length + 1));
    this.#folder?.touch([...placed, ...npmrcs, ...this.#subfolders]);
  }

  /** Removes all that was made. */
  remove(): void {
    this.#folder?.remove();
  }

  /** Whether workers can read libzmq where it is. */
  get #isReadable(): boolean {
    return canRead(this.#options.library, this.#options.workers, this.#system.look);
  }

  /** What this process does in the folder, as root, must not be led elsewhere. */
  #requireSafety(): void {
    const { doubt } = this;
    if (doubt === undefined) return;
    this.#folder?.remove();
    throw new Error(`Cannot run workers as another "user" or "group": ${doubt}`);
  }

  #requireOwnGround(path: string): void {
    const { workers } = this.#options;
    const open = replaceableBy(folderOf(path), workers, this.#system.look);
    if (open === undefined) return;
    throw new Error(
      `Cannot give the socket "${path}" to the workers' user: others can replace what is in ` +
        `"${open}", leave "backend" out, or name a folder that only this user may write`,
    );
  }

  /** The folder is this user's alone, so nothing but what is written here can be there. */
  #copyLibrary(folder: string): string {
    const copy = `${folder}/libzmq`;
    const EVERYBODY_READS = 0o644;
    Deno.copyFileSync(this.#options.library, copy);
    Deno.chmodSync(copy, EVERYBODY_READS);
    if (this.#system.canExecute(copy)) return copy;
    this.#folder?.remove();
    throw new Error(
      `Cannot run workers as another "user" or "group": they may not read "${this.#options.library}", ` +
        `and no code can be loaded from "${folder}" (is it mounted noexec?): set TMPDIR to another ` +
        "folder, or ZMQ_LIBRARY to a file that they can read",
    );
  }
}
