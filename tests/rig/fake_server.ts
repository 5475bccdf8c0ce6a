/** A server by hand that does what each test of the client wants. */

import { EMPTY_FRAME } from "../../wire/empty_frame.ts";
import { buildStatus, StatusFlag } from "../../wire/request.ts";
import { asksForVersion, HEADER_VERSION, parseRequestHeader } from "../../wire/request_header.ts";
import { Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import type { Poller } from "../../system/poller.ts";
import { pollerOf } from "./descriptors.ts";
import { freePort } from "./ports.ts";
import { Context, type Socket } from "../../zmq/socket.ts";
import { bytes } from "./text.ts";
import { LIMIT, within } from "./wait.ts";

const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));

/** A message as the ROUTER had it. */
export interface Received {
  peer: Uint8Array<ArrayBuffer>;
  envelope: Uint8Array<ArrayBuffer>[];
  body: Uint8Array<ArrayBuffer>[];
}

/** ROUTER_NOTIFY's bit for `[peer, ""]` when a connection ends. */
const DISCONNECT = 2;

/** What our client says ahead of a request. */
export function headerOf({ envelope }: Received) {
  return parseRequestHeader(envelope[0] ?? EMPTY_FRAME);
}

/** A ROUTER that keeps every request and hands it to `answer`. */
export class FakeServer {
  readonly requests: Received[] = [];
  /** Connections that ended. */
  gone = 0;
  readonly endpoint: string;
  readonly #answer: (server: FakeServer, request: Received) => void;
  readonly #context = new Context(library);
  readonly #socket: Socket;
  readonly #poller: Poller;
  readonly #frame = new MessagePool(library).take();
  readonly #done: Promise<void>;
  #watchers: (() => void)[] = [];
  #open = true;

  constructor(
    answer: (server: FakeServer, request: Received) => void,
    endpoint = "tcp://127.0.0.1:*",
  ) {
    this.#answer = answer;
    this.#socket = this.#context.socket(SocketType.ROUTER);
    this.#socket.set(Option.SNDHWM, 0);
    this.#socket.set(Option.RCVHWM, 0);
    if (endpoint.includes("[")) this.#socket.set(Option.IPV6, 1);
    this.#socket.set(Option.ROUTER_NOTIFY, DISCONNECT);
    this.endpoint = this.#socket.bind(endpoint);
    this.#poller = pollerOf([this.#socket]);
    this.#done = this.#run();
  }

  /** Answers as our server answers our client. */
  reply(to: Received, code: number, ...body: Uint8Array<ArrayBuffer>[]): void {
    this.send(to.peer, ...to.envelope, EMPTY_FRAME, buildStatus(code), ...body);
  }

  /** Answers as our server does when it is shutting down. */
  refuse(to: Received): void {
    const status = buildStatus(503, StatusFlag.unstarted);
    this.send(to.peer, ...to.envelope, EMPTY_FRAME, status, bytes("The server is shutting down"));
  }

  /** Answers as it answers a REQ socket. */
  replyPlain(to: Received, ...body: Uint8Array<ArrayBuffer>[]): void {
    this.send(to.peer, ...to.envelope, EMPTY_FRAME, ...body);
  }

  send(...frames: Uint8Array<ArrayBuffer>[]): void {
    const last = frames.pop() ?? EMPTY_FRAME;
    for (const frame of frames) this.#socket.sendMore(frame);
    this.#socket.sendLast(last);
    this.#poller.wake();
  }

  /** Waits until so many requests have come. */
  async got(count: number): Promise<Received[]> {
    while (this.requests.length < count) await within(`${count} requests have come`, this.#event());
    return this.requests;
  }

  /** Waits until so many connections have ended. */
  async lost(count: number): Promise<void> {
    while (this.gone < count) await within(`${count} connections have ended`, this.#event());
  }

  #event(): Promise<void> {
    return new Promise((resolve) => this.#watchers.push(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open = false;
    this.#poller.wake();
    await within("the fake server has ended", this.#done);
    this.#poller.close();
    this.#socket.close(0);
    await within("libzmq has ended", this.#context.terminate());
  }

  async #run(): Promise<void> {
    while (this.#open) {
      for (let request; (request = this.#receive()) !== undefined;) {
        if (request.body.length === 0) this.gone++;
        else {
          this.requests.push(request);
          this.#answer(this, request);
        }
        for (const watcher of this.#watchers.splice(0)) watcher();
      }
      await this.#poller.wait(this.#socket.readable() ? 0 : LIMIT);
    }
  }

  #receive(): Received | undefined {
    const frames = [];
    do {
      const size = this.#socket.receive(this.#frame);
      if (size < 0) return undefined;
      frames.push(this.#frame.bytes(size));
    } while (this.#frame.more);
    const [peer = EMPTY_FRAME, ...rest] = frames;
    const split = rest.findIndex((frame) => frame.length === 0);
    return { peer, envelope: rest.slice(0, split), body: rest.slice(split + 1) };
  }
}

export const echo = (server: FakeServer, request: Received) =>
  server.reply(request, 200, ...request.body);
export const echoPlain = (server: FakeServer, request: Received) =>
  server.replyPlain(request, ...request.body);
export const silent = () => {};

/** Whether a message asks which version of the header the server knows. */
export function isQuestion(request: Received): boolean {
  const [body = EMPTY_FRAME] = request.body;
  return headerOf(request)?.type === "cancel" && asksForVersion(body, body.length);
}

/** Echoes, as servers do that know no question: they answer no withdrawal. */
export const echoAsOlder = (server: FakeServer, request: Received) => {
  if (!isQuestion(request)) echo(server, request);
};

/** Says which version it knows, as servers do that know services; all else is `answer`'s. */
export function knowing(answer: (server: FakeServer, request: Received) => void) {
  return (server: FakeServer, request: Received) => {
    if (isQuestion(request)) server.reply(request, 200, Uint8Array.of(HEADER_VERSION));
    else answer(server, request);
  };
}

/** An endpoint that no server has. */
export function deadEndpoint(): string {
  return `tcp://127.0.0.1:${freePort()}`;
}
