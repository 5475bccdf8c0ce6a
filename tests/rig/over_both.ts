/** Tests of the client that must pass whatever carries it. */

import { Client, type ClientOptions } from "../../client.ts";

/** The ways in which a client reaches a server. */
const TRANSPORTS = ["native", "libzmq"] as const;

/** `Client`, made with one transport. */
export type ClientMaker = new (options?: ClientOptions) => Client;

/** The same test over each transport: it gets the `Client` to make. */
export function overBoth(name: string, test: (Client: ClientMaker) => Promise<void>): void {
  for (const transport of TRANSPORTS) {
    Deno.test(`${name}, over ${transport}`, () => test(clientOver(transport)));
  }
}

/** The class whose instances are carried by one transport. */
export function clientOver(transport: "native" | "libzmq"): ClientMaker {
  return class extends Client {
    constructor(options: ClientOptions = {}) {
      super({ ...options, transport });
    }
  };
}
