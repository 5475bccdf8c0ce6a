/**
 * The yardstick: zmq_proxy and REP workers in C, over the same kinds of endpoints as the server.
 *
 * @module
 */

import { Folder } from "../tests/rig/folder.ts";
import { Daemon } from "./daemon.ts";
import type { Peer, Running } from "./peer.ts";
import { programFile, whyMissing } from "./programs.ts";
import { askZmq } from "./zmq_load.ts";

async function start(workers: number): Promise<Running> {
  const daemons = new AsyncDisposableStack();
  const backend = `ipc://${daemons.use(new Folder()).path}/backend`;
  try {
    const [program, worker] = [await programFile("proxy"), await programFile("rep")];
    const args = ["tcp://127.0.0.1:*", backend];
    const proxy = daemons.use(new Daemon({ program, args, reads: "stdout" }));
    const endpoint = await proxy.line("where it listens", (line) => line.replace(/\0/g, ""));
    const work = { program: worker, args: [backend], reads: "nothing" } as const;
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

/** What loses nothing in comparison: C, no balance, no redelivery, no limits. */
export const proxy: Peer = {
  name: "zmq_proxy",
  description: "libzmq's zmq_proxy and REP workers in C: no balancing, no redelivery, no limits",
  missing: () => whyMissing("proxy"),
  start,
};
