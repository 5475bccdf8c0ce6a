/**
 * What operators ask of a server that runs, and what they change besides its options: its state, its workers, its
 * log. Not here: how they ask (admin/).
 *
 * @module
 */

import { hostedServices } from "../options/hosted.ts";
import type { Level, Settings } from "../options/settings.ts";
import type { ServiceHost } from "../pool/service_host.ts";
import type { Services } from "../pool/services.ts";
import type { JobsLook, Look } from "../ports/messages.ts";
import { serverName } from "../system/control_folder.ts";
import { VERSION } from "../system/version.ts";
import type { Log } from "./log.ts";
import { LogRing } from "./log_ring.ts";
import type {
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
  /** How things were told last in the loop. */
  look(): Look;
  /** The options of now. */
  settings(): Settings;
  /** Where it is in its stop. */
  stop(): "serving" | "draining" | "stopping" | "ended";
  endpoints(): Status["endpoints"];
  /** The endpoints that are bound for one service alone. */
  frontendOf(service: string): readonly string[];
  /** How many requests a service answers, and how quickly; all together if none is named. */
  rates(service?: string): Rates;
}

/** The state of one server, and its workers and its log in the hands of operators. */
export class Steering {
  readonly #parts: SteeredParts;
  readonly #startedAt = Date.now();
  readonly #started = performance.now();
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
    const look = this.#parts.look();
    const endpoints = this.#parts.endpoints();
    const hosts = [...this.#parts.services];
    const workers = hosts.flatMap((host) => host.describe(look, now));
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
    const { queued, queuedBytes, running, counters }: JobsLook = look.services.get(name) ?? look;
    const own = workers.filter(({ service }) => service === name);
    const count = (state: WorkerStatus["state"]) =>
      own.filter((worker) => worker.state === state).length;
    return {
      ...{ name, paused: false, generation, reloading, handler: this.#handlerOf(name) },
      workers: {
        ...{ starting: count("starting"), idle: count("idle"), busy: count("busy") },
        ...{ stopping: count("stopping"), ...bounds },
      },
      queue: { jobs: queued, bytes: queuedBytes, oldestMs: undefined },
      ...{ running, requests: counters.requests, replies: counters.answered },
      ...{ errors: counters.failed, rates: this.#parts.rates(name) },
      frontend: [...this.#parts.frontendOf(name)],
    };
  }

  #handlerOf(service: string): string {
    const hosted = new Map(hostedServices(this.#parts.settings()));
    return hosted.get(service)?.handler ?? "echo";
  }

  // ---- what is changed ----

  /** Has a worker leave, or kills it. */
  dismiss(worker: number, how: "stop" | "kill"): void {
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
