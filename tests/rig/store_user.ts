/** Plane and server in one, as a test needs them: drives a store of jobs directly. */

import { StoreRefusedError } from "../../ops/store_link.ts";
import type { JobStore, OpenJobStore, StoreUser } from "../../store/job_store.ts";
import type {
  Frames,
  FromStore,
  JobAnswer,
  NatsOrders,
  OperatorAnswer,
  OperatorQuestion,
  RunOutcome,
  StoreConfig,
  StoredRun,
  Submission,
  ToStore,
} from "../../store/messages.ts";
import { SYSTEM_CLOCK } from "../../store/thread.ts";
import { until, within } from "./wait.ts";

/** Bounds of nothing. */
export function freeConfig(...services: string[]): StoreConfig {
  const free = { maxRunningPerGroup: 0, rate: { perSecond: 0, burst: 0 } };
  return {
    storeBytes: 1024 ** 3,
    storeJobs: 1_000_000,
    resultTtl: 86_400_000,
    deadTtl: 30 * 86_400_000,
    submitTimeout: 5000,
    services: Object.fromEntries(
      (services.length === 0 ? [""] : services).map((name) => [name, free]),
    ),
    schedules: {},
  };
}

/** A submission that asks for nothing special. */
export function submission(
  body: string | Uint8Array<ArrayBuffer>,
  more: Partial<Submission> = {},
): Submission {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  return {
    id: "",
    service: "",
    user: "",
    key: "",
    runAt: 0,
    priority: 4,
    retries: 4,
    backoff: { firstMs: 1000, maxMs: 3_600_000 },
    requestTimeout: 0,
    expiresAt: 0,
    group: "",
    after: [],
    trace: "",
    body: { bytes },
    ...more,
  };
}

/** The text of a body of one frame. */
export function textIn({ bytes }: Frames): string {
  return new TextDecoder().decode(bytes);
}

/** A good answer. */
export function answerOf(text: string): RunOutcome {
  return { code: 200, unstarted: false, result: { bytes: new TextEncoder().encode(text) }, ms: 1 };
}

/** An error as an answer. */
export function errorOf(code: number, text: string): RunOutcome {
  return { ...answerOf(text), code };
}

type Log = Extract<FromStore, { type: "log" }>;

/** See above. */
export class StoreUserRig {
  readonly #open: OpenJobStore;
  #store: JobStore | undefined;
  #last = 0;
  readonly #waiting = new Map<number, (message: FromStore) => void>();
  readonly logs: Log[] = [];
  readonly runs: StoredRun[] = [];
  readonly cancelled: number[] = [];
  readonly overs: Extract<FromStore, { type: "over" }>[] = [];
  isOpen = false;
  failure = "";
  /** Called with each job; undefined: they are gathered in `runs`. */
  onRun: ((run: StoredRun) => void) | undefined;
  /** Jobs that were given, by service. */
  readonly heard = new Map<string, number>();

  private constructor(open: OpenJobStore) {
    this.#open = open;
  }

  /** Opens a store, and waits until it is open unless `waits` is false. */
  static async start(
    open: OpenJobStore,
    store: string,
    { config = freeConfig(), nats, waits = true }: {
      config?: StoreConfig;
      nats?: NatsOrders;
      waits?: boolean;
    } = {},
  ): Promise<StoreUserRig> {
    const user = new StoreUserRig(open);
    user.#store = await user.#open({
      ...{ store, config, nats, clock: SYSTEM_CLOCK },
      emit: (to, messages) => user.#hear(to, messages),
    });
    if (waits) await until("the store is open", () => user.isOpen);
    return user;
  }

  say(message: ToStore, from: StoreUser = "plane"): void {
    this.#store?.take([message], from);
  }

  /** Takes so many jobs of a service more. */
  room(jobs: number, service = ""): void {
    this.say({ type: "room", service, jobs, heard: this.heard.get(service) ?? 0 });
  }

  async submit(job: Submission): Promise<{ id: string; isNew: boolean }> {
    const message = await this.#ask((number) => ({ type: "submit", number, job }));
    if (message.type === "stored") return { id: message.id, isNew: message.isNew };
    throw refusal(message);
  }

  async ask(
    question: Extract<ToStore, { type: "ask" }>["question"],
    user: string | undefined = "",
  ): Promise<JobAnswer> {
    const message = await this.#ask((number) => ({ type: "ask", number, user, question }));
    if (message.type === "answer") return message.answer;
    throw refusal(message);
  }

  async operate(question: OperatorQuestion): Promise<OperatorAnswer> {
    const message = await this.#ask((number) => ({ type: "operate", number, question }), "server");
    if (message.type === "told") return message.answer;
    throw refusal(message);
  }

  async checkpoint(run: number, text: string): Promise<void> {
    const value = { bytes: new TextEncoder().encode(text) };
    const message = await this.#ask((number) => ({ type: "checkpoint", run, number, value }));
    if (message.type !== "kept") throw refusal(message);
  }

  /** The next job that is given. */
  async nextRun(): Promise<StoredRun> {
    return await until("a job is given", () => this.runs.shift());
  }

  ended(run: StoredRun, outcome: RunOutcome): void {
    this.say({ type: "ended", run: run.run, outcome });
  }

  async close(): Promise<void> {
    const store = this.#store;
    this.#store = undefined;
    await store?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #ask(
    make: (number: number) => ToStore,
    from: StoreUser = "plane",
  ): Promise<FromStore> {
    const number = ++this.#last;
    const message = make(number);
    const answered = new Promise<FromStore>((resolve) => this.#waiting.set(number, resolve));
    this.say(message, from);
    return within(`"${message.type}" is answered`, answered);
  }

  #hear(_to: StoreUser, messages: readonly FromStore[]): void {
    for (const message of messages) this.#hearOne(message);
  }

  #hearOne(message: FromStore): void {
    if ("number" in message) {
      this.#waiting.get(message.number)?.(message);
      this.#waiting.delete(message.number);
    } else if (message.type === "job") {
      const { service } = message.run;
      this.heard.set(service, (this.heard.get(service) ?? 0) + 1);
      if (this.onRun === undefined) this.runs.push(message.run);
      else this.onRun(message.run);
    } else if (message.type === "cancelRun") this.cancelled.push(message.run);
    else if (message.type === "log") this.logs.push(message);
    else if (message.type === "over") this.overs.push(message);
    else if (message.type === "opened") this.isOpen = true;
    else if (message.type === "failed") {
      this.isOpen = false;
      this.failure = message.message;
    }
  }
}

function refusal(message: FromStore): Error {
  return message.type === "refused"
    ? new StoreRefusedError(message.code, message.message)
    : new Error(`Unexpected: ${message.type}`);
}
