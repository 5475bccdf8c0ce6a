/**
 * The options in force, each with its value as a conf file has it and where it was set. Not here: how they are
 * printed (help.ts).
 *
 * @module
 */
import { hostedServices } from "./hosted.ts";
import { scheduleLines } from "./schedule_sections.ts";
import type { Settings } from "./settings.ts";
import { OPTIONS, type OptionSpec } from "./table.ts";

/** An option, its value, and its text in a conf file; "": it has none. */
export interface Listed {
  readonly spec: OptionSpec;
  readonly value: unknown;
  readonly text: string;
}

/** One of the options in force. */
export interface ListedOption {
  name: string;
  service?: string;
  value: string;
  source: string;
}

/** The options that have a key in a conf file, and their values. */
export function listValues(settings: Settings): Listed[] {
  const values = new Map<string, unknown>(Object.entries(settings));
  const granted = new Map<string, unknown>(Object.entries(settings.permissions));
  return OPTIONS.filter(({ scope }) => scope !== "code").flatMap((spec) => {
    const { name, permission } = spec;
    if (permission !== undefined) return [listed(spec, granted.get(permission) ?? false)];
    return values.has(name) ? [listed(spec, values.get(name))] : [];
  });
}

function listed(spec: OptionSpec, value: unknown): Listed {
  return { spec, value, text: value === undefined ? "" : spec.kind.show(value) };
}

/** What a service sets itself, and what is another value there because of that. */
export function listService(
  service: string,
  own: Settings,
  around: readonly Listed[],
  sources: ReadonlyMap<string, string>,
): (Listed & { source: string | undefined })[] {
  const values = new Map(around.map(({ spec, value }) => [spec.name, Deno.inspect(value)]));
  return listValues(own).flatMap((each) => {
    const { name } = each.spec;
    const source = sources.get(`services.${service}.${name}`);
    const isSame = Deno.inspect(each.value) === values.get(name);
    // An empty frontend is none of its own: that has no key.
    if (source === undefined && (isSame || name === "frontend")) return [];
    return [{ ...each, source }];
  });
}

/**
 * Each option in force, those of services after the others.
 *
 * @param sources Where each was set, by its name; undefined: all that has a value was given to `serve()`.
 */
export function listOptions(
  settings: Settings,
  sources: ReadonlyMap<string, string>,
): ListedOption[] {
  const top = listValues(settings);
  const named = hostedServices(settings).filter(([name]) => name !== "");
  return [
    ...top.map(({ spec: { name }, text }) => ({
      name,
      value: text,
      source: sources.get(name) ?? "default",
    })),
    ...named.flatMap(([service, own]) =>
      listService(service, own, top, sources).map(({ spec: { name }, text, source }) => ({
        ...{ name, service, value: text },
        source: source ?? "default",
      }))
    ),
    ...Object.entries(settings.schedules).flatMap(([schedule, each]) =>
      scheduleLines(each).map(([option, value]) => {
        const name = `schedules.${schedule}.${option}`;
        return { name, value, source: sources.get(name) ?? "default" };
      })
    ),
  ];
}

/** Where options were set that were given to `serve()`, by their names. */
export function sourcesInCode(
  options: object,
  services: object = {},
  schedules: object = {},
): Map<string, string> {
  const names = (given: object, prefix: string) =>
    Object.entries(given).flatMap(([name, value]) =>
      value === undefined ? [] : [[`${prefix}${name}`, "serve()"] as const]
    );
  const inEach = (kind: string, all: object) =>
    Object.entries(all).flatMap(([name, own]) =>
      typeof own === "object" && own !== null ? names(own, `${kind}.${name}.`) : []
    );
  return new Map([
    ...names(options, ""),
    ...inEach("services", services),
    ...inEach("schedules", schedules),
  ]);
}
