/** The thread of the store as its host sees it: one that fails, never opens, is silent or does not close. */

import { strict as assert } from "node:assert";
import type { Log } from "../../ops/log.ts";
import { StoreHost, type StoreThread } from "../../ops/store_host.ts";
import { StoreWatch } from "../../ops/store_watch.ts";
import { resolveOptions } from "../../options/resolve.ts";
import type { LoopCommand } from "../../ports/messages.ts";
import type { FromStore, StoreOrders, ToStore } from "../../store/messages.ts";
import { until } from "../rig/wait.ts";

/** A thread that does what a test says. */
class FakeThread implements StoreThread {
  readonly heard: ToStore[] = [];
  isTerminated = false;
  #orders: StoreOrders | undefined;
  readonly #failed: (reason: string) => void;

  constructor(failed: (reason: string) => void) {
    this.#failed = failed;
  }

  postMessage(orders: StoreOrders): void {
    this.#orders = orders;
    orders.server.onmessage = ({ data }) => this.heard.push(...data);
  }

  terminate(): void {
    this.isTerminated = true;
    this.#orders?.server.close();
    this.#orders?.plane.close();
  }

  says(...messages: FromStore[]): void {
    this.#orders?.server.postMessage(messages);
  }

  fails(reason: string): void {
    this.#failed(reason);
  }

  /** Waits until it has been told something. */
  told(type: ToStore["type"]): Promise<ToStore> {
    return until(`"${type}" was said`, () => this.heard.find((message) => message.type === type));
  }
}

/** A host, and what becomes of it. */
class World implements Disposable {
  now = 1000;
  readonly threads: FakeThread[] = [];
  readonly lines: string[] = [];
  readonly sent: LoopCommand[] = [];
  /** Why no thread can be started; undefined: one can. */
  obstacle: string | undefined;
  readonly host: StoreHost;

  constructor() {
    const line = (level: string) => (message: string, fields: object = {}) =>
      this.lines.push(
        [level, message, ...Object.entries(fields).map((each) => each.join("="))].join(" "),
      );
    const settings = resolveOptions({ handler: "/srv/a.ts", store: "/srv/jobs.db" }, {
      cpus: 2,
      cwd: () => "/srv",
    });
    const log = {
      debug: line("debug"),
      info: line("info"),
      warn: line("warn"),
      error: line("error"),
    };
    this.host = new StoreHost({
      log: log as unknown as Log,
      plane: {
        joinStore: (port) => void port.close(),
        send: (command) => void this.sent.push(command),
      },
      settings: () => settings,
      endpoint: "tcp://127.0.0.1:6660",
      wake: () => {},
      now: () => this.now,
      startThread: (failed) => {
        if (this.obstacle !== undefined) throw new Error(this.obstacle);
        const thread = new FakeThread(failed);
        this.threads.push(thread);
        return thread;
      },
    }, settings);
  }

  /** The thread of now. */
  get thread(): FakeThread {
    return this.threads.at(-1) ?? assert.fail("There is no thread");
  }

  /** Starts a thread, which opens. */
  async open(): Promise<void> {
    this.host.want();
    this.thread.says({ type: "opened" });
    const opened = this.#opened();
    await until("it is open", () => this.#opened() > opened);
  }

  #opened(): number {
    return this.lines.filter((line) => line.startsWith("info the store is open")).length;
  }

  /** Lets time pass, as the server's timer would. */
  pass(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const wait = this.host.tick(this.now);
      if (this.now + wait > end) break;
      this.now += Math.max(1, wait);
    }
    this.now = end;
  }

  /** What the plane was told last of a store that is not there. */
  get told(): string | undefined {
    return this.sent.findLast((command) => command.type === "storeLost")?.message;
  }

  [Symbol.dispose](): void {
    this.host.abandon();
  }
}

const LIST = { type: "list", limit: 1 } as const;
const STORE = "store=sqlite:/srv/jobs.db";

Deno.test("StoreHost starts a store again that has failed, and refuses meanwhile what it is asked", async () => {
  using world = new World();
  await world.open();
  const asked = world.host.operate(LIST);
  await world.thread.told("operate");
  world.thread.fails("TypeError: boom");
  const refusal = {
    name: "StoreRefusedError",
    code: 507,
    message: "Jobs can't be stored: the store has failed: TypeError: boom",
  };
  await assert.rejects(asked, refusal);
  await assert.rejects(world.host.operate(LIST), refusal);
  assert.equal(world.told, refusal.message);
  assert.equal(world.host.trouble, "the store has failed: TypeError: boom");
  assert.ok(world.threads[0]?.isTerminated);
  assert.equal(
    world.lines.at(-1),
    `error the store has failed: jobs are refused until it is started again ${STORE} ` +
      "reason=TypeError: boom restart=in 1 s",
  );
  assert.equal(world.threads.length, 1, "not at once");
  world.pass(999);
  assert.equal(world.threads.length, 1);
  world.pass(2);
  assert.equal(world.threads.length, 2, "though nobody has asked: jobs that are stored are to run");
  world.thread.says({ type: "opened" });
  await until("it is open again", () => world.host.trouble === undefined);
  const again = world.host.operate(LIST);
  const question = await world.thread.told("operate");
  assert.ok(question.type === "operate");
  const answer = { type: "list", total: 0, jobs: [] } as const;
  world.thread.says({ type: "told", number: question.number, answer: { ...answer, jobs: [] } });
  assert.deepEqual(await again, answer);
});

Deno.test("StoreHost waits longer before each start of a store that fails again, for a minute at most", async () => {
  using world = new World();
  world.host.want();
  const rests: number[] = [];
  for (let failure = 1; failure <= 9; failure++) {
    const failedAt = world.now;
    world.thread.fails("no luck");
    // Whoever asks does not start it sooner.
    world.host.want();
    assert.equal(world.threads.length, failure);
    while (world.threads.length === failure) world.pass(100);
    rests.push(Math.round((world.now - failedAt) / 1000));
  }
  assert.deepEqual(rests, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
  // One that was open for a minute has not failed again.
  world.thread.says({ type: "opened" });
  await until("it is open", () => world.host.trouble === undefined);
  world.now += 60_000;
  world.thread.fails("no luck");
  assert.match(world.lines.at(-1) ?? "", /restart=in 1 s$/);
});

Deno.test("StoreHost gives up a store that does not answer, but not one that was asleep with its machine", async () => {
  using world = new World();
  await world.open();
  const asked = world.host.operate(LIST);
  asked.catch(() => {});
  for (let round = 0; round < 3; round++) {
    // The machine was asleep: one question only was without an answer.
    world.now += 3_600_000;
    world.pass(10_000);
    const pulses = () => world.thread.heard.filter(({ type }) => type === "pulse").length;
    await until("it was asked", () => pulses() > 0);
    world.thread.heard.length = 0;
    world.thread.says({ type: "pulse" }, {
      type: "log",
      level: "debug",
      message: `round ${round}`,
    });
    await until("it has answered", () => world.lines.includes(`debug round ${round}`));
  }
  world.pass(29_000);
  assert.equal(world.threads.length, 1);
  world.pass(7000);
  await assert.rejects(asked, { code: 507, message: /: it has not answered for 30 s$/ });
  assert.ok(world.threads[0]?.isTerminated);
  assert.equal(world.threads.length, 2, "it was started again");
});

Deno.test("StoreHost gives a store more time to open than it has to answer, and more after each that was in vain", () => {
  using world = new World();
  world.host.want();
  const times: number[] = [];
  for (let start = 1; start <= 7; start++) {
    const startedAt = world.now;
    while (!world.threads[start - 1]?.isTerminated) world.pass(1000);
    times.push(Math.round((world.now - startedAt) / 60_000));
    while (world.threads.length === start) world.pass(1000);
  }
  assert.deepEqual(times, [2, 4, 8, 16, 32, 32, 32]);
});

Deno.test("StoreHost hears nothing of a thread any more that it has given up", async () => {
  using world = new World();
  await world.open();
  world.thread.fails("first");
  world.pass(1500);
  assert.equal(world.threads.length, 2);
  world.threads[0]?.fails("late");
  assert.ok(!world.threads[1]?.isTerminated);
  assert.ok(!world.lines.some((line) => line.includes("late")));
});

Deno.test("StoreHost says why a thread can't be started, and starts one once that works", async () => {
  using world = new World();
  world.obstacle = "Requires read access";
  world.host.want();
  world.host.want();
  assert.deepEqual(world.lines, ["warn jobs can't be stored reason=Requires read access"]);
  assert.equal(world.told, "Jobs can't be stored: Requires read access");
  world.obstacle = undefined;
  await world.open();
  assert.equal(world.host.trouble, undefined);
});

Deno.test("StoreHost ends without a store that fails while it is closed", async () => {
  using world = new World();
  await world.open();
  const closed = world.host.close(world.now + 60_000);
  await world.thread.told("bye");
  world.thread.fails("boom");
  await closed;
  assert.equal(
    world.lines.at(-1),
    `error the store was ended: what it has acknowledged is safe ${STORE} ` +
      "reason=the store has failed: boom",
  );
  world.pass(100_000);
  assert.equal(world.threads.length, 1, "it is not started again");
});

Deno.test("StoreHost waits no longer than the server for a store that does not close", async () => {
  using world = new World();
  await world.open();
  await world.host.close(performance.now());
  assert.ok(world.thread.isTerminated);
  assert.match(
    world.lines.at(-1) ?? "",
    /^error the store was ended: .* reason=it was not closed in time$/,
  );
  await assert.rejects(world.host.operate(LIST), { code: 507, message: /the server is stopping$/ });
});

Deno.test("StoreWatch has nothing to do without a thread", () => {
  const watch = new StoreWatch();
  assert.deepEqual([watch.step(1e9), watch.waitMs(1e9), watch.restMs(0)], [undefined, Infinity, 0]);
});
