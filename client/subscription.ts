/**
 * What a server publishes, for one loop that reads it. Events are read as they come, whether the loop is ready for them
 * or not; what waits for it is bounded, and what is too much then is lost as if it had never come.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { readStamp, type Stamp, USER_TOPICS } from "../wire/event.ts";
import { Connections } from "./connections.ts";
import type { Transport } from "./transport.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** An event of a server. */
export interface PublishedEvent {
  /** What it is about, as `job.done.mail`. */
  topic: string;
  /** Counts the events of the topic. */
  sequence: number;
  /** When it was made, ms since 1970. */
  time: number;
  /**
   * How many events of the topic were lost just before this one, at least; Infinity: that is not known, as the server
   * was started again.
   */
  lost: number;
  /** What it says; undefined for a topic that begins with `user.`, and whatever is no JSON. */
  data: unknown;
  /** Its frames behind the topic and the number. */
  frames: readonly Uint8Array[];
}

/** Events that wait for the loop, and their bytes. */
const MOST_EVENTS = 10_000;
const MOST_BYTES = 16 * 1024 ** 2;
/** Messages that are read before the loop has its turn. */
const BATCH = 1000;
/** Topics whose numbers are known. */
const MOST_TOPICS = 10_000;

const decoder = new TextDecoder();

/** Subscriptions, until they are closed. */
export class Subscription {
  readonly #connections: Connections<"server">;
  readonly #endpoint: string;
  readonly #queue: { event: PublishedEvent; bytes: number }[] = [];
  #bytes = 0;
  /** The last number of each topic, and its time. */
  readonly #last = new Map<string, Stamp>();
  #arrived: PromiseWithResolvers<void> | undefined;
  #running: Promise<void> | undefined;
  #failure: { error: unknown } | undefined;
  #isClosed = false;

  /** Connects with the first event that is asked for. `library`: one that is linked to the C library. */
  constructor(endpoint: string, transport: Transport, library: string) {
    this.#endpoint = endpoint;
    this.#connections = new Connections({
      ...{ transport, library, named: false },
      listener: { connected: () => {}, disconnected: () => {} },
      attend: () => {},
    });
  }

  /** The next event; undefined: it was closed. */
  async next(): Promise<PublishedEvent | undefined> {
    this.#running ??= this.#run();
    for (;;) {
      const first = this.#queue.shift();
      if (first !== undefined) {
        this.#bytes -= first.bytes;
        return first.event;
      }
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#isClosed) return undefined;
      this.#arrived = Promise.withResolvers();
      await this.#arrived.promise;
    }
  }

  /** Ends it; fulfilled when the connection is closed. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#arrived?.resolve();
    this.#connections.wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const connections = this.#connections;
    try {
      connections.open("server", this.#endpoint);
      while (!this.#isClosed) {
        const more = this.#read();
        // Who waits for an event gets it before more of them are read.
        await new Promise((resolve) => setImmediate(resolve));
        const rest = connections.tick(performance.now(), "busy");
        if (!more && !this.#isClosed) await connections.wait(rest);
      }
    } catch (error) {
      this.#failure = { error };
      this.#arrived?.resolve();
    }
    await connections.end();
  }

  /** Reads what is there; true if there is more. */
  #read(): boolean {
    let left = BATCH;
    for (const [, connection] of this.#connections) {
      for (let read = connection.read(); read !== "nothing"; read = connection.read()) {
        if (read === "answer") this.#take(connection.answer.frames);
        if (--left === 0) break;
      }
    }
    this.#connections.readNews(performance.now());
    return left === 0;
  }

  #take([topic, stamp, ...frames]: readonly Bytes[]): void {
    const now = stamp && readStamp(stamp);
    if (topic === undefined || now === undefined) return;
    const bytes = frames.reduce((sum, { length }) => sum + length, 0);
    if (this.#queue.length >= MOST_EVENTS || this.#bytes + bytes > MOST_BYTES) return;
    const name = decoder.decode(topic);
    const last = this.#last.get(name);
    // What is kept comes again when somebody else subscribes.
    if (last?.sequence === now.sequence && last.time === now.time) return;
    this.#note(name, now);
    const lost = lostBetween(last, now);
    const data = name.startsWith(USER_TOPICS) ? undefined : parse(frames[0]);
    this.#queue.push({ event: { topic: name, ...now, lost, data, frames }, bytes });
    this.#bytes += bytes;
    this.#arrived?.resolve();
  }

  #note(topic: string, stamp: Stamp): void {
    this.#last.delete(topic);
    this.#last.set(topic, stamp);
    if (this.#last.size <= MOST_TOPICS) return;
    for (const oldest of this.#last.keys()) return void this.#last.delete(oldest);
  }
}

/** How many events were lost between two of a topic: a server that was started again counts anew. */
function lostBetween(last: Stamp | undefined, { sequence }: Stamp): number {
  if (last === undefined) return 0;
  return sequence <= last.sequence ? Infinity : sequence - last.sequence - 1;
}

function parse(frame: Bytes | undefined): unknown {
  try {
    return frame && JSON.parse(decoder.decode(frame));
  } catch {
    return undefined;
  }
}
