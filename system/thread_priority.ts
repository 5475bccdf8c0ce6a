/**
 * How much of the processors a thread takes where there are not enough of them.
 *
 * @module
 */

const SYMBOLS = { nice: { parameters: ["i32"], result: "i32" } } as const;

/** A thread with this has a third of the weight of one without. */
const STEP = 5;

/**
 * Has the calling thread give way to others of this process and of the machine; it can't be taken back. Linux alone has
 * this for a thread, others for the whole process: there nothing is done.
 *
 * @param library A library that is linked to the C library.
 */
export function giveWay(library: string): void {
  if (Deno.build.os !== "linux") return;
  const libc = Deno.dlopen(library, SYMBOLS);
  libc.symbols.nice(STEP);
  libc.close();
}
