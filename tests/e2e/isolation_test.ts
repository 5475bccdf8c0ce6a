/**
 * Jobs that run in a worker beside others that do not stop.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { buildRequestHeader } from "../../wire/request_header.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";

/** Waits as many ms as the body says, whatever the signal says. */
const STUBBORN = `const decoder = new TextDecoder();
export default async (body) => {
  await new Promise((resolve) => setTimeout(resolve, Number(decoder.decode(body))));
  return body;
};`;

Deno.test("a job is answered though others ask again and again for a limit that ends its worker", async () => {
  const args = ["--workers", "2", "--concurrency", "4", "--abort-grace", "200ms"];
  await using server = await ServerProcess.start({ handler: STUBBORN, args });
  await server.line("worker ready", 2);
  await using victim = new Peer(server.endpoint);
  await using attacker = new Peer(server.endpoint);
  let id = 0;
  const attack = setInterval(() => {
    const header = buildRequestHeader({ id: ++id, timeout: 0, requestTimeout: 1 });
    attacker.send(header, "", "60000");
  }, 300);
  try {
    victim.send("", "3000");
    const [, body] = await victim.receiveText();
    assert.equal(body, "3000");
  } finally {
    clearInterval(attack);
  }
  const { overran } = await server.state();
  assert(Number(overran) > 0, "handlers did not stop meanwhile");
});

Deno.test("a job is answered soon when its worker is stuck as a whole because of another", async () => {
  const handler = `export default async (body, { attempt }) => {
  if (body.length === 0) for (;;);
  await new Promise((resolve) => setTimeout(resolve, attempt > 1 ? 1 : 1000));
  return String(attempt);
};`;
  const args = ["--workers", "1", "--concurrency", "2", "--abort-grace", "200ms"];
  await using server = await ServerProcess.start({ handler, args });
  await using victim = new Peer(server.endpoint);
  await using attacker = new Peer(server.endpoint);
  victim.send("", "x");
  const header = buildRequestHeader({ id: 1, timeout: 0, requestTimeout: 50 });
  attacker.send(header, "", "");
  const [, body] = await victim.receiveText();
  assert.equal(body, "2");
  const { displaced } = await server.state();
  assert.equal(displaced, 1);
});
