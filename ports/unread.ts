/**
 * Bytes that wait here because clients don't take them: how many each has, and all together, and how many they may
 * have. Sends nothing.
 *
 * @module
 */

/** A client that takes nothing for this long loses the replies that wait for it, ms. */
const SLOW_CLIENT_TIMEOUT = 30_000;
/** A client that has taken nothing for this long, and has much to take, is stalled, ms. */
const STALL_TIME = 1000;

/** What one connection has waiting. */
export interface Share {
  /** Bytes. */
  unread: number;
  /** When the system last took some of them, ms; meaningless while there are none. */
  progressAt: number;
  /** When some of them were last given up, ms. */
  droppedAt: number;
}

/** What all connections have waiting. */
export class Unread {
  #total = 0;
  /** Maximum bytes of all together, one message for each connection aside. */
  limit: number;
  /** The same of one connection. */
  readonly #mostEach: number;

  /** Nothing waits yet. */
  constructor(limit: number, mostEach: number) {
    this.limit = limit;
    this.#mostEach = mostEach;
  }

  /** Bytes of all together. */
  get total(): number {
    return this.#total;
  }

  /**
   * Whether `bytes` more may wait for a connection: it may have as much as all together have left of the limit. One
   * message may wait for each, whatever its size.
   */
  hasRoom({ unread }: Share, bytes: number): boolean {
    return unread === 0 || unread + bytes <= this.#room();
  }

  /** More bytes wait. */
  add(share: Share, bytes: number, now: number): void {
    if (share.unread === 0) share.progressAt = now;
    share.unread += bytes;
    this.#total += bytes;
  }

  /** The system has taken bytes. */
  took(share: Share, bytes: number, now: number): void {
    share.progressAt = now;
    this.drop(share, bytes);
  }

  /** Bytes wait no more. */
  drop(share: Share, bytes: number): void {
    share.unread -= bytes;
    this.#total -= bytes;
  }

  /** Whether a connection has taken nothing for so long that what waits for it is to be given up. */
  isLost({ unread, progressAt, droppedAt }: Share, now: number): boolean {
    return unread > 0 && now - Math.max(progressAt, droppedAt) > SLOW_CLIENT_TIMEOUT;
  }

  /**
   * Whether a client does not read, and has half of what it may have unread: it would only lose the answers to
   * what it asks.
   */
  isStalled({ unread, progressAt }: Share, now: number): boolean {
    return now - progressAt > STALL_TIME && unread > Math.max(0, this.#room() / 2);
  }

  #room(): number {
    return Math.min(this.limit - this.#total, this.#mostEach);
  }
}
