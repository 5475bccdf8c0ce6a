/**
 * The services whose jobs a file has: their numbers in it, what may start of each, and what is counted of them.
 *
 * @module
 */

import { Histogram } from "../broker/histogram.ts";
import { JobChoice } from "./job_choice.ts";
import type { Candidate, LineName, WaitingJobs } from "./lines.ts";
import type { EndState, ServiceRules } from "./messages.ts";
import { bytesIn, numberIn, type Row, textIn } from "./sqlite_columns.ts";
import type { Batch, Ledger } from "./sqlite_ledger.ts";
import { Stage } from "./sqlite_schema.ts";
import { COLUMNS, toJob } from "./sqlite_row.ts";
import type { JobTable } from "./sqlite_table.ts";
import type { FreshJobs } from "./fresh_jobs.ts";

/** One service. */
export interface StoredService {
  readonly number: number;
  readonly name: string;
  readonly choice: JobChoice;
  /** How many of its jobs were given to the plane. */
  given: number;
  /** Since this server has started. */
  submitted: number;
  retried: number;
  readonly ended: Record<EndState, number>;
  readonly waitTime: Histogram;
  readonly totalTime: Histogram;
}

/** All of them. */
export class StoredServices {
  readonly #table: JobTable;
  readonly #fresh: FreshJobs;
  readonly #byName = new Map<string, StoredService>();
  readonly #byNumber = new Map<number, StoredService>();
  /** Those that are in the file. */
  readonly #written = new Set<number>();
  #rules: Readonly<Record<string, ServiceRules>>;
  #last = 0;

  /** Reads those that the file has. */
  constructor(
    table: JobTable,
    fresh: FreshJobs,
    ledger: Ledger,
    rules: Readonly<Record<string, ServiceRules>>,
    steady: number,
  ) {
    this.#table = table;
    this.#fresh = fresh;
    this.#rules = rules;
    for (const row of table.sql("SELECT number, name, isPaused FROM service").all()) {
      const service = this.#make(textIn(row, "name") ?? "", numberIn(row, "number"), steady);
      service.choice.isPaused = numberIn(row, "isPaused") === 1;
      this.#written.add(service.number);
    }
    for (const { service, stage, priority, jobs } of ledger.tallies()) {
      if (stage === Stage.waiting) this.#byNumber.get(service)?.choice.begin(priority, jobs);
    }
  }

  /** Whether the options have it. */
  isKnown(name: string): boolean {
    return Object.hasOwn(this.#rules, name);
  }

  /** Whether it was ever named. */
  has(name: string): boolean {
    return this.#byName.has(name);
  }

  /** How many were ever named. */
  get size(): number {
    return this.#byName.size;
  }

  /** The service of a name, which is new if it was not there. */
  of(name: string, steady: number): StoredService {
    return this.#byName.get(name) ?? this.#make(name, this.#last + 1, steady);
  }

  /** The service of a name; undefined: it never had a job. */
  named(name: string): StoredService | undefined {
    return this.#byName.get(name);
  }

  /** The service of a number. */
  numbered(number: number): StoredService {
    const service = this.#byNumber.get(number);
    if (service === undefined) throw new Error(`There is no service ${number} in the file`);
    return service;
  }

  /** All that were ever named. */
  all(): Iterable<StoredService> {
    return this.#byName.values();
  }

  /** Writes it, unless it is there. */
  write({ number, name }: StoredService, batch: Batch): void {
    if (this.#written.has(number)) return;
    this.#table.sql("INSERT OR IGNORE INTO service (number, name) VALUES (?, ?)").run(number, name);
    batch.then(() => this.#written.add(number));
  }

  /** Applies other rules. */
  configure(rules: Readonly<Record<string, ServiceRules>>, steady: number): void {
    this.#rules = rules;
    for (const { name, choice } of this.#byName.values()) {
      choice.configure(this.#rulesOf(name), steady);
    }
  }

  #rulesOf(name: string): ServiceRules | undefined {
    return this.isKnown(name) ? this.#rules[name] : undefined;
  }

  #make(name: string, number: number, steady: number): StoredService {
    const files = (priority: number) => new WaitingRows(this.#table, this.#fresh, number, priority);
    const service: StoredService = {
      number,
      name,
      choice: new JobChoice(files, this.#rulesOf(name), steady),
      given: 0,
      submitted: 0,
      retried: 0,
      ended: { done: 0, failed: 0, cancelled: 0, expired: 0 },
      waitTime: new Histogram(),
      totalTime: new Histogram(),
    };
    this.#byName.set(name, service);
    this.#byNumber.set(number, service);
    this.#last = Math.max(this.#last, number);
    return service;
  }
}

const OF_PRIORITY =
  "FROM job INDEXED BY jobWaiting WHERE stage = 1 AND service = ? AND priority = ?";
const FIRST_LINE = `SELECT user, grp ${OF_PRIORITY} ORDER BY user, grp LIMIT 1`;
// Two statements: as one, with (user, grp) > (?, ?), SQLite would go over all jobs of that line.
const NEXT_GROUP = `SELECT user, grp ${OF_PRIORITY} AND user = ? AND grp > ? ORDER BY grp LIMIT 1`;
const NEXT_USER = `SELECT user, grp ${OF_PRIORITY} AND user > ? ORDER BY user, grp LIMIT 1`;
// With all that a start needs: to read it row by row would take three times as long.
const OF_LINE =
  `SELECT ${COLUMNS}, body ${OF_PRIORITY} AND user = ? AND grp = ? AND seq > ? ORDER BY seq LIMIT ?`;

/** What waits of one service and priority, by its index. */
class WaitingRows implements WaitingJobs {
  readonly #table: JobTable;
  readonly #service: number;
  readonly #priority: number;
  readonly #fresh: FreshJobs;
  /** What was read last. */
  #read = new Map<number, Row>();

  constructor(table: JobTable, fresh: FreshJobs, service: number, priority: number) {
    this.#table = table;
    this.#fresh = fresh;
    this.#service = service;
    this.#priority = priority;
  }

  nextLine(after: LineName | undefined): LineName | undefined {
    const row = after === undefined ? this.#first(FIRST_LINE) : this.#nextRow(after);
    return row && { user: textIn(row, "user") ?? "", group: textIn(row, "grp") ?? "" };
  }

  #nextRow({ user, group }: LineName): Row | undefined {
    return this.#first(NEXT_GROUP, user, group) ?? this.#first(NEXT_USER, user);
  }

  #first(sql: string, ...values: string[]): Row | undefined {
    return this.#table.sql(sql).get(this.#service, this.#priority, ...values);
  }

  ofLine({ user, group }: LineName, after: number, limit: number): Candidate[] {
    const place = [this.#service, this.#priority, user, group, after, limit];
    const rows = this.#table.sql(OF_LINE).all(...place);
    this.#read = new Map(rows.map((row) => [numberIn(row, "seq"), row]));
    return rows.map((row) => ({
      seq: numberIn(row, "seq"),
      user,
      group,
      due: numberIn(row, "due"),
    }));
  }

  held({ seq }: Candidate): void {
    const read = this.#read.get(seq);
    this.#read.delete(seq);
    const bytes = bytesIn(read, "body");
    if (read === undefined || bytes === undefined) return;
    const row = toJob(read);
    this.#fresh.add(row, { bytes, sizes: row.rest.sizes });
  }
}
