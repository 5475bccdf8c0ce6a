/**
 * Watches the work queue in JetStream, by what its servers say on their HTTP ports: how many jobs are in it, how long the
 * oldest has been there, and how long no server led a stream, in which time NATS stores and gives nothing.
 *
 * @module
 */

import { pause } from "../tests/rig/wait.ts";

/** The streams that a job needs: see store/nats_names.ts. */
const QUEUE = "prefork_work";
const RECORDS = "KV_prefork_jobs";
const LOOK_INTERVAL = 500;
/** What is out for so long, and does not change, is nobody's: longer than any job, and than nodes may be silent, ms. */
const STUCK_AFTER = 20_000;
/** A server that is paused or cut off does not answer. */
const LOOK_TIMEOUT = 1000;

/** A server that is asked. */
export interface Watched {
  /** Its `server_name`. */
  readonly id: string;
  /** `http://host:port` of its monitoring. */
  readonly monitor: string;
}

/** What was seen at a time. */
interface Look {
  /** Jobs that wait or run; undefined: nobody leads the queue. */
  left: number | undefined;
  /** Those of them that wait. */
  waiting: number;
  oldestMs: number;
  /** Messages that were acknowledged, and that NATS has again all the same: it will never give them to anybody. */
  revived: number;
  /** Whether both streams, and the queue's consumers, have leaders. */
  isLed: boolean;
}

interface Led {
  cluster?: { leader?: string };
}

interface Consumer extends Led {
  num_pending: number;
  num_ack_pending: number;
}

interface Stream extends Led {
  name: string;
  state: { messages: number; first_ts: string };
  consumer_detail?: Consumer[];
}

/** See above. */
export class NatsQueue implements AsyncDisposable {
  readonly #servers: readonly Watched[];
  readonly #looking: Promise<void>;
  #isOver = false;
  #last: Look = { left: undefined, waiting: 0, oldestMs: 0, revived: 0, isLed: false };
  #ledSince: number | undefined;
  /** When more or fewer were in the queue last. */
  #changedAt = performance.now();
  #unledSince: number | undefined = performance.now();
  /** The longest that a job was in the queue, ms. */
  longestMs = 0;
  /** The longest that a stream had no leader, and all such times, ms. */
  unled = { longestMs: 0, sumMs: 0 };

  constructor(servers: readonly Watched[]) {
    this.#servers = servers;
    this.#looking = this.#lookOn();
  }

  /** Jobs in the queue, as was seen last. */
  get left(): number | undefined {
    return this.#last.left;
  }

  /**
   * Waits until the queue is empty. Gives how long that took from `start` on, ms, without the time before both streams
   * had leaders; undefined: it took more than `limit`.
   */
  async emptied(start: number, limit: number): Promise<number | undefined> {
    for (;;) {
      await pause(LOOK_INTERVAL);
      const now = performance.now();
      const since = Math.max(start, this.#ledSince ?? now);
      if (this.left === 0) return now - since;
      if (this.#isStuck(now)) return Math.max(0, this.#changedAt - since);
      if (now - start > limit) return undefined;
    }
  }

  /** Whether what is left are messages that NATS counts and does not have any more. */
  #isStuck(now: number): boolean {
    const { left, waiting } = this.#last;
    return left !== undefined && waiting === 0 && now - this.#changedAt > STUCK_AFTER;
  }

  /** What was seen, in words. */
  inWords(): string {
    const { longestMs, sumMs } = this.unled;
    return `a job was in the queue for ${
      seconds(this.longestMs)
    } at most; NATS had no leader for ` +
      `${seconds(sumMs)}, ${seconds(longestMs)} at a time`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true;
    await this.#looking;
  }

  async #lookOn(): Promise<void> {
    while (!this.#isOver) {
      this.#take(await this.#look(), performance.now());
      await pause(LOOK_INTERVAL);
    }
  }

  #take(look: Look, now: number): void {
    if (look.left !== this.#last.left) this.#changedAt = now;
    this.#last = look;
    this.longestMs = Math.max(this.longestMs, look.oldestMs);
    if (!look.isLed) {
      this.#ledSince = undefined;
      this.#unledSince ??= now;
      return;
    }
    this.#ledSince ??= now;
    if (this.#unledSince === undefined) return;
    const ms = now - this.#unledSince;
    this.#unledSince = undefined;
    this.unled = {
      longestMs: Math.max(this.unled.longestMs, ms),
      sumMs: this.unled.sumMs + ms,
    };
  }

  async #look(): Promise<Look> {
    const streams = await Promise.all(this.#servers.map(streamsOf));
    const led = streams.flatMap(({ id, streams }) => streams.filter(isLedBy(id)));
    const consumers = streams.flatMap(({ id, streams }) =>
      streams.filter(({ name }) => name === QUEUE).flatMap(({ consumer_detail = [] }) =>
        consumer_detail.filter(isLedBy(id))
      )
    );
    const queue = led.find(({ name }) => name === QUEUE);
    const isLed = queue !== undefined && consumers.length > 0 &&
      led.some(({ name }) => name === RECORDS);
    if (!isLed) return { left: undefined, waiting: 0, oldestMs: 0, revived: 0, isLed };
    const waiting = consumers.reduce((sum, { num_pending }) => sum + num_pending, 0);
    const left = consumers.reduce((sum, { num_ack_pending }) => sum + num_ack_pending, waiting);
    const revived = Math.max(0, queue.state.messages - left);
    // A new leader may not know yet, and says that it was in 1970.
    const first = Date.parse(queue.state.first_ts);
    const oldestMs = left > 0 && revived === 0 && first > 0 ? Math.max(0, Date.now() - first) : 0;
    return { left, waiting, oldestMs, revived, isLed };
  }
}

function isLedBy(id: string): (one: Led) => boolean {
  return ({ cluster }) => cluster?.leader === id;
}

/** The streams that a server knows. */
async function streamsOf({ id, monitor }: Watched): Promise<{ id: string; streams: Stream[] }> {
  try {
    const signal = AbortSignal.timeout(LOOK_TIMEOUT);
    const response = await fetch(`${monitor}/jsz?streams=1&consumers=1`, { signal });
    const streams: Stream[] = (await response.json()).account_details?.[0]?.stream_detail ?? [];
    return { id, streams };
  } catch {
    return { id, streams: [] };
  }
}

/** A time as seconds. */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
