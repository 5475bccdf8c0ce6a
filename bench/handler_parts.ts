/**
 * Answers `{ count, size }` with so many parts of so many bytes: see bodies.ts.
 *
 * @module
 */

import { Bodies } from "./bodies.ts";

const decoder = new TextDecoder();
const all = new Map<number, Bodies>();

export default async function* (body: Uint8Array): AsyncGenerator<Uint8Array, void> {
  const { count, size } = JSON.parse(decoder.decode(body));
  let bodies = all.get(size);
  if (bodies === undefined) all.set(size, bodies = new Bodies(size));
  for (let number = 0; number < count; number++) yield bodies.make(number);
}
