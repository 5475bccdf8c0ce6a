/**
 * The options of a server that runs, and how they change: a reload applies other options, or the same with a
 * new handler; a resize changes the bounds of the pool. Not here: what an option means (options/).
 *
 * @module
 */

import type { ServeOptions, Settings } from "../options/settings.ts";
import type { HandlerCode } from "../pool/handler_code.ts";
import type { ServiceHost } from "../pool/service_host.ts";
import type { LoopCommand } from "../ports/messages.ts";
import { messageOf } from "../system/errors.ts";
import type { Events } from "./events.ts";
import { keepFixed } from "./fixed_options.ts";
import type { Log } from "./log.ts";
import { limitsOf } from "./loop_options.ts";

/** Where options come from. */
export interface OptionSource {
  /** Reads again what an operator has set; undefined: the same options. */
  reread(): ServeOptions | undefined;
  /** Checks options and fills in the defaults. */
  resolve(options: ServeOptions): Settings;
  /** @throws {RangeError} when a pool can't have these bounds. */
  checkSize(settings: Settings): void;
  /** Whether some who reach the sockets may not connect. */
  hasRules(settings: Settings): boolean;
  /** Reads who may connect. */
  readRules(settings: Settings): Extract<LoopCommand, { type: "rules" }>["rules"];
}

/** What is changed. */
export interface Configured {
  readonly log: Log;
  readonly events: Events;
  readonly code: Pick<HandlerCode, "prepare" | "reload">;
  readonly pool: Pick<ServiceHost, "configure">;
  send(command: LoopCommand): void;
  /** Whether the server was started with rules for clients, and so can apply others. */
  readonly hasRules: boolean;
}

const RULES_LATE =
  "access rules cannot be added to a server that started without any: restart it to apply them";

/** The options of one server. */
export class Configuration {
  readonly #source: OptionSource;
  readonly #parts: Configured;
  /** What was asked for; the settings follow from it. */
  #options: ServeOptions;
  #settings: Settings;

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

  /** Changes the bounds of the pool; one that is left out moves if the other needs it. */
  resize({ min, max }: { min?: number; max?: number }): void {
    const minWorkers = min ?? Math.min(this.#settings.minWorkers, max ?? Infinity);
    const maxWorkers = max ?? Math.max(this.#settings.maxWorkers, min ?? 0);
    this.#source.checkSize({ ...this.#settings, minWorkers, maxWorkers });
    this.#options = { ...this.#options, minWorkers, maxWorkers };
    const { minSpareWorkers, maxSpareWorkers } = this.#source.resolve(this.#options);
    const changed = { minWorkers, maxWorkers, minSpareWorkers, maxSpareWorkers };
    this.#settings = { ...this.#settings, ...changed };
    this.#parts.pool.configure(this.#settings, performance.now());
    this.#parts.events.emit("resized", { min: minWorkers, max: maxWorkers });
  }

  /** Moves both bounds by a number of workers. */
  growBy(workers: number): void {
    const { minWorkers, maxWorkers } = this.#settings;
    this.resize({ min: Math.max(1, minWorkers + workers), max: Math.max(1, maxWorkers + workers) });
  }

  /**
   * Replaces all workers, with some of the options changed.
   *
   * @throws {TypeError | RangeError} when an option is wrong.
   */
  reload(changes: ServeOptions | undefined): Promise<void> {
    return this.#reload(changes && { ...this.#options, ...changes });
  }

  /** Replaces all workers, with the options as an operator has set them by now; logs what goes wrong. */
  reloadAgain(): void {
    try {
      // How it ends is logged where it ends.
      this.#reload(this.#source.reread()).catch(() => {});
    } catch (error) {
      this.#parts.log.error("not reloaded", { error: messageOf(error) });
    }
  }

  /** `options` replace all that were given before; undefined: they stay. */
  #reload(options: ServeOptions | undefined): Promise<void> {
    const { code, events, log } = this.#parts;
    const settings = options && this.#source.resolve(options);
    let next: ReturnType<HandlerCode["prepare"]>;
    try {
      next = code.prepare(settings ?? this.#settings);
    } catch (error) {
      log.error("not reloaded", { error: messageOf(error) });
      return Promise.reject(error);
    }
    if (options !== undefined && settings !== undefined) this.#apply(options, settings);
    this.#applyRules();
    events.emit("reloading", {});
    return code.reload(next, this.#settings);
  }

  #apply(options: ServeOptions, next: Settings): void {
    const { events, pool, log } = this.#parts;
    this.#options = options;
    this.#settings = keepFixed(this.#settings, next, (remark) => log.warn(remark));
    events.configure(this.#settings);
    pool.configure(this.#settings, performance.now());
    this.#parts.send({ type: "configure", services: { "": limitsOf(this.#settings) } });
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
}
