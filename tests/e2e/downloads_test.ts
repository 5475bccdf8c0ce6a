/** What Deno downloads for a user who only serves or asks: what is run, and nothing that tests need. */

import { strict as assert } from "node:assert";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { askOnce } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";

/** libzmq comes with the first one; the other two are what it is built with, which it names too. */
const LIBZMQ = ["zeromq", "cmake-ts", "node-addon-api"];
/** jsr/cli/, which stands in for @std/cli in a checkout, is made of it. */
const ARGUMENTS = ["minimist"];

/** Packages of npm in a cache of Deno's, by name. */
function downloaded(denoDir: string): string[] {
  const folders = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name);
  const [registry, ...others] = folders(`${denoDir}/npm`);
  assert.deepEqual(others, []);
  return folders(`${denoDir}/npm/${registry}`)
    .flatMap((name) =>
      name.startsWith("@")
        ? folders(`${denoDir}/npm/${registry}/${name}`).map((each) => `${name}/${each}`)
        : [name]
    ).sort();
}

Deno.test("mod.ts and client.ts download what they run and nothing else when Deno's cache is empty", async () => {
  using serving = new Folder();
  using asking = new Folder();
  const env = { DENO_DIR: serving.path };
  await using server = await ServerProcess.start({ env, permissions: ["-A"] });
  assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
  assert.deepEqual(downloaded(serving.path), [...LIBZMQ, ...ARGUMENTS].sort());

  const args = ["run", "-A", path("client.ts"), "--endpoint", server.endpoint, "--data", "hello"];
  const { code, stdout, stderr } = await run(Deno.execPath(), args, {
    env: { DENO_DIR: asking.path, NO_COLOR: "1" },
  });
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "hello\n" }, stderr);
  assert.deepEqual(downloaded(asking.path), [...LIBZMQ, ...ARGUMENTS].sort());
});

/** Packages of npm that each export of the published package imports. */
const IMPORTED: Record<string, string[]> = {
  ".": [...LIBZMQ, ...ARGUMENTS],
  "./client": [...LIBZMQ, ...ARGUMENTS],
  "./worker": [],
  "./compiled": [],
  "./testing": [],
  "./keygen": LIBZMQ,
  "./ctl": ARGUMENTS,
};

Deno.test("each export of the package imports no package of npm but those that it runs", async () => {
  const { exports } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  assert.deepEqual(Object.keys(exports), Object.keys(IMPORTED));
  for (const [name, module] of Object.entries<string>(exports)) {
    const { stdout } = await run(Deno.execPath(), ["info", "--json", path(module)]);
    const packages = Object.values<{ name: string }>(JSON.parse(stdout).npmPackages);
    assert.deepEqual(packages.map(({ name }) => name).sort(), IMPORTED[name]?.toSorted(), name);
  }
});

/** All that deno.json and the stand-ins of jsr/ pin of npm's. */
function pinned(): string[] {
  const { imports, scopes } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  const standIn = JSON.parse(Deno.readTextFileSync(path("jsr/cli/deno.json"))).imports;
  return [imports, standIn, ...Object.values<Record<string, string>>(scopes)]
    .flatMap((map) => Object.values<string>(map)).filter((target) => target.startsWith("npm:"));
}

Deno.test("deno.lock has each package that deno.json pins, and no run uses it unasked", () => {
  // Deno downloads all that a lock names, whatever is run: so it is for the tasks of development.
  assert.equal(JSON.parse(Deno.readTextFileSync(path("deno.json"))).lock, false);
  const { specifiers } = JSON.parse(Deno.readTextFileSync(path("deno.lock")));
  assert.deepEqual(Object.keys(specifiers).sort(), [...new Set(pinned())].sort());
});
