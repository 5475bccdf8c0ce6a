/** Workers that speak Majordomo: in Python, and frames by hand. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { serve, type ServeOptions, type Server } from "../../mod.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { Command, HandWorker } from "../rig/mdp_hand_worker.ts";
import { hasPyzmq, PYTHON, PythonWorker } from "../rig/mdp_workers.ts";
import { Peer } from "../rig/peer.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const ignore = !hasPyzmq;
const VERSIONS = ["0.1", "0.2"] as const;

/** A server that workers of Majordomo may come to. */
function open(options: ServeOptions = {}): Server {
  return serveQuietly({
    ...{ mdp: "tcp://127.0.0.1:0", mdpWorkers: "any", minWorkers: 1, maxWorkers: 1 },
    ...options,
  });
}

function mdpOf({ mdp: [endpoint = ""] }: Server): string {
  return endpoint;
}

/** A client of 0.1. */
class Asker extends Peer {
  override ask(service: string, ...body: string[]): Promise<string[]> {
    this.begin(service, ...body);
    return this.end();
  }

  begin(service: string, ...body: string[]): void {
    this.send("", "MDPC01", service, ...body);
  }

  /** The body of the next answer. */
  async end(): Promise<string[]> {
    return (await this.receiveText()).slice(3);
  }
}

for (const version of VERSIONS) {
  Deno.test({
    name: `a worker in Python that speaks ${version} serves all kinds of clients`,
    ignore,
    async fn() {
      await using server = open();
      await using worker = new PythonWorker(mdpOf(server), version, "mail");
      await using asker = new Asker(mdpOf(server));
      // It may ask before the worker is there.
      assert.deepEqual(await asker.ask("mail", "a", "", "b"), ["A", "", "B"]);
      assert.deepEqual(await asker.ask("mail", "parts", "of", "one"), ["PARTS", "OF", "ONE"]);
      const large = "x".repeat(300_000);
      assert.deepEqual(await asker.ask("mail", large), [large.toUpperCase()]);
      await using client = new Client({ endpoint: endpointOf(server) });
      assert.equal((await client.request("ours", { service: "mail" })).text(), "OURS");
      assert.deepEqual(await asker.ask("mmi.service", "mail"), ["200"]);
      assert.deepEqual(await asker.ask("mmi.workers", "mail"), ["1"]);
      assert.deepEqual(await asker.ask("mail", "leave"), ["LEAVE"]);
      await until("it has left", () => worker.hasEnded);
      await until("it is counted out", async () => {
        const [workers] = await asker.ask("mmi.workers", "mail");
        return workers === "0";
      });
    },
  });

  Deno.test({
    name: `a job goes to another worker of ${version} when its own dies, and is given up at last`,
    ignore,
    async fn() {
      await using server = open({ maxAttempts: 2 });
      await using asker = new Asker(mdpOf(server));
      asker.begin("mail", "sleep 600000");
      await using first = new PythonWorker(mdpOf(server), version, "mail");
      await first.said("request sleep 600000");
      first.kill();
      await using second = new PythonWorker(mdpOf(server), version, "mail");
      await second.said("request sleep 600000");
      second.kill();
      assert.deepEqual(await asker.end(), ["", "502 The worker died 2 times on this job"]);
    },
  });

  Deno.test({
    name: `a job goes to another worker of ${version} when the process of its own is stopped`,
    ignore,
    async fn() {
      await using server = open({ mdpHeartbeat: 500 });
      await using asker = new Asker(mdpOf(server));
      asker.begin("mail", "sleep 1000", "x");
      await using first = new PythonWorker(mdpOf(server), version, "mail");
      await first.said("request sleep 1000");
      first.freeze();
      await using _second = new PythonWorker(mdpOf(server), version, "mail");
      assert.deepEqual(await asker.end(), ["SLEEP 1000", "X"]);
      await until("counters.returned", () => server.stats().counters.returned === 1);
    },
  });

  Deno.test(`two workers of ${version} run a job each, and another waits for the first that is free`, async () => {
    await using server = open();
    await using one = new HandWorker(mdpOf(server), version);
    await using other = new HandWorker(mdpOf(server), version);
    one.say(Command.ready, "mail");
    other.say(Command.ready, "mail");
    await using asker = new Asker(mdpOf(server));
    await until("both are there", async () => (await asker.ask("mmi.workers", "mail"))[0] === "2");
    for (const body of ["1", "2", "3"]) asker.begin("mail", body);
    const jobs = [await one.hear(), await other.hear()];
    assert.deepEqual(jobs.map(({ frames }) => text(frames[2])).sort(), ["1", "2"]);
    await until("queue.jobs", () => server.stats().queue.jobs === 1);
    const [job] = jobs;
    assert.equal(job?.command, Command.request);
    one.say(Command.reply, ...(job?.frames ?? []));
    assert.deepEqual(await asker.end(), [text(job?.frames[2])]);
    const third = await one.hear();
    assert.equal(text(third.frames[2]), "3");
  });

  const UNEXPECTED: Record<string, (worker: HandWorker) => void> = {
    "says READY twice": (worker) => worker.say(Command.ready, "mail"),
    "answers what it was not asked": (worker) => worker.say(Command.reply, "whom", "", "x"),
    "says what no worker says": (worker) => worker.peer.send("", "hello", "world"),
    "asks as a client": (worker) => worker.peer.send("", "MDPC01", "mail", "x"),
  };
  for (const [what, act] of Object.entries(UNEXPECTED)) {
    Deno.test(`a worker of ${version} that ${what} is disconnected, and can start anew`, async () => {
      await using server = open();
      await using worker = new HandWorker(mdpOf(server), version);
      worker.say(Command.ready, "mail");
      await using asker = new Asker(mdpOf(server));
      const workers = async () => (await asker.ask("mmi.workers", "mail"))[0];
      await until("it is there", async () => await workers() === "1");
      act(worker);
      assert.equal((await worker.hear()).command, Command.disconnect);
      assert.equal(await workers(), "0");
      await until("counters.malformed", () => server.stats().counters.malformed === 1);
      worker.say(Command.ready, "mail");
      await until("it is back", async () => await workers() === "1");
    });
  }

  Deno.test(`a worker of ${version} hears heartbeats, and is given up when it says nothing`, async () => {
    await using server = open({ mdpHeartbeat: 100 });
    await using worker = new HandWorker(mdpOf(server), version);
    worker.say(Command.ready, "mail");
    const isHeartbeat = version === "0.1" ? 4 : 5;
    assert.equal((await worker.peer.receive()).at(-1)?.[0], isHeartbeat);
    assert.equal((await worker.hear()).command, Command.disconnect);
    // One that the server does not know is told to start anew.
    worker.say(Command.heartbeat);
    assert.equal((await worker.hear()).command, Command.disconnect);
  });

  Deno.test(`a worker of ${version} that works may say nothing, unless it did while it worked`, async () => {
    await using server = open({ mdpHeartbeat: 300, maxAttempts: 1 });
    await using worker = new HandWorker(mdpOf(server), version);
    await using asker = new Asker(mdpOf(server));
    asker.begin("mail", "x");
    worker.say(Command.ready, "mail");
    const job = await worker.hear();
    // Two heartbeats for each that it may miss.
    for (let count = 0; count < 6; count++) await worker.peer.receive();
    await until("running", () => server.stats().running === 1);
    worker.say(Command.heartbeat);
    assert.equal((await worker.hear()).command, Command.disconnect);
    assert.deepEqual(await asker.end(), ["", "502 The worker died 1 times on this job"]);
    assert.equal(text(job.frames[2]), "x");
  });

  Deno.test(`a worker of ${version} that takes too long is disconnected, and one whose answer is too large stays`, async () => {
    await using server = open({ requestTimeout: 300, abortGrace: 100, maxMessageSize: 1000 });
    await using worker = new HandWorker(mdpOf(server), version);
    await using asker = new Asker(mdpOf(server));
    worker.say(Command.ready, "mail");
    asker.begin("mail", "1");
    const { frames: [client = bytes("")] } = await worker.hear();
    worker.say(Command.reply, client, "", "x".repeat(1001));
    assert.deepEqual(await asker.end(), [
      "",
      "500 The reply must have at most 1000 bytes: it has 1001",
    ]);
    asker.begin("mail", "2");
    assert.equal((await worker.hear()).command, Command.request);
    assert.equal((await worker.hear()).command, Command.disconnect);
    assert.deepEqual(await asker.end(), ["", "504 The handler ran past its limit of 300 ms"]);
  });
}

Deno.test({
  name: "docs/majordomo.md has a worker in Python that answers, and ends with the server",
  ignore,
  async fn() {
    await using server = open({ mdpHeartbeat: 500 });
    const page = Deno.readTextFileSync(path("docs/majordomo.md"));
    const programs = [...page.matchAll(/^```python\n(.*?)^```$/gms)].map(([, text = ""]) => text);
    const program = programs.find((text) => text.includes("READY")) ?? "";
    const text = program.replace("tcp://127.0.0.1:5555", mdpOf(server));
    const ended = run(PYTHON, ["-c", text]);
    await using asker = new Asker(mdpOf(server));
    assert.deepEqual(await asker.ask("mail", "a", "b"), ["A", "B"]);
    await server.shutdown();
    assert.deepEqual(await ended, { code: 0, stdout: "", stderr: "" });
  },
});

Deno.test("parts of 0.2 are one answer, and one that is too large ends the worker", async () => {
  await using server = open({ maxFrames: 3, maxAttempts: 1 });
  await using worker = new HandWorker(mdpOf(server), "0.2");
  await using asker = new Asker(mdpOf(server));
  worker.say(Command.ready, "mail");
  asker.begin("mail", "1");
  const { frames: [client = bytes("")] } = await worker.hear();
  const part = (...body: string[]) => worker.peer.send("MDPW02", "\x03", client, "", ...body);
  part("a");
  part("b");
  worker.say(Command.reply, client, "", "c");
  assert.deepEqual(await asker.end(), ["a", "b", "c"]);
  asker.begin("mail", "2");
  const { frames: [next = bytes("")] } = await worker.hear();
  const again = (...body: string[]) => worker.peer.send("MDPW02", "\x03", next, "", ...body);
  again("a", "b");
  again("c", "d");
  assert.equal((await worker.hear()).command, Command.disconnect);
  assert.deepEqual(await asker.end(), ["", "502 The worker died 1 times on this job"]);
});

/** A worker of 0.2 that has a request of `service`; it answers in parts by hand. */
async function inParts(worker: HandWorker) {
  const { frames: [client = bytes("")] } = await worker.hear();
  return {
    part: (...body: string[]) => worker.peer.send("MDPW02", "\x03", client, "", ...body),
    end: (...body: string[]) => worker.say(Command.reply, client, "", ...body),
  };
}

Deno.test("parts of 0.2 reach those at once who take parts: our client, and a client of 0.2", async () => {
  await using server = open();
  await using worker = new HandWorker(mdpOf(server), "0.2");
  worker.say(Command.ready, "mail");
  await using client = new Client({ endpoint: endpointOf(server) });
  await using asker = new Asker(mdpOf(server));
  await until("it is there", async () => (await asker.ask("mmi.workers", "mail"))[0] === "1");
  const parts = client.stream("x", { service: "mail" })[Symbol.asyncIterator]();
  const next = async () => (await parts.next()).value?.frames.map(text);
  const first = next();
  const ours = await inParts(worker);
  ours.part("one");
  assert.deepEqual(await first, ["one"]);
  ours.part("two", "frames");
  assert.deepEqual(await next(), ["two", "frames"]);
  ours.end("last");
  assert.deepEqual(await next(), ["last"]);
  assert.equal((await parts.next()).done, true);

  await using other = new Peer(mdpOf(server));
  for (const last of [["last"], [""]]) {
    other.send("MDPC02", "\x01", "mail", "x");
    const theirs = await inParts(worker);
    theirs.part("one");
    assert.deepEqual(await other.receiveText(), ["MDPC02", "\x02", "mail", "one"]);
    theirs.end(...last);
    if (last[0] !== "") {
      assert.deepEqual(await other.receiveText(), ["MDPC02", "\x02", "mail", "last"]);
    }
    assert.deepEqual(await other.receiveText(), ["MDPC02", "\x03", "mail", ""]);
  }
  // An answer that comes at once is none in parts.
  other.send("MDPC02", "\x01", "mail", "x");
  (await inParts(worker)).end("whole");
  assert.deepEqual(await other.receiveText(), ["MDPC02", "\x03", "mail", "whole"]);
});

Deno.test("a worker of 0.2 that vanishes between two parts ends the answer, resumable or not", async () => {
  await using server = open();
  await using client = new Client({ endpoint: endpointOf(server) });
  await using asker = new Asker(mdpOf(server));
  for (const resumable of [false, true]) {
    const worker = new HandWorker(mdpOf(server), "0.2");
    worker.say(Command.ready, "mail");
    await until("it is there", async () => (await asker.ask("mmi.workers", "mail"))[0] === "1");
    const parts = client.stream("x", { service: "mail", resumable })[Symbol.asyncIterator]();
    const first = parts.next();
    (await inParts(worker)).part("one");
    assert.equal((await first).value?.text(), "one");
    await worker[Symbol.asyncDispose]();
    await assert.rejects(() => parts.next(), /502|worker died/i);
  }
});

Deno.test("what a client does not take of a worker's parts is bounded, and then it is answered 413", async () => {
  await using server = open({ maxMessageSize: 1_000_000, abortGrace: 60_000 });
  await using worker = new HandWorker(mdpOf(server), "0.2");
  await using asker = new Asker(mdpOf(server));
  worker.say(Command.ready, "mail");
  await until("it is there", async () => (await asker.ask("mmi.workers", "mail"))[0] === "1");
  await using client = new Client({ endpoint: endpointOf(server) });
  const parts = client.stream("x", { service: "mail" })[Symbol.asyncIterator]();
  const first = parts.next();
  const answer = await inParts(worker);
  // The credit is 256 KiB; 1,000,000 bytes more are kept.
  for (let count = 0; count < 14; count++) answer.part("x".repeat(100_000));
  await first;
  await until("it is given up", () => server.stats().counters.abandoned === 1);
  await assert.rejects(async () => {
    while (!(await parts.next()).done);
  }, /leaves more of the answer unread/);
  // The worker may end its answer, which nobody hears, and serves on.
  answer.end("late");
  asker.begin("mail", "again");
  (await inParts(worker)).end("served");
  assert.deepEqual(await asker.end(), ["served"]);
});

Deno.test("a worker whose client has left is disconnected if it works on, and can start anew", async () => {
  await using server = open({ abortGrace: 100 });
  await using worker = new HandWorker(mdpOf(server), "0.2");
  worker.say(Command.ready, "mail");
  {
    await using asker = new Asker(mdpOf(server));
    asker.begin("mail", "x");
    await inParts(worker);
  }
  await until("nobody waits for it", () => server.stats().counters.abandoned === 1);
  assert.equal((await worker.hear()).command, Command.disconnect);
  worker.say(Command.ready, "mail");
  await using asker = new Asker(mdpOf(server));
  asker.begin("mail", "again");
  (await inParts(worker)).end("served");
  assert.deepEqual(await asker.end(), ["served"]);
});

Deno.test("a client that reads on gets more parts of a worker than are kept for it", async () => {
  await using server = open({ maxMessageSize: 1_000_000 });
  await using worker = new HandWorker(mdpOf(server), "0.2");
  await using asker = new Asker(mdpOf(server));
  worker.say(Command.ready, "mail");
  await until("it is there", async () => (await asker.ask("mmi.workers", "mail"))[0] === "1");
  await using client = new Client({ endpoint: endpointOf(server) });
  const parts = client.stream("x", { service: "mail" })[Symbol.asyncIterator]();
  let next = parts.next();
  const answer = await inParts(worker);
  for (let count = 0; count < 60; count++) {
    answer.part(`${count} ${"x".repeat(100_000)}`);
    assert.equal((await next).value?.text().split(" ")[0], `${count}`);
    next = parts.next();
  }
  answer.end("");
  assert.equal((await next).done, true);
});

Deno.test("only clients of Majordomo wait for a service's first worker, and no longer than mdpExpiry", async () => {
  await using server = open({ mdpExpiry: 1000 });
  await using asker = new Asker(mdpOf(server));
  asker.begin("mail", "x");
  await until("it waits", () => server.stats().queue.jobs === 1);
  await using client = new Client({ endpoint: endpointOf(server) });
  await assert.rejects(
    () => client.request("x", { service: "mail" }),
    /The server has no service "mail"/,
  );
  assert.deepEqual(
    await asker.end(),
    ["", '404 The server has no service "mail": no worker came for it in time'],
  );
  assert.deepEqual(await asker.ask("mmi.service", "mail"), ["404"]);
});

Deno.test("a service ends when its last worker has been gone for mdpExpiry", async () => {
  await using server = open({ mdpExpiry: 300 });
  await using asker = new Asker(mdpOf(server));
  await using worker = new HandWorker(mdpOf(server), "0.1");
  worker.say(Command.ready, "mail");
  const exists = async () => (await asker.ask("mmi.service", "mail"))[0];
  await until("it is there", async () => await exists() === "200");
  worker.say(Command.disconnect);
  await until("it is gone", async () => await exists() === "404");
});

Deno.test("a worker can't join a service that has a handler, nor one of a name that is set aside", async () => {
  await using server = open({ services: { mail: moduleOf("export default () => 'ours';") } });
  await server.ready;
  await using asker = new Asker(mdpOf(server));
  for (const name of ["mail", "mmi.mine", "titanic.mine", "two words", "n".repeat(65)]) {
    await using worker = new HandWorker(mdpOf(server), "0.1");
    worker.say(Command.ready, name);
    assert.equal((await worker.hear()).command, Command.disconnect);
  }
  assert.deepEqual(await asker.ask("mail", "x"), ["ours"]);
});

Deno.test("nobody may be a worker unless mdpWorkers says so", async () => {
  await using server = open({ mdpWorkers: "none" });
  await using worker = new HandWorker(mdpOf(server), "0.1");
  await using asker = new Asker(mdpOf(server));
  worker.say(Command.ready, "mail");
  await until("it is counted", () => server.stats().counters.malformed === 1);
  assert.deepEqual(await asker.ask("mail", "x"), ["", '404 The server has no service "mail"']);
});

Deno.test("serve refuses mdpWorkers without an endpoint for them", () => {
  assert.throws(() => serve({ mdpWorkers: "any" }), /"mdpWorkers" needs "mdp"/);
});

Deno.test("names that are waited for are bounded", async () => {
  await using server = open();
  await using asker = new Asker(mdpOf(server));
  for (let number = 0; number <= 500; number++) asker.begin(`name${number}`, "x");
  assert.deepEqual(await asker.end(), ["", '404 The server has no service "name500"']);
  await until("queue.jobs", () => server.stats().queue.jobs === 500);
});

Deno.test("workers are told that the server leaves", async () => {
  const server = open();
  await using worker = new HandWorker(mdpOf(server), "0.2");
  await using asker = new Asker(mdpOf(server));
  worker.say(Command.ready, "mail");
  await until("it is there", async () => (await asker.ask("mmi.workers", "mail"))[0] === "1");
  await server.shutdown();
  assert.equal((await worker.hear()).command, Command.disconnect);
});

Deno.test("random frames of workers end neither the server nor another's work", async () => {
  await using server = open();
  await server.ready;
  await using asker = new Asker(mdpOf(server));
  await using honest = new HandWorker(mdpOf(server), "0.2");
  honest.say(Command.ready, "mail");
  const random = randomNumbers(2611);
  const words = ["", "MDPC01", "MDPC02", "MDPW01", "MDPW02", "mail", "other", "x".repeat(9000)]
    .map(bytes).concat([0, 1, 2, 3, 4, 5, 6, 255].map((byte) => Uint8Array.of(byte)));
  for (let round = 0; round < 20; round++) {
    await using peer = new Peer(mdpOf(server));
    for (let count = 0; count < 200; count++) {
      const head = random(2) === 0 ? [bytes(""), bytes("MDPW01")] : [bytes("MDPW02")];
      const rest = Array.from(
        { length: random(6) },
        () => words[random(words.length)] ?? bytes(""),
      );
      peer.send(...head, Uint8Array.of(random(8)), ...rest);
    }
    // It is a worker of some service, or none; whoever gets this job, the answer is one.
    asker.begin("mail", `${round}`);
    const job = await honest.hear().then(({ frames }) => frames);
    honest.say(Command.reply, ...job);
    assert.deepEqual(await asker.end(), [text(job[2])]);
  }
});
