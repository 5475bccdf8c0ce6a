/**
 * A scenario about very many hostile clients of all kinds at once, on the transport that bounds what each may cost.
 *
 * @module
 */

import { runLoad } from "../bench/load.ts";
import { MemoryWatch } from "../tests/rig/memory_watch.ts";
import { randomNumbers } from "../tests/rig/random.ts";
import { frameOf, greetingOf, RawPeer } from "../tests/rig/raw_peer.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { message, nullReady } from "../tests/rig/zmtp.ts";
import { describe, isFlawless, ms } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const OF_EACH_KIND = 100;
const MiB = 1024 ** 2;
const MB = 1_000_000;
const QUEUE_BYTES = 64 * MiB;
/** What is held of one connection beside bodies and unread replies. */
const CONNECTION_BYTES = 64 * 1024;
/** How long there is quiet, and then war, ms. */
const DURATION = 20_000;
/** Between two things that a hostile client does, ms: it is about what they cost at once, not how fast they are. */
const ROUND_INTERVAL = 200;
const TRICKLE_INTERVAL = 20;
/** The slowest reply to an innocent, ms. */
const PATIENCE = 5_000;

const EMPTY = new Uint8Array(0);
const MORE = 1;
const LONG = 2;
/** How many identities are taken and taken again. */
const NAMES = 10;

/** Requests of one client that may wait: so those who ask without end fill no queue that others need. */
const QUEUED = "20";

export const ARGS = [
  ...["--max-queue-per-client", QUEUED],
  ...["--transport", "native", "--workers", "2", "--max-connections", "0"],
  ...["--queue-bytes", `${QUEUE_BYTES}`, "--connection-bytes", `${4 * MiB}`],
];
/** Answers one byte with 1 MiB, and others with themselves. */
export const HANDLER = `const large = new Uint8Array(${MiB});
export default (body) => body.length === 1 ? large : body;`;
const INNOCENT = { clients: 4, window: 1, size: 100, correlate: true, grace: 60_000 };

/** What a hostile client does once it has connected, until it is let go or the siege is over. */
type Kind = (siege: Siege, peer: RawPeer, number: number) => Promise<void>;

export const KINDS: Record<string, Kind> = {
  "says nothing": (siege, peer) => siege.stay(peer),
  "says half a greeting": async (siege, peer, number) => {
    await peer.write(greetingOf("3.1").subarray(0, 1 + number % 60));
    await siege.stay(peer);
  },
  "begins a huge frame": async (siege, peer) => {
    await peer.shakeHands();
    await peer.write(frameOf(MORE, EMPTY));
    await peer.write(frameOf(LONG, new Uint8Array(100_000), BigInt(64 * MiB)));
    await siege.stay(peer);
  },
  "sends frames without end": async (siege, peer) => {
    await peer.shakeHands();
    const many = new Uint8Array(2000).map((_, at) => at % 2 === 0 ? MORE : 0);
    await siege.again(peer, () => peer.write(many));
  },
  "asks and never reads": async (siege, peer) => {
    await peer.shakeHands();
    const many = message([EMPTY, filled(1000)], 20);
    await siege.again(peer, () => peer.write(many));
  },
  "asks for large replies and never reads": async (siege, peer) => {
    await peer.shakeHands();
    const some = message([EMPTY, filled(1)], 2);
    await siege.again(peer, () => peer.write(some));
  },
  "says each byte by itself": async (siege, peer) => {
    const all = join(greetingOf("3.1"), nullReady(), message([EMPTY, filled(300)], 10));
    for (const byte of all) {
      if (siege.isOver) return;
      await peer.write(Uint8Array.of(byte));
      await pause(TRICKLE_INTERVAL);
    }
  },
  "takes an identity": async (siege, peer, number) => {
    await peer.shakeHands({ properties: { Identity: `name ${number % NAMES}` } });
    await siege.again(peer, () => peer.write(message([EMPTY, filled(50)])));
  },
  "comes and goes": async (_siege, peer) => {
    await peer.shakeHands();
    await peer.write(message([EMPTY, filled(50)]));
  },
  "talks rubbish": async (siege, peer, number) => {
    const random = randomNumbers(number + 1);
    if (number % 2 === 0) await peer.shakeHands();
    const rubbish = new Uint8Array(1000).map(() => random(256));
    await siege.again(peer, () => peer.write(rubbish));
  },
};

function filled(size: number): Bytes {
  return new Uint8Array(size).fill(1);
}

function join(...parts: Bytes[]): Bytes {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Hostile clients that come back whenever they are let go. */
export class Siege {
  readonly #endpoint: string;
  readonly #clients: Promise<void>[] = [];
  readonly #open = new Set<RawPeer>();
  isOver = false;
  /** Connections that were made. */
  connections = 0;

  constructor(endpoint: string) {
    this.#endpoint = endpoint;
  }

  /** How many are connected now. */
  get size(): number {
    return this.#open.size;
  }

  add(kind: Kind, number: number): void {
    this.#clients.push(this.#live(kind, number));
  }

  /** Stays as it is. */
  async stay(peer: RawPeer): Promise<void> {
    await peer.gone();
  }

  /** Does the same again and again. */
  async again(peer: RawPeer, act: () => Promise<void>): Promise<void> {
    while (!this.isOver && !peer.isEnded) {
      await act();
      await pause(ROUND_INTERVAL);
    }
  }

  /** Ends all. */
  async end(): Promise<void> {
    this.isOver = true;
    for (const peer of this.#open) peer[Symbol.dispose]();
    await Promise.all(this.#clients);
  }

  async #live(kind: Kind, number: number): Promise<void> {
    while (!this.isOver) {
      const peer = await RawPeer.dial(this.#endpoint).catch(() => undefined);
      if (peer === undefined) await pause(ROUND_INTERVAL);
      // Whoever comes when all are let go would stay for ever.
      else if (this.isOver) peer[Symbol.dispose]();
      else await this.#act(kind, peer, number);
    }
  }

  async #act(kind: Kind, peer: RawPeer, number: number): Promise<void> {
    this.connections++;
    this.#open.add(peer);
    // The server ends the connection, or the end of the siege does, whatever is under way.
    await kind(this, peer, number).catch(() => {});
    this.#open.delete(peer);
    if (!this.isOver) peer[Symbol.dispose]();
    await pause(ROUND_INTERVAL);
  }
}

async function besiege(scale: Scale): Promise<Outcome> {
  await using server = await ServerProcess.start({ args: ARGS, handler: HANDLER });
  const { endpoint } = server;
  const load = { ...INNOCENT, endpoint, duration: scale.of(DURATION) };
  const quiet = await runLoad(load);
  using memory = new MemoryWatch(server.pid);
  const siege = new Siege(endpoint);
  const count = scale.of(OF_EACH_KIND);
  for (const kind of Object.values(KINDS)) {
    for (let number = 0; number < count; number++) siege.add(kind, number);
  }
  await pause(scale.of(DURATION) / 4); // until they hold what they can
  const disturbed = await runLoad(load);
  const { size, connections } = siege;
  await siege.end();
  await until("they are gone", async () => Number((await server.state()).connections) === 0);
  const after = await runLoad({ ...load, duration: scale.of(DURATION) / 4 });
  const all = [quiet, disturbed, after];
  const budget = budgetOf(count);
  return {
    reached: memory.mostBytes <= budget && all.every((figures) => isFlawless(figures)) &&
      disturbed.slowest <= PATIENCE * 1000 * scale.slack && after.slowest <= PATIENCE * 1000,
    measured:
      `${Math.round(memory.mostBytes / MB)} of ${Math.round(budget / MB)} MB; ${size} at a ` +
      `time, ${connections} connections in all; innocents: ${describe(disturbed)}, 99 % in ` +
      `${ms(disturbed.percentiles[2])}, the slowest ${ms(disturbed.slowest)}, quiet ` +
      `${ms(quiet.percentiles[2])} and ${ms(quiet.slowest)}`,
  };
}

/** What docs/reliability.md promises for these limits, and what so many connections may cost. */
function budgetOf(ofEachKind: number): number {
  const connections = ofEachKind * Object.keys(KINDS).length;
  return 160 * MB + 1.25 * 2 * QUEUE_BYTES + connections * CONNECTION_BYTES;
}

/** Hostile clients of all kinds. */
export const scenarios: Scenario[] = [{
  id: "R26",
  title: `${10 * OF_EACH_KIND} hostile connections of ten kinds at once, on the native transport`,
  figure:
    `memory of the main process <= ${Math.round(budgetOf(OF_EACH_KIND) / MB)} MB, as the limits ` +
    `make it; innocents get all their answers, the slowest within ${PATIENCE} ms`,
  run: besiege,
}];
