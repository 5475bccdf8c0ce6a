/**
 * The handler's code as workers run it: its modules in Deno's cache, its configuration where workers can
 * read it, and the change to a newer one at a reload. Not here: starting workers (pool.ts).
 *
 * @module
 */

import type { Log } from "../ops/log.ts";
import type { Settings } from "../options/settings.ts";
import { messageOf } from "../system/errors.ts";
import type { StartFolder } from "../system/start_folder.ts";
import type { ChildSpec } from "./child.ts";
import { childSpec, placeConfig, type WorkerFiles } from "./child_spec.ts";
import { unlistedVariables } from "./environment.ts";
import { startPlace } from "./start_place.ts";
import { loadModules, translateModules } from "./trials.ts";

/** The options that say what workers run. */
export type CodeSettings =
  & Parameters<typeof childSpec>[0]
  & Pick<Settings, "handlerLock" | "startTimeout">;

/** Where the code is put, and where it starts. */
export interface CodePlaces {
  readonly files: WorkerFiles;
  readonly start: StartFolder;
}

/** What comes of loading; called later than the call that has caused it, or at its end. */
export interface CodeListener {
  /** Whether any worker ever became ready. */
  everReady(): boolean;
  /** There are modules for new workers. */
  loaded(): void;
  /** All workers are to be replaced by ones that run newer code. */
  changed(): void;
  /** There will never be any code that runs. */
  failed(error: Error): void;
  /** The old code stays. */
  reloadFailed(message: string): void;
}

/** A reload that is under way. */
interface Reload {
  readonly resolvers: PromiseWithResolvers<void>;
  /** The code that workers ran before it. */
  readonly before: ChildSpec;
}

/** What is said when a handler's modules take too long to load. */
export const MODULES_LATE =
  "its modules did not arrive in time: is a host that it imports from not answering?";

/** Says what a worker was doing when its time to become ready was over. */
export function lateCause(isLoaded: boolean): string {
  return isLoaded
    ? "the handler's init() did not return in time"
    : "the handler's module did not load in time: is there a top-level await that never ends?";
}

/** The code of one server's workers. */
export class HandlerCode {
  readonly #places: CodePlaces;
  readonly #log: Log;
  readonly #listener: CodeListener;
  #settings: CodeSettings;
  #spec: ChildSpec;
  #reload: Reload | undefined;
  /** Deno is bringing modules. */
  #loading: AbortController | undefined;
  /** Deno is making JavaScript of modules. */
  #translating: AbortController | undefined;
  /** Remarks that were logged: once each. */
  readonly #noted = new Set<string>();

  /**
   * Places the configuration of `spec`, which was made of `settings`.
   *
   * @throws {Error} when it can't be written.
   */
  constructor(
    spec: ChildSpec,
    settings: CodeSettings,
    places: CodePlaces,
    log: Log,
    listener: CodeListener,
  ) {
    this.#places = places;
    this.#log = log;
    this.#listener = listener;
    this.#settings = settings;
    this.#spec = this.#place(spec);
  }

  /** How new workers are started. */
  get spec(): ChildSpec {
    return this.#spec;
  }

  /** Whether modules are being loaded. */
  get isLoading(): boolean {
    return this.#loading !== undefined;
  }

  /** Where new workers start, and what they may do there. */
  get placed(): { spec: ChildSpec; cwd: string | undefined } {
    const { cwd, permissions } = startPlace(this.#spec.permissions, this.#places.start);
    return { spec: { ...this.#spec, permissions }, cwd };
  }

  /** Has Deno bring the modules of the first workers, where it has to. */
  start(): void {
    if (this.#spec.graph === undefined) this.#load(this.#spec);
    else this.#translate(this.#spec);
  }

  /** Looks for modules again that somebody has removed from Deno's cache, unless that is under way. */
  loadAgain(): void {
    if (this.#loading === undefined) this.#load(this.#spec);
  }

  /** Writes the configuration again: the folder that it was in is gone. */
  placeAgain(): void {
    this.#spec = this.#place(this.#spec);
  }

  /**
   * Reads the handler's configuration and its modules as they are now, for `reload`.
   *
   * @throws {Error} when they can't be read or placed.
   */
  prepare(settings: CodeSettings): ChildSpec {
    const { workerModule, program } = this.#spec;
    return this.#place(childSpec(settings, workerModule, program), settings);
  }

  /** Has all workers replaced by ones that run other code; resolves or rejects once that is decided. */
  reload(next: ChildSpec, settings: CodeSettings): Promise<void> {
    this.#settings = settings;
    const resolvers = this.#reload?.resolvers ?? Promise.withResolvers<void>();
    resolvers.promise.catch(() => {});
    this.#reload = { resolvers, before: this.#reload?.before ?? this.#spec };
    if (next.graph === undefined) this.#load(next);
    else this.#use(next);
    return resolvers.promise;
  }

  /** New workers have taken over. */
  reloaded(): void {
    this.#reload?.resolvers.resolve();
    this.#reload = undefined;
  }

  /** New workers can't start: those that come run the old code. */
  reloadFailed(message: string): void {
    this.#spec = this.#place(this.#reload?.before ?? this.#spec);
    this.#endReload(new Error(message));
  }

  /** The local files that the handler is made of now; none if it is broken. */
  async listFiles(): Promise<string[]> {
    try {
      const spec = this.prepare(this.#settings);
      const { cwd } = startPlace(spec.permissions, this.#places.start);
      const { files } = spec.graph ?? await loadModules(spec, { cwd });
      return [...files, ...spec.config?.files ?? []];
    } catch {
      return [];
    }
  }

  /** Loads nothing more, and ends a reload, as the server ends. */
  close(error: Error): void {
    this.#loading?.abort();
    this.#loading = undefined;
    this.#translating?.abort();
    this.#endReload(error);
  }

  #endReload(error: Error): void {
    this.#reload?.resolvers.reject(error);
    this.#reload = undefined;
  }

  /** Puts the configuration where workers can read it, and logs what of the handler's is not used. */
  #place(spec: ChildSpec, { handlerLock } = this.#settings): ChildSpec {
    const unlisted = unlistedVariables(spec.permissions)
      .map((grant) => `"${grant}" grants no variable: the server needs --allow-env to find them`);
    for (const note of [...spec.config?.notes ?? [], ...unlisted]) {
      if (!this.#noted.has(note)) this.#log.warn(note);
      this.#noted.add(note);
    }
    return placeConfig(spec, this.#places.files, handlerLock);
  }

  /** Has Deno bring and list the modules; in place of an earlier load that is under way. */
  async #load(spec: ChildSpec): Promise<void> {
    this.#loading?.abort();
    const loading = this.#loading = new AbortController();
    const startedAt = performance.now();
    const { startTimeout: ms } = this.#settings;
    const late = setTimeout(() => this.#log.warn(`the handler: ${MODULES_LATE}`, { ms }), ms);
    loading.signal.addEventListener("abort", () => clearTimeout(late));
    try {
      const { cwd } = startPlace(spec.permissions, this.#places.start);
      const graph = await loadModules(spec, { signal: loading.signal, cwd });
      if (this.#loading !== loading) return;
      this.#loading = undefined;
      for (const failure of graph.failures) this.#log.warn("module not loaded", { error: failure });
      const ms = Math.round(performance.now() - startedAt);
      this.#log.debug("the handler's modules are in the cache", { ms, files: graph.files.length });
      this.#use({ ...spec, graph });
    } catch (error) {
      if (this.#loading === loading) this.#notLoaded(messageOf(error));
    } finally {
      clearTimeout(late);
    }
  }

  /** Workers that come up meanwhile need not wait for it. */
  #translate(spec: ChildSpec): void {
    this.#translating?.abort();
    const { signal } = this.#translating = new AbortController();
    const { cwd } = startPlace(spec.permissions, this.#places.start);
    translateModules(spec, { signal, cwd });
  }

  #use(spec: ChildSpec): void {
    this.#spec = spec;
    this.#translate(spec);
    if (this.#reload === undefined) this.#listener.loaded();
    else this.#listener.changed();
  }

  #notLoaded(message: string): void {
    this.#loading = undefined;
    const everReady = this.#listener.everReady();
    if (this.#reload !== undefined && everReady) return this.#listener.reloadFailed(message);
    this.#log.error(message);
    if (!everReady) this.#listener.failed(new Error(message));
  }
}
