/** The dashboard, the alerts and the scalers of examples/ops name only metrics that there are, with labels that they have. */

import { strict as assert } from "node:assert";
import { FAMILIES } from "../../admin/families.ts";
import { path } from "../rig/checkout.ts";
import { queryNames } from "../rig/metrics.ts";

/** Labels that Prometheus adds, and the bound of a bucket. */
const ADDED = ["job", "instance", "le", "namespace", "pod"];
const FILES = ["grafana.json", "alerts.yml", "alerts_test.yml", "keda.yaml", "hpa.yaml"];
const DOCUMENTS = [...FILES.map((file) => `examples/ops/${file}`), "docs/metrics.md"];
const NAME = /\b(?:prefork|process)_[a-z_]+[a-z]\b/g;

function textOf(file: string): string {
  return Deno.readTextFileSync(path(file));
}

/** Names of labels by the metric in front of their braces. */
function selectors(text: string): [metric: string, labels: string[]][] {
  return [...text.matchAll(/\b((?:prefork|process)_[a-z_]+)\{([^{}]*)\}/g)]
    .map(([, metric = "", inside = ""]) => [
      metric,
      [...inside.matchAll(/([a-z_]+)\s*(?:=~|!=|=)/g)].map(([, label = ""]) => label),
    ]);
}

for (const file of DOCUMENTS) {
  Deno.test(`${file} names metrics that there are, with labels that they have`, () => {
    const names = queryNames();
    const families = new Set(FAMILIES.map(({ name }) => name));
    const found = [...textOf(file).matchAll(NAME)].map(([name]) => name);
    assert(found.length > 0);
    for (const name of found) assert(names.has(name) || families.has(name), name);
    for (const [metric, labels] of selectors(textOf(file))) {
      const family = FAMILIES.find(({ name }) =>
        metric.replace(/_(bucket|sum|count)$/, "") === name
      );
      const known = [...(family?.labels ?? []), ...ADDED];
      for (const label of labels) assert(known.includes(label), `${metric}: ${label}`);
    }
  });
}

Deno.test("the alerts and the dashboard have no reason or state that there is not", () => {
  const text = textOf("examples/ops/alerts.yml") + textOf("examples/ops/grafana.json");
  const reasons = [...text.matchAll(/reason=~\\?"([a-z|]+)/g)].flatMap(([, list = ""]) =>
    list.split("|")
  );
  const known = ["crashed", "failed", "timeout", "rogue", "overran", "left"];
  assert(reasons.length > 0);
  for (const reason of reasons) assert(known.includes(reason), reason);
});

Deno.test("the dashboard has panels that do not overlap, each with queries", () => {
  const { panels } = JSON.parse(textOf("examples/ops/grafana.json"));
  const cells = new Set<string>();
  for (const { title, targets, gridPos: { x, y, w, h } } of panels) {
    assert(targets.length > 0 && targets.every(({ expr }: { expr: string }) => expr !== ""), title);
    for (let column = x; column < x + w; column++) {
      for (let row = y; row < y + h; row++) {
        assert(!cells.has(`${column} ${row}`) && column < 24, title);
        cells.add(`${column} ${row}`);
      }
    }
  }
});
