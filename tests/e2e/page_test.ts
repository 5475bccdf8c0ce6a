/** The live page in a real browser, before a server that says whatever a test wants. */

import { strict as assert } from "node:assert";
import { endBrowser, Tab, withBrowser, withTime } from "../rig/browser.ts";
import { FakeAdmin, type Size } from "../rig/fake_admin.ts";
import { idOf } from "../rig/stand_in_store.ts";

Deno.test.afterAll(endBrowser);

const SMALL: Size = { workers: 16, jobs: 20, errors: 37, services: ["", "resize"] };

/** The page of a server, with the token of its session or without. */
async function open(fake: FakeAdmin, options: Parameters<typeof Tab.open>[1] = {}): Promise<Tab> {
  const tab = await Tab.open(fake.url, options);
  await tab.shows("#link", "Live");
  await tab.page.locator(".tile").first().waitFor();
  return tab;
}

async function logIn(tab: Tab, token: string): Promise<void> {
  if (!await tab.page.locator("#login").isVisible()) await tab.page.click("#session");
  await tab.page.fill("#login-token", token);
  await tab.page.press("#login-token", "Enter");
}

async function openWithToken(fake: FakeAdmin, options = {}): Promise<Tab> {
  const tab = await open(fake, options);
  await logIn(tab, fake.token);
  await tab.page.locator("#jobs-scroll").waitFor();
  return tab;
}

Deno.test("the page shows what the server says, and what it says next", withBrowser, async () => {
  await using fake = new FakeAdmin(SMALL);
  await using tab = await open(fake);
  await tab.shows("#verdict", "All is well");
  assert.equal(await tab.page.locator("#services-table tbody tr").count(), 2);
  assert.equal(await tab.page.locator(".tile").count(), 16);
  assert.match(await tab.text(".tile"), /#1\s+busy.*job 900000.*58 MiB.*4,000 done/s);
  assert.equal(await tab.page.locator(".plot canvas").count(), 4);
  assert.equal(await tab.page.title(), "All is well – tcp-127.0.0.1-6660");

  const { status } = fake;
  status.rates.requests = 4321;
  status.workers[0]!.state = "idle";
  status.workers[1]!.residentBytes = 3 * 1024 ** 3;
  status.workers = status.workers.slice(0, 9);
  fake.tell();
  await tab.shows(".plot .value", "4,321");
  await tab.shows("#sentence", "4,321 requests a second");
  assert.match(await tab.text(".tile >> nth=0"), /idle/);
  assert.match(await tab.text(".tile >> nth=1"), /3\.0 GiB/);
  assert.equal(await tab.page.locator(".tile").count(), 9);
  assert.deepEqual(tab.troubles, []);
});

Deno.test("the plots are full at once", withBrowser, async () => {
  await using fake = new FakeAdmin(SMALL);
  await using tab = await open(fake);
  const [, most] = /at most ([\d,]+)/.exec(
    await tab.page.locator('.canvas[aria-label*="at most 4"]').first().getAttribute("aria-label") ??
      "",
  ) ?? [];
  assert(
    Number(most?.replace(",", "")) > 3_500,
    `The highest rate of the history is said: ${most}`,
  );
});

Deno.test("the page says in a sentence what is wrong", withBrowser, async () => {
  await using fake = new FakeAdmin({ workers: 4, jobs: 0 });
  await using tab = await open(fake);
  const { status } = fake;
  const [service] = status.services;
  assert(service !== undefined);
  const says = async (title: string, sentence: string) => {
    fake.tell();
    await tab.shows("#verdict", title);
    await tab.shows("#sentence", sentence);
  };
  service.queue = { jobs: 120, bytes: 9_000, oldestMs: 12_400 };
  await says("Requests wait", "120 requests wait for a worker, the oldest for 12 s");
  service.paused = true;
  await says("Paused", "120 requests wait");
  service.paused = false;
  Object.assign(status, { ready: false, reasons: ["no worker is ready"] });
  await says("Not ready", "No worker is ready.");
  Object.assign(status, { phase: "draining" });
  await says("Draining", "takes no new requests");
});

Deno.test("text of others stays text", withBrowser, async () => {
  await using fake = new FakeAdmin(SMALL);
  await using tab = await openWithToken(fake);
  const bomb = '<img src="x" onerror="globalThis.exploded = true"><b>bold</b>';
  fake.log({
    level: "error",
    message: "request failed",
    error: bomb,
    code: 500,
    worker: 1,
    job: 1,
  });
  fake.log({ message: bomb, field: bomb });
  fake.status.services[0]!.handler = bomb;
  fake.tell();
  await tab.shows("#errors-list", bomb);
  await tab.shows("#log-lines", bomb);
  assert.equal(await tab.page.locator("main img, main b").count(), 0);
  assert.equal(await tab.evaluate("globalThis.exploded"), undefined);
});

Deno.test(
  "a wrong token is refused, the right one unlocks, and a logout locks",
  withBrowser,
  async () => {
    await using fake = new FakeAdmin(SMALL);
    await using tab = await open(fake);
    const locked = tab.page.locator("main .locked:visible");
    assert.equal(await locked.count(), 5);
    assert.equal(await tab.page.locator("#log-lines").isVisible(), false);
    await logIn(tab, "wrong");
    await tab.shows("#login-trouble", "The token is wrong.");
    assert.equal(await locked.count(), 5);
    await logIn(tab, fake.token);
    await tab.page.locator("#jobs-scroll").waitFor();
    assert.equal(await locked.count(), 0);
    assert.match(await tab.text("#log-lines"), /worker ready/);
    assert.match(await tab.text("#errors-list"), /\d+ ×\s+connect ETIMEDOUT/);
    assert.equal(await tab.page.locator("#clients-table tbody tr").count(), 24);

    await tab.page.click("#session");
    await locked.first().waitFor();
    assert.equal(await locked.count(), 5);
    assert.equal(await tab.page.locator("#jobs-scroll").isVisible(), false);
    assert.equal(await tab.page.locator("#log-lines li").count(), 0);
    assert.deepEqual(tab.troubles, []);
  },
);

/** Each change: the button, what its question says, what is filled in, and what the server is told. */
const CHANGES: [
  button: string,
  question: RegExp,
  fields: Record<string, string>,
  order: unknown,
][] = [
  ["#actions >> text=Reload", /Reload all services\?/, {}, ["/api/reload", {}]],
  ["#actions >> text=Pause", /Pause all services\?/, {}, ["/api/pause", {}]],
  [
    "#actions >> text=Log level",
    /is "info" now/,
    { level: "debug" },
    ["/api/log-level", { level: "debug" }],
  ],
  ["#actions >> text=Reopen log", /Reopen the log\?/, {}, ["/api/reopen-log", {}]],
  ["#actions >> text=Drain", /serves those that wait, and then stops/, {}, ["/api/drain", {}]],
  [
    '[aria-label="Reload service resize"]',
    /Reload service resize\?/,
    {},
    ["/api/reload", { service: "resize" }],
  ],
  [
    '[aria-label="Resize service default"]',
    /pool of service default/,
    { min: "3", max: "12" },
    ["/api/resize", { service: "", min: 3, max: 12 }],
  ],
  [
    '[aria-label="Pause service resize"]',
    /Pause service resize\?/,
    {},
    ["/api/pause", { service: "resize" }],
  ],
  ['[aria-label="Cancel job 900002"]', /answered 499/, {}, ["/api/job/cancel", { job: 900002 }]],
];

Deno.test("each change is asked about, made, and reported", withBrowser, async () => {
  await using fake = new FakeAdmin(SMALL);
  await using tab = await openWithToken(fake);
  const { page } = tab;
  for (
    const [button, question, fields, [path, order]] of CHANGES as [
      string,
      RegExp,
      Record<string, string>,
      [string, object],
    ][]
  ) {
    fake.orders.length = 0;
    await page.click(button);
    assert.match(await tab.text("#ask"), question);
    await page.click("#ask-no");
    await page.click(button);
    for (const [name, value] of Object.entries(fields)) {
      const field = page.locator(`#ask [name=${name}]`);
      if (await field.evaluate(nameOf) === "select") {
        await field.selectOption(value);
      } else await field.fill(value);
    }
    await page.click("#ask-yes");
    await page.locator("#ask").waitFor({ state: "hidden" });
    assert.deepEqual(fake.orders, [{ path, order }]);
  }
  assert.equal(await page.locator(".toast.done").count() > 0, true);
  await tab.shows(".toast", "Cancelled job 900002.");

  for (const [word, path] of [["Stop", "/api/worker/stop"], ["Kill", "/api/worker/kill"]]) {
    fake.orders.length = 0;
    await page.locator(".tile").nth(2).click();
    assert.match(await tab.text("#worker"), /Worker 3.*worker exited/s);
    await page.click(`#worker-actions >> text=${word}`);
    assert.match(await tab.text("#ask"), new RegExp(`${word} worker 3\\?`));
    await page.click("#ask-yes");
    await page.locator("#ask").waitFor({ state: "hidden" });
    await page.click("#worker-close");
    assert.deepEqual(fake.orders, [{ path, order: { worker: 3 } }]);
  }

  fake.status.services.forEach((service) => service.paused = true);
  fake.tell();
  await page.click("#actions >> text=Resume");
  await page.click("#ask-yes");
  await tab.shows(".toast", "Resumed all services.");
  assert.deepEqual(fake.orders.at(-1), { path: "/api/resume", order: {} });
  assert.deepEqual(tab.troubles, []);
});

Deno.test("stored jobs are hidden where nothing was ever stored", withBrowser, async () => {
  await using fake = new FakeAdmin(SMALL);
  await using tab = await openWithToken(fake);
  assert.equal(await tab.page.locator("#stored").isVisible(), false);
  assert.equal(await tab.page.locator("#stored-nav").isVisible(), false);
});

Deno.test(
  "stored jobs are counted for all, and listed, shown and changed with the token",
  withBrowser,
  async () => {
    await using fake = new FakeAdmin({ ...SMALL, dead: 60 });
    await using tab = await open(fake);
    const { page } = tab;
    const rows = page.locator("#stored-jobs-table tbody tr");
    await tab.shows("#stored-tally", /51 jobs to do, 60 failed, 4\.1 MiB on disk/);
    assert.equal(await page.locator("#stored-table tbody tr").count(), 3);
    assert.match(
      await tab.text("#stored-table tbody tr"),
      /default\s+12 \(1 min 1 s\)\s+3\s+2\s+60/,
    );
    assert.equal(await page.locator("#stored-locked").isVisible(), true);
    assert.equal(await rows.count(), 0);
    await logIn(tab, fake.token);
    await tab.shows("#stored-range", "1 to 25 of 60");
    assert.equal(await rows.count(), 25);
    assert.match(await rows.nth(2).innerText(), /<img src=x onerror=alert\(1\)> is not a number/);
    await page.click("#stored-on");
    await tab.shows("#stored-range", "26 to 50 of 60");
    await page.click("#stored-back");
    await page.selectOption("#stored-service", "mail");
    await tab.shows("#stored-range", "1 to 20 of 20");
    await page.selectOption("#stored-state", "waiting");
    await tab.shows("#stored-jobs-empty", "No job is in this state.");
    await page.selectOption("#stored-state", "failed");
    await tab.shows("#stored-range", "1 to 20 of 20");

    await page.click(`[aria-label="Look at job ${idOf(1)}"]`);
    assert.match(
      await tab.text("#stored-job-facts"),
      /mail[^]*shop[^]*5 of 5[^]*the image has no pixels/,
    );
    assert.equal(await page.locator("#stored-job-frames pre").count(), 0);
    await page.click("#stored-job-body");
    await tab.shows("#stored-job-frames", '{"to":"ann","text":"<b>hello</b>"}');
    assert.match(await tab.text("#stored-job-frames"), /2 of 2 \(2 B, as base64\)/);
    await page.click("#stored-job-close");
    assert.equal(await page.locator("#stored-job-frames pre").count(), 0, "No body stays behind");

    const changes: [button: string, question: RegExp, path: string, order: object][] = [
      [`Retry job ${idOf(1)}`, /Retry this job\?/, "/api/stored/retry", { job: idOf(1) }],
      [`Delete job ${idOf(4)}`, /is forgotten/, "/api/stored/delete", { job: idOf(4) }],
      [
        "Retry failed jobs of service default",
        /60 jobs get all tries again/,
        "/api/stored/retry-dead",
        { service: "" },
      ],
      [
        "Pause stored jobs of service mail",
        /also after a restart/,
        "/api/stored/pause",
        { service: "mail" },
      ],
    ];
    for (const [button, question, path, order] of changes) {
      fake.orders.length = 0;
      await page.click(`[aria-label="${button}"]`);
      assert.match(await tab.text("#ask"), question);
      assert.deepEqual(fake.orders, []);
      await page.click("#ask-yes");
      await page.locator("#ask").waitFor({ state: "hidden" });
      assert.deepEqual(fake.orders, [{ path, order }]);
    }
    fake.status.stored!.services.forEach((service) => service.paused = true);
    fake.status.stored!.trouble = "the disk is full";
    fake.tell();
    await tab.shows("#stored-trouble", "The store takes no jobs: the disk is full.");
    await tab.shows("#verdict", "The store is in trouble");
    await page.click('[aria-label="Resume stored jobs of service mail"]');
    assert.match(await tab.text("#ask"), /Resume the stored jobs of service mail\?/);
    await page.click("#ask-no");

    // A job that is gone meanwhile is shown no more.
    await page.click(`[aria-label="Look at job ${idOf(7)}"]`);
    fake.stored = fake.stored.filter(({ id }) => id !== idOf(7));
    await page.locator("#stored-job").waitFor({ state: "hidden" });
    await page.click("#session");
    await page.locator("#stored-locked").waitFor();
    assert.equal(await rows.count(), 0);
    assert.deepEqual(tab.troubles, []);
  },
);

Deno.test("stored jobs can be used with the keyboard alone", withBrowser, async () => {
  await using fake = new FakeAdmin({ workers: 1, jobs: 2, dead: 2 });
  await using tab = await openWithToken(fake);
  const { page } = tab;
  await page.locator("#stored-jobs-scroll").waitFor();
  const focused = () =>
    tab.evaluate<string>(
      "document.activeElement.getAttribute('aria-label') || document.activeElement.id",
    );
  const walkTo = async (wanted: string) => {
    for (let steps = 0; steps < 80; steps++) {
      await page.keyboard.press("Tab");
      if (await focused() === wanted) return;
    }
    assert.fail(`Tab does not reach ${wanted}`);
  };
  await walkTo("stored-state");
  await walkTo(`Look at job ${idOf(1)}`);
  await page.keyboard.press("Enter");
  await page.locator("#stored-job").waitFor();
  assert.equal(await focused(), "stored-job-close");
  await walkTo("stored-job-body");
  await page.keyboard.press("Enter");
  await page.locator("#stored-job-frames pre").first().waitFor();
  assert.equal(await focused(), "stored-job-close");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), `Look at job ${idOf(1)}`);
  await walkTo(`Delete job ${idOf(1)}`);
  await page.keyboard.press("Enter");
  // What does harm needs more than the return key.
  assert.equal(await focused(), "ask-no");
  await page.keyboard.press("Escape");
  await page.locator("#ask").waitFor({ state: "hidden" });
  assert.deepEqual(fake.orders, []);
});

Deno.test("what the server refuses is said where it was asked for", withBrowser, async () => {
  await using fake = new FakeAdmin(SMALL);
  await using tab = await openWithToken(fake);
  fake.answer = { status: 409, error: "handler.ts cannot be loaded" };
  await tab.page.click("#actions >> text=Reload");
  await tab.page.click("#ask-yes");
  await tab.shows("#ask-trouble", "Handler.ts cannot be loaded.");
  assert.equal(await tab.page.locator("#ask").isVisible(), true);
});

Deno.test("a change without the token leads to the login first", withBrowser, async () => {
  await using fake = new FakeAdmin(SMALL);
  await using tab = await open(fake);
  await tab.page.click("#actions >> text=Reload");
  await logIn(tab, fake.token);
  await tab.shows("#ask-title", "Reload all services?");
  assert.deepEqual(fake.orders, []);
});

Deno.test(
  "the page comes back after a restart of the server, and loads a new version",
  withBrowser,
  async () => {
    const first = new FakeAdmin(SMALL);
    const { port } = first;
    await using tab = await open(first);
    await tab.evaluate("globalThis.isOld = true");
    await first.stop();
    await tab.shows("#verdict", "No connection");
    {
      await using second = new FakeAdmin({ ...SMALL, workers: 5 }, port);
      second.status.startedAt += 1;
      await tab.shows("#link", /^Live$/);
      await tab.becomes("document.querySelectorAll('.tile').length", 5);
      await tab.shows(".toast", "The server was started again.");
      assert.equal(await tab.evaluate("globalThis.isOld"), true);
    }
    await tab.shows("#verdict", "No connection");
    await using third = new FakeAdmin(SMALL, port);
    third.status.version = "0.7.0";
    await tab.becomes("globalThis.isOld", undefined);
    await tab.shows("#link", /^Live$/);
  },
);

for (const colorScheme of ["light", "dark"] as const) {
  Deno.test(`axe-core finds nothing serious in the ${colorScheme} page`, withTime, async () => {
    await using fake = new FakeAdmin({ ...SMALL, dead: 40 });
    await using tab = await open(fake, { colorScheme });
    assert.deepEqual(await tab.obstacles(), [], "locked");
    await logIn(tab, fake.token);
    await tab.page.locator("#jobs-scroll").waitFor();
    await tab.page.click("#errors-list summary");
    await tab.page.click("#settings-details summary");
    await tab.shows("#settings-table", "requestTimeout");
    assert.deepEqual(await tab.obstacles(), [], "unlocked");
    await tab.page.click('#stored-jobs-table [aria-label^="Look at"]');
    await tab.page.click("#stored-job-body");
    await tab.page.locator("#stored-job-frames pre").first().waitFor();
    assert.deepEqual(await tab.obstacles(), [], "a stored job");
    await tab.page.click("#stored-job-close");
    await tab.page.click(".tile");
    assert.deepEqual(await tab.obstacles(), [], "a worker");
    await tab.page.click("#worker-actions >> text=Kill");
    assert.deepEqual(await tab.obstacles(), [], "a question");
  });
}

Deno.test("the page can be used with the keyboard alone", withBrowser, async () => {
  await using fake = new FakeAdmin({ workers: 3, jobs: 2 });
  await using tab = await open(fake);
  const { page } = tab;
  const focused = () =>
    tab.evaluate<string>("document.activeElement.id || document.activeElement.textContent");
  const walkTo = async (wanted: RegExp) => {
    for (let steps = 0; steps < 80; steps++) {
      await page.keyboard.press("Tab");
      if (wanted.test(await focused())) return;
    }
    assert.fail(`Tab does not reach ${wanted}`);
  };
  await page.keyboard.press("Tab");
  assert.match(await focused(), /Skip to the services/);
  await walkTo(/^session$/);
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "login-token");
  await page.keyboard.type(fake.token);
  await page.keyboard.press("Enter");
  await page.locator("#jobs-scroll").waitFor();

  await walkTo(/^Reload …$/);
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "ask-yes");
  await page.keyboard.press("Escape");
  await page.locator("#ask").waitFor({ state: "hidden" });
  assert.equal(await focused(), "Reload …");
  assert.deepEqual(fake.orders, []);
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  await page.locator("#ask").waitFor({ state: "hidden" });
  assert.deepEqual(fake.orders.map(({ path }) => path), ["/api/reload"]);

  // What does harm needs more than the return key.
  await walkTo(/^Drain …$/);
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "ask-no");
  await page.keyboard.press("Enter");
  await page.locator("#ask").waitFor({ state: "hidden" });
  assert.equal(fake.orders.length, 1);

  await walkTo(/^#2/);
  await page.keyboard.press("Enter");
  await page.locator("#worker").waitFor();
  await page.keyboard.press("Escape");
  assert.match(await focused(), /^#2/);
});

Deno.test("the page fits a window that is 400 pixels wide", withBrowser, async () => {
  await using fake = new FakeAdmin({ ...SMALL, dead: 40 });
  await using tab = await openWithToken(fake, { viewport: { width: 400, height: 800 } });
  await tab.page.locator("#stored-jobs-scroll").waitFor();
  assert.equal(await tab.evaluate("document.documentElement.scrollWidth"), 400);
  await tab.page.click(".tile");
  await tab.page.click("#worker-actions >> text=Kill");
  assert.equal(await tab.page.locator("#ask-yes").isVisible(), true);
  assert.equal(await tab.evaluate("document.documentElement.scrollWidth"), 400);
});

function nameOf(element: { localName: string }): string {
  return element.localName;
}

/** Milliseconds of CPU that the page's main thread may take for a second's news. */
const BUDGET = 200;
const BEATS = 10;

Deno.test(
  "1,000 workers and 10,000 jobs leave the page most of its time",
  withBrowser,
  async () => {
    await using fake = new FakeAdmin({ workers: 1_000, jobs: 10_000, errors: 500 });
    await using tab = await openWithToken(fake);
    assert.equal(await tab.page.locator(".tile").count(), 120);
    const before = await busyTime(tab);
    for (let beat = 0; beat < BEATS; beat++) {
      fake.beat();
      const { answered } = fake.status.workers[0]!;
      await tab.shows(".tile", `${answered.toLocaleString("en")} done`);
    }
    const each = (await busyTime(tab) - before) / BEATS;
    assert(each < BUDGET, `A second's news took ${each.toFixed(0)} ms of CPU`);

    await tab.page.click("#workers-on");
    await tab.shows("#workers-range", "121 to 240 of 1,000");
    assert.match(await tab.text(".tile"), /^#121/);
    await tab.page.selectOption("#workers-state", "starting");
    await tab.becomes("document.querySelectorAll('.tile').length", 1);
    assert.equal(await tab.page.locator("#jobs-table tbody tr").count(), 50);
    await tab.shows("#jobs-tally", "50 of 10,000");
  },
);

/** CPU time of the page's main thread since its start, ms. */
async function busyTime(tab: Tab): Promise<number> {
  const session = await tab.page.context().newCDPSession(tab.page);
  await session.send("Performance.enable", { timeDomain: "threadTicks" });
  const { metrics } = await session.send("Performance.getMetrics");
  await session.detach();
  return (metrics.find(({ name }) => name === "TaskDuration")?.value ?? 0) * 1_000;
}
