/** Marks of schedules on NATS, without NATS. */

import { strict as assert } from "node:assert";
import type { ScheduleMark } from "../../store/due_times.ts";
import type { Submission } from "../../store/messages.ts";
import { WRONG_REVISION } from "../../store/nats_asker.ts";
import type { NatsGround } from "../../store/nats_ground.ts";
import type { NatsIntake, Taken } from "../../store/nats_intake.ts";
import { NatsMarks } from "../../store/nats_marks.ts";
import { NatsNames } from "../../store/nats_names.ts";
import { submission } from "../rig/store_user.ts";

const NOW = 1_800_000_000_000;
const ID = `j-${"a".repeat(32)}`;

/** A key of NATS, and jobs as they are handed in; `answers`: what these are answered in turn, else that they are stored. */
function stage() {
  const stored = new Map<string, { seq: number; payload: Uint8Array }>();
  const jobs: Submission[] = [];
  const answers: Taken[] = [];
  const clock = { at: NOW, now: () => clock.at };
  let last = 0;
  const ground = {
    names: new NatsNames("p"),
    clock,
    lastOf: (_stream: string, subject: string) => Promise.resolve(stored.get(subject) ?? null),
    putOf(subject: string, payload: Uint8Array, headers: Record<string, string>) {
      const revision = stored.get(subject)?.seq ?? 0;
      const isRight = headers["Nats-Expected-Last-Subject-Sequence"] === String(revision);
      if (isRight) stored.set(subject, { seq: ++last, payload });
      const fault = isRight ? undefined : { code: 400, number: WRONG_REVISION, text: "" };
      return Promise.resolve({ seq: last, fault, payload });
    },
    log() {},
  };
  const intake = {
    store(job: Submission, answer: (taken: Taken) => void) {
      jobs.push(job);
      answer(answers.shift() ?? { id: job.id, isNew: true });
    },
  };
  const marks = new NatsMarks(
    ground as unknown as NatsGround,
    intake as unknown as NatsIntake,
  );
  return { marks, jobs, answers, clock };
}

const MARK: ScheduleMark = { spans: [], id: ID, seen: NOW, pattern: "UTC * * * * *" };

Deno.test("NatsMarks submits a job whose submission has failed with the next look, due at once though the clock was set back", async () => {
  const { marks, jobs, answers, clock } = stage();
  const job = submission("tick", { id: ID, key: "schedule:every" });
  answers.push({ code: 503, message: "NATS did not store the job in time" });
  await assert.rejects(marks.put("every", undefined, MARK, job), /in time/);
  clock.at -= 3_600_000;
  assert.deepEqual(await marks.read("every"), MARK);
  assert.equal(jobs.length, 2);
  assert.deepEqual(jobs.map(({ id, key, runAt }) => [id, key, runAt]), [
    [ID, "schedule:every", 0],
    [ID, "schedule:every", 0],
  ]);
  assert.deepEqual(await marks.read("every"), MARK);
  assert.equal(jobs.length, 2, "it is stored once");
});

Deno.test("NatsMarks changes no mark that another node has changed", async () => {
  const { marks, jobs } = stage();
  assert.equal(await marks.put("every", undefined, MARK, undefined), true);
  const next = { ...MARK, seen: NOW + 60_000 };
  assert.equal(await marks.put("every", undefined, next, submission("tick")), false);
  assert.equal(await marks.put("every", MARK, next, submission("tick", { id: ID })), true);
  assert.deepEqual(await marks.read("every"), next);
  assert.equal(jobs.length, 1);
});
