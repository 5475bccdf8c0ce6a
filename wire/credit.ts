/**
 * What may be sent of an answer in parts before the client has granted more. The broker and the worker count alike;
 * the worker learns of each grant later than the broker, so it never believes to have more. No I/O.
 *
 * @module
 */

/** What the server may send of an answer that comes in parts, beyond what it has sent. */
export interface StreamCredit {
  bytes: number;
  parts: number;
}

/** The most that is granted at a time, bytes and parts: what is beyond it is forgotten. */
const MOST = 2 ** 31 - 1;

/** What is left of a client's credit. */
export class Credit {
  #bytes: number;
  #parts: number;

  /** Starts with what was granted along with the request. */
  constructor({ bytes, parts }: StreamCredit) {
    this.#bytes = Math.min(bytes, MOST);
    this.#parts = Math.min(parts, MOST);
  }

  /** What is left; less than 0 bytes if the last part was larger than what was left. */
  get left(): StreamCredit {
    return { bytes: this.#bytes, parts: this.#parts };
  }

  /** Whether one more part may be sent, whatever its size. */
  get isOpen(): boolean {
    return this.#bytes > 0 && this.#parts > 0;
  }

  /** More is granted; returns how much of that counts. */
  grant({ bytes, parts }: StreamCredit): StreamCredit {
    const more = {
      bytes: Math.min(bytes, MOST - this.#bytes),
      parts: Math.min(parts, MOST - this.#parts),
    };
    this.#bytes += more.bytes;
    this.#parts += more.parts;
    return more;
  }

  /** A part is sent; false: it must not be. */
  take(bytes: number): boolean {
    if (!this.isOpen) return false;
    this.#bytes -= bytes;
    this.#parts--;
    return true;
  }
}
