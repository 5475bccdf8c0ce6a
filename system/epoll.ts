/**
 * Waits for many descriptors at the cost of those that are ready: epoll(7), level-triggered; elsewhere poll(2).
 * Nothing is allocated by a wait.
 *
 * @module
 */

import { Bytes, harden } from "../zmq/library.ts";
import { errnoOf, type Libc, systemError } from "./libc.ts";
import { Epoll as Flag } from "./numbers.ts";
import { PollSet } from "./poll_set.ts";

/** Descriptors that one wait can tell of; the others are told of by the next. */
export const EPOLL_BATCH = 256;
/**
 * struct epoll_event: u32 events, then u64 of the caller's, here the token: at 4, as the struct is packed, on
 * x86_64 and at 8 elsewhere.
 */
const PACKED = Deno.build.arch === "x86_64";
const ENTRY_BYTES = PACKED ? 12 : 16;
const TOKEN_AT = PACKED ? 4 : 8;

/**
 * Descriptors, each with a token: a number from 0 to 2 ** 31 by which the caller knows it. Events are `PollEvent`
 * bits; errors and hang-ups are reported unasked.
 *
 * What one wait has found is told as it was then: a descriptor that the caller removes while he goes through it is
 * still told of.
 */
export class Epoll {
  /** Readable, for poll(2), while a descriptor is ready; -1: there is none, and `pollSet` is to be polled. */
  readonly fd: number;
  /** The descriptors, where the system has no epoll. */
  readonly pollSet: PollSet | undefined;
  readonly #libc: Libc;
  readonly #entry = new DataView(new ArrayBuffer(ENTRY_BYTES));
  readonly #entryBytes = new Bytes(this.#entry.buffer);
  readonly #found = new DataView(new ArrayBuffer(EPOLL_BATCH * ENTRY_BYTES));
  readonly #foundBytes = new Bytes(this.#found.buffer);
  /** What `pollSet` has found. */
  readonly #tokens: Uint32Array;
  readonly #events: Uint32Array;
  #isOpen = true;

  /**
   * Has no descriptor yet.
   *
   * @param by "epoll" where the system has it.
   * @throws {SystemError} when the system has no file descriptor left.
   */
  constructor(libc: Libc, by: "epoll" | "poll" = libc.symbols.epoll_create1 ? "epoll" : "poll") {
    this.#libc = libc;
    this.pollSet = by === "poll" ? new PollSet(libc.symbols) : undefined;
    const found = by === "poll" ? EPOLL_BATCH : 0;
    this.#tokens = new Uint32Array(found);
    this.#events = new Uint32Array(found);
    this.fd = by === "epoll" ? libc.symbols.epoll_create1?.(Flag.CLOEXEC) ?? -1 : -1;
    if (by === "epoll" && this.fd < 0) throw systemError(libc, "open an epoll", errnoOf(libc));
  }

  /**
   * Waits for `events` of one more descriptor.
   *
   * @throws {SystemError} when it is not open, is watched already, or the system has no memory for it.
   */
  add(fd: number, token: number, events: number): void {
    this.#set(Flag.ADD, fd, token, events);
  }

  /**
   * Waits for other events of a descriptor.
   *
   * @throws {SystemError} when it is not one that was added.
   */
  change(fd: number, token: number, events: number): void {
    this.#set(Flag.MOD, fd, token, events);
  }

  /** Waits for a descriptor no more. To be called before it is closed; else nothing happens. */
  remove(fd: number): void {
    if (this.pollSet !== undefined) this.pollSet.remove(fd);
    else this.#libc.symbols.epoll_ctl?.(this.fd, Flag.DEL, fd, this.#entryBytes);
  }

  /** Waits until a descriptor is ready, or `timeoutMs` have passed; returns how many are, 256 at most. */
  wait(timeoutMs = 0): number {
    if (this.pollSet !== undefined) {
      return this.pollSet.wait(timeoutMs, this.#tokens, this.#events);
    }
    const { epoll_wait } = this.#libc.symbols;
    // Interrupted is none.
    return Math.max(0, epoll_wait?.(this.fd, this.#foundBytes, EPOLL_BATCH, timeoutMs) ?? 0);
  }

  /** The token of one that the last wait has found. */
  token(index: number): number {
    if (this.pollSet !== undefined) return this.#tokens[index] ?? 0;
    return this.#found.getUint32(index * ENTRY_BYTES + TOKEN_AT, true);
  }

  /** The events of one that the last wait has found. */
  events(index: number): number {
    if (this.pollSet !== undefined) return this.#events[index] ?? 0;
    return this.#found.getUint32(index * ENTRY_BYTES, true);
  }

  /** Closes it; the descriptors stay the caller's. */
  close(): void {
    if (this.#isOpen && this.fd >= 0) this.#libc.symbols.close(this.fd);
    this.#isOpen = false;
  }

  #set(command: number, fd: number, token: number, events: number): void {
    const libc = this.#libc;
    if (this.pollSet !== undefined) return this.#setInPollSet(command, fd, token, events);
    this.#entry.setUint32(0, events, true);
    this.#entry.setUint32(TOKEN_AT, token, true);
    const result = libc.symbols.epoll_ctl?.(this.fd, command, fd, this.#entryBytes);
    if (result !== 0) throw systemError(libc, "watch a descriptor", errnoOf(libc));
  }

  #setInPollSet(command: number, fd: number, token: number, events: number): void {
    const { EEXIST, ENOENT, EBADF } = { EEXIST: 17, ENOENT: 2, EBADF: 9 };
    const isKnown = this.pollSet?.has(fd) ?? false;
    const isNew = command === Flag.ADD;
    if (fd >= 0 && isKnown !== isNew) return this.pollSet?.set(fd, token, events);
    const errno = fd < 0 ? EBADF : isNew ? EEXIST : ENOENT;
    throw systemError(this.#libc, "watch a descriptor", errno);
  }
}

harden(Epoll);
