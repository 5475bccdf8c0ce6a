/**
 * What a client has subscribed to.
 *
 * @module
 */

import type { Library } from "../zmq/library.ts";
import type { Keys } from "./keys.ts";
import { NativeTransport } from "./native_transport.ts";
import { type PublishedEvent, Subscription } from "./subscription.ts";
import { ZmqSubscriptions } from "./zmq_subscription.ts";

/** What subscriptions need of their client. */
export interface SubscriptionGround {
  library: Library;
  keys: Keys | undefined;
  /** What the server is talked to with, without keys. */
  transport: "native" | "libzmq";
  /** @throws {Error} when the client is closed. */
  refuseClosed(): void;
}

/** What is subscribed to, and where. */
export interface SubscriptionPlace {
  topics: readonly Uint8Array<ArrayBuffer>[];
  endpoint: string;
}

/** All subscriptions of a client. */
export class Subscriptions {
  readonly #ground: SubscriptionGround;
  readonly #open = new Set<Subscription>();

  /** Has none yet. */
  constructor(ground: SubscriptionGround) {
    this.#ground = ground;
  }

  /** Subscribes when the first event is asked for; leaving the loop ends it. */
  async *hear(
    place: SubscriptionPlace,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<PublishedEvent, void, undefined> {
    this.#ground.refuseClosed();
    signal?.throwIfAborted();
    const subscription = this.#subscribe(place);
    const abort = () => void subscription.close();
    signal?.addEventListener("abort", abort, { once: true });
    this.#open.add(subscription);
    try {
      for (let event; (event = await subscription.next()) !== undefined;) yield event;
      signal?.throwIfAborted();
    } finally {
      signal?.removeEventListener("abort", abort);
      this.#open.delete(subscription);
      await subscription.close();
    }
  }

  #subscribe({ topics, endpoint }: SubscriptionPlace): Subscription {
    const { library, keys, transport } = this.#ground;
    const ways = keys !== undefined || transport === "libzmq"
      ? new ZmqSubscriptions(library, topics, keys)
      : new NativeTransport({ identity: new Uint8Array(), plain: true, topics });
    return new Subscription(endpoint, ways, library.path);
  }

  /** Ends all. */
  async close(): Promise<void> {
    await Promise.all([...this.#open].map((each) => each.close()));
  }
}
