/** A real browser: Debian's Chromium without a window, driven by playwright-core. */

import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { LIMIT, until } from "./wait.ts";

const PROGRAM = "/usr/bin/chromium";
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
  ...["--disable-background-networking", "--disable-component-update"],
];

/** Whether there is a browser on this machine. */
export const withBrowser = { ignore: !exists(PROGRAM) };

/** The same for tests that take long: they run in `deno task test:foreign` alone. */
export const withTime = {
  ignore: withBrowser.ignore || Deno.env.get("TEST_FOREIGN") !== "all",
};

function exists(file: string): boolean {
  try {
    return Deno.statSync(file).isFile;
  } catch {
    return false;
  }
}

let started: Promise<Browser> | undefined;

async function start(): Promise<Browser> {
  const { chromium } = await import("playwright-core");
  return await chromium.launch({ executablePath: PROGRAM, args: FLAGS });
}

/** A page in a browser profile of its own. */
export class Tab {
  readonly page: Page;
  /** What went wrong in it: errors of its code, and what its policy has refused. */
  readonly troubles: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.setDefaultTimeout(LIMIT);
    page.on("pageerror", (error) => this.troubles.push(error.message));
    page.on("console", (message) => {
      const text = message.text();
      // What needs the token is asked for once, to know whether there is a session; tests have changes refused.
      const isExpected = /status of 4\d\d|ERR_CONNECTION/.test(text);
      if (message.type() === "error" && !isExpected) this.troubles.push(text);
    });
  }

  /** Opens an address. */
  static async open(url: string, options: BrowserContextOptions = {}): Promise<Tab> {
    const browser = await (started ??= start());
    const context = await browser.newContext({
      viewport: { width: 1280, height: 900 },
      ...options,
    });
    const tab = new Tab(await context.newPage());
    await tab.page.goto(url);
    return tab;
  }

  /** The text of the first element that a selector finds. */
  async text(selector: string): Promise<string> {
    return await this.page.locator(selector).first().innerText();
  }

  /** Waits until an element has a text, or one that matches. */
  async shows(selector: string, wanted: string | RegExp): Promise<void> {
    await this.page.locator(selector).filter({ hasText: wanted }).first().waitFor();
  }

  /** Runs an expression in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    return await this.page.evaluate(expression);
  }

  /** Waits until an expression has a value; a page that is being loaded has none. */
  async becomes(expression: string, wanted: unknown): Promise<void> {
    await until(`${expression} is ${wanted}`, async () => {
      const value = await this.evaluate(expression).catch(() => this);
      return value === wanted;
    });
  }

  /** What keeps people with a screen reader or a keyboard from using it, "serious" or "critical". */
  async obstacles(): Promise<string[]> {
    const { default: axe } = await import("axe-core/axe.min.js", { with: { type: "text" } });
    await this.evaluate(`${axe}; undefined`);
    const { violations } = await this.evaluate<{ violations: Violation[] }>("axe.run(document)");
    return violations.filter(({ impact }) => impact === "serious" || impact === "critical")
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" ")}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.context().close();
  }
}

interface Violation {
  id: string;
  impact: string;
  nodes: { html: string }[];
}

/** Ends the browser, if one was started. */
export async function endBrowser(): Promise<void> {
  await (await started)?.close();
  started = undefined;
}
