/** What a handler gets and gives, by records and by ZeroMQ: whatever the size, bodies are its own. */

import { strict as assert } from "node:assert";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { randomNumbers } from "../rig/random.ts";
import { text } from "../rig/text.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const linux = Deno.build.os === "linux";

/** The lanes, and how a server comes to use them. */
const LANES: Record<string, string[]> = {
  records: [],
  "libzmq's sockets": ["--backend", "tcp://127.0.0.1:0"],
};

/** Sizes around every bound: on V8's heap, in a record, in a ring, larger than a ring. */
const SIZES = [0, 1, 64, 65, 8191, 8192, 32_768, 65_512, 65_536, 100_000, 1_048_576, 5_000_000];

const noise = (size: number, seed: number): Bytes => {
  const random = randomNumbers(seed + 1);
  const word = Uint8Array.from({ length: 1024 }, () => random(256));
  const all = new Uint8Array(size);
  for (let at = 0; at < size; at += 1024) all.set(word.subarray(0, Math.min(1024, size - at)), at);
  return all;
};

/** Sends all requests before the first reply is read; returns the replies' bodies. */
async function askAll(server: ServerProcess, requests: readonly Bytes[][]): Promise<Bytes[][]> {
  await using peer = new Peer(server.endpoint);
  requests.forEach((body, id) => peer.send(new Uint8Array([id + 1]), "", ...body));
  const replies: Bytes[][] = [];
  for (let count = 0; count < requests.length; count++) {
    const [id, , ...body] = await peer.receive();
    replies[(id?.[0] ?? 0) - 1] = body;
  }
  return replies;
}

for (const [lane, backend] of Object.entries(LANES)) {
  const args = ["--workers", "1", ...backend];

  Deno.test(`bodies of every size come back as they were sent by ${lane}`, async () => {
    await using server = await ServerProcess.start({ args });
    const requests = SIZES.map((size) => [noise(size, size)]);
    requests.push([noise(3, 1), noise(0, 2), noise(20_000, 3), noise(70, 4)]);
    requests.push([noise(5_000_000, 5), noise(0, 6), noise(5, 7)]);
    requests.push(Array.from({ length: 1000 }, (_, seed) => noise(seed % 20, seed)));
    const replies = await askAll(server, requests);
    requests.forEach((body, id) => assert.deepEqual(replies[id], body, `request ${id}`));
  });

  Deno.test(`a handler may give its bodies' memory away while others wait by ${lane}`, async () => {
    const handler = `
      const { port1, port2 } = new MessageChannel();
      port2.onmessage = () => {};
      export default (body, { frames }) => {
        const whole = frames.every(({ buffer, length }) => buffer.byteLength === length);
        const sum = frames.map((frame) => frame.reduce((sum, byte) => sum + byte, 0));
        for (const frame of frames) port1.postMessage(frame, [frame.buffer]);
        return JSON.stringify({ whole, sum, left: body.length });
      };`;
    await using server = await ServerProcess.start({ handler, args });
    const requests = Array.from({ length: 60 }, (_, id) => {
      const size = [1, 40, 100, 5000, 9000, 30_000][id % 6] ?? 0;
      return id % 5 === 0
        ? [noise(size, id), noise(9, id), noise(size, id + 1)]
        : [noise(size, id)];
    });
    const sumOf = (frame: Bytes) => frame.reduce((sum, byte) => sum + byte, 0);
    const replies = await askAll(server, requests);
    requests.forEach((body, id) => {
      const expected = { whole: true, sum: body.map(sumOf), left: 0 };
      assert.deepEqual(JSON.parse(text(replies[id]?.[0])), expected, `request ${id}`);
    });
  });

  Deno.test(`a handler's answer is what it was when it was given, whatever memory it lies in by ${lane}`, async () => {
    const handler = `
      const made = {
        shared: (size) => new Uint8Array(new SharedArrayBuffer(size)),
        resizable: (size) => new Uint8Array(new ArrayBuffer(size, { maxByteLength: 2 * size })),
        part: (size) => new Uint8Array(2 * size + 7).subarray(7, 7 + size),
      };
      const kept = [];
      export default (body) => {
        const [kind, size] = new TextDecoder().decode(body).split(" ");
        const answer = made[kind](Number(size)).fill(7);
        kept.push(answer);
        queueMicrotask(() => answer.fill(8));
        return answer;
      };`;
    await using server = await ServerProcess.start({ handler, args });
    const sizes = [1, 64, 65, 9000, 50_000, 5_000_000];
    const asked = ["shared", "resizable", "part"].flatMap((kind) =>
      sizes.map((size) => ({ kind, size }))
    );
    const encoder = new TextEncoder();
    const requests = asked.map(({ kind, size }) => [encoder.encode(`${kind} ${size}`)]);
    const replies = await askAll(server, requests);
    asked.forEach(({ kind, size }, id) => {
      const [answer, ...others] = replies[id] ?? [];
      assert.equal(others.length, 0);
      assert.equal(answer?.length, size, `${kind} ${size}`);
      assert(answer?.every((byte) => byte === 7), `${kind} ${size}`);
    });
  });
}

Deno.test(
  "a worker of this machine opens the C library and not libzmq",
  { ignore: !linux },
  async () => {
    await using server = await ServerProcess.start({ args: ["--workers", "1"] });
    const mapsOf = (pid: number | undefined) => Deno.readTextFileSync(`/proc/${pid}/maps`);
    assert.match(mapsOf(server.pid), /zeromq|libzmq/);
    const maps = mapsOf(server.workers[0]);
    assert.doesNotMatch(maps, /zeromq|libzmq/);
    assert.match(maps, /libc[.-]/);
  },
);

Deno.test("every request is answered when workers are killed amid large bodies", async () => {
  // Chance may hit a job with more than one of three kills.
  await using server = await ServerProcess.start({
    args: ["--workers", "2", "--max-attempts", "4"],
  });
  await using peer = new Peer(server.endpoint);
  const bodies = [9000, 100_000, 1_000_000].map((size) => noise(size, size));
  let asked = 0;
  let answered = 0;
  const ask = () => {
    const number = asked++;
    peer.send(new Uint8Array(new Uint32Array([number]).buffer), "", bodies[number % 3] ?? "");
  };
  for (let count = 0; count < 20; count++) ask();
  for (; answered < 300; answered++) {
    const [id = new Uint8Array(4), , body, ...others] = await peer.receive();
    const number = new DataView(id.buffer, id.byteOffset).getUint32(0, true);
    assert.deepEqual(body, bodies[number % 3], `${number}: ${others.map(text)}`);
    if (answered % 100 === 50) Deno.kill(server.workers[0] ?? 0, "SIGKILL");
    if (asked < 300) ask();
  }
});
