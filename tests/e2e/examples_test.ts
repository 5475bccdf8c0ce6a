/** Runs each file of examples/ as its head says, and asks it what a reader would. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { endNow, isAlive } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { LIMIT, until, within } from "../rig/wait.ts";

/** Serves a handler of examples/, and calls `ask` with a connection to it. */
async function withExample(
  name: string,
  ask: (peer: Peer, server: ServerProcess) => Promise<void>,
): Promise<void> {
  await using server = await ServerProcess.start({ args: [path(`examples/${name}`)] });
  await using peer = new Peer(server.endpoint);
  await ask(peer, server);
}

Deno.test("examples/upper.ts answers in upper case", () =>
  withExample("upper.ts", async (peer) => {
    assert.deepEqual(await peer.ask("hello, Österreich"), ["HELLO, ÖSTERREICH"]);
  }));

Deno.test("examples/sum.ts adds numbers up, and answers 400 to what has no numbers", () =>
  withExample("sum.ts", async (peer) => {
    assert.deepEqual(await peer.ask('{ "items": [1, 2, 3.5] }'), ['{"sum":6.5}']);
    for (const wrong of ["", "1 2", "null", "{}", '{ "items": ["1"] }']) {
      const [empty, message = ""] = await peer.ask(wrong);
      assert.equal(empty, "");
      assert.match(message, /^400 The body must be /);
    }
  }));

Deno.test("examples/primes.ts counts primes, and answers 400 to what is not a number", () =>
  withExample("primes.ts", async (peer) => {
    const known = [["0", "0"], ["1", "0"], ["2", "1"], ["100", "25"], ["1000000", "78498"]];
    for (const [limit = "", count] of known) assert.deepEqual(await peer.ask(limit), [count]);
    const [, message = ""] = await peer.ask("-1");
    assert.match(message, /^400 The body must be an integer .*: it is "-1"$/);
  }));

Deno.test("examples/sleep.ts answers when the time is over, and gives up when its client leaves", () =>
  withExample("sleep.ts", async (peer, server) => {
    const started = performance.now();
    assert.deepEqual(await peer.ask("50"), ["slept 50 ms"]);
    assert.ok(performance.now() - started >= 49);
    const [, message = ""] = await peer.ask("soon");
    assert.match(message, /^400 The body must be an integer .*: it is "soon"$/);
    const workers = server.workers;
    {
      await using leaver = new Peer(server.endpoint);
      leaver.send("", "3600000");
      await until("the job runs", async () => (await server.state()).running === 1);
    }
    await until("the job has ended", async () => (await server.state()).running === 0);
    assert.equal((await server.state()).abandoned, 1);
    assert.ok(workers.every(isAlive), "no worker had to be killed");
  }));

Deno.test("examples/calc.ts is called by name, and answers 400 and 404 to what is wrong", () =>
  withExample("calc.ts", async (peer) => {
    assert.deepEqual(await peer.ask('{"call":"add","args":[1,2]}'), ['{"result":3}']);
    assert.deepEqual(await peer.ask('{"call":"count","args":[2]}'), ['{"part":1}', '{"part":2}']);
    assert.deepEqual(await peer.ask('{"call":"mean"}'), ["", "400 There must be a value"]);
    assert.deepEqual(await peer.ask('{"call":"user.get","args":["bob"]}'), [
      "",
      "404 No such user: bob",
    ]);
  }));

Deno.test("examples/serve.ts prints what its hooks hear, and exits with 0 at TERM", async () => {
  const args = ["run", "-A", path("examples/serve.ts"), "tcp://127.0.0.1:0"];
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "piped" }).spawn();
  let printed = "";
  const read = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) printed += text;
  })();
  const line = (pattern: RegExp) => until(`it prints ${pattern}`, () => pattern.exec(printed)?.[1]);
  try {
    const endpoint = await line(/^listening on (tcp:\/\/127\.0\.0\.1:\d+)$/m);
    const pid = await line(/^worker 1 is ready: process (\d+)$/m);
    assert.ok(isAlive(Number(pid)));
    await line(/^(ready) with 1 idle worker$/m);
    await using peer = new Peer(endpoint);
    assert.deepEqual(await peer.ask("hello"), ["HELLO"]);
    child.kill("SIGTERM");
    assert.equal((await within("it has ended", child.status)).code, 0);
    await within("nothing holds its output open", read);
    assert.match(printed, /^worker 1 has ended: stopped$/m);
  } finally {
    await endNow(child);
    await within("nothing holds its output open", read);
  }
});

Deno.test("examples/report.ts goes on where its last try has stopped, and examples/jobs.ts follows it", async () => {
  using folder = new Folder();
  const endpoint = `ipc://${folder.path}/front`;
  const args = ["--frontend", endpoint, "--store", `sqlite:${folder.path}/jobs.db`];
  await using server = await ServerProcess.start({
    args: [path("examples/report.ts"), "--workers", "1", ...args],
    permissions: ["-A"],
  });
  await using client = new Client({ endpoint });
  const job = client.job((await client.submit("1000000", { backoff: { min: 1 } })).id);
  const { value } = await job.progress().next();
  const [worker = 0] = server.workers;
  Deno.kill(worker, "SIGKILL");
  const reply = await job.result({ wait: LIMIT });
  assert.equal(reply.text(), "78498 primes below 1000000, in try 2");
  assert.ok(value !== undefined && value.done > 0 && value.done < 1_000_000);
  const wrong = client.job((await client.submit("many")).id);
  await assert.rejects(wrong.result({ wait: LIMIT }), { code: 400 });
  const program = ["run", "-A", path("examples/jobs.ts"), "200000", endpoint];
  const { code, stdout, stderr } = await run(Deno.execPath(), program);
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^submitted: j-[0-9a-f]{32}\n[^]*17984 primes below 200000, in try 1\n$/);
});
