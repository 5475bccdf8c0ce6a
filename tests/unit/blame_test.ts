/**
 * Who is to blame when workers die: the Inquest and the Suspects by themselves, then both in a Broker's
 * hands are tested in workforce_test.ts and models_test.ts.
 *
 * @module
 */

import { strict as assert } from "node:assert";
import { type End, Inquest, TOGETHER } from "../../broker/inquest.ts";
import { noLinks } from "../../broker/list.ts";
import {
  blame,
  isHopeless,
  isSuspect,
  type Suspect,
  Suspects,
  triesOf,
} from "../../broker/suspects.ts";

/** An inquest that is called as often as it asks to be. */
class Court {
  readonly #inquest = new Inquest<string>();
  readonly told: string[] = [];
  now = 1000;

  /** A worker dies; `end` when that is known at once. */
  die(worker: number, end?: End): void {
    this.#inquest.notice(worker, `${worker}`, undefined, this.now);
    if (end !== undefined) this.end(worker, end);
  }

  end(worker: number, end: End): void {
    this.#inquest.end(worker, end, this.now);
    this.#judge();
  }

  notice(worker: number, end: End): void {
    this.#inquest.notice(worker, `${worker}`, end, this.now);
    this.#judge();
  }

  pass(time: number): void {
    for (const end = this.now + time; this.now < end;) {
      this.now = Math.min(end, this.now + this.#inquest.wait);
      this.#judge();
    }
  }

  /** Nobody calls it for so long, as the whole server is held up. */
  stall(time: number): void {
    this.now += time;
    this.#judge();
  }

  get rests(): boolean {
    return this.#inquest.wait === Infinity;
  }

  #judge(): void {
    for (const { about, verdict } of this.#inquest.judge(this.now)) {
      this.told.push(`${about} ${verdict}`);
    }
  }
}

Deno.test("Inquest finds a job guilty at once when its worker ended by itself", () => {
  const court = new Court();
  court.die(1, "itself");
  court.die(2);
  court.die(3, "outside");
  court.end(2, "itself");
  assert.deepEqual(court.told, ["1 guilty", "2 guilty"]);
});

Deno.test("Inquest finds a job guilty when its worker alone was killed", () => {
  const court = new Court();
  court.die(1, "outside");
  court.pass(TOGETHER - 1);
  assert.deepEqual(court.told, []);
  court.pass(1);
  assert.deepEqual(court.told, ["1 guilty"]);
  court.pass(2 * TOGETHER);
  court.die(2, "outside");
  court.pass(TOGETHER);
  assert.deepEqual(court.told, ["1 guilty", "2 guilty"]);
});

Deno.test("Inquest excuses jobs whose workers were killed together, also beside one that had none", () => {
  const court = new Court();
  court.die(1, "outside");
  court.pass(TOGETHER / 2);
  court.end(7, "outside");
  court.die(2, "outside");
  court.pass(2 * TOGETHER);
  assert.deepEqual(court.told, ["1 excused", "2 excused"]);
  assert(court.rests);
});

Deno.test("Inquest excuses nobody for deaths beside that a process has brought upon itself", () => {
  const court = new Court();
  court.die(1, "outside");
  court.die(2, "itself");
  court.end(3, "itself");
  court.pass(TOGETHER);
  assert.deepEqual(court.told, ["2 guilty", "1 guilty"]);
});

Deno.test("Inquest waits for what ended a process that died beside, but not for ever", () => {
  const court = new Court();
  court.die(1, "outside");
  court.die(2);
  court.pass(2 * TOGETHER);
  assert.deepEqual(court.told, []);
  court.end(2, "outside");
  assert.deepEqual(court.told, ["1 excused", "2 excused"]);
  court.die(3, "outside");
  court.pass(4 * TOGETHER);
  court.die(4, "outside");
  court.die(5);
  court.pass(20 * TOGETHER);
  assert.deepEqual(court.told.slice(2), ["3 guilty", "5 guilty", "4 guilty"]);
});

Deno.test("Inquest takes deaths for simultaneous that were seen before and after a stall", () => {
  const court = new Court();
  court.die(1, "outside");
  court.stall(10 * TOGETHER);
  court.die(2, "outside");
  court.pass(2 * TOGETHER);
  assert.deepEqual(court.told, ["1 excused", "2 excused"]);
});

Deno.test("Inquest goes by when a process was killed, however late its connection is seen to end", () => {
  const court = new Court();
  court.end(1, "outside");
  court.end(2, "outside");
  court.pass(TOGETHER);
  court.notice(1, "outside");
  assert.deepEqual(court.told, ["1 excused"]);
});

Deno.test("Inquest blames no job for the end of a machine, whenever that is told, and compares no death with it", () => {
  const court = new Court();
  court.die(1);
  court.pass(5 * TOGETHER);
  court.end(1, "vanished");
  court.notice(2, "vanished");
  court.die(3, "outside");
  court.pass(2 * TOGETHER);
  assert.deepEqual(court.told, ["1 stranded", "2 stranded", "3 guilty"]);
  assert(court.rests);
});

// ---- suspects

interface Item extends Suspect<Item> {
  name: string;
}

function item(id: number, past: Partial<Item> = {}): Item {
  const clean = { deaths: 0, doubts: 0, excused: 0, beside: 0, stranded: 0, shelf: undefined };
  return { id, name: `j${id}`, bytes: 10, links: noLinks<Item>(), ...clean, ...past };
}

/** Takes out all that may go now. */
function take(suspects: Suspects<Item>): string {
  const names: string[] = [];
  for (let next = suspects.next(); next !== undefined; next = suspects.next()) {
    names.push(next.name);
    suspects.remove(next);
  }
  return names.join(" ");
}

Deno.test("Suspects lets those who are to blame go side by side, the last to come back first", () => {
  const suspects = new Suspects<Item>();
  const jobs = [1, 2, 3].map((id) => item(id, { deaths: 1 }));
  for (const job of jobs) suspects.hold(job);
  assert.equal(take(suspects), "", "they wait for the verdict");
  assert.deepEqual([suspects.size, suspects.bytes], [3, 30]);
  for (const job of jobs.toReversed()) suspects.release(job);
  assert.equal(take(suspects), "j1 j2 j3");
  assert.deepEqual([suspects.size, suspects.bytes], [0, 0]);
});

Deno.test("Suspects lets excused ones go one at a time, until each has ended or was judged", () => {
  const suspects = new Suspects<Item>();
  const [one, two, three] = [1, 2, 3].map((id) => item(id, { excused: 1 }));
  assert(one && two && three);
  for (const job of [one, two, three]) suspects.release(job);
  suspects.release(item(4, { deaths: 1 }));
  assert.equal(take(suspects), "j4 j1");
  suspects.release(one); // its worker left, or gave it back
  assert.equal(take(suspects), "j1");
  suspects.hold(one); // its worker died
  assert.equal(take(suspects), "");
  suspects.endTurn(one);
  suspects.release(one);
  assert.equal(take(suspects), "j2");
  suspects.endTurn(three);
  assert.equal(take(suspects), "", "nobody ends another's turn");
  suspects.endTurn(two);
  assert.equal(take(suspects), "j3");
  suspects.endTurn(three);
  assert.equal(take(suspects), "j1");
});

Deno.test("Suspects lets those go side by side whose machine was gone", () => {
  const suspects = new Suspects<Item>();
  for (const id of [3, 2, 1]) suspects.release(item(id, { stranded: 1 }));
  assert.equal(take(suspects), "j1 j2 j3");
});

Deno.test("Suspects passes the turn on when the one that has it is taken out and ends", () => {
  const suspects = new Suspects<Item>();
  const jobs = [1, 2].map((id) => item(id, { excused: 1 }));
  for (const job of jobs) suspects.release(job);
  const first = suspects.next();
  assert.equal(first?.name, "j1");
  assert.deepEqual([...suspects].map(({ name }) => name), ["j2", "j1"]);
  for (const job of [...suspects]) {
    if (job === first) suspects.remove(job);
  }
  suspects.endTurn(first);
  assert.equal(take(suspects), "j2");
});

Deno.test("blame counts deaths by what is known, and a job is hopeless by maxAttempts or by any three times that", () => {
  const job = item(1);
  assert(!isSuspect(job));
  blame(job, "guilty", false);
  assert(isSuspect(job));
  assert(!isHopeless(job, 2));
  blame(job, "guilty", true);
  assert.deepEqual([job.deaths, triesOf(job), isHopeless(job, 2)], [2, 2, true]);
  const unlucky = item(2, { beside: 9 });
  for (let storm = 0; storm < 5; storm++) blame(unlucky, "excused", true);
  assert.deepEqual([triesOf(unlucky), isHopeless(unlucky, 2)], [14, false]);
  blame(unlucky, "excused", true);
  assert(isHopeless(unlucky, 2));
  const stranded = item(4);
  for (let storm = 0; storm < 5; storm++) blame(stranded, "stranded", true);
  assert.deepEqual([triesOf(stranded), isHopeless(stranded, 2)], [5, false]);
  blame(stranded, "stranded", false);
  assert(isHopeless(stranded, 2));
  const once = item(3);
  blame(once, "guilty", true);
  assert.deepEqual([isHopeless(once, 2), isHopeless(once, 1)], [false, true]);
});
