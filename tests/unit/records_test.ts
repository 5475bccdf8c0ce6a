/** Records: what is written is read again, and nothing is believed that does not fit. */

import { strict as assert } from "node:assert";
import { buildJobHeader, readClient } from "../../wire/job.ts";
import { Outgoing, type Sink } from "../../wire/outgoing.ts";
import {
  HEAD_BYTES,
  RecordReader,
  recordSize,
  RecordWriter,
  Tag,
  Type,
} from "../../wire/records.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Takes all, or `most` bytes a call. */
class Drain implements Sink {
  readonly taken: number[] = [];
  most = Infinity;

  send(bytes: Bytes, from: number, count: number): number {
    const sent = Math.min(count, this.most);
    this.taken.push(...bytes.subarray(from, from + sent));
    return sent;
  }
}

/** The bytes of what `write` writes. */
function written(write: (writer: RecordWriter) => void): Bytes {
  const out = new Outgoing();
  write(new RecordWriter(out));
  const drain = new Drain();
  assert(out.send(drain));
  assert.equal(out.size, 0);
  return new Uint8Array(drain.taken);
}

function viewOf(record: Bytes): DataView {
  return new DataView(record.buffer, record.byteOffset, record.length);
}

/** What is read of a whole record; undefined: it is refused. */
function read(record: Bytes): RecordReader | undefined {
  const reader = new RecordReader();
  assert.equal(recordSize(viewOf(record), 0), record.length);
  return reader.read(viewOf(record), 0, record.length) ? reader : undefined;
}

const HEADER = buildJobHeader("me", "192.0.2.1", "alice");

/** A JOB with all its fields. */
const job = (...bodies: string[]) =>
  written((writer) => {
    writer.openJob(HEADER, 3, 2 ** 40 + 7, 100);
    writer.wide(Tag.DEADLINE, 1_790_000_000_000);
    writer.number(Tag.TIME_LIMIT, 1500);
    writer.number(Tag.CREDIT, 2 ** 32 - 64);
    writer.frames(bodies.length);
    if (bodies.length > 1) { for (const body of bodies) writer.size(bytes(body).length); }
    for (const body of bodies) writer.copy(bytes(body), bytes(body).length);
    writer.close();
  });

const reply = (fill: (writer: RecordWriter) => void) =>
  written((writer) => {
    writer.open(Type.REPLY, 2, 200, 12, 1000);
    fill(writer);
    writer.close();
  });

Deno.test("RecordReader reads a JOB as it was written", () => {
  const record = job("hello");
  const reader = read(record);
  assert(reader !== undefined);
  assert.deepEqual(
    [reader.type, reader.detail, reader.code, reader.job, reader.frames],
    [Type.JOB, 3, 0, 2 ** 40 + 7, 1],
  );
  assert.deepEqual(
    [reader.deadline, reader.timeLimit, reader.credit, reader.inRing],
    [1_790_000_000_000, 1500, 2 ** 32 - 64, false],
  );
  assert.equal(text(record.subarray(reader.start, reader.start + reader.bytes)), "hello");
  assert.equal(reader.sizes(viewOf(record)), undefined);
  const client = record.subarray(reader.clientStart, reader.clientEnd);
  assert.deepEqual(client, HEADER.subarray(28));
  assert.equal(readClient(HEADER).user, "alice");
});

Deno.test("RecordReader reads the sizes of several frames", () => {
  const record = job("a", "", "bcd");
  const reader = read(record);
  assert.deepEqual(reader?.sizes(viewOf(record)), [1, 0, 3]);
  assert.equal(text(record.subarray(reader.start, reader.start + reader.bytes)), "abcd");
});

Deno.test("RecordReader starts anew with each record", () => {
  const reader = new RecordReader();
  const first = job("a");
  assert(reader.read(viewOf(first), 0, first.length));
  const second = reply((writer) => writer.frames(0));
  assert(reader.read(viewOf(second), 0, second.length));
  assert.deepEqual(
    [reader.deadline, reader.timeLimit, reader.credit, reader.clientEnd, reader.frames],
    [0, 0, undefined, 0, 0],
  );
});

Deno.test("RecordReader takes frames that lie in the ring, and their sizes from the record", () => {
  const record = reply((writer) => {
    writer.place(64, 30_000);
    writer.frames(2);
    writer.size(10_000);
    writer.size(20_000);
  });
  const reader = read(record);
  assert.deepEqual([reader?.inRing, reader?.start, reader?.bytes], [true, 64, 30_000]);
  assert.deepEqual(reader?.sizes(viewOf(record)), [10_000, 20_000]);
});

Deno.test("RecordReader reads every number that a field holds", () => {
  const record = reply((writer) => {
    writer.number(Tag.MICROS, 42);
    writer.number(Tag.MEMORY, 43);
    writer.number(Tag.RINGS, 44);
    writer.text(Tag.TOKEN, bytes("a token"));
    writer.frames(0);
  });
  const reader = read(record);
  assert.deepEqual([reader?.micros, reader?.memory, reader?.rings], [42, 43, 44]);
  assert.equal(text(record.subarray(reader?.tokenStart, reader?.tokenEnd)), "a token");
});

Deno.test("RecordReader reads a job's trace, and when its request came, and forgets them at the next record", () => {
  const trace = Uint8Array.from({ length: 25 }, (_, index) => index + 1);
  const job = (traced: Uint8Array | undefined, queuedAt: number) =>
    reply((writer) => {
      writer.trace(traced, queuedAt);
      writer.frames(0);
    });
  const record = job(trace, 2 ** 50);
  const reader = new RecordReader();
  assert(reader.read(viewOf(record), 0, record.length));
  assert.deepEqual(record.subarray(reader.traceStart, reader.traceStart + 25), trace);
  assert.equal(reader.queuedAt, 2 ** 50);
  const plain = job(undefined, 0);
  assert(reader.read(viewOf(plain), 0, plain.length));
  assert.deepEqual([reader.traceStart, reader.queuedAt], [0, 0]);
  for (const size of [0, 24, 26]) assert.equal(read(job(new Uint8Array(size), 0)), undefined);
});

Deno.test("RecordReader skips fields that it does not know, and refuses those that it must know", () => {
  const withTag = (tag: number) =>
    reply((writer) => {
      writer.text(tag, bytes("later"));
      writer.frames(1);
      writer.copy(bytes("x"), 1);
    });
  for (const tag of [0, 14, 99, 127]) {
    const reader = read(withTag(tag));
    assert.deepEqual([reader?.frames, reader?.bytes], [1, 1], `tag ${tag}`);
  }
  for (const tag of [128, 200, 255]) assert.equal(read(withTag(tag)), undefined, `tag ${tag}`);
});

/** Wrong records: what is wrong, and how a right one becomes one. */
const WRONG: Record<string, (view: DataView, record: Bytes) => Bytes | void> = {
  "fields longer than the record": (view) => view.setUint32(16, 1000, true),
  "fields of 4 GiB": (view) => view.setUint32(16, 2 ** 32 - 1, true),
  "a field longer than the fields": (view) => view.setUint32(HEAD_BYTES, 1 | 1000 << 8, true),
  "a field that is cut": (view) => view.setUint32(16, 2, true),
  "a deadline of another size": (view) => view.setUint8(HEAD_BYTES + 4 + 19, Tag.MICROS),
  "sizes of more than there is": (view) => view.setUint32(view.byteLength - 8, 3, true),
  "sizes of less than there is": (view) => view.setUint32(view.byteLength - 8, 0, true),
  "more frames than there are sizes": (view) => view.setUint32(20, 2 ** 32 - 1, true),
  "bytes of no frame": (view) => view.setUint32(20, 0, true),
};

for (const [what, spoil] of Object.entries(WRONG)) {
  Deno.test(`RecordReader refuses ${what}`, () => {
    const record = written((writer) => {
      writer.openJob(HEADER, 1, 1, 100);
      writer.wide(Tag.DEADLINE, 1);
      writer.frames(2);
      writer.size(1);
      writer.size(2);
      writer.copy(bytes("abc"), 3);
      writer.close();
    });
    // The sizes are the last numbers before the three bytes: they stand at the end of this view.
    const view = new DataView(record.buffer, 0, record.length - 3);
    assert(read(record) !== undefined);
    spoil(view, record);
    assert.equal(read(record), undefined);
  });
}

Deno.test("RecordReader refuses bytes behind the head of a record whose frames lie in the ring", () => {
  const place = (rest: string) =>
    reply((writer) => {
      writer.place(0, 9);
      writer.frames(1);
      writer.copy(bytes(rest), rest.length);
    });
  assert(read(place("")) !== undefined);
  assert.equal(read(place("x")), undefined);
});

Deno.test("RecordReader reads nothing outside of a record, whatever its bytes are", () => {
  const random = randomNumbers(11);
  const originals = [
    job("hello"),
    job("a", "bc", "def"),
    reply((writer) => {
      writer.place(0, 9);
      writer.number(Tag.MICROS, 1);
      writer.frames(1);
    }),
  ];
  const reader = new RecordReader();
  let taken = 0;
  for (let round = 0; round < 100_000; round++) {
    const record = (originals[round % originals.length] ?? new Uint8Array()).slice();
    for (let change = random(4); change >= 0; change--) {
      record[4 + random(record.length - 4)] = random(3) === 0 ? 255 : random(256);
    }
    const size = random(10) === 0 ? random(record.length + 1) : record.length;
    // A view that ends with the record: to read beyond throws.
    const view = new DataView(record.buffer, 0, size);
    if (!reader.read(view, 0, size)) continue;
    taken++;
    const sizes = reader.sizes(view);
    const sum = sizes?.reduce((sum, one) => sum + one, 0) ?? reader.bytes;
    assert.equal(sum, reader.bytes);
    if (!reader.inRing) assert.equal(reader.start + reader.bytes, size);
    assert(reader.clientEnd <= size && reader.tokenEnd <= size);
    assert(reader.clientStart <= reader.clientEnd && reader.tokenStart <= reader.tokenEnd);
  }
  assert(taken > 10_000, `${taken} of them were records`);
});

for (const size of [0, 1, 48, 49, 5000]) {
  const random = randomNumbers(size + 1);
  const longer = Uint8Array.from({ length: size + 100 }, () => random(256));
  const own = longer.slice(0, size);

  Deno.test(`RecordWriter copies ${size} bytes, and none that follow them`, () => {
    for (const how of ["all", "first"]) {
      const record = written((writer) => {
        writer.openJob(HEADER, 1, 1, size);
        writer.frames(1);
        if (how === "all") writer.copy(own, size);
        else writer.copyFirst(longer, size);
        writer.close();
      });
      const reader = read(record);
      assert.equal(reader?.bytes, size);
      assert.deepEqual(record.subarray(reader.start), own);
    }
  });
}

Deno.test("RecordReader reads every client of a JOB, however long its texts are", () => {
  for (const length of [0, 1, 20, 49, 255]) {
    const header = buildJobHeader("n".repeat(length), "a".repeat(length), "u".repeat(length));
    const record = written((writer) => {
      writer.openJob(header, 255, 2 ** 53 - 1, 0);
      writer.frames(0);
      writer.close();
    });
    const reader = read(record);
    assert.deepEqual(
      [reader?.type, reader?.detail, reader?.code, reader?.job],
      [Type.JOB, 255, 0, 2 ** 53 - 1],
    );
    assert.deepEqual(record.subarray(reader?.clientStart, reader?.clientEnd), header.subarray(28));
  }
});

Deno.test("RecordWriter writes nothing of a record that is not closed", () => {
  const out = new Outgoing();
  const writer = new RecordWriter(out);
  writer.open(Type.REPLY, 0, 200, 1, 10);
  writer.copy(bytes("lost"), 4);
  writer.open(Type.ALIVE, 0, 0, 0, 0);
  writer.frames(0);
  writer.close();
  const drain = new Drain();
  assert(out.send(drain));
  assert.equal(drain.taken.length, HEAD_BYTES);
  assert.equal(drain.taken[4], Type.ALIVE);
});

Deno.test("Outgoing sends small things together, and all in their order, however little is taken", () => {
  const random = randomNumbers(5);
  const out = new Outgoing();
  const drain = new Drain();
  const expected: number[] = [];
  let done = 0;
  let pushed = 0;
  for (let round = 0; round < 600; round++) {
    const size = random(8) === 0 ? random(100_000) : random(200);
    const piece = new Uint8Array(size).fill(round);
    if (random(3) === 0) {
      out.push(piece, size, () => done++);
      pushed++;
    } else {
      const at = out.room(size);
      out.bytes.set(piece, at);
      out.wrote(size);
    }
    expected.push(...piece);
    drain.most = [0, 1, 1000, Infinity][random(4)] ?? 0;
    if (random(5) === 0) out.send(drain.most === 0 ? drain : { send: limited(drain, 3) });
    assert.equal(out.size, expected.length - drain.taken.length);
  }
  drain.most = Infinity;
  assert(out.send(drain));
  assert.deepEqual(drain.taken.length, expected.length);
  assert(drain.taken.every((byte, at) => byte === expected[at]));
  assert.equal(done, pushed);
  assert.equal(out.size, 0);
});

/** Takes nothing more after some calls. */
function limited(drain: Drain, calls: number): Sink["send"] {
  return (bytes, from, count) => calls-- > 0 ? drain.send(bytes, from, count) : -1;
}

Deno.test("Outgoing says of everything that it drops that it is done", () => {
  const out = new Outgoing();
  let done = 0;
  for (let count = 0; count < 3; count++) out.push(new Uint8Array(10), 10, () => done++);
  out.drop();
  assert.deepEqual([done, out.size], [3, 0]);
  const drain = new Drain();
  assert(out.send(drain));
  assert.deepEqual(drain.taken, []);
});
