import assert from "node:assert/strict";
import { FreshJobs } from "../../store/fresh_jobs.ts";
import type { JobRow } from "../../store/sqlite_row.ts";

const MIB = 1024 ** 2;

function row(seq: number): JobRow {
  return { seq } as JobRow;
}

Deno.test("FreshJobs gives what it keeps once", () => {
  const fresh = new FreshJobs();
  const body = { bytes: new Uint8Array([1, 2]) };
  fresh.add(row(1), body);
  assert.equal(fresh.take(1)?.body, body);
  assert.equal(fresh.take(1), undefined);
});

Deno.test("FreshJobs counts the memory that bodies share, once for all of them", () => {
  const fresh = new FreshJobs();
  const memory = new Uint8Array(3 * MIB);
  for (let seq = 1; seq <= 100; seq++) {
    fresh.add(row(seq), { bytes: memory.subarray(seq, seq + 10) });
  }
  for (let seq = 1; seq <= 100; seq++) assert.notEqual(fresh.take(seq), undefined);
  // All of it is free again.
  fresh.add(row(101), { bytes: new Uint8Array(4 * MIB).subarray(0, 10) });
  assert.notEqual(fresh.take(101), undefined);
});

Deno.test("FreshJobs keeps no more memory than it may, however little of it bodies have", () => {
  const fresh = new FreshJobs();
  let kept = 0;
  for (let seq = 1; seq <= 100; seq++) {
    fresh.add(row(seq), { bytes: new Uint8Array(MIB).subarray(0, 10) });
  }
  for (let seq = 1; seq <= 100; seq++) if (fresh.take(seq) !== undefined) kept++;
  assert.ok(kept > 0 && kept <= 4, `${kept} MiB are kept`);
  fresh.add(row(1), { bytes: new Uint8Array(5 * MIB).subarray(0, 10) });
  assert.equal(fresh.take(1), undefined);
});
