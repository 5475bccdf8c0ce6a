/**
 * gearmand, a job server in C, with clients and workers in C. Between two threads of libgearman and its server a body
 * of 1 MiB stalls: those are left out.
 *
 * @module
 */

import { deadEndpoint } from "../tests/rig/fake_server.ts";
import { Daemon, isThere, output } from "./daemon.ts";
import { type Figures, readFigures } from "./load.ts";
import type { Peer, Running, Shape, Span } from "./peer.ts";
import { programFile, whyMissing } from "./programs.ts";
import { argumentsOf } from "./zmq_load.ts";

/** Where Debian has it, which is in no user's PATH. */
const SERVER = "/usr/sbin/gearmand";
const MAX_BYTES = 512 * 1024;

async function start(workers: number): Promise<Running> {
  const daemons = new AsyncDisposableStack();
  try {
    const port = deadEndpoint().split(":").at(-1) ?? "";
    const args = ["--listen=127.0.0.1", `--port=${port}`, "--log-file=stderr", "--verbose=INFO"];
    const server = daemons.use(new Daemon({ program: SERVER, args, reads: "stderr" }));
    await server.line("that it listens", (line) => line.includes("Listening on") || undefined);
    const work = { program: await programFile("gearman_worker"), args: [port] };
    const group = Array.from(
      { length: workers },
      () => daemons.use(new Daemon({ ...work, reads: "stdout" })),
    );
    for (const worker of group) await worker.line("that it is ready", () => true);
    return {
      pids: [server, ...group].map(({ pid }) => pid),
      load: (shape, span) => ask(port, shape, span),
      [Symbol.asyncDispose]: () => daemons.disposeAsync(),
    };
  } catch (error) {
    await daemons.disposeAsync();
    throw error;
  }
}

async function ask(port: string, shape: Shape, span: Span): Promise<Figures> {
  const program = await programFile("gearman_load");
  return readFigures(await output(program, [port, ...argumentsOf(shape, span)]));
}

async function missing(): Promise<string | undefined> {
  if (!await isThere(SERVER, "--version")) {
    return "there is no gearmand (Debian: gearman-job-server)";
  }
  return await whyMissing("gearman_load");
}

/** What a user of job queues would take. */
export const gearman: Peer = {
  name: "gearmand",
  description: "gearmand, clients and workers with libgearman in C; a window is given as a whole",
  missing,
  takes: ({ size }) => size <= MAX_BYTES,
  start,
};
