/**
 * The source on libzmq where services have endpoints of their own: a ROUTER for those of all services, and one for
 * those of each such service. libzmq does not say at which of its endpoints a socket has accepted a connection.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import type { LogFields } from "../wire/job.ts";
import type { Socket } from "../zmq/socket.ts";
import type { Body } from "./body.ts";
import type { Content } from "./content.ts";
import type { Address, Presence, Source, SourceCounters } from "./source.ts";
import type { Wrong } from "./wrongs.ts";
import type { ZmqSource } from "./zmq_source.ts";

/** Several sockets, as one source. */
export class ZmqSources implements Source {
  readonly #common: ZmqSource;
  /** By the numbers of the services. */
  readonly #bound: ReadonlyMap<number, ZmqSource>;
  readonly #all: readonly ZmqSource[];

  /** The sources are its own now; `unreadBytes`: maximum bytes of replies that clients of all have not taken. */
  constructor(common: ZmqSource, bound: ReadonlyMap<number, ZmqSource>, unreadBytes: number) {
    this.#common = common;
    this.#bound = bound;
    this.#all = [common, ...bound.values()];
    this.unreadBytes = unreadBytes;
  }

  #of({ bound }: Peer<Body>): ZmqSource {
    return this.#at(bound);
  }

  #at(bound: number | undefined): ZmqSource {
    return (bound === undefined ? undefined : this.#bound.get(bound)) ?? this.#common;
  }

  get ports(): readonly Socket[] {
    return this.#all.flatMap(({ ports }) => ports);
  }

  get endpoints(): readonly string[] {
    return this.#all.flatMap(({ endpoints }) => endpoints);
  }

  get counters(): SourceCounters {
    const all = this.#all.map(({ counters }) => counters);
    const sum = (counter: keyof SourceCounters) =>
      all.reduce((sum, counters) => sum + counters[counter], 0);
    return {
      malformed: sum("malformed"),
      undelivered: sum("undelivered"),
      // One handler answers the questions of all.
      denied: this.#common.counters.denied,
      takeovers: sum("takeovers"),
      squatters: sum("squatters"),
    };
  }

  get clients(): number {
    return this.#all.reduce((sum, { clients }) => sum + clients, 0);
  }

  *present(): Generator<Presence> {
    for (const source of this.#all) yield* source.present();
  }

  connections(now: number): number | undefined {
    if (!this.#common.notified) return undefined;
    return this.#all.reduce((sum, source) => sum + (source.connections(now) ?? 0), 0);
  }

  /** @throws {ZmqError} when it can't be bound. */
  bind(endpoint: string, bound?: number): string {
    return this.#at(bound).bind(endpoint);
  }

  pause(): boolean {
    return false;
  }

  tick(): number {
    return Infinity;
  }

  read(now: number): number {
    return this.#all.reduce((sum, source) => sum + source.read(now), 0);
  }

  isReadable(): boolean {
    return this.#all.some((source) => source.isReadable());
  }

  set unreadBytes(bytes: number) {
    for (const source of this.#all) source.unreadBytes = bytes / this.#all.length;
  }

  get hasUnsent(): boolean {
    return this.#all.some(({ hasUnsent }) => hasUnsent);
  }

  reply(to: Address, code: number, flags: number, content: Content, now: number): void {
    this.#of(to.client.peer).reply(to, code, flags, content, now);
  }

  replyError(to: Address, code: number, flags: number, message: string, now: number): void {
    this.#of(to.client.peer).replyError(to, code, flags, message, now);
  }

  part(to: Address, flags: number, number: number, content: Content, now: number): boolean {
    return this.#of(to.client.peer).part(to, flags, number, content, now);
  }

  flush(now: number): void {
    for (const source of this.#all) source.flush(now);
  }

  isStalled(peer: Peer<Body>, now: number): boolean {
    return this.#of(peer).isStalled(peer, now);
  }

  findGone(): void {
    for (const source of this.#all) source.findGone();
  }

  lastOf(wrong: Wrong): LogFields {
    const met = wrong === "takeovers"
      ? this.#all.findLast(({ counters }) => counters.takeovers > 0)
      : undefined;
    return (met ?? this.#common).lastOf(wrong);
  }

  giveBackMemory(): void {
    for (const source of this.#all) source.giveBackMemory();
  }

  async close(lingerMs: number): Promise<void> {
    await Promise.all(this.#all.map((source) => source.close(lingerMs)));
  }

  closeNow(): void {
    for (const source of this.#all) source.closeNow();
  }
}
