/**
 * What clients ask of one job, on any node. A question that waits is answered by the change itself where it is made
 * here, and by what NATS tells of it (`PREFIX.changed.ID`, with the record's header) where another node makes it; since
 * that may be lost with a connection, the record is also looked at now and then.
 *
 * Where many wait, all changes are listened to, in place of those of each job; then what is known of a job that was just
 * stored here stays true without a look at its record.
 *
 * @module
 */

import type { StoreUser } from "./job_store.ts";
import type { JobQuestion } from "./messages.ts";
import { type NatsActs, unknownJob, UNREACHABLE } from "./nats_acts.ts";
import type { NatsGround, Read } from "./nats_ground.ts";
import {
  framesOf,
  isEnd,
  isExpired,
  type JobRecord,
  parseRecord,
  statusOf,
} from "./nats_record.ts";
import type { NatsRuns } from "./nats_runs.ts";

/** Questions that are open at most. */
const MAX_OPEN = 65_536;
/** Deadlines are looked at so often, ms. */
const TICK = 20;
const IDLE_TICK = 1000;
/** A job that is waited for is looked at so often, ms, and so many of them at once. */
const LOOK_INTERVAL = 3000;
const LOOKS = 50;
/** How long a question that does not wait waits for NATS, ms. */
const PATIENCE = 5000;
/** So many jobs that are waited for are too many to listen to each. */
const FOLLOW_FROM = 16;
/** Interest takes a moment to reach all servers, ms; and it is given up once nobody has waited for so long. */
const FOLLOW_SURE = 1000;
const FOLLOW_IDLE = 30_000;
/** Jobs that are known by what is told of them. */
const MOST_KNOWN = 20_000;
const EMPTY = new Uint8Array(0);

interface Asked {
  from: StoreUser;
  number: number;
  user: string | undefined;
  since: number | undefined;
  wantsResult: boolean;
  isWaiting: boolean;
  /** By the steady clock. */
  deadline: number;
  /** What was read before it was asked is no answer: the number of the first read that is. */
  firstRead: number;
}

/** A job that is asked for. */
interface Watched {
  id: string;
  asked: Asked[];
  /** What was seen last. */
  read: Read | undefined;
  isReading: boolean;
  reads: number;
  /** By the steady clock. */
  lookAt: number;
  end(): void;
}

/** See above. */
export class NatsQuestions {
  readonly #ground: NatsGround;
  readonly #runs: NatsRuns;
  readonly #acts: NatsActs;
  readonly #watched = new Map<string, Watched>();
  #open = 0;
  #cancelTick: (() => void) | undefined;
  /** Jobs that were stored here, as far as they are known. */
  readonly #known = new Map<string, JobRecord>();
  #endFollowing: (() => void) | undefined;
  /** By the steady clock. */
  #followedSince = 0;
  #waitedAt = 0;

  /** Asks nothing by itself. */
  constructor(ground: NatsGround, runs: NatsRuns, acts: NatsActs) {
    this.#ground = ground;
    this.#runs = runs;
    this.#acts = acts;
  }

  /** Answers "answer" or "refused". */
  ask(number: number, user: string | undefined, question: JobQuestion, from: StoreUser): void {
    if (question.type === "cancel" || question.type === "forget") {
      void this.#acts.act(number, user, question, from);
      return;
    }
    if (this.#open >= MAX_OPEN) {
      return this.#ground.refuse(from, number, 503, "Too many questions are open: try again");
    }
    const waitMs = Math.max(0, question.waitMs);
    this.#add(question.id, {
      from,
      number,
      user,
      since: question.type === "status" ? question.since : undefined,
      wantsResult: question.type === "result",
      isWaiting: waitMs > 0 && (question.type === "result" || question.since !== undefined),
      deadline: this.#ground.clock.steady() + (waitMs > 0 ? waitMs : PATIENCE),
    });
  }

  /** The answer is not needed any more. */
  withdraw(number: number, from: StoreUser): void {
    for (const watched of this.#watched.values()) {
      const rest = watched.asked.filter((one) => one.number !== number || one.from !== from);
      if (rest.length === watched.asked.length) continue;
      this.#open -= watched.asked.length - rest.length;
      watched.asked = rest;
      return this.#tidy(watched);
    }
  }

  /** A job was stored here, and runs nowhere yet. */
  created(record: JobRecord): void {
    const isSure = this.#endFollowing !== undefined &&
      this.#ground.clock.steady() - this.#followedSince > FOLLOW_SURE;
    if (!isSure) return;
    this.#known.set(record.id, record);
    if (this.#known.size <= MOST_KNOWN) return;
    for (const oldest of this.#known.keys()) {
      this.#known.delete(oldest);
      break;
    }
  }

  /** A record was changed here. */
  changed(record: JobRecord, payload: Uint8Array): void {
    this.#known.delete(record.id);
    const watched = this.#watched.get(record.id);
    if (watched === undefined) return;
    this.#settle(watched, { record, revision: 0, payload }, Infinity);
  }

  /** After a reconnect: what was told meanwhile was not heard. */
  lookAgain(): void {
    this.#known.clear();
    this.#followedSince = this.#ground.clock.steady();
    for (const watched of this.#watched.values()) watched.lookAt = 0;
  }

  /** Answers what is open by what is known. */
  close(): void {
    this.#cancelTick?.();
    this.#endFollowing?.();
    for (const watched of [...this.#watched.values()]) {
      for (const asked of watched.asked) asked.deadline = 0;
      this.#settleDue(watched, Infinity);
    }
  }

  // ---- waiting ----

  #add(id: string, asked: Omit<Asked, "firstRead">): void {
    let watched = this.#watched.get(id);
    if (watched === undefined) {
      watched = {
        id,
        asked: [],
        read: undefined,
        isReading: false,
        reads: 0,
        lookAt: 0,
        end: NOTHING,
      };
      this.#watched.set(id, watched);
    }
    watched.asked.push({ ...asked, firstRead: watched.reads + 1 });
    this.#open++;
    if (asked.isWaiting) this.#listen(watched);
    this.#look(watched);
    if (this.#watched.size === 1) this.#cancelTick?.();
    if (this.#watched.size === 1) this.#cancelTick = undefined;
    this.#cancelTick ??= this.#ground.clock.after(TICK, () => this.#tick());
  }

  #listen(watched: Watched): void {
    this.#waitedAt = this.#ground.clock.steady();
    if (this.#watched.size >= FOLLOW_FROM) this.#follow();
    if (this.#endFollowing !== undefined || watched.end !== NOTHING) return;
    const { names, link } = this.#ground;
    watched.end = link.subscribe(names.changed(watched.id), ({ headers }) => {
      this.#hear(watched, parseRecord(headers?.get("Job")));
    });
  }

  #follow(): void {
    if (this.#endFollowing !== undefined) return;
    const { names, link, clock } = this.#ground;
    this.#followedSince = clock.steady();
    const start = names.changed("").length;
    const mine = `"by":"${this.#ground.node}.`;
    this.#endFollowing = link.subscribe(names.changed("*"), ({ subject, headers }) => {
      const id = subject.slice(start);
      const watched = this.#watched.get(id);
      if (watched === undefined && !this.#known.has(id)) return;
      const words = headers?.get("Job") ?? "";
      // What this node changes it knows already.
      if (!words.includes(mine)) this.#known.delete(id);
      if (watched !== undefined) this.#hear(watched, parseRecord(words));
    });
  }

  #followNoMore(): void {
    this.#endFollowing?.();
    this.#endFollowing = undefined;
    this.#known.clear();
    // Those who wait are few: each is listened to again.
    for (const watched of this.#watched.values()) {
      if (watched.asked.some(({ isWaiting }) => isWaiting)) this.#listen(watched);
      watched.lookAt = 0;
    }
  }

  /** Another node has changed a record, or this one. */
  #hear(watched: Watched, record: JobRecord | undefined): void {
    if (record === undefined) return;
    // The result is not told with it.
    if (record.result !== null) return this.#look(watched);
    // It may be older than what an asker knows.
    const isNewer = ({ since, isWaiting }: Asked) =>
      isWaiting && (since === undefined || record.version > since);
    if (!watched.asked.every(isNewer)) return;
    this.#settle(watched, { record, revision: 0, payload: EMPTY }, Infinity);
  }

  #look(watched: Watched): void {
    if (watched.isReading) {
      watched.lookAt = 0;
      return;
    }
    const local = this.#runs.recordOf(watched.id) ?? this.#known.get(watched.id);
    if (local !== undefined) {
      watched.lookAt = this.#ground.clock.steady() + LOOK_INTERVAL;
      return this.#settle(watched, { record: local, revision: 0, payload: EMPTY }, Infinity);
    }
    watched.isReading = true;
    const number = ++watched.reads;
    watched.lookAt = this.#ground.clock.steady() + LOOK_INTERVAL;
    this.#ground.read(watched.id, PATIENCE, (read) => {
      watched.isReading = false;
      if (read === undefined) return;
      this.#settle(watched, read, number);
      if (watched.asked.some(({ firstRead }) => firstRead > number)) this.#look(watched);
    });
  }

  /** Answers those whom this is news for. `number`: of the read; Infinity: it is the newest that there is. */
  #settle(watched: Watched, read: Read, number: number): void {
    const { record } = read;
    if (record !== undefined && isExpired(record, this.#ground.clock.now())) {
      void this.#acts.expire(read);
    }
    watched.read = read;
    const rest: Asked[] = [];
    for (const asked of watched.asked) {
      if (asked.firstRead <= number && isNews(asked, record)) this.#answer(watched.id, asked, read);
      else rest.push(asked);
    }
    watched.asked = rest;
    this.#tidy(watched);
  }

  #tick(): void {
    this.#cancelTick = undefined;
    const now = this.#ground.clock.steady();
    let looks = 0;
    for (const watched of [...this.#watched.values()]) {
      this.#settleDue(watched, now);
      if (watched.asked.length === 0 || watched.lookAt > now || looks >= LOOKS) continue;
      if (!watched.isReading && this.#ground.link.isUp) {
        looks++;
        this.#look(watched);
      }
    }
    if (now - this.#waitedAt > FOLLOW_IDLE && this.#watched.size < FOLLOW_FROM) {
      if (this.#endFollowing !== undefined) this.#followNoMore();
    }
    if (this.#watched.size > 0 || this.#endFollowing !== undefined) {
      const ms = this.#watched.size > 0 ? TICK : IDLE_TICK;
      this.#cancelTick = this.#ground.clock.after(ms, () => this.#tick());
    }
  }

  #settleDue(watched: Watched, now: number): void {
    if (!watched.asked.some(({ deadline }) => deadline <= now)) return;
    const rest: Asked[] = [];
    for (const asked of watched.asked) {
      if (asked.deadline > now) rest.push(asked);
      else if (watched.read !== undefined) this.#answer(watched.id, asked, watched.read);
      else {
        this.#open--;
        this.#ground.refuse(asked.from, asked.number, 503, UNREACHABLE);
      }
    }
    watched.asked = rest;
    this.#tidy(watched);
  }

  #tidy(watched: Watched): void {
    if (watched.asked.length > 0) return;
    watched.end();
    if (this.#watched.get(watched.id) === watched) this.#watched.delete(watched.id);
  }

  #answer(
    id: string,
    { from, number, user, wantsResult }: Asked,
    { record, payload }: Read,
  ): void {
    this.#open--;
    const { clock, node } = this.#ground;
    if (record === undefined || !this.#acts.maySee(record, user)) {
      return this.#ground.refuse(from, number, 404, unknownJob(id));
    }
    const hasResult = wantsResult && isEnd(record.state) && record.result !== null;
    this.#ground.say(from, {
      type: "answer",
      number,
      answer: {
        status: statusOf(record, clock.now(), node),
        result: hasResult && record.result !== null ? framesOf(payload, record.result) : undefined,
      },
    });
  }
}

const NOTHING = () => {};
function isNews(asked: Asked, record: JobRecord | undefined): boolean {
  if (!asked.isWaiting || record === undefined) return true;
  if (asked.user !== undefined && record.user !== asked.user) return true;
  if (asked.wantsResult) return isEnd(record.state);
  return record.version !== asked.since;
}
