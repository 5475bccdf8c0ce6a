/**
 * Random event sequences for the state machines, compared with plain models. On failure fast-check
 * prints a seed and a path, which as parameters of `fc.assert` bring the shortest sequence back.
 * torture/models.ts goes through many more.
 *
 * @module
 */

import fc from "fast-check";
import { brokerLimits, brokerSteps, checkBroker } from "./broker_model.ts";
import { checkMdp, mdpSteps } from "./mdp_model.ts";
import { checkServices, serviceSteps } from "./services_model.ts";
import { checkStore, storeSteps } from "./store_model.ts";
import { checkSupervisor, poolLimits, poolSteps } from "./supervisor_model.ts";

const numRuns = 500;

Deno.test("Broker does what its model says when events come in any order", () => {
  fc.assert(fc.property(brokerLimits, brokerSteps(150), checkBroker), { numRuns });
});

Deno.test("Services answer what each of them is asked when events come in any order", () => {
  fc.assert(fc.property(serviceSteps(150), checkServices), { numRuns });
});

Deno.test("Services answer nobody who has left in the turn of the answer", () => {
  checkServices([["ask", 0, 0], ["cancel", 0, 0], ["leave", 0, 0]]);
});

Deno.test("Majordomo's requests have one answer each when its workers do anything", () => {
  fc.assert(fc.property(mdpSteps(150), checkMdp), { numRuns: 150 });
  checkMdp([["ask", 0, 0], ["ready", 1, 1], ["crowd", 0, 0], ["ask", 1, 1]]);
});

Deno.test("Majordomo's worker is given up that a suspect is meant for and of which nothing is heard", () => {
  const lost = [["ready", 0, 0], ["ready", 0, 0], ["advance", 0, 203], ["ask", 0, 0]] as const;
  checkMdp([...lost, ["vanish", 3, 0], ["advance", 0, 200]]);
});

Deno.test("Supervisor keeps its rules when events come in any order", () => {
  const cpus = fc.constantFrom(1, 2, 8);
  fc.assert(fc.property(poolLimits, cpus, poolSteps(150), checkSupervisor), { numRuns });
});

Deno.test("a store of jobs does what its model says when events come in any order", async () => {
  await fc.assert(fc.asyncProperty(storeSteps(60), checkStore), { numRuns: 10 });
  // A job that was started in time, and whose time is over: cut off by the store's end, and given back.
  await checkStore([["submit", 0, 14], ["room", 1, 0], ["pass", 400, 0], ["reopen", 0, 0]]);
  await checkStore([["submit", 0, 14], ["room", 1, 0], ["pass", 400, 0], ["giveBack", 0, 0]]);
  const long = [["submit", 0, 14], ["room", 1, 0], ["pass", 250, 0]] as const;
  await checkStore([...long, ["reopen", 0, 0], ["pass", 250, 0]]);
  const longer = [["submit", 0, 7], ["room", 1, 0], ["pass", 1000, 0], ["pass", 200, 0]] as const;
  await checkStore([...longer, ["reopen", 0, 0], ["pass", 500, 0]]);
  const again = [["reopen", 0, 0], ["room", 1, 0], ["giveBack", 0, 0], ["pass", 500, 0]] as const;
  await checkStore([...longer, ...again]);
});
