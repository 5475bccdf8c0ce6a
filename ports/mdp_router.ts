/**
 * What Majordomo needs of a socket that many peers connect to: the seam between what its messages mean (mdp_source.ts,
 * mdp_workers.ts) and the sockets. Types, and two functions. Behind it stand native_mdp_router.ts and
 * zmq_mdp_router.ts.
 *
 * @module
 */

import type { Arrivals } from "../auth/arrivals.ts";
import type { Peer, Worker } from "../broker/job.ts";
import type { Pollable } from "../system/poller.ts";
import type { LogFields } from "../wire/job.ts";
import { type MdpVersion, readOpening } from "../wire/mdp.ts";
import type { Body } from "./body.ts";
import type { Content } from "./content.ts";
import type { Presence, SourceCounters } from "./source.ts";
import type { Wrong } from "./wrongs.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A peer's connection. */
export interface MdpLink {
  /** Its network address, "" over ipc. */
  readonly address: string;
  /** The name that it has proved to have by a key; "" or left out: none. */
  readonly user?: string;
  /** Who it is: its first message says so; undefined: it has said nothing yet, or is no worker any more. */
  peer: MdpPeer | undefined;
  /** Whether it is connected, as far as is known. */
  readonly isThere: boolean;
}

/** Who is connected. */
export type MdpPeer = Peer<Body> | MdpWorker;

/** A worker that has said READY. */
export interface MdpWorker {
  readonly kind: "worker";
  readonly worker: Worker<Body>;
  readonly version: MdpVersion;
  readonly link: MdpLink;
  /** When something was last heard of it, and said to it, ms. */
  heardAt: number;
  saidAt: number;
  /** When it was sent the job that it has, ms. */
  sentAt: number;
  /** Whether it has said that it lives since then: it can while it works, and so must. */
  beatsAtWork: boolean;
  /** Parts of an answer that its client has not got. */
  parts: Body[];
  /** Whether the last of them ends the answer. */
  isFinal: boolean;
  /** Parts that its client has got, of this worker or of one before it, and those that are yet to be skipped for that. */
  passed: number;
  skips: number;
  /** Whether a part is on its way: others wait for that. */
  isPassing: boolean;
}

/** A message that has come whole. The body is the taker's. */
export interface MdpMessage {
  /** The first frames: see wire/mdp.ts. */
  readonly opening: readonly Bytes[];
  readonly body: Body;
  /** Bytes and frames of the body as they came; the body is empty where they are too many. */
  readonly bytes: number;
  readonly frames: number;
}

/** What a router reports, and asks. */
export interface MdpRouterEvents {
  mayRead(): boolean;
  roomFor(service: number): number;
  refusal(address: string, open: Arrivals): string | undefined;
  /** Reads what peers have sent, as what is sent must know who has left; false: nothing may be read now. */
  catchUp(): boolean;
  message(link: MdpLink, message: MdpMessage): void;
  /** A message is none of Majordomo's. */
  unknown(link: MdpLink, reason: string): void;
  /** A connection is gone. */
  gone(link: MdpLink): void;
  /** A peer takes nothing, and has half of that waiting that it may have. */
  stalled(link: MdpLink): void;
}

/** A socket for Majordomo's clients and workers. */
export interface MdpRouter {
  readonly ports: readonly Pollable[];
  /** `malformed` counts connections that were closed for what came over them, and what `misspoke` was told. */
  readonly counters: SourceCounters;
  readonly endpoints: readonly string[];
  readonly hasUnsent: boolean;
  /** Maximum bytes that peers may leave unread, all together. */
  unreadBytes: number;
  /** A peer has said what it must not. */
  misspoke(link: MdpLink, reason: string): void;
  lastOf(wrong: Wrong): LogFields;
  /** Those that have asked something and are connected. */
  clients(): Iterable<Presence>;
  /** Connections; undefined where they are not known. */
  connections(now: number): number | undefined;
  /** @throws {Error} when it can't be bound. */
  bind(endpoint: string): string;
  read(now: number): number;
  isReadable(): boolean;
  tick(now: number): number;
  flush(now: number): void;
  findGone(): void;
  giveBackMemory(): void;
  /** A peer that asks is a client from now on. */
  welcome(link: MdpLink): Peer<Body>;
  /** The link of a client; undefined: it is gone. */
  linkOf(client: Peer<Body>): MdpLink | undefined;
  /** Sends a message, or keeps it until it is taken; false: there is no room for it, or the peer is gone. */
  send(link: MdpLink, way: readonly Bytes[], content: Content, now: number): boolean;
  /** Whether what was sent is taken, as far as is known, or never will be. */
  hasTaken(link: MdpLink): boolean;
  isStalled(link: MdpLink, now: number): boolean;
  /** Reads no more of a client until a service has room; false: it can't be kept from being read. */
  pause(link: MdpLink, service: number): boolean;
  /** Resolves once all is taken, or after `lingerMs`. */
  close(lingerMs: number): Promise<void>;
  closeNow(): void;
}

/** Places of Majordomo's clients are from here on: those of another source are below. */
export const MDP_PLACES = 2 ** 30;

/** Whether a peer is a worker. */
export function isWorker(peer: MdpPeer | undefined): peer is MdpWorker {
  return peer !== undefined && "kind" in peer;
}

/** What comes after the first frames of a message. */
export function stageAfter(
  frames: readonly Bytes[],
  more: boolean,
): "envelope" | "body" | "malformed" {
  const opening = readOpening(frames, more);
  if (opening === "more") return "envelope";
  return opening === "wrong" ? "malformed" : "body";
}
