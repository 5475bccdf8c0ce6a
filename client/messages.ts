/**
 * What a client and a server say to each other, frame by frame: requests out, answers in. What the frames
 * mean is in wire/request.ts; what is done about an answer, in client.ts.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import {
  buildRequestHeader,
  Code,
  HEADER_BYTES,
  MAX_KEY_BYTES,
  parseErrorText,
  readRequestId,
  readStatus,
  readStatusFlags,
  type RequestHeader,
  StatusFlag,
  writeRequestHeader,
} from "../wire/request.ts";
import type { Library } from "../zmq/library.ts";
import { type Message, MessagePool } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";

const decoder = new TextDecoder();

/** Room for the longest header. */
const CONTROL_BYTES = HEADER_BYTES + MAX_KEY_BYTES;

/** What a request's header says; each sending has an id of its own. */
export type RequestTerms = Omit<RequestHeader, "type">;

/** Writes requests to sockets. */
export class RequestWriter {
  readonly #plain: boolean;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#header.buffer);

  /** `plain`: without a header, as a REQ socket does. */
  constructor({ plain }: { plain: boolean }) {
    this.#plain = plain;
  }

  /** Sends `[header] [""] [body…]`; plain, `[""] [body…]`. */
  send(socket: Socket, terms: RequestTerms, body: readonly Uint8Array<ArrayBuffer>[]): void {
    if (!this.#plain) socket.sendMore(this.#headerOf(terms));
    socket.sendMore(EMPTY_FRAME);
    const last = body.length - 1;
    body.forEach((frame, index) => {
      if (index < last) socket.sendMore(frame);
      else socket.sendLast(frame);
    });
  }

  /** Takes a request back. */
  cancel(socket: Socket, id: number): void {
    socket.sendMore(buildRequestHeader({ type: "cancel", id }));
    socket.sendMore(EMPTY_FRAME);
    socket.sendLast(EMPTY_FRAME);
  }

  /** A request's header: good until the next one is made. */
  #headerOf(terms: RequestTerms): Uint8Array<ArrayBuffer> {
    const { id, timeout, requestTimeout, key } = terms;
    if (key !== "") return buildRequestHeader({ id, timeout, requestTimeout, key });
    writeRequestHeader(this.#view, terms);
    return this.#header;
  }
}

/** Reads answers off sockets. Its fields are those of the answer that was read last. */
export class AnswerReader {
  /** The request that is answered; undefined: plain, it is the only one on the socket. */
  id: number | undefined;
  /** 200, or the code of an error reply. */
  code = 0;
  /** The frames of an answer. */
  frames: Uint8Array[] = [];
  /** The message of an error reply. */
  message = "";
  /** Whether the server has not started the request, and starts no more at all. */
  unstarted = false;
  readonly #plain: boolean;
  readonly #frame: Message;
  /** The frame ahead of a body that was read last, as far as there is room. */
  readonly #control = new Uint8Array(CONTROL_BYTES);
  readonly #view = new DataView(this.#control.buffer);

  /** `plain`: the answers have no header, as those to a REQ socket. */
  constructor(library: Library, { plain }: { plain: boolean }) {
    this.#plain = plain;
    this.#frame = new MessagePool(library).take();
  }

  /** Reads one message, if there is one; "noise" is a message that is not an answer. */
  read(socket: Socket): "answer" | "noise" | "nothing" {
    let size = socket.receiveInto(this.#control);
    if (size < 0) return "nothing";
    let id: number | undefined;
    while (size > 0 && socket.more) {
      id = readRequestId(this.#view, size);
      size = socket.receiveInto(this.#control);
    }
    // An envelope ends with an empty frame.
    if (size > 0) return "noise";
    return this.#plain ? this.#readPlain(socket) : this.#readHeaded(socket, id);
  }

  /** Reads what follows the empty frame: `[body…]`, or `[""] [code and message]`. */
  #readPlain(socket: Socket): "answer" {
    this.#readFrames(socket);
    const error = parseErrorText(this.frames);
    this.code = error?.code ?? Code.ok;
    this.message = error?.message ?? "";
    return "answer";
  }

  /** Reads what follows the empty frame: `[status] [body…]`, or `[status] [message]`. */
  #readHeaded(socket: Socket, id: number | undefined): "answer" | "noise" {
    const size = socket.more ? socket.receiveInto(this.#control) : 0;
    const code = readStatus(this.#view, size);
    const flags = readStatusFlags(this.#view);
    this.#readFrames(socket);
    if (id === undefined || code === undefined) return "noise";
    this.id = id;
    this.code = code;
    this.message = code === Code.ok ? "" : decoder.decode(this.frames[0]);
    this.unstarted = code === Code.unavailable && (flags & StatusFlag.unstarted) !== 0;
    return "answer";
  }

  #readFrames(socket: Socket): void {
    const frames: Uint8Array[] = this.frames = [];
    if (!socket.more) return;
    do {
      const size = socket.receive(this.#frame);
      frames.push(this.#frame.bytes(size));
    } while (this.#frame.more);
    this.#frame.clear();
  }
}
