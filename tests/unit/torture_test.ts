/** How torture counts: what could not be gone through has neither passed nor failed. */

import { strict as assert } from "node:assert";
import { onEachTransport } from "../../torture/each_transport.ts";
import { asJson, asTable, goThroughAll, type Reporter } from "../../torture/run.ts";
import { type Outcome, type Scenario, skipped } from "../../torture/scenario.ts";
import { path } from "../rig/checkout.ts";

const SCALE = { full: true, of: (count: number) => count, slack: 1 };

function scenario(id: string, run: () => Promise<Outcome>): Scenario {
  return { id, title: `title of ${id}`, figure: "none lost", run };
}

const ALL = [
  scenario("R1", () => Promise.resolve({ reached: true, measured: "0 lost" })),
  scenario("R2", () => Promise.resolve({ reached: false, measured: "3 lost" })),
  scenario("R3", () => Promise.reject(new Error("no\n luck"))),
  scenario("R4", () => Promise.resolve(skipped("this needs root"))),
  scenario(
    "R5",
    onEachTransport(() => Promise.resolve(skipped("there is no nats-server")))
      .bind(undefined, SCALE),
  ),
];

/** What a reporter prints. */
async function printed(reporter: Reporter, scenarios = ALL) {
  const { log } = console;
  const lines: string[] = [];
  console.log = (line: string) => void lines.push(line);
  try {
    return { total: await goThroughAll(scenarios, SCALE, reporter), lines };
  } finally {
    console.log = log;
  }
}

Deno.test("torture counts what is skipped apart from what has passed, and prints why", async () => {
  const { total, lines } = await printed(asTable);
  assert.deepEqual(total, { passed: 1, failed: 2, skipped: 2 });
  assert.deepEqual(lines.filter((line) => line.startsWith("|")), [
    "| R1 | title of R1 | none lost | 0 lost | reached | 0 s |",
    "| R2 | title of R2 | none lost | 3 lost | NOT | 0 s |",
    "| R3 | title of R3 | none lost | no luck | NOT | 0 s |",
    "| R4 | title of R4 | none lost | nothing was measured: this needs root | skipped | 0 s |",
    "| R5 | title of R5 | none lost | nothing was measured: there is no nats-server | skipped | 0 s |",
  ]);
  assert.equal(lines.at(-1), "1 passed, 2 failed, 2 skipped");
});

Deno.test("torture says in JSON what is skipped", async () => {
  const { lines } = await printed(asJson, ALL.slice(3, 4));
  const { seconds: _, ...outcome } = JSON.parse(lines[0] ?? "");
  assert.deepEqual(outcome, {
    ...{ id: "R4", title: "title of R4", figure: "none lost" },
    ...{ reached: false, skipped: "this needs root" },
    measured: "nothing was measured: this needs root",
  });
});

Deno.test("the gate reads how many scenarios have passed and failed from the last line", async () => {
  const gate = Deno.readTextFileSync(path(".ci/run"));
  const find = /grep -E '(.*)' "\$tools\/log"/.exec(gate)?.[1] ?? assert.fail();
  const counts = [...gate.matchAll(/sed -nE 's\/(.*)\/\\1\/p'/g)].map(([, pattern = ""]) =>
    pattern
  );
  assert.equal(counts.length, 2);
  const { lines } = await printed(asTable);
  const found = lines.filter((line) => new RegExp(find).test(line));
  assert.deepEqual(found, ["1 passed, 2 failed, 2 skipped"]);
  const read = counts.map((pattern) => new RegExp(pattern).exec(found[0] ?? "")?.[1]);
  assert.deepEqual(read, ["1", "2"]);
});
