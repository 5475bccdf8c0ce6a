/**
 * A member of a NATS queue group that sends each request back. Runs under Node too.
 *
 *     nats_worker SERVER
 *
 * @module
 */

import { argv } from "node:process";
import { connect } from "nats";

const connection = await connect({ servers: argv[2] ?? "" });
connection.subscribe("echo", {
  queue: "workers",
  callback: (error, message) => {
    if (error === null) message.respond(message.data);
  },
});
await connection.flush();
console.log("ready");
await connection.closed();
