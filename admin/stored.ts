/**
 * Stored jobs by the paths of the control API. States and figures are for all who see figures; ids, users, messages
 * and bodies for those who may all; a body is given when it is asked for.
 *
 * @module
 */

import type { StoredFilter, StoreStatus } from "../ops/stored.ts";
import { JOB_STATES } from "../wire/job_status.ts";
import { jsonAnswer, Refusal } from "./answers.ts";
import { countOf, type FieldKind, type Given } from "./fields.ts";
import { viewFrames } from "./frame_views.ts";
import type { Caller } from "./http_access.ts";
import type { HttpRequest } from "./http_message.ts";
import type { Operated } from "./operated.ts";
import type { Routes } from "./routes.ts";

/** Jobs that are listed where nothing else is said, and at most. */
const LISTED = 100;
const MAX_LISTED = 1000;

/** Adds what can be read. */
export function addStoredReadings(routes: Routes, { stored }: Pick<Operated, "stored">): void {
  routes.add(
    "/api/store",
    "figures",
    async (_, caller) => jsonAnswer(shownTo(caller, await stored.status())),
  );
  routes.add(
    "/api/stored",
    "all",
    async ({ query }) =>
      jsonAnswer({ now: Date.now(), ...await refusing(stored.list(filterOf(query))) }),
  );
  routes.add("/api/stored/job", "all", async ({ query }) => {
    const id = query.get("id");
    if (id === null) throw new Refusal(400, '"id" must be the id of a stored job');
    const asksForBody = query.has("body") && query.get("body") !== "0";
    const { status, body, result } = await refusing(stored.look(id, { body: asksForBody }));
    return jsonAnswer({
      ...status,
      ...body === undefined ? {} : { body: viewFrames(body) },
      ...result === undefined ? {} : { result: viewFrames(result) },
    });
  });
}

/** Ids are for those who may all. */
function shownTo({ may }: Caller, status: StoreStatus): object {
  if (may === "all") return status;
  const schedules = status.schedules.map(({ lastId: _, ...rest }) => rest);
  return { ...status, schedules };
}

function filterOf(query: HttpRequest["query"]): StoredFilter {
  const text = query.get("state");
  const state = JOB_STATES.find((each) => each === text);
  if (text !== null && state === undefined) {
    throw new Refusal(400, `"state" must be one of ${JOB_STATES.join(", ")}`);
  }
  return {
    limit: countOf(query, "limit", LISTED, MAX_LISTED),
    ...state === undefined ? {} : { state },
    ...ofQuery(query, "service"),
    ...ofQuery(query, "after"),
  };
}

function ofQuery(query: HttpRequest["query"], name: "service" | "after"): StoredFilter {
  const text = query.get(name);
  return text === null ? {} : { [name]: text };
}

/** Gives what the store says; what it refuses has its code as the status. */
export async function refusing<Value>(asked: Promise<Value>): Promise<Value> {
  try {
    return await asked;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (!(error instanceof Error) || typeof code !== "number") throw error;
    throw new Refusal(code, error.message);
  }
}

/** What operators can have the store do. */
interface StoredCommand {
  readonly fields: Readonly<Record<string, FieldKind>>;
  /** Only for one who reaches the control socket. */
  readonly isLocal?: true;
  run(server: Pick<Operated, "stored">, given: Given): Promise<object>;
}

const JOB = { job: "id" } as const;
const SERVICE = { service: "storedService?" } as const;

/** The commands by their paths. */
export const STORED_COMMANDS: Readonly<Record<string, StoredCommand>> = {
  "/api/stored/retry": {
    fields: JOB,
    run: ({ stored }, { id }) => nothing(stored.retry(id)),
  },
  "/api/stored/retry-dead": {
    fields: SERVICE,
    run: async ({ stored }, { storedService }) => (
      { count: await refusing(stored.retryDead(storedService)) }
    ),
  },
  "/api/stored/cancel": {
    fields: JOB,
    run: async ({ stored }, { id }) => ({ state: (await refusing(stored.cancel(id))).state }),
  },
  "/api/stored/delete": {
    fields: JOB,
    run: ({ stored }, { id }) => nothing(stored.delete(id)),
  },
  "/api/stored/pause": {
    fields: SERVICE,
    run: ({ stored }, { storedService }) => nothing(stored.pause(storedService)),
  },
  "/api/stored/resume": {
    fields: SERVICE,
    run: ({ stored }, { storedService }) => nothing(stored.resume(storedService)),
  },
  // It writes a file wherever this process may.
  "/api/store/backup": {
    fields: { file: "path" },
    isLocal: true,
    run: ({ stored }, { file }) => nothing(stored.backup(file)),
  },
};

async function nothing(asked: Promise<void>): Promise<object> {
  await refusing(asked);
  return {};
}
