/** What a peer says of itself in its handshake is never taken for what was proved. */

import { strict as assert } from "node:assert";
import { Folder } from "../rig/folder.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { dial, greeting, nullReady } from "../rig/zmtp.ts";

/** Names that libzmq or ZAP have for what they know, and others. */
const CLAIMS = {
  "User-Id": "alice",
  "Peer-Address": "10.9.8.7",
  "Identity": "me",
  "Routing-Id": "you",
  "Resource": "alice",
  "X-User-Id": "alice",
  "__fd": "0",
};

const TOLD = `export default (_body, { client }) =>
  JSON.stringify([client.user, client.address, client.identity]) + "\\n";`;

/** What a handler is told of a raw peer that claims all this. */
async function told(endpoint: string): Promise<unknown> {
  using connection = await dial(endpoint);
  await connection.write(greeting("NULL"));
  await connection.write(nullReady(CLAIMS));
  const hear = async (end: string) => {
    const chunk = new Uint8Array(4096);
    let heard = "";
    while (!heard.includes(end)) {
      const size = await connection.read(chunk);
      if (size === null) throw new Error(`The server hung up after ${JSON.stringify(heard)}`);
      heard += new TextDecoder("latin1").decode(chunk.subarray(0, size));
    }
    return heard;
  };
  await hear("Socket-Type");
  // An empty frame that another follows, and that one, RFC 23.
  await connection.write(Uint8Array.from([1, 0, 0, 1, 0x3f]));
  const heard = await hear("]\n");
  return JSON.parse(heard.slice(heard.lastIndexOf("[")));
}

for (const args of [[], ["--max-connections", "9"], ["--allow", "127.0.0.1"]]) {
  const how = args.length === 0 ? "nothing is asked for" : `it has ${args[0]}`;
  Deno.test(`the server believes nothing that a peer without a key says of itself when ${how}`, async () => {
    using folder = new Folder();
    const endpoints = [
      "--frontend",
      "tcp://127.0.0.1:0",
      "--frontend",
      `ipc://${folder.path}/front`,
    ];
    await using server = await ServerProcess.start({
      handler: TOLD,
      args: [...endpoints, ...args],
    });
    assert.deepEqual(await told(server.endpoint), ["", "127.0.0.1", "me"]);
    assert.deepEqual(await told(`ipc://${folder.path}/front`), ["", "", "me"]);
  });
}
