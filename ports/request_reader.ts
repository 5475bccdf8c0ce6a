/**
 * Reads what clients send, frame by frame: the envelope, our own client's header, and the body. Decides
 * nothing about jobs.
 *
 * @module
 */

import type { Client, JobRequest } from "../broker/job.ts";
import type { Settings } from "../options/settings.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { MAX_ENVELOPE_BYTES, MAX_ENVELOPE_FRAMES, parseRequestHeader } from "../wire/request.ts";
import { Arena } from "../zmq/arena.ts";
import type { Message, MessagePool } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";
import type { Clients, Frames } from "./clients.ts";
import { Surplus } from "./surplus.ts";

/**
 * A request as it came. `bytes` counts the whole body as it came, `requestTimeout` is 0 where the client
 * set none, and `body` has no frames when it was too large.
 */
export interface ClientRequest extends JobRequest<Frames> {
  /** Why the body is too large; undefined: it is not. */
  excess: string | undefined;
}

/** What a `RequestReader` has read. */
export interface RequestEvents {
  /** A well-formed request. The record is the listener's now. */
  request(client: Client<Frames>, request: ClientRequest): void;
  /** A client takes a request back. */
  cancel(client: Client<Frames>, requestId: number, envelope: ClientRequest["envelope"]): void;
}

const NO_FRAMES: readonly Uint8Array<ArrayBuffer>[] = [];
/** The header of requests that have none. */
const PLAIN = { id: undefined, timeout: 0, requestTimeout: 0, key: "" };

/** The reading side of the frontend. */
export class RequestReader {
  readonly #socket: Socket;
  readonly #messages: MessagePool;
  readonly #clients: Clients;
  readonly #events: RequestEvents;
  readonly #maxMessageSize: number;
  readonly #maxFrames: number;
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
    clients: Clients,
    limits: Pick<Settings, "maxMessageSize" | "maxFrames">,
    events: RequestEvents,
  ) {
    this.#socket = socket;
    this.#messages = messages;
    this.#clients = clients;
    this.#events = events;
    this.#maxMessageSize = limits.maxMessageSize;
    this.#maxFrames = limits.maxFrames;
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
    let frame = this.#messages.take();
    let bytes = this.#socket.receive(frame);
    const client = this.#clients.sender(this.#id, idSize, frame);
    // Not empty at first: an array that grows takes room for many.
    const body = [frame];
    let { more } = frame;
    while (more && bytes <= this.#maxMessageSize && body.length < this.#maxFrames) {
      frame = this.#messages.take();
      bytes += this.#socket.receive(frame);
      body.push(frame);
      more = frame.more;
    }
    const frames = body.length;
    if (more || bytes > this.#maxMessageSize) this.#messages.releaseAll(body.splice(0));
    if (!more) return this.#announce(client, envelope, body, bytes, frames);
    this.#surplus.skip((rest) => {
      this.#announce(client, envelope, body, bytes + rest.bytes, frames + rest.frames);
    });
  }

  /** Passes on a request that has come whole. */
  #announce(
    client: Client<Frames>,
    envelope: ClientRequest["envelope"],
    body: Frames,
    bytes: number,
    frames: number,
  ): void {
    if (!client.connected) return this.#messages.releaseAll(body);
    const header = envelope.length > 0
      ? parseRequestHeader(envelope.at(-1) ?? EMPTY_FRAME)
      : undefined;
    if (header?.type === "cancel") {
      this.#messages.releaseAll(body);
      return this.#events.cancel(client, header.id, envelope);
    }
    const { id: requestId, timeout, requestTimeout, key } = header ?? PLAIN;
    const deadline = timeout > 0 ? this.#now + timeout : Infinity;
    const excess = this.#excess(bytes, frames);
    const request = {
      client,
      envelope,
      requestId,
      deadline,
      requestTimeout,
      key,
      body,
      bytes,
      excess,
    };
    this.#events.request(client, request);
  }

  #excess(bytes: number, frames: number): string | undefined {
    if (bytes > this.#maxMessageSize) {
      return `The body must have at most ${this.#maxMessageSize} bytes: it has ${bytes}`;
    }
    if (frames <= this.#maxFrames) return undefined;
    return `The body must have at most ${this.#maxFrames} frames: it has ${frames}`;
  }
}
