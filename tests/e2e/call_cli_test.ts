/** `deno task client --call`, run as a process against real servers. */

import { strict as assert } from "node:assert";
import { path, ROOT } from "../rig/checkout.ts";
import { type Ending, run } from "../rig/commands.ts";
import { clientFlags } from "../rig/permissions.ts";
import { endNow } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { within } from "../rig/wait.ts";

/** A call by the command line. */
function call(server: { endpoint: string }, ...args: string[]): Promise<Ending> {
  const words = ["run", ...clientFlags([]), path("client.ts"), "-e", server.endpoint, ...args];
  return run(Deno.execPath(), words);
}

Deno.test("--call calls the functions of examples/calc.ts as its head says", async () => {
  await using server = await ServerProcess.start({ args: [path("examples/calc.ts")] });
  const stdout = async (...args: string[]) => {
    const { code, stdout, stderr } = await call(server, ...args);
    assert.deepEqual([code, stderr], [0, ""]);
    return stdout;
  };
  assert.equal(await stdout("--call", "add", "1", "2"), "3\n");
  assert.equal(await stdout("--call", "add", "--", "-1", "2"), "1\n");
  assert.equal(
    await stdout("--call", "user.get", "ada"),
    '{"name":"Ada","born":"1815-12-10T00:00:00.000Z"}\n',
  );
  assert.equal(await stdout("--call", "count", "3"), "1\n2\n3\n");
  assert.equal(await stdout("--call", "count", "0"), "");
  assert.equal(await stdout("--plain", "--call", "count", "2"), "1\n2\n");
  const list = "add       2 parameters\n" +
    "mean      0 parameters\n" +
    "user.get  1 parameter\n" +
    "digest    1 parameter\n" +
    "count     1 parameter, streams\n";
  assert.equal(await stdout("--call"), list);
  assert.equal(await stdout("--call", "--timeout", "30s"), list);

  const unknown = await call(server, "--call", "user.get", "bob");
  assert.deepEqual([unknown.code, unknown.stdout], [1, ""]);
  assert.match(
    unknown.stderr,
    /error 404: No such user: bob; details: \{"known":\["ada","alan"\]\}/,
  );
  const typo = await call(server, "--call", "ad", "1", "2");
  assert.equal(typo.code, 1);
  assert.match(typo.stderr, /error 404: Unknown call "ad": did you mean "add"\?/);
});

/** Shows what came. */
const HANDLER = `
import { rpc } from ${JSON.stringify(new URL("worker.ts", ROOT).href)};
export default rpc({
  types: (...args) => args.map((arg) => [typeof arg, arg]),
  nothing: () => {},
  bytes: () => Uint8Array.of(1, 2, 10),
  inner: () => ({ bytes: Uint8Array.of(1, 2, 255) }),
});`;

Deno.test("--call takes arguments for JSON, else for text, and prints results as JSON", async () => {
  await using server = await ServerProcess.start({ handler: HANDLER });
  const args = [
    "1",
    "1e2",
    "true",
    "null",
    '"1"',
    "a b",
    "",
    "[1]",
    '{"a":[]}',
    "01",
    "'x'",
    "NaN",
  ];
  const { stdout } = await call(server, "--call", "types", ...args);
  assert.deepEqual(JSON.parse(stdout), [
    ["number", 1],
    ["number", 100],
    ["boolean", true],
    ["object", null],
    ["string", "1"],
    ["string", "a b"],
    ["string", ""],
    ["object", [1]],
    ["object", { a: [] }],
    ["string", "01"],
    ["string", "'x'"],
    ["string", "NaN"],
  ]);
  assert.equal((await call(server, "--call", "nothing")).stdout, "");
  assert.equal((await call(server, "--call", "bytes")).stdout, "\x01\x02\n");
  assert.equal((await call(server, "--call", "inner")).stdout, '{"bytes":"AQL/"}\n');
});

/** Gives a part, and the next one once it is told to. */
const HELD = `
import { rpc } from ${JSON.stringify(new URL("worker.ts", ROOT).href)};
const gate = Promise.withResolvers();
export default rpc({
  open: () => gate.resolve(),
  async *parts() {
    yield { part: 1 };
    await gate.promise;
    yield Uint8Array.of(65, 10);
  },
});`;

Deno.test("--call prints each part as soon as it is here", async () => {
  const args = ["--workers", "1", "--concurrency", "2"];
  await using server = await ServerProcess.start({ handler: HELD, args });
  const words = ["run", ...clientFlags([]), path("client.ts"), "-e", server.endpoint];
  const child = new Deno.Command(Deno.execPath(), {
    args: [...words, "--call", "parts"],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  try {
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    assert.equal((await within("the first part is here", reader.read())).value, '{"part":1}\n');
    await call(server, "--call", "open");
    assert.equal((await within("the second part is here", reader.read())).value, "A\n");
    assert.equal((await within("that was all", reader.read())).done, true);
    assert.equal((await within("it has ended", child.status)).code, 0);
  } finally {
    await endNow(child);
  }
});

Deno.test("--call fails with 2 where the handler has no calls, or the arguments are wrong", async () => {
  await using server = await ServerProcess.start();
  const failing: [string[], RegExp][] = [
    [["--call"], /Cannot list the calls: the handler is not made with rpc\(\)/],
    [["--call", "add", "1"], /The answer is not that of a call/],
    [["--call", "add", "-1"], /Unknown option "-1": arguments with a dash stand behind --/],
    [["--call", "add", "--data", "x"], /Cannot ask with "--call" and "--data"/],
    [["--call", "add", "--lines"], /Cannot ask with "--call" and "--lines"/],
    [["--call", "add", "--stream"], /Cannot ask with "--call" and "--stream"/],
    [["--call", "add", "--raw"], /Cannot ask with "--call" and "--raw"/],
  ];
  for (const [args, said] of failing) {
    const { code, stdout, stderr } = await call(server, ...args);
    assert.deepEqual([code, stdout], [2, ""], stderr);
    assert.match(stderr, said);
  }
});

Deno.test("--call calls the functions of a service by its name", async () => {
  const args = ["--service", `calc=${path("examples/calc.ts")}`];
  await using server = await ServerProcess.start({ args });
  assert.equal((await call(server, "-s", "calc", "--call", "add", "1", "2")).stdout, "3\n");
  assert.match(
    (await call(server, "--call", "--service", "calc")).stdout,
    /^count +1 parameter, streams$/m,
  );
  const { code, stderr } = await call(server, "--call", "add", "--service", "mail");
  assert.equal(code, 1);
  assert.match(stderr, /error 404/);
});

Deno.test("--call fails with 3 when no server answers", async () => {
  const { code } = await call(
    { endpoint: "tcp://127.0.0.1:1" },
    "-t",
    "100ms",
    "-r",
    "0",
    "--call",
  );
  assert.equal(code, 3);
});
