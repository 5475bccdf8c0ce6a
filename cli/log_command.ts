/**
 * `ctl log`: the last lines of a server's log, and those that come.
 *
 * @module
 */

import type { LogLine } from "../ops/status.ts";
import { queryText } from "./control_link.ts";
import type { Command, Desk, Task } from "./ctl_commands.ts";
import { type Order, readWhole } from "./ctl_flags.ts";
import { printLines } from "./ctl_screen.ts";
import { type Contact, follow } from "./follow.ts";
import { logLine } from "./record_views.ts";
import { printText } from "./reply_output.ts";

/** Lines that are shown where nobody says how many. */
const LINES = 20;

/** Shows the last lines. */
export function showLog(order: Order<Command>): Task {
  const query = queryOf(order);
  return async ({ link, sheet }) => {
    const json = await link.get(`/api/log${query}`);
    if (order.json) return printText(`${json.trimEnd()}\n`);
    const { lines }: { lines: LogLine[] } = JSON.parse(json);
    printLines(lines.map((line) => logLine(line, sheet.paint)));
  };
}

/** Shows the last lines, and each new one as it comes, until it is interrupted. */
export function followLog(order: Order<Command>): Task {
  const path = `/api/events${queryOf(order, { only: "log" })}`;
  return async ({ link, sheet, remark }) => {
    for await (const { event, data } of follow(link, path, tell(remark))) {
      if (event !== "log") continue;
      if (order.json) printText(`${data}\n`);
      else printLines([logLine(JSON.parse(data), sheet.paint)]);
    }
  };
}

/** Says on stderr what happens to the connection. */
export function tell(remark: Desk["remark"]): Contact {
  return {
    lost: (reason) => remark(`${reason}; trying again each second`),
    back: () => remark("connected again"),
  };
}

function queryOf({ values }: Order<Command>, more: Record<string, string> = {}): string {
  const lines = readWhole('"--lines"', values.get("lines") ?? String(LINES), 0);
  return queryText({ ...more, lines, level: values.get("level") });
}
