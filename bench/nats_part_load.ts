/**
 * Reads answers in parts from a NATS queue group; prints the figures as JSON. Runs under Node too.
 *
 *     nats_part_load SERVER LOOP-AS-JSON
 *
 * @module
 */

import { argv, exit } from "node:process";
import { connect } from "nats";
import { partLoop } from "./part_loop.ts";

const [servers = "", loop = ""] = argv.slice(2);
const connection = await connect({ servers });

async function* read(request: string): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const inbox = `parts.${crypto.randomUUID()}`;
  const subscription = connection.subscribe(inbox);
  connection.publish("parts", request, { reply: inbox });
  for await (const { data } of subscription) {
    if (data.length === 0) break;
    yield new Uint8Array(data);
  }
  subscription.unsubscribe();
}

console.log(JSON.stringify(await partLoop(JSON.parse(loop), read)));
await connection.close();
exit(0);
