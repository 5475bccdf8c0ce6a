/**
 * Runs a module of this folder in namespaces of its own: what it mounts, and the processes and networks that it makes,
 * end with it, whatever happens. Loop devices that it mounts are detached then, too.
 *
 * @module
 */

import { run } from "../tests/rig/commands.ts";
import { path } from "../tests/rig/checkout.ts";
import { type Outcome, type Scale, skipped } from "./scenario.ts";

/** What a module may want to have of its own besides mounts and processes. */
export interface Wants {
  network?: boolean;
  /** Whether packets are lost there at random. */
  loss?: boolean;
  /** Whether it mounts a file as a disk. */
  loop?: boolean;
}

const UNSHARE = ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

/** What is tried inside, in a shell: it must all be possible. */
const TRIALS = {
  mounts: "mount -t tmpfs tmpfs /mnt",
  network: "ip link add p0 type bridge && ip link add p1 type veth peer name p2 && iptables -S",
  loss: "iptables -A INPUT -m statistic --mode random --probability 0.2 -j DROP",
  loop: "losetup --find && mkfs.ext4 -V",
};

/** Why namespaces can't be had here; undefined: they can. */
export async function whyNoNamespace({ network = false, loss = false, loop = false }: Wants) {
  if (Deno.uid() !== 0) return "this needs root";
  const own = network ? ["--net"] : [];
  const trials = [
    TRIALS.mounts,
    ...(network ? [TRIALS.network] : []),
    ...(loss ? [TRIALS.loss] : []),
    ...(loop ? [TRIALS.loop] : []),
  ];
  const shell = ["sh", "-c", trials.join(" && ")];
  const { code, stderr } = await tryTo("unshare", [...UNSHARE, ...own, ...shell]);
  return code === 0
    ? undefined
    : `namespaces, or what is needed inside, can't be had: ${stderr.trim()}`;
}

async function tryTo(program: string, args: string[]) {
  try {
    return await run(program, args);
  } catch (error) {
    return { code: -1, stderr: String(error) };
  }
}

/** Runs `module` inside; it is given the scale, and prints the outcome as its last line. */
export async function runInside(module: string, scale: Scale, wants: Wants): Promise<Outcome> {
  const why = await whyNoNamespace(wants);
  if (why !== undefined) return skipped(why);
  const deno = [Deno.execPath(), "run", "-A", "--no-check", path(`torture/${module}`)];
  const own = wants.network ? ["--net"] : [];
  // The shell takes in the processes whose parents were killed.
  const shell = ["sh", "-c", '"$@"; exit $?', "sh"];
  const child = new Deno.Command("unshare", {
    args: [...UNSHARE, ...own, ...shell, ...deno, scale.full ? "full" : "small"],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  });
  const { code, stdout } = await child.output();
  const last = new TextDecoder().decode(stdout).trim().split("\n").at(-1) ?? "";
  if (code !== 0) throw new Error(`${module} has failed with ${code}: ${last}`);
  return JSON.parse(last);
}

/** What a module that runs inside does: goes through its scenario, and prints the outcome. */
export async function report(through: (isFull: boolean) => Promise<Outcome>): Promise<void> {
  console.log(JSON.stringify(await through(Deno.args[0] === "full")));
}

/** Runs a program that must succeed. */
export async function must(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, args);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} failed: ${stderr.trim()}`);
  return stdout;
}
