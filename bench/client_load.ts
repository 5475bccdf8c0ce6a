/**
 * Asks through one `Client` of client.ts; prints the figures as JSON.
 *
 *     client_load ENDPOINT LOOP-AS-JSON
 *
 * @module
 */

import { Client } from "../client.ts";
import { closedLoop } from "./closed_loop.ts";

const [endpoint = "", loop = ""] = Deno.args;
await using client = new Client({ endpoint });
const figures = await closedLoop(
  JSON.parse(loop),
  async (body) => (await client.request(body)).bytes,
);
console.log(JSON.stringify(figures));
