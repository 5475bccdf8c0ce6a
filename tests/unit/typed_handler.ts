/** A handler of all kinds of calls, for tests of what the compiler says of them. */

import { type } from "arktype";
import * as v from "valibot";
import { z } from "zod";
import { procedure, rpc, withContext } from "../../worker.ts";

interface User {
  id: string;
  born: Date;
  picture?: Uint8Array<ArrayBuffer>;
  friends: User[];
}

class Point {
  x = 1;
  norm(): number {
    return this.x;
  }
}

const ada: User = { id: "ada", born: new Date(0), friends: [] };

export const notACall = () => 1;

export default rpc({
  add: (a: number, b: number) => a + b,
  greet: async (name: string, options?: { loud: boolean }) => await (options?.loud ? name : ""),
  sum: (...numbers: number[]) => numbers.length,
  nothing: (): void => {},
  user: {
    get: (id: string): User | undefined => (id === "ada" ? ada : undefined),
    admin: {
      async remove(id: string) {
        this.log.info(id);
        return await { removed: this.client.user };
      },
    },
  },
  store: (image: Uint8Array, meta: { tags: string[]; thumbnail: Uint8Array }) =>
    [image, meta] as const,
  point: () => new Point(),
  any: (value: unknown) => value,
  lookup: () => new Map([["a", 1]]),
  born: (date: Date) => date.getTime(),
  big: (value: bigint) => String(value),
  byName: (names: Record<string, number>) => names,
  count: async function* (to: number) {
    for (let n = 1; n <= to; n++) yield await { n, at: new Date(n) };
  },
  stream: () => ReadableStream.from([Uint8Array.of(1)]),
  who: withContext((ctx, greeting: string) => `${greeting} ${ctx.client.user}`),
  zod: procedure(
    z.object({ items: z.array(z.number()), at: z.coerce.date<string>().optional() }),
    ({ items, at }) => ({ count: items.length, year: at?.getFullYear() }),
  ),
  valibot: procedure(v.object({ name: v.string() }), async function* ({ name }) {
    yield await name.length;
  }),
  arktype: procedure(type({ size: "number > 0" }), ({ size }, { id }) => size + id),
  maybe: procedure(z.string().optional(), (text) => text ?? null),
});
