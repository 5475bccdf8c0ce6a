/** What every store has to do, done by one that fails, delays and repeats, with users that know how to live with it. */

import { DrivenClock } from "../rig/driven_clock.ts";
import { FaultyRig } from "../rig/faulty_store.ts";
import { Folder } from "../rig/folder.ts";
import { SqliteRig } from "../rig/sqlite_rig.ts";
import { testStore } from "../rig/store_suite.ts";

for (const seed of [101, 202]) {
  testStore(`a faulty store (seed ${seed})`, () => {
    const clock = new DrivenClock();
    return new FaultyRig(new SqliteRig(new Folder(), clock), clock, seed);
  }, ({ isExact }) => isExact !== true);
}
