/**
 * Scenarios about a main process that is killed: what it leaves behind, and how clients fare.
 *
 * @module
 */

import { AbandonedError, Client, ReplyError } from "../client.ts";
import { Folder } from "../tests/rig/folder.ts";
import { linesOf } from "../tests/rig/log_lines.ts";
import { Peer } from "../tests/rig/peer.ts";
import { isAlive } from "../tests/rig/processes.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const KILLS = 50;

// ---- what is left behind ----

/** Time in which all workers of a killed server must be gone, ms. */
const LEAVE_LIMIT = 1000;

/** One request keeps its worker busy forever; the others wait forever. */
const STUCK = `export default async (body, ctx) => {
  ctx.log.info("started");
  if (body.length === 1) for (;;);
  await new Promise(() => setInterval(() => {}, 1000));
};`;

async function leftBehind(scale: Scale): Promise<Outcome> {
  const times: number[] = [];
  for (let round = 0; round < scale.of(KILLS); round++) times.push(await orphan());
  const longest = Math.max(...times);
  return {
    reached: longest <= LEAVE_LIMIT * scale.slack,
    measured: `${times.length} kills, all processes gone after ${longest.toFixed(0)} ms or less`,
  };
}

/** Kills a server with workers that are busy, waiting and idle; how long one of them lives on, ms. */
async function orphan(): Promise<number> {
  await using server = await ServerProcess.start({ handler: STUCK, args: ["--workers", "3"] });
  await server.line("worker ready", 3);
  await using peer = new Peer(server.endpoint);
  peer.send("", "1");
  peer.send("", "22");
  await server.line("started", 2);
  const workers = linesOf(server, "worker spawned").map(({ pid }) => Number(pid));
  server.signal("SIGKILL");
  const killed = performance.now();
  await until("all processes are gone", () => ![server.pid, ...workers].some(isAlive));
  return performance.now() - killed;
}

// ---- how clients fare ----

/** Time in which a server that was started again must answer, ms. */
const RETURN_LIMIT = 2000;
/** Time between a server's first answer and its death, ms. */
const LIFE = 300;

/** Clients that ask one thing after the other, and what came of it. */
class Pirates {
  readonly #clients: Client[];
  readonly #runs: Promise<void>[];
  #open = true;
  answered = 0;
  wrong = 0;
  abandoned = 0;
  /** Texts of error replies: they are answers, but there is no reason for them. */
  readonly errors: string[] = [];

  constructor(endpoints: readonly string[], count: number) {
    this.#clients = Array.from({ length: count }, (_, index) => {
      const endpoint = endpoints[index % endpoints.length] ?? "";
      // What it takes to sit out a restart, and little enough to ask again soon.
      return new Client({ endpoint, timeout: 500, retries: 20 });
    });
    this.#runs = this.#clients.map((client, index) => this.#run(client, index));
    // What fails is reported at the end.
    for (const run of this.#runs) run.catch(() => {});
  }

  async end(): Promise<void> {
    this.#open = false;
    await Promise.all(this.#runs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open = false;
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
    await Promise.allSettled(this.#runs);
  }

  async #run(client: Client, index: number): Promise<void> {
    for (let number = 0; this.#open; number++) {
      const body = `${index}/${number}`;
      try {
        const reply = await client.request(body);
        this.answered++;
        if (reply.text() !== body) this.wrong++;
      } catch (error) {
        if (error instanceof AbandonedError) this.abandoned++;
        else if (error instanceof ReplyError) this.errors.push(error.message);
        else throw error;
      }
    }
  }
}

async function restarted(scale: Scale): Promise<Outcome> {
  using folder = new Folder();
  const ipc = `ipc://${folder.path}/frontend`;
  const start = (tcp: string) =>
    ServerProcess.start({
      raw: true,
      args: ["--workers", "2", "--frontend", tcp, "--frontend", ipc],
    });
  let server: ServerProcess = await start("tcp://127.0.0.1:0");
  try {
    await server.line("worker ready", 2);
    const tcp = server.endpoint;
    await using pirates = new Pirates([tcp, ipc], 8);
    const returns: number[] = [];
    while (returns.length < scale.of(KILLS)) {
      await pause(LIFE);
      const killed = performance.now();
      server.signal("SIGKILL");
      await server.ended();
      const old = server;
      server = await start(tcp);
      await answer(tcp);
      returns.push(performance.now() - killed);
      await old[Symbol.asyncDispose]();
    }
    await pirates.end();
    const { answered, wrong, abandoned, errors } = pirates;
    const longest = Math.max(...returns);
    const said = [`${errors.length} errors`, ...new Set(errors)].join(": ");
    return {
      reached: answered > 0 && wrong + abandoned + errors.length === 0 &&
        longest <= RETURN_LIMIT * scale.slack,
      measured: `${returns.length} restarts, ${answered} answers, ${abandoned} abandoned, ` +
        `${wrong} wrong, ${said}; serving again ${longest.toFixed(0)} ms after the kill`,
    };
  } finally {
    await server[Symbol.asyncDispose]();
  }
}

/** Waits until a server answers somebody new. */
async function answer(endpoint: string): Promise<void> {
  await using peer = new Peer(endpoint);
  await peer.ask("x");
}

/** A main process that is killed. */
export const scenarios: Scenario[] = [
  {
    id: "R6",
    title: "KILL to the main process while a worker is in a busy loop, 50 times",
    figure: "0 processes left after 1 s",
    run: leftBehind,
  },
  {
    id: "R7",
    title: "KILL to the main process under load, and a new start, 50 times",
    figure: "each lazy pirate gets each answer; serving again ≤ 2 s after the kill",
    run: restarted,
  },
];
