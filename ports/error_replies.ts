/**
 * What is said of requests that end in an error of the server's own: all of it to the log, and to a client
 * only what is meant for it. Decides nothing about jobs.
 *
 * @module
 */

import type { Client, Job } from "../broker/job.ts";
import { type JobClient, readClient, ReplyFlag } from "../wire/job.ts";
import { Code } from "../wire/request.ts";
import { isIpc, isLoopback, isWildcard } from "../wire/endpoint.ts";
import type { MessagePool } from "../zmq/message.ts";
import type { Frames } from "./frontend.ts";

/** A request that ended in an error of the server or of its handler. */
export interface Failure {
  job: number;
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
}

/** Characters of a message or a stack that are kept. */
const MAX_TEXT = 8192;

/** The errors that workers reply. */
export class ErrorReplies {
  readonly #messages: MessagePool;
  /** Endpoints that clients connect to. */
  readonly #endpoints: () => readonly string[];
  /** Replies that had no valid code. */
  replaced = 0;
  /** Whether clients see errors that nobody has worded for them; undefined: those nearby do. */
  #expose: boolean | undefined;

  /** Hides errors from clients that are not nearby. */
  constructor(messages: MessagePool, endpoints: () => readonly string[]) {
    this.#messages = messages;
    this.#endpoints = endpoints;
  }

  /** Works by another rule from now on. */
  configure({ exposeErrors }: { exposeErrors?: boolean }): void {
    this.#expose = exposeErrors;
  }

  /** Takes the stack out of a reply's frames; "" if there is none. */
  takeStack(flags: number, frames: Frames): string {
    if ((flags & ReplyFlag.STACK) === 0 || frames.length < 2) return "";
    const frame = frames.pop();
    if (frame === undefined) return "";
    const text = textOf([frame]);
    this.#messages.release(frame);
    return text;
  }

  /** Puts a message in place of a reply whose code is none; the code that it gets. */
  replace(frames: Frames): number {
    this.replaced++;
    for (const frame of frames.splice(0)) this.#messages.release(frame);
    frames.push(
      this.#messages.from(new TextEncoder().encode("The worker's reply has no valid code")),
    );
    return Code.handlerFailed;
  }

  /** Whether a client may read an error's own message. */
  shows(flags: number, client: Client<Frames>): boolean {
    if ((flags & ReplyFlag.PRIVATE) === 0) return true;
    return this.#expose ?? this.#isNear(readClient(client.header).address);
  }

  /** What a client gets in place of an error's own message: enough to find that in the log. */
  veil(job: Job<Frames>): Frames {
    const text = `The handler failed (job ${job.id})`;
    return [this.#messages.from(new TextEncoder().encode(text))];
  }

  /**
   * Whether a request came over an ipc or a loopback endpoint. libzmq gives the client's address, not the
   * endpoint: an address of loopback has come over one unless some endpoint is every interface's.
   */
  #isNear(address: string): boolean {
    const endpoints = this.#endpoints();
    if (address === "") return endpoints.some(isIpc);
    return isLoopback(address) && !endpoints.some(isWildcard);
  }
}

/** What an error reply says. */
export function textOf(frames: Frames): string {
  const [frame] = frames;
  if (frame === undefined) return "";
  return new TextDecoder().decode(frame.bytes(Math.min(frame.size, MAX_TEXT)));
}

/** The client of a job, for people. */
export function clientOf({ asker }: Job<Frames>): JobClient {
  return readClient(asker.client.header);
}
