/**
 * Gives jobs to the plane: those whose turn it is, as many as it has room for.
 *
 * @module
 */

import type { Chosen } from "./job_choice.ts";
import type { Frames } from "./messages.ts";
import { type Ground, log } from "./sqlite_ground.ts";
import { Stage } from "./sqlite_schema.ts";
import type { StoredService } from "./sqlite_services.ts";
import { retriesOf } from "./sqlite_row.ts";

/** Jobs that are given in one pass at most: others are to have their turn. */
const MOST_STARTED = 512;

const NO_BODY: Frames = { bytes: new Uint8Array() };

/** Starts jobs. */
export class SqliteStarts {
  readonly #ground: Ground;

  constructor(ground: Ground) {
    this.#ground = ground;
  }

  /** Starts what may start; false: there is more. */
  start(): boolean {
    const { services, ledger, clock } = this.#ground;
    // What ends could not be stored.
    if (ledger.trouble !== undefined) return true;
    const now = clock.now();
    const steady = clock.steady();
    let left = MOST_STARTED;
    for (const service of services.all()) {
      for (; left > 0; left--) {
        const chosen = service.choice.next(now, steady);
        if (chosen === undefined) break;
        this.#begin(service, chosen, now, steady);
      }
    }
    return left > 0;
  }

  /** How long until something may start that can't now, ms. */
  get waitMs(): number {
    const { services, ledger, clock } = this.#ground;
    if (ledger.trouble !== undefined) return Infinity;
    const steady = clock.steady();
    let wait = Infinity;
    for (const { choice } of services.all()) wait = Math.min(wait, choice.waitMs(steady));
    return wait;
  }

  #begin(service: StoredService, chosen: Chosen, now: number, steady: number): void {
    const { table, runs, changed } = this.#ground;
    try {
      const fresh = this.#ground.fresh.take(chosen.seq);
      const row = fresh?.row ?? table.bySeq(chosen.seq);
      if (row === undefined || row.stage !== Stage.waiting) return this.#forget(service, chosen);
      const { bytes, sizes } = fresh?.body ?? table.body(row) ?? NO_BODY;
      const checkpoint = table.checkpoint(row);
      const version = row.version + 1;
      const run = runs.begin({ service, chosen, row, startedAt: now, steadyAt: steady, version });
      service.given++;
      service.waitTime.add(1000 * (now - row.due));
      changed.add(row.seq);
      this.#ground.say("plane", {
        type: "job",
        run: {
          run: run.number,
          id: row.id,
          service: service.name,
          user: row.user,
          attempt: row.tries + 1,
          tries: retriesOf(row) + 1,
          requestTimeout: row.rest.timeout ?? 0,
          expiresAt: row.tries === 0 ? row.expires ?? 0 : 0,
          trace: row.rest.trace ?? "",
          checkpoint,
          body: { bytes, sizes },
        },
      });
    } catch (error) {
      service.choice.giveBack(chosen);
      throw error;
    }
  }

  /** It does not wait any more, which nobody has said: that must not be. */
  #forget(service: StoredService, chosen: Chosen): void {
    service.choice.remove(chosen, true);
    log(this.#ground, "error", "a job was to be started that does not wait", {
      service: service.name,
      seq: chosen.seq,
    });
  }
}
