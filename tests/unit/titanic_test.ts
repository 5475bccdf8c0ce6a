/** 9/TSP as its text says, in terms of the services for stored jobs. */

import { strict as assert } from "node:assert";
import { BodyPool } from "../../ports/body.ts";
import { type Content, MemoryContent } from "../../ports/content.ts";
import { answerMmi } from "../../ports/mmi.ts";
import type { ClientRequest } from "../../ports/source.ts";
import { askStore, contentOf, titanicContent, titanicOf } from "../../ports/titanic.ts";
import { buildStatus, buildStored, type JobState } from "../../wire/job_status.ts";
import { readTsp, tspAnswer, tspServiceOf } from "../../wire/tsp.ts";
import { ID, statusOf } from "../rig/fake_jobs.ts";
import { bytes, text } from "../rig/text.ts";

const UUID = ID.slice(2);

function framesOf(content: Content): string[] {
  const all = new Uint8Array(content.size);
  content.copyTo(all, 0, 0, all.length);
  let at = 0;
  return (content.sizes ?? [content.size]).map((size) => text(all.subarray(at, at += size)));
}

function contentWith(...frames: Uint8Array<ArrayBuffer>[]): Content {
  return contentOf({ frames, keep: false });
}

function requestOf(service: string, ...frames: string[]) {
  const pool = new BodyPool();
  const content = contentWith(...frames.map(bytes));
  const body = pool.take(content.size);
  content.copyTo(body.bytes, 0, 0, content.size);
  if (frames.length > 1) body.sizes = content.sizes;
  const envelope = [bytes(""), bytes("MDPC01"), bytes(service)];
  const request = { envelope, body, bytes: body.size, excess: undefined, service };
  return { pool, request: request as unknown as ClientRequest };
}

/** What a request asks of the services for stored jobs, or is answered at once. */
function asked(service: string, ...frames: string[]): unknown[] {
  const { pool, request } = requestOf(service, ...frames);
  const titanic = titanicOf(request);
  if (titanic === undefined) return ["not titanic's"];
  const fault = askStore(titanic, request, pool);
  if (fault !== undefined) return fault.frames.map(text);
  const [words = "", ...body] = framesOf(new MemoryContent().setBody(request.body));
  return [request.service, JSON.parse(words), ...body];
}

Deno.test("Titanic's requests become questions about stored jobs", () => {
  assert.deepEqual(asked("titanic.request", "echo", "one", ""), [
    "job.submit",
    { service: "echo" },
    "one",
    "",
  ]);
  assert.deepEqual(asked("titanic.reply", UUID), ["job.result", { id: ID }]);
  assert.deepEqual(asked("titanic.close", UUID.toUpperCase()), ["job.forget", { id: ID }]);
  assert.deepEqual(asked("titanic.other", UUID), ["not titanic's"]);
  assert.deepEqual(asked("mail", "x"), ["not titanic's"]);
});

Deno.test("Titanic's requests are answered 400 at once when they are none", () => {
  const wrong = [
    asked("titanic.request"),
    asked("titanic.request", "echo"),
    asked("titanic.request", "n".repeat(65), "x"),
    asked("titanic.reply", "xyz"),
    asked("titanic.reply", UUID, "more"),
    asked("titanic.reply", `${UUID.slice(1)}g`),
  ];
  for (const [status, reason] of wrong) {
    assert.equal(status, "400");
    assert.ok(typeof reason === "string" && reason.length > 10);
  }
  assert.deepEqual(asked("titanic.close", ""), ["400"]);
  const { pool, request } = requestOf("titanic.request", "");
  const fault = askStore("titanic.request", { ...request, excess: "too large" }, pool);
  assert.deepEqual(fault?.frames.map(text), ["400", "too large"]);
});

Deno.test("Titanic's answers have the statuses of 9/TSP, three digits alone", () => {
  const content =
    (service: "titanic.request" | "titanic.reply" | "titanic.close") =>
    (code: number, ...frames: (string | Uint8Array<ArrayBuffer>)[]) =>
      framesOf(
        titanicContent(
          service,
          code,
          contentWith(...frames.map((each) => typeof each === "string" ? bytes(each) : each)),
        ),
      );
  const request = content("titanic.request");
  assert.deepEqual(request(200, buildStored({ id: ID, isNew: true })), ["200", UUID]);
  assert.deepEqual(request(404, "No such service"), ["400", "No such service"]);
  assert.deepEqual(request(507, "The disk is full"), ["500", "The disk is full"]);
  assert.deepEqual(request(200, "noise"), ["500", "The answer of the store can't be read"]);
  const reply = content("titanic.reply");
  assert.deepEqual(reply(200, buildStatus(statusOf("done")), "one", ""), ["200", "one", ""]);
  for (const state of ["scheduled", "waiting", "running"] satisfies JobState[]) {
    assert.deepEqual(reply(200, buildStatus(statusOf(state))), ["300"]);
  }
  const failed = statusOf("failed", { code: 422, message: "No such item" });
  assert.deepEqual(reply(200, buildStatus(failed), "No such item"), [
    "500",
    "The job has ended: failed 422 No such item",
  ]);
  assert.deepEqual(reply(404, "There is no such job"), ["400", "There is no such job"]);
  const close = content("titanic.close");
  assert.deepEqual(close(200, buildStatus(statusOf("done"))), ["200"]);
  assert.deepEqual([close(404, "x"), close(400, "x"), close(503, "x")], [["200"], ["400"], [
    "500",
  ]]);
});

Deno.test("tspServiceOf knows the three names alone", () => {
  const names = ["titanic.request", "titanic.reply", "titanic.close"];
  assert.deepEqual(names.map((name) => tspServiceOf(bytes(name))), names);
  for (const other of ["", "titanic.", "titanic.requests", "titanic.xxxxx", "ritanic.reply"]) {
    assert.equal(tspServiceOf(bytes(other)), undefined);
  }
  assert.equal(typeof readTsp("titanic.reply", bytes(UUID), 1), "object");
  assert.equal(tspAnswer("titanic.reply", 200, bytes("x")).frames.map(text)[0], "500");
  const directory = { workersOf: () => undefined, expect: () => {} };
  assert.equal(answerMmi("mmi.service", "titanic.request", directory), "200");
  assert.equal(answerMmi("mmi.service", "titanic.none", directory), "404");
  assert.equal(answerMmi("mmi.service", "job.submit", directory), "200");
  assert.equal(answerMmi("mmi.service", "job.none", directory), "404");
});
