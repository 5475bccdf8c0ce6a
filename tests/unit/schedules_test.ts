/** Schedules: each due time is submitted once, whatever happens to the clock, the store and the server. */

import { strict as assert } from "node:assert";
import fc from "fast-check";
import { faultOfCron } from "../../options/cron.ts";
import { CRONER, loadTimetables } from "../../store/cron.ts";
import {
  afterSubmit,
  nextFree,
  type ScheduleMark,
  stepOf,
  type Timetable,
} from "../../store/due_times.ts";
import type { FromStore, ScheduleRule } from "../../store/messages.ts";
import { Schedules } from "../../store/schedules.ts";
import { path } from "../rig/checkout.ts";
import { DrivenClock } from "../rig/driven_clock.ts";
import { SharedMarks } from "../rig/schedule_marks.ts";

const SECOND = 1000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;

const makeTimetable = await loadTimetables();

/** A server with schedules. */
class Node {
  readonly logged: string[] = [];
  readonly schedules: Schedules;
  #ids = 0;

  constructor(readonly clock: DrivenClock, readonly marks: SharedMarks, name = "n") {
    this.schedules = new Schedules({
      clock,
      marks,
      say: ({ level, message }: Extract<FromStore, { type: "log" }>) =>
        this.logged.push(`${level} ${message}`),
      newId: () => `j-${name}-${++this.#ids}`,
      load: () => Promise.resolve(makeTimetable),
    });
  }
}

function rule(cron: string, others: Partial<ScheduleRule> = {}): ScheduleRule {
  return { cron, timeZone: "UTC", service: "", body: "x", catchUpMs: HOUR, ...others };
}

/** A server that has a schedule "a" and has run since 12:00. */
async function started(a: ScheduleRule): Promise<Node> {
  const node = new Node(new DrivenClock(), new SharedMarks());
  node.schedules.configure({ a });
  await node.clock.pass(0);
  return node;
}

/** The same store and clock in another process. */
async function restarted({ clock, marks }: Node, a: ScheduleRule): Promise<Node> {
  const node = new Node(clock, marks);
  node.schedules.configure({ a });
  await clock.pass(SECOND);
  return node;
}

/** Minutes of the due times that were submitted. */
function times({ marks }: Node): string[] {
  return marks.dues("a").map((due) => due.slice(11, 16));
}

// ---- a server that runs ----

Deno.test("Schedules submit each due time once, on time, with what the schedule says", async () => {
  const node = await started(rule("*/10 * * * *", { service: "mail", body: "€" }));
  await node.clock.pass(30 * MINUTE - 1);
  assert.deepEqual(times(node), ["12:10", "12:20"]);
  await node.clock.pass(1);
  assert.deepEqual(times(node), ["12:10", "12:20", "12:30"]);
  const [job] = node.marks.jobs;
  assert.equal(job?.service, "mail");
  assert.equal(job?.id, "j-n-1");
  assert.equal(job?.user, "");
  assert.equal(job?.key, "schedule:a:2026-01-15T12:10:00.000Z");
  assert.equal(new TextDecoder().decode(job?.body.bytes), "€");
  assert.deepEqual([job?.priority, job?.retries, job?.runAt, job?.expiresAt], [4, 4, 0, 0]);
});

Deno.test("Schedules tell when they were due and will be, and which job that was", async () => {
  const node = await started(rule("*/10 * * * *"));
  const at = (time: string) => Date.parse(`2026-01-15T${time}:00Z`);
  const of = { service: "", cron: "*/10 * * * *", timeZone: "UTC" };
  const none = { ...of, nextAt: at("12:10"), lastAt: undefined, lastId: "" };
  assert.deepEqual(node.schedules.figures(), { a: none });
  await node.clock.pass(11 * MINUTE);
  const figures = { ...of, nextAt: at("12:20"), lastAt: at("12:10"), lastId: "j-n-1" };
  assert.deepEqual(node.schedules.figures(), { a: figures });
  assert.deepEqual((await restarted(node, rule("*/10 * * * *"))).schedules.figures(), {
    a: figures,
  });
});

Deno.test("Schedules are due every second when their patterns say so", async () => {
  const node = await started(rule("* * * * * *"));
  await node.clock.pass(90 * SECOND);
  assert.equal(new Set(node.marks.dues("a")).size, 90);
});

Deno.test("Schedules that load nothing have no timer", async () => {
  const clock = new DrivenClock();
  const load = () => assert.fail("loaded");
  const marks = new SharedMarks();
  const schedules = new Schedules({ clock, marks, say: () => {}, newId: () => "", load });
  schedules.configure({});
  await clock.pass(MINUTE);
  assert.equal(clock.waiting, 0);
});

Deno.test("Schedules that are closed submit no more, and have no timer", async () => {
  const node = await started(rule("* * * * *"));
  node.schedules.close();
  await node.clock.pass(5 * MINUTE);
  assert.deepEqual(times(node), []);
  assert.equal(node.clock.waiting, 0);
});

Deno.test("Schedules load croner again later when it can't be loaded", async () => {
  const clock = new DrivenClock();
  const marks = new SharedMarks();
  const lines: string[] = [];
  let tries = 0;
  const schedules = new Schedules({
    ...{ clock, marks, newId: () => "j-1" },
    say: ({ message, fields }) => lines.push(`${message}: ${fields?.error}`),
    load: () => ++tries < 3 ? Promise.reject(new Error("offline")) : Promise.resolve(makeTimetable),
  });
  schedules.configure({ a: rule("* * * * *") });
  await clock.pass(MINUTE);
  assert.deepEqual(marks.dues("a").length, 1);
  assert.equal(lines[0], "schedules do not run: croner can't be loaded: offline");
  schedules.close();
});

// ---- restarts ----

Deno.test("Schedules miss nothing when they are new", async () => {
  const node = await started(rule("0 * * * *"));
  assert.deepEqual(times(node), []);
  assert.deepEqual(times(await restarted(node, rule("0 * * * *"))), []);
});

Deno.test("Schedules submit the latest of what was missed, if it is not too old", async () => {
  const every = rule("*/10 * * * *");
  const node = await started(every);
  await node.clock.pass(10 * MINUTE);
  node.schedules.close();
  await node.clock.pass(35 * MINUTE);
  assert.deepEqual(times(await restarted(node, every)), ["12:10", "12:40"]);
});

Deno.test("Schedules pass over what was missed, if it is too old or not to be caught up", async () => {
  for (const late of [rule("0 13 * * *", { catchUpMs: 0 }), rule("0 13 * * *")]) {
    const node = await started(late);
    node.schedules.close();
    await node.clock.pass(late.catchUpMs + HOUR + 2 * SECOND);
    const next = await restarted(node, late);
    assert.deepEqual(times(next), []);
    assert.deepEqual(next.logged, ["warn a schedule was missed"]);
    // It was passed over for good.
    await restarted(next, { ...late, catchUpMs: DAY });
    assert.deepEqual(times(next), []);
    await next.clock.pass(DAY);
    assert.deepEqual(times(next), ["13:00"]);
    next.schedules.close();
  }
});

Deno.test("Schedules do not submit again after a restart what was submitted, though the job has ended", async () => {
  const hourly = rule("0 * * * *", { catchUpMs: DAY });
  const node = await started(hourly);
  await node.clock.pass(HOUR);
  node.schedules.close();
  await restarted(await restarted(node, hourly), hourly);
  assert.deepEqual(times(node), ["13:00"]);
});

// ---- the store ----

Deno.test("Schedules wait for a store that fails, and then submit what is still to be", async () => {
  const node = await started(rule("*/10 * * * *"));
  await node.clock.pass(9 * MINUTE);
  node.marks.fates.push("refused", "refused", "refused", "refused");
  await node.clock.pass(2 * MINUTE);
  assert.deepEqual(times(node), ["12:10"]);
  assert.equal(node.logged.filter((line) => line.startsWith("warn")).length, 1);
});

Deno.test("Schedules submit once what was stored without an answer", async () => {
  const node = await started(rule("*/10 * * * *"));
  await node.clock.pass(9 * MINUTE);
  node.marks.fates.push("lost");
  await node.clock.pass(12 * MINUTE);
  assert.deepEqual(times(node), ["12:10", "12:20"]);
  assert.equal(node.marks.failures, 1);
});

Deno.test("Schedules of several servers submit each due time once in all", async () => {
  const clock = new DrivenClock();
  const marks = new SharedMarks();
  const nodes = ["x", "y", "z"].map((name) => new Node(clock, marks, name));
  for (const { schedules } of nodes) schedules.configure({ a: rule("* * * * *") });
  await clock.pass(10 * MINUTE);
  nodes[0]?.schedules.close();
  await clock.pass(10 * MINUTE);
  const dues = marks.dues("a");
  assert.equal(dues.length, 20);
  assert.equal(new Set(dues).size, 20);
});

Deno.test("Schedules of servers whose clocks differ submit each due time once in all", async () => {
  const marks = new SharedMarks();
  const clocks = [0, -40, 40].map((late) =>
    new DrivenClock(Date.UTC(2026, 0, 15, 12) + late * SECOND)
  );
  const nodes = clocks.map((clock, i) => new Node(clock, marks, `${i}`));
  for (const { schedules } of nodes) schedules.configure({ a: rule("* * * * *") });
  for (let i = 0; i < 600; i++) for (const clock of clocks) await clock.pass(SECOND);
  const dues = marks.dues("a");
  assert.equal(new Set(dues).size, dues.length, "none twice");
  assert.ok(dues.length >= 10, `${dues}`);
});

// ---- the clock ----

Deno.test("Schedules go on in 5 s when the clock is set, and repeat no due time", async () => {
  const node = await started(rule("* * * * *"));
  await node.clock.pass(3 * MINUTE);
  node.clock.set(HOUR);
  await node.clock.pass(5 * SECOND);
  assert.deepEqual(times(node).slice(3), ["13:03"], "the latest of the hour, and no storm");
  await node.clock.pass(2 * MINUTE);
  node.clock.set(-HOUR);
  await node.clock.pass(MINUTE);
  assert.deepEqual(times(node).slice(4), ["13:04", "13:05", "12:06"]);
  await node.clock.pass(HOUR);
  const dues = node.marks.dues("a");
  assert.equal(new Set(dues).size, dues.length, "none twice");
  assert.equal(times(node).at(-1), "13:06");
  assert.equal(dues.length, 3 + 3 + 60 - 2);
  node.schedules.close();
});

Deno.test("Schedules repeat no due time when the clock is set back while no server runs", async () => {
  const every = rule("*/10 * * * *");
  const node = await started(every);
  await node.clock.pass(30 * MINUTE);
  node.schedules.close();
  node.clock.set(-25 * MINUTE);
  const next = await restarted(node, every);
  await node.clock.pass(40 * MINUTE);
  assert.deepEqual(times(next), ["12:10", "12:20", "12:30", "12:40"]);
});

Deno.test("Schedules skip no due time where storing fails after the clock was set back", async () => {
  const node = await started(rule("* * * * *"));
  await node.clock.pass(10 * MINUTE + 30 * SECOND);
  node.clock.set(-HOUR);
  // The first of the times that follow is refused, and its mark is read once more.
  node.marks.fates.push("refused");
  await node.clock.pass(3 * MINUTE);
  assert.deepEqual(times(node).slice(10), ["11:11", "11:12", "11:13"]);
  assert.equal(node.marks.failures, 1);
  // The same where the clock is set while it waits to try again: 11:14 fails six times, and the last wait has 10:15 in it.
  node.marks.fates.push(...Array<"refused">(6).fill("refused"));
  await node.clock.pass(47 * SECOND);
  assert.equal(node.marks.failures, 7);
  node.clock.set(-HOUR + 35 * SECOND);
  await node.clock.pass(3 * MINUTE);
  assert.deepEqual(times(node).slice(13), ["10:15", "10:16", "10:17"]);
  node.schedules.close();
});

Deno.test("Schedules outlive a clock that was years ahead", async () => {
  const node = await started(rule("0 * * * *"));
  node.clock.set(4 * 365 * DAY);
  await node.clock.pass(2 * HOUR);
  node.clock.set(-4 * 365 * DAY);
  await node.clock.pass(HOUR);
  assert.equal(node.marks.dues("a").at(-1), "2026-01-15T15:00:00.000Z");
  node.schedules.close();
});

// ---- summer time ----

function dues(cron: string, timeZone: string, from: string, to: string): string[] {
  const table = makeTimetable(cron, timeZone);
  const found: string[] = [];
  for (let due = table.next(Date.parse(from)); due !== undefined && due <= Date.parse(to);) {
    found.push(new Date(due).toISOString().slice(5, 16));
    due = table.next(due);
  }
  return found;
}

Deno.test("Schedules of one time a day are due once on days on which clocks are set", () => {
  const nightly = (from: string, to: string) => dues("30 2 * * *", "Europe/Berlin", from, to);
  // 2:30 is missing on 29 March: it is due at 3:00, right after the gap.
  assert.deepEqual(nightly("2026-03-28T12:00Z", "2026-03-30T12:00Z"), [
    "03-29T01:00",
    "03-30T00:30",
  ]);
  // 2:30 comes twice on 25 October: it is due the first time.
  assert.deepEqual(nightly("2026-10-24T12:00Z", "2026-10-26T12:00Z"), [
    "10-25T00:30",
    "10-26T01:30",
  ]);
});

Deno.test("Schedules of many times a day follow the clock where clocks are set", () => {
  const hourly = dues("30 * * * *", "Europe/Berlin", "2026-10-25T00:00Z", "2026-10-25T03:00Z");
  assert.deepEqual(hourly, ["10-25T00:30", "10-25T01:30", "10-25T02:30"]);
  const spring = dues("30 1-3 * * *", "Europe/Berlin", "2026-03-29T00:00Z", "2026-03-29T03:00Z");
  assert.deepEqual(spring, ["03-29T00:30", "03-29T01:30"]);
});

// ---- a reload ----

Deno.test("Schedules that a reload adds, changes or takes away count from then on", async () => {
  const node = await started(rule("*/10 * * * *", { catchUpMs: DAY }));
  const { clock, marks, schedules } = node;
  await clock.pass(15 * MINUTE);
  schedules.configure({ a: rule("*/10 * * * *", { body: "new" }), b: rule("0 * * * *") });
  await clock.pass(10 * MINUTE);
  assert.deepEqual(times(node), ["12:10", "12:20"]);
  assert.equal(new TextDecoder().decode(marks.jobs[1]?.body.bytes), "new");
  // 12:25: another pattern, which would have been due at 12:24.
  schedules.configure({ a: rule("*/12 * * * *", { catchUpMs: DAY }), b: rule("0 * * * *") });
  await clock.pass(10 * MINUTE);
  assert.deepEqual(times(node), ["12:10", "12:20"]);
  await clock.pass(10 * MINUTE);
  assert.deepEqual(times(node), ["12:10", "12:20", "12:36"]);
  schedules.configure({ b: rule("0 * * * *") });
  await clock.pass(30 * MINUTE);
  assert.deepEqual(times(node), ["12:10", "12:20", "12:36"]);
  assert.deepEqual(marks.dues("b"), ["2026-01-15T13:00:00.000Z"]);
  // It is back, and has missed nothing meanwhile.
  schedules.configure({ a: rule("*/12 * * * *", { catchUpMs: DAY }), b: rule("0 * * * *") });
  await clock.pass(10 * MINUTE);
  assert.deepEqual(times(node).slice(3), ["13:24"]);
  schedules.configure({});
  await clock.pass(DAY);
  assert.equal(times(node).length, 4);
  assert.equal(clock.waiting, 0);
});

// ---- any order of events ----

const EVENTS = fc.constantFrom("pass", "pass", "pass", "set", "restart", "down", "fail");

Deno.test("Schedules repeat no due time and skip none while they run, whatever else happens", async () => {
  const steps = fc.array(fc.tuple(EVENTS, fc.nat(1000)), { maxLength: 25 });
  await fc.assert(
    fc.asyncProperty(steps, async (events) => {
      const every = rule("* * * * *");
      let node = await started(every);
      const { clock, marks } = node;
      for (const [event, number] of events) {
        if (event === "pass") await clock.pass(number * SECOND);
        if (event === "set") clock.set((number - 500) * 20 * SECOND);
        if (event === "fail") marks.fates.push(number % 2 === 0 ? "refused" : "lost");
        if (event === "restart" || event === "down") node.schedules.close();
        if (event === "down") await clock.pass(number * SECOND);
        if (event === "restart" || event === "down") node = await restarted(node, every);
      }
      // What was wrong is over, but for one failure: from now on each minute is due, but for those that were submitted in a
      // wrong time.
      marks.fates.splice(1);
      await clock.pass(MINUTE);
      const before = new Set(marks.dues("a"));
      const from = clock.now();
      await clock.pass(10 * MINUTE);
      node.schedules.close();
      const all = marks.dues("a");
      assert.equal(new Set(all).size, all.length, "none twice");
      for (
        let at = Math.floor(from / MINUTE) * MINUTE + MINUTE;
        at < from + 10 * MINUTE;
        at += MINUTE
      ) {
        const due = new Date(at).toISOString();
        assert.ok(all.includes(due) || before.has(due), `${due} is missing`);
      }
    }),
    { numRuns: 30 },
  );
});

// ---- due times ----

/** Due at each multiple of a period. */
function everyMs(period: number): Timetable {
  return {
    next: (after) => Math.floor(after / period) * period + period,
    previous: (before) => Math.ceil(before / period) * period - period,
  };
}

Deno.test("afterSubmit joins spans between which nothing is due, and keeps few", () => {
  const table = everyMs(10);
  let mark: ScheduleMark = { seen: 0, spans: [], pattern: "x", id: "" };
  const submit = (due: number) => mark = afterSubmit(mark, table, due, `j-${due}`);
  for (const due of [10, 20, 30, 50, 60]) submit(due);
  assert.deepEqual(mark.spans, [[10, 30], [50, 60]]);
  submit(40);
  assert.deepEqual(mark, { seen: 40, spans: [[10, 60]], pattern: "x", id: "j-40" });
  for (let due = 100; due < 1000; due += 20) submit(due);
  assert.equal(mark.spans.length, 16);
  assert.deepEqual(mark.spans.at(-1), [980, 980]);
});

Deno.test("stepOf waits for ever when a pattern is never due again", () => {
  const never: Timetable = { next: () => undefined, previous: () => 5 };
  const mark: ScheduleMark = { seen: 7, spans: [], pattern: "x", id: "" };
  const next = nextFree(mark, never, 7);
  assert.deepEqual(stepOf(mark, never, next, 100, 1000, true), { type: "wait", until: Infinity });
});

Deno.test("faultOfCron passes no pattern that croner refuses, and none that is never due", () => {
  const field = (min: number, max: number, names: string[]) => {
    const value = fc.oneof(
      { weight: 30, arbitrary: fc.integer({ min, max }).map(String) },
      {
        weight: 1,
        arbitrary: fc.constantFrom(...names, "L", "W", "15W", "LW", "?", "", "x", "5#2", "5#L"),
      },
    );
    const item = fc.oneof(
      fc.constant("*"),
      value,
      fc.tuple(value, value).map(([from, to]) => `${from}-${to}`),
      fc.tuple(fc.constantFrom("*", `${min}-${max}`), fc.nat(25)).map(([of, by]) => `${of}/${by}`),
    );
    return fc.array(item, { minLength: 1, maxLength: 2 }).map((items) => items.join(","));
  };
  const patterns = fc.tuple(
    field(0, 60, ["0"]),
    field(0, 24, ["0"]),
    field(1, 31, ["31"]),
    field(1, 12, ["JAN", "feb"]),
    field(0, 7, ["MON", "sun", "FRI#2", "FRI#L"]),
  );
  let passed = 0;
  fc.assert(
    fc.property(patterns, (fields) => {
      const pattern = fields.join(" ");
      if (faultOfCron(pattern) !== undefined) return;
      passed++;
      assert.ok(makeTimetable(pattern, "UTC").next(0) !== undefined, pattern);
    }),
    { numRuns: 2000 },
  );
  assert.ok(passed > 100, `${passed} were right`);
});

Deno.test("croner is pinned once, and no module imports it by a name that Deno would see", () => {
  const { imports } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  assert.equal(imports.croner, CRONER);
  for (const { name } of Deno.readDirSync(path("store"))) {
    const text = Deno.readTextFileSync(path(`store/${name}`));
    assert.ok(!/(from|import\() ?"(npm:)?croner/.test(text), name);
  }
});
