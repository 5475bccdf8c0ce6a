import { strict as assert } from "node:assert";
import { LineWriter, type Sink } from "../../ops/line_writer.ts";
import { path } from "../rig/checkout.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { endNow } from "../rig/processes.ts";
import { LIMIT, until, within } from "../rig/wait.ts";

/** A sink that takes nothing until it is told to. */
class Stuck implements Sink {
  text = "";
  closed = false;
  #gate = Promise.withResolvers<void>();

  async write(bytes: Uint8Array): Promise<number> {
    await this.#gate.promise;
    this.text += new TextDecoder().decode(bytes);
    return bytes.length;
  }

  open(): void {
    this.#gate.resolve();
  }

  close(): void {
    this.closed = true;
  }

  get lines(): string[] {
    return this.text.split("\n").slice(0, -1);
  }
}

const lossLine = (lost: number) => `lost ${lost}\n`;

Deno.test("LineWriter keeps a bounded number of lines for a sink that takes none, and counts the others", async () => {
  const sink = new Stuck();
  const writer = new LineWriter(() => sink, lossLine);
  const line = (count: number) => `${count} ${"x".repeat(1000)}\n`;
  for (let count = 0; count < 5000; count++) writer.write(line(count));
  sink.open();
  await until("the loss is told", () => sink.text.includes("lost"));
  writer.write("after\n");
  await writer.close();
  const { lines } = sink;
  const kept = lines.filter((line) => line.includes("x")).length;
  assert.ok(kept > 1000 && kept < 1100, `${kept}`);
  assert.deepEqual(lines.slice(0, kept), Array.from({ length: kept }, (_, n) => line(n).trim()));
  assert.deepEqual(lines.slice(kept), [`lost ${5000 - kept}`, "after"]);
});

Deno.test("LineWriter closes in bounded time though its sink takes nothing", async () => {
  const sink = new Stuck();
  const writer = new LineWriter(() => sink, lossLine);
  writer.write("never written\n");
  await writer.close();
  assert.ok(sink.closed);
  assert.equal(sink.text, "");
  sink.open();
});

Deno.test("LineWriter writes what waits before it closes", async () => {
  const sink = new Stuck();
  const writer = new LineWriter(() => sink, lossLine);
  for (let count = 0; count < 1000; count++) writer.write(`${count}\n`);
  const closed = writer.close();
  sink.open();
  await closed;
  assert.equal(sink.lines.length, 1000);
});

Deno.test("LineWriter gives lines to the sink that was open when they came, when it is reopened", async () => {
  const [first, second] = [new Stuck(), new Stuck()];
  const sinks: Sink[] = [first, second];
  const writer = new LineWriter(() => sinks.shift() ?? first, lossLine);
  writer.write("one\n");
  writer.write("two\n");
  writer.reopen();
  writer.write("three\n");
  first.open();
  second.open();
  await writer.close();
  assert.deepEqual([first.lines, second.lines], [["one", "two"], ["three"]]);
  assert.deepEqual([first.closed, second.closed], [true, true]);
});

Deno.test("LineWriter waits for a pipe that is full and non-blocking", async () => {
  let calls = 0;
  let text = "";
  const write = (bytes: Uint8Array) => {
    if (calls++ < 3) return Promise.reject(new Deno.errors.WouldBlock());
    text += new TextDecoder().decode(bytes);
    return Promise.resolve(bytes.length);
  };
  const writer = new LineWriter(() => ({ write, close() {} }), lossLine);
  writer.write("a line\n");
  await writer.close();
  assert.equal(text, "a line\n");
});

/** Runs a program whose stderr is a pipe that nobody reads; gives its child. */
function spawnUnread(code: string): Deno.ChildProcess {
  const main = `data:application/typescript,${encodeURIComponent(code)}`;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-lock", `--config=${path("deno.json")}`, "--allow-all", main],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(LIMIT),
  }).spawn();
}

Deno.test("a program that logs goes on, and ends, when nobody reads its stderr", async () => {
  const child = spawnUnread(`
    import { openLog } from ${JSON.stringify(new URL("../../ops/log.ts", import.meta.url).href)};
    const log = openLog({ level: "info", format: "text" });
    for (let i = 0; i < 2000; i++) log.info("x".repeat(4096));
    await log.close();
    console.log("alive");
    Deno.exit(0);`);
  const stdout = await new Response(child.stdout).text();
  const { code } = await child.status;
  await child.stderr.cancel();
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "alive\n" });
});

Deno.test("a program writes its last log lines before it exits", async () => {
  using folder = new Folder();
  const file = `${folder.path}/a.log`;
  const child = spawnUnread(`
    import { openLog } from ${JSON.stringify(new URL("../../ops/log.ts", import.meta.url).href)};
    const log = openLog({ level: "info", format: "text", file: ${JSON.stringify(file)} });
    for (let i = 0; i < 2000; i++) log.info("line " + i);
    await log.close();
    Deno.exit(0);`);
  await child.status;
  await Promise.all([child.stdout.cancel(), child.stderr.cancel()]);
  const lines = Deno.readTextFileSync(file).trimEnd().split("\n");
  assert.equal(lines.length, 2000);
  assert.match(lines.at(-1) ?? "", / line 1999$/);
});

Deno.test("the server answers, and ends at TERM, when nobody reads its full stderr", async () => {
  using folder = new Folder();
  const endpoint = `ipc://${folder.path}/jobs`;
  const handler = folder.write(
    "handler.ts",
    `export default (body, ctx) => { ctx.log.info("x".repeat(8000)); return body; };`,
  );
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", path("mod.ts"), handler, "--frontend", endpoint, "--workers", "1"],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    await using peer = new Peer(endpoint);
    for (let count = 0; count < 100; count++) {
      assert.deepEqual(await peer.ask(String(count)), [String(count)]);
    }
    child.kill("SIGTERM");
    assert.equal((await within("the server has ended", child.status)).code, 0);
  } finally {
    await endNow(child);
    await child.stderr.cancel();
  }
});
