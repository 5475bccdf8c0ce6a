/**
 * Machines of a scenario's own: networks with one address each, on one bridge, in the namespaces that the scenario has
 * for itself. They end with it.
 *
 * @module
 */

import { must } from "./namespace.ts";

const NETWORK = "10.77.0";
const BRIDGE = "prefork0";

/** The address of this machine on the bridge. */
export const HERE = `${NETWORK}.254`;

/** Makes the bridge, ahead of the first island. */
export async function makeBridge(): Promise<void> {
  await must("mount", "-t", "tmpfs", "tmpfs", "/run");
  Deno.mkdirSync("/run/netns");
  await must("ip", "link", "set", "lo", "up");
  await must("ip", "link", "add", BRIDGE, "type", "bridge");
  await must("ip", "address", "add", `${HERE}/24`, "dev", BRIDGE);
  await must("ip", "link", "set", BRIDGE, "up");
}

/** A network of its own: one address on the bridge. */
export class Island {
  readonly address: string;
  readonly #name: string;

  private constructor(name: string, host: number) {
    this.#name = name;
    this.address = `${NETWORK}.${host}`;
  }

  /** Makes one whose address ends with `host`. */
  static async make(name: string, host: number): Promise<Island> {
    const island = new Island(name, host);
    const link = island.#cable;
    await must("ip", "netns", "add", name);
    await must("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name);
    await must("ip", "link", "set", link, "master", BRIDGE, "up");
    await island.inside("ip", "address", "add", `${island.address}/24`, "dev", "eth0");
    await island.inside("ip", "link", "set", "eth0", "up");
    await island.inside("ip", "link", "set", "lo", "up");
    return island;
  }

  /** What leads there, at the bridge. */
  get #cable(): string {
    return `to-${this.#name}`;
  }

  /** What runs a program there, under its own process id: its own arguments come after these. */
  get prefix(): string[] {
    return ["ip", "netns", "exec", this.#name];
  }

  /** Runs a program there that must succeed. */
  async inside(program: string, ...args: string[]): Promise<void> {
    const [ip = "", ...before] = this.prefix;
    await must(ip, ...before, program, ...args);
  }

  /** Loses every packet, without a word to either side. */
  async cutOff(): Promise<void> {
    await this.#drop("INPUT", "-i");
    await this.#drop("OUTPUT", "-o");
  }

  /** Loses so many of all packets, 0 to 1, in both directions. */
  async lose(share: number): Promise<void> {
    const some = ["-m", "statistic", "--mode", "random", "--probability", String(share)];
    await this.#drop("INPUT", "-i", some);
    await this.#drop("OUTPUT", "-o", some);
  }

  async #drop(chain: string, way: string, which: readonly string[] = []): Promise<void> {
    await this.inside("iptables", "-I", chain, way, "eth0", ...which, "-j", "DROP");
  }

  /** Loses nothing more. */
  async rejoin(): Promise<void> {
    await this.inside("iptables", "-F");
  }

  /** Its cable is pulled out, or plugged in. */
  async plug(state: "up" | "down"): Promise<void> {
    await must("ip", "link", "set", this.#cable, state);
  }
}
