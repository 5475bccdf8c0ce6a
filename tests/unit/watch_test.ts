import assert from "node:assert/strict";
import { waitForChange } from "../../ops/watch.ts";
import { Folder } from "../rig/folder.ts";

Deno.test("waitForChange sees a change of the moment before, whose time the file system has rounded down", async () => {
  using folder = new Folder();
  const file = folder.write("handler.ts", "export default () => 1;");
  const { mtime } = Deno.statSync(file);
  const stopped = Promise.withResolvers<void>();
  const seen = waitForChange([file], (mtime?.getTime() ?? NaN) + 4, stopped.promise);
  const timer = setTimeout(() => stopped.resolve(), 10_000);
  assert.equal(await seen, true);
  clearTimeout(timer);
});

Deno.test("waitForChange sees no change that is older", async () => {
  using folder = new Folder();
  const file = folder.write("handler.ts", "export default () => 1;");
  const { mtime } = Deno.statSync(file);
  const stopped = Promise.withResolvers<void>();
  const seen = waitForChange([file], (mtime?.getTime() ?? NaN) + 50, stopped.promise);
  stopped.resolve();
  assert.equal(await seen, false);
});
