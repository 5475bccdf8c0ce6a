/**
 * The ZAP handler's socket: libzmq asks here whether a peer may connect. Reads and writes frames; decides
 * nothing.
 *
 * @module
 */

import { buildZapReply, parseZapRequest, type ZapDecision, type ZapRequest } from "../wire/zap.ts";
import { SocketType } from "../zmq/library.ts";
import type { Message, MessagePool } from "../zmq/message.ts";
import type { Context, Socket } from "../zmq/socket.ts";
import { messageOf } from "../system/errors.ts";

/** Where libzmq asks: RFC 27. */
const ENDPOINT = "inproc://zeromq.zap.01";
/** Maximum frames that are kept of a message: more than any request has. */
const MAX_FRAMES = 16;

/** Maximum questions that wait for their answers. */
const MOST_WAITING = 1024;

/** A question, as it has come. */
interface Question {
  readonly id: Uint8Array<ArrayBuffer>;
  readonly frames: Uint8Array<ArrayBuffer>[];
  readonly request: ZapRequest | undefined;
}

/** The last connection that was not let in. */
export interface Refusal {
  /** Its address, "" if that is not known. */
  address: string;
  reason: string;
}

/** Answers libzmq's questions. While it is closed, no peer of a socket that asks can connect. */
export class ZapHandler {
  readonly #socket: Socket;
  readonly #scratch: Message;
  readonly #decide: (request: ZapRequest) => ZapDecision | "wait";
  /** Those that are asked about again. */
  readonly #waiting: Question[] = [];
  /** Connections that were not let in. */
  denied = 0;
  /** The last connection that was not let in. */
  lastRefusal: Refusal = { address: "", reason: "" };

  /**
   * Opens the socket.
   *
   * @param decide says whether a peer may connect, or "wait" to be asked again later; if it throws, the peer is denied.
   * @throws {ZmqError} when the context has another ZAP handler.
   */
  constructor(
    context: Context,
    messages: MessagePool,
    decide: (request: ZapRequest) => ZapDecision | "wait",
  ) {
    this.#socket = context.socket(SocketType.ROUTER);
    this.#scratch = messages.take();
    this.#decide = decide;
    this.#socket.bind(ENDPOINT);
  }

  /** The socket, to be waited for. */
  get socket(): Socket {
    return this.#socket;
  }

  /** Closes. */
  close(): void {
    this.#socket.close(0);
  }

  /** Takes one question, and answers it if it need not wait; false when there is none. */
  read(): boolean {
    const first = this.#waiting.findIndex((each) => this.#answer(each));
    if (first >= 0) this.#waiting.splice(first, 1);
    const [id, ...frames] = this.#readFrames();
    if (id === undefined) return first >= 0;
    const question = { id, frames, request: parseZapRequest(frames) };
    if (!this.#answer(question)) this.#waiting.push(question);
    return true;
  }

  /** Answers a question; false: it waits. */
  #answer({ id, frames, request }: Question): boolean {
    const said = this.#decideSafely(request);
    const isFull = this.#waiting.length >= MOST_WAITING;
    if (said === "wait" && !isFull) return false;
    const decision = said === "wait" ? TOO_MANY : said;
    if (decision.outcome !== "allowed") {
      this.denied++;
      this.lastRefusal = { address: request?.address ?? "", reason: decision.reason };
    }
    this.#socket.sendAll([id, ...buildZapReply(frames, decision)]);
    return true;
  }

  #decideSafely(request: ZapRequest | undefined): ZapDecision | "wait" {
    if (request === undefined) return { outcome: "denied", reason: "the question is malformed" };
    try {
      return this.#decide(request);
    } catch (error) {
      const reason = messageOf(error);
      return { outcome: "denied", reason: `it cannot be decided: ${reason}` };
    }
  }

  /** The frames of the next message; none if there is none. */
  #readFrames(): Uint8Array<ArrayBuffer>[] {
    const frames: Uint8Array<ArrayBuffer>[] = [];
    do {
      const size = this.#socket.receive(this.#scratch);
      if (size < 0) return frames;
      if (frames.length < MAX_FRAMES) frames.push(this.#scratch.bytes(size));
    } while (this.#scratch.more);
    this.#scratch.clear();
    return frames;
  }
}

const TOO_MANY: ZapDecision = { outcome: "later", reason: "many others wait to be let in" };
