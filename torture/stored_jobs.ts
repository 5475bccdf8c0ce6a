/**
 * Scenarios about stored jobs: what was acknowledged must be done, whatever happens to processes, disks and clocks.
 *
 * @module
 */

import { isThere } from "../bench/daemon.ts";
import { clockScenario } from "./clock_steps.ts";
import { backupScenario } from "./job_backups.ts";
import { endScenarios } from "./job_kills.ts";
import { noiseScenario } from "./job_noise.ts";
import { rulesScenario } from "./job_rules.ts";
import { runInside } from "./namespace.ts";
import { type Scenario, skipped } from "./scenario.ts";

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
    id: "R35",
    title: "the disk of the store is full in the middle, and has room again",
    figure: "507 with the reason, requests go on, submits go on with room; no job is lost",
    run: (scale) => runInside("full_disk.ts", scale, {}),
  },
  clockScenario,
  {
    id: "R37",
    title: "three nodes on three servers of NATS, each killed, paused and cut off in turn",
    figure: "no acknowledged job is lost, each has one result; runs again are counted",
    run: async (scale) =>
      await isThere("nats-server", "--version")
        ? await runInside("jetstream.ts", scale, { network: true })
        : skipped("there is no nats-server"),
  },
  noiseScenario,
  rulesScenario,
  backupScenario,
  {
    id: "R42",
    title:
      "two machines that have joined are killed and held up, their links go down, packets are lost",
    figure: "each request answered once, each acknowledged job done once; no worker left over",
    run: (scale) => runInside("joined_pools.ts", scale, { network: true, loss: true }),
  },
];
