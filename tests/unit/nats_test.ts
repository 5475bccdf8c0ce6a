/** The parts of the store on NATS that need no NATS. */

import { strict as assert } from "node:assert";
import type { Frames } from "../../store/messages.ts";
import { parseAnswer, STREAM_FULL, WRONG_REVISION } from "../../store/nats_asker.ts";
import { DueList } from "../../store/nats_due.ts";
import { type NatsGround, parseStored } from "../../store/nats_ground.ts";
import { isPassingError } from "../../store/nats_guard.ts";
import { parseKept } from "../../store/nats_keeper.ts";
import { AGE_STEP, inOrder, Lane, NatsLanes, parseDelivery } from "../../store/nats_lanes.ts";
import { NATS_JETSTREAM, NATS_TRANSPORT } from "../../store/nats_library.ts";
import { Local, NatsLocals } from "../../store/nats_locals.ts";
import {
  laneOf,
  NatsNames,
  parseNatsAddress,
  serviceOf,
  serviceToken,
} from "../../store/nats_names.ts";
import {
  buildHint,
  buildRecord,
  changed,
  type Hint,
  isPast,
  type JobRecord,
  judge,
  LONGEST_NAK,
  newRecord,
  parseHint,
  parseRecord,
  statusOf,
  type Verdict,
} from "../../store/nats_record.ts";
import { Page } from "../../store/nats_page.ts";
import { isOlder, replicasFor, streamConfigs, warningsOf } from "../../store/nats_streams.ts";
import { RateLimit } from "../../store/rate.ts";
import { path } from "../rig/checkout.ts";
import { freeConfig, submission } from "../rig/store_user.ts";

const ID = `j-${"a".repeat(32)}`;
const NOW = 1_800_000_000_000;

function recordOf(change: Partial<JobRecord> = {}): JobRecord {
  return { ...newRecord(submission("x"), ID, NOW), ...change };
}

function hintOf(record: JobRecord, more: Partial<Hint> = {}): Hint {
  return { record, revision: 1, movedFor: 0, sizes: undefined, ...more };
}

Deno.test("parseNatsAddress reads servers, and shows nothing that is secret", () => {
  const address = parseNatsAddress("nats://ann:s%20e@one:4000,two,[::1]:5");
  assert.deepEqual(address, {
    servers: ["one:4000", "two:4222", "[::1]:5"],
    isTls: false,
    user: "ann",
    password: "s e",
    shown: "nats://one:4000,two:4222,[::1]:5",
  });
  assert.equal(parseNatsAddress("tls://one").isTls, true);
  for (
    const wrong of [
      "nats://",
      "nats://a:0",
      "nats://a:66000",
      "nats://a b",
      "http://a",
      "nats://a,,b",
    ]
  ) {
    assert.throws(() => parseNatsAddress(wrong), TypeError, wrong);
  }
  assert.throws(
    () => parseNatsAddress("nats://ann:secret@"),
    (error: Error) => !error.message.includes("secret"),
  );
});

Deno.test("each service has a token of its own, which has no dot", () => {
  const names = ["", "a", "a.b", ".", "..", "_", "-", "ad", "a.d", "=d".replace("=", "-")];
  const tokens = names.map(serviceToken);
  assert.equal(new Set(tokens).size, names.length);
  for (const token of tokens) assert.match(token, /^[A-Za-z0-9_=-]+$/);
  assert.deepEqual(tokens.map(serviceOf), names);
  assert.equal(serviceOf("a*"), undefined);
});

Deno.test("NatsNames: a lane is found again by its consumer's name", () => {
  const names = new NatsNames("p");
  for (const service of ["", "a.b_1", "x_4_0"]) {
    const lane = { service, priority: 7, share: 3 };
    assert.deepEqual(names.parseLane(names.lane(lane)), lane);
  }
  assert.equal(names.parseLane("scan"), undefined);
  assert.equal(names.parsePaused(names.paused("a.b")), "a.b");
  assert.equal(names.parsePaused("$KV.p_keys.key.x"), undefined);
});

Deno.test("laneOf spreads users, and keeps jobs without users apart", () => {
  assert.equal(laneOf({ service: "", priority: 4, user: "" }).share, 0);
  const shares = Array.from(
    { length: 100 },
    (_, index) => laneOf({ service: "", priority: 4, user: `user ${index}` }).share,
  );
  assert.deepEqual([...new Set(shares)].sort(), [1, 2, 3, 4, 5, 6, 7]);
});

Deno.test("records and hints are read as they were built, and nothing else is", () => {
  const record = recordOf({ message: 'é\n"', after: [ID], result: [1, 2] });
  assert(!buildRecord(record).includes("\n"), "a header has one line");
  assert.deepEqual(parseRecord(buildRecord(record)), JSON.parse(JSON.stringify(record)));
  for (const wrong of [undefined, "", "{", "{}", "[]", '{"id":1}']) {
    assert.equal(parseRecord(wrong), undefined);
  }
  const body: Frames = { bytes: new Uint8Array([1, 2, 3]), sizes: [1, 0, 2] };
  const payload = buildHint({ record, revision: 5, movedFor: 7 }, body);
  const read = parseHint(payload);
  assert.deepEqual(read?.body, body);
  assert.deepEqual([read?.hint.revision, read?.hint.movedFor, read?.hint.record.id], [5, 7, ID]);
  for (let length = 0; length < payload.length - 3; length++) {
    assert.equal(parseHint(payload.subarray(0, length)), undefined);
  }
  // Sizes that are not those of the body.
  assert.equal(parseHint(payload.subarray(0, payload.length - 1)), undefined);
  new DataView(payload.buffer).setUint32(0, 0xffffffff, true);
  assert.equal(parseHint(payload), undefined);
});

/** What becomes of a hint, in one word and a number. */
function fate(verdict: Verdict): string {
  if (verdict.what === "later") return `later ${verdict.ms}`;
  return verdict.what === "drop" && verdict.keep ? "keep" : verdict.what;
}

Deno.test("judge: what a node does with a hint", () => {
  const waiting = recordOf();
  const soon = recordOf({ state: "scheduled", runAt: NOW + 700 });
  const later = recordOf({ state: "scheduled", place: "kept", runAt: NOW + 99_000 });
  const running = recordOf({ state: "running", attempt: 1, retries: 1 });
  const late = recordOf({ expiresAt: NOW });
  const cases: [string, JobRecord | undefined, Partial<Hint>, string][] = [
    ["a job that waits", waiting, {}, "run"],
    ["no record yet", undefined, {}, "later 500"],
    ["done", recordOf({ state: "done" }), {}, "drop"],
    ["failed", recordOf({ state: "failed" }), {}, "keep"],
    ["cancelled", recordOf({ state: "cancelled" }), {}, "keep"],
    ["its next try is soon", soon, {}, "later 700"],
    ["its next try is due", { ...soon, runAt: NOW }, {}, "run"],
    ["the clock was set back an hour", { ...soon, runAt: NOW + 3_600_000 }, {}, "run"],
    ["its body is kept for later, and this hint is an old one", later, {}, "drop"],
    ["it was moved", later, { movedFor: later.runAt }, "run"],
    ["it was moved for an earlier time", later, { movedFor: 1 }, "drop"],
    ["its node has died", running, {}, "run"],
    ["too many nodes have died", { ...running, deaths: 6 }, {}, "fail"],
    ["it has not started in time", late, {}, "expire"],
    ["it has started in time", { ...running, expiresAt: NOW }, {}, "run"],
    ["it has started in time, and its node has died", { ...late, deaths: 1 }, {}, "run"],
  ];
  for (const [name, record, hint, expected] of cases) {
    const verdict = judge(record, hintOf(record ?? waiting, hint), 0, NOW);
    assert.equal(fate(verdict), expected, name);
  }
  assert.equal(fate(judge(undefined, hintOf(waiting), 61_000, NOW)), "drop");
  assert(LONGEST_NAK <= 10_000, "a clock that is set back delays a job no longer");
});

Deno.test("a job that has come due by itself is shown as waiting, one that waits for others is not", () => {
  const due = recordOf({ state: "scheduled", runAt: NOW - 1 });
  assert.equal(statusOf(due, NOW, "n").state, "waiting");
  assert.equal(statusOf({ ...due, after: [ID] }, NOW, "n").state, "scheduled");
  assert.equal(statusOf({ ...due, after: [ID], isReleased: true }, NOW, "n").state, "waiting");
  assert.equal(statusOf({ ...due, node: "n" }, NOW, "n").node, "");
  assert.equal(statusOf({ ...due, node: "m" }, NOW, "n").node, "m");
  const next = changed(due, { state: "done" });
  assert.deepEqual([next.version, next.was], [due.version + 1, "scheduled"]);
});

Deno.test("isPast: results and dead jobs have times of their own", () => {
  const ttls = { resultTtl: 10, deadTtl: 100 };
  const ended = (state: JobRecord["state"]) => recordOf({ state, endedAt: NOW });
  assert.equal(isPast(ended("done"), ttls, NOW + 10), false);
  assert.equal(isPast(ended("done"), ttls, NOW + 11), true);
  assert.equal(isPast(ended("failed"), ttls, NOW + 100), false);
  assert.equal(isPast(ended("cancelled"), ttls, NOW + 101), true);
  assert.equal(isPast(recordOf(), ttls, NOW * 2), false);
});

Deno.test("DueList gives what is due in order, each by its newest time", () => {
  const list = new DueList();
  const ids = Array.from({ length: 200 }, (_, index) => `${(index * 37) % 200}`);
  for (const id of ids) list.add(id, Number(id));
  list.add("5", 1000);
  list.add("150", 2);
  list.remove("7");
  assert.equal(list.size, 199);
  assert.equal(list.firstAt, 0);
  assert.deepEqual(list.take(1, 10), ["0", "1"]);
  assert.deepEqual(list.take(2, 10).sort(), ["150", "2"]);
  const rest: string[] = [];
  while (list.size > 0) rest.push(...list.take(Infinity, 10));
  assert.equal(rest.at(-1), "5");
  const numbers = rest.slice(0, -1).map(Number);
  assert.equal(rest.includes("7"), false);
  assert.deepEqual(numbers, [...numbers].sort((one, other) => one - other));
  assert.equal(list.firstAt, Infinity);
});

Deno.test("parseAnswer reads what JetStream says to a publish", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const seq = (text: string) => parseAnswer(bytes(text)).seq;
  assert.equal(seq('{"stream":"S", "seq":12}'), 12);
  assert.equal(seq('{"stream":"S","domain":"d","seq":12}'), 12);
  assert.equal(seq('{"stream":"S", "seq":12,"duplicate": true}'), 12);
  const full = parseAnswer(
    bytes(
      `{"error":{"code":503,"err_code":${STREAM_FULL},"description":"maximum bytes exceeded"},"stream":"S","seq":0}`,
    ),
  );
  assert.deepEqual(full.fault, { code: 503, number: STREAM_FULL, text: "maximum bytes exceeded" });
  const wrong = parseAnswer(bytes(`{"error":{"code":400,"err_code":${WRONG_REVISION}}}`));
  assert.equal(wrong.fault?.number, WRONG_REVISION);
  assert.equal(parseAnswer(bytes("nonsense")).fault, undefined);
  assert.equal(parseAnswer(bytes("")).seq, 0);
});

Deno.test("parseStored reads a message that a stream keeps", () => {
  const headers = btoa('NATS/1.0\r\nOther: x\r\nJob: {"id":1}\r\n\r\n');
  const words = {
    subject: "s",
    seq: 3,
    time: "2027-01-01T00:00:00Z",
    hdrs: headers,
    data: btoa("hi"),
  };
  const payload = new TextEncoder().encode(JSON.stringify({ message: words }));
  const stored = parseStored({ seq: 0, fault: undefined, payload });
  assert.deepEqual([stored?.subject, stored?.seq, stored?.words], ["s", 3, '{"id":1}']);
  assert.equal(new TextDecoder().decode(stored?.payload), "hi");
  assert.equal(stored?.time, Date.UTC(2027, 0, 1));
  const none = new TextEncoder().encode('{"message":{"seq":"x"}}');
  assert.equal(parseStored({ seq: 0, fault: undefined, payload: none }), undefined);
});

Deno.test("parseDelivery reads both forms of a hint's reply", () => {
  const nanos = NOW * 1e6;
  const short = parseDelivery(`$JS.ACK.S.c.2.30.40.${nanos}.5`);
  const long = parseDelivery(`$JS.ACK._.hash.S.c.2.30.40.${nanos}.5.token`);
  for (const delivery of [short, long]) {
    assert.deepEqual([delivery?.count, delivery?.seq], [2, 30]);
    assert(Math.abs((delivery?.storedAt ?? 0) - NOW) < 1);
  }
  assert.equal(parseDelivery(undefined), undefined);
  assert.equal(parseDelivery("_INBOX.x.1"), undefined);
});

Deno.test("lanes are asked by priority, by what has waited, and by turns", () => {
  const lane = (priority: number, share: number, waitedMs?: number, servedLast = 0) => {
    const one = new Lane({ service: "", priority, share }, "", NOW);
    if (waitedMs !== undefined) one.waitingSince = NOW - waitedMs;
    one.servedLast = servedLast;
    return one;
  };
  const order = (...lanes: Lane[]) =>
    inOrder(lanes, NOW).map(({ name }) => `${name.priority}.${name.share}`);
  assert.deepEqual(order(lane(0, 0), lane(9, 0), lane(4, 0)), ["9.0", "4.0", "0.0"]);
  assert.deepEqual(order(lane(0, 0, 5 * AGE_STEP), lane(4, 0)), ["0.0", "4.0"]);
  assert.deepEqual(order(lane(4, 1, 100, 8), lane(4, 2, 10, 7)), ["4.2", "4.1"]);
  assert.deepEqual(order(lane(9, 1, 0, 8), lane(0, 2, 1e9, 7)), ["0.2", "9.1"]);
  // Nobody has asked it yet, as those of the high one go on and on: its time comes.
  const low = lane(0, 0);
  const high = lane(9, 0);
  high.waitingSince = NOW + 9 * AGE_STEP;
  high.servedLast = 100;
  const later = inOrder([high, low], NOW + 9 * AGE_STEP).map(({ priority }) => priority);
  assert.deepEqual(later, [0, 9]);
});

Deno.test("replicas: one for each server, three at most", () => {
  const info = { server_id: "", version: "2.12.3", host: "", max_payload: 1_048_576 };
  const urls = (...connect_urls: string[]) => ({ ...info, cluster: "c", connect_urls });
  assert.equal(replicasFor(info, 3), 1);
  assert.equal(replicasFor(urls("a:1", "b:1", "c:1"), 1), 3);
  assert.equal(replicasFor(urls("a:1", "b:1", "c:1", "d:1", "e:1"), 1), 3);
  assert.equal(replicasFor(urls("a:1", "a:2", "a:3"), 1), 3);
  assert.equal(replicasFor(urls("10.0.0.1:1", "[fe80::1]:1", "10.0.0.2:2", "[fe80::2]:2"), 1), 2);
  assert.equal(replicasFor(urls("a:1"), 3), 3);
});

Deno.test("the start warns of a server that is too old, or that can't tell", () => {
  assert.deepEqual(["2.9.10", "2.12.2", "2.12.3", "2.12.10", "3.0.0", "x"].map(isOlder), [
    ...[true, true, false, false, false, true],
  ]);
  const info = { server_id: "", version: "2.9.10", host: "", max_payload: 1_048_576, cluster: "c" };
  const warnings = (version: string, replicas: number, isBelow = false) =>
    warningsOf({ ...info, version }, { replicas, isBelow });
  assert.match(warnings("2.9.10", 3)[0] ?? "", /2\.9\.10 may lose .* 2\.12\.3/);
  assert.match(warnings("2.12.3", 3)[0] ?? "", /sync_interval: always/);
  assert.match(warnings("2.12.3", 1)[1] ?? "", /one replica/);
  assert.match(warnings("2.12.3", 2, true)[1] ?? "", /stream edit/);
});

Deno.test("streams: a job has one hint, a record one message, and new ones are refused by storeJobs", () => {
  const [work, jobs] = streamConfigs(new NatsNames("p"), { ...freeConfig(), storeJobs: 7 }, 3);
  assert.deepEqual(
    [
      work?.retention,
      work?.max_msgs_per_subject,
      work?.discard_new_per_subject,
      work?.num_replicas,
    ],
    ["workqueue", 1, true, 3],
  );
  assert.deepEqual([jobs?.name, jobs?.max_msgs, jobs?.discard], ["KV_p_jobs", 7, "new"]);
});

Deno.test("errors of sockets that are nobody's pass, and no others", () => {
  const reset = Object.assign(new Error("read ECONNRESET"), { code: "ECONNRESET" });
  assert.equal(isPassingError(reset), true);
  for (const code of ["ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"]) {
    assert.equal(isPassingError(Object.assign(new Error("x"), { code })), true, code);
  }
  assert.equal(isPassingError(new TypeError("x")), false);
  assert.equal(isPassingError(Object.assign(new Error("x"), { code: "ENOSPC" })), false);
  assert.equal(isPassingError("ECONNRESET"), false);
});

Deno.test("parseKept reads what stands with a body that is kept, and nothing else", () => {
  const words = { id: ID, service: "", state: "scheduled", runAt: 1, after: [] };
  assert.deepEqual(parseKept(JSON.stringify(words)), words);
  for (const wrong of [undefined, "", "{", "null", "{}"]) assert.equal(parseKept(wrong), undefined);
});

Deno.test("the packages of NATS are those that deno.json names", () => {
  const { imports } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  assert.equal(imports["@nats-io/transport-node"], NATS_TRANSPORT);
  assert.equal(imports["@nats-io/jetstream"], NATS_JETSTREAM);
});

/** Lanes on a link that is not there: what is sent is kept, and time is passed in. */
function lanesOf(wanted: number) {
  let now = 0;
  const timers: { at: number; call: () => void }[] = [];
  const heard = new Map<string, (message: unknown) => void>();
  const asked: { subject: string; reply: string }[] = [];
  const link = {
    isUp: true,
    subscribe(subject: string, hear: (message: unknown) => void) {
      heard.set(subject, hear);
      return () => heard.delete(subject);
    },
    drain: () => Promise.resolve(),
    publish(subject: string, _payload: unknown, options?: { reply?: string }) {
      asked.push({ subject, reply: options?.reply ?? "" });
      return true;
    },
  };
  const clock = {
    now: () => NOW + now,
    steady: () => now,
    after(ms: number, call: () => void) {
      const timer = { at: now + ms, call };
      timers.push(timer);
      return () => void timers.splice(timers.indexOf(timer), 1);
    },
  };
  const names = new NatsNames("p");
  const ground = { names, link, clock, manager: undefined, maker: undefined, ackWait: 5000 };
  const puller = { wanted: () => wanted, hint: () => {} };
  const lanes = new NatsLanes(ground as unknown as NatsGround, puller, "inbox");
  const name = names.lane({ service: "", priority: 4, share: 0 });
  heard.get(names.lanes)?.({ data: new TextEncoder().encode(name) });
  return {
    lanes,
    asked,
    status: (code: number, reply: string) =>
      heard.get("inbox.1.*")?.({ subject: reply, data: new Uint8Array(0), headers: { code } }),
    pass(ms: number) {
      for (const end = now + ms; now < end;) {
        now = Math.min(end, ...timers.map(({ at }) => at));
        for (const timer of timers.filter(({ at }) => at <= now)) {
          timers.splice(timers.indexOf(timer), 1);
          timer.call();
        }
      }
    },
  };
}

Deno.test("NatsLanes asks again soon when its server has lost the request, and not while it says that it stands", async () => {
  const { lanes, asked, status, pass } = lanesOf(5);
  assert.equal(asked.length, 1);
  const [first] = asked;
  for (let beat = 0; beat < 10; beat++) {
    status(100, first?.reply ?? "");
    pass(500);
  }
  assert.equal(asked.length, 1, "it stands");
  // As after another server has become the consumer's leader.
  pass(2500);
  assert.equal(asked.length, 2, "it is lost");
  await lanes.stop();
});

Deno.test("Local has as many hints ready as start in a moment, and none when nothing starts", () => {
  const local = new Local(new RateLimit({ perSecond: 0, burst: 0 }, 0));
  assert.equal(local.ahead(0), 0);
  for (let ms = 0; ms <= 1000; ms += 10) local.started(ms);
  assert.equal(local.ahead(1000), 5);
  assert.equal(local.ahead(1500), 5);
  assert.equal(local.ahead(4000), 0);
  for (let ms = 4000; ms <= 5000; ms += 0.1) local.started(ms);
  assert.equal(local.ahead(5001), 200);
});

Deno.test("NatsLocals drops what is ready and was silent for long, and finds what is ready by its job", () => {
  const locals = new NatsLocals(freeConfig, () => 0);
  const heldOf = (id: string, sureAt: number) => {
    const hint = hintOf(recordOf({ id }));
    return {
      hint,
      body: { bytes: new Uint8Array(0) },
      reply: id,
      storedAt: 0,
      isFirst: true,
      sureAt,
      heldAt: sureAt,
    };
  };
  const [early, late] = [heldOf("a", 1000), heldOf("b", 3000)];
  locals.of("").ready.push(early, late);
  assert.equal(locals.heldOf(late.hint.record), late);
  locals.dropStale(2000);
  assert.deepEqual([...locals.held()], [late]);
  assert.equal(locals.heldOf(early.hint.record), undefined);
  assert.deepEqual(locals.takeReadySince(2999), []);
  assert.deepEqual([locals.takeReadySince(3000), locals.hasReady], [[late], false]);
  locals.of("").ready.push(late);
  assert.deepEqual(locals.takeReady(), [late]);
  assert.deepEqual([...locals.held()], []);
});

Deno.test("Page has the first jobs behind another one, in whatever order they are added", () => {
  const places = Array.from({ length: 60 }, (_, i) => {
    const of = { createdAt: NOW + Math.floor(i / 6), id: `j-${i % 2}` };
    return i % 6 < 2 ? of : { ...of, nth: Math.floor((i % 6) / 2) };
  });
  for (const step of [1, 59, 7]) {
    const mixed = places.map((_, i) => (i * step) % 60);
    const page = (most: number, after?: number) => {
      const found = new Page<number>(most, after === undefined ? undefined : places[after]);
      for (const i of mixed) found.add(places[i] ?? assert.fail(), i);
      return found.all;
    };
    assert.deepEqual(page(5), [0, 1, 2, 3, 4]);
    assert.deepEqual(page(3, 4), [5, 6, 7]);
    assert.deepEqual(page(100, 57), [58, 59]);
    assert.deepEqual([page(0), page(9, 59)], [[], []]);
  }
});
