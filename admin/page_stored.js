// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * Stored jobs: how many there are of each service, a list of them, and one of them. Hidden where nothing was ever
 * stored.
 *
 * @module
 */

import { byId, fillTable, make, mark, put, showFacts } from "./page_elements.js";
import { storedJobButtons, storedServiceButtons } from "./page_stored_changes.js";
import { bytes, clock, count, counted, rate, serviceName, time } from "./page_words.js";

/** @import { Actions } from "./page_actions.js" */
/** @import { Column, List, Shown } from "./page_elements.js" */
/** @import { Link } from "./page_link.js" */
/** @import { JobStatus, StoredServiceStatus } from "../ops/stored.ts" */
/** @import { Status } from "../ops/status.ts" */

/**
 * A frame of a job, as the server gives it.
 *
 * @typedef {{ bytes: number, text?: string, base64?: string }} Frame
 */

/** Jobs that are listed at once. */
const PAGE = 25;
/** Time between two questions, ms. */
const ASK_INTERVAL = 2000;
/** A list that took long is asked for again after so many times of that: a store of many jobs has to go over them. */
const PAUSE_FACTOR = 10;
/** Characters of a frame that are shown. */
const MAX_SHOWN = 10_000;

/** The part of the page about stored jobs. */
export class Stored {
  #link;
  /** @type {List<StoredServiceStatus>} */
  #services;
  /** @type {List<JobStatus>} */
  #jobs;
  /** The last job of each page before the one that is shown. */
  #before = /** @type {string[]} */ ([]);
  #last = "";
  #isThere = false;
  #isAsking = false;
  /** When the list may be asked for again by itself, ms. */
  #askAt = 0;
  /** The job in the dialog; its answer to a question may come when another one is there. */
  #chosen = "";
  /** @type {Shown<JobStatus>} */
  #buttons;
  #offered = "";
  #state = byId("stored-state", HTMLSelectElement);
  #service = byId("stored-service", HTMLSelectElement);
  #dialog = byId("stored-job", HTMLDialogElement);
  #back = byId("stored-back", HTMLButtonElement);
  #on = byId("stored-on", HTMLButtonElement);

  /**
   * @param {Link} link
   * @param {Actions} actions
   */
  constructor(link, actions) {
    this.#link = link;
    const services = byId("stored-table", HTMLTableElement);
    this.#services = fillTable(services, serviceColumns(actions), ({ name }) => name);
    const look = (/** @type {JobStatus} */ job) => this.#look(job);
    const jobs = byId("stored-jobs-table", HTMLTableElement);
    this.#jobs = fillTable(jobs, jobColumns(actions, look), ({ id }) => id);
    this.#buttons = storedJobButtons(actions, undefined);
    byId("stored-job-actions", HTMLElement).append(this.#buttons.element);
    for (const select of [this.#state, this.#service]) {
      select.addEventListener("change", () => this.#turnTo([]));
    }
    this.#back.addEventListener("click", () => this.#turnTo(this.#before.slice(0, -1)));
    this.#on.addEventListener("click", () => this.#turnTo([...this.#before, this.#last]));
    byId("stored-job-close", HTMLButtonElement)
      .addEventListener("click", () => this.#dialog.close());
    byId("stored-job-body", HTMLButtonElement)
      .addEventListener("click", () => this.#showBody());
    this.#dialog.addEventListener("close", () => this.#forget());
    setInterval(() => {
      if (!document.hidden && performance.now() >= this.#askAt) this.ask();
    }, ASK_INTERVAL);
  }

  /** @param {Status} status */
  update({ stored }) {
    const isThere = stored !== undefined && stored !== null;
    byId("stored", HTMLElement).hidden = !isThere;
    byId("stored-nav", HTMLElement).hidden = !isThere;
    const isNew = isThere && !this.#isThere;
    this.#isThere = isThere;
    if (!isThere) return;
    const { services, bytes: size, trouble } = stored;
    this.#services.set(services);
    this.#offer(services.map(({ name }) => name));
    put(byId("stored-tally", HTMLElement), tallyOf(services, size));
    put(byId("stored-trouble", HTMLElement), trouble ? `The store takes no jobs: ${trouble}.` : "");
    if (isNew) this.ask();
  }

  /** Asks for the jobs, and for the one that is looked at, if they may be seen. */
  async ask() {
    const isFull = this.#link.access === "full";
    if (!isFull) this.#lock();
    if (!isFull || !this.#isThere || this.#isAsking) return;
    this.#isAsking = true;
    const query = this.#query();
    const start = performance.now();
    try {
      const { jobs, total, now } = await this.#link.get(`/api/stored?${query}`);
      if (this.#link.access === "full" && query === this.#query()) this.#show(jobs, total, now);
      await this.#refreshChosen();
    } catch {
      // The stream of events says whether the server is there; the next turn asks again.
    }
    this.#isAsking = false;
    const end = performance.now();
    this.#askAt = end + PAUSE_FACTOR * (end - start);
    if (query !== this.#query()) this.ask();
  }

  #query() {
    const query = new URLSearchParams({ limit: String(PAGE) });
    if (this.#state.value !== "") query.set("state", this.#state.value);
    if (this.#service.value !== "*") query.set("service", this.#service.value);
    const after = this.#before.at(-1);
    if (after !== undefined) query.set("after", after);
    return query.toString();
  }

  /** @param {string[]} before */
  #turnTo(before) {
    this.#before = before;
    this.ask();
  }

  #lock() {
    for (const what of ["scroll", "empty", "pages"]) {
      byId(`stored-jobs-${what}`, HTMLElement).hidden = true;
    }
    this.#jobs.set([]);
    if (this.#dialog.open) this.#dialog.close();
  }

  /**
   * @param {JobStatus[]} jobs
   * @param {number} total
   * @param {number} now
   */
  #show(jobs, total, now) {
    serverTime = now;
    this.#last = jobs.at(-1)?.id ?? "";
    this.#jobs.set(jobs);
    const isFirst = this.#before.length === 0;
    byId("stored-jobs-scroll", HTMLElement).hidden = jobs.length === 0;
    byId("stored-jobs-empty", HTMLElement).hidden = jobs.length > 0;
    const start = this.#before.length * PAGE;
    const hasMore = start + jobs.length < total && jobs.length === PAGE;
    byId("stored-jobs-pages", HTMLElement).hidden = isFirst && !hasMore;
    this.#back.disabled = isFirst;
    this.#on.disabled = !hasMore;
    const range = jobs.length === 0
      ? "none"
      : `${count(start + 1)} to ${count(start + jobs.length)}`;
    put(byId("stored-range", HTMLElement), `${range} of ${count(total)}`);
  }

  /** @param {readonly string[]} names */
  #offer(names) {
    const offered = JSON.stringify(names);
    if (offered === this.#offered) return;
    this.#offered = offered;
    const { value } = this.#service;
    const options = names.map((name) => make("option", { value: name }, serviceName(name)));
    this.#service.replaceChildren(make("option", { value: "*" }, "all"), ...options);
    this.#service.value = names.includes(value) ? value : "*";
  }

  // ---- one job ----

  /** @param {JobStatus} job */
  #look(job) {
    this.#chosen = job.id;
    byId("stored-job-frames", HTMLElement).replaceChildren();
    byId("stored-job-body", HTMLButtonElement).hidden = false;
    this.#detail(job);
    this.#dialog.showModal();
    byId("stored-job-close", HTMLButtonElement).focus();
  }

  /** @param {JobStatus} job */
  #detail(job) {
    showFacts(byId("stored-job-facts", HTMLElement), factsOf(job));
    this.#buttons.update(job);
  }

  async #refreshChosen() {
    const id = this.#chosen;
    if (id === "") return;
    try {
      const job = await this.#link.get(`/api/stored/job?id=${id}`);
      if (this.#chosen === id) this.#detail(job);
    } catch (error) {
      if (this.#chosen !== id || !(error instanceof Error) || !("code" in error)) throw error;
      if (error.code === 404) this.#dialog.close();
    }
  }

  async #showBody() {
    const id = this.#chosen;
    const place = byId("stored-job-frames", HTMLElement);
    try {
      const job = await this.#link.get(`/api/stored/job?id=${id}&body=1`);
      if (this.#chosen !== id) return;
      place.replaceChildren(
        ...framesOf("Submitted", job.body ?? []),
        ...framesOf("Result", job.result ?? []),
      );
      byId("stored-job-body", HTMLButtonElement).hidden = true;
      byId("stored-job-close", HTMLButtonElement).focus();
    } catch (error) {
      const reason = error instanceof Error ? error.message : "the server does not answer";
      if (this.#chosen === id) place.replaceChildren(make("p", { class: "trouble" }, reason));
    }
  }

  #forget() {
    this.#chosen = "";
    byId("stored-job-frames", HTMLElement).replaceChildren();
  }
}

/** The time of the server when it was asked last, ms since 1970: its clock need not be this machine's. */
let serverTime = 0;

/**
 * @param {readonly StoredServiceStatus[]} services
 * @param {number} size
 */
function tallyOf(services, size) {
  const sum = (/** @type {keyof StoredServiceStatus["states"]} */ state) =>
    services.reduce((all, { states }) => all + states[state], 0);
  const alive = sum("scheduled") + sum("waiting") + sum("running");
  return `${counted(alive, "job")} to do, ${count(sum("failed"))} failed, ${bytes(size)} on disk`;
}

/**
 * @param {Actions} actions
 * @returns {Column<StoredServiceStatus>[]}
 */
function serviceColumns(actions) {
  return [
    { label: "Service", kind: "name", part: nameCell },
    { label: "Waiting", kind: "number", text: waiting },
    { label: "Scheduled", kind: "number", text: ({ states }) => count(states.scheduled) },
    { label: "Running", kind: "number", text: ({ states }) => count(states.running) },
    { label: "Failed", kind: "number", text: ({ states }) => count(states.failed) },
    { label: "Done", kind: "number", text: ({ states }) => count(states.done) },
    { label: "Submitted/s", kind: "number", text: ({ rates }) => rate(rates.submitted) },
    { label: "Ended/s", kind: "number", text: ({ rates }) => rate(rates.ended) },
    { label: "Change", kind: "actions", part: () => storedServiceButtons(actions) },
  ];
}

/** @param {StoredServiceStatus} service */
function waiting({ states, oldestMs }) {
  const age = oldestMs === undefined || oldestMs === null ? "" : ` (${time(oldestMs)})`;
  return `${count(states.waiting)}${age}`;
}

/** @returns {Shown<StoredServiceStatus>} */
function nameCell() {
  const name = make("span", { class: "service-name" });
  const state = make("span", { class: "badge" }, "paused");
  return {
    element: make("span", {}, name, " ", state),
    update(service) {
      put(name, serviceName(service.name));
      state.hidden = !service.paused;
    },
  };
}

/**
 * @param {Actions} actions
 * @param {(job: JobStatus) => void} look
 * @returns {Column<JobStatus>[]}
 */
function jobColumns(actions, look) {
  return [
    { label: "Job", kind: "name", part: jobCell },
    { label: "State", kind: "state", text: stateOf },
    {
      label: "Tries",
      kind: "number",
      text: ({ attempt, retries }) => `${attempt} of ${retries + 1}`,
    },
    { label: "Age", kind: "number", text: ({ createdAt }) => since(createdAt) },
    { label: "Size", kind: "number", text: ({ bytes: size }) => bytes(size) },
    { label: "Message", kind: "long", text: messageOf },
    { label: "Change", kind: "actions", part: () => storedJobButtons(actions, look) },
  ];
}

/** @returns {Shown<JobStatus>} */
function jobCell() {
  const id = make("span", { class: "job-id" });
  const service = make("span", { class: "handler" });
  return {
    element: make("span", { class: "service" }, id, service),
    update(job) {
      put(id, job.id);
      mark(id, "title", job.id);
      put(service, serviceName(job.service));
    },
  };
}

/** @param {JobStatus} job */
function stateOf({ state, runAt }) {
  return state === "scheduled" && runAt > serverTime
    ? `scheduled, due in ${time(runAt - serverTime)}`
    : state;
}

/** @param {number} moment */
function since(moment) {
  return time(Math.max(0, serverTime - moment));
}

/** @param {JobStatus} job */
function messageOf({ code, message }) {
  if (message === undefined || message === null) return "–";
  return code === undefined || code === null ? message : `${code}: ${message}`;
}

/**
 * @param {JobStatus} job
 * @returns {[string, string][]}
 */
function factsOf(job) {
  const { progress, after } = job;
  /** @type {[string, string | undefined | null][]} */
  const facts = [
    ["Id", job.id],
    ["State", job.state],
    ["Service", serviceName(job.service)],
    ["User", job.user],
    ["Key", job.key],
    ["Group", job.group],
    ["Priority", String(job.priority)],
    ["Tries", `${job.attempt} of ${job.retries + 1}`],
    ["After", after.join(", ")],
    ["Size", bytes(job.bytes)],
    ["Submitted", moment(job.createdAt)],
    ["Due", moment(job.runAt)],
    ["Started", moment(job.startedAt)],
    ["Ended", moment(job.endedAt)],
    ["Ran on", job.node],
    ["Progress", progress ? progressOf(progress) : ""],
    ["Message", messageOf(job) === "–" ? "" : messageOf(job)],
  ];
  return facts.flatMap(([name, value]) => value ? [[name, value]] : []);
}

/** @param {NonNullable<JobStatus["progress"]>} progress */
function progressOf({ done, total, note }) {
  const share = total === undefined || total === null ? count(done) : `${done} of ${total}`;
  return note === "" ? share : `${share}: ${note}`;
}

/**
 * A day and a time of day.
 *
 * @param {number | undefined | null} at
 */
function moment(at) {
  if (at === undefined || at === null) return "";
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? "" : `${date.toLocaleDateString("en-CA")} ${clock(at)}`;
}

/**
 * Each frame with its title.
 *
 * @param {string} title
 * @param {readonly Frame[]} frames
 */
function framesOf(title, frames) {
  return frames.flatMap(({ bytes: size, text, base64 }, at) => {
    const number = frames.length === 1 ? "" : ` ${at + 1} of ${frames.length}`;
    const all = text ?? base64 ?? "";
    const cut = all.length > MAX_SHOWN ? ", the start of it" : "";
    const form = text === undefined ? ", as base64" : "";
    return [
      make("h3", {}, `${title}${number} (${bytes(size)}${form}${cut})`),
      make("pre", { tabindex: "0" }, all.slice(0, MAX_SHOWN)),
    ];
  });
}
