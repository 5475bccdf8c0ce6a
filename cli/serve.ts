/**
 * The server's command line: reads the arguments, and prints, checks or serves what they ask for. Not
 * here: what an option means (options/), and the server, which the caller brings.
 *
 * @module
 */

import { flush } from "../ops/line_writer.ts";
import { requireHandlers, requirePlainFiles } from "../ops/given_files.ts";
import { NOTIFY_VARIABLE } from "../ops/service_manager.ts";
import { doubts } from "../ops/start_checks.ts";
import { type Command, parseCommand, rereadCommand, UsageError } from "../options/command.ts";
import { helpText, printConfig } from "../options/help.ts";
import { hostedServices } from "../options/hosted.ts";
import type { ServeOptions, Settings } from "../options/settings.ts";
import { type Child, isOwnChild, spawnInBackground, STARTER_VARIABLE } from "../pool/child.ts";
import { readVariable } from "../system/variables.ts";
import { shutDebugger } from "../system/debugger.ts";
import { messageOf } from "../system/errors.ts";
import { filePath, readText, refuseNamedPipe } from "../system/files.ts";
import { makeReaper } from "../system/orphans.ts";
import { setTitle, shortEndpoint } from "../system/title.ts";
import { locateLibrary } from "../zmq/locate.ts";
import { complain, Exit, print } from "./output.ts";
import { commandName, VERSION } from "./program.ts";

/** What the command needs of a server. */
export interface Serving {
  readonly frontend: readonly string[];
  readonly backend: string;
  /** The file of libzmq. */
  readonly library: string;
  readonly log: { warn(message: string): void };
  readonly ready: Promise<void>;
  readonly finished: Promise<{ forced: boolean }>;
}

/** What the program around the command brings. */
export interface Program {
  /** The `import.meta.url` of its main module. */
  url: string;
  /** Checks options and fills in the defaults. */
  resolve(options: ServeOptions): Settings;
  /** Starts a server. */
  start(options: ServeOptions, operator: Rereading): Serving;
  /** Loads each handler once, in a worker; false, or an error: one failed, `say` gets all remarks. */
  check(settings: Settings, say: (remark: string) => void): Promise<boolean>;
}

/** How an operator's options are read again. */
export interface Rereading {
  /** Those of a reload; undefined: the same. */
  reread(): ServeOptions | undefined;
  /** Where each option was set, by its name. */
  sources(): ReadonlyMap<string, string> | undefined;
}

/** A command that sets options. */
type Setting = Extract<Command, { options: ServeOptions }>;

const NAME = "prefork";

/** Time between two searches for orphans, ms. */
const ORPHANS_INTERVAL = 1000;

/** What a server in the background sends to the process that has started it, once it is ready. */
const READY_SIGNAL = "SIGUSR2";

/** A service manager would take the end of this process for the end of the server. */
const WATCHED = `"--background" cannot be used where ${NOTIFY_VARIABLE} is set: ` +
  "a service manager watches this process";

/** Runs the command to its end and returns the exit code. */
export async function main(args: readonly string[], program: Program): Promise<number> {
  try {
    const code = await run(args, program);
    await flush();
    return code;
  } catch (error) {
    await complain(NAME, messageOf(error));
    return isUsage(error) ? Exit.usage : Exit.failed;
  }
}

function isUsage(error: unknown): boolean {
  return error instanceof UsageError || error instanceof RangeError || error instanceof TypeError;
}

async function run(args: readonly string[], program: Program): Promise<number> {
  const command = withDefaults(parseCommand(args, SOURCES));
  switch (command.mode) {
    case "help":
      print(helpText(commandName(program.url, "deno run -A mod.ts", "")));
      return Exit.ok;
    case "version":
      print(VERSION);
      return Exit.ok;
    case "print-config":
      command.doubts.forEach(remark);
      print(printConfig(program.resolve(command.options), command.sources).trimEnd());
      return Exit.ok;
    case "check":
      command.doubts.forEach(remark);
      return await check(program.resolve(command.options), program);
    case "serve":
      return await serve(args, command, program);
  }
}

/** Whoever runs the command has `ctl` too; code has the methods of the server. */
function withDefaults(command: Command): Command {
  if (!("options" in command)) return command;
  return { ...command, options: { control: "auto", ...command.options } };
}

const SOURCES = {
  env: readVariable,
  envNames() {
    const { state } = Deno.permissions.querySync({ name: "env" });
    return state === "granted" ? Object.keys(Deno.env.toObject()) : [];
  },
  readFile(path: string) {
    refuseNamedPipe(path);
    return Deno.readTextFileSync(path);
  },
};

/** A remark that stands between other lines on stderr. */
function remark(text: string): void {
  console.error(`${NAME}: ${text}`);
}

async function check(settings: Settings, program: Program): Promise<number> {
  requireHandlers(settings);
  doubts(settings).forEach(remark);
  if (!await program.check(settings, remark)) return Exit.failed;
  const handlers = hostedServices(settings).map(([, { handler = "echo" }]) => `"${handler}"`);
  const tried = `The handler${handlers.length === 1 ? "" : "s"} ${handlers.join(", ")}`;
  print(`${tried} and the options are fine`);
  return Exit.ok;
}

async function serve(
  args: readonly string[],
  command: Setting,
  program: Program,
): Promise<number> {
  const settings = program.resolve(command.options);
  if (settings.background) return await serveInBackground(args, settings, program.url);
  keepExitCode();
  const options = { ...command.options, handleSignals: true };
  const server = program.start(options, rereader(args, command));
  for (const doubt of command.doubts) server.log.warn(doubt);
  const ports = [server.frontend.map(shortEndpoint).join(","), shortEndpoint(server.backend)];
  const isPool = settings.join !== undefined;
  setTitle(server.library, isPool ? `zmq pool ${ports[1]}` : `zmq broker ${ports.join("-")}`);
  server.ready.then(reportToStarter, () => {});
  if (Deno.pid === 1) reapOrphans(server.library);
  const { forced } = await server.finished;
  return forced ? Exit.failed : Exit.ok;
}

/** A signal that comes once the server has ended, and before this process has, must not end it with another code. */
function keepExitCode(): void {
  for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) {
    Deno.addSignalListener(signal, () => {});
  }
}

/** The first process of a container has to wait for those whose parents have ended: programs of handlers. */
function reapOrphans(library: string): void {
  const reap = makeReaper(library, isOwnChild);
  Deno.unrefTimer(setInterval(reap, ORPHANS_INTERVAL));
}

/** Reads the same arguments again for a reload, with the environment and the conf file of then. */
function rereader(args: readonly string[], first: Setting): Rereading {
  let last: Setting = first;
  return {
    reread() {
      const now = withDefaults(rereadCommand(args, SOURCES, last));
      if ("options" in now) last = now;
      return last.options;
    },
    sources: () => last.sources,
  };
}

/** Reports to the process that waits for this one to be ready in the background, if one does. */
function reportToStarter(): void {
  const starter = Number(readVariable(STARTER_VARIABLE));
  if (starter === Deno.ppid) Deno.kill(starter, READY_SIGNAL);
}

/** Starts the same command detached, and waits until it serves or has failed. */
async function serveInBackground(
  args: readonly string[],
  settings: Settings,
  url: string,
): Promise<number> {
  const { logFile } = settings;
  if (logFile === undefined) throw new UsageError('"--background" needs "--log-file"');
  if (readVariable(NOTIFY_VARIABLE)) throw new UsageError(WATCHED);
  requirePlainFiles(settings);
  shutDebugger(locateLibrary(readVariable("ZMQ_LIBRARY")).path);
  const logged = (readText(logFile) ?? "").length;
  const program = url.startsWith("file:") ? filePath(new URL(url)) : url;
  const isReady = waitForReady();
  const child = spawnInBackground(program, [...args, "--no-background"], logFile);
  if (await isReady(child)) return Exit.ok;
  console.error((readText(logFile) ?? "").slice(logged).trim() || `It failed, see "${logFile}"`);
  return Exit.failed;
}

/** Listens for the signal of a child that is yet to be started; false: that has ended before it came. */
function waitForReady(): (child: Child) => Promise<boolean> {
  const ready = Promise.withResolvers<boolean>();
  Deno.addSignalListener(READY_SIGNAL, () => ready.resolve(true));
  return (child) => Promise.race([ready.promise, child.exited.then(() => false)]);
}
