/**
 * A scenario about workers that speak Majordomo and vanish with the job that they have, in every way that there is:
 * their processes are killed, their connections break or are half closed, or nothing is heard of them any more.
 *
 * @module
 */

import { Client } from "../client.ts";
import { hasPyzmq, PythonWorker } from "../tests/rig/mdp_workers.ts";
import { Peer } from "../tests/rig/peer.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { RawPeer } from "../tests/rig/raw_peer.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { bytes, text } from "../tests/rig/text.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { message } from "../tests/rig/zmtp.ts";
import { quantile } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

type Bytes = Uint8Array<ArrayBuffer>;
const VERSIONS = ["0.1", "0.2"] as const;
type Version = typeof VERSIONS[number];

const SERVICE = "work";
/** Workers that vanish in the middle of a job. */
const VANISHED = 1000;
const HANDS = 8;
/** Workers that are processes, of which one is killed at a time. */
const PROCESSES = 2;
/** Of so many jobs, a worker vanishes with one. */
const ONE_IN = 20;
const HEARTBEAT = 200;
/** Silence after which a worker is given up, ms. */
const SILENCE = 3 * HEARTBEAT;
/** A job whose worker is known to be gone is answered within this time, ms. */
const PROMPT = 1000;
/** Clients of Majordomo, those of ours, and what each has under way. */
const CLIENTS = 4;
const OWN_CLIENTS = 2;
const WINDOW = 4;
const WAYS = ["broken", "half closed", "silent"] as const;
type Way = typeof WAYS[number];

/** What came of the requests. */
interface Sum {
  asked: number;
  answered: number;
  twice: number;
  wrong: number;
  errors: Map<string, number>;
  /** How the worker vanished that had a request, and when, ms. */
  vanished: Map<string, { way: Way; at: number }>;
  vanishes: number;
  kills: number;
  /** From there to the answer, ms. */
  delays: Record<Way, number[]>;
}

async function vanishing(scale: Scale): Promise<Outcome> {
  const args = [
    ...["--mdp", "tcp://127.0.0.1:0", "--mdp-workers", "any", "--mdp-heartbeat", `${HEARTBEAT}ms`],
    ...["--workers", "1", "--max-attempts", "10"],
  ];
  await using server = await ServerProcess.start({ args });
  const endpoint = await mdpOf(server);
  const sum: Sum = {
    ...{ asked: 0, answered: 0, twice: 0, wrong: 0, errors: new Map() },
    ...{ vanished: new Map(), vanishes: 0, kills: 0 },
    delays: { "broken": [], "half closed": [], "silent": [] },
  };
  const over = new AbortController();
  const [ended, closed] = [new AbortController(), new AbortController()];
  const random = randomNumbers(31);
  const hands = Array.from(
    { length: HANDS },
    (_, index) => work(endpoint, sum, random, over.signal, ended.signal, closed.signal, index),
  );
  const processes = hasPyzmq ? killProcesses(endpoint, sum, over.signal, ended.signal) : undefined;
  const clients = Array.from(
    { length: CLIENTS },
    (_, index) => askByMajordomo(endpoint, VERSIONS[index % 2] ?? "0.1", index, sum, over.signal),
  );
  const own = Array.from(
    { length: OWN_CLIENTS },
    (_, index) => askByOurs(server.endpoint, index, sum, over.signal),
  );
  const enough = scale.of(VANISHED);
  await until("enough have vanished", () => sum.vanishes >= enough, 3_000_000);
  over.abort();
  await Promise.all([...clients, ...own]);
  ended.abort();
  await processes;
  closed.abort();
  await Promise.all(hands);
  return outcome(sum, scale);
}

async function mdpOf(server: ServerProcess): Promise<string> {
  const line = await until("Majordomo's endpoint is bound", () => {
    const said = server.lines.find(({ mdp }) => mdp !== undefined);
    return said === undefined ? undefined : String(said.mdp);
  });
  return line.split(/[ ,]/)[0] ?? "";
}

function outcome(sum: Sum, { slack }: Scale): Outcome {
  const errors = [...sum.errors].map(([error, count]) => `, ${count} × ${error}`).join("");
  const lost = sum.asked - sum.answered;
  const slowest = (way: Way) => Math.max(0, ...sum.delays[way]);
  const inTime = slowest("broken") <= PROMPT * slack && slowest("half closed") <= PROMPT * slack &&
    slowest("silent") <= (SILENCE + PROMPT) * slack;
  const late = WAYS.map((way) => {
    const delays = sum.delays[way];
    return `${delays.length} ${way}: ${Math.round(quantile(delays, 0.5))} ms, at most ` +
      `${Math.round(slowest(way))} ms`;
  });
  const failed = lost + sum.twice + sum.wrong + sum.errors.size;
  return {
    reached: failed === 0 && inTime && WAYS.every((way) => sum.delays[way].length > 0),
    measured: `${sum.vanishes} workers vanished with a job, ${sum.kills} processes killed; ` +
      `${sum.asked} requests: ${lost} lost, ${sum.twice} answered twice, ${sum.wrong} wrong` +
      `${errors}; until the answer: ${late.join("; ")}`,
  };
}

// ---- workers ----

/**
 * Is one worker after the other. After `over`, none vanishes any more; after `ended`, there is none; what has vanished
 * with its connection open stays until `closed`.
 */
async function work(
  endpoint: string,
  sum: Sum,
  random: (below: number) => number,
  over: AbortSignal,
  ended: AbortSignal,
  closed: AbortSignal,
  index: number,
): Promise<void> {
  const rest: RawPeer[] = [];
  for (let round = index; !ended.aborted; round++) {
    const hand = new Hand(
      await RawPeer.connect(endpoint, { properties: { "Socket-Type": "DEALER" } }),
      VERSIONS[round % 2] ?? "0.1",
    );
    // Reading ends with the connection.
    const end = () => hand.close();
    ended.addEventListener("abort", end, { once: true });
    const mayVanish = (job: string) => {
      // A request whose worker vanished once has its time measured from then on.
      if (over.aborted || sum.vanished.has(job) || random(ONE_IN) > 0) return undefined;
      const way = WAYS[random(WAYS.length)] ?? "broken";
      sum.vanishes++;
      sum.vanished.set(job, { way, at: performance.now() });
      return way;
    };
    const way = await hand.live(mayVanish).catch(() => undefined);
    ended.removeEventListener("abort", end);
    if (way === "half closed" || way === "silent") rest.push(hand.peer);
    else hand.close();
  }
  await new Promise<void>((resolve) => {
    if (closed.aborted) resolve();
    closed.addEventListener("abort", () => resolve(), { once: true });
  });
  for (const peer of rest) peer[Symbol.dispose]();
}

/** A worker by hand. */
class Hand {
  readonly peer: RawPeer;
  readonly #version: Version;
  #isClosed = false;

  constructor(peer: RawPeer, version: Version) {
    this.peer = peer;
    this.#version = version;
  }

  close(): void {
    if (!this.#isClosed) this.peer[Symbol.dispose]();
    this.#isClosed = true;
  }

  /** Works until it vanishes, and says how; undefined: it was told to start anew, or its connection has ended. */
  async live(mayVanish: (job: string) => Way | undefined): Promise<Way | undefined> {
    const beat = () => void this.#say(HEARTBEAT_AT[this.#version]).catch(() => {});
    const timer = setInterval(beat, HEARTBEAT / 2);
    try {
      await this.#say(1, bytes(SERVICE));
      for (;;) {
        const frames = await this.peer.message();
        const [command, client, , body] = frames.slice(this.#version === "0.1" ? 2 : 1);
        if (command?.[0] === HEARTBEAT_AT[this.#version] + 1) return undefined;
        if (command?.[0] !== 2 || client === undefined || body === undefined) continue;
        const way = mayVanish(text(body));
        if (way !== undefined) return await this.#vanish(way);
        await this.#say(HEARTBEAT_AT[this.#version] - 1, client, EMPTY, bytes(upper(text(body))));
      }
    } finally {
      clearInterval(timer);
    }
  }

  /** One that is silent has shown that it beats while it works: so it must, and does not. */
  async #vanish(way: Way): Promise<Way> {
    if (way === "silent") await this.#say(HEARTBEAT_AT[this.#version]);
    if (way === "half closed") await this.peer.closeWrite();
    return way;
  }

  async #say(command: number, ...frames: Bytes[]): Promise<void> {
    const head = this.#version === "0.1" ? [EMPTY, bytes("MDPW01")] : [bytes("MDPW02")];
    await this.peer.write(message([...head, Uint8Array.of(command), ...frames]));
  }
}

const EMPTY = new Uint8Array(0);
/** The byte of HEARTBEAT; that of an answer's end is one less, that of DISCONNECT one more. */
const HEARTBEAT_AT = { "0.1": 4, "0.2": 5 } as const;

function upper(job: string): string {
  return job.toUpperCase();
}

/** Processes work, too: one after the other is killed, whatever it is at, and replaced. */
async function killProcesses(
  endpoint: string,
  sum: Sum,
  over: AbortSignal,
  ended: AbortSignal,
): Promise<void> {
  const start = (index: number) =>
    new PythonWorker(endpoint, VERSIONS[index % 2] ?? "0.1", SERVICE, {
      heartbeat: HEARTBEAT / 2,
    });
  const all = Array.from({ length: PROCESSES }, (_, index) => start(index));
  for (let index = PROCESSES; !over.aborted; index++) {
    const [oldest] = all.splice(0, 1);
    await until("it works", () => over.aborted || (oldest?.lines.length ?? 0) > 20);
    oldest?.kill();
    sum.kills++;
    await oldest?.[Symbol.asyncDispose]();
    all.push(start(index));
  }
  while (!ended.aborted) await pause(10);
  for (const worker of all) await worker[Symbol.asyncDispose]();
}

// ---- clients ----

/** Asks without a pause, several requests at a time, and counts each answer. */
async function askByMajordomo(
  endpoint: string,
  version: Version,
  index: number,
  sum: Sum,
  over: AbortSignal,
): Promise<void> {
  await using peer = new Peer(endpoint);
  const head = version === "0.1" ? ["", "MDPC01"] : ["MDPC02", Uint8Array.of(1)];
  const open = new Set<string>();
  let last = 0;
  const ask = () => {
    const job = `m${index}-${++last}`;
    open.add(job);
    sum.asked++;
    peer.send(...head, SERVICE, job);
  };
  while (open.size < WINDOW) ask();
  while (open.size > 0) {
    // Behind the protocol, what stands for the answer, and the service.
    const body = (await peer.receiveText()).slice(3);
    const [answer = "", error] = body;
    const job = answer.toLowerCase();
    if (answer === "" && error !== undefined) {
      count(sum, error);
      return;
    }
    if (!open.delete(job)) sum.twice++;
    else settle(sum, job, answer);
    if (!over.aborted) ask();
  }
  // What would come twice comes before this.
  peer.send("", "MDPC01", "mmi.service", SERVICE);
  for (let left = 1; left > 0;) {
    const body = (await peer.receiveText()).slice(3);
    if (body[0] === "200") left--;
    else sum.twice++;
  }
}

/** The same by our own client. */
async function askByOurs(
  endpoint: string,
  index: number,
  sum: Sum,
  over: AbortSignal,
): Promise<void> {
  await using client = new Client({ endpoint, timeout: 120_000, retries: 0 });
  let last = 0;
  const ask = async () => {
    while (!over.aborted) {
      const job = `o${index}-${++last}`;
      sum.asked++;
      try {
        const reply = await client.request(job, { service: SERVICE });
        settle(sum, job, reply.text());
      } catch (error) {
        count(sum, String(error));
      }
    }
  };
  await Promise.all(Array.from({ length: WINDOW }, ask));
}

function settle(sum: Sum, job: string, answer: string): void {
  sum.answered++;
  if (answer !== upper(job)) sum.wrong++;
  const vanished = sum.vanished.get(job);
  if (vanished !== undefined) sum.delays[vanished.way].push(performance.now() - vanished.at);
}

function count(sum: Sum, error: string): void {
  sum.errors.set(error, (sum.errors.get(error) ?? 0) + 1);
}

/** Workers of Majordomo. */
export const scenarios: Scenario[] = [{
  id: "R31",
  title: "1,000 of Majordomo's workers vanish with a job: broken off, half closed, silent, killed",
  figure: `none lost, none twice; answered ≤ ${PROMPT} ms after a connection broke, and ≤ ` +
    `${SILENCE + PROMPT} ms after the last word of one that is silent`,
  run: vanishing,
}];
