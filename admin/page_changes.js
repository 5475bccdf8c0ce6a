// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * All changes that the page can make, in words, and the buttons that ask for them.
 *
 * @module
 */

import { button, make, put } from "./page_elements.js";
import { count, serviceName } from "./page_words.js";

/** @import { Actions, Change } from "./page_actions.js" */
/** @import { Shown } from "./page_elements.js" */
/** @import { ServiceStatus, Status, WorkerStatus } from "../ops/status.ts" */

/**
 * The buttons of the whole server.
 *
 * @param {Actions} actions
 * @returns {{ elements: HTMLElement[], update: (status: Status) => void }}
 */
export function serverButtons(actions) {
  let isPaused = false;
  let level = "info";
  /** @type {ServiceStatus | undefined} */
  let only;
  const resize = button("Resize …", () => actions.ask(resizing(only)));
  const pause = button("Pause …", () => actions.ask(isPaused ? resuming() : pausing()));
  const elements = [
    button("Reload …", () => actions.ask(reloading())),
    resize,
    pause,
    button("Log level …", () => actions.ask(levelling(level))),
    button("Reopen log …", () => actions.ask(REOPENING)),
    button("Drain …", () => actions.ask(DRAINING), { class: "harmful" }),
  ];
  const update = (/** @type {Status} */ { services, logLevel }) => {
    isPaused = services.every(({ paused }) => paused);
    level = logLevel;
    only = services.length === 1 ? services[0] : undefined;
    resize.hidden = only === undefined;
    put(pause, isPaused ? "Resume …" : "Pause …");
  };
  return { elements, update };
}

/**
 * The buttons of one service.
 *
 * @param {Actions} actions
 * @returns {Shown<ServiceStatus>}
 */
export function serviceButtons(actions) {
  /** @type {ServiceStatus | undefined} */
  let shown;
  const reload = button("Reload", () => actions.ask(reloading(shown)));
  const resize = button("Resize", () => actions.ask(resizing(shown)));
  const pause = button(
    "Pause",
    () => actions.ask(shown?.paused ? resuming(shown) : pausing(shown)),
  );
  return {
    element: make("span", { class: "buttons" }, reload, resize, pause),
    update(service) {
      put(pause, service.paused ? "Resume" : "Pause");
      if (shown?.name !== service.name || shown.paused !== service.paused) {
        for (const one of [reload, resize, pause]) {
          const name = `${one.textContent} service ${serviceName(service.name)}`;
          one.setAttribute("aria-label", name);
        }
      }
      shown = service;
    },
  };
}

/**
 * The buttons of one worker.
 *
 * @param {Actions} actions
 * @param {() => WorkerStatus | undefined} look
 * @returns {HTMLElement[]}
 */
export function workerButtons(actions, look) {
  const ask = (/** @type {(worker: WorkerStatus) => Change} */ change) => () => {
    const worker = look();
    if (worker !== undefined) actions.ask(change(worker));
  };
  return [
    button("Stop …", ask(stopping)),
    button("Kill …", ask(killing), { class: "harmful" }),
  ];
}

/** @param {ServiceStatus} [service] */
function subject(service) {
  return service === undefined ? "all services" : `service ${serviceName(service.name)}`;
}

/** @param {ServiceStatus} [service] */
function named(service) {
  return service === undefined ? {} : { service: service.name };
}

/** @type {(service?: ServiceStatus) => Change} */
const reloading = (service) => ({
  title: `Reload ${subject(service)}?`,
  text: "New workers load the handler again. Each is ready before an old one leaves, and running " +
    "jobs end. If the new workers cannot start, the old ones stay.",
  yes: "Reload",
  done: `Reloaded ${subject(service)}.`,
  path: "/api/reload",
  order: () => named(service),
});

/** @type {(service?: ServiceStatus) => Change} */
const resizing = (service) => ({
  title: `Resize the pool of ${subject(service)}?`,
  text: "The server keeps at least the minimum of workers, and starts more under load, up to the " +
    "maximum.",
  yes: "Resize",
  done: `Resized the pool of ${subject(service)}.`,
  path: "/api/resize",
  order: (given) => ({
    ...named(service),
    min: Number(given.get("min")),
    max: Number(given.get("max")),
  }),
  fields: () => [
    numberField("min", "Minimum", service?.workers.min ?? 1),
    numberField("max", "Maximum", service?.workers.max ?? 1),
  ],
});

/** @type {(service?: ServiceStatus) => Change} */
const pausing = (service) => ({
  title: `Pause ${subject(service)}?`,
  text:
    "Workers get no new jobs until you resume. Running jobs end. Requests wait; the limits of " +
    "the queue and their deadlines still hold.",
  yes: "Pause",
  done: `Paused ${subject(service)}.`,
  path: "/api/pause",
  order: () => named(service),
});

/** @type {(service?: ServiceStatus) => Change} */
const resuming = (service) => ({
  title: `Resume ${subject(service)}?`,
  text: "Workers get jobs again.",
  yes: "Resume",
  done: `Resumed ${subject(service)}.`,
  path: "/api/resume",
  order: () => named(service),
});

/** @type {Change} */
const DRAINING = {
  title: "Drain and stop the server?",
  text: "The server takes no more requests, serves those that wait, and then stops. This page " +
    "cannot start it again.",
  yes: "Drain and stop",
  done: "The server drains, and then stops.",
  path: "/api/drain",
  order: () => ({}),
  isHarmful: true,
};

/** @type {Change} */
const REOPENING = {
  title: "Reopen the log?",
  text: "The log file is opened again under its name, as after a rotation.",
  yes: "Reopen",
  done: "Reopened the log.",
  path: "/api/reopen-log",
  order: () => ({}),
};

/** @type {(level: string) => Change} */
const levelling = (level) => ({
  title: "Change the log level?",
  text: `The log has lines of the chosen level and of those above it. The level is "${level}" now.`,
  yes: "Change",
  done: "Changed the log level.",
  path: "/api/log-level",
  order: (given) => ({ level: given.get("level") }),
  fields: () => {
    const options = ["debug", "info", "warn", "error", "critical"].map((name) => {
      const option = make("option", {}, name);
      option.selected = name === level;
      return option;
    });
    const select = make("select", { name: "level" }, ...options);
    return [make("label", { class: "field" }, "Level", select)];
  },
});

/** @type {(worker: WorkerStatus) => Change} */
const stopping = ({ worker, jobs }) => ({
  title: `Stop worker ${worker}?`,
  text: `${jobs === 0 ? "It has no job." : "Its running jobs end first."} The server starts ` +
    "another worker where the pool needs one.",
  yes: "Stop",
  done: `Worker ${worker} was told to stop.`,
  path: "/api/worker/stop",
  order: () => ({ worker }),
});

/** @type {(worker: WorkerStatus) => Change} */
const killing = ({ worker, jobs }) => ({
  title: `Kill worker ${worker}?`,
  text: jobs === 0
    ? "Its process is killed at once. It has no job now."
    : `Its process is killed at once, in the middle of ${
      jobs === 1 ? "a job" : `${count(jobs)} jobs`
    }. Jobs that may run again go to another worker.`,
  yes: "Kill",
  done: `Killed worker ${worker}.`,
  path: "/api/worker/kill",
  order: () => ({ worker }),
  isHarmful: true,
});

/** @type {(job: number) => Change} */
export const cancelling = (job) => ({
  title: `Cancel job ${job}?`,
  text: "Its clients are answered 499, as if they had given it up. A handler that goes on " +
    "nevertheless is stopped.",
  yes: "Cancel the job",
  done: `Cancelled job ${job}.`,
  path: "/api/job/cancel",
  order: () => ({ job }),
  isHarmful: true,
});

/**
 * @param {string} name
 * @param {string} label
 * @param {number} value
 */
function numberField(name, label, value) {
  const attributes = { type: "number", name, min: "1", step: "1", required: "", value: `${value}` };
  return make("label", { class: "field" }, label, make("input", attributes));
}
