/** What the client's command says to who sits at a terminal, and of itself. */

import assert from "node:assert/strict";
import { canBePublic } from "../../auth/curve25519.ts";
import { buildProgress, StatusFlag } from "../../wire/request.ts";
import { makeKeyPair } from "../../zmq/curve.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { commandName } from "../../cli/program.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { deadEndpoint, echo, FakeServer, type Received, silent } from "../rig/fake_server.ts";
import { Folder } from "../rig/folder.ts";
import { isAlive } from "../rig/processes.ts";
import { PartServer } from "../rig/part_server.ts";
import { bytes } from "../rig/text.ts";
import { until } from "../rig/wait.ts";
import { KeyRing } from "../rig/key_ring.ts";

/** script(1) gives a command a terminal; that of macOS has other flags. */
const ignore = Deno.build.os !== "linux";

type Bytes = Uint8Array<ArrayBuffer>;

/** How a line is begun anew. */
const ERASE = "\r\x1b[K";

/** The client's command with a terminal for what is not redirected. */
class AtTerminal {
  /** What the terminal has shown so far. */
  shown = "";
  readonly #child: Deno.ChildProcess;
  readonly #read: Promise<void>;

  /** `redirect`: as a shell says it. */
  constructor(args: string[], redirect = "") {
    const command = [Deno.execPath(), "run", "-A", path("client.ts"), ...args];
    const line = command.map((word) => `'${word}'`).join(" ");
    this.#child = new Deno.Command("script", {
      args: ["--quiet", "--return", "--command", `exec ${line} ${redirect}`, "/dev/null"],
      env: { NO_COLOR: "1", SHELL: "/bin/sh" },
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#read = this.#collect();
  }

  /** Waits until the terminal has shown this. */
  async shows(what: RegExp): Promise<void> {
    await until(`the terminal shows ${what}: ${this.shown}`, () => what.test(this.shown));
  }

  /** Waits until this is what the terminal has shown last. */
  async ends(text: string): Promise<void> {
    await until(`the terminal shows ${text} last: ${this.shown}`, () => this.shown.endsWith(text));
  }

  /** Waits for the end; returns the exit code. */
  async ended(): Promise<number> {
    await this.#read;
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { pid } = this.#child;
    if (isAlive(pid)) this.#child.kill("SIGTERM");
    await this.ended();
  }

  async #collect(): Promise<void> {
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      this.shown += text;
    }
  }
}

Deno.test("client.ts says what it waits for, and that it tries again, when there is no server", {
  ignore,
}, async () => {
  const endpoint = deadEndpoint();
  await using terminal = new AtTerminal(["-e", endpoint, "-t", "2s", "-r", "1", "--data", "x"]);
  await terminal.shows(/client: waiting for an answer from "tcp:.*": there is no connection to it/);
  await terminal.shows(
    /client: "tcp:.*": there is no connection, trying again after the first time/,
  );
  assert.equal(await terminal.ended(), 3);
  await terminal.shows(/client: Cannot get an answer .* of 2000 ms: there is no connection to it/);
});

Deno.test("client.ts names a handshake that fails, and a server that does not answer", {
  ignore,
}, async () => {
  using nobody = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using mute = new FakeServer(silent);
  await using one = new AtTerminal(["-e", `tcp://127.0.0.1:${nobody.addr.port}`, "--data", "x"]);
  await using other = new AtTerminal(["-e", mute.endpoint, "--data", "x"]);
  await using unsaid = new AtTerminal(["-e", mute.endpoint, "-s", "mail", "--data", "x"]);
  await unsaid.shows(/waiting .*: it is connected, and has not said that it knows services/);
  await one.shows(/waiting .*: what listens there does not answer as a ZeroMQ server/);
  await other.shows(/waiting .*: it is connected and has sent no answer/);
});

Deno.test("client.ts says nothing at a terminal when it is quiet, or is answered", {
  ignore,
}, async () => {
  await using server = new FakeServer(echo);
  const quiet = ["-q", "-e", deadEndpoint(), "-t", "1500ms", "-r", "1", "--data", "x"];
  await using waits = new AtTerminal(quiet);
  await using asks = new AtTerminal(["-e", server.endpoint, "--data", "x"]);
  assert.equal(await asks.ended(), 0);
  assert.equal(asks.shown, "x\r\n");
  assert.equal(await waits.ended(), 3);
  assert.match(waits.shown, /^client: Cannot get an answer [^\n]*\n$/);
});

Deno.test("client.ts draws its bar over itself when --lines and the replies go to a file", {
  ignore,
}, async () => {
  await using server = new FakeServer(echo);
  using folder = new Folder();
  const lines = Array.from({ length: 300 }, (_, index) => `line ${index}\n`).join("");
  const file = folder.write("lines", lines);
  const args = ["-e", server.endpoint, "--lines", file];
  await using toFile = new AtTerminal(args, `> '${folder.path}/replies'`);
  assert.equal(await toFile.ended(), 0);
  assert.equal(Deno.readTextFileSync(`${folder.path}/replies`), lines);
  const [before, ...drawn] = toFile.shown.split(ERASE);
  assert.equal(before, "");
  assert.equal(drawn.pop(), "", "It is erased at the end");
  assert.ok(drawn.length > 0);
  for (const bar of drawn) assert.match(bar, /^\[[#.]{30}\] \d+ % \d+ lines?$/);
  await using toTerminal = new AtTerminal(args);
  assert.equal(await toTerminal.ended(), 0);
  assert.equal(toTerminal.shown, lines.replaceAll("\n", "\r\n"));
});

Deno.test("client.ts draws how far the handler is when --stream, and no bar over a part", {
  ignore,
}, async () => {
  const { more, progress } = StatusFlag;
  const say = (server: PartServer, request: Received, numbers: Bytes, note: string) =>
    server.say(request, more | progress, 0, numbers, bytes(note));
  const asked = Promise.withResolvers<Received>();
  await using server = new PartServer((_, request) => asked.resolve(request));
  await using terminal = new AtTerminal(["-e", server.endpoint, "--stream", "--data", "x"]);
  const request = await asked.promise;
  say(server, request, buildProgress(1, 4), "reading\x1b[2J");
  await terminal.shows(/\[#{7}\.{23}\] 25 % reading \[2J$/);
  server.part(request, 0, bytes("one"));
  await terminal.ends(`25 % reading [2J${ERASE}one\r\n`);
  say(server, request, buildProgress(4, 4), "");
  await terminal.ends(`${ERASE}[${"#".repeat(30)}] 100 %`);
  server.end(request, 1);
  assert.equal(await terminal.ended(), 0);
  assert.ok(terminal.shown.endsWith(`] 100 %${ERASE}`));
});

Deno.test("client.ts prints the version of deno.json when --version or -V", async () => {
  const { version } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  for (const flag of ["--version", "-V"]) {
    const ending = await run(Deno.execPath(), ["run", "-A", path("client.ts"), flag]);
    assert.deepEqual(ending, { code: 0, stdout: `${version}\n`, stderr: "" });
  }
});

Deno.test("client.ts says so when a secret key is given for the server's, and the server's for the own", async () => {
  using ring = new KeyRing("alice");
  const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY"));
  let { secretKey } = makeKeyPair(library);
  while (canBePublic(secretKey)) secretKey = makeKeyPair(library).secretKey;
  const { publicKey } = ring.server;
  const own = ring.writeSecret("alice", ring.pair("alice").secretKey);
  const asOwn = ring.writeSecret("public", publicKey);
  const cases = [
    [secretKey, own, /"serverKey": it is not a public key: it may be the secret one/],
    [publicKey, asOwn, /key file ".*\/public": it has the server's public key/],
    [publicKey, ring.secretKeyFile, /key file ".*\/server": it has the server's secret key/],
  ] as const;
  for (const [serverKey, keyFile, message] of cases) {
    // A key may begin with a dash.
    const keys = [`--curve-server-key=${serverKey}`, `--curve-key=${keyFile}`];
    const args = ["-e", deadEndpoint(), ...keys];
    const ending = await run(Deno.execPath(), ["run", "-A", path("client.ts"), ...args], {
      stdin: "x",
    });
    assert.equal(ending.code, 2, ending.stderr);
    assert.match(ending.stderr, message);
    assert.ok(!ending.stderr.includes(secretKey));
  }
});

Deno.test("commandName is what a program was started with", () => {
  const jsr = "https://jsr.io/@zmq/prefork/0.1.0";
  const cases = [
    ["file:///srv/prefork/client.ts", "deno task client"],
    [`${jsr}/client.ts`, "deno run -A jsr:@zmq/prefork/client"],
    ["https://example.com/prefork/client.ts", "deno run -A https://example.com/prefork/client.ts"],
  ] as const;
  for (const [url, name] of cases) {
    assert.equal(commandName(url, "deno task client", "client"), name);
  }
  assert.equal(
    commandName(`${jsr}/mod.ts`, "deno run -A mod.ts", ""),
    "deno run -A jsr:@zmq/prefork",
  );
});
