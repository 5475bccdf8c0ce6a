/** How often it is passed on how far a handler is. */

import { strict as assert } from "node:assert";
import { checkProgress, progressFrames, ProgressPace } from "../../worker/progress.ts";
import { readProgress } from "../../wire/request.ts";
import { text } from "../rig/text.ts";

const at = (done: number) => ({ done, total: undefined, note: "" });

Deno.test("ProgressPace passes the first on at once, and then the last of each 50 ms", () => {
  const pace = new ProgressPace();
  assert.equal(pace.add(at(1), 1000), true);
  assert.equal(pace.take(1000), undefined);
  assert.equal(pace.add(at(2), 1010), false);
  assert.equal(pace.add(at(3), 1049), false);
  assert.equal(pace.waitMs(1049), 1);
  assert.deepEqual(pace.take(1050), at(3));
  assert.equal(pace.take(1050), undefined);
  assert.equal(pace.add(at(4), 1099), false);
  assert.equal(pace.add(at(5), 1100), true);
  assert.equal(pace.take(1100), undefined, "what is older is not told any more");
});

Deno.test("checkProgress refuses what is no number or no text", () => {
  assert.deepEqual(checkProgress(1, undefined, undefined), at(1));
  assert.deepEqual(checkProgress(-1.5, NaN, "x"), { done: -1.5, total: NaN, note: "x" });
  const wrong: [unknown, unknown, unknown, RegExp][] = [
    ["1", undefined, undefined, /"done" must be a number: it is a string$/],
    [NaN, undefined, undefined, /"done" must be a number: it is NaN$/],
    [1, "2", undefined, /"total" must be a number: it is a string$/],
    [1, null, undefined, /"total" must be a number: it is a object$/],
    [1, 2, 3, /"note" must be a string: it is a number$/],
  ];
  for (const [done, total, note, message] of wrong) {
    assert.throws(() => checkProgress(done, total, note), { name: "TypeError", message });
  }
});

Deno.test("progressFrames cuts a note at 1,024 bytes, between two characters", () => {
  const [numbers, note] = progressFrames({ done: 1, total: 2, note: "é".repeat(600) + "x" });
  assert.deepEqual(readProgress(numbers ?? new Uint8Array(0)), { done: 1, total: 2 });
  assert.equal(text(note), "é".repeat(512));
  const [, whole] = progressFrames({ done: 1, total: 2, note: "日".repeat(1000) });
  assert.equal(text(whole), "日".repeat(341));
});
