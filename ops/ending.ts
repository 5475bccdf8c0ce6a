/**
 * How a server ends: because it was told to stop, because it can't start, or because something has broken. Says so to
 * all of its parts, and closes them in their order. Not here: when each step is due (shutdown.ts), and what whoever
 * waits for the end is told (outcome.ts).
 *
 * @module
 */

import type { Joiners } from "../join/joiners.ts";
import { hostedServices } from "../options/hosted.ts";
import type { Settings } from "../options/settings.ts";
import type { Services } from "../pool/services.ts";
import type { DataPlane } from "../ports/plane.ts";
import { messageOf } from "../system/errors.ts";
import type { Premises } from "../system/premises.ts";
import type { TickTimer } from "../system/ticks.ts";
import type { Events } from "./events.ts";
import { activityOf } from "./idle_watch.ts";
import type { Logs } from "./logs.ts";
import type { Notifier } from "./notify.ts";
import type { Operators } from "./operators.ts";
import type { Outcome } from "./outcome.ts";
import type { Rest, Shutdown } from "./shutdown.ts";
import type { Signals } from "./signals.ts";
import type { StoreHost } from "./store_host.ts";

/** What ends. */
export interface EndingParts {
  readonly outcome: Outcome;
  readonly shutdown: Shutdown;
  readonly events: Pick<Events, "emit">;
  readonly logs: Pick<Logs, "log" | "close">;
  readonly timer: Pick<TickTimer, "wake" | "stop">;
  readonly plane: Pick<DataPlane, "abandon" | "close" | "look" | "run" | "send">;
  readonly services: Services;
  readonly store: Pick<StoreHost, "close" | "cutShort">;
  readonly operators: Pick<Operators, "close">;
  readonly premises: Pick<Premises, "leave">;
  /** Undefined: no other machine can join. */
  readonly joiners: Pick<Joiners, "close" | "stop"> | undefined;
  /** Undefined: no service manager wants to hear of this process. */
  readonly notifier: Pick<Notifier, "failed" | "close"> | undefined;
  /** Undefined: signals are the program's. */
  readonly signals: Pick<Signals, "close"> | undefined;
  /** The options of now. */
  settings(): Settings;
  /** Removes what lies on the disk. */
  cleanUp(): void;
}

/** Replies that are on their way at the end have at least this time, and at most what is left of `stopTimeout`, ms. */
const MIN_LINGER = 100;
/** Sockets may take this much longer to close than clients have to take their last replies, ms. */
const CLOSE_MARGIN = 200;

/** The end of one server. */
export class Ending {
  readonly #parts: EndingParts;
  /** Ends the wait for clients to take their last replies. */
  #cutShort: (() => void) | undefined;
  #stopHook: Promise<void> | undefined;

  /** Nothing ends before it is told to. */
  constructor(parts: EndingParts) {
    this.#parts = parts;
  }

  // ---- why it ends ----

  /** Takes no more requests; what waits is answered 503, or served first. */
  stop(queued: "refuse" | "serve", reason: string): void {
    const { events, plane, premises, settings, shutdown, timer } = this.#parts;
    const hosted = hostedServices(settings());
    const stopTimeout = Math.max(...hosted.map(([, own]) => own.stopTimeout));
    if (!shutdown.start(queued, stopTimeout, performance.now())) return;
    this.#stopHook = events.emit("stopping", { reason, queued });
    premises.leave();
    plane.send({ type: "drain", waiting: queued });
    timer.wake();
  }

  /** Waits for nobody any more. */
  kill(): void {
    const { plane, services, shutdown, store, timer } = this.#parts;
    this.stop("refuse", "killed");
    shutdown.kill(performance.now());
    services.killAll(performance.now());
    this.#cutShort?.();
    store.cutShort();
    plane.send({ type: "drain", waiting: "refuse" });
    timer.wake();
  }

  /** It can't start at all. */
  fail(error: Error): void {
    const { notifier, outcome, shutdown } = this.#parts;
    if (shutdown.phase === "stopping") return;
    outcome.fail(error);
    notifier?.failed(error);
    this.kill();
  }

  /** What must not fail has failed: nothing can be relied on. */
  broke(error: unknown): void {
    const { logs, notifier, outcome, plane, services, store } = this.#parts;
    outcome.fail(error);
    notifier?.failed(error);
    logs.log.error("the broker failed", { error: messageOf(outcome.failure) });
    store.cutShort();
    services.abandon();
    plane.send({ type: "stop" });
  }

  // ---- how it ends ----

  /** Does what is due of a stop; returns ms until it must run again. */
  tick(now: number): number {
    const { joiners, plane, services, shutdown, timer } = this.#parts;
    if (shutdown.phase === "serving") return Infinity;
    const rest = this.#rest();
    const step = shutdown.next(now, rest);
    if (step === "end") plane.send({ type: "stop" });
    if (step !== "stopWorkers") return shutdown.wait(now, rest);
    plane.send({ type: "drain", waiting: "refuse" });
    services.stop(now);
    joiners?.stop(shutdown.endAt - now, now);
    timer.wake();
    return 0;
  }

  /** How things are after all that has ticked before. */
  #rest(): Rest {
    const { plane, services } = this.#parts;
    const look = plane.look("now");
    const isDeserted = services.stopped && look.workers.size === 0;
    const { hasUnsent, readAt } = look;
    return { isIdle: activityOf(look).isIdle, isDeserted, hasUnsent, readAt };
  }

  /** Serves until it is stopped or breaks, and closes all. */
  async run(): Promise<void> {
    const { joiners, logs, notifier, outcome, operators, events } = this.#parts;
    const { plane, services, shutdown, signals } = this.#parts;
    try {
      await plane.run();
      await this.#closeSockets();
      await this.#stopHook;
    } catch (error) {
      this.broke(error);
    }
    await this.#parts.store.close(shutdown.endAt);
    this.#parts.cleanUp();
    await services.close();
    await operators.close();
    const { forced } = services;
    joiners?.close();
    if (outcome.failure === undefined) events.emit("stopped", { forced });
    await logs.close();
    this.#parts.timer.stop();
    notifier?.close();
    signals?.close();
    outcome.end({ forced });
  }

  /** Closes the sockets, and waits for clients to take what is on its way to them. */
  async #closeSockets(): Promise<void> {
    const { plane, shutdown } = this.#parts;
    const linger = Math.max(MIN_LINGER, shutdown.endAt - performance.now());
    // libzmq 4.3.5 may never end when a client that has not read leaves in this very moment.
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, linger + CLOSE_MARGIN);
    this.#cutShort = resolve;
    await Promise.race([plane.close(linger), promise]);
    clearTimeout(timer);
    // Closed or not, nothing of it may keep the program from ending.
    plane.abandon();
  }
}
