/**
 * Requests whose headers have fields, until the server at the other end of this very connection has said that it knows
 * them: an older one would take the header for an unknown envelope, and run its handler. Sends nothing itself.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import {
  buildRequestHeader,
  HEADER_VERSION,
  type StreamCredit,
  VERSION_QUESTION,
} from "../wire/request_header.ts";
import type { Answer } from "./answer.ts";
import type { Sending } from "./transport.ts";

/**
 * What is said of a request: it is taken back, or more of its answer is wanted. Or what is asked: which version of the
 * header the server knows.
 */
export type Word =
  | { readonly cancels: number }
  | { readonly grants: number; readonly credit: StreamCredit }
  | { readonly asks: number };

/** What a connection sends. */
export type Message = Sending | Word;

/** A request that any server understands. */
export function isForAll(message: Message): boolean {
  return "item" in message && message.fields === undefined;
}

/** A request that older servers would misunderstand. */
export function isForSome(message: Message): message is Sending {
  return "item" in message && message.fields !== undefined;
}

/** The header of a word. */
export function headerOfWord(word: Word): Uint8Array<ArrayBuffer> {
  if ("grants" in word) {
    return buildRequestHeader({ type: "credit", id: word.grants, stream: word.credit });
  }
  return buildRequestHeader({ type: "cancel", id: "asks" in word ? word.asks : word.cancels });
}

/** The body of a word. */
export function bodyOfWord(word: Word): Uint8Array<ArrayBuffer> {
  return "asks" in word ? VERSION_QUESTION : EMPTY_FRAME;
}

/** Questions have numbers from here on, which no request has: these are counted up from 32 bits. */
const FIRST_QUESTION = 2 ** 52;

/**
 * The gate of one connection after the other.
 *
 * ```text
 * shut ─a request needs fields→ asked ─the server knows them→ open
 * any ─the connection ends→ shut, or asked if requests wait
 * ```
 */
export class FieldGate {
  #state: "shut" | "asked" | "open" = "shut";
  #held: Sending[] = [];
  #question = 0;

  /** Whether the server knows fields, so that nothing has to wait. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Whether requests wait here. */
  get holds(): boolean {
    return this.#held.length > 0;
  }

  /** Holds a request; returns the number under which the server is to be asked, undefined: it was. */
  hold(request: Sending): number | undefined {
    this.#held.push(request);
    return this.#ask();
  }

  /** A request is wanted no more; false: it does not wait here. */
  withdraw(id: number): boolean {
    const index = this.#held.findIndex((request) => request.id === id);
    if (index >= 0) this.#held.splice(index, 1);
    return index >= 0;
  }

  /** Returns what an answer lets through, to be sent in this order; undefined: it answers no question of this gate. */
  learn({ id, code, frames }: Answer): readonly Sending[] | undefined {
    if (id === undefined || id < FIRST_QUESTION) return undefined;
    // One of an earlier connection says nothing of this one.
    if (id !== this.#question || code !== 200 || this.#state !== "asked") return [];
    const [version, ...others] = frames;
    if (version?.length !== 1 || others.length > 0 || (version[0] ?? 0) < HEADER_VERSION) return [];
    this.#state = "open";
    return this.#held.splice(0);
  }

  /**
   * The connection has ended, and these requests with fields were not sent over it: they go ahead of those that wait.
   * Returns the number under which the next server is to be asked, undefined: nothing waits for that.
   */
  startAnew(unsent: readonly Sending[]): number | undefined {
    this.#state = "shut";
    this.#held.unshift(...unsent);
    return this.holds ? this.#ask() : undefined;
  }

  #ask(): number | undefined {
    if (this.#state !== "shut") return undefined;
    this.#state = "asked";
    return this.#question = FIRST_QUESTION + (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
  }
}
