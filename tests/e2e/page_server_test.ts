/** The live page in a real browser, before a real server under load. */

import { strict as assert } from "node:assert";
import { Client } from "../../client.ts";
import { endBrowser, Tab, withBrowser } from "../rig/browser.ts";
import { Folder } from "../rig/folder.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { until } from "../rig/wait.ts";

Deno.test.afterAll(endBrowser);

const ALL = Deno.env.get("TEST_FOREIGN") === "all";
const TOKEN = "0123456789-abcdefghij";
const HANDLER = `export default async (body) => {
  const text = new TextDecoder().decode(body);
  if (text === "fail") throw new Error("cannot <b>resize</b>");
  if (text === "sleep") await new Promise((resolve) => setTimeout(resolve, 600_000));
  return body;
};`;

async function addressOf(server: ServerProcess): Promise<string> {
  return String((await server.line("listening to operators")).http);
}

Deno.test("the page shows and changes a server that runs", withBrowser, async (t) => {
  using folder = new Folder();
  const tokenFile = folder.write("token", `${TOKEN}\n`);
  Deno.chmodSync(tokenFile, 0o600);
  const args = ["--http", "127.0.0.1:0", "--http-token", tokenFile, "--control", "off"];
  args.push("--min-workers", "2", "--max-workers", "4", "--store", `${folder.path}/jobs.db`);
  await using server = await ServerProcess.start({ handler: HANDLER, args });
  const http = await addressOf(server);
  const headers = { authorization: `Bearer ${TOKEN}` };
  const ask = async (path: string) => await (await fetch(http + path, { headers })).json();
  await using client = new Client({ endpoint: server.endpoint });
  await using tab = await Tab.open(http);
  const { page } = tab;
  const confirm = async (button: string) => {
    await page.click(button);
    await page.click("#ask-yes");
    await page.locator("#ask").waitFor({ state: "hidden" });
  };

  await t.step("it shows what is true", async () => {
    await tab.shows("#link", "Live");
    await tab.shows("#verdict", "All is well");
    for (let sent = 0; sent < 40; sent++) await client.request(`${sent}`);
    const { counters } = await ask("/api/stats");
    assert.equal(counters.requests, 40);
    await tab.shows("#services-tally", "40 replies since the start");
    const { workers } = await ask("/api/status");
    await tab.becomes("document.querySelectorAll('.tile').length", workers.length);
    const facts = await tab.text("#facts");
    assert(facts.includes(server.endpoint) && facts.includes(String(server.pid)), facts);
    assert.equal(await page.locator(".plot canvas").count(), 4);
    assert.equal(await page.locator("#stored").isVisible(), false, "Nothing was ever stored");
  });

  await t.step("a wrong token is refused, the right one is not", async () => {
    await page.click("#session");
    await page.fill("#login-token", "0123456789-wrong");
    await page.press("#login-token", "Enter");
    await tab.shows("#login-trouble", "not the token");
    await page.fill("#login-token", TOKEN);
    await page.press("#login-token", "Enter");
    await page.locator("#login").waitFor({ state: "hidden" });
    await tab.shows("#log-lines", "worker ready");
  });

  // The rest takes a browser long.
  if (!ALL) return;

  await t.step("failed requests are grouped, and their text stays text", async () => {
    for (let sent = 0; sent < 3; sent++) await client.request("fail").catch(() => {});
    await tab.shows("#errors-list", /3 ×\s*cannot <b>resize<\/b>/);
    assert.equal(await page.locator("#errors-list b").count(), 0);
  });

  await t.step("stored jobs appear, and a failed one is shown and tried again", async () => {
    const { id } = await client.submit("fail", { retries: 0 });
    await page.locator("#stored").waitFor();
    await tab.shows("#stored-tally", /0 jobs to do, 1 failed/);
    await page.click(`[aria-label="Look at job ${id}"]`);
    await page.click("#stored-job-body");
    await tab.shows("#stored-job-frames", /Submitted \(4 B\)\s*fail\s*Result/);
    await page.click("#stored-job-close");
    await confirm(`[aria-label="Retry job ${id}"]`);
    await tab.shows(".toast", `Job ${id} is to run again.`);
    await until(
      "it has failed again",
      async () => (await ask("/api/store")).services[0].ended.failed === 2,
    );
    await confirm(`[aria-label="Delete job ${id}"]`);
    await tab.shows("#stored-jobs-empty", "No job is in this state.");
    assert.equal((await ask("/api/stored")).total, 0);
  });

  await t.step("a job is shown and cancelled", async () => {
    const asleep = client.request("sleep").then(() => 200, ({ code }) => code);
    await page.selectOption("#jobs-filter", "state=running");
    await tab.shows("#jobs-table", "in worker");
    await confirm("#jobs-table button");
    assert.equal(await asleep, 499);
  });

  await t.step("a service is paused and resumed", async () => {
    await confirm("#actions >> text=Pause");
    await tab.shows("#verdict", "Paused");
    const waits = client.request("waits");
    await tab.shows("#sentence", "1 request waits");
    await confirm("#actions >> text=Resume");
    await waits;
    await tab.shows("#services-table", "Pause");
    assert.equal((await ask("/api/status")).services[0].paused, false);
  });

  await t.step("the pool is resized", async () => {
    await page.click("#actions >> text=Resize");
    await page.fill("#ask [name=min]", "3");
    await page.fill("#ask [name=max]", "5");
    await page.click("#ask-yes");
    await page.locator("#ask").waitFor({ state: "hidden" });
    const { min, max } = (await ask("/api/stats")).workers;
    assert.deepEqual([min, max], [3, 5]);
    await page.click("#actions >> text=Resize");
    await page.fill("#ask [name=min]", "9");
    await page.click("#ask-yes");
    await page.locator("#ask-trouble:not(:empty)").waitFor();
    await page.click("#ask-no");
  });

  await t.step("a worker is killed, and replaced", async () => {
    const [{ worker }] = (await ask("/api/status")).workers;
    await page.click(`.tile:has-text("#${worker} ")`, { position: { x: 20, y: 20 } });
    await confirm("#worker-actions >> text=Kill");
    await tab.shows("#worker-facts", "gone");
    await page.click("#worker-close");
  });

  await t.step("the workers are reloaded", async () => {
    await confirm("#actions >> text=Reload");
    await tab.shows(".toast", "Reloaded all services.");
    assert.equal((await ask("/api/status")).generation, 2);
  });

  await t.step("the log level is changed, and the log opened again", async () => {
    await page.click("#actions >> text=Log level");
    await page.selectOption("#ask [name=level]", "warn");
    await page.click("#ask-yes");
    await tab.shows(".toast", "Changed the log level.");
    assert.equal((await ask("/api/status")).logLevel, "warn");
    await confirm("#actions >> text=Reopen log");
    await tab.shows(".toast", "Reopened the log.");
  });

  await t.step("options are shown with where they come from", async () => {
    await page.click("#settings-details summary");
    await tab.shows("#settings-table", "--http-token");
  });

  await t.step("the server is drained", async () => {
    assert.deepEqual(tab.troubles, []);
    await confirm("#actions >> text=Drain");
    await server.ended();
    await until("the page says so", async () => await tab.text("#verdict") === "No connection");
  });
});
