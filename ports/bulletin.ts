/**
 * What has happened in a pass of the loop, on its way to the thread of the server: all of it in one message. The
 * server may be held up while requests go on, so what says something of single requests is bounded: then it is
 * counted, and the count is told later. What the server acts upon is always told. Knows no threads and no clock.
 *
 * @module
 */

import type { LoopEvent } from "./messages.ts";

/**
 * What the server may have before it that it has not heard: about as many visits, or KiB of text. More is dropped.
 */
const MOST_UNITS = 65_536;
/** Characters of a line that count for one unit. */
const UNIT_CHARACTERS = 1024;
/** Units of a line with its fields, the message left out. */
const LINE_UNITS = 4;

/** What has happened, and was not told yet. */
export class Bulletin {
  readonly #heard: () => number;
  #events: LoopEvent[] = [];
  #asksForLook = false;
  /** Units of all that was ever added, as an int32 that overflows. */
  #units = 0;
  #dropped = 0;

  /** `heard` gives the last `units` of a bulletin that the server has heard. */
  constructor(heard: () => number) {
    this.#heard = heard;
  }

  /** Whether there is nothing to tell. */
  get isEmpty(): boolean {
    return this.#events.length === 0;
  }

  /** Adds what has happened. */
  add(event: LoopEvent): void {
    const units = unitsOf(event);
    if (units === 0) {
      this.#asksForLook ||= event.type !== "log";
      // A look says it: there is no more in it.
      if (event.type !== "worked") this.#events.push(event);
      return;
    }
    if (this.#waiting + units > MOST_UNITS) {
      this.#dropped += countOf(event);
      return;
    }
    this.#units = (this.#units + units) | 0;
    this.#events.push(event);
  }

  /** Takes all, with whether the server is to know how things are; undefined: there is nothing to tell. */
  take(): { events: LoopEvent[]; units: number; asksForLook: boolean } | undefined {
    this.#reportDropped();
    if (this.#events.length === 0 && !this.#asksForLook) return undefined;
    const taken = { events: this.#events, units: this.#units, asksForLook: this.#asksForLook };
    this.#events = [];
    this.#asksForLook = false;
    return taken;
  }

  /** Units that the server has not heard. */
  get #waiting(): number {
    return (this.#units - this.#heard()) | 0;
  }

  /** Told when there is room again: at once it would be one more line for each. */
  #reportDropped(): void {
    if (this.#dropped === 0 || this.#waiting > MOST_UNITS / 2) return;
    const message = "the server was held up: it was not told of some requests and log lines";
    const fields = { dropped: this.#dropped };
    this.#dropped = 0;
    this.#events.push({ type: "log", level: "warn", message, fields });
  }
}

/** How much of the bound an event takes; 0: it is always told. */
function unitsOf(event: LoopEvent): number {
  switch (event.type) {
    case "visits":
      return event.visits.length;
    case "line":
      return LINE_UNITS + sizeOf(event.line.message);
    case "requestFailed":
      return 1 + sizeOf(event.failure.message) + sizeOf(event.failure.stack);
    default:
      return 0;
  }
}

function sizeOf(text: string): number {
  return Math.floor(text.length / UNIT_CHARACTERS);
}

function countOf(event: LoopEvent): number {
  return event.type === "visits" ? event.visits.length : 1;
}
