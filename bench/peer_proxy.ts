/**
 * The yardstick: zmq_proxy and REP workers in C, over the same kinds of endpoints as the server.
 *
 * @module
 */

import { path } from "../tests/rig/checkout.ts";
import { Folder } from "../tests/rig/folder.ts";
import { Daemon, isThere, output } from "./daemon.ts";
import type { Peer, Running } from "./peer.ts";
import { askZmq } from "./peer_prefork.ts";

const SOURCES = ["proxy", "rep"];

async function compile(folder: string): Promise<void> {
  for (const name of SOURCES) {
    const args = ["-O2", "-Wall", "-o", `${folder}/${name}`, path(`bench/${name}.c`), "-lzmq"];
    await output("gcc", args);
  }
}

async function start(workers: number): Promise<Running> {
  const daemons = new AsyncDisposableStack();
  const folder = daemons.use(new Folder()).path;
  const backend = `ipc://${folder}/backend`;
  try {
    await compile(folder);
    const args = ["tcp://127.0.0.1:*", backend];
    const proxy = daemons.use(new Daemon({ program: `${folder}/proxy`, args, reads: "stdout" }));
    const endpoint = await proxy.line("where it listens", (line) => line.replace(/\0/g, ""));
    const work = { program: `${folder}/rep`, args: [backend], reads: "nothing" } as const;
    const reps = Array.from({ length: workers }, () => daemons.use(new Daemon(work)));
    return {
      pids: [proxy, ...reps].map(({ pid }) => pid),
      load: (shape, span) => askZmq(endpoint, shape, span),
      [Symbol.asyncDispose]: () => daemons.disposeAsync(),
    };
  } catch (error) {
    await daemons.disposeAsync();
    throw error;
  }
}

async function missing(): Promise<string | undefined> {
  if (!await isThere("gcc", "--version")) return "there is no gcc";
  const header = await isThere("/bin/sh", "-c", "echo '#include <zmq.h>' | gcc -E - >/dev/null");
  return header ? undefined : "there is no zmq.h (Debian: libzmq3-dev)";
}

/** What loses nothing in comparison: C, no balance, no redelivery, no limits. */
export const proxy: Peer = {
  name: "zmq_proxy",
  description: "libzmq's zmq_proxy and REP workers in C: no balancing, no redelivery, no limits",
  missing,
  start,
};
