/**
 * What an operator has set, wherever it was set: one entry an option, with its text and its source. Here
 * the sources are put above each other, options that stand for others are replaced by these, and the
 * texts become options of `serve()`.
 *
 * @module
 */
import { hosts, ports } from "./endpoints.ts";
import { complaint, CURRENT_VALUE, suggest } from "./errors.ts";
import type { Kind } from "./kinds.ts";
import { isServeOptions, resolveOptions } from "./resolve.ts";
import { type ScheduleSection, schedulesOf } from "./schedule_sections.ts";
import { faultOfName, serviceHandlers, splitName } from "./services.ts";
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
  /** The service whose option it is; undefined: it stands above all services. */
  readonly service?: string;
}

/** Ranks of the sources: the lower beats the higher. */
export const Rank = { flag: 0, environment: 1, file: 2 } as const;

/** The options that texts can set. */
export const IN_TEXT: readonly OptionSpec[] = OPTIONS.filter(({ scope }) => scope !== "code");

const BY_NAME: ReadonlyMap<string, OptionSpec> = new Map(OPTIONS.map((spec) => [spec.name, spec]));

/**
 * What was set at one place that options stand: above all services, or in one of them. What is set first stays.
 */
export class Section {
  readonly #byName = new Map<string, Entry>();

  /** The entry of an option. */
  get(name: string): Entry | undefined {
    return this.#byName.get(name);
  }

  /** Each entry. */
  [Symbol.iterator](): IterableIterator<Entry> {
    return this.#byName.values();
  }

  /**
   * Adds an entry whose option has none yet.
   *
   * @throws {UsageError} If the same source has set it in another way.
   */
  addMissing(entry: Entry): void {
    const before = this.#byName.get(entry.spec.name);
    if (before?.rank === entry.rank) throw exclusion(entry, before);
    if (before === undefined) this.#byName.set(entry.spec.name, entry);
  }

  /**
   * The options of `serve()`, or of a service.
   *
   * @throws {UsageError} If a text can't be read, or if options exclude each other.
   */
  values(): Record<string, unknown> {
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
    return values;
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
    const other = this.#byName.get(name);
    if (other?.rank === by.rank) throw exclusion(by, other);
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

/** Entries of several sources: those above all services, and those of each service. */
export class Entries {
  readonly #top = new Section();
  readonly #services = new Map<string, Section>();
  /** Where each service was named first. */
  readonly #places = new Map<string, string>();
  readonly #schedules = new Map<string, ScheduleSection>();

  /** The entry of an option that stands above all services. */
  get(name: string): Entry | undefined {
    return this.#top.get(name);
  }

  /** Where each option was set: by its name, that of a service or schedule as `services.mail.handler`. */
  sources(): Map<string, string> {
    const found = new Map([...this.#top].map((each) => [each.spec.name, each.source]));
    for (const [service, section] of this.#services) {
      for (const each of section) found.set(`services.${service}.${each.spec.name}`, each.source);
    }
    for (const { name, lines } of this.#schedules.values()) {
      for (const { option, source } of lines) found.set(`schedules.${name}.${option}`, source);
    }
    return found;
  }

  /** Adds a schedule. */
  addSchedule(section: ScheduleSection): void {
    this.#schedules.set(section.name, section);
  }

  /** Adds a service, which may have no entries. */
  addService(name: string, subject: string): void {
    if (this.#services.has(name)) return;
    this.#services.set(name, new Section());
    this.#places.set(name, subject);
  }

  /**
   * Adds the entries whose options have none yet.
   *
   * @throws {UsageError} If one names a service that can't be.
   */
  addMissing(entries: readonly Entry[]): void {
    for (const each of entries.flatMap(bySection)) {
      if (each.service !== undefined) this.addService(each.service, each.subject);
      this.#sectionOf(each).addMissing(each);
    }
  }

  #sectionOf({ service }: Entry): Section {
    return (service === undefined ? undefined : this.#services.get(service)) ?? this.#top;
  }

  /**
   * The options of `serve()`.
   *
   * @throws {UsageError} If a text can't be read, or if options don't fit together.
   */
  options(): ServeOptions {
    const values = this.#top.values();
    for (const [name, section] of this.#services) this.#requireHandler(name, section);
    if (this.#services.size > 0) {
      const services = [...this.#services].map(([name, each]) => [name, each.values()] as const);
      values.services = Object.fromEntries(services);
    }
    if (this.#schedules.size > 0) values.schedules = this.#readSchedules();
    return this.#requireFit(values);
  }

  #readSchedules(): Record<string, unknown> {
    try {
      return schedulesOf(this.#schedules.values());
    } catch (error) {
      throw error instanceof Error ? new UsageError(error.message, { cause: error }) : error;
    }
  }

  /** A service whose name was mistyped has options, but no handler. */
  #requireHandler(name: string, section: Section): void {
    if (section.get("handler") !== undefined) return;
    const others = [...this.#services.keys()].filter((other) =>
      this.#services.get(other)?.get("handler") !== undefined
    );
    const hint = suggest(name, others) || ": --service NAME=HANDLER or a conf file gives it one";
    const place = this.#places.get(name);
    throw new UsageError(
      `Cannot start: ${place} names the service "${name}", which has no handler${hint}`,
    );
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
    const named = rule.replaceAll(
      /"(?:(services|schedules)\.([\w.-]+)\.)?(\w+)"/g,
      (quoted, kind, section, name) =>
        (kind === "schedules"
          ? this.#subjectInSchedule(section, name)
          : this.#subjectOf(name, section)) ?? quoted,
    );
    return [named, ...value].join(CURRENT_VALUE);
  }

  /** The line of an option of a schedule, or its section. */
  #subjectInSchedule(name: string, option: string): string | undefined {
    const section = this.#schedules.get(name);
    const line = section?.lines.find((each) => each.option === option);
    return line?.subject ?? (section && `"${option}" of ${section.subject}`);
  }

  #subjectOf(name: string, service: string | undefined): string | undefined {
    const section = service === undefined ? this.#top : this.#services.get(service);
    const entry = section?.get(name);
    const flag = BY_NAME.get(name)?.flag ?? "";
    const words = entry?.subject ?? (flag === "" ? undefined : `"${flag}"`);
    // The line of a file shows which service it is about.
    const isPlain = service === undefined || entry?.rank === Rank.file;
    return words === undefined || isPlain ? words : `${words} of the service "${service}"`;
  }
}

function exclusion(one: Entry, other: Entry): UsageError {
  return new UsageError(
    `Cannot start: ${one.subject} and ${other.subject} exclude each other`,
  );
}

/** What an entry sets of which section: a list of services or of endpoints may set something of several. */
function bySection(entry: Entry): Entry[] {
  if (entry.service !== undefined) return [entry];
  if (entry.spec.name === "service") return handlersOf(entry);
  return entry.spec.name === "frontend" ? endpointsOf(entry) : [entry];
}

function handlersOf(entry: Entry): Entry[] {
  const spec = BY_NAME.get("handler");
  if (spec === undefined) return [];
  const seen = new Set<string>();
  return readAs(entry, serviceHandlers).map(([service, handler]) => {
    requireName(service, entry);
    if (seen.has(service)) {
      throw new UsageError(`Cannot start: ${entry.subject} gives "${service}" two handlers`);
    }
    seen.add(service);
    return { ...entry, spec, texts: [handler], service };
  });
}

/** Endpoints of services, `NAME=ENDPOINT`, apart from the others. */
function endpointsOf(entry: Entry): Entry[] {
  const items = entry.texts.flatMap((text) => text.split(",")).map(splitName);
  const services = [...new Set(items.map(([service]) => service))];
  return services.map((service) => {
    if (service === undefined) {
      return { ...entry, texts: items.filter(([of]) => of === undefined).map(([, text]) => text) };
    }
    requireName(service, entry);
    return {
      ...entry,
      texts: items.filter(([of]) => of === service).map(([, text]) => text),
      service,
    };
  });
}

function requireName(service: string, { subject }: Entry): void {
  const fault = faultOfName(service);
  if (fault !== undefined) throw new UsageError(`Cannot start with ${subject}: ${fault}`);
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
