/**
 * The store in a thread of its own: a Web Worker in which nothing else runs. What the plane and the server say comes
 * by their ports; all that has come is taken at once, so that one commit serves it. What the store says goes back in
 * one message per turn, and the plane, which sleeps in a call of the system, is woken by its bell.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { messageOf } from "../system/errors.ts";
import { Parcel } from "../system/parcel.ts";
import { Rope } from "../system/rope.ts";
import { giveWay } from "../system/thread_priority.ts";
import type { JobStore, OpenJobStore, StoreClock, StoreParts, StoreUser } from "./job_store.ts";
import type { Frames, FromStore, StoreOrders, ToStore } from "./messages.ts";

/** Modules of stores by the scheme of their names; each exports `openStore`. */
const MODULES: Record<string, string> = {
  sqlite: "./sqlite_store.ts",
  nats: "./nats_store.ts",
  tls: "./nats_store.ts",
};

/**
 * Serves in this thread, which must be a Web Worker and have been sent nothing but its `StoreOrders`.
 *
 * @param open opens the store; only tests have another way.
 */
export function serveStore(open: OpenJobStore = openByName): void {
  addEventListener("message", (event) => {
    if (event instanceof MessageEvent) new StoreThread(event.data).live(open);
  }, { once: true });
}

/** The system's clock. */
export const SYSTEM_CLOCK: StoreClock = {
  now: () => Date.now(),
  steady: () => performance.now(),
  after: (ms, call) => {
    const timer = setTimeout(call, ms);
    return () => clearTimeout(timer);
  },
};

/** The thread's life. */
class StoreThread {
  readonly #orders: StoreOrders;
  readonly #ends: Record<StoreUser, PortEnd>;
  readonly #plane: PlaneEnd;
  #store: JobStore | undefined;
  /** Users that have said "bye". */
  readonly #gone = new Set<StoreUser>();
  #isClosing = false;

  constructor(orders: StoreOrders) {
    this.#orders = orders;
    const givesAway = orders.store.startsWith("sqlite:");
    this.#plane = new PlaneEnd(orders.plane, givesAway, orders.waking);
    this.#ends = { server: new PortEnd(orders.server, givesAway), plane: this.#plane };
  }

  async live(open: OpenJobStore): Promise<void> {
    const { store, config, nats } = this.#orders;
    const emit = (to: StoreUser, messages: FromStore[]) => this.#ends[to].say(messages);
    try {
      this.#store = await open({ store, config, nats, clock: SYSTEM_CLOCK, emit });
    } catch (error) {
      // A module that can't be loaded: nothing can be asked of it.
      this.#ends.server.say([{ type: "failed", message: messageOf(error) }]);
      this.#store = new Refusing(messageOf(error), emit);
    }
    for (const user of ["server", "plane"] as const) this.#listen(user, this.#store);
  }

  #listen(user: StoreUser, store: JobStore): void {
    this.#ends[user].listen((messages) => this.#hear(user, store, messages));
  }

  #hear(user: StoreUser, store: JobStore, messages: readonly ToStore[]): void {
    if (this.#isClosing) return;
    store.take(messages, user);
    if (user === "server" && messages.some(({ type }) => type === "pulse")) {
      this.#ends.server.say([{ type: "pulse" }]);
    }
    if (messages.at(-1)?.type !== "bye") return;
    this.#gone.add(user);
    if (this.#gone.size === 2) void this.#close(store);
  }

  async #close(store: JobStore): Promise<void> {
    this.#isClosing = true;
    try {
      await store.close();
    } finally {
      this.#ends.server.say([{ type: "closed" }]);
      this.#plane.close();
      this.#ends.server.close();
      close();
    }
  }
}

/** Opens the store of a name. */
export async function openByName(parts: StoreParts): Promise<JobStore> {
  const [scheme = ""] = parts.store.split(":", 1);
  const name = MODULES[scheme];
  if (name === undefined) {
    throw new TypeError(`Cannot open "${parts.store}": unknown kind of store`);
  }
  // Computed, so that what one kind of store needs is not loaded for the other.
  const module: { openStore: OpenJobStore } = await import(new URL(name, import.meta.url).href);
  return module.openStore(parts);
}

/** Hands the bytes of a message over, in place of copying them; the store does not read them again. */
function handOver(message: FromStore, parcel: Parcel): void {
  switch (message.type) {
    case "job":
      return giveFrames(message.run.body, parcel);
    case "answer":
      return giveFrames(message.answer.result, parcel);
    case "told":
      if (message.answer.type !== "look") return;
      giveFrames(message.answer.body, parcel);
      giveFrames(message.answer.result, parcel);
  }
}

function giveFrames(frames: Frames | undefined, parcel: Parcel): void {
  if (frames !== undefined) frames.bytes = parcel.give(frames.bytes);
}

/** The thread's end of a port. */
class PortEnd {
  readonly port: MessagePort;
  readonly #givesAway: boolean;
  readonly #parcel = new Parcel();
  #heard: ToStore[] = [];
  #pending: FromStore[] = [];
  #isFlushing = false;

  /** `givesAway`: the store does not read again what it has said. */
  constructor(port: MessagePort, givesAway: boolean) {
    this.port = port;
    this.#givesAway = givesAway;
  }

  /** Calls with all that has come in a turn. */
  listen(hear: (messages: readonly ToStore[]) => void): void {
    this.port.onmessage = ({ data }) => {
      // While a commit was under way much may have come: it is taken together, once all of it is here.
      if (this.#heard.length === 0) setImmediate(() => this.#hand(hear));
      for (const message of data) this.#heard.push(message);
    };
  }

  #hand(hear: (messages: readonly ToStore[]) => void): void {
    const messages = this.#heard;
    this.#heard = [];
    hear(messages);
  }

  /** Says it with all else that is said in this turn. */
  say(messages: FromStore[]): void {
    if (this.#isFlushing) {
      for (const message of messages) this.#pending.push(message);
      return;
    }
    this.#pending = messages;
    this.#isFlushing = true;
    queueMicrotask(() => this.flush());
  }

  /** Sends what was said. */
  flush(): void {
    this.#isFlushing = false;
    const messages = this.#pending;
    if (messages.length === 0) return;
    this.#pending = [];
    this.send(messages);
  }

  /** Sends. */
  send(messages: readonly FromStore[]): void {
    if (this.#givesAway) { for (const message of messages) handOver(message, this.#parcel); }
    this.port.postMessage(messages, this.#parcel.close());
  }

  close(): void {
    this.flush();
    this.port.close();
  }
}

/** The end towards the plane: its counter counts messages, and its bell is rung for the first that is not heard. */
class PlaneEnd extends PortEnd {
  readonly #counter: Int32Array | undefined;
  readonly #rope: Rope | undefined;

  constructor(port: MessagePort, givesAway: boolean, waking: StoreOrders["waking"]) {
    super(port, givesAway);
    if (waking === undefined) return;
    this.#counter = new Int32Array(waking.counter);
    this.#rope = new Rope(waking.library, waking.bell);
    // Requests go first: they wait for the plane's thread, which must not wait for this one.
    giveWay(waking.library);
  }

  override send(messages: readonly FromStore[]): void {
    // Counted before it is posted: the plane waits for as many as it sees here.
    if (this.#counter !== undefined) Atomics.add(this.#counter, 0, 1);
    super.send(messages);
    this.#rope?.ring();
  }

  override close(): void {
    super.close();
    this.#rope?.close();
  }
}

/** In place of a store that can't be loaded. */
class Refusing implements JobStore {
  readonly #message: string;
  readonly #emit: StoreParts["emit"];

  constructor(message: string, emit: StoreParts["emit"]) {
    this.#message = message;
    this.#emit = emit;
  }

  take(messages: readonly ToStore[], from: StoreUser): void {
    const answers: FromStore[] = [];
    for (const message of messages) {
      if (!("number" in message) || message.type === "withdraw") continue;
      answers.push({
        type: "refused",
        number: message.number,
        code: 507,
        message: this.#message,
      });
    }
    if (answers.length > 0) this.#emit(from, answers);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
