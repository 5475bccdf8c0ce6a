/**
 * What a command says on stderr: lines, and one line of progress that is drawn over itself.
 *
 * @module
 */

const encoder = new TextEncoder();

const ERASE = "\r\x1b[K";

/** The program's stderr, which may be closed. */
export class Stderr {
  readonly #program: string;
  #drawn = false;

  /** `program`: the name that its lines start with. */
  constructor(program: string) {
    this.#program = program;
  }

  /** Writes a line; the line of progress makes room for it. */
  say(text: string): void {
    this.erase();
    write(`${this.#program}: ${text}\n`);
  }

  /** Draws the line of progress over what it was before. */
  draw(text: string): void {
    write(`${ERASE}${text}`);
    this.#drawn = true;
  }

  /** Removes the line of progress, if there is one. */
  erase(): void {
    if (this.#drawn) write(ERASE);
    this.#drawn = false;
  }
}

function write(text: string): void {
  try {
    Deno.stderr.writeSync(encoder.encode(text));
  } catch {
    // stderr is closed
  }
}
