/**
 * Power cuts, in namespaces of their own: a server is stopped at a random moment, and what its disk had then is
 * mounted as another disk, on which another server starts.
 *
 * A kill leaves what the kernel has not written yet; a power cut does not. So the server's file system lies in a file,
 * by way of a loop device: the file has what was written to the disk, and a copy of it is the disk after the cut. Its
 * journal is replayed as it is mounted.
 *
 * @module
 */

import { DatabaseSync } from "node:sqlite";
import { Folder } from "../tests/rig/folder.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import type { ServerProcess } from "../tests/rig/server_process.ts";
import { pause } from "../tests/rig/wait.ts";
import { countRuns, inWords, isKept, JobBook, runsInWords } from "./job_book.ts";
import { runsNoted, startJobServer } from "./job_handler.ts";
import { askAgain, JobLoad, PreforkJobs, settle } from "./job_load.ts";
import { must, report } from "./namespace.ts";
import type { Outcome } from "./scenario.ts";

const CUTS = { full: 25, small: 2 };
const IMAGE_BYTES = 512 * 1024 * 1024;
/** From the first acknowledged submit to the cut, at least and besides, ms. */
const LIFE = { least: 50, spread: 1500 };
/** One cut of so many comes while the server starts: so long after that at most, ms. */
const EARLY_EVERY = 5;
const EARLY_SPREAD = 600;
/** Until answers that were sent before the cut have come, ms. */
const DRAIN = 100;
/** Longer than what is left takes, ms. */
const PATIENCE = 300_000;

/** A disk in a file, mounted. */
class Disk implements AsyncDisposable {
  private constructor(readonly image: string, readonly folder: string) {}

  static async make(image: string): Promise<Disk> {
    await must("truncate", "--size", String(IMAGE_BYTES), image);
    await must("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image);
    return await Disk.mount(image);
  }

  static async mount(image: string): Promise<Disk> {
    const folder = `${image}.mounted`;
    Deno.mkdirSync(folder);
    await must("mount", "-o", "loop", image, folder);
    return new Disk(image, folder);
  }

  /** What the disk has at this moment, as another one. */
  async copy(image: string): Promise<Disk> {
    await must("cp", "--sparse=always", this.image, image);
    return await Disk.mount(image);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await must("umount", this.folder);
    Deno.removeSync(this.folder);
    Deno.removeSync(this.image);
  }
}

/** The servers and disks of one life after the other. */
class Lives implements AsyncDisposable {
  readonly book = new JobBook();
  readonly #places = new Folder();
  readonly #random = randomNumbers(7);
  readonly notes = `${this.#places.path}/notes`;
  #disk: Disk | undefined;
  #server: ServerProcess | undefined;
  #cuts = 0;
  early = 0;

  constructor() {
    Deno.mkdirSync(this.notes);
  }

  /** One life: load, and a cut in the middle of it. */
  async live(): Promise<void> {
    this.#disk ??= await Disk.make(`${this.#places.path}/disk`);
    const isEarly = ++this.#cuts % EARLY_EVERY === 0;
    const server = await this.#start(isEarly);
    if (isEarly) await pause(this.#random(EARLY_SPREAD));
    else await this.#load(server);
    server.signal("SIGSTOP");
    await this.#cut(server, this.#disk);
  }

  /** The last life: all that was acknowledged must be done. */
  async end(): Promise<void> {
    const server = await this.#start(false);
    await using jobs = new PreforkJobs(server.endpoint);
    await settle(jobs, this.book, PATIENCE);
    await askAgain(jobs, this.book);
  }

  /** What SQLite says of the file. */
  async check(): Promise<string> {
    await this.#leave();
    const database = new DatabaseSync(this.#store);
    const [row] = database.prepare("PRAGMA quick_check").all();
    database.close();
    return String(row?.quick_check);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#leave();
    await this.#disk?.[Symbol.asyncDispose]();
    this.#places[Symbol.dispose]();
  }

  get #store(): string {
    return `${this.#disk?.folder}/jobs.db`;
  }

  async #start(raw: boolean): Promise<ServerProcess> {
    const options = { store: `sqlite:${this.#store}`, notes: this.notes, time: 1, raw };
    if (raw) this.early++;
    return this.#server = await startJobServer(options);
  }

  async #load(server: ServerProcess): Promise<void> {
    const shape = { inFlight: 50, perSecond: 1000, watchEvery: 5, name: String(this.#cuts) };
    const jobs = new PreforkJobs(server.endpoint);
    const before = this.book.size;
    const load = new JobLoad(jobs, this.book, shape);
    while (this.book.size === before) await pause(10);
    await pause(LIFE.least + this.#random(LIFE.spread));
    server.signal("SIGSTOP");
    await pause(DRAIN);
    // What is under way will not be answered any more: its asker ends with it.
    await jobs[Symbol.asyncDispose]();
    await load.stop();
  }

  async #cut(server: ServerProcess, disk: Disk): Promise<void> {
    const next = await disk.copy(`${this.#places.path}/disk${this.#cuts}`);
    this.#disk = next;
    server.signal("SIGKILL");
    server.signal("SIGCONT");
    await this.#leave();
    await disk[Symbol.asyncDispose]();
  }

  async #leave(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }
}

async function cut(isFull: boolean): Promise<Outcome> {
  await using lives = new Lives();
  const cuts = isFull ? CUTS.full : CUTS.small;
  for (let number = 0; number < cuts; number++) await lives.live();
  await lives.end();
  const check = await lives.check();
  const { verdict } = lives.book;
  return {
    reached: isKept(verdict) && check === "ok",
    measured:
      `${cuts} cuts, ${lives.early} of them while the server started: ${inWords(verdict)}; ` +
      `${runsInWords(countRuns(runsNoted(lives.notes)))}; quick_check: ${check}`,
  };
}

if (import.meta.main) await report(cut);
