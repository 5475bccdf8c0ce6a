/**
 * What operators ask of a server that runs, and what they change besides its options: its state, its workers, its
 * log. Not here: how they ask (admin/).
 *
 * @module
 */

import { hostedServices } from "../options/hosted.ts";
import type { Joiners } from "../join/joiners.ts";
import type { Level, Settings } from "../options/settings.ts";
import type { ServiceHost } from "../pool/service_host.ts";
import type { Services } from "../pool/services.ts";
import type { JobsLook, Look, LoopCommand } from "../ports/messages.ts";
import type { DataPlane } from "../ports/plane.ts";
import { serverName } from "../system/control_folder.ts";
import { VERSION } from "../system/version.ts";
import type { Log } from "./log.ts";
import { LogRing } from "./log_ring.ts";
import type {
  ClientList,
  JobFilter,
  JobList,
  LogLine,
  LogOptions,
  Rates,
  ServerPhase,
  ServiceStatus,
  Status,
  WorkerStatus,
} from "./status.ts";

/** What is steered. */
export interface SteeredParts {
  readonly log: Log;
  readonly services: Services;
  readonly plane: Pick<DataPlane, "ask" | "look" | "send">;
  /** The options of now. */
  settings(): Settings;
  /** Where it is in its stop. */
  stop(): "serving" | "draining" | "stopping" | "ended";
  endpoints(): Status["endpoints"];
  /** The endpoints that are bound for one service alone. */
  frontendOf(service: string): readonly string[];
  /** How many requests a service answers, and how quickly; all together if none is named. */
  rates(service?: string): Rates;
  /** Workers on other machines; undefined: there can be none. */
  readonly joiners?: Pick<Joiners, "describe" | "dismiss"> | undefined;
}

/** How many requests or clients are listed where nothing else is said. */
const LISTED = 100;

/** The state of one server, and its workers and its log in the hands of operators. */
export class Steering {
  readonly #parts: SteeredParts;
  readonly #startedAt = Date.now();
  readonly #started = performance.now();
  /** The names of services that are paused. */
  readonly #paused = new Set<string>();
  #ring: LogRing | undefined;

  constructor(parts: SteeredParts) {
    this.#parts = parts;
  }

  // ---- what is asked ----

  /** The last lines of the log, which are kept from the first call on. */
  get ring(): LogRing {
    return this.#ring ??= new LogRing(this.#parts.log);
  }

  /** The lines of the log as they come. */
  followLog(options?: LogOptions): AsyncIterable<LogLine> {
    return this.ring.lines(options);
  }

  /** The state with all its parts. */
  status(): Status {
    const { log } = this.#parts;
    const now = performance.now();
    const look = this.#parts.plane.look("told");
    const endpoints = this.#parts.endpoints();
    const hosts = [...this.#parts.services];
    const joined = this.#parts.joiners?.describe(look, now) ?? [];
    const workers = [...hosts.flatMap((host) => host.describe(look, now)), ...joined];
    const services = hosts.map((host) => this.#serviceStatus(host, look, workers));
    const phase = this.#phaseOf(services);
    const reasons = reasonsOf(phase, services);
    const { clients, connections } = look;
    return {
      ...{ name: serverName(endpoints.frontend[0] ?? ""), version: VERSION, pid: Deno.pid },
      ...{ startedAt: this.#startedAt, uptime: Math.round(now - this.#started) },
      ...{ phase, ready: reasons.length === 0, reasons, logLevel: log.level, endpoints },
      ...{ rates: this.#parts.rates(), services, workers, clients, connections },
      generation: Math.max(...hosts.map(({ generation }) => generation)),
    };
  }

  #phaseOf(services: readonly ServiceStatus[]): ServerPhase {
    const stop = this.#parts.stop();
    if (stop !== "serving") return stop === "draining" ? stop : "stopping";
    if (!this.#parts.services.wereReady) return "starting";
    return services.every(({ paused }) => paused) ? "paused" : "serving";
  }

  #serviceStatus(host: ServiceHost, look: Look, workers: readonly WorkerStatus[]): ServiceStatus {
    const { name, generation, reloading, bounds } = host;
    const seen = look.services.get(name);
    const { queued, queuedBytes, running, counters }: JobsLook = seen ?? look;
    const { oldestAt } = seen ?? {};
    const oldestMs = oldestAt === undefined ? undefined : Math.round(performance.now() - oldestAt);
    const own = workers.filter(({ service }) => service === name);
    const count = (state: WorkerStatus["state"]) =>
      own.filter((worker) => worker.state === state).length;
    return {
      ...{
        name,
        paused: this.#paused.has(name),
        generation,
        reloading,
        handler: this.#handlerOf(name),
      },
      workers: {
        ...{ starting: count("starting"), idle: count("idle"), busy: count("busy") },
        ...{ stopping: count("stopping"), ...bounds },
      },
      queue: { jobs: queued, bytes: queuedBytes, oldestMs },
      ...{ running, requests: counters.requests, replies: counters.answered },
      ...{ errors: counters.failed, rates: this.#parts.rates(name) },
      frontend: [...this.#parts.frontendOf(name)],
    };
  }

  #handlerOf(service: string): string {
    const hosted = new Map(hostedServices(this.#parts.settings()));
    return hosted.get(service)?.handler ?? "echo";
  }

  /** Requests in memory. */
  jobs({ limit = LISTED, ...filter }: JobFilter = {}): Promise<JobList> {
    return this.#parts.plane.ask("jobs", { ...filter, limit });
  }

  /** Clients that are connected. */
  clients({ limit = LISTED }: { limit?: number } = {}): Promise<ClientList> {
    return this.#parts.plane.ask("clients", { limit });
  }

  // ---- what is changed ----

  /** Ends a request. */
  async cancelJob(job: number): Promise<void> {
    const { outcome } = await this.#parts.plane.ask("cancelJob", { job });
    if (outcome === "cancelled") return;
    throw new RangeError(`Cannot cancel request ${job}: there is none, or it was answered before`);
  }

  /** Has the requests of a service, or of each, wait; or go on. */
  hold(type: "pause" | "resume", service: string | undefined): void {
    const names = [...this.#parts.services].map(({ name }) => name);
    const meant = service === undefined ? names : names.filter((name) => name === service);
    if (meant.length === 0) {
      throw new RangeError(`Cannot ${type} the service "${service}": there is none of this name`);
    }
    for (const name of meant) {
      if (type === "pause") this.#paused.add(name);
      else this.#paused.delete(name);
      this.#parts.plane.send({ type, service: name } satisfies LoopCommand);
    }
  }

  /** Has a worker leave, or kills it. */
  dismiss(worker: number, how: "stop" | "kill"): void {
    if (this.#parts.joiners?.dismiss(worker, how)) return;
    const host = this.#parts.services.of(worker);
    if (host === undefined) {
      throw new RangeError(`Cannot ${how} worker ${worker}: there is no such worker`);
    }
    host.dismiss(worker, how);
  }

  /** Logs from another level on. */
  setLogLevel(level: Level): void {
    this.#parts.log.setLevel(level);
  }

  /** Keeps no more lines. */
  close(): void {
    this.#ring?.close();
  }
}

/** Why requests are not served now, as sentences without a full stop. */
function reasonsOf(phase: ServerPhase, services: readonly ServiceStatus[]): string[] {
  switch (phase) {
    case "starting":
      return [
        "the server is starting",
        ...services.flatMap(({ name, workers: { idle, busy, min } }) => {
          const ready = idle + busy;
          return ready >= min ? [] : [`${called(name)} has ${ready} of ${min} workers ready`];
        }),
      ];
    case "paused":
      return ["the server is paused"];
    case "draining":
      return ["the server takes no more requests, as it stops"];
    case "stopping":
      return ["the server is stopping"];
    case "serving":
      return services.some(({ workers: { idle, busy } }) => idle + busy > 0)
        ? []
        : ["no worker is ready"];
  }
}

function called(service: string): string {
  return service === "" ? "the server" : `the service "${service}"`;
}
