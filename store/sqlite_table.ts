/**
 * The statements on the table of jobs, each prepared once. What is small lies in a job's row (sqlite_row.ts), what is
 * large in a table of its own, so that a change of state does not write it again.
 *
 * @module
 */

import type { DatabaseSync, StatementSync } from "node:sqlite";
import { isJobId, newJobId } from "../wire/submission.ts";
import type { Frames, Submission } from "./messages.ts";
import { bytesIn, framesOf, idBytes, textIn } from "./sqlite_columns.ts";
import { SqliteIds } from "./sqlite_ids.ts";
import { COLUMNS, type JobRow, newRow, type Rest, restOf, rowOf, toJob } from "./sqlite_row.ts";
import { Part, Stage } from "./sqlite_schema.ts";

/** Bytes of a body, or a result, that lie in the row. */
const INLINE_BYTES = 1024;

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
