/** A raw peer of a server: frames are what the test says. */

import { type KeyPair, prove } from "../../zmq/curve.ts";
import { openLibrary, Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import type { Poller } from "../../system/poller.ts";
import { pollerOf } from "./descriptors.ts";
import { Context } from "../../zmq/socket.ts";
import { bytes, text } from "./text.ts";
import { LIMIT, within } from "./wait.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A bare ZeroMQ socket that sends and receives whole messages: frames are what the test says. */
export class Peer {
  readonly #context: Context;
  readonly #poller: Poller;
  readonly #messages: MessagePool;
  readonly socket: ReturnType<Context["socket"]>;

  constructor(
    endpoint: string,
    options: {
      identity?: string | Bytes;
      /** Whether it connects again when its connection was closed. @default {"again"} */
      after?: "again" | "never";
      /** Its own CURVE keys, and the server's. */
      keys?: { own: KeyPair; server: string };
    } = {},
  ) {
    const library = openLibrary(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path);
    this.#context = new Context(library);
    this.#messages = new MessagePool(library);
    this.socket = this.#context.socket(SocketType.DEALER);
    const { identity, keys } = options;
    if (keys !== undefined) prove(this.socket, keys.own, keys.server);
    if (endpoint.includes("[")) this.socket.set(Option.IPV6, 1);
    if (identity !== undefined) {
      this.socket.setBytes(
        Option.ROUTING_ID,
        typeof identity === "string" ? bytes(identity) : identity,
      );
    }
    if (options.after === "never") this.socket.set(Option.RECONNECT_IVL, -1);
    this.socket.set(Option.SNDHWM, 0);
    this.socket.set(Option.RCVHWM, 0);
    this.socket.connect(endpoint);
    this.#poller = pollerOf([this.socket]);
  }

  /** Sends one message. */
  send(...frames: (string | Bytes)[]): void {
    frames.map((frame) => typeof frame === "string" ? bytes(frame) : frame)
      .forEach((frame, index) =>
        index < frames.length - 1 ? this.socket.sendMore(frame) : this.socket.sendLast(frame)
      );
  }

  /** A message that is here already. */
  take(): Bytes[] | undefined {
    this.socket.noteActivity(); // there may have been no wait for it
    const frame = this.#messages.take();
    const frames: Bytes[] = [];
    for (;;) {
      const size = this.socket.receive(frame);
      if (size < 0) break;
      frames.push(frame.bytes(size));
      if (!frame.more) break;
    }
    this.#messages.release(frame);
    return frames.length === 0 ? undefined : frames;
  }

  /** The next message. */
  async receive(limit = LIMIT): Promise<Bytes[]> {
    const end = performance.now() + limit;
    for (;;) {
      const frames = this.take();
      if (frames !== undefined) return frames;
      if (performance.now() > end) throw new Error(`Waited ${limit} ms in vain for a message`);
      if (!this.socket.readable()) await this.#poller.wait(100);
    }
  }

  /** The next message, as text, a frame an item. */
  async receiveText(limit = LIMIT): Promise<string[]> {
    return (await this.receive(limit)).map(text);
  }

  /** Asks as a REQ socket does and gives the body of the reply, frames as text. */
  async ask(...body: (string | Bytes)[]): Promise<string[]> {
    this.send("", ...body);
    const [delimiter, ...frames] = await this.receiveText();
    if (delimiter !== "") throw new Error(`The reply has no empty frame first: ${frames}`);
    return frames;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#poller.close();
    this.socket.close(0);
    await within("libzmq has ended", this.#context.terminate());
  }
}

/** The next `count` messages. */
export async function receiveAll(peer: Peer, count: number): Promise<Bytes[][]> {
  const messages: Bytes[][] = [];
  while (messages.length < count) messages.push(await peer.receive());
  return messages;
}

/** The last frames of the next `count` messages, as text, sorted. */
export async function receiveBodies(peer: Peer, count: number): Promise<string[]> {
  return (await receiveAll(peer, count)).map((frames) => text(frames.at(-1))).sort();
}

/** Asks over a connection of its own. */
export async function askOnce(endpoint: string, ...body: (string | Bytes)[]): Promise<string[]> {
  await using peer = new Peer(endpoint);
  return await peer.ask(...body);
}
