/** A source of clients on libzmq, whose passes the test makes. */

import type { StreamCredit } from "../../wire/credit.ts";
import { strict as assert } from "node:assert";
import type { Peer } from "../../broker/job.ts";
import { type Body, BodyPool } from "../../ports/body.ts";
import { MemoryContent } from "../../ports/content.ts";
import type { Address } from "../../ports/source.ts";
import { ZmqSource } from "../../ports/zmq_source.ts";
import { Code } from "../../wire/request.ts";
import { openLibrary } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { type Message, MessagePool } from "../../zmq/message.ts";
import { Context } from "../../zmq/socket.ts";
import { bodyWith } from "./bodies.ts";
import { type Asked, bodyOf } from "./native_front.ts";
import { bytes } from "./text.ts";
import { until } from "./wait.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const OURS = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;
/** Bounds unless a test has its own. */
export const BOUNDS = {
  maxMessageSize: 1000,
  maxFrames: 100,
  unreadBytes: 100_000_000,
  ipv6: false,
};

/** A pool that knows which messages are out, and refuses one twice, or one put back with content. */
export class StrictPool extends MessagePool {
  readonly out = new Set<Message>();
  /** The most that were out at a time. */
  peak = 0;

  override take(): Message {
    const message = super.take();
    assert.equal(message.size, 0, "A message of the pool is empty");
    this.out.add(message);
    this.peak = Math.max(this.peak, this.out.size);
    return message;
  }

  override putBack(message: Message): void {
    assert.equal(message.size, 0, "A message that was sent is empty");
    assert(this.out.delete(message), "A message comes back once");
    super.putBack(message);
  }

  override release(message: Message): void {
    assert(this.out.delete(message), "A message comes back once");
    super.release(message);
  }
}

/** A ZmqSource, and what it told of. */
export class ZmqFront {
  readonly #context: Context;
  readonly messages: StrictPool;
  readonly bodies = new BodyPool();
  readonly frontend: ZmqSource;
  readonly requests: Asked[] = [];
  /** What clients take more of answers in parts, by the numbers of their requests. */
  readonly credits: ({ id: number } & StreamCredit)[] = [];
  readonly gone: Peer<Body>[] = [];
  /** Who has asked which version is known. */
  readonly questions: Address[] = [];
  readonly cancelled: Pick<Asked, "client" | "requestId" | "envelope">[] = [];
  now = 0;

  /** Binds; `library`: the file of libzmq. */
  constructor({ endpoint = "tcp://127.0.0.1:0", library = OURS, ...bounds } = {}) {
    const opened = openLibrary(library);
    this.#context = new Context(opened);
    this.messages = new StrictPool(opened);
    const options = { ...BOUNDS, ...bounds };
    this.frontend = new ZmqSource(this.#context, this.messages, this.bodies, options, {
      mayRead: () => true,
      roomFor: () => Infinity,
      request: (_peer, request) => this.requests.push({ ...request }),
      cancel: ({ home: client }, requestId, envelope) =>
        this.cancelled.push({ client, requestId, envelope }),
      credit: (_peer, id, _envelope, credit) => this.credits.push({ id, ...credit }),
      asksForVersion: (from) => this.questions.push(from),
      gone: (peer) => this.gone.push(peer),
      stalled: () => {},
      catchUp: () => {
        this.read();
        return true;
      },
    });
    this.frontend.bind(endpoint);
  }

  get endpoint(): string {
    return this.frontend.endpoints[0] ?? "";
  }

  read(): void {
    while (this.frontend.requests.read(performance.now()));
  }

  /** The next request, read when it comes. */
  next(): Promise<Asked> {
    return until("a request comes", () => {
      if (this.requests.length === 0) this.read();
      return this.requests.shift();
    });
  }

  /** The next request's body; it must have come through whole. */
  async nextBody(): Promise<string> {
    return bodyOf(await this.next()).join("|");
  }

  /** The request with this body, which others may wait before. */
  request(body: string): Promise<Asked> {
    return until(`"${body}" comes`, () => {
      this.read();
      return this.requests.find((asked) => bodyOf(asked).join("|") === body);
    });
  }

  reply(to: Asked, code: number, ...frames: (string | Bytes)[]): void {
    const all = frames.map((frame) => typeof frame === "string" ? bytes(frame) : frame);
    const content = new MemoryContent().setBody(bodyWith(this.bodies, ...all));
    this.frontend.reply(to, code, 0, content, this.now);
  }

  flush(): void {
    this.frontend.replies.flush(this.now);
  }

  /** Waits until a client has left: libzmq tells of it a moment before sends to it fail. */
  async left(asked: Asked): Promise<void> {
    await until("it is told", () => {
      this.read();
      return this.gone.includes(asked.client.peer);
    });
    const { undelivered } = this.frontend.replies;
    await until("sends to it fail", () => {
      this.reply(asked, Code.ok, "nobody is there");
      return this.frontend.replies.undelivered > undelivered;
    });
    assert.equal(this.frontend.replies.undelivered, undelivered + 1);
  }

  /** Messages in use beside the port's own two. */
  get inUse(): number {
    return this.messages.out.size - 2;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.frontend.close(0);
    await this.#context.terminate();
  }
}
