/** The access log has one line a request, whatever becomes of it. */

import { strict as assert } from "node:assert";
import { buildRequestHeader } from "../../wire/request_header.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
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
  const args = ["--workers", "1", "--access-log", file, "--reply-cache-ttl", "1m", gate.grant];
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
      [502, 2, none, 3, lines[2]?.out],
    ].map((
      [code, attempt, ...rest],
    ) => [code, code === 502 ? lines[2]?.attempt : attempt, ...rest]),
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
