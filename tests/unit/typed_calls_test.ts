/** What the compiler says of typed calls. */

import { strict as assert } from "node:assert";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";

const SOURCE = Deno.readTextFileSync(path("tests/unit/typed_calls.ts"));
const EXPECTATION = /^ *\/\/ @ts-expect-error: .*\n/gm;

/** Checks programs as if they stood beside typed_calls.ts; returns the lines of their errors, by program. */
async function check(
  sources: Record<string, string>,
): Promise<{ said: string; lines: number[][] }> {
  using folder = new Folder();
  const here = new URL("tests/unit/", ROOT);
  const files = Object.entries(sources).map(([name, source]) =>
    folder.write(
      name,
      source.replaceAll(/(?<=from |import\()"(\.[^"]+)"/g, (_, target) => {
        return `"${new URL(target, here).href}"`;
      }),
    )
  );
  const args = ["check", "--quiet", "--config", path("deno.json"), ...files];
  const { stderr } = await run(Deno.execPath(), args, { env: { NO_COLOR: "1" } });
  const lines = Object.keys(sources).map((name) =>
    [...stderr.matchAll(new RegExp(`/${name}:(\\d+):\\d+$`, "gm"))].map(([, line]) => Number(line))
  );
  return { said: stderr, lines };
}

Deno.test("the compiler accepts right calls, refuses each wrong one, and finds idle expectations", async () => {
  const expectations = SOURCE.match(EXPECTATION) ?? [];
  assert(expectations.length > 20);
  const right = "  await api.sum();\n";
  const idle = SOURCE.replace(right, `  // @ts-expect-error: it is right\n${right}`);
  const { said, lines: [asIs = [], bare = [], unused = []] } = await check({
    "as_is.ts": SOURCE,
    "bare.ts": SOURCE.replaceAll(EXPECTATION, ""),
    "idle.ts": idle,
  });
  assert.deepEqual(asIs, [], said);
  assert.equal(new Set(bare).size, expectations.length, said);
  const wrong = lineOf(SOURCE, "export async function wrong");
  assert(bare.every((line) => line > wrong), said);
  assert.deepEqual(unused, [lineOf(idle, "// @ts-expect-error: it is right")], said);
  assert.match(said, /Unused '@ts-expect-error' directive/);
});

function lineOf(source: string, part: string): number {
  return source.slice(0, source.indexOf(part)).split("\n").length;
}
