/** Background jobs from end to end: a server in a process of its own, our client, its command, and Python. */

import { strict as assert } from "node:assert";
import { Client, NotEndedError, ReplyError, type SubmitOptions } from "../../client.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { KeyRing } from "../rig/key_ring.ts";
import { hasPyzmq, PYTHON } from "../rig/mdp_workers.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

/**
 * Does what the first word of the body says. What is held by a name is let go by a request to the same worker.
 */
const HANDLER = `
import { RequestError } from ${JSON.stringify(new URL("worker.ts", ROOT).href)};
const held = new Map();
const runs = new Map();
export default async (body, ctx) => {
  const [word, name] = new TextDecoder().decode(body).split(" ");
  if (word === "hello") return "HELLO";
  if (word === "runs") return String(runs.get(name) ?? 0);
  if (word === "release") return String(held.get(name)?.() ?? "not held");
  runs.set(name, (runs.get(name) ?? 0) + 1);
  if (word === "die" && ctx.attempt === 1) Deno.exit(7);
  if (word === "fail") throw new RequestError(422, "No such item", { details: { item: 7 } });
  if (word === "break") throw new Error("broken");
  if (word === "who") return ctx.client.user;
  if (word === "hold" || word === "steps") {
    if (word === "steps") ctx.progress(1, 3, "one");
    await new Promise((resolve, reject) => {
      held.set(name, () => (resolve(), "released"));
      ctx.signal.onabort = () => reject(ctx.signal.reason);
    });
    if (word === "steps") ctx.progress(3, 3);
  }
  return word + " " + name + " " + ctx.attempt;
};`;

/** A place for servers that come one after the other, and a client of them all. */
class Place {
  readonly folder = new Folder();
  readonly endpoint = `ipc://${this.folder.path}/front`;
  readonly jobs = `ipc://${this.folder.path}/jobs`;
  readonly client = new Client({ endpoint: this.endpoint });
  server: ServerProcess | undefined;

  async start(...more: string[]): Promise<ServerProcess> {
    const args = ["--frontend", this.endpoint, "--store", `sqlite:${this.folder.path}/jobs.db`];
    args.push("--jobs", this.jobs, "--workers", "1", "--concurrency", "8", ...more);
    return this.server = await ServerProcess.start({ handler: HANDLER, args });
  }

  async ask(text: string): Promise<string> {
    return (await this.client.request(text)).text();
  }

  /** Submits a job, and returns it. */
  async submit(text: string, options: SubmitOptions = {}) {
    const { id } = await this.client.submit(text, options);
    return this.client.job(id);
  }

  async release(name: string): Promise<void> {
    await until(`${name} is held`, async () => await this.ask(`release ${name}`) === "released");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
    await this.server?.[Symbol.asyncDispose]();
    this.folder[Symbol.dispose]();
  }
}

const LONG = { wait: 60_000 };

Deno.test("jobs of one server from end to end", async (t) => {
  await using place = new Place();
  await place.start();
  const { client } = place;

  await t.step("a job is run by the handler of requests, and its result is kept", async () => {
    const job = await place.submit("echo a");
    assert.equal((await job.result(LONG)).text(), "echo a 1");
    assert.equal((await job.result({ wait: 0 })).text(), "echo a 1");
    const { state, attempt, code, bytes, endedAt = 0, createdAt } = await job.status();
    assert.deepEqual([state, attempt, code, bytes], ["done", 1, 200, 6]);
    assert.ok(endedAt >= createdAt);
  });

  await t.step("a job whose worker dies is run again", async () => {
    const job = await place.submit("die b", { backoff: { min: 1 } });
    assert.equal((await job.result(LONG)).text(), "die b 2");
    assert.equal((await job.status()).attempt, 2);
  });

  await t.step("a job that is refused by its handler fails at once, and says why", async () => {
    const job = await place.submit("fail c");
    const error = await job.result(LONG).catch((error: unknown) => error);
    assert.ok(error instanceof ReplyError);
    assert.deepEqual([error.code, error.message, error.details], [422, "No such item", {
      item: 7,
    }]);
    assert.equal((await job.status()).attempt, 1);
  });

  await t.step(
    "a job that breaks is tried as often as it was asked to, and then is dead",
    async () => {
      const job = await place.submit("break d", { retries: 2, backoff: { min: 1 } });
      await assert.rejects(job.result(LONG), { name: "ReplyError", code: 500 });
      const { state, attempt } = await job.status();
      assert.deepEqual([state, attempt, await place.ask("runs d")], ["failed", 3, "3"]);
    },
  );

  await t.step("a key has one job at a time", async () => {
    const first = await client.submit("hold e", { key: "only" });
    const second = await client.submit("hold e", { key: "only" });
    assert.deepEqual([first.isNew, second], [true, { id: first.id, isNew: false }]);
    await place.release("e");
    assert.equal((await client.job(first.id).result(LONG)).text(), "hold e 1");
    const third = await client.submit("echo e", { key: "only" });
    assert.ok(third.isNew);
    assert.notEqual(third.id, first.id);
  });

  await t.step("a job with a delay is not started before", async () => {
    const job = await place.submit("echo f", { delay: 300 });
    assert.equal((await job.status()).state, "scheduled");
    await job.result(LONG);
    const { createdAt, startedAt = 0, runAt } = await job.status();
    assert.ok(runAt > createdAt && runAt <= createdAt + 300);
    assert.ok(startedAt >= runAt);
  });

  await t.step("a job that was submitted again by its id is stored once", async () => {
    const { id } = await client.submit("echo g");
    assert.deepEqual(await client.submit("echo g", { id }), { id, isNew: true });
    await client.job(id).result(LONG);
    assert.equal(await place.ask("runs g"), "1");
  });

  await t.step("a job waits for others, and fails with them", async () => {
    const first = await place.submit("hold h");
    const after = await place.submit("echo i", { after: [first.id] });
    assert.equal((await after.status()).state, "scheduled");
    await place.release("h");
    assert.equal((await after.result(LONG)).text(), "echo i 1");
    const failed = await place.submit("fail j");
    const never = await place.submit("echo k", { after: [failed.id] });
    await assert.rejects(never.result(LONG), { name: "ReplyError", code: 424 });
  });

  await t.step("a job that waits or runs is cancelled", async () => {
    const waiting = await place.submit("echo l", { delay: 3_600_000 });
    assert.equal((await waiting.cancel()).state, "cancelled");
    const running = await place.submit("hold m");
    await until("it runs", async () => (await running.status()).state === "running");
    await running.cancel();
    await assert.rejects(running.result(LONG), { name: "ReplyError", code: 499 });
    assert.equal((await running.cancel()).state, "cancelled");
    const done = await place.submit("echo n");
    await done.result(LONG);
    await assert.rejects(done.cancel(), { name: "ReplyError", code: 409 });
  });

  await t.step("progress is told as the handler says it, and ends with the job", async () => {
    const job = await place.submit("steps o");
    const seen: unknown[] = [];
    for await (const { done, total, note, attempt } of job.progress()) {
      seen.push([done, total, note, attempt]);
      if (seen.length === 1) await place.release("o");
    }
    assert.deepEqual(seen, [[1, 3, "one", 1], [3, 3, "", 1]]);
    await assert.rejects(client.job(`j-${"0".repeat(32)}`).progress().next(), { code: 404 });
  });

  await t.step(
    "a job that runs is said to, and one that is not started in time expires",
    async () => {
      const job = await place.submit("hold p");
      const error = await job.result({ wait: 1 }).catch((error: unknown) => error);
      assert.ok(error instanceof NotEndedError);
      await place.release("p");
      const first = await place.submit("hold q");
      const late = await place.submit("echo r", { after: [first.id], ttl: 1 });
      await assert.rejects(late.result(LONG), { name: "ReplyError", code: 408 });
      await place.release("q");
    },
  );

  await t.step("what can't be stored is refused with the reason", async () => {
    const refusal = (options: SubmitOptions) => client.submit("x", options).catch((error) => error);
    const { code, message } = await refusal({ service: "none" });
    assert.deepEqual([code, message], [404, 'The server has no service "none"']);
  });

  await t.step("a plain client submits at an endpoint for jobs, and asks there", async () => {
    await using plain = new Client({ endpoint: place.jobs, plain: true });
    const { id } = await plain.submit("steps u");
    const job = plain.job(id);
    const first = await job.progress().next();
    assert.deepEqual(first.value, { done: 1, total: 3, note: "one", attempt: 1 });
    await place.release("u");
    assert.equal((await job.result(LONG)).text(), "steps u 1");
    await job.forget();
    await assert.rejects(job.status(), { name: "ReplyError", code: 404 });
    await assert.rejects(plain.submit("x", { service: "none" }), { name: "ReplyError", code: 404 });
    await assert.rejects(plain.request("x"), { name: "ReplyError", code: 400 });
  });

  await t.step({
    name: "docs/jobs.md has a client in Python that submits a job and gets its result",
    ignore: !hasPyzmq,
    fn: async () => {
      const page = Deno.readTextFileSync(path("docs/jobs.md"));
      const [, program = ""] = /^```python\n(.*?)^```$/ms.exec(page) ?? [];
      const text = program.replace("tcp://127.0.0.1:6664", place.jobs);
      const { code, stdout, stderr } = await run(PYTHON, ["-c", text]);
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "done HELLO\n", stderr: "" });
    },
  });

  await t.step("the command submits, waits, asks and cancels", async () => {
    const command = (...args: string[]) =>
      run(Deno.execPath(), ["run", "-A", path("client.ts"), ...args, "-e", place.endpoint]);
    const submitted = await command("submit", "--data", "echo s", "--wait", "60s");
    assert.deepEqual([submitted.code, submitted.stdout], [0, "echo s 1\n"]);
    const later = await command("submit", "--data", "echo t", "--delay", "1h", "--priority", "9");
    const id = later.stdout.trim();
    const known = JSON.parse((await command("job", id, "--json")).stdout);
    assert.deepEqual([known.state, known.priority], ["scheduled", 9]);
    const cancelled = await command("cancel", id);
    assert.deepEqual([cancelled.code, cancelled.stdout], [0, "cancelled\n"]);
    const result = await command("result", id);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /^client: error 499: /);
  });
});

Deno.test("jobs outlive a server that is killed, and one that is stopped", async () => {
  await using place = new Place();
  const { client } = place;
  let server = await place.start();
  const waiting = await place.submit("echo a", { delay: 200 });
  const running = await place.submit("hold b");
  await until("it runs", async () => (await running.status()).state === "running");
  server.signal("SIGKILL");
  await server.ended();
  // Sent while nobody is there: stored once somebody is.
  const meanwhile = client.submit("echo c", { timeout: 60_000 });
  await server[Symbol.asyncDispose]();
  server = await place.start();
  const { id } = await meanwhile;
  assert.equal((await waiting.result(LONG)).text(), "echo a 1");
  assert.match((await client.job(id).result(LONG)).text(), /^echo c/);
  await place.release("b");
  assert.match((await running.result(LONG)).text(), /^hold b/);
  const later = await place.submit("echo d", { delay: 1500 });
  server.signal("SIGTERM");
  await server.ended();
  await server[Symbol.asyncDispose]();
  await place.start();
  assert.equal((await later.result(LONG)).text(), "echo d 1");
  assert.equal((await waiting.result({ wait: 0 })).text(), "echo a 1");
});

Deno.test("a job is its user's alone, and its handler knows the user", async () => {
  using ring = new KeyRing("alice", "bob");
  await using place = new Place();
  await place.start(...ring.args);
  await using alice = clientOf(place, ring, "alice");
  await using bob = clientOf(place, ring, "bob");
  const { id } = await alice.submit("who a");
  assert.equal((await alice.job(id).result(LONG)).text(), "alice");
  const nothing = { name: "ReplyError", code: 404 };
  await assert.rejects(bob.job(id).status(), nothing);
  await assert.rejects(bob.job(id).result(LONG), nothing);
  await assert.rejects(bob.job(id).cancel(), nothing);
  await assert.rejects(bob.job(id).forget(), nothing);
  await assert.rejects(bob.submit("who b", { id }), { name: "ReplyError", code: 409 });
  await alice.job(id).forget();
  await assert.rejects(alice.job(id).status(), nothing);
});

function clientOf({ endpoint }: Place, ring: KeyRing, name: string): Client {
  const keyFile = ring.writeSecret(name, ring.pair(name).secretKey);
  return new Client({ endpoint, curve: { serverKey: ring.server.publicKey, keyFile } });
}
