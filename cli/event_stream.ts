/**
 * Server-sent events, read from the body of an answer. Source: the HTML standard, "Server-sent events",
 * section "Interpreting an event stream".
 *
 * @module
 */

/** One event. */
export interface ServerEvent {
  /** Its type; `message` where the server gives none. */
  event: string;
  data: string;
  /** The last id that the server gave; undefined: none yet. */
  id: string | undefined;
}

/** The most characters of an event: no server of ours sends as many. */
const MAX_EVENT = 64 * 1024 * 1024;

/**
 * Reads events until the stream ends.
 *
 * @throws {RangeError} when an event is longer than 64 Mi characters.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<ServerEvent, void, void> {
  const block = new Block();
  for await (const line of linesOf(body.pipeThrough(new TextDecoderStream()))) {
    const event = block.add(line);
    if (event !== undefined) yield event;
  }
}

/** The lines of a text that comes in pieces; one that has no end yet is left out. */
async function* linesOf(texts: ReadableStream<string>): AsyncGenerator<string, void, void> {
  let pieces: string[] = [];
  let length = 0;
  for await (const text of texts) {
    pieces.push(text);
    length += text.length;
    if (length > MAX_EVENT) throw tooLong();
    // An event of a large server comes in many pieces: they are joined once.
    if (!/[\r\n]/.test(text) && !pieces.at(-2)?.endsWith("\r")) continue;
    // A carriage return at the end may be the first half of a line's end.
    const lines = pieces.join("").split(/\r\n|\n|\r(?=[^])/);
    const rest = lines.pop() ?? "";
    yield* lines;
    [pieces, length] = [[rest], rest.length];
  }
}

function tooLong(): RangeError {
  return new RangeError("an event was too long");
}

/** The lines of an event, until an empty one ends it. */
class Block {
  #event = "";
  #data: string[] = [];
  #length = 0;
  #id: string | undefined;

  /** Takes a line; returns the event that it ends. */
  add(line: string): ServerEvent | undefined {
    if (line === "") return this.#end();
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "event") this.#event = value;
    if (name === "id" && !value.includes("\0")) this.#id = value;
    if (name === "data") this.#add(value);
    return undefined;
  }

  #add(value: string): void {
    this.#length += value.length + 1;
    if (this.#length > MAX_EVENT) throw tooLong();
    this.#data.push(value);
  }

  #end(): ServerEvent | undefined {
    const [event, data, id] = [this.#event || "message", this.#data, this.#id];
    [this.#event, this.#data, this.#length] = ["", [], 0];
    return data.length === 0 ? undefined : { event, data: data.join("\n"), id };
  }
}
