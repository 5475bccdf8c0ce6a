/**
 * The forgeries of R18 on the lane of records: what is sent by peers that are not workers, and by a worker that says
 * what it must not. Each of them is one record; what ends a connection is told apart.
 *
 * @module
 */

import { addFrames, framed, introduction, LaneWorker, record } from "../tests/rig/lane_worker.ts";
import { bytes } from "../tests/rig/text.ts";
import { pause } from "../tests/rig/wait.ts";
import { FromBroker, FromWorker } from "../wire/job.ts";
import { Only, Tag } from "../wire/records.ts";
import { Code } from "../wire/request.ts";
import { type Play, type PlayedWorker, someOf } from "./open_broker.ts";

type Frame = Uint8Array<ArrayBuffer>;
type Random = (below: number) => number;

/** A worker that echoes whatever job it is given, by records. */
export class RecordEcho implements PlayedWorker {
  readonly #peer: LaneWorker;
  readonly #seen: number[] = [];
  #last: Promise<void> = Promise.resolve();
  #taken: { job: number; frames: Frame[] }[] = [];

  constructor(backend: string, token: string) {
    this.#peer = new LaneWorker(backend);
    this.#peer.send(introduction(FromWorker.READY, token));
  }

  /** Whether the broker has ended the connection. */
  get isEnded(): boolean {
    return this.#peer.isEnded;
  }

  /** Answers what came before the last turn: so there is always something to answer in its stead. */
  turn(): void {
    for (const { job, frames } of this.#taken) this.say(framed(FromWorker.REPLY, job, frames, 200));
    this.#taken = [];
    for (const { type, job, frames } of this.#peer.hear()) {
      if (type === FromBroker.ASK) this.say(record(FromWorker.ALIVE, 0));
      if (type !== FromBroker.JOB) continue;
      this.#taken.push({ job, frames });
      this.#seen.push(job);
    }
  }

  /** Says a record, behind those that are on their way. */
  say(content: Frame): Promise<void> {
    return this.#last = this.#last.then(() => this.#push(content));
  }

  async #push(content: Frame): Promise<void> {
    let sent = this.#peer.sendSome(content);
    while (sent < content.length && !this.#peer.isEnded) {
      await pause(1);
      sent += this.#peer.sendSome(content, sent);
    }
  }

  /** One of its jobs, old or new; or one that no worker has. */
  someJob(random: Random): number {
    return someOf(this.#seen, random);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#last;
    this.#peer.close();
  }
}

/** Workers that speak records. */
export const RECORD_ECHO: Play<RecordEcho> = {
  lane: "records",
  start: (backend, token) => new RecordEcho(backend, token),
};

/** What no worker says: `job` is none of the sender's. */
export function forgeRecord(random: Random, job: number): Frame {
  const more = Array.from({ length: random(4) }, () => noise(random, random(50)));
  const frames = [noise(random, random(100)), ...more];
  switch (random(11)) {
    case 0:
      return withToken(FromWorker.READY, noise(random, random(300)), []);
    case 1:
      return withToken(FromWorker.READY, bytes("honest"), more);
    case 2:
      return withToken(FromWorker.FAILED, noise(random, random(50)), more);
    case 3:
      return framed(FromWorker.REPLY, job, frames, random(2 ** 16));
    case 4:
      return framed(FromWorker.RETURN, job, []);
    case 5:
      return framed(FromWorker.REPLY, job, [], Code.ok);
    case 6:
      return framed(64 + random(192), job, more);
    case 7:
      return spoilt(framed(FromWorker.REPLY, job, frames, Code.ok), 16, 1 + random(2 ** 31));
    case 8:
      return framed(FromWorker.LOG, job, random(2) === 0 ? frames.slice(0, 1) : threeOf(frames));
    case 9:
      return withField(128 + random(128), noise(random, random(50)), job, frames);
    default:
      return spoilt(framed(FromWorker.REPLY, job, [...frames, bytes("")], Code.ok), 20, 500);
  }
}

/** Three frames: a line for the log has two. */
function threeOf(frames: Frame[]): Frame[] {
  return [...frames, bytes("x"), bytes("y")].slice(0, 3);
}

/** What a worker without rings may say that ends its connection, once. */
export function forgeEnd(random: Random, job: number): Frame {
  const right = framed(FromWorker.REPLY, job, [noise(random, random(50))], Code.ok);
  switch (random(5)) {
    case 0:
      return spoilt(right, 0, random(24));
    case 1:
      return spoilt(framed(FromWorker.LOG, 0, []), 0, 2 ** 31 + random(2 ** 31));
    case 2:
      return withPlace(random(2 ** 32), random(2 ** 32), job);
    case 3:
      return withNumber(Tag.CREDIT, random(2 ** 32), Only.CREDIT);
    default:
      return withNumber(Tag.CREDIT, 0, FromWorker.ALIVE);
  }
}

function withToken(type: number, token: Frame, frames: Frame[]): Frame {
  return record(type, 0, (writer) => {
    writer.text(Tag.TOKEN, token);
    addFrames(writer, frames);
  });
}

function withField(tag: number, value: Frame, job: number, frames: Frame[]): Frame {
  return record(FromWorker.REPLY, job, (writer) => {
    writer.text(tag, value);
    addFrames(writer, frames);
  }, { code: Code.ok });
}

function withNumber(tag: number, value: number, type: number): Frame {
  return record(type, 0, (writer) => {
    writer.number(tag, value);
    writer.frames(0);
  });
}

function withPlace(at: number, size: number, job: number): Frame {
  return record(FromWorker.REPLY, job, (writer) => {
    writer.place(at, size);
    writer.frames(1);
  }, { code: Code.ok });
}

/** The record with another number at `at`. */
function spoilt(content: Frame, at: number, value: number): Frame {
  new DataView(content.buffer).setUint32(at, value >>> 0, true);
  return content;
}

function noise(random: Random, size: number): Frame {
  return Uint8Array.from({ length: size }, () => random(256));
}
