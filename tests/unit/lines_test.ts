/** Which job of a priority comes next, however many wait: what is read of the file, and who has a turn. */

import { strict as assert } from "node:assert";
import { type Candidate, type LineName, Lines, type WaitingJobs } from "../../store/lines.ts";

/** A file of jobs, each `[user, group]`; one that has ended is gone. */
class FakeFile implements WaitingJobs {
  readonly jobs: Candidate[];
  /** Rows that were read. */
  read = 0;

  constructor(jobs: readonly (readonly [user: string, group: string])[]) {
    this.jobs = jobs.map(([user, group], seq) => ({ seq: seq + 1, user, group, due: 0 }));
  }

  nextLine(after: LineName | undefined): LineName | undefined {
    this.read++;
    const names = this.jobs.filter(({ user, group }) =>
      after === undefined || user > after.user || user === after.user && group > after.group
    );
    names.sort((one, other) =>
      one.user === other.user ? (one.group < other.group ? -1 : 1) : one.user < other.user ? -1 : 1
    );
    return names[0];
  }

  ofLine({ user, group }: LineName, after: number, limit: number): Candidate[] {
    const all = this.jobs.filter((job) =>
      job.user === user && job.group === group && job.seq > after
    );
    const some = all.slice(0, limit).map((job) => ({ ...job }));
    this.read += some.length;
    return some;
  }

  held(): void {}

  end(seq: number): void {
    this.jobs.splice(this.jobs.findIndex((job) => job.seq === seq), 1);
  }
}

/** Lines over a file, in which each group may run `most` at a time. */
function linesOf(file: FakeFile, most = Infinity) {
  const running = new Map<string, number>();
  const isFull = (group: string) => group !== "" && (running.get(group) ?? 0) >= most;
  const lines = new Lines(file, file.jobs.length, isFull);
  const take = () => {
    const job = lines.take(8);
    if (job !== undefined) running.set(job.group, (running.get(job.group) ?? 0) + 1);
    return job;
  };
  const end = (job: Candidate) => {
    running.set(job.group, (running.get(job.group) ?? 0) - 1);
    file.end(job.seq);
    lines.remove(job);
    lines.wake();
  };
  return { lines, take, end };
}

function many(count: number, user: string, group: string): [string, string][] {
  return Array.from({ length: count }, () => [user, group]);
}

Deno.test("Lines gives the jobs of one line in their order, and each once", () => {
  const file = new FakeFile(many(3000, "", ""));
  const { take, end } = linesOf(file);
  for (let seq = 1; seq <= 3000; seq++) {
    const job = take();
    assert.equal(job?.seq, seq);
    if (job !== undefined) end(job);
  }
  assert.equal(take(), undefined);
  assert.ok(file.read < 4 * 3000, `${file.read} rows were read`);
});

Deno.test("Lines reads each job of a line about once, however many run", () => {
  const file = new FakeFile(many(3000, "", ""));
  const { take, end } = linesOf(file);
  const running: Candidate[] = [];
  for (let seq = 1; seq <= 3000; seq++) {
    const job = take();
    assert.equal(job?.seq, seq);
    if (job !== undefined) running.push(job);
    const first = running.length > 100 ? running.shift() : undefined;
    if (first !== undefined) end(first);
  }
  assert.ok(file.read < 1.2 * 3000, `${file.read} rows were read`);
});

Deno.test("Lines gives a job that comes before those that were read its turn", () => {
  const file = new FakeFile(many(3000, "", ""));
  const [early] = file.jobs.splice(1, 1);
  assert.ok(early);
  const { lines, take, end } = linesOf(file);
  const taken: number[] = [];
  const goOn = (jobs: number) => {
    for (let at = 0; at < jobs; at++) {
      const job = take();
      assert.ok(job);
      taken.push(job.seq);
      // The first one goes on and on.
      if (job.seq !== 1) end(job);
    }
  };
  goOn(40);
  file.jobs.splice(1, 0, early);
  assert.ok(!lines.add({ ...early }));
  goOn(100);
  assert.ok(taken.includes(early.seq), `${taken}`);
  assert.equal(new Set(taken).size, taken.length);
});

Deno.test("Lines passes over a group that is full, though it has all jobs at the head", () => {
  const file = new FakeFile([...many(5000, "", "busy"), ...many(3, "", "calm"), ["", ""]]);
  const { lines, take, end } = linesOf(file, 2);
  const groups = Array.from({ length: 6 }, () => take()?.group);
  assert.deepEqual(groups.sort(), ["", "busy", "busy", "calm", "calm", undefined]);
  assert.ok(!lines.mayHave || take() === undefined);
  const before = file.read;
  for (let i = 0; i < 100; i++) assert.equal(take(), undefined);
  assert.ok(file.read - before < 20, "it does not look again before something has changed");
  end({ seq: 1, user: "", group: "busy", due: 0 });
  assert.equal(take()?.group, "busy");
});

Deno.test("Lines gives each user a turn, whoever has submitted a thousand times as much", () => {
  const file = new FakeFile([
    ...many(4000, "ann", ""),
    ...many(4, "bob", ""),
    ...many(4, "zoe", ""),
  ]);
  const { take } = linesOf(file);
  const users = Array.from({ length: 40 }, () => take()?.user);
  assert.equal(users.filter((user) => user === "bob").length, 4);
  assert.equal(users.filter((user) => user === "zoe").length, 4);
});

Deno.test("Lines gives a job that came while many waited its turn within what is held", () => {
  const file = new FakeFile(many(4000, "ann", ""));
  const { lines, take, end } = linesOf(file);
  end(take() ?? assert.fail());
  const late = { seq: 9000, user: "bob", group: "", due: 0 };
  file.jobs.push(late);
  lines.add(late);
  let turns = 0;
  for (let job = take(); job?.user !== "bob"; job = take(), turns++) end(job ?? assert.fail());
  assert.ok(turns <= 64, `${turns} others came first`);
});

Deno.test("Lines gives a job that was given back next", () => {
  const { lines, take } = linesOf(new FakeFile(many(100, "", "")));
  const first = take() ?? assert.fail();
  take();
  lines.giveBack(first);
  assert.equal(take()?.seq, 1);
  assert.equal(lines.waiting, 98);
});

Deno.test("Lines forgets a job that has ended while it waited", () => {
  const file = new FakeFile(many(3, "", ""));
  const { lines, take } = linesOf(file);
  lines.look(1);
  lines.remove({ seq: 1, user: "", group: "", due: 0 });
  file.end(1);
  assert.deepEqual([take()?.seq, take()?.seq, take()], [2, 3, undefined]);
});
