/**
 * Takes submissions: within the bounds, each id once, and each key once among those that live.
 *
 * @module
 */

import { isJobId } from "../wire/submission.ts";
import type { StoreUser } from "./job_store.ts";
import type { Submission, ToStore } from "./messages.ts";
import { addFresh, type Ground } from "./sqlite_ground.ts";
import type { Batch, Change } from "./sqlite_ledger.ts";
import { Stage } from "./sqlite_schema.ts";
import type { StoredService } from "./sqlite_services.ts";
import type { JobRow } from "./sqlite_row.ts";
import { takesJobs } from "./taken_names.ts";

/** A submission as it comes. */
export type SubmitMessage = Extract<ToStore, { type: "submit" }>;

/** Why a submission is not stored. */
export class Refusal {
  readonly code: number;
  readonly message: string;

  constructor(code: number, message: string) {
    this.code = code;
    this.message = message;
  }
}

/** What a job waits for. */
interface Needs {
  /** Jobs that have not ended. */
  open: number[];
  /** The first one that has ended otherwise than done. */
  failed: JobRow | undefined;
}

/** Ids that were forgotten, for as long as they may be submitted again, ms. */
const REMEMBERED = 120_000;
/** How many of them are remembered. */
const MOST_REMEMBERED = 100_000;

/** The way in. */
export class SqliteSubmit {
  readonly #ground: Ground;
  /** Told of jobs that are to fail, since one that they wait for has. */
  readonly #fail: (batch: Batch, job: JobRow, cause: string) => void;
  readonly #noteDue: (due: number, expires: number) => void;
  /** Forgotten ids, with their users and until when they are known, oldest first. */
  readonly #forgotten = new Map<string, { user: string; until: number }>();
  /** Bytes of the last submission, where there was no room for it; 0: there was. */
  #lacking = 0;

  constructor(
    ground: Ground,
    fail: (batch: Batch, job: JobRow, cause: string) => void,
    noteDue: (due: number, expires: number) => void,
  ) {
    this.#ground = ground;
    this.#fail = fail;
    this.#noteDue = noteDue;
  }

  /** The change that a submission makes. */
  change({ number, job }: SubmitMessage, from: StoreUser): Change {
    const refuse = (code: number, message: string) =>
      this.#ground.say(from, { type: "refused", number, code, message });
    const stored = (id: string, isNew: boolean) =>
      this.#ground.say(from, { type: "stored", number, id, isNew });
    return {
      apply: (batch) => {
        const answer = this.store(batch, job);
        batch.then(() => {
          if (answer instanceof Refusal) refuse(answer.code, answer.message);
          else stored(answer.id, answer.isNew);
        });
      },
      refuse,
    };
  }

  /** A job is forgotten: its id may be submitted again for a while, and is known then. */
  noteForgotten({ id, user, created }: JobRow): void {
    const now = this.#ground.clock.now();
    if (created + REMEMBERED <= now) return;
    this.#forgotten.set(id, { user, until: created + REMEMBERED });
    for (const [old, { until }] of this.#forgotten) {
      if (until > now && this.#forgotten.size <= MOST_REMEMBERED) break;
      this.#forgotten.delete(old);
    }
  }

  /** Stores a job, or finds the one that it is. */
  store(batch: Batch, job: Submission): { id: string; isNew: boolean } | Refusal {
    const { services, clock, config } = this.#ground;
    if (!takesJobs(config, job.service, services)) {
      return new Refusal(404, `Unknown service "${job.service}"`);
    }
    const service = services.of(job.service, clock.steady());
    if (job.id !== "" && !isJobId(job.id)) return new Refusal(400, "This can't be a job's id");
    const remembered = this.#remembered(job);
    if (remembered !== undefined) return remembered;
    const bound = this.#boundsOf(batch, job);
    if (bound !== undefined) return this.#existing(service, job) ?? bound;
    const same = this.#sameId(job);
    if (same !== undefined) return same;
    const needs = this.#needsOf(job);
    if (needs instanceof Refusal) return needs;
    return this.#insert(batch, service, job, needs) ?? this.#existing(service, job) ??
      new Refusal(500, "The job was not stored");
  }

  /** Undefined: there is room. */
  #boundsOf(batch: Batch, job: Submission): Refusal | undefined {
    const { config: { storeJobs, storeBytes }, ledger } = this.#ground;
    const jobs = ledger.jobs + batch.jobs;
    if (jobs >= storeJobs) return new Refusal(507, tooMany(jobs, storeJobs));
    const bytes = ledger.weight + batch.weight;
    const more = job.body.bytes.length;
    const hasRoom = bytes + more <= storeBytes;
    // What is larger than the whole store says nothing of how full it is.
    if (hasRoom || more <= storeBytes) this.#lacking = hasRoom ? 0 : more;
    if (hasRoom) return undefined;
    const text = `its jobs have ${bytes} bytes, this one ${more}, and storeBytes is ${storeBytes}`;
    return new Refusal(507, `The store is full: ${text}`);
  }

  /** Why it takes no jobs, as far as its bounds are why; undefined: it does. */
  get fullness(): string | undefined {
    const { config: { storeJobs, storeBytes }, ledger: { jobs, weight } } = this.#ground;
    if (jobs >= storeJobs) return tooMany(jobs, storeJobs);
    const more = this.#lacking;
    if (more === 0 || weight + more <= storeBytes) return undefined;
    const text = `its jobs have ${weight} bytes, the last one ${more}, and storeBytes is`;
    return `The store is full: ${text} ${storeBytes}`;
  }

  #remembered(job: Submission): { id: string; isNew: boolean } | Refusal | undefined {
    const forgotten = job.id === "" ? undefined : this.#forgotten.get(job.id);
    if (forgotten === undefined || forgotten.until <= this.#ground.clock.now()) return undefined;
    return forgotten.user === job.user ? { id: job.id, isNew: true } : TAKEN;
  }

  /** The job of that id, or the living one of that key. */
  #existing(
    service: StoredService,
    job: Submission,
  ): { id: string; isNew: boolean } | Refusal | undefined {
    const { table } = this.#ground;
    const same = this.#sameId(job);
    if (same !== undefined) return same;
    const other = job.key === "" ? undefined : table.byKey(service.number, job.user, job.key);
    return other && { id: other.id, isNew: false };
  }

  #sameId(job: Submission): { id: string; isNew: boolean } | Refusal | undefined {
    const same = job.id === "" ? undefined : this.#ground.table.byId(job.id);
    if (same === undefined) return undefined;
    return same.user === job.user ? { id: job.id, isNew: true } : TAKEN;
  }

  #needsOf(job: Submission): Needs | Refusal {
    const needs: Needs = { open: [], failed: undefined };
    for (const id of job.after) {
      const other = this.#ground.table.byId(id);
      if (other === undefined || other.user !== job.user) {
        return new Refusal(404, `Unknown job "${id}" in "after"`);
      }
      if (other.stage < Stage.done) needs.open.push(other.seq);
      else if (other.stage !== Stage.done) needs.failed ??= other;
    }
    return needs;
  }

  #insert(
    batch: Batch,
    service: StoredService,
    job: Submission,
    needs: Needs,
  ): { id: string; isNew: boolean } | undefined {
    const { table, services, clock } = this.#ground;
    const now = clock.now();
    const stage = needs.open.length > 0 || needs.failed !== undefined
      ? Stage.blocked
      : job.runAt > now
      ? Stage.scheduled
      : Stage.waiting;
    services.write(service, batch);
    const row = table.insert(job, { service: service.number, stage, now });
    if (row === undefined) return undefined;
    batch.count(
      { service: service.number, stage, priority: job.priority },
      1,
      job.body.bytes.length,
    );
    for (const other of needs.open) {
      table.sql("INSERT INTO need (other, seq) VALUES (?, ?)").run(other, row.seq);
    }
    batch.then(() => service.submitted++);
    if (needs.open.length > 0) batch.then(() => this.#ground.hasNeeds = true);
    if (needs.failed !== undefined) this.#fail(batch, row, needs.failed.id);
    else if (stage === Stage.waiting) {
      batch.then(() => addFresh(this.#ground, row, job.body));
    }
    const due = stage === Stage.scheduled ? job.runAt : Infinity;
    batch.then(() => this.#noteDue(due, job.expiresAt === 0 ? Infinity : job.expiresAt));
    return { id: row.id, isNew: true };
  }
}

function tooMany(jobs: number, storeJobs: number): string {
  return `The store is full: it has ${jobs} jobs, and storeJobs is ${storeJobs}`;
}

const TAKEN = new Refusal(409, "Another job has this id");
