/**
 * The jobs that run here, until their results are stored. The order of what is stored and what is acknowledged is told
 * in nats_record.ts; which hints become runs, in nats_hints.ts.
 *
 * "Running" is stored only once a job has run for a moment: a quick job costs one change less.
 *
 * @module
 */

import type { Frames, RunOutcome, ToStore } from "./messages.ts";
import type { NatsCounts } from "./nats_counts.ts";
import { type EndEvents, NatsEnds } from "./nats_ends.ts";
import { type NatsGround, type Read, STOP_DELAY, type Written } from "./nats_ground.ts";
import type { NatsLocals } from "./nats_locals.ts";
import { buildHint, changed, cut, isEnd, type JobRecord, parseHint } from "./nats_record.ts";
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
/** Cancelled jobs that are remembered, as their hints may be under way. */
const MAX_CANCELLED = 10_000;
const EMPTY = new Uint8Array(0);

/** What a run tells others. */
export interface RunEvents extends Omit<EndEvents, "forget"> {
  /** There may be room again. */
  freed(service: string): void;
}

/** See above. */
export class NatsRuns {
  /** How they end. */
  readonly ends: NatsEnds;
  readonly #ground: NatsGround;
  readonly #counts: NatsCounts;
  readonly #events: RunEvents;
  readonly #runs = new Map<number, Run>();
  readonly #byId = new Map<string, Run>();
  readonly #locals: NatsLocals;
  readonly #cancelled = new Set<string>();
  #last = 0;
  #cancelMark: (() => void) | undefined;

  /** Hears at once of jobs that are cancelled by other nodes. */
  constructor(ground: NatsGround, counts: NatsCounts, locals: NatsLocals, events: RunEvents) {
    this.#ground = ground;
    this.#counts = counts;
    this.#locals = locals;
    this.#events = events;
    const forget = (run: Run) => this.#forget(run);
    this.ends = new NatsEnds(ground, counts, { ...events, forget });
    ground.link.subscribe(ground.names.cancelled, ({ data }) => {
      this.cancelled(new TextDecoder().decode(data));
    });
    ground.link.subscribe(ground.names.runners, ({ data, reply }) => {
      const isHere = this.#byId.has(new TextDecoder().decode(data));
      if (isHere && reply !== undefined) ground.link.publish(reply, "here");
    });
  }

  /** How many have ended and are not stored yet. */
  get unstored(): number {
    let count = 0;
    for (const { outcome } of this.#runs.values()) if (outcome !== undefined) count++;
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

  /** Starts a job that may start, and has entered its group. */
  start(record: JobRecord, revision: number, body: Frames, reply: string): void {
    const local = this.#locals.of(record.service);
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

  /** The hint of a job that runs here has come again, as NATS has heard nothing of it for `ackWait`; false: it does not run. */
  comeAgain(id: string, reply: string): boolean {
    const run = this.#byId.get(id);
    if (run === undefined) return false;
    this.#counts.repeated++;
    run.reply = reply;
    this.#ground.link.publish(reply, "+WPI");
    return true;
  }

  /** Whether a job runs here. */
  has(id: string): boolean {
    return this.#byId.has(id);
  }

  /** Whether a job was cancelled, though its hint may be under way. */
  wasCancelled(id: string): boolean {
    return this.#cancelled.has(id);
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

  /** NATS hears that they still run: their hints must not come to others. */
  renew(): void {
    for (const { reply } of this.#runs.values()) this.#ground.link.publish(reply, "+WPI");
  }

  /** Lets go of all that still runs. */
  close(): void {
    this.#cancelMark?.();
    for (const { reply, outcome } of this.#runs.values()) {
      if (outcome === undefined) this.#ground.giveBack(reply, STOP_DELAY);
    }
  }

  // ---- while it runs ----

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
      this.ends.end(run, run.outcome);
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
    this.#events.freed(run.service);
  }
}
