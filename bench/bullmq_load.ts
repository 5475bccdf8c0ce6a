/**
 * Submits jobs to a queue of BullMQ; prints the figures as JSON. A reply is the word that a job is in the queue. Runs
 * under Node too.
 *
 *     bullmq_load PORT LOOP-AS-JSON
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { argv, exit } from "node:process";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { closedLoop } from "./closed_loop.ts";

const [port = "", loop = ""] = argv.slice(2);
const connection = new Redis({ host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null });
const queue = new Queue("jobs", { connection });
await queue.waitUntilReady();
const figures = await closedLoop(JSON.parse(loop), async (body) => {
  // A job's body is JSON: bytes travel as latin1, a character for each.
  const { id } = await queue.add("echo", { body: Buffer.from(body).toString("latin1") });
  if (id === undefined) throw new Error("The job has no id");
  return body;
});
console.log(JSON.stringify(figures));
await queue.close();
exit(0);
