import { strict as assert } from "node:assert";
import { FAMILIES } from "../../admin/families.ts";
import type { Snapshot } from "../../admin/family.ts";
import { JoinedCounts } from "../../admin/joined_counts.ts";
import { formatFor, Metrics, PROM_CLIENT, type Scraped } from "../../admin/metrics.ts";
import { Places } from "../../admin/places.ts";
import { newCounters } from "../../broker/counters.ts";
import { Histogram } from "../../broker/histogram.ts";
import { Meter } from "../../broker/meter.ts";
import type { Stats } from "../../ops/stats.ts";
import type { Status } from "../../ops/status.ts";
import type { Measures, ServiceMeasures } from "../../ports/measures.ts";
import type { StoreFigures } from "../../store/messages.ts";
import { path } from "../rig/checkout.ts";
import { serviceFigures } from "../rig/stand_in_store.ts";

const RATES = { requests: 0, errors: 0, p50Ms: undefined, p99Ms: undefined };
const POOL = { starting: 1, idle: 2, busy: 3, stopping: 0, min: 2, max: 8 };

const HISTOGRAM = new Histogram();
HISTOGRAM.add(20);
const FIGURES: StoreFigures = {
  ...{ store: "sqlite:/a.db", trouble: "the disk is full", bytes: 8192 },
  services: {
    mail: serviceFigures({
      ...{ submitted: 9, retried: 2, oldestMs: 1500, paused: true, waitTime: HISTOGRAM.read() },
      states: {
        scheduled: 1,
        waiting: 2,
        running: 3,
        done: 4,
        failed: 5,
        cancelled: 6,
        expired: 7,
      },
      ended: { done: 40, failed: 50, cancelled: 60, expired: 70 },
    }),
  },
};

function serviceMeasures(name: string): ServiceMeasures {
  const meter = new Meter();
  meter.replied(200, 3);
  meter.replied(422, 1);
  meter.bytesIn = 10;
  meter.assigned({ arrivedAt: 1000, sentAt: 0 });
  meter.assigned({ arrivedAt: 1000, sentAt: 1001 });
  meter.answered({ arrivedAt: 1000, sentAt: 1001 }, 30, 1003);
  const counters = { ...newCounters(), requests: 5, refused: 1 };
  const state = { queued: 7, queuedBytes: 70, oldestMs: 2500, running: 4, workers: 5 };
  return { name, counters, ...state, ...meter.read() };
}

/** A server of services that have no sockets and no processes. */
function server(...names: string[]): Scraped {
  const measures: Measures = {
    services: names.map(serviceMeasures),
    unaddressed: 2,
    lag: new Meter().read().total,
  };
  const counts = { ...newCounters(), spawned: 6, exited: { crashed: 2 } };
  const service = {
    ...{ generation: 2, workers: { ...POOL, dequeue: 0, foreign: 0 }, processes: [], running: 4 },
    ...{ queue: { jobs: 7, bytes: 70 }, serviceTime: 1, counters: counts },
  };
  const sockets = {
    ...{ malformed: 1, undelivered: 2, intruders: 3, denied: 4, takeovers: 0, squatters: 0 },
    ...{ invalidReplies: 5, lostJobs: 0, events: 0, eventsDropped: 0 },
  };
  const named = names[0] === "" ? {} : Object.fromEntries(names.map((name) => [name, service]));
  const stats: Stats = {
    ...service,
    ...{ uptime: 1, clients: 9, connections: undefined, services: named },
    counters: { ...counts, ...sockets },
  };
  return {
    measures: () => Promise.resolve(measures),
    status: () => Promise.resolve(statusOf(names)),
    stats: () => stats,
    storeFigures: () => Promise.resolve(FIGURES),
    build: { version: "1.2.3", deno: "2", v8: '1"5\\', libzmq: "4.3.5" },
  };
}

function statusOf(names: string[]): Status {
  return {
    ...{ name: "s", version: "1.2.3", pid: 1, startedAt: 1_500_000, uptime: 5, phase: "serving" },
    ...{ ready: true, reasons: [], logLevel: "info", rates: RATES, clients: 9, generation: 2 },
    ...{ connections: undefined },
    endpoints: {
      frontend: [],
      mdp: [],
      events: [],
      backend: "",
      control: undefined,
      http: undefined,
    },
    services: names.map((name) => ({
      ...{ name, paused: false, generation: 2, reloading: false, handler: "echo", workers: POOL },
      ...{ queue: { jobs: 0, bytes: 0, oldestMs: undefined }, running: 0, requests: 0, replies: 0 },
      ...{ errors: 0, rates: RATES, frontend: [] },
    })),
    workers: names.flatMap((service, index) =>
      [10, 20].map((number) => ({
        ...{
          worker: number + index,
          pid: 1,
          service,
          state: "idle" as const,
          jobs: 0,
          answered: 0,
        },
        ...{ ageMs: 1, residentBytes: 1024, cpuMs: 1500, job: undefined, jobMs: undefined },
        ...{ generation: 1, restarts: 0 },
        ...number === 20 ? { host: "east" } : {},
      }))
    ),
  };
}

/** What has become of a pool on another machine and of its two workers. */
function hearOfPool({ listeners }: JoinedCounts): void {
  const [east, one] = [{ host: "east", address: "a" }, { pid: 1, host: "east", service: "resize" }];
  listeners.poolJoined?.({ ...east, version: "1", services: "resize" });
  for (const worker of [1, 2]) listeners.workerSpawned?.({ ...one, worker, purpose: "serve" });
  const end = { ...one, code: 0, signal: null };
  listeners.workerExited?.({ ...end, worker: 1, reason: "recycled", expected: true });
  listeners.poolLeft?.({ ...east, workers: 1, reason: "its connection is gone", lost: true });
  listeners.workerExited?.({ ...end, worker: 2, code: -1, reason: "lost", expected: false });
  listeners.poolLeft?.({ ...east, workers: 0, reason: "it has left", lost: false });
  listeners.workerSpawned?.({ worker: 3, pid: 4, purpose: "serve" });
}

async function written(format: "text" | "openmetrics", ...names: string[]): Promise<string[]> {
  const metrics = new Metrics(server(...names));
  hearOfPool(metrics.joined);
  try {
    return (await metrics.write(format)).text.split("\n");
  } finally {
    metrics.close();
  }
}

Deno.test("FAMILIES have names by Prometheus' rules, each once", () => {
  const names = FAMILIES.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  for (const { name, type, help, labels } of FAMILIES) {
    assert.match(name, /^(prefork|process)(_[a-z]+)+$/);
    assert.equal(name.endsWith("_total"), type === "counter", name);
    assert.match(help, /^[A-Z].*[.\d]$/, name);
    if (type === "histogram") assert(name.endsWith("_seconds"), name);
    for (const label of labels) assert(!/client|identity|user|job|key|message|pid/.test(label));
  }
});

Deno.test("FAMILIES give values with the labels that they name", async () => {
  const source = server("", "resize");
  const joined = new JoinedCounts();
  hearOfPool(joined);
  const snapshot: Snapshot = {
    ...{ measures: await source.measures(), status: await source.status(), stats: source.stats() },
    ...{ mainLag: new Meter().read().total, reloads: [], build: source.build, store: FIGURES },
    joined,
    placeOf: ({ worker }) => worker,
    process: { cpuMs: 1, residentBytes: 1, openFiles: 1, fileLimit: 1 },
  };
  for (const { name, labels, read } of FAMILIES) {
    const samples = read(snapshot);
    assert(samples.length > 0 || name === "prefork_connections", name);
    for (const sample of samples) assert.deepEqual(Object.keys(sample.labels), labels, name);
    const series = samples.map((sample) => JSON.stringify(sample.labels));
    assert.equal(new Set(series).size, series.length, name);
  }
});

Deno.test("Metrics writes Prometheus' text, with times in seconds and cumulated buckets", async () => {
  const lines = await written("text", "resize");
  for (
    const line of [
      "# TYPE prefork_requests_total counter",
      'prefork_requests_total{service="resize"} 5',
      'prefork_replies_total{service="resize",code="200"} 3',
      'prefork_replies_total{service="resize",code="422"} 1',
      'prefork_queue_oldest_seconds{service="resize"} 2.5',
      'prefork_job_attempts_total{service="resize"} 2',
      'prefork_job_redeliveries_total{service="resize"} 1',
      "# TYPE prefork_job_handler_seconds histogram",
      'prefork_job_handler_seconds_bucket{service="resize",le="0.000016"} 0',
      'prefork_job_handler_seconds_bucket{service="resize",le="0.000032"} 1',
      'prefork_job_handler_seconds_bucket{service="resize",le="67.108864"} 1',
      'prefork_job_handler_seconds_bucket{service="resize",le="+Inf"} 1',
      'prefork_job_handler_seconds_sum{service="resize"} 0.00003',
      'prefork_job_handler_seconds_count{service="resize"} 1',
      'prefork_workers{service="resize",state="busy"} 3',
      'prefork_workers_limit{service="resize",bound="max"} 8',
      'prefork_joined_workers{service="resize",host="east"} 1',
      'prefork_joined_worker_starts_total{service="resize",host="east"} 2',
      'prefork_joined_worker_exits_total{service="resize",host="east",reason="recycled"} 1',
      'prefork_joined_worker_exits_total{service="resize",host="east",reason="lost"} 1',
      'prefork_pools_joined_total{host="east"} 1',
      'prefork_pools_lost_total{host="east"} 1',
      'prefork_worker_exits_total{service="resize",reason="crashed"} 2',
      'prefork_worker_exits_total{service="resize",reason="rogue"} 0',
      'prefork_worker_cpu_seconds_total{service="resize",place="1"} 1.5',
      'prefork_messages_dropped_total{reason="intruder"} 3',
      'prefork_build_info{version="1.2.3",deno="2",v8="1\\"5\\\\",libzmq="4.3.5"} 1',
      'prefork_worker_restarts_total{service="resize",reason="crashed"} 2',
      'prefork_stored_jobs{service="mail",state="scheduled"} 1',
      'prefork_stored_jobs{service="mail",state="failed"} 5',
      'prefork_stored_submitted_total{service="mail"} 9',
      'prefork_stored_ended_total{service="mail",outcome="failed"} 50',
      'prefork_stored_retried_total{service="mail"} 2',
      'prefork_stored_oldest_seconds{service="mail"} 1.5',
      'prefork_stored_paused{service="mail"} 1',
      'prefork_stored_start_delay_seconds_bucket{service="mail",le="0.000032"} 1',
      'prefork_stored_start_delay_seconds_sum{service="mail"} 0.00002',
      'prefork_stored_duration_seconds_count{service="mail"} 0',
      "prefork_store_up 0",
      "prefork_store_bytes 8192",
      "prefork_requests_unaddressed_total 2",
      "process_start_time_seconds 1500",
    ]
  ) assert(lines.includes(line), line);
  assert(!lines.some((line) => line.startsWith("prefork_connections ")));
  assert(
    !lines.some((line) => /^prefork_worker_restarts_total.*(recycled|asked|stopped)/.test(line)),
  );
});

Deno.test("Metrics writes OpenMetrics, where a counter's family has no ending", async () => {
  const lines = await written("openmetrics", "");
  assert.deepEqual(lines.slice(-2), ["# EOF", ""]);
  assert(lines.includes("# TYPE prefork_requests counter"));
  assert(lines.includes('prefork_requests_total{service=""} 5'));
  assert(lines.includes('prefork_worker_starts_total{service=""} 6'));
  assert(lines.includes('prefork_job_queue_seconds_count{service=""} 1'));
});

Deno.test("formatFor takes OpenMetrics where it is asked for, and text otherwise", () => {
  const prometheus =
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5";
  assert.deepEqual(["", "*/*", "text/html"].map(formatFor), ["text", "text", "text"]);
  assert.equal(formatFor(prometheus), "openmetrics");
});

Deno.test("Metrics counts reloads by service and result", async () => {
  const metrics = new Metrics(server("a", "b"));
  metrics.reloaded("a", "ok");
  metrics.reloaded("a", "ok");
  metrics.reloaded("b", "failed");
  const { text } = await metrics.write("text");
  metrics.close();
  const lines = text.split("\n").filter((line) => line.startsWith("prefork_reloads_total{"));
  assert.deepEqual(lines, [
    'prefork_reloads_total{service="a",result="ok"} 2',
    'prefork_reloads_total{service="a",result="failed"} 0',
    'prefork_reloads_total{service="b",result="ok"} 0',
    'prefork_reloads_total{service="b",result="failed"} 1',
  ]);
});

Deno.test("Places gives the lowest free place, and keeps each worker in its own", () => {
  const places = new Places();
  const worker = (number: number, service = "a") => ({ worker: number, service });
  places.update([worker(1), worker(2), worker(3), worker(4, "b")]);
  assert.deepEqual([1, 2, 3].map((number) => places.of(worker(number))), [0, 1, 2]);
  assert.equal(places.of(worker(4, "b")), 0);
  places.update([worker(1), worker(3), worker(5)]);
  assert.deepEqual([1, 3, 5].map((number) => places.of(worker(number))), [0, 2, 1]);
  places.update([worker(6), worker(7)]);
  assert.deepEqual([6, 7].map((number) => places.of(worker(number))), [0, 1]);
  assert.equal(places.of(worker(1)), -1);
});

Deno.test("PROM_CLIENT is what deno.json pins, and is in no import that is read at the start", () => {
  const { imports } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  assert.equal(imports["prom-client"], PROM_CLIENT);
  for (const { name } of Deno.readDirSync(path("admin"))) {
    const text = Deno.readTextFileSync(path(`admin/${name}`));
    assert(!/(from|import\() ?"(npm:)?prom-client/.test(text), name);
  }
});

Deno.test("Metrics has nothing of a store where nothing was ever stored", async () => {
  const metrics = new Metrics({ ...server(""), storeFigures: () => Promise.resolve(undefined) });
  const { text } = await metrics.write("text");
  metrics.close();
  assert.deepEqual(text.match(/^prefork_store.*$/gm), null);
});
