/**
 * A scenario in which everything that stored jobs can be told is told at once, while workers are killed: no rule may be
 * broken by any other.
 *
 * @module
 */

import { Client, NotEndedError, ReplyError, type SubmitOptions } from "../client.ts";
import { Folder } from "../tests/rig/folder.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause } from "../tests/rig/wait.ts";
import { killAtRandom } from "./kills.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const DURATION = 120_000;
const SUBMIT_INTERVAL = 10;
const WORKERS = 4;
const KILLS = 40;
/** How many of a group run at a time; how many of the service "rated" start in a second, and at once. */
const GROUP_MOST = 2;
const RATE = { perSecond: 20, burst: 5 };
const HANDLER_TIME = 5;
/** How much earlier than due a run may begin, ms. */
const EARLY = 100;
/** Longer than any job takes, ms: what is rated waits for long. */
const PATIENCE = 180_000;
const TRIES = 3;

/** What the handler is to do with a job. */
type Deed = "echo" | "fail" | "refuse" | "twice";

/** A job that was submitted. Times are ms since 1970. */
interface Submitted {
  id: string;
  deed: Deed;
  options: SubmitOptions;
  submittedAt: number;
  /** When it was known to be cancelled. */
  cancelledAt: number | undefined;
  /** The state that it ended in, and the code of its error. */
  state: string;
  code: number | undefined;
}

/** A run, as the handler has noted it; `end` undefined: its worker was killed. */
interface Run {
  id: string;
  start: number;
  end: number | undefined;
}

function handler(folder: string): string {
  return `import { RequestError } from ${
    JSON.stringify(new URL("../worker/handler.ts", import.meta.url))
  };
const decoder = new TextDecoder(), encoder = new TextEncoder();
let notes;
const note = (what) => {
  notes ??= Deno.openSync(${
    JSON.stringify(folder)
  } + "/" + crypto.randomUUID(), { write: true, create: true });
  notes.writeSync(encoder.encode(JSON.stringify({ ...what, at: Date.now() }) + "\\n"));
};
let run = 0;
export default async (body, ctx) => {
  const { id, attempt } = ctx.job, number = run++, deed = decoder.decode(body);
  note({ id, number, what: "start" });
  await new Promise((resolve) => setTimeout(resolve, ${HANDLER_TIME}));
  note({ id, number, what: "end" });
  if (deed === "refuse") throw new RequestError(422, "never");
  if (deed === "fail" || deed === "twice" && attempt <= 2) throw new Error("not now");
  return body;
};`;
}

function runsIn(folder: string): Run[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name }) => {
    const lines = Deno.readTextFileSync(`${folder}/${name}`).trim().split("\n");
    const notes = lines.filter((line) => line.endsWith("}")).map((line) => JSON.parse(line));
    const ends = new Map(
      notes.filter(({ what }) => what === "end").map(({ number, at }) => [number, at]),
    );
    return notes.filter(({ what }) => what === "start")
      .map(({ id, number, at }): Run => ({ id, start: at, end: ends.get(number) }));
  });
}

/** Submits all kinds of jobs, cancels some, and waits for all. */
class Caller {
  readonly jobs: Submitted[] = [];
  readonly faults: string[] = [];
  readonly #client: Client;
  readonly #random = randomNumbers(5);
  readonly #cancels: Promise<void>[] = [];

  constructor(client: Client) {
    this.#client = client;
  }

  async submitFor(time: number): Promise<void> {
    for (const end = Date.now() + time; Date.now() < end; await pause(SUBMIT_INTERVAL)) {
      await this.#submit();
    }
    await Promise.all(this.#cancels);
  }

  async awaitAll(): Promise<void> {
    for (const job of this.jobs) await this.#await(job);
  }

  async #submit(): Promise<void> {
    const deed = this.#oneOf<Deed>(["echo", "echo", "echo", "echo", "fail", "refuse", "twice"]);
    const options = this.#options();
    const submittedAt = Date.now();
    const { id, isNew } = await this.#client.submit(deed, options);
    if (!isNew) return this.#judgeKey(id, options);
    const state = { cancelledAt: undefined, state: "", code: undefined };
    const job: Submitted = { id, deed, options, submittedAt, ...state };
    this.jobs.push(job);
    if (this.#random(20) === 0) this.#cancels.push(this.#cancel(job));
  }

  /** A key's job must be one of that key. */
  #judgeKey(id: string, { key }: SubmitOptions): void {
    const first = this.jobs.find((job) => job.id === id);
    if (first === undefined || first.options.key !== key) this.faults.push(`${key} is of ${id}`);
  }

  #options(): SubmitOptions {
    const service = this.#oneOf(["plain", "plain", "plain", "rated"]);
    const options: SubmitOptions = {
      service,
      priority: this.#random(10),
      retries: TRIES - 1,
      backoff: { min: 100, max: 400 },
    };
    const kind = this.#random(8);
    if (kind === 0) options.delay = this.#random(2000);
    if (kind === 1) options.key = `key${this.#random(5)}`;
    if (kind <= 3) options.jobGroup = `group${this.#random(3)}`;
    if (kind === 4) options.ttl = 1 + this.#random(300);
    if (kind === 5) options.after = this.#some(3);
    if (kind === 6) options.runAt = Date.now() + this.#random(1000);
    return options;
  }

  #oneOf<T>(list: readonly T[]): T {
    const [first] = list;
    const one = list[this.#random(list.length)] ?? first;
    if (one === undefined) throw new RangeError("There is nothing to choose from");
    return one;
  }

  /** Ids of some of the last jobs. */
  #some(most: number): string[] {
    const last = this.jobs.slice(-20);
    const count = last.length === 0 ? 0 : 1 + this.#random(most);
    return [...new Set(Array.from({ length: count }, () => this.#oneOf(last).id))];
  }

  async #cancel(job: Submitted): Promise<void> {
    await pause(this.#random(200));
    try {
      const { state } = await this.#client.job(job.id).cancel();
      if (state === "cancelled") job.cancelledAt = Date.now();
    } catch (error) {
      // It had ended already.
      if (!(error instanceof ReplyError) || error.code !== 409) throw error;
    }
  }

  async #await(job: Submitted): Promise<void> {
    const { id } = job;
    try {
      const reply = await this.#client.job(id).result({ wait: PATIENCE });
      if (reply.text() !== job.deed) this.faults.push(`${id}: result ${reply.text()}`);
    } catch (error) {
      if (error instanceof NotEndedError) this.faults.push(`${id}: ${error.message}`);
      else if (!(error instanceof ReplyError)) throw error;
      else job.code = error.code;
    }
    job.state = (await this.#client.job(id).status()).state;
  }
}

/** What is wrong with one job and its runs. */
function faultsOf(job: Submitted, runs: readonly Run[], all: ReadonlyMap<string, Run[]>): string[] {
  const { deed, options, state, cancelledAt } = job;
  const count = runs.length;
  // A death of a worker is a try, and its run has no end; so is a run that was not noted to its end.
  const deaths = runs.filter(({ end }) => end === undefined).length;
  const faults: string[] = [];
  const must = (is: boolean, what: string) => is || faults.push(`${job.id} (${deed}): ${what}`);
  const first = Math.min(...runs.map(({ start }) => start));
  const due = options.delay === undefined
    ? Number(options.runAt ?? 0)
    : job.submittedAt + options.delay;
  must(count === 0 || first >= due - EARLY, `began ${due - first} ms early`);
  must(count <= TRIES + deaths, `${count} runs`);
  if (state === "expired") must(options.ttl !== undefined && count === 0, `expired, ${count} runs`);
  if (state === "cancelled") must(cancelledAt !== undefined, "cancelled by nobody");
  if (state === "done") must(count > 0 && (deed === "echo" || deed === "twice"), "is done");
  if (state === "done" && deed === "twice") must(count >= 3, `is done after ${count} runs`);
  if (state === "failed") {
    const isParents = options.after !== undefined && job.code === 424;
    const isUsual = deed !== "echo" || deaths > 0;
    must(isParents || isUsual, `failed with ${job.code} after ${count} runs`);
    if (deed === "fail" && !isParents) must(count >= TRIES, `failed after ${count} runs`);
    if (deed === "refuse" && !isParents) must(count - deaths <= 1, `refused ${count} times`);
  }
  if (cancelledAt !== undefined) {
    const late = runs.filter(({ start }) => start > cancelledAt + EARLY).length;
    must(late === 0, `${late} runs after it was cancelled`);
  }
  for (const parent of options.after ?? []) {
    const ends = (all.get(parent) ?? []).map(({ end, start }) => end ?? start);
    must(count === 0 || first >= Math.max(...ends), `began before ${parent} ended`);
  }
  return faults;
}

/** Runs of a group that were at the same time: more than may be. */
function crowdsOf(jobs: readonly Submitted[], all: ReadonlyMap<string, Run[]>): string[] {
  const groups = new Map<string, { at: number; step: number }[]>();
  for (const { id, options: { jobGroup, service } } of jobs) {
    if (jobGroup === undefined) continue;
    const name = `${service}/${jobGroup}`;
    const moments = groups.get(name) ?? [];
    groups.set(name, moments);
    for (const { start, end = start } of all.get(id) ?? []) {
      moments.push({ at: start, step: 1 }, { at: end, step: -1 });
    }
  }
  return [...groups].flatMap(([name, moments]) => {
    let [now, most] = [0, 0];
    // Times are whole ms: what ends and what begins in the same one is no crowd.
    for (const { step } of moments.toSorted((a, b) => a.at - b.at || a.step - b.step)) {
      now += step;
      most = Math.max(most, now);
    }
    return most > GROUP_MOST ? [`${most} of ${name} ran at a time`] : [];
  });
}

/** Whether more of the service "rated" were started than its rate lets. */
function rushOf(jobs: readonly Submitted[], all: ReadonlyMap<string, Run[]>): string[] {
  const starts = jobs.filter(({ options }) => options.service === "rated")
    .flatMap(({ id }) => (all.get(id) ?? []).map(({ start }) => start)).sort((a, b) => a - b);
  const [first = 0, last = 0] = [starts[0], starts.at(-1)];
  const most = (last - first) / 1000 * RATE.perSecond + RATE.burst + 1;
  return starts.length > most ? [`${starts.length} starts where ${most.toFixed(0)} may be`] : [];
}

function serverArgs(folder: Folder, notes: string): string[] {
  const module = folder.write("handler.ts", handler(notes));
  const section = (name: string, more: string) =>
    `[service ${name}]\nhandler = ${module}\nworkers = ${WORKERS / 2}\n` +
    `max_running_per_group = ${GROUP_MOST}\n${more}\n`;
  const config = folder.write(
    "server.conf",
    `store = sqlite:${folder.path}/jobs.db
frontend = tcp://127.0.0.1:0
handler_allow_write = ${notes}
log_level = info

${section("plain", "")}
${section("rated", `rate = ${RATE.perSecond}/s burst ${RATE.burst}`)}`,
  );
  return ["--config", config];
}

async function rule(scale: Scale): Promise<Outcome> {
  using folder = new Folder();
  const notes = `${folder.path}/notes`;
  Deno.mkdirSync(notes);
  await using server = await ServerProcess.start({
    args: serverArgs(folder, notes),
    permissions: ["-A"],
  });
  await server.line("worker ready", WORKERS);
  await using client = new Client({ endpoint: server.endpoint });
  const caller = new Caller(client);
  const duration = scale.of(DURATION);
  const killing = killAtRandom(server, scale.of(KILLS), duration);
  await caller.submitFor(duration);
  const kills = (await killing).size;
  await caller.awaitAll();
  const all = Map.groupBy(runsIn(notes), ({ id }) => id);
  const { jobs } = caller;
  const faults = [
    ...caller.faults,
    ...jobs.flatMap((job) => faultsOf(job, all.get(job.id) ?? [], all)),
    ...crowdsOf(jobs, all),
    ...rushOf(jobs, all),
  ];
  const states = Object.entries(Object.groupBy(jobs, ({ state }) => state))
    .map(([state, of]) => `${of?.length} ${state}`);
  return {
    reached: faults.length === 0 && jobs.length > 0,
    measured: `${jobs.length} jobs (${states.join(", ")}), ${kills} workers killed, ` +
      `${[faults.length, ...faults.slice(0, 5)].join(": ")} against the rules`,
  };
}

/** All rules at once. */
export const rulesScenario: Scenario = {
  id: "R40",
  title:
    "jobs with delays, keys, groups, rates, dependencies, retries, cancelled ones, and killed workers",
  figure: "each job ends as it must, none runs early, late, too often or beside too many others",
  run: rule,
};
