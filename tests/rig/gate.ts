/** Handlers that answer only once the test lets them. */

import { Folder } from "./folder.ts";

/** A file that does not exist yet: a handler made by `gated` answers only once it does. */
export class Gate {
  readonly #folder = new Folder();
  readonly file = `${this.#folder.path}/open`;
  /** What lets the handler look. */
  readonly grant = `--handler-allow-read=${this.#folder.path}`;

  open(): void {
    Deno.writeTextFileSync(this.file, "");
  }

  /** Source of `async function passed(signal)`, which waits until the gate is open. */
  get source(): string {
    return `async function passed() {
      for (;;) {
        try { return Deno.statSync(${JSON.stringify(this.file)}); } catch { /* not yet */ }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }`;
  }

  /** A handler that says "started" in the log, waits for the gate, and echoes. */
  get handler(): string {
    return `${this.source}
      export default async (_body, ctx) => {
        ctx.log.info("started");
        await passed();
        return ctx.frames;
      };`;
  }

  [Symbol.dispose](): void {
    this.#folder[Symbol.dispose]();
  }
}
