/** Options of stored jobs: in code, in a conf file, what a reload may change, and what the store is told. */

import { strict as assert } from "node:assert";
import { keepFixed } from "../../ops/fixed_options.ts";
import { natsOrdersOf, needsStore, storeConfigOf, storePlace } from "../../ops/store_orders.ts";
import { parseCommand } from "../../options/command.ts";
import { faultOfCron } from "../../options/cron.ts";
import { helpText, printConfig } from "../../options/help.ts";
import { listOptions, sourcesInCode } from "../../options/listing.ts";
import { resolveOptions } from "../../options/resolve.ts";
import type { ServeOptions, Settings } from "../../options/settings.ts";

function resolve(options: unknown): Settings {
  return resolveOptions(options as ServeOptions, { cpus: 2, cwd: () => "/srv/app" });
}

function parse(conf: string, args: string[] = []) {
  const sources = { env: () => undefined, readFile: () => conf };
  const command = parseCommand(["--config=x.conf", ...args], sources);
  if (!("options" in command)) assert.fail(`mode is ${command.mode}`);
  return command;
}

function refuses(options: unknown, name: string, message: string | RegExp): void {
  assert.throws(() => resolve(options), { name, message });
}

// ---- where jobs are kept ----

Deno.test("resolveOptions makes the path of a store absolute", () => {
  const placed = (store: string) => resolve({ store }).store;
  assert.equal(placed("jobs.db"), "sqlite:/srv/app/jobs.db");
  assert.equal(placed("sqlite:../jobs.db"), "sqlite:/srv/jobs.db");
  assert.equal(placed("/var/jobs.db"), "sqlite:/var/jobs.db");
  assert.equal(placed("sqlite:///var/jobs.db"), "sqlite:/var/jobs.db");
  assert.equal(placed("auto"), "auto");
  assert.equal(placed("off"), "off");
  assert.equal(placed("nats://a"), "nats://a:4222");
  assert.equal(placed("tls://a,tls://b:5"), "tls://a:4222,b:5");
  assert.equal(placed("nats://a:1, b ,nats://[::1]:3"), "nats://a:1,b:4222,[::1]:3");
});

Deno.test("resolveOptions refuses a store that would keep nothing, or that it does not know", () => {
  const bad = ["", ":memory:", "sqlite:", "sqlite::memory:", "redis://a", "file:///x", "nats:a"];
  const servers = [
    "nats://",
    "nats://a,,b",
    "nats://u:p@a",
    "nats://*",
    "nats://a:0",
    "nats://a:x",
  ];
  for (const store of [...bad, ...servers]) {
    refuses({ store }, "RangeError", /^Cannot start: "store" must be "auto", "off", "sqlite:PATH"/);
  }
});

Deno.test("parseCommand says where a password for NATS belongs", () => {
  assert.throws(() => parse("store nats://ann:secret@a"), {
    name: "UsageError",
    message: /^Cannot start: "store" in x\.conf:1 must not have a user and a password, which would/,
  });
});

Deno.test("storePlace names the file after the first frontend, in the folder for state", () => {
  const place = (store: string, env: Record<string, string>) =>
    storePlace(resolve({ store }), "tcp://127.0.0.1:6660", (name) => env[name]);
  const file = "prefork/tcp-127.0.0.1-6660.db";
  assert.deepEqual(place("auto", { XDG_STATE_HOME: "/s/", HOME: "/h" }), {
    store: `sqlite:/s/${file}`,
  });
  assert.deepEqual(place("auto", { XDG_STATE_HOME: "s", HOME: "/h" }), {
    store: `sqlite:/h/.local/state/${file}`,
  });
  assert.match(JSON.stringify(place("auto", {})), /"reason":"neither XDG_STATE_HOME nor HOME/);
  assert.match(JSON.stringify(place("off", { HOME: "/h" })), /"reason":"the option .*off/);
  assert.deepEqual(place("nats://a", {}), { store: "nats://a:4222" });
});

// ---- NATS ----

Deno.test("resolveOptions wants NATS where it is told how to reach it", () => {
  const nats = { store: "nats://a" };
  refuses(
    { natsCa: "ca.pem" },
    "TypeError",
    'Cannot start: "natsCa" needs "store" to be nats://HOST:PORT: current value is "auto"',
  );
  refuses({ ...nats, natsCert: "c" }, "TypeError", /"natsCert" needs "natsKey", which is not set$/);
  refuses({ ...nats, natsKey: "k" }, "TypeError", /"natsKey" needs "natsCert", which is not set$/);
  refuses(
    { ...nats, natsNkey: "k", natsCredentials: "c" },
    "TypeError",
    'Cannot start: "natsCredentials" and "natsNkey" exclude each other',
  );
  refuses({ ...nats, natsPrefix: "a.b" }, "RangeError", /"natsPrefix" must be 1 to 32 characters/);
});

Deno.test("natsOrdersOf has absolute paths, and TLS only where a file asks for it", () => {
  assert.equal(natsOrdersOf(resolve({})), undefined);
  const orders = { credentials: undefined, nkey: undefined, tls: undefined, prefix: "prefork" };
  assert.deepEqual(natsOrdersOf(resolve({ store: "nats://a" })), { ...orders, ackWait: 30_000 });
  const files = { natsCa: "ca.pem", natsCert: "/c.pem", natsKey: "k.pem", natsNkey: "seed" };
  const options = { ...files, store: "nats://a", natsPrefix: "x", natsAckWait: 5000 };
  assert.deepEqual(natsOrdersOf(resolve(options)), {
    credentials: undefined,
    nkey: "/srv/app/seed",
    tls: { ca: "/srv/app/ca.pem", cert: "/c.pem", key: "/srv/app/k.pem" },
    prefix: "x",
    ackWait: 5000,
  });
});

// ---- schedules ----

Deno.test("resolveOptions fills in what a schedule leaves out", () => {
  const { schedules } = resolve({ schedules: { nightly: { cron: "0 3 * * *" } } });
  assert.deepEqual(schedules, {
    nightly: { cron: "0 3 * * *", timeZone: "", service: "", body: "", catchUp: 3_600_000 },
  });
});

Deno.test("resolveOptions names the schedule and its option when it can't be", () => {
  const one = (given: unknown) => ({ schedules: { a: given } });
  const cron = "0 3 * * *";
  refuses(
    one({ cron: "0 25 * * *" }),
    "RangeError",
    'Cannot start: "schedules.a.cron": field "hour" must be from 0 to 23: current value is "25"',
  );
  refuses(
    one({ cron: "0 3 * *" }),
    "RangeError",
    /"schedules\.a\.cron" must be a cron pattern of 5 f/,
  );
  refuses(one({ cron: 3 }), "TypeError", /"schedules\.a\.cron" must be a cron pattern/);
  refuses(
    one({}),
    "TypeError",
    'Cannot start: "schedules.a.cron" is missing: a schedule needs one',
  );
  refuses(one("x"), "TypeError", /"schedules\.a" must be an object of options/);
  refuses({ schedules: [] }, "TypeError", /"schedules" must be an object of schedules/);
  refuses(
    one({ cron, timezone: "x" }),
    "TypeError",
    /of the schedule "a": did you mean "timeZone"/,
  );
  refuses(
    one({ cron, timeZone: "Mars/Base" }),
    "RangeError",
    /"schedules\.a\.timeZone" must be the n/,
  );
  refuses(
    one({ cron, timeZone: "+02:00" }),
    "RangeError",
    /"schedules\.a\.timeZone" must be the na/,
  );
  refuses(one({ cron, body: 1 }), "TypeError", /"schedules\.a\.body" must be a text/);
  refuses(
    one({ cron, body: "€".repeat(22_000) }),
    "RangeError",
    /65536 bytes: current value is 66000/,
  );
  refuses(one({ cron, catchUp: -1 }), "RangeError", /"schedules\.a\.catchUp" must be a number/);
  refuses(
    one({ cron, service: "x" }),
    "RangeError",
    /"schedules\.a\.service" must be one of the serv/,
  );
  refuses(
    { schedules: { "a b": { cron } } },
    "RangeError",
    /the name of a schedule must be 1 to 64/,
  );
  const many = Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`s${i}`, { cron }]));
  refuses({ schedules: many }, "RangeError", /"schedules" must be at most 1000/);
  refuses({ schedules: { a: { cron } }, store: "off" }, "TypeError", /"schedules" needs a "store"/);
  const named = { services: { mail: "./mail.ts" } };
  refuses(
    { ...named, schedules: { a: { cron } } },
    "TypeError",
    /"schedules\.a\.service" is missing: there is no service without a name, but "mail"/,
  );
  assert.equal(resolve({ ...named, schedules: { a: { cron, service: "mail" } } }).store, "auto");
});

Deno.test("faultOfCron names the field that is wrong", () => {
  const good = [
    ...["* * * * *", "*/5 0-23/2 1,15 JAN-MAR MON-FRI", "0 0 L * *", "0 0 15W * ?", "@daily"],
    ...["0 0 * * FRI#2", "0 0 * * 5#L", "30 0 3 * * *", "0 0 29 2 *", "0 0 30 1-3 *", "0 0 31 2 1"],
  ];
  for (const pattern of good) assert.equal(faultOfCron(pattern), undefined, pattern);
  const fault = (pattern: string, rule: RegExp) => assert.match(faultOfCron(pattern) ?? "", rule);
  fault("60 * * * *", /^field "minute" must be from 0 to 59: current value is "60"/);
  fault("* * 0 * *", /^field "day" must be from 1 to 31/);
  fault("* * * 13 *", /^field "month" must be from 1 to 12, or JAN, FEB/);
  fault("* * * * FRIDAY", /^field "weekday" must be from 0 to 7, or SUN/);
  fault("61 * * * * *", /^field "second" must be/);
  fault("*/0 * * * *", /^field "minute" must have steps from 1 to 59/);
  fault("5/5 * * * *", /^field "minute" has a step without a range/);
  fault("9-3 * * * *", /^field "minute" has a range that ends before it starts/);
  fault("1-2-3 * * * *", /^field "minute" has a range of more than two ends/);
  fault("1,,2 * * * *", /^field "minute" must be/);
  fault("0 0 30 2 *", /^is never due/);
  fault("0 0 31 2,4-6/2 *", /^is never due/);
  for (const pattern of ["", "abc", "* * * *", "* * * * * * *", "@reboot", "* ".repeat(150)]) {
    assert.equal(faultOfCron(pattern), "", pattern);
  }
});

// ---- services ----

Deno.test("storeConfigOf has the rules of each service, and the schedules", () => {
  const settings = resolve({
    rate: "600/m",
    storeJobs: 5,
    services: {
      mail: { handler: "./mail.ts", rate: "100/s burst 20", maxRunningPerGroup: 2 },
      sms: { handler: "./sms.ts", durable: true },
    },
    schedules: { hourly: { cron: "@hourly", service: "sms", body: "x", catchUp: 0 } },
  });
  assert.deepEqual(storeConfigOf(settings), {
    anyService: false,
    storeBytes: 1024 ** 3,
    storeJobs: 5,
    resultTtl: 86_400_000,
    deadTtl: 30 * 86_400_000,
    submitTimeout: 3000,
    services: {
      mail: { maxRunningPerGroup: 2, rate: { perSecond: 100, burst: 20 } },
      sms: { maxRunningPerGroup: 0, rate: { perSecond: 10, burst: 1 } },
    },
    schedules: {
      hourly: { cron: "@hourly", timeZone: "", service: "sms", body: "x", catchUpMs: 0 },
    },
  });
  refuses({ rate: "1" }, "RangeError", /"rate" must be off, or a rate such as 100\/s/);
  const durable = { services: { a: { handler: "./a.ts", durable: true } }, store: "off" };
  refuses(durable, "TypeError", /"services\.a\.durable" needs a "store": current value is "off"/);
});

Deno.test("needsStore is true where jobs come by themselves, or from other servers", () => {
  assert.equal(needsStore(resolve({})), false);
  assert.equal(needsStore(resolve({ store: "jobs.db" })), false);
  assert.equal(needsStore(resolve({ store: "nats://a" })), true);
  assert.equal(needsStore(resolve({ store: "tls://a" })), true);
  assert.equal(needsStore(resolve({ schedules: { a: { cron: "@daily" } } })), true);
  assert.equal(needsStore(resolve({ durable: true })), true);
  const durable = { handler: "./a.ts", durable: true };
  assert.equal(needsStore(resolve({ services: { a: durable } })), true);
});

// ---- the conf file ----

const CONF = `
handler ./all.ts
rate 10/m
deadTtl 7d

[schedule nightly]
cron 0 3 * * FRI\\#2
time_zone Europe/Berlin
body {"kind": "daily"} # a comment
catchUp 1d

[service mail]
handler ./mail.ts
rate off

[schedule each.hour]
cron @hourly
service mail
`;

Deno.test("readConf gives lines that follow [schedule NAME] to that schedule", () => {
  const { options, sources } = parse(CONF);
  assert.deepEqual(options.schedules, {
    nightly: {
      cron: "0 3 * * FRI#2",
      timeZone: "Europe/Berlin",
      body: '{"kind": "daily"}',
      catchUp: 86_400_000,
    },
    "each.hour": { cron: "@hourly", service: "mail" },
  });
  assert.deepEqual(options.services, { mail: { handler: "./mail.ts", rate: "off" } });
  assert.equal(options.deadTtl, 7 * 86_400_000);
  assert.equal(sources.get("schedules.nightly.timeZone"), "file x.conf:8");
});

Deno.test("readConf names the line of a schedule that can't be", () => {
  const refuse = (lines: string, message: string | RegExp) =>
    assert.throws(() => parse(`[schedule a]\n${lines}`), { name: "UsageError", message });
  refuse(
    "cron 0 25 * * *",
    'Cannot start: "cron" in x.conf:2: field "hour" must be from 0 to 23: current value is "25"',
  );
  refuse(
    "service x",
    'Cannot start: "cron" of "[schedule a]" in x.conf:1 is missing: a schedule needs one',
  );
  refuse(
    "cron @daily\nservice x",
    /^Cannot start: "service" in x\.conf:3 must be one of the services/,
  );
  refuse("cron @daily\ncatchUp 5", /"catchUp" in x\.conf:3 needs a unit: did you mean "5s"/);
  refuse(
    "cron @daily\ncron @hourly",
    /"cron" in x\.conf:3 is given twice: first is "cron" in x\.conf:2/,
  );
  refuse("cron", /"cron" in x\.conf:2 needs a value/);
  refuse("crom @daily", 'Unknown option "crom" of a schedule in x.conf:2: did you mean "cron"?');
  refuse("cron @daily\n[schedule a]", /"\[schedule a\]" in x\.conf:3 is given twice/);
  refuse("[schedule b c]", /^Cannot read x\.conf:2: the name of a schedule must be 1 to 64/);
});

Deno.test("printConfig prints schedules as sections that can be read again", () => {
  const command = parse(CONF);
  const settings = resolve(command.options);
  const printed = printConfig(settings, command.sources);
  assert.match(printed, /\n\[schedule nightly\]\ncron 0 3 \* \* FRI\\#2 +# file x\.conf:7\n/);
  assert.match(printed, /\n# service +# default\n/);
  assert.deepEqual(resolve(parse(printed).options).schedules, settings.schedules);
});

Deno.test("listOptions has each option of a schedule, and where it was set", () => {
  const options = { schedules: { a: { cron: "@daily", body: "x" } } };
  const sources = sourcesInCode(options, {}, options.schedules);
  const listed = listOptions(resolve(options), sources).filter(({ name }) =>
    name.startsWith("sched")
  );
  assert.deepEqual(listed, [
    { name: "schedules.a.cron", value: "@daily", source: "serve()" },
    { name: "schedules.a.timeZone", value: "", source: "default" },
    { name: "schedules.a.service", value: "", source: "default" },
    { name: "schedules.a.body", value: "x", source: "serve()" },
    { name: "schedules.a.catchUp", value: "1h", source: "default" },
  ]);
});

Deno.test("helpText lists the options of stored jobs", () => {
  const text = helpText("x");
  assert.match(text, /\nStored jobs:\n {2}--store auto\|off\|FILE\|nats:\/\/HOST\n/);
  assert.match(text, /--rate off\|RATE/);
});

// ---- a reload ----

Deno.test("keepFixed lets a reload change limits and schedules, and never the store", () => {
  const before = resolve({ store: "a.db", services: { mail: "./m.ts" } });
  const next = resolve({
    store: "b.db",
    storeBytes: 7,
    resultTtl: 8,
    natsPrefix: "x",
    services: { mail: { handler: "./m.ts", rate: "5/s", jobShare: 1 }, sms: "./s.ts" },
    schedules: {
      a: { cron: "@daily", service: "mail" },
      b: { cron: "@daily", service: "sms" },
    },
  });
  const remarks: string[] = [];
  const kept = keepFixed(before, next, (remark) => remarks.push(remark));
  assert.equal(kept.store, "sqlite:/srv/app/a.db");
  assert.equal(kept.natsPrefix, "prefork");
  assert.equal(kept.services.mail?.jobShare, 1);
  const config = storeConfigOf(kept);
  assert.equal(config.storeBytes, 7);
  assert.equal(config.resultTtl, 8);
  assert.deepEqual(config.services.mail?.rate, { perSecond: 5, burst: 1 });
  assert.deepEqual(Object.keys(config.schedules), ["a"]);
  assert.deepEqual(remarks, [
    'a changed "store" is applied after a restart only',
    'a changed "natsPrefix" is applied after a restart only',
    'the service "sms" is added after a restart only',
    'the schedule "b" is added after a restart only',
  ]);
});
