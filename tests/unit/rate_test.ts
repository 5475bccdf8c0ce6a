/** Rates: how they are written, and how many starts they let through. */

import { strict as assert } from "node:assert";
import { parseRate } from "../../options/rates.ts";
import { RateLimit } from "../../store/rate.ts";

Deno.test("parseRate reads counts a second, minute, hour and day, and a burst", () => {
  assert.deepEqual(parseRate("100/s"), { perSecond: 100, burst: 1 });
  assert.deepEqual(parseRate("10000/s"), { perSecond: 10_000, burst: 100 });
  assert.deepEqual(parseRate("6/m"), { perSecond: 0.1, burst: 1 });
  assert.deepEqual(parseRate("36 / h"), { perSecond: 0.01, burst: 1 });
  assert.deepEqual(parseRate("0.5/s burst 3"), { perSecond: 0.5, burst: 3 });
  assert.deepEqual(parseRate("off"), { perSecond: 0, burst: 0 });
  for (const text of ["", "100", "0/s", "-1/s", "1/w", "1/s burst 0", "1/s burst", "1e3/s", "/s"]) {
    assert.equal(parseRate(text), undefined, text);
  }
});

/** How many start if one looks every `stepMs` for `forMs`. */
function starts(limit: RateLimit, from: number, forMs: number, stepMs: number): number {
  let count = 0;
  for (let now = from; now < from + forMs; now += stepMs) {
    while (limit.take(now)) count++;
  }
  return count;
}

Deno.test("RateLimit lets through its rate and its burst, however often one looks", () => {
  for (const stepMs of [0.3, 1, 7, 10]) {
    const limit = new RateLimit({ perSecond: 1000, burst: 20 }, 0);
    const count = starts(limit, 0, 10_000, stepMs);
    assert.ok(count >= 9_990 && count <= 10_020, `${count} every ${stepMs} ms`);
  }
});

Deno.test("RateLimit lets no more through in any window than the rate and the burst", () => {
  const limit = new RateLimit({ perSecond: 10, burst: 5 }, 0);
  const times: number[] = [];
  for (let now = 0; now < 60_000; now += 13) {
    // It is not asked for a while now and then, and so full again.
    if (now % 5000 > 3000) continue;
    while (limit.take(now)) times.push(now);
  }
  for (const [i, first] of times.entries()) {
    const inWindow = times.slice(i).filter((time) => time < first + 1000).length;
    assert.ok(inWindow <= 15, `${inWindow} in the second after ${first}`);
  }
});

Deno.test("RateLimit says how long to wait, to the millisecond", () => {
  const limit = new RateLimit({ perSecond: 0.1, burst: 1 }, 1000);
  assert.equal(limit.waitMs(1000), 0);
  assert.equal(limit.take(1000), true);
  assert.equal(limit.waitMs(1000), 10_000);
  assert.equal(limit.waitMs(4000), 7000);
  assert.equal(limit.take(10_999), false);
  assert.equal(limit.waitMs(10_999), 1);
  assert.equal(limit.take(11_000), true);
});

Deno.test("RateLimit is neither stuck nor open when the clock is set", () => {
  const limit = new RateLimit({ perSecond: 1, burst: 2 }, 10_000_000);
  assert.equal(starts(limit, 10_000_000, 1, 1), 2);
  // An hour back: nothing is filled by that, and after a second there is one.
  assert.equal(limit.take(6_400_000), false);
  assert.equal(limit.waitMs(6_400_000), 1000);
  assert.equal(limit.take(6_401_000), true);
  // An hour forth: the burst, once.
  assert.equal(starts(limit, 10_001_000, 1, 1), 2);
});

Deno.test("RateLimit gives back what did not start, and applies another rule", () => {
  const limit = new RateLimit({ perSecond: 1, burst: 1 }, 0);
  assert.equal(limit.take(0), true);
  limit.giveBack();
  limit.giveBack();
  assert.equal(starts(limit, 0, 1, 1), 1);
  limit.configure({ perSecond: 100, burst: 10 }, 0);
  assert.equal(limit.waitMs(0), 10);
  limit.configure({ perSecond: 0, burst: 0 }, 5);
  assert.equal(limit.available(5), Infinity);
  assert.equal(limit.take(5), true);
  limit.configure({ perSecond: 1, burst: 3 }, 6);
  assert.equal(starts(limit, 6, 1, 1), 3);
});
