/**
 * A `BrokerLoop` in a thread of its own, as the thread of the server sees it.
 *
 * @module
 */

import { startThread } from "../system/own_modules.ts";
import { Rope } from "../system/rope.ts";
import { Desk } from "./desk.ts";
import { hasEnded } from "./inquirer.ts";
import type { Findings, Inquiries, InquiryKind } from "./inquiry.ts";
import { readView, type View } from "./look_text.ts";
import type { LoopOptions } from "./loop.ts";
import type { StoreWaking } from "./plane.ts";
import type { Look, LoopCommand, LoopEvent } from "./messages.ts";
import {
  type Bound,
  type FromThread,
  serveInThread,
  type ThreadOrders,
  type ToThread,
} from "./thread.ts";
import { errorTold, type ToldError } from "./told_errors.ts";

/** A thread that takes longer to come to life is given up, ms: the server serves by itself. */
const START_TIMEOUT = 5000;
/** Time between two looks that are told, ms: a message to another thread costs both some 0.1 ms. */
const WORKED_INTERVAL = 50;
/** How long this thread waits for a look at most, ms: the one before it must do then. */
const LOOK_TIMEOUT = 100;
/** How long the end of a program waits until all is closed, ms. */
const ABANDON_TIMEOUT = 2000;

/**
 * Commands that are waited for: a request that comes later must find other limits, other rules or a server that
 * takes no more, and a worker that is started later must be told the new endpoint.
 */
const AWAITED: ReadonlySet<LoopCommand["type"]> = new Set([
  "pause",
  "configure",
  "rules",
  "drain",
  "moveBackend",
]);

/** Whoever waits for what an inquiry finds. */
interface Pending {
  found(text: string): void;
  failed(error: Error): void;
}

/** No thread has come to life. */
export class NotStarted extends Error {
  override readonly name = "NotStarted";
}

/** The loop in a thread of its own. */
export class RemoteLoop {
  readonly #listener: (event: LoopEvent) => void;
  readonly #desk = new Desk();
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #rope: Rope;
  readonly #library: string;
  /** What ends a wait of the thread's. */
  readonly #bell: number;
  readonly #ended = Promise.withResolvers<void>();
  readonly #closed = Promise.withResolvers<void>();
  readonly frontend: readonly string[];
  readonly mdp: readonly string[];
  readonly events: readonly string[];
  readonly serviceFrontends: Readonly<Record<string, readonly string[]>>;
  readonly join: string | undefined;
  /** The latest known. */
  #view: View;
  /** Inquiries that were not answered, by their numbers. */
  readonly #asked = new Map<number, Pending>();
  #lastAsked = 0;
  /** Whether the thread may still listen to this one. */
  #isOpen = true;
  /** Whether it has said that it serves no more. */
  #hasEnded = false;

  /**
   * Gives the thread its orders and waits until it has bound all.
   *
   * @param thread A thread that was started and has no orders yet; it is this loop's from now on.
   * @throws {NotStarted} when the thread did not come to life.
   * @throws {Error} when an endpoint can't be bound.
   */
  constructor(
    library: string,
    options: LoopOptions,
    listener: (event: LoopEvent) => void,
    thread = startLoopThread(),
  ) {
    this.#listener = listener;
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#worker = thread;
    this.#worker.onerror = (event) => this.#crashed(event);
    const often = { ...options, workedInterval: WORKED_INTERVAL };
    const orders = { port: port2, memory: this.#desk.memory, library, options: often };
    this.#worker.postMessage(orders satisfies ThreadOrders, [port2]);
    try {
      const { frontend, mdp, events, serviceFrontends, join, bell, view } = this.#waitUntilBound();
      this.frontend = frontend;
      this.mdp = mdp;
      this.events = events;
      this.serviceFrontends = serviceFrontends;
      this.join = join;
      this.#view = readView(view);
      this.#rope = new Rope(library, bell);
      this.#library = library;
      this.#bell = bell;
    } catch (error) {
      this.#dismiss();
      throw error;
    }
    // Who is not waited for must not be a rejection that nobody hears.
    this.#closed.promise.catch(() => {});
    this.#ended.promise.catch(() => {});
    port1.onmessage = ({ data }) => this.#hear(data);
  }

  #waitUntilBound(): Bound {
    const desk = this.#desk;
    if (!desk.waitWhile("called", START_TIMEOUT) && desk.move("called", "unwanted")) {
      throw new NotStarted(`it did not start within ${START_TIMEOUT / 1000} s`);
    }
    desk.waitWhile("binding");
    const said = JSON.parse(desk.text);
    if (desk.isIn("failed")) throw errorTold(said);
    return said;
  }

  /** The endpoint really bound for workers. */
  get backend(): string {
    return this.#view.backend;
  }

  /** How things are, or were told last: see `DataPlane`. */
  look(as: "now" | "told"): Look {
    const desk = this.#desk;
    if (as === "now" && desk.isIn("serving")) {
      desk.ask();
      this.#rope.ring();
      this.#learn(desk.takeAnswer(LOOK_TIMEOUT));
    }
    // The last that it has said.
    if (desk.isIn("ended")) this.#learn(desk.text);
    return this.#view.look;
  }

  /** Messages may come later than an answer that is newer. */
  #learn(text: string | undefined): void {
    const view = text === undefined ? undefined : readView(text);
    if (view !== undefined && view.at >= this.#view.at) this.#view = view;
  }

  /** Has a command obeyed, after those that were sent before: by the time that it returns where that matters. */
  send(command: LoopCommand): void {
    this.#say({ type: "command", command });
    if (AWAITED.has(command.type)) this.look("now");
  }

  /** Asks something, which is answered between two passes: see `DataPlane`. */
  ask<Kind extends InquiryKind>(kind: Kind, question: Inquiries[Kind]): Promise<Findings[Kind]> {
    if (!this.#isOpen || this.#hasEnded) return Promise.reject(hasEnded());
    return new Promise((resolve, failed) => {
      const number = ++this.#lastAsked;
      this.#asked.set(number, { found: (text) => resolve(JSON.parse(text)), failed });
      this.#say({ type: "ask", number, inquiry: JSON.stringify({ kind, question }) });
    });
  }

  /** The store is about to be started: see `DataPlane`. */
  joinStore(port: MessagePort): StoreWaking {
    const counter = new SharedArrayBuffer(4);
    this.#say({ type: "store", port, counter }, [port]);
    return { library: this.#library, bell: this.#bell, counter };
  }

  #failAll(error: Error): void {
    for (const { failed } of this.#asked.values()) failed(error);
    this.#asked.clear();
  }

  /** Serves until it is told to stop. */
  run(): Promise<void> {
    this.#desk.clock = performance.now();
    this.#desk.move("bound", "serving");
    return this.#ended.promise;
  }

  /** Closes all before it returns. */
  abandon(): void {
    if (!this.#isOpen) return;
    const desk = this.#desk;
    this.#say({ type: "abandon" });
    desk.move("bound", "serving");
    desk.waitWhile("serving", ABANDON_TIMEOUT);
    desk.waitWhile("ended", ABANDON_TIMEOUT);
    this.#dismiss();
  }

  /** Closes the sockets after `run` has ended; replies are delivered for up to `lingerMs`. */
  async close(lingerMs: number): Promise<void> {
    this.#say({ type: "close", lingerMs });
    await this.#closed.promise;
  }

  #say(message: ToThread, transfer: Transferable[] = []): void {
    if (!this.#isOpen) return;
    // Counted before the thread can hear it: else it might wait for a message that it has heard.
    this.#desk.noteSent();
    this.#port.postMessage(message, transfer);
    // Last: once the bell was heard, nothing else tells of it.
    this.#rope.ring();
  }

  #hear(message: FromThread): void {
    switch (message.type) {
      case "told":
        return this.#told(message);
      case "found":
        return this.#found(message.number, message.finding);
      case "ended":
        this.#hasEnded = true;
        this.#failAll(hasEnded());
        return this.#ended.resolve();
      case "closed":
        this.#dismiss();
        return this.#closed.resolve();
      case "broke":
        return this.#broke(errorTold(message.error));
    }
  }

  #told({ events, view, units }: Extract<FromThread, { type: "told" }>): void {
    this.#learn(view);
    this.#desk.heard = units;
    for (const event of events) this.#listener(event);
    if (view !== undefined) this.#listener({ type: "worked" });
  }

  #found(number: number, finding: string | ToldError): void {
    const pending = this.#asked.get(number);
    this.#asked.delete(number);
    if (typeof finding === "string") pending?.found(finding);
    else pending?.failed(errorTold(finding));
  }

  /** An error that the thread itself has not caught. */
  #crashed(event: ErrorEvent): void {
    event.preventDefault();
    this.#broke(new Error(event.message));
  }

  #broke(error: Error): void {
    this.#failAll(error);
    this.#dismiss();
    this.#ended.reject(error);
    this.#closed.reject(error);
  }

  #dismiss(): void {
    this.#isOpen = false;
    this.#failAll(hasEnded());
    this.#port.close();
    this.#rope?.close();
    this.#worker.terminate();
  }
}

/**
 * Starts a thread that does nothing before it gets its orders. Its module stands in an import of this one, so that it
 * is there wherever this one is: nothing is fetched late.
 */
export function startLoopThread(): Worker {
  return startThread(new URL("./thread.ts", import.meta.url).href, serveInThread.name, "sockets");
}
