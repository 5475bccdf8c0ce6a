/**
 * Jobs in a file of SQLite: opens it, or refuses all with the reason until it can be opened.
 *
 * @module
 */

import { DatabaseSync } from "node:sqlite";
import { messageOf } from "../system/errors.ts";
import type { JobStore, StoreParts, StoreUser } from "./job_store.ts";
import type { FromStore, ToStore } from "./messages.ts";
import { SqliteJobs } from "./sqlite_jobs.ts";
import { lockStore, type StoreLock } from "./sqlite_lock.ts";
import { makePlace, pathOf } from "./sqlite_place.ts";
import { prepareFile } from "./sqlite_schema.ts";

/** A file that could not be opened is tried again after that, ms. */
const REOPEN_INTERVAL = 3000;

/** Opens the store of a file. */
export function openStore(parts: StoreParts): JobStore {
  return new SqliteStore(parts);
}

/** The door of the store. */
class SqliteStore implements JobStore {
  readonly #parts: StoreParts;
  readonly #path: string;
  #lock: StoreLock | undefined;
  #jobs: SqliteJobs | undefined;
  #trouble = "";
  #cancelTimer: (() => void) | undefined;
  /** The last that was said of rooms and of what is watched, for when the file is open. */
  #rooms = new Map<string, ToStore>();
  #watch: ToStore | undefined;

  constructor(parts: StoreParts) {
    this.#parts = { ...parts };
    this.#path = pathOf(parts.store);
    this.#open();
  }

  take(messages: readonly ToStore[], from: StoreUser): void {
    if (this.#jobs !== undefined) return this.#jobs.take(messages, from);
    const answers: FromStore[] = [];
    for (const message of messages) {
      this.#remember(message);
      if (!("number" in message) || message.type === "withdraw") continue;
      const { number } = message;
      answers.push({ type: "refused", number, code: 507, message: this.#trouble });
    }
    if (answers.length > 0) this.#parts.emit(from, answers);
  }

  async close(): Promise<void> {
    this.#cancelTimer?.();
    await this.#jobs?.close();
    this.#jobs = undefined;
    this.#trouble = "The server stops";
    this.#lock?.release();
    this.#lock = undefined;
  }

  #remember(message: ToStore): void {
    if (message.type === "room") this.#rooms.set(message.service, message);
    if (message.type === "watch") this.#watch = message;
    if (message.type === "configure") this.#parts.config = message.config;
  }

  #open(): void {
    let db: DatabaseSync | undefined;
    try {
      makePlace(this.#path);
      this.#lock = lockStore(this.#path);
      db = new DatabaseSync(this.#path);
      prepareFile(db, this.#path);
      this.#jobs = new SqliteJobs(db, this.#parts);
    } catch (error) {
      closeQuietly(db);
      this.#lock?.release();
      this.#lock = undefined;
      return this.#fail(error);
    }
    this.#trouble = "";
    this.#parts.emit("server", [{ type: "opened" }]);
    const remembered = [...this.#rooms.values()];
    if (this.#watch !== undefined) remembered.push(this.#watch);
    this.#rooms.clear();
    if (remembered.length > 0) this.#jobs.take(remembered, "plane");
  }

  #fail(error: unknown): void {
    const trouble = `Cannot open the store "${this.#path}": ${messageOf(error)}`;
    if (trouble !== this.#trouble) {
      this.#parts.emit("server", [{ type: "failed", message: trouble }]);
    }
    this.#trouble = trouble;
    this.#cancelTimer = this.#parts.clock.after(REOPEN_INTERVAL, () => this.#open());
  }
}

function closeQuietly(db: DatabaseSync | undefined): void {
  try {
    db?.close();
  } catch {
    // It is not open.
  }
}
