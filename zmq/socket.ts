/**
 * A ZeroMQ context and its sockets. Every call returns at once; waiting is system/poller.ts's.
 *
 * @module
 */

import { EMPTY_FRAME } from "../wire/empty_frame.ts";
import {
  cString,
  Errno,
  errorOf,
  Flag,
  harden,
  lastError,
  lengthOf,
  type Library,
  Option,
  POLLIN,
  type Symbols,
  wayOut,
  type ZmqError,
} from "./library.ts";
import { canOpen } from "./descriptors.ts";
import type { Message } from "./message.ts";

/** What became of a message that was sent: "full" is a high-water mark, "gone" no such peer. */
export type Sent = "sent" | "full" | "gone";

/**
 * What a context and its first sockets open: a mailbox of its own, one and an epoll for each of two
 * threads, and one for each socket. libzmq aborts when one of those is missing in the middle.
 */
const CONTEXT_FILES = 8;

/** A ZeroMQ context: the I/O threads, and the inproc endpoints of its sockets. */
export class Context {
  readonly library: Library;
  readonly #pointer: Deno.PointerValue;
  #started = false;
  /** Those that were open when the last one was opened, and that one. */
  #sockets: Socket[] = [];

  /**
   * Makes a context; its threads start with its first socket, which is to be opened at once.
   *
   * @throws {ZmqError} when the system has too few file descriptors left.
   */
  constructor(library: Library) {
    this.library = library;
    // libzmq numbers peers upwards from the C library's next random number, and aborts when a peer has
    // taken that number for its identity. It seeds nothing itself, so anybody would know it.
    library.symbols.srand(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);
    if (!canOpen(library, CONTEXT_FILES)) {
      throw errorOf(library, "open a context", Errno.EMFILE);
    }
    this.#pointer = library.symbols.zmq_ctx_new();
    const MAX_SOCKETS = 2;
    library.symbols.zmq_ctx_set(this.#pointer, MAX_SOCKETS, 4096);
    // Else a frame that waits keeps all of the 8 KiB that were read with it. Draft: it may be refused.
    const ZERO_COPY_RECV = 10;
    library.symbols.zmq_ctx_set(this.#pointer, ZERO_COPY_RECV, 0);
  }

  /**
   * Opens a socket.
   *
   * @throws {ZmqError} when the system has no file descriptor left.
   */
  socket(type: number): Socket {
    const open = () => this.library.symbols.zmq_socket(this.#pointer, type);
    const pointer = this.#started ? open() : asBatch(this.library, open);
    this.#started = true;
    if (pointer === null) throw lastError(this.library, "open a socket");
    const socket = new Socket(this.library, pointer);
    this.#sockets = [...this.#sockets.filter(({ isOpen }) => isOpen), socket];
    return socket;
  }

  /** Waits, on another thread, until closed sockets have sent what their linger time allows; closes others. */
  async terminate(): Promise<void> {
    this.#closeRest();
    await this.library.symbols.zmq_ctx_term_async(this.#pointer);
  }

  /** The same on this thread: for the last moment of a process. */
  terminateSync(): void {
    this.#closeRest();
    this.library.symbols.zmq_ctx_term(this.#pointer);
  }

  /** A socket that nobody has closed, as an error came in between, would keep the context from ever ending. */
  #closeRest(): void {
    for (const socket of this.#sockets) socket.close(0);
  }
}

/**
 * Has the threads that `start` starts scheduled as batch work, where the system knows such: awake, they
 * don't push aside who has woken them. So messages that are sent in a row go out together, not one by
 * one with two changes of threads each.
 */
function asBatch<T>({ symbols }: Library, start: () => T): T {
  const { OTHER, BATCH } = { OTHER: 0, BATCH: 3 }; // sched.h; threads inherit it
  const noPriority = new Uint8Array(new Int32Array([0]).buffer);
  symbols.sched_setscheduler?.(0, BATCH, noPriority);
  const started = start();
  symbols.sched_setscheduler?.(0, OTHER, noPriority);
  return started;
}

/** How often a call is tried again whose errno makes no sense. */
const DOUBTS = 10;

/** A ZeroMQ socket. Methods throw `ZmqError` on failures that are not part of ordinary traffic. */
export class Socket {
  readonly #library: Library;
  readonly #symbols: Symbols;
  readonly #pointer: Deno.PointerValue;
  readonly #events = new Int32Array(1);
  readonly #eventsBytes = new Uint8Array(this.#events.buffer);
  readonly #intSize = new Uint8Array(new BigUint64Array([4n]).buffer);
  #open = true;
  /** Whether a poller calls `noteActivity`. */
  #watched = false;
  /** Nothing can be received: a receive found nothing, and since then nothing was sent and no activity noted. */
  #dry = false;
  /** Readable when the socket may have something to say: ZMQ_FD, edge-triggered. */
  readonly fd: number;

  /** For `Context` only. */
  constructor(library: Library, pointer: Deno.PointerValue) {
    this.#library = library;
    this.#symbols = library.symbols;
    this.#pointer = pointer;
    this.fd = this.#getInt(Option.FD);
  }

  /** Whether it was not closed. */
  get isOpen(): boolean {
    return this.#open;
  }

  /** Sets an option of C type int. */
  set(option: number, value: number): void {
    this.setBytes(option, new Uint8Array(new Int32Array([value]).buffer));
  }

  /** Sets an option of C type int64_t. */
  setLong(option: number, value: number): void {
    this.setBytes(option, new Uint8Array(new BigInt64Array([BigInt(value)]).buffer));
  }

  /** Sets an option of bytes. */
  setBytes(option: number, value: Uint8Array<ArrayBuffer>): void {
    const result = this.#symbols.zmq_setsockopt(this.#pointer, option, value, value.length);
    if (result !== 0) throw lastError(this.#library, `set socket option ${option}`);
  }

  /** Sets an option that this libzmq may lack; returns whether it has it. */
  trySet(option: number, value: number): boolean {
    const bytes = new Uint8Array(new Int32Array([value]).buffer);
    return this.#symbols.zmq_setsockopt(this.#pointer, option, bytes, bytes.length) === 0;
  }

  /** Binds, and returns the endpoint really bound: the port for port 0 or `*`. */
  bind(endpoint: string): string {
    this.#dry = false;
    if (this.#symbols.zmq_bind(this.#pointer, cString(endpoint)) !== 0) {
      throw bindError(endpoint, lastError(this.#library, `bind to "${endpoint}"`));
    }
    return this.#lastEndpoint();
  }

  /** Connects; libzmq keeps trying by itself while nobody is there. */
  connect(endpoint: string): void {
    this.#dry = false;
    if (this.#symbols.zmq_connect(this.#pointer, cString(endpoint)) !== 0) {
      throw lastError(this.#library, `connect to "${endpoint}"`);
    }
  }

  /**
   * Has connections end that are silent for `timeoutMs`, on this side and on the other: hosts vanish without a word.
   * Asked for each `intervalMs`. Before `bind` and `connect`.
   */
  beat(intervalMs: number, timeoutMs: number): void {
    this.set(Option.HEARTBEAT_IVL, intervalMs);
    // Counted from the question that was not answered.
    this.set(Option.HEARTBEAT_TIMEOUT, timeoutMs - intervalMs);
    this.set(Option.HEARTBEAT_TTL, timeoutMs);
    // A lost packet of the handshake is sent again after 1 s, 3 s, 7 s and so on: a new try is quicker.
    this.set(Option.CONNECT_TIMEOUT, timeoutMs / 2);
  }

  /** Has events of the connections sent to an inproc endpoint: see monitor.ts. `events` are bits. */
  monitor(endpoint: string, events: number): void {
    if (this.#symbols.zmq_socket_monitor(this.#pointer, cString(endpoint), events) !== 0) {
      // It has libzmq open one more socket: that is what can fail.
      throw lastError(this.#library, "open a socket");
    }
  }

  /** Ends what `monitor` began. */
  unmonitor(): void {
    this.#symbols.zmq_socket_monitor(this.#pointer, null, 0);
  }

  /** From now on the caller calls `noteActivity` whenever `fd` is readable; until then no call is needed. */
  watch(): void {
    this.#watched = true;
  }

  /** `fd` was readable: there may be something to receive. */
  noteActivity(): void {
    this.#dry = false;
  }

  /** Whether a message can be received now. Asking re-arms `fd`: see system/poller.ts. */
  readable(): boolean {
    if (this.#dry) return false;
    const readable = (this.#getInt(Option.EVENTS) & POLLIN) !== 0;
    this.#dry = this.#watched && !readable;
    return readable;
  }

  /** Receives a frame; its size, or -1 when there is none. */
  receive(message: Message): number {
    if (this.#dry) return -1;
    const { slot } = message;
    for (let attempt = 0;; attempt++) {
      const size = this.#symbols.zmq_msg_recv(slot, this.#pointer, Flag.DONTWAIT);
      if (size >= 0 || this.#foundNothing(attempt)) return size;
    }
  }

  /** Receives a frame into `target`; its size, which may be more than was kept, or -1. */
  receiveInto(target: Uint8Array<ArrayBuffer>): number {
    if (this.#dry) return -1;
    const room = lengthOf(target);
    for (let attempt = 0;; attempt++) {
      const size = this.#symbols.zmq_recv(this.#pointer, target, room, Flag.DONTWAIT);
      if (size >= 0 || this.#foundNothing(attempt)) return size;
    }
  }

  /**
   * Has a ROUTER that refuses unknown peers take in what libzmq's threads have for it, by a message to
   * nobody. Sends then take in no more for some 3,000,000 ticks of the CPU's counter, about a ms: so what
   * is asked next still holds when a message is sent right behind it.
   */
  takeNews(): void {
    this.#dry = false;
    this.#symbols.zmq_send(this.#pointer, EMPTY_FRAME, 0, Flag.DONTWAIT | Flag.SNDMORE);
  }

  /** Whether a ROUTER still knows the peer of this routing id; undefined: this libzmq can't tell. */
  hasPeer(id: Uint8Array<ArrayBuffer>): boolean | undefined {
    const { zmq_socket_get_peer_state } = this.#symbols;
    const state = zmq_socket_get_peer_state?.(this.#pointer, id, lengthOf(id));
    return state === undefined ? undefined : state >= 0;
  }

  /** Whether the frame that was received last has others behind it. */
  get more(): boolean {
    return this.#getInt(Option.RCVMORE) !== 0;
  }

  /** Sends a frame with others to follow. */
  sendMore(bytes: Uint8Array<ArrayBuffer>): Sent {
    return this.#send(bytes, Flag.DONTWAIT | Flag.SNDMORE);
  }

  /** Sends the last frame of a message. */
  sendLast(bytes: Uint8Array<ArrayBuffer>): Sent {
    return this.#send(bytes, Flag.DONTWAIT);
  }

  /**
   * Sends a whole message, never a part of one: all frames are checked before the first is sent.
   *
   * @throws {TypeError} when a frame is not a Uint8Array.
   */
  sendAll(frames: readonly Uint8Array<ArrayBuffer>[]): Sent {
    for (const frame of frames) lengthOf(frame);
    const last = frames.length - 1;
    for (let index = 0; index < last; index++) {
      const sent = this.sendMore(frames[index] ?? EMPTY_FRAME);
      if (index === 0 && sent !== "sent") return sent;
    }
    return this.sendLast(frames[last] ?? EMPTY_FRAME);
  }

  /** Moves a message out, with others to follow; it is empty afterwards. */
  moveMore(message: Message): Sent {
    return this.#move(message, Flag.DONTWAIT | Flag.SNDMORE);
  }

  /** Moves the last frame of a message out; it is empty afterwards. */
  moveLast(message: Message): Sent {
    return this.#move(message, Flag.DONTWAIT);
  }

  /** Closes; what was sent is still delivered for up to `linger` ms while the context terminates. */
  close(linger: number): void {
    if (!this.#open) return;
    this.#open = false;
    this.set(Option.LINGER, linger);
    this.#symbols.zmq_close(this.#pointer);
  }

  /** Whether a receive failed because there is nothing; else it is to be tried again. */
  #foundNothing(attempt: number): boolean {
    if (this.#judge("receive", attempt) === undefined) return false;
    this.#dry = this.#watched;
    return true;
  }

  #send(bytes: Uint8Array<ArrayBuffer>, flags: number): Sent {
    this.#dry = false; // libzmq may take news in, and with them the edge
    const size = lengthOf(bytes);
    for (let attempt = 0;; attempt++) {
      const sent = this.#symbols.zmq_send(this.#pointer, bytes, size, flags);
      if (sent >= 0) return "sent";
      const failure = this.#judge("send", attempt);
      if (failure !== undefined) return failure;
    }
  }

  #move(message: Message, flags: number): Sent {
    this.#dry = false;
    for (let attempt = 0;; attempt++) {
      const sent = this.#symbols.zmq_msg_send(message.slot, this.#pointer, flags);
      if (sent >= 0) return "sent";
      const failure = this.#judge("send", attempt);
      if (failure !== undefined) return failure;
    }
  }

  /**
   * What a call that failed means; undefined: make it again. The runtime may use errno between the call
   * and the question, so a value that makes no sense is doubted a few times before it is believed.
   */
  #judge(what: string, attempt: number): Sent | undefined {
    const errno = this.#symbols.zmq_errno();
    if (errno === Errno.EAGAIN) return "full";
    if (errno === Errno.EHOSTUNREACH) return "gone";
    if (errno === Errno.EINTR || attempt < DOUBTS) return undefined;
    throw lastError(this.#library, what);
  }

  #getInt(option: number): number {
    const { zmq_getsockopt } = this.#symbols;
    // A signal may interrupt even this call, as it reads what the I/O threads have sent.
    for (let attempt = 0;; attempt++) {
      const result = zmq_getsockopt(this.#pointer, option, this.#eventsBytes, this.#intSize);
      if (result === 0) return this.#events[0] ?? 0;
      this.#judge(`get socket option ${option}`, attempt);
    }
  }

  #lastEndpoint(): string {
    const text = new Uint8Array(512);
    const size = new BigUint64Array([BigInt(text.length)]);
    const bytes = new Uint8Array(size.buffer);
    this.#symbols.zmq_getsockopt(this.#pointer, Option.LAST_ENDPOINT, text, bytes);
    return new TextDecoder().decode(text.subarray(0, Number(size[0]) - 1));
  }
}

/** Adds to a failure of bind what is to be done about it, where that is known. */
function bindError(endpoint: string, error: ZmqError): ZmqError {
  error.message += wayOut(endpoint, error.errno);
  return error;
}

harden(Context, Socket);
