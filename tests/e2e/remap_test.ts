/**
 * What lies beside a handler can't reach the worker's own modules: each of them is remapped in every
 * way that Deno knows, and the code that would take its place never runs.
 */

import { strict as assert } from "node:assert";
import { RUNTIME } from "../../pool/sandbox.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { text } from "../rig/text.ts";
import type { Feature } from "../rig/permissions.ts";

interface Module {
  specifier: string;
  dependencies?: { specifier: string; code?: { specifier: string } }[];
}

/** The modules that a worker runs, by Deno's own account. */
async function runtimeModules(): Promise<Module[]> {
  const args = ["info", "--json", "--no-lock", "--config", path("deno.json"), path("worker.ts")];
  const { code, stdout, stderr } = await run(Deno.execPath(), args);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout).modules;
}

Deno.test("RUNTIME names every module that a worker runs, and they import nothing else", async () => {
  const modules = await runtimeModules();
  const paths = modules.map(({ specifier }) => specifier.replace(ROOT.href, ""));
  assert.deepEqual([...RUNTIME].sort(), paths.sort(), "RUNTIME in pool/sandbox.ts must name them");
  const targets = modules.flatMap(({ dependencies = [] }) => dependencies)
    .flatMap(({ code }) => code === undefined ? [] : [code.specifier]);
  assert.ok(targets.length > 10);
  assert.deepEqual(targets.filter((target) => !target.startsWith(ROOT.href)), []);
});

/** The product as a user may have it: its modules somewhere in a folder of his. */
function copyProduct(folder: string): void {
  const others = ["tests", "bench", "torture", "docs", "node_modules"];
  for (const { name, isDirectory } of Deno.readDirSync(ROOT)) {
    if (name.startsWith(".") || others.includes(name)) continue;
    if (isDirectory) copyFolder(path(name), `${folder}/${name}`);
    else Deno.copyFileSync(path(name), `${folder}/${name}`);
  }
}

function copyFolder(from: string, to: string): void {
  Deno.mkdirSync(to, { recursive: true });
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) copyFolder(`${from}/${name}`, `${to}/${name}`);
    else Deno.copyFileSync(`${from}/${name}`, `${to}/${name}`);
  }
}

/** Leaves a mark in a file, and is everything that the runtime imports. */
const EVIL = (mark: string) => `
  try { Deno.writeTextFileSync(${JSON.stringify(mark)}, "x"); } catch {}
  console.log("EVIL");
  export const main = 0;`;

type Files = Record<string, unknown>;

/** Ways to say that modules are others: by the modules' URLs, and those of all folders above. */
const WAYS: Record<string, (modules: string[], folders: string[], evil: string) => Files> = {
  imports: (modules, _folders, evil) => ({ "deno.json": { imports: names(modules, evil) } }),
  "imports of folders": (_modules, folders, evil) => ({
    "deno.json": { imports: names(folders, evil.replace(/[^/]+$/, "")) },
  }),
  scopes: (modules, folders, evil) => ({
    "deno.jsonc": { scopes: scopes([...modules, ...folders], names(modules, evil)) },
  }),
  importMap: (modules, folders, evil) => ({
    "deno.json": { importMap: "map.json" },
    "map.json": {
      imports: names(modules, evil),
      scopes: scopes([...modules, ...folders], names(modules, evil)),
    },
  }),
  links: (modules, _folders, evil) => ({
    "deno.json": { links: ["./linked"], imports: { linked: "./linked/mod.ts" } },
    "linked/deno.json": {
      name: "@linked/linked",
      version: "1.0.0",
      exports: "./mod.ts",
      imports: names(modules, evil),
    },
    "linked/mod.ts": "export default 1;",
  }),
  workspace: (modules, folders, evil) => ({
    "deno.json": { workspace: ["./member"] },
    "member/deno.json": {
      name: "@own/member",
      version: "1.0.0",
      exports: "./mod.ts",
      imports: names(modules, evil),
      scopes: scopes([...modules, ...folders], names(modules, evil)),
    },
  }),
  "package.json": (modules, _folders, evil) => ({
    "package.json": { type: "module", imports: names(modules, evil) },
    "tsconfig.json": {
      compilerOptions: { baseUrl: ".", paths: { "*": ["./evil.ts"], "./*": ["./evil.ts"] } },
    },
  }),
  "compilerOptions, preload and unstable": (_modules, _folders, evil) => ({
    "deno.json": {
      preload: [evil],
      require: [evil],
      unstable: ["kv", "sloppy-imports", "bare-node-builtins"],
      compilerOptions: { paths: { "*": [evil] }, types: [evil], rootDirs: [evil] },
    },
  }),
};

function names(keys: string[], evil: string): Record<string, string> {
  return Object.fromEntries(keys.map((key) => [key, evil]));
}

function scopes(prefixes: string[], names: Record<string, string>): Record<string, unknown> {
  return Object.fromEntries(prefixes.map((prefix) => [prefix, names]));
}

/** Every folder above a module. */
function foldersAbove(module: string): string[] {
  const folders: string[] = [];
  for (let folder = new URL(".", module); folder.pathname !== "/"; folder = new URL("..", folder)) {
    folders.push(folder.href);
  }
  return [...folders, "file:///", "data:application/"];
}

/** Where the handler's project lies: the product's place in it, if it is there at all. */
const PLACES: Record<string, string | undefined> = {
  "elsewhere": undefined,
  "above the product": "vendor/prefork",
  "beside the product": ".",
};

/** What a project has besides its handler, which lies in `inner`; removed at the end. */
function lay(folder: Folder, inner: string, files: Files): Disposable & { handler: string } {
  const handler = `${inner}handler.ts`;
  const all: Files = { ...files, [handler]: "export default () => 'own';" };
  for (const [name, content] of Object.entries(all)) {
    Deno.mkdirSync(new URL(".", `file://${folder.path}/${name}`), { recursive: true });
    folder.write(name, typeof content === "string" ? content : JSON.stringify(content));
  }
  return {
    handler: `${folder.path}/${handler}`,
    [Symbol.dispose]() {
      for (const name of Object.keys(all)) Deno.removeSync(`${folder.path}/${name}`);
    },
  };
}

for (const [place, product] of Object.entries(PLACES)) {
  // One copy for all ways: Deno translates each module of it anew.
  Deno.test(`a handler's files reach no module of a worker when they lie ${place}`, async (test) => {
    using folder = new Folder();
    const root = product === undefined ? ROOT : new URL(`file://${folder.path}/${product}/`);
    if (product !== undefined) {
      Deno.mkdirSync(`${folder.path}/${product}`, { recursive: true });
      copyProduct(`${folder.path}/${product}`.replace(/\/\.$/, ""));
      // In the folder itself it would be the handler's.
      Deno.removeSync(new URL("deno.json", root));
    }
    const mark = `${folder.path}/mark`;
    folder.write("evil.ts", EVIL(mark));
    const modules = RUNTIME.map((file) => new URL(file, root).href);
    const folders = [...new Set(modules.flatMap(foldersAbove))];
    const script = `${decodeURIComponent(root.pathname)}mod.ts`;
    const config = ["--no-lock", "--config", path("deno.json")];
    for (const [way, filesFor] of Object.entries(WAYS)) {
      await test.step(`by ${way}`, async () => {
        const files = filesFor(modules, folders, `file://${folder.path}/evil.ts`);
        using project = lay(folder, way === "workspace" ? "member/" : "", files);
        const args = ["run", "-A", ...config, script, "--check", project.handler];
        const { code, stdout, stderr } = await run(Deno.execPath(), args);
        const said = `${stdout}${stderr}`;
        assert.throws(() => Deno.statSync(mark), Deno.errors.NotFound, said);
        assert.doesNotMatch(said, /EVIL/);
        assert.equal(code, 0, said);
      });
    }
  });
}

Deno.test("a handler's names are still its own when they are those of the worker's modules", async () => {
  using folder = new Folder();
  folder.write(
    "deno.json",
    JSON.stringify({
      imports: { [new URL("worker.ts", ROOT).href]: "./own.ts", "#own": "./own.ts" },
      links: ["./x"],
      allowScripts: ["npm:core-js"],
      unstable: ["kv"],
      nodeModulesDir: "auto",
    }),
  );
  folder.write("own.ts", 'export const own = "own";');
  const handler = folder.write(
    "handler.ts",
    `import { own } from "#own";
     import * as worker from ${JSON.stringify(new URL("worker.ts", ROOT).href)};
     export default () => [own, Object.keys(worker).join(), typeof Deno.openKv];`,
  );
  const features: Feature[] = [["handler", { FOLDERS: folder.path }]];
  await using server = await ServerProcess.start({
    args: ["--workers", "1", handler],
    features,
  });
  await using peer = new Peer(server.endpoint);
  peer.send("", "x");
  assert.deepEqual((await peer.receive()).map(text), ["", "own", "own", "undefined"]);
  const notes = server.lines.filter(({ level }) => level === "warn").map(({ message }) => message);
  const used = '"links", "allowScripts", "unstable", "nodeModulesDir"';
  assert.deepEqual(notes, [`workers don't use ${used} of "${folder.path}/deno.json"`]);
  assert.deepEqual([...Deno.readDirSync(folder.path)].length, 3);
});
