/**
 * One message of a client while it comes: its envelope, or how else it begins, and the body, whose bytes go where they
 * stay. What is too large is counted and dropped. Sends nothing.
 *
 * @module
 */

import { ByteCache } from "../wire/byte_cache.ts";
import { copyBytes } from "../wire/copy_bytes.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { MAX_ENVELOPE_BYTES, MAX_ENVELOPE_FRAMES } from "../wire/request.ts";
import { headBytes } from "../wire/zmtp.ts";
import type { Body, BodyPool } from "./body.ts";
import type { Connection, Inlet } from "./connection.ts";
import type { Begun, Intake } from "./intake.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What bounds a message. */
export interface IncomingLimits {
  /** Maximum bytes and frames of a body. */
  readonly maxMessageSize: number;
  readonly maxFrames: number;
  /** Maximum bytes of a frame, and of a message as it goes over the wire: larger ones are not even read to their end. */
  readonly maxFrameBytes: number;
  readonly maxWireBytes: number;
  /** The same of its frames: what is beyond takes no memory, but time. */
  readonly maxWireFrames: number;
}

/** What is told of messages. */
export interface IncomingEvents<T> {
  /** A request has come whole; its body is the listener's. */
  whole(message: Incoming<T>, body: Body): void;
  /** A message has come whole that is not a request. */
  malformed(connection: Connection<T>): void;
  /** A message goes beyond all bounds: its connection is to be closed. */
  broken(connection: Connection<T>, reason: string): void;
  /** The message is not needed any more: it can be used for another one. */
  done(message: Incoming<T>): void;
}

/** What all messages share. */
export interface IncomingRoom<T> {
  readonly bodies: BodyPool;
  readonly intake: Intake;
  readonly limits: IncomingLimits;
  readonly events: IncomingEvents<T>;
  /**
   * Where a message begins with other frames than an envelope: what comes after `frames`, the first ones. All of them
   * are kept as its `envelope`. Undefined: an empty frame, which is not kept, ends an envelope.
   */
  readonly opening?: (frames: readonly Bytes[], more: boolean) => "envelope" | "body" | "malformed";
}

const NO_FRAMES: readonly Bytes[] = [];
/** Memory for a body that is to have several frames, or whose size is not believed yet, bytes. */
const FIRST_BYTES = 1024;

/** First frames come again and again: the same ones are used for all messages, and never changed. */
const FIRST_FRAMES = new ByteCache((bytes) => bytes);
/** Longer ones are no names. */
const MAX_KEPT_BYTES = 64;

function firstFrame(bytes: Bytes, start: number, size: number): Bytes {
  if (size === 0) return EMPTY_FRAME;
  return size > MAX_KEPT_BYTES
    ? bytes.slice(start, start + size)
    : FIRST_FRAMES.get(bytes, start, start + size);
}

/** A message that comes. */
export class Incoming<T> implements Inlet, Begun {
  readonly #room: IncomingRoom<T>;
  #connection: Connection<T>;
  /** envelope → body → dropped: the body is too large; malformed: there is no request */
  #stage: "envelope" | "body" | "dropped" | "malformed" = "envelope";
  /** The frames ahead of the empty one, or of the body: see `IncomingRoom.opening`. */
  envelope: readonly Bytes[] = NO_FRAMES;
  #envelopeBytes = 0;
  /** Bytes and frames of the body, those that were dropped included. */
  bytes = 0;
  frames = 0;
  /** Bytes and frames over the wire. */
  #wire = 0;
  #wireFrames = 0;
  /** The body's frames that have come: `#filled` bytes of them. */
  #body: Body | undefined;
  #sizes: number[] = [];
  #filled = 0;
  /** Bytes of the present frame that are yet to come, and whether another follows. */
  #rest = 0;
  #more = false;
  /** Bytes that the intake has promised. */
  #promised = 0;
  /** Whether the intake counts it. */
  #isCounted = false;

  /** Takes in the next message of a connection. */
  constructor(room: IncomingRoom<T>, connection: Connection<T>) {
    this.#room = room;
    this.#connection = connection;
  }

  /** Whose message it is. */
  get connection(): Connection<T> {
    return this.#connection;
  }

  /** Takes in the next message of another connection. */
  renew(connection: Connection<T>): void {
    this.#connection = connection;
    this.#stage = "envelope";
    this.envelope = NO_FRAMES;
    this.#envelopeBytes =
      this.bytes =
      this.frames =
      this.#wire =
      this.#wireFrames =
        0;
    this.#sizes = [];
    this.#filled = this.#rest = 0;
  }

  frame(bytes: Bytes, start: number, end: number, more: boolean): void {
    const size = end - start;
    if (!this.#count(size)) return;
    if (this.#stage === "envelope") return this.#takeEnvelope(bytes, start, size, more);
    this.#countFrame(size, more);
    if (this.#stage === "body") {
      const body = this.#reserve(size, more ? "part" : "last");
      copyBytes(body.bytes, this.#filled, bytes, start, size);
      this.#fill(size);
    }
    if (this.#connection.isThere && !more) this.#finish();
  }

  begin(size: number, more: boolean): void {
    if (!this.#count(size)) return;
    this.#rest = size;
    this.#more = more;
    // No frame of an envelope is so large.
    if (this.#stage === "envelope") this.#stage = "malformed";
    else this.#countFrame(size, more);
    if (this.#stage === "body") this.#promise(size);
  }

  space(most: number): Bytes | undefined {
    if (this.#stage !== "body") return undefined;
    const size = Math.min(most, this.#rest);
    const { bytes } = this.#body ?? this.#reserve(0, "part");
    const { bytes: room } = bytes.length > this.#filled ? { bytes } : this.#reserve(1, "part");
    return room.subarray(this.#filled, Math.min(room.length, this.#filled + size));
  }

  received(count: number): void {
    if (!this.#connection.isThere) return;
    this.#rest -= count;
    if (this.#stage === "body") this.#fill(count);
    if (this.#rest === 0 && !this.#more && this.#connection.isThere) this.#finish();
  }

  mayGrow(): boolean {
    return this.#stage !== "body" || this.#room.intake.mayGrow(this);
  }

  drop(): void {
    this.#stage = "malformed";
    this.#dropBody();
    this.#room.events.done(this);
  }

  giveUp(reason: string): void {
    // A connection drops what it is about to receive, but its message may just have ended.
    const isHeld = this.#connection.inlet === this;
    this.#room.events.broken(this.#connection, reason);
    if (!isHeld) this.drop();
  }

  /** Counts a frame as it goes over the wire; false: the connection is closed, as there is no end of it. */
  #count(size: number): boolean {
    if (!this.#connection.isThere) return false;
    const { maxFrameBytes, maxWireBytes, maxWireFrames } = this.#room.limits;
    this.#wire += headBytes(size) + size;
    this.#wireFrames++;
    if (size > maxFrameBytes) this.giveUp(`a frame must have at most ${maxFrameBytes} bytes`);
    else if (this.#wire > maxWireBytes) {
      this.giveUp(`a message must end within ${maxWireBytes} bytes`);
    } else if (this.#wireFrames > maxWireFrames) {
      this.giveUp(`a message must end within ${maxWireFrames} frames`);
    }
    return this.#connection.isThere;
  }

  #takeEnvelope(bytes: Bytes, start: number, size: number, more: boolean): void {
    const { opening } = this.#room;
    if (size === 0 && more && opening === undefined) {
      this.#stage = "body";
      return;
    }
    this.#envelopeBytes += size;
    const fits = this.envelope.length < MAX_ENVELOPE_FRAMES - 1 &&
      this.#envelopeBytes <= MAX_ENVELOPE_BYTES;
    if (!fits || (!more && opening === undefined)) this.#stage = "malformed";
    else {
      const frame = opening === undefined
        ? bytes.slice(start, start + size)
        : firstFrame(bytes, start, size);
      this.envelope = this.envelope.length === 0 ? [frame] : [...this.envelope, frame];
      if (opening !== undefined) this.#stage = opening(this.envelope, more);
    }
    if (!more) this.#finish();
  }

  /** Counts a frame of the body, and drops all of it if that makes too much. */
  #countFrame(size: number, more: boolean): void {
    this.frames++;
    this.bytes += size;
    if (this.#stage !== "body") return;
    const { maxMessageSize, maxFrames } = this.#room.limits;
    if (this.bytes > maxMessageSize || this.frames > maxFrames) {
      this.#stage = "dropped";
      return this.#dropBody();
    }
    // Most bodies are one frame, and come at once.
    if (more || this.frames > 1) this.#sizes.push(size);
    if (more) this.#noteBegun();
  }

  #noteBegun(): void {
    if (this.#isCounted) return;
    this.#isCounted = true;
    this.#room.intake.begin(this);
    this.#room.intake.add(this.#filled);
  }

  /** Takes memory for a large frame, all of it if that much is believed; else it grows as bytes come. */
  #promise(size: number): void {
    this.#noteBegun();
    if (this.#stage !== "body" || !this.#room.intake.promise(size)) return;
    this.#promised += size;
    this.#reserve(size, "last");
  }

  /** The body, with room for `size` bytes more: for just as many, if they are the last ones. */
  #reserve(size: number, which: "part" | "last"): Body {
    const needed = this.#filled + size;
    const before = this.#body;
    if (before !== undefined && before.bytes.length >= needed) return before;
    const { bodies } = this.#room;
    const body = bodies.take(which === "last" ? needed : Math.max(FIRST_BYTES, 2 * needed));
    if (before !== undefined) {
      copyBytes(body.bytes, 0, before.bytes, 0, this.#filled);
      bodies.release(before);
    }
    return this.#body = body;
  }

  /** So many bytes more of the body are there. */
  #fill(count: number): void {
    this.#filled += count;
    if (this.#isCounted) this.#room.intake.add(count);
  }

  #finish(): void {
    const { events, bodies } = this.#room;
    if (this.#stage === "malformed") {
      const connection = this.#connection;
      this.drop();
      return events.malformed(connection);
    }
    const body = this.#body ?? bodies.take(0);
    body.size = this.#filled;
    body.sizes = this.#sizes.length > 1 ? this.#sizes : undefined;
    this.#body = undefined;
    this.#leaveIntake();
    events.whole(this, body);
    events.done(this);
  }

  #dropBody(): void {
    if (this.#body !== undefined) this.#room.bodies.release(this.#body);
    this.#body = undefined;
    this.#leaveIntake();
    this.#filled = 0;
  }

  #leaveIntake(): void {
    const { intake } = this.#room;
    if (this.#promised > 0) intake.settle(this.#promised);
    this.#promised = 0;
    if (this.#isCounted) intake.end(this, this.#filled);
    this.#isCounted = false;
  }
}
