/** What a handler gets and gives: bodies are its own, whole and right, on each lane to the workers and each transport. */

import { strict as assert } from "node:assert";
import { Buffer } from "node:buffer";
import { Peer } from "../rig/peer.ts";
import { trySignal } from "../rig/processes.ts";
import { randomNumbers } from "../rig/random.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import { TRANSPORTS } from "../rig/transports.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** The ways to the workers. The first is the default's, on this machine only; the other reaches further. */
const LANES = [
  { name: "the default lane", args: [] },
  { name: "the lane over tcp", args: ["--backend", "tcp://127.0.0.1:0"] },
];

/** Around all sizes at which a body may travel otherwise. */
const SIZES = [0, 1, 31, 63, 64, 65, 255, 256, 257, 1023, 4095, 4096, 4097].concat(
  [8191, 8192, 8193, 16_384, 65_535, 65_536, 65_537, 1_048_575, 1_048_576, 3_000_000],
);

/** Does with its frames what the first one asks for. */
const HANDLER = `
const decoder = new TextDecoder();
const kept = [];
// Of some bytes of it, the first and the last included.
const sum = (bytes) => {
  let all = bytes.length === 0 ? 0 : bytes.at(-1);
  for (let at = 0; at < bytes.length; at += 1 + (bytes.length >> 12)) all = (all * 31 + bytes[at]) | 0;
  return all;
};
const turn = () => new Promise((resolve) => setTimeout(resolve));
export default async (body, { frames }) => {
  const [, ...rest] = frames;
  switch (decoder.decode(body)) {
    case "own":
      for (const frame of frames) {
        const whole = frame.byteOffset === 0 && frame.buffer.byteLength === frame.byteLength;
        if (!whole || Object.getPrototypeOf(frame) !== Uint8Array.prototype) return "not its own";
      }
      return rest;
    case "transfer": {
      const moved = rest.map((frame) => {
        const { port1, port2 } = new MessageChannel();
        const there = new Promise((resolve) => port2.onmessage = ({ data }) => (port2.close(), resolve(data)));
        port1.postMessage(frame, [frame.buffer]);
        if (frame.length !== 0) throw new Error("It is still here");
        return there;
      });
      return await Promise.all(moved);
    }
    case "scribble": {
      const copies = rest.map((frame) => frame.slice());
      for (const frame of frames) frame.fill(238);
      await turn();
      if (frames.some((frame) => sum(frame) !== sum(new Uint8Array(frame.length).fill(238)))) return "written over";
      return copies;
    }
    case "keep":
      kept.push(...rest.map((frame) => [frame, sum(frame)]));
      await turn();
      if (kept.some(([frame, was]) => sum(frame) !== was)) return "written over";
      return rest;
    case "reverse":
      return rest.reverse();
    case "views": {
      const all = new Uint8Array(rest.reduce((size, { length }) => size + length, 0) + 10);
      let at = 5;
      return rest.map((frame) => {
        all.set(frame, at);
        return all.subarray(at, at += frame.length);
      });
    }
    case "slowly":
      await new Promise((resolve) => setTimeout(resolve, 2));
      return rest;
  }
  return frames;
};`;

/** Bytes in which no two places look alike for long. */
const GROUND = groundOf(4 * 1024 ** 2);

function groundOf(size: number): Bytes {
  const random = randomNumbers(1);
  return new Uint8Array(size).map(() => random(256));
}

/** A content that no other request has. */
function content(id: number, size: number): Bytes {
  return GROUND.slice(id * 17, id * 17 + size);
}

function isSame(one: readonly Bytes[], other: readonly Bytes[]): boolean {
  return one.length === other.length &&
    one.every((frame, index) => Buffer.compare(frame, other[index] ?? GROUND) === 0);
}

/** Asks for all of these at once, each an order and its frames, and compares the answers. */
async function askAll(
  peer: Peer,
  requests: readonly { order: string; frames: readonly Bytes[]; answer?: readonly Bytes[] }[],
): Promise<void> {
  for (const [id, { order, frames }] of requests.entries()) {
    peer.send(`${id}`, "", order, ...frames);
  }
  for (let answered = 0; answered < requests.length; answered++) {
    const [id, , ...got] = await peer.receive();
    const { order, frames, answer = frames } = requests[Number(text(id))] ??
      { order: "", frames: [] };
    const said = got[0] !== undefined && got[0].length < 100 ? text(got[0]) : "";
    assert(isSame(got, answer), `${order} of ${frames.map(({ length }) => length)}: ${said}`);
  }
}

function each(order: string): { order: string; frames: Bytes[] }[] {
  return SIZES.map((size, id) => ({ order, frames: [content(id, size)] }));
}

for (const transport of TRANSPORTS) {
  for (const lane of LANES) {
    const name = `${transport.name}, ${lane.name}`;
    const servers: ServerProcess[] = [];
    const limits = ["--workers", "2", "--concurrency", "8", "--prefetch-budget", "1s"];
    const start = (...args: string[]) =>
      ServerProcess.start({
        handler: HANDLER,
        args: [...limits, ...args, ...transport.args, ...lane.args],
      });

    const test = (what: string, play: (peer: Peer) => Promise<void>) =>
      Deno.test(`${name}: ${what}`, async () => {
        await using peer = new Peer(servers[0]?.endpoint ?? "");
        await play(peer);
      });

    Deno.test.beforeAll(async () => {
      servers.push(await start());
    });
    Deno.test.afterAll(async () => {
      for (const server of servers) await server[Symbol.asyncDispose]();
    });

    test("a frame owns its memory, and that is no longer than it", async (peer) => {
      await askAll(peer, each("own"));
    });

    test("frames can be transferred while others are in flight", async (peer) => {
      await askAll(peer, [...each("transfer"), ...each("own"), ...each("transfer")]);
    });

    test("what a handler writes into its frames reaches nobody else's", async (peer) => {
      await askAll(peer, [...each("scribble"), ...each("own"), ...each("scribble")]);
    });

    test("frames that a handler keeps stay as they were", async (peer) => {
      for (let round = 0; round < 2; round++) await askAll(peer, each("keep"));
    });

    test("bodies of many frames are whole both ways", async (peer) => {
      const frames = Array.from({ length: 40 }, (_, id) => content(id, id % 3 === 0 ? 0 : id ** 3));
      const requests = [1, 2, 3, 39, 40].map((count) => {
        const some = frames.slice(0, count);
        return { order: "reverse", frames: some, answer: some.toReversed() };
      });
      const many = Array.from({ length: 999 }, (_, id) => content(id, id % 10));
      await askAll(peer, [...requests, {
        order: "reverse",
        frames: many,
        answer: many.toReversed(),
      }]);
    });

    test("a handler may answer with parts of a buffer", async (peer) => {
      const frames = SIZES.slice(0, 20).map((size, id) => content(id, size));
      await askAll(peer, [{ order: "views", frames }, { order: "views", frames: [content(1, 0)] }]);
    });

    test("large bodies pass each other in both directions", async (peer) => {
      const sizes = Array.from({ length: 16 }, (_, id) => 500_000 + 70_001 * id);
      await askAll(peer, sizes.map((size, id) => ({ order: "own", frames: [content(id, size)] })));
    });

    // What becomes of a dead worker's jobs is the lane's business alone.
    const options = { ignore: transport.name !== "native" };
    Deno.test(
      `${name}: no reply is lost or wrong when workers are killed amid large bodies`,
      options,
      async () => {
        // So many attempts that no job is given up, however unlucky.
        await using server = await start("--max-attempts", "100");
        await using peer = new Peer(server.endpoint);
        const sizes = [1, 100, 9000, 70_000, 300_000, 1_500_000];
        const requests = Array.from({ length: 90 }, (_, id) => {
          return {
            order: "slowly",
            frames: [content(id, sizes[id % sizes.length] ?? 0), bytes("end")],
          };
        });
        const answered = askAll(peer, requests);
        let kills = 0;
        for (const share of [5, 30, 55]) {
          await until(
            "some are answered",
            async () => Number((await server.state()).answered) >= share,
          );
          for (const pid of server.workers.slice(0, 1)) kills += Number(trySignal(pid, "SIGKILL"));
        }
        await answered;
        assert(kills > 0);
        const { lost, failed, undelivered } = await server.state();
        assert.deepEqual({ lost, failed, undelivered }, { lost: 0, failed: 0, undelivered: 0 });
      },
    );
  }
}
