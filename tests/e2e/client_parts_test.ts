/** Answers in parts of a server of ours, read by our client. */

import assert from "node:assert/strict";
import { type Progress, type Reply, ReplyError } from "../../client.ts";
import { overBoth } from "../rig/over_both.ts";
import { randomNumbers } from "../rig/random.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { LIMIT, until } from "../rig/wait.ts";

const ONE_WORKER = ["--workers", "1"];

/**
 * `[name, count, size]` as JSON: so many parts of so many bytes, each with the name and its number ahead. `"state"`: how
 * many parts each name has got so far, and whether it has ended.
 */
const COUNTER = `
  const made = {};
  export default async function* (body, ctx) {
    const said = JSON.parse(new TextDecoder().decode(body));
    if (said === "state") return JSON.stringify(made);
    const [name, count, size = 0] = said;
    try {
      for (let number = ctx.partsSent; number < count; number++) {
        made[name] = number + 1;
        if (number % 100 === 0) ctx.progress(number, count, name);
        yield [name + " " + number, new Uint8Array(size)];
      }
    } finally {
      made[name] = "ended";
    }
  }`;

function numbers(name: string, from: number, end: number): string[] {
  return Array.from({ length: end - from }, (_, index) => `${name} ${from + index}`);
}

overBoth(
  "Client.stream reads many answers beside each other, each whole and in order",
  async (Client) => {
    await using server = await ServerProcess.start({ handler: COUNTER, args: ["--workers", "2"] });
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    const random = randomNumbers(3);
    await Promise.all(Array.from({ length: 40 }, async (_, index) => {
      const [name, count, size] = [`n${index}`, random(300), [0, 5, 3000, 70_000][index % 4]];
      const left = index % 5 === 0 ? random(count + 1) : Infinity;
      const read: string[] = [];
      for await (const part of client.stream(JSON.stringify([name, count, size]))) {
        if (read.length === left) break;
        read.push(part.text());
        assert.equal(part.frames[1]?.length, size);
        if (random(20) === 0) await new Promise((resolve) => setTimeout(resolve, random(5)));
      }
      assert.deepEqual(read, numbers(name, 0, Math.min(left, count)));
    }));
    assert.equal((await client.request(JSON.stringify(["last", 2]))).frames.length, 4);
  },
);

overBoth(
  "Client.stream slows the handler down, and stops it when the loop is left",
  async (Client) => {
    await using server = await ServerProcess.start({
      handler: COUNTER,
      args: [...ONE_WORKER, "--concurrency", "8"],
    });
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    const stateOf = async (name: string) => {
      const reply: Reply = await client.request(JSON.stringify("state"));
      return reply.json<Record<string, unknown>>()[name];
    };
    for (const [size, most] of [[0, 16], [100_000, 3]] as const) {
      const name = `of ${size}`;
      for await (const part of client.stream(JSON.stringify([name, 1e6, size]))) {
        assert.equal(part.text(), `${name} 0`);
        await until("the handler has made what it may", async () => await stateOf(name) === most);
        // Others are served meanwhile, again and again, and no part more is made.
        for (let turns = 0; turns < 20; turns++) assert.equal(await stateOf(name), most);
        break;
      }
      await until("the handler has been stopped", async () => await stateOf(name) === "ended");
    }
  },
);

/** Counts on from where the client is, and on its first attempt stops before 7 until it is killed. */
const MORTAL = `
  import { setTimeout as sleep } from "node:timers/promises";
  export default async function* (_, { attempt, partsSent, signal }) {
    for (let number = partsSent; number < 50; number++) {
      if (attempt === 1 && number === 7) await sleep(100_000, undefined, { signal });
      yield "part " + number;
    }
  }`;

for (const resumable of [false, true]) {
  const what = resumable ? "goes on" : "throws behind the parts that it has";
  overBoth(
    `Client.stream ${what} when the worker dies, resumable: ${resumable}`,
    async (Client) => {
      await using server = await ServerProcess.start({ handler: MORTAL, args: ONE_WORKER });
      await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
      const read: string[] = [];
      const reading = (async () => {
        for await (const part of client.stream("x", { resumable })) {
          read.push(part.text());
          if (read.length === 7) Deno.kill(server.workers[0] ?? 0, "SIGKILL");
        }
      })();
      if (resumable) {
        await reading;
        assert.deepEqual(read, numbers("part", 0, 50));
      } else {
        await assert.rejects(reading, (error) => error instanceof ReplyError && error.code === 502);
        assert.deepEqual(read, numbers("part", 0, 7));
      }
    },
  );
}

overBoth(
  "Client reports the progress of a handler, and gets its parts as one reply",
  async (Client) => {
    await using server = await ServerProcess.start({ handler: COUNTER, args: ONE_WORKER });
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    const seen: Progress[] = [];
    const onProgress = (progress: Progress) => seen.push(progress);
    const reply = await client.request(JSON.stringify(["all", 3]), { onProgress });
    assert.equal(reply.frames.filter(({ length }) => length > 0).length, 3);
    assert.deepEqual(seen, [{ done: 0, total: 3, note: "all" }]);
    let parts = 0;
    for await (const _ of client.stream(JSON.stringify(["some", 3]), { onProgress })) parts++;
    assert.equal(parts, 3);
    assert.deepEqual(seen.at(-1), { done: 0, total: 3, note: "some" });
  },
);
