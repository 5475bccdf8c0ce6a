/**
 * Rates as people write them: `100/s`, `10/m`, `5/h`, with how many may start at once as in `100/s burst 20`.
 *
 * @module
 */
import { isText, type Kind } from "./kinds.ts";

/** So many a second on average, and at once at most; `perSecond` 0: any number. */
export interface Rate {
  perSecond: number;
  burst: number;
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };
const RATE = /^(\d{1,9}(?:\.\d{1,9})?)\s*\/\s*([smhd])(?:\s+burst\s+(\d{1,9}))?$/;
/** What may start at once by default: what is due in this time, and at least one. Timers are not exact, s. */
const DEFAULT_BURST = 0.01;
const RULE = "off, or a rate such as 100/s, 10/m or 100/s burst 20";

/**
 * Reads a rate.
 *
 * @param text Such as `100/s burst 20`; `off` is no limit.
 * @returns `undefined` if the text is not a rate above 0.
 */
export function parseRate(text: string): Rate | undefined {
  if (text === "off") return { perSecond: 0, burst: 0 };
  const [, count = "", unit = "", burst] = RATE.exec(text) ?? [];
  const perSecond = Number(count) / (UNITS[unit] ?? NaN);
  if (!(perSecond > 0)) return undefined;
  // A burst of none would let nothing start.
  if (burst !== undefined && Number(burst) === 0) return undefined;
  return {
    perSecond,
    burst: burst === undefined ? Math.max(1, Math.ceil(perSecond * DEFAULT_BURST)) : Number(burst),
  };
}

/** A rate's text. */
export const rate: Kind<string> = {
  placeholder: "off|RATE",
  rule: RULE,
  textRule: RULE,
  isList: false,
  isType: isText,
  accept: (value) => isText(value) && parseRate(value) !== undefined ? value : undefined,
  parse: (text) => parseRate(text.trim()) === undefined ? undefined : text.trim(),
  show: String,
};
