// @ts-check
/// <reference no-default-lib="true" />
/// <reference lib="dom" />
/// <reference lib="esnext" />
/**
 * The plots of the last 15 minutes, and the figures above them.
 *
 * @module
 */

import { make, mark, put } from "./page_elements.js";
import { clock, count, rate, time } from "./page_words.js";
import { STEPS } from "./page_figures.js";

/** @import { Figures, FigureName } from "./page_figures.js" */
/** @typedef {typeof import("uplot")} UPlot */

const HEIGHT = 132;
/** The least that a logarithmic axis shows, ms. */
const LEAST_MS = 0.01;
/** A plot is drawn in a place that is this wide at least, pixels. */
const LEAST_WIDTH = 50;

const NO_PLOTS =
  "The plots cannot be drawn: the server could not load uPlot, which does that. Run " +
  '"deno cache npm:uplot@1.6.32" where the server runs, and load the page again.';

/**
 * @typedef {object} Series
 * @property {FigureName} name
 * @property {string} label
 * @property {string} color
 */

/**
 * @typedef {object} Plot
 * @property {string} title
 * @property {readonly Series[]} series
 * @property {(value: number | null | undefined) => string} format
 * @property {boolean} [isLog] whether its axis is logarithmic, and counts ms
 */

/** @type {readonly Plot[]} */
const PLOTS = [
  {
    title: "Requests per second",
    format: rate,
    series: [{ name: "requests", label: "requests", color: "blue" }],
  },
  {
    title: "Time to answer",
    isLog: true,
    format: time,
    series: [
      { name: "p50Ms", label: "50 %", color: "blue" },
      { name: "p99Ms", label: "99 %", color: "violet" },
    ],
  },
  {
    title: "Requests in the server",
    format: (value) => value === null || value === undefined ? "–" : count(value),
    series: [
      { name: "waiting", label: "waiting", color: "amber" },
      { name: "running", label: "running", color: "green" },
    ],
  },
  {
    title: "Errors per second",
    format: rate,
    series: [{ name: "errors", label: "errors", color: "red" }],
  },
];

/** All plots. */
export class Plots {
  #views;

  /**
   * @param {HTMLElement} parent
   * @param {Figures} figures
   */
  constructor(parent, figures) {
    this.#views = PLOTS.map((plot) => new View(parent, figures, plot));
    this.#load().catch(() => {
      parent.append(make("p", { class: "trouble" }, NO_PLOTS));
    });
  }

  /** Shows the figures as they are. */
  draw() {
    for (const view of this.#views) view.draw();
  }

  /** Takes the colours of the page again. */
  recolor() {
    for (const view of this.#views) view.recolor();
  }

  async #load() {
    const path = "/uplot.js";
    /** @type {UPlot} */
    const UPlot = (await import(path)).default;
    for (const view of this.#views) view.open(UPlot);
  }
}

/** One plot with its title and its figures: those of now, or those under the pointer. */
class View {
  #figures;
  #plot;
  #legends;
  #when = make("span", { class: "when" });
  #canvas = make("div", { class: "canvas", role: "img" });
  /** @type {InstanceType<UPlot> | undefined} */
  #drawn;
  /** @type {string[]} */
  #colors = [];
  #ink = "";
  #grid = "";

  /**
   * @param {HTMLElement} parent
   * @param {Figures} figures
   * @param {Plot} plot
   */
  constructor(parent, figures, plot) {
    this.#figures = figures;
    this.#plot = plot;
    this.#legends = plot.series.map(legend);
    const legends = this.#legends.map(({ element }) => element);
    const title = make("h2", {}, plot.title);
    const shown = make("span", { class: "legends" }, ...legends, this.#when);
    const caption = make("figcaption", {}, title, shown);
    if (plot.series.length === 1) caption.classList.add("single");
    parent.append(make("figure", { class: "plot" }, caption, this.#canvas));
  }

  draw() {
    const { times, values } = this.#figures;
    this.#latest();
    this.#describe();
    const shown = this.#plot.series.map(({ name }) => values[name]);
    this.#drawn?.setData([times, ...this.#plot.isLog ? shown.map(clamped) : shown]);
  }

  recolor() {
    const { color, borderTopColor } = getComputedStyle(this.#canvas);
    this.#ink = color;
    this.#grid = borderTopColor;
    this.#colors = this.#legends.map(({ swatch }) => getComputedStyle(swatch).color);
    this.#drawn?.redraw(false, true);
  }

  /** @param {UPlot} UPlot */
  open(UPlot) {
    this.recolor();
    const width = () => Math.max(this.#canvas.clientWidth, LEAST_WIDTH);
    const drawn = new UPlot(
      {
        width: width(),
        height: HEIGHT,
        padding: [8, 6, 0, 0],
        legend: { show: false },
        cursor: { sync: { key: "page" }, y: false, drag: { x: false, y: false } },
        scales: {
          x: { range: (_, __, end) => [end - STEPS + 1, end] },
          y: this.#plot.isLog
            ? { distr: 3, range: logRange }
            : { range: (_, __, most) => [0, Math.max(4, (most ?? 0) * 1.15)] },
        },
        axes: this.#axes(),
        series: [{}, ...this.#lines()],
        hooks: { setCursor: [({ cursor: { idx } }) => this.#point(idx)] },
      },
      [[], ...this.#plot.series.map(() => [])],
      this.#canvas,
    );
    this.#drawn = drawn;
    new ResizeObserver(() => drawn.setSize({ width: width(), height: HEIGHT }))
      .observe(this.#canvas);
    this.draw();
  }

  /** @returns {import("uplot").Axis[]} */
  #axes() {
    const font = "11px system-ui, sans-serif";
    const axis = { font, stroke: () => this.#ink, ticks: { show: false } };
    /** @type {import("uplot").Axis} */
    const across = {
      ...axis,
      size: 24,
      space: 56,
      incrs: [60, 120, 300],
      grid: { show: false },
      values: (_, moments) => moments.map((moment) => clock(moment * 1000).slice(0, 5)),
    };
    /** @type {import("uplot").Axis} */
    const up = {
      ...axis,
      size: 52,
      space: 26,
      grid: { stroke: () => this.#grid, width: 1, ...this.#plot.isLog ? { filter: decades } : {} },
    };
    return [across, this.#plot.isLog ? { ...up, ...DECADES } : { ...up, ...WHOLE }];
  }

  /** @returns {import("uplot").Series[]} */
  #lines() {
    return this.#plot.series.map((_, at) => ({
      stroke: () => this.#colors[at] ?? this.#ink,
      ...this.#plot.isLog ? {} : { fill: () => faded(this.#colors[at] ?? this.#ink) },
      width: 1.5,
      points: { show: false },
    }));
  }

  /** @param {number | null | undefined} at */
  #point(at) {
    if (at === null || at === undefined) return this.#latest();
    const moment = this.#figures.times[at];
    if (moment !== undefined) this.#show(at, `at ${clock(moment * 1000)}`);
  }

  #latest() {
    const at = this.#drawn?.cursor.idx;
    if (at !== null && at !== undefined && this.#when.textContent !== "") return;
    this.#show(STEPS - 1, "");
  }

  /**
   * @param {number} at
   * @param {string} when
   */
  #show(at, when) {
    this.#plot.series.forEach(({ name }, key) => {
      const value = this.#legends[key]?.value;
      if (value !== undefined) put(value, this.#plot.format(this.#figures.values[name][at]));
    });
    put(this.#when, when);
  }

  /** Says the plot in words, for who does not see it. */
  #describe() {
    const { series, title, format } = this.#plot;
    const parts = series.map(({ name, label }) => {
      const values = this.#figures.values[name];
      const most = values.reduce(
        (/** @type {number} */ top, value) => Math.max(top, value ?? 0),
        0,
      );
      return `${label} now ${format(values.at(-1))}, at most ${format(most)}`;
    });
    mark(this.#canvas, "aria-label", `${title} over the last 15 minutes: ${parts.join("; ")}.`);
  }
}

/** @param {Series} series */
function legend({ label, color }) {
  const swatch = make("span", { class: "swatch", "data-color": color });
  const value = make("span", { class: "value" }, "–");
  const key = make("span", { class: "key" }, label);
  return { swatch, value, element: make("span", { class: "legend" }, swatch, key, value) };
}

/** Axis of things that are counted. @type {import("uplot").Axis} */
const WHOLE = {
  incrs: Array.from({ length: 9 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power))
    .flat(),
  values: (_, values) => values.map((value) => value === null ? "" : count(value)),
};

/** Axis of times, with a line for each power of ten. @type {import("uplot").Axis} */
const DECADES = {
  filter: decades,
  values: (_, values) => values.map((value) => value === null ? "" : tick(value)),
};

/** @type {import("uplot").Axis.Filter} */
function decades(_, splits) {
  return splits.map((value) => isDecade(value) ? value : null);
}

/** @param {number} value */
function isDecade(value) {
  const power = Math.log10(value);
  return Math.abs(power - Math.round(power)) < 1e-6;
}

/** @param {number} ms */
function tick(ms) {
  return ms < 1000 ? `${Number(ms.toPrecision(2))} ms` : `${Number((ms / 1000).toPrecision(2))} s`;
}

/**
 * Whole decades around what is shown, two at least.
 *
 * @type {import("uplot").Range.Function}
 */
function logRange(_, least, most) {
  const low = Math.floor(Math.log10(Math.max(least ?? 0.1, LEAST_MS)));
  const high = Math.ceil(Math.log10(Math.max(most ?? 10, LEAST_MS * 10)));
  return [10 ** low, 10 ** Math.max(high, low + 2)];
}

/** @param {readonly (number | null)[]} values */
function clamped(values) {
  return values.map((value) => value === null ? null : Math.max(value, LEAST_MS));
}

/** @param {string} color */
function faded(color) {
  return color.replace("rgb(", "rgba(").replace(")", ", 0.13)");
}
