/**
 * Schemas by the Standard Schema interface, version 1 (https://standardschema.dev): the part of it that is used here,
 * and how an input is checked. Knows no library of schemas.
 *
 * @module
 */

import { Code } from "../wire/request.ts";
import { RequestError } from "./request_error.ts";

/** A schema of zod, valibot, arktype, or of any other library that has the Standard Schema interface. */
export interface StandardSchema<Input = unknown, Output = Input> {
  /** The interface. */
  readonly "~standard": {
    /** Of the interface. */
    readonly version: 1;
    /** The library. */
    readonly vendor: string;
    /** Checks a value, and makes the output of it. */
    readonly validate: (
      value: unknown,
    ) => StandardSchemaResult<Output> | Promise<StandardSchemaResult<Output>>;
    /** For the compiler only. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** The output, or what is wrong with the input. */
export type StandardSchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardSchemaIssue[] };

/** Something that is wrong with an input. */
export interface StandardSchemaIssue {
  /** What. */
  readonly message: string;
  /** Where: keys and indexes, from the input on. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** An issue as clients get it, in the `details` of an error reply. */
export interface RpcIssue {
  /** What is wrong. */
  message: string;
  /** Where: keys and indexes, from the input on. */
  path: (string | number)[];
}

/** Issues that a client gets. */
const MAX_ISSUES = 32;
/** Issues that the message has. */
const MAX_WORDED = 3;
/** Maximum characters of a message, and of a key. */
const MAX_TEXT = 500;
const MAX_KEY = 100;
const MAX_PATH = 32;
/** Maximum characters of all issues as JSON, of which one takes up to 3 bytes. */
const MAX_ISSUES_TEXT = 20_000;

/**
 * What a schema makes of an input; no promise if the schema needs none.
 *
 * @throws {RequestError} 400, or rejects with it, when the input does not fit.
 */
export function check<Output>(
  schema: StandardSchema<unknown, Output>,
  input: unknown,
): Output | Promise<Output> {
  const result = schema["~standard"].validate(input);
  return result instanceof Promise ? result.then(outputOf) : outputOf(result);
}

function outputOf<Output>(result: StandardSchemaResult<Output>): Output {
  if (result.issues === undefined) return result.value;
  const issues = fitting(result.issues.slice(0, MAX_ISSUES).map(tell));
  throw new RequestError(Code.badRequest, worded(issues, result.issues.length), {
    details: { issues },
  });
}

/** The first ones, as many as fit into an error's details. */
function fitting(issues: readonly RpcIssue[]): RpcIssue[] {
  let room = MAX_ISSUES_TEXT;
  return issues.filter((issue) => (room -= JSON.stringify(issue).length) >= 0);
}

function tell({ message, path = [] }: StandardSchemaIssue): RpcIssue {
  return { message: cut(message, MAX_TEXT), path: path.slice(0, MAX_PATH).map(stepOf) };
}

function stepOf(step: PropertyKey | { readonly key: PropertyKey }): string | number {
  const key = typeof step === "object" ? step.key : step;
  return typeof key === "number" ? key : cut(String(key), MAX_KEY);
}

/** `The input does not fit: items[0].price: expected a number; and 3 more` */
function worded(issues: readonly RpcIssue[], count: number): string {
  const texts = issues.slice(0, MAX_WORDED).map(({ message, path }) => {
    const place = path.map((step, at) =>
      typeof step === "number" ? `[${step}]` : at ? `.${step}` : step
    );
    return path.length === 0 ? message : `${place.join("")}: ${message}`;
  });
  if (count > MAX_WORDED) texts.push(`and ${count - MAX_WORDED} more`);
  return `The input does not fit: ${texts.join("; ")}`;
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}
