/**
 * Gives tasks to a piscina in this process; prints the figures as JSON. Runs under Node too.
 *
 *     piscina_load THREADS LOOP-AS-JSON
 *
 * @module
 */

import { argv, exit } from "node:process";
import { Piscina } from "piscina";
import { closedLoop } from "./closed_loop.ts";

const [threads = "1", loop = ""] = argv.slice(2);
const pool = new Piscina({
  filename: new URL("./piscina_task.js", import.meta.url).href,
  minThreads: Number(threads),
  maxThreads: Number(threads),
});
const figures = await closedLoop(JSON.parse(loop), (body) => pool.run(body));
console.log(JSON.stringify(figures));
exit(0);
