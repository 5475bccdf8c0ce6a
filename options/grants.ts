/**
 * The kinds of values that say what the handler may do: one permission, and all of them. Checks them as
 * far as Deno's own rules are plain; Deno judges the rest when it starts a worker.
 *
 * @module
 */
import { isRecord } from "../wire/json_object.ts";
import { isBoolean, isText, isTextList, type Kind, toggle } from "./kinds.ts";
import { listOf, splitList } from "./lists.ts";
import type { Permissions } from "./settings.ts";

const PERMISSION_NAMES: readonly string[] = [
  "read",
  "write",
  "net",
  "env",
  "run",
  "sys",
  "import",
  "all",
];

/**
 * What one permission is granted for: all, nothing, or a list.
 *
 * @param permission Its name, as Deno has it.
 * @returns The kind.
 */
export function grant(permission: keyof Permissions): Kind<boolean | string[]> {
  const { what, fits } = GRANTED[permission] ?? ANYTHING;
  return {
    ...listOf((text) => text),
    placeholder: "LIST",
    textRule: `true, false, or a list of ${what} separated by commas`,
    parse(text) {
      const items = splitList(text) ?? [];
      const words = items.map(toggle.parse);
      if (words.includes(true)) return true;
      if (words.includes(false)) return items.length === 1 ? false : undefined;
      return items.length > 0 && items.every(fits) ? items : undefined;
    },
  };
}

/** What a list may grant, as far as Deno's own rules are plain; Deno judges the rest when it starts. */
interface Granted {
  readonly what: string;
  fits(item: string): boolean;
}

const HOSTS: Granted = { what: "hosts (host or host:port)", fits: isGrantedHost };
const ANYTHING: Granted = { what: "items", fits: isGrantedName };
const GRANTED: Partial<Record<string, Granted>> = {
  read: { what: "paths", fits: isGrantedName },
  write: { what: "paths", fits: isGrantedName },
  net: HOSTS,
  env: { what: "variables' names", fits: (item) => isGrantedName(item) && !item.includes("=") },
  run: { what: "programs", fits: isGrantedName },
  import: HOSTS,
};

/** Permissions; in code also `none` and `inherit`. */
export const permissions: Kind<Permissions> = {
  placeholder: "PERMISSIONS",
  rule: `"none", "inherit", or true, false or a list for ${PERMISSION_NAMES.join(", ")} ` +
    "(for net and import of host or host:port, for env without =)",
  textRule: "",
  isList: false,
  isType: (value) => isText(value) || isRecord(value),
  accept(value) {
    if (value === "none") return {};
    if (value === "inherit") return { all: true };
    const granted = isRecord(value) ? withoutEmptyLists(value) : undefined;
    return isPermissions(granted) ? granted : undefined;
  },
  parse: () => undefined,
  show: (value) => JSON.stringify(value),
};

/** A copy in which an empty list is what it says, nothing; Deno's flags would read it as all. */
function withoutEmptyLists(value: Record<string, unknown>): Record<string, unknown> {
  const copy = (granted: unknown): unknown =>
    Array.isArray(granted) ? granted.length > 0 && [...granted] : granted;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, copy(each)]));
}

function isPermissions(value: unknown): value is Permissions {
  if (!isRecord(value)) return false;
  return Object.entries(value).every(([name, granted]) =>
    PERMISSION_NAMES.includes(name) && isGranted(name, granted)
  );
}

function isGranted(name: string, granted: unknown): boolean {
  if (granted === undefined || isBoolean(granted)) return true;
  const { fits } = GRANTED[name] ?? ANYTHING;
  return name !== "all" && isTextList(granted) && granted.every(fits);
}

function isGrantedName(text: string): boolean {
  return text !== "" && !text.includes("\0");
}

/** `host`, `[address]` or a range, each also with a port; also Deno's `unix:path` and `vsock:…`. */
function isGrantedHost(text: string): boolean {
  if (/^(unix|vsock):./.test(text)) return true;
  const [whole, port = "0"] =
    /^(?:\[[^\]\s]+\]|[^\s:/[\]@?]+(?:\/\d{1,3})?|(?=:))(?::(\d{1,5}))?$/.exec(text) ?? [];
  return whole !== undefined && Number(port) <= 65535;
}
