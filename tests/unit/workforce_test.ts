/** Workers that come and go: what becomes of their jobs when they leave, die, die together, or give jobs back. */

import { strict as assert } from "node:assert";
import { deaths, Desk, loaded, QUICK, series, serveAll } from "../rig/broker_desk.ts";

// A worker's end

Deno.test("Broker puts jobs back in front, in order, when their worker dies", () => {
  const desk = loaded();
  desk.submit("b1");
  desk.die(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3 a4"), [0, 0, 0, 0]);
  assert.equal(desk.broker.queued, 5);
  assert.equal(desk.job("a1").state, "queued");
  desk.workers(2);
  assert.equal(serveAll(desk, 2), "a1 a2 a3 a4 b1");
  assert.equal(desk.broker.counters.returned, 3);
});

Deno.test("Broker counts a death for all jobs of a worker when it ran them all", () => {
  const desk = loaded({ concurrency: 3 });
  desk.die(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3 a4"), [1, 1, 1, 0]);
});

Deno.test("Broker counts a death for the only job when the others were answered", () => {
  const desk = loaded();
  desk.reply(1, "a1", QUICK);
  desk.reply(1, "a2", QUICK);
  desk.die(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3"), [0, 0, 1]);
});

Deno.test("Broker runs each job alone, and first, when any of them may have ended their worker", () => {
  const desk = loaded();
  desk.die(1);
  desk.workers(2, 3);
  assert.equal(desk.dispatch(), "a1>3 a2>2");
  desk.reply(3, "a1", QUICK);
  assert.equal(desk.dispatch(), "a3>3");
  desk.reply(2, "a2", QUICK);
  assert.equal(desk.dispatch(), "a4>2");
  desk.reply(3, "a3", QUICK);
  desk.submit("b1 b2 b3");
  assert.equal(desk.dispatch(), "b1>3 b2>3 b3>2");
  assert.deepEqual(deaths(desk, "a1 a2 a3"), [0, 0, 0]);
});

Deno.test("Broker counts both deaths when a job ends its worker that is suspected of an earlier one", () => {
  const desk = loaded();
  desk.die(1);
  desk.workers(2);
  assert.equal(desk.dispatch(), "a1>2");
  desk.die(2);
  assert.deepEqual(desk.ended(), ["a1: 502 The worker died 2 times on this job"]);
  desk.workers(3);
  assert.equal(serveAll(desk, 3), "a2 a3 a4");
});

Deno.test("Broker counts no death when a worker left in order", () => {
  const desk = loaded();
  desk.leave(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3"), [0, 0, 0]);
  assert.deepEqual(desk.ended(), []);
  desk.workers(2);
  assert.equal(serveAll(desk, 2), "a1 a2 a3 a4");
});

Deno.test("Broker answers 502 when as many workers as maxAttempts died on a job", () => {
  const desk = new Desk({ maxAttempts: 2 });
  desk.workers(1, 2);
  desk.submit("a1");
  assert.equal(desk.dispatch(), "a1>2");
  desk.die(2);
  assert.deepEqual(desk.ended(), []);
  assert.equal(desk.dispatch(), "a1>1");
  desk.die(1);
  assert.deepEqual(desk.ended(), ["a1: 502 The worker died 2 times on this job"]);
  assert.equal(desk.broker.counters.lost, 1);
  assert.equal(desk.broker.idle, true);
  assert.equal(desk.client("a").live, 0);
});

Deno.test("Broker answers 502 at the first death when maxAttempts is 1, and has no other wait there", () => {
  const desk = new Desk({ prefetch: 3, maxAttempts: 1 });
  desk.workers(1);
  desk.observe(1, QUICK);
  desk.submit("a1 a2 a3");
  assert.equal(desk.dispatch(), "a1>1");
  desk.die(1);
  assert.deepEqual(desk.ended().map((line) => line.slice(0, 7)), ["a1: 502"]);
  desk.workers(2);
  assert.equal(serveAll(desk, 2), "a2 a3");
});

Deno.test("Broker does nothing more when a worker is removed twice", () => {
  const desk = loaded();
  desk.die(1);
  desk.die(1);
  assert.deepEqual(deaths(desk, "a1 a2 a3"), [0, 0, 0]);
  assert.equal(desk.broker.workers.size, 0);
  assert.equal(desk.broker.counters.returned, 3);
});

Deno.test("Broker gives a retiring worker nothing more and takes its answers", () => {
  const desk = loaded();
  desk.broker.workforce.retire(desk.worker(1));
  desk.broker.workforce.retire(desk.worker(1));
  for (const name of ["a1", "a2", "a3"]) assert(desk.reply(1, name, QUICK));
  assert.equal(desk.dispatch(), "");
  assert.equal(desk.broker.workers.size, 1);
  desk.leave(1);
  assert.equal(desk.broker.workers.size, 0);
  desk.workers(2);
  assert.equal(desk.dispatch(), "a4>2");
});

Deno.test("Broker takes a job back from a retiring worker when it is given back", () => {
  const desk = loaded();
  desk.broker.workforce.retire(desk.worker(1));
  desk.giveBack(1, "a3");
  assert.equal(desk.broker.queued, 2);
  assert.equal(desk.dispatch(), "");
});

// Deaths together

/** Kills workers, one after the other, and sends what can be sent in between. */
function storm(desk: Desk, ...workers: number[]): void {
  for (const worker of workers) {
    desk.die(worker, "outside");
    desk.dispatch();
  }
}

Deno.test("Broker blames no job when all workers are killed together, though some were sent to the dead", () => {
  const desk = new Desk();
  for (let round = 0; round < 5; round++) {
    const [one, two, three, four] = [1, 2, 3, 4].map((number) => 10 * round + number);
    assert(one && two && three && four);
    desk.workers(one, two, three, four);
    if (round === 0) desk.submit("a1 b1 c1 d1 e1 f1");
    desk.dispatch();
    storm(desk, one, two, three, four);
    desk.pass(250);
    assert.deepEqual(desk.ended(), [], `storm ${round}`);
  }
  assert.deepEqual(deaths(desk, "a1 b1 c1 d1 e1 f1"), [0, 0, 0, 0, 0, 0]);
  desk.workers(90);
  assert.deepEqual(serveAll(desk, 90).split(" ").sort(), ["a1", "b1", "c1", "d1", "e1", "f1"]);
});

Deno.test("Broker runs jobs one at a time in the whole pool when their workers were killed together", () => {
  const desk = new Desk();
  desk.workers(1, 2, 3);
  desk.submit("a1 b1 c1");
  desk.dispatch();
  storm(desk, 1, 2, 3);
  desk.workers(4, 5, 6);
  desk.pass(250);
  assert.equal(desk.dispatch().split(" ").length, 1);
  desk.submit("d1 d2");
  assert.equal(desk.dispatch().split(" ").length, 2, "others go on beside it");
});

Deno.test("Broker answers 502 at the second death when a job kills its worker, whatever by", () => {
  for (const end of ["itself", "outside"] as const) {
    const desk = new Desk();
    desk.workers(1, 2, 3);
    desk.submit("a1");
    for (let death = 0; death < 2; death++) {
      const [, worker] = desk.dispatch().split(">");
      desk.die(Number(worker), end);
      desk.pass(250);
    }
    assert.deepEqual(desk.ended(), ["a1: 502 The worker died 2 times on this job"]);
  }
});

Deno.test("Broker answers 502 when eight jobs at once kill their workers, and serves the others", () => {
  const desk = new Desk();
  desk.submit(series("p", 8));
  let deaths = 0;
  for (let worker = 1; !desk.broker.idle; worker += 4) {
    assert(deaths < 40, "they all come to an end");
    desk.workers(worker, worker + 1, worker + 2, worker + 3);
    for (const order of desk.dispatch().split(" ").filter((order) => order !== "")) {
      desk.die(Number(order.split(">")[1]), "outside");
      deaths++;
    }
    desk.pass(250);
  }
  assert.equal(desk.ended().filter((line) => line.includes(": 502 ")).length, 8);
  assert(deaths <= 8 * 4, `${deaths} workers died`);
  desk.workers(100);
  desk.submit("a1");
  assert.equal(desk.dispatch().split(">")[0], "a1");
});

Deno.test("Broker gives a job up after three times maxAttempts deaths that were all excused", () => {
  const desk = new Desk();
  desk.submit("a1");
  for (let round = 0; round < 6; round++) {
    assert.deepEqual(desk.ended(), []);
    desk.workers(2 * round + 1, 2 * round + 2);
    desk.dispatch();
    storm(desk, 2 * round + 1, 2 * round + 2);
    desk.pass(250);
  }
  assert.deepEqual(desk.ended(), ["a1: 502 The worker died 6 times on this job"]);
});

Deno.test("Broker answers 502 at the first death of any kind when maxAttempts is 1", () => {
  const desk = new Desk({ maxAttempts: 1 });
  desk.workers(1, 2);
  desk.submit("a1 b1");
  desk.dispatch();
  storm(desk, 1, 2);
  assert.deepEqual(desk.ended().map((line) => line.slice(3, 7)), [" 502", " 502"]);
});

Deno.test("Broker sends a suspect only once its worker has shown that it lives, and blames it for no other", () => {
  const desk = new Desk();
  desk.workers(1, 2);
  desk.submit("a1");
  desk.dispatch();
  desk.die(2);
  const next = desk.broker.next(desk.now);
  assert.equal(next?.worker.unsent, desk.job("a1"));
  desk.die(1);
  assert.deepEqual(desk.ended(), []);
  assert.deepEqual(deaths(desk, "a1"), [1]);
  desk.workers(3);
  assert.equal(desk.broker.next(desk.now)?.job, desk.job("a1"));
  assert.equal(desk.broker.workforce.proven(desk.worker(3), desk.now), desk.job("a1"));
  assert.equal(desk.broker.workforce.proven(desk.worker(3), desk.now), undefined);
  assert(desk.reply(3, "a1"));
});

Deno.test("Broker ends a suspect that nobody wants any more when its worker shows that it lives", () => {
  const desk = new Desk();
  desk.workers(1, 2);
  desk.submit("a1");
  desk.dispatch();
  desk.die(2);
  desk.broker.next(desk.now);
  assert.equal(desk.broker.cancellations.disconnect(desk.client("a"), desk.now).length, 1);
  assert.equal(desk.broker.workforce.proven(desk.worker(1), desk.now), undefined);
  assert.deepEqual(desk.ended(), ["a1: nothing"]);
  desk.submit("b1");
  assert.equal(desk.dispatch(), "b1>1");
});

Deno.test("Broker keeps a worker free for a suspect when all are busy, and the others serve on", () => {
  const desk = new Desk({ concurrency: 2, prefetch: 1 });
  desk.workers(1, 2, 3);
  desk.submit("a1 a2 a3 a4");
  assert.equal(desk.dispatch(), "a1>3 a2>2 a3>1 a4>1");
  desk.die(3);
  desk.submit("b1 b2 b3");
  assert.equal(desk.dispatch(), "", "one is kept, the other has no room");
  desk.reply(1, "a3");
  assert.equal(desk.dispatch(), "b1>1");
  desk.reply(2, "a2");
  assert.equal(desk.dispatch(), "a1>2");
  desk.reply(2, "a1");
  assert.equal(desk.dispatch(), "b2>2 b3>2");
});

// Jobs given back

Deno.test("Broker puts a job back in front and counts no death when a worker gives it back", () => {
  const desk = loaded();
  desk.giveBack(1, "a2");
  desk.workers(2);
  assert.equal(desk.dispatch(), "a2>2 a4>2");
  assert.deepEqual(deaths(desk, "a2"), [0]);
  assert.equal(desk.broker.counters.returned, 1);
});

Deno.test("Broker drops and counts it when a worker gives back what it does not have", () => {
  const desk = loaded();
  desk.workers(2);
  desk.giveBack(2, "a1");
  assert.equal(desk.broker.counters.strayReplies, 1);
  assert.equal(desk.broker.assigned, 3);
  assert.equal(desk.job("a1").state, "assigned");
});

Deno.test("Broker takes a worker for idle when it has given its only job back", () => {
  const desk = new Desk();
  desk.workers(1);
  desk.submit("a1");
  desk.dispatch();
  desk.now += 5;
  desk.giveBack(1, "a1");
  assert.equal(desk.worker(1).idleSince, desk.now);
  assert.equal(desk.dispatch(), "a1>1");
});
