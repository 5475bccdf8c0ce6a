/**
 * `deno task bench:micro`: what is done for each request, piece by piece. The dispatch of a broker with
 * many clients, many workers and a full queue is timed along with that of a small one, since it must not
 * depend on how much there is; and the choice of a worker for each reason that there is.
 *
 * @module
 */

import { Broker } from "../broker.ts";
import { Dispatch, type Reason } from "../broker/dispatch.ts";
import {
  type Job,
  type JobRequest,
  newJob,
  newPeer,
  newWorker,
  type Worker,
} from "../broker/job.ts";
import type { BrokerLimits } from "../broker/limits.ts";
import { Roster } from "../broker/roster.ts";
import { TimeLimits } from "../broker/time_limits.ts";
import {
  buildJobHeader,
  JobReader,
  readReply,
  REPLY_BYTES,
  writeJob,
  writeReply,
} from "../wire/job.ts";
import { Code } from "../wire/request.ts";
import { buildRequestHeader, parseRequestHeader } from "../wire/request_header.ts";
import { Option, SocketType } from "../zmq/library.ts";
import { locateLibrary } from "../zmq/locate.ts";
import { MessagePool } from "../zmq/message.ts";
import { Context, type Socket } from "../zmq/socket.ts";

// --- headers ---

const requestHeader = buildRequestHeader({ id: 1, timeout: 10_000 });
const jobHeader = buildJobHeader("", "127.0.0.1", "");
const jobView = new DataView(jobHeader.buffer);
const replyView = new DataView(new ArrayBuffer(REPLY_BYTES));
const order = { job: 1, attempt: 1, deadline: 0, requestTimeout: 0, frames: 1 };
const reply = { job: 1, code: Code.ok, micros: 10, frames: 1 };
const reader = new JobReader();
reader.bytes.set(jobHeader);
writeReply(replyView, reply);

Deno.bench("request header: build", { group: "headers" }, () => {
  buildRequestHeader({ id: 1, timeout: 10_000 });
});
Deno.bench("request header: parse", { group: "headers" }, () => {
  parseRequestHeader(requestHeader);
});
Deno.bench("job header: write", { group: "headers" }, () => {
  writeJob(jobView, order);
});
Deno.bench("job header: parse", { group: "headers" }, () => {
  reader.read(jobHeader.length);
});
Deno.bench("reply header: write", { group: "headers" }, () => {
  writeReply(replyView, reply);
});
Deno.bench("reply header: read", { group: "headers" }, () => {
  readReply(replyView);
});

// --- dispatch ---

const LIMITS: BrokerLimits = {
  concurrency: 1,
  prefetch: 1,
  prefetchBudget: 1,
  dispatch: "mru",
  maxAttempts: 2,
  queueLimit: 20_000,
  queueBytes: 2 ** 30,
  overflow: "block",
  maxQueuePerClient: 0,
  requestTimeout: 0,
  stopTimeout: 30_000,
  abortGrace: 0,
};

const REQUEST: Omit<JobRequest<string>, "client"> = {
  envelope: [],
  requestId: undefined,
  body: "",
  bytes: 16,
  deadline: Infinity,
  requestTimeout: Infinity,
  key: "",
};

/** How long the handler took, µs. */
const MICROS = 100;
/** The broker's clock stands still, ms. */
const NOW = 1000;

/** A broker whose workers are all busy and whose queue stays as long as it is. */
class BusyBroker {
  readonly #broker = new Broker<string>(LIMITS, { wakeTime: 0.1 });
  /** What each client asks, again and again. */
  readonly #requests: JobRequest<string>[];
  /** What is with a worker, in turn. */
  readonly #running: { worker: Worker<string>; job: Job<string> }[] = [];
  #turn = 0;
  readonly #numbered: boolean;

  constructor(
    { clients, workers, queued, numbered = false }: {
      clients: number;
      workers: number;
      queued: number;
      /** Whether requests have numbers of their clients, and so can be cancelled. */
      numbered?: boolean;
    },
  ) {
    this.#numbered = numbered;
    this.#requests = Array.from({ length: clients }, (_, index) => ({
      ...REQUEST,
      client: newPeer<string>(index, jobHeader).home,
    }));
    for (let index = 0; index < workers; index++) this.#broker.workforce.add(index, NOW);
    for (let index = 0; index < workers + queued; index++) this.#submit(index);
    while (this.#assign());
  }

  /** One job ends, its worker gets the next one, and another one comes. */
  step(): void {
    const turn = this.#turn++;
    const ended = this.#running[turn % this.#running.length];
    if (ended === undefined) throw new Error("No worker has a job");
    const job = this.#broker.takeReply(ended.worker, ended.job.id, Code.ok, MICROS, NOW);
    if (job === undefined) throw new Error("The worker had no such job");
    this.#broker.recycle(job);
    this.#submit(turn);
    const next = this.#broker.next(NOW);
    if (next === undefined) throw new Error("The queue is empty");
    ended.worker = next.worker;
    ended.job = next.job;
  }

  #submit(index: number): void {
    const request = this.#requests[index % this.#requests.length];
    if (request === undefined) return;
    this.#broker.submit(this.#numbered ? { ...request, requestId: index } : request);
  }

  #assign(): boolean {
    const next = this.#broker.next(NOW);
    if (next !== undefined) this.#running.push({ worker: next.worker, job: next.job });
    return next !== undefined;
  }
}

const small = new BusyBroker({ clients: 1, workers: 2, queued: 1 });
const large = new BusyBroker({ clients: 1000, workers: 64, queued: 10_000 });
const numbered = new BusyBroker({ clients: 1000, workers: 64, queued: 10_000, numbered: true });

Deno.bench("dispatch: 1 client, 2 workers, 1 in the queue", {
  group: "dispatch",
  baseline: true,
}, () => small.step());
Deno.bench("dispatch: 1,000 clients, 64 workers, 10,000 in the queue", {
  group: "dispatch",
}, () => large.step());
Deno.bench("dispatch: the same, requests that can be cancelled", {
  group: "dispatch",
}, () => numbered.step());

// --- the choice of a worker, one bench for each heuristic of broker/dispatch.ts ---

/** Workers and what is known of them; the choice is made again and again, and nothing is assigned. */
function dispatchOf(
  { limits = {}, workers, handlerMicros }: {
    limits?: Partial<BrokerLimits>;
    /** Jobs that each worker has, and ms since it last started or answered one. */
    workers: readonly (readonly [jobs: number, since: number])[];
    handlerMicros: number;
  },
): { dispatch: Dispatch<string>; any: Worker<string> } {
  const all = { ...LIMITS, prefetch: 20, ...limits };
  const roster = new Roster<string>(new TimeLimits(all));
  const dispatch = new Dispatch(all, roster, 0.1);
  const client = newPeer<string>(0, jobHeader).home;
  const teacher = newWorker<string>(0, NOW);
  for (let job = 0; job < 100; job++) dispatch.learn(teacher, handlerMicros);
  let jobs = 0;
  const brought = workers.map(([count, since], index) => {
    const worker = newWorker<string>(index + 1, NOW);
    roster.add(worker);
    for (let job = 0; job < count; job++) {
      roster.assign(newJob(++jobs, { ...REQUEST, client }), worker, "any", NOW);
    }
    worker.progressAt = NOW - since;
    return worker;
  });
  return { dispatch, any: brought[0] ?? teacher };
}

/** Times one choice; throws where the reason is another one. */
function benchChoice(
  name: string,
  expected: Reason | "none",
  { limits = {}, workers, handlerMicros }: Parameters<typeof dispatchOf>[0],
): void {
  const { dispatch } = dispatchOf({ limits, workers, handlerMicros });
  const chosen = dispatch.choose(NOW);
  const reason = chosen === undefined ? "none" : dispatch.reason;
  if (reason !== expected) throw new Error(`The bench "${name}" chooses by "${reason}"`);
  Deno.bench(`choose: ${name}`, { group: "choose" }, () => {
    dispatch.choose(NOW);
  });
}

const times = (count: number, jobs: number, since: number) =>
  Array.from({ length: count }, () => [jobs, since] as const);

benchChoice("free, 64 idle workers", "free", { workers: times(64, 0, 500), handlerMicros: 10 });
benchChoice("awake, one has 3 jobs and 63 sleep (WAKE_TIME, JOB_OVERHEAD, AWAKE_TIME)", "awake", {
  workers: [[3, 0], ...times(63, 0, 500)],
  handlerMicros: 10,
});
benchChoice("soon, all have 9 jobs (TAIL_BUDGETS)", "soon", {
  workers: times(64, 9, 0),
  handlerMicros: 10,
});
benchChoice("soon, after 63 that are stuck (STUCK_BUDGETS)", "soon", {
  workers: [[9, 0], ...times(63, 9, 60)],
  handlerMicros: 10,
});
benchChoice("ending, the first of 64 (ENDING_BUDGETS, STEADY_FACTOR)", "ending", {
  workers: times(64, 1, 8),
  handlerMicros: 10_000,
});
benchChoice("none, 64 busy with long jobs", "none", {
  workers: times(64, 1, 1),
  handlerMicros: 10_000,
});

const long = dispatchOf({ workers: times(64, 1, 1), handlerMicros: 10_000 });
Deno.bench("choose: when the first of 64 will be ending", { group: "choose" }, () => {
  long.dispatch.endingIn(10, NOW);
});
const quick = dispatchOf({ workers: times(64, 1, 1), handlerMicros: 10 });
Deno.bench(
  "choose: whether a worker is spare (SPARE_WAIT, SPARE_STALL)",
  { group: "choose" },
  () => {
    quick.dispatch.spareSince(quick.any, 10, NOW);
  },
);

// --- messages ---

const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
const context = new Context(library);
const messages = new MessagePool(library);

/** Two sockets that talk in memory, so that only the calls are measured. */
function pair(name: string): [Socket, Socket] {
  const [one, other] = [context.socket(SocketType.PAIR), context.socket(SocketType.PAIR)];
  for (const socket of [one, other]) {
    socket.set(Option.SNDHWM, 0);
    socket.set(Option.RCVHWM, 0);
  }
  one.bind(`inproc://${name}`);
  other.connect(`inproc://${name}`);
  one.readable(); // takes the connection in
  return [one, other];
}

/** What is sent has arrived when the call is over: there is no thread in between. */
function arrive(size: number): void {
  if (size < 0) throw new Error("The message has not arrived");
}

const [here, there] = pair("bytes");
const body = new Uint8Array(16);
const frame = new Uint8Array(64);
Deno.bench("message: 16 B from and into JavaScript", { group: "messages" }, () => {
  here.sendLast(body);
  arrive(there.receiveInto(frame));
});

const [front, back] = pair("moved");
const moved = messages.from(body);
Deno.bench("message: 16 B moved as the broker does", { group: "messages" }, () => {
  front.moveLast(moved);
  arrive(back.receive(moved));
});
