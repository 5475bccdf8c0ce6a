/**
 * Marks of schedules in a file of SQLite: each is changed together with the job that it stands for.
 *
 * @module
 */

import type { ScheduleMark } from "./due_times.ts";
import type { Submission } from "./messages.ts";
import type { ScheduleMarks } from "./schedules.ts";
import { textIn } from "./sqlite_columns.ts";
import type { Batch, Change } from "./sqlite_ledger.ts";
import type { JobTable } from "./sqlite_table.ts";

/** What marks are kept with. */
interface MarkParts {
  table: JobTable;
  /** Why nothing can be written now; undefined: it can. */
  trouble(): string | undefined;
  /** Makes a change in a pass of its own. */
  change(change: Change): void;
  /** Stores a job; it gives why not, or undefined. */
  store(batch: Batch, job: Submission): string | undefined;
}

/** The marks. */
export class SqliteMarks implements ScheduleMarks {
  readonly #parts: MarkParts;

  constructor(parts: MarkParts) {
    this.#parts = parts;
  }

  // deno-lint-ignore require-await -- what is thrown is to reject.
  async read(name: string): Promise<ScheduleMark | undefined> {
    const trouble = this.#parts.trouble();
    if (trouble !== undefined) throw new Error(trouble);
    const text = this.#text(name);
    return text === undefined ? undefined : JSON.parse(text);
  }

  put(
    name: string,
    expected: ScheduleMark | undefined,
    mark: ScheduleMark,
    job: Submission | undefined,
  ): Promise<boolean> {
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    this.#parts.change({
      apply: (batch) => {
        const isExpected = this.#text(name) === (expected && JSON.stringify(expected));
        if (!isExpected) return batch.then(() => resolve(false));
        const fault = job && this.#parts.store(batch, job);
        if (fault !== undefined) return batch.then(() => reject(new Error(fault)));
        this.#parts.table.sql("INSERT OR REPLACE INTO schedule (name, mark) VALUES (?, ?)")
          .run(name, JSON.stringify(mark));
        batch.then(() => resolve(true));
      },
      refuse: (_, message) => reject(new Error(message)),
    });
    return promise;
  }

  #text(name: string): string | undefined {
    const row = this.#parts.table.sql("SELECT mark FROM schedule WHERE name = ?").get(name);
    return row && textIn(row, "mark");
  }
}
