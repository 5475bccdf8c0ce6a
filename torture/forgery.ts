/**
 * Scenarios about peers of the backend that say what only a worker may say, and about a worker that says
 * what it must not.
 *
 * @module
 */

import { generate } from "../bench/generator.ts";
import type { Figures } from "../bench/load.ts";
import { Folder } from "../tests/rig/folder.ts";
import { Peer } from "../tests/rig/peer.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { bytes } from "../tests/rig/text.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { buildJobSignal, FromWorker, MEMORY_BYTES, REPLY_BYTES } from "../wire/job.ts";
import { Code } from "../wire/request.ts";
import { describe, isFlawless } from "./figures.ts";
import { forgeEnd, forgeRecord, RECORD_ECHO, type RecordEcho } from "./forged_records.ts";
import {
  ECHO,
  type Echo,
  OpenBroker,
  type Play,
  type PlayedWorker,
  reply,
  type Report,
  typed,
} from "./open_broker.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

type Frame = Uint8Array<ArrayBuffer>;
type Random = (below: number) => number;

const MESSAGES = 10_000;
/** Workers that lie about sizes and rings. */
const LIARS = 100;
/** Forged messages between two turns of others. */
const BURST = 50;
/** Reports of the same wrong are at least this far apart, ms; a busy machine writes some of them late. */
const REPORT_INTERVAL = { full: 990, small: 500 };
const TRAFFIC = { clients: 4, window: 4, size: 100, correlate: true };
/** What the log says of them. */
const WRONGS = ["messages of no worker dropped", "replies of workers to no job of theirs dropped"];

/** Forged messages from peers that are not workers, and from one that is. */
export const scenarios: Scenario[] = [{
  id: "R18",
  title:
    "10,000 forged messages of strangers and as many of a worker, at a tcp and at an ipc backend " +
    "and on the lane of records; 100 workers that lie about sizes and rings",
  figure:
    "0 wrong replies, 0 jobs left; each dropped, counted, and logged no more than once a second; " +
    "liars lose their connection, and nobody else anything",
  run,
}];

async function run(scale: Scale): Promise<Outcome> {
  using folder = new Folder();
  const outcomes: Outcome[] = [];
  for (const backend of ["tcp://127.0.0.1:0", `ipc://${folder.path}/backend`]) {
    outcomes.push(await strangers(backend, scale, zmqStrangers));
    outcomes.push(await rogueWorker(backend, scale, ECHO, sendForged));
  }
  outcomes.push(await strangers(undefined, scale, recordStrangers));
  const backend = `ipc://${folder.path}/records`;
  outcomes.push(await rogueWorker(backend, scale, RECORD_ECHO, sayForged));
  outcomes.push(await liars(backend, scale));
  return {
    reached: outcomes.every(({ reached }) => reached),
    measured: outcomes.map(({ measured }) => measured).join("; "),
  };
}

/** Has so many forged messages sent to an endpoint by peers that know no token; they stay until they are disposed of. */
type Strangers = (endpoint: string, count: number, random: Random) => Promise<AsyncDisposable>;

/** Peers that know no token talk to the backend of a server that is at work; undefined: its own one. */
async function strangers(
  backend: string | undefined,
  scale: Scale,
  send: Strangers,
): Promise<Outcome> {
  const count = scale.of(MESSAGES);
  // A backend of this machine speaks ZeroMQ only where the server does.
  const named = backend === undefined ? [] : ["--backend", backend, "--transport", "libzmq"];
  await using server = await ServerProcess.start({ args: ["--workers", "2", ...named] });
  const stop = new AbortController();
  const load = generate({ ...TRAFFIC, endpoint: server.endpoint }, stop.signal);
  // What libzmq has not passed on when they leave is lost.
  await using _strangers = await send(server.backend, count, randomNumbers(count));
  const state = await until("all are counted", async () => {
    const state = await server.state();
    return Number(state.intruders) >= count && state;
  });
  stop.abort();
  const figures = await load;
  const { running, queued, strayReplies } = await server.state();
  const counted = Number(state.intruders) + Number(strayReplies);
  const left = Number(running) + Number(queued);
  const reports = () =>
    server.lines.map(({ time, message, count = 0 }) => ({
      at: Date.parse(time),
      message,
      count: Number(count),
    }));
  await until("all is logged", () => sumOf(reports()) >= counted);
  const lost = server.lines.filter(({ message }) => message === "worker exited").length;
  const round = { count, counted, left, lost, figures, reports: reports() };
  return judge("strangers", backend ?? "records", round, scale);
}

/** Two peers on ZeroMQ's sockets. */
async function zmqStrangers(
  endpoint: string,
  count: number,
  random: Random,
): Promise<AsyncDisposable> {
  const peers = new AsyncDisposableStack();
  const nameless = peers.use(new Peer(endpoint));
  const named = peers.use(new Peer(endpoint, { identity: "waiting" }));
  for (let sent = 0; sent < count; sent++) {
    const peer = sent % 2 === 0 ? nameless : named;
    peer.send(...forge(random, random(count)));
    if (sent % BURST === 0) await pause(1); // others have their turn
  }
  return peers;
}

/** A connection for each record: the first one that is wrong ends it. */
async function recordStrangers(
  endpoint: string,
  count: number,
  random: Random,
): Promise<AsyncDisposable> {
  const path = endpoint.slice("ipc://".length);
  for (let sent = 0; sent < count; sent++) {
    using connection = await Deno.connect({ transport: "unix", path });
    await connection.write(forgeRecord(random, random(count)));
    if (sent % BURST === 0) await pause(1); // others have their turn
  }
  return new AsyncDisposableStack();
}

/** A worker that does its jobs answers those of another one too, and says whatever else it must not. */
async function rogueWorker<W extends PlayedWorker>(
  backend: string,
  scale: Scale,
  play: Play<W>,
  say: (rogue: W, random: Random, job: number) => unknown,
): Promise<Outcome> {
  const count = scale.of(MESSAGES);
  await using broker = new OpenBroker(backend, play);
  const honest = await broker.worker("honest");
  const rogue = await broker.worker("rogue");
  const stop = new AbortController();
  const load = generate({ ...TRAFFIC, endpoint: broker.endpoint }, stop.signal);
  const random = randomNumbers(count);
  for (let sent = 0; sent < count; sent++) {
    await say(rogue, random, honest.someJob(random));
    if (sent % BURST === 0) await pause(1); // others have their turn
  }
  await until("all are counted", () => broker.wrongs >= count);
  stop.abort();
  const figures = await load;
  const { running, queued } = broker.loop.look();
  const left = running + queued;
  await until("all is logged", () => sumOf(broker.reports) >= broker.wrongs);
  const { wrongs: counted, lost, reports } = broker;
  return judge("a worker", backend, { count, counted, left, lost, figures, reports }, scale);
}

function sendForged({ peer }: Echo, random: Random, job: number): void {
  peer.send(...forge(random, job));
}

async function sayForged(rogue: RecordEcho, random: Random, job: number): Promise<void> {
  await rogue.say(forgeRecord(random, job));
}

/** Workers that say one thing that can't be read on, or can't be true: each loses its connection. */
async function liars(backend: string, scale: Scale): Promise<Outcome> {
  const count = scale.of(LIARS);
  await using broker = new OpenBroker(backend, RECORD_ECHO);
  const honest = await broker.worker("honest");
  const stop = new AbortController();
  const load = generate({ ...TRAFFIC, endpoint: broker.endpoint }, stop.signal);
  const random = randomNumbers(count);
  for (let number = 0; number < count; number++) {
    const liar = await broker.worker(`liar ${number}`);
    await liar.say(forgeEnd(random, honest.someJob(random)));
    await until("the liar is sent away", () => liar.isEnded);
  }
  stop.abort();
  const figures = await load;
  const { running, queued } = broker.loop.look();
  const { lost, wrongs } = broker;
  const left = running + queued;
  return {
    reached: lost === count && wrongs === count && left === 0 && isFlawless(figures),
    measured: `of ${count} liars ${lost} lost and ${wrongs} counted, ${left} jobs left, ${
      describe(figures)
    }`,
  };
}

/** What came of one round. */
interface Round {
  /** Forged messages that were sent. */
  count: number;
  counted: number;
  /** Jobs that had not ended when all clients had their replies. */
  left: number;
  /** Workers that were taken for gone. */
  lost: number;
  figures: Figures;
  reports: Report[];
}

function judge(senders: string, backend: string, round: Round, { full }: Scale): Outcome {
  const { count, counted, left, lost, figures, reports } = round;
  const logged = sumOf(reports);
  const scheme = backend.split(":", 1)[0];
  const apart = leastApart(reports);
  const exact = counted === count && logged === count && left + lost === 0;
  return {
    reached: exact && apart >= REPORT_INTERVAL[full ? "full" : "small"] && isFlawless(figures),
    measured:
      `${senders} at ${scheme}: of ${count} ${counted} counted, ${logged} logged, ${
        apart.toFixed(0)
      } ms apart, ` +
      `${left} jobs left, ${lost} workers lost, ${describe(figures)}`,
  };
}

/** Messages that the log reports. */
function sumOf(reports: readonly Report[]): number {
  return reports.filter(isWrong).reduce((sum, { count }) => sum + count, 0);
}

/** The least time between two reports of the same wrong, ms; Infinity if there are no two. */
function leastApart(reports: readonly Report[]): number {
  const last = new Map<string, number>();
  let least = Infinity;
  for (const { at, message } of reports.filter(isWrong)) {
    least = Math.min(least, at - (last.get(message) ?? -Infinity));
    last.set(message, at);
  }
  return least;
}

function isWrong({ message }: Report): boolean {
  return WRONGS.includes(message);
}

/** What no worker says: `job` is none of the sender's. */
function forge(random: Random, job: number): Frame[] {
  for (;;) {
    const frames = draw(random, job);
    if (!isAllowed(frames)) return frames;
  }
}

function draw(random: Random, job: number): Frame[] {
  const more = Array.from({ length: random(4) }, () => noise(random, random(50)));
  switch (random(9)) {
    case 0:
      return [typed(FromWorker.READY, noise(random, random(300)))];
    case 1:
      return [typed(FromWorker.READY, bytes("honest")), ...more];
    case 2:
      return [typed(FromWorker.FAILED, noise(random, random(50))), ...more];
    case 3:
      return [reply(job, random(2 ** 16), 1 + more.length), noise(random, random(100)), ...more];
    case 4:
      return [buildJobSignal(FromWorker.RETURN, job, 0)];
    case 5:
      return [reply(job, Code.ok, 1).subarray(0, random(REPLY_BYTES)), ...more];
    case 6:
      return [typed(FromWorker.REPLY, noise(random, REPLY_BYTES + random(70_000))), ...more];
    case 7:
      return [typed(random(256), noise(random, random(20))), ...more];
    default:
      return [bytes(""), ...more];
  }
}

/** What a worker may say of itself, by the size of its frame. */
const ALLOWED: Record<number, number> = {
  [FromWorker.RETIRE]: 1,
  [FromWorker.LEAVING]: 1,
  [FromWorker.MEMORY]: MEMORY_BYTES,
};

/** Whether a worker may say this. */
function isAllowed([first, second]: Frame[]): boolean {
  const type = first?.[0] ?? 0;
  if (type === FromWorker.LOG) return first?.length === 2 && second !== undefined;
  return first?.length === ALLOWED[type];
}

function noise(random: Random, size: number): Frame {
  return Uint8Array.from({ length: size }, () => random(256));
}
