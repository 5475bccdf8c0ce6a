/**
 * Finds jobs by their ids, which are random: an index over a million of them would cost a page of the disk for each new
 * job. So new ids are kept in memory, and put into the index in order, many at a time. When a file is opened those that
 * are not in the index are read from the jobs themselves.
 *
 * @module
 */

import type { StatementSync } from "node:sqlite";
import { numberIn, textIn } from "./sqlite_columns.ts";
import type { Batch } from "./sqlite_ledger.ts";

/** Ids in memory before they are put into the index: about 2.5 MB. */
const MOST_RECENT = 25_000;
/** Entries that are to be taken out of it. */
const MOST_GONE = 8192;
/** Entries that one transaction writes at least, and for each job that was added since the one before. */
const STEP = 512;
const STEP_PER_JOB = 4;
/** Hex digits of an id that stand in the index, as a number: 48 bits. */
const HEAD_DIGITS = 12;
/** How much of an id comes before its digits. */
const PREFIX = 2;

/** One of the index. The number is that of the job. */
interface Entry {
  head: number;
  seq: number;
  id: string;
}

/** Entries on their way to the index, in its order. */
interface Merge {
  entries: Entry[];
  at: number;
  /** The newest job among them: all up to it are in the index then. */
  last: number;
}

/** Ids of jobs. */
export class SqliteIds {
  readonly #sql: (text: string) => StatementSync;
  readonly #most: number;
  /** Those that are not in the index. */
  readonly #recent = new Map<string, number>();
  /** Those of the transaction that is open, and whose they were before: an id may be free again by then. */
  #added: { id: string; before: number | undefined }[] = [];
  /** Jobs that were added since the last part of the index was written. */
  #addedSince = 0;
  /** Entries of jobs that are no more. */
  #gone: Entry[] = [];
  #merge: Merge | undefined;
  /** Jobs up to this are in the index. */
  #indexed: number;
  /** The newest job that is committed, and the newest one. */
  #last: number;
  #newest: number;

  /** Reads what is not in the index. `sql` prepares statements; `most`: how many are kept out of the index. */
  constructor(sql: (text: string) => StatementSync, most = MOST_RECENT) {
    this.#sql = sql;
    this.#most = most;
    const note = sql("SELECT value FROM note WHERE name = ?");
    this.#last = this.#indexed = Number(note.get("indexed")?.value ?? 0);
    const after = sql("SELECT seq, 'j-' || lower(hex(id)) AS id FROM job WHERE seq > ?");
    for (const job of after.iterate(this.#indexed)) {
      this.#last = numberIn(job, "seq");
      this.#recent.set(textIn(job, "id") ?? "", this.#last);
    }
    this.#newest = this.#last;
  }

  /** The newest job that there was. The numbers of newer ones are larger, so that they are not taken for indexed. */
  get newest(): number {
    return this.#newest;
  }

  /** Numbers that the job of an id may have: nearly always one, or none. */
  find(id: string): number[] {
    const recent = this.#recent.get(id);
    if (recent !== undefined) return [recent];
    const head = headOf(id);
    // Nearly always there is none, or one.
    const first = this.#sql("SELECT seq, count(*) AS n FROM idOf WHERE head = ?").get(head) ?? {};
    const count = numberIn(first, "n");
    if (count === 0) return NOBODY;
    if (count === 1) return [numberIn(first, "seq")];
    return this.#sql("SELECT seq FROM idOf WHERE head = ?").all(head)
      .map((row) => numberIn(row, "seq"));
  }

  /** A job was added, in the transaction that is open. */
  add(id: string, seq: number): void {
    this.#newest = seq;
    this.#added.push({ id, before: this.#recent.get(id) });
    this.#recent.set(id, seq);
  }

  /** What was added is there. */
  commit(): void {
    this.#last = this.#newest;
    this.#addedSince += this.#added.length;
    if (this.#added.length > 0) this.#added = [];
  }

  /** What was added is not there. */
  rollBack(): void {
    for (const { id, before } of this.#added.reverse()) {
      if (before === undefined) this.#recent.delete(id);
      else this.#recent.set(id, before);
    }
    this.#added = [];
  }

  /** A job is no more, and that is committed. */
  remove(id: string, seq: number): void {
    this.#forget(id, seq);
    if (seq <= (this.#merge?.last ?? this.#indexed)) this.#gone.push({ head: headOf(id), seq, id });
  }

  /** Whether there is enough for the index. */
  get hasWork(): boolean {
    return this.#merge !== undefined || this.#isDue || this.#gone.length >= MOST_GONE;
  }

  /** Whether many are not in the index. */
  get #isDue(): boolean {
    return this.#recent.size >= this.#most;
  }

  /** Writes a part of it. */
  work(batch: Batch): void {
    if (this.#merge === undefined && this.#isDue) this.#merge = this.#begin();
    if (this.#merge !== undefined) this.#mergeSome(batch, this.#merge);
    else if (this.#gone.length >= MOST_GONE) this.#removeAll(batch);
  }

  #begin(): Merge {
    const entries: Entry[] = [];
    for (const [id, seq] of this.#recent) entries.push({ head: headOf(id), seq, id });
    return {
      entries: entries.sort((one, other) => one.head - other.head),
      at: 0,
      last: this.#last,
    };
  }

  #mergeSome(batch: Batch, merge: Merge): void {
    const insert = this.#sql("INSERT OR IGNORE INTO idOf (head, seq) VALUES (?, ?)");
    const step = Math.max(STEP, STEP_PER_JOB * this.#addedSince);
    const end = Math.min(merge.at + step, merge.entries.length);
    for (let at = merge.at; at < end; at++) {
      const entry = merge.entries[at];
      if (entry !== undefined) insert.run(entry.head, entry.seq);
    }
    const isLast = end === merge.entries.length;
    if (isLast) {
      this.#sql("INSERT OR REPLACE INTO note (name, value) VALUES ('indexed', ?)").run(
        `${merge.last}`,
      );
    }
    batch.then(() => {
      merge.at = end;
      this.#addedSince = 0;
      if (isLast) this.#finish(merge);
    });
  }

  #finish({ entries, last }: Merge): void {
    this.#merge = undefined;
    this.#indexed = last;
    for (const { id, seq } of entries) this.#forget(id, seq);
  }

  /** Not that of another job, which has come since. */
  #forget(id: string, seq: number): void {
    if (this.#recent.get(id) === seq) this.#recent.delete(id);
  }

  #removeAll(batch: Batch): void {
    const gone = this.#gone.sort((one, other) => one.head - other.head);
    const remove = this.#sql("DELETE FROM idOf WHERE head = ? AND seq = ?");
    const some = gone.slice(0, MOST_GONE);
    for (const { head, seq } of some) remove.run(head, seq);
    batch.then(() => this.#gone = gone.slice(some.length));
  }
}

const NOBODY: number[] = [];

function headOf(id: string): number {
  return parseInt(id.slice(PREFIX, PREFIX + HEAD_DIGITS), 16);
}
