/**
 * Goes through all messages of a stream, as they are at that time, without their payloads.
 *
 * @module
 */

import type { NatsGround } from "./nats_ground.ts";
import type { NatsMessage } from "./nats_library.ts";
import { parseDelivery } from "./nats_lanes.ts";

/** A message without its payload. */
export interface Scanned {
  subject: string;
  seq: number;
  /** When it was stored, ms since 1970 by NATS. */
  time: number;
  /** The header `Job`. */
  words: string | undefined;
}

const BATCH = 500;
/** NATS has lost the scan, or nobody leads, ms. */
const PATIENCE = 5000;
const NANOS = 1e6;
let scans = 0;

/**
 * Gives them in the order in which they were stored; `from`: not before that place.
 *
 * @throws {Error} when NATS does not answer.
 */
export async function* scan(
  ground: NatsGround,
  stream: string,
  filter: string,
  from = 1,
): AsyncGenerator<Scanned[]> {
  const { manager } = ground;
  if (manager === undefined) throw new Error("NATS can't be reached");
  const consumer = await manager.consumers.add(stream, {
    ack_policy: "none",
    deliver_policy: from > 1 ? "by_start_sequence" : "all",
    ...(from > 1 ? { opt_start_seq: from } : {}),
    filter_subject: filter,
    headers_only: true,
    inactive_threshold: 30_000 * NANOS,
    mem_storage: true,
    num_replicas: 1,
  });
  const reader = new Batches(ground, stream, consumer.name);
  try {
    let isLast = consumer.num_pending === 0;
    while (!isLast) {
      const batch = await reader.next();
      isLast = batch.isLast;
      if (batch.messages.length > 0) yield batch.messages;
    }
  } finally {
    reader.close();
    void manager.consumers.delete(stream, consumer.name).catch(() => {});
  }
}

/** Pulls. */
class Batches {
  readonly #ground: NatsGround;
  readonly #subject: string;
  readonly #inbox: string;
  readonly #end: () => void;
  #hear: (message: NatsMessage) => void = () => {};

  constructor(ground: NatsGround, stream: string, consumer: string) {
    this.#ground = ground;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
    this.#inbox = `_INBOX.${ground.node}.scan.${++scans}`;
    this.#end = ground.link.subscribe(this.#inbox, (message) => this.#hear(message));
  }

  next(): Promise<{ messages: Scanned[]; isLast: boolean }> {
    const { link, clock } = this.#ground;
    const messages: Scanned[] = [];
    return new Promise((resolve, reject) => {
      const late = clock.after(PATIENCE, () => reject(new Error("NATS does not answer")));
      const end = (isLast: boolean) => {
        late();
        resolve({ messages, isLast });
      };
      this.#hear = (message) => {
        if (message.reply === undefined) return end(true);
        const scanned = parseScanned(message);
        if (scanned !== undefined) messages.push(scanned);
        if (message.reply.endsWith(".0") || isDone(message.reply)) end(true);
        else if (messages.length === BATCH) end(false);
      };
      const words = JSON.stringify({ batch: BATCH, no_wait: true });
      link.publish(this.#subject, words, { reply: this.#inbox });
    });
  }

  close(): void {
    this.#end();
  }
}

/** Whether no other message is pending: the token behind the time. */
function isDone(reply: string): boolean {
  const tokens = reply.split(".");
  return tokens.length >= 11 && tokens[10] === "0";
}

function parseScanned({ subject, reply, headers }: NatsMessage): Scanned | undefined {
  const delivery = parseDelivery(reply);
  if (delivery === undefined) return undefined;
  const words = headers?.get("Job");
  return { subject, seq: delivery.seq, time: delivery.storedAt, words: words || undefined };
}
