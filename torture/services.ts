/**
 * Scenarios about services of one server that get into trouble: the others must not be touched.
 *
 * @module
 */

import { type Figures, type Load, runLoad, startLoad } from "../bench/load.ts";
import { Folder } from "../tests/rig/folder.ts";
import { linesOf } from "../tests/rig/log_lines.ts";
import { ServerProcess } from "../tests/rig/server_process.ts";
import { pause, until } from "../tests/rig/wait.ts";
import { compare, type Comparison, describe, isFlawless, total } from "./figures.ts";
import { waiting } from "./handlers.ts";
import type { Outcome, Scale, Scenario } from "./scenario.ts";

const ECHO = `export default (body) => body;`;
/** Each of its workers ends with the first request. */
const MORTAL = `export default () => Deno.exit(1);`;
/** None of its workers ever is ready again once the file is there. */
const UNSTARTABLE = "throw new Error('broken on purpose');";
const DAYS = 4;
const REQUESTS = 40_000;
/** Requests a second of the service that is left alone. */
const RATE = 2000;
const RATIO = 2;
/** Time that the load generator takes to run as fast as it can, ms. */
const WARM_UP = 1000;

/** What is done to one service while another is asked. */
interface Trouble {
  name: string;
  handler: string;
  /** Options of the server besides its services. */
  args: readonly string[];
  /** Goes on until `signal` aborts. */
  make(stage: Stage, signal: AbortSignal): Promise<void>;
}

/** A server with two services, each with an endpoint of its own. */
interface Stage {
  server: ServerProcess;
  quiet: string;
  troubled: string;
  /** The file of the troubled one's handler. */
  file: string;
}

const TROUBLES: readonly Trouble[] = [
  {
    name: "crash loop",
    handler: MORTAL,
    args: ["--max-attempts", "1"],
    async make({ troubled }, signal) {
      await using load = startLoad({
        endpoint: troubled,
        clients: 2,
        window: 1,
        size: 64,
        correlate: true,
      });
      await aborted(signal);
      load.stop();
      await load.figures;
    },
  },
  {
    name: "full queue",
    handler: waiting(5),
    args: ["--queue-limit", "200"],
    async make({ troubled }, signal) {
      const flood = { clients: 20, window: 20, size: 64, correlate: true, grace: 60_000 };
      await using load = startLoad({ endpoint: troubled, ...flood });
      await aborted(signal);
      load.stop();
      await load.figures;
    },
  },
  {
    name: "failing reloads",
    handler: ECHO,
    args: [],
    async make({ server, file }, signal) {
      await Deno.writeTextFile(file, UNSTARTABLE);
      while (!signal.aborted) {
        const before = linesOf(server, "not reloaded").length;
        server.signal("SIGHUP");
        const over = () => signal.aborted || linesOf(server, "not reloaded").length > before;
        await until("the reload has failed", over);
        await pause(100);
      }
      await Deno.writeTextFile(file, ECHO);
    },
  },
];

/** Fulfilled once `signal` aborts. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function isolation(scale: Scale): Promise<Outcome> {
  const outcomes: Outcome[] = [];
  for (const trouble of TROUBLES) outcomes.push(await goThrough(trouble, scale));
  return {
    reached: outcomes.every(({ reached }) => reached),
    measured: outcomes.map(({ measured }) => measured).join("; "),
  };
}

async function goThrough(trouble: Trouble, scale: Scale): Promise<Outcome> {
  using folder = new Folder();
  await using server = await ServerProcess.start({ args: argsOf(trouble, folder) });
  await server.line("worker ready", 2);
  const [quiet, troubled] = [`ipc://${folder.path}/quiet`, `ipc://${folder.path}/troubled`];
  const stage = { server, quiet, troubled, file: `${folder.path}/troubled.ts` };
  const days = scale.full ? DAYS : 1;
  const requests = Math.ceil(scale.of(REQUESTS) / days);
  const shape = { clients: 8, window: 2, size: 64, rate: RATE, correlate: true, warmUp: WARM_UP };
  const load: Load = { endpoint: quiet, ...shape, requests };
  const comparison = await compare(days, () => runLoad(load), () => disturb(stage, trouble, load));
  const all = total(comparison.loads);
  return {
    reached: isFlawless(all) && comparison.ratio <= RATIO * scale.slack,
    measured: `${trouble.name}: ${inWords(comparison)}, ${describe(all)}`,
  };
}

function argsOf({ handler, args }: Trouble, folder: Folder): string[] {
  const [quiet, troubled] = [folder.write("quiet.ts", ECHO), folder.write("troubled.ts", handler)];
  return [
    ...["--workers", "1", "--service", `quiet=${quiet}`, "--service", `troubled=${troubled}`],
    ...["--frontend", `quiet=ipc://${folder.path}/quiet`],
    ...["--frontend", `troubled=ipc://${folder.path}/troubled`],
    ...args,
  ];
}

/** Asks one service while the other is in trouble. */
async function disturb(stage: Stage, trouble: Trouble, load: Load): Promise<Figures> {
  const end = new AbortController();
  const made = trouble.make(stage, end.signal);
  try {
    return await runLoad(load);
  } finally {
    end.abort();
    await made;
  }
}

function inWords({ quiet, disturbed, ratio }: Comparison): string {
  return `99 % in ${disturbed.toFixed(1)} ms, quiet ${quiet.toFixed(1)} ms, ${ratio.toFixed(1)} ×`;
}

/** Services beside each other. */
export const scenarios: Scenario[] = [{
  id: "R27",
  title: "a service beside one whose workers crash, whose queue is full, or whose reloads fail",
  figure: `99 % of replies ≤ ${RATIO} × as late as without; none lost, no error`,
  run: isolation,
}];
