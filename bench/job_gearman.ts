/**
 * gearmand with its queue in SQLite, with clients and workers in C.
 *
 * @module
 */

import { deadEndpoint } from "../tests/rig/fake_server.ts";
import { Folder } from "../tests/rig/folder.ts";
import { Daemon, isThere, output } from "./daemon.ts";
import type { JobPeer, JobQueue, JobShape } from "./job_peer.ts";
import { type Figures, readFigures } from "./load.ts";
import type { Span } from "./peer.ts";
import { programFile, whyMissing } from "./programs.ts";
import { argumentsOf } from "./zmq_load.ts";

/** Where Debian has it, which is in no user's PATH. */
const SERVER = "/usr/sbin/gearmand";

class GearmanQueue implements JobQueue {
  readonly #port: string;
  readonly #workers: number;
  readonly #daemons: AsyncDisposableStack;
  #running: AsyncDisposableStack | undefined;

  constructor(port: string, workers: number, daemons: AsyncDisposableStack) {
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
    if (this.#running !== undefined) return;
    const running = this.#running = new AsyncDisposableStack();
    const program = await programFile("gearman_worker");
    const command = { program, args: [this.#port], reads: "stdout" } as const;
    const workers = Array.from(
      { length: this.#workers },
      () => running.use(new Daemon(command)),
    );
    for (const worker of workers) await worker.line("that it is ready", () => true);
  }

  async rest(): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
    this.#running = undefined;
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.rest();
    await this.#daemons[Symbol.asyncDispose]();
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
    return new GearmanQueue(port, workers, daemons);
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
