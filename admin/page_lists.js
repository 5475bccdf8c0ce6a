// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * The tables: services, jobs, clients and settings. Jobs and clients are asked for while they may be seen.
 *
 * @module
 */

import { cancelling, serviceButtons } from "./page_changes.js";
import { button, byId, fillTable, make, mark, put } from "./page_elements.js";
import { bytes, count, counted, rate, serviceName, time } from "./page_words.js";

/** @import { Actions } from "./page_actions.js" */
/** @import { Column, List, Shown } from "./page_elements.js" */
/** @import { Link } from "./page_link.js" */
/** @import { ClientView, JobView } from "../ports/inquiry.ts" */
/** @import { ServiceStatus, Status } from "../ops/status.ts" */

/** Rows that a table of jobs or clients has at most. */
const MAX_ROWS = 50;
/** Time between two questions, ms. */
const ASK_INTERVAL = 2000;

/** The services with their pools. */
export class Services {
  /** @type {List<ServiceStatus>} */
  #list;

  /** @param {Actions} actions */
  constructor(actions) {
    /** @type {Column<ServiceStatus>[]} */
    const columns = [
      { label: "Service", kind: "name", part: serviceCell },
      { label: "Workers", part: poolCell },
      { label: "Running", kind: "number", text: ({ running }) => count(running) },
      { label: "Waiting", kind: "number", text: waiting },
      { label: "Requests/s", kind: "number", text: ({ rates }) => rate(rates.requests) },
      { label: "Half within", kind: "number", text: ({ rates }) => time(rates.p50Ms) },
      { label: "99 % within", kind: "number", text: ({ rates }) => time(rates.p99Ms) },
      { label: "Errors/s", kind: "number", text: ({ rates }) => rate(rates.errors) },
      { label: "Change", kind: "actions", part: () => serviceButtons(actions) },
    ];
    this.#list = fillTable(byId("services-table", HTMLTableElement), columns, ({ name }) => name);
  }

  /** @param {Status} status */
  update({ services }) {
    this.#list.set(services);
    const sum = (/** @type {"replies" | "errors"} */ what) =>
      services.reduce((all, service) => all + service[what], 0);
    const replies = counted(sum("replies"), "reply", "replies");
    const errors = counted(sum("errors"), "error");
    put(byId("services-tally", HTMLElement), `${replies} since the start, ${errors}`);
  }
}

/** @param {ServiceStatus} service */
function waiting({ queue }) {
  if (queue.jobs === 0) return "0";
  const age = queue.oldestMs === undefined || queue.oldestMs === null
    ? ""
    : `, ${time(queue.oldestMs)}`;
  return `${count(queue.jobs)} (${bytes(queue.bytes)}${age})`;
}

/** @returns {Shown<ServiceStatus>} */
function serviceCell() {
  const name = make("span", { class: "service-name" });
  const state = make("span", { class: "badge" });
  const handler = make("span", { class: "handler" });
  return {
    element: make("span", { class: "service" }, make("span", {}, name, " ", state), handler),
    update(service) {
      put(name, serviceName(service.name));
      put(state, service.reloading ? "reloading" : service.paused ? "paused" : "");
      state.hidden = !service.reloading && !service.paused;
      put(handler, (service.handler ?? "").split("/").at(-1) ?? "");
      mark(handler, "title", service.handler ?? "");
    },
  };
}

/** @returns {Shown<ServiceStatus>} */
function poolCell() {
  const states = /** @type {const} */ (["busy", "idle", "starting", "stopping"]);
  // The browser draws it from its value, so that no element needs a style of its own.
  const bar = make("progress", { class: "pool-bar" });
  const words = make("span");
  return {
    element: make("span", { class: "pool" }, bar, words),
    update({ name, workers }) {
      bar.max = Math.max(1, workers.idle + workers.busy);
      bar.value = workers.busy;
      mark(bar, "aria-label", `Share of busy workers of ${serviceName(name)}`);
      const parts = states.filter((state) => workers[state] > 0)
        .map((state) => `${count(workers[state])} ${state}`);
      const { min, max } = workers;
      const bounds = min === max ? count(max) : `${count(min)} to ${count(max)}`;
      put(words, `${parts.length === 0 ? "none" : parts.join(", ")} (of ${bounds})`);
    },
  };
}

/** What is asked for again and again while the page may see it and somebody looks. */
export class Asked {
  #link;
  #filter = byId("jobs-filter", HTMLSelectElement);
  /** @type {List<JobView>} */
  #jobs;
  /** @type {List<ClientView>} */
  #clients;
  /** @type {List<Setting>} */
  #settings;
  #isAsking = false;

  /**
   * @param {Link} link
   * @param {Actions} actions
   */
  constructor(link, actions) {
    this.#link = link;
    const jobs = byId("jobs-table", HTMLTableElement);
    this.#jobs = fillTable(jobs, jobColumns(actions), ({ job }) => job);
    const clients = byId("clients-table", HTMLTableElement);
    const keyOf = (/** @type {ClientView} */ { address, identity }) => `${address} ${identity}`;
    this.#clients = fillTable(clients, CLIENT_COLUMNS, keyOf);
    const settings = byId("settings-table", HTMLTableElement);
    this.#settings = fillTable(settings, SETTING_COLUMNS, ({ key }) => key);
    this.#filter.addEventListener("change", () => this.ask());
    byId("settings-details", HTMLDetailsElement).addEventListener(
      "toggle",
      () => this.#askSettings(),
    );
    setInterval(() => document.hidden || this.ask(), ASK_INTERVAL);
  }

  /** Asks for jobs and clients, if they may be seen. */
  async ask() {
    if (this.#link.access !== "full" || this.#isAsking) return;
    this.#isAsking = true;
    const filter = this.#filter.value;
    try {
      const [jobs, clients] = await Promise.all([
        this.#link.get(`/api/jobs?${filter}&limit=${MAX_ROWS}`),
        this.#link.get(`/api/clients?limit=${MAX_ROWS}`),
      ]);
      if (this.#link.access === "full") {
        show("jobs", this.#jobs, jobs.jobs, jobs.total);
        put(byId("jobs-empty", HTMLElement), EMPTY[filter] ?? "");
        show("clients", this.#clients, clients.clients, clients.total);
      }
    } catch {
      // The stream of events says whether the server is there; the next turn asks again.
    }
    this.#isAsking = false;
    if (filter !== this.#filter.value) this.ask();
  }

  async #askSettings() {
    const { open } = byId("settings-details", HTMLDetailsElement);
    if (!open || this.#link.access !== "full") return;
    this.#settings.set(settingsOf(await this.#link.get("/api/config")));
  }
}

/**
 * @template Item
 * @param {"jobs" | "clients"} what
 * @param {List<Item>} list
 * @param {readonly Item[]} items
 * @param {number} total
 */
function show(what, list, items, total) {
  list.set(items);
  const cut = items.length < total ? `${count(items.length)} of ` : "";
  put(byId(`${what}-tally`, HTMLElement), total === 0 ? "" : `${cut}${count(total)}`);
  byId(`${what}-scroll`, HTMLElement).hidden = items.length === 0;
  byId(`${what}-empty`, HTMLElement).hidden = items.length > 0;
}

/** @type {Record<string, string>} */
const EMPTY = {
  "slow=1s": "No job has run for more than a second.",
  "slow=10s": "No job has run for more than ten seconds.",
  "state=running": "No job is running.",
  "state=waiting": "No request waits.",
};

/**
 * @param {Actions} actions
 * @returns {Column<JobView>[]}
 */
function jobColumns(actions) {
  return [
    { label: "Job", kind: "name", part: jobCell },
    { label: "State", kind: "state", text: stateOf },
    { label: "Age", kind: "number", text: ({ ageMs }) => time(ageMs) },
    { label: "Time left", kind: "number", text: ({ timeLeftMs }) => time(timeLeftMs) },
    { label: "Size", kind: "number", text: ({ bytes: size }) => bytes(size) },
    { label: "Client", text: ({ address, user }) => user || address || "–" },
    { label: "Change", kind: "actions", part: () => cancelCell(actions) },
  ];
}

/** @returns {Shown<JobView>} */
function jobCell() {
  const job = make("span", { class: "service-name" });
  const service = make("span", { class: "handler" });
  return {
    element: make("span", { class: "service" }, job, service),
    update(view) {
      put(job, String(view.job));
      put(service, view.service);
    },
  };
}

/** @param {JobView} job */
function stateOf({ state, worker, runningMs, attempt }) {
  const again = attempt > 1 ? `, attempt ${attempt}` : "";
  if (state === "waiting") return `waiting${again}`;
  return `${time(runningMs)} in worker ${worker ?? "?"}${again}`;
}

/**
 * @param {Actions} actions
 * @returns {Shown<JobView>}
 */
function cancelCell(actions) {
  let shown = 0;
  const cancel = button("Cancel", () => actions.ask(cancelling(shown)));
  return {
    element: cancel,
    update({ job }) {
      shown = job;
      mark(cancel, "aria-label", `Cancel job ${job}`);
    },
  };
}

/** @type {readonly Column<ClientView>[]} */
const CLIENT_COLUMNS = [
  { label: "Address", kind: "name", text: ({ address }) => address || "–" },
  { label: "Identity", kind: "long", text: ({ identity }) => identity || "–" },
  { label: "User", text: ({ user }) => user || "–" },
  { label: "Live requests", kind: "number", text: ({ live }) => count(live) },
  { label: "Unread", kind: "number", text: ({ unreadBytes }) => bytes(unreadBytes) },
  { label: "Services", kind: "long", text: ({ services }) => services.map(serviceName).join(", ") },
];

/** @typedef {{ key: string, value: string, origin: string }} Setting */

/** @type {readonly Column<Setting>[]} */
const SETTING_COLUMNS = [
  { label: "Option", kind: "name", text: ({ key }) => key },
  { label: "Value", kind: "long", text: ({ value }) => value },
  { label: "From", text: ({ origin }) => origin },
];

/**
 * @param {any} config
 * @returns {Setting[]}
 */
function settingsOf(config) {
  const options = config.options ?? config;
  const rows = Array.isArray(options) ? options : Object.entries(options).map(([name, option]) => ({
    name,
    .../** @type {object} */ (option),
  }));
  return rows.map(({ name, value, source, from, service = "" }) => ({
    key: service === "" ? name : `${service}: ${name}`,
    value: typeof value === "string" ? value : JSON.stringify(value) ?? "–",
    origin: String(source ?? from ?? ""),
  }));
}
