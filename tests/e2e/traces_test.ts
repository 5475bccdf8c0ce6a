/** The trace of a request, passed on by hand: from the client to the handler, to other services, and to the log. */

import { strict as assert } from "node:assert";
import { Client, ReplyError } from "../../client.ts";
import type { RequestErrorEvent, ServeOptions } from "../../mod.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { lineIn, readLog } from "../rig/log_lines.ts";
import { askOnce } from "../rig/peer.ts";

const ID = "0af7651916cd43dd8448eb211c80319c";
const TRACE = `00-${ID}-b7ad6b7169203331-01`;

function runClient(args: string[]) {
  return run(Deno.execPath(), ["run", "-A", path("client.ts"), ...args]);
}

const LANES: Record<string, Partial<ServeOptions>> = {
  records: {},
  zmq: { backend: "tcp://127.0.0.1:0" },
};

/** Answers with its trace; "ask" asks the service `echo`, "die" dies at its first attempt, "fail" throws. */
const HANDLER = moduleOf(`
  export default async (body, ctx) => {
    const word = new TextDecoder().decode(body);
    if (word === "ask") return (await ctx.request("echo", "")).frames;
    if (word === "die" && ctx.attempt === 1) Deno.exit(9);
    if (word === "parts") return (async function* () { yield ctx.trace; yield ctx.trace; })();
    if (word === "fail") throw new Error("failed");
    ctx.log.info("asked");
    return String(ctx.trace);
  };
`);

for (const [lane, options] of Object.entries(LANES)) {
  Deno.test(`A trace goes from the client to the handler and to what it asks, over the lane of ${lane}`, async () => {
    using folder = new Folder();
    const failures: RequestErrorEvent[] = [];
    const [log, visits] = [folder.path + "/log", folder.path + "/visits"];
    await using server = serveQuietly({
      ...options,
      handler: HANDLER,
      services: { echo: HANDLER },
      workers: 1,
      logLevel: "info",
      logFile: log,
      logFormat: "json",
      accessLog: visits,
      onError: (event) => void failures.push(event),
    });
    await server.ready;
    const endpoint = endpointOf(server);
    await using client = new Client({ endpoint });
    const ask = async (word: string, trace?: string) =>
      (await client.request(word, { trace })).text();
    assert.equal(await ask("", TRACE), TRACE);
    assert.equal(await ask("ask", TRACE), TRACE, "ctx.request passes it on");
    assert.equal(await ask("die", TRACE), TRACE, "a second attempt has it, too");
    assert.equal(await ask(""), "undefined");
    assert.equal(await ask("ask"), "undefined");
    assert.equal((await askOnce(endpoint, "")).at(-1), "undefined");
    const parts = await Array.fromAsync(client.stream("parts", { trace: TRACE }));
    assert.deepEqual(parts.map((part) => part.text()), [TRACE, TRACE]);
    await assert.rejects(client.request("fail", { trace: TRACE }), ReplyError);
    await assert.rejects(client.request("fail"), ReplyError);
    const cli = await runClient(["-e", endpoint, "--data", "", "--trace", TRACE]);
    assert.equal(cli.stdout, `${TRACE}\n`);

    await lineIn(log, "request failed", 2);
    assert.deepEqual(failures.map(({ trace }) => trace), [ID, undefined]);
    const traces = (file: string, message: string) =>
      readLog(file).filter((line) => line.message === message).map(({ trace }) => trace);
    assert.deepEqual(traces(log, "request failed"), [ID, undefined]);
    await lineIn(log, "asked", 7);
    assert.deepEqual(traces(log, "asked").map(String).sort(), [
      ...[ID, ID, ID, ID],
      ...["undefined", "undefined", "undefined"],
    ]);
    await server.shutdown();
    const seen = readLog(visits).map(({ trace }) => trace);
    assert.equal(seen.filter((trace) => trace === ID).length, 7);
    assert(seen.every((trace) => trace === ID || trace === undefined));
  });
}

Deno.test("Client refuses what is no traceparent, and a plain one has no trace", async () => {
  await using client = new Client({ endpoint: "tcp://127.0.0.1:1" });
  for (const trace of ["", "x", TRACE.toUpperCase(), TRACE + "0", `ff${TRACE.slice(2)}`]) {
    await assert.rejects(client.request("", { trace }), RangeError);
    assert.throws(() => client.stream("", { trace }), RangeError);
  }
  await assert.rejects(client.service("a").request("", { trace: "x" }), RangeError);
  await using plain = new Client({ endpoint: "tcp://127.0.0.1:1", plain: true });
  await assert.rejects(plain.request("", { trace: TRACE }), TypeError);
  const { code, stderr } = await runClient(["--data", "", "--trace", "x"]);
  assert.equal(code, 2);
  assert.match(stderr, /"trace" must be a traceparent/);
});
