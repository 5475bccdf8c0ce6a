/**
 * Why what clients ask about stored jobs is refused.
 *
 * @module
 */

import { Code, StatusFlag } from "../wire/request.ts";
import { JOB_COMMANDS, JOB_PREFIX } from "../wire/submission.ts";

/** A refusal. */
export interface Refusal {
  code: number;
  message: string;
  /** `StatusFlag`s. */
  flags?: number;
}

/** A client that lets its replies lie is asked for nothing more. */
export const STALLED = "The client does not take its replies";
/** The server takes in no more. */
export const STOPPING = "The server is shutting down";

/** What was said is wrong in itself. */
export function wrong(message: string): Refusal {
  return { code: Code.badRequest, message };
}

/** Another server, or this one later, may take it. */
export function busy(message: string): Refusal {
  return { code: Code.unavailable, message, flags: StatusFlag.unstarted };
}

/** No command that there is; `skip`: it stood in the first so many frames, and named no service. */
export function unknown(word: string, skip: number): Refusal {
  const known = JOB_COMMANDS.map((command) => skip > 0 ? command : JOB_PREFIX + command).join(", ");
  const name = JSON.stringify(skip > 0 ? word : JOB_PREFIX + word);
  return skip > 0
    ? wrong(`The first frame must be ${known}: it is ${name}`)
    : { code: Code.notFound, message: `There is no service ${name}: there are ${known}` };
}

/** A job's service is not there. */
export function noService(name: string): string {
  return name === ""
    ? "The server has no service without a name, and the job names none"
    : `The server has no service ${JSON.stringify(name)}`;
}

/** A service, as messages call it. */
export function nameOf(service: string): string {
  return service === "" ? "the service without a name" : `the service ${JSON.stringify(service)}`;
}
