/**
 * Pools on other machines, in namespaces of their own: a server that has no workers, and two machines that join it over
 * a network. Machines, pools and workers are killed and held up, links go down and come back, packets are lost. Requests
 * and stored jobs come all the time.
 *
 * @module
 */

import { startLoad } from "../bench/load.ts";
import { Folder } from "../tests/rig/folder.ts";
import { JoinRing } from "../tests/rig/joined.ts";
import { linesOf } from "../tests/rig/log_lines.ts";
import { childrenOf, isAlive, trySignal } from "../tests/rig/processes.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { describe, isFlawless, ms } from "./figures.ts";
import { HERE, Island, makeBridge } from "./island.ts";
import { countRuns, inWords, isKept, JobBook, runsInWords } from "./job_book.ts";
import { recording, runsNoted } from "./job_handler.ts";
import { askAgain, JobLoad, PreforkJobs, settle } from "./job_load.ts";
import { report } from "./namespace.ts";
import type { Outcome } from "./scenario.ts";

const NAMES = ["east", "west"];
/** Workers of each machine. */
const WORKERS = 2;
/** Each of the machines meets all faults in random order, again and again, for so long, ms. */
const DURATION = 240_000;
/** How long a fault lasts, at least and besides: a connection is given up after 5 s of silence, ms. */
const FAULT = { least: 500, spread: 9500 };
/** From one fault of a machine to its next, at least and besides, ms. */
const REST = { least: 200, spread: 4000 };
/** Of all packets so many are lost, in either direction. */
const LOST_SHARE = 0.2;
/** What each machine meets in the small size: one is given up, the other one goes on. */
const SMALL: readonly (readonly [fault: keyof typeof FAULTS, time: number][])[] = [
  [["link down", 5500]],
  [["packets lost", 2200], ["worker killed", 100], ["held up", 800], ["pool killed", 200]],
];
/** What a job and a request take, ms. */
const HANDLER_TIME = 15;
/** Jobs a second; requests a second, and how many of these are under way at a time. */
const JOBS = { perSecond: 40, inFlight: 20 };
const REQUESTS = { rate: 60, clients: 4, window: 5 };
/** Longer than anything takes that is still to be done when all faults are over, ms. */
const PATIENCE = 60_000;
/** Once all faults are over, all workers are back within this, ms. */
const BACK_WITHIN = 20_000;

/** A machine with a pool. */
class Machine implements AsyncDisposable {
  readonly name: string;
  readonly #island: Island;
  readonly #start: () => Promise<ServerProcess>;
  #pool: ServerProcess | undefined;
  /** How often pools of it have joined, and lost the server. */
  joined = 0;
  lost = 0;
  /** Workers that were killed alone: what such a one runs may be to blame. */
  killedAlone = 0;

  private constructor(name: string, island: Island, start: () => Promise<ServerProcess>) {
    this.name = name;
    this.#island = island;
    this.#start = start;
  }

  /** Makes one with its cable plugged in, and nothing that runs. `args`: those of its pools. */
  static async make(
    name: string,
    host: number,
    handler: string,
    args: readonly string[],
  ): Promise<Machine> {
    const island = await Island.make(name, host);
    const { prefix } = island;
    const own = [...args, "--workers", String(WORKERS), "--log-level", "info"];
    const options = { handler, args: own, permissions: ["-A"], prefix, raw: true };
    return new Machine(name, island, () => ServerProcess.start(options));
  }

  get island(): Island {
    return this.#island;
  }

  /** The process of its pool, and those of its workers. */
  get pids(): number[] {
    const { pid } = this.pool;
    return [pid, ...childrenOf(pid)];
  }

  get pool(): ServerProcess {
    if (this.#pool === undefined) throw new Error(`Nothing runs on "${this.name}"`);
    return this.#pool;
  }

  async boot(): Promise<void> {
    this.#pool = await this.#start();
  }

  /** Kills the pool's main process; its workers end as nobody is there any more. */
  async killPool(): Promise<void> {
    await this.#leave();
  }

  /** Kills all that runs. */
  async killAll(): Promise<void> {
    const { pids } = this;
    for (const pid of pids) trySignal(pid, "SIGKILL");
    await this.#leave();
  }

  /** Has the pool stop. */
  async stop(): Promise<Deno.CommandStatus> {
    this.pool.signal("SIGTERM");
    const status = await this.pool.ended();
    await this.#leave();
    return status;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#pool !== undefined) await this.#leave();
  }

  async #leave(): Promise<void> {
    const pool = this.pool;
    await pool[Symbol.asyncDispose]();
    this.joined += linesOf(pool, "joined").length;
    this.lost += linesOf(pool, "the server is lost, and the workers with it").length;
    this.#pool = undefined;
  }
}

/** What is done to a machine for a time, after which it is whole again. */
type Fault = (machine: Machine, time: number, random: (below: number) => number) => Promise<void>;

const FAULTS = {
  async "machine killed"(machine, time) {
    await machine.island.plug("down");
    await machine.killAll();
    await pause(time);
    await machine.island.plug("up");
    await machine.boot();
  },
  async "pool killed"(machine, time) {
    await machine.killPool();
    await pause(time);
    await machine.boot();
  },
  async "pool stopped"(machine, time) {
    await machine.stop();
    await pause(time);
    await machine.boot();
  },
  async "worker killed"(machine, time, random) {
    const [, ...workers] = machine.pids;
    const pid = workers[random(Math.max(1, workers.length))];
    if (pid !== undefined && trySignal(pid, "SIGKILL")) machine.killedAlone++;
    await pause(time);
  },
  async "link down"({ island }, time) {
    await island.plug("down");
    await pause(time);
    await island.plug("up");
  },
  async "packets lost"({ island }, time) {
    await island.lose(LOST_SHARE);
    await pause(time);
    await island.rejoin();
  },
  /** As a virtual machine is that is moved: what it was about to say, it says later. */
  async "held up"({ pids }, time) {
    for (const pid of pids) trySignal(pid, "SIGSTOP");
    await pause(time);
    for (const pid of pids) trySignal(pid, "SIGCONT");
  },
} satisfies Record<string, Fault>;

const KINDS = Object.entries<Fault>(FAULTS);

/** Each fault in random order, again and again; how many there were. */
async function disturb(machine: Machine, seed: number): Promise<number> {
  const random = randomNumbers(seed);
  const end = performance.now() + DURATION;
  let count = 0;
  for (;;) {
    for (const [, fault] of shuffled(KINDS, random)) {
      if (performance.now() >= end) return count;
      await fault(machine, FAULT.least + random(FAULT.spread), random);
      count++;
      await pause(REST.least + random(REST.spread));
    }
  }
}

/** These faults; how many they were. */
async function disturbBriefly(
  machine: Machine,
  faults: readonly (readonly [keyof typeof FAULTS, number])[],
): Promise<number> {
  for (const [name, time] of faults) {
    const fault: Fault = FAULTS[name];
    await fault(machine, time, randomNumbers(1));
  }
  return faults.length;
}

function shuffled<T>(list: readonly T[], random: (below: number) => number): T[] {
  return list.map((each) => [random(1_000_000), each] as const)
    .sort(([one], [other]) => one - other).map(([, each]) => each);
}

/** A server that has no workers of its own. */
async function startServer(ring: JoinRing, store: string): Promise<ServerProcess> {
  const server = await ServerProcess.start({
    args: [
      ...["--workers", "0", "--join-endpoint", `tcp://${HERE}:0`, "--join-clients", ring.list],
      ...["--join-secret-key", ring.secretKeyFile, "--store", store, "--job-share", "1"],
      ...["--frontend", "tcp://127.0.0.1:0", "--log-level", "info"],
    ],
    permissions: ["-A"],
    raw: true,
  });
  await server.line("listening");
  return server;
}

/** Waits until the server has all workers in service, and no others; how long that took, ms. */
async function allAreBack(server: ServerProcess, machines: readonly Machine[]): Promise<number> {
  const start = performance.now();
  await until("all workers are in service", async () => {
    const { idle, busy, starting, stopping } = await server.state();
    const ready = Number(idle) + Number(busy);
    return ready === machines.length * WORKERS && Number(starting) + Number(stopping) === 0;
  });
  return performance.now() - start;
}

/** Processes in this namespace that are neither this one nor among these. */
function othersThan(known: readonly number[]): number[] {
  const SHELL = 1;
  const expected = new Set([SHELL, Deno.pid, ...known]);
  return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name))
    .filter((pid) => pid > 0 && !expected.has(pid) && isAlive(pid));
}

async function endure(isFull: boolean): Promise<Outcome> {
  using folder = new Folder();
  using ring = new JoinRing(...NAMES);
  const notes = `${folder.path}/notes`;
  Deno.mkdirSync(notes);
  await makeBridge();
  await using server = await startServer(ring, `sqlite:${folder.path}/jobs.db`);
  const join = String((await server.line("other machines can join")).join);
  const handler = recording(notes, HANDLER_TIME, HANDLER_TIME);
  await using stack = new AsyncDisposableStack();
  const machines: Machine[] = [];
  for (const [index, name] of NAMES.entries()) {
    const args = [...ring.argsOf(name, join), `--handler-allow-write=${notes}`];
    machines.push(stack.use(await Machine.make(name, index + 1, handler, args)));
  }
  await Promise.all(machines.map((machine) => machine.boot()));
  await allAreBack(server, machines);

  const book = new JobBook();
  const jobs = stack.use(new PreforkJobs(server.endpoint));
  const load = new JobLoad(jobs, book, { ...JOBS, watchEvery: 5, name: "job" });
  const shape = { ...REQUESTS, size: 64, correlate: true, grace: PATIENCE };
  const requests = stack.use(startLoad({ endpoint: server.endpoint, ...shape }));
  const counts = await Promise.all(machines.map((machine, index) => {
    return isFull ? disturb(machine, index + 1) : disturbBriefly(machine, SMALL[index] ?? []);
  }));
  const back = await allAreBack(server, machines);
  requests.stop();
  await load.stop();
  const figures = await requests.figures;
  await settle(jobs, book, PATIENCE);
  await askAgain(jobs, book);

  const { returned, lost } = await server.state();
  const failedTries = Number(lost);
  const known = [server.pid, ...machines.flatMap(({ pids }) => pids)];
  const leftOver = othersThan(known);
  const ends = await Promise.all(machines.map((machine) => machine.stop()));
  server.signal("SIGTERM");
  ends.push(await server.ended());
  leftOver.push(...othersThan([]));
  const sum = (of: (machine: Machine) => number) =>
    machines.reduce((sum, machine) => sum + of(machine), 0);
  const faults = counts.reduce((sum, count) => sum + count, 0);
  const killedAlone = sum(({ killedAlone }) => killedAlone);
  return {
    reached: isFlawless(figures) && isKept(book.verdict) && failedTries <= killedAlone &&
      leftOver.length === 0 && ends.every(({ code }) => code === 0) && back <= BACK_WITHIN,
    measured: [
      `${faults} faults, pools joined ${sum(({ joined }) => joined)} times and lost the server ` +
      `${sum(({ lost }) => lost)} times: ${describe(figures)}, slowest ${ms(figures.slowest)}`,
      inWords(book.verdict),
      runsInWords(countRuns(runsNoted(notes))),
      `the server had ${returned} run again, ${failedTries} tries of jobs failed with the ` +
      `${killedAlone} workers that were killed alone`,
      `all workers were back ${(back / 1000).toFixed(1)} s after the last fault, ` +
      `${leftOver.length} processes left over`,
    ].join("; "),
  };
}

if (import.meta.main) await report(endure);
