/**
 * Scenarios that are gone through with each transport.
 *
 * @module
 */

import { type Transport, TRANSPORTS } from "../tests/rig/transports.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

/** Goes through the same with each transport, one after the other. */
export function onEachTransport(
  run: (scale: Scale, transport: Transport) => Promise<Outcome>,
): Scenario["run"] {
  return async (scale) => {
    const outcomes: Outcome[] = [];
    for (const transport of TRANSPORTS) {
      const outcome = await run(scale, transport);
      if (outcome.skipped !== undefined) return outcome;
      const { reached, measured } = outcome;
      outcomes.push({ reached, measured: `${transport.name}: ${measured}` });
    }
    return {
      reached: outcomes.every(({ reached }) => reached),
      measured: outcomes.map(({ measured }) => measured).join("; "),
    };
  };
}
