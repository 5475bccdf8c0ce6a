/** A worker of the record lane by hand: its records are what the test says. */

import { LocalConnection, type Rings } from "../../system/local_connection.ts";
import type { StreamCredit } from "../../wire/credit.ts";
import { FromBroker, FromWorker } from "../../wire/job.ts";
import { Outgoing } from "../../wire/outgoing.ts";
import { Only, RecordReader, recordSize, RecordWriter, Tag } from "../../wire/records.ts";
import { RingReader, RingWriter } from "../../wire/ring.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { bytes } from "./text.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What the broker said: a record's parts, with its frames. */
export interface Heard {
  type: number;
  job: number;
  code: number;
  attempt: number;
  deadline: number;
  timeLimit: number;
  credit: number | undefined;
  stream: StreamCredit | undefined;
  partsSent: number;
  inRing: boolean;
  client: Bytes;
  frames: Bytes[];
}

/** The bytes of one record that `fill` writes, up to `room` beside head and fields. */
export function record(
  type: number,
  job: number,
  fill: (writer: RecordWriter) => void = (writer) => writer.frames(0),
  { detail = 0, code = 0, room = 70_000 } = {},
): Bytes {
  const out = new Outgoing();
  const writer = new RecordWriter(out);
  writer.open(type, detail, code, job, room);
  fill(writer);
  writer.close();
  return out.bytes.slice(0, out.size);
}

/** A record with frames. */
export function framed(type: number, job: number, frames: Bytes[], code = 0): Bytes {
  const room = frames.reduce((sum, { length }) => sum + length + 4, 0);
  return record(type, job, (writer) => addFrames(writer, frames), { code, room });
}

/** Ends a record's fields and adds frames. */
export function addFrames(writer: RecordWriter, frames: readonly Bytes[]): void {
  writer.frames(frames.length);
  if (frames.length > 1) { for (const { length } of frames) writer.size(length); }
  for (const frame of frames) writer.copy(frame, frame.length);
}

/** A record that shows a token. */
export function introduction(type: number, token: string, rings = 0, message?: string): Bytes {
  return record(type, 0, (writer) => {
    writer.text(Tag.TOKEN, bytes(token));
    if (rings > 0) writer.number(Tag.RINGS, rings);
    addFrames(writer, message === undefined ? [] : [bytes(message)]);
  });
}

/** A connection to a record lane. */
export class LaneWorker {
  readonly #connection: LocalConnection;
  readonly #reader = new RecordReader();
  #in: Bytes = new Uint8Array(0);
  rings: Rings | undefined;
  inRing = new RingReader(0);
  outRing = new RingWriter(0);
  /** Whether the broker has ended the connection. */
  isEnded = false;

  constructor(endpoint: string) {
    const { path } = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
    this.#connection = new LocalConnection(path, endpoint.slice("ipc://".length));
  }

  /** Sends bytes, all of them; `meanwhile` has the broker read. */
  send(content: Bytes, meanwhile: () => void = () => {}): void {
    for (let at = 0; at < content.length;) {
      const sent = this.#connection.send(content, at, content.length - at);
      if (sent > 0) at += sent;
      else meanwhile();
    }
  }

  /** Sends what there is room for; returns how many bytes that was. */
  sendSome(content: Bytes, from = 0): number {
    return Math.max(0, this.#connection.send(content, from, content.length - from));
  }

  /** Takes the rings that the broker has offered by now; returns their size. */
  takeRings(): number {
    const welcome = this.#connection.welcome();
    if (welcome === undefined) return 0;
    const { record, take } = welcome;
    this.#reader.read(new DataView(record.buffer), 0, record.length);
    const size = this.#reader.type === Only.WELCOME ? this.#reader.rings : 0;
    this.rings = take(size);
    if (this.rings === undefined) return 0;
    this.inRing = new RingReader(size);
    this.outRing = new RingWriter(size);
    return size;
  }

  /** Everything that the broker has said since the last call. */
  hear(): Heard[] {
    const heard: Heard[] = [];
    const chunk = new Uint8Array(65_536);
    for (;;) {
      const size = this.#connection.receive(chunk, 0);
      if (size === 0) this.isEnded = true;
      if (size <= 0) return heard;
      this.#in = new Uint8Array([...this.#in, ...chunk.subarray(0, size)]);
      heard.push(...this.#takeAll());
    }
  }

  #takeAll(): Heard[] {
    const heard: Heard[] = [];
    const view = new DataView(this.#in.buffer);
    let start = 0;
    while (this.#in.length - start >= 4) {
      const size = recordSize(view, start);
      if (size > this.#in.length - start) break;
      if (!this.#reader.read(view, start, size)) throw new Error("The broker sends no record");
      heard.push(this.#take(view));
      start += size;
    }
    this.#in = this.#in.slice(start);
    return heard;
  }

  #take(view: DataView): Heard {
    const reader = this.#reader;
    const { type, job, code, deadline, timeLimit, credit, stream, partsSent, inRing } = reader;
    if (credit !== undefined && !this.outRing.credit(credit)) throw new Error("Wrong credit");
    const content = inRing
      ? this.#fromRing(reader.start, reader.bytes)
      : this.#in.slice(reader.start, reader.start + reader.bytes);
    const sizes = reader.sizes(view) ?? (reader.frames === 0 ? [] : [reader.bytes]);
    let at = 0;
    const frames = sizes.map((size) => content.slice(at, at += size));
    const client = this.#in.slice(reader.clientStart, reader.clientEnd);
    const attempt = reader.detail;
    return {
      type,
      job,
      code,
      attempt,
      deadline,
      timeLimit,
      credit,
      stream,
      partsSent,
      inRing,
      client,
      frames,
    };
  }

  #fromRing(start: number, size: number): Bytes {
    if (!this.inRing.take(start, size)) throw new Error("Wrong place in the ring");
    const content = new Uint8Array(size);
    this.rings?.incoming.read(start, content, size);
    return content;
  }

  /** A REPLY whose frames lie in the ring. */
  ringReply(job: number, frames: readonly Bytes[]): Bytes {
    const size = frames.reduce((sum, { length }) => sum + length, 0);
    const place = this.outRing.place(size);
    if (place < 0) throw new Error("The ring is full");
    let at = place;
    for (const frame of frames) {
      this.rings?.outgoing.write(at, frame, frame.length);
      at += frame.length;
    }
    return record(FromWorker.REPLY, job, (writer) => {
      if (this.inRing.untold > 0) writer.number(Tag.CREDIT, this.inRing.tell());
      writer.place(place, size);
      writer.frames(frames.length);
      if (frames.length > 1) { for (const { length } of frames) writer.size(length); }
    }, { code: 200 });
  }

  /** Answers a job by what it brought. */
  static isJob({ type }: Heard): boolean {
    return type === FromBroker.JOB;
  }

  close(): void {
    this.#connection.close();
  }
}
