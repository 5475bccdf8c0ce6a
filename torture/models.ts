/**
 * Events in any order for the state machines, many more than the ordinary tests go through.
 *
 * @module
 */

import fc from "fast-check";
import { brokerLimits, brokerSteps, checkBroker } from "../tests/models/broker_model.ts";
import { checkMdp, mdpSteps } from "../tests/models/mdp_model.ts";
import { checkServices, serviceSteps } from "../tests/models/services_model.ts";
import { checkSupervisor, poolLimits, poolSteps } from "../tests/models/supervisor_model.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const SEQUENCES = 10_000;
const LENGTH = 300;

/** Events in any order. */
export const scenarios: Scenario[] = [{
  id: "R20",
  title: "10,000 random event sequences each for broker, services and pool, 1,000 for Majordomo",
  figure: "0 differences from their models",
  run,
}];

function run(scale: Scale): Promise<Outcome> {
  const numRuns = scale.of(SEQUENCES);
  const cpus = fc.constantFrom(1, 2, 8);
  const reports = [
    report(
      "broker",
      fc.check(fc.property(brokerLimits, brokerSteps(LENGTH), checkBroker), { numRuns }),
    ),
    report(
      "services",
      fc.check(fc.property(serviceSteps(LENGTH), checkServices), { numRuns }),
    ),
    report(
      "Majordomo",
      fc.check(fc.property(mdpSteps(LENGTH), checkMdp), { numRuns: Math.ceil(numRuns / 10) }),
    ),
    report(
      "pool",
      fc.check(fc.property(poolLimits, cpus, poolSteps(LENGTH), checkSupervisor), { numRuns }),
    ),
  ];
  const reached = reports.every(({ failed }) => !failed);
  return Promise.resolve({ reached, measured: reports.map(({ text }) => text).join("; ") });
}

/** What came of one machine; the seed and the path bring the shortest failing sequence back. */
function report<T>(machine: string, details: fc.RunDetails<T>): { failed: boolean; text: string } {
  const { failed, numRuns, seed, counterexamplePath: path, counterexample } = details;
  const found = `differs: seed ${seed}, path "${path}", ${JSON.stringify(counterexample)}`;
  const reason = failed && details.errorInstance instanceof Error
    ? `: ${details.errorInstance.message.replaceAll(/\s+/g, " ")}`
    : "";
  const text = failed ? `${machine} ${found}${reason}` : `${machine}: ${numRuns} sequences`;
  return { failed, text };
}
