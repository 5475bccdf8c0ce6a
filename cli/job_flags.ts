/**
 * The arguments of the client's commands for background jobs, `submit`, `job` and so on, and their help.
 *
 * @module
 */

import type { SubmitOptions } from "../client/job_options.ts";
import type { ClientOptions } from "../client/options.ts";
import { complaint } from "../options/errors.ts";
import {
  type JobCommandName,
  readCurve,
  readDuration,
  readEndpoints,
  readInteger,
  readTransport,
} from "./client_flags.ts";
import { parseKnownFlags } from "./known_flags.ts";

/** The help, behind its first line. */
export const JOB_HELP = `
Background jobs of a ZeroMQ job server: they are stored, run by the same
handlers as requests, and tried again when they fail.

  submit [file…]           submits a job and prints its id. Its body is --data,
                           or else the contents of the files, or else standard
                           input, without one newline at its end
  job ID                   prints what is known of a job
  progress ID              prints a line whenever a job's handler says how far
                           it is, until the job has ended
  result ID                prints the result of a job, once it is done
  cancel ID                cancels a job, and prints the state that it is in
                           then
  forget ID                has the server forget a job and its result; one that
                           has not ended is cancelled first

A file with the name of a command is written ./submit.

Server:
  -e, --endpoint ENDPOINT  endpoint of the server; may be repeated, or be a list
                           with commas [tcp://localhost:6660]
  -i, --identity NAME      name that the server knows this client by [none]
      --curve-server-key KEY|FILE
                           public key of a server that requires keys, or a file
                           with that key
      --curve-key FILE     file with this client's secret key [a new key]
      --transport native|libzmq
                           sockets: the client's own, or libzmq's; with keys
                           always libzmq's [native]
      --plain              speaks as a REQ socket does, to an endpoint of the
                           server's option --jobs
  -t, --timeout TIME       time until the job must be stored; elsewhere, time
                           that one try waits for its answer [10s]

Options of submit:
  -s, --service NAME       service whose handler runs the job [the one without
                           a name, or the one that the endpoint belongs to]
      --data TEXT          text of the job
  -k, --key KEY            name for the job: while one of that name has not
                           ended, nothing is stored, and its id is printed
      --delay TIME         time before the job may start [0]
      --run-at TIME        the same as a moment, such as 2027-01-31T03:00:00Z
      --priority N         0 to 9, 9 is started first [4]
      --retries N          number of tries after a first one that has failed [4]
      --backoff MIN[,MAX]  time before the second try, which doubles with each,
                           and the longest one [1s,1h]
      --request-timeout TIME
                           time that one try may run [set by the server]
      --ttl TIME           time after which a job that has not started expires,
                           counted from when it is due [none]
      --group NAME         group of jobs with a limit of its own [none]
      --after ID           job that must be done first; may be repeated, or be
                           a list with commas
      --trace TRACEPARENT  trace that the job belongs to [none]
      --wait TIME          waits for the job's end, and prints its result

Options of result and progress:
      --wait TIME          time to wait for the job's end [result: 10s;
                           progress: until it has ended]

Output:
      --json               prints one line of JSON; progress: one each time
      --raw                prints no newline after each frame of a result
  -q, --quiet              says nothing at a terminal while it waits
  -V, --version            prints the version
  -h, --help               prints this help

TIME is a number with its unit: 500ms, 10s, 5m, 1h, 30d.

Exit status: 0 stored, known, done, cancelled or forgotten; 1 error reply: the
server refuses, knows no such job, or the job has failed, expired or was
cancelled; 2 usage or local error; 3 no answer, or the job has not ended within
--wait.
`;

/** What one of the commands asks for. */
export interface JobFlags {
  client: ClientOptions;
  submit: SubmitOptions;
  /** The body; undefined: read `words`, or standard input if there are none. */
  text: string | undefined;
  /** Files, or ids. */
  words: string[];
  /** Ms; undefined: none was named. */
  wait: number | undefined;
  json: boolean;
  raw: boolean;
  quiet: boolean;
  help: boolean;
  version: boolean;
}

const SERVER = [
  "endpoint",
  "identity",
  "curve-server-key",
  "curve-key",
  "transport",
  "timeout",
];
const SUBMIT = [
  "service",
  "data",
  "key",
  "delay",
  "run-at",
  "priority",
  "retries",
  "backoff",
  "request-timeout",
  "ttl",
  "group",
  "after",
  "trace",
  "wait",
];
const TEXTS: Readonly<Record<JobCommandName, readonly string[]>> = {
  submit: [...SERVER, ...SUBMIT],
  job: SERVER,
  progress: [...SERVER, "wait"],
  result: [...SERVER, "wait"],
  cancel: SERVER,
  forget: SERVER,
};
const SWITCHES = ["plain", "json", "raw", "quiet", "help", "version"];
const LETTERS = {
  endpoint: "e",
  identity: "i",
  timeout: "t",
  quiet: "q",
  help: "h",
  version: "V",
};
const SUBMIT_LETTERS = { ...LETTERS, service: "s", key: "k" };

/** Reads the arguments behind a command, or throws a TypeError or RangeError. */
export function readJobFlags(command: JobCommandName, args: readonly string[]): JobFlags {
  const flags = parseKnownFlags(
    args,
    {
      texts: TEXTS[command],
      lists: command === "submit" ? ["endpoint", "after"] : ["endpoint"],
      switches: SWITCHES,
      letters: command === "submit" ? SUBMIT_LETTERS : LETTERS,
    },
    () => `${command} --help lists them`,
  );
  const option = (name: string) => typeof flags[name] === "string" ? flags[name] : undefined;
  const words = Array.isArray(flags._) ? flags._.map(String) : [];
  const timeout = readDuration("--timeout", option("timeout"));
  const read: JobFlags = {
    client: {
      endpoint: readEndpoints(flags.endpoint),
      timeout,
      identity: option("identity"),
      plain: flags.plain === true,
      curve: readCurve(option("curve-server-key"), option("curve-key")),
      transport: readTransport(option("transport")),
    },
    submit: command === "submit" ? { ...readSubmit(option, flags.after), timeout } : {},
    text: option("data"),
    // parseArgs takes the value of --data "" for an argument of its own.
    words: words.filter((word) => word !== ""),
    wait: readDuration("--wait", option("wait")),
    json: flags.json === true,
    raw: flags.raw === true,
    quiet: flags.quiet === true,
    help: flags.help === true,
    version: flags.version === true,
  };
  if (!read.help && !read.version) checkWords(command, read);
  return read;
}

function readSubmit(
  option: (name: string) => string | undefined,
  after: unknown,
): SubmitOptions {
  const ids = Array.isArray(after) ? after.flatMap((value) => String(value).split(",")) : [];
  return {
    service: option("service"),
    key: option("key"),
    delay: readDuration("--delay", option("delay")),
    runAt: readMoment(option("run-at")),
    priority: readInteger("--priority", option("priority"), 0),
    retries: readInteger("--retries", option("retries"), 0),
    backoff: readBackoff(option("backoff")),
    requestTimeout: readDuration("--request-timeout", option("request-timeout")),
    ttl: readDuration("--ttl", option("ttl")),
    jobGroup: option("group"),
    after: ids.length === 0 ? undefined : ids,
    trace: option("trace"),
  };
}

/** Digits are ms since 1970. */
function readMoment(text: string | undefined): SubmitOptions["runAt"] {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : text;
}

function readBackoff(text: string | undefined): SubmitOptions["backoff"] {
  if (text === undefined) return undefined;
  const [min, max, ...others] = text.split(",");
  if (others.length > 0) {
    const rule = "one or two durations, such as 1s,1h";
    throw new TypeError(`Cannot submit: ${complaint('"--backoff"', rule, text)}`);
  }
  return { min: readDuration("--backoff", min), max: readDuration("--backoff", max) };
}

function checkWords(command: JobCommandName, { text, words }: JobFlags): void {
  if (command === "submit") {
    if (text === undefined || words.length === 0) return;
    throw new TypeError(`Cannot submit with "--data" and files: give one or the other`);
  }
  if (words.length === 1) return;
  throw new TypeError(`Cannot ask: "${command}" needs the id of one job, and has ${words.length}`);
}
