/**
 * The options of `serve()`, checked and with their defaults. Not here: which there are (table.ts), and
 * where an operator's texts come from (command.ts).
 *
 * @module
 */
import { resolve as resolvePath } from "node:path";
import { pathToFileURL } from "node:url";
import { isOpenToNetwork } from "../wire/endpoint.ts";
import { isRecord } from "../wire/json_object.ts";
import { complaint, unknownOption, wrongValue } from "./errors.ts";
import { hostedServices, isHandlerAlone } from "./hosted.ts";
import { checkJoin } from "./join.ts";
import { belongsToServer, faultOfName, SERVICE_OPTIONS } from "./services.ts";
import type { ServeOptions, ServiceOptions, Settings } from "./settings.ts";
import { MiB } from "./sizes.ts";
import { checkDurable, checkStored, locateStored, resolveSchedules } from "./stored_checks.ts";
import { OPTIONS, type OptionSpec } from "./table.ts";

/** The machine that the server runs on. */
export interface Machine {
  /** Number of CPUs. */
  cpus: number;
  /** Returns the current directory; called only for a handler that is a relative path. */
  cwd: () => string;
}

const HOOKS: readonly string[] = [
  "onListen",
  "onWorkerSpawn",
  "onWorkerReady",
  "onWorkerExit",
  "onResize",
  "onReload",
  "onError",
  "onIdle",
  "onStop",
];

const IN_CODE: readonly OptionSpec[] = OPTIONS.filter(({ scope }) => scope !== "text");
const OF_SERVICES = IN_CODE.filter(({ name }) => SERVICE_OPTIONS.includes(name));

/** How an error names an option. */
type Naming = (option: string) => string;

const quote: Naming = (option) => `"${option}"`;

/**
 * Checks options and fills in the defaults.
 *
 * Where two options limit each other, the one that is given moves the default of the other:
 * `maxWorkers: 1` makes `minWorkers` 1. Spare workers are always lowered to `maxWorkers` − 1.
 *
 * @param options What the caller wants.
 * @param machine Where the server runs.
 * @returns All options, with their values.
 * @throws {TypeError} If an option is unknown, has the wrong type, or lacks one that it needs.
 * @throws {RangeError} If a value is not allowed, alone or along with another.
 */
export function resolveOptions(options: ServeOptions, machine: Machine): Settings {
  requireRecord(options);
  const given = new Map<string, unknown>(Object.entries(options));
  for (const name of given.keys()) refuseUnknown(name);
  const values: Record<string, unknown> = {};
  for (const name of HOOKS) values[name] = hookOf(name, given.get(name));
  for (const spec of IN_CODE) {
    values[spec.name] = chosenOrDefault(spec, given.get(spec.name), machine.cpus);
  }
  values.signal = abortSignalOf(given.get("signal"));
  delete values.workers;
  if (!isSettings(values)) throw new TypeError("Cannot start: an option has no value");
  const { minWorkers, maxWorkers } = workerLimits(options, values, quote);
  checkUnmanned(options, maxWorkers, values.joinEndpoint, quote);
  const spares = spareLimits(options, values, maxWorkers, quote);
  checkBackground(values);
  checkMemoryLimit(values, quote);
  checkCurve(values);
  checkUsers(values, quote);
  checkBackend(values);
  checkMdp(values, values.mdp, quote);
  checkJoin(values, given);
  // A pool for another server has no clients of its own.
  if (values.join !== undefined) values.frontend = [];
  checkStored(values, quote);
  const stored = locateStored(values, machine.cwd);
  const around = { ...values, minWorkers, maxWorkers, ...stored, schedules: {} };
  const services = Object.entries(values.services).map(([name, given]) =>
    [name, resolveService(name, given, around, machine)] as const
  );
  checkEndpoints(values, services);
  const handler = locate(values.handler, machine);
  const all = { ...around, ...spares, handler, services: Object.fromEntries(services) };
  const hosted = hostedServices(all).map(([name]) => name);
  return { ...all, schedules: resolveSchedules(values.schedules, hosted, values.store) };
}

/** The settings of a service; what it does not set is as `around` it. */
function resolveService(
  name: string,
  given: unknown,
  around: Settings,
  machine: Machine,
): Settings {
  const fault = faultOfName(name);
  if (fault !== undefined) throw new RangeError(`Cannot start: ${fault}`);
  const naming: Naming = (option) => `"services.${name}.${option}"`;
  const own = requireService(name, given);
  const values: Record<string, unknown> = { ...around, handler: undefined, frontend: [] };
  for (const spec of OF_SERVICES) {
    const value = own[spec.name];
    if (value !== undefined) values[spec.name] = accept(spec, value, naming);
  }
  values.services = {};
  delete values.workers;
  if (!isSettings(values)) throw new TypeError("Cannot start: an option has no value");
  const { minWorkers, maxWorkers } = workerLimits(own, values, naming);
  checkUnmanned(own, maxWorkers, around.joinEndpoint, naming);
  const spares = spareLimits(own, values, maxWorkers, naming);
  checkMemoryLimit(values, naming);
  checkUsers(values, naming);
  checkDurable(values, naming);
  if (own.mdpWorkers !== undefined) checkOwnMdp(values, around.mdp, naming);
  return { ...values, minWorkers, maxWorkers, ...spares, handler: locate(values.handler, machine) };
}

/** The options of a service by their names; each is yet to be checked. */
function requireService(
  name: string,
  given: unknown,
): Partial<ServiceOptions> & Record<string, unknown> {
  if (isHandlerAlone(given)) return { handler: given };
  if (typeof given === "function") {
    throw new TypeError(`Cannot start: "services.${name}" must not be a function: ${MODULE_RULE}`);
  }
  if (!isRecord(given)) {
    throw new TypeError(refusal(`"services.${name}"`, "a handler or an object of options", given));
  }
  for (const option of Object.keys(given)) refuseInService(option, name);
  if (given.handler === undefined) {
    throw new TypeError(`Cannot start: "services.${name}.handler" is missing: a service needs one`);
  }
  return given;
}

function refuseInService(option: string, service: string): void {
  if (SERVICE_OPTIONS.includes(option)) return;
  const all = [...IN_CODE.map((spec) => spec.name), ...HOOKS, "signal"];
  if (all.includes(option)) {
    const reason = belongsToServer(`"${option}"`, service, SERVICE_OPTIONS);
    throw new TypeError(`Cannot start: ${reason}`);
  }
  throw new TypeError(unknownOption(option, SERVICE_OPTIONS, "", ` of the service "${service}"`));
}

/** Refuses what JavaScript, which checks no types, may pass in place of options: the handler, or its path. */
function requireRecord(options: unknown): void {
  if (typeof options === "function") throw new TypeError(`Cannot serve a function: ${MODULE_RULE}`);
  if (typeof options === "string" || options instanceof URL) {
    const path = JSON.stringify(String(options));
    throw new TypeError(`Cannot serve ${path} itself: use serve({ handler: ${path} })`);
  }
  if (isRecord(options)) return;
  throw new TypeError(refusal("the options", "an object", options));
}

const MODULE_RULE = "each worker is a process of its own, which loads the handler as a module; " +
  'make it the default export of a file, and use serve({ handler: new URL("./handler.ts", ' +
  "import.meta.url) })";

/**
 * Checks whether values can be given to `serve()`.
 *
 * @param values Values by the names of their options.
 * @returns Whether each is an option's, and allowed.
 */
export function isServeOptions(
  values: Record<string, unknown>,
): values is ServeOptions & typeof values {
  return Object.entries(values).every(([name, value]) =>
    IN_CODE.some(({ name: known, kind }) => known === name && kind.accept(value) !== undefined)
  );
}

function refuseUnknown(name: string): void {
  const names = [...IN_CODE.map((spec) => spec.name), ...HOOKS, "signal"];
  if (names.includes(name)) return;
  throw new TypeError(unknownOption(name, names));
}

/** The value of an option, checked; its default if none was given. */
function chosenOrDefault(spec: OptionSpec, value: unknown, cpus: number): unknown {
  if (value === undefined && spec.perCpu !== undefined) return spec.perCpu * cpus;
  const chosen = value === undefined ? spec.fallback : value;
  return chosen === undefined ? undefined : accept(spec, chosen, quote);
}

/** A value that was given, checked. */
function accept(spec: OptionSpec, value: unknown, naming: Naming): unknown {
  const accepted = spec.kind.accept(value);
  if (accepted !== undefined) return accepted;
  const subject = naming(spec.name);
  if (spec.name === "handler" && typeof value === "function") {
    throw new TypeError(
      `Cannot start: ${subject} must be a module, not a function: ${MODULE_RULE}`,
    );
  }
  throw wrongValue(refusal(subject, spec.kind.rule, value), spec.kind.isType(value));
}

function hookOf(name: string, value: unknown): unknown {
  if (value === undefined || typeof value === "function") return value;
  throw new TypeError(refusal(`"${name}"`, "a function", value));
}

function abortSignalOf(value: unknown): unknown {
  if (value === undefined || value instanceof AbortSignal) return value;
  throw new TypeError(refusal('"signal"', "an AbortSignal", value));
}

function refusal(subject: string, rule: string, value: unknown): string {
  return `Cannot start: ${complaint(subject, rule, value)}`;
}

/** Every setting without a default is one that may be open. */
function isSettings(values: Record<string, unknown>): values is Settings & typeof values {
  return IN_CODE.every(({ name, fallback, perCpu }) =>
    values[name] !== undefined || (fallback === undefined && perCpu === undefined)
  );
}

function workerLimits(options: Partial<ServiceOptions>, defaults: Settings, naming: Naming) {
  const min = options.minWorkers ?? options.workers;
  const max = options.maxWorkers ?? options.workers;
  const minWorkers = min ?? Math.min(defaults.minWorkers, max ?? Infinity);
  const maxWorkers = max ?? Math.max(defaults.maxWorkers, minWorkers);
  if (minWorkers <= maxWorkers) return { minWorkers, maxWorkers };
  const rule = `at most ${naming("maxWorkers")} (${maxWorkers})`;
  throw new RangeError(refusal(naming("minWorkers"), rule, minWorkers));
}

/** Who has no workers of its own needs others that may come; a minimum of 0 alone would never start one. */
function checkUnmanned(
  { minWorkers, maxWorkers }: Partial<ServiceOptions>,
  most: number,
  joinEndpoint: string | undefined,
  naming: Naming,
): void {
  const name = minWorkers === 0 ? "minWorkers" : maxWorkers === 0 ? "maxWorkers" : "workers";
  if (most === 0 && joinEndpoint === undefined) {
    const rule = "an integer >= 1 where no other machine can join";
    throw new RangeError(refusal(naming(name), rule, 0));
  }
  if (most > 0 && minWorkers === 0) {
    const exception = joinEndpoint === undefined
      ? ""
      : `, unless ${naming("maxWorkers")} is 0, too`;
    const rule = `an integer >= 1${exception}`;
    throw new RangeError(refusal(naming("minWorkers"), rule, 0));
  }
}

function spareLimits(
  options: Partial<ServiceOptions>,
  defaults: Settings,
  maxWorkers: number,
  naming: Naming,
) {
  const { minSpareWorkers: min, maxSpareWorkers: max } = options;
  if (min !== undefined && max !== undefined && min > max) {
    const rule = `at most ${naming("maxSpareWorkers")} (${max})`;
    throw new RangeError(refusal(naming("minSpareWorkers"), rule, min));
  }
  const most = max ?? Math.max(defaults.maxSpareWorkers, min ?? 0);
  const maxSpareWorkers = Math.min(most, Math.max(0, maxWorkers - 1));
  const minSpareWorkers = Math.min(min ?? defaults.minSpareWorkers, maxSpareWorkers);
  return { minSpareWorkers, maxSpareWorkers };
}

function checkBackground({ background, pidFile, logFile }: Settings): void {
  if (!background || (pidFile !== undefined && logFile !== undefined)) return;
  const missing = pidFile === undefined ? "pidFile" : "logFile";
  throw new TypeError(
    `Cannot start: "background" needs "pidFile" and "logFile": "${missing}" is not set`,
  );
}

/** V8 itself needs some of it: with less, no worker would come up. */
const LEAST_MEMORY_LIMIT = 16 * MiB;

function checkMemoryLimit({ memoryLimit }: Settings, naming: Naming): void {
  if (memoryLimit === 0 || memoryLimit >= LEAST_MEMORY_LIMIT) return;
  throw new RangeError(
    refusal(naming("memoryLimit"), `0 or >= ${LEAST_MEMORY_LIMIT} (16 MiB)`, memoryLimit),
  );
}

/** Without a list every client that makes itself a key may connect, so "any" has to be written. */
function checkCurve({ curveSecretKey, curveClients }: Settings): void {
  if (curveSecretKey !== undefined && curveClients === undefined) {
    throw new TypeError(
      'Cannot start: "curveSecretKey" needs "curveClients", a file that lists clients, or "any"',
    );
  }
  if (curveSecretKey === undefined && curveClients !== undefined) {
    throw new TypeError(
      'Cannot start: "curveClients" needs "curveSecretKey", which is not set',
    );
  }
}

/** Only a list gives clients names. */
function checkUsers({ users, curveClients }: Settings, naming: Naming): void {
  if (users === undefined || (curveClients !== undefined && curveClients !== "any")) return;
  const needed = '"curveClients", a file that gives clients their names';
  throw new TypeError(`Cannot start: ${naming("users")} needs ${needed}`);
}

/** One endpoint has one owner; the system would only say that it is in use. */
function checkEndpoints(
  { frontend, mdp, jobs, events }: Settings,
  services: readonly (readonly [name: string, settings: Settings])[],
): void {
  const owners = new Map<string, string>();
  for (const endpoint of frontend) owners.set(endpoint, '"frontend"');
  for (const endpoint of mdp) owners.set(endpoint, '"mdp"');
  for (const endpoint of jobs) owners.set(endpoint, '"jobs"');
  for (const endpoint of events) owners.set(endpoint, '"events"');
  for (const [name, own] of services) {
    const subject = `"services.${name}.frontend"`;
    for (const endpoint of own.frontend.filter((each) => !/:(\*|0)$/.test(each))) {
      const owner = owners.get(endpoint) ?? subject;
      if (owner !== subject) {
        throw new RangeError(
          `Cannot start: "${endpoint}" can't be in ${owner} and in ${subject}: ` +
            "an endpoint belongs to one service, or to all",
        );
      }
      owners.set(endpoint, subject);
    }
  }
}

/** A hostile peer can end the process over plain tcp, and only workers of this machine need it. */
function checkBackend({ backend, curveSecretKey }: Settings): void {
  if (backend === undefined || curveSecretKey !== undefined || !isOpenToNetwork(backend)) return;
  const rule = 'ipc, or tcp on loopback, as long as "curveSecretKey" is not set';
  throw new RangeError(refusal('"backend"', rule, backend));
}

function checkMdp(
  { mdpWorkers, curveClients }: Settings,
  mdp: readonly string[],
  naming: Naming,
): void {
  if (mdpWorkers === "none") return;
  const subject = naming("mdpWorkers");
  if (mdp.length === 0) {
    throw new TypeError(`Cannot start: ${subject} needs "mdp", where they come to: it is not set`);
  }
  if (mdpWorkers === "any" || (curveClients !== undefined && curveClients !== "any")) return;
  const needed = '"curveClients", a file that gives clients their names';
  throw new TypeError(`Cannot start: ${subject} needs ${needed}`);
}

/** Beside a handler nobody works whom nobody knows. */
function checkOwnMdp(settings: Settings, mdp: readonly string[], naming: Naming): void {
  if (settings.mdpWorkers === "any") {
    const rule = '"none" or a list of the names of clients, as the service has a handler';
    throw new RangeError(refusal(naming("mdpWorkers"), rule, "any"));
  }
  checkMdp(settings, mdp, naming);
}

function locate(handler: string | undefined, machine: Machine): string | undefined {
  if (handler === undefined || /^[a-z][a-z0-9+.-]*:/i.test(handler)) return handler;
  const from = handler.startsWith("/") ? "/" : machine.cwd();
  return pathToFileURL(resolvePath(from, handler)).href;
}
