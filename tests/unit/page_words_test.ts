/** How the live page says things, and the figures that it keeps. */

import { strict as assert } from "node:assert";
import { Figures, STEPS } from "../../admin/page_figures.js";
import { bytes, count, judge, rate, time } from "../../admin/page_words.js";
import type { ServiceStatus, Status } from "../../ops/status.ts";

const SERVICE: ServiceStatus = {
  name: "",
  paused: false,
  generation: 1,
  reloading: false,
  handler: "handler.ts",
  workers: { starting: 0, idle: 1, busy: 3, stopping: 0, min: 4, max: 4 },
  queue: { jobs: 0, bytes: 0, oldestMs: undefined },
  running: 3,
  requests: 0,
  replies: 0,
  errors: 0,
  rates: { requests: 0, errors: 0, p50Ms: undefined, p99Ms: undefined },
  frontend: [],
};

function statusOf(own: Partial<Status> = {}, service: Partial<ServiceStatus> = {}): Status {
  return {
    name: "test",
    version: "0.0.0",
    pid: 1,
    startedAt: 1_000_000,
    uptime: 0,
    phase: "serving",
    ready: true,
    reasons: [],
    logLevel: "info",
    endpoints: {
      frontend: [],
      mdp: [],
      events: [],
      backend: "",
      control: undefined,
      http: undefined,
    },
    rates: { requests: 12, errors: 0, p50Ms: 0.8, p99Ms: 14 },
    services: [{ ...SERVICE, ...service }],
    workers: [],
    clients: 0,
    connections: undefined,
    generation: 1,
    ...own,
  };
}

const QUIET = { requests: 700, errors: 0 };

Deno.test("numbers, rates, times and sizes have as many digits as a person reads", () => {
  assert.deepEqual([0, 12, 99_999, 100_000, 16_321_000].map(count), [
    ...["0", "12", "99,999", "100K", "16.3M"],
  ]);
  assert.deepEqual([undefined, null, 0, 0.04, 0.5, 12.4].map(rate), [
    ...["–", "–", "0", "< 0.1", "0.5", "12"],
  ]);
  const times = [undefined, 0.25, 4.56, 421, 1_500, 42_000, 61_000, 7_500_000, 180_000_000];
  assert.deepEqual(times.map(time), [
    ...["–", "0.25 ms", "4.6 ms", "421 ms", "1.5 s", "42 s", "1 min 1 s", "2 h 5 min", "2 d 2 h"],
  ]);
  assert.deepEqual([undefined, 812, 1_536, 90 * 1024 ** 2, 3 * 1024 ** 3].map(bytes), [
    ...["–", "812 B", "1.5 KiB", "90 MiB", "3.0 GiB"],
  ]);
});

Deno.test("judge says that all is well, with the load and the workers", () => {
  assert.deepEqual(judge(statusOf(), QUIET), {
    level: "good",
    title: "All is well",
    sentence: "12 requests a second; half take up to 0.80 ms, 99 % up to 14 ms. " +
      "3 of 4 workers are busy, nothing waits.",
  });
});

Deno.test("judge says what is wrong, the worst first", () => {
  const say = (status: Status, minute = QUIET) => {
    const { level, title } = judge(status, minute);
    return `${level}: ${title}`;
  };
  const late = { queue: { jobs: 3, bytes: 3, oldestMs: 4_000 } };
  assert.equal(say(statusOf({}, late)), "busy: Requests wait");
  assert.equal(say(statusOf({}, late), { requests: 700, errors: 14 }), "busy: Some requests fail");
  assert.equal(say(statusOf(), { requests: 700, errors: 70 }), "bad: Many requests fail");
  assert.equal(say(statusOf(), { requests: 700, errors: 1 }), "good: All is well");
  assert.equal(say(statusOf({ ready: false }, late)), "bad: Not ready");
  assert.equal(say(statusOf({}, { paused: true })), "busy: Paused");
  for (const [phase, title] of Object.entries({ starting: "Starting", stopping: "Stopping" })) {
    assert.equal(
      say(statusOf({ phase: phase as Status["phase"], ready: false })),
      `busy: ${title}`,
    );
  }
});

Deno.test("judge names the services that are paused when others are not", () => {
  const status = statusOf();
  const named = (name: string, paused: boolean) => ({ ...SERVICE, name, paused });
  status.services = [named("a", true), named("b", false), named("c", true)];
  const { title, sentence } = judge(status, QUIET);
  assert.equal(title, "Paused in part");
  assert.equal(sentence, "a and c give no jobs to workers. 0 requests wait.");
});

function historyOf(until: number, requests: number[]) {
  const zeros = requests.map(() => 0);
  return {
    ...{ stepMs: 1_000, until, requests, errors: zeros, queue: zeros, running: zeros },
    ...{ p50Ms: zeros, p99Ms: zeros, workers: zeros },
  };
}

/** What is shown of the last seconds. */
function last(figures: Figures, number: number) {
  return figures.values.requests.slice(-number);
}

Deno.test("Figures goes on from the history, second by second", () => {
  const figures = new Figures();
  figures.fill(historyOf(1_000_000, [1, 2, 3]));
  assert.equal(figures.times.length, STEPS);
  assert.deepEqual(last(figures, 4), [null, 1, 2, 3]);
  assert.equal(figures.add(statusOf({ uptime: 1_200 })), false);
  assert.equal(
    figures.add(statusOf({ uptime: 1_900, rates: { ...SERVICE.rates, requests: 5 } })),
    false,
  );
  assert.deepEqual(last(figures, 4), [1, 2, 3, 5], "the same second again");
  assert.deepEqual(figures.lastMinute(), { requests: 11, errors: 0 });
});

Deno.test("Figures says when seconds are missing, and takes them in", () => {
  const figures = new Figures();
  figures.fill(historyOf(1_000_000, [1, 2, 3]));
  assert.equal(figures.add(statusOf({ uptime: 6_000 })), true);
  assert.deepEqual(last(figures, 7), [3, null, null, null, null, null, 12]);
  figures.fill(historyOf(1_006_000, [7, 8, 9]));
  assert.deepEqual(last(figures, 7), [3, null, null, null, 7, 8, 9], "what is known stays");
});
