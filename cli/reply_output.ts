/**
 * The replies on the client's standard output.
 *
 * @module
 */

import type { Reply } from "../client/reply.ts";
import { concat, NEWLINE } from "./input.ts";

const encoder = new TextEncoder();
const NEWLINE_FRAME = Uint8Array.of(NEWLINE);

/** Collects replies, so that those that come together are written together. */
export class ReplyOutput {
  readonly #raw: boolean;
  #frames: Uint8Array[] = [];

  /** `raw`: without a newline after each frame. */
  constructor({ raw }: { raw: boolean }) {
    this.#raw = raw;
  }

  /** Adds a reply. */
  add({ frames }: Reply): void {
    for (const frame of frames) {
      this.#frames.push(frame);
      if (!this.#raw) this.#frames.push(NEWLINE_FRAME);
    }
  }

  /** Writes what was added. @throws when standard output fails. */
  flush(): void {
    const bytes = concat(this.#frames);
    this.#frames = [];
    write(bytes);
  }
}

/** Writes a text to standard output. @throws when that fails. */
export function printText(text: string): void {
  write(encoder.encode(text));
}

/** Writes bytes to standard output. @throws when that fails. */
export function printBytes(bytes: Uint8Array): void {
  write(bytes);
}

/** May block: replies then wait in the socket, and are read before any timeout. */
function write(bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += Deno.stdout.writeSync(bytes.subarray(written));
}
