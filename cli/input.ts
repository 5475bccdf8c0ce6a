/**
 * Where the client's command gets its requests from: files and standard input, whole or by lines.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import { isFolder } from "../system/files.ts";

/** What separates lines. */
export const NEWLINE = 10;

/** Where bytes come from. */
export interface Input {
  /** The bytes. */
  chunks: AsyncIterable<Uint8Array>;
  /** How many bytes there are; undefined: that is not known. */
  size: number | undefined;
}

/**
 * Opens files, "-" for standard input; none at all means standard input too.
 *
 * @throws {Error} when one can't be opened.
 */
export function openInputs(files: readonly string[]): Input[] {
  return files.length === 0 ? [openInput("-")] : files.map(openInput);
}

/** A text as an input. */
export function textInput(text: string): Input {
  const bytes = new TextEncoder().encode(text);
  return { chunks: ReadableStream.from([bytes]), size: bytes.length };
}

function openInput(path: string): Input {
  if (path === "-") return { chunks: Deno.stdin.readable, size: sizeOf("/dev/stdin") };
  // One can be opened, and fails when it is read.
  if (isFolder(path)) throw new Error(`Cannot open the file "${path}": it is a folder`);
  try {
    return { chunks: Deno.openSync(path).readable, size: sizeOf(path) };
  } catch (error) {
    throw new Error(`Cannot open the file "${path}": ${messageOf(error)}`, { cause: error });
  }
}

function sizeOf(path: string): number | undefined {
  try {
    const { isFile, size } = Deno.statSync(path);
    return isFile ? size : undefined;
  } catch {
    return undefined; // /dev/stdin does not exist everywhere, and can be a closed pipe
  }
}

/** All inputs as one body, without the newline at its end. */
export async function readBody(inputs: readonly Input[]): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (const input of inputs) {
    for await (const chunk of input.chunks) chunks.push(chunk);
  }
  const body = concat(chunks);
  return body.at(-1) === NEWLINE ? body.subarray(0, -1) : body;
}

/** The lines of all inputs without their newlines; the last line of an input needs none. */
export async function* readLines(inputs: readonly Input[]): AsyncGenerator<Uint8Array> {
  for (const { chunks } of inputs) {
    /** What earlier chunks have of a line that goes on. */
    let started: Uint8Array[] = [];
    for await (const chunk of chunks) {
      let start = 0;
      for (let end; (end = chunk.indexOf(NEWLINE, start)) >= 0; start = end + 1) {
        yield concat([...started, chunk.subarray(start, end)]);
        started = [];
      }
      if (start < chunk.length) started.push(chunk.subarray(start));
    }
    if (started.length > 0) yield concat(started);
  }
}

/** All of them as one; a single one is not copied. */
export function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const [first] = chunks;
  if (first !== undefined && chunks.length === 1) return first;
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
