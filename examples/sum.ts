/**
 * Adds numbers up: JSON in, JSON out.
 *
 *     deno run -A mod.ts examples/sum.ts
 *     deno task client --data '{ "items": [1, 2, 3.5] }'
 *
 * @module
 */

import { json, RequestError } from "@zmq/prefork/worker";

export default json((value: unknown) => {
  const items = itemsOf(value);
  return { sum: items.reduce((sum, item) => sum + item, 0) };
});

/** A client may send anything, so the handler checks it. */
function itemsOf(value: unknown): number[] {
  const items = typeof value === "object" && value !== null && "items" in value
    ? value.items
    : undefined;
  if (Array.isArray(items) && items.every((item) => typeof item === "number")) return items;
  throw new RequestError(400, `The body must be { "items": [numbers] }`);
}
