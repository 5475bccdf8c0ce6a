/**
 * What a handler throws or logs, as text of bounded length. The value may be hostile (getters that throw,
 * proxies, a `toString` of its own), so nothing here ever throws. Runs the handler's own code: call it
 * before the first frame of a message is sent.
 *
 * @module
 */

/** The most characters of a message. */
export const MAX_TEXT = 8192;
/** The most characters of all fields of a log line. */
const MAX_ALL_FIELDS = 12_288;
/** The most characters of one field. */
const MAX_FIELD = 1024;
/** The most characters of a stack. */
const MAX_STACK = 4096;
const MAX_FIELDS = 64;
const UNSHOWN = "A value that can't be shown";
/** As they were before the handler could replace them. */
const inspect = Deno.inspect;
const stringify = JSON.stringify;

/** A value as text: text as it is, an error as its name and message, all else as `console.log` shows it. */
export function show(value: unknown): string {
  return guarded(() => {
    if (typeof value === "string") return cut(value);
    if (value instanceof Error) return withOurFlags(cut(`${value.name}: ${value.message}`));
    return inspected(value);
  });
}

/** An error's message without its name and its stack; anything else that was thrown, as text. */
export function showMessage(error: unknown): string {
  return guarded(() => {
    if (error instanceof Error) return withOurFlags(cut(String(error.message)));
    return typeof error === "object" && error !== null ? inspected(error) : cut(String(error));
  });
}

/** An error with its stack and its causes; "" for what is not an error. */
export function showStack(error: unknown): string {
  return guarded(
    () => error instanceof Error ? withOurFlags(inspected(error)).slice(0, MAX_STACK) : "",
    "",
  );
}

/** Where in the handler an error comes from, as `file:///…/handler.ts:3:9`; "" if that is not known. */
export function placeOf(error: unknown): string {
  return guarded(() => {
    const stack = error instanceof Error ? String(error.stack) : "";
    const places = [...stack.matchAll(PLACE)].map(([place]) => place);
    return places.find((place) => !OWN_FILES.some((own) => place.startsWith(own))) ?? "";
  }, "");
}

/** A file or module, a line and a column, in a stack. */
const PLACE = /\b(?:file|https?|npm|jsr):[^\s()]+:\d+:\d+/g;
const OWN_FILES = ["worker.ts", "worker/", "system/", "wire/", "zmq/"].map((file) =>
  new URL(`../${file}`, import.meta.url).href
);

/** The fields of a log line as a JSON object of plain values; an error's stack is one; "" for none. */
export function showFields(fields: unknown, message: unknown): string {
  return guarded(() => {
    const stack = showStack(message);
    const given = typeof fields === "object" && fields !== null ? Object.entries(fields) : [];
    const texts = given.slice(0, MAX_FIELDS).flatMap(([name, value]) => {
      return value === undefined ? [] : [field(name, plain(value))];
    });
    if (stack !== "") texts.unshift(field("stack", stack));
    let room = MAX_ALL_FIELDS;
    const fitting = texts.filter((text) => (room -= text.length) >= 0);
    return fitting.length === 0 ? "" : `{${fitting.join()}}`;
  }, "");
}

function field(name: string, value: string | number | boolean): string {
  return `${stringify(name.slice(0, MAX_FIELD))}:${stringify(value)}`;
}

function plain(value: unknown): string | number | boolean {
  if (typeof value === "boolean") return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  return show(value).slice(0, MAX_FIELD);
}

/**
 * Deno's hints name its own flags, which are not those of the server: there a worker's permissions are
 * `--handler-allow-…`, and all of them are needed where C code is to run.
 */
function withOurFlags(text: string): string {
  return text
    .replace(FFI_FLAG, "--handler-allow-all flag: native addons and FFI need all permissions")
    .replace(DENO_FLAG, "--handler-allow-$1");
}

const FFI_FLAG = /(?<![\w-])--allow-ffi(?: flag)?/g;
const DENO_FLAG = /(?<![\w-])--allow-(read|write|net|env|run|sys|import|all)\b/g;

function inspected(value: unknown): string {
  return cut(inspect(value, { colors: false, breakLength: Infinity, strAbbreviateSize: MAX_TEXT }));
}

function cut(text: string): string {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

/** The text that `look` returns; `otherwise` if that throws or is not text. */
function guarded(look: () => string, otherwise = UNSHOWN): string {
  try {
    const text: unknown = look();
    return typeof text === "string" ? text : otherwise;
  } catch {
    return otherwise;
  }
}
