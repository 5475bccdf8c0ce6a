/**
 * A scenario about copies of a store that are made while jobs are submitted and run: each is a whole store by itself.
 *
 * @module
 */

import { DatabaseSync } from "node:sqlite";
import { Folder } from "../tests/rig/folder.ts";
import { ask } from "../tests/rig/operator.ts";
import { until } from "../tests/rig/wait.ts";
import { inWords, isKept, JobBook, type Verdict } from "./job_book.ts";
import { startJobServer } from "./job_handler.ts";
import { JobLoad, PreforkJobs, settle } from "./job_load.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const COPIES = 20;
const SMALL_COPIES = 2;
/** So many more jobs are acknowledged before each copy is asked for. */
const MORE = 200;
const RATE = 500;
const PATIENCE = 60_000;

/** What a copy turned out to be. */
interface Copy {
  /** Of all jobs that were acknowledged before it was asked for. */
  verdict: Verdict;
  check: string;
}

/** A book of the jobs that another one has now. */
function bookOf(book: JobBook): JobBook {
  const copy = new JobBook();
  for (const [id, body] of book.bodies) copy.accept(id, body);
  return copy;
}

/** Starts a server with the copy as its store, and asks it for all jobs. */
async function tryCopy(file: string, book: JobBook): Promise<Copy> {
  const database = new DatabaseSync(file);
  const [row] = database.prepare("PRAGMA quick_check").all();
  database.close();
  using folder = new Folder();
  await using server = await startJobServer({
    store: `sqlite:${file}`,
    notes: folder.path,
    time: 0,
  });
  await using jobs = new PreforkJobs(server.endpoint);
  await settle(jobs, book, PATIENCE);
  return { verdict: book.verdict, check: String(row?.quick_check) };
}

async function copyUnderLoad(scale: Scale): Promise<Outcome> {
  using folder = new Folder();
  const [notes, path] = [`${folder.path}/notes`, `${folder.path}/control`];
  Deno.mkdirSync(notes);
  const store = `sqlite:${folder.path}/jobs.db`;
  const args = ["--control", path];
  await using server = await startJobServer({ store, notes, time: 1, args });
  await using jobs = new PreforkJobs(server.endpoint);
  const book = new JobBook();
  const copies: Copy[] = [];
  const count = scale.full ? COPIES : SMALL_COPIES;
  while (copies.length < count) {
    const name = `job${copies.length}`;
    await using load = new JobLoad(jobs, book, {
      inFlight: 50,
      perSecond: RATE,
      watchEvery: 5,
      name,
    });
    const size = book.size + MORE;
    await until("jobs are acknowledged", () => book.size >= size);
    const before = bookOf(book);
    const file = `${folder.path}/copy${copies.length}.db`;
    const { status, text } = await ask({ path }, "/api/store/backup", { file }, {
      "content-type": "application/json",
    });
    if (status >= 300) throw new Error(`No copy was made: ${status} ${text}`);
    await load.stop();
    copies.push(await tryCopy(file, before));
  }
  const bad = copies.filter(({ verdict, check }) => !isKept(verdict) || check !== "ok");
  const first = bad.map(({ verdict, check }) => `: ${inWords(verdict)}, quick_check: ${check}`)[0];
  const jobsOf = copies.map(({ verdict }) => verdict.acknowledged);
  return {
    reached: copies.length > 0 && bad.length === 0,
    measured: `${copies.length} copies of up to ${Math.max(...jobsOf)} jobs, ${bad.length} bad` +
      `${first ?? ""}`,
  };
}

/** Copies under load. */
export const backupScenario: Scenario = {
  id: "R41",
  title:
    `${COPIES} copies of a store under load of submits and runs, each the store of another server`,
  figure: "each opens, is sound, and lacks no job that was acknowledged before",
  run: copyUnderLoad,
};
