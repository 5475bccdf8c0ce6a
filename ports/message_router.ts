/**
 * A router of our own whose messages come whole, and what the sources on it have in common: who has said something
 * wrong, who takes too little, and the end. What messages mean is its owner's.
 *
 * @module
 */

import type { Arrivals } from "../auth/arrivals.ts";
import type { Settings } from "../options/settings.ts";
import type { Libc } from "../system/libc.ts";
import type { LogFields } from "../wire/job.ts";
import { MAX_ENVELOPE_BYTES, MAX_ENVELOPE_FRAMES } from "../wire/request.ts";
import { MAX_HEAD_BYTES } from "../wire/zmtp.ts";
import type { Body, BodyPool } from "./body.ts";
import type { Connection } from "./connection.ts";
import { Incoming, type IncomingLimits, type IncomingRoom } from "./incoming.ts";
import { Intake } from "./intake.ts";
import { Router, type RouterEvents, type RouterOptions } from "./router.ts";
import type { SourceCounters } from "./source.ts";
import type { Wrong } from "./wrongs.ts";

/** What bounds a `MessageRouter`. */
export type MessageRouterOptions = RouterOptions & Pick<Settings, "maxMessageSize" | "maxFrames">;

/** What a `MessageRouter` reports, and asks. */
export interface MessageRouterEvents<T>
  extends Pick<RouterEvents<T>, "mayRead" | "roomFor" | "plain"> {
  /** Why no other client may connect from an address, "" over ipc; undefined: one may. */
  refusal(address: string, open: Arrivals): string | undefined;
  /** A message has come whole; its body is the listener's. */
  whole(message: Incoming<T>, body: Body): void;
  /** A message has come whole that says nothing. */
  malformed(connection: Connection<T>): void;
  /** A connection is gone. */
  gone(connection: Connection<T>): void;
  /** A peer takes nothing, and has half of that waiting that it may have. */
  stalled(connection: Connection<T>): void;
}

/** Time between two looks whether slow peers take something, ms. */
const JUDGE_INTERVAL = 100;
/** Time between two tries to send slow peers what is left for them at the end, ms. */
const LINGER_INTERVAL = 5;
/** A message of so many frames is always read to its end, so that 413 can be told. */
const LEAST_WIRE_FRAMES = 100_000;
/** Messages in the making that are kept to be used again. */
const MAX_SPARES = 64;

/** A router whose messages come whole. */
export class MessageRouter<T> {
  readonly router: Router<T>;
  readonly #events: MessageRouterEvents<T>;
  readonly #room: IncomingRoom<T>;
  readonly #spares: Incoming<T>[] = [];
  readonly #endpoints: string[] = [];
  /** Messages that say nothing, and connections that were closed for what came over them. */
  #malformed = 0;
  #lastMalformed: LogFields = {};
  /** Messages that peers did not take. */
  undelivered = 0;
  /** When slow peers are judged next, ms. */
  #judgeAt = 0;
  #isClosed = false;

  /**
   * Listens nowhere yet; `opening`: see `IncomingRoom`.
   *
   * @throws {SystemError} when the system has no file descriptor left.
   */
  constructor(
    libc: Libc,
    bodies: BodyPool,
    options: MessageRouterOptions,
    events: MessageRouterEvents<T>,
    opening?: IncomingRoom<T>["opening"],
  ) {
    const { maxMessageSize, maxFrames, unreadBytes } = options;
    const maxFrameBytes = 2 * maxMessageSize + MAX_ENVELOPE_BYTES;
    const maxWireBytes = maxFrameBytes + MAX_ENVELOPE_BYTES + MAX_HEAD_BYTES * maxFrames;
    const maxWireFrames = MAX_ENVELOPE_FRAMES + Math.max(2 * maxFrames, LEAST_WIRE_FRAMES);
    this.#events = events;
    this.#room = {
      bodies,
      intake: new Intake(Math.max(unreadBytes, 2 * maxMessageSize)),
      limits: { maxMessageSize, maxFrames, maxFrameBytes, maxWireBytes, maxWireFrames },
      ...(opening && { opening }),
      events: {
        whole: (message, body) => events.whole(message, body),
        malformed: (connection) => events.malformed(connection),
        broken: (connection, reason) => this.router.breakOff(connection, reason),
        done: (message) => {
          if (this.#spares.length < MAX_SPARES) this.#spares.push(message);
        },
      },
    };
    this.router = new Router("ROUTER", libc, bodies, options, this.#routerEvents());
  }

  #routerEvents(): RouterEvents<T> {
    const { mayRead, roomFor, refusal, plain } = this.#events;
    return {
      ...{ mayRead, roomFor, refusal, plain },
      inlet: (connection) => {
        const spare = this.#spares.pop();
        spare?.renew(connection);
        return spare ?? new Incoming(this.#room, connection);
      },
      makeRoom: () => this.#room.intake.giveUpOldest(),
      broken: (connection, reason) => this.misspoke(connection, reason),
      gone: (connection, undelivered) => {
        this.undelivered += undelivered;
        if (!this.#isClosed) this.#events.gone(connection);
      },
    };
  }

  /** What bounds messages. */
  get limits(): IncomingLimits {
    return this.#room.limits;
  }

  /** A peer has said something that means nothing. */
  misspoke({ address }: Pick<Connection<T>, "address">, reason: string): void {
    this.#malformed++;
    this.#lastMalformed = { address, reason };
  }

  get counters(): SourceCounters {
    const { denied, takeovers, squatters } = this.router;
    const { undelivered } = this;
    return { malformed: this.#malformed, undelivered, denied, takeovers, squatters };
  }

  lastOf(wrong: Wrong): LogFields {
    if (wrong === "takeovers") return { ...this.router.lastTakeover };
    if (wrong === "denied") return { ...this.router.lastDenial };
    return wrong === "malformed" ? this.#lastMalformed : {};
  }

  /** The endpoints really bound. */
  get endpoints(): readonly string[] {
    return this.#endpoints;
  }

  /** @throws {SystemError} when it can't be bound. */
  bind(endpoint: string, bound?: number): string {
    const real = this.router.bind(endpoint, bound);
    if (!this.#endpoints.includes(real)) this.#endpoints.push(real);
    return real;
  }

  /** Whether something waits for slow peers. */
  get hasUnsent(): boolean {
    return this.router.outlets.slow.size > 0;
  }

  set unreadBytes(bytes: number) {
    this.router.unread.limit = bytes;
    this.#room.intake.limit = Math.max(bytes, 2 * this.#room.limits.maxMessageSize);
  }

  flush(now: number): void {
    this.router.flush(now);
    if (!this.hasUnsent || now < this.#judgeAt) return;
    this.#judgeAt = now + JUDGE_INTERVAL;
    for (const connection of this.router.outlets.slow) this.#judge(connection, now);
  }

  /** Gives up what waits for a peer that takes nothing for too long, and reports one that is stalled. */
  #judge(connection: Connection<T>, now: number): void {
    const { outlets, unread } = this.router;
    if (unread.isLost(connection, now)) this.undelivered += outlets.dropWhole(connection, now);
    if (unread.isStalled(connection, now)) this.#events.stalled(connection);
  }

  /** Whether a peer takes nothing, and has half of that waiting that it may have. */
  isStalled(connection: Connection<T> | undefined, now: number): boolean {
    if (connection === undefined || connection.backlog === undefined) return false;
    return this.router.unread.isStalled(connection, now);
  }

  giveBackMemory(): void {
    this.#spares.length = 0;
    this.router.outlets.dropSpares();
  }

  /** Takes no more connections; resolves once all is taken, or after `lingerMs`. */
  async close(lingerMs: number): Promise<void> {
    this.router.stopListening();
    const end = performance.now() + lingerMs;
    this.router.flush(performance.now());
    while (this.hasUnsent && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, LINGER_INTERVAL));
      this.router.flush(performance.now());
    }
    this.closeNow();
  }

  closeNow(): void {
    this.#isClosed = true;
    this.router.closeAll();
  }
}
