/**
 * One connection of an operator's program: its requests, one after the other, each with a deadline for every step.
 * What a peer makes this process hold is one head, one body and what a stream has ready.
 *
 * @module
 */

import { errorAnswer, Refusal } from "./answers.ts";
import {
  buildChunk,
  buildHead,
  findHeadEnd,
  type HttpAnswer,
  type HttpRequest,
  LAST_CHUNK,
  MAX_HEAD,
  parseHead,
  type RequestHead,
} from "./http_message.ts";

/** Answers a request; must not throw. */
export type AnswerRequest = (request: HttpRequest) => Promise<HttpAnswer>;

/** The time that a peer has for a head, a body, or to read what was written, ms. */
const STEP_TIMEOUT = 10_000;
/** How long a connection without a request is kept, ms. */
const IDLE_TIMEOUT = 60_000;
const FIRST_BUFFER = 1024;

/** What a connection waits for: for the peer, or for the answer to be made. */
type Wait = "request" | "answer" | "reader";

/** A connection until it is closed. */
export class HttpConnection {
  readonly #conn: Deno.Conn;
  readonly #answer: AnswerRequest;
  #buffer = new Uint8Array(FIRST_BUFFER);
  /** Bytes in the buffer that were read and not used. */
  #filled = 0;
  #wait: Wait = "request";
  /** When it is closed if nothing has moved, ms. */
  #deadline: number;
  #isClosed = false;

  constructor(conn: Deno.Conn, answer: AnswerRequest, now: number) {
    this.#conn = conn;
    this.#answer = answer;
    this.#deadline = now + STEP_TIMEOUT;
  }

  /** Whether it has no whole request: it may be closed where another one needs its place. */
  get isIdle(): boolean {
    return this.#wait === "request";
  }

  /** Closes it if its peer is too slow. */
  tick(now: number): void {
    if (this.#wait !== "answer" && now >= this.#deadline) this.close();
  }

  /** Ends it at once. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#conn.close();
  }

  /** Serves requests until the peer leaves, says nothing for too long, or breaks the rules. */
  async serve(): Promise<void> {
    try {
      while (await this.#serveOne()) {
        this.#wait = "request";
        this.#deadline = performance.now() + IDLE_TIMEOUT;
      }
    } catch {
      // The connection was closed, by either side.
    } finally {
      this.close();
    }
  }

  /** Whether another request may follow. */
  async #serveOne(): Promise<boolean> {
    let head: RequestHead;
    let body: string;
    try {
      const found = await this.#readHead();
      if (found === undefined) return false;
      head = found;
      body = await this.#readBody(head);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      await this.#write(errorAnswer(error.status, error.message), "GET", false);
      return false;
    }
    this.#wait = "answer";
    const answer = await this.#answer({ ...head, body });
    await this.#write(answer, head.method, head.keepsAlive);
    return head.keepsAlive && !(answer.body instanceof ReadableStream);
  }

  /** Undefined: the peer has left. */
  async #readHead(): Promise<RequestHead | undefined> {
    let looked = 0;
    for (;;) {
      const end = findHeadEnd(this.#buffer.subarray(0, this.#filled), looked - 3);
      if (end > MAX_HEAD || (end < 0 && this.#filled >= MAX_HEAD)) {
        throw new Refusal(431, `A head may have ${MAX_HEAD} bytes`);
      }
      if (end >= 0) {
        const head = parseHead(this.#buffer.subarray(0, end));
        this.#drop(end);
        return head;
      }
      looked = this.#filled;
      if (!await this.#read()) return undefined;
      // The whole head has its time from its first byte on.
      if (looked === 0) this.#deadline = performance.now() + STEP_TIMEOUT;
    }
  }

  async #readBody({ bodyBytes, awaitsContinue }: RequestHead): Promise<string> {
    this.#deadline = performance.now() + STEP_TIMEOUT;
    if (awaitsContinue && this.#filled < bodyBytes) {
      await this.#writeAll(new TextEncoder().encode("HTTP/1.1 100 Continue\r\n\r\n"));
      this.#wait = "request";
    }
    while (this.#filled < bodyBytes) {
      if (!await this.#read()) throw new Deno.errors.UnexpectedEof();
    }
    const body = new TextDecoder().decode(this.#buffer.subarray(0, bodyBytes));
    this.#drop(bodyBytes);
    return body;
  }

  /** Reads what there is; false: the peer has left. */
  async #read(): Promise<boolean> {
    if (this.#filled === this.#buffer.length) {
      const larger = new Uint8Array(2 * this.#buffer.length);
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    const count = await this.#conn.read(this.#buffer.subarray(this.#filled));
    this.#filled += count ?? 0;
    return count !== null;
  }

  #drop(bytes: number): void {
    const left = this.#buffer.slice(bytes, this.#filled);
    this.#filled = left.length;
    if (this.#buffer.length > 4 * FIRST_BUFFER && left.length <= FIRST_BUFFER) {
      this.#buffer = new Uint8Array(FIRST_BUFFER);
    }
    this.#buffer.set(left);
  }

  async #write(answer: HttpAnswer, method: string, keepsAlive: boolean): Promise<void> {
    const { body } = answer;
    if (body instanceof ReadableStream) return await this.#writeStream(answer, body, method);
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const head = new TextEncoder().encode(buildHead(answer, bytes.length, keepsAlive));
    await this.#writeAll(method === "HEAD" ? head : joined(head, bytes));
  }

  /** The last answer of a connection: the peer says nothing more, and to hear from it means that it leaves. */
  async #writeStream(
    answer: HttpAnswer,
    body: ReadableStream<Uint8Array>,
    method: string,
  ): Promise<void> {
    const reader = body.getReader();
    const left = this.#read().catch(() => {}).then(() => this.close());
    try {
      await this.#writeAll(new TextEncoder().encode(buildHead(answer, undefined, false)));
      while (method !== "HEAD") {
        this.#wait = "answer";
        const { done, value } = await Promise.race([reader.read(), left.then(() => ENDED)]);
        if (done || value === undefined) break;
        await this.#writeAll(buildChunk(value));
      }
      if (!this.#isClosed) await this.#writeAll(LAST_CHUNK);
    } finally {
      await reader.cancel().catch(() => {});
    }
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    this.#wait = "reader";
    this.#deadline = performance.now() + STEP_TIMEOUT;
    for (let written = 0; written < bytes.length;) {
      written += await this.#conn.write(bytes.subarray(written));
    }
  }
}

const ENDED = { done: true, value: undefined };

function joined(one: Uint8Array, other: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(one.length + other.length);
  bytes.set(one);
  bytes.set(other, one.length);
  return bytes;
}
