/**
 * piscina: a pool of threads in the very process that asks. No broker, no sockets, no other hosts.
 *
 * @module
 */

import { output } from "./daemon.ts";
import { readFigures } from "./load.ts";
import type { Peer, Running } from "./peer.ts";
import { stage } from "./script.ts";

async function start(workers: number): Promise<Running> {
  const theatre = await stage();
  return {
    pids: [],
    load: async ({ width, size }, span) => {
      const loop = JSON.stringify({ askers: width, size, ...span });
      const { program, args } = theatre.command("piscina_load", String(workers), loop);
      return readFigures(await output(program, args));
    },
    [Symbol.asyncDispose]: () => Promise.resolve(theatre[Symbol.dispose]()),
  };
}

/** What a user who needs no server would take. */
export const piscina: Peer = {
  name: "piscina",
  description: "npm:piscina, threads of the asking process, under Node where it is there",
  missing: () => Promise.resolve(undefined),
  start,
};
