/** Time limits, requests that are taken back, and requests of one key, as clients meet them. */

import { parseStatus } from "../rig/status.ts";
import { strict as assert } from "node:assert";
import { Client, ReplyError } from "../../client.ts";
import { Gate } from "../rig/gate.ts";
import { linesOf } from "../rig/log_lines.ts";
import { header } from "../rig/messages.ts";
import { Peer } from "../rig/peer.ts";
import { isAlive } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const ONE_WORKER = ["--workers", "1"];

/** Does what a body asks for. */
const HANDLER = `
  const decoder = new TextDecoder();
  let count = 0;
  export default async (body, { signal, log, attempt }) => {
    const word = decoder.decode(body);
    const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
    log.info("begins " + word);
    if (word === "count") return String(++count);
    if (word === "spin") for (;;);
    if (word === "deaf") await new Promise((resolve) => setTimeout(resolve, 1e6));
    if (word === "throws") { await aborted; throw signal.reason; }
    if (word === "answers") { await aborted; return "late but good"; }
    return word + " " + attempt;
  };`;

/** The code of a reply to a request with a header, and its text. */
async function answer(peer: Peer): Promise<[number | undefined, string]> {
  const frames = await peer.receive();
  const split = frames.findIndex((frame) => frame.length === 0);
  const [status, body] = frames.slice(split + 1);
  return [status && parseStatus(status), text(body)];
}

function start(...args: string[]): Promise<ServerProcess> {
  return ServerProcess.start({ handler: HANDLER, args: [...ONE_WORKER, ...args] });
}

const RAN_PAST = "The handler ran past its limit";

Deno.test("a handler that throws when its time limit passes is answered 504 and keeps its worker", async () => {
  await using server = await start("--request-timeout", "100ms");
  await using peer = new Peer(server.endpoint);
  const [worker] = server.workers;
  assert.deepEqual(await peer.ask("throws"), ["", `504 ${RAN_PAST}`]);
  assert.deepEqual(await peer.ask("x"), ["x 1"]);
  assert.deepEqual(server.workers, [worker]);
});

Deno.test("a handler that answers soon after its time limit has passed is heard", async () => {
  await using server = await start("--request-timeout", "100ms");
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("answers"), ["late but good"]);
});

for (const word of ["spin", "deaf"]) {
  const what = word === "spin" ? "is in an endless loop" : "does not listen to its signal";
  Deno.test(`a handler that ${what} loses its worker, and its client gets 504`, async () => {
    await using server = await start("--request-timeout", "100ms", "--abort-grace", "200ms");
    await using peer = new Peer(server.endpoint);
    await using other = new Peer(server.endpoint);
    const [worker] = server.workers;
    peer.send("", word);
    await server.line(`begins ${word}`);
    other.send("", "x");
    const [, ...reply] = await peer.receiveText();
    assert.deepEqual(reply, ["", `504 ${RAN_PAST} of 100 ms`]);
    // What waited is served by a fresh worker, and that was no attempt.
    assert.deepEqual(await other.receiveText(), ["", "x 1"]);
    await until("the old worker is gone", () => !isAlive(Number(worker)));
    const exit = await server.line("worker exited");
    assert.equal(exit.reason, "overran");
    assert.equal(exit.signal, "SIGKILL");
    assert.equal(linesOf(server, "the handler does not stop, its worker is stopped").length, 1);
    const { overran, strayReplies } = await server.state();
    assert.deepEqual({ overran, strayReplies }, { overran: 1, strayReplies: 0 });
  });
}

Deno.test("a request may ask for less time than the server allows, not for more", async () => {
  await using server = await start("--request-timeout", "300ms");
  await using peer = new Peer(server.endpoint);
  for (const requestTimeout of [50, 3_600_000]) {
    peer.send(header(1, 60_000, { requestTimeout }), "", "throws");
    assert.deepEqual(await answer(peer), [504, RAN_PAST]);
  }
  await using client = new Client({ endpoint: server.endpoint });
  await assert.rejects(
    client.request("throws", { requestTimeout: 50 }),
    (error) => error instanceof ReplyError && error.code === 504,
  );
});

Deno.test("a job is not begun when its deadline passes while it waits at its worker", async () => {
  const handler = `export default (body, { log }) => {
    const word = new TextDecoder().decode(body);
    log.info("begins " + word);
    if (word === "hold") for (const end = Date.now() + 1500; Date.now() < end;);
    return word;
  };`;
  const args = [...ONE_WORKER, "--prefetch-budget", "60s"];
  await using server = await ServerProcess.start({ handler, args });
  await using peer = new Peer(server.endpoint);
  await using other = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("warm"), ["warm"]);
  other.send("", "hold");
  await server.line("begins hold");
  peer.send(header(1, 100), "", "too late");
  assert.deepEqual(await other.receiveText(), ["", "hold"]);
  assert.equal((await answer(peer))[0], 408);
  assert.deepEqual(linesOf(server, "begins too late"), []);
  assert.equal((await server.state()).expired, 1);
});

Deno.test("a request is answered 499 when its client takes it back while it waits", async () => {
  await using server = await start();
  await using peer = new Peer(server.endpoint);
  await using client = new Client({ endpoint: server.endpoint });
  const held = new AbortController();
  const holding = client.request("answers", { signal: held.signal, timeout: 60_000 });
  await server.line("begins answers");
  peer.send(header(7), "", "unwanted");
  await until("it waits", async () => (await server.state()).queued === 1);
  peer.send(header(7, 0, { type: "cancel" }), "", "");
  assert.deepEqual(await answer(peer), [499, "The request was cancelled"]);
  held.abort();
  await assert.rejects(holding, { name: "AbortError" });
  assert.equal((await client.request("x")).text(), "x 1");
  assert.deepEqual(linesOf(server, "begins unwanted"), []);
  assert.equal((await server.state()).cancelled, 2);
});

Deno.test("a running job's signal fires and it ends 499 when its client takes it back", async () => {
  await using server = await start();
  await using peer = new Peer(server.endpoint);
  const [worker] = server.workers;
  for (const word of ["throws", "answers"]) {
    peer.send(header(7), "", word);
    await server.line(`begins ${word}`);
    peer.send(header(7, 0, { type: "cancel" }), "", "");
    assert.deepEqual(await answer(peer), [499, "The request was cancelled"]);
  }
  assert.deepEqual(server.workers, [worker]);
});

Deno.test("a job that goes on after its client has left loses its worker, and that is no death of others", async () => {
  await using server = await start("--abort-grace", "200ms");
  await using stays = new Peer(server.endpoint);
  {
    await using leaves = new Peer(server.endpoint);
    leaves.send("", "spin");
    await server.line("begins spin");
    stays.send("", "x");
    await until("it waits", async () => (await server.state()).queued === 1);
  }
  assert.deepEqual(await stays.receiveText(), ["", "x 1"]);
  assert.equal((await server.line("worker exited")).reason, "overran");
  const { abandoned, overran } = await server.state();
  assert.deepEqual({ abandoned, overran }, { abandoned: 1, overran: 0 });
});

for (const others of [false, true]) {
  const how = others ? "though its connection stays open for others" : "by leaving it";
  Deno.test(`a lazy pirate that asks again takes its own old try back ${how}`, async () => {
    const args = ["--workers", "3", "--abort-grace", "0"];
    await using server = await ServerProcess.start({ handler: HANDLER, args });
    await using client = new Client({ endpoint: server.endpoint });
    if (others) client.request("deaf", { timeout: 60_000, retries: 0 }).catch(() => {});
    const asked = client.request("deaf", { timeout: 500, retries: 1 });
    await assert.rejects(asked, { name: "AbandonedError" });
    // The last try's connection is nobody else's.
    await until("both tries are", async () => {
      const { cancelled, abandoned } = await server.state();
      return cancelled === (others ? 1 : 0) && abandoned === (others ? 1 : 2);
    });
  });
}

Deno.test("a job goes on though its client has left when there is no grace", async () => {
  using gate = new Gate();
  const handler = `${gate.source}
    export default async (body, { log }) => {
      log.info("begins");
      await passed();
      log.info("ends");
      return body;
    };`;
  const args = [...ONE_WORKER, "--abort-grace", "0", gate.grant];
  await using server = await ServerProcess.start({ handler, args });
  {
    await using leaves = new Peer(server.endpoint);
    leaves.send("", "x");
    await server.line("begins");
  }
  await until("it is known", async () => (await server.state()).abandoned === 1);
  gate.open();
  await server.line("ends");
  assert.deepEqual(linesOf(server, "worker exited"), []);
});

Deno.test("requests of one key get one answer when the first is still waiting or running", async () => {
  using gate = new Gate();
  const handler = `${gate.source}
    let count = 0;
    export default async (_body, { log }) => {
      log.info("begins");
      await passed();
      return "answer " + ++count;
    };`;
  await using server = await ServerProcess.start({ handler, args: [...ONE_WORKER, gate.grant] });
  await using client = new Client({ endpoint: server.endpoint });
  await using other = new Client({ endpoint: server.endpoint });
  const asked = [client.request("x", { key: "k" })];
  await server.line("begins");
  asked.push(other.request("y", { key: "k" }), client.request("z", { key: "k" }));
  const different = client.request("x", { key: "another" });
  await until("all are there", async () => (await server.state()).requests === 4);
  gate.open();
  const replies = await Promise.all(asked);
  assert.deepEqual(replies.map((reply) => reply.text()), Array(3).fill("answer 1"));
  assert.equal((await different).text(), "answer 2");
  assert.equal((await client.request("x", { key: "k" })).text(), "answer 3");
  assert.equal((await server.state()).joined, 2);
});

Deno.test("a request with a key that is tried again joins its first try", async () => {
  using gate = new Gate();
  const handler = `${gate.source}
    let count = 0;
    export default async () => (await passed(), "answer " + ++count);`;
  await using server = await ServerProcess.start({ handler, args: [...ONE_WORKER, gate.grant] });
  await using client = new Client({ endpoint: server.endpoint });
  const asked = client.request("x", { key: "k", timeout: 300, retries: 200 });
  await until("it was tried again", async () => Number((await server.state()).joined) >= 2);
  gate.open();
  assert.equal((await asked).text(), "answer 1");
  const { answered, returned, abandoned } = await server.state();
  assert.deepEqual({ answered, returned, abandoned }, { answered: 1, returned: 0, abandoned: 0 });
});

Deno.test("an answer is kept for its key when there is a cache, and none without", async () => {
  await using server = await start("--reply-cache-ttl", "1h");
  await using client = new Client({ endpoint: server.endpoint });
  const ask = async (key: string) => (await client.request("count", { key })).text();
  assert.equal(await ask("a"), "1");
  assert.equal(await ask("a"), "1");
  assert.equal(await ask("b"), "2");
  assert.equal(await ask("a"), "1");
  assert.equal((await client.request("count")).text(), "3");
  assert.equal((await server.state()).cached, 2);
  await using forgetful = await start();
  await using asking = new Client({ endpoint: forgetful.endpoint });
  for (const count of ["1", "2"]) {
    assert.equal((await asking.request("count", { key: "a" })).text(), count);
  }
});

Deno.test("a client has no more than maxQueuePerClient requests waiting", async () => {
  await using server = await start("--max-queue-per-client", "2");
  await using greedy = new Peer(server.endpoint);
  await using modest = new Peer(server.endpoint);
  greedy.send("", "deaf");
  await server.line("begins deaf");
  for (let sent = 0; sent < 3; sent++) greedy.send("", "x");
  const refused = "503 The client has 2 requests waiting, which is the limit";
  assert.deepEqual((await greedy.receiveText()).slice(1), ["", refused]);
  modest.send("", "x");
  await until("it waits", async () => (await server.state()).queued === 3);
});
