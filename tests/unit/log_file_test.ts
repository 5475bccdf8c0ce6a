/** The log's file: what it may be, and when its path leads elsewhere. */

import { strict as assert } from "node:assert";
import { isMoved, openLogFile } from "../../ops/log_file.ts";
import { LogFollower } from "../../ops/log_follower.ts";
import { Folder } from "../rig/folder.ts";
import { bytes } from "../rig/text.ts";

const ignore = Deno.build.os !== "linux" || Deno.uid() !== 0;
const STRANGER = 65_534;

Deno.test("openLogFile appends to a file, and makes one where there is none", () => {
  using folder = new Folder();
  const path = `${folder.path}/log`;
  for (const line of ["one\n", "two\n"]) {
    using file = openLogFile(path);
    file.writeSync(bytes(line));
  }
  assert.equal(Deno.readTextFileSync(path), "one\ntwo\n");
});

Deno.test("openLogFile follows a link of this user's, also to a file that is not there yet", () => {
  using folder = new Folder();
  Deno.symlinkSync(`${folder.path}/target`, `${folder.path}/link`);
  for (const line of ["one\n", "two\n"]) {
    using file = openLogFile(`${folder.path}/link`);
    file.writeSync(bytes(line));
  }
  assert.equal(Deno.readTextFileSync(`${folder.path}/target`), "one\ntwo\n");
});

/** What another user can put where root's log is; each gets a file that is none of theirs, and the path. */
const TRAPS: Record<string, (target: string, path: string) => void> = {
  "link of another user's": (target, path) => {
    Deno.symlinkSync(target, path);
    new Deno.Command("chown", { args: ["-h", String(STRANGER), path] }).outputSync();
  },
  "hard link to another user's file": (target, path) => {
    Deno.chownSync(target, STRANGER, null);
    Deno.linkSync(target, path);
  },
};

for (const [what, set] of Object.entries(TRAPS)) {
  Deno.test(`openLogFile throws when the path is a ${what}`, { ignore }, () => {
    using folder = new Folder();
    const [target, path] = [folder.write("target", "secret"), `${folder.path}/log`];
    set(target, path);
    assert.throws(() => openLogFile(path), /^Error: it is a /);
    assert.equal(Deno.readTextFileSync(target), "secret");
  });
}

Deno.test("openLogFile throws when the file is replaced while it is opened", { ignore }, () => {
  using folder = new Folder();
  const [target, path] = [folder.write("target", "secret"), folder.write("log", "")];
  const { openSync } = Deno;
  Deno.openSync = (name, options) => {
    Deno.openSync = openSync;
    Deno.removeSync(path);
    Deno.symlinkSync(target, path);
    return openSync(name, options);
  };
  assert.throws(() => openLogFile(path), { message: "it was replaced while it was opened" });
  assert.equal(Deno.readTextFileSync(target), "secret");
});

Deno.test("isMoved is true when the path leads to another file or to none, and false before", () => {
  using folder = new Folder();
  const path = folder.write("log", "");
  using file = openLogFile(path);
  assert.equal(isMoved(path, file), false);
  file.writeSync(bytes("x"));
  assert.equal(isMoved(path, file), false);
  Deno.truncateSync(path);
  assert.equal(isMoved(path, file), false);
  Deno.renameSync(path, `${path}.1`);
  assert.equal(isMoved(path, file), true);
  Deno.writeTextFileSync(path, "");
  assert.equal(isMoved(path, file), true);
  Deno.renameSync(`${path}.1`, path);
  assert.equal(isMoved(path, file), false);
});

Deno.test("isMoved is false when what is open is no plain file", () => {
  using file = openLogFile("/dev/null");
  assert.equal(isMoved("/nowhere/at/all", file), false);
});

Deno.test("LogFollower opens the log anew when it has moved, and leaves a path alone that can't be opened", () => {
  const log = { moved: false };
  let [opened, works] = [0, true];
  const follower = new LogFollower(log, () => (opened++, works));
  assert.equal(follower.tick(0), 1000);
  log.moved = true;
  assert.equal(follower.tick(999), 1);
  assert.equal(opened, 0);
  assert.equal(follower.tick(1000), 1000);
  assert.equal(opened, 1);
  works = false;
  assert.equal(follower.tick(2000), 60_000);
  follower.tick(61_999);
  assert.equal(opened, 2);
  follower.tick(62_000);
  assert.equal(opened, 3);
});
