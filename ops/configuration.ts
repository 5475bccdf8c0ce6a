/**
 * The options of a server that runs, and how they change: a reload applies other options, or the same with new
 * handlers; a resize changes the bounds of a pool. Not here: what an option means (options/).
 *
 * @module
 */

import { isHandlerAlone, settingsOf } from "../options/hosted.ts";
import { listOptions, sourcesInCode } from "../options/listing.ts";
import type { ServeOptions, ServiceOptions, Settings } from "../options/settings.ts";
import type { HandlerCode } from "../pool/handler_code.ts";
import type { ServiceHost } from "../pool/service_host.ts";
import type { LoopCommand } from "../ports/messages.ts";
import { messageOf } from "../system/errors.ts";
import { type Events, ofService } from "./events.ts";
import { keepFixed } from "./fixed_options.ts";
import type { Log } from "./log.ts";
import type { ConfigEntry } from "./status.ts";
import { changesOf, madeChangeOf } from "./loop_options.ts";

/** Where options come from. */
export interface OptionSource {
  /** Reads again what an operator has set; undefined: the same options. */
  reread(): ServeOptions | undefined;
  /** Where an operator has set options, by their names; undefined: they were given to `serve()`. */
  sources?(): ReadonlyMap<string, string> | undefined;
  /** Checks options and fills in the defaults. */
  resolve(options: ServeOptions): Settings;
  /** @throws {RangeError} when a pool can't have these bounds. */
  checkSize(settings: Settings): void;
  /** Whether some who reach the sockets may not connect. */
  hasRules(settings: Settings): boolean;
  /** Reads who may connect. */
  readRules(settings: Settings): Extract<LoopCommand, { type: "rules" }>["rules"];
}

/** A service as its options see it. */
export interface Hosted extends Pick<ServiceHost, "name" | "configure"> {
  readonly code: Pick<HandlerCode, "prepare" | "reload">;
}

/** What is changed. */
export interface Configured {
  readonly log: Log;
  readonly events: Events;
  /** All services; none is added or removed while the server runs. */
  readonly services: readonly Hosted[];
  send(command: LoopCommand): void;
  /** The options are applied: what else follows from them is to be read again. */
  applied(settings: Settings): void;
  /** Whether the server was started with rules for clients, and so can apply others. */
  readonly hasRules: boolean;
}

/** The bounds of a pool; what is left out moves if the other needs it. */
export interface Bounds {
  min?: number;
  max?: number;
}

/** Bounds that services were resized to, by their names: to resize one moves no other. */
type Resized = ReadonlyMap<string, Pick<ServeOptions, "minWorkers" | "maxWorkers">>;

/** What a reload is to apply. */
interface Plan {
  readonly options: ServeOptions;
  readonly resized: Resized;
  readonly settings: Settings;
  /** Lines for the log about what stays as it was. */
  readonly remarks: readonly string[];
}

const RULES_LATE =
  "access rules cannot be added to a server that started without any: restart it to apply them";

/** The options of one server. */
export class Configuration {
  readonly #source: OptionSource;
  readonly #parts: Configured;
  /** What was asked for; the settings follow from it, and from what was resized. */
  #options: ServeOptions;
  #settings: Settings;
  #resized: Resized = new Map();

  /** `settings` follow from `options`. */
  constructor(
    options: ServeOptions,
    settings: Settings,
    source: OptionSource,
    parts: Configured,
  ) {
    this.#options = options;
    this.#settings = settings;
    this.#source = source;
    this.#parts = parts;
  }

  /** The settings of now. */
  get settings(): Settings {
    return this.#settings;
  }

  /** The settings of a service. */
  settingsOf(service: string): Settings {
    return settingsIn(this.#settings, service);
  }

  /** Changes the bounds of the pool of a service; undefined: of the one without a name, or of all if all have one. */
  resize(bounds: Bounds, service?: string): void {
    for (const host of this.#meant(service)) this.#resize(host, bounds);
  }

  /** Moves both bounds of the service without a name, or of all if all have one, by a number of workers. */
  growBy(workers: number): void {
    for (const host of this.#meant(undefined)) {
      const { minWorkers, maxWorkers } = this.settingsOf(host.name);
      // The last worker stays; where there is none, there need not be one.
      const [min, max] = [minWorkers, maxWorkers].map((bound) =>
        Math.max(Math.min(1, bound), bound + workers)
      );
      this.#resize(host, { min, max });
    }
  }

  #meant(service: string | undefined): readonly Hosted[] {
    const { services } = this.#parts;
    const found = services.filter(({ name }) => name === (service ?? ""));
    if (found.length > 0 || service === undefined) return found.length > 0 ? found : services;
    throw new RangeError(`Cannot find the service "${service}": there is none of this name`);
  }

  #resize(host: Hosted, { min, max }: Bounds): void {
    const { name } = host;
    const before = this.settingsOf(name);
    const least = max === undefined || max === 0 ? 0 : 1;
    const minWorkers = min ?? Math.max(least, Math.min(before.minWorkers, max ?? Infinity));
    const maxWorkers = max ?? Math.max(before.maxWorkers, min ?? 0);
    this.#source.checkSize({ ...before, minWorkers, maxWorkers });
    const resized = new Map([...this.#resized, [name, { minWorkers, maxWorkers }]]);
    const resolved = this.#resolve(this.#options, resized);
    this.#resized = resized;
    const { minSpareWorkers, maxSpareWorkers } = settingsIn(resolved, name);
    const changed = { minWorkers, maxWorkers, minSpareWorkers, maxSpareWorkers };
    this.#settings = withSettings(this.#settings, name, { ...before, ...changed });
    host.configure(this.settingsOf(name), performance.now());
    this.#parts.events.emit("resized", { min: minWorkers, max: maxWorkers, ...ofService(name) });
  }

  /**
   * Replaces all workers, with some of the options changed.
   *
   * @throws {TypeError | RangeError} when an option is wrong.
   */
  reload(changes: ServeOptions | undefined): Promise<void> {
    const { services } = this.#parts;
    if (changes === undefined) return this.#reload(undefined, services);
    const options = { ...this.#options, ...changes };
    return this.#reload(this.#planned(options, this.#boundsWithout("", changes)), services);
  }

  /**
   * Replaces the workers of one service, with some of its options changed.
   *
   * @throws {TypeError | RangeError} when an option is wrong.
   */
  reloadService(service: string, changes?: Partial<ServiceOptions>): Promise<void> {
    const hosts = this.#meant(service);
    if (changes === undefined) return this.#reload(undefined, hosts);
    const { services = {} } = this.#options;
    const changed = { ...optionsOf(new Map(Object.entries(services)).get(service)), ...changes };
    const options = { ...this.#options, services: { ...services, [service]: changed } };
    return this.#reload(this.#planned(options, this.#boundsWithout(service, changes)), hosts);
  }

  /**
   * Replaces all workers, with the options as an operator has set them by now. What goes wrong is logged where it
   * does: whoever does not wait need not catch.
   */
  reloadAgain(): Promise<void> {
    try {
      const options = this.#source.reread();
      const plan = options && this.#planned(options, new Map());
      const reload = this.#reload(plan, this.#parts.services);
      reload.catch(() => {});
      return reload;
    } catch (error) {
      this.#parts.log.error("not reloaded", { error: messageOf(error) });
      const failure = Promise.reject(error);
      failure.catch(() => {});
      return failure;
    }
  }

  /** Each option in force, with where it was set. */
  list(): ConfigEntry[] {
    const { services, schedules } = this.#options;
    const sources = this.#source.sources?.() ?? sourcesInCode(this.#options, services, schedules);
    return listOptions(this.#settings, sources);
  }

  /** The bounds that services were resized to, but those that are given anew. */
  #boundsWithout(service: string, given: Partial<ServiceOptions>): Resized {
    const bounds = { ...this.#resized.get(service) };
    if (given.minWorkers !== undefined) delete bounds.minWorkers;
    if (given.maxWorkers !== undefined) delete bounds.maxWorkers;
    return new Map([...this.#resized, [service, bounds]]);
  }

  /** What a reload is to apply: all of it is known to be right. */
  #planned(options: ServeOptions, resized: Resized): Plan {
    const remarks: string[] = [];
    const next = this.#resolve(options, resized);
    const settings = keepFixed(this.#settings, next, (remark) => remarks.push(remark));
    return { options, resized, settings, remarks };
  }

  /** `plan` replaces all options that were given before; undefined: they stay. */
  #reload(plan: Plan | undefined, hosts: readonly Hosted[]): Promise<void> {
    const { events, log } = this.#parts;
    const prepared: [host: Hosted, code: ReturnType<HandlerCode["prepare"]>][] = [];
    for (const host of hosts) {
      try {
        const own = settingsIn(plan?.settings ?? this.#settings, host.name);
        prepared.push([host, host.code.prepare(own)]);
      } catch (error) {
        log.error("not reloaded", { error: messageOf(error), ...ofService(host.name) });
        return Promise.reject(error);
      }
    }
    if (plan !== undefined) this.#apply(plan);
    this.#applyRules();
    this.#parts.applied(this.#settings);
    const [only, second] = hosts;
    events.emit("reloading", second === undefined && only ? ofService(only.name) : {});
    return allOf(
      prepared.map(([host, code]) => host.code.reload(code, this.settingsOf(host.name))),
    );
  }

  #apply({ options, resized, settings, remarks }: Plan): void {
    const { events, services, log } = this.#parts;
    this.#options = options;
    this.#resized = resized;
    this.#settings = settings;
    for (const remark of remarks) log.warn(remark);
    events.configure(settings);
    for (const host of services) host.configure(this.settingsOf(host.name), performance.now());
    const made = madeChangeOf(settings);
    this.#parts.send({ type: "configure", services: changesOf(settings), made });
  }

  /** Lets clients in by the rules of now; if these can't be read, the ones that were stay. */
  #applyRules(): void {
    const { log, hasRules } = this.#parts;
    try {
      const rules = this.#source.readRules(this.#settings);
      if (hasRules) this.#parts.send({ type: "rules", rules });
      else if (this.#source.hasRules(this.#settings)) log.warn(RULES_LATE);
    } catch (error) {
      log.error("the access rules stay as they were", { error: messageOf(error) });
    }
  }

  /** The settings of options, with the bounds of services that were resized. */
  #resolve(options: ServeOptions, all: Resized): Settings {
    const { services = {} } = options;
    const resized = Object.entries(services).map(([name, given]) => {
      const bounds = all.get(name);
      return [name, bounds === undefined ? given : { ...optionsOf(given), ...bounds }] as const;
    });
    const around = this.#source.resolve({ ...options, services: Object.fromEntries(resized) });
    const bounds = all.get("");
    if (bounds === undefined) return around;
    return { ...this.#source.resolve({ ...options, ...bounds }), services: around.services };
  }
}

function settingsIn(settings: Settings, service: string): Settings {
  return settingsOf(settings, service) ?? settings;
}

function withSettings(settings: Settings, service: string, own: Settings): Settings {
  if (service === "") return own;
  return { ...settings, services: { ...settings.services, [service]: own } };
}

function optionsOf(given: string | URL | ServiceOptions | undefined): ServiceOptions {
  if (given === undefined) return { handler: "" };
  return isHandlerAlone(given) ? { handler: given } : given;
}

/** Waits for all, and then rejects with the first reason if there is one; whoever does not wait need not catch. */
function allOf(reloads: readonly Promise<void>[]): Promise<void> {
  const [first] = reloads;
  if (first !== undefined && reloads.length === 1) return first;
  const all = Promise.allSettled(reloads).then((outcomes) => {
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  });
  all.catch(() => {});
  return all;
}
