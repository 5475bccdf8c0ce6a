/**
 * What every store of jobs has to do, as one list of cases: they are run against SQLite with a driven clock, against
 * NATS, and against SQLite behind a store that fails, delays and repeats (faulty_store.ts).
 */

import { LIFE_CASES } from "./store_cases_life.ts";
import { OPERATOR_CASES } from "./store_cases_operator.ts";
import { ORDER_CASES } from "./store_cases_order.ts";
import type { StoreRig } from "./store_world.ts";

/** One case. */
export interface StoreCase {
  name: string;
  /** It needs hours, and so a clock that is driven. */
  isLong?: boolean;
  /** It counts what a store does at once, which one that fails and delays can't. */
  isExact?: boolean;
  run(rig: StoreRig): Promise<void>;
}

/** All cases. */
export const STORE_CASES: readonly StoreCase[] = [
  ...LIFE_CASES,
  ...ORDER_CASES,
  ...OPERATOR_CASES,
];

/** Makes a test of each case, with a rig of its own. */
export function testStore(
  name: string,
  makeRig: () => StoreRig | Promise<StoreRig>,
  choose: (each: StoreCase) => boolean = () => true,
): void {
  for (const each of STORE_CASES.filter(choose)) {
    Deno.test(`${name}: ${each.name}`, async () => {
      const rig = await makeRig();
      try {
        await each.run(rig);
      } finally {
        await rig.dispose();
      }
    });
  }
}
