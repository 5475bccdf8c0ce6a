/**
 * Pools on machines whose network is bad: the link goes down and comes back, packets are lost, slowed and delayed, the
 * machine is killed. Each request is answered, and none twice. Some minutes: `deno task test:foreign` runs it.
 */

import { strict as assert } from "node:assert";
import type { Server } from "../../mod.ts";
import { endpointOf, moduleOf } from "../rig/in_process.ts";
import { joinAs, JoinRing, serveJoinable } from "../rig/joined.ts";
import { Peer } from "../rig/peer.ts";
import { canMakeHosts, RemoteHost } from "../rig/remote_host.ts";
import type { ServerProcess } from "../rig/server_process.ts";
import { SlowProxy } from "../rig/slow_proxy.ts";
import { text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const ignore = !canMakeHosts() || Deno.env.get("TEST_FOREIGN") !== "all";

/** Answers with where it is and what was asked, after a while. */
const handler = (where: string) =>
  `export default async (body, { attempt }) => {
  await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 30));
  return ${JSON.stringify(where)} + " " + attempt + " " + new TextDecoder().decode(body);
};`;

/** Whether the system can be told how soon it sends again: since Linux 6.15. */
const [major = 0, minor = 0] = Deno.osRelease().split(".").map(Number);
const resendsSoon = Deno.build.os === "linux" && (major > 6 || (major === 6 && minor >= 15));
const OUTAGE_MS = 30_000;
const SPELL_MS = 15_000;
/** Requests under way at a time. */
const WINDOW = 12;
/** Longer than this no request takes while a machine is gone: it is given up after 5 s. */
const MOST_MS = 12_000;

/** Asks all the time, and notes how each request was answered. */
class Load {
  readonly #peer: Peer;
  readonly #sentAt = new Map<string, number>();
  /** What was answered, and how often. */
  readonly answers = new Map<string, string[]>();
  longestMs = 0;
  #next = 0;
  #isOn = true;
  readonly #done: Promise<void>;

  constructor(endpoint: string) {
    this.#peer = new Peer(endpoint);
    this.#done = this.#run();
  }

  async #run(): Promise<void> {
    while (this.#isOn || this.#sentAt.size > 0) {
      while (this.#isOn && this.#sentAt.size < WINDOW) this.#ask();
      const frames = await this.#peer.receive(60_000);
      this.#take(text(frames.at(-1)));
    }
  }

  #ask(): void {
    const id = String(++this.#next);
    this.#sentAt.set(id, performance.now());
    this.#peer.send("", id);
  }

  #take(answer: string): void {
    const id = answer.split(" ").at(-1) ?? "";
    this.answers.set(id, [...this.answers.get(id) ?? [], answer]);
    const sentAt = this.#sentAt.get(id) ?? NaN;
    this.longestMs = Math.max(this.longestMs, performance.now() - sentAt);
    this.#sentAt.delete(id);
  }

  /** How many were answered there. */
  count(where: string): number {
    return [...this.answers.values()].flat().filter((each) => each.startsWith(where)).length;
  }

  /** Asks no more; all that was asked must have one answer. */
  async end(): Promise<void> {
    this.#isOn = false;
    await this.#done;
    // What comes twice comes late.
    await new Promise((resolve) => setTimeout(resolve, 500));
    for (let frames = this.#peer.take(); frames !== undefined; frames = this.#peer.take()) {
      this.#take(text(frames.at(-1)));
    }
    await this.#peer[Symbol.asyncDispose]();
    const wrong = [...this.answers].filter(([id, [first, second]]) =>
      second !== undefined || !/^(here|there) \d+ \d+$/.test(first ?? "") ||
      first?.split(" ")[2] !== id
    );
    assert.deepEqual(wrong, []);
    assert.equal(this.answers.size, this.#next);
  }
}

interface Scene {
  readonly host: RemoteHost;
  readonly server: Server;
  readonly pool: ServerProcess;
  readonly load: Load;
  /** Waits until so many more are answered by the pool. */
  more(count: number): Promise<void>;
}

/** A server here, a pool on another machine, and requests all the time. */
async function onTwoMachines(
  t: Deno.TestContext,
  play: (scene: Scene) => Promise<void>,
  { delay }: { delay?: () => number } = {},
): Promise<void> {
  using ring = new JoinRing("east");
  await using host = await RemoteHost.make();
  await using server = serveJoinable(ring, {
    joinEndpoint: `tcp://${host.here}:0`,
    handler: moduleOf(handler("here")),
  });
  const [hostname = "", port] = (server.joinEndpoint ?? "").replace("tcp://", "").split(":");
  using proxy = delay && new SlowProxy(host.here, { hostname, port: Number(port) }, delay);
  const at = { joinEndpoint: proxy?.endpoint ?? server.joinEndpoint ?? "" };
  const there = { ring, handler: handler("there"), workers: 2, prefix: host.prefix };
  await using pool = await joinAs("east", at, there);
  const load = new Load(endpointOf(server));
  const more = async (count: number) => {
    const before = load.count("there");
    await until(`${count} more are answered there`, () => load.count("there") >= before + count);
  };
  await more(20);
  try {
    await play({ host, server, pool, load, more });
  } finally {
    await load.end();
  }
  const { counters } = server.stats();
  assert.equal(counters.lost, 0);
  const { longestMs } = load;
  assert(longestMs < MOST_MS, `A request took ${longestMs} ms`);
  const [all, remote] = [load.answers.size, load.count("there")];
  console.log(
    `${t.name}: ${all} requests, ${remote} answered there, ${counters.returned} run again, ` +
      `the longest took ${Math.round(longestMs)} ms`,
  );
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const seen = async (server: Server) =>
  (await server.status()).workers.filter(({ host, state }) =>
    host === "east" && (state === "idle" || state === "busy")
  ).length;

Deno.test("a machine whose link is down for 30 s loses nothing, and its pool comes back", {
  ignore,
}, async (t) => {
  await onTwoMachines(t, async ({ host, server, pool, more }) => {
    const before = pool.workers;
    await host.link("down");
    const downAt = performance.now();
    await until("it is given up", async () => (await seen(server)) === 0);
    assert(performance.now() - downAt < 8000, "it takes too long to give it up");
    await pool.line("the server is lost, and the workers with it");
    await sleep(OUTAGE_MS - (performance.now() - downAt));
    await host.link("up");
    await pool.line("joined", 2);
    await more(50);
    assert.equal(pool.workers.some((pid) => before.includes(pid)), false);
  });
});

Deno.test(
  "a machine whose link is down for a moment, again and again, loses nothing",
  { ignore },
  async (t) => {
    await onTwoMachines(t, async ({ host, pool, more }) => {
      for (let round = 0; round < 12; round++) {
        await host.link("down");
        await sleep(1000);
        await host.link("up");
        await more(20);
      }
      const lost = pool.lines.filter(({ message }) => /^the server is lost/.test(String(message)));
      if (resendsSoon) assert.deepEqual(lost, [], "what is lost is sent again soon enough");
    });
  },
);

Deno.test("a machine of whose packets many are lost loses no request", { ignore }, async (t) => {
  await onTwoMachines(t, async ({ host, more }) => {
    for (const share of [0.1, 0.3]) {
      await host.lose(share);
      await sleep(SPELL_MS);
      await host.lose(0);
      await more(20);
    }
  });
});

Deno.test("a machine whose packets are slowed loses no request", { ignore }, async (t) => {
  await onTwoMachines(t, async ({ host, more }) => {
    if (!await host.slow("64kbit")) return console.log("the kernel has no tbf");
    await sleep(SPELL_MS);
    await more(20);
  });
});

Deno.test("a machine that is far away serves", { ignore }, async (t) => {
  const delay = () => 150 + Math.random() * 100;
  await onTwoMachines(t, async ({ pool, more }) => {
    await sleep(SPELL_MS);
    pool.signal("SIGHUP");
    await pool.line("reloaded");
    await more(20);
    assert.equal(pool.lines.some(({ message }) => /^the server is lost/.test(message)), false);
  }, { delay });
});

Deno.test("a machine that is killed, so that nothing says that it is gone, loses nothing", {
  ignore,
}, async (t) => {
  await onTwoMachines(t, async ({ host, server, pool }) => {
    await host.link("down");
    pool.signal("SIGKILL");
    await until("it is given up", async () => (await seen(server)) === 0);
  });
});
