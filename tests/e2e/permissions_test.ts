/**
 * What the table in docs/permissions.md promises: that its flags are enough (all other tests run with
 * no more), that none can be left out, and what happens without each.
 */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { run, runServer } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { askOnce } from "../rig/peer.ts";
import { ENVIRONMENT, ServerProcess } from "../rig/server_process.ts";
import {
  clientFlags,
  flagsFor,
  mergeFlags,
  serverFeatures,
  serverFlags,
  TABLE,
} from "../rig/permissions.ts";

const ANY_PORT = ["--frontend", "tcp://127.0.0.1:0", "--workers", "1"];
const CONFIG = ["--config", path("deno.json")];

/** The flags of a server without those of one feature. */
function flagsWithout(missing: string, args: string[]): string[] {
  const used = serverFeatures({ args, env: ENVIRONMENT });
  return flagsFor(used.filter(([name]) => name !== missing));
}

// ---- what nothing works without ----

/** Arguments that need what a row says, in a folder that is there for them. */
const NEEDY: Record<string, (folder: Folder) => string[]> = {
  libzmq: () => [],
  workers: () => [],
  backend: () => [],
  config: (folder) => ["--config", folder.write("conf", "workers 1\n")],
  pidFile: ({ path }) => ["--pid-file", `${path}/pid`],
  curveSecretKey: (
    folder,
  ) => ["--curve-secret-key", folder.write("key", "x"), "--curve-clients", "any"],
  logFile: ({ path }) => ["--log-file", `${path}/log`],
  http: () => ["--http", "127.0.0.1:0"],
  httpToken: (
    folder,
  ) => ["--http", "127.0.0.1:0", "--http-token", folder.write("token", "0123456789abcdef")],
  user: () => ["--user", "root"],
  background: ({ path }) =>
    [
      ["--background", "--log-file", `${path}/log`, "--pid-file", `${path}/pid`],
    ].flat(),
};

Deno.test("the table in docs/permissions.md says of each feature what it needs", () => {
  const required = [...TABLE].filter(([, row]) => row.required).map(([name]) => name);
  // What the client and ctl need is tested with them.
  assert.deepEqual(required.sort(), [...Object.keys(NEEDY), "files", "ctl", "url"].sort());
  for (const [name, { flags }] of TABLE) assert.ok(flags.length > 0, name);
});

for (const [name, argsIn] of Object.entries(NEEDY)) {
  for (const flag of TABLE.get(name)?.flags ?? []) {
    const [kind = ""] = flag.split("=");
    Deno.test(`serve fails and names ${kind} in one line when it lacks ${flag} for ${name}`, async () => {
      using folder = new Folder();
      const args = [...ANY_PORT, ...argsIn(folder)];
      const values = Object.fromEntries(serverFeatures({ args, env: ENVIRONMENT }));
      const others = TABLE.get(name)?.flags.filter((other) => other !== flag) ?? [];
      const rest = mergeFlags([
        ...flagsWithout(name, args),
        ...others.map((other) => fillIn(other, values[name])),
      ]);
      const { code, stdout, stderr } = await runServer(args, { permissions: rest, limit: 20_000 });
      // A conf file that can't be read is a matter of usage.
      assert.deepEqual({ code, stdout }, { code: name === "config" ? 2 : 1, stdout: "" }, stderr);
      assert.match(stderr, new RegExp(`^prefork: [^\\n]*${kind}[^\\n]*\\n$`));
    });
  }
}

function fillIn(flag: string, values: Record<string, string> = {}): string {
  return flag.replaceAll(/\b[A-Z]{3,}\b/g, (word) => values[word] ?? "");
}

// ---- what is done without ----

Deno.test("serve sees no PREFORK_ variable and no ZMQ_LIBRARY when it may not", async () => {
  const env = { ...ENVIRONMENT, PREFORK_MIN_WORKERS: "x", ZMQ_LIBRARY: "/no/such/library" };
  const permissions = serverFlags({ env: ENVIRONMENT });
  await using server = await ServerProcess.start({ args: ["--workers", "1"], env, permissions });
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
});

Deno.test("serve does not use a handler's deno.json, nor hand on variables, when it may not read them", async () => {
  using folder = new Folder();
  folder.write("deno.json", '{ "imports": { "word": "./word.ts" } }');
  folder.write("word.ts", 'export const word = "word";');
  const handler = folder.write("handler.ts", 'export { word as default } from "word";');
  const broken = await runServer([...ANY_PORT, handler]);
  assert.equal(broken.code, 1);
  assert.match(broken.stderr, /Cannot load the handler .*"word" not a dependency/);
  const grant = "--handler-allow-env=PREFORK_TEST_WORD";
  const plain = folder.write(
    "plain.ts",
    'export default () => String(Deno.env.get("PREFORK_TEST_WORD"));',
  );
  await using server = await ServerProcess.start({
    args: ["--workers", "1", grant, plain],
    env: { PREFORK_TEST_WORD: "word" },
    permissions: serverFlags({ env: ENVIRONMENT }),
  });
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["undefined"]);
});

Deno.test("serve does not watch, and says so, when it may not read the handler's folder", async () => {
  using folder = new Folder();
  const handler = folder.write("handler.ts", 'export default () => "one";');
  const args = ["--workers", "1", "--watch", handler];
  await using server = await ServerProcess.start({
    args,
    permissions: flagsWithout("watch", args),
  });
  const { level, error } = await server.line("not watching");
  assert.equal(level, "error");
  assert.match(String(error), /--allow-read/);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["one"]);
});

Deno.test("serve leaves the file of an ipc endpoint behind when it may not write it", async () => {
  using folder = new Folder();
  const file = `${folder.path}/front`;
  const args = ["--workers", "1", "--frontend", `ipc://${file}`];
  for (const permissions of [flagsWithout("ipc", args), serverFlags({ args, env: ENVIRONMENT })]) {
    await using server = await ServerProcess.start({ args, permissions });
    assert.deepEqual(await askOnce(`ipc://${file}`, "x"), ["x"]);
    server.signal("SIGTERM");
    assert.equal((await server.ended()).code, 0);
    const left = [...Deno.readDirSync(folder.path)].length;
    assert.equal(left, permissions.some((flag) => flag.includes(file)) ? 0 : 1);
  }
});

Deno.test("serve answers requests and refuses jobs, and says so, when it may not write their folder", async () => {
  using folder = new Folder();
  const args = ["--workers", "1", "--store", `${folder.path}/jobs.db`];
  const permissions = flagsWithout("store", args);
  await using server = await ServerProcess.start({ args, permissions });
  await using client = new Client({ endpoint: server.endpoint });
  await assert.rejects(client.submit("x"), { code: 507, message: /--allow-write/ });
  const { level, reason } = await server.line("the store can't be opened");
  assert.equal(level, "error");
  assert.match(String(reason), /--allow-write/);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
});

Deno.test("serve stores jobs, and makes them by schedules, when it may do the least", async () => {
  using folder = new Folder();
  using state = new Folder();
  const conf = folder.write("conf", "[schedule a]\ncron * * * * * *\n");
  const args = [...ANY_PORT, "--config", conf];
  const env = { ...ENVIRONMENT, XDG_STATE_HOME: state.path };
  const permissions = flagsFor([
    ...serverFeatures({ args, env: ENVIRONMENT }),
    ["XDG_STATE_HOME", { HOME: "HOME" }],
    ["store", { FOLDER: state.path }],
  ]);
  await using server = await ServerProcess.start({ args, env, permissions });
  await using client = new Client({ endpoint: server.endpoint });
  const { id } = await client.submit("x");
  assert.equal((await client.job(id).result({ wait: 20_000 })).text(), "x");
  await server.line("a schedule was due");
});

Deno.test("serve does not look for rogues, and says so, when it may not read /proc", async () => {
  const args = ["--workers", "1", "--babysit-interval", "100ms"];
  const permissions = [...flagsWithout("babysitInterval", args), "--allow-read", "--allow-sys"];
  await using server = await ServerProcess.start({ args, permissions });
  const [warning] = server.lines.filter(({ level }) => level === "warn");
  assert.match(warning?.message ?? "", /^"babysitInterval" has no effect: .* -A$/);
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
});

Deno.test("serve names the log when it fails in the background and may not read that", async () => {
  using folder = new Folder();
  const log = `${folder.path}/log`;
  const args = ["--background", "--log-file", log, "--pid-file", `${folder.path}/pid`];
  const handler = folder.write("handler.ts", 'throw new Error("It is broken");');
  const { code, stderr } = await runServer([...ANY_PORT, ...args, handler]);
  assert.deepEqual({ code, stderr }, { code: 1, stderr: `It failed, see "${log}"\n` });
});

// ---- as libraries ----

const SERVE = `import { serve } from ${JSON.stringify(new URL("mod.ts", ROOT).href)};
  await using server = serve({ frontend: "tcp://127.0.0.1:0", logLevel: "critical", workers: 1 });
  await server.ready;
  await server.reload();`;

const ASK = (endpoint: string) =>
  `import { Client } from ${JSON.stringify(new URL("client.ts", ROOT).href)};
  await using client = new Client({ endpoint: ${endpoint} });
  console.log((await client.request("hello")).text());`;

/** Runs a program that uses the library. */
async function runProgram(source: string, permissions: string[]) {
  using folder = new Folder();
  const args = ["run", ...permissions, ...CONFIG, folder.write("main.ts", source)];
  return await run(Deno.execPath(), args, { env: ENVIRONMENT });
}

Deno.test("serve and Client work as libraries when they may do the least", async () => {
  const source = `${SERVE}\n${ASK("server.frontend[0]")}`;
  const { code, stdout, stderr } = await runProgram(source, serverFlags({ env: ENVIRONMENT }));
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "hello\n", stderr: "" });
});

for (const name of ["libzmq", "workers", "backend"]) {
  const [flag = ""] = TABLE.get(name)?.flags ?? [];
  const [kind = ""] = flag.split("=");
  Deno.test(`serve throws NotCapable and names ${kind} when a program lacks ${flag}`, async () => {
    const source = SERVE.replace("await using", "try { const")
      .replace(/await server[^]*/, "} catch (error) { console.log(error.name, error.message); }");
    const { stdout, stderr } = await runProgram(source, flagsWithout(name, []));
    assert.match(stdout, new RegExp(`^NotCapable [^\\n]*${kind}[^\\n]*\\n$`));
    assert.equal(stderr, "");
  });
}

Deno.test("Client asks when it may open libzmq and nothing else, and says what it lacks if not", async () => {
  await using server = await ServerProcess.start({ args: ["--workers", "1"] });
  const source = ASK(JSON.stringify(server.endpoint));
  const asked = await runProgram(source, clientFlags());
  assert.deepEqual(asked, { code: 0, stdout: "hello\n", stderr: "" });
  const refused = await runProgram(source, ["--no-prompt"]);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /NotCapable: Requires ffi access .* --allow-ffi/);
});

Deno.test("client.ts exits 2 and names what it lacks in one line when it lacks it", async () => {
  using folder = new Folder();
  const file = folder.write("request", "x");
  const ask = (permissions: string[], ...args: string[]) =>
    run(Deno.execPath(), ["run", ...permissions, path("client.ts"), ...args]);
  const cases: [string[], string[], string][] = [
    [["--no-prompt"], ["--data", "x"], "--allow-ffi"],
    [clientFlags(), [file], "--allow-read"],
  ];
  for (const [permissions, args, kind] of cases) {
    const { code, stdout, stderr } = await ask(permissions, ...args);
    assert.deepEqual({ code, stdout }, { code: 2, stdout: "" });
    assert.match(stderr, new RegExp(`^client: [^\\n]*${kind}[^\\n]*\\n$`));
  }
});
