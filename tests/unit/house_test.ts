/**
 * The house rules: who imports whom, who names what the system gives, and that importing does nothing.
 * Read from the source text, comments left out.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { path, ROOT } from "../rig/checkout.ts";
import { Folder } from "../rig/folder.ts";
import { text } from "../rig/text.ts";
import { LIMIT } from "../rig/wait.ts";

const FOLDERS = [
  "admin",
  "auth",
  "broker",
  "cli",
  "client",
  "join",
  "ops",
  "options",
  "pool",
  "ports",
  "sources",
  "store",
  "system",
  "wire",
  "worker",
  "zmq",
];
const ROOMS = ["mod.ts", "server.ts", "broker.ts", "client.ts", "worker.ts", ...FOLDERS];

/**
 * What each room, or file, may import besides its own room; `type` in front: types only. A file with a row of
 * its own has that in addition to its room's, except for the actors, which have no room.
 */
const RULES: Record<string, string[]> = {
  "mod.ts": [
    "server.ts",
    "auth/access.ts",
    "auth/join_keys.ts",
    "cli/serve.ts",
    "ops",
    "options/resolve.ts",
    "type options/settings.ts",
    "pool",
    "type ports/messages.ts",
    "system",
    "type wire/exit_reasons.ts",
    "wire/worker_config.ts",
    "type worker/compiled.ts",
    "type worker/handler.ts",
    "zmq/locate.ts",
  ],
  "server.ts": [
    "auth",
    "join",
    "ops",
    "type options/settings.ts",
    "pool",
    "ports/plane.ts",
    "type ports/messages.ts",
    "system",
    "type wire/worker_config.ts",
    "type worker.ts",
    "zmq/descriptors.ts",
    "zmq/locate.ts",
    "zmq/version.ts",
    "type zmq/library.ts",
  ],
  "broker.ts": ["broker", "wire/request.ts"],
  "client.ts": [
    "cli/client.ts",
    "client",
    "system",
    "type zmq/library.ts",
    "zmq/locate.ts",
  ],
  "worker.ts": ["system", "wire/worker_config.ts", "worker"],
  admin: [
    "options/durations.ts",
    "broker/histogram.ts",
    "type ops",
    "ops/control.ts",
    "ops/log_ring.ts",
    "type options/settings.ts",
    "system",
    "type ports/measures.ts",
    "type store/messages.ts",
    "wire/exit_reasons.ts",
    "wire/job_status.ts",
    "wire/json_object.ts",
    "wire/submission.ts",
  ],
  auth: ["system", "type options/settings.ts", "type wire", "type zmq"],
  "auth/access.ts": ["zmq/curve.ts"],
  "auth/join_keys.ts": ["zmq/curve.ts"],
  broker: [],
  "broker/limits.ts": ["type options/settings.ts"],
  "broker/endings.ts": ["wire/request.ts"],
  "broker/job.ts": ["type wire/credit.ts"],
  "broker/meter.ts": ["wire/request.ts"],
  "broker/parts.ts": ["type wire/credit.ts"],
  "broker/stream.ts": ["wire/credit.ts"],
  cli: [
    "client/reply.ts",
    "type client",
    "type client.ts",
    "ops/line_writer.ts",
    "type ops",
    "options",
    "system",
  ],
  "cli/call.ts": ["client/typed.ts"],
  "cli/store_restore.ts": ["ops/store_orders.ts", "store/sqlite_copy.ts"],
  "cli/stored_commands.ts": ["wire/job_status.ts", "wire/submission.ts"],
  "cli/work_views.ts": ["type ports/inquiry.ts"],
  "cli/keygen.ts": ["auth/client_list.ts", "zmq/curve.ts", "zmq/locate.ts"],
  "cli/serve.ts": ["ops", "pool/child.ts", "zmq/locate.ts"],
  client: ["auth/curve25519.ts", "auth/keys.ts", "options/errors.ts", "system", "wire", "zmq"],
  join: [
    "type auth",
    "auth/join_keys.ts",
    "broker/counters.ts",
    "broker/histogram.ts",
    "type ops",
    "options/hosted.ts",
    "type options/settings.ts",
    "ports/inquirer.ts",
    "type ports",
    "system",
    "wire",
    "zmq",
  ],
  ops: [
    "options/connection_limits.ts",
    "options/hosted.ts",
    "options/listing.ts",
    "options/rates.ts",
    "type options/settings.ts",
    "type pool",
    "type ports/inquiry.ts",
    "type ports/messages.ts",
    "type ports/socket_options.ts",
    "type store/messages.ts",
    "system",
    "wire",
  ],
  "ops/ending.ts": ["type join/joiners.ts", "type ports/plane.ts"],
  "ops/repairs.ts": ["type ports/plane.ts"],
  "ops/running_server.ts": [
    "type admin/operated.ts",
    "type join/joiners.ts",
    "type ports/measures.ts",
    "type ports/plane.ts",
  ],
  "ops/steering.ts": ["type join/joiners.ts", "type ports/plane.ts"],
  "ops/stored.ts": [
    "type client/bodies.ts",
    "type client/job_options.ts",
    "type client/stored_job.ts",
    "type client/submitting.ts",
  ],
  "ops/stored_asker.ts": [
    "client/bodies.ts",
    "type client/options.ts",
    "client/reply.ts",
    "type client/submitting.ts",
  ],
  "ops/stored_desk.ts": ["type client/bodies.ts", "client/stored_job.ts", "client/submitting.ts"],
  "ops/store_host.ts": ["type ports/plane.ts", "type store/thread.ts"],
  "ops/operators.ts": ["admin/admin.ts", "type admin/operated.ts"],
  options: [
    "auth/address.ts",
    "system/errors.ts",
    "wire/endpoint.ts",
    "wire/json_object.ts",
    "wire/service_name.ts",
  ],
  pool: [
    "type ops",
    "type options/settings.ts",
    "type ports/messages.ts",
    "system",
    "wire/exit_reasons.ts",
    "wire/json_object.ts",
    "wire/log_quota.ts",
    "type wire/join.ts",
    "wire/worker_config.ts",
  ],
  "pool/plans.ts": ["options/hosted.ts"],
  ports: [
    "type auth",
    "broker",
    "type broker.ts",
    "type options/settings.ts",
    "system",
    "wire",
    "zmq",
  ],
  "ports/doorkeeper.ts": ["auth/access_control.ts", "auth/join_access.ts"],
  "ports/loop_parts.ts": ["sources"],
  "ports/plane.ts": ["type store/messages.ts"],
  "ports/store_wire.ts": ["type store/messages.ts"],
  "ports/stored_topics.ts": ["type store/messages.ts"],
  "ports/unit.ts": ["broker.ts"],
  "ports/router.ts": ["auth/arrivals.ts"],
  "ports/socket_kinds.ts": ["auth/access_control.ts", "auth/join_access.ts"],
  "ports/sockets.ts": ["auth/arrivals.ts", "auth/join_access.ts"],
  store: [
    "broker/histogram.ts",
    "system",
    "type wire/job_status.ts",
    "wire/json_object.ts",
    "wire/submission.ts",
  ],
  sources: ["broker", "ports", "type store/messages.ts", "type system/parcel.ts", "wire"],
  system: ["zmq/library.ts"],
  "system/tracing.ts": ["type wire/span_words.ts", "wire/trace.ts"],
  wire: [],
  worker: ["system", "wire", "zmq"],
  "worker/compiled.ts": ["worker.ts"],
  "worker/rpc.ts": ["options/errors.ts"],
  zmq: ["wire/empty_frame.ts"],
};

interface Import {
  file: string;
  /** The file that is imported, or what it is called elsewhere. */
  target: string;
  typeOnly: boolean;
  /** Whether it is loaded when it is asked for only. */
  dynamic: boolean;
}

/** Source files of the house, by path from its root. */
function sources(): string[] {
  const files = ROOMS.filter((room) => room.endsWith(".ts"));
  for (const folder of FOLDERS) {
    for (const { name, isFile } of Deno.readDirSync(path(folder))) {
      assert(isFile, `A folder has one level: ${folder}/${name}`);
      files.push(`${folder}/${name}`);
    }
  }
  return files.sort();
}

/** The text of a file without its comments. */
function code(file: string): string {
  return Deno.readTextFileSync(path(file))
    .replaceAll(/^\s*\/\*[\s\S]*?\*\//gm, "")
    .replaceAll(/^\s*\/\/.*$/gm, "");
}

/** All imports of a file, re-exports, dynamic ones and those for effect included. */
function importsOf(file: string): Import[] {
  const text = code(file);
  const found: Import[] = [];
  const add = (specifier: string, typeOnly: boolean, dynamic = false) => {
    const { href } = new URL(specifier, new URL(file, ROOT));
    const inside = specifier.startsWith(".") && href.startsWith(ROOT.href);
    found.push({
      file,
      target: inside ? href.slice(ROOT.href.length) : specifier,
      typeOnly,
      dynamic,
    });
  };
  const statements = /^(?:import|export)\s+(type\s)?[^;"']*?\bfrom\s*["']([^"']+)["']/gm;
  for (const [, type, specifier] of text.matchAll(statements)) {
    add(specifier ?? "", type !== undefined);
  }
  for (const [, specifier] of text.matchAll(/^import\s*["']([^"']+)["']/gm)) {
    add(specifier ?? "", false);
  }
  for (const [, specifier] of text.matchAll(/\bimport\(\s*["']([^"']+)["']/g)) {
    add(specifier ?? "", false, true);
  }
  const urls = /new URL\(\s*["'](\.[^"']+\.ts)["'],\s*import\.meta\.url/g;
  for (const [, specifier] of text.matchAll(urls)) add(specifier ?? "", true);
  return found;
}

function isOurs({ target }: Import): boolean {
  return ROOMS.some((room) => target === room || target.startsWith(`${room}/`));
}

/** The rows that hold for a file. */
function rowsOf(file: string): string[] {
  const [room = ""] = file.split("/");
  return [...new Set([room, file])].filter((row) => row in RULES);
}

function covers(rule: string, { target, typeOnly }: Import): boolean {
  const place = rule.replace(/^type /, "");
  const reaches = target === place || target.startsWith(`${place}/`);
  return reaches && (typeOnly || rule === place);
}

function isAllowed(one: Import): boolean {
  const [room = ""] = one.file.split("/");
  const rules = rowsOf(one.file).flatMap((row) => RULES[row] ?? []);
  return one.target.startsWith(`${room}/`) || rules.some((rule) => covers(rule, one));
}

/** A file and all of ours that runs with it once it is imported. */
function runWith(file: string, seen = new Set<string>()): Set<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  const imports = importsOf(file).filter((one) => isOurs(one) && !one.typeOnly && !one.dynamic);
  for (const { target } of imports) runWith(target, seen);
  return seen;
}

/** Files whose code has `pattern`. */
function naming(pattern: RegExp): string[] {
  return sources().filter((file) => pattern.test(code(file)));
}

Deno.test("the house has the rooms that are told of", () => {
  const rooms = [...Deno.readDirSync(ROOT)]
    .filter(({ name, isDirectory }) => isDirectory ? hasSource(name) : name.endsWith(".ts"))
    .map(({ name }) => name)
    .filter((name) => !["jsr", "tests", "bench", "examples", "torture"].includes(name));
  assert.deepEqual(rooms.sort(), [...ROOMS].sort());
});

function hasSource(folder: string): boolean {
  if (folder.startsWith(".") || folder === "node_modules") return false;
  return [...Deno.readDirSync(path(folder))].some(({ name }) => name.endsWith(".ts"));
}

Deno.test("the imports are found when they are read from the source text", () => {
  const found = importsOf("server.ts").map(({ target }) => target);
  for (const target of ["ports/plane.ts", "pool/services.ts", "worker.ts"]) {
    assert(found.includes(target), `server.ts imports ${target}: ${found}`);
  }
  for (const file of sources()) {
    const mentions = code(file).match(/[}*]\s*from\s+["'][^"']+["']/g) ?? [];
    const statements = importsOf(file).length;
    assert(statements >= mentions.length, `${file}: ${statements} of ${mentions.length}`);
  }
});

Deno.test("each module imports only what the house rules let it", () => {
  const broken = sources().flatMap(importsOf).filter(isOurs)
    .filter((one) => !isAllowed(one))
    .map(({ file, target, typeOnly }) => `${file} → ${typeOnly ? "type " : ""}${target}`);
  assert.deepEqual(broken, []);
});

Deno.test("each of the house rules is needed by some module", () => {
  const all = sources().flatMap(importsOf).filter(isOurs);
  const idle = Object.entries(RULES).flatMap(([row, rules]) =>
    rules.filter((rule) => !all.some((one) => rowsOf(one.file).includes(row) && covers(rule, one)))
      .map((rule) => `${row} → ${rule}`)
  );
  assert.deepEqual(idle, []);
});

Deno.test("the broker runs with nothing but its organs and what is said", () => {
  const others = [...runWith("broker.ts")].filter((file) => !/^(broker|wire)\b/.test(file));
  assert.deepEqual(others, []);
});

Deno.test("types of options need no other module", () => {
  const types = sources().filter((file) => /^options\/(\w+_)?(settings|hooks)\.ts$/.test(file));
  assert(types.includes("options/settings.ts") && types.includes("options/hooks.ts"));
  const imported = types.flatMap(importsOf).filter(({ target }) => !types.includes(target));
  assert.deepEqual(imported, []);
});

Deno.test("the messages between server and loop are types and nothing else", async () => {
  assert.deepEqual([...runWith("ports/messages.ts")], ["ports/messages.ts"]);
  assert.deepEqual(Object.keys(await import("../../ports/messages.ts")), []);
});

Deno.test("what operators reach is loaded by a server that has a control socket or HTTP, and by nobody else", () => {
  const users = sources().filter((file) => !file.startsWith("admin/")).flatMap(importsOf)
    .filter(({ target, typeOnly }) => target.startsWith("admin/") && !typeOnly);
  assert.deepEqual(users.map(({ file, target, dynamic }) => ({ file, target, dynamic })), [
    { file: "ops/operators.ts", target: "admin/admin.ts", dynamic: true },
  ]);
});

Deno.test("commands are loaded by a program that is run, and by nobody else", () => {
  const users = sources().filter((file) => !file.startsWith("cli/")).flatMap(importsOf)
    .filter(({ target }) => target.startsWith("cli/"));
  assert.deepEqual(users.map(({ file, target, dynamic }) => ({ file, target, dynamic })), [
    { file: "client.ts", target: "cli/client.ts", dynamic: true },
    { file: "mod.ts", target: "cli/serve.ts", dynamic: true },
  ]);
});

Deno.test("nobody imports the actors' modules except mod.ts the server, the loop the broker, a compiled program the worker, and types", () => {
  const actors = ["mod.ts", "server.ts", "client.ts", "worker.ts", "broker.ts"];
  const users = sources().flatMap(importsOf).filter(({ target }) => actors.includes(target))
    .map(({ file, target, typeOnly }) => `${file} → ${typeOnly ? "type " : ""}${target}`);
  assert.deepEqual([...new Set(users)].sort(), [
    "cli/client.ts → type client.ts",
    "cli/lines.ts → type client.ts",
    "mod.ts → server.ts",
    "ports/dispatcher.ts → type broker.ts",
    "ports/part_replies.ts → type broker.ts",
    "ports/replies.ts → type broker.ts",
    "ports/unit.ts → broker.ts",
    "server.ts → type worker.ts",
    "worker/compiled.ts → worker.ts",
  ]);
});

Deno.test("modules import nothing from outside but what deno.json names, and Node's", () => {
  const { imports } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  const names = Object.keys(imports);
  const outside = sources().flatMap(importsOf).filter((one) => !isOurs(one));
  for (const { file, target } of outside) {
    const known = target.startsWith("node:") ||
      names.some((name) => target === name || target.startsWith(`${name}/`));
    assert(known, `${file} imports ${target}`);
  }
  const users = (
    name: string,
  ) => [
    ...new Set(outside.filter(({ target }) => target.startsWith(name)).map(({ file }) => file)),
  ];
  assert.deepEqual(users("zeromq"), ["zmq/locate.ts"]);
  assert.deepEqual(users("@std/log"), ["ops/log.ts"]);
  assert.deepEqual(users("minimist"), []);
});

Deno.test("only zmq/ and system/ name FFI", () => {
  const users = naming(/\bDeno\s*\.\s*(dlopen|Unsafe\w+)\b/);
  assert(users.includes("zmq/library.ts"));
  assert.deepEqual(users.filter((file) => !/^(zmq|system)\//.test(file)), []);
});

Deno.test("only pool/child.ts names Deno.Command", () => {
  assert.deepEqual(naming(/\bDeno\s*\.\s*Command\b/), ["pool/child.ts"]);
});

Deno.test("only programs and what hears signals touch arguments, exit and signals", () => {
  const pattern = /\bDeno\s*\.\s*(args|exit|exitCode|addSignalListener|removeSignalListener)\b/;
  // What ties a worker to its parent must end it when the parent is gone already.
  const commands = [
    "cli/ctl.ts",
    "cli/keygen.ts",
    "cli/serve.ts",
    "client.ts",
    "mod.ts",
    "worker.ts",
    "worker/compiled.ts",
  ];
  // And what keeps a signal from the runtime must let it listen first.
  const organs = [
    "cli/terminal.ts",
    "ops/signals.ts",
    "system/debugger.ts",
    "system/lifeline.ts",
  ];
  assert.deepEqual(naming(pattern), [...commands, ...organs].sort());
  const lifeline = code("system/lifeline.ts").match(new RegExp(pattern, "g"));
  assert.deepEqual(lifeline, ["Deno.exit"]);
});

Deno.test("nobody takes Deno apart to name its parts otherwise", () => {
  assert.deepEqual(naming(/\}\s*=\s*Deno\b(?!\s*\.)|\bDeno\s*\[|=\s*Deno\s*;/), []);
});

/** What decides: it is told the time, and does nothing itself. */
const MACHINES = ["broker.ts", "pool/supervisor.ts", "client/lazy_pirate.ts"];

Deno.test("state machines and all that they run have no clock, no timer and no await", () => {
  const files = new Set(MACHINES.flatMap((machine) => [...runWith(machine)]));
  for (const file of sources()) if (file.startsWith("broker/")) files.add(file);
  assert(files.has("pool/back_off.ts"), "the supervisor's parts are among them");
  const pattern =
    /\b(await|async|setTimeout|setInterval|performance|Promise|Deno)\b|Date\.now|new Date\b/g;
  const found = [...files].flatMap((file) =>
    (code(file).match(pattern) ?? []).map((word) => `${file}: ${word}`)
  );
  assert.deepEqual(found, []);
});

/** In place of what the system gives: notes what code of ours asks for, the modules it loads left out. */
const TRAPS = `
export const touched = [];
Error.stackTraceLimit = 100;
const trap = (object, name, what) => {
  const real = object[name];
  Object.defineProperty(object, name, { configurable: true, get() {
    if (new Error().stack.includes(${JSON.stringify(ROOT.href)})) touched.push(what);
    return real;
  } });
};
for (const name of ["addSignalListener", "dlopen", "exit", "env", "args", "permissions", "stdin",
  "stdout", "stderr", "cwd", "pid", "ppid", "hostname", "serve", "listen", "connect",
  "readTextFileSync", "readTextFile", "writeTextFileSync", "openSync", "execPath"]) {
  trap(Deno, name, "Deno." + name);
}
for (const name of ["setTimeout", "setInterval", "fetch", "Worker", "addEventListener", "console"]) {
  trap(globalThis, name, name);
}`;

for (const module of ["mod.ts", "client.ts", "worker.ts"]) {
  Deno.test(`${module} does nothing and needs no permission when it is imported`, async () => {
    using folder = new Folder();
    folder.write("traps.js", TRAPS);
    const main = folder.write(
      "main.js",
      `const { stdout } = Deno;
      const { touched } = await import("./traps.js");
      const names = Object.keys(await import(${JSON.stringify(new URL(module, ROOT).href)}));
      const said = JSON.stringify({ touched, names });
      stdout.writeSync(new TextEncoder().encode(said));`,
    );
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--config", path("deno.json"), main],
      env: { NO_COLOR: "1" },
      signal: AbortSignal.timeout(LIMIT),
    }).output();
    assert.equal(text(stderr), "");
    assert.equal(code, 0);
    const { touched, names } = JSON.parse(text(stdout));
    assert.deepEqual(touched, []);
    const known = { "mod.ts": "serve", "client.ts": "Client", "worker.ts": "text" }[module];
    assert(names.includes(known), `It exports ${names}`);
  });
}
