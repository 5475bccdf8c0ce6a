/**
 * What is answered over HTTP: JSON, text, and errors as `{ "error": "a sentence" }`.
 *
 * @module
 */

import type { HttpAnswer } from "./http_message.ts";

/** A request that is not served, with the status that says why. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;

  /** @param status 400, 401, 403, 404, 405, 409, 411, 413, 429, 431, 503 or 507. */
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** JSON with a status. */
export function jsonAnswer(value: unknown, status = 200): HttpAnswer {
  return {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
    body: `${JSON.stringify(value)}\n`,
  };
}

/** An error. */
export function errorAnswer(status: number, message: string): HttpAnswer {
  return jsonAnswer({ error: message }, status);
}

/** Text, as probes and metrics have it. */
export function textAnswer(text: string, status = 200, type = "text/plain"): HttpAnswer {
  const contentType = type.includes("charset") ? type : `${type}; charset=utf-8`;
  return {
    status,
    headers: { "content-type": contentType, "cache-control": "no-store" },
    body: text,
  };
}
