/**
 * The store of background jobs, in a thread of its own: started when the first job is to be stored, or at the start of
 * a server that will have some, and closed last. Nothing of it is loaded before. Not here: what it does (store/).
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { DataPlane } from "../ports/plane.ts";
import type {
  FromStore,
  JobAnswer,
  JobQuestion,
  OperatorAnswer,
  OperatorQuestion,
  StoreOrders,
  Submission,
  ToStore,
} from "../store/messages.ts";
import { messageOf } from "../system/errors.ts";
import { obstacleToThreads, startThread } from "../system/own_modules.ts";
import { readVariable } from "../system/variables.ts";
import type { Log } from "./log.ts";
import { type StoreLink, StoreRefusedError } from "./store_link.ts";
import {
  natsOrdersOf,
  needsStore,
  storeConfigOf,
  type StorePlace,
  storePlace,
} from "./store_orders.ts";
import { StoreWatch } from "./store_watch.ts";

/** A thread of the store, as its host sees it. */
export interface StoreThread {
  postMessage(orders: StoreOrders, transfer: Transferable[]): void;
  terminate(): void;
}

/** What a `StoreHost` works with. */
export interface StoreHostParts {
  log: Log;
  plane: Pick<DataPlane, "joinStore" | "send">;
  /** The options of now. */
  settings(): Settings;
  /** The first endpoint that is bound: it names the server. */
  endpoint: string;
  /** Has the host tick soon. */
  wake(): void;
  /** Starts a thread, which reports an error that it has not caught; only tests have another way. */
  startThread?(failed: (reason: string) => void): StoreThread;
  /** A clock that is never set, ms. */
  now?(): number;
}

/** The store has this time to commit what it was given last, and at most this, ms. */
const MIN_CLOSE = 1000;
const MAX_CLOSE = 10_000;
const INSUFFICIENT_STORAGE = 507;
const FAILED = "the store has failed: jobs are refused until it is started again";
const STOPS_SHORT = "the store was ended: what it has acknowledged is safe";

/** Whoever waits for what the store answers. */
interface Pending {
  answered(message: FromStore): void;
  refused(error: StoreRefusedError): void;
}

/** A thread that was started. */
interface Running {
  readonly thread: StoreThread;
  readonly port: MessagePort;
}

/** The store of one server. */
export class StoreHost implements StoreLink {
  readonly #parts: StoreHostParts;
  readonly #place: StorePlace;
  readonly #startThread: NonNullable<StoreHostParts["startThread"]>;
  readonly #now: () => number;
  readonly #watch = new StoreWatch();
  #running: Running | undefined;
  /** It was started once: there is something to ask, or to say about it. */
  #wasUsed = false;
  /** Why there is none; undefined: there is one, or there was none so far. */
  #reason: string | undefined;
  readonly #asked = new Map<number, Pending>();
  #last = 0;
  readonly #closed = Promise.withResolvers<void>();
  #isEnding = false;

  /** Starts nothing; `settings`: those of the start, as the place stays what it was. */
  constructor(parts: StoreHostParts, settings: Settings) {
    this.#parts = parts;
    this.#startThread = parts.startThread ?? startStore;
    this.#now = parts.now ?? (() => performance.now());
    this.#place = settings.join === undefined
      ? storePlace(settings, parts.endpoint, readVariable)
      : { reason: "the server that was joined does that" };
  }

  get store(): string {
    return "store" in this.#place ? withoutSecrets(this.#place.store) : "off";
  }

  get isUsed(): boolean {
    return this.#wasUsed;
  }

  get trouble(): string | undefined {
    return "reason" in this.#place ? this.#place.reason : this.#reason;
  }

  /** Starts it, if jobs will come without a client, or there are some from before. */
  begin(): void {
    if (!("store" in this.#place)) return;
    if (needsStore(this.#parts.settings()) || hasFile(this.#place)) this.want();
  }

  /** Starts it; the plane is told if that can't be. */
  want(): void {
    if (this.#running !== undefined || this.#isEnding) return;
    const isResting = this.#watch.restMs(this.#now()) > 0;
    const reason = isResting ? this.#reason : this.#start();
    if (reason === undefined) return;
    if (this.#reason !== reason) this.#parts.log.warn("jobs can't be stored", { reason });
    this.#reason = reason;
    this.#parts.plane.send({ type: "storeLost", message: `Jobs can't be stored: ${reason}` });
  }

  /** Starts the thread; why it can't be. */
  #start(): string | undefined {
    const place = this.#place;
    if ("reason" in place) return place.reason;
    const missing = obstacleToThreads();
    if (missing !== undefined) return missing;
    try {
      this.#running = this.#open(place.store);
      this.#wasUsed = true;
      return undefined;
    } catch (error) {
      return messageOf(error);
    }
  }

  #open(store: string): Running {
    const { plane } = this.#parts;
    const settings = this.#parts.settings();
    const [own, theirs] = channel();
    const [planes, storesPlane] = channel();
    const thread = this.#startThread((reason) => {
      // One that was given up may still fail.
      if (this.#running?.thread === thread) this.#lost(reason);
    });
    const waking = plane.joinStore(planes);
    const orders: StoreOrders = {
      store,
      config: storeConfigOf(settings),
      nats: natsOrdersOf(settings),
      server: theirs,
      plane: storesPlane,
      waking,
    };
    thread.postMessage(orders, [theirs, storesPlane]);
    own.onmessage = ({ data }) => this.#hear(data);
    this.#watch.started(this.#now());
    this.#parts.wake();
    return { thread, port: own };
  }

  /** Starts again what was lost, and asks whether the thread still answers; returns ms until it must run again. */
  tick(now: number): number {
    if (this.#isEnding) return Infinity;
    const step = this.#watch.step(now);
    if (step === "start") this.want();
    else if (step === "ask") this.#say({ type: "pulse" });
    else if (step === "giveUp") this.#lost(`it has not answered for ${this.#watch.silenceS} s`);
    return this.#watch.waitMs(now);
  }

  /** Works by other bounds from now on. */
  configure(settings: Settings): void {
    this.#say({ type: "configure", config: storeConfigOf(settings) });
  }

  #say(message: ToStore): void {
    this.#running?.port.postMessage([message]);
  }

  // ---- what is asked ----

  operate(question: OperatorQuestion): Promise<OperatorAnswer> {
    return this.#ask((number) => ({ type: "operate", number, question }), (message) => {
      if (message.type !== "told") throw unexpected();
      return message.answer;
    });
  }

  ask(question: JobQuestion): Promise<JobAnswer> {
    return this.#ask(
      (number) => ({ type: "ask", number, user: undefined, question }),
      (message) => {
        if (message.type !== "answer") throw unexpected();
        return message.answer;
      },
    );
  }

  submit(job: Submission): Promise<{ id: string; isNew: boolean }> {
    return this.#ask((number) => ({ type: "submit", number, job }), (message) => {
      if (message.type !== "stored") throw unexpected();
      return { id: message.id, isNew: message.isNew };
    });
  }

  #ask<Answer>(
    question: (number: number) => ToStore,
    read: (message: FromStore) => Answer,
  ): Promise<Answer> {
    this.want();
    if (this.#running === undefined) {
      const message = `Jobs can't be stored: ${this.#reason ?? "the server is stopping"}`;
      return Promise.reject(new StoreRefusedError(INSUFFICIENT_STORAGE, message));
    }
    const number = ++this.#last;
    return new Promise((resolve, refused) => {
      this.#asked.set(number, { answered: (message) => resolve(read(message)), refused });
      this.#say(question(number));
    });
  }

  // ---- what it says ----

  #hear(messages: readonly FromStore[]): void {
    for (const message of messages) this.#take(message);
  }

  #take(message: FromStore): void {
    const { log } = this.#parts;
    this.#watch.answered(this.#now());
    switch (message.type) {
      case "log":
        return log[message.level](message.message, message.fields);
      case "opened":
        this.#reason = undefined;
        return log.info("the store is open", { store: this.store });
      case "failed":
        return this.#failed(message.message);
      case "pulse":
        return;
      case "closed":
        return this.#closed.resolve();
      case "told":
      case "answer":
      case "stored":
        return this.#pendingOf(message.number)?.answered(message);
      case "refused": {
        const { number, code } = message;
        return this.#pendingOf(number)?.refused(new StoreRefusedError(code, message.message));
      }
    }
  }

  #pendingOf(number: number): Pending | undefined {
    const pending = this.#asked.get(number);
    this.#asked.delete(number);
    return pending;
  }

  /** It tries again by itself. */
  #failed(reason: string): void {
    this.#reason = reason;
    this.#parts.log.error("the store can't be opened", { store: this.store, reason });
  }

  /** The thread has failed, or does not answer any more: another one takes its place, which runs what was stored. */
  #lost(cause: string): void {
    const reason = `the store has failed: ${cause}`;
    this.#reason = reason;
    this.#dismiss(`Jobs can't be stored: ${reason}`);
    this.#closed.resolve();
    if (this.#isEnding) return this.#parts.log.error(STOPS_SHORT, { store: this.store, reason });
    const restart = `in ${this.#watch.lost(this.#now()) / 1000} s`;
    this.#parts.log.error(FAILED, { store: this.store, reason: cause, restart });
    this.#parts.plane.send({ type: "storeLost", message: `Jobs can't be stored: ${reason}` });
    this.#parts.wake();
  }

  // ---- the end ----

  /** Lets it commit what it has, for as long as the server may take; `endAt`: ms. */
  async close(endAt: number): Promise<void> {
    this.#isEnding = true;
    if (this.#running === undefined) return;
    this.#say({ type: "bye" });
    const left = Math.max(MIN_CLOSE, Math.min(MAX_CLOSE, endAt - performance.now()));
    const timer = setTimeout(() => {
      this.#parts.log.error(STOPS_SHORT, {
        store: this.store,
        reason: "it was not closed in time",
      });
      this.cutShort();
    }, left);
    await this.#closed.promise;
    clearTimeout(timer);
    this.#dismiss("The server stops");
  }

  /** Waits for it no more. What it has acknowledged is safe. */
  cutShort(): void {
    this.#closed.resolve();
  }

  /** Ends it at once, for a program that ends or starts again. */
  abandon(): void {
    this.#isEnding = true;
    this.#dismiss("The server stops");
  }

  /** Ends the thread; what it was asked is refused. */
  #dismiss(message: string): void {
    const running = this.#running;
    this.#running = undefined;
    running?.port.close();
    running?.thread.terminate();
    const ended = new StoreRefusedError(INSUFFICIENT_STORAGE, message);
    for (const { refused } of this.#asked.values()) refused(ended);
    this.#asked.clear();
  }
}

function channel(): [MessagePort, MessagePort] {
  const { port1, port2 } = new MessageChannel();
  return [port1, port2];
}

function unexpected(): TypeError {
  return new TypeError("The store has answered something else");
}

/** Whether jobs were stored there before. */
function hasFile(place: StorePlace): boolean {
  if (!("store" in place) || !place.store.startsWith("sqlite:")) return false;
  try {
    return Deno.statSync(place.store.slice("sqlite:".length)).isFile;
  } catch {
    return false;
  }
}

/** The name of a store without what may be a secret in it. */
function withoutSecrets(store: string): string {
  return store.replaceAll(/\/\/[^/@,]*@/g, "//").replaceAll(/,[^/@,]*@/g, ",");
}

/** Starts a thread that does nothing before it gets its orders. */
function startStore(failed: (reason: string) => void): StoreThread {
  const module = new URL("../store/thread.ts", import.meta.url).href;
  const thread = startThread(module, "serveStore", "store");
  thread.onerror = (event) => {
    event.preventDefault();
    // "Uncaught (in promise) TypeError: …", maybe with its stack.
    const [line = ""] = event.message.replace(/^Uncaught (\(in promise\) )?/, "").split("\n", 1);
    failed(line);
  };
  return thread;
}
