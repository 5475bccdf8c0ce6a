/** What never works ends the start, and what takes too long is named. */

import { strict as assert } from "node:assert";
import { findRefusal } from "../../pool/trials.ts";
import { ownProgram } from "../../pool/worker_program.ts";
import { serve } from "../../mod.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { parseCommand } from "../../options/command.ts";
import { ROOT } from "../rig/checkout.ts";
import { runServer } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, serveQuietly } from "../rig/in_process.ts";
import { askOnce } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { within } from "../rig/wait.ts";

const ANY_PORT = ["--frontend", "tcp://127.0.0.1:0", "--workers", "2"];
const FINE = 'export default () => "fine";';
/** The server must be able to read what lies beside the handler. */
const ALL = { permissions: ["-A"] };

/** Grants that Deno refuses by plain rules. */
const BAD_GRANTS = [
  "--handler-allow-net=http://x",
  "--handler-allow-net=host:99999",
  "--handler-allow-net=host:",
  "--handler-allow-net=::1",
  "--handler-allow-net=a b",
  "--handler-allow-env=A=B",
  "--handler-allow-import=https://x/y",
];

Deno.test("parseCommand names the grant when Deno would refuse it", () => {
  const sources = { env: () => undefined, readFile: () => "" };
  for (const flag of BAD_GRANTS) {
    const [name = "", value = ""] = flag.split(/=(.*)/);
    assert.throws(() => parseCommand([flag], sources), {
      name: "UsageError",
      message: new RegExp(`^Cannot start: "${name}" must be .*: current value is "${value}"$`),
    });
  }
});

for (const mode of [[], ["--check"]]) {
  Deno.test(`${mode[0] ?? "serve"} exits 2 and names the grant when only Deno itself finds it bad`, async () => {
    using folder = new Folder();
    const handler = folder.write("handler.ts", FINE);
    const args = [...ANY_PORT, "--handler-allow-net=a..b", ...mode, handler];
    const { code, stderr } = await runServer(args, ALL);
    const line = /^prefork: Cannot start: "permissions\.net" \(--handler-allow-net\) .*'a\.\.b'/m;
    assert.match(stderr, line);
    assert.equal(code, 2);
  });
}

Deno.test("serve starts when Deno can grant what it is told, in whatever form", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", FINE);
  const hosts = ["host", "a.b:80", "*.x.com:80", "1.2.3.4", "1.2.3.4/8:80", "[::1]", "[::1]:80"];
  const permissions = {
    net: [...hosts, "a_b", ":80", "unix:/x"],
    env: ["A", "A_*", "*", "A B"],
    import: ["*.x.com"],
    sys: ["hostname"],
    run: ["no such program"],
    read: ["/no/such/file"],
  };
  await using server = serveQuietly({ handler, permissions, workers: 1 });
  await within("it is ready", server.ready);
});

Deno.test("serve throws when a grant can't be one, and rejects ready when Deno refuses it", async () => {
  assert.throws(() => serve({ permissions: { net: ["http://x"] } }), {
    name: "RangeError",
    message: /^Cannot start: "permissions" must be .*host or host:port.*http:\/\/x/,
  });
  const server = serveQuietly({ permissions: { sys: ["foo"] }, workers: 2 });
  const reason = {
    name: "RangeError",
    message: /"permissions\.sys" .* unknown sys descriptor: 'foo'$/,
  };
  await assert.rejects(within("it fails", server.ready), reason);
  await assert.rejects(server.finished, reason);
});

Deno.test("serve exits 1 and names the file when the handler's deno.json can't be parsed", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", FINE);
  folder.write("deno.json", "{");
  for (const mode of [[], ["--check"]]) {
    const { code, stderr } = await runServer([...ANY_PORT, ...mode, handler], ALL);
    assert.match(stderr, /^prefork: [^\n]*deno\.json[^\n]*$/m);
    assert.equal(code, 1);
  }
  const background = ["--background", "--pid-file", `${folder.path}/pid`];
  const args = [...background, "--log-file", `${folder.path}/log`, ...ANY_PORT, handler];
  const { code, stderr } = await runServer(args, ALL);
  assert.match(stderr, /^prefork: [^\n]*deno\.json/m);
  assert.equal(code, 1);
});

Deno.test("serve exits 1 and names the file when the import map beside the handler can't be used", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", FINE);
  folder.write("deno.json", '{ "importMap": "./none.json" }');
  const { code, stderr } = await runServer([...ANY_PORT, handler], ALL);
  assert.match(stderr, /^prefork: [^\n]*none\.json/m);
  assert.equal(code, 1);
});

Deno.test("serve rejects a reload and keeps its workers when the handler's deno.json has become bad", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", FINE);
  const config = folder.write("deno.json", "{}");
  await using server = serveQuietly({ handler, workers: 1 });
  await within("it is ready", server.ready);
  Deno.writeTextFileSync(config, "{");
  await assert.rejects(within("it fails", server.reload()), /deno\.json/);
  assert.deepEqual(await askOnce(endpointOf(server), "x"), ["fine"]);
  Deno.writeTextFileSync(config, "{}");
  await within("it is reloaded", server.reload());
});

Deno.test("findRefusal finds nothing when Deno runs workers", async () => {
  const spec = {
    program: ownProgram(),
    workerModule: new URL("worker.ts", ROOT).href,
    handler: "data:application/javascript,throw 1",
    permissions: { env: ["A"] },
    memoryLimit: 0,
    config: undefined,
    configFile: undefined,
    mapFile: undefined,
    lockFile: undefined,
    graph: undefined,
    uid: undefined,
    gid: undefined,
  };
  const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;
  assert.equal(await findRefusal(spec, library), undefined);
});

// ---- what takes too long ----

const NEVER = "await new Promise(() => {});";
const LATE: [what: string, source: string, cause: RegExp][] = [
  ["a top-level await", `${NEVER} ${FINE}`, /module did not load in time: .*top-level await/],
  [
    "init()",
    `${FINE} export async function init() { ${NEVER} }`,
    /init\(\) did not return in time/,
  ],
];
for (const [what, handler, cause] of LATE) {
  Deno.test(`serve says what took too long when ${what} never ends`, async () => {
    const args = ["--workers", "1", "--start-timeout", "1s"];
    await using server = await ServerProcess.start({ handler, args, raw: true });
    const { reason, likely } = await server.line("worker exited");
    assert.equal(reason, "timeout");
    assert.match(String(likely), cause);
  });
}

Deno.test("serve exits 1 with --check and says why when a top-level await never ends", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", `${NEVER} ${FINE}`);
  const { code, stdout, stderr } = await runServer(["--check", "--start-timeout", "1s", handler]);
  assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
  assert.match(
    stderr,
    /^prefork: Cannot load the handler ".*": .*top-level await that never ends\?\n$/,
  );
});

Deno.test("serve says so, and exits 1 with --check, when a host that the handler imports from is silent", async () => {
  using folder = new Folder();
  // It takes connections and never answers.
  using host = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  assert.equal(host.addr.transport, "tcp");
  const port = host.addr.transport === "tcp" ? host.addr.port : 0;
  const source = `import "http://127.0.0.1:${port}/x.js"; ${FINE}`;
  const handler = folder.write("handler.ts", source);
  const grant = `--handler-allow-import=127.0.0.1:${port}`;
  const args = ["--workers", "1", "--start-timeout", "1s", grant];
  const { code, stderr } = await runServer(["--check", ...args, handler]);
  assert.equal(code, 1);
  assert.match(
    stderr,
    /^prefork: Cannot load the handler ".*": its modules did not arrive in time/m,
  );
  await using server = await ServerProcess.start({ handler: source, args, raw: true });
  const late = "its modules did not arrive in time: is a host that it imports from not answering?";
  assert.equal((await server.line(`the handler: ${late}`)).level, "warn");
});
