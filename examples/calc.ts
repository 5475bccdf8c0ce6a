/**
 * Typed calls: named functions, which clients call as if they were their own.
 *
 *     deno run -A mod.ts examples/calc.ts
 *     deno task client --call                    # lists the calls
 *     deno task client --call add 1 2            # 3
 *     deno task client --call user.get ada       # {"name":"Ada","born":"1815-12-10T00:00:00.000Z"}
 *     deno task client --call count 3            # 1, 2, 3, a line each
 *
 * @module
 */

import { RequestError, rpc } from "@zmq/prefork/worker";

const USERS = new Map([
  ["ada", { name: "Ada", born: new Date("1815-12-10") }],
  ["alan", { name: "Alan", born: new Date("1912-06-23") }],
]);

export default rpc({
  add: (a: number, b: number) => a + b,

  mean(...values: number[]) {
    if (values.length === 0) throw new RequestError(400, "There must be a value");
    return values.reduce((sum, value) => sum + value) / values.length;
  },

  user: {
    get(id: string) {
      const user = USERS.get(id);
      this.log.info("asked for a user", { id });
      if (user !== undefined) return user;
      throw new RequestError(404, `No such user: ${id}`, { details: { known: [...USERS.keys()] } });
    },
  },

  /** Bytes are carried as they are, also among others. */
  async digest(bytes: Uint8Array<ArrayBuffer>) {
    const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    return { sha256, size: bytes.length };
  },

  /** Each value is on its way as soon as it is there. */
  async *count(to: number, interval = 0) {
    for (let n = 1; n <= to && !this.signal.aborted; n++) {
      yield n;
      if (interval > 0) await new Promise((resolve) => setTimeout(resolve, interval));
    }
  },
});
