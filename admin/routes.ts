/**
 * All paths that are served, over the control socket and over HTTP: the control API, probes, the page, and what
 * others add. Who may ask is decided here, by http_access.ts.
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import { errorAnswer, jsonAnswer, Refusal, textAnswer } from "./answers.ts";
import { isCommand, obey } from "./commands.ts";
import type { Caller } from "./http_access.ts";
import type { HttpAnswer, HttpRequest } from "./http_message.ts";
import type { Operated } from "./operated.ts";
import { SharedAnswers } from "./pace.ts";

/** Gives what is asked for by a path. */
export type Read = (request: HttpRequest, caller: Caller) => Promise<HttpAnswer> | HttpAnswer;

/** One path that is read. */
interface Reading {
  readonly read: Read;
  /** Who may: those who see figures too, or only those who may all. */
  readonly for: "figures" | "all";
  readonly isFresh: boolean;
}

/** Refuses one who may not all. */
export type RequireAll = (caller: Caller) => void;

/** The paths of one server. */
export class Routes {
  readonly #server: Operated;
  readonly #requireAll: RequireAll;
  readonly #readings = new Map<string, Reading>();
  readonly #shared = new SharedAnswers();

  constructor(server: Operated, requireAll: RequireAll) {
    this.#server = server;
    this.#requireAll = requireAll;
    this.add("/livez", "figures", () => textAnswer("alive\n"), "fresh");
    this.add("/readyz", "figures", (_, caller) => this.#ready(caller), "fresh");
  }

  /**
   * Serves a path; "figures": without the token too, to this machine.
   *
   * @param how "fresh": each who asks has an answer of his own; without the token, others are some time old.
   */
  add(path: string, mayBeReadFor: Reading["for"], read: Read, how?: "fresh"): void {
    this.#readings.set(path, { read, for: mayBeReadFor, isFresh: how === "fresh" });
  }

  /** One who may all sees at once what he has changed. */
  async #read({ read, isFresh }: Reading, request: HttpRequest, caller: Caller) {
    const make = async () => await read(request, caller);
    if (caller.may === "all" || isFresh) return await make();
    return await this.#shared.get(nameOf(request), performance.now(), make);
  }

  async #ready({ may }: Caller): Promise<HttpAnswer> {
    const { ready, reasons, stored } = await this.#server.status();
    if (may === "probe" && !ready) return textAnswer("not ready\n", 503);
    if (!ready) return textAnswer(`${reasons.join("\n")}\n`, 503);
    // Requests need no store, so that the server stays ready.
    const remark = stored?.trouble;
    if (may === "probe" || remark === undefined) return textAnswer("ready\n");
    return textAnswer(`ready\nthe store takes no jobs: ${remark}\n`);
  }

  /** Answers a request; never throws. */
  async answer(request: HttpRequest, judge: () => Caller): Promise<HttpAnswer> {
    try {
      return await this.#answer(request, judge());
    } catch (error) {
      return refused(error);
    }
  }

  async #answer(request: HttpRequest, caller: Caller): Promise<HttpAnswer> {
    const { method, path, body } = request;
    const reading = this.#readings.get(path);
    if (reading !== undefined && (method === "GET" || method === "HEAD")) {
      if (reading.for === "all") this.#requireAll(caller);
      return await this.#read(reading, request, caller);
    }
    if (isCommand(path) && method === "POST") {
      this.#requireAll(caller);
      const { status, answer } = await obey(this.#server, path, body, caller);
      return jsonAnswer(answer, status);
    }
    if (reading === undefined && !isCommand(path)) throw new Refusal(404, `There is no ${path}`);
    throw new Refusal(405, `${path} is for ${reading === undefined ? "POST" : "GET"}`);
  }
}

/** What an answer depends on, but who may ask. */
function nameOf({ path, headers, query }: HttpRequest): string {
  return `${path} ${headers.get("accept") ?? ""} ${query}`;
}

/** The answer for what was thrown. */
export function refused(error: unknown): HttpAnswer {
  if (!(error instanceof Refusal)) return errorAnswer(503, messageOf(error));
  const answer = errorAnswer(error.status, error.message);
  if (error.status !== 401) return answer;
  return { ...answer, headers: { ...answer.headers, "www-authenticate": "Bearer" } };
}
