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
/** So many are on their way at a time. */
const AT_ONCE = 2 * BATCH;
/** NATS has lost the scan, or nobody leads, ms. */
const PATIENCE = 5000;
const NANOS = 1e6;
let scans = 0;

/**
 * Gives them in the order in which they were stored. `filter`: of these subjects alone, which costs NATS a look at each
 * message before it begins.
 *
 * @throws {Error} when NATS does not answer.
 */
export async function* scan(
  ground: NatsGround,
  stream: string,
  filter?: string,
): AsyncGenerator<Scanned[]> {
  const { manager } = ground;
  if (manager === undefined) throw new Error("NATS can't be reached");
  const consumer = await manager.consumers.add(stream, {
    ack_policy: "none",
    deliver_policy: "all",
    ...(filter !== undefined && { filter_subject: filter }),
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

/** Pulls: the next ones come while those before are looked at. */
class Batches {
  readonly #ground: NatsGround;
  readonly #subject: string;
  readonly #inbox: string;
  readonly #end: () => void;
  #messages: Scanned[] = [];
  /** Messages that were asked for, and have not come. */
  #asked = 0;
  #isLast = false;
  #wake: () => void = () => {};

  constructor(ground: NatsGround, stream: string, consumer: string) {
    this.#ground = ground;
    this.#subject = `$JS.API.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
    this.#inbox = `_INBOX.${ground.node}.scan.${++scans}`;
    this.#end = ground.link.subscribe(this.#inbox, (message) => this.#hear(message));
  }

  async next(): Promise<{ messages: Scanned[]; isLast: boolean }> {
    while (this.#asked < AT_ONCE && !this.#isLast) this.#ask();
    if (!this.#isComplete) await this.#completed();
    const messages = this.#messages;
    this.#messages = [];
    return { messages, isLast: this.#isLast };
  }

  close(): void {
    this.#end();
  }

  get #isComplete(): boolean {
    return this.#isLast || this.#messages.length >= BATCH;
  }

  #completed(): Promise<void> {
    return new Promise((resolve, reject) => {
      const late = this.#ground.clock.after(PATIENCE, () => reject(new Error(SILENT)));
      this.#wake = () => {
        late();
        resolve();
      };
    });
  }

  #ask(): void {
    this.#asked += BATCH;
    const words = JSON.stringify({ batch: BATCH, no_wait: true });
    this.#ground.link.publish(this.#subject, words, { reply: this.#inbox });
  }

  #hear(message: NatsMessage): void {
    const { reply } = message;
    const scanned = parseScanned(message);
    if (reply !== undefined) this.#asked--;
    if (scanned !== undefined) this.#messages.push(scanned);
    // What is no message of the stream says that there are no more.
    this.#isLast ||= reply === undefined || reply.endsWith(".0") || isDone(reply);
    if (this.#isComplete) this.#wake();
  }
}

/** Whether no other message is pending: the token behind the time. */
function isDone(reply: string): boolean {
  const tokens = reply.split(".");
  return tokens.length >= 11 && tokens[10] === "0";
}

const SILENT = "NATS does not answer";

function parseScanned({ subject, reply, headers }: NatsMessage): Scanned | undefined {
  const delivery = parseDelivery(reply);
  if (delivery === undefined) return undefined;
  const words = headers?.get("Job");
  return { subject, seq: delivery.seq, time: delivery.storedAt, words: words || undefined };
}
