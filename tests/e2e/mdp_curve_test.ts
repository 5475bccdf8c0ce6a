/** Majordomo with keys: its clients and workers prove who they are. */

import { strict as assert } from "node:assert";
import type { ServeOptions, Server } from "../../mod.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { KeyRing } from "../rig/key_ring.ts";
import { curveOf, hasPyzmq, PYTHON, PythonWorker } from "../rig/mdp_workers.ts";
import { Peer } from "../rig/peer.ts";
import { randomNumbers } from "../rig/random.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const ignore = !hasPyzmq;
/** Says who asks. */
const WHO = moduleOf(
  "export default (body, { client: { user } }) => `${user}: ${new TextDecoder().decode(body)}`;",
);

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

/** Asks as a client of 0.1: the body of the answer. */
async function ask(peer: Peer, service: string, ...body: string[]): Promise<string[]> {
  peer.send("", "MDPC01", service, ...body);
  return (await peer.receiveText()).slice(3);
}

for (const version of ["0.1", "0.2"]) {
  Deno.test({
    name: `a client and a worker in Python that speak ${version} prove their keys`,
    ignore,
    async fn() {
      using ring = new KeyRing("alice", "bob");
      await using server = open(ring, { mdpWorkers: "any" });
      await using worker = new PythonWorker(mdpOf(server), version, "mail", {
        keys: curveOf(ring, "bob"),
      });
      await worker.said("ready");
      const large = "x".repeat(100_000);
      const args = [path("tests/foreign/mdp_client.py"), mdpOf(server), version];
      const { code, stdout, stderr } = await run(
        PYTHON,
        [...args, "mail a b", `mail ${large}`, "mail parts of one", "mmi.workers mail"],
        { env: curveOf(ring, "alice") },
      );
      assert.equal(code, 0, stderr);
      const answers: string[][] = stdout.trim().split("\n").map((line) => JSON.parse(line));
      const final = version === "0.1" ? [] : ["final"];
      assert.deepEqual(answers.slice(0, 2), [[...final, "A", "B"], [
        ...final,
        large.toUpperCase(),
      ]]);
      assert.deepEqual(
        answers.slice(2, -1),
        version === "0.1"
          ? [["PARTS", "OF", "ONE"]]
          : [["partial", "PARTS"], ["partial", "OF"], ["partial", "ONE"], ["final", ""]],
      );
      assert.deepEqual(answers.at(-1), [...final, "1"]);
    },
  });
}

Deno.test("what a client of Majordomo has proved is its user: in the handler, and for a service that only some may ask", async () => {
  using ring = new KeyRing("alice", "bob");
  const services = { mail: { handler: WHO, users: "alice" } };
  await using server = open(ring, { handler: WHO, services });
  await using alice = ring.peer(mdpOf(server), "alice");
  await using bob = ring.peer(mdpOf(server), "bob");
  assert.deepEqual(await ask(alice, "mail", "x"), ["alice: x"]);
  assert.deepEqual(await ask(bob, "", "x"), ["bob: x"]);
  assert.deepEqual(await ask(bob, "mail", "x"), [
    "",
    '403 The user "bob" may not ask the service "mail"',
  ]);
});

Deno.test("a peer whose key is not listed, or that knows another server's, does not get in, and is counted", async () => {
  using ring = new KeyRing("alice");
  await using server = open(ring, { handler: WHO });
  await using stranger = ring.peer(mdpOf(server), "mallory");
  stranger.send("", "MDPC01", "", "x");
  await until("it is denied", () => server.stats().counters.denied > 0);
  const keys = { own: ring.pair("alice"), server: ring.pair("other").publicKey };
  await using lost = new Peer(mdpOf(server), { keys });
  lost.send("", "MDPC01", "", "x");
  await using plain = new Peer(mdpOf(server));
  plain.send("", "MDPC01", "", "x");
  await using alice = ring.peer(mdpOf(server), "alice");
  assert.deepEqual(await ask(alice, "", "x"), ["alice: x"]);
  assert.deepEqual([stranger, lost, plain].map((peer) => peer.take()), [
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("connections of Majordomo and others count together when clients need keys", async () => {
  using ring = new KeyRing("alice", "bob");
  await using server = open(ring, { handler: WHO, maxConnections: 1 });
  {
    await using alice = ring.peer(mdpOf(server), "alice");
    await ask(alice, "", "x");
    await using bob = ring.peer(endpointOf(server), "bob");
    bob.send("", "x");
    await until("it must wait", () => server.stats().counters.denied > 0);
    assert.equal(bob.take(), undefined);
  }
  await using bob = ring.peer(endpointOf(server), "bob");
  assert.deepEqual(await bob.ask("x"), ["bob: x"]);
});

Deno.test("an address that is denied can't speak Majordomo with a key either", async () => {
  using ring = new KeyRing("alice");
  await using server = open(ring, { deny: "127.0.0.1" });
  await using alice = ring.peer(mdpOf(server), "alice");
  alice.send("", "MDPC01", "", "x");
  await until("it is denied", () => server.stats().counters.denied > 0);
  assert.equal(alice.take(), undefined);
});

Deno.test("random frames over libzmq end neither the server nor another's work", async () => {
  await using server = serveQuietly({
    ...{ transport: "libzmq", mdp: "tcp://127.0.0.1:0", mdpWorkers: "any", handler: WHO },
    ...{ minWorkers: 1, maxWorkers: 1 },
  });
  await using asker = new Peer(mdpOf(server));
  await using honest = new Peer(mdpOf(server));
  honest.send("MDPW02", "\x01", "honest");
  const random = randomNumbers(2613);
  const words = [
    "",
    "MDPC01",
    "MDPC02",
    "MDPW01",
    "MDPW02",
    "mail",
    "mmi.service",
    "x".repeat(70_000),
  ]
    .map(bytes).concat([0, 1, 2, 3, 4, 5, 6, 255].map((byte) => Uint8Array.of(byte)));
  for (let round = 0; round < 20; round++) {
    await using peer = new Peer(mdpOf(server));
    for (let count = 0; count < 200; count++) {
      const heads = [[], [""], ["", "MDPW01"], ["MDPW02"], ["MDPC02", "\x01"]];
      const head = heads[random(heads.length)] ?? [];
      const size = (head.length === 0 ? 1 : 0) + random(random(20) === 0 ? 40 : 6);
      const rest = Array.from({ length: size }, () => words[random(words.length)] ?? bytes(""));
      if (head.length + rest.length > 0) peer.send(...head, ...rest);
    }
    asker.send("", "MDPC01", "honest", `${round}`);
    const [client, , body] = (await request(honest)).slice(2);
    honest.send("MDPW02", "\x04", client ?? "", "", body ?? "");
    assert.deepEqual(await asker.receiveText(), ["", "MDPC01", "honest", `${round}`]);
  }
});

/** The next request to a worker of 0.2. */
async function request(worker: Peer): Promise<Uint8Array<ArrayBuffer>[]> {
  for (;;) {
    const frames = await worker.receive();
    if (text(frames[1]) === "\x02") return frames;
  }
}
