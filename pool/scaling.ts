/**
 * How many workers a pool should have, and which of them it needs least. Functions of what is there now;
 * when they are asked is decided in supervisor.ts and culling.ts.
 *
 * @module
 */

import type { Settings } from "../options/settings.ts";
import type { Load, Slot, SlotLimits } from "./slot.ts";

/** How many workers there may be, and how many of them idle. */
export type SizeLimits = Pick<
  Settings,
  "minWorkers" | "maxWorkers" | "minSpareWorkers" | "maxSpareWorkers"
>;

/** Maximum processes for each of `maxWorkers`: those that leave count until they have ended. */
const PROCESSES_EACH = 2;

/**
 * Checks how many workers there are to be: one at least, or none where all are on other machines.
 *
 * @throws {RangeError} when either is not an integer >= 1 and not both are 0, or min is above max.
 */
export function checkSize({ minWorkers, maxWorkers }: SizeLimits): void {
  if (minWorkers === 0 && maxWorkers === 0) return;
  for (const [name, value] of Object.entries({ minWorkers, maxWorkers })) {
    if (Number.isInteger(value) && value >= 1) continue;
    throw new RangeError(
      `Cannot size the pool: "${name}" must be an integer >= 1: current value is ${value}`,
    );
  }
  if (minWorkers <= maxWorkers) return;
  throw new RangeError(
    `Cannot size the pool: "maxWorkers" must be >= "minWorkers" (${minWorkers}): ` +
      `current value is ${maxWorkers}`,
  );
}

/** How many more members are needed; negative: there are more than that. */
export function countMissing(members: readonly Slot[], load: Load, limits: SizeLimits): number {
  const { minWorkers, maxWorkers, minSpareWorkers } = limits;
  // Workers that are starting will be idle.
  const spares = members.filter((it) => it.state === "starting" || it.isIdle(load)).length;
  const missingSpares = minSpareWorkers - spares;
  return Math.max(
    minWorkers - members.length,
    Math.min(missingSpares, maxWorkers - members.length),
  );
}

/** Members above `maxWorkers`, the least useful ones. */
export function aboveMax(members: readonly Slot[], load: Load, limits: SizeLimits): Slot[] {
  const excess = Math.max(0, members.length - limits.maxWorkers);
  return leastUseful(members, load, excess);
}

/**
 * Idle members that need not be there: those above `maxSpareWorkers`, or all when the pool is `quiet`; but
 * never so many that others would be started in their place.
 */
export function unneeded(
  members: readonly Slot[],
  load: Load,
  limits: SizeLimits,
  isQuiet: boolean,
): Slot[] {
  const { minWorkers, minSpareWorkers, maxSpareWorkers } = limits;
  const ready = members.filter(({ state }) => state === "ready");
  const idle = ready.filter((it) => it.isIdle(load));
  const floor = Math.max(minWorkers, ready.length - idle.length + minSpareWorkers);
  const excess = isQuiet ? idle.length : idle.length - maxSpareWorkers;
  return leastUseful(idle, load, Math.max(0, Math.min(excess, ready.length - floor)));
}

/** The least useful first: starting, idle for long, busy; of two alike the newest. */
function leastUseful(slots: readonly Slot[], load: Load, count: number): Slot[] {
  const rank = ({ state, worker }: Slot) =>
    state === "starting" ? -1 : load.idleSince(worker) ?? Number.MAX_VALUE;
  return [...slots].sort((a, b) => rank(a) - rank(b) || b.worker - a.worker).slice(0, count);
}

/** Processes that may yet be started: each of `processes` counts until it has ended. */
export function roomFor(processes: readonly Slot[], { maxWorkers }: SizeLimits): number {
  return Math.max(0, PROCESSES_EACH * maxWorkers - processes.length);
}

/**
 * Which of the leaving `processes` are to be killed so that `count` others can be started: those that take
 * too long, or any when no worker serves. Those that were killed before make room soon.
 */
export function inTheWay(
  processes: readonly Slot[],
  count: number,
  load: Load,
  limits: SlotLimits,
  now: number,
): Slot[] {
  const leaving = processes.filter(({ isLeaving }) => isLeaving);
  const noneServes = leaving.length === processes.length;
  const dying = leaving.filter(({ state }) => state === "killed").length;
  return leaving
    .filter(({ state }) => state !== "killed")
    .filter((slot) => noneServes || slot.isInTheWay(load, limits, now))
    .sort((a, b) => a.compareDeparture(b))
    .slice(0, Math.max(0, count - dying));
}
