/**
 * Who may talk to a server, over real sockets: keys, addresses, the number of connections, and that
 * nobody gets in while nobody can decide.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { serve } from "../../mod.ts";
import { ZapHandler } from "../../ports/zap_handler.ts";
import { BodyPool } from "../../ports/body.ts";
import { ZmqSource } from "../../ports/zmq_source.ts";
import type { ZapDecision } from "../../wire/zap.ts";
import { Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import { Context } from "../../zmq/socket.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { connectionsTo } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import { dial, rawHandshake } from "../rig/zmtp.ts";
import { KeyRing } from "../rig/key_ring.ts";
import type { Feature } from "../rig/permissions.ts";

const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
const PYTHON = "/usr/bin/python3";
/** Answers with the name of who asks. */
const WHO = 'export default (_body, { client }) => `user "${client.user}"`;';
const TCP = "tcp://127.0.0.1:0";

/** Waits until so many connections were denied. */
async function denied(server: ServerProcess, count: number): Promise<void> {
  await until(`${count} are denied`, async () => Number((await server.state()).denied) >= count);
}

function starts(args: string[]): Promise<{ code: number; stderr: string }> {
  return run(Deno.execPath(), ["run", "-A", path("mod.ts"), "--frontend", TCP, ...args]);
}

Deno.test("the server lets in clients whose keys are on the list, and tells the handler who asks", async () => {
  using keys = new KeyRing("alice", "bob");
  await using server = await ServerProcess.start({ handler: WHO, args: keys.args });
  await using alice = keys.peer(server.endpoint, "alice");
  await using bob = keys.peer(server.endpoint, "bob");
  assert.deepEqual(await alice.ask("?"), ['user "alice"']);
  assert.deepEqual(await bob.ask("?"), ['user "bob"']);
  const { serverKey } = await server.line("clients need the server's key");
  assert.equal(serverKey, keys.server.publicKey);
});

Deno.test("the server lets nobody else in, and answers none of their requests", async () => {
  using keys = new KeyRing("alice");
  await using server = await ServerProcess.start({ handler: WHO, args: keys.args });
  await using alice = keys.peer(server.endpoint, "alice");
  await using stranger = keys.peer(server.endpoint, "stranger");
  await using keyless = new Peer(server.endpoint);
  const other = { own: keys.pair("alice"), server: keys.pair("other").publicKey };
  await using misled = new Peer(server.endpoint, { keys: other });
  const bad = [stranger, keyless, misled];
  for (const peer of bad) peer.send("", "?");
  await denied(server, 1);
  assert.equal(await rawHandshake(server.endpoint), "closed");
  for (let round = 0; round < 20; round++) assert.deepEqual(await alice.ask("?"), ['user "alice"']);
  for (const peer of bad) assert.equal(peer.take(), undefined);
  const { requests, answered, clients, connections } = await server.state();
  assert.deepEqual([requests, answered, clients, connections], [20, 20, 1, 1]);
});

// loop_test has it that this comes at most once a second.
Deno.test("the server logs who was denied and why, and how many there were since it said so before", async () => {
  using keys = new KeyRing();
  await using server = await ServerProcess.start({ args: keys.args });
  const lines = () => server.lines.filter(({ message }) => message === "denied connections");
  for (let round = 1; lines().length < 3; round++) {
    await using stranger = keys.peer(server.endpoint, "stranger");
    stranger.send("", "?");
    await denied(server, round);
  }
  const { publicKey } = keys.pair("stranger");
  for (const { level, address, reason } of lines()) {
    assert.deepEqual([level, address], ["warn", "127.0.0.1"]);
    assert.equal(reason, `key ${publicKey} is not on the client list`);
  }
  const counts = lines().map(({ count }) => Number(count));
  assert.ok(counts.every((count) => count > 0));
  const total = Number((await server.state()).denied);
  assert.ok(counts.reduce((sum, count) => sum + count, 0) <= total, `${counts} of ${total}`);
});

Deno.test("HUP lets in whom the list names now, and leaves those in who are", async () => {
  using keys = new KeyRing("alice", "bob");
  await using server = await ServerProcess.start({ handler: WHO, args: keys.args });
  await using alice = keys.peer(server.endpoint, "alice");
  assert.deepEqual(await alice.ask("?"), ['user "alice"']);
  keys.writeList("bob", "carol");
  server.signal("SIGHUP");
  await server.line("reloaded");
  await using carol = keys.peer(server.endpoint, "carol");
  await using bob = keys.peer(server.endpoint, "bob");
  assert.deepEqual(await carol.ask("?"), ['user "carol"']);
  assert.deepEqual(await bob.ask("?"), ['user "bob"']);
  await using again = keys.peer(server.endpoint, "alice");
  again.send("", "?");
  await denied(server, 1);
  assert.deepEqual(await alice.ask("?"), ['user "alice"']);
  assert.equal(again.take(), undefined);
});

Deno.test("HUP keeps the list when the file is broken or gone, and says so", async () => {
  using keys = new KeyRing("alice");
  await using server = await ServerProcess.start({ handler: WHO, args: keys.args });
  const breakings = [
    () => Deno.writeTextFileSync(keys.list, `${keys.line("bob")}# and\nnonsense\n`),
    () => Deno.removeSync(keys.list),
  ];
  for (const [index, breakIt] of breakings.entries()) {
    breakIt();
    server.signal("SIGHUP");
    const { error } = await server.line("the access rules stay as they were", index + 1);
    assert.match(
      String(error),
      index === 0 ? /clients:3: it must be a name and a key$/ : /Cannot read/,
    );
    await server.line("reloaded", index + 1);
    await using alice = keys.peer(server.endpoint, "alice");
    assert.deepEqual(await alice.ask("?"), ['user "alice"']);
    await using bob = keys.peer(server.endpoint, "bob");
    bob.send("", "?");
    await denied(server, index + 1);
  }
});

Deno.test("HUP keeps the key and its list when the conf file has them no more", async () => {
  using keys = new KeyRing("alice");
  const lines =
    `frontend ${TCP}\ncurve_secret_key ${keys.secretKeyFile}\ncurve_clients ${keys.list}\n`;
  const conf = keys.folder.write("conf", lines);
  const features = [keys.secretKeyFile, keys.list].map((FILE): Feature => [
    "curveSecretKey",
    { FILE },
  ]);
  await using server = await ServerProcess.start({
    handler: WHO,
    args: ["--config", conf],
    features,
  });
  Deno.writeTextFileSync(conf, `frontend ${TCP}\n`);
  server.signal("SIGHUP");
  await server.line("reloaded");
  await server.line('a changed "curveSecretKey" is applied after a restart only');
  await using alice = keys.peer(server.endpoint, "alice");
  assert.deepEqual(await alice.ask("?"), ['user "alice"']);
  assert.equal(await rawHandshake(server.endpoint), "closed");
  await using bob = keys.peer(server.endpoint, "bob");
  bob.send("", "?");
  await denied(server, 1);
});

Deno.test("the server lets in all who have a key when any will do, and knows nobody's name", async () => {
  using keys = new KeyRing();
  const args = ["--curve-secret-key", keys.secretKeyFile, "--curve-clients", "any"];
  await using server = await ServerProcess.start({ handler: WHO, args });
  await using stranger = keys.peer(server.endpoint, "stranger");
  assert.deepEqual(await stranger.ask("?"), ['user ""']);
  assert.equal(await rawHandshake(server.endpoint), "closed");
});

Deno.test("the server asks for keys over ipc too, when it has one", async () => {
  using keys = new KeyRing("alice");
  const endpoint = `ipc://${keys.folder.path}/front`;
  const args = [...keys.args, "--frontend", endpoint, "--deny", "0.0.0.0/0,::/0"];
  await using server = await ServerProcess.start({ handler: WHO, args });
  await using stranger = keys.peer(endpoint, "stranger");
  stranger.send("", "?");
  await denied(server, 1);
  await using alice = keys.peer(endpoint, "alice");
  assert.deepEqual(await alice.ask("?"), ['user "alice"']);
});

Deno.test("serve() reads the list again when it reloads", async () => {
  using keys = new KeyRing("alice");
  await using server = serve({
    frontend: TCP,
    workers: 1,
    logLevel: "critical",
    curveSecretKey: keys.secretKeyFile,
    curveClients: keys.list,
  });
  await server.ready;
  keys.writeList("alice", "bob");
  await server.reload();
  await using bob = keys.peer(server.frontend[0] ?? "", "bob");
  assert.deepEqual(await bob.ask("hello"), ["hello"]);
  assert.equal(server.stats().connections, 1);
  assert.equal(server.stats().counters.denied, 0);
});

// How it starts

Deno.test("the server does not start when others can read its secret key", async () => {
  using keys = new KeyRing();
  Deno.chmodSync(keys.secretKeyFile, 0o644);
  for (const args of [keys.args, [...keys.args, "--check"]]) {
    const { code, stderr } = await starts(args);
    assert.equal(code, 1);
    assert.match(stderr, /^prefork: .* its mode is 0644, run chmod 600 "/m);
    assert.ok(!stderr.includes(keys.server.secretKey));
  }
});

Deno.test("the server does not start when its list is wrong, or there is none", async () => {
  using keys = new KeyRing("alice", "bob");
  Deno.writeTextFileSync(keys.list, keys.line("alice").repeat(2));
  const wrong = await starts(keys.args);
  assert.equal(wrong.code, 1);
  assert.match(wrong.stderr, /clients:2: the name alice is in line 1 already$/m);
  const none = await starts(["--curve-secret-key", keys.secretKeyFile]);
  assert.equal(none.code, 2);
  assert.match(
    none.stderr,
    /"--curve-secret-key" needs "--curve-clients", a file that lists clients/,
  );
});

Deno.test("no secret key is in the arguments or the environment of any process", async () => {
  using keys = new KeyRing("alice");
  const args = [...keys.args, "--workers", "2", "--backend", TCP];
  await using server = await ServerProcess.start({ handler: WHO, args });
  await server.line("worker ready", 2);
  await using alice = keys.peer(server.endpoint, "alice");
  assert.deepEqual(await alice.ask("?"), ['user "alice"']);
  assert.equal(server.workers.length, 2);
  for (const pid of [server.pid, ...server.workers]) {
    for (const file of ["cmdline", "environ"]) {
      const shown = Deno.readTextFileSync(`/proc/${pid}/${file}`);
      assert.ok(shown.length > 0 || file === "environ");
      assert.ok(!shown.includes(keys.server.secretKey), `${pid} ${file}`);
      assert.ok(pid === server.pid || !/secretKey|curve/i.test(shown), `${pid} ${file}`);
    }
  }
});

// The backend

Deno.test("a tcp backend lets in workers of this server only, whatever keys others have", async () => {
  using keys = new KeyRing("alice");
  const args = [...keys.args, "--workers", "1", "--backend", TCP];
  await using server = await ServerProcess.start({ handler: WHO, args });
  await using alice = keys.peer(server.backend, "alice");
  alice.send(bytes("\x01token"));
  assert.equal(await rawHandshake(server.backend), "closed");
  await using client = keys.peer(server.endpoint, "alice");
  assert.deepEqual(await client.ask("?"), ['user "alice"']);
  server.signal("SIGHUP");
  await server.line("reloaded");
  assert.deepEqual(await client.ask("?"), ['user "alice"']);
  const { intruders } = await server.state();
  assert.equal(intruders, 0);
});

// Addresses

Deno.test("the server lets clients in by address, and takes up other rules at HUP", async () => {
  using folder = new Folder();
  const rules = (...lines: string[]) => [`frontend ${TCP}`, ...lines, ""].join("\n");
  const conf = folder.write("conf", rules("allow 127.0.0.1", "deny 10.0.0.0/8"));
  await using server = await ServerProcess.start({ args: ["--config", conf] });
  const from = (address: string) =>
    new Peer(server.endpoint.replace("tcp://", `tcp://${address}:0;`));
  await using home = from("127.0.0.1");
  assert.deepEqual(await home.ask("in"), ["in"]);
  await using other = from("127.0.0.2");
  other.send("", "?");
  await denied(server, 1);
  Deno.writeTextFileSync(conf, rules("allow 127.0.0.0/8", "deny 127.0.0.1"));
  server.signal("SIGHUP");
  await server.line("reloaded");
  await using later = from("127.0.0.2");
  assert.deepEqual(await later.ask("in"), ["in"]);
  await using homeAgain = from("127.0.0.1");
  homeAgain.send("", "?");
  await denied(server, 2);
  assert.deepEqual(await home.ask("still in"), ["still in"]);
  assert.equal(homeAgain.take(), undefined);
  // It has gone on trying, and may come in now.
  assert.deepEqual(await other.receiveText(), ["", "?"]);
});

Deno.test("the server takes IPv4 addresses for what they are when it listens to IPv6", async () => {
  const args = ["--frontend", "tcp://[::]:0", "--allow", "127.0.0.1", "--deny", "::1"];
  await using server = await ServerProcess.start({ args });
  const port = server.endpoint.split(":").at(-1);
  await using four = new Peer(`tcp://127.0.0.1:${port}`);
  assert.deepEqual(await four.ask("in"), ["in"]);
  await using six = new Peer(`tcp://[::1]:${port}`);
  six.send("", "?");
  await denied(server, 1);
});

Deno.test("rules for addresses don't hold for ipc", async () => {
  using folder = new Folder();
  const endpoint = `ipc://${folder.path}/front`;
  const args = ["--frontend", endpoint, "--allow", "10.0.0.1"];
  await using _server = await ServerProcess.start({ args });
  await using peer = new Peer(endpoint);
  assert.deepEqual(await peer.ask("in"), ["in"]);
});

Deno.test("HUP says that it can't take rules up where there were none", async () => {
  using folder = new Folder();
  const ipc = `ipc://${folder.path}/front`;
  const conf = folder.write("conf", `frontend ${ipc}\n`);
  await using server = await ServerProcess.start({ args: ["--config", conf] });
  Deno.writeTextFileSync(conf, `frontend ${ipc}\nmaxConnections 9\n`);
  server.signal("SIGHUP");
  const message =
    "access rules cannot be added to a server that started without any: restart it to apply them";
  await server.line(message);
});

// The number of connections

Deno.test("the server lets in as many connections as it may, and others once some are gone", async () => {
  await using server = await ServerProcess.start({ args: ["--max-connections", "2"] });
  const first = new Peer(server.endpoint);
  assert.deepEqual(await first.ask("1"), ["1"]);
  await using second = new Peer(server.endpoint);
  assert.deepEqual(await second.ask("2"), ["2"]);
  {
    await using third = new Peer(server.endpoint);
    third.send("", "3");
    await denied(server, 1);
    assert.deepEqual(await second.ask("still in"), ["still in"]);
    assert.equal(third.take(), undefined);
  } // it would try again, and take the place of the fourth
  await first[Symbol.asyncDispose]();
  await until("one is gone", async () => (await server.state()).connections === 1);
  await using fourth = new Peer(server.endpoint);
  assert.deepEqual(await fourth.ask("4"), ["4"]);
});

Deno.test("the server lets no more in than it may when many come at once", async () => {
  const args = ["--max-connections", "10", "--workers", "1"];
  await using server = await ServerProcess.start({ args });
  // They wait at its door until it goes on.
  server.signal("SIGSTOP");
  const peers = Array.from({ length: 40 }, () => new Peer(server.endpoint));
  try {
    for (const peer of peers) peer.send("", "?");
    await until("all are at its door", () => connectionsTo(server.endpoint) >= peers.length);
    server.signal("SIGCONT");
    await denied(server, 30);
    await until("ten are answered", async () => (await server.state()).answered === 10);
    const { connections, requests } = await server.state();
    assert.deepEqual([connections, requests], [10, 10]);
  } finally {
    server.signal("SIGCONT");
    for (const peer of peers) await peer[Symbol.asyncDispose]();
  }
});

/** A frontend with a door, or without one, and nobody behind it. */
class Entrance {
  readonly #context = new Context(library);
  readonly #messages = new MessagePool(library);
  readonly door: ZapHandler | undefined;
  readonly #bodies = new BodyPool();
  readonly front: ZmqSource;
  requests = 0;
  gone = 0;

  constructor(judge: (() => ZapDecision) | undefined) {
    this.door = judge && new ZapHandler(this.#context, this.#messages, judge);
    const options = {
      maxMessageSize: 1000,
      maxFrames: 10,
      unreadBytes: 1_000_000,
      ipv6: false,
      zap: { domain: "clients" },
    };
    this.front = new ZmqSource(this.#context, this.#messages, this.#bodies, options, {
      mayRead: () => true,
      roomFor: () => Infinity,
      request: (_client, { body }) => {
        this.requests++;
        this.#bodies.release(body);
      },
      cancel: () => {},
      credit: () => {},
      asksForVersion: () => {},
      gone: () => this.gone++,
      stalled: () => {},
      catchUp: () => false,
    });
    this.front.bind(TCP);
  }

  get endpoint(): string {
    return this.front.endpoints[0] ?? "";
  }

  /** One more endpoint, which cuts off sooner who does not get in. */
  impatient(): string {
    this.front.port.set(Option.HANDSHAKE_IVL, 300);
    this.front.bind(TCP);
    return this.front.endpoints.at(-1) ?? "";
  }

  /** Asks as libzmq does itself. */
  ask(...frames: string[]): () => string[] | undefined {
    const socket = this.#context.socket(SocketType.DEALER);
    socket.connect("inproc://zeromq.zap.01");
    frames.slice(0, -1).forEach((frame) => socket.sendMore(bytes(frame)));
    socket.sendLast(bytes(frames.at(-1) ?? ""));
    const message = this.#messages.take();
    return () => {
      const answer: string[] = [];
      do if (socket.receive(message) < 0) return undefined;
      else answer.push(text(message.bytes())); while (message.more);
      socket.close(0);
      return answer;
    };
  }

  /** Does what a broker does until something has come of it. */
  async serveUntil<T>(what: string, promise: Promise<T>): Promise<T> {
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
    await until(what, () => (this.pass(), settled));
    return await promise;
  }

  pass(): void {
    while (this.door?.read());
    while (this.front.requests.read(performance.now()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.door?.close();
    this.front.close(0);
    await this.#context.terminate();
  }
}

const allowed = (): ZapDecision => ({ outcome: "allowed", user: "" });

Deno.test("Frontend lets a peer in when the door says so", async () => {
  await using entrance = new Entrance(allowed);
  const tried = rawHandshake(entrance.endpoint);
  assert.equal(await entrance.serveUntil("it is decided", tried), "in");
});

Deno.test("Frontend lets nobody in when there is no door, or it was closed", async () => {
  await using doorless = new Entrance(undefined);
  assert.equal(await rawHandshake(doorless.impatient()), "closed");
  await using closed = new Entrance(allowed);
  const tried = rawHandshake(closed.endpoint);
  assert.equal(await closed.serveUntil("it is decided", tried), "in");
  closed.door?.close();
  assert.equal(await rawHandshake(closed.impatient()), "closed");
});

Deno.test("ZapHandler denies and counts when the decision fails, or is no", async () => {
  const judges: (() => ZapDecision)[] = [
    () => {
      throw new Error("broken");
    },
    () => ({ outcome: "denied", reason: "it cannot be decided: broken" }),
  ];
  for (const judge of judges) {
    await using entrance = new Entrance(judge);
    const tried = rawHandshake(entrance.endpoint);
    assert.equal(await entrance.serveUntil("it is decided", tried), "closed");
    const { denied, lastRefusal } = entrance.door ?? {};
    assert.equal(denied, 1);
    assert.deepEqual(lastRefusal, { address: "127.0.0.1", reason: "it cannot be decided: broken" });
  }
});

Deno.test("ZapHandler denies malformed questions, and goes on", async () => {
  await using entrance = new Entrance(allowed);
  const wrong = [
    [""],
    ["", ""],
    ["", "1.0"],
    ["", "2.0", "1", "clients", "", "", "NULL"],
    ["", "1.0", "1", "clients", "", ""],
    ["x", "1.0", "1", "clients", "", "", "NULL"],
    ["", "9.9", ...Array<string>(1000).fill("x")],
  ];
  for (const [index, frames] of wrong.entries()) {
    const take = entrance.ask(...frames);
    const answer = await until("it is answered", () => (entrance.pass(), take()));
    assert.deepEqual([answer.length, answer[3], answer[5]], [7, "400", ""]);
    assert.equal(entrance.door?.denied, index + 1);
  }
  const take = entrance.ask("", "1.0", "7", "clients", "", "", "NULL");
  const answer = await until("it is answered", () => (entrance.pass(), take()));
  assert.deepEqual(answer, ["", "1.0", "7", "200", "OK", "", ""]);
});

Deno.test("Frontend learns that a client has left when its notice found no room", async () => {
  await using entrance = new Entrance(allowed);
  // Many more than the socket holds for one peer.
  const REQUESTS = 999;
  const peer = new Peer(entrance.endpoint);
  for (let sent = 0; sent < REQUESTS; sent++) peer.send("", "x");
  await until("it is let in", () => entrance.door?.read());
  peer.socket.close(10_000);
  await peer[Symbol.asyncDispose]();
  // Time for its end to be noticed while nothing was read yet; it need not be for the test to pass.
  await new Promise((resolve) => setTimeout(resolve, 300));
  await until("all is read", () => (entrance.pass(), entrance.requests === REQUESTS));
  await until("it is gone", () => (entrance.pass(), entrance.gone === 1));
  assert.equal(entrance.front.known.size, 0);
  // Its connection may take a moment more to be taken down.
  await until("it is not counted", () => {
    entrance.pass();
    return entrance.front.known.connections(performance.now()) === 0;
  });
});

Deno.test("the server warns when few file descriptors are left, and again only after there were more", async () => {
  using folder = new Folder();
  const LIMIT = 300;
  // With some 40 of the server's own these are near the limit, and leave some.
  const CONNECTIONS = 240;
  const script = `#!/bin/sh\nulimit -n ${LIMIT}\nexec '${Deno.execPath()}' "$@"\n`;
  const program = folder.write("few-files", script);
  Deno.chmodSync(program, 0o755);
  const args = ["--workers", "1"];
  await using server = await ServerProcess.start({ args, program, features: [["warning"]] });
  const warned = "file descriptors are running out";
  for (const times of [1, 2]) {
    const connections = await Promise.all(
      Array.from({ length: CONNECTIONS }, () => dial(server.endpoint)),
    );
    const { limit, open } = await server.line(warned, times);
    assert.equal(limit, LIMIT);
    assert.ok(Number(open) >= 0.9 * LIMIT);
    for (const connection of connections) connection.close();
    // It looks once a second while there is something to do.
    const looked = performance.now() + 2000;
    await until("the server has looked again", async () => {
      await server.state();
      return performance.now() > looked;
    });
  }
});

// Clients

Deno.test("Client gets an answer with its key, without one where any will do, and else none", async () => {
  using keys = new KeyRing("alice");
  const keyFile = keys.writeSecret("alice", keys.pair("alice").secretKey);
  const serverKey = keys.folder.write("server.pub", `server ${keys.server.publicKey}\n`);
  await using server = await ServerProcess.start({ handler: WHO, args: keys.args });
  const { endpoint } = server;
  for (const plain of [false, true]) {
    await using client = new Client({ endpoint, plain, curve: { serverKey, keyFile } });
    assert.equal((await client.request("?")).text(), 'user "alice"');
  }
  for (const curve of [{ serverKey }, undefined]) {
    await using client = new Client({ endpoint, curve, timeout: 300, retries: 0 });
    await assert.rejects(client.request("?"), { name: "AbandonedError" });
  }
});

Deno.test("Client says what is wrong with its keys", () => {
  using keys = new KeyRing("alice");
  const serverKey = keys.server.publicKey;
  const make = (curve: unknown) => () =>
    new Client({ curve } as ConstructorParameters<typeof Client>[0]);
  assert.throws(make("x"), { name: "TypeError", message: /"curve" must be an object/ });
  assert.throws(make({}), { name: "TypeError", message: /"curve.serverKey" must be a string/ });
  assert.throws(make({ serverKey, keyFile: 1 }), /"curve.keyFile" must be a string/);
  assert.throws(
    make({ serverKey, secret: "x" }),
    /Unknown option "secret" in "curve": use serverKey, keyFile/,
  );
  assert.throws(make({ serverKey: `${keys.folder.path}/none` }), /Cannot read the key file/);
  Deno.chmodSync(keys.secretKeyFile, 0o640);
  assert.throws(make({ serverKey, keyFile: keys.secretKeyFile }), /run chmod 600/);
});

Deno.test("the client's command takes keys, and the server's as text or a file", async () => {
  using keys = new KeyRing("alice");
  const keyFile = keys.writeSecret("alice", keys.pair("alice").secretKey);
  const file = keys.folder.write("server.pub", `server ${keys.server.publicKey}\n`);
  await using server = await ServerProcess.start({ handler: WHO, args: keys.args });
  const command = ["run", "-A", path("client.ts"), "-e", server.endpoint, "--data", "?"];
  for (const serverKey of [keys.server.publicKey, file]) {
    const args = [...command, `--curve-server-key=${serverKey}`, "--curve-key", keyFile];
    const { code, stdout, stderr } = await run(Deno.execPath(), args);
    assert.deepEqual([code, stdout, stderr], [0, 'user "alice"\n', ""]);
  }
  const { code, stderr } = await run(Deno.execPath(), [...command, "--curve-key", keyFile]);
  assert.equal(code, 2);
  assert.match(stderr, /"--curve-key" alone: it needs "--curve-server-key"/);
});

function hasPyzmq(): boolean {
  try {
    const check = 'import zmq, sys; sys.exit(0 if zmq.has("curve") else 1)';
    return new Deno.Command(PYTHON, { args: ["-c", check] }).outputSync().success;
  } catch {
    return false;
  }
}

const ASK = `
import sys, zmq
endpoint, server, public, secret = sys.argv[1:]
with zmq.Context() as context, context.socket(zmq.REQ) as socket:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 60000)
    socket.curve_serverkey = server.encode()
    socket.curve_publickey = public.encode()
    socket.curve_secretkey = secret.encode()
    socket.connect(endpoint)
    for _ in range(10):
        socket.send(b"?")
        print(socket.recv().decode())
`;

Deno.test(
  "the server lets pyzmq in when its key is on the list",
  { ignore: !hasPyzmq() },
  async () => {
    using keys = new KeyRing("alice");
    await using server = await ServerProcess.start({ handler: WHO, args: keys.args });
    const { publicKey, secretKey } = keys.pair("alice");
    const args = ["-c", ASK, server.endpoint, keys.server.publicKey, publicKey, secretKey];
    const { stdout, stderr } = await run(PYTHON, args);
    assert.equal(stdout + stderr, 'user "alice"\n'.repeat(10));
  },
);
