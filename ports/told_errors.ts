/**
 * Errors that are told from thread to thread, where only plain data goes.
 *
 * @module
 */

import { SystemError } from "../system/libc.ts";
import { ZmqError } from "../zmq/library.ts";

/** An error in plain data. */
export interface ToldError {
  name: string;
  message: string;
  stack: string | undefined;
  /** The C errno; undefined: it has none. */
  errno: number | undefined;
}

/** An error, or whatever was thrown, as it can be told. */
export function tellable(error: unknown): ToldError {
  if (!(error instanceof Error)) {
    return { name: "Error", message: String(error), stack: undefined, errno: undefined };
  }
  const { name, message, stack } = error;
  const hasErrno = error instanceof ZmqError || error instanceof SystemError;
  return { name, message, stack, errno: hasErrno ? error.errno : undefined };
}

/** The error that was told of: of its own class, as far as callers tell classes apart. */
export function errorTold({ name, message, stack, errno }: ToldError): Error {
  const error = blank(name, errno ?? 0);
  error.message = message;
  if (stack !== undefined) error.stack = stack;
  return error;
}

function blank(name: string, errno: number): Error {
  switch (name) {
    case "ZmqError":
      return new ZmqError("", errno, "");
    case "SystemError":
      return new SystemError("", errno, "");
    case "RangeError":
      return new RangeError();
    case "TypeError":
      return new TypeError();
    default: {
      const error = new Error();
      error.name = name;
      return error;
    }
  }
}
