/** What the control command shows: texts, figures, tables, and the picture of `top`. */

import assert from "node:assert/strict";
import { CpuShares } from "../../cli/cpu_shares.ts";
import { coloured, cutEnd, cutStart, plain, printable, widthOf } from "../../cli/paint.ts";
import { configView, logLine } from "../../cli/record_views.ts";
import { servicesView, statusView, workersView } from "../../cli/status_views.ts";
import { jobRecordView, schedulesView, storedView, storeView } from "../../cli/stored_views.ts";
import { pairs, table } from "../../cli/table.ts";
import { frame, SORTINGS, type TopState } from "../../cli/top_frame.ts";
import { showBytes, showRate, showSpan } from "../../cli/units.ts";
import { clientsView, jobsView } from "../../cli/work_views.ts";
import type { JobView } from "../../ports/inquiry.ts";
import type { StoredServiceStatus, StoreStatus } from "../../ops/stored.ts";
import { serviceStatus, status, workerStatus } from "../rig/fake_control.ts";
import { idOf, jobStatus } from "../rig/stand_in_store.ts";

const SHEET = { width: 80, paint: plain };

Deno.test("figures have their unit and few columns", () => {
  const spans: [number, string][] = [
    [0, "0ms"],
    [0.351, "0.35ms"],
    [8.24, "8.2ms"],
    [9.96, "10ms"],
    [820, "820ms"],
    [999.6, "1.0s"],
    [12_340, "12.3s"],
    [59_940, "59.9s"],
    [59_950, "1m00s"],
    [185_000, "3m05s"],
    [3_599_600, "1h00m"],
    [7_920_000, "2h12m"],
    [86_399_999, "1d00h"],
    [442_800_000, "5d03h"],
  ];
  for (const [ms, text] of spans) assert.equal(showSpan(ms), text);
  const sizes: [number, string][] = [
    [0, "0B"],
    [1023, "1023B"],
    [1229, "1.2KiB"],
    [35 * 1024 ** 2, "35MiB"],
    [1023.9 * 1024, "1.0MiB"],
    [5 * 1024 ** 5, "5120TiB"],
  ];
  for (const [size, text] of sizes) assert.equal(showBytes(size), text);
  assert.deepEqual([0, 0.42, 9.96, 14_200.4].map(showRate), ["0", "0.4", "10", "14200"]);
});

Deno.test("a text of somebody else's can't move the cursor, and is cut by the columns that it takes", () => {
  assert.equal(printable("a\x1b[2J\u202eb\nc\u2028"), "a?[2J?b?c?");
  assert.deepEqual([widthOf("abc"), widthOf("日本"), widthOf("e\u0301")], [3, 4, 1]);
  assert.equal(cutEnd("abcdef", 4), "abc…");
  assert.equal(cutStart("abcdef", 4), "…def");
  assert.equal(cutEnd("日本語", 4), "日…");
  assert.equal(cutEnd("abc", 3), "abc");
  assert.deepEqual([cutEnd("abc", 0), cutEnd("abc", 1)], ["", "…"]);
});

interface Row {
  name: string;
  size?: number;
}

Deno.test("table aligns its columns, cuts the widest, and leaves out what has the least rank", () => {
  const rows: Row[] = [{ name: "a-long-name", size: 5 }, { name: "b" }];
  const name = { title: "NAME", cell: ({ name }: Row) => name, least: 4 };
  const size = { title: "SIZE", side: "right" as const, cell: ({ size }: Row) => size };
  const show = (width: number, leaves?: number) =>
    table(rows, [name, { ...size, leaves }], { width, paint: plain });
  assert.deepEqual(show(80), ["NAME         SIZE", "a-long-name     5", "b               -"]);
  assert.deepEqual(show(12), ["NAME    SIZE", "a-lon…     5", "b          -"]);
  assert.deepEqual(show(8, 1), ["NAME", "a-long-…", "b"]);
  assert.deepEqual(show(8), ["NAME", "a-long-…", "b"], "none may leave, and still it fits");
  const none = table([{ name: "a" }], [name, { ...size, rare: true }], SHEET);
  assert.deepEqual(none, ["NAME", "a"]);
  const red = table([{ name: "b" }], [{ ...name, tone: () => "bad" }], {
    width: 80,
    paint: coloured,
  });
  assert.deepEqual(red, ["\x1b[1mNAME\x1b[0m", "\x1b[31mb\x1b[0m"]);
});

Deno.test("pairs leave out what has no value, and cut the rest to the sheet", () => {
  const rows = [["one", "1"], ["three", undefined], ["four", "a\nb".repeat(9)]] as const;
  assert.deepEqual(pairs(rows, { width: 16, paint: plain }), ["one   1", "four  a?ba?ba?b…"]);
});

/** A request that is hostile to tables. */
const JOB: JobView = {
  job: 123_456_789,
  service: "a-service-with-a-name-of-".repeat(2),
  state: "running",
  worker: 1234,
  address: "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
  identity: "\x1b[31mred".repeat(10),
  user: "somebody".repeat(8),
  ageMs: 86_400_000,
  runningMs: 999,
  attempt: 2,
  askers: 1,
  bytes: 10 ** 9,
  key: true,
  timeLeftMs: 5000,
  trace: undefined,
};

Deno.test("each view fits 80 columns and shows no control character, whatever a server says", () => {
  const long = "x\x1b[2J".repeat(40);
  const service = serviceStatus({
    name: long,
    queue: { jobs: 123_456, bytes: 10 ** 12, oldestMs: 10 ** 8 },
    running: 99_999,
    rates: { requests: 123_456, errors: 1234, p50Ms: 12_345, p99Ms: 999_999 },
  });
  const worker = workerStatus(123_456, {
    service: long,
    state: "starting",
    jobMs: 1,
    job: 10 ** 9,
    host: long,
  });
  const { address, identity, user } = JOB;
  const client = { address, identity, user, live: 12, services: [long, ""], unreadBytes: 5000 };
  const option = { name: "frontend", service: "mail", value: long, source: `file ${long}` };
  const lines = [
    ...statusView(status({ reasons: [long], services: [service], name: long }), SHEET),
    ...servicesView([service], SHEET),
    ...workersView([worker], SHEET),
    ...jobsView({ total: 9, jobs: [JOB] }, SHEET),
    ...clientsView({ total: 2, clients: [client] }, SHEET),
    ...configView({ options: [option] }, SHEET),
  ];
  for (const line of lines) {
    assert.ok(widthOf(line) <= 80, line);
    assert.doesNotMatch(line, /\p{C}/u);
  }
  assert.ok(lines.includes("1 of 9 shown: --limit shows more"));
});

Deno.test("workersView names the machine of each worker where one is another's", () => {
  const [head = "", own = "", joined = ""] = workersView(
    [workerStatus(1, {}), workerStatus(2, { host: "east" })],
    SHEET,
  );
  assert.match(head, /HOST/);
  assert.match(joined, / east /);
  assert.doesNotMatch(own, /east/);
  assert.doesNotMatch(workersView([workerStatus(1, {})], SHEET)[0] ?? "", /HOST/);
});

Deno.test("logLine is a line as the text log has it", () => {
  const line = {
    time: "2026-11-21T11:30:04.123Z",
    level: "warn",
    message: "worker exited\n",
    worker: 3,
    reason: "it is gone",
    code: undefined,
  } as const;
  const head = "2026-11-21T11:30:04.123Z warn  worker exited?";
  assert.equal(logLine(line, plain), `${head} worker=3 reason="it is gone"`);
});

Deno.test("CpuShares is the share of a core between two figures, and holds it until the next", () => {
  const shares = new CpuShares();
  const add = (uptime: number, cpuMs?: number) => {
    shares.add({ uptime, workers: [workerStatus(1, { cpuMs })] });
    return shares.shares.get(1);
  };
  assert.equal(add(1000, 500), undefined);
  assert.equal(add(3000, 1500), 0.5);
  assert.equal(add(4000, 1500), 0.5, "no new figure yet");
  assert.equal(add(5000, 1700), 0.1);
  assert.equal(add(12_000, 1700), 0, "it rests");
  assert.equal(add(13_000, 100), undefined, "another worker has its number");
  assert.equal(add(14_000), undefined);
});

const STATE: TopState = {
  status: status(),
  silenceMs: 0,
  isLost: false,
  loads: [1, 2, 3],
  p99s: [null, 4],
  cpu: new Map(),
  sorting: "time of job",
  offset: 0,
};

const draw = (own: Partial<TopState>, columns = 80, rows = 24) =>
  frame({ ...STATE, ...own }, { columns, rows, paint: plain });

/** Workers of which the last is the busiest. */
const crowd = (size: number) =>
  Array.from(
    { length: size },
    (_, index) => workerStatus(index + 1, { state: "busy", jobs: 1, job: index, jobMs: index }),
  );

Deno.test("top's picture fits every window, and cuts 1,000 workers and 100 services", () => {
  const services = Array.from({ length: 100 }, (_, n) => serviceStatus({ name: `service-${n}` }));
  const large = status({ workers: crowd(1000), services, ready: false, reasons: ["no worker"] });
  const states = [{ status: large }, {}, { status: undefined }, { isLost: true }];
  for (let columns = 40; columns <= 200; columns += 20) {
    for (let rows = 12; rows <= 60; rows += 6) {
      for (const state of states) {
        const lines = draw(state, columns, rows);
        assert.equal(lines.length, rows);
        for (const line of lines) assert.ok(widthOf(line) <= columns, `${columns}: ${line}`);
        assert.match(lines.at(-1) ?? "", /^q leaves/);
      }
      const text = draw({ status: large }, columns, rows).join("\n");
      assert.match(text, /^… 9\d\d more workers$/m, `${columns}×${rows}`);
      assert.match(text, /^WORKER /m);
    }
  }
});

Deno.test("top's picture shows the workers in the order that is asked for, and scrolls to the last", () => {
  const workers = [
    workerStatus(1, { residentBytes: 900 * 1024 ** 2 }),
    workerStatus(2, { state: "busy", jobs: 1, job: 5, jobMs: 100 }),
    workerStatus(3),
  ];
  const cpu = new Map([[3, 0.9], [1, 0.1]]);
  const order = (sorting: TopState["sorting"]) => {
    const lines = draw({ status: status({ workers }), sorting, cpu });
    const first = lines.findIndex((line) => line.startsWith("WORKER"));
    return lines.slice(first + 1, first + 4).map((line) => Number(/\d+/.exec(line)));
  };
  assert.deepEqual(SORTINGS.map(order), [[2, 1, 3], [1, 2, 3], [3, 1, 2], [1, 2, 3]]);
  const many = { status: status({ workers: crowd(100) }), sorting: "number" as const };
  assert.match(draw(many).join("\n"), /^ +1 +4001 /m);
  const end = draw({ ...many, offset: 99 }).join("\n");
  assert.match(end, /^ +100 +4100 /m);
  assert.doesNotMatch(end, /more worker/);
});

Deno.test("top's picture says what is wrong: no connection, a silent server, one that is not ready", () => {
  assert.match(draw({ isLost: true })[1] ?? "", /^the server has gone: trying again/);
  assert.match(draw({ silenceMs: 9000 })[1] ?? "", /^no news for 9.0s: the server may be stuck$/);
  const tired = status({ ready: false, reasons: ["no worker is ready"] });
  assert.match(draw({ status: tired })[1] ?? "", /^not ready: no worker is ready$/);
  assert.match(draw({ status: undefined })[0] ?? "", /^waiting for the server$/);
});

const STORED: StoredServiceStatus = {
  ...{ name: "mail", paused: false, oldestMs: 61_000, submitted: 9, retried: 1 },
  states: {
    ...{ scheduled: 2, waiting: 3, running: 1, done: 812_345, failed: 4, cancelled: 0, expired: 1 },
  },
  ended: { done: 5, failed: 4, cancelled: 0, expired: 1 },
  rates: { submitted: 12.4, ended: 9.6 },
};

const STORE: StoreStatus = {
  ...{ store: "sqlite:/var/lib/jobs.db", trouble: undefined, bytes: 1_234_567 },
  services: [STORED, { ...STORED, name: "a-service-with-a-long-name", paused: true }],
  schedules: [{
    ...{ name: "nightly", service: "mail", cron: "0 3 * * *", timeZone: "Europe/Berlin" },
    ...{ nextAt: Date.UTC(2026, 10, 22, 2), lastAt: undefined, lastId: "" },
  }],
};

Deno.test("stored jobs fit 80 columns, whatever is in them, and no body is shown unasked", () => {
  const now = Date.UTC(2026, 10, 21, 12);
  const jobs = [
    jobStatus(1, {
      ...{ service: "a-service-with-a-long-name", state: "failed", attempt: 5, code: 500 },
      message: "connect ETIMEDOUT 10.0.4.2:5432\nafter a while",
    }),
    jobStatus(2, { state: "scheduled", runAt: now + 90_000 }),
  ];
  const lines = storedView({ now, total: 7, jobs }, SHEET);
  assert.deepEqual(lines.filter((line) => line.length > 80), []);
  assert.match(lines[1] ?? "", new RegExp(`^${idOf(1)}  failed +\\S+ +5/5 +30m00s .*connect`));
  assert.match(lines[2] ?? "", /scheduled +- +0\/5 +30m00s +-$/);
  const due = storedView({ now, total: 1, jobs: jobs.slice(1) }, SHEET);
  assert.match(due[1] ?? "", /scheduled +0\/5 +30m00s +1m30s +5B$/);
  assert.match(lines[3] ?? "", new RegExp(`^2 of 7 shown: --after ${idOf(2)} shows what follows$`));
  const narrow = storedView({ now, total: 2, jobs }, { width: 46, paint: plain });
  assert.deepEqual(narrow.filter((line) => line.length > 46), []);
  assert.ok(narrow[1]?.startsWith(idOf(1)));
  const shown = jobRecordView({ ...jobs[0]!, body: [{ bytes: 4, text: "a\x1bb\nc" }] }, SHEET);
  assert.deepEqual(shown.slice(-4), ["", "body (4B):", "a?b", "c"]);
  const two = [{ bytes: 2, base64: "/wA=" }, { bytes: 9, text: "x", isCut: true }];
  assert.deepEqual(jobRecordView({ ...jobs[1]!, result: two }, SHEET).slice(-6), [
    ...["", "result 1 of 2 (2B, base64):", "/wA=", "", "result 2 of 2 (9B, cut):", "x"],
  ]);
});

Deno.test("the store is shown with its services, and red where it is in trouble", () => {
  const lines = storeView(STORE, SHEET);
  assert.deepEqual(lines.filter((line) => line.length > 80), []);
  assert.match(lines.join("\n"), /^state +takes jobs$/m);
  assert.match(lines.join("\n"), /^mail +running +2 +3 +1m01s +1 +812345 +4 /m);
  const trouble = storeView({ ...STORE, trouble: "the disk is full", services: [] }, {
    ...{ width: 80, paint: coloured },
  });
  assert.ok(trouble.join("\n").includes("\x1b[31mthe disk is full"));
  assert.equal(trouble.at(-1), "no job is stored");
  assert.deepEqual(schedulesView(STORE, SHEET).map((line) => line.length > 80), [false, false]);
});

Deno.test("status and top have a line for stored jobs where there are some", () => {
  const { schedules: _, ...stored } = STORE;
  const line = (own: Parameters<typeof status>[0]) =>
    statusView(status(own), SHEET).find((each) => each.startsWith("stored"));
  assert.equal(line({}), undefined);
  assert.match(line({ stored }) ?? "", /6 waiting, 4 scheduled, 2 running, 8 dead; 19\/s end$/);
  assert.match(line({ stored: { ...stored, trouble: "the disk is full" } }) ?? "", /the disk is f/);
});
