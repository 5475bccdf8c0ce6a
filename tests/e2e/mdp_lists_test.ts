/** Which of Majordomo's workers may serve what, and those that work along with a handler's own. */

import { strict as assert } from "node:assert";
import { serve, type ServeOptions, type Server } from "../../mod.ts";
import { moduleOf, serveQuietly } from "../rig/in_process.ts";
import { KeyRing } from "../rig/key_ring.ts";
import { curveOf, hasPyzmq, PythonWorker } from "../rig/mdp_workers.ts";
import { Peer } from "../rig/peer.ts";
import { text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const ignore = !hasPyzmq;
const SLOW_UPPER = moduleOf(`
export default async (body) => {
  await new Promise((resolve) => setTimeout(resolve, 5));
  return new TextDecoder().decode(body).toUpperCase();
};`);

/** A server that wants keys. */
function open(ring: KeyRing, options: ServeOptions = {}): Server {
  return serveQuietly({
    ...{ mdp: "tcp://127.0.0.1:0", minWorkers: 1, maxWorkers: 1 },
    ...{ curveSecretKey: ring.secretKeyFile, curveClients: ring.list },
    ...options,
  });
}

function mdpOf({ mdp: [endpoint = ""] }: Server): string {
  return endpoint;
}

/** Says READY; what the server answers: "stays", once its first heartbeat is here, or "refused". */
async function apply(ring: KeyRing, server: Server, user: string, service: string) {
  await using peer = ring.peer(mdpOf(server), user);
  peer.send("MDPW02", "\x01", service);
  const [, command] = (await peer.receive()).map(text);
  return command === "\x05" ? "stays" : "refused";
}

Deno.test("workers of a list alone may come, and each service has its own", async () => {
  using ring = new KeyRing("alice", "bob", "carol");
  const services = {
    mail: { handler: SLOW_UPPER, mdpWorkers: ["bob"] },
    none: { handler: SLOW_UPPER, mdpWorkers: "none" },
    like: SLOW_UPPER,
  } satisfies ServeOptions["services"];
  const around = { handler: SLOW_UPPER, mdpWorkers: ["alice"], mdpHeartbeat: 100 };
  await using server = open(ring, { ...around, services });
  const outcomes = async (service: string) => {
    const users = ["alice", "bob", "carol"];
    return await Promise.all(users.map((user) => apply(ring, server, user, service)));
  };
  assert.deepEqual(await outcomes("new"), ["stays", "refused", "refused"]);
  assert.deepEqual(await outcomes("mail"), ["refused", "stays", "refused"]);
  assert.deepEqual(await outcomes("none"), ["refused", "refused", "refused"]);
  assert.deepEqual(await outcomes("like"), ["stays", "refused", "refused"]);
  // The handler without a name is asked by the empty one.
  assert.deepEqual(await outcomes(""), ["stays", "refused", "refused"]);
  assert.deepEqual(await outcomes("mmi.mine"), ["refused", "refused", "refused"]);
  await server.reload({ ...around, mdpWorkers: ["carol"], services });
  assert.deepEqual(await outcomes("new"), ["refused", "refused", "stays"]);
});

Deno.test("any worker with a key may come where nobody has a handler, and only there", async () => {
  using ring = new KeyRing("alice");
  const services = { mail: SLOW_UPPER };
  await using server = open(ring, { mdpWorkers: "any", mdpHeartbeat: 100, services });
  assert.equal(await apply(ring, server, "alice", "new"), "stays");
  assert.equal(await apply(ring, server, "alice", "mail"), "refused");
  assert.equal(await apply(ring, server, "alice", ""), "refused");
});

/** Asks for all, and takes the answers as they come; `onAnswer` gets how many there were. */
async function askAll(peer: Peer, count: number, onAnswer: (answers: number) => void) {
  const missing = new Set<string>();
  for (let index = 0; index < count; index++) {
    missing.add(`REQUEST ${index}`);
    peer.send("", "MDPC01", "mail", `request ${index}`);
  }
  for (let answers = 1; missing.size > 0; answers++) {
    const [, , , answer = "", error] = await peer.receiveText();
    assert(missing.delete(answer), `${answer} ${error}`);
    onAnswer(answers);
  }
}

Deno.test({
  name:
    "workers in Python work along with a handler's own, and none of their requests is lost when both kinds die",
  ignore,
  async fn() {
    using ring = new KeyRing("alice", "bob");
    const services = { mail: { handler: SLOW_UPPER, mdpWorkers: ["bob"] } };
    const limits = { minWorkers: 2, maxWorkers: 2, concurrency: 4, maxAttempts: 10 };
    await using server = open(ring, { ...limits, services, mdpExpiry: 100 });
    await server.ready;
    const all: PythonWorker[] = [];
    const hire = () => {
      const keys = curveOf(ring, "bob");
      const worker = new PythonWorker(mdpOf(server), "0.2", "mail", { keys });
      all.push(worker);
      return worker;
    };
    const foreign = () => server.stats().services.mail?.workers.foreign;
    const hired = [hire(), hire()];
    try {
      await until("both are there", () => foreign() === 2);
      await using alice = ring.peer(mdpOf(server), "alice");
      await askAll(alice, 400, (answers) => {
        if (answers % 80 === 20) {
          hired.shift()?.kill();
          hired.push(hire());
        }
        if (answers % 80 !== 60) return;
        const [process] = server.stats().processes;
        if (process !== undefined) Deno.kill(process.pid, "SIGKILL");
      });
      const { counters } = server.stats();
      assert.equal(counters.answered - counters.failed, 400);
      await until("two are there again", () => foreign() === 2);
      // What concerns the pool of the handler leaves them alone.
      await server.reload({ ...server.services.mail && { services } });
      server.services.mail?.resize({ min: 1, max: 1 });
      await until("the pool is smaller", () => server.stats().processes.length === 1);
      assert.equal(foreign(), 2);
      assert.deepEqual(
        hired.map((worker) => worker.lines.filter((line) => line === "ready").length),
        [
          1,
          1,
        ],
      );
      assert(all.some(({ lines }) => lines.some((line) => line.startsWith("request"))));
    } finally {
      for (const worker of all) await worker[Symbol.asyncDispose]();
    }
    await until("they are gone", () => foreign() === 0);
    await using alice = ring.peer(mdpOf(server), "alice");
    await askAll(alice, 3, () => {});
  },
});

Deno.test("serve refuses a list that names nobody, and any worker beside a handler", () => {
  const mdp = "tcp://127.0.0.1:0";
  const wrong = (options: ServeOptions) => {
    let message = "";
    try {
      serve(options);
    } catch (error) {
      message = String(error);
    }
    return message;
  };
  assert.match(wrong({ mdp, mdpWorkers: ["bob"] }), /"mdpWorkers" needs "curveClients", a file/);
  assert.match(wrong({ mdp, mdpWorkers: [] }), /"mdpWorkers" must be "none", "any", or a list/);
  assert.match(
    wrong({ mdp, services: { mail: { handler: SLOW_UPPER, mdpWorkers: "any" } } }),
    /"services.mail.mdpWorkers" must be "none" or a list of the names/,
  );
  assert.match(
    wrong({ services: { mail: { handler: SLOW_UPPER, mdpWorkers: ["bob"] } } }),
    /"services.mail.mdpWorkers" needs "mdp"/,
  );
});
