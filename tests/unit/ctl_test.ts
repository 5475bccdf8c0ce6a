/** The control command's parts that need no server: its arguments, what it asks by them, its help, and events. */

import assert from "node:assert/strict";
import { type Command, COMMANDS, type Desk } from "../../cli/ctl_commands.ts";
import { type Order, readOrder } from "../../cli/ctl_flags.ts";
import { commandHelp, helpText } from "../../cli/ctl_help.ts";
import { readEvents, type ServerEvent } from "../../cli/event_stream.ts";
import { plain } from "../../cli/paint.ts";
import { idOf } from "../rig/stand_in_store.ts";
import { bytes } from "../rig/text.ts";

const ID = idOf(7);

const read = (...args: string[]): Order<Command> => readOrder(args, COMMANDS);

Deno.test("readOrder finds the command, its words and its options", () => {
  const order = read("resize", "mail", "2", "8", "--json", "-s", "/run/a.sock", "-t", "500ms");
  assert.equal(order.command?.name, "resize");
  assert.deepEqual(Object.fromEntries(order.words), { SERVICE: "mail", MIN: "2", MAX: "8" });
  assert.deepEqual([order.json, order.timeout, order.choice.socket], [true, 500, "/run/a.sock"]);
  assert.deepEqual(Object.fromEntries(read("resize", "2", "8").words), { MIN: "2", MAX: "8" });
  assert.equal(read("worker", "stop", "3").command?.name, "worker stop");
  assert.equal(read("pause").words.size, 0);
});

Deno.test("readOrder and the commands' plans refuse what makes no sense, and say what does", () => {
  const cases: [args: string[], message: RegExp][] = [
    [["statsu"], /^Unknown command "statsu": did you mean "stats"\?$/],
    [["frobnicate"], /^Unknown command "frobnicate": "help" lists them$/],
    [["worker"], /^Cannot run "worker" alone: give "worker stop" or "worker kill"$/],
    [["worker", "stpo"], /^Unknown command "worker stpo": did you mean "worker stop"\?$/],
    [["worker", "frobnicate"], /": give "worker stop" or "worker kill"$/],
    [["job"], /^Cannot run "job" alone: give "job list", "job show", .* or "job resume"$/],
    [["job", "show", "7"], /: ID must be the id of a stored job, j- and 32 hex digits: .* is "7"$/],
    [["job", "cancel", "j-7"], /: JOB must be the id of a stored job, /],
    [["job", "cancel", "x"], /JOB must be an integer >= 1: current value is "x"$/],
    [["job", "list", "--state", "dead"], /"--state" must be one of scheduled, waiting, /],
    [["job", "list", "--after", "7"], /: "--after" must be the id of a stored job/],
    [
      ["store", "restore", "a.db"],
      /^Cannot tell which store is meant: give its file with "--store"/,
    ],
    [["store", "restore", "a.db", "-s", "/a"], /^Cannot restore the store of a server that runs: /],
    [["store", "restore", "a.db", "--name", "x", "--store", "/b.db"], /: give one of them$/],
    [["store", "restore", "a.db", "--store", "nats://a:4222"], /^Cannot restore a store of NATS: /],
    [["store", "restore", "a.db", "--store", "tls://a:4222"], /^Cannot restore a store of NATS: /],
    ...["off", "auto", "sqlite:", "mysql:x"].map((store): [string[], RegExp] => [
      ["store", "restore", "a.db", "--store", store],
      /^Cannot restore: "--store" must be the path of a file, or "sqlite:PATH": current value is "/,
    ]),
    [["job", "retry-dead"], /^Cannot run "job retry-dead" without SERVICE: /],
    [["job", "list", "--body"], /^Cannot use "--body" with "job list": it belongs to "job show"$/],
    [["worker", "stop"], /^Cannot run "worker stop" without WORKER: it is used as "worker stop W/],
    [["worker", "stop", "1", "2"], /^Cannot run "worker stop" with "2": /],
    [["worker", "kill", "x"], /WORKER must be an integer >= 1: current value is "x"$/],
    [["resize", "mail", "3"], /MIN must be an integer >= 0: current value is "mail"$/],
    [["resize", "1.5", "3"], /MIN must be an integer >= 0: current value is "1.5"$/],
    [["status", "mail"], /^Cannot run "status" with "mail": it is used as "status"$/],
    [["status", "--running"], /^Cannot use "--running" with "status": it belongs to "jobs"$/],
    [["jobs", "--runing"], /^Unknown option "--runing": did you mean "--running"\?$/],
    [["jobs", "--running", "--waiting"], /"--running" and "--waiting": give one or neither$/],
    [["jobs", "--slow", "soon"], /"--slow" must be a number of seconds or a duration/],
    [["jobs", "--limit", "0"], /"--limit" must be an integer >= 1: current value is "0"$/],
    [["log", "-n", "many"], /"--lines" must be an integer >= 0: current value is "many"$/],
    [["status", "--name"], /^Cannot use "--name" without a value/],
    [["status", "-t", "10"], /"--timeout" needs a unit: did you mean "10s" or "10ms"\?$/],
  ];
  for (const [args, message] of cases) {
    assert.throws(() => {
      const order = read(...args);
      order.command?.plan(order);
    }, (error) => {
      assert.ok(error instanceof TypeError || error instanceof RangeError, `${args}`);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("the help names each command, and fits 80 columns", () => {
  const help = helpText("deno task ctl", COMMANDS);
  for (const { name } of COMMANDS) assert.match(help, new RegExp(`^  ${name}\\b`, "m"));
  const each = COMMANDS.map((command) => commandHelp("deno task ctl", command));
  const long = [help, ...each].flatMap((text) => text.split("\n")).filter((line) =>
    line.length > 80 && !line.startsWith("Usage: ")
  );
  assert.deepEqual(long, []);
});

/** What a command line asks a server. */
async function asked(...args: string[]): Promise<string> {
  const said: string[] = [];
  const order = read(...args);
  // All that it then does with the answer is to print it.
  const stop = new Error("asked");
  const link = {
    get(path: string) {
      said.push(path);
      throw stop;
    },
    post({ path, body }: { path: string; body: object }) {
      said.push(`${path} ${JSON.stringify(body)}`);
      throw stop;
    },
  };
  const desk = { link, sheet: { width: 80, paint: plain }, remark() {} } as unknown as Desk;
  await order.command?.plan(order)(desk).catch((error) => assert.equal(error, stop));
  return said.join("\n");
}

Deno.test("each command asks the server what its arguments say", async () => {
  const cases: Record<string, string> = {
    "status": "/api/status",
    "services": "/api/services",
    "workers": "/api/workers",
    "jobs": "/api/jobs",
    "jobs --running --slow 1.5 --limit 7": "/api/jobs?state=running&slow=1500ms&limit=7",
    "jobs --waiting --slow 2m": "/api/jobs?state=waiting&slow=120000ms",
    "clients --limit 3": "/api/clients?limit=3",
    "config": "/api/config",
    "stats mail": "/api/stats?service=mail",
    "log": "/api/log?lines=20",
    "log -n 5 --level warn": "/api/log?lines=5&level=warn",
    "reload": "/api/reload {}",
    "reload mail": '/api/reload {"service":"mail"}',
    "resize 1 2": '/api/resize {"min":1,"max":2}',
    "resize mail 1 2": '/api/resize {"service":"mail","min":1,"max":2}',
    "worker stop 3": '/api/worker/stop {"worker":3}',
    "worker kill 3": '/api/worker/kill {"worker":3}',
    "job cancel 12": '/api/job/cancel {"job":12}',
    "job list": "/api/stored",
    "job list --state failed --service mail --limit 7":
      "/api/stored?state=failed&service=mail&limit=7",
    "job list --service=-": "/api/stored?service=",
    [`job list --after ${ID}`]: `/api/stored?after=${ID}`,
    [`job show ${ID}`]: `/api/stored/job?id=${ID}`,
    [`job show --body ${ID}`]: `/api/stored/job?id=${ID}&body=1`,
    [`job cancel ${ID}`]: `/api/stored/cancel {"job":"${ID}"}`,
    [`job retry ${ID}`]: `/api/stored/retry {"job":"${ID}"}`,
    [`job delete ${ID}`]: `/api/stored/delete {"job":"${ID}"}`,
    "job retry-dead mail": '/api/stored/retry-dead {"service":"mail"}',
    "job pause -": '/api/stored/pause {"service":""}',
    "job resume mail": '/api/stored/resume {"service":"mail"}',
    "store": "/api/store",
    "schedules": "/api/store",
    "store backup /tmp/a.db": '/api/store/backup {"file":"/tmp/a.db"}',
    "store backup a.db": `/api/store/backup {"file":"${Deno.cwd()}/a.db"}`,
    "pause": "/api/pause {}",
    "pause mail": '/api/pause {"service":"mail"}',
    "resume mail": '/api/resume {"service":"mail"}',
    "drain": "/api/drain {}",
    "log-level debug": '/api/log-level {"level":"debug"}',
    "reopen-log": "/api/reopen-log {}",
  };
  for (const [line, question] of Object.entries(cases)) {
    assert.equal(await asked(...line.split(" ")), question, line);
  }
});

/** The events in pieces of a stream. */
async function eventsOf(...pieces: string[]): Promise<ServerEvent[]> {
  return await Array.fromAsync(readEvents(ReadableStream.from(pieces.map(bytes))));
}

Deno.test("readEvents reads events as the standard says, wherever the pieces are cut", async () => {
  const text = ": hello\r\nid: 7\r\nevent: log\r\ndata: one\r\ndata:two\r\n\r\n" +
    "data\n\nretry: 5\n\nevent: x\n\ndata: é\r\rdata: never ended\n";
  const expected = [
    { event: "log", data: "one\ntwo", id: "7" },
    { event: "message", data: "", id: "7" },
    { event: "message", data: "é", id: "7" },
  ];
  assert.deepEqual(await eventsOf(text), expected);
  for (let at = 1; at < text.length; at++) {
    assert.deepEqual(await eventsOf(text.slice(0, at), text.slice(at)), expected, `${at}`);
  }
  assert.deepEqual(await eventsOf(...text), expected);
});

Deno.test("readEvents gives up an event that has no end", async () => {
  const piece = bytes("x".repeat(1024 * 1024));
  let given = 0;
  const endless = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      given++;
      controller.enqueue(piece);
    },
  });
  await assert.rejects(Array.fromAsync(readEvents(endless)), RangeError);
  assert.ok(given < 80, `It stopped after ${given} MiB`);
});
