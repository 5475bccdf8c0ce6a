/** Clients of other runtimes: zeromq.js on Node and pyzmq, each a process, against a real server. */

import { strict as assert } from "node:assert";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { removeZeromq, zeromqForNode } from "../rig/foreign.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

const PYTHON = "/usr/bin/python3";

/** One socket of a foreign client. */
interface ForeignSocket {
  type: "REQ" | "DEALER";
  name: string;
  count: number;
  options?: { routingId?: string; correlate?: boolean; relaxed?: boolean };
}

/** Runs a foreign client with these sockets to its end; gives what it printed. */
type ForeignClient = (endpoint: string, sockets: ForeignSocket[]) => Promise<string>;

function works(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

const withNode = { ignore: !(works("node", "--version") && works("npm", "--version")) };
const withPython = { ignore: !works(PYTHON, "-c", "import zmq") };
const withBoth = { ignore: withNode.ignore || withPython.ignore };

Deno.test.afterAll(removeZeromq);

const node: ForeignClient = async (endpoint, sockets) => {
  const env = { NODE_PATH: await zeromqForNode() };
  const args = [path("tests/rig/node_client.cjs"), JSON.stringify({ endpoint, sockets })];
  const { stdout, stderr } = await run("node", args, { env });
  return stdout.trim() + stderr;
};

const python: ForeignClient = async (endpoint, sockets) => {
  const args = [path("tests/rig/python_client.py"), JSON.stringify({ endpoint, sockets })];
  const { stdout, stderr } = await run(PYTHON, args);
  return stdout.trim() + stderr;
};

const EXCLAIM = 'export default (body) => [body, "!"];';

const correlated = { correlate: true, relaxed: true };

for (
  const [runtime, client, options] of [["zeromq.js", node, withNode], [
    "pyzmq",
    python,
    withPython,
  ]] as const
) {
  Deno.test(
    `the server answers REQ sockets of ${runtime} when they have an identity and when they have none`,
    options,
    async () => {
      await using server = await ServerProcess.start({ handler: EXCLAIM });
      const said = await client(server.endpoint, [
        { type: "REQ", name: "nobody", count: 100 },
        { type: "REQ", name: "named", count: 100, options: { routingId: "named" } },
        { type: "REQ", name: "waiting", count: 100, options: { routingId: "waiting" } },
      ]);
      assert.equal(said, "ok 300");
      assert.equal((await server.state()).malformed, 0);
    },
  );

  Deno.test(
    `the server answers REQ sockets of ${runtime} when they correlate`,
    options,
    async () => {
      await using server = await ServerProcess.start({ handler: EXCLAIM });
      const said = await client(server.endpoint, [
        { type: "REQ", name: "correlated", count: 100, options: correlated },
        {
          type: "REQ",
          name: "named, too",
          count: 100,
          options: { ...correlated, routingId: "named" },
        },
        { type: "REQ", name: "just correlated", count: 100, options: { correlate: true } },
      ]);
      assert.equal(said, "ok 300");
    },
  );

  Deno.test(
    `the server answers DEALER sockets of ${runtime} when they ask all at once`,
    options,
    async () => {
      await using server = await ServerProcess.start({ handler: EXCLAIM });
      const said = await client(server.endpoint, [
        { type: "DEALER", name: "one", count: 3000 },
        { type: "DEALER", name: "two", count: 3000, options: { routingId: "two" } },
      ]);
      assert.equal(said, "ok 6000");
    },
  );

  Deno.test(`the server answers REQ sockets of ${runtime} over ipc`, options, async () => {
    using folder = new Folder();
    const endpoint = `ipc://${folder.path}/front`;
    await using _server = await ServerProcess.start({
      handler: EXCLAIM,
      args: ["--frontend", endpoint],
    });
    assert.equal(await client(endpoint, [{ type: "REQ", name: "local", count: 100 }]), "ok 100");
  });
}

Deno.test(
  "the server loses no answer when foreign clients ask while workers are killed and it is reloaded and resized",
  withBoth,
  async () => {
    const handler = `export default async (body) => {
    await new Promise((resolve) => setTimeout(resolve, 2));
    return [body, "!"];
  };`;
    await zeromqForNode();
    // So many attempts that no job is given up, however unlucky.
    const args = ["--min-workers", "3", "--max-workers", "4", "--max-attempts", "100"];
    await using server = await ServerProcess.start({ handler, args });
    await server.line("worker ready", 3);
    const sockets = (who: string): ForeignSocket[] => [
      { type: "REQ", name: `${who} 1`, count: 100 },
      { type: "REQ", name: `${who} 2`, count: 100, options: { routingId: `${who} 2` } },
      { type: "REQ", name: `${who} 3`, count: 100, options: correlated },
      { type: "DEALER", name: `${who} 4`, count: 300 },
    ];
    const clients = [
      node(server.endpoint, sockets("node a")),
      node(server.endpoint, sockets("node b")),
      python(server.endpoint, sockets("python a")),
      python(server.endpoint, sockets("python b")),
    ];
    let over = false;
    const said = Promise.all(clients).finally(() => over = true);
    const done = await disturb(server, () => over);
    assert.deepEqual(await said, Array(4).fill("ok 600"));
    console.log(`while 2,400 were answered: ${JSON.stringify(done)}`);
    assert.ok(done.kills >= 3 && done.reloads >= 1 && done.resizes >= 2, JSON.stringify(done));
    const { lost, failed, refused, undelivered } = await server.state();
    assert.deepEqual({ lost, failed, refused, undelivered }, {
      lost: 0,
      failed: 0,
      refused: 0,
      undelivered: 0,
    });
  },
);

/** Kills workers, reloads and resizes, one more time after every `STEP` answers. */
async function disturb(server: ServerProcess, over: () => boolean) {
  const STEP = 300;
  const done = { kills: 0, reloads: 0, resizes: 0 };
  const ended = () =>
    server.lines.filter(({ message }) => /^(reloaded|reload failed)/.test(message)).length;
  for (let round = 1; !over(); round++) {
    await until("requests are answered", async () => {
      return over() || Number((await server.state()).answered) >= round * STEP;
    });
    for (const pid of server.workers.slice(0, 1 + round % 3)) {
      try {
        Deno.kill(pid, "SIGKILL");
        done.kills++;
      } catch {
        // It has just left by itself.
      }
    }
    server.signal(round % 2 === 0 ? "SIGTTIN" : "SIGTTOU");
    await server.line("resized", ++done.resizes);
    if (round % 3 !== 0) continue;
    const before = ended();
    server.signal("SIGHUP");
    await until("it is reloaded", () => ended() > before);
    done.reloads++;
  }
  return done;
}
