/**
 * The loop in a thread of its own: a Web Worker in which nothing else runs. What the server says comes by messages
 * and is heard when the bell has rung; what happens goes back by messages, all of a pass in one. What can't wait
 * for an event loop goes over the desk.
 *
 * @module
 */

import { openWhenUsed } from "../zmq/library.ts";
import { Bulletin } from "./bulletin.ts";
import { Desk } from "./desk.ts";
import { writeView } from "./look_text.ts";
import { BrokerLoop, type LoopOptions } from "./loop.ts";
import type { LoopCommand, LoopEvent } from "./messages.ts";
import { SETTLE_INTERVAL } from "./tidying.ts";
import { tellable, type ToldError } from "./told_errors.ts";

/** What the thread is made of: the first message to it. */
export interface ThreadOrders {
  /** The thread's end of all further messages. */
  port: MessagePort;
  /** The desk's. */
  memory: SharedArrayBuffer;
  /** The file of libzmq. */
  library: string;
  options: LoopOptions;
}

/** What the server says to the thread. */
export type ToThread =
  | { type: "command"; command: LoopCommand }
  /** An inquiry, its kind and its question as JSON; answered "found" with the same number. */
  | { type: "ask"; number: number; inquiry: string }
  /** The store was started: the way to it, and where it counts what it sends. */
  | { type: "store"; port: MessagePort; counter: SharedArrayBuffer }
  /** After "ended": close the sockets; replies are delivered for up to `lingerMs`. */
  | { type: "close"; lingerMs: number }
  /** Close all at once. */
  | { type: "abandon" };

/** What the thread says to the server. */
export type FromThread =
  /** What happened in a pass; `view`: how things are then, where that may have changed; `units`: see Desk.heard. */
  | { type: "told"; events: readonly LoopEvent[]; view: string | undefined; units: number }
  /** What an inquiry has found, as JSON; or why it has found nothing. */
  | { type: "found"; number: number; finding: string | ToldError }
  /** The loop was told to stop, and has. */
  | { type: "ended" }
  /** The sockets are closed, and the thread ends. */
  | { type: "closed" }
  /** What must not fail has failed. Everything is closed, and the thread ends. */
  | { type: "broke"; error: ToldError };

/** What the desk says of the sockets once they are bound. */
export interface Bound {
  frontend: readonly string[];
  mdp: readonly string[];
  events: readonly string[];
  serviceFrontends: Readonly<Record<string, readonly string[]>>;
  join?: string | undefined;
  /** What ends a wait of the thread's when it is rung. */
  bell: number;
  view: string;
}

/** Serves in this thread, which must be a Web Worker and have been sent nothing but its `ThreadOrders`. */
export function serveInThread(): void {
  addEventListener("message", (event) => {
    if (event instanceof MessageEvent) new LoopThread(event.data).live();
  }, { once: true });
}

/** The thread's life. */
class LoopThread {
  readonly #orders: ThreadOrders;
  readonly #desk: Desk;
  readonly #port: MessagePort;
  readonly #bulletin: Bulletin;
  #loop: BrokerLoop | undefined;
  /** Messages that were heard, and who waits until all that were sent are. */
  #heard = 0;
  #caughtUp: (() => void) | undefined;
  /** When V8's tasks are let run next, if there may be some, ms. */
  #tasksAt = 0;
  /** How far the server's clock is ahead of this thread's, ms. */
  #aheadMs = 0;

  constructor(orders: ThreadOrders) {
    this.#orders = orders;
    this.#port = orders.port;
    const desk = this.#desk = new Desk(orders.memory);
    this.#bulletin = new Bulletin(() => desk.heard);
  }

  /** Binds, serves, and closes. */
  async live(): Promise<void> {
    // The server may have given it up, and do the work itself.
    if (!this.#desk.move("called", "binding")) return close();
    const loop = this.#open();
    if (loop === undefined) return close();
    this.#port.onmessage = ({ data }) => this.#hear(loop, data);
    this.#desk.waitWhile("bound");
    this.#aheadMs = this.#desk.clock - performance.now();
    try {
      await loop.runAlone(() => this.#pause(loop));
      this.#end(loop);
    } catch (error) {
      this.#break(loop, error);
    }
  }

  /** Binds, and puts on the desk what has come of it. */
  #open(): BrokerLoop | undefined {
    const { library, options } = this.#orders;
    const desk = this.#desk;
    try {
      const loop = new BrokerLoop(
        openWhenUsed(library),
        options,
        (event) => this.#bulletin.add(event),
      );
      const { frontend, mdp, events, serviceFrontends, join, bell } = loop;
      const view = this.#view(loop);
      const bound: Bound = { frontend, mdp, events, serviceFrontends, join, bell, view };
      desk.text = JSON.stringify(bound);
      desk.enter("bound");
      return loop;
    } catch (error) {
      desk.text = JSON.stringify(tellable(error));
      desk.enter("failed");
    }
  }

  // ---- what the server says ----

  #hear(loop: BrokerLoop, message: ToThread): void {
    this.#heard = (this.#heard + 1) | 0;
    try {
      this.#obey(loop, message);
    } catch (error) {
      this.#break(loop, error);
    }
    if (this.#heard === this.#desk.sent) this.#caughtUp?.();
  }

  #obey(loop: BrokerLoop, message: ToThread): void {
    switch (message.type) {
      case "command":
        return loop.send(message.command);
      case "ask":
        return this.#ask(loop, message.number, message.inquiry);
      case "store":
        return loop.joinStore(message.port, message.counter);
      case "close":
        return void this.#close(loop, message.lingerMs);
      case "abandon":
        loop.abandon();
        return this.#leave("abandoned");
    }
  }

  #ask(loop: BrokerLoop, number: number, inquiry: string): void {
    const { kind, question } = JSON.parse(inquiry);
    const say = (finding: string | ToldError) => this.#say({ type: "found", number, finding });
    loop.inquire(kind, question, {
      found: (finding) => say(JSON.stringify(finding)),
      failed: (error) => say(tellable(error)),
    });
  }

  // ---- between two passes ----

  /** Tells what has happened, and answers; a promise: there are messages to be heard. */
  #pause(loop: BrokerLoop): Promise<void> | undefined {
    this.#tell(loop);
    const desk = this.#desk;
    if (this.#heard !== desk.sent) return this.#catchUp();
    // Only now: the answer holds after all that was said before the question.
    if (desk.isAsked) desk.answer(this.#view(loop));
    if (loop.store.isBehind) return loop.store.catchUp();
    return loop.isSettling ? this.#letTasksRun() : undefined;
  }

  /** Nothing but the event loop runs V8's tasks, and a thread that waits in a call of the system has none. */
  #letTasksRun(): Promise<void> | undefined {
    const now = performance.now();
    if (now < this.#tasksAt) return undefined;
    this.#tasksAt = now + SETTLE_INTERVAL;
    return new Promise((resolve) => setTimeout(resolve, 0));
  }

  #catchUp(): Promise<void> {
    return new Promise((resolve) => this.#caughtUp = resolve);
  }

  #tell(loop: BrokerLoop): void {
    const news = this.#bulletin.take();
    if (news === undefined) return;
    const { events, units, asksForLook } = news;
    this.#say({ type: "told", events, units, view: asksForLook ? this.#view(loop) : undefined });
  }

  #say(message: FromThread): void {
    this.#port.postMessage(message);
  }

  #view(loop: BrokerLoop): string {
    const { backend } = loop;
    return writeView({ at: performance.now(), backend, look: loop.look() }, this.#aheadMs);
  }

  // ---- the end ----

  #end(loop: BrokerLoop): void {
    this.#tell(loop);
    this.#desk.answer(this.#view(loop));
    this.#desk.enter("ended");
    this.#say({ type: "ended" });
  }

  async #close(loop: BrokerLoop, lingerMs: number): Promise<void> {
    await loop.close(lingerMs);
    this.#say({ type: "closed" });
    this.#leave("closed");
  }

  #break(loop: BrokerLoop, error: unknown): void {
    this.#say({ type: "broke", error: tellable(error) });
    try {
      loop.abandon();
    } finally {
      this.#leave("closed");
    }
  }

  #leave(phase: "abandoned" | "closed"): void {
    this.#desk.enter(phase);
    this.#port.close();
    close();
  }
}
