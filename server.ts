/**
 * The parent of a server: makes the loop, the pool and all else of it, and carries news from one to the other. The one
 * place where the broker's events and the pool's meet. What a running server is asked and told is in
 * ops/running_server.ts, how it ends in ops/ending.ts.
 *
 * @module
 */

import { type Access, hasRules, openAccess } from "./auth/access.ts";
import { readRules } from "./auth/access_control.ts";
import { type Hosting, openHosting } from "./join/hosting.ts";
import type { JoinedPlane, JoinedPlaneListener } from "./join/joined_plane.ts";
import type { Joiners } from "./join/joiners.ts";
import { openJoining } from "./join/joining.ts";
import { Configuration, type OptionSource } from "./ops/configuration.ts";
import { Ending } from "./ops/ending.ts";
import { publishEvents } from "./ops/event_topics.ts";
import { Events, type OfService, ofService } from "./ops/events.ts";
import { requirePlainFiles } from "./ops/given_files.ts";
import { activityOf, IdleWatch } from "./ops/idle_watch.ts";
import { withFields } from "./ops/log.ts";
import { accessOf, fixedOf, keysOf, servicesOf, termsOf } from "./ops/loop_options.ts";
import { Logs } from "./ops/logs.ts";
import type { Going, Notifier } from "./ops/notify.ts";
import { countFiles, OpenFiles } from "./ops/open_files.ts";
import { requireOperatorGrants } from "./ops/operator_grants.ts";
import { Outcome } from "./ops/outcome.ts";
import { Repairs } from "./ops/repairs.ts";
import { RunningServer } from "./ops/running_server.ts";
import { openNotifier, passedSockets } from "./ops/service_manager.ts";
import { Shutdown } from "./ops/shutdown.ts";
import { Signals } from "./ops/signals.ts";
import { checkStart, type Files } from "./ops/start_checks.ts";
import { DEBUGGER_OPEN, NO_THREAD, tellStart, UNFILTERED } from "./ops/start_remarks.ts";
import { StoreHost } from "./ops/store_host.ts";
import { watchServices } from "./ops/watch.ts";
import type { ServeOptions, Settings } from "./options/settings.ts";
import { requireRun } from "./pool/child_spec.ts";
import { type Employer, OwnEmployer } from "./pool/employer.ts";
import { keepsTracingFromWorkers } from "./pool/environment.ts";
import { laneOf } from "./pool/lanes.ts";
import { placesOf, planServices } from "./pool/plans.ts";
import { checkSize } from "./pool/scaling.ts";
import { type ServicePlan, Services } from "./pool/services.ts";
import { ownProgram } from "./pool/worker_program.ts";
import type { Look, LoopEvent } from "./ports/messages.ts";
import { bootThread, type DataPlane, openPlane } from "./ports/plane.ts";
import { shutDebugger } from "./system/debugger.ts";
import { Premises } from "./system/premises.ts";
import { canConfine } from "./system/seccomp.ts";
import { Ticks, TickTimer } from "./system/ticks.ts";
import { openTracing } from "./system/tracing.ts";
import { readVariable } from "./system/variables.ts";
import type { WorkerConfig } from "./wire/worker_config.ts";
import { canOpen } from "./zmq/descriptors.ts";
import type { Library } from "./zmq/library.ts";
import { locateLibrary } from "./zmq/locate.ts";
import { libraryVersion } from "./zmq/version.ts";

/** What runs in workers. */
export const WORKER_MODULE = new URL("./worker.ts", import.meta.url).href;

/** How options are read, first and again: see `OptionSource`. */
export type OptionReader = Required<Pick<OptionSource, "reread" | "resolve" | "sources">>;

/** The parent: carries news from one of its parts to the other. */
export class PreforkServer {
  readonly #startedAt = performance.now();
  readonly #outcome = new Outcome();
  readonly #shutdown = new Shutdown();
  readonly #logs: Logs;
  readonly #events: Events;
  readonly #library: Library;
  /** Undefined where no service manager wants to hear of this process. */
  readonly #notifier: Notifier | undefined;
  readonly #premises: Premises;
  readonly #services: Services;
  readonly #access: Access | undefined;
  readonly #plane: DataPlane;
  /** The same where this is a pool that has joined a server. */
  readonly #joined: JoinedPlane | undefined;
  /** The pools that have joined this server; undefined: none can. */
  readonly #joiners: Joiners | undefined;
  readonly #store: StoreHost;
  readonly #configuration: Configuration;
  readonly #repairs: Repairs;
  readonly #timer: TickTimer;
  readonly #ending: Ending;
  /** The server in the hands of others. */
  readonly running: RunningServer;
  /** Fulfilled when operators can reach it, as far as they are to. */
  #opened = Promise.resolve();
  /** The last look at the loop, and when it was taken, ms. */
  #looked: { at: number; look: Look } | undefined;

  /** Makes all parts; the sockets are bound then, and nothing runs. */
  constructor(settings: Settings, options: ServeOptions, reader: OptionReader) {
    const logs = this.#logs = new Logs(settings);
    const { log } = logs;
    const found = countFiles();
    // All else is prepared while it boots.
    const thread = settings.join === undefined
      ? bootThread(found && found.limit - found.open)
      : undefined;
    try {
      const events = this.#events = new Events(log, settings);
      const library = this.#library = locateLibrary(readVariable("ZMQ_LIBRARY"));
      const notifier = this.#notifier = openNotifier(settings, library.path, log);
      if (notifier !== undefined) events.subscribe((name) => notifier.hear(name));
      const passed = passedSockets(settings, library.path);
      const plans = this.#plan(settings, found);
      const joined = this.#joined = openJoining(settings, library, log)?.open(this.#listener());
      if (joined !== undefined) events.listen({ workerExited: (exit) => joined.explain(exit) });
      const places = placesOf(settings, plans, library.path);
      const premises = this.#premises = new Premises(library, places, log);
      const table = { count: countFiles, canOpen: (count: number) => canOpen(library, count) };
      const files = new OpenFiles(table, log, () => this.#services.forgiveStarts());
      const own = new OwnEmployer(() => this.#access?.makeWorkerKeys());
      const services = this.#services = this.#makeServices(
        plans,
        laneOf(settings),
        files,
        joined ?? own,
      );
      requirePlainFiles(settings);
      this.#access = openAccess(accessOf(settings), library);
      const hosting = openHosting(settings, library, log);
      // A pool elsewhere first has to be let in.
      if (joined === undefined) services.recruit(navigator.hardwareConcurrency, premises.library);
      const plane = this.#plane = joined ?? this.#openPlane(settings, passed, hosting, thread);
      premises.handOver(plane.backend);
      this.#joiners = hosting?.open(plane.join, {
        events,
        send: (command) => plane.send(command),
        look: (now) => this.#look(now),
        nextWorker: () => own.nextWorker(),
        terms: () => termsOf(this.#configuration.settings),
      });
      if (settings.events.length > 0) {
        publishEvents(events, (topic, json) => plane.send({ type: "publish", topic, json }));
      }
      const store = this.#store = this.#openStore(settings);
      const source = this.#optionSource(reader);
      const configuration = this.#configuration = new Configuration(options, settings, source, {
        ...{ log, events, services: [...services], hasRules: this.#access !== undefined },
        send: (command) => plane.send(command),
        applied: (now) => {
          this.running.operators.reload(now);
          store.configure(now);
          hosting?.configure(now);
        },
      });
      const [outcome, shutdown, joiners] = [this.#outcome, this.#shutdown, this.#joiners];
      const parts = {
        ...{ outcome, shutdown, logs, log, events, notifier, premises, services, plane, joiners },
        ...{ store, configuration, settings: () => configuration.settings },
      };
      this.#repairs = new Repairs(parts);
      const running = this.running = new RunningServer({
        ...{ ...parts, startedAt: this.#startedAt, library: library.path },
        libzmq: () => libraryVersion(library),
        ending: () => this.#ending,
      }, settings);
      const { operators } = running;
      const signals = settings.handleSignals
        ? new Signals(running, settings.signalPassthrough, () => this.#timer.wake())
        : undefined;
      const ticks = this.#ticks(files, signals);
      const timer = this.#timer = new TickTimer(ticks, (error) => this.#ending.broke(error));
      const cleanUp = () => this.#cleanUp();
      this.#ending = new Ending({ ...parts, operators, signals, timer, cleanUp });
    } catch (error) {
      this.#notifier?.failed(error);
      this.#closeNow();
      thread?.terminate();
      logs.close();
      throw error;
    }
  }

  /** What is to be started, once it is known that it may be. */
  #plan(settings: Settings, found: Files | undefined): ServicePlan[] {
    const { log } = this.#logs;
    if (shutDebugger(this.#library.path) === "open") log.warn(DEBUGGER_OPEN);
    const program = ownProgram();
    const plans = planServices(settings, WORKER_MODULE, program);
    requireRun(program.path);
    requireOperatorGrants(settings);
    checkStart(settings, found, (doubt) => log.warn(doubt));
    return plans;
  }

  #makeServices(
    plans: readonly ServicePlan[],
    lane: WorkerConfig["lane"],
    files: OpenFiles,
    employer: Employer,
  ): Services {
    const [{ log }, events, premises] = [this.#logs, this.#events, this.#premises];
    const canFilter = canConfine(this.#library.path);
    if (!canFilter && Deno.build.os === "linux") log.warn(UNFILTERED);
    return new Services(plans, {
      ...{ events, logOf: (tag) => withFields(log, { ...tag }), tagOf: ofService },
      ...{ cpus: navigator.hardwareConcurrency, files, start: premises.start },
      filesIn: (subfolder) => premises.filesIn(subfolder),
      plane: {
        send: (command) => this.#plane.send(command),
        look: (now) => this.#look(now),
        mayStart: () => employer.mayStart,
      },
      workshop: () => ({
        ...{ backend: this.#plane.backend, lane, library: premises.library, canConfine: canFilter },
        ...{ heartbeatTimeout: employer.heartbeatTimeout, clockAhead: employer.clockAhead },
        termsOf: (service) => employer.termsOf(service),
      }),
      nextWorker: (service) => employer.nextWorker(service),
      credentialsOf: (worker) => employer.credentialsOf(worker),
      isStopping: () => this.#shutdown.phase !== "serving",
      wake: () => this.#timer.wake(),
    }, {
      ready: () => this.#becameReady(),
      failed: (error) => this.#ending.fail(error),
    });
  }

  /** Binds the sockets. */
  #openPlane(
    settings: Settings,
    passed: ReturnType<typeof passedSockets>,
    hosting: Hosting | undefined,
    thread: Worker | undefined,
  ): DataPlane {
    const { plane, flaw } = openPlane(
      this.#library,
      {
        ...{ ...fixedOf(settings), services: servicesOf(settings), passed },
        ...{ backend: this.#premises.backend, lane: laneOf(settings) },
        joinable: hosting?.joinable,
        access: this.#access && keysOf(this.#access),
        visits: this.#logs.hasVisits,
        traces: settings.logLevel === "debug",
      },
      (event) => this.#hear(event),
      thread,
    );
    if (flaw !== undefined) this.#logs.log.info(NO_THREAD, { reason: flaw });
    return plane;
  }

  #openStore(settings: Settings): StoreHost {
    const plane = this.#plane;
    return new StoreHost({
      ...{ log: this.#logs.log, plane, endpoint: plane.frontend[0] ?? plane.backend },
      settings: () => this.#configuration.settings,
      wake: () => this.#timer.wake(),
    }, settings);
  }

  /** How options are read. */
  #optionSource(reader: OptionReader): OptionSource {
    return {
      ...{ ...reader, checkSize },
      hasRules: (settings) => hasRules(accessOf(settings)),
      readRules: (settings) => {
        requirePlainFiles(settings);
        return readRules(accessOf(settings));
      },
    };
  }

  /** All that is done from time to time; the loop has a list of its own. */
  #ticks(files: OpenFiles, signals: Signals | undefined): Ticks {
    const idle = new IdleWatch(() => this.#events.emit("idle", undefined));
    const notifier = this.#notifier;
    const notifying = {
      going: () => this.#going(performance.now()),
      pulse: () => this.#plane.ask("pulse", {}),
    };
    return new Ticks([
      ...(signals === undefined ? [] : [signals]),
      this.#events,
      this.#logs,
      files,
      ...(notifier === undefined ? [] : [{ tick: (now: number) => notifier.tick(now, notifying) }]),
      this.#repairs,
      { tick: (now) => idle.tick(now, activityOf(this.#look(now))) },
      this.#services,
      this.#store,
      { tick: (now) => this.#joiners?.tick(now) ?? Infinity },
      { tick: (now) => this.#ending.tick(now) },
    ]);
  }

  /** Lets workers come up, and serves. */
  begin(): void {
    const { settings } = this.#configuration;
    tellStart(this.running, settings, {
      pools: this.#services,
      serverKey: this.#access?.serverKey,
      countsConnections: this.#plane.look("now").connections !== undefined,
      keepsTracing: keepsTracingFromWorkers(openTracing() !== undefined),
    });
    for (const { code } of this.#services) code.start();
    this.#timer.wake();
    this.#ending.run();
    this.#store.begin();
    if (settings.watch) this.#watch(settings);
    const { frontend, backend, operators } = this.running;
    this.#opened = operators.open(settings, frontend[0] ?? backend);
    this.#opened.catch((error) => this.#ending.fail(error));
  }

  #watch(settings: Settings): void {
    watchServices(settings, {
      log: this.#logs.log,
      ended: this.ended,
      isStopping: () => this.running.stopping,
      listFiles: async (service) => await this.#services.get(service)?.code.listFiles() ?? [],
      reload: (service) => this.running.reloadAgain(service),
    });
  }

  /** Operators are told that it is ready by what they can reach. */
  #becameReady(): void {
    const tell = () => {
      this.#outcome.becameReady();
      this.#notifier?.ready();
    };
    this.#opened.then(tell, () => {});
  }

  /** Fulfilled when the server has ended, in whatever way. */
  get ended(): Promise<void> {
    return this.#outcome.ended;
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
        return this.#logs.log[event.level](event.message, event.fields);
      case "line":
        return this.#logs.line(event.worker, event.line, this.#tagOf(event.worker));
      case "dropped":
        return this.#logs.dropped(event.worker, event.lines, this.#tagOf(event.worker));
      case "visits":
        return this.#logs.visits(event.visits);
      case "requestFailed":
        return void this.#events.emit("requestFailed", event.failure);
      case "backendMoved":
        return this.#repairs.backendMoved(event.before, event.endpoint);
      case "mended":
        return this.#repairs.mended(event.endpoint);
      case "notBound":
        return this.#repairs.failed(event.message);
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
  #listener(): JoinedPlaneListener {
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
        this.running.reload().catch(() => {});
      },
      refused: (error) => this.#ending.fail(error),
    };
  }

  /** What the log says of a worker's service. */
  #tagOf(worker: number): OfService & { host?: string } {
    const place = this.#joiners?.placeOf(worker);
    if (place !== undefined) return { ...ofService(place.service), host: place.host };
    return ofService(this.#services.of(worker)?.name ?? "");
  }

  #going(now: number): Going {
    const look = this.#look(now);
    const { bounds, processes } = this.#services.report(look);
    const ready = processes.filter(({ state }) => state === "idle" || state === "busy").length;
    return { ready, min: bounds.min, running: look.running, waiting: look.queued };
  }

  /** How things were told last; what ticks at the same time shares one look, which lists all workers. */
  #look(now: number): Look {
    if (this.#looked?.at !== now) this.#looked = { at: now, look: this.#plane.look("told") };
    return this.#looked.look;
  }

  /** Also of a server that is not whole yet. */
  #closeNow(): void {
    this.running?.operators.abandon();
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
