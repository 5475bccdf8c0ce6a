/** What every store has to do, done by the one that keeps jobs in a file of SQLite; the clock is driven. */

import { DrivenClock } from "../rig/driven_clock.ts";
import { Folder } from "../rig/folder.ts";
import { testStore } from "../rig/store_suite.ts";
import { SqliteRig } from "../rig/sqlite_rig.ts";

testStore("SQLite", () => new SqliteRig(new Folder(), new DrivenClock()));
