import { strict as assert } from "node:assert";
import { resolveOptions } from "../../options/resolve.ts";
import type { ServeOptions } from "../../options/settings.ts";
import { OPTIONS } from "../../options/table.ts";
import { parseCommand, type Sources, UsageError } from "../../options/command.ts";
import { helpText, printConfig } from "../../options/help.ts";

interface World {
  env?: Record<string, string>;
  conf?: string;
}

function sourcesOf({ env = {}, conf }: World): Sources {
  return {
    env: (name) => env[name],
    readFile(path) {
      if (conf === undefined || path !== "x.conf") throw new Error(`no such file: ${path}`);
      return conf;
    },
  };
}

function parse(args: string[], world: World = {}) {
  const command = parseCommand(args, sourcesOf(world));
  if (!("options" in command)) assert.fail(`mode is ${command.mode}`);
  return command;
}

function options(args: string[], world: World = {}): ServeOptions {
  return parse(args, world).options;
}

function fromConf(conf: string): ServeOptions {
  const { config: _config, ...rest } = options(["--config", "x.conf"], { conf });
  return rest;
}

function refuses(args: string[], message: string | RegExp, world: World = {}): void {
  assert.throws(() => parseCommand(args, sourcesOf(world)), { name: "UsageError", message });
}

function refusesConf(conf: string, message: string | RegExp): void {
  refuses(["--config", "x.conf"], message, { conf });
}

Deno.test("parseCommand sets nothing when nothing is set", () => {
  const command = parse([]);
  assert.equal(command.mode, "serve");
  assert.deepEqual(command.options, {});
  assert.deepEqual([...new Set(command.sources.values())], ["default"]);
});

Deno.test("parseCommand reads a flag when its value is joined or separate", () => {
  assert.deepEqual(options(["--min-workers", "3"]), { minWorkers: 3 });
  assert.deepEqual(options(["--min-workers=3"]), { minWorkers: 3 });
  assert.deepEqual(options(["--min-workers=3", "--min-workers=4"]), { minWorkers: 4 });
});

Deno.test("parseCommand has a flag and a variable for each option that texts can set", () => {
  const examples: Record<string, string> = {
    ENDPOINT: "tcp://127.0.0.1:7000",
    N: "1",
    TIME: "2s",
    SIZE: "16M",
    PERCENT: "5%",
    FILE: "some/file",
    NAME: "nobody",
    LEVEL: "warn",
    LIST: "a,b",
    SIGNAL: "USR2",
    HANDLER: "./h.ts",
    HOST: "localhost",
    "HOST:PORT": "127.0.0.1:9660",
    "F[,B]": "1,2",
    RANGE: "10.0.0.0/8,::1",
    "off|RATE": "100/s burst 20",
    "NAME=HANDLER": "a=./a.ts,b.c=data:text/javascript,1",
  };
  const others = ["background", "config", "curveSecretKey", "curveClients", "users", "mdpWorkers"];
  const ofNats = ["natsCredentials", "natsNkey", "natsCa", "natsCert", "natsKey"];
  const needy = ({ name }: { name: string }) =>
    [...others, ...ofNats].includes(name) || name.startsWith("join");
  for (const spec of OPTIONS) {
    const { flag, environment, kind, scope } = spec;
    if (scope === "code" || needy(spec)) continue;
    const text = examples[kind.placeholder] ?? (kind.placeholder.split("|").at(-1) || "true");
    const byEnvironment = options([], { env: { [environment]: text } });
    assert.notDeepEqual(byEnvironment, {}, environment);
    const args = flag === "" ? [text] : [kind.placeholder === "" ? flag : `${flag}=${text}`];
    assert.deepEqual(options(args), byEnvironment, flag);
  }
});

Deno.test("parseCommand prefers flags to environment to conf file", () => {
  const conf = "minWorkers 2\nmaxWorkers 20\nqueueLimit 200\nwatch true";
  const env = { PREFORK_MAX_WORKERS: "30", PREFORK_QUEUE_LIMIT: "300", PREFORK_CONFIG: "x.conf" };
  const command = parse(["--queue-limit", "400", "--no-watch"], { env, conf });
  assert.deepEqual(command.options, {
    config: "x.conf",
    minWorkers: 2,
    maxWorkers: 30,
    queueLimit: 400,
    watch: false,
  });
  const { sources } = command;
  assert.equal(sources.get("queueLimit"), "flag --queue-limit");
  assert.equal(sources.get("maxWorkers"), "environment PREFORK_MAX_WORKERS");
  assert.equal(sources.get("minWorkers"), "file x.conf:1");
  assert.equal(sources.get("prefetch"), "default");
});

Deno.test("parseCommand takes a switch from the environment when there is no flag", () => {
  assert.deepEqual(options([], { env: { PREFORK_WATCH: "1" } }), { watch: true });
  assert.deepEqual(options(["--watch"], { env: { PREFORK_WATCH: "0" } }), { watch: true });
});

Deno.test("parseCommand ignores a variable when it is empty", () => {
  assert.deepEqual(options([], { env: { PREFORK_MIN_WORKERS: "" } }), {});
});

Deno.test("parseCommand takes the conf file of the flag when the environment has one too", () => {
  const world = { env: { PREFORK_CONFIG: "y.conf" }, conf: "minWorkers 2" };
  assert.equal(options(["--config=x.conf"], world).minWorkers, 2);
});

Deno.test("parseCommand lets workers set both limits when its source is as good", () => {
  assert.deepEqual(options(["--workers", "3"]), { minWorkers: 3, maxWorkers: 3 });
  assert.deepEqual(options(["--workers", "3", "--max-workers", "5"]), {
    minWorkers: 3,
    maxWorkers: 5,
  });
  const conf = "min_servers 7\nmax_servers 9";
  const command = parse(["--workers", "3", "--config", "x.conf"], { conf });
  assert.equal(command.options.minWorkers, 3);
  assert.equal(command.options.maxWorkers, 3);
  assert.equal(command.sources.get("minWorkers"), "flag --workers");
  assert.equal(options(["--min-workers", "3"], { env: { PREFORK_WORKERS: "4" } }).minWorkers, 3);
});

Deno.test("parseCommand makes endpoints of port and host", () => {
  const frontend = (args: string[]) => options(args).frontend;
  assert.deepEqual(options(["--port", "7000,7001", "--host", "127.0.0.2"]), {
    frontend: ["tcp://127.0.0.2:7000"],
    backend: "tcp://127.0.0.2:7001",
  });
  assert.deepEqual(options(["--port", "7000", "--host", "*"]), { frontend: ["tcp://*:7000"] });
  refuses(
    ["--port", "7000,7001", "--host", "*"],
    /"--port" must be ipc, or tcp on loopback, as long as "--curve-secret-key" is not set/,
  );
  assert.deepEqual(options(["--port=0"]), { frontend: ["tcp://127.0.0.1:0"] });
  assert.deepEqual(frontend(["--host", "localhost"]), ["tcp://localhost:6660"]);
  assert.deepEqual(frontend(["--host", "::1", "--port", "7000"]), ["tcp://[::1]:7000"]);
  assert.deepEqual(frontend(["--port", "localhost:7000"]), ["tcp://localhost:7000"]);
});

Deno.test("parseCommand joins port and host when they come from different sources", () => {
  const world = { conf: "host 10.0.0.1\nfrontend ipc://@jobs" };
  refuses(["--config", "x.conf"], /"host" in x.conf:1 and "frontend" in x.conf:2 exclude/, world);
  const command = parse(["--config", "x.conf", "--port", "7000"], { conf: "host 10.0.0.1" });
  assert.deepEqual(command.options.frontend, ["tcp://10.0.0.1:7000"]);
  assert.equal(command.sources.get("frontend"), "flag --port");
  const env = { PREFORK_FRONTEND: "ipc://@a" };
  assert.deepEqual(options(["--port", "7000"], { env }).frontend, ["tcp://127.0.0.1:7000"]);
  assert.deepEqual(options(["--frontend=ipc://@b"], { env: { PREFORK_PORT: "1,2" } }), {
    frontend: ["ipc://@b"],
    backend: "tcp://127.0.0.1:2",
  });
});

Deno.test("parseCommand collects a list when its flag is repeated or has commas", () => {
  const args = ["--frontend", "tcp://127.0.0.1:1,ipc://@a", "--frontend=ipc:///b"];
  assert.deepEqual(options(args).frontend, ["tcp://127.0.0.1:1", "ipc://@a", "ipc:///b"]);
});

Deno.test("parseCommand grants all when a permission flag has no list", () => {
  assert.deepEqual(options(["--handler-allow-read", "./h.ts"]), {
    handler: "./h.ts",
    permissions: { read: true },
  });
  const args = ["--handler-allow-net=a:1,b", "--handler-allow-net=c", "--handler-allow-env"];
  assert.deepEqual(options(args).permissions, { net: ["a:1", "b", "c"], env: true });
  assert.deepEqual(options(["--handler-allow-all"]).permissions, { all: true });
});

Deno.test("parseCommand grants nothing by an empty list", () => {
  refuses(["--handler-allow-read="], /"--handler-allow-read" needs a value/);
  refuses(["--handler-allow-read=/a,"], /"--handler-allow-read" must be/);
});

Deno.test("parseCommand joins permissions when they come from different sources", () => {
  const env = { PREFORK_HANDLER_ALLOW_READ: "/a", PREFORK_HANDLER_ALLOW_NET: "true" };
  assert.deepEqual(options(["--handler-allow-read=/b"], { env }).permissions, {
    read: ["/b"],
    net: true,
  });
});

Deno.test("parseCommand keeps the handler as it is when it looks like a number", () => {
  assert.equal(options(["007"]).handler, "007");
  assert.equal(options(["--", "--odd.ts"]).handler, "--odd.ts");
  assert.equal(parse(["h.ts"]).sources.get("handler"), "argument");
});

Deno.test("parseCommand knows its modes", () => {
  const mode = (...args: string[]) => parseCommand(args, sourcesOf({})).mode;
  assert.equal(mode("--check"), "check");
  assert.equal(mode("--print-config"), "print-config");
  assert.equal(mode("-V"), "version");
  assert.equal(mode("--version", "--bogus"), "version");
  assert.equal(mode("-h"), "help");
  assert.equal(mode("--help", "--bogus", "--min-workers", "x"), "help");
  refuses(["--check", "--print-config"], /"--check" and "--print-config" exclude each other/);
});

Deno.test("parseCommand throws UsageError when the command line can't be used", () => {
  const cannot = "Cannot start";
  refuses(["--min-worker=1"], 'Unknown option "--min-worker": did you mean "--min-workers"?');
  refuses(["--colour"], 'Unknown option "--colour": --help lists all options');
  refuses(["--no-workers"], /^Unknown option "--no-workers"/);
  refuses(["--no-workers=3"], /^Unknown option "--no-workers"/);
  refuses(["--no-watch=x"], /^Unknown option "--no-watch"/);
  refuses(["-x"], /^Unknown option "-x"/);
  refuses(["--constructor"], /^Unknown option "--constructor"/);
  refuses(["--=x"], /^Unknown option "--"/);
  refuses(["--watch=maybe"], `${cannot}: "--watch" takes no value: current value is "maybe"`);
  refuses(["--min-workers"], `${cannot}: "--min-workers" needs a value, as in --min-workers=N`);
  refuses(["--min-workers", "-1"], /"--min-workers" needs a value/);
  refuses(["--min-workers=0"], /"--min-workers" must be an integer >= 1: current value is 0$/);
  refuses(["a.ts", "b.ts"], `${cannot} with several handlers: give one of "a.ts", "b.ts"`);
  refuses(["ftp://x"], /the handler must be a path or a specifier/);
  refuses([""], /the handler must be a path/);
  refuses(["--port=1", "--frontend=ipc://@a"], /"--port" and "--frontend" exclude each other/);
  refuses(["--port=1,2", "--backend=ipc://@a"], /"--port" and "--backend" exclude each other/);
  refuses(["--port=1,2,3"], /"--port" must be one or two ports/);
  refuses(["--port=65536"], /"--port" must be/);
  refuses(["--host=a/b"], /"--host" must be a host name/);
  refuses(
    ["--min-workers=3", "--max-workers=2"],
    /^Cannot start: "--min-workers" must be at most "--max-workers" \(2\): current value is 3$/,
  );
  refuses(["--min-age", "10"], /^Unknown option "--min-age": did you mean "--max-age"\?$/);
  refuses(
    ["--background", "--pid-file=x"],
    /"--background" needs "--pid-file" and "--log-file": "--log-file" is not set$/,
  );
});

Deno.test("parseCommand names the variable when its value is bad", () => {
  const env = { PREFORK_STOP_TIMEOUT: "soon" };
  refuses([], /^Cannot start: "PREFORK_STOP_TIMEOUT" must be a duration .*"soon"$/, { env });
});

Deno.test("parseCommand refuses a duration without a unit, but for 0 and Net::Server's keys", () => {
  const hint = (number: string) => `needs a unit: did you mean "${number}s" or "${number}ms"?`;
  refuses(["--stop-timeout", "10"], `Cannot start: "--stop-timeout" ${hint("10")}`);
  const env = { PREFORK_STOP_TIMEOUT: "0.5" };
  refuses([], `Cannot start: "PREFORK_STOP_TIMEOUT" ${hint("0.5")}`, { env });
  refusesConf(
    "min_child_ttl 10\nstop_timeout 20",
    new RegExp(`"stop_timeout" in x.conf:2 needs a unit`),
  );
  assert.deepEqual(options(["--stop-timeout", "0"]), { stopTimeout: 0 });
  assert.deepEqual(fromConf("stop_timeout 0\nmin_child_ttl 10"), {
    stopTimeout: 0,
    minChildTtl: 10_000,
  });
});

Deno.test("parseCommand names the conf file when it can't be read", () => {
  refuses(["--config", "y.conf"], 'Cannot read the conf file "y.conf": no such file: y.conf');
});

Deno.test("parseCommand reads a conf file of Net::Server", () => {
  const conf = `\uFEFF# a server
app            ./handler.ts   # the handler
min_servers    2
max_servers =  8
min_spare_servers: 1
max_spare_servers : 4
--max_requests=1000
check_for_spawn 20 # often\r
check_for_waiting 5s
min_child_ttl 15
start_delay 0.5
die_timeout 60
check_for_dequeue 300
max_dequeue 2
babysit 30
connections 3
sig_passthrough USR2
sig_passthrough HUP, WINCH

pid_file /run/jobs.pid
log_file /var/log/jobs\\#1.log
log_level 4
user nobody
group 65534
background 1
host 127.0.0.2
port 7000
port 7001
`;
  assert.deepEqual(fromConf(conf), {
    handler: "./handler.ts",
    minWorkers: 2,
    maxWorkers: 8,
    minSpareWorkers: 1,
    maxSpareWorkers: 4,
    maxRequests: 1000,
    checkForSpawnInterval: 20_000,
    checkForWaitingInterval: 5_000,
    minChildTtl: 15_000,
    startDelay: 500,
    stopTimeout: 60_000,
    dequeueInterval: 300_000,
    maxDequeueWorkers: 2,
    babysitInterval: 30_000,
    concurrency: 3,
    signalPassthrough: ["SIGUSR2", "SIGHUP", "SIGWINCH"],
    pidFile: "/run/jobs.pid",
    logFile: "/var/log/jobs#1.log",
    logLevel: "debug",
    user: "nobody",
    group: "65534",
    background: true,
    frontend: ["tcp://127.0.0.2:7000"],
    backend: "tcp://127.0.0.2:7001",
  });
});

Deno.test("parseCommand takes our names in three spellings", () => {
  for (
    const key of ["checkForSpawnInterval", "check-for-spawn-interval", "check_for_spawn_interval"]
  ) {
    assert.deepEqual(fromConf(`${key} 20ms`), { checkForSpawnInterval: 20 });
  }
  assert.deepEqual(fromConf("host ::1"), { frontend: ["tcp://[::1]:6660"] });
});

Deno.test("parseCommand names file and line when a conf file can't be used", () => {
  refusesConf("\nmin_servers x", /"min_servers" in x.conf:2 must be an integer >= 0.*"x"$/);
  refusesConf(
    "min_server 1",
    /^Unknown option "min_server" in x.conf:1: did you mean "min_servers"\?/,
  );
  refusesConf("min_servers", /"min_servers" in x.conf:1 needs a value/);
  refusesConf(
    "min_servers 3\nmaxWorkers 2",
    /"min_servers" in x.conf:1 must be at most "maxWorkers" in/,
  );
  refusesConf("min_servers =", /"min_servers" in x.conf:1 needs a value/);
  refusesConf("a/b", /^Cannot read x.conf:1: a line must be "key value": current line is "a\/b"$/);
  refusesConf(
    "min_servers 1\nminWorkers 2",
    /"minWorkers" in x.conf:2 is given twice: first is "min_servers" in x.conf:1/,
  );
  refusesConf("conf_file y.conf", /"conf_file" in x.conf:1 has no meaning here: a conf file can't/);
  refusesConf("permissions all", /^Unknown option "permissions" in x.conf:1$/);
});

const MEANINGLESS = `serialize lock_file reverse_lookups double_reverse_lookups chroot listen proto
  ipv udp_recv_len setsid no_client_stdout leave_children_open_on_hup commandline syslog_ident
  log_function check_for_dead no_close_by_child multi_port`;

for (const key of MEANINGLESS.split(/\s+/)) {
  Deno.test(`parseCommand says why when the conf file has ${key}`, () => {
    refusesConf(`${key} 1`, /^Cannot start: ".*" in x\.conf:1 has no meaning here: .{15,}$/);
  });
}

Deno.test("parseCommand points to background when the conf file has setsid", () => {
  refusesConf("setsid 1", /background/);
});

Deno.test("helpText fits a terminal, and has each flag", () => {
  const lines = helpText("deno run -A mod.ts").split("\n");
  for (const line of lines) {
    assert.ok(line.length <= 80, line);
    assert.equal(line, line.trimEnd());
  }
  for (const { flag } of OPTIONS) {
    const at = lines.findIndex((line) => line.match(/^ {2}(--[a-z-]+)/)?.[1] === flag);
    if (flag !== "") {
      assert.match(`${lines[at]}\n${lines[at + 1]}`, /^ {2}--[^ ]+( [^ ]+)?\s{2,}[^ ]/);
    }
  }
  for (const word of ["Usage:", "--check", "--print-config", "Signals:", "Exit codes:"]) {
    assert.ok(lines.some((line) => line.includes(word)), word);
  }
});

Deno.test("OPTIONS names only options that exist in what it says of others", () => {
  const names = OPTIONS.flatMap(({ help }) =>
    [...help.matchAll(/<(\w+)>/g)].map(([, name]) => name)
  );
  assert.ok(names.includes("maxWorkers"));
  for (const each of names) {
    assert.ok(OPTIONS.some(({ name, flag }) => name === each && flag), each);
  }
});

Deno.test("printConfig shows each value and its source, as a conf file with the same meaning", () => {
  const args = ["--config", "x.conf", "--handler-allow-net=a:1,b", "--pid-file", "a#b", "h.ts"];
  const conf = "check_for_spawn 20\nfrontend ipc://@a\nfrontend ipc://@b";
  const command = parse(args, { conf, env: { PREFORK_MAX_WORKERS: "9" } });
  const machine = { cpus: 2, cwd: () => "/srv" };
  const settings = resolveOptions(command.options, machine);
  const text = printConfig(settings, command.sources);
  assert.match(text, /^checkForSpawnInterval 20s +# file x\.conf:1$/m);
  assert.match(text, /^frontend ipc:\/\/@a,ipc:\/\/@b +# file x\.conf:2$/m);
  assert.match(text, /^maxWorkers 9 +# environment PREFORK_MAX_WORKERS$/m);
  assert.match(text, /^handlerAllowNet a:1,b +# flag --handler-allow-net$/m);
  assert.match(text, /^handlerAllowRead false +# default$/m);
  assert.match(text, /^pidFile a\\#b +# flag --pid-file$/m);
  assert.match(text, /^handler file:\/\/\/srv\/h\.ts +# argument$/m);
  assert.match(text, /^# user +# default$/m);
  assert.match(text, /^# config x\.conf +# flag --config$/m);
  const again = resolveOptions(options(["--config", "x.conf"], { conf: text }), machine);
  const grantsNothing = { read: false, write: false, env: false, run: false, sys: false };
  const permissions = { ...grantsNothing, import: false, all: false, net: ["a:1", "b"] };
  assert.deepEqual(again, { ...settings, permissions });
});

Deno.test("UsageError is told from other errors by its class and name", () => {
  const error = new UsageError("Cannot start");
  assert.ok(error instanceof Error);
  assert.equal(error.name, "UsageError");
});
