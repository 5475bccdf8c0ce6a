/** The parts of a server that can be told apart from it: events, files, shutdown, signals, outcome, rest. */

import { strict as assert } from "node:assert";
import { control, CONTROLS, SIGNALS } from "../../ops/control.ts";
import { Events, type FailedRequest } from "../../ops/events.ts";
import { keepFixed } from "../../ops/fixed_options.ts";
import { IdleWatch } from "../../ops/idle_watch.ts";
import type { Log } from "../../ops/log.ts";
import { OpenFiles } from "../../ops/open_files.ts";
import { Outcome } from "../../ops/outcome.ts";
import { type Rest, Shutdown } from "../../ops/shutdown.ts";
import { type Obeying, Signals, type SignalSource } from "../../ops/signals.ts";
import type { Files } from "../../ops/start_checks.ts";
import type { Hooks } from "../../options/settings.ts";
import { helpText } from "../../options/help.ts";
import { resolveOptions } from "../../options/resolve.ts";
import { path } from "../rig/checkout.ts";

/** A log that keeps its lines as `level message {fields}`. */
class Lines implements Log {
  readonly level = "debug";
  readonly moved = false;
  readonly all: string[] = [];
  debug = (message: string, fields?: object) => this.#add("debug", message, fields);
  info = (message: string, fields?: object) => this.#add("info", message, fields);
  warn = (message: string, fields?: object) => this.#add("warn", message, fields);
  error = (message: string, fields?: object) => this.#add("error", message, fields);
  reopen = () => true;
  close = () => Promise.resolve();
  setLevel() {}
  listen = () => () => {};

  #add(level: string, message: string, fields: object = {}): void {
    const said = JSON.stringify(fields);
    this.all.push(said === "{}" ? `${level} ${message}` : `${level} ${message} ${said}`);
  }
}

const FAILURE: FailedRequest = {
  service: "",
  job: 7,
  id: undefined,
  worker: undefined,
  attempt: 1,
  code: 502,
  message: "boom",
  stack: "",
  client: { address: "", identity: "me", user: "" },
  trace: undefined,
};

// ---- events ----

Deno.test("Events tells the log, the hook and each listener of an event", () => {
  const log = new Lines();
  const heard: unknown[] = [];
  const events = new Events(log, { onResize: (event) => void heard.push(event) });
  events.subscribe((name, event) => void heard.push([name, event]));
  events.emit("resized", { min: 1, max: 2 });
  assert.deepEqual(log.all, ['info resized {"min":1,"max":2}']);
  assert.deepEqual(heard, [["resized", { min: 1, max: 2 }], { min: 1, max: 2 }]);
});

Deno.test("Events logs a hook that throws or rejects, and does not throw", async () => {
  const log = new Lines();
  const hooks: Hooks = {
    onIdle: () => {
      throw new Error("now");
    },
    onStop: () => Promise.reject(new Error("later")),
  };
  const events = new Events(log, hooks);
  await events.emit("idle", undefined);
  await events.emit("stopping", { reason: "test", queued: "serve" });
  assert.deepEqual(log.all, [
    'error the hook "onIdle" failed {"error":"now"}',
    'info stopping {"reason":"test","queued":"serve"}',
    'error the hook "onStop" failed {"error":"later"}',
  ]);
});

Deno.test("Events calls the hooks of the last reload", () => {
  const calls: string[] = [];
  const events = new Events(new Lines(), { onIdle: () => void calls.push("old") });
  events.configure({ onIdle: () => void calls.push("new") });
  events.emit("idle", undefined);
  assert.deepEqual(calls, ["new"]);
});

Deno.test("Events warns of a worker's end only where that is not part of its life", () => {
  const log = new Lines();
  const events = new Events(log, {});
  const exit = { worker: 1, pid: 2, code: 0, signal: null, cause: undefined, likely: undefined };
  events.emit("workerExited", { ...exit, reason: "reload", expected: true });
  events.emit("workerExited", { ...exit, code: 9, reason: "crashed", expected: false });
  assert.deepEqual(log.all, [
    'info worker exited {"worker":1,"pid":2,"code":0,"reason":"reload"}',
    'warn worker exited {"worker":1,"pid":2,"code":9,"reason":"crashed"}',
  ]);
});

Deno.test("Events bounds the lines of workers on other machines, and calls the hooks for each", () => {
  const log = new Lines();
  let calls = 0;
  const events = new Events(log, { onWorkerReady: () => void calls++ });
  const one = { worker: 1, pid: 2 };
  for (let count = 0; count < 150; count++) events.emit("workerReady", { ...one, host: "east" });
  const lost = { ...one, code: -1, signal: null, reason: "lost", expected: false } as const;
  events.emit("workerExited", { ...lost, host: "east" });
  events.emit("workerReady", one);
  events.tick(performance.now() + 1000);
  assert.equal(calls, 151);
  assert.ok(log.all.length >= 103 && log.all.length < 150, `${log.all.length} lines`);
  assert.deepEqual(log.all.slice(-3, -1), [
    'debug worker exited {"worker":1,"pid":2,"code":-1,"reason":"lost","host":"east"}',
    'info worker ready {"worker":1,"pid":2}',
  ]);
  assert.match(log.all.at(-1) ?? "", /^warn more workers on other machines came or went {"count":/);
});

Deno.test("Events counts failed requests that are too many to log, and calls onError for each", () => {
  const log = new Lines();
  let calls = 0;
  const events = new Events(log, { onError: () => void calls++ });
  for (let count = 0; count < 150; count++) events.emit("requestFailed", FAILURE);
  assert.equal(calls, 150);
  const logged = log.all.length;
  assert.ok(logged >= 100 && logged < 150, `${logged} lines`);
  assert.equal(
    log.all[0],
    'error request failed {"job":7,"attempt":1,"code":502,"identity":"me","error":"boom"}',
  );
  const now = performance.now();
  assert.ok(events.tick(now) > 0);
  assert.equal(events.tick(now + 2000), Infinity);
  assert.equal(log.all.at(-1), `error more requests failed {"count":${150 - logged}}`);
});

Deno.test("Events tells onError of no service, id, worker, stack and trace where there is none", () => {
  const heard: unknown[] = [];
  new Events(new Lines(), { onError: (event) => void heard.push(event) })
    .emit("requestFailed", FAILURE);
  const { service: _, id: __, worker: ___, stack: ____, trace: _____, ...rest } = FAILURE;
  assert.deepEqual(heard, [rest]);
});

// ---- open files ----

Deno.test("OpenFiles warns once of few, each second of none, and says when there are some again", () => {
  const log = new Lines();
  let files: Files | undefined = { open: 10, limit: 100 };
  let isFull = false;
  let freed = 0;
  const table = { count: () => files, canOpen: () => !isFull };
  const watch = new OpenFiles(table, log, () => void freed++);
  assert.equal(watch.tick(0), 5000);
  files = { open: 90, limit: 100 };
  watch.tick(500); // too soon for another count
  assert.deepEqual(log.all, []);
  watch.tick(1000);
  watch.tick(2000);
  assert.deepEqual(log.all, [
    'warn file descriptors are running out {"open":90,"limit":100}',
  ]);
  isFull = true;
  files = undefined;
  assert.equal(watch.tick(3000), 1000);
  assert.equal(watch.tick(4000), 1000);
  assert.equal(log.all.length, 3);
  assert.match(log.all[2] ?? "", /ran out.*"open":100,"limit":100/);
  assert.equal(freed, 0);
  isFull = false;
  files = { open: 10, limit: 100 };
  watch.tick(5000);
  assert.equal(log.all.at(-1), "info file descriptors are free again");
  assert.equal(freed, 1);
});

Deno.test("OpenFiles asks for room for each worker that starts", () => {
  const asked: number[] = [];
  const canOpen = (count: number) => asked.push(count) > 0 && count < 30;
  const watch = new OpenFiles({ count: () => undefined, canOpen }, new Lines(), () => {});
  watch.require(0);
  watch.require(2);
  assert.throws(() => watch.require(3), { message: "Too few file descriptors are left" });
  assert.deepEqual(asked, [12, 24, 36]);
  assert.equal(watch.tick(0), 5000, "what can't be counted is tried");
});

// ---- shutdown ----

const BUSY: Rest = { isIdle: false, isDeserted: false, hasUnsent: false, readAt: 0 };
const IDLE: Rest = { ...BUSY, isIdle: true };
const DESERTED: Rest = { ...IDLE, isDeserted: true };

Deno.test("Shutdown stops workers at once when what waits is refused", () => {
  const shutdown = new Shutdown();
  assert.equal(shutdown.next(1, DESERTED), undefined);
  assert.ok(shutdown.start("refuse", 1000, 10));
  assert.ok(!shutdown.start("serve", 9000, 11), "a second start changes nothing");
  assert.equal(shutdown.endAt, 1010);
  assert.equal(shutdown.next(10, BUSY), "stopWorkers");
  assert.equal(shutdown.phase, "stopping");
  assert.equal(shutdown.next(11, BUSY), undefined);
  assert.equal(shutdown.wait(11, BUSY), Infinity);
});

Deno.test("Shutdown serves what waits, at most until its time is up", () => {
  for (const [rest, at] of [[IDLE, 20], [BUSY, 1010]] as const) {
    const shutdown = new Shutdown();
    shutdown.start("serve", 1000, 10);
    assert.equal(shutdown.next(19, BUSY), undefined);
    assert.equal(shutdown.wait(20, BUSY), 990);
    assert.equal(shutdown.next(at, rest), "stopWorkers");
  }
});

Deno.test("Shutdown ends once clients are quiet, or have gone on for too long, or at its end", () => {
  const ends = (rest: (now: number) => Rest) => {
    const shutdown = new Shutdown();
    shutdown.start("refuse", 1000, 0);
    assert.equal(shutdown.next(0, BUSY), "stopWorkers");
    for (let now = 100; now < 5000; now++) {
      const wait = shutdown.wait(now, rest(now));
      if (shutdown.next(now, rest(now)) === "end") return now;
      assert.ok(wait > 0, `nothing is due at ${now}`);
    }
  };
  assert.equal(ends(() => ({ ...DESERTED, readAt: 95 })), 120);
  assert.equal(ends((now) => ({ ...DESERTED, readAt: now })), 350);
  assert.equal(ends(() => ({ ...DESERTED, hasUnsent: true })), 1000);
});

Deno.test("Shutdown waits for nobody once it kills", () => {
  const shutdown = new Shutdown();
  shutdown.start("serve", 60_000, 0);
  shutdown.kill(5);
  assert.equal(shutdown.next(5, BUSY), undefined, "workers are yet to die");
  assert.equal(shutdown.next(6, { ...DESERTED, hasUnsent: true, readAt: 6 }), "end");
  shutdown.kill(7);
  assert.equal(shutdown.phase, "ended");
});

// ---- control and signals ----

/** A server that notes what it is told. */
class Told implements Obeying {
  stopping = false;
  readonly told: string[] = [];
  stop(queued: string, reason: string): void {
    this.stopping = true;
    this.told.push(`stop ${queued} ${reason}`);
  }
  kill = () => void this.told.push("kill");
  reloadAgain = () => Promise.resolve(void this.told.push("reload"));
  resize = ({ min, max }: { min?: number; max?: number }) =>
    void this.told.push(`resize ${min} ${max}`);
  growBy = (workers: number) => void this.told.push(`grow ${workers}`);
  reopenLog = () => this.told.push("reopen") > 0;
  logState = () => void this.told.push("state");
  forward = (signal: string) => void this.told.push(`forward ${signal}`);
  cancelJob = (job: number) => Promise.resolve(void this.told.push(`cancel ${job}`));
  pause = (service?: string) => void this.told.push(`pause ${service}`);
  resume = (service?: string) => void this.told.push(`resume ${service}`);
  stopWorker = (worker: number) => void this.told.push(`stop worker ${worker}`);
  killWorker = (worker: number) => void this.told.push(`kill worker ${worker}`);
  setLogLevel = (level: string) => void this.told.push(`level ${level}`);
}

/** Signals that a test sends itself. */
class Wires implements SignalSource {
  readonly #listeners = new Map<Deno.Signal, () => void>();
  add = (signal: Deno.Signal, listener: () => void) => void this.#listeners.set(signal, listener);
  remove = (signal: Deno.Signal) => void this.#listeners.delete(signal);
  send(signal: Deno.Signal): void {
    const listener = this.#listeners.get(signal);
    assert.ok(listener !== undefined, `nobody listens for ${signal}`);
    listener();
  }
  get isEmpty(): boolean {
    return this.#listeners.size === 0;
  }
}

/** What a server does that gets signals, one after the other. */
function obey(signals: readonly Deno.Signal[], passed: Deno.Signal[] = []): string[] {
  const server = new Told();
  const wires = new Wires();
  const listening = new Signals(server, passed, () => {}, wires);
  for (const signal of signals) {
    wires.send(signal);
    listening.tick();
  }
  listening.close();
  assert.ok(wires.isEmpty);
  return server.told;
}

Deno.test("Signals does nothing before its tick, and then what has arrived, in order", () => {
  const server = new Told();
  const wires = new Wires();
  let woken = 0;
  const signals = new Signals(server, [], () => void woken++, wires);
  wires.send("SIGUSR2");
  wires.send("SIGTTIN");
  wires.send("SIGTTIN");
  assert.deepEqual(server.told, []);
  assert.equal(woken, 3);
  assert.equal(signals.tick(), Infinity);
  assert.deepEqual(server.told, ["state", "grow 1", "grow 1"]);
  signals.tick();
  assert.equal(server.told.length, 3);
  signals.close();
});

Deno.test("Signals carries out the commands of its rows", () => {
  assert.deepEqual(obey(["SIGTTOU", "SIGHUP", "SIGQUIT"]), [
    "grow -1",
    "reopen",
    "reload",
    "stop serve SIGQUIT",
  ]);
});

Deno.test("Signals takes TERM and INT that follow at once for one wish, and QUIT and TERM for two", () => {
  assert.deepEqual(obey(["SIGTERM", "SIGINT"]), ["stop refuse SIGTERM"]);
  assert.deepEqual(obey(["SIGQUIT", "SIGTERM"]), ["stop serve SIGQUIT", "kill"]);
});

Deno.test("Signals forwards a signal that workers get too, before it obeys", () => {
  assert.deepEqual(obey(["SIGHUP", "SIGWINCH"], ["SIGHUP", "SIGWINCH"]), [
    "forward SIGHUP",
    "reopen",
    "reload",
    "forward SIGWINCH",
  ]);
});

Deno.test("each control command says what it does, and each signal names commands", () => {
  for (const [name, { doc, arguments: given }] of Object.entries(CONTROLS)) {
    assert.match(doc, /^[A-Z].*[^.]$/, name);
    for (const text of Object.values(given)) assert.match(text, /^[a-z].*[^.]$/, name);
  }
  for (const { signal, orders } of SIGNALS) {
    assert.ok(orders.length > 0, signal);
    for (const [name] of orders) assert.ok(name in CONTROLS, `${signal}: ${name}`);
  }
});

Deno.test("control has the server do what its command says, with the arguments that it is given", () => {
  const server = new Told();
  control(server, "resize", { min: 2, max: 5 });
  control(server, "grow", { by: -1 });
  control(server, "stop", { queued: "serve", reason: "asked" });
  control(server, "logState", {});
  assert.deepEqual(server.told, ["resize 2 5", "grow -1", "stop serve asked", "state"]);
});

Deno.test("--help and docs/operations.md list the signals that the server obeys, and no others", () => {
  const expected = SIGNALS.map(({ signal }) => signal.slice("SIG".length)).sort();
  const help = helpText("prefork");
  const section = help.slice(help.indexOf("\nSignals:\n"), help.indexOf("\nExit codes:\n"));
  const inHelp = [...section.matchAll(/^ {2}([A-Z][A-Z0-9, ]*?) {2}/gm)].flatMap(([, names]) =>
    namesIn(names)
  );
  assert.deepEqual(inHelp.sort(), expected);
  const rows = Deno.readTextFileSync(path("docs/operations.md")).matchAll(
    /^\| ([A-Z][A-Z0-9, ]*?) *\|/gm,
  );
  assert.deepEqual([...rows].flatMap(([, names]) => namesIn(names)).sort(), expected);
});

function namesIn(list = ""): string[] {
  return list.split(",").map((name) => name.trim());
}

// ---- the rest ----

Deno.test("Outcome rejects dispose with a failure only if nobody has asked for it before", async () => {
  const unasked = new Outcome();
  unasked.fail(new Error("boom"));
  unasked.fail(new Error("later"));
  unasked.end({ forced: true });
  await unasked.ended;
  await assert.rejects(unasked.dispose(), { message: "boom" });
  const asked = new Outcome();
  const { ready } = asked;
  asked.fail("boom");
  asked.end({ forced: false });
  await assert.rejects(ready, { message: "boom" });
  await asked.dispose();
});

Deno.test("Outcome is never ready when it has ended before", async () => {
  const outcome = new Outcome();
  outcome.end({ forced: false });
  await assert.rejects(outcome.ready, { message: "Cannot be ready: the server has ended" });
  assert.deepEqual(await outcome.finished, { forced: false });
});

Deno.test("IdleWatch reports each time of rest once, a second after the last job", () => {
  let reports = 0;
  const watch = new IdleWatch(() => void reports++);
  assert.equal(watch.tick(5000, { isIdle: true, lastJobAt: 0 }), Infinity);
  assert.equal(watch.tick(6000, { isIdle: false, lastJobAt: 6000 }), Infinity);
  assert.equal(watch.tick(6100, { isIdle: true, lastJobAt: 6000 }), 900);
  assert.equal(reports, 0);
  watch.tick(7000, { isIdle: true, lastJobAt: 6000 });
  watch.tick(9000, { isIdle: true, lastJobAt: 6000 });
  assert.equal(reports, 1);
  watch.tick(9500, { isIdle: false, lastJobAt: 9500 });
  watch.tick(10_500, { isIdle: true, lastJobAt: 9500 });
  assert.equal(reports, 2);
});

Deno.test("keepFixed keeps what only a restart applies, and says so", () => {
  const machine = { cpus: 2, cwd: () => "/" };
  const before = resolveOptions({ frontend: "tcp://127.0.0.1:1", maxFrames: 5 }, machine);
  const next = resolveOptions({ frontend: "tcp://127.0.0.1:2", maxFrames: 5, maxAge: 7 }, machine);
  const remarks: string[] = [];
  const kept = keepFixed(before, next, (remark) => remarks.push(remark));
  assert.deepEqual(kept.frontend, before.frontend);
  assert.equal(kept.maxAge, 7);
  assert.deepEqual(remarks, ['a changed "frontend" is applied after a restart only']);
});
