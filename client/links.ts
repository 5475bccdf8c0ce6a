/**
 * A client's links, for the retry logic: which of them the next request goes to, when one is opened, left
 * for another endpoint, and closed. Without clock and sockets: times are ms, and what is to be done comes
 * out as steps.
 *
 * A plain link has one request at a time, since its replies have no id; other requests share the current
 * link. Under an identity (`named`) there is one link at a time.
 *
 * @module
 */

import type { Link, Step } from "./steps.ts";
import { Turns } from "./turns.ts";

/** How long an endpoint has to come up before the next one is tried. */
const CONNECT_MS = 500;

/** What decides how links are used. */
export interface LinksOptions {
  /** Requests go without an id. */
  plain: boolean;
  /** The client has an identity. */
  named: boolean;
  /** How many endpoints there are to choose from. @default {1} */
  endpoints?: number;
}

/** The links. */
export class Links<T> {
  readonly #plain: boolean;
  readonly #named: boolean;
  readonly #turns: Turns;
  readonly #push: (step: Step<T>) => void;
  readonly #open = new Set<Link<T>>();
  /** Plain links without a request. */
  readonly #idle: Link<T>[] = [];
  /** The link for new tries, unless plain. */
  #current: Link<T> | undefined;
  #dueAt = Infinity;

  /** Starts without a link; `push` takes the steps that open and close some. */
  constructor({ plain, named, endpoints = 1 }: LinksOptions, push: (step: Step<T>) => void) {
    this.#plain = plain;
    this.#named = named;
    this.#turns = new Turns(endpoints);
    this.#push = push;
  }

  /** No link is unreachable before this time: a lower bound, ms. */
  get dueAt(): number {
    return this.#dueAt;
  }

  /** Whether a link is open. */
  has(link: Link<T>): boolean {
    return this.#open.has(link);
  }

  /** Whether an endpoint is known that has not failed a moment ago. */
  hasOther(now: number): boolean {
    return this.#turns.hasOther(now);
  }

  /** The link for the next request; opens one if need be. */
  next(now: number): Link<T> {
    if (this.#plain) return this.#idle.pop() ?? this.#openNext(now);
    const link = this.#current;
    if (link !== undefined && this.#isShunned(link, now)) this.leave(link);
    return this.#current ??= this.#openNext(now);
  }

  /** A request has ended on a link, which may serve others or be needed no more. */
  release(link: Link<T>): void {
    if (this.#plain) this.#idle.push(link);
    else this.closeIfUnused(link);
  }

  /** Sends no more requests to a link, and closes it if none waits on it. */
  leave(link: Link<T>): void {
    if (link === this.#current) this.#current = undefined;
    this.#closeIfEmpty(link);
  }

  /** Closes a link that gets no more requests and on which none waits. */
  closeIfUnused(link: Link<T>): void {
    if (link !== this.#current) this.#closeIfEmpty(link);
  }

  /** An endpoint has failed: others are better for a while. */
  shun({ endpoint }: Link<T>, now: number): void {
    this.#turns.shun(endpoint, now);
  }

  /** A handshake has succeeded; false: the link is closed. */
  connected(link: Link<T>, now: number): boolean {
    if (!this.#open.has(link)) return false;
    link.state = "up";
    link.since = now;
    link.unstartedFrom = Infinity;
    this.#turns.trust(link.endpoint);
    return true;
  }

  /** A connection has ended; false: the link is closed, or had none. */
  disconnected(link: Link<T>, now: number): boolean {
    if (!this.#open.has(link) || link.state !== "up") return false;
    link.state = "connecting";
    link.since = now;
    link.unstartedFrom = Math.min(link.unstartedFrom, now);
    this.#dueAt = Math.min(this.#dueAt, now + CONNECT_MS);
    return true;
  }

  /**
   * Finds links whose endpoint has not come up while there is another one. Those are returned that no
   * server can have started a request of, to be moved; of the others, new requests go elsewhere.
   */
  *unreachable(now: number): Generator<Link<T>> {
    for (const link of this.#open) {
      if (now < link.since + CONNECT_MS || !this.#mayLeave(link)) continue;
      this.shun(link, now);
      if (!this.#turns.hasOther(now)) continue;
      if (isUnstarted(link)) yield link;
      else this.#current = undefined;
    }
  }

  /** Computes `dueAt` again. */
  schedule(now: number): void {
    this.#dueAt = Infinity;
    if (!this.#turns.several) return;
    for (const link of this.#open) {
      if (!this.#mayLeave(link)) continue;
      const leavesAt = Math.max(link.since + CONNECT_MS, this.#turns.otherAt(now));
      this.#dueAt = Math.min(this.#dueAt, leavesAt);
    }
  }

  /** Forgets all links. */
  clear(): void {
    this.#open.clear();
    this.#idle.length = 0;
    this.#current = undefined;
  }

  /** Whether another endpoint is better. Under an identity a link is kept while requests wait on it. */
  #isShunned(link: Link<T>, now: number): boolean {
    if (this.#named && link.requests.size > 0) return false;
    return this.#turns.isShunned(link.endpoint, now) && this.#turns.hasOther(now);
  }

  /** Whether a link without a connection can be left by its requests, or at least by those to come. */
  #mayLeave(link: Link<T>): boolean {
    if (link.state === "up" || link.requests.size === 0) return false;
    return isUnstarted(link) || link === this.#current && !this.#named;
  }

  #openNext(now: number): Link<T> {
    const link: Link<T> = {
      requests: new Set(),
      endpoint: this.#turns.next(now),
      state: "connecting",
      since: now,
      unstartedFrom: -Infinity,
      freshAt: now,
    };
    this.#open.add(link);
    if (this.#turns.several) this.#dueAt = Math.min(this.#dueAt, now + CONNECT_MS);
    this.#push({ do: "open", link });
    return link;
  }

  #closeIfEmpty(link: Link<T>): void {
    if (link.requests.size > 0 || !this.#open.delete(link)) return;
    this.#push({ do: "close", link });
  }
}

/** Whether no server can have started any of the requests that wait on a link, or it may start them again. */
export function isUnstarted<T>(link: Link<T>): boolean {
  for (const { sentAt, isRepeatable } of link.requests) {
    if (!isRepeatable && sentAt <= link.unstartedFrom) return false;
  }
  return true;
}
