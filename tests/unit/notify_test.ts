/** What a service manager is told, with a clock that only exists as a number. */

import { strict as assert } from "node:assert";
import { type Going, Notifier, watchdogInterval } from "../../ops/notify.ts";

/** A notifier, and all that it has said. */
class Told {
  readonly said: string[] = [];
  readonly notifier: Notifier;
  going: Going = { ready: 2, min: 2, running: 1, waiting: 0 };
  readonly pulses: PromiseWithResolvers<void>[] = [];
  /** What the last tick returned, ms. */
  wait = 0;

  constructor(watchdog?: number) {
    const socket = {
      send: (text: string) => void this.said.push(text),
      monotonicMicros: () => 12_345n,
      close: () => {},
    };
    this.notifier = new Notifier(socket, watchdog);
  }

  /** What it says in a tick at `now`. */
  tick(now: number): string[] {
    this.said.length = 0;
    this.wait = this.notifier.tick(now, {
      going: () => this.going,
      pulse: () => {
        const pulse = Promise.withResolvers<void>();
        this.pulses.push(pulse);
        return pulse.promise;
      },
    });
    return [...this.said];
  }
}

Deno.test("Notifier says READY once, and what is going on when that has changed, once a second", () => {
  const told = new Told();
  told.going = { ready: 0, min: 2, running: 0, waiting: 0 };
  assert.deepEqual(told.tick(0), ["STATUS=starting, 0 workers ready of 2"]);
  told.notifier.ready();
  told.notifier.ready();
  assert.deepEqual(told.said.slice(1), ["READY=1"]);
  told.going = { ready: 1, min: 1, running: 1, waiting: 7 };
  assert.deepEqual(told.tick(999), []);
  assert.deepEqual(told.tick(1000), ["STATUS=1 worker ready, 1 job running, 7 waiting"]);
  assert.equal(told.wait, 1000);
  assert.deepEqual(told.tick(2000), []);
});

Deno.test("Notifier says RELOADING with the clock, and READY when the last of several reloads has ended", () => {
  const told = new Told();
  const { notifier, said } = told;
  notifier.hear("reloading");
  assert.deepEqual(said, [], "who is not ready is not reloading");
  notifier.hear("reloadFailed");
  notifier.ready();
  said.length = 0;
  for (const name of ["reloading", "reloading", "reloadFailed"] as const) notifier.hear(name);
  assert.deepEqual(said, ["RELOADING=1\nMONOTONIC_USEC=12345"]);
  assert.match(told.tick(5000)[0] ?? "", /^STATUS=reloading, /);
  said.length = 0;
  notifier.hear("reloaded");
  assert.deepEqual(said, ["READY=1"]);
});

Deno.test("Notifier says STOPPING, and asks for more time each second until the end", () => {
  const told = new Told();
  told.notifier.ready();
  told.tick(0);
  told.said.length = 0;
  told.notifier.hear("stopping");
  assert.deepEqual(told.said, ["STOPPING=1"]);
  const more = "EXTEND_TIMEOUT_USEC=10000000";
  assert.deepEqual(told.tick(1), [`STATUS=stopping, 1 job running, 0 waiting\n${more}`]);
  assert.deepEqual(told.tick(1001), [more]);
});

Deno.test("Notifier says why the server has failed, in one line, with the system's number", () => {
  const told = new Told();
  told.notifier.failed(Object.assign(new Error("Cannot bind\nat all"), { errno: 98 }));
  assert.deepEqual(told.said, ["STATUS=Cannot bind\nERRNO=98"]);
  assert.deepEqual(told.tick(5000), []);
  const other = new Told();
  other.notifier.failed("no reason");
  assert.deepEqual(other.said, ["STATUS=no reason"]);
});

Deno.test("Notifier shows life only when the loop has had a turn, and asks for one at a time", async () => {
  const told = new Told(500);
  told.tick(0);
  assert.equal(told.pulses.length, 1);
  told.tick(400);
  told.tick(2000);
  assert.equal(told.pulses.length, 1, "it waits for the first");
  assert(told.wait > 0);
  assert(!told.said.includes("WATCHDOG=1"));
  told.pulses[0]?.resolve();
  await Promise.resolve();
  assert(told.said.includes("WATCHDOG=1"));
  await new Promise((resolve) => setTimeout(resolve));
  told.tick(2001);
  assert.equal(told.pulses.length, 2);
  told.pulses[1]?.reject(new Error("the server has ended"));
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(told.tick(2002), []);
});

for (
  const [usec, pid, interval] of [
    ["3000000", undefined, 1500],
    ["3000000", "7", 1500],
    ["3000000", "8", undefined],
    [undefined, "7", undefined],
    ["0", "7", undefined],
    ["soon", "7", undefined],
  ] as const
) {
  Deno.test(`watchdogInterval of ${usec} µs for process ${pid} is ${interval} ms in process 7`, () => {
    assert.equal(watchdogInterval({ usec, pid }, 7), interval);
  });
}
