/** The store of a server that is not there: it keeps jobs in memory, and never runs one. */

import { noSpread } from "../../broker/histogram.ts";
import { type StoreLink, StoreRefusedError } from "../../ops/store_link.ts";
import type {
  JobAnswer,
  JobQuestion,
  JobState,
  JobStatus,
  OperatorAnswer,
  OperatorQuestion,
  StoreFigures,
  Submission,
} from "../../store/messages.ts";
import { bytes } from "./text.ts";

/** The id of the job of this number. */
export function idOf(number: number): string {
  return `j-${number.toString(16).padStart(32, "0")}`;
}

/** A job that waits since a minute. */
export function jobStatus(number: number, own: Partial<JobStatus> = {}): JobStatus {
  return {
    ...{ id: idOf(number), service: "", user: "", state: "waiting", version: 1, attempt: 0 },
    ...{ retries: 4, priority: 4, key: "", group: "", after: [], bytes: 5 },
    ...{ createdAt: Date.UTC(2026, 10, 21, 11, 30), runAt: Date.UTC(2026, 10, 21, 11, 30) },
    ...{ startedAt: undefined, endedAt: undefined, code: undefined, message: undefined },
    ...{ progress: undefined, node: "" },
    ...own,
  };
}

const NO_STATES: Record<JobState, number> = {
  ...{ scheduled: 0, waiting: 0, running: 0, done: 0, failed: 0, cancelled: 0, expired: 0 },
};

/** Figures of a service of which nothing was stored yet. */
export function serviceFigures(
  own: Partial<StoreFigures["services"][string]> = {},
): StoreFigures["services"][string] {
  return {
    ...{ paused: false, states: { ...NO_STATES }, submitted: 0, retried: 0 },
    ...{ ended: { done: 0, failed: 0, cancelled: 0, expired: 0 }, oldestMs: undefined },
    ...{ waitTime: noSpread(), totalTime: noSpread() },
    ...own,
  };
}

/** Answers operators. */
export class StandInStore implements StoreLink {
  readonly store = "sqlite:/var/lib/jobs.db";
  isUsed = true;
  jobs: JobStatus[];
  readonly paused = new Set<string>();
  /** What it was asked. */
  readonly asked: string[] = [];
  trouble: string | undefined;
  /** What each service was sent since the start; the rest of the figures follow from the jobs. */
  submitted = 0;
  schedules: StoreFigures["schedules"];
  /** Fulfilled: it answers. */
  answering = Promise.resolve();

  constructor(jobs: JobStatus[] = []) {
    this.jobs = jobs;
  }

  async operate(question: OperatorQuestion): Promise<OperatorAnswer> {
    this.asked.push(question.type);
    await this.answering;
    switch (question.type) {
      case "list":
        return this.#list(question);
      case "look": {
        const content = question.body ? { bytes: bytes("hello\xff") } : undefined;
        return { type: "look", status: this.#find(question.id), body: content, result: undefined };
      }
      case "retry":
        Object.assign(this.#find(question.id, ["failed", "cancelled", "expired"]), {
          state: "waiting",
        });
        return { type: "done", count: 1 };
      case "retryDead":
        return { type: "done", count: this.#retryDead(question.service) };
      case "delete": {
        const gone = this.#find(question.id, ["done", "failed", "cancelled", "expired"]);
        this.jobs = this.jobs.filter((job) => job !== gone);
        return { type: "done", count: 1 };
      }
      case "pause":
        this.paused.add(question.service);
        return { type: "done", count: 1 };
      case "resume":
        this.paused.delete(question.service);
        return { type: "done", count: 1 };
      case "backup":
        if (question.file.includes("taken")) throw new StoreRefusedError(409, "The file is there");
        return { type: "done", count: this.jobs.length };
      case "figures":
        return { type: "figures", figures: this.#figures() };
    }
  }

  ask(question: JobQuestion): Promise<JobAnswer> {
    this.asked.push(`ask ${question.type}`);
    return Promise.resolve().then(() => {
      const status = this.#find(question.id, ["scheduled", "waiting", "running"]);
      if (question.type === "cancel") status.state = "cancelled";
      return { status, result: undefined };
    });
  }

  submit(job: Submission): Promise<{ id: string; isNew: boolean }> {
    this.asked.push("submit");
    const { service, user, priority, key } = job;
    const bytes = job.body.bytes.length;
    this.jobs.push(jobStatus(0, { id: job.id, service, user, priority, key, bytes }));
    return Promise.resolve({ id: job.id, isNew: true });
  }

  #list(question: Extract<OperatorQuestion, { type: "list" }>): OperatorAnswer {
    const { state, service, after, limit } = question;
    const found = this.jobs.filter((job) =>
      (state === undefined || job.state === state) &&
      (service === undefined || job.service === service)
    );
    const start = after === undefined ? 0 : found.findIndex(({ id }) => id === after) + 1;
    return { type: "list", total: found.length, jobs: found.slice(start, start + limit) };
  }

  #find(id: string, states?: readonly JobState[]): JobStatus {
    const found = this.jobs.find((job) => job.id === id);
    if (found === undefined) throw new StoreRefusedError(404, `There is no job ${id}`);
    if (states === undefined || states.includes(found.state)) return found;
    throw new StoreRefusedError(409, `The job ${id} is ${found.state}`);
  }

  #retryDead(service: string): number {
    const dead = this.jobs.filter((job) => job.service === service && job.state === "failed");
    for (const job of dead) job.state = "waiting";
    return dead.length;
  }

  #figures(): StoreFigures {
    const services: StoreFigures["services"] = {};
    for (const { service, state } of this.jobs) {
      const paused = this.paused.has(service);
      const submitted = this.submitted;
      const own = services[service] ??= serviceFigures({ paused, submitted });
      own.states[state]++;
      if (state in own.ended) own.ended[state as keyof typeof own.ended]++;
      if (state === "waiting") own.oldestMs = 60_000;
    }
    const { store, trouble, schedules } = this;
    return { store, trouble, bytes: 8192, services, ...schedules && { schedules } };
  }
}
