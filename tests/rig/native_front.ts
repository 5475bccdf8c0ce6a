/** A source of clients on sockets of our own, whose passes the test makes, and whose time it may tell. */

import type { StreamCredit } from "../../wire/credit.ts";
import { strict as assert } from "node:assert";
import type { Arrivals } from "../../auth/arrivals.ts";
import type { Peer } from "../../broker/job.ts";
import { type Body, BodyPool } from "../../ports/body.ts";
import { MemoryContent } from "../../ports/content.ts";
import { NativeSource, type NativeSourceOptions } from "../../ports/native_source.ts";
import type { Address, ClientRequest } from "../../ports/source.ts";
import { type Libc, openLibc } from "../../system/libc.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { bytes, text } from "./text.ts";
import { LIMIT, pause, until } from "./wait.ts";

export type Asked = ClientRequest;

/** One for all tests of a file. */
let libc: Libc | undefined;

const DEFAULTS: NativeSourceOptions = {
  maxMessageSize: 100_000,
  maxFrames: 10,
  unreadBytes: 16 * 1024 ** 2,
  connectionBytes: 16 * 1024 ** 2,
  handshakeTimeout: 0,
  heartbeatInterval: 0,
  keepAlive: 0,
  maxConnectionRate: 0,
  ipv6: false,
};

/** A source that keeps what it is asked. */
export class NativeFront {
  readonly bodies = new BodyPool();
  readonly source: NativeSource;
  readonly endpoint: string;
  readonly asked: Asked[] = [];
  readonly cancelled: number[] = [];
  /** What clients take more of answers in parts, by the numbers of their requests. */
  readonly credits: ({ id: number } & StreamCredit)[] = [];
  readonly gone: Peer<Body>[] = [];
  readonly stalled: Peer<Body>[] = [];
  /** Who has asked which version is known. */
  readonly questions: Address[] = [];
  /** Requests that it may be told of. */
  room = Infinity;
  /** For how many more requests a service has room. */
  roomFor = Infinity;
  /** Why nobody else may connect. */
  refusal: (address: string, open: Arrivals) => string | undefined = () => undefined;
  /** What is added to the time, ms. */
  later = 0;
  readonly #content = new MemoryContent();

  constructor(
    options: Partial<NativeSourceOptions> = {},
    endpoint = "tcp://127.0.0.1:0",
    own?: Libc,
  ) {
    libc ??= openLibc(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path);
    const all = { ...DEFAULTS, ...options };
    this.source = new NativeSource(own ?? libc, this.bodies, all, {
      mayRead: () => this.room > 0,
      roomFor: () => this.roomFor,
      request: (_peer, request) => {
        this.room--;
        this.asked.push({ ...request });
      },
      cancel: (_client, id) => this.cancelled.push(id),
      credit: (_client, id, _envelope, credit) => this.credits.push({ id, ...credit }),
      asksForVersion: (from) => this.questions.push(from),
      gone: (peer) => {
        peer.connected = false;
        this.gone.push(peer);
      },
      stalled: (peer) => this.stalled.push(peer),
      catchUp: () => false,
      refusal: (address, open) => this.refusal(address, open),
    });
    this.endpoint = this.source.bind(endpoint);
  }

  get now(): number {
    return performance.now() + this.later;
  }

  /** A pass of the loop. */
  turn(): void {
    for (const port of this.source.ports) port.noteActivity();
    this.source.read(this.now);
    this.source.tick(this.now);
    this.source.flush(this.now);
  }

  /** Makes passes until `look` gives something. */
  until<T>(what: string, look: () => T | false | undefined): Promise<T> {
    return until(what, () => {
      this.turn();
      return look();
    });
  }

  /** Makes passes while `work` is under way. */
  async during<T>(work: Promise<T>): Promise<T> {
    let isDone = false;
    work.then(() => isDone = true, () => isDone = true);
    const end = performance.now() + LIMIT;
    while (!isDone && performance.now() < end) {
      this.turn();
      await pause(1);
    }
    return await work;
  }

  /** The next request that was not taken yet. */
  async request(): Promise<Asked> {
    return await this.until("a request comes", () => this.asked.shift());
  }

  /** Answers with frames. */
  reply(to: Asked, ...frames: (string | Uint8Array)[]): void {
    this.answer(to, 200, ...frames);
  }

  /** The same with a code. */
  answer(to: Asked, code: number, ...frames: (string | Uint8Array)[]): void {
    const all = frames.map((frame) => typeof frame === "string" ? bytes(frame) : frame);
    const sizes = all.map(({ length }) => length);
    const joined = new Uint8Array(sizes.reduce((sum, size) => sum + size, 0));
    all.reduce((at, frame) => (joined.set(frame, at), at + frame.length), 0);
    const content = this.#content.set(joined, 0, joined.length, all.length > 1 ? sizes : undefined);
    this.source.reply(to, code, 0, content, this.now);
  }

  [Symbol.dispose](): void {
    this.source.closeNow();
  }
}

/** The frames of a request's body, as text. */
export function bodyOf({ body }: Asked): string[] {
  return body.toFrames().map(text);
}

/** What is counted and must be nothing. */
export function assertClean({ source: { counters } }: NativeFront): void {
  const none = { malformed: 0, undelivered: 0, denied: 0, takeovers: 0, squatters: 0 };
  assert.deepEqual(counters, none);
}
