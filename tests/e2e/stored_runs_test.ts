/** Stored jobs as they are run: what handlers see of them, and what becomes of their tries. */

import { strict as assert } from "node:assert";
import { Client, ReplyError } from "../../client.ts";
import type { ServeOptions } from "../../mod.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";

/** The lanes to workers, by where they connect. */
const LANES: Record<string, Partial<ServeOptions>> = {
  records: {},
  zmq: { backend: "tcp://127.0.0.1:0" },
};

const HANDLER = moduleOf(`
  import { RequestError } from "${import.meta.resolve("../../worker.ts")}";
  const decoder = new TextDecoder();
  const tasks = {
    who: ({ job, attempt, client, frames }) => JSON.stringify({
      ...job && { id: job.id, attempt: job.attempt, tries: job.tries, kept: job.kept?.length },
      ctx: attempt, user: client.user, sizes: frames.map((frame) => frame.length),
    }),
    // The first try keeps something, and fails; the second one has it.
    keep: async ({ job, frames }) => {
      const size = Number(decoder.decode(frames[1]));
      if (job.attempt > 1) return [decoder.decode(job.kept.subarray(0, 8)), String(job.kept.length), String(frames.length)];
      await job.checkpoint("too early");
      const { checkpoint } = job;
      await checkpoint(new Uint8Array(size).fill(65));
      throw new Error("again");
    },
    submit: async ({ submit, frames }) => {
      const { id, isNew } = await submit(["who", "", "abc"], { priority: 7, key: decoder.decode(frames[1]) });
      return JSON.stringify({ id, isNew });
    },
    refused: ({ submit }) => submit("who", { service: "nowhere" }),
    wrong: ({ submit }) => submit("who", { priority: 10 }),
    parts: async function* () {
      yield "one";
      yield ["two", "three"];
    },
    die: ({ attempt }) => attempt === 1 ? Deno.exit(3) : "survived " + attempt,
    final: () => { throw new RequestError(422, "never") },
    deadline: ({ deadline }) => String(deadline),
    progress: async ({ progress, frames }) => {
      progress(1, 3, "begun");
      await new Promise((done) => setTimeout(done, 200));
      progress(3, 3, "ended");
      return "done";
    },
  };
  export default (body, ctx) => tasks[decoder.decode(body)](ctx);
`);

const QUICK = { backoff: { min: 1, max: 10 } };

async function failure(promise: Promise<unknown>): Promise<[number, string]> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ReplyError) return [error.code, error.message];
    throw error;
  }
  throw new Error("It was answered");
}

for (const [lane, options] of Object.entries(LANES)) {
  Deno.test(`a stored job runs as requests do, over the lane of ${lane}`, async (t) => {
    using folder = new Folder();
    await using server = serveQuietly({
      ...{ ...options, handler: HANDLER, workers: 2, maxAttempts: 3 },
      store: `sqlite:${folder.path}/jobs.db`,
    });
    await using client = new Client({ endpoint: endpointOf(server) });
    await server.ready;
    const run = async (body: string[], how = {}) => {
      const { id } = await client.submit(body, { ...QUICK, ...how });
      return { id, reply: await client.job(id).result({ wait: 20_000 }) };
    };
    const texts = (frames: readonly Uint8Array[]) =>
      frames.map((frame) => new TextDecoder().decode(frame));

    await t.step("and its handler sees which job and which try it is", async () => {
      const { id, reply } = await run(["who", "", "abc"], { retries: 2, ttl: 60_000 });
      const seen = { id, attempt: 1, tries: 3, ctx: 1, user: "", sizes: [3, 0, 3] };
      assert.deepEqual(reply.json(), seen);
      const asked = await client.request(["who"]);
      assert.deepEqual(asked.json(), { ctx: 1, user: "", sizes: [3] });
    });
    await t.step("what a try has kept is there for the next one, whatever its size", async () => {
      for (const size of [0, 1, 20_000, 300_000]) {
        const { reply } = await run(["keep", String(size)]);
        const kept = "A".repeat(Math.min(8, size));
        assert.deepEqual(texts(reply.frames), [kept, String(size), "2"]);
      }
    });
    await t.step("its handler submits jobs", async () => {
      const { reply } = await run(["submit", ""]);
      const { id, isNew } = reply.json<{ id: string; isNew: boolean }>();
      assert.equal(isNew, true);
      assert.deepEqual(
        (await client.job(id).result({ wait: 20_000 })).json<{ id: string }>().id,
        id,
      );
      assert.equal((await client.job(id).status()).priority, 7);
      // So does the handler of a request, and what is refused throws.
      assert.equal((await client.request(["submit", ""])).json<{ isNew: boolean }>().isNew, true);
      assert.equal((await failure(client.request("refused")))[0], 404);
      assert.equal((await failure(client.request("wrong")))[0], 400);
    });
    await t.step("an answer in parts becomes its result with all frames", async () => {
      assert.deepEqual(texts((await run(["parts"])).reply.frames), ["one", "two", "three"]);
    });
    await t.step(
      "the death of its worker is a try, and its own error too if it is 5xx",
      async () => {
        const { reply, id } = await run(["die"]);
        assert.equal(reply.text(), "survived 2");
        assert.equal((await client.job(id).status()).attempt, 2);
        const { id: final } = await client.submit("final", QUICK);
        assert.deepEqual(await failure(client.job(final).result()), [422, "never"]);
        assert.equal((await client.job(final).status()).attempt, 1);
      },
    );
    await t.step("its ttl bounds its start alone", async () => {
      const { reply } = await run(["deadline"], { ttl: 1000 });
      assert.equal(reply.text(), "undefined");
    });
    await t.step("how far it is reaches its submitter", async () => {
      const { id } = await client.submit("progress", QUICK);
      const notes: string[] = [];
      for await (const { done, total, note } of client.job(id).progress()) {
        notes.push(`${done}/${total} ${note}`);
      }
      assert.equal(notes[0], "1/3 begun");
    });
  });
}
