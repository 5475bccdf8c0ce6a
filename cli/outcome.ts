/**
 * What the end of a request means for the client's command: its exit status, and what is said about it.
 *
 * @module
 */

import { AbandonedError, NotEndedError, ReplyError } from "../client/reply.ts";
import { messageOf } from "../system/errors.ts";

/** The command's exit statuses, from good to bad. */
export const Exit = { answered: 0, errorReply: 1, usage: 2, noAnswer: 3 } as const;

/** The exit status for an error. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof AbandonedError || error instanceof NotEndedError) return Exit.noAnswer;
  return error instanceof ReplyError ? Exit.errorReply : Exit.usage;
}

/** An error as one line. */
export function explain(error: unknown): string {
  if (!(error instanceof ReplyError)) return messageOf(error);
  const { code, message, details } = error;
  const more = details === undefined ? "" : `; details: ${JSON.stringify(details)}`;
  return `error ${code}: ${message}${more}`;
}
