import { strict as assert } from "node:assert";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";

Deno.test("the server answers a plain REQ request by its handler when started by the command", async () => {
  const handler =
    "export default (body: Uint8Array) => new TextDecoder().decode(body).toUpperCase()";
  await using server = await ServerProcess.start({ handler });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("hello"), ["HELLO"]);
});

Deno.test("the server echoes all body frames when no handler is named", async () => {
  await using server = await ServerProcess.start();
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("a", "", "c"), ["a", "", "c"]);
});

Deno.test("the server ends with exit code 0 when it gets TERM", async () => {
  await using server = await ServerProcess.start();
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
});
