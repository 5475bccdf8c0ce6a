/** The access log has one line a request, whatever becomes of it. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { buildRequestHeader } from "../../wire/request_header.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { KeyRing } from "../rig/key_ring.ts";
import type { LogLine } from "../rig/log_lines.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

/** A handler that throws, dies, or waits for the gate when it is told so. */
function handlerBehind(gate: Gate): string {
  return `${gate.source}
    export default async (body, ctx) => {
      const word = new TextDecoder().decode(body);
      if (word === "throw") throw new Error("no");
      if (word === "die") Deno.exit(1);
      if (word === "wait") {
        ctx.log.info("waits");
        await passed();
      }
      return [word, "more"];
    };`;
}

/** How many workers may die on a request. */
const MOST = 2;

function linesIn(file: string): LogLine[] {
  return Deno.readTextFileSync(file).split("\n").filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

function keyed(id: number): Uint8Array<ArrayBuffer> {
  return buildRequestHeader({ id, key: "same" });
}

Deno.test("the access log has a line for each request: answers, errors, deaths, what is shared", async () => {
  using folder = new Folder();
  const file = `${folder.path}/access.log`;
  using gate = new Gate();
  const most = ["--max-attempts", String(MOST)];
  const args = [
    ...most,
    "--workers",
    "1",
    "--access-log",
    file,
    "--reply-cache-ttl",
    "1m",
    gate.grant,
  ];
  await using server = await ServerProcess.start({
    handler: handlerBehind(gate),
    args: [...args, "--max-message-size", "100"],
  });
  await using peer = new Peer(server.endpoint, { identity: "bob" });
  assert.deepEqual(await peer.ask("hello", "you"), ["hello", "more"]);
  for (const word of ["throw", "die"]) await peer.ask(word);
  peer.send(keyed(1), "", "wait");
  peer.send(keyed(2), "", "wait");
  await server.line("waits");
  const waits = performance.now();
  await until("the second one has joined", async () => (await server.state()).requests === 5);
  const waited = performance.now() - waits;
  gate.open();
  await peer.receive();
  await peer.receive();
  peer.send(keyed(3), "", "wait");
  await peer.receive();
  await peer.ask("x".repeat(150));
  const lines = await until("all are written", () => {
    const lines = linesIn(file);
    return lines.length >= 7 && lines;
  });
  const facts = lines.map((
    { code, attempt, shared, in: size, out },
  ) => [code, attempt, shared, size, out]);
  const none = undefined;
  assert.deepEqual(
    facts.slice(0, 3),
    [
      [200, 1, none, 8, 9],
      [500, 1, none, 5, 2],
      [502, MOST, none, 3, lines[2]?.out],
    ],
  );
  assert.deepEqual(facts.slice(3, 6), [
    [200, 1, none, 4, 8],
    [200, 1, "joined", 4, 8],
    [200, none, "cached", 4, 8],
  ]);
  assert.equal(facts[6]?.[0], 413);
  for (const line of lines) {
    assert.deepEqual([line.message, line.client, line.identity], ["request", "127.0.0.1", "bob"]);
    assert.ok(Number(line.total) >= Number(line.queued));
  }
  assert.ok(Number(lines[3]?.handler) >= Math.floor(waited), `${lines[3]?.handler} < ${waited}`);
  assert.equal(lines[5]?.handler, undefined);
});

Deno.test("the access log names a stored job, its user and the try, and so does the log of one that has failed", async () => {
  using folder = new Folder();
  using ring = new KeyRing("alice");
  const accessLog = `${folder.path}/access.log`;
  const failures: unknown[] = [];
  await using server = serveQuietly({
    handler: moduleOf(`
      export default (_, { attempt }) => {
        if (attempt === 1) Deno.exit(3);
        if (attempt === 2) throw new Error("no");
        return "done";
      };
    `),
    ...{ workers: 1, store: `${folder.path}/jobs.db`, accessLog, logFormat: "json" },
    ...{ curveSecretKey: ring.secretKeyFile, curveClients: ring.list },
    onError: ({ id, attempt, code, client: { user } }) =>
      void failures.push({ id, attempt, code, user }),
  });
  const keyFile = ring.writeSecret("alice", ring.pair("alice").secretKey);
  const curve = { serverKey: ring.server.publicKey, keyFile };
  await using client = new Client({ endpoint: endpointOf(server), curve });
  const { id } = await client.submit("hello", { backoff: { min: 1, max: 1 } });
  assert.equal((await client.job(id).result({ wait: 30_000 })).text(), "done");
  const lines = await until("all are written", () => {
    const lines = linesIn(accessLog);
    return lines.length >= 5 && lines;
  });
  for (const line of lines) assert.deepEqual([line.id, line.user], [id, "alice"]);
  const runs = lines.filter(({ job }) => job !== undefined);
  assert.deepEqual(runs.map(({ attempt, code, in: bytes }) => [attempt, code, bytes]), [
    ...[[1, 502, 5], [2, 500, 5], [3, 200, 5]],
  ]);
  const asked = lines.filter(({ job }) => job === undefined).map(({ service }) => service);
  assert.deepEqual(new Set(asked), new Set(["job.submit", "job.result"]));
  assert.deepEqual(failures, [
    { id, attempt: 1, code: 502, user: "alice" },
    { id, attempt: 2, code: 500, user: "alice" },
  ]);
});

Deno.test("the access log follows a rotation, and has what is asked last", async () => {
  using folder = new Folder();
  const file = `${folder.path}/access.log`;
  const args = ["--workers", "1", "--access-log", file];
  // With the least permissions a rotation is followed at HUP only.
  await using server = await ServerProcess.start({ args, permissions: ["-A"] });
  await using peer = new Peer(server.endpoint);
  await peer.ask("one");
  await until("it is written", () => linesIn(file).length === 1);
  Deno.renameSync(file, `${file}.1`);
  await until("there is a new file", () => {
    return [...Deno.readDirSync(folder.path)].some(({ name }) => name === "access.log");
  });
  await peer.ask("two");
  server.signal("SIGTERM");
  await server.ended();
  assert.deepEqual([linesIn(`${file}.1`).length, linesIn(file).length], [1, 1]);
});

Deno.test("the access log says 499 of a request whose client has left", async () => {
  using folder = new Folder();
  const file = `${folder.path}/access.log`;
  using gate = new Gate();
  const args = ["--workers", "1", "--access-log", file, gate.grant];
  await using server = await ServerProcess.start({ handler: handlerBehind(gate), args });
  {
    await using peer = new Peer(server.endpoint);
    for (let sent = 0; sent < 5; sent++) peer.send("", "wait");
    await until("they are there", async () => Number((await server.state()).requests) === 5);
  }
  await until("its connection is gone", async () => (await server.state()).connections === 0);
  gate.open();
  await until("all are written", () => linesIn(file).length === 5);
  assert.ok(linesIn(file).some(({ code }) => code === 499));
});
