/** How a server ends: who is told, and in which order its parts are closed. */

import { strict as assert } from "node:assert";
import { Ending } from "../../ops/ending.ts";
import { Outcome } from "../../ops/outcome.ts";
import { Shutdown } from "../../ops/shutdown.ts";
import { resolveOptions } from "../../options/resolve.ts";
import type { Services } from "../../pool/services.ts";
import type { Look } from "../../ports/messages.ts";

const AT_REST = { queued: 0, running: 0, hasUnsent: false, readAt: -Infinity, workers: new Map() };

/** A server that serves until it is told to stop, or breaks, and what its parts are told. */
class Desk {
  readonly told: string[] = [];
  readonly outcome = new Outcome();
  readonly shutdown = new Shutdown();
  readonly ending: Ending;
  #served = Promise.withResolvers<void>();
  /** Whether a client takes its last replies. */
  isTaken = true;
  look: Partial<Look> = AT_REST;

  constructor() {
    const { told, outcome, shutdown } = this;
    const say = (what: string) => () => void told.push(what);
    const options = resolveOptions({ stopTimeout: 5000 }, { cpus: 1, cwd: () => "/" });
    const services: Partial<Services> = {
      stopped: true,
      forced: false,
      stop: say("services stop"),
      killAll: say("services killed"),
      abandon: say("services abandoned"),
      close: () => Promise.resolve(told.push("services closed")).then(() => {}),
    };
    this.ending = new Ending({
      ...{ outcome, shutdown, joiners: undefined, settings: () => options },
      events: {
        emit: (name) => {
          told.push(name);
          return Promise.resolve();
        },
      },
      logs: {
        log: { error: (message: string) => void told.push(`error: ${message}`) } as never,
        close: () => Promise.resolve(void told.push("log closed")),
      },
      timer: { wake: () => {}, stop: say("timer stopped") },
      plane: {
        look: () => this.look as Look,
        run: () => this.#served.promise,
        send: (command) => {
          told.push(command.type === "drain" ? `drain: ${command.waiting}` : command.type);
          if (command.type === "stop") this.#served.resolve();
        },
        close: () => this.isTaken ? Promise.resolve() : new Promise(() => {}),
        abandon: say("sockets closed"),
      },
      services: services as Services,
      store: {
        close: () => Promise.resolve(void told.push("store closed")),
        cutShort: say("store cut short"),
      },
      operators: { close: () => Promise.resolve(void told.push("operators closed")) },
      premises: { leave: say("premises left") },
      notifier: { failed: say("manager told"), close: say("manager closed") },
      signals: { close: say("signals closed") },
      cleanUp: say("cleaned up"),
    });
  }

  break(error: Error): void {
    this.#served.reject(error);
  }

  /** What was told since the last call. */
  take(): string[] {
    return this.told.splice(0);
  }
}

const CLOSED = [
  ...["sockets closed", "store closed", "cleaned up", "services closed", "operators closed"],
];
const LAST = ["log closed", "timer stopped", "manager closed", "signals closed"];

Deno.test("Ending drains, stops workers, and closes all parts in their order", async () => {
  const desk = new Desk();
  const ended = desk.ending.run();
  assert.equal(desk.ending.tick(performance.now()), Infinity);
  desk.ending.stop("serve", "shutdown");
  assert.deepEqual(desk.take(), ["stopping", "premises left", "drain: serve"]);
  desk.ending.stop("refuse", "another wish");
  assert.deepEqual(desk.take(), []);
  assert.equal(desk.ending.tick(performance.now()), 0);
  assert.deepEqual(desk.take(), ["drain: refuse", "services stop"]);
  desk.ending.tick(performance.now());
  assert.deepEqual(desk.take(), ["stop"]);
  await ended;
  assert.deepEqual(desk.take(), [...CLOSED, "stopped", ...LAST]);
  assert.deepEqual(await desk.outcome.finished, { forced: false });
});

Deno.test("Ending waits for jobs until its time is up", () => {
  const desk = new Desk();
  desk.look = { ...AT_REST, running: 1 };
  desk.ending.stop("serve", "drain");
  desk.take();
  const now = performance.now();
  assert(desk.ending.tick(now) > 4000);
  assert.deepEqual(desk.take(), []);
  desk.ending.tick(now + 5001);
  assert.deepEqual(desk.take(), ["drain: refuse", "services stop"]);
});

Deno.test("Ending waits for nobody once it kills", async () => {
  const desk = new Desk();
  desk.isTaken = false;
  const ended = desk.ending.run();
  desk.ending.kill();
  assert.deepEqual(desk.take(), [
    ...["stopping", "premises left", "drain: refuse"],
    ...["services killed", "store cut short", "drain: refuse"],
  ]);
  desk.ending.tick(performance.now() + 1);
  assert.deepEqual(desk.take(), ["stop"]);
  await ended;
  assert.deepEqual(desk.take(), [...CLOSED, "stopped", ...LAST]);
});

Deno.test("Ending kills all once the server can't start, and says why", async () => {
  const desk = new Desk();
  const ended = desk.ending.run();
  desk.ending.fail(new Error("no handler"));
  assert.deepEqual(desk.take().slice(0, 2), ["manager told", "stopping"]);
  desk.ending.fail(new Error("nor another one"));
  assert.deepEqual(desk.take(), []);
  desk.ending.tick(performance.now() + 1);
  await ended;
  assert(!desk.take().includes("stopped"));
  await assert.rejects(desk.outcome.finished, /^Error: no handler$/);
});

Deno.test("Ending abandons workers when the broker breaks, and closes all the same", async () => {
  const desk = new Desk();
  const ended = desk.ending.run();
  desk.break(new Error("a bug"));
  await ended;
  assert.deepEqual(desk.take(), [
    ...["manager told", "error: the broker failed", "store cut short", "services abandoned"],
    ...["stop", ...CLOSED.slice(1), ...LAST],
  ]);
  await assert.rejects(desk.outcome.finished, /^Error: a bug$/);
});
