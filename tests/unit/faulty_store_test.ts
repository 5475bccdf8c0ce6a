/** What every store has to do, done by one that fails, delays and repeats, with users that know how to live with it. */

import { DrivenClock } from "../rig/driven_clock.ts";
import { FaultyRig } from "../rig/faulty_store.ts";
import { Folder } from "../rig/folder.ts";
import { SqliteRig } from "../rig/sqlite_rig.ts";
import { testStore } from "../rig/store_suite.ts";

/** The faults of each case follow from it. */
const SEED = 101;

testStore(`a faulty store (seed ${SEED})`, () => {
  const clock = new DrivenClock();
  return new FaultyRig(new SqliteRig(new Folder(), clock), clock, SEED);
}, ({ isExact }) => isExact !== true);
