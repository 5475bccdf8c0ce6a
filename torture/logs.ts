/**
 * Scenarios about a log that can't be written.
 *
 * @module
 */

import { type Figures, startLoad } from "../bench/load.ts";
import { path } from "../tests/rig/checkout.ts";
import { Folder } from "../tests/rig/folder.ts";
import { Peer } from "../tests/rig/peer.ts";
import { childrenOf, trySignal } from "../tests/rig/processes.ts";
import { ENVIRONMENT } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { describe, isFlawless } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const REQUESTS = 20_000;
const WORKERS = 2;
/** Time between two signals that make the server write to its log, ms. */
const INTERVAL = 50;

/** Each request makes a line. */
const CHATTY = `export default (body, { log }) => {
  log.info("a line of the handler's own");
  return body;
};`;

/** What came of a server that can't write its log. */
interface Silence {
  how: string;
  figures: Figures;
  /** Whether the main process and its workers lived to the end, and that was in order. */
  lived: boolean;
}

async function silenced(scale: Scale): Promise<Outcome> {
  using disk = new FullDisk();
  const requests = scale.of(REQUESTS);
  const silences = [
    await serveInto(disk.what, ["--log-file", disk.file], requests, () => disk.fill()),
    await serveInto("stderr: a pipe without a reader", [], requests, (stderr) => stderr.cancel()),
    await serveInto("no stderr", [], requests, (stderr) => stderr.cancel(), "2>&-"),
  ];
  return {
    reached: silences.every(({ figures, lived }) => lived && isFlawless(figures)),
    measured: silences
      .map(({ how, figures, lived }) => `${how}: ${describe(figures)}, ${lived ? "no" : "an"} exit`)
      .join("; "),
  };
}

/** Loads a server whose log can't be written from the moment of `silence` on. */
async function serveInto(
  how: string,
  args: string[],
  requests: number,
  silence: (stderr: ReadableStream<Uint8Array<ArrayBuffer>>) => void | Promise<void>,
  redirection = "",
): Promise<Silence> {
  using folder = new Folder();
  const endpoint = `ipc://${folder.path}/frontend`;
  const handler = folder.write("handler.ts", CHATTY);
  const own = ["--workers", String(WORKERS), "--log-level", "debug", "--frontend", endpoint];
  const command = [Deno.execPath(), "run", "-A", path("mod.ts"), handler, ...own, ...args];
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", `exec "$0" "$@" ${redirection}`, ...command],
    env: ENVIRONMENT,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    await using peer = new Peer(endpoint);
    await peer.ask("ready?");
    await silence(child.stderr);
    await until("the pool is full", () => childrenOf(child.pid).length === WORKERS);
    const before = childrenOf(child.pid);
    const figures = await loadAndStir(endpoint, child.pid, requests);
    const after = childrenOf(child.pid);
    const stayed = before.join() === after.join();
    const signalled = trySignal(child.pid, "SIGTERM");
    const { code } = await child.status;
    return { how, figures, lived: stayed && signalled && code === 0 };
  } finally {
    trySignal(child.pid, "SIGKILL");
    await child.status;
  }
}

/** Has the server write its state all the time that the load takes. */
async function loadAndStir(endpoint: string, pid: number, requests: number): Promise<Figures> {
  const shape = { clients: 4, window: 4, size: 64, correlate: true };
  await using load = startLoad({ endpoint, ...shape, requests });
  let over = false;
  const figures = load.figures.finally(() => over = true);
  while (!over) {
    trySignal(pid, "SIGUSR2");
    await pause(INTERVAL);
  }
  return await figures;
}

/** A file on a disk of its own that can be full; without the right to mount one, /dev/full. */
class FullDisk {
  readonly #folder = new Folder();
  readonly #mounted = run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", this.#folder.path);

  get what(): string {
    return this.#mounted ? "a full disk" : "/dev/full";
  }

  get file(): string {
    return this.#mounted ? `${this.#folder.path}/log` : "/dev/full";
  }

  fill(): void {
    if (!this.#mounted) return;
    try {
      Deno.writeFileSync(`${this.#folder.path}/rest`, new Uint8Array(1 << 20));
    } catch {
      // Now it is full.
    }
  }

  [Symbol.dispose](): void {
    if (this.#mounted) run("umount", this.#folder.path);
    this.#folder[Symbol.dispose]();
  }
}

function run(command: string, ...args: string[]): boolean {
  try {
    return new Deno.Command(command, { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

/** Logs. */
export const scenarios: Scenario[] = [{
  id: "R16",
  title: "a log on a full disk, a stderr without a reader, and no stderr",
  figure: "0 failed requests, 0 exits",
  run: silenced,
}];
