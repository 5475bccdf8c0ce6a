/**
 * Shows and changes a server that runs: `deno task ctl status`. It speaks with the server through its control
 * socket, or through its `http` endpoint. Not here: the commands (ctl_commands.ts), their arguments
 * (ctl_flags.ts), and which server is meant (control_places.ts).
 *
 * @module
 */

import { messageOf } from "../system/errors.ts";
import { ControlLink, RefusedError, UnreachedError } from "./control_link.ts";
import { findPlace } from "./control_places.ts";
import { type Command, COMMANDS } from "./ctl_commands.ts";
import { type Order, readOrder } from "./ctl_flags.ts";
import { commandHelp, helpJson, helpText } from "./ctl_help.ts";
import { sheetOfStdout } from "./ctl_screen.ts";
import { Exit } from "./outcome.ts";
import { commandName, VERSION } from "./program.ts";
import { printText } from "./reply_output.ts";
import { Stderr } from "./stderr.ts";

/**
 * Runs a command of `ctl`.
 *
 * @param args its arguments: `["worker", "stop", "3"]`.
 * @returns the exit status: 0 done, 1 the server refused it, 2 wrong usage or an error on this machine, 3 no
 * server answered.
 */
export async function ctl(args: readonly string[]): Promise<number> {
  const stderr = new Stderr("ctl");
  try {
    return await run(args, stderr);
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return Exit.answered;
    stderr.say(messageOf(error));
    if (error instanceof RefusedError) return Exit.errorReply;
    return error instanceof UnreachedError ? Exit.noAnswer : Exit.usage;
  }
}

async function run(args: readonly string[], stderr: Stderr): Promise<number> {
  const program = commandName(import.meta.url, "deno task ctl", "ctl");
  const order = readOrder(args[0] === "help" ? ["--help", ...args.slice(1)] : args, COMMANDS);
  const { command, mode } = order;
  if (mode === "version") printText(`${VERSION}\n`);
  else if (mode === "help" && order.json) printText(`${helpJson(COMMANDS)}\n`);
  else if (mode === "help" && command !== undefined) printText(commandHelp(program, command));
  else if (mode === "help") printText(helpText(program, COMMANDS));
  else if (command === undefined) {
    stderr.say(`Cannot tell what to do: give a command; "${program} help" lists them`);
    return Exit.usage;
  } else await runCommand(command, order, stderr);
  return Exit.answered;
}

async function runCommand(command: Command, order: Order<Command>, stderr: Stderr): Promise<void> {
  const task = command.plan(order);
  const desk = { sheet: sheetOfStdout(), remark: (text: string) => stderr.say(text) };
  if (command.isOffline) {
    return await task({
      ...desk,
      get link(): ControlLink {
        throw new Error(`"${command.name}" asks no server`);
      },
    });
  }
  const place = await findPlace(order.choice);
  using link = new ControlLink(place, order.timeout);
  await task({ ...desk, link });
}

if (import.meta.main) Deno.exit(await ctl(Deno.args));
