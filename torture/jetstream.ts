/**
 * Stored jobs on NATS JetStream, in namespaces of their own: three servers of NATS and three of ours, each with a
 * network of its own on one bridge, while each is killed, paused and cut off in turn.
 *
 * @module
 */

import { Folder } from "../tests/rig/folder.ts";
import { trySignal } from "../tests/rig/processes.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { Daemon } from "../bench/daemon.ts";
import { Island, makeBridge } from "./island.ts";
import { countRuns, inWords, isKept, JobBook, runsInWords } from "./job_book.ts";
import { recording, runsNoted } from "./job_handler.ts";
import { askAgain, JobLoad, PreforkJobs, settle } from "./job_load.ts";
import { NatsLook } from "./nats_look.ts";
import { NatsQueue, seconds } from "./nats_queue.ts";
import { report } from "./namespace.ts";
import type { Outcome } from "./scenario.ts";

const COUNT = 3;
/** How long faults are made, ms. */
const DURATION = { full: 600_000, small: 12_000 };
/** How long one is paused, cut off, or dead, at least and besides, ms. */
const FAULT = { full: { least: 3000, spread: 9000 }, small: { least: 1500, spread: 500 } };
/** From one fault to the next, ms: the stream must find a leader again. */
const REST = { full: 8000, small: 1500 };
/**
 * Jobs a second of all clients together: three nodes and three servers of NATS on two cores do more than twice as many
 * while nothing is wrong, and have to do those that came while NATS had no leader besides.
 */
const RATE = { full: 100, small: 60 };
const HANDLER_TIME = 5;
/** A job of a node that says nothing for so long goes to another. */
const ACK_WAIT = "5s";
/** So long after the last fault, and after NATS has its leaders again, everything must be done, ms. */
const DONE_WITHIN = { full: 60_000, small: 60_000 };
/** Longer than anything takes, ms. */
const PATIENCE = { full: 300_000, small: 120_000 };

/** Something that is killed, paused and cut off. */
interface Victim {
  readonly name: string;
  readonly island: Island;
  readonly pid: number;
  /** Starts again, after it was killed. */
  restart(): Promise<void>;
  /** Kills it. */
  kill(): Promise<void>;
}

const CLIENT_PORT = 4222;
const MONITOR_PORT = 8222;
const ROUTE_PORT = 6222;

/** A server of NATS. */
class NatsServer implements Victim, AsyncDisposable {
  readonly name: string;
  readonly id: string;
  readonly island: Island;
  readonly monitor: string;
  readonly #file: string;
  #daemon: Daemon | undefined;

  constructor(index: number, island: Island, folder: Folder, routes: readonly string[]) {
    this.name = `NATS ${index}`;
    this.id = `n${index}`;
    this.island = island;
    const { address } = island;
    this.monitor = `http://${address}:${MONITOR_PORT}`;
    this.#file = folder.write(
      `nats${index}.conf`,
      `server_name: ${this.id}
listen: "${address}:${CLIENT_PORT}"
http: "${address}:${MONITOR_PORT}"
ping_interval: "1s"
ping_max: 2
jetstream { store_dir: "${folder.path}/nats${index}" }
cluster { name: c, listen: "${address}:${ROUTE_PORT}", routes: [${routes.join(", ")}] }
`,
    );
  }

  get pid(): number {
    return this.#daemon?.pid ?? 0;
  }

  restart(): Promise<void> {
    const [program = "", ...before] = this.island.prefix;
    const args = [...before, "nats-server", "--config", this.#file];
    this.#daemon = new Daemon({ program, args, reads: "nothing" });
    return Promise.resolve();
  }

  async kill(): Promise<void> {
    trySignal(this.pid, "SIGKILL");
    await this.#daemon?.[Symbol.asyncDispose]();
  }

  async isHealthy(): Promise<boolean> {
    try {
      const response = await fetch(`${this.monitor}/healthz`, {
        signal: AbortSignal.timeout(1000),
      });
      return (await response.text()).includes('"ok"');
    } catch {
      return false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** A server of ours. */
class Node implements Victim, AsyncDisposable {
  readonly name: string;
  readonly island: Island;
  readonly endpoint: string;
  readonly #store: string;
  readonly #notes: string;
  #server: ServerProcess | undefined;

  constructor(index: number, island: Island, folder: Folder, store: string) {
    this.name = `node ${index}`;
    this.island = island;
    this.endpoint = `tcp://${island.address}:6660`;
    this.#store = store;
    this.#notes = `${folder.path}/notes`;
  }

  get pid(): number {
    return this.#server?.pid ?? 0;
  }

  async restart(): Promise<void> {
    this.#server = await ServerProcess.start({
      handler: recording(this.#notes, HANDLER_TIME),
      args: [
        ...[
          "--workers",
          "2",
          "--job-share",
          "1",
          "--store",
          this.#store,
          "--frontend",
          this.endpoint,
        ],
        ...[`--handler-allow-write=${this.#notes}`, "--nats-ack-wait", ACK_WAIT],
        ...["--log-level", "info"],
      ],
      permissions: ["-A"],
      prefix: this.island.prefix,
      raw: true,
    });
  }

  async kill(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = undefined;
  }

  async ready(): Promise<void> {
    await this.#server?.line("worker ready");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }
}

/** What is done to one. */
type Fault = (victim: Victim, time: number) => Promise<void>;

const FAULTS: Readonly<Record<string, Fault>> = {
  async killed(victim, time) {
    await victim.kill();
    await pause(time);
    await victim.restart();
  },
  async paused({ pid }, time) {
    trySignal(pid, "SIGSTOP");
    await pause(time);
    trySignal(pid, "SIGCONT");
  },
  async "cut off"({ island }, time) {
    await island.cutOff();
    await pause(time);
    await island.rejoin();
  },
};

async function startAll(folder: Folder, stack: AsyncDisposableStack) {
  await makeBridge();
  const islands = (name: string, first: number) =>
    Array.from({ length: COUNT }, (_, index) => Island.make(`${name}${index}`, first + index));
  const [natsIslands, nodeIslands] = [
    await Promise.all(islands("nats", 1)),
    await Promise.all(islands("node", 11)),
  ];
  const routes = natsIslands.map(({ address }) => `"nats://${address}:${ROUTE_PORT}"`);
  const servers = natsIslands.map((island, index) =>
    stack.use(new NatsServer(index, island, folder, routes))
  );
  await Promise.all(servers.map((server) => server.restart()));
  for (const server of servers) {
    await until(`${server.name} is healthy`, () => server.isHealthy());
  }
  const addresses = natsIslands.map(({ address }) => `${address}:${CLIENT_PORT}`);
  const store = `nats://${addresses.join(",")}`;
  const nodes = nodeIslands.map((island, index) =>
    stack.use(new Node(index, island, folder, store))
  );
  for (const node of nodes) await node.restart();
  for (const node of nodes) await node.ready();
  return { servers, nodes };
}

/** Each victim meets each fault in turn, until the time is over; what was done, by name. */
async function disturb(victims: readonly Victim[], isFull: boolean): Promise<string[]> {
  const random = randomNumbers(11);
  const scale = isFull ? "full" : "small";
  const { least, spread } = FAULT[scale];
  const end = performance.now() + DURATION[scale];
  const done: string[] = [];
  const faults = Object.entries(FAULTS);
  for (let turn = 0; performance.now() < end; turn++) {
    // Each victim meets each fault: the next round begins with another one.
    const victim = victims[turn % victims.length];
    const [name, fault] = faults[(turn + Math.floor(turn / victims.length)) % faults.length] ?? [];
    if (victim === undefined || fault === undefined) break;
    await fault(victim, least + random(spread));
    done.push(`${victim.name} ${name}`);
    await pause(REST[scale]);
  }
  return done;
}

async function endure(isFull: boolean): Promise<Outcome> {
  const scale = isFull ? "full" : "small";
  using folder = new Folder();
  Deno.mkdirSync(`${folder.path}/notes`);
  await using stack = new AsyncDisposableStack();
  const { servers, nodes } = await startAll(folder, stack);
  const book = new JobBook();
  const jobs = nodes.map((_, first) => {
    const endpoints = nodes.map((_, index) => nodes[(first + index) % COUNT]?.endpoint ?? "");
    return stack.use(new PreforkJobs(endpoints));
  });
  const shape = { inFlight: 20, perSecond: RATE[scale] / COUNT, watchEvery: 5 };
  const loads = jobs.map((each, index) => new JobLoad(each, book, { ...shape, name: `c${index}` }));
  const queue = stack.use(new NatsQueue(servers));
  const faults = await disturb(mixed(servers, nodes), isFull);
  const end = performance.now();
  await Promise.all(loads.map((load) => load.stop()));
  const took = await queue.emptied(end, PATIENCE[scale]);
  const [asker] = jobs;
  if (asker === undefined) throw new Error("There is no client");
  await settle(asker, book, PATIENCE[scale]);
  await askAgain(asker, book);
  const gone = await goneFromStreams(servers, book);
  const { verdict } = book;
  // What JetStream has acknowledged and lost is told apart, and held against nobody here.
  const ours = {
    ...verdict,
    acknowledged: verdict.acknowledged - gone.records - gone.bodies,
    lost: verdict.lost - gone.records,
    changed: verdict.changed - gone.results,
  };
  return {
    reached: isKept(ours) && ours.lost === 0 && took !== undefined && took <= DONE_WITHIN[scale],
    measured: [
      `${faults.length} faults: ${inWords(verdict)}`,
      `of these NATS itself has lost, after it had acknowledged them, ${gone.records} records, ` +
      `${gone.results} results that were seen and ${gone.bodies} bodies`,
      took === undefined
        ? `${queue.left ?? "an unknown number of"} jobs waited when it was given up`
        : `none waited ${seconds(took)} after the faults were over and NATS had its leaders`,
      queue.inWords(),
      runsInWords(countRuns(runsNoted(`${folder.path}/notes`))),
    ].join("; "),
  };
}

/** The stream that holds a record of each job, and what it calls one: see store/nats_names.ts. */
const RECORDS = "KV_prefork_jobs";
const recordOf = (id: string) => `$KV.prefork_jobs.${id}`;

/** What a job fails with whose record NATS has, and whose body it has not. */
const NO_BODY = "NATS does not have its body";

/** What the streams have lost: of jobs that nobody knows any more, of those that were seen done, and of all others. */
async function goneFromStreams(servers: readonly Victim[], book: JobBook) {
  const { lost, changed } = book;
  const gone = { records: 0, results: 0, bodies: book.failedWith(NO_BODY).length };
  const [server] = servers;
  if (server === undefined || lost.length + changed.size === 0) return gone;
  using look = await NatsLook.connect(server.island.address, CLIENT_PORT);
  for (const id of lost) if (!await look.has(RECORDS, recordOf(id))) gone.records++;
  for (const id of changed) if (!await look.has(RECORDS, recordOf(id))) gone.results++;
  return gone;
}

/** Servers and nodes alternating, so that a short run meets both kinds. */
function mixed(servers: readonly Victim[], nodes: readonly Victim[]): Victim[] {
  return servers.flatMap((server, index) => [server, nodes[index] ?? server]);
}

if (import.meta.main) await report(endure);
