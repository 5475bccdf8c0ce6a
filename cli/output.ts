/**
 * What a command says to the person who has started it: results on stdout, all else on stderr.
 *
 * @module
 */

import { flush, LineWriter, stderrSink } from "../ops/line_writer.ts";

/** Exit codes of the programs of this package. */
export const Exit = { ok: 0, failed: 1, usage: 2 } as const;

/** Prints a result, with a newline behind it. */
export function print(text: string): void {
  console.log(text);
}

/**
 * Prints a remark or an error on stderr, in the name of a program, after all that was logged. Waits until
 * it is written, or for a second if nobody reads it.
 */
export async function complain(program: string, message: string): Promise<void> {
  await flush();
  const writer = new LineWriter(stderrSink, () => "");
  writer.write(`${program}: ${message}\n`);
  await writer.close();
}
