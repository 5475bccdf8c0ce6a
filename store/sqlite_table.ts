/**
 * The statements on the table of jobs, each prepared once, and a job as a row of it. What is small lies in the row,
 * what is large in a table of its own, so that a change of state does not write it again.
 *
 * @module
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { isJobId, newJobId } from "../wire/submission.ts";
import type { Frames, JobState, JobStatus, Submission } from "./messages.ts";
import {
  bytesIn,
  framesOf,
  idBytes,
  idText,
  numberIn,
  optionalIn,
  type Row,
  textIn,
} from "./sqlite_columns.ts";
import { SqliteIds } from "./sqlite_ids.ts";
import { Part, Stage } from "./sqlite_schema.ts";

/** Bytes of a body, or a result, that lie in the row. */
const INLINE_BYTES = 1024;

/** What of a submission seldom differs from the defaults: members are left out where they don't. */
interface Rest {
  retries?: number;
  backoff?: [number, number];
  timeout?: number;
  trace?: string;
  after?: readonly string[];
  sizes?: readonly number[];
  isDelay?: true;
  /** What its last run has said of it. */
  progress?: JobStatus["progress"];
}

/** A job's row without its body and result. */
export interface JobRow {
  seq: number;
  id: string;
  /** Its number. */
  service: number;
  stage: number;
  priority: number;
  user: string;
  group: string;
  key: string;
  due: number;
  expires: number | undefined;
  created: number;
  tries: number;
  deaths: number;
  version: number;
  bytes: number;
  weight: number;
  parts: number;
  rest: Rest;
  started: number | undefined;
  ended: number | undefined;
  code: number | undefined;
  message: string | undefined;
}

/** Tries after the first one, and the back-off, where a submission says nothing. */
const RETRIES = 4;
const BACKOFF = { firstMs: 1000, maxMs: 3_600_000 };

const STATES: readonly JobState[] = [
  "scheduled",
  "waiting",
  "scheduled",
  "done",
  "failed",
  "cancelled",
  "expired",
];

/** The columns of a row without its body and result. */
export const COLUMNS =
  "seq, id, service, stage, priority, user, grp, key, due, expires, created, tries, deaths, version, " +
  "bytes, weight, parts, rest, started, ended, code, message";

/** What has come of a job. */
export interface Ending {
  seq: number;
  stage: number;
  tries: number;
  version: number;
  started: number | undefined;
  ended: number;
  forget: number;
  code: number | undefined;
  message: string | undefined;
}

/** The table. Methods throw what SQLite throws. */
export class JobTable {
  readonly #db: DatabaseSync;
  readonly #prepared = new Map<string, StatementSync>();
  /** Finds them by id. */
  readonly ids: SqliteIds;

  constructor(db: DatabaseSync) {
    this.#db = db;
    this.ids = new SqliteIds((text) => this.sql(text));
  }

  /** A prepared statement. */
  sql(text: string): StatementSync {
    let statement = this.#prepared.get(text);
    if (statement === undefined) this.#prepared.set(text, statement = this.#db.prepare(text));
    return statement;
  }

  // ---- a new job ----

  /** The number of the newest job. */
  get lastSeq(): number {
    return this.ids.newest;
  }

  /**
   * Adds a job whose id is not there, and gives its row; undefined: a living one of its key is there. One without an id
   * gets one.
   */
  insert(
    job: Submission,
    place: { service: number; stage: number; now: number },
  ): JobRow | undefined {
    const { bytes, sizes } = job.body;
    const isInline = bytes.length <= INLINE_BYTES;
    const seq = this.lastSeq + 1;
    const id = job.id === "" ? newJobId() : job.id;
    const rest = restOf(job, sizes);
    const parts = isInline ? 0 : 1 << Part.body;
    const { changes } = this.sql(INSERT).run(
      seq,
      idBytes(id),
      place.service,
      place.stage,
      job.priority,
      job.user,
      job.group,
      job.key === "" ? null : job.key,
      job.runAt === 0 ? place.now : job.runAt,
      job.expiresAt === 0 ? null : job.expiresAt,
      place.now,
      bytes.length,
      bytes.length,
      parts,
      rest === undefined ? null : JSON.stringify(rest),
      isInline ? bytes : null,
    );
    if (changes === 0) return undefined;
    this.ids.add(id, seq);
    if (!isInline) this.#putPart(seq, Part.body, bytes);
    return newRow(job, { ...place, seq, id, parts, rest: rest ?? {} });
  }

  // ---- one job ----

  /** The job of an id. */
  byId(id: string): JobRow | undefined {
    if (!isJobId(id)) return undefined;
    for (const seq of this.ids.find(id)) {
      const row = this.bySeq(seq);
      if (row?.id === id) return row;
    }
  }

  /** The job of a number. */
  bySeq(seq: number): JobRow | undefined {
    return rowOf(this.sql(`SELECT ${COLUMNS} FROM job WHERE seq = ?`).get(seq));
  }

  /** The living job of a key. */
  byKey(service: number, user: string, key: string): JobRow | undefined {
    const where = "service = ? AND user = ? AND key = ? AND stage < 3";
    return rowOf(this.sql(`SELECT ${COLUMNS} FROM job WHERE ${where}`).get(service, user, key));
  }

  /** Its body; undefined: it has none any more. */
  body(job: JobRow): Frames | undefined {
    const bytes = this.#bytesOf(job, "body", Part.body);
    return bytes && { bytes, sizes: job.rest.sizes };
  }

  /** What its handler has answered. */
  result(job: JobRow): Frames | undefined {
    const bytes = this.#bytesOf(job, "result", Part.result);
    if (bytes === undefined) return undefined;
    const row = this.sql("SELECT resultSizes FROM job WHERE seq = ?").get(job.seq) ?? {};
    return framesOf(bytes, textIn(row, "resultSizes"));
  }

  /** What its last try has kept: one frame. */
  checkpoint(job: JobRow): Frames | undefined {
    const bytes = this.#part(job, Part.checkpoint);
    return bytes && { bytes };
  }

  #bytesOf(
    job: JobRow,
    column: "body" | "result",
    part: number,
  ): Uint8Array<ArrayBuffer> | undefined {
    if ((job.parts & 1 << part) !== 0) return this.#part(job, part);
    return bytesIn(this.sql(`SELECT ${column} FROM job WHERE seq = ?`).get(job.seq), column);
  }

  #part({ seq, parts }: JobRow, part: number): Uint8Array<ArrayBuffer> | undefined {
    if ((parts & 1 << part) === 0) return undefined;
    return bytesIn(this.sql("SELECT bytes FROM part WHERE place = ?").get(4 * seq + part), "bytes");
  }

  #putPart(seq: number, part: number, bytes: Uint8Array): void {
    this.sql("INSERT OR REPLACE INTO part (place, bytes) VALUES (?, ?)").run(4 * seq + part, bytes);
  }

  #dropPart(seq: number, part: number): void {
    this.sql("DELETE FROM part WHERE place = ?").run(4 * seq + part);
  }

  // ---- changes ----

  /** Moves a job to a stage before its end. */
  move(seq: number, to: { stage: number; due: number; version: number }): void {
    this.sql("UPDATE job SET stage = ?, due = ?, version = ? WHERE seq = ?")
      .run(to.stage, to.due, to.version, seq);
  }

  /** A try has ended, and another one follows; false: the job has ended already. */
  again(
    seq: number,
    job: Omit<Ending, "seq" | "stage" | "ended" | "forget"> & { due: number },
  ): boolean {
    const { changes } = this.sql(
      "UPDATE job SET stage = 0, due = ?, tries = ?, version = ?, started = ?, code = ?, message = ?, expires = NULL " +
        "WHERE seq = ? AND stage = 1",
    ).run(
      job.due,
      job.tries,
      job.version,
      job.started ?? null,
      job.code ?? null,
      job.message ?? null,
      seq,
    );
    return changes !== 0;
  }

  /**
   * A job has ended. Of one that is done the body is dropped. Returns how its weight has changed; undefined: it had
   * ended before.
   */
  end(job: JobRow, ending: Ending, result: Frames | undefined): number | undefined {
    const isDone = ending.stage === Stage.done;
    const size = result?.bytes.length ?? 0;
    const isInline = size <= INLINE_BYTES;
    const dropped = isDone ? job.parts : 0;
    const own = result === undefined || isInline ? 0 : 1 << Part.result;
    const weight = isDone ? size : job.weight + size;
    const { changes } = this.sql(isDone ? END_DONE : END).run(
      ending.stage,
      ending.tries,
      ending.version,
      weight,
      job.parts & ~dropped | own,
      ending.started ?? null,
      ending.ended,
      ending.forget,
      ending.code ?? null,
      ending.message ?? null,
      result?.sizes === undefined ? null : JSON.stringify(result.sizes),
      result !== undefined && isInline ? result.bytes : null,
      job.seq,
    );
    if (changes === 0) return undefined;
    this.#dropParts(job.seq, dropped);
    if (result !== undefined && !isInline) this.#putPart(job.seq, Part.result, result.bytes);
    return weight - job.weight;
  }

  /** Gives a job that has ended badly all its tries again. Returns how its weight has changed. */
  revive(job: JobRow, to: { stage: number; due: number }): number {
    const size = this.result(job)?.bytes.length ?? 0;
    if ((job.parts & 1 << Part.result) !== 0) this.#dropPart(job.seq, Part.result);
    this.sql(
      "UPDATE job SET stage = ?, due = ?, tries = 0, deaths = 0, version = ?, weight = ?, parts = ?, started = NULL, " +
        "ended = NULL, forget = NULL, code = NULL, message = NULL, resultSizes = NULL, result = NULL, expires = NULL " +
        "WHERE seq = ?",
    ).run(
      to.stage,
      to.due,
      job.version + 1,
      job.weight - size,
      job.parts & ~(1 << Part.result),
      job.seq,
    );
    return -size;
  }

  /** Keeps something for the next try. Returns how the weight has changed. */
  keep(job: JobRow, value: Uint8Array): number {
    const before = this.checkpoint(job)?.bytes.length ?? 0;
    this.#putPart(job.seq, Part.checkpoint, value);
    const change = value.length - before;
    this.sql("UPDATE job SET parts = ?, weight = ? WHERE seq = ?")
      .run(job.parts | 1 << Part.checkpoint, job.weight + change, job.seq);
    return change;
  }

  /** How far its last run came. */
  keepProgress({ seq, rest }: JobRow, progress: Rest["progress"]): void {
    this.sql("UPDATE job SET rest = ? WHERE seq = ?").run(
      JSON.stringify({ ...rest, progress }),
      seq,
    );
  }

  /** Forgets a job. */
  drop({ seq, parts }: JobRow): void {
    this.sql("DELETE FROM job WHERE seq = ?").run(seq);
    this.#dropParts(seq, parts);
  }

  #dropParts(seq: number, parts: number): void {
    for (let part = 0; parts >> part !== 0; part++) {
      if ((parts & 1 << part) !== 0) this.#dropPart(seq, part);
    }
  }

  /** Jobs of a statement that names its columns `*`. */
  rows(sql: string, ...values: (number | string)[]): JobRow[] {
    return this.sql(sql.replace("*", COLUMNS)).all(...values).map((row) => toJob(row));
  }
}

const INSERT =
  "INSERT OR IGNORE INTO job (seq, id, service, stage, priority, user, grp, key, due, expires, created, tries, " +
  "deaths, version, bytes, weight, parts, rest, body) " +
  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 1, ?, ?, ?, ?, ?)";
const END_COLUMNS =
  "UPDATE job SET stage = ?, tries = ?, version = ?, weight = ?, parts = ?, started = ?, ended = ?, " +
  "forget = ?, code = ?, message = ?, resultSizes = ?, result = ?";
const END = `${END_COLUMNS} WHERE seq = ? AND stage < 3`;
const END_DONE = `${END_COLUMNS}, body = NULL WHERE seq = ? AND stage < 3`;

function rowOf(row: Row | undefined): JobRow | undefined {
  return row && toJob(row);
}

/** A row of these columns. */
export function toJob(row: Row): JobRow {
  const rest = textIn(row, "rest");
  return {
    seq: numberIn(row, "seq"),
    id: idText(bytesIn(row, "id")),
    service: numberIn(row, "service"),
    stage: numberIn(row, "stage"),
    priority: numberIn(row, "priority"),
    user: textIn(row, "user") ?? "",
    group: textIn(row, "grp") ?? "",
    key: textIn(row, "key") ?? "",
    due: numberIn(row, "due"),
    expires: optionalIn(row, "expires"),
    created: numberIn(row, "created"),
    tries: numberIn(row, "tries"),
    deaths: numberIn(row, "deaths"),
    version: numberIn(row, "version"),
    bytes: numberIn(row, "bytes"),
    weight: numberIn(row, "weight"),
    parts: numberIn(row, "parts"),
    rest: rest === undefined ? {} : JSON.parse(rest),
    started: optionalIn(row, "started"),
    ended: optionalIn(row, "ended"),
    code: optionalIn(row, "code"),
    message: textIn(row, "message"),
  };
}

/** The row of a job that was just added. */
function newRow(
  job: Submission,
  place: Pick<JobRow, "seq" | "id" | "service" | "stage" | "parts" | "rest"> & { now: number },
): JobRow {
  const { now, ...own } = place;
  return {
    ...own,
    priority: job.priority,
    user: job.user,
    group: job.group,
    key: job.key,
    due: job.runAt === 0 ? now : job.runAt,
    expires: job.expiresAt === 0 ? undefined : job.expiresAt,
    created: now,
    tries: 0,
    deaths: 0,
    version: 1,
    bytes: job.body.bytes.length,
    weight: job.body.bytes.length,
    started: undefined,
    ended: undefined,
    code: undefined,
    message: undefined,
  };
}

/** What differs from the defaults; undefined: nothing does. */
function restOf(job: Submission, sizes: readonly number[] | undefined): Rest | undefined {
  const { backoff } = job;
  const isPlain = job.retries === RETRIES && backoff.firstMs === BACKOFF.firstMs &&
    backoff.maxMs === BACKOFF.maxMs && job.requestTimeout === 0 && job.trace === "" &&
    job.after.length === 0 && sizes === undefined && job.isDelay !== true;
  if (isPlain) return undefined;
  const rest: Rest = {};
  if (job.retries !== RETRIES) rest.retries = job.retries;
  if (backoff.firstMs !== BACKOFF.firstMs || backoff.maxMs !== BACKOFF.maxMs) {
    rest.backoff = [backoff.firstMs, backoff.maxMs];
  }
  if (job.requestTimeout !== 0) rest.timeout = job.requestTimeout;
  if (job.trace !== "") rest.trace = job.trace;
  if (job.after.length > 0) rest.after = job.after;
  if (sizes !== undefined) rest.sizes = sizes;
  if (job.isDelay === true) rest.isDelay = true;
  return rest;
}

/** Tries after the first one. */
export function retriesOf({ rest }: JobRow): number {
  return rest.retries ?? RETRIES;
}

/** How long it waits between tries. */
export function backoffOf({ rest }: JobRow): { firstMs: number; maxMs: number } {
  const [firstMs, maxMs] = rest.backoff ?? [BACKOFF.firstMs, BACKOFF.maxMs];
  return { firstMs, maxMs };
}

/** What is known of a job that is not running. */
export function statusOf(job: JobRow, service: string): JobStatus {
  return {
    id: job.id,
    service,
    user: job.user,
    state: STATES[job.stage] ?? "scheduled",
    version: job.version,
    attempt: job.tries,
    retries: retriesOf(job),
    priority: job.priority,
    key: job.key,
    group: job.group,
    after: job.rest.after ?? [],
    bytes: job.bytes,
    createdAt: job.created,
    runAt: job.due,
    startedAt: job.started,
    endedAt: job.ended,
    code: job.code,
    message: job.message,
    progress: job.rest.progress,
    node: "",
  };
}
