/** Background jobs of services that only Majordomo's workers make: the same in a file and on NATS. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import type { Server } from "../../mod.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, serveQuietly } from "../rig/in_process.ts";
import { Command, HandWorker } from "../rig/mdp_hand_worker.ts";
import { HAS_NATS, NatsServers } from "../rig/nats_servers.ts";
import { Peer } from "../rig/peer.ts";
import { text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

let servers: NatsServers | undefined;
let installations = 0;

Deno.test.beforeAll(async () => {
  if (HAS_NATS) servers = await NatsServers.start();
});
Deno.test.afterAll(() => servers?.[Symbol.asyncDispose]());

function open(store: string, natsPrefix?: string): Server {
  return serveQuietly({
    ...{
      mdp: "tcp://127.0.0.1:0",
      mdpWorkers: "any",
      mdpExpiry: 500,
      minWorkers: 1,
      maxWorkers: 1,
    },
    ...{ store, ...(natsPrefix !== undefined && { natsPrefix }) },
  });
}

function mdpOf({ mdp: [endpoint = ""] }: Server): string {
  return endpoint;
}

/** Asks as a client of Majordomo. */
async function ask(server: Server, service: string, ...body: string[]): Promise<string[]> {
  await using peer = new Peer(mdpOf(server));
  peer.send("", "MDPC01", service, ...body);
  return (await peer.receiveText()).slice(3);
}

/** A worker of the service that the server knows. */
async function join(server: Server, service: string): Promise<HandWorker> {
  const worker = new HandWorker(mdpOf(server), "0.2");
  worker.say(Command.ready, service);
  await until("it is there", async () => (await ask(server, "mmi.workers", service))[0] === "1");
  return worker;
}

/** Answers its next job in upper case. */
async function work(worker: HandWorker): Promise<string> {
  const { command, frames: [client = new Uint8Array(), , body] } = await worker.hear();
  assert.equal(command, Command.request);
  worker.say(Command.reply, client, "", text(body).toUpperCase());
  return text(body);
}

function leave(worker: HandWorker): Promise<void> {
  worker.say(Command.disconnect);
  return worker[Symbol.asyncDispose]();
}

/** What one server does with such jobs, whatever its store. */
async function check(server: Server): Promise<void> {
  await server.ready;
  await using client = new Client({ endpoint: endpointOf(server) });
  const mail = client.service("mail");
  await assert.rejects(() => mail.submit("early"), { code: 404 });
  // Majordomo's clients may ask before a worker is there.
  const [status, uuid = ""] = await ask(server, "titanic.request", "mail", "first");
  assert.equal(status, "200");
  const early = client.job(`j-${uuid}`);
  assert.equal((await early.status()).state, "waiting");
  const one = await join(server, "mail");
  assert.equal(await work(one), "first");
  assert.equal((await early.result({ wait: 20_000 })).text(), "FIRST");
  const second = await mail.submit("second", { key: "k" });
  assert.deepEqual(await mail.submit("second", { key: "k" }), { ...second, isNew: false });
  assert.equal(await work(one), "second");
  assert.equal((await client.job(second.id).result({ wait: 20_000 })).text(), "SECOND");
  // What waits when the last worker leaves waits on, also when the service has ended.
  const { id } = await mail.submit("third", { delay: 1000 });
  await leave(one);
  await until("it has ended", async () => (await ask(server, "mmi.service", "mail"))[0] === "404");
  await assert.rejects(() => mail.submit("late"), { code: 404 });
  await until("it is due", async () => (await client.job(id).status()).state === "waiting");
  const other = await join(server, "mail");
  assert.equal(await work(other), "third");
  assert.equal((await client.job(id).result({ wait: 20_000 })).text(), "THIRD");
  await leave(other);
}

Deno.test("jobs of a service that only workers of Majordomo make are run with a file of SQLite", async () => {
  using folder = new Folder();
  await using server = open(`sqlite:${folder.path}/jobs.db`);
  await check(server);
});

Deno.test({
  name: "jobs of a service that only workers of Majordomo make are run with NATS",
  ignore: !HAS_NATS,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await using server = open(servers?.url ?? "", `mdp${++installations}`);
    await check(server);
  },
});

Deno.test({
  name: "jobs of Majordomo's services on NATS run at whichever node has a worker",
  ignore: !HAS_NATS,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const prefix = `mdp${++installations}`;
    await using here = open(servers?.url ?? "", prefix);
    await using there = open(servers?.url ?? "", prefix);
    await Promise.all([here.ready, there.ready]);
    await using client = new Client({ endpoint: endpointOf(here) });
    await using other = new Client({ endpoint: endpointOf(there) });
    const worker = await join(there, "mail");
    // A node takes jobs of the services that it has itself.
    await assert.rejects(() => client.service("mail").submit("x"), { code: 404 });
    const [status, uuid = ""] = await ask(here, "titanic.request", "mail", "first");
    assert.equal(status, "200");
    assert.equal(await work(worker), "first");
    assert.equal((await client.job(`j-${uuid}`).result({ wait: 20_000 })).text(), "FIRST");
    // The worker goes to the other node, and so do the jobs.
    const { id } = await other.service("mail").submit("second");
    const second = await worker.hear();
    assert.equal(second.command, Command.request);
    const waiting = await other.service("mail").submit("third");
    await leave(worker);
    const moved = await join(here, "mail");
    const bodies = [await work(moved), await work(moved)];
    assert.deepEqual(bodies.sort(), ["second", "third"]);
    for (const each of [id, waiting.id]) {
      assert.match((await other.job(each).result({ wait: 20_000 })).text(), /^(SECOND|THIRD)$/);
    }
    await leave(moved);
  },
});
