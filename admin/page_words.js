// @ts-check
/**
 * How the page says things: numbers with their units, and the state of a server as a sentence. Pure.
 *
 * @module
 */

/** @import { Status, WorkerStatus } from "../ops/status.ts" */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });

/**
 * A number of things: all digits up to 99,999, then three of them.
 *
 * @param {number} number
 * @returns {string}
 */
export function count(number) {
  return number < 100_000 ? WHOLE.format(number) : SHORT.format(number);
}

/**
 * A number with the noun that it counts.
 *
 * @param {number} number
 * @param {string} one
 * @param {string} [many]
 * @returns {string}
 */
export function counted(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/**
 * Events per second; those below ten have one decimal.
 *
 * @param {number | null | undefined} perSecond
 * @returns {string}
 */
export function rate(perSecond) {
  if (perSecond === undefined || perSecond === null) return "–";
  if (perSecond === 0 || perSecond >= 10) return count(perSecond);
  return perSecond < 0.1 ? "< 0.1" : perSecond.toFixed(1);
}

/**
 * A time in the largest units that fit, two at most.
 *
 * @param {number | null | undefined} ms
 * @returns {string}
 */
export function time(ms) {
  if (ms === undefined || ms === null) return "–";
  if (ms < SECOND) return `${ms < 10 ? ms.toFixed(ms < 1 ? 2 : 1) : Math.round(ms)} ms`;
  if (ms < MINUTE) return `${(ms / SECOND).toFixed(ms < 10 * SECOND ? 1 : 0)} s`;
  if (ms < HOUR) return pair(ms, MINUTE, "min", SECOND, "s");
  if (ms < DAY) return pair(ms, HOUR, "h", MINUTE, "min");
  return pair(ms, DAY, "d", HOUR, "h");
}

/**
 * @param {number} ms
 * @param {number} large
 * @param {string} largeName
 * @param {number} small
 * @param {string} smallName
 * @returns {string}
 */
function pair(ms, large, largeName, small, smallName) {
  const rest = Math.floor((ms % large) / small);
  return `${Math.floor(ms / large)} ${largeName}${rest === 0 ? "" : ` ${rest} ${smallName}`}`;
}

/**
 * A size in bytes, in binary units.
 *
 * @param {number | null | undefined} size
 * @returns {string}
 */
export function bytes(size) {
  if (size === undefined || size === null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let rest = size;
  while (rest >= 1024 && at < units.length - 1) {
    rest /= 1024;
    at++;
  }
  return `${at === 0 || rest >= 10 ? WHOLE.format(rest) : rest.toFixed(1)} ${units[at]}`;
}

/**
 * A time of day.
 *
 * @param {string | number} moment
 * @returns {string}
 */
export function clock(moment) {
  const date = new Date(moment);
  if (Number.isNaN(date.getTime())) return "";
  return date.toLocaleTimeString("en-GB", { hour12: false });
}

/**
 * The name of a service; the one without a name is called so.
 *
 * @param {string | undefined} name
 * @returns {string}
 */
export function serviceName(name) {
  return name === undefined || name === "" ? "default" : name;
}

/**
 * What a person should know first.
 *
 * @typedef {object} Verdict
 * @property {"good" | "busy" | "bad"} level
 * @property {string} title
 * @property {string} sentence
 */

/** Shares of failed requests from which they are worth a look, and are trouble. */
const SOME = 0.01;
const MANY = 0.05;
/** A wait from which requests are late, ms. */
const LATE = SECOND;

/**
 * Judges a server by its state and by what has failed in the last minute.
 *
 * @param {Status} status
 * @param {{ requests: number, errors: number }} lastMinute
 * @returns {Verdict}
 */
export function judge(status, lastMinute) {
  return ofPhase(status) ?? ofReadiness(status) ?? ofErrors(lastMinute) ?? ofStore(status) ??
    ofQueue(status) ?? { level: "good", title: "All is well", sentence: work(status) };
}

/**
 * @param {Status} status
 * @returns {Verdict | undefined}
 */
function ofPhase(status) {
  const { phase, services } = status;
  if (phase === "stopping") {
    const sentence = "Running jobs end, then the server stops.";
    return { level: "busy", title: "Stopping", sentence };
  }
  if (phase === "draining") {
    const left = counted(total(status, "waiting") + total(status, "running"), "request");
    const sentence = `The server takes no new requests. It serves ${left} more, then stops.`;
    return { level: "busy", title: "Draining", sentence };
  }
  if (phase === "starting") {
    const all = counted(total(status, "min"), "worker");
    const sentence = `${total(status, "ready")} of ${all} are ready.`;
    return { level: "busy", title: "Starting", sentence };
  }
  if (phase === "paused" || services.some(({ paused }) => paused)) return ofPause(status);
  return undefined;
}

/**
 * @param {Status} status
 * @returns {Verdict}
 */
function ofPause(status) {
  const paused = status.services.filter(({ paused }) => paused)
    .map(({ name }) => serviceName(name));
  const all = status.phase === "paused" || paused.length === status.services.length;
  const verb = paused.length === 1 ? "gives" : "give";
  const subject = all ? "The server gives" : `${list(paused)} ${verb}`;
  const waiting = counted(total(status, "waiting"), "request waits", "requests wait");
  return {
    level: "busy",
    title: all ? "Paused" : "Paused in part",
    sentence: `${subject} no jobs to workers. ${waiting}.`,
  };
}

/**
 * @param {Status} status
 * @returns {Verdict | undefined}
 */
function ofReadiness({ ready, reasons }) {
  if (ready) return undefined;
  const sentence = reasons.length === 0 ? "The server gives no reason." : sentences(reasons);
  return { level: "bad", title: "Not ready", sentence };
}

/**
 * @param {{ requests: number, errors: number }} lastMinute
 * @returns {Verdict | undefined}
 */
function ofErrors({ requests, errors }) {
  const share = errors / Math.max(requests, errors, 1);
  if (share < SOME) return undefined;
  const percent = share >= 0.995 ? "all" : `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;
  const failed = counted(errors, "request");
  return {
    level: share < MANY ? "busy" : "bad",
    title: share < MANY ? "Some requests fail" : "Many requests fail",
    sentence: `${failed} failed in the last minute: ${percent} of them. See "Errors" below.`,
  };
}

/**
 * @param {Status} status
 * @returns {Verdict | undefined}
 */
function ofStore({ stored }) {
  if (!stored?.trouble) return undefined;
  const sentence = `No job can be stored: ${stored.trouble}. Requests are served.`;
  return { level: "busy", title: "The store is in trouble", sentence };
}

/**
 * @param {Status} status
 * @returns {Verdict | undefined}
 */
function ofQueue(status) {
  const oldest = Math.max(0, ...status.services.map(({ queue }) => queue.oldestMs ?? 0));
  if (oldest < LATE) return undefined;
  const waiting = counted(total(status, "waiting"), "request waits", "requests wait");
  const sentence = `${waiting} for a worker, the oldest for ${time(oldest)}. ${workers(status)}.`;
  return { level: "busy", title: "Requests wait", sentence };
}

/**
 * @param {Status} status
 * @returns {string}
 */
function work(status) {
  const { requests, p50Ms, p99Ms } = status.rates;
  const load = requests === 0
    ? "No requests at the moment."
    : `${rate(requests)} requests a second; half take up to ${time(p50Ms)}, 99 % up to ${
      time(p99Ms)
    }.`;
  const waiting = total(status, "waiting");
  const queue = waiting === 0
    ? "nothing waits"
    : counted(waiting, "request waits", "requests wait");
  return `${load} ${workers(status)}, ${queue}.`;
}

/**
 * @param {Status} status
 * @returns {string}
 */
function workers(status) {
  const busy = total(status, "busy");
  return `${count(busy)} of ${counted(total(status, "ready"), "worker")} ${
    busy === 1 ? "is" : "are"
  } busy`;
}

/**
 * A figure of all services together.
 *
 * @param {Status} status
 * @param {"waiting" | "running" | "busy" | "ready" | "min"} what
 * @returns {number}
 */
export function total(status, what) {
  return status.services.reduce((sum, { queue, running, workers }) => {
    const { busy, idle, min } = workers;
    return sum + { waiting: queue.jobs, running, busy, ready: idle + busy, min }[what];
  }, 0);
}

/**
 * What a busy worker does, in a word or two; else "".
 *
 * @param {WorkerStatus} worker
 * @returns {string}
 */
export function doing({ state, jobs, jobMs }) {
  if (state !== "busy") return "";
  return jobMs === undefined || jobMs === null ? counted(jobs, "job") : time(jobMs);
}

/** @param {readonly string[]} names */
function list(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** @param {readonly string[]} reasons */
function sentences(reasons) {
  return reasons.map((reason) => {
    const start = reason.charAt(0).toUpperCase() + reason.slice(1);
    return /[.!?]$/.test(start) ? start : `${start}.`;
  }).join(" ");
}
