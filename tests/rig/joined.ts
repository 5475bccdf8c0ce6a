/**
 * A server in this process that pools on other machines can join, and such pools: as processes of this machine, which
 * can be killed, or in this process, which takes a tenth of the time.
 */

import { serve, type ServeOptions, type Server } from "../../mod.ts";
import { moduleOf, serveQuietly } from "./in_process.ts";
import { KeyRing } from "./key_ring.ts";
import { ServerProcess } from "./server_process.ts";

/** Keys and lists for those that may join. */
export class JoinRing extends KeyRing {
  /** The options of a server that lets them join. */
  get options(): ServeOptions {
    return { joinClients: this.list, joinSecretKey: this.secretKeyFile };
  }

  /** The options of a machine of this name that joins. */
  optionsOf(name: string, endpoint: string) {
    const joinKey = this.writeSecret(`${name}.key`, this.pair(name).secretKey);
    return { join: endpoint, joinServerKey: this.server.publicKey, joinKey };
  }

  /** The same as arguments. */
  argsOf(name: string, endpoint: string): string[] {
    const { join, joinServerKey, joinKey } = this.optionsOf(name, endpoint);
    return ["--join", join, `--join-server-key=${joinServerKey}`, "--join-key", joinKey];
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

/** The same in this process, with one worker. */
export async function joinHere(
  name: string,
  server: Pick<Server, "joinEndpoint">,
  { ring, handler, ...options }: ServeOptions & { ring: JoinRing; handler: string },
): Promise<Server> {
  const pool = serve({
    ...{ ...ring.optionsOf(name, server.joinEndpoint ?? ""), handler: moduleOf(handler) },
    ...{ workers: 1, logLevel: "critical", ...options },
  });
  await pool.ready;
  return pool;
}
