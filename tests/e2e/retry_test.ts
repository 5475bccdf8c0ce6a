/** What a client does when servers refuse, do not answer, or are not there. */

import assert from "node:assert/strict";
import { AbandonedError, Client, type Retry } from "../../client.ts";
import { deadEndpoint, echo, FakeServer, headerOf, silent } from "../rig/fake_server.ts";
import { Folder } from "../rig/folder.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { type ClientMaker, overBoth } from "../rig/over_both.ts";
import { LIMIT, until } from "../rig/wait.ts";
import { KeyRing } from "../rig/key_ring.ts";

overBoth(
  "Client asks again when a server refuses as it is shutting down, and tells onRetry",
  async (Client) => {
    await using server = new FakeServer((server, request) => {
      if (server.requests.length < 3) server.refuse(request);
      else echo(server, request);
    });
    const retries: Retry[] = [];
    const { endpoint } = server;
    await using client = new Client({ endpoint, onRetry: (retry) => retries.push(retry) });
    assert.equal((await client.request("x")).text(), "x");
    assert.deepEqual(
      retries,
      [1, 2].map((attempt) => ({ attempt, endpoint, reason: "unavailable" })),
    );
    const ids = new Set(server.requests.map((request) => headerOf(request)?.id));
    assert.equal(ids.size, 3);
  },
);

overBoth(
  "Client takes a 503 for the answer when it has no flag, or there are no retries",
  async (Client) => {
    const full = (server: FakeServer, request: Parameters<typeof echo>[1]) =>
      server.reply(request, 503, bytes("The queue is full"));
    await using server = new FakeServer(full);
    await using other = new FakeServer(echo);
    await using client = new Client({ endpoint: [server.endpoint, other.endpoint] });
    const isFull = { name: "ReplyError", code: 503, message: "The queue is full" };
    await assert.rejects(client.request("x"), isFull);
    await using closing = new FakeServer((server, request) => server.refuse(request));
    await using hasty = new Client({ endpoint: [closing.endpoint, other.endpoint], retries: 0 });
    const isClosing = { name: "ReplyError", code: 503, message: "The server is shutting down" };
    await assert.rejects(hasty.request("x"), isClosing);
    assert.deepEqual([server.requests.length, closing.requests.length], [1, 1]);
    assert.equal(other.requests.length, 0);
  },
);

overBoth(
  "Client rejects with the refusal when nothing else was heard to the end",
  async (Client) => {
    await using server = new FakeServer((server, request) => server.refuse(request));
    await using client = new Client({ endpoint: server.endpoint, timeout: 300, retries: 1 });
    await assert.rejects(client.request("x"), { name: "ReplyError", code: 503 });
    assert.ok(server.requests.length >= 3, `${server.requests.length} requests`);
  },
);

overBoth(
  "Client takes a server's place when that refuses, is silent, or is not there",
  async (Client) => {
    await using other = new FakeServer(echo);
    await using closing = new FakeServer((server, request) => server.refuse(request));
    await using mute = new FakeServer(silent);
    const cases = [[closing.endpoint, "unavailable"], [mute.endpoint, "unanswered"], [
      deadEndpoint(),
      "unconnected",
    ]] as const;
    for (const [endpoint, reason] of cases) {
      const retries: Retry[] = [];
      await using client = new Client({
        endpoint: [endpoint, other.endpoint],
        timeout: reason === "unanswered" ? 1000 : LIMIT,
        onRetry: (retry) => retries.push(retry),
      });
      assert.equal((await client.request(reason)).text(), reason);
      assert.deepEqual(retries[0], { attempt: 1, endpoint, reason });
      const before = retries.length;
      assert.equal((await client.request("again")).text(), "again");
      assert.equal(retries.length, before, "It stays with the one that works");
    }
  },
);

overBoth("Client rejects with what onRetry throws", async (Client) => {
  await using server = new FakeServer((server, request) => server.refuse(request));
  const stop = new Error("enough");
  const onRetry = ({ attempt }: Retry) => {
    if (attempt === 2) throw stop;
  };
  await using client = new Client({ endpoint: server.endpoint, onRetry });
  await assert.rejects(client.request("x"), stop);
  assert.equal(server.requests.length, 2);
});

Deno.test("Client checks each endpoint of a list, and that onRetry is a function", () => {
  const make = (options: object) => () => new Client(options);
  assert.throws(
    make({ endpoint: [] }),
    /^RangeError: .*"endpoint" must be .* list of at least one/,
  );
  assert.throws(make({ endpoint: ["tcp://a:1", "b"] }), /^RangeError: .*"endpoint" must be/);
  assert.throws(make({ endpoint: ["tcp://a:1", 2] }), /^TypeError: .*"endpoint" must be/);
  assert.throws(make({ onRetry: true }), /^TypeError: .*"onRetry" must be a function/);
});

overBoth(
  "Client reaches a server when it has closed many sockets that were connected",
  async (Client) => {
    await using server = new FakeServer((server, request) => {
      if (text(request.body[0]) !== "silent") echo(server, request);
    });
    const { endpoint } = server;
    await Promise.all(Array.from({ length: 6 }, async () => {
      await using client = new Client({ endpoint, timeout: LIMIT / 2, retries: 0 });
      await client.request("silent", { timeout: 25, retries: 80 }).catch(() => {});
      assert.equal((await client.request("at last")).text(), "at last");
    }));
  },
);

/** Waits until a client says so of a request that is not answered: on a busy machine it knows that late. */
async function complains(
  Client: ClientMaker,
  options: { endpoint: string },
  what: RegExp,
): Promise<void> {
  await using client = new Client({ ...options, timeout: 500, retries: 1 });
  const start =
    `Cannot get an answer from "${options.endpoint}": gave up after 2 tries of 500 ms: `;
  let said = "";
  await until(`it says ${what}`, async () => {
    const error = await client.request("x").then(() => undefined, (error: unknown) => error);
    assert.ok(error instanceof AbandonedError && error.message.startsWith(start), `${error}`);
    said = `${error.reason}: ${error.message.slice(start.length)}`;
    return what.test(said);
  }).catch(() => assert.match(said, what));
}

overBoth("AbandonedError names what is known when nobody answers", async (Client) => {
  await using mute = new FakeServer(silent);
  using nobody = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const endpoint = `tcp://127.0.0.1:${nobody.addr.port}`;
  await Promise.all([
    complains(
      Client,
      { endpoint: mute.endpoint },
      /^unanswered: it is connected and has sent no answer$/,
    ),
    complains(Client, { endpoint: deadEndpoint() }, /^unconnected: there is no connection to it$/),
    complains(
      Client,
      { endpoint },
      /^handshake: what listens there does not answer as a ZeroMQ server$/,
    ),
  ]);
});

overBoth("AbandonedError names a handshake that failed for the keys", async (Client) => {
  using ring = new KeyRing("alice");
  await using server = await ServerProcess.start({ args: ring.args });
  await using plain = new FakeServer(silent);
  const { endpoint } = server;
  const curve = (serverKey: string, name: string) => ({
    serverKey,
    keyFile: ring.writeSecret(name, ring.pair(name).secretKey),
  });
  const { publicKey } = ring.server;
  const other = { endpoint, curve: curve(ring.pair("other").publicKey, "alice") };
  const stranger = { endpoint, curve: curve(publicKey, "bob") };
  const needless = { endpoint: plain.endpoint, curve: curve(publicKey, "alice") };
  await Promise.all([
    complains(
      Client,
      other,
      /^handshake: .*server key is probably not the public key of this server$/,
    ),
    complains(Client, stranger, /^handshake: the server denied the connection: /),
    complains(
      Client,
      { endpoint },
      /^handshake: .*the server asks for keys, and this client has none$/,
    ),
    complains(
      Client,
      needless,
      /^handshake: .*the server takes no keys, and this client has some$/,
    ),
  ]);
});

/** Appends each body to a file of the folder, so that it is seen how often each was started. */
const NOTING = `export default (body) => {
  const path = new URL("./started-" + Deno.pid, import.meta.url);
  Deno.writeFileSync(path, new Uint8Array([...body, 10]), { append: true });
  return body;
};`;

overBoth(
  "Client hears no error, and has nothing started twice, when servers are restarted by TERM under load",
  async (Client) => {
    using folder = new Folder();
    const handler = folder.write("handler.ts", NOTING);
    const endpoints = [`ipc://${folder.path}/a`, `ipc://${folder.path}/b`];
    const start = (frontend: string) =>
      ServerProcess.start({
        args: [
          handler,
          "--frontend",
          frontend,
          "--workers",
          "2",
          `--handler-allow-write=${folder.path}`,
        ],
        permissions: ["-A"],
      });
    const servers = await Promise.all(endpoints.map(start));
    let going = true;
    const answered: string[] = [];
    const reasons = new Set<string>();
    await using client = new Client({
      endpoint: endpoints,
      timeout: LIMIT,
      onRetry: ({ reason }) => reasons.add(reason),
    });
    const ask = async (name: number) => {
      for (let count = 0; going; count++) {
        answered.push((await client.request(`${name}.${count}`)).text());
      }
    };
    const asking = Promise.all(Array.from({ length: 16 }, (_, name) => ask(name)));
    try {
      for (const index of [0, 1, 0, 1]) {
        const before = answered.length;
        await until("there is load", () => answered.length > before + 200);
        servers[index]?.signal("SIGTERM");
        await servers[index]?.ended();
        await servers[index]?.[Symbol.asyncDispose]();
        servers[index] = await start(endpoints[index] ?? "");
      }
    } finally {
      going = false;
      await asking.finally(() =>
        Promise.all(servers.map((server) => server[Symbol.asyncDispose]()))
      );
    }
    const notes = [...Deno.readDirSync(folder.path)].filter(({ name }) =>
      name.startsWith("started-")
    );
    const started = notes.flatMap(({ name }) =>
      Deno.readTextFileSync(`${folder.path}/${name}`).trimEnd().split("\n")
    );
    assert.deepEqual(started.toSorted(), answered.toSorted());
    assert.ok(reasons.has("unavailable"), `${[...reasons]}`);
  },
);
