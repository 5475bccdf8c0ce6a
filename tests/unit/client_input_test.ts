/** What the client's command makes of its input, and of how far it has come. */

import { strict as assert } from "node:assert";
import { openInputs, readBody, readLines } from "../../cli/input.ts";
import { ProgressBar } from "../../cli/progress.ts";
import { Stderr } from "../../cli/stderr.ts";
import { Folder } from "../rig/folder.ts";
import { bytes, text } from "../rig/text.ts";

function inputOf(...chunks: string[]) {
  return { chunks: ReadableStream.from(chunks.map(bytes)), size: undefined };
}

async function linesOf(...inputs: string[][]): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of readLines(inputs.map((chunks) => inputOf(...chunks)))) {
    lines.push(text(line));
  }
  return lines;
}

Deno.test("readLines gives the same lines wherever the chunks end", async () => {
  const whole = "one\n\ntwo and more\nthree";
  const lines = ["one", "", "two and more", "three"];
  for (let cut = 0; cut <= whole.length; cut++) {
    assert.deepEqual(await linesOf([whole.slice(0, cut), whole.slice(cut)]), lines);
  }
  assert.deepEqual(await linesOf([...whole]), lines);
});

Deno.test("readLines ends a line with its input, and gives none for an empty one", async () => {
  assert.deepEqual(await linesOf(["a"], [], ["b\n"], ["\n"]), ["a", "b", ""]);
  assert.deepEqual(await linesOf([], [""]), []);
});

Deno.test("readBody joins all inputs and leaves one newline at the end off", async () => {
  const body = await readBody([inputOf("a\n", "b"), inputOf("c\n\n")]);
  assert.equal(text(body), "a\nbc\n");
});

/** Keeps what would be drawn. */
class Drawn extends Stderr {
  readonly lines: string[] = [];

  override draw(line: string): void {
    this.lines.push(line);
  }
}

Deno.test("ProgressBar shows how much is done, ten times a second at most", () => {
  const stderr = new Drawn("client");
  const bar = new ProgressBar(stderr, 60);
  bar.add(6, "answered");
  bar.draw(0);
  bar.add(9, "failed");
  bar.draw(99);
  bar.draw(100);
  bar.add(45, "answered");
  bar.draw(300);
  assert.deepEqual(stderr.lines, [
    "[###...........................] 10 % 1 line",
    "[#######.......................] 25 % 2 lines, 1 failed",
    "[##############################] 100 % 3 lines, 1 failed",
  ]);
});

Deno.test("ProgressBar counts lines when nothing says how many bytes there are", () => {
  const stderr = new Drawn("client");
  const bar = new ProgressBar(stderr, NaN);
  bar.add(6, "answered");
  bar.draw(0);
  assert.deepEqual(stderr.lines, ["1 line"]);
});

Deno.test("openInputs names what is no file", () => {
  using folder = new Folder();
  const named = (path: string, reason: RegExp) =>
    assert.throws(() => openInputs([path]), (error: Error) => {
      assert.ok(error.message.startsWith(`Cannot open the file "${path}": `), error.message);
      assert.match(error.message, reason);
      return true;
    });
  named(folder.path, /: it is a folder$/);
  named(`${folder.path}/none`, /No such file/);
});
