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
 * `Client` is what its user asks: it checks that, and hands it on. client/request_loop.ts runs the requests:
 * client/lazy_pirate.ts decides what is sent when and given up, client/links.ts on which connection, and
 * client/connections.ts owns these. What carries them is behind client/transport.ts: client/native_transport.ts without
 * keys, client/zmq_transport.ts with keys.
 *
 * @module
 */

import { Bodies, type RequestBody } from "./client/bodies.ts";
import {
  checkOptions,
  checkRequestOptions,
  checkService,
  checkStreamOptions,
  checkSubscription,
  type Settings,
} from "./client/checks.ts";
import type { SubmitOptions } from "./client/job_options.ts";
import { readKeys } from "./client/keys.ts";
import { NamedService } from "./client/named_service.ts";
import type {
  ClientOptions,
  RequestOptions,
  StreamOptions,
  SubscribeOptions,
} from "./client/options.ts";
import type { Reply } from "./client/reply.ts";
import { RequestLoop } from "./client/request_loop.ts";
import { RequestSpans, spanned } from "./client/request_spans.ts";
import { StoredJob } from "./client/stored_job.ts";
import { spannedParts, streamParts } from "./client/streams.ts";
import { type JobAsker, submitJob, type Submitted } from "./client/submitting.ts";
import type { PublishedEvent } from "./client/subscription.ts";
import { Subscriptions } from "./client/subscriptions.ts";
import {
  type Asking,
  type CallOptions,
  type RpcModule,
  type Typed,
  typedCalls,
} from "./client/typed.ts";
import { type TypedJobs, typedJobs } from "./client/typed_jobs.ts";
import { shutDebugger } from "./system/debugger.ts";
import { readVariable } from "./system/variables.ts";
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
export type { JobOptions, JobTerms, ResultOptions, SubmitOptions } from "./client/job_options.ts";
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
  readonly #loop: RequestLoop;
  readonly #bodies = new Bodies();
  readonly #subscriptions: Subscriptions;
  /** How it asks about background jobs. */
  readonly #jobs: JobAsker;
  /** Undefined: nothing is traced. */
  readonly #spans: RequestSpans | undefined;
  #closing: Promise<void> | undefined;

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
    const loop = this.#loop = new RequestLoop(settings, library, keys);
    const { transport } = settings;
    const refuseClosed = () => loop.refuseClosed();
    this.#subscriptions = new Subscriptions({ library, keys, transport, refuseClosed });
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
      this.#loop.refuseClosed();
      options.signal?.throwIfAborted();
      this.#refuseSecondPlain();
      const { signal, onProgress } = options;
      const ask = { frames, resolve, reject, parts: undefined, onProgress, span: undefined };
      if (this.#spans === undefined) return this.#loop.add(ask, terms, signal);
      const span = this.#spans.start(terms, frames, call);
      this.#loop.add(spanned(ask, span), this.#spans.termsOf(terms, span), signal);
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
      return streamParts(this.#loop, frames, terms, { ...options }, undefined);
    }
    return spannedParts(this.#loop, this.#spans, frames, terms, { ...options }, call);
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
    return this.#loop.waitingFor;
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
    if (!plain || identity === undefined || this.#loop.size === 0) return;
    throw new Error(
      `Cannot send a request: a plain client with an identity must wait for its last one: ` +
        `identity is "${identity}"`,
    );
  }

  async #close(): Promise<void> {
    await Promise.all([this.#loop.close(), this.#subscriptions.close()]);
  }
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
