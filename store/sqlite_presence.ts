/**
 * Whether the file of jobs that is open still lies where it was: SQLite itself goes on writing to one that was removed
 * or replaced, and nobody would ever find what it has written there.
 *
 * @module
 */

/** Which file a path leads to; undefined: to none. */
export type Identify = (path: string) => string | undefined;

/** A check costs some calls of the system: it is good for so long, ms. */
const CHECK_INTERVAL = 1000;
/** What belongs to the file: its log and the log's index, which are there as long as it is open. */
const ENDINGS = ["", "-wal", "-shm"];

/** The file that is open is not where it was. */
export class MovedFileError extends Error {
  override readonly name = "MovedFileError";
}

/** Watches one file. */
export class FilePresence {
  readonly #path: string;
  readonly #steady: () => number;
  readonly #identify: Identify;
  /** Which files are open, by their paths, as far as they were there when they were first looked for. */
  readonly #open = new Map<string, string>();
  #checkedAt = -Infinity;

  /** Must be made when the file was just opened; `steady`: a clock that is never set, ms. */
  constructor(path: string, steady: () => number, identify: Identify = identityOf) {
    this.#path = path;
    this.#steady = steady;
    this.#identify = identify;
    this.#check();
  }

  /**
   * Looks whether it is there, unless that was done a moment ago.
   *
   * @throws {MovedFileError} when it is not, or another one is.
   */
  require(): void {
    const now = this.#steady();
    if (now - this.#checkedAt < CHECK_INTERVAL) return;
    this.#check();
    this.#checkedAt = now;
  }

  #check(): void {
    for (const ending of ENDINGS) {
      const path = this.#path + ending;
      const found = this.#identify(path);
      const open = this.#open.get(path);
      if (open === undefined && found !== undefined) this.#open.set(path, found);
      else if (open !== found) {
        const what = found === undefined ? "was removed" : "was replaced by another file";
        throw new MovedFileError(
          `"${path}" ${what}: put back the one that was there, or start the server again`,
        );
      }
    }
  }
}

function identityOf(path: string): string | undefined {
  try {
    const { dev, ino } = Deno.statSync(path);
    return `${dev} ${ino}`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
