/** Requests that never stop, so that a test sees what becomes of them meanwhile. */

import { Peer } from "./peer.ts";
import { until } from "./wait.ts";

/** A client that always has some requests in flight, until `end`. */
export class Traffic {
  readonly #peer: Peer;
  readonly #replies = new Map<string, string[]>();
  readonly #done: Promise<void>;
  #sent = 0;
  #open = true;

  constructor(endpoint: string, options: { window?: number; body?: string } = {}) {
    this.#peer = new Peer(endpoint);
    this.#done = this.#run(options.window ?? 4, options.body ?? "x");
    this.#done.catch(() => {});
  }

  /** Requests that were answered so far. */
  get answered(): number {
    return this.#replies.size;
  }

  /** Waits until `count` more are answered. */
  async more(count: number): Promise<void> {
    const wanted = this.answered + count;
    await until(`${wanted} requests are answered`, () => this.answered >= wanted);
  }

  /** Asks no more, waits for what was asked, and gives the bodies of all replies in order. */
  async end(): Promise<string[][]> {
    this.#open = false;
    await this.#done;
    return Array.from({ length: this.#sent }, (_, id) => this.#replies.get(String(id)) ?? []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open = false;
    await this.#done.catch(() => {});
    await this.#peer[Symbol.asyncDispose]();
  }

  async #run(window: number, body: string): Promise<void> {
    while (this.#open || this.answered < this.#sent) {
      while (this.#open && this.#sent - this.answered < window) {
        this.#peer.send(String(this.#sent++), "", body);
      }
      const [id = "", , ...reply] = await this.#peer.receiveText(20_000);
      if (this.#replies.has(id)) throw new Error(`Request ${id} was answered twice`);
      this.#replies.set(id, reply);
    }
  }
}
