/** A raw socket of libzmq as ordinary clients have one. */

import { openLibrary, Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import type { Poller } from "../../system/poller.ts";
import { pollerOf } from "./descriptors.ts";
import { Context } from "../../zmq/socket.ts";
import { bytes } from "./text.ts";
import { LIMIT, within } from "./wait.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** zmq.h: a REQ socket, and the options that make it name its requests and forget unanswered ones. */
const REQ = 3;
const REQ_CORRELATE = 52;
const REQ_RELAXED = 53;

/** A raw socket as most clients have one: REQ, or DEALER, with libzmq's own high-water marks. */
export class PlainSocket {
  readonly #context: Context;
  readonly #poller: Poller;
  readonly #messages: MessagePool;
  readonly socket: ReturnType<Context["socket"]>;

  constructor(
    endpoint: string,
    options: { type?: "REQ" | "DEALER"; correlate?: boolean; sendAll?: boolean } = {},
  ) {
    const library = openLibrary(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path);
    this.#context = new Context(library);
    this.#messages = new MessagePool(library);
    this.socket = this.#context.socket(options.type === "DEALER" ? SocketType.DEALER : REQ);
    if (options.correlate) this.socket.set(REQ_CORRELATE, 1);
    if (options.correlate) this.socket.set(REQ_RELAXED, 1);
    if (options.sendAll) this.socket.set(Option.SNDHWM, 0);
    this.socket.connect(endpoint);
    this.#poller = pollerOf([this.socket]);
  }

  /** Sends one message. */
  send(...frames: (string | Bytes)[]): void {
    const all = frames.map(toBytes);
    all.slice(0, -1).forEach((frame) => this.socket.sendMore(frame));
    const sent = this.socket.sendLast(all.at(-1) ?? bytes(""));
    if (sent !== "sent") throw new Error(`The request was not sent: ${sent}`);
  }

  /** The next message. */
  async receive(limit = LIMIT): Promise<Bytes[]> {
    const end = performance.now() + limit;
    const frame = this.#messages.take();
    const frames: Bytes[] = [];
    for (;;) {
      const size = this.socket.receive(frame);
      if (size >= 0) frames.push(frame.bytes(size));
      if (size >= 0 && !frame.more) break;
      if (size >= 0) continue;
      if (performance.now() > end) throw new Error(`Waited ${limit} ms in vain for a message`);
      if (!this.socket.readable()) await this.#poller.wait(100);
    }
    this.#messages.release(frame);
    return frames;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#poller.close();
    this.socket.close(0);
    await within("libzmq has ended", this.#context.terminate());
  }
}

function toBytes(frame: string | Bytes): Bytes {
  return typeof frame === "string" ? bytes(frame) : frame;
}
