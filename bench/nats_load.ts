/**
 * Asks a NATS queue group; prints the figures as JSON. Runs under Node too.
 *
 *     nats_load SERVER CONNECTIONS LOOP-AS-JSON
 *
 * @module
 */

import { argv, exit } from "node:process";
import { connect } from "nats";
import { closedLoop } from "./closed_loop.ts";

/** No request takes this long, ms. */
const TIMEOUT = 10_000;

const [servers = "", count = "1", loop = ""] = argv.slice(2);
const connections = await Promise.all(
  Array.from({ length: Number(count) }, () => connect({ servers })),
);
const figures = await closedLoop(JSON.parse(loop), async (body, asker) => {
  const connection = connections[asker % connections.length];
  if (connection === undefined) throw new Error("There is no connection");
  return (await connection.request("echo", body, { timeout: TIMEOUT })).data;
});
console.log(JSON.stringify(figures));
await Promise.all(connections.map((connection) => connection.close()));
exit(0);
