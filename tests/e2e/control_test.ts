/** The control API over the control socket: each call from outside, with real processes. */

import assert from "node:assert/strict";
import { path } from "../rig/checkout.ts";
import { Operations } from "../rig/ctl.ts";
import { ask, EventReader } from "../rig/operator.ts";
import { Peer } from "../rig/peer.ts";
import { isAlive } from "../rig/processes.ts";
import { until } from "../rig/wait.ts";

/** Holds a request that asks for it until nobody wants its answer any more, or it was told to go on. */
const HANDLER = `export default (body, ctx) => {
  const text = new TextDecoder().decode(body);
  if (text !== "hold") return text;
  return new Promise((_, reject) => {
    ctx.signal.addEventListener("abort", () => reject(new Error("given up")));
  });
};`;

interface Job {
  job: number;
  state: string;
  worker?: number;
}

Deno.test("the control socket shows and changes a server, and each change is logged", async (t) => {
  using operations = new Operations();
  const args = ["--service", `mail=${path("examples/upper.ts")}`, "--workers", "1"];
  args.push("--prefetch", "1", "--log-level", "info");
  await using server = await operations.start(args, HANDLER);
  const name = server.endpoint.replace("://", "-").replace(":", "-");
  const where = { path: `${operations.folder}/${name}.sock` };
  const get = async (route: string) => {
    const { status, json } = await ask(where, route);
    assert.equal(status, 200, route);
    return json;
  };
  const post = async (route: string, body: unknown = {}) => {
    const { status, json } = await ask(where, route, body);
    return [status, json];
  };
  await until("all are ready", async () => (await ask(where, "/readyz")).status === 200);
  const jobs = (filter = "") => get(`/api/jobs${filter}`);
  const oneJob = (state: string): Promise<Job> =>
    until(`a request is ${state}`, async () => (await jobs(`?state=${state}`)).jobs[0] ?? false);

  await t.step("the folder is closed to others, and the socket too", () => {
    const mode = (file: string) => (Deno.lstatSync(file).mode ?? 0) & 0o777;
    assert.deepEqual([mode(operations.folder), mode(where.path)], [0o700, 0o600]);
  });

  await t.step("status, services, workers, stats, config", async () => {
    const status = await get("/api/status");
    assert.deepEqual([status.name, status.pid, status.phase], [name, server.pid, "serving"]);
    assert.deepEqual([status.ready, status.reasons, status.logLevel], [true, [], "info"]);
    assert.equal(status.endpoints.control, where.path);
    assert.ok(status.uptime > 0 && Math.abs(Date.now() - status.startedAt) < 600_000);
    const { services } = await get("/api/services");
    assert.deepEqual(services.map((each: { name: string }) => each.name), ["", "mail"]);
    const { workers } = await get("/api/workers");
    assert.equal(workers.length, 2);
    for (const { pid, state, service, generation } of workers) {
      assert.deepEqual([isAlive(pid), state, generation], [true, "idle", 1]);
      assert.ok(service === "" || service === "mail");
    }
    assert.deepEqual(Object.keys((await get("/api/stats")).services), ["", "mail"]);
    const { options } = await get("/api/config");
    const find = (option: string, service?: string) =>
      options.find((each: Record<string, string>) =>
        each.name === option && each.service === service
      );
    assert.deepEqual(find("prefetch"), {
      ...{ name: "prefetch", value: "1", source: "flag --prefetch" },
    });
    assert.equal(find("control").source, "default");
    assert.match(find("handler", "mail").value, /upper\.ts$/);
  });

  await t.step("a request is listed, and cancelled", async () => {
    await using peer = new Peer(server.endpoint);
    peer.send("", "hold");
    peer.send("", "next");
    const { job, worker } = await oneJob("running");
    assert.equal((await oneJob("waiting")).state, "waiting");
    // What the data plane tells of itself may be a moment old.
    const busy = await until("the worker is busy", async () => {
      const { workers } = await get("/api/workers");
      return workers.find((each: { job?: number }) => each.job === job) ?? false;
    });
    assert.deepEqual([busy.state, busy.worker], ["busy", worker]);
    assert.ok(busy.jobMs >= 0);
    const { total, jobs: slow } = await jobs("?slow=1h");
    assert.deepEqual([total, slow], [0, []]);
    const { clients } = await get("/api/clients");
    assert.deepEqual([clients.length, clients[0].live], [1, 2]);
    const { queue } = await until("the service has both", async () => {
      const { services: [{ running, queue }] } = await get("/api/services");
      return running === 1 && queue.jobs === 1 && { queue };
    });
    assert.ok(queue.oldestMs >= 0);
    assert.deepEqual(await post("/api/job/cancel", { job }), [200, { ok: true }]);
    const answers = [await peer.receiveText(), await peer.receiveText()].map((frames) =>
      frames.join("|")
    );
    assert.ok(answers.some((answer) => answer.includes("499")), `${answers}`);
    assert.ok(answers.some((answer) => answer.includes("next")), `${answers}`);
    const [status, { error }] = await post("/api/job/cancel", { job });
    assert.equal(status, 404);
    assert.match(error, /^Cannot cancel request \d+: there is none/);
  });

  await t.step("pause and resume", async () => {
    assert.deepEqual(await post("/api/pause", { service: "mail" }), [200, { ok: true }]);
    assert.equal((await ask(where, "/readyz")).status, 200);
    assert.equal((await get("/api/services")).services[1].paused, true);
    await post("/api/pause");
    const ready = await ask(where, "/readyz");
    assert.deepEqual([ready.status, ready.text], [503, "the server is paused\n"]);
    await using peer = new Peer(server.endpoint);
    peer.send("", "later");
    await oneJob("waiting");
    assert.deepEqual(await post("/api/resume"), [200, { ok: true }]);
    assert.deepEqual(await peer.receiveText(), ["", "later"]);
    assert.equal((await ask(where, "/readyz")).status, 200);
  });

  await t.step("resize", async () => {
    const [, { services }] = await post("/api/resize", { service: "mail", min: 1, max: 3 });
    assert.deepEqual(services, [{ name: "mail", min: 1, max: 3 }]);
    assert.deepEqual(await post("/api/resize", { min: 9, max: 2 }), [400, {
      error: 'Cannot size the pool: "maxWorkers" must be >= "minWorkers" (9): current value is 2',
    }]);
  });

  await t.step("reload waits for its end, and says why it failed", async () => {
    assert.deepEqual(await post("/api/reload", { service: "mail" }), [200, {
      ...{ ok: true, generation: 2 },
    }]);
    Deno.writeTextFileSync(`${server.folder.path}/handler.ts`, "no module");
    const [status, { error }] = await post("/api/reload");
    assert.equal(status, 409);
    assert.match(error, /^Cannot reload: worker \d+ failed to start/);
    Deno.writeTextFileSync(`${server.folder.path}/handler.ts`, HANDLER);
    assert.equal((await post("/api/reload"))[0], 200);
  });

  await t.step("a worker is stopped, another one killed: others take their places", async () => {
    for (const how of ["stop", "kill"]) {
      const { workers } = await get("/api/workers");
      const [{ worker, pid }] = workers.filter((each: { state: string }) => each.state === "idle");
      assert.deepEqual(await post(`/api/worker/${how}`, { worker }), [200, { ok: true }]);
      const gone = await until(
        "it is gone",
        () => server.lines.find((line) => line.message === "worker exited" && line.pid === pid),
      );
      assert.deepEqual([gone.reason, gone.level], ["asked", "info"]);
      assert.equal((await post(`/api/worker/${how}`, { worker }))[0], 404);
    }
    await until("all are ready again", async () => (await ask(where, "/readyz")).status === 200);
  });

  await t.step("the log is read, and followed along with what happens", async () => {
    using events = await EventReader.open(where, "only=log,event&lines=2");
    await until("the last lines have come", () => events.all("log").length >= 2);
    assert.deepEqual(await post("/api/log-level", { level: "debug" }), [200, {
      ...{ ok: true, level: "debug" },
    }]);
    assert.equal((await get("/api/status")).logLevel, "debug");
    await post("/api/resize", { service: "", min: 1, max: 2 });
    await events.event("log", ({ message, max }) => message === "resized" && max === 2);
    await events.event("event", ({ event, max }) => event === "resized" && max === 2);
    assert.deepEqual(events.all("status"), []);
    const { lines } = await get("/api/log?lines=3&level=info");
    assert.equal(lines.length, 3);
    assert.ok(lines.every((line: { level: string }) => line.level !== "debug"));
    using states = await EventReader.open(where, "only=status");
    await until("two states have come", () => states.all("status").length >= 2);
    assert.equal(states.all("status")[1].pid, server.pid);
    assert.deepEqual(await post("/api/reopen-log"), [200, { ok: true }]);
  });

  await t.step("what is not there, or wrong, is refused with the reason", async () => {
    const refusals: [number, string, unknown, RegExp][] = [
      [404, "/api/nothing", {}, /^There is no \/api\/nothing$/],
      [405, "/api/status", {}, /^\/api\/status is for GET$/],
      [
        404,
        "/api/pause",
        { service: "nobody" },
        /^There is no service "nobody": there are "mail"$/,
      ],
      [400, "/api/pause", { services: "mail" }, /^Unknown field "services": it takes "service"$/],
      [400, "/api/pause", "{", /^The body must be an object in JSON$/],
      [400, "/api/worker/stop", {}, /^"worker" must be an integer$/],
      [400, "/api/log-level", { level: "loud" }, /^"level" must be one of debug, /],
      [413, "/api/pause", " ".repeat(65_537), /^A body may have 65536 bytes$/],
    ];
    for (const [status, route, body, message] of refusals) {
      const answer = await ask(where, route, body);
      assert.equal(answer.status, status, route);
      assert.match(answer.json.error, message);
    }
    assert.equal((await ask(where, "/api/reload")).status, 405);
    assert.equal((await ask(where, "/api/log?lines=9999999")).status, 400);
    assert.equal((await ask(where, "/api/jobs?state=old")).status, 400);
  });

  await t.step("each change is in the log, with who has asked for it", async () => {
    const changes = () => server.lines.filter(({ message }) => message === "an operator asks");
    const find = (command: string) =>
      until(`${command} is there`, () => changes().find((line) => line.command === command));
    assert.equal((await find("pause")).service, "mail");
    const { min, max } = await find("resize");
    assert.deepEqual([min, max], [1, 3]);
    for (const command of ["resume", "reload", "worker stop", "worker kill", "job cancel"]) {
      await find(command);
    }
    for (const { origin } of changes()) assert.equal(origin, "control socket");
  });

  await t.step("drain serves what waits, ends the streams and the server", async () => {
    using events = await EventReader.open(where, "");
    await events.event("status");
    assert.deepEqual(await post("/api/drain"), [202, { ok: true }]);
    assert.equal((await server.ended()).code, 0);
    await until("the stream has ended", () => events.isEnded);
    assert.throws(() => Deno.lstatSync(where.path), Deno.errors.NotFound);
  });
});
