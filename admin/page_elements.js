// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * Elements of the page, made and changed. Foreign text is always put as text, never as markup.
 *
 * @module
 */

/**
 * The element with an id, which the page has.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`The page has no ${kind.name} "${id}"`);
  return found;
}

/**
 * Makes an element.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/**
 * Puts a text into an element, if it has another one.
 *
 * @param {Element} element
 * @param {string} text
 */
export function put(element, text) {
  const only = element.firstChild;
  if (only instanceof Text && only.nextSibling === null) {
    if (only.data !== text) only.data = text;
  } else if (only !== null || text !== "") {
    element.textContent = text;
  }
}

/**
 * Sets an attribute, if it has another value.
 *
 * @param {Element} element
 * @param {string} name
 * @param {string} value
 */
export function mark(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/**
 * Makes a button that does something.
 *
 * @param {string} text
 * @param {() => void} act
 * @param {Record<string, string>} [attributes]
 * @returns {HTMLButtonElement}
 */
export function button(text, act, attributes = {}) {
  const made = make("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", act);
  return made;
}

/**
 * Names with their values, as a list of definitions.
 *
 * @param {HTMLElement} parent
 * @param {readonly (readonly [name: string, value: string])[]} facts
 */
export function showFacts(parent, facts) {
  const isSame = parent.childElementCount === facts.length &&
    facts.every(([name], at) => parent.children[at]?.firstElementChild?.textContent === name);
  if (!isSame) {
    const entries = facts.map(([name]) => make("div", {}, make("dt", {}, name), make("dd")));
    parent.replaceChildren(...entries);
  }
  facts.forEach(([, value], at) => {
    const shown = parent.children[at]?.lastElementChild;
    if (shown) put(shown, value);
  });
}

/**
 * One shown item: its element, how it is brought up to date, and what is to do when it is no longer shown.
 *
 * @template Item
 * @typedef {object} Shown
 * @property {HTMLElement} element
 * @property {(item: Item) => void} update
 * @property {() => void} [forget]
 */

/**
 * Shows a list of items in an element: an item that stays keeps its element, and so focus and selection.
 *
 * @template Item
 */
export class List {
  /** @type {Map<string | number, Shown<Item>>} */
  #shown = new Map();
  #parent;
  #keyOf;
  #show;

  /**
   * @param {HTMLElement} parent
   * @param {(item: Item) => string | number} keyOf
   * @param {(item: Item) => Shown<Item>} show
   */
  constructor(parent, keyOf, show) {
    this.#parent = parent;
    this.#keyOf = keyOf;
    this.#show = show;
  }

  /**
   * Shows these items in this order.
   *
   * @param {readonly Item[]} items
   */
  set(items) {
    const keys = new Set(items.map(this.#keyOf));
    for (const [key, { element, forget }] of this.#shown) {
      if (keys.has(key)) continue;
      element.remove();
      forget?.();
      this.#shown.delete(key);
    }
    let next = this.#parent.firstElementChild;
    for (const item of items) {
      const { element } = this.#take(item);
      if (element === next) next = next.nextElementSibling;
      else this.#parent.insertBefore(element, next);
    }
  }

  /** @param {Item} item */
  #take(item) {
    const key = this.#keyOf(item);
    const shown = this.#shown.get(key) ?? this.#show(item);
    this.#shown.set(key, shown);
    shown.update(item);
    return shown;
  }
}

/**
 * A column of a table: its cells have a text, or an element of their own.
 *
 * @template Item
 * @typedef {object} Column
 * @property {string} label
 * @property {"" | "number" | "long" | "actions" | "name" | "state"} [kind]
 * @property {(item: Item) => string} [text]
 * @property {() => Shown<Item>} [part]
 */

/**
 * Gives a table its head; returns the list of its rows. Roles are said, as narrow tables are laid out as cards.
 *
 * @template Item
 * @param {HTMLTableElement} table
 * @param {readonly Column<Item>[]} columns
 * @param {(item: Item) => string | number} keyOf
 * @returns {List<Item>}
 */
export function fillTable(table, columns, keyOf) {
  const head = columns.map(({ label, kind = "" }) =>
    make("th", { scope: "col", role: "columnheader", class: kind }, label)
  );
  const body = make("tbody", { role: "rowgroup" });
  const titles = make("tr", { role: "row" }, ...head);
  table.setAttribute("role", "table");
  table.replaceChildren(make("thead", { role: "rowgroup" }, titles), body);
  return new List(body, keyOf, () => row(columns));
}

/**
 * @template Item
 * @param {readonly Column<Item>[]} columns
 * @returns {Shown<Item>}
 */
function row(columns) {
  const cells = columns.map(({ label, kind = "", text, part }) => {
    const cell = make("td", { role: "cell", "data-label": label, class: kind });
    const own = part?.();
    if (own !== undefined) cell.append(own.element);
    const update = (/** @type {Item} */ item) => {
      if (text !== undefined) put(cell, text(item));
      own?.update(item);
    };
    return { cell, update };
  });
  return {
    element: make("tr", { role: "row" }, ...cells.map(({ cell }) => cell)),
    update: (item) => cells.forEach(({ update }) => update(item)),
  };
}
