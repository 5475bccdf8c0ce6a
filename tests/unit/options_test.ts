import { strict as assert } from "node:assert";
import { suggest } from "../../options/errors.ts";
import { isServeOptions, resolveOptions } from "../../options/resolve.ts";
import type { ServeOptions, Settings } from "../../options/settings.ts";
import { OPTIONS, separate } from "../../options/table.ts";

function resolve(options: unknown, cpus = 2): Settings {
  const machine = { cpus, cwd: () => "/srv/app" };
  return resolveOptions(options as ServeOptions, machine);
}

Deno.test("resolveOptions has the documented defaults when nothing is set", () => {
  assert.deepEqual({ ...resolve({}, 3) }, {
    handler: undefined,
    services: {},
    frontend: ["tcp://127.0.0.1:6660"],
    users: undefined,
    backend: undefined,
    curveSecretKey: undefined,
    curveClients: undefined,
    joinEndpoint: undefined,
    joinClients: undefined,
    joinSecretKey: undefined,
    join: undefined,
    joinKey: undefined,
    joinServerKey: undefined,
    joinService: undefined,
    accessLog: "off",
    exposeErrors: undefined,
    allow: [],
    deny: [],
    maxConnections: undefined,
    maxConnectionsPerAddress: 256,
    keepAlive: 30_000,
    transport: "native",
    connectionBytes: 64 * 1024 ** 2,
    control: "off",
    http: "off",
    httpToken: undefined,
    handshakeTimeout: 10_000,
    heartbeatInterval: 30_000,
    maxConnectionRate: 1000,
    minWorkers: 3,
    maxWorkers: 12,
    minSpareWorkers: 1,
    maxSpareWorkers: 10,
    maxRequests: 0,
    maxRequestsJitter: 0.1,
    maxMemory: 0,
    maxMemoryJitter: 0.1,
    maxAge: 0,
    maxAgeJitter: 0.1,
    mdp: [],
    jobs: [],
    events: [],
    mdpExpiry: 60_000,
    mdpHeartbeat: 2500,
    mdpWorkers: "none",
    memoryLimit: 0,
    checkForSpawnInterval: 30_000,
    checkForWaitingInterval: 10_000,
    minChildTtl: 10_000,
    startDelay: 0,
    startTimeout: 30_000,
    stopTimeout: 30_000,
    dequeueInterval: 0,
    maxDequeueWorkers: 1,
    babysitInterval: 0,
    rogueCpuTime: 600_000,
    concurrency: 1,
    prefetch: 100,
    prefetchBudget: 1,
    dispatch: "mru",
    maxAttempts: 2,
    queueLimit: 10_000,
    queueBytes: 268_435_456,
    overflow: "block",
    maxQueuePerClient: 0,
    requestTimeout: 0,
    abortGrace: 1000,
    replyCacheTtl: 0,
    replyCacheBytes: 67_108_864,
    maxMessageSize: 67_108_864,
    maxFrames: 1000,
    store: "auto",
    storeBytes: 1024 ** 3,
    storeJobs: 1_000_000,
    resultTtl: 86_400_000,
    deadTtl: 30 * 86_400_000,
    submitTimeout: 3000,
    jobShare: 0.5,
    maxRunningPerGroup: 0,
    rate: "off",
    durable: false,
    schedules: {},
    natsCredentials: undefined,
    natsNkey: undefined,
    natsCa: undefined,
    natsCert: undefined,
    natsKey: undefined,
    natsPrefix: "prefork",
    natsAckWait: 30_000,
    permissions: {},
    handlerLock: "frozen",
    signalPassthrough: [],
    pidFile: undefined,
    user: undefined,
    group: undefined,
    background: false,
    logLevel: "info",
    logFile: undefined,
    logFormat: "text",
    watch: false,
    handleSignals: false,
    config: undefined,
    signal: undefined,
    onListen: undefined,
    onWorkerSpawn: undefined,
    onWorkerReady: undefined,
    onWorkerExit: undefined,
    onResize: undefined,
    onReload: undefined,
    onError: undefined,
    onIdle: undefined,
    onStop: undefined,
  });
});

Deno.test("resolveOptions refuses a memoryLimit that no worker could start with", () => {
  assert.equal(resolve({ memoryLimit: 16 * 1024 ** 2 }).memoryLimit, 16 * 1024 ** 2);
  assert.throws(() => resolve({ memoryLimit: 16 * 1024 ** 2 - 1 }), {
    name: "RangeError",
    message: 'Cannot start: "memoryLimit" must be 0 or >= 16777216 (16 MiB): ' +
      "current value is 16777215",
  });
});

Deno.test("resolveOptions keeps hooks and signal when they are given", () => {
  const onIdle = () => {};
  const { signal } = new AbortController();
  const settings = resolve({ onIdle, signal });
  assert.equal(settings.onIdle, onIdle);
  assert.equal(settings.signal, signal);
});

Deno.test("resolveOptions gives each server its own lists when they are defaults", () => {
  resolve({}).frontend.push("tcp://127.0.0.1:1");
  assert.deepEqual(resolve({}).frontend, ["tcp://127.0.0.1:6660"]);
});

Deno.test("resolveOptions names option, rule and value when a value is bad", () => {
  assert.throws(() => resolve({ minWorkers: 0 }), {
    name: "RangeError",
    message: 'Cannot start: "minWorkers" must be an integer >= 1: current value is 0',
  });
  assert.throws(() => resolve({ stopTimeout: "10s" }), {
    name: "TypeError",
    message: 'Cannot start: "stopTimeout" must be a number of milliseconds from 0 to ' +
      '2147483647: current value is "10s"',
  });
});

const BAD: Record<string, unknown[]> = {
  RangeError: [
    { minWorkers: 1.5 },
    { minWorkers: NaN },
    { maxWorkers: -1 },
    { workers: 0 },
    { minSpareWorkers: -1 },
    { maxRequests: -1 },
    { maxRequestsJitter: 1.1 },
    { maxRequestsJitter: NaN },
    { checkForSpawnInterval: 0 },
    { startTimeout: 0 },
    { stopTimeout: -1 },
    { stopTimeout: Infinity },
    { stopTimeout: 2 ** 31 },
    { concurrency: 0 },
    { prefetch: 0 },
    { prefetchBudget: NaN },
    { dispatch: "fifo" },
    { overflow: "drop" },
    { maxMessageSize: 0 },
    { maxFrames: 0 },
    { queueBytes: 1.5 },
    { frontend: [] },
    { frontend: "" },
    { frontend: "localhost:6660" },
    { frontend: "tcp://localhost" },
    { frontend: "tcp://:6660" },
    { frontend: "tcp://localhost:65536" },
    { frontend: "tcp://::1:6660" },
    { frontend: "udp://localhost:1" },
    { frontend: "inproc://x" },
    { frontend: "ipc://" },
    { frontend: ["tcp://127.0.0.1:0", "ipc://"] },
    { backend: `ipc:///${"x".repeat(107)}` },
    { backend: `ipc:///${"é".repeat(54)}` },
    { handler: "" },
    { handler: "ftp://example/handler.ts" },
    { handler: new URL("blob:null/1") },
    { permissions: "all" },
    { permissions: { ffi: true } },
    { permissions: { read: [1] } },
    { permissions: { read: [""] } },
    { permissions: { net: "example" } },
    { permissions: { all: ["x"] } },
    { signalPassthrough: ["SIGKILL"] },
    { signalPassthrough: ["USR2"] },
    { signalPassthrough: ["SIGUSR1"] },
    { pidFile: "" },
    { logLevel: "verbose" },
    { logLevel: "2" },
    { logFormat: "xml" },
    { minWorkers: 3, maxWorkers: 2 },
    { workers: 2, minWorkers: 3 },
    { minSpareWorkers: 3, maxSpareWorkers: 2 },
  ],
  TypeError: [
    { minWorkers: "2" },
    { minWorkers: null },
    { frontend: 6660 },
    { frontend: [6660] },
    { handler: () => {} },
    { background: 1 },
    { watch: "yes" },
    { permissions: ["read"] },
    { permissions: true },
    { signalPassthrough: "SIGUSR2" },
    { onIdle: "log" },
    { signal: new EventTarget() },
    { background: true, logFile: "x.log" },
    { background: true, pidFile: "x.pid" },
    { port: 6660 },
    { handlerAllowRead: true },
  ],
};

for (const [name, all] of Object.entries(BAD)) {
  for (const options of all) {
    Deno.test(`resolveOptions throws ${name} when given ${Deno.inspect(options)}`, () => {
      assert.throws(() => resolve(options), { name });
    });
  }
}

const GOOD: ServeOptions[] = [
  { frontend: "tcp://127.0.0.1:*" },
  { frontend: "tcp://*:6660" },
  { frontend: "tcp://[::1]:0" },
  { frontend: "tcp://eth0:65535" },
  { frontend: ["ipc://@jobs", "ipc:///run/jobs.ipc"] },
  { backend: `ipc:///${"x".repeat(106)}` },
  { prefetchBudget: 0.25 },
  { stopTimeout: 0 },
  { maxRequestsJitter: 0 },
  { background: true, pidFile: "x.pid", logFile: "x.log" },
  { minWorkers: undefined },
];

for (const options of GOOD) {
  Deno.test(`resolveOptions accepts ${Deno.inspect(options)}`, () => {
    resolve(options);
  });
}

Deno.test("resolveOptions suggests the nearest name when an option is unknown", () => {
  assert.throws(() => resolve({ minWorker: 1 }), {
    name: "TypeError",
    message: 'Unknown option "minWorker": did you mean "minWorkers"?',
  });
  assert.throws(() => resolve({ min_workers: 1 }), /did you mean "minWorkers"/);
  assert.throws(() => resolve({ onIdel: 1 }), /did you mean "onIdle"/);
  assert.throws(() => resolve({ zzzzzz: 1 }), /^TypeError: Unknown option "zzzzzz"$/);
});

function limits(options: ServeOptions, cpus = 2): number[] {
  const { minWorkers, maxWorkers, minSpareWorkers, maxSpareWorkers } = resolve(options, cpus);
  return [minWorkers, maxWorkers, minSpareWorkers, maxSpareWorkers];
}

Deno.test("resolveOptions moves the default of a limit when the other one is given", () => {
  assert.deepEqual(limits({ maxWorkers: 1 }), [1, 1, 0, 0]);
  assert.deepEqual(limits({ maxWorkers: 3 }, 8), [3, 3, 1, 2]);
  assert.deepEqual(limits({ minWorkers: 20 }), [20, 20, 1, 10]);
  assert.deepEqual(limits({ minWorkers: 1 }), [1, 8, 1, 7]);
});

Deno.test("resolveOptions sets both limits when workers is given", () => {
  assert.deepEqual(limits({ workers: 5 }), [5, 5, 1, 4]);
  assert.deepEqual(limits({ workers: 5, maxWorkers: 9 }), [5, 9, 1, 8]);
});

Deno.test("resolveOptions keeps spare workers below maxWorkers when they are given too", () => {
  assert.deepEqual(limits({ workers: 4, minSpareWorkers: 9, maxSpareWorkers: 9 }), [4, 4, 3, 3]);
  assert.deepEqual(limits({ maxWorkers: 50, minSpareWorkers: 12 }), [2, 50, 12, 12]);
  assert.deepEqual(limits({ maxWorkers: 50, maxSpareWorkers: 0 }), [2, 50, 0, 0]);
});

Deno.test("resolveOptions makes a specifier of the handler when it is a path", () => {
  const handler = (value: string | URL) => resolve({ handler: value }).handler;
  assert.equal(handler("./h.ts"), "file:///srv/app/h.ts");
  assert.equal(handler("a b/#1?.ts"), "file:///srv/app/a%20b/%231%3F.ts");
  assert.equal(handler("../h.ts"), "file:///srv/h.ts");
  assert.equal(handler("/x/h.ts"), "file:///x/h.ts");
  assert.equal(handler(new URL("file:///x/h%20.ts")), "file:///x/h%20.ts");
  for (const specifier of ["npm:x@1/y", "jsr:@a/b", "https://x/y.ts", "data:text/javascript,1"]) {
    assert.equal(handler(specifier), specifier);
  }
});

Deno.test("resolveOptions asks for the current directory only when a path needs it", () => {
  const machine = { cpus: 1, cwd: () => assert.fail("asked") };
  resolveOptions({ handler: "/x/h.ts" }, machine);
  resolveOptions({ handler: "npm:x" }, machine);
  assert.throws(() => resolveOptions({ handler: "h.ts" }, machine), /asked/);
});

Deno.test("resolveOptions spells out permissions when they are words or lists", () => {
  const permissions = (value: ServeOptions["permissions"]) =>
    resolve({ permissions: value }).permissions;
  assert.deepEqual(permissions("none"), {});
  assert.deepEqual(permissions("inherit"), { all: true });
  const given = { read: ["/a"], net: true, env: [] };
  const granted = permissions(given);
  assert.deepEqual(granted, { read: ["/a"], net: true, env: false });
  given.read.push("/b");
  assert.deepEqual(granted.read, ["/a"], "must not follow the caller's list");
});

Deno.test("OPTIONS has unique names, flags, variables and conf keys", () => {
  const keysOf = [
    () => OPTIONS.map(({ name }) => name),
    () => OPTIONS.flatMap(({ flag }) => flag || []),
    () => OPTIONS.flatMap(({ environment }) => environment || []),
    () =>
      OPTIONS.flatMap(({ name, netServer }) => [...new Set([separate(name, "_"), ...netServer])]),
  ];
  for (const keys of keysOf) assert.equal(new Set(keys()).size, keys().length);
});

Deno.test("OPTIONS reads back what it shows for each default", () => {
  for (const { name, kind, fallback, scope } of OPTIONS) {
    if (fallback === undefined || scope === "code" || kind.show(fallback) === "") continue;
    assert.deepEqual(kind.parse(kind.show(fallback)), fallback, name);
  }
});

function kindOf(name: string) {
  return OPTIONS.find((spec) => spec.name === name)?.kind ?? assert.fail(name);
}

function check(name: string, cases: Record<string, unknown>): void {
  for (const [text, value] of Object.entries(cases)) {
    assert.deepEqual(kindOf(name).parse(text), value, `${name} ${text}`);
  }
}

Deno.test("OPTIONS reads texts with units when they have them", () => {
  check("stopTimeout", {
    "0": 0,
    "15": undefined,
    ".5s": 500,
    "500ms": 500,
    "1.5s": 1500,
    "10s": 10_000,
    "5m": 300_000,
    "1h": 3_600_000,
    "10 s": undefined,
    "10S": undefined,
    "-1s": undefined,
    "600h": undefined,
    s: undefined,
    "": undefined,
  });
  check("queueBytes", {
    "100": 100,
    "512k": 524_288,
    "64M": 67_108_864,
    "64MiB": 67_108_864,
    "1GiB": 1_073_741_824,
    "1.5k": 1536,
    "0": undefined,
    "64MB": undefined,
    "0.3": undefined,
  });
  check("maxRequestsJitter", {
    "10%": 0.1,
    "0.25": 0.25,
    ".5": 0.5,
    "1": 1,
    "100%": 1,
    "2": undefined,
    "101%": undefined,
    "%": undefined,
  });
  check("minWorkers", { "2": 2, "2.0": undefined, "1e3": undefined, "0x2": undefined });
});

Deno.test("OPTIONS reads words when they are switches, levels, signals or grants", () => {
  check("watch", {
    true: true,
    YES: true,
    on: true,
    "1": true,
    "0": false,
    no: false,
    x: undefined,
  });
  check("logLevel", { "0": "error", "1": "warn", "2": "info", "3": "info", "4": "debug" });
  check("logLevel", { WARN: "warn", critical: "critical", "5": undefined, notice: undefined });
  check("signalPassthrough", {
    "usr2, SIGHUP": ["SIGUSR2", "SIGHUP"],
    KILL: undefined,
    USR1: undefined,
  });
  check("handlerAllowRead", {
    true: true,
    no: false,
    "/a,/b": ["/a", "/b"],
    "/a,true": true,
    "/a,false": undefined,
    "/a,": undefined,
    "": undefined,
  });
});

Deno.test("OPTIONS shows values in their largest whole unit", () => {
  assert.equal(kindOf("stopTimeout").show(90_000), "90s");
  assert.equal(kindOf("stopTimeout").show(1_500), "1500ms");
  assert.equal(kindOf("stopTimeout").show(0.5), "0.5ms");
  assert.equal(kindOf("queueBytes").show(1536), "1536");
  assert.equal(kindOf("queueBytes").show(2048), "2KiB");
  assert.equal(kindOf("maxRequestsJitter").show(0.07), "7%");
});

Deno.test("isServeOptions refuses a value when its option would", () => {
  assert.ok(isServeOptions({ minWorkers: 1, permissions: { read: true } }));
  assert.ok(!isServeOptions({ minWorkers: -1 }));
  assert.ok(!isServeOptions({ port: ["1"] }));
});

Deno.test("suggest finds nothing when nothing is near", () => {
  assert.equal(suggest("mnWorkers", ["minWorkers", "maxWorkers"]), ': did you mean "minWorkers"?');
  assert.equal(suggest("color", ["minWorkers"]), "");
});
