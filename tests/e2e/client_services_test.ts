/** Services that the client asks by name: of servers by hand, newer and older ones, and of ours. */

import assert from "node:assert/strict";
import { AbandonedError, Client } from "../../client.ts";
import { buildStatus } from "../../wire/request.ts";
import { HEADER_VERSION } from "../../wire/request_header.ts";
import { Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import { Context, type Socket } from "../../zmq/socket.ts";
import {
  deadEndpoint,
  echo,
  echoAsOlder,
  FakeServer,
  headerOf,
  isQuestion,
  knowing,
  type Received,
} from "../rig/fake_server.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { KeyRing } from "../rig/key_ring.ts";
import { type ClientMaker, overBoth } from "../rig/over_both.ts";
import { bytes, text } from "../rig/text.ts";
import { LIMIT, until } from "../rig/wait.ts";

/** What a server got, in short: the service, a colon, the body. */
function asked(requests: readonly Received[]): string[] {
  const isWithdrawal = (one: Received) => headerOf(one)?.type === "cancel" && !isQuestion(one);
  return requests.filter((request) => !isWithdrawal(request)).map((request) => {
    if (isQuestion(request)) return "?";
    return `${headerOf(request)?.service}:${request.body.map(text).join()}`;
  });
}

/** Names the service that was asked. */
const naming = knowing((server, request) =>
  server.reply(request, 200, bytes(`${headerOf(request)?.service}`))
);
/** Answers requests for a service alone. */
const serving = knowing((server, request) => {
  if (headerOf(request)?.service !== "") server.reply(request, 200);
});

overBoth("Client asks the server once what it knows, then services by name", async (Client) => {
  await using server = new FakeServer(naming);
  await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
  const mail = client.service("mail");
  assert.equal(mail.name, "mail");
  const replies = await Promise.all([
    mail.request("a"),
    client.request("b", { service: "re-size_2.0" }),
    client.request("c"),
  ]);
  assert.deepEqual(replies.map((reply) => reply.text()), ["mail", "re-size_2.0", ""]);
  assert.equal((await mail.request("d", { key: "k", requestTimeout: 7 })).text(), "mail");
  assert.deepEqual(asked(server.requests), ["?", ":c", "mail:a", "re-size_2.0:b", "mail:d"]);
  const last = server.requests.at(-1);
  const header = last && headerOf(last);
  assert.deepEqual([header?.key, header?.requestTimeout], ["k", 7]);
});

overBoth("Client asks nothing when no request names a service", async (Client) => {
  await using server = new FakeServer(echoAsOlder);
  await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
  await client.request("a", { key: "k", requestTimeout: 7 });
  assert.deepEqual(asked(server.requests), [":a"]);
});

overBoth(
  "Client sends a server that knows no services none of their requests, and all others",
  async (Client) => {
    await using server = new FakeServer(echoAsOlder);
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    const terms = { service: "mail", timeout: 500, retries: 1 };
    const refused = assert.rejects(client.request("a", terms), (error) => {
      assert.ok(error instanceof AbandonedError);
      assert.equal(error.reason, "unanswered");
      assert.match(
        error.message,
        /it is connected, and has not said that it knows services or answers in parts: it may/,
      );
      return true;
    });
    assert.equal((await client.request("b")).text(), "b");
    await refused;
    assert.equal((await client.request("c")).text(), "c");
    assert.deepEqual(asked(server.requests).filter((one) => one !== "?"), [":b", ":c"]);
  },
);

overBoth(
  "Client sends no withdrawal of a request that has waited for the server's version",
  async (Client) => {
    await using server = new FakeServer(() => {});
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    const abort = new AbortController();
    const gone = assert.rejects(client.request("a", { service: "mail", signal: abort.signal }));
    await server.got(1);
    abort.abort();
    await gone;
    const other = client.request("b", { retries: 0 });
    const [, request] = await server.got(2);
    assert.ok(request !== undefined);
    server.reply(request, 200);
    await other;
    assert.deepEqual(asked(server.requests), ["?", ":b"]);
  },
);

for (const identity of [undefined, "me"]) {
  overBoth(
    `Client asks a server anew that has taken the place of another, ${identity ?? "nameless"}`,
    (Client) => askAnew(Client, identity),
  );
}

/** The first server knows services, the second one does not, the third one does. */
async function askAnew(Client: ClientMaker, identity: string | undefined): Promise<void> {
  const endpoint = deadEndpoint();
  await using client = new Client({ endpoint, timeout: LIMIT, identity });
  const abort = new AbortController();
  const unanswered = client.request("x", { signal: abort.signal, timeout: 10 * LIMIT });
  unanswered.catch(() => {});
  {
    await using first = new FakeServer(serving, endpoint);
    await client.request("a", { service: "mail" });
    await first.got(3);
  }
  // Only then is what is asked not sent into the connection to the first server.
  await until("the client has noticed", () => /no connection/.test(`${client.waitingFor}`));
  abort.abort();
  await assert.rejects(unanswered);
  const waiting = client.request("b", { service: "mail", timeout: 10 * LIMIT });
  // Where something below fails, it is that which is to be seen.
  waiting.catch(() => {});
  // It asks again each time that it is connected anew, and its connection may break on a busy machine.
  const others = (server: FakeServer) => asked(server.requests).filter((one) => one !== "?");
  const isAsked = (server: FakeServer) => server.requests.some(isQuestion);
  {
    await using second = new FakeServer(echoAsOlder, endpoint);
    assert.equal((await client.request("c")).text(), "c");
    await until("it has been asked", () => isAsked(second));
    assert.deepEqual(others(second), [":c"]);
  }
  await using third = new FakeServer(naming, endpoint);
  assert.equal((await waiting).text(), "mail");
  assert.ok(isAsked(third));
  assert.deepEqual(others(third), ["mail:b"]);
}

overBoth("Client takes an answer to a question of another connection for none", async (Client) => {
  const endpoint = deadEndpoint();
  await using client = new Client({ endpoint, timeout: LIMIT, retries: 0 });
  const waiting = client.request("a", { service: "mail" });
  waiting.catch(() => {});
  let question: Received | undefined;
  {
    await using first = new FakeServer(() => {}, endpoint);
    question = (await first.got(1))[0];
  }
  // Only then is what is asked not sent into the connection to the first server.
  await until("the client has noticed", () => /no connection/.test(`${client.waitingFor}`));
  assert.ok(question !== undefined);
  const { envelope } = question;
  const answer = (server: FakeServer, question: Received) => {
    server.reply(question, 200, Uint8Array.of(HEADER_VERSION));
  };
  let knowsQuestions = false;
  await using second = new FakeServer((server, request) => {
    // What the first server had to say comes by the connection to the second.
    answer(server, { ...request, envelope });
    if (!isQuestion(request)) echo(server, request);
    else if (knowsQuestions) answer(server, request);
  }, endpoint);
  assert.equal((await client.request("b")).text(), "b");
  assert.equal((await client.request("c")).text(), "c");
  assert.deepEqual(asked(second.requests).filter((one) => one !== "?"), [":b", ":c"]);
  // It asks again each time that it is connected anew, and its connection may break on a busy machine.
  knowsQuestions = true;
  const own = second.requests.filter(isQuestion);
  assert.ok(own.length > 0);
  for (const question of own) answer(second, question);
  assert.equal((await waiting).text(), "a");
});

/** A ROUTER that is read and replaced while this thread does nothing else, so that no client notices anything. */
class SilentRouter {
  readonly #context = new Context(locateLibrary(Deno.env.get("ZMQ_LIBRARY")));
  readonly #frame = new MessagePool(locateLibrary(Deno.env.get("ZMQ_LIBRARY"))).take();
  readonly #socket: Socket;

  constructor(endpoint: string) {
    this.#socket = this.#context.socket(SocketType.ROUTER);
    this.#socket.set(Option.SNDHWM, 0);
    this.#socket.bind(endpoint);
  }

  /** The next message, if there is one: its routing id and all frames behind it. */
  take(): Uint8Array<ArrayBuffer>[] | undefined {
    const frames = [];
    do {
      this.#socket.noteActivity();
      const size = this.#socket.receive(this.#frame);
      if (size < 0) return undefined;
      frames.push(this.#frame.bytes(size));
    } while (this.#frame.more);
    return frames;
  }

  async next(): Promise<Uint8Array<ArrayBuffer>[]> {
    for (let waited = 0; waited < LIMIT; waited += 5) {
      const frames = this.take();
      if (frames !== undefined) return frames;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error("Nothing has come");
  }

  reply(to: Uint8Array<ArrayBuffer>[], ...body: Uint8Array<ArrayBuffer>[]): void {
    const [peer, header] = to;
    assert.ok(peer !== undefined && header !== undefined);
    this.#socket.sendAll([peer, header, new Uint8Array(0), buildStatus(200), ...body]);
  }

  /** Closes without a turn of this thread. */
  close(): void {
    this.#socket.close(0);
  }

  end(): Promise<void> {
    return this.#context.terminate();
  }
}

/** How long a client's thread of libzmq has to connect again, ms. */
const RECONNECTED_MS = 700;

Deno.test("Client asks anew when libzmq has connected again and nobody else has had a turn", async () => {
  const endpoint = deadEndpoint();
  const first = new SilentRouter(endpoint);
  await using client = new Client({ endpoint, timeout: LIMIT, retries: 0, transport: "libzmq" });
  const known = client.request("a", { service: "mail" });
  known.catch(() => {});
  first.reply(await first.next(), Uint8Array.of(HEADER_VERSION));
  first.reply(await first.next());
  await known;
  first.close();
  const ended = first.end();
  // Not a turn: libzmq's threads alone go on.
  const second = new SilentRouter(endpoint);
  const waiting = client.request("b", { service: "mail" });
  waiting.catch(() => {});
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RECONNECTED_MS);
  const question = await second.next();
  assert.equal(text(question[3] ?? new Uint8Array(0)), "version?");
  assert.equal(second.take(), undefined);
  second.reply(question, Uint8Array.of(HEADER_VERSION));
  second.reply(await second.next(), bytes("yes"));
  assert.equal((await waiting).text(), "yes");
  await ended;
  second.close();
  await second.end();
});

Deno.test("Client refuses names that no service has, and services where it is plain", async () => {
  await using client = new Client({ endpoint: deadEndpoint() });
  for (const service of ["", "a b", "ä", "a/b", "x".repeat(65)]) {
    assert.throws(() => client.service(service), RangeError);
    await assert.rejects(client.request("x", { service }), {
      name: "RangeError",
      message: /^Cannot send a request: "service" must be a name of 1 to 64 characters/,
    });
  }
  const wrong: unknown = 7;
  await assert.rejects(client.request("x", { service: wrong as string }), TypeError);
  await using plain = new Client({ endpoint: deadEndpoint(), plain: true });
  const message = 'Cannot send a request: a plain client has no "service"';
  await assert.rejects(plain.request("x", { service: "mail" }), { name: "TypeError", message });
  assert.throws(() => plain.service("mail"), { name: "TypeError", message });
});

/** A handler that says its name ahead of what it is asked. */
const named = (name: string) =>
  moduleOf(`export default (body) => "${name} " + new TextDecoder().decode(body);`);

overBoth("Client asks services of a server of ours, also behind a restart", async (Client) => {
  const endpoint = deadEndpoint();
  const options = {
    frontend: endpoint,
    workers: 1,
    handler: named("nameless"),
    services: { mail: named("mail"), "re.size": named("resize") },
  };
  await using client = new Client({ endpoint, timeout: 2000, retries: 30 });
  const all = async () => {
    const replies = await Promise.all(Array.from({ length: 300 }, async (_, number) => {
      const service = [undefined, "mail", "re.size"][number % 3];
      return (await client.request(`${number}`, { service })).text();
    }));
    replies.forEach((reply, number) => {
      assert.equal(reply, `${["nameless", "mail", "resize"][number % 3]} ${number}`);
    });
  };
  {
    await using server = serveQuietly(options);
    await server.ready;
    await all();
    await assert.rejects(client.request("x", { service: "none" }), {
      name: "ReplyError",
      code: 404,
    });
  }
  const asked = all();
  await using server = serveQuietly(options);
  await server.ready;
  await asked;
});

Deno.test("Client with keys asks services of a server of ours, as one of their users alone", async () => {
  using keys = new KeyRing("ann", "bob");
  await using server = serveQuietly({
    ...{ curveSecretKey: keys.secretKeyFile, curveClients: keys.list, workers: 1 },
    services: { mail: { handler: named("mail"), users: "ann" } },
  });
  await server.ready;
  const clientOf = (name: string) =>
    new Client({
      endpoint: endpointOf(server),
      identity: name,
      timeout: LIMIT,
      curve: {
        serverKey: keys.server.publicKey,
        keyFile: keys.writeSecret(`${name}.secret`, keys.pair(name).secretKey),
      },
    });
  await using ann = clientOf("ann");
  const replies = await Promise.all(["a", "b"].map((body) => ann.service("mail").request(body)));
  assert.deepEqual(replies.map((reply) => reply.text()), ["mail a", "mail b"]);
  await using bob = clientOf("bob");
  await assert.rejects(bob.service("mail").request("x"), { name: "ReplyError", code: 403 });
});
