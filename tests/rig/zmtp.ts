/**
 * A ZMTP 3.0 peer by hand, RFC 23: what libzmq would not send, and the moment when a server lets go.
 */

import { bytes } from "./text.ts";
import { within } from "./wait.ts";

const GREETING_BYTES = 64;
const COMMAND = 4;

/** The greeting of a peer of this mechanism. */
export function greeting(mechanism: string): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(GREETING_BYTES);
  frame.set([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0]);
  frame.set(bytes(mechanism), 12);
  return frame;
}

/** A short command: its name, and what follows. */
export function command(name: string, rest: Uint8Array): Uint8Array<ArrayBuffer> {
  const body = [name.length, ...bytes(name), ...rest];
  return Uint8Array.from([COMMAND, body.length, ...body]);
}

/** NULL's only command, of a DEALER that says this of itself too. */
export function nullReady(
  properties: Record<string, string | Uint8Array> = {},
): Uint8Array<ArrayBuffer> {
  const all = Object.entries({ "Socket-Type": "DEALER", ...properties });
  const fields = all.flatMap(([name, value]) => {
    const content = typeof value === "string" ? bytes(value) : value;
    return [name.length, ...bytes(name), 0, 0, 0, content.length, ...content];
  });
  return command("READY", Uint8Array.from(fields));
}

/** Opens a connection to an endpoint. */
export async function dial(endpoint: string): Promise<Deno.Conn> {
  if (endpoint.startsWith("ipc://")) {
    return await Deno.connect({ transport: "unix", path: endpoint.slice("ipc://".length) });
  }
  const [, hostname = "", port = ""] = /^tcp:\/\/\[?(.*?)\]?:(\d+)$/.exec(endpoint) ?? [];
  return await Deno.connect({ hostname, port: Number(port) });
}

/** What becomes of a peer without a mechanism: whether it hears READY, or its connection is closed. */
export async function rawHandshake(endpoint: string): Promise<"in" | "closed"> {
  using connection = await dial(endpoint);
  try {
    await connection.write(greeting("NULL"));
    await connection.write(nullReady());
    let heard = "";
    const chunk = new Uint8Array(1024);
    for (;;) {
      const size = await within("the server says something", connection.read(chunk));
      if (size === null) return "closed";
      heard += new TextDecoder("latin1").decode(chunk.subarray(0, size));
      if (heard.slice(GREETING_BYTES).includes("READY")) return "in";
      // A peer that is told why it was denied leaves by itself.
      if (heard.slice(GREETING_BYTES).includes("ERROR")) return "closed";
    }
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "closed";
    if (error instanceof Deno.errors.BrokenPipe) return "closed";
    throw error;
  }
}

/** A message as it goes over the wire, the same `times` times: ZMTP's frames, RFC 23. */
export function message(frames: readonly Uint8Array[], times = 1): Uint8Array<ArrayBuffer> {
  const parts = frames.flatMap((frame, index) => {
    const more = index < frames.length - 1 ? 1 : 0;
    if (frame.length < 256) return [Uint8Array.of(more, frame.length), frame];
    const head = new Uint8Array(9);
    head[0] = more | 2;
    new DataView(head.buffer).setBigUint64(1, BigInt(frame.length));
    return [head, frame];
  });
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(size * times);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  for (let copy = 1; copy < times; copy++) bytes.copyWithin(copy * size, 0, size);
  return bytes;
}

/** A client over tcp that sends what it likes and reads no reply, ever. */
export class DeafPeer {
  readonly #connection: Deno.Conn;
  /** Bytes that the system has taken. */
  sent = 0;

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  /** Connects and shakes hands. */
  static async connect(endpoint: string): Promise<DeafPeer> {
    const peer = new DeafPeer(await dial(endpoint));
    await peer.send(greeting("NULL"));
    await peer.send(nullReady());
    await peer.#welcome();
    return peer;
  }

  /** Sends bytes; waits while the system takes no more, or until it was closed. */
  async send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const size = await this.#connection.write(bytes.subarray(at));
      at += size;
      this.sent += size;
    }
  }

  /** Reads the server's READY: a peer that sends a message before that breaks the protocol. */
  async #welcome(): Promise<void> {
    const chunk = new Uint8Array(256);
    for (let heard = ""; !heard.slice(GREETING_BYTES).includes("READY");) {
      const size = await within("the server says something", this.#connection.read(chunk));
      if (size === null) throw new Error("The server has closed the connection");
      heard += new TextDecoder("latin1").decode(chunk.subarray(0, size));
    }
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}
