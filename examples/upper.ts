/**
 * Answers a text in upper case: the shortest handler there is.
 *
 *     deno run -A mod.ts examples/upper.ts
 *     deno task client --data hello
 *
 * @module
 */

import { text } from "@zmq/prefork/worker";

export default text((value) => value.toUpperCase());
