// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * The log: its last lines, those of one worker, and the failed requests among them, grouped by their message.
 *
 * @module
 */

import { byId, List, make, put } from "./page_elements.js";
import { clock, count, counted, serviceName } from "./page_words.js";

/** @import { Shown } from "./page_elements.js" */
/** @import { LogLine } from "./page_link.js" */

/** Lines that are kept; older ones are forgotten. */
const KEPT_LINES = 2000;
/** Lines that a list shows. */
const SHOWN_LINES = 300;
/** Groups of errors that are kept. */
const KEPT_GROUPS = 100;
/** A list this near to its end follows it, pixels. */
const NEAR_END = 24;
const LEVELS = ["debug", "info", "warn", "error", "critical"];

/** @typedef {LogLine & { key: number }} Line */

/**
 * Failed requests with the same message.
 *
 * @typedef {object} Group
 * @property {string} key
 * @property {string} message
 * @property {number} count
 * @property {Line} last
 */

/** Keeps the last lines, and shows them. */
export class Log {
  /** @type {Line[]} */
  #lines = [];
  /** @type {Map<string, Group>} */
  #groups = new Map();
  #next = 0;
  /** Failed requests that had no line of their own. */
  #unnamed = 0;
  /** @type {number | undefined} */
  #worker;
  #isStale = false;
  #level = byId("log-level", HTMLSelectElement);
  #text = byId("log-text", HTMLInputElement);
  #all = new Tail(byId("log-lines", HTMLElement));
  #own = new Tail(byId("worker-lines", HTMLElement));
  /** @type {List<Group>} */
  #errors = new List(byId("errors-list", HTMLElement), ({ key }) => key, showGroup);

  constructor() {
    for (const control of [this.#level, this.#text]) {
      control.addEventListener("input", () => this.#show());
    }
  }

  /**
   * Starts again with these lines.
   *
   * @param {readonly LogLine[]} lines
   */
  fill(lines) {
    this.#lines = [];
    this.#groups.clear();
    this.#unnamed = 0;
    for (const line of lines) this.#take(line);
    this.#show();
  }

  /** @param {LogLine} line */
  add(line) {
    this.#take(line);
    this.#isStale = true;
  }

  /** Shows the lines that have come; is called once a frame at most. */
  refresh() {
    if (this.#isStale) this.#show();
  }

  /**
   * Shows the lines of a worker too; undefined: of none.
   *
   * @param {number | undefined} worker
   */
  follow(worker) {
    this.#worker = worker;
    this.#show();
  }

  /** @param {LogLine} line */
  #take(line) {
    const kept = { ...line, key: this.#next++ };
    this.#lines.push(kept);
    // Cut in steps: to move all lines for each new one would cost more than the lines.
    if (this.#lines.length > KEPT_LINES * 1.2) this.#lines = this.#lines.slice(-KEPT_LINES);
    if (line.message === "request failed") this.#group(kept);
    if (line.message === "more requests failed") this.#unnamed += Number(line.count) || 0;
  }

  /** @param {Line} line */
  #group(line) {
    const message = text(line.error) || "(no message)";
    const key = `${text(line.service)} ${text(line.code)} ${message}`;
    const count = (this.#groups.get(key)?.count ?? 0) + 1;
    // Deleted first, so that the newest is the last.
    this.#groups.delete(key);
    this.#groups.set(key, { key, message, count, last: line });
    const [oldest] = this.#groups.keys();
    if (this.#groups.size > KEPT_GROUPS && oldest !== undefined) this.#groups.delete(oldest);
  }

  #show() {
    this.#isStale = false;
    this.#all.show(this.#matching());
    const kept = this.#lines.length;
    put(byId("log-tally", HTMLElement), kept === 0 ? "" : `the last ${counted(kept, "line")}`);
    if (this.#worker !== undefined) {
      this.#own.show(this.#lines.filter(({ worker }) => worker === this.#worker));
    }
    this.#showErrors();
  }

  #matching() {
    const least = LEVELS.indexOf(this.#level.value);
    const sought = this.#text.value.toLowerCase();
    return this.#lines.filter((line) =>
      LEVELS.indexOf(line.level) >= least &&
      (sought === "" || `${line.message} ${fieldsOf(line)}`.toLowerCase().includes(sought))
    );
  }

  #showErrors() {
    const groups = [...this.#groups.values()].reverse();
    this.#errors.set(groups);
    const failed = groups.reduce((sum, group) => sum + group.count, 0) + this.#unnamed;
    const unnamed = this.#unnamed === 0 ? "" : `, ${count(this.#unnamed)} without a line`;
    const tally = `${counted(failed, "request")}, ${counted(groups.length, "message")}${unnamed}`;
    put(byId("errors-tally", HTMLElement), failed === 0 ? "" : tally);
    const none = "No request has failed, as far back as the log is kept.";
    put(byId("errors-empty", HTMLElement), groups.length > 0 ? "" : none);
  }
}

/** A list of lines that follows its end, unless somebody has scrolled away from it. */
class Tail {
  #parent;
  /** @type {List<Line>} */
  #list;

  /** @param {HTMLElement} parent */
  constructor(parent) {
    this.#parent = parent;
    const lines = make("ol");
    parent.append(lines);
    this.#list = new List(lines, ({ key }) => key, showLine);
  }

  /** @param {readonly Line[]} lines */
  show(lines) {
    const { scrollTop, clientHeight, scrollHeight } = this.#parent;
    const follows = scrollTop + clientHeight >= scrollHeight - NEAR_END;
    this.#list.set(lines.slice(-SHOWN_LINES));
    if (follows) this.#parent.scrollTop = this.#parent.scrollHeight;
  }
}

/**
 * @param {Line} line
 * @returns {Shown<Line>}
 */
function showLine(line) {
  const element = make(
    "li",
    { class: "line", "data-level": line.level },
    make("time", { datetime: text(line.time) }, clock(line.time)),
    make("span", { class: "level" }, line.level),
    make("span", { class: "message" }, text(line.message)),
    make("span", { class: "rest" }, fieldsOf(line)),
  );
  return { element, update: () => {} };
}

/** @returns {Shown<Group>} */
function showGroup() {
  const number = make("span", { class: "group-count" });
  const message = make("span", { class: "group-message" });
  const where = make("p", { class: "group-where" });
  const stack = make("pre", { tabindex: "0", role: "region", "aria-label": "Stack of the last" });
  const summary = make("summary", {}, number, message);
  return {
    element: make("li", {}, make("details", {}, summary, where, stack)),
    update(group) {
      put(number, `${count(group.count)} ×`);
      put(message, group.message);
      put(where, whereOf(group.last));
      put(stack, text(group.last.stack));
      stack.hidden = text(group.last.stack) === "";
    },
  };
}

/** @param {Line} line */
function whereOf({ time, code, service, worker, job, attempt, client }) {
  const parts = [
    `code ${text(code)}`,
    `service ${serviceName(text(service))}`,
    worker === undefined ? "answered by the server" : `worker ${text(worker)}`,
    `job ${text(job)}`,
    Number(attempt) > 1 ? `attempt ${text(attempt)}` : "",
    client === undefined ? "" : `client ${text(client)}`,
  ];
  return `Last at ${clock(time)}: ${parts.filter((part) => part !== "").join(", ")}`;
}

/**
 * What a line says besides. A stack is left out: it is shown with the errors.
 *
 * @param {Line} line
 */
function fieldsOf({ time: _, level: __, message: ___, key: ____, stack: _____, ...fields }) {
  return Object.entries(fields).map(([name, value]) => `${name}=${text(value)}`).join("  ");
}

/** @param {unknown} value */
function text(value) {
  if (value === undefined || value === null) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
