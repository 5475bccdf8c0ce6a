/**
 * `deno task bench:micro`: what is done for each request, piece by piece. The dispatch of a broker with
 * many clients, many workers and a full queue is beside that of a small one, since it must not depend
 * on how much there is.
 *
 * @module
 */

import { Broker } from "../broker.ts";
import { type Job, type JobRequest, newClient, type Worker } from "../broker/job.ts";
import type { BrokerLimits } from "../broker/limits.ts";
import {
  buildJobHeader,
  JobReader,
  readReply,
  REPLY_BYTES,
  writeJob,
  writeReply,
} from "../wire/job.ts";
import { buildRequestHeader, Code, parseRequestHeader } from "../wire/request.ts";
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

  constructor({ clients, workers, queued }: { clients: number; workers: number; queued: number }) {
    const id = (index: number) => new Uint8Array(new Uint32Array([index]).buffer);
    this.#requests = Array.from({ length: clients }, (_, index) => ({
      ...REQUEST,
      client: newClient(id(index), jobHeader),
    }));
    for (let index = 0; index < workers; index++) this.#broker.addWorker(index, id(index), NOW);
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
    this.#submit(turn);
    const next = this.#broker.next(NOW);
    if (next === undefined) throw new Error("The queue is empty");
    ended.worker = next.worker;
    ended.job = next.job;
  }

  #submit(index: number): void {
    const request = this.#requests[index % this.#requests.length];
    if (request !== undefined) this.#broker.submit(request);
  }

  #assign(): boolean {
    const next = this.#broker.next(NOW);
    if (next !== undefined) this.#running.push({ worker: next.worker, job: next.job });
    return next !== undefined;
  }
}

const small = new BusyBroker({ clients: 1, workers: 2, queued: 1 });
const large = new BusyBroker({ clients: 1000, workers: 64, queued: 10_000 });

Deno.bench("dispatch: 1 client, 2 workers, 1 in the queue", {
  group: "dispatch",
  baseline: true,
}, () => small.step());
Deno.bench("dispatch: 1,000 clients, 64 workers, 10,000 in the queue", {
  group: "dispatch",
}, () => large.step());

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
