/**
 * Reads the members of an object that a peer has sent as JSON, one by one, and says what is wrong first. What the
 * members mean is their owner's.
 *
 * @module
 */

import { isRecord } from "./json_object.ts";

/** An object as it was sent: any member may be there, with any value. */
export type Members = Readonly<Record<string, unknown>>;

/** What was read, or what is wrong with it; `hasType`: a value has the right type, and only its range is wrong. */
export type Read<Words> =
  | { words: Words; fault?: undefined }
  | { fault: string; hasType: boolean };

/** Remembers the first fault; what is wrong reads as what stands for none. */
export class MemberReader {
  readonly #members: Members;
  readonly #prefix: string;
  #fault: { fault: string; hasType: boolean } | undefined;

  /** `kind`: what a member is called; `prefix`: of their names in messages. */
  constructor(members: Members, known: readonly string[], kind: string, prefix = "") {
    this.#members = members;
    this.#prefix = prefix;
    const unknown = Object.keys(members).find((name) => !known.includes(name));
    if (unknown === undefined) return;
    this.fail(`Unknown ${kind} "${prefix}${cut(unknown)}": use ${known.join(", ")}`);
  }

  /** Something is wrong. */
  fail(fault: string, hasType = false): void {
    this.#fault ??= { fault, hasType };
  }

  /** A member's value is wrong, which must be what `rule` says. */
  wrong(name: string, rule: string, hasType: boolean): void {
    const subject = `"${this.#prefix}${name}"`;
    this.fail(`${subject} must be ${rule}: current value is ${shown(this.get(name))}`, hasType);
  }

  /** What was wrong inside a member is wrong with the whole. */
  adopt(inner: MemberReader): void {
    this.#fault ??= inner.#fault;
  }

  /** What all was read for. */
  result<Words>(words: Words): Read<Words> {
    return this.#fault ?? { words };
  }

  /** Whether it is there. */
  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  /** A member's value, whatever it is; undefined: it is not there. */
  get(name: string): unknown {
    return Object.hasOwn(this.#members, name) ? this.#members[name] : undefined;
  }

  /** An integer within bounds. */
  integer(name: string, otherwise: number, least: number, most: number): number {
    const value = this.get(name);
    if (value === undefined) return otherwise;
    const isInteger = typeof value === "number" && Number.isSafeInteger(value);
    if (isInteger && value >= least && value <= most) return value;
    this.wrong(name, `an integer from ${least} to ${most}`, typeof value === "number");
    return otherwise;
  }

  /** A duration within bounds, whole ms; a part of one counts, as 0 often stands for no bound. */
  span(name: string, otherwise: number, least: number, most: number): number {
    const value = this.get(name);
    if (value === undefined) return otherwise;
    if (typeof value === "number" && value >= least && value <= most) return Math.ceil(value);
    this.wrong(name, `a number of ms from ${least} to ${most}`, typeof value === "number");
    return otherwise;
  }

  /** The members of a member. */
  inner(name: string, known: readonly string[]): MemberReader {
    const value = this.get(name);
    const prefix = `${this.#prefix}${name}.`;
    if (isRecord(value)) return new MemberReader(value, known, "option", prefix);
    if (value !== undefined) this.wrong(name, `an object of ${known.join(" and ")}`, false);
    return new MemberReader({}, known, "option", prefix);
  }
}

/** A value as an error shows it. */
function shown(value: unknown): string {
  if (typeof value === "number") return String(value);
  try {
    return cut(JSON.stringify(value) ?? String(value));
  } catch {
    return typeof value === "bigint" ? `${value}n` : `a ${typeof value}`; // JSON has no words for it
  }
}

function cut(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
