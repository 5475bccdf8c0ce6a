/**
 * `--call` of the client's command: calls a function of a handler made with `rpc`, or lists them.
 *
 * @module
 */

import type { RequestOptions } from "../client/options.ts";
import { askCall, type Asking, type CallDescription, describeCalls } from "../client/typed.ts";
import { printBytes, printText } from "./reply_output.ts";

/** What `--call` asks for. */
export interface CallCommand {
  /** The function; "": list them. */
  name: string;
  /** Its arguments, as they were written. */
  args: readonly string[];
}

/** Calls, and prints what comes of it: each value as a line of JSON. */
export async function runCall(
  client: Asking,
  { name, args }: CallCommand,
  request: RequestOptions,
): Promise<void> {
  if (name === "") return printText(listOf(await describeCalls(client, request)));
  const answer = await askCall(client, name, args.map(parseArgument), request);
  const values = answer.is === "parts" ? answer.values : [answer.value];
  for (const value of values) printValue(value);
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
