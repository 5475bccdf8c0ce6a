/**
 * Hosts that vanish: a network namespace whose cable is pulled, so that nothing says that its connections
 * have ended. Needs root and `ip`.
 */

import { strict as assert } from "node:assert";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until, within } from "../rig/wait.ts";

const CLIENTS = 5;
const CONFIG = `--config=${path("deno.json")}`;

function canMakeNamespaces(): boolean {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  const name = `zmq-try-${Deno.pid}`;
  try {
    const ip = (...args: string[]) => new Deno.Command("ip", { args }).outputSync().success;
    return ip("netns", "add", name) && ip("netns", "delete", name);
  } catch {
    return false;
  }
}

/** A host at the other end of a cable. */
class Host {
  readonly #name = `zmq-test-${Deno.pid}`;
  readonly #cable = `zmqt${Deno.pid}`;
  readonly #net = `10.213.${Deno.pid % 250}`;
  /** This machine's address at its end of the cable. */
  readonly here = `${this.#net}.1`;

  static async make(): Promise<Host> {
    const host = new Host();
    await ip("netns", "add", host.#name);
    await host.plug();
    return host;
  }

  async plug(): Promise<void> {
    const [name, cable] = [this.#name, this.#cable];
    await ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name);
    await ip("address", "add", `${this.here}/24`, "dev", cable);
    await ip("link", "set", cable, "up");
    await ip("-n", name, "address", "add", `${this.#net}.2/24`, "dev", "eth0");
    await ip("-n", name, "link", "set", "eth0", "up");
  }

  async unplug(): Promise<void> {
    await ip("link", "delete", this.#cable);
  }

  /** Runs a module there. */
  spawn(module: string, ...args: string[]): Deno.ChildProcess {
    return new Deno.Command("ip", {
      args: ["netns", "exec", this.#name, Deno.execPath(), "run", "-A", CONFIG, module, ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.unplug().catch(() => {});
    await ip("netns", "delete", this.#name);
  }
}

async function ip(...args: string[]): Promise<void> {
  const { code, stderr } = await run("ip", args);
  if (code !== 0) throw new Error(`ip ${args.join(" ")}: ${stderr}`);
}

/** Each asks once, says what it heard, and then stays until stdin ends. */
const CLIENT = `
import { Peer } from ${JSON.stringify(new URL(path("tests/rig/peer.ts"), "file:").href)};
const [endpoint, count] = Deno.args;
const peers = Array.from({ length: Number(count) }, (_, index) =>
  new Peer(endpoint, { identity: "client " + index }));
const answers = await Promise.all(peers.map((peer, index) => peer.ask(String(index))));
console.log(answers.join());
await Deno.stdin.read(new Uint8Array(1));
Deno.exit();
`;

async function firstLine({ stdout }: Deno.ChildProcess): Promise<string> {
  const reader = stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("\n")) {
    const { value, done } = await within("it says something", reader.read());
    if (done) break;
    text += value;
  }
  await reader.cancel();
  return text.trim();
}

async function end(child: Deno.ChildProcess): Promise<void> {
  await child.stdin.close().catch(() => {});
  await within("it has ended", child.status);
}

Deno.test(
  "the server serves clients whose host vanished when they come back, and forgets the connections that ended unsaid",
  { ignore: !canMakeNamespaces() },
  async () => {
    using folder = new Folder();
    const module = folder.write("clients.ts", CLIENT);
    await using host = await Host.make();
    const args = ["--frontend", `tcp://${host.here}:0`, "--keep-alive", "1s"];
    await using server = await ServerProcess.start({
      args: [...args, "--max-connections", String(2 * CLIENTS)],
    });
    const connections = async () => (await server.state()).connections;
    const children: Deno.ChildProcess[] = [];
    const ask = async () => {
      const child = host.spawn(module, server.endpoint, String(CLIENTS));
      children.push(child);
      assert.equal(await firstLine(child), "0,1,2,3,4");
    };
    try {
      await ask();
      assert.equal(await connections(), CLIENTS);
      await host.unplug();
      await host.plug();
      // The same identities, while the server may still hold the connections of before.
      await ask();
      await until("those of before are found out", async () => (await connections()) === CLIENTS);
      await host.unplug();
      await until("all are found out", async () => (await connections()) === 0);
    } finally {
      for (const child of children) await end(child);
    }
  },
);
