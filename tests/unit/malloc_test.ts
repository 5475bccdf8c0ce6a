/** Freed memory: it is used again, and given back when that is asked for. */

import { strict as assert } from "node:assert";
import { run } from "../rig/commands.ts";
import { testLibc } from "../rig/descriptors.ts";

const MODULE = JSON.stringify(new URL("../../system/malloc.ts", import.meta.url).href);
const LIBRARY = JSON.stringify(testLibc().path);
const isGlibc = Deno.build.os === "linux" &&
  Deno.dlopen(testLibc().path, {
      mallopt: { parameters: ["i32", "i32"], result: "i32", optional: true },
    }).symbols.mallopt !== null;

/** What a process of its own prints: how malloc does is the whole process's matter. */
async function measure(setUp: string): Promise<{ faults: number; kept: number; left: number }> {
  const program = `
    import { reuseFreedMemory } from ${MODULE};
    const { symbols } = Deno.dlopen(${LIBRARY}, {
      malloc: { parameters: ["usize"], result: "usize" },
      memset: { parameters: ["usize", "i32", "usize"], result: "usize" },
      free: { parameters: ["usize"], result: "void" },
    });
    const MIB = 1024n ** 2n;
    const fill = () => {
      const at = symbols.malloc(MIB);
      symbols.memset(at, 1, MIB);
      return at;
    };
    const faults = () => Number(Deno.readTextFileSync("/proc/self/stat").split(") ")[1].split(" ")[7]);
    ${setUp}
    // As bodies are: some are kept while others come and go.
    const round = () => Array.from({ length: 16 }, fill).forEach((at) => symbols.free(at));
    for (let times = 0; times < 4; times++) round();
    const before = faults();
    for (let times = 0; times < 25; times++) round();
    const perBlock = (faults() - before) / (25 * 16);
    const start = Deno.memoryUsage().rss;
    const all = Array.from({ length: 48 }, fill);
    for (const at of all) symbols.free(at);
    const kept = Deno.memoryUsage().rss - start;
    memory.giveBack();
    const left = Deno.memoryUsage().rss - start;
    console.log(JSON.stringify({ faults: perBlock, kept, left }));`;
  const { stdout, stderr } = await run(Deno.execPath(), ["run", "-A", "--no-lock", "-"], {
    stdin: program,
    env: { NO_COLOR: "1" },
  });
  assert.match(stdout, /^{/, stderr);
  return JSON.parse(stdout);
}

Deno.test("reuseFreedMemory has freed memory used again, and it goes back when that is asked for", {
  ignore: !isGlibc,
}, async () => {
  const asEver = await measure("const memory = { giveBack() {} };");
  const reused = await measure(`const memory = reuseFreedMemory(${LIBRARY});`);
  // A block of 1 MiB has 256 pages.
  assert(asEver.faults > 50, `${asEver.faults} faults without it`);
  assert(reused.faults < 10, `${reused.faults} faults with it`);
  const MIB = 1024 ** 2;
  assert(reused.kept > 16 * MIB, `${reused.kept} bytes kept`);
  assert(reused.left < 4 * MIB, `${reused.left} bytes left`);
});
