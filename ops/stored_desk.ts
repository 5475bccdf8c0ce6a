/**
 * What operators ask of the store and what they are told. A server that has nothing stored is not made to open a store
 * by somebody who only looks. Not here: how they ask (admin/), and the store (store/).
 *
 * @module
 */

import type { Frames, OperatorAnswer, OperatorQuestion } from "../store/messages.ts";
import type { RequestBody } from "../client/bodies.ts";
import { StoredJob as AskedJob } from "../client/stored_job.ts";
import { submitJob, type Submitted } from "../client/submitting.ts";
import { isJobId } from "../wire/submission.ts";
import type { StoreGauge } from "./store_gauge.ts";
import { type StoreLink, StoreRefusedError } from "./store_link.ts";
import type {
  JobStatus,
  OwnSubmitOptions,
  StoredFilter,
  StoredJob,
  StoredJobs,
  StoredList,
  StoreStatus,
} from "./stored.ts";
import { type BodyLimits, StoredAsker } from "./stored_asker.ts";

const LISTED = 100;
const MAX_LISTED = 1000;

/** The stored jobs of one server. */
export class StoredDesk implements StoredJobs {
  readonly #link: StoreLink;
  readonly #gauge: Pick<StoreGauge, "status">;
  readonly #limits: () => BodyLimits;

  /** `limits`: those of now. */
  constructor(link: StoreLink, gauge: Pick<StoreGauge, "status">, limits: () => BodyLimits) {
    this.#link = link;
    this.#gauge = gauge;
    this.#limits = limits;
  }

  submit(body: RequestBody, options: OwnSubmitOptions = {}): Promise<Submitted> {
    const { user = "", ...others } = options;
    if (typeof user !== "string") {
      return Promise.reject(new TypeError('Cannot submit a job: "user" must be a string'));
    }
    return submitJob(new StoredAsker(this.#link, this.#limits, user), body, others);
  }

  job(id: string): AskedJob {
    return new AskedJob(new StoredAsker(this.#link, this.#limits), id);
  }

  async list(filter: StoredFilter = {}): Promise<StoredList> {
    const { limit = LISTED, after, ...rest } = filter;
    if (!Number.isInteger(limit) || limit < 0 || limit > MAX_LISTED) {
      throw new StoreRefusedError(400, `"limit" must be an integer from 0 to ${MAX_LISTED}`);
    }
    if (after !== undefined) requireId(after);
    if (!this.#link.isUsed) return { total: 0, jobs: [] };
    const { total, jobs } = await this.#ask("list", { type: "list", limit, after, ...rest });
    return { total, jobs };
  }

  async look(id: string, { body = false } = {}): Promise<StoredJob> {
    this.#requireJob(id);
    const { status, ...found } = await this.#ask("look", { type: "look", id, body });
    if (!body) return { status, body: undefined, result: undefined };
    return { status, body: framesOf(found.body), result: framesOf(found.result) };
  }

  async retry(id: string): Promise<void> {
    this.#requireJob(id);
    await this.#ask("done", { type: "retry", id });
  }

  async retryDead(service = ""): Promise<number> {
    if (!this.#link.isUsed) return 0;
    return (await this.#ask("done", { type: "retryDead", service })).count;
  }

  async cancel(id: string): Promise<JobStatus> {
    this.#requireJob(id);
    return (await this.#link.ask({ type: "cancel", id })).status;
  }

  async delete(id: string): Promise<void> {
    this.#requireJob(id);
    await this.#ask("done", { type: "delete", id });
  }

  async pause(service = ""): Promise<void> {
    await this.#ask("done", { type: "pause", service });
  }

  async resume(service = ""): Promise<void> {
    if (this.#link.isUsed) await this.#ask("done", { type: "resume", service });
  }

  status(): Promise<StoreStatus> {
    return this.#gauge.status();
  }

  async backup(file: string): Promise<void> {
    if (!this.#link.isUsed) throw new StoreRefusedError(409, "Nothing was ever stored");
    await this.#ask("done", { type: "backup", file });
  }

  /** Where nothing was ever stored, there is no job. */
  #requireJob(id: string): void {
    requireId(id);
    if (!this.#link.isUsed) throw new StoreRefusedError(404, `There is no job ${id}`);
  }

  async #ask<Type extends OperatorAnswer["type"]>(
    wanted: Type,
    question: OperatorQuestion,
  ): Promise<Extract<OperatorAnswer, { type: Type }>> {
    const answer = await this.#link.operate(question);
    if (isOf(answer, wanted)) return answer;
    throw new StoreRefusedError(503, `The store has answered "${answer.type}"`);
  }
}

function isOf<Type extends OperatorAnswer["type"]>(
  answer: OperatorAnswer,
  wanted: Type,
): answer is Extract<OperatorAnswer, { type: Type }> {
  return answer.type === wanted;
}

function requireId(id: string): void {
  if (!isJobId(id)) {
    throw new StoreRefusedError(400, `${JSON.stringify(id)} is not the id of a job`);
  }
}

/** Each frame by itself; sizes that do not fit are not believed. */
function framesOf(frames: Frames | undefined): Uint8Array<ArrayBuffer>[] | undefined {
  if (frames === undefined) return undefined;
  const { bytes, sizes = [bytes.length] } = frames;
  let at = 0;
  return sizes.map((size) => bytes.subarray(at, at += size));
}
