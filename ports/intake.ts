/**
 * Bytes of messages that have begun and not ended: how many all peers together may have here. Peers that begin many
 * large messages and never end them must not take the room of those that do.
 *
 * @module
 */

/** A message that has begun. */
export interface Begun {
  /** Gives it up, with its connection. */
  giveUp(reason: string): void;
}

/** Memory that is taken for frames at once because peers have said how large they are, of all together, bytes. */
const MAX_PROMISED = 64 * 1024 ** 2;

/** What has begun and not ended. */
export class Intake {
  /** With more bytes than this of such messages, only the oldest goes on. */
  limit: number;
  /** The oldest first. */
  readonly #begun = new Set<Begun>();
  #bytes = 0;
  #promised = 0;

  /** Nothing has begun. */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Whether memory for `bytes` more may be taken though they have not come; `settle` gives them back. */
  promise(bytes: number): boolean {
    if (this.#promised + bytes > MAX_PROMISED) return false;
    this.#promised += bytes;
    return true;
  }

  /** Bytes for which `promise` was given have come, or will not. */
  settle(bytes: number): void {
    this.#promised -= bytes;
  }

  /** A message has begun that takes more than one read to come. */
  begin(message: Begun): void {
    this.#begun.add(message);
  }

  /** Bytes of it have come. */
  add(bytes: number): void {
    this.#bytes += bytes;
  }

  /** Whether more of a message may come: where all together have too many bytes, more of the oldest. */
  mayGrow(message: Begun): boolean {
    if (this.#bytes <= this.limit) return true;
    for (const oldest of this.#begun) return oldest === message;
    return true;
  }

  /** Others have waited for room too long: gives the oldest message up. */
  giveUpOldest(): void {
    for (const oldest of this.#begun) {
      return oldest.giveUp("too many large messages were unfinished, and this one for longest");
    }
  }

  /** It has ended, or was given up, when so many of its bytes had come. */
  end(message: Begun, bytes: number): void {
    this.#begun.delete(message);
    this.#bytes -= bytes;
  }
}
