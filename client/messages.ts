/**
 * What a client and a server say to each other over libzmq's sockets, frame by frame: requests out, answers in.
 * What the frames mean is in wire/request.ts.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { buildRequestHeader, type HeaderWords, MAX_HEADER_BYTES } from "../wire/request_header.ts";
import type { Library } from "../zmq/library.ts";
import { type Message, MessagePool } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";
import { Answer } from "./answer.ts";
import { RequestHeaders } from "./request_headers.ts";

/** Room for the longest header. */
const CONTROL_BYTES = MAX_HEADER_BYTES;

/** What a request's header says; each sending has an id of its own. */
export type RequestTerms = Omit<HeaderWords, "type">;

/** Writes requests to sockets. */
export class RequestWriter {
  readonly #plain: boolean;
  readonly #headers = new RequestHeaders();

  /** `plain`: without a header, as a REQ socket does. */
  constructor({ plain }: { plain: boolean }) {
    this.#plain = plain;
  }

  /** Sends `[header] [""] [body…]`; plain, `[""] [body…]`. */
  send(socket: Socket, terms: RequestTerms, body: readonly Uint8Array<ArrayBuffer>[]): void {
    if (!this.#plain) socket.sendMore(this.#headers.of(terms));
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
}

/** Reads answers off sockets. */
export class AnswerReader {
  /** The answer that was read last. */
  readonly answer = new Answer();
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
    const { answer } = this;
    let size = socket.receiveInto(this.#control);
    if (size < 0) return "nothing";
    answer.begin();
    while (size > 0 && socket.more) {
      answer.takeEnvelope(this.#view, size);
      size = socket.receiveInto(this.#control);
    }
    // An envelope ends with an empty frame.
    if (size > 0) return "noise";
    if (!this.#plain) answer.takeStatus(this.#view, this.#readStatus(socket));
    this.#readFrames(socket);
    return this.#plain ? answer.endPlain() : answer.end();
  }

  #readStatus(socket: Socket): number {
    return socket.more ? socket.receiveInto(this.#control) : 0;
  }

  #readFrames(socket: Socket): void {
    if (!socket.more) return;
    do {
      const size = socket.receive(this.#frame);
      this.answer.frames.push(this.#frame.bytes(size));
    } while (this.#frame.more);
    this.#frame.clear();
  }
}
