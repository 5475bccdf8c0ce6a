/** The commands of client.ts for background jobs, run as a process against a server made here. */

import assert from "node:assert/strict";
import type { JobCommandName } from "../../cli/client_flags.ts";
import { readJobFlags } from "../../cli/job_flags.ts";
import { buildStatus, type JobStatus } from "../../wire/job_status.ts";
import { isJobId } from "../../wire/submission.ts";
import { ID, statusOf, storing, wordsOf } from "../rig/fake_jobs.ts";
import { FakeServer, headerOf, knowing } from "../rig/fake_server.ts";
import { Folder } from "../rig/folder.ts";
import { clientFlags } from "../rig/permissions.ts";
import { bytes, text } from "../rig/text.ts";

const CLIENT = decodeURIComponent(new URL("../../client.ts", import.meta.url).pathname);

async function run(args: string[], { stdin = "", cwd }: { stdin?: string; cwd?: string } = {}) {
  const reads = cwd === undefined ? [] : [cwd];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", ...clientFlags(reads), CLIENT, ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    ...(cwd === undefined ? {} : { cwd }),
  }).spawn();
  const output = child.output();
  await new Response(stdin).body?.pipeTo(child.stdin).catch(() => {}); // it need not read it
  if (stdin === "") await child.stdin.close().catch(() => {});
  const { code, stdout, stderr } = await output;
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Answers all questions by what is known of one job. */
function knowingJob(status: JobStatus, ...frames: string[]) {
  return knowing((server, request) =>
    server.reply(request, 200, buildStatus(status), ...frames.map(bytes))
  );
}

Deno.test("client submit prints the id of what it has stored, whatever the body comes from", async () => {
  const jobs = new Map<unknown, string[]>();
  await using server = new FakeServer(storing(jobs));
  using folder = new Folder();
  folder.write("submit", "of a file\n");
  const at = ["submit", "-e", server.endpoint];
  const runs = [
    await run([...at, "--data", "text"]),
    await run(at, { stdin: "of stdin\n" }),
    await run([...at, "./submit"], { cwd: folder.path }),
  ];
  assert.deepEqual(runs.map(({ code, stderr }) => [code, stderr]), Array(3).fill([0, ""]));
  const stored = runs.map(({ stdout }) => jobs.get(stdout.trim()));
  assert.deepEqual(stored, [["text"], ["of stdin"], ["of a file"]]);
});

Deno.test("client submit passes every option, and says when the job is not new", async () => {
  const jobs = new Map<unknown, string[]>();
  await using server = new FakeServer(storing(jobs, false));
  const other = ID.replace("0", "f");
  const args = ["-e", server.endpoint, "-s", "mail", "-k", "once", "--run-at", "2027-01-31T03:00Z"];
  args.push("--priority", "9", "--retries=0", "--backoff", "2s,5m", "--request-timeout", "30s");
  args.push("--ttl", "1h", "--group", "g", "--after", `${ID},${other}`, "--data", "", "--json");
  const { code, stdout, stderr } = await run(["submit", ...args]);
  assert.deepEqual([code, stderr], [
    0,
    "client: nothing was stored: a job of this key has not ended\n",
  ]);
  const { id, ...others } = JSON.parse(stdout);
  assert.ok(isJobId(id));
  assert.deepEqual(others, { isNew: false });
  const [request] = server.requests.slice(-1);
  assert.ok(request !== undefined);
  assert.equal(headerOf(request)?.service, "job.submit");
  assert.deepEqual(wordsOf(request), {
    service: "mail",
    key: "once",
    runAt: "2027-01-31T03:00Z",
    priority: 9,
    retries: 0,
    backoff: { min: 2000, max: 300_000 },
    requestTimeout: 30_000,
    ttl: 3_600_000,
    jobGroup: "g",
    after: [ID, other],
    id,
  });
});

Deno.test("client result prints the frames of a job that is done, and job what is known of it", async () => {
  const status = statusOf("done", { code: 200, createdAt: 86_400_000, message: "\x1b[2J" });
  await using server = new FakeServer(knowingJob(status, "one", "two"));
  const at = ["-e", server.endpoint];
  assert.deepEqual(await run(["result", ...at, ID]), { code: 0, stdout: "one\ntwo\n", stderr: "" });
  const json = await run(["result", ...at, ID, "--json"]);
  assert.deepEqual(JSON.parse(json.stdout), {
    ...JSON.parse(JSON.stringify(status)),
    result: ["one", "two"],
  });
  const view = await run(["job", ID, ...at]);
  assert.equal(view.code, 0);
  assert.match(
    view.stdout,
    /^id +j-0123456789abcdef0123456789abcdef\nservice +mail\nstate +done\n/,
  );
  assert.match(view.stdout, /\ntry +1 of 5\n[^]*\ncreated +1970-01-02T00:00:00.000Z\n/);
  assert.ok(!view.stdout.includes("\x1b"));
  assert.deepEqual(JSON.parse((await run(["job", ID, ...at, "--json"])).stdout).state, "done");
});

Deno.test("client result exits 1 when the job has failed, and 3 when it has not ended", async () => {
  const failed = statusOf("failed", { code: 422, message: "No such item" });
  await using server = new FakeServer(knowingJob(failed, "No such item", '{"item":7}'));
  assert.deepEqual(await run(["result", "-e", server.endpoint, ID]), {
    code: 1,
    stdout: "",
    stderr: 'client: error 422: No such item; details: {"item":7}\n',
  });
  const json = await run(["result", "-e", server.endpoint, ID, "--json"]);
  assert.deepEqual([json.code, JSON.parse(json.stdout).state], [1, "failed"]);
  await using busy = new FakeServer(knowingJob(statusOf("running")));
  assert.deepEqual(await run(["result", "-e", busy.endpoint, "--wait", "0", ID]), {
    code: 3,
    stdout: "",
    stderr: `client: Cannot get the result of job "${ID}": it is running after a wait of 0 ms\n`,
  });
});

Deno.test("client cancel prints the state of the job then", async () => {
  await using server = new FakeServer(knowingJob(statusOf("cancelled")));
  const { code, stdout } = await run(["cancel", "-e", server.endpoint, ID]);
  assert.deepEqual([code, stdout], [0, "cancelled\n"]);
  const [request] = server.requests.slice(-1);
  assert.equal(request && headerOf(request)?.service, "job.cancel");
});

/** Answers each question about the state by the next of these, and the result by the last. */
function living(...life: JobStatus[]) {
  let at = 0;
  return knowing((server, request) => {
    if (headerOf(request)?.service === "job.status") at = Math.min(at + 1, life.length);
    server.reply(request, 200, buildStatus(life[Math.max(0, at - 1)] ?? statusOf("done")));
  });
}

const at = (done: number, total?: number, note = "") => ({ progress: { done, total, note } });

Deno.test("client progress prints a line for each change, until the job has ended", async () => {
  const life = [
    statusOf("waiting", { attempt: 0 }),
    statusOf("running", { version: 2, ...at(1, 3, "pages\x1b[2J") }),
    statusOf("running", { version: 3, ...at(1, 3, "pages\x1b[2J") }),
    statusOf("running", { version: 4, attempt: 2, ...at(2) }),
    statusOf("done", { version: 5, attempt: 2, ...at(3, 3) }),
  ];
  await using server = new FakeServer(living(...life));
  const { code, stdout, stderr } = await run(["progress", "-e", server.endpoint, ID]);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /^1 of 3 pages.*\ntry 2\n2 of \?\n3 of 3\n$/);
  assert.ok(!stdout.includes("\x1b"));
  await using other = new FakeServer(living(...life));
  const json = await run(["progress", "-e", other.endpoint, ID, "--json"]);
  assert.deepEqual(json.stdout.trim().split("\n").map((line) => JSON.parse(line)), [
    { done: 1, total: 3, note: "pages\x1b[2J", attempt: 1 },
    { done: 2, note: "", attempt: 2 },
    { done: 3, total: 3, note: "", attempt: 2 },
  ]);
});

Deno.test("client progress exits 1 when the job has failed, and 3 when it has not ended", async () => {
  const failed = statusOf("failed", { code: 422, message: "No such item", ...at(1, 2) });
  await using server = new FakeServer(knowingJob(failed));
  assert.deepEqual(await run(["progress", "-e", server.endpoint, ID]), {
    code: 1,
    stdout: "1 of 2\n",
    stderr: "client: error 422: No such item\n",
  });
  await using busy = new FakeServer(knowingJob(statusOf("running")));
  assert.deepEqual(await run(["progress", "-e", busy.endpoint, "--wait", "300ms", ID]), {
    code: 3,
    stdout: "",
    stderr: `client: Cannot get the result of job "${ID}": it is running after a wait of 300 ms\n`,
  });
});

Deno.test("client forget has a job forgotten, and exits 1 when there is none", async () => {
  await using server = new FakeServer(knowingJob(statusOf("done")));
  const { code, stdout } = await run(["forget", "-e", server.endpoint, ID]);
  assert.deepEqual([code, stdout], [0, "forgotten\n"]);
  const [request] = server.requests.slice(-1);
  assert.equal(request && headerOf(request)?.service, "job.forget");
  assert.deepEqual(
    JSON.parse((await run(["forget", "-e", server.endpoint, ID, "--json"])).stdout),
    {
      id: ID,
    },
  );
  await using empty = new FakeServer(
    knowing((server, request) => server.reply(request, 404, bytes("There is no such job"))),
  );
  assert.deepEqual(await run(["forget", "-e", empty.endpoint, ID]), {
    code: 1,
    stdout: "",
    stderr: "client: error 404: There is no such job\n",
  });
});

Deno.test("client submit --wait prints the result of the job", async () => {
  const jobs = new Map<unknown, string[]>();
  const store = storing(jobs);
  await using server = new FakeServer((server, request) => {
    if (headerOf(request)?.service !== "job.result") return store(server, request);
    server.reply(request, 200, buildStatus(statusOf("done")), bytes("result"));
  });
  const at = ["-e", server.endpoint];
  const { code, stdout, stderr } = await run(["submit", ...at, "--wait", "5s", "--data", "x"]);
  assert.deepEqual([code, stdout, stderr], [0, "result\n", ""]);
  assert.equal(jobs.size, 1);
});

Deno.test("client says what is wrong with the arguments of a job's commands, and exits 2", async () => {
  const cases: [command: JobCommandName, args: string[], message: RegExp][] = [
    ["job", [], /^Cannot ask: "job" needs the id of one job, and has 0$/],
    ["submit", ["--prio", "9"], /^Unknown option "--prio": submit --help lists them$/],
    ["submit", ["--delay", "5"], /"--delay" needs a unit: did you mean "5s"/],
    ["submit", ["--backoff", "1s,2s,3s"], /"--backoff" must be one or two durations/],
    ["submit", ["--data", "x", "file"], /"--data" and files: give one or the other$/],
    ["job", [ID, "--key", "x"], /^Unknown option "--key"/],
  ];
  for (const [command, args, message] of cases) {
    assert.throws(() => readJobFlags(command, args), { message });
  }
  const misplaced = await run(["-q", "submit"]);
  assert.deepEqual([misplaced.code, misplaced.stdout], [2, ""]);
  assert.match(
    misplaced.stderr,
    /^client: Cannot ask with "submit" behind options: .* "\.\/submit"\n$/,
  );
  const { code, stdout } = await run(["result", "--help"]);
  assert.equal(code, 0);
  assert.match(
    stdout,
    /^Usage: deno task client COMMAND .*\n\nBackground jobs/,
  );
  assert.ok(stdout.split("\n").every((line) => line.length <= 80));
});
