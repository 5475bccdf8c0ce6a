/**
 * How a server turns out: whether it becomes ready, and how it ends.
 *
 * @module
 */

/** How a server ended. */
export interface Finished {
  /** Whether a worker had to be killed because it did not leave in time. */
  forced: boolean;
}

/** What one server promises. */
export class Outcome {
  readonly #ready = Promise.withResolvers<void>();
  readonly #finished = Promise.withResolvers<Finished>();
  #failure: Error | undefined;
  /** Somebody has one of the promises, and so hears of a failure. */
  #isAsked = false;

  constructor() {
    // Whoever does not ask need not catch.
    this.#ready.promise.catch(() => {});
    this.#finished.promise.catch(() => {});
  }

  /** Fulfilled when the server is ready; rejected when it never will be. */
  get ready(): Promise<void> {
    this.#isAsked = true;
    return this.#ready.promise;
  }

  /** Fulfilled when the server has ended; rejected when it could not start or broke. */
  get finished(): Promise<Finished> {
    this.#isAsked = true;
    return this.#finished.promise;
  }

  /** Fulfilled when the server has ended, in whatever way. */
  get ended(): Promise<void> {
    return this.#finished.promise.then(() => {}, () => {});
  }

  /** Why the server has failed; undefined: it has not. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Waits for the end; rejects with a failure only if nobody else has heard of it. */
  async dispose(): Promise<void> {
    try {
      await this.#finished.promise;
    } catch (error) {
      // Told twice, it would hide the error that ends the caller's block.
      if (!this.#isAsked) throw error;
    }
  }

  /** The server is ready. */
  becameReady(): void {
    this.#ready.resolve();
  }

  /** The server has failed; only the first failure counts. */
  fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
    this.#ready.reject(this.#failure);
  }

  /** The server has ended. */
  end(finished: Finished): void {
    this.#ready.reject(this.#failure ?? new Error("Cannot be ready: the server has ended"));
    if (this.#failure === undefined) this.#finished.resolve(finished);
    else this.#finished.reject(this.#failure);
  }
}
