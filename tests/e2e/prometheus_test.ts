/** Debian's Prometheus scrapes a server, and its promtool checks metrics and alert rules. Only where they are asked for. */

import { strict as assert } from "node:assert";
import { FAMILIES } from "../../admin/families.ts";
import { Client } from "../../client.ts";
import { path } from "../rig/checkout.ts";
import { run } from "../rig/commands.ts";
import { Folder } from "../rig/folder.ts";
import { freePort } from "../rig/ports.ts";
import { ServerProcess } from "../rig/server_process.ts";
import { bytes, text } from "../rig/text.ts";
import { LIMIT, until } from "../rig/wait.ts";

const ALL = Deno.env.get("TEST_FOREIGN") === "all";
const ignore = !ALL || !isInstalled("promtool") || !isInstalled("prometheus");

function isInstalled(program: string): boolean {
  try {
    return new Deno.Command(program, { args: ["--version"] }).outputSync().success;
  } catch {
    return false;
  }
}

/** Prometheus, with one target. */
class Prometheus {
  readonly #child: Deno.ChildProcess;
  readonly #folder = new Folder();
  readonly #url: string;

  constructor(target: string) {
    const address = `127.0.0.1:${freePort()}`;
    this.#url = `http://${address}`;
    const config = this.#folder.write(
      "prometheus.yml",
      `global: { scrape_interval: 1s }
rule_files: [${JSON.stringify(path("examples/ops/alerts.yml"))}]
scrape_configs:
  - job_name: prefork
    static_configs: [{ targets: [${JSON.stringify(target)}] }]
`,
    );
    this.#child = new Deno.Command("prometheus", {
      args: [
        `--config.file=${config}`,
        `--storage.tsdb.path=${this.#folder.path}/tsdb`,
        `--web.listen-address=${address}`,
      ],
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  /** The result of a query. */
  async query(query: string): Promise<{ metric: Record<string, string>; value: number }[]> {
    const answer = await this.#get(`/api/v1/query?query=${encodeURIComponent(query)}`);
    const { data: { result } } = JSON.parse(answer);
    return result.map((
      { metric, value: [, value] }: { metric: Record<string, string>; value: string[] },
    ) => ({ metric, value: Number(value) }));
  }

  /** What it says of its target. */
  async target(): Promise<{ health: string; lastError: string } | undefined> {
    return JSON.parse(await this.#get("/api/v1/targets")).data.activeTargets[0];
  }

  async #get(path: string): Promise<string> {
    const answer = await fetch(this.#url + path);
    return await answer.text();
  }

  /** Whether it answers. */
  async isUp(): Promise<boolean> {
    try {
      return (await this.#get("/-/ready")).includes("Ready");
    } catch {
      return false;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    this.#folder[Symbol.dispose]();
  }
}

/** What `promtool` says about a text on its standard input. */
async function promtool(args: string[], input: string): Promise<{ code: number; said: string }> {
  const child = new Deno.Command("promtool", {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(bytes(input));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  return { code, said: text(stdout) + text(stderr) };
}

Deno.test(
  "Prometheus scrapes a server, and promtool finds nothing wrong",
  { ignore },
  async (test) => {
    const args = ["--workers", "2", "--control", "off", "--http", "127.0.0.1:0"];
    await using server = await ServerProcess.start({ args, permissions: ["-A"] });
    const url = String((await server.line("listening to operators")).http);
    await using client = new Client({ endpoint: server.endpoint, timeout: LIMIT });
    for (let request = 0; request < 10; request++) await client.request("hello");

    await test.step("promtool check metrics", async () => {
      const answer = await fetch(`${url}/metrics`);
      const { code, said } = await promtool(["check", "metrics"], await answer.text());
      assert.equal(said, "");
      assert.equal(code, 0);
    });

    await test.step("a scrape has all series, and queries find what was asked", async () => {
      await using prometheus = new Prometheus(new URL(url).host);
      await until("Prometheus is up", () => prometheus.isUp());
      await until("it has scraped the server", async () => {
        const target = await prometheus.target();
        assert(target?.health !== "down", target?.lastError);
        return target?.health === "up";
      });
      const [replies] = await until("the replies are found", async () => {
        const found = await prometheus.query('prefork_replies_total{code="200"}');
        return found.length > 0 && found;
      });
      assert.equal(replies?.value, 10);
      for (const { name, type } of FAMILIES) {
        if (name === "prefork_connections") continue; // not where libzmq lacks its draft API
        if (name.startsWith("prefork_store")) continue; // nothing was ever stored
        const found = await prometheus.query(type === "histogram" ? `${name}_bucket` : name);
        assert(found.length > 0, name);
      }
      const [jobs] = await prometheus.query("prefork_job_duration_seconds_count");
      assert.equal(jobs?.value, 10);
    });
  },
);

Deno.test("promtool takes the alert rules, which fire as they should", { ignore }, async () => {
  const rules = await run("promtool", ["check", "rules", path("examples/ops/alerts.yml")]);
  assert.equal(rules.code, 0, rules.stderr);
  const tests = await run("promtool", ["test", "rules", path("examples/ops/alerts_test.yml")]);
  assert.equal(tests.code, 0, tests.stdout + tests.stderr);
});
