/**
 * A worker of BullMQ that gives each body back. Runs under Node too.
 *
 *     bullmq_worker PORT JOBS-AT-A-TIME
 *
 * @module
 */

import { argv } from "node:process";
import { Worker } from "bullmq";
import { Redis } from "ioredis";

const [port = "", concurrency = "1"] = argv.slice(2);
const connection = new Redis({ host: "127.0.0.1", port: Number(port), maxRetriesPerRequest: null });
const worker = new Worker(
  "jobs",
  (job) => Promise.resolve(job.data.body),
  { connection, concurrency: Number(concurrency) },
);
worker.on("error", (error) => console.error(error.message));
await worker.waitUntilReady();
console.log("ready");
