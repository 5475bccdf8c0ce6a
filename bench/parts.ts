/**
 * Answers in parts, compared with messages of NATS to one inbox; and what a service costs that has a name.
 *
 * @module
 */

import { path } from "../tests/rig/checkout.ts";
import { Folder } from "../tests/rig/folder.ts";
import { Daemon, output } from "./daemon.ts";
import { type Figures, readFigures } from "./load.ts";
import { address, nats } from "./peer_nats.ts";
import { Server } from "./peer_prefork.ts";
import type { PartLoop } from "./part_loop.ts";
import { whyMissing } from "./programs.ts";
import { count, type Section, type Target, targetOf, withSpread } from "./report.ts";
import { type Bench, dealer, req, type Scenario, spanOf } from "./scenario.ts";
import { stage } from "./script.ts";
import { askMdp } from "./zmq_load.ts";
import { median, ratios, type Spread, spread } from "./statistics.ts";

const READERS = 4;
const WORKERS = 2;
/** Answers of so many parts, of so many bytes. */
const KINDS = [
  { name: "16 B", size: 16, count: 10_000 },
  { name: "64 KiB", size: 65_536, count: 500 },
];
/** A check reads one answer of so many parts. */
const CHECK_PARTS = 200;

/** Reads for a while, in a process of its own. */
type Reader = (loop: PartLoop) => Promise<Figures>;

/** Several that are asked in turn. */
interface Rates {
  readonly pairs: readonly (readonly number[])[];
}

async function ourReader(stack: AsyncDisposableStack): Promise<Reader> {
  const server = stack.use(await Server.start({ workers: WORKERS, handler: "parts" }));
  const args = ["run", "--quiet", "-A", path("bench/part_load.ts"), server.endpoint];
  return async (loop) =>
    readFigures(await output(Deno.execPath(), [...args, JSON.stringify(loop)]));
}

async function natsReader(stack: AsyncDisposableStack): Promise<Reader> {
  const theatre = stack.use(await stage());
  const folder = stack.use(new Folder()).path;
  const options = ["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir", folder];
  stack.use(new Daemon({ program: "nats-server", args: options, reads: "nothing" }));
  const url = await address(folder);
  for (let worker = 0; worker < WORKERS; worker++) {
    const command = { ...theatre.command("nats_part_worker", url), reads: "stdout" } as const;
    await stack.use(new Daemon(command)).line("that it is ready", () => true);
  }
  return async (loop) => {
    const { program, args } = theatre.command("nats_part_load", url, JSON.stringify(loop));
    return readFigures(await output(program, args));
  };
}

async function runParts(bench: Bench): Promise<Section> {
  await using stack = new AsyncDisposableStack();
  const isCompared = bench.peers.some(({ name }) => name === nats.name);
  const readers = [await ourReader(stack), ...(isCompared ? [await natsReader(stack)] : [])];
  const rows: string[][] = [];
  const targets: Target[] = [];
  const figures: unknown[] = [];
  for (const kind of KINDS) {
    const { pairs } = await readInTurn(bench, readers, kind);
    const rates = readers.map((_, at) => median(pairs.map((pair) => pair[at] ?? NaN)));
    const ratio = ratioOf(pairs);
    rows.push([kind.name, ...rates.map(count), withSpread(ratio)]);
    targets.push(targetOf(`${kind.name}: parts/s, ratio to NATS`, ratio, 1));
    figures.push({ ...kind, pairs });
  }
  const head = ["parts/s", "prefork", ...(isCompared ? ["NATS"] : []), "ratio"];
  return {
    title: "Answers in parts",
    notes: [
      `${WORKERS} workers, ${READERS} readers at a time in one process: \`client.stream()\`, which grants ` +
      "credit as it reads; with NATS, a subscription each, and no bound on what is under way.",
    ],
    tables: [{ head, rows }],
    targets,
    figures,
  };
}

async function readInTurn(
  { effort, ledger, say }: Bench,
  readers: readonly Reader[],
  { name, size, count }: typeof KINDS[number],
): Promise<Rates> {
  const isCheck = effort.depth === "check";
  const shape = { readers: READERS, size, count: isCheck ? CHECK_PARTS : count };
  const span = isCheck ? { requests: READERS * CHECK_PARTS } : spanOf(effort, { size }, 2);
  const pairs: number[][] = [];
  for (let round = 1; round <= effort.pairs; round++) {
    const rates: number[] = [];
    const order = readers.map((_, at) => at);
    for (const at of round % 2 === 1 ? order : order.toReversed()) {
      say(`parts of ${name}, ${round} of ${effort.pairs}`);
      const figures = await readers[at]?.({ ...shape, ...span });
      if (figures === undefined) continue;
      rates[at] = ledger.enter(`parts of ${name}`, figures).rate;
    }
    pairs.push(rates);
  }
  return { pairs };
}

function ratioOf(pairs: readonly (readonly number[])[]): Spread {
  return ratios(pairs.map(([ours = NaN, theirs = NaN]) => [ours, theirs]));
}

/** A service with a name and an endpoint of its own, beside the handler of a server that has nothing else. */
async function runServices(bench: Bench): Promise<Section> {
  const { effort, ledger, say } = bench;
  using folder = new Folder();
  const echo = path("bench/handler_echo.ts");
  const place = (name: string) => ["--frontend", `${name}=ipc://${folder.path}/${name}`];
  const names = ["one", "two", "three"];
  const flags = names.flatMap((name) => ["--service", `${name}=${echo}`, ...place(name)]);
  await using alone = await Server.start({
    workers: WORKERS,
    flags: ["--frontend", `ipc://${folder.path}/alone`],
  });
  await using named = await Server.start({ workers: WORKERS, handler: "none", flags });
  const rows: string[][] = [];
  const targets: Target[] = [];
  const figures: unknown[] = [];
  for (const shape of effort.depth === "check" ? [req(16)] : [req(16), dealer(100)]) {
    const pairs: number[][] = [];
    for (let round = 1; round <= effort.pairs; round++) {
      say(`services, ${shape.name}, ${round} of ${effort.pairs}`);
      const ask = async (server: Server, at: string) => {
        const { rate } = ledger.enter(
          `services, ${shape.name}`,
          await server.load(shape, spanOf(effort, shape), `ipc://${folder.path}/${at}`),
        );
        return rate;
      };
      const isFirst = round % 2 === 1;
      const before = isFirst ? await ask(named, "two") : NaN;
      const single = await ask(alone, "alone");
      pairs.push([isFirst ? before : await ask(named, "two"), single]);
    }
    const ratio = ratioOf(pairs);
    const rates = [0, 1].map((at) => spread(pairs.map((pair) => pair[at] ?? NaN)).median);
    rows.push([shape.name, ...rates.map(count), withSpread(ratio)]);
    targets.push(
      targetOf(`${shape.name}: one of three services, ratio to one handler`, ratio, 0.95),
    );
    figures.push({ shape, pairs });
  }
  return {
    title: "A service among others",
    notes: [
      "One of three services over its own ipc endpoint, beside a server with nothing but a handler; " +
      `${WORKERS} workers each, bodies of 16 B.`,
    ],
    tables: [{ head: ["requests/s", "one of three", "one handler", "ratio"], rows }],
    targets,
    figures,
  };
}

/** Clients of Majordomo and plain ones, which ask the same workers. */
async function runMdp(bench: Bench): Promise<Section> {
  const { effort, ledger, say } = bench;
  const title = "Majordomo's clients";
  const missing = await whyMissing("load");
  if (missing !== undefined) {
    return { title, notes: [missing], tables: [], targets: [], figures: [] };
  }
  const flags = [
    "--mdp",
    "tcp://127.0.0.1:0",
    "--service",
    `echo=${path("bench/handler_echo.ts")}`,
  ];
  await using server = await Server.start({ workers: WORKERS, flags });
  const [line] = server.log("listening");
  const mdp = String(line?.mdp);
  const rows: string[][] = [];
  const figures: unknown[] = [];
  for (const shape of effort.depth === "check" ? [req(16)] : [req(16), dealer(100)]) {
    const pairs: number[][] = [];
    for (let round = 1; round <= effort.pairs; round++) {
      say(`Majordomo, ${shape.name}, ${round} of ${effort.pairs}`);
      const span = spanOf(effort, shape);
      const asked = await askMdp(mdp, "echo", shape, span);
      const { rate } = ledger.enter(`Majordomo, ${shape.name}`, asked);
      pairs.push([rate, ledger.enter(`plain, ${shape.name}`, await server.load(shape, span)).rate]);
    }
    const rates = [0, 1].map((at) => median(pairs.map((pair) => pair[at] ?? NaN)));
    rows.push([shape.name, ...rates.map(count), withSpread(ratioOf(pairs))]);
    figures.push({ shape, pairs });
  }
  return {
    title,
    notes: [`7/MDP, ${WORKERS} workers for each service, bodies of 16 B.`],
    tables: [{ head: ["requests/s", "by Majordomo", "plain", "ratio"], rows }],
    targets: [],
    figures,
  };
}

/** What came with services and streams. */
export const scenarios: Scenario[] = [
  { name: "parts", run: runParts },
  { name: "services", run: runServices },
  { name: "mdp", run: runMdp },
];
