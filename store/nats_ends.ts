/**
 * How runs end here: the record that says so is stored first, however long that takes, and the hint is let go then. See
 * nats_record.ts for the order, and what it is good for.
 *
 * @module
 */

import type { Frames, RunOutcome } from "./messages.ts";
import { TOO_LARGE } from "./nats_asker.ts";
import type { NatsCounts } from "./nats_counts.ts";
import { type NatsGround, type Read, releaseKey } from "./nats_ground.ts";
import { buildHint, cut, isEnd, type JobRecord, keptWords, LONGEST_NAK } from "./nats_record.ts";
import {
  after,
  cancelledRecord,
  doneRecord,
  errorOutcome,
  failedRecord,
  type Run,
} from "./nats_run.ts";
import { backoffMs, messageOfRun, verdictOf } from "./verdict.ts";

/** What could not be kept is tried again after that, ms. */
const RETRY_AFTER = 1000;
/** What was not started comes again after that, ms. */
const RETURN_DELAY = 200;
const EMPTY = new Uint8Array(0);

/** What others hear of ends. */
export interface EndEvents {
  /** A record was changed here. */
  changed(record: JobRecord, result: Uint8Array): void;
  /** A body was kept until `record.runAt`. */
  kept(record: JobRecord): void;
  /** A run is over for this node. */
  forget(run: Run): void;
}

/** See above. */
export class NatsEnds {
  readonly #ground: NatsGround;
  readonly #counts: NatsCounts;
  readonly #events: EndEvents;

  /** Ends nothing by itself. */
  constructor(ground: NatsGround, counts: NatsCounts, events: EndEvents) {
    this.#ground = ground;
    this.#counts = counts;
    this.#events = events;
  }

  /** Ends a run by its outcome. */
  end(run: Run, outcome: RunOutcome): void {
    const now = this.#ground.clock.now();
    switch (verdictOf(outcome, run.record)) {
      case "done":
        return this.#store(run, doneRecord(run, outcome, now), outcome.result);
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
      this.#events.forget(run);
      return this.#ground.giveBack(run.reply, RETURN_DELAY);
    }
    const back: JobRecord = {
      ...after(run),
      state: "waiting",
      node: "",
      startedAt: undefined,
      attempt: run.record.attempt - 1,
    };
    this.#write(run, back, EMPTY, () => {
      this.#ground.giveBack(run.reply, RETURN_DELAY);
    });
  }

  #store(run: Run, record: JobRecord, result: Frames): void {
    if (this.#ground.isTooLarge(result.bytes)) return this.#failTooLarge(run, result.bytes.length);
    this.#write(run, record, result.bytes, (stored) => {
      this.#ground.link.publishSoon(run.reply, "+ACK");
      if (record.hasCheckpoint) {
        const { names } = this.#ground;
        this.#ground.purge(names.kept, names.checkpoint(run.id));
      }
      this.#tellEnd(stored, result.bytes);
    });
  }

  #failTooLarge(run: Run, bytes: number): void {
    const outcome = errorOutcome(500, `Its answer has ${bytes} bytes: more than NATS takes`);
    const failed = failedRecord(run, outcome, this.#ground.clock.now());
    this.#fail(run, failed, outcome.result);
  }

  /** Ends it otherwise than done; its body is kept, as an operator may want to run it again. */
  #fail(run: Run, record: JobRecord, result: Frames): void {
    if (this.#ground.isTooLarge(result.bytes)) return this.#failTooLarge(run, result.bytes.length);
    run.isWriting = true;
    this.keepBody(record, run.body, (isKept) => {
      if (!isKept) {
        return this.#ground.clock.after(RETRY_AFTER, () => this.#fail(run, record, result));
      }
      this.#write(run, record, result.bytes, (stored) => {
        this.#ground.link.publishSoon(run.reply, "+ACK");
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
        if (next.place === "work") return this.#ground.giveBack(run.reply, Math.max(1, delay));
        this.#ground.link.publishSoon(run.reply, "+ACK");
        this.#events.kept(stored);
      });
    if (next.place === "work") return write();
    this.keepBody(
      next,
      run.body,
      (isKept) =>
        isKept ? write() : this.#ground.clock.after(RETRY_AFTER, () => this.#retry(run, outcome)),
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
        this.#events.forget(run);
        this.#events.changed(written.record, payload);
      } else if (written.type === "conflict") {
        this.#contend(run, record, payload, stored, written.read);
      } else if (written.type === "refused" && written.fault.number === TOO_LARGE) {
        this.#failTooLarge(run, payload.length);
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
    const { names } = this.#ground;
    const now = read.record;
    const isOver = now === undefined || isEnd(now.state);
    const isMine = now?.node === this.#ground.node || now?.node === "";
    if (!isOver && (record.state === "done" || isMine)) {
      run.revision = read.revision;
      const version = now.version + 1;
      return this.#write(run, { ...record, version, was: now.state }, payload, stored);
    }
    this.#counts.repeated += isOver && now?.state === "done" ? 1 : 0;
    if (!isOver) return this.#events.forget(run);
    const keep = now !== undefined && now.state !== "done";
    // What was kept for a try that does not come.
    if (!keep && record.place === "kept") this.#ground.purge(names.kept, names.body(run.id));
    this.drop(now, run.body, run.reply, keep);
    this.#events.forget(run);
  }

  #tellEnd(record: JobRecord, result: Uint8Array): void {
    releaseKey(this.#ground, record);
    this.#counts.ended(record, this.#ground.clock.now());
    this.#ground.over(record);
    this.#events.changed(record, result);
  }

  /** Lets go of a hint that says nothing new; `keep`: its body is kept first. */
  drop(record: JobRecord | undefined, body: Frames, reply: string, keep: boolean): void {
    const ack = () => this.#ground.link.publishSoon(reply, "+ACK");
    if (!keep || record === undefined) return ack();
    this.keepBody(record, body, (isKept) => isKept && ack());
  }

  /** Ends a job that was not started. */
  endUnstarted(end: JobRecord, revision: number, body: Frames, reply: string): void {
    this.keepBody(end, body, (isKept) => {
      if (!isKept) return;
      this.#ground.write(end, revision, EMPTY, this.#ground.ackWait, (written) => {
        if (written.type !== "written") return; // the hint comes again
        this.#ground.link.publishSoon(reply, "+ACK");
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
}
