/** Holds the documents to the code: README.md, CHANGELOG.md and docs/. */

import { strict as assert } from "node:assert";
import { COMMANDS } from "../../cli/ctl_commands.ts";
import { readOrder } from "../../cli/ctl_flags.ts";
import { CTL_OPTIONS } from "../../cli/ctl_options.ts";
import { helpText } from "../../options/help.ts";
import { parseCommand } from "../../options/command.ts";
import { buildJobHeader, REPLY_BYTES, writeJob, writeReply } from "../../wire/job.ts";
import { buildStatus, Code } from "../../wire/request.ts";
import { buildRequestHeader } from "../../wire/request_header.ts";
import { path, ROOT } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { Peer } from "../rig/peer.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { JOB_COMMANDS, JOB_PREFIX } from "../../wire/submission.ts";
import { bytes } from "../rig/text.ts";
import { TABLES, withTable } from "../rig/options_page.ts";
import { TABLE } from "../rig/permissions.ts";

/** deno.json without `links` has JSR's own packages instead of the stand-ins, and is as good. */
const config: { version: string; links?: string[]; allowScripts: unknown } = JSON.parse(
  read("deno.json"),
);
const README = read("README.md");
const CLIENTS = read("docs/clients.md");
const HANDLERS = read("docs/handlers.md");
const JOBS = read("docs/jobs.md");
const OPERATIONS = read("docs/operations.md");
const OPTIONS_PAGE = read("docs/options.md");
const PERMISSIONS = read("docs/permissions.md");
const PROTOCOL = read("docs/protocol.md");
const SECURITY = read("docs/security.md");

/** Every document of the repository, by its path from the root. */
const DOCUMENTS = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "bench/README.md",
  "jsr/README.md",
  ...namesOf("docs"),
];

for (const [file, mark, made] of TABLES) {
  Deno.test(`${file} has the table that deno task docs makes of the options`, () => {
    const document = read(file);
    assert.ok(document.includes(`<!-- ${mark} -->`));
    assert.equal(document, withTable(document, mark, made()));
  });
}

Deno.test("README.md has the two lines that need Node and npm only", () => {
  const lines = README.split("\n");
  assert.ok(lines.includes("npx -y deno@2.9.6 run -A mod.ts"));
  assert.ok(lines.includes("npx -y deno@2.9.6 task test"));
});

Deno.test("the documents have TypeScript that compiles and tests that pass, as a project that has this package", async () => {
  using folder = new Folder();
  const links = [".", ...config.links ?? []].map((link) => path(link));
  const { scopes } = JSON.parse(read("deno.json"));
  const imports = { zod: scopes["./tests/unit/"].zod };
  folder.write("deno.json", JSON.stringify({ links, imports, allowScripts: config.allowScripts }));
  const texts = DOCUMENTS.flatMap((file) => blocks(read(file), "ts"));
  // The tests import the handler that is shown ahead of them, and so do the programs that serve.
  const [handler = ""] = blocks(read("docs/handlers.md"), "ts").filter(isJsonHandler);
  folder.write("handler.ts", handler);
  const [calc = ""] = blocks(read("docs/typed.md"), "ts");
  folder.write("calc.ts", calc);
  const files = texts.map((text, index) => folder.write(`block${index}.ts`, text));
  assert.ok(files.length >= 12);
  const inFolder = (...args: string[]) => run(Deno.execPath(), args, { cwd: folder.path });
  const { code, stderr } = await inFolder("check", "--no-lock", ...files);
  assert.equal(code, 0, stderr);
  const tests = files.filter((_, index) => texts[index]?.includes("Deno.test("));
  const tested = await inFolder("test", "--no-lock", "--no-check", ...tests);
  assert.equal(tested.code, 0, `${tested.stdout}${tested.stderr}`);
  assert.match(tested.stdout, /2 passed/);
});

Deno.test("README.md has a first handler that the server serves and the command asks", async () => {
  const [handler = ""] = blocks(README, "ts").filter((text) => text.includes("upper case"));
  const [line = ""] = blocks(README, "sh").filter((text) => text.includes("# HELLO"));
  const [, args = ""] = /^deno (task client .*?) +# HELLO$/m.exec(line) ?? [];
  await using server = await ServerProcess.start({ handler });
  const words = [...args.split(" "), "--endpoint", server.endpoint];
  const { code, stdout } = await run(Deno.execPath(), words, { cwd: path(".") });
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "HELLO\n" });
});

Deno.test("docs/security.md has commands that let a listed client in", async () => {
  using folder = new Folder();
  const lines = blocks(SECURITY, "sh").flatMap((block) => block.trim().split("\n"));
  const commands = lines.map((line) => line.replace(/ +#.*/, ""));
  const serve = commands.find((line) => line.startsWith("deno run")) ?? "";
  const ask = commands.find((line) => line.includes("task client")) ?? "";
  const before = commands.slice(0, commands.indexOf(serve)).join("\n");
  const deno = Deno.execPath();
  const script = (text: string) =>
    run("/bin/sh", [
      "-ec",
      text.replaceAll(/deno task (\w+)/g, `"${deno}" run -A $1`)
        .replaceAll("-A keygen", `-A "${path("cli/keygen.ts")}"`)
        .replaceAll("-A client", `-A "${path("client.ts")}"`),
    ], { cwd: folder.path });
  const made = await script(before);
  assert.equal(made.code, 0, made.stderr);
  const flags = serve.replace("deno run -A mod.ts ", "").split(" ").slice(0, -1)
    .map((word) => word.startsWith("--") ? word : `${folder.path}/${word}`);
  assert.equal(flags.length, 4);
  await using server = await ServerProcess.start({ args: [...flags, path("examples/upper.ts")] });
  const { code, stdout } = await script(`${ask} --endpoint ${server.endpoint}`);
  assert.deepEqual({ code, stdout }, { code: 0, stdout: "HELLO\n" });
});

Deno.test(
  "docs/clients.md has a client in C that gets its answer",
  { ignore: !hasCompiler() },
  async () => {
    using folder = new Folder();
    await using server = await ServerProcess.start({ args: [path("examples/upper.ts")] });
    const [source = ""] = blocks(CLIENTS, "c");
    const file = folder.write("ask.c", source.replace("tcp://127.0.0.1:6660", server.endpoint));
    const compiled = await run("cc", ["-o", `${folder.path}/ask`, file, "-lzmq"]);
    assert.equal(compiled.code, 0, compiled.stderr);
    const { code, stdout } = await run(`${folder.path}/ask`, []);
    assert.deepEqual({ code, stdout }, { code: 0, stdout: "HELLO\n" });
  },
);

/** Flags in the documents that are Deno's, Docker's or systemd's, or that only programs give. */
const FOREIGN =
  /^--(allow-\w+|cached-only|init|inspect|now|reload|system|unix-socket|v8-flags|max-old-space-size|max-semi-space-size|replicas|worker)$/;

Deno.test("the documents name only flags that the commands know", async () => {
  const helpOf = (...args: string[]) =>
    run(Deno.execPath(), ["run", "-A", path("client.ts"), ...args, "--help"]);
  const helps = await Promise.all([helpOf(), helpOf("submit")]);
  const client = helps.map(({ stdout }) => stdout).join("");
  const own = CTL_OPTIONS.map(({ name }) => `--${name}`);
  const known = new Set(`${helpText("")}${client} ${own.join(" ")}`.match(/--[a-z][a-z-]*/g));
  const pages = ["README.md", ...namesOf("docs").filter((name) => !name.includes("development"))];
  const named = pages.flatMap((file) =>
    read(file).match(/(?<![\w-])--[a-z][a-z0-9-]*[a-z]/g) ?? []
  );
  const unknown = named.filter((flag) => !FOREIGN.test(flag) && !known.has(flag));
  assert.deepEqual(
    unknown.filter((flag) => !["--small", "--handler-allow", "--prot"].includes(flag)),
    [],
  );
});

Deno.test("the documents start servers with arguments that are understood", () => {
  const lines = DOCUMENTS.flatMap((file) => blocks(read(file), "sh")).join("").split("\n");
  const commands = lines.flatMap((line) =>
    /^deno run -A mod\.ts (.*?)(?: +#.*)?$/.exec(line)?.[1] ?? []
  );
  assert.ok(commands.length >= 4);
  const sources = { env: () => undefined, readFile: () => "" };
  for (const command of commands) parseCommand(command.split(" "), sources);
});

Deno.test("the documents show commands of ctl that are understood, and restores that say which store is meant", () => {
  const shown = DOCUMENTS.flatMap((file) =>
    [...read(file).matchAll(/deno task ctl ([a-z][^`|#\n]*)/g)].map(([, words = ""]) =>
      words.trim()
    )
  );
  assert.ok(shown.length >= 40);
  const orders = shown.map((words) => readOrder(words.split(/ +/), COMMANDS));
  assert.deepEqual(shown.filter((_, index) => orders[index]?.command === undefined), []);
  const restores = orders.filter(({ command }) => command?.name === "store restore");
  assert.ok(restores.length >= 1);
  for (const { values, choice } of restores) assert.ok(values.has("store") || choice.name);
});

Deno.test("docs/options.md has errors as the command words them", () => {
  const lines = blocks(OPTIONS_PAGE, "text").join("").split("\n").filter((line) => line !== "");
  const sources = { env: () => undefined, readFile: () => "" };
  const wordings = [["--prot", "1"], ["--stop-timeout", "10"]].map((args) => {
    try {
      return `${parseCommand(args, sources).mode}`;
    } catch (error) {
      return `prefork: ${error instanceof Error ? error.message : error}`;
    }
  });
  assert.deepEqual(lines, wordings);
});

Deno.test("docs/options.md has a conf file that is understood", () => {
  const [conf = ""] = blocks(OPTIONS_PAGE, "ini").filter((text) =>
    text.startsWith("# prefork.conf\n")
  );
  const sources = { env: () => undefined, readFile: () => conf };
  const command = parseCommand(["--config", "prefork.conf"], sources);
  assert.ok(command.mode === "serve");
  const { frontend, maxWorkers, stopTimeout, checkForWaitingInterval, permissions } =
    command.options;
  assert.deepEqual(frontend, ["tcp://127.0.0.1:6660", "ipc:///tmp/jobs.ipc"]);
  assert.deepEqual([maxWorkers, stopTimeout, checkForWaitingInterval], [8, 20_000, 5_000]);
  assert.deepEqual(permissions, { net: ["db.example:5432", "cache.example"] });
});

Deno.test("docs/permissions.md has the permissions that are enough", async () => {
  const [, line = ""] = /^deno run (--allow-.*) mod\.ts$/m.exec(PERMISSIONS) ?? [];
  const required = ["libzmq", "workers", "backend"].flatMap((name) => TABLE.get(name)?.flags ?? []);
  assert.deepEqual(line.split(" "), required);
  const wide = required.map((flag) => flag.replace(/=.*/, ""));
  assert.ok(PERMISSIONS.includes(`\`${wide.join(" ")}\``));
  await using server = await ServerProcess.start({ permissions: ["--no-prompt", ...wide] });
  await using peer = new Peer(server.endpoint);
  assert.deepEqual(await peer.ask("hello"), ["hello"]);
});

Deno.test("docs/operations.md names every hook of serve()", () => {
  const hooks = namesIn("options/hooks.ts", /^ {2}(on[A-Z]\w+)\?:/gm);
  assert.equal(hooks.length, 9);
  for (const hook of hooks) assert.match(OPERATIONS, new RegExp(`^\\| \`${hook}\` `, "m"));
});

Deno.test("docs/operations.md names every field of the line that USR2 writes", async () => {
  await using server = await ServerProcess.start();
  const { time: _time, level: _level, message: _message, ...fields } = await server.state();
  const [, table = ""] = /^## State$([^]*?)^## /m.exec(OPERATIONS) ?? [];
  const named = new Set(table.match(/(?<=`)[\w.]+(?=`)/g));
  assert.deepEqual(Object.keys(fields).filter((field) => !named.has(field)), []);
  assert.ok(Object.keys(fields).length > 30);
});

Deno.test("docs/operations.md names every reason for which a worker exits", () => {
  const texts = namesOf("wire").map(read);
  const [, union = ""] = texts.map((text) => /type ExitReason =([^;]*);/.exec(text))
    .find((found) => found !== null) ?? [];
  const reasons = [...union.matchAll(/"(\w+)"/g)].map(([, reason]) => reason);
  assert.equal(reasons.length, 12);
  for (const reason of reasons) assert.match(OPERATIONS, new RegExp(`^\\| \`${reason}\` `, "m"));
});

Deno.test("docs/clients.md and docs/protocol.md name every code", () => {
  for (const code of Object.values(Code).filter((code) => code !== Code.ok)) {
    const explained = new RegExp(`^\\| ${code} |\\b${code}\\b[^.]*reserved`, "m");
    for (const document of [CLIENTS, PROTOCOL]) assert.match(document, explained);
  }
});

Deno.test("docs/clients.md names every option of a client and of its requests", () => {
  const names = namesIn("client/options.ts", /^ {2}(\w+)\?: /gm);
  assert.ok(names.length >= 12);
  for (const name of names) assert.match(CLIENTS, new RegExp(`\\b${name}\\b`));
});

Deno.test("docs/jobs.md names every option of a job, all that is known of one, and all that can be asked", () => {
  const options = ["client/job_options.ts", "wire/job_terms.ts"]
    .flatMap((file) => namesIn(file, /^ {2}(\w+)\?: /gm));
  const [, status = ""] = /interface JobStatus \{([^]*?)^\}/m.exec(read("wire/job_status.ts")) ??
    [];
  const members = [...status.matchAll(/^ {2}(\w+): /gm)].map(([, name = ""]) => name);
  assert.ok(options.length >= 15 && members.length >= 19);
  const names = [...options, ...members, ...JOB_COMMANDS.map((name) => `${JOB_PREFIX}${name}`)];
  for (const name of names) assert.match(JOBS, new RegExp(`\\b${name}\\b`));
});

Deno.test("docs/handlers.md names all that a handler's context has", () => {
  const [, context = ""] =
    /interface HandlerContext \{([^]*?)^\}/m.exec(read("worker/handler.ts")) ?? [];
  const names = [...context.matchAll(/^ {2}readonly (\w+): /gm)].map(([, name]) => name);
  assert.ok(names.length >= 7);
  for (const name of names) assert.match(HANDLERS, new RegExp(`^\\| \`${name}\\b`, "m"));
});

Deno.test("README.md and the documents link to files and headings that exist", () => {
  const broken = DOCUMENTS.flatMap((file) =>
    linksOf(file).filter(({ target, anchor }) =>
      !exists(target) || anchor !== "" && !anchorsOf(target).includes(anchor)
    ).map(({ target, anchor }) => `${file} → ${target}#${anchor}`)
  );
  assert.deepEqual(broken, []);
  assert.ok(DOCUMENTS.flatMap(linksOf).length >= 40);
});

Deno.test("CONTRIBUTING.md names every room, and the documents name files that exist", () => {
  const house = read("CONTRIBUTING.md");
  const folders = [...Deno.readDirSync(ROOT)].filter(({ name, isDirectory }) =>
    isDirectory && !name.startsWith(".") && name !== "node_modules"
  );
  assert.deepEqual(folders.filter(({ name }) => !house.includes(`\`${name}/`)), []);
  const named = ["CONTRIBUTING.md", ...namesOf("docs")].flatMap((file) =>
    read(file).match(/(?<=`)\w+\/\w+\.ts(?=`)/g) ?? []
  );
  assert.ok(named.length > 20);
  assert.deepEqual(named.filter((file) => !exists(file)), []);
});

Deno.test("CHANGELOG.md has the version of deno.json", () => {
  assert.ok(read("CHANGELOG.md").split("\n").includes(`## ${config.version}`));
});

Deno.test("docs/protocol.md lists what a worker is told on its stdin", () => {
  const keys = namesIn("wire/worker_config.ts", /^ {2}(\w+): /gm);
  assert.ok(keys.length >= 10);
  for (const key of keys) assert.match(PROTOCOL, new RegExp(`^\\| \`${key}\` `, "m"));
});

Deno.test("README.md's first command gives no warning", async () => {
  await using server = await ServerProcess.start({ args: [path("examples/upper.ts")] });
  await server.line("worker ready");
  const told = server.lines.filter(({ level, message }) =>
    level === "warn" || /don't use/.test(message)
  );
  assert.deepEqual(told, []);
});

Deno.test("docs/protocol.md has an example that the server answers as it says", async () => {
  await using server = await ServerProcess.start({ args: [path("examples/upper.ts")] });
  await using peer = new Peer(server.endpoint);
  peer.send(...example("request"));
  assert.deepEqual(await peer.receive(), example("reply"));
});

Deno.test("docs/protocol.md has an example of the frames that the code builds", () => {
  const header = buildRequestHeader({ id: 7, timeout: 1000 });
  assert.deepEqual(example("request"), [header, bytes(""), bytes("hello")]);
  assert.deepEqual(example("reply"), [header, bytes(""), buildStatus(200), bytes("HELLO")]);
  const job = buildJobHeader("", "127.0.0.1", "");
  const order = {
    job: 1,
    attempt: 1,
    deadline: 1_790_000_000_000,
    requestTimeout: 0,
    frames: 1,
  };
  writeJob(new DataView(job.buffer), order);
  assert.deepEqual(example("job"), [job, bytes("hello")]);
  const answer = new Uint8Array(REPLY_BYTES);
  writeReply(new DataView(answer.buffer), { job: 1, code: 200, micros: 42, frames: 1 });
  assert.deepEqual(example("answer"), [answer, bytes("HELLO")]);
});

/** The paths of a folder's files from the root, such as `docs/options.md`. */
function namesOf(folder: string): string[] {
  return [...Deno.readDirSync(path(folder))].map(({ name }) => `${folder}/${name}`).sort();
}

/** The relative links of a document: the file that each leads to, from the root, and its anchor or "". */
function linksOf(file: string): { target: string; anchor: string }[] {
  const found = prose(read(file)).matchAll(/\]\(([^()\s]*)\)/g);
  return [...found].flatMap(([, link = ""]) => {
    const { href, hash } = new URL(link, new URL(file, ROOT));
    if (!href.startsWith(ROOT.href)) return [];
    const target = href.slice(ROOT.href.length).replace(/#.*/, "");
    return [{ target, anchor: decodeURIComponent(hash.slice(1)) }];
  });
}

/** A document without its code blocks and its code in lines. */
function prose(text: string): string {
  return text.replaceAll(/^```[^]*?^```$/gm, "").replaceAll(/`[^`\n]*`/g, "");
}

/** The anchors of a document's headings, as GitHub makes them. */
function anchorsOf(file: string): string[] {
  const headings = read(file).replaceAll(/^```[^]*?^```$/gm, "").matchAll(/^#+ (.*)$/gm);
  return [...headings].map(([, heading = ""]) =>
    heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}

function exists(file: string): boolean {
  try {
    Deno.statSync(path(file));
    return true;
  } catch {
    return false;
  }
}

function read(file: string): string {
  return Deno.readTextFileSync(new URL(file, ROOT));
}

/** The code blocks of a language. */
function blocks(text: string, language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, "gms");
  return [...text.matchAll(fence)].flatMap(([, block]) => block ?? []);
}

function isJsonHandler(text: string): boolean {
  return text.includes("export default json(");
}

/** Whether programs in C for libzmq can be made here. */
function hasCompiler(): boolean {
  try {
    const args = ["-fsyntax-only", "-include", "zmq.h", "-x", "c", "/dev/null"];
    return new Deno.Command("cc", { args, stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

/** What a pattern finds in a source file. */
function namesIn(file: string, pattern: RegExp): string[] {
  return [...read(file).matchAll(pattern)].flatMap(([, name]) => name ?? []);
}

/** The frames of an example: the block of hexadecimal lines that follows its comment. */
function example(name: string): Uint8Array<ArrayBuffer>[] {
  const [, after = ""] = PROTOCOL.split(`<!-- ${name} -->\n`);
  const [block = ""] = blocks(after, "text");
  return block.trim().split("\n").map((line) => Uint8Array.from(hexOf(line)));
}

function hexOf(line: string): number[] {
  return line === "(empty)" ? [] : line.split(" ").map((byte) => Number.parseInt(byte, 16));
}
