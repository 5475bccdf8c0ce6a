/**
 * What changes a job from outside of its run, on any node: it is cancelled, forgotten, or expires.
 *
 * @module
 */

import type { StoreUser } from "./job_store.ts";
import type { JobQuestion } from "./messages.ts";
import type { NatsCounts } from "./nats_counts.ts";
import { type NatsGround, type Read, releaseKey } from "./nats_ground.ts";
import { changed, isEnd, isPast, type JobRecord, parseHint, statusOf } from "./nats_record.ts";
import type { NatsRuns } from "./nats_runs.ts";

/** Changes of one record that cross are tried again so often. */
const MAX_CROSSINGS = 20;

/** What others hear of it. */
export interface ActEvents {
  /** A job that waited or ran was ended here. */
  ended(record: JobRecord): void;
  forgotten(id: string, user: string, bytes: number): void;
}

/** See above. */
export class NatsActs {
  readonly #ground: NatsGround;
  readonly #counts: NatsCounts;
  readonly #runs: NatsRuns;
  readonly #events: ActEvents;

  /** Changes nothing by itself. */
  constructor(ground: NatsGround, counts: NatsCounts, runs: NatsRuns, events: ActEvents) {
    this.#ground = ground;
    this.#counts = counts;
    this.#runs = runs;
    this.#events = events;
  }

  /** Whether a user may know of a job. One that was kept long enough is not there any more, though it may not be removed yet. */
  maySee(record: JobRecord, user: string | undefined): boolean {
    const { config, clock } = this.#ground;
    return (user === undefined || record.user === user) && !isPast(record, config, clock.now());
  }

  /** Answers "answer" or "refused". */
  async act(
    number: number,
    user: string | undefined,
    question: Extract<JobQuestion, { type: "cancel" | "forget" }>,
    from: StoreUser,
  ): Promise<void> {
    const outcome = question.type === "cancel"
      ? await this.cancel(question.id, user)
      : await this.forget(question.id, user);
    if (typeof outcome === "string") {
      const code = outcome === unknownJob(question.id) ? 404 : outcome === UNREACHABLE ? 503 : 409;
      return this.#ground.refuse(from, number, code, outcome);
    }
    const status = statusOf(outcome, this.#ground.clock.now(), this.#ground.node);
    this.#ground.say(from, { type: "answer", number, answer: { status, result: undefined } });
  }

  /** Cancels a job; gives its record, or why not. */
  async cancel(id: string, user: string | undefined): Promise<JobRecord | string> {
    for (let crossing = 0; crossing < MAX_CROSSINGS; crossing++) {
      const read = await this.#ground.readOf(id);
      if (read === undefined) return UNREACHABLE;
      const { record, revision } = read;
      if (record === undefined || !this.maySee(record, user)) return unknownJob(id);
      if (record.state === "cancelled") return record;
      if (isEnd(record.state)) return `Cannot cancel "${id}": it is ${record.state}`;
      const next = changed(record, {
        state: "cancelled",
        endedAt: this.#ground.clock.now(),
        place: "kept",
      });
      const written = await this.#ground.written(next, revision);
      if (written.type === "unanswered" || written.type === "refused") return UNREACHABLE;
      if (written.type === "conflict") continue;
      await this.#putAside(record, written.record);
      return written.record;
    }
    return UNREACHABLE;
  }

  /** A job that has not started in time. */
  async expire({ record, revision }: Read): Promise<void> {
    if (record === undefined || revision === 0) return;
    const now = this.#ground.clock.now();
    const next = changed(record, { state: "expired", endedAt: now, place: "kept" });
    const written = await this.#ground.written(next, revision);
    if (written.type === "written") await this.#putAside(record, written.record);
  }

  /** What follows once a job that waited or ran has ended otherwise. */
  async #putAside(before: JobRecord, ended: JobRecord): Promise<void> {
    const { names, link, clock } = this.#ground;
    link.publish(names.cancelled, ended.id);
    this.#runs.cancelled(ended.id);
    this.#counts.ended(ended, clock.now());
    this.#ground.over(ended);
    this.#events.ended(ended);
    releaseKey(this.#ground, ended);
    if (before.place === "work") await this.#takeHint(ended);
  }

  /** The body of a job that will not run is kept, should an operator want to run it after all. */
  async #takeHint(ended: JobRecord): Promise<void> {
    const { names } = this.#ground;
    const hint = await this.#ground.lastOf(names.work, names.hint(ended));
    const body = hint ? parseHint(hint.payload)?.body : undefined;
    if (!hint || body === undefined) return;
    const isKept = await new Promise((resolve) => this.#runs.ends.keepBody(ended, body, resolve));
    if (isKept) await this.#ground.remove(names.work, hint.seq);
  }

  /** Forgets a job, which is cancelled first if it has not ended; gives what it was, or why not. */
  async forget(id: string, user: string | undefined): Promise<JobRecord | string> {
    for (let crossing = 0; crossing < MAX_CROSSINGS; crossing++) {
      const read = await this.#ground.readOf(id);
      if (read === undefined) return UNREACHABLE;
      const { record, revision } = read;
      if (record === undefined || !this.maySee(record, user)) return unknownJob(id);
      if (!isEnd(record.state)) {
        const cancelled = await this.cancel(id, user);
        if (cancelled === UNREACHABLE || cancelled === unknownJob(id)) return cancelled;
        continue;
      }
      if (await this.#erase(record, revision)) return record;
    }
    return UNREACHABLE;
  }

  /** Removes it; false: it has changed. */
  async #erase({ id, user, hasCheckpoint, bytes }: JobRecord, revision: number): Promise<boolean> {
    const { names, link } = this.#ground;
    if (!await this.#ground.remove(names.jobs, revision)) return false;
    link.publish(names.forgotten, JSON.stringify([id, user]));
    this.#events.forgotten(id, user, bytes);
    await this.#ground.purged(names.kept, names.body(id));
    if (hasCheckpoint) await this.#ground.purged(names.kept, names.checkpoint(id));
    return true;
  }
}

/** What one is told who asks for a job that is not there, or is another one's. */
export function unknownJob(id: string): string {
  return `Unknown job "${id}"`;
}

/** Why something can't be done. */
export const UNREACHABLE = "NATS can't be reached: try again";
