/**
 * Marks of schedules: a key for each, which is changed by its revision, so that of several nodes one submits a due time.
 * The job goes with the mark: it is written there first, submitted then, and taken out again. Whoever reads a mark with a
 * job submits it, so that one is not lost whose node has died in between; by its id it is stored once.
 *
 * @module
 */

import type { ScheduleMark } from "./due_times.ts";
import type { Submission } from "./messages.ts";
import { WRONG_REVISION } from "./nats_asker.ts";
import type { NatsGround } from "./nats_ground.ts";
import type { NatsIntake, Taken } from "./nats_intake.ts";
import { buildHint, newRecord, parseHint } from "./nats_record.ts";
import type { ScheduleMarks } from "./schedules.ts";

/** What stands in the key: the mark, and behind it the job that is still to be submitted, as a hint. */
interface Kept {
  mark: ScheduleMark;
  revision: number;
  job: Submission | undefined;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** See above. */
export class NatsMarks implements ScheduleMarks {
  readonly #ground: NatsGround;
  readonly #intake: NatsIntake;

  /** Reads nothing by itself. */
  constructor(ground: NatsGround, intake: NatsIntake) {
    this.#ground = ground;
    this.#intake = intake;
  }

  /** See {@linkcode ScheduleMarks}. */
  async read(name: string): Promise<ScheduleMark | undefined> {
    const kept = await this.#kept(name);
    if (kept?.job !== undefined) await this.#finish(name, kept, kept.job);
    return kept?.mark;
  }

  /** See {@linkcode ScheduleMarks}. */
  async put(
    name: string,
    expected: ScheduleMark | undefined,
    mark: ScheduleMark,
    job: Submission | undefined,
  ): Promise<boolean> {
    const kept = await this.#kept(name);
    if (JSON.stringify(kept?.mark) !== JSON.stringify(expected)) return false;
    if (kept?.job !== undefined) await this.#finish(name, kept, kept.job);
    const now = kept?.job === undefined ? kept : await this.#kept(name);
    const revision = await this.#write(name, mark, job, now?.revision ?? 0);
    if (revision === undefined) return false;
    if (job !== undefined) await this.#finish(name, { mark, revision, job }, job);
    return true;
  }

  /** Submits what a mark has with it, and takes it out. */
  async #finish(name: string, { mark, revision }: Kept, job: Submission): Promise<void> {
    const taken = await new Promise<Taken>((resolve) => this.#intake.store(job, resolve));
    if (taken.code !== undefined && taken.code !== 404) throw new Error(taken.message);
    if (taken.code === 404) {
      this.#ground.log("warn", "a schedule's job is dropped", {
        schedule: name,
        reason: taken.message,
      });
    }
    await this.#write(name, mark, undefined, revision);
  }

  async #kept(name: string): Promise<Kept | undefined> {
    const { names } = this.#ground;
    const stored = await this.#ground.lastOf(names.keys, names.mark(name));
    if (stored === undefined) throw new Error("NATS can't be reached");
    if (stored === null) return undefined;
    const [words = new Uint8Array(0), payload] = split(stored.payload);
    const mark: ScheduleMark = JSON.parse(decoder.decode(words));
    const read = payload === undefined ? undefined : parseHint(payload);
    // It is due, also where the clock was set back since the mark was written.
    const job = read && { ...read.hint.record, runAt: 0, body: read.body };
    return { mark, revision: stored.seq, job };
  }

  /** The revision of what was written; undefined: somebody was quicker. */
  async #write(
    name: string,
    mark: ScheduleMark,
    job: Submission | undefined,
    revision: number,
  ): Promise<number | undefined> {
    const { names, clock } = this.#ground;
    const words = encoder.encode(JSON.stringify(mark));
    const record = job && newRecord(job, job.id, clock.now());
    const hint = record && { record, revision: 0, movedFor: 0 };
    const payload = job && hint ? buildHint(hint, job.body) : new Uint8Array(0);
    const whole = new Uint8Array(4 + words.length + payload.length);
    new DataView(whole.buffer).setUint32(0, words.length, true);
    whole.set(words, 4);
    whole.set(payload, 4 + words.length);
    const headers = { "Nats-Expected-Last-Subject-Sequence": String(revision) };
    const answer = await this.#ground.putOf(names.mark(name), whole, headers);
    if (answer === undefined) throw new Error("NATS does not answer");
    if (answer.fault === undefined) return answer.seq;
    if (answer.fault.number === WRONG_REVISION) return undefined;
    throw new Error(answer.fault.text);
  }
}

/** The two parts of what stands in a key; the second is left out where it is empty. */
function split(whole: Uint8Array): [Uint8Array, Uint8Array | undefined] {
  if (whole.length < 4) return [whole, undefined];
  const view = new DataView(whole.buffer, whole.byteOffset, whole.byteLength);
  const end = Math.min(whole.length, 4 + view.getUint32(0, true));
  return [whole.subarray(4, end), end < whole.length ? whole.subarray(end) : undefined];
}
