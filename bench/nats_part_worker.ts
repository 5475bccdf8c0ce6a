/**
 * A member of a NATS queue group that answers in parts: as many messages, and an empty one behind them. Runs under
 * Node too.
 *
 *     nats_part_worker SERVER
 *
 * @module
 */

import { argv } from "node:process";
import { connect } from "nats";
import { Bodies } from "./bodies.ts";

/** Messages that are given to the library before it has sent them. */
const AHEAD = 64;
const decoder = new TextDecoder();
const all = new Map<number, Bodies>();
const connection = await connect({ servers: argv[2] ?? "" });

async function answer(request: string, reply: string): Promise<void> {
  const { count, size } = JSON.parse(request);
  let bodies = all.get(size);
  if (bodies === undefined) all.set(size, bodies = new Bodies(size));
  for (let number = 0; number < count; number++) {
    connection.publish(reply, bodies.make(number));
    if (number % AHEAD === AHEAD - 1) await connection.flush();
  }
  connection.publish(reply);
}

connection.subscribe("parts", {
  queue: "workers",
  callback: (error, message) => {
    if (error === null && message.reply !== undefined) {
      answer(decoder.decode(message.data), message.reply);
    }
  },
});
await connection.flush();
console.log("ready");
await connection.closed();
