// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * The workers: a tile each, and the one that was chosen with its lines of the log.
 *
 * @module
 */

import { workerButtons } from "./page_changes.js";
import { byId, List, make, mark, put, showFacts } from "./page_elements.js";
import { bytes, count, counted, doing, serviceName, time } from "./page_words.js";

/** @import { Actions } from "./page_actions.js" */
/** @import { Shown } from "./page_elements.js" */
/** @import { Log } from "./page_log.js" */
/** @import { Status, WorkerStatus } from "../ops/status.ts" */

/** Tiles that are shown at once; there may be thousands of workers. */
const MAX_TILES = 120;

/** The tiles, and the dialog of one worker. */
export class Workers {
  #actions;
  #log;
  /** @type {readonly WorkerStatus[]} */
  #workers = [];
  /** Names of the services, as they are offered. */
  #offered = "";
  /** @type {number | undefined} */
  #chosen;
  /** Workers in front of those that are shown. */
  #first = 0;
  /** @type {List<WorkerStatus>} */
  #list;
  #dialog = byId("worker", HTMLDialogElement);
  #state = byId("workers-state", HTMLSelectElement);
  #service = byId("workers-service", HTMLSelectElement);
  #order = byId("workers-order", HTMLSelectElement);
  #back = byId("workers-back", HTMLButtonElement);
  #on = byId("workers-on", HTMLButtonElement);
  /**
   * What is brought up to date when a tile comes near the screen: the others wait, as 1,000 of them take time.
   *
   * @type {Map<Element, (isNear: boolean) => void>}
   */
  #turns = new Map();
  #near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) this.#turns.get(target)?.(isIntersecting);
  }, { rootMargin: "150px" });

  /**
   * @param {Actions} actions
   * @param {Log} log
   */
  constructor(actions, log) {
    this.#actions = actions;
    this.#log = log;
    const parent = byId("workers-list", HTMLElement);
    this.#list = new List(parent, ({ worker }) => worker, (worker) => this.#tile(worker));
    for (const select of [this.#state, this.#service, this.#order]) {
      select.addEventListener("change", () => this.#turnTo(0));
    }
    this.#back.addEventListener("click", () => this.#turnTo(this.#first - MAX_TILES));
    this.#on.addEventListener("click", () => this.#turnTo(this.#first + MAX_TILES));
    byId("worker-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      this.#chosen = undefined;
      this.#log.follow(undefined);
    });
  }

  /** @param {Status} status */
  update({ services, workers }) {
    this.#workers = workers;
    this.#offer(services.map(({ name }) => name));
    this.#show();
    this.#detail();
  }

  /** @param {readonly string[]} names */
  #offer(names) {
    if (this.#offered === names.join("\n")) return;
    this.#offered = names.join("\n");
    byId("workers-service-label", HTMLElement).hidden = names.length < 2;
    const options = names.map((name) => make("option", { value: name }, serviceName(name)));
    this.#service.replaceChildren(make("option", { value: "*" }, "all"), ...options);
  }

  #show() {
    const state = this.#state.value;
    const service = this.#service.value;
    const found = this.#workers.filter((worker) =>
      (state === "" || worker.state === state) && (service === "*" || worker.service === service)
    );
    const order = ORDERS[this.#order.value];
    if (order !== undefined) found.sort(order);
    this.#pages(found.length);
    this.#list.set(found.slice(this.#first, this.#first + MAX_TILES));
    byId("workers-empty", HTMLElement).hidden = found.length > 0;
    put(byId("workers-tally", HTMLElement), tally(this.#workers));
  }

  /** @param {number} first */
  #turnTo(first) {
    this.#first = first;
    this.#show();
  }

  /** @param {number} all */
  #pages(all) {
    if (this.#first >= all) this.#first = 0;
    const end = Math.min(all, this.#first + MAX_TILES);
    byId("workers-pages", HTMLElement).hidden = all <= MAX_TILES;
    this.#back.disabled = this.#first === 0;
    this.#on.disabled = end === all;
    put(byId("workers-range", HTMLElement), `${this.#first + 1} to ${end} of ${count(all)}`);
  }

  /**
   * @param {WorkerStatus} first
   * @returns {Shown<WorkerStatus>}
   */
  #tile({ worker }) {
    const service = make("span", { class: "tile-service" });
    const state = make("span", { class: "tile-state" });
    const now = make("span", { class: "tile-now" });
    const job = make("span", { class: "tile-job" });
    const memory = make("span");
    const answered = make("span");
    const restarts = make("span", { "aria-hidden": "true" });
    const restartsSaid = make("span", { class: "hidden" });
    const again = make("span", { class: "tile-restarts" }, restarts, restartsSaid);
    const number = make("span", { class: "tile-number" }, `#${worker}`);
    const tile = make(
      "button",
      { type: "button", class: "tile", "aria-haspopup": "dialog" },
      make("span", { class: "tile-top" }, number, service, state),
      make("span", { class: "tile-middle" }, now, job),
      make("span", { class: "tile-bottom" }, memory, answered, again),
    );
    tile.addEventListener("click", () => this.#choose(worker));
    const write = (/** @type {WorkerStatus} */ status) => {
      mark(tile, "data-state", status.state);
      put(service, placeOf(status));
      put(state, status.state);
      put(now, doing(status) || "–");
      put(job, jobOf(status));
      put(memory, bytes(status.residentBytes));
      put(answered, `${count(status.answered)} done`);
      put(restarts, status.restarts === 0 ? "" : `↻ ${count(status.restarts)}`);
      put(restartsSaid, status.restarts === 0 ? "" : counted(status.restarts, "restart"));
      mark(again, "title", "Restarts");
    };
    return this.#watched(make("li", {}, tile), write);
  }

  /**
   * An element that is brought up to date only while it is near the screen.
   *
   * @param {HTMLElement} element
   * @param {(status: WorkerStatus) => void} write
   * @returns {Shown<WorkerStatus>}
   */
  #watched(element, write) {
    /** @type {WorkerStatus | undefined} */
    let latest;
    let isNear = false;
    this.#turns.set(element, (isNow) => {
      isNear = isNow;
      if (isNear && latest !== undefined) write(latest);
    });
    this.#near.observe(element);
    return {
      element,
      update(status) {
        if (isNear || latest === undefined) write(status);
        latest = status;
      },
      forget: () => {
        this.#near.unobserve(element);
        this.#turns.delete(element);
      },
    };
  }

  /** @param {number} worker */
  #choose(worker) {
    this.#chosen = worker;
    this.#log.follow(worker);
    put(byId("worker-title", HTMLElement), `Worker ${worker}`);
    const buttons = workerButtons(this.#actions, () => this.#found());
    byId("worker-actions", HTMLElement).replaceChildren(...buttons);
    this.#detail();
    this.#dialog.showModal();
    this.#log.follow(worker);
  }

  #found() {
    return this.#workers.find(({ worker }) => worker === this.#chosen);
  }

  #detail() {
    if (this.#chosen === undefined) return;
    const status = this.#found();
    for (const one of byId("worker-actions", HTMLElement).querySelectorAll("button")) {
      one.disabled = status === undefined;
    }
    const facts = byId("worker-facts", HTMLElement);
    showFacts(facts, status === undefined ? [["State", "gone"]] : factsOf(status));
  }
}

/**
 * @param {WorkerStatus} status
 * @returns {[string, string][]}
 */
function factsOf(status) {
  const job = status.jobs === 0 ? "none" : jobOf(status) || counted(status.jobs, "job");
  const since = status.jobs === 0 ? "" : doing(status);
  return [
    ["State", status.state],
    ["Service", serviceName(status.service)],
    ["Machine", status.host ?? "the server's"],
    ["Job", since === "" || since === job ? job : `${job}, for ${since}`],
    ["Answered", count(status.answered)],
    ["Memory", bytes(status.residentBytes)],
    ["CPU time", time(status.cpuMs)],
    ["Process", String(status.pid)],
    ["Age", time(status.ageMs)],
    ["Generation", String(status.generation)],
    ["Restarts", count(status.restarts)],
  ];
}

/**
 * The service, and the machine where that is not the server's.
 *
 * @param {WorkerStatus} status
 */
function placeOf({ service, host }) {
  return host === undefined ? service : `${service} @ ${host}`.trim();
}

/** @param {WorkerStatus} status */
function jobOf({ job, jobs }) {
  if (job === undefined || job === null) return "";
  return jobs > 1 ? `job ${job} + ${count(jobs - 1)}` : `job ${job}`;
}

/** @param {readonly WorkerStatus[]} workers */
function tally(workers) {
  /** @type {Map<string, number>} */
  const numbers = new Map([["busy", 0], ["idle", 0], ["starting", 0], ["stopping", 0]]);
  for (const { state } of workers) numbers.set(state, (numbers.get(state) ?? 0) + 1);
  const parts = [...numbers].filter(([, number]) => number > 0)
    .map(([state, number]) => `${count(number)} ${state}`);
  return parts.join(", ");
}

/** @type {Record<string, (one: WorkerStatus, other: WorkerStatus) => number>} */
const ORDERS = {
  job: (one, other) => (other.jobMs ?? -1) - (one.jobMs ?? -1),
  memory: (one, other) => (other.residentBytes ?? 0) - (one.residentBytes ?? 0),
  restarts: (one, other) => other.restarts - one.restarts,
};
