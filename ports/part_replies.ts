/**
 * Brings answers that come in parts to those who have asked: each part at once, how far a job is, and the end.
 * Decides nothing about jobs.
 *
 * @module
 */

import type { Broker } from "../broker.ts";
import type { Client, Job, Worker } from "../broker/job.ts";
import type { StreamCredit } from "../wire/credit.ts";
import { Code, MAX_NOTE_BYTES, PROGRESS_BYTES, StatusFlag } from "../wire/request.ts";
import { type Body, weigh } from "./body.ts";
import { type Content, framesOf, MemoryContent } from "./content.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Lane } from "./lane.ts";
import type { AnswerWay, ClientRequest } from "./source.ts";

const NOTHING = new MemoryContent();

/**
 * What became of a part: sent; gathered, its client takes no parts; later, the client takes no more now; unwanted, nobody
 * waits for it.
 */
export type PartFate = "sent" | "gathered" | "later" | "unwanted";

/** What parts come from, and where they go. */
export interface PartPath {
  broker: Broker<Body>;
  dispatcher: Dispatcher;
  lane: Lane;
  source: AnswerWay;
}

/** Parts, on their way to clients. */
export class PartReplies {
  readonly #broker: Broker<Body>;
  readonly #dispatcher: Dispatcher;
  readonly #lane: Lane;
  readonly #source: AnswerWay;
  /** What workers have said of how far jobs are that was not worded so. */
  invalid = 0;

  /** Has none yet. */
  constructor({ broker, dispatcher, lane, source }: PartPath) {
    this.#broker = broker;
    this.#dispatcher = dispatcher;
    this.#lane = lane;
    this.#source = source;
  }

  /** Sends a worker's part. A client that does not get it can't make use of the rest. */
  take(worker: Worker<Body>, id: number, content: Content, now: number): void {
    const job = this.#broker.parts.take(worker, id, content.size, now);
    if (job?.stream === undefined) return;
    job.line.charge(weigh(content.size, framesOf(content)));
    this.#broker.meter.bytesOut += content.size;
    const number = job.stream.sent - 1;
    const isSent = this.#source.part(job.asker, StatusFlag.more, number, content, now);
    if (!isSent) this.#dispatcher.cancel(this.#broker.cancellations.loseAsker(job, now));
  }

  /** The same of a worker that knows no credit, and can't go on where another has stopped. */
  offer(worker: Worker<Body>, id: number, content: Content, now: number): PartFate {
    const job = worker.jobs.get(id);
    if (job === undefined || job.state === "aborted") return "unwanted";
    const { stream } = job;
    if (stream === undefined || !stream.takesParts) return "gathered";
    if (!stream.credit.isOpen) return "later";
    stream.tie();
    this.take(worker, id, content, now);
    return "sent";
  }

  /** A client leaves more unread than can be kept for it: it gets an error, and nobody waits for the job any more. */
  giveUp(worker: Worker<Body>, id: number, message: string, now: number): void {
    const job = worker.jobs.get(id);
    if (job === undefined || job.state === "aborted") return;
    this.#source.replyError(job.asker, Code.tooLarge, 0, message, now);
    this.#dispatcher.cancel(this.#broker.cancellations.loseAsker(job, now));
  }

  /** A client takes more of an answer: its worker is told. */
  grant(
    client: Client<Body>,
    requestId: number,
    envelope: ClientRequest["envelope"],
    credit: StreamCredit,
  ): void {
    const grant = this.#broker.parts.grant(client, requestId, envelope, credit);
    if (grant !== undefined) this.#lane.grant(grant.worker, grant.job.id, grant.credit);
  }

  /** Sends how far a job is, if its client wants to know. What is lost of that is no harm. */
  progress(worker: Worker<Body>, id: number, content: Content, now: number): void {
    if (!isProgress(content)) {
      this.invalid++;
      return;
    }
    const job = this.#broker.parts.takeProgress(worker, id);
    if (job?.stream === undefined) return;
    const flags = StatusFlag.more | StatusFlag.progress;
    this.#source.part(job.asker, flags, job.stream.sent, content, now);
  }

  /** Ends an answer that has come in parts. */
  end({ asker, stream }: Job<Body>, now: number): void {
    this.#source.part(asker, 0, stream?.sent ?? 0, NOTHING, now);
  }
}

function isProgress({ sizes }: Pick<Content, "sizes">): boolean {
  if (sizes?.length !== 2) return false;
  const [numbers, note = 0] = sizes;
  return numbers === PROGRESS_BYTES && note <= MAX_NOTE_BYTES;
}
