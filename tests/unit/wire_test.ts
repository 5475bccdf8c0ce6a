import { parseStatus } from "../rig/status.ts";
import { EMPTY_FRAME } from "../../wire/empty_frame.ts";
import { ByteCache } from "../../wire/byte_cache.ts";
import { strict as assert } from "node:assert";
import {
  buildGrant,
  buildJobHeader,
  buildJobSignal,
  buildLog,
  buildMemory,
  buildSignal,
  FromBroker,
  FromWorker,
  GRANT_BYTES,
  JOB_SIGNAL_BYTES,
  type JobHeader,
  JobReader,
  LOG_LEVELS,
  MAX_JOB_BYTES,
  MEMORY_BYTES,
  readCode,
  readGrant,
  readJobId,
  readMemory,
  readReply,
  REPLY_BYTES,
  ReplyFlag,
  withExtras,
  writeJob,
  writeReply,
} from "../../wire/job.ts";
import {
  buildErrorText,
  buildProgress,
  buildStatus,
  Code,
  MAX_ENVELOPE_BYTES,
  parseErrorText,
  readPartStatus,
  readProgress,
  readStatus,
  readStatusFlags,
  StatusFlag,
  writePartStatus,
} from "../../wire/request.ts";
import {
  buildRequestHeader,
  HEADER_BYTES,
  MAX_KEY_BYTES,
  parseRequestHeader,
  readRequestId,
  writeRequestHeader,
} from "../../wire/request_header.ts";
import { parseTrace, traceText } from "../../wire/trace.ts";
import { buildWorkerConfig, type WorkerConfig } from "../../wire/worker_config.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE = parseTrace(TRACEPARENT) ?? new Uint8Array(0);

const HIGHEST = Number.MAX_SAFE_INTEGER;
const LONGEST = 2 ** 32 - 1;

/** Numbers at the edges of the two halves that a 64-bit number is sent in. */
const IDS = [
  0,
  1,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 32 + 1,
  2 ** 33 + 2 ** 31,
  2 ** 52 + 2 ** 32 - 1,
  HIGHEST - 1,
  HIGHEST,
];

function hex(frame: Uint8Array): string {
  return frame.toHex();
}

/** The same bytes in the middle of a larger buffer, as a received frame may be. */
function inside(frame: Bytes): Bytes {
  const larger = new Uint8Array(frame.length + 7).fill(0xee);
  larger.set(frame, 3);
  return larger.subarray(3, 3 + frame.length);
}

function viewOf(frame: Bytes): DataView<ArrayBuffer> {
  return new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
}

/** A whole number of up to 53 bits. */
function randomId(random: (below: number) => number): number {
  return (random(2 ** 21) * 2 ** 32 + random(2 ** 32)) % 2 ** (1 + random(53));
}

// Requests

Deno.test("buildRequestHeader writes the documented bytes", () => {
  const header = buildRequestHeader({ id: 0x0001_0203_0405_0607, timeout: 0x0a0b0c0d });
  assert.equal(
    hex(header),
    "005a5046" + "01010000" + "07060504" + "03020100" + "0d0c0b0a" + "00000000",
  );
  const full = {
    type: "cancel",
    id: 1,
    timeout: 0,
    requestTimeout: 0x0a0b0c0d,
    key: "kéy",
  } as const;
  const fixed = "005a5046" + "01020400" + "01000000" + "00000000" + "00000000" + "0d0c0b0a";
  assert.equal(hex(buildRequestHeader(full)), fixed + "6bc3a979");
});

Deno.test("buildRequestHeader refuses a key that is too long", () => {
  const longest = "x".repeat(MAX_KEY_BYTES);
  assert.equal(parseRequestHeader(buildRequestHeader({ id: 1, key: longest }))?.key, longest);
  for (const key of [`${longest}x`, "é".repeat(MAX_KEY_BYTES / 2 + 1)]) {
    assert.throws(() => buildRequestHeader({ id: 1, key }), RangeError);
  }
});

/** What a header says that says nothing but its number. */
const BARE = {
  type: "request",
  timeout: 0,
  requestTimeout: 0,
  key: "",
  service: "",
  trace: undefined,
  stream: undefined,
  resumable: false,
  fault: "",
} as const;

Deno.test("parseRequestHeader reads what buildRequestHeader wrote when ids go up to 2^53 - 1", () => {
  for (const id of IDS) {
    for (const timeout of [0, 1, 10_000, 2 ** 31, LONGEST]) {
      const header = buildRequestHeader({ id, timeout });
      const expected = { ...BARE, id, timeout };
      assert.deepEqual(parseRequestHeader(header), expected);
      assert.deepEqual(parseRequestHeader(inside(header)), expected);
    }
  }
});

Deno.test("parseRequestHeader reads what buildRequestHeader wrote when ids are random", () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = randomNumbers(seed * 31_337);
    const header = {
      ...BARE,
      type: random(2) === 0 ? "request" as const : "cancel" as const,
      id: randomId(random),
      timeout: random(2 ** 32),
      requestTimeout: random(2 ** 32),
      key: "é".repeat(random(MAX_KEY_BYTES / 2 + 1)),
    };
    assert.deepEqual(parseRequestHeader(buildRequestHeader(header)), header, `Seed ${seed}`);
  }
});

Deno.test("buildRequestHeader keeps the timeout within 32 bits when it is no such number", () => {
  const timeouts = [[-5, 0], [Infinity, LONGEST], [1e12, LONGEST], [99.6, 100]] as const;
  for (const [timeout, sent] of timeouts) {
    assert.equal(parseRequestHeader(buildRequestHeader({ id: 1, timeout }))?.timeout, sent);
  }
});

Deno.test("writeRequestHeader leaves nothing of the header before when it writes again", () => {
  const frame = new Uint8Array(HEADER_BYTES).fill(0xee);
  for (const id of IDS) {
    const header = { id, timeout: id % LONGEST, requestTimeout: id % 1000 };
    writeRequestHeader(viewOf(frame), header);
    assert.equal(hex(frame), hex(buildRequestHeader(header)));
  }
});

Deno.test("readRequestId reads the id of a header that is ahead of other bytes", () => {
  const room = new Uint8Array(HEADER_BYTES + MAX_KEY_BYTES + 8).fill(0xee);
  for (const key of ["", "key", "x".repeat(MAX_KEY_BYTES)]) {
    for (const id of IDS) {
      const header = buildRequestHeader({ id, key });
      room.set(header);
      assert.equal(readRequestId(viewOf(room), header.length), id);
      for (const size of [0, 4, HEADER_BYTES - 1, header.length - 1, header.length + 1, 256]) {
        assert.equal(readRequestId(viewOf(room), size), undefined, `${size} bytes`);
      }
    }
  }
});

Deno.test("parseRequestHeader takes no frame for a header when its size differs", () => {
  const header = buildRequestHeader({ id: 1, timeout: 1, key: "key" });
  for (let size = 0; size < 40; size++) {
    if (size === header.length) continue;
    const frame = new Uint8Array(size);
    frame.set(header.subarray(0, size));
    assert.equal(parseRequestHeader(frame), undefined, `${size} bytes`);
  }
});

Deno.test("parseRequestHeader takes no frame for a header when magic, version or type differ", () => {
  for (let at = 0; at < 6; at++) {
    for (let bit = 0; bit < 8; bit++) {
      const frame = buildRequestHeader({ id: 5, timeout: 5 });
      frame[at] = (frame[at] ?? 0) ^ (1 << bit);
      if (at === 5 && frame[at] === 2) continue;
      // Later versions have the fixed part, too.
      if (at === 4 && (frame[at] ?? 0) > 1) continue;
      assert.equal(parseRequestHeader(frame), undefined, `Bit ${bit} of byte ${at}`);
    }
  }
});

Deno.test("parseRequestHeader takes no frame for a header when it is 24 bytes of something else", () => {
  const frames = [
    new Uint8Array(24),
    bytes("ZPF\u0001\u0001\0ZPF\u0001\u0001\0ZPF\u0001\u0001\0ZPF\u0001\u0001\0"),
  ];
  frames.push(bytes("a-name-of-24-bytes-xxxxx"), new Uint8Array(24).fill(0xff));
  for (const frame of frames) {
    assert.equal(frame.length, 24);
    assert.equal(parseRequestHeader(frame), undefined);
  }
});

// Headers with fields

Deno.test("buildRequestHeader writes the documented bytes when there are fields", () => {
  const fixed = "005a5046" + "02" + "01" + "2000" + "0500000000000000" + "e8030000" + "00000000";
  const TEXT = hex(new TextEncoder().encode(TRACEPARENT));
  const fields =
    `01 0100 6b | 02 3700 ${TEXT} | 80 0400 6d61696c | 81 0600 00000400 1000 | 82 0000`;
  const words = {
    id: 5,
    timeout: 1000,
    key: "k",
    trace: TRACE,
    service: "mail",
    stream: { bytes: 262_144, parts: 16 },
    resumable: true,
  };
  const written = fields.replaceAll(/[ |]/g, "");
  assert.equal(written.length / 2, 0x51);
  assert.equal(hex(buildRequestHeader(words)), fixed.replace("2000", "5100") + written);
  assert.deepEqual(parseRequestHeader(buildRequestHeader(words)), { ...BARE, ...words });
});

Deno.test("buildRequestHeader refuses a service that is too long", () => {
  assert.throws(() => buildRequestHeader({ id: 1, service: "s".repeat(65) }), RangeError);
});

Deno.test("parseRequestHeader has no trace when the field is no traceparent", () => {
  const text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const wrong = [
    "",
    "x",
    text.slice(1),
    text + "0",
    text.replace("-b7", "-B7"),
    "ff" + text.slice(2),
  ];
  const zeros = [
    text.replace(/[^-]{32}/, "0".repeat(32)),
    text.replace(/[^-]{16}-01/, "0".repeat(16) + "-01"),
  ];
  for (const one of [...wrong, ...zeros, text.replace("01", "0g"), text.replaceAll("-", "_")]) {
    assert.equal(parseTrace(one), undefined, one);
    const value = new TextEncoder().encode(one);
    const header = new Uint8Array([
      ...buildRequestHeader({ id: 7, service: "s" }),
      2,
      value.length,
      0,
      ...value,
    ]);
    new DataView(header.buffer).setUint16(6, header.length - HEADER_BYTES, true);
    const read = parseRequestHeader(header);
    assert.deepEqual([read?.trace, read?.fault, read?.service], [undefined, "", "s"], one);
  }
  assert.equal(traceText(parseTrace(text) ?? TRACE), text);
  assert.equal(traceText(parseTrace(`cc-${text.slice(3)}-more`) ?? TRACE), text);
});

Deno.test("parseRequestHeader keeps the number of a header that it can't serve, and says why", () => {
  const cases: [string, (frame: Uint8Array) => void][] = [
    ["The header's field 200 is not known", (frame) => frame[24] = 200],
    ["The header's fields do not fit their sizes", (frame) => frame[25] = 5],
    ["The header's type 9 is not known", (frame) => frame[5] = 9],
  ];
  for (const [fault, spoil] of cases) {
    const frame = buildRequestHeader({ id: 7, service: "mail" });
    spoil(frame);
    const { id, fault: found } = parseRequestHeader(frame) ?? {};
    assert.deepEqual([id, found], [7, fault]);
  }
});

Deno.test("parseRequestHeader skips a field below 128 that it does not know", () => {
  const frame = buildRequestHeader({ id: 7, key: "k", service: "mail" });
  frame[24] = 99;
  assert.deepEqual(parseRequestHeader(frame), { ...BARE, id: 7, service: "mail" });
});

Deno.test("parseRequestHeader reads a header of a later version as far as it knows it", () => {
  const frame = buildRequestHeader({ id: 7, service: "mail" });
  frame[4] = 3;
  assert.deepEqual(parseRequestHeader(frame), { ...BARE, id: 7, service: "mail" });
});

Deno.test("parseRequestHeader never throws and reads nothing beyond a header when its bytes are random", () => {
  for (let seed = 1; seed <= 3000; seed++) {
    const random = randomNumbers(seed * 7919);
    const frame = buildRequestHeader({
      id: randomId(random),
      key: "k".repeat(random(5)),
      service: "s".repeat(random(64) + 1),
      stream: { bytes: random(2 ** 32), parts: random(2 ** 16) },
    });
    for (let count = random(4); count >= 0; count--) {
      frame[24 + random(frame.length - 24)] = random(256);
    }
    const header = parseRequestHeader(frame);
    assert(header !== undefined, `Seed ${seed}`);
    assert(header.service.length <= 64 && header.key.length <= 128, `Seed ${seed}`);
  }
});

Deno.test("buildRequestHeader leaves room in the envelope for the frames of others", () => {
  assert(buildRequestHeader({ id: 1, timeout: 0 }).length < MAX_ENVELOPE_BYTES / 10);
});

Deno.test("EMPTY_FRAME is empty", () => {
  assert.equal(EMPTY_FRAME.length, 0);
});

// Replies to clients

Deno.test("buildStatus writes the documented bytes", () => {
  assert.equal(hex(buildStatus(0x01f4)), "0100f401");
  assert.equal(hex(buildStatus(503, StatusFlag.unstarted)), "0101f701");
});

Deno.test("parseStatus reads what buildStatus wrote", () => {
  for (const code of [...Object.values(Code), 0, 255, 256, 65_535]) {
    assert.equal(parseStatus(buildStatus(code)), code);
    assert.equal(parseStatus(inside(buildStatus(code))), code);
  }
});

Deno.test("readStatusFlags reads the flags, which change nothing of the code", () => {
  for (const flags of [0, StatusFlag.unstarted, 255]) {
    const status = inside(buildStatus(503, flags));
    const view = new DataView(status.buffer, status.byteOffset, status.byteLength);
    assert.equal(readStatusFlags(view), flags);
    assert.equal(readStatus(view, status.length), 503);
  }
});

Deno.test("readPartStatus tells parts, progress and the end from each other, and from a whole answer", () => {
  const { more, progress } = StatusFlag;
  const kinds = [[more, "part"], [more | progress, "progress"], [0, "end"]] as const;
  for (const [flags, kind] of kinds) {
    const view = new DataView(new ArrayBuffer(16));
    writePartStatus(view, flags, 2 ** 32 - 1);
    assert.deepEqual(readPartStatus(view, 8), { kind, number: 2 ** 32 - 1 });
    assert.equal(readStatus(view, 8), undefined);
    for (const size of [0, 4, 7, 9]) assert.equal(readPartStatus(view, size), undefined);
  }
  assert.equal(readPartStatus(viewOf(buildStatus(200)), 4), undefined);
});

Deno.test("readProgress reads what buildProgress has made, and nothing else", () => {
  assert.deepEqual(readProgress(buildProgress(1.5, 3)), { done: 1.5, total: 3 });
  assert.deepEqual(readProgress(buildProgress(-1, NaN)), { done: -1, total: NaN });
  for (const size of [0, 15, 17]) assert.equal(readProgress(new Uint8Array(size)), undefined);
});

Deno.test("readStatus reads a status that is ahead of other bytes", () => {
  const room = new Uint8Array(16).fill(0xee);
  for (const code of Object.values(Code)) {
    room.set(buildStatus(code));
    assert.equal(readStatus(viewOf(room), 4), code);
    for (const size of [0, 3, 5, 16]) assert.equal(readStatus(viewOf(room), size), undefined);
  }
});

Deno.test("parseStatus takes no frame for a status when its size or version differs", () => {
  const frames = ["", "01", "0100c8", "0100c80000", "0000c800", "0200c800", "ff00c800"];
  for (const frame of frames) {
    assert.equal(parseStatus(Uint8Array.fromHex(frame)), undefined, frame);
  }
});

Deno.test("Code has HTTP's numbers", () => {
  assert.deepEqual(Object.values(Code), [
    200,
    400,
    403,
    404,
    408,
    413,
    499,
    500,
    502,
    503,
    504,
    508,
  ]);
});

Deno.test("parseErrorText reads what buildErrorText wrote", () => {
  const messages = ["", "no", " two  blanks ", "two\nlines\r\n", "日本語 🎌 é", "500 again", "\0"];
  for (const code of Object.values(Code)) {
    if (code === Code.ok) continue;
    for (const message of messages) {
      assert.deepEqual(parseErrorText([EMPTY_FRAME, buildErrorText(code, message)]), {
        code,
        message,
      });
    }
  }
});

Deno.test("buildErrorText writes the code, a blank and the message", () => {
  assert.equal(text(buildErrorText(503, "The queue is full")), "503 The queue is full");
});

Deno.test("parseErrorText takes frames for an answer when they only look like an error", () => {
  const answers = [
    [],
    [""],
    ["503 no"],
    ["503 no", ""],
    [" ", "503 no"],
    ["", "503 no", ""],
    ["", "", "503 no"],
    ["", ""],
    ["", "503"],
    ["", "503no"],
    ["", " 503 no"],
    ["", "5030 no"],
    ["", "50 no"],
    ["", "200 yes"],
    ["", "399 no"],
    ["", "600 no"],
    ["", "x\n503 no"],
  ];
  for (const answer of answers) {
    assert.equal(parseErrorText(answer.map((frame) => bytes(frame))), undefined, `${answer}`);
  }
});

Deno.test("parseErrorText survives bytes that are no UTF-8", () => {
  const frame = new Uint8Array([...bytes("500 "), 0xff, 0xc3]);
  assert.equal(parseErrorText([EMPTY_FRAME, frame])?.code, 500);
  assert.equal(parseErrorText([EMPTY_FRAME, new Uint8Array([0xff, 0xfe])]), undefined);
});

// Workers

const NO_STREAM = {
  ...{ stream: undefined, partsSent: 0, trace: undefined, queuedAt: 0, stored: undefined },
};

Deno.test("FromWorker and FromBroker have no type in common", () => {
  const types = [...Object.values(FromWorker), ...Object.values(FromBroker)];
  assert.equal(new Set(types).size, types.length);
  assert.deepEqual(types, [
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    12,
    13,
    14,
    15,
    33,
    16,
    17,
    18,
    19,
    21,
    22,
  ]);
});

Deno.test("buildMemory writes the documented bytes, and readMemory reads them", () => {
  const frame = buildMemory(0x12345 * 1024);
  assert.equal(hex(frame), "0800000045230100");
  assert.equal(frame.length, MEMORY_BYTES);
  assert.equal(readMemory(new DataView(frame.buffer)), 0x12345 * 1024);
  const most = buildMemory(2 ** 60);
  assert.equal(readMemory(new DataView(most.buffer)), 0xffffffff * 1024);
});

Deno.test("buildSignal and buildLog write the documented bytes", () => {
  assert.equal(hex(buildSignal(FromBroker.STOP)), "12");
  assert.deepEqual(LOG_LEVELS.map((level) => hex(buildLog(level))), [
    "060000000000000000000000",
    "060100000000000000000000",
    "060200000000000000000000",
    "060300000000000000000000",
  ]);
  assert.equal(hex(buildLog("warn", 0x0001_0203_0405_0607)), "06020000" + "07060504" + "03020100");
});

Deno.test("writeReply writes the documented bytes", () => {
  const frame = new Uint8Array(REPLY_BYTES).fill(0xee);
  writeReply(viewOf(frame), {
    job: 0x0001_0203_0405_0607,
    code: 200,
    micros: 0x0a0b0c0d,
    frames: 3,
  });
  assert.equal(hex(frame), "0200c800" + "07060504" + "03020100" + "0d0c0b0a" + "03000000");
  const flags = ReplyFlag.PRIVATE | ReplyFlag.STACK;
  writeReply(viewOf(frame), { job: 1, code: 500, flags, micros: 0, frames: 2 });
  assert.equal(hex(frame), "0203f401" + "01000000" + "00000000" + "00000000" + "02000000");
  assert.deepEqual(readReply(viewOf(frame)), { job: 1, code: 500, flags, micros: 0, frames: 2 });
});

Deno.test("readReply reads what writeReply wrote when jobs go up to 2^53 - 1", () => {
  for (const job of IDS) {
    for (const code of [200, 500, 65_535]) {
      for (const micros of [0, 1, 2 ** 31, LONGEST]) {
        const frame = inside(new Uint8Array(REPLY_BYTES));
        writeReply(viewOf(frame), { job, code, micros, frames: 2 });
        assert.deepEqual(readReply(viewOf(frame)), { job, code, flags: 0, micros, frames: 2 });
      }
    }
  }
});

Deno.test("writeReply keeps the time within 32 bits when it is no such number", () => {
  const view = viewOf(new Uint8Array(REPLY_BYTES));
  for (const [micros, sent] of [[-1, 0], [1e12, LONGEST], [Infinity, LONGEST], [2.6, 3]] as const) {
    writeReply(view, { job: 1, code: 200, micros, frames: 1 });
    assert.equal(readReply(view).micros, sent);
  }
});

Deno.test("buildJobSignal writes the documented bytes", () => {
  const cancel = buildJobSignal(FromBroker.CANCEL, 0x0001_0203_0405_0607, 499);
  assert.equal(hex(cancel), "1100f301" + "07060504" + "03020100");
});

Deno.test("readJobId and readCode read what buildJobSignal wrote when jobs go up to 2^53 - 1", () => {
  for (const job of IDS) {
    const frame = inside(buildJobSignal(FromWorker.RETURN, job, 0xabcd));
    assert.equal(frame.length, JOB_SIGNAL_BYTES);
    assert.equal(frame[0], FromWorker.RETURN);
    assert.equal(readJobId(viewOf(frame)), job);
    assert.equal(readCode(viewOf(frame)), 0xabcd);
  }
});

/** A JOB header as a worker reads it. */
function parseJob(header: Bytes): JobHeader {
  const reader = new JobReader();
  reader.bytes.set(header);
  return reader.read(header.length);
}

/** A whole JOB header. */
function jobHeader(
  identity: string,
  address: string,
  { job = 1, attempt = 1, deadline = 0, requestTimeout = 0, frames = 1, user = "" } = {},
): Bytes {
  const header = buildJobHeader(identity, address, user);
  writeJob(viewOf(header), { job, attempt, deadline, requestTimeout, frames });
  return header;
}

Deno.test("writeJob writes the documented bytes", () => {
  const times = { deadline: 0x0001_0203_0405_0607, requestTimeout: 0x0a0b0c0d };
  const order = {
    job: 0x0001_0203_0405_0607,
    attempt: 2,
    ...times,
    frames: 9,
    user: "al",
  };
  const id = "07060504" + "03020100";
  const fixed = "10020000" + id + id + "0d0c0b0a" + "09000000";
  assert.equal(hex(jobHeader("me", "::1", order)), fixed + "026d65" + "033a3a31" + "02616c");
});

Deno.test("parseJob reads what writeJob wrote when jobs go up to 2^53 - 1", () => {
  for (const job of IDS) {
    for (const deadline of IDS) {
      const order = { job, attempt: 3, deadline, requestTimeout: LONGEST, frames: 2 };
      const header = jobHeader("me", "127.0.0.1", { ...order, user: "alice" });
      const client = { identity: "me", address: "127.0.0.1", user: "alice" };
      assert.deepEqual(parseJob(header), { ...order, client, ...NO_STREAM });
    }
  }
});

Deno.test("JobReader gives deadlines by this machine's clock where the broker's is ahead, and none where there is none", () => {
  for (const [deadline, read] of [[1_000_000, 940_000], [0, 0]]) {
    const header = jobHeader("me", "::1", { deadline });
    const reader = new JobReader(60_000);
    reader.bytes.set(header);
    assert.equal(reader.read(header.length).deadline, read);
  }
});

Deno.test("JobReader reads what withExtras added, and the header without it stays as it is", () => {
  const plain = jobHeader("me", "here", { job: HIGHEST });
  const before = hex(plain);
  const most = 2 ** 31 - 1;
  for (const bytes of [most, 0, -most]) {
    const stream = { bytes, parts: most };
    const stored = { id: `j-${"f".repeat(32)}`, attempt: 2, tries: 5, hasKept: true };
    const extras = {
      ...{ stream, partsSent: 2 ** 32 - 1, trace: undefined, queuedAt: 0, stored: undefined },
    };
    for (
      const more of [
        {},
        { trace: TRACE },
        { queuedAt: HIGHEST },
        { trace: TRACE, queuedAt: 1 },
        { stored },
        { trace: TRACE, queuedAt: 1, stored: { ...stored, id: "", hasKept: false } },
      ]
    ) {
      for (const streams of [{}, { stream: undefined, partsSent: 0 }]) {
        const said = { ...extras, ...more, ...streams };
        const { client, ...read } = parseJob(withExtras(plain, said));
        const { stream, partsSent, trace, queuedAt, stored } = read;
        assert.deepEqual({ stream, partsSent, trace, queuedAt, stored }, said);
        assert.deepEqual([client.identity, client.address], ["me", "here"]);
      }
    }
  }
  assert.equal(hex(plain), before);
});

Deno.test("buildGrant writes the documented bytes, and readGrant reads them", () => {
  const frame = buildGrant(2 ** 32 + 2, { bytes: 0x12345678, parts: 3 });
  assert.equal(hex(frame), "1500000002000000010000007856341203000000");
  assert.equal(frame.length, GRANT_BYTES);
  assert.deepEqual(readGrant(viewOf(frame)), { bytes: 0x12345678, parts: 3 });
});

Deno.test("writeJob leaves nothing of the job before when it writes the header again", () => {
  const header = jobHeader("me", "here", {
    job: HIGHEST,
    attempt: 255,
    deadline: HIGHEST,
    requestTimeout: 9,
  });
  writeJob(viewOf(header), {
    job: 1,
    attempt: 1,
    deadline: 0,
    requestTimeout: 0,
    frames: 1,
  });
  assert.equal(hex(header), hex(jobHeader("me", "here")));
});

Deno.test("writeJob keeps numbers within their fields when they are larger", () => {
  const header = jobHeader("", "", { attempt: 300, requestTimeout: 1e12 });
  assert.equal(header[1], 255);
  assert.equal(parseJob(header).requestTimeout, LONGEST);
});

Deno.test("writeJob rounds times up, so that a moment is not no limit", () => {
  for (const [time, written] of [[0.001, 1], [7.2, 8], [0, 0]] as const) {
    const header = parseJob(jobHeader("", "", { deadline: time, requestTimeout: time }));
    assert.deepEqual([header.deadline, header.requestTimeout], [written, written]);
  }
});

Deno.test("parseJob gives empty texts when a client has neither identity nor address", () => {
  const { identity, address } = parseJob(jobHeader("", "")).client;
  assert.deepEqual([identity, address], ["", ""]);
});

Deno.test("parseJob gives identity and address back when they have up to 255 bytes", () => {
  const texts = ["a", "waiting", "é".repeat(127), "x".repeat(255), "🎌".repeat(63), "nul\0inside"];
  for (const identity of texts) {
    for (const address of texts) {
      const { client } = parseJob(jobHeader(identity, address));
      assert.deepEqual([client.identity, client.address], [identity, address]);
    }
  }
});

Deno.test("buildJobHeader cuts identity and address at 255 bytes when they are longer", () => {
  for (
    const [long, kept] of [["x".repeat(400), 255], ["é".repeat(300), 127], [
      "日".repeat(90),
      85,
    ]] as const
  ) {
    const header = jobHeader(long, "127.0.0.1", { job: HIGHEST });
    const { client: { identity, address }, job } = parseJob(header);
    assert.equal(identity.slice(0, kept), long.slice(0, kept));
    assert(identity.length <= kept + 1);
    assert.equal(address, "127.0.0.1");
    assert.equal(job, HIGHEST);
    const other = parseJob(jobHeader("me", long)).client;
    assert.equal(other.identity, "me");
    assert.equal(other.address.slice(0, kept), long.slice(0, kept));
  }
});

Deno.test("buildJobHeader makes no more than MAX_JOB_BYTES of any identity, address and user", () => {
  assert.equal(
    withExtras(buildJobHeader("x".repeat(999), "y".repeat(999), "z".repeat(999)), {
      stream: { bytes: 0, parts: 0 },
      partsSent: 0,
      trace: TRACE,
      queuedAt: 1,
      stored: { id: "x".repeat(999), attempt: 1, tries: 1, hasKept: false },
    }).length,
    MAX_JOB_BYTES,
  );
  // A character of four bytes is left out whole.
  const [x, flags] = ["x".repeat(999), "🎌".repeat(999)];
  assert.equal(buildJobHeader(x, flags, x).length, MAX_JOB_BYTES - 12 - 33 - 74 - 3);
  assert.equal(buildJobHeader("", "", "").length, 31);
});

Deno.test("parseJob reads what writeJob wrote when all is random", () => {
  const letters = ["a", "é", "日", "🎌", "\0", " "];
  for (let seed = 1; seed <= 2000; seed++) {
    const random = randomNumbers(seed * 7919 + 3);
    const word = () =>
      Array.from({ length: random(63) }, () => letters[random(letters.length)]).join("");
    const [identity, address, user] = [word(), word(), word()];
    const numbers = {
      job: randomId(random),
      attempt: random(256),
      frames: random(2 ** 32),
      deadline: randomId(random),
      requestTimeout: random(2 ** 32),
    };
    const header = parseJob(jobHeader(identity, address, { ...numbers, user }));
    const client = { identity, address, user };
    assert.deepEqual(header, { ...numbers, client, ...NO_STREAM }, `Seed ${seed}`);
  }
});

// The line on a worker's stdin

Deno.test("buildWorkerConfig writes one line of JSON whatever the texts hold", () => {
  const texts = { handler: 'two\nlines "and" 日本\u2028', token: "\r\n", backend: "ipc:///a b" };
  const config = { ...texts, parent: 1 } as WorkerConfig;
  const line = text(buildWorkerConfig(config));
  assert.equal(line.indexOf("\n"), line.length - 1);
  assert.deepEqual(JSON.parse(line), config);
});

// Byte cache

Deno.test("ByteCache makes a value once when the same bytes come again, wherever they stand", () => {
  const made: string[] = [];
  const cache = new ByteCache((bytes) => made[made.push(hex(bytes)) - 1]);
  const source = new Uint8Array([1, 2, 3, 1, 2, 3, 9]);
  assert.equal(cache.get(source, 0, 3), "010203");
  assert.equal(cache.get(source, 3, 6), "010203");
  assert.equal(cache.get(source, 3, 7), "01020309");
  assert.equal(cache.get(source, 2, 2), "");
  assert.deepEqual(made, ["010203", "01020309", ""]);
});

Deno.test("ByteCache never takes some bytes for others when there are more than it keeps", () => {
  const cache = new ByteCache(hex);
  const random = randomNumbers(4711);
  const runs = Array.from({ length: 5000 }, (_, index) => {
    const bytes = Uint8Array.from({ length: random(12) }, () => random(256));
    return new Uint8Array([...bytes, index & 255, index >> 8]);
  });
  for (const run of [...runs, ...runs]) assert.equal(cache.get(run, 0, run.length), hex(run));
});

Deno.test("ByteCache keeps what it knows when the source changes", () => {
  const cache = new ByteCache(hex);
  const source = new Uint8Array([1]);
  assert.equal(cache.get(source, 0, 1), "01");
  source[0] = 2;
  assert.equal(cache.get(source, 0, 1), "02");
  assert.equal(cache.get(new Uint8Array([1]), 0, 1), "01");
});
