/**
 * A server in code: `serve()` with a handler module, hooks and signals. The first argument is the
 * endpoint for clients.
 *
 *     deno run -A examples/serve.ts tcp://127.0.0.1:6660
 *
 * @module
 */

import { serve } from "@zmq/prefork";

const [frontend = "tcp://127.0.0.1:6660"] = Deno.args;

await using server = serve({
  handler: new URL("./upper.ts", import.meta.url),
  frontend,
  minWorkers: 1,
  maxWorkers: 4,
  logLevel: "warn",
  handleSignals: true,
  onListen: ({ frontend }) => console.log(`listening on ${frontend}`),
  onWorkerReady: ({ worker, pid }) => console.log(`worker ${worker} is ready: process ${pid}`),
  onWorkerExit: ({ worker, reason }) => console.log(`worker ${worker} has ended: ${reason}`),
});

await server.ready;
console.log(`ready with ${server.stats().workers.idle} idle worker`);
await server.finished;
