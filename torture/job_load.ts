/**
 * Clients that submit jobs without end, whatever happens to the server, and note all that they are told.
 *
 * @module
 */

import {
  AbandonedError,
  Client,
  NotEndedError,
  ReplyError,
  type SubmitOptions,
} from "../client.ts";
import { pause } from "../tests/rig/wait.ts";
import type { JobBook, JobEnd } from "./job_book.ts";

/** What a load needs of a server of jobs. */
export interface JobServer extends AsyncDisposable {
  /** Fulfilled with the id of a job that is stored. */
  submit(body: string): Promise<string>;
  /** How a job has ended, or "unended" after `wait` ms. Throws where the server does not answer. */
  end(id: string, wait: number): Promise<JobEnd>;
}

/** How long a submit is tried, ms, and how often: what is under way when a server is killed goes to the next one. */
const SUBMIT_TIMEOUT = 4000;
const SUBMIT_RETRIES = 7;
/** How long a question about a job is asked again while there is no server that answers, ms. */
const QUESTION_LIMIT = 60_000;

/** A server of this project. */
export class PreforkJobs implements JobServer {
  readonly #client: Client;

  constructor(endpoint: string | readonly string[]) {
    this.#client = new Client({ endpoint, timeout: SUBMIT_TIMEOUT, retries: SUBMIT_RETRIES });
  }

  async submit(body: string, options: SubmitOptions = {}): Promise<string> {
    return (await this.#client.submit(body, options)).id;
  }

  async end(id: string, wait: number): Promise<JobEnd> {
    const limit = performance.now() + QUESTION_LIMIT;
    for (;;) {
      try {
        const reply = await this.#client.job(id).result({ wait });
        return { state: "done", result: reply.text() };
      } catch (error) {
        const end = endOf(error);
        if (end !== undefined) return end;
        // The last client may have been closed, which no time mends.
        if (!(error instanceof AbandonedError || isPassing(error))) throw error;
        if (performance.now() > limit) throw error;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }
}

/** What an error says of a job; undefined: it says nothing of it. */
function endOf(error: unknown): JobEnd | undefined {
  if (error instanceof NotEndedError) return { state: "unended", result: "" };
  if (!(error instanceof ReplyError) || isPassing(error)) return undefined;
  return error.code === 404
    ? { state: "unknown", result: error.message }
    : { state: `failed with ${error.code}`, result: error.message };
}

function isPassing(error: unknown): boolean {
  return error instanceof ReplyError && (error.code === 503 || error.code === 507);
}

/** How jobs are submitted. */
export interface JobShape {
  /** Submits under way at a time. */
  inFlight: number;
  /** Submits a second, at most. */
  perSecond: number;
  /** Each job of which the number is divisible by this is waited for, and its result kept. */
  watchEvery: number;
  /** What bodies begin with, so that no two loads have the same. */
  name: string;
  /** Bytes that are added to a body. @default {0} */
  padding?: number;
}

/** How long one question waits for the end of a job, ms. */
const WATCH_WAIT = 2000;

/** Submits until it is stopped. */
export class JobLoad implements AsyncDisposable {
  readonly #server: JobServer;
  readonly #book: JobBook;
  readonly #shape: JobShape;
  readonly #loops: Promise<void>[];
  readonly #watches = new Set<Promise<void>>();
  readonly #startedAt = performance.now();
  #number = 0;
  #open = true;

  constructor(server: JobServer, book: JobBook, shape: JobShape) {
    this.#server = server;
    this.#book = book;
    this.#shape = shape;
    this.#loops = Array.from({ length: shape.inFlight }, () => this.#submitOn());
  }

  /** Submits no more; fulfilled when nothing is under way. */
  async stop(): Promise<void> {
    this.#open = false;
    await Promise.all([...this.#loops, ...this.#watches]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #submitOn(): Promise<void> {
    const { perSecond, name, padding = 0 } = this.#shape;
    while (this.#open) {
      const number = this.#number++;
      await pause(this.#startedAt + number * 1000 / perSecond - performance.now());
      if (!this.#open) return;
      await this.#submit(number, `${name}/${number}/${"x".repeat(padding)}`);
    }
  }

  async #submit(number: number, body: string): Promise<void> {
    try {
      const id = await this.#server.submit(body);
      this.#book.accept(id, body);
      if (number % this.#shape.watchEvery === 0) this.#watch(id);
    } catch (error) {
      this.#book.refuse(reasonOf(error));
      // What refuses at once is not asked as often as the processor can.
      await pause(10);
    }
  }

  #watch(id: string): void {
    const watch = this.#seeEnd(id).catch(() => {}).then(() => void this.#watches.delete(watch));
    this.#watches.add(watch);
  }

  async #seeEnd(id: string): Promise<void> {
    while (this.#open) {
      const end = await this.#server.end(id, WATCH_WAIT);
      if (end.state === "unended") continue;
      return this.#book.tell(id, end);
    }
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof AbandonedError) return "no answer";
  // It is closed when the server it waits for was cut off.
  if (error instanceof Error && /client was closed/.test(error.message)) return "no answer";
  if (error instanceof ReplyError) return `${error.code} ${error.message}`;
  return error instanceof Error ? error.message : String(error);
}

/** Questions that are asked at a time. */
const ASKERS = 50;

/** Asks for all jobs that nobody has seen done, until they are or `limit` ms are over. */
export async function settle(server: JobServer, book: JobBook, limit: number): Promise<void> {
  const end = performance.now() + limit;
  const wait = () => Math.max(0, Math.min(WATCH_WAIT, end - performance.now()));
  do {
    await askAll(server, book, book.open, wait);
  } while (performance.now() < end && isAnyUnended(book));
}

/** Asks for the results of all jobs once more: none may differ from what was told before. */
export async function askAgain(server: JobServer, book: JobBook): Promise<void> {
  await askAll(server, book, book.ids, () => 0);
}

async function askAll(
  server: JobServer,
  book: JobBook,
  ids: readonly string[],
  wait: () => number,
): Promise<void> {
  const left = ids[Symbol.iterator]();
  const askOn = async () => {
    for (const id of left) book.tell(id, await server.end(id, wait()));
  };
  await Promise.all(Array.from({ length: ASKERS }, askOn));
}

function isAnyUnended(book: JobBook): boolean {
  return book.verdict.unended > 0;
}
