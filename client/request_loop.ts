/**
 * Runs the requests of a client, from when they are sent until they have ended: receives, decides, sends, waits. What is
 * sent when and given up is decided in lazy_pirate.ts, on which connection in links.ts; connections.ts owns these. What a
 * request is made of, and what its caller is given, is client.ts's.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { Code } from "../wire/request.ts";
import type { Library } from "../zmq/library.ts";
import type { Answer } from "./answer.ts";
import { type Ask, endParts, takePart } from "./ask.ts";
import type { Settings } from "./checks.ts";
import { Connections } from "./connections.ts";
import type { Keys } from "./keys.ts";
import { LazyPirate } from "./lazy_pirate.ts";
import { NativeTransport } from "./native_transport.ts";
import type { PartQueue } from "./part_queue.ts";
import { AbandonedError, parseDetails, Reply, ReplyError } from "./reply.ts";
import type { Link, Pending, Repetition, Step, Terms } from "./steps.ts";
import type { StreamGround } from "./streams.ts";
import { type Connection, describeWait, reasonOf } from "./transport.ts";
import { ZmqTransport } from "./zmq_transport.ts";

const encoder = new TextEncoder();

/** Messages that are read before signals and timers have their turn. */
const BATCH_MESSAGES = 1000;

/** The requests of a client that are under way. */
export class RequestLoop implements StreamGround {
  readonly #settings: Settings;
  readonly #keys: Keys | undefined;
  readonly #pirate: LazyPirate<Ask>;
  readonly #connections: Connections<Link<Ask>>;
  /** What servers that were shutting down have said about requests: the last refusal of each. */
  readonly #refusals = new WeakMap<Ask, ReplyError>();
  /** The loop, while anything is under way. */
  #running: Promise<void> | undefined;
  #isClosed = false;
  /** Whether something was asked or withdrawn since the loop last decided what to do. */
  #changed = false;

  /** Connects with the first request; `keys`: those that the settings name. */
  constructor(settings: Settings, library: Library, keys: Keys | undefined) {
    this.#settings = settings;
    this.#keys = keys;
    const { plain, endpoints, transport } = settings;
    const identity = encoder.encode(settings.identity);
    const named = identity.length > 0;
    this.#pirate = new LazyPirate({
      plain,
      named,
      // Not from 0: a server may still answer what an earlier client of this identity asked.
      firstId: crypto.getRandomValues(new Uint32Array(1))[0] ?? 0,
      endpoints: endpoints.length,
      isHeldUp: ({ parts }: Ask) => parts !== undefined && parts.isHeldUp,
    });
    this.#connections = new Connections({
      transport: keys !== undefined || transport === "libzmq"
        ? new ZmqTransport(library, { identity, keys, plain })
        : new NativeTransport({ identity, plain }),
      library: library.path,
      named,
      listener: this.#pirate,
      attend: () => this.#attend(),
    });
  }

  /** Requests under way. */
  get size(): number {
    return this.#pirate.size;
  }

  /** What they wait for, as half a sentence; undefined while there are none. */
  get waitingFor(): string | undefined {
    const last = this.#connections.newest;
    if (this.#pirate.size === 0 || last === undefined) return undefined;
    return `"${last.endpoint}": ${describeWait(last.state, this.#keys !== undefined, last)}`;
  }

  /**
   * Does nothing.
   *
   * @throws {Error} when the client is closed.
   */
  refuseClosed(): void {
    if (this.#isClosed) throw new Error("Cannot send a request: the client is closed");
  }

  /** Sends a request, which ends with the reason of `signal` when that aborts. */
  add(ask: Ask, terms: Terms, signal: AbortSignal | undefined): void {
    if (signal === undefined) {
      this.ask(ask, terms);
      return;
    }
    const abort = () => {
      this.drop(pending);
      ask.reject(signal.reason);
    };
    const unlisten = () => signal.removeEventListener("abort", abort);
    const resolve = (reply: Reply) => (unlisten(), ask.resolve(reply));
    const reject = (reason: unknown) => (unlisten(), ask.reject(reason));
    const pending = this.ask({ ...ask, resolve, reject }, terms);
    signal.addEventListener("abort", abort, { once: true });
  }

  /**
   * Sends a request.
   *
   * @throws {Error} when the client is closed.
   */
  ask(ask: Ask, terms: Terms): Pending<Ask> {
    this.refuseClosed();
    const pending = this.#pirate.add(ask, terms, performance.now());
    this.#wakeLoop();
    return pending;
  }

  /** Has a request end whose answer is not wanted any more; does nothing if it has ended. */
  drop(pending: Pending<Ask>): void {
    this.#pirate.drop(pending, performance.now());
    this.#wakeLoop();
  }

  /** Has the server send more once enough was read. */
  grant(pending: Pending<Ask>, parts: PartQueue): void {
    const credit = parts.grant();
    if (credit === undefined) return;
    this.#pirate.grant(pending, credit, performance.now());
    this.#wakeLoop();
  }

  /** Closes all connections; requests under way are rejected. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const ask of this.#pirate.clear()) {
      ask.reject(new Error("Cannot wait for a reply: the client was closed"));
    }
    if (this.#running) this.#wakeLoop();
    await this.#running;
    await this.#connections.end();
  }

  /** Starts the loop, or ends its wait: there is something to be done. */
  #wakeLoop(): void {
    if (this.#running === undefined) this.#running = this.#run();
    if (this.#changed) return;
    this.#changed = true;
    this.#connections.wake();
  }

  /** Receives, decides, sends, waits; until nothing is under way. */
  async #run(): Promise<void> {
    try {
      for (;;) {
        const more = this.#receive(performance.now());
        // What is asked meanwhile, and by those who have just got an answer, is sent together.
        await turn();
        this.#changed = false;
        const now = performance.now();
        // Other code may have used its turn for longer than a timeout.
        if (now >= this.#pirate.dueAt) this.#receive(now);
        const sleep = this.#pirate.tick(now);
        await this.#carryOut(this.#pirate.take());
        const rest = this.#connections.tick(performance.now(), "busy");
        if (this.#changed || more) continue;
        if (this.#pirate.size === 0) break;
        await this.#connections.wait(Math.min(sleep, rest));
      }
    } catch (error) {
      for (const ask of this.#pirate.clear()) ask.reject(error);
      this.#connections.closeAll();
    } finally {
      this.#running = undefined;
    }
  }

  /** Has connections live on while nothing is under way: late replies are dropped, heartbeats are answered. */
  #attend(): void {
    if (this.#running !== undefined) return;
    const now = performance.now();
    for (const [, connection] of this.#connections) connection.recheck();
    this.#receive(now);
    this.#connections.tick(now, "idle");
  }

  /** Reads what is there; true if there is more. */
  #receive(now: number): boolean {
    // Before anything times out, all that may be its answer is read.
    const isDue = now >= this.#pirate.dueAt;
    let left = isDue ? BATCH_MESSAGES + this.#pirate.size : BATCH_MESSAGES;
    for (const [link, connection] of this.#connections) {
      if (isDue) connection.recheck();
      while (left > 0 && this.#receiveMessage(link, connection, now)) left--;
    }
    // After the replies: what a connection brought before its end is an answer all the same.
    this.#connections.readNews(now);
    return left === 0;
  }

  /** Reads one message, if there is one. Late replies, and what is not an answer, are dropped. */
  #receiveMessage(link: Link<Ask>, connection: Connection, now: number): boolean {
    const read = connection.read();
    if (read === "answer") this.#takeAnswer(link, connection.answer, now);
    return read !== "nothing";
  }

  #takeAnswer(link: Link<Ask>, answer: Answer, now: number): void {
    const { id, code, kind, frames, message, details, unstarted } = answer;
    if (unstarted && id !== undefined) return this.#takeRefusal(link, id, message, now);
    if (kind === "part" || kind === "progress") return this.#takePart(link, answer, kind, now);
    const ask = this.#pirate.answer(link, id, code, now);
    if (kind === "end") endParts(ask, answer.number);
    else if (code === Code.ok) ask?.resolve(new Reply(frames));
    else ask?.reject(new ReplyError(code, message, parseDetails(details)));
  }

  /** A part that can't be taken, and what `onProgress` throws, end the request. */
  #takePart(link: Link<Ask>, answer: Answer, kind: "part" | "progress", now: number): void {
    const pending = this.#pirate.hear(link, answer.id, kind, now);
    if (pending === undefined) return;
    try {
      takePart(pending.item, answer);
      // Parts that were here before are no reader's to take.
      if (pending.item.parts !== undefined) this.grant(pending, pending.item.parts);
    } catch (error) {
      this.#pirate.drop(pending, now);
      pending.item.reject(error);
    }
  }

  /** A server that is shutting down has not started the request, and will not. */
  #takeRefusal(link: Link<Ask>, id: number, message: string, now: number): void {
    const error = new ReplyError(Code.unavailable, message);
    const refused = this.#pirate.refuse(link, id, now);
    if (refused?.final) refused.item.reject(error);
    else if (refused !== undefined) this.#refusals.set(refused.item, error);
  }

  async #carryOut(steps: readonly Step<Ask>[]): Promise<void> {
    // Reports go first: other steps may fail, take their time, or close the connections reported on.
    for (const step of steps) {
      if (step.do === "giveUp") this.#giveUp(step);
      else if (step.do === "retry") this.#reportRetry(step);
    }
    for (const step of steps) {
      if (this.#isClosed) return;
      if (step.do === "open") this.#open(step.link);
      else if (step.do === "send") this.#send(step);
      else if (step.do === "cancel") this.#cancel(step);
      else if (step.do === "grant") this.#allow(step);
      else if (step.do === "close") await this.#connections.close(step.link);
    }
  }

  #open(link: Link<Ask>): void {
    this.#connections.open(link, this.#endpointOf(link));
  }

  #send(step: Step<Ask> & { do: "send" }): void {
    step.item.parts?.startAnew();
    this.#connections.get(step.link)?.send(step);
  }

  /** Lets the server send more of an answer. */
  #allow({ link, id, credit }: Step<Ask> & { do: "grant" }): void {
    this.#connections.get(link)?.grant(id, credit);
  }

  /** Takes a request back. */
  #cancel({ link, id }: Step<Ask> & { do: "cancel" }): void {
    this.#connections.get(link)?.cancel(id);
  }

  #giveUp(
    { item, tries, timeout, link, refused, needsFields }: Step<Ask> & { do: "giveUp" },
  ): void {
    const refusal = refused ? this.#refusals.get(item) : undefined;
    if (refusal !== undefined) return item.reject(refusal);
    const state = this.#connections.stateOf(link);
    const endpoint = this.#settings.endpoints.join(", ");
    const connection = this.#connections.get(link);
    const detail = describeWait(state, this.#keys !== undefined, connection, needsFields);
    item.reject(new AbandonedError(endpoint, tries, timeout, reasonOf(state), detail));
  }

  /** Calls `onRetry`; what that throws is what the request is rejected with. */
  #reportRetry({ request, attempt, link, reason }: Repetition<Ask>): void {
    const { onRetry } = this.#settings;
    const { span } = request.item;
    if (onRetry === undefined && span === undefined) return;
    const endpoint = this.#endpointOf(link);
    const why = reason === "refused" ? "unavailable" : reasonOf(this.#connections.stateOf(link));
    span?.note("retry", { "prefork.attempt": attempt, "prefork.reason": why });
    if (onRetry === undefined) return;
    try {
      onRetry({ attempt, endpoint, reason: why });
    } catch (error) {
      this.drop(request);
      request.item.reject(error);
    }
  }

  #endpointOf({ endpoint }: Link<Ask>): string {
    return this.#settings.endpoints[endpoint] ?? "";
  }
}

/** Lets all other code have its turn: signals, timers, and what waits for promises. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
