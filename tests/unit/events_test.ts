/** What is published: subscriptions and topics, batches on the wire, what is kept, and numbers. */

import { strict as assert } from "node:assert";
import { EventBatch, eventBytes, framesAt, Topic } from "../../ports/event_batch.ts";
import { JobTopics } from "../../ports/job_topics.ts";
import { keyOf, Prefixes } from "../../ports/prefixes.ts";
import { StoredTopics } from "../../ports/stored_topics.ts";
import { Subscriber } from "../../ports/subscriber.ts";
import { UserTopics } from "../../ports/user_topics.ts";
import { readStamp } from "../../wire/event.ts";
import { checkPublication } from "../../worker/publication.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";

function topicOf(name: string, index = -1): Topic {
  return new Topic(bytes(name), index);
}

Deno.test("Prefixes matches as each subscription alone would, whatever came and went", () => {
  const below = randomNumbers(4);
  const some = () => Array.from({ length: below(5) }, () => "ab."[below(3)]).join("");
  const prefixes = new Prefixes();
  const all: string[] = [];
  for (let round = 0; round < 3000; round++) {
    const prefix = some();
    if (below(2) === 0) {
      prefixes.add(prefix);
      all.push(prefix);
    } else {
      const index = all.indexOf(prefix);
      assert.equal(prefixes.remove(prefix), index >= 0);
      if (index >= 0) all.splice(index, 1);
    }
    const topic = some();
    assert.equal(prefixes.match(topic), all.some((each) => topic.startsWith(each)));
    assert.equal(prefixes.size, new Set(all).size);
  }
});

Deno.test("keyOf tells all bytes apart", () => {
  const keys = Array.from({ length: 256 }, (_, byte) => keyOf(Uint8Array.of(byte)));
  assert.equal(new Set(keys).size, 256);
  assert(keys.every((key) => key.length === 1));
});

Deno.test("Subscriber forgets what it knew of topics when a subscription comes or goes", () => {
  const subscriber = new Subscriber();
  const [done, other] = [topicOf("job.done.", 0), topicOf("job.done.mail", 700)];
  assert.deepEqual([subscriber.wants(done), subscriber.wants(other)], [false, false]);
  subscriber.add("job.done.m");
  assert.deepEqual([subscriber.wants(done), subscriber.wants(other)], [false, true]);
  subscriber.add("");
  assert.equal(subscriber.wants(done), true);
  subscriber.remove("");
  assert.deepEqual([subscriber.wants(done), subscriber.wants(other)], [false, true]);
  assert.equal(subscriber.bytes, 10);
});

Deno.test("EventBatch holds events as they go over the wire, up to its bound", () => {
  const batch = new EventBatch(1000);
  const topic = topicOf("user.x");
  topic.sequence = 2 ** 40;
  const frames = [bytes("one"), bytes(""), bytes("y".repeat(300))];
  assert.equal(batch.addFrames(topic, 5, frames), true);
  assert.equal(batch.addText(topic, 6, bytes("textual"), 4), true);
  assert.equal(batch.addFrames(topic, 7, []), true);
  const ends = batch.entries.map(({ end }) => end);
  assert.equal(ends[0], eventBytes(topic, frames));
  const [first, second, third] = ends.map((end, index) =>
    framesAt(batch.bytes, ends[index - 1] ?? 0, end)
  );
  assert.deepEqual(first?.map(text).toSpliced(1, 1), ["user.x", ...frames.map(text)]);
  assert.deepEqual(readStamp(first?.[1] ?? bytes("")), { sequence: 2 ** 40, time: 5 });
  assert.deepEqual(second?.map(text).toSpliced(1, 1), ["user.x", "text"]);
  assert.equal(third?.length, 2);
  assert.equal(batch.addText(topic, 8, bytes("z".repeat(900)), 900), false);
  assert.equal(batch.entries.length, 3);
  const last = batch.last();
  batch.clear();
  assert.equal(batch.isEmpty, true);
  batch.repeat(topic, last);
  assert.deepEqual(batch.last(), last);
  batch.clear();
  // One event has room, whatever its size.
  assert.equal(batch.addText(topic, 9, new Uint8Array(200_000), 200_000), true);
});

Deno.test("JobTopics makes what is wanted alone, and a gap where nothing was for a while", () => {
  let prefix = "";
  const said: [string, number, unknown][] = [];
  const topics = new JobTopics("mail", {
    topic: topicOf,
    isWanted: ({ key }) => key.startsWith(prefix),
    publish: (topic, json) => {
      topic.sequence++;
      said.push([topic.key, topic.sequence, JSON.parse(json)]);
    },
    forget: () => {},
  });
  assert.equal(topics.wanted, 0);
  // deno-lint-ignore no-explicit-any
  const job: any = { id: 7, deaths: 0, doubts: 0, excused: 0, beside: 0, stranded: 0, request: {} };
  const subscribe = (to: string) => {
    prefix = to;
    topics.refresh(true);
    assert.notEqual(topics.wanted, 0);
  };
  subscribe("job.done.");
  topics.queued(job, 3);
  topics.answered(job, 1, 200, 1500);
  topics.answered(job, 1, 500, 1500);
  subscribe("job.done.mail");
  topics.answered(job, 1, 200, 1500);
  subscribe("job.failed.");
  topics.answered(job, 1, 200, 1500);
  topics.ended(job, 504, 1);
  subscribe("job.done.");
  topics.answered(job, 1, 200, 1500);
  assert.deepEqual(said.map(([key, sequence]) => [key, sequence]), [
    ["job.done.mail", 2],
    ["job.done.mail", 3],
    ["job.failed.mail", 2],
    ["job.done.mail", 5],
  ]);
  const done = { job: 7, service: "mail", worker: 1, attempt: 1, code: 200, ms: 1.5 };
  assert.deepEqual(said[0]?.[2], done);
  assert.deepEqual(said[2]?.[2], { job: 7, service: "mail", attempt: 1, code: 504 });
  topics.refresh(false);
  assert.equal(topics.wanted, 0);
});

Deno.test("UserTopics keeps the last of 1,000 topics and 16 MiB, and gives no number twice", () => {
  const topics = new UserTopics();
  const use = (name: string, size: number) => {
    const topic = topics.of(bytes(name));
    assert(topic !== undefined);
    topics.use(topic);
    topics.keep(topic, new Uint8Array(size));
    return topic.sequence;
  };
  for (let count = 0; count < 1500; count++) use(`user.${count}`, 10);
  assert.deepEqual(topics.size, { topics: 1500, kept: 1000, keptBytes: 10_000 });
  assert.deepEqual([...topics.kept("user.499")], []);
  assert.equal([...topics.kept("user.500")].length, 1);
  for (let count = 0; count < 20; count++) use(`user.large.${count}`, 1024 ** 2);
  assert.deepEqual(topics.size.kept, 16);
  const first = use("user.again", 1);
  for (let count = 0; count < 12_000; count++) use(`user.many.${count}`, 1);
  assert.equal(topics.size.topics, 10_000);
  // It was forgotten: its number goes on from what no other has reached.
  assert.equal(use("user.again", 1) > first + 1, true);
  for (const wrong of ["user.", "job.done.", "", `user.${"x".repeat(251)}`]) {
    assert.equal(topics.of(bytes(wrong)), undefined);
  }
});

Deno.test("checkPublication takes frames, and options behind them", () => {
  const bounds = { maxMessageSize: 1000, maxFrames: 3 };
  const { frames, size, retain } = checkPublication("user.x", ["ab", bytes("c")], bounds);
  assert.deepEqual([frames.map(text), size, retain], [["user.x", "ab", "c"], 9, false]);
  assert.equal(checkPublication("user.x", [{ retain: true }], bounds).retain, true);
  const wrong: [unknown, (Uint8Array | string)[], RegExp][] = [
    ["user.x", ["a", "b", "c"], /at most 3 frames/],
    ["user.x", ["x".repeat(995)], /at most 1000 bytes/],
    ["x", [], /must begin with "user\."/],
    [undefined, [], /must be a string: it is a undefined/],
  ];
  for (const [topic, args, message] of wrong) {
    assert.throws(() => checkPublication(topic, args, bounds), message);
  }
});

/** Topics with a store that notes what it is told, and what is published of them. */
function storedTopics(tellsIds: boolean) {
  const told: boolean[] = [];
  const said: string[] = [];
  const wanted = new Prefixes();
  let index = 0;
  const topics = new StoredTopics({
    topic: (name) => topicOf(name, index++),
    isWanted: ({ key }) => wanted.match(key),
    publish: (topic, json) => said.push(`${topic.key} ${json}`),
    forget: () => {},
  }, tellsIds);
  const refresh = (...services: string[]) => topics.refresh(services, wanted.size > 0);
  return { topics, told, said, wanted, refresh, watch: (isOn: boolean) => told.push(isOn) };
}

const OVER = { type: "over", id: "j-1", service: "mail", attempt: 2, code: 500 } as const;

Deno.test("StoredTopics has the store say what ends only while somebody has subscribed to that", () => {
  const { topics, told, said, wanted, refresh, watch } = storedTopics(true);
  wanted.add("stored.");
  refresh("", "mail");
  assert.deepEqual(told, [], "there is no store");
  topics.attach(watch);
  refresh("", "mail");
  assert.deepEqual(told, [true]);
  topics.over({ ...OVER, state: "failed" });
  topics.over({ ...OVER, state: "failed", service: "gone" });
  assert.deepEqual(said, [
    'stored.failed.mail {"id":"j-1","service":"mail","attempt":2,"code":500}',
  ]);
  wanted.remove("stored.");
  wanted.add("job.");
  refresh("", "mail");
  assert.deepEqual(told, [true, false]);
  wanted.add("stored.done.mail");
  refresh("", "mail");
  topics.over({ ...OVER, state: "failed" });
  topics.over({ ...OVER, state: "done", code: 200 });
  assert.deepEqual(said.slice(1), [
    'stored.done.mail {"id":"j-1","service":"mail","attempt":2,"code":200}',
  ]);
  // Another store knows of nothing, and is told again.
  topics.attach(watch);
  refresh("", "mail");
  assert.deepEqual(told, [true, false, true, true]);
  refresh("");
  assert.deepEqual(told.at(-1), false, "nobody wants the rest");
});

Deno.test("StoredTopics tells no ids where clients have no keys", () => {
  const { topics, said, wanted, refresh, watch } = storedTopics(false);
  wanted.add("");
  topics.attach(watch);
  refresh("mail");
  topics.over({ ...OVER, state: "cancelled", code: undefined });
  assert.deepEqual(said, ['stored.cancelled.mail {"service":"mail","attempt":2}']);
});
