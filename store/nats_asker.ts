/**
 * Questions to JetStream, publishes above all, without a promise for each: one inbox for all answers, whose last token
 * is the question's number. A question that is not answered is sent again, and all of them are after each reconnect: so
 * each must do the same when it comes twice.
 *
 * @module
 */

import type { StoreClock } from "./job_store.ts";
import type { NatsHeaders, NatsMessage } from "./nats_library.ts";
import type { NatsLink } from "./nats_link.ts";

/** Hears the answer; undefined: there was none in time. */
export type Answered = (answer: NatsAnswer | undefined) => void;

/** What JetStream says to a publish or a question. */
export interface NatsAnswer {
  /** Where a message was stored; 0: it was not, or nothing was published. */
  seq: number;
  fault: NatsFault | undefined;
  /** The whole answer, as it came. */
  payload: Uint8Array;
}

/** Why it did not do what it was asked. */
export interface NatsFault {
  code: number;
  /** JetStream's own number. */
  number: number;
  text: string;
}

/** The record's revision is another one. */
export const WRONG_REVISION = 10_071;
/** The stream is full, or its subject is. */
export const STREAM_FULL = 10_077;
/** There is no such message. */
export const NO_MESSAGE = 10_037;
/** Not of JetStream's: a message is larger than NATS takes, which would end the connection. */
export const TOO_LARGE = 413;
/** The account, or the server, has no room. */
export const NO_ROOM = [10_002, 10_023, 10_047];

const SWEEP_INTERVAL = 250;
/** Sent again if there was no answer for so long, ms. */
const RESEND_AFTER = 3000;
/** Sent again after a server has said that it can't now, ms. */
const RETRY_AFTER = 300;

/** What headers have at most, bytes. */
const HEADER_ROOM = 32_768;
const EMPTY = new Uint8Array(0);

interface Question {
  subject: string;
  payload: Uint8Array | string | undefined;
  headers: NatsHeaders | undefined;
  /** By the steady clock. */
  deadline: number;
  /** When it is sent again, by the steady clock; 0: it was not sent yet. */
  again: number;
  answered: Answered;
}

/** See above. */
export class NatsAsker {
  readonly #link: NatsLink;
  readonly #clock: StoreClock;
  readonly #inbox: string;
  readonly #open = new Map<number, Question>();
  #last = 0;
  #cancelSweep: (() => void) | undefined;

  /** `inbox`: a subject of its own. */
  constructor(link: NatsLink, clock: StoreClock, inbox: string) {
    this.#link = link;
    this.#clock = clock;
    this.#inbox = inbox;
    link.subscribe(`${inbox}.*`, (message) => this.#hear(message));
  }

  /** How many are not answered. */
  get open(): number {
    return this.#open.size;
  }

  /** `waitMs` may be Infinity. */
  ask(
    subject: string,
    payload: Uint8Array | string | undefined,
    headers: NatsHeaders | undefined,
    waitMs: number,
    answered: Answered,
  ): void {
    const deadline = this.#clock.steady() + waitMs;
    const question = { subject, payload, headers, deadline, again: 0, answered };
    const number = ++this.#last;
    this.#open.set(number, question);
    this.#send(number, question);
    this.#cancelSweep ??= this.#clock.after(SWEEP_INTERVAL, () => this.#sweep());
  }

  /** The same as a promise, for what is rare. */
  asked(
    subject: string,
    payload: Uint8Array | string | undefined,
    headers: NatsHeaders | undefined,
    waitMs: number,
  ): Promise<NatsAnswer | undefined> {
    return new Promise((resolve) => this.ask(subject, payload, headers, waitMs, resolve));
  }

  /** After a reconnect: what was sent before may be lost. */
  resend(): void {
    for (const [number, question] of this.#open) this.#send(number, question);
  }

  /** Nothing is heard any more; what is open is answered by undefined. */
  close(): void {
    this.#cancelSweep?.();
    const open = [...this.#open.values()];
    this.#open.clear();
    for (const { answered } of open) answered(undefined);
  }

  #send(number: number, question: Question): void {
    const { subject, payload, headers } = question;
    if (payload !== undefined && payload.length + HEADER_ROOM > this.#link.maxPayload) {
      this.#open.delete(number);
      const text = `it has ${payload.length} bytes`;
      return question.answered(faulty(TOO_LARGE, TOO_LARGE, text, EMPTY));
    }
    const reply = `${this.#inbox}.${number}`;
    if (this.#link.publish(subject, payload, headers ? { reply, headers } : { reply })) {
      question.again = this.#clock.steady() + RESEND_AFTER;
    }
  }

  #hear({ subject, data, headers }: NatsMessage): void {
    const number = Number(subject.slice(this.#inbox.length + 1));
    const question = this.#open.get(number);
    if (question === undefined) return;
    const answer = headers !== undefined && headers.code >= 400
      ? faulty(headers.code, 0, headers.description, data)
      : parseAnswer(data);
    if (isPassing(answer.fault)) {
      question.again = this.#clock.steady() + RETRY_AFTER;
      return;
    }
    this.#open.delete(number);
    question.answered(answer);
  }

  #sweep(): void {
    this.#cancelSweep = undefined;
    const now = this.#clock.steady();
    for (const [number, question] of this.#open) {
      if (now >= question.deadline) {
        this.#open.delete(number);
        question.answered(undefined);
      } else if (now >= question.again) {
        this.#send(number, question);
      }
    }
    if (this.#open.size > 0) {
      this.#cancelSweep = this.#clock.after(SWEEP_INTERVAL, () => this.#sweep());
    }
  }
}

/** Nobody leads now, or nobody is there: it may be asked again. */
function isPassing(fault: NatsFault | undefined): boolean {
  if (fault === undefined) return false;
  return fault.code === 503 && fault.number !== STREAM_FULL && !NO_ROOM.includes(fault.number);
}

const decoder = new TextDecoder();
/** `{"stream":"NAME", "seq":12}`, and perhaps more between and behind: what a publish is answered. */
const STORED = /^\{"stream":"[^"]*",.*?"seq":\s*(\d+)/;

/** Reads an answer. */
export function parseAnswer(payload: Uint8Array): NatsAnswer {
  // A stored message may be large; then it is no answer to a publish.
  const start = decoder.decode(payload.subarray(0, 400));
  const stored = STORED.exec(start);
  if (stored !== null && !start.includes('"error"')) {
    return { seq: Number(stored[1]), fault: undefined, payload };
  }
  if (!start.includes('"error"')) return { seq: 0, fault: undefined, payload };
  return parseFault(payload) ?? { seq: 0, fault: undefined, payload };
}

function parseFault(payload: Uint8Array): NatsAnswer | undefined {
  const { error } = parseObject(payload);
  if (typeof error !== "object" || error === null) return undefined;
  const { code, err_code: number, description } = Object.fromEntries(Object.entries(error));
  return faulty(Number(code) || 500, Number(number) || 0, String(description), payload);
}

function faulty(code: number, number: number, text: string, payload: Uint8Array): NatsAnswer {
  return { seq: 0, fault: { code, number, text }, payload };
}

/** A JSON object; {} where it is none. */
export function parseObject(payload: Uint8Array): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(decoder.decode(payload));
    return typeof value === "object" && value !== null
      ? Object.fromEntries(Object.entries(value))
      : {};
  } catch {
    return {};
  }
}
