/**
 * Counts the connections that were let in by their addresses, so that one address can't take all of them,
 * and slows all addresses down during an attack. Knows no sockets: the caller says what is open.
 *
 * @module
 */

import { parseAddress } from "./address.ts";

/** What is connected at the moment of a decision. */
export interface Scene {
  /** ms. */
  now: number;
  /** Connections of all that were let in; 0 also where that is not known. */
  connections: number;
  /** The addresses of those of them that have sent something, and how many of each. */
  speakers: Iterable<readonly [address: string, count: number]>;
  /** Whether a peer is there that has named itself as only libzmq names peers. */
  isAttacked: boolean;
  /** The addresses of all tcp peers, also those that were not let in; finding them takes a moment. */
  peers(): Iterable<Uint8Array>;
}

interface Block {
  /** Connections that were let in, less those that are known to have ended. */
  connections: number;
  /** How many more may be let in now while the server is attacked. */
  tokens: number;
  /** When `tokens` were counted, ms. */
  tokensAt: number;
}

/** Minimum time between two counts of open connections, ms. */
const COUNT_INTERVAL = 10;
/** With more addresses than this, those that have no connection any more are forgotten. */
const MANY_BLOCKS = 1024;
/** Connections that an address may open in a second while the server is attacked, and at once. */
const ATTACKED_RATE = 5;
const ATTACKED_BURST = 20;

/** The connections that were let in, by addresses. */
export class Crowd {
  readonly #blocks = new Map<string, Block>();
  #countedAt = -Infinity;
  #forgotAt = -Infinity;

  /** Why one more peer of this address must wait; undefined: it must not. */
  refusal(address: string, limit: number, scene: Scene): string | undefined {
    const { name, isLoopback } = crowdOf(address);
    const block = this.#blocks.get(name);
    if (scene.isAttacked && this.#tokens(block, scene.now) < 1) {
      return "the server is under attack, and this address has opened many connections";
    }
    if (block === undefined || limit === 0 || isLoopback || block.connections < limit) {
      return undefined;
    }
    this.#count(scene, name, COUNT_INTERVAL);
    if (block.connections < limit) return undefined;
    return `there are ${block.connections} connections from its address`;
  }

  /** A peer was let in. */
  enter(address: string, scene: Scene): void {
    const { name } = crowdOf(address);
    const { now } = scene;
    const block = this.#blocks.get(name) ??
      { connections: 0, tokens: ATTACKED_BURST, tokensAt: now };
    block.connections++;
    block.tokens = this.#tokens(block, now) - 1;
    block.tokensAt = now;
    this.#blocks.set(name, block);
    if (this.#blocks.size > MANY_BLOCKS) this.#forget(scene);
  }

  #tokens(block: Block | undefined, now: number): number {
    if (block === undefined) return ATTACKED_BURST;
    const gained = Math.max(0, now - block.tokensAt) / 1000 * ATTACKED_RATE;
    return Math.min(ATTACKED_BURST, Math.max(0, block.tokens) + gained);
  }

  /**
   * Nothing reports the addresses of connections that have ended. But an address has no more connections that were
   * let in than it has open ones, without the one that asks; nor more than there are in all, without
   * those of others. So it may be thought to have too many for a while, and never too few.
   */
  #count({ now, connections, speakers, peers }: Scene, asker: string, interval: number): void {
    if (now - this.#countedAt < interval) return;
    this.#countedAt = now;
    const open = tally([...peers()].map((bytes) => [nameOf(bytes), 1]));
    const known = tally([...speakers].map(([address, count]) => [crowdOf(address).name, count]));
    const others = [...known.values()].reduce((sum, count) => sum + count, 0);
    for (const [name, block] of this.#blocks) {
      const most = (open.get(name) ?? 0) - (name === asker ? 1 : 0);
      const rest = (connections || Infinity) - (others - (known.get(name) ?? 0));
      block.connections = Math.max(0, Math.min(block.connections, most, rest));
    }
  }

  #forget(scene: Scene): void {
    if (scene.now - this.#forgotAt < 1000) return;
    this.#forgotAt = scene.now;
    this.#count(scene, "", 0);
    for (const [name, { connections }] of this.#blocks) {
      if (connections === 0) this.#blocks.delete(name);
    }
  }
}

function tally(counts: readonly [name: string, count: number][]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const [name, count] of counts) sums.set(name, (sums.get(name) ?? 0) + count);
  return sums;
}

/** What counts as one address: of IPv6 a network, as one machine has all of it, and all of loopback. */
export function crowdOf(address: string): { name: string; isLoopback: boolean } {
  const bytes = parseAddress(address);
  const name = bytes === undefined ? address : nameOf(bytes);
  return { name, isLoopback: name === LOOPBACK };
}

const LOOPBACK = "loopback";
const IPV6_LOOPBACK = "0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,1";
const NETWORK_BYTES = 8;

function nameOf(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes[0] === 127 ? LOOPBACK : bytes.join(".");
  return bytes.join() === IPV6_LOOPBACK ? LOOPBACK : bytes.subarray(0, NETWORK_BYTES).join(":");
}
