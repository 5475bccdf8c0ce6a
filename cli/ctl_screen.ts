/**
 * Where the control command's results go: stdout, with colours at a terminal.
 *
 * @module
 */

import { coloured, plain } from "./paint.ts";
import { printText } from "./reply_output.ts";
import type { Sheet } from "./table.ts";

/** What a file, a pipe and the narrowest of usual terminals have. */
const WIDTH = 80;

/** What stdout shows. */
export function sheetOfStdout(): Sheet {
  if (!Deno.stdout.isTerminal()) return { width: WIDTH, paint: plain };
  return { width: columnsOf(), paint: Deno.noColor ? plain : coloured };
}

function columnsOf(): number {
  try {
    return Deno.consoleSize().columns || WIDTH;
  } catch {
    return WIDTH;
  }
}

/** Prints lines. @throws when stdout is closed. */
export function printLines(lines: readonly string[]): void {
  if (lines.length > 0) printText(`${lines.join("\n")}\n`);
}
