/**
 * This project's server with its store in a file of SQLite, started as its users do.
 *
 * @module
 */

import { residentMemory } from "../system/proc.ts";
import { path } from "../tests/rig/checkout.ts";
import { Folder } from "../tests/rig/folder.ts";
import { ask } from "../tests/rig/operator.ts";
import { until } from "../tests/rig/wait.ts";
import { output } from "./daemon.ts";
import type { JobPeer, JobQueue, JobShape } from "./job_peer.ts";
import { type Figures, readFigures } from "./load.ts";
import type { Shape, Span } from "./peer.ts";
import { Server } from "./peer_prefork.ts";
import { programFile, whyMissing } from "./programs.ts";
import { argumentsOf } from "./zmq_load.ts";

/** The service whose jobs are measured, and one whose jobs wait. */
export const [QUICK, BACKLOG] = ["quick", "backlog"] as const;

/** A million jobs must have room. */
const BOUNDS = ["--store-jobs", "10000000", "--store-bytes", String(8 * 1024 ** 3)];

/** Counts of a service, as the control socket gives them. */
interface Service {
  name: string;
  states: Record<string, number>;
}

/** A server with a store. */
export class StoreServer implements JobQueue {
  readonly #folder = new Folder();
  readonly #workers: number;
  readonly #control = { path: `${this.#folder.path}/control` };
  readonly #jobs = `ipc://${this.#folder.path}/jobs`;
  readonly #frontend = `ipc://${this.#folder.path}/quick`;
  #server: Server | undefined;
  #isPaused = false;

  constructor(workers: number) {
    this.#workers = workers;
  }

  /** Starts it; `raw`: without waiting for its workers. */
  async start(raw = false): Promise<void> {
    const echo = path("bench/handler_echo.ts");
    this.#server = await Server.start({
      workers: this.#workers,
      handler: "none",
      raw,
      flags: [
        ...["--service", `${QUICK}=${echo}`, "--service", `${BACKLOG}=${echo}`],
        ...["--frontend", `${QUICK}=${this.#frontend}`, "--jobs", this.#jobs],
        ...["--store", `sqlite:${this.#folder.path}/jobs.db`, ...BOUNDS],
        ...["--control", this.#control.path],
      ],
    });
  }

  /** Ends it; what is stored stays. */
  async stop(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }

  async submit(shape: JobShape, span: Span, service: string = QUICK): Promise<Figures> {
    const [, ...args] = argumentsOf({ name: "", socket: "dealer", ...shape }, span);
    const program = await programFile("job_load");
    return readFigures(await output(program, [this.#jobs, service, ...args]));
  }

  /** Plain requests to the service whose jobs are measured. */
  async request(shape: Shape, span: Span): Promise<Figures> {
    if (this.#server === undefined) throw new Error("The server has not been started");
    return await this.#server.load(shape, span, this.#frontend);
  }

  async work(): Promise<void> {
    if (this.#isPaused) await this.resume(QUICK);
    this.#isPaused = false;
  }

  async rest(): Promise<void> {
    if (!this.#isPaused) await this.pause(QUICK);
    this.#isPaused = true;
  }

  /** Lets jobs of a service wait. */
  async pause(service: string): Promise<void> {
    await this.#tell("/api/stored/pause", { service });
  }

  /** Lets them run. */
  async resume(service: string): Promise<void> {
    await this.#tell("/api/stored/resume", { service });
  }

  async left(service: string = QUICK): Promise<number> {
    const { scheduled = 0, waiting = 0, running = 0 } = await this.states(service);
    return scheduled + waiting + running;
  }

  /** How many jobs of a service are in each state. */
  async states(service: string): Promise<Record<string, number>> {
    await this.#hasOperators();
    const { status, json } = await ask(this.#control, "/api/store");
    if (status !== 200) throw new Error(`The store was not told of: ${status}`);
    const services: Service[] = json.services;
    return services.find(({ name }) => name === service)?.states ?? {};
  }

  /** Memory of the main process, MB. */
  get megabytes(): number {
    return (residentMemory(this.#server?.pid ?? 0) ?? NaN) / 1e6;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#folder[Symbol.dispose]();
  }

  /** Its workers may be ready before it listens to operators. */
  async #hasOperators(): Promise<void> {
    const listens = () => (this.#server?.log("listening to operators").length ?? 0) > 0;
    if (!listens()) await until("the server listens to operators", listens);
  }

  async #tell(command: string, given: object): Promise<void> {
    await this.#hasOperators();
    const { status, text } = await ask(this.#control, command, given, {
      "content-type": "application/json",
    });
    if (status >= 300) throw new Error(`${command} was answered ${status}: ${text}`);
  }
}

/** The server with a store, and nothing else but defaults. */
export const preforkQueue: JobPeer = {
  name: "prefork",
  description: "`deno run -A mod.ts --store sqlite:FILE`, submitted to at its `jobs` endpoint",
  part: 1,
  missing: () => whyMissing("job_load"),
  start: async (workers) => {
    const server = new StoreServer(workers);
    await server.start();
    return server;
  },
};
