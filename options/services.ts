/**
 * Services by name: what an option of `serve()` or an operator's text may say of them, and which options they
 * may have. Not here: how these are checked (resolve.ts), and which services there are (hosted.ts).
 *
 * @module
 */
import { isRecord } from "../wire/json_object.ts";
import { isServiceName, SERVICE_NAME_CHARACTERS, whySetAside } from "../wire/service_name.ts";
import { complaint } from "./errors.ts";
import { byName, type Kind, specifier } from "./kinds.ts";
import type { ServeOptions, ServiceOption } from "./settings.ts";

/** Has the compiler check that each option is here. */
const ALL: Readonly<Record<ServiceOption, true>> = {
  handler: true,
  frontend: true,
  users: true,
  mdpWorkers: true,
  minWorkers: true,
  maxWorkers: true,
  workers: true,
  minSpareWorkers: true,
  maxSpareWorkers: true,
  maxRequests: true,
  maxRequestsJitter: true,
  maxMemory: true,
  maxMemoryJitter: true,
  maxAge: true,
  maxAgeJitter: true,
  memoryLimit: true,
  checkForSpawnInterval: true,
  checkForWaitingInterval: true,
  minChildTtl: true,
  startDelay: true,
  startTimeout: true,
  stopTimeout: true,
  dequeueInterval: true,
  maxDequeueWorkers: true,
  babysitInterval: true,
  rogueCpuTime: true,
  concurrency: true,
  prefetch: true,
  prefetchBudget: true,
  dispatch: true,
  maxAttempts: true,
  queueLimit: true,
  queueBytes: true,
  overflow: true,
  maxQueuePerClient: true,
  requestTimeout: true,
  abortGrace: true,
  replyCacheTtl: true,
  replyCacheBytes: true,
  exposeErrors: true,
  permissions: true,
  handlerLock: true,
  jobShare: true,
  maxRunningPerGroup: true,
  rate: true,
  durable: true,
};

/** The options that a service may have. */
export const SERVICE_OPTIONS: readonly string[] = Object.keys(ALL);

/** A service as `serve()` is given it: the handler alone, or options. */
type Given = NonNullable<ServeOptions["services"]>;

/** Services by their names; what each has is checked elsewhere. */
export const services: Kind<Given> = byName(
  "SERVICES",
  "an object of services: their names, and the handler or the options of each",
  isGiven,
);

function isGiven(value: unknown): value is Given {
  return isRecord(value) && !(value instanceof URL);
}

/** Handlers of services, `NAME=HANDLER` each. */
export const serviceHandlers: Kind<[name: string, handler: string][]> = {
  placeholder: "NAME=HANDLER",
  rule: "a list",
  textRule: `NAME=HANDLER, where NAME has ${SERVICE_NAME_CHARACTERS}`,
  isList: true,
  isType: () => false,
  accept: () => undefined,
  parse(text) {
    // A handler may be a data: URL, and so have commas of its own.
    const items = text.split(/,(?=\s*[A-Za-z0-9._-]+=)/).map(splitName);
    const whole = items.flatMap(([name, handler]) =>
      name !== undefined && isServiceName(name) && specifier.parse(handler) !== undefined
        ? [[name, handler] as [string, string]]
        : []
    );
    return whole.length === items.length ? whole : undefined;
  },
  show: (value) => value.map((pair) => pair.join("=")).join(","),
};

/** `mail=tcp://…` to a name and the rest; no endpoint or path that is meant as one starts so. */
export function splitName(text: string): [name: string | undefined, rest: string] {
  const [, name, rest] = /^\s*([^=:/]*)=(.*)$/s.exec(text) ?? [];
  return rest === undefined ? [undefined, text] : [name, rest.trim()];
}

/** What is wrong with the name of a service, as a sentence; `undefined`: nothing. */
export function faultOfName(name: string): string | undefined {
  if (!isServiceName(name)) {
    return complaint("the name of a service", SERVICE_NAME_CHARACTERS, name);
  }
  const reason = whySetAside(name);
  return reason && `the name "${name}" of a service is set aside: ${reason}`;
}

/** Says that an option concerns the whole server. */
export function belongsToServer(
  subject: string,
  service: string,
  names: readonly string[],
): string {
  return `${subject} concerns the whole server, not the service "${service}" alone: ` +
    `a service may have ${names.join(", ")}`;
}
