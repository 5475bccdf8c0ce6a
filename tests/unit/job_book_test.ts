/** What torture says of stored jobs must be true: its book finds out what was lost, changed and mixed up. */

import { strict as assert } from "node:assert";
import { countRuns, inWords, isKept, JobBook, MARK, runsInWords } from "../../torture/job_book.ts";

const done = (body: string, run = "1") => ({ state: "done", result: `${body}${MARK}${run}` });

/** A book with two jobs. */
function twoJobs(): JobBook {
  const book = new JobBook();
  book.accept("a", "one/");
  book.accept("b", "two/");
  return book;
}

Deno.test("JobBook is content when each acknowledged job is done, however often that is told", () => {
  const book = twoJobs();
  book.refuse("507 full");
  book.tell("a", { state: "unended", result: "" });
  book.tell("a", done("one/"));
  book.tell("b", done("two/"));
  book.tell("a", done("one/"));
  assert.deepEqual(book.open, []);
  assert(isKept(book.verdict));
  assert.equal(
    inWords(book.verdict),
    "2 jobs acknowledged, 2 done, 0 lost (submits refused: 1 × 507 full)",
  );
  assert.deepEqual(book.verdict.refused, { "507 full": 1 });
});

Deno.test("JobBook is not content when nothing was acknowledged", () => {
  assert(!isKept(new JobBook().verdict));
});

const FAULTS = [
  { kind: "lost", end: { state: "unknown", result: "" } },
  { kind: "failed", end: { state: "failed", result: "" } },
  { kind: "unended", end: { state: "unended", result: "" } },
  { kind: "unended", end: undefined },
  { kind: "wrong", end: done("one/") },
] as const;

for (const { kind, end } of FAULTS) {
  Deno.test(`JobBook says "${kind}" when a job ends as ${JSON.stringify(end)}`, () => {
    const book = twoJobs();
    book.tell("a", done("one/"));
    if (end !== undefined) book.tell("b", end);
    assert.equal(book.verdict[kind], 1);
    assert.equal(book.verdict.done, 1);
    assert(!isKept(book.verdict));
  });
}

const CHANGES = [done("one/", "2"), { state: "unknown", result: "" }, {
  state: "unended",
  result: "",
}];

for (const later of CHANGES) {
  Deno.test(`JobBook says "changed" when a job that was done is ${later.state}, ${later.result}`, () => {
    const book = twoJobs();
    book.tell("a", done("one/"));
    book.tell("b", done("two/"));
    book.tell("a", later);
    assert.equal(book.verdict.changed, 1);
    assert(!isKept(book.verdict));
    assert.match(inWords(book.verdict), /1 changed afterwards/);
  });
}

Deno.test("JobBook says so when two submits have got the same id", () => {
  const book = twoJobs();
  book.accept("a", "three/");
  book.tell("a", done("one/"));
  book.tell("b", done("two/"));
  assert.equal(book.verdict.repeatedIds, 1);
  assert(!isKept(book.verdict));
});

Deno.test("countRuns counts what was run again when ids come more than once", () => {
  const runs = countRuns(["a", "b", "a", "a"]);
  assert.deepEqual(runs, { runs: 4, jobs: 2, repeated: 2 });
  assert.equal(runsInWords(runs), "4 runs, 2 of them again (50.00 %)");
  assert.equal(runsInWords(countRuns([])), "0 runs, 0 of them again (0.000 %)");
});
