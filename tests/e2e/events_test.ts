/** What happens in a server, heard by SUB sockets of other programs. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import type { ServeOptions, Server } from "../../mod.ts";
import { STAMP_BYTES, writeStamp } from "../../wire/event.ts";
import { SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import { Context } from "../../zmq/socket.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { hasPyzmq } from "../rig/mdp_workers.ts";
import { path } from "../rig/checkout.ts";
import { Folder } from "../rig/folder.ts";
import { overBoth } from "../rig/over_both.ts";
import { KeyRing } from "../rig/key_ring.ts";
import { freePort } from "../rig/ports.ts";
import { randomNumbers } from "../rig/random.ts";
import { RawPeer } from "../rig/raw_peer.ts";
import { PythonSubscriber } from "../rig/subscribers.ts";
import { bytes, text } from "../rig/text.ts";
import { until, within } from "../rig/wait.ts";
import { command, message } from "../rig/zmtp.ts";

const ignore = !hasPyzmq;

const HANDLER = moduleOf(`
export default async (body, ctx) => {
  const text = new TextDecoder().decode(body);
  if (text === "fail") throw new Error("as it was told to");
  if (text === "die") Deno.exit(3);
  if (text === "wait") await new Promise((resolve) => setTimeout(resolve, 300));
  return text.toUpperCase();
};`);

async function open(options: ServeOptions = {}): Promise<Server> {
  const server = serveQuietly({
    ...{ events: "tcp://127.0.0.1:0", handler: HANDLER, minWorkers: 1, maxWorkers: 1 },
    ...options,
  });
  await server.ready;
  return server;
}

function eventsOf({ events: [endpoint = ""] }: Server): string {
  return endpoint;
}

Deno.test("the log says once that handlers publish where nobody can hear it", async () => {
  using folder = new Folder();
  const logFile = `${folder.path}/log`;
  const handler = moduleOf(`export default (body, ctx) => {
    ctx.publish("user.a", body);
    return "published";
  };`);
  const options = { handler, minWorkers: 1, maxWorkers: 1, events: [] };
  await using server = await open({ ...options, logFile, logLevel: "info", logFormat: "json" });
  await using client = new Client({ endpoint: endpointOf(server) });
  for (let times = 0; times < 3; times++) await client.request("x");
  const unheard = "a handler publishes events that nobody can hear";
  await until("it says so", () => Deno.readTextFileSync(logFile).includes(unheard));
  assert.equal(Deno.readTextFileSync(logFile).split(unheard).length, 2);
});

const TRANSPORTS = ["native", "libzmq"] as const;

for (const transport of TRANSPORTS) {
  Deno.test({
    name: `a SUB socket of Python hears what becomes of jobs and workers, over ${transport}`,
    ignore,
    fn: async () => {
      await using server = await open({ transport, maxAttempts: 1, services: { mail: HANDLER } });
      await using subscriber = await PythonSubscriber.open(
        eventsOf(server),
        ...["job.", "worker.", "reload"],
      );
      await using client = new Client({ endpoint: endpointOf(server) });
      await client.request("one");
      await client.request("two", { service: "mail" });
      await client.request("fail").catch(() => {});
      await client.request("die").catch(() => {});
      const [queued, started, done] = ["queued", "started", "done"].map((word) => `job.${word}.`);
      const first = (await subscriber.wait(queued ?? "", 4))[0];
      const { job } = first?.data ?? {};
      assert.deepEqual(first?.data, { job, service: "", bytes: 3 });
      assert.equal(Math.abs((first?.time ?? 0) - Date.now()) < 60_000, true);
      const [start] = subscriber.of(started ?? "");
      assert.deepEqual(Object.keys(start?.data ?? {}), ["job", "service", "worker", "attempt"]);
      const ended = await subscriber.wait(done ?? "", 2);
      const [end, ofMail] = ended;
      assert.deepEqual(
        [end?.topic, end?.data.job, end?.data.code, end?.data.attempt],
        ["job.done.", job, 200, 1],
      );
      assert.equal(end?.data.worker, start?.data.worker);
      assert.equal(end?.data.ms >= 0, true);
      assert.deepEqual([ofMail?.topic, ofMail?.data.service], ["job.done.mail", "mail"]);
      const [failed] = await subscriber.wait("job.failed.");
      assert.equal(failed?.data.code, 500);
      const [lost] = await subscriber.wait("job.lost.");
      assert.deepEqual([lost?.data.code, lost?.data.attempt], [502, 1]);
      const [exited] = await subscriber.wait("worker.exited");
      assert.deepEqual([exited?.data.worker, exited?.data.code], [start?.data.worker, 3]);
      await subscriber.wait("worker.spawned");
      await subscriber.wait("worker.ready");
      await server.reload();
      const reloads = await subscriber.wait("reload", 2);
      const told = reloads.map(({ data: { service = "", ...data } }) => [service, data]).sort();
      assert.deepEqual(told, ["", "mail"].map((name) => [name, { ok: true, generation: 2 }]));
      const sums = subscriber.events.map(({ lost }) => lost);
      assert.equal(sums.reduce((sum, lost) => sum + lost, 0), 0);
      assert.equal(server.stats().subscribers, 1);
    },
  });
}

Deno.test({
  name: "events are made for what somebody has subscribed to alone",
  ignore,
  fn: async () => {
    await using server = await open();
    await using client = new Client({ endpoint: endpointOf(server) });
    await client.request("one");
    assert.equal(server.stats().counters.events, 0);
    {
      await using subscriber = await PythonSubscriber.open(eventsOf(server), "job.done.");
      for (const body of ["two", "three"]) await client.request(body);
      await subscriber.wait("job.done.", 2);
      assert.equal(subscriber.of("job.").length, 2);
    }
    const states = server.stats().counters.events - 2;
    assert.equal(states >= 1, true);
  },
});

for (const transport of TRANSPORTS) {
  Deno.test({
    name: `a subscriber that comes later gets the last state at once, over ${transport}`,
    ignore,
    fn: async () => {
      await using server = await open({ transport });
      await using first = await PythonSubscriber.open(eventsOf(server));
      await using second = await PythonSubscriber.open(eventsOf(server));
      const [state] = second.of("state");
      const same = first.of("state").find(({ sequence }) => sequence === state?.sequence);
      assert.deepEqual(same?.data, state?.data);
      const { queued, running, workers, clients, counters } = state?.data ?? {};
      assert.deepEqual([queued, running, workers, clients], [0, 0, 1, 0]);
      assert.equal(typeof counters.requests, "number");
      // And then each second.
      await second.wait("state", 2);
    },
  });
}

Deno.test({
  name:
    "with keys, events are for those whom the server knows, and clients count together with them",
  ignore,
  fn: async () => {
    using ring = new KeyRing("anna", "bert");
    const keysOf = (name: string) => {
      const { publicKey, secretKey } = ring.pair(name);
      return [ring.server.publicKey, publicKey, secretKey];
    };
    await using server = await open({
      ...{ curveSecretKey: ring.secretKeyFile, curveClients: ring.list, maxConnections: 1 },
    });
    const topics = ["job.", "state"];
    await using unknown = PythonSubscriber.start(eventsOf(server), topics, keysOf("carl"));
    await using keyless = PythonSubscriber.start(eventsOf(server), topics);
    await until("the unknown one was denied", () => server.stats().counters.denied > 0);
    await using anna = PythonSubscriber.start(eventsOf(server), topics, keysOf("anna"));
    await anna.wait("state");
    assert.equal(server.stats().connections, 1);
    const { denied } = server.stats().counters;
    await using bert = PythonSubscriber.start(eventsOf(server), topics, keysOf("bert"));
    await until("there was no room for another", () => server.stats().counters.denied > denied);
    await anna.wait("state", 2);
    for (const other of [unknown, keyless, bert]) assert.deepEqual(other.events, []);
  },
});

Deno.test({
  name: "what is denied to clients is denied to subscribers",
  ignore,
  fn: async () => {
    await using server = await open({ deny: ["127.0.0.0/8"] });
    await using denied = PythonSubscriber.start(eventsOf(server), ["state"]);
    await until("it was denied", () => server.stats().counters.denied > 1);
    assert.deepEqual(denied.events, []);
  },
});

const PUBLISHER = moduleOf(`
export default (body, { publish }) => {
  const [topic, count, ...frames] = JSON.parse(new TextDecoder().decode(body));
  const retain = frames.at(-1) === "!retain" && frames.pop() !== undefined;
  for (let sent = 0; sent < count; sent++) publish(topic, ...frames, { retain });
  return "published";
};`);

for (
  const [lane, options] of [["records", {}], ["zmq", { backend: "tcp://127.0.0.1:0" }]] as const
) {
  for (const transport of TRANSPORTS) {
    Deno.test({
      name:
        `handlers publish, over ${lane} and ${transport}; what is kept is for those who come later`,
      ignore,
      fn: async () => {
        await using server = await open({ ...options, transport, handler: PUBLISHER });
        await using client = new Client({ endpoint: endpointOf(server) });
        const publish = (...said: unknown[]) => client.request(JSON.stringify(said));
        await publish("user.kept", 1, "then", "!retain");
        await publish("user.kept", 1, "one", "two", "!retain");
        await publish("user.gone", 1, "then", "!retain");
        await publish("user.gone", 1, "!retain");
        await publish("user.unheard", 1, "x");
        await using subscriber = await PythonSubscriber.open(eventsOf(server), "user.");
        const [kept] = await subscriber.wait("user.kept");
        assert.deepEqual(kept?.data, ["one", "two"]);
        await publish("user.news", 3, "x".repeat(5000));
        const news = await subscriber.wait("user.news", 3);
        const [{ sequence = 0 } = {}] = news;
        assert.deepEqual(news.map((each) => each.sequence - sequence), [0, 1, 2]);
        assert.deepEqual(news[0]?.data, ["x".repeat(5000)]);
        await publish("user.kept", 1);
        assert.deepEqual((await subscriber.wait("user.kept", 2))[1]?.data, []);
        assert.deepEqual(subscriber.of("user.gone"), []);
        assert.deepEqual(subscriber.of("user.unheard"), []);
        for (const topic of ["job.done.", "user.", "users", 7, "user." + "x".repeat(251)]) {
          await assert.rejects(publish(topic, 1, "x"), /Cannot publish/, `${topic}`);
        }
        await assert.rejects(publish("user.large", 1, "x".repeat(1024 ** 2)), /must have at most/);
        await assert.rejects(publish("user.odd", 1, 5), /a frame must be/);
      },
    });
  }
}

// ---- on the wire ----

const SUB = { "Socket-Type": "SUB" };
const SUB_2 = 2;

/** Subscribes in the way of each version of ZMTP. */
const SUBSCRIBES = {
  "3.1": (topic: string) => command("SUBSCRIBE", bytes(topic)),
  "3.0": (topic: string) => message([bytes(`\x01${topic}`)]),
};

for (const version of ["3.1", "3.0"] as const) {
  for (const form of ["3.1", "3.0"] as const) {
    Deno.test(`a peer of ZMTP ${version} subscribes and cancels in the form of ${form}`, async () => {
      await using server = await open();
      using peer = await RawPeer.connect(eventsOf(server), { version, properties: SUB });
      await peer.write(SUBSCRIBES[form]("state"));
      const [topic, stamp, json] = await peer.message();
      assert.equal(text(topic), "state");
      assert.equal(stamp?.length, 16);
      assert.equal(JSON.parse(text(json)).subscribers, 1);
      const cancel = form === "3.1"
        ? command("CANCEL", bytes("state"))
        : message([bytes("\x00state")]);
      await peer.write(cancel);
      await until("it has cancelled", () => server.stats().subscribers === 0);
    });
  }
}

Deno.test("a peer of ZMTP 2.0 subscribes, and one that is no SUB is refused", async () => {
  await using server = await open();
  using peer = await RawPeer.dial(eventsOf(server));
  await peer.write(Uint8Array.of(0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 1, SUB_2, 0, 0));
  const greeting = await peer.hear(12);
  assert.deepEqual([...greeting.subarray(10)], [3, 9]);
  assert.deepEqual((await peer.frame()).body.length, 0);
  await peer.write(message([bytes("\x01state")]));
  assert.equal(text((await peer.message())[0]), "state");
  using dealer = await RawPeer.connect(eventsOf(server));
  assert.match(text(await dealer.command("ERROR")), /must be one of SUB, XSUB: it is DEALER/);
  assert.equal(server.stats().counters.denied, 1);
});

Deno.test("a subscriber that never reads holds up nobody: what it does not take is dropped and counted", async () => {
  await using server = await open({ minWorkers: 2, maxWorkers: 2, concurrency: 10 });
  using deaf = await RawPeer.connect(eventsOf(server), { properties: SUB });
  await deaf.write(SUBSCRIBES["3.1"](""));
  using other = await RawPeer.connect(eventsOf(server), { properties: SUB });
  await other.write(SUBSCRIBES["3.1"]("job.done."));
  await until("both have subscribed", () => server.stats().subscribers === 2);
  let heard = 0;
  let last = 0;
  let isOver = false;
  const gaps: number[] = [];
  const listening = (async () => {
    for (let isLast = false; !isLast;) {
      const [, stamp = new Uint8Array(16)] = await other.message();
      const sequence = new DataView(stamp.buffer).getUint32(0, true);
      if (heard++ > 0 && sequence !== last + 1) gaps.push(sequence);
      last = sequence;
      isLast = isOver;
    }
  })();
  await using client = new Client({ endpoint: endpointOf(server) });
  let asked = 0;
  while (server.stats().counters.eventsDropped === 0) {
    await Promise.all(Array.from({ length: 500 }, () => client.request("x")));
    asked += 500;
    assert.equal(asked < 200_000, true);
  }
  await until("the other one has all", () => heard === asked);
  assert.deepEqual(gaps, []);
  isOver = true;
  await client.request("x");
  await listening;
});

Deno.test("what one subscriber may have is bounded", async () => {
  await using server = await open();
  const cases = {
    "1,001 subscriptions": Array.from({ length: 1001 }, (_, index) => `${index}.`),
    "more bytes than 32 KiB": Array.from({ length: 200 }, (_, index) => `${index}.`.padEnd(200)),
    "a topic of 256 bytes": ["x".repeat(256)],
  };
  for (const [name, topics] of Object.entries(cases)) {
    using peer = await RawPeer.connect(eventsOf(server), { properties: SUB });
    for (const topic of topics) await peer.tryWrite(SUBSCRIBES["3.0"](topic));
    assert.match(text(await peer.command("ERROR")), /its subscriptions must be/, name);
  }
  await until("nobody is there", () => server.stats().subscribers === 0);
  assert.equal(server.stats().counters.malformed, 3);
  // The same one again and again is one.
  using peer = await RawPeer.connect(eventsOf(server), { properties: SUB });
  for (let count = 0; count < 2000; count++) await peer.write(SUBSCRIBES["3.0"]("state"));
  assert.equal(text((await peer.message())[0]), "state");
});

Deno.test("whatever subscribers send, the server goes on", async () => {
  await using server = await open();
  const below = randomNumbers(13);
  const randomBytes = (size: number) => Uint8Array.from({ length: size }, () => below(256));
  const pieces = [
    () => SUBSCRIBES["3.1"](text(randomBytes(below(40)))),
    () => SUBSCRIBES["3.0"](""),
    () => command("CANCEL", randomBytes(below(8))),
    () => message([bytes("\x01job."), bytes("and more")]),
    () => message([new Uint8Array(0), bytes("body")]),
    () => message([randomBytes(below(20_000))]),
    () => message(Array.from({ length: below(200) + 1 }, () => new Uint8Array(0))),
    () => command(["PING", "READY", "NEWS", "ERROR"][below(4)] ?? "", randomBytes(below(30))),
    () => randomBytes(below(60)),
  ];
  for (let round = 0; round < 150; round++) {
    using peer = await RawPeer.connect(eventsOf(server), { properties: SUB });
    for (let piece = below(12); piece >= 0; piece--) {
      const made = pieces[below(pieces.length)]?.() ?? bytes("");
      await peer.tryWrite(below(5) === 0 ? made.subarray(0, below(made.length + 1)) : made);
    }
  }
  await until("all have left", () => server.stats().subscribers === 0);
  await using client = new Client({ endpoint: endpointOf(server) });
  assert.equal((await client.request("on")).text(), "ON");
  using peer = await RawPeer.connect(eventsOf(server), { properties: SUB });
  await peer.write(SUBSCRIBES["3.1"]("state"));
  assert.equal(text((await peer.message())[0]), "state");
});

// ---- our own client ----

overBoth(
  "Client.subscribe hears events, keeps what it knows when the server is back, and ends",
  async (Client) => {
    const events = `tcp://127.0.0.1:${freePort()}`;
    await using client = new Client({ events });
    const heard = client.subscribe(["job.done.", "user."]);
    const first = heard.next();
    {
      await using server = await open({ events, handler: PUBLISHER });
      await using asker = new Client({ endpoint: endpointOf(server) });
      const ask = () => asker.request(JSON.stringify(["user.news", 1, "one", "two"]));
      await until("it has subscribed", () => server.stats().subscribers === 1);
      await until("its subscriptions are heard", async () => {
        await ask();
        return server.stats().counters.events > 0;
      });
      const { value: news } = await first;
      assert.equal(news?.topic, "user.news");
      assert.deepEqual(news?.frames.map(text), ["one", "two"]);
      assert.deepEqual([news?.data, news?.lost], [undefined, 0]);
      const { value: done } = await heard.next();
      assert.equal(done?.topic, "job.done.");
      assert.equal((done?.data as { code: number }).code, 200);
    }
    const next = heard.next();
    await using server = await open({ events, handler: PUBLISHER });
    await using asker = new Client({ endpoint: endpointOf(server) });
    const asking = until("it has subscribed again", async () => {
      await asker.request(JSON.stringify(["user.late", 1]));
      return server.stats().counters.events > 0;
    });
    const { value: event } = await within("the new server is heard", next);
    assert.equal(typeof event?.sequence, "number");
    await asking;
    await heard.return();
    await until("it has left", () => server.stats().subscribers === 0);
  },
);

overBoth(
  "Client.subscribe hears an event of a new server that has the number of the last one of the old",
  async (Client) => {
    const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
    const context = new Context(library);
    const publisher = context.socket(SocketType.XPUB);
    try {
      const endpoint = publisher.bind("tcp://127.0.0.1:*");
      await using client = new Client({ events: endpoint });
      const heard = client.subscribe("job.");
      const first = heard.next();
      const frame = new MessagePool(library).take();
      await until("it has subscribed", () => {
        publisher.noteActivity();
        return publisher.readable() && publisher.receive(frame) > 0;
      });
      // The second one is what is kept; the third one comes from a server that was started at 20.
      for (const [sequence, time] of [[1, 10], [1, 10], [1, 20], [1, 20], [2, 20]]) {
        const stamp = new Uint8Array(STAMP_BYTES);
        writeStamp(new DataView(stamp.buffer), 0, { sequence: sequence ?? 0, time: time ?? 0 });
        publisher.sendMore(bytes("job.done."));
        publisher.sendMore(stamp);
        publisher.sendLast(bytes("{}"));
      }
      const results = Promise.all([first, heard.next(), heard.next()]);
      const events = (await within("the events are heard", results)).map(({ value }) => value);
      const shown = events.map((event) => [event?.sequence, event?.time, event?.lost]);
      assert.deepEqual(shown, [[1, 10, 0], [1, 20, Infinity], [2, 20, 0]]);
      await heard.return();
    } finally {
      publisher.close(0);
      await context.terminate();
    }
  },
);

overBoth(
  "Client.subscribe tells how many events were lost, and ends by its signal",
  async (Client) => {
    await using server = await open();
    const [endpoint = ""] = server.events;
    await using client = new Client({ endpoint: endpointOf(server), events: endpoint });
    const controller = new AbortController();
    const heard = client.subscribe("state", { signal: controller.signal });
    const { value: first } = await heard.next();
    const { value: second } = await heard.next();
    assert.deepEqual([second?.sequence, second?.lost], [(first?.sequence ?? 0) + 1, 0]);
    const last = heard.next();
    const reason = new Error("enough");
    controller.abort(reason);
    // One that has come before may be told first.
    await assert.rejects(last.then(() => heard.next()), (error) => error === reason);
    assert.throws(() => client.subscribe([]), /topics/);
    assert.throws(() => client.subscribe("x".repeat(256)), /topics/);
    assert.throws(() => client.subscribe("x", { endpoint: "udp://x" }), /endpoint/);
  },
);

Deno.test("Client.subscribe proves its key, over libzmq", async () => {
  using ring = new KeyRing("anna");
  await using server = await open({
    curveSecretKey: ring.secretKeyFile,
    curveClients: ring.list,
  });
  const [events = ""] = server.events;
  const keyFile = ring.writeSecret("anna", ring.pair("anna").secretKey);
  const curve = { serverKey: ring.server.publicKey, keyFile };
  await using client = new Client({ events, curve });
  for await (const { topic } of client.subscribe("state")) {
    assert.equal(topic, "state");
    break;
  }
});

Deno.test("client --subscribe prints events as lines of JSON until it is interrupted", async () => {
  await using server = await open();
  const args = ["run", "-A", "--no-check", path("client.ts"), "--events", eventsOf(server)];
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args, "--subscribe", "job.done.", "--subscribe", "state"],
    stdout: "piped",
  }).spawn();
  const lines: string[] = [];
  const reading = (async () => {
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      lines.push(...chunk.split("\n").filter((line) => line !== ""));
    }
  })();
  await until("it has subscribed", () => lines.length > 0);
  await using client = new Client({ endpoint: endpointOf(server) });
  await client.request("x");
  const line = await until("it has printed", () => lines.find((each) => each.includes("job.done")));
  const { topic, data } = JSON.parse(line);
  assert.deepEqual([topic, data.code], ["job.done.", 200]);
  child.kill("SIGINT");
  assert.equal((await child.status).code, 130);
  await reading;
});
