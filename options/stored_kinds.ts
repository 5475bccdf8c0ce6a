/**
 * The kinds of values that options of stored jobs have: where jobs are kept, long durations, and schedules.
 *
 * @module
 */
import { isHost, isPort } from "../wire/endpoint.ts";
import { isRecord } from "../wire/json_object.ts";
import { byName, isText, type Kind } from "./kinds.ts";
import type { StoredJobOptions } from "./stored_settings.ts";

/** NATS's own port. */
const NATS_PORT = 4222;

const STORE_RULE =
  '"auto", "off", "sqlite:PATH", a path, or "nats://HOST:PORT" with further hosts after commas';

/** Where jobs are kept: `auto`, `off`, `sqlite:PATH` or `nats://host:port,…`. */
export const storePlace: Kind<string> = {
  placeholder: "auto|off|FILE|nats://HOST",
  rule: STORE_RULE,
  textRule: STORE_RULE,
  isList: false,
  isType: isText,
  accept: (value) => isText(value) ? placeOf(value) : undefined,
  parse: (text) => placeOf(text.trim()),
  lack: (text) =>
    /^(nats|tls):[^?]*@/.test(text)
      ? 'must not have a user and a password, which would be shown: use "natsCredentials" or "natsNkey"'
      : undefined,
  show: String,
};

function placeOf(text: string): string | undefined {
  if (text === "auto" || text === "off") return text;
  if (/^(nats|tls):/.test(text)) return natsServers(text);
  const path = text.replace(/^sqlite:(?:\/\/(?=\/))?/, "");
  // A database in memory would keep nothing, and another scheme is no path.
  const isPath = path !== "" && !/\p{Cc}/u.test(path) && !path.includes(":memory:") &&
    !/^[a-z][a-z0-9+.-]+:/i.test(path);
  return isPath ? `sqlite:${path}` : undefined;
}

/** `nats://a,b:4223` with the port of each; a user and a password would show wherever options do. */
function natsServers(text: string): string | undefined {
  const [, scheme, rest = ""] = /^((?:nats|tls):\/\/)(.*)$/.exec(text) ?? [];
  const servers = rest.split(",").map((each) => serverOf(each.trim().replace(scheme ?? "", "")));
  return scheme === undefined || servers.includes(undefined)
    ? undefined
    : scheme + servers.join(",");
}

function serverOf(text: string): string | undefined {
  const [, host = "", port = String(NATS_PORT)] =
    /^(\[[0-9a-fA-F:.]+\]|[^:/@\s]+)(?::(\d+))?\/?$/.exec(text) ?? [];
  return host !== "*" && isHost(host) && isPort(port) && Number(port) > 0
    ? `${host}:${port}`
    : undefined;
}

const PREFIX_RULE = "1 to 32 characters of A-Z, a-z, 0-9, _ and -";

/** What names in NATS start with: a token of a subject. */
export const natsPrefix: Kind<string> = {
  placeholder: "NAME",
  rule: PREFIX_RULE,
  textRule: PREFIX_RULE,
  isList: false,
  isType: isText,
  accept: (value) => isText(value) && isPrefix(value) ? value : undefined,
  parse: (text) => isPrefix(text) ? text : undefined,
  show: String,
};

function isPrefix(text: string): boolean {
  return /^[A-Za-z0-9_-]{1,32}$/.test(text);
}

/** Schedules as `serve()` is given them. */
type GivenSchedules = NonNullable<StoredJobOptions["schedules"]>;

/** Schedules by their names; what each has is checked elsewhere. */
export const schedules: Kind<GivenSchedules> = byName(
  "SCHEDULES",
  "an object of schedules: their names, and the options of each",
  isGiven,
);

function isGiven(value: unknown): value is GivenSchedules {
  return isRecord(value);
}
