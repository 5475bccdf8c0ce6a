/**
 * The connection to NATS: it is made, made again for ever, and tells when it is there and when it is not. What was
 * subscribed to stays so over all connections.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import type { StoreClock } from "./job_store.ts";
import { guardThread } from "./nats_guard.ts";
import type { NatsOrders } from "./messages.ts";
import type {
  NatsConnection,
  NatsHeaders,
  NatsLibrary,
  NatsMessage,
  NatsSubscription,
} from "./nats_library.ts";
import type { NatsAddress } from "./nats_names.ts";

/** A server that says nothing is given up after three of these, ms. */
const PING_INTERVAL = 1500;
const MAX_PINGS_OUT = 2;
const RETRY_INTERVAL = 500;
/** How long one attempt to connect may take, ms. */
const CONNECT_TIMEOUT = 5000;
/** What is under way comes within this time, ms. */
const DRAIN_LIMIT = 1000;
/** What comes of a socket that was closed comes within this time, ms. */
const GUARD_LIMIT = 3000;
/** What was said last is sent within this time, ms. */
const FLUSH_LIMIT = 1000;
/** What nobody waits for is sent with what comes next, or after that, ms: each sending costs as much as its message. */
const SOON = 10;

/** What a link is made of. */
export interface LinkParts {
  library: NatsLibrary;
  address: NatsAddress;
  orders: NatsOrders;
  clock: StoreClock;
  /** Name of the connection, which operators of NATS see. */
  name: string;
  /** It is there. */
  onUp(): void;
  /** It is gone, or can't be made; told once until it is up again. */
  onDown(reason: string): void;
}

type Hear = (message: NatsMessage) => void;

/** See above. */
export class NatsLink {
  readonly #parts: LinkParts;
  readonly #heard = new Set<{ subject: string; hear: Hear; now: NatsSubscription | undefined }>();
  #connection: NatsConnection | undefined;
  #isUp = false;
  #maxPayload = Infinity;
  #isDownTold = false;
  #isClosed = false;
  #endGuard = () => {};
  #soon: { subject: string; payload: string }[] = [];
  #cancelSoon: (() => void) | undefined;

  /** Nothing happens before `open`. */
  constructor(parts: LinkParts) {
    this.#parts = parts;
  }

  /** Whether something can be sent. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** The largest message that is taken, as far as is known, bytes. */
  get maxPayload(): number {
    this.#maxPayload = this.#connection?.info?.max_payload ?? this.#maxPayload;
    return this.#maxPayload;
  }

  /** The connection; undefined: there is none, and there never was. */
  get connection(): NatsConnection | undefined {
    return this.#connection;
  }

  /** Goes on until `close`. */
  async open(): Promise<void> {
    this.#endGuard = guardThread();
    while (!this.#isClosed) {
      try {
        this.#connection = await this.#connect();
        if (this.#isClosed) await this.#connection.close();
        else await this.#live(this.#connection);
      } catch (error) {
        this.#down(messageOf(error));
      }
      if (!this.#isClosed) await this.#pause();
    }
  }

  /** Sends; false: nothing was sent, as there is no connection. */
  publish(
    subject: string,
    payload?: Uint8Array | string,
    options?: { reply?: string; headers?: NatsHeaders },
  ): boolean {
    if (!this.#isUp || this.#connection === undefined) return false;
    if (this.#soon.length > 0) this.#sendSoon();
    try {
      this.#connection.publish(subject, payload, options);
      return true;
    } catch {
      return false; // it was closed in this moment
    }
  }

  /** Sends what nobody waits for, and what may be lost with the connection. */
  publishSoon(subject: string, payload: string): void {
    this.#soon.push({ subject, payload });
    this.#cancelSoon ??= this.#parts.clock.after(SOON, () => this.#sendSoon());
  }

  #sendSoon(): void {
    this.#cancelSoon?.();
    this.#cancelSoon = undefined;
    const all = this.#soon;
    this.#soon = [];
    for (const { subject, payload } of all) this.publish(subject, payload);
  }

  /** Hears a subject, over all connections; gives what ends that. */
  subscribe(subject: string, hear: Hear): () => void {
    const one = { subject, hear, now: this.#connection && listen(this.#connection, subject, hear) };
    this.#heard.add(one);
    return () => {
      this.#heard.delete(one);
      try {
        one.now?.unsubscribe();
      } catch {
        // the connection is closed
      }
    };
  }

  /** Hears a subject no more, once what is under way has come, or can't come. */
  async drain(subject: string): Promise<void> {
    for (const one of [...this.#heard]) {
      if (one.subject !== subject) continue;
      this.#heard.delete(one);
      const drained = this.#isUp ? one.now?.drain().catch(() => {}) : undefined;
      if (drained !== undefined) await this.#atMost(DRAIN_LIMIT, drained);
    }
  }

  /** Sends what is left, and ends. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#sendSoon();
    const wasUp = this.#isUp;
    this.#isUp = false;
    if (wasUp && this.#connection !== undefined) {
      // A server that says nothing would be waited for until the connection is given up.
      await this.#atMost(FLUSH_LIMIT, this.#connection.flush().catch(() => {}));
    }
    await this.#connection?.close().catch(() => {});
    // A reset or an alert may still be under way.
    this.#parts.clock.after(GUARD_LIMIT, () => this.#endGuard());
  }

  #atMost(ms: number, what: Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#parts.clock.after(ms, resolve);
      void what.then(() => {
        cancel();
        resolve();
      });
    });
  }

  #connect(): Promise<NatsConnection> {
    const { library, address, orders, name } = this.#parts;
    return library.connect({
      servers: address.servers,
      name,
      reconnect: true,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RETRY_INTERVAL,
      pingInterval: PING_INTERVAL,
      maxPingOut: MAX_PINGS_OUT,
      timeout: CONNECT_TIMEOUT,
      // A cluster that restarts refuses for a moment.
      ignoreAuthErrorAbort: true,
      // Grants are for names, and for the servers that the option names.
      resolve: false,
      ignoreClusterUpdates: !mayReachAll(),
      ...authentication(library, address, orders),
      ...encryption(address, orders),
    });
  }

  /** One connection's life, which nats.js mends until it can't. */
  async #live(connection: NatsConnection): Promise<void> {
    for (const one of this.#heard) one.now = listen(connection, one.subject, one.hear);
    this.#up();
    void this.#watch(connection);
    const error = await connection.closed();
    this.#isUp = false;
    if (!this.#isClosed) this.#down(error === undefined ? "it was closed" : messageOf(error));
  }

  async #watch(connection: NatsConnection): Promise<void> {
    for await (const { type, error } of connection.status()) {
      if (type === "disconnect") this.#down("the connection is lost");
      if (type === "reconnect") this.#up();
      if (type === "error" && error !== undefined && !this.#isUp) this.#down(messageOf(error));
    }
  }

  #up(): void {
    if (this.#isClosed || this.#isUp) return;
    this.#isUp = true;
    this.#isDownTold = false;
    this.#parts.onUp();
  }

  #down(reason: string): void {
    this.#isUp = false;
    if (this.#isClosed || this.#isDownTold) return;
    this.#isDownTold = true;
    this.#parts.onDown(reason);
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#parts.clock.after(RETRY_INTERVAL, () => resolve()));
  }
}

function listen(connection: NatsConnection, subject: string, hear: Hear): NatsSubscription {
  return connection.subscribe(subject, {
    callback: (error, message) => {
      if (error === null) hear(message);
    },
  });
}

/** Whether servers that the cluster tells of may be connected to. */
function mayReachAll(): boolean {
  return Deno.permissions.querySync({ name: "net" }).state === "granted";
}

function authentication(
  library: NatsLibrary,
  { user, password }: NatsAddress,
  { credentials, nkey }: NatsOrders,
): Record<string, unknown> {
  if (credentials !== undefined) {
    return { authenticator: library.credsAuthenticator(readSecret(credentials)) };
  }
  if (nkey !== undefined) {
    return { authenticator: library.nkeyAuthenticator(seedIn(readSecret(nkey))) };
  }
  return user === undefined ? {} : { user, pass: password };
}

function encryption({ isTls }: NatsAddress, { tls }: NatsOrders): Record<string, unknown> {
  if (tls !== undefined) {
    const { ca, cert, key } = tls;
    return { tls: withoutUndefined({ caFile: ca, certFile: cert, keyFile: key }) };
  }
  return isTls ? { tls: {} } : {};
}

function withoutUndefined(members: Record<string, string | undefined>): Record<string, string> {
  const known: Record<string, string> = {};
  for (const [name, value] of Object.entries(members)) if (value !== undefined) known[name] = value;
  return known;
}

/** @throws {Error} which names the file. */
function readSecret(path: string): Uint8Array {
  try {
    return Deno.readFileSync(path);
  } catch (error) {
    throw new Error(`Cannot read "${path}": ${messageOf(error)}`);
  }
}

/** The line of a file that has the seed of a user's nkey. */
function seedIn(file: Uint8Array): Uint8Array {
  const seed = new TextDecoder().decode(file).split("\n").map((line) => line.trim())
    .find((line) => /^S[A-Z2-7]{50,}$/.test(line));
  if (seed === undefined) throw new Error("The file of natsNkey has no seed (S…)");
  return new TextEncoder().encode(seed);
}
