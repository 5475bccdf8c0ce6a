/**
 * Many subscribers in one process that read as quickly as they can and look at nothing: started by subscribers.ts, with an
 * endpoint, how many read, and how many never do. Prints a line once all have subscribed to everything.
 *
 * @module
 */

import { bytes } from "../tests/rig/text.ts";
import { command, dial, greeting, nullReady } from "../tests/rig/zmtp.ts";

const [endpoint = "", readers = "0", deaf = "0"] = Deno.args;

/** Subscribes; the greeting and what the server says of itself are read with the rest. */
async function subscribe(): Promise<Deno.Conn> {
  const connection = await dial(endpoint);
  await connection.write(greeting("NULL"));
  await connection.write(nullReady({ "Socket-Type": "SUB" }));
  await connection.write(command("SUBSCRIBE", bytes("")));
  return connection;
}

async function readOn(connection: Deno.Conn): Promise<void> {
  const room = new Uint8Array(262_144);
  while (await connection.read(room) !== null);
}

const all: Deno.Conn[] = [];
for (let count = 0; count < Number(readers); count++) {
  const connection = await subscribe();
  all.push(connection);
  readOn(connection);
}
for (let count = 0; count < Number(deaf); count++) all.push(await subscribe());
console.log("subscribed");
