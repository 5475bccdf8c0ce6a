/** What operators see and do with stored jobs of a server that runs: its methods, HTTP, ctl, events and metrics. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { ctl } from "../../cli/ctl.ts";
import { runCtl } from "../rig/ctl.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { hasParser, parse, seriesOf } from "../rig/metrics.ts";
import { ask, getText } from "../rig/operator.ts";
import { text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const TOKEN = "0123456789-abcdefghij";
const BEARER = { authorization: `Bearer ${TOKEN}` };

/** Fails for good, or answers. */
const HANDLER = moduleOf(`
  import { RequestError } from "${import.meta.resolve("../../worker.ts")}";
  export default (body) => {
    const text = new TextDecoder().decode(body);
    if (text === "fail") throw new RequestError(422, "No such user");
    return "did " + text;
  };
`);

/** What `ctl` prints of a server. */
function printed(socket: string, ...args: string[]): Promise<string> {
  return offline(...args, "--socket", socket);
}

/** How `ctl` ends when it refuses, and what it says. */
async function refused(...args: string[]): Promise<[code: number, said: string]> {
  const { code, stderr } = await runCtl(args);
  return [code, stderr];
}

/** What `ctl` prints. */
async function offline(...args: string[]): Promise<string> {
  const { stdout } = Deno;
  const { writeSync, isTerminal } = stdout;
  let said = "";
  stdout.writeSync = (piece) => (said += text(piece), piece.length);
  stdout.isTerminal = () => false;
  try {
    assert.equal(await ctl(args), 0, `${args}: ${said}`);
  } finally {
    Object.assign(stdout, { writeSync, isTerminal });
  }
  return said;
}

Deno.test("operators see stored jobs and change them, by each way that there is", async (t) => {
  using folder = new Folder();
  const tokenFile = folder.write("token", TOKEN);
  Deno.chmodSync(tokenFile, 0o600);
  const file = `${folder.path}/jobs.db`;
  const socket = `${folder.path}/control`;
  const copy = `${folder.path}/copy.db`;
  const options = {
    ...{ handler: HANDLER, services: { mail: HANDLER }, workers: 1, store: `sqlite:${file}` },
    ...{ control: socket, http: "127.0.0.1:0", httpToken: tokenFile },
    events: "tcp://127.0.0.1:0",
  };
  const server = serveQuietly(options);
  await server.ready;
  const client = new Client({ endpoint: endpointOf(server), events: server.events[0] ?? "" });
  const where = { port: Number(/\d+$/.exec(server.http ?? "")?.[0]) };
  const get = async (path: string) => (await ask(where, path, undefined, BEARER)).json;
  const post = async (path: string, body: object) => {
    const { status, json } = await ask(where, path, body, BEARER);
    return [status, json];
  };
  const ended: string[] = [];
  const subscription = client.subscribe(["stored.", "state"]);
  let isHeard = false;
  const listening = (async () => {
    for await (const { topic, data } of subscription) {
      // Told at once to one who is new: the server has heard of the other subscription, too.
      if (topic === "state") isHeard = true;
      else ended.push(`${topic} ${JSON.stringify(data)}`);
    }
  })();
  const submit = async (body: string, how = {}) => (await client.submit(body, how)).id;
  const becomes = async (id: string, state: string) =>
    await until(
      `${id} is ${state}`,
      async () => (await server.stored.look(id)).status.state === state,
    );

  try {
    await until("the server has the subscription", () => isHeard);
    await t.step("who only looks makes no store", async () => {
      const { store, services } = (await ask(where, "/api/store")).json;
      assert.deepEqual([store, services], [`sqlite:${file}`, []]);
      assert.deepEqual(await server.stored.list(), { total: 0, jobs: [] });
      assert.equal((await server.status()).stored, undefined);
      assert.match(await printed(socket, "job", "list"), /^ID +STATE/);
      assert.throws(() => Deno.lstatSync(file), Deno.errors.NotFound);
    });

    let failed = "";
    let later = "";
    await t.step("jobs are listed and shown, their bodies when they are asked for", async () => {
      const done = await submit("work", { service: "mail" });
      failed = await submit("fail", { service: "mail" });
      later = await submit("later", { delay: 3_600_000, key: "once" });
      await becomes(done, "done");
      await becomes(failed, "failed");
      const { total, jobs: [job] } = await get("/api/stored?state=failed");
      assert.deepEqual([total, job.id, job.service, job.code, job.message], [
        ...[1, failed, "mail", 422, "No such user"],
      ]);
      assert.equal((await ask(where, "/api/stored")).status, 401);
      const page = await get(`/api/stored?limit=1&after=${done}`);
      assert.deepEqual([page.total, page.jobs[0].id], [3, failed]);
      assert.equal((await get(`/api/stored/job?id=${failed}`)).body, undefined);
      const whole = await get(`/api/stored/job?id=${failed}&body=1`);
      assert.deepEqual(whole.body, [{ bytes: 4, text: "fail" }]);
      const { body } = await server.stored.look(later, { body: true });
      assert.deepEqual(body?.map(text), ["later"]);
      await assert.rejects(server.stored.look(failed.replace(/.$/, "x")), { code: 400 });
      assert.equal(
        (await ask(where, `/api/stored/job?id=j-${"0".repeat(32)}`, undefined, BEARER)).status,
        404,
      );
      const shown = await printed(socket, "job", "show", failed, "--body");
      assert.match(shown, /^state +failed$[^]*^message +No such user$[^]*^body \(4B\):\nfail$/m);
      assert.match(await printed(socket, "job", "list", "--state", "scheduled"), new RegExp(later));
    });

    await t.step("figures are for this machine, without ids", async () => {
      const { services } = await until("the figures have all", async () => {
        const { json } = await ask(where, "/api/store");
        const mail = json.services.find(({ name }: { name: string }) => name === "mail");
        return mail?.states.failed === 1 && mail.states.done === 1 && json;
      });
      assert.equal(services.find(({ name }: { name: string }) => name === "").states.scheduled, 1);
      assert.ok(!JSON.stringify(services).includes("j-"));
      assert.match(await printed(socket, "store"), /^mail +running /m);
      assert.equal((await server.status()).stored?.services.length, 2);
    });

    await t.step("failed ones are tried again, one or all", async () => {
      assert.deepEqual(await post("/api/stored/retry", { job: failed }), [200, { ok: true }]);
      await until(
        "it has failed again",
        () => ended.filter((line) => line.startsWith("stored.failed")).length === 2,
      );
      const [status, { count }] = await post("/api/stored/retry-dead", { service: "mail" });
      assert.deepEqual([status, count], [200, 1]);
      await until(
        "and again",
        () => ended.filter((line) => line.startsWith("stored.failed")).length === 3,
      );
      assert.equal((await post("/api/stored/retry", { job: later }))[0], 409);
    });

    await t.step("one is cancelled, and deleted", async () => {
      assert.equal(await printed(socket, "job", "cancel", later), `cancelled job ${later}\n`);
      assert.equal((await server.stored.look(later)).status.state, "cancelled");
      assert.deepEqual(await post("/api/stored/delete", { job: later }), [200, { ok: true }]);
      await assert.rejects(server.stored.look(later), { code: 404 });
    });

    await t.step("those who have subscribed hear how jobs have ended", () => {
      assert.deepEqual(ended.slice(0, 2), [
        'stored.done.mail {"service":"mail","attempt":1,"code":200}',
        'stored.failed.mail {"service":"mail","attempt":1,"code":422}',
      ]);
      assert.ok(
        ended.some((line) => line.startsWith('stored.cancelled. {"service":""')),
        `${ended}`,
      );
    });

    await t.step({
      name: "a strict parser reads the metrics of the store",
      ignore: !hasParser(),
      fn: async () => {
        await until("the figures are those of now", async () => {
          const { services } = await server.stored.status();
          return services.find(({ name }) => name === "mail")?.ended.failed === 3;
        });
        const accept = "application/openmetrics-text; version=1.0.0";
        const { text: said } = await getText(socket, "/metrics", { accept });
        const series = seriesOf(await parse("openmetrics", said));
        const value = (name: string) => series.get(name) ?? NaN;
        assert.equal(value('prefork_stored_jobs{service="mail",state="done"}'), 1);
        assert.equal(value('prefork_stored_ended_total{service="mail",outcome="failed"}'), 3);
        assert.equal(value('prefork_stored_submitted_total{service="mail"}'), 2);
        assert.equal(value('prefork_stored_start_delay_seconds_count{service="mail"}'), 4);
        assert.equal(value("prefork_store_up{}"), 1);
        assert.ok(value("prefork_store_bytes{}") > 0);
      },
    });

    await t.step("a pause holds stored jobs and no requests", async () => {
      await printed(socket, "job", "pause", "-");
      const held = await submit("held");
      assert.equal((await client.request("now")).text(), "did now");
      assert.equal((await server.stored.look(held)).status.state, "waiting");
      await server.stored.resume();
      await becomes(held, "done");
      await server.stored.pause("mail");
    });

    await t.step("a backup is written under load, to a new file only", async () => {
      const kept = await submit("kept", { service: "mail" });
      assert.equal(await printed(socket, "store", "backup", copy), `wrote ${copy}\n`);
      await assert.rejects(server.stored.backup(copy), /is there already/);
      const [code, said] = await refused("store", "restore", copy, "--store", file);
      assert.equal(code, 2);
      assert.match(said, new RegExp(`process ${Deno.pid}`), "the server holds it");
      await server.stored.delete(kept);
    });
  } finally {
    await client.close();
    await listening;
    await server.shutdown();
  }

  await t.step("a backup and a pause outlive the server", async () => {
    const bad = folder.write("bad.db", "this is not a store");
    assert.equal((await refused("store", "restore", bad, "--store", file))[0], 2);
    const { jobs: before } = JSON.parse(
      await offline("store", "restore", copy, "--store", file, "--json"),
    );
    assert.equal(before, 4);
    await using next = serveQuietly(options);
    await next.ready;
    const { services } = await until("the store has said how it is", async () => {
      const status = await next.stored.status();
      return status.services.length > 0 && status;
    });
    const mail = services.find(({ name }) => name === "mail");
    assert.deepEqual([mail?.paused, mail?.states.waiting], [true, 1]);
  });
});
