/**
 * Server-sent events: the status each second, lines of the log, and what happens, for as many as listen. What one
 * does not read is bounded: it misses states, and is told how many lines it has missed.
 *
 * @module
 */

import type { Level } from "../options/settings.ts";
import { isUrgent, type NumberedLine } from "../ops/log_ring.ts";
import type { EventName, ServerEvents } from "../ops/events.ts";
import { Refusal } from "./answers.ts";
import type { Caller } from "./http_access.ts";
import type { HttpAnswer } from "./http_message.ts";
import type { Operated } from "./operated.ts";

/** What a stream can carry. */
export type Topic = "status" | "log" | "event";

/** What one listener wants. */
export interface Wishes {
  readonly topics: ReadonlySet<Topic>;
  /** How many of the last lines of the log come first. */
  readonly lines: number;
  readonly level: Level;
  /** The last line that it had before it lost its connection; undefined: none. */
  readonly lastId: number | undefined;
}

/** Streams at a time, of those who may all, and of the others: these can't take the places of those. */
const MAX_STREAMS = 32;
/** Bytes that wait for one listener; a state that is longer waits alone. */
const MAX_UNREAD = 256 * 1024;
/** Time between two states, ms. */
const STATUS_INTERVAL = 1000;
/** A stream that has had nothing else gets a comment each so many intervals. */
const QUIET_INTERVALS = 15;
/** A browser that lost its connection comes back after this time, ms. */
const RETRY = 1000;

/** All streams of one server. */
export class EventStreams {
  readonly #server: Operated;
  readonly #streams = new Set<EventStream>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #stopLines: (() => void) | undefined;
  #isClosed = false;

  constructor(server: Operated) {
    this.#server = server;
    server.news.subscribe((name, event) => this.#tell(name, event));
  }

  /**
   * Opens a stream.
   *
   * @throws {Refusal} 503, when there are too many, or the server ends.
   */
  open(wishes: Wishes, { may }: Pick<Caller, "may">): HttpAnswer {
    if (this.#isClosed) throw new Refusal(503, "The server is stopping");
    if ([...this.#streams].filter((stream) => stream.may === may).length >= MAX_STREAMS) {
      throw new Refusal(503, `There are ${MAX_STREAMS} streams of events already`);
    }
    const stream = new EventStream(wishes, may, () => this.#left(stream));
    this.#streams.add(stream);
    this.#wake();
    if (wishes.topics.has("log")) { for (const line of this.#before(wishes)) stream.line(line); }
    if (wishes.topics.has("status")) this.#tellStatus([stream]);
    return {
      status: 200,
      headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
      body: stream.body,
    };
  }

  /** The lines that come first. */
  #before({ lines, level, lastId }: Wishes): readonly NumberedLine[] {
    const { ring } = this.#server;
    return lastId === undefined ? ring.last(lines, level) : ring.after(lastId, level);
  }

  #wake(): void {
    this.#timer ??= setInterval(() => this.#tick(), STATUS_INTERVAL);
    this.#stopLines ??= this.#server.ring.follow((line) => {
      for (const stream of this.#streams) stream.line(line);
    });
  }

  #left(stream: EventStream): void {
    this.#streams.delete(stream);
    if (this.#streams.size === 0) this.#rest();
  }

  #rest(): void {
    clearInterval(this.#timer);
    this.#stopLines?.();
    this.#timer = this.#stopLines = undefined;
  }

  #tick(): void {
    for (const stream of this.#streams) stream.tick();
    const wanting = [...this.#streams].filter(({ topics }) => topics.has("status"));
    if (wanting.length > 0) this.#tellStatus(wanting);
  }

  /** One text for all: a state of 1,000 workers is long. */
  async #tellStatus(streams: readonly EventStream[]): Promise<void> {
    try {
      const state = encode(eventText("status", JSON.stringify(await this.#server.status())));
      for (const stream of streams) stream.state(state);
    } catch {
      // The server ends, and so do the streams.
    }
  }

  #tell(name: EventName, event: ServerEvents[EventName]): void {
    const wanting = [...this.#streams].filter(({ topics }) => topics.has("event"));
    if (wanting.length === 0) return;
    const time = new Date().toISOString();
    const bytes = encode(eventText("event", JSON.stringify({ event: name, time, ...event })));
    for (const stream of wanting) stream.event(bytes);
  }

  /** Ends all streams, and opens no more. */
  close(): void {
    this.#isClosed = true;
    for (const stream of [...this.#streams]) stream.end();
    this.#rest();
  }
}

/** The stream of one listener. */
class EventStream {
  readonly topics: ReadonlySet<Topic>;
  readonly may: Caller["may"];
  readonly body: ReadableStream<Uint8Array>;
  readonly #level: Level;
  readonly #left: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;
  #quietFor = 0;
  /** Lines and events that had no room. */
  #lost = 0;

  constructor({ topics, level }: Wishes, may: Caller["may"], left: () => void) {
    this.topics = topics;
    this.may = may;
    this.#level = level;
    this.#left = left;
    this.body = new ReadableStream({
      start: (controller) => {
        this.#controller = controller;
        this.#send(encode(`retry: ${RETRY}\n\n`));
      },
      cancel: () => this.#forget(),
    }, { highWaterMark: MAX_UNREAD, size: (chunk) => chunk?.length ?? 0 });
  }

  /** The state: it is whole each time, so one that has no room is left out. */
  state(bytes: Uint8Array): void {
    this.#send(bytes, "alone");
  }

  /** What has happened. */
  event(bytes: Uint8Array): void {
    if (!this.#send(bytes)) this.#lost++;
  }

  /** A line of the log, if it wants that. */
  line({ id, line }: NumberedLine): void {
    if (!this.topics.has("log") || !isUrgent(line, this.#level)) return;
    if (!this.#send(encode(eventText("log", JSON.stringify(line), id)))) this.#lost++;
  }

  /** A second has passed: says what was lost, or that the stream still lives. */
  tick(): void {
    const lost = encode(eventText("lost", JSON.stringify({ lost: this.#lost })));
    if (this.#lost > 0 && this.#send(lost)) this.#lost = 0;
    if (++this.#quietFor >= QUIET_INTERVALS) this.#send(encode(": alive\n\n"));
  }

  /** Ends it. */
  end(): void {
    const controller = this.#controller;
    this.#forget();
    controller?.close();
  }

  /** False: there is no room. "alone": it needs none where nothing waits. */
  #send(bytes: Uint8Array, how?: "alone"): boolean {
    const controller = this.#controller;
    if (controller === undefined) return true;
    const room = controller.desiredSize ?? 0;
    if (room < bytes.length && !(how === "alone" && room === MAX_UNREAD)) return false;
    controller.enqueue(bytes);
    this.#quietFor = 0;
    return true;
  }

  #forget(): void {
    this.#controller = undefined;
    this.#left();
  }
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** `data` is JSON, and so one line. */
function eventText(name: string, data: string, id?: number): string {
  return `${id === undefined ? "" : `id: ${id}\n`}event: ${name}\ndata: ${data}\n\n`;
}
