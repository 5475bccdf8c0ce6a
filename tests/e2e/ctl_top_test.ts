/** `ctl top` in a real terminal: what is drawn, what the keys do, and that the terminal is as it was afterwards. */

import assert from "node:assert/strict";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { FakeControl, serviceStatus, status, workerStatus } from "../rig/fake_control.ts";
import { hasTerminals, TerminalProgram } from "../rig/terminal_program.ts";
import { until } from "../rig/wait.ts";

const ignore = !hasTerminals;
const CTL = [Deno.execPath(), "run", "-A", path("cli/ctl.ts")];

/** How a terminal is after a program that has given it back. */
const RESTORED = { code: 0, echo: true, canonical: true };

/** A server that is followed by `top` in a terminal. */
async function openTop(
  server: FakeControl,
  size: { columns?: number; rows?: number } = {},
): Promise<TerminalProgram> {
  const top = new TerminalProgram([...CTL, "top", "--socket", server.path], size);
  await until("somebody follows", () => server.followers > 0);
  return top;
}

function assertRestored({ screen }: TerminalProgram): void {
  assert.equal(screen.isAlternate, false);
  assert.equal(screen.hasCursor, true);
}

Deno.test(
  "ctl top draws what the server says in place, each second too, and q restores the terminal",
  {
    ignore,
  },
  async () => {
    await using server = new FakeControl();
    server.answers.set("/api/history", { requests: [100, 200], p99Ms: [1, null] });
    await using top = await openTop(server);
    server.tell("status", status());
    await top.shows(/^load +120 requests\/s, 0 errors\/s, p50 0\.82ms, p99 4\.2ms$/m);
    assert.match(top.screen.text, /^req\/s +▅█▆ max 200$/m);
    assert.match(top.screen.text, /^ +1 +4001 +busy +1 +77 +1\.2s /m);
    assert.ok(top.screen.isAlternate);
    assert.equal(top.screen.hasCursor, false);
    server.tell("status", status({ clients: 999, services: [serviceStatus({ name: "mail" })] }));
    await top.shows(/^clients +999 on 14 connections$/m);
    assert.doesNotMatch(top.screen.text, /on 14[^]*on 14/);
    const { pictures } = top.screen;
    await until("it is drawn without news", () => top.screen.pictures > pictures + 1);
    await top.type("s");
    await top.shows(/s sorts \(memory\)/);
    await top.type("q");
    assert.deepEqual(await top.ended(), RESTORED);
    assertRestored(top);
  },
);

Deno.test(
  "ctl top follows the size of its window, and cuts 1,000 workers",
  { ignore },
  async () => {
    await using server = new FakeControl();
    await using top = await openTop(server, { columns: 120, rows: 40 });
    const workers = Array.from({ length: 1000 }, (_, index) => workerStatus(index + 1));
    server.tell("status", status({ workers }));
    await top.shows(/^… 97\d more workers$/m);
    await top.resize(40, 12);
    await top.shows(/^… 997 more workers\nq leaves/m);
    // What was drawn for the larger window may have come after the smaller one.
    const { pictures, overflows } = top.screen;
    await until("it is drawn again", () => top.screen.pictures > pictures + 1);
    assert.equal(top.screen.overflows, overflows);
    // The arrow, and the key for the end.
    await top.type("sss\x1b[B");
    await top.shows(/^ +2 +4002 +idle/m);
    await top.type("G");
    await top.shows(/^ +1000 +5000 +idle/m);
    await top.resize(80, 24);
    await top.shows(/^ +1000 +5000 +idle/m);
    await top.type("\x03");
    assert.deepEqual(await top.ended(), RESTORED);
    assertRestored(top);
  },
);

Deno.test(
  "ctl top restores the terminal when it is told to end, and ends when the terminal is gone",
  {
    ignore,
  },
  async () => {
    await using server = new FakeControl();
    const SIGTERM = 15;
    {
      await using top = await openTop(server);
      server.tell("status", status());
      await top.shows(/^load/m);
      await top.signal(SIGTERM);
      assert.deepEqual(await top.ended(), RESTORED);
      assertRestored(top);
    }
    await until("nobody follows", () => server.followers === 0);
    await using top = await openTop(server);
    await top.hangUp();
    await top.ended();
    await until("nobody follows", () => server.followers === 0);
  },
);

Deno.test(
  "ctl top says that the server has gone, goes on when it is back, and restores the terminal when it is refused",
  {
    ignore,
  },
  async () => {
    await using server = new FakeControl();
    await using top = await openTop(server);
    server.tell("status", status());
    await top.shows(/^load/m);
    server.cut();
    await top.shows(/^the server has gone: trying again each second$/m);
    await until("it follows again", () => server.followers > 0);
    server.tell("status", status({ pid: 5000 }));
    await top.shows(/pid 5000/);
    assert.doesNotMatch(top.screen.text, /has gone/);
    server.answers.set("/api/events", Response.json({ error: "Not you" }, { status: 403 }));
    server.cut();
    assert.deepEqual(await top.ended(), { ...RESTORED, code: 1 });
    assertRestored(top);
    assert.match(top.screen.text, /^ctl: Not you$/m);
  },
);

Deno.test("ctl top says so when there is no terminal, and prints a line each second with --json", async () => {
  await using server = new FakeControl();
  const { code, stderr, stdout } = await run(Deno.execPath(), [
    ...CTL.slice(1),
    ...["top", "-s", server.path],
  ]);
  assert.deepEqual([code, stdout], [2, ""]);
  assert.match(stderr, /^ctl: Cannot show a live view: this is not a terminal; "status" prints/);
  const child = new Deno.Command(Deno.execPath(), {
    args: [...CTL.slice(1), "top", "--json", "-s", server.path],
    stdout: "piped",
  }).spawn();
  await until("it follows", () => server.followers > 0);
  server.tell("status", status({ pid: 1 }));
  server.tell("status", status({ pid: 2 }));
  let text = "";
  for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.split("\n").length > 2) break;
  }
  child.kill("SIGTERM");
  await child.status;
  assert.deepEqual(text.trim().split("\n").map((line) => JSON.parse(line).pid), [1, 2]);
});

Deno.test("ctl has colours at a terminal, and none with NO_COLOR", { ignore }, async () => {
  await using server = new FakeControl();
  server.answers.set("/api/status", status());
  const colours = async (command: string[]) => {
    await using shown = new TerminalProgram(command);
    assert.equal((await shown.ended()).code, 0);
    assert.match(shown.screen.text, /^state +serving, ready$/m);
    return shown.screen.colours;
  };
  const command = [...CTL, "status", "-s", server.path];
  assert.ok(await colours(["env", "-u", "NO_COLOR", ...command]) > 5);
  assert.equal(await colours(["env", "NO_COLOR=1", ...command]), 0);
});
