/**
 * What operators send: the fields of a body in JSON and of a query, each checked.
 *
 * @module
 */

import type { Level } from "../options/settings.ts";
import { isRecord } from "../wire/json_object.ts";
import { isJobId } from "../wire/submission.ts";
import { Refusal } from "./answers.ts";

/** How a field is read; a name with "?" may be left out. */
export type FieldKind =
  | "number"
  | "number?"
  | "service?"
  | "level"
  | "id"
  | "storedService?"
  | "path";

/** Fields that were read. */
export interface Given {
  readonly numbers: Readonly<Record<string, number>>;
  readonly service: string | undefined;
  readonly level: Level;
  /** Of a stored job; "": it takes none. */
  readonly id: string;
  /** Whose stored jobs are meant: it need not be there any more. */
  readonly storedService: string;
  /** An absolute path; "": it takes none. */
  readonly file: string;
}

const LEVELS: readonly Level[] = ["debug", "info", "warn", "error", "critical"];

/** A level by its name; undefined: there is no such level. */
export function levelOf(name: unknown): Level | undefined {
  return LEVELS.find((level) => level === name);
}

/**
 * Reads the fields of a body.
 *
 * @throws {Refusal} 400, when it is not JSON, lacks a field, or has one that is not known or has another type.
 */
export function readFields(text: string, kinds: Readonly<Record<string, FieldKind>>): Given {
  const body = new Map(Object.entries(parse(text)));
  const unknown = [...body.keys()].find((name) => !Object.hasOwn(kinds, name));
  if (unknown !== undefined) throw new Refusal(400, unknownField(unknown, kinds));
  const numbers: Record<string, number> = {};
  let service: string | undefined;
  let level: Level = "info";
  let [id, storedService, file] = ["", "", ""];
  for (const [name, kind] of Object.entries(kinds)) {
    const value = body.get(name) ?? undefined;
    if (value === undefined && kind.endsWith("?")) continue;
    if (kind === "service?") service = serviceOf(name, value);
    else if (kind === "storedService?") storedService = serviceOf(name, value);
    else if (kind === "id") id = idOf(name, value);
    else if (kind === "path") file = pathOf(name, value);
    else if (kind === "level") level = requireLevel(name, value);
    else numbers[name] = numberOf(name, value);
  }
  return { numbers, service, level, id, storedService, file };
}

function parse(text: string): object {
  try {
    const value: unknown = text.trim() === "" ? {} : JSON.parse(text);
    if (isRecord(value)) return value;
  } catch {
    // It is told what it must be.
  }
  throw new Refusal(400, "The body must be an object in JSON");
}

function unknownField(name: string, kinds: object): string {
  const names = Object.keys(kinds);
  const known = names.length === 0 ? "it takes none" : `it takes "${names.join('", "')}"`;
  return `Unknown field ${JSON.stringify(name)}: ${known}`;
}

function serviceOf(name: string, value: unknown): string {
  if (typeof value === "string") return value;
  throw new Refusal(400, `"${name}" must be the name of a service`);
}

function idOf(name: string, value: unknown): string {
  if (isJobId(value)) return value;
  throw new Refusal(400, `"${name}" must be the id of a stored job`);
}

function pathOf(name: string, value: unknown): string {
  if (typeof value === "string" && value.startsWith("/") && !value.includes("\0")) return value;
  throw new Refusal(400, `"${name}" must be an absolute path`);
}

function numberOf(name: string, value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  throw new Refusal(400, `"${name}" must be an integer`);
}

function requireLevel(name: string, value: unknown): Level {
  const level = levelOf(value);
  if (level !== undefined) return level;
  throw new Refusal(400, `"${name}" must be one of ${LEVELS.join(", ")}`);
}

/**
 * A number of a query.
 *
 * @throws {Refusal} 400, when it is not an integer from 0 to `most`.
 */
export function countOf(query: URLSearchParams, name: string, fallback: number, most: number) {
  const text = query.get(name);
  if (text === null) return fallback;
  if (/^\d{1,9}$/.test(text) && Number(text) <= most) return Number(text);
  throw new Refusal(400, `"${name}" must be an integer from 0 to ${most}`);
}

/**
 * A level of a query.
 *
 * @throws {Refusal} 400, when it is none.
 */
export function levelIn(query: URLSearchParams, fallback: Level): Level {
  const text = query.get("level");
  return text === null ? fallback : requireLevel("level", text);
}
