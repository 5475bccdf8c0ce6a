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
import type { Operated } from "./operated.ts";

/** One command. */
interface Command {
  readonly fields: Readonly<Record<string, FieldKind>>;
  /** Answered 202: it goes on. */
  readonly takesTime?: boolean;
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
};

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
 * @param origin Who wants it, as the log names it: "control socket".
 * @throws {Refusal} when the fields are wrong (400), what they name is not there (404), or it can't be done (409).
 */
export async function obey(
  server: Operated,
  path: string,
  body: string,
  origin: string,
): Promise<{ status: number; answer: object }> {
  const command = COMMANDS[path];
  if (command === undefined) throw new Refusal(404, `There is no ${path}`);
  const given = readFields(body, command.fields);
  const { service, numbers } = given;
  if (service !== undefined && !server.serviceNames.includes(service)) {
    throw new Refusal(404, `There is no service ${JSON.stringify(service)}`);
  }
  const level = "level" in command.fields ? { level: given.level } : {};
  const name = path.replace("/api/", "").replace("/", " ");
  server.log.info("an operator asks", { command: name, ...numbers, service, ...level, origin });
  try {
    const now = await command.run(server, given);
    return { status: command.takesTime ? 202 : 200, answer: { ok: true, ...now } };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(error instanceof RangeError ? 400 : 409, messageOf(error));
  }
}
