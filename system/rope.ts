/**
 * Rings the bell (bell.ts) of another thread of this process, also while that thread closes it: the rope has a
 * descriptor of its own, so that it never reaches another file which got the bell's number.
 *
 * @module
 */

import { Control } from "./numbers.ts";

const SYMBOLS = {
  /** It takes what follows the first two as variable arguments, which Apple's arm64 has on the stack. */
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  fcntl_stacked: {
    name: "fcntl",
    parameters: ["i32", "i32", "i64", "i64", "i64", "i64", "i64", "i64", "i64"],
    result: "i32",
  },
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
} as const;

type Symbols = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** What an eventfd takes for one, u64; of a pipe it is as good as anything. */
const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/** A way to ring one bell. */
export class Rope {
  readonly #libc: Deno.DynamicLibrary<typeof SYMBOLS>;
  #fd: number;

  /**
   * Takes hold of the bell whose `writeEnd` is open now.
   *
   * @param library A library that is linked to the C library.
   * @throws {Error} when no file descriptor is left.
   */
  constructor(library: string, writeEnd: number) {
    const libc = this.#libc = Deno.dlopen(library, SYMBOLS);
    this.#fd = copyOf(libc.symbols, writeEnd);
    if (this.#fd >= 0) return;
    libc.close();
    throw new Error("Cannot ring another thread: no file descriptor is left");
  }

  /** Rings. */
  ring(): void {
    if (this.#fd >= 0) this.#libc.symbols.write(this.#fd, ONE, ONE.length);
  }

  /** Lets go. */
  close(): void {
    if (this.#fd < 0) return;
    this.#libc.symbols.close(this.#fd);
    this.#fd = -1;
    this.#libc.close();
  }
}

/** Another descriptor of the same, which programs do not inherit; < 0: none is left. */
function copyOf(symbols: Symbols, fd: number): number {
  const isStacked = Deno.build.os === "darwin" && Deno.build.arch === "aarch64";
  if (!isStacked) return symbols.fcntl(fd, Control.DUPFD_CLOEXEC, 0);
  return symbols.fcntl_stacked(fd, Control.DUPFD_CLOEXEC, 0n, 0n, 0n, 0n, 0n, 0n, 0n);
}
