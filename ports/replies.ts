/**
 * Brings answers to all who wait for them: those of workers, of the broker, and those that are kept for
 * requests of the same key. Reports failures and, for the access log, every request that has ended.
 *
 * @module
 */

import type { Broker } from "../broker.ts";
import {
  type Asker,
  askersOf,
  attemptOf,
  type Job,
  type JobRequest,
  type Worker,
} from "../broker/job.ts";
import { ReplyCache } from "../broker/reply_cache.ts";
import { isReplyCode, ReplyFlag, type ReplyHeader } from "../wire/job.ts";
import { Code, isFinal } from "../wire/request.ts";
import type { MessagePool } from "../zmq/message.ts";
import type { AccessBook, Outcome } from "./access_book.ts";
import { clientOf, ErrorReplies, textOf } from "./error_replies.ts";
import type { EventQueue } from "./event_queue.ts";
import type { Frames } from "./frontend.ts";
import type { LoopLimits } from "./messages.ts";
import { weigh } from "./outbox.ts";
import type { ReplySender } from "./reply_sender.ts";

/** A worker's answer that is yet to be sent. */
interface Answer {
  job: Job<Frames>;
  code: number;
  /** `ReplyFlag`s. */
  flags: number;
  /** How long the handler took, µs. */
  micros: number;
  frames: Frames;
  worker: number;
  /** Bytes of the frames. */
  bytes: number;
}

/** What answers are made of, and where they go. */
export interface ReplyPath {
  broker: Broker<Frames>;
  sender: ReplySender;
  messages: MessagePool;
  events: EventQueue;
  /** Undefined where there is no access log. */
  book: AccessBook | undefined;
  /** Endpoints that clients connect to. */
  endpoints: () => readonly string[];
}

/** Answers, on their way to clients. */
export class Replies {
  readonly #broker: Broker<Frames>;
  readonly #sender: ReplySender;
  readonly #messages: MessagePool;
  readonly #events: EventQueue;
  readonly #book: AccessBook | undefined;
  readonly #errors: ErrorReplies;
  readonly #cache: ReplyCache<Frames>;
  /** Answers of workers that are yet to be sent. Sent in a row they cost fewer changes of threads. */
  readonly #answers: Answer[] = [];

  /** Keeps no answers before `configure`. */
  constructor({ broker, sender, messages, events, book, endpoints }: ReplyPath) {
    this.#broker = broker;
    this.#sender = sender;
    this.#messages = messages;
    this.#events = events;
    this.#book = book;
    this.#errors = new ErrorReplies(messages, endpoints);
    this.#cache = new ReplyCache((frames) => messages.releaseAll(frames));
  }

  /** Works by other bounds from now on. */
  configure({ replyCacheTtl: ttl, replyCacheBytes: bytes, exposeErrors }: LoopLimits): void {
    this.#errors.configure({ exposeErrors });
    this.#cache.configure({ ttl, bytes });
  }

  /** Answers of workers that had no valid code. */
  get replaced(): number {
    return this.#errors.replaced;
  }

  /** Drops kept answers that are too old; returns ms until others are. */
  tick(now: number): number {
    return this.#cache.tick(now);
  }

  /** Takes a worker's answer; the frames are given away, and it is sent by `sendAnswers`. */
  take(
    worker: Worker<Frames>,
    reply: ReplyHeader,
    frames: Frames,
    bytes: number,
    now: number,
  ): void {
    const { micros } = reply;
    const code = isReplyCode(reply.code) ? reply.code : this.#errors.replace(frames);
    const job = this.#broker.takeReply(worker, reply.job, code, micros, now);
    if (job === undefined) return this.#messages.releaseAll(frames);
    const flags = code === reply.code ? reply.flags : 0;
    this.#answers.push({ job, code, flags, micros, frames, bytes, worker: worker.id });
  }

  /** Sends what workers have answered to all who wait for it. */
  sendAnswers(now: number): void {
    if (this.#answers.length === 0) return;
    for (const answer of this.#answers.splice(0)) {
      if (answer.code === Code.ok) this.#sendResult(answer, now);
      else this.#sendError(answer, now);
      this.#messages.releaseAll(answer.job.request.body);
      this.#broker.recycle(answer.job);
    }
  }

  #sendResult({ job, code, micros, frames, bytes }: Answer, now: number): void {
    const weight = weigh(bytes, frames.length);
    if (this.#book !== undefined) {
      this.#account(job, askersOf(job), { code, out: bytes, micros }, now);
    }
    const { key } = job.request;
    if (key !== "") this.#keep(key, code, frames, bytes, now);
    for (const other of job.others) {
      this.#sender.reply(other, code, this.#copy(frames), weight, now);
    }
    job.line.charge(job.bytes + weight);
    this.#sender.reply(job.asker, code, frames, weight, now);
  }

  /** Sends an error: the log gets all of it, and each client what it may see. */
  #sendError({ job, code, flags, micros, frames, worker }: Answer, now: number): void {
    const stack = this.#errors.takeStack(flags, frames);
    this.#messages.releaseAll(frames.splice(1)); // a message is one frame, whatever a worker sends
    const bytes = bytesOf(frames);
    this.#account(job, askersOf(job), { code, out: bytes, micros }, now);
    if (code >= Code.handlerFailed) this.#tellFailure(job, code, textOf(frames), worker, stack);
    const { key } = job.request;
    if (key !== "" && (flags & ReplyFlag.PRIVATE) === 0) {
      this.#keep(key, code, frames, bytes, now);
    }
    for (const asker of askersOf(job)) {
      const shown = this.#errors.shows(flags, asker.client);
      const said = shown ? this.#copy(frames) : this.#errors.veil(job);
      this.#sender.reply(asker, code, said, weigh(bytesOf(said), said.length), now);
    }
    this.#messages.releaseAll(frames);
  }

  /** Sends the answers of the broker itself; returns whether there were any. */
  sendEnded(now: number): boolean {
    const all = this.#broker.takeEnded();
    for (const { job, to, code, message, flags, last } of all) {
      for (const asker of to) this.#sender.replyError(asker, code, message, now, flags);
      if (code === Code.workerDied || code === Code.handlerTimeout) {
        this.#tellFailure(job, code, message, undefined, "");
      }
      if (this.#book !== undefined) {
        // The request is accounted for even if nobody is left to be answered.
        const out = message.length;
        this.#account(job, to.length > 0 ? to : [job.asker], { code, out, micros: undefined }, now);
      }
      if (!last) continue;
      this.#messages.releaseAll(job.request.body);
      this.#broker.recycle(job);
    }
    return all.length > 0;
  }

  /** Answers a request by the kept answer to an earlier one of its key; false if there is none. */
  sendKept(request: JobRequest<Frames>, now: number): boolean {
    const { client, key, body } = request;
    const kept = this.#cache.get(key, now);
    if (kept === undefined) return false;
    this.#broker.counters.requests++;
    this.#broker.counters.cached++;
    const { code, bytes } = kept;
    this.#book?.cached(client, code, { in: bytesOf(body), out: bytes });
    this.#sender.reply(request, code, this.#copy(kept.body), weigh(bytes, kept.body.length), now);
    this.#messages.releaseAll(body);
    return true;
  }

  #keep(key: string, code: number, frames: Frames, bytes: number, now: number): void {
    if (!this.#cache.enabled || !isFinal(code)) return;
    const weight = weigh(bytes, frames.length);
    this.#cache.put(key, { code, body: this.#copy(frames), bytes, weight }, now);
  }

  #account(job: Job<Frames>, to: readonly Asker<Frames>[], outcome: Outcome, now: number): void {
    this.#book?.ended(job, to, outcome, now);
  }

  #tellFailure(
    job: Job<Frames>,
    code: number,
    message: string,
    worker: number | undefined,
    stack: string,
  ): void {
    const client = clientOf(job);
    const failure = { job: job.id, worker, attempt: attemptOf(job), code, message, stack, client };
    this.#events.add({ type: "requestFailed", failure });
  }

  /** Frames that share their content with `frames`. */
  #copy(frames: Frames): Frames {
    return frames.map((frame) => {
      const copy = this.#messages.take();
      copy.copyFrom(frame);
      return copy;
    });
  }
}

function bytesOf(frames: Frames): number {
  return frames.reduce((sum, frame) => sum + frame.size, 0);
}
