/**
 * The data plane as the server sees it: the loop between sockets and broker, in a thread of its own if this process
 * may start one, else on the thread of the server.
 *
 * @module
 */

import type { StoreOrders } from "../store/messages.ts";
import { obstacleToThreads } from "../system/own_modules.ts";
import { canOpen } from "../zmq/descriptors.ts";
import { Errno, errorOf, type Library } from "../zmq/library.ts";
import { BrokerLoop, type LoopOptions } from "./loop.ts";
import type { Findings, Inquiries, InquiryKind } from "./inquiry.ts";
import type { Look, LoopCommand, LoopEvent } from "./messages.ts";
import { NotStarted, RemoteLoop, startLoopThread } from "./remote_loop.ts";

/** What gives jobs to workers. */
export interface DataPlane {
  /** The endpoints really bound for clients of all services. */
  readonly frontend: readonly string[];
  /** The same of those for clients that speak Majordomo. */
  readonly mdp: readonly string[];
  /** The same of those for SUB sockets. */
  readonly events: readonly string[];
  /** The same of those services that have endpoints of their own, by their names. */
  readonly serviceFrontends: Readonly<Record<string, readonly string[]>>;
  /** The endpoint really bound for workers. */
  readonly backend: string;
  /** The same for pools on other machines; undefined: none can join. */
  readonly join: string | undefined;
  /**
   * How things are: "now", after all commands that were sent before, for which this thread may have to wait some
   * ms; or as they were "told" last, some ms ago unless this thread was held up.
   */
  look(as: "now" | "told"): Look;
  /**
   * Asks something of what is in memory. Answered between two turns of the loop, one inquiry after the other, and
   * after all commands that were sent before. A list of many is made in several turns: what has ended in between is
   * left out.
   *
   * @throws {Error} by its promise, when the server has ended, or ends before the answer is there; when 100 inquiries
   * wait already; or with what has failed in making the answer.
   */
  ask<Kind extends InquiryKind>(kind: Kind, question: Inquiries[Kind]): Promise<Findings[Kind]>;
  /**
   * The store of jobs is about to be started, and has the other end of this port: returns how its thread wakes the
   * plane's; undefined: the plane has none.
   */
  joinStore(port: MessagePort): StoreWaking | undefined;
  /** Has a command obeyed, after those that were sent before. */
  send(command: LoopCommand): void;
  /**
   * Serves until it is told to stop.
   *
   * @throws {Error} when what must not fail has failed.
   */
  run(): Promise<void>;
  /** Closes all before it returns, for a program that ends or starts again: `run` never returns then. */
  abandon(): void;
  /** Closes the sockets after `run` has ended; replies are delivered for up to `lingerMs`. */
  close(lingerMs: number): Promise<void>;
}

/** See `StoreOrders`. */
export type StoreWaking = NonNullable<StoreOrders["waking"]>;

/** A data plane, and why it has no thread of its own; undefined: it has one. */
export interface OpenedPlane {
  plane: DataPlane;
  flaw: string | undefined;
}

/** Descriptors that a thread takes before it runs anything of ours: the runtime panics when it gets none. */
const THREAD_FILES = 16;
/** The same while this thread goes on with opening files of its own. */
const ROOMY_FILES = 64;

/**
 * Starts a thread for `openPlane`, which takes some 0.1 s to boot and meanwhile keeps nobody waiting. Undefined: there
 * may be none, or it is not known whether descriptors are left for it.
 *
 * @param freeFiles How many more files this process can open; undefined: it can't be told.
 */
export function bootThread(freeFiles: number | undefined): Worker | undefined {
  if (freeFiles === undefined || freeFiles < ROOMY_FILES) return undefined;
  return obstacleToThreads() === undefined ? startLoopThread() : undefined;
}

/**
 * Binds the sockets; nothing is served before `run`.
 *
 * @param listener is told what happens, in order; must not throw.
 * @param thread A thread that was started and has no orders yet; it is the plane's from now on.
 * @throws {Error} when an endpoint can't be bound.
 */
export function openPlane(
  library: Library,
  options: LoopOptions,
  listener: (event: LoopEvent) => void,
  thread?: Worker,
): OpenedPlane {
  const here = (flaw: string) => ({ plane: new BrokerLoop(library, options, listener), flaw });
  const flaw = obstacleToThreads();
  if (flaw !== undefined) return here(flaw);
  if (thread === undefined && !canOpen(library, THREAD_FILES)) {
    throw errorOf(library, "start a thread", Errno.EMFILE);
  }
  try {
    return { plane: new RemoteLoop(library.path, options, listener, thread), flaw: undefined };
  } catch (error) {
    if (!(error instanceof NotStarted)) throw error;
    return here(error.message);
  }
}
