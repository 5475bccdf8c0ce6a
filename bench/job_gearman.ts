/**
 * gearmand with its queue in SQLite, with clients and workers in C.
 *
 * @module
 */

import { deadEndpoint } from "../tests/rig/fake_server.ts";
import { Folder } from "../tests/rig/folder.ts";
import { Daemon, isThere, output } from "./daemon.ts";
import type { JobPeer, JobQueue, JobShape } from "./job_peer.ts";
import { JobWorkers } from "./job_workers.ts";
import { type Figures, readFigures } from "./load.ts";
import type { Span } from "./peer.ts";
import { programFile, whyMissing } from "./programs.ts";
import { argumentsOf } from "./zmq_load.ts";

/** Where Debian has it, which is in no user's PATH. */
const SERVER = "/usr/sbin/gearmand";

class GearmanQueue implements JobQueue {
  readonly #port: string;
  readonly #workers: JobWorkers;
  readonly #daemons: AsyncDisposableStack;

  constructor(port: string, workers: JobWorkers, daemons: AsyncDisposableStack) {
    this.#port = port;
    this.#workers = workers;
    this.#daemons = daemons;
  }

  async submit({ width, size }: JobShape, span: Span): Promise<Figures> {
    const shape = { name: "", socket: "req", width, size } as const;
    const [, ...args] = argumentsOf(shape, span);
    const program = await programFile("gearman_load");
    return readFigures(await output(program, [this.#port, "background", ...args]));
  }

  async work(): Promise<void> {
    await this.#workers.start({ program: await programFile("gearman_worker"), args: [this.#port] });
  }

  rest(): Promise<void> {
    return this.#workers.stop();
  }

  /** A line of its text protocol: the function, jobs in all, those that run, workers. */
  async left(): Promise<number> {
    using conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(this.#port) });
    await conn.write(new TextEncoder().encode("status\n"));
    const bytes = new Uint8Array(4096);
    let text = "";
    while (!/^\.\n/m.test(text)) {
      const read = await conn.read(bytes);
      if (read === null) break;
      text += new TextDecoder().decode(bytes.subarray(0, read));
    }
    return Number(/^echo\t(\d+)/m.exec(text)?.[1] ?? 0);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#daemons[Symbol.asyncDispose]();
  }
}

async function start(workers: number): Promise<JobQueue> {
  const daemons = new AsyncDisposableStack();
  try {
    const folder = daemons.use(new Folder()).path;
    const port = deadEndpoint().split(":").at(-1) ?? "";
    const args = ["--listen=127.0.0.1", `--port=${port}`, "--log-file=stderr", "--verbose=INFO"];
    const queue = ["--queue-type=libsqlite3", `--libsqlite3-db=${folder}/queue.db`];
    const command = { program: SERVER, args: [...args, ...queue], reads: "stderr" } as const;
    const server = daemons.use(new Daemon(command));
    await server.line("that it listens", (line) => line.includes("Listening on") || undefined);
    return new GearmanQueue(port, daemons.use(new JobWorkers(workers)), daemons);
  } catch (error) {
    await daemons.disposeAsync();
    throw error;
  }
}

async function missing(): Promise<string | undefined> {
  if (!await isThere(SERVER, "--version")) {
    return "there is no gearmand (Debian: gearman-job-server)";
  }
  return await whyMissing("gearman_load");
}

/** The job server in C, with a queue that outlives it. */
export const gearmanQueue: JobPeer = {
  name: "gearmand",
  description: "gearmand with its queue in SQLite, clients and workers with libgearman in C",
  part: 0.02,
  missing,
  start,
};
