/** A worker's jobs without a connection: what a lane is told, and when replies may wait for others. */

import { strict as assert } from "node:assert";
import { FromWorker, type JobHeader, type ReplyHeader } from "../../wire/job.ts";
import { EMPTY_FRAME } from "../../wire/empty_frame.ts";
import { readProgress } from "../../wire/request.ts";
import type { WorkerConfig } from "../../wire/worker_config.ts";
import type { Handler } from "../../worker/handler.ts";
import type { Orders, WorkerLane } from "../../worker/lane.ts";
import { Service } from "../../worker/service.ts";

type Frame = Uint8Array<ArrayBuffer>;

/** A lane that gives its orders in rounds, and keeps what it is told. */
class FakeLane implements WorkerLane {
  readonly told: string[] = [];
  readonly waiting = false;
  isFull = false;
  readonly #rounds: ((orders: Orders) => void)[];

  constructor(...rounds: ((orders: Orders) => void)[]) {
    this.#rounds = rounds;
  }

  prepare(): void {}

  read(orders: Orders): boolean {
    this.#rounds.shift()?.(orders);
    return false;
  }

  isReadable(): boolean {
    return this.#rounds.length > 0;
  }

  reply({ job, code }: ReplyHeader, _: readonly Uint8Array[], __: number, mayWait: boolean): void {
    this.told.push(`${code} to ${job}${mayWait ? ", may wait" : ""}`);
  }

  part(header: ReplyHeader, frames: readonly Uint8Array[], _: number, mayWait: boolean): void {
    const text = frames.map((frame) => new TextDecoder().decode(frame)).join();
    this.told.push(`part "${text}" of ${header.job}${mayWait ? ", may wait" : ""}`);
  }

  progress(job: number, [numbers, note]: readonly Uint8Array[]): void {
    const { done, total } = readProgress(numbers ?? EMPTY_FRAME) ?? {};
    this.told.push(`${job} is at ${done} of ${total}: ${new TextDecoder().decode(note)}`);
  }

  ask(job: number, frames: readonly Uint8Array[], size: number): void {
    this.told.push(`${job} asks by ${frames.length} frames of ${size} bytes`);
  }

  publish(job: number, frames: readonly Uint8Array[], size: number, retain: boolean): void {
    const kept = retain ? ", to be kept" : "";
    this.told.push(`${job} publishes ${frames.length} frames of ${size} bytes${kept}`);
  }

  withdraw(question: number): void {
    this.told.push(`question ${question} is withdrawn`);
  }

  flush(): void {
    if (this.told.at(-1)?.endsWith("may wait")) this.told.push("flush");
  }

  introduce(type: number): void {
    this.told.push(type === FromWorker.READY ? "ready" : "loaded");
  }

  fail(_token: string, message: string): void {
    this.told.push(`failed: ${message}`);
  }

  remark(type: number): void {
    const names: Record<number, string> = {
      [FromWorker.ALIVE]: "alive",
      [FromWorker.LEAVING]: "leaving",
      [FromWorker.RETIRE]: "retire",
    };
    this.told.push(names[type] ?? "?");
  }

  giveBack(job: number): void {
    this.told.push(`back ${job}`);
  }

  log(level: string, job: number, message: string): void {
    this.told.push(`${level} ${job}: ${message}`);
  }

  memory(): void {}

  async wait(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }

  rest(): undefined {}

  wake(): void {}

  close(): void {
    this.told.push("closed");
  }
}

const CLIENT = { identity: "", address: "", user: "" };

function header(job: number, more: Partial<JobHeader> = {}): JobHeader {
  return {
    job,
    attempt: 1,
    deadline: 0,
    requestTimeout: 0,
    frames: 1,
    stream: undefined,
    partsSent: 0,
    trace: undefined,
    queuedAt: 0,
    client: CLIENT,
    ...more,
  };
}

const body = (): Frame[] => [new Uint8Array(1)];

/** Gives jobs of one round. */
const jobs = (...headers: JobHeader[]) => (orders: Orders) =>
  headers.forEach((each) => orders.job(each, body()));

const stop = (orders: Orders) => orders.stop();

async function toldBy(lane: FakeLane, handler: Handler, concurrency = 1): Promise<string[]> {
  const config = { token: "t", concurrency, memoryInterval: 0 } as WorkerConfig;
  const service = new Service(lane, { maxMessageSize: 1000, maxFrames: 10 });
  await service.run({ default: handler }, config);
  return lane.told;
}

const ENDS = ["leaving", "closed"];

Deno.test("Service lets all replies but the last wait when jobs end at once", async () => {
  const lane = new FakeLane(jobs(header(1), header(2), header(3)), stop);
  assert.deepEqual(await toldBy(lane, (body) => body), [
    "ready",
    "200 to 1, may wait",
    "200 to 2, may wait",
    "200 to 3",
    ...ENDS,
  ]);
});

Deno.test("Service lets the replies of asynchronous jobs wait when they end together", async () => {
  const lane = new FakeLane(jobs(header(1), header(2), header(3)), stop);
  const handler = async (body: Uint8Array) => {
    await undefined;
    return body;
  };
  assert.deepEqual(await toldBy(lane, handler, 10), [
    "ready",
    "200 to 1, may wait",
    "200 to 2, may wait",
    "200 to 3, may wait",
    "flush",
    ...ENDS,
  ]);
});

for (
  const [what, risk] of Object.entries({ attempt: { attempt: 2 }, limit: { requestTimeout: 9 } })
) {
  Deno.test(`Service lets no reply wait while a job runs that has an ${what} to be careful of`, async () => {
    const lane = new FakeLane(jobs(header(1), header(2, risk), header(3)), stop);
    const handler = async (body: Uint8Array, { id }: { id: number }) => {
      for (let turn = id === 2 ? 3 : 1; turn > 0; turn--) await undefined;
      return body;
    };
    assert.deepEqual(await toldBy(lane, handler, 10), [
      "ready",
      "200 to 1",
      "200 to 3",
      "200 to 2",
      ...ENDS,
    ]);
  });
}

Deno.test("Service sends what waits before it starts a job to be careful of", async () => {
  const lane = new FakeLane(jobs(header(1), header(2, { attempt: 2 })), stop);
  assert.deepEqual(await toldBy(lane, (body) => body), ["ready", "200 to 1", "200 to 2", ...ENDS]);
});

Deno.test("Service says that it lives, gives back what is too late, and answers what nobody waits for", async () => {
  const lane = new FakeLane((orders) => {
    orders.ask();
    orders.job(header(1, { deadline: 1 }), body());
    orders.job(header(2), body());
    orders.cancel(2, 499);
  }, stop);
  const expected = ["ready", "alive", "499 to 2, may wait", "back 1", ...ENDS];
  assert.deepEqual(await toldBy(lane, (body) => body), expected);
});

Deno.test("Service leaves when the broker is gone, and starts no job any more", async () => {
  let started = 0;
  const lane = new FakeLane((orders) => {
    orders.job(header(1), body());
    orders.lost();
  });
  const told = await toldBy(lane, (body) => {
    started++;
    return body;
  });
  assert.deepEqual([started, told], [0, ["ready", ...ENDS]]);
});

Deno.test("Service tells running jobs to stop when the broker is gone", async () => {
  const reasons: unknown[] = [];
  const lane = new FakeLane(jobs(header(1)), (orders) => orders.lost());
  await toldBy(lane, (_, { signal }) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        reasons.push(signal.reason.message);
        reject(signal.reason);
      });
    }));
  assert.deepEqual(reasons, ["The worker was interrupted"]);
});

// ---- answers in parts ----

const countTo = (most: number): Handler =>
  async function* () {
    for (let count = 0; count < most; count++) yield `${count}`;
  };

Deno.test("Service sends parts as far as the credit goes, and the rest as more is granted", async () => {
  const stream = { bytes: 1000, parts: 2 };
  const lane = new FakeLane(
    jobs(header(1, { stream })),
    (orders) => orders.grant(1, { bytes: 0, parts: 1 }),
    (orders) => orders.grant(1, { bytes: 0, parts: 9 }),
    stop,
  );
  assert.deepEqual(await toldBy(lane, countTo(4)), [
    "ready",
    'part "0" of 1, may wait',
    'part "1" of 1, may wait',
    "flush",
    'part "2" of 1, may wait',
    "flush",
    'part "3" of 1, may wait',
    "200 to 1, may wait",
    "flush",
    ...ENDS,
  ]);
});

Deno.test("Service keeps credit that is granted to a job that waits, and ignores what others get", async () => {
  const stream = { bytes: 1000, parts: 1 };
  const lane = new FakeLane((orders) => {
    orders.job(header(1), body());
    orders.job(header(2, { stream }), body());
    // One more, as the end is asked for as a part is.
    orders.grant(2, { bytes: 0, parts: 2 });
    orders.grant(1, { bytes: 5, parts: 5 });
    orders.grant(99, { bytes: 5, parts: 5 });
  }, stop);
  const told = await toldBy(lane, countTo(2));
  const parts = told.filter((line) => line.startsWith("part"));
  assert.deepEqual(parts.map((line) => line.slice(0, 13)), ['part "0" of 2', 'part "1" of 2']);
});

Deno.test("Service ends a handler that waits for credit when nobody waits for the answer any more", async () => {
  let ended = "";
  const lane = new FakeLane(
    jobs(header(1, { stream: { bytes: 1, parts: 1 } })),
    (orders) => orders.cancel(1, 499),
    stop,
  );
  const told = await toldBy(lane, async function* () {
    try {
      for (;;) yield "x";
    } finally {
      ended = "finally";
    }
  });
  assert.equal(ended, "finally");
  assert.ok(told.some((line) => line.startsWith("499 to 1")));
});

Deno.test("Service reads what it is told while a handler gives parts without an end", async () => {
  const much = { bytes: 2 ** 31 - 1, parts: 2 ** 31 - 1 };
  const lane = new FakeLane(
    jobs(header(1, { stream: much }), header(2, { stream: much })),
    ...Array.from({ length: 5 }, () => () => {}),
    (orders) => orders.cancel(1, 499),
    (orders) => orders.cancel(2, 499),
    stop,
  );
  const told = await toldBy(lane, countTo(Infinity), 2);
  assert.deepEqual(told.slice(-2), ENDS);
  const of = (job: number) => told.filter((line) => line.includes(`of ${job}`)).length;
  assert.ok(of(1) > 32 && of(2) > 32, "both have had their turns");
});

Deno.test("Service asks for no part while the broker does not read what it was sent", async () => {
  const much = { bytes: 1000, parts: 10 };
  let asked = 0;
  const seen: number[] = [];
  const lane: FakeLane = new FakeLane(
    jobs(header(1, { stream: much })),
    () => seen.push(asked),
    () => {
      seen.push(asked);
      lane.isFull = false;
    },
    stop,
  );
  const told = await toldBy(lane, async function* () {
    for (asked = 1; asked < 4; asked++) {
      if (asked === 2) lane.isFull = true;
      yield "x";
    }
  });
  assert.deepEqual(seen, [2, 2]);
  assert.equal(told.filter((line) => line.startsWith("part")).length, 3);
});

Deno.test("Service tells how far a job is before it answers, and only to those who want to know", async () => {
  // A handler may take out of its context what it needs.
  const handler: Handler = (_body, { progress }) => {
    for (let count = 0; count < 3; count++) progress(count, 3, "counts");
    return "done";
  };
  const stream = { bytes: 0, parts: 0 };
  const lane = new FakeLane(jobs(header(1), header(2, { stream })), stop);
  assert.deepEqual(await toldBy(lane, handler), [
    "ready",
    "200 to 1, may wait",
    "2 is at 0 of 3: counts",
    "2 is at 2 of 3: counts",
    "200 to 2",
    ...ENDS,
  ]);
});

Deno.test("Service asks another service for a handler that has taken the function out of its context", async () => {
  const handler: Handler = async (_body, { request }) => {
    request("other", "question", { timeout: 1000 }).catch(() => {});
    return await Promise.resolve("done");
  };
  const told = await toldBy(new FakeLane(jobs(header(1)), stop), handler);
  assert.ok(told.some((line) => line.startsWith("1 asks by")), told.join("; "));
});

Deno.test("Service answers a handler that says wrongly how far it is with its error, and ignores what comes late", async () => {
  const late: (() => void)[] = [];
  const stream = { bytes: 0, parts: 0 };
  const lane = new FakeLane(
    jobs(header(1, { stream }), header(2, { stream })),
    () => late.forEach((call) => call()),
    stop,
  );
  const told = await toldBy(lane, (_body, ctx) => {
    late.push(() => ctx.progress(1));
    if (ctx.id === 1) ctx.progress("half" as never);
    return "done";
  });
  assert.deepEqual(told, ["ready", "500 to 1, may wait", "200 to 2", ...ENDS]);
});
