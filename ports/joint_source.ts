/**
 * Two sources as one: that of plain clients and ours, and that of clients that speak Majordomo. Each answer goes to the
 * one that its client came by.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import type { Pollable } from "../system/poller.ts";
import type { LogFields } from "../wire/job.ts";
import type { Body } from "./body.ts";
import type { Content } from "./content.ts";
import { MDP_PLACES } from "./mdp_router.ts";
import type { MdpSource } from "./mdp_source.ts";
import type { Address, Presence, Source, SourceCounters } from "./source.ts";
import type { Wrong } from "./wrongs.ts";

/** The source of all clients, where some speak Majordomo. Endpoints that are bound here are the others'. */
export class JointSource implements Source {
  readonly #plain: Source;
  readonly #mdp: MdpSource;
  readonly #counted: "together" | "apart";

  /** `counted`: whether each of the two knows how many connections there are at both. */
  constructor(plain: Source, mdp: MdpSource, counted: "together" | "apart") {
    this.#plain = plain;
    this.#mdp = mdp;
    this.#counted = counted;
  }

  get ports(): readonly Pollable[] {
    return [...this.#plain.ports, ...this.#mdp.ports];
  }

  #of({ place }: Peer<Body>): Source {
    return place >= MDP_PLACES ? this.#mdp : this.#plain;
  }

  get counters(): SourceCounters {
    const [one, other] = [this.#plain.counters, this.#mdp.counters];
    return {
      malformed: one.malformed + other.malformed,
      undelivered: one.undelivered + other.undelivered,
      denied: one.denied + other.denied,
      takeovers: one.takeovers + other.takeovers,
      squatters: one.squatters + other.squatters,
    };
  }

  get endpoints(): readonly string[] {
    return [...this.#plain.endpoints, ...this.#mdp.endpoints];
  }

  get clients(): number {
    return this.#plain.clients + this.#mdp.clients;
  }

  *present(): Generator<Presence> {
    yield* this.#plain.present();
    yield* this.#mdp.present();
  }

  connections(now: number): number | undefined {
    const connections = this.#plain.connections(now);
    if (connections === undefined || this.#counted === "together") return connections;
    return connections + (this.#mdp.connections(now) ?? 0);
  }

  bind(endpoint: string, bound?: number): string {
    return this.#plain.bind(endpoint, bound);
  }

  tick(now: number): number {
    return Math.min(this.#plain.tick(now), this.#mdp.tick(now));
  }

  read(now: number): number {
    return this.#plain.read(now) + this.#mdp.read(now);
  }

  isReadable(): boolean {
    return this.#plain.isReadable() || this.#mdp.isReadable();
  }

  pause(peer: Peer<Body>, service: number): boolean {
    return this.#of(peer).pause(peer, service);
  }

  set unreadBytes(bytes: number) {
    this.#plain.unreadBytes = bytes;
    this.#mdp.unreadBytes = bytes;
  }

  get hasUnsent(): boolean {
    return this.#plain.hasUnsent || this.#mdp.hasUnsent;
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
    this.#plain.flush(now);
    this.#mdp.flush(now);
  }

  isStalled(peer: Peer<Body>, now: number): boolean {
    return this.#of(peer).isStalled(peer, now);
  }

  findGone(): void {
    this.#plain.findGone();
    this.#mdp.findGone();
  }

  /** Of the others, if they have done it: what is said of one example need not be the very last one. */
  lastOf(wrong: Wrong): LogFields {
    const fields = this.#plain.lastOf(wrong);
    return Object.values(fields).some(Boolean) ? fields : this.#mdp.lastOf(wrong);
  }

  giveBackMemory(): void {
    this.#plain.giveBackMemory();
    this.#mdp.giveBackMemory();
  }

  async close(lingerMs: number): Promise<void> {
    await Promise.all([this.#plain.close(lingerMs), this.#mdp.close(lingerMs)]);
  }

  closeNow(): void {
    this.#plain.closeNow();
    this.#mdp.closeNow();
  }
}
