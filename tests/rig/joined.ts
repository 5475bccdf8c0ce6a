/** A server in this process that pools on other machines can join, and such pools as processes of this machine. */

import type { ServeOptions, Server } from "../../mod.ts";
import { serveQuietly } from "./in_process.ts";
import { KeyRing } from "./key_ring.ts";
import { ServerProcess } from "./server_process.ts";

/** Keys and lists for those that may join. */
export class JoinRing extends KeyRing {
  /** The options of a server that lets them join. */
  get options(): ServeOptions {
    return { joinClients: this.list, joinSecretKey: this.secretKeyFile };
  }

  /** The arguments of a machine of this name that joins. */
  argsOf(name: string, endpoint: string): string[] {
    return [
      ...["--join", endpoint, `--join-server-key=${this.server.publicKey}`],
      ...["--join-key", this.writeSecret(`${name}.key`, this.pair(name).secretKey)],
    ];
  }
}

/** A server with one worker of its own, that other machines can join. */
export function serveJoinable(ring: JoinRing, options: ServeOptions): Server {
  return serveQuietly({
    ...{ joinEndpoint: "tcp://127.0.0.1:0", workers: 1 },
    ...ring.options,
    ...options,
  });
}

/** A pool that joins it; `workers` are ready when this resolves. */
export async function joinAs(
  name: string,
  server: Pick<Server, "joinEndpoint">,
  { ring, handler, workers = 1, args = [], prefix }: {
    ring: JoinRing;
    handler: string;
    workers?: number;
    args?: string[];
    /** What runs it elsewhere: see `RemoteHost`. */
    prefix?: string[];
  },
): Promise<ServerProcess> {
  const own = ring.argsOf(name, server.joinEndpoint ?? "");
  const all = [...own, "--workers", String(workers), ...args];
  const pool = await ServerProcess.start({ handler, args: all, raw: true, prefix });
  try {
    await pool.line("worker ready", workers);
    return pool;
  } catch (error) {
    await pool[Symbol.asyncDispose]();
    throw error;
  }
}
