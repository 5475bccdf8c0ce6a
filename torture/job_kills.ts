/**
 * Scenarios about a server that ends again and again while it stores and runs jobs: it is killed, and its workers too,
 * or told to stop, or to reload.
 *
 * @module
 */

import { Folder } from "../tests/rig/folder.ts";
import { trySignal } from "../tests/rig/processes.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import type { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { countRuns, inWords, isKept, JobBook, runsInWords } from "./job_book.ts";
import { runsNoted, startJobServer } from "./job_handler.ts";
import { askAgain, JobLoad, PreforkJobs, settle } from "./job_load.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const KILLS = 200;
const SMALL_KILLS = 5;
/** From the first job that a server acknowledges to its death, ms at most. */
const LIFE = 1000;
/** One life of so many ends while the server starts, ms at most. */
const EARLY_EVERY = 5;
const EARLY = 500;
/** A worker is killed in one life of so many. */
const WORKER_EVERY = 2;
/** Jobs a second: fewer than two workers can run, so that none waits for long. */
const RATE = 200;
/** Longer than what is left at the end takes, ms. */
const PATIENCE = 300_000;

/** Stops and reloads. */
const STOPS = 40;
const SMALL_STOPS = 2;
/** From a server's first worker to its TERM or HUP, ms. */
const CALM_LIFE = { least: 200, spread: 600 };

/** A server that is started again after each end, at the same endpoint. */
class Mortal implements AsyncDisposable {
  readonly folder = new Folder();
  readonly notes = `${this.folder.path}/notes`;
  readonly endpoint = `ipc://${this.folder.path}/frontend`;
  readonly random = randomNumbers(3);
  #server: ServerProcess | undefined;
  workersKilled = 0;

  constructor() {
    Deno.mkdirSync(this.notes);
  }

  async start(raw: boolean): Promise<ServerProcess> {
    const store = `sqlite:${this.folder.path}/jobs.db`;
    const options = { store, notes: this.notes, frontend: this.endpoint, time: 1, raw };
    return this.#server = await startJobServer(options);
  }

  async die(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }

  /** One life that ends by KILL; `number` counts them. */
  async live(number: number, book: JobBook): Promise<void> {
    const isEarly = number % EARLY_EVERY === EARLY_EVERY - 1;
    await this.start(true);
    const before = book.size;
    await until("a job is acknowledged", () => isEarly || book.size > before);
    const time = this.random(isEarly ? EARLY : LIFE);
    await pause(time / 2);
    if (number % WORKER_EVERY === 0) this.#killWorker();
    await pause(time / 2);
    await this.die();
  }

  /** One life that ends by TERM, with a reload in the middle. */
  async liveCalmly(): Promise<void> {
    const server = await this.start(false);
    await pause(CALM_LIFE.least + this.random(CALM_LIFE.spread));
    server.signal("SIGHUP");
    await server.line("reloaded");
    await pause(CALM_LIFE.least + this.random(CALM_LIFE.spread));
    server.signal("SIGTERM");
    await server.ended();
    await this.die();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.die();
    this.folder[Symbol.dispose]();
  }

  #killWorker(): void {
    const pids = this.#server?.workers ?? [];
    const pid = pids[this.random(Math.max(1, pids.length))];
    if (pid !== undefined && trySignal(pid, "SIGKILL")) this.workersKilled++;
  }
}

/** Goes through lives under load, and then lets everything end. */
async function under(lives: (mortal: Mortal, book: JobBook) => Promise<void>) {
  await using mortal = new Mortal();
  await using jobs = new PreforkJobs(mortal.endpoint);
  const book = new JobBook();
  const shape = { inFlight: 50, perSecond: RATE, watchEvery: 5, name: "job" };
  await using load = new JobLoad(jobs, book, shape);
  await lives(mortal, book);
  await mortal.start(false);
  await load.stop();
  await settle(jobs, book, PATIENCE);
  await askAgain(jobs, book);
  const runs = countRuns(runsNoted(mortal.notes));
  return { verdict: book.verdict, runs, workersKilled: mortal.workersKilled };
}

async function killed(scale: Scale): Promise<Outcome> {
  const kills = scale.full ? KILLS : SMALL_KILLS;
  const { verdict, runs, workersKilled } = await under(async (mortal, book) => {
    for (let number = 0; number < kills; number++) await mortal.live(number, book);
  });
  return {
    reached: isKept(verdict),
    measured: `${kills} kills, and ${workersKilled} of workers: ${inWords(verdict)}; ` +
      runsInWords(runs),
  };
}

async function stopped(scale: Scale): Promise<Outcome> {
  const stops = scale.full ? STOPS : SMALL_STOPS;
  const { verdict, runs } = await under(async (mortal) => {
    for (let number = 0; number < stops; number++) await mortal.liveCalmly();
  });
  return {
    reached: isKept(verdict) && runs.repeated === 0,
    measured: `${stops} reloads and stops: ${inWords(verdict)}; ${runsInWords(runs)}`,
  };
}

/** Ends under load of submits and runs. */
export const endScenarios: readonly Scenario[] = [
  {
    id: "R34",
    title:
      `KILL to the main process under load of submits and runs, ${KILLS} times, and to workers`,
    figure: "every acknowledged job is done, none lost, each has one result",
    run: killed,
  },
  {
    id: "R38",
    title: `HUP and TERM to the main process under load of submits and runs, ${STOPS} times each`,
    figure: "every acknowledged job is done, none lost, none is run again",
    run: stopped,
  },
];
