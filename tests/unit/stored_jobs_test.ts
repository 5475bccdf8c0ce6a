/** Stored jobs as operators see them: the server's methods, the paths of the control API, and who may what. */

import { strict as assert } from "node:assert";
import { isCommand } from "../../admin/commands.ts";
import { viewFrames } from "../../admin/frame_views.ts";
import { type Caller, SOCKET_CALLER } from "../../admin/http_access.ts";
import type { HttpAnswer } from "../../admin/http_message.ts";
import type { Operated } from "../../admin/operated.ts";
import { Refusal } from "../../admin/answers.ts";
import { Routes } from "../../admin/routes.ts";
import { addStoredReadings, STORED_COMMANDS } from "../../admin/stored.ts";
import { NO_STORE } from "../../ops/store_link.ts";
import { StoreGauge } from "../../ops/store_gauge.ts";
import { StoredDesk } from "../../ops/stored_desk.ts";
import { idOf, jobStatus, StandInStore } from "../rig/stand_in_store.ts";
import { bytes } from "../rig/text.ts";

const WITH_TOKEN: Caller = { origin: "http 127.0.0.1", may: "all" };
const WITHOUT: Caller = { origin: "http 127.0.0.1", may: "figures" };

const LIMITS = { maxMessageSize: 1000, maxFrames: 3 };

/** A store with a job of each kind, and what operators reach it by. */
function setUp(
  store = new StandInStore([
    jobStatus(1, { service: "mail", user: "ann", state: "failed", code: 500, message: "secret" }),
    jobStatus(2, { service: "mail", state: "waiting" }),
    jobStatus(3, { service: "", state: "done" }),
    jobStatus(4, { service: "gone", state: "failed" }),
  ]),
) {
  let now = 0;
  const gauge = new StoreGauge(store, () => now);
  const stored = new StoredDesk(store, gauge, () => LIMITS);
  const lines: Record<string, unknown>[] = [];
  const log = { info: (message: string, fields: object) => lines.push({ message, ...fields }) };
  // What the paths of stored jobs use of a server.
  const status = async () => ({ ready: true, reasons: [], stored: await gauge.glance() });
  const server = { stored, log, status, serviceNames: ["mail"] } as unknown as Operated;
  const routes = new Routes(server, ({ may }) => {
    if (may !== "all") throw new Refusal(401, "This takes the token");
  });
  addStoredReadings(routes, server);
  const ask = async (caller: Caller, target: string, body?: object) => {
    const url = new URL(target, "http://server");
    const { status, body: said }: HttpAnswer = await routes.answer({
      method: body === undefined ? "GET" : "POST",
      path: url.pathname,
      query: url.searchParams,
      headers: new Map(),
      body: body === undefined ? "" : JSON.stringify(body),
    }, () => caller);
    const text = String(said);
    return { status, text, json: text.startsWith("{") ? JSON.parse(text) : undefined };
  };
  return { store, gauge, stored, lines, ask, pass: (ms: number) => now += ms };
}

Deno.test("StoredDesk lists, looks, retries, cancels and deletes", async () => {
  const { store, stored } = setUp();
  const { total, jobs } = await stored.list({ state: "failed", limit: 1 });
  assert.deepEqual([total, jobs.map(({ id }) => id)], [2, [idOf(1)]]);
  const next = await stored.list({ state: "failed", after: idOf(1) });
  assert.deepEqual(next.jobs.map(({ id }) => id), [idOf(4)]);
  assert.equal((await stored.look(idOf(1))).body, undefined);
  const { body } = await stored.look(idOf(1), { body: true });
  assert.equal(body?.length, 1);
  assert.equal(await stored.retryDead("gone"), 1);
  await stored.retry(idOf(1));
  assert.equal((await stored.cancel(idOf(2))).state, "cancelled");
  await stored.delete(idOf(3));
  assert.deepEqual(store.jobs.map(({ state }) => state), ["waiting", "cancelled", "waiting"]);
  await stored.pause("mail");
  assert.equal((await stored.status()).services.find(({ name }) => name === "mail")?.paused, true);
});

Deno.test("StoredDesk gives errors the code of what is wrong", async () => {
  const { stored } = setUp();
  const cases: [code: number, asked: Promise<unknown>][] = [
    [404, stored.look(idOf(9))],
    [409, stored.retry(idOf(2))],
    [409, stored.delete(idOf(2))],
    [400, stored.look("j-1; DROP TABLE job")],
    [400, stored.list({ after: "x" })],
    [400, stored.list({ limit: 1001 })],
    [400, stored.list({ limit: -1 })],
    [409, stored.backup("/taken")],
  ];
  for (const [code, asked] of cases) await assert.rejects(asked, { code });
});

Deno.test("who only looks opens no store", async () => {
  const store = new StandInStore();
  store.isUsed = false;
  const { stored, gauge } = setUp(store);
  assert.deepEqual(await stored.list(), { total: 0, jobs: [] });
  await assert.rejects(stored.look(idOf(1)), { code: 404 });
  assert.equal(await stored.retryDead(), 0);
  await stored.resume("mail");
  await assert.rejects(stored.backup("/a.db"), { code: 409 });
  assert.equal((await stored.status()).services.length, 0);
  assert.equal(await gauge.glance(), undefined);
  assert.equal(await gauge.figures(), undefined);
  assert.deepEqual(store.asked, []);
  // A pause is kept over restarts, so there must be something that keeps it.
  await stored.pause("mail");
  assert.deepEqual(store.asked, ["pause"]);
});

Deno.test("StoredDesk submits as a client does, and is refused as one is", async () => {
  const { store, stored } = setUp(new StandInStore());
  store.isUsed = false;
  await assert.rejects(stored.job(idOf(9)).status(), { name: "ReplyError", code: 404 });
  assert.deepEqual(store.asked, [], "to ask makes no store");
  store.isUsed = true;
  const { id, isNew } = await stored.submit(["a", bytes("bc")], {
    ...{ service: "mail", user: "ann", key: "k", priority: 9 },
  });
  assert.equal(isNew, true);
  const [job] = store.jobs;
  assert.deepEqual([job?.id, job?.service, job?.user, job?.key, job?.priority, job?.bytes], [
    ...[id, "mail", "ann", "k", 9, 3],
  ]);
  assert.equal((await stored.job(id).status()).state, "waiting");
  await assert.rejects(stored.job(id).result({ wait: 0 }), { name: "NotEndedError" });
  assert.equal((await stored.job(id).cancel()).state, "cancelled");
  await assert.rejects(stored.job(id).cancel(), { name: "ReplyError", code: 409 });
  const refusals: [options: object, body: string | string[], error: object][] = [
    [{ priority: 10 }, "x", { name: "RangeError", message: /^Cannot submit a job: "priority"/ }],
    [{ colour: 1 }, "x", { name: "TypeError", message: /Unknown option "colour"/ }],
    [{ trace: "x" }, "x", { name: "RangeError", message: /"trace" must be a traceparent/ }],
    [{}, "x".repeat(1001), { name: "ReplyError", code: 413 }],
    [{}, ["1", "2", "3", "4"], { name: "ReplyError", code: 413 }],
    [{ user: 7 }, "x", { name: "TypeError", message: /"user" must be a string/ }],
  ];
  for (const [options, body, error] of refusals) {
    await assert.rejects(stored.submit(body, options), error);
  }
  assert.equal(store.jobs.length, 1);
});

Deno.test("StoredDesk waits for the store no longer than it is told to", async () => {
  const { store, stored } = setUp(new StandInStore());
  store.submit = () => new Promise(() => {});
  await assert.rejects(stored.submit("x", { timeout: 20 }), { name: "AbandonedError" });
  const signal = AbortSignal.timeout(20);
  await assert.rejects(stored.submit("x", { signal }), { name: "TimeoutError" });
  await assert.rejects(stored.submit("x", { signal: AbortSignal.abort(new Error("no")) }), /no/);
});

Deno.test("a server without a store refuses with 503", async () => {
  const stored = new StoredDesk(NO_STORE, new StoreGauge(NO_STORE), () => LIMITS);
  const { store, trouble } = await stored.status();
  assert.deepEqual([store, trouble], ["off", "this server has no store"]);
  await assert.rejects(stored.pause(), { code: 503 });
});

Deno.test("StoreGauge asks once a second, whoever looks, and counts rates", async () => {
  const { store, gauge, pass } = setUp();
  await Promise.all([gauge.status(), gauge.glance(), gauge.figures()]);
  assert.deepEqual(store.asked, ["figures"]);
  store.submitted = 500;
  assert.equal((await gauge.status()).services[0]?.rates.submitted, 0);
  pass(1000);
  assert.equal((await gauge.status()).services[0]?.rates.submitted, 500);
  assert.equal(store.asked.length, 2);
});

Deno.test("StoreGauge does not wait for a store that hangs, and says so after a while", async () => {
  const { store, gauge, pass } = setUp();
  const before = await gauge.status();
  const { promise, resolve } = Promise.withResolvers<void>();
  store.answering = promise;
  pass(1000);
  const during = await gauge.status();
  assert.deepEqual([during.services, during.trouble], [before.services, undefined]);
  pass(11_000);
  const late = await gauge.status();
  assert.equal(late.trouble, "the store has not answered for 11 s");
  assert.equal((await gauge.figures())?.trouble, late.trouble);
  assert.equal(store.asked.length, 2);
  resolve();
  await promise;
  assert.equal((await gauge.status()).trouble, undefined);
});

Deno.test("StoreGauge reports what a store says is wrong, and what it was refused with", async () => {
  const { store, gauge, pass } = setUp();
  store.trouble = "the disk is full";
  assert.equal((await gauge.status()).trouble, "the disk is full");
  store.operate = () => Promise.reject(new Error("Lost the store"));
  pass(1000);
  assert.equal((await gauge.status()).trouble, "Lost the store");
});

Deno.test("StoreGauge reports a store that can't be opened", async () => {
  const { store, gauge } = setUp();
  store.operate = () => Promise.reject(new Error("the file is damaged"));
  const { trouble, services } = await gauge.status();
  assert.deepEqual([trouble, services], ["the file is damaged", []]);
  assert.equal((await gauge.figures())?.trouble, "the file is damaged");
});

Deno.test("without the token there are states and figures, and no ids, users, messages or bodies", async () => {
  const { store, ask } = setUp();
  store.schedules = {
    nightly: {
      ...{ service: "mail", cron: "0 3 * * *", timeZone: "", nextAt: 5, lastAt: 1 },
      lastId: idOf(7),
    },
  };
  const { status, json } = await ask(WITHOUT, "/api/store");
  assert.equal(status, 200);
  assert.equal(
    json.services.find((each: { name: string }) => each.name === "mail").states.failed,
    1,
  );
  assert.ok(!/j-0|ann|secret/.test(JSON.stringify(json)), JSON.stringify(json));
  assert.equal(json.schedules[0].name, "nightly");
  assert.equal((await ask(WITH_TOKEN, "/api/store")).json.schedules[0].lastId, idOf(7));
  for (const path of ["/api/stored", `/api/stored/job?id=${idOf(1)}`]) {
    assert.equal((await ask(WITHOUT, path)).status, 401, path);
  }
  for (const path of Object.keys(STORED_COMMANDS)) {
    assert.ok(isCommand(path));
    assert.equal((await ask(WITHOUT, path, {})).status, 401, path);
  }
  assert.deepEqual(store.asked.filter((type) => type !== "figures"), []);
});

Deno.test("with the token jobs are listed and shown, a body when it is asked for", async () => {
  const { ask } = setUp();
  const list = await ask(WITH_TOKEN, "/api/stored?state=failed&service=mail");
  assert.deepEqual([list.status, list.json.total, list.json.jobs[0].user], [200, 1, "ann"]);
  const plain = await ask(WITH_TOKEN, `/api/stored/job?id=${idOf(1)}`);
  assert.deepEqual([plain.json.message, "body" in plain.json], ["secret", false]);
  const whole = await ask(WITH_TOKEN, `/api/stored/job?id=${idOf(1)}&body=1`);
  assert.deepEqual(whole.json.body, [{ bytes: 7, text: "hello\u00ff" }]);
  const wrong: [status: number, path: string][] = [
    [400, "/api/stored?state=dead"],
    [400, "/api/stored?limit=5000"],
    [400, "/api/stored?after=x"],
    [400, "/api/stored/job"],
    [400, "/api/stored/job?id=7"],
    [404, `/api/stored/job?id=${idOf(9)}`],
  ];
  for (const [status, path] of wrong) {
    const answer = await ask(WITH_TOKEN, path);
    assert.equal(answer.status, status, path);
    assert.equal(typeof answer.json.error, "string");
  }
});

Deno.test("each change is made, logged with who has asked for it, and refused by its code", async () => {
  const { ask, lines, store } = setUp();
  const cases: [path: string, body: object, status: number, answer: object][] = [
    ["/api/stored/retry", { job: idOf(1) }, 200, { ok: true }],
    ["/api/stored/retry", { job: idOf(1) }, 409, { error: `The job ${idOf(1)} is waiting` }],
    ["/api/stored/retry-dead", { service: "gone" }, 200, { ok: true, count: 1 }],
    ["/api/stored/cancel", { job: idOf(2) }, 200, { ok: true, state: "cancelled" }],
    ["/api/stored/delete", { job: idOf(3) }, 200, { ok: true }],
    ["/api/stored/delete", { job: idOf(3) }, 404, { error: `There is no job ${idOf(3)}` }],
    ["/api/stored/pause", {}, 200, { ok: true }],
    ["/api/stored/resume", { service: "" }, 200, { ok: true }],
    ["/api/stored/retry", { job: 7 }, 400, { error: '"job" must be the id of a stored job' }],
    ["/api/stored/pause", { job: "x" }, 400, {
      error: 'Unknown field "job": it takes "service"',
    }],
  ];
  for (const [path, body, status, json] of cases) {
    const answer = await ask(WITH_TOKEN, path, body);
    assert.deepEqual([answer.status, answer.json], [status, json], path);
  }
  assert.deepEqual(lines[0], {
    ...{ message: "an operator asks", command: "stored retry", service: undefined },
    ...{ job: idOf(1), origin: "http 127.0.0.1" },
  });
  assert.deepEqual([lines[2]?.command, lines[2]?.service], ["stored retry-dead", "gone"]);
  assert.deepEqual(store.jobs.map(({ state }) => state), ["waiting", "cancelled", "waiting"]);
});

Deno.test("readyz has a remark about a store in trouble, and says ready all the same", async () => {
  const { ask, store, pass } = setUp();
  assert.equal((await ask(WITHOUT, "/readyz")).text, "ready\n");
  store.trouble = "the disk is full";
  pass(1000);
  const { status, text } = await ask(WITHOUT, "/readyz");
  assert.deepEqual([status, text], [200, "ready\nthe store takes no jobs: the disk is full\n"]);
  const probe = await ask({ origin: "http 10.0.0.1", may: "probe" }, "/readyz");
  assert.equal(probe.text, "ready\n");
});

Deno.test("a backup is for the control socket alone, and to an absolute path", async () => {
  const { ask, store, lines } = setUp();
  const path = "/api/store/backup";
  assert.equal((await ask(WITH_TOKEN, path, { file: "/a.db" })).status, 403);
  assert.equal((await ask(SOCKET_CALLER, path, { file: "a.db" })).status, 400);
  assert.equal((await ask(SOCKET_CALLER, path, { file: "/taken" })).status, 409);
  assert.equal((await ask(SOCKET_CALLER, path, { file: "/a.db" })).status, 200);
  assert.deepEqual(store.asked, ["backup", "backup"]);
  assert.equal(lines.at(-1)?.file, "/a.db");
});

Deno.test("viewFrames gives text as text, else base64, and cuts what is long", () => {
  const view = (frame: Uint8Array<ArrayBuffer>, room?: number) => viewFrames([frame], room)[0];
  assert.deepEqual(view(bytes("grüße")), { bytes: 7, text: "grüße" });
  assert.deepEqual(view(Uint8Array.of(255, 0)), { bytes: 2, base64: "/wA=" });
  assert.deepEqual(view(bytes("grüße"), 3), { bytes: 7, text: "gr", isCut: true });
  assert.deepEqual(view(bytes("")), { bytes: 0, text: "" });
  const two = viewFrames([bytes("abc"), bytes("def")], 4);
  assert.deepEqual(two, [{ bytes: 3, text: "abc" }, { bytes: 3, text: "d", isCut: true }]);
});
