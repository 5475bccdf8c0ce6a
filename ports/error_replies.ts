/**
 * What is said of requests that end in an error of the server's own: all of it to the log, and to a client
 * only what is meant for it. Decides nothing about jobs.
 *
 * @module
 */

import type { Client, Job, JobRequest } from "../broker/job.ts";
import { isIpc, isLoopback, isOpenToNetwork, isWildcard } from "../wire/endpoint.ts";
import { type JobClient, MAX_DETAILS_BYTES, readClient, ReplyFlag } from "../wire/job.ts";
import { traceIdOf } from "../wire/trace.ts";
import type { Body } from "./body.ts";
import { type Content, framesOf, textOf } from "./content.ts";

/** A request that ended in an error of the server or of its handler. */
export interface Failure {
  /** "": the service without a name. */
  service: string;
  job: number;
  /** The id of the stored job whose try it was; undefined: it was none. */
  id: string | undefined;
  /** The worker that answered; undefined: the broker did. */
  worker: number | undefined;
  /** 1 for the first try. */
  attempt: number;
  /** 500 to 599. */
  code: number;
  message: string;
  /** The error's stack and causes; "" if they are not known. */
  stack: string;
  client: JobClient;
  /** The trace that the request belongs to, 32 hex digits; undefined: none. */
  trace: string | undefined;
}

/** The trace that a request belongs to, as logs call it; undefined: none. */
export function traceIn({ trace }: Pick<JobRequest<Body>, "trace">): string | undefined {
  return trace === undefined ? undefined : traceIdOf(trace);
}

/** Bytes of a message or a stack that the log gets. */
const MAX_TEXT = 8192;

/** What the log gets of an error that a worker replied. */
export function messageIn(content: Content): string {
  return textOf(content, 0, MAX_TEXT);
}

/** The stack in an error that a worker replied; "" if there is none. */
export function stackIn(content: Content, flags: number): string {
  const frames = framesOf(content);
  return (flags & ReplyFlag.STACK) === 0 || frames < 2 ? "" : textOf(content, frames - 1, MAX_TEXT);
}

/** Bytes of the details in an error that a worker replied; 0: there are none, or they are too long. */
export function detailsSize({ sizes }: Pick<Content, "sizes">, flags: number): number {
  const others = (flags & ReplyFlag.STACK) === 0 ? 1 : 2;
  if ((flags & ReplyFlag.DETAILS) === 0 || sizes === undefined || sizes.length <= others) return 0;
  const [, size = 0] = sizes;
  return size <= MAX_DETAILS_BYTES ? size : 0;
}

/** The errors that workers reply. */
export class ErrorReplies {
  /** Endpoints that clients connect to. */
  readonly #endpoints: () => readonly string[];
  /** Whether clients see errors that nobody has worded for them; undefined: those nearby do. */
  #expose: boolean | undefined;

  /** Hides errors from clients that are not nearby. */
  constructor(endpoints: () => readonly string[]) {
    this.#endpoints = endpoints;
  }

  /** Works by another rule from now on. */
  configure({ exposeErrors }: { exposeErrors?: boolean }): void {
    this.#expose = exposeErrors;
  }

  /** Whether every client may read an error's own message. */
  showsAll(flags: number): boolean {
    if ((flags & ReplyFlag.PRIVATE) === 0) return true;
    return this.#expose ?? !this.#endpoints().some(isOpenToNetwork);
  }

  /** Whether a client may read an error's own message. */
  shows(flags: number, client: Client<Body>): boolean {
    if ((flags & ReplyFlag.PRIVATE) === 0) return true;
    return this.#expose ?? this.#isNear(readClient(client.peer.header).address);
  }

  /**
   * Whether a request came over an ipc or a loopback endpoint. Of a client its address is known, not the
   * endpoint: an address of loopback has come over one unless some endpoint is every interface's.
   */
  #isNear(address: string): boolean {
    const endpoints = this.#endpoints();
    if (address === "") return endpoints.some(isIpc);
    return isLoopback(address) && !endpoints.some(isWildcard);
  }
}

/** What a client gets in place of an error's own message: enough to find that in the log. */
export function veil(job: Job<Body>): string {
  return `The handler failed (job ${job.id})`;
}

/** The client of a job, for people. */
export function clientOf({ asker }: Job<Body>): JobClient {
  return readClient(asker.client.peer.header);
}
