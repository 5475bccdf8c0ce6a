/**
 * Asks a server: sends a request, waits for its reply, tries again, gives up. This module is a library,
 * and a command when it is run.
 *
 * ```ts
 * import { Client } from "jsr:@zmq/prefork/client";
 *
 * await using client = new Client({ endpoint: "tcp://localhost:6660" });
 * const reply = await client.request("hello");
 * console.log(reply.text());
 * ```
 *
 * `Client` tells the story of a request. client/lazy_pirate.ts decides what is sent when and given up,
 * client/links.ts on which connection, client/connections.ts owns these. What carries them is behind client/transport.ts:
 * client/native_transport.ts without keys, client/zmq_transport.ts with keys.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import type { Answer } from "./client/answer.ts";
import { type Ask, endParts, takePart } from "./client/ask.ts";
import { Bodies, type RequestBody } from "./client/bodies.ts";
import {
  checkOptions,
  checkRequestOptions,
  checkService,
  checkStreamOptions,
  checkSubscription,
  type Settings,
} from "./client/checks.ts";
import { Connections } from "./client/connections.ts";
import { RequestSpans, spanned } from "./client/request_spans.ts";
import { type Keys, readKeys } from "./client/keys.ts";
import type { SubmitOptions } from "./client/job_options.ts";
import { LazyPirate } from "./client/lazy_pirate.ts";
import { NamedService } from "./client/named_service.ts";
import { NativeTransport } from "./client/native_transport.ts";
import type {
  ClientOptions,
  RequestOptions,
  StreamOptions,
  SubscribeOptions,
} from "./client/options.ts";
import type { PartQueue } from "./client/part_queue.ts";
import { AbandonedError, parseDetails, Reply, ReplyError } from "./client/reply.ts";
import { type JobAsker, submitJob, type Submitted } from "./client/submitting.ts";
import type { PublishedEvent } from "./client/subscription.ts";
import { Subscriptions } from "./client/subscriptions.ts";
import { StoredJob } from "./client/stored_job.ts";
import { spannedParts, type StreamGround, streamParts } from "./client/streams.ts";
import type { Link, Pending, Repetition, Step, Terms } from "./client/steps.ts";
import { type Connection, describeWait, reasonOf } from "./client/transport.ts";
import {
  type Asking,
  type CallOptions,
  type RpcModule,
  type Typed,
  typedCalls,
} from "./client/typed.ts";
import { type TypedJobs, typedJobs } from "./client/typed_jobs.ts";
import { ZmqTransport } from "./client/zmq_transport.ts";
import { shutDebugger } from "./system/debugger.ts";
import { readVariable } from "./system/variables.ts";
import { Code } from "./wire/request.ts";
import type { Library } from "./zmq/library.ts";
import { locateLibrary } from "./zmq/locate.ts";

export type { RequestBody } from "./client/bodies.ts";
export type {
  ClientOptions,
  CurveOptions,
  Progress,
  RequestOptions,
  Retry,
  RetryReason,
  StreamOptions,
  SubscribeOptions,
} from "./client/options.ts";
export type { JobOptions, ResultOptions, SubmitOptions } from "./client/job_options.ts";
export { type JobProgress, StoredJob } from "./client/stored_job.ts";
export { type JobState, type JobStatus, newJobId, type Submitted } from "./client/submitting.ts";
export type { PublishedEvent } from "./client/subscription.ts";
export type { JobResult, TypedJob, TypedJobCalls, TypedJobs } from "./client/typed_jobs.ts";
export { NamedService } from "./client/named_service.ts";
export { AbandonedError, NotEndedError, Reply, ReplyError } from "./client/reply.ts";
export type {
  CallOptions,
  KeptKey,
  NeverSent,
  Received,
  RpcModule,
  Sent,
  SentArguments,
  SentAsIs,
  Typed,
  TypedAnswer,
  TypedCalls,
  TypedRoot,
  TypedStream,
} from "./client/typed.ts";

const encoder = new TextEncoder();

/** Messages that are read before signals and timers have their turn. */
const BATCH_MESSAGES = 1000;

/**
 * A client of one server, or of several that stand in for each other. It may have any number of requests
 * under way.
 *
 * A try without an answer within `timeout` is repeated on a new socket. Other requests that wait on the
 * old socket lose nothing: it is closed when the last of them has ended. A client with an identity can have
 * only one socket: that is replaced if nothing at all came through it meanwhile, and the other requests are
 * then sent again, which does not count as a try.
 *
 * While a server can't be reached, the client tries to connect about once a second. A request under way
 * keeps the process running, an idle client does not. Each client with requests under way takes one of the
 * 32 threads that Deno has for such work: share a client rather than make many.
 *
 * @example
 * ```ts
 * await using client = new Client({ timeout: 2000 });
 * const [one, two] = await Promise.all([client.request("one"), client.request("two")]);
 * ```
 */
export class Client {
  readonly #settings: Settings;
  readonly #pirate: LazyPirate<Ask>;
  readonly #connections: Connections<Link<Ask>>;
  readonly #bodies = new Bodies();
  readonly #keys: Keys | undefined;
  readonly #subscriptions: Subscriptions;
  readonly #streams: StreamGround;
  /** How it asks about background jobs. */
  readonly #jobs: JobAsker;
  /** Undefined: nothing is traced. */
  readonly #spans: RequestSpans | undefined;
  /** What servers that were shutting down have said about requests: the last refusal of each. */
  readonly #refusals = new WeakMap<Ask, ReplyError>();
  /** The loop, while anything is under way. */
  #running: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  /** Whether something was asked or withdrawn since the loop last decided what to do. */
  #changed = false;

  /**
   * Loads libzmq and checks the options; connects with the first request.
   *
   * @throws {TypeError | RangeError} when an option is unknown or not what it must be.
   * @throws {Error} when libzmq can't be opened, or a key file can't be used.
   */
  constructor(options: ClientOptions = {}) {
    const settings = this.#settings = checkOptions(options);
    const library: Library = locateLibrary(readVariable("ZMQ_LIBRARY"));
    const keys = settings.curve && readKeys(settings.curve, library);
    const { plain, endpoints, transport } = settings;
    const identity = encoder.encode(settings.identity);
    // Not from 0: a server may still answer what an earlier client of this identity asked.
    const firstId = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const named = identity.length > 0;
    const isHeldUp = ({ parts }: Ask) => parts !== undefined && parts.isHeldUp;
    this.#pirate = new LazyPirate({
      plain,
      named,
      firstId,
      endpoints: endpoints.length,
      isHeldUp,
    });
    this.#connections = new Connections({
      transport: keys !== undefined || transport === "libzmq"
        ? new ZmqTransport(library, { identity, keys, plain })
        : new NativeTransport({ identity, plain }),
      library: library.path,
      named,
      listener: this.#pirate,
      attend: () => this.#attend(),
    });
    this.#keys = keys;
    const refuseClosed = () => this.#refuseClosed();
    this.#subscriptions = new Subscriptions({ library, keys, transport, refuseClosed });
    this.#streams = {
      ask: (ask, terms) => (refuseClosed(), this.#ask(ask, terms)),
      drop: (pending) => this.#drop(pending),
      grant: (pending, parts) => this.#grant(pending, parts),
    };
    this.#jobs = {
      ...settings,
      request: (body, options) => this.#request(body, options, undefined, "repeatable"),
    };
    this.#spans = RequestSpans.open(settings);
  }

  /**
   * Asks, and waits for the answer. `body` may be changed as soon as this returns.
   *
   * @param body one frame, or a list of at least one; text is sent as UTF-8.
   * @throws {ReplyError} when the server or its handler answers with an error.
   * @throws {AbandonedError} when no try is answered.
   * @throws {TypeError | RangeError} when an argument is not what it must be.
   * @throws {Error} when the client is closed.
   * @throws the signal's reason, when that aborts.
   *
   * @example
   * ```ts
   * const reply = await client.request(JSON.stringify({ items: [1, 2] }), { timeout: 500 });
   * const { sum } = reply.json<{ sum: number }>();
   * ```
   */
  request(body: RequestBody, options: RequestOptions = {}): Promise<Reply> {
    return this.#request(body, options, undefined);
  }

  #request(
    body: RequestBody,
    options: RequestOptions,
    call: string | undefined,
    repeatable?: "repeatable",
  ): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const terms = checkRequestOptions(options, this.#settings);
      if (repeatable !== undefined) terms.isRepeatable = true;
      const frames = this.#bodies.copy(body);
      this.#refuseClosed();
      options.signal?.throwIfAborted();
      this.#refuseSecondPlain();
      const { signal, onProgress } = options;
      const ask = { frames, resolve, reject, parts: undefined, onProgress, span: undefined };
      if (this.#spans === undefined) return this.#add(ask, terms, signal);
      const span = this.#spans.start(terms, frames, call);
      this.#add(spanned(ask, span), this.#spans.termsOf(terms, span), signal);
    });
  }

  /**
   * Asks, and gives the answer in the parts that the handler sends, each as soon as it is here; an answer that
   * comes whole is one part. `body` may be changed as soon as this returns. The request is sent when the first
   * part is asked for. Leaving the loop has the server stop the handler.
   *
   * The server sends at most 262,144 bytes or 16 parts beyond what the loop has taken, or one larger part.
   *
   * @param body one frame, or a list of at least one; text is sent as UTF-8.
   * @throws {TypeError | RangeError} when an argument is not what it must be; the loop throws what `request`
   * rejects with, once all parts ahead of that were taken.
   *
   * @example
   * ```ts
   * for await (const part of client.stream("count to 10")) console.log(part.text());
   * ```
   */
  stream(
    body: RequestBody,
    options: StreamOptions = {},
  ): AsyncGenerator<Reply, void, undefined> {
    return this.#parts(body, options, undefined);
  }

  #parts(
    body: RequestBody,
    options: StreamOptions,
    call: string | undefined,
  ): AsyncGenerator<Reply, void, undefined> {
    const terms = checkStreamOptions(options, this.#settings);
    const frames = this.#bodies.copy(body);
    if (this.#spans === undefined) {
      return streamParts(this.#streams, frames, terms, { ...options }, undefined);
    }
    return spannedParts(this.#streams, this.#spans, frames, terms, { ...options }, call);
  }

  /** Has the server send more once enough was read. */
  #grant(pending: Pending<Ask>, parts: PartQueue): void {
    const credit = parts.grant();
    if (credit === undefined) return;
    this.#pirate.grant(pending, credit, performance.now());
    this.#wakeLoop();
  }

  #refuseClosed(): void {
    if (this.#closing) throw new Error("Cannot send a request: the client is closed");
  }

  /**
   * Hears what the server publishes, as long as the loop runs: leaving it ends the subscription. The client connects
   * again by itself; what it did not hear meanwhile shows in the next event's `lost`. A loop that is slow may have
   * 10,000 events wait for it, with 16 MiB; more are lost.
   *
   * @param topics the first characters of topics: `job.done.` for all services, "" for everything.
   * @throws {TypeError | RangeError} when an argument is not what it must be; the loop throws the signal's reason when
   * that aborts.
   *
   * @example
   * ```ts
   * for await (const { topic, data } of client.subscribe(["job.failed.", "worker."])) {
   *   console.log(topic, data);
   * }
   * ```
   */
  subscribe(
    topics: string | readonly string[],
    options: SubscribeOptions = {},
  ): AsyncGenerator<PublishedEvent, void, undefined> {
    const place = checkSubscription(topics, options, this.#settings);
    return this.#subscriptions.hear(place, options.signal);
  }

  /**
   * Submits a background job, and waits until it is stored: it is run then, whatever happens to this client or the
   * server, at least once. However often the submission had to be sent, the job is stored once. `body` may be changed
   * as soon as this returns. A plain client submits at an endpoint of the server's option `jobs`.
   *
   * @param body one frame, or a list of at least one; text is sent as UTF-8.
   * @returns the job's id; `isNew` is false where a job of the same `key` has not ended, whose id it is then.
   * @throws {ReplyError} when the server refuses it: 400 an option, 403 the service is not allowed, 404 there is no such
   * service, 413 it is too large, 503 the store can't be reached for now, 507 it is full, or its disk fails.
   * @throws {AbandonedError} when no answer came within `timeout`; the job may be stored all the same.
   * @throws {TypeError | RangeError} when an argument is not what it must be.
   *
   * @example
   * ```ts
   * const { id } = await client.submit("hello", { service: "mail", delay: 60_000 });
   * const reply = await client.job(id).result({ wait: 120_000 });
   * ```
   */
  submit(body: RequestBody, options: SubmitOptions = {}): Promise<Submitted> {
    return submitJob(this.#jobs, body, options);
  }

  /**
   * A background job, by its id, to be asked about by its methods. It need not be submitted by this client; with keys
   * it must be by the same user.
   *
   * @throws {TypeError | RangeError} when `id` can't be a job's.
   */
  job(id: string): StoredJob {
    return new StoredJob(this.#jobs, id);
  }

  /**
   * A service of the server, to be asked by its methods.
   *
   * @param name 1 to 64 characters of A–Z, a–z, 0–9, `.`, `_` and `-`.
   * @throws {TypeError | RangeError} when it can't be a service's name, or the client is plain.
   *
   * @example
   * ```ts
   * const mail = client.service("mail");
   * await mail.request("hello", { timeout: 500 });
   * ```
   */
  service(name: string): NamedService {
    checkService(name, this.#settings);
    return new NamedService(this, name, this.#asking);
  }

  /**
   * The calls of a handler that is made with `rpc`, by the type of its module. The module itself is not loaded.
   *
   * @param options of each request. `with` adds others, such as a key, to a single call.
   *
   * @example
   * ```ts
   * const api = client.typed<typeof import("./calc.ts")>();
   * const sum: number = await api.add(1, 2);
   * await api.with({ timeout: 500 }).add(1, 2);
   * ```
   */
  typed<Module extends RpcModule>(options?: Omit<CallOptions, "key">): Typed<Module>;
  typed(options: CallOptions = {}): unknown {
    return typedCalls(this.#asking, options);
  }

  /**
   * The same calls as background jobs: each submits one, and returns its id at once.
   *
   * @param options of each job. `with` adds others to a single call.
   *
   * @example
   * ```ts
   * const jobs = client.typedJobs<typeof import("./calc.ts")>({ retries: 9 });
   * const { id, result } = await jobs.add(1, 2);
   * const sum: number = await result({ wait: 60_000 });
   * ```
   */
  typedJobs<Module extends RpcModule>(
    options?: Omit<SubmitOptions, "key" | "id">,
  ): TypedJobs<Module>;
  typedJobs(options: SubmitOptions = {}): unknown {
    return typedJobs(this, options);
  }

  /** What typed calls are sent with. */
  get #asking(): Asking {
    const request: Asking["request"] = (body, options, call) => this.#request(body, options, call);
    if (this.#settings.plain) return { request };
    return { request, stream: (body, options, call) => this.#parts(body, options, call) };
  }

  /**
   * What the requests under way wait for, as half a sentence to be shown to people: the endpoint that was
   * connected to last, and what is known of that connection. Undefined while no request is under way.
   */
  get waitingFor(): string | undefined {
    const last = this.#connections.newest;
    if (this.#pirate.size === 0 || last === undefined) return undefined;
    return `"${last.endpoint}": ${describeWait(last.state, this.#keys !== undefined, last)}`;
  }

  /** Closes the client; requests under way are rejected. A second call does nothing more. */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  /** Closes: for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #refuseSecondPlain(): void {
    const { plain, identity } = this.#settings;
    if (!plain || identity === undefined || this.#pirate.size === 0) return;
    throw new Error(
      `Cannot send a request: a plain client with an identity must wait for its last one: ` +
        `identity is "${identity}"`,
    );
  }

  #add(ask: Ask, terms: Terms, signal: AbortSignal | undefined): void {
    if (signal === undefined) {
      this.#ask(ask, terms);
      return;
    }
    const abort = () => {
      this.#drop(pending);
      ask.reject(signal.reason);
    };
    const unlisten = () => signal.removeEventListener("abort", abort);
    const resolve = (reply: Reply) => (unlisten(), ask.resolve(reply));
    const reject = (reason: unknown) => (unlisten(), ask.reject(reason));
    const pending = this.#ask({ ...ask, resolve, reject }, terms);
    signal.addEventListener("abort", abort, { once: true });
  }

  #ask(ask: Ask, terms: Terms): Pending<Ask> {
    const pending = this.#pirate.add(ask, terms, performance.now());
    this.#wakeLoop();
    return pending;
  }

  /** Has a request end whose answer is not wanted any more; does nothing if it has ended. */
  #drop(pending: Pending<Ask>): void {
    this.#pirate.drop(pending, performance.now());
    this.#wakeLoop();
  }

  /** Starts the loop, or ends its wait: there is something to be done. */
  #wakeLoop(): void {
    if (this.#running === undefined) this.#running = this.#run();
    if (this.#changed) return;
    this.#changed = true;
    this.#connections.wake();
  }

  /** Receives, decides, sends, waits; until nothing is under way. */
  async #run(): Promise<void> {
    try {
      for (;;) {
        const more = this.#receive(performance.now());
        // What is asked meanwhile, and by those who have just got an answer, is sent together.
        await turn();
        this.#changed = false;
        const now = performance.now();
        // Other code may have used its turn for longer than a timeout.
        if (now >= this.#pirate.dueAt) this.#receive(now);
        const sleep = this.#pirate.tick(now);
        await this.#carryOut(this.#pirate.take());
        const rest = this.#connections.tick(performance.now(), "busy");
        if (this.#changed || more) continue;
        if (this.#pirate.size === 0) break;
        await this.#connections.wait(Math.min(sleep, rest));
      }
    } catch (error) {
      for (const ask of this.#pirate.clear()) ask.reject(error);
      this.#connections.closeAll();
    } finally {
      this.#running = undefined;
    }
  }

  /** Has connections live on while nothing is under way: late replies are dropped, heartbeats are answered. */
  #attend(): void {
    if (this.#running !== undefined) return;
    const now = performance.now();
    for (const [, connection] of this.#connections) connection.recheck();
    this.#receive(now);
    this.#connections.tick(now, "idle");
  }

  /** Reads what is there; true if there is more. */
  #receive(now: number): boolean {
    // Before anything times out, all that may be its answer is read.
    const isDue = now >= this.#pirate.dueAt;
    let left = isDue ? BATCH_MESSAGES + this.#pirate.size : BATCH_MESSAGES;
    for (const [link, connection] of this.#connections) {
      if (isDue) connection.recheck();
      while (left > 0 && this.#receiveMessage(link, connection, now)) left--;
    }
    // After the replies: what a connection brought before its end is an answer all the same.
    this.#connections.readNews(now);
    return left === 0;
  }

  /** Reads one message, if there is one. Late replies, and what is not an answer, are dropped. */
  #receiveMessage(link: Link<Ask>, connection: Connection, now: number): boolean {
    const read = connection.read();
    if (read === "answer") this.#takeAnswer(link, connection.answer, now);
    return read !== "nothing";
  }

  #takeAnswer(link: Link<Ask>, answer: Answer, now: number): void {
    const { id, code, kind, frames, message, details, unstarted } = answer;
    if (unstarted && id !== undefined) return this.#takeRefusal(link, id, message, now);
    if (kind === "part" || kind === "progress") return this.#takePart(link, answer, kind, now);
    const ask = this.#pirate.answer(link, id, code, now);
    if (kind === "end") endParts(ask, answer.number);
    else if (code === Code.ok) ask?.resolve(new Reply(frames));
    else ask?.reject(new ReplyError(code, message, parseDetails(details)));
  }

  /** A part that can't be taken, and what `onProgress` throws, end the request. */
  #takePart(link: Link<Ask>, answer: Answer, kind: "part" | "progress", now: number): void {
    const pending = this.#pirate.hear(link, answer.id, kind, now);
    if (pending === undefined) return;
    try {
      takePart(pending.item, answer);
      // Parts that were here before are no reader's to take.
      if (pending.item.parts !== undefined) this.#grant(pending, pending.item.parts);
    } catch (error) {
      this.#pirate.drop(pending, now);
      pending.item.reject(error);
    }
  }

  /** A server that is shutting down has not started the request, and will not. */
  #takeRefusal(link: Link<Ask>, id: number, message: string, now: number): void {
    const error = new ReplyError(Code.unavailable, message);
    const refused = this.#pirate.refuse(link, id, now);
    if (refused?.final) refused.item.reject(error);
    else if (refused !== undefined) this.#refusals.set(refused.item, error);
  }

  async #carryOut(steps: readonly Step<Ask>[]): Promise<void> {
    // Reports go first: other steps may fail, take their time, or close the connections reported on.
    for (const step of steps) {
      if (step.do === "giveUp") this.#giveUp(step);
      else if (step.do === "retry") this.#reportRetry(step);
    }
    for (const step of steps) {
      if (this.#closing) return;
      if (step.do === "open") this.#open(step.link);
      else if (step.do === "send") this.#send(step);
      else if (step.do === "cancel") this.#cancel(step);
      else if (step.do === "grant") this.#allow(step);
      else if (step.do === "close") await this.#connections.close(step.link);
    }
  }

  #open(link: Link<Ask>): void {
    this.#connections.open(link, this.#endpointOf(link));
  }

  #send(step: Step<Ask> & { do: "send" }): void {
    step.item.parts?.startAnew();
    this.#connections.get(step.link)?.send(step);
  }

  /** Lets the server send more of an answer. */
  #allow({ link, id, credit }: Step<Ask> & { do: "grant" }): void {
    this.#connections.get(link)?.grant(id, credit);
  }

  /** Takes a request back. */
  #cancel({ link, id }: Step<Ask> & { do: "cancel" }): void {
    this.#connections.get(link)?.cancel(id);
  }

  #giveUp(
    { item, tries, timeout, link, refused, needsFields }: Step<Ask> & { do: "giveUp" },
  ): void {
    const refusal = refused ? this.#refusals.get(item) : undefined;
    if (refusal !== undefined) return item.reject(refusal);
    const state = this.#connections.stateOf(link);
    const endpoint = this.#settings.endpoints.join(", ");
    const connection = this.#connections.get(link);
    const detail = describeWait(state, this.#keys !== undefined, connection, needsFields);
    item.reject(new AbandonedError(endpoint, tries, timeout, reasonOf(state), detail));
  }

  /** Calls `onRetry`; what that throws is what the request is rejected with. */
  #reportRetry({ request, attempt, link, reason }: Repetition<Ask>): void {
    const { onRetry } = this.#settings;
    const { span } = request.item;
    if (onRetry === undefined && span === undefined) return;
    const endpoint = this.#endpointOf(link);
    const why = reason === "refused" ? "unavailable" : reasonOf(this.#connections.stateOf(link));
    span?.note("retry", { "prefork.attempt": attempt, "prefork.reason": why });
    if (onRetry === undefined) return;
    try {
      onRetry({ attempt, endpoint, reason: why });
    } catch (error) {
      this.#drop(request);
      request.item.reject(error);
    }
  }

  #endpointOf({ endpoint }: Link<Ask>): string {
    return this.#settings.endpoints[endpoint] ?? "";
  }

  async #close(): Promise<void> {
    for (const ask of this.#pirate.clear()) {
      ask.reject(new Error("Cannot wait for a reply: the client was closed"));
    }
    if (this.#running) this.#wakeLoop();
    await this.#subscriptions.close();
    await this.#running;
    await this.#connections.end();
  }
}

/** Lets all other code have its turn: signals, timers, and what waits for promises. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The client of the command, which has this process to itself. */
function makeClient(options: ClientOptions): Client {
  shutDebugger(locateLibrary(readVariable("ZMQ_LIBRARY")).path);
  return new Client(options);
}

if (import.meta.main) {
  const { main } = await import("./cli/client.ts");
  Deno.exit(await main(Deno.args, { url: import.meta.url, makeClient }));
}
