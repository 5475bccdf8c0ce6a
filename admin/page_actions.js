// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * What a person can change: each change is named and asked about before it is made, and its result reported.
 * Not here: the changes themselves, which page_changes.js lists.
 *
 * @module
 */

import { byId, make, put } from "./page_elements.js";
import { Refusal } from "./page_link.js";

/** @import { Link } from "./page_link.js" */

/**
 * A change that can be made.
 *
 * @typedef {object} Change
 * @property {string} title the question
 * @property {string} text what will happen
 * @property {string} yes the word on the button
 * @property {string} done what has happened
 * @property {string} path
 * @property {(given: FormData) => object} order what the server is told
 * @property {boolean} [isHarmful] whether work is lost or the server ends
 * @property {() => HTMLElement[]} [fields]
 */

/** How long a result stays, ms. */
const TOAST_TIME = 8000;
const NO_TOKEN =
  "This server was started without a token, so nobody can log in. Set httpToken to allow it.";

/** Asks before each change, and has it made. */
export class Actions {
  #link;
  /** @type {Change | undefined} */
  #asked;
  /** @type {(() => void) | undefined} */
  #afterLogin;
  #ask = byId("ask", HTMLDialogElement);
  #login = byId("login", HTMLDialogElement);

  /** @param {Link} link */
  constructor(link) {
    this.#link = link;
    byId("ask-no", HTMLButtonElement).addEventListener("click", () => this.#ask.close());
    byId("ask-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#do();
    });
    byId("login-no", HTMLButtonElement).addEventListener("click", () => this.#login.close());
    byId("login-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#logIn();
    });
  }

  /**
   * Asks about a change, after the login where that is needed.
   *
   * @param {Change} change
   */
  ask(change) {
    if (this.#link.access !== "full") return this.logIn(() => this.ask(change));
    this.#asked = change;
    put(byId("ask-title", HTMLElement), change.title);
    put(byId("ask-text", HTMLElement), change.text);
    put(byId("ask-trouble", HTMLElement), "");
    byId("ask-fields", HTMLElement).replaceChildren(...change.fields?.() ?? []);
    const yes = byId("ask-yes", HTMLButtonElement);
    put(yes, change.yes);
    yes.classList.toggle("harmful", change.isHarmful === true);
    this.#setBusy(false);
    this.#ask.showModal();
    // What does harm is not what the return key does at once.
    const first = change.isHarmful === true ? byId("ask-no", HTMLButtonElement) : yes;
    const field = this.#ask.querySelector(".fields input, .fields select");
    (field instanceof HTMLElement ? field : first).focus();
  }

  /**
   * Shows the login.
   *
   * @param {() => void} [then] what follows it
   */
  logIn(then) {
    this.#afterLogin = then;
    const isClosed = this.#link.access === "closed";
    put(byId("login-trouble", HTMLElement), isClosed ? NO_TOKEN : "");
    if (!this.#login.open) this.#login.showModal();
    byId("login-token", HTMLInputElement).focus();
  }

  /**
   * Reports a result.
   *
   * @param {string} text
   * @param {"done" | "failed"} [how]
   */
  report(text, how = "done") {
    const toast = make("p", { class: `toast ${how}` }, text);
    byId("toasts", HTMLElement).append(toast);
    setTimeout(() => toast.remove(), TOAST_TIME);
  }

  async #do() {
    const change = this.#asked;
    if (change === undefined) return;
    const given = new FormData(byId("ask-form", HTMLFormElement));
    put(byId("ask-trouble", HTMLElement), "");
    this.#setBusy(true);
    try {
      await this.#link.post(change.path, change.order(given));
      this.report(change.done);
      if (this.#asked === change) this.#ask.close();
    } catch (error) {
      this.#fail(change, error);
    }
    if (this.#asked === change) this.#setBusy(false);
  }

  /**
   * @param {Change} change
   * @param {unknown} error
   */
  #fail(change, error) {
    if (error instanceof Refusal && error.code === 401) {
      this.#ask.close();
      this.#link.open();
      return this.logIn(() => this.ask(change));
    }
    const text = reasonOf(error);
    const isShown = this.#ask.open && this.#asked === change;
    if (isShown) put(byId("ask-trouble", HTMLElement), text);
    else this.report(`${change.title} ${text}`, "failed");
  }

  /** @param {boolean} isBusy */
  #setBusy(isBusy) {
    byId("ask-yes", HTMLButtonElement).disabled = isBusy;
    put(byId("ask-no", HTMLButtonElement), isBusy ? "Close" : "Cancel");
    this.#ask.setAttribute("aria-busy", String(isBusy));
  }

  async #logIn() {
    const field = byId("login-token", HTMLInputElement);
    const trouble = byId("login-trouble", HTMLElement);
    put(trouble, "");
    try {
      await this.#link.login(field.value);
      if (this.#link.access !== "full") throw new Refusal(401, "The server refuses this token.");
    } catch (error) {
      field.select();
      return put(trouble, reasonOf(error));
    }
    field.value = "";
    this.#login.close();
    this.#afterLogin?.();
  }
}

/** @param {unknown} error */
function reasonOf(error) {
  if (!(error instanceof Refusal)) return "The server cannot be reached.";
  const text = error.message.charAt(0).toUpperCase() + error.message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
