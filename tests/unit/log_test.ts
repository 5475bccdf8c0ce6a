import { strict as assert } from "node:assert";
import { type Log, openLog } from "../../ops/log.ts";
import type { Sink } from "../../ops/line_writer.ts";

/** A sink that keeps what is written, and fails or writes less when told to. */
class Memory implements Sink {
  text = "";
  fails = false;
  closed = 0;
  /** Bytes that one write takes at most. */
  most = Infinity;
  /** Bytes after which writes fail. */
  room = Infinity;

  write(bytes: Uint8Array): Promise<number> {
    try {
      return Promise.resolve(this.#take(bytes));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #take(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.most, this.room);
    if (this.fails || count === 0) throw new Error("No space left on device");
    this.text += new TextDecoder().decode(bytes.subarray(0, count));
    this.room -= count;
    return count;
  }

  close(): void {
    this.closed++;
  }
}

function memoryLog(format: "text" | "json" = "text", level: Log["level"] = "debug") {
  const sink = new Memory();
  return { sink, log: openLog({ level, format }, () => sink) };
}

/** All that a sink that never keeps anybody waiting takes. */
function written(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /;

function withoutTime(text: string): string {
  return text.split("\n").map((line) => line.replace(TIME, "")).join("\n");
}

Deno.test("Log writes time, level, message and fields when its format is text", async () => {
  const { log, sink } = memoryLog();
  log.info("worker is ready", { worker: 3, pid: 47, idle: true, name: undefined, why: "a b" });
  await log.close();
  assert.match(sink.text, TIME);
  assert.equal(
    withoutTime(sink.text),
    'info  worker is ready worker=3 pid=47 idle=true why="a b"\n',
  );
});

Deno.test("Log writes one object a line when its format is JSON", async () => {
  const { log, sink } = memoryLog("json");
  log.warn('a "quoted"\nmessage', {
    code: 7,
    level: "mine",
    text: "\u2028\u009b\x1b[2J",
    no: undefined,
  });
  await log.close();
  const { time, ...rest } = JSON.parse(sink.text);
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
  const text = "\u2028\u009b\x1b[2J";
  assert.deepEqual(rest, { level: "warn", message: 'a "quoted"\nmessage', code: 7, text });
  assert.match(sink.text, /^[\x20-\x7e]*\n$/);
  assert.deepEqual(Object.keys(JSON.parse(sink.text)).slice(0, 3), ["time", "level", "message"]);
});

Deno.test("Log writes one line an event when a text has control characters", async () => {
  const { log, sink } = memoryLog();
  log.error("first\nsecond\r\x1b[31m", {
    a: "x\ny",
    b: "\u2029",
    c: "\u202e",
    d: "\u{e0041}",
    e: "",
  });
  await log.close();
  assert.equal(
    withoutTime(sink.text),
    'error first\\nsecond\\u000d\\u001b[31m a="x\\ny" b="\\u2029" c="\\u202e" d="\\udb40\\udc41" e=""\n',
  );
});

for (const format of ["text", "json"] as const) {
  Deno.test(`Log cuts what is long once it is escaped: ${format}`, async () => {
    const { log, sink } = memoryLog(format);
    const long = ["\0".repeat(100_000), "a\x1b".repeat(8192), "\u{e0041}".repeat(8192)];
    for (const value of long) log.info(value, { value });
    log.info("日".repeat(8192), { value: "x".repeat(8193) });
    await log.close();
    const lines = sink.text.trimEnd().split("\n");
    assert.equal(lines.length, 4);
    for (const line of lines) {
      assert.ok(line.length < 2 * 8192 + 200, `${line.length}`);
      if (format === "json") assert.match(JSON.parse(line).message, /^.+…?$/su);
    }
    assert.ok(lines[3]?.includes(`${"x".repeat(8192)}…`));
  });
}

Deno.test("Log quotes a value when it could be read as something else", async () => {
  const { log, sink } = memoryLog();
  log.debug("x", { a: "b=c", d: 'e"f', g: "tcp://127.0.0.1:6660", h: "\\", ü: "é" });
  await log.close();
  assert.match(sink.text, /x a="b=c" d="e\\"f" g=tcp:\/\/127\.0\.0\.1:6660 h="\\\\" ü=é\n$/);
});

Deno.test("Log leaves out what is below its level", async () => {
  const { log, sink } = memoryLog("text", "warn");
  log.debug("a");
  log.info("b");
  log.warn("c");
  log.error("d");
  await log.close();
  assert.equal(withoutTime(sink.text), "warn  c\nerror d\n");
  assert.equal(log.level, "warn");
  const silent = memoryLog("text", "critical");
  silent.log.error("e");
  await silent.log.close();
  assert.equal(silent.sink.text, "");
});

Deno.test("Log writes the rest when a write takes only some bytes", async () => {
  const { log, sink } = memoryLog();
  sink.most = 3;
  log.info("a line of some length");
  await log.close();
  assert.equal(withoutTime(sink.text), "info  a line of some length\n");
});

Deno.test("Log counts what it loses, and says so once when writing works again", async () => {
  const { log, sink } = memoryLog("text", "error");
  sink.fails = true;
  for (let i = 0; i < 3; i++) log.error("lost");
  await written();
  sink.fails = false;
  log.error("back");
  log.error("again");
  await log.close();
  assert.equal(
    withoutTime(sink.text),
    "warn  log lines were lost lost=3\nerror back\nerror again\n",
  );
});

Deno.test("Log begins a new line when the last one was cut off", async () => {
  const { log, sink } = memoryLog();
  sink.room = 30;
  log.info("this one does not fit");
  await written();
  sink.room = Infinity;
  log.info("back");
  await log.close();
  const lines = sink.text.split("\n");
  assert.equal(lines[0]?.length, 30);
  assert.match(lines[1] ?? "", /log lines were lost lost=1$/);
  assert.match(lines[2] ?? "", /info {2}back$/);
});

Deno.test("Log loses lines and does not throw when it is closed", async () => {
  const { log, sink } = memoryLog();
  await log.close();
  await log.close();
  log.info("lost");
  assert.equal(sink.text, "");
  assert.equal(sink.closed, 1);
});

Deno.test("Log appends to its file, and follows a rotation when reopened", async () => {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/a.log`;
  await Deno.writeTextFile(file, "before\n");
  const log = openLog({ level: "info", file, format: "text" });
  log.info("one");
  await Deno.rename(file, `${file}.1`);
  log.info("two");
  log.reopen();
  log.info("three");
  await log.close();
  const old = withoutTime(await Deno.readTextFile(`${file}.1`));
  assert.equal(old, "before\ninfo  one\ninfo  two\n");
  assert.equal(withoutTime(await Deno.readTextFile(file)), "info  three\n");
  await Deno.remove(folder, { recursive: true });
});

Deno.test("Log keeps the old file when it can't be reopened", async () => {
  const folder = await Deno.makeTempDir();
  const file = `${folder}/logs/a.log`;
  await Deno.mkdir(`${folder}/logs`);
  const log = openLog({ level: "info", file, format: "text" });
  await Deno.rename(`${folder}/logs`, `${folder}/old`);
  log.reopen();
  log.info("still here");
  await log.close();
  const text = withoutTime(await Deno.readTextFile(`${folder}/old/a.log`));
  assert.match(text, /^warn {2}cannot reopen the log file error="Cannot open the log file .*"\n/);
  assert.match(text, /\ninfo {2}still here\n$/);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("openLog names the file when it can't be opened", () => {
  const file = "/nowhere/at/all.log";
  assert.throws(() => openLog({ level: "info", file, format: "text" }), {
    name: "Error",
    message: /^Cannot open the log file "\/nowhere\/at\/all\.log": /,
  });
});

Deno.test({
  name: "Log never throws when the disk is full",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const log = openLog({ level: "info", file: "/dev/full", format: "text" });
    log.info("lost");
    log.warn("lost");
    log.reopen();
    await log.close();
  },
});

Deno.test("Log writes to stderr, and does not throw when nobody reads it", async () => {
  const module = new URL("../../ops/log.ts", import.meta.url).href;
  const code = `import { openLog } from ${JSON.stringify(module)};
    const log = openLog({ level: "info", format: "text" });
    log.info("hello");
    await new Response(Deno.stdin.readable).text();
    for (let i = 0; i < 100; i++) log.info("x".repeat(4096));
    console.log("alive");`;
  const config = new URL("../../deno.json", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-lock",
      `--config=${config}`,
      `data:application/typescript,${encodeURIComponent(code)}`,
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const reader = child.stderr.getReader();
  let text = "";
  while (!text.includes("hello\n")) {
    const { value, done } = await reader.read();
    if (done) assert.fail(text);
    text += new TextDecoder().decode(value);
  }
  await reader.cancel();
  await child.stdin.close();
  assert.equal((await new Response(child.stdout).text()).trim(), "alive");
  assert.equal((await child.status).code, 0);
});
