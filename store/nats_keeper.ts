/**
 * What one node does for all: it sees to jobs whose nodes are gone before they were due, removes what was kept long
 * enough, and finds jobs that NATS has lost. Which node that is stands in a key that it renews; when it does so no more,
 * another one takes the key over. Two that hold it for a moment do nothing twice that matters.
 *
 * @module
 */

import type { NatsGround } from "./nats_ground.ts";
import type { NatsMover } from "./nats_mover.ts";
import {
  changed,
  isEnd,
  isExpired,
  isPast,
  type JobRecord,
  type KeptWords,
  parseRecord,
} from "./nats_record.ts";
import { scan, type Scanned } from "./nats_scan.ts";

const BEAT = 1500;
/** A keeper that has not renewed its key for so long is gone, ms. */
const LEASE = 6000;
/** Pauses between two walks, ms, and how many times as long as the last walk at least. */
const WALK_INTERVAL = 30_000;
const WALK_SHARE = 20;
/** A job that has not changed for so long should have a hint or a body, ms. */
const LOST_AGE = 60_000;
/** How often nodes are asked who runs a job, and how long they are waited for each time, ms. */
const ASKED_RUNNERS = 3;
const RUNNERS_PATIENCE = 2000;
/** Jobs that are looked for in one walk; where NATS has lost some of them, the next walk comes after so long, ms. */
const MOST_LOOKS = 500;
/** So many of them at a time: most of a look is to wait for nodes that do not answer. */
const LOOKS_AT_A_TIME = 64;
const NEXT_LOOKS = 1000;

/** What others hear of it. */
export interface KeeperEvents {
  expired(read: { record: JobRecord; revision: number; payload: Uint8Array }): Promise<void>;
  ended(record: JobRecord): void;
}

/** See above. */
export class NatsKeeper {
  readonly #ground: NatsGround;
  readonly #mover: NatsMover;
  readonly #events: KeeperEvents;
  #isKeeper = false;
  #isStopped = false;
  /** The key's revision as it was seen last, and when, by the steady clock. */
  #seen = -1;
  #seenAt = 0;
  #nextWalk = 0;
  #isWalking = false;
  /** The last walk could not look for all: those up to there were. */
  #lookedUpTo = 0;
  /** Jobs that the last walk has found to be lost. */
  #lost = 0;
  #cancelBeat: (() => void) | undefined;
  #endHearing: (() => void) | undefined;

  /** Begins at once. */
  constructor(ground: NatsGround, mover: NatsMover, events: KeeperEvents) {
    this.#ground = ground;
    this.#mover = mover;
    this.#events = events;
    this.#seenAt = ground.clock.steady();
    this.#beat(0);
  }

  /** Whether it is this node now. */
  get isKeeper(): boolean {
    return this.#isKeeper;
  }

  /** Lets another node have it at once, or after `LEASE` where NATS does not hear of it. */
  stop(): void {
    this.#isStopped = true;
    this.#cancelBeat?.();
    this.#endHearing?.();
    if (this.#isKeeper) void this.#ground.remove(this.#ground.names.keys, this.#seen);
    this.#isKeeper = false;
  }

  #beat(ms: number): void {
    this.#cancelBeat = this.#ground.clock.after(ms, () => {
      void this.#turn().then(() => {
        if (!this.#isStopped) this.#beat(BEAT);
      });
    });
  }

  async #turn(): Promise<void> {
    if (!this.#ground.link.isUp) return;
    const { clock, names } = this.#ground;
    if (this.#isKeeper) {
      await this.#claim(this.#seen);
      if (this.#isKeeper) void this.#walkIfDue();
      return;
    }
    const key = await this.#ground.lastOf(names.keys, names.keeper(), BEAT);
    if (key === undefined) return;
    const revision = key?.seq ?? 0;
    if (revision !== this.#seen) {
      this.#seen = revision;
      this.#seenAt = clock.steady();
    }
    if (revision === 0 || clock.steady() - this.#seenAt > LEASE) await this.#claim(revision);
  }

  async #claim(revision: number): Promise<void> {
    const { names, node, clock } = this.#ground;
    const headers = { "Nats-Expected-Last-Subject-Sequence": String(revision) };
    const answer = await this.#ground.putOf(names.keeper(), node, headers, BEAT);
    const wasKeeper = this.#isKeeper;
    if (answer !== undefined && answer.fault === undefined) {
      this.#seen = answer.seq;
      this.#seenAt = clock.steady();
      this.#isKeeper = true;
      if (!wasKeeper) this.#begin();
    } else if (answer?.fault !== undefined || clock.steady() - this.#seenAt > LEASE) {
      this.#isKeeper = false;
      this.#endHearing?.();
    }
  }

  /** All bodies that are kept, and those that come. */
  #begin(): void {
    const { link, names, clock } = this.#ground;
    this.#endHearing?.();
    this.#endHearing = link.subscribe(names.keptChanged("*"), ({ headers }) => {
      const words = parseKept(headers?.get("Job"));
      if (words !== undefined) this.#mover.found(words);
    });
    this.#nextWalk = clock.steady();
  }

  async #walkIfDue(): Promise<void> {
    const { clock } = this.#ground;
    if (this.#isWalking || clock.steady() < this.#nextWalk) return;
    this.#isWalking = true;
    const start = clock.steady();
    try {
      await this.#findKept();
      await this.#walk();
    } catch {
      // NATS did not answer: the next time
    }
    const took = clock.steady() - start;
    // What is lost is seldom alone, and somebody waits for each.
    const hasMore = this.#lookedUpTo > 0 && this.#lost > 0;
    const ms = hasMore ? Math.max(NEXT_LOOKS, took) : Math.max(this.#interval(), WALK_SHARE * took);
    this.#nextWalk = clock.steady() + ms;
    this.#isWalking = false;
  }

  /** Short lives of results need short intervals. */
  #interval(): number {
    const { resultTtl, deadTtl } = this.#ground.config;
    return Math.max(1000, Math.min(WALK_INTERVAL, resultTtl / 4, deadTtl / 4));
  }

  async #findKept(): Promise<void> {
    const { names } = this.#ground;
    for await (const messages of scan(this.#ground, names.kept, names.body("*"))) {
      for (const { words } of messages) {
        const kept = parseKept(words);
        if (kept !== undefined) this.#mover.found(kept);
      }
      if (this.#isStopped) return;
    }
  }

  /** Records in the order of their last change. */
  async #walk(): Promise<void> {
    const { names } = this.#ground;
    let looks = 0;
    const looking = new Lookers();
    const from = this.#lookedUpTo;
    this.#lookedUpTo = 0;
    this.#lost = 0;
    for await (const messages of scan(this.#ground, names.jobs)) {
      for (const message of messages) {
        const record = parseRecord(message.words);
        if (record === undefined || this.#isStopped || !this.#isKeeper) continue;
        if (this.#isOver(record)) await this.#remove(record, message);
        else if (message.seq > from && this.#maybeLost(record, message)) {
          if (++looks <= MOST_LOOKS) await looking.add(() => this.#look(record, message));
          // The next walk goes on there.
          else if (this.#lookedUpTo === 0) this.#lookedUpTo = message.seq - 1;
        }
      }
      if (this.#isStopped || !this.#isKeeper) break;
    }
    await looking.end();
  }

  /** Whether it was kept long enough. */
  #isOver(record: JobRecord): boolean {
    const { config, clock } = this.#ground;
    const now = clock.now();
    return isPast(record, config, now) && !this.#mover.isAwaited(record.id);
  }

  async #remove(record: JobRecord, { seq }: Scanned): Promise<void> {
    const { names } = this.#ground;
    if (!await this.#ground.remove(names.jobs, seq)) return;
    if (record.state !== "done") this.#ground.purge(names.kept, names.body(record.id));
    if (record.hasCheckpoint) this.#ground.purge(names.kept, names.checkpoint(record.id));
  }

  #maybeLost(record: JobRecord, { time }: Scanned): boolean {
    const { clock } = this.#ground;
    if (isEnd(record.state)) return false;
    return isExpired(record, clock.now()) || clock.now() - time > LOST_AGE;
  }

  /** Whether a node says that it runs a job; asked more than once, as an answer may be lost. */
  async #isRunning(id: string): Promise<boolean> {
    const { names } = this.#ground;
    for (let asked = 0; asked < ASKED_RUNNERS; asked++) {
      if (!this.#ground.link.isUp) return true;
      if (await this.#ground.answers(names.runners, id, RUNNERS_PATIENCE)) return true;
    }
    return false;
  }

  /** A job that has neither hint nor body will never run. */
  async #look(record: JobRecord, { seq }: Scanned): Promise<void> {
    const { names, clock } = this.#ground;
    if (isExpired(record, clock.now())) {
      return await this.#events.expired({ record, revision: seq, payload: new Uint8Array(0) });
    }
    const { id } = record;
    const hint = await this.#ground.lastOf(names.work, names.hint(record));
    if (hint !== null) return;
    if (record.state === "running" && await this.#isRunning(id)) return;
    const body = await this.#ground.lastOf(names.kept, names.body(id));
    if (body === undefined) return;
    if (body !== null) {
      if (record.place === "kept") this.#mover.found({ ...record });
      return;
    }
    const lost = changed(record, {
      state: "failed",
      place: "kept",
      endedAt: clock.now(),
      code: 500,
      message:
        "NATS does not have its body: it was lost there, or never stored and not acknowledged",
    });
    const written = await this.#ground.written(lost, seq);
    if (written.type !== "written") return;
    this.#lost++;
    this.#ground.log("error", "a job has failed, as NATS does not have its body", { job: id });
    this.#events.ended(written.record);
  }
}

/** Looks that are under way, so many at a time. */
class Lookers {
  readonly #underWay = new Set<Promise<void>>();
  #failure: { error: unknown } | undefined;

  /** Begins one once there is room. */
  async add(look: () => Promise<void>): Promise<void> {
    if (this.#underWay.size >= LOOKS_AT_A_TIME) await Promise.race(this.#underWay);
    const one = look()
      .catch((error: unknown) => void (this.#failure ??= { error }))
      .finally(() => this.#underWay.delete(one));
    this.#underWay.add(one);
  }

  /**
   * Waits until all have ended.
   *
   * @throws {Error} what the first one has thrown.
   */
  async end(): Promise<void> {
    await Promise.all(this.#underWay);
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/** Reads the header of a body that is kept; undefined: it is none. */
export function parseKept(words: string | undefined): KeptWords | undefined {
  if (words === undefined || words === "") return undefined;
  try {
    const value: Partial<KeptWords> = JSON.parse(words);
    const { id, service, state, runAt, after } = value;
    const isKept = typeof id === "string" && typeof service === "string" &&
      typeof state === "string" && typeof runAt === "number" && Array.isArray(after);
    return isKept ? { id, service, state, runAt, after } : undefined;
  } catch {
    return undefined;
  }
}
