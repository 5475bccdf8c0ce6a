// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * The live page: puts its parts together and brings them up to date once a second.
 *
 * @module
 */

import { Actions } from "./page_actions.js";
import { serverButtons } from "./page_changes.js";
import { button, byId, mark, put, showFacts } from "./page_elements.js";
import { Figures } from "./page_figures.js";
import { Link } from "./page_link.js";
import { Asked, Services } from "./page_lists.js";
import { Log } from "./page_log.js";
import { Plots } from "./page_plots.js";
import { Stored } from "./page_stored.js";
import { counted, judge, time } from "./page_words.js";
import { Workers } from "./page_workers.js";

/** @import { Access, LogLine } from "./page_link.js" */
/** @import { Status } from "../ops/status.ts" */

/** Sections that need the token, and what is shown of them with it. */
const LOCKED = ["stored", "jobs", "errors", "clients", "log", "settings", "worker"];
const LOCKED_CONTENTS = [
  "errors-scroll",
  "errors-empty",
  "log-lines",
  "settings-details",
  "worker-lines",
];
/** What is shown once the server has answered a question. */
const ASKED_CONTENTS = ["jobs-scroll", "jobs-empty", "clients-scroll", "clients-empty"];

const link = new Link({ status, line, access, live });
const actions = new Actions(link);
const figures = new Figures();
const plots = new Plots(byId("plots", HTMLElement), figures);
const services = new Services(actions);
const log = new Log();
const workers = new Workers(actions, log);
const asked = new Asked(link, actions);
const stored = new Stored(link, actions);
const buttons = serverButtons(actions);

/** @type {Status | undefined} */
let known;
let isDue = false;

byId("actions", HTMLElement).append(...buttons.elements);
byId("session", HTMLButtonElement).addEventListener("click", () => {
  if (link.access === "full") link.logout();
  else actions.logIn();
});
for (const what of LOCKED) {
  const locked = byId(`${what}-locked`, HTMLElement);
  locked.append("Locked: this needs the server's token. ", button("Log in", () => actions.logIn()));
}
chooseColors();
document.addEventListener("visibilitychange", () => document.hidden || remember());
link.open();

/** @param {Status} next */
function status(next) {
  if (known !== undefined && known.version !== next.version) return location.reload();
  if (known !== undefined && known.startedAt !== next.startedAt) {
    actions.report("The server was started again.");
  }
  const isMissing = figures.add(next);
  known = next;
  if (isMissing) remember();
  draw();
}

/** @param {LogLine} next */
function line(next) {
  log.add(next);
  draw();
}

/** Takes in what the server remembers of the last 15 minutes. */
async function remember() {
  try {
    figures.fill(await link.get("/api/history"));
    draw();
  } catch {
    // The plots go on from here; the next gap asks again.
  }
}

/**
 * @param {Access} may
 * @param {LogLine[]} lines
 */
function access(may, lines) {
  const isFull = may === "full";
  document.body.dataset.access = may;
  put(byId("session", HTMLButtonElement), isFull ? "Log out" : "Log in");
  for (const what of LOCKED) byId(`${what}-locked`, HTMLElement).hidden = isFull;
  for (const what of LOCKED_CONTENTS) byId(what, HTMLElement).hidden = !isFull;
  if (!isFull) {
    for (const what of ASKED_CONTENTS) byId(what, HTMLElement).hidden = true;
    for (const what of ["jobs", "clients"]) put(byId(`${what}-tally`, HTMLElement), "");
  }
  log.fill(lines);
  stored.ask();
  if (may === "none") return lockedOut();
  remember();
  asked.ask();
}

/** The server shows nothing without the token. */
function lockedOut() {
  put(byId("link", HTMLElement), "Not logged in");
  put(byId("verdict", HTMLElement), "Please log in");
  put(byId("sentence", HTMLElement), "This server shows nothing without its token.");
  actions.logIn();
}

/** @param {boolean} isLive */
function live(isLive) {
  const shown = byId("link", HTMLElement);
  mark(shown, "data-live", isLive ? "yes" : "no");
  put(shown, isLive ? "Live" : "No connection, trying again …");
  if (isLive) return;
  mark(byId("summary", HTMLElement), "data-level", "none");
  put(byId("verdict", HTMLElement), "No connection");
  const rest = known === undefined ? "" : " The page shows what it said last.";
  put(byId("sentence", HTMLElement), `The server does not answer.${rest}`);
  document.title = `No connection – ${known?.name ?? "Job server"}`;
}

/** Has all shown in the next frame, once. */
function draw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    log.refresh();
    if (known !== undefined && byId("link", HTMLElement).dataset.live === "yes") show(known);
  });
}

/** @param {Status} status */
function show(status) {
  const { level, title, sentence } = judge(status, figures.lastMinute());
  document.title = `${title} – ${status.name}`;
  put(byId("name", HTMLElement), status.name);
  mark(byId("summary", HTMLElement), "data-level", level);
  put(byId("verdict", HTMLElement), title);
  put(byId("sentence", HTMLElement), sentence);
  showFacts(byId("facts", HTMLElement), factsOf(status));
  buttons.update(status);
  services.update(status);
  stored.update(status);
  workers.update(status);
  plots.draw();
}

/**
 * @param {Status} status
 * @returns {[string, string][]}
 */
function factsOf({ version, pid, uptime, endpoints, clients, connections, logLevel, generation }) {
  const listens = [...endpoints.frontend, ...endpoints.mdp, ...endpoints.events];
  const connected = connections === undefined || connections === null
    ? ""
    : `, ${counted(connections, "connection")}`;
  return [
    ["Listens on", listens.join("  ")],
    ["Clients", `${counted(clients, "client")}${connected}`],
    ["Up for", time(uptime)],
    ["Version", version],
    ["Process", String(pid)],
    ["Reloads", String(generation - 1)],
    ["Log level", logLevel],
  ];
}

/** Lets a person choose between light and dark; what the system says holds otherwise. */
function chooseColors() {
  const select = byId("theme", HTMLSelectElement);
  const set = (/** @type {string} */ theme) => {
    if (theme === "") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    plots.recolor();
  };
  select.value = localStorage.getItem("theme") ?? "";
  set(select.value);
  select.addEventListener("change", () => {
    localStorage.setItem("theme", select.value);
    set(select.value);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.recolor());
}
