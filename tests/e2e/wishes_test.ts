/** Signals that come twice, to the whole group of processes, or because a terminal is closed. */

import { strict as assert } from "node:assert";
import { StopWish, Terminal } from "../../ops/signals.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Gate } from "../rig/gate.ts";
import { lineIn, linesOf, readLog } from "../rig/log_lines.ts";
import { askOnce, Peer } from "../rig/peer.ts";
import { ENVIRONMENT, ServerProcess } from "../rig/server_process.ts";
import { LIMIT, within } from "../rig/wait.ts";

// ---- a second wish to stop ----

Deno.test("StopWish takes the same signal for one wish when it comes again within a second", () => {
  for (const signal of ["SIGTERM", "SIGINT", "SIGQUIT"] as const) {
    const wish = new StopWish();
    assert.equal(wish.judge(signal, false, 5000), "stop");
    assert.equal(wish.judge(signal, true, 5000), "same");
    assert.equal(wish.judge(signal, true, 5999), "same");
    assert.equal(wish.judge(signal, true, 6000), "kill");
  }
});

Deno.test("StopWish tells one wish from another by what they ask for", () => {
  const asked = (first: "SIGINT" | "SIGQUIT", second: "SIGTERM" | "SIGQUIT") => {
    const wish = new StopWish();
    wish.judge(first, false, 0);
    return wish.judge(second, true, 10);
  };
  assert.equal(asked("SIGINT", "SIGTERM"), "same");
  assert.equal(asked("SIGQUIT", "SIGTERM"), "kill");
  assert.equal(asked("SIGINT", "SIGQUIT"), "kill");
});

Deno.test("StopWish kills at once when the server is stopping for another reason", () => {
  assert.equal(new StopWish().judge("SIGTERM", true, 0), "kill");
});

Deno.test("serve lets the running job end when one Ctrl-C comes as two signals", async () => {
  using gate = new Gate();
  await using server = await ServerProcess.start({
    handler: gate.handler,
    args: ["--workers", "1", gate.grant],
  });
  await using peer = new Peer(server.endpoint);
  peer.send("", "x");
  await server.line("started");
  const { pid } = server;
  await run("/bin/sh", ["-c", `kill -INT ${pid}; kill -INT ${pid}`]);
  await server.line("stopping");
  // One more wish would have killed the worker by the time that the state is logged.
  await server.state();
  gate.open();
  assert.deepEqual(await peer.receiveText(), ["", "x"]);
  assert.equal((await server.ended()).code, 0);
});

// ---- the whole group ----

Deno.test("serve loses no worker when what means something to the server comes to them too", async () => {
  const handler = "export default () => String(Deno.pid);";
  await using server = await ServerProcess.start({ handler, args: ["--workers", "1"] });
  const [worker = 0] = server.workers;
  for (const signal of ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU", "SIGALRM"] as const) {
    Deno.kill(worker, signal);
    assert.deepEqual(await askOnce(server.endpoint, "x"), [String(worker)]);
  }
  await run("/bin/sh", ["-c", `kill -HUP ${server.pid} ${server.workers.join(" ")}`]);
  await server.line("reloaded");
  await server.line("worker exited");
  const exits = linesOf(server, "worker exited");
  assert.deepEqual(exits.map(({ reason, code }) => [reason, code]), [["reload", 0]]);
});

// ---- terminals ----

/** A terminal that can be closed. */
class Tty {
  open = true;
  isTerminal(): boolean {
    return this.open;
  }
}

Deno.test("Terminal is closing when it was there at the last look and is not any more", () => {
  const tty = new Tty();
  const terminal = new Terminal([tty, { isTerminal: () => false }]);
  assert.equal(terminal.isClosing, false);
  terminal.look();
  tty.open = false;
  assert.equal(terminal.isClosing, true);
  // A signal that comes later has another cause.
  terminal.look();
  assert.equal(terminal.isClosing, false);
  terminal.close();
});

Deno.test("Terminal is never closing when there was none", () => {
  const tty = new Tty();
  tty.open = false;
  const terminal = new Terminal([tty]);
  assert.equal(terminal.isClosing, false);
  tty.open = true;
  assert.equal(terminal.isClosing, false);
});

/** Runs a command in a terminal, and closes that when it is told to on stdin. */
const IN_TERMINAL = `import os, pty, select, sys
pid, fd = pty.fork()
if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])
while True:
    ready, _, _ = select.select([0, fd], [], [])
    if 0 in ready: break
    os.read(fd, 4096)
os.close(fd)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`;

const PYTHON = "/usr/bin/python3";

function hasPython(): boolean {
  try {
    return Deno.build.os === "linux" && Deno.statSync(PYTHON).isFile;
  } catch {
    return false;
  }
}

Deno.test("serve stops when its terminal is closed", { ignore: !hasPython() }, async () => {
  using folder = new Folder();
  const log = `${folder.path}/log`;
  const own = ["--log-file", log, "--log-format", "json", "--frontend", "tcp://127.0.0.1:0"];
  const serve = [Deno.execPath(), "run", "-A", path("mod.ts"), ...own, "--workers", "1"];
  const terminal = new Deno.Command(PYTHON, {
    args: ["-c", IN_TERMINAL, ...serve],
    env: ENVIRONMENT,
    stdin: "piped",
    stdout: "null",
    signal: AbortSignal.timeout(LIMIT),
  }).spawn();
  await lineIn(log, "worker ready");
  await terminal.stdin.close();
  assert.equal((await within("the server has ended", terminal.status)).code, 0);
  const [stopping] = readLog(log).filter(({ message }) => message === "stopping");
  assert.equal(stopping?.reason, "terminal closed");
});
