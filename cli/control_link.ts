/**
 * How the control command talks to a server: HTTP with JSON, over a unix socket or over the network. Not
 * here: which server that is (control_places.ts), and what is asked.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import { readEvents, type ServerEvent } from "./event_stream.ts";

/** Where a server is asked. */
export type Place =
  | { kind: "socket"; path: string }
  | { kind: "url"; url: URL; token: string | undefined };

/** The server has answered, and refused. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  /** HTTP's number for it. */
  readonly status: number;

  /** The server's own sentence about it. */
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** No server has answered, or one has stopped in the middle of its answer. */
export class UnreachedError extends Error {
  override readonly name = "UnreachedError";
}

/** An order for a server. */
export interface Change {
  /** Such as `/api/pause`. */
  path: string;
  body: Readonly<Record<string, unknown>>;
}

/** What is asked behind a path; undefined: left out. */
export type Query = Readonly<Record<string, string | number | undefined>>;

/** `?name=value&…`, of what is set. */
export function queryText(query: Query): string {
  const given = Object.entries(query).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, String(value)]]
  );
  return given.length === 0 ? "" : `?${new URLSearchParams(given)}`;
}

/** A server's control API. */
export class ControlLink {
  readonly #place: Place;
  readonly #client: Deno.HttpClient | undefined;
  /** How long an answer may take, ms. */
  readonly #timeout: number;

  /**
   * Connects to nobody yet.
   *
   * @throws {Deno.errors.NotCapable} when this process may not use the socket.
   */
  constructor(place: Place, timeout: number) {
    this.#place = place;
    this.#timeout = timeout;
    if (place.kind === "url") return;
    this.#client = Deno.createHttpClient({ proxy: { transport: "unix", path: place.path } });
  }

  /** The place, for a person. */
  get name(): string {
    return this.#place.kind === "socket" ? this.#place.path : this.#place.url.href;
  }

  /** Reads; returns the JSON as it came. @throws {RefusedError | UnreachedError} */
  get(path: string): Promise<string> {
    return this.#ask(path, {}, this.#timeout);
  }

  /**
   * Changes something; returns the JSON as it came.
   *
   * @param patience "endless": the answer may take as long as it likes.
   * @throws {RefusedError | UnreachedError}
   */
  post({ path, body }: Change, patience: "usual" | "endless" = "usual"): Promise<string> {
    const headers = { "content-type": "application/json" };
    const init = { method: "POST", body: JSON.stringify(body), headers };
    return this.#ask(path, init, patience === "usual" ? this.#timeout : undefined);
  }

  /**
   * Follows what happens. It throws when the server stops, and ends only by `signal`.
   *
   * @param last the id of the last event that was read.
   * @throws {RefusedError | UnreachedError}
   */
  async *events(
    path: string,
    { signal, last }: { signal?: AbortSignal; last?: string } = {},
  ): AsyncGenerator<ServerEvent, void, void> {
    const headers: Record<string, string> = { accept: "text/event-stream" };
    if (last !== undefined) headers["last-event-id"] = last;
    const response = await this.#fetch(path, { headers, signal });
    const { body, ok } = response;
    if (!ok || body === null) throw await this.#refusal(response);
    try {
      yield* readEvents(body);
    } catch (error) {
      if (signal?.aborted) return;
      throw this.#broken(error);
    }
    if (!signal?.aborted) throw this.#broken(undefined);
  }

  /** Ends all connections. */
  [Symbol.dispose](): void {
    this.#client?.close();
  }

  async #ask(path: string, init: RequestInit, timeout: number | undefined): Promise<string> {
    const signal = timeout === undefined ? undefined : AbortSignal.timeout(timeout);
    try {
      const response = await this.#fetch(path, { ...init, signal });
      if (!response.ok) throw await this.#refusal(response);
      const text = await response.text();
      if (parse(text) === undefined) throw this.#stranger(response);
      return text;
    } catch (error) {
      if (error instanceof RefusedError || error instanceof UnreachedError) throw error;
      if (!signal?.aborted) throw error instanceof TypeError ? this.#broken(error) : error;
      throw new UnreachedError(
        `Cannot get an answer from "${this.name}" within ${timeout} ms: the server may be stuck`,
      );
    }
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    const place = this.#place;
    const base = place.kind === "socket" ? "http://localhost" : place.url.href;
    const headers = new Headers(init.headers);
    if (place.kind === "url" && place.token !== undefined) {
      headers.set("authorization", `Bearer ${place.token}`);
    }
    const url = base.replace(/\/*$/, path);
    try {
      return await fetch(url, { ...init, headers, redirect: "manual", client: this.#client });
    } catch (error) {
      // Its time is up, or this process lacks a permission.
      if (!(error instanceof TypeError)) throw error;
      throw this.#unreached(error);
    }
  }

  /** What an answer means that is not the one that was asked for. */
  async #refusal(response: Response): Promise<Error> {
    const said = errorIn(parse(await response.text().catch(() => "")));
    const { status } = response;
    if (status === 401) return new RefusedError(status, this.#tokenFault());
    return said === undefined ? this.#stranger(response) : new RefusedError(status, said);
  }

  #tokenFault(): string {
    return this.#place.kind === "url" && this.#place.token !== undefined
      ? `Cannot use "${this.name}": the token is not the one of the server's "httpToken"`
      : `Cannot use "${this.name}" without a token: name the file of the server's "httpToken" with "--token-file"`;
  }

  #stranger({ status }: Response): UnreachedError {
    return new UnreachedError(
      `Cannot use "${this.name}": what answers there is not the control API of a server (status ${status})`,
    );
  }

  #broken(error: unknown): UnreachedError {
    const reason = error instanceof RangeError ? messageOf(error) : "it has stopped";
    return new UnreachedError(`Lost the server at "${this.name}": ${reason}`);
  }

  #unreached(error: TypeError): UnreachedError {
    const reason = reasonOf(messageOf(error.cause ?? error));
    if (reason === undefined) return this.#broken(undefined);
    return new UnreachedError(`Cannot reach a server at "${this.name}": ${reason}`);
  }
}

/** What the system says about a connection, in words; undefined: it was there, and has ended. */
function reasonOf(text: string): string | undefined {
  const [, number] = /\(os error (\d+)\)/.exec(text) ?? [];
  // Some ports are closed to HTTP by the fetch standard.
  if (text.includes("are blocked")) return text;
  const isConnecting = text.includes("(Connect)");
  if (!isConnecting) return undefined;
  if (number === "2") return "there is no such socket";
  // Linux and macOS.
  if (number === "111" || number === "61") return "nobody listens there";
  if (number === "13") return "this user may not use it";
  return /\(Connect\): ([^]*)$/.exec(text)?.[1] ?? text;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The sentence of `{ "error": "…" }`. */
function errorIn(json: unknown): string | undefined {
  if (typeof json !== "object" || json === null || !("error" in json)) return undefined;
  return typeof json.error === "string" ? json.error : undefined;
}
