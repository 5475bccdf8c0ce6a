/**
 * Connections that are open, by the addresses that they come from, and how quickly new ones come. What counts as one
 * address is crowd.ts's. Decides nothing: access_control.ts does.
 *
 * @module
 */

import { crowdOf } from "./crowd.ts";

interface Crowd {
  connections: number;
  /** How many may come at once, as of `at`, ms. */
  tokens: number;
  at: number;
}

/** With more addresses than this, those that have no connection any more are forgotten. */
const MANY_CROWDS = 1024;

/** Connections by addresses; "" is ipc's. */
export class Arrivals {
  readonly #crowds = new Map<string, Crowd>();
  /** How many an address may open in a second, and at once; 0: any number. Not for loopback and ipc. */
  readonly #perSecond: number;
  /** All connections. */
  connections = 0;

  /** Knows of none yet. */
  constructor(perSecond: number) {
    this.#perSecond = perSecond;
  }

  /** How many come from an address, or a network of IPv6. */
  of(address: string): number {
    return this.#crowds.get(crowdOf(address).name)?.connections ?? 0;
  }

  /** Counts one that wants to come; false: as many have come from its address as may in this second. */
  knock(address: string, now: number): boolean {
    const { name, isLoopback } = crowdOf(address);
    if (this.#perSecond === 0 || isLoopback || address === "") return true;
    const crowd = this.#crowdOf(name, now);
    const gained = Math.max(0, now - crowd.at) / 1000 * this.#perSecond;
    crowd.tokens = Math.min(this.#perSecond, crowd.tokens + gained);
    crowd.at = now;
    if (crowd.tokens < 1) return false;
    crowd.tokens--;
    return true;
  }

  /** A connection has come. */
  enter(address: string, now: number): void {
    this.connections++;
    this.#crowdOf(crowdOf(address).name, now).connections++;
  }

  /** A connection has ended. */
  leave(address: string): void {
    this.connections--;
    const crowd = this.#crowds.get(crowdOf(address).name);
    if (crowd !== undefined) crowd.connections--;
  }

  #crowdOf(name: string, now: number): Crowd {
    const known = this.#crowds.get(name);
    if (known !== undefined) return known;
    if (this.#crowds.size >= MANY_CROWDS) this.#forget(now);
    const crowd = { connections: 0, tokens: this.#perSecond, at: now };
    this.#crowds.set(name, crowd);
    return crowd;
  }

  /** Forgets addresses whose connections have ended, and that may open as many as ever again. */
  #forget(now: number): void {
    for (const [name, { connections, at }] of this.#crowds) {
      if (connections === 0 && now - at > 1000) this.#crowds.delete(name);
    }
  }
}
