/**
 * A peer's connection, as a record, and what its owner lends it to receive a message. Reads and sends nothing.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import type { Version } from "../wire/zmtp.ts";
import type { Backlog } from "./backlog.ts";
import type { Outlet } from "./outlets.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What takes in one message, frame by frame. */
export interface Inlet {
  /** A frame has come whole: `bytes` from `start` up to `end`, valid during the call only. */
  frame(bytes: Bytes, start: number, end: number, more: boolean): void;
  /** A large frame begins, and comes in pieces. */
  begin(size: number, more: boolean): void;
  /** Where up to `most` bytes of it, which is more than 0, are to be put; undefined: nobody wants them. */
  space(most: number): Bytes | undefined;
  /** So many bytes were put where `space` said, or have come and nobody wants them. The last ones end the frame. */
  received(count: number): void;
  /** Whether more of the message may come now: there is room for it. */
  mayGrow(): boolean;
  /** The connection is gone: the rest does not come. */
  drop(): void;
}

/** A connection whose owner knows its peer as a `T`. */
export class Connection<T> implements Outlet {
  readonly fd: number;
  /** The router's number for it, which others get after it is gone. */
  readonly place: number;
  /** The peer's network address, "" over ipc. */
  readonly address: string;
  /** What the owner has given the endpoint where it was accepted. */
  readonly bound: number | undefined;
  /** When it was accepted, ms. */
  readonly since: number;

  /** greeting → ready: its READY, or the identity of ZMTP 2.0, is waited for → open → closed */
  state: "greeting" | "ready" | "open" | "closed" = "greeting";
  version: Version = "3.1";
  /** Whether the peer was sent all of the greeting. */
  greeted = false;
  /** The peer's identity; empty if it has none. */
  identity: Bytes = EMPTY_FRAME;
  /** Who the peer is for the owner; undefined: it has asked nothing yet. */
  peer: T | undefined = undefined;

  /** What was read and could not be used yet. */
  left: Bytes | undefined = undefined;
  /** Bytes of a large frame that are yet to come. */
  rest = 0;
  /** Whether another frame follows that one. */
  restMore = false;
  /** What takes in the message that has begun; undefined: none has. */
  inlet: Inlet | undefined = undefined;
  /** Whether its message waits for room, and nothing is read. */
  isHeld = false;
  /** Whether what it asked last found the queue of its service full, and nothing is read on. */
  isPaused = false;
  /** Whether a large frame has just ended: another may begin, so not much is read that is to be copied. */
  isLarge = false;

  /** When something was last heard of the peer, ms. */
  heardAt: number;
  /** When it was last asked whether it lives, ms; NaN: not since it was heard of. */
  askedAt = NaN;
  /** How long it may say nothing, as it has said itself, ms; 0: it has not. */
  timeToLive = 0;
  /** An answer to a PING that waits as the peer takes nothing; undefined: none does. */
  pong: Bytes | undefined = undefined;

  chunk: Bytes | undefined = undefined;
  used = 0;
  backlog: Backlog | undefined = undefined;
  isDirty = false;
  unread = 0;
  progressAt = 0;
  droppedAt = 0;
  /** Whether it is waited for that the peer takes more. */
  isWatched = false;

  /** A connection that was just accepted. */
  constructor(
    fd: number,
    place: number,
    address: string,
    bound: number | undefined,
    now: number,
  ) {
    this.fd = fd;
    this.place = place;
    this.address = address;
    this.bound = bound;
    this.since = this.heardAt = now;
  }

  /** Whether it was not closed. */
  get isThere(): boolean {
    return this.state !== "closed";
  }
}
