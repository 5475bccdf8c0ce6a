/**
 * The share of a core that each worker uses, from the CPU time that a server reports now and then. Pure: the
 * time is the server's.
 *
 * @module
 */

import type { Status } from "../ops/status.ts";

/** What a worker had used at a moment of the server's, ms. */
interface Sample {
  cpuMs: number;
  uptime: number;
}

/** Without a new figure for so long, a worker rests, ms. */
const REST_AFTER = 6000;

/** Shares by the workers' numbers. */
export class CpuShares {
  #samples = new Map<number, Sample>();
  #shares = new Map<number, number>();

  /** 1 is a whole core. A worker that was seen once has none. */
  get shares(): ReadonlyMap<number, number> {
    return this.#shares;
  }

  /** Takes what the server has reported; workers that are gone are forgotten. */
  add({ workers, uptime }: Pick<Status, "workers" | "uptime">): void {
    const samples = new Map<number, Sample>();
    const shares = new Map<number, number>();
    for (const { worker, cpuMs } of workers) {
      if (cpuMs === undefined || cpuMs === null) continue;
      const before = this.#samples.get(worker);
      const isSame = before?.cpuMs === cpuMs && uptime - before.uptime < REST_AFTER;
      const share = isSame ? this.#shares.get(worker) : shareOf(before, { cpuMs, uptime });
      samples.set(worker, before !== undefined && isSame ? before : { cpuMs, uptime });
      if (share !== undefined) shares.set(worker, share);
    }
    [this.#samples, this.#shares] = [samples, shares];
  }
}

/** Undefined for the first sample, and for one of another server under the same name. */
function shareOf(before: Sample | undefined, now: Sample): number | undefined {
  if (before === undefined || now.uptime <= before.uptime || now.cpuMs < before.cpuMs) {
    return undefined;
  }
  return (now.cpuMs - before.cpuMs) / (now.uptime - before.uptime);
}
