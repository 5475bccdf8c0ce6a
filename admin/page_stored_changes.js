// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * All changes of stored jobs that the page can make, in words, and the buttons that ask for them.
 *
 * @module
 */

import { button, make, put } from "./page_elements.js";
import { count, counted, serviceName } from "./page_words.js";

/** @import { Actions, Change } from "./page_actions.js" */
/** @import { Shown } from "./page_elements.js" */
/** @import { JobStatus, StoredServiceStatus } from "../ops/stored.ts" */

/** States in which a job has ended without a result, and can be given its tries again. */
const AGAIN = new Set(["failed", "cancelled", "expired"]);
/** States in which a job has not ended. */
const ALIVE = new Set(["scheduled", "waiting", "running"]);

/**
 * The buttons of the stored jobs of one service.
 *
 * @param {Actions} actions
 * @returns {Shown<StoredServiceStatus>}
 */
export function storedServiceButtons(actions) {
  /** @type {StoredServiceStatus | undefined} */
  let shown;
  const ask = (/** @type {(service: StoredServiceStatus) => Change} */ change) => () => {
    if (shown !== undefined) actions.ask(change(shown));
  };
  const retry = button("Retry failed", ask(retryingDead));
  const pause = button(
    "Pause",
    ask((service) => service.paused ? resuming(service) : pausing(service)),
  );
  return {
    element: make("span", { class: "buttons" }, retry, pause),
    update(service) {
      shown = service;
      retry.hidden = service.states.failed === 0;
      put(pause, service.paused ? "Resume" : "Pause");
      const name = serviceName(service.name);
      retry.setAttribute("aria-label", `Retry failed jobs of service ${name}`);
      pause.setAttribute("aria-label", `${pause.textContent} stored jobs of service ${name}`);
    },
  };
}

/**
 * The buttons of one job; `look` opens it.
 *
 * @param {Actions} actions
 * @param {((job: JobStatus) => void) | undefined} look
 * @returns {Shown<JobStatus>}
 */
export function storedJobButtons(actions, look) {
  /** @type {JobStatus | undefined} */
  let shown;
  const withJob = (/** @type {(job: JobStatus) => void} */ act) => () => {
    if (shown !== undefined) act(shown);
  };
  const open = look && button("Look", withJob(look));
  const retry = button("Retry", withJob((job) => actions.ask(retrying(job))));
  const cancel = button("Cancel", withJob((job) => actions.ask(cancelling(job))), {
    class: "harmful",
  });
  const remove = button("Delete", withJob((job) => actions.ask(deleting(job))), {
    class: "harmful",
  });
  const all = [...open === undefined ? [] : [open], retry, cancel, remove];
  return {
    element: make("span", { class: "buttons" }, ...all),
    update(job) {
      const isOther = shown?.id !== job.id;
      shown = job;
      retry.hidden = !AGAIN.has(job.state);
      cancel.hidden = !ALIVE.has(job.state);
      remove.hidden = ALIVE.has(job.state);
      if (!isOther) return;
      for (const one of all) {
        const verb = one === open ? "Look at" : one.textContent;
        one.setAttribute("aria-label", `${verb} job ${job.id}`);
      }
    },
  };
}

/** @type {(service: StoredServiceStatus) => Change} */
const retryingDead = ({ name, states }) => ({
  title: `Retry the failed jobs of service ${serviceName(name)}?`,
  text: `${counted(states.failed, "job gets", "jobs get")} all tries again. What a try has done ` +
    "before it failed may be done again.",
  yes: "Retry them",
  done: `The failed jobs of service ${serviceName(name)} are to run again.`,
  path: "/api/stored/retry-dead",
  order: () => ({ service: name }),
});

/** @type {(service: StoredServiceStatus) => Change} */
const pausing = ({ name, states }) => ({
  title: `Pause the stored jobs of service ${serviceName(name)}?`,
  text: `${counted(states.waiting, "job that waits is", "jobs that wait are")} not started until ` +
    "you resume, also after a restart. Running ones end, and requests are served.",
  yes: "Pause",
  done: `Paused the stored jobs of service ${serviceName(name)}.`,
  path: "/api/stored/pause",
  order: () => ({ service: name }),
});

/** @type {(service: StoredServiceStatus) => Change} */
const resuming = ({ name, states }) => ({
  title: `Resume the stored jobs of service ${serviceName(name)}?`,
  text: `${counted(states.waiting, "job waits", "jobs wait")} to be started.`,
  yes: "Resume",
  done: `Resumed the stored jobs of service ${serviceName(name)}.`,
  path: "/api/stored/resume",
  order: () => ({ service: name }),
});

/** @type {(job: JobStatus) => Change} */
const retrying = ({ id, retries }) => ({
  title: "Retry this job?",
  text: `Job ${id} gets all ${count(retries + 1)} of its tries again. What a try has done before ` +
    "it failed may be done again.",
  yes: "Retry",
  done: `Job ${id} is to run again.`,
  path: "/api/stored/retry",
  order: () => ({ job: id }),
});

/** @type {(job: JobStatus) => Change} */
const cancelling = ({ id, state }) => ({
  title: "Cancel this job?",
  text: state === "running"
    ? `Job ${id} is running: its handler is told to stop, and what it has done stays done.`
    : `Job ${id} is not started any more.`,
  yes: "Cancel the job",
  done: `Job ${id} is being cancelled.`,
  path: "/api/stored/cancel",
  order: () => ({ job: id }),
  isHarmful: true,
});

/** @type {(job: JobStatus) => Change} */
const deleting = ({ id }) => ({
  title: "Delete this job?",
  text: `Job ${id} is forgotten, with what was submitted and what came of it.`,
  yes: "Delete",
  done: `Deleted job ${id}.`,
  path: "/api/stored/delete",
  order: () => ({ job: id }),
  isHarmful: true,
});
