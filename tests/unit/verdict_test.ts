/** What the end of a run means for its job. */

import { strict as assert } from "node:assert";
import type { RunOutcome } from "../../store/messages.ts";
import { backoffMs, messageOfRun, verdictOf } from "../../store/verdict.ts";

function outcome(code: number, unstarted = false): RunOutcome {
  return { code, unstarted, result: { bytes: new Uint8Array() }, ms: 0 };
}

Deno.test("verdictOf tells done, tried again, failed, cancelled and not started apart", () => {
  const first = { attempt: 1, retries: 1 };
  const last = { attempt: 2, retries: 1 };
  for (
    const [code, unstarted, tried, verdict] of [
      [200, false, last, "done"],
      [400, false, first, "failed"],
      [422, false, first, "failed"],
      [499, false, first, "cancelled"],
      [500, false, first, "again"],
      [502, false, first, "again"],
      [504, false, last, "failed"],
      [503, true, last, "returned"],
      [404, true, first, "returned"],
    ] as const
  ) {
    assert.equal(verdictOf(outcome(code, unstarted), tried), verdict, `${code} ${unstarted}`);
  }
});

Deno.test("backoffMs doubles up to its maximum, and varies by a fifth", () => {
  const backoff = { firstMs: 1000, maxMs: 3_600_000 };
  const plain = [1, 2, 3, 12, 13, 1000].map((attempt) => backoffMs(backoff, attempt, 0.5));
  assert.deepEqual(plain, [1000, 2000, 4000, 2_048_000, 3_600_000, 3_600_000]);
  assert.equal(backoffMs(backoff, 1, 0), 800);
  assert.equal(backoffMs(backoff, 1, 1), 1200);
  assert.equal(backoffMs({ firstMs: 0, maxMs: 0 }, 5, 1), 0);
});

Deno.test("messageOfRun is the first frame, and no longer than 4,096 characters", () => {
  const bytes = new TextEncoder().encode("No such page{}");
  assert.equal(messageOfRun({ bytes, sizes: [12, 2] }), "No such page");
  const long = new TextEncoder().encode("ä".repeat(1_000_000));
  assert.equal(messageOfRun({ bytes: long }), "ä".repeat(4096));
});
