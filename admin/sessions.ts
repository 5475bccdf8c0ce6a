/**
 * Browsers that have shown the token: each holds a random word in a cookie. And how often a peer may try.
 *
 * @module
 */

/** How long a browser needs no token, ms. */
const LIFETIME = 12 * 3_600_000;
const MAX_SESSIONS = 100;
/** Wrong tokens of one address within `WINDOW` ms; more tries are not even looked at. */
const MAX_FAILURES = 10;
const WINDOW = 60_000;
/** Addresses that are remembered. */
const MAX_ADDRESSES = 1000;

/** The sessions of one server. */
export class Sessions {
  /** When each ends, ms; the oldest first. */
  readonly #ends = new Map<string, number>();

  /** A new one: its word. */
  open(now: number): string {
    const [oldest] = this.#ends.keys();
    if (this.#ends.size >= MAX_SESSIONS && oldest !== undefined) this.#ends.delete(oldest);
    const bytes = crypto.getRandomValues(new Uint8Array(32));
    const word = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.#ends.set(word, now + LIFETIME);
    return word;
  }

  /** Whether a word belongs to a session that has not ended. */
  has(word: string, now: number): boolean {
    const end = this.#ends.get(word);
    if (end !== undefined && now >= end) this.#ends.delete(word);
    return end !== undefined && now < end;
  }

  /** Ends one. */
  close(word: string): void {
    this.#ends.delete(word);
  }

  /** Ends all. */
  closeAll(): void {
    this.#ends.clear();
  }

  /** What a browser is told to keep for `word`; "": nothing any more. */
  static cookie(name: string, word: string): string {
    const age = word === "" ? 0 : LIFETIME / 1000;
    return `${name}=${word}; Path=/; Max-Age=${age}; HttpOnly; SameSite=Strict`;
  }
}

/** Counts wrong tokens by the addresses that they come from. */
export class Failures {
  readonly #counts = new Map<string, { count: number; until: number }>();

  /** Whether an address has failed too often to be heard now. */
  isBlocked(address: string, now: number): boolean {
    const found = this.#counts.get(address);
    return found !== undefined && now < found.until && found.count >= MAX_FAILURES;
  }

  /** An address has shown a wrong token. */
  note(address: string, now: number): void {
    const found = this.#counts.get(address);
    if (found !== undefined && now < found.until) found.count++;
    else {
      this.#counts.delete(address);
      const [oldest] = this.#counts.keys();
      if (this.#counts.size >= MAX_ADDRESSES && oldest !== undefined) this.#counts.delete(oldest);
      this.#counts.set(address, { count: 1, until: now + WINDOW });
    }
  }
}
