/** docs/ctl.md shows what `ctl` prints, and names each of its commands. */

import assert from "node:assert/strict";
import { ctl } from "../../cli/ctl.ts";
import { COMMANDS } from "../../cli/ctl_commands.ts";
import { path } from "../rig/checkout.ts";
import { FakeControl, serviceStatus, status, workerStatus } from "../rig/fake_control.ts";
import { jobStatus } from "../rig/stand_in_store.ts";
import { text } from "../rig/text.ts";

const PAGE = Deno.readTextFileSync(path("docs/ctl.md"));

const MAIL = serviceStatus({
  name: "mail",
  workers: { starting: 0, idle: 0, busy: 2, stopping: 0, min: 1, max: 2 },
  queue: { jobs: 1, bytes: 2048, oldestMs: 950 },
  running: 2,
  rates: { requests: 3.2, errors: 0.1, p50Ms: 310, p99Ms: 1250 },
});

const STATUS = status({
  services: [serviceStatus(), MAIL],
  workers: [
    workerStatus(1, { state: "busy", jobs: 1, answered: 812_345, job: 816_004, jobMs: 2 }),
    workerStatus(2, { answered: 811_920 }),
    workerStatus(3, { answered: 812_101 }),
    workerStatus(4, { service: "mail", state: "busy", jobs: 1, job: 815_990, jobMs: 1240 }),
    workerStatus(5, { service: "mail", state: "busy", jobs: 1, job: 815_997, jobMs: 610 }),
  ],
});

const NOW = Date.UTC(2026, 10, 21, 14, 42);
const time = "2026-11-21T14:42:01.311Z";

/** What the server of the page answers. */
const ANSWERS: Readonly<Record<string, unknown>> = {
  "/api/status": STATUS,
  "/api/services": { services: STATUS.services },
  "/api/workers": { workers: STATUS.workers },
  "/api/jobs": {
    total: 2,
    jobs: [
      job({ job: 815_990, state: "running", worker: 4, ageMs: 1252, runningMs: 1240 }),
      job({ job: 816_001, state: "waiting", ageMs: 950 }),
    ],
  },
  "/api/clients": {
    total: 1,
    clients: [{
      ...{ address: "10.0.0.7", identity: "shop-1", user: "", live: 3 },
      ...{ services: ["mail"], unreadBytes: 0 },
    }],
  },
  "/api/config": {
    options: [
      { name: "frontend", value: "tcp://127.0.0.1:6660", source: "default" },
      { name: "maxWorkers", value: "8", source: "file prefork.conf:3" },
      { name: "maxWorkers", service: "mail", value: "2", source: "file prefork.conf:9" },
    ],
  },
  "/api/stats": {
    ...{ uptime: STATUS.uptime, clients: 12, connections: 14, generation: 1, running: 3 },
    workers: { starting: 0, idle: 2, busy: 3, stopping: 0, dequeue: 0, min: 2, max: 10 },
    queue: { jobs: 1, bytes: 2048 },
    serviceTime: 0.8,
    counters: { requests: 816_004, answered: 815_998, failed: 3, exited: { memory: 1 } },
    services: {},
  },
  "/api/log": {
    lines: [
      { time, level: "info", message: "worker ready", worker: 5, pid: 4005, service: "mail" },
      { time, level: "warn", message: "worker exited", worker: 3, reason: "memory" },
    ],
  },
  "/api/stored": {
    now: NOW,
    total: 3,
    jobs: [
      jobStatus(0x1f04, {
        ...{ service: "mail", state: "failed", attempt: 5, code: 500, createdAt: NOW - 5_400_000 },
        message: "connect ETIMEDOUT",
      }),
      jobStatus(0x1f3a, {
        ...{ service: "mail", state: "scheduled", attempt: 1, createdAt: NOW - 62_000 },
        ...{ runAt: NOW + 3_100, code: 500, message: "connect ETIMEDOUT" },
      }),
    ],
  },
  "/api/stored/job": {
    ...jobStatus(0x1f04, {
      ...{ service: "mail", user: "shop", key: "order-7", state: "failed", attempt: 5, bytes: 31 },
      ...{ createdAt: NOW - 5_400_000, runAt: NOW - 60_000, startedAt: NOW - 60_000 },
      ...{ endedAt: NOW - 59_000, code: 500, message: "connect ETIMEDOUT" },
    }),
    body: [{ bytes: 31, text: '{"to":"ann@example.org","n":7}\n' }],
  },
  "/api/store": {
    ...{ store: "sqlite:/home/me/.local/state/prefork/tcp-127.0.0.1-6660.db", bytes: 4_300_000 },
    services: [{
      ...{ name: "mail", paused: false, oldestMs: 61_000, submitted: 9120, retried: 41 },
      states: {
        ...{ scheduled: 3, waiting: 12, running: 2, done: 8_103, failed: 4, cancelled: 1 },
        expired: 0,
      },
      ended: { done: 8_103, failed: 4, cancelled: 1, expired: 0 },
      rates: { submitted: 12.4, ended: 9.6 },
    }],
    schedules: [{
      ...{ name: "nightly", service: "mail", cron: "0 3 * * *", timeZone: "Europe/Berlin" },
      ...{ nextAt: Date.UTC(2026, 10, 22, 2), lastAt: Date.UTC(2026, 10, 21, 2), lastId: "" },
    }],
  },
  ...Object.fromEntries(
    ["stored/retry", "stored/delete", "stored/pause", "stored/resume", "store/backup"]
      .map((name) => [`/api/${name}`, { ok: true }]),
  ),
  "/api/stored/retry-dead": { ok: true, count: 4 },
  "/api/stored/cancel": { ok: true, state: "cancelled" },
  "/api/reload": { ok: true, generation: 2 },
  "/api/resize": { ok: true, services: [{ name: "mail", min: 2, max: 4 }] },
  ...Object.fromEntries(
    ["worker/stop", "worker/kill", "job/cancel", "pause", "resume", "drain", "reopen-log"]
      .map((name) => [`/api/${name}`, { ok: true }]),
  ),
  "/api/log-level": { ok: true, level: "debug" },
};

function job(own: object) {
  return {
    ...{ service: "mail", worker: undefined, address: "10.0.0.7", identity: "shop-1", user: "" },
    ...{ runningMs: undefined, attempt: 1, bytes: 2048, key: false, askers: 1 },
    ...own,
  };
}

/** What `ctl` prints. */
async function printed(args: readonly string[], server: FakeControl): Promise<string> {
  const { stdout } = Deno;
  const { writeSync, isTerminal } = stdout;
  let said = "";
  stdout.writeSync = (piece) => (said += text(piece), piece.length);
  stdout.isTerminal = () => false;
  try {
    assert.equal(await ctl([...args, "--socket", server.path]), 0, said);
  } finally {
    Object.assign(stdout, { writeSync, isTerminal });
  }
  return said;
}

Deno.test("docs/ctl.md has an example of each command, with what it prints", async () => {
  await using server = new FakeControl();
  for (const [route, answer] of Object.entries(ANSWERS)) server.answers.set(route, answer);
  const examples = [...PAGE.matchAll(/^\$ deno task ctl (.+)\n((?:(?!\$ |```).*\n)*)/gm)];
  const fresh = [];
  for (const [, line = "", shown] of examples) {
    fresh.push([line, shown, await printed(line.split(" "), server)]);
  }
  if (Deno.args.includes("--write")) return rewrite(fresh);
  for (const [line, shown, really] of fresh) assert.equal(shown, really, line);
  // These need a terminal, or a store.
  const named = COMMANDS.map(({ name }) => name)
    .filter((name) => name !== "top" && name !== "store restore");
  const lines = fresh.map(([line]) => line ?? "");
  assert.deepEqual(named.filter((name) => !lines.some((line) => line.startsWith(name))), []);
  for (const { name } of COMMANDS) assert.ok(PAGE.includes(name), name);
});

/** With `-- --write` the examples are written anew. */
function rewrite(examples: (string | undefined)[][]): void {
  const page = examples.reduce(
    (all, [line, shown, really]) =>
      all.replace(`$ deno task ctl ${line}\n${shown}`, () => `$ deno task ctl ${line}\n${really}`),
    PAGE,
  );
  Deno.writeTextFileSync(path("docs/ctl.md"), page);
}
