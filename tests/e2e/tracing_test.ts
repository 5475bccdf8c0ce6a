/** Spans of OpenTelemetry, from clients, the server's workers and what their handlers call: all in one trace. */

import { strict as assert } from "node:assert";
import { path } from "../rig/checkout.ts";
import { Collector, tracingTo } from "../rig/collector.ts";
import { Folder } from "../rig/folder.ts";
import { openTracing } from "../../system/tracing.ts";
import { run } from "../rig/commands.ts";
import { linesOf } from "../rig/log_lines.ts";
import { askOnce } from "../rig/peer.ts";
import { serverFlags } from "../rig/permissions.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

function url(file: string): string {
  return new URL(`file://${path(file)}`).href;
}

/** What the first frame says is done; `fetch` asks an address, by a grant. */
const HANDLER = `
  import { trace } from "npm:@opentelemetry/api@1.9.0";
  export default async function (body, ctx) {
    const [word, argument] = new TextDecoder().decode(body).split(" ");
    if (word === "trace") return String(ctx.trace);
    if (word === "log") ctx.log.info("logged");
    if (word === "fetch") return await (await fetch(argument)).text();
    if (word === "ask") return (await ctx.request("other", argument)).text();
    if (word === "span") {
      return await trace.getTracer("mine").startActiveSpan("inner", async (span) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        const answer = await ctx.request("other", "trace");
        span.end();
        return answer.text();
      });
    }
    if (word === "fail") throw new Error("failed");
    if (word === "die" && ctx.attempt === 1) Deno.exit(9);
    if (word === "wait") {
      ctx.progress(1);
      await new Promise((_, reject) => ctx.signal.addEventListener("abort", () => reject(ctx.signal.reason)));
    }
    if (word === "parts") return (async function* () {
      yield "1";
      await new Promise((resolve) => setTimeout(resolve, 20));
      yield String(ctx.trace === undefined);
    })();
    return word;
  }
`;
const CALLS = `
  import { rpc } from "${url("worker/handler.ts")}";
  export default rpc({ user: { get: (id) => id } });
`;

const RUN = ["run", "-A", "--config", path("deno.json")];

/** Runs code with a client in a process of its own; gives the lines that it prints. */
async function ask(env: Record<string, string>, endpoint: string, code: string): Promise<string[]> {
  const module = `
    import { Client } from "${url("client.ts")}";
    import { trace } from "npm:@opentelemetry/api@1.9.0";
    await using client = new Client({ endpoint: "${endpoint}", retries: 0 });
    const text = async (...args) => console.log((await client.request(...args)).text());
    ${code}
  `;
  using folder = new Folder();
  const program = folder.write("ask.ts", module);
  const { code: exit, stdout, stderr } = await run(Deno.execPath(), [...RUN, program], { env });
  assert.equal(exit, 0, stderr);
  return stdout.trimEnd().split("\n");
}

function traceIn(traceparent: string | undefined): string {
  return traceparent?.split("-")[1] ?? "";
}

function spanIn(traceparent: string | undefined): string {
  return traceparent?.split("-")[2] ?? "";
}

/** The spans of the one request to a service in a trace: the client's, that of its wait, the handler's. */
async function chain(collector: Collector, trace: string, service = "") {
  const name = (word: string) => service === "" ? word : `${word} ${service}`;
  const send = await collector.named(trace, name("send"));
  const queue = await collector.named(trace, name("queue"));
  const process = await collector.named(trace, name("process"));
  assert.equal(queue.parentSpanId, send.spanId);
  assert.equal(process.parentSpanId, queue.spanId);
  return { send, queue, process };
}

const ID = "0af7651916cd43dd8448eb211c80319c";
const TRACE = `00-${ID}-b7ad6b7169203331-01`;

Deno.test("the spans of clients, of waiting, of handlers and of what these call make up one trace", async (test) => {
  await using collector = new Collector();
  await using backend = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    ({ headers }) => new Response(headers.get("traceparent")),
  );
  const host = `127.0.0.1:${backend.addr.port}`;
  using folder = new Folder();
  await using server = await ServerProcess.start({
    handler: HANDLER,
    env: { ...collector.env, OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test" },
    args: [
      ...["--concurrency", "8", "--workers", "1", `--handler-allow-net=${host}`],
      ...["--service", `other=${folder.write("other.ts", HANDLER)}`],
      ...["--service", `calls=${folder.write("calls.ts", CALLS)}`],
    ],
  });
  await until("all are ready", () => linesOf(server, "worker ready").length === 3);
  const asked = (code: string) => ask(collector.env, server.endpoint, code);

  await test.step("each with its own times, kind and attributes", async () => {
    const [answer] = await asked(`await text("trace");`);
    const { send, queue, process } = await chain(collector, traceIn(answer));
    assert.equal(spanIn(answer), process.spanId, "ctx.trace is the handler's own span");
    assert.equal(send.parentSpanId, "");
    assert.deepEqual([send.kind, queue.kind, process.kind], [3, 1, 5]);
    for (const { scope, attributes, failure } of [send, queue, process]) {
      assert.deepEqual([scope, attributes["messaging.system"]], ["@zmq/prefork", "zmq_prefork"]);
      assert.equal(failure, undefined);
    }
    assert.deepEqual(
      [send, process].map(({ attributes }) => attributes["messaging.operation.type"]),
      [
        "send",
        "process",
      ],
    );
    assert.equal(send.attributes["server.port"], Number(server.endpoint.split(":").at(-1)));
    assert.equal(process.attributes["messaging.message.id"], "1");
    assert.equal(process.attributes["prefork.attempt"], 1);
    assert.equal(queue.endMs, process.startMs);
    assert(queue.startMs <= queue.endMs);
    assert(Math.abs(queue.startMs - send.startMs) < send.endMs - send.startMs + 5);
    const waited = Number(process.attributes["prefork.queue.duration"]) * 1000;
    assert(Math.abs(waited - (queue.endMs - queue.startMs)) < 1);
    const { resource } = process;
    assert.equal(resource["service.name"], "prefork-worker");
    assert.equal(resource["deployment.environment.name"], "test");
    assert.match(String(resource["service.instance.id"]), /^[0-9a-f-]{36}$/);
  });

  await test.step("in the trace of the span that is active where the request is made", async () => {
    const [outer, answer, parts] = await asked(`
      await trace.getTracer("mine").startActiveSpan("outer", async (span) => {
        console.log(span.spanContext().spanId);
        await text("trace");
        console.log((await Array.fromAsync(client.stream("parts"))).length);
        span.end();
      });
    `);
    const trace = traceIn(answer);
    const sends = () =>
      collector.spans.filter(({ traceId, name }) => traceId === trace && name === "send");
    await until("both have come", () => sends().length === 2);
    assert.deepEqual(sends().map(({ parentSpanId }) => parentSpanId), [outer, outer]);
    assert.equal(parts, "2");
    const processes = () =>
      collector.spans.filter(({ traceId, name }) => traceId === trace && name === "process");
    await until("both have come", () => processes().length === 2);
    const longest = Math.max(...processes().map(({ startMs, endMs }) => endMs - startMs));
    assert(longest >= 19, "The span of an answer in parts ends with its last one");
  });

  await test.step("in the trace that is named by hand, also without tracing in the client", async () => {
    const [answer] = await asked(`await text("trace", { trace: "${TRACE}" });`);
    assert.equal(traceIn(answer), ID);
    const { send } = await chain(collector, ID);
    assert.equal(send.parentSpanId, spanIn(TRACE));
    const id = ID.replace("0a", "0b");
    await ask({}, server.endpoint, `await text("", { trace: "${TRACE.replace(ID, id)}" });`);
    const queue = await collector.named(id, "queue");
    assert.equal(queue.parentSpanId, spanIn(TRACE));
  });

  await test.step("a plain client's job starts a trace", async () => {
    const answer = (await askOnce(server.endpoint, "trace")).at(-1);
    const process = await collector.named(traceIn(answer), "process");
    assert.deepEqual([process.spanId, process.parentSpanId], [spanIn(answer), ""]);
    assert(Number(process.attributes["prefork.queue.duration"]) >= 0);
  });

  await test.step("what the handler fetches and asks is a child of its span", async () => {
    const [fetched, asking, inner] = await asked(`
      await text("fetch http://${host}/");
      await text("ask trace");
      await text("span");
    `);
    const { process } = await chain(collector, traceIn(fetched));
    const get = await collector.named(traceIn(fetched), "GET");
    assert.deepEqual([get.spanId, get.parentSpanId], [spanIn(fetched), process.spanId]);
    for (const answer of [asking, inner]) {
      const trace = traceIn(answer);
      const { send, process } = await chain(collector, trace, "other");
      assert.equal(spanIn(answer), process.spanId);
      const from = answer === inner ? await collector.named(trace, "inner") : undefined;
      const first = await chain(collector, trace);
      assert.equal(send.parentSpanId, from?.spanId ?? first.process.spanId);
      if (from !== undefined) assert.equal(from.parentSpanId, first.process.spanId);
      assert.equal(send.attributes["messaging.destination.name"], "other");
      assert.equal(process.resource["service.name"], "prefork-worker");
    }
  });

  await test.step("jobs that run side by side keep theirs apart", async () => {
    const answers = await asked(`
      await Promise.all(Array.from({ length: 20 }, (_, index) =>
        text(["fetch http://${host}/", "ask trace", "span"][index % 3])));
    `);
    const traces = new Set(answers.map(traceIn));
    assert.equal(traces.size, 20);
    for (const trace of traces) {
      const { process } = await chain(collector, trace);
      const mine = () => collector.spans.filter((span) => span.parentSpanId === process.spanId);
      await until("what it called has come", () => mine().length === 1);
      assert.deepEqual(mine().map(({ traceId }) => traceId), [trace]);
    }
  });

  await test.step("errors and cancellations are marked", async () => {
    await asked(`
      await client.request("fail").catch(() => {});
      const controller = new AbortController();
      // Once the handler says that it runs.
      const onProgress = () => controller.abort();
      const waiting = client.request("wait", { signal: controller.signal, onProgress });
      await waiting.catch(() => {});
      for await (const part of client.stream("parts")) break;
    `);
    const failed = (code: string) =>
      collector.span(
        `process ${code}`,
        ({ name, attributes }) => name === "process" && attributes["error.type"] === code,
      );
    const thrown = await failed("500");
    assert.equal(thrown.failure, "failed");
    assert.match(
      String(thrown.events[0]?.attributes["exception.stacktrace"]),
      /failed[^]*handler\.ts/,
    );
    const { send } = await chain(collector, thrown.traceId);
    assert.deepEqual([send.failure, send.attributes["error.type"]], ["failed", "500"]);
    const stopped = await failed("499");
    assert.equal(stopped.attributes["prefork.cancelled"], true);
    const given = await collector.span(
      "send",
      ({ attributes }) => attributes["error.type"] === "AbortError",
    );
    assert.equal(given.attributes["prefork.cancelled"], true);
    const left = await collector.span(
      "send",
      ({ name, attributes, failure }) =>
        name === "send" && attributes["prefork.cancelled"] === true && failure === undefined,
    );
    assert(left.endMs >= left.startMs);
  });

  await test.step("a second attempt belongs to the same trace", async () => {
    const [answer] = await asked(
      `await text("die", { trace: "${TRACE.replace(ID, ID.replace("0a", "0c"))}" });`,
    );
    assert.equal(answer, "die");
    const process = await collector.named(ID.replace("0a", "0c"), "process");
    assert.equal(process.attributes["prefork.attempt"], 2);
  });

  await test.step("typed calls are named", async () => {
    await asked(`console.log(await client.service("calls").typed().user.get("7"));`);
    for (const name of ["send calls", "process calls"]) {
      const span = await collector.span(name, (span) => span.name === name);
      assert.equal(span.attributes["rpc.method"], "user.get");
    }
  });

  await test.step("a handler's log lines name the trace, also of a plain client's job", async () => {
    await asked(`await text("log", { trace: "${TRACE}" });`);
    await askOnce(server.endpoint, "log");
    await until("both were logged", () => linesOf(server, "logged").length === 2);
    const [named, own] = linesOf(server, "logged");
    assert.equal(named?.trace, ID);
    assert.match(String(own?.trace), /^[0-9a-f]{32}$/);
  });

  await test.step("a worker that is stopped sends its last spans", async () => {
    const env = { ...collector.env, OTEL_BSP_SCHEDULE_DELAY: "3600000" };
    const slow = await ServerProcess.start({ handler: HANDLER, env, args: ["--workers", "1"] });
    try {
      const answer = (await askOnce(slow.endpoint, "trace")).at(-1);
      const isSent = () => collector.spans.some(({ traceId }) => traceId === traceIn(answer));
      assert.equal(isSent(), false);
      slow.signal("SIGTERM");
      await slow.ended();
      const process = await collector.named(traceIn(answer), "process");
      assert.equal(process.spanId, spanIn(answer));
    } finally {
      await slow[Symbol.asyncDispose]();
    }
  });
});

Deno.test("a collector that is not there costs nothing and is not spoken of", async () => {
  const env = { ...tracingTo(1), OTEL_EXPORTER_OTLP_TIMEOUT: "1000" };
  await using server = await ServerProcess.start({
    handler: HANDLER,
    env,
    args: ["--workers", "1"],
  });
  const [answer] = await ask(env, server.endpoint, `await text("trace");`);
  assert.match(answer ?? "", /^00-/);
  server.signal("SIGTERM");
  const { code } = await server.ended();
  assert.equal(code, 0);
  assert.deepEqual(server.noise, []);
  assert.deepEqual(server.lines.filter(({ level }) => level === "warn" || level === "error"), []);
});

Deno.test("workers end by themselves though their collector never answers", async () => {
  // It takes connections, and says nothing.
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using server = await ServerProcess.start({
    handler: HANDLER,
    env: { ...tracingTo(silent.addr.port), OTEL_EXPORTER_OTLP_METRICS_TIMEOUT: "100" },
    args: ["--workers", "1"],
  });
  assert.match((await askOnce(server.endpoint, "trace")).at(-1) ?? "", /^00-/);
  server.signal("SIGTERM");
  const exit = await server.line("worker exited");
  assert.deepEqual([exit.code, exit.reason], [0, "stopped"]);
  server.signal("SIGKILL");
});

Deno.test("a server that may not read the variables of tracing says that its workers are not traced", async () => {
  await using collector = new Collector();
  const permissions = serverFlags({});
  const { env } = collector;
  await using server = await ServerProcess.start({ handler: HANDLER, env, permissions });
  assert.equal(
    linesOf(server, "workers are not traced: run again with --allow-env=OTEL_*").length,
    1,
  );
  assert.equal((await askOnce(server.endpoint, "trace")).at(-1), "undefined");
});

Deno.test("without tracing there are no spans, and the API's package is not loaded", async () => {
  const { code, stdout } = await run(Deno.execPath(), ["info", "--json", path("mod.ts")]);
  assert.equal(code, 0);
  assert(!stdout.includes("opentelemetry"));
  assert.equal(openTracing(), undefined);
});
