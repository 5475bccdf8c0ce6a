/** Deno's cache of what it has downloaded. */

import { run } from "./commands.ts";

/** Makes Deno forget what it has cached of sites of the test's own, by their ports. */
export async function forgetSites(...ports: number[]): Promise<void> {
  const { denoDir } = JSON.parse((await run(Deno.execPath(), ["info", "--json"])).stdout);
  for (const port of ports) {
    for (const cache of ["remote", "gen"]) {
      const folder = `${denoDir}/${cache}/http/127.0.0.1_PORT${port}`;
      await Deno.remove(folder, { recursive: true }).catch(() => {});
    }
  }
}
