/** What handlers print: it comes as lines of the server's log, and holds nobody up. */

import { strict as assert } from "node:assert";
import { type Printer, Prints } from "../../pool/prints.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { isAlive } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

/** A printer that wants so many lines. */
class Notes implements Printer {
  readonly lines: string[] = [];
  dropped = 0;
  readonly #most: number;

  constructor(most = Infinity) {
    this.#most = most;
  }

  admits(): boolean {
    if (this.lines.length < this.#most) return true;
    this.dropped++;
    return false;
  }

  drop(lines: number): void {
    this.dropped += lines;
  }

  print(line: string): void {
    this.lines.push(line);
  }
}

/** What comes of chunks that a process prints. */
async function read(notes: Notes, ...chunks: string[]): Promise<void> {
  const prints = new Prints();
  prints.read(ReadableStream.from(chunks.map((chunk) => new TextEncoder().encode(chunk))), notes);
  await prints.close();
}

Deno.test("Prints makes lines of what comes in pieces", async () => {
  const notes = new Notes();
  await read(notes, "on", "e\ntwo\r\n\nth", "", "ree\n", "the last");
  assert.deepEqual(notes.lines, ["one", "two", "three", "the last"]);
});

Deno.test("Prints leaves out colours and what moves a cursor", async () => {
  const notes = new Notes();
  await read(notes, "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jx\n\x1b[1m\x1b[0m\n");
  assert.deepEqual(notes.lines, ["red x"]);
});

Deno.test("Prints cuts a line that is too long, and reads the next one", async () => {
  const notes = new Notes();
  await read(notes, "x".repeat(5000), "x".repeat(5000), "x".repeat(50_000), "\nnext\n");
  assert.deepEqual(notes.lines, ["x".repeat(8192), "next"]);
});

Deno.test("Prints counts the lines that are not wanted", async () => {
  const notes = new Notes(3);
  await read(notes, "a\nb\nc\nd\ne\nf", "g\nh\n");
  assert.deepEqual(notes.lines, ["a", "b", "c"]);
  assert.equal(notes.dropped, 4);
});

Deno.test("Prints waits no longer than a moment for a stream that does not end", async () => {
  const notes = new Notes();
  const prints = new Prints();
  let cancelled = false;
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new TextEncoder().encode("a line\n")),
    cancel: () => void (cancelled = true),
  });
  prints.read(stream, notes);
  await prints.close();
  assert.ok(cancelled);
  assert.deepEqual(notes.lines, ["a line"]);
});

Deno.test("the server answers others, and its log goes on, when a handler floods its stdout", async () => {
  const handler = `export default (body) => {
    const text = new TextDecoder().decode(body);
    if (text === "flood") for (let i = 0; i < 50; i++) console.log("yyyyyyyy\\n".repeat(10_000));
    return text;
  };`;
  await using server = await ServerProcess.start({ handler, args: ["--workers", "2"] });
  await server.line("worker ready", 2);
  await using flood = new Peer(server.endpoint);
  await using other = new Peer(server.endpoint);
  flood.send("", "flood");
  for (let round = 0; round < 50; round++) assert.deepEqual(await other.ask("x"), ["x"]);
  assert.deepEqual(await flood.receiveText(), ["", "flood"]);
  const { worker, dropped } = await server.line("a worker prints too much: lines were dropped");
  assert.ok(Number(worker) > 0 && Number(dropped) > 1000);
});

Deno.test("what handlers print follows the log to a new file, and has no colours", async () => {
  using folder = new Folder();
  const log = `${folder.path}/a.log`;
  const pidFile = `${folder.path}/a.pid`;
  const endpoint = `ipc://${folder.path}/jobs`;
  const handler = folder.write(
    "handler.ts",
    `export default (body) => {
      const text = new TextDecoder().decode(body);
      console.log("%cprinted " + text, "color: red", { text });
      console.error("\x1b[31mfailed\x1b[0m " + text);
      return text;
    };`,
  );
  const files = ["--background", "--pid-file", pidFile, "--log-file", log];
  const args = ["run", "-A", path("mod.ts"), handler, ...files, "--frontend", endpoint];
  const started = await run(Deno.execPath(), [...args, "--workers", "1"]);
  assert.equal(started.code, 0, started.stderr);
  const pid = Number(Deno.readTextFileSync(pidFile));
  try {
    await using peer = new Peer(endpoint);
    const has = (file: string, what: string) => Deno.readTextFileSync(file).includes(what);
    assert.deepEqual(await peer.ask("before"), ["before"]);
    await until("it is logged", () => has(log, "failed before"));
    Deno.renameSync(log, `${log}.1`);
    await until("the log has moved", () => {
      try {
        return Deno.statSync(log).isFile;
      } catch {
        return false;
      }
    });
    assert.deepEqual(await peer.ask("after"), ["after"]);
    await until("it is logged", () => has(log, "printed after") && has(log, "failed after"));
    assert.ok(!has(`${log}.1`, "after"));
    for (const file of [log, `${log}.1`]) {
      for (const escape of ["\x1b", "\\u001b"]) assert.ok(!has(file, escape));
    }
  } finally {
    Deno.kill(pid, "SIGTERM");
    await until("it has ended", () => !isAlive(pid));
  }
});
