/**
 * Durations as people write them, in flags, environment variables and conf files: a number with its
 * unit, as in 500ms, 10s, 5m, 1h or 30d. A number alone is refused, because it could be seconds or
 * milliseconds; only 0 needs no unit.
 *
 * @module
 */

/** The units, the longest first. */
const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
  ["ms", 1],
]);

const NUMBER = String.raw`\d+(?:\.\d+)?|\.\d+`;
const DURATION = new RegExp(`^(${NUMBER})(ms|s|m|h|d)$`);
const BARE_NUMBER = new RegExp(`^(?:${NUMBER})$`);

/**
 * Reads a duration.
 *
 * @param text Such as `1.5s`; `0` needs no unit.
 * @returns Milliseconds; `undefined` if the text is not a duration.
 */
export function parseDuration(text: string): number | undefined {
  if (isBareNumber(text)) return Number(text) === 0 ? 0 : undefined;
  const [, number, unit = ""] = DURATION.exec(text) ?? [];
  return number === undefined ? undefined : Number(number) * (UNITS_MS.get(unit) ?? NaN);
}

/**
 * Says what a text lacks that {@linkcode parseDuration} refuses.
 *
 * @param text What was written.
 * @returns The rest of a sentence about it: `needs a unit: did you mean "10s" or "10ms"?`;
 * `undefined` if a unit would not make it a duration.
 */
export function missingUnit(text: string): string | undefined {
  if (!isBareNumber(text) || Number(text) === 0) return undefined;
  return `needs a unit: did you mean "${text}s" or "${text}ms"?`;
}

/**
 * Writes a duration in its largest whole unit.
 *
 * @param ms Milliseconds.
 * @returns A text that {@linkcode parseDuration} reads.
 */
export function showDuration(ms: number): string {
  if (ms === 0) return "0";
  for (const [unit, factor] of UNITS_MS) {
    if (ms % factor === 0) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

/** Whether a text is a number without a unit. */
function isBareNumber(text: string): boolean {
  return BARE_NUMBER.test(text);
}
