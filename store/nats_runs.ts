/**
 * The jobs that run here: from the hint that came to the result that is stored. The order of what is stored and what is
 * acknowledged is told in nats_record.ts.
 *
 * The first try of a job trusts its hint, which names the record's revision, and "running" is stored only once it has
 * run for a moment: a quick job costs one change less. Every other hint has its record read first.
 *
 * @module
 */

import type { Frames, RunOutcome, ToStore } from "./messages.ts";
import type { NatsCounts } from "./nats_counts.ts";
import { type EndEvents, NatsEnds } from "./nats_ends.ts";
import type { NatsGround, Read, Written } from "./nats_ground.ts";
import { type Lane, parseDelivery, type Puller } from "./nats_lanes.ts";
import type { NatsMessage } from "./nats_library.ts";
import { type Held, type Local, NatsLocals } from "./nats_locals.ts";
import {
  buildHint,
  changed,
  cut,
  type Hint,
  isEnd,
  isExpired,
  type JobRecord,
  judge,
  LONGEST_NAK,
  parseHint,
} from "./nats_record.ts";
import { type Run, running } from "./nats_run.ts";

/** A run that lasts longer has "running" stored, ms. */
const MARK_AFTER = 100;
const MARK_INTERVAL = 25;
/** A job that would expire within this time has "running" stored when it starts, ms. */
const LAST_MOMENT = 1000;
/** Progress is stored so often at most, ms. */
const PROGRESS_INTERVAL = 500;
/** What was not started comes again after that, ms. */
const RETURN_DELAY = 200;
/** At once NATS would give it to a request of this node's, which nobody hears any more, ms. */
const STOP_DELAY = 50;
/** What is ready goes to others when it was not started within this time, as when all workers have long jobs, ms. */
const READY_LIMIT = 1000;
/** A job whose group is full comes again after that, ms, times how many of the group have been sent back. */
const GROUP_DELAY = 200;
/** Cancelled jobs that are remembered, as their hints may be under way. */
const MAX_CANCELLED = 10_000;
const EMPTY = new Uint8Array(0);

/** What a run tells others. */
export interface RunEvents extends Omit<EndEvents, "forget"> {
  /** There may be room again. */
  freed(service: string): void;
}

/** See above. */
export class NatsRuns implements Puller {
  readonly #ground: NatsGround;
  readonly #counts: NatsCounts;
  readonly #events: RunEvents;
  readonly #runs = new Map<number, Run>();
  readonly #byId = new Map<string, Run>();
  readonly #locals: NatsLocals;
  readonly #ends: NatsEnds;
  readonly #cancelled = new Set<string>();
  #last = 0;
  #isStopped = false;
  #cancelMark: (() => void) | undefined;
  #cancelBeat: (() => void) | undefined;
  #cancelReady: (() => void) | undefined;

  /** Hears at once of jobs that are cancelled by other nodes. */
  constructor(ground: NatsGround, counts: NatsCounts, events: RunEvents) {
    this.#ground = ground;
    this.#counts = counts;
    this.#events = events;
    this.#locals = new NatsLocals(() => ground.config, () => ground.clock.steady());
    const forget = (run: Run) => this.#forget(run);
    this.#ends = new NatsEnds(ground, counts, { ...events, forget });
    ground.link.subscribe(ground.names.cancelled, ({ data }) => {
      this.cancelled(new TextDecoder().decode(data));
    });
    ground.link.subscribe(ground.names.runners, ({ data, reply }) => {
      const isHere = this.#byId.has(new TextDecoder().decode(data));
      if (isHere && reply !== undefined) ground.link.publish(reply, "here");
    });
    this.#beat();
  }

  /** How many have ended and are not stored yet. */
  get unstored(): number {
    let count = 0;
    for (const { outcome, isWriting } of this.#runs.values()) {
      if (outcome !== undefined || isWriting) count++;
    }
    return count;
  }

  /** The record of a job that runs here, as far as it is known without asking. */
  recordOf(id: string): JobRecord | undefined {
    const run = this.#byId.get(id);
    const isSure = run !== undefined && !run.isSuspect && run.outcome === undefined;
    return isSure ? running(run, this.#ground.node) : undefined;
  }

  /** The body of a job that runs here. */
  bodyOf(id: string): Frames | undefined {
    return this.#byId.get(id)?.body;
  }

  /** Rules may be others. */
  configure(): void {
    this.#locals.configure();
    for (const service of this.#locals.all().keys()) this.#freed(service);
  }

  /** Starts nothing of it, until it is taken back. */
  setPaused(services: ReadonlySet<string>): void {
    for (const service of services) {
      this.#locals.of(service).isPaused = true;
      this.#giveBackReady(service);
    }
    for (const [service, local] of this.#locals.all()) {
      if (!local.isPaused || services.has(service)) continue;
      local.isPaused = false;
      this.#freed(service);
    }
  }

  /** What the plane has said. */
  setRoom(message: Extract<ToStore, { type: "room" }>): void {
    this.#locals.setRoom(message);
    this.#freed(message.service);
  }

  /** There may be room: those that are held come first. */
  #freed(service: string): void {
    for (const held of this.#locals.takeHeld(service, this.room(service))) this.#look(held);
    const { clock, link, ackWait } = this.#ground;
    const { ready } = this.#locals.of(service);
    while (ready.length > 0 && link.isUp && this.room(service) > 0) {
      const next = ready.shift();
      // Others have what this node was silent about, as when it was stopped for a while.
      if (next !== undefined && clock.steady() - next.sureAt < ackWait) this.#take(next);
    }
    this.#events.freed(service);
  }

  #giveBackReady(service?: string): void {
    for (const { reply } of this.#locals.takeReady(service)) {
      this.#ground.giveBack(reply, STOP_DELAY);
    }
  }

  /** See {@linkcode Puller}. */
  room(service: string): number {
    const local = this.#locals.find(service);
    if (local === undefined || local.isPaused || this.#isStopped) return 0;
    const now = this.#ground.clock.steady();
    const room = Math.min(local.room, local.rate.available(now));
    if (room <= 0 && local.room > 0) this.#wakeLater(service, local, local.rate.waitMs(now));
    return room;
  }

  /** See {@linkcode Puller}. */
  wanted(service: string): number {
    const room = this.room(service);
    const local = this.#locals.find(service);
    if (local === undefined || local.isPaused || this.#isStopped) return 0;
    return Math.max(0, Math.max(0, room) + this.#ahead(local) - local.ready.length);
  }

  /** A service with a rate has nothing ready: what it may start is known. */
  #ahead(local: Local): number {
    const now = this.#ground.clock.steady();
    return local.rate.available(now) === Infinity ? local.ahead(now) : 0;
  }

  /** See {@linkcode Puller}. */
  hint(lane: Lane, { data, reply = "" }: NatsMessage): void {
    const read = parseHint(data);
    const delivery = parseDelivery(reply);
    if (read === undefined || delivery === undefined) {
      this.#ground.log("warn", "a message of the work queue is none of a job: it is removed");
      this.#ground.link.publish(reply, "+TERM");
      return;
    }
    const { hint, body } = read;
    const run = this.#byId.get(hint.record.id);
    if (run !== undefined) return this.#comeAgain(run, reply);
    const isFirst = delivery.count === 1;
    const sureAt = this.#ground.clock.steady();
    const known = isFirst ? undefined : this.#locals.heldOf(hint.record);
    if (known !== undefined) return void Object.assign(known, { reply, sureAt });
    const held = {
      ...{ hint, body, reply, storedAt: delivery.storedAt, isFirst, sureAt },
      heldAt: sureAt,
    };
    const local = this.#locals.of(lane.service);
    if (this.room(lane.service) > 0) return this.#take(held);
    const isWanted = local.ready.length < this.#ahead(local) && !local.isPaused && !this.#isStopped;
    if (!isWanted) return this.#ground.giveBack(reply, 0);
    local.ready.push(held);
    this.#watchReady();
  }

  #watchReady(): void {
    const { clock } = this.#ground;
    this.#cancelReady ??= clock.after(READY_LIMIT, () => {
      this.#cancelReady = undefined;
      const late = this.#locals.takeReadySince(clock.steady() - READY_LIMIT);
      for (const { reply } of late) this.#ground.giveBack(reply, 0);
      if (this.#locals.hasReady) this.#watchReady();
    });
  }

  /** There is room for it. */
  #take(held: Held): void {
    const { hint: { record, revision }, body, reply, isFirst } = held;
    if (this.#locals.isFull(record)) return this.#hold(held);
    const isSure = isFirst && revision > 0 && !this.#cancelled.has(record.id) &&
      !isExpired(record, this.#ground.clock.now());
    if (isSure) return this.#start(record, revision, body, reply);
    this.#look(held);
  }

  /** The more of a group are sent back, the later they come again, so that others are not held up. */
  #hold(held: Held): void {
    const sentBack = this.#locals.hold(held);
    if (sentBack === undefined) return;
    this.#ground.giveBack(held.reply, Math.min(LONGEST_NAK, GROUP_DELAY * sentBack));
  }

  /** A job was cancelled: its run is not needed any more. */
  cancelled(id: string): void {
    this.#cancelled.add(id);
    if (this.#cancelled.size > MAX_CANCELLED) {
      for (const oldest of this.#cancelled) {
        this.#cancelled.delete(oldest);
        break;
      }
    }
    const run = this.#byId.get(id);
    // What others say is a reason to look, and no more.
    if (run === undefined) return;
    run.isSuspect = true;
    void this.#recheck(run);
  }

  /** Keeps a body outside the work queue. */
  keepBody(record: JobRecord, body: Frames, done: (isKept: boolean) => void): void {
    this.#ends.keepBody(record, body, done);
  }

  /** A run has ended. */
  ended(number: number, outcome: RunOutcome): void {
    const run = this.#runs.get(number);
    if (run === undefined || run.outcome !== undefined) return;
    run.outcome = outcome;
    this.#goOn(run);
  }

  /** A run was not started. */
  returned(number: number): void {
    const run = this.#runs.get(number);
    if (run === undefined) return;
    if (run.isMarked || run.isWriting) {
      this.ended(number, {
        code: 503,
        unstarted: true,
        result: { bytes: new Uint8Array(0) },
        ms: 0,
      });
      return;
    }
    this.#forget(run);
    this.#ground.giveBack(run.reply, RETURN_DELAY);
  }

  /** How far a run is. */
  progress({ run: number, done, total, note }: Extract<ToStore, { type: "progress" }>): void {
    const run = this.#runs.get(number);
    if (run === undefined || run.outcome !== undefined) return;
    run.progress = { done, total, note: cut(note) };
    this.#armMark();
  }

  /** Keeps something for the next try. */
  checkpoint(message: Extract<ToStore, { type: "checkpoint" }>): void {
    const { run: number, number: asked, value } = message;
    const run = this.#runs.get(number);
    const { names } = this.#ground;
    if (run === undefined) return this.#ground.refuse("plane", asked, 409, "The run has ended");
    if (this.#ground.isTooLarge(value.bytes)) {
      return this.#ground.refuse("plane", asked, 413, "The checkpoint is larger than NATS takes");
    }
    const payload = buildHint({ record: run.record, revision: 0, movedFor: 0 }, value);
    this.#ground.put(names.checkpoint(run.id), payload, undefined, Infinity, (answer) => {
      if (answer?.fault !== undefined || answer === undefined) {
        const why = answer?.fault?.text ?? "NATS does not answer";
        return this.#ground.refuse("plane", asked, 507, `NATS can't keep it: ${why}`);
      }
      run.record = { ...run.record, hasCheckpoint: true };
      // The record must say so, else the next try would not look for it.
      run.isMarked = false;
      this.#goOn(run, () => this.#ground.say("plane", { type: "kept", number: asked }));
    });
  }

  /** After a reconnect: hints must not come to others. */
  renew(): void {
    const { link, clock, ackWait } = this.#ground;
    const now = clock.steady();
    this.#locals.dropStale(now - ackWait);
    for (const { reply } of this.#runs.values()) link.publish(reply, "+WPI");
    for (const held of this.#locals.held()) {
      if (link.publish(held.reply, "+WPI")) held.sureAt = now;
    }
    for (const service of this.#locals.all().keys()) this.#freed(service);
  }

  /** Starts nothing any more; what has not ended comes to others at once. */
  stop(): void {
    this.#isStopped = true;
    this.#giveBackReady();
  }

  /** Lets go of all that still runs. */
  close(): void {
    this.#isStopped = true;
    this.#cancelMark?.();
    this.#cancelBeat?.();
    this.#cancelReady?.();
    for (const local of this.#locals.all().values()) local.cancelWake?.();
    for (const { reply, outcome } of this.#runs.values()) {
      if (outcome === undefined) this.#ground.giveBack(reply, STOP_DELAY);
    }
    for (const { reply } of this.#locals.held()) this.#ground.giveBack(reply, STOP_DELAY);
  }

  // ---- before a run ----

  #wakeLater(service: string, local: Local, ms: number): void {
    local.cancelWake ??= this.#ground.clock.after(ms, () => {
      local.cancelWake = undefined;
      this.#freed(service);
    });
  }

  /** The hint of a job that runs here, as NATS has heard nothing of it for `ackWait`. */
  #comeAgain(run: Run, reply: string): void {
    this.#counts.repeated++;
    run.reply = reply;
    this.#ground.link.publish(reply, "+WPI");
  }

  /** Reads the record, as the hint alone is not enough. */
  #look({ hint, body, reply, storedAt }: Held): void {
    const { service } = hint.record;
    const local = this.#locals.of(service);
    local.reading++;
    this.#ground.read(hint.record.id, this.#ground.ackWait, (read) => {
      local.reading--;
      if (read === undefined) return; // it comes again
      const ageMs = this.#ground.clock.now() - storedAt;
      this.#decide(read, hint, body, reply, ageMs);
      this.#freed(service);
    });
  }

  #decide(read: Read, hint: Hint, body: Frames, reply: string, ageMs: number): void {
    const { record, revision } = read;
    const verdict = judge(record, hint, ageMs, this.#ground.clock.now());
    if (this.#byId.has(hint.record.id)) return;
    if (verdict.what === "later") return this.#ground.giveBack(reply, verdict.ms);
    if (verdict.what === "drop") return this.#ends.drop(record, body, reply, verdict.keep);
    if (record === undefined) return;
    if (verdict.what === "run") {
      if (record.state !== "running") return this.#start(record, revision, body, reply);
      // Its node has died, or lost NATS: that was no try.
      this.#counts.repeated++;
      const again = { ...record, attempt: record.attempt - 1, deaths: (record.deaths ?? 0) + 1 };
      return this.#start(again, revision, body, reply);
    }
    const end = verdict.what === "expire"
      ? changed(record, { state: "expired", endedAt: this.#ground.clock.now(), place: "kept" })
      : changed(record, {
        state: "failed",
        code: 502,
        message: "The servers that ran it have died, each time",
        endedAt: this.#ground.clock.now(),
        place: "kept",
      });
    this.#ends.endUnstarted(end, revision, body, reply);
  }

  #start(record: JobRecord, revision: number, body: Frames, reply: string): void {
    const local = this.#locals.of(record.service);
    if (this.#isStopped) return this.#ground.giveBack(reply, 0);
    if (!this.#locals.enter(record)) return this.#ground.giveBack(reply, GROUP_DELAY);
    if (!local.rate.take(this.#ground.clock.steady())) {
      this.#locals.leave(record);
      return this.#ground.giveBack(reply, local.rate.waitMs(this.#ground.clock.steady()));
    }
    const run: Run = {
      number: ++this.#last,
      id: record.id,
      service: record.service,
      record,
      revision,
      reply,
      body,
      startedAt: this.#ground.clock.steady(),
      isMarked: false,
      isWriting: false,
      outcome: undefined,
      progress: undefined,
      progressAt: 0,
      isCancelled: false,
      isSuspect: false,
    };
    this.#runs.set(run.number, run);
    this.#byId.set(run.id, run);
    local.given++;
    local.started(run.startedAt);
    if (record.hasCheckpoint) return this.#giveWithCheckpoint(run);
    this.#give(run, undefined);
  }

  #giveWithCheckpoint(run: Run): void {
    const { names, ackWait } = this.#ground;
    this.#ground.last(names.kept, names.checkpoint(run.id), ackWait, (stored, isKnown) => {
      if (!isKnown) {
        // The plane does not hear of it, so it takes no room.
        this.#locals.of(run.service).given--;
        this.#forget(run);
        return this.#ground.giveBack(run.reply, RETURN_DELAY);
      }
      this.#give(run, stored && parseHint(stored.payload)?.body);
    });
  }

  #give(run: Run, checkpoint: Frames | undefined): void {
    const { record } = run;
    const attempt = record.attempt + 1;
    const now = this.#ground.clock.now();
    this.#counts.started(record, now);
    run.record = changed(record, {
      state: "running",
      attempt,
      startedAt: now,
      node: this.#ground.node,
      progress: undefined,
    });
    // Others must see at once that it was started in time.
    const isLastMoment = record.attempt === 0 && record.expiresAt > 0 &&
      record.expiresAt - now < LAST_MOMENT;
    if (isLastMoment) this.#goOn(run);
    this.#armMark();
    this.#ground.say("plane", {
      type: "job",
      run: {
        run: run.number,
        id: run.id,
        service: run.service,
        user: record.user,
        attempt,
        tries: record.retries + 1,
        requestTimeout: record.requestTimeout,
        expiresAt: record.attempt === 0 ? record.expiresAt : 0,
        trace: record.trace,
        checkpoint,
        // It is kept here for the next try, and a port would not take it away anyway.
        body: run.body,
      },
    });
  }

  // ---- while it runs ----

  #beat(): void {
    this.#cancelBeat = this.#ground.clock.after(this.#ground.ackWait / 3, () => {
      this.renew();
      this.#beat();
    });
  }

  #armMark(): void {
    this.#cancelMark ??= this.#ground.clock.after(MARK_INTERVAL, () => {
      this.#cancelMark = undefined;
      if (this.#mark()) this.#armMark();
    });
  }

  /** Stores "running", and progress; true: something is left to do later. */
  #mark(): boolean {
    const now = this.#ground.clock.steady();
    let isLeft = false;
    for (const run of this.#runs.values()) {
      if (run.outcome !== undefined) continue;
      const isDue = !run.isMarked && now - run.startedAt >= MARK_AFTER;
      const hasNews = run.progress !== undefined && now >= run.progressAt;
      if ((isDue || hasNews) && !run.isWriting) this.#goOn(run);
      isLeft ||= !run.isMarked || run.progress !== undefined;
    }
    return isLeft;
  }

  /** Does what is next for a run, one change at a time. */
  #goOn(run: Run, done?: () => void): void {
    if (run.isWriting) {
      if (done !== undefined) this.#ground.clock.after(MARK_INTERVAL, () => this.#goOn(run, done));
      return;
    }
    if (run.outcome !== undefined) {
      this.#ends.end(run, run.outcome);
      return done?.();
    }
    const progress = run.progress ?? run.record.progress;
    run.progress = undefined;
    run.progressAt = this.#ground.clock.steady() + PROGRESS_INTERVAL;
    run.isWriting = true;
    const next = { ...running(run, this.#ground.node), progress };
    this.#ground.write(next, run.revision, EMPTY, Infinity, (written) => {
      run.isWriting = false;
      this.#marked(run, written);
      if (run.outcome !== undefined && this.#runs.has(run.number)) this.#goOn(run);
      done?.();
    });
  }

  #marked(run: Run, written: Written): void {
    if (written.type === "written") {
      run.isMarked = true;
      run.revision = written.revision;
      const { hasCheckpoint } = run.record;
      run.record = { ...changed(written.record, {}), hasCheckpoint };
      this.#events.changed(written.record, EMPTY);
    } else if (written.type === "conflict") {
      this.#lose(run, written.read);
    }
  }

  async #recheck(run: Run): Promise<void> {
    const read = await this.#ground.readOf(run.id);
    if (read !== undefined && this.#runs.has(run.number)) this.#lose(run, read);
  }

  /** The record is another's: cancelled, forgotten, or taken over. */
  #lose(run: Run, { record, revision }: Read): void {
    const isOver = record === undefined || isEnd(record.state);
    if (isOver) return this.#cancel(run);
    if (record.node !== "" && record.node !== this.#ground.node && record.state === "running") {
      return this.#cancel(run);
    }
    if (revision <= run.revision) return;
    // Somebody has changed what does not matter here.
    run.revision = revision;
    run.record = { ...run.record, version: Math.max(run.record.version, record.version + 1) };
  }

  #cancel(run: Run): void {
    if (run.isCancelled || run.outcome !== undefined) return;
    run.isCancelled = true;
    this.#ground.say("plane", { type: "cancelRun", run: run.number });
  }

  #forget(run: Run): void {
    if (!this.#runs.delete(run.number)) return;
    this.#byId.delete(run.id);
    this.#locals.leave(run.record);
    this.#freed(run.service);
  }
}
