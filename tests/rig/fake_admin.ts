/**
 * A server's HTTP side without the server: the real files of the page, and an API that says whatever a test wants,
 * of any size. What the page is told and tells is kept.
 */

import { pageFile } from "../../admin/page_files.ts";
import type { ServiceStatus, Status, WorkerStatus } from "../../ops/status.ts";
import type { ClientView, JobView } from "../../ports/inquiry.ts";
import type { JobStatus } from "../../store/messages.ts";
import { jobStatus } from "./stand_in_store.ts";

/** As the server sends it: nothing inline, nothing from elsewhere. */
const POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
const HISTORY = 900;
const COOKIE = "session=open";

/** What a fake server has. */
export interface Size {
  workers: number;
  jobs: number;
  services?: readonly string[];
  errors?: number;
  /** Stored jobs that have failed; left out: nothing was ever stored. */
  dead?: number;
}

/** What the page has asked it to do. */
export interface Order {
  path: string;
  order: Record<string, unknown>;
}

/** A line of the log. */
export interface FakeLine {
  time: string;
  level: string;
  message: string;
  [field: string]: unknown;
}

/** It listens, remembers and says what it is told to say. */
export class FakeAdmin {
  readonly token = "right-token";
  readonly orders: Order[] = [];
  readonly lines: FakeLine[] = [];
  /** What each order is answered; undefined: 200. */
  answer: { status: number; error: string } | undefined;
  status: Status;
  readonly jobs: JobView[];
  readonly clients: ClientView[];
  stored: JobStatus[];
  readonly #size: Size;
  readonly #streams = new Set<ReadableStreamDefaultController<Uint8Array>>();
  #server: Deno.HttpServer<Deno.NetAddr>;
  #beat = 0;

  constructor(size: Size, port = 0) {
    this.#size = size;
    this.status = statusOf(size);
    this.jobs = Array.from({ length: Math.min(size.jobs, 200) }, (_, at) => jobOf(at, this.status));
    this.stored = Array.from({ length: size.dead ?? 0 }, (_, at) => storedOf(at));
    this.clients = Array.from({ length: 24 }, (_, at) => clientOf(at));
    for (const line of linesOf(this.status, size.errors ?? 0)) this.lines.push(line);
    this.#server = this.#listen(port);
  }

  get port(): number {
    return this.#server.addr.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/`;
  }

  /** Lets a second pass: changes what moves, and tells all pages. */
  beat(): void {
    const { status } = this;
    this.#beat++;
    const requests = rateAt(this.#beat, this.#size.workers);
    status.rates = { requests, errors: errorsAt(this.#beat, this.#size), p50Ms: 1.4, p99Ms: 21 };
    for (const service of status.services) {
      service.rates = { ...status.rates, requests: requests / status.services.length };
      service.requests += Math.round(service.rates.requests);
      service.replies = service.requests;
    }
    for (const worker of status.workers) move(worker, this.#beat);
    this.tell();
  }

  /** Tells all pages the status as it is. */
  tell(): void {
    this.status.uptime = Date.now() - this.status.startedAt;
    this.send("status", this.status);
  }

  /** Sends an event to all pages. */
  send(event: string, said: unknown): void {
    const text = `event: ${event}\ndata: ${JSON.stringify(said)}\n\n`;
    const bytes = new TextEncoder().encode(text);
    for (const stream of this.#streams) stream.enqueue(bytes);
  }

  /** Adds a line to the log, and sends it. */
  log(line: Partial<FakeLine> & { message: string }): void {
    const full = { time: new Date().toISOString(), level: "info", ...line };
    this.lines.push(full);
    this.send("log", full);
  }

  /** Ends, as a server that is killed. */
  async stop(): Promise<void> {
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
    await this.#server.shutdown();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #listen(port: number): Deno.HttpServer<Deno.NetAddr> {
    const options = { hostname: "127.0.0.1", port, onListen: () => {} };
    return Deno.serve(options, (request) => this.#serve(request));
  }

  async #serve(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const file = await pageFile(url.pathname);
    if (file !== undefined) {
      const headers = { "content-type": file.type, "content-security-policy": POLICY };
      return new Response(file.text, { headers });
    }
    if (url.pathname === "/login") return await this.#login(request);
    if (url.pathname === "/logout") return redirect("session=; Max-Age=0; Path=/");
    const isOpen = request.headers.get("cookie")?.includes(COOKIE) ?? false;
    if (request.method === "POST") return await this.#take(request, url.pathname, isOpen);
    return this.#give(url, isOpen);
  }

  async #login(request: Request): Promise<Response> {
    const given = (await request.formData()).get("token");
    if (given !== this.token) return refusal(401, "The token is wrong");
    return redirect(`${COOKIE}; HttpOnly; SameSite=Strict; Path=/`);
  }

  async #take(request: Request, path: string, isOpen: boolean): Promise<Response> {
    if (!isOpen) return refusal(401, "This needs the token");
    this.orders.push({ path, order: await request.json() });
    if (this.answer !== undefined) return refusal(this.answer.status, this.answer.error);
    return Response.json({});
  }

  #give({ pathname, searchParams }: URL, isOpen: boolean): Response {
    if (pathname === "/api/status") return Response.json(this.status);
    if (pathname === "/api/history") return Response.json(historyOf(this.#size));
    if (pathname === "/api/events" && (isOpen || searchParams.get("only") === "status")) {
      return this.#stream();
    }
    if (!isOpen) return refusal(401, "This needs the token");
    if (pathname === "/api/log") return Response.json({ lines: this.lines });
    if (pathname === "/api/jobs") {
      const limit = Number(searchParams.get("limit"));
      return Response.json({ total: this.#size.jobs, jobs: this.jobs.slice(0, limit) });
    }
    if (pathname === "/api/clients") {
      return Response.json({ total: this.clients.length, clients: this.clients });
    }
    if (pathname === "/api/stored") return Response.json(this.#list(searchParams));
    if (pathname === "/api/stored/job") return this.#look(searchParams);
    if (pathname === "/api/config") return Response.json({ options: OPTIONS });
    return refusal(404, `There is no ${pathname}`);
  }

  #list(query: URLSearchParams) {
    const [state, service, after] = ["state", "service", "after"].map((name) => query.get(name));
    const found = this.stored.filter((job) =>
      (state === null || job.state === state) && (service === null || job.service === service)
    );
    const start = after === null ? 0 : found.findIndex(({ id }) => id === after) + 1;
    const jobs = found.slice(start, start + Number(query.get("limit")));
    return { now: Date.now(), total: found.length, jobs };
  }

  #look(query: URLSearchParams): Response {
    const job = this.stored.find(({ id }) => id === query.get("id"));
    if (job === undefined) return refusal(404, "There is no such job");
    const text = '{"to":"ann","text":"<b>hello</b>"}';
    const frames = { body: [{ bytes: 34, text }, { bytes: 2, base64: "/wA=" }], result: [] };
    return Response.json(query.has("body") ? { ...job, ...frames } : job);
  }

  #stream(): Response {
    let own: ReadableStreamDefaultController<Uint8Array>;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        own = controller;
        this.#streams.add(controller);
        const text = `event: status\ndata: ${JSON.stringify(this.status)}\n\n`;
        controller.enqueue(new TextEncoder().encode(text));
      },
      cancel: () => void this.#streams.delete(own),
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  }
}

function refusal(status: number, error: string): Response {
  return Response.json({ error }, { status });
}

function redirect(cookie: string): Response {
  return new Response(null, { status: 303, headers: { location: "/", "set-cookie": cookie } });
}

/** A curve that looks like a day in small. */
function rateAt(beat: number, workers: number): number {
  const wave = Math.sin(beat / 70) * 0.3 + Math.sin(beat / 9) * 0.06 + Math.sin(beat * 12.9) * 0.04;
  return Math.round(workers * 190 * (1 + wave));
}

function errorsAt(beat: number, { errors = 0 }: Size): number {
  return errors > 0 && beat % 97 < 9 ? beat % 5 : 0;
}

function historyOf(size: Size) {
  const beats = Array.from({ length: HISTORY }, (_, at) => at - HISTORY);
  return {
    stepMs: 1000,
    until: Date.now(),
    requests: beats.map((beat) => rateAt(beat, size.workers)),
    errors: beats.map((beat) => errorsAt(beat + HISTORY, size)),
    p50Ms: beats.map((beat) => 1.3 + 0.4 * Math.sin(beat / 40) + 0.1 * Math.sin(beat * 7)),
    p99Ms: beats.map((beat) => 20 + 9 * Math.sin(beat / 40) + 6 * Math.sin(beat * 5)),
    queue: beats.map((beat) => Math.max(0, Math.round(40 * Math.sin(beat / 70)))),
    running: beats.map((beat) => Math.round(size.workers * (0.6 + 0.2 * Math.sin(beat / 60)))),
    workers: beats.map(() => size.workers),
  };
}

const STATES = ["busy", "busy", "busy", "idle", "busy", "idle", "busy"] as const;

function storedOf(at: number): JobStatus {
  return jobStatus(at + 1, {
    ...{ service: at % 3 === 0 ? "mail" : "", user: "shop", state: "failed", attempt: 5 },
    ...{ createdAt: Date.now() - 3_600_000 + at * 1000, code: 500, bytes: 36 },
    message: FAILURES[at % 3],
    ...{ startedAt: Date.now() - 60_000, endedAt: Date.now() - 59_000 },
  });
}

function storeOf(dead: number, services: readonly string[]): Status["stored"] {
  return {
    ...{ store: "sqlite:/var/lib/prefork/jobs.db", trouble: undefined, bytes: 4_300_000 },
    services: [...services, "mail"].map((name, at) => ({
      ...{ name, paused: false, oldestMs: 61_000, submitted: 9120, retried: 41 },
      states: {
        ...{ scheduled: 3, waiting: 12, running: 2, done: 8_103, cancelled: 1, expired: 0 },
        failed: at === 0 ? dead : 0,
      },
      ended: { done: 8_103, failed: 4, cancelled: 1, expired: 0 },
      rates: { submitted: 12.4, ended: 9.6 },
    })),
  };
}

function statusOf({ workers, jobs, dead, services = [""] }: Size): Status {
  const startedAt = Date.now() - 3 * 3_600_000;
  const all = Array.from({ length: workers }, (_, at) => workerOf(at, services));
  return {
    name: "tcp-127.0.0.1-6660",
    version: "0.6.0",
    pid: 4711,
    startedAt,
    uptime: Date.now() - startedAt,
    phase: "serving",
    ready: true,
    reasons: [],
    logLevel: "info",
    endpoints: {
      frontend: ["tcp://127.0.0.1:6660"],
      mdp: [],
      events: [],
      backend: "ipc:///run/prefork/backend",
      control: "/run/user/1000/prefork/tcp-127.0.0.1-6660.sock",
      http: "http://127.0.0.1:9660",
    },
    rates: { requests: rateAt(0, workers), errors: 0, p50Ms: 1.4, p99Ms: 21 },
    services: services.map((name) => serviceOf(name, all, jobs / services.length)),
    workers: all,
    clients: 24,
    connections: 26,
    generation: 3,
    ...dead === undefined ? {} : { stored: storeOf(dead, services) },
  };
}

function serviceOf(name: string, all: readonly WorkerStatus[], jobs: number): ServiceStatus {
  const own = all.filter(({ service }) => service === name);
  const count = (state: string) => own.filter((worker) => worker.state === state).length;
  const waiting = Math.max(0, Math.round(jobs - own.length));
  return {
    name,
    paused: false,
    generation: 3,
    reloading: false,
    handler: `/srv/jobs/${name === "" ? "handler" : name}.ts`,
    workers: {
      ...{ starting: count("starting"), idle: count("idle"), busy: count("busy") },
      ...{ stopping: count("stopping"), min: own.length, max: own.length },
    },
    queue: { jobs: waiting, bytes: waiting * 812, oldestMs: waiting > 0 ? 420 : undefined },
    running: count("busy"),
    requests: 8_123_456,
    replies: 8_123_400,
    errors: 12,
    rates: { requests: 1, errors: 0, p50Ms: 1.4, p99Ms: 21 },
    frontend: [],
  };
}

function workerOf(at: number, services: readonly string[]): WorkerStatus {
  const state = at === 5 ? "starting" : at === 11 ? "stopping" : STATES[at % 7] ?? "idle";
  const isBusy = state === "busy";
  return {
    worker: at + 1,
    pid: 20_000 + at,
    service: services[at % services.length] ?? "",
    state,
    jobs: isBusy ? 1 + at % 3 : 0,
    answered: 4_000 + at * 37,
    ageMs: 3_600_000 + at * 977,
    residentBytes: (58 + at * 13 % 40) * 1024 ** 2,
    cpuMs: 90_000 + at * 211,
    job: isBusy ? 900_000 + at : undefined,
    jobMs: isBusy ? 3 + at * at * 7 % 2_400 : undefined,
    generation: 3,
    restarts: at % 9 === 4 ? 2 : 0,
  };
}

function move(worker: WorkerStatus, beat: number): void {
  if (worker.state !== "busy" && worker.state !== "idle") return;
  worker.answered += 190;
  if (worker.state === "busy") {
    worker.job = 900_000 + beat * 1_000 + worker.worker;
    worker.jobMs = (worker.worker * 37 + beat * 211) % 1_900;
  }
}

function jobOf(at: number, { workers, services }: Status): JobView {
  const worker = workers[at * 3 % Math.max(1, workers.length)];
  return {
    job: 900_000 + at,
    service: worker?.service ?? services[0]?.name ?? "",
    state: "running",
    worker: worker?.worker ?? 1,
    address: `10.0.0.${at % 24 + 1}`,
    identity: `client-${at % 24}`,
    user: at % 3 === 0 ? "billing" : "",
    ageMs: 61_000 - at * 1_100,
    runningMs: 60_000 - at * 1_100,
    attempt: at === 2 ? 2 : 1,
    bytes: 812 + at * 41,
    key: false,
    askers: 1,
    timeLeftMs: at % 2 === 0 ? 30_000 : undefined,
    trace: undefined,
  };
}

function clientOf(at: number): ClientView {
  return {
    address: `10.0.0.${at + 1}`,
    identity: `client-${at}`,
    user: at % 3 === 0 ? "billing" : "",
    live: at * 3 % 17,
    services: [""],
    unreadBytes: at === 4 ? 1_400_000 : 0,
  };
}

const FAILURES = [
  "Cannot resize: the image has no pixels",
  "connect ETIMEDOUT 10.0.4.2:5432",
  "<img src=x onerror=alert(1)> is not a number",
];

function linesOf({ workers }: Status, errors: number): FakeLine[] {
  const start = Date.now() - 600_000;
  const time = (at: number) => new Date(start + at * 7_000).toISOString();
  const ready = workers.slice(0, 40).map(({ worker, pid }, at) => ({
    ...{ time: time(at), level: "info", message: "worker ready", worker, pid },
  }));
  const failed = Array.from({ length: errors }, (_, at) => ({
    ...{ time: time(40 + at), level: "error", message: "request failed", job: 880_000 + at },
    ...{ worker: at % 8 + 1, attempt: 1, code: 500, client: "10.0.0.7" },
    error: FAILURES[at % 7 % 3] ?? "",
    stack: `Error: ${FAILURES[at % 7 % 3]}\n    at resize (file:///srv/jobs/handler.ts:41:11)`,
  }));
  const memory = { time: time(41), level: "warn", message: "worker exited", worker: 3 };
  return [...ready, { ...memory, code: 1, reason: "recycled" }, ...failed];
}

const OPTIONS = [
  { name: "frontend", value: "tcp://127.0.0.1:6660", source: "default" },
  { name: "workers", value: "8", source: "flag --workers" },
  { name: "requestTimeout", value: "30s", source: "file prefork.conf:3" },
];
