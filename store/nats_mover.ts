/**
 * Moves jobs that are due from where they are kept into the work queue. A node moves those that it has taken or sent
 * back itself, by its own steady clock; the keeper moves those of nodes that are gone a little later. Either may do so
 * again: a job has one hint at most, and a hint of a job that has ended is dropped.
 *
 * Jobs that wait for others are looked at when one of these changes.
 *
 * @module
 */

import type { NatsGround, Read } from "./nats_ground.ts";
import {
  buildHint,
  changed,
  isBlocked,
  isEnd,
  isExpired,
  type JobRecord,
  type KeptWords,
  parseHint,
  parseRecord,
} from "./nats_record.ts";
import { DueList } from "./nats_due.ts";
import type { LaneWords } from "./nats_names.ts";
import { failedFor } from "./nats_intake.ts";

/** How many are moved at the same time. */
const AT_ONCE = 64;
/** The longest sleep of a timer, ms. */
const MOST_SLEEP = 60_000;
/** What could not be moved is tried again after that, ms. */
const RETRY_AFTER = 1000;
/** The keeper waits so long for the node itself, ms. */
const KEEPER_LAG = 500;
/** Jobs that others wait for are looked at so often, ms, and so many of them at once. */
const LOOK_INTERVAL = 2000;
const LOOKS = 50;

/** What others hear of it. */
export interface MoverEvents {
  needed(job: LaneWords): void;
  /** A job was ended here. */
  ended(record: JobRecord): void;
  /** A job has not started in time. */
  expired(read: Read): Promise<void>;
}

/** Jobs that wait for one. */
interface Awaited {
  children: Set<string>;
  end(): void;
}

/** See above. */
export class NatsMover {
  readonly #ground: NatsGround;
  readonly #events: MoverEvents;
  /** By the steady clock. */
  readonly #due = new DueList();
  readonly #awaited = new Map<string, Awaited>();
  readonly #after = new Map<string, readonly string[]>();
  #moving = 0;
  #isStopped = false;
  #cancelDue: (() => void) | undefined;
  #cancelLook: (() => void) | undefined;

  /** Moves nothing that it was not told of. */
  constructor(ground: NatsGround, events: MoverEvents) {
    this.#ground = ground;
    this.#events = events;
    this.#lookLater();
  }

  /** Whether a job is awaited by others, as far as is known here. */
  isAwaited(id: string): boolean {
    return this.#awaited.has(id);
  }

  /** How many are to come. */
  get size(): number {
    return this.#due.size + this.#after.size;
  }

  /** A body was kept here. */
  kept(record: JobRecord): void {
    this.#add(record, 0, isBlocked(record));
  }

  /** The keeper has found a body. */
  found(words: KeptWords): void {
    if (words.state !== "scheduled" && words.state !== "waiting") return;
    if (this.#due.has(words.id) || this.#after.has(words.id)) return;
    this.#add(words, KEEPER_LAG, words.after.length > 0);
  }

  /** A record was changed here. */
  changed(record: JobRecord): void {
    const awaited = this.#awaited.get(record.id);
    if (awaited !== undefined && isEnd(record.state)) this.#look(awaited);
  }

  /** Moves nothing any more. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelDue?.();
    this.#cancelLook?.();
    for (const { end } of this.#awaited.values()) end();
    this.#awaited.clear();
  }

  /** Moves a job now. */
  now(id: string): void {
    this.#due.add(id, this.#ground.clock.steady());
    this.#sleep();
  }

  // ---- time ----

  #add({ id, runAt, after }: KeptWords, lag: number, isHeld: boolean): void {
    if (this.#isStopped) return;
    if (isHeld) return this.#await(id, after);
    const { clock } = this.#ground;
    // From here on the clock on the wall may be set.
    this.#due.add(id, clock.steady() + Math.max(0, runAt - clock.now()) + lag);
    this.#sleep();
  }

  #sleep(): void {
    this.#cancelDue?.();
    this.#cancelDue = undefined;
    if (this.#isStopped || this.#due.size === 0 || this.#moving >= AT_ONCE) return;
    const ms = Math.max(0, this.#due.firstAt - this.#ground.clock.steady());
    this.#cancelDue = this.#ground.clock.after(Math.min(MOST_SLEEP, ms), () => this.#wake());
  }

  #wake(): void {
    this.#cancelDue = undefined;
    const due = this.#due.take(this.#ground.clock.steady(), AT_ONCE - this.#moving);
    for (const id of due) {
      this.#moving++;
      void this.#move(id).then((isOver) => {
        this.#moving--;
        if (!isOver && !this.#isStopped) {
          this.#due.add(id, this.#ground.clock.steady() + RETRY_AFTER);
        }
        this.#sleep();
      });
    }
    this.#sleep();
  }

  /** False: again later. */
  async #move(id: string): Promise<boolean> {
    const { names, clock } = this.#ground;
    const read = await this.#ground.readOf(id);
    if (read === undefined) return false;
    const { record } = read;
    if (record === undefined || isEnd(record.state)) return true;
    if (record.state === "running" || record.place === "work") return true;
    if (isExpired(record, clock.now())) return await this.#events.expired(read), true;
    if (isBlocked(record)) return this.#await(id, record.after), true;
    const body = await this.#ground.lastOf(names.kept, names.body(id));
    if (body === undefined) return false;
    if (body === null) return true; // somebody has moved it
    const words = parseHint(body.payload);
    if (words === undefined) return true;
    this.#events.needed(record);
    const hint = buildHint({ record, revision: 0, movedFor: record.runAt }, words.body);
    const subject = names.hint(record);
    const headers = { "Nats-Msg-Id": `${id}.${record.version}` };
    const answer = await this.#ground.putOf(subject, hint, headers);
    if (answer === undefined) return false;
    // It has its hint already.
    if (answer.fault !== undefined && !answer.fault.text.includes("per subject")) return false;
    await this.#ground.remove(names.kept, body.seq);
    return true;
  }

  // ---- jobs that wait for others ----

  #await(id: string, after: readonly string[]): void {
    if (this.#after.has(id) || this.#isStopped) return;
    this.#after.set(id, after);
    for (const parent of after) this.#awaitedOf(parent).children.add(id);
    void this.#release(id);
  }

  #awaitedOf(parent: string): Awaited {
    const known = this.#awaited.get(parent);
    if (known !== undefined) return known;
    const subject = this.#ground.names.changed(parent);
    const awaited: Awaited = {
      children: new Set(),
      end: this.#ground.link.subscribe(subject, ({ headers }) => {
        const record = parseRecord(headers?.get("Job"));
        if (record !== undefined && isEnd(record.state)) this.#look(awaited);
      }),
    };
    this.#awaited.set(parent, awaited);
    return awaited;
  }

  #look({ children }: Awaited): void {
    for (const child of children) void this.#release(child);
  }

  #lookLater(): void {
    this.#cancelLook = this.#ground.clock.after(LOOK_INTERVAL, () => {
      let looks = 0;
      for (const [id, after] of this.#after) {
        if (++looks > LOOKS) break;
        // To the end of the line, so that all have their turn.
        this.#after.delete(id);
        this.#after.set(id, after);
        void this.#release(id);
      }
      if (!this.#isStopped) this.#lookLater();
    });
  }

  /** Sees whether a job still has to wait. */
  async #release(id: string): Promise<void> {
    const after = this.#after.get(id);
    if (after === undefined) return;
    const reads = await Promise.all([id, ...after].map((each) => this.#ground.readOf(each)));
    const [own, ...others] = reads;
    if (own === undefined || others.some((read) => read === undefined)) return;
    const { record, revision } = own;
    if (record === undefined || isEnd(record.state) || !isBlocked(record)) {
      return this.#letGo(id, after);
    }
    const { clock } = this.#ground;
    if (isExpired(record, clock.now())) {
      await this.#events.expired(own);
      return this.#letGo(id, after);
    }
    const failed = after.find((_, index) => hasFailed(others[index]));
    if (failed !== undefined) return await this.#fail(record, revision, failed, after);
    if (others.some((read) => read?.record?.state !== "done")) return;
    const runAt = Math.max(record.runAt, clock.now());
    const written = await this.#ground.written(
      changed(record, { isReleased: true, runAt }),
      revision,
    );
    if (written.type !== "written") return; // it is looked at again
    this.#letGo(id, after);
    this.#add(written.record, 0, false);
  }

  async #fail(
    record: JobRecord,
    revision: number,
    cause: string,
    after: readonly string[],
  ): Promise<void> {
    const failed = failedFor(record, cause, this.#ground.clock.now());
    const written = await this.#ground.written(failed, revision);
    if (written.type !== "written") return;
    this.#letGo(record.id, after);
    this.#events.ended(written.record);
  }

  #letGo(id: string, after: readonly string[]): void {
    this.#after.delete(id);
    for (const parent of after) {
      const awaited = this.#awaited.get(parent);
      awaited?.children.delete(id);
      if (awaited === undefined || awaited.children.size > 0) continue;
      awaited.end();
      this.#awaited.delete(parent);
    }
  }
}

/** It has ended otherwise than done, or is not known any more. */
function hasFailed(read: Read | undefined): boolean {
  const record = read?.record;
  if (read === undefined) return false;
  return record === undefined ||
    (isEnd(record.state) && record.state !== "done");
}
