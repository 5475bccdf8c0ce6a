/**
 * The spans of a client's requests, where its process traces. Each is a child of the span that is active where the
 * request is made, or of the trace that the caller names, and its own trace goes along with the request.
 *
 * @module
 */

import type { Attributes } from "../wire/span_words.ts";
import { openTracing, type Span, type Tracing } from "../system/tracing.ts";
import { spanAttributes, spanName } from "../wire/span_words.ts";
import type { Ask } from "./ask.ts";
import { AbandonedError, type Reply, ReplyError } from "./reply.ts";
import type { Terms } from "./steps.ts";

/** What all spans of a client say. */
export interface Addressee {
  endpoints: readonly string[];
  plain: boolean;
}

/** Makes the spans of requests. */
export class RequestSpans {
  readonly #tracing: Tracing;
  readonly #plain: boolean;
  readonly #server: Attributes;

  private constructor(tracing: Tracing, { endpoints, plain }: Addressee) {
    this.#tracing = tracing;
    this.#plain = plain;
    this.#server = serverOf(endpoints);
  }

  /** Those of a client; undefined: nothing is traced in this process. */
  static open(addressee: Addressee): RequestSpans | undefined {
    const tracing = openTracing();
    return tracing && new RequestSpans(tracing, addressee);
  }

  /** Starts the span of a request; `call`: the function that it calls, if it is a typed call. */
  start({ fields }: Terms, frames: Ask["frames"], call: string | undefined): Span {
    const service = fields?.service ?? "";
    const attributes = {
      ...spanAttributes("send", service),
      ...this.#server,
      "messaging.message.body.size": frames.reduce((sum, frame) => sum + frame.length, 0),
      ...(call === undefined ? {} : { "rpc.method": call }),
    };
    const tracing = this.#tracing;
    const parent = fields?.trace === undefined ? tracing.active : tracing.contextOf(fields.trace);
    return tracing.start({ name: spanName("send", service), kind: "client", attributes }, parent);
  }

  /** What is sent of a request that has a span. */
  termsOf(terms: Terms, { trace }: Span): Terms {
    if (this.#plain || trace === undefined) return terms;
    return { ...terms, fields: { ...terms.fields, trace } };
  }
}

/** A request that ends its span when it ends itself. */
export function spanned(ask: Ask, span: Span): Ask {
  const resolve = (reply: Reply) => (span.end(), ask.resolve(reply));
  const reject = (reason: unknown) => (failSpan(span, reason), span.end(), ask.reject(reason));
  return { ...ask, span, resolve, reject };
}

/** What a request that has failed says of that. */
export function failSpan(span: Span, reason: unknown): void {
  if (reason instanceof ReplyError) return span.fail(String(reason.code), reason.message);
  const name = reason instanceof Error ? reason.name : typeof reason;
  if (!(reason instanceof AbandonedError)) span.set("prefork.cancelled", true);
  span.fail(name, reason instanceof Error ? reason.message : String(reason));
}

/** Where the server is, if there is only one. */
function serverOf(endpoints: readonly string[]): Attributes {
  const [endpoint = "", ...others] = endpoints;
  if (others.length > 0) return {};
  const tcp = /^tcp:\/\/(?:[^;/]+;)?(.+):(\d+)$/.exec(endpoint);
  if (tcp === null) return { "server.address": endpoint.replace(/^ipc:\/\//, "") };
  const address = (tcp[1] ?? "").replace(/^\[(.*)\]$/, "$1");
  return { "server.address": address, "server.port": Number(tcp[2]) };
}
