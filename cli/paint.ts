/**
 * Texts for a screen: colours, what a text of somebody else's may show, how wide it is, and how it is cut.
 *
 * @module
 */

/** What a colour means. */
export type Tone = "good" | "warn" | "bad" | "dim" | "title";

/** Colours a text, or leaves it as it is. */
export type Paint = (text: string, tone: Tone | undefined) => string;

/** No colours: for files, pipes and NO_COLOR. */
export const plain: Paint = (text) => text;

const CODES: Readonly<Record<Tone, string>> = {
  good: "32",
  warn: "33",
  bad: "31",
  dim: "2",
  title: "1",
};

/** Colours of a terminal. */
export const coloured: Paint = (text, tone) =>
  tone === undefined || text === "" ? text : `\x1b[${CODES[tone]}m${text}\x1b[0m`;

/** What moves a cursor, ends a line or hides text. */
const SPECIAL = /[\p{C}\p{Zl}\p{Zp}]/gu;

/** A text of somebody else's in one line, which can't move a cursor or hide what stands beside it. */
export function printable(text: string): string {
  return text.replace(SPECIAL, "?");
}

/** What takes no column of a terminal, and what takes two. */
const NARROW = /\p{M}/u;
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}]/u;
// deno-lint-ignore no-control-regex -- ASCII has them
const ASCII = /^[\x00-\x7f]*$/;

/** The columns that a printable text takes. */
export function widthOf(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const char of text) width += columnsOf(char);
  return width;
}

function columnsOf(char: string): number {
  if (WIDE.test(char)) return 2;
  return NARROW.test(char) ? 0 : 1;
}

/** What shows that something was cut off. */
const CUT = "…";

/** A printable text in at most so many columns, the rest cut off where it ends. */
export function cutEnd(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  return width < 1 ? "" : `${fitting([...text], width - 1).join("")}${CUT}`;
}

/** The same, cut off where it starts: the end of a path says more. */
export function cutStart(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  return width < 1 ? "" : `${CUT}${fitting([...text].reverse(), width - 1).reverse().join("")}`;
}

/** As many characters from the first on as have room. */
function fitting(chars: readonly string[], width: number): string[] {
  let room = width;
  const end = chars.findIndex((char) => (room -= columnsOf(char)) < 0);
  return chars.slice(0, end === -1 ? chars.length : end);
}

/** A printable text with blanks on its right, up to so many columns. */
export function padEnd(text: string, width: number): string {
  return text + " ".repeat(Math.max(0, width - widthOf(text)));
}

/** A printable text with blanks on its left, up to so many columns. */
export function padStart(text: string, width: number): string {
  return " ".repeat(Math.max(0, width - widthOf(text))) + text;
}
