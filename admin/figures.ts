/**
 * What operators see of how a server does: rates, the history that the page plots, and metrics.
 *
 * @module
 */

import type { OfService } from "../ops/events.ts";
import type { Rates } from "../ops/status.ts";
import { VERSION } from "../system/version.ts";
import type { ReloadResult } from "./family.ts";
import type { HistoryView } from "./history.ts";
import { formatFor, Metrics } from "./metrics.ts";
import type { Operated } from "./operated.ts";
import { Recorder } from "./recorder.ts";

/** Reads figures until it is closed. */
export class Figures {
  readonly #recorder: Recorder;
  readonly #metrics: Metrics;
  #isClosed = false;

  constructor(server: Operated) {
    this.#recorder = new Recorder(() => server.measures());
    this.#metrics = new Metrics({
      measures: () => server.measures(),
      status: () => server.status(),
      stats: () => server.stats(),
      storeFigures: () => server.storeFigures(),
      build: {
        version: VERSION,
        deno: Deno.version.deno,
        v8: Deno.version.v8,
        libzmq: server.libzmq,
      },
    });
    const reloaded = (result: ReloadResult) => ({ service = "" }: OfService) => {
      if (!this.#isClosed) this.#metrics.reloaded(service, result);
    };
    server.news.listen({ reloaded: reloaded("ok"), reloadFailed: reloaded("failed") });
    server.news.listen(this.#metrics.joined.listeners);
  }

  /** How many requests a service answers, and how quickly; all together if none is named. */
  rates(service?: string): Rates {
    return this.#recorder.rates(service);
  }

  /** The last 15 minutes. */
  get history(): HistoryView {
    return this.#recorder.history;
  }

  /** All metrics, in the format that a header `Accept` asks for; "": the header is missing. */
  metrics(accept: string): Promise<{ text: string; contentType: string }> {
    return this.#metrics.write(formatFor(accept));
  }

  close(): void {
    this.#isClosed = true;
    this.#recorder.close();
    this.#metrics.close();
  }
}
