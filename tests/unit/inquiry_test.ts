/** What the loop is asked while it serves: whose turn it is, what is found, and what comes of failures. */

import { strict as assert } from "node:assert";
import { oldestOf, type Row } from "../../broker/by_age.ts";
import { resolveOptions } from "../../options/resolve.ts";
import { type Answerers, Inquirer } from "../../ports/inquirer.ts";
import { BrokerLoop } from "../../ports/loop.ts";
import type { DataPlane } from "../../ports/plane.ts";
import { RemoteLoop } from "../../ports/remote_loop.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Peer } from "../rig/peer.ts";
import { text } from "../rig/text.ts";
import { until, within } from "../rig/wait.ts";

const LIBRARY = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
const STRICT = { sanitizeOps: true };

// ---- whose turn it is ----

/** Answerers of which only `cancelJob` is asked: it fails for job 13. */
const ANSWERERS: Partial<Answerers> = {
  cancelJob: ({ job }) => {
    if (job === 13) throw new RangeError("no luck");
    return { outcome: job === 1 ? "cancelled" : "unknown" };
  },
};

function newInquirer() {
  const heard: string[] = [];
  const inquirer = new Inquirer(ANSWERERS as Answerers);
  const ask = (job: number) =>
    inquirer.add("cancelJob", { job }, {
      found: ({ outcome }) => void heard.push(`${job} ${outcome}`),
      failed: (error) => void heard.push(`${job} ${error}`),
    });
  return { heard, inquirer, ask };
}

Deno.test("Inquirer answers one inquiry at a time, in order, and goes on after a failure", () => {
  const { heard, inquirer, ask } = newInquirer();
  for (const job of [1, 13, 2]) ask(job);
  assert.deepEqual(heard, []);
  assert.equal(inquirer.goOn(0), true);
  assert.deepEqual(heard, ["1 cancelled"]);
  assert.equal(inquirer.goOn(0), true);
  assert.equal(inquirer.goOn(0), true);
  assert.equal(inquirer.goOn(0), false);
  assert.deepEqual(heard, ["1 cancelled", "13 RangeError: no luck", "2 unknown"]);
});

Deno.test("Inquirer refuses inquiries when 100 wait, and all of them when it is closed", () => {
  const { heard, inquirer, ask } = newInquirer();
  for (let job = 1; job <= 101; job++) ask(job);
  assert.deepEqual(heard.splice(0), [
    "101 Error: Cannot ask: 100 inquiries wait already, which is the limit",
  ]);
  inquirer.close();
  assert.equal(heard.length, 100);
  assert(heard.every((said) => said.endsWith("Cannot ask: the server has ended")));
  ask(102);
  assert.equal(heard.at(-1), "102 Error: Cannot ask: the server has ended");
  assert.equal(inquirer.goOn(0), false);
});

Deno.test("Inquirer goes on with a long inquiry in the next turn, and then with the one behind", () => {
  const steps: string[] = [];
  let clock = 0;
  function* search(job: number): Generator<void, { outcome: "unknown" }> {
    for (const step of [1, 2, 3]) {
      steps.push(`${job}:${step}`);
      clock += 0.2;
      yield;
    }
    return { outcome: "unknown" };
  }
  const answerers = { cancelJob: ({ job }: { job: number }) => search(job) };
  const inquirer = new Inquirer(answerers as Partial<Answerers> as Answerers, () => clock);
  const heard: number[] = [];
  const failed = (error: unknown) => assert.fail(String(error));
  for (const job of [1, 2]) {
    inquirer.add("cancelJob", { job }, { found: () => void heard.push(job), failed });
  }
  inquirer.goOn(0);
  assert.deepEqual(steps.splice(0), ["1:1", "1:2"]);
  inquirer.goOn(0);
  assert.deepEqual([steps.splice(0), heard], [["1:3"], [1]]);
  inquirer.goOn(0);
  assert.deepEqual(steps.splice(0), ["2:1", "2:2"]);
  while (inquirer.goOn(0));
  assert.deepEqual(heard, [1, 2]);
});

Deno.test("oldestOf gives the oldest items of all rows in order, and no more than it is asked for", () => {
  interface Item {
    id: number;
    next?: Item;
  }
  let looks = 0;
  const rowOf = (ids: number[]): Row<Item> => {
    const items: Item[] = ids.map((id) => ({ id }));
    items.forEach((item, index) => item.next = items[index + 1]);
    const [first] = items;
    assert(first !== undefined);
    return { first, next: ({ next }) => (looks++, next) };
  };
  const rows = () => [[5, 6, 30], [1], [7, 8, 9, 10], [2, 40], [3], [4, 11]].map(rowOf);
  const ids = (most: number) => oldestOf(rows(), most).map(({ id }) => id);
  assert.deepEqual(ids(100), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 30, 40]);
  looks = 0;
  assert.deepEqual([ids(2), looks], [[1, 2], 2]);
  assert.deepEqual(ids(0), []);
  assert.deepEqual(oldestOf<Item>([], 5), []);
  const many = Array.from({ length: 300 }, (_, index) => [index + 1, index + 1001]);
  const shuffled = many.toSorted(() => Math.random() - 0.5).map(rowOf);
  assert.deepEqual(oldestOf(shuffled, 1000).map(({ id }) => id), [
    ...many.map(([id]) => id),
    ...many.map(([, id]) => id),
  ]);
});

// ---- with a thread and without ----

/** A loop that serves, and a client. */
class Stage {
  readonly loop: DataPlane;
  readonly client: Peer;
  readonly #ended: Promise<void>;

  constructor(thread: "own" | "this") {
    const settings = resolveOptions({ frontend: "tcp://127.0.0.1:0" }, {
      cpus: 2,
      cwd: () => "/",
    });
    // What resolves options also gives hooks, which can't be told.
    const plain = JSON.parse(JSON.stringify(settings));
    const limits = { ...plain, queueLimit: 1000, queueBytes: 2 ** 30, abortGrace: 1000 };
    const services = ["", "mail"].map((name) => ({ name, limits, frontend: [], users: undefined }));
    const options = { ...limits, services, backend: "tcp://127.0.0.1:0" };
    this.loop = thread === "own"
      ? new RemoteLoop(LIBRARY.path, options, () => {})
      : new BrokerLoop(LIBRARY, options, () => {});
    this.#ended = this.loop.run();
    this.client = new Peer(this.loop.frontend[0] ?? "");
  }

  /** Sends requests, and waits until all that were sent wait for a worker. */
  async queue(...bodies: string[]): Promise<void> {
    const before = this.loop.look("now").queued;
    for (const body of bodies) this.client.send("", body);
    await until("they wait", () => this.loop.look("now").queued === before + bodies.length);
  }

  async stop(): Promise<void> {
    this.loop.send({ type: "stop" });
    await this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.loop.close(0);
    await this.client[Symbol.asyncDispose]();
  }
}

for (const thread of ["own", "this"] as const) {
  const where = thread === "own" ? "in a thread of its own" : "on this thread";

  Deno.test(`DataPlane finds requests and clients ${where}`, STRICT, async () => {
    await using stage = new Stage(thread);
    const { loop } = stage;
    await stage.queue("one", "two", "three");
    const { total, jobs } = await loop.ask("jobs", { limit: 2 });
    assert.equal(total, 3);
    assert.deepEqual(jobs.map(({ job }) => job), [1, 2]);
    const [first] = jobs;
    assert(first !== undefined && first.ageMs >= 0);
    const { service, state, address, identity, user, attempt, key, askers } = first;
    assert.deepEqual({ service, state, address, identity, user, attempt, key, askers }, {
      ...{ service: "", state: "waiting", address: "127.0.0.1", identity: "", user: "" },
      ...{ attempt: 1, key: false, askers: 1 },
    });
    const found = await loop.ask("clients", { limit: 10 });
    assert.deepEqual(found, {
      total: 1,
      clients: [{
        ...{ address: "127.0.0.1", identity: "", user: "", live: 3, services: [""] },
        unreadBytes: 0,
      }],
    });
    const { services } = await loop.ask("measures", {});
    assert.deepEqual(services.map(({ name, queued }) => [name, queued]), [["", 3], ["mail", 0]]);
  });

  Deno.test(
    `DataPlane cancels a request that waits, and says if there is none, ${where}`,
    STRICT,
    async () => {
      await using stage = new Stage(thread);
      const { loop, client } = stage;
      await stage.queue("one");
      const { jobs: [first] } = await loop.ask("jobs", { limit: 1 });
      const job = first?.job ?? 0;
      assert.deepEqual(await loop.ask("cancelJob", { job }), { outcome: "cancelled" });
      const [, , answer] = await client.receive();
      assert.equal(text(answer), "499 The request was cancelled");
      assert.deepEqual(await loop.ask("cancelJob", { job }), { outcome: "unknown" });
      assert.deepEqual(await loop.ask("jobs", { limit: 1 }), { total: 0, jobs: [] });
    },
  );

  Deno.test(
    `DataPlane rejects an inquiry that fails, and serves on, ${where}`,
    STRICT,
    async () => {
      await using stage = new Stage(thread);
      const { loop } = stage;
      const wrong = loop.ask("jobs", null as unknown as { limit: number });
      const right = loop.ask("jobs", { limit: 1 });
      await assert.rejects(within("it fails", wrong), TypeError);
      assert.equal((await within("it is answered", right)).total, 0);
      await stage.queue("served");
    },
  );

  Deno.test(`DataPlane rejects inquiries that come too late ${where}`, STRICT, async () => {
    await using stage = new Stage(thread);
    const { loop } = stage;
    // Both come between two passes: it is answered or not, but settled.
    const early = loop.ask("jobs", { limit: 1 }).catch(String);
    await stage.stop();
    await within("it is settled", early);
    const ended = /^Error: Cannot ask: the server has ended$/;
    await assert.rejects(within("it is rejected", loop.ask("jobs", { limit: 1 })), ended);
    await loop.close(0);
    await assert.rejects(within("it is rejected", loop.ask("clients", { limit: 1 })), ended);
  });

  Deno.test(`DataPlane starts no job of a service that is paused ${where}`, STRICT, async () => {
    await using stage = new Stage(thread);
    const { loop } = stage;
    const look = (name: string) => loop.look("now").services.get(name);
    assert.deepEqual([look("")?.paused, look("")?.oldestAt], [false, undefined]);
    loop.send({ type: "pause", service: "" });
    loop.send({ type: "pause", service: "unknown" });
    await stage.queue("one");
    assert.deepEqual([look("")?.paused, look("mail")?.paused], [true, false]);
    const age = performance.now() - (look("")?.oldestAt ?? 0);
    assert(age >= 0 && age < 60_000, `${age} ms`);
    loop.send({ type: "resume", service: "" });
    assert.equal(look("")?.paused, false);
  });
}
