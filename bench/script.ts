/**
 * Runs the scripts that ask through libraries of npm: under Node where it is there, since these
 * libraries are quicker there, else under Deno.
 *
 * @module
 */

import { path } from "../tests/rig/checkout.ts";
import { Folder } from "../tests/rig/folder.ts";
import { type Command, isThere, output } from "./daemon.ts";

const MODULES = [
  "bodies",
  "bullmq_load",
  "bullmq_worker",
  "closed_loop",
  "histogram",
  "nats_load",
  "nats_part_load",
  "nats_part_worker",
  "nats_worker",
  "part_loop",
  "piscina_load",
];
const PLAIN = ["piscina_task.js"];

/** A place from which scripts can be run. */
export interface Stage extends Disposable {
  /** What runs them. */
  readonly runtime: "Node" | "Deno";
  /** The program and its arguments for a script of this folder, by its name without its ending. */
  command(script: string, ...args: string[]): Pick<Command, "program" | "args">;
}

/** Makes the place ready. */
export async function stage(): Promise<Stage> {
  return await isThere("node", "--version") ? await forNode() : forDeno;
}

const forDeno: Stage = {
  runtime: "Deno",
  command: (script, ...args) => ({
    program: Deno.execPath(),
    args: ["run", "--quiet", "-A", path(`bench/${script}.ts`), ...args],
  }),
  [Symbol.dispose]: () => {},
};

/** A folder with the scripts as JavaScript, and their packages from Deno's cache. */
async function forNode(): Promise<Stage> {
  const folder = new Folder();
  try {
    await install(folder.path);
    await translate(folder.path);
  } catch (error) {
    folder[Symbol.dispose]();
    throw error;
  }
  return {
    runtime: "Node",
    command: (script, ...args) => ({
      program: "node",
      args: [`${folder.path}/${script}.js`, ...args],
    }),
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

/** The versions that deno.json pins for this folder. */
async function install(folder: string): Promise<void> {
  const { scopes } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  const version = (name: string) => String(scopes["./bench/"][name]).split("@").at(-1);
  const names = ["bullmq", "ioredis", "nats", "piscina"];
  const dependencies = Object.fromEntries(names.map((name) => [name, version(name)]));
  Deno.writeTextFileSync(
    `${folder}/package.json`,
    JSON.stringify({ type: "module", dependencies }),
  );
  await output(Deno.execPath(), ["install", "--quiet", "--node-modules-dir=auto"], { cwd: folder });
}

async function translate(folder: string): Promise<void> {
  const args = ["transpile", "--outdir", folder, ...MODULES.map((name) => `${name}.ts`)];
  await output(Deno.execPath(), args, { cwd: path("bench") });
  for (const name of MODULES) {
    const file = `${folder}/${name}.js`;
    // Node wants the file that is there.
    const text = Deno.readTextFileSync(file).replaceAll(/(from "\.\/\w+)\.ts"/g, '$1.js"');
    Deno.writeTextFileSync(file, text);
  }
  for (const name of PLAIN) Deno.copyFileSync(path(`bench/${name}`), `${folder}/${name}`);
}
