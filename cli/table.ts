/**
 * Tables for a person: aligned, as wide as there is room. Where room lacks, texts are cut, and then columns
 * are left out in the order that the table says.
 *
 * @module
 */

import { cutEnd, cutStart, padEnd, type Paint, printable, type Tone, widthOf } from "./paint.ts";

/** One column. */
export interface Column<Row> {
  title: string;
  /** What a row has there; undefined, null or "": nothing, which is shown as "-". */
  cell(row: Row): string | number | null | undefined;
  /** Which side is aligned. @default {"left"} */
  side?: "left" | "right";
  /** How few columns of the screen it may be cut to. @default {it is not cut} */
  least?: number;
  /** Which end is cut off. @default {"end"} */
  cut?: "start" | "end";
  /** When it is left out where room lacks: 1 goes first. @default {it stays} */
  leaves?: number;
  /** Whether it is left out where no row has anything there. */
  rare?: boolean;
  /** Its colour in a row. */
  tone?(row: Row): Tone | undefined;
}

/** Where a table is shown. */
export interface Sheet {
  /** Columns that there are. */
  width: number;
  paint: Paint;
}

const GAP = "  ";
const NOTHING = "-";

/** A column with its texts. */
interface Strip<Row> {
  column: Column<Row>;
  /** The title, and the text of each row. */
  texts: string[];
  width: number;
}

/** Lines of a table: its titles, then a line for each row. */
export function table<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  { width, paint }: Sheet,
): string[] {
  const strips = fit(columns.flatMap((column) => stripOf(column, rows)), width);
  const line = (index: number, row: Row | undefined) => {
    const cells = strips.map((strip, at) => {
      const tone = row === undefined ? "title" : strip.column.tone?.(row);
      return cellOf(strip, index, { tone, paint, isLast: at === strips.length - 1 });
    });
    return cells.join(GAP);
  };
  return [line(0, undefined), ...rows.map((row, index) => line(index + 1, row))];
}

function stripOf<Row>(column: Column<Row>, rows: readonly Row[]): Strip<Row>[] {
  const cells = rows.map((row) => column.cell(row) ?? "");
  if (column.rare && cells.every((cell) => cell === "")) return [];
  const shown = cells.map((cell) => cell === "" ? NOTHING : printable(String(cell)));
  const texts = [column.title, ...shown];
  const width = texts.reduce((most, text) => Math.max(most, widthOf(text)), 0);
  return [{ column, texts, width }];
}

/** Cuts and leaves out until it fits, if it can. */
function fit<Row>(strips: Strip<Row>[], width: number): Strip<Row>[] {
  for (let all = strips;;) {
    const narrowed = narrow(all, width);
    if (narrowed !== undefined) return narrowed;
    const next = all.map(({ column }) => column.leaves).filter((rank) => rank !== undefined);
    const first = Math.min(...next);
    // Where none may leave, the last ones do, so that no line is too long.
    all = next.length > 0 ? all.filter(({ column }) => column.leaves !== first) : all.slice(0, -1);
  }
}

/** Cuts the widest of the columns that may be cut, again and again; undefined if that does not do. */
function narrow<Row>(strips: readonly Strip<Row>[], width: number): Strip<Row>[] | undefined {
  const narrowed = strips.map((strip) => ({ ...strip }));
  const gaps = GAP.length * (narrowed.length - 1);
  let excess = narrowed.reduce((sum, strip) => sum + strip.width, gaps) - width;
  for (; excess > 0; excess--) {
    const widest = widestToCut(narrowed);
    if (widest === undefined) return undefined;
    widest.width--;
  }
  return narrowed;
}

function widestToCut<Row>(strips: readonly Strip<Row>[]): Strip<Row> | undefined {
  let widest: Strip<Row> | undefined;
  for (const strip of strips) {
    const { least = Infinity, title } = strip.column;
    const canGive = strip.width > Math.max(least, title.length);
    if (canGive && strip.width > (widest?.width ?? 0)) widest = strip;
  }
  return widest;
}

function cellOf<Row>(
  { column, texts, width }: Strip<Row>,
  index: number,
  { tone, paint, isLast }: { tone: Tone | undefined; paint: Paint; isLast: boolean },
): string {
  const text = texts[index] ?? "";
  const cut = column.cut === "start" ? cutStart(text, width) : cutEnd(text, width);
  const painted = paint(cut, tone);
  const blanks = " ".repeat(Math.max(0, width - widthOf(cut)));
  if (column.side === "right") return blanks + painted;
  return isLast ? painted : painted + blanks;
}

/** A name, what it is, and the colour of that. */
export type Pair = readonly [name: string, value: string | undefined, tone?: Tone];

/** Lines of names and values, `queue     12 waiting`; those without a value are left out. */
export function pairs(rows: readonly Pair[], { width, paint }: Sheet): string[] {
  const shown = rows.filter(([, value]) => value !== undefined);
  const column = shown.reduce((most, [name]) => Math.max(most, widthOf(name)), 0) + GAP.length;
  return shown.map(([name, value = "", tone]) => {
    const text = cutEnd(printable(value), Math.max(1, width - column));
    return paint(padEnd(name, column), "title") + paint(text, tone);
  });
}
