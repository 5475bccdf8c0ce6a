/**
 * Where clients hand in jobs that are to be stored, and ask about them: the services `job.submit`, `job.status`,
 * `job.result` and `job.cancel`, for clients of every kind and for handlers. What they say is checked here, and brought
 * to the store; each question is answered once, or withdrawn. Knows no state of any job.
 *
 * @module
 */

import type { BrokerCounters } from "../broker/counters.ts";
import type { Peer } from "../broker/job.ts";
import type { Body, BodyPool } from "../ports/body.ts";
import { MDP_PLACES } from "../ports/mdp_router.ts";
import { JOBS_ALONE, type Services } from "../ports/services.ts";
import type { ClientRequest } from "../ports/source.ts";
import type { Unit } from "../ports/unit.ts";
import type { FromStore, Submission } from "../store/messages.ts";
import type { Parcel } from "../system/parcel.ts";
import { Code } from "../wire/request.ts";
import {
  JOB_PREFIX,
  type JobCommand,
  jobCommandOf,
  jobQuestion,
  parseJobQuestion,
  parseSubmission,
} from "../wire/submission.ts";
import { traceText } from "../wire/trace.ts";
import { frameOf, framesBehind, framesOn } from "./frames.ts";
import { type AnswerGround, JobAnswers } from "./job_answers.ts";
import {
  busy,
  nameOf,
  noService,
  type Refusal,
  STALLED,
  STOPPING,
  unknown,
  wrong,
} from "./job_refusals.ts";
import { CHECKPOINT, OpenQuestions } from "./open_questions.ts";

/** What a `JobCounter` works with. */
export interface CounterGround extends AnswerGround {
  services: Services;
  bodies: BodyPool;
  /** What goes with what the store is told. */
  parcel: Parcel;
  /** The run on behalf of which a worker asks; undefined: the peer is no worker that runs a stored job. */
  runOf(peer: Peer<Body>): number | undefined;
}

/** Questions that one client may have open, and all of them together. */
const MOST_OF_CLIENT = 4000;
const MOST = 100_000;
/** Maximum bytes of jobs that are to be stored, all together; one that is larger alone may be beside them. */
const MOST_BYTES = 64 * 1024 ** 2;
/** How often deadlines are checked, ms. */
const CHECK_INTERVAL = 100;
/** After the store has failed, nothing is asked of it for so long, ms. */
const RETRY_INTERVAL = 1000;
const NOTHING = new Uint8Array(0);
const decoder = new TextDecoder();

/** The questions of all clients. */
export class JobCounter {
  readonly #ground: CounterGround;
  readonly #open = new OpenQuestions();
  readonly #answers: JobAnswers;
  /** Deadlines are checked then, ms. */
  #checkAt = 0;
  /** Why the store can't be asked, until when; undefined: it can. */
  #failure: (Refusal & { until: number }) | undefined;

  /** Has been asked nothing yet. */
  constructor(ground: CounterGround) {
    this.#ground = ground;
    this.#answers = new JobAnswers(ground, this.#open);
  }

  /** What was asked and answered. */
  get counters(): BrokerCounters {
    return this.#answers.counters;
  }

  /** Whether a service of this name is one of these. */
  serves(name: string): boolean {
    return name.startsWith(JOB_PREFIX);
  }

  /** A client asks one of these services. */
  request(peer: Peer<Body>, request: ClientRequest, now: number): void {
    this.#take(peer, request, request.service.slice(JOB_PREFIX.length), 0, now);
  }

  /** The same where no service is named: the first frame of the body is the command. */
  command(peer: Peer<Body>, request: ClientRequest, now: number): void {
    const word = decoder.decode(frameOf(request.body, 0).subarray(0, MAX_COMMAND_BYTES));
    // As the access log calls it.
    request.service = JOB_PREFIX + word;
    this.#take(peer, request, word, 1, now);
  }

  #take(
    peer: Peer<Body>,
    request: ClientRequest,
    word: string,
    skip: number,
    now: number,
  ): void {
    const { body } = request;
    this.counters.requests++;
    const refusal = this.#serve(peer, request, word, skip, now);
    if (refusal !== undefined) this.#answers.turnAway(request, refusal, now);
    this.#ground.bodies.release(body);
  }

  #serve(
    peer: Peer<Body>,
    request: ClientRequest,
    word: string,
    skip: number,
    now: number,
  ): Refusal | undefined {
    const { fault, excess } = request;
    if (fault !== "") return { code: Code.badRequest, message: fault };
    if (excess !== undefined) return { code: Code.tooLarge, message: excess };
    const refusal = this.#refusal(peer, now);
    if (refusal !== undefined) return refusal;
    if (word === CHECKPOINT && skip === 0) return this.#keep(peer, request, now);
    const command = jobCommandOf(word);
    if (command === undefined) return unknown(word, skip);
    if (request.body.frames <= skip) return wrong(`"${command}" needs a frame of JSON behind it`);
    return command === "submit"
      ? this.#submit(peer, request, skip, now)
      : this.#ask(peer, request, command, skip, now);
  }

  /** Why nothing can be asked now. */
  #refusal(peer: Peer<Body>, now: number): Refusal | undefined {
    if (this.#ground.source.isStalled(peer, now)) return busy(STALLED);
    const failure = this.#failure;
    if (failure !== undefined && now < failure.until) return failure;
    const size = this.#open.countOf(peer);
    if (size >= MOST_OF_CLIENT) return busy(`The client has ${size} questions open`);
    if (this.#open.size >= MOST) return busy(`${MOST} questions about stored jobs are open`);
    return undefined;
  }

  // ---- what is asked ----

  #submit(
    peer: Peer<Body>,
    request: ClientRequest,
    skip: number,
    now: number,
  ): Refusal | undefined {
    if (this.#answers.isDraining) return busy(STOPPING);
    const { body, trace } = request;
    const read = parseSubmission(frameOf(body, skip), Date.now());
    if (read.fault !== undefined) return wrong(read.fault);
    const { words } = read;
    const service = this.#meant(peer, words.service);
    const refusal = this.#whyNot(peer, service);
    if (refusal !== undefined) return refusal;
    const frames = framesBehind(body, skip + 1);
    if (frames === undefined) {
      return wrong("A job needs a body: at least one frame, maybe an empty one");
    }
    const held = frames.bytes.length;
    if (!this.#hasRoom(held)) return busy("Too many bytes wait to be stored");
    const { number } = this.#open.add(peer, request, "submit", held, now);
    const job = {
      ...{ ...words, service, user: peer.user },
      trace: trace === undefined ? "" : traceText(trace),
      body: framesOn(this.#ground.parcel, frames),
    };
    this.#ground.say({ type: "submit", number, job });
    return undefined;
  }

  /** Whether so many bytes more may wait to be stored. What is larger than the bound would never fit: one may be beside it. */
  #hasRoom(bytes: number): boolean {
    const { held } = this.#open;
    return bytes > MOST_BYTES ? held < MOST_BYTES : held + bytes <= MOST_BYTES;
  }

  /** At the endpoints of one service alone no other is meant. */
  #meant({ bound }: Peer<Body>, service: string): string {
    if (service !== "" || bound === undefined || bound === JOBS_ALONE) return service;
    return this.#ground.services.at(bound)?.name ?? service;
  }

  /** Why a client may not have a service run a job. */
  #whyNot(peer: Peer<Body>, service: string): Refusal | undefined {
    const unit = this.#ground.services.named(service);
    const isReached = peer.bound === undefined || peer.bound === JOBS_ALONE ||
      peer.bound === unit?.number;
    // Majordomo's clients wait for workers, as in all that they ask.
    const isAwaited = unit?.isAwaited === true && peer.place < MDP_PLACES;
    if (unit === undefined || isAwaited || !isReached) {
      return { code: Code.notFound, message: noService(service) };
    }
    if (unit.admits(peer.user)) return undefined;
    const user = JSON.stringify(peer.user);
    return { code: Code.forbidden, message: `The user ${user} may not ask ${nameOf(service)}` };
  }

  #ask(
    peer: Peer<Body>,
    request: ClientRequest,
    command: Exclude<JobCommand, "submit">,
    skip: number,
    now: number,
  ): Refusal | undefined {
    const read = parseJobQuestion(command, frameOf(request.body, skip));
    if (read.fault !== undefined) return wrong(read.fault);
    const { id, wait } = read.words;
    const open = this.#open.add(peer, request, command, 0, now);
    open.job = id;
    const waitMs = Math.min(wait, this.#answers.patience(request.deadline, now));
    this.#answers.ask(open, jobQuestion(command, read.words, waitMs));
    return undefined;
  }

  /** A handler has something kept for the next try. */
  #keep(peer: Peer<Body>, request: ClientRequest, now: number): Refusal | undefined {
    const run = this.#ground.runOf(peer);
    if (run === undefined) return { code: Code.forbidden, message: NO_RUN };
    const { body } = request;
    if (body.frames !== 1) return wrong("A checkpoint is one frame");
    // It is read again when it is stored.
    const value = { bytes: body.bytes.slice(0, body.size) };
    const kept = { run, value };
    const { number } = this.#open.add(peer, request, CHECKPOINT, value.bytes.length, now, kept);
    this.#ground.say({ type: "checkpoint", run, number, value });
    return undefined;
  }

  /** A request to a service whose requests are all stored: it is answered when its job is done. */
  store(unit: Unit, peer: Peer<Body>, request: ClientRequest, now: number): void {
    const { body, trace, requestTimeout } = request;
    const refusal = this.#refusal(peer, now) ??
      (this.#answers.isDraining ? busy(STOPPING) : undefined);
    const held = body.size;
    const { key } = request;
    request.service = unit.name;
    this.counters.requests++;
    if (refusal !== undefined || !this.#hasRoom(held)) {
      this.#answers.turnAway(request, refusal ?? busy("Too many bytes wait to be stored"), now);
    } else {
      const { number } = this.#open.add(peer, request, "durable", held, now);
      const job: Submission = {
        ...DURABLE,
        service: unit.name,
        user: peer.user,
        // It comes with its user in front.
        key: key === "" ? "" : key.slice(peer.user.length + 1),
        requestTimeout: Number.isFinite(requestTimeout) ? requestTimeout : 0,
        trace: trace === undefined ? "" : traceText(trace),
        body: framesOn(this.#ground.parcel, framesBehind(body, 0) ?? { bytes: NOTHING }),
      };
      this.#ground.say({ type: "submit", number, job });
    }
    this.#ground.bodies.release(body);
  }

  // ---- what the store answers ----

  /** Takes an answer; a number that nobody waits for any more is none. */
  hear(message: FromStore): void {
    this.#answers.hear(message);
  }

  // ---- what is not answered by the store ----

  /** A client takes a question back. What was to be stored may be so all the same. */
  cancel(peer: Peer<Body>, requestId: number): boolean {
    const open = this.#open.of(peer).find(({ to }) => to.requestId === requestId);
    if (open === undefined) return false;
    this.#answers.giveUp(open, { code: Code.cancelled, message: "The request was cancelled" });
    return true;
  }

  /** A client has left. */
  gone(peer: Peer<Body>): void {
    for (const open of this.#open.of(peer)) this.#answers.drop(open);
  }

  /** Answers whose clients give up; returns ms until it must run again. */
  tick(now: number): number {
    if (this.#open.size === 0) return Infinity;
    if (now < this.#checkAt) return this.#checkAt - now;
    this.#checkAt = now + CHECK_INTERVAL;
    for (const open of this.#open.overdue(now)) {
      this.#answers.giveUp(open, { code: Code.expired, message: UNANSWERED });
    }
    return CHECK_INTERVAL;
  }

  /** The server stops: nothing more is stored, and nobody waits for news any more. */
  drain(now: number): void {
    this.#answers.drain(now);
  }

  /** There is no store, or none any more: all that was asked is answered so, and what is asked in the next moment. */
  fail(code: number, message: string, now: number): void {
    this.#failure = { code, message, until: now + RETRY_INTERVAL };
    for (const open of this.#open.all()) this.#answers.fail(open, { code, message });
  }
}

const MAX_COMMAND_BYTES = 64;
const UNANSWERED = "The deadline passed before the store answered";
const NO_RUN = "Only the handler of a stored job that runs can have something kept";
/** What a request that is stored is like where it says nothing of it. */
const DURABLE = {
  id: "",
  runAt: 0,
  priority: 4,
  retries: 4,
  backoff: { firstMs: 1000, maxMs: 3_600_000 },
  expiresAt: 0,
  group: "",
  after: [],
};
