/**
 * A store that fails, delays and repeats at random, in front of a real one. What its users are promised, they must be
 * able to keep with it: nothing that was acknowledged is lost, and each job has one result.
 *
 * - Questions are refused with 503, before they reach the store, or though they have done what they ask.
 * - What is said, either way, comes late; the order stays, as on a port.
 * - Jobs are given twice, as by a store that has forgotten that it gave them, or has given up who had them. Of two runs
 *   of one job the end that comes first counts.
 */

import type { JobStore, StoreClock, StoreUser } from "../../store/job_store.ts";
import type { FromStore, StoreConfig, StoredRun, ToStore } from "../../store/messages.ts";
import { randomNumbers } from "./random.ts";
import type { StoreRig } from "./store_world.ts";

/** How often of 100 times something happens, and how late what is said may come, ms. */
export interface Faults {
  refused: number;
  unheard: number;
  repeated: number;
  late: number;
  lateMs: number;
}

/** Enough to happen many times in each case. */
export const MANY_FAULTS: Faults = { refused: 12, unheard: 12, repeated: 20, late: 30, lateMs: 30 };

/** Questions that may be asked again though they have been done: those of the rest are refused before alone. */
const REPEATABLE: readonly string[] = ["submit", "checkpoint", "ask"];

/** A run of the store, and those that the plane knows in place of it. */
interface Given {
  job: StoredRun;
  /** Those that have not ended. */
  open: Set<number>;
  hasEnded: boolean;
}

/** What has been said and is not there yet, in one direction. */
class Line<T> {
  readonly #clock: StoreClock;
  readonly #arrive: (said: T) => void;
  readonly #waiting: T[] = [];
  #isSleeping = false;
  #isFlushing = false;

  constructor(clock: StoreClock, arrive: (said: T) => void) {
    this.#clock = clock;
    this.#arrive = arrive;
  }

  say(said: T, lateMs: number): void {
    this.#waiting.push(said);
    if (this.#isSleeping) return;
    if (lateMs === 0) return this.#flush();
    this.#isSleeping = true;
    this.#clock.after(lateMs, () => {
      this.#isSleeping = false;
      this.#flush();
    });
  }

  drop(): void {
    this.#waiting.length = 0;
  }

  /** What is said meanwhile comes after it, as in another thread. */
  #flush(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    while (!this.#isSleeping) {
      const said = this.#waiting.shift();
      if (said === undefined) break;
      this.#arrive(said);
    }
    this.#isFlushing = false;
  }
}

/** The store. */
export class FaultyStore implements JobStore {
  readonly #faults: Faults;
  readonly #random: (below: number) => number;
  readonly #emit: (to: StoreUser, messages: FromStore[]) => void;
  readonly #lines: Record<StoreUser, { in: Line<ToStore>; out: Line<FromStore> }>;
  #inner: JobStore | undefined;
  /** Questions that are done, and whose answer is not to be heard. */
  readonly #unheard = new Set<number>();
  readonly #runs = new Map<number, Given>();
  /** Jobs that are to be given again, by service. */
  readonly #again = new Map<string, Given[]>();
  /** How many jobs of each service were given, repeated ones counted. */
  readonly #said = new Map<string, number>();
  #lastRun = 0;
  /** How many faults there were. */
  count = 0;

  constructor(
    clock: StoreClock,
    seed: number,
    emit: (to: StoreUser, messages: FromStore[]) => void,
    faults: Faults = MANY_FAULTS,
  ) {
    this.#random = randomNumbers(seed);
    this.#emit = emit;
    this.#faults = faults;
    const lines = (user: StoreUser) => ({
      in: new Line<ToStore>(clock, (message) => this.#take(message, user)),
      // What is said is the hearer's, and some of it is said again.
      out: new Line<FromStore>(clock, (message) => this.#emit(user, [structuredClone(message)])),
    });
    this.#lines = { plane: lines("plane"), server: lines("server") };
  }

  /** The real store, which says all to `hear`. */
  set inner(inner: JobStore) {
    this.#inner = inner;
  }

  take(messages: readonly ToStore[], from: StoreUser): void {
    for (const message of messages) this.#lines[from].in.say(message, this.#late());
  }

  async close(): Promise<void> {
    for (const user of ["plane", "server"] as const) {
      this.#lines[user].in.drop();
      this.#lines[user].out.drop();
    }
    await this.#inner?.close();
    this.#inner = undefined;
  }

  #happens(percent: number): boolean {
    const isSo = this.#random(100) < percent;
    if (isSo) this.count++;
    return isSo;
  }

  #late(): number {
    return this.#happens(this.#faults.late) ? 1 + this.#random(this.#faults.lateMs) : 0;
  }

  // ---- to the store ----

  #take(message: ToStore, from: StoreUser): void {
    switch (message.type) {
      case "submit":
      case "checkpoint":
      case "ask":
      case "operate":
        return this.#ask(message, from);
      case "room":
        return this.#room(message);
      case "ended":
        return this.#ended(message);
      case "returned":
        return this.#returned(message);
      case "progress":
        return this.#pass({ ...message, run: this.#innerRun(message.run) }, from);
      default:
        return this.#pass(message, from);
    }
  }

  #pass(message: ToStore, from: StoreUser): void {
    this.#inner?.take([message], from);
  }

  #ask(
    message: Extract<ToStore, { type: "submit" | "checkpoint" | "ask" | "operate" }>,
    from: StoreUser,
  ): void {
    const { number } = message;
    if (this.#happens(this.#faults.refused)) return this.#refuse(from, number);
    const isForget = message.type === "ask" && message.question.type === "forget";
    const mayBeRepeated = REPEATABLE.includes(message.type) && !isForget;
    if (mayBeRepeated && this.#happens(this.#faults.unheard)) this.#unheard.add(number);
    const run = message.type === "checkpoint" ? this.#innerRun(message.run) : 0;
    this.#pass(message.type === "checkpoint" ? { ...message, run } : message, from);
  }

  #refuse(to: StoreUser, number: number): void {
    const refused = { number, code: 503, message: "It is not known whether that was done" };
    this.#lines[to].out.say({ type: "refused", ...refused }, this.#late());
  }

  /** What is under way takes room, and so does what is to be given again. */
  #room({ service, jobs, heard = 0 }: Extract<ToStore, { type: "room" }>): void {
    let left = jobs - ((this.#said.get(service) ?? 0) - heard);
    const again = this.#again.get(service) ?? [];
    while (left > 0) {
      const given = again.shift();
      if (given === undefined) break;
      this.#give(given);
      left--;
    }
    this.#pass({ type: "room", service, jobs: Math.max(0, left) }, "plane");
  }

  #ended(message: Extract<ToStore, { type: "ended" }>): void {
    const given = this.#runs.get(message.run);
    if (given === undefined) return;
    this.#runs.delete(message.run);
    given.open.delete(message.run);
    if (given.hasEnded) return;
    given.hasEnded = true;
    this.#pass({ ...message, run: given.job.run }, "plane");
  }

  /** While the job runs elsewhere it is not returned. */
  #returned(message: Extract<ToStore, { type: "returned" }>): void {
    const given = this.#runs.get(message.run);
    if (given === undefined) return;
    this.#runs.delete(message.run);
    given.open.delete(message.run);
    if (given.hasEnded || given.open.size > 0) return;
    given.hasEnded = true;
    this.#pass({ ...message, run: given.job.run }, "plane");
  }

  #innerRun(run: number): number {
    return this.#runs.get(run)?.job.run ?? 0;
  }

  // ---- from the store ----

  /** What the real store says. */
  hear(to: StoreUser, messages: readonly FromStore[]): void {
    for (const message of messages) this.#hear(to, message);
  }

  #hear(to: StoreUser, message: FromStore): void {
    switch (message.type) {
      case "job":
        return this.#given(message.run);
      case "cancelRun":
        return this.#cancelRun(message.run);
      case "stored":
      case "answer":
      case "kept":
        if (this.#unheard.delete(message.number)) return this.#refuse(to, message.number);
    }
    this.#lines[to].out.say(message, this.#late());
  }

  #given(job: StoredRun): void {
    const given: Given = { job, open: new Set(), hasEnded: false };
    this.#give(given);
    if (!this.#happens(this.#faults.repeated)) return;
    const again = this.#again.get(job.service) ?? [];
    again.push(given);
    this.#again.set(job.service, again);
  }

  #give(given: Given): void {
    const run = ++this.#lastRun;
    this.#runs.set(run, given);
    given.open.add(run);
    const { service } = given.job;
    this.#said.set(service, (this.#said.get(service) ?? 0) + 1);
    this.#lines.plane.out.say({ type: "job", run: { ...given.job, run } }, this.#late());
  }

  #cancelRun(inner: number): void {
    for (const [run, { job }] of this.#runs) {
      if (job.run === inner) this.#lines.plane.out.say({ type: "cancelRun", run }, this.#late());
    }
  }
}

/** A rig whose stores have such a store in front of them. */
export class FaultyRig implements StoreRig {
  readonly isDriven: boolean;
  readonly isFaulty = true;
  readonly slackMs: number;
  readonly #rig: StoreRig;
  readonly #clock: StoreClock;
  #seed: number;

  constructor(rig: StoreRig, clock: StoreClock, seed: number) {
    this.#rig = rig;
    this.#clock = clock;
    this.#seed = seed;
    this.isDriven = rig.isDriven;
    // A question may be asked a few times, and be late both ways each time.
    this.slackMs = rig.slackMs + 8 * MANY_FAULTS.lateMs;
  }

  now(): number {
    return this.#rig.now();
  }

  pass(ms: number): Promise<void> {
    return this.#rig.pass(ms);
  }

  async open(
    config: StoreConfig,
    emit: (to: StoreUser, messages: FromStore[]) => void,
  ): Promise<JobStore> {
    const store = new FaultyStore(this.#clock, ++this.#seed, emit);
    store.inner = await this.#rig.open(config, (to, messages) => store.hear(to, messages));
    return store;
  }

  dispose(): Promise<void> {
    return this.#rig.dispose();
  }
}
