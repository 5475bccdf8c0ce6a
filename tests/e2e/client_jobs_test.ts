/** Background jobs of Client, against a server made here that does what each test wants. */

import assert from "node:assert/strict";
import {
  AbandonedError,
  Client,
  type JobProgress,
  type JobStatus,
  NotEndedError,
  ReplyError,
} from "../../client.ts";
import { buildErrorText } from "../../wire/request.ts";
import { buildStatus, buildStored } from "../../wire/job_status.ts";
import {
  deadEndpoint,
  FakeServer,
  headerOf,
  isQuestion,
  knowing,
  type Received,
} from "../rig/fake_server.ts";
import { overBoth } from "../rig/over_both.ts";
import { ID, statusOf, storing, wordsOf } from "../rig/fake_jobs.ts";
import { bytes, text } from "../rig/text.ts";

/** Answers questions one after the other, and keeps what they have said. */
function scripted(...answers: [status: JobStatus, ...frames: string[]][]) {
  const asked: Record<string, unknown>[] = [];
  const answer = knowing((server, request) => {
    asked.push({ service: headerOf(request)?.service, ...wordsOf(request) });
    const [status, ...frames] = answers.shift() ?? [statusOf("running")];
    server.reply(request, 200, buildStatus(status), ...frames.map(bytes));
  });
  return { asked, answer };
}

function requestsOf({ requests }: FakeServer): Received[] {
  return requests.filter((request) => !isQuestion(request));
}

overBoth("Client.submit sends options and body to job.submit when asked to", async (Client) => {
  const jobs = new Map<unknown, string[]>();
  await using server = new FakeServer(storing(jobs));
  await using client = new Client({ endpoint: server.endpoint });
  const runAt = new Date(1_900_000_000_000);
  const options = { service: "mail", key: "k", runAt, backoff: { min: 5 }, jobGroup: "g" };
  const body = bytes("hello");
  const submitted = client.submit([body, "there"], { ...options, timeout: 3000 });
  body.fill(0);
  const { id, isNew } = await submitted;
  assert.deepEqual([isNew, jobs.get(id)], [true, ["hello", "there"]]);
  const [request] = requestsOf(server);
  assert.ok(request !== undefined);
  assert.equal(headerOf(request)?.service, "job.submit");
  assert.deepEqual(wordsOf(request), { ...options, id, runAt: runAt.getTime() });
  // The time until it is stored is that of all tries.
  assert.ok((headerOf(request)?.timeout ?? 0) < 1100);
  const other = await client.service("report").submit("x");
  assert.notEqual(other.id, id);
  assert.equal(wordsOf(requestsOf(server)[1] ?? request).service, "report");
});

Deno.test("Client.submit has a job stored once when its first try goes unanswered", async () => {
  const jobs = new Map<unknown, string[]>();
  const store = storing(jobs);
  let isFirst = true;
  await using server = new FakeServer((server, request) => {
    if (isQuestion(request) || !isFirst) return store(server, request);
    // Stored, but not answered.
    isFirst = false;
    jobs.set(wordsOf(request).id, []);
  });
  await using client = new Client({ endpoint: server.endpoint });
  const { id } = await client.submit("hello", { timeout: 600 });
  const ids = requestsOf(server).map((request) => wordsOf(request).id);
  assert.deepEqual(ids, [id, id]);
  assert.equal(jobs.size, 1);
});

overBoth("Client.submit sends again at once when its server dies", async (Client) => {
  const jobs = new Map<unknown, string[]>();
  const lost: unknown[] = [];
  const endpoint = deadEndpoint();
  await using client = new Client({ endpoint, timeout: 3_600_000 });
  const submit = async () => {
    const got = Promise.withResolvers<void>();
    await using _silent = new FakeServer(
      knowing((_, request) => {
        lost.push(wordsOf(request).id);
        got.resolve();
      }),
      endpoint,
    );
    const submitted = client.submit("hello");
    await got.promise;
    return { submitted };
  };
  const { submitted } = await submit();
  await using _server = new FakeServer(storing(jobs), endpoint);
  const { id } = await submitted;
  assert.deepEqual(lost, [id]);
  assert.deepEqual([...jobs.keys()], [id]);
});

Deno.test("Client.submit refuses what the server would refuse, and says what", async () => {
  await using client = new Client();
  const refusal = async (body: unknown, options: Record<string, unknown>) => {
    // deno-lint-ignore no-explicit-any -- what a caller without types may do.
    const error = await client.submit(body as any, options).catch((error: unknown) => error);
    assert.ok(error instanceof Error);
    return `${error.name}: ${error.message}`;
  };
  assert.equal(
    await refusal("", { priority: 10 }),
    'RangeError: Cannot submit a job: "priority" must be an integer from 0 to 9: current value is 10',
  );
  assert.match(await refusal("", { retries: "5" }), /^TypeError: Cannot submit a job: "retries"/);
  assert.match(await refusal("", { delay: 1, runAt: 1 }), /^RangeError: .* exclude each other/);
  assert.match(await refusal("", { onRetry: 1 }), /^TypeError: .*Unknown option "onRetry"/);
  assert.match(await refusal("", { timeout: 0 }), /^RangeError: Cannot submit a job: "timeout"/);
  assert.match(await refusal(5, {}), /^TypeError: Cannot send a request: the body must be/);
  assert.throws(() => client.job("x"), /^RangeError: Cannot ask: "id" must be a job's id/);
});

Deno.test("Client.submit rejects with the server's refusal when the store is full", async () => {
  await using server = new FakeServer(
    knowing((server, request) => server.reply(request, 507, bytes("The disk is full"))),
  );
  await using client = new Client({ endpoint: server.endpoint });
  await assert.rejects(client.submit("x"), { code: 507, message: "The disk is full" });
});

Deno.test("StoredJob.result returns the frames when the job is done", async () => {
  const { asked, answer } = scripted([statusOf("running")], [statusOf("done"), "one", "two"]);
  await using server = new FakeServer(answer);
  await using client = new Client({ endpoint: server.endpoint });
  const reply = await client.job(ID).result({ wait: 60_000 });
  assert.deepEqual(reply.frames.map(text), ["one", "two"]);
  assert.deepEqual(asked.map(({ service, id }) => [service, id]), [
    ["job.result", ID],
    ["job.result", ID],
  ]);
  assert.ok(asked.every(({ wait }) => typeof wait === "number" && wait > 0 && wait <= 20_000));
});

Deno.test("StoredJob.result throws the job's own error when it has ended by one", async () => {
  const { answer } = scripted(
    [statusOf("failed", { code: 422, message: "No such item" }), "No such item", '{"item":7}'],
    [statusOf("cancelled", { code: 499 })],
    [statusOf("expired")],
    [statusOf("failed", { code: 502, message: "The worker died" })],
  );
  await using server = new FakeServer(answer);
  await using client = new Client({ endpoint: server.endpoint });
  const errors = [];
  for (let each = 0; each < 4; each++) {
    const error = await client.job(ID).result().catch((error: unknown) => error);
    assert.ok(error instanceof ReplyError);
    errors.push([error.code, error.message, error.details]);
  }
  assert.deepEqual(errors, [
    [422, "No such item", { item: 7 }],
    [499, `Job "${ID}" was cancelled`, undefined],
    [408, `Job "${ID}" was not started in time`, undefined],
    [502, "The worker died", undefined],
  ]);
});

Deno.test("StoredJob.result throws a NotEndedError when the job runs on", async () => {
  const { asked, answer } = scripted();
  await using server = new FakeServer(answer);
  await using client = new Client({ endpoint: server.endpoint });
  const job = client.job(ID);
  const error = await job.result({ wait: 0 }).catch((error: unknown) => error);
  assert.ok(error instanceof NotEndedError);
  assert.equal(error.status.state, "running");
  assert.equal(
    error.message,
    `Cannot get the result of job "${ID}": it is running after a wait of 0 ms`,
  );
  assert.deepEqual(asked, [{ service: "job.result", id: ID }]);
  await assert.rejects(job.result({ wait: 30 }), NotEndedError);
  await assert.rejects(job.result({ wait: -1 }), RangeError);
});

Deno.test("StoredJob.result asks again within its wait when the server is full", async () => {
  let count = 0;
  await using server = new FakeServer(knowing((server, request) => {
    count++;
    if (count === 1) server.reply(request, 503, bytes("The queue is full"));
    else server.reply(request, 200, buildStatus(statusOf("done")), bytes("ok"));
  }));
  await using client = new Client({ endpoint: server.endpoint });
  assert.equal((await client.job(ID).result({ wait: 10_000 })).text(), "ok");
});

Deno.test("StoredJob.result gives up when the server is gone for longer than its wait", async () => {
  await using client = new Client({ endpoint: deadEndpoint(), timeout: 20, retries: 0 });
  await assert.rejects(client.job(ID).result({ wait: 20 }), AbandonedError);
  await assert.rejects(client.job(ID).result({ wait: 0 }), AbandonedError);
  await assert.rejects(client.job(ID).status(), AbandonedError);
  const signal = AbortSignal.abort(new Error("enough"));
  await assert.rejects(client.job(ID).result({ signal }), /enough/);
});

Deno.test("StoredJob.progress gives each word of progress once, and ends with the job", async () => {
  const at = (version: number, done: number, attempt = 1) =>
    statusOf("running", { version, attempt, progress: { done, total: 10, note: "" } });
  const { asked, answer } = scripted(
    [statusOf("waiting")],
    [at(2, 1)],
    [at(3, 1)],
    [at(4, 7)],
    [at(5, 7, 2)],
    [statusOf("done", { version: 6, attempt: 2, progress: { done: 10, total: 10, note: "" } })],
  );
  await using server = new FakeServer(answer);
  await using client = new Client({ endpoint: server.endpoint });
  const all: JobProgress[] = [];
  for await (const progress of client.job(ID).progress()) all.push(progress);
  assert.deepEqual(all.map(({ done, attempt }) => [done, attempt]), [[1, 1], [7, 1], [7, 2], [
    10,
    2,
  ]]);
  assert.deepEqual(asked.map(({ service, since }) => [service, since]), [
    ["job.status", undefined],
    ["job.status", 1],
    ["job.status", 2],
    ["job.status", 3],
    ["job.status", 4],
    ["job.status", 5],
  ]);
});

Deno.test("StoredJob.status and cancel say what is known, and 404 when nothing is", async () => {
  const { asked, answer } = scripted([statusOf("waiting")], [statusOf("cancelled", { code: 499 })]);
  await using server = new FakeServer((server, request) => {
    if (isQuestion(request) || asked.length < 2) return answer(server, request);
    server.reply(request, 404, bytes("There is no such job"));
  });
  await using client = new Client({ endpoint: server.endpoint });
  const job = client.job(ID);
  assert.equal((await job.status()).state, "waiting");
  assert.equal((await job.cancel()).state, "cancelled");
  assert.deepEqual(asked.map(({ service }) => service), ["job.status", "job.cancel"]);
  await assert.rejects(job.status(), { name: "ReplyError", code: 404 });
  await assert.rejects(job.progress().next(), { code: 404 });
});

Deno.test("A plain client speaks of jobs by commands in its body", async () => {
  const bodies: string[][] = [];
  await using server = new FakeServer((server, request) => {
    const [command = "", words = "", ...body] = request.body.map(text);
    const { id } = JSON.parse(words);
    bodies.push([command, ...body]);
    if (command === "submit") server.replyPlain(request, buildStored({ id, isNew: true }));
    else if (command === "cancel") {
      server.replyPlain(request, bytes(""), buildErrorText(409, "It has ended"));
    } else server.replyPlain(request, buildStatus({ ...statusOf("done"), id }), bytes("result"));
  });
  await using client = new Client({ endpoint: server.endpoint, plain: true });
  const { id } = await client.submit(["one", "two"]);
  const job = client.job(id);
  assert.equal((await job.result()).text(), "result");
  assert.equal((await job.status()).id, id);
  await assert.rejects(job.cancel(), { code: 409, message: "It has ended" });
  assert.deepEqual(bodies, [["submit", "one", "two"], ["result"], ["status"], ["cancel"]]);
});

Deno.test("Client.typedJobs submits calls, and reads their results as the calls have them", async () => {
  const calls: unknown[] = [];
  await using server = new FakeServer(knowing((server, request) => {
    const [words = "", call = ""] = request.body.map(text);
    const { id, ...options } = JSON.parse(words);
    if (headerOf(request)?.service === "job.submit") {
      calls.push([options, JSON.parse(call)]);
      return server.reply(request, 200, buildStored({ id, isNew: true }));
    }
    server.reply(request, 200, buildStatus({ ...statusOf("done"), id }), bytes('{"result":3}'));
  }));
  await using client = new Client({ endpoint: server.endpoint });
  const jobs = client.typedJobs<typeof import("../../examples/calc.ts")>({ retries: 9 });
  const { id, isNew, result } = await jobs.with({ key: "k" }).add(1, 2);
  const sum: number = await result();
  assert.deepEqual([isNew, sum, await (await client.job(id).result()).json()], [
    true,
    3,
    { result: 3 },
  ]);
  await jobs.user.get("ada");
  assert.deepEqual(calls, [
    [{ retries: 9, key: "k" }, { call: "add", args: [1, 2] }],
    [{ retries: 9 }, { call: "user.get", args: ["ada"] }],
  ]);
});
