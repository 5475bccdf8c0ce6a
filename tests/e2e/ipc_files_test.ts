/** The socket files of ipc endpoints: nobody else's is replaced or removed, and one's own is. */

import { strict as assert } from "node:assert";
import { IpcFiles } from "../../ports/ipc_files.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { serve } from "../../mod.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { serveQuietly } from "../rig/in_process.ts";
import { askOnce } from "../rig/peer.ts";
import { until, within } from "../rig/wait.ts";

const ignore = Deno.build.os !== "linux";

function ipcFiles(): IpcFiles {
  return new IpcFiles(locateLibrary(Deno.env.get("ZMQ_LIBRARY")));
}

/** What is not a socket, by the word for it. */
const OTHERS: Record<string, (folder: Folder) => Promise<unknown> | unknown> = {
  file: (folder) => folder.write("x", "data"),
  folder: ({ path }) => Deno.mkdirSync(`${path}/x`),
  pipe: ({ path }) => run("mkfifo", [`${path}/x`]),
  "symbolic link": (folder) => Deno.symlinkSync(folder.write("target", "data"), `${folder.path}/x`),
};

for (const [type, make] of Object.entries(OTHERS)) {
  Deno.test(`serve refuses an ipc path and leaves it alone when a ${type} lies there`, {
    ignore,
  }, async () => {
    using folder = new Folder();
    await make(folder);
    const file = `${folder.path}/x`;
    const before = Deno.lstatSync(file);
    const message = `Cannot bind to "ipc://${file}": its path must be free or a socket: ` +
      `current one is a ${type}`;
    for (const endpoints of [{ frontend: `ipc://${file}` }, { backend: `ipc://${file}` }]) {
      const options = {
        frontend: "tcp://127.0.0.1:0",
        ...endpoints,
        logLevel: "critical",
      } as const;
      assert.throws(() => serve(options), { message });
    }
    const after = Deno.lstatSync(file);
    assert.deepEqual([after.ino, after.mtime], [before.ino, before.mtime]);
  });
}

Deno.test("serve refuses an ipc path when another server listens there under another spelling", {
  ignore,
}, async () => {
  using folder = new Folder();
  Deno.mkdirSync(`${folder.path}/real`);
  Deno.symlinkSync("real", `${folder.path}/link`);
  const frontend = `ipc://${folder.path}/link/a`;
  await using _first = serveQuietly({ frontend, workers: 1 });
  for (const other of ["real/a", "real/../link/./a", "link//a"]) {
    const endpoint = `ipc://${folder.path}/${other}`;
    const message = `Cannot bind to "${endpoint}": Address already in use`;
    assert.throws(() => serveQuietly({ frontend: endpoint }), { message });
  }
  assert.deepEqual(await askOnce(frontend, "x"), ["x"]);
});

Deno.test("serve refuses an ipc path when it is given twice", { ignore }, () => {
  using folder = new Folder();
  const one = `ipc://${folder.path}/a`;
  const message = /Address already in use$/;
  assert.throws(() => serveQuietly({ frontend: [one, one] }), { message });
  assert.throws(() => serveQuietly({ frontend: one, backend: one }), { message });
  assert.deepEqual([...Deno.readDirSync(folder.path)], []);
});

Deno.test("serve refuses an ipc path when a socket that is not of ZeroMQ listens there", {
  ignore,
}, () => {
  using folder = new Folder();
  const file = `${folder.path}/a`;
  using _listener = Deno.listen({ transport: "unix", path: file });
  const { ino } = Deno.lstatSync(file);
  assert.throws(() => serveQuietly({ frontend: `ipc://${file}` }), /Address already in use$/);
  assert.equal(Deno.lstatSync(file).ino, ino);
});

const RELATIVE = `import { serve } from ${
  JSON.stringify(new URL("../../mod.ts", import.meta.url).href)
};
const frontend = "ipc://jobs.ipc";
const server = serve({ frontend, backend: "ipc://back.ipc", workers: 1, logLevel: "error" });
await server.ready;
Deno.chdir("/");
console.log(server.frontend[0]);
await Deno.stdin.read(new Uint8Array(1));
await server.shutdown();`;

Deno.test("serve has a relative ipc path of its own in each folder, and removes its file there", {
  ignore,
}, async () => {
  using folder = new Folder();
  const main = folder.write("main.ts", RELATIVE);
  const homes = ["one", "two"].map((name) => `${folder.path}/${name}`);
  const servers = homes.map((cwd) => {
    Deno.mkdirSync(cwd);
    const args = ["run", "-A", "--config", path("deno.json"), main];
    return new Deno.Command(Deno.execPath(), { args, cwd, stdin: "piped", stdout: "piped" })
      .spawn();
  });
  for (const [index, server] of servers.entries()) {
    const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value = "" } = await within("it is bound", reader.read());
    await reader.cancel();
    assert.equal(value, `ipc://${homes[index]}/jobs.ipc\n`);
    assert.deepEqual(await askOnce(value.trim(), "x"), ["x"]);
  }
  for (const [index, server] of servers.entries()) {
    await server.stdin.close();
    assert.equal((await within("it has ended", server.status)).code, 0);
    assert.deepEqual([...Deno.readDirSync(homes[index] ?? "")], []);
  }
});

Deno.test(
  "serve leaves the file at its ipc path alone at its end when another has taken its place",
  {
    ignore,
  },
  async () => {
    using folder = new Folder();
    const file = `${folder.path}/a`;
    const server = serveQuietly({ frontend: `ipc://${file}`, workers: 1 });
    Deno.removeSync(file);
    folder.write("a", "data");
    await server.shutdown();
    assert.equal(Deno.readTextFileSync(file), "data");
  },
);

Deno.test("serve removes the file of its first ipc path when its second can't be bound", {
  ignore,
}, () => {
  using folder = new Folder();
  const frontend = [`ipc://${folder.path}/a`, "ipc:///no/such/folder/b"];
  assert.throws(() => serveQuietly({ frontend }), /No such file or directory/);
  assert.deepEqual([...Deno.readDirSync(folder.path)], []);
});

Deno.test("IpcFiles waits when another process is about to bind in the same folder", {
  ignore,
}, async () => {
  using folder = new Folder();
  const file = `${folder.path}/a`;
  const script = 'flock "$0" sh -c "echo locked; cat" && echo free';
  const holder = new Deno.Command("sh", {
    args: ["-c", script, folder.path],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = holder.stdout.pipeThrough(new TextDecoderStream()).getReader();
  await until("the folder is locked", async () => (await reader.read()).value === "locked\n");
  const begun = performance.now();
  let boundAfter = 0;
  ipcFiles().bind(`ipc://${file}`, () => {
    boundAfter = performance.now() - begun;
    return "bound";
  });
  // The holder keeps it for ever, so this goes on without it after a second.
  assert.ok(boundAfter >= 900, String(boundAfter));
  await holder.stdin.close();
  await reader.cancel();
  await within("the holder has ended", holder.status);
});

Deno.test("IpcFiles leaves abstract names and other transports alone", () => {
  const files = ipcFiles();
  for (const endpoint of ["ipc://@name", "ipc://*", "tcp://127.0.0.1:1"]) {
    assert.equal(files.bind(endpoint, () => "bound"), "bound");
  }
});
