/**
 * A program of a server's user: an HTTP gateway that asks through one `Client`, with the server in this very
 * process or elsewhere. Prints one line of JSON, the HTTP port and the server's endpoint, and ends with TERM.
 *
 *     gateway HANDLER [ENDPOINT]
 *
 * `POST /` gives the answer to its body. `GET /timers?ms=N` has timers ring for N ms and gives by how much the latest
 * 1 % of them were late, ms. `GET /alone?ms=N` asks one request at a time and gives how many a second were answered.
 * `GET /block?ms=N` keeps the thread busy for N ms.
 *
 * @module
 */

import { Client } from "../client.ts";
import { serve } from "../mod.ts";
import { closedLoop } from "./closed_loop.ts";

const [handler = "", elsewhere] = Deno.args;
const server = elsewhere === undefined
  ? serve({ handler, workers: 2, frontend: "tcp://127.0.0.1:0", logLevel: "error" })
  : undefined;
await server?.ready;
const endpoint = server?.frontend[0] ?? elsewhere ?? "";
const client = new Client({ endpoint });

async function ask(body: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return (await client.request(body)).bytes;
}

/** A timer that is set again as soon as it rings; what it is asked to wait, 1 ms, does not count as late. */
async function timers(duration: number): Promise<number> {
  const late: number[] = [];
  for (const end = performance.now() + duration; performance.now() < end;) {
    const setAt = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 1));
    late.push(performance.now() - setAt - 1);
  }
  late.sort((a, b) => a - b);
  return late[Math.floor(late.length * 0.99)] ?? NaN;
}

async function alone(duration: number): Promise<number> {
  const { rate } = await closedLoop({ askers: 1, size: 16, duration, warmUp: duration / 4 }, ask);
  return rate;
}

function block(duration: number): number {
  const start = performance.now();
  while (performance.now() - start < duration);
  return performance.now() - start;
}

async function answer(request: Request): Promise<Response> {
  const { pathname, searchParams } = new URL(request.url);
  if (request.method === "POST") {
    return new Response(new Uint8Array(await ask(new Uint8Array(await request.arrayBuffer()))));
  }
  const duration = Number(searchParams.get("ms"));
  if (pathname === "/timers") return Response.json(await timers(duration));
  if (pathname === "/alone") return Response.json(await alone(duration));
  return Response.json(block(duration));
}

const http = Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(JSON.stringify({ port, endpoint })),
}, answer);
Deno.addSignalListener("SIGTERM", async () => {
  await client.close();
  await server?.shutdown();
  await http.shutdown();
  Deno.exit(0);
});
