/** wire/submission.ts: what is said about stored jobs, from peers that can say anything. */

import assert from "node:assert/strict";
import type * as store from "../../store/messages.ts";
import {
  buildStatus,
  buildStored,
  hasEnded,
  type JobStatus,
  parseStatus,
  parseStored,
} from "../../wire/job_status.ts";
import {
  buildJobWords,
  isJobId,
  jobCommandOf,
  MAX_WORDS_BYTES,
  newJobId,
  parseJobQuestion,
  parseSubmission,
  parseTime,
  readSubmission,
  type SubmissionWords,
} from "../../wire/submission.ts";
import { bytes, text } from "../rig/text.ts";

const NOW = 1_800_000_000_000;
const ID = `j-${"0123456789abcdef".repeat(2)}`;
const DEFAULTS: SubmissionWords = {
  id: "",
  service: "",
  key: "",
  runAt: 0,
  isDelay: false,
  priority: 4,
  retries: 4,
  backoff: { firstMs: 1000, maxMs: 3_600_000 },
  requestTimeout: 0,
  expiresAt: 0,
  group: "",
  after: [],
};

function read(members: unknown): Partial<SubmissionWords> {
  const { words, fault } = { words: undefined, ...parseSubmission(frameOf(members), NOW) };
  assert.equal(fault, undefined);
  return words ?? {};
}

function faultOf(members: unknown): string {
  return parseSubmission(frameOf(members), NOW).fault ?? "none";
}

function frameOf(members: unknown): Uint8Array {
  return bytes(typeof members === "string" ? members : JSON.stringify(members));
}

Deno.test("parseSubmission gives what stands for each option when there is none", () => {
  assert.deepEqual(read({}), DEFAULTS);
  // What the store is told has all of it, and the store and the wire mean the same states.
  const submission: store.Submission = {
    ...DEFAULTS,
    user: "",
    trace: "",
    body: { bytes: new Uint8Array() },
  };
  assert.equal(submission.priority, 4);
  const status: (of: store.JobStatus) => JobStatus = (of) => of;
  const back: (of: JobStatus & { user: string }) => store.JobStatus = (of) => of;
  assert.equal(typeof status, typeof back);
});

Deno.test("parseSubmission reads every option when all are there", () => {
  const members = {
    id: ID,
    service: "mail",
    key: "über",
    delay: 5000,
    priority: 9,
    retries: 0,
    backoff: { min: 10, max: 20 },
    requestTimeout: 30_000,
    ttl: 60_000,
    jobGroup: "tenant 1",
    after: [newJobId(), ID.replace("0", "f"), ID.replace("0", "f")],
  };
  assert.deepEqual(read(members), {
    id: ID,
    service: "mail",
    key: "über",
    runAt: NOW + 5000,
    isDelay: true,
    priority: 9,
    retries: 0,
    backoff: { firstMs: 10, maxMs: 20 },
    requestTimeout: 30_000,
    expiresAt: NOW + 65_000,
    group: "tenant 1",
    after: members.after.slice(0, 2),
  });
});

Deno.test("parseSubmission counts the time to live from when the job is due, or from now", () => {
  assert.equal(read({ ttl: 10 }).expiresAt, NOW + 10);
  assert.equal(read({ ttl: 10, runAt: NOW + 500 }).expiresAt, NOW + 510);
  assert.equal(read({ ttl: 10, runAt: NOW - 500 }).expiresAt, NOW + 10);
  assert.equal(read({ delay: 0, ttl: 0 }).expiresAt, 0);
});

Deno.test("parseSubmission reads a time with its zone, and refuses one without", () => {
  assert.equal(read({ runAt: "2027-01-31T03:00:00Z" }).runAt, Date.UTC(2027, 0, 31, 3));
  assert.equal(
    read({ runAt: "2027-01-31T03:00:00.25+02:00" }).runAt,
    Date.UTC(2027, 0, 31, 1, 0, 0, 250),
  );
  assert.equal(read({ runAt: NOW }).runAt, NOW);
  for (const time of ["2027-01-31", "2027-01-31T03:00:00", "2027-13-31T03:00Z", "tomorrow", ""]) {
    assert.match(
      faultOf({ runAt: time }),
      /^"runAt" must be ms since 1970, or a time with its zone/,
    );
    assert.equal(parseTime(time), undefined);
  }
  const days = ["2027-02-29T03:00Z", "2027-02-30T00:00:00+14:00", "2027-04-31T03:00:00Z"];
  for (const time of [...days, "2027-00-10T03:00Z", "2027-01-00T03:00Z", "2027-01-32T03:00Z"]) {
    assert.match(faultOf({ runAt: time }), /^"runAt" must be/, `${time} is no day`);
  }
  assert.equal(read({ runAt: "2028-02-29T00:00+14:00" }).runAt, Date.UTC(2028, 1, 28, 10));
  assert.match(faultOf({ runAt: -1 }), /^"runAt"/);
  assert.match(faultOf({ runAt: 1e18 }), /^"runAt"/);
  assert.match(faultOf({ runAt: 0, delay: 0 }), /^"delay" and "runAt" exclude each other/);
});

Deno.test("parseSubmission names the member, the rule and the value when one is wrong", () => {
  const cases: [members: unknown, fault: string | RegExp][] = [
    [{ priority: 10 }, '"priority" must be an integer from 0 to 9: current value is 10'],
    [{ priority: -1 }, /^"priority"/],
    [{ priority: 4.5 }, /^"priority"/],
    [{ priority: "9" }, '"priority" must be an integer from 0 to 9: current value is "9"'],
    [{ priority: null }, /current value is null$/],
    [{ retries: 1001 }, '"retries" must be an integer from 0 to 1000: current value is 1001'],
    [{ delay: -1 }, /^"delay" must be a number of ms from 0 to 315360000000/],
    [{ delay: 315_360_000_001 }, /^"delay"/],
    [{ ttl: "1h" }, /^"ttl"/],
    [{ requestTimeout: 2 ** 32 }, /^"requestTimeout"/],
    [{ service: "two words" }, /^"service" must be a name of 1 to 64 characters/],
    [{ service: 1 }, /^"service"/],
    [{ key: "k".repeat(129) }, /^"key" must be a text of maximum 128 bytes of UTF-8/],
    [{ key: "é".repeat(65) }, /^"key"/],
    [{ key: "schedule:x" }, /^"key" must not start with "schedule:": such keys belong to/],
    [{ key: "a\u0000b" }, /^"key" .* without control characters/],
    ['{"key":"\\ud800"}', /^"key"/],
    [{ jobGroup: "a\nb" }, /^"jobGroup"/],
    [{ id: "j-1" }, /^"id" must be a job's id, "j-" and 32 hex digits, lower case/],
    [{ id: ID.toUpperCase() }, /^"id"/],
    [{ after: ID }, /^"after" must be a list of maximum 100 ids of jobs/],
    [{ after: ["x"] }, /^"after"/],
    [{ after: Array(101).fill(ID) }, /^"after"/],
    [{ id: ID, after: [ID] }, '"after" must not have the job itself'],
    [{ backoff: 1 }, '"backoff" must be an object of min and max: current value is 1'],
    [{ backoff: { min: -1 } }, /^"backoff.min" must be a number of ms/],
    [{ backoff: { min: 5, max: 4 } }, /^"backoff.max" must be at least "backoff.min": 4 is less/],
    [{ backoff: { least: 5 } }, 'Unknown option "backoff.least": use min, max'],
    [{ prio: 5 }, /^Unknown option "prio": use id, service, key, delay, runAt, priority/],
    ['{"__proto__":{"priority":9}}', /^Unknown option "__proto__"/],
    ['{"constructor":1}', /^Unknown option "constructor"/],
    [[], "The frame of JSON must be an object, such as {}"],
    ["null", /must be an object/],
    ["", /must be an object/],
    ["{", /must be an object/],
    ["[".repeat(16_000), /must be an object/],
  ];
  for (const [members, fault] of cases) {
    if (typeof fault === "string") assert.equal(faultOf(members), fault);
    else assert.match(faultOf(members), fault);
  }
  assert.deepEqual([read({ delay: 1.6 }).runAt, read({ runAt: 2.5 }).runAt], [NOW + 2, 3]);
  // A short time is not no time, which 0 stands for.
  const short = read({ delay: 0.1, ttl: 0.2, requestTimeout: 0.3 });
  assert.deepEqual([short.runAt, short.expiresAt, short.requestTimeout], [NOW + 1, NOW + 2, 1]);
  assert.equal(read({ backoff: { min: 5_000_000 } }).backoff?.maxMs, 5_000_000);
});

Deno.test("parseSubmission shows little of a long value, and reads no long frame", () => {
  assert.ok(faultOf({ priority: "x".repeat(10_000) }).length < 300);
  assert.ok(faultOf({ ["x".repeat(10_000)]: 1 }).length < 400);
  const long = JSON.stringify({ key: "k" }).padEnd(MAX_WORDS_BYTES + 1);
  assert.match(faultOf(long), /^The frame of JSON must have at most 16384 bytes: it has 16385/);
  assert.deepEqual(read(long.slice(0, -1)).key, "k");
  const broken = Uint8Array.from([...bytes('{"key":"'), 0xff, ...bytes('"}')]);
  assert.match(parseSubmission(broken, NOW).fault ?? "", /must be an object/);
});

Deno.test("readSubmission shows values that JSON has no words for", () => {
  const endless: unknown[] = [];
  endless.push(endless);
  const fault = (members: Record<string, unknown>) => readSubmission(members, NOW).fault ?? "";
  assert.match(fault({ priority: 4n }), /^"priority" must be .*: current value is 4n?$/);
  assert.match(fault({ after: endless }), /^"after" must be a list of maximum 100 ids of jobs/);
  assert.match(fault({ key: Symbol("k") }), /^"key" must be .*: current value is Symbol\(k\)$/);
});

Deno.test("parseJobQuestion reads what each command takes, and nothing else", () => {
  const ask = (command: "status" | "result" | "cancel", members: unknown) =>
    parseJobQuestion(command, frameOf(members));
  const words = { id: ID, since: undefined, wait: 0 };
  assert.deepEqual(ask("status", { id: ID, since: 7, wait: 100 }), {
    words: { id: ID, since: 7, wait: 100 },
  });
  assert.deepEqual(ask("result", { id: ID, wait: 3_600_000 }), {
    words: { ...words, wait: 3_600_000 },
  });
  assert.deepEqual(ask("cancel", { id: ID }), { words });
  assert.match(ask("cancel", { id: ID, wait: 1 }).fault ?? "", /^Unknown member "wait": use id$/);
  assert.match(ask("result", { id: ID, since: 1 }).fault ?? "", /^Unknown member "since"/);
  assert.match(ask("result", { id: ID, wait: 3_600_001 }).fault ?? "", /^"wait" must be/);
  assert.match(
    ask("status", {}).fault ?? "",
    /^"id" must be a job's id.*: current value is undefined/,
  );
  assert.match(ask("status", []).fault ?? "", /must be an object/);
});

Deno.test("a status is read as it was built, without its user", () => {
  const status: JobStatus = {
    id: ID,
    service: "mail",
    state: "running",
    version: 3,
    attempt: 1,
    retries: 4,
    priority: 4,
    key: "",
    group: "",
    after: [newJobId()],
    bytes: 12,
    createdAt: NOW,
    runAt: NOW,
    startedAt: NOW + 1,
    endedAt: undefined,
    code: undefined,
    message: undefined,
    progress: { done: 1, total: undefined, note: "half" },
    node: "",
  };
  const frame = buildStatus({ ...status, user: "alice" });
  assert.ok(!text(frame).includes("alice"));
  assert.deepEqual(parseStatus(frame), status);
  const { startedAt: _, ...others } = status;
  assert.equal(parseStatus(buildJobWords(others))?.startedAt, undefined);
  for (const wrong of ["{}", "[]", "x", `{"id":"${ID}","state":"gone","version":1}`]) {
    assert.equal(parseStatus(bytes(wrong)), undefined);
  }
});

Deno.test("an answer to a submission is read as it was built", () => {
  assert.deepEqual(parseStored(buildStored({ id: ID, isNew: false })), { id: ID, isNew: false });
  for (const wrong of ["", "{}", `{"id":"x","isNew":true}`, `{"id":"${ID}"}`]) {
    assert.equal(parseStored(bytes(wrong)), undefined);
  }
});

Deno.test("newJobId makes ids of 128 bits, each another one", () => {
  const ids = new Set(Array.from({ length: 100 }, newJobId));
  assert.equal(ids.size, 100);
  for (const id of ids) assert.ok(isJobId(id), id);
  assert.deepEqual(["submit", "Submit", ""].map(jobCommandOf), ["submit", undefined, undefined]);
  assert.deepEqual([hasEnded("running"), hasEnded("expired")], [false, true]);
});

Deno.test("newJobId makes each of the 128 bits at random", () => {
  const ids = Array.from({ length: 2000 }, newJobId);
  for (let digit = 2; digit < 34; digit++) {
    for (const bit of [1, 2, 4, 8]) {
      const set = ids.filter((id) => (parseInt(id.charAt(digit), 16) & bit) !== 0).length;
      // 10 standard deviations off: never by chance.
      assert.ok(Math.abs(set - 1000) < 224, `bit ${bit} of digit ${digit}: ${set} of 2,000`);
    }
  }
});
