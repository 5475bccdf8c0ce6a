/**
 * A worker's connection to the broker of its own machine: a unix stream socket, and the memory that the broker
 * shares. What opens things is let go in `takeMemory`; what stays moves bytes over this one connection, and is out
 * of reach for a handler.
 *
 * @module
 */

import { Bytes, Errno, harden, lengthOf } from "../zmq/library.ts";
import { openBell } from "./bell.ts";
import { takeDescriptor } from "./descriptor_passing.ts";
import {
  type Connector,
  errnoOf,
  openConnector,
  openStream,
  openTransfer,
  systemError,
  type Transfer,
} from "./libc.ts";
import { Family, NO_WAIT, POLL_ITEM_BYTES, PollEvent } from "./numbers.ts";
import { Poller } from "./poller.ts";
import { unixAddress } from "./socket_address.ts";
import { type SharedMemory, takeSharedMemory } from "./shared_memory.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** As it was before a handler could replace it, and so choose memory that is written to. */
const subarray: (bytes: Frame, start: number) => Frame = Function.prototype.call.bind(
  Uint8Array.prototype.subarray,
);

/** How often a broker that takes nobody now is asked again, and the time between, ms. */
const TRIES = 500;
const TRY_INTERVAL_MS = 10;
/** How long the broker may take to say which memory it shares, ms: a worker can work without. */
const MEMORY_TIMEOUT = 10_000;

/** The memory of two rings. */
export interface Rings {
  /** What the broker writes. */
  readonly incoming: SharedMemory;
  /** What the worker writes. */
  readonly outgoing: SharedMemory;
}

/** What came along with the broker's first record: the record, and how to take the memory. */
export interface Welcome {
  readonly record: Frame;
  /** Maps two rings of so many bytes; undefined: there is no such memory. */
  take(ringBytes: number): Rings | undefined;
}

/** A connection, from the worker's side. */
export class LocalConnection {
  readonly #transfer: Transfer;
  /** Undefined once FFI is given up. */
  #connector: Connector | undefined;
  readonly #poller: Poller;
  readonly #item = new Bytes(POLL_ITEM_BYTES);
  #isOpen = true;
  #awaitsRoom = false;
  /** Not a property: whoever got hold of this could name another. */
  readonly #fd: number;

  /**
   * Connects; needs FFI until `welcome` and what that gives were used.
   *
   * @param libc The C library's file.
   * @throws {SystemError} when nobody listens at `path`.
   */
  constructor(libc: string, path: string) {
    const connector = this.#connector = openConnector(libc);
    this.#transfer = openTransfer(libc);
    this.#fd = openStream(connector, Family.UNIX);
    connect(connector, this.#transfer, this.#fd, path);
    this.#poller = new Poller(this.#transfer, openBell(connector), [this]);
  }

  /** For the poller. */
  get fd(): number {
    return this.#fd;
  }

  /** For the poller: nothing is remembered. */
  noteActivity(): void {}

  /** Waits for the broker's first record; undefined: it sends none. From then on nothing can be opened here. */
  welcome(): Welcome | undefined {
    const connector = this.#connector;
    this.#connector = undefined;
    if (connector === undefined || !this.#isReady(PollEvent.IN, MEMORY_TIMEOUT)) return undefined;
    const passed = takeDescriptor(connector, this.#fd);
    if (passed === undefined) return undefined;
    const { bytes: record, descriptor } = passed;
    return { record, take: (ringBytes) => this.#take(connector, descriptor, ringBytes) };
  }

  #take(connector: Connector, descriptor: number, ringBytes: number): Rings | undefined {
    if (descriptor < 0) return undefined;
    const memory = takeSharedMemory(connector, this.#transfer, descriptor, 2 * ringBytes);
    return memory &&
      { incoming: memory.part(0, ringBytes), outgoing: memory.part(ringBytes, ringBytes) };
  }

  /** Receives into `bytes`, from the `from`th on; returns how many came, 0: the end, < 0: none now. */
  receive(bytes: Frame, from: number): number {
    if (!this.#isOpen) return 0;
    const part = from === 0 ? bytes : subarray(bytes, from);
    return this.#transfer.symbols.recv(this.#fd, part, lengthOf(part), NO_WAIT);
  }

  /** Sends `count` bytes from the `from`th on; returns how many were taken, < 0: none now. */
  send(bytes: Frame, from: number, count: number): number {
    if (!this.#isOpen) return -1;
    const part = from === 0 ? bytes : subarray(bytes, from);
    const size = count <= lengthOf(part) ? count : lengthOf(part);
    return this.#transfer.symbols.send(this.#fd, part, size, NO_WAIT);
  }

  /** Whether a wait ends when more can be sent, too. */
  awaitRoom(awaits: boolean): void {
    if (awaits === this.#awaitsRoom) return;
    this.#awaitsRoom = awaits;
    this.#poller.expect(this, awaits ? PollEvent.IN | PollEvent.OUT : PollEvent.IN);
    this.#poller.wake();
  }

  /** Waits on this thread until more can be sent; false: it took too long. */
  waitForRoom(timeoutMs: number): boolean {
    return this.#isOpen && this.#isReady(PollEvent.OUT, timeoutMs);
  }

  #isReady(events: number, timeoutMs: number): boolean {
    const view = new DataView(this.#item.buffer);
    view.setInt32(0, this.#fd, true);
    view.setInt32(4, events, true);
    return this.#transfer.symbols.poll(this.#item, 1, Math.ceil(timeoutMs)) > 0;
  }

  /** Whether `wait` is under way. */
  get waiting(): boolean {
    return this.#poller.waiting;
  }

  /** Waits until something is to be read: see `Poller.wait`. */
  wait(timeoutMs: number): Promise<void> {
    return this.#poller.wait(timeoutMs);
  }

  /** The same: see `Poller.rest`. */
  rest(timeoutMs: number): Promise<void> | undefined {
    return this.#poller.rest(timeoutMs, "taken");
  }

  /** Ends the wait that is under way, if one is. */
  wake(): void {
    this.#poller.wake();
  }

  /** The broker is gone: nothing of it ends a wait any more. */
  end(): void {
    this.#isOpen = false;
    this.#poller.leaveOut(this);
  }

  /** Closes at once. */
  close(): void {
    this.end();
    this.#poller.close();
    this.#transfer.symbols.close(this.#fd);
  }
}

/** Connects, also when so many others do that the system lets nobody wait. */
function connect(connector: Connector, transfer: Transfer, fd: number, path: string): void {
  const address = unixAddress(path);
  if (address === undefined) throw systemError(connector, "connect", Errno.ENAMETOOLONG);
  const empty = new Bytes(POLL_ITEM_BYTES);
  for (let attempt = 0; attempt < TRIES; attempt++) {
    if (connector.symbols.connect(fd, address, address.length) === 0) return;
    const errno = errnoOf(connector);
    if (errno === Errno.ENOENT || errno === Errno.EACCES) {
      throw systemError(connector, "connect", errno);
    }
    transfer.symbols.poll(empty, 0, TRY_INTERVAL_MS);
  }
  throw systemError(connector, `connect to "${path}"`, errnoOf(connector));
}

harden(LocalConnection);
