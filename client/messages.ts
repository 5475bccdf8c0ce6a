/**
 * What a client and a server say to each other over libzmq's sockets, frame by frame: requests out, answers in.
 * What the frames mean is in wire/request.ts.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import { MAX_HEADER_BYTES } from "../wire/request_header.ts";
import type { Library } from "../zmq/library.ts";
import { type Message, MessagePool } from "../zmq/message.ts";
import type { Socket } from "../zmq/socket.ts";
import { Answer } from "./answer.ts";
import { bodyOfWord, headerOfWord, type Word } from "./field_gate.ts";
import { RequestHeaders } from "./request_headers.ts";
import type { Sending } from "./transport.ts";

/** Room for the longest header. */
const CONTROL_BYTES = MAX_HEADER_BYTES;

/** Writes requests to sockets. */
export class RequestWriter {
  readonly #plain: boolean;
  readonly #headers = new RequestHeaders();

  /** `plain`: without a header, as a REQ socket does. */
  constructor({ plain }: { plain: boolean }) {
    this.#plain = plain;
  }

  /** Sends `[header] [""] [body…]`; plain, `[""] [body…]`. False: there is no connection. */
  send(socket: Socket, request: Sending): boolean {
    const body = request.item.frames;
    if (this.#plain) {
      if (socket.sendMore(EMPTY_FRAME) !== "sent") return false;
    } else {
      if (socket.sendMore(this.#headers.of(request)) !== "sent") return false;
      // A message that has begun is sent to its end: libzmq drops what is behind the end of its connection.
      socket.sendMore(EMPTY_FRAME);
    }
    const last = body.length - 1;
    body.forEach((frame, index) => {
      if (index < last) socket.sendMore(frame);
      else socket.sendLast(frame);
    });
    return true;
  }

  /** Sends `[header] [""] [""]`, or `[header] [""] ["version?"]`. False: there is no connection. */
  say(socket: Socket, word: Word): boolean {
    if (socket.sendMore(headerOfWord(word)) !== "sent") return false;
    socket.sendMore(EMPTY_FRAME);
    socket.sendLast(bodyOfWord(word));
    return true;
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
