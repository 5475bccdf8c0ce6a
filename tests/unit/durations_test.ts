/** How durations and sizes are written: what one of them shows, the same one reads. */

import { strict as assert } from "node:assert";
import { missingUnit, parseDuration, showDuration } from "../../options/durations.ts";
import { parseSize, showSize } from "../../options/sizes.ts";
import { randomNumbers } from "../rig/random.ts";

const DURATIONS: Record<string, number> = {
  "0": 0,
  "0.0": 0,
  "0ms": 0,
  "500ms": 500,
  "1.5s": 1500,
  ".5s": 500,
  "10s": 10_000,
  "5m": 300_000,
  "1h": 3_600_000,
  "30d": 2_592_000_000,
};

for (const [text, ms] of Object.entries(DURATIONS)) {
  Deno.test(`parseDuration reads ${text}`, () => {
    assert.equal(parseDuration(text), ms);
    assert.equal(missingUnit(text), undefined);
  });
}

Deno.test("parseDuration reads no number without a unit, and missingUnit says which there are", () => {
  for (const text of ["10", "0.5", ".5", "00010", "1"]) {
    assert.equal(parseDuration(text), undefined, text);
    assert.equal(missingUnit(text), `needs a unit: did you mean "${text}s" or "${text}ms"?`);
  }
});

Deno.test("parseDuration reads nothing else", () => {
  const wrong = [
    "",
    " ",
    "s",
    "10 s",
    "10S",
    "-1s",
    "1e3s",
    "1_000s",
    "10.s",
    "1h30m",
    "ten",
    "∞",
  ];
  for (const text of wrong) {
    assert.equal(parseDuration(text), undefined, text);
    assert.equal(missingUnit(text), undefined, text);
  }
});

Deno.test("parseDuration and parseSize read what is shown of any number", () => {
  const random = randomNumbers(3);
  for (let round = 0; round < 2000; round++) {
    const number = random(2 ** (1 + random(31)));
    assert.equal(parseDuration(showDuration(number)), number);
    assert.equal(parseSize(showSize(number)), number);
  }
});
