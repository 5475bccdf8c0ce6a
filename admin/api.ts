/**
 * The control API: what can be asked and told at which path, for one who may. Not here: who may (access.ts), and how
 * requests come in.
 *
 *     GET /api/status, services, workers, jobs, clients, config, stats, history, log, events
 *     GET /metrics
 *     POST the commands of commands.ts
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import { errorAnswer, jsonAnswer, Refusal, typedAnswer } from "./answers.ts";
import { isCommand, obey } from "./commands.ts";
import { EventStreams, type Topic, type Wishes } from "./event_streams.ts";
import { countOf, levelIn } from "./fields.ts";
import type { Figures } from "./figures.ts";
import type { Operated } from "./operated.ts";

/** Bytes of a body. */
export const MAX_BODY = 64 * 1024;
/** Lines of the log that are given where nothing else is said, and at most. */
const LINES = 200;
const MAX_LINES = 1000;

/** Gives what is asked for by a path. */
type Reading = (query: URLSearchParams, request: Request) => Promise<Response> | Response;

/** The control API of one server. */
export class Api {
  readonly #server: Operated;
  readonly #streams: EventStreams;
  readonly #readings: ReadonlyMap<string, Reading>;

  constructor(server: Operated, figures: Figures) {
    this.#server = server;
    this.#streams = new EventStreams(server);
    this.#readings = new Map<string, Reading>([
      ["/api/status", async () => jsonAnswer(await server.status())],
      ["/api/services", async () => jsonAnswer({ services: (await server.status()).services })],
      ["/api/workers", async () => jsonAnswer({ workers: (await server.status()).workers })],
      ["/api/config", () => jsonAnswer({ options: server.config() })],
      ["/api/stats", () => jsonAnswer(server.stats())],
      ["/api/history", () => jsonAnswer(figures.history)],
      ["/metrics", async (_, { headers }) => {
        const { text, contentType } = await figures.metrics(headers.get("accept") ?? "");
        return typedAnswer(text, contentType);
      }],
      ["/api/log", (query) => jsonAnswer({ lines: this.#lines(query) })],
      ["/api/events", (query, { headers }) => this.#streams.open(wishesOf(query, headers))],
    ]);
  }

  /** Whether a path is one of the API's. */
  static owns(path: string): boolean {
    return path === "/api" || path.startsWith("/api/");
  }

  /**
   * Answers a request; never throws.
   *
   * @param origin Who asks, as the log names it: "control socket".
   */
  async answer(request: Request, url: URL, origin: string): Promise<Response> {
    try {
      return await this.#answer(request, url, origin);
    } catch (error) {
      if (error instanceof Refusal) return errorAnswer(error.status, error.message);
      return errorAnswer(503, messageOf(error));
    }
  }

  async #answer(request: Request, { pathname, searchParams }: URL, origin: string) {
    const { method } = request;
    const reading = this.#readings.get(pathname);
    if (reading !== undefined && (method === "GET" || method === "HEAD")) {
      return await reading(searchParams, request);
    }
    if (isCommand(pathname) && method === "POST") {
      const { status, answer } = await obey(
        this.#server,
        pathname,
        await request.text(),
        origin,
      );
      return jsonAnswer(answer, status);
    }
    if (reading === undefined && !isCommand(pathname)) {
      throw new Refusal(404, `There is no ${pathname}`);
    }
    throw new Refusal(405, `${pathname} is for ${reading === undefined ? "POST" : "GET"}`);
  }

  #lines(query: URLSearchParams) {
    const count = countOf(query, "lines", LINES, MAX_LINES);
    return this.#server.ring.last(count, levelIn(query, "debug")).map(({ line }) => line);
  }

  /** Ends all streams. */
  close(): void {
    this.#streams.close();
  }
}

const TOPICS: readonly Topic[] = ["status", "log", "event"];

function wishesOf(query: URLSearchParams, headers: Headers): Wishes {
  const only = query.get("only")?.split(",");
  const unknown = only?.find((name) => !TOPICS.some((topic) => topic === name));
  if (unknown !== undefined) {
    throw new Refusal(400, `"only" must be a list of ${TOPICS.join(", ")}`);
  }
  const lastId = headers.get("last-event-id") ?? "";
  return {
    topics: new Set(TOPICS.filter((topic) => only?.includes(topic) ?? true)),
    lines: countOf(query, "lines", 0, MAX_LINES),
    level: levelIn(query, "debug"),
    lastId: /^\d{1,15}$/.test(lastId) ? Number(lastId) : undefined,
  };
}
