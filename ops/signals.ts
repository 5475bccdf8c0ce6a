/**
 * The signals of the main process: they are queued as they arrive, and carried out in one place, one at a
 * time. Which command a signal stands for is in control.ts; here is which of several that stop the server
 * are one wish, and when HUP says that the terminal was closed.
 *
 * @module
 */

import { control, type Controls, type Order, SIGNALS } from "./control.ts";

/** Signals that stop the server. */
export type StopSignal = "SIGTERM" | "SIGINT" | "SIGQUIT";

/**
 * One wish to stop may come as two signals: `deno task` passes a Ctrl-C on to a child that the terminal
 * has told already. Two that come within this time (ms) are one wish.
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

/** Time between two checks of the terminal, ms. */
const CHECK_INTERVAL = 1000;

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
  /** Whether it was there at the last check: a HUP that comes later has another cause. */
  #wasOpen: boolean;

  /** Watches those of the streams that are terminals now. */
  constructor(streams: readonly Stream[] = [Deno.stdin, Deno.stdout, Deno.stderr]) {
    this.#streams = streams.filter((stream) => stream.isTerminal());
    this.#wasOpen = this.#streams.length > 0;
    if (!this.#wasOpen) return;
    this.#timer = setInterval(() => this.look(), CHECK_INTERVAL);
    Deno.unrefTimer(this.#timer);
  }

  /** Takes note of whether the terminal is there. */
  look(): void {
    this.#wasOpen = this.#isOpen;
  }

  /** Whether the terminal was there at the last check, and is closed now. */
  get isClosing(): boolean {
    return this.#wasOpen && !this.#isOpen;
  }

  /** Checks no more. */
  close(): void {
    clearInterval(this.#timer);
  }

  get #isOpen(): boolean {
    return this.#streams.length > 0 && this.#streams.every((stream) => stream.isTerminal());
  }
}

/** What signals are carried out on. */
export interface Obeying extends Controls {
  /** Whether it was told to stop. */
  readonly stopping: boolean;
}

/** Where signals come from. */
export interface SignalSource {
  add(signal: Deno.Signal, listener: () => void): void;
  remove(signal: Deno.Signal, listener: () => void): void;
}

const PROCESS: SignalSource = {
  add: (signal, listener) => Deno.addSignalListener(signal, listener),
  remove: (signal, listener) => Deno.removeSignalListener(signal, listener),
};

/** A signal that has arrived. */
interface Arrival {
  readonly signal: Deno.Signal;
  /** ms. */
  readonly at: number;
}

/** Listens for signals, and has a server obey them. */
export class Signals {
  readonly #server: Obeying;
  readonly #source: SignalSource;
  readonly #passed: readonly Deno.Signal[];
  readonly #queue: Arrival[] = [];
  readonly #wish = new StopWish();
  readonly #terminal = new Terminal();
  readonly #listeners = new Map<Deno.Signal, () => void>();

  /**
   * Listens from now on.
   *
   * @param passed signals that are sent on to the workers too.
   * @param wake is called when a signal has arrived: `tick` is due.
   */
  constructor(
    server: Obeying,
    passed: readonly Deno.Signal[],
    wake: () => void,
    source: SignalSource = PROCESS,
  ) {
    this.#server = server;
    this.#source = source;
    this.#passed = passed;
    for (const signal of new Set([...SIGNALS.map((row) => row.signal), ...passed])) {
      const listener = () => {
        this.#queue.push({ signal, at: performance.now() });
        wake();
      };
      source.add(signal, listener);
      this.#listeners.set(signal, listener);
    }
  }

  /** Carries out the signals that have arrived; returns ms until it must run again. */
  tick(): number {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      for (const [name, given] of this.#ordersOf(next)) control(this.#server, name, given);
    }
    return Infinity;
  }

  /** Listens no more. */
  close(): void {
    this.#terminal.close();
    for (const [signal, listener] of this.#listeners) this.#source.remove(signal, listener);
    this.#listeners.clear();
  }

  #ordersOf({ signal, at }: Arrival): readonly Order[] {
    const forwarded: Order[] = this.#passed.includes(signal) ? [["forward", { signal }]] : [];
    const orders = SIGNALS.find((row) => row.signal === signal)?.orders ?? [];
    return [...forwarded, ...this.#understood(signal, orders, at)];
  }

  #understood(signal: Deno.Signal, orders: readonly Order[], at: number): readonly Order[] {
    if (isStop(signal)) {
      const meaning = this.#wish.judge(signal, this.#server.stopping, at);
      if (meaning === "kill") return [["kill", {}]];
      return meaning === "stop" ? orders : [];
    }
    const isHangUp = signal === "SIGHUP" && this.#terminal.isClosing;
    return isHangUp ? [["stop", { queued: "refuse", reason: "terminal closed" }]] : orders;
  }
}

function isStop(signal: Deno.Signal): signal is StopSignal {
  return signal === "SIGTERM" || signal === "SIGINT" || signal === "SIGQUIT";
}
