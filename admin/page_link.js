// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * What the page says to its server and hears of it: calls, the session, and the stream of events, which is
 * opened again whenever it ends.
 *
 * @module
 */

/** @import { Status } from "../ops/status.ts" */

/**
 * A line of the log.
 *
 * @typedef {{ time: string, level: string, message: string, [field: string]: unknown }} LogLine
 */

/**
 * What the page may see: `full`, all; `figures`, what needs no token; `closed`, the same of a server that has no
 * token; `none`, nothing.
 *
 * @typedef {"full" | "figures" | "closed" | "none"} Access
 */

/**
 * Who listens to a link.
 *
 * @typedef {object} Listener
 * @property {(status: Status) => void} status
 * @property {(line: LogLine) => void} line
 * @property {(access: Access, lines: LogLine[]) => void} access
 * @property {(isLive: boolean) => void} live
 */

/** The server has said no; the message is what it said. */
export class Refusal extends Error {
  /**
   * @param {number} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = "Refusal";
    /** The HTTP status. */
    this.code = code;
  }
}

/** Time between two attempts to reach the server, ms. */
const RETRY_INTERVAL = 1000;
/** The server says something each second; a stream that is silent for so long has ended, ms. */
const SILENCE_TIMEOUT = 6000;
/** Lines of the log that are asked for at first. */
const FIRST_LINES = 500;

/** A page's connection to its server. */
export class Link {
  /** @type {Listener} */
  #listener;
  /** @type {EventSource | undefined} */
  #stream;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {Access} */
  #access = "none";
  /** Counts the attempts, so that one that was overtaken does nothing more. */
  #attempt = 0;

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  /** What the page may see. */
  get access() {
    return this.#access;
  }

  /** Finds out what may be seen, and listens to that. */
  async open() {
    const attempt = ++this.#attempt;
    this.#close();
    try {
      const { access, lines } = await this.#look();
      if (attempt !== this.#attempt) return;
      this.#access = access;
      this.#listener.access(access, lines);
      if (access !== "none") this.#listen();
    } catch {
      if (attempt === this.#attempt) this.#lost();
    }
  }

  /**
   * Asks for something.
   *
   * @param {string} path
   * @returns {Promise<any>}
   */
  async get(path) {
    const signal = AbortSignal.timeout(SILENCE_TIMEOUT);
    return await answer(await fetch(path, { headers: { accept: "application/json" }, signal }));
  }

  /**
   * Has the server do something.
   *
   * @param {string} path
   * @param {object} order
   * @returns {Promise<any>}
   */
  async post(path, order) {
    const headers = { "content-type": "application/json", accept: "application/json" };
    const body = JSON.stringify(order);
    return await answer(await fetch(path, { method: "POST", headers, body }));
  }

  /**
   * Logs in for as long as the session lasts.
   *
   * @param {string} token
   */
  async login(token) {
    // The answer to a right token leads to the page, which is here already.
    const body = new URLSearchParams({ token });
    const response = await fetch("/login", { method: "POST", body, redirect: "manual" });
    if (response.type !== "opaqueredirect") await answer(response);
    await this.open();
  }

  /** Ends the session. */
  async logout() {
    await fetch("/logout", { method: "POST", redirect: "manual" });
    await this.open();
  }

  /** @returns {Promise<{ access: Access, lines: LogLine[] }>} */
  async #look() {
    try {
      const { lines } = await this.get(`/api/log?lines=${FIRST_LINES}&level=debug`);
      return { access: "full", lines };
    } catch (error) {
      const access = codeOf(error) === 403 ? "closed" : "figures";
      return { access: await this.#mayLook() ? access : "none", lines: [] };
    }
  }

  /** Whether the figures may be seen. */
  async #mayLook() {
    try {
      await this.get("/api/status");
      return true;
    } catch (error) {
      codeOf(error);
      return false;
    }
  }

  #listen() {
    const only = this.#access === "full" ? "status,log" : "status";
    const stream = new EventSource(`/api/events?only=${only}`);
    stream.addEventListener("status", ({ data }) => {
      this.#watch();
      this.#listener.live(true);
      this.#listener.status(JSON.parse(data));
    });
    stream.addEventListener("log", ({ data }) => this.#listener.line(JSON.parse(data)));
    stream.addEventListener("lost", ({ data }) => this.#listener.line(lossLine(JSON.parse(data))));
    stream.addEventListener("error", () => {
      if (this.#stream === stream) this.#lost();
    });
    this.#stream = stream;
    this.#watch();
  }

  /** Waits for the next sign of life. */
  #watch() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lost(), SILENCE_TIMEOUT);
  }

  #lost() {
    this.#close();
    this.#listener.live(false);
    this.#timer = setTimeout(() => this.open(), RETRY_INTERVAL);
  }

  #close() {
    this.#stream?.close();
    this.#stream = undefined;
    clearTimeout(this.#timer);
  }
}

/**
 * The status by which the server refuses somebody; what else went wrong is thrown.
 *
 * @param {unknown} error
 */
function codeOf(error) {
  if (error instanceof Refusal && [401, 403].includes(error.code)) return error.code;
  throw error;
}

/**
 * What an answer says, or a `Refusal`.
 *
 * @param {Response} response
 */
async function answer(response) {
  const said = parse(await response.text());
  if (response.ok) return said;
  throw new Refusal(response.status, said?.error ?? `The server answered ${response.status}`);
}

/**
 * The line that stands for lines that did not come.
 *
 * @param {{ lost: number }} loss
 * @returns {LogLine}
 */
function lossLine({ lost }) {
  const message = "lines did not reach this page, as it was too slow";
  return { time: new Date().toISOString(), level: "warn", message, lost };
}

/** @param {string} text */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
