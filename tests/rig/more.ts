/**
 * What the end-to-end tests of requests, handlers and the sandbox share beyond harness.ts: sockets with
 * the high-water marks of an ordinary client, gates that hold a handler, and what /proc tells.
 */

import { buildRequestHeader, type RequestHeader } from "../../wire/request.ts";
import { openLibrary, Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import { Poller } from "../../zmq/poller.ts";
import { Context } from "../../zmq/socket.ts";
import {
  bytes,
  Folder,
  LIMIT,
  type LogLine,
  Peer,
  ROOT,
  run,
  type ServerProcess,
  text,
} from "./harness.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** zmq.h: a REQ socket, and the options that make it name its requests and forget unanswered ones. */
const REQ = 3;
const REQ_CORRELATE = 52;
const REQ_RELAXED = 53;

/** URL of worker.ts, for handlers that import its helpers. */
export const WORKER_MODULE = new URL("worker.ts", ROOT).href;

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
    this.#poller = new Poller(this.#context, [this.socket]);
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
    await this.#context.terminate();
  }
}

/** A file that does not exist yet: a handler made by `gated` answers only once it does. */
export class Gate {
  readonly #folder = new Folder();
  readonly file = `${this.#folder.path}/open`;
  /** What lets the handler look. */
  readonly grant = `--handler-allow-read=${this.#folder.path}`;

  open(): void {
    Deno.writeTextFileSync(this.file, "");
  }

  /** Source of `async function passed(signal)`, which waits until the gate is open. */
  get source(): string {
    return `async function passed() {
      for (;;) {
        try { return Deno.statSync(${JSON.stringify(this.file)}); } catch { /* not yet */ }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }`;
  }

  /** A handler that says "started" in the log, waits for the gate, and echoes. */
  get handler(): string {
    return `${this.source}
      export default async (_body, ctx) => {
        ctx.log.info("started");
        await passed();
        return ctx.frames;
      };`;
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
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

/** Numbers from 0 as sorted text: the bodies of `count` requests. */
export function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index)).sort();
}

/** Asks over a connection of its own. */
export async function askOnce(endpoint: string, ...body: (string | Bytes)[]): Promise<string[]> {
  await using peer = new Peer(endpoint);
  return await peer.ask(...body);
}

/** The form of a plain error reply: an empty frame, then this. */
export function errorReply(code: number, message: string): string[] {
  return ["", `${code} ${message}`];
}

/** Log lines with this message. */
export function linesOf(server: ServerProcess, message: string): LogLine[] {
  return server.lines.filter((line) => line.message === message);
}

/** A header of our own client, as sent ahead of the empty frame. */
export function header(id: number, timeout = 0, said: Partial<RequestHeader> = {}): Bytes {
  return buildRequestHeader({ id, timeout, ...said });
}

/** CPU time that a process has used since its start, ms. */
export function cpuMillis(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const TICK = 10;
  return (Number(fields[11]) + Number(fields[12])) * TICK;
}

/** Makes Deno forget what it has cached of sites of the test's own, by their ports. */
export async function forgetSites(...ports: number[]): Promise<void> {
  const { denoDir } = JSON.parse((await run(Deno.execPath(), ["info", "--json"])).stdout);
  for (const port of ports) {
    for (const cache of ["remote", "gen"]) {
      const folder = `${denoDir}/${cache}/http/127.0.0.1_PORT${port}`;
      await Deno.remove(folder, { recursive: true }).catch(() => {});
    }
  }
}

/** Random whole numbers that are the same in every run: xorshift32. */
export function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

function toBytes(frame: string | Bytes): Bytes {
  return typeof frame === "string" ? bytes(frame) : frame;
}
