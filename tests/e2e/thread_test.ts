/** A server whose sockets have a thread of their own: what its program does keeps no request waiting. */

import { strict as assert } from "node:assert";
import { path, ROOT } from "../rig/checkout.ts";
import { Folder } from "../rig/folder.ts";
import { endpointOf, moduleOf, serveQuietly } from "../rig/in_process.ts";
import { flagsFor, serverFeatures } from "../rig/permissions.ts";
import { askOnce } from "../rig/peer.ts";
import { ENVIRONMENT, ServerProcess } from "../rig/server_process.ts";
import { until, within } from "../rig/wait.ts";

const STRICT = { sanitizeOps: true, sanitizeExit: true };
/** How long the program of a server does nothing else, ms. */
const BLOCKED = 3000;

/** Blocks this thread for a time, ms. */
function block(time: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, time);
}

/** A program that asks one request after the other until its stdin ends, and prints what it has seen. */
const ASKER = `
import { Client } from ${JSON.stringify(new URL("client.ts", ROOT).href)};
await using client = new Client({ endpoint: Deno.args[0] });
let [isOpen, answered, slowest] = [true, 0, 0];
const print = (line) => Deno.stdout.writeSync(new TextEncoder().encode(line + "\\n"));
(async () => {
  while (await Deno.stdin.read(new Uint8Array(1)) !== null);
  isOpen = false;
})();
while (isOpen) {
  const start = performance.now();
  await client.request("x").catch(() => {});
  const took = performance.now() - start;
  // The first one waits for its connection.
  if (answered++ > 0) slowest = Math.max(slowest, took);
  if (answered === 10) print("begun");
}
print(JSON.stringify({ answered, slowest }));
`;

/** A client in a process of its own, that asks without a pause. */
class Asker {
  readonly #folder = new Folder();
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;

  constructor(endpoint: string) {
    const main = this.#folder.write("asker.ts", ASKER);
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--config", path("deno.json"), main, endpoint],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  async begun(): Promise<void> {
    const { value } = await within("a client asks", this.#lines.read());
    assert.equal(value, "begun\n");
  }

  async stop(): Promise<{ answered: number; slowest: number }> {
    await this.#child.stdin.close();
    const { value = "" } = await within("a client ends", this.#lines.read());
    await this.#lines.cancel();
    await within("a client has ended", this.#child.status);
    this.#folder[Symbol.dispose]();
    return JSON.parse(value);
  }
}

Deno.test(
  "serve answers clients while its program is busy with something else, and stats tells of it",
  STRICT,
  async () => {
    await using server = serveQuietly({ workers: 1 });
    await server.ready;
    const asker = new Asker(endpointOf(server));
    await asker.begun();
    const before = server.stats().counters.answered;
    block(BLOCKED);
    // Nothing that the thread has said was heard by now.
    const after = server.stats();
    const { answered, slowest } = await asker.stop();
    assert.ok(slowest < BLOCKED / 2, `One request took ${slowest} ms`);
    assert.ok(
      after.counters.answered > before,
      `${before} before, ${after.counters.answered} after`,
    );
    assert.ok(after.counters.answered <= answered, `${after.counters.answered} of ${answered}`);
    assert.equal(after.workers.idle + after.workers.busy, 1);
  },
);

Deno.test(
  "serve hears afterwards of each request while its program was busy with something else",
  STRICT,
  async () => {
    let failures = 0;
    await using server = serveQuietly({
      workers: 1,
      handler: moduleOf("export default () => { throw new Error('no'); };"),
      onError: () => void failures++,
    });
    await server.ready;
    const asker = new Asker(endpointOf(server));
    await asker.begun();
    block(BLOCKED / 3);
    const { answered } = await asker.stop();
    await until("all were heard of", () => failures === answered);
  },
);

Deno.test("serve shares one thread, and says so, when it may not read its own modules", async () => {
  const features = serverFeatures({ env: ENVIRONMENT });
  const least = flagsFor(features.filter(([name]) => name !== "thread"));
  for (const [permissions, isSaid] of [[least, true], [flagsFor(features), false]] as const) {
    await using server = await ServerProcess.start({ permissions, args: ["--workers", "1"] });
    const said = server.lines.filter(({ message }) => /no thread of their own/.test(message));
    assert.equal(said.length, isSaid ? 1 : 0);
    if (isSaid) assert.match(String(said[0]?.reason), /^--allow-read=\/.* is not granted$/);
    assert.deepEqual(await askOnce(server.endpoint, "x"), ["x"]);
  }
});
