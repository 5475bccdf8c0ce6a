/** What a server keeps on the disk: made, checked, made again and removed. */

import { strict as assert } from "node:assert";
import { Premises, type Remarks } from "../../system/premises.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { Folder } from "../rig/folder.ts";

const ACCOUNT = { uid: undefined, gid: undefined };

function remarks(): Remarks & { all: string[] } {
  const all: string[] = [];
  const add = (message: string) => void all.push(message);
  return { all, warn: add, error: add };
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

Deno.test("Premises makes a private folder and a pid file, and removes both", () => {
  using folder = new Folder();
  const pidFile = `${folder.path}/pid`;
  const options = { backend: undefined, pidFile, workers: ACCOUNT, library: "/lib" };
  const premises = new Premises(locateLibrary(undefined), options, remarks());
  const privateFolder = premises.backend.slice("ipc://".length, -"/backend".length);
  assert.ok(exists(privateFolder));
  assert.equal(Deno.readTextFileSync(pidFile), `${Deno.pid}\n`);
  premises.remove();
  assert.deepEqual([exists(privateFolder), exists(pidFile)], [false, false]);
});

Deno.test("Premises says that the folder is gone, makes another, and tries later what fails", () => {
  const said = remarks();
  const options = { backend: undefined, pidFile: undefined, workers: ACCOUNT, library: "/lib" };
  const premises = new Premises(locateLibrary(undefined), options, said);
  premises.handOver(premises.backend);
  const before = premises.backend;
  let moved = 0;
  let checked = 0;
  const mending = { moved: () => void moved++, sockets: () => void checked++ };
  assert.equal(premises.tick(0, mending), 1000);
  assert.equal(premises.tick(400, mending), 600, "it is not due");
  Deno.removeSync(before.slice("ipc://".length, -"/backend".length), { recursive: true });
  premises.tick(1000, mending);
  assert.deepEqual([moved, checked], [1, 2]);
  assert.notEqual(premises.backend, before);
  premises.failed("no room", 1500);
  assert.deepEqual(said.all, ["what was removed cannot be made again"]);
  assert.equal(premises.tick(2000, mending), 2500);
  premises.leave();
  assert.equal(premises.tick(9000, mending), Infinity);
  premises.remove();
});
