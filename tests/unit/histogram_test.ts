import { strict as assert } from "node:assert";
import {
  BUCKET_BOUNDS,
  buckets,
  CELL_BOUNDS,
  countOf,
  difference,
  Histogram,
  noSpread,
  quantile,
  together,
} from "../../broker/histogram.ts";
import { randomNumbers } from "../rig/random.ts";

const LAST = 2 ** 26;

function spreadOf(...times: number[]) {
  const histogram = new Histogram();
  for (const time of times) histogram.add(time);
  return histogram.read();
}

/** Times of all sizes from 0 to beyond the last bound, those next to bounds among them. */
function* times(): Generator<number> {
  for (const bound of CELL_BOUNDS) yield* [bound - 1, bound - 0.25, bound, bound + 0.25, bound + 1];
  const random = randomNumbers(1);
  for (let step = 0; step < 5000; step++) yield 10 ** (random(9000) / 1000) - 1;
  yield* [0, 0.5, 1, 2, 3, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 33, 1e15, Infinity];
}

Deno.test("CELL_BOUNDS go up by a quarter of a power of two, BUCKET_BOUNDS by one", () => {
  const quarters = CELL_BOUNDS.slice(0, 6);
  assert.deepEqual(quarters, [16, 20, 24, 28, 32, 40]);
  assert.deepEqual([CELL_BOUNDS.length, CELL_BOUNDS.at(-1)], [89, LAST]);
  assert.deepEqual(BUCKET_BOUNDS, Array.from({ length: 23 }, (_, index) => 2 ** (4 + index)));
});

Deno.test("Histogram counts a time in the first cell whose bound is not below it", () => {
  for (const time of times()) {
    const expected = noSpread();
    const found = CELL_BOUNDS.findIndex((bound) => time <= bound);
    expected.counts[found < 0 ? CELL_BOUNDS.length : found] = 1;
    expected.sum = time;
    assert.deepEqual(spreadOf(time), expected, `${time}`);
  }
});

Deno.test("Histogram counts what is less than 0, or no number, as 0", () => {
  const spread = spreadOf(-1, NaN, -Infinity);
  assert.deepEqual([spread.counts[0], countOf(spread), spread.sum], [3, 3, 0]);
});

Deno.test("Histogram gives a copy when it is read", () => {
  const histogram = new Histogram();
  const before = histogram.read();
  histogram.add(1);
  assert.deepEqual(before, noSpread());
  assert.equal(histogram.quantile(1), 16);
});

Deno.test("quantile is within the cell of the true one for times of all sizes", () => {
  const sorted = [...times()].filter((time) => time <= LAST).sort((one, other) => one - other);
  const spread = spreadOf(...sorted);
  for (const share of [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]) {
    const exact = sorted[Math.ceil(share * sorted.length) - 1] ?? NaN;
    const cell = CELL_BOUNDS.findIndex((bound) => exact <= bound);
    const found = quantile(spread, share) ?? NaN;
    const [lower = 0, upper = 0] = [CELL_BOUNDS[cell - 1], CELL_BOUNDS[cell]];
    assert(found >= lower && found <= upper, `${share}: ${found}`);
  }
});

Deno.test("quantile spreads the times of a cell evenly over it, and skips empty cells", () => {
  const even = spreadOf(17, 17, 17, 17);
  assert.deepEqual([0, 0.5, 1].map((share) => quantile(even, share)), [16, 18, 20]);
  const apart = spreadOf(5, 1024);
  assert.deepEqual([0, 0.5, 1].map((share) => quantile(apart, share)), [0, 16, 1024]);
});

Deno.test("quantile is undefined of nothing, and the last bound beyond it", () => {
  assert.equal(quantile(noSpread(), 0.5), undefined);
  assert.equal(quantile(spreadOf(1, 1e9, 1e9), 0.9), LAST);
});

Deno.test("difference has what came between two reads, and all where it was begun again", () => {
  const histogram = new Histogram();
  histogram.add(20);
  const before = histogram.read();
  histogram.add(20);
  histogram.add(3000);
  const after = histogram.read();
  assert.deepEqual(difference(after, before), spreadOf(20, 3000));
  assert.deepEqual(difference(spreadOf(7), after), spreadOf(7));
});

Deno.test("together has the times of both", () => {
  assert.deepEqual(together(spreadOf(1, 20), spreadOf(20, 1e9)), spreadOf(1, 20, 20, 1e9));
});

Deno.test("buckets counts up to each power of two, and all", () => {
  const { upTo, count } = buckets(spreadOf(16, 17, 32, 33, LAST, LAST + 1));
  assert.equal(count, 6);
  const expected = BUCKET_BOUNDS.map((bound) =>
    bound < 32 ? 1 : bound < 64 ? 3 : bound < LAST ? 4 : 5
  );
  assert.deepEqual(upTo, expected);
});
