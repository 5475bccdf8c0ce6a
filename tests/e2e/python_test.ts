/** The Python clients of README.md, docs/ and examples/, run as they are. */

import { strict as assert } from "node:assert";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { KeyRing } from "../rig/key_ring.ts";

const PYTHON = "/usr/bin/python3";
const ignore = !hasPyzmq();

function hasPyzmq(): boolean {
  try {
    return new Deno.Command(PYTHON, { args: ["-c", "import zmq"] }).outputSync().success;
  } catch {
    return false;
  }
}

/** Runs a program with a module of its own named `client` beside it. */
async function python(program: string, ...args: string[]): Promise<string> {
  const env = { PYTHONPATH: path("examples"), PYTHONDONTWRITEBYTECODE: "1" };
  const { code, stdout, stderr } = await run(PYTHON, ["-c", program, ...args], { env });
  assert.equal(code, 0, stderr);
  return stdout;
}

/** A document's programs for Python that ask a server, asking another one. */
function programs(document: string, endpoint: string): string[] {
  const page = Deno.readTextFileSync(new URL(document, ROOT));
  return [...page.matchAll(/^```python\n(.*?)^```$/gms)].map(([, text = ""]) => text)
    .filter((text) => text.startsWith("import "))
    .map((text) => text.replaceAll("tcp://127.0.0.1:6660", endpoint));
}

/** Says nothing to its first request of each body; then answers in upper case. */
const SLOW_AT_FIRST = `
const seen = new Set();
export default (body) => {
  const text = new TextDecoder().decode(body);
  if (text.startsWith("late") && !seen.has(text)) {
    seen.add(text);
    return new Promise((resolve) => setTimeout(() => resolve("too late"), 3000));
  }
  return text.toUpperCase();
};`;

Deno.test(
  "docs/clients.md has Python clients that ask, ask again when there was no answer, and raise errors",
  {
    ignore,
  },
  async () => {
    const args = ["--workers", "1", "--concurrency", "8"];
    await using server = await ServerProcess.start({ handler: SLOW_AT_FIRST, args });
    const [plain = "", asyncio = "", ...more] = programs("docs/clients.md", server.endpoint);
    assert.equal(more.length, 0);
    assert.equal(await python(plain), "HELLO\n");
    assert.equal(await python(asyncio), "HELLO 0\nHELLO 1\nHELLO 2\n");
    assert.equal(
      await python(`${plain}\nprint(ask(b"late a", timeout=1000, tries=60))`),
      "HELLO\n[b'LATE A']\n",
    );
    const again = `${asyncio}\nprint(asyncio.run(ask(b"late b", timeout=1, tries=60)))`;
    assert.match(await python(again), /\n\[b'LATE B'\]\n$/);
    const silent = `${plain.replace(/^print.*$/m, "")}
try:
    ask(b"hello", "tcp://127.0.0.1:1", timeout=100, tries=2)
except TimeoutError as error:
    print(error)`;
    assert.equal(await python(silent), "no answer in 2 tries of 100 ms\n");
  },
);

Deno.test("README.md has a Python client that asks", { ignore }, async () => {
  await using server = await ServerProcess.start({ args: [path("examples/upper.ts")] });
  const [program = "", ...more] = programs("README.md", server.endpoint);
  assert.equal(more.length, 0);
  assert.equal(await python(program), "HELLO\n");
});

Deno.test("docs/protocol.md has a Python client that calls the functions of examples/calc.ts", {
  ignore,
}, async () => {
  await using server = await ServerProcess.start({ args: [path("examples/calc.ts")] });
  const [program = "", ...more] = programs("docs/protocol.md", server.endpoint);
  assert.equal(more.length, 0);
  const [sum, digest, count, ...rest] = (await python(`${program}
print(call("digest", b"")["size"], call("count", 0), call("user.get", "ada"))
for name, *args in [("user.get", "bob"), ("ad",), ("add", float("nan")), ("add", {"__proto__": 1})]:
    try:
        call(name, *args)
    except RuntimeError as error:
        print(str(error)[:44])
`)).split("\n");
  assert.deepEqual([sum, count], ["3", "[1, 2, 3]"]);
  assert.match(digest ?? "", /^\{'sha256': b'.+', 'size': 5\}$/);
  assert.deepEqual(rest, [
    "0 [] {'name': 'Ada', 'born': '1815-12-10T00:00:00.000Z'}",
    "404 No such user: bob",
    '404 Unknown call "ad": did you mean "add"?',
    "400 The first frame must be a call, such as ",
    '400 An object must not have a key "__proto__',
    "",
  ]);
});

/** Counts how often each body was started. */
const COUNTING = `
import { RequestError } from ${JSON.stringify(new URL("worker/handler.ts", ROOT).href)};
let started = 0;
export default async (body, { client, deadline }) => {
  const text = new TextDecoder().decode(body);
  if (text === "fail") throw new RequestError(404, "No such thing");
  if (text === "count") return String(started);
  if (text === "who") return [client.user, String(deadline > Date.now())];
  started++;
  await new Promise((resolve) => setTimeout(resolve, 2500));
  return text;
};`;

Deno.test("examples/client.py asks with a deadline and a key, so that a retry does not run twice", {
  ignore,
}, async () => {
  const args = ["--workers", "1", "--concurrency", "8"];
  await using server = await ServerProcess.start({ handler: COUNTING, args });
  const { code, stdout } = await run(PYTHON, [
    path("examples/client.py"),
    server.endpoint,
    "count",
  ]);
  assert.deepEqual([code, stdout], [0, "0\n"]);
  const program = `
import sys
from client import Client, ReplyError
client = Client("tcp://127.0.0.1:1", sys.argv[1])
print(client.request(b"slow", timeout=1000, retries=60))
print(client.request(b"count"), client.request(b"who"))
try:
    client.request(b"fail")
except ReplyError as error:
    print(error)
`;
  const said = await python(program, server.endpoint);
  assert.equal(said, "[b'slow']\n[b'1'] [b'', b'true']\n(404, 'No such thing')\n");
});

Deno.test("docs/security.md has the lines with which a Python socket proves its key", {
  ignore,
}, async () => {
  using ring = new KeyRing("alice");
  const { publicKey, secretKey } = ring.pair("alice");
  ring.folder.write("server.pub", `server ${ring.server.publicKey}\n`);
  ring.folder.write("alice.pub", `alice ${publicKey}\n`);
  ring.writeSecret("alice", secretKey);
  await using server = await ServerProcess.start({ handler: COUNTING, args: ring.args });
  const page = Deno.readTextFileSync(new URL("docs/security.md", ROOT));
  const [, lines = ""] = /^```python\n(socket\.curve.*?)^```$/ms.exec(page) ?? [];
  const program = `
import os, sys, zmq
os.chdir(sys.argv[2])
socket = zmq.Context().socket(zmq.REQ)
${lines}
socket.connect(sys.argv[1])
socket.send(b"who")
print(socket.recv_multipart())
`;
  const said = await python(program, server.endpoint, ring.folder.path);
  assert.equal(said, "[b'alice', b'false']\n");
});

Deno.test("examples/client.py proves its key to a server that asks for one", {
  ignore,
}, async () => {
  using ring = new KeyRing("alice");
  await using server = await ServerProcess.start({ handler: COUNTING, args: ring.args });
  const { publicKey, secretKey } = ring.pair("alice");
  const program = `
import sys
from client import Client
endpoint, *keys = sys.argv[1:]
print(Client(endpoint, curve=[key.encode() for key in keys]).request(b"who"))
`;
  const keys = [ring.server.publicKey, publicKey, secretKey];
  assert.equal(await python(program, server.endpoint, ...keys), "[b'alice', b'true']\n");
});
