/**
 * What worker processes print, line by line: their stdout and stderr are pipes that this process reads, so
 * that nothing a handler prints can hold up the server's own log, or miss a rotation of it.
 *
 * @module
 */

/** Takes the lines of one stream. */
export interface Printer {
  /** Whether a line of so many bytes is wanted; if not, it has been counted. */
  admits(bytes: number): boolean;
  /** Counts lines that were not read at all. */
  drop(lines: number): void;
  /** A line that is wanted. */
  print(line: string): void;
}

/** Bytes of a line that are kept. */
const MAX_LINE = 8192;
/** How long a stream that brings more than is wanted rests between two reads, ms. */
const REST = 5;
/** How long the last lines may take once all processes have ended, ms. */
const LAST_LINES = 250;
const NEWLINE = 10;
/** Colours and what else moves a terminal's cursor: ECMA-48's control sequences, and titles. */
// deno-lint-ignore no-control-regex -- it looks for control characters
const ANSI = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)/g;

/** The streams of all processes. */
export class Prints {
  readonly #readers = new Map<ReadableStreamDefaultReader<Uint8Array>, Promise<void>>();

  /** Reads a stream to its end. */
  read(stream: ReadableStream<Uint8Array>, printer: Printer): void {
    const reader = stream.getReader();
    const lines = new Lines(printer);
    const done = drain(reader, lines).finally(() => this.#readers.delete(reader));
    this.#readers.set(reader, done);
  }

  /** Reads what has been printed so far and no more: a program that a handler has started may live on. */
  async close(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise((resolve) => timer = setTimeout(resolve, LAST_LINES));
    await Promise.race([Promise.all(this.#readers.values()), late]);
    clearTimeout(timer);
    for (const reader of this.#readers.keys()) reader.cancel().catch(() => {});
  }
}

async function drain(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  lines: Lines,
): Promise<void> {
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      if (!lines.take(value)) await new Promise((resolve) => setTimeout(resolve, REST));
    }
  } catch {
    // The pipe is broken: there is nothing more to read.
  }
  lines.end();
}

/** Makes lines of the chunks of one stream. */
class Lines {
  readonly #printer: Printer;
  /** The start of a line that has not ended: maximum `MAX_LINE` bytes. */
  #begun = new Uint8Array(0);

  constructor(printer: Printer) {
    this.#printer = printer;
  }

  /** Takes a chunk; false: not all of it was wanted. */
  take(chunk: Uint8Array): boolean {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      const wanted = this.#line(chunk.subarray(start, end));
      start = end + 1;
      if (!wanted) return this.#drop(chunk.subarray(start));
    }
    this.#keep(chunk.subarray(start));
    return true;
  }

  /** The stream has ended. */
  end(): void {
    if (this.#begun.length > 0) this.#line(new Uint8Array(0));
  }

  #line(end: Uint8Array): boolean {
    this.#keep(end);
    const bytes = this.#begun;
    this.#begun = new Uint8Array(0);
    if (bytes.length === 0) return true;
    if (!this.#printer.admits(bytes.length)) return false;
    const line = new TextDecoder().decode(bytes).replace(/\r$/, "").replace(ANSI, "");
    if (line !== "") this.#printer.print(line);
    return true;
  }

  #keep(bytes: Uint8Array): void {
    const room = MAX_LINE - this.#begun.length;
    if (bytes.length === 0 || room === 0) return;
    const kept = bytes.subarray(0, room);
    const begun = new Uint8Array(this.#begun.length + kept.length);
    begun.set(this.#begun);
    begun.set(kept, this.#begun.length);
    this.#begun = begun;
  }

  #drop(rest: Uint8Array): false {
    let lines = 0;
    for (const byte of rest) if (byte === NEWLINE) lines++;
    if (lines > 0) this.#printer.drop(lines);
    this.#keep(rest.subarray(rest.lastIndexOf(NEWLINE) + 1));
    return false;
  }
}
