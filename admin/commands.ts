/**
 * What operators can have the server do, by the paths of the control API: which fields each takes, and what it
 * answers. Each is one of the commands of ops/control.ts.
 *
 * @module
 */

import { control } from "../ops/control.ts";
import { messageOf } from "../system/errors.ts";
import { Refusal } from "./answers.ts";
import { type FieldKind, type Given, readFields } from "./fields.ts";
import { type Caller, SOCKET_CALLER } from "./http_access.ts";
import type { Operated } from "./operated.ts";
import { STORED_COMMANDS } from "./stored.ts";

/** One command. */
interface Command {
  readonly fields: Readonly<Record<string, FieldKind>>;
  /** Answered 202: it goes on. */
  readonly takesTime?: boolean;
  /** Only for one who reaches the control socket. */
  readonly isLocal?: true;
  /** Does it; gives what is now, besides `ok`. */
  run(server: Operated, given: Given): object | Promise<object>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  "/api/reload": {
    fields: { service: "service?" },
    async run(server, { service }) {
      await control(server, "reload", { service });
      const { services, generation } = await server.status();
      const own = services.find(({ name }) => name === service);
      return { generation: own?.generation ?? generation };
    },
  },
  "/api/resize": {
    fields: { service: "service?", min: "number?", max: "number?" },
    async run(server, { service, numbers }) {
      control(server, "resize", { ...numbers, service });
      const { services } = await server.status();
      return {
        services: services.filter(({ name }) => service === undefined || name === service)
          .map(({ name, workers: { min, max } }) => ({ name, min, max })),
      };
    },
  },
  "/api/worker/stop": {
    fields: { worker: "number" },
    run: (server, { numbers: { worker = 0 } }) =>
      found(() => control(server, "stopWorker", { worker })),
  },
  "/api/worker/kill": {
    fields: { worker: "number" },
    run: (server, { numbers: { worker = 0 } }) =>
      found(() => control(server, "killWorker", { worker })),
  },
  "/api/job/cancel": {
    fields: { job: "number" },
    run: (server, { numbers: { job = 0 } }) => found(() => control(server, "cancelJob", { job })),
  },
  "/api/pause": {
    fields: { service: "service?" },
    run: (server, { service }) => found(() => control(server, "pause", { service })),
  },
  "/api/resume": {
    fields: { service: "service?" },
    run: (server, { service }) => found(() => control(server, "resume", { service })),
  },
  "/api/drain": {
    fields: {},
    takesTime: true,
    run(server) {
      control(server, "stop", { queued: "serve", reason: "drain" });
      return {};
    },
  },
  "/api/log-level": {
    fields: { level: "level" },
    run(server, { level }) {
      control(server, "logLevel", { level });
      return { level };
    },
  },
  "/api/reopen-log": {
    fields: {},
    run(server) {
      control(server, "reopenLog", {});
      return {};
    },
  },
  ...STORED_COMMANDS,
};

/** What an order says, for the log. */
function fieldsOf({ numbers, ...given }: Given, { fields }: Command) {
  const { service, level, id, storedService, file } = given;
  return {
    ...numbers,
    service,
    ..."level" in fields ? { level } : {},
    ...id === "" ? {} : { job: id },
    ...fields.service === "storedService?" ? { service: storedService } : {},
    ...file === "" ? {} : { file },
  };
}

/**
 * Makes sure that there is a service, if one is named.
 *
 * @throws {Refusal} 404, with those that there are.
 */
export function requireService(
  service: string | undefined,
  { serviceNames }: Pick<Operated, "serviceNames">,
): void {
  if (service === undefined || serviceNames.includes(service)) return;
  const names = serviceNames.filter((name) => name !== "").map((name) => JSON.stringify(name));
  const known = names.length === 0 ? "none has a name" : `there are ${names.join(", ")}`;
  throw new Refusal(404, `There is no service ${JSON.stringify(service)}: ${known}`);
}

/** What is not there is 404. */
async function found(run: () => void | Promise<void>): Promise<object> {
  try {
    await run();
    return {};
  } catch (error) {
    throw error instanceof RangeError ? new Refusal(404, error.message) : error;
  }
}

/** Whether there is a command of this path. */
export function isCommand(path: string): boolean {
  return Object.hasOwn(COMMANDS, path);
}

/**
 * Does what a path says, and logs that with who wants it.
 *
 * @param caller who wants it.
 * @throws {Refusal} when the fields are wrong (400), what they name is not there (404), it can't be done (409), or not
 * from there (403).
 */
export async function obey(
  server: Operated,
  path: string,
  body: string,
  { origin }: Pick<Caller, "origin">,
): Promise<{ status: number; answer: object }> {
  const command = COMMANDS[path];
  if (command === undefined) throw new Refusal(404, `There is no ${path}`);
  if (command.isLocal && origin !== SOCKET_CALLER.origin) {
    throw new Refusal(403, `${path} is for the control socket alone`);
  }
  const given = readFields(body, command.fields);
  requireService(given.service, server);
  const name = path.replace("/api/", "").replace("/", " ");
  server.log.info("an operator asks", { command: name, ...fieldsOf(given, command), origin });
  try {
    const now = await command.run(server, given);
    return { status: command.takesTime ? 202 : 200, answer: { ok: true, ...now } };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(error instanceof RangeError ? 400 : 409, messageOf(error));
  }
}
