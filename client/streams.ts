/**
 * The loop over an answer in parts, as its reader runs it. How parts come and are asked for is request_loop.ts's.
 *
 * @module
 */

import type { Span } from "../system/tracing.ts";
import { type Ask, streamAsk } from "./ask.ts";
import type { StreamOptions } from "./options.ts";
import { PartQueue } from "./part_queue.ts";
import type { Reply } from "./reply.ts";
import { failSpan, type RequestSpans } from "./request_spans.ts";
import type { Pending, Terms } from "./steps.ts";

/** What a stream needs of its client. */
export interface StreamGround {
  /** Sends the request. @throws {Error} when the client is closed. */
  ask(ask: Ask, terms: Terms): Pending<Ask>;
  /** Has a request end whose answer is not wanted any more. */
  drop(pending: Pending<Ask>): void;
  /** Has the server send more once enough was read. */
  grant(pending: Pending<Ask>, parts: PartQueue): void;
}

/** Sends a request when the first part is asked for, and gives its parts; leaving the loop ends it. */
export async function* streamParts(
  ground: StreamGround,
  frames: Ask["frames"],
  terms: Terms,
  { signal, onProgress }: StreamOptions,
  span: Span | undefined,
): AsyncGenerator<Reply, void, undefined> {
  signal?.throwIfAborted();
  const parts = new PartQueue();
  const pending = ground.ask(streamAsk(frames, parts, onProgress, span), terms);
  const abort = () => {
    parts.abort(signal?.reason);
    ground.drop(pending);
  };
  signal?.addEventListener("abort", abort, { once: true });
  try {
    for (let part; (part = await parts.next()) !== undefined;) {
      yield part;
      ground.grant(pending, parts);
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    if (!parts.hasEnded) ground.drop(pending);
  }
}

/** The same, whose span ends with the last part that is taken. */
export async function* spannedParts(
  ground: StreamGround,
  spans: RequestSpans,
  frames: Ask["frames"],
  terms: Terms,
  options: StreamOptions,
  call: string | undefined,
): AsyncGenerator<Reply, void, undefined> {
  const span = spans.start(terms, frames, call);
  let isLeft = true;
  try {
    yield* streamParts(ground, frames, spans.termsOf(terms, span), options, span);
    isLeft = false;
  } catch (error) {
    isLeft = false;
    failSpan(span, error);
    throw error;
  } finally {
    if (isLeft) span.set("prefork.cancelled", true);
    span.end();
  }
}
