/**
 * The way in: a job is stored as a record and a hint, or as a record and a body that is kept until it is due, and
 * answered once NATS has acknowledged both.
 *
 * @module
 */

import { newJobId } from "../wire/submission.ts";
import type { StoreUser } from "./job_store.ts";
import type { Submission } from "./messages.ts";
import { NO_ROOM, STREAM_FULL, TOO_LARGE, WRONG_REVISION } from "./nats_asker.ts";
import type { NatsCapacity, Refusal } from "./nats_capacity.ts";
import type { NatsCounts } from "./nats_counts.ts";
import type { NatsGround, Read, Written } from "./nats_ground.ts";
import type { LaneWords } from "./nats_names.ts";
import {
  buildHint,
  changed,
  isEnd,
  type JobRecord,
  keptWords,
  newRecord,
  RECORD_ROOM,
} from "./nats_record.ts";
import { type KnownNames, takesJobs } from "./taken_names.ts";

/** Submissions that wait for NATS at most, and their bytes. */
const MAX_OPEN = 100_000;
const MAX_OPEN_BYTES = 256 * 1024 * 1024;
/** Forgotten ids are known for so long, ms, and so many of them. */
const REMEMBERED = 120_000;
const MOST_REMEMBERED = 100_000;
/** A key whose job is not there is left alone for so long: it may be just being stored, ms. */
const KEY_AGE = 15_000;
const KEY_RETRY = 200;
/** A bound of NATS' that was not raised yet is tried again after that, ms. */
const BOUND_RETRY = 1000;
const EMPTY = new Uint8Array(0);

/** What others hear of it. */
export interface IntakeEvents {
  /** A job of this lane was stored, or will be. */
  needed(job: LaneWords): void;
  /** A body was kept until `record.runAt`. */
  kept(record: JobRecord): void;
  /** A record was stored, and nobody has its hint yet. */
  created(record: JobRecord): void;
}

/** What a submission is answered. */
export type Taken =
  | { id: string; isNew: boolean; code?: undefined }
  | Refusal;

/** One that is not answered yet. */
interface Entry {
  answer(taken: Taken): void;
  job: Submission;
  id: string;
  /** By the steady clock. */
  deadline: number;
  isRepeated?: boolean;
}

/** See above. */
export class NatsIntake {
  readonly #ground: NatsGround;
  readonly #counts: NatsCounts;
  readonly #names: KnownNames;
  readonly #capacity: NatsCapacity;
  readonly #events: IntakeEvents;
  /** Forgotten ids, until then by the steady clock. */
  readonly #forgotten = new Map<string, { user: string; until: number }>();
  #open = 0;
  #openBytes = 0;
  /** When the last job was made, ms since 1970, and how many were made before in the same ms. */
  #lastMs = 0;
  #inThisMs = 0;

  /** Stores nothing by itself. `names`: of services that have lanes. */
  constructor(
    ground: NatsGround,
    counts: NatsCounts,
    names: KnownNames,
    capacity: NatsCapacity,
    events: IntakeEvents,
  ) {
    this.#ground = ground;
    this.#counts = counts;
    this.#names = names;
    this.#capacity = capacity;
    this.#events = events;
    ground.link.subscribe(ground.names.forgotten, ({ data }) => {
      const [id, user] = parseForgotten(data);
      if (id !== undefined && user !== undefined) this.forgotten(id, user, -1);
    });
  }

  /** Submissions that are not answered. */
  get open(): number {
    return this.#open;
  }

  /** Answers "stored" or "refused", in `submitTimeout` at the latest. */
  submit(number: number, job: Submission, from: StoreUser): void {
    this.store(job, (taken) => {
      if (taken.code === undefined) this.#ground.say(from, { type: "stored", number, ...taken });
      else this.#ground.refuse(from, number, taken.code, taken.message);
    });
  }

  /** The same for any asker. */
  store(job: Submission, answer: (taken: Taken) => void): void {
    const { config, clock } = this.#ground;
    const refusal = this.#refusal(job);
    if (refusal !== undefined) return answer(refusal);
    const forgotten = job.id === "" ? undefined : this.#forgotten.get(job.id);
    if (forgotten !== undefined && forgotten.until > clock.steady()) {
      return answer(forgotten.user === job.user ? { id: job.id, isNew: true } : TAKEN);
    }
    const id = job.id === "" ? newJobId() : job.id;
    const deadline = clock.steady() + config.submitTimeout;
    this.#open++;
    this.#openBytes += job.body.bytes.length;
    const entry = { answer, job, id, deadline };
    if (this.#capacity.refusal(job) !== undefined) void this.#storeInFull(entry);
    else if (mustLookFirst(job, clock.now())) void this.#storeCarefully(entry);
    else this.#create(entry);
  }

  #refusal(job: Submission): Refusal | undefined {
    const { config, link } = this.#ground;
    if (!takesJobs(config, job.service, this.#names)) {
      return { code: 404, message: `Unknown service "${job.service}"` };
    }
    const bytes = job.body.bytes.length;
    const most = link.maxPayload - RECORD_ROOM;
    if (bytes > most) {
      const message = `The body has ${bytes} bytes, and this NATS takes ${most} (max_payload)`;
      return { code: 413, message };
    }
    if (this.#open >= MAX_OPEN || this.#openBytes + bytes > MAX_OPEN_BYTES) {
      return { code: 503, message: "Too many jobs wait for NATS: try again" };
    }
    return undefined;
  }

  /** It seems to be full: that is asked again; and what is known already needs no room. */
  async #storeInFull(entry: Entry): Promise<void> {
    const { job } = entry;
    await this.#capacity.ask();
    const refusal = this.#capacity.refusal(job);
    if (refusal === undefined) return await this.#storeCarefully(entry);
    const read = await this.#ground.readOf(entry.id, this.#left(entry));
    if (read?.record !== undefined) return this.#known(entry, read);
    const other = job.key === "" ? undefined : await this.#ownerOf(entry);
    if (other !== undefined) return this.#stored(entry, other, false);
    this.#refuse(entry, refusal.code, refusal.message);
  }

  /** The living job of a key. */
  async #ownerOf(entry: Entry): Promise<string | undefined> {
    const { names } = this.#ground;
    const { service, user, key } = entry.job;
    const subject = names.key(service, user, key);
    const owner = await this.#ground.lastOf(names.keys, subject, this.#left(entry));
    if (!owner) return undefined;
    const id = new TextDecoder().decode(owner.payload);
    const read = await this.#ground.readOf(id, this.#left(entry));
    return read?.record !== undefined && !isEnd(read.record.state) ? id : undefined;
  }

  /** A job was forgotten, here or elsewhere: its id is known for a while. */
  forgotten(id: string, user: string, bytes: number): void {
    this.#forgotten.set(id, { user, until: this.#ground.clock.steady() + REMEMBERED });
    if (bytes >= 0) this.#capacity.removed(bytes);
    for (const [old, { until }] of this.#forgotten) {
      const isDue = until <= this.#ground.clock.steady();
      if (!isDue && this.#forgotten.size <= MOST_REMEMBERED) break;
      this.#forgotten.delete(old);
    }
  }

  // ---- jobs with keys, and those that wait for others ----

  async #storeCarefully(entry: Entry): Promise<void> {
    const { job } = entry;
    const read = await this.#ground.readOf(entry.id, this.#left(entry));
    if (read === undefined) return this.#giveUp(entry);
    if (read.record !== undefined) return this.#known(entry, read);
    const fate = await this.#fateOf(job, entry);
    if (fate === "unanswered") return this.#giveUp(entry);
    if (fate.unknown !== undefined) {
      return this.#refuse(entry, 404, `Unknown job "${fate.unknown}" in "after"`);
    }
    if (job.key !== "" && !await this.#claim(entry)) return;
    this.#create(entry, fate);
  }

  /** What is known of the jobs that it waits for. */
  async #fateOf(
    { after, user }: Submission,
    entry: Entry,
  ): Promise<"unanswered" | { unknown?: string; failed?: string; isOpen: boolean }> {
    const reads = await Promise.all(
      after.map((id) => this.#ground.readOf(id, this.#left(entry))),
    );
    let failed: string | undefined;
    let isOpen = false;
    for (const [index, read] of reads.entries()) {
      if (read === undefined) return "unanswered";
      const { record } = read;
      const id = after[index] ?? "";
      if (record === undefined || record.user !== user) {
        return { unknown: id, isOpen };
      }
      if (!isEnd(record.state)) isOpen = true;
      else if (record.state !== "done") failed ??= id;
    }
    return { failed, isOpen };
  }

  /** Makes the key this job's; false: it was answered already. */
  async #claim(entry: Entry): Promise<boolean> {
    const { names, clock } = this.#ground;
    const { job, id } = entry;
    const subject = names.key(job.service, job.user, job.key);
    let revision = 0;
    while (this.#left(entry) > 0) {
      const expected = { "Nats-Expected-Last-Subject-Sequence": String(revision) };
      const answer = await this.#ground.putOf(subject, id, expected, this.#left(entry));
      if (answer === undefined) break;
      if (answer.fault === undefined) return true;
      if (answer.fault.number !== WRONG_REVISION) {
        this.#refuseBy(entry, answer.fault);
        return false;
      }
      const owner = await this.#ground.lastOf(names.keys, subject, this.#left(entry));
      if (owner === undefined) break;
      revision = owner?.seq ?? 0;
      if (owner === null) continue;
      const other = new TextDecoder().decode(owner.payload);
      if (other === id) return true;
      const read = await this.#ground.readOf(other, this.#left(entry));
      if (read === undefined) break;
      if (read.record !== undefined && !isEnd(read.record.state)) {
        this.#stored(entry, other, false);
        return false;
      }
      const isYoung = read.record === undefined && clock.now() - owner.time < KEY_AGE;
      if (!isYoung) continue;
      revision = 0;
      await new Promise<void>((resolve) => clock.after(KEY_RETRY, resolve));
    }
    this.#giveUp(entry);
    return false;
  }

  // ---- every job ----

  #create(entry: Entry, fate?: { failed?: string; isOpen: boolean }): void {
    const { job, id } = entry;
    const now = this.#ground.clock.now();
    let record: JobRecord = { ...newRecord(job, id, now), ...this.#nth(now) };
    if (fate !== undefined && job.after.length > 0 && !fate.isOpen) {
      // All that it waits for has ended.
      const isLater = job.runAt > now || fate.failed !== undefined;
      record = {
        ...record,
        state: isLater ? "scheduled" : "waiting",
        place: isLater ? "kept" : "work",
      };
    }
    if (fate?.failed !== undefined) record = failedFor(record, fate.failed, now);
    this.#events.needed(job);
    if (record.place === "work") this.#createAndHint(entry, record);
    else this.#keepAndCreate(entry, record);
  }

  /** Lists are in the order of submission. */
  #nth(now: number): { nth?: number } {
    this.#inThisMs = now === this.#lastMs ? this.#inThisMs + 1 : 0;
    this.#lastMs = now;
    return this.#inThisMs === 0 ? {} : { nth: this.#inThisMs };
  }

  #createAndHint(entry: Entry, record: JobRecord): void {
    this.#ground.write(record, 0, EMPTY, this.#left(entry), (written) => {
      if (written.type !== "written") return this.#notCreated(entry, written);
      this.#events.created(written.record);
      this.#hint(entry, written.record, written.revision);
    });
  }

  /** Only then is the job on its way. */
  #hint(entry: Entry, record: JobRecord, revision: number): void {
    const { job, id } = entry;
    const subject = this.#ground.names.hint(record);
    const payload = buildHint({ record, revision, movedFor: 0 }, job.body);
    // A publish that is sent again must not be stored again.
    const headers = { "Nats-Msg-Id": id };
    this.#ground.put(subject, payload, headers, this.#left(entry), (answer) => {
      if (answer === undefined) return this.#giveUp(entry);
      if (answer.fault !== undefined && !isTaken(answer.fault.text)) {
        // What nobody was told of is not left behind; one that is known already is another submission's.
        if (revision > 0) void this.#ground.remove(this.#ground.names.jobs, revision);
        return this.#refuseBy(entry, answer.fault);
      }
      this.#stored(entry, id, true);
    });
  }

  #keepAndCreate(entry: Entry, record: JobRecord): void {
    const { job, id } = entry;
    const payload = buildHint({ record, revision: 0, movedFor: 0 }, job.body);
    const headers = { Job: JSON.stringify(keptWords(record)) };
    const subject = this.#ground.names.body(id);
    this.#ground.put(subject, payload, headers, this.#left(entry), (answer) => {
      if (answer === undefined) return this.#giveUp(entry);
      if (answer.fault !== undefined) return this.#refuseBy(entry, answer.fault);
      this.#ground.write(record, 0, EMPTY, this.#left(entry), (written) => {
        if (written.type !== "written") return this.#notCreated(entry, written);
        this.#stored(entry, id, true);
        if (isEnd(record.state)) this.#counts.ended(record, this.#ground.clock.now());
        else this.#events.kept(written.record);
      });
    });
  }

  #notCreated(entry: Entry, written: Exclude<Written, { type: "written" }>): void {
    if (written.type === "unanswered") return this.#giveUp(entry);
    if (written.type === "conflict") return this.#known(entry, written.read);
    // The stream may have a bound that is just being changed.
    const isFull = this.#capacity.refusal(entry.job) !== undefined;
    const mayGoOn = written.fault.number === STREAM_FULL && !isFull && !entry.isRepeated;
    if (!mayGoOn) return this.#refuseBy(entry, written.fault);
    this.#ground.clock.after(BOUND_RETRY, () => {
      this.#create({ ...entry, isRepeated: true });
    });
  }

  /** The id is known: the same submission again, or another user's. */
  #known(entry: Entry, { record }: Read): void {
    if (record === undefined) return this.#refuse(entry, 503, "The job was changed: try again");
    if (record.user !== entry.job.user) {
      return this.#refuse(entry, TAKEN.code, TAKEN.message);
    }
    const isPending = record.state === "waiting" && record.place === "work";
    // The node that took it first may have died before the hint: one at most is stored.
    if (isPending) this.#hint(entry, record, 0);
    else this.#stored(entry, entry.id, true);
  }

  // ---- answers ----

  #left({ deadline }: Entry): number {
    return Math.max(0, deadline - this.#ground.clock.steady());
  }

  #stored(entry: Entry, id: string, isNew: boolean): void {
    this.#close(entry);
    if (isNew) {
      this.#counts.submitted(entry.job.service);
      this.#capacity.added(entry.job.body.bytes.length);
    }
    entry.answer({ id, isNew });
  }

  #giveUp(entry: Entry): void {
    const text = this.#ground.link.isUp
      ? "NATS did not store the job in time"
      : "NATS can't be reached";
    this.#refuse(entry, 503, `${text}: try again, with the same id or key`);
  }

  #refuseBy(entry: Entry, { number, text }: { number: number; text: string }): void {
    const { config } = this.#ground;
    if (number === STREAM_FULL && /messages/.test(text)) {
      const why = `it has as many jobs as storeJobs lets it: ${config.storeJobs}`;
      return this.#refuse(entry, 507, `The store is full: ${why}`);
    }
    if (number === TOO_LARGE) return this.#refuse(entry, 413, `NATS takes no such job: ${text}`);
    const isFull = number === STREAM_FULL || NO_ROOM.includes(number);
    this.#refuse(entry, isFull ? 507 : 503, `NATS refuses the job: ${text}`);
  }

  #refuse(entry: Entry, code: number, message: string): void {
    this.#close(entry);
    entry.answer({ code, message });
  }

  #close({ job }: Entry): void {
    this.#open--;
    this.#openBytes -= job.body.bytes.length;
  }
}

const TAKEN: Refusal = { code: 409, message: "Another job has this id" };

function parseForgotten(payload: Uint8Array): [id?: string, user?: string] {
  try {
    const [id, user]: unknown[] = JSON.parse(new TextDecoder().decode(payload));
    return typeof id === "string" && typeof user === "string" ? [id, user] : [];
  } catch {
    return [];
  }
}

/** Whether something must be known before anything is stored: a body that is kept would replace another's of its id. */
function mustLookFirst({ id, key, after, runAt }: Submission, now: number): boolean {
  return key !== "" || after.length > 0 || (id !== "" && runAt > now);
}

/** A job whose hint is there already. */
function isTaken(text: string): boolean {
  return text.includes("per subject");
}

/** A job that fails, since one that it waits for has. */
export function failedFor(record: JobRecord, cause: string, now: number): JobRecord {
  return changed(record, {
    state: "failed",
    place: "kept",
    endedAt: now,
    code: 424,
    message: `It waits for job ${cause}, which was not done`,
  });
}
