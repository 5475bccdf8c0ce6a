/**
 * BullMQ on a Redis that writes each command to the disk before it answers.
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
import { type Stage, stage } from "./script.ts";

/** Jobs of one worker at a time: with fewer, each waits for its own trips to Redis. */
const CONCURRENCY = 50;

class BullQueue implements JobQueue {
  readonly #port: string;
  readonly #stage: Stage;
  readonly #workers: JobWorkers;
  readonly #daemons: AsyncDisposableStack;

  constructor(port: string, stage: Stage, workers: JobWorkers, daemons: AsyncDisposableStack) {
    this.#port = port;
    this.#stage = stage;
    this.#workers = workers;
    this.#daemons = daemons;
  }

  async submit({ width, size }: JobShape, span: Span): Promise<Figures> {
    const loop = JSON.stringify({ askers: width, size, ...span });
    const { program, args } = this.#stage.command("bullmq_load", this.#port, loop);
    return readFigures(await output(program, args));
  }

  work(): Promise<void> {
    return this.#workers.start(
      this.#stage.command("bullmq_worker", this.#port, String(CONCURRENCY)),
    );
  }

  rest(): Promise<void> {
    return this.#workers.stop();
  }

  async left(): Promise<number> {
    const text = await output("redis-cli", [
      ...["-p", this.#port, "eval"],
      "return redis.call('llen', 'bull:jobs:wait') + redis.call('llen', 'bull:jobs:active')",
      "0",
    ]);
    return Number(text);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#daemons[Symbol.asyncDispose]();
  }
}

async function start(workers: number): Promise<JobQueue> {
  const daemons = new AsyncDisposableStack();
  try {
    const theatre = daemons.use(await stage());
    const folder = daemons.use(new Folder()).path;
    const port = deadEndpoint().split(":").at(-1) ?? "";
    const args = ["--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", ""];
    const durable = ["--appendonly", "yes", "--appendfsync", "always"];
    const server = {
      program: "redis-server",
      args: [...args, ...durable],
      reads: "stdout",
    } as const;
    const redis = daemons.use(new Daemon(server));
    await redis.line("that it is ready", (line) => line.includes("Ready to accept") || undefined);
    return new BullQueue(port, theatre, daemons.use(new JobWorkers(workers)), daemons);
  } catch (error) {
    await daemons.disposeAsync();
    throw error;
  }
}

/** What most users of Node take. */
export const bullmq: JobPeer = {
  name: "BullMQ",
  description: "BullMQ on redis-server with `appendfsync always`, under Node where it is there",
  part: 0.1,
  missing: async () =>
    await isThere("redis-server", "--version") ? undefined : "there is no redis-server",
  start,
};
