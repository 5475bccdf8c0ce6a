/**
 * Writes lines to a place that may be slow, full or stuck, and never waits for it: lines wait in a
 * bounded buffer, one write is under way at a time, and what has no room is counted. Not here: what a
 * line looks like (log.ts).
 *
 * @module
 */

/** Where bytes go: a file, stderr, or a test's own. */
export interface Sink {
  /** Writes the bytes or the first of them; resolves to how many, and rejects if it can't. */
  write(bytes: Uint8Array): Promise<number>;
  /** Closes it. */
  close(): void;
}

/** Lines that were not written, at the place where they would have stood. */
interface Loss {
  lost: number;
}

type Entry = string | Loss | Sink;

/** Characters that wait for a place that is slow. */
const MAX_WAITING = 1_048_576;
/** Characters that one write takes: few enough for the next one to be soon. */
const MAX_BATCH = 65_536;
/** How long the last lines have to be written when the writer is closed, ms. */
const FLUSH_TIMEOUT = 1000;
/** How soon a pipe that somebody has made non-blocking is tried again when it is full, ms. */
const RETRY_DELAY = 10;

/** Lines on their way to a sink. No method ever throws or waits. */
export class LineWriter {
  readonly #open: () => Sink;
  /** What is said in place of lines that were lost. */
  readonly #lossLine: (lost: number) => string;
  #sink: Sink | undefined;
  #waiting: Entry[] = [];
  /** Characters in `#waiting`. */
  #size = 0;
  /** The loop that writes; undefined while nothing waits. */
  #busy: Promise<void> | undefined;
  /** Whether the last write stopped in the middle of a line. */
  #isTorn = false;
  #isClosed = false;

  /**
   * Opens the first sink.
   *
   * @throws {Error} when it can't be opened.
   */
  constructor(open: () => Sink, lossLine: (lost: number) => string) {
    this.#open = open;
    this.#lossLine = lossLine;
    this.#sink = open();
  }

  /** Writes a line, its end included, once those before it are written. */
  write(line: string): void {
    if (this.#isClosed) return;
    if (this.#size + line.length > MAX_WAITING) return this.#lose(1);
    this.#waiting.push(line);
    this.#size += line.length;
    this.#start();
  }

  /** Opens the sink again for later lines; returns why it could not be opened. */
  reopen(): unknown {
    if (this.#isClosed) return undefined;
    try {
      this.#waiting.push(this.#open());
      this.#start();
    } catch (error) {
      return error;
    }
  }

  /** Takes no more lines and closes; resolves when the last ones are written, or can't be in time. */
  async close(): Promise<void> {
    if (this.#isClosed) return await this.#busy;
    this.#isClosed = true;
    if (this.#busy !== undefined) await inTime(this.#busy);
    const unused = this.#waiting.splice(0).filter(isSink);
    for (const sink of [...unused, this.#sink]) close(sink);
    this.#sink = undefined;
  }

  #start(): void {
    if (this.#busy !== undefined) return;
    const busy = this.#busy = this.#drain();
    underWay.add(busy);
    busy.finally(() => underWay.delete(busy));
  }

  /** Counts lines behind all that waits. */
  #lose(count: number): void {
    const last = this.#waiting.at(-1);
    if (isLoss(last)) last.lost += count;
    else this.#waiting.push({ lost: count });
  }

  async #drain(): Promise<void> {
    let failed = false;
    // Lines that are written in a row go out together.
    await undefined;
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const next = failed && isLoss(first) ? this.#waiting[1] : first;
      // Nothing but word of a loss, which could not be written just now: the next line tries again.
      if (next === undefined) break;
      if (isSink(next)) this.#switch(next);
      else failed = !await this.#writeBatch(this.#takeBatch());
    }
    this.#busy = undefined;
  }

  #switch(sink: Sink): void {
    this.#waiting.splice(this.#waiting.indexOf(sink), 1);
    close(this.#sink);
    this.#sink = sink;
    this.#isTorn = false;
  }

  /** The first entries, as many as one write takes. */
  #takeBatch(): (string | Loss)[] {
    const batch: (string | Loss)[] = [];
    let size = 0;
    for (const entry of this.#waiting) {
      if (isSink(entry) || size >= MAX_BATCH) break;
      batch.push(entry);
      if (typeof entry === "string") size += entry.length;
    }
    this.#waiting.splice(0, batch.length);
    this.#size -= size;
    return batch;
  }

  /** Writes lines, or counts those that could not be written before all that waits. */
  async #writeBatch(batch: readonly (string | Loss)[]): Promise<boolean> {
    const lines = batch.map((entry) => isLoss(entry) ? this.#lossLine(entry.lost) : entry);
    const bytes = new TextEncoder().encode((this.#isTorn ? "\n" : "") + lines.join(""));
    const written = await this.#writeBytes(bytes);
    if (written === bytes.length) return true;
    const unwritten = batch.slice(-countLines(bytes.subarray(written)));
    const lost = unwritten.reduce((sum, entry) => sum + (isLoss(entry) ? entry.lost : 1), 0);
    const [next] = this.#waiting;
    if (isLoss(next)) next.lost += lost;
    else this.#waiting.unshift({ lost });
    return false;
  }

  /** Writes as much as can be written; resolves to the number of bytes. */
  async #writeBytes(bytes: Uint8Array): Promise<number> {
    let written = 0;
    while (written < bytes.length && this.#sink !== undefined) {
      const count = await write(this.#sink, bytes.subarray(written));
      if (count === 0) break;
      written += count;
      this.#isTorn = written < bytes.length;
    }
    return written;
  }
}

/** What writers are writing. */
const underWay = new Set<Promise<void>>();

/** What the process itself writes its lines to. */
export function stderrSink(): Sink {
  return { write: (bytes) => Deno.stderr.write(bytes), close() {} };
}

/** Waits until all that was given to writers is written, or can't be in time: the process is to exit. */
export async function flush(): Promise<void> {
  if (underWay.size > 0) await inTime(Promise.all(underWay));
}

async function inTime(work: Promise<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise((resolve) => timer = setTimeout(resolve, FLUSH_TIMEOUT));
  await Promise.race([work, late]);
  clearTimeout(timer);
}

/** Writes bytes, or the first of them; 0: it can't. */
async function write(sink: Sink, bytes: Uint8Array): Promise<number> {
  for (;;) {
    try {
      return await sink.write(bytes);
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) return 0;
      await new Promise((resolve) => setTimeout(resolve, RETRY_DELAY));
    }
  }
}

function close(sink: Sink | undefined): void {
  try {
    sink?.close();
  } catch {
    // Somebody else has closed it: what matters is that it is closed.
  }
}

function isSink(entry: Entry | undefined): entry is Sink {
  return typeof entry === "object" && "write" in entry;
}

function isLoss(entry: Entry | undefined): entry is Loss {
  return typeof entry === "object" && "lost" in entry;
}

const LINE_END = 10;

function countLines(bytes: Uint8Array): number {
  return bytes.reduce((count, byte) => byte === LINE_END ? count + 1 : count, 0);
}
