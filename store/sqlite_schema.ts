/**
 * How jobs lie in the file: tables, indices, and how files of older versions become like that. Times are ms since
 * 1970.
 *
 * @module
 */

import type { DatabaseSync } from "node:sqlite";

/** Where a job is, as it lies in the file. One that runs is waiting there: what has not ended is owed. */
export const Stage = {
  scheduled: 0,
  waiting: 1,
  /** It waits for other jobs. */
  blocked: 2,
  done: 3,
  failed: 4,
  cancelled: 5,
  expired: 6,
} as const;

/** Parts of a job that lie in a table of their own, by bits of `parts`; `place` of one is 4 × seq + its number. */
export const Part = { body: 0, checkpoint: 1, result: 2 } as const;

/** "PFJB": tells our files from those of others. */
const APPLICATION_ID = 0x50464a42;

/** Each step makes a file of one version one of the next; the first makes an empty one version 1. */
export const STEPS: readonly string[] = [
  `
  CREATE TABLE service (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    isPaused INTEGER NOT NULL DEFAULT 0
  ) STRICT;

  CREATE TABLE job (
    seq INTEGER PRIMARY KEY,       -- the order of submissions
    id BLOB NOT NULL,              -- 128 bits
    service INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    user TEXT NOT NULL,
    grp TEXT NOT NULL,
    key TEXT,
    due INTEGER NOT NULL,          -- not run before; of one that waits: since when it may run
    expires INTEGER,               -- it must have been started by then
    created INTEGER NOT NULL,
    tries INTEGER NOT NULL,        -- tries that have ended
    deaths INTEGER NOT NULL,       -- runs that were cut off by the server's own end
    version INTEGER NOT NULL,
    bytes INTEGER NOT NULL,        -- of the body
    weight INTEGER NOT NULL,       -- bytes that count for storeBytes
    parts INTEGER NOT NULL,        -- bits: what lies in the table part
    rest TEXT,                     -- JSON: what differs from the defaults
    started INTEGER,
    ended INTEGER,
    forget INTEGER,                -- of one that has ended: when it is forgotten
    code INTEGER,
    message TEXT,
    resultSizes TEXT,
    result BLOB,
    body BLOB
  ) STRICT;
  -- By the first 48 bits of the id; the newest jobs may be missing (sqlite_ids.ts).
  CREATE TABLE idOf (head INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (head, seq))
    STRICT, WITHOUT ROWID;
  CREATE UNIQUE INDEX jobByKey ON job (service, user, key) WHERE key IS NOT NULL AND stage < 3;
  CREATE INDEX jobWaiting ON job (service, priority, user, grp, seq) WHERE stage = 1;
  CREATE INDEX jobScheduled ON job (due) WHERE stage = 0;
  CREATE INDEX jobExpiring ON job (expires) WHERE expires IS NOT NULL AND stage < 3;
  CREATE INDEX jobForgotten ON job (forget) WHERE stage >= 3;
  CREATE INDEX jobDead ON job (service, seq) WHERE stage >= 4;

  CREATE TABLE part (place INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;

  -- Who waits for whom.
  CREATE TABLE need (other INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (other, seq))
    STRICT, WITHOUT ROWID;
  CREATE INDEX needBySeq ON need (seq);

  -- Runs that have lasted a while: what is here when a file is opened was cut off.
  CREATE TABLE begun (seq INTEGER PRIMARY KEY) STRICT;

  -- How many jobs there are, and their weight.
  CREATE TABLE tally (
    place INTEGER PRIMARY KEY,     -- 100 × service + 10 × stage + priority
    jobs INTEGER NOT NULL,
    weight INTEGER NOT NULL
  ) STRICT;

  -- What others keep here by name.
  CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  `,
  `
  -- What is known of each schedule: JSON.
  CREATE TABLE schedule (name TEXT PRIMARY KEY, mark TEXT NOT NULL) STRICT, WITHOUT ROWID;
  `,
];

/** The version of files that this program writes. */
export const VERSION = STEPS.length;

/**
 * Settings of the connection. FULL: a commit is on the disk when it returns. The cache of 4 MB has all pages that new
 * jobs and their ends need; with four times as much no page less is read while a million jobs wait.
 */
const SETTINGS = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  PRAGMA wal_autocheckpoint = 2000;
  PRAGMA journal_size_limit = 67108864;
  PRAGMA cache_size = -4000;
  PRAGMA temp_store = MEMORY;
`;

/**
 * Makes an opened file ready: one that is empty gets its tables, an older one is brought up to date.
 *
 * @throws {Error} when it is not a file of ours, or a newer one, or not whole.
 */
export function prepareFile(db: DatabaseSync, path: string): void {
  requireOurs(db, path);
  const isNew = versionOf(db) === 0;
  // Only where there are no tables yet.
  if (isNew) db.exec("PRAGMA auto_vacuum = INCREMENTAL");
  db.exec(SETTINGS);
  for (let version = versionOf(db); version < VERSION; version++) {
    db.exec(
      `BEGIN IMMEDIATE; ${STEPS[version]}; PRAGMA application_id = ${APPLICATION_ID};
      PRAGMA user_version = ${version + 1}; COMMIT`,
    );
  }
}

/**
 * Refuses a file that is no store, or one of a newer program.
 *
 * @throws {Error} when it is one.
 */
export function requireOurs(db: DatabaseSync, path: string): void {
  const version = versionOf(db);
  const isEmpty = numberOf(db, "SELECT count(*) AS n FROM sqlite_schema", "n") === 0;
  const isOurs = numberOf(db, "PRAGMA application_id", "application_id") === APPLICATION_ID;
  if (!isEmpty && !isOurs) throw new Error(`"${path}" is a database of another program`);
  if (version > VERSION) {
    throw new Error(
      `"${path}" was written by a newer version of this program: it has version ${version} of the form, and this ` +
        `program knows those up to ${VERSION}`,
    );
  }
}

/** The version of the form that a file has; 0: it is empty. */
export function versionOf(db: DatabaseSync): number {
  return numberOf(db, "PRAGMA user_version", "user_version");
}

/** The number that a statement gives in a column. */
export function numberOf(db: DatabaseSync, sql: string, column: string): number {
  const value = db.prepare(sql).get()?.[column];
  return typeof value === "number" ? value : 0;
}
