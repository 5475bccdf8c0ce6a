/**
 * What an imported module offers as a handler. Inspects values; imports and calls nothing.
 *
 * @module
 */

import type { HandlerModule } from "./handler.ts";

/** A module's exports by name. */
export type Exports = Readonly<Record<string, unknown>>;

/** Exports that a handler may have along with the default one. */
export const HOOKS = ["init", "finish", "allow", "dequeue"] as const;

/**
 * The exports of a module. CommonJS has one value, `module.exports`, which comes as the default export:
 * what TypeScript's compiler writes there (`exports.default`) is meant as the module's own.
 */
export function exportsOf(module: unknown): Exports {
  if (!isRecord(module)) return {};
  const inner = module.default;
  const isCommonJs = "module.exports" in module || (isRecord(inner) && inner.__esModule === true);
  if (!isCommonJs || !isRecord(inner)) return module;
  return Object.fromEntries(["default", ...HOOKS].map((name) => [name, inner[name]]));
}

/**
 * The exports of a module, checked.
 *
 * @throws {TypeError} when an export that is needed is missing, or one is not a function.
 */
export function checkModule(
  module: unknown,
  config: { needsDequeue: boolean },
): HandlerModule {
  const exports = exportsOf(module);
  if (!isHandlerModule(exports)) throw new TypeError(faultOfHandler(exports));
  for (const name of HOOKS) {
    if (exports[name] !== undefined && typeof exports[name] !== "function") {
      throw new TypeError(`The module's export "${name}" must be a function`);
    }
  }
  if (config.needsDequeue && exports.dequeue === undefined) {
    throw new TypeError('The module must export a function "dequeue", as "dequeueInterval" is set');
  }
  return exports;
}

function isHandlerModule(exports: Exports): exports is Exports & HandlerModule {
  return faultOfHandler(exports) === undefined;
}

/** What is wrong with the exports of a handler; undefined: its default export answers requests. */
export function faultOfHandler(exports: Exports): string | undefined {
  const answer = exports.default;
  const rule = "The module must export a function as default";
  if (answer === undefined) return `${rule}: it ${listOf(exports)}`;
  if (typeof answer !== "function") return `${rule}: it exports ${describe(answer)}`;
  const source = sourceOf(answer);
  if (/^class\b/.test(source)) {
    return `${rule}: it exports a class, which can't be called; export a function that uses it`;
  }
  if (/^(function\s*)?\*/.test(source)) {
    return `${rule}: it exports a generator; make it an async function*, or return all frames as an array`;
  }
}

function listOf(exports: Exports): string {
  const names = Object.keys(exports).filter((name) => exports[name] !== undefined);
  if (names.length === 0) return "exports nothing";
  const named = names.find((name) => typeof exports[name] === "function" && !isHook(name));
  const way = named === undefined ? "" : `; is "${named}" meant to be the default?`;
  return `exports only ${names.map((name) => `"${name}"`).join(", ")}${way}`;
}

function isHook(name: string): boolean {
  return HOOKS.some((hook) => hook === name);
}

function describe(value: unknown): string {
  if (value instanceof Promise) return "a promise, which must be awaited";
  if (Array.isArray(value)) return "an array";
  if (!isRecord(value)) return value === null ? "null" : `a ${typeof value}`;
  const names = Object.keys(value).filter((name) => typeof value[name] === "function");
  return names.length === 0 ? "an object" : `an object with ${names.map(quote).join(", ")}`;
}

function quote(name: string): string {
  return `"${name}"`;
}

/** A function's source text, however its own `toString` was replaced. */
function sourceOf(value: unknown): string {
  return Function.prototype.toString.call(value);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
