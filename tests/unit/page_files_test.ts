/** The files of the live page: all that they name is served, and nothing in them needs a weaker policy. */

import { strict as assert } from "node:assert";
import { PAGE_PATHS, pageFile } from "../../admin/page_files.ts";
import { path } from "../rig/checkout.ts";

const texts = await Promise.all([...PAGE_PATHS].map(async (name) => ({
  name,
  ...await pageFile(name) ?? assert.fail(`${name} is served`),
})));

Deno.test("pageFile has all files that the page names, and no other", async () => {
  const own = texts.filter(({ name }) => !name.startsWith("/uplot"));
  const named = own.flatMap(({ name, text }) =>
    [...text.matchAll(/(?:src|href|from|path)\s*=?\s*"(\.?\/[\w.]+\.(?:js|css|svg))"/g)]
      .map(([, file = ""]) => new URL(file, `http://page${name}`).pathname)
  );
  assert.deepEqual(new Set([...named, "/"]), new Set(PAGE_PATHS));
  for (const name of ["/nothing", "/page", "/../page.js", "__proto__", "constructor"]) {
    assert.equal(await pageFile(name), undefined, name);
  }
});

Deno.test("all of admin/ that a browser runs is served", async () => {
  const files = [...Deno.readDirSync(path("admin"))].map(({ name }) => name)
    .filter((name) => name.endsWith(".js"));
  for (const name of files) {
    assert.equal((await pageFile(`/${name}`))?.text, Deno.readTextFileSync(path(`admin/${name}`)));
  }
});

Deno.test("the page has no script and no style inline, and loads nothing from elsewhere", () => {
  const html = texts.find(({ name }) => name === "/")?.text ?? "";
  assert.doesNotMatch(html, /<style|\sstyle=|\son\w+=|javascript:|https?:/);
  assert.deepEqual(html.match(/<script[^>]*>[^<]*/g), ['<script type="module" src="/page.js">']);
  for (const { name, text } of texts.filter(({ name }) => !/^\/(uplot|page\.svg)/.test(name))) {
    const pattern = /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function/;
    assert.doesNotMatch(text, pattern, name);
    assert.doesNotMatch(text, /https?:\/\//, name);
  }
});

Deno.test("uPlot is served in the version that deno.json names", async () => {
  const { imports } = JSON.parse(Deno.readTextFileSync(path("deno.json")));
  assert(Deno.readTextFileSync(path("admin/page_files.ts")).includes(`"${imports.uplot}"`));
  assert(Deno.readTextFileSync(path("admin/page_plots.js")).includes(imports.uplot));
  assert.match((await pageFile("/uplot.js"))?.text ?? "", /export \{ uPlot as default \}/);
});
