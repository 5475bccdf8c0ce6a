/**
 * `--call` of the client's command: calls a function of a handler made with `rpc`, or lists them.
 *
 * @module
 */

import type { Progress, RequestOptions } from "../client/options.ts";
import { answersTo, type Asking, type CallDescription, describeCalls } from "../client/typed.ts";
import type { HandlerBar } from "./progress.ts";
import { printBytes, printText } from "./reply_output.ts";
import type { Stderr } from "./stderr.ts";

/** What `--call` asks for. */
export interface CallCommand {
  /** The function; "": list them. */
  name: string;
  /** Its arguments, as they were written. */
  args: readonly string[];
}

/** Who is told of what comes. */
export interface CallOutput {
  /** Whether the client sends plain requests, which have neither parts nor progress. */
  plain: boolean;
  stderr: Stderr;
  /** Shows how far the handler is, if that is wanted. */
  bar: HandlerBar | undefined;
  heard(): void;
}

/** Calls, and prints what comes of it: each value as a line of JSON, as soon as it is here. */
export async function runCall(
  client: Asking,
  { name, args }: CallCommand,
  request: RequestOptions,
  output: CallOutput,
): Promise<void> {
  if (name === "") return printText(listOf(await describeCalls(client, request)));
  const values = args.map(parseArgument);
  if (output.plain) {
    const plain: Asking = { request: (body, options) => client.request(body, options) };
    return await printAnswers(answersTo(plain, name, values, request), output);
  }
  const onProgress = (progress: Progress) => {
    output.heard();
    output.bar?.draw(progress, performance.now());
  };
  await printAnswers(answersTo(client, name, values, { ...request, onProgress }), output);
}

async function printAnswers(
  answers: ReturnType<typeof answersTo>,
  { stderr, heard }: CallOutput,
): Promise<void> {
  try {
    for await (const answer of answers) {
      heard();
      stderr.erase();
      for (const value of answer.is === "parts" ? answer.values : [answer.value]) printValue(value);
    }
  } finally {
    stderr.erase();
  }
}

/** An argument's value if it is JSON, else its text. */
export function parseArgument(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function printValue(value: unknown): void {
  if (value instanceof Uint8Array) return printBytes(value);
  const text = JSON.stringify(value, base64);
  if (text !== undefined) printText(`${text}\n`);
}

function base64(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array ? value.toBase64() : value;
}

/** A line for each call: its name, and what is known of it. */
function listOf(calls: readonly CallDescription[]): string {
  const width = Math.max(...calls.map(({ name }) => name.length));
  const lines = calls.map(({ name, parameters, streams, schema }) => {
    const facts = [parameters === 1 ? "1 parameter" : `${parameters} parameters`];
    if (schema !== undefined) facts.push(`checked by ${schema}`);
    if (streams) facts.push("streams");
    return `${name.padEnd(width)}  ${facts.join(", ")}\n`;
  });
  return lines.join("");
}
