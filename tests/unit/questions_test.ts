/** What is believed of a worker that asks other services, and where answers go. */

import { strict as assert } from "node:assert";
import { type Job, newJob, newPeer, newWorker, type Worker } from "../../broker/job.ts";
import { type Body, BodyPool } from "../../ports/body.ts";
import { MemoryContent, textOf } from "../../ports/content.ts";
import { MAX_HOPS, Questions } from "../../ports/questions.ts";
import type { ClientRequest } from "../../ports/source.ts";
import { buildJobHeader, readClient } from "../../wire/job.ts";
import {
  buildQuestion,
  MAX_QUESTION_BYTES,
  type QuestionHead,
  readQuestion,
} from "../../wire/question.ts";
import { bytes } from "../rig/text.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const HEAD: QuestionHead = {
  number: 1,
  deadline: 0,
  requestTimeout: 0,
  key: "",
  service: "mail",
  trace: undefined,
};
const LIMITS = { maxMessageSize: 1000, maxFrames: 3 };

/** Questions, with what comes in by them and what goes back. */
class Stage {
  readonly bodies = new BodyPool();
  readonly asked: ClientRequest[] = [];
  readonly cancelled: number[] = [];
  gone = 0;
  readonly answers: [worker: number, question: number, code: number, text: string][] = [];
  readonly questions = new Questions({
    lane: {
      answer: ({ id }, question, code, content) =>
        void this.answers.push([id, question, code, textOf(content, 0, 1000)]),
    },
    bodies: this.bodies,
    limits: LIMITS,
    reception: () => ({
      request: (_peer, request) => void this.asked.push({ ...request }),
      cancel: (_peer, id) => void this.cancelled.push(id),
      gone: () => void this.gone++,
    }),
  });
  readonly worker: Worker<Body> = newWorker(7, 0);
  readonly job: Job<Body>;

  constructor(hops = 0) {
    this.job = this.give(1, hops);
  }

  give(id: number, hops = 0, deadline = Infinity): Job<Body> {
    const peer = newPeer<Body>(0, buildJobHeader("me", "127.0.0.1", "alice"), "alice");
    const job = newJob<Body>(id, {
      ...{ client: peer.home, envelope: [], requestId: 1, body: this.bodies.take(0), bytes: 0 },
      ...{ deadline, requestTimeout: Infinity, key: "", hops },
    });
    job.state = "assigned";
    this.worker.jobs.set(id, job);
    return job;
  }

  ask(head: Partial<QuestionHead> | Bytes = {}, body: string[] = ["body"], job = 1): void {
    const first = head instanceof Uint8Array ? head : buildQuestion({ ...HEAD, ...head });
    const frames = [first, ...body.map((frame) => bytes(frame))];
    const all = new Uint8Array(frames.flatMap((frame) => [...frame]));
    const sizes = frames.map(({ length }) => length);
    const content = new MemoryContent().set(all, 0, all.length, sizes);
    this.questions.ask(this.worker, job, content, 0);
  }
}

Deno.test("readQuestion gives what buildQuestion was given, and nothing of other bytes", () => {
  const head = {
    number: 2 ** 40,
    deadline: 2 ** 41,
    requestTimeout: 5000,
    key: "ä".repeat(64),
    service: "s".repeat(64),
    trace: new Uint8Array(25).fill(7),
  };
  const untraced = { ...head, trace: undefined };
  const short = buildQuestion(untraced);
  assert.deepEqual(readQuestion(short, 0, short.length), untraced);
  const built = buildQuestion(head);
  assert.equal(built.length, MAX_QUESTION_BYTES);
  assert.deepEqual(readQuestion(built, 0, built.length), head);
  const shifted = new Uint8Array([9, ...built, 9]);
  assert.deepEqual(readQuestion(shifted, 1, 1 + built.length), head);
  for (let size = 0; size < built.length; size++) {
    assert.equal(readQuestion(built, 0, size), undefined);
  }
  assert.equal(readQuestion(shifted, 1, shifted.length), undefined);
  assert.equal(readQuestion(built, 0, built.length + 1), undefined);
  assert.throws(() => buildQuestion({ ...head, key: "k".repeat(129) }), RangeError);
  assert.throws(() => buildQuestion({ ...head, service: "s".repeat(65) }), RangeError);
});

Deno.test("Questions come in by the rights of the client whose job asks, and no longer than that waits", () => {
  const stage = new Stage();
  stage.give(2, 3, 500);
  stage.ask({ key: "k", requestTimeout: 40 }, ["one", "two"], 2);
  const [asked] = stage.asked;
  assert(asked !== undefined);
  const { client: { peer }, body, service, key, deadline, requestTimeout, hops } = asked;
  assert.equal(peer.user, "alice");
  assert.equal(readClient(peer.header).identity, "me");
  assert.deepEqual([service, key, deadline, requestTimeout, hops], ["mail", "k", 500, 40, 4]);
  assert.deepEqual([body.size, body.sizes, asked.requestId], [6, [3, 3], 1]);
  stage.ask({ number: 2, deadline: Date.now() + 60_000 }, ["x"], 2);
  assert.equal(stage.asked[1]?.deadline, 500);
  stage.ask({ number: 3, deadline: Date.now() + 60_000 });
  const later = stage.asked[2]?.deadline ?? 0;
  assert(later > 59_000 && later <= 60_000, `deadline ${later}`);
});

Deno.test("Questions bring an answer to who has asked, once, and each job's peer goes with its last question", () => {
  const stage = new Stage();
  stage.ask();
  stage.ask({ number: 2 });
  const [first, second] = stage.asked;
  assert(first !== undefined && second !== undefined);
  assert.equal(first.client.peer, second.client.peer);
  stage.questions.replyError(second, 404, "no");
  stage.questions.replyError(second, 404, "twice");
  stage.questions.reply(first, 200, new MemoryContent().set(bytes("yes"), 0, 3));
  assert.deepEqual(stage.answers, [[7, 2, 404, "no"], [7, 1, 200, "yes"]]);
  stage.ask({ number: 3 });
  assert.notEqual(stage.asked[2]?.client.peer, first.client.peer);
});

Deno.test("Questions are answered 499 for a job that the worker has not, or that nobody waits for", () => {
  const stage = new Stage();
  stage.ask({}, ["x"], 99);
  stage.job.state = "aborted";
  stage.ask({ number: 2 });
  const message = "The job that asks has ended";
  assert.deepEqual(stage.answers, [[7, 1, 499, message], [7, 2, 499, message]]);
  assert.equal(stage.asked.length, 0);
});

Deno.test("Questions of another form, or by a number that is in use, are dropped", () => {
  const stage = new Stage();
  stage.ask();
  stage.ask();
  stage.ask({ number: 2 }, []);
  stage.ask(new Uint8Array(3));
  stage.ask(new Uint8Array(MAX_QUESTION_BYTES + 1));
  const lying = buildQuestion({ ...HEAD, number: 3 });
  lying[21] = 255;
  stage.ask(lying);
  assert.deepEqual([stage.asked.length, stage.answers.length], [1, 0]);
});

Deno.test("Questions with too large a body come in without it, to be answered 413", () => {
  const stage = new Stage();
  stage.ask({}, ["x".repeat(1001)]);
  stage.ask({ number: 2 }, ["1", "2", "3", "4"]);
  assert.deepEqual(stage.asked.map(({ excess, body }) => [excess !== undefined, body.size]), [
    [true, 0],
    [true, 0],
  ]);
});

Deno.test("Questions end when a request has gone through 16 services, and at 1,000 of a worker", () => {
  const last = new Stage(MAX_HOPS - 1);
  last.ask();
  assert.deepEqual([last.asked.length, last.answers.length], [1, 0]);
  const over = new Stage(MAX_HOPS);
  over.ask();
  assert.deepEqual(over.answers, [[7, 1, 508, "The request went through 16 services"]]);
  const many = new Stage();
  for (let number = 1; number <= 1001; number++) many.ask({ number });
  assert.deepEqual([many.asked.length, many.answers.length], [1000, 1]);
  assert.deepEqual(many.answers[0]?.slice(0, 3), [7, 1001, 503]);
});

Deno.test("Questions are withdrawn by their worker alone, and with it", () => {
  const stage = new Stage();
  stage.ask();
  stage.give(2);
  stage.ask({ number: 2 }, ["x"], 2);
  stage.questions.withdraw(newWorker<Body>(8, 0), 1, 0);
  stage.questions.withdraw(stage.worker, 9, 0);
  assert.deepEqual(stage.cancelled, []);
  stage.questions.withdraw(stage.worker, 1, 0);
  assert.deepEqual(stage.cancelled, [1]);
  stage.questions.gone(stage.worker, 0);
  stage.questions.gone(stage.worker, 0);
  assert.equal(stage.gone, 2);
});
