/**
 * A machine of the test's own: a network namespace at the other end of a cable. It lives as long as one process, so
 * nothing of it is left when that ends. Needs root and Linux.
 */

import { run } from "./commands.ts";
import { until } from "./wait.ts";

/** Whether such a machine can be made here. */
export function canMakeHosts(): boolean {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  try {
    const made = new Deno.Command("unshare", {
      args: ["--net", "ip", "link", "add", "try", "type", "veth", "peer", "name", "other"],
      stderr: "null",
    }).outputSync();
    return made.success &&
      new Deno.Command("nsenter", { args: ["--version"] }).outputSync().success;
  } catch {
    return false;
  }
}

/** A machine at the other end of a cable. */
export class RemoteHost {
  static #made = 0;
  readonly #holder: Deno.ChildProcess;
  readonly #cable: string;
  readonly #net: string;
  /** This machine's address at its end of the cable. */
  readonly here: string;

  private constructor() {
    const number = RemoteHost.#made++;
    this.#cable = `zmqj${Deno.pid}x${number}`.slice(0, 15);
    this.#net = `10.214.${(Deno.pid + number) % 250}`;
    this.here = `${this.#net}.1`;
    this.#holder = new Deno.Command("unshare", {
      args: ["--net", "sleep", "3600"],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  /** Makes one, with its cable plugged in. */
  static async make(): Promise<RemoteHost> {
    const host = new RemoteHost();
    const own = await Deno.readLink("/proc/self/ns/net");
    await until("it has a network of its own", async () => {
      const theirs = await Deno.readLink(`/proc/${host.#holder.pid}/ns/net`).catch(() => own);
      return theirs !== own;
    });
    const { pid } = host.#holder;
    await sh(
      "ip",
      "link",
      "add",
      host.#cable,
      "type",
      "veth",
      "peer",
      "name",
      "eth0",
      "netns",
      pid,
    );
    await sh("ip", "address", "add", `${host.here}/24`, "dev", host.#cable);
    await sh("ip", "link", "set", host.#cable, "up");
    await host.sh("ip", "address", "add", `${host.#net}.2/24`, "dev", "eth0");
    await host.sh("ip", "link", "set", "eth0", "up");
    await host.sh("ip", "link", "set", "lo", "up");
    return host;
  }

  /** What runs a program there: its own arguments come after these. */
  get prefix(): string[] {
    return ["nsenter", `--net=/proc/${this.#holder.pid}/ns/net`];
  }

  /** Runs a command there, to its end. */
  sh(...command: string[]): Promise<void> {
    return sh(...this.prefix, ...command);
  }

  /** Its link goes down, without a word to anybody, or comes back. */
  link(state: "up" | "down"): Promise<void> {
    return sh("ip", "link", "set", this.#cable, state);
  }

  /** From now on so many of all packets are lost, 0 to 1, in both directions; 0: none. */
  async lose(share: number): Promise<void> {
    await this.sh("iptables", "-F");
    if (share === 0) return;
    for (const chain of ["INPUT", "OUTPUT"]) {
      const rule = ["-m", "statistic", "--mode", "random", "--probability", String(share)];
      await this.sh("iptables", "-A", chain, ...rule, "-j", "DROP");
    }
  }

  /** What it sends goes no quicker than `rate`, as tc(8) has it; false: the kernel can't do that. */
  async slow(rate: string): Promise<boolean> {
    const rule = ["rate", rate, "burst", "10kb", "latency", "400ms"];
    return await this.sh("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", ...rule)
      .then(() => true, () => false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await sh("ip", "link", "delete", this.#cable).catch(() => {});
    this.#holder.kill("SIGKILL");
    await this.#holder.status;
  }
}

async function sh(...command: (string | number)[]): Promise<void> {
  const [program = "", ...args] = command.map(String);
  const { code, stderr } = await run(program, args);
  if (code !== 0) throw new Error(`${command.join(" ")}: ${stderr}`);
}
