/**
 * The files of the live page, as texts that come with this module: they need no permission to read and no build.
 * Nothing in them is secret. uPlot, which draws the plots, is fetched when a page asks for it.
 *
 * @module
 */

import style from "./page.css" with { type: "text" };
import html from "./page.html" with { type: "text" };
import code from "./page.js" with { type: "text" };
import icon from "./page.svg" with { type: "text" };
import actions from "./page_actions.js" with { type: "text" };
import changes from "./page_changes.js" with { type: "text" };
import elements from "./page_elements.js" with { type: "text" };
import figures from "./page_figures.js" with { type: "text" };
import link from "./page_link.js" with { type: "text" };
import lists from "./page_lists.js" with { type: "text" };
import log from "./page_log.js" with { type: "text" };
import plots from "./page_plots.js" with { type: "text" };
import stored from "./page_stored.js" with { type: "text" };
import storedChanges from "./page_stored_changes.js" with { type: "text" };
import words from "./page_words.js" with { type: "text" };
import workers from "./page_workers.js" with { type: "text" };

/** A file that a browser asks for. */
export interface PageFile {
  /** Its media type. */
  readonly type: string;
  readonly text: string;
}

const HTML = "text/html; charset=utf-8";
const CODE = "text/javascript; charset=utf-8";
const STYLE = "text/css; charset=utf-8";

const FILES: ReadonlyMap<string, PageFile> = new Map(Object.entries({
  "/": { type: HTML, text: html },
  "/page.css": { type: STYLE, text: style },
  "/page.js": { type: CODE, text: code },
  "/page.svg": { type: "image/svg+xml", text: icon },
  "/page_actions.js": { type: CODE, text: actions },
  "/page_changes.js": { type: CODE, text: changes },
  "/page_elements.js": { type: CODE, text: elements },
  "/page_figures.js": { type: CODE, text: figures },
  "/page_link.js": { type: CODE, text: link },
  "/page_lists.js": { type: CODE, text: lists },
  "/page_log.js": { type: CODE, text: log },
  "/page_plots.js": { type: CODE, text: plots },
  "/page_stored.js": { type: CODE, text: stored },
  "/page_stored_changes.js": { type: CODE, text: storedChanges },
  "/page_words.js": { type: CODE, text: words },
  "/page_workers.js": { type: CODE, text: workers },
}));

/** Not a literal in `import`: Deno would fetch it for everybody who starts a server. */
const PLOTS = "npm:uplot@1.6.32";
const PLOT_FILES: ReadonlyMap<string, Omit<PageFile, "text"> & { path: string }> = new Map([
  ["/uplot.css", { type: STYLE, path: "dist/uPlot.min.css" }],
  ["/uplot.js", { type: CODE, path: "dist/uPlot.esm.js" }],
]);

/** The paths of all files. */
export const PAGE_PATHS: ReadonlySet<string> = new Set([...FILES.keys(), ...PLOT_FILES.keys()]);

/**
 * The file of the page that a browser asks for; undefined: there is none.
 *
 * @throws {Error} when uPlot is asked for, and can be neither found nor fetched.
 */
export async function pageFile(path: string): Promise<PageFile | undefined> {
  const own = FILES.get(path);
  const plots = PLOT_FILES.get(path);
  if (own !== undefined || plots === undefined) return own;
  // A text of a package can be imported once the package is here, which its code sees to.
  await import(PLOTS);
  const name = `${PLOTS}/${plots.path}`;
  const { default: text }: { default: string } = await import(name, { with: { type: "text" } });
  return { type: plots.type, text };
}
