/** The unit of docs/operations.md under a real systemd, which is started in a namespace of its own. */

import { strict as assert } from "node:assert";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { childrenOf, endNow } from "../rig/processes.ts";
import { until } from "../rig/wait.ts";

const SYSTEMD = "/usr/lib/systemd/systemd";
const ISOLATED = [
  "--pid",
  "--fork",
  "--mount",
  "--cgroup",
  "--ipc",
  "--uts",
  "--net",
  "--kill-child",
];
const canBoot = Deno.build.os === "linux" && Deno.uid() === 0 && exists(SYSTEMD) && mayIsolate();
const PORT = 6660;
const DENO_DIR = Deno.env.get("DENO_DIR") ?? `${Deno.env.get("HOME")}/.cache/deno`;

function exists(file: string): boolean {
  try {
    return Deno.statSync(file).isFile;
  } catch {
    return false;
  }
}

/** Whether this machine lets us make namespaces, and mount in them what systemd needs. */
function mayIsolate(): boolean {
  const script =
    "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && mount -t proc proc /proc " +
    "&& mkdir /mnt/c && mount -t cgroup2 cgroup2 /mnt/c && ip link set lo up";
  const args = [...ISOLATED, "bash", "-c", script];
  const probe = new Deno.Command("unshare", { args, stdout: "null", stderr: "null" });
  try {
    return probe.outputSync().success;
  } catch {
    return false;
  }
}

/** The blocks of docs/operations.md that are units. */
function units(): string[] {
  const text = Deno.readTextFileSync(path("docs/operations.md"));
  return [...text.matchAll(/```ini\n(\[(?:Unit|Socket)\][^]*?)```/g)].map(([, unit = ""]) => unit);
}

/** The unit as the documents have it, but for where things are, who runs it, and what a whole system starts with. */
function adapted(unit: string): string {
  return unit
    .replace(/^User=.*\n/m, "")
    .replace(/^CacheDirectory=.*\n/m, "")
    .replace(/^WatchdogSec=.*$/m, "WatchdogSec=2")
    .replace("/srv/jobs", "/mnt/product")
    .replace("DENO_DIR=/var/cache/jobs", "DENO_DIR=/mnt/cache HOME=/tmp")
    .replace("/usr/bin/env deno", "/mnt/deno")
    .replace(/ --config \S+/, " --workers 1 --frontend tcp://127.0.0.1:6660,ipc:///run/jobs/front")
    .replace(/^\[Install\][^]*/m, "")
    .replace(/^(\[Unit\]\n|(?=\[Socket\]))/m, "[Unit]\nDefaultDependencies=no\n");
}

/** systemd, and commands in its namespace. */
class Machine {
  readonly #folder = new Folder();
  readonly #child: Deno.ChildProcess;

  constructor() {
    const [service = "", socket = ""] = units();
    this.#folder.write("jobs.service", adapted(service));
    this.#folder.write("jobs.socket", adapted(socket));
    const wants = "[Unit]\nDefaultDependencies=no\nWants=jobs.socket jobs.service\n";
    this.#folder.write("test.target", wants);
    const script = ["bash", path("tests/rig/systemd.sh")];
    const places = [this.#folder.path, path("."), Deno.execPath(), DENO_DIR];
    this.#child = new Deno.Command("unshare", {
      args: [...ISOLATED, ...script, ...places],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
  }

  /** Runs a command there; its output, or an empty text when it fails. */
  async run(...command: string[]): Promise<string> {
    const [systemd] = childrenOf(this.#child.pid);
    if (systemd === undefined) return "";
    const { stdout } = await run("nsenter", ["-t", `${systemd}`, "-a", ...command]);
    return stdout.trim();
  }

  /** A property of the unit. */
  async show(property: string): Promise<string> {
    return await this.run("systemctl", "show", "jobs.service", "-p", property, "--value");
  }

  async until(property: string, value: string): Promise<void> {
    await until(`${property} is ${value}`, async () => await this.show(property) === value);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endNow(this.#child);
    this.#folder[Symbol.dispose]();
  }
}

Deno.test({
  name:
    "systemd starts, reloads, watches and stops the unit of docs/operations.md, and holds its sockets",
  ignore: !canBoot,
  async fn() {
    await using machine = new Machine();
    await machine.until("ActiveState", "active");
    await machine.until("StatusText", "1 worker ready, 0 jobs running, 0 waiting");
    const ask = (endpoint: string) =>
      machine.run("env", "DENO_DIR=/mnt/cache", "HOME=/tmp", "/mnt/deno", "run", "-A", ...[
        "/mnt/product/client.ts",
        ...["--endpoint", endpoint, "--data", "hello"],
      ]);
    assert.equal(await ask(`tcp://127.0.0.1:${PORT}`), "hello");
    assert.equal(await ask("ipc:///run/jobs/front"), "hello");
    const first = await machine.show("MainPID");
    await machine.run("systemctl", "reload", "jobs.service");
    await machine.until("ActiveState", "active");
    assert.equal(await machine.show("MainPID"), first);
    await machine.run("kill", "-STOP", first);
    await until("it is started again", async () => Number(await machine.show("NRestarts")) === 1);
    await machine.until("ActiveState", "active");
    assert.equal(await ask("ipc:///run/jobs/front"), "hello", "its sockets are the same");
    await machine.run("systemctl", "stop", "jobs.socket", "jobs.service");
    await machine.until("ActiveState", "inactive");
    assert.equal(await machine.show("Result"), "success");
  },
});

Deno.test({
  name: "systemd-analyze finds nothing wrong with the units of docs/operations.md",
  ignore: !exists("/usr/bin/systemd-analyze"),
  async fn() {
    using folder = new Folder();
    const [service = "", socket = ""] = units();
    const runnable = service.replace("/usr/bin/env deno", Deno.execPath());
    const files = [
      folder.write("jobs.service", runnable),
      folder.write("jobs.socket", socket),
    ];
    const { code, stdout, stderr } = await run("systemd-analyze", ["verify", ...files]);
    assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
  },
});
