/** What bounds a worker: its memory, its age and its heap; and what becomes of one that goes beyond. */

import { strict as assert } from "node:assert";
import { Gate } from "../rig/gate.ts";
import { leastReady, linesOf, type LogLine } from "../rig/log_lines.ts";
import { errorReply } from "../rig/messages.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { ENVIRONMENT, type ServerOptions, ServerProcess } from "../rig/server_process.ts";
import { Traffic } from "../rig/traffic.ts";
import { until } from "../rig/wait.ts";
import { serverFlags } from "../rig/permissions.ts";

const MiB = 1024 ** 2;

/** Keeps as many MiB as it is asked for, and tells its pid. */
const KEEPER = `const kept = [];
  export default (body) => {
    const size = Number(new TextDecoder().decode(body));
    if (size > 0) kept.push(new Uint8Array(size * ${MiB}).fill(1));
    return String(Deno.pid);
  };`;

/** Fills the heap when it is asked to. */
const GLUTTON = `export default (body) => {
  if (new TextDecoder().decode(body) !== "eat") return String(Deno.pid);
  const eaten = [];
  for (;;) eaten.push(Array.from({ length: 1000 }, () => ({ crumb: Math.random() })));
};`;

function exitsOf(server: ServerProcess, reason: string): LogLine[] {
  return linesOf(server, "worker exited").filter((line) => line.reason === reason);
}

const linux = Deno.build.os === "linux";

/** Who looks at the memory of workers, by what the server may do: only with all it may read /proc. */
const OBSERVERS: Record<string, ServerOptions & { ignore: boolean }> = {
  "the server sees it": { ignore: !linux },
  "workers tell it": { permissions: serverFlags({ env: ENVIRONMENT }), ignore: false },
};

for (const [observer, { ignore, ...may }] of Object.entries(OBSERVERS)) {
  Deno.test(`serve replaces a worker when it has grown to maxMemory, and ${observer}`, {
    ignore,
  }, async () => {
    const args = ["--workers", "2", "--max-memory", "300M", "--max-memory-jitter", "0"];
    await using server = await ServerProcess.start({ handler: KEEPER, args, ...may });
    await server.line("worker ready", 2);
    const [pid] = await askOnce(server.endpoint, "300");
    const { code, reason, cause, ...exit } = await server.line("worker exited");
    assert.deepEqual({ code, reason, cause }, { code: 0, reason: "recycled", cause: "memory" });
    assert.equal(String(exit.pid), pid, "the one that has grown, and not the other");
    assert.equal((await server.state()).spawned, 3);
    assert.equal(leastReady(server.lines, 2), 2);
  });

  Deno.test(`serve lets a worker end its job when it is above maxMemory, and ${observer}`, {
    ignore,
  }, async () => {
    using gate = new Gate();
    const handler = `${gate.source}
      export default async () => {
        globalThis.kept = new Uint8Array(200 * ${MiB}).fill(1);
        await passed();
        return "done";
      };`;
    const args = ["--workers", "1", "--max-memory", "150M", "--stop-timeout", "1ms", gate.grant];
    await using server = await ServerProcess.start({ handler, args, ...may });
    await using peer = new Peer(server.endpoint);
    peer.send("", "x");
    await server.line("worker ready", 2);
    const first = linesOf(server, "worker ready")[0]?.worker;
    await until("the first one leaves", async () => (await server.state()).stopping === 1);
    await server.state();
    assert.deepEqual(linesOf(server, "worker exited"), []);
    gate.open();
    assert.deepEqual(await peer.receiveText(), ["", "done"]);
    const exit = await server.line("worker exited");
    assert.deepEqual([exit.worker, exit.reason, exit.cause], [first, "recycled", "memory"]);
  });
}

Deno.test("serve warns, and spins no wheel, when maxMemory is below the size of a new worker", async () => {
  const args = ["--workers", "2", "--max-memory", "1M"];
  await using server = await ServerProcess.start({ handler: KEEPER, args });
  const warning = await server.line(
    '"maxMemory" is below the size of a new worker: every worker is replaced after one job',
  );
  assert.equal(warning.level, "warn");
  assert.equal((await server.state()).spawned, 2);
  await askOnce(server.endpoint, "0");
  await server.line("worker ready", 3);
  assert.equal((await server.line("worker exited")).cause, "memory");
});

Deno.test("serve replaces workers of maxAge one by one, and loses no request", async () => {
  const args = ["--workers", "3", "--max-age", "500ms"];
  await using server = await ServerProcess.start({ handler: KEEPER, args });
  await server.line("worker ready", 3);
  await using traffic = new Traffic(server.endpoint, { body: "0" });
  await until("six were recycled", () => exitsOf(server, "recycled").length >= 6);
  for (const reply of await traffic.end()) assert.match(reply.join(), /^\d+$/);
  for (const { cause } of exitsOf(server, "recycled")) assert.equal(cause, "age");
  assert.equal(leastReady(server.lines, 3), 3);
  assert.equal(linesOf(server, "worker exited").length, exitsOf(server, "recycled").length);
});

Deno.test("serve says that a worker was recycled for its requests when that is why", async () => {
  const args = ["--workers", "1", "--max-requests", "1"];
  await using server = await ServerProcess.start({ handler: KEEPER, args });
  await askOnce(server.endpoint, "0");
  assert.equal((await server.line("worker exited")).cause, "requests");
});

// ---- heap ----

Deno.test("serve answers 502, tells why and is whole again when a handler exceeds memoryLimit", async () => {
  const args = ["--workers", "2", "--memory-limit", "32M"];
  await using server = await ServerProcess.start({ handler: GLUTTON, args });
  await server.line("worker ready", 2);
  await using glutton = new Peer(server.endpoint);
  glutton.send("", "eat");
  await using traffic = new Traffic(server.endpoint);
  const [, ...reply] = await glutton.receiveText();
  assert.deepEqual(reply, errorReply(502, "The worker died 2 times on this job"));
  await server.line("worker ready", 4);
  await until("two serve", async () => {
    const { idle, busy, starting } = await server.state();
    return Number(idle) + Number(busy) === 2 && starting === 0;
  });
  for (const answer of await traffic.end()) assert.match(answer.join(), /^\d+$/);
  const exits = exitsOf(server, "crashed");
  assert.equal(exits.length, 2);
  for (const { level, signal, likely } of exits) {
    assert.deepEqual([level, signal], ["warn", "SIGTRAP"]);
    assert.equal(likely, 'out of memory: its heap has reached "memoryLimit"');
  }
  await until("V8 has said why", () => {
    return server.lines.some(({ message }) => /Fatal JavaScript out of memory/.test(message));
  });
});

Deno.test("serve keeps its log whole when many workers run out of memory at once", async () => {
  const args = ["--workers", "3", "--memory-limit", "16M", "--max-attempts", "1"];
  await using server = await ServerProcess.start({ handler: GLUTTON, args });
  await server.line("worker ready", 3);
  await Promise.all(Array.from({ length: 6 }, () => askOnce(server.endpoint, "eat")));
  await until("all have crashed", () => exitsOf(server, "crashed").length === 6);
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  const broken = server.noise.filter((line) => /"message":/.test(line));
  assert.deepEqual(broken, []);
});
