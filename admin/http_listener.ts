/**
 * Where operators' programs connect: a bounded number of connections, of which one that has nothing whole to say
 * makes room for another. The runtime's own server bounds neither connections nor the time that a peer takes.
 *
 * @module
 */

import { type AnswerRequest, HttpConnection } from "./http_connection.ts";
import { Pace } from "./pace.ts";

/** Connections at a time. */
const MAX_CONNECTIONS = 256;
const ACCEPTED_PER_SECOND = 200;
/** How often slow peers are looked for, ms. */
const CHECK_INTERVAL = 1000;
/** After a connection could not be accepted, the next one waits so long, ms. */
const RETRY_DELAY = 100;

/** What is done with a connection: the address of its peer is "" over a unix socket. */
export type AnswerPeer = (address: string) => AnswerRequest;

/** A listener and its connections. */
export class HttpListener {
  readonly #listener: Deno.Listener;
  readonly #answer: AnswerPeer;
  /** The oldest first. */
  readonly #connections = new Set<HttpConnection>();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #stopListening: () => void;
  readonly #pace = new Pace(ACCEPTED_PER_SECOND, MAX_CONNECTIONS);
  #isClosed = false;

  /**
   * Accepts connections from now on.
   *
   * @param stopListening closes the listener.
   */
  constructor(
    listener: Deno.Listener,
    answer: AnswerPeer,
    stopListening: () => void = () => listener.close(),
  ) {
    this.#listener = listener;
    this.#answer = answer;
    this.#stopListening = stopListening;
    this.#timer = setInterval(() => this.#tick(), CHECK_INTERVAL);
    Deno.unrefTimer(this.#timer);
    this.#accept();
  }

  /** How many are connected. */
  get connections(): number {
    return this.#connections.size;
  }

  #tick(): void {
    const now = performance.now();
    for (const connection of this.#connections) connection.tick(now);
  }

  async #accept(): Promise<void> {
    while (!this.#isClosed) {
      try {
        await this.#pace.turn();
        const conn = await this.#listener.accept();
        if (this.#isClosed) conn.close();
        else this.#add(conn);
      } catch (error) {
        // No descriptor is left, or the peer was gone at once.
        if (!this.#isClosed) {
          await wait(error instanceof Deno.errors.ConnectionAborted ? 0 : RETRY_DELAY);
        }
      }
    }
  }

  #add(conn: Deno.Conn): void {
    if (this.#connections.size >= MAX_CONNECTIONS && !this.#makeRoom()) return conn.close();
    const { remoteAddr } = conn;
    const address = "hostname" in remoteAddr ? remoteAddr.hostname : "";
    const connection = new HttpConnection(conn, this.#answer(address), performance.now());
    this.#connections.add(connection);
    connection.serve().finally(() => this.#connections.delete(connection));
  }

  /** Closes the oldest connection that has no whole request; false: each has one. */
  #makeRoom(): boolean {
    for (const connection of this.#connections) {
      if (!connection.isIdle) continue;
      connection.close();
      this.#connections.delete(connection);
      return true;
    }
    return false;
  }

  /** Accepts no more; resolves when answers under way are written, or after `timeoutMs`. */
  async close(timeoutMs: number): Promise<void> {
    this.stop();
    for (const connection of this.#connections) if (connection.isIdle) connection.close();
    const endsAt = performance.now() + timeoutMs;
    while (this.#connections.size > 0 && performance.now() < endsAt) await wait(10);
    for (const connection of this.#connections) connection.close();
  }

  /** Accepts no more. */
  stop(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#timer);
    this.#stopListening();
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
