/** The filter of system calls: what its program says of each call, and what workers feel of it. */

import { strict as assert } from "node:assert";
import { callGrants } from "../../pool/grants.ts";
import { buildFilter, type Grants, type Machine } from "../../system/seccomp.ts";
import { locateLibrary } from "../../zmq/locate.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

const ignore = Deno.build.os !== "linux";

/** linux/audit.h. */
const ARCHITECTURES = { x86_64: 0xc000003e, aarch64: 0xc00000b7 } as const;
const PID = 4711;
const NOTHING: Grants = { net: false, sys: false };
const EVERYTHING: Grants = { net: true, sys: true };

const VERDICTS = new Map([[0x7fff0000, "allow"], [0x00050001, "EPERM"], [0x00050026, "ENOSYS"]]);

/** What the program says of a call: an interpreter for the instructions that it may have. */
function judge(
  program: Uint8Array,
  architecture: number,
  number: number,
  ...args: number[]
): string {
  const values = new Map([[0, number], [4, architecture]]);
  for (let index = 0; index < 6; index++) values.set(16 + 8 * index, args[index] ?? 0);
  const view = new DataView(program.buffer);
  let accumulator = 0;
  for (let at = 0; at < program.length / 8; at++) {
    const [code, value] = [view.getUint16(at * 8, true), view.getUint32(at * 8 + 4, true)];
    const jump = (holds: boolean) => at += view.getUint8(at * 8 + (holds ? 2 : 3));
    if (code === 0x06) return VERDICTS.get(value) ?? `verdict ${value}`;
    else if (code === 0x20) accumulator = values.get(value) ?? 0;
    else if (code === 0x54) accumulator = (accumulator & value) >>> 0;
    else if (code === 0x15) jump(accumulator === value);
    else if (code === 0x35) jump(accumulator >= value);
    else if (code === 0x45) jump((accumulator & value) !== 0);
    else throw new Error(`Unknown instruction ${code}`);
  }
  throw new Error("The program ends without a verdict");
}

/** Names and numbers of the kernel's calls, where its headers are installed. */
function callsOf(machine: Machine): Map<string, number> | undefined {
  const file = machine === "x86_64"
    ? "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"
    : "/usr/include/asm-generic/unistd.h";
  try {
    const lines = Deno.readTextFileSync(file).matchAll(/^#define __NR(?:3264)?_(\w+) (\d+)$/gm);
    const all = [...lines].map(([, name = "", number]): [string, number] => [name, Number(number)]);
    return new Map(all.filter(([name]) => name !== "syscalls"));
  } catch {
    return undefined;
  }
}

/** Calls that no grant allows, that one does, and that depend on their arguments. */
const NEVER = `execve execveat fork vfork ptrace process_vm_readv process_vm_writev process_madvise
  process_mrelease kcmp move_pages migrate_pages pidfd_open pidfd_getfd pidfd_send_signal tkill bpf
  perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register memfd_secret
  lookup_dcookie fanotify_init fanotify_mark name_to_handle_at open_by_handle_at add_key request_key
  keyctl personality modify_ldt uselib _sysctl nfsservctl iopl ioperm init_module finit_module
  delete_module create_module kexec_load kexec_file_load reboot syslog acct quotactl quotactl_fd
  swapon swapoff sethostname setdomainname settimeofday clock_settime clock_adjtime adjtimex vhangup
  mount umount2 pivot_root chroot mknod mknodat open_tree move_mount fsopen fsconfig fsmount fspick
  mount_setattr unshare setns capset`.split(/\s+/);
const FOR_NET = ["listen", "bind"];
const FOR_SYS =
  `bind setuid setgid setreuid setregid setresuid setresgid setgroups setfsuid setfsgid`
    .split(" ");
const BY_ARGUMENT = `kill tgkill rt_sigqueueinfo rt_tgsigqueueinfo prlimit64 clone socket`.split(
  " ",
);

for (const machine of ["x86_64", "aarch64"] as const) {
  const calls = callsOf(machine);
  for (const grants of [NOTHING, { net: true, sys: false }, { net: false, sys: true }]) {
    Deno.test(
      `buildFilter refuses what it should of all calls of ${machine} when the grants are ${
        JSON.stringify(grants)
      }`,
      { ignore: calls === undefined },
      () => {
        const program = buildFilter(machine, grants, PID);
        const granted = [...grants.net ? FOR_NET : [], ...grants.sys ? FOR_SYS : []];
        const refused = [...NEVER, ...FOR_NET, ...FOR_SYS, ...BY_ARGUMENT]
          .filter((name) => !granted.includes(name) && calls?.has(name));
        const found = [...calls ?? []]
          .filter(([, number]) =>
            judge(program, ARCHITECTURES[machine], number, 999, 999) === "EPERM"
          )
          .map(([name]) => name);
        assert.deepEqual(found.sort(), [...new Set(refused)].sort());
      },
    );
  }
}

Deno.test("buildFilter judges by arguments what depends on them", () => {
  const program = buildFilter("x86_64", NOTHING, PID);
  const open = buildFilter("x86_64", EVERYTHING, PID);
  const call = (number: number, ...args: number[]) =>
    judge(program, ARCHITECTURES.x86_64, number, ...args);
  const [clone, kill, tgkill, prctl, ioctl, socket, prlimit] = [56, 62, 234, 157, 16, 41, 302];
  const [THREAD, SIGCHLD] = [0x3d0f00, 17];
  assert.equal(call(clone, THREAD), "allow");
  assert.equal(call(clone, SIGCHLD), "EPERM");
  for (const number of [kill, tgkill]) {
    assert.equal(call(number, PID, 15), "allow");
    for (const other of [0, 1, PID + 1, 2 ** 32 - 1]) assert.equal(call(number, other), "EPERM");
  }
  assert.equal(call(prlimit, 0), "allow");
  assert.equal(call(prlimit, PID), "allow");
  assert.equal(call(prlimit, 1), "EPERM");
  const [DEATHSIG, NAME, TIOCSTI, FIONBIO] = [1, 15, 0x5412, 0x5421];
  assert.equal(call(prctl, DEATHSIG), "EPERM");
  assert.equal(call(prctl, NAME), "allow");
  assert.equal(call(ioctl, 0, TIOCSTI), "EPERM");
  assert.equal(call(ioctl, 0, FIONBIO), "allow");
  const [UNIX, INET, INET6, NETLINK, PACKET, ALG] = [1, 2, 10, 16, 17, 38];
  const [STREAM, DGRAM, RAW, CLOEXEC] = [1, 2, 3, 0o2000000];
  for (const family of [UNIX, INET, INET6]) {
    assert.equal(call(socket, family, STREAM | CLOEXEC), "allow");
    assert.equal(call(socket, family, DGRAM), "allow");
  }
  for (const family of [INET, INET6]) assert.equal(call(socket, family, RAW), "EPERM");
  for (const family of [PACKET, ALG, NETLINK]) assert.equal(call(socket, family, RAW), "EPERM");
  assert.equal(judge(open, ARCHITECTURES.x86_64, socket, NETLINK, RAW), "allow");
});

Deno.test("buildFilter refuses calls of another machine, of x32, and those that are younger than it", () => {
  for (const machine of ["x86_64", "aarch64"] as const) {
    const program = buildFilter(machine, EVERYTHING, PID);
    const [I386, GETPID, X32] = [0x40000003, 39, 0x40000000];
    assert.equal(judge(program, I386, GETPID), "EPERM");
    assert.equal(judge(program, ARCHITECTURES[machine], 462), "allow");
    assert.equal(judge(program, ARCHITECTURES[machine], 463), "ENOSYS");
    assert.equal(judge(program, ARCHITECTURES[machine], 435), "ENOSYS");
    const young = machine === "x86_64" ? "EPERM" : "ENOSYS";
    assert.equal(judge(program, ARCHITECTURES[machine], X32 + GETPID), young);
  }
});

Deno.test("callGrants has no filter for a handler that may start programs, and else by its grants", () => {
  assert.deepEqual(callGrants({}), NOTHING);
  assert.deepEqual(callGrants({ net: ["a:1"], sys: true, read: true }), EVERYTHING);
  assert.deepEqual(callGrants({ net: [], sys: false, run: [], all: false }), NOTHING);
  assert.equal(callGrants({ run: ["/bin/true"] }), undefined);
  assert.equal(callGrants({ run: true }), undefined);
  assert.equal(callGrants({ all: true }), undefined);
});

// ---- in the kernel ----

/** Asks the kernel for each call twice, before and after `confine`, and prints those that are refused then. */
const PROBE = `
  import { confine } from ${JSON.stringify(new URL("system/seccomp.ts", ROOT).href)};
  const [library, calls, grants] = [Deno.args[0], JSON.parse(Deno.args[1]), JSON.parse(Deno.args[2])];
  const { symbols } = Deno.dlopen(library, {
    syscall: { parameters: ["isize", "isize", "isize", "isize"], result: "isize" },
    zmq_errno: { parameters: [], result: "i32" },
  });
  const EPERM = 1;
  const refuses = ([, number, ...args]) => {
    // The runtime may use errno between the two calls.
    for (let attempt = 0; attempt < 5; attempt++) {
      const result = symbols.syscall(BigInt(number), ...args.map(BigInt));
      if (result === -1n && symbols.zmq_errno() === EPERM) return true;
      if (result >= 0n) return false;
    }
    return false;
  };
  confine(library, grants);
  console.log(JSON.stringify(calls.filter(refuses).map(([name]) => name)));
  const thread = new Worker("data:application/javascript,postMessage(1)", { type: "module" });
  await new Promise((resolve) => thread.onmessage = resolve);
  console.log("a thread");
  Deno.exit(0);`;

/** Harmless where they are not refused: arguments that can't mean anything, or what changes nothing. */
const HARMLESS: [name: string, x64: number, arm64: number, ...args: number[]][] = [
  ["listen", 50, 201, -1, 0, 0],
  ["bind", 49, 200, -1, 0, 0],
  ["execve", 59, 221, 0, 0, 0],
  ["execveat", 322, 281, -1, 0, 0],
  ["ptrace", 101, 117, -1, 0, 0],
  ["process_vm_readv", 310, 270, 0, 0, 0],
  ["bpf", 321, 280, -1, 0, 0],
  ["io_uring_setup", 425, 425, 0, 0, 0],
  ["userfaultfd", 323, 282, -1, 0, 0],
  ["perf_event_open", 298, 241, 0, 0, 0],
  ["keyctl", 250, 219, -1, 0, 0],
  ["unshare", 272, 97, 0, 0, 0],
  ["mount", 165, 40, 0, 0, 0],
  ["init_module", 175, 105, 0, 0, 0],
  ["setuid", 105, 146, -1, 0, 0],
  ["kill", 62, 129, 1, 0, 0],
  ["socket", 41, 198, 17, 3, 0],
  ["getpid", 39, 172, 0, 0, 0],
];

async function refusedCalls(grants: Grants): Promise<string[]> {
  const calls = HARMLESS.map(([name, x64, arm64, ...args]) => [
    name,
    Deno.build.arch === "x86_64" ? x64 : arm64,
    ...args,
  ]);
  const library = locateLibrary(Deno.env.get("ZMQ_LIBRARY")).path;
  const url = `data:application/typescript,${encodeURIComponent(PROBE)}`;
  const args = ["run", "-A", "--no-check", "--config", path("deno.json"), url, library];
  const texts = [calls, grants].map((value) => JSON.stringify(value));
  const { stdout, stderr } = await run(Deno.execPath(), [...args, ...texts]);
  const [refused = "", thread] = stdout.split("\n");
  assert.equal(thread, "a thread", stderr);
  return JSON.parse(refused);
}

Deno.test("confine has the kernel refuse what no grant allows, and lets threads start", {
  ignore,
}, async () => {
  const names = HARMLESS.map(([name]) => name).filter((name) => name !== "getpid");
  assert.deepEqual(await refusedCalls(NOTHING), names);
  const granted = ["listen", "bind", "setuid"];
  // Who is not root may not become another user anyway.
  const own = Deno.uid() === 0 ? granted : granted.slice(0, 2);
  assert.deepEqual(await refusedCalls(EVERYTHING), names.filter((name) => !own.includes(name)));
});

/** `Seccomp` and `NoNewPrivs` of each thread of a process, joined. */
function filtersOf(pid: number): string[] {
  return [...Deno.readDirSync(`/proc/${pid}/task`)].map(({ name }) => {
    const status = Deno.readTextFileSync(`/proc/${pid}/task/${name}/status`);
    return ["Seccomp", "NoNewPrivs"]
      .map((field) => new RegExp(`^${field}:\\s*(\\d)`, "m").exec(status)?.[1]).join();
  });
}

const CASES: [grants: string[], filter: string][] = [
  [[], "2,1"],
  [["--handler-allow-net", "--handler-allow-read"], "2,1"],
  [["--handler-allow-run=/bin/true"], "0,0"],
  [["--handler-allow-all"], "0,0"],
];

for (const [grants, filter] of CASES) {
  Deno.test(
    `each thread of a worker has ${filter === "2,1" ? "the" : "no"} filter when it has ${
      grants.join(" ") || "no grant"
    }`,
    { ignore },
    async () => {
      await using server = await ServerProcess.start({
        args: ["--workers", "1", ...grants],
        handler: "export default (body) => body;",
        permissions: ["-A"],
      });
      await using peer = new Peer(server.endpoint);
      assert.deepEqual(await peer.ask("x"), ["x"]);
      const threads = filtersOf(server.workers[0] ?? 0);
      assert.ok(threads.length > 3);
      assert.deepEqual([...new Set(threads)], [filter]);
    },
  );
}

Deno.test("the filter binds the process that runs dequeue(), too", { ignore }, async () => {
  using folder = new Folder();
  const file = `${folder.path}/pid`;
  const handler = `export default (body) => body;
    export async function dequeue() {
      Deno.writeTextFileSync(${JSON.stringify(file)}, String(Deno.pid));
      await new Promise((resolve) => setTimeout(resolve, 1e9));
    }`;
  const args = ["--dequeue-interval", "10ms", `--handler-allow-write=${file}`, "--workers", "1"];
  await using server = await ServerProcess.start({ handler, args });
  const pid = await until("it runs", () => readNumber(file));
  assert.deepEqual([...new Set(filtersOf(pid))], ["2,1"]);
  assert.equal(server.workers.length, 1);
});

function readNumber(file: string): number | undefined {
  try {
    return Number(Deno.readTextFileSync(file)) || undefined;
  } catch {
    return undefined;
  }
}

/** A handler that evaluates an expression of what it is asked. */
const EVALUATE = `const AsyncFunction = (async () => {}).constructor;
  export default async (body) => {
    try {
      return String(await new AsyncFunction("return " + new TextDecoder().decode(body))());
    } catch (error) {
      return error.name + ": " + error.message;
    }
  };`;

Deno.test("a handler does with the filter what its grants allow", { ignore }, async () => {
  using folder = new Folder();
  const args = [
    "--handler-allow-net",
    "--handler-allow-sys",
    `--handler-allow-read=${folder.path}`,
  ];
  const write = `--handler-allow-write=${folder.path}`;
  const handler = EVALUATE;
  await using server = await ServerProcess.start({
    handler,
    args: ["--workers", "1", ...args, write],
  });
  await using peer = new Peer(server.endpoint);
  const file = JSON.stringify(`${folder.path}/file`);
  const cases: [code: string, answer: RegExp][] = [
    [
      `(async () => {
        await using site = Deno.serve({ port: 0, onListen() {} }, () => new Response("served"));
        return await (await fetch("http://127.0.0.1:" + site.addr.port)).text();
      })()`,
      /^served$/,
    ],
    [
      `import("node:dgram").then(({ createSocket }) => new Promise((resolve, reject) => {
        const [one, other] = [createSocket("udp4"), createSocket("udp4")];
        for (const each of [one, other]) each.on("error", reject);
        other.on("message", (message) => (one.close(), other.close(), resolve(message.length)));
        other.bind(0, "127.0.0.1", () => one.send("abc", other.address().port, "127.0.0.1"));
      }))`,
      /^3$/,
    ],
    [`Deno.resolveDns("localhost", "A").then(() => "resolved", () => "resolved")`, /^resolved$/],
    [`Deno.networkInterfaces().length > 0`, /^true$/],
    [`(Deno.writeTextFileSync(${file}, "x"), Deno.readTextFileSync(${file}))`, /^x$/],
    [`crypto.subtle.digest("SHA-256", new Uint8Array(1)).then(() => "digest")`, /^digest$/],
    [`(Deno.kill(Deno.pid, "SIGCONT"), "sent")`, /^(sent|NotCapable)/],
    [
      `new Promise((resolve) => {
        const thread = new Worker("data:application/javascript,postMessage('thread')",
          { type: "module" });
        thread.onmessage = ({ data }) => (thread.terminate(), resolve(data));
      })`,
      /^thread$/,
    ],
    [`import("node:fs/promises").then((fs) => fs.stat(${file})).then((s) => s.size)`, /^1$/],
    [`import("node:zlib").then((zlib) => zlib.gzipSync("x").length > 0)`, /^true$/],
    [
      `import("node:sqlite").then(({ DatabaseSync }) => new DatabaseSync(":memory:")
        .prepare("select 1 as one").get().one)`,
      /^1$/,
    ],
  ];
  for (const [code, expected] of cases) assert.match(String(await peer.ask(code)), expected, code);
});

Deno.test(
  "a filtered worker connects when the backend is tcp",
  { ignore },
  async () => {
    await using server = await ServerProcess.start({
      args: ["--workers", "1", "--backend", "tcp://127.0.0.1:0"],
    });
    await using peer = new Peer(server.endpoint);
    assert.deepEqual(await peer.ask("x"), ["x"]);
    assert.deepEqual([...new Set(filtersOf(server.workers[0] ?? 0))], ["2,1"]);
  },
);
