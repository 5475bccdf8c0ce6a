import { strict as assert } from "node:assert";
import { JobTable } from "../../broker/job_table.ts";
import { type Links, noLinks } from "../../broker/list.ts";
import { NumberTable } from "../../broker/number_table.ts";
import { randomNumbers } from "../rig/random.ts";

Deno.test("NumberTable has nothing when it is new, was cleared, or all was taken out", () => {
  const table = new NumberTable<string>();
  const isEmpty = () =>
    table.size === 0 && table.get(0) === undefined && table.take(0) === undefined;
  assert(isEmpty());
  table.set(0, "a");
  assert.deepEqual([table.size, table.get(0), table.get(1)], [1, "a", undefined]);
  assert.equal(table.take(0), "a");
  assert(isEmpty());
  table.set(0, "b");
  table.clear();
  assert(isEmpty());
});

Deno.test("NumberTable keeps one item for a key, the last", () => {
  const table = new NumberTable<string>();
  table.set(7, "a");
  table.set(7, "b");
  assert.deepEqual([table.size, table.get(7)], [1, "b"]);
});

Deno.test("NumberTable tells numbers apart whose low 32 bits are the same", () => {
  const table = new NumberTable<number>();
  const keys = [5, 5 + 2 ** 32, 5 + 2 ** 33, Number.MAX_SAFE_INTEGER];
  for (const key of keys) table.set(key, key);
  assert.deepEqual(keys.map((key) => table.get(key)), keys);
  assert.equal(table.take(5 + 2 ** 32), 5 + 2 ** 32);
  assert.deepEqual(keys.map((key) => table.get(key)), keys.with(1, undefined!));
});

/** Keys as they come: counting up, all over the place, and such as a multiplication mod 2^32 could bring together. */
const KEYS: Record<string, (random: (below: number) => number, step: number) => number> = {
  "count up": (_, step) => step,
  "are few": (random) => random(40),
  "are large": (random) => random(2 ** 30) * 2 ** 20 + random(8),
  "differ in their high bits": (random) => random(64) * 2 ** 26,
};

for (const [name, next] of Object.entries(KEYS)) {
  Deno.test(`NumberTable agrees with a Map when keys ${name}`, () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = randomNumbers(seed * 99_991);
      const table = new NumberTable<number>();
      const model = new Map<number, number>();
      const size = 1 + random(600);
      for (let step = 0; step < 2000; step++) {
        const key = next(random, step);
        if (model.size < size) {
          table.set(key, step);
          model.set(key, step);
        }
        const keys = [...model.keys()];
        const gone = random(3) === 0 ? key : keys[random(keys.length)] ?? key;
        if (model.size >= size || random(3) === 0) {
          assert.equal(table.take(gone), model.get(gone), `Seed ${seed}`);
          model.delete(gone);
        }
        assert.equal(table.size, model.size);
      }
      for (const [key, value] of model) assert.equal(table.get(key), value, `Seed ${seed}`);
      for (const [key, value] of model) assert.equal(table.take(key), value);
      assert.equal(table.size, 0);
    }
  });
}

interface Bead {
  id: number;
  links: Links<Bead>;
}

function bead(id: number): Bead {
  return { id, links: noLinks<Bead>() };
}

Deno.test("JobTable gives jobs by number, and in the order in which they came", () => {
  const table = new JobTable<Bead>();
  const beads = [9, 3, 7, 1].map(bead);
  for (const one of beads) table.set(one.id, one);
  assert.deepEqual([table.size, table.first?.id, table.get(7)], [4, 9, beads[2]]);
  assert(table.delete(9));
  assert(!table.delete(9));
  assert.deepEqual([...table.values()].map(({ id }) => id), [3, 7, 1]);
  assert.deepEqual(beads[0]?.links, noLinks());
});

Deno.test("JobTable lets jobs go while they are walked through, and all at once", () => {
  const table = new JobTable<Bead>();
  const beads = [1, 2, 3].map(bead);
  for (const one of beads) table.set(one.id, one);
  for (const { id } of table.values()) if (id < 3) table.delete(id);
  assert.deepEqual([...table.values()], beads.slice(2));
  table.clear();
  assert.deepEqual([table.size, table.first, table.get(3)], [0, undefined, undefined]);
  // Free for another list.
  assert.deepEqual(beads.map(({ links }) => links), beads.map(() => noLinks()));
});
