/**
 * The client's command line: reads the arguments, asks, prints the reply or its parts. `--lines` is in lines.ts.
 *
 * @module
 */

import type { Client } from "../client.ts";
import type {
  ClientOptions,
  Progress,
  RequestOptions,
  Retry,
  StreamOptions,
} from "../client/options.ts";
import { type CallCommand, runCall } from "./call.ts";
import {
  JOB_COMMANDS,
  jobCommandOf,
  readCurve,
  readDuration,
  readEndpoints,
  readInteger,
  readTransport,
} from "./client_flags.ts";
import { type Input, openInputs, readBody, textInput } from "./input.ts";
import { parseKnownFlags } from "./known_flags.ts";
import { LineRun } from "./lines.ts";
import { Exit, exitCodeOf, explain } from "./outcome.ts";
import { printText, ReplyOutput } from "./reply_output.ts";
import { commandName, VERSION } from "./program.ts";
import { HandlerBar, ProgressBar } from "./progress.ts";
import { Stderr } from "./stderr.ts";
import { Waiting } from "./waiting.ts";

/** What client.ts brings. */
export interface Program {
  /** The URL of the program's main module, for its help. */
  url: string;
  /** Makes the client. */
  makeClient(options: ClientOptions): Client;
}

const HELP = `
Asks a ZeroMQ job server and prints its reply. The request is --data, or else
the contents of the files, or else standard input; one newline at the end of
files and of standard input is left off. Only replies go to standard output.

Server:
  -e, --endpoint ENDPOINT  endpoint of the server; may be repeated, or be a list
                           with commas: servers that stand in for each other
                           [tcp://localhost:6660]
  -i, --identity NAME      name that the server knows this client by [none]
      --curve-server-key KEY|FILE
                           public key of a server that requires keys, or a file
                           with that key
      --curve-key FILE     file with this client's secret key [a new key, which
                           only a server that accepts any key lets in]
      --transport native|libzmq
                           sockets: the client's own, or libzmq's; with keys
                           always libzmq's [native]

Request:
  -s, --service NAME       service that is asked [the one without a name, or the
                           one that the endpoint belongs to]
      --data TEXT          text of the request
  -t, --timeout TIME       time that one try waits for its answer [10s]
  -r, --retries N          number of tries after an unanswered first one [2]
      --request-timeout TIME
                           time that the handler may run [set by the server]
      --trace TRACEPARENT  trace that the request belongs to [none]
  -k, --key KEY            name for the request; requests of one name are run
                           once, and all of them get that answer
      --plain              sends the request as a REQ socket does

Answers in parts:
      --stream             prints each part as it comes; -t is then the time to
                           wait for the next one. At a terminal, a bar shows
                           how far the handler is

Typed calls, of a handler made with rpc():
      --call [NAME]        calls a function: the arguments are its own, each of
                           them JSON or else text, those with a dash behind --;
                           prints the result as JSON. Without NAME: lists the
                           functions

Events:
      --subscribe TOPIC    prints what the server publishes under topics that
                           begin so, each event as a line of JSON, until it is
                           interrupted; may be repeated; "" is everything
      --events ENDPOINT    where the server publishes: its own option --events
                           [tcp://localhost:6662]

Background jobs (submit --help says more):
  submit [file…]           submits a job and prints its id
  job ID, progress ID, result ID, cancel ID, forget ID
                           what is known of a job, how far it is, its result,
                           its end, and no more of it

Many requests:
      --lines              sends each line as a request, and prints the replies
                           in the order of the lines
  -j N                     maximum number of requests at a time, for --lines [1]

Output:
      --raw                prints no newline after each frame of a reply
  -q, --quiet              shows at a terminal neither what the client waits for
                           nor a progress bar
  -V, --version            prints the version
  -h, --help               prints this help

TIME is a number with its unit: 500ms, 10s, 5m, 1h.

Exit status: 0 answered, 1 error reply, 2 usage or local error, 3 no answer.
With --lines, it is that of the worst line.
`;

/** What the command line asks for. */
interface Command {
  client: ClientOptions;
  request: RequestOptions;
  /** The request itself; undefined: read `files`, or standard input if there are none. */
  text: string | undefined;
  files: string[];
  /** Topics to subscribe to; none: it asks. */
  topics: string[];
  /** The function to call; undefined: none. */
  call: CallCommand | undefined;
  lines: boolean;
  stream: boolean;
  jobs: number;
  raw: boolean;
  quiet: boolean;
  help: boolean;
  version: boolean;
}

const TEXTS = [
  "endpoint",
  "timeout",
  "retries",
  "identity",
  "key",
  "service",
  "request-timeout",
  "trace",
  "data",
  "call",
  "curve-server-key",
  "curve-key",
  "events",
  "subscribe",
  "transport",
];
const SWITCHES = ["plain", "stream", "lines", "raw", "quiet", "help", "version"];
const LETTERS = {
  endpoint: "e",
  timeout: "t",
  retries: "r",
  identity: "i",
  key: "k",
  service: "s",
  quiet: "q",
  help: "h",
  version: "V",
};

/** Runs the command to its end; returns its exit status. */
export async function main(args: string[], program: Program): Promise<number> {
  const { url, makeClient } = program;
  const stderr = new Stderr("client");
  try {
    const job = jobCommandOf(args[0]);
    if (job !== undefined) {
      const { runJobCommand } = await import("./job_commands.ts");
      return await runJobCommand(job, args.slice(1), program, stderr);
    }
    const command = readCommand(args);
    if (command.help) printText(helpText(url));
    else if (command.version) printText(`${VERSION}\n`);
    else return await ask(command, makeClient, stderr);
    return Exit.answered;
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return Exit.answered;
    stderr.say(explain(error));
    return exitCodeOf(error);
  }
}

function helpText(url: string): string {
  return `Usage: ${
    commandName(url, "deno task client", "client")
  } [command] [options] [file…]\n${HELP}`;
}

async function ask(
  command: Command,
  makeClient: Program["makeClient"],
  stderr: Stderr,
): Promise<number> {
  // First, so that a missing file is found before anything is sent.
  const { topics } = command;
  const inputs = topics.length > 0 ? [] : inputsOf(command);
  const speaks = !command.quiet && Deno.stderr.isTerminal();
  const onRetry = (retry: Retry) => waiting?.retry(retry);
  await using client = makeClient(speaks ? { ...command.client, onRetry } : command.client);
  using waiting = speaks ? new Waiting(stderr, () => client.waitingFor) : undefined;
  if (topics.length > 0) return await printEvents(client, topics);
  const { request, text, call, jobs, raw } = command;
  if (call !== undefined) {
    const { plain = false } = command.client;
    const bar = speaks ? new HandlerBar(stderr) : undefined;
    await runCall(client, call, request, { plain, stderr, bar, heard: () => waiting?.heard() });
    return Exit.answered;
  }
  if (command.lines) {
    // Where the replies go to the terminal, they show the progress themselves.
    const total = inputs.reduce((sum, { size = NaN }) => sum + size, 0);
    const bar = speaks && !Deno.stdout.isTerminal() ? new ProgressBar(stderr, total) : undefined;
    const heard = () => waiting?.heard();
    return await new LineRun({ client, request, inputs, jobs, raw, stderr, bar, heard }).run();
  }
  const body = text ?? await readBody(inputs);
  const output = new ReplyOutput(command);
  if (command.stream) {
    const bar = speaks ? new HandlerBar(stderr) : undefined;
    const { key: _, ...terms } = request;
    await printParts(client, body, terms, { output, stderr, bar, heard: () => waiting?.heard() });
  } else {
    output.add(await client.request(body, request));
    output.flush();
  }
  return Exit.answered;
}

/** Prints each event as it comes, until the program is ended. */
async function printEvents(client: Client, topics: string[]): Promise<number> {
  const decoder = new TextDecoder();
  for await (const { frames, ...event } of client.subscribe(topics)) {
    // What handlers publish is text, as far as it can be.
    const { data = frames.map((frame) => decoder.decode(frame)) } = event;
    printText(`${JSON.stringify({ ...event, data })}\n`);
  }
  return Exit.answered;
}

/** Where parts go, and who is told of them. */
interface PartsOutput {
  output: ReplyOutput;
  stderr: Stderr;
  /** Shows how far the handler is, if that is wanted. */
  bar: HandlerBar | undefined;
  heard(): void;
}

/** Prints each part as it comes. */
async function printParts(
  client: Client,
  body: Uint8Array | string,
  terms: StreamOptions,
  { output, stderr, bar, heard }: PartsOutput,
): Promise<void> {
  const onProgress = (progress: Progress) => {
    heard();
    bar?.draw(progress, performance.now());
  };
  try {
    for await (const part of client.stream(body, { ...terms, onProgress })) {
      heard();
      stderr.erase();
      output.add(part);
      output.flush();
    }
  } finally {
    stderr.erase();
  }
}

/** Where the request comes from; a call has all of it. */
function inputsOf({ text, files, call }: Command): Input[] {
  if (call !== undefined) return [];
  return text === undefined ? openInputs(files) : [textInput(text)];
}

/** Reads the arguments, or throws a TypeError or RangeError. */
function readCommand(args: string[]): Command {
  const flags = parseFlags(args);
  const option = (name: string) => typeof flags[name] === "string" ? flags[name] : undefined;
  const rest = Array.isArray(flags._) ? flags._.map(String) : [];
  const call = option("call");
  const command = {
    client: {
      endpoint: readEndpoints(flags.endpoint),
      timeout: readDuration("--timeout", option("timeout")),
      retries: readInteger("--retries", option("retries"), 0),
      identity: option("identity"),
      plain: flags.plain === true,
      curve: readCurve(option("curve-server-key"), option("curve-key")),
      events: option("events"),
      transport: readTransport(option("transport")),
    },
    request: {
      key: option("key"),
      service: option("service"),
      trace: option("trace"),
      requestTimeout: readDuration("--request-timeout", option("request-timeout")),
    },
    text: option("data"),
    // parseArgs takes the value of --data "" for an argument of its own.
    files: call === undefined ? rest.filter((path) => path !== "") : [],
    topics: Array.isArray(flags.subscribe) ? flags.subscribe.map(String) : [],
    call: call === undefined ? undefined : { name: call, args: rest },
    lines: flags.lines === true,
    stream: flags.stream === true,
    jobs: readInteger("-j", option("j"), 1) ?? 1,
    raw: flags.raw === true,
    quiet: flags.quiet === true,
    help: flags.help === true,
    version: flags.version === true,
  };
  checkCombination(command, option("j") !== undefined);
  return command;
}

function parseFlags(args: string[]): Record<string, unknown> {
  const lists = ["endpoint", "subscribe"];
  const known = { texts: TEXTS, hidden: ["j"], lists, switches: SWITCHES, letters: LETTERS };
  return parseKnownFlags(
    args,
    known,
    ({ call }) =>
      call === undefined ? "--help lists them" : "arguments with a dash stand behind --",
  );
}

function checkCombination(
  { client, request, text, files, topics, call, lines, stream, jobs, raw }: Command,
  hasJobs: boolean,
): void {
  const others = {
    "--data": text !== undefined,
    "--lines": lines,
    "--raw": raw,
    "--stream": stream,
  };
  for (const [flag, isGiven] of Object.entries(others)) {
    if (call === undefined || !isGiven) continue;
    throw new TypeError(`Cannot ask with "--call" and "${flag}": give one or the other`);
  }
  if (topics.length > 0 && client.endpoint !== undefined) {
    throw new TypeError(
      'Cannot subscribe with "--endpoint": "--events" says where events come from',
    );
  }
  const asks = { ...others, files: files.length > 0, "--call": call !== undefined };
  for (const [what, isGiven] of Object.entries(topics.length > 0 ? asks : {})) {
    if (!isGiven) continue;
    throw new TypeError(`Cannot subscribe with ${what === "files" ? what : `"${what}"`}`);
  }
  const [first = ""] = files;
  if (jobCommandOf(first) !== undefined) {
    const names = JOB_COMMANDS.join(", ");
    throw new TypeError(
      `Cannot ask with "${first}" behind options: the commands ${names} stand first, and a file ` +
        `of that name is "./${first}"`,
    );
  }
  if (text !== undefined && files.length > 0) {
    throw new TypeError(`Cannot ask with "--data" and files: give one or the other`);
  }
  if (lines && request.key !== undefined) {
    throw new TypeError(`Cannot ask with "--lines" and "--key": each line is a request of its own`);
  }
  if (stream && lines) {
    throw new TypeError(`Cannot ask with "--stream" and "--lines": give one or the other`);
  }
  if (stream && request.key !== undefined) {
    throw new TypeError(`Cannot ask with "--stream" and "--key": parts are for one request alone`);
  }
  if (hasJobs && !lines) throw new TypeError(`Cannot ask with "-j" alone: it needs "--lines"`);
  if (jobs > 1 && client.plain && client.identity !== undefined) {
    throw new TypeError(
      `Cannot ask with "--plain" and "--identity": "-j" then must be 1, but it is ${jobs}`,
    );
  }
}
