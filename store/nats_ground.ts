/**
 * What all parts of a store on NATS stand on: the connection, questions to JetStream, records that are read and changed
 * by their revision, and what is said to plane and server.
 *
 * @module
 */

import { SCHEDULE_KEY } from "../wire/submission.ts";
import type { StoreClock, StoreUser } from "./job_store.ts";
import type { EndState, FromStore, StoreConfig } from "./messages.ts";
import {
  type Answered,
  type NatsAnswer,
  type NatsAsker,
  type NatsFault,
  NO_MESSAGE,
  parseObject,
  WRONG_REVISION,
} from "./nats_asker.ts";
import type { NatsHeaders, NatsManager } from "./nats_library.ts";
import type { NatsLink } from "./nats_link.ts";
import type { NatsNames } from "./nats_names.ts";
import { buildRecord, type JobRecord, parseRecord, RECORD_ROOM } from "./nats_record.ts";

/** A message that a stream keeps. */
export interface Stored {
  subject: string;
  /** Its place in the stream: the revision of a record. */
  seq: number;
  /** When it was stored, ms since 1970 by NATS. */
  time: number;
  /** The header `Job`; undefined: it has none. */
  words: string | undefined;
  payload: Uint8Array;
}

/** A record that was read; `record` undefined: there is none, or it was forgotten. */
export interface Read {
  record: JobRecord | undefined;
  revision: number;
  /** The result, where it has one. */
  payload: Uint8Array;
}

/** How a change went. */
export type Written =
  | { type: "written"; record: JobRecord; revision: number }
  /** It was changed by somebody else before: the record as it is now. */
  | { type: "conflict"; read: Read }
  | { type: "refused"; fault: NatsFault }
  /** Not known: NATS did not answer in time. */
  | { type: "unanswered" };

/** What is given back at a stop comes again after that, ms: at once NATS would give it to a request that nobody hears. */
export const STOP_DELAY = 50;
/** How long what is rare waits for NATS, ms. */
export const PATIENCE = 10_000;

const EMPTY = new Uint8Array(0);
const NANOS = 1e6;

/** See above. */
export interface GroundParts {
  names: NatsNames;
  clock: StoreClock;
  link: NatsLink;
  asker: NatsAsker;
  newHeaders(): NatsHeaders;
  /** This node's name, which no other has. */
  node: string;
  config: StoreConfig;
  ackWait: number;
  emit(to: StoreUser, messages: FromStore[]): void;
}

/** See above. */
export class NatsGround {
  readonly names: NatsNames;
  readonly clock: StoreClock;
  readonly link: NatsLink;
  readonly asker: NatsAsker;
  readonly node: string;
  readonly ackWait: number;
  config: StoreConfig;
  /** There once the streams are. */
  manager: NatsManager | undefined;
  /** The same with less patience: for what may be made again. */
  maker: NatsManager | undefined;
  /** Whether somebody wants to hear of jobs that have ended. */
  isWatched = false;
  readonly #newHeaders: () => NatsHeaders;
  readonly #emit: GroundParts["emit"];
  #writes = 0;

  /** Asks nothing by itself. */
  constructor(parts: GroundParts) {
    this.names = parts.names;
    this.clock = parts.clock;
    this.link = parts.link;
    this.asker = parts.asker;
    this.node = parts.node;
    this.config = parts.config;
    this.ackWait = parts.ackWait;
    this.#newHeaders = parts.newHeaders;
    this.#emit = parts.emit;
  }

  /** Says one thing. */
  say(to: StoreUser, message: FromStore): void {
    this.#emit(to, [message]);
  }

  /** A line of the server's log. */
  log(
    level: "debug" | "info" | "warn" | "error",
    message: string,
    fields: Record<string, string | number> = {},
  ): void {
    this.say("server", { type: "log", level, message, fields });
  }

  /** Lets a hint come again, to any node; 0: at once. */
  giveBack(reply: string, ms: number): void {
    this.link.publish(reply, ms <= 0 ? "-NAK" : `-NAK {"delay": ${Math.round(ms * NANOS)}}`);
  }

  /** Whether a message with these bytes, and the words of a record, is larger than NATS takes. */
  isTooLarge(bytes: Uint8Array): boolean {
    return bytes.length > this.link.maxPayload - RECORD_ROOM;
  }

  /** Refuses what was asked. */
  refuse(to: StoreUser, number: number, code: number, message: string): void {
    this.say(to, { type: "refused", number, code, message });
  }

  /** Tells who watches that a job has ended. */
  over({ id, service, state, attempt, code }: JobRecord): void {
    if (!this.isWatched) return;
    const ended: EndState = state === "done" || state === "cancelled" || state === "expired"
      ? state
      : "failed";
    this.say("plane", { type: "over", id, service, state: ended, attempt, code });
  }

  /** Headers of these names and values. */
  headers(values: Record<string, string>): NatsHeaders {
    const headers = this.#newHeaders();
    for (const [name, value] of Object.entries(values)) headers.set(name, value);
    return headers;
  }

  /** The last message of a subject, from the stream's leader, so that it is never an old one. */
  last(
    stream: string,
    subject: string,
    waitMs: number,
    found: (stored: Stored | undefined, isKnown: boolean) => void,
  ): void {
    const question = JSON.stringify({ last_by_subj: subject });
    this.asker.ask(`$JS.API.STREAM.MSG.GET.${stream}`, question, undefined, waitMs, (answer) => {
      const isKnown = answer !== undefined &&
        (answer.fault === undefined || answer.fault.number === NO_MESSAGE);
      found(answer?.fault === undefined ? answer && parseStored(answer) : undefined, isKnown);
    });
  }

  /** The same as a promise. `null`: there is none; undefined: NATS did not answer. */
  lastOf(stream: string, subject: string, waitMs = PATIENCE): Promise<Stored | null | undefined> {
    return new Promise((resolve) =>
      this.last(
        stream,
        subject,
        waitMs,
        (stored, isKnown) => resolve(stored ?? (isKnown ? null : undefined)),
      )
    );
  }

  /** Reads a record; undefined: NATS did not answer. */
  read(id: string, waitMs: number, heard: (read: Read | undefined) => void): void {
    this.last(this.names.jobs, this.names.job(id), waitMs, (stored, isKnown) => {
      if (!isKnown) return heard(undefined);
      const record = parseRecord(stored?.words);
      heard({ record, revision: stored?.seq ?? 0, payload: stored?.payload ?? EMPTY });
    });
  }

  /** The same as a promise. */
  readOf(id: string, waitMs = PATIENCE): Promise<Read | undefined> {
    return new Promise((resolve) => this.read(id, waitMs, resolve));
  }

  /** Puts a record in place of the one of that revision; 0: of none. */
  write(
    record: JobRecord,
    revision: number,
    payload: Uint8Array,
    waitMs: number,
    done: (written: Written) => void,
  ): void {
    // Tells a writer whose answer was lost that the record is its own.
    const by = `${this.node}.${++this.#writes}`;
    const mine = { ...record, by };
    const headers = this.#newHeaders();
    headers.set("Job", buildRecord(mine));
    headers.set("Nats-Expected-Last-Subject-Sequence", String(revision));
    this.asker.ask(this.names.job(record.id), payload, headers, waitMs, (answer) => {
      if (answer === undefined) return done({ type: "unanswered" });
      if (answer.fault === undefined) {
        return done({ type: "written", record: mine, revision: answer.seq });
      }
      if (answer.fault.number !== WRONG_REVISION) {
        return done({ type: "refused", fault: answer.fault });
      }
      this.#resolve(mine, waitMs, done);
    });
  }

  /** Somebody has written before: another one, or this very change whose answer was lost. */
  #resolve(mine: JobRecord, waitMs: number, done: (written: Written) => void): void {
    this.read(mine.id, waitMs, (read) => {
      if (read === undefined) return done({ type: "unanswered" });
      const isMine = read.record?.by === mine.by;
      done(
        isMine
          ? { type: "written", record: mine, revision: read.revision }
          : { type: "conflict", read },
      );
    });
  }

  /** The same as a promise. */
  written(
    record: JobRecord,
    revision: number,
    payload: Uint8Array = EMPTY,
    waitMs = PATIENCE,
  ): Promise<Written> {
    return new Promise((resolve) => this.write(record, revision, payload, waitMs, resolve));
  }

  /** Publishes to a stream; `revision` undefined: over whatever is there. */
  put(
    subject: string,
    payload: Uint8Array | string,
    headers: Record<string, string> | undefined,
    waitMs: number,
    answered: Answered,
  ): void {
    this.asker.ask(subject, payload, headers && this.headers(headers), waitMs, answered);
  }

  /** The same as a promise. */
  putOf(
    subject: string,
    payload: Uint8Array | string,
    headers?: Record<string, string>,
    waitMs = PATIENCE,
  ): Promise<NatsAnswer | undefined> {
    return this.asker.asked(subject, payload, headers && this.headers(headers), waitMs);
  }

  /** Asks all nodes; whether one of them answers in time. */
  answers(subject: string, payload: string, waitMs: number): Promise<boolean> {
    const reply = `_INBOX.${this.node}.answers.${++this.#writes}`;
    return new Promise((resolve) => {
      const finish = (isHeard: boolean) => {
        end();
        cancel();
        resolve(isHeard);
      };
      const end = this.link.subscribe(reply, ({ headers }) => {
        // A status says that nobody listens.
        if (headers === undefined || headers.code === 0) finish(true);
      });
      const cancel = this.clock.after(waitMs, () => finish(false));
      this.link.publish(subject, payload, { reply });
    });
  }

  /** Removes all messages of a subject; what fails is tidied up later. */
  purge(stream: string, subject: string): void {
    const question = JSON.stringify({ filter: subject });
    this.asker.ask(`$JS.API.STREAM.PURGE.${stream}`, question, undefined, PATIENCE, () => {});
  }

  /** The same, and waits until that is done. */
  async purged(stream: string, subject: string): Promise<void> {
    const question = JSON.stringify({ filter: subject });
    await this.asker.asked(`$JS.API.STREAM.PURGE.${stream}`, question, undefined, PATIENCE);
  }

  /** Removes one message; false: it was not there, or NATS did not answer. */
  async remove(stream: string, seq: number): Promise<boolean> {
    const question = JSON.stringify({ seq, no_erase: true });
    const subject = `$JS.API.STREAM.MSG.DELETE.${stream}`;
    const answer = await this.asker.asked(subject, question, undefined, PATIENCE);
    return answer !== undefined && answer.fault === undefined;
  }
}

/** Reads the answer to a question for a stored message; undefined: it is none. */
export function parseStored({ payload }: NatsAnswer): Stored | undefined {
  const { message } = parseObject(payload);
  if (typeof message !== "object" || message === null) return undefined;
  const { subject, seq, time, hdrs, data } = Object.fromEntries(Object.entries(message));
  if (typeof subject !== "string" || typeof seq !== "number") return undefined;
  return {
    subject,
    seq,
    time: Date.parse(String(time)) || 0,
    words: typeof hdrs === "string" ? jobHeader(fromBase64(hdrs)) : undefined,
    payload: typeof data === "string" ? fromBase64(data) : EMPTY,
  };
}

const decoder = new TextDecoder();

/** The header `Job` in the block of headers that NATS stores. */
function jobHeader(block: Uint8Array): string | undefined {
  return /^Job:[ ]?(.*)$/m.exec(decoder.decode(block))?.[1]?.trim();
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

/** Whether a key is kept for its job while that lives: those of schedules are in their marks. */
export function isClaimed(key: string): boolean {
  return key !== "" && !key.startsWith(SCHEDULE_KEY);
}

/** Lets go of the key of a job that has ended; what fails is found by the next who wants the key. */
export function releaseKey(ground: NatsGround, { service, user, key, id }: JobRecord): void {
  if (!isClaimed(key)) return;
  const { names } = ground;
  ground.last(names.keys, names.key(service, user, key), PATIENCE, (stored) => {
    const isOurs = stored !== undefined && new TextDecoder().decode(stored.payload) === id;
    if (isOurs) void ground.remove(names.keys, stored.seq);
  });
}
