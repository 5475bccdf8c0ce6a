/**
 * What the client's command says on stderr: lines, and one line of progress that is drawn over itself.
 *
 * @module
 */

const encoder = new TextEncoder();

const ERASE = "\r\x1b[K";

/** The program's stderr, which may be closed. */
export class Stderr {
  #drawn = false;

  /** Writes a line; the line of progress makes room for it. */
  say(text: string): void {
    this.erase();
    write(`client: ${text}\n`);
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
