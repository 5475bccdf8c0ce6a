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
import { type NatsGround, type Read, releaseKey, type Written } from "./nats_ground.ts";
import { type Lane, parseDelivery, type Puller } from "./nats_lanes.ts";
import type { NatsMessage } from "./nats_library.ts";
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
  sizesOf,
} from "./nats_record.ts";
import { RateLimit } from "./rate.ts";
import { backoffMs, messageOfRun, verdictOf } from "./verdict.ts";

/** A run that lasts longer has "running" stored, ms. */
const MARK_AFTER = 100;
const MARK_INTERVAL = 25;
/** Progress is stored so often at most, ms. */
const PROGRESS_INTERVAL = 500;
/** What was not started comes again after that, ms. */
const RETURN_DELAY = 200;
/** A job whose group is full comes again after that, ms, times how many of the group have been sent back. */
const GROUP_DELAY = 200;
/** Cancelled jobs that are remembered, as their hints may be under way. */
const MAX_CANCELLED = 10_000;
const EMPTY = new Uint8Array(0);

/** What a run tells others. */
export interface RunEvents {
  /** A record was changed here. */
  changed(record: JobRecord, result: Uint8Array): void;
  /** There may be room again. */
  freed(service: string): void;
  /** A body was kept until `record.runAt`. */
  kept(record: JobRecord): void;
}

/** One job that runs here. */
interface Run {
  number: number;
  id: string;
  service: string;
  group: string;
  /** As it stands in NATS, as far as is known. */
  record: JobRecord;
  revision: number;
  /** Where its hint is acknowledged. */
  reply: string;
  body: Frames;
  /** By the steady clock. */
  startedAt: number;
  isMarked: boolean;
  /** A change is under way. */
  isWriting: boolean;
  outcome: RunOutcome | undefined;
  progress: JobRecord["progress"];
  /** By the steady clock: not before. */
  progressAt: number;
  isCancelled: boolean;
  /** The record may say otherwise. */
  isSuspect: boolean;
}

/** A hint whose group is full: it is the next of it, and no other node's. */
interface Held {
  hint: Hint;
  body: Frames;
  reply: string;
  storedAt: number;
}

/** Jobs of a group here. */
interface Group {
  running: number;
  sentBack: number;
  held: Held[];
}

/** What is known of a service here. */
class Local {
  /** What the plane has said. */
  said = 0;
  /** Jobs that it was given. */
  given = 0;
  /** How many of these it had heard of then; undefined: it does not say. */
  heard: number | undefined;
  givenThen = 0;
  /** Hints whose records are being read. */
  reading = 0;
  isPaused = false;
  rate: RateLimit;
  readonly groups = new Map<string, Group>();
  cancelWake: (() => void) | undefined;

  constructor(rate: RateLimit) {
    this.rate = rate;
  }

  get room(): number {
    return this.said - (this.given - (this.heard ?? this.givenThen)) - this.reading;
  }
}

/** See above. */
export class NatsRuns implements Puller {
  readonly #ground: NatsGround;
  readonly #counts: NatsCounts;
  readonly #events: RunEvents;
  readonly #runs = new Map<number, Run>();
  readonly #byId = new Map<string, Run>();
  readonly #locals = new Map<string, Local>();
  readonly #cancelled = new Set<string>();
  #last = 0;
  #isStopped = false;
  #cancelMark: (() => void) | undefined;
  #cancelBeat: (() => void) | undefined;

  /** Hears at once of jobs that are cancelled by other nodes. */
  constructor(ground: NatsGround, counts: NatsCounts, events: RunEvents) {
    this.#ground = ground;
    this.#counts = counts;
    this.#events = events;
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
    return isSure ? running(run, this.#ground) : undefined;
  }

  /** The body of a job that runs here. */
  bodyOf(id: string): Frames | undefined {
    return this.#byId.get(id)?.body;
  }

  /** Services that this node has room for, and what runs of them. */
  services(): Map<string, number> {
    const services = new Map([...this.#locals.keys()].map((service) => [service, 0]));
    for (const { service } of this.#runs.values()) {
      services.set(service, (services.get(service) ?? 0) + 1);
    }
    return services;
  }

  /** Rules may be others. */
  configure(): void {
    const now = this.#ground.clock.steady();
    for (const [service, { rate }] of this.#locals) {
      const rule = this.#ground.config.services[service]?.rate;
      if (rule !== undefined) rate.configure(rule, now);
    }
    for (const [service, local] of this.#locals) {
      this.#startAllHeld(local);
      this.#events.freed(service);
    }
  }

  /** Starts nothing of it, until it is taken back. */
  setPaused(services: ReadonlySet<string>): void {
    for (const service of services) this.#local(service).isPaused = true;
    for (const [service, local] of this.#locals) {
      if (local.isPaused && !services.has(service)) {
        local.isPaused = false;
        this.#events.freed(service);
      }
    }
  }

  /** What the plane has said. */
  setRoom({ service, jobs, heard }: Extract<ToStore, { type: "room" }>): void {
    const local = this.#local(service);
    local.said = Math.max(0, jobs);
    local.heard = heard;
    local.givenThen = local.given;
    this.#startAllHeld(local);
    this.#events.freed(service);
  }

  /** See {@linkcode Puller}. */
  room(service: string): number {
    const local = this.#locals.get(service);
    if (local === undefined || local.isPaused || this.#isStopped) return 0;
    const now = this.#ground.clock.steady();
    const room = Math.min(local.room, local.rate.available(now));
    if (room <= 0 && local.room > 0) this.#wakeLater(service, local, local.rate.waitMs(now));
    return room;
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
    if (this.#comesAgainHeld(hint.record, reply)) return;
    if (this.room(lane.service) <= 0) return this.#giveBack(reply, 0);
    const local = this.#local(lane.service);
    if (this.#isGroupFull(local, hint.record)) {
      return this.#waitForGroup(local, { hint, body, reply, storedAt: delivery.storedAt });
    }
    const isFirst = delivery.count === 1 && hint.revision > 0 &&
      !this.#cancelled.has(hint.record.id) && !isExpired(hint.record, this.#ground.clock.now());
    if (isFirst) return this.#start(hint.record, hint.revision, body, reply);
    this.#look(hint, body, reply, delivery.storedAt);
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
    this.#giveBack(run.reply, RETURN_DELAY);
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
    const { link } = this.#ground;
    for (const { reply } of this.#runs.values()) link.publish(reply, "+WPI");
    for (const { reply } of this.#allHeld()) link.publish(reply, "+WPI");
  }

  *#allHeld(): Generator<Held> {
    for (const { groups } of this.#locals.values()) {
      for (const { held } of groups.values()) yield* held;
    }
  }

  /** Starts nothing any more; what has not ended comes to others at once. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Lets go of all that still runs. */
  close(): void {
    this.#isStopped = true;
    this.#cancelMark?.();
    this.#cancelBeat?.();
    for (const local of this.#locals.values()) local.cancelWake?.();
    for (const { reply, outcome } of this.#runs.values()) {
      if (outcome === undefined) this.#giveBack(reply, 0);
    }
    for (const { reply } of this.#allHeld()) this.#giveBack(reply, 0);
  }

  // ---- before a run ----

  #local(service: string): Local {
    let local = this.#locals.get(service);
    if (local === undefined) {
      const rule = this.#ground.config.services[service]?.rate ?? { perSecond: 0, burst: 0 };
      local = new Local(new RateLimit(rule, this.#ground.clock.steady()));
      this.#locals.set(service, local);
    }
    return local;
  }

  #wakeLater(service: string, local: Local, ms: number): void {
    local.cancelWake ??= this.#ground.clock.after(ms, () => {
      local.cancelWake = undefined;
      this.#events.freed(service);
    });
  }

  #giveBack(reply: string, ms: number): void {
    const { link } = this.#ground;
    link.publish(reply, ms <= 0 ? "-NAK" : `-NAK {"delay": ${Math.round(ms * 1e6)}}`);
  }

  /** The hint of a job that runs here, as NATS has heard nothing of it for `ackWait`. */
  #comeAgain(run: Run, reply: string): void {
    this.#counts.repeated++;
    run.reply = reply;
    this.#ground.link.publish(reply, "+WPI");
  }

  #comesAgainHeld({ id, service, group }: JobRecord, reply: string): boolean {
    const known = group === "" ? undefined : this.#locals.get(service)?.groups.get(group);
    const held = known?.held.find(({ hint }) => hint.record.id === id);
    if (held !== undefined) held.reply = reply;
    return held !== undefined;
  }

  /** Reads the record, as the hint alone is not enough. */
  #look(hint: Hint, body: Frames, reply: string, storedAt: number): void {
    const { service } = hint.record;
    const local = this.#local(service);
    local.reading++;
    this.#ground.read(hint.record.id, this.#ground.ackWait, (read) => {
      local.reading--;
      if (read === undefined) return; // it comes again
      const ageMs = this.#ground.clock.now() - storedAt;
      this.#decide(read, hint, body, reply, ageMs);
      this.#events.freed(service);
    });
  }

  #decide(read: Read, hint: Hint, body: Frames, reply: string, ageMs: number): void {
    const { record, revision } = read;
    const verdict = judge(record, hint, ageMs, this.#ground.clock.now());
    if (this.#byId.has(hint.record.id)) return;
    if (verdict.what === "later") return this.#giveBack(reply, verdict.ms);
    if (verdict.what === "drop") return this.#drop(record, body, reply, verdict.keep);
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
    this.#endUnstarted(end, revision, body, reply);
  }

  #drop(record: JobRecord | undefined, body: Frames, reply: string, keep: boolean): void {
    const ack = () => this.#ground.link.publish(reply, "+ACK");
    if (!keep || record === undefined) return void ack();
    this.keepBody(record, body, (isKept) => isKept && ack());
  }

  /** Ends a job that was not started. */
  #endUnstarted(end: JobRecord, revision: number, body: Frames, reply: string): void {
    this.keepBody(end, body, (isKept) => {
      if (!isKept) return;
      this.#ground.write(end, revision, EMPTY, this.#ground.ackWait, (written) => {
        if (written.type !== "written") return; // the hint comes again
        this.#ground.link.publish(reply, "+ACK");
        this.#tellEnd(written.record, EMPTY);
      });
    });
  }

  /** Keeps a body outside the work queue. */
  keepBody(record: JobRecord, body: Frames, done: (isKept: boolean) => void): void {
    const payload = buildHint({ record, revision: 0, movedFor: 0 }, body);
    const words = JSON.stringify(keptWords(record));
    const subject = this.#ground.names.body(record.id);
    this.#ground.put(subject, payload, { Job: words }, Infinity, (answer) => {
      done(answer !== undefined && answer.fault === undefined);
    });
  }

  #start(record: JobRecord, revision: number, body: Frames, reply: string): void {
    const local = this.#local(record.service);
    if (!this.#takeGroup(local, record)) return this.#giveBack(reply, GROUP_DELAY);
    if (!local.rate.take(this.#ground.clock.steady())) {
      this.#leaveGroup(local, record.group);
      return this.#giveBack(reply, local.rate.waitMs(this.#ground.clock.steady()));
    }
    const run: Run = {
      number: ++this.#last,
      id: record.id,
      service: record.service,
      group: record.group,
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
    if (record.hasCheckpoint) return this.#giveWithCheckpoint(run);
    this.#give(run, undefined);
  }

  #giveWithCheckpoint(run: Run): void {
    const { names, ackWait } = this.#ground;
    this.#ground.last(names.kept, names.checkpoint(run.id), ackWait, (stored, isKnown) => {
      if (!isKnown) {
        this.#forget(run);
        return this.#giveBack(run.reply, RETURN_DELAY);
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

  // ---- groups ----

  #mostOf(service: string): number {
    return this.#ground.config.services[service]?.maxRunningPerGroup || Infinity;
  }

  #groupOf(local: Local, group: string): Group {
    let known = local.groups.get(group);
    if (known === undefined) local.groups.set(group, known = { running: 0, sentBack: 0, held: [] });
    return known;
  }

  #takeGroup(local: Local, { service, group }: JobRecord): boolean {
    if (group === "") return true;
    const known = this.#groupOf(local, group);
    if (known.running >= this.#mostOf(service)) return false;
    known.running++;
    return true;
  }

  #leaveGroup(local: Local, group: string): void {
    const known = local.groups.get(group);
    if (known === undefined) return;
    known.running--;
    known.sentBack = 0;
    this.#startHeld(local, group, known);
  }

  /** The next of a group. */
  #startHeld(local: Local, group: string, known: Group): void {
    const next = known.held[0];
    if (next === undefined) {
      if (known.running <= 0) local.groups.delete(group);
      return;
    }
    const { service } = next.hint.record;
    if (known.running >= this.#mostOf(service) || this.room(service) <= 0) return;
    known.held.shift();
    this.#look(next.hint, next.body, next.reply, next.storedAt);
  }

  /** Those that wait for room, too. */
  #startAllHeld(local: Local): void {
    for (const [group, known] of local.groups) this.#startHeld(local, group, known);
  }

  /**
   * Its group is full: the next ones are held here, in their order; the more there are beyond those, the later they
   * come again, so that others are not held up.
   */
  #waitForGroup(local: Local, held: Held): void {
    const { service, group } = held.hint.record;
    const known = this.#groupOf(local, group);
    if (known.held.length < this.#mostOf(service)) {
      known.held.push(held);
      return;
    }
    this.#giveBack(held.reply, Math.min(LONGEST_NAK, GROUP_DELAY * ++known.sentBack));
  }

  #isGroupFull(local: Local, { service, group }: JobRecord): boolean {
    if (group === "") return false;
    const known = local.groups.get(group);
    // Who comes later waits behind those that are held.
    return known !== undefined &&
      (known.running >= this.#mostOf(service) || known.held.length > 0);
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
      if (done !== undefined) this.#later(() => this.#goOn(run, done));
      return;
    }
    if (run.outcome !== undefined) {
      this.#end(run, run.outcome);
      return done?.();
    }
    const progress = run.progress ?? run.record.progress;
    run.progress = undefined;
    run.progressAt = this.#ground.clock.steady() + PROGRESS_INTERVAL;
    run.isWriting = true;
    const next = { ...running(run, this.#ground), progress };
    this.#ground.write(next, run.revision, EMPTY, Infinity, (written) => {
      run.isWriting = false;
      this.#marked(run, written);
      if (run.outcome !== undefined && this.#runs.has(run.number)) this.#goOn(run);
      done?.();
    });
  }

  #later(call: () => void): void {
    this.#ground.clock.after(MARK_INTERVAL, call);
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

  // ---- the end of a run ----

  #end(run: Run, outcome: RunOutcome): void {
    const now = this.#ground.clock.now();
    switch (verdictOf(outcome, run.record)) {
      case "done":
        return this.#store(run, doneRecord(run, outcome, now));
      case "returned":
        return this.#endReturned(run);
      case "again":
        return this.#retry(run, outcome);
      case "failed":
        return this.#fail(run, failedRecord(run, outcome, now), outcome.result);
      case "cancelled":
        return this.#fail(run, cancelledRecord(run, now), { bytes: EMPTY });
    }
  }

  /** "running" was stored, and is taken back: it was no try. */
  #endReturned(run: Run): void {
    if (!run.isMarked) {
      this.#forget(run);
      return this.#giveBack(run.reply, RETURN_DELAY);
    }
    const back: JobRecord = {
      ...after(run),
      state: "waiting",
      node: "",
      startedAt: undefined,
      attempt: run.record.attempt - 1,
    };
    this.#write(run, back, EMPTY, () => {
      this.#giveBack(run.reply, RETURN_DELAY);
    });
  }

  #store(run: Run, { record, result }: { record: JobRecord; result: Frames }): void {
    const most = this.#ground.link.connection?.info?.max_payload ?? Infinity;
    if (result.bytes.length > most - RECORD_ROOM) {
      const text =
        `The result has ${result.bytes.length} bytes: more than NATS takes (max_payload)`;
      const outcome = errorOutcome(500, text);
      const failed = failedRecord(run, outcome, this.#ground.clock.now());
      return this.#fail(run, failed, outcome.result);
    }
    this.#write(run, record, result.bytes, (stored) => {
      this.#ground.link.publish(run.reply, "+ACK");
      if (record.hasCheckpoint) {
        const { names } = this.#ground;
        this.#ground.purge(names.kept, names.checkpoint(run.id));
      }
      this.#tellEnd(stored, result.bytes);
    });
  }

  /** Ends it otherwise than done; its body is kept, as an operator may want to run it again. */
  #fail(run: Run, record: JobRecord, result: Frames): void {
    run.isWriting = true;
    this.keepBody(record, run.body, (isKept) => {
      if (!isKept) return this.#later(() => this.#fail(run, record, result));
      this.#write(run, record, result.bytes, (stored) => {
        this.#ground.link.publish(run.reply, "+ACK");
        this.#tellEnd(stored, result.bytes);
      });
    });
  }

  #retry(run: Run, outcome: RunOutcome): void {
    const { record } = run;
    const delay = backoffMs(record.backoff, record.attempt, Math.random());
    const next: JobRecord = {
      ...after(run),
      state: "scheduled",
      runAt: this.#ground.clock.now() + delay,
      code: outcome.code,
      message: cut(messageOfRun(outcome.result)),
      place: delay > LONGEST_NAK ? "kept" : "work",
    };
    run.isWriting = true;
    const write = () =>
      this.#write(run, next, EMPTY, (stored) => {
        this.#counts.retried(run.service);
        if (next.place === "work") return this.#giveBack(run.reply, Math.max(1, delay));
        this.#ground.link.publish(run.reply, "+ACK");
        this.#events.kept(stored);
      });
    if (next.place === "work") return write();
    this.keepBody(
      next,
      run.body,
      (isKept) => isKept ? write() : this.#later(() => this.#retry(run, outcome)),
    );
  }

  /** Stores how a run has ended, however long that takes; then the hint may be let go. */
  #write(
    run: Run,
    record: JobRecord,
    payload: Uint8Array,
    stored: (record: JobRecord) => void,
  ): void {
    run.isWriting = true;
    this.#ground.write(record, run.revision, payload, Infinity, (written) => {
      if (written.type === "written") {
        stored(written.record);
        this.#forget(run);
        this.#events.changed(written.record, payload);
      } else if (written.type === "conflict") {
        this.#contend(run, record, payload, stored, written.read);
      } else if (written.type === "refused") {
        this.#ground.log("warn", "NATS refuses a result: it is kept here until it is taken", {
          job: run.id,
          reason: written.fault.text,
        });
        this.#ground.clock.after(1000, () => this.#write(run, record, payload, stored));
      }
    });
  }

  /**
   * Another node has changed the record while this one ran the job: a result that is good still counts, unless the job
   * has ended; all else is the other's to decide.
   */
  #contend(
    run: Run,
    record: JobRecord,
    payload: Uint8Array,
    stored: (record: JobRecord) => void,
    read: Read,
  ): void {
    const now = read.record;
    const isOver = now === undefined || isEnd(now.state);
    const isMine = now?.node === this.#ground.node || now?.node === "";
    if (!isOver && (record.state === "done" || isMine)) {
      run.revision = read.revision;
      const version = now.version + 1;
      return this.#write(run, { ...record, version, was: now.state }, payload, stored);
    }
    this.#counts.repeated += isOver && now?.state === "done" ? 1 : 0;
    if (!isOver) return this.#forget(run);
    this.#drop(now, run.body, run.reply, now?.state !== "done");
    this.#forget(run);
  }

  #tellEnd(record: JobRecord, result: Uint8Array): void {
    releaseKey(this.#ground, record);
    this.#counts.ended(record, this.#ground.clock.now());
    this.#ground.over(record);
    this.#events.changed(record, result);
  }

  #forget(run: Run): void {
    if (!this.#runs.delete(run.number)) return;
    this.#byId.delete(run.id);
    const local = this.#local(run.service);
    if (run.group !== "") this.#leaveGroup(local, run.group);
    this.#events.freed(run.service);
  }
}

/** Room for the words of a record in one message, bytes. */
export const RECORD_ROOM = 65_536;

/** The record of a run as it is now. */
function running(run: Run, { node }: NatsGround): JobRecord {
  return { ...run.record, state: "running", node };
}

/** The record that follows it, with what its handler has said last about how far it is. */
function after({ record, progress }: Run): JobRecord {
  return { ...record, progress: progress ?? record.progress, version: record.version + 1 };
}

function doneRecord(run: Run, { code, result }: RunOutcome, now: number) {
  const record: JobRecord = {
    ...after(run),
    state: "done",
    endedAt: now,
    code,
    message: undefined,
    result: sizesOf(result),
  };
  return { record, result };
}

function failedRecord(run: Run, { code, result }: RunOutcome, now: number): JobRecord {
  return {
    ...after(run),
    state: "failed",
    endedAt: now,
    code,
    message: cut(messageOfRun(result)),
    place: "kept",
    result: sizesOf(result),
  };
}

/** An operator has cancelled its run. */
function cancelledRecord(run: Run, now: number): JobRecord {
  return { ...after(run), state: "cancelled", endedAt: now, place: "kept" };
}

function errorOutcome(code: number, text: string): RunOutcome {
  return { code, unstarted: false, result: { bytes: new TextEncoder().encode(text) }, ms: 0 };
}

/** What the header of a body that is kept says. */
export interface KeptWords {
  id: string;
  service: string;
  state: JobRecord["state"];
  runAt: number;
  after: readonly string[];
}

/** See {@linkcode KeptWords}. */
export function keptWords({ id, service, state, runAt, after }: JobRecord): KeptWords {
  return { id, service, state, runAt, after };
}
