/** The server under a service manager: what it reports, and the sockets that it is passed. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { path } from "../rig/checkout.ts";
import { runServer } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { NotifyListener } from "../rig/notify_listener.ts";
import type { Feature } from "../rig/permissions.ts";
import { endNow } from "../rig/processes.ts";
import { ENVIRONMENT, ServerProcess } from "../rig/server_process.ts";
import { TRANSPORTS } from "../rig/transports.ts";
import { LIMIT, until, within } from "../rig/wait.ts";

const linux = Deno.build.os === "linux";
const PYTHON = "/usr/bin/python3";
/** Restarts under load, and how clients reach the server: less where there is little time. */
const FULL = Deno.env.get("TEST_FOREIGN") === "all";
const RESTARTS = FULL ? 20 : 2;
const WAYS = FULL ? TRANSPORTS : TRANSPORTS.filter(({ name }) => name === "native");
const ALL = ["-A"];

const SLOW = `export default async () => {
  await new Promise((resolve) => setTimeout(resolve, 1500));
  return "";
};`;

for (const kind of ["a path", "an abstract name"]) {
  Deno.test({
    name: `the server reports to NOTIFY_SOCKET, ${kind}, that it is ready, reloads and stops`,
    ignore: !linux,
    async fn() {
      using folder = new Folder();
      const address = kind === "a path" ? `${folder.path}/notify` : `@${folder.path}`;
      using manager = new NotifyListener(address);
      const env = { NOTIFY_SOCKET: address, WATCHDOG_USEC: "400000" };
      const args = ["--workers", "2"];
      const features: Feature[] = [["NOTIFY_SOCKET"]];
      await using server = await ServerProcess.start({
        features,
        env,
        args,
        handler: SLOW,
      });
      const ready = await manager.message("READY=1");
      assert.equal(manager.heard.filter((text) => text === "READY=1").length, 1);
      await server.line("worker ready", 2);
      await manager.message("STATUS=2 workers ready, 0 jobs running, 0 waiting", ready);
      await manager.message("WATCHDOG=1", await manager.message("WATCHDOG=1"));
      server.signal("SIGHUP");
      const reloading = await manager.message(/^RELOADING=1\nMONOTONIC_USEC=\d{6,}$/, ready);
      const again = await manager.message("READY=1", reloading);
      await server.line("reloaded");
      await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
      const reply = client.request("slow");
      await manager.message(/^STATUS=2 workers ready, 1 job running/, again);
      server.signal("SIGTERM");
      const stopping = await manager.message("STOPPING=1", again);
      await manager.message(/^STATUS=stopping, .*\nEXTEND_TIMEOUT_USEC=\d+$/, stopping);
      await reply;
      assert.equal((await server.ended()).code, 0);
    },
  });
}

Deno.test({
  name: "the server reports to NOTIFY_SOCKET why it can't start",
  ignore: !linux,
  async fn() {
    using folder = new Folder();
    using manager = new NotifyListener(`${folder.path}/notify`);
    const taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const frontend = `tcp://127.0.0.1:${taken.addr.port}`;
    const env = { NOTIFY_SOCKET: manager.address };
    const { code } = await runServer(["--frontend", frontend], { permissions: ALL, env });
    taken.close();
    assert.equal(code, 1);
    await manager.message(/^STATUS=Cannot bind to "tcp:.*Address already in use.*\nERRNO=98$/);
    assert(!manager.heard.includes("READY=1"));
  },
});

Deno.test("the server serves, and says so, when nobody listens at NOTIFY_SOCKET", async () => {
  using folder = new Folder();
  const env = { NOTIFY_SOCKET: `${folder.path}/nobody` };
  await using server = await ServerProcess.start({ permissions: ALL, env });
  const { level, error } = await server.line("the service manager hears nothing");
  assert.equal(level, "warn");
  assert.match(String(error), /^Cannot notify ".*nobody": No such file or directory/);
});

Deno.test("--background is refused under a service manager that watches the process", async () => {
  using folder = new Folder();
  const env = { NOTIFY_SOCKET: "/run/nobody" };
  const files = ["--pid-file", `${folder.path}/pid`, "--log-file", `${folder.path}/log`];
  const { code, stderr } = await runServer(["--background", ...files], { permissions: ALL, env });
  assert.equal(code, 2);
  assert.match(stderr, /^prefork: "--background" .*NOTIFY_SOCKET/);
});

/** A manager that listens for a server and starts it. */
class Activator {
  readonly #child: Deno.ChildProcess;
  readonly #lines: string[] = [];
  readonly #read: Promise<void>;
  readonly #log: Promise<string>;
  #taken = 0;

  constructor(endpoints: readonly string[], args: readonly string[], frontend = "ENDPOINTS") {
    const command = [Deno.execPath(), "run", "-A", path("mod.ts"), "--frontend", frontend];
    this.#child = new Deno.Command(PYTHON, {
      args: [path("tests/rig/activate.py"), endpoints.join(","), ...command, ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
      env: ENVIRONMENT,
    }).spawn();
    this.#read = this.#collect();
    this.#log = new Response(this.#child.stderr).text();
  }

  async #collect(): Promise<void> {
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      this.#lines.push(...text.split("\n").filter((line) => line !== ""));
    }
  }

  /** The next line that it prints. */
  async line(): Promise<string> {
    const line = await until("the manager says something", () => this.#lines[this.#taken] ?? false);
    this.#taken++;
    return line;
  }

  async tell(word: "start" | "stop" | "wait"): Promise<string> {
    const writer = this.#child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(`${word}\n`));
    writer.releaseLock();
    return await this.line();
  }

  /** Waits for its end, and gives what its servers have printed. */
  async end(): Promise<string> {
    await this.#child.stdin.close();
    await within("the manager has ended", this.#child.status);
    await this.#read;
    return await within("its servers have ended", this.#log);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.stdin.close().catch(() => {});
    await endNow(this.#child);
  }
}

for (const { name, args } of WAYS) {
  Deno.test({
    name:
      `over ${name}, a server that is started again with the sockets it is passed refuses nobody`,
    ignore: !linux,
    async fn() {
      using folder = new Folder();
      const file = `${folder.path}/front`;
      await using manager = new Activator(["tcp://127.0.0.1:0", `ipc://${file}`], args);
      const endpoints = (await manager.line()).split(",");
      await manager.tell("start");
      const clients = endpoints.map((endpoint) =>
        new Client({ endpoint, retries: 1000, timeout: 2000 })
      );
      let isOver = false;
      let answered = 0;
      const load = clients.map(async (client) => {
        while (!isOver) {
          const body = crypto.randomUUID();
          assert.equal((await client.request(body)).text(), body);
          answered++;
        }
      });
      const knocks = knock(Number(endpoints[0]?.split(":").at(-1)), () => isOver);
      const serves = async () => {
        const before = answered;
        await until("requests are answered", () => answered > before + 10);
      };
      for (let count = 0; count < RESTARTS; count++) {
        await serves();
        assert.equal(await manager.tell("stop"), "0");
        await manager.tell("start");
      }
      await serves();
      isOver = true;
      await within("all are answered", Promise.all(load));
      assert(await knocks > 0);
      for (const client of clients) await client.close();
      assert.equal(await manager.tell("stop"), "0");
      assert(Deno.statSync(file).isSocket, "its file is the manager's");
    },
  });
}

for (const { name, args } of TRANSPORTS) {
  Deno.test({
    name: `over ${name}, subscribers connect to a socket that the server is passed`,
    ignore: !linux,
    async fn() {
      using folder = new Folder();
      const file = `${folder.path}/events`;
      const given = [...args, "--events", "ENDPOINTS"];
      await using manager = new Activator([`ipc://${file}`], given, "tcp://127.0.0.1:0");
      const events = await manager.line();
      const { ino } = Deno.statSync(file);
      await manager.tell("start");
      await using client = new Client({ events });
      for await (const { topic } of client.subscribe("state")) {
        assert.equal(topic, "state");
        break;
      }
      assert.equal(await manager.tell("stop"), "0");
      assert.equal(Deno.statSync(file).ino, ino, "the file is the manager's");
    },
  });
}

/** Connects again and again, which must never be refused; returns how often that was. */
async function knock(port: number, isOver: () => boolean): Promise<number> {
  for (let count = 0;; count++) {
    if (isOver()) return count;
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    connection.close();
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

Deno.test({
  name: "the server refuses a socket that is passed to it and belongs to no endpoint",
  ignore: !linux,
  async fn() {
    await using manager = new Activator(["tcp://127.0.0.1:0"], [], "tcp://127.0.0.1:1");
    const endpoint = await manager.line();
    await manager.tell("start");
    assert.equal(await manager.tell("wait"), "1");
    const log = await manager.end();
    assert.match(log, new RegExp(`^prefork: The socket at "${endpoint}" that LISTEN_FDS passes`));
  },
});

Deno.test("the server takes no sockets that were passed to another process", async () => {
  const env = { LISTEN_FDS: "1", LISTEN_PID: "1" };
  await using server = await ServerProcess.start({ features: [["LISTEN_FDS"]], env });
  assert.match(server.endpoint, /^tcp:/);
});
