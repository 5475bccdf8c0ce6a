/**
 * Jobs that are submitted again and again: waits until one is due, and stores it along with the mark that says so. So
 * each due time is submitted once, over restarts, and by one of the servers that share a store. Not here: what is due
 * (due_times.ts), when a pattern is (cron.ts), and keeping marks, which each store does for itself.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import type { loadTimetables, MakeTimetable } from "./cron.ts";
import { afterSubmit, nextFree, type ScheduleMark, stepOf, type Timetable } from "./due_times.ts";
import type { StoreClock } from "./job_store.ts";
import type { FromStore, ScheduleRule, StoreFigures, Submission } from "./messages.ts";
import { SCHEDULE_KEY } from "../wire/submission.ts";

/** What a store does for schedules. Both reject while it can't, and are tried again. */
export interface ScheduleMarks {
  /** The mark of a schedule; undefined: there is none yet. */
  read(name: string): Promise<ScheduleMark | undefined>;
  /**
   * Puts a mark in place of the one that is expected there, and stores the job that comes with it: both, or neither.
   * If it rejects, they may be stored all the same. The id of the job is in it, and in the mark.
   *
   * @returns false: there is another mark than the expected one, and so nothing was stored.
   */
  put(
    name: string,
    expected: ScheduleMark | undefined,
    mark: ScheduleMark,
    job: Submission | undefined,
  ): Promise<boolean>;
}

/** What schedules work with. */
export interface ScheduleParts {
  clock: StoreClock;
  marks: ScheduleMarks;
  /** Says a line for the log. */
  say(line: Extract<FromStore, { type: "log" }>): void;
  newId(): string;
  /** Only tests have another one. */
  load?: typeof loadTimetables;
}

/** What metrics have of schedules. */
type Figures = NonNullable<StoreFigures["schedules"]>;

/** Where the clock is set, it is seen after this time at the latest, ms. */
const LONGEST_SLEEP_MS = 5000;
/** After a failure it is tried again: this much later, doubled with each up to the longest, ms. */
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 30_000;

const encoder = new TextEncoder();

/** The schedules of one store. */
export class Schedules {
  readonly #parts: ScheduleParts;
  #schedules = new Map<string, Schedule>();
  #rules: Readonly<Record<string, ScheduleRule>> = {};
  #make: MakeTimetable | undefined;
  #isLoading = false;
  #isClosed = false;
  #takeBack = () => {};
  #retryMs = FIRST_RETRY_MS;

  constructor(parts: ScheduleParts) {
    this.#parts = parts;
  }

  /** Applies the schedules of now: those that are new, changed or gone. */
  configure(rules: Readonly<Record<string, ScheduleRule>>): void {
    this.#rules = rules;
    if (this.#make !== undefined) this.#apply(this.#make);
    else if (Object.keys(rules).length > 0 && !this.#isLoading) void this.#load();
  }

  /** When each was due, and will be. */
  figures(): Figures {
    return Object.fromEntries([...this.#schedules].map(([name, each]) => [name, each.figures]));
  }

  /** Stops all; what is being stored may still be. */
  close(): void {
    this.#isClosed = true;
    this.#takeBack();
    for (const schedule of this.#schedules.values()) schedule.stop();
    this.#schedules.clear();
  }

  async #load(): Promise<void> {
    const { load, clock, say } = this.#parts;
    this.#isLoading = true;
    try {
      this.#make = await (load ?? (await import("./cron.ts")).loadTimetables)();
      if (!this.#isClosed) this.#apply(this.#make);
    } catch (error) {
      say({
        type: "log",
        level: "error",
        message: "schedules do not run: croner can't be loaded",
        fields: { error: messageOf(error) },
      });
      if (!this.#isClosed) this.#takeBack = clock.after(this.#later(), () => void this.#load());
    }
  }

  #later(): number {
    const ms = this.#retryMs;
    this.#retryMs = Math.min(2 * ms, LONGEST_RETRY_MS);
    return ms;
  }

  #apply(make: MakeTimetable): void {
    const before = this.#schedules;
    this.#schedules = new Map();
    for (const [name, rule] of Object.entries(this.#rules)) {
      const old = before.get(name);
      if (old?.applies(rule)) {
        this.#schedules.set(name, old);
        continue;
      }
      old?.stop();
      this.#add(name, rule, make);
    }
    for (const [name, gone] of before) {
      if (!Object.hasOwn(this.#rules, name)) void gone.forget();
    }
    this.#tick();
  }

  /** Options are checked before they come here, so a pattern that croner does not take is rare. */
  #add(name: string, rule: ScheduleRule, make: MakeTimetable): void {
    try {
      const table = make(rule.cron, rule.timeZone);
      const wake = () => this.#tick();
      this.#schedules.set(name, new Schedule(name, rule, table, this.#parts, wake));
    } catch (error) {
      this.#parts.say({
        type: "log",
        level: "error",
        message: "a schedule does not run",
        fields: { schedule: name, error: messageOf(error) },
      });
    }
  }

  /** Does what is due, and sleeps until more is. */
  #tick(): void {
    this.#takeBack();
    if (this.#isClosed) return;
    let sleepMs = Infinity;
    for (const schedule of this.#schedules.values()) {
      sleepMs = Math.min(sleepMs, schedule.tick());
    }
    if (sleepMs === Infinity) return;
    const ms = Math.min(Math.max(1, Math.ceil(sleepMs)), LONGEST_SLEEP_MS);
    this.#takeBack = this.#parts.clock.after(ms, () => this.#tick());
  }
}

/**
 * One schedule. What it does takes a while and is done one after another:
 *
 *     reading ─→ waiting ⇄ storing; a failure ─→ reading, after a pause
 */
class Schedule {
  readonly #name: string;
  readonly #pattern: string;
  readonly #table: Timetable;
  readonly #parts: ScheduleParts;
  readonly #wake: () => void;
  #rule: ScheduleRule;
  /** As the store has it; undefined: it is yet to be read. */
  #mark: ScheduleMark | undefined;
  /** Up to here everything is done: `seen` of the mark, or when the clock was set back before it; Infinity: yet to be known. */
  #seen = Infinity;
  /** The first due time after that. */
  #next = Infinity;
  /** Whether something is being read or stored. */
  #isBusy = false;
  #isGone = false;
  /** Whether all that was missed before this process has been seen to. */
  #isRunning = false;
  /** It is tried again then, by the steady clock; 0: nothing has failed. */
  #retryAt = 0;
  #retryMs = FIRST_RETRY_MS;
  /** Of what was submitted last by this process. */
  #lastDue: number | undefined;

  constructor(
    name: string,
    rule: ScheduleRule,
    table: Timetable,
    parts: ScheduleParts,
    wake: () => void,
  ) {
    this.#name = name;
    this.#rule = rule;
    this.#pattern = patternOf(rule);
    this.#table = table;
    this.#parts = parts;
    this.#wake = wake;
  }

  get figures(): Figures[string] {
    const { service, cron, timeZone } = this.#rule;
    const now = this.#parts.clock.now();
    const lastAt = this.#lastDue ?? this.#mark?.spans.at(-1)?.[1];
    const nextAt = this.#next > now && this.#next < Infinity ? this.#next : this.#table.next(now);
    return { service, cron, timeZone, nextAt, lastAt, lastId: this.#mark?.id ?? "" };
  }

  /** Applies a rule that has the same pattern; false: it has another one. */
  applies(rule: ScheduleRule): boolean {
    if (patternOf(rule) !== this.#pattern) return false;
    this.#rule = rule;
    return true;
  }

  /** Does what is due; returns how long until it must run again, ms. Infinity: it says so by itself. */
  tick(): number {
    const { clock } = this.#parts;
    if (this.#isBusy || this.#isGone) return Infinity;
    const now = clock.now();
    // Where the clock was set back, time goes on from there.
    if (this.#seen > now) this.#goOnFrom(now);
    const pauseMs = this.#retryAt - clock.steady();
    if (pauseMs > 0) return pauseMs;
    if (this.#mark === undefined) return this.#begin(() => this.#read());
    const mark = this.#mark;
    const { catchUpMs } = this.#rule;
    const step = stepOf(mark, this.#table, this.#next, now, catchUpMs, this.#isRunning);
    if (step.type !== "wait") return this.#begin(() => this.#take(mark, step));
    this.#isRunning = true;
    return step.until - now;
  }

  /** Another one is in its place, or none. */
  stop(): void {
    this.#isGone = true;
  }

  #goOnFrom(seen: number): void {
    this.#seen = seen;
    if (this.#mark !== undefined) this.#next = nextFree(this.#mark, this.#table, seen);
  }

  /** A mark that is ahead of the clock is from before the clock was set back, and says nothing of the time since. */
  #know(mark: ScheduleMark): void {
    this.#mark = mark;
    this.#goOnFrom(mark.seen > this.#parts.clock.now() ? this.#seen : mark.seen);
  }

  /** It was taken away: if it comes back later, it has missed nothing. */
  async forget(): Promise<void> {
    this.stop();
    const { marks, clock } = this.#parts;
    try {
      const mark = await marks.read(this.#name);
      if (mark === undefined) return;
      await marks.put(this.#name, mark, { ...mark, seen: clock.now(), pattern: "" }, undefined);
    } catch {
      // Then it has missed what its mark says, and no more.
    }
  }

  #begin(act: () => Promise<void>): number {
    this.#isBusy = true;
    void this.#do(act);
    return Infinity;
  }

  async #do(act: () => Promise<void>): Promise<void> {
    try {
      await act();
      this.#retryAt = 0;
      this.#retryMs = FIRST_RETRY_MS;
    } catch (error) {
      this.#failed(error);
    }
    this.#isBusy = false;
    if (!this.#isGone) this.#wake();
  }

  /** What was to be stored may be stored all the same, so the mark is read again. */
  #failed(error: unknown): void {
    if (this.#retryMs === FIRST_RETRY_MS) {
      this.#say("warn", "a schedule waits for the store", { error: messageOf(error) });
    }
    this.#mark = undefined;
    this.#retryAt = this.#parts.clock.steady() + this.#retryMs;
    this.#retryMs = Math.min(2 * this.#retryMs, LONGEST_RETRY_MS);
  }

  async #read(): Promise<void> {
    const { marks, clock } = this.#parts;
    const found = await marks.read(this.#name);
    if (found?.pattern === this.#pattern) return this.#know(found);
    // One that is new, or has another pattern, has missed nothing.
    const first = { spans: [], id: "", ...found, seen: clock.now(), pattern: this.#pattern };
    if (await marks.put(this.#name, found, first, undefined)) this.#know(first);
  }

  async #take(
    mark: ScheduleMark,
    { type, due }: { type: "submit" | "pass"; due: number },
  ): Promise<void> {
    const { marks, newId } = this.#parts;
    const isMissed = type === "pass";
    const id = isMissed ? mark.id : newId();
    const next = isMissed ? { ...mark, seen: due } : afterSubmit(mark, this.#table, due, id);
    const isMine = await marks.put(
      this.#name,
      mark,
      next,
      isMissed ? undefined : this.#job(due, id),
    );
    // If not, another server was quicker.
    this.#mark = undefined;
    if (!isMine) return;
    this.#know(next);
    if (isMissed) {
      this.#say("warn", "a schedule was missed", { due: new Date(due).toISOString() });
    } else {
      this.#lastDue = due;
      this.#say("debug", "a schedule was due", { due: new Date(due).toISOString(), id });
    }
  }

  /** The job of a due time. Its key shows where it comes from. */
  #job(due: number, id: string): Submission {
    const { service, body } = this.#rule;
    return {
      ...{ id, service, user: "", group: "", after: [], trace: "" },
      key: `${SCHEDULE_KEY}${this.#name}:${new Date(due).toISOString()}`,
      runAt: 0,
      priority: 4,
      retries: 4,
      backoff: { firstMs: 1000, maxMs: 3_600_000 },
      requestTimeout: 0,
      expiresAt: 0,
      body: { bytes: encoder.encode(body) },
    };
  }

  #say(level: "debug" | "warn", message: string, fields: Record<string, string>): void {
    const tag: Record<string, string> = { schedule: this.#name };
    if (this.#rule.service !== "") tag.service = this.#rule.service;
    this.#parts.say({ type: "log", level, message, fields: { ...tag, ...fields } });
  }
}

function patternOf({ cron, timeZone }: ScheduleRule): string {
  return `${timeZone} ${cron}`;
}
