/**
 * What an operator has set, wherever it was set: one entry an option, with its text and its source. Here
 * the sources are put above each other, options that stand for others are replaced by these, and the
 * texts become options of `serve()`.
 *
 * @module
 */
import { hosts, ports } from "./endpoints.ts";
import { complaint, CURRENT_VALUE } from "./errors.ts";
import type { Kind } from "./kinds.ts";
import { isServeOptions, resolveOptions } from "./resolve.ts";
import type { ServeOptions } from "./settings.ts";
import { OPTIONS, type OptionSpec } from "./table.ts";

/** A command line, an environment variable or a conf file that can't be used: exit code 2. */
export class UsageError extends Error {
  /** Always `UsageError`. */
  override readonly name = "UsageError";
}

/** An option that was set. */
export interface Entry {
  readonly spec: OptionSpec;
  /** The value's text; several if the option is a list and was repeated. */
  readonly texts: string[];
  /** Where it was set: `flag --min-workers`, `file prefork.conf:3`. */
  readonly source: string;
  /** What an error names. */
  readonly subject: string;
  readonly rank: number;
  /** Whether a number without a unit is seconds: under Net::Server's names. */
  readonly inSeconds?: boolean;
}

/** Ranks of the sources: the lower beats the higher. */
export const Rank = { flag: 0, environment: 1, file: 2 } as const;

/** The options that texts can set. */
export const IN_TEXT: readonly OptionSpec[] = OPTIONS.filter(({ scope }) => scope !== "code");

const BY_NAME: ReadonlyMap<string, OptionSpec> = new Map(OPTIONS.map((spec) => [spec.name, spec]));

/** Entries of several sources, one for each option: what is set first stays. */
export class Entries {
  readonly #byName = new Map<string, Entry>();

  /** The entry of an option. */
  get(name: string): Entry | undefined {
    return this.#byName.get(name);
  }

  /** Adds the entries whose options have none yet. */
  addMissing(entries: readonly Entry[]): void {
    for (const each of entries) {
      if (!this.#byName.has(each.spec.name)) this.#byName.set(each.spec.name, each);
    }
  }

  /**
   * The options of `serve()`.
   *
   * @throws {UsageError} If a text can't be read, or if options don't fit together.
   */
  options(): ServeOptions {
    this.#replaceWorkers();
    this.#replacePorts();
    const values: Record<string, unknown> = {};
    const permissions: Record<string, unknown> = {};
    for (const [name, each] of this.#byName) {
      const value = readAs(each, each.spec.kind);
      if (each.spec.permission === undefined) values[name] = value;
      else permissions[each.spec.permission] = value;
    }
    if (Object.keys(permissions).length > 0) values.permissions = permissions;
    return this.#requireFit(values);
  }

  /** Finds what no single value shows, such as a minimum above its maximum. */
  #requireFit(values: Record<string, unknown>): ServeOptions {
    if (!isServeOptions(values)) {
      throw new UsageError("Cannot start: the options do not fit together");
    }
    try {
      resolveOptions(values, { cpus: 1, cwd: () => "/" });
    } catch (error) {
      throw error instanceof Error
        ? new UsageError(this.#inOperatorsWords(error.message), { cause: error })
        : error;
    }
    return values;
  }

  /** An error with the names that were used, or flags, in place of the names that options have in code. */
  #inOperatorsWords(message: string): string {
    const [rule = "", ...value] = message.split(CURRENT_VALUE);
    const named = rule.replaceAll(/"(\w+)"/g, (quoted, name) => {
      const flag = BY_NAME.get(name)?.flag ?? "";
      return this.#byName.get(name)?.subject ?? (flag === "" ? quoted : `"${flag}"`);
    });
    return [named, ...value].join(CURRENT_VALUE);
  }

  /** `workers` stands for both limits, where these are not set in a source that beats its own. */
  #replaceWorkers(): void {
    const workers = this.#byName.get("workers");
    if (workers === undefined) return;
    this.#byName.delete("workers");
    for (const name of ["minWorkers", "maxWorkers"]) {
      if (this.#rankOf(name) > workers.rank) this.#set(name, workers, workers.texts);
    }
  }

  /** `port` and `host` stand for a frontend, and for a backend if there are two ports. */
  #replacePorts(): void {
    const [port, host] = [this.#byName.get("port"), this.#byName.get("host")];
    const by = port ?? host;
    if (by === undefined) return;
    this.#byName.delete("port");
    this.#byName.delete("host");
    const at = host === undefined ? ["127.0.0.1"] : readAs(host, hosts);
    const numbers = port === undefined ? ["6660"] : readAs(port, ports);
    for (const [i, name] of ["frontend", "backend"].entries()) {
      const number = numbers[i];
      if (number === undefined) continue;
      const address = number.includes(":") ? number : `${at[i] ?? at.at(-1)}:${number}`;
      this.#replaceEndpoint(name, by, `tcp://${address}`);
    }
  }

  #replaceEndpoint(name: string, by: Entry, endpoint: string): void {
    const rank = this.#rankOf(name);
    if (rank === by.rank) {
      const other = this.#byName.get(name)?.subject;
      throw new UsageError(`Cannot start: ${by.subject} and ${other} exclude each other`);
    }
    if (rank > by.rank) this.#set(name, by, [endpoint]);
  }

  /** The rank of what an option was set by; Infinity: nothing has set it. */
  #rankOf(name: string): number {
    return this.#byName.get(name)?.rank ?? Infinity;
  }

  #set(name: string, by: Entry, texts: string[]): void {
    const spec = BY_NAME.get(name);
    if (spec !== undefined) this.#byName.set(name, { ...by, spec, texts });
  }
}

/**
 * Reads an entry's text.
 *
 * @param each The entry.
 * @param kind How to read it.
 * @throws {UsageError} If the text is wrong.
 */
export function readAs<T>(each: Entry, kind: Kind<T>): T {
  const text = each.texts.join(",");
  const lack = kind.lack?.(text);
  const value = kind.parse(lack !== undefined && each.inSeconds ? `${text}s` : text);
  if (value !== undefined) return value;
  const fault = lack === undefined
    ? complaint(each.subject, kind.textRule, text)
    : `${each.subject} ${lack}`;
  throw new UsageError(`Cannot start: ${fault}`);
}
