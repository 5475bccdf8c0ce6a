/**
 * Finds out how much of what was sent to a peer libzmq still holds. libzmq does not say so, but it
 * calls a C function when it gives up a frame that it was lent: here that is strcpy, and what it copies
 * is one byte, the news. So nothing of ours runs on libzmq's threads.
 *
 * @module
 */

import { Bytes, harden, type Library } from "./library.ts";
import type { Message } from "./message.ts";

const SYMBOLS = {
  strcpy: { type: "pointer" },
  zmq_msg_init_data: {
    parameters: ["buffer", "buffer", "u64", "pointer", "buffer"],
    result: "i32",
  },
} as const;

/** A cell holds one byte, and the end of the C string that is copied into it. */
const CELL_BYTES = 2;
const SLAB_CELLS = 2048;
const PASSED = 1;
const NO_BYTES = 0n;
const ONE_BYTE = 1n;

/** Whether a mark may be a frame of this one byte: it must not be what libzmq writes there. */
export function mayMark(byte: number): boolean {
  return byte !== PASSED;
}

/** Frames of one byte at most that are sent between others: each shows when libzmq has let go of it. */
export class Marks {
  readonly #symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

  /** Takes what it needs from an open library. */
  constructor(library: Library) {
    this.#symbols = Deno.dlopen(library.path, SYMBOLS).symbols;
  }

  /** Makes `message`, which is empty, a mark, of one byte if that is given; returns the number to ask for it by. */
  set(message: Message, byte?: number): number {
    if (free.length === 0) grow();
    const cell = free.pop() ?? 0;
    const { strcpy, zmq_msg_init_data } = this.#symbols;
    const room = slabOf(cell).subarray(placeOf(cell));
    if (byte !== undefined) room[0] = byte;
    const size = byte === undefined ? NO_BYTES : ONE_BYTE;
    zmq_msg_init_data(message.slot, room, size, strcpy, NEWS);
    return cell;
  }

  /** Whether libzmq has let go of a mark. Once it has, the number is another mark's. */
  passed(cell: number): boolean {
    const slab = slabOf(cell);
    const at = placeOf(cell);
    if (slab[at] !== PASSED) return false;
    slab[at] = 0;
    free.push(cell);
    return true;
  }
}

/** The C string that is copied; of a large buffer, as V8 moves small ones. */
const NEWS = new Bytes(SLAB_CELLS).fill(PASSED, 0, 1).subarray(0, CELL_BYTES);
/**
 * Cells, which libzmq writes to until its context has ended, be the server gone or not: so they are the
 * module's, and never freed.
 */
const slabs: Uint8Array<ArrayBuffer>[] = [];
const free: number[] = [];

function grow(): void {
  const first = slabs.length * SLAB_CELLS;
  slabs.push(new Bytes(SLAB_CELLS * CELL_BYTES));
  for (let cell = first + SLAB_CELLS - 1; cell >= first; cell--) free.push(cell);
}

function slabOf(cell: number): Uint8Array<ArrayBuffer> {
  const slab = slabs[Math.floor(cell / SLAB_CELLS)];
  if (slab === undefined) throw new RangeError(`Cannot find mark ${cell}: there is none`);
  return slab;
}

/** Where a cell starts in its slab. */
function placeOf(cell: number): number {
  return cell % SLAB_CELLS * CELL_BYTES;
}

harden(Marks);
