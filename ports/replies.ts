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
import type { AccessBook, Outcome } from "./access_book.ts";
import { type Body, type BodyPool, weigh } from "./body.ts";
import { type Content, framesOf, keep, MemoryContent } from "./content.ts";
import {
  clientOf,
  detailsSize,
  ErrorReplies,
  messageIn,
  stackIn,
  traceIn,
  veil,
} from "./error_replies.ts";
import type { EventQueue } from "./event_queue.ts";
import type { JobTopics } from "./job_topics.ts";
import type { LoopLimits } from "./messages.ts";
import type { PartReplies } from "./part_replies.ts";
import type { AnswerWay } from "./source.ts";
import type { StoredWay } from "./answers.ts";

/** What answers are made of, and where they go. */
export interface ReplyPath {
  /** The service's. */
  name: string;
  broker: Broker<Body>;
  source: AnswerWay;
  stored: StoredWay;
  bodies: BodyPool;
  events: EventQueue;
  /** Undefined where there is no access log. */
  book: AccessBook | undefined;
  parts: PartReplies;
  topics: JobTopics;
}

const INVALID = "The worker's reply has no valid code";

/** The answers of one service, on their way to clients. */
export class Replies {
  readonly #service: string;
  readonly #broker: Broker<Body>;
  readonly #source: AnswerWay;
  readonly #stored: StoredWay;
  readonly #bodies: BodyPool;
  readonly #events: EventQueue;
  readonly #book: AccessBook | undefined;
  readonly #parts: PartReplies;
  readonly #topics: JobTopics;
  readonly #errors: ErrorReplies;
  readonly #cache: ReplyCache<Body>;
  /** What a kept answer has, while it is sent. */
  readonly #kept = new MemoryContent();
  /** Answers of workers that had no valid code. */
  replaced = 0;

  /** Keeps no answers before `configure`. */
  constructor(path: ReplyPath) {
    const { name, broker, source, stored, bodies, events, book, parts, topics } = path;
    this.#service = name;
    this.#broker = broker;
    this.#source = source;
    this.#stored = stored;
    this.#bodies = bodies;
    this.#events = events;
    this.#book = book;
    this.#parts = parts;
    this.#topics = topics;
    this.#errors = new ErrorReplies(() => source.endpoints);
    this.#cache = new ReplyCache((body) => bodies.release(body));
  }

  /** Works by other bounds from now on. */
  configure({ replyCacheTtl: ttl, replyCacheBytes: bytes, exposeErrors }: LoopLimits): void {
    this.#errors.configure({ exposeErrors });
    this.#cache.configure({ ttl, bytes });
  }

  /** Drops kept answers that are too old; returns ms until others are. */
  tick(now: number): number {
    return this.#cache.tick(now);
  }

  /** Sends a worker's answer to all who wait for it. */
  take(worker: Worker<Body>, reply: ReplyHeader, content: Content, now: number): void {
    const { micros, flags } = reply;
    const isValid = isReplyCode(reply.code);
    const code = isValid ? reply.code : Code.handlerFailed;
    if (!isValid) this.replaced++;
    const job = this.#broker.takeReply(worker, reply.job, code, micros, now);
    if (job === undefined) return;
    this.#broker.meter.replied(code, 1 + job.others.length);
    if (this.#topics.wanted !== 0) this.#topics.answered(job, worker.id, code, micros);
    if (job.request.stored !== undefined) {
      const known = { code, flags: isValid ? flags : 0, micros };
      this.#endStored(job, worker, known, isValid ? content : INVALID, now);
      return this.#forget(job);
    }
    const endsParts = code === Code.ok && (flags & ReplyFlag.ENDS_PARTS) !== 0;
    if (endsParts && job.stream?.takesParts) this.#endParts(job, job.stream.bytes, micros, now);
    else if (code === Code.ok) this.#sendResult(job, content, micros, now);
    else if (isValid) this.#sendError(job, worker, { code, flags, micros }, content, now);
    else this.#sendError(job, worker, { code, flags: 0, micros }, contentOf(INVALID), now);
    this.#forget(job);
  }

  #forget(job: Job<Body>): void {
    this.#bodies.release(job.request.body);
    this.#broker.recycle(job);
  }

  /** Tells the store how a try has ended; of an error, what every client of this server may see. */
  #endStored(
    job: Job<Body>,
    worker: Worker<Body>,
    { code, flags, micros }: Pick<ReplyHeader, "code" | "flags" | "micros">,
    content: Content | string,
    now: number,
  ): void {
    const said = typeof content === "string" ? contentOf(content) : content;
    const shown = code === Code.ok
      ? said
      : this.#errors.showsAll(flags)
      ? wordsIn(said, flags)
      : contentOf(veil(job));
    this.#account(job, askersOf(job), { code, out: shown.size, micros }, now);
    if (code >= Code.handlerFailed) {
      this.#tellFailure(job, code, messageIn(said), worker.id, stackIn(said, flags));
    }
    this.#broker.meter.bytesOut += shown.size;
    this.#stored.ended(job, code, shown, micros);
  }

  #endParts(job: Job<Body>, out: number, micros: number, now: number): void {
    this.#account(job, askersOf(job), { code: Code.ok, out, micros }, now);
    job.line.charge(job.bytes);
    this.#parts.end(job, now);
  }

  #sendResult(job: Job<Body>, content: Content, micros: number, now: number): void {
    const { size } = content;
    if (this.#book !== undefined) {
      this.#account(job, askersOf(job), { code: Code.ok, out: size, micros }, now);
    }
    const { key } = job.request;
    if (key !== "") this.#keep(key, Code.ok, content, now);
    for (const other of job.others) this.#source.reply(other, Code.ok, 0, content, now);
    job.line.charge(job.bytes + weigh(size, framesOf(content)));
    this.#broker.meter.bytesOut += size * (1 + job.others.length);
    this.#source.reply(job.asker, Code.ok, 0, content, now);
  }

  /** Sends an error: the log gets all of it, and each client what it may see. */
  #sendError(
    job: Job<Body>,
    worker: Worker<Body>,
    { code, flags, micros }: Pick<ReplyHeader, "code" | "flags" | "micros">,
    content: Content,
    now: number,
  ): void {
    const message = wordsIn(content, flags); // whatever a worker sends
    this.#account(job, askersOf(job), { code, out: message.size, micros }, now);
    if (code >= Code.handlerFailed) {
      this.#tellFailure(job, code, messageIn(content), worker.id, stackIn(content, flags));
    }
    const { key } = job.request;
    if (key !== "" && (flags & ReplyFlag.PRIVATE) === 0) this.#keep(key, code, message, now);
    for (const asker of askersOf(job)) {
      const shown = this.#errors.shows(flags, asker.client) ? message : contentOf(veil(job));
      this.#broker.meter.bytesOut += shown.size;
      this.#source.reply(asker, code, 0, shown, now);
    }
  }

  /** Sends the answers of the broker itself; returns whether there were any. */
  sendEnded(now: number): boolean {
    const all = this.#broker.takeEnded();
    if (all.length === 0) return false;
    const { meter } = this.#broker;
    for (const { job, to, code, message, flags, attempt, last, wasAnswered } of all) {
      // A request ends also where nobody is left to be answered.
      if (!wasAnswered) meter.replied(code, Math.max(1, to.length));
      meter.bytesOut += message.length * to.length;
      if (last) meter.ended(job, code, now);
      for (const asker of to) {
        // It may have left in this very turn.
        if (!asker.client.peer.connected) continue;
        this.#source.replyError(asker, code, flags, message, now);
      }
      if (code === Code.workerDied || code === Code.handlerTimeout) {
        this.#tellFailure(job, code, message, undefined, "", attempt);
      }
      if (this.#book !== undefined) {
        // The request is accounted for even if nobody is left to be answered.
        const all = to.length > 0 || wasAnswered ? to : [job.asker];
        const outcome = { code, out: message.length, micros: undefined, attempt };
        this.#account(job, all, outcome, now);
      }
      if (!last) continue;
      if (this.#topics.wanted !== 0) this.#topics.ended(job, code, attempt);
      this.#bodies.release(job.request.body);
      this.#broker.recycle(job);
    }
    return true;
  }

  /** Answers a request by the kept answer to an earlier one of its key; false if there is none. */
  sendKept(request: JobRequest<Body>, now: number): boolean {
    const { client, key, body } = request;
    const kept = this.#cache.get(key, now);
    if (kept === undefined) return false;
    this.#broker.counters.requests++;
    this.#broker.counters.cached++;
    const { code, bytes } = kept;
    this.#broker.meter.replied(code, 1);
    this.#broker.meter.bytesOut += bytes;
    this.#book?.cached(client, code, { in: body.size, out: bytes }, traceIn(request));
    this.#source.reply(request, code, 0, this.#kept.setBody(kept.body), now);
    this.#bodies.release(body);
    return true;
  }

  #keep(key: string, code: number, content: Content, now: number): void {
    if (!this.#cache.enabled || !isFinal(code)) return;
    const { size: bytes } = content;
    const weight = weigh(bytes, framesOf(content));
    this.#cache.put(key, { code, body: keep(content, this.#bodies), bytes, weight }, now);
  }

  #account(job: Job<Body>, to: readonly Asker<Body>[], outcome: Outcome, now: number): void {
    this.#book?.ended(job, to, outcome, now);
  }

  #tellFailure(
    job: Job<Body>,
    code: number,
    message: string,
    worker: number | undefined,
    stack: string,
    attempt = attemptOf(job),
  ): void {
    const failure = {
      service: this.#service,
      job: job.id,
      id: job.request.stored?.id,
      worker,
      attempt,
      code,
      message,
      stack,
      client: clientOf(job),
      trace: traceIn(job.request),
    };
    this.#events.add({ type: "requestFailed", failure });
  }
}

/** A copy of what an error has for clients: its message, and its details if it has any. */
function wordsIn(content: Content, flags: number): Content {
  const [message = 0] = content.sizes ?? [content.size];
  const details = detailsSize(content, flags);
  const size = message + details;
  const bytes = new Uint8Array(size);
  content.copyTo(bytes, 0, 0, size);
  return new MemoryContent().set(bytes, 0, size, details > 0 ? [message, details] : undefined);
}

function contentOf(message: string): Content {
  const bytes = new TextEncoder().encode(message);
  return new MemoryContent().set(bytes, 0, bytes.length);
}
