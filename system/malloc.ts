/**
 * How the C library's malloc deals with freed memory. V8 takes the memory of buffers from it.
 *
 * @module
 */

const SYMBOLS = {
  /** glibc's own. */
  mallopt: { parameters: ["i32", "i32"], result: "i32", optional: true },
  malloc_trim: { parameters: ["usize"], result: "i32", optional: true },
} as const;

/** malloc.h. */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
/** From this size on, memory comes from the system and goes back to it: the most that all releases of glibc take. */
const MMAP_BYTES = 32 * 1024 ** 2;
/** So much freed memory is kept at the end of the heap. */
const TRIM_BYTES = 64 * 1024 ** 2;

/** Freed memory of this process. */
export interface FreedMemory {
  /** Gives all of it back to the system, whichever thread has freed it. Takes some ms. */
  giveBack(): void;
}

/**
 * Has freed memory used again instead of given back at once, where the C library can be told so. Else each body of
 * 1 MiB is new memory, whose 256 pages the system must find and clear: a third of the CPU that a copy of it takes.
 *
 * @param library The C library, or one that is linked to it.
 */
export function reuseFreedMemory(library: string): FreedMemory {
  const { mallopt, malloc_trim } = Deno.dlopen(library, SYMBOLS).symbols;
  mallopt?.(M_MMAP_THRESHOLD, MMAP_BYTES);
  mallopt?.(M_TRIM_THRESHOLD, TRIM_BYTES);
  return { giveBack: () => void malloc_trim?.(0n) };
}
