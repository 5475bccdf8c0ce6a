/** Services whose requests are all stored, endpoints of stored jobs alone, and stored jobs while the server ends. */

import { strict as assert } from "node:assert";
import { Client, ReplyError } from "../../client.ts";
import type { ServeOptions, Server } from "../../mod.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { until } from "../rig/wait.ts";

const HANDLER = moduleOf(`
  import { RequestError } from "${import.meta.resolve("../../worker.ts")}";
  const decoder = new TextDecoder();
  const runs = new Map();
  export default async (body, { job, attempt, frames }) => {
    const [word, name] = frames.map((frame) => decoder.decode(frame));
    if (word === "runs") return String(runs.get(name) ?? 0);
    runs.set(name, (runs.get(name) ?? 0) + 1);
    if (word === "fail") throw new RequestError(422, "No such item", { details: { item: 7 } });
    if (word === "die" && attempt === 1) Deno.exit(7);
    if (word === "slow") await new Promise((done) => setTimeout(done, 300));
    return [job === undefined ? "request" : "job " + attempt, word, ...frames.slice(1)];
  };
`);

/** A server whose service "kept" has its requests stored, and whose service "plain" has not. */
function start(folder: Folder, options: ServeOptions = {}): Server {
  return serveQuietly({
    ...{ workers: 1, store: `sqlite:${folder.path}/jobs.db` },
    ...{ jobs: "tcp://127.0.0.1:0", mdp: "tcp://127.0.0.1:0" },
    services: {
      kept: { handler: HANDLER, durable: true, frontend: "tcp://127.0.0.1:0" },
      plain: { handler: HANDLER },
    },
    ...options,
  });
}

async function failure(promise: Promise<unknown>): Promise<ReplyError> {
  const error = await promise.catch((error: unknown) => error);
  if (error instanceof ReplyError) return error;
  throw error;
}

/** Asks by a command at the endpoint of stored jobs: the frames, the first one as JSON. */
async function command(server: Server, ...frames: string[]) {
  const [first = "", ...others] = await askOnce(server.jobEndpoints[0] ?? "", ...frames);
  return { words: first === "" ? undefined : JSON.parse(first), others };
}

Deno.test("stored requests and plain clients' stored jobs", async (t) => {
  using folder = new Folder();
  await using server = start(folder);
  await server.ready;
  await using client = new Client({ endpoint: endpointOf(server) });
  const kept = server.services.kept?.frontend[0] ?? "";

  await t.step("a request to a durable service is answered by its job, whoever asks", async () => {
    assert.deepEqual(await askOnce(kept, "hello", "one"), ["job 1", "hello", "one"]);
    const reply = await client.request(["hello", "two"], { service: "kept" });
    assert.deepEqual(reply.frames.map((each) => new TextDecoder().decode(each)), [
      "job 1",
      "hello",
      "two",
    ]);
    await using majordomo = new Peer(server.mdp[0] ?? "");
    majordomo.send("", "MDPC01", "kept", "hello", "three");
    const answer = (await majordomo.receive()).map((each) => new TextDecoder().decode(each));
    assert.deepEqual(answer, ["", "MDPC01", "kept", "job 1", "hello", "three"]);
    assert.equal((await client.request(["hello"], { service: "plain" })).text(), "request");
  });

  await t.step("its worker's death is survived, its error answered once it is final", async () => {
    assert.deepEqual((await askOnce(kept, "die", "x"))[0], "job 2");
    const error = await failure(client.request(["fail", "f"], { service: "kept", retries: 0 }));
    assert.deepEqual([error.code, error.message, error.details], [422, "No such item", {
      item: 7,
    }]);
    assert.deepEqual(await askOnce(kept, "fail", "f"), ["", "422 No such item"]);
  });

  await t.step("a client that leaves does not stop the job", async () => {
    const leaving = new Peer(kept);
    leaving.send("", "slow", "left");
    await until("its job runs", async () => {
      const { total } = await server.stored.list({ service: "kept", state: "running" });
      return total === 1;
    });
    await leaving[Symbol.asyncDispose]();
    const runs = await client.request(["runs", "left"], { service: "kept" });
    assert.equal(runs.text(), "1");
    const { jobs } = await server.stored.list({ service: "kept", limit: 1000 });
    assert.equal(jobs.filter(({ state }) => state === "cancelled").length, 0);
  });

  await t.step("a plain request that is sent again is a second job", async () => {
    for (let time = 0; time < 2; time++) await askOnce(kept, "hello", "again");
    assert.equal((await client.request(["runs", "again"], { service: "kept" })).text(), "2");
  });

  await t.step(
    "the program that runs the server submits jobs itself, and asks about them",
    async () => {
      const { id, isNew } = await server.stored.submit(["hello", "own"], { service: "plain" });
      assert.equal(isNew, true);
      const job = server.stored.job(id);
      const reply = await job.result({ wait: 20_000 });
      assert.deepEqual(reply.frames.map((frame) => new TextDecoder().decode(frame)), [
        ...["job 1", "hello", "own"],
      ]);
      assert.equal((await job.status()).state, "done");
      assert.equal((await client.job(id).result()).text(), "job 1", "it is a job as all are");
      const failed = await server.stored.submit(["fail"], { service: "plain", retries: 0 });
      const error = await failure(server.stored.job(failed.id).result({ wait: 20_000 }));
      assert.deepEqual([error.code, error.message, error.details], [422, "No such item", {
        item: 7,
      }]);
      const far = await server.stored.submit("x", {
        service: "plain",
        delay: 3_600_000,
        key: "far",
      });
      assert.deepEqual(await server.stored.submit("y", { service: "plain", key: "far" }), {
        id: far.id,
        isNew: false,
      });
      assert.equal((await server.stored.job(far.id).cancel()).state, "cancelled");
      await server.stored.job(far.id).forget();
      assert.equal((await failure(server.stored.job(far.id).status())).code, 404);
      assert.equal((await failure(server.stored.submit("x", { service: "nowhere" }))).code, 404);
    },
  );

  await t.step("requests of one key have one job", async () => {
    const ask = () => client.request(["slow", "key"], { service: "kept", key: "k" });
    const replies = await Promise.all([ask(), ask()]);
    assert.deepEqual(replies.map((reply) => reply.frames.length), [3, 3]);
    assert.equal((await client.request(["runs", "key"], { service: "kept" })).text(), "1");
  });

  await t.step("a plain client submits, asks and cancels by commands", async () => {
    const { words } = await command(server, "submit", '{"service":"plain"}', "hello", "you");
    assert.equal(words.isNew, true);
    const { id } = words;
    const asked = await command(server, "result", JSON.stringify({ id, wait: 20_000 }));
    assert.deepEqual([asked.words.id, asked.words.state], [id, "done"]);
    assert.deepEqual(asked.others, ["job 1", "hello", "you"]);
    assert.equal((await command(server, "status", JSON.stringify({ id }))).words.state, "done");
    const later = await command(server, "submit", '{"service":"plain","delay":600000}', "x");
    const cancelled = await command(server, "cancel", JSON.stringify({ id: later.words.id }));
    assert.equal(cancelled.words.state, "cancelled");
  });

  await t.step("a plain client gets the error of a job that has failed without a run", async () => {
    const first = await command(server, "submit", '{"service":"plain","delay":600000}', "x");
    const { id: cause } = first.words;
    const options = { service: "plain", after: [cause] };
    const { words: { id } } = await command(server, "submit", JSON.stringify(options), "y");
    await command(server, "cancel", JSON.stringify({ id: cause }));
    const { words, others } = await command(
      server,
      ...["result", JSON.stringify({ id, wait: 20_000 })],
    );
    const message = `The job ${cause}, which it waits for, has not been done`;
    assert.deepEqual([words.state, words.code, words.message], ["failed", 424, message]);
    assert.deepEqual(others, [message]);
  });

  await t.step("what is wrong is said in the form of plain errors", async () => {
    const said = async (...frames: string[]) => (await command(server, ...frames)).others[0] ?? "";
    assert.match(await said("dance", "{}", "x"), /^400 The first frame must be submit, status/);
    assert.match(await said("submit"), /^400 "submit" needs a frame of JSON/);
    assert.match(await said("submit", "{"), /^400 The frame of JSON must be an object, such as/);
    assert.match(await said("submit", '{"service":"plain"}'), /^400 A job needs a body/);
    assert.match(await said("submit", '{"service":"nowhere"}', "x"), /^404 /);
    assert.match(await said("submit", "{}", "x"), /^404 .*names none/);
    assert.match(await said("submit", '{"color":1}', "x"), /^400 Unknown option "color": use/);
    assert.match(await said("status", `{"id":"j-${"0".repeat(32)}"}`), /^404 /);
    const { code } = await failure(client.request("x", { service: "job.dance", retries: 0 }));
    assert.equal(code, 404);
    const { code: kept } = await failure(
      client.request("x", { service: "job.checkpoint", retries: 0 }),
    );
    assert.equal(kept, 403);
  });

  await t.step("at a service's own endpoint only its jobs can be submitted", async () => {
    await using own = new Client({ endpoint: kept });
    const { id } = await own.submit(["hello", "own"]);
    assert.equal((await own.job(id).status()).service, "kept");
    assert.equal((await failure(own.submit("x", { service: "plain" }))).code, 404);
  });

  await t.step("a question that waits is answered when its client's time is up", async () => {
    const { id } = await client.submit("x", { service: "plain", delay: 600_000 });
    const question = [JSON.stringify({ id, wait: 600_000 })];
    const reply = await client.request(question, {
      service: "job.result",
      timeout: 500,
      retries: 0,
    });
    assert.equal(reply.json<{ state: string }>().state, "scheduled");
  });

  await t.step("a server that stops answers who waits, and does not wait itself", async () => {
    const { id } = await client.submit("x", { service: "plain", delay: 600_000 });
    const waiting = client.request([JSON.stringify({ id, wait: 600_000 })], {
      ...{ service: "job.result", timeout: 60_000, retries: 0 },
    });
    // It comes behind the question, over the same connection.
    await client.job(id).status();
    const [reply] = await Promise.all([waiting, server.shutdown()]);
    assert.equal(reply.json<{ state: string }>().state, "scheduled");
  });
});

Deno.test("what was stored is run by the next server, and told to who asks for it", async () => {
  using folder = new Folder();
  const ids: string[] = [];
  {
    await using server = start(folder);
    await using client = new Client({ endpoint: endpointOf(server) });
    server.pause("plain");
    for (let count = 0; count < 20; count++) {
      ids.push((await client.submit(["hello", String(count)], { service: "plain" })).id);
    }
    // It ends while some of them wait for a worker.
  }
  await using server = start(folder);
  await using client = new Client({ endpoint: endpointOf(server) });
  for (const [index, id] of ids.entries()) {
    const { frames } = await client.job(id).result({ wait: 30_000 });
    assert.equal(new TextDecoder().decode(frames[2]), String(index));
  }
});

Deno.test("without a store jobs are refused with 507 and the reason, and requests go on", async () => {
  await using server = serveQuietly({ handler: HANDLER, workers: 1, store: "off" });
  await using client = new Client({ endpoint: endpointOf(server) });
  for (let round = 0; round < 2; round++) {
    const error = await failure(client.submit("hello"));
    assert.deepEqual([error.code, /"store" is "off"/.test(error.message)], [507, true]);
    assert.equal((await client.request(["hello"])).text(), "request");
  }
});
