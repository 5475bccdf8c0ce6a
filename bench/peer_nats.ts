/**
 * NATS request/reply: a nats-server, and a queue group of as many processes as the server has workers.
 *
 * @module
 */

import { Folder } from "../tests/rig/folder.ts";
import { until } from "../tests/rig/wait.ts";
import { Daemon, isThere, output } from "./daemon.ts";
import { type Figures, readFigures } from "./load.ts";
import { clientsOf, type Peer, type Running, type Shape, type Span } from "./peer.ts";
import { type Stage, stage } from "./script.ts";

/** The server's address, from the file that it writes when it listens. */
export async function address(folder: string): Promise<string> {
  const files = () => [...Deno.readDirSync(folder)].filter(({ name }) => name.endsWith(".ports"));
  return await until("nats-server says where it listens", () => {
    const [file] = files();
    const text = file === undefined ? "" : Deno.readTextFileSync(`${folder}/${file.name}`);
    return text.includes("}") ? String(JSON.parse(text).nats[0]) : undefined;
  });
}

async function start(workers: number): Promise<Running> {
  const daemons = new AsyncDisposableStack();
  try {
    const theatre = daemons.use(await stage());
    const folder = daemons.use(new Folder()).path;
    const args = ["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", folder];
    const server = daemons.use(new Daemon({ program: "nats-server", args, reads: "nothing" }));
    const url = await address(folder);
    const work = { ...theatre.command("nats_worker", url), reads: "stdout" } as const;
    const group = Array.from({ length: workers }, () => daemons.use(new Daemon(work)));
    for (const worker of group) await worker.line("that it is ready", () => true);
    return {
      pids: [server, ...group].map(({ pid }) => pid),
      load: (shape, span) => ask(theatre, url, shape, span),
      [Symbol.asyncDispose]: () => daemons.disposeAsync(),
    };
  } catch (error) {
    await daemons.disposeAsync();
    throw error;
  }
}

/** REQ sockets become connections, a DEALER is one connection. */
async function ask(stage: Stage, url: string, shape: Shape, span: Span): Promise<Figures> {
  const loop = JSON.stringify({ askers: shape.width, size: shape.size, ...span });
  const { program, args } = stage.command("nats_load", url, String(clientsOf(shape)), loop);
  return readFigures(await output(program, args));
}

/** What a user of a message system would take. */
export const nats: Peer = {
  name: "NATS",
  description: "nats-server, a queue group and clients with npm:nats, under Node where it is there",
  missing: async () =>
    await isThere("nats-server", "--version") ? undefined : "there is no nats-server",
  start,
};
