/**
 * A scenario about hostile clients of stored jobs: they say what is nearly right, ask without end for what will not
 * come, and never read.
 *
 * @module
 */

import { Folder } from "../tests/rig/folder.ts";
import { MemoryWatch } from "../tests/rig/memory_watch.ts";
import { Peer } from "../tests/rig/peer.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { pause } from "../tests/rig/wait.ts";
import { DeafPeer, message } from "../tests/rig/zmtp.ts";
import { newJobId } from "../wire/submission.ts";
import { countRuns, inWords, isKept, JobBook, runsInWords } from "./job_book.ts";
import { runsNoted, startJobServer } from "./job_handler.ts";
import { askAgain, JobLoad, PreforkJobs, settle } from "./job_load.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const HOSTILE = 20;
const DURATION = 60_000;
const ROUND_INTERVAL = 200;
/** Messages that one hostile connection sends in a round. */
const ROUND = 20;
const MB = 1_000_000;
/** What waiting questions, unread answers and their buffers may take. */
const MAX_GROWTH = 300 * MB;
const PATIENCE = 60_000;

const encoder = new TextEncoder();
const EMPTY = new Uint8Array(0);
type Random = (below: number) => number;

/** Values that no member of JSON should have, and some that one may. */
const VALUES = [
  ...["null", "true", '""', '"x"', "[]", "{}", "-1", "0", "1e308", "9007199254740993", "1.5"],
  ...['"2027-02-30T00:00:00Z"', '"9999-12-31T23:59:59Z"', '["j-00000000000000000000000000000000"]'],
  ...['{"min":1}', '{"min":5,"max":1}', '{"__proto__":1}', `"${"k".repeat(128)}"`, '"\\ud800"'],
];
const MEMBERS = [
  ...["id", "service", "key", "delay", "runAt", "priority", "retries", "backoff", "requestTimeout"],
  ...["ttl", "jobGroup", "after", "since", "wait", "__proto__", "constructor", "timeout"],
];
const COMMANDS = ["submit", "status", "result", "cancel", "", "forget", "SUBMIT"];

function pick<T>(random: Random, list: readonly T[]): T {
  const [first] = list;
  const picked = list[random(list.length)] ?? first;
  if (picked === undefined) throw new RangeError("There is nothing to pick");
  return picked;
}

/** JSON that is nearly what is read there. */
function words(random: Random): string {
  const members = Array.from(
    { length: random(5) },
    () => `"${pick(random, MEMBERS)}":${pick(random, VALUES)}`,
  );
  const text = `{${members.join(",")}}`;
  return random(10) === 0 ? text.slice(0, random(text.length)) : text;
}

/** One message of what is nearly right. */
function nearly(random: Random): Uint8Array[] {
  const frames = [EMPTY, encoder.encode(pick(random, COMMANDS)), encoder.encode(words(random))];
  for (let more = random(4); more > 0; more--) frames.push(new Uint8Array(random(300)));
  return frames.slice(0, 1 + random(frames.length) + random(3));
}

/** What a hostile connection sends in a round. `job`: one that will not run for a long time. */
type Kind = (random: Random, job: string) => Uint8Array;

const KINDS: Readonly<Record<string, Kind>> = {
  "nearly right": (random) => joined(() => nearly(random)),
  "waits without end": (_, job) => joined(() => question("result", { id: job, wait: 3_600_000 })),
  "unread answers": (_, job) => joined(() => question("status", { id: job })),
  "submits without words": () => joined(() => [EMPTY, encoder.encode("submit")]),
  "jobs after others": () =>
    joined(() => [...question("submit", { after: ids(100), delay: 3_600_000 }), EMPTY]),
};

function question(command: string, members: object): Uint8Array[] {
  return [EMPTY, encoder.encode(command), encoder.encode(JSON.stringify(members))];
}

function ids(count: number): string[] {
  return Array.from({ length: count }, newJobId);
}

/** A round of messages as they go over the wire. */
function joined(one: () => Uint8Array[]): Uint8Array {
  const all = Array.from({ length: ROUND }, () => message(one()));
  const sum = new Uint8Array(all.reduce((size, { length }) => size + length, 0));
  let at = 0;
  for (const each of all) {
    sum.set(each, at);
    at += each.length;
  }
  return sum;
}

/** Sends rounds until `signal` aborts, on a new connection whenever the server has ended one. */
async function attack(
  endpoint: string,
  kind: Kind,
  job: string,
  seed: number,
  signal: AbortSignal,
) {
  const random = randomNumbers(seed);
  while (!signal.aborted) {
    try {
      using peer = await DeafPeer.connect(endpoint);
      while (!signal.aborted) {
        await Promise.race([peer.send(kind(random, job)), aborted(signal)]);
        await pause(ROUND_INTERVAL);
      }
    } catch {
      // The server has ended it: that is its right.
      await pause(ROUND_INTERVAL);
    }
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) =>
    signal.aborted ? resolve() : signal.addEventListener("abort", () => resolve(), { once: true })
  );
}

/** A job that is not run for an hour. */
async function lateJob(endpoint: string): Promise<string> {
  await using peer = new Peer(endpoint);
  const [answer = ""] = await peer.ask("submit", JSON.stringify({ delay: 3_600_000 }), "late");
  return JSON.parse(answer).id;
}

async function suffer(scale: Scale): Promise<Outcome> {
  using folder = new Folder();
  const notes = `${folder.path}/notes`;
  Deno.mkdirSync(notes);
  const store = `sqlite:${folder.path}/jobs.db`;
  const args = ["--jobs", "tcp://127.0.0.1:0"];
  await using server = await startJobServer({ store, notes, time: 1, args });
  const endpoint = String((await server.line("listening")).jobs);
  await using jobs = new PreforkJobs(server.endpoint);
  const book = new JobBook();
  const job = await lateJob(endpoint);
  using memory = new MemoryWatch(server.pid);
  const before = memory.bytes;
  const end = new AbortController();
  const kinds = Object.values(KINDS);
  const hostile = Array.from({ length: HOSTILE }, (_, number) => {
    const kind = kinds[number % kinds.length];
    return kind && attack(endpoint, kind, job, number + 1, end.signal);
  });
  const load = new JobLoad(jobs, book, {
    inFlight: 10,
    perSecond: 200,
    watchEvery: 5,
    name: "good",
  });
  await pause(scale.of(DURATION));
  await load.stop();
  end.abort();
  await Promise.all(hostile);
  await settle(jobs, book, PATIENCE);
  await askAgain(jobs, book);
  const growth = memory.mostBytes - before;
  const exits = server.lines.filter(({ message }) => message === "worker exited").length;
  const refused = Object.values(book.verdict.refused).length;
  return {
    reached: isKept(book.verdict) && growth <= MAX_GROWTH && exits === 0 && refused === 0,
    measured: `${HOSTILE} of ${kinds.length} kinds: ${Math.round(growth / MB)} MB more, ` +
      `${exits} workers ended; good clients: ${inWords(book.verdict)}; ` +
      `${runsInWords(countRuns(runsNoted(notes)))}`,
  };
}

/** Hostile clients of stored jobs. */
export const noiseScenario: Scenario = {
  id: "R39",
  title: `${HOSTILE} hostile clients of stored jobs of ${
    Object.keys(KINDS).length
  } kinds, that never read`,
  figure: `≤ ${
    MAX_GROWTH / MB
  } MB more, no worker ends; good clients: none refused, every job is done`,
  run: suffer,
};
