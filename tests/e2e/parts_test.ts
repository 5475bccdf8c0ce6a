/** Answers in parts, from outside: what clients get that take them as one, or as they come. */

import { strict as assert } from "node:assert";
import { run } from "../rig/commands.ts";
import { errorReply } from "../rig/messages.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";

const PYTHON = "/usr/bin/python3";
const ONE_WORKER = ["--workers", "1"];

/** The lanes, and how a server comes to use them. */
const LANES: Record<string, string[]> = {
  records: [],
  "libzmq's sockets": ["--backend", "tcp://127.0.0.1:0"],
};

/** Counts up to what the body says. `state` as a body: what became of the counts before. */
const COUNTER = `
  import { setTimeout as sleep } from "node:timers/promises";
  const ended = [];
  export default async function* (body, { signal }) {
    const text = new TextDecoder().decode(body);
    if (text === "state") return ended.join();
    const [most, ms = "0"] = text.split(" ");
    try {
      for (let count = 0; count < Number(most); count++) {
        if (ms !== "0") await sleep(Number(ms), undefined, { signal });
        yield String(count);
      }
      if (ms === "throw") throw new Error("thrown");
    } finally {
      ended.push(text);
    }
  }`;

for (const [lane, backend] of Object.entries(LANES)) {
  Deno.test(`a plain client gets all parts as frames of one reply, by ${lane}`, async () => {
    const args = [...ONE_WORKER, ...backend];
    await using server = await ServerProcess.start({ handler: COUNTER, args });
    await using peer = new Peer(server.endpoint);
    assert.deepEqual(await peer.ask("3"), ["0", "1", "2"]);
    assert.deepEqual(await peer.ask("0"), [""]);
    assert.deepEqual(await peer.ask("2 1"), ["0", "1"]);
    assert.deepEqual(await peer.ask("1000"), [...Array(1000).keys()].map(String));
    assert.deepEqual(await peer.ask("state"), ["3,0,2 1,1000"]);
  });
}

Deno.test("parts beyond the bounds of one reply are answered 413, and the handler is stopped", async () => {
  const args = [...ONE_WORKER, "--max-frames", "10"];
  await using server = await ServerProcess.start({ handler: COUNTER, args });
  await using peer = new Peer(server.endpoint);
  const excess = "The parts of the reply must have at most 10 frames together, " +
    "as the client takes them as one";
  assert.deepEqual(await peer.ask("1e9"), errorReply(413, excess));
  assert.deepEqual(await peer.ask("state"), ["1e9"]);
});

Deno.test("answers in parts run beside each other, and end before their worker leaves", async () => {
  const args = [...ONE_WORKER, "--concurrency", "8"];
  await using server = await ServerProcess.start({ handler: COUNTER, args });
  await using peer = new Peer(server.endpoint);
  for (let id = 1; id <= 8; id++) peer.send(new Uint8Array([id]), "", "5 20");
  for (let id = 1; id <= 8; id++) {
    assert.deepEqual((await peer.receiveText()).slice(2), ["0", "1", "2", "3", "4"]);
  }
  peer.send("", "50 10");
  await server.line("job assigned");
  server.signal("SIGTERM");
  assert.deepEqual((await peer.receiveText()).length, 51);
  assert.equal((await server.ended()).code, 0);
});

Deno.test("a handler that has sent parts of its answer can still fail", async () => {
  await using server = await ServerProcess.start({ handler: COUNTER, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("1 throw"), errorReply(500, "thrown"));
});

Deno.test("pyzmq's REQ gets parts as frames", async () => {
  await using server = await ServerProcess.start({ handler: COUNTER, args: ONE_WORKER });
  const program = `
import sys, zmq
socket = zmq.Context().socket(zmq.REQ)
socket.connect(sys.argv[1])
socket.send(b"3")
print(socket.recv_multipart())
`;
  const { stdout, stderr } = await run(PYTHON, ["-c", program, server.endpoint]);
  assert.equal(stdout, "[b'0', b'1', b'2']\n", stderr);
});
