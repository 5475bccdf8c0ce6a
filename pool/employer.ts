/**
 * Whom workers work for: who gives each its number, and what it needs to come into service. That is this server, or the
 * one on another machine that it has joined.
 *
 * @module
 */

import type { WorkerKeys } from "../wire/worker_config.ts";
import type { HiringParts } from "./hiring.ts";
import type { Workshop } from "./orders.ts";
import { countFromOne } from "./supervisor.ts";

/** Gives workers what they need of it. */
export interface Employer
  extends
    Pick<HiringParts, "credentialsOf">,
    Required<Pick<Workshop, "clockAhead" | "heartbeatTimeout" | "termsOf">> {
  /** Whether workers can come into service; false: none is started. */
  readonly mayStart: boolean;
  /** The number of a worker of a service that is about to be started: none is given twice. */
  nextWorker(service: string): number;
}

/** This server. */
export class OwnEmployer implements Employer {
  readonly mayStart = true;
  readonly clockAhead = 0;
  readonly heartbeatTimeout = 0;
  readonly #makeKeys: () => WorkerKeys | undefined;
  readonly #count = countFromOne();

  /** `makeKeys`: those of a worker, which has none where it needs none. */
  constructor(makeKeys: () => WorkerKeys | undefined) {
    this.#makeKeys = makeKeys;
  }

  nextWorker(): number {
    return this.#count();
  }

  credentialsOf(): ReturnType<HiringParts["credentialsOf"]> {
    return { token: crypto.randomUUID(), keys: this.#makeKeys() };
  }

  /** Its workers go by its options. */
  termsOf(): undefined {
    return undefined;
  }
}
