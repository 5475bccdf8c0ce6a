/**
 * What clients were told about stored jobs, and what has become of it: pure. A job that was acknowledged must be done,
 * and a result that anybody was told must be the same for ever.
 *
 * @module
 */

/** How a job has ended, as a client sees it. */
export interface JobEnd {
  /** The state of the job; "unknown": the server has no such job; "unended": it goes on. */
  state: string;
  /** The result as text, of a job that is done. */
  result: string;
}

/** One acknowledged job. */
interface Entry {
  body: string;
  /** What a client was told first; undefined: nothing yet. */
  end: JobEnd | undefined;
}

/** Counts of a book. */
export interface Verdict {
  /** Submits that were answered with an id. */
  acknowledged: number;
  done: number;
  /** Acknowledged, and the server knows nothing of it. */
  lost: number;
  /** Ended otherwise than done, and those that never ended. */
  failed: number;
  unended: number;
  /** Results that belong to another job. */
  wrong: number;
  /** Results that were not the same when they were asked for again. */
  changed: number;
  /** Ids that two submits have got. */
  repeatedIds: number;
  /** Submits without an id, by reason. */
  refused: Record<string, number>;
  /** Ends that must not be, in the server's words, by the first job of each. */
  examples: Record<string, string>;
}

/** Text between the body and the mark of the run in a result. */
export const MARK = " run ";

/** Keeps all that was said. */
export class JobBook {
  readonly #entries = new Map<string, Entry>();
  readonly #refused: Record<string, number> = {};
  /** Ids of jobs whose results were not the same when they were asked for again. */
  readonly changed = new Set<string>();
  #repeatedIds = 0;

  /** A submit was answered with an id. */
  accept(id: string, body: string): void {
    if (this.#entries.has(id)) this.#repeatedIds++;
    else this.#entries.set(id, { body, end: undefined });
  }

  /** A submit was not. */
  refuse(reason: string): void {
    this.#refused[reason] = (this.#refused[reason] ?? 0) + 1;
  }

  /** A client was told how a job is. */
  tell(id: string, end: JobEnd): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    const { end: before } = entry;
    if (before?.state === "done" && (end.state !== "done" || end.result !== before.result)) {
      this.changed.add(id);
    }
    // What is not over yet may become better, never what is done.
    if (before?.state !== "done") entry.end = end;
  }

  /** Ids of jobs that nobody has seen done. */
  get open(): string[] {
    return [...this.#entries].filter(([, { end }]) => end?.state !== "done").map(([id]) => id);
  }

  /** Ids of jobs that the server knows nothing of. */
  get lost(): string[] {
    return [...this.#entries].filter(([, { body, end }]) => kindOf(body, end) === "lost")
      .map(([id]) => id);
  }

  /** Ids of jobs that have ended otherwise than done, with a message that has this text. */
  failedWith(text: string): string[] {
    return [...this.#entries].filter(([, { body, end }]) =>
      kindOf(body, end) === "failed" && end?.result.includes(text)
    ).map(([id]) => id);
  }

  /** What was submitted, by id. */
  get bodies(): [id: string, body: string][] {
    return [...this.#entries].map(([id, { body }]) => [id, body]);
  }

  /** Ids of all jobs. */
  get ids(): string[] {
    return [...this.#entries.keys()];
  }

  /** How many were acknowledged. */
  get size(): number {
    return this.#entries.size;
  }

  /** What it comes to. */
  get verdict(): Verdict {
    const verdict: Verdict = {
      acknowledged: this.size,
      ...{ done: 0, lost: 0, failed: 0, unended: 0, wrong: 0 },
      changed: this.changed.size,
      repeatedIds: this.#repeatedIds,
      refused: { ...this.#refused },
      examples: {},
    };
    for (const [id, { body, end }] of this.#entries) {
      const kind = kindOf(body, end);
      verdict[kind]++;
      if (kind !== "done") {
        verdict.examples[`${kind}: ${end?.state} ${end?.result.slice(0, 80)}`] ??= id;
      }
    }
    return verdict;
  }
}

function kindOf(body: string, end: JobEnd | undefined) {
  if (end === undefined || end.state === "unended") return "unended";
  if (end.state === "unknown") return "lost";
  if (end.state !== "done") return "failed";
  return end.result.startsWith(`${body}${MARK}`) ? "done" : "wrong";
}

/** Whether each acknowledged job is done, with one result of its own. */
export function isKept(verdict: Verdict): boolean {
  const { acknowledged, done, changed, repeatedIds } = verdict;
  return acknowledged > 0 && done === acknowledged && changed + repeatedIds === 0;
}

const MAX_EXAMPLES = 3;

/** A verdict in words. */
export function inWords(verdict: Verdict): string {
  const { acknowledged, done, lost, failed, unended, wrong, changed, repeatedIds } = verdict;
  const examples = Object.entries(verdict.examples).slice(0, MAX_EXAMPLES);
  const first = examples.map(([what, id]) => `, as ${id}: ${what}`).join("");
  const faults = Object.entries({
    failed,
    unended,
    wrong,
    "changed afterwards": changed,
    "ids given twice": repeatedIds,
  }).filter(([, count]) => count > 0).map(([what, count]) => `, ${count} ${what}`);
  return `${acknowledged} jobs acknowledged, ${done} done, ${lost} lost${faults.join("")}${first}${
    refusedInWords(verdict)
  }`;
}

function refusedInWords({ refused }: Verdict): string {
  const reasons = Object.entries(refused).map(([reason, count]) => `${count} × ${reason}`);
  return reasons.length === 0 ? "" : ` (submits refused: ${reasons.join(", ")})`;
}

/** How often jobs were run, from what their runs have noted. */
export interface Runs {
  runs: number;
  jobs: number;
  /** Runs after the first one of each job. */
  repeated: number;
}

/** Counts runs: an id for each. */
export function countRuns(ids: readonly string[]): Runs {
  const jobs = new Set(ids).size;
  return { runs: ids.length, jobs, repeated: ids.length - jobs };
}

/** The runs in words. */
export function runsInWords({ runs, repeated }: Runs): string {
  const share = runs === 0 ? 0 : repeated / runs * 100;
  return `${runs} runs, ${repeated} of them again (${share.toFixed(share < 0.1 ? 3 : 2)} %)`;
}
