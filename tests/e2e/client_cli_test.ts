/** The command line of client.ts, run as a process against a server made here. */

import assert from "node:assert/strict";
import { EMPTY_FRAME } from "../../wire/empty_frame.ts";
import { buildErrorText, buildProgress, buildStatus, StatusFlag } from "../../wire/request.ts";
import { Option, SocketType } from "../../zmq/library.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { MessagePool } from "../../zmq/message.ts";
import type { Poller } from "../../system/poller.ts";
import { pollerOf } from "../rig/descriptors.ts";
import { Context, type Socket } from "../../zmq/socket.ts";
import {
  deadEndpoint,
  echoAsOlder,
  FakeServer,
  headerOf,
  isQuestion,
  knowing,
} from "../rig/fake_server.ts";
import { PartServer } from "../rig/part_server.ts";
import { clientFlags } from "../rig/permissions.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
const root = decodeURIComponent(new URL("../..", import.meta.url).pathname);
const text = (bytes: Uint8Array | undefined) => new TextDecoder().decode(bytes);
const bytes = (value: string) => new TextEncoder().encode(value);

/** A request that waits for its answer. */
interface Waiting {
  peer: Bytes;
  envelope: Bytes[];
  body: Bytes[];
}

/**
 * Echoes; but "fail …" is answered 500, "silent …" never, and requests are held until `batch` of them
 * wait, which are then answered last one first.
 */
class EchoServer {
  /** The peers and first body frames of what came. */
  readonly seen: { peer: Bytes; body: string }[] = [];
  /** The most that waited at a time. */
  mostWaiting = 0;
  readonly endpoint: string;
  readonly #batch: number;
  readonly #context = new Context(library);
  readonly #socket: Socket;
  readonly #poller: Poller;
  readonly #frame = new MessagePool(library).take();
  readonly #done: Promise<void>;
  #waiting: Waiting[] = [];
  #open = true;

  constructor(batch = 1) {
    this.#batch = batch;
    this.#socket = this.#context.socket(SocketType.ROUTER);
    this.#socket.set(Option.SNDHWM, 0);
    this.#socket.set(Option.RCVHWM, 0);
    this.endpoint = this.#socket.bind("tcp://127.0.0.1:*");
    this.#poller = pollerOf([this.#socket]);
    this.#done = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open = false;
    this.#poller.wake();
    await this.#done;
    this.#poller.close();
    this.#socket.close(0);
    await this.#context.terminate();
  }

  async #run(): Promise<void> {
    while (this.#open) {
      for (let request; (request = this.#receive()) !== undefined;) this.#take(request);
      // After all that came was counted, so that a second request would be seen to wait.
      if (this.#batch === 1) this.#answerAll();
      await this.#poller.wait(this.#socket.readable() ? 0 : 60_000);
    }
  }

  #take(request: Waiting): void {
    const body = text(request.body[0]);
    this.seen.push({ peer: request.peer, body });
    if (body.startsWith("silent")) return;
    this.#waiting.push(request);
    this.mostWaiting = Math.max(this.mostWaiting, this.#waiting.length);
    if (this.#waiting.length === this.#batch && this.#batch > 1) this.#answerAll();
  }

  #answerAll(): void {
    for (const request of this.#waiting.splice(0).reverse()) this.#answer(request);
  }

  #answer({ peer, envelope, body }: Waiting): void {
    const failed = text(body[0]).startsWith("fail");
    const head = [peer, ...envelope, EMPTY_FRAME];
    if (envelope.length > 0) {
      const answer = failed ? [bytes("it is broken")] : body;
      this.#send([...head, buildStatus(failed ? 500 : 200), ...answer]);
    } else {
      this.#send([
        ...head,
        ...(failed ? [EMPTY_FRAME, buildErrorText(500, "it is broken")] : body),
      ]);
    }
  }

  #send(frames: Bytes[]): void {
    const last = frames.pop() ?? EMPTY_FRAME;
    for (const frame of frames) this.#socket.sendMore(frame);
    this.#socket.sendLast(last);
  }

  #receive(): Waiting | undefined {
    const frames: Bytes[] = [];
    do {
      const size = this.#socket.receive(this.#frame);
      if (size < 0) return undefined;
      frames.push(this.#frame.bytes(size));
    } while (this.#frame.more);
    const [peer = EMPTY_FRAME, ...rest] = frames;
    const split = rest.findIndex((frame) => frame.length === 0);
    return { peer, envelope: rest.slice(0, split), body: rest.slice(split + 1) };
  }
}

function command(args: string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...clientFlags(args.filter((arg) => arg.startsWith("/"))), "client.ts", ...args],
    cwd: root,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Runs the client to its end. */
async function run(args: string[], stdin: string | Uint8Array<ArrayBuffer> = "") {
  const child = command(args).spawn();
  const output = child.output();
  await new Response(stdin).body?.pipeTo(child.stdin).catch(() => {}); // it need not read it
  if (stdin.length === 0) await child.stdin.close().catch(() => {});
  const { code, stdout, stderr } = await output;
  return { code, stdout: text(stdout), stderr: text(stderr), bytes: stdout };
}

async function withFiles(
  contents: Record<string, string>,
  use: (path: (name: string) => string) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const path = (name: string) => `${folder}/${name}`;
    for (const [name, content] of Object.entries(contents)) {
      await Deno.writeTextFile(path(name), content);
    }
    await use(path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("client.ts prints the reply alone when asked with --data", async () => {
  await using server = new EchoServer();
  const reply = await run(["-e", server.endpoint, "--data", "hello"]);
  assert.deepEqual([reply.code, reply.stdout, reply.stderr], [0, "hello\n", ""]);
  assert.equal((await run(["-e", server.endpoint, "--data", ""])).stdout, "\n");
  assert.equal((await run(["-e", server.endpoint, "--data", "kept\n"])).stdout, "kept\n\n");
  assert.deepEqual(server.seen.map(({ body }) => body), ["hello", "", "kept\n"]);
});

Deno.test("client.ts leaves one newline off when it reads stdin", async () => {
  await using server = new EchoServer();
  for (const input of ["x\n", "x\n\n", "x", "", "\n"]) {
    const { code, stdout } = await run(["-e", server.endpoint], input);
    assert.deepEqual([code, stdout], [0, `${input.replace(/\n$/, "")}\n`]);
  }
  assert.deepEqual(server.seen.map(({ body }) => body), ["x", "x\n", "x", "", ""]);
});

Deno.test("client.ts sends files as one body when several are named", async () => {
  await using server = new EchoServer();
  await withFiles({ a: "one\n", b: "two\n" }, async (path) => {
    const args = ["-e", server.endpoint, path("a"), "-", path("b")];
    assert.equal((await run(args, "middle\n")).stdout, "one\nmiddle\ntwo\n");
  });
  assert.deepEqual(server.seen.map(({ body }) => body), ["one\nmiddle\ntwo"]);
});

Deno.test("client.ts passes every byte when --raw", async () => {
  await using server = new EchoServer();
  const body = Uint8Array.from({ length: 1_000_000 }, (_, index) => index * 31);
  const reply = await run(["-e", server.endpoint, "--raw"], body);
  assert.equal(reply.code, 0);
  assert.deepEqual(new Uint8Array(reply.bytes), body);
  assert.equal((await run(["-e", server.endpoint, "--raw", "--data", "x"])).stdout, "x");
});

Deno.test("client.ts bears the name when --identity", async () => {
  await using server = new EchoServer();
  assert.equal((await run(["-e", server.endpoint, "-i", "waiting", "--data", "x"])).code, 0);
  const plain = ["-e", server.endpoint, "--identity=waiting", "--plain", "--data", "x"];
  assert.equal((await run(plain)).stdout, "x\n");
  assert.deepEqual(server.seen.map(({ peer }) => text(peer)), ["waiting", "waiting"]);
});

Deno.test("client.ts asks a service when -s, and never one of an older server", async () => {
  await using server = new FakeServer(
    knowing((server, request) =>
      server.reply(request, 200, bytes(`of ${headerOf(request)?.service}`))
    ),
  );
  for (const name of [["-s", "mail"], ["--service=mail"], ["-s", "mail", "--lines"]]) {
    const { code, stdout } = await run(["-e", server.endpoint, ...name], "x\n");
    assert.deepEqual([code, stdout], [0, "of mail\n"]);
  }
  await using older = new FakeServer(echoAsOlder);
  const args = ["-e", older.endpoint, "-s", "mail", "-t", "300ms", "-r", "0", "--data", "x"];
  const { code, stderr } = await run(args);
  assert.equal(code, 3);
  assert.match(
    stderr,
    /has not said that it knows services or answers in parts: it may be older\n$/,
  );
  assert.ok(older.requests.every(isQuestion));
});

Deno.test("client.ts prints parts as they come when --stream, and the error behind them", async () => {
  await using server = new PartServer((server, request) => {
    server.say(request, StatusFlag.more | StatusFlag.progress, 0, buildProgress(1, 2), EMPTY_FRAME);
    server.part(request, 0, bytes("one"), bytes("1"));
    server.part(request, 1, bytes("two"));
    if (text(request.body[0]) === "fail") server.fake.reply(request, 500, bytes("it is broken"));
    else server.end(request, 2);
  });
  const args = ["-e", server.endpoint, "--stream"];
  const whole = await run([...args, "-s", "mail", "--data", "x"]);
  assert.deepEqual([whole.code, whole.stdout, whole.stderr], [0, "one\n1\ntwo\n", ""]);
  const failed = await run([...args, "--raw"], "fail\n");
  assert.deepEqual([failed.code, failed.stdout], [1, "one1two"]);
  assert.equal(failed.stderr, "client: error 500: it is broken\n");
});

Deno.test("client.ts takes the next endpoint when one is not there, however the list is written", async () => {
  await using server = new EchoServer();
  const { endpoint } = server;
  const dead = deadEndpoint();
  for (const args of [["-e", dead, "--endpoint", endpoint], [`-e=${dead},${endpoint}`]]) {
    const { code, stdout, stderr } = await run([...args, "-r", "0", "--data", "x"]);
    assert.deepEqual([code, stdout, stderr], [0, "x\n", ""]);
  }
});

Deno.test("client.ts exits 1 when the server answers an error", async () => {
  await using server = new EchoServer();
  for (const plain of [[], ["--plain"]]) {
    const reply = await run(["-e", server.endpoint, ...plain, "--data", "fail"]);
    assert.deepEqual([reply.code, reply.stdout], [1, ""]);
    assert.equal(reply.stderr, "client: error 500: it is broken\n");
  }
});

Deno.test("client.ts exits 3 when nobody answers", async () => {
  await using server = new EchoServer();
  for (const timeout of ["0.2s", "200ms", "200.0ms"]) {
    const args = ["-e", server.endpoint, "-t", timeout, "-r", "1", "--data", "silent"];
    const { code, stdout, stderr } = await run(args);
    assert.deepEqual([code, stdout], [3, ""]);
    assert.match(
      stderr,
      /^client: Cannot get an answer from "tcp:.*after 2 tries of 200 ms: .+\n$/,
    );
  }
  assert.ok(server.seen.length <= 6);
});

Deno.test("client.ts exits 2 when the arguments are wrong", async () => {
  const cases: [string[], RegExp][] = [
    [["--nonsense=1"], /Unknown option "--nonsense": --help lists them$/m],
    [["--timout", "1s"], /Unknown option "--timout": did you mean "--timeout"\?$/m],
    [["-x"], /Unknown option "-x"/],
    [["-t", "soon"], /Cannot ask: "--timeout" must be a duration, such as .*"soon"/],
    [["-t", "10"], /"--timeout" needs a unit: did you mean "10s" or "10ms"\?$/m],
    [["--request-timeout", "1.5"], /"--request-timeout" needs a unit: did you mean "1.5s" or/],
    [["-t", "0"], /"timeout" must be/],
    [["-r", "-1"], /"--retries" must be|Unknown option/],
    [["-r", "1.5"], /"--retries" must be an integer >= 0: current value is "1.5"/],
    [["-e", "localhost"], /"endpoint" must be/],
    [["-i", ""], /"identity" must be/],
    [["-s", "a b"], /"service" must be a name of 1 to 64 characters .*: current value is "a b"/],
    [["-s", "mail", "--plain"], /a plain client has no "service"$/m],
    [["--transport", "zmq"], /"--transport" must be native or libzmq: current value is "zmq"/],
    [["--data", "x", "file"], /"--data" and files/],
    [["-j", "2"], /needs "--lines"/],
    [["--subscribe", "x", "--stream"], /Cannot subscribe with "--stream"$/m],
    [["--subscribe", "x", "--endpoint", "tcp://localhost:1"], /"--endpoint": "--events" says/],
    [["--stream", "--lines"], /"--stream" and "--lines": give one or the other$/m],
    [["--stream", "-k", "x"], /"--stream" and "--key": parts are for one request alone$/m],
    [["--stream", "--plain"], /a plain client takes no parts$/m],
    [["--lines", "-j", "0"], /"-j" must be an integer >= 1/],
    [["--lines", "-j", "2", "--plain", "-i", "me"], /"-j" then must be 1, but it is 2/],
    [["/no/such/file"], /No such file/],
    [["--lines", "/no/such/file"], /No such file/],
  ];
  for (const [args, message] of cases) {
    const { code, stdout, stderr } = await run(args);
    assert.deepEqual([code, stdout], [2, ""], args.join(" "));
    assert.match(stderr, message);
    assert.equal(stderr.trimEnd().split("\n").length, 1, stderr);
  }
});

Deno.test("client.ts prints its options when -h", async () => {
  for (const flag of ["-h", "--help"]) {
    const { code, stdout, stderr } = await run([flag]);
    assert.deepEqual([code, stderr], [0, ""]);
    for (const line of stdout.split("\n")) assert.ok(line.length <= 80, line);
    for (
      const option of [
        "-e",
        "-t",
        "-r",
        "-i",
        "-s",
        "-j",
        "-q",
        "-h",
        "--data",
        "--plain",
        "--lines",
      ]
    ) {
      assert.ok(stdout.includes(option), option);
    }
  }
});

Deno.test("client.ts asks a line at a time when --lines", async () => {
  await using server = new EchoServer();
  const { code, stdout, stderr } = await run(["-e", server.endpoint, "--lines"], "a\n\nb\r\nlast");
  assert.deepEqual([code, stdout, stderr], [0, "a\n\nb\r\nlast\n", ""]);
  assert.deepEqual(server.seen.map(({ body }) => body), ["a", "", "b\r", "last"]);
  assert.equal(server.mostWaiting, 1);
});

Deno.test("client.ts asks nothing when --lines and there are none", async () => {
  await using server = new EchoServer();
  const { code, stdout, stderr } = await run(["-e", server.endpoint, "--lines"], "");
  assert.deepEqual([code, stdout, stderr, server.seen.length], [0, "", "", 0]);
});

Deno.test("client.ts prints in the order of the lines when -j and answered backwards", async () => {
  await using server = new EchoServer(8);
  const lines = Array.from({ length: 64 }, (_, index) => `line ${index}\n`).join("");
  for (const plain of [[], ["--plain"]]) {
    const args = ["-e", server.endpoint, "--lines", "-j", "8", ...plain];
    const { code, stdout, stderr } = await run(args, lines);
    assert.deepEqual([code, stdout, stderr], [0, lines, ""]);
  }
  assert.equal(server.mostWaiting, 8);
});

Deno.test("client.ts answers thousands of lines when they come from files", async () => {
  await using server = new EchoServer();
  const a = Array.from({ length: 5000 }, (_, index) => `${index} ${"x".repeat(index % 300)}\n`);
  await withFiles({ a: a.join(""), b: "no newline", c: "end\n" }, async (path) => {
    const files = [path("a"), path("b"), path("c")];
    const { code, stdout } = await run(["-e", server.endpoint, "--lines", "-j", "100", ...files]);
    assert.equal(code, 0);
    assert.ok(stdout === `${a.join("")}no newline\nend\n`);
  });
});

Deno.test("client.ts prints each byte in order when replies are as large as what is written at once", async () => {
  await using server = new EchoServer(3);
  const sizes = [1, 65_535, 65_536, 65_537, 0, 200_000, 65_534, 2, 131_072];
  const lines = sizes.map((size, index) => `${String(index).repeat(size)}\n`).join("");
  const args = ["-e", server.endpoint, "--lines", "-j", "3"];
  const { code, stdout, stderr } = await run(args, lines);
  assert.deepEqual([code, stdout === lines, stderr], [0, true, ""]);
  const joined = (await run([...args, "--raw"], lines)).stdout;
  assert.ok(joined === lines.replaceAll("\n", ""));
});

Deno.test("client.ts prints what came before a failure ahead of it when -j", async () => {
  await using server = new EchoServer(4);
  await withFiles({ lines: "a\nfail b\nc\nd\n" }, async (path) => {
    const out = path("out");
    const words = [Deno.execPath(), "run", "-A", "client.ts", "-e", server.endpoint];
    const shell = `exec "$@" --lines -j 4 ${path("lines")} > ${out} 2>&1`;
    const { code } = await new Deno.Command("sh", {
      args: ["-c", shell, "sh", ...words],
      cwd: root,
    }).output();
    assert.equal(code, 1);
    const printed = await Deno.readTextFile(out);
    assert.equal(printed, "a\nclient: line 2: error 500: it is broken\nc\nd\n");
  });
});

Deno.test("client.ts goes on and tells the worst when lines fail", async () => {
  await using server = new EchoServer();
  const args = ["-e", server.endpoint, "--lines", "-r", "0", "-j", "2"];
  const failed = await run(args, "a\nfail\nb\n");
  assert.deepEqual([failed.code, failed.stdout], [1, "a\nb\n"]);
  assert.equal(failed.stderr, "client: line 2: error 500: it is broken\n");
  // Long enough for the lines that are answered, however busy the machine is.
  const lost = await run([...args, "-t", "3s"], "fail\nsilent\nfail\nc\n");
  assert.deepEqual([lost.code, lost.stdout], [3, "c\n"]);
  assert.match(lost.stderr, /line 1: error 500: .*\n.*line 2: Cannot get.*\n.*line 3: error 500/);
});

Deno.test("client.ts answers a line when the next is not there yet", async () => {
  await using server = new EchoServer();
  const child = command(["-e", server.endpoint, "--lines", "-j", "3"]).spawn();
  const input = child.stdin.getWriter();
  const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  for (const line of ["one\n", "two\n", "three\n"]) {
    await input.write(bytes(line));
    assert.equal((await output.read()).value, line);
  }
  await input.close();
  assert.equal((await output.read()).done, true);
  assert.equal((await child.status).code, 0);
  await child.stderr.cancel();
});

Deno.test("client.ts ends in silence when its stdout is closed", async () => {
  await using server = new EchoServer();
  const child = command(["-e", server.endpoint, "--lines", "-j", "4"]).spawn();
  const lines = new ReadableStream({
    pull: (controller) => controller.enqueue(bytes("y\n".repeat(1000))),
  });
  const fed = lines.pipeTo(child.stdin).catch(() => {});
  const output = child.stdout.getReader();
  assert.equal(text((await output.read()).value).slice(0, 2), "y\n");
  await output.cancel();
  const stderr = await new Response(child.stderr).text();
  const { code, signal } = await child.status;
  assert.deepEqual([code, signal, stderr], [0, null, ""]);
  await fed;
});
