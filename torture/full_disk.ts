/**
 * A disk that is full in the middle of everything, in namespaces of its own: the store of a server lies on a small disk
 * in memory, which other files fill. It goes on with room, and over a kill at the worst time.
 *
 * @module
 */

import { Client, ReplyError } from "../client.ts";
import { Folder } from "../tests/rig/folder.ts";
import type { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { countRuns, inWords, isKept, JobBook, runsInWords } from "./job_book.ts";
import { runsNoted, startJobServer } from "./job_handler.ts";
import { askAgain, JobLoad, PreforkJobs, settle } from "./job_load.ts";
import { must, report } from "./namespace.ts";
import type { Outcome } from "./scenario.ts";

const DISK_BYTES = 64 * 1024 * 1024;
/** Rounds of full and not full. */
const ROUNDS = { full: 10, small: 2 };
/** How long jobs come before, while it is full, and after, ms. */
const SPELL = { full: 3000, small: 700 };
const PATIENCE = 120_000;
/** Submits go on so soon once there is room, ms. */
const RECOVERY = 15_000;

/** The small disk, and a file on it that takes all the room. */
class SmallDisk implements AsyncDisposable {
  private constructor(readonly folder: string) {}

  static async mount(folder: string): Promise<SmallDisk> {
    Deno.mkdirSync(folder);
    await must("mount", "-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "tmpfs", folder);
    return new SmallDisk(folder);
  }

  /** Leaves no room. */
  fill(): void {
    using file = Deno.openSync(this.#filler, { write: true, create: true, append: true });
    for (const size of [1024 * 1024, 4096]) {
      const block = new Uint8Array(size);
      while (wrote(file, block));
    }
  }

  empty(): void {
    Deno.removeSync(this.#filler);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await must("umount", "--lazy", this.folder);
  }

  get #filler(): string {
    return `${this.folder}/filler`;
  }
}

function wrote(file: Deno.FsFile, block: Uint8Array<ArrayBuffer>): boolean {
  try {
    return file.writeSync(block) === block.length;
  } catch {
    return false;
  }
}

/** What happened in one round. */
interface Round {
  /** Why submits were refused; undefined: they were not. */
  reason: string | undefined;
  /** From the moment of room to the next acknowledged submit, ms. */
  recovery: number;
}

/** Plain requests beside, one after the other. */
class Requests {
  readonly #client: Client;
  readonly #run: Promise<void>;
  #open = true;
  answered = 0;
  readonly failures: string[] = [];

  constructor(endpoint: string) {
    this.#client = new Client({ endpoint, timeout: 5000, retries: 0 });
    this.#run = this.#askOn();
  }

  async end(): Promise<void> {
    this.#open = false;
    await this.#run;
    await this.#client[Symbol.asyncDispose]();
  }

  async #askOn(): Promise<void> {
    for (; this.#open; await pause(2)) {
      try {
        const reply = await this.#client.request("plain");
        if (reply.text() === "plain") this.answered++;
        else this.failures.push(`answered ${reply.text()}`);
      } catch (error) {
        this.failures.push(String(error));
      }
    }
  }
}

/** Submits until it is refused; why. */
async function refusal(jobs: PreforkJobs, book: JobBook): Promise<string | undefined> {
  const end = performance.now() + RECOVERY;
  for (let number = 0; performance.now() < end; number++) {
    const body = `filling/${crypto.randomUUID()}/${"x".repeat(8192)}`;
    try {
      book.accept(await jobs.submit(body), body);
    } catch (error) {
      if (error instanceof ReplyError) return `${error.code} ${error.message}`;
    }
  }
  return undefined;
}

/** Submits until it is acknowledged; how long that took, ms. */
async function recovered(jobs: PreforkJobs, book: JobBook): Promise<number> {
  const started = performance.now();
  while (performance.now() - started < RECOVERY) {
    const body = `after/${crypto.randomUUID()}/`;
    const id = await jobs.submit(body).catch(() => undefined);
    if (id !== undefined) {
      book.accept(id, body);
      return performance.now() - started;
    }
    await pause(20);
  }
  return Infinity;
}

/** Everything of one run. */
class Trial implements AsyncDisposable {
  readonly book = new JobBook();
  readonly #folder = new Folder();
  readonly notes = `${this.#folder.path}/notes`;
  readonly #spell: number;
  #disk: SmallDisk | undefined;
  #server: ServerProcess | undefined;
  answered = 0;
  readonly failures: string[] = [];
  readonly rounds: Round[] = [];

  constructor(isFull: boolean) {
    this.#spell = isFull ? SPELL.full : SPELL.small;
    Deno.mkdirSync(this.notes);
  }

  /** Full and not full again; with a kill while it is full, and a start there. */
  async round(withKill: boolean): Promise<void> {
    const disk = this.#disk ??= await SmallDisk.mount(`${this.#folder.path}/disk`);
    let server = this.#server ??= await this.#start();
    let jobs = new PreforkJobs(server.endpoint);
    const shape = { inFlight: 20, perSecond: 200, watchEvery: 5, padding: 1000 };
    const load = new JobLoad(jobs, this.book, { ...shape, name: crypto.randomUUID() });
    await this.#besideRequests(server, async () => {
      await pause(this.#spell);
      disk.fill();
      await pause(this.#spell);
    });
    await load.stop();
    const reason = await refusal(jobs, this.book);
    if (withKill) {
      await jobs[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
      server = this.#server = await this.#start();
      jobs = new PreforkJobs(server.endpoint);
      await this.#besideRequests(server, () => pause(this.#spell));
    }
    disk.empty();
    this.rounds.push({ reason, recovery: await recovered(jobs, this.book) });
    await settle(jobs, this.book, PATIENCE);
    await jobs[Symbol.asyncDispose]();
  }

  async end(): Promise<void> {
    if (this.#server === undefined) return;
    await using jobs = new PreforkJobs(this.#server.endpoint);
    await askAgain(jobs, this.book);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    await this.#disk?.[Symbol.asyncDispose]();
    await until("the disk is gone", () => removed(this.#folder));
  }

  async #start(): Promise<ServerProcess> {
    const store = `sqlite:${this.#disk?.folder}/jobs.db`;
    // What is done must leave the small disk soon, but not before it was asked for again.
    return await startJobServer({ store, notes: this.notes, time: 1 });
  }

  async #besideRequests(server: ServerProcess, work: () => Promise<void>): Promise<void> {
    const requests = new Requests(server.endpoint);
    await work();
    await requests.end();
    this.answered += requests.answered;
    this.failures.push(...requests.failures);
  }
}

function removed(folder: Folder): boolean {
  try {
    folder[Symbol.dispose]();
    return true;
  } catch {
    return false;
  }
}

async function fill(isFull: boolean): Promise<Outcome> {
  await using trial = new Trial(isFull);
  const rounds = isFull ? ROUNDS.full : ROUNDS.small;
  for (let number = 0; number < rounds; number++) await trial.round(number % 2 === 1);
  await trial.end();
  const { verdict } = trial.book;
  const reasons = [...new Set(trial.rounds.map(({ reason }) => reason ?? "never refused"))];
  const slowest = Math.max(...trial.rounds.map(({ recovery }) => recovery));
  return {
    reached: isKept(verdict) && trial.answered > 0 && trial.failures.length === 0 &&
      slowest < RECOVERY && reasons.every((reason) => /^507 .*(full|space|room)/i.test(reason)),
    measured:
      `${rounds} times full: ${inWords(verdict)}; refused with "${reasons.join('", "')}"; ` +
      `submits go on ${slowest.toFixed(0)} ms after there is room; ${trial.answered} requests ` +
      `beside, ${[trial.failures.length, ...new Set(trial.failures)].join(": ")} failed; ` +
      runsInWords(countRuns(runsNoted(trial.notes))),
  };
}

if (import.meta.main) await report(fill);
