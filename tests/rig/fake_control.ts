/** The control API of a server that is not there: it answers what a test says. */

import type { ServiceStatus, Status, WorkerStatus } from "../../ops/status.ts";
import { Folder } from "./folder.ts";
import { bytes } from "./text.ts";

/** A service at rest. */
export function serviceStatus(own: Partial<ServiceStatus> = {}): ServiceStatus {
  return {
    name: "",
    paused: false,
    generation: 1,
    reloading: false,
    handler: "echo",
    workers: { starting: 0, idle: 2, busy: 1, stopping: 0, min: 1, max: 8 },
    queue: { jobs: 0, bytes: 0, oldestMs: undefined },
    running: 1,
    requests: 1000,
    replies: 999,
    errors: 0,
    rates: { requests: 120, errors: 0, p50Ms: 0.82, p99Ms: 4.2 },
    frontend: [],
    ...own,
  };
}

/** A worker that has nothing to do. */
export function workerStatus(worker: number, own: Partial<WorkerStatus> = {}): WorkerStatus {
  return {
    worker,
    pid: 4000 + worker,
    service: "",
    state: "idle",
    jobs: 0,
    answered: 333,
    ageMs: 185_000,
    residentBytes: 61 * 1024 * 1024,
    cpuMs: 1500,
    job: undefined,
    jobMs: undefined,
    generation: 1,
    restarts: 0,
    ...own,
  };
}

/** A server that serves. */
export function status(own: Partial<Status> = {}): Status {
  return {
    name: "tcp-127.0.0.1-6660",
    version: "1.2.3",
    pid: 4000,
    startedAt: Date.UTC(2026, 10, 21, 11, 30),
    uptime: 11_520_000,
    phase: "serving",
    ready: true,
    reasons: [],
    logLevel: "info",
    endpoints: {
      frontend: ["tcp://127.0.0.1:6660"],
      mdp: [],
      events: [],
      backend: "ipc:///tmp/backend",
      control: undefined,
      http: undefined,
    },
    rates: { requests: 120, errors: 0, p50Ms: 0.82, p99Ms: 4.2 },
    services: [serviceStatus()],
    workers: [
      workerStatus(1, { state: "busy", jobs: 1, job: 77, jobMs: 1234 }),
      workerStatus(2),
      workerStatus(3),
    ],
    clients: 12,
    connections: 14,
    generation: 1,
    ...own,
  };
}

/** Answers over a unix socket. */
export class FakeControl {
  /** What it was asked: `POST /api/pause {"service":"mail"}`. */
  readonly asked: string[] = [];
  /** Answers by path; a function makes one itself. */
  readonly answers = new Map<string, unknown>();
  readonly #folder: Folder | undefined;
  readonly path: string;
  readonly #server: Deno.HttpServer;
  readonly #streams = new Set<ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>>();

  /** `path`: of its socket; a file of its own if it is left out. */
  constructor(path?: string) {
    this.#folder = path === undefined ? new Folder() : undefined;
    this.path = path ?? `${this.#folder?.path}/fake.sock`;
    const options = { path: this.path, onListen() {} };
    this.#server = Deno.serve(options, (request) => this.#answer(request));
  }

  /** How many follow its events. */
  get followers(): number {
    return this.#streams.size;
  }

  /** Sends an event to all who follow. */
  tell(event: string, value: unknown): void {
    for (const stream of this.#streams) {
      stream.enqueue(bytes(`event: ${event}\ndata: ${JSON.stringify(value)}\n\n`));
    }
  }

  /** Ends the streams of all who follow. */
  cut(): void {
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await this.#server.shutdown();
    this.#folder?.[Symbol.dispose]();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, search } = new URL(request.url);
    const body = await request.text();
    this.asked.push(`${request.method} ${pathname}${search}${body === "" ? "" : ` ${body}`}`);
    if (pathname === "/api/events" && !this.answers.has(pathname)) return this.#follow();
    const answer = this.answers.get(pathname);
    if (answer === undefined) {
      return Response.json({ error: `There is no ${pathname}` }, { status: 404 });
    }
    return answer instanceof Response ? answer.clone() : Response.json(answer);
  }

  #follow(): Response {
    let own: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
    const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => {
        this.#streams.add(own = controller);
        controller.enqueue(bytes(": hello\n\n"));
      },
      cancel: () => {
        if (own !== undefined) this.#streams.delete(own);
      },
    });
    return new Response(stream, { headers: { "content-type": "text/event-stream" } });
  }
}
