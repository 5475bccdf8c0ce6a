/**
 * A wall clock that is set forth and back an hour under a running server: libfaketime changes what the server reads,
 * and leaves the monotonic clock alone, as a real machine does. Workers and this program have the true time.
 *
 * @module
 */

import { Folder } from "../tests/rig/folder.ts";
import { pause } from "../tests/rig/wait.ts";
import { quantile } from "./figures.ts";
import { countRuns, inWords, isKept, JobBook, MARK } from "./job_book.ts";
import { PreforkJobs } from "./job_load.ts";
import { type Outcome, type Scale, type Scenario, skipped } from "./scenario.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";

const LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const HOUR = 3600;
/** Where the clock stands in turn, s, and how often it goes through all of that. */
const STEPS = [HOUR, 0, -HOUR, 0];
const ROUNDS = { full: 5, small: 1 };
/** How long it stands there, ms: some due times must come and go. */
const STAND = { full: 12_000, small: 3000 };
/** libfaketime looks for a new time so often, s. */
const LOOK = "1";

/** Jobs that come all the time, ms between two of them. */
const SUBMIT_INTERVAL = 100;
const DELAY = 2000;
const BACKOFF = { min: 500, max: 2000 };
const FAILURES = 2;
/** How much earlier than due a run may begin, ms; jitter makes back-off a fifth shorter. */
const EARLY = 100;
/** A step is seen so soon, ms: libfaketime looks only then. */
const SEEN = 2500;
/** How much later it may, ms. */
const LATE = 5000;
/** The schedule is due so often, ms. */
const TICK = 1000;

/** When runs began, by the true clock: what a line of notes says. */
interface Run {
  id: string;
  attempt: number;
  at: number;
  body: string;
}

/** The first frames of bodies say what is done: "fail" fails twice, "tick" is the schedule's. */
function handler(folder: string): string {
  return `const decoder = new TextDecoder();
let notes;
export default (body, ctx) => {
  const text = decoder.decode(body);
  notes ??= Deno.openSync(${
    JSON.stringify(folder)
  } + "/" + crypto.randomUUID(), { write: true, create: true });
  const note = { id: ctx.job.id, attempt: ctx.attempt, at: Date.now(), body: text };
  notes.writeSync(new TextEncoder().encode(JSON.stringify(note) + "\\n"));
  if (text.startsWith("fail") && ctx.attempt <= ${FAILURES}) throw new Error("once more");
  return text + ${JSON.stringify(MARK)} + crypto.randomUUID();
};`;
}

function runsIn(folder: string): Run[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name }) =>
    Deno.readTextFileSync(`${folder}/${name}`).trim().split("\n").map((line) => JSON.parse(line))
  ).sort((a, b) => a.at - b.at);
}

/** A server whose clock can be set. */
class FakeTime implements AsyncDisposable {
  readonly #folder = new Folder();
  readonly notes = `${this.#folder.path}/notes`;
  readonly #file = this.#folder.write("clock", "+0\n");
  #server: ServerProcess | undefined;

  async start(): Promise<ServerProcess> {
    Deno.mkdirSync(this.notes);
    const config = this.#folder.write(
      "server.conf",
      `handler = ${this.#folder.write("handler.ts", handler(this.notes))}
frontend = tcp://127.0.0.1:0
workers = 2
store = sqlite:${this.#folder.path}/jobs.db
handler_allow_write = ${this.notes}
log_level = info

[schedule tick]
cron = */${TICK / 1000} * * * * *
body = tick
`,
    );
    return this.#server = await ServerProcess.start({
      args: ["--config", config],
      permissions: ["-A"],
      env: {
        LD_PRELOAD: LIBRARY,
        FAKETIME_TIMESTAMP_FILE: this.#file,
        FAKETIME_CACHE_DURATION: LOOK,
        FAKETIME_DONT_FAKE_MONOTONIC: "1",
        DONT_FAKE_MONOTONIC: "1",
      },
    });
  }

  /** Sets it so many seconds off. */
  set(seconds: number): void {
    // In one step, as it may be read at any time.
    Deno.writeTextFileSync(`${this.#file}.new`, `${seconds < 0 ? "" : "+"}${seconds}\n`);
    Deno.renameSync(`${this.#file}.new`, this.#file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#folder[Symbol.dispose]();
  }
}

/** Submits delayed jobs and failing ones, and notes when each was acknowledged. */
class Submitter {
  readonly book = new JobBook();
  readonly submittedAt = new Map<string, number>();
  readonly #jobs: PreforkJobs;
  readonly #run: Promise<void>;
  #open = true;

  constructor(jobs: PreforkJobs) {
    this.#jobs = jobs;
    this.#run = this.#submitOn();
  }

  async stop(): Promise<void> {
    this.#open = false;
    await this.#run;
  }

  async #submitOn(): Promise<void> {
    for (let number = 0; this.#open; number++) {
      const isDelayed = number % 2 === 0;
      const body = `${isDelayed ? "late" : "fail"}/${number}/`;
      const options = isDelayed ? { delay: DELAY } : { backoff: BACKOFF };
      const before = Date.now();
      try {
        const id = await this.#jobs.submit(body, options);
        this.book.accept(id, body);
        this.submittedAt.set(id, before);
      } catch (error) {
        this.book.refuse(String(error));
      }
      await pause(SUBMIT_INTERVAL);
    }
  }
}

/** How the runs began. */
interface Punctuality {
  /** How much later than due each run began, ms; negative: earlier. */
  late: number[];
  /** Those that began early because the clock was set forth: it may have been the machine that slept. */
  hurried: number;
}

/** `stepsForth`: when the clock was set forth, by the true clock. */
function punctuality(
  runs: readonly Run[],
  submittedAt: ReadonlyMap<string, number>,
  stepsForth: readonly number[],
): Punctuality {
  const before = new Map<string, number>();
  const late: number[] = [];
  let hurried = 0;
  for (const { id, attempt, at, body } of runs) {
    const submitted = submittedAt.get(id);
    if (submitted === undefined) continue;
    const since = before.get(id) ?? submitted;
    const backoff = Math.min(BACKOFF.max, BACKOFF.min * 2 ** (attempt - 2));
    const wait = attempt > 1 ? backoff : body.startsWith("late") ? DELAY : 0;
    const jitter = attempt > 1 ? backoff / 5 : 0;
    const due = since + wait;
    const off = at < due ? Math.min(0, at - (due - jitter)) : Math.max(0, at - (due + jitter));
    const isHurried = off < -EARLY && stepsForth.some((step) => at >= step && at < step + SEEN);
    if (isHurried) hurried++;
    else late.push(off);
    before.set(id, at);
  }
  return { late, hurried };
}

/** What became of the schedule. */
function ticksOf(runs: readonly Run[], until: number) {
  const ticks = runs.filter(({ body }) => body === "tick");
  const last = ticks.filter(({ at }) => at > until - 5 * TICK && at <= until);
  return { ids: ticks.map(({ id }) => id), atTheEnd: last.length };
}

async function step(scale: Scale): Promise<Outcome> {
  try {
    Deno.statSync(LIBRARY);
  } catch {
    return skipped("there is no libfaketime (Debian: faketime)");
  }
  const size = scale.full ? "full" : "small";
  await using time = new FakeTime();
  const server = await time.start();
  await using jobs = new PreforkJobs(server.endpoint);
  const submitter = new Submitter(jobs);
  const startedAt = Date.now();
  await pause(STAND[size]);
  const stepsForth: number[] = [];
  for (let round = 0; round < ROUNDS[size]; round++) {
    for (const [index, seconds] of STEPS.entries()) {
      if (seconds > (STEPS.at(index - 1) ?? 0)) stepsForth.push(Date.now());
      time.set(seconds);
      await pause(STAND[size]);
    }
  }
  // The clock is right again: the schedule must go on.
  await pause(5 * TICK);
  const endedAt = Date.now();
  await submitter.stop();
  const { book, submittedAt } = submitter;
  for (const id of book.ids) book.tell(id, await jobs.end(id, LATE));
  const runs = runsIn(time.notes);
  const { late, hurried } = punctuality(runs, submittedAt, stepsForth);
  const [earliest, latest] = [Math.min(...late), Math.max(...late)];
  const ticks = ticksOf(runs, endedAt);
  const most = Math.ceil((endedAt - startedAt) / TICK) + 1;
  const { repeated } = countRuns(ticks.ids);
  return {
    reached: isKept(book.verdict) && earliest >= -EARLY &&
      latest <= LATE * Math.min(2, scale.slack) &&
      ticks.ids.length <= most && ticks.atTheEnd >= 3 && repeated === 0,
    measured: `${ROUNDS[size] * STEPS.length} steps of an hour: ${inWords(book.verdict)}; ` +
      `runs at most ${-Math.round(earliest)} ms early, 99 % ${
        quantile(late, 0.99).toFixed(0)
      } ms and ` +
      `at most ${
        Math.round(latest)
      } ms late, ${hurried} hurried as the clock was set forth; ${ticks.ids.length} runs of the schedule of at most ` +
      `${most}, ${ticks.atTheEnd} in the last ${5 * TICK / 1000} s, ${repeated} again`,
  };
}

/** Steps of the wall clock. */
export const clockScenario: Scenario = {
  id: "R36",
  title: "the server's clock is set forth and back an hour while jobs wait",
  figure: "delays, back-off and schedules neither storm nor stall; each due time once",
  run: step,
};
