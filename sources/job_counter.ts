/**
 * Where clients hand in jobs that are to be stored, and ask about them: the services `job.submit`, `job.status`,
 * `job.result` and `job.cancel`, for clients of every kind and for handlers. What they say is checked here, and brought
 * to the store; each question is answered once, or withdrawn. Knows no state of any job.
 *
 * @module
 */

import type { BrokerCounters } from "../broker/counters.ts";
import { newCounters } from "../broker/counters.ts";
import type { Client, Peer } from "../broker/job.ts";
import type { Body, BodyPool } from "../ports/body.ts";
import type { Content } from "../ports/content.ts";
import { traceIn } from "../ports/error_replies.ts";
import type { EventQueue } from "../ports/event_queue.ts";
import { MDP_PLACES } from "../ports/mdp_router.ts";
import { JOBS_ALONE, type Services } from "../ports/services.ts";
import type { Address, AnswerWay, ClientRequest } from "../ports/source.ts";
import type { Unit } from "../ports/unit.ts";
import type {
  Frames,
  FromStore,
  JobAnswer,
  JobQuestion,
  Submission,
  ToStore,
} from "../store/messages.ts";
import type { Parcel } from "../system/parcel.ts";
import { readClient } from "../wire/job.ts";
import { Code, StatusFlag } from "../wire/request.ts";
import {
  buildStatus,
  buildStored,
  hasEnded,
  JOB_COMMANDS,
  JOB_PREFIX,
  type JobCommand,
  jobCommandOf,
  MAX_WAIT,
  parseJobQuestion,
  parseSubmission,
} from "../wire/submission.ts";
import { traceText } from "../wire/trace.ts";
import { contentOf, frameOf, framesBehind, framesOn } from "./frames.ts";

/** What a `JobCounter` works with. */
export interface CounterGround {
  services: Services;
  source: AnswerWay;
  bodies: BodyPool;
  events: EventQueue;
  /** Whether there is an access log. */
  visits: boolean;
  /** Tells the store. */
  say(message: ToStore): void;
  /** What goes with it. */
  parcel: Parcel;
  /** The run on behalf of which a worker asks; undefined: the peer is no worker that runs a stored job. */
  runOf(peer: Peer<Body>): number | undefined;
  /** What a run has to be kept is stored. */
  kept(run: number, value: Frames): void;
}

/** Questions that one client may have open, and all of them together. */
const MOST_OF_CLIENT = 4000;
const MOST = 100_000;
/** Maximum bytes of jobs that are to be stored, all together. */
const MOST_BYTES = 64 * 1024 ** 2;
/** How often deadlines are checked, ms. */
const CHECK_INTERVAL = 100;
/** An answer that waits for news is given so long before its client gives up, ms. */
const MARGIN = 100;
/** After the store has failed, nothing is asked of it for so long, ms. */
const RETRY_INTERVAL = 1000;
/** The service behind `ctx.job.checkpoint`: only a handler that runs a stored job may ask it. */
const CHECKPOINT = "checkpoint";
const NOTHING = new Uint8Array(0);
const decoder = new TextDecoder();

/** How the answer to one who asks is made. */
type Kind = JobCommand | typeof CHECKPOINT | "durable";

/** A question that was not answered. */
interface Open {
  readonly number: number;
  /** What the access log calls it. */
  readonly service: string;
  readonly kind: Kind;
  readonly to: Address;
  readonly user: string;
  readonly arrivedAt: number;
  /** Bytes of what it has brought, and those of them that wait to be stored. */
  readonly bytes: number;
  held: number;
  /** Nobody waits any more after that, ms. */
  readonly deadline: number;
  readonly trace: string | undefined;
  /** The job that it waits for; "": that is not known, or it waits for none. */
  job: string;
  /** What is to be kept, and of which run; undefined: nothing is. */
  readonly kept: Kept | undefined;
}

/** What a run has to be kept. */
interface Kept {
  readonly run: number;
  readonly value: Frames;
}

/** Why something is refused. */
interface Refusal {
  code: number;
  message: string;
  flags?: number;
}

/** The questions of all clients. */
export class JobCounter {
  readonly #ground: CounterGround;
  readonly #open = new Map<number, Open>();
  readonly #ofPeer = new Map<Peer<Body>, Set<Open>>();
  #last = 0;
  /** Bytes of jobs that are to be stored. */
  #held = 0;
  /** Deadlines are checked then, ms. */
  #checkAt = 0;
  /** Why the store can't be asked, until when; undefined: it can. */
  #failure: (Refusal & { until: number }) | undefined;
  #isDraining = false;
  /** What was asked and answered. */
  readonly counters: BrokerCounters = newCounters();

  /** Has been asked nothing yet. */
  constructor(ground: CounterGround) {
    this.#ground = ground;
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
    if (refusal !== undefined) this.#turnAway(request, refusal, now);
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
    const { size = 0 } = this.#ofPeer.get(peer) ?? {};
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
    if (this.#isDraining) return busy(STOPPING);
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
    if (this.#held + held > MOST_BYTES) return busy("Too many bytes wait to be stored");
    const { number } = this.#add(peer, request, "submit", held, now);
    const job = {
      ...{ ...words, service, user: peer.user },
      trace: trace === undefined ? "" : traceText(trace),
      body: framesOn(this.#ground.parcel, frames),
    };
    this.#ground.say({ type: "submit", number, job });
    return undefined;
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
    const { id, since, wait } = read.words;
    const open = this.#add(peer, request, command, 0, now);
    open.job = id;
    const waitMs = this.#isDraining ? 0 : Math.min(wait, patience(request.deadline, now));
    if (command === "cancel" || command === "forget") this.#sayAsk(open, { type: command, id });
    else if (command === "result") this.#sayAsk(open, { type: "result", id, waitMs });
    else this.#sayAsk(open, { type: "status", id, waitMs, ...since !== undefined && { since } });
    return undefined;
  }

  #sayAsk({ number, user }: Open, question: JobQuestion): void {
    this.#ground.say({ type: "ask", number, user, question });
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
    const { number } = this.#add(peer, request, CHECKPOINT, value.bytes.length, now, kept);
    this.#ground.say({ type: "checkpoint", run, number, value });
    return undefined;
  }

  /** A request to a service whose requests are all stored: it is answered when its job is done. */
  store(unit: Unit, peer: Peer<Body>, request: ClientRequest, now: number): void {
    const { body, trace, requestTimeout } = request;
    const refusal = this.#refusal(peer, now) ?? (this.#isDraining ? busy(STOPPING) : undefined);
    const held = body.size;
    const { key } = request;
    request.service = unit.name;
    this.counters.requests++;
    if (refusal !== undefined || this.#held + held > MOST_BYTES) {
      this.#turnAway(request, refusal ?? busy("Too many bytes wait to be stored"), now);
    } else {
      const { number } = this.#add(peer, request, "durable", held, now);
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

  #add(
    peer: Peer<Body>,
    { client, envelope, requestId, service, bytes, deadline, trace }: ClientRequest,
    kind: Kind,
    held: number,
    now: number,
    kept?: Kept,
  ): Open {
    const open: Open = {
      ...{ number: ++this.#last, kind, service, bytes, held, deadline, job: "", kept },
      to: { client, envelope, requestId },
      user: peer.user,
      arrivedAt: now,
      trace: traceIn({ trace }),
    };
    this.#open.set(open.number, open);
    const others = this.#ofPeer.get(peer) ?? new Set();
    if (others.size === 0) this.#ofPeer.set(peer, others);
    others.add(open);
    client.live++;
    this.#held += held;
    return open;
  }

  // ---- what the store answers ----

  /** Takes an answer; a number that nobody waits for any more is none. */
  hear(message: FromStore): void {
    if (!("number" in message)) return;
    const open = this.#open.get(message.number);
    if (open === undefined) return;
    this.#held -= open.held;
    open.held = 0;
    switch (message.type) {
      case "stored":
        return this.#stored(open, message.id, message.isNew);
      case "answer":
        return this.#answered(open, message.answer);
      case "kept":
        if (open.kept !== undefined) this.#ground.kept(open.kept.run, open.kept.value);
        return this.#reply(open, Code.ok, contentOf(undefined, undefined));
      case "refused":
        return this.#fail(open, message);
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
    const waitMs = this.#isDraining ? 0 : patience(open.deadline, now);
    this.#sayAsk(open, { type: "result", id: open.job, waitMs });
  }

  #answered(open: Open, { status, result }: JobAnswer): void {
    if (open.kind === "durable") return this.#answeredDurable(open, { status, result });
    const frames = open.kind === "result" && hasEnded(status.state) ? result : undefined;
    this.#reply(open, Code.ok, contentOf(buildStatus(status), frames));
  }

  #answeredDurable(open: Open, { status, result }: JobAnswer): void {
    const { id, state, code, message } = status;
    if (state === "done") return this.#reply(open, Code.ok, contentOf(undefined, result));
    if (!hasEnded(state)) {
      if (!this.#isDraining) return this.#await(open, performance.now());
      return this.#fail(open, { code: Code.unavailable, message: `${STOPPING}; ${id} is stored` });
    }
    // An error has its words, and its details, for a result.
    if (state === "failed" && result !== undefined && code !== undefined && code !== Code.ok) {
      return this.#reply(open, code, contentOf(undefined, result));
    }
    this.#fail(open, {
      code: code ?? CODES[state] ?? Code.handlerFailed,
      message: message ?? state,
    });
  }

  #reply(open: Open, code: number, content: Content): void {
    this.#end(open);
    this.#count(open, code, content.size);
    this.#ground.source.reply(open.to, code, NO_FLAGS, content, performance.now());
  }

  #fail(open: Open, { code, message, flags = NO_FLAGS }: Refusal): void {
    this.#end(open);
    this.#count(open, code, message.length);
    this.#ground.source.replyError(open.to, code, flags, message, performance.now());
  }

  #end(open: Open): void {
    const { peer } = open.to.client;
    this.#open.delete(open.number);
    const others = this.#ofPeer.get(peer);
    others?.delete(open);
    if (others?.size === 0) this.#ofPeer.delete(peer);
    open.to.client.live--;
    this.#held -= open.held;
    open.held = 0;
  }

  #count(open: Open, code: number, out: number): void {
    const { service, to, arrivedAt, bytes, trace, job } = open;
    if (code === Code.ok) this.counters.answered++;
    else this.counters.rejected++;
    const total = performance.now() - arrivedAt;
    this.#tellVisit(to.client, service, code, total, { in: bytes, out }, trace, job);
  }

  // ---- what is not answered by the store ----

  #turnAway(request: ClientRequest, { code, message, flags }: Refusal, now: number): void {
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

  /** A client takes a question back. What was to be stored may be so all the same. */
  cancel(peer: Peer<Body>, requestId: number): boolean {
    for (const open of this.#ofPeer.get(peer) ?? []) {
      if (open.to.requestId !== requestId) continue;
      this.#withdraw(open);
      this.#fail(open, { code: Code.cancelled, message: "The request was cancelled" });
      return true;
    }
    return false;
  }

  /** A client has left. */
  gone(peer: Peer<Body>): void {
    for (const open of this.#ofPeer.get(peer) ?? []) {
      this.#withdraw(open);
      this.#end(open);
      this.#count(open, Code.cancelled, 0);
    }
  }

  #withdraw({ number }: Open): void {
    this.#ground.say({ type: "withdraw", number });
  }

  /** Answers whose clients give up; returns ms until it must run again. */
  tick(now: number): number {
    if (this.#open.size === 0) return Infinity;
    if (now < this.#checkAt) return this.#checkAt - now;
    this.#checkAt = now + CHECK_INTERVAL;
    for (const open of this.#open.values()) {
      if (open.deadline > now) continue;
      this.#withdraw(open);
      this.#fail(open, {
        code: Code.expired,
        message: "The deadline passed before the store answered",
      });
    }
    return CHECK_INTERVAL;
  }

  /** The server stops: nothing more is stored, and nobody waits for news any more. */
  drain(now: number): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    for (const open of [...this.#open.values()]) {
      const { kind, job: id } = open;
      if (id === "" || kind === "cancel" || kind === "forget") continue;
      this.#withdraw(open);
      if (kind === "status") this.#sayAsk(this.#renew(open), { type: "status", id, waitMs: 0 });
      else this.#await(this.#renew(open), now);
    }
  }

  /** The same question by another number: an answer to the former one may be under way. */
  #renew(open: Open): Open {
    const { peer } = open.to.client;
    const renewed = { ...open, number: ++this.#last };
    this.#open.delete(open.number);
    this.#open.set(renewed.number, renewed);
    this.#ofPeer.get(peer)?.delete(open);
    this.#ofPeer.get(peer)?.add(renewed);
    return renewed;
  }

  /** There is no store, or none any more: all that was asked is answered so, and what is asked in the next moment. */
  fail(code: number, message: string, now: number): void {
    this.#failure = { code, message, until: now + RETRY_INTERVAL };
    for (const open of [...this.#open.values()]) this.#fail(open, { code, message });
  }
}

const MAX_COMMAND_BYTES = 64;
const NO_FLAGS = 0;
const STALLED = "The client does not take its replies";
const STOPPING = "The server is shutting down";
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
/** What a request is answered whose job has ended without an answer. */
const CODES: Readonly<Record<string, number>> = {
  cancelled: Code.cancelled,
  expired: Code.expired,
};

/** How long an answer may wait for news, ms. */
function patience(deadline: number, now: number): number {
  const left = deadline - now;
  return Math.floor(Math.min(MAX_WAIT, Math.max(0, left - Math.min(MARGIN, left / 4))));
}

function wrong(message: string): Refusal {
  return { code: Code.badRequest, message };
}

/** Another server, or this one later, may take it. */
function busy(message: string): Refusal {
  return { code: Code.unavailable, message, flags: StatusFlag.unstarted };
}

function unknown(word: string, skip: number): Refusal {
  const known = JOB_COMMANDS.map((command) => skip > 0 ? command : JOB_PREFIX + command).join(", ");
  const name = JSON.stringify(skip > 0 ? word : JOB_PREFIX + word);
  return skip > 0
    ? wrong(`The first frame must be ${known}: it is ${name}`)
    : { code: Code.notFound, message: `There is no service ${name}: there are ${known}` };
}

function noService(name: string): string {
  return name === ""
    ? "The server has no service without a name, and the job names none"
    : `The server has no service ${JSON.stringify(name)}`;
}

function nameOf(service: string): string {
  return service === "" ? "the service without a name" : `the service ${JSON.stringify(service)}`;
}
