/** Servers whose store's thread fails: requests go on, and what was acknowledged is run by the next one. */

import { strict as assert } from "node:assert";
import { Client, ReplyError } from "../../client.ts";
import { plantFragility } from "../rig/faulty_thread.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { readLog } from "../rig/log_lines.ts";
import { until } from "../rig/wait.ts";

const JOBS = 12;

/** Answers, and writes the bodies of stored jobs down. */
const HANDLER = moduleOf(`
  const decoder = new TextDecoder();
  export default async (body, { job }) => {
    const text = decoder.decode(body);
    if (job === undefined) return "did " + text;
    const [path, name] = text.split(" ");
    await Deno.writeTextFile(path + "/" + name + "-" + crypto.randomUUID(), "");
    return "ran " + name;
  };
`);

function optionsIn(folder: Folder) {
  Deno.mkdirSync(`${folder.path}/ran`);
  return {
    ...{ handler: HANDLER, workers: 2, store: `${folder.path}/jobs.db` },
    permissions: { write: [`${folder.path}/ran`] },
    ...{ logFile: `${folder.path}/log`, logFormat: "json", logLevel: "info" } as const,
  };
}

Deno.test("a server goes on when its store's thread fails, and runs what was acknowledged without being asked", async () => {
  using folder = new Folder();
  using _ = plantFragility();
  await using server = serveQuietly(optionsIn(folder));
  await using client = new Client({ endpoint: endpointOf(server) });
  const saying = (message: string) =>
    readLog(`${folder.path}/log`).filter((line) => line.message === message);
  const ran = () => [...Deno.readDirSync(`${folder.path}/ran`)].map(({ name }) => name.slice(0, 2));
  const names = Array.from({ length: JOBS }, (_, i) => String(10 + i));
  for (const name of names) await client.submit(`${folder.path}/ran ${name}`, { delay: 500 });
  await assert.rejects(client.submit("crash"), (error) => {
    assert.ok(error instanceof ReplyError);
    assert.equal(error.code, 507);
    assert.equal(
      error.message,
      "Jobs can't be stored: the store has failed: RangeError: out of luck",
    );
    return true;
  });
  assert.equal((await client.request("x")).text(), "did x");
  await assert.rejects(client.submit("early"), { code: 507 });
  const [line] = saying("the store has failed: jobs are refused until it is started again");
  assert.deepEqual([line?.reason, line?.restart], ["RangeError: out of luck", "in 1 s"]);
  await until("all have run", () => new Set(ran()).size === JOBS);
  assert.deepEqual(ran().sort(), names, "each once");
  assert.equal(saying("the store is open").length, 2);
  const { id } = await client.submit(`${folder.path}/ran 99`);
  assert.equal((await client.job(id).result({ wait: 20_000 })).text(), "ran 99");
});

Deno.test("a server ends though its store's thread stands still, and the next one runs what was acknowledged", async () => {
  using folder = new Folder();
  const options = { ...optionsIn(folder), stopTimeout: 500 };
  {
    using _ = plantFragility();
    await using server = serveQuietly(options);
    await using client = new Client({ endpoint: endpointOf(server), timeout: 1000, retries: 0 });
    await client.submit(`${folder.path}/ran 10`, { delay: 1500 });
    await assert.rejects(client.submit("stall"));
    assert.equal((await client.request("x")).text(), "did x");
  }
  const [line] = readLog(`${folder.path}/log`)
    .filter(({ message }) => message === "the store was ended: what it has acknowledged is safe");
  assert.equal(line?.reason, "it was not closed in time");
  // The thread that was left has the file until it moves again.
  await using _server = serveQuietly(options);
  await until("it has run", () => [...Deno.readDirSync(`${folder.path}/ran`)].length === 1);
});

Deno.test("a server refuses jobs while their file is away, and goes on with it once it is back", async () => {
  using folder = new Folder();
  const { store, ...options } = optionsIn(folder);
  await using server = serveQuietly({ ...options, store });
  await using client = new Client({ endpoint: endpointOf(server) });
  const run = async (name: string) => {
    const { id } = await client.submit(`${folder.path}/ran ${name}`);
    return (await client.job(id).result({ wait: 20_000 })).text();
  };
  const refused = () =>
    client.submit("x").then(() => false, (error) => error.code === 507 && error);
  assert.equal(await run("10"), "ran 10");
  Deno.renameSync(store, `${store}.away`);
  const error = await until("it is noticed", refused);
  assert.match(String(error.message), /^Cannot store jobs: ".*\/jobs\.db" was removed: put back/);
  assert.equal((await client.request("x")).text(), "did x");
  assert.equal((await server.stored.status()).trouble, error.message);
  await assert.rejects(server.stored.backup(`${folder.path}/copy.db`), { code: 507 });
  Deno.renameSync(`${store}.away`, store);
  await until("it is stored again", async () => await refused() === false);
  assert.equal(await run("11"), "ran 11");
  const lines = readLog(`${folder.path}/log`)
    .filter(({ message }) => message.startsWith("jobs are "));
  assert.deepEqual(lines.map(({ message }) => message), [
    "jobs are not stored: they are refused with 507",
    "jobs are stored again",
  ]);
});
