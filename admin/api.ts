/**
 * What the control API lets operators read: the state, the options in force, the log, and all of it as it changes.
 * Not here: what they can have the server do (commands.ts).
 *
 * @module
 */

import type { JobFilter } from "../ops/status.ts";
import { parseDuration } from "../options/durations.ts";
import { jsonAnswer, Refusal, textAnswer } from "./answers.ts";
import { requireService } from "./commands.ts";
import { EventStreams, type Topic, type Wishes } from "./event_streams.ts";
import { countOf, levelIn } from "./fields.ts";
import type { Figures } from "./figures.ts";
import type { HttpRequest } from "./http_message.ts";
import type { Operated } from "./operated.ts";
import type { RequireAll, Routes } from "./routes.ts";
import { addStoredReadings } from "./stored.ts";

/** Lines of the log that are given where nothing else is said, and at most. */
const LINES = 200;
const MAX_LINES = 1000;
/** The same of requests and of clients. */
const LISTED = 100;
const MAX_LISTED = 1000;

/** What is read from. */
export interface Sources {
  readonly server: Operated;
  readonly streams: EventStreams;
  readonly figures: Figures;
  /** Refuses one who may not read all. */
  readonly requireAll: RequireAll;
}

/** Adds what can be read. */
export function addReadings(
  routes: Routes,
  { server, streams, figures, requireAll }: Sources,
): void {
  const status = () => server.status();
  routes.add("/metrics", "figures", async ({ headers }) => {
    const { text, contentType } = await figures.metrics(headers.get("accept") ?? "");
    return textAnswer(text, 200, contentType);
  });
  routes.add("/api/history", "figures", () => jsonAnswer(figures.history));
  routes.add("/api/status", "figures", async () => jsonAnswer(await status()));
  routes.add("/api/services", "figures", async () => {
    const { services } = await status();
    return jsonAnswer({ services });
  });
  routes.add("/api/workers", "figures", async () => {
    const { workers } = await status();
    return jsonAnswer({ workers });
  });
  routes.add("/api/stats", "figures", ({ query }) => jsonAnswer(statsOf(server, query)));
  addStoredReadings(routes, server);
  routes.add(
    "/api/jobs",
    "all",
    async ({ query }) => jsonAnswer(await server.jobs(filterOf(query))),
  );
  routes.add("/api/clients", "all", async ({ query }) => {
    return jsonAnswer(await server.clients({ limit: countOf(query, "limit", LISTED, MAX_LISTED) }));
  });
  routes.add("/api/config", "all", () => jsonAnswer({ options: server.config() }));
  routes.add("/api/log", "all", ({ query }) => {
    const count = countOf(query, "lines", LINES, MAX_LINES);
    const found = server.ring.last(count, levelIn(query, "debug"));
    return jsonAnswer({ lines: found.map(({ line }) => line) });
  });
  routes.add("/api/events", "figures", (request, caller) => {
    const wishes = wishesOf(request);
    if (wishes.topics.has("log") || wishes.topics.has("event")) requireAll(caller);
    return streams.open(wishes, caller);
  }, "fresh");
}

/** Of all, or of the service that is named. */
function statsOf(server: Operated, query: URLSearchParams): object {
  const service = query.get("service");
  if (service === null) return server.stats();
  requireService(service, server);
  const { services, ...all } = server.stats();
  return services[service] ?? all;
}

/** `slow=2.5` and `slow=2500ms` are the same. */
function filterOf(query: URLSearchParams): JobFilter {
  const limit = countOf(query, "limit", LISTED, MAX_LISTED);
  const state = query.get("state") ?? undefined;
  if (state !== undefined && state !== "running" && state !== "waiting") {
    throw new Refusal(400, '"state" must be running or waiting');
  }
  const slow = query.get("slow");
  if (slow === null) return { limit, state };
  const slowerThanMs = /^\d{1,9}(\.\d+)?$/.test(slow) ? Number(slow) * 1000 : parseDuration(slow);
  if (slowerThanMs !== undefined) return { limit, state, slowerThanMs };
  throw new Refusal(400, '"slow" must be a number of seconds, or a time such as 500ms or 5m');
}

const TOPICS: readonly Topic[] = ["status", "log", "event"];

function wishesOf({ query, headers }: HttpRequest): Wishes {
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
