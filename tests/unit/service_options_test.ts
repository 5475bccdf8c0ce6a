/** Options of services by name: in code, in a conf file, as flags and variables, and what a reload makes of them. */

import { strict as assert } from "node:assert";
import { keepFixed } from "../../ops/fixed_options.ts";
import { changesOf, servicesOf } from "../../ops/loop_options.ts";
import { judgeFiles } from "../../ops/start_checks.ts";
import { parseCommand, type Sources } from "../../options/command.ts";
import { printConfig } from "../../options/help.ts";
import { hostedServices, settingsOf } from "../../options/hosted.ts";
import { resolveOptions } from "../../options/resolve.ts";
import { SERVICE_OPTIONS } from "../../options/services.ts";
import type { ServeOptions, Settings } from "../../options/settings.ts";

const MACHINE = { cpus: 2, cwd: () => "/srv/app" };

function resolve(options: unknown): Settings {
  return resolveOptions(options as ServeOptions, MACHINE);
}

/** The settings of the service "mail". */
function mail(options: Record<string, unknown>, around: Record<string, unknown> = {}): Settings {
  const settings = resolve({ ...around, services: { mail: { handler: "./mail.ts", ...options } } });
  return settingsOf(settings, "mail") ?? assert.fail("there is no such service");
}

function sourcesOf(conf?: string, env: Record<string, string> = {}): Sources {
  return {
    env: (name) => env[name],
    readFile(path) {
      if (conf === undefined || path !== "x.conf") throw new Error(`no such file: ${path}`);
      return conf;
    },
  };
}

function parse(args: string[], conf?: string, env: Record<string, string> = {}) {
  const given = conf === undefined ? args : ["--config=x.conf", ...args];
  const command = parseCommand(given, sourcesOf(conf, env));
  if (!("options" in command)) assert.fail(`mode is ${command.mode}`);
  return command;
}

function services(args: string[], conf?: string, env?: Record<string, string>) {
  return parse(args, conf, env).options.services;
}

function refuses(args: string[], message: string | RegExp, conf?: string): void {
  assert.throws(() => parse(args, conf), { name: "UsageError", message });
}

// ---- in code ----

Deno.test("resolveOptions gives a service what stands above it, and what it sets itself", () => {
  const around = { requestTimeout: 9000, maxRequests: 7, permissions: { read: ["/srv"] } };
  const own = { requestTimeout: 5000, permissions: { net: true } };
  const settings = mail(own, around);
  assert.equal(settings.handler, "file:///srv/app/mail.ts");
  assert.equal(settings.requestTimeout, 5000);
  assert.equal(settings.maxRequests, 7);
  assert.deepEqual(settings.permissions, { net: true }, "grants are one option, never merged");
  assert.deepEqual(settings.frontend, [], "endpoints above are everybody's, not its own");
  assert.deepEqual(settings.services, {});
  const { requestTimeout, permissions } = resolve({ ...around, services: { mail: "./mail.ts" } });
  assert.deepEqual([requestTimeout, permissions], [9000, { read: ["/srv"] }]);
});

Deno.test("resolveOptions takes a handler alone for a service", () => {
  const given = { a: "./a.ts", b: new URL("file:///b.ts"), c: "npm:c" };
  const { services } = resolve({ services: given });
  const handlers = Object.values(services).map(({ handler }) => handler);
  assert.deepEqual(handlers, ["file:///srv/app/a.ts", "file:///b.ts", "npm:c"]);
});

Deno.test("resolveOptions moves bounds that a service inherits when its own need it", () => {
  assert.partialDeepStrictEqual(mail({ maxWorkers: 1 }, { minWorkers: 3 }), {
    minWorkers: 1,
    maxWorkers: 1,
    maxSpareWorkers: 0,
  });
  assert.partialDeepStrictEqual(mail({ minWorkers: 9 }, { maxWorkers: 3 }), {
    minWorkers: 9,
    maxWorkers: 9,
  });
  assert.partialDeepStrictEqual(mail({ maxWorkers: 8 }, { workers: 1 }), {
    minWorkers: 1,
    maxWorkers: 8,
    maxSpareWorkers: 7,
  });
  assert.partialDeepStrictEqual(mail({ workers: 5 }, { minWorkers: 2, maxWorkers: 3 }), {
    minWorkers: 5,
    maxWorkers: 5,
  });
});

Deno.test("resolveOptions names the service and the option when a value of it is bad", () => {
  const refused = (given: unknown, name: string, message: string) =>
    assert.throws(() => resolve({ services: { "my.mail": given } }), { name, message });
  const handler = "./mail.ts";
  refused(
    { handler, minWorkers: 0 },
    "RangeError",
    'Cannot start: "services.my.mail.minWorkers" must be an integer >= 1: current value is 0',
  );
  refused(
    { handler, minWorkers: 3, maxWorkers: 2 },
    "RangeError",
    'Cannot start: "services.my.mail.minWorkers" must be at most ' +
      '"services.my.mail.maxWorkers" (2): current value is 3',
  );
  refused(
    { handler, minWokers: 3 },
    "TypeError",
    'Unknown option "minWokers" of the service "my.mail": did you mean "minWorkers"?',
  );
  refused(
    { minWorkers: 3 },
    "TypeError",
    'Cannot start: "services.my.mail.handler" is missing: a service needs one',
  );
  refused(
    7,
    "TypeError",
    'Cannot start: "services.my.mail" must be a handler or an object of options: current value is 7',
  );
  refused(
    { handler, memoryLimit: 5 },
    "RangeError",
    'Cannot start: "services.my.mail.memoryLimit" must be 0 or >= 16777216 (16 MiB): ' +
      "current value is 5",
  );
  assert.throws(() => resolve({ services: { mail: () => "x" } }), /each worker is a process/);
  assert.throws(() => resolve({ services: "mail" }), /"services" must be an object of services/);
});

Deno.test("resolveOptions refuses in a service what concerns the whole server, and says what it may have", () => {
  for (const [name, value] of Object.entries({ pidFile: "/x", onIdle() {}, backend: "ipc:///x" })) {
    assert.throws(() => mail({ [name]: value }), {
      name: "TypeError",
      message: `Cannot start: "${name}" concerns the whole server, not the service "mail" alone: ` +
        `a service may have ${SERVICE_OPTIONS.join(", ")}`,
    });
  }
  assert.throws(() => mail({ services: {} }), /"services" concerns the whole server/);
});

Deno.test("resolveOptions takes names of 1 to 64 of the allowed characters, and none that is set aside", () => {
  const named = (name: string) => () => resolve({ services: { [name]: "./x.ts" } });
  for (const name of ["a", "A-z_0.9", "x".repeat(64), "mmi", "mmi_x", "constructor", "__proto__"]) {
    assert.deepEqual(Object.keys(named(name)().services), [name]);
  }
  for (const name of ["", "x".repeat(65), "a b", "a/b", "ä"]) {
    assert.throws(named(name), {
      name: "RangeError",
      message: "Cannot start: the name of a service must be 1 to 64 characters of " +
        'A-Z, a-z, 0-9, ".", "_" and "-": ' +
        `current value is ${Deno.inspect(name)}`,
    });
  }
  assert.throws(named("mmi.service"), {
    name: "RangeError",
    message: 'Cannot start: the name "mmi.service" of a service is set aside: names that start ' +
      'with "mmi." belong to the Majordomo Management Interface (ZeroMQ RFC 8)',
  });
  assert.throws(named("titanic.request"), /set aside: .*"titanic\."/);
});

Deno.test("resolveOptions wants a list of clients where users are named, above or in a service", () => {
  const keys = { curveSecretKey: "/k", curveClients: "/c" };
  assert.deepEqual(mail({ users: "ann" }, keys).users, ["ann"]);
  assert.deepEqual(mail({}, { ...keys, users: ["ann", "bob"] }).users, ["ann", "bob"]);
  assert.deepEqual(mail({ users: [] }, { ...keys, users: ["ann"] }).users, [], "nobody");
  assert.equal(mail({}, keys).users, undefined);
  const needed = 'needs "curveClients", a file that gives clients their names';
  assert.throws(() => mail({ users: "ann" }), {
    name: "TypeError",
    message: `Cannot start: "services.mail.users" ${needed}`,
  });
  assert.throws(() => resolve({ users: "ann", curveSecretKey: "/k", curveClients: "any" }), {
    message: `Cannot start: "users" ${needed}`,
  });
  assert.throws(() => mail({ users: "ann bob" }, keys), /"services.mail.users" must be a name/);
});

Deno.test("hostedServices has the service without a name where there is a handler, or no other service", () => {
  const names = (options: unknown) => hostedServices(resolve(options)).map(([name]) => name);
  assert.deepEqual(names({}), [""]);
  assert.deepEqual(names({ services: {} }), [""]);
  assert.deepEqual(names({ handler: "./x.ts" }), [""]);
  assert.deepEqual(names({ services: { b: "./b.ts", a: "./a.ts" } }), ["b", "a"]);
  assert.deepEqual(names({ handler: "./x.ts", services: { a: "./a.ts" } }), ["", "a"]);
});

Deno.test("resolveOptions refuses an endpoint that belongs to two services, or to one and to all", () => {
  const at = (frontend: string) => ({ handler: "./x.ts", frontend });
  assert.throws(() => resolve({ services: { a: at("tcp://127.0.0.1:6660") } }), {
    name: "RangeError",
    message: `Cannot start: "tcp://127.0.0.1:6660" can't be in "frontend" and in ` +
      '"services.a.frontend": an endpoint belongs to one service, or to all',
  });
  const two = { a: at("ipc:///x"), b: at("ipc:///x") };
  assert.throws(() => resolve({ services: two }), /in "services\.a\.frontend" and in "services\.b/);
  const free = { a: at("tcp://127.0.0.1:0"), b: at("tcp://127.0.0.1:*") };
  assert.equal(
    Object.keys(resolve({ frontend: "tcp://127.0.0.1:0", services: free }).services).length,
    2,
  );
  const args = ["--service=a=./a.ts", "--frontend=a=tcp://127.0.0.1:6660"];
  refuses(args, /can't be in "--frontend" and in "--frontend" of the service "a"/);
});

Deno.test("servicesOf tells the loop of each service's limits, endpoints and users", () => {
  const told = (options: unknown) =>
    servicesOf(resolve(options)).map(({ limits, ...rest }) => ({
      ...rest,
      most: limits.queueLimit,
    }));
  const mine = { handler: "./m.ts", frontend: "tcp://127.0.0.1:2", queueLimit: 3 };
  const around = { frontend: "tcp://127.0.0.1:1", handler: "./x.ts", queueLimit: 5 };
  assert.deepEqual(told({ ...around, services: { mail: mine } }), [
    { name: "", frontend: [], users: undefined, mdpWorkers: "none", most: 5 },
    {
      name: "mail",
      frontend: ["tcp://127.0.0.1:2"],
      users: undefined,
      mdpWorkers: "none",
      most: 3,
    },
  ]);
  const keys = { curveSecretKey: "/k", curveClients: "/c", queueLimit: 5 };
  assert.deepEqual(told({ ...keys, services: { mail: { handler: "./m.ts", users: "ann" } } }), [
    { name: "mail", frontend: [], users: ["ann"], mdpWorkers: "none", most: 5 },
  ]);
});

Deno.test("judgeFiles counts the workers and the endpoints of all services", () => {
  const one = resolve({ services: { a: { handler: "./a.ts", workers: 4 } } });
  const two = resolve({
    services: {
      a: { handler: "./a.ts", workers: 2, frontend: "tcp://127.0.0.1:1" },
      b: { handler: "./b.ts", workers: 2 },
    },
  });
  const least = (settings: Settings) => {
    for (let limit = 1;; limit++) {
      try {
        judgeFiles(settings, { open: 10, limit }, 1);
        return limit;
      } catch { /* more are needed */ }
    }
  };
  assert.equal(least(two), least(one) + 1, "two workers twice, and one endpoint more");
});

// ---- as an operator writes them ----

Deno.test("parseCommand reads services from flags and the environment", () => {
  const both = { a: { handler: "./a.ts" }, "b.c": { handler: "npm:b@1" } };
  assert.deepEqual(services(["--service", "a=./a.ts", "--service=b.c=npm:b@1"]), both);
  assert.deepEqual(services([], undefined, { PREFORK_SERVICE: "a=./a.ts, b.c=npm:b@1" }), both);
  const inline = "data:text/javascript,export default (a,b) => a";
  assert.deepEqual(services([`--service=x=${inline}`]), { x: { handler: inline } });
  const { options } = parse(["--service=a=./a.ts", "./plain.ts"]);
  assert.equal(options.handler, "./plain.ts");
});

Deno.test("parseCommand gives a service the endpoints that are written with its name", () => {
  const args = ["--frontend", "mail=tcp://127.0.0.1:2", "--service=mail=./m.ts"];
  const { options } = parse([...args, "--frontend=tcp://127.0.0.1:1,mail=ipc:///x=y"]);
  assert.deepEqual(options.frontend, ["tcp://127.0.0.1:1"]);
  const frontend = ["tcp://127.0.0.1:2", "ipc:///x=y"];
  assert.deepEqual(options.services, { mail: { handler: "./m.ts", frontend } });
  assert.equal(parse(args).options.frontend, undefined, "the others keep their default");
  const env = { PREFORK_FRONTEND: "mail=tcp://127.0.0.1:3" };
  assert.deepEqual(services(["--service=mail=./m.ts"], undefined, env), {
    mail: { handler: "./m.ts", frontend: ["tcp://127.0.0.1:3"] },
  });
});

const CONF = `
minWorkers 2
frontend tcp://127.0.0.1:1
handler_allow_read /srv

[service mail]    # the first
handler ./mail.ts
max_workers 1
frontend tcp://127.0.0.1:2
frontend tcp://127.0.0.1:3
handler_allow_net smtp:25

[ service resize ]
app = ./resize.ts
requestTimeout 5s
check_for_spawn 30
`;

Deno.test("readConf gives lines that follow [service NAME] to that service", () => {
  const { config: _, ...options } = parse([], CONF).options;
  assert.deepEqual(options, {
    minWorkers: 2,
    frontend: ["tcp://127.0.0.1:1"],
    permissions: { read: ["/srv"] },
    services: {
      mail: {
        handler: "./mail.ts",
        maxWorkers: 1,
        frontend: ["tcp://127.0.0.1:2", "tcp://127.0.0.1:3"],
        permissions: { net: ["smtp:25"] },
      },
      resize: { handler: "./resize.ts", requestTimeout: 5000, checkForSpawnInterval: 30_000 },
    },
  });
});

Deno.test("parseCommand lets flags beat the section of a service, option by option", () => {
  const args = ["--service=mail=./other.ts", "--frontend=mail=tcp://127.0.0.1:9"];
  const found = services(args, CONF)?.mail;
  assert.deepEqual(found, {
    handler: "./other.ts",
    maxWorkers: 1,
    frontend: ["tcp://127.0.0.1:9"],
    permissions: { net: ["smtp:25"] },
  });
});

Deno.test("readConf names the line when it can't use one of a section", () => {
  const conf = (text: string) => `[service mail]\nhandler ./x.ts\n${text}\n`;
  refuses([], /^Cannot start: "minWorkers" in x\.conf:3 must be an integer/, conf("minWorkers 0"));
  refuses([], /"max_workers" in x\.conf:4 \(2\)/, conf("min_workers 3\nmax_workers 2"));
  refuses(
    [],
    'Unknown option "minwokers" in x.conf:3: did you mean "minWorkers"?',
    conf("minwokers 1"),
  );
  refuses(
    [],
    /^Cannot start: "pid_file" in x\.conf:3 concerns the whole server, not the service "mail" alone: a service may have handler, frontend.*handlerAllowRead/,
    conf("pid_file /x"),
  );
  refuses(
    [],
    'Cannot start: "[service mail]" in x.conf:3 is given twice: first is "[service mail]" in x.conf:1',
    conf("[service mail]"),
  );
  refuses(
    [],
    'Cannot read x.conf:1: a section must be "[service NAME]" or "[schedule NAME]": ' +
      'current line is "[mail]"',
    "[mail]",
  );
  refuses(
    [],
    /^Cannot read x\.conf:2: the name "mmi\.x" of a service is set aside/,
    "\n[service mmi.x]",
  );
  refuses(
    [],
    /^Cannot read x\.conf:1: the name of a service must be 1 to 64 char/,
    "[service a b]",
  );
  refuses(
    [],
    'Cannot start: "[service mail]" in x.conf:1 names the service "mail", which has no handler' +
      ": --service NAME=HANDLER or a conf file gives it one",
    "[service mail]",
  );
  refuses([], /"service" in x\.conf:3 concerns the whole server/, conf("service a=./a.ts"));
  refuses(
    [],
    'Cannot start: "frontend" in x.conf:4 and "frontend" in x.conf:1 exclude each other',
    "frontend mail=tcp://127.0.0.1:1\n[service mail]\nhandler ./x.ts\nfrontend tcp://127.0.0.1:2",
  );
});

Deno.test("parseCommand says what is wrong with a service on the command line", () => {
  refuses(
    ["--service", "./a.ts"],
    'Cannot start: "--service" must be NAME=HANDLER, where NAME has 1 to 64 characters of ' +
      'A-Z, a-z, 0-9, ".", "_" and "-": ' +
      'current value is "./a.ts"',
  );
  refuses(
    ["--service=a=./a.ts", "--service=a=./b.ts"],
    'Cannot start: "--service" gives "a" two handlers',
  );
  refuses(["--service=mmi.a=./a.ts"], /^Cannot start with "--service": the name "mmi\.a"/);
  refuses(
    ["--service=mail=./m.ts", "--frontend=mial=tcp://127.0.0.1:1"],
    'Cannot start: "--frontend" names the service "mial", which has no handler: did you mean "mail"?',
  );
  refuses(
    ["--service=mail=./m.ts", "--frontend=mail=tcp:/x"],
    /^Cannot start: "--frontend" must be one or more of/,
  );
  refuses(["--services=mail=./m.ts"], 'Unknown option "--services": did you mean "--service"?');
});

Deno.test("printConfig prints what a service sets as a section that can be read again", () => {
  const command = parse([], CONF);
  const printed = printConfig(resolve(command.options), command.sources);
  assert.match(
    printed,
    /\n\[service mail\]\nhandler file:\/\/\/srv\/app\/mail\.ts +# file x\.conf:7\n/,
  );
  assert.match(printed, /maxWorkers 1 +# file x\.conf:8\n/);
  assert.match(printed, /minWorkers 1 +# default\n/, "what its maximum has lowered");
  const again = parse([], printed);
  const bare = (text: string) => text.replaceAll(/ +#.*$/gm, "").replaceAll(/^# .*\n/gm, "");
  assert.equal(bare(printConfig(resolve(again.options), again.sources)), bare(printed));
});

// ---- a reload ----

Deno.test("keepFixed keeps the services that there are, and the endpoints of each", () => {
  const handler = "./x.ts";
  const before = resolve({
    services: { a: { handler }, b: { handler, frontend: "tcp://127.0.0.1:1" } },
  });
  const next = resolve({
    handler: "./plain.ts",
    maxFrames: 5,
    services: { b: { handler, frontend: "tcp://127.0.0.1:2", maxAge: 7 }, c: { handler } },
  });
  const remarks: string[] = [];
  const kept = keepFixed(before, next, (remark) => remarks.push(remark));
  assert.deepEqual(hostedServices(kept).map(([name]) => name), ["a", "b"]);
  assert.deepEqual(settingsOf(kept, "a"), settingsOf(before, "a"));
  const { frontend, maxAge, maxFrames } = settingsOf(kept, "b") ?? assert.fail();
  assert.deepEqual([frontend, maxAge, maxFrames], [["tcp://127.0.0.1:1"], 7, 1000]);
  assert.deepEqual(remarks, [
    'a changed "maxFrames" is applied after a restart only',
    "the service without a name is added after a restart only",
    'the service "c" is added after a restart only',
    'the service "a" is removed after a restart only',
    'a changed "services.b.frontend" is applied after a restart only',
  ]);
});

Deno.test("keepFixed lets other users ask where clients have keys, and nobody else's change anything", () => {
  const keys = { curveSecretKey: "/k", curveClients: "/c" };
  const of = (users: string[] | undefined, around = {}) =>
    resolve({ ...around, services: { a: { handler: "./x.ts", ...(users && { users }) } } });
  const remarks: string[] = [];
  const kept = keepFixed(of(["ann"], keys), of(["bob"], keys), (remark) => remarks.push(remark));
  assert.deepEqual(settingsOf(kept, "a")?.users, ["bob"]);
  assert.deepEqual(changesOf(kept).a?.users, ["bob"]);
  assert.equal(remarks.length, 0);
  const opened = keepFixed(of(["ann"], keys), of(undefined, keys), assert.fail);
  assert.equal(changesOf(opened).a?.users, "all");
  const late = keepFixed(of(undefined), of(["bob"], keys), (remark) => remarks.push(remark));
  assert.equal(settingsOf(late, "a")?.users, undefined, "all would be answered 403");
  assert.equal(remarks.at(-1), 'a changed "services.a.users" is applied after a restart only');
});

Deno.test("keepFixed keeps the service without a name when a reload leaves its handler out", () => {
  const before = resolve({ handler: "./x.ts" });
  const remarks: string[] = [];
  const kept = keepFixed(
    before,
    resolve({ services: { a: "./a.ts" } }),
    (remark) => remarks.push(remark),
  );
  assert.deepEqual(hostedServices(kept).map(([name, { handler }]) => [name, handler]), [
    ["", "file:///srv/app/x.ts"],
  ]);
  assert.equal(remarks.length, 2);
});
