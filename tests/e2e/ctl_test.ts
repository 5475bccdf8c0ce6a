/** `ctl` on servers that run: each command from outside, and how a server is found. */

import assert from "node:assert/strict";
import { path } from "../rig/checkout.ts";
import { Operations } from "../rig/ctl.ts";
import { isAlive } from "../rig/processes.ts";
import { Peer } from "../rig/peer.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

/** Holds a request that asks for it until nobody wants its answer any more. */
const HANDLER = `export default (body, ctx) => {
  const text = new TextDecoder().decode(body);
  if (text !== "hold") return text;
  return new Promise((_, reject) => {
    ctx.signal.addEventListener("abort", () => reject(new Error("given up")));
  });
};`;

Deno.test("ctl shows and changes a server of two services, each command from outside", async (t) => {
  using operations = new Operations();
  const mail = path("examples/upper.ts");
  const args = ["--service", `mail=${mail}`, "--workers", "2", "--prefetch", "1"];
  await using server = await operations.start(args, HANDLER);
  const name = server.endpoint.replace("://", "-").replace(":", "-");
  const ctl = (...words: string[]) => operations.ctl(...words);
  const json = async (...words: string[]) => JSON.parse(await ctl(...words, "--json"));
  await operations.shows(/^workers +4: 4 idle$/m, "status");

  await t.step("status", async () => {
    const shown = await ctl("status");
    assert.match(shown, new RegExp(`^server +${name}, version .*, pid ${server.pid}$`, "m"));
    assert.match(shown, /^state +serving, ready$/m);
    assert.match(shown, /^mail +serving +2 of 2 /m);
    const status = await json("status", "--name", server.endpoint);
    assert.deepEqual([status.name, status.pid], [name, server.pid]);
    const socket = `${operations.folder}/${name}.sock`;
    assert.equal((await json("status", "--socket", socket)).pid, server.pid);
  });

  await t.step("services and workers", async () => {
    assert.match(await ctl("services"), /^SERVICE [^]*^- +serving [^]*^mail +serving /m);
    const { services } = await json("services");
    assert.deepEqual(services.map((each: { name: string }) => each.name), ["", "mail"]);
    const { workers } = await json("workers");
    const shown = await ctl("workers");
    for (const { worker, pid } of workers) {
      assert.match(shown, new RegExp(`^ +${worker} +${pid} +(mail|-) +idle `, "m"));
    }
  });

  await t.step("config and stats", async () => {
    assert.match(await ctl("config"), /^- +minWorkers +2 +flag --workers$/m);
    await using peer = new Peer(server.endpoint);
    assert.deepEqual(await peer.ask("hello"), ["hello"]);
    await operations.shows(/^answered +1$/m, "stats");
    assert.match(await ctl("stats", "mail"), /^answered +0$/m);
    const [code, said] = await operations.fails("stats", "nobody");
    assert.deepEqual([code, said], [1, 'ctl: There is no service "nobody": there are "mail"\n']);
  });

  await t.step("jobs, clients and job cancel", async () => {
    await using peer = new Peer(server.endpoint, { identity: "holder" });
    for (let request = 0; request < 3; request++) peer.send("", "hold");
    await operations.shows(/^ +\d+ +running [^]*^ +\d+ +running [^]*^ +\d+ +waiting /m, "jobs");
    const running = await json("jobs", "--running");
    const waiting = await json("jobs", "--waiting");
    assert.deepEqual([running.total, waiting.total], [2, 1]);
    assert.equal((await json("jobs", "--limit", "1")).jobs.length, 1);
    assert.equal((await json("jobs", "--slow", "1h")).total, 0);
    await operations.shows(/^ +\d+ +(running|waiting) /m, "jobs", "--slow", "0.001");
    assert.match(await ctl("workers"), /^ +\d+ +\d+ +- +busy +1 +\d+ /m);
    assert.match(await ctl("clients"), /^127\.0\.0\.1 +holder +3\b/m);
    for (const { job } of [...waiting.jobs, ...running.jobs]) {
      assert.equal(await ctl("job", "cancel", String(job)), `cancelled job ${job}\n`);
    }
    for (let reply = 0; reply < 3; reply++) {
      assert.match(text((await peer.receive()).at(-1)), /^499 /);
    }
    await operations.shows(/^ *JOB[^\n]*\n$/, "jobs");
    const [code, said] = await operations.fails("job", "cancel", "123456789");
    assert.equal(code, 1);
    assert.match(said, /^ctl: Cannot cancel request 123456789: /);
  });

  await t.step("pause and resume", async () => {
    await using peer = new Peer(server.endpoint);
    assert.equal(await ctl("pause"), "paused the server\n");
    await operations.shows(/^state +paused\nnot ready +.*paused/m, "status");
    peer.send("", "hello");
    await operations.shows(/^ +\d+ +waiting /m, "jobs");
    assert.equal(await ctl("resume"), "resumed the server\n");
    assert.deepEqual(await peer.receive(), [bytes(""), bytes("hello")]);
    assert.equal(await ctl("pause", "mail"), 'paused the service "mail"\n');
    await operations.shows(/^- +serving [^]*^mail +paused /m, "services");
    assert.equal(await ctl("resume", "mail"), 'resumed the service "mail"\n');
    await operations.shows(/^mail +serving /m, "services");
    const [code, said] = await operations.fails("pause", "nobody");
    assert.deepEqual([code, said], [1, 'ctl: There is no service "nobody": there are "mail"\n']);
  });

  await t.step("resize", async () => {
    assert.equal(
      await ctl("resize", "mail", "1", "3"),
      'resized the service "mail" to 1 to 3 workers\n',
    );
    assert.equal(await ctl("resize", "2", "2"), "resized to 2 workers\n");
    const { services } = await json("services");
    const bounds = services.map(({ workers: { min, max } }: Bounds) => [min, max]);
    assert.deepEqual(bounds, [[2, 2], [1, 3]]);
    const [code, said] = await operations.fails("resize", "5", "2");
    assert.equal(code, 1);
    assert.match(said, /^ctl: Cannot size the pool: "maxWorkers" must be >= "minWorkers"/);
  });

  await t.step("reload", async () => {
    assert.equal(await ctl("reload", "mail"), 'reloaded the service "mail": generation 2\n');
    Deno.writeTextFileSync(`${server.folder.path}/handler.ts`, "this is no module");
    const [code, said] = await operations.fails("reload");
    assert.equal(code, 1);
    assert.match(said, /^ctl: .*handler/);
    Deno.writeTextFileSync(`${server.folder.path}/handler.ts`, HANDLER);
    assert.match(await ctl("reload"), /^reloaded the server: generation \d+\n$/);
    const [nobody, unknown] = await operations.fails("reload", "nobody");
    assert.deepEqual([nobody, unknown], [
      1,
      'ctl: There is no service "nobody": there are "mail"\n',
    ]);
  });

  await t.step("worker stop and kill", async () => {
    for (const verb of ["stop", "kill"]) {
      const { workers } = await json("workers");
      const { worker, pid } = workers[0];
      assert.match(await ctl("worker", verb, String(worker)), new RegExp(`worker ${worker}`));
      await until(`worker ${worker} is gone`, () => !isAlive(pid));
    }
    const [code, said] = await operations.fails("worker", "kill", "9999");
    assert.deepEqual([code, said], [1, "ctl: Cannot kill worker 9999: there is no such worker\n"]);
  });

  await t.step("log-level, log and reopen-log", async () => {
    assert.equal(await ctl("log-level", "warn"), "the log level is warn\n");
    assert.equal((await json("status")).logLevel, "warn");
    const [code] = await operations.fails("log-level", "loud");
    assert.equal(code, 1);
    assert.equal(await ctl("log-level", "debug"), "the log level is debug\n");
    assert.match(await ctl("log", "-n", "500"), /^\S+Z info +listening frontend=tcp:/m);
    const { lines } = await json("log", "--lines", "3");
    assert.equal(lines.length, 3);
    assert.equal(await ctl("reopen-log"), "opened the log files again\n");
  });

  await t.step("drain", async () => {
    assert.match(await ctl("drain"), /^draining: /);
    assert.equal((await server.ended()).code, 0);
    const [code, said] = await operations.fails("status");
    assert.equal(code, 3);
    assert.match(said, /^ctl: Cannot find a running server: no control socket is in use in "/);
  });
});

interface Bounds {
  workers: { min: number; max: number };
}
