// What operators reach, in parts: turns, shared answers, sessions, the token, and the last lines of the log.
import { strict as assert } from "node:assert";
import { Pace, SharedAnswers } from "../../admin/pace.ts";
import { Failures, Sessions } from "../../admin/sessions.ts";
import { Token } from "../../admin/token.ts";
import { LogRing } from "../../ops/log_ring.ts";
import type { LogLine } from "../../ops/status.ts";
import { controlFolders, serverName } from "../../system/control_folder.ts";

Deno.test("Pace lets a burst through, and then so many a second", () => {
  const pace = new Pace(10, 2);
  assert.deepEqual([1000, 1000, 1000, 1000, 1000].map((now) => pace.take(now)), [
    ...[0, 0, 0, 100, 200],
  ]);
  assert.equal(pace.take(2000), 0);
});

Deno.test("SharedAnswers makes an answer once in a while", async () => {
  const shared = new SharedAnswers();
  let made = 0;
  const make = () => Promise.resolve({ status: 200, headers: {}, body: String(++made) });
  for (const now of [0, 100, 249]) assert.equal((await shared.get("a", now, make)).body, "1");
  assert.equal((await shared.get("b", 249, make)).body, "2");
  assert.equal((await shared.get("a", 250, make)).body, "3");
});

Deno.test("Sessions end after 12 hours, or when they are closed, and the oldest when there are too many", () => {
  const sessions = new Sessions();
  const word = sessions.open(0);
  assert.deepEqual([sessions.has(word, 12 * 3_600_000 - 1), sessions.has("x", 0)], [true, false]);
  assert.equal(sessions.has(word, 12 * 3_600_000), false);
  const first = sessions.open(0);
  for (let count = 0; count < 99; count++) sessions.open(0);
  assert.equal(sessions.has(first, 0), true);
  const last = sessions.open(0);
  assert.deepEqual([sessions.has(first, 0), sessions.has(last, 0)], [false, true]);
  sessions.close(last);
  assert.equal(sessions.has(last, 0), false);
});

Deno.test("Failures block an address for the rest of a minute, and no other", () => {
  const failures = new Failures();
  for (let count = 0; count < 10; count++) {
    assert.equal(failures.isBlocked("a", count), false);
    failures.note("a", count);
  }
  assert.deepEqual([failures.isBlocked("a", 59_999), failures.isBlocked("b", 10)], [true, false]);
  assert.equal(failures.isBlocked("a", 60_000), false);
});

Deno.test("Token is itself and nothing else", () => {
  const token = new Token("0123456789abcdef");
  assert.equal(token.is("0123456789abcdef"), true);
  for (const other of ["", "0123456789abcde", "0123456789abcdeX", "0123456789abcdef0"]) {
    assert.equal(token.is(other), false, other);
  }
});

/** A log whose lines a test says. */
function source() {
  let hear: (line: LogLine) => void = () => {};
  const listen = (listener: (line: LogLine) => void) => {
    hear = listener;
    return () => {};
  };
  const say = (message: string, level: LogLine["level"] = "info") =>
    hear({ time: "", level, message });
  return { listen, say };
}

Deno.test("LogRing keeps the last lines, in lines and in characters", () => {
  const { listen, say } = source();
  const ring = new LogRing({ listen });
  for (let count = 1; count <= 1500; count++) say(`${count}`, count % 2 === 0 ? "info" : "debug");
  const last = ring.last(2, "debug").map(({ id, line }) => [id, line.message]);
  assert.deepEqual(last, [[1499, "1499"], [1500, "1500"]]);
  assert.equal(ring.last(5000, "debug").length, 1000);
  assert.deepEqual(ring.last(2, "info").map(({ id }) => id), [1498, 1500]);
  assert.deepEqual(ring.after(1497, "info").map(({ id }) => id), [1498, 1500]);
  for (let count = 0; count < 10; count++) say("x".repeat(300_000));
  assert.equal(ring.last(5000, "debug").length, 3);
});

Deno.test("LogRing tells one who reads too slowly how many lines he has missed", async () => {
  const { listen, say } = source();
  const ring = new LogRing({ listen });
  const end = new AbortController();
  const lines = ring.lines({ signal: end.signal });
  const first = lines.next();
  for (let count = 1; count <= 1200; count++) say(`${count}`);
  assert.equal((await first).value?.message, "1");
  let last: LogLine | undefined;
  for (let count = 0; count < 1000; count++) last = (await lines.next()).value ?? undefined;
  assert.deepEqual([last?.message, last?.lost], ["log lines were lost", 200]);
  end.abort();
  assert.equal((await lines.next()).done, true);
});

Deno.test("serverName and controlFolders say where a socket is", () => {
  assert.equal(serverName("tcp://127.0.0.1:6660"), "tcp-127.0.0.1-6660");
  assert.equal(serverName("ipc:///run/a b/../x"), "ipc-run-a-b-..-x");
  assert.ok(serverName(`ipc:///${"x".repeat(200)}`).length <= 60);
  const env = (given: Record<string, string>) => (name: string) => given[name];
  assert.deepEqual(controlFolders(env({ XDG_RUNTIME_DIR: "/run/user/7/", TMPDIR: "/t/" }), 7), [
    ...["/run/user/7/prefork", "/t/prefork-7"],
  ]);
  assert.deepEqual(controlFolders(env({ XDG_RUNTIME_DIR: "relative" }), undefined), []);
});
