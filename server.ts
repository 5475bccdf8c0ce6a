/**
 * The parent of a server: owns the loop, the pool and all else of it. The one place where signals, the broker's
 * events and the pool's meet.
 *
 * @module
 */

import type { Operated } from "./admin/operated.ts";
import { type Access, hasRules, openAccess } from "./auth/access.ts";
import { type AccessRules, readRules } from "./auth/access_control.ts";
import { makeJoinedKeys, openJoinable } from "./auth/join_keys.ts";
import type { JoinedPlane, JoinedPlaneListener } from "./join/joined_plane.ts";
import { Joiners } from "./join/joiners.ts";
import { openJoining } from "./join/joining.ts";
import { Configuration, type OptionSource } from "./ops/configuration.ts";
import { publishEvents } from "./ops/event_topics.ts";
import { Events, type OfService, ofService } from "./ops/events.ts";
import { requirePlainFiles } from "./ops/given_files.ts";
import { activityOf, IdleWatch } from "./ops/idle_watch.ts";
import { type Log, withFields } from "./ops/log.ts";
import { accessOf, fixedOf, keysOf, servicesOf, termsOf } from "./ops/loop_options.ts";
import type { LogRing } from "./ops/log_ring.ts";
import { Logs } from "./ops/logs.ts";
import { countFiles, OpenFiles } from "./ops/open_files.ts";
import { requireOperatorGrants } from "./ops/operator_grants.ts";
import { Operators } from "./ops/operators.ts";
import { type Finished, Outcome } from "./ops/outcome.ts";
import { type Rest, Shutdown } from "./ops/shutdown.ts";
import { Signals } from "./ops/signals.ts";
import { checkStart } from "./ops/start_checks.ts";
import type { RunningService, Server } from "./ops/server.ts";
import {
  DEBUGGER_OPEN,
  logRemarks,
  NO_THREAD,
  tellEndpoints,
  tellJoining,
  UNFILTERED,
} from "./ops/start_remarks.ts";
import { stateFields, type Stats, statsOf } from "./ops/stats.ts";
import type {
  ClientList,
  ConfigEntry,
  JobFilter,
  JobList,
  LogLine,
  LogOptions,
  Status,
} from "./ops/status.ts";
import { Steering } from "./ops/steering.ts";
import { StoreGauge } from "./ops/store_gauge.ts";
import { StoreHost } from "./ops/store_host.ts";
import type { StoredJobs } from "./ops/stored.ts";
import { StoredDesk } from "./ops/stored_desk.ts";
import { statsOfService, viewServices } from "./ops/service_views.ts";
import { openNotifier, passedSockets } from "./ops/service_manager.ts";
import type { Going, Notifier } from "./ops/notify.ts";
import { reloadOnChange } from "./ops/watch.ts";
import { resolveOptions } from "./options/resolve.ts";
import { hostedServices } from "./options/hosted.ts";
import type { Level, ServeOptions, ServiceOptions, Settings } from "./options/settings.ts";
import { keepsTracingFromWorkers } from "./pool/environment.ts";
import { requireRun } from "./pool/child_spec.ts";
import { laneOf, libraryOf } from "./pool/lanes.ts";
import { checkSize } from "./pool/scaling.ts";
import { countFromOne } from "./pool/supervisor.ts";
import { specOf } from "./pool/service_host.ts";
import { Services } from "./pool/services.ts";
import { ownProgram } from "./pool/worker_program.ts";
import type { Measures } from "./ports/measures.ts";
import type { Look, LoopCommand, LoopEvent } from "./ports/messages.ts";
import { bootThread, type DataPlane, openPlane } from "./ports/plane.ts";
import type { StoreFigures } from "./store/messages.ts";
import { shutDebugger } from "./system/debugger.ts";
import { messageOf } from "./system/errors.ts";
import { filePath } from "./system/files.ts";
import { type Mending, Premises } from "./system/premises.ts";
import { cpuTime } from "./system/proc.ts";
import { JOIN_TIMEOUT } from "./wire/join.ts";
import { canConfine } from "./system/seccomp.ts";
import { Ticks, TickTimer } from "./system/ticks.ts";
import { openTracing } from "./system/tracing.ts";
import { readVariable } from "./system/variables.ts";
import { canOpen } from "./zmq/descriptors.ts";
import type { Library } from "./zmq/library.ts";
import { locateLibrary } from "./zmq/locate.ts";
import { libraryVersion } from "./zmq/version.ts";

/** What runs in workers. */
export const WORKER_MODULE = new URL("./worker.ts", import.meta.url).href;
/** Replies that are on their way at the end have at least this time, and at most what is left of `stopTimeout`, ms. */
const MIN_LINGER = 100;
/** Sockets may take this much longer to close than clients have to take their last replies, ms. */
const CLOSE_MARGIN = 200;

/** How an operator's options are read again: see `OptionSource`. */
export type OperatorOptions = Required<Pick<OptionSource, "reread" | "sources">>;

/** The parent: carries news from one of its parts to the other. */
export class PreforkServer implements Server, Operated {
  readonly #startedAt = performance.now();
  readonly #outcome = new Outcome();
  readonly #shutdown = new Shutdown();
  readonly #logs: Logs;
  readonly news: Events;
  readonly #library: Library;
  readonly #premises: Premises;
  readonly #access: Access | undefined;
  readonly #plane: DataPlane;
  /** The same where this is a pool that has joined a server. */
  readonly #joined: JoinedPlane | undefined;
  /** The pools that have joined this server; undefined: none can. */
  readonly #joiners: Joiners | undefined;
  readonly #services: Services;
  readonly #configuration: Configuration;
  readonly #signals: Signals | undefined;
  /** Undefined where no service manager wants to hear of this process. */
  readonly #notifier: Notifier | undefined;
  readonly #timer: TickTimer;
  readonly #running: Readonly<Record<string, RunningService>>;
  readonly #steering: Steering;
  readonly #operators: Operators;
  readonly #gauge: StoreGauge;
  readonly stored: StoredJobs;
  readonly #store: StoreHost;
  /** Ends the wait for clients to take their last replies. */
  #cutShort: (() => void) | undefined;
  #stopHook: Promise<void> | undefined;
  /** Fulfilled when operators can reach it, as far as they are to. */
  #opened = Promise.resolve();
  /** The last look at the loop, and when it was taken, ms. */
  #looked: { at: number; look: Look } | undefined;

  /** Makes all parts; the sockets are bound then, and nothing runs. */
  constructor(settings: Settings, options: ServeOptions, operator: OperatorOptions) {
    const logs = this.#logs = new Logs(settings);
    const { log } = logs;
    const wake = () => this.#timer.wake();
    const send = (command: LoopCommand) => this.#plane.send(command);
    const found = countFiles();
    // All else is prepared while it boots.
    const thread = settings.join === undefined
      ? bootThread(found && found.limit - found.open)
      : undefined;
    try {
      const events = this.news = new Events(log, settings);
      const library = this.#library = locateLibrary(readVariable("ZMQ_LIBRARY"));
      const notifier = this.#notifier = openNotifier(settings, library.path, log);
      if (notifier !== undefined) events.subscribe((name) => notifier.hear(name));
      const passed = passedSockets(settings, library.path);
      if (shutDebugger(library.path) === "open") log.warn(DEBUGGER_OPEN);
      const program = ownProgram();
      const plans = hostedServices(settings).map(([name, own]) => (
        { name, settings: own, spec: specOf(name, own, WORKER_MODULE, program) }
      ));
      requireRun(program.path);
      requireOperatorGrants(settings);
      checkStart(settings, found, (doubt) => log.warn(doubt));
      const canFilter = canConfine(library.path);
      if (!canFilter && Deno.build.os === "linux") log.warn(UNFILTERED);
      const joining = openJoining(settings, library, log);
      const { join, backend = join, pidFile } = settings;
      const lane = laneOf(settings);
      const opened = libraryOf(lane, library.path);
      // Workers of all services run as the same user.
      const [workers] = plans.map(({ spec }) => spec);
      const places = {
        backend,
        pidFile,
        workers: workers ?? { uid: undefined, gid: undefined },
        library: opened,
      };
      const premises = this.#premises = new Premises(library, places, log);
      const table = { count: countFiles, canOpen: (count: number) => canOpen(library, count) };
      const files = new OpenFiles(table, log, () => this.#services.forgiveStarts());
      const count = countFromOne();
      const nextWorker = (service: string) => this.#joined?.nextWorker(service) ?? count();
      this.#services = new Services(plans, {
        ...{ events, wake, logOf: (tag) => withFields(log, { ...tag }), tagOf: ofService },
        cpus: navigator.hardwareConcurrency,
        files,
        plane: {
          send,
          look: (now) => this.#look(now),
          mayStart: () => this.#joined?.mayStart ?? true,
        },
        filesIn: (subfolder) => premises.filesIn(subfolder),
        start: premises.start,
        workshop: () => ({
          backend: this.backend,
          lane,
          library: premises.library,
          canConfine: canFilter,
          heartbeatTimeout: joining === undefined ? 0 : JOIN_TIMEOUT,
          clockAhead: this.#joined?.clockAhead ?? 0,
          termsOf: (service) => this.#joined?.termsOf(service),
        }),
        nextWorker,
        credentialsOf: (worker) =>
          this.#joined?.credentialsOf(worker) ??
            { token: crypto.randomUUID(), keys: this.#access?.makeWorkerKeys() },
        isStopping: () => this.stopping,
      }, {
        ready: () => this.#becameReady(),
        failed: (error) => this.#fail(error),
      });
      requirePlainFiles(settings);
      const access = this.#access = openAccess(accessOf(settings), library);
      const joinable = openJoinable(settings, library);
      // A pool elsewhere first has to be let in.
      if (joining === undefined) {
        this.#services.recruit(navigator.hardwareConcurrency, premises.library);
      }
      const fixed = {
        ...fixedOf(settings),
        passed,
        backend: premises.backend,
        lane,
        visits: logs.hasVisits,
        traces: settings.logLevel === "debug",
        joinable,
      };
      const joined = this.#joined = joining?.open(this.#joinedListener());
      const { plane, flaw } = joined === undefined
        ? openPlane(
          library,
          { services: servicesOf(settings), ...fixed, access: access && keysOf(access) },
          (event) => this.#hear(event),
          thread,
        )
        : { plane: joined, flaw: undefined };
      this.#plane = plane;
      this.#joiners = joinable && new Joiners({
        ...{ log, send, nextWorker: count },
        makeKeys: () => makeJoinedKeys(library),
        look: (now) => this.#look(now),
        terms: () => termsOf(this.#configuration.settings),
      });
      if (joinable !== undefined) {
        log.info("other machines can join", { join: plane.join, serverKey: joinable.publicKey });
      }
      if (flaw !== undefined) log.info(NO_THREAD, { reason: flaw });
      premises.handOver(plane.backend);
      if (settings.events.length > 0) {
        publishEvents(events, (topic, json) => plane.send({ type: "publish", topic, json }));
      }
      this.#running = viewServices(this.#services, {
        frontendOf: (name) => this.#frontendOf(name),
        look: () => plane.look("now"),
        resize: (bounds, name) => this.resize(bounds, name),
        reload: (name, options) => this.#reloadService(name, options),
      });
      const source = { ...operator, resolve, checkSize, hasRules: needsRules, readRules: rulesOf };
      const hasRules = access !== undefined;
      const store = this.#store = new StoreHost({
        ...{ log, plane, wake, endpoint: this.frontend[0] ?? this.backend },
        settings: () => this.#configuration.settings,
      }, settings);
      const applied = (now: Settings) => {
        this.#operators.reload(now);
        store.configure(now);
        this.#applyJoinable(now);
      };
      const parts = { log, events, services: [...this.#services], send, hasRules, applied };
      this.#configuration = new Configuration(options, settings, source, parts);
      this.#steering = new Steering({
        ...{ log, services: this.#services, plane },
        settings: () => this.#configuration.settings,
        stop: () => this.#shutdown.phase,
        endpoints: () => this.#endpoints,
        frontendOf: (name) => this.#frontendOf(name),
        rates: (service) => this.#operators.rates(service),
        joiners: this.#joiners,
      });
      this.#gauge = new StoreGauge(store);
      this.stored = new StoredDesk(store, this.#gauge);
      this.#operators = new Operators(this, settings);
      const { handleSignals, signalPassthrough } = settings;
      if (handleSignals) this.#signals = new Signals(this, signalPassthrough, wake);
      this.#timer = new TickTimer(this.#ticks(files), (error) => this.#broke(error));
    } catch (error) {
      this.#notifier?.failed(error);
      this.#closeNow();
      thread?.terminate();
      logs.close();
      throw error;
    }
  }

  /** All that is done from time to time; the loop has a list of its own. */
  #ticks(files: OpenFiles): Ticks {
    const idle = new IdleWatch(() => this.news.emit("idle", undefined));
    const notifier = this.#notifier;
    const notifying = {
      going: () => this.#going(performance.now()),
      pulse: () => this.#plane.ask("pulse", {}),
    };
    return new Ticks([
      ...(this.#signals === undefined ? [] : [this.#signals]),
      this.news,
      this.#logs,
      files,
      ...(notifier === undefined ? [] : [{ tick: (now: number) => notifier.tick(now, notifying) }]),
      { tick: (now) => this.#premises.tick(now, this.#mending()) },
      { tick: (now) => idle.tick(now, activityOf(this.#look(now))) },
      this.#services,
      { tick: (now) => this.#store.tick(now) },
      { tick: (now) => this.#joiners?.tick(now) ?? Infinity },
      { tick: (now) => this.#tickShutdown(now) },
    ]);
  }

  /** Lets workers come up, and serves. */
  begin(): void {
    const { log } = this;
    const { settings } = this.#configuration;
    const { frontend, mdp, events, backend } = this;
    const of = (name: string) => this.#frontendOf(name);
    const endpoints = { frontend, mdp, jobs: this.jobEndpoints, events, backend, of };
    if (this.#joined === undefined) tellEndpoints(log, this.news, settings, endpoints);
    else tellJoining(log, settings);
    for (const { name, bounds } of this.#services) {
      log.debug("pool", { ...bounds, library: this.library, ...ofService(name) });
    }
    logRemarks(log, settings, {
      endpoints: [
        ...[this.frontend, this.mdp, this.events],
        ...Object.values(this.#plane.serviceFrontends),
      ].flat(),
      serverKey: this.#access?.serverKey,
      countsConnections: this.#plane.look("now").connections !== undefined,
      readsCpuTime: cpuTime(Deno.pid) !== undefined,
      keepsTracing: keepsTracingFromWorkers(openTracing() !== undefined),
    });
    for (const { code } of this.#services) code.start();
    this.#timer.wake();
    this.#run();
    this.#store.begin();
    if (settings.watch) this.#watch(settings);
    this.#opened = this.#operators.open(settings, frontend[0] ?? backend);
    this.#opened.catch((error) => this.#fail(error));
  }

  /** Operators are told that it is ready by what they can reach. */
  #becameReady(): void {
    const tell = () => {
      this.#outcome.becameReady();
      this.#notifier?.ready();
    };
    this.#opened.then(tell, () => {});
  }

  /** Lets those machines join that are on the list of now; if that can't be read, the ones that were stay. */
  #applyJoinable(settings: Settings): void {
    if (this.#joiners === undefined) return;
    try {
      const joinable = openJoinable(settings, this.#library);
      if (joinable !== undefined) this.#joiners.configure(joinable.names);
    } catch (error) {
      this.log.error("the list of machines stays as it was", { error: messageOf(error) });
    }
  }

  #frontendOf(service: string): readonly string[] {
    return this.#plane.serviceFrontends[service] ?? [];
  }

  /** Reloads each service whose files change. */
  #watch(settings: Settings): void {
    for (const [name, { handler }] of hostedServices(settings)) {
      if (!handler?.startsWith("file:")) continue;
      const watched = {
        isStopping: () => this.stopping,
        listFiles: async () => await this.#services.get(name)?.code.listFiles() ?? [],
        reload: () => this.#reloadService(name),
      };
      const failed = (error: unknown) =>
        this.log.error("not watching", { error: messageOf(error), ...ofService(name) });
      reloadOnChange(watched, filePath(new URL(handler)), this.ended, failed);
    }
  }

  // ---- what it is asked ----

  /** The server's log. */
  get log(): Log {
    return this.#logs.log;
  }

  /** The file of libzmq. */
  get library(): string {
    return this.#library.path;
  }

  get libzmq(): string {
    return libraryVersion(this.#library);
  }

  get frontend(): readonly string[] {
    return this.#plane.frontend;
  }

  get mdp(): readonly string[] {
    return this.#plane.mdp;
  }

  get jobEndpoints(): readonly string[] {
    return this.#frontendOf("job.");
  }

  get events(): readonly string[] {
    return this.#plane.events;
  }

  get backend(): string {
    return this.#plane.backend;
  }

  get joinEndpoint(): string | undefined {
    return this.#plane.join;
  }

  get ready(): Promise<void> {
    return this.#outcome.ready;
  }

  get finished(): Promise<Finished> {
    return this.#outcome.finished;
  }

  /** Fulfilled when the server has ended, in whatever way. */
  get ended(): Promise<void> {
    return this.#outcome.ended;
  }

  /** Whether it was told to stop. */
  get stopping(): boolean {
    return this.#shutdown.phase !== "serving";
  }

  get services(): Readonly<Record<string, RunningService>> {
    return this.#running;
  }

  get control(): string | undefined {
    return this.#operators.control;
  }

  get http(): string | undefined {
    return this.#operators.http;
  }

  get ring(): LogRing {
    return this.#steering.ring;
  }

  measures(): Promise<Measures> {
    return this.#plane.ask("measures", {});
  }

  get serviceNames(): readonly string[] {
    return [...this.#services].map(({ name }) => name);
  }

  get #endpoints(): Status["endpoints"] {
    const { frontend, mdp, events, backend, control, http } = this;
    const bound = { frontend: [...frontend], mdp: [...mdp], events: [...events] };
    return { ...bound, backend, control, http, join: this.joinEndpoint };
  }

  async status(): Promise<Status> {
    const status = this.#steering.status();
    const stored = await this.#gauge.glance();
    return stored === undefined ? status : { ...status, stored };
  }

  storeFigures(): Promise<StoreFigures | undefined> {
    return this.#gauge.figures();
  }

  jobs(filter?: JobFilter): Promise<JobList> {
    return this.#steering.jobs(filter);
  }

  clients(options?: { limit?: number }): Promise<ClientList> {
    return this.#steering.clients(options);
  }

  config(): ConfigEntry[] {
    return this.#configuration.list();
  }

  followLog(options?: LogOptions): AsyncIterable<LogLine> {
    return this.#steering.followLog(options);
  }

  stats(): Stats {
    const look = this.#plane.look("now");
    const named = this.#services.hasNames
      ? [...this.#services].map((host) => [host.name, statsOfService(host, look)] as const)
      : [];
    const uptime = performance.now() - this.#startedAt;
    return statsOf(uptime, this.#services.report(look), look, Object.fromEntries(named));
  }

  // ---- what it is told ----

  resize(bounds: { min?: number; max?: number }, service?: string): void {
    this.#configuration.resize(bounds, service);
  }

  growBy(workers: number): void {
    this.#configuration.growBy(workers);
  }

  reload(options?: ServeOptions): Promise<void> {
    if (this.stopping) return Promise.reject(new Error("Cannot reload: the server is stopping"));
    return this.#configuration.reload(options);
  }

  #reloadService(name: string, options?: Partial<ServiceOptions>): Promise<void> {
    if (this.stopping) return Promise.reject(new Error("Cannot reload: the server is stopping"));
    return this.#configuration.reloadService(name, options);
  }

  reloadAgain(service?: string): Promise<void> {
    if (service !== undefined) return this.#reloadService(service);
    if (!this.stopping) return this.#configuration.reloadAgain();
    const refused = Promise.reject(new Error("Cannot reload: the server is stopping"));
    refused.catch(() => {});
    return refused;
  }

  stopWorker(worker: number): void {
    this.#steering.dismiss(worker, "stop");
  }

  killWorker(worker: number): void {
    this.#steering.dismiss(worker, "kill");
  }

  cancelJob(job: number): Promise<void> {
    return this.#steering.cancelJob(job);
  }

  pause(service?: string): void {
    this.#steering.hold("pause", service);
  }

  resume(service?: string): void {
    this.#steering.hold("resume", service);
  }

  setLogLevel(level: Level): void {
    this.#steering.setLogLevel(level);
  }

  reopenLog(): boolean {
    return this.#logs.reopen();
  }

  logState(): void {
    const { services, ...all } = this.stats();
    this.log.info("state", stateFields(all));
    for (const [service, stats] of Object.entries(services)) {
      this.log.info("state", { ...stateFields(stats), service });
    }
  }

  forward(signal: Deno.Signal): void {
    this.#services.forward(signal);
  }

  async shutdown(options: { queued?: "refuse" | "serve" } = {}): Promise<void> {
    this.stop(options.queued ?? "refuse", "shutdown");
    await this.#outcome.finished;
  }

  async drain(): Promise<void> {
    this.stop("serve", "drain");
    await this.#outcome.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop("refuse", "shutdown");
    await this.#outcome.dispose();
  }

  stop(queued: "refuse" | "serve", reason: string): void {
    const hosted = hostedServices(this.#configuration.settings);
    const stopTimeout = Math.max(...hosted.map(([, own]) => own.stopTimeout));
    if (!this.#shutdown.start(queued, stopTimeout, performance.now())) return;
    this.#stopHook = this.news.emit("stopping", { reason, queued });
    this.#premises.leave();
    this.#plane.send({ type: "drain", waiting: queued });
    this.#timer.wake();
  }

  kill(): void {
    this.stop("refuse", "killed");
    this.#shutdown.kill(performance.now());
    this.#services.killAll(performance.now());
    this.#cutShort?.();
    this.#store.cutShort();
    this.#plane.send({ type: "drain", waiting: "refuse" });
    this.#timer.wake();
  }

  /** Leaves nothing behind, at once: the program ends, or `deno run --watch` starts it again. */
  abandon(): void {
    this.#timer.stop();
    this.#closeNow();
  }

  // ---- what happens ----

  #hear(event: LoopEvent): void {
    switch (event.type) {
      case "log":
        return this.log[event.level](event.message, event.fields);
      case "line":
        return this.#logs.line(event.worker, event.line, this.#tagOf(event.worker));
      case "dropped":
        return this.#logs.dropped(event.worker, event.lines, this.#tagOf(event.worker));
      case "visits":
        return this.#logs.visits(event.visits);
      case "requestFailed":
        return void this.news.emit("requestFailed", event.failure);
      case "backendMoved":
        return this.#backendMoved(event.before, event.endpoint);
      case "mended":
        return this.#mended(event.endpoint);
      case "notBound":
        return this.#premises.failed(event.message, performance.now());
      case "storeWanted":
        return this.#store.want();
      case "worked":
        return this.#timer.wake();
      case "joinerSaid":
        return this.#joiners?.said(event, performance.now());
      case "joinerGone":
        return this.#joiners?.gone(event.joiner);
      default:
        if (!this.#joiners?.hear(event)) this.#services.hear(event);
    }
  }

  /** What is told of the server that this one has joined. */
  #joinedListener(): JoinedPlaneListener {
    return {
      hear: (event) => this.#hear(event),
      describe: () => {
        const now = performance.now();
        const look = this.#look(now);
        return [...this.#services].flatMap((host) => host.describe(look, now));
      },
      dismiss: (worker, how) => {
        this.#services.of(worker)?.dismiss(worker, how);
      },
      termsChanged: () => {
        this.reload().catch(() => {});
      },
      refused: (error) => this.#fail(error),
    };
  }

  /** What the log says of a worker's service. */
  #tagOf(worker: number): OfService & { host?: string } {
    const place = this.#joiners?.placeOf(worker);
    if (place !== undefined) return { ...ofService(place.service), host: place.host };
    return ofService(this.#services.of(worker)?.name ?? "");
  }

  #mending(): Mending {
    return {
      moved: () => {
        this.#services.placeAgain();
        const { backend, join } = this.#configuration.settings;
        const isGiven = backend !== undefined || join !== undefined;
        if (isGiven) this.#backendMoved(this.backend, this.backend);
        else this.#plane.send({ type: "moveBackend", endpoint: this.#premises.backend });
      },
      sockets: () => this.#plane.send({ type: "mend" }),
    };
  }

  /** There is a new private folder, and workers connect there. */
  #backendMoved(before: string, backend: string): void {
    if (!this.#premises.handOverAgain(backend, performance.now())) return;
    this.log.warn("the private folder was removed, there is a new one", { before, backend });
  }

  #mended(endpoint: string): void {
    if (endpoint === this.backend) this.#premises.handOverAgain(endpoint, performance.now());
    this.log.warn("the socket file was removed, it is bound again", { endpoint });
  }

  #going(now: number): Going {
    const look = this.#look(now);
    const { bounds, processes } = this.#services.report(look);
    const ready = processes.filter(({ state }) => state === "idle" || state === "busy").length;
    return { ready, min: bounds.min, running: look.running, waiting: look.queued };
  }

  // ---- the end ----

  /** It can't start at all. */
  #fail(error: Error): void {
    if (this.#shutdown.phase === "stopping") return;
    this.#outcome.fail(error);
    this.#notifier?.failed(error);
    this.kill();
  }

  /** What must not fail has failed: nothing can be relied on. */
  #broke(error: unknown): void {
    this.#outcome.fail(error);
    this.#notifier?.failed(error);
    this.log.error("the broker failed", { error: messageOf(this.#outcome.failure) });
    this.#store.cutShort();
    this.#services.abandon();
    this.#plane.send({ type: "stop" });
  }

  /** How things were told last; what ticks at the same time shares one look, which lists all workers. */
  #look(now: number): Look {
    if (this.#looked?.at !== now) this.#looked = { at: now, look: this.#plane.look("told") };
    return this.#looked.look;
  }

  /** How things are after all that has ticked before. */
  #rest(): Rest {
    const look = this.#plane.look("now");
    const isDeserted = this.#services.stopped && look.workers.size === 0;
    const { hasUnsent, readAt } = look;
    return { isIdle: activityOf(look).isIdle, isDeserted, hasUnsent, readAt };
  }

  #tickShutdown(now: number): number {
    if (!this.stopping) return Infinity;
    const rest = this.#rest();
    const step = this.#shutdown.next(now, rest);
    if (step === "end") this.#plane.send({ type: "stop" });
    if (step !== "stopWorkers") return this.#shutdown.wait(now, rest);
    this.#plane.send({ type: "drain", waiting: "refuse" });
    this.#services.stop(now);
    this.#joiners?.stop(this.#shutdown.endAt - now, now);
    this.#timer.wake();
    return 0;
  }

  async #run(): Promise<void> {
    try {
      await this.#plane.run();
      await this.#closeSockets();
      await this.#stopHook;
    } catch (error) {
      this.#broke(error);
    }
    await this.#store.close(this.#shutdown.endAt);
    this.#cleanUp();
    await this.#services.close();
    await this.#operators.close();
    const { forced } = this.#services;
    if (this.#outcome.failure === undefined) this.news.emit("stopped", { forced });
    await this.#logs.close();
    this.#timer.stop();
    this.#notifier?.close();
    this.#signals?.close();
    this.#outcome.end({ forced });
  }

  /** Closes the sockets, and waits for clients to take what is on its way to them. */
  async #closeSockets(): Promise<void> {
    const linger = Math.max(MIN_LINGER, this.#shutdown.endAt - performance.now());
    // libzmq 4.3.5 may never end when a client that has not read leaves in this very moment.
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, linger + CLOSE_MARGIN);
    this.#cutShort = resolve;
    await Promise.race([this.#plane.close(linger), promise]);
    clearTimeout(timer);
    // Closed or not, nothing of it may keep the program from ending.
    this.#plane.abandon();
  }

  /** Also of a server that is not whole yet. */
  #closeNow(): void {
    this.#operators?.abandon();
    this.#store?.abandon();
    this.#services?.abandon();
    this.#plane?.abandon();
    this.#cleanUp();
  }

  #cleanUp(): void {
    this.#services?.closeCode(this.#outcome.failure ?? new Error("The server has ended"));
    this.#premises?.remove();
  }
}

function needsRules(settings: Settings): boolean {
  return hasRules(accessOf(settings));
}

/** @throws {Error} when the list of clients can't be read or is wrong. */
function rulesOf(settings: Settings): AccessRules {
  requirePlainFiles(settings);
  return readRules(accessOf(settings));
}

/**
 * Options with all defaults.
 *
 * @throws {TypeError | RangeError} when one breaks its rule.
 */
export function resolve(options: ServeOptions): Settings {
  return resolveOptions(options, { cpus: navigator.hardwareConcurrency, cwd: () => Deno.cwd() });
}
