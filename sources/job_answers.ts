/**
 * How clients are answered that have asked about stored jobs: by what the store says, or by a refusal. Each question is
 * answered once, counted, and reported to the access log.
 *
 * @module
 */

import { type BrokerCounters, newCounters } from "../broker/counters.ts";
import type { Client } from "../broker/job.ts";
import type { Body } from "../ports/body.ts";
import type { Content } from "../ports/content.ts";
import { traceIn } from "../ports/error_replies.ts";
import type { EventQueue } from "../ports/event_queue.ts";
import type { AnswerWay, ClientRequest } from "../ports/source.ts";
import type { Frames, FromStore, JobAnswer, JobQuestion, ToStore } from "../store/messages.ts";
import { readClient } from "../wire/job.ts";
import { Code } from "../wire/request.ts";
import { buildStatus, buildStored, hasEnded, type JobStatus } from "../wire/job_status.ts";
import { MAX_WAIT } from "../wire/submission.ts";
import { contentOf, frameWith } from "./frames.ts";
import { type Refusal, STOPPING } from "./job_refusals.ts";
import type { Open, OpenQuestions } from "./open_questions.ts";

/** What `JobAnswers` work with. */
export interface AnswerGround {
  source: AnswerWay;
  events: EventQueue;
  /** Whether there is an access log. */
  visits: boolean;
  /** Tells the store. */
  say(message: ToStore): void;
  /** What a run has to be kept is stored. */
  kept(run: number, value: Frames): void;
}

/** An answer that waits for news is given so long before its client gives up, ms. */
const MARGIN = 100;
const NO_FLAGS = 0;
/** What a request is answered whose job has ended without an answer. */
const CODES: Readonly<Record<string, number>> = {
  cancelled: Code.cancelled,
  expired: Code.expired,
};

const encoder = new TextEncoder();

/** The error of a job that has failed without a run that would have left one; undefined: it has not failed. */
function errorOf({ state, message }: JobStatus): Frames | undefined {
  return state === "failed" ? frameWith(encoder.encode(message)) : undefined;
}

/** The answers to all clients. */
export class JobAnswers {
  readonly #ground: AnswerGround;
  readonly #open: OpenQuestions;
  #isDraining = false;
  /** What was asked and answered. */
  readonly counters: BrokerCounters = newCounters();

  /** Has answered nothing yet. */
  constructor(ground: AnswerGround, open: OpenQuestions) {
    this.#ground = ground;
    this.#open = open;
  }

  /** Whether the server stops: nobody waits for news any more. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** How long an answer may wait for news, ms. */
  patience(deadline: number, now: number): number {
    if (this.#isDraining) return 0;
    const left = deadline - now;
    return Math.floor(Math.min(MAX_WAIT, Math.max(0, left - Math.min(MARGIN, left / 4))));
  }

  /** Asks the store on behalf of a client. */
  ask({ number, user }: Open, question: JobQuestion): void {
    this.#ground.say({ type: "ask", number, user, question });
  }

  // ---- what the store answers ----

  /** Takes an answer; a number that nobody waits for any more is none. */
  hear(message: FromStore): void {
    if (!("number" in message)) return;
    const open = this.#open.get(message.number);
    if (open === undefined) return;
    this.#open.release(open);
    switch (message.type) {
      case "stored":
        return this.#stored(open, message.id, message.isNew);
      case "answer":
        return this.#answered(open, message.answer);
      case "kept":
        if (open.kept !== undefined) this.#ground.kept(open.kept.run, open.kept.value);
        return this.#reply(open, Code.ok, contentOf(undefined, undefined));
      case "refused":
        return this.fail(open, message);
    }
  }

  #stored(open: Open, id: string, isNew: boolean): void {
    open.job = id;
    if (open.kind !== "durable") {
      return this.#reply(open, Code.ok, contentOf(buildStored({ id, isNew }), undefined));
    }
    this.#await(open, performance.now());
  }

  /** Waits for the end of a job for as long as its client does. */
  #await(open: Open, now: number): void {
    const waitMs = this.patience(open.deadline, now);
    this.ask(open, { type: "result", id: open.job, waitMs });
  }

  #answered(open: Open, { status, result }: JobAnswer): void {
    if (open.kind === "durable") return this.#answeredDurable(open, { status, result });
    const isEnd = open.kind === "result" && hasEnded(status.state);
    const frames = isEnd ? result ?? errorOf(status) : undefined;
    this.#reply(open, Code.ok, contentOf(buildStatus(status), frames));
  }

  #answeredDurable(open: Open, { status, result }: JobAnswer): void {
    const { id, state, code, message } = status;
    if (state === "done") return this.#reply(open, Code.ok, contentOf(undefined, result));
    if (!hasEnded(state)) {
      if (!this.#isDraining) return this.#await(open, performance.now());
      return this.fail(open, { code: Code.unavailable, message: `${STOPPING}; ${id} is stored` });
    }
    // An error has its words, and its details, for a result.
    if (state === "failed" && result !== undefined && code !== undefined && code !== Code.ok) {
      return this.#reply(open, code, contentOf(undefined, result));
    }
    this.fail(open, {
      code: code ?? CODES[state] ?? Code.handlerFailed,
      message: message ?? state,
    });
  }

  #reply(open: Open, code: number, content: Content): void {
    this.#open.end(open);
    this.#count(open, code, content.size);
    this.#ground.source.reply(open.to, code, NO_FLAGS, content, performance.now());
  }

  /** It is not answered otherwise. */
  fail(open: Open, { code, message, flags = NO_FLAGS }: Refusal): void {
    this.#open.end(open);
    this.#count(open, code, message.length);
    this.#ground.source.replyError(open.to, code, flags, message, performance.now());
  }

  #count(open: Open, code: number, out: number): void {
    const { service, to, arrivedAt, bytes, trace, job } = open;
    if (code === Code.ok) this.counters.answered++;
    else this.counters.rejected++;
    const total = performance.now() - arrivedAt;
    this.#tellVisit(to.client, service, code, total, { in: bytes, out }, trace, job);
  }

  // ---- what is not answered by the store ----

  /** A request that is not taken in at all. */
  turnAway(request: ClientRequest, { code, message, flags }: Refusal, now: number): void {
    const { client, service, bytes, trace } = request;
    this.counters.rejected++;
    const size = { in: bytes, out: message.length };
    this.#tellVisit(client, service, code, 0, size, traceIn({ trace }));
    this.#ground.source.replyError(request, code, flags ?? NO_FLAGS, message, now);
  }

  #tellVisit(
    { peer }: Client<Body>,
    service: string,
    code: number,
    total: number,
    bytes: { in: number; out: number },
    trace: string | undefined,
    id = "",
  ): void {
    const { events, visits } = this.#ground;
    if (!visits) return;
    const client = readClient(peer.header);
    const none = { job: undefined, attempt: undefined, handler: undefined, shared: undefined };
    const named = { id: id === "" ? undefined : id };
    events.addVisit({
      ...none,
      ...named,
      service,
      client,
      code,
      queued: 0,
      total,
      ...bytes,
      trace,
    });
  }

  /** Its client is gone. */
  drop(open: Open): void {
    this.#withdraw(open);
    this.#open.end(open);
    this.#count(open, Code.cancelled, 0);
  }

  /** It is answered without the store, which need not answer any more. */
  giveUp(open: Open, refusal: Refusal): void {
    this.#withdraw(open);
    this.fail(open, refusal);
  }

  #withdraw({ number }: Open): void {
    this.#ground.say({ type: "withdraw", number });
  }

  /** The server stops: nothing more is stored, and nobody waits for news any more. */
  drain(now: number): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    for (const open of this.#open.all()) {
      const { kind, job: id } = open;
      if (id === "" || kind === "cancel" || kind === "forget") continue;
      this.#withdraw(open);
      // An answer to the former question may be under way.
      const renewed = this.#open.renew(open);
      if (kind === "status") this.ask(renewed, { type: "status", id, waitMs: 0 });
      else this.#await(renewed, now);
    }
  }
}
