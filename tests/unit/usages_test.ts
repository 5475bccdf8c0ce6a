import { strict as assert } from "node:assert";
import { Usages } from "../../system/usages.ts";

Deno.test("Usages reads a process once a second, and forgets one that nobody asks for", () => {
  const read: number[] = [];
  const usages = new Usages((pid) => {
    read.push(pid);
    return { residentBytes: read.length, cpuMs: undefined };
  });
  assert.equal(usages.of(7, 0).residentBytes, 1);
  assert.equal(usages.of(7, 999).residentBytes, 1);
  assert.equal(usages.of(8, 999).residentBytes, 2);
  assert.equal(usages.of(7, 1000).residentBytes, 3);
  assert.equal(usages.of(8, 20_000).residentBytes, 4);
  assert.deepEqual(read, [7, 8, 7, 8]);
});

Deno.test("Usages has the memory and the CPU time of a process that runs", () => {
  const { residentBytes = 0, cpuMs = 0 } = new Usages().of(Deno.pid, 0);
  assert(residentBytes > 10 * 1024 ** 2);
  assert(cpuMs > 0);
});

Deno.test("Usages has nothing of a process that is not there", () => {
  assert.deepEqual(new Usages().of(2 ** 22 + 1, 0), { residentBytes: undefined, cpuMs: undefined });
});
