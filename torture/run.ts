/**
 * Goes through scenarios, one after the other, counts how they have ended and shows it. Not here: which there are.
 *
 * @module
 */

import type { Outcome, Scale, Scenario } from "./scenario.ts";

/** A scenario's outcome, and how long it took. */
export interface Result extends Outcome {
  scenario: Scenario;
  seconds: number;
}

/** How many scenarios have ended how. */
export interface Total {
  passed: number;
  failed: number;
  /** Could not be gone through here: nothing is claimed of them. */
  skipped: number;
}

/** How results are shown. */
export interface Reporter {
  started(scenario: Scenario): void;
  ended(result: Result): void;
  total(total: Total): void;
}

/** Longer than any scenario takes unless something hangs, ms. */
const FULL_LIMIT = 3_600_000;
const SMALL_LIMIT = 300_000;

/** A line for each scenario, and a last one that .ci/run adds up. */
export const asTable: Reporter = {
  started: ({ id, title }) => console.log(`${id}: ${title} …`),
  ended: (result) => {
    const { scenario: { id, title, figure }, measured, seconds } = result;
    console.log(row(id, title, figure, measured, markOf(result), `${seconds.toFixed(0)} s`));
  },
  total: ({ passed, failed, skipped }) =>
    console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`),
};

/** An object a line. */
export const asJson: Reporter = {
  started: () => {},
  ended: ({ scenario: { id, title, figure }, ...outcome }) =>
    console.log(JSON.stringify({ id, title, figure, ...outcome })),
  total: () => {},
};

/** Goes through all of them, whatever becomes of each. */
export async function goThroughAll(
  scenarios: readonly Scenario[],
  scale: Scale,
  reporter: Reporter,
): Promise<Total> {
  const total: Total = { passed: 0, failed: 0, skipped: 0 };
  for (const scenario of scenarios) {
    reporter.started(scenario);
    const result = await goThrough(scenario, scale);
    reporter.ended(result);
    total[endOf(result)]++;
  }
  reporter.total(total);
  return total;
}

async function goThrough(scenario: Scenario, scale: Scale): Promise<Result> {
  const started = performance.now();
  const { promise: late, reject } = Promise.withResolvers<never>();
  const limit = scale.full ? FULL_LIMIT : SMALL_LIMIT;
  const timer = setTimeout(() => reject(new Error(`It had not ended after ${limit} ms`)), limit);
  const outcome = await Promise.race([scenario.run(scale), late]).catch(failure);
  clearTimeout(timer);
  return { scenario, ...outcome, seconds: (performance.now() - started) / 1000 };
}

function failure(error: unknown): Outcome {
  const text = error instanceof Error ? error.message : String(error);
  return { reached: false, measured: text.replaceAll(/\s+/g, " ") };
}

function endOf({ reached, skipped }: Outcome): keyof Total {
  if (skipped !== undefined) return "skipped";
  return reached ? "passed" : "failed";
}

function markOf(outcome: Outcome): string {
  return { passed: "reached", failed: "NOT", skipped: "skipped" }[endOf(outcome)];
}

function row(...cells: string[]): string {
  return `| ${cells.join(" | ")} |`;
}
