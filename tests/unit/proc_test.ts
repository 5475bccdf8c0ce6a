/** What system/proc.ts reads from the system. */

import { strict as assert } from "node:assert";
import { fileLimit, openFiles } from "../../system/proc.ts";
import { path } from "../rig/checkout.ts";
import { until } from "../rig/wait.ts";
import { run } from "../rig/commands.ts";

const ignore = Deno.build.os !== "linux";
const SYSTEM = JSON.stringify(new URL("../../system/proc.ts", import.meta.url).href);

Deno.test("fileLimit is the hard limit as Deno raises the soft one to it", { ignore }, async () => {
  const code = `import { fileLimit } from ${SYSTEM}; console.log(fileLimit())`;
  const script = `ulimit -n 123; ulimit -Sn 100; exec "$0" run -A "$1"`;
  const url = `data:application/typescript,${encodeURIComponent(code)}`;
  const { stdout, stderr } = await run("/bin/sh", ["-c", script, Deno.execPath(), url]);
  assert.deepEqual({ stdout, stderr }, { stdout: "123\n", stderr: "" });
});

Deno.test("fileLimit and openFiles are undefined when /proc may not be read", async () => {
  const code = `import { fileLimit, openFiles } from ${SYSTEM};
    console.log(fileLimit(), openFiles());`;
  const url = `data:application/typescript,${encodeURIComponent(code)}`;
  const args = ["run", "--no-prompt", "--allow-read", "--config", path("deno.json"), url];
  const { stdout, stderr } = await run(Deno.execPath(), args);
  assert.deepEqual({ stdout, stderr }, { stdout: "undefined undefined\n", stderr: "" });
});

/** How many more are counted while three are open, and once they are closed. */
function countThree(): [open: number, closed: number] {
  const before = openFiles() ?? NaN;
  const files = [1, 2, 3].map(() => Deno.openSync(path("deno.json")));
  const open = (openFiles() ?? NaN) - before;
  for (const file of files) file.close();
  return [open, (openFiles() ?? NaN) - before];
}

Deno.test("openFiles counts one more when a file is opened", { ignore }, async () => {
  const before = openFiles();
  assert.ok(before !== undefined && before >= 3 && before < (fileLimit() ?? 0));
  // Other tests run in this process, and open files of their own at any time but not all the time.
  await until("nobody else has opened one", () => {
    const [open, closed] = countThree();
    return open === 3 && closed === 0;
  });
});
