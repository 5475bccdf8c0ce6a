/**
 * A scenario about clients that make the server hold as much as they can.
 *
 * @module
 */

import { runLoad } from "../bench/load.ts";
import { MemoryWatch } from "../tests/rig/memory_watch.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause } from "../tests/rig/wait.ts";
import { DeafPeer, message } from "../tests/rig/zmtp.ts";
import { describe, isFlawless, ms } from "./figures.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const HOSTILE = 20;
const MiB = 1024 ** 2;
const MB = 1_000_000;
const QUEUE_BYTES = 64 * MiB;
const CACHE_BYTES = 16 * MiB;
/** What docs/reliability.md promises for these limits, with bodies of 1 MiB. */
const MAX_BYTES = 160 * MB + 1.25 * (2 * QUEUE_BYTES + CACHE_BYTES) + HOSTILE * 66 * MiB;
/** What libzmq holds of one message of each connection before all of its frames are there. */
const UNFINISHED_BYTES = HOSTILE * 1_000_000 * 64;
const DURATION = 20_000;
const MAX_DELAY = 5;
const ROUND_INTERVAL = 200;

const ARGS = [
  ...["--workers", "2", "--queue-bytes", `${QUEUE_BYTES}`],
  ...["--reply-cache-ttl", "60s", "--reply-cache-bytes", `${CACHE_BYTES}`],
];
/** Answers one byte with 1 MiB, two with as many frames as there may be, and others with themselves. */
const HANDLER = `const large = new Uint8Array(${MiB});
const empty = Array(1000).fill(new Uint8Array(0));
export default (body) => body.length === 1 ? large : body.length === 2 ? empty : body;`;
const GOOD = { clients: 4, window: 1, size: 100, correlate: true, grace: 60_000 };
const EMPTY = new Uint8Array(0);

/** What a hostile connection sends, again and again; it never reads. */
interface Kind {
  name: string;
  args?: string[];
  /**
   * Whether others must wait for it, or are refused: the queue is full of what it sends, or libzmq gives
   * nothing else before all frames of a message are read.
   */
  fills?: boolean;
  /** Bytes that no limit bounds: those of messages that are not whole yet. */
  unfinished?: number;
  /** What the connection of this number sends in a round. */
  sends(connection: number): Uint8Array;
}

const KINDS: Kind[] = [
  { name: "unread 1 MiB replies", sends: () => message([EMPTY, bytes(1)], 100) },
  { name: "unread frames", sends: () => message([EMPTY, bytes(2)], 100) },
  { name: "1 MiB requests", fills: true, sends: () => message([EMPTY, bytes(MiB)]) },
  {
    name: "refused requests",
    fills: true,
    args: ["--overflow", "reject", "--queue-limit", "100"],
    sends: () => message([EMPTY, bytes(3)], 1000),
  },
  {
    name: "requests of 1,000,000 empty frames",
    fills: true,
    unfinished: UNFINISHED_BYTES,
    sends: emptyFrames,
  },
  { name: "envelopes of many sizes", sends: envelopes },
];

function bytes(size: number): Uint8Array {
  return new Uint8Array(size).fill(1);
}

/** One message: frames of no bytes, each with "more" in its flags but the last. */
function emptyFrames(): Uint8Array {
  const all = new Uint8Array(2_000_000);
  for (let at = 0; at < all.length - 2; at += 2) all[at] = 1;
  return all;
}

/** Small requests whose envelopes have all sizes. */
function envelopes(): Uint8Array {
  const all = Array.from({ length: 900 }, (_, size) => message([bytes(size + 1), EMPTY, bytes(3)]));
  const sum = new Uint8Array(all.reduce((size, { length }) => size + length, 0));
  let at = 0;
  for (const one of all) {
    sum.set(one, at);
    at += one.length;
  }
  return sum;
}

async function hoard(scale: Scale): Promise<Outcome> {
  const outcomes: Outcome[] = [];
  for (const kind of KINDS) outcomes.push(await suffer(kind, scale));
  return {
    reached: outcomes.every(({ reached }) => reached),
    measured: outcomes.map(({ measured }) => measured).join("; "),
  };
}

async function suffer(kind: Kind, scale: Scale): Promise<Outcome> {
  const args = [...ARGS, ...kind.args ?? []];
  await using server = await ServerProcess.start({ args, handler: HANDLER });
  const duration = scale.of(DURATION);
  const load = { ...GOOD, endpoint: server.endpoint, duration };
  const quiet = await runLoad(load);
  const hostile = Array.from({ length: HOSTILE }, (_, number) => attack(server, kind, number));
  using memory = new MemoryWatch(server.pid);
  await pause(duration / 5); // until they hold what they can
  const disturbed = await runLoad(load);
  const most = memory.mostBytes;
  for (const end of hostile) await end();
  const [late, before] = [disturbed.percentiles[2], quiet.percentiles[2]];
  return {
    reached: most <= MAX_BYTES + (kind.unfinished ?? 0) && isFlawless(quiet) &&
      isFlawless(disturbed, { errors: kind.fills === true }) &&
      (kind.fills === true || late <= before * MAX_DELAY * scale.slack),
    measured: `${kind.name}: ${Math.round(most / MB)} MB, others' 99 % in ${ms(late)}, quiet ` +
      `${ms(before)}: ${(late / before).toFixed(1)} ×, ${describe(disturbed)}`,
  };
}

/** Starts a connection that sends as fast as it may; returns what ends it. */
function attack({ endpoint }: ServerProcess, kind: Kind, number: number): () => Promise<void> {
  let over = false;
  const connected = DeafPeer.connect(endpoint);
  const sent = (async () => {
    const peer = await connected;
    const round = kind.sends(number);
    while (!over) {
      await peer.send(round);
      await pause(ROUND_INTERVAL); // it is about what they hold, not about how fast they ask
    }
  })().catch(() => {}); // closed while it waited to send
  return async () => {
    over = true;
    (await connected)[Symbol.dispose]();
    await sent;
  };
}

/** Clients that hoard. */
export const scenarios: Scenario[] = [{
  id: "R25",
  title: `${HOSTILE} hostile connections that never read, of each of ${KINDS.length} kinds`,
  figure:
    `memory of the main process <= ${Math.round(MAX_BYTES / MB)} MB, as the limits make it; ` +
    `others' 99 % <= ${MAX_DELAY} × their quiet 99 %, unless what they send must go first`,
  run: hoard,
}];
