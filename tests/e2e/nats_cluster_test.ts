/**
 * Jobs on three nats-servers and three nodes, which are killed under load: nothing that was acknowledged is lost, each
 * job has one result, and runs that were repeated are counted. Takes a minute: TEST_FOREIGN=all.
 */

import { strict as assert } from "node:assert";
import { StoreRefusedError } from "../../ops/store_link.ts";
import type { NatsOrders } from "../../store/messages.ts";
import { openStore } from "../../store/nats_store.ts";
import { path } from "../rig/checkout.ts";
import { HAS_NATS, type NatsServer, NatsServers } from "../rig/nats_servers.ts";
import { endNow } from "../rig/processes.ts";
import { StoreUserRig, submission, textIn } from "../rig/store_user.ts";
import { pause, until } from "../rig/wait.ts";

const NODES = 3;
const ACK_WAIT = 3000;
const ROUNDS = 6;
/** Between two kills, ms. */
const CALM = 4000;
const IN_FLIGHT = 32;
/** How long jobs may take to end once nothing is killed any more, ms. */
const PATIENCE = 120_000;
const PREFIX = "cluster";

const isWanted = HAS_NATS && Deno.env.get("TEST_FOREIGN") === "all";

/** A node in a process of its own. */
class Node {
  readonly runs: string[] = [];
  readonly #child: Deno.ChildProcess;
  readonly #read: Promise<void>;
  #isReady = false;

  constructor(url: string) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        path("tests/rig/nats_node.ts"),
        url,
        PREFIX,
        String(ACK_WAIT),
      ],
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#read = this.#collect();
  }

  async ready(): Promise<this> {
    await until("the node is ready", () => this.#isReady);
    return this;
  }

  async kill(): Promise<void> {
    await endNow(this.#child);
    await this.#read;
  }

  async #collect(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "ready") this.#isReady = true;
        else if (line.startsWith("run ")) this.runs.push(line.slice("run ".length));
      }
    }
  }
}

/** Submits without a pause; a submission that was refused is repeated with its id, as a client does. */
class Submitter {
  readonly acknowledged: string[] = [];
  readonly told = new Map<string, string>();
  refused = 0;
  #isOver = false;
  readonly #user: StoreUserRig;
  readonly #loops: Promise<void>[];

  constructor(user: StoreUserRig) {
    this.#user = user;
    this.#loops = Array.from({ length: IN_FLIGHT }, () => this.#loop());
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#loops);
  }

  async #loop(): Promise<void> {
    while (!this.#isOver) {
      const id = `j-${crypto.randomUUID().replaceAll("-", "")}`;
      if (!await this.#submit(id)) continue;
      this.acknowledged.push(id);
      const answer = await this.#user.ask({ type: "result", id, waitMs: 2000 }).catch(() =>
        undefined
      );
      if (answer?.result !== undefined) this.told.set(id, textIn(answer.result));
    }
  }

  async #submit(id: string): Promise<boolean> {
    for (let tried = 0; tried < 20; tried++) {
      try {
        await this.#user.submit(submission(id, { id }));
        return true;
      } catch (error) {
        if (!(error instanceof StoreRefusedError) || error.code !== 503) throw error;
        this.refused++;
        await pause(200);
      }
    }
    return false;
  }
}

Deno.test({
  name:
    "three servers and three nodes that are killed in turn lose no job and give each result once",
  ignore: !isWanted,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await using servers = await NatsServers.start({ count: 3 });
    const nats: NatsOrders = {
      ...{ credentials: undefined, nkey: undefined, tls: undefined },
      ...{ prefix: PREFIX, ackWait: ACK_WAIT },
    };
    await using user = await StoreUserRig.start(openStore, servers.url, { nats });
    const ended: Node[] = [];
    const nodes = await Promise.all(
      Array.from({ length: NODES }, () => new Node(servers.url).ready()),
    );
    try {
      const submitter = new Submitter(user);
      for (let round = 0; round < ROUNDS; round++) {
        await pause(CALM);
        await disturb(round, servers, nodes, ended);
      }
      await pause(CALM);
      await submitter.stop();
      await check(user, submitter, [...nodes, ...ended]);
    } finally {
      await Promise.all(nodes.map((node) => node.kill()));
    }
  },
});

/** Kills the leader of a stream, or a node; either comes back. */
async function disturb(
  round: number,
  servers: NatsServers,
  nodes: Node[],
  ended: Node[],
): Promise<void> {
  if (round % 2 === 1) {
    const node = nodes.shift();
    if (node !== undefined) ended.push(node);
    await node?.kill();
    nodes.push(await new Node(servers.url).ready());
    return;
  }
  const stream = round % 4 === 0 ? `${PREFIX}_work` : `KV_${PREFIX}_jobs`;
  const leader: NatsServer = await servers.leader(stream);
  await leader.kill();
  await pause(1500);
  leader.start();
  await until("the server is well again", () => leader.isWell());
}

async function check(user: StoreUserRig, submitter: Submitter, nodes: Node[]): Promise<void> {
  const { acknowledged, told, refused } = submitter;
  const lost: string[] = [];
  const end = performance.now() + PATIENCE;
  let last = "";
  for (const id of acknowledged) {
    const waitMs = Math.max(0, end - performance.now());
    const answer = await user.ask({ type: "result", id, waitMs }).catch((error) => {
      last = String(error);
      return undefined;
    });
    const { status, result } = answer ?? {};
    if (status?.state !== "done") lost.push(`${id} ${JSON.stringify(status)} ${last}`);
    const before = told.get(id);
    if (before !== undefined && result !== undefined) assert.equal(textIn(result), before, id);
  }
  const runs = nodes.flatMap(({ runs }) => runs);
  const repeated = runs.length - new Set(runs).size;
  const share = (100 * repeated / runs.length).toFixed(2);
  console.log(
    `${acknowledged.length} jobs acknowledged, ${refused} refused for a while, ${lost.length} lost; ` +
      `${runs.length} runs, ${repeated} repeated (${share} %)`,
  );
  assert.deepEqual(lost, []);
  assert(acknowledged.length > 100, "there was load");
}
