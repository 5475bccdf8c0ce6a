/**
 * How signals of the main process are understood: which of several that stop it are one wish, and when
 * HUP says that the terminal is closed. Decides; what is done about it is the caller's.
 *
 * @module
 */

/** Signals that stop the server. */
export type StopSignal = "SIGTERM" | "SIGINT" | "SIGQUIT";

/**
 * One wish to stop may come as two signals: `deno task` passes a Ctrl-C on to a child that the terminal
 * has told already. Those that come within this are one, ms.
 */
const REPEAT_TIME = 1000;

/** Tells a second wish to stop from the first one that comes again. */
export class StopWish {
  #first: { signal: StopSignal; at: number } | undefined;

  /**
   * What a signal means that comes at `now`: stop, nothing new, or kill those that still run.
   *
   * @param isStopping whether the server is stopping already.
   */
  judge(signal: StopSignal, isStopping: boolean, now: number): "stop" | "same" | "kill" {
    if (!isStopping) {
      this.#first = { signal, at: now };
      return "stop";
    }
    const { signal: first, at } = this.#first ?? { signal, at: -Infinity };
    // QUIT serves what waits, so that one of the others is another wish.
    const isSameKind = (first === "SIGQUIT") === (signal === "SIGQUIT");
    return isSameKind && now - at < REPEAT_TIME ? "same" : "kill";
  }
}

/** How often the terminal is looked at, ms. */
const LOOK_INTERVAL = 1000;

/** A stream that may be a terminal. */
export interface Stream {
  /** Whether it is one, and is still there. */
  isTerminal(): boolean;
}

/**
 * The terminal that the server was started in, if it was. When it is closed, the system sends HUP, which
 * otherwise means to reload; nobody could read the log or press Ctrl-C any more.
 */
export class Terminal {
  readonly #streams: readonly Stream[];
  readonly #timer: ReturnType<typeof setInterval> | undefined;
  /** Whether it was there at the last look: a HUP that comes later has another cause. */
  #wasOpen: boolean;

  /** Watches those of the streams that are terminals now. */
  constructor(streams: readonly Stream[] = [Deno.stdin, Deno.stdout, Deno.stderr]) {
    this.#streams = streams.filter((stream) => stream.isTerminal());
    this.#wasOpen = this.#streams.length > 0;
    if (!this.#wasOpen) return;
    this.#timer = setInterval(() => this.look(), LOOK_INTERVAL);
    Deno.unrefTimer(this.#timer);
  }

  /** Takes note of whether the terminal is there. */
  look(): void {
    this.#wasOpen = this.#isOpen;
  }

  /** Whether the terminal was there at the last look, and is closed now. */
  get isClosing(): boolean {
    return this.#wasOpen && !this.#isOpen;
  }

  /** Looks no more. */
  close(): void {
    clearInterval(this.#timer);
  }

  get #isOpen(): boolean {
    return this.#streams.length > 0 && this.#streams.every((stream) => stream.isTerminal());
  }
}
