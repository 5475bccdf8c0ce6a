/** The sandbox from outside: what a handler may do without grants, and with each of them. */

import { strict as assert } from "node:assert";
import { ROOT } from "../rig/checkout.ts";
import { forgetSites } from "../rig/deno_cache.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { isAlive } from "../rig/processes.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

const ONE_WORKER = ["--workers", "1"];

/**
 * A handler that does what the body's first frame says, an expression of `arg` (the second one), and
 * answers "ok" and the result, or the error's name.
 */
const ATTEMPT = `const decoder = new TextDecoder();
  const AsyncFunction = (async () => {}).constructor;
  export default async (_body, { frames }) => {
    const [code, arg, library] = frames.map((frame) => decoder.decode(frame));
    try {
      return ["ok", String(await new AsyncFunction("arg", "library", "return " + code)(arg, library))];
    } catch (error) {
      return [error.name, String(error.message).slice(0, 500)];
    }
  };`;

async function startAttempts(grants: string[], more: Record<string, string> = {}) {
  return await ServerProcess.start({
    handler: ATTEMPT,
    args: [...ONE_WORKER, ...grants],
    env: more,
  });
}

/** What a handler can't do without a grant; `arg` is a file that exists, `library` what its worker opened. */
const FORBIDDEN: Record<string, string> = {
  "read a file": "Deno.readTextFileSync(arg)",
  "read /proc": 'Deno.readTextFileSync("/proc/self/status")',
  "look for a file": "Deno.statSync(arg)",
  "list a folder": 'Deno.readDirSync("/tmp").next()',
  "read a file as Node does": 'await import("node:fs").then((fs) => fs.readFileSync(arg))',
  "write a file": 'Deno.writeTextFileSync(arg, "x")',
  "remove a file": "Deno.removeSync(arg)",
  "make a temporary file": "Deno.makeTempFileSync()",
  "write a file as Node does": 'await import("node:fs").then((fs) => fs.writeFileSync(arg, "x"))',
  "open a TCP connection": 'await Deno.connect({ hostname: "127.0.0.1", port: 1 })',
  "listen": 'Deno.listen({ hostname: "127.0.0.1", port: 0 })',
  "open a Unix socket": 'await Deno.connect({ transport: "unix", path: arg })',
  "fetch": 'await fetch("http://127.0.0.1:9123/")',
  "fetch a file": 'await fetch("file://" + arg)',
  "open a WebSocket": 'new WebSocket("ws://127.0.0.1:1/")',
  "resolve a name": 'await Deno.resolveDns("localhost", "A")',
  "read a variable": 'Deno.env.get("HOME")',
  "read all variables": "Deno.env.toObject()",
  "set a variable": 'Deno.env.set("HOME", "x")',
  "run a command": 'new Deno.Command("/bin/true").outputSync()',
  "run Deno": `new Deno.Command(${JSON.stringify(Deno.execPath())}).outputSync()`,
  "run a command as Node does":
    'await import("node:child_process").then((child) => child.execFileSync("/bin/true"))',
  "send a signal": 'Deno.kill(Deno.ppid, "SIGCONT")',
  "open a library": "Deno.dlopen(arg, {})",
  "open the one library that its worker has": "Deno.dlopen(library, {})",
  "open it again": `await import(${
    JSON.stringify(new URL("zmq/library.ts", ROOT).href)
  }).then((m) => m.openLibrary(library))`,
  "take a pointer": "Deno.UnsafePointer.of(new Uint8Array(8))",
  "make a pointer": "Deno.UnsafePointer.create(4096n)",
  "load an addon":
    'await import("node:process").then(({ default: p }) => p.dlopen({ exports: {} }, library))',
  "ask for the host's name": "Deno.hostname()",
  "ask for the host's name as Node does": 'await import("node:os").then((os) => os.hostname())',
  "ask for the kernel": "Deno.osRelease()",
  "ask for the load": "Deno.loadavg()",
  "ask for its user": "Deno.uid()",
  "ask for the interfaces": "Deno.networkInterfaces()",
};

Deno.test("a handler can do nothing outside its own memory when nothing is granted", async () => {
  using folder = new Folder();
  const file = folder.write("file.txt", "secret");
  await using server = await startAttempts([]);
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("1 + Number(arg)", "1"), ["ok", "2"]);
  const wrong: string[] = [];
  for (const [what, code] of Object.entries(FORBIDDEN)) {
    const [result, detail] = await peer.ask(code, file, libraries(server)[0] ?? "");
    if (result !== "NotCapable") wrong.push(`${what}: ${result} ${detail}`);
  }
  assert.deepEqual(wrong, []);
  assert.equal(Deno.readTextFileSync(file), "secret");
  assert.equal(server.workers.length, 1);
});

Deno.test("a handler can't import what its own modules do not name when nothing is granted", async () => {
  using folder = new Folder();
  const file = folder.write("other.ts", 'export const secret = "secret";');
  const answer = () =>
    new Response('export default "remote"', {
      headers: { "content-type": "application/javascript" },
    });
  let asked = 0;
  const count = () => (asked++, answer());
  await using site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, count);
  await using server = await startAttempts([]);
  await using peer = new Peer(server.endpoint);
  for (const target of [`file://${file}`, `http://127.0.0.1:${site.addr.port}/x.js`]) {
    const [result, message] = await peer.ask("(await import(arg)).secret", target);
    assert.notEqual(result, "ok");
    assert.match(message ?? "", /Requires (read|import) access/);
  }
  assert.equal(asked, 0);
});

Deno.test("a handler can't get a permission by asking when nothing is granted", async () => {
  await using server = await startAttempts([]);
  await using peer = new Peer(server.endpoint);
  for (const name of ["read", "write", "net", "env", "run", "sys", "ffi", "import"]) {
    for (const ask of ["query", "request", "revoke"]) {
      const code = `await Deno.permissions.${ask}({ name: arg }).then(({ state }) => state)`;
      const [result, state] = await peer.ask(code, name);
      assert.equal(result, "ok", `${ask} ${name}`);
      assert.notEqual(state, "granted", `${ask} ${name}`);
    }
  }
});

Deno.test("a handler gets no more in a thread of its own when nothing is granted", async () => {
  using folder = new Folder();
  const file = folder.write("file.txt", "secret");
  await using server = await startAttempts([]);
  await using peer = new Peer(server.endpoint);
  const cases = [
    ["Deno.dlopen(arg, {})", libraries(server)[0]],
    ["Deno.UnsafePointer.of(new Uint8Array(8))", ""],
    ["Deno.readTextFileSync(arg)", file],
    ['Deno.env.get("HOME")', ""],
    ["Deno.hostname()", ""],
  ];
  assert.deepEqual(await peer.ask(inThread("arg + 1"), "1"), ["ok", "ok 11"]);
  for (const [code = "", arg = ""] of cases) {
    assert.deepEqual(await peer.ask(inThread(code), arg), ["ok", "NotCapable"], code);
  }
});

/** An expression that gives what `code` gives in a thread, or its error's name. */
function inThread(code: string): string {
  const source = `self.onmessage = ({ data: arg }) => {
    let said;
    try { said = "ok " + (${code}); } catch (error) { said = error.name; }
    self.postMessage(said);
  };`;
  const url = `data:application/javascript,${encodeURIComponent(source)}`;
  return `await new Promise((resolve) => {
    const thread = new Worker(${JSON.stringify(url)}, { type: "module" });
    thread.onmessage = ({ data }) => (thread.terminate(), resolve(data));
    thread.onerror = (event) => (event.preventDefault(), resolve("error " + event.message));
    thread.postMessage(arg);
  })`;
}

/** The files that a server's workers have opened through FFI: the C library's. */
function libraries(server: ServerProcess): string[] {
  const maps = Deno.readTextFileSync(`/proc/${server.workers[0]}/maps`);
  return [...new Set(maps.match(/\/\S*libc[.-]\S*/g))];
}

// ---- memory: a handler shares it with the worker's own code ----

Deno.test("a handler can't read memory through the worker's own classes when nothing is granted", async () => {
  const [message, socket, poller] = ["zmq/message", "zmq/socket", "system/poller"].map((name) =>
    JSON.stringify(new URL(`${name}.ts`, ROOT).href)
  );
  // Importing the worker's modules is its right; making their methods its own is what must not help.
  const handler = `
    import { Message } from ${message};
    import { Context, Socket } from ${socket};
    import { Poller } from ${poller};
    let grabbed;
    for (const { prototype } of [Message, Context, Socket, Poller]) {
      for (const name of Object.getOwnPropertyNames(prototype)) {
        const { value } = Object.getOwnPropertyDescriptor(prototype, name);
        if (name === "constructor" || typeof value !== "function") continue;
        try {
          prototype[name] = function (...args) {
            if (prototype === Message.prototype) grabbed ??= { message: this, bytes: value };
            return value.apply(this, args);
          };
        } catch { /* it is guarded */ }
      }
    }
    export default (body) => {
      if (grabbed === undefined) return "nothing grabbed";
      // A zmq_msg_t of libzmq's type for constant data, which begins where the client says.
      const { slot } = grabbed.message;
      const before = slot.slice();
      const view = new DataView(slot.buffer, slot.byteOffset);
      view.setBigUint64(8, BigInt(new TextDecoder().decode(body)), true);
      view.setBigUint64(16, 4n, true);
      slot[42] = 104;
      const read = grabbed.bytes.call(grabbed.message, 4);
      slot.set(before);
      return ["read", read];
    };`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  const maps = Deno.readTextFileSync(`/proc/${server.workers[0]}/maps`).split("\n");
  const program = maps.find((line) => / 00000000 .*\/deno$/.test(line));
  assert.ok(program);
  // An ELF file begins with 7F "ELF".
  assert.deepEqual(await peer.ask(`0x${program.split("-")[0]}`), ["nothing grabbed"]);
});

Deno.test("a handler can't make the worker write past a buffer when it replaces what is global", async () => {
  const handler = `
    const { Uint8Array: Real } = globalThis;
    export default (body) => {
      if (body.length === 0) {
        try { globalThis.Uint8Array = class extends Real { constructor() { super(1); } }; } catch {}
      }
      return String(body.length);
    };`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask(""), ["0"]);
  assert.deepEqual(await peer.ask("x".repeat(20)), ["20"]);
});

Deno.test("a handler can't make the worker send what lies behind a buffer when it patches or hides a length", async () => {
  const handler = `
    const all = Object.getPrototypeOf(Uint8Array.prototype);
    const { get } = Object.getOwnPropertyDescriptor(all, "length");
    export default (body) => {
      if (get.call(body) === 0) return Object.defineProperty(new Uint8Array(2), "length", { value: 500 });
      try { Object.defineProperty(all, "length", { get: () => 500 }); } catch {}
      return new Uint8Array(2);
    };`;
  await using server = await ServerProcess.start({ handler, args: ONE_WORKER });
  await using peer = new Peer(server.endpoint);
  for (const body of ["", "x"]) {
    peer.send("", body);
    assert.deepEqual((await peer.receive()).map(({ length }) => length), [0, 2]);
  }
});

// ---- grants ----

interface Granted {
  flags: (place: Place) => string[];
  /** Allowed by the flags. */
  can: Record<string, (place: Place) => string>;
  /** Still refused. */
  cannot: Record<string, (place: Place) => string>;
}

interface Place {
  folder: string;
  other: string;
  port: number;
  otherPort: number;
}

const read = (file: string) => `Deno.readTextFileSync(${JSON.stringify(file)})`;
const write = (file: string) => `Deno.writeTextFileSync(${JSON.stringify(file)}, "x")`;
const get = (port: number) =>
  `await fetch("http://127.0.0.1:${port}/").then((response) => response.text())`;
const execute = (program: string) => `new Deno.Command("${program}").outputSync().code`;
const load = (port: number) =>
  `(await import("http://127.0.0.1:${port}/${crypto.randomUUID()}.js")).default`;

const GRANTS: Record<string, Granted> = {
  "--handler-allow-read=…": {
    flags: ({ folder }) => [`--handler-allow-read=${folder}`],
    can: { "read there": ({ folder }) => read(`${folder}/file.txt`) },
    cannot: {
      "read elsewhere": ({ other }) => read(`${other}/file.txt`),
      "read by a detour": ({ folder, other }) =>
        read(`${folder}/../${other.split("/").at(-1)}/file.txt`),
      "write there": ({ folder }) => write(`${folder}/file.txt`),
    },
  },
  "--handler-allow-read": {
    flags: () => ["--handler-allow-read"],
    can: { "read anywhere": ({ other }) => read(`${other}/file.txt`) },
    cannot: {
      "write": ({ folder }) => write(`${folder}/file.txt`),
      "read the environment": () => read("/proc/self/environ"),
      "read memory": () => "Deno.openSync('/proc/self/mem')",
    },
  },
  "--handler-allow-write=…": {
    flags: ({ folder }) => [`--handler-allow-write=${folder}`],
    can: { "write there": ({ folder }) => write(`${folder}/written.txt`) },
    cannot: {
      "write elsewhere": ({ other }) => write(`${other}/file.txt`),
      "read there": ({ folder }) => read(`${folder}/file.txt`),
    },
  },
  "--handler-allow-net=…": {
    flags: ({ port }) => [`--handler-allow-net=127.0.0.1:${port}`],
    can: { "fetch from there": ({ port }) => get(port) },
    cannot: {
      "fetch from another port": ({ otherPort }) => get(otherPort),
      "import from there": ({ port }) => load(port),
      "read": ({ folder }) => read(`${folder}/file.txt`),
    },
  },
  "--handler-allow-net": {
    flags: () => ["--handler-allow-net"],
    can: { "fetch": ({ otherPort }) => get(otherPort) },
    cannot: { "run": () => execute("/bin/true") },
  },
  "--handler-allow-env=…": {
    flags: () => ["--handler-allow-env=PREFORK_TEST_ONE,PREFORK_TEST_TWO"],
    can: {
      "read the first": () => 'Deno.env.get("PREFORK_TEST_ONE") === "1" || fail()',
      "read the second": () => 'Deno.env.get("PREFORK_TEST_TWO") === "2" || fail()',
    },
    cannot: {
      "read another": () => 'Deno.env.get("PREFORK_TEST_THREE")',
      "read what Deno needs": () => 'Deno.env.get("HOME")',
      "read all": () => "Deno.env.toObject()",
    },
  },
  "--handler-allow-env": {
    flags: () => ["--handler-allow-env"],
    can: { "read any": () => 'Deno.env.toObject().PREFORK_TEST_THREE === "3" || fail()' },
    cannot: { "ask for the host": () => "Deno.hostname()" },
  },
  "--handler-allow-run=…": {
    flags: () => ["--handler-allow-run=/bin/true"],
    can: { "run it": () => execute("/bin/true") },
    cannot: {
      "run another": () => execute("/bin/sleep"),
      "read": ({ folder }) => read(`${folder}/file.txt`),
    },
  },
  "--handler-allow-sys=…": {
    flags: () => ["--handler-allow-sys=hostname"],
    can: { "ask for it": () => "Deno.hostname()" },
    cannot: { "ask for another": () => "Deno.osRelease()" },
  },
  "--handler-allow-sys": {
    flags: () => ["--handler-allow-sys"],
    can: { "ask for any": () => "Deno.osRelease() + Deno.hostname()" },
    cannot: { "read": ({ folder }) => read(`${folder}/file.txt`) },
  },
  "--handler-allow-import=…": {
    flags: ({ port }) => [`--handler-allow-import=127.0.0.1:${port}`],
    can: { "import from there": ({ port }) => load(port) },
    cannot: {
      "import from elsewhere": ({ otherPort }) => load(otherPort),
      "fetch from there": ({ port }) => get(port),
    },
  },
};

const TEST_VARIABLES = {
  PREFORK_TEST_ONE: "1",
  PREFORK_TEST_TWO: "2",
  PREFORK_TEST_THREE: "3",
};

/** Two small sites, two folders; gone at the end, with what Deno has cached of the sites. */
async function inPlace(body: (place: Place) => Promise<void>): Promise<void> {
  using folder = new Folder();
  using other = new Folder();
  for (const each of [folder, other]) each.write("file.txt", "content");
  const answer = () =>
    new Response("export default 1", { headers: { "content-type": "application/javascript" } });
  const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  await using site = Deno.serve(options, answer);
  await using otherSite = Deno.serve(options, answer);
  const [port, otherPort] = [site.addr.port, otherSite.addr.port];
  try {
    await body({ folder: folder.path, other: other.path, port, otherPort });
  } finally {
    await forgetSites(port, otherPort);
  }
}

for (const [flag, { flags, can, cannot }] of Object.entries(GRANTS)) {
  Deno.test(`a handler can do exactly what is granted when it has ${flag}`, async () => {
    await inPlace(async (place) => {
      await using server = await startAttempts(flags(place), TEST_VARIABLES);
      await using peer = new Peer(server.endpoint);
      for (const [what, code] of Object.entries(can)) {
        const [result, detail] = await peer.ask(code(place));
        assert.equal(result, "ok", `${what}: ${detail}`);
      }
      for (const [what, code] of Object.entries(cannot)) {
        const [result, detail] = await peer.ask(code(place));
        const refused = result === "NotCapable" || /Requires import access/.test(detail ?? "");
        assert.ok(refused, `${what}: ${result} ${detail}`);
      }
      assert.equal((await peer.ask("Deno.dlopen('/x', {})"))[0], "NotCapable");
    });
  });
}

Deno.test("a handler can do everything when it has --handler-allow-all", async () => {
  await inPlace(async (place) => {
    await using server = await startAttempts(["--handler-allow-all"], TEST_VARIABLES);
    await using peer = new Peer(server.endpoint);
    const { folder, other, port, otherPort } = place;
    const codes = [
      read(`${folder}/file.txt`),
      write(`${other}/written.txt`),
      get(port),
      load(otherPort),
      execute("/bin/true"),
      'Deno.env.get("PREFORK_TEST_ONE") === "1" || fail()',
      "Deno.hostname()",
    ];
    for (const code of codes) {
      const [result, detail] = await peer.ask(code);
      assert.equal(result, "ok", `${code}: ${detail}`);
    }
  });
});

Deno.test("a handler can open a library when it has --handler-allow-all", async () => {
  await using server = await startAttempts(["--handler-allow-all"]);
  await using peer = new Peer(server.endpoint);
  const [library] = libraries(server);
  assert.deepEqual(await peer.ask("Deno.dlopen(arg, {}) !== undefined", library ?? ""), [
    "ok",
    "true",
  ]);
});

Deno.test("a handler gets no more than the server has when it has --handler-allow-all", async () => {
  const permissions = ["read", "write", "env", "run", "ffi"].map((name) => `--allow-${name}`);
  await using server = await ServerProcess.start({
    handler: ATTEMPT,
    args: [...ONE_WORKER, "--handler-allow-all"],
    permissions: ["--no-prompt", ...permissions],
  });
  await using peer = new Peer(server.endpoint);
  assert.equal((await peer.ask('Deno.env.get("PATH")'))[0], "ok");
  assert.equal((await peer.ask(get(9123)))[0], "NotCapable");
  assert.equal((await peer.ask("Deno.hostname()"))[0], "NotCapable");
});

// ---- what a worker is given ----

/** What Deno itself needs to find its cache and the network. */
const LISTED = [
  "DENO_NO_UPDATE_CHECK",
  "HOME",
  "PATH",
  "TMPDIR",
  "LANG",
  "TZ",
  "NO_COLOR",
  "XDG_CACHE_HOME",
  "DENO_DIR",
  "DENO_CERT",
  "DENO_TLS_CA_STORE",
  "DENO_AUTH_TOKENS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
  "SSL_CERT_FILE",
  "SSL_CERT_DIR",
  "NODE_EXTRA_CA_CERTS",
  "NPM_CONFIG_REGISTRY",
  "JSR_URL",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
  "http_proxy",
  "https_proxy",
  "no_proxy",
];

function environmentOf(pid: number | undefined): Record<string, string> {
  const entries = Deno.readTextFileSync(`/proc/${pid}/environ`).split("\0").filter((line) => line);
  return Object.fromEntries(entries.map((line) => {
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

Deno.test("a worker's environment holds what Deno needs and what is granted, and nothing else", async () => {
  const secrets = { AWS_SECRET_ACCESS_KEY: "secret", LD_PRELOAD: "", DENO_TEST_SECRET: "secret" };
  for (const grants of [[], ["--handler-allow-env=PREFORK_TEST_ONE,PREFORK_TEST_UNSET"]]) {
    const args = [...ONE_WORKER, ...grants];
    await using server = await ServerProcess.start({
      args,
      env: { ...secrets, ...TEST_VARIABLES },
      features: [["Deno", { NAMES: LISTED.join(",") }]],
    });
    const environment = environmentOf(server.workers[0]);
    const more = Object.keys(environment).filter((name) => !LISTED.includes(name));
    assert.deepEqual(more, grants.length === 0 ? [] : ["PREFORK_TEST_ONE"]);
    assert.equal(environment.PATH, Deno.env.get("PATH"));
  }
});

Deno.test("a worker's token and backend show in no argument and no variable", async () => {
  const grants = ["--handler-allow-env", "--handler-allow-read", "--handler-allow-sys"];
  await using server = await startAttempts(grants);
  await using peer = new Peer(server.endpoint);
  const seen = [
    ...await peer.ask("JSON.stringify(Deno.args)"),
    ...await peer.ask("JSON.stringify(Deno.env.toObject())"),
    ...await peer.ask("Deno.mainModule"),
    ...await peer.ask(
      'JSON.stringify(await import("node:process").then((p) => [p.argv, p.execArgv]))',
    ),
    JSON.stringify(environmentOf(server.workers[0])),
  ].join("\n");
  // What ps shows is the title, which names the backend.
  const title = Deno.readTextFileSync(`/proc/${server.workers[0]}/cmdline`);
  const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;
  const folder = server.backend.replace("ipc://", "").replace(/\/[^/]*$/, "");
  assert.match(folder, /^\/.+\/.+/);
  assert.ok(!seen.includes(folder), seen);
  assert.doesNotMatch(seen + title, uuid);
});

Deno.test("the backend lies in a folder that only the server's user can enter, and goes with the server", async () => {
  await using server = await ServerProcess.start({ args: ONE_WORKER });
  const folder = server.backend.replace("ipc://", "").replace(/\/[^/]*$/, "");
  assert.equal((Deno.statSync(folder).mode ?? 0) & 0o777, 0o700);
  server.signal("SIGTERM");
  await server.ended();
  assert.throws(() => Deno.statSync(folder), Deno.errors.NotFound);
});

Deno.test("a worker leaves when its handler closes what ties it to the server", async () => {
  await using server = await startAttempts([]);
  await using peer = new Peer(server.endpoint);
  const [worker] = server.workers;
  assert.ok(worker);
  peer.send("", "Deno.stdin.close()");
  await until("it is gone", () => !isAlive(worker));
});
