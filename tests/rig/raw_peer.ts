/**
 * A ZMTP peer by hand that reads too, frame by frame: what a server says to what libzmq would not send. RFC 23 and 37
 * have the frames, RFC 15 those of ZMTP 2.0.
 */

import { bytes, text } from "./text.ts";
import { within } from "./wait.ts";
import { dial, greeting, nullReady } from "./zmtp.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const GREETING_BYTES = 64;
const SIGNATURE_BYTES = 10;
const MORE = 1;
const LONG = 2;
const COMMAND = 4;
const EMPTY = new Uint8Array(0);

/** A frame as it came. */
export interface RawFrame {
  flags: number;
  body: Bytes;
}

/** What a connection says of itself when it shakes hands. */
export interface Introduction {
  /** ZMTP's version. @default {"3.1"} */
  version?: "3.1" | "3.0" | "2.0" | "1.0";
  /** READY's properties; the versions before 3.0 know of the identity alone. */
  properties?: Record<string, string | Uint8Array>;
}

/** How libzmq numbers a DEALER on the wire of ZMTP 2.0. */
const DEALER = 5;
/** The signature of all versions from 2.0 on. */
const SIGNATURE = [0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f];

/** A connection whose every byte is the test's. */
export class RawPeer {
  readonly #connection: Deno.Conn;
  #heard: Bytes = EMPTY;
  #ended = false;
  /** Commands that came among the frames of messages, by name, and how often. */
  readonly commands = new Map<string, number>();

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
    if (connection.localAddr.transport === "tcp") (connection as Deno.TcpConn).setNoDelay();
  }

  /** Connects, and says nothing. */
  static async dial(endpoint: string): Promise<RawPeer> {
    return new RawPeer(await dial(endpoint));
  }

  /** The other side: somebody has connected to the test. */
  static of(connection: Deno.Conn): RawPeer {
    return new RawPeer(connection);
  }

  /** Connects and shakes hands. */
  static async connect(endpoint: string, introduction: Introduction = {}): Promise<RawPeer> {
    const peer = await RawPeer.dial(endpoint);
    try {
      await peer.shakeHands(introduction);
      return peer;
    } catch (error) {
      peer[Symbol.dispose]();
      throw error;
    }
  }

  /** Says who it is, and hears who the server is. */
  async shakeHands({ version = "3.1", properties = {} }: Introduction = {}): Promise<void> {
    const identity = properties.Identity ?? EMPTY;
    const name = typeof identity === "string" ? bytes(identity) : identity;
    if (version === "1.0") {
      await this.write(Uint8Array.of(1 + name.length, 0, ...name));
      await this.hear(SIGNATURE_BYTES);
    } else if (version === "2.0") {
      await this.write(Uint8Array.of(...SIGNATURE, 1, DEALER, 0, name.length, ...name));
      await this.hear(SIGNATURE_BYTES + 2);
      await this.frame(); // the server's identity, which is none
    } else {
      await this.write(greetingOf(version));
      await this.write(nullReady(properties));
      await this.hear(GREETING_BYTES);
      await this.command("READY");
    }
  }

  /** Sends bytes; waits while the system takes no more. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#writeSome(bytes.subarray(at));
  }

  #writeSome(bytes: Uint8Array): Promise<number> {
    return within("the server takes what it is sent", this.#connection.write(bytes));
  }

  /** Sends bytes as far as the server takes them: it may end the connection whenever it likes. */
  async tryWrite(bytes: Uint8Array): Promise<void> {
    await this.write(bytes).catch((error) => {
      if (!isEnding(error)) throw error;
    });
  }

  /** Says nothing more, and hears on; over tcp. */
  async closeWrite(): Promise<void> {
    await this.#connection.closeWrite();
  }

  /** Sends bytes, each in a packet of its own. */
  async writeSingly(bytes: Uint8Array): Promise<void> {
    for (const byte of bytes) await this.write(Uint8Array.of(byte));
  }

  /** The next bytes; throws if the connection ends before. */
  async hear(size: number): Promise<Bytes> {
    while (this.#heard.length < size) {
      if (!await this.#listen()) throw new Error(`The connection has ended: ${this.#heard}`);
    }
    const some = this.#heard.slice(0, size);
    this.#heard = this.#heard.subarray(size);
    return some;
  }

  /** The next frame. */
  async frame(): Promise<RawFrame> {
    const [flags = 0] = await this.hear(1);
    const head = await this.hear(flags & LONG ? 8 : 1);
    const size = flags & LONG ? new DataView(head.buffer).getBigUint64(0) : head[0] ?? 0;
    return { flags, body: await this.hear(Number(size)) };
  }

  /** The body of the next command of this name; all that comes before is dropped. */
  async command(name: string): Promise<Bytes> {
    for (;;) {
      const { flags, body } = await this.frame();
      if ((flags & COMMAND) === 0) continue;
      const [said, rest] = splitCommand(body);
      this.#count(said);
      if (said === name) return rest;
    }
  }

  /** The frames of the next message. */
  async message(): Promise<Bytes[]> {
    const frames: Bytes[] = [];
    for (;;) {
      const { flags, body } = await this.frame();
      if (flags & COMMAND) this.#count(splitCommand(body)[0]);
      else {
        frames.push(body);
        if ((flags & MORE) === 0) return frames;
      }
    }
  }

  /** The next message, as text, a frame an item. */
  async messageText(): Promise<string[]> {
    return (await this.message()).map(text);
  }

  /** Waits until the server ends the connection; what it said until then. */
  async ended(): Promise<string> {
    while (await this.#listen());
    return new TextDecoder("latin1").decode(this.#heard);
  }

  /** Resolves when the server ends the connection, whenever that is; what it says until then is dropped. */
  async gone(): Promise<void> {
    const chunk = new Uint8Array(65_536);
    while (await this.#connection.read(chunk) !== null);
    this.#ended = true;
  }

  /** Whether the server has ended the connection, as far as was read. */
  get isEnded(): boolean {
    return this.#ended;
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }

  #count(name: string): void {
    this.commands.set(name, (this.commands.get(name) ?? 0) + 1);
  }

  /** Reads on; false: the connection has ended. */
  async #listen(): Promise<boolean> {
    const chunk = new Uint8Array(65_536);
    const read = this.#connection.read(chunk).catch((error) => {
      if (isEnding(error)) return null;
      throw error;
    });
    const size = await within("the server says something or ends the connection", read);
    if (size === null) {
      this.#ended = true;
      return false;
    }
    const all = new Uint8Array(this.#heard.length + size);
    all.set(this.#heard);
    all.set(chunk.subarray(0, size), this.#heard.length);
    this.#heard = all;
    return true;
  }
}

/** The greeting of a NULL peer of version 3.0 or 3.1. */
export function greetingOf(version: "3.0" | "3.1"): Bytes {
  const all = greeting("NULL");
  if (version === "3.1") all[SIGNATURE_BYTES + 1] = 1;
  return all;
}

/** A frame whose flags and size are what the test says, whatever the body. */
export function frameOf(flags: number, body: Uint8Array, size = BigInt(body.length)): Bytes {
  const long = flags & LONG;
  const frame = new Uint8Array((long ? 9 : 2) + body.length);
  frame[0] = flags;
  if (long) new DataView(frame.buffer).setBigUint64(1, size);
  else frame[1] = Number(size);
  frame.set(body, long ? 9 : 2);
  return frame;
}

/** A message as ZMTP 1.0 has it: each frame's size counts its flags too. */
export function oldMessage(frames: readonly Uint8Array[]): Bytes {
  const all = frames.flatMap((frame, index) => {
    const more = index < frames.length - 1 ? 1 : 0;
    const size = frame.length + 1;
    const head = size < 255 ? [size] : [255, ...new Uint8Array(bigEndian(size))];
    return [...head, more, ...frame];
  });
  return Uint8Array.from(all);
}

function bigEndian(size: number): ArrayBuffer {
  const eight = new DataView(new ArrayBuffer(8));
  eight.setBigUint64(0, BigInt(size));
  return eight.buffer;
}

function splitCommand(body: Bytes): [name: string, rest: Bytes] {
  const [length = 0] = body;
  return [text(body.subarray(1, 1 + length)), body.slice(1 + length)];
}

function isEnding(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.ConnectionAborted || error instanceof Deno.errors.NotConnected;
}
