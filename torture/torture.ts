/**
 * `deno task torture`: goes through scenarios, one after the other, and reports which figures were
 * reached.
 *
 * `--help` lists the options.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { scenarios as connections } from "./connections.ts";
import { scenarios as curve } from "./curve.ts";
import { scenarios as fds } from "./fds.ts";
import { scenarios as forgery } from "./forgery.ts";
import { scenarios as hoarders } from "./hoarders.ts";
import { scenarios as kills } from "./kills.ts";
import { scenarios as logs } from "./logs.ts";
import { scenarios as majordomo } from "./majordomo.ts";
import { scenarios as models } from "./models.ts";
import { scenarios as noise } from "./noise.ts";
import { scenarios as operators } from "./operators.ts";
import { scenarios as overload } from "./overload.ts";
import { scenarios as parts } from "./parts.ts";
import { scenarios as reloads } from "./reloads.ts";
import { scenarios as restarts } from "./restarts.ts";
import { scenarios as rogues } from "./rogues.ts";
import { asJson, asTable, goThroughAll } from "./run.ts";
import type { Scale, Scenario } from "./scenario.ts";
import { scenarios as services } from "./services.ts";
import { scenarios as siege } from "./siege.ts";
import { scenarios as signals } from "./signals.ts";
import { scenarios as soak } from "./soak.ts";
import { scenarios as squatters } from "./squatters.ts";
import { scenarios as starts } from "./starts.ts";
import { scenarios as stops } from "./stops.ts";
import { scenarios as storedJobs } from "./stored_jobs.ts";
import { scenarios as storms } from "./storms.ts";
import { scenarios as streams } from "./streams.ts";
import { scenarios as subscribers } from "./subscribers.ts";

const SCENARIOS: readonly Scenario[] = [
  ...connections,
  ...curve,
  ...fds,
  ...kills,
  ...forgery,
  ...hoarders,
  ...logs,
  ...majordomo,
  ...models,
  ...noise,
  ...operators,
  ...overload,
  ...parts,
  ...reloads,
  ...restarts,
  ...rogues,
  ...services,
  ...siege,
  ...signals,
  ...soak,
  ...squatters,
  ...starts,
  ...stops,
  ...storedJobs,
  ...storms,
  ...streams,
  ...subscribers,
].sort(byNumber);

/** The text of --help. */
function helpText(): string {
  const rows = [...SCENARIOS].sort(byNumber).map(({ id, title }) =>
    `  ${id.padEnd(5)}${shortened(title)}`
  );
  return `Go through what a server must survive, and report which figures were reached.

Usage: deno task torture [options] [scenario…]

Options:
  --small     run a tenth of each, with slack for machines that are busy with other things
  --json      print an object a line instead of a table
  -h, --help  show this help

Scenarios, all of them without names:
${rows.join("\n")}

A scenario that needs what is not there, such as root, is skipped.

Exit status: 0 all figures were reached that were measured, 1 one was not, 2 usage.`;
}

/** A title that fits a line. */
function shortened(title: string): string {
  return title.length > 90 ? `${title.slice(0, 89)}…` : title;
}

const Exit = { ok: 0, failed: 1, usage: 2 } as const;

function usage(message: string): never {
  console.error(`torture: ${message}`);
  Deno.exit(Exit.usage);
}

/** The scenarios of these ids, all without any; or what is wrong with an id. */
function choose(ids: readonly string[]): readonly Scenario[] | string {
  const known = SCENARIOS.map(({ id }) => id);
  const unknown = ids.find((id) => !known.includes(id));
  if (unknown !== undefined) {
    return `Unknown scenario "${unknown}": the scenarios are ${known.join(", ")}`;
  }
  return ids.length === 0 ? SCENARIOS : SCENARIOS.filter(({ id }) => ids.includes(id));
}

function scale(full: boolean): Scale {
  const of = (count: number) => full ? count : Math.max(1, Math.round(count / 10));
  return { full, of, slack: full ? 1 : 10 };
}

function byNumber(a: Scenario, b: Scenario): number {
  return Number(a.id.slice(1)) - Number(b.id.slice(1));
}

if (import.meta.main) {
  const unknown = (arg: string) =>
    !arg.startsWith("-") || usage(`Unknown option "${arg}": --help lists the options`);
  const flags = { boolean: ["small", "json", "help"], alias: { help: "h" }, unknown };
  const { small, json, help, _: ids } = parseArgs(Deno.args, flags);
  if (help === true) {
    console.log(helpText());
    Deno.exit(Exit.ok);
  }
  const chosen = choose(ids.map(String));
  if (typeof chosen === "string") usage(chosen);
  const reporter = json === true ? asJson : asTable;
  const { failed } = await goThroughAll(chosen, scale(small !== true), reporter);
  Deno.exit(failed === 0 ? Exit.ok : Exit.failed);
}
