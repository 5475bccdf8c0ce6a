/**
 * What a server's sockets on libzmq share: the context with its threads, the messages, and the ZAP handler that
 * libzmq asks who may connect. A server without such a socket has none of it.
 *
 * @module
 */

import type { Pollable } from "../system/poller.ts";
import type { ZapDecision, ZapRequest } from "../wire/zap.ts";
import type { Library } from "../zmq/library.ts";
import { MessagePool } from "../zmq/message.ts";
import { Context } from "../zmq/socket.ts";
import { ZapHandler } from "./zap_handler.ts";

/** The ground that sockets on libzmq stand on. */
export class ZmqGround {
  readonly context: Context;
  readonly messages: MessagePool;
  #zap: ZapHandler | undefined;

  /** @throws {ZmqError} when the system has too few file descriptors left. */
  constructor(library: Library) {
    this.context = new Context(library);
    this.messages = new MessagePool(library);
  }

  /** The ZAP handler, which is opened when it is needed first; `decide` says who may connect. */
  openZap(decide: (request: ZapRequest) => ZapDecision | "wait"): ZapHandler {
    return this.#zap ??= new ZapHandler(this.context, this.messages, decide);
  }

  /** What is to be waited for besides the sockets themselves. */
  get ports(): Pollable[] {
    return this.#zap === undefined ? [] : [this.#zap.socket];
  }

  /** Answers the next question whether a peer may connect; false: there is none. */
  answerQuestion(): boolean {
    return this.#zap?.read() ?? false;
  }

  /** Whether there is such a question. */
  get hasQuestion(): boolean {
    return this.#zap?.socket.readable() ?? false;
  }

  /** Answers no more questions: nobody can connect from then on. */
  closeZap(): void {
    this.#zap?.close();
  }

  /** Waits until the sockets, which are closed, have sent what their linger time allows. */
  async terminate(): Promise<void> {
    this.closeZap();
    await this.context.terminate();
  }

  /** The same on this thread. */
  terminateSync(): void {
    this.closeZap();
    this.context.terminateSync();
  }
}
