/** The servers of each transport on which the tests of a file find out whether they behave alike. */

import { strict as assert } from "node:assert";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { type Transport, TRANSPORTS } from "../rig/transports.ts";

/** Bytes and frames that a message may have on a shared server. */
export const MAX_BYTES = 2 * 1024 * 1024;
export const MAX_FRAMES = 20;
/** The largest frame that is read at all: a larger one ends the connection. */
export const MAX_FRAME_BYTES = 2 * MAX_BYTES + 1024;

/**
 * Echoes, or does what the first frame asks for: "large BYTES" gives so many bytes, "hold FILE" is "held FILE" in the
 * log, and answers once that file exists.
 */
const HANDLER = `
const decoder = new TextDecoder();
export default async (body, ctx) => {
  const [word, rest] = body.length < 200 ? decoder.decode(body).split(" ") : [];
  if (word === "large") return new Uint8Array(Number(rest)).fill(76);
  if (word === "hold") {
    ctx.log.info("held " + rest);
    while (!exists(rest)) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return ctx.frames;
};
function exists(file) {
  try { return Deno.statSync(file) !== undefined; } catch { return false; }
}`;

/** A request that waits. */
export interface Gate {
  /** Its body. */
  request: string;
  /** What the log says once it waits. */
  held: string;
  /** Lets it go. */
  open(): void;
}

/** One server of each transport, from before the first test of a file until after its last. */
export class Stages {
  readonly #servers = new Map<Transport, ServerProcess>();
  readonly #folder = new Folder();
  #gates = 0;

  /** Servers that have these arguments too. */
  constructor(args: readonly string[] = []) {
    const limits = ["--max-message-size", `${MAX_BYTES}`, "--max-frames", `${MAX_FRAMES}`];
    const workers = ["--workers", "2", "--concurrency", "20"];
    const all = [...limits, ...workers, `--handler-allow-read=${this.#folder.path}`, ...args];
    Deno.test.beforeAll(async () => {
      for (const transport of TRANSPORTS) {
        const options = { args: [...all, ...transport.args], handler: HANDLER };
        this.#servers.set(transport, await ServerProcess.start(options));
      }
    });
    Deno.test.afterAll(async () => {
      for (const server of this.#servers.values()) await server[Symbol.asyncDispose]();
      this.#folder[Symbol.dispose]();
    });
  }

  /** A test on each transport; at the end the server must serve others as ever. */
  test(
    name: string,
    play: (server: ServerProcess, transport: Transport) => Promise<void>,
    isIgnored: (transport: Transport) => boolean = () => false,
  ): void {
    for (const transport of TRANSPORTS) {
      const options = { ignore: isIgnored(transport) };
      Deno.test(`${transport.name}: ${name}`, options, async () => {
        const server = this.#servers.get(transport);
        assert(server !== undefined);
        await using innocent = new Peer(server.endpoint);
        assert.deepEqual(await innocent.ask("before"), ["before"]);
        await play(server, transport);
        assert.deepEqual(await innocent.ask("after"), ["after"]);
      });
    }
  }

  /** A request that waits in its handler until it is let go. */
  gate(): Gate {
    const file = `${this.#folder.path}/gate-${++this.#gates}`;
    const open = () => Deno.writeTextFileSync(file, "");
    return { request: `hold ${file}`, held: `held ${file}`, open };
  }
}

/** A test on a server of its own of each transport. */
export function testEach(
  name: string,
  play: (transport: Transport) => Promise<void>,
  options: { ignore?: boolean; ignored?: (transport: Transport) => boolean } = {},
): void {
  const { ignore = false, ignored = () => false } = options;
  for (const transport of TRANSPORTS) {
    const isIgnored = ignore || ignored(transport);
    Deno.test(`${transport.name}: ${name}`, { ignore: isIgnored }, () => play(transport));
  }
}
