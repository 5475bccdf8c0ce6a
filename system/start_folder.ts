/**
 * The folder that the server was started in, which its workers start in too. Somebody may remove it while
 * the server runs.
 *
 * @module
 */

/** Knows the folder, as long as its path could be found once. */
export class StartFolder {
  readonly #find: () => string | undefined;
  readonly #path: string | undefined;

  /** `find` gives the path of the current folder; undefined: it is gone. */
  constructor(find: () => string | undefined) {
    this.#find = find;
    this.#path = find();
  }

  /** Its path; undefined where it was gone from the start. */
  get path(): string | undefined {
    return this.#path;
  }

  /** Whether it was removed. */
  get isGone(): boolean {
    return this.#find() === undefined;
  }
}
