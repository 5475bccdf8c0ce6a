/**
 * The way from the data plane to the thread of the store and back. There is a port once the store was started; what is
 * said before waits here. All of a pass goes in one message. Knows no jobs.
 *
 *     closed ─something is said→ wanted ─join→ joined ─bye→ left
 *        ↑                         │             │
 *        └─────────────────────────┴──── lose ───┘
 *
 * @module
 */

import type { FromStore, ToStore } from "../store/messages.ts";
import { Parcel } from "../system/parcel.ts";

/** What a `StoreWire` reports. */
export interface StoreWireEvents {
  /** Something is to be said, and there is no store: it is to be started. */
  wanted(): void;
  /** Something has come. */
  came(): void;
}

const NOTHING: readonly never[] = [];

/** One end of the way. */
export class StoreWire {
  readonly #events: StoreWireEvents;
  /** The bytes that what is said has. */
  readonly parcel = new Parcel();
  #state: "closed" | "wanted" | "joined" | "left" = "closed";
  #port: MessagePort | undefined;
  #out: ToStore[] = [];
  #in: FromStore[] = [];
  /** Messages that the store has sent, as it counts them; undefined: nobody waits in a call of the system. */
  #sent: Int32Array | undefined;
  #heard = 0;
  /** How many are to be heard before others have their turn, and who waits for that. */
  #until = 0;
  #caughtUp: (() => void) | undefined;

  /** Has no port yet. */
  constructor(events: StoreWireEvents) {
    this.#events = events;
  }

  /** Whether there is a store that hears. */
  get isJoined(): boolean {
    return this.#state === "joined";
  }

  /** Says something, at the next `flush`. */
  say(message: ToStore): void {
    if (this.#state === "left") return;
    this.#out.push(message);
    if (this.#state !== "closed") return;
    this.#state = "wanted";
    this.#events.wanted();
  }

  /** The store is there; `counter`: where it counts its messages, an int32. */
  join(port: MessagePort, counter: SharedArrayBuffer | undefined): void {
    this.#port?.close();
    this.#port = port;
    this.#state = "joined";
    this.#sent = counter && new Int32Array(counter);
    this.#heard = 0;
    port.onmessage = ({ data }) => this.#hear(data);
  }

  /** There is no store any more, or none could be opened: what was not said is not, and the next word starts one. */
  lose(): void {
    this.#port?.close();
    this.#port = undefined;
    this.#sent = undefined;
    this.#out = [];
    this.parcel.close();
    if (this.#state !== "left") this.#state = "closed";
    this.#release();
  }

  /** Sends what was said. */
  flush(): void {
    if (this.#out.length === 0 || this.#port === undefined) return;
    this.#port.postMessage(this.#out, this.parcel.close());
    this.#out = [];
  }

  /** Says the last word. */
  leave(): void {
    if (this.#state === "joined") {
      this.#out.push({ type: "bye" });
      this.flush();
    }
    this.#state = "left";
    this.#port?.close();
    this.#port = undefined;
  }

  // ---- what the store says ----

  #hear(messages: readonly FromStore[]): void {
    this.#heard = (this.#heard + 1) | 0;
    for (const message of messages) this.#in.push(message);
    if (this.#caughtUp !== undefined && ((this.#until - this.#heard) | 0) <= 0) this.#release();
    this.#events.came();
  }

  /** All that has come since the last call. */
  take(): readonly FromStore[] {
    if (this.#in.length === 0) return NOTHING;
    const messages = this.#in;
    this.#in = [];
    return messages;
  }

  /** Whether the store has sent what was not heard: then this thread's event loop must have a turn. */
  get isBehind(): boolean {
    return this.#unheard > 0;
  }

  /** Waits until all is heard that was sent by now. */
  catchUp(): Promise<void> {
    const unheard = this.#unheard;
    if (unheard <= 0) return Promise.resolve();
    this.#until = (this.#heard + unheard) | 0;
    return new Promise((resolve) => this.#caughtUp = resolve);
  }

  /** Counted up only after a message was sent, so that one may be heard before it counts. */
  get #unheard(): number {
    return this.#sent === undefined ? 0 : (Atomics.load(this.#sent, 0) - this.#heard) | 0;
  }

  #release(): void {
    const release = this.#caughtUp;
    this.#caughtUp = undefined;
    release?.();
  }
}
