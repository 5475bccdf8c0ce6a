/**
 * Scenarios about stored jobs: what was acknowledged must be done, whatever happens to processes, disks and clocks.
 *
 * @module
 */

import { isThere } from "../bench/daemon.ts";
import { endScenarios } from "./job_kills.ts";
import { runInside, skipped } from "./namespace.ts";
import type { Scenario } from "./scenario.ts";

/** Stored jobs. */
export const scenarios: Scenario[] = [
  {
    id: "R33",
    title: "25 power cuts under load of submits and runs: what the disk has goes on",
    figure: "every acknowledged job is done, none lost, each has one result; the file is sound",
    run: (scale) => runInside("power_cut.ts", scale, { loop: true }),
  },
  ...endScenarios,
  {
    id: "R37",
    title: "three nodes on three servers of NATS, each killed, paused and cut off in turn",
    figure: "no acknowledged job is lost, each has one result; runs again are counted",
    run: async (scale) =>
      await isThere("nats-server", "--version")
        ? await runInside("jetstream.ts", scale, { network: true })
        : skipped("there is no nats-server"),
  },
];
