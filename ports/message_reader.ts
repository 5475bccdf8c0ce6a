/**
 * Reads whole messages from a ROUTER of libzmq, frame by frame: how each begins, and its body. What they mean is its
 * owner's.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import type { Settings } from "../options/settings.ts";
import { MAX_ENVELOPE_BYTES, MAX_ENVELOPE_FRAMES } from "../wire/request.ts";
import { Arena } from "../zmq/arena.ts";
import type { Message, MessagePool } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";
import type { Body, BodyPool } from "./body.ts";
import type { Clients } from "./clients.ts";
import type { IncomingRoom } from "./incoming.ts";
import { Surplus } from "./surplus.ts";

/** What a `MessageReader` has read. */
export interface MessageReaderEvents {
  /** A message has come whole; its body is the listener's, and empty if it was too large. */
  whole(
    peer: Peer<Body>,
    opening: Frames,
    body: Body,
    bytes: number,
    frames: number,
    now: number,
  ): void;
  /** A message that says nothing has come of a peer that has said something before. */
  malformed?(peer: Peer<Body>): void;
}

type Frames = readonly Uint8Array<ArrayBuffer>[];
/** See `IncomingRoom`. */
type Opening = NonNullable<IncomingRoom<never>["opening"]>;

/** A frame of so many bytes is not kept until the next one comes. */
const LARGE_BYTES = 65_536;
const NO_FRAMES: Frames = [];

/** What comes over a ROUTER of libzmq. */
export class MessageReader {
  readonly #socket: Socket;
  readonly #messages: MessagePool;
  readonly #bodies: BodyPool;
  readonly #clients: Clients;
  readonly #events: MessageReaderEvents;
  readonly #opening: Opening | undefined;
  readonly #limits: Pick<Settings, "maxMessageSize" | "maxFrames">;
  readonly #scratch: Message;
  /** What is left of a message that is not wanted. */
  readonly #surplus: Surplus;
  /** What envelopes are cut from. */
  readonly #arena = new Arena();
  /** The routing id of the message that is read. */
  readonly #id = new Uint8Array(256);
  /** When it reads, ms. */
  #now = 0;
  /** Messages that said nothing. */
  malformed = 0;

  /** Reads from a socket that stays the caller's; without `opening`, an empty frame ends what is ahead of a body. */
  constructor(
    socket: Socket,
    messages: MessagePool,
    bodies: BodyPool,
    clients: Clients,
    limits: Pick<Settings, "maxMessageSize" | "maxFrames">,
    events: MessageReaderEvents,
    opening?: Opening,
  ) {
    this.#socket = socket;
    this.#messages = messages;
    this.#bodies = bodies;
    this.#clients = clients;
    this.#events = events;
    this.#opening = opening;
    this.#limits = limits;
    this.#scratch = messages.take();
    this.#surplus = new Surplus(socket, this.#scratch);
  }

  /** Reads one message; false when there is none, or when the rest of a long one is for later. */
  read(now: number): boolean {
    this.#now = now;
    this.#clients.expectNews();
    if (this.#surplus.pending) {
      this.#surplus.resume();
      return !this.#surplus.pending;
    }
    const idSize = this.#socket.receiveInto(this.#id);
    if (idSize < 0) {
      this.#clients.caughtUp(now);
      return false;
    }
    const found = this.#opening === undefined
      ? this.#readEnvelope(idSize, now)
      : this.#readOpening(this.#opening, idSize, now);
    if (found !== undefined) this.#readBody(idSize, found);
    return !this.#surplus.pending;
  }

  /** The envelope frames, or undefined if this is not a request; then nothing of it is left to be read. */
  #readEnvelope(idSize: number, now: number): Frames | undefined {
    let envelope = NO_FRAMES;
    let bytes = 0;
    for (;;) {
      const size = this.#socket.receive(this.#scratch);
      const more = this.#scratch.more;
      if (size === 0 && more) return envelope;
      bytes += size;
      if (!more || !fits(envelope, bytes)) return this.#drop(idSize, size, envelope, now);
      envelope = this.#keep(envelope, size);
    }
  }

  /**
   * The first frames of a message that begins otherwise; undefined if it begins as none does, or was passed on, as
   * nothing comes behind them.
   */
  #readOpening(opening: Opening, idSize: number, now: number): Frames | undefined {
    let frames = NO_FRAMES;
    let bytes = 0;
    for (;;) {
      const size = this.#socket.receive(this.#scratch);
      const more = this.#scratch.more;
      bytes += size;
      if (!fits(frames, bytes)) return this.#drop(idSize, size, frames, now);
      const before = frames;
      frames = this.#keep(frames, size);
      const stage = opening(frames, more);
      if (stage === "malformed") return this.#drop(idSize, size, before, now);
      if (stage === "envelope") continue;
      if (more) return frames;
      const peer = this.#clients.sender(this.#id, idSize, this.#scratch);
      this.#pass(peer, frames, this.#bodies.take(0), 0, 0);
      return undefined;
    }
  }

  #keep(frames: Frames, size: number): Frames {
    const frame = this.#arena.take(size);
    this.#scratch.copyTo(frame, size);
    return frames.length === 0 ? [frame] : [...frames, frame];
  }

  /** Drops a message whose last frame, of `size` bytes, does not fit behind those `before`; or takes it for a notice. */
  #drop(idSize: number, size: number, before: Frames, now: number): undefined {
    const isNotice = size === 0 && before.length === 0 && !this.#scratch.more &&
      !this.#scratch.fromPeer;
    if (isNotice) {
      this.#clients.notice(this.#id, idSize, now);
      return;
    }
    const { malformed } = this.#events;
    const peer = malformed && this.#clients.holder(this.#id, idSize);
    if (this.#scratch.more) this.#surplus.skip();
    this.malformed++;
    if (peer !== undefined) malformed?.(peer);
  }

  /** Reads the rest of a message. A body that is too large is dropped while it is read. */
  #readBody(idSize: number, opening: Frames): void {
    let frame = this.#scratch;
    const size = this.#socket.receive(frame);
    const peer = this.#clients.sender(this.#id, idSize, frame);
    if (!frame.more) {
      const body = this.#bodies.take(size > this.#limits.maxMessageSize ? 0 : size);
      frame.copyTo(body.bytes, body.size);
      if (size > LARGE_BYTES) frame.clear();
      return this.#pass(peer, opening, body, size, 1);
    }
    let bytes = size;
    const frames = [this.#messages.moved(frame)];
    const sizes = [size];
    let more = true;
    while (more && bytes <= this.#limits.maxMessageSize && sizes.length < this.#limits.maxFrames) {
      frame = this.#messages.take();
      const size = this.#socket.receive(frame);
      bytes += size;
      frames.push(frame);
      sizes.push(size);
      more = frame.more;
    }
    const isTooLarge = more || bytes > this.#limits.maxMessageSize;
    const body = isTooLarge ? this.#bodies.take(0) : this.#join(frames, sizes, bytes);
    this.#messages.releaseAll(frames);
    if (!more) return this.#pass(peer, opening, body, bytes, sizes.length);
    this.#surplus.skip((rest) => {
      this.#pass(peer, opening, body, bytes + rest.bytes, sizes.length + rest.frames);
    });
  }

  /** A body of several frames, of `bytes` together. */
  #join(frames: readonly Message[], sizes: readonly number[], bytes: number): Body {
    const body = this.#bodies.take(bytes);
    body.sizes = sizes;
    let at = 0;
    frames.forEach((frame, index) => {
      const size = sizes[index] ?? 0;
      frame.copyTo(body.bytes.subarray(at), size);
      at += size;
    });
    return body;
  }

  #pass(peer: Peer<Body>, opening: Frames, body: Body, bytes: number, frames: number): void {
    if (!peer.connected) return this.#bodies.release(body);
    this.#events.whole(peer, opening, body, bytes, frames, this.#now);
  }
}

/** Whether one more frame may come ahead of the body. */
function fits(frames: Frames, bytes: number): boolean {
  return frames.length < MAX_ENVELOPE_FRAMES - 1 && bytes <= MAX_ENVELOPE_BYTES;
}
