/** What lies beside a handler: what is read of it, by whom it may be changed, and what workers get of it. */

import { strict as assert } from "node:assert";
import { readHandlerConfig } from "../../pool/handler_config.ts";
import { scanModules } from "../../pool/modules.ts";
import { ownLock } from "../../pool/own_config.ts";
import { trailOf } from "../../ops/watch.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";
import { locateLibrary } from "../../zmq/locate.ts";

const isRoot = Deno.uid() === 0;
const NOBODY = 65_534;

/** Writes files into a folder, and gives the URL of the first one. */
function lay(folder: Folder, files: Record<string, string | Record<string, unknown>>): string {
  for (const [name, content] of Object.entries(files)) {
    Deno.mkdirSync(new URL(".", `file://${folder.path}/${name}`), { recursive: true });
    folder.write(name, typeof content === "string" ? content : JSON.stringify(content));
  }
  return `file://${folder.path}/${Object.keys(files)[0]}`;
}

const PLAIN = "export default () => 'plain';";

// ---- who may change it ----

Deno.test("readHandlerConfig refuses a file, by its name, that others can write", () => {
  const modes: [what: string, change: string, mode: number][] = [
    ["deno.json", "deno.json", 0o666],
    ["deno.json", ".", 0o777],
    ["map.json", "map.json", 0o602],
    ["deno.lock", "deno.lock", 0o646],
  ];
  for (const [named, changed, mode] of modes) {
    using folder = new Folder();
    const handler = lay(folder, {
      "handler.ts": PLAIN,
      "deno.json": { importMap: "map.json" },
      "map.json": {},
      "deno.lock": { version: "5" },
    });
    assert.ok(readHandlerConfig(handler));
    Deno.chmodSync(`${folder.path}/${changed}`, mode);
    assert.throws(() => readHandlerConfig(handler), new RegExp(`"${folder.path}/${named}".*mode`));
  }
});

Deno.test(
  "readHandlerConfig refuses a file of another user's, and stops below such a folder",
  { ignore: !isRoot },
  () => {
    using folder = new Folder();
    const handler = lay(folder, {
      "app/handler.ts": PLAIN,
      "app/package.json": {},
      "deno.json": { imports: { word: "./word.ts" } },
    });
    assert.ok(readHandlerConfig(handler)?.imports.word);
    Deno.chownSync(`${folder.path}/app/package.json`, NOBODY, NOBODY);
    assert.throws(() => readHandlerConfig(handler), /package\.json".*user 65534 can change it/);
    // Who owns the handler can change what it does anyway.
    Deno.chownSync(`${folder.path}/app/handler.ts`, NOBODY, NOBODY);
    assert.ok(readHandlerConfig(handler)?.imports.word);
    Deno.chownSync(`${folder.path}/app/handler.ts`, 0, 0);
    Deno.chownSync(`${folder.path}/app/package.json`, 0, 0);
    Deno.chownSync(folder.path, NOBODY, NOBODY);
    assert.equal(readHandlerConfig(handler)?.imports.word, undefined);
    Deno.chownSync(folder.path, 0, 0);
    const ANYBODY_AND_STICKY = 0o1777;
    Deno.chmodSync(folder.path, ANYBODY_AND_STICKY);
    assert.equal(readHandlerConfig(handler)?.imports.word, undefined);
  },
);

Deno.test("readHandlerConfig names the file when it is not what it should be", () => {
  for (
    const [file, content, why] of [
      ["deno.json", "{", /deno\.json"/],
      ["deno.jsonc", "[]", /deno\.jsonc".*object/],
      ["deno.json", '{ "imports": { "a": 1 } }', /deno\.json".*"a" must be a text/],
      ["deno.json", '{ "importMap": "https://x.example/map.json" }', /deno\.json".*local file/],
      ["deno.json", '{ "importMap": "./none.json" }', /^Error: Cannot read ".*none\.json"/],
      ["deno.json", '{ "scopes": [] }', /deno\.json".*"scopes"/],
      ["deno.json", '{ "workspace": "x" }', /deno\.json".*"workspace"/],
      ["package.json", "x", /package\.json"/],
    ] as const
  ) {
    using folder = new Folder();
    const handler = lay(folder, { "handler.ts": PLAIN, [file]: content });
    assert.throws(() => readHandlerConfig(handler), why);
  }
});

Deno.test("readHandlerConfig reads comments and trailing commas", () => {
  using folder = new Folder();
  const handler = lay(folder, {
    "handler.ts": PLAIN,
    "deno.jsonc": `{ // "a"
      "imports": { "a": "https://x.example/*a*/b,}", /* , */ "b": "./b.ts", },
    }`,
  });
  assert.deepEqual(readHandlerConfig(handler)?.imports, {
    a: "https://x.example/*a*/b,}",
    b: `file://${folder.path}/b.ts`,
  });
});

Deno.test("ownLock keeps all of a lock but what its workspace asks for", () => {
  const lock = (workspace: string) =>
    `{\n  "version": "5",\n  "npm": {\n    "a@1": {\n      "os": ["x"]\n    }\n  }${workspace}\n}\n`;
  const own = `,\n  "workspace": {\n    "dependencies": [\n      "npm:a@1"\n    ]\n  }`;
  const config = {
    imports: {},
    scopes: {},
    files: [],
    compilerOptions: {},
    nodeModules: false,
    lock: undefined,
    npmrc: undefined,
    notes: [],
  };
  assert.equal(ownLock(config, { file: "", text: lock(own) }), lock(""));
  assert.equal(ownLock(config, { file: "", text: lock("") }), lock(""));
  const jsx = { ...config, compilerOptions: { jsxImportSource: "npm:a@1/jsx" } };
  assert.equal(ownLock(jsx, { file: "", text: lock("") }), lock(own));
});

// ---- which modules there are ----

Deno.test("scanModules follows local imports by the handler's names, and leaves all else to Deno", () => {
  using folder = new Folder();
  const handler = lay(folder, {
    "handler.ts": `import type { A } from "npm:none";
      import { b } from "#lib/b.ts";
      export * from "./c.mjs";
      // import "npm:none";
      import data from "./d.json" with { type: "json" };
      export default async () => [b, data, await import("./e.js"), import.meta.url];`,
    "lib/b.ts": 'import process from "node:process"; export const b = process.pid;',
    "c.mjs": "export const c = 1;",
    "d.json": {},
    "e.js": 'const text = Array.from("x"); export default text;',
    "deno.json": { imports: { "#lib/": "./lib/" } },
  });
  const config = readHandlerConfig(handler);
  const names = ["handler.ts", "lib/b.ts", "c.mjs", "d.json", "e.js"];
  assert.deepEqual(
    scanModules(handler, config)?.files.sort(),
    names.map((name) => `${folder.path}/${name}`).sort(),
  );
  for (
    const code of [
      'import x from "npm:x";',
      'import x from "https://x.example/x.ts";',
      'import x from "bare";',
      'export type { A }\nexport { b } from "npm:x"',
      'const x = await import(`npm:${"x"}`);',
      'import/**/"npm:x"',
      'const x = require("x");',
    ]
  ) {
    folder.write("c.mjs", code);
    assert.equal(scanModules(handler, config), undefined, code);
  }
});

// ---- what workers get ----

const ONE_WORKER = ["--workers", "1"];

async function ask(handler: string, args: string[] = []): Promise<string[]> {
  await using server = await ServerProcess.start({
    args: [...ONE_WORKER, ...args, new URL(handler).pathname],
    permissions: ["-A"],
  });
  await using peer = new Peer(server.endpoint);
  return await peer.ask("x");
}

/** How a server that can't start ends. */
async function endOf(handler: string, args: string[] = []): Promise<string> {
  const all = ["--frontend", "tcp://127.0.0.1:0", ...args, new URL(handler).pathname];
  const { code, stderr } = await run(Deno.execPath(), ["run", "-A", path("mod.ts"), ...all]);
  assert.equal(code, 1, stderr);
  return stderr;
}

Deno.test("a handler's package.json gives it packages of npm's, of folders and of node_modules", async () => {
  const local = {
    "own/package.json": { name: "own", type: "module", exports: { ".": "./main.js" } },
    "own/main.js": 'export const own = "own";',
  };
  const main = `import minimist from "minimist";
    import { own } from "own";
    export default () => own + minimist(["--a", "b"]).a;`;
  using folder = new Folder();
  const handler = lay(folder, {
    "handler.ts": main,
    "package.json": { dependencies: { minimist: "^1.2.8", own: "file:./own", far: "git+ssh://x" } },
    ...local,
  });
  assert.deepEqual(await ask(handler), ["ownb"]);
  const notes = readHandlerConfig(handler)?.notes.join();
  assert.match(notes ?? "", /package\.json".*far@git/);
  using installed = new Folder();
  const other = lay(installed, {
    "src/handler.ts": 'import { own } from "own"; import b from "b"; export default () => own + b;',
    "package.json": { dependencies: { own: "file:./own", b: "1" } },
    "node_modules/b/package.json": { name: "b", version: "1.0.0", main: "./b.js" },
    "node_modules/b/b.js": 'module.exports = require("./c.js");',
    "node_modules/b/c.js": 'module.exports = "b";',
    ...local,
  });
  Deno.symlinkSync("../own", `${installed.path}/node_modules/own`);
  assert.deepEqual(await ask(other), ["ownb"]);
});

Deno.test("a handler in a workspace imports its other members by name", async () => {
  using folder = new Folder();
  const handler = lay(folder, {
    "apps/main/handler.ts": `import { word } from "@own/words/word"; import { end } from "#end";
      import { all } from "all"; export default () => word + all + end;`,
    "apps/main/deno.json": { imports: { "#end": "./end.ts" } },
    "apps/main/end.ts": 'export const end = "!";',
    "words/deno.json": { name: "@own/words", exports: { "./word": "./word.ts" } },
    "words/word.ts": 'export const word = "word";',
    "all.ts": 'export const all = " all";',
    "deno.json": { workspace: ["./apps/*", "words"], imports: { all: "./all.ts" } },
  });
  assert.deepEqual(await ask(handler), ["word all!"]);
});

Deno.test("a handler's JSX is compiled as its deno.json says", async () => {
  using folder = new Folder();
  const handler = lay(folder, {
    "handler.tsx": "export default () => JSON.stringify(<a b='c' />);",
    "deno.json": {
      compilerOptions: { jsx: "react-jsx", jsxImportSource: "own" },
      imports: { "own/jsx-runtime": "./jsx.ts" },
    },
    "jsx.ts": "export const jsx = (tag: string, all: unknown) => ({ tag, all });",
  });
  assert.deepEqual(await ask(handler), ['{"tag":"a","all":{"b":"c"}}']);
});

const INTEGRITY =
  "sha512-2yyAR8qBkN3YuheJanUpWC5U3bb5osDywNB8RzDVlDwDHbocAJveqqj1u8+SVD7jkWT4yvsHCpWqqWqAxb0zCA==";

Deno.test("a handler's modules are those of its lock, and the start ends when they can't be", async () => {
  const lock = (version: string, specifier: string) =>
    `{
  "version": "5",
  "specifiers": {
    "${specifier}": "${version}"
  },
  "npm": {
    "minimist@${version}": {
      "integrity": "${INTEGRITY}"
    }
  },
  "workspace": {
    "dependencies": [
      "${specifier}"
    ]
  }
}
`;
  using folder = new Folder();
  const handler = lay(folder, {
    "handler.ts": 'import m from "args"; export default () => m(["--a", "b"]).a;',
    "deno.json": { imports: { args: "npm:minimist@^1.2.0" } },
    "deno.lock": lock("1.2.8", "npm:minimist@^1.2.0"),
  });
  assert.deepEqual(await ask(handler), ["b"]);
  // Deno has this one in its cache, and the lock does not have it.
  folder.write("deno.lock", lock("1.2.8", "npm:minimist@1.2.8"));
  const refusal = await endOf(handler);
  const unfit = new RegExp(`Cannot load the handler .*"${folder.path}/deno.lock"`);
  assert.match(refusal, unfit);
  assert.match(await endOf(handler, ["--check"]), unfit);
  assert.deepEqual(await ask(handler, ["--handler-lock", "off"]), ["b"]);
  folder.write("deno.lock", "{");
  assert.match(await endOf(handler), new RegExp(`"${folder.path}/deno.lock"`));
});

Deno.test("a handler is served when it is, or imports, a link that is newer than its target", async () => {
  using folder = new Folder();
  const handler = lay(folder, {
    "real.ts": `import { word } from "./word.ts";
      export default () => {
        try { Deno.readTextFileSync("${folder.path}/word.ts"); } catch (error) { return word + error.name; }
        return "read";
      };`,
    "real_word.ts": 'export const word = "word";',
  });
  const LONG_AGO = new Date("2020-01-01");
  for (const name of ["real.ts", "real_word.ts"]) {
    Deno.utimeSync(`${folder.path}/${name}`, LONG_AGO, LONG_AGO);
  }
  Deno.symlinkSync("real_word.ts", `${folder.path}/word.ts`);
  assert.deepEqual(await ask(handler), ["wordNotCapable"]);
  Deno.symlinkSync("real.ts", `${folder.path}/link.ts`);
  assert.deepEqual(await ask(handler.replace("real.ts", "link.ts")), ["wordNotCapable"]);
});

Deno.test("a grant of variables with a wildcard gives those that it fits", async () => {
  const handler = `export default () => ["TEST_A", "TEST_B", "TESX"].map((name) => {
    try { return String(Deno.env.get(name)); } catch (error) { return error.name; }
  }).join();`;
  await using server = await ServerProcess.start({
    handler,
    args: [...ONE_WORKER, "--handler-allow-env=TEST_*"],
    env: { TEST_A: "1", TESX: "2" },
    permissions: ["-A"],
  });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("x"), ["1,undefined,NotCapable"]);
});

// ---- the network and the disk ----

/** Tries what the client says: an expression. */
const ATTEMPT = `const AsyncFunction = (async () => {}).constructor;
  const big = "x".repeat(100_000);
  export default async (body) => {
    try {
      return ["ok", String(await new AsyncFunction("big", "return " + new TextDecoder().decode(body))(big))];
    } catch (error) {
      return [error.name, error.message];
    }
  };`;

Deno.test("a handler brings nothing from the network when it runs but from the hosts that are granted", async () => {
  const asked: string[] = [];
  const answer = ({ url }: Request) => {
    asked.push(new URL(url).pathname);
    return new Response("export default 1", { headers: { "content-type": "text/javascript" } });
  };
  await using site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, answer);
  const port = site.addr.port;
  const registry = { JSR_URL: `http://127.0.0.1:${port}/jsr/` };
  const start = (args: string[]) =>
    ServerProcess.start({
      handler: ATTEMPT,
      args: [...ONE_WORKER, ...args],
      env: registry,
      permissions: ["-A"],
    });
  const specifiers = ["npm:left-pad@1.3.0", "jsr:@std/nothing@1", `http://127.0.0.1:${port}/x.js`];
  {
    await using server = await start([]);
    await using peer = new Peer(server.endpoint);
    for (const specifier of specifiers) {
      const [result, message] = await peer.ask(`import(${JSON.stringify(specifier)})`);
      assert.notEqual(result, "ok", specifier);
      assert.match(message ?? "", /--cached-only|Requires import access/);
    }
    assert.deepEqual(asked, []);
  }
  await using server = await start([
    `--handler-allow-import=127.0.0.1:${port + 1},127.0.0.1:${port}`,
  ]);
  await using peer = new Peer(server.endpoint);
  const own = `http://127.0.0.1:${port}/${crypto.randomUUID()}.js`;
  assert.deepEqual(await peer.ask(`import(${JSON.stringify(own)}).then((m) => m.default)`), [
    "ok",
    "1",
  ]);
  assert.match(
    (await peer.ask('import("https://deno.land/x.js")'))[1] ?? "",
    /Requires import access/,
  );
  assert.match((await peer.ask('import("npm:left-pad@1.3.0")'))[1] ?? "", /--no-npm/);
  assert.deepEqual(asked, [new URL(own).pathname]);
});

/** Ways to write to a disk that no permission of Deno's covers. */
const STORAGE: Record<string, string> = {
  localStorage: 'localStorage.setItem("a", big)',
  caches: `caches.open("a").then((cache) => cache.put("http://x.example/", new Response(big)))`,
  "caches of a thread": `new Promise((resolve, reject) => {
    const code = \`caches.open("a").then((c) => c.put("http://x.example/", new Response("x".repeat(100_000))))
      .then(() => postMessage("written"), (error) => postMessage(error.message));\`;
    const thread = new Worker("data:text/javascript," + encodeURIComponent(code), { type: "module" });
    thread.onmessage = ({ data }) => data === "written" ? resolve(data) : reject(new Error(data));
  })`,
  "SQLite's temporary files": `import("node:sqlite").then(({ DatabaseSync }) => {
    const database = new DatabaseSync(":memory:");
    database.exec("PRAGMA temp_store = 1; CREATE TEMP TABLE t (x)");
    for (let row = 0; row < 100; row++) database.exec("INSERT INTO t VALUES (randomblob(100000))");
  })`,
};

Deno.test("a handler stores nothing on disk when it may not write", async () => {
  using cache = new Folder();
  await using server = await ServerProcess.start({
    handler: ATTEMPT,
    args: ONE_WORKER,
    env: { DENO_DIR: cache.path, ZMQ_LIBRARY: libraryPath() },
    permissions: ["-A"],
  });
  await using peer = new Peer(server.endpoint);
  const before = sizeOf(cache.path);
  for (const [what, code] of Object.entries(STORAGE)) {
    const [result, message] = await peer.ask(code);
    assert.notEqual(result, "ok", `${what}: ${message}`);
  }
  // What Deno keeps of modules that were imported.
  for (let count = 0; count < 20; count++) {
    const [result, message] = await peer.ask(
      'import("data:text/javascript," + encodeURIComponent("export const a = 1; //" + Math.random() + big)).then(() => 1)',
    );
    assert.equal(result, "ok", message);
  }
  assert.deepEqual(await peer.ask("(console.log(big.length), 1)"), ["ok", "1"]);
  const SOME_EMPTY_FILES = 65_536;
  assert.ok(sizeOf(cache.path) - before < SOME_EMPTY_FILES);
});

function libraryPath(): string {
  const given = Deno.env.get("ZMQ_LIBRARY");
  return given ?? locateLibrary().path;
}

function sizeOf(folder: string): number {
  return [...Deno.readDirSync(folder)].map(({ name, isDirectory }) =>
    isDirectory ? sizeOf(`${folder}/${name}`) : Deno.lstatSync(`${folder}/${name}`).size
  ).reduce((sum, size) => sum + size, 0);
}

// ---- changes ----

Deno.test("trailOf gives each link on the way to a file, and the file", () => {
  using folder = new Folder();
  const root = Deno.realPathSync(folder.path);
  lay(folder, { "releases/2/real.ts": PLAIN });
  Deno.symlinkSync("releases/2", `${root}/current`);
  Deno.symlinkSync("../../link.ts", `${root}/releases/2/handler.ts`);
  Deno.symlinkSync(`${root}/releases/2/real.ts`, `${root}/link.ts`);
  const trail = ["current", "releases/2/handler.ts", "link.ts", "releases/2/real.ts"];
  assert.deepEqual(trailOf(`${root}/current/handler.ts`), trail.map((name) => `${root}/${name}`));
  Deno.symlinkSync("loop", `${root}/loop`);
  assert.ok(trailOf(`${root}/loop`).length > 1);
});

Deno.test("a server that watches reloads when a link, what is behind it, or a map is changed", async () => {
  using folder = new Folder();
  lay(folder, {
    "releases/1/handler.ts": 'import { word } from "word"; export default () => "1" + word;',
    "releases/2/handler.ts": 'import { word } from "word"; export default () => "2" + word;',
    "a.ts": 'export const word = "a";',
    "b.ts": 'export const word = "b";',
    "map.json": { imports: { word: "./a.ts" } },
    "deno.json": { importMap: "map.json" },
  });
  for (const release of ["1", "2"]) {
    Deno.symlinkSync("../../deno.json", `${folder.path}/releases/${release}/deno.json`);
    Deno.symlinkSync("../../map.json", `${folder.path}/releases/${release}/map.json`);
    Deno.symlinkSync("../../a.ts", `${folder.path}/releases/${release}/a.ts`);
    Deno.symlinkSync("../../b.ts", `${folder.path}/releases/${release}/b.ts`);
  }
  Deno.symlinkSync("releases/1", `${folder.path}/current`);
  await using server = await ServerProcess.start({
    args: [...ONE_WORKER, "--watch", `${folder.path}/current/handler.ts`],
    permissions: ["-A"],
  });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("x"), ["1a"]);
  const answers = (wanted: string) =>
    until(wanted, async () => (await peer.ask("x"))[0] === wanted);
  folder.write("map.json", JSON.stringify({ imports: { word: "./b.ts" } }));
  await answers("1b");
  folder.write("b.ts", 'export const word = "c";');
  await answers("1c");
  Deno.symlinkSync("releases/2", `${folder.path}/next`);
  Deno.renameSync(`${folder.path}/next`, `${folder.path}/current`);
  await answers("2c");
});
