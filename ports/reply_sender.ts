/**
 * Sends replies to clients, frame by frame, and keeps those that a slow client does not take yet. Decides
 * nothing about jobs.
 *
 * @module
 */

import type { Peer } from "../broker/job.ts";
import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import {
  buildErrorText,
  buildStatus,
  Code,
  PART_STATUS_BYTES,
  writePartStatus,
} from "../wire/request.ts";
import { Marks, mayMark } from "../zmq/mark.ts";
import type { Message, MessagePool } from "../zmq/message.ts";
import type { Context, Sent, Socket } from "../zmq/socket.ts";
import { type Body, weigh } from "./body.ts";
import type { Clients } from "./clients.ts";
import { type Content, framesOf } from "./content.ts";
import { type Outbox, Outboxes, type Reply } from "./outbox.ts";
import type { Address } from "./source.ts";

const OK_STATUS = buildStatus(Code.ok);

type Frames = Message[];

/** The sending side of the frontend. */
export class ReplySender {
  readonly #socket: Socket;
  readonly #messages: MessagePool;
  readonly #clients: Clients;
  readonly #outboxes: Outboxes;
  /** What becomes a mark. */
  readonly #mark: Message;
  /** The status of the part that is sent. */
  readonly #partStatus = new Uint8Array(PART_STATUS_BYTES);
  readonly #partView = new DataView(this.#partStatus.buffer);
  readonly #stalled: (client: Peer<Body>) => void;
  /** Replies that were not delivered: the client had left, or took none for too long. */
  undelivered = 0;

  /**
   * Sends to a socket that stays the caller's.
   *
   * @param unreadBytes maximum bytes of replies that clients have not taken.
   * @param stalled is told of a client that takes no replies, and has half of those waiting that it may have.
   */
  constructor(
    { library }: Context,
    socket: Socket,
    messages: MessagePool,
    clients: Clients,
    unreadBytes: number,
    stalled: (client: Peer<Body>) => void,
  ) {
    this.#socket = socket;
    this.#messages = messages;
    this.#clients = clients;
    this.#mark = messages.take();
    this.#outboxes = new Outboxes(new Marks(library), unreadBytes);
    this.#stalled = stalled;
  }

  /** Whether replies wait for slow clients. */
  get hasUnsent(): boolean {
    return this.#outboxes.slow.size > 0;
  }

  /** Replies that wait for slow clients. */
  get waiting(): number {
    return this.#outboxes.waiting;
  }

  /** Bytes of replies that clients are known not to have taken. */
  get unread(): number {
    return this.#outboxes.unread;
  }

  /** Bytes of replies that one client is known not to have taken. */
  unreadOf(client: Peer<Body>): number {
    return this.#outboxes.unreadOf(client);
  }

  /** Clients may leave so many bytes of replies unread from now on. */
  set unreadBytes(bytes: number) {
    this.#outboxes.limit = bytes;
  }

  /** Whether a client takes no replies, and has half of those waiting that it may have. */
  isStalled(client: Peer<Body>, now: number): boolean {
    return this.#outboxes.isStalled(client, now);
  }

  /** Sends a reply with `StatusFlag`s, or keeps it until the client takes it, if that has room left. */
  reply(to: Address, code: number, flags: number, content: Content, now: number): void {
    const bytes = weigh(content.size, framesOf(content));
    this.#reply(
      { to, code, flags, part: undefined, frames: this.#messagesOf(content), bytes },
      now,
    );
  }

  /** The same of a part, of progress, and of the end of parts; false: it is lost. */
  part(to: Address, flags: number, part: number, content: Content, now: number): boolean {
    const bytes = weigh(content.size, framesOf(content));
    const frames = this.#messagesOf(content);
    return this.#reply({ to, code: Code.ok, flags, part, frames, bytes }, now);
  }

  /** Sends a message of another protocol: `way` are the frames ahead of its content. False: it is lost. */
  send(
    peer: Peer<Body>,
    way: readonly Uint8Array<ArrayBuffer>[],
    content: Content,
    now: number,
  ): boolean {
    const to = { client: peer.home, envelope: way, requestId: undefined };
    const bytes = weigh(content.size, framesOf(content) + way.length);
    const frames = this.#messagesOf(content);
    return this.#reply({
      to,
      code: Code.ok,
      flags: 0,
      part: undefined,
      frames,
      bytes,
      isBare: true,
    }, now);
  }

  /** Whether a peer has nothing waiting here, and libzmq may be given more for it. */
  hasTaken(peer: Peer<Body>, now: number): boolean {
    const outbox = this.#outboxes.of(peer);
    return outbox.waiting.length === 0 && this.#outboxes.isOpen(outbox, now);
  }

  /** The frames are given away; what they weigh: see `weigh`. False: it is lost. */
  #reply(reply: Reply, now: number): boolean {
    const { to, frames } = reply;
    const { peer } = to.client;
    const outbox = this.#outboxes.of(peer);
    const free = outbox.waiting.length === 0 && this.#outboxes.isOpen(outbox, now);
    const sent = free
      ? this.#send(reply, outbox, now)
      : this.#clients.reaches(peer, now)
      ? "full"
      : "gone";
    const isLost = sent === "full" ? !this.#postpone(outbox, reply, now) : sent === "gone";
    if (sent !== "full") this.#finish(frames, sent);
    const isIdle = outbox.waiting.length === 0 && this.#clients.forgetIdle(peer);
    if (sent === "gone" || isIdle) this.#drop(this.#outboxes.forget(peer));
    return !isLost;
  }

  /** Sends an error reply that the broker made, with `StatusFlag`s. */
  replyError(to: Address, code: number, flags: number, message: string, now: number): void {
    const text = new TextEncoder().encode(message);
    const frames = [this.#messages.from(text)];
    this.#reply({ to, code, flags, part: undefined, frames, bytes: weigh(text.length, 1) }, now);
  }

  #messagesOf(content: Content): Frames {
    const { size, sizes = [size] } = content;
    let from = 0;
    return sizes.map((size) => {
      const message = this.#messages.from(partOf(content, from, size));
      from += size;
      return message;
    });
  }

  /** A client has left: nothing that waits is for it any more. */
  forget(client: Peer<Body>): void {
    this.#drop(this.#outboxes.forget(client));
  }

  /** Sends what slow clients take by now, and reports those that are stalled. */
  flush(now: number): void {
    for (const outbox of this.#outboxes.slow) {
      this.#flushOutbox(outbox, now);
      if (this.#outboxes.isLost(outbox, now)) this.#drop(this.#outboxes.take(outbox, Infinity));
      const client = outbox.waiting[0]?.to.client.peer;
      if (client !== undefined && this.isStalled(client, now)) this.#stalled(client);
    }
  }

  /** Sends a reply. All its frames are made before the first is sent: a failure must not leave half a message. */
  #send(reply: Reply, outbox: Outbox, now: number): Sent {
    const { to, code, flags, part, frames, bytes } = reply;
    const socket = this.#socket;
    const last = frameAt(frames, frames.length - 1);
    const isPlain = to.requestId === undefined;
    const errorText = isPlain && code !== Code.ok ? errorTextOf(code, frames) : undefined;
    const status = part !== undefined
      ? this.#statusOfPart(flags, part)
      : code === Code.ok
      ? OK_STATUS
      : buildStatus(code, flags);
    // Right before the first frame, as libzmq may take news in with it. A reply that has waited was checked before.
    const isFirst = outbox.waiting.length === 0;
    if (isFirst && !this.#clients.reaches(to.client.peer, now)) return "gone";
    const sent = socket.sendMore(this.#clients.routingId(to.client.peer));
    if (sent !== "sent") return sent;
    if (reply.isBare) return this.#sendBare(reply, outbox, now);
    for (const frame of to.envelope) socket.sendMore(frame);
    // The delimiter. Now and then it is a mark, which shows when libzmq has sent it.
    if (this.#outboxes.handOver(outbox, bytes, this.#mark, now)) socket.moveMore(this.#mark);
    else socket.sendMore(EMPTY_FRAME);
    if (!isPlain) socket.sendMore(status);
    if (errorText !== undefined) return this.#sendPlainError(errorText, frames);
    return this.#sendFrames(frames, last);
  }

  #sendFrames(frames: Frames, last: Message): Sent {
    const socket = this.#socket;
    for (let index = 0; index < frames.length - 1; index++) socket.moveMore(frameAt(frames, index));
    socket.moveLast(last);
    return "sent";
  }

  /** The rest of a message without a delimiter: a short frame ahead of its content may be the mark. */
  #sendBare({ to, frames, bytes }: Reply, outbox: Outbox, now: number): Sent {
    const socket = this.#socket;
    const at = to.envelope.findIndex(({ length, 0: byte }) =>
      length === 0 || fitsMark(length, byte)
    );
    const [byte] = to.envelope[at] ?? EMPTY_FRAME;
    const isMarked = at >= 0 && this.#outboxes.handOver(outbox, bytes, this.#mark, now, byte);
    to.envelope.forEach((frame, index) => {
      if (isMarked && index === at) socket.moveMore(this.#mark);
      else socket.sendMore(frame);
    });
    return this.#sendFrames(frames, frameAt(frames, frames.length - 1));
  }

  #statusOfPart(flags: number, number: number): Uint8Array<ArrayBuffer> {
    writePartStatus(this.#partView, flags, number);
    return this.#partStatus;
  }

  #sendPlainError(text: Uint8Array<ArrayBuffer>, frames: Frames): Sent {
    this.#socket.sendMore(EMPTY_FRAME);
    this.#socket.sendLast(text);
    for (const frame of frames) frame.clear();
    return "sent";
  }

  #finish(frames: Frames, sent: Sent): void {
    if (sent === "sent") {
      for (const frame of frames) this.#messages.putBack(frame);
      return;
    }
    this.undelivered++;
    this.#messages.releaseAll(frames);
  }

  /** Keeps a reply until it can be sent; false: there is no room for it. */
  #postpone(outbox: Outbox, reply: Reply, now: number): boolean {
    // Not the request itself, which has a body too.
    const { client, envelope, requestId } = reply.to;
    const kept: Reply = { ...reply, to: { client, envelope, requestId } };
    const isKept = this.#outboxes.keep(outbox, kept, now);
    if (!isKept) this.#finish(reply.frames, "full");
    return isKept;
  }

  #flushOutbox(outbox: Outbox, now: number): void {
    for (;;) {
      const [first] = outbox.waiting;
      if (first === undefined || !this.#outboxes.isOpen(outbox, now)) return;
      const client = first.to.client.peer;
      if (!this.#clients.reaches(client, now)) return this.#drop(this.#outboxes.forget(client));
      // It may have been found out just now that the client has left.
      if (outbox.waiting[0] !== first) return;
      // A client with an identity of its own may lose it at any time: each of its replies is checked alone.
      const most = this.#clients.isNamed(client) ? 1 : outbox.waiting.length;
      if (this.#flushFirst(outbox, most, now) < most) return;
    }
  }

  /** Sends up to `most` replies that wait; returns how many libzmq has taken. */
  #flushFirst(outbox: Outbox, most: number, now: number): number {
    let done = 0;
    for (const reply of outbox.waiting.slice(0, most)) {
      if (!this.#outboxes.isOpen(outbox, now)) break;
      const sent = this.#send(reply, outbox, now);
      if (sent === "full") break;
      this.#finish(reply.frames, sent);
      done++;
    }
    if (done === 0) return 0;
    this.#outboxes.take(outbox, done);
    outbox.progressAt = now;
    return done;
  }

  #drop(replies: readonly Reply[]): void {
    for (const { frames } of replies) this.#finish(frames, "gone");
  }
}

/** Whether a mark may stand in for a frame. */
function fitsMark(length: number, byte: number | undefined): boolean {
  return length === 1 && byte !== undefined && mayMark(byte);
}

/** Bytes of a content, in memory. */
function partOf(content: Content, from: number, count: number): Uint8Array<ArrayBuffer> {
  const { bytes, start } = content;
  if (bytes !== undefined) return bytes.subarray(start + from, start + from + count);
  const copy = new Uint8Array(count);
  content.copyTo(copy, 0, from, count);
  return copy;
}

function frameAt(frames: Frames, index: number): Message {
  const frame = frames[index];
  if (frame === undefined) throw new RangeError(`Cannot send a reply without frames`);
  return frame;
}

function errorTextOf(code: number, frames: Frames): Uint8Array<ArrayBuffer> {
  return buildErrorText(code, new TextDecoder().decode(frameAt(frames, 0).bytes()));
}
