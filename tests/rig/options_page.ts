/**
 * The tables of docs/options.md and docs/net_server.md, made from the table of options, and that of docs/metrics.md.
 * Run, it puts them into these files, between a mark such as `<!-- options -->` and the end of that; a test holds
 * the files to it.
 *
 * @module
 */

import { FAMILIES } from "../../admin/families.ts";
import { REFUSED } from "../../options/net_server.ts";
import { defaultOf, GROUPS, OPTIONS, type OptionSpec } from "../../options/table.ts";
import { path } from "./checkout.ts";

/** The options under the headings of --help, as Markdown. */
export function optionsTable(): string {
  return GROUPS.map((group) => {
    const rows = OPTIONS.filter((spec) => spec.group === group);
    const cells = rows.map((spec) => [code(spec.name), defaultOf(spec) || "–", helpOf(spec)]);
    return `### ${group}\n\n${table([["option", "default", "what it is"], ...cells])}`;
  }).join("\n");
}

/** Net::Server's keys of the conf file, those that have a meaning here and those that have none. */
export function netServerTable(): string {
  const names = OPTIONS.flatMap((spec) =>
    spec.netServer.map((key) => [code(key), `${code(spec.name)}${noteOn(spec)}`])
  );
  const refused = REFUSED.map(([keys, reason]) => [
    keys.split(" ").map(code).join(", "),
    reason.replaceAll(/\w+_\w+/g, code),
  ]);
  const known = table([["there", "here"], ...names]);
  return `${known}\nA key that has no meaning here is an error that says why:\n\n${
    table([["there", "why it has no meaning here"], ...refused])
  }`;
}

/** Each metric, with its labels. */
export function metricsTable(): string {
  const rows = FAMILIES.map(({ name, type, labels, help }) => [
    code(name),
    type,
    labels.length === 0 ? "–" : labels.map(code).join(", "),
    help,
  ]);
  return table([["metric", "type", "labels", "what it is"], ...rows]);
}

function helpOf({ help }: OptionSpec): string {
  return help.replaceAll(/<(\w+)>/g, (_, name) => code(name)).replaceAll("|", "\\|");
}

/** What is different under Net::Server's name. */
function noteOn({ kind, name }: OptionSpec): string {
  if (name === "config") return ", as a flag or environment variable only";
  return kind.placeholder === "TIME" ? ", in seconds" : "";
}

function code(text: string): string {
  return `\`${text}\``;
}

/** Pads the cells, as `deno fmt` would. */
function table(rows: readonly (readonly string[])[]): string {
  const width = (column: number) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(width(i))).join(" | ")} |\n`;
  const [head = [], ...body] = rows;
  const rule = head.map((_, i) => "-".repeat(width(i)));
  return [head, rule, ...body].map(line).join("");
}

/** A document with a table put between its marks. */
export function withTable(document: string, mark: string, made: string): string {
  const place = new RegExp(`(<!-- ${mark} -->\n)[^]*(<!-- /${mark} -->)`);
  return document.replace(place, (_, start, end) => `${start}\n${made}\n${end}`);
}

/** The documents with generated tables: their path, their mark, and what is made. */
export const TABLES: readonly (readonly [string, string, () => string])[] = [
  ["docs/options.md", "options", optionsTable],
  ["docs/net_server.md", "names", netServerTable],
  ["docs/metrics.md", "metrics", metricsTable],
];

if (import.meta.main) {
  for (const [file, mark, made] of TABLES) {
    const document = Deno.readTextFileSync(path(file));
    Deno.writeTextFileSync(path(file), withTable(document, mark, made()));
  }
}
