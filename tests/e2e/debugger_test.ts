/** Deno's debugger from outside: nothing opens it, in the server, its workers or the client. */

import { strict as assert } from "node:assert";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { endNow, isAlive } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

const ignore = Deno.build.os !== "linux";

/** signal(7): bit 0 of a set is signal 1. */
const USR1 = 1n << 9n;

/** Whether a process ignores SIGUSR1. */
function ignoresUsr1(pid: number): boolean {
  return hasUsr1(/^SigIgn:\s*([0-9a-f]+)$/m, pid);
}

/** Whether a process listens for SIGUSR1. */
function catchesUsr1(pid: number): boolean {
  return hasUsr1(/^SigCgt:\s*([0-9a-f]+)$/m, pid);
}

function hasUsr1(row: RegExp, pid: number): boolean {
  const [, set] = row.exec(statusOf(pid)) ?? [];
  return set !== undefined && (BigInt(`0x${set}`) & USR1) !== 0n;
}

function statusOf(pid: number): string {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/status`);
  } catch {
    return "";
  }
}

/** Ports of TCP that a process listens at. */
function listeningPorts(pid: number): number[] {
  const LISTEN = "0A";
  const sockets = Deno.readTextFileSync("/proc/net/tcp").split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , , state]) => state === LISTEN);
  const links = [...Deno.readDirSync(`/proc/${pid}/fd`)].map(({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
    } catch {
      return ""; // closed by now
    }
  });
  return sockets.filter((fields) => links.includes(`socket:[${fields[9]}]`))
    .map(([, local = ""]) => parseInt(local.split(":")[1] ?? "", 16));
}

/**
 * Waits until Deno would listen for SIGUSR1 by itself in every process that was started before: a program
 * that is younger and does nothing against it listens.
 */
async function grownUp(): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "setInterval(() => {}, 1000)"],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await until("Deno listens by itself", () => catchesUsr1(child.pid));
  } finally {
    await endNow(child);
  }
}

Deno.test("the debugger stays shut in the server and its workers when SIGUSR1 comes", {
  ignore,
}, async () => {
  const args = ["--workers", "2"];
  await using server = await ServerProcess.start({ args });
  await server.line("worker ready", 2);
  await grownUp();
  const all = [server.pid, ...server.workers];
  for (const pid of all) {
    assert.ok(ignoresUsr1(pid), statusOf(pid));
    for (let time = 0; time < 20; time++) Deno.kill(pid, "SIGUSR1");
  }
  await server.state();
  assert.deepEqual(server.workers, all.slice(1));
  for (const pid of all) assert.ok(!listeningPorts(pid).includes(9229));
  assert.deepEqual(server.noise, []);
});

Deno.test(
  "the debugger stays shut in processes that wait when they are the client, --check and the starter of a background server",
  {
    ignore,
  },
  async () => {
    using folder = new Folder();
    const never = folder.write("never.ts", "await new Promise((r) => setTimeout(r, 1e9));");
    const pidFile = `${folder.path}/pid`;
    const background = ["--background", "--pid-file", pidFile, "--log-file", `${folder.path}/log`];
    const commands = [
      ["client.ts", "-e", "tcp://127.0.0.1:9", "--data", "x"],
      ["mod.ts", "--check", never],
      ["mod.ts", ...background, "--frontend", `ipc://${folder.path}/a`, never],
    ];
    for (const [module = "", ...args] of commands) {
      const child = new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", path(module), ...args],
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      try {
        await until(`${module} ${args[0]} ignores it`, () => ignoresUsr1(child.pid));
        if (args.includes(pidFile)) await until("its server has begun", () => read(pidFile));
      } finally {
        await endNow(child);
      }
    }
    const pid = Number(read(pidFile));
    Deno.kill(pid, "SIGKILL");
    await until("the server is gone", () => !isAlive(pid));
  },
);

function read(file: string): string | undefined {
  try {
    return Deno.readTextFileSync(file) || undefined;
  } catch {
    return undefined;
  }
}

/** A handler that evaluates what it is asked in a function of its own. */
const EVALUATE = `const AsyncFunction = (async () => {}).constructor;
  export default async (body, ctx) => {
    try {
      return "ok " + await new AsyncFunction("ctx", new TextDecoder().decode(body))(ctx);
    } catch (error) {
      return error.name + " " + error.message;
    }
  };`;

/** Code that runs in a thread and answers what it posts. */
function inThread(code: string): string {
  const source = `try { ${code} } catch (error) { postMessage(error.name + " " + error.message); }`;
  return `const url = "data:application/javascript," + encodeURIComponent(${
    JSON.stringify(source)
  });
    const thread = new Worker(url, { type: "module" });
    const said = await new Promise((resolve) => {
      thread.onmessage = ({ data }) => resolve(data);
      thread.onerror = (event) => (event.preventDefault(), resolve("Error " + event.message));
    });
    thread.terminate();
    if (!said.startsWith("done")) throw new Error(said);
    return said;`;
}

/** Whatever opens a debugger, or does its work without a port. */
const DOORS: Record<string, string> = {
  "opens it": `(await import("node:inspector")).open(0); return "open";`,
  "opens it at its usual port": `(await import("node:inspector")).open(); return "open";`,
  "has a session": `const { Session } = await import("node:inspector");
    new Session().connect(); return "connected";`,
  "has a session of promises": `const { Session } = await import("node:inspector/promises");
    new Session().connect(); return "connected";`,
  "has a session in a thread": inThread(`const { Session } = await import("node:inspector");
    new Session().connect(); postMessage("done");`),
  "has a session of the main thread in a thread": inThread(
    `const { Session } = await import("node:inspector");
    new Session().connectToMainThread(); postMessage("done");`,
  ),
  "has a session of the main thread in a thread as Node has them": `
    const { Worker } = await import("node:worker_threads");
    const code = 'new (require("node:inspector").Session)().connectToMainThread();';
    const thread = new Worker(code, { eval: true, execArgv: ["--inspect=0"] });
    return await new Promise((resolve, reject) => {
      thread.on("error", reject);
      thread.on("exit", () => resolve("connected"));
    });`,
  "runs a notebook": `await Deno.jupyter.broadcast("x", {}); return "sent";`,
};

const GRANTS = [[], ["--handler-allow-sys"], ["--handler-allow-net", "--handler-allow-sys"]];

for (const grants of GRANTS) {
  Deno.test(`a handler reaches no debugger when it has ${grants.join(" ") || "no grant"}`, {
    ignore,
  }, async () => {
    await using server = await ServerProcess.start({
      handler: EVALUATE,
      args: ["--workers", "1", ...grants],
    });
    await using peer = new Peer(server.endpoint);
    const through: string[] = [];
    for (const [what, code] of Object.entries(DOORS)) {
      const [answer = ""] = await peer.ask(code);
      if (!/^(NotCapable|Error)/.test(answer)) through.push(`${what}: ${answer}`);
    }
    assert.deepEqual(through, []);
    assert.deepEqual(listeningPorts(server.workers[0] ?? 0), []);
  });
}

Deno.test("a handler opens no debugger when it sends SIGUSR1 to its own process", {
  ignore,
}, async () => {
  const args = ["--workers", "1", "--handler-allow-net", "--handler-allow-sys"];
  await using server = await ServerProcess.start({ handler: EVALUATE, args });
  const [worker = 0] = server.workers;
  await using peer = new Peer(server.endpoint);
  await grownUp();
  const codes = [
    `Deno.kill(Deno.pid, "SIGUSR1"); return "sent";`,
    `Deno.addSignalListener("SIGUSR1", () => {}); Deno.kill(Deno.pid, "SIGUSR1"); return "sent";`,
    `const { default: process } = await import("node:process");
     process.on("SIGUSR1", () => {}); process.kill(process.pid, "SIGUSR1"); return "sent";`,
    `const { default: process } = await import("node:process");
     process._debugProcess(process.pid); return "sent";`,
  ];
  for (const code of codes) assert.deepEqual(await peer.ask(code), ["ok sent"]);
  assert.ok(ignoresUsr1(worker), statusOf(worker));
  assert.deepEqual(listeningPorts(worker), []);
  assert.deepEqual(server.noise, []);
  assert.ok(isAlive(worker));
});

Deno.test("a handler gets all of sys that has a name when it has --handler-allow-sys", async () => {
  await using server = await ServerProcess.start({
    handler: EVALUATE,
    args: ["--workers", "1", "--handler-allow-sys"],
  });
  await using peer = new Peer(server.endpoint);
  const codes = ["hostname", "osRelease", "osUptime", "loadavg", "networkInterfaces", "uid", "gid"];
  const os = ["cpus", "homedir", "userInfo", "hostname", "getPriority"];
  for (const code of [...codes, "systemMemoryInfo"].map((name) => `Deno.${name}()`)) {
    assert.match(String(await peer.ask(`return typeof ${code};`)), /^ok/, code);
  }
  for (const name of os) {
    const code = `return typeof (await import("node:os")).${name}();`;
    assert.match(String(await peer.ask(code)), /^ok/, name);
  }
});

Deno.test(
  "a worker opens no debugger when the handler is granted a NODE_OPTIONS that asks for it",
  {
    ignore,
  },
  async () => {
    const server = await ServerProcess.start({
      handler: EVALUATE,
      args: ["--workers", "1", "--handler-allow-env=NODE_OPTIONS"],
      env: { NODE_OPTIONS: "--inspect=0" },
    });
    await using _ = server;
    assert.deepEqual(listeningPorts(server.workers[0] ?? 0), []);
    const environment = Deno.readTextFileSync(`/proc/${server.workers[0]}/environ`);
    assert.ok(!environment.includes("NODE_OPTIONS"), environment);
  },
);

Deno.test("serve has the program ignore SIGUSR1 when it handles no signals", {
  ignore,
}, async () => {
  const code = `import { serve } from ${JSON.stringify(new URL("mod.ts", ROOT).href)};
    await using server = serve({ frontend: "tcp://127.0.0.1:0", workers: 1 });
    await server.ready;
    Deno.kill(Deno.pid, "SIGUSR1");
    console.log(Deno.readTextFileSync("/proc/self/status"));`;
  const url = `data:application/typescript,${encodeURIComponent(code)}`;
  const args = ["run", "-A", "--config", path("deno.json"), url];
  const { stdout, stderr } = await run(Deno.execPath(), args);
  const [, set = "0"] = /^SigIgn:\s*([0-9a-f]+)$/m.exec(stdout) ?? [];
  assert.ok((BigInt(`0x${set}`) & USR1) !== 0n, stderr);
  assert.doesNotMatch(stderr, /Debugger listening/);
});
