/**
 * What the commands of `ctl` are made of: a question whose answer is shown, or an order whose outcome is said.
 *
 * @module
 */

import { type Change, type ControlLink, type Query, queryText } from "./control_link.ts";
import type { Grammar, Order } from "./ctl_flags.ts";
import { printLines } from "./ctl_screen.ts";
import { printText } from "./reply_output.ts";
import type { Sheet } from "./table.ts";

/** What a command works with. */
export interface Desk {
  link: ControlLink;
  sheet: Sheet;
  /** Says something on stderr. */
  remark(text: string): void;
}

/** A command. */
export interface Command extends Grammar {
  /** The title under which the help lists it. */
  readonly group: "Look" | "Follow" | "Change" | "Stored";
  /** What it does, for the help. */
  readonly help: string;
  /** Checks the arguments before any server is asked. @throws {TypeError | RangeError} */
  plan(order: Order<Command>): Task;
  /** Whether it needs no server: its task must not use the link. */
  readonly isOffline?: true;
}

/** What is left to do once a server is found. */
export type Task = (desk: Desk) => Promise<void>;

/** Asks, and shows the answer: as it is, or as lines. */
export function look<Answer>(
  path: string,
  view: (answer: Answer, sheet: Sheet, order: Order<Command>) => string[],
  query: (order: Order<Command>) => Query = () => ({}),
): Command["plan"] {
  return (order) => {
    const target = path + queryText(query(order));
    return async ({ link, sheet }) => {
      const json = await link.get(target);
      if (order.json) printText(`${json.trimEnd()}\n`);
      else printLines(view(parse(json), sheet, order));
    };
  };
}

/** Has the server change something, and says what it has done. */
export function change<Answer>(
  changeOf: (order: Order<Command>) => Change,
  said: (order: Order<Command>, answer: Answer) => string,
  patience: "usual" | "endless" = "usual",
): Command["plan"] {
  return (order) => {
    const asked = changeOf(order);
    return async ({ link }) => {
      const json = await link.post(asked, patience);
      printText(order.json ? `${json.trimEnd()}\n` : `${said(order, parse(json))}\n`);
    };
  };
}

/** The answer's type is what the server's version of this package says. */
function parse<Answer>(json: string): Answer {
  return JSON.parse(json);
}
