/**
 * What is answered over HTTP: JSON, and errors as `{ "error": "a sentence" }`.
 *
 * @module
 */

/** A request that is not served, with the status that says why. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;

  /** @param status 400, 401, 403, 404, 405, 409, 413 or 503. */
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** JSON with a status. */
export function jsonAnswer(value: unknown, status = 200): Response {
  return new Response(`${JSON.stringify(value)}\n`, {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}

/** An error. */
export function errorAnswer(status: number, message: string): Response {
  return jsonAnswer({ error: message }, status);
}

/** A line of text, as probes have it. */
export function textAnswer(text: string, status = 200): Response {
  return new Response(`${text}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" },
  });
}

/** Text of another media type. */
export function typedAnswer(text: string, contentType: string): Response {
  const headers = { "content-type": contentType, "cache-control": "no-store" };
  return new Response(text, { headers });
}
