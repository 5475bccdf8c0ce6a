/** Metrics of a real server, read over its control socket by Prometheus' own Python client. */

import { strict as assert } from "node:assert";
import { FAMILIES } from "../../admin/families.ts";
import type { HistoryView } from "../../admin/history.ts";
import { Client } from "../../client.ts";
import type { Status } from "../../ops/status.ts";
import { Folder } from "../rig/folder.ts";
import { hasParser, parse, seriesOf } from "../rig/metrics.ts";
import { getText } from "../rig/operator.ts";
import { serverFlags } from "../rig/permissions.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

const ignore = !hasParser();
const OPENMETRICS = "application/openmetrics-text; version=1.0.0";

/** Answers after some ms, with an error, or dies of its job for good. */
const HANDLER = `
import { RequestError } from ${JSON.stringify(import.meta.resolve("../../worker/handler.ts"))};
export default async (body) => {
  const text = new TextDecoder().decode(body);
  if (text === "wrong") throw new RequestError(422, "No");
  if (text === "die") Deno.exit(3);
  if (text.startsWith("sleep ")) await new Promise((done) => setTimeout(done, Number(text.slice(6))));
  return text;
};`;

async function scrape(socket: string, format: "openmetrics" | "text") {
  const accept = format === "openmetrics" ? OPENMETRICS : "text/plain";
  const { status, text, type } = await getText(socket, "/metrics", { accept });
  assert.equal(status, 200, text);
  assert.match(type, format === "openmetrics" ? /^application\/openmetrics-text/ : /^text\/plain/);
  return await parse(format, text);
}

async function get<T>(socket: string, path: string): Promise<T> {
  return JSON.parse((await getText(socket, path)).text);
}

Deno.test("a server's metrics are what clients have seen", { ignore }, async (test) => {
  using folder = new Folder();
  const socket = `${folder.path}/control`;
  const args = ["--workers", "2", "--max-attempts", "2", "--control", socket];
  const options = { handler: HANDLER, args, permissions: ["-A"] };
  await using server = await ServerProcess.start(options);
  await server.line("listening to operators");
  const ask = async (client: Client, body: string) => {
    try {
      await client.request(body);
      return 200;
    } catch (error) {
      return error instanceof Error && "code" in error ? error.code : undefined;
    }
  };
  const client = new Client({ endpoint: server.endpoint, timeout: 60_000 });
  try {
    for (let request = 0; request < 20; request++) await ask(client, "hello");
    for (let request = 0; request < 3; request++) await ask(client, "wrong");
    await ask(client, "sleep 200");
    assert.equal(await ask(client, "die"), 502);
  } finally {
    await client.close();
  }

  await test.step("they are read by a strict parser, and all are there", async () => {
    const families = await scrape(socket, "openmetrics");
    const found = new Set(families.map(({ name }) => name));
    for (const { name, type, help } of FAMILIES) {
      const family = type === "counter" ? name.replace(/_total$/, "") : name;
      assert(found.has(family), name);
      const read = families.find((each) => each.name === family);
      assert.deepEqual([read?.type, read?.help], [type, help]);
    }
  });

  await test.step("they count each request once", async () => {
    for (const format of ["openmetrics", "text"] as const) {
      const series = seriesOf(await scrape(socket, format));
      const value = (name: string) => series.get(name) ?? NaN;
      assert.equal(value('prefork_requests_total{service=""}'), 25);
      assert.equal(value('prefork_replies_total{service="",code="200"}'), 21);
      assert.equal(value('prefork_replies_total{service="",code="422"}'), 3);
      assert.equal(value('prefork_replies_total{service="",code="502"}'), 1);
      assert.equal(value('prefork_jobs_lost_total{service=""}'), 1);
      assert.equal(value('prefork_job_redeliveries_total{service=""}'), 1);
      assert.equal(value('prefork_job_attempts_total{service=""}'), 26);
      assert.equal(value('prefork_received_bytes_total{service=""}'), 20 * 5 + 3 * 5 + 9 + 3);
      assert(value('prefork_sent_bytes_total{service=""}') > 20 * 5 + 9 + 3 * 2);
      assert.equal(value('prefork_job_handler_seconds_count{service=""}'), 24);
      assert.equal(value('prefork_job_duration_seconds_count{service=""}'), 25);
      assert(value('prefork_job_handler_seconds_sum{service=""}') >= 0.19);
      assert(value('prefork_worker_exits_total{service="",reason="crashed"}') >= 2);
      assert(value("process_resident_memory_bytes{}") > 10 * 1024 ** 2);
      assert(value("process_cpu_seconds_total{}") > 0);
      assert(Math.abs(value("process_start_time_seconds{}") - Date.now() / 1000) < 600);
    }
  });

  await test.step("workers have memory and CPU time by their places", async () => {
    await until("both workers are there again, by their places", async () => {
      const series = seriesOf(await scrape(socket, "text"));
      return ["0", "1"].every((place) => {
        const labels = `{service="",place="${place}"}`;
        return (series.get(`prefork_worker_resident_memory_bytes${labels}`) ?? 0) > 2 ** 20 &&
          (series.get(`prefork_worker_cpu_seconds_total${labels}`) ?? 0) > 0;
      });
    });
  });

  await test.step("the history and the state have what came in the last seconds", async () => {
    await using client = new Client({ endpoint: server.endpoint, timeout: 60_000 });
    await until("a step and the rates have requests", async () => {
      await ask(client, "sleep 20");
      const { requests, p50Ms } = await get<HistoryView>(socket, "/api/history");
      const { rates, services: [service] } = await get<Status>(socket, "/api/status");
      return (requests.at(-1) ?? 0) > 0 && (p50Ms.at(-1) ?? 0) >= 15 && rates.requests > 0 &&
        (rates.p50Ms ?? 0) >= 15 && (service?.rates.requests ?? 0) > 0;
    });
  });
});

Deno.test(
  "metrics take no grants; without -A they lack what is read from /proc",
  { ignore },
  async () => {
    using folder = new Folder();
    const socket = `${folder.path}/control`;
    const args = ["--workers", "1", "--control", socket];
    // A control socket's.
    const grants = [`--allow-read=${folder.path}`, `--allow-write=${folder.path}`];
    const permissions = [...serverFlags({ args }), ...grants, `--allow-net=unix:${socket}`];
    await using server = await ServerProcess.start({ args, permissions });
    await server.line("listening to operators");
    const read = new Map((await scrape(socket, "openmetrics")).map((each) => [each.name, each]));
    assert.deepEqual(read.get("process_resident_memory_bytes")?.samples, []);
    assert.deepEqual(read.get("prefork_worker_cpu_seconds")?.samples, []);
    assert.equal(read.get("prefork_workers_limit")?.samples.length, 2);
  },
);
