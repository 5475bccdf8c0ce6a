/**
 * A ZMTP 3.0 peer by hand, RFC 23: what libzmq would not send, and the moment when a server lets go.
 */

import { bytes } from "./harness.ts";

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
  const [, hostname = "", port = ""] = /^tcp:\/\/(.*):(\d+)$/.exec(endpoint) ?? [];
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
      const size = await connection.read(chunk);
      if (size === null) return "closed";
      heard += new TextDecoder("latin1").decode(chunk.subarray(0, size));
      if (heard.slice(GREETING_BYTES).includes("READY")) return "in";
      // One that is told why it was denied is to leave by itself.
      if (heard.slice(GREETING_BYTES).includes("ERROR")) return "closed";
    }
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionReset) return "closed";
    if (error instanceof Deno.errors.BrokenPipe) return "closed";
    throw error;
  }
}
