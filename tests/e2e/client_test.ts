/** Client, against a server made here that does what each test wants. */

import assert from "node:assert/strict";
import process from "node:process";
import {
  AbandonedError,
  Client,
  type Reply,
  ReplyError,
  type RequestOptions,
} from "../../client.ts";
import { EMPTY_FRAME } from "../../wire/empty_frame.ts";
import { buildErrorText, buildStatus } from "../../wire/request.ts";
import { buildRequestHeader, parseRequestHeader } from "../../wire/request_header.ts";
import {
  deadEndpoint,
  echo,
  echoPlain,
  FakeServer,
  headerOf,
  type Received,
  silent,
} from "../rig/fake_server.ts";
import { bytes, text } from "../rig/text.ts";
import { overBoth } from "../rig/over_both.ts";
import { clientFlags } from "../rig/permissions.ts";

overBoth("Client sends header, delimiter and body when it asks", async (Client) => {
  await using server = new FakeServer(echo);
  await using client = new Client({ endpoint: server.endpoint });
  const reply = await client.request(["one", bytes("two"), ""], { timeout: 1234 });
  assert.deepEqual(reply.frames.map(text), ["one", "two", ""]);
  assert.equal(text(reply.bytes), "one");
  const [request] = server.requests;
  assert.equal(request?.envelope.length, 1);
  const header = parseRequestHeader(request.envelope[0] ?? EMPTY_FRAME);
  assert.ok(header !== undefined && header.timeout > 1200 && header.timeout <= 1234);
  assert.equal(request.peer[0], 0); // libzmq's own identity
});

overBoth(
  "Client keeps bodies apart when many of any size are copied before one is sent",
  async (Client) => {
    await using server = new FakeServer(echo);
    await using client = new Client({ endpoint: server.endpoint });
    const bodies = Array.from({ length: 400 }, (_, index) => {
      const size = [0, 1, 16, 169, 170, 171, 511, 512, 513, 3000][index % 10] ?? 0;
      const letter = ["a", "é", "日", "🎌"][index % 4] ?? "";
      const words = letter.repeat(size) + index;
      return index % 3 === 0 ? bytes(words) : words;
    });
    const asked = bodies.map((body, index) =>
      client.request(index % 7 === 0 ? [body, "", body] : body)
    );
    const replies = await Promise.all(asked);
    replies.forEach(({ frames }, index) => {
      const body = bodies[index] ?? "";
      const sent = typeof body === "string" ? body : text(body);
      assert.deepEqual(frames.map(text), index % 7 === 0 ? [sent, "", sent] : [sent], `${index}`);
    });
  },
);

overBoth("Client carries every byte when bodies are binary, empty or large", async (Client) => {
  await using server = new FakeServer(echo);
  await using client = new Client({ endpoint: server.endpoint });
  const all = Uint8Array.from({ length: 256 }, (_, index) => index);
  const large = new Uint8Array(3_000_000).map((_, index) => index * 7);
  for (const body of [all, new Uint8Array(0), large, all.subarray(10, 20)]) {
    assert.deepEqual((await client.request(body)).bytes, new Uint8Array(body));
  }
  assert.deepEqual((await client.request("")).bytes, new Uint8Array(0));
  assert.equal((await client.request("grüße")).text(), "grüße");
  assert.deepEqual((await client.request('{"a":[1]}')).json<{ a: number[] }>(), { a: [1] });
});

overBoth("Client sends what the body was when the caller changes it afterwards", async (Client) => {
  await using server = new FakeServer(echo);
  await using client = new Client({ endpoint: server.endpoint });
  const body = bytes("before");
  const asked = client.request(body);
  body.fill(0);
  assert.equal((await asked).text(), "before");
});

overBoth(
  "Client matches each reply when thousands are under way and answered backwards",
  async (Client) => {
    const COUNT = 5000;
    await using server = new FakeServer((server) => {
      if (server.requests.length < COUNT) return;
      for (const request of server.requests.toReversed()) echo(server, request);
    });
    await using client = new Client({ endpoint: server.endpoint, timeout: 30_000 });
    const asked = Array.from({ length: COUNT }, (_, index) => client.request(`body ${index}`));
    const replies = await Promise.all(asked);
    replies.forEach((reply, index) => assert.equal(reply.text(), `body ${index}`));
    assert.equal(server.requests.length, COUNT);
    assert.equal(new Set(server.requests.map(({ peer }) => peer.join())).size, 1);
  },
);

overBoth("Client answers all when each reply leads to the next request", async (Client) => {
  await using server = new FakeServer(echo);
  await using client = new Client({ endpoint: server.endpoint, retries: 0 });
  let sum = 0;
  const chain = async (name: number) => {
    for (let step = 0; step < 50; step++) {
      const body = `${name}.${step}`;
      assert.equal((await client.request(body)).text(), body);
      sum++;
    }
  };
  await Promise.all(Array.from({ length: 60 }, (_, name) => chain(name)));
  assert.equal(sum, 3000);
});

overBoth("Client reaches 127.0.0.1 when the endpoint says localhost", async (Client) => {
  await using server = new FakeServer(echo);
  const endpoint = server.endpoint.replace("127.0.0.1", "localhost");
  await using client = new Client({ endpoint, timeout: 5000, retries: 0 });
  assert.equal((await client.request("hi")).text(), "hi");
});

if (hasIpv6()) {
  overBoth(
    "Client reaches an IPv6 address when the endpoint has it in brackets",
    async (Client) => {
      await using server = new FakeServer(echo, "tcp://[::1]:*");
      await using client = new Client({ endpoint: server.endpoint, timeout: 5000, retries: 0 });
      assert.equal((await client.request("hi")).text(), "hi");
    },
  );
}

function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}

overBoth("Client reaches a server when it listens at an ipc path", async (Client) => {
  const folder = await Deno.makeTempDir();
  try {
    await using server = new FakeServer(echo, `ipc://${folder}/s`);
    await using client = new Client({ endpoint: server.endpoint });
    assert.equal((await client.request("hi")).text(), "hi");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

overBoth("Client rejects with ReplyError when the server answers an error", async (Client) => {
  await using server = new FakeServer((server, request) =>
    server.reply(request, 500, bytes("the handler is sad"))
  );
  await using client = new Client({ endpoint: server.endpoint });
  await assert.rejects(client.request("x"), (error) => {
    assert.ok(error instanceof ReplyError);
    assert.deepEqual([error.name, error.code, error.message], [
      "ReplyError",
      500,
      "the handler is sad",
    ]);
    return true;
  });
  assert.equal(server.requests.length, 1);
});

overBoth(
  "Client drops messages of any other form and takes the answer that follows them",
  async (Client) => {
    const junk = (server: FakeServer, request: Received) => {
      const [header = EMPTY_FRAME] = request.envelope;
      const status = buildStatus(200);
      const other = buildRequestHeader({ id: 7 });
      const name = bytes("x".repeat(200));
      const messages = [
        [header],
        [header, status, bytes("no")],
        [header, EMPTY_FRAME],
        [header, EMPTY_FRAME, bytes("no")],
        [header, EMPTY_FRAME, bytes("no!!!"), bytes("no")],
        [EMPTY_FRAME],
        [EMPTY_FRAME, status, bytes("no")],
        [header, name, EMPTY_FRAME, status, bytes("no")],
        [header.subarray(0, 23), EMPTY_FRAME, status, bytes("no")],
        [header, header.subarray(0, 20), EMPTY_FRAME, status, bytes("no")],
        [other, EMPTY_FRAME, status, bytes("no")],
        [name, EMPTY_FRAME, status, ...Array.from({ length: 20 }, () => name)],
      ];
      for (const frames of messages) server.send(request.peer, ...frames);
      server.send(request.peer, name, header, EMPTY_FRAME, status, ...request.body);
    };
    await using server = new FakeServer(junk);
    await using client = new Client({ endpoint: server.endpoint });
    for (const body of [["one"], ["two", "", "three"]]) {
      assert.deepEqual((await client.request(body)).frames.map(text), body);
    }
  },
);

overBoth("Client gives an answer without frames when the server sends none", async (Client) => {
  await using server = new FakeServer((server, request) => server.reply(request, 200));
  await using client = new Client({ endpoint: server.endpoint });
  const reply = await client.request("hello");
  assert.deepEqual(reply.frames, []);
  assert.equal(reply.text(), "");
});

overBoth("Client asks again on a fresh socket when a try goes unanswered", async (Client) => {
  await using server = new FakeServer(silent);
  await using client = new Client({ endpoint: server.endpoint, timeout: 600 });
  await assert.rejects(client.request("x"), (error) => {
    assert.ok(error instanceof AbandonedError);
    assert.deepEqual([error.endpoint, error.tries, error.timeout], [server.endpoint, 3, 600]);
    assert.match(error.message, /gave up after 3 tries of 600 ms: it is connected and has sent no/);
    assert.equal(error.reason, "unanswered");
    return true;
  });
  const requests = await server.got(3);
  assert.equal(requests.length, 3);
  assert.equal(new Set(requests.map(({ peer }) => peer.join())).size, 3);
  const ids = requests.map(({ envelope }) => parseRequestHeader(envelope[0] ?? EMPTY_FRAME)?.id);
  assert.equal(new Set(ids).size, 3);
});

overBoth("Client gives the answer when a later try gets one", async (Client) => {
  await using server = new FakeServer((server, request) => {
    if (server.requests.length === 3) echo(server, request);
  });
  await using client = new Client({ endpoint: server.endpoint, timeout: 600 });
  assert.equal((await client.request("at last")).text(), "at last");
});

overBoth("Client takes timeout and retries when a request brings its own", async (Client) => {
  await using server = new FakeServer(silent);
  await using client = new Client({ endpoint: server.endpoint });
  const options = { timeout: 600, retries: 0 };
  await assert.rejects(client.request("x", options), /1 try of 600 ms:/);
  assert.equal((await server.got(1)).length, 1);
});

overBoth(
  "Client drops a late reply when the identity is the same and a new try waits",
  async (Client) => {
    await using server = new FakeServer((server, request) => {
      const [first] = server.requests;
      if (first === undefined || first === request) return;
      server.reply(first, 200, bytes("late"));
      server.reply(first, 500, bytes("late too"));
      server.send(request.peer, bytes("nonsense"));
      server.send(request.peer, EMPTY_FRAME);
      server.send(request.peer, ...request.envelope, EMPTY_FRAME, bytes("no status"));
      server.reply(request, 200, bytes("new"));
    });
    await using client = new Client({ endpoint: server.endpoint, identity: "me", timeout: 200 });
    assert.equal((await client.request("x")).text(), "new");
    assert.ok(server.requests.every(({ peer }) => text(peer) === "me"));
  },
);

overBoth(
  "Client takes the replies that are there when it was held up past the timeout",
  async (Client) => {
    const COUNT = 3000;
    await using server = new FakeServer((server) => {
      if (server.requests.length !== COUNT) return;
      for (const request of server.requests) echo(server, request);
      const until = performance.now() + 1500;
      while (performance.now() < until); // libzmq's threads deliver meanwhile
    });
    await using client = new Client({ endpoint: server.endpoint, timeout: 1000, retries: 0 });
    const asked = Array.from({ length: COUNT }, (_, index) => client.request(`${index}`));
    const replies = await Promise.all(asked);
    replies.forEach((reply, index) => assert.equal(reply.text(), `${index}`));
  },
);

overBoth(
  "Client rejects when nobody could connect to the endpoint, and can be closed",
  async (Client) => {
    await using client = new Client({ endpoint: "tcp://no!host:6660" });
    await assert.rejects(client.request("x"), /^(Zmq|System)Error: Cannot connect to "tcp:/);
    await assert.rejects(client.request("x"), /^(Zmq|System)Error/);
  },
);

overBoth("Client lets other requests end where they are when one times out", async (Client) => {
  await using server = new FakeServer((server, request) => {
    if (text(request.body[0]) === "probe") echo(server, request);
  });
  await using client = new Client({ endpoint: server.endpoint, timeout: 30_000 });
  const slow = client.request("slow");
  await assert.rejects(client.request("lost", { timeout: 600, retries: 1 }), AbandonedError);
  assert.equal((await client.request("probe")).text(), "probe");
  const [first] = server.requests;
  assert.ok(first !== undefined);
  echo(server, first);
  assert.equal((await slow).text(), "slow");
  const said = server.requests.map((request) =>
    headerOf(request)?.type === "cancel" ? "cancel" : text(request.body[0])
  );
  // What goes over two connections comes in any order.
  assert.deepEqual(said.sort(), ["cancel", "lost", "lost", "probe", "slow"]);
});

overBoth(
  "Client moves other requests at once when an identity allows one socket",
  async (Client) => {
    await using server = new FakeServer((server, request) => {
      const hurried = server.requests.some(({ body }) => text(body[0]) === "hurried");
      if (hurried && server.requests.length >= 3) echo(server, request);
    });
    await using client = new Client({
      endpoint: server.endpoint,
      identity: "one",
      timeout: 30_000,
    });
    const patient = client.request("patient", { retries: 0 });
    const hurried = client.request("hurried", { timeout: 150 });
    assert.equal((await hurried).text(), "hurried");
    assert.equal((await patient).text(), "patient");
    assert.deepEqual([...new Set(server.requests.map(({ peer }) => text(peer)))], ["one"]);
  },
);

overBoth(
  "Client sends what was asked while it waited for its old socket to be gone",
  async (Client) => {
    await using server = new FakeServer((server, request) => {
      if (text(request.body[0]) === "meanwhile") echo(server, request);
    });
    await using client = new Client({ endpoint: server.endpoint, identity: "one", timeout: 1000 });
    const meanwhile = Promise.withResolvers<Reply>();
    atNextPause(async () => {
      await server.lost(1);
      client.request("meanwhile", { timeout: 10_000 }).then(meanwhile.resolve, meanwhile.reject);
    });
    let waiting = true;
    const lost = client.request("lost", { retries: 1 }).finally(() => waiting = false);
    const abandoned = assert.rejects(lost, AbandonedError);
    assert.equal((await meanwhile.promise).text(), "meanwhile");
    assert.ok(waiting);
    const bodies = server.requests.map(({ body }) => text(body[0]));
    assert.deepEqual(bodies, ["lost", "lost", "meanwhile"]);
    await abandoned;
  },
);

/** Does something when the client pauses for its old socket to be gone, before the pause. */
function atNextPause(act: () => void | Promise<void>): void {
  const { setTimeout } = globalThis;
  globalThis.setTimeout = ((resume: () => void, delay: number) => {
    globalThis.setTimeout = setTimeout;
    Promise.resolve(act()).then(() => setTimeout(resume, delay));
  }) as typeof setTimeout;
}

overBoth(
  "Client settles every request when it is closed while it waits for its old socket",
  async (Client) => {
    await using server = new FakeServer(silent);
    const client = new Client({ endpoint: server.endpoint, identity: "one", timeout: 200 });
    const closed = Promise.withResolvers<void>();
    atNextPause(() => void client.close().then(closed.resolve, closed.reject));
    const outcomes = Promise.allSettled([
      client.request("given up", { retries: 0 }),
      client.request("tried again", { retries: 5 }),
      client.request("moved", { timeout: 10_000 }),
    ]);
    const reasons = (await outcomes).map((outcome) =>
      outcome.status === "rejected" ? outcome.reason.message : "answered"
    );
    const closedFirst = "Cannot wait for a reply: the client was closed";
    assert.match(reasons[0] ?? "", /gave up after 1 try/);
    assert.deepEqual(reasons.slice(1), [closedFirst, closedFirst]);
    await closed.promise;
  },
);

overBoth("Client lets the server know when the only request is aborted", async (Client) => {
  await using server = new FakeServer(silent);
  for (const identity of [undefined, "one"]) {
    await using client = new Client({ endpoint: server.endpoint, identity });
    const controller = new AbortController();
    const aborted = assert.rejects(client.request("x", { signal: controller.signal }));
    const seen = server.requests.length;
    await server.got(seen + 1);
    controller.abort();
    await server.got(seen + 2);
    const [asked, taken] = server.requests.slice(seen).map(headerOf);
    assert.deepEqual(taken, { ...asked, type: "cancel", timeout: 0 });
    await aborted;
  }
});

overBoth("Client gets its answers when the server comes back", async (Client) => {
  const endpoint = deadEndpoint();
  await using client = new Client({ endpoint, timeout: 300, retries: 60 });
  const asked = Array.from({ length: 20 }, (_, index) => client.request(`${index}`));
  {
    await using dying = new FakeServer(silent, endpoint);
    await dying.got(20);
  }
  await using server = new FakeServer(echo, endpoint);
  const replies = await Promise.all(asked);
  assert.deepEqual(replies.map((reply) => reply.text()), asked.map((_, index) => `${index}`));
  assert.ok(server.requests.length >= 20);
});

overBoth("Client costs no CPU when there is no server", async (Client) => {
  await using client = new Client({ endpoint: deadEndpoint(), timeout: 500, retries: 2 });
  const before = process.cpuUsage();
  const started = performance.now();
  await assert.rejects(client.request("x"), AbandonedError);
  const elapsed = performance.now() - started;
  const { user, system } = process.cpuUsage(before);
  assert.ok(elapsed >= 1499, `${elapsed} ms`);
  assert.ok((user + system) / 1000 < 0.1 * elapsed, `${(user + system) / 1000} ms of CPU`);
});

overBoth("Client rejects with the reason when a signal aborts", async (Client) => {
  await using server = new FakeServer(silent);
  await using client = new Client({ endpoint: server.endpoint });
  const controller = new AbortController();
  const reason = new Error("changed my mind");
  const asked = client.request("x", { signal: controller.signal });
  await server.got(1);
  controller.abort(reason);
  await assert.rejects(asked, (error) => error === reason);
  await assert.rejects(client.request("y", { signal: controller.signal }), (e) => e === reason);
  assert.equal(server.requests.length, 1);
});

overBoth("Client sends nothing when a request is aborted before its turn", async (Client) => {
  await using server = new FakeServer(echo);
  await using client = new Client({ endpoint: server.endpoint });
  const controller = new AbortController();
  const aborted = client.request("never", { signal: controller.signal });
  const kept = client.request("kept");
  controller.abort();
  await assert.rejects(aborted, { name: "AbortError" });
  assert.equal((await kept).text(), "kept");
  assert.deepEqual(server.requests.map(({ body }) => text(body[0])), ["kept"]);
});

overBoth("Client forgets the signal when a request has ended", async (Client) => {
  await using server = new FakeServer(echo);
  await using client = new Client({ endpoint: server.endpoint });
  const { signal, listeners } = countingSignal();
  await client.request("x", { signal });
  assert.equal(listeners(), 0);
});

/** A signal that tells how many listen to it. */
function countingSignal(): { signal: AbortSignal; listeners: () => number } {
  const { signal } = new AbortController();
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  let count = 0;
  signal.addEventListener = (...args: Parameters<typeof add>) => (count++, add(...args));
  signal.removeEventListener = (...args: Parameters<typeof remove>) => (count--, remove(...args));
  return { signal, listeners: () => count };
}

overBoth("Client rejects what is under way and what follows when it is closed", async (Client) => {
  await using server = new FakeServer(silent);
  const client = new Client({ endpoint: server.endpoint });
  const asked = client.request("x");
  const rejected = assert.rejects(asked, /^Error: Cannot wait for a reply: the client was closed$/);
  await server.got(1);
  await Promise.all([client.close(), client.close(), rejected]);
  await assert.rejects(client.request("y"), /^Error: Cannot send a request: the client is closed$/);
  await client.close();
});

Deno.test("Client closes when it never asked anything", async () => {
  await using client = new Client();
  assert.ok(client);
});

overBoth("Client leaves no descriptor when many were closed", async (Client) => {
  await using server = new FakeServer(echo);
  const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const use = async (identity?: string) => {
    await using client = new Client({ endpoint: server.endpoint, identity });
    await client.request("x");
  };
  await use();
  const before = count();
  for (let round = 0; round < 20; round++) await use(round % 2 ? `c${round}` : undefined);
  assert.ok(count() <= before + 3, `${before} before, ${count()} after`); // the server may lag
});

overBoth("Client speaks as REQ does when it is plain", async (Client) => {
  await using server = new FakeServer(echoPlain);
  await using client = new Client({ endpoint: server.endpoint, plain: true });
  assert.deepEqual((await client.request(["", "b"])).frames.map(text), ["", "b"]);
  assert.equal((await client.request("second")).text(), "second");
  assert.deepEqual(server.requests.map(({ envelope }) => envelope), [[], []]);
  assert.equal(new Set(server.requests.map(({ peer }) => peer.join())).size, 1); // reused
});

overBoth("Client matches each reply when it is plain and answered backwards", async (Client) => {
  await using server = new FakeServer((server) => {
    if (server.requests.length < 50) return;
    for (const request of server.requests.toReversed()) echoPlain(server, request);
  });
  await using client = new Client({ endpoint: server.endpoint, plain: true });
  const replies = await Promise.all(
    Array.from({ length: 50 }, (_, index) => client.request(`${index}`)),
  );
  replies.forEach((reply, index) => assert.equal(reply.text(), `${index}`));
});

overBoth("Client rejects with ReplyError when it is plain", async (Client) => {
  await using server = new FakeServer((server, request) =>
    server.replyPlain(request, EMPTY_FRAME, buildErrorText(404, "no such thing"))
  );
  await using client = new Client({ endpoint: server.endpoint, plain: true });
  await assert.rejects(client.request("x"), { name: "ReplyError", code: 404 });
});

overBoth("Client drops a late reply when it is plain and a new try waits", async (Client) => {
  await using server = new FakeServer((server, request) => {
    const [first] = server.requests;
    if (first === undefined || first === request) return;
    server.replyPlain(first, bytes("late"));
    server.replyPlain(request, bytes("new"));
  });
  await using client = new Client({ endpoint: server.endpoint, plain: true, timeout: 200 });
  assert.equal((await client.request("x")).text(), "new");
});

overBoth(
  "Client sends one request at a time when it is plain and has an identity",
  async (Client) => {
    await using server = new FakeServer(echoPlain);
    await using client = new Client({
      endpoint: server.endpoint,
      plain: true,
      identity: "waiting",
    });
    const first = client.request("1");
    await assert.rejects(client.request("2"), /must wait for its last one: identity is "waiting"$/);
    assert.equal((await first).text(), "1");
    assert.equal((await client.request("3")).text(), "3");
    assert.deepEqual(server.requests.map(({ peer }) => text(peer)), ["waiting", "waiting"]);
  },
);

Deno.test("Client throws when an option is not what it must be", () => {
  const cases: [object, RegExp][] = [
    [{ endpont: "x" }, /^TypeError: Unknown option "endpont": did you mean "endpoint"\?$/],
    [{ zzz: "x" }, /^TypeError: Unknown option "zzz": use endpoint, timeout, .*, transport$/],
    [
      { endpoint: 6660 },
      /^TypeError: .*"endpoint" must be tcp:\/\/host:port or .*: current value is 6660$/,
    ],
    [{ endpoint: "localhost:6660" }, /^RangeError: .*current value is "localhost:6660"$/],
    [{ endpoint: "tcp://localhost" }, /^RangeError/],
    [{ endpoint: "tcp://localhost:99999" }, /^RangeError/],
    [{ endpoint: "tcp://*:6660" }, /^RangeError/],
    [{ endpoint: "tcp://localhost:0" }, /^RangeError/],
    [{ endpoint: "ipc://" }, /^RangeError/],
    [{ endpoint: `ipc:///${"x".repeat(107)}` }, /^RangeError/],
    [{ timeout: 0 }, /^RangeError: .*"timeout" must be a number of ms from 1 to 4294967295: .* 0$/],
    [{ timeout: "10" }, /^TypeError/],
    [{ timeout: NaN }, /^RangeError/],
    [{ timeout: Infinity }, /^RangeError/],
    [{ retries: -1 }, /^RangeError: .*"retries" must be an integer >= 0: current value is -1$/],
    [{ retries: 1.5 }, /^RangeError/],
    [{ identity: "" }, /^RangeError: .*"identity" must be a string of 1 to 255 bytes/],
    [{ identity: "ä".repeat(128) }, /^RangeError/],
    [{ identity: "\0x" }, /^RangeError/],
    [{ identity: 7 }, /^TypeError/],
    [{ plain: 1 }, /^TypeError: .*"plain" must be a boolean: current value is 1$/],
    [{ transport: "zmq" }, /^RangeError: .*"transport" must be native or libzmq: .* "zmq"$/],
    [{ transport: true }, /^TypeError: .*"transport" must be native or libzmq/],
  ];
  for (const [options, message] of cases) assert.throws(() => new Client(options), message);
  new Client({ identity: "ä".repeat(127), timeout: 0.5 + 0.5, retries: 0, endpoint: undefined });
  new Client({ endpoint: ["tcp://127.0.0.1:0;[::1]:6660", "ipc://@name"] });
});

Deno.test("Client rejects when an argument is not what it must be", async () => {
  await using client = new Client();
  const ask = (body: unknown, options?: object) =>
    client.request(body as string, options as RequestOptions);
  const body = /^TypeError: Cannot send a request: the body must be a Uint8Array, a string, or a/;
  await assert.rejects(ask([]), body);
  await assert.rejects(ask(undefined), body);
  await assert.rejects(ask(["a", 1]), body);
  await assert.rejects(
    ask("a", { timout: 1 }),
    /^TypeError: Unknown option "timout": did you mean "timeout"\?$/,
  );
  await assert.rejects(ask("a", { timeout: -1 }), /^RangeError/);
  await assert.rejects(ask("a", { retries: "2" }), /^TypeError/);
  await assert.rejects(ask("a", { signal: {} }), /^TypeError: .*"signal" must be an AbortSignal/);
});

Deno.test("Client lets the process end when it is open but idle", async () => {
  await using server = new FakeServer(echo);
  const { code, stdout, stderr } = await runScript(
    clientFlags(),
    `
    import { Client } from ${JSON.stringify(new URL("../../client.ts", import.meta.url).href)};
    const client = new Client({ endpoint: ${JSON.stringify(server.endpoint)} });
    console.log((await client.request("x")).text());
  `,
  );
  assert.deepEqual([code, stdout, stderr], [0, "x\n", ""]);
});

Deno.test("Client needs no permission and asks for none when client.ts is imported", async () => {
  const { code, stdout, stderr } = await runScript(
    ["--no-prompt"],
    `
    import { Client } from ${JSON.stringify(new URL("../../client.ts", import.meta.url).href)};
    console.log(typeof Client);
  `,
  );
  assert.deepEqual([code, stdout, stderr], [0, "function\n", ""]);
});

/** A module's imports by Deno's own account. */
interface Module {
  specifier: string;
  dependencies?: { code?: { specifier: string }; isDynamic?: boolean }[];
}

Deno.test("client.ts loads its command, and @std/cli, only when it is run", async () => {
  const module = new URL("../../client.ts", import.meta.url).href;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", module],
    cwd: new URL("../..", import.meta.url),
  }).output();
  const modules = new Map<string, Module>(
    JSON.parse(text(stdout)).modules.map((each: Module) => [each.specifier, each]),
  );
  const loaded = new Set([module]);
  for (const specifier of loaded) {
    for (const { code, isDynamic } of modules.get(specifier)?.dependencies ?? []) {
      if (code !== undefined && !isDynamic) loaded.add(code.specifier);
    }
  }
  const names = [...loaded].map((each) => each.replace(/^.*\/(?=.*\/)/, ""));
  assert.ok(names.includes("client/lazy_pirate.ts"), `It loads ${names}`);
  assert.deepEqual(names.filter((name) => /^cli\/|std|parse_args/.test(name)), []);
  assert.ok([...modules.keys()].some((each) => each.endsWith("/cli/client.ts")));
});

async function runScript(permissions: string[], script: string) {
  const url = `data:application/typescript,${encodeURIComponent(script)}`;
  const config = decodeURIComponent(new URL("../../deno.json", import.meta.url).pathname);
  const args = ["run", "--quiet", `--config=${config}`, ...permissions, url];
  const output = await new Deno.Command(Deno.execPath(), { args, stdin: "null" }).output();
  return { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) };
}
