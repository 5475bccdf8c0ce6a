// holds for the stand-ins in jsr/ and for the originals: what the project relies on
import { strict as assert } from "node:assert";
import { parseArgs } from "@std/cli/parse-args";
import { BaseHandler } from "@std/log/base-handler";
import { getLevelByName, getLevelName, LogLevels } from "@std/log/levels";
import { Logger, LogRecord } from "@std/log/logger";

function read(args: string[]): Record<string, unknown> {
  return { ...parseArgs(args, OPTIONS) };
}

const OPTIONS = {
  alias: { h: "help", e: "endpoint" },
  boolean: ["help", "watch"],
  collect: ["frontend"],
  default: { watch: null },
  negatable: ["watch"],
  string: ["_", "endpoint", "frontend", "retries"],
};

const NOTHING = { _: [], h: false, help: false, watch: null, frontend: [] };

const CASES: [string[], Record<string, unknown>][] = [
  [[], {}],
  [["007", "1e3", "-", ""], { _: ["007", "1e3", "-", ""] }],
  [["--retries", "3", "a"], { _: ["a"], retries: "3" }],
  [["--retries=3=4"], { retries: "3=4" }],
  [["--retries=a\nb"], { retries: "a\nb" }],
  [["--retries", "1", "--retries", "2"], { retries: "2" }],
  [["--retries", "-1"], { retries: "", "1": true }],
  [["--retries", ""], { _: [""], retries: "" }],
  [["--retries", "-"], { _: ["-"], retries: "" }],
  [["--retries"], { retries: "" }],
  [["--frontend", "a"], { frontend: ["a"] }],
  [["--frontend=a", "--frontend", "b"], { frontend: ["a", "b"] }],
  [["--frontend"], { frontend: [""] }],
  [["--watch", "a"], { _: ["a"], watch: true }],
  [["--watch", "false"], { watch: false }],
  [["--watch=false"], { watch: false }],
  [["--watch=x"], { watch: true }],
  [["--no-watch", "a"], { _: ["a"], watch: false }],
  [["--no-help"], { "no-help": true }],
  [["-h"], { h: true, help: true }],
  [["--help"], { h: true, help: true }],
  [["-e", "x", "y"], { _: ["y"], e: "x", endpoint: "x" }],
  [["-e=x"], { e: "x", endpoint: "x" }],
  [["-etcp://h:1"], { e: "tcp://h:1", endpoint: "tcp://h:1" }],
  [["-he", "x"], { h: true, help: true, e: "x", endpoint: "x" }],
  [["--", "--watch", "a"], { _: ["--watch", "a"] }],
  [["--other", "5"], { other: 5 }],
  [["--other", "--watch"], { other: true, watch: true }],
];

for (const [args, found] of CASES) {
  Deno.test(`parseArgs finds the same as the original when given ${JSON.stringify(args)}`, () => {
    assert.deepEqual(read(args), { ...NOTHING, ...found });
  });
}

Deno.test("parseArgs tells unknown of each undeclared flag and each argument", () => {
  const told: unknown[][] = [];
  const args = ["a", "--bogus", "1", "--x=2", "--toString", "--=y", "--no-x", "-q", "--watch", "b"];
  const found = parseArgs(args, {
    ...OPTIONS,
    unknown: (arg: string, key?: string) => {
      told.push([arg, key]);
      return key === undefined;
    },
  });
  assert.deepEqual(told, [
    ["a", undefined],
    ["--bogus", "bogus"],
    ["--x=2", "x"],
    ["--toString", "toString"],
    ["--=y", "=y"],
    ["--no-x", "no-x"],
    ["-q", "q"],
    ["b", undefined],
  ]);
  assert.deepEqual({ ...found }, { ...NOTHING, _: ["a", "b"], watch: true });
});

Deno.test("parseArgs keeps what follows -- apart when asked to", () => {
  const found = parseArgs(["a", "--", "--b", "c"], { string: ["_"], "--": true });
  assert.deepEqual({ ...found }, { _: ["a"], "--": ["--b", "c"] });
});

class Lines extends BaseHandler {
  readonly lines: string[] = [];

  log(line: string): void {
    this.lines.push(line);
  }
}

Deno.test("Logger gives its handlers what is at or above its level and theirs", () => {
  const all = new Lines("NOTSET");
  const urgent = new Lines("ERROR", { formatter: ({ msg, args }) => `${msg} ${args.join()}` });
  const logger = new Logger("test", "INFO", { handlers: [all, urgent] });
  assert.equal(logger.debug("a"), "a");
  assert.equal(logger.info("b"), "b");
  logger.warn("c");
  logger.error("d", 1, 2);
  logger.critical("e");
  assert.deepEqual(all.lines, ["INFO b", "WARN c", "ERROR d", "CRITICAL e"]);
  assert.deepEqual(urgent.lines, ["d 1,2", "e "]);
  assert.equal(logger.level, LogLevels.INFO);
  assert.equal(logger.levelName, "INFO");
  assert.equal(logger.loggerName, "test");
});

Deno.test("LogRecord keeps copies of its arguments and its time", () => {
  const args = [1];
  const record = new LogRecord({ msg: "m", args, level: LogLevels.WARN, loggerName: "test" });
  args.push(2);
  record.args.push(3);
  record.datetime.setTime(0);
  assert.deepEqual(record.args, [1]);
  assert.ok(Math.abs(record.datetime.getTime() - Date.now()) < 60_000);
  assert.deepEqual([record.msg, record.level, record.levelName, record.loggerName], [
    "m",
    30,
    "WARN",
    "test",
  ]);
});

Deno.test("BaseHandler changes name and number of its level together", () => {
  const handler = new Lines("INFO");
  handler.level = LogLevels.ERROR;
  assert.equal(handler.levelName, "ERROR");
  handler.levelName = "DEBUG";
  assert.equal(handler.level, LogLevels.DEBUG);
});

Deno.test("getLevelName and getLevelByName throw when there is no such level", () => {
  assert.equal(getLevelName(LogLevels.CRITICAL), "CRITICAL");
  assert.equal(getLevelByName("NOTSET"), 0);
  const throws = { name: "Error", message: /^Cannot get log level: no / };
  assert.throws(() => getLevelByName("LOUD" as "INFO"), throws);
  assert.throws(() => getLevelName(15 as 10), throws);
});
