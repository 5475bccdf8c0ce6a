/**
 * Memory that two processes share: a file in memory that nobody can shrink, grow or unseal, mapped by both. Linux
 * alone has such files.
 *
 * Whoever has it may write to all of it at any time: nothing that lies there is to be believed, and what is read
 * twice may differ.
 *
 * @module
 */

import { cString, harden, lengthOf } from "../zmq/library.ts";
import { type Connector, control, type Libc, type Transfer, type TransferSymbols } from "./libc.ts";
import { Control, Mapping, MemoryFile, NO_WAIT, REMOVE, Seal } from "./numbers.ts";

/** As it was before a handler could replace it, and so choose an address. */
const toBigInt = BigInt;

/** Mapped memory. What it copies and sends is checked to lie within. */
export class SharedMemory {
  readonly #symbols: TransferSymbols;
  readonly #address: bigint;
  readonly #size: number;

  /** For this module only. */
  constructor({ symbols }: Pick<Transfer, "symbols">, address: bigint, size: number) {
    this.#symbols = symbols;
    this.#address = address;
    this.#size = size;
  }

  /** Copies the first `count` bytes of `source` to `at`. */
  write(at: number, source: Uint8Array<ArrayBuffer>, count: number): void {
    if (count > lengthOf(source)) throw new RangeError("Cannot share bytes: there are not so many");
    this.#symbols.copyIn(this.#addressOf(at, count), source, count);
  }

  /** Copies `count` bytes from `at` to the start of `target`. */
  read(at: number, target: Uint8Array<ArrayBuffer>, count: number): void {
    if (count > lengthOf(target)) throw new RangeError("Cannot copy shared bytes: no room");
    this.#symbols.copyOut(target, this.#addressOf(at, count), count);
  }

  /** Sends `count` bytes from `at` to a stream socket; returns how many it took, < 0: none. */
  send(fd: number, at: number, count: number): number {
    return this.#symbols.sendFrom(fd, this.#addressOf(at, count), count, NO_WAIT);
  }

  /** A part of it, out of which nothing can be reached. */
  part(at: number, size: number): SharedMemory {
    return new SharedMemory({ symbols: this.#symbols }, this.#addressOf(at, size), size);
  }

  #addressOf(at: number, count: number): bigint {
    const isInside = at >= 0 && count >= 0 && at + count <= this.#size;
    if (!isInside) throw new RangeError("Cannot use shared memory: it is not so large");
    return this.#address + toBigInt(at);
  }
}

/** Shared memory as its maker has it. */
export interface OwnMemory {
  readonly memory: SharedMemory;
  /** To be passed to the other process, and open until `passed`. */
  readonly fd: number;
  /** Closes the descriptor: the memory stays. */
  passed(): void;
  /** Gives the pages of a part back to the system: it reads as zeros then. Both are multiples of a page. */
  punch(at: number, count: number): void;
  /** Gives it up; the other process still has it. */
  release(): void;
}

/** Makes memory to be shared, all zeros and taken by no page yet; undefined: the system can't. */
export function makeSharedMemory(libc: Libc, size: number): OwnMemory | undefined {
  const { memfd_create, ftruncate, close, madvise, munmap } = libc.symbols;
  const flags = MemoryFile.CLOEXEC | MemoryFile.ALLOW_SEALING;
  const fd = memfd_create?.(cString("lane"), flags) ?? -1;
  if (fd < 0) return undefined;
  const seals = Seal.SHRINK | Seal.GROW | Seal.SEAL;
  const address =
    ftruncate(fd, BigInt(size)) === 0 && control(libc, fd, Control.ADD_SEALS, seals) === 0
      ? map(libc, fd, size)
      : undefined;
  if (address === undefined) {
    close(fd);
    return undefined;
  }
  return {
    memory: new SharedMemory(libc, address, size),
    fd,
    passed: () => void close(fd),
    punch: (at, count) => void madvise(address + BigInt(at), BigInt(count), REMOVE),
    release: () => void munmap(address, BigInt(size)),
  };
}

/**
 * Maps memory that another process has made, and closes its descriptor; undefined: the system can't. The functions
 * of `transfer` are all that the result needs.
 */
export function takeSharedMemory(
  connector: Connector,
  transfer: Transfer,
  fd: number,
  size: number,
): SharedMemory | undefined {
  const address = map(connector, fd, size);
  connector.symbols.close(fd);
  return address === undefined ? undefined : new SharedMemory(transfer, address, size);
}

function map({ symbols }: Connector, fd: number, size: number): bigint | undefined {
  const protection = Mapping.PROT_READ | Mapping.PROT_WRITE;
  const address = BigInt(symbols.mmap(0n, BigInt(size), protection, Mapping.SHARED, fd, 0n));
  return address === Mapping.FAILED ? undefined : address;
}

harden(SharedMemory);
