/** The private folder of a server: it is the server's while that lives, and goes soon afterwards. */

import { strict as assert } from "node:assert";
import { makePrivateFolder } from "../../system/private_folder.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { canServeAsNobody, shareProgram } from "../rig/other_user.ts";
import { askOnce } from "../rig/peer.ts";
import { type ServerOptions, ServerProcess } from "../rig/server_process.ts";
import type { Feature } from "../rig/permissions.ts";

const NOBODY = { uid: undefined, gid: undefined };
const MODULE = JSON.stringify(new URL("../../system/private_folder.ts", import.meta.url).href);
const ignore = Deno.build.os !== "linux";

/** A folder for temporary files, and servers that use it. */
class Place {
  readonly folder = new Folder();

  /** What is there, sorted. */
  get names(): string[] {
    return [...Deno.readDirSync(this.folder.path)].map(({ name }) => name).sort();
  }

  /** Starts a server that may look around here. */
  start(options: ServerOptions = {}): Promise<ServerProcess> {
    const TEMP = this.folder.path;
    const features: Feature[] = [["removing", { TEMP }]];
    const args = ["--workers", "1", ...options.args ?? []];
    return ServerProcess.start({ features, ...options, args, env: { TMPDIR: TEMP } });
  }

  /** Leaves behind what a server does that is killed; returns its name. */
  async leave(options: ServerOptions = {}): Promise<string> {
    const before = this.names;
    await using server = await this.start(options);
    server.signal("SIGKILL");
    await server.ended();
    const [name = "", ...others] = this.names.filter((name) => !before.includes(name));
    assert.deepEqual(others, []);
    return name;
  }

  /** Runs code in a process that has this place, and returns what it prints. */
  async run(code: string): Promise<string> {
    const url = `data:application/typescript,${encodeURIComponent(code)}`;
    const args = ["run", "-A", "--config", path("deno.json"), url];
    const env = { TMPDIR: this.folder.path, NO_COLOR: "1" };
    const { stdout, stderr } = await run(Deno.execPath(), args, { env });
    assert.equal(stderr, "");
    return stdout;
  }

  [Symbol.dispose](): void {
    this.folder[Symbol.dispose]();
  }
}

function nameIn(endpoint: string): string {
  return /zmq-prefork-[0-9a-f]{8,}/.exec(endpoint)?.[0] ?? "";
}

Deno.test("a server removes the folder of one that was killed, and leaves those of the living", async () => {
  using place = new Place();
  await using living = await place.start();
  const left = await place.leave();
  assert.deepEqual(place.names, [left, nameIn(living.backend)].sort());
  await using next = await place.start();
  assert.deepEqual(place.names, [nameIn(next.backend), nameIn(living.backend)].sort());
  Deno.kill(living.workers[0] ?? 0, "SIGKILL");
  await living.line("worker ready", 2);
  assert.deepEqual(await askOnce(living.endpoint, "x"), ["x"]);
  for (const server of [living, next]) {
    server.signal("SIGTERM");
    assert.equal((await server.ended()).code, 0);
  }
  assert.deepEqual(place.names, []);
});

Deno.test("a server leaves what was left behind when it may not read, and asks nobody", async () => {
  using place = new Place();
  const left = await place.leave();
  await using server = await place.start({ features: [] });
  assert.deepEqual(place.names, [left, nameIn(server.backend)].sort());
  server.signal("SIGTERM");
  assert.equal((await server.ended()).code, 0);
  assert.deepEqual(place.names, [left]);
  assert.deepEqual(server.noise, []);
});

Deno.test("a server removes the folder of one that was killed when the workers are somebody else", {
  ignore: !canServeAsNobody(),
}, async () => {
  using place = new Place();
  const options = { args: ["--user", "nobody"], program: shareProgram(place.folder) };
  const [left, program] = [await place.leave(options), "deno"];
  assert.deepEqual(place.names, [program, left].sort());
  await using server = await place.start();
  assert.deepEqual(place.names, [program, nameIn(server.backend)].sort());
});

/** Folders that look left behind but for one thing; each gets the path of the folder to make. */
const SPARED: Record<string, (path: string, folder: Folder) => void> = {
  "has no lock yet": (path) => Deno.mkdirSync(path),
  "has another name": (path) => leftover(path.replace(/[^/]*$/, "zmq-prefork-test-0123")),
  "holds a file that no server makes": (path) => Deno.writeTextFileSync(`${leftover(path)}/a`, ""),
  "is a link": (path, folder) => Deno.symlinkSync(leftover(`${folder.path}/target`), path),
  "has a link for a lock": (path, folder) => {
    Deno.removeSync(`${leftover(path)}/lock`);
    Deno.symlinkSync(folder.write("file", ""), `${path}/lock`);
  },
  "has a pipe for a lock": (path) => {
    Deno.removeSync(`${leftover(path)}/lock`);
    new Deno.Command("mkfifo", { args: [`${path}/lock`] }).outputSync();
  },
  "has a folder for a lock": (path) => {
    Deno.removeSync(`${leftover(path)}/lock`);
    Deno.mkdirSync(`${path}/lock`);
  },
};
if (Deno.uid() === 0) {
  SPARED["is somebody else's"] = (path) => Deno.chownSync(leftover(path), 65_534, null);
  SPARED["has somebody else's lock"] = (path) =>
    Deno.chownSync(`${leftover(path)}/lock`, 65_534, null);
}

function leftover(path: string): string {
  Deno.mkdirSync(path);
  for (const name of ["lock", "backend"]) Deno.writeTextFileSync(`${path}/${name}`, "");
  return path;
}

for (const [what, make] of Object.entries(SPARED)) {
  Deno.test(`makePrivateFolder leaves a folder when it ${what}`, { ignore }, async () => {
    using place = new Place();
    using outside = new Folder();
    make(`${place.folder.path}/zmq-prefork-0123456789abcdef`, outside);
    const before = list(place.folder.path) + list(outside.path);
    const code = `import { makePrivateFolder } from ${MODULE};
      makePrivateFolder({ uid: undefined, gid: undefined }).remove();`;
    await place.run(code);
    assert.equal(list(place.folder.path) + list(outside.path), before);
  });
}

function list(folder: string): string {
  const { stdout } = new Deno.Command("find", { args: [folder, "-printf", "%p %y %U\n"] })
    .outputSync();
  return new TextDecoder().decode(stdout).split("\n").sort().join("\n");
}

Deno.test("makePrivateFolder removes a folder that has all that a server makes", async () => {
  using place = new Place();
  const old = leftover(`${place.folder.path}/zmq-prefork-0123456789abcdef`);
  for (const name of ["workers", "service-1", "service-12"]) Deno.mkdirSync(`${old}/${name}`);
  const files = ["libzmq", "workers/backend", "workers/libzmq", ".npmrc", "config-3.json"];
  for (const name of [...files, "service-1/.npmrc", "service-12/config-1.json"]) {
    Deno.writeTextFileSync(`${old}/${name}`, "");
  }
  const code = `import { makePrivateFolder } from ${MODULE};
    makePrivateFolder({ uid: undefined, gid: undefined }).remove();`;
  await place.run(code);
  assert.deepEqual(place.names, []);
});

Deno.test("makePrivateFolder makes another folder when a neighbour takes the first for left behind", () => {
  using place = new Place();
  withTemporary(place, () => {
    const { tryLockSync } = Deno.FsFile.prototype;
    let neighbour: ReturnType<typeof makePrivateFolder> | undefined;
    Deno.FsFile.prototype.tryLockSync = function (exclusive) {
      Deno.FsFile.prototype.tryLockSync = tryLockSync;
      neighbour = makePrivateFolder(NOBODY);
      return tryLockSync.call(this, exclusive);
    };
    const own = makePrivateFolder(NOBODY);
    assert.equal(place.names.length, 2, "the first one is gone");
    for (const { path } of [own, neighbour ?? own]) Deno.statSync(`${path}/lock`);
    own.remove();
    neighbour?.remove();
    assert.deepEqual(place.names, []);
  });
});

Deno.test("makePrivateFolder makes another folder when a neighbour holds the first one's lock", () => {
  using place = new Place();
  withTemporary(place, () => {
    const { tryLockSync } = Deno.FsFile.prototype;
    Deno.FsFile.prototype.tryLockSync = () => {
      Deno.FsFile.prototype.tryLockSync = tryLockSync;
      return false;
    };
    const own = makePrivateFolder(NOBODY);
    own.remove();
    assert.deepEqual(place.names, []);
  });
});

Deno.test("makePrivateFolder makes one that nobody removes when files can't be locked", () => {
  using place = new Place();
  withTemporary(place, () => {
    const { tryLockSync } = Deno.FsFile.prototype;
    Deno.FsFile.prototype.tryLockSync = () => {
      Deno.FsFile.prototype.tryLockSync = tryLockSync;
      throw new Error("No locks available (os error 37)");
    };
    const own = makePrivateFolder(NOBODY);
    makePrivateFolder(NOBODY).remove();
    assert.deepEqual([...Deno.readDirSync(own.path)], []);
    own.remove();
  });
});

/** Runs something that makes its temporary files in `place`. */
function withTemporary(place: Place, body: () => void): void {
  const { makeTempDirSync } = Deno;
  Deno.makeTempDirSync = (options) => makeTempDirSync({ dir: place.folder.path, ...options });
  try {
    body();
  } finally {
    Deno.makeTempDirSync = makeTempDirSync;
  }
}

Deno.test("makePrivateFolder never takes another server's folder when many start at a time", async () => {
  using place = new Place();
  const code = `import { makePrivateFolder } from ${MODULE};
    for (let round = 0; round < 150; round++) {
      const own = makePrivateFolder({ uid: undefined, gid: undefined });
      Deno.writeTextFileSync(own.path + "/backend", "");
      if (round % 3 > 0) makePrivateFolder({ uid: undefined, gid: undefined }).remove();
      for (const name of ["lock", "backend"]) Deno.lstatSync(own.path + "/" + name);
      if (round % 10 > 0) own.remove();
    }
    console.log("whole");`;
  const said = await Promise.all(Array.from({ length: 5 }, () => place.run(code)));
  assert.deepEqual(said, Array(5).fill("whole\n"));
  const last = `import { makePrivateFolder } from ${MODULE};
    makePrivateFolder({ uid: undefined, gid: undefined }).remove();`;
  await place.run(last);
  assert.deepEqual(place.names, []);
});
