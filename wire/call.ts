/**
 * Calls of named functions, and what comes of them: the bodies of requests to a handler made with `rpc`, and of its
 * answers. Builds and reads frames; no I/O.
 *
 * ```text
 * call      [{"call": name, "args": [value…], "bytes": [path…]}] [bytes…]
 * question  [{"describe": true}]                 which calls there are
 * result    [{"result": value, "bytes": [path…]}] [bytes…]
 * part      [{"part": value, "bytes": [path…]}] [bytes…]
 * ```
 *
 * The first frame is JSON. Where a value has bytes, the JSON has null; the n-th path of `bytes` says where the n-th of
 * the other frames belongs: a list of keys and indexes, from `args`, `result` or `part` on. Without `args` or `bytes`
 * there are none, without `result` it is undefined. All parts in one message stand one behind the other. Docs:
 * docs/protocol.md.
 *
 * @module
 */

type Bytes = Uint8Array<ArrayBufferLike>;
type Step = string | number;
type Path = readonly Step[];

/** Maximum levels of lists and objects in a value. */
export const MAX_DEPTH = 128;
/** Maximum arguments of a call. */
export const MAX_ARGS = 255;
/** The head is a level, too. */
const MAX_TEXT_DEPTH = MAX_DEPTH + 1;

const utf8 = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true });

/** What a peer sent is not what it must be. The message says why, for people. */
export class CallFault extends Error {
  /** Always "CallFault". */
  override readonly name = "CallFault";
}

/** What a request asks for. */
export type CallRequest =
  | { readonly do: "describe" }
  | { readonly do: "call"; readonly name: string; readonly args: readonly unknown[] };

/** What an answer has: a result, or the values of all parts. */
export type CallAnswer =
  | { readonly is: "result"; readonly value: unknown }
  | { readonly is: "parts"; readonly values: readonly unknown[] };

/** The question which calls there are. */
export const DESCRIBE: Uint8Array<ArrayBuffer> = utf8.encode('{"describe":true}');

/**
 * The frames of a call. Arguments at the end that are undefined are left out.
 *
 * @throws {TypeError} when an argument can't be sent; the message says which one, and why.
 */
export function buildCall(name: string, args: readonly unknown[]): Bytes[] {
  const given = [...args];
  while (given.length > 0 && given.at(-1) === undefined) given.pop();
  return build({ call: name }, "args", given);
}

/**
 * The frames of a result, or of a part.
 *
 * @throws {TypeError} when the value can't be sent; the message says what of it, and why.
 */
export function buildAnswer(kind: "result" | "part", value: unknown): Bytes[] {
  return value === undefined && kind === "result" ? [utf8.encode("{}")] : build({}, kind, value);
}

function build(head: Record<string, unknown>, key: string, value: unknown): Bytes[] {
  const writer = new ValueWriter(key);
  head[key] = writer.write(value);
  if (writer.paths.length > 0) head.bytes = writer.paths;
  return [utf8.encode(JSON.stringify(head)), ...writer.frames];
}

/** Makes a JSON value of any value, and sets its bytes apart. */
class ValueWriter {
  readonly frames: Bytes[] = [];
  readonly paths: Path[] = [];
  readonly #root: string;
  /** Where in the value it is. */
  readonly #path: Step[] = [];

  /** `root` names the value in errors. */
  constructor(root: string) {
    this.#root = root;
  }

  /** @throws {TypeError} when JSON would lose something of the value without a word. */
  write(value: unknown): unknown {
    if (typeof value === "string" || typeof value === "boolean" || value === null) return value;
    if (typeof value === "number") return this.#number(value);
    if (typeof value === "object") return this.#object(value);
    throw this.#refusal(value === undefined ? "undefined" : `a ${typeof value}`);
  }

  #number(value: number): number {
    if (Number.isFinite(value)) return value;
    throw this.#refusal(String(value));
  }

  #object(value: object): unknown {
    if (value instanceof Uint8Array) return this.#bytes(value);
    if ("toJSON" in value && typeof value.toJSON === "function") {
      return this.#converted(value, value.toJSON(String(this.#path.at(-1) ?? "")));
    }
    return this.#composite(value);
  }

  #bytes(value: Bytes): null {
    this.frames.push(value);
    this.paths.push([...this.#path]);
    return null;
  }

  /** What a value's `toJSON` has made of it, which is not asked to convert itself again. */
  #converted(value: object, made: unknown): unknown {
    if (made === null && value instanceof Date) throw this.#refusal("an invalid Date");
    const isComposite = typeof made === "object" && made !== null && !(made instanceof Uint8Array);
    return isComposite ? this.#composite(made) : this.write(made);
  }

  #composite(value: object): unknown {
    if (this.#path.length >= MAX_DEPTH) {
      throw this.#refusal(`deeper than ${MAX_DEPTH} levels, or contains itself`);
    }
    if (Array.isArray(value)) return Array.from(value, (item, index) => this.#at(index, item));
    const tag = Object.prototype.toString.call(value).slice("[object ".length, -1);
    if (tag !== "Object" && tag !== "Module") {
      throw this.#refusal(/^[AEIOU]/.test(tag) ? `an ${tag}` : `a ${tag}`);
    }
    return this.#record(value);
  }

  #record(value: object): Record<string, unknown> {
    const copy: Record<string, unknown> = {};
    for (const [key, item] of Object.entries(value)) {
      if (key === "__proto__") throw this.#refusal('an object with a key "__proto__"');
      if (item !== undefined) copy[key] = this.#at(key, item);
    }
    return copy;
  }

  #at(step: Step, value: unknown): unknown {
    this.#path.push(step);
    const written = this.write(value);
    this.#path.pop();
    return written;
  }

  #refusal(what: string): TypeError {
    const steps = this.#path.map((step) =>
      typeof step === "number"
        ? `[${step}]`
        : /^[A-Za-z_$][\w$]*$/.test(step)
        ? `.${step}`
        : `[${JSON.stringify(step)}]`
    );
    const place = this.#root + steps.join("");
    return new TypeError(
      `Cannot send ${cut(place)}: it is ${what}, but must be JSON or a Uint8Array`,
    );
  }
}

const EXAMPLE = '{"call":"add","args":[1,2]}';

/**
 * Reads a request.
 *
 * @throws {CallFault} when it is none.
 */
export function readCall(frames: readonly Bytes[]): CallRequest {
  const [first = new Uint8Array(0), ...others] = frames;
  const head = readHead(first, `The first frame must be a call, such as ${EXAMPLE}`);
  if (Object.hasOwn(head, "describe")) return readQuestion(head, others);
  refuseUnknown(head, ["call", "args", "bytes"]);
  const { call: name, args = [] } = head;
  if (typeof name !== "string") throw new CallFault(`"call" must be a text, as in ${EXAMPLE}`);
  if (!Array.isArray(args)) throw new CallFault(`"args" must be a list, as in ${EXAMPLE}`);
  if (args.length > MAX_ARGS) {
    throw new CallFault(`"args" must have at most ${MAX_ARGS} values: it has ${args.length}`);
  }
  place(head, "args", others);
  return { do: "call", name, args };
}

function readQuestion(head: Head, others: readonly Bytes[]): CallRequest {
  refuseUnknown(head, ["describe"]);
  if (head.describe !== true) throw new CallFault('"describe" must be true');
  if (others.length > 0) throw new CallFault('"describe" takes no other frames');
  return { do: "describe" };
}

/**
 * Reads the answer to a call: a result, or all parts together.
 *
 * @throws {CallFault} when it is none.
 */
export function readAnswer(frames: readonly Bytes[]): CallAnswer {
  try {
    return read(frames);
  } catch (error) {
    if (!(error instanceof CallFault)) throw error;
    throw new CallFault(`The answer is not that of a call: ${error.message}`);
  }
}

function read(frames: readonly Bytes[]): CallAnswer {
  const parts: unknown[] = [];
  if (isEmpty(frames)) return { is: "parts", values: parts };
  for (let at = 0; at < frames.length;) {
    const { kind, value, end } = readValue(frames, at);
    if (kind === "part") parts.push(value);
    else if (at === 0 && end === frames.length) return { is: "result", value };
    else throw new CallFault("It has a result and something else");
    at = end;
  }
  return { is: "parts", values: parts };
}

/** An answer in parts of which there are none. */
function isEmpty(frames: readonly Bytes[]): boolean {
  return frames.length === 0 || (frames.length === 1 && frames[0]?.length === 0);
}

/** Reads the result or the part whose first frame is at `start`; `end` is that of the frame behind it. */
function readValue(
  frames: readonly Bytes[],
  start: number,
): { kind: "result" | "part"; value: unknown; end: number } {
  const head = readHead(frames[start] ?? new Uint8Array(0), "The first frame must be JSON");
  const kind = Object.hasOwn(head, "part") ? "part" : "result";
  refuseUnknown(head, [kind, "bytes"]);
  const end = start + 1 + (Array.isArray(head.bytes) ? head.bytes.length : 0);
  place(head, kind, frames.slice(start + 1, end));
  return { kind, value: head[kind], end };
}

type Head = Record<string, unknown>;

/** The first frame as an object, which has no key that could be taken for an object's prototype. */
function readHead(frame: Bytes, rule: string): Head {
  refuseDeep(frame);
  const head = parse(frame, rule);
  if (!isRecord(head)) throw new CallFault(rule);
  return head;
}

function parse(frame: Bytes, rule: string): unknown {
  try {
    const text = strict.decode(frame);
    const value: unknown = JSON.parse(text);
    // A key can be written with escapes, too.
    if (text.includes("__proto__") || text.includes("\\u00")) refuseProto(value);
    return value;
  } catch (error) {
    if (error instanceof CallFault) throw error;
    throw new CallFault(`${rule}: ${cut(error instanceof Error ? error.message : String(error))}`);
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** `[` and `{`, `]` and `}`: they differ in a bit from one another. */
const OPENING = 0x5b;
const CLOSING = 0x5d;
const SHAPE = 0xdf;

/** Before anything is made of the text: what is nested takes much more memory than its text. */
function refuseDeep(text: Bytes): void {
  if (text.length <= 2 * MAX_TEXT_DEPTH) return;
  let depth = 0;
  let isText = false;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at] ?? 0;
    if (byte === QUOTE) isText = !isText;
    else if (isText) at += byte === BACKSLASH ? 1 : 0;
    else if ((byte & SHAPE) === OPENING) depth++;
    else if ((byte & SHAPE) === CLOSING) depth--;
    if (depth > MAX_TEXT_DEPTH) {
      throw new CallFault(`Values must have at most ${MAX_DEPTH} levels of lists and objects`);
    }
  }
}

function refuseProto(value: unknown): void {
  const left: unknown[] = [value];
  while (left.length > 0) {
    const next = left.pop();
    if (typeof next !== "object" || next === null) continue;
    if (Object.hasOwn(next, "__proto__")) {
      throw new CallFault('An object must not have a key "__proto__"');
    }
    for (const item of Object.values(next)) left.push(item);
  }
}

function refuseUnknown(head: Head, known: readonly string[]): void {
  const name = Object.keys(head).find((key) => !known.includes(key));
  if (name === undefined) return;
  const names = known.map((each) => `"${each}"`).join(", ");
  throw new CallFault(`Unknown key ${JSON.stringify(cut(name))}: known are ${names}`);
}

/** Puts the bytes where the head says that they belong. */
function place(head: Head, root: string, frames: readonly Bytes[]): void {
  const { bytes: paths = [] } = head;
  if (!Array.isArray(paths)) throw new CallFault('"bytes" must be a list of paths');
  if (paths.length !== frames.length) {
    throw new CallFault(
      `"bytes" must have a path for each frame behind the first: ` +
        `there are ${paths.length} paths and ${frames.length} frames`,
    );
  }
  frames.forEach((frame, index) => placeOne(head, root, paths[index], frame));
}

function placeOne(head: Head, root: string, path: unknown, frame: Bytes): void {
  if (!Array.isArray(path)) throw wrongPath(path);
  let holder: unknown = head;
  let step: unknown = root;
  for (const next of path) {
    holder = ownAt(holder, step, path);
    step = next;
  }
  if (ownAt(holder, step, path) !== null) throw wrongPath(path);
  if (Array.isArray(holder) && typeof step === "number") holder[step] = frame;
  else if (isRecord(holder) && typeof step === "string") holder[step] = frame;
}

/** What a list has at an index, or an object at a key of its own. */
function ownAt(holder: unknown, step: unknown, path: unknown): unknown {
  if (Array.isArray(holder)) {
    if (typeof step === "number" && Number.isInteger(step) && step >= 0 && step < holder.length) {
      return holder[step];
    }
  } else if (isRecord(holder) && typeof step === "string" && Object.hasOwn(holder, step)) {
    return holder[step];
  }
  throw wrongPath(path);
}

function wrongPath(path: unknown): CallFault {
  const shown = cut(JSON.stringify(path));
  return new CallFault(`A path of "bytes" must lead to a null of its own: ${shown} does not`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Uint8Array);
}

/** Maximum characters of what is quoted. */
const MAX_QUOTED = 200;

function cut(text: string): string {
  return text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text;
}
