/**
 * The help of the control command, made from its tables.
 *
 * @module
 */

import { section } from "../options/help.ts";
import type { Command } from "./ctl_commands.ts";
import { CTL_OPTIONS, type CtlOption } from "./ctl_options.ts";

const GROUPS = {
  Look: "Look at a server",
  Follow: "Follow it",
  Change: "Change it",
  Stored: "Stored jobs",
} as const;

const NOTES = `SERVICE is the name of one of several services. Left out, resize is for the one
without a name, or for each where all have names; other commands are for all.
For stored jobs "-" is the service without a name.
TIME is a number with its unit: 500ms, 10s, 5m, 1h.

Exit status: 0 done, 1 refused by the server, 2 wrong usage or an error on this
machine, 3 no server answers.
`;

/** The help of all commands. */
export function helpText(program: string, commands: readonly Command[]): string {
  const groups = Object.entries(GROUPS).map(([group, title]) =>
    section(title, commands.filter((one) => one.group === group).map(rowOf))
  );
  const server = CTL_OPTIONS.filter(({ group }) => group === "Server").map(optionRow);
  const general = CTL_OPTIONS.filter(({ group }) => group === "General").map(optionRow);
  return [
    `Usage: ${program} [options] COMMAND\n\n` +
    "Shows and changes a server that runs: the only one of this user on this machine,\n" +
    "or the one that the options name.",
    ...groups,
    section("Which server", server),
    section("General", general),
    NOTES,
  ].join("\n\n");
}

/** The help of one command. */
export function commandHelp(program: string, command: Command): string {
  const { name, words, options, help } = command;
  const own = CTL_OPTIONS.filter((option) => options.includes(option.name));
  const usage = [program, "[options]", name, ...own.map((one) => `[${flagOf(one)}]`), ...words];
  const sentence = `${help.slice(0, 1).toUpperCase()}${help.slice(1)}.`;
  const parts = [`Usage: ${usage.join(" ")}`, sentence];
  if (own.length > 0) parts.push(section("Options", own.map(optionRow)));
  return `${parts.join("\n\n")}\n\n"${program} help" lists the options of all commands.\n`;
}

/** The commands and options for programs. */
export function helpJson(commands: readonly Command[]): string {
  return JSON.stringify({
    commands: commands.map(({ name, words, options, help }) => ({ name, words, options, help })),
    options: CTL_OPTIONS,
  });
}

function rowOf({ name, words, options, help }: Command): [string, string] {
  const own = CTL_OPTIONS.filter((option) => options.includes(option.name)).map(flagOf);
  const more = own.length === 0 ? "" : ` (${own.join(", ")})`;
  return [[name, ...words].join(" "), help + more];
}

/** `-s PATH`, or `--slow N` where there is no letter. */
function flagOf({ name, letter, value }: CtlOption): string {
  const flag = letter === undefined ? `--${name}` : `-${letter}`;
  return value === undefined ? flag : `${flag} ${value}`;
}

function optionRow({ name, letter, value, help }: CtlOption): [string, string] {
  const flag = `${letter === undefined ? "    " : `-${letter}, `}--${name}`;
  return [value === undefined ? flag : `${flag} ${value}`, help];
}
