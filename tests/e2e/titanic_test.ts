/** Titanic (9/TSP) over Majordomo: a small client in Python, frames by hand, and what the Guide's client sends. */

import { strict as assert } from "node:assert";
import type { ServeOptions, Server } from "../../mod.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { moduleOf, serveQuietly } from "../rig/in_process.ts";
import { KeyRing } from "../rig/key_ring.ts";
import { hasPyzmq, PYTHON } from "../rig/mdp_workers.ts";
import { Peer } from "../rig/peer.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";

const ECHO = moduleOf(`
import { RequestError } from "${new URL("worker.ts", ROOT).href}";
export default async (body, { frames = [body], signal, client }) => {
  const [first, ...others] = frames.map((frame) => new TextDecoder().decode(frame));
  if (first === "fail") throw new RequestError(422, "No such item");
  if (first === "hold") await new Promise((resolve) => signal.onabort = resolve);
  return first === "who" ? client.user : [first, ...others].map((text) => text.toUpperCase());
};`);

/** A server that stores jobs in a folder of its own. */
class Storing {
  readonly folder = new Folder();
  readonly server: Server;

  constructor(options: ServeOptions = {}) {
    this.server = serveQuietly({
      mdp: "tcp://127.0.0.1:0",
      store: `sqlite:${this.folder.path}/jobs.db`,
      services: { echo: { handler: ECHO, minWorkers: 1, maxWorkers: 1 } },
      ...options,
    });
  }

  get mdp(): string {
    return this.server.mdp[0] ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
    this.folder[Symbol.dispose]();
  }
}

/** What the Python client prints for these orders. */
async function converse(
  { mdp }: Storing,
  version: string,
  orders: string[],
  curve = "",
): Promise<unknown[][]> {
  const args = [path("tests/foreign/titanic_client.py"), mdp, version, ...orders];
  const { code, stdout, stderr } = await run(PYTHON, args, { env: { CURVE: curve } });
  assert.equal(code, 0, stderr);
  return stdout.trim().split("\n").map((line) => JSON.parse(line));
}

/** Asks as the Guide's C client does: a REQ socket's empty frame, the protocol, the service, the body. */
async function ask(peer: Peer, service: string, ...body: string[]): Promise<string[]> {
  peer.send("", "MDPC01", service, ...body);
  const [empty, protocol, name, ...answer] = await peer.receiveText();
  assert.deepEqual([empty, protocol, name], ["", "MDPC01", service]);
  return answer;
}

Deno.test("Titanic over Majordomo", async (t) => {
  await using storing = new Storing({
    handler: ECHO,
    minWorkers: 1,
    maxWorkers: 1,
    mdpWorkers: "any",
  });
  await storing.server.ready;
  await t.step({
    name:
      "a client written from the text of 9/TSP has requests stored and gets their replies, in both versions",
    ignore: !hasPyzmq,
    fn: async () => {
      for (const version of ["0.1", "0.2"]) {
        const unknown = "0".repeat(32);
        const [one, two, none, ...others] = await converse(storing, version, [
          "echo|hello",
          "echo|two|frames",
          "two words|x",
          `reply|${unknown}`,
          `close|${unknown}`,
        ]);
        assert.deepEqual(one?.slice(0, 4), [200, ["HELLO"], true, [200, 400, 200]]);
        assert.deepEqual(two?.slice(0, 4), [200, ["TWO", "FRAMES"], true, [200, 400, 200]]);
        assert.match(String(none), /^400,"service" must be a name of 1 to 64 characters/);
        assert.deepEqual(others.map(([status]) => status), [400, 200]);
      }
    },
  });

  await t.step("the frames of the Guide's client are answered as it compares them", async () => {
    await using peer = new Peer(storing.mdp);
    assert.deepEqual(await ask(peer, "mmi.service", "titanic.request"), ["200"]);
    // Five frames: "", MDPC01, titanic.request, echo, Hello world.
    const [status, uuid = "", ...more] = await ask(peer, "titanic.request", "echo", "Hello world");
    assert.deepEqual([status, more], ["200", []]);
    assert.match(uuid, /^[0-9a-f]{32}$/);
    const reply = await until("it is done", async () => {
      const answer = await ask(peer, "titanic.reply", uuid);
      return answer[0] === "300" && answer.length === 1 ? undefined : answer;
    });
    assert.deepEqual(reply, ["200", "HELLO WORLD"]);
    assert.deepEqual(await ask(peer, "titanic.reply", uuid.toUpperCase()), reply);
    assert.deepEqual(await ask(peer, "titanic.close", uuid), ["200"]);
    assert.deepEqual((await ask(peer, "titanic.reply", uuid))[0], "400");
  });

  await t.step(
    "a job of Titanic that fails is answered 500 with the reason, and one that is closed is stopped",
    async () => {
      await using peer = new Peer(storing.mdp);
      const store = async (text: string) =>
        (await ask(peer, "titanic.request", "echo", text))[1] ?? "";
      const failed = await store("fail");
      const answer = await until("it has failed", async () => {
        const answer = await ask(peer, "titanic.reply", failed);
        return answer[0] === "300" ? undefined : answer;
      });
      assert.deepEqual(answer, ["500", "The job has ended: failed 422 No such item"]);
      const held = await store("hold");
      await until("it runs", async () => (await storing.server.stats()).running === 1);
      assert.deepEqual(await ask(peer, "titanic.reply", held), ["300"]);
      assert.deepEqual(await ask(peer, "titanic.close", held), ["200"]);
      assert.equal((await ask(peer, "titanic.reply", held))[0], "400");
      await until("it is stopped", async () => (await storing.server.stats()).running === 0);
    },
  );

  await t.step({
    name: "docs/majordomo.md has a client of Titanic in Python that gets its reply",
    ignore: !hasPyzmq,
    fn: async () => {
      const page = Deno.readTextFileSync(path("docs/majordomo.md"));
      const programs = [...page.matchAll(/^```python\n(.*?)^```$/gms)].map(([, text = ""]) => text);
      const program = programs.find((text) => text.includes("titanic.request")) ?? "";
      const text = program.replace("tcp://127.0.0.1:5555", storing.mdp);
      const { code, stdout, stderr } = await run(PYTHON, ["-c", text]);
      assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "HELLO\n", stderr: "" });
    },
  });
  await t.step(
    "a request of Titanic waits for a worker of Majordomo that is yet to come",
    async () => {
      await using peer = new Peer(storing.mdp);
      const [status, uuid = ""] = await ask(peer, "titanic.request", "shout", "hello");
      assert.equal(status, "200");
      assert.deepEqual(await ask(peer, "titanic.reply", uuid), ["300"]);
      await using worker = new Peer(storing.mdp);
      worker.send("", "MDPW01", "\x01", "shout");
      const [, , command, client = "", , ...body] = await worker.receive();
      assert.deepEqual([command, ...body].map((frame) => text(frame ?? bytes(""))), [
        "\x02",
        "hello",
      ]);
      worker.send("", "MDPW01", "\x03", client, "", "HELLO");
      const reply = await until("it is done", async () => {
        const answer = await ask(peer, "titanic.reply", uuid);
        return answer[0] === "300" ? undefined : answer;
      });
      assert.deepEqual(reply, ["200", "HELLO"]);
    },
  );
});

Deno.test("jobs of Titanic outlive their client and their server", async () => {
  using folder = new Folder();
  const store = `sqlite:${folder.path}/jobs.db`;
  const uuids: string[] = [];
  {
    await using storing = new Storing({ store });
    await storing.server.ready;
    await using peer = new Peer(storing.mdp);
    for (const text of ["one", "two"]) {
      uuids.push((await ask(peer, "titanic.request", "echo", text))[1] ?? "");
    }
  }
  await using storing = new Storing({ store });
  await storing.server.ready;
  await using peer = new Peer(storing.mdp);
  for (const [index, uuid] of uuids.entries()) {
    const reply = await until("it is done", async () => {
      const answer = await ask(peer, "titanic.reply", uuid);
      return answer[0] === "300" ? undefined : answer;
    });
    assert.deepEqual(reply, ["200", index === 0 ? "ONE" : "TWO"]);
  }
});

Deno.test("a job of Titanic is its user's alone", async () => {
  using ring = new KeyRing("alice", "bob");
  await using storing = new Storing({
    curveSecretKey: ring.secretKeyFile,
    curveClients: ring.list,
  });
  await storing.server.ready;
  await using alice = ring.peer(storing.mdp, "alice");
  await using bob = ring.peer(storing.mdp, "bob");
  const [, uuid = ""] = await ask(alice, "titanic.request", "echo", "who");
  const reply = await until("it is done", async () => {
    const answer = await ask(alice, "titanic.reply", uuid);
    return answer[0] === "300" ? undefined : answer;
  });
  assert.deepEqual(reply, ["200", "alice"]);
  assert.equal((await ask(bob, "titanic.reply", uuid))[0], "400");
  // As of what is not known; and the job is there still.
  assert.deepEqual(await ask(bob, "titanic.close", uuid), ["200"]);
  assert.deepEqual(await ask(alice, "titanic.reply", uuid), reply);
});
