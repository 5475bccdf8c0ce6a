/**
 * A terminal that is taken over as a whole: its alternate screen, its keys one at a time, and back to what
 * it was however that ends. Not here: what is drawn.
 *
 * @module
 */

/** What `Terminal.open` is told. */
export interface TerminalUser {
  /** A key was pressed: a character, or the sequence of a special one. */
  key(text: string): void;
  /** The window has another size. */
  resized(): void;
  /** The program was told to end, or the terminal is gone. */
  end(): void;
}

const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H";
const CLEAR_LINE = "\x1b[K";
const CLEAR_BELOW = "\x1b[J";

/** Signals that end a program, and would leave the terminal as it is. */
const ENDINGS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;

/** What a terminal that does not say its size is taken for. */
const USUAL = { columns: 80, rows: 24 };

const encoder = new TextEncoder();

/** A terminal that this program has for itself. */
export class Terminal {
  readonly #user: TerminalUser;
  readonly #resize = () => this.#user.resized();
  readonly #end = () => this.#user.end();
  readonly #leave = () => this[Symbol.dispose]();
  #isOpen = true;

  private constructor(user: TerminalUser) {
    this.#user = user;
  }

  /**
   * Takes the terminal over.
   *
   * @throws {TypeError} when stdin or stdout is not a terminal.
   */
  static open(user: TerminalUser): Terminal {
    if (!Deno.stdin.isTerminal() || !Deno.stdout.isTerminal()) {
      throw new TypeError(
        'Cannot show a live view: this is not a terminal; "status" prints once, "top --json" goes on',
      );
    }
    const terminal = new Terminal(user);
    terminal.#enter();
    return terminal;
  }

  /** The window's size in characters. */
  get size(): { columns: number; rows: number } {
    try {
      const { columns, rows } = Deno.consoleSize();
      return { columns: columns || USUAL.columns, rows: rows || USUAL.rows };
    } catch {
      return USUAL;
    }
  }

  /** Draws lines over what was there; they are no wider than the window, and no more than it has. */
  draw(lines: readonly string[]): void {
    if (!this.#isOpen) return;
    const text = lines.map((line) => `${line}${CLEAR_LINE}`).join("\r\n");
    this.#write(`${HOME}${text}${CLEAR_BELOW}`);
  }

  /** Gives the terminal back as it was. */
  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const signal of ENDINGS) Deno.removeSignalListener(signal, this.#end);
    Deno.removeSignalListener("SIGWINCH", this.#resize);
    globalThis.removeEventListener("unload", this.#leave);
    this.#write(LEAVE);
    try {
      Deno.stdin.setRaw(false);
    } catch {
      // The terminal is gone.
    }
  }

  #enter(): void {
    for (const signal of ENDINGS) Deno.addSignalListener(signal, this.#end);
    Deno.addSignalListener("SIGWINCH", this.#resize);
    // An error that nobody catches ends the program, too.
    globalThis.addEventListener("unload", this.#leave);
    Deno.stdin.setRaw(true);
    this.#write(ENTER);
    this.#readKeys();
  }

  /** Reads until the program ends: nothing else ends a read of a terminal. */
  async #readKeys(): Promise<void> {
    const decoder = new TextDecoder();
    const bytes = new Uint8Array(256);
    for (;;) {
      const size = await Deno.stdin.read(bytes).catch(() => null);
      if (!this.#isOpen) return;
      if (size === null) return this.#user.end();
      const text = decoder.decode(bytes.subarray(0, size), { stream: true });
      for (const key of keysIn(text)) this.#user.key(key);
    }
  }

  #write(text: string): void {
    const bytes = encoder.encode(text);
    try {
      for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
    } catch {
      // The terminal is gone.
      this.#user.end();
    }
  }
}

/** Single keys: a special one comes as a sequence that starts with an escape. */
function keysIn(text: string): string[] {
  // deno-lint-ignore no-control-regex -- it looks for them
  return text.match(/\x1b[[O][0-9;]*[A-Za-z~]|[^]/gu) ?? [];
}
