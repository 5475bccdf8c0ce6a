/**
 * What two threads of one process both see: where the loop's own thread is in its life, what the server's asks it,
 * and the answer. Numbers and one text in shared memory; waits by Atomics, which need no event loop.
 *
 * @module
 */

/**
 * The life of the loop's thread:
 *
 *     called → binding ─→ bound → serving → ended → closed
 *        │        └─→ failed          └─→ abandoned
 *        └─→ unwanted: it came too late
 */
export const Phase = {
  called: 0,
  binding: 1,
  bound: 2,
  serving: 3,
  ended: 4,
  closed: 5,
  failed: 6,
  abandoned: 7,
  unwanted: 8,
} as const;

/** One of `Phase`. */
export type PhaseName = keyof typeof Phase;

/** Places of the numbers, int32 each. */
const Word = { phase: 0, sent: 1, asked: 2, answered: 3, size: 4, heard: 5 } as const;
/** Where the server's clock stands, double, and where the text begins, bytes. */
const CLOCK_AT = 32;
const TEXT_AT = 64;
/** Room for the text at first, and at most: a look at 50,000 workers has 5 MB. */
const FIRST_BYTES = 16 * 1024;
const MAX_BYTES = 64 * 1024 ** 2;

/** One side of the desk. */
export class Desk {
  /** What the other side is made of. */
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #clock: Float64Array;

  /** Makes a desk, or the other side of one. */
  constructor(memory = new SharedArrayBuffer(FIRST_BYTES, { maxByteLength: MAX_BYTES })) {
    this.memory = memory;
    this.#words = new Int32Array(memory, 0, CLOCK_AT / 4);
    this.#clock = new Float64Array(memory, CLOCK_AT, 1);
  }

  // ---- where the thread is ----

  /** Whether the thread is there now. */
  isIn(phase: PhaseName): boolean {
    return Atomics.load(this.#words, Word.phase) === Phase[phase];
  }

  /** The thread has come to `phase`. */
  enter(phase: PhaseName): void {
    Atomics.store(this.#words, Word.phase, Phase[phase]);
    Atomics.notify(this.#words, Word.phase);
  }

  /** The same, but only if it is in `before` now; returns whether it was. */
  move(before: PhaseName, phase: PhaseName): boolean {
    const [from, to] = [Phase[before], Phase[phase]];
    if (Atomics.compareExchange(this.#words, Word.phase, from, to) !== from) return false;
    Atomics.notify(this.#words, Word.phase);
    return true;
  }

  /** Blocks while the thread is in `phase`; false: it still is after `timeoutMs`. */
  waitWhile(phase: PhaseName, timeoutMs = Infinity): boolean {
    const end = performance.now() + timeoutMs;
    while (this.isIn(phase)) {
      const left = end - performance.now();
      if (left <= 0) return false;
      Atomics.wait(this.#words, Word.phase, Phase[phase], left);
    }
    return true;
  }

  // ---- messages under way, which go by other ways ----

  /** How many messages the server has sent. */
  get sent(): number {
    return Atomics.load(this.#words, Word.sent);
  }

  /** The server has sent one. */
  noteSent(): void {
    Atomics.add(this.#words, Word.sent, 1);
  }

  /** How much of what the thread has told the server has heard, in units of the thread's. */
  get heard(): number {
    return Atomics.load(this.#words, Word.heard);
  }

  set heard(units: number) {
    Atomics.store(this.#words, Word.heard, units);
  }

  // ---- a question and its answer ----

  /** The server asks how things are; the thread is to be woken then. */
  ask(): void {
    Atomics.add(this.#words, Word.asked, 1);
  }

  /** The answer to the last question; undefined: there is none yet after `timeoutMs`. */
  takeAnswer(timeoutMs: number): string | undefined {
    const asked = Atomics.load(this.#words, Word.asked);
    const end = performance.now() + timeoutMs;
    for (;;) {
      const answered = Atomics.load(this.#words, Word.answered);
      if (answered === asked) return this.text;
      const left = end - performance.now();
      if (left <= 0) return undefined;
      Atomics.wait(this.#words, Word.answered, answered, left);
    }
  }

  /** Whether the server waits for an answer. */
  get isAsked(): boolean {
    return Atomics.load(this.#words, Word.asked) !== Atomics.load(this.#words, Word.answered);
  }

  /** Answers the last question. */
  answer(text: string): void {
    const asked = Atomics.load(this.#words, Word.asked);
    this.text = text;
    Atomics.store(this.#words, Word.answered, asked);
    Atomics.notify(this.#words, Word.answered);
  }

  // ---- what lies on it ----

  /** What the thread has written last; to be read once the thread has said that it is there. */
  get text(): string {
    const size = Atomics.load(this.#words, Word.size);
    // A copy: what decodes takes no shared memory.
    return new TextDecoder().decode(new Uint8Array(this.memory, TEXT_AT, size).slice());
  }

  set text(text: string) {
    const bytes = new TextEncoder().encode(text);
    const needed = TEXT_AT + bytes.length;
    if (needed > this.memory.byteLength) this.memory.grow(Math.min(2 * needed, MAX_BYTES));
    new Uint8Array(this.memory, TEXT_AT, bytes.length).set(bytes);
    Atomics.store(this.#words, Word.size, bytes.length);
  }

  /** What time it was on the server's thread when it last said so, ms. */
  get clock(): number {
    return this.#clock[0] ?? 0;
  }

  set clock(now: number) {
    this.#clock[0] = now;
  }
}
