/**
 * Reads answers in parts through one `Client` of client.ts; prints the figures as JSON.
 *
 *     part_load ENDPOINT LOOP-AS-JSON
 *
 * @module
 */

import { Client } from "../client.ts";
import { partLoop } from "./part_loop.ts";

const [endpoint = "", loop = ""] = Deno.args;
await using client = new Client({ endpoint });

async function* read(request: string): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  for await (const { bytes } of client.stream(request)) yield new Uint8Array(bytes);
}

console.log(JSON.stringify(await partLoop(JSON.parse(loop), read)));
