/** Servers that run as another user than the test. */

import { path } from "./checkout.ts";
import type { Folder } from "./folder.ts";

/** Deno in a folder that anybody can enter: where it was installed, another user may not run it. */
export function shareProgram(folder: Folder): string {
  const program = `${folder.path}/deno`;
  Deno.chmodSync(folder.path, 0o755);
  try {
    Deno.linkSync(Deno.execPath(), program);
  } catch {
    Deno.copyFileSync(Deno.execPath(), program);
  }
  return program;
}

/** Whether this is root, and another user can read the modules of this checkout. */
export function canServeAsNobody(): boolean {
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) return false;
  const args = ["-c", 'test -r "$0"', path("worker.ts")];
  try {
    return new Deno.Command("/bin/sh", { args, uid: 65_534 }).outputSync().success;
  } catch {
    // That user can't even enter this folder.
    return false;
  }
}
