/**
 * The client's command line: reads the arguments, asks, prints the replies.
 *
 * @module
 */

import { setImmediate } from "node:timers";
import { parseArgs } from "@std/cli/parse-args";
import { commandName, VERSION } from "./program.ts";
import type { RequestBody } from "../client/bodies.ts";
import type { ClientOptions, CurveOptions, RequestOptions, Retry } from "../client/options.ts";
import { AbandonedError, Reply, ReplyError } from "../client/reply.ts";
import { Stderr } from "./stderr.ts";
import { Waiting } from "./waiting.ts";
import { messageOf } from "../system/errors.ts";

const encoder = new TextEncoder();

/** What the command needs of a client. */
export interface Asking extends AsyncDisposable {
  /** Asks, and waits for the answer. */
  request(body: RequestBody, options: RequestOptions): Promise<Reply>;
  /** What the requests under way wait for, as half a sentence; undefined: there are none. */
  readonly waitingFor: string | undefined;
}

/** What the program around the command brings. */
export interface Program {
  /** The URL of the program's main module, for its help. */
  url: string;
  /** Makes the client. */
  makeClient(options: ClientOptions): Asking;
}

const HELP = `
The request is --data, or what the files contain, or standard input. One newline at the end of the
files or of standard input is left off. Only replies go to stdout.

Options:
  -e, --endpoint ENDPOINT  where the server is (tcp://localhost:6660); may be repeated, or be a list
                           with commas: servers that stand in for each other, taken in turn
  -t, --timeout TIME       how long one try waits: seconds, or 500ms, 10s, 5m (10s)
  -r, --retries N          how often an unanswered request is sent again (2)
  -i, --identity NAME      the name that the server knows this client by
      --curve-server-key KEY|FILE
                           the public key of a server that asks for keys, or its file
      --curve-key FILE     this client's secret key; without it, one is made that nobody knows
      --data TEXT          the request
  -k, --key KEY            a name for the request: while another of that name is under way, or its
                           answer is kept, this one gets the same answer
      --request-timeout TIME
                           how long the handler may run (as long as the server lets it)
      --plain              send the bare envelope of a REQ socket
      --lines              each line is a request; the replies come in the order of the lines
  -j N                     with --lines: so many requests at a time (1)
      --raw                print the reply as it is, with no newline after each frame
  -q, --quiet              don't say what is waited for, and show no progress bar
  -V, --version            print the version
  -h, --help               show this help

Exit status: 0 answered, 1 error reply, 2 usage or local error, 3 no answer. With --lines, that of
the worst line.
`;

/** What the command line asks for. */
interface Command {
  client: ClientOptions;
  request: RequestOptions;
  /** The request itself; undefined: read `files`, or stdin if there are none. */
  text: string | undefined;
  files: string[];
  lines: boolean;
  jobs: number;
  raw: boolean;
  quiet: boolean;
  help: boolean;
  version: boolean;
}

/** Reads the arguments, or throws a TypeError or RangeError. */
function readCommand(args: string[]): Command {
  const unknown: string[] = [];
  const flags: Record<string, unknown> = parseArgs(args, {
    string: [
      "endpoint",
      "timeout",
      "retries",
      "identity",
      "key",
      "request-timeout",
      "data",
      "j",
      "_",
      ...CURVE_FLAGS,
    ],
    collect: ["endpoint"],
    boolean: ["plain", "lines", "raw", "quiet", "help", "version"],
    alias: {
      endpoint: "e",
      timeout: "t",
      retries: "r",
      identity: "i",
      key: "k",
      quiet: "q",
      help: "h",
      version: "V",
    },
    unknown: (arg, key) => key === undefined || (unknown.push(arg), false),
  });
  if (unknown.length > 0) throw new TypeError(`Cannot run as there is no option "${unknown[0]}"`);
  const option = (name: string) => typeof flags[name] === "string" ? flags[name] : undefined;
  const [timeout, retries, jobs] = [option("timeout"), option("retries"), option("j")];
  const client = {
    endpoint: readEndpoints(flags.endpoint),
    timeout: timeout === undefined ? undefined : readDuration("--timeout", timeout),
    retries: retries === undefined ? undefined : readInteger("--retries", retries, 0),
    identity: option("identity"),
    plain: flags.plain === true,
    curve: readCurve(option("curve-server-key"), option("curve-key")),
  };
  const runTimeout = option("request-timeout");
  const request = {
    key: option("key"),
    requestTimeout: runTimeout === undefined
      ? undefined
      : readDuration("--request-timeout", runTimeout),
  };
  const command = {
    client,
    request,
    text: option("data"),
    // parseArgs takes the value of --data "" for an argument of its own.
    files: Array.isArray(flags._) ? flags._.map(String).filter((path) => path !== "") : [],
    lines: flags.lines === true,
    jobs: jobs === undefined ? 1 : readInteger("-j", jobs, 1),
    raw: flags.raw === true,
    quiet: flags.quiet === true,
    help: flags.help === true,
    version: flags.version === true,
  };
  checkCombination(command, jobs !== undefined);
  return command;
}

/** All that were named: a list's commas stand ahead of the next one's scheme, for paths may have some. */
function readEndpoints(values: unknown): string[] | undefined {
  if (!Array.isArray(values) || values.length === 0) return undefined;
  return values.flatMap((value) => String(value).split(/,(?=(?:tcp|ipc):)/));
}

const CURVE_FLAGS = ["curve-server-key", "curve-key"];

function readCurve(
  serverKey: string | undefined,
  keyFile: string | undefined,
): CurveOptions | undefined {
  if (serverKey !== undefined) return { serverKey, keyFile };
  if (keyFile === undefined) return undefined;
  throw new TypeError(`Cannot run with "--curve-key" alone: it needs "--curve-server-key"`);
}

function checkCombination(
  { client, request, text, files, lines, jobs }: Command,
  hasJobs: boolean,
): void {
  if (text !== undefined && files.length > 0) {
    throw new TypeError(`Cannot run with "--data" and files: give one or the other`);
  }
  if (lines && request.key !== undefined) {
    throw new TypeError(`Cannot run with "--lines" and "--key": each line is a request of its own`);
  }
  if (hasJobs && !lines) throw new TypeError(`Cannot run with "-j" alone: it needs "--lines"`);
  if (jobs > 1 && client.plain && client.identity !== undefined) {
    throw new TypeError(`Cannot run with "--plain" and "--identity" and more than one at a time`);
  }
}

const UNIT_MS = new Map([["ms", 1], ["s", 1000], ["m", 60_000], ["h", 3_600_000]]);

/** Milliseconds; a bare number is seconds. */
function readDuration(name: string, text: string): number {
  const [, number, unit = "s"] = /^(\d+\.?\d*|\.\d+)(ms|s|m|h)?$/.exec(text) ?? [];
  if (number !== undefined) return Number(number) * (UNIT_MS.get(unit) ?? NaN);
  throw new TypeError(
    `Cannot run as "${name}" must be like 10, 500ms, 10s or 5m: current value is "${text}"`,
  );
}

function readInteger(name: string, text: string, min: number): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && number >= min) return number;
  throw new RangeError(
    `Cannot run as "${name}" must be an integer >= ${min}: current value is "${text}"`,
  );
}

/** Where a request's bytes come from. */
interface Input {
  chunks: AsyncIterable<Uint8Array>;
  /** Bytes in it, if that is known. */
  size: number | undefined;
}

/** Opens all inputs, so that a missing file is found before anything is sent. */
function openInputs({ text, files }: Command): Input[] {
  if (text !== undefined) {
    const bytes = encoder.encode(text);
    return [{ chunks: ReadableStream.from([bytes]), size: bytes.length }];
  }
  return files.length === 0 ? [openInput("-")] : files.map(openInput);
}

function openInput(path: string): Input {
  if (path === "-") return { chunks: Deno.stdin.readable, size: fileSize("/dev/stdin") };
  return { chunks: Deno.openSync(path).readable, size: fileSize(path) };
}

function fileSize(path: string): number | undefined {
  try {
    const { isFile, size } = Deno.statSync(path);
    return isFile ? size : undefined;
  } catch {
    return undefined; // /dev/stdin does not exist everywhere, and can be a closed pipe
  }
}

/** All of the inputs as one body. */
async function readBody(command: Command): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (const input of openInputs(command)) {
    for await (const chunk of input.chunks) chunks.push(chunk);
  }
  const body = concat(chunks);
  const chomp = command.text === undefined && body.at(-1) === NEWLINE;
  return chomp ? body.subarray(0, -1) : body;
}

/**
 * Lines without their newlines, those that end in a chunk at a time; the last one of an input needs
 * none. Each group is to be taken to its end before the next.
 */
async function* readLines(inputs: readonly Input[]): AsyncGenerator<Iterable<Uint8Array>> {
  for (const { chunks } of inputs) {
    const begun: Uint8Array[] = [];
    for await (const chunk of chunks) yield linesOf(chunk, begun);
    if (begun.length > 0) yield [concat(begun)];
  }
}

/** The lines that end in a chunk; `begun` is what earlier chunks have of the first one, then of the next. */
function* linesOf(chunk: Uint8Array, begun: Uint8Array[]): Generator<Uint8Array> {
  let start = 0;
  for (let end; (end = chunk.indexOf(NEWLINE, start)) >= 0; start = end + 1) {
    const line = chunk.subarray(start, end);
    yield begun.length === 0 ? line : concat([...begun.splice(0), line]);
  }
  if (start < chunk.length) begun.push(chunk.subarray(start));
}

const NEWLINE = 10;

function concat(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}

/** Bytes of replies that are written at once. */
const OUTPUT_BYTES = 65_536;

/** Collects replies for stdout. */
class Output {
  readonly #raw: boolean;
  readonly #bytes = new Uint8Array(OUTPUT_BYTES);
  #size = 0;

  /** `raw`: with no newline after each frame. */
  constructor({ raw }: Command) {
    this.#raw = raw;
  }

  /** Adds a reply. @throws when stdout fails, for it writes if there is no room. */
  add({ frames }: Reply): void {
    for (const frame of frames) {
      this.#append(frame);
      if (!this.#raw) this.#append(NEWLINE_FRAME);
    }
  }

  /** Writes what was added. @throws when stdout fails. */
  flush(): void {
    const size = this.#size;
    this.#size = 0;
    print(this.#bytes.subarray(0, size));
  }

  #append(bytes: Uint8Array): void {
    if (this.#size + bytes.length > OUTPUT_BYTES) this.flush();
    if (bytes.length > OUTPUT_BYTES) return print(bytes);
    this.#bytes.set(bytes, this.#size);
    this.#size += bytes.length;
  }
}

const NEWLINE_FRAME = Uint8Array.of(NEWLINE);

const BAR_WIDTH = 30;
const BAR_INTERVAL = 100;

/**
 * A progress bar on stderr, where that is a terminal and stdout, to which the replies go, is not. It
 * moves when a line has ended.
 */
class ProgressBar {
  readonly #stderr: Stderr;
  readonly #shown: boolean;
  readonly #total: number;
  #bytes = 0;
  #lines = 0;
  #failed = 0;
  #drawnAt = -Infinity;

  /** `total`: bytes of all lines, or NaN. */
  constructor(stderr: Stderr, shown: boolean, total: number) {
    this.#stderr = stderr;
    this.#shown = shown;
    this.#total = total;
  }

  /** Counts a line of so many bytes. */
  add(bytes: number, outcome: Reply | Error): void {
    this.#bytes += bytes;
    this.#lines++;
    if (outcome instanceof Error) this.#failed++;
  }

  /** Shows itself, unless it has just done so. */
  draw(now: number): void {
    if (!this.#shown || now - this.#drawnAt < BAR_INTERVAL) return;
    this.#drawnAt = now;
    this.#stderr.draw(this.#text());
  }

  #text(): string {
    const failed = this.#failed > 0 ? `, ${this.#failed} failed` : "";
    const counts = `${this.#lines} lines${failed}`;
    const part = Math.min(1, this.#bytes / this.#total);
    if (Number.isNaN(part)) return counts;
    const bar = "#".repeat(Math.floor(part * BAR_WIDTH)).padEnd(BAR_WIDTH, ".");
    return `[${bar}] ${Math.floor(part * 100)} % ${counts}`;
  }
}

async function askOnce(client: Asking, command: Command): Promise<number> {
  const output = new Output(command);
  output.add(await client.request(await readBody(command), command.request));
  output.flush();
  return EXIT_OK;
}

/** Lines that may wait for an earlier one's reply, for each that may be under way. */
const UNPRINTED_PER_JOB = 16;

/** A line, and what became of it. */
interface Line {
  number: number;
  bytes: number;
  outcome: Reply | Error | undefined;
}

/** Asks a line at a time, or several, and prints the replies in the order of the lines. */
class LineRun {
  readonly #client: Asking;
  readonly #command: Command;
  readonly #stderr: Stderr;
  readonly #heard: () => void;
  readonly #inputs: Input[];
  readonly #output: Output;
  readonly #bar: ProgressBar;
  readonly #failed = Promise.withResolvers<never>();
  /** Lines that were read and not asked; undefined: there is none left. */
  #unasked: Iterator<Uint8Array> | undefined;
  /** Lines that were asked and not printed, in their order. */
  readonly #unprinted: Line[] = [];
  #number = 0;
  #underWay = 0;
  #worst = EXIT_OK;
  /** going → (settling → going)* → stopped, as stdout takes no more */
  #state: "going" | "settling" | "stopped" = "going";
  /** Tells the reader that lines were asked and printed. */
  #moved: (() => void) | undefined;

  /** `heard` is called when a line was answered. */
  constructor(client: Asking, command: Command, stderr: Stderr, heard: () => void) {
    this.#client = client;
    this.#command = command;
    this.#stderr = stderr;
    this.#heard = heard;
    this.#inputs = openInputs(command);
    this.#output = new Output(command);
    const total = this.#inputs.reduce((sum, { size = NaN }) => sum + size, 0);
    const shown = !command.quiet && Deno.stderr.isTerminal() && !Deno.stdout.isTerminal();
    this.#bar = new ProgressBar(stderr, shown, total);
  }

  /** Runs to the end of the input, or until stdout fails; returns the worst line's exit code. */
  async run(): Promise<number> {
    try {
      await Promise.race([this.#readAll(), this.#failed.promise]);
    } finally {
      this.#stderr.erase();
    }
    return this.#worst;
  }

  async #readAll(): Promise<void> {
    for await (const lines of readLines(this.#inputs)) {
      this.#unasked = lines[Symbol.iterator]();
      this.#askNext();
      while (this.#unasked !== undefined) await this.#move();
    }
    while (this.#unprinted.length > 0) await this.#move();
  }

  #move(): Promise<void> {
    return new Promise((resolve) => this.#moved = resolve);
  }

  /** Asks as many as may be under way. */
  #askNext(): void {
    const { jobs } = this.#command;
    if (this.#state === "stopped") this.#unasked = undefined;
    while (this.#underWay < jobs && this.#unprinted.length < jobs * UNPRINTED_PER_JOB) {
      const line = this.#unasked?.next();
      if (line === undefined || line.done) return void (this.#unasked = undefined);
      this.#ask(line.value);
    }
  }

  #ask(bytes: Uint8Array): void {
    const line: Line = { number: ++this.#number, bytes: bytes.length + 1, outcome: undefined };
    this.#unprinted.push(line);
    this.#underWay++;
    // Without a signal, which may give any reason, it rejects with errors only.
    this.#client.request(bytes, this.#command.request).then(
      (reply) => this.#end(line, reply),
      (error: Error) => this.#end(line, error),
    );
  }

  #end(line: Line, outcome: Reply | Error): void {
    line.outcome = outcome;
    this.#heard();
    this.#underWay--;
    this.#askNext();
    if (this.#state !== "going") return;
    this.#state = "settling";
    // Once all have ended whose replies came together, and the client has sent what they led to.
    setImmediate(() => this.#settle());
  }

  #settle(): void {
    try {
      this.#printEnded();
      this.#bar.draw(performance.now());
      this.#state = "going";
    } catch (error) {
      this.#state = "stopped";
      this.#failed.reject(error);
    }
    this.#askNext();
    this.#moved?.();
  }

  /** Prints what has ended up to the first line that has not. */
  #printEnded(): void {
    for (;;) {
      const [line] = this.#unprinted;
      if (line?.outcome === undefined) break;
      this.#unprinted.shift();
      this.#print(line.number, line.outcome);
      this.#bar.add(line.bytes, line.outcome);
    }
    this.#output.flush();
  }

  #print(number: number, outcome: Reply | Error): void {
    if (outcome instanceof Reply) return this.#output.add(outcome);
    // What was said before goes first.
    this.#output.flush();
    this.#stderr.say(`line ${number}: ${explain(outcome)}`);
    this.#worst = Math.max(this.#worst, exitCode(outcome));
  }
}

const EXIT_OK = 0;
const EXIT_ERROR_REPLY = 1;
const EXIT_USAGE = 2;
const EXIT_NO_ANSWER = 3;

function exitCode(error: unknown): number {
  if (error instanceof AbandonedError) return EXIT_NO_ANSWER;
  return error instanceof ReplyError ? EXIT_ERROR_REPLY : EXIT_USAGE;
}

function explain(error: unknown): string {
  if (error instanceof ReplyError) return `error ${error.code}: ${error.message}`;
  return messageOf(error);
}

/** Writes to stdout. It may block: replies then wait in the socket, and are read before any timeout. */
function print(bytes: Uint8Array): void {
  let written = 0;
  while (written < bytes.length) written += Deno.stdout.writeSync(bytes.subarray(written));
}

/** Runs the command to its end; returns its exit code. */
export async function main(args: string[], { url, makeClient }: Program): Promise<number> {
  const stderr = new Stderr();
  try {
    const command = readCommand(args);
    if (command.help || command.version) {
      print(encoder.encode(command.help ? helpText(url) : `${VERSION}\n`));
      return EXIT_OK;
    }
    return await ask(command, makeClient, stderr);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return EXIT_OK;
    const usage = error instanceof TypeError || error instanceof RangeError;
    stderr.say(`${explain(error)}${usage ? "; -h shows the options" : ""}`);
    return exitCode(error);
  }
}

function helpText(url: string): string {
  const name = commandName(url, "deno task client", "client");
  return `Ask a ZeroMQ job server.\n\nUsage: ${name} [options] [file…]\n${HELP}`;
}

async function ask(
  command: Command,
  makeClient: Program["makeClient"],
  stderr: Stderr,
): Promise<number> {
  const { lines, quiet } = command;
  const speaks = !quiet && Deno.stderr.isTerminal();
  const onRetry = (retry: Retry) => waiting?.retry(retry);
  await using client = makeClient(speaks ? { ...command.client, onRetry } : command.client);
  using waiting = speaks ? new Waiting(stderr, () => client.waitingFor) : undefined;
  if (!lines) return await askOnce(client, command);
  return await new LineRun(client, command, stderr, () => waiting?.heard()).run();
}
