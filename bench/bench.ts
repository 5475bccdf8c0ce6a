/**
 * `deno task bench`: starts the server and what its users would take instead, asks all of them in turn,
 * and prints tables as Markdown. Every reply is checked, byte for byte.
 *
 * `--help` lists the options.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { path } from "../tests/rig/checkout.ts";
import { output } from "./daemon.ts";
import { scenarios as handlers } from "./handlers.ts";
import { scenarios as jobNeighbours } from "./job_neighbours.ts";
import { scenarios as jobs } from "./jobs.ts";
import { machine } from "./machine.ts";
import { scenarios as neighbours } from "./neighbours.ts";
import { scenarios as parts } from "./parts.ts";
import type { Peer } from "./peer.ts";
import { gearman } from "./peer_gearman.ts";
import { nats } from "./peer_nats.ts";
import { piscina } from "./peer_piscina.ts";
import { prefork, Server } from "./peer_prefork.ts";
import { proxy } from "./peer_proxy.ts";
import { Ledger, type Report, type Section, toMarkdown } from "./report.ts";
import type { Effort, Scenario } from "./scenario.ts";
import { scenarios as server } from "./server.ts";
import { scenarios as throughput } from "./throughput.ts";

const SCENARIOS: readonly Scenario[] = [
  ...throughput,
  ...handlers,
  ...server,
  ...neighbours,
  ...parts,
  ...jobs,
  ...jobNeighbours,
];
const PEERS: readonly Peer[] = [prefork, proxy, nats, piscina, gearman];

const OTHERS = PEERS.map(({ name }) => name).filter((name) => name !== prefork.name);

const EFFORTS: Record<Effort["depth"], Effort> = {
  full: { depth: "full", slice: 1000, pairs: 15 },
  quick: { depth: "quick", slice: 300, pairs: 3 },
  check: { depth: "check", slice: 0, pairs: 1 },
};

/** The text of --help. */
function helpText(): string {
  return `Compare the server with what its users would take instead. Every reply is checked.

Usage: deno task bench [options]

The tables go to stdout as Markdown, progress to stderr. All scenarios take 45 minutes.

Options:
  --quick         take less than 2 minutes, with figures that vary more
  --check         only check that all replies are right, in a minute, as CI does
  --only LIST     run only these scenarios, separated by commas:
                  ${rows(SCENARIOS.map(({ name }) => name))}
  --seconds N     length of each measurement
  --pairs N       how often two things are compared
  --peers LIST    compare the server with these only, separated by commas:
                  ${rows(OTHERS)}
  --transport T   how the server speaks to clients: native or libzmq
  --json          print JSON instead of tables
  --write         put the tables into bench/README.md too
  -h, --help      show this help

Exit status: 0 all replies were right, 1 some were lost or wrong, 2 usage. A slow server is not a
failure.`;
}

/** Names for the help, a few to a row. */
function rows(names: readonly string[]): string {
  const ROW = 6;
  const starts = names.map((_, index) => index).filter((index) => index % ROW === 0);
  return starts.map((start) => names.slice(start, start + ROW).join(", "))
    .join(`,\n${" ".repeat(18)}`);
}

const Exit = { ok: 0, failed: 1, usage: 2 } as const;

function usage(message: string): never {
  console.error(`bench: ${message}`);
  Deno.exit(Exit.usage);
}

function say(what: string): void {
  console.error(`… ${what}`);
}

/** What can be measured here, and why the rest can't. */
async function present(
  names: readonly string[],
): Promise<{ peers: Peer[]; missing: Record<string, string> }> {
  const peers: Peer[] = [];
  const missing: Record<string, string> = {};
  for (const peer of PEERS) {
    if (peer !== prefork && !names.includes(peer.name)) continue;
    const why = await peer.missing();
    if (why === undefined) peers.push(peer);
    else missing[peer.name] = why;
  }
  return { peers, missing };
}

/** Goes through scenarios. */
async function bench(
  scenarios: readonly Scenario[],
  effort: Effort,
  others: readonly string[],
  ledger: Ledger,
): Promise<Report> {
  const { peers, missing } = await present(others);
  for (const [name, why] of Object.entries(missing)) say(`${name} is left out: ${why}`);
  const sections: Section[] = [];
  for (const scenario of scenarios) {
    sections.push(await scenario.run({ effort, peers, ledger, say }));
  }
  return {
    machine: { ...await machine(), ...asked() },
    peers: Object.fromEntries(peers.map(({ name, description }) => [name, description])),
    missing,
    sections,
    faults: ledger.faults,
  };
}

const START = "<!-- figures -->";
const END = "<!-- end of figures -->";

/** Puts the figures into bench/README.md. */
async function write(markdown: string): Promise<void> {
  const file = path("bench/README.md");
  const [before = "", rest = ""] = Deno.readTextFileSync(file).split(START);
  const [, after = ""] = rest.split(END);
  Deno.writeTextFileSync(file, `${before}${START}\n\n${markdown}\n${END}${after}`);
  await output(Deno.execPath(), ["fmt", "--quiet", file]);
}

/** What servers were told in addition. */
function asked(): Record<string, string> {
  return Server.flags.length === 0 ? {} : { "the server with": Server.flags.join(" ") };
}

/** Names from the command line, all of them without any. */
function choose(what: string, list: unknown, known: readonly string[]): readonly string[] {
  const names = String(list ?? "").split(",").filter((name) => name !== "");
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    usage(`Unknown ${what} "${unknown}": the ${what}s are ${known.join(", ")}`);
  }
  return names.length === 0 ? known : names;
}

/** A number > 0 from the command line. */
function positive(flag: string, value: unknown, fallback: number): number {
  if (value === undefined) return fallback;
  const number = Number(value);
  return number > 0 ? number : usage(`--${flag} must be a number > 0: current value is ${value}`);
}

if (import.meta.main) {
  const flags = parseArgs(Deno.args, {
    boolean: ["quick", "check", "json", "write", "help"],
    alias: { help: "h" },
    string: ["only", "seconds", "pairs", "peers", "transport"],
    unknown: (arg) => usage(`Unknown option "${arg}": --help lists the options`),
  });
  if (flags.help === true) {
    console.log(helpText());
    Deno.exit(Exit.ok);
  }
  const effort = EFFORTS[flags.check === true ? "check" : flags.quick === true ? "quick" : "full"];
  const slice = 1000 * positive("seconds", flags.seconds, effort.slice / 1000);
  const pairs = positive("pairs", flags.pairs, effort.pairs);
  const names = choose("scenario", flags.only, SCENARIOS.map(({ name }) => name));
  const scenarios = SCENARIOS.filter(({ name }) => names.includes(name));
  const others = choose("peer", flags.peers, OTHERS);
  const [transport] = choose("transport", flags.transport, ["native", "libzmq"]);
  if (flags.transport !== undefined) Server.flags = ["--transport", transport ?? ""];
  const ledger = new Ledger();
  const report = await bench(scenarios, { ...effort, slice, pairs }, others, ledger);
  if (flags.json === true) console.log(JSON.stringify(report, null, 2));
  else if (effort.depth !== "check") console.log(toMarkdown(report).trimEnd());
  if (flags.write === true) await write(toMarkdown(report));
  for (const fault of ledger.faults) console.error(`Lost or wrong: ${fault}`);
  if (effort.depth === "check") {
    console.log(`${ledger.passed} passed, ${ledger.faults.length} failed`);
  }
  Deno.exit(ledger.faults.length === 0 ? Exit.ok : Exit.failed);
}
