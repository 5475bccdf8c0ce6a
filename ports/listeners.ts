/**
 * The endpoints that a router listens at: binds them, and accepts who comes there. Who may stay is decided
 * elsewhere.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { Epoll } from "../system/epoll.ts";
import type { Libc } from "../system/libc.ts";
import { PollEvent } from "../system/numbers.ts";
import type { PassedSockets } from "./passed_sockets.ts";
import { adoptListener, listenAt, type Listener, type Probes } from "../system/stream_socket.ts";

/** How endpoints are listened at. */
export interface ListenersOptions extends Pick<Settings, "keepAlive"> {
  /** Whether hosts of endpoints are IPv6. */
  ipv6: boolean;
  /** Endpoints whose sockets another process has bound. @default {none} */
  passed?: PassedSockets;
}

/** What `Listeners` report. */
export interface ListenersEvents {
  /**
   * A connection was accepted, from an address, "" over ipc: the file is the owner's now. `bound`: what was given
   * with the endpoint.
   */
  accepted(fd: number, address: string, bound: number | undefined): void;
  /** Nobody can be accepted for a while. */
  exhausted(): void;
}

/** A listener, and what was given with its endpoint. */
interface Bound {
  readonly listener: Listener;
  readonly bound: number | undefined;
}

/** Tokens of the epoll from here on are listeners'. */
export const LISTENER_TOKENS = 2 ** 30;
/** Connections that are accepted in a turn. */
const ACCEPTS = 64;
/** While the system has no descriptor left, nobody is accepted for this long unless one is closed here, ms. */
const EXHAUSTED_MS = 100;
/** Probes of a silent host that may go unanswered, in as much time again as it was silent. */
const PROBES = 3;

/** Listeners whose readiness an epoll of their owner's tells. */
export class Listeners {
  readonly #libc: Libc;
  readonly #epoll: Epoll;
  readonly #options: ListenersOptions;
  readonly #events: ListenersEvents;
  readonly #all: Bound[] = [];
  /** Until when nobody is accepted, ms. */
  #exhaustedUntil = -Infinity;

  /** Listens nowhere yet. */
  constructor(libc: Libc, epoll: Epoll, options: ListenersOptions, events: ListenersEvents) {
    this.#libc = libc;
    this.#epoll = epoll;
    this.#options = options;
    this.#events = events;
  }

  /**
   * Listens at one more endpoint, or anew at one whose file is gone, and returns the one really bound.
   *
   * @throws {SystemError} when it can't be bound.
   */
  bind(endpoint: string, bound: number | undefined, now: number): string {
    const listener = this.#listenAt(endpoint);
    const known = this.#all.findIndex((known) => known.listener.endpoint === listener.endpoint);
    const index = known < 0 ? this.#all.length : known;
    try {
      this.#epoll.add(listener.fd, LISTENER_TOKENS + index, PollEvent.IN);
    } catch (error) {
      listener.close();
      throw error;
    }
    this.#retire(this.#all[index], now);
    this.#all[index] = { listener, bound };
    return listener.endpoint;
  }

  #listenAt(endpoint: string): Listener {
    const { ipv6, keepAlive, passed } = this.#options;
    const probes = probesOf(keepAlive);
    const given = passed?.get(endpoint);
    if (given === undefined) return listenAt(this.#libc, endpoint, { ipv6, probes });
    return adoptListener(this.#libc, given.fd, given.endpoint, probes);
  }

  /** Somebody has removed the file of a listener, and nobody can reach it any more: takes who has before. */
  #retire(former: Bound | undefined, now: number): void {
    if (former === undefined) return;
    this.#accept(former, now);
    this.#epoll.remove(former.listener.fd);
    former.listener.close();
  }

  /** Accepts those who wait at the listener that has this token. */
  accept(token: number, now: number): void {
    const known = this.#all[token - LISTENER_TOKENS];
    if (known !== undefined) this.#accept(known, now);
  }

  #accept({ listener, bound }: Bound, now: number): void {
    for (let count = 0; count < ACCEPTS; count++) {
      const accepted = listener.accept();
      if (accepted === "none") return;
      if (accepted === "exhausted") return this.#acceptNobody(now);
      this.#events.accepted(accepted.fd, accepted.address, bound);
    }
  }

  /** Accepts nobody for a while: whoever waits keeps the listener readable. */
  #acceptNobody(now: number): void {
    this.#events.exhausted();
    this.#exhaustedUntil = now + EXHAUSTED_MS;
    this.#listen(0);
  }

  /** A descriptor was closed: somebody can be accepted again, if nobody could. */
  freed(): void {
    if (this.#exhaustedUntil !== -Infinity) this.#exhaustedUntil = 0;
  }

  /** Accepts again once it is time; returns ms until then. */
  tick(now: number): number {
    if (this.#exhaustedUntil === -Infinity) return Infinity;
    if (now < this.#exhaustedUntil) return this.#exhaustedUntil - now;
    this.#exhaustedUntil = -Infinity;
    this.#listen(PollEvent.IN);
    return Infinity;
  }

  #listen(events: number): void {
    this.#all.forEach(({ listener: { fd } }, index) => {
      this.#epoll.change(fd, LISTENER_TOKENS + index, events);
    });
  }

  /** Listens nowhere any more. */
  close(): void {
    for (const { listener } of this.#all.splice(0)) {
      this.#epoll.remove(listener.fd);
      listener.close();
    }
  }
}

function probesOf(keepAlive: number): Probes | undefined {
  if (keepAlive === 0) return undefined;
  const idle = Math.max(1, Math.round(keepAlive / 1000));
  return { idle, interval: Math.max(1, Math.round(idle / PROBES)), count: PROBES };
}
