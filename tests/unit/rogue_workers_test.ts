/**
 * Workers that keep the protocol's form and break its rules: a raw socket that has a worker's token.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { BrokerLoop } from "../../ports/loop.ts";
import type { LoopEvent } from "../../ports/messages.ts";
import { servicesOf } from "../../ops/loop_options.ts";
import { resolveOptions } from "../../options/resolve.ts";
import {
  buildSignal,
  FromBroker,
  FromWorker,
  JobReader,
  REPLY_BYTES,
  writeReply,
} from "../../wire/job.ts";
import { openLibrary } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Peer } from "../rig/peer.ts";
import { bytes, text } from "../rig/text.ts";

const TOKEN = "a token that is as long as real ones";
const SECOND_TOKEN = "another one, for the worker that comes next";

/** A broker with a client, and a worker that says what a test wants it to. */
class Stage {
  readonly loop: BrokerLoop;
  readonly client: Peer;
  readonly worker: Peer;
  /** What the broker told of its worker. */
  readonly told: string[] = [];
  readonly #ended: Promise<void>;

  constructor() {
    const machine = { cpus: 2, cwd: () => "/" };
    const settings = resolveOptions({ frontend: "tcp://127.0.0.1:0" }, machine);
    const library = openLibrary(locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path);
    const backend = "tcp://127.0.0.1:0";
    const listener = (event: LoopEvent) => this.#hear(event);
    this.loop = new BrokerLoop(
      library,
      { ...settings, services: servicesOf(settings), backend },
      listener,
    );
    for (const [worker, token] of [[7, TOKEN], [8, SECOND_TOKEN]] as const) {
      this.loop.send({ type: "expect", service: "", worker, token, publicKey: undefined });
    }
    this.#ended = this.loop.run();
    this.client = new Peer(this.loop.frontend[0] ?? "");
    this.worker = new Peer(this.loop.backend);
    this.worker.send(new Uint8Array([FromWorker.READY, ...bytes(TOKEN)]));
  }

  /** The number of the next job. */
  async job(): Promise<number> {
    for (;;) {
      const [frame = new Uint8Array()] = await this.worker.receive();
      if (frame[0] !== FromBroker.JOB) continue;
      const reader = new JobReader();
      reader.bytes.set(frame);
      return reader.read(frame.length).job;
    }
  }

  reply(job: number, code: number, ...body: string[]): void {
    const header = new Uint8Array(REPLY_BYTES);
    writeReply(new DataView(header.buffer), {
      job,
      code,
      micros: 1,
      frames: body.length,
      flags: 0,
    });
    this.worker.send(header, ...body);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.loop.send({ type: "stop" });
    await this.#ended;
    await this.loop.close(0);
    await this.client[Symbol.asyncDispose]();
    await this.worker[Symbol.asyncDispose]();
  }

  #hear(event: LoopEvent): void {
    if (!("worker" in event) || event.type === "ready") return;
    this.told.push(`${event.type} ${event.worker}`);
  }
}

for (const code of [0, 1, 99, 100, 201, 399, 600, 65_535]) {
  Deno.test(`a worker's reply is answered 500 and counted when its code is ${code}`, async () => {
    await using stage = new Stage();
    stage.client.send("", "x");
    stage.reply(await stage.job(), code, "one", "two");
    const answer = (await stage.client.receive()).map((frame) => text(frame));
    assert.deepEqual(answer, ["", "", "500 The worker's reply has no valid code"]);
    assert.equal(stage.loop.look().counters.invalidReplies, 1);
  });
}

Deno.test("a worker's error reply is one message when it sends several frames", async () => {
  await using stage = new Stage();
  stage.client.send("", "x");
  stage.reply(await stage.job(), 404, "no such thing", "and more");
  const answer = (await stage.client.receive()).map((frame) => text(frame));
  assert.deepEqual(answer, ["", "", "404 no such thing"]);
});

Deno.test("a worker that says LEAVING is told of, and what it had goes to another", async () => {
  await using stage = new Stage();
  stage.client.send("", "x");
  await stage.job();
  stage.worker.send(buildSignal(FromWorker.LEAVING));
  stage.worker.send(new Uint8Array([FromWorker.READY, ...bytes(SECOND_TOKEN)]));
  stage.reply(await stage.job(), 200, "done");
  assert.deepEqual((await stage.client.receive()).map((frame) => text(frame)), ["", "done"]);
  assert.deepEqual(stage.told, ["left 7"]);
});
