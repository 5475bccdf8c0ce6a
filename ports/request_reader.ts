/**
 * Reads what clients send, frame by frame: the envelope, our own client's header, and the body. Decides
 * nothing about jobs.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import type { Settings } from "../options/settings.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { MAX_ENVELOPE_BYTES, MAX_ENVELOPE_FRAMES } from "../wire/request.ts";
import { NO_HEADER, parseRequestHeader } from "../wire/request_header.ts";
import { Arena } from "../zmq/arena.ts";
import type { Message, MessagePool } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";
import { type Body, type BodyPool, excessOf } from "./body.ts";
import type { Clients } from "./clients.ts";
import type { ClientRequest, SourceEvents } from "./source.ts";
import { Surplus } from "./surplus.ts";
import { passOnWord } from "./words.ts";

/** What a `RequestReader` has read. */
export type RequestEvents = Pick<SourceEvents, "request" | "cancel" | "credit" | "asksForVersion">;

/** A frame of so many bytes is not kept until the next one comes. */
const LARGE_BYTES = 65_536;
const NO_FRAMES: readonly Uint8Array<ArrayBuffer>[] = [];

/** The reading side of the frontend. */
export class RequestReader {
  readonly #socket: Socket;
  readonly #messages: MessagePool;
  readonly #bodies: BodyPool;
  readonly #clients: Clients;
  readonly #events: RequestEvents;
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
  /** Messages that were not requests. */
  malformed = 0;

  /** Reads from a socket that stays the caller's. */
  constructor(
    socket: Socket,
    messages: MessagePool,
    bodies: BodyPool,
    clients: Clients,
    limits: Pick<Settings, "maxMessageSize" | "maxFrames">,
    events: RequestEvents,
  ) {
    this.#socket = socket;
    this.#messages = messages;
    this.#bodies = bodies;
    this.#clients = clients;
    this.#events = events;
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
    const envelope = this.#readEnvelope(idSize, now);
    if (envelope !== undefined) this.#readBody(idSize, envelope);
    return !this.#surplus.pending;
  }

  /** The envelope frames, or undefined if this is not a request; then nothing of it is left to be read. */
  #readEnvelope(idSize: number, now: number): ClientRequest["envelope"] | undefined {
    let envelope: ClientRequest["envelope"] = NO_FRAMES;
    let bytes = 0;
    for (;;) {
      const size = this.#socket.receive(this.#scratch);
      const more = this.#scratch.more;
      if (size === 0 && more) return envelope;
      bytes += size;
      const fits = envelope.length < MAX_ENVELOPE_FRAMES - 1 && bytes <= MAX_ENVELOPE_BYTES;
      if (!more || !fits) {
        if (more) this.#surplus.skip();
        else if (size === 0 && envelope.length === 0 && !this.#scratch.fromPeer) {
          this.#clients.notice(this.#id, idSize, now);
          return undefined;
        }
        this.malformed++;
        return undefined;
      }
      const frame = this.#arena.take(size);
      this.#scratch.copyTo(frame, size);
      envelope = envelope.length === 0 ? [frame] : [...envelope, frame];
    }
  }

  /** Reads the rest of a request. A body that is too large is dropped while it is read. */
  #readBody(idSize: number, envelope: ClientRequest["envelope"]): void {
    let frame = this.#scratch;
    const size = this.#socket.receive(frame);
    const peer = this.#clients.sender(this.#id, idSize, frame);
    if (!frame.more) {
      const body = this.#bodies.take(size > this.#limits.maxMessageSize ? 0 : size);
      frame.copyTo(body.bytes, body.size);
      if (size > LARGE_BYTES) frame.clear();
      return this.#announce(peer, envelope, body, size, 1);
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
    if (!more) return this.#announce(peer, envelope, body, bytes, sizes.length);
    this.#surplus.skip((rest) => {
      this.#announce(peer, envelope, body, bytes + rest.bytes, sizes.length + rest.frames);
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

  /** Passes on a request that has come whole. */
  #announce(
    peer: Peer<Body>,
    envelope: ClientRequest["envelope"],
    body: Body,
    bytes: number,
    frames: number,
  ): void {
    if (!peer.connected) return this.#bodies.release(body);
    const header = envelope.length > 0
      ? parseRequestHeader(envelope.at(-1) ?? EMPTY_FRAME)
      : undefined;
    if (header !== undefined && header.type !== "request" && header.fault === "") {
      passOnWord(this.#events, peer, header, envelope, body);
      return this.#bodies.release(body);
    }
    const terms = header ?? NO_HEADER;
    const { id: requestId, timeout, requestTimeout, key, service, fault } = terms;
    const { stream, resumable, trace } = terms;
    const deadline = timeout > 0 ? this.#now + timeout : Infinity;
    const excess = excessOf(bytes, frames, this.#limits);
    const request = {
      client: peer.home,
      envelope,
      requestId,
      deadline,
      requestTimeout,
      key,
      stream,
      resumable,
      trace,
      body,
      bytes,
      excess,
      service,
      fault,
    };
    this.#events.request(peer, request);
  }
}
